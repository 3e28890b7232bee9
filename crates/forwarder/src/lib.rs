//! Moves frames between a port and an underlay as the core decides.
//! Never decides where a frame goes and never configures a link.
//!
//! # A tunnel in fifteen lines
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use vxgate_codec::{MacAddr, Vni};
//! use vxgate_core::{Remote, Segment, SegmentConfig, Timestamp};
//! use vxgate_forwarder::{Device, Forwarder, MemoryPort, MemoryUnderlay, OuterPolicy};
//!
//! let vni = Vni::new(10).ok_or("a VNI has 24 bits")?;
//! let mut segment = Segment::new(SegmentConfig { vni, hash_key: 0x5eed, ..SegmentConfig::default() });
//! segment.peer_add(Remote::new("100.64.158.4".parse()?), Timestamp::default())?;
//! let device = Device { mac: MacAddr::new([2, 0, 0, 0, 0, 1]), mtu_octets: 1450 };
//! let (port, overlay) = MemoryPort::new(device, 256)?; // or TapPort
//! let (underlay, network) = MemoryUnderlay::new(256)?; // or UdpUnderlay
//! let forwarder = Forwarder::spawn(segment, port, underlay, OuterPolicy::default())?;
//!
//! overlay.send(&[0xff; 60]); // a broadcast frame of the host ...
//! let (to, datagram) = network.recv_within(Duration::from_secs(5))?.ok_or("no datagram came")?;
//! assert_eq!((to.to_string().as_str(), datagram.len()), ("100.64.158.4:4789", 68)); // ... left in a datagram
//! while let Some(event) = forwarder.poll_event() {
//!     println!("{event:?}");
//! }
//! forwarder.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Port`] is where frames enter and leave the overlay, an [`Underlay`] carries datagrams to other VTEPs, and a
//! [`Segment`](vxgate_core::Segment) decides. What is not supported: more than one segment over one underlay, more
//! than one pair of threads.
#![forbid(unsafe_code)]

mod egress;
mod faulty;
mod forwarder;
mod ingress;
mod memory;
mod outer;
mod pcap;
pub mod port;
mod tap;
mod udp;
pub mod underlay;

pub use egress::Egress;
pub use faulty::{Faults, FaultyPort};
pub use forwarder::{Control, Direction, Ended, Forwarder, ForwarderError};
pub use ingress::Ingress;
pub use memory::{MemoryPort, MemoryUnderlay, OverlayEnd, UnderlayEnd};
pub use outer::{Inherit, OuterPolicy};
pub use pcap::PcapPort;
pub use port::{Device, Frame, Port, PortRx, PortTx};
pub use tap::{PlainTapPort, TapPort};
pub use udp::{SOURCE_PORT_POOL, SourcePort, UdpConfig, UdpUnderlay};
pub use underlay::{Datagram, Outer, Tally, Target, Underlay, UnderlayRx, UnderlayTx};
