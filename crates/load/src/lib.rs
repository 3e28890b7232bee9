//! Makes traffic and measures it.
//! Never knows what carries it.
//!
//! # Theory of operation
//!
//! ```text
//!   near                                                        far
//!   tcp::connect ──► writers ═══════ streams ═══════► readers ◄── tcp::Sink
//!   udp::Senders ──► flat out, or paced ═ flows ════► udp::Receivers: delivered, lost, reordered
//!   round_trip::measure ◄──── one datagram at a time ────► round_trip::Echo
//!   connections::measure ──── one octet in each ────────► connections::Acceptor
//! ```
//!
//! A socket belongs to the network namespace of the thread that makes it: whoever wants the two ends in different ones
//! makes the far end's there, and calls the rest from the near one. Each load runs on threads of its own; a
//! measurement is the difference between two looks at their counters, after a warm-up that is not measured.
//!
//! The sockets are an ordinary application's: no `UDP_SEGMENT`, no `UDP_GRO`, no options of TCP.
#![forbid(unsafe_code)]

mod clock;
pub mod connections;
mod error;
mod pace;
pub mod processor;
pub mod round_trip;
mod search;
mod sequence;
mod stop;
pub mod tcp;
pub mod udp;
mod window;

pub use error::Error;
pub use stop::Stop;
pub use window::Span;
