//! What is sent and listened to; nothing here says good or bad.

pub(super) mod duplicate;
pub(super) mod look;
pub(super) mod path;
