//! The rules of health: what is asked, what counts as an answer, and what follows. How long things take is the simulation's to
//! show.

use std::net::IpAddr;
use std::time::Duration;

use vxgate_codec::ethernet::{self, Header};
use vxgate_codec::ndp::{self, Message};
use vxgate_codec::{MacAddr, arp};
use vxgate_core::{
    AnswerRefusal, ControlError, DownReason, DropReason, EntryState, Event, HealthConfig, PeerState,
    SegmentConfig, Transmit,
};

use crate::bench::{Bench, GROUP, OWN, STATION, addr, mac, remote};

const ONE: &str = "192.0.2.1";
const TWO: &str = "192.0.2.2";
const ONE_INNER: &str = "10.0.0.1";
const TWO_INNER: &str = "10.0.0.2";
const ONE_MAC: MacAddr = MacAddr::new([2, 0, 0, 1, 0, 1]);
const TWO_MAC: MacAddr = MacAddr::new([2, 0, 0, 1, 0, 2]);
const OWN_INNER: &str = "10.0.0.100";

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn config() -> SegmentConfig {
    SegmentConfig { own_mac: OWN, ..SegmentConfig::default() }
}

/// Two peers whose inner addresses are known, health on.
fn probing() -> Bench {
    let mut bench = passive();
    bench.segment.set_own_addresses(vec![addr(OWN_INNER)]);
    bench.segment.peer_set_inner(addr(ONE), Some(addr(ONE_INNER))).expect("a peer");
    bench.segment.peer_set_inner(addr(TWO), Some(addr(TWO_INNER))).expect("a peer");
    bench
}

/// Two peers whose inner addresses nobody knows, health on.
fn passive() -> Bench {
    let mut bench = Bench::new(config());
    for peer in [ONE, TWO] {
        bench.segment.peer_add(remote(peer), bench.now).expect("a new peer");
    }
    bench.segment.set_health(Some(HealthConfig::default()), bench.now);
    bench
}

/// A reply that says that `inner` is at `from`.
fn reply(to: MacAddr, from: MacAddr, inner: &str) -> Vec<u8> {
    let IpAddr::V4(sender) = addr(inner) else { panic!("{inner} is not IPv4") };
    let packet = arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: from,
        sender,
        target_mac: to,
        target: [10, 0, 0, 100].into(),
    };
    [&to.octets()[..], &from.octets(), &[8, 6], &packet.to_bytes()].concat()
}

impl Bench {
    fn tell(&mut self, outer: &str, frame: &[u8]) {
        let payload = [&[8, 0, 0, 0, 0, 0, 10, 0][..], frame].concat();
        assert!(self.receive_octets(outer, &payload).is_ok(), "it is delivered, whatever it is");
    }

    fn transmits(&mut self) -> Vec<Transmit> {
        std::iter::from_fn(|| self.segment.poll_transmit()).collect()
    }

    /// Time passes in steps of 10 ms, and those peers answer whose names are given.
    fn live(&mut self, span: Duration, answering: &[&str]) {
        for _ in 0..span.as_millis() / 10 {
            self.now = self.now.saturating_add(millis(10));
            self.segment.handle_health(self.now);
            for transmit in self.transmits() {
                let to = transmit.target.addr.ip();
                for (outer, inner, mac) in [(ONE, ONE_INNER, ONE_MAC), (TWO, TWO_INNER, TWO_MAC)] {
                    if to == addr(outer) && answering.contains(&outer) && asks_for(&transmit, inner) {
                        self.tell(outer, &reply(OWN, mac, inner));
                    }
                }
            }
        }
    }

    fn state(&self, outer: &str) -> PeerState {
        self.segment.peers().find(|view| view.remote == remote(outer)).expect("a peer").health.state
    }

    fn refused(&self, reason: AnswerRefusal) -> u64 {
        self.counts().answers_refused[reason.index()]
    }

    fn one_down() -> Bench {
        let mut bench = probing();
        bench.live(millis(1000), &[ONE, TWO]);
        bench.live(millis(500), &[TWO]);
        assert_eq!((bench.state(ONE), bench.state(TWO)), (PeerState::Down, PeerState::Up));
        bench
    }
}

fn asks_for(transmit: &Transmit, inner: &str) -> bool {
    let asked = arp::Packet::parse(&transmit.frame[14..]);
    asked.is_some_and(|asked| IpAddr::V4(asked.target) == addr(inner))
}

