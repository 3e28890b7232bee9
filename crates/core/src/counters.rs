//! What is counted, by whom, and how to read it.
//!
//! # Theory of operation
//!
//! Every counter has one writer: the thread that carries frames from the overlay to the underlay, or the other one, which
//! also runs control. Where several workers carry frames, each has counters of its own, and who reads adds them up
//! ([`AllCounters`](crate::AllCounters)). A writer therefore adds by a plain load and a plain store, without the locked instruction that
//! `fetch_add` is. The counters of either thread lie in cache lines of their own. Readers see each counter move forward only,
//! and different counters at slightly different moments.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::own::{OwnOverlaySide, OwnUnderlaySide};
use crate::{AnswerRefusal, DropReason, OwnCounts, PeerId, Timestamp};

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// To be called by the one writer: two at once lose counts.
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.set(self.load().wrapping_add(count));
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Flow {
    frames: Counter,
    octets: Counter,
}

impl Flow {
    #[inline]
    pub(crate) fn add(&self, frames: u64, octets: u64) {
        self.frames.add(frames);
        self.octets.add(octets);
    }

    pub(crate) fn load(&self) -> FlowCounts {
        FlowCounts { frames: self.frames.load(), octets: self.octets.load() }
    }
}

#[derive(Debug, Default)]
struct Drops([Counter; DropReason::COUNT]);

impl Drops {
    fn add(&self, reason: DropReason, count: u64) {
        if let Some(counter) = self.0.get(reason.index()) {
            counter.add(count);
        }
    }

    fn load(&self) -> [u64; DropReason::COUNT] {
        self.0.each_ref().map(Counter::load)
    }
}

/// What the overlay-to-underlay thread writes. Two cache lines apart, as processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct OverlaySide {
    handled: Flow,
    floods: Counter,
    flood_copies: Counter,
    sent: Flow,
    drops: Drops,
    own: OwnOverlaySide,
}

/// What the underlay-to-overlay thread writes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct UnderlaySide {
    handled: Flow,
    delivered: Flow,
    drops: Drops,
    table: TableCounters,
    own: OwnUnderlaySide,
    health: HealthCounters,
}

/// What the segment counts of its table.
#[derive(Debug, Default)]
pub(crate) struct TableCounters {
    pub(crate) entries: Counter,
    pub(crate) learned: Counter,
    pub(crate) moved: Counter,
    pub(crate) moves_damped: Counter,
    pub(crate) aged: Counter,
    pub(crate) refused_macs: Counter,
    pub(crate) refused_share: Counter,
    pub(crate) refused_peers: Counter,
    pub(crate) events_lost: Counter,
    pub(crate) sightings_deferred: Counter,
}

/// What the segment counts of its peers' health.
#[derive(Debug, Default)]
pub(crate) struct HealthCounters {
    pub(crate) probes: Counter,
    pub(crate) answers: Counter,
    refused: [Counter; AnswerRefusal::COUNT],
    pub(crate) hints: Counter,
    pub(crate) transmits_lost: Counter,
}

impl HealthCounters {
    pub(crate) fn refuse(&self, reason: AnswerRefusal) {
        if let Some(counter) = self.refused.get(reason.index()) {
            counter.add(1);
        }
    }
}

#[derive(Debug, Default)]
struct PeerUnderlaySide {
    delivered: Flow,
    /// In nanoseconds, and one more: 0 is never.
    heard: Counter,
}

/// The counters of one segment, or of one worker of it. Any thread may read them at any time; who may write says each function.
#[derive(Debug)]
pub struct Counters {
    overlay: OverlaySide,
    underlay: UnderlaySide,
    /// By number of the remote, one array for each writer.
    sent: Box<[Flow]>,
    delivered: Box<[PeerUnderlaySide]>,
}

impl Counters {
    pub(crate) fn new(peers: usize) -> Counters {
        Counters {
            overlay: OverlaySide::default(),
            underlay: UnderlaySide::default(),
            sent: (0..peers).map(|_| Flow::default()).collect(),
            delivered: (0..peers).map(|_| PeerUnderlaySide::default()).collect(),
        }
    }

    /// Counts frames that the underlay has taken, one copy each, for this remote. Overlay-to-underlay thread only.
    #[inline]
    pub fn count_sent(&self, peer: PeerId, frames: u64, octets: u64) {
        self.overlay.sent.add(frames, octets);
        if let Some(flow) = self.sent.get(peer.index()) {
            flow.add(frames, octets);
        }
    }

