//! Where copies go: the lists of remotes for unknown destinations and for groups.

use alloc::vec::Vec;
use core::net::SocketAddr;

use vxgate_codec::{MacAddr, Vni};

use crate::PeerId;

/// One copy of a flooded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FloodTarget {
    /// Whose copy.
    pub peer: PeerId,
    /// Outer IP address and UDP port.
    pub addr: SocketAddr,
    /// The segment that the header names.
    pub vni: Vni,
}

/// The lists of remotes for unknown destinations and for group addresses, as they were at one moment.
///
/// The segment makes a new one after each change ([`Segment::poll_flood`](crate::Segment::poll_flood)); the caller takes
/// it to each [`OverlayHalf`](crate::OverlayHalf::set_flood).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FloodLists {
    /// Remotes of the all-zero entry.
    pub(crate) unknown: Vec<FloodTarget>,
    /// Remotes of groups that have an entry of their own, sorted by group.
    pub(crate) groups: Vec<(MacAddr, Vec<FloodTarget>)>,
}

impl FloodLists {
    /// The remotes that get a copy of what has no entry: those of the all-zero entry.
    #[must_use]
    pub fn unknown(&self) -> &[FloodTarget] {
        &self.unknown
    }

    /// The remotes that get a copy of a frame to this group: those of its own entry, else of the all-zero entry.
    #[must_use]
    pub fn group(&self, group: MacAddr) -> &[FloodTarget] {
        if self.groups.is_empty() {
            return &self.unknown;
        }
        let place = self.groups.binary_search_by_key(&group, |(own, _)| *own).ok();
        place.and_then(|place| self.groups.get(place)).map_or(&self.unknown, |(_, targets)| targets)
    }
}
