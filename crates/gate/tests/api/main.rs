//! The client against a Gate API on this machine, and against servers that misbehave in ways that no API would.
//!
//! Everything listens on loopback addresses at ports that the system chooses.

mod calls;
mod faults;
mod hostile;
mod proxy;
mod secrets;
mod support;
mod tls;
