//! One VXLAN segment: the single writer of all that is known, and the way from the underlay to the overlay.
//!
//! # Theory of operation
//!
//! ```text
//!     underlay-to-overlay thread                              overlay-to-underlay thread
//!   +-----------------------------------+                   +----------------------------+
//!   | Segment                           |                   | OverlayHalf                |
//!   |   accept list   lists -------------- poll_flood ------> set_flood: flood lists     |
//!   |   peers --------writes--> [ remote table ] <--reads-------                         |
//!   |   table writer -writes--> [ FDB table    ] <--reads-------                         |
//!   |   events        writes--> [ counters     ] <--writes------                         |
//!   +-----------------------------------+                   +----------------------------+
//! ```
//!
//! The shell gives each datagram to [`Segment::handle_underlay`] with the time, calls [`Segment::handle_tick`] at least once a
//! second and [`Segment::handle_due`] at [`Segment::deadline`], and runs control in between, all in one thread; after any of these it
//! asks [`Segment::poll_flood`], [`Segment::poll_event`] and [`Segment::poll_transmit`]. Each remote is counted by what refers to it, and known as long as anything does.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::num::NonZeroU32;
use core::time::Duration;

use vxgate_codec::MacAddr;
use vxgate_codec::tcp::MssLimit;

use crate::accept::AcceptList;
use crate::event::EventQueue;
use crate::fdb::{Entry, Fdb, Hit, Kind};
use crate::flap::{Flaps, Move};
use crate::flood::{List, Lists};
use crate::health::{Health, may_answer};
use crate::paths::Paths;
use crate::peers::{Peers, Reference, Source};
use crate::remote::RemoteTable;
use crate::time::span_seconds_up;
use crate::underlay::{Seen, inspect, is_for_many};
use crate::{
    AllCounters, Counters, DropReason, EntryState, Event, FloodLists, Limits, OverlayHalf, PeerId, Prefix,
    Remote, SegmentConfig, Sighting, StormLimit, Timestamp, UnderlayHalf, UnderlayVerdict, UnderlayView,
};

/// One VXLAN segment: the single writer of all that is known about it.
///
/// It lives in the thread that carries frames from the underlay to the overlay; [`Segment::overlay_half`] is for the other.
///
/// ```
/// use vxgate_core::{OverlayVerdict, Remote, Segment, SegmentConfig, Timestamp, UnderlayVerdict};
///
/// let mut segment = Segment::new(SegmentConfig::default());
/// let now = Timestamp::ZERO;
/// segment.peer_add(Remote::new([192, 0, 2, 1].into()), now)?;
/// let mut overlay = segment.overlay_half();
///
/// // What nobody knows goes to every peer, who says where it is by answering.
/// let to_2 = [&[2, 0, 0, 0, 0, 2][..], &[2, 0, 0, 0, 0, 1], &[8, 0], b"ping"].concat();
/// assert!(matches!(overlay.handle_overlay(&to_2), OverlayVerdict::Flood([_])));
///
/// let header = [8, 0, 0, 0, 0, 0, 10, 0];
/// let to_1 = [&header[..], &[2, 0, 0, 0, 0, 1], &[2, 0, 0, 0, 0, 2], &[8, 0], b"pong"].concat();
/// let verdict = segment.handle_underlay([192, 0, 2, 1].into(), &to_1, now);
/// assert!(matches!(verdict, UnderlayVerdict::Deliver { frame_offset: 8, .. }));
///
/// assert!(matches!(overlay.handle_overlay(&to_2), OverlayVerdict::Unicast(..)));
/// # Ok::<(), vxgate_core::ControlError>(())
/// ```
#[derive(Debug)]
pub struct Segment {
    pub(crate) config: SegmentConfig,
    pub(crate) counters: Arc<Counters>,
    pub(crate) remotes: Arc<RemoteTable>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) storm: Arc<StormLimit>,
    pub(crate) peers: Peers,
    pub(crate) fdb: Fdb,
    pub(crate) lists: Lists,
    pub(crate) health: Health,
    pub(crate) paths: Paths,
    accept: AcceptList,
    events: EventQueue,
    /// `None` where moves are not damped.
    flaps: Option<Flaps>,
    /// [`SegmentConfig::ageing`] in seconds; 0: for ever.
    ageing_s: u32,
    /// The bucket that the next sweep begins with.
    sweep: usize,
    /// The second of the last sweep.
    swept_s: u32,
    /// Changes whenever a rule does that is part of [`UnderlayView`].
    rules: u32,
    /// The version of the peers and of the rules that the other workers were shown last.
    shown: (u32, u32),
}