#[test]
fn a_segment_begins_with_health_off_and_asks_nobody() {
    let mut bench = Bench::with_peers(&[ONE, TWO]);
    bench.segment.peer_set_inner(addr(ONE), Some(addr(ONE_INNER))).unwrap();
    assert_eq!(bench.segment.health_deadline(), None);
    bench.live(millis(1000), &[]);
    assert_eq!((bench.counts().probes, bench.state(ONE)), (0, PeerState::Unknown));
}

#[test]
fn each_peer_is_asked_for_its_inner_address_through_itself_alone() {
    let mut bench = probing();
    bench.segment.handle_health(bench.now);
    let transmits = bench.transmits();
    assert_eq!(transmits.len(), 2);
    for (transmit, (outer, inner)) in transmits.iter().zip([(ONE, ONE_INNER), (TWO, TWO_INNER)]) {
        assert_eq!(transmit.target.addr, std::net::SocketAddr::new(addr(outer), 4789));
        assert_eq!((transmit.target.peer, transmit.dont_fragment), (bench.peer(outer), None));
        let header = Header::parse(&transmit.frame).unwrap();
        assert_eq!((header.destination, header.source), (MacAddr::BROADCAST, OWN));
        assert!(asks_for(transmit, inner));
        let asked = arp::Packet::parse(&transmit.frame[14..]).unwrap();
        assert_eq!((asked.sender_mac, IpAddr::V4(asked.sender)), (OWN, addr(OWN_INNER)));
    }
    assert_eq!(bench.counts().probes, 2);
}

#[test]
fn one_that_has_answered_is_asked_alone_and_after_a_miss_everybody_is() {
    let mut bench = probing();
    bench.live(millis(600), &[ONE, TWO]);
    bench.now = bench.now.saturating_add(millis(130));
    bench.segment.handle_health(bench.now);
    let to = |bench: &mut Bench| {
        let transmits = bench.transmits();
        let frame = &transmits.iter().find(|transmit| transmit.target.addr.ip() == addr(ONE)).unwrap().frame;
        ethernet::destination(frame).unwrap()
    };
    assert_eq!(to(&mut bench), ONE_MAC);
    bench.now = bench.now.saturating_add(millis(50));
    bench.segment.handle_health(bench.now);
    assert_eq!(to(&mut bench), MacAddr::BROADCAST);
}

#[test]
fn an_ipv6_peer_is_asked_by_neighbour_solicitation_and_answers_by_advertisement() {
    let mut bench = passive();
    let inner = "fe80::1".parse().unwrap();
    bench.segment.set_own_addresses(vec![addr("fe80::100")]);
    bench.segment.peer_set_inner(addr(ONE), Some(IpAddr::V6(inner))).unwrap();
    bench.segment.handle_health(bench.now);
    let transmits = bench.transmits();
    let asked = ndp::Packet::parse(&transmits[0].frame[14..]).unwrap();
    assert!(matches!(asked.message, Message::Solicitation { target, .. } if target == inner));
    let message = Message::Advertisement {
        target: inner,
        target_mac: None,
        is_router: false,
        is_solicited: true,
        overrides: false,
    };
    let packet = ndp::Packet { source: inner, destination: asked.source, message };
    let mut buffer = [0; ndp::MAX_PACKET_OCTETS];
    let mut frame = [&OWN.octets()[..], &ONE_MAC.octets(), &[0x86, 0xdd]].concat();
    frame.extend(packet.to_bytes(&mut buffer));
    bench.tell(ONE, &frame);
    assert_eq!(bench.state(ONE), PeerState::Up);
    // Its checksum is wrong.
    *frame.last_mut().unwrap() ^= 1;
    bench.tell(ONE, &frame);
    assert_eq!((bench.counts().probe_answers, bench.refused(AnswerRefusal::Malformed)), (1, 1));
}

