//! Whether the peers live, and what follows when one does not.
//!
//! # Theory of operation
//!
//! ```text
//!                 handle_health, at health_deadline                    handle_underlay, handle_sighting
//!                          │                                                  │ packet: is it an answer?
//!                          ▼                                                  ▼
//!   ┌─ session, one for each peer ────────────────────────────────────────────────────────┐
//!   │  timer, open probes, misses, round trip   ──input──►  machine: unknown, up, down …  │◄── handle_unreachable
//!   └───────────┬───────────────────────────────────────────────────┬─────────────────────┘    (a hint)
//!               │ probe                                             │ left, or back
//!               ▼                                                   ▼
//!        poll_transmit ◄──── announcements, questions ◄──── settle: who is sent to, what is flushed, events
//! ```
//!
//! Each peer is asked for its inner address, through it alone; it must answer from its own outer address, to us, while it is
//! asked. Anything else that comes from it is a sign of life, too, which costs nothing: the counters say when a peer was last
//! heard. Who falls silent leaves the flood lists, what was learned behind it is flushed, so that the next frame to a device goes
//! to whoever is left, and our own addresses are announced there. It stays a known remote: what comes from it is delivered, but
//! nothing is learned from it until it is back.
//!
//! Never to nobody: when nobody would be left, all are sent to, and the first one that answers is up at once. Who has never answered
//! nor sent anything, although asked, is nobody that could be left.
//!
//! What runs here runs in the thread that owns the segment. Frames pay for two octets compared.

mod asked;
mod config;
mod machine;
mod packet;
mod refusal;
mod round_trip;
mod session;
mod transmit;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

pub use self::config::HealthConfig;
pub use self::machine::{DownReason, PeerState};
pub(crate) use self::packet::{Answer, Malformed, may_answer, read};
pub use self::refusal::AnswerRefusal;
use self::session::{Change, Due, Session};
pub use self::transmit::Transmit;
use self::transmit::TransmitQueue;
use crate::paths::token_of;
use crate::peers::Peers;
use crate::{ControlError, Event, FloodTarget, FlushFilter, Segment, Timestamp};

/// What is known of one peer's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerHealth {
    /// Whether it lives.
    pub state: PeerState,
    /// Since when; `None` from the beginning.
    pub since: Option<Timestamp>,
    /// The inner address that is probed.
    pub inner: Option<IpAddr>,
    /// The smoothed round-trip time of its answers (RFC 6298 section 2).
    pub rtt: Option<Duration>,
}

/// All that is known of the peers' health.
#[derive(Debug, Default)]
pub(crate) struct Health {
    config: Option<HealthConfig>,
    /// The inner addresses of the overlay port.
    own: Vec<IpAddr>,
    /// One for each outer address that a peer has, groups left out.
    sessions: BTreeMap<IpAddr, Session>,
    pub(crate) transmits: TransmitQueue,
    /// Whether no peer is sent to in its own right.
    is_all_silent: bool,
    /// Whether peers have come or gone since it was last settled who is sent to.
    is_unsettled: bool,
    /// The earliest moment at which something is due.
    deadline: Option<Timestamp>,
}

impl Health {
    pub(crate) fn view(&self, outer: IpAddr) -> PeerHealth {
        self.sessions.get(&outer).map(Session::view).unwrap_or_default()
    }

    pub(crate) fn is_on(&self) -> bool {
        self.config.is_some()
    }

    /// A peer has come. A group has no session: nobody answers for it.
    pub(crate) fn add_peer(&mut self, outer: IpAddr, hash_key: u64) {
        if !outer.is_multicast() {
            let seed = match outer {
                IpAddr::V4(v4) => u64::from(v4.to_bits()),
                IpAddr::V6(v6) => v6.to_bits() as u64,
            };
            self.sessions.entry(outer).or_insert_with(|| Session::new(hash_key ^ seed.rotate_left(32)));
            self.unsettle();
        }
    }

    /// The last peer at this address has gone.
    pub(crate) fn remove_peer(&mut self, outer: IpAddr) {
        self.sessions.remove(&outer);
        self.unsettle();
    }

    /// Makes all due at once: there is an address to ask from now, or another one.
    pub(crate) fn hurry(&mut self) {
        self.sessions.values_mut().for_each(|session| session.hurry(Timestamp::ZERO));
        self.reckon();
    }

    fn unsettle(&mut self) {
        self.is_unsettled = true;
        self.deadline = self.config.map(|_| Timestamp::ZERO);
    }

    /// Works out when something is due next.
    fn reckon(&mut self) {
        let next = self.sessions.values().filter_map(Session::next).min();
        let due = if self.is_unsettled { Some(Timestamp::ZERO) } else { next };
        self.deadline = due.filter(|_| self.config.is_some());
    }

