//! What keeps a load from being measured.

use std::io;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// [`Stop`](crate::Stop) was told to stop.
    #[error("it was interrupted")]
    Interrupted,
    /// A socket or the kernel refused.
    #[error("{what}: {source}")]
    Io {
        /// What was to be done.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Nothing arrived while it was measured.
    #[error("nothing arrives at the far end")]
    Silent,
}

impl Error {
    /// For `map_err`: what was to be done when it failed.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { what, source }
    }
}