    /// Counts frames or copies that were dropped after the verdict. Overlay-to-underlay thread only.
    pub fn count_overlay_drop(&self, reason: DropReason, frames: u64) {
        self.overlay.drops.add(reason, frames);
    }

    /// Counts a frame that came in and was dropped without asking for a verdict. Overlay-to-underlay thread only.
    pub fn count_overlay_refusal(&self, reason: DropReason, octets: u64) {
        self.overlay.handled.add(1, octets);
        self.overlay.drops.add(reason, 1);
    }

    /// Counts frames that the overlay port has taken. Underlay-to-overlay thread only.
    #[inline]
    pub fn count_delivered(&self, peer: Option<PeerId>, frames: u64, octets: u64) {
        self.underlay.delivered.add(frames, octets);
        if let Some(peer) = peer.and_then(|peer| self.delivered.get(peer.index())) {
            peer.delivered.add(frames, octets);
        }
    }

    /// Counts frames that were dropped after the verdict. Underlay-to-overlay thread only.
    pub fn count_underlay_drop(&self, reason: DropReason, frames: u64) {
        self.underlay.drops.add(reason, frames);
    }

    /// Counts a datagram that came in and was dropped without asking for a verdict. Underlay-to-overlay thread only.
    pub fn count_underlay_refusal(&self, reason: DropReason, octets: u64) {
        self.underlay.handled.add(1, octets);
        self.underlay.drops.add(reason, 1);
    }

    /// Counts a frame of our own that the underlay has taken. Overlay-to-underlay thread only.
    pub fn count_own_sent(&self, frames: u64, octets: u64) {
        self.overlay.own.sent.add(frames, octets);
    }

    /// Counts frames of our own that the underlay refused. Overlay-to-underlay thread only.
    pub fn count_own_unsent(&self, frames: u64) {
        self.overlay.own.unsent.add(frames);
    }

    /// Counts an answer to the host that found no room on its way to the port. Overlay-to-underlay thread only.
    pub fn count_unanswered(&self) {
        self.overlay.own.unanswered.add(1);
    }

    /// Counts an answer to the host that was not given, because too many had been given just before. Overlay-to-underlay thread
    /// only.
    pub fn count_held_back(&self) {
        self.overlay.own.held_back.add(1);
    }

    /// Counts answers to the host that the port has taken. Underlay-to-overlay thread only.
    pub fn count_answered(&self, frames: u64, octets: u64) {
        self.underlay.own.answered.add(frames, octets);
    }

    /// Counts answers to the host that the port refused. Underlay-to-overlay thread only.
    pub fn count_undelivered(&self, frames: u64) {
        self.underlay.own.undelivered.add(frames);
    }

    /// All totals.
    #[must_use]
    pub fn snapshot(&self) -> Counts {
        let Counters { overlay, underlay, .. } = self;
        Counts {
            overlay_in: overlay.handled.load(),
            floods: overlay.floods.load(),
            flood_copies: overlay.flood_copies.load(),
            sent: overlay.sent.load(),
            underlay_in: underlay.handled.load(),
            delivered: underlay.delivered.load(),
            overlay_drops: overlay.drops.load(),
            underlay_drops: underlay.drops.load(),
            entries: underlay.table.entries.load(),
            learned: underlay.table.learned.load(),
            moved: underlay.table.moved.load(),
            moves_damped: underlay.table.moves_damped.load(),
            aged: underlay.table.aged.load(),
            refused_macs: underlay.table.refused_macs.load(),
            refused_share: underlay.table.refused_share.load(),
            refused_peers: underlay.table.refused_peers.load(),
            events_lost: underlay.table.events_lost.load(),
            sightings_deferred: underlay.table.sightings_deferred.load(),
            own: overlay.own.load(&underlay.own),
            probes: underlay.health.probes.load(),
            probe_answers: underlay.health.answers.load(),
            answers_refused: underlay.health.refused.each_ref().map(Counter::load),
            unreachable_hints: underlay.health.hints.load(),
            transmits_lost: underlay.health.transmits_lost.load(),
        }
    }

    /// The counters of one remote; all zero for a number that is not in use.
    #[must_use]
    pub fn peer(&self, peer: PeerId) -> PeerCounts {
        let (Some(sent), Some(side)) = (self.sent.get(peer.index()), self.delivered.get(peer.index())) else {
            return PeerCounts::default();
        };
        PeerCounts { rx: side.delivered.load(), tx: sent.load(), last_heard: self.last_heard(peer) }
    }

