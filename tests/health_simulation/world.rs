//! One segment and the peers that it probes, over paths that take their time and lose what they like, in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::time::Duration;

use vxgate_codec::ethernet::{self, HEADER_OCTETS};
use vxgate_codec::ndp::{self, Message};
use vxgate_codec::{MacAddr, Vni, arp, vxlan};
use vxgate_core::{
    Event, HealthConfig, OverlayHalf, OverlayVerdict, PeerState, Remote, Segment, SegmentConfig, Timestamp,
    UnderlayHalf, UnderlayVerdict,
};

pub(crate) const OWN_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xee]);

/// Marsaglia's xorshift: the same numbers for the same seed, everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    pub(crate) fn up_to(&mut self, span: Duration) -> Duration {
        Duration::from_nanos(self.below(span.as_nanos() as u64 + 1))
    }
}

/// A peer and the path to it.
pub(crate) struct Peer {
    pub(crate) outer: IpAddr,
    pub(crate) inner: IpAddr,
    pub(crate) mac: MacAddr,
    pub(crate) round_trip: Duration,
    pub(crate) is_alive: bool,
    /// Whether it answers questions for its inner address, and how long it waits after an answer before it gives another.
    pub(crate) answers: bool,
    pub(crate) rests: Duration,
    rests_until: Timestamp,
    /// Whether what we send arrives there, and what it sends arrives here.
    pub(crate) hears: bool,
    pub(crate) is_heard: bool,
    /// How often a device behind it sends something by itself.
    pub(crate) traffic: Option<Duration>,
    next_traffic: Timestamp,
}

impl Peer {
    pub(crate) fn device(&self) -> MacAddr {
        MacAddr::from_bits(self.mac.to_bits() | 0x0100)
    }
}

/// What is on its way.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Datagram {
    ToPeer(usize, Vec<u8>),
    ToUs(usize, Vec<u8>),
}

pub(crate) struct World {
    pub(crate) segment: Segment,
    overlay: OverlayHalf,
    /// A worker beside the segment's own, that receives every other datagram.
    worker: Option<UnderlayHalf>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) now: Timestamp,
    pub(crate) random: Random,
    /// Of 1000 datagrams, how many are lost on each way.
    pub(crate) loss: u64,
    /// How late the caller is at most.
    pub(crate) late: Duration,
    pub(crate) events: Vec<(Timestamp, Event)>,
    /// How often the caller asked for something to be due.
    pub(crate) wakes: u64,
    wire: BinaryHeap<Reverse<(Timestamp, u64, Datagram)>>,
    sent: u64,
    received: u64,
    pub(crate) sent_to: BTreeMap<IpAddr, u64>,
}

pub(crate) fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

pub(crate) fn outer(number: usize) -> IpAddr {
    [100, 64, 158, 1 + number as u8].into()
}

impl World {
    /// Peers 0 and on, asked by ARP if their number is even, else by neighbour solicitation.
    pub(crate) fn new(seed: u64, peers: usize, workers: usize) -> World {
        let config =
            SegmentConfig { own_mac: OWN_MAC, max_peers: 8, hash_key: seed, ..SegmentConfig::default() };
        let mut segment = Segment::new(config);
        segment.set_own_addresses(vec![[10, 225, 194, 171].into(), [0xfe80, 0, 0, 0, 0, 0, 0, 1].into()]);
        let peers: Vec<Peer> = (0..peers)
            .map(|number| Peer {
                outer: outer(number),
                inner: match number % 2 {
                    0 => [10, 192, 158, 1 + number as u8].into(),
                    _ => [0xfe80, 0, 0, 0, 0, 0, 1, number as u16].into(),
                },
                mac: MacAddr::new([2, 0, 0, 0, 0, 1 + number as u8]),
                round_trip: millis(1),
                is_alive: true,
                answers: true,
                rests: Duration::ZERO,
                rests_until: Timestamp::ZERO,
                hears: true,
                is_heard: true,
                traffic: None,
                next_traffic: Timestamp::ZERO,
            })
            .collect();
        for peer in &peers {
            segment.peer_add(Remote::new(peer.outer), Timestamp::ZERO).expect("a new peer");
            segment.peer_set_inner(peer.outer, Some(peer.inner)).expect("a peer");
        }
        segment.set_health(Some(HealthConfig::default()), Timestamp::ZERO);
        let worker = (workers > 1).then(|| segment.worker_halves().1);
        let overlay = segment.overlay_half();
        World {
            segment,
            overlay,
            worker,
            peers,
            now: Timestamp::ZERO,
            random: Random::new(seed),
            loss: 0,
            late: Duration::ZERO,
            events: Vec::new(),
            wakes: 0,
            wire: BinaryHeap::new(),
            sent: 0,
            received: 0,
            sent_to: BTreeMap::new(),
        }
    }

