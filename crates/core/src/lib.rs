//! Decides where each frame goes: the forwarding database, the flood list, the accept list.
//! Never reads a clock, a socket or a payload.
#![cfg_attr(not(loom), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod config;
mod control;
mod counters;
mod drop_reason;
mod entry;
mod event;
mod flood;
mod overlay;
mod prefix;
mod remote;
mod segment;
mod time;
mod verdict;

pub use config::SegmentConfig;
pub use control::{ControlError, PeerView};
pub use counters::{Counters, Counts, FlowCounts, PeerCounts};
pub use drop_reason::DropReason;
pub use entry::{EntryState, EntryStates, EntryView, FlushFilter, PageCursor};
pub use event::Event;
pub use flood::{FloodLists, FloodTarget};
pub use overlay::OverlayHalf;
pub use prefix::{InvalidPrefix, Prefix};
pub use remote::{PeerId, Remote};
pub use segment::Segment;
pub use time::Timestamp;
pub use verdict::{Destination, OverlayVerdict, UnderlayVerdict};