#[test]
fn an_answer_counts_from_its_own_peer_to_us_while_it_is_asked_and_else_never() {
    let mut bench = probing();
    bench.segment.handle_health(bench.now);
    bench.tell(TWO, &reply(OWN, ONE_MAC, ONE_INNER));
    assert_eq!(bench.refused(AnswerRefusal::WrongPeer), 1);
    bench.tell(ONE, &reply(MacAddr::BROADCAST, ONE_MAC, ONE_INNER));
    bench.tell(ONE, &reply(STATION, ONE_MAC, ONE_INNER));
    assert_eq!(bench.refused(AnswerRefusal::NotToUs), 2);
    bench.tell(ONE, &reply(OWN, ONE_MAC, ONE_INNER)[..41]);
    assert_eq!(bench.refused(AnswerRefusal::Malformed), 1);
    // Other hosts' answers are the host's alone.
    bench.tell(ONE, &reply(OWN, STATION, "10.0.0.77"));
    assert_eq!(bench.state(ONE), PeerState::Unknown, "none of these counted");
    assert_eq!(bench.refused(AnswerRefusal::Unasked), 0);

    bench.tell(ONE, &reply(OWN, ONE_MAC, ONE_INNER));
    assert_eq!((bench.state(ONE), bench.counts().probe_answers), (PeerState::Up, 1));
    for _ in 0..5 {
        bench.tell(ONE, &reply(OWN, ONE_MAC, ONE_INNER));
    }
    assert_eq!((bench.counts().probe_answers, bench.refused(AnswerRefusal::Unasked)), (1, 5));
    assert_eq!(bench.counts().delivered.frames, 11);
}

#[test]
fn forged_answers_keep_no_dead_peer_alive() {
    let mut bench = probing();
    bench.live(millis(1000), &[ONE, TWO]);
    for _ in 0..50 {
        bench.live(millis(10), &[TWO]);
        bench.tell(TWO, &reply(OWN, TWO_MAC, ONE_INNER));
        let stranger = [&[8, 0, 0, 0, 0, 0, 10, 0][..], &reply(OWN, ONE_MAC, ONE_INNER)].concat();
        assert_eq!(bench.receive_octets("198.51.100.1", &stranger), Err(DropReason::Stranger));
    }
    assert_eq!(bench.state(ONE), PeerState::Down);
    assert_eq!(bench.refused(AnswerRefusal::WrongPeer), 50);
}

#[test]
fn a_dead_peer_gets_no_floods_and_stays_a_known_remote() {
    let mut bench = Bench::one_down();
    let down = Event::PeerDown { addr: addr(ONE), why: DownReason::Silent };
    assert!(bench.events().contains(&down));
    assert_eq!(bench.send(MacAddr::BROADCAST), Ok(vec![format!("{TWO}:4789/10")]));
    assert_eq!(bench.send(STATION), Ok(vec![format!("{TWO}:4789/10")]));
    let view = bench.segment.peers().find(|view| view.remote == remote(ONE)).unwrap();
    assert!(view.configured && view.health.since.is_some());
    assert_eq!(view.health.inner, Some(addr(ONE_INNER)));
    assert!(bench.receive(ONE, STATION).is_ok(), "what it sends is accepted");
}

#[test]
fn a_group_loses_its_dead_remotes_unless_it_has_no_others() {
    let mut bench = probing();
    for peer in [ONE, TWO] {
        bench.append(GROUP, peer);
    }
    bench.append(mac(GROUP, 1), ONE);
    bench.live(millis(1000), &[ONE, TWO]);
    bench.live(millis(500), &[TWO]);
    assert_eq!(bench.send(GROUP), Ok(vec![format!("{TWO}:4789/10")]));
    assert_eq!(bench.send(mac(GROUP, 1)), Ok(vec![format!("{ONE}:4789/10")]));
}

#[test]
fn what_was_learned_behind_a_dead_peer_is_flushed_and_what_control_made_stays() {
    let mut bench = probing();
    bench.live(millis(1000), &[ONE, TWO]);
    bench.receive(ONE, STATION).unwrap();
    bench.receive(TWO, mac(STATION, 1)).unwrap();
    bench.add(mac(STATION, 2), remote(ONE), EntryState::Static).unwrap();
    bench.live(millis(500), &[TWO]);
    assert_eq!(bench.get(STATION), None);
    assert_eq!(bench.get(mac(STATION, 1)).map(|entry| entry.dst), Some(addr(TWO)));
    assert_eq!(bench.send(mac(STATION, 2)), Ok(vec![format!("{ONE}:4789/10")]));
}

