//! Superframes as pure functions: virtio_net_hdr, split, coalesce, checksums.
//! Never touches a device or a socket.
//!
//! # Theory of operation
//!
//! A frame that comes from a kernel peer over a link that passes whole superframes, or from a TAP with offloads
//! switched on, may lack two things: its TCP or UDP checksum (the field then holds the folded sum of the pseudo
//! header alone), and the cuts between its segments. [`Work`] says which. A port that speaks `virtio_net_hdr`
//! passes the work on to the kernel ([`Work::to_virtio`]); one that does not does it here ([`Work::finish`]).
//!
//! ```text
//!   datagram ──► Work::from_peer ──┬─► Done      ───────────────► write
//!   TAP read ──► Work::from_virtio ├─► Checksum  ─► to_virtio / finish ─► write
//!                                  └─► Split     ─► to_virtio / cutter × n ─► write
//! ```
//!
//! [`coalesce`] goes the other way: it joins whole frames of one flow into a superframe for a device that takes one.
#![forbid(unsafe_code)]
#![no_std]

extern crate alloc;

pub mod checksum;
pub mod coalesce;
mod cutter;
mod split;
mod virtio;
mod work;

pub use checksum::ChecksumAt;
pub use coalesce::{Coalescer, Joins, Offer, Superframe};
pub use cutter::Cutter;
pub use split::{Split, SplitKind};
pub use virtio::{VIRTIO_NET_HEADER_OCTETS, VirtioNetHeader};
pub use work::{Work, WorkError};
