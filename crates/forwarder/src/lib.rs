//! Moves frames between a port and an underlay as the core decides.
//! Never decides where a frame goes and never configures a link.
//!
//! # A tunnel in fifteen lines
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use vxgate_forwarder::{Device, Forwarder, MemoryPort, MemoryUnderlay, OuterPolicy};
//! use vxgate_forwarder::{MacAddr, Remote, Segment, SegmentConfig, Timestamp, Vni};
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
//! The same over a TAP device and a UDP socket, both of which the caller may have opened elsewhere; the device is down and has no
//! address until somebody gives it one:
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use vxgate_forwarder::{Forwarder, OuterPolicy, Segment, SegmentConfig, TapPort, UdpConfig, UdpUnderlay};
//! use vxgate_forwarder::{Tap, TapOptions};
//!
//! let tap = Arc::new(Tap::open(&TapOptions::new("vxlan0"))?);
//! let underlay = UdpUnderlay::bind(&UdpConfig::new("172.21.0.100:4789".parse()?))?;
//! let segment = Segment::new(SegmentConfig::default()); // with a random `hash_key`, and peers
//! let forwarder = Forwarder::spawn(segment, TapPort::new(tap), underlay, OuterPolicy::default())?;
//! # forwarder.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Port`] is where frames enter and leave the overlay, an [`Underlay`] carries datagrams to other VTEPs, and a
//! [`Segment`] decides. Segments of several VNIs share one address and port by a [`UdpHub`].
//!
//! ```text
//!   host ──► Port ──► Egress ──────────► Underlay ──► peers
//!        ◄──      ◄── Ingress, Segment ◄──        ◄──
//! ```
//!
//! # Examples that run
//!
//! | `cargo run -p vxgate-forwarder --example` | what it shows |
//! |---|---|
//! | `memory_pair` | two VTEPs in one process, without a device, a socket or a privilege |
//! | `counting_port` | a port of your own, around another one |
//! | `tap_bridge DEV LOCAL PEER` | a TAP device and a UDP socket: a tunnel in forty lines |
//!
//! # A device that somebody else opened
//!
//! A process without any capability carries a tunnel on a descriptor that a privileged one hands to it: `Tap::from_fd(fd)` and
//! [`TapPort::new`], no `unsafe` and no C. The device must have been opened with `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`; for one without a
//! virtio header there are [`PlainTap`] and [`PlainTapPort`].
//!
//! # What stays
//!
//! `docs/api/vxgate-forwarder.txt` lists what is public; a test holds the code against it, so that nothing changes by accident. What goes
//! from that list or changes in it is a new minor version before 1.0 and a new major one after (semantic versioning). The library's
//! defaults are the kernel's: the limits and damping that the binary switches on are fields of [`SegmentConfig`].
#![forbid(unsafe_code)]

mod affinity;
mod capture;
mod egress;
mod faulty;
mod forwarder;
mod ingress;
mod memory;
mod outer;
mod own;
mod own_datagram;
mod patience;
mod pcap;
pub mod port;
mod tap;
mod too_big;
mod udp;
pub mod underlay;
mod worker;

pub use affinity::{PROCESSOR_MAX, check_processor};
pub use capture::{Capture, CaptureOptions, Captured, CapturedAt, SNAPLEN_MAX};
pub use egress::Egress;
pub use faulty::{Faults, FaultyPort};
pub use forwarder::{Control, Direction, Ended, Forwarder, ForwarderError, OnStart, WorkerOptions};
pub use ingress::{Ingress, Judge};
pub use memory::{MemoryPort, MemoryUnderlay, OverlayEnd, UnderlayEnd};
pub use outer::{Inherit, OuterPolicy};
pub use patience::BusyPoll;
pub use pcap::PcapPort;
pub use port::{Device, Frame, Port, PortRx, PortTx};
pub use tap::{PlainTapPort, TapOffload, TapPort};
pub use udp::{
    Fate, HUB_SEGMENTS, HubReports, SOURCE_PORT_POOL, SourcePort, UdpBuffers, UdpConfig, UdpErrorReader,
    UdpErrors, UdpHub, UdpOffload, UdpUnderlay, UnderlayReport,
};
pub use underlay::{Datagram, Outer, Tally, Target, Underlay, UnderlayRx, UnderlayTx};
pub use worker::SecondThread;

// What an embedder needs of the crates below, so that this one is the only dependency to name.
pub use vxgate_codec::tcp::MssLimit;
pub use vxgate_codec::{MacAddr, ReservedBits, Vni};
pub use vxgate_core::{
    AllCounters, AnswerRefusal, ControlError, Counters, Counts, DownReason, DropReason, EntryState,
    EntryView, Event, FloodLists, HealthConfig, Limits, OverlayHalf, OwnCounts, PathDiscovery, PeerHealth,
    PeerId, PeerState, PeerView, Prefix, Remote, Segment, SegmentConfig, Timestamp, Transmit,
};
pub use vxgate_offload::{Joins, Work};
pub use vxgate_sys::plain_tap::PlainTap;
pub use vxgate_sys::tap::{Offload, Tap, TapError, TapOptions};
