//! The way from the underlay to the overlay in threads that do not own the segment.
//!
//! # Theory of operation
//!
//! ```text
//!    owner's thread                                  any other worker's
//!   +--------------------------+                   +----------------------------------+
//!   | Segment                  |                   | UnderlayHalf                     |
//!   |   accept list, rules ------- poll_view -------> set_view: accept list, rules    |
//!   |   table writer --------writes--> [ FDB ] <--reads, notes the second             |
//!   |   handle_sighting <------------- channel -------- hand_over: what is to learn   |
//!   |   counters               |                   |   counters of its own            |
//!   +--------------------------+                   +----------------------------------+
//! ```
//!
//! A frame whose source is where the table has it needs no writer: that is nearly every frame. What would change the table, a
//! new station or one that moved, is a [`Sighting`] for the thread that owns the segment; the frame is delivered
//! meanwhile. Sightings that nobody takes up fill a bounded queue, and the frames behind them are delivered unlearned and
//! counted: the station's next frame tries again.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use vxgate_codec::{MacAddr, ReservedBits, Vni, ethernet, vxlan};

use crate::accept::{AcceptCache, accept};
use crate::fdb::{FdbReader, Hit};
use crate::health::{Answer, AnswerRefusal, Malformed, may_answer, read};
use crate::peers::Source;
use crate::remote::RemoteTable;
use crate::{Counters, DropReason, EntryState, Limits, Prefix, StormLimit, Timestamp, UnderlayVerdict};

/// What every worker goes by that control and learning may change, as it was at one moment.
///
/// The segment makes a new one after each change ([`Segment::poll_view`](crate::Segment::poll_view)); the caller takes it to
/// each [`UnderlayHalf`](crate::UnderlayHalf::set_view).
#[derive(Clone, Debug)]
pub struct UnderlayView {
    pub(crate) own_mac: MacAddr,
    pub(crate) learning: bool,
    /// Whether answers to probes are waited for.
    pub(crate) has_health: bool,
    pub(crate) blocks: Vec<Prefix>,
    /// Sorted by address.
    pub(crate) sources: Vec<(IpAddr, Source)>,
}

impl UnderlayView {
    /// What this outer source address stands for; `None` for a stranger.
    fn source(&self, addr: IpAddr) -> Option<Source> {
        let place = self.sources.binary_search_by_key(&addr, |(own, _)| *own).ok();
        let source = place.and_then(|place| self.sources.get(place)).map(|(_, source)| *source);
        accept(source.unwrap_or(Source::UNKNOWN), addr, &self.blocks)
    }
}

/// What a worker has seen that the owner of the segment has to know: a station that the table has elsewhere or not at all, or
/// what may be an answer to a probe. For [`Segment::handle_sighting`](crate::Segment::handle_sighting).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting(pub(crate) Seen);

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A frame of this station came from this outer address.
    Station { mac: MacAddr, addr: IpAddr },
    /// What may be the answer to a probe came from this outer address.
    Answer { from: IpAddr, answer: Answer, at: Timestamp },
}

/// Sightings that wait for the owner: those of one batch, in which hardly any frame is a new station's.
const MAX_SIGHTINGS: usize = 64;

/// How many of them answers leave free: whoever sends answers at full rate shall not stop the learning.
const FREE_OF_ANSWERS: usize = 48;

/// Sightings that are not repeated for [`REPEAT_NS`]: as a direct-mapped cache.
const LINES: usize = 64;

/// A station is reported once in this time, in nanoseconds: a table that is full, or an owner that is busy, shall not
/// be told of every frame.
const REPEAT_NS: u64 = 100_000_000;

/// The half of a segment for one of several threads that carry frames from the underlay to the overlay. It reads what the
/// [`Segment`](crate::Segment) writes in another thread, without a lock, and reports what that one has to learn.
#[derive(Debug)]
pub struct UnderlayHalf {
    pub(crate) fdb: FdbReader,
    pub(crate) remotes: Arc<RemoteTable>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) storm: Arc<StormLimit>,
    pub(crate) vni: Vni,
    pub(crate) reserved_bits: ReservedBits,
    view: Arc<UnderlayView>,
    cache: AcceptCache,
    sightings: VecDeque<Sighting>,
    reported: [Option<((MacAddr, IpAddr), u64)>; LINES],
}

