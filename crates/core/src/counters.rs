//! What is counted, by whom, and how to read it.

use crate::{DropReason, PeerId, Timestamp};

/// The counters of one segment; any thread may read them at any time.
#[derive(Debug)]
pub struct Counters {}

impl Counters {
    /// Counts frames that the underlay has taken, one copy each, for this remote. Overlay-to-underlay thread only.
    pub fn count_sent(&self, _peer: PeerId, _frames: u64, _octets: u64) {}

    /// Counts frames or copies that were dropped after the verdict. Overlay-to-underlay thread only.
    pub fn count_overlay_drop(&self, _reason: DropReason, _frames: u64) {}

    /// Counts frames that the overlay port has taken. Underlay-to-overlay thread only.
    pub fn count_delivered(&self, _peer: Option<PeerId>, _frames: u64, _octets: u64) {}

    /// Counts frames or datagrams that were dropped before or after the verdict. Underlay-to-overlay thread only.
    pub fn count_underlay_drop(&self, _reason: DropReason, _frames: u64) {}

    /// All totals.
    #[must_use]
    pub fn snapshot(&self) -> Counts {
        Counts::default()
    }

    /// The counters of one remote; all zero for a number that is not in use.
    #[must_use]
    pub fn peer(&self, _peer: PeerId) -> PeerCounts {
        PeerCounts::default()
    }
}

/// Frames and octets of one direction, as read at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Frames.
    pub frames: u64,
    /// Octets of these frames, outer headers not included.
    pub octets: u64,
}

/// All totals of a segment, as read at one moment.
///
/// When both threads rest, `overlay_in.frames - floods + flood_copies == sent.frames` plus all `overlay_drops`, and
/// `underlay_in.frames == delivered.frames` plus all `underlay_drops`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that the core was asked about in overlay-to-underlay direction.
    pub overlay_in: FlowCounts,
    /// Of these, frames to be sent as a copy to each remote of a list.
    pub floods: u64,
    /// The copies that these were to become.
    pub flood_copies: u64,
    /// Copies that the underlay has taken: `tx` of `vxgate show`.
    pub sent: FlowCounts,
    /// Datagrams that the core was asked about in underlay-to-overlay direction; octets of the whole payload.
    pub underlay_in: FlowCounts,
    /// Frames that the overlay port has taken: `rx` of `vxgate show`.
    pub delivered: FlowCounts,
    /// Drops in overlay-to-underlay direction, by [`DropReason::index`].
    pub overlay_drops: [u64; DropReason::COUNT],
    /// Drops in underlay-to-overlay direction, by [`DropReason::index`].
    pub underlay_drops: [u64; DropReason::COUNT],
    /// MAC addresses that have an entry now, as `max_macs` counts them.
    pub entries: u64,
    /// Entries learned.
    pub learned: u64,
    /// Entries that learning moved to another remote.
    pub moved: u64,
    /// Entries that ageing removed.
    pub aged: u64,
    /// Frames delivered whose source could not be learned because the table is full.
    pub refused_macs: u64,
    /// Frames delivered whose source could not be learned because no further remote fits.
    pub refused_peers: u64,
    /// Events lost because nobody took them in time.
    pub events_lost: u64,
}

/// The counters of one remote, as read at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    /// Frames from it that the overlay port has taken.
    pub rx: FlowCounts,
    /// Copies to it that the underlay has taken.
    pub tx: FlowCounts,
    /// When a datagram of our segment last came from it.
    pub last_heard: Option<Timestamp>,
}