    pub(crate) fn state(&self, peer: usize) -> PeerState {
        let view = self.segment.peers().find(|view| view.remote.addr == self.peers[peer].outer);
        view.expect("a peer").health.state
    }

    /// Where a broadcast goes; counts the copies as sent.
    pub(crate) fn flood(&mut self) -> Vec<IpAddr> {
        let frame = [&[0xff; 6][..], &OWN_MAC.octets(), &[0x88, 0xb5], &[0; 46]].concat();
        match self.overlay.handle_overlay(&frame) {
            OverlayVerdict::Flood(targets) => {
                let counters = self.segment.counters();
                targets.iter().for_each(|target| counters.count_sent(target.peer, 1, 60));
                targets.iter().map(|target| target.addr.ip()).collect()
            }
            nowhere @ (OverlayVerdict::Unicast(..) | OverlayVerdict::Drop(_)) => panic!("{nowhere:?}"),
        }
    }

    /// The moments at which a peer went down.
    pub(crate) fn downs(&self) -> Vec<Timestamp> {
        let is_down =
            |(at, event): &(Timestamp, Event)| matches!(event, Event::PeerDown { .. }).then_some(*at);
        self.events.iter().filter_map(is_down).collect()
    }

    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now.saturating_add(span);
        self.run_until(end, |_| false);
    }

    /// Runs until `done` says so; how long that took, or `None` when it did not within `span`.
    pub(crate) fn time_until(&mut self, span: Duration, done: impl Fn(&World) -> bool) -> Option<Duration> {
        let start = self.now;
        self.run_until(start.saturating_add(span), &done);
        done(self).then(|| self.now.saturating_since(start))
    }

    fn run_until(&mut self, end: Timestamp, done: impl Fn(&World) -> bool) {
        while self.now < end && !done(self) {
            let arrival = self.wire.peek().map(|Reverse((at, ..))| *at);
            let due = self.segment.health_deadline();
            let traffic =
                self.peers.iter().filter(|peer| peer.traffic.is_some()).map(|peer| peer.next_traffic);
            let next = [arrival, due, Some(end)].into_iter().flatten().chain(traffic).min().unwrap_or(end);
            let late = self.late;
            let wake = next.max(self.now).saturating_add(self.random.up_to(late));
            self.now = wake;
            // A caller may look at either first.
            if self.random.below(2) == 0 {
                self.arrive();
                self.health();
            } else {
                self.health();
                self.arrive();
            }
            self.devices_send();
            self.publish();
        }
    }

    fn health(&mut self) {
        if self.segment.health_deadline().is_some_and(|due| due <= self.now) {
            self.wakes += 1;
            self.segment.handle_health(self.now);
            let due = self.segment.health_deadline();
            assert!(due.is_none_or(|due| due > self.now), "what is done is not due again: {due:?}");
        }
    }

    fn arrive(&mut self) {
        while self.wire.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
            let Some(Reverse((_, _, datagram))) = self.wire.pop() else { break };
            match datagram {
                Datagram::ToPeer(peer, frame) => self.at_peer(peer, &frame),
                Datagram::ToUs(peer, frame) => self.at_us(peer, &frame),
            }
        }
    }

    fn at_us(&mut self, peer: usize, frame: &[u8]) {
        let payload = [&vxlan::Header::new(Vni::new(10).expect("24 bits")).to_bytes()[..], frame].concat();
        let from = self.peers[peer].outer;
        self.received += 1;
        let worker = self.worker.as_mut().filter(|_| self.received.is_multiple_of(2));
        let (verdict, counters) = match worker {
            Some(worker) => {
                let verdict = worker.handle_underlay(from, &payload, self.now);
                worker.hand_over(|sighting| {
                    self.segment.handle_sighting(sighting, self.now);
                    true
                });
                (verdict, worker.counters())
            }
            None => {
                let verdict = self.segment.handle_underlay(from, &payload, self.now);
                (verdict, self.segment.counters())
            }
        };
        match verdict {
            UnderlayVerdict::Deliver { peer, .. } => counters.count_delivered(peer, 1, frame.len() as u64),
            UnderlayVerdict::Drop(reason) => panic!("dropped: {reason:?}"),
        }
    }

    fn at_peer(&mut self, number: usize, frame: &[u8]) {
        let peer = &self.peers[number];
        let to = ethernet::destination(frame).expect("a frame");
        if !peer.is_alive
            || !peer.answers
            || peer.rests_until > self.now
            || !(to == peer.mac || to.is_group())
        {
            return;
        }
        let payload = &frame[HEADER_OCTETS..];
        let reply = match peer.inner {
            IpAddr::V4(inner) => arp::Packet::parse(payload)
                .filter(|asked| asked.operation == arp::Operation::Request && asked.target == inner)
                .map(|asked| {
                    let reply = arp::Packet {
                        operation: arp::Operation::Reply,
                        sender_mac: peer.mac,
                        sender: inner,
                        target_mac: asked.sender_mac,
                        target: asked.sender,
                    };
                    ethernet_frame(asked.sender_mac, peer.mac, 0x0806, &reply.to_bytes())
                }),
            IpAddr::V6(inner) => ndp::Packet::parse(payload).and_then(|asked| {
                let Message::Solicitation { target, source_mac: Some(asker) } = asked.message else {
                    return None;
                };
                let message = Message::Advertisement {
                    target,
                    target_mac: Some(peer.mac),
                    is_router: false,
                    is_solicited: true,
                    overrides: true,
                };
                let reply = ndp::Packet { source: inner, destination: asked.source, message };
                let bytes = ethernet_frame(asker, peer.mac, 0x86dd, reply.to_bytes(&mut [0; 72]));
                (target == inner).then_some(bytes)
            }),
        };
        if let Some(reply) = reply {
            self.peers[number].rests_until = self.now.saturating_add(self.peers[number].rests);
            self.send_to_us(number, reply);
        }
    }

    fn send_to_us(&mut self, number: usize, frame: Vec<u8>) {
        let is_lost = self.random.below(1000) < self.loss;
        let Peer { is_alive, is_heard, round_trip, .. } = self.peers[number];
        if is_alive && is_heard && !is_lost {
            self.put(round_trip / 2, Datagram::ToUs(number, frame));
        }
    }

    fn devices_send(&mut self) {
        for number in 0..self.peers.len() {
            let peer = &mut self.peers[number];
            if let Some(every) = peer.traffic.filter(|_| peer.next_traffic <= self.now) {
                peer.next_traffic = self.now.saturating_add(every);
                let frame = ethernet_frame(OWN_MAC, peer.device(), 0x88b5, &[0; 46]);
                self.send_to_us(number, frame);
            }
        }
    }

    /// Does with what the segment has what a shell does.
    fn publish(&mut self) {
        if let Some(flood) = self.segment.poll_flood() {
            self.overlay.set_flood(flood);
            assert!(!self.flood().is_empty(), "never to nobody");
        }
        if let (Some(worker), Some(view)) = (&mut self.worker, self.segment.poll_view()) {
            worker.set_view(view);
        }
        while let Some(event) = self.segment.poll_event() {
            self.events.push((self.now, event));
        }
        while let Some(transmit) = self.segment.poll_transmit() {
            let to = transmit.target.addr.ip();
            *self.sent_to.entry(to).or_default() += 1;
            assert_eq!(ethernet::source(&transmit.frame), Some(OWN_MAC));
            let is_lost = self.random.below(1000) < self.loss;
            let number = self.peers.iter().position(|peer| peer.outer == to).expect("one of the peers");
            if self.peers[number].hears && !is_lost {
                self.put(self.peers[number].round_trip / 2, Datagram::ToPeer(number, transmit.frame));
            }
        }
        // Of every hundredth moment: it takes longer than all else here.
        if self.sent.is_multiple_of(100) {
            assert!(self.segment.all_counters().snapshot().is_balanced());
        }
    }

    fn put(&mut self, after: Duration, datagram: Datagram) {
        self.sent += 1;
        self.wire.push(Reverse((self.now.saturating_add(after), self.sent, datagram)));
    }
}

fn ethernet_frame(to: MacAddr, from: MacAddr, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to.octets()[..], &from.octets(), &ether_type.to_be_bytes(), payload].concat()
}
