//! A SORACOM Gate API on this machine, faults included, for tests and the lab.
//! Never speaks to the real one.
//!
//! A real HTTP server with the state behind it: what one call changes, the next one sees. Faults are scripted for a call
//! and a number of times; requests are kept, without their secrets.
//!
//! ```
//! use vxgate_fake_gate::{Call, FakeGate, Fault};
//!
//! let fake = FakeGate::start()?;
//! fake.fault(Call::Peers, 2, Fault::status(503));    // the next two lists fail, the third succeeds
//! fake.with(|gate| gate.vpg_mut().gate_opened = true);
//! // ... a client talks to fake.endpoint() with fake.account() ...
//! assert_eq!(fake.count(Call::Register), 0);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Theory of operation
//!
//! ```text
//!   listener ──accept──► one thread per connection ──► request (http.rs) ──► fault? (fault.rs) ──► answer (api.rs)
//!      ▲  wakes on: a caller, down(), restart(), drop                            │                  reads and changes
//!                                                                                ▼                  Gate (state.rs)
//!                                                                       the answer, or what a fault makes of it
//! ```
//!
//! The threads stay in the network namespace of the one that called [`FakeGate::start_on`], and so does the socket that
//! [`FakeGate::come_up`] opens anew.
#![forbid(unsafe_code)]

mod api;
mod fault;
mod http;
mod server;
mod state;

pub use api::Call;
pub use fault::Fault;
pub use http::Recorded;
pub use server::FakeGate;
pub use state::{Account, Gate, Peer, VPG_ID, Vpg};