#[test]
fn nothing_is_learned_from_a_peer_that_is_down() {
    let mut bench = Bench::one_down();
    bench.receive(TWO, STATION).unwrap();
    bench.add(mac(STATION, 2), remote(TWO), EntryState::Static).unwrap();
    let learned = bench.counts().learned;
    assert!(bench.receive(ONE, STATION).is_ok());
    assert!(bench.receive(ONE, mac(STATION, 1)).is_ok());
    assert_eq!(bench.get(STATION).map(|entry| entry.dst), Some(addr(TWO)));
    assert_eq!(bench.get(mac(STATION, 1)), None);
    assert_eq!((bench.counts().learned, bench.counts().moved), (learned, 0));
    let spoofed = bench.receive(ONE, mac(STATION, 2));
    assert_eq!(spoofed, Err(DropReason::StaticElsewhere), "a static entry is guarded as ever");
}

#[test]
fn another_worker_learns_nothing_from_a_peer_that_is_down() {
    let mut bench = Bench::one_down();
    let (_, mut worker) = bench.segment.worker_halves();
    bench.receive(TWO, STATION).unwrap();
    let datagram = crate::bench::datagram(10, OWN, mac(STATION, 1));
    worker.handle_underlay(addr(ONE), &datagram, bench.now);
    worker.handle_underlay(addr(ONE), &crate::bench::datagram(10, OWN, STATION), bench.now);
    let mut sightings = 0;
    worker.hand_over(|_| {
        sightings += 1;
        true
    });
    assert_eq!(sightings, 0);
    // Once it is back, it is told.
    bench.live(millis(1500), &[ONE, TWO]);
    worker.set_view(bench.segment.poll_view().expect("it is back"));
    worker.handle_underlay(addr(ONE), &datagram, bench.now);
    worker.hand_over(|sighting| {
        bench.segment.handle_sighting(sighting, bench.now);
        true
    });
    assert_eq!(bench.get(mac(STATION, 1)).map(|entry| entry.dst), Some(addr(ONE)));
}

#[test]
fn an_answer_that_reaches_another_worker_counts() {
    let mut bench = probing();
    let (_, mut worker) = bench.segment.worker_halves();
    bench.segment.handle_health(bench.now);
    let answer = [&[8, 0, 0, 0, 0, 0, 10, 0][..], &reply(OWN, ONE_MAC, ONE_INNER)].concat();
    let heard_at = bench.now.saturating_add(millis(3));
    worker.handle_underlay(addr(ONE), &answer, heard_at);
    // It is timed where it arrived, however late its owner looks.
    let later = bench.now.saturating_add(millis(30));
    worker.hand_over(|sighting| {
        bench.segment.handle_sighting(sighting, later);
        true
    });
    let health = bench.segment.peers().find(|view| view.remote == remote(ONE)).unwrap().health;
    assert_eq!((health.state, health.rtt), (PeerState::Up, Some(millis(3))));
}

#[test]
fn answers_at_full_rate_leave_another_worker_room_to_learn() {
    let mut bench = probing();
    let (_, mut worker) = bench.segment.worker_halves();
    let answer = [&[8, 0, 0, 0, 0, 0, 10, 0][..], &reply(OWN, ONE_MAC, ONE_INNER)].concat();
    for _ in 0..1000 {
        worker.handle_underlay(addr(ONE), &answer, bench.now);
    }
    worker.handle_underlay(addr(TWO), &crate::bench::datagram(10, OWN, STATION), bench.now);
    let mut handed = 0;
    worker.hand_over(|sighting| {
        bench.segment.handle_sighting(sighting, bench.now);
        handed += 1;
        true
    });
    assert!(handed <= 64, "{handed}");
    assert!(worker.counters().snapshot().sightings_deferred >= 1000 - 64);
    assert_eq!(bench.get(STATION).map(|entry| entry.dst), Some(addr(TWO)));
    let short = [&[8, 0, 0, 0, 0, 0, 10, 0][..], &reply(OWN, ONE_MAC, ONE_INNER)[..40]].concat();
    worker.handle_underlay(addr(ONE), &short, bench.now);
    assert_eq!(worker.counters().snapshot().answers_refused[AnswerRefusal::Malformed.index()], 1);
}

