//! The way from the overlay to the underlay: the half of a segment that only reads.

use alloc::sync::Arc;

use vxgate_codec::{MacAddr, ethernet};

use crate::fdb::FdbReader;
use crate::remote::RemoteTable;
use crate::{
    Counters, Destination, DropReason, FloodLists, Limits, OverlayVerdict, PeerId, Remote, StormLimit,
};

/// The half of a segment that says where frames from the overlay go. It reads what the [`Segment`](crate::Segment) writes in
/// another thread, without a lock.
///
/// Of all clones only one may handle frames at any time: the counters of this direction have one writer, and a second one
/// makes them count short. Each further thread has a half of its own from [`Segment::worker_halves`](crate::Segment::worker_halves).
#[derive(Clone, Debug)]
pub struct OverlayHalf {
    pub(crate) fdb: FdbReader,
    pub(crate) remotes: Arc<RemoteTable>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) flood: Arc<FloodLists>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) storm: Arc<StormLimit>,
}

impl OverlayHalf {
    /// Where this frame goes; counts it as come in, and as dropped where that is the verdict. Only its length and its
    /// destination address are looked at: as in the kernel, its source may be anything.
    ///
    /// A group goes to the remotes of its own entry, else to those of the all-zero entry; a unicast address to the remote of its
    /// entry, else to those of the all-zero entry.
    #[inline]
    #[must_use]
    pub fn handle_overlay(&self, frame: &[u8]) -> OverlayVerdict<'_> {
        self.handle_superframe(frame, 1)
    }

    /// As [`OverlayHalf::handle_overlay`], for a superframe that becomes `frames` frames on the wire: all of them are counted,
    /// with the octets of the superframe.
    #[inline]
    #[must_use]
    pub fn handle_superframe(&self, frame: &[u8], frames: u64) -> OverlayVerdict<'_> {
        self.counters.overlay_in(frames, frame.len());
        if frame.len() < ethernet::HEADER_OCTETS {
            return self.drop(DropReason::Runt, frames);
        }
        let Some(destination) = ethernet::destination(frame) else {
            return self.drop(DropReason::Runt, frames);
        };
        let targets = if destination.is_group() {
            self.flood.group(destination)
        } else if let Some((peer, there)) = self.unicast(destination) {
            return OverlayVerdict::Unicast(peer, there);
        } else {
            self.flood.unknown()
        };
        if targets.is_empty() {
            return self.drop(DropReason::NoRemote, frames);
        }
        self.counters.flooded(frames, targets.len());
        OverlayVerdict::Flood(targets)
    }

    /// The remote that this address is behind. The entry is looked at again after its remote was read: that the number went to
    /// another remote in between would show there, as the writer takes the entry away first.
    #[inline]
    fn unicast(&self, mac: MacAddr) -> Option<(PeerId, Destination)> {
        let hit = self.fdb.find(mac)?;
        let there = self.remotes.destination(hit.peer())?;
        self.fdb.holds(hit).then_some((hit.peer(), there))
    }

    #[cold]
    fn drop(&self, reason: DropReason, frames: u64) -> OverlayVerdict<'_> {
        self.counters.count_overlay_drop(reason, frames);
        OverlayVerdict::Drop(reason)
    }

    /// The counters that this half counts in: its thread's own.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// How long frames may be, now and while the segment lives.
    #[must_use]
    pub fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits)
    }

    /// How much may be flooded to each remote: for whoever sends the copies to ask.
    #[must_use]
    pub fn storm_limit(&self) -> Arc<StormLimit> {
        Arc::clone(&self.storm)
    }

    /// Takes over the lists that [`Segment::poll_flood`](crate::Segment::poll_flood) gave.
    pub fn set_flood(&mut self, flood: Arc<FloodLists>) {
        self.flood = flood;
    }

    /// The remote of this number, if one has it now.
    #[must_use]
    pub fn remote(&self, peer: PeerId) -> Option<Remote> {
        self.remotes.remote(peer)
    }
}
