//! `vxgate up`: the daemon.

use crate::config::UpConfig;
use crate::failure::Failure;

/// Brings the tunnel up, carries its frames until it is told to stop, and undoes what it made.
pub(crate) fn run(config: &UpConfig) -> Result<(), Failure> {
    Err(Failure::failed(format!("up: {}", config.dev), "not wired yet"))
}