    /// Whether another peer than this one is left to send to. One without a session, a group, always is.
    fn is_another_left(&self, peers: &Peers, but: Option<IpAddr>) -> bool {
        peers.iter().any(|(_, known)| {
            let addr = known.remote.addr;
            let may_live = |session: &Session| session.may_live(peers.last_heard(addr));
            known.peer && Some(addr) != but && self.sessions.get(&addr).is_none_or(may_live)
        })
    }
}

/// Health. Off until [`Segment::set_health`].
impl Segment {
    /// Switches probing on, off, or to another pace. Off, which is where a segment begins, every peer's state is unknown and
    /// every peer is sent to. While [`SegmentConfig::own_mac`](crate::SegmentConfig::own_mac) is zero nothing is probed, as
    /// nobody could answer.
    pub fn set_health(&mut self, config: Option<HealthConfig>, now: Timestamp) {
        self.health.config = config.map(HealthConfig::clamped);
        self.note_rules();
        for session in self.health.sessions.values_mut() {
            if config.is_none() {
                session.restart(session.inner());
            }
            session.hurry(now);
        }
        self.settle(&[], now);
    }

    /// Tells the inner addresses of the overlay port: senders of probes, and what [`Segment::announce`] announces.
    pub fn set_own_addresses(&mut self, own: Vec<IpAddr>) {
        self.health.own = own;
    }

    /// Tells the inner address of the peer at this outer address, which is what probes ask for; `None`: none is known, and the
    /// peer is judged by what the underlay says of it. Another one than before makes its state unknown again.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotFound`] when no peer is there; a multicast group is none that could be asked.
    pub fn peer_set_inner(&mut self, outer: IpAddr, inner: Option<IpAddr>) -> Result<(), ControlError> {
        let session = self.health.sessions.get_mut(&outer.to_canonical()).ok_or(ControlError::NotFound)?;
        let inner = inner.map(|inner| inner.to_canonical());
        if session.inner() != inner {
            session.restart(inner);
            self.health.unsettle();
        }
        Ok(())
    }

    /// Does what is due: ends the wait for answers that did not come, and sends the next probes. To be called at
    /// [`Segment::health_deadline`] or soon after, once what has arrived by then is handled; after it,
    /// [`Segment::poll_flood`], [`Segment::poll_view`], [`Segment::poll_event`] and [`Segment::poll_transmit`] may have something.
    pub fn handle_health(&mut self, now: Timestamp) {
        let Some(config) = self.health.config else { return };
        if self.health.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        let can_probe = !self.config.own_mac.is_zero();
        let (mut changes, mut probes) = (Vec::new(), Vec::new());
        for (outer, session) in &mut self.health.sessions {
            // Of many peers few are due at once, and when one was heard is a search.
            if !session.is_due(now) {
                continue;
            }
            let heard = self.peers.last_heard(*outer);
            let Due { probe, change } = session.handle_due(now, heard, &config, can_probe);
            changes.extend(change.map(|change| (*outer, change)));
            probes.extend(probe.map(|probe| (*outer, probe)));
        }
        for (outer, probe) in probes {
            let frame = packet::question(self.config.own_mac, &self.health.own, probe.inner, probe.mac);
            let peer = self.peers.source(outer).peer();
            if let Some(target) = peer.and_then(|peer| self.peers.target(peer)) {
                self.counters.health().probes.add(1);
                self.transmit(Transmit { target, frame, dont_fragment: None });
            }
        }
        self.settle(&changes, now);
    }

    /// When to call [`Segment::handle_health`] next, a moment that may have passed; `None`: not before something else happens.
    /// Asked again after each call of the segment; costs nothing.
    #[inline]
    #[must_use]
    pub fn health_deadline(&self) -> Option<Timestamp> {
        self.health.deadline
    }

