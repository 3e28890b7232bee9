//! Decides where each frame goes: the forwarding database, the flood list, the accept list, the health of the peers.
//! Never reads a clock or a socket, nor a payload other than ARP and neighbour discovery.
#![cfg_attr(not(loom), no_std)]
#![forbid(unsafe_code)]
// What can panic on bad input does not compile.
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

extern crate alloc;

mod accept;
mod all_counters;
mod config;
mod control;
mod counters;
mod drop_reason;
mod entry;
mod event;
pub mod fdb;
mod flap;
mod flood;
mod health;
mod limits;
mod overlay;
mod own;
mod path_mtu;
mod paths;
mod peers;
mod prefix;
mod remote;
mod segment;
mod storm;
mod sync;
mod time;
mod underlay;
mod verdict;

pub use all_counters::AllCounters;
pub use config::SegmentConfig;
pub use control::{ControlError, PeerView};
pub use counters::{Counters, Counts, FlowCounts, PeerCounts};
pub use drop_reason::DropReason;
pub use entry::{EntryState, EntryStates, EntryView, FlushFilter, PageCursor};
pub use event::Event;
pub use flood::{FloodLists, FloodTarget};
pub use health::{AnswerRefusal, DownReason, HealthConfig, PeerHealth, PeerState, Transmit};
pub use limits::Limits;
pub use overlay::OverlayHalf;
pub use own::OwnCounts;
pub use paths::PathDiscovery;
pub use prefix::{InvalidPrefix, Prefix};
pub use remote::{PeerId, Remote};
pub use segment::Segment;
pub use storm::StormLimit;
pub use time::Timestamp;
pub use underlay::{Sighting, UnderlayHalf, UnderlayView};
pub use verdict::{Destination, OverlayVerdict, UnderlayVerdict};