impl UnderlayHalf {
    pub(crate) fn new(
        fdb: FdbReader,
        remotes: Arc<RemoteTable>,
        (counters, limits, storm): (Arc<Counters>, Arc<Limits>, Arc<StormLimit>),
        (vni, reserved_bits): (Vni, ReservedBits),
        view: UnderlayView,
    ) -> UnderlayHalf {
        UnderlayHalf {
            fdb,
            remotes,
            counters,
            limits,
            storm,
            vni,
            reserved_bits,
            view: Arc::new(view),
            cache: AcceptCache::EMPTY,
            sightings: VecDeque::with_capacity(MAX_SIGHTINGS),
            reported: [None; LINES],
        }
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

    /// Takes over what [`Segment::poll_view`](crate::Segment::poll_view) gave.
    pub fn set_view(&mut self, view: Arc<UnderlayView>) {
        self.view = view;
        self.cache = AcceptCache::EMPTY;
    }

    /// As [`Segment::handle_underlay`](crate::Segment::handle_underlay): the same verdicts by the same rules, but what it would
    /// learn waits for [`UnderlayHalf::hand_over`].
    #[inline]
    pub fn handle_underlay(&mut self, source: IpAddr, payload: &[u8], now: Timestamp) -> UnderlayVerdict {
        self.counters.underlay_in(payload.len());
        self.judge(&source, payload, now).unwrap_or_else(|reason| {
            self.counters.count_underlay_drop(reason, 1);
            UnderlayVerdict::Drop(reason)
        })
    }

    #[inline]
    fn judge(
        &mut self,
        addr: &IpAddr,
        payload: &[u8],
        now: Timestamp,
    ) -> Result<UnderlayVerdict, DropReason> {
        let UnderlayHalf { cache, view, .. } = self;
        let source = cache.source(addr, |addr| view.source(addr)).ok_or(DropReason::Stranger)?;
        let (mac, frame) = inspect(payload, self.vni, self.reserved_bits, self.view.own_mac)?;
        if is_for_many(frame) && !self.storm.admit_back(source.peer(), now) {
            return Err(DropReason::StormLimit);
        }
        if may_answer(frame) {
            self.hear(addr, frame, now);
        }
        if self.view.learning {
            self.recognise(mac, addr, &source, now)?;
        }
        if let Some(peer) = source.peer() {
            self.counters.heard(peer, now);
        }
        Ok(UnderlayVerdict::Deliver { frame_offset: payload.len() - frame.len(), peer: source.peer() })
    }

    /// Notes that `mac` is behind `addr`, where the table says so; else reports it.
    #[inline]
    fn recognise(
        &mut self,
        mac: MacAddr,
        addr: &IpAddr,
        source: &Source,
        now: Timestamp,
    ) -> Result<(), DropReason> {
        match self.fdb.find(mac) {
            Some(hit) if Some(hit.peer()) == source.learned() => {
                self.fdb.touch(hit, now.seconds_up());
                Ok(())
            }
            Some(hit) => self.meet(hit, mac, addr.to_canonical(), source, now),
            None => {
                if !source.is_down() {
                    self.report(mac, addr.to_canonical(), now);
                }
                Ok(())
            }
        }
    }

    /// The entry of `mac` is at another remote, or at one with a port or a VNI of its own at the same address.
    fn meet(
        &mut self,
        hit: Hit,
        mac: MacAddr,
        addr: IpAddr,
        source: &Source,
        now: Timestamp,
    ) -> Result<(), DropReason> {
        let remote = self.remotes.remote(hit.peer());
        // An entry that changes in this moment is met again by the next frame.
        let (Some(kind), Some(remote)) = (self.fdb.kind(hit), remote) else { return Ok(()) };
        if remote.addr == addr {
            self.fdb.touch(hit, now.seconds_up());
            return Ok(());
        }
        match kind.state {
            EntryState::Permanent | EntryState::Static => Err(DropReason::StaticElsewhere),
            EntryState::Dynamic => {
                if !source.is_down() {
                    self.report(mac, addr, now);
                }
                Ok(())
            }
        }
    }

    /// Looks whether a frame of this outer address may be an answer to a probe, which its owner has to know.
    #[cold]
    #[inline(never)]
    fn hear(&mut self, addr: &IpAddr, frame: &[u8], now: Timestamp) {
        if !self.view.has_health {
            return;
        }
        match read(frame) {
            Some(Ok(answer)) if self.sightings.len() + FREE_OF_ANSWERS < MAX_SIGHTINGS => {
                let answer = Seen::Answer { from: addr.to_canonical(), answer, at: now };
                self.sightings.push_back(Sighting(answer));
            }
            Some(Ok(_)) => self.counters.table().sightings_deferred.add(1),
            Some(Err(Malformed)) => self.counters.health().refuse(AnswerRefusal::Malformed),
            None => {}
        }
    }

    fn report(&mut self, mac: MacAddr, addr: IpAddr, now: Timestamp) {
        // The lowest bits of an address differ most.
        let Some(line) = self.reported.get_mut(mac.to_bits() as usize % LINES) else { return };
        let now_ns = now.as_nanos();
        if line.is_some_and(|(last, at_ns)| last == (mac, addr) && now_ns.saturating_sub(at_ns) < REPEAT_NS) {
            return;
        }
        if self.sightings.len() < MAX_SIGHTINGS {
            self.sightings.push_back(Sighting(Seen::Station { mac, addr }));
            *line = Some(((mac, addr), now_ns));
        } else {
            self.counters.table().sightings_deferred.add(1);
        }
    }

    /// Gives the sightings that wait to `take`, oldest first, until it says that it has no room.
    pub fn hand_over(&mut self, mut take: impl FnMut(Sighting) -> bool) {
        while let Some(oldest) = self.sightings.front()
            && take(*oldest)
        {
            self.sightings.pop_front();
        }
    }
}

/// The inner frame of a datagram and whose it is, if it is one of this segment that may be delivered.
#[inline]
pub(crate) fn inspect(
    payload: &[u8],
    vni: Vni,
    reserved_bits: ReservedBits,
    own_mac: MacAddr,
) -> Result<(MacAddr, &[u8]), DropReason> {
    let (own_vni, frame) = vxlan::decap(payload, reserved_bits)?;
    if own_vni != vni {
        return Err(DropReason::WrongVni);
    }
    let mac = ethernet::source(frame).ok_or(DropReason::Runt)?;
    if mac.is_group() || mac.is_zero() {
        return Err(DropReason::InvalidSource);
    }
    if mac == own_mac {
        return Err(DropReason::OwnMac);
    }
    Ok((mac, frame))
}

/// Whether a frame is for more than one station: its destination is a group, the lowest bit of the first octet (IEEE 802.3 section
/// 3.2.3). Of a unicast address nobody knows here whether it is known behind the port.
#[inline]
pub(crate) fn is_for_many(frame: &[u8]) -> bool {
    frame.first().is_some_and(|octet| octet & 1 != 0)
}
