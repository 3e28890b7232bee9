//! Turns bytes into VXLAN, Ethernet and IP headers and back.
//! Never allocates, never panics on any bytes, never decides where a frame goes.
//!
//! The same few names serve every header: `parse` reads, `to_bytes` writes, and [`ParseError`] names the one rule
//! that the bytes broke. Offsets count octets from the start of the frame, which begins at its destination MAC
//! address: no preamble, no frame check sequence (RFC 7348 section 5).
#![no_std]
#![forbid(unsafe_code)]
// What can panic on bad bytes does not compile: this holds the promise above, the properties only probe it.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::string_slice
    )
)]

#[cfg(test)]
extern crate std;

pub mod arp;
pub mod ecn;
pub mod ethernet;
pub mod flow;
pub mod layers;
pub mod ndp;
pub mod tcp;
pub mod vxlan;

mod error;
mod mac;
mod octets;
mod vni;

pub use error::ParseError;
pub use mac::{InvalidMacAddr, MacAddr};
pub use vni::{InvalidVni, Vni};
pub use vxlan::{InvalidReservedBits, ReservedBits};