/// How many buckets a sweep looks at, at least: a table of the default size is swept once a second, in about 30 us.
const SWEEP_BUCKETS: usize = 4096;
/// In how many sweeps a table above that is looked at in full: its entries live 8 s longer at most. The kernel looks every 10 s
/// (`FDB_AGE_INTERVAL`).
const SWEEPS: usize = 8;

impl Segment {
    /// A segment that knows nothing yet. All memory that frames can ever make it use is taken here, but for the index of
    /// remotes.
    #[must_use]
    pub fn new(config: SegmentConfig) -> Segment {
        let config = config.clamped();
        let counters = Arc::new(Counters::new(config.max_peers));
        let remotes = Arc::new(RemoteTable::new(config.max_peers));
        let limits = Arc::new(Limits::new(config.max_peers));
        let (table, counts) = (Arc::clone(&remotes), Arc::clone(&counters));
        Segment {
            peers: Peers::new(
                (table, Arc::clone(&limits)),
                counts,
                config.max_peers,
                config.port,
                config.vni,
            ),
            fdb: Fdb::new(config.max_macs, config.hash_key),
            lists: Lists::default(),
            paths: Paths::default(),
            storm: Arc::new(StormLimit::new(config.max_peers, config.storm_limit)),
            flaps: config.flap_damping.then(|| Flaps::new(config.hash_key)),
            limits,
            health: Health::default(),
            accept: AcceptList::new(config.accept_from.clone()),
            events: EventQueue::new(),
            ageing_s: span_seconds_up(config.ageing),
            sweep: 0,
            swept_s: 0,
            rules: 0,
            shown: (0, 0),
            config,
            counters,
            remotes,
        }
    }

    /// What the segment goes by now.
    #[must_use]
    pub fn config(&self) -> &SegmentConfig {
        &self.config
    }

