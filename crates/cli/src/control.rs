//! The daemon's control socket: how `vxgate show`, `fdb`, `peer` and `down` reach the tunnel that `up` runs.
//!
//! ```text
//!  vxgate show ──► client ──►  /run/vxgate/DEV.sock  ──► server ──► Handler (the daemon)
//!                              one JSON object per line, request and response in turn
//!  vxgate up   ──────────────► /run/vxgate/DEV.lock     held as long as the daemon lives
//! ```
//!
//! The lock, not the socket, says whether a tunnel runs: the kernel lets go of it however the daemon ends, so a socket
//! that `kill -9` left behind is replaced, and one that is in use is not.

pub(crate) mod client;
pub(crate) mod lock;
pub(crate) mod protocol;
pub(crate) mod runtime_dir;
pub(crate) mod server;

#[cfg(test)]
mod tests;