#[test]
fn our_own_addresses_are_announced_through_whoever_is_left() {
    let mut bench = probing();
    bench.segment.set_own_addresses(vec![addr(OWN_INNER), addr("fe80::100")]);
    bench.live(millis(1000), &[ONE, TWO]);
    let mut announced = Vec::new();
    for _ in 0..50 {
        bench.now = bench.now.saturating_add(millis(10));
        bench.segment.handle_health(bench.now);
        for transmit in bench.transmits() {
            let payload = &transmit.frame[14..];
            let own: Option<IpAddr> = match arp::Packet::parse(payload) {
                Some(packet) => (packet.sender == packet.target).then_some(packet.sender.into()),
                None => ndp::Packet::parse(payload).map(|packet| packet.source.into()),
            };
            announced.extend(own.map(|own| (own, transmit.target.addr.ip())));
            if transmit.target.addr.ip() == addr(TWO) && asks_for(&transmit, TWO_INNER) {
                bench.tell(TWO, &reply(OWN, TWO_MAC, TWO_INNER));
            }
        }
    }
    assert_eq!(announced, [(addr(OWN_INNER), addr(TWO)), (addr("fe80::100"), addr(TWO))]);
}

#[test]
fn addresses_are_asked_for_through_whoever_is_left() {
    let mut bench = Bench::one_down();
    bench.transmits();
    bench.segment.solicit(&[addr("10.0.0.50"), addr("fe80::50"), addr(OWN_INNER)], bench.now);
    let transmits = bench.transmits();
    assert_eq!(transmits.len(), 2, "nobody asks for himself");
    assert!(transmits.iter().all(|transmit| transmit.target.addr.ip() == addr(TWO)));
    assert!(asks_for(&transmits[0], "10.0.0.50"));
    assert_eq!(ethernet::destination(&transmits[0].frame), Some(MacAddr::BROADCAST));
    assert!(ndp::Packet::parse(&transmits[1].frame[14..]).is_some());
}

#[test]
fn frames_of_our_own_that_nobody_takes_are_bounded_and_counted() {
    let mut bench = probing();
    let targets: Vec<IpAddr> =
        (0..1000).map(|number: u16| [10, 0, 1 + (number >> 8) as u8, number as u8].into()).collect();
    bench.segment.solicit(&targets, bench.now);
    assert_eq!((bench.transmits().len(), bench.counts().transmits_lost), (1024, 976));
    assert!(bench.counts().is_balanced());
}

#[test]
fn icmp_errors_alone_take_no_peer_away_that_answers() {
    let mut bench = probing();
    bench.live(millis(1000), &[ONE, TWO]);
    let probes = bench.counts().probes;
    for _ in 0..100 {
        for _ in 0..20 {
            bench.segment.handle_unreachable(addr(ONE), bench.now);
        }
        bench.live(millis(10), &[ONE, TWO]);
    }
    assert_eq!((bench.state(ONE), bench.counts().unreachable_hints), (PeerState::Up, 2000));
    // They cost probes at the pace of misses at most: one in 40 ms, for one of two peers.
    assert!(
        bench.counts().probes - probes <= 1000 / 40 + 1000 / 100 + 2,
        "{}",
        bench.counts().probes - probes
    );
}

#[test]
fn an_icmp_error_has_the_peer_asked_at_once() {
    let mut bench = probing();
    bench.live(millis(1000), &[ONE, TWO]);
    // In the middle of the pause between two probes.
    let pause = loop {
        let due = bench.segment.health_deadline().unwrap().saturating_since(bench.now);
        if due >= millis(50) {
            break due;
        }
        bench.live(millis(10), &[ONE, TWO]);
    };
    bench.now = bench.now.saturating_add(pause - millis(5));
    bench.segment.handle_unreachable(addr(ONE), bench.now);
    assert_eq!(bench.segment.health_deadline(), Some(bench.now));
}

