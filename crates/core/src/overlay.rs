//! The way from the overlay to the underlay: the half of a segment that only reads.

use alloc::sync::Arc;

use crate::{DropReason, FloodLists, OverlayVerdict, PeerId, Remote};

/// The half of a segment that says where frames from the overlay go. It reads what the [`Segment`](crate::Segment) writes in
/// another thread, without a lock.
///
/// Of all clones only one may handle frames at any time: the counters of this direction have one writer, and a second one
/// makes them count short.
#[derive(Clone, Debug)]
pub struct OverlayHalf {
    flood: Arc<FloodLists>,
}

impl OverlayHalf {
    pub(crate) fn new(flood: Arc<FloodLists>) -> OverlayHalf {
        OverlayHalf { flood }
    }

    /// Where this frame goes. Only its destination address is looked at.
    #[must_use]
    pub fn handle_overlay(&self, _frame: &[u8]) -> OverlayVerdict<'_> {
        match self.flood.unknown() {
            [] => OverlayVerdict::Drop(DropReason::NoRemote),
            targets => OverlayVerdict::Flood(targets),
        }
    }

    /// Takes over the lists that [`Segment::poll_flood`](crate::Segment::poll_flood) gave.
    pub fn set_flood(&mut self, flood: Arc<FloodLists>) {
        self.flood = flood;
    }

    /// The remote of this number, if one has it now.
    #[must_use]
    pub fn remote(&self, _peer: PeerId) -> Option<Remote> {
        None
    }
}
