//! A tunnel that sets itself up from the Gate: from a list of its peers.

mod complete;
pub(crate) mod list;