    /// The oldest frame of our own that nobody has sent yet.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.health.transmits.pop()
    }

    /// Hears that the underlay says that it cannot reach this peer: an ICMP error that quotes a datagram of ours. Anybody could
    /// say so who has seen one, and so it is a hint only: a peer that answers probes is asked at once, and judged by that. One
    /// that never has is down after three hints over 200 ms or more, if nothing came from it meanwhile and another peer is
    /// left; and is tried again when anything comes from it, or 10 s after the last hint.
    pub fn handle_unreachable(&mut self, outer: IpAddr, now: Timestamp) {
        let Some(config) = self.health.config else { return };
        let outer = outer.to_canonical();
        let (heard, others) =
            (self.peers.last_heard(outer), self.health.is_another_left(&self.peers, Some(outer)));
        let Some(session) = self.health.sessions.get_mut(&outer) else { return };
        self.counters.health().hints.add(1);
        let change = session.handle_hint(now, heard, &config, others);
        self.health.reckon();
        if let Some(change) = change {
            self.settle(&[(outer, change)], now);
        }
    }

    /// Asks for the MAC addresses of these inner addresses, through the peers that are sent to: after a peer went down, for
    /// those that were in use.
    pub fn solicit(&mut self, targets: &[IpAddr], now: Timestamp) {
        let _ = now;
        for target in targets {
            let own = self.health.own.iter();
            if !own.clone().any(|own| own == target) {
                let frame =
                    packet::question(self.config.own_mac, &self.health.own, target.to_canonical(), None);
                self.transmit_to_all(&frame);
            }
        }
    }

    /// Tells where our own inner addresses are, through the peers that are sent to: gratuitous ARP and unsolicited neighbour
    /// advertisements. The segment does so by itself when a peer goes down and another one is left.
    pub fn announce(&mut self, now: Timestamp) {
        let _ = now;
        for own in self.health.own.clone() {
            let frame = packet::announcement(self.config.own_mac, own.to_canonical());
            self.transmit_to_all(&frame);
        }
    }

    fn transmit_to_all(&mut self, frame: &[u8]) {
        if self.config.own_mac.is_zero() {
            return;
        }
        let targets: Vec<FloodTarget> = self.lists.snapshot(&self.peers).unknown().to_vec();
        for target in targets {
            self.transmit(Transmit { target, frame: frame.to_vec(), dont_fragment: None });
        }
    }

    pub(crate) fn transmit(&mut self, transmit: Transmit) {
        if !self.health.transmits.push(transmit) {
            self.counters.health().transmits_lost.add(1);
        }
    }

    /// Looks whether a frame of this outer address is an answer to a probe.
    #[cold]
    #[inline(never)]
    pub(crate) fn hear(&mut self, outer: &IpAddr, frame: &[u8], now: Timestamp) {
        if self.health.config.is_none() {
            return;
        }
        match packet::read(frame) {
            Some(Ok(answer)) => self.handle_answer(outer.to_canonical(), answer, now),
            Some(Err(Malformed)) => self.counters.health().refuse(AnswerRefusal::Malformed),
            None => {}
        }
    }

    /// Somebody at this outer address says where an inner address is; mostly to the host, who asks, too.
    pub(crate) fn handle_answer(&mut self, outer: IpAddr, answer: Answer, now: Timestamp) {
        let Some(config) = self.health.config else { return };
        if let Some(token) = token_of(answer.to)
            && self.handle_path_answer(outer, answer.inner, token, now)
        {
            return;
        }
        let is_alone = self.health.is_all_silent;
        let Health { own, sessions, .. } = &mut self.health;
        let Some(session) = sessions.get_mut(&outer).filter(|its| its.inner() == Some(answer.inner)) else {
            if sessions.values().any(|other| other.inner() == Some(answer.inner)) {
                self.counters.health().refuse(AnswerRefusal::WrongPeer);
            }
            return;
        };
        let is_to_all = answer.to == packet::all_nodes() && packet::may_be_answered_to_all(own, answer.inner);
        if answer.to != self.config.own_mac && !is_to_all {
            self.counters.health().refuse(AnswerRefusal::NotToUs);
            return;
        }
        let Some(change) = session.handle_answer(answer.mac, now, &config, is_alone) else {
            self.counters.health().refuse(AnswerRefusal::Unasked);
            return;
        };
        self.counters.health().answers.add(1);
        match change {
            Some(change) => self.settle(&[(outer, change)], now),
            None => self.health.reckon(),
        }
    }

    /// Makes what the sessions say true: who is sent to, what is flushed, who is told.
    fn settle(&mut self, changes: &[(IpAddr, Change)], now: Timestamp) {
        let was_all_silent = self.health.is_all_silent;
        let is_all_silent =
            !self.health.sessions.is_empty() && !self.health.is_another_left(&self.peers, None);
        self.health.is_all_silent = is_all_silent;
        self.health.is_unsettled = false;
        let mut leaving = Vec::new();
        for (outer, session) in &mut self.health.sessions {
            let is_serving = session.serves() || is_all_silent;
            if session.is_serving != is_serving {
                session.is_serving = is_serving;
                self.peers.set_serving(*outer, is_serving);
                self.lists.touch();
                leaving.extend((!is_serving).then_some(*outer));
            }
        }
        let mut is_one_left = false;
        for (outer, change) in changes {
            match change {
                Change::Left(why) => {
                    is_one_left = true;
                    // The last one is sent to as before, but so are all others: nothing shall be pinned to it.
                    if !leaving.contains(outer) {
                        leaving.push(*outer);
                    }
                    self.tell(Event::PeerDown { addr: *outer, why: *why });
                }
                Change::Back(after) => self.tell(Event::PeerUp { addr: *outer, after: *after }),
            }
        }
        for outer in leaving {
            self.flush_table(&FlushFilter { dst: Some(outer), ..FlushFilter::DYNAMIC });
        }
        self.note_entries();
        let is_any_down = self.health.sessions.values().any(|session| !session.serves());
        if is_all_silent && !was_all_silent && is_any_down {
            self.tell(Event::AllPeersSilent);
        }
        if !is_all_silent && (is_one_left || was_all_silent) {
            self.announce(now);
        }
        self.health.reckon();
    }
}