#[test]
fn a_peer_that_is_not_asked_is_down_by_repeated_icmp_errors_if_another_is_left() {
    let mut bench = passive();
    bench.receive(ONE, STATION).unwrap();
    bench.now = bench.now.saturating_add(millis(1));
    for _ in 0..10 {
        bench.segment.handle_unreachable(addr(ONE), bench.now);
    }
    assert_eq!(bench.state(ONE), PeerState::Unknown, "a burst is one report");
    bench.now = bench.now.saturating_add(millis(250));
    bench.segment.handle_unreachable(addr(ONE), bench.now);
    assert_eq!(bench.state(ONE), PeerState::Down);
    let down = Event::PeerDown { addr: addr(ONE), why: DownReason::Unreachable };
    assert!(bench.events().contains(&down));
    assert_eq!(bench.send(MacAddr::BROADCAST), Ok(vec![format!("{TWO}:4789/10")]));
    assert_eq!(bench.get(STATION), None);
    // The other one cannot go, too.
    for _ in 0..10 {
        bench.segment.handle_unreachable(addr(TWO), bench.now);
        bench.now = bench.now.saturating_add(millis(250));
    }
    assert_eq!(bench.state(TWO), PeerState::Unknown);
    // Anything that comes from it brings it back.
    bench.receive(ONE, STATION).unwrap();
    bench.live(millis(500), &[]);
    assert_eq!((bench.state(ONE), bench.send(MacAddr::BROADCAST).unwrap().len()), (PeerState::Unknown, 2));
}

#[test]
fn a_peer_that_sends_is_not_down_by_icmp_errors() {
    let mut bench = passive();
    for _ in 0..100 {
        bench.now = bench.now.saturating_add(millis(100));
        bench.segment.handle_unreachable(addr(ONE), bench.now);
        bench.now = bench.now.saturating_add(millis(1));
        bench.receive(ONE, STATION).unwrap();
    }
    assert_eq!(bench.state(ONE), PeerState::Unknown);
}

#[test]
fn a_peer_that_is_down_by_icmp_errors_is_tried_again_ten_seconds_after_the_last() {
    let mut bench = passive();
    for _ in 0..3 {
        bench.now = bench.now.saturating_add(millis(200));
        bench.segment.handle_unreachable(addr(ONE), bench.now);
    }
    assert_eq!(bench.state(ONE), PeerState::Down);
    bench.live(millis(9000), &[]);
    assert_eq!(bench.state(ONE), PeerState::Down);
    bench.live(millis(1500), &[]);
    assert_eq!(bench.state(ONE), PeerState::Unknown);
    assert!(matches!(bench.events().last(), Some(Event::PeerUp { after, .. }) if *after >= millis(9900)));
}

#[test]
fn icmp_errors_about_nobody_we_know_are_nothing() {
    let mut bench = passive();
    bench.segment.handle_unreachable(addr("198.51.100.1"), bench.now);
    assert_eq!(bench.counts().unreachable_hints, 0);
}

#[test]
fn only_a_peer_has_an_inner_address() {
    let mut bench = passive();
    bench.add(STATION, remote("192.0.2.9"), EntryState::Static).unwrap();
    bench.segment.peer_add(remote("239.1.1.1"), bench.now).unwrap();
    for other in ["192.0.2.9", "239.1.1.1", "198.51.100.1"] {
        let refused = bench.segment.peer_set_inner(addr(other), Some(addr(ONE_INNER)));
        assert_eq!(refused, Err(ControlError::NotFound), "{other}");
    }
}

#[test]
fn a_multicast_group_among_the_peers_is_always_sent_to_and_never_asked() {
    let mut bench = Bench::one_down();
    bench.segment.peer_add(remote("239.1.1.1"), bench.now).unwrap();
    bench.live(millis(2000), &[]);
    assert_eq!(bench.send(MacAddr::BROADCAST), Ok(vec!["239.1.1.1:4789/10".into()]));
    assert!(!bench.events().contains(&Event::AllPeersSilent));
}

#[test]
fn peers_that_come_and_go_take_their_health_with_them() {
    let mut bench = Bench::one_down();
    bench.segment.peer_del(addr(ONE)).unwrap();
    bench.segment.peer_add(remote(ONE), bench.now).unwrap();
    assert_eq!(bench.state(ONE), PeerState::Unknown, "it begins anew");
    assert_eq!(bench.send(MacAddr::BROADCAST).unwrap().len(), 2);
    // The only one that lives is taken away: the other one is all there is.
    bench.segment.peer_set_inner(addr(ONE), Some(addr(ONE_INNER))).unwrap();
    bench.live(millis(1000), &[ONE, TWO]);
    bench.live(millis(500), &[TWO]);
    bench.segment.peer_del(addr(TWO)).unwrap();
    assert_eq!(bench.send(MacAddr::BROADCAST), Ok(vec![format!("{ONE}:4789/10")]));
    bench.live(millis(100), &[]);
    assert!(bench.events().contains(&Event::AllPeersSilent));
    // One that is added then is sent to alone, as nothing speaks against it.
    bench.segment.peer_add(remote("192.0.2.3"), bench.now).unwrap();
    bench.live(millis(10), &[]);
    assert_eq!(bench.send(MacAddr::BROADCAST), Ok(vec!["192.0.2.3:4789/10".into()]));
}