    /// By the core, overlay-to-underlay thread.
    #[inline]
    pub(crate) fn overlay_in(&self, frames: u64, octets: usize) {
        self.overlay.handled.add(frames, octets as u64);
    }

    /// By the core, overlay-to-underlay thread.
    #[inline]
    pub(crate) fn flooded(&self, frames: u64, copies: usize) {
        self.overlay.floods.add(frames);
        self.overlay.flood_copies.add(frames * copies as u64);
    }

    /// By the core, underlay-to-overlay thread.
    #[inline]
    pub(crate) fn underlay_in(&self, octets: usize) {
        self.underlay.handled.add(1, octets as u64);
    }

    /// By the core, underlay-to-overlay thread.
    #[inline]
    pub(crate) fn heard(&self, peer: PeerId, now: Timestamp) {
        if let Some(side) = self.delivered.get(peer.index()) {
            side.heard.set(now.as_nanos().saturating_add(1));
        }
    }

    /// By the core, underlay-to-overlay thread.
    pub(crate) fn table(&self) -> &TableCounters {
        &self.underlay.table
    }

    /// By the core, underlay-to-overlay thread.
    pub(crate) fn health(&self) -> &HealthCounters {
        &self.underlay.health
    }

    /// When anything last came from this remote.
    pub(crate) fn last_heard(&self, peer: PeerId) -> Option<Timestamp> {
        self.delivered.get(peer.index())?.heard.load().checked_sub(1).map(Timestamp::from_nanos)
    }

    /// By the core, underlay-to-overlay thread, when a number goes to another remote. The one place where a counter of the
    /// other thread is written: what that thread still sends to the remote before is lost or counted for the new one.
    pub(crate) fn reset_peer(&self, peer: PeerId) {
        if let (Some(sent), Some(side)) = (self.sent.get(peer.index()), self.delivered.get(peer.index())) {
            for counter in
                [&sent.frames, &sent.octets, &side.delivered.frames, &side.delivered.octets, &side.heard]
            {
                counter.set(0);
            }
        }
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

impl FlowCounts {
    pub(crate) fn add(self, other: FlowCounts) -> FlowCounts {
        FlowCounts { frames: self.frames + other.frames, octets: self.octets + other.octets }
    }
}

/// All totals of a segment, as read at one moment.
///
/// When both threads rest, [`Counts::is_balanced`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that the core was asked about in overlay-to-underlay direction: a superframe counts as the frames that it becomes
    /// on the wire, and as its own octets.
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
    /// Moves that were not made, because the address moves too often.
    pub moves_damped: u64,
    /// Entries that ageing removed.
    pub aged: u64,
    /// Frames delivered whose source could not be learned because the table is full.
    pub refused_macs: u64,
    /// Frames delivered whose source could not be learned because its remote has its share of the table.
    pub refused_share: u64,
    /// Frames delivered whose source could not be learned because no further remote fits.
    pub refused_peers: u64,
    /// Events lost because nobody took them in time.
    pub events_lost: u64,
    /// Frames delivered whose source was not learned for now, because the thread that learns had too much to do; the next frame
    /// tries again. Of several workers only.
    pub sightings_deferred: u64,
    /// Frames of our own, which no other field counts.
    pub own: OwnCounts,
    /// Probes made, one for each time that a peer was asked.
    pub probes: u64,
    /// Answers to them.
    pub probe_answers: u64,
    /// What looked like an answer and was none, by [`AnswerRefusal::index`].
    pub answers_refused: [u64; AnswerRefusal::COUNT],
    /// ICMP errors of the underlay about peers.
    pub unreachable_hints: u64,
    /// Frames of our own that nobody took in time.
    pub transmits_lost: u64,
}

impl Counts {
    /// Whether every frame is accounted for, in each direction: as many came in, flooded ones counted once for each copy, as
    /// went out or were dropped. Holds when both threads rest and the caller counts each copy of each verdict as sent, delivered or
    /// dropped.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let overlay_gone = self.sent.frames + self.overlay_drops.iter().sum::<u64>();
        let underlay_gone = self.delivered.frames + self.underlay_drops.iter().sum::<u64>();
        self.overlay_in.frames + self.flood_copies == overlay_gone + self.floods
            && self.underlay_in.frames == underlay_gone
    }
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