    /// How many MAC addresses have an entry, as [`SegmentConfig::max_macs`] counts them.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.fdb.len() + self.lists.len()
    }

    /// The half for the thread that carries frames from the overlay to the underlay, with the lists as they are now.
    #[must_use]
    pub fn overlay_half(&self) -> OverlayHalf {
        OverlayHalf {
            fdb: self.fdb.reader(),
            remotes: Arc::clone(&self.remotes),
            counters: Arc::clone(&self.counters),
            flood: Arc::new(self.lists.snapshot(&self.peers)),
            limits: Arc::clone(&self.limits),
            storm: Arc::clone(&self.storm),
        }
    }

    /// The halves for one more worker: a thread for each, beside the two that this segment and its
    /// [`overlay_half`](Segment::overlay_half) are for. They count in counters of their own.
    #[must_use]
    pub fn worker_halves(&mut self) -> (OverlayHalf, UnderlayHalf) {
        let counters = Arc::new(Counters::new(self.config.max_peers));
        self.peers.add_counters(Arc::clone(&counters));
        let overlay = OverlayHalf { counters: Arc::clone(&counters), ..self.overlay_half() };
        let rules = (self.config.vni, self.config.reserved_bits);
        let (fdb, remotes) = (self.fdb.reader(), Arc::clone(&self.remotes));
        let shared = (counters, Arc::clone(&self.limits), Arc::clone(&self.storm));
        (overlay, UnderlayHalf::new(fdb, remotes, shared, rules, self.view()))
    }

    /// The counters of the two threads that this segment and its [`overlay_half`](Segment::overlay_half) are for: all there are
    /// unless [`Segment::worker_halves`] made more.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// How long frames may be, now and while the segment lives.
    #[must_use]
    pub fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits)
    }

    /// Lowers the maximum segment sizes of TCP connections to this, in both directions and from the next frame on; `None`, the
    /// default, leaves them as they are.
    pub fn set_mss_limit(&mut self, limit: Option<MssLimit>) {
        self.limits.set_mss(limit);
    }

    /// The counters of all workers that there are by now, added up.
    #[must_use]
    pub fn all_counters(&self) -> AllCounters {
        AllCounters::new(self.peers.counters())
    }

    /// What to do with this datagram; learns from it. Counts it as come in, and as dropped where that is the verdict.
    ///
    /// `source` is the outer source address, `payload` the UDP payload: VXLAN header and inner frame. Who sent it is judged before
    /// anything of it is read.
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
        let mut source = self.accept.source(addr, &self.peers).ok_or(DropReason::Stranger)?;
        let SegmentConfig { vni, reserved_bits, own_mac, .. } = self.config;
        let (mac, frame) = inspect(payload, vni, reserved_bits, own_mac)?;
        if is_for_many(frame) && !self.storm.admit_back(source.peer(), now) {
            return Err(DropReason::StormLimit);
        }
        if may_answer(frame) {
            self.hear(addr, frame, now);
        }
        if self.config.learning && self.learn(mac, addr, &source, now)? {
            source = self.peers.source(addr.to_canonical());
        }
        if let Some(peer) = source.peer() {
            self.counters.heard(peer, now);
        }
        Ok(UnderlayVerdict::Deliver { frame_offset: payload.len() - frame.len(), peer: source.peer() })
    }

    /// Learns that `mac` is behind `addr`, and says whether that made or moved an entry.
    #[inline]
    fn learn(
        &mut self,
        mac: MacAddr,
        addr: &IpAddr,
        source: &Source,
        now: Timestamp,
    ) -> Result<bool, DropReason> {
        match self.fdb.find(mac) {
            Some(hit) if Some(hit.peer()) == source.learned() => {
                self.fdb.touch(hit.slot(), now.seconds_up());
                Ok(false)
            }
            Some(hit) => self.meet(hit, mac, addr.to_canonical(), source, now),
            None => Ok(!source.is_down() && self.learn_new(mac, addr.to_canonical(), now)),
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
    ) -> Result<bool, DropReason> {
        let now_s = now.seconds_up();
        let (Some(entry), Some(known)) = (self.fdb.entry(hit.slot()), self.peers.known(hit.peer())) else {
            return Ok(false);
        };
        let from = known.remote.addr;
        if from == addr {
            self.fdb.touch(hit.slot(), now_s);
            return Ok(false);
        }
        match entry.kind.state {
            EntryState::Permanent | EntryState::Static => return Err(DropReason::StaticElsewhere),
            EntryState::Dynamic => {}
        }
        // Who is down would draw to itself what it cannot carry.
        if source.is_down() {
            return Ok(false);
        }
        // Who is down has lost it anyway.
        if known.serving
            && let Some(flaps) = &mut self.flaps
        {
            match flaps.moves(mac, now_s) {
                Move::Made => {}
                stays @ (Move::DampedNow | Move::Damped) => {
                    self.counters.table().moves_damped.add(1);
                    if stays == Move::DampedNow {
                        self.tell(Event::Damped { mac, at: from, and: addr });
                    }
                    return Ok(false);
                }
            }
        }
        let learned = Reference::Mac { configured: false };
        let Ok(to) = self.peers.hold(Remote::new(addr), learned) else {
            self.counters.table().refused_peers.add(1);
            return Ok(false);
        };
        self.fdb.repoint(hit.slot(), to, Kind::LEARNED, now_s);
        self.peers.release(entry.peer, entry.reference());
        self.counters.table().moved.add(1);
        self.tell(Event::Moved { mac, from, to: addr });
        Ok(true)
    }

    fn learn_new(&mut self, mac: MacAddr, addr: IpAddr, now: Timestamp) -> bool {
        let learned = Reference::Mac { configured: false };
        if self.entries() >= self.config.max_macs {
            self.counters.table().refused_macs.add(1);
            return false;
        }
        let Ok(peer) = self.peers.hold(Remote::new(addr), learned) else {
            self.counters.table().refused_peers.add(1);
            return false;
        };
        // This one is counted already.
        let share = self.config.max_macs_per_peer.unwrap_or(usize::MAX);
        if self.peers.known(peer).is_some_and(|known| known.macs as usize > share) {
            self.peers.release(peer, learned);
            self.counters.table().refused_share.add(1);
            return false;
        }
        if self.fdb.insert(mac, peer, Kind::LEARNED, now.seconds_up()).is_err() {
            self.peers.release(peer, learned);
            self.counters.table().refused_macs.add(1);
            return false;
        }
        self.counters.table().learned.add(1);
        self.note_entries();
        self.tell(Event::Learned { mac, dst: addr });
        true
    }

    /// Takes up what another worker has seen ([`UnderlayHalf::hand_over`]): a station, unless its outer address is a stranger's by
    /// now, or an answer to a probe.
    pub fn handle_sighting(&mut self, sighting: Sighting, now: Timestamp) {
        let (mac, addr) = match sighting.0 {
            Seen::Station { mac, addr } => (mac, addr),
            Seen::Answer { from, answer, at } => return self.handle_answer(from, answer, at),
        };
        if self.config.learning
            && let Some(source) = self.accept.source(&addr, &self.peers)
        {
            // That the entry has become static is for the next frame to find out: this one is delivered.
            let _ = self.learn(mac, &addr, &source, now);
            if let Some(peer) = self.peers.source(addr).peer() {
                self.counters.heard(peer, now);
            }
        }
    }

    /// What other workers go by, when that has changed since the last call: for [`UnderlayHalf::set_view`]. Until then they go by
    /// what they have.
    pub fn poll_view(&mut self) -> Option<Arc<UnderlayView>> {
        let current = (self.peers.version(), self.rules);
        if self.shown == current {
            return None;
        }
        self.shown = current;
        Some(Arc::new(self.view()))
    }

    fn view(&self) -> UnderlayView {
        UnderlayView {
            own_mac: self.config.own_mac,
            learning: self.config.learning,
            has_health: self.health.is_on(),
            blocks: self.accept.blocks().to_vec(),
            sources: self.peers.sources(),
        }
    }

    /// Removes entries that are past the ageing time, a bounded part of the table per call. To be called at least once a
    /// second; calls within one second do nothing.
    ///
    /// Time is counted in whole seconds, so that an entry lives up to a second longer, and in a table of more than 16384 up to 8
    /// more.
    pub fn handle_tick(&mut self, now: Timestamp) {
        self.tick_paths(now);
        let now_s = now.seconds();
        if now_s == self.swept_s || self.ageing_s == 0 {
            return;
        }
        self.swept_s = now_s;
        let buckets = self.fdb.buckets();
        let part = (buckets / SWEEPS).max(SWEEP_BUCKETS).min(buckets);
        for bucket in self.sweep..self.sweep + part {
            self.age_bucket(bucket & (buckets - 1), now_s);
        }
        self.sweep = (self.sweep + part) & (buckets - 1);
        self.age_lists(now_s);
        self.note_entries();
    }

    fn is_past(&self, state: EntryState, heard_s: u32, now_s: u32) -> bool {
        state == EntryState::Dynamic && heard_s.saturating_add(self.ageing_s) <= now_s
    }

    fn age_bucket(&mut self, bucket: usize, now_s: u32) {
        for slot in Fdb::slots(bucket..bucket + 1) {
            if let Some(entry) = self.fdb.entry(slot)
                && self.is_past(entry.kind.state, entry.heard_s, now_s)
            {
                let dst = self.peers.known(entry.peer).map(|known| known.remote.addr);
                self.drop_entry(&entry);
                self.note_aged(entry.mac, dst);
            }
        }
    }

    fn age_lists(&mut self, now_s: u32) {
        let past = |(_, list): &(MacAddr, &List)| self.is_past(list.state, list.updated_s, now_s);
        let macs: Vec<MacAddr> = self.lists.from(MacAddr::ZERO).filter(past).map(|(mac, _)| mac).collect();
        for mac in macs {
            let first = self.lists.get(mac).and_then(|list| list.remotes.first());
            let dst = first.and_then(|peer| self.peers.known(*peer)).map(|known| known.remote.addr);
            self.drop_remotes(mac, |_| true);
            self.note_aged(mac, dst);
        }
    }

    fn note_aged(&mut self, mac: MacAddr, dst: Option<IpAddr>) {
        self.counters.table().aged.add(1);
        if let Some(dst) = dst {
            self.tell(Event::Aged { mac, dst });
        }
    }

    /// Removes an entry of the table.
    pub(crate) fn drop_entry(&mut self, entry: &Entry) {
        self.fdb.remove(entry.slot);
        self.peers.release(entry.peer, entry.reference());
    }

    /// Removes the remotes that `gone` names from the list of this address, and says how many.
    pub(crate) fn drop_remotes(&mut self, mac: MacAddr, mut gone: impl FnMut(&Remote) -> bool) -> usize {
        let remotes = self.lists.get(mac).map_or(&[][..], |list| &list.remotes);
        let known = |peer: &PeerId| self.peers.known(*peer).is_some_and(|known| gone(&known.remote));
        let leaving: Vec<PeerId> = remotes.iter().copied().filter(known).collect();
        self.lists.remove(mac, &leaving);
        for peer in &leaving {
            let addr = self.peers.known(*peer).map(|known| known.remote.addr);
            self.peers.release(*peer, Reference::list(mac));
            if let Some(addr) = addr.filter(|addr| mac.is_zero() && !self.peers.is_peer(*addr)) {
                if self.peers.source(addr).is_down() {
                    self.peers.set_serving(addr, true);
                }
                self.health.remove_peer(addr);
                self.forget_path(addr);
            }
        }
        leaving.len()
    }

    pub(crate) fn note_entries(&self) {
        self.counters.table().entries.set(self.entries() as u64);
    }

    /// Has the other workers be shown what they go by.
    pub(crate) fn note_rules(&mut self) {
        self.rules = self.rules.wrapping_add(1);
    }

    pub(crate) fn tell(&mut self, event: Event) {
        if !self.events.push(event) {
            self.counters.table().events_lost.add(1);
        }
    }

    /// The oldest event that nobody has taken yet.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// The lists, when they have changed since the last call: for [`OverlayHalf::set_flood`]. Until then the overlay half goes on
    /// sending to the remotes of the lists that it has.
    pub fn poll_flood(&mut self) -> Option<Arc<FloodLists>> {
        self.lists.poll(&self.peers).map(Arc::new)
    }

    /// Tells the MAC address of the overlay port, when that has changed.
    pub fn set_own_mac(&mut self, own_mac: MacAddr) {
        if self.config.own_mac != own_mac {
            self.config.own_mac = own_mac;
            self.health.hurry();
            self.note_rules();
        }
    }

    /// Replaces the blocks of addresses that datagrams are accepted from besides the configured remotes. What was learned from
    /// addresses outside stays until it ages.
    pub fn set_accept_from(&mut self, accept_from: Vec<Prefix>) {
        self.accept.set_blocks(accept_from.clone());
        self.config.accept_from = accept_from;
        self.note_rules();
    }

    /// Switches learning on or off; what was learned stays until it ages. While off, nothing is refreshed either, and a frame from a
    /// MAC address that is static elsewhere is delivered, as in the kernel.
    pub fn set_learning(&mut self, learning: bool) {
        self.config.learning = learning;
        self.note_rules();
    }

    /// Sets how many MAC addresses may be learned behind one remote, as [`SegmentConfig::max_macs_per_peer`] has it; what is known stays.
    pub fn set_max_macs_per_peer(&mut self, most: Option<usize>) {
        self.config.max_macs_per_peer = most;
    }

    /// Sets whether moves are damped, as [`SegmentConfig::flap_damping`] has it; what has moved before is forgotten.
    pub fn set_flap_damping(&mut self, on: bool) {
        self.config.flap_damping = on;
        self.flaps = on.then(|| Flaps::new(self.config.hash_key));
    }

    /// Sets the limit of floods, as [`SegmentConfig::storm_limit`] has it, in force from the next one on.
    pub fn set_storm_limit(&mut self, frames_per_s: Option<NonZeroU32>) {
        self.config.storm_limit = frames_per_s;
        self.storm.set(frames_per_s);
    }

    /// Sets the ageing time, for entries that exist too; zero: for ever.
    pub fn set_ageing(&mut self, ageing: Duration) {
        self.config.ageing = ageing;
        self.ageing_s = span_seconds_up(ageing);
    }
}