#[test]
fn one_that_never_gave_a_sign_is_nobody_to_be_left_with() {
    let mut bench = probing();
    bench.live(millis(2000), &[TWO]);
    assert_eq!((bench.state(ONE), bench.state(TWO)), (PeerState::Unknown, PeerState::Up));
    bench.live(millis(1800), &[]);
    // Two is down, and One has been dead from the beginning, for all that is known.
    assert_eq!((bench.state(ONE), bench.state(TWO)), (PeerState::Unknown, PeerState::Down));
    assert_eq!(bench.send(MacAddr::BROADCAST).unwrap().len(), 2);
    assert!(bench.events().contains(&Event::AllPeersSilent));
    bench.live(millis(300), &[TWO]);
    assert_eq!(bench.state(TWO), PeerState::Up, "nobody is waited for");
    // But one that sends, and does not answer, lives.
    bench.receive(ONE, STATION).unwrap();
    bench.live(millis(500), &[]);
    assert_eq!(bench.send(MacAddr::BROADCAST), Ok(vec![format!("{ONE}:4789/10")]));
}

#[test]
fn peers_that_never_answer_are_no_news() {
    let mut bench = probing();
    bench.live(millis(20_000), &[]);
    bench.segment.peer_add(remote("192.0.2.3"), bench.now).unwrap();
    bench.live(millis(1000), &[]);
    assert_eq!(bench.events(), []);
    assert_eq!(bench.send(MacAddr::BROADCAST).unwrap().len(), 3);
}

#[test]
fn switched_off_health_forgets_who_is_down() {
    let mut bench = Bench::one_down();
    bench.segment.set_health(None, bench.now);
    assert_eq!((bench.state(ONE), bench.segment.health_deadline()), (PeerState::Unknown, None));
    assert_eq!(bench.send(MacAddr::BROADCAST).unwrap().len(), 2);
    assert!(bench.receive(ONE, STATION).is_ok());
    assert_eq!(bench.get(STATION).map(|entry| entry.dst), Some(addr(ONE)));
    let probes = bench.counts().probes;
    bench.live(millis(1000), &[]);
    assert_eq!(bench.counts().probes, probes);
}

#[test]
fn a_peer_whose_inner_address_changes_begins_anew() {
    let mut bench = Bench::one_down();
    bench.segment.peer_set_inner(addr(ONE), Some(addr("10.0.0.9"))).unwrap();
    bench.live(millis(10), &[TWO]);
    assert_eq!((bench.state(ONE), bench.send(MacAddr::BROADCAST).unwrap().len()), (PeerState::Unknown, 2));
    // The same one again changes nothing.
    bench.segment.peer_set_inner(addr(TWO), Some(addr(TWO_INNER))).unwrap();
    assert_eq!(bench.state(TWO), PeerState::Up);
}

#[test]
fn nobody_is_asked_until_there_is_a_mac_address_to_ask_from() {
    let mut bench = Bench::with_peers(&[ONE]);
    bench.segment.peer_set_inner(addr(ONE), Some(addr(ONE_INNER))).unwrap();
    bench.segment.set_health(Some(HealthConfig::default()), bench.now);
    bench.live(millis(1000), &[]);
    assert_eq!((bench.counts().probes, bench.segment.health_deadline()), (0, None));
    bench.segment.set_own_mac(OWN);
    bench.live(millis(100), &[ONE]);
    assert_eq!(bench.state(ONE), PeerState::Up);
}

#[test]
fn a_pace_outside_its_range_counts_as_the_nearer_end() {
    let wild =
        HealthConfig { interval: Duration::ZERO, retry: Duration::MAX, misses: 0, hold_down: Duration::MAX };
    let tame = HealthConfig {
        interval: HealthConfig::MIN_INTERVAL,
        retry: HealthConfig::MIN_INTERVAL,
        misses: HealthConfig::MIN_MISSES,
        hold_down: HealthConfig::MAX_HOLD_DOWN,
    };
    assert_eq!(wild.clamped(), tame);
    assert_eq!(HealthConfig::default().clamped(), HealthConfig::default());
}
