//! What a segment knows of the paths to its peers, and how it finds that out.

use std::net::IpAddr;
use std::time::Duration;

use vxgate_codec::MacAddr;
use vxgate_codec::arp::{Operation, Packet};
use vxgate_codec::tcp::MssLimit;
use vxgate_core::{Event, HealthConfig, PathDiscovery, SegmentConfig, Transmit};

use crate::bench::{Bench, OWN, STATION, addr, remote};

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";
const INNER_A: &str = "10.0.0.1";
const INNER_B: &str = "10.0.0.2";
const PROBES: PathDiscovery = PathDiscovery { probes: true, dont_fragment: false };

/// Two peers with inner addresses behind links of 1500 octets, both asked what their paths carry.
fn asking() -> Bench {
    let config = SegmentConfig { own_mac: OWN, hash_key: 0x5eed, ..SegmentConfig::default() };
    let mut bench = Bench::new(config);
    let now = bench.now;
    bench.segment.set_health(Some(HealthConfig::default()), now);
    bench.segment.set_path_discovery(PROBES, now);
    for (peer, inner) in [(A, INNER_A), (B, INNER_B)] {
        bench.segment.peer_add(remote(peer), now).expect("a new peer");
        bench.segment.peer_set_inner(addr(peer), Some(addr(inner))).expect("a peer");
        bench.segment.set_link_mtu(addr(peer), Some(1500), now);
    }
    bench
}

/// Probes of the path to this peer that are due now, those of health left aside.
fn probes(bench: &mut Bench, peer: &str) -> Vec<Transmit> {
    bench.segment.handle_due(bench.now);
    let mut transmits: Vec<Transmit> = std::iter::from_fn(|| bench.segment.poll_transmit()).collect();
    transmits.retain(|probe| probe.target.addr.ip() == addr(peer) && probe.dont_fragment == Some(true));
    transmits
}

fn wait(bench: &mut Bench, span: Duration) {
    bench.now = bench.now.saturating_add(span);
}

/// What the peer with this inner address answers a probe.
fn reply(probe: &Transmit, inner: &str) -> Vec<u8> {
    let question = Packet::parse(&probe.frame[14..]).expect("an ARP packet");
    let IpAddr::V4(inner) = addr(inner) else { panic!("IPv4") };
    let packet = Packet {
        operation: Operation::Reply,
        sender_mac: STATION,
        sender: inner,
        target_mac: question.sender_mac,
        target: question.sender,
    };
    let header = [&question.sender_mac.octets()[..], &STATION.octets(), &[0x08, 0x06]].concat();
    [&header[..], &packet.to_bytes(), &[0; 18]].concat()
}

fn receive(bench: &mut Bench, from: &str, frame: &[u8]) {
    let payload = [&[8, 0, 0, 0, 0, 0, 10, 0][..], frame].concat();
    let verdict = bench.segment.handle_underlay(addr(from), &payload, bench.now);
    assert!(matches!(verdict, vxgate_core::UnderlayVerdict::Deliver { .. }), "{verdict:?}");
}

fn path_of(bench: &Bench, peer: &str) -> Option<u16> {
    bench.segment.peers().find(|view| view.remote.addr == addr(peer)).and_then(|view| view.path_mtu)
}

fn path_events(bench: &mut Bench) -> Vec<(IpAddr, u16)> {
    std::iter::from_fn(|| bench.segment.poll_event())
        .filter_map(
            |event| if let Event::PathMtu { addr, octets } = event { Some((addr, octets)) } else { None },
        )
        .collect()
}

#[test]
fn nothing_is_known_of_a_path_until_somebody_tells() {
    let bench = Bench::with_peers(&[A]);
    assert_eq!(path_of(&bench, A), None);
    assert!(bench.segment.limits().everywhere() > 65_535);
    assert_eq!(bench.segment.limits().mss(), None);
}

#[test]
fn a_probe_is_a_padded_question_that_names_no_sender_and_must_not_be_cut() {
    let mut bench = asking();
    let sent = probes(&mut bench, A);
    let [probe] = &sent[..] else { panic!("one probe, of the size in force: {sent:?}") };
    // 20 octets of IP, 8 of UDP, 8 of VXLAN.
    assert_eq!(probe.frame.len(), 1500 - 36);
    let question = Packet::parse(&probe.frame[14..]).unwrap();
    assert_eq!(question.operation, Operation::Request);
    assert_eq!(question.sender, std::net::Ipv4Addr::UNSPECIFIED);
    assert_eq!(IpAddr::V4(question.target), addr(INNER_A));
    assert_eq!(probe.frame[..6], MacAddr::BROADCAST.octets());
    assert_eq!(probe.frame[6..12], question.sender_mac.octets());
    assert!(!question.sender_mac.is_group() && question.sender_mac.is_local_admin());
    assert_ne!(question.sender_mac, OWN);
    assert!(probe.frame[42..].iter().all(|octet| *octet == 0));
}

#[test]
fn the_answer_of_the_right_peer_proves_the_size_and_no_other_one_does() {
    // No answer from: another peer, another inner address, to a number that nobody asked with, to a request's own.
    for forged in 0..4 {
        let mut bench = asking();
        let probe = probes(&mut bench, A).remove(0);
        let mut other = probe.clone();
        match forged {
            0 => receive(&mut bench, B, &reply(&probe, INNER_A)),
            1 => receive(&mut bench, A, &reply(&probe, INNER_B)),
            2 => {
                other.frame[27] ^= 1;
                receive(&mut bench, A, &reply(&other, INNER_A));
            }
            _ => receive(&mut bench, A, &probe.frame.clone()),
        }
        wait(&mut bench, Duration::from_secs(1));
        let sent = probes(&mut bench, A);
        assert!(sent.len() > 1, "forgery {forged} was believed: no search began");
    }
    let mut bench = asking();
    let probe = probes(&mut bench, A).remove(0);
    receive(&mut bench, A, &reply(&probe, INNER_A));
    wait(&mut bench, Duration::from_secs(1));
    assert!(probes(&mut bench, A).is_empty(), "what is proven is not asked for");
}

#[test]
fn a_black_hole_narrows_what_the_way_out_lets_pass_and_is_told() {
    let mut bench = asking();
    let _ = path_events(&mut bench);
    let limits = bench.segment.limits();
    // To A nothing above 1400 octets arrives; B answers all.
    for _ in 0..150 {
        bench.segment.handle_due(bench.now);
        let transmits: Vec<Transmit> = std::iter::from_fn(|| bench.segment.poll_transmit()).collect();
        for probe in transmits.iter().filter(|probe| probe.dont_fragment == Some(true)) {
            let to = probe.target.addr.ip();
            if to == addr(B) {
                receive(&mut bench, B, &reply(probe, INNER_B));
            } else if probe.frame.len() + 36 <= 1400 {
                receive(&mut bench, A, &reply(probe, INNER_A));
            }
        }
        wait(&mut bench, Duration::from_millis(100));
    }
    assert_eq!((path_of(&bench, A), path_of(&bench, B)), (Some(1400), Some(1500)));
    let numbers: Vec<_> = bench.segment.peers().map(|peer| peer.id).collect();
    assert_eq!(numbers.iter().map(|peer| limits.towards(*peer)).collect::<Vec<_>>(), [1364, 1464]);
    assert_eq!(limits.everywhere(), 1364);
    assert_eq!(path_events(&mut bench).last(), Some(&(addr(A), 1400)));
}

#[test]
fn an_icmp_error_is_heeded_where_it_lowers_what_is_known() {
    let mut bench = Bench::with_peers(&[A]);
    let now = bench.now;
    assert!(!bench.segment.handle_too_big(addr(A), 1400, now), "nothing is known to lower");
    bench.segment.set_link_mtu(addr(A), Some(1500), now);
    assert!(!bench.segment.handle_too_big(addr(A), 1400, now), "routers may cut what we send: it is a lie");
    bench.segment.set_path_discovery(PathDiscovery { probes: false, dont_fragment: true }, now);
    assert!(!bench.segment.handle_too_big(addr(B), 1400, now), "no peer");
    assert!(!bench.segment.handle_too_big(addr(A), 1500, now));
    assert!(bench.segment.handle_too_big(addr(A), 1400, now));
    assert_eq!(path_of(&bench, A), Some(1400));
    assert!(bench.segment.handle_too_big(addr(A), 0, now), "an old router");
    assert_eq!(path_of(&bench, A), Some(576));
    assert_eq!(path_events(&mut bench), [(addr(A), 1500), (addr(A), 1400), (addr(A), 576)]);
    assert!(bench.segment.limits().everywhere() < 1364);
    let due = bench.segment.deadline().expect("what was learned is forgotten in time");
    bench.segment.handle_due(due);
    assert_eq!(path_of(&bench, A), Some(1500));

    // Over IPv6 no router ever cuts.
    let mut bench = Bench::with_peers(&["2001:db8::1"]);
    bench.segment.set_link_mtu(addr("2001:db8::1"), Some(1500), now);
    assert!(bench.segment.handle_too_big(addr("2001:db8::1"), 1400, now));
    assert_eq!(path_of(&bench, "2001:db8::1"), Some(1400));
}

#[test]
fn peers_without_an_inner_ipv4_address_or_without_health_are_never_asked() {
    for (inner, health) in [(None, true), (Some("fd00::1"), true), (Some(INNER_A), false)] {
        let mut bench = Bench::with_peers(&[A]);
        let now = bench.now;
        bench.segment.set_health(health.then(HealthConfig::default), now);
        bench.segment.peer_set_inner(addr(A), inner.map(addr)).unwrap();
        bench.segment.set_path_discovery(PROBES, now);
        bench.segment.set_link_mtu(addr(A), Some(1500), now);
        for _ in 0..60 {
            wait(&mut bench, Duration::from_secs(1));
            bench.segment.handle_tick(bench.now);
            assert!(probes(&mut bench, A).is_empty(), "{inner:?}, health: {health}");
        }
    }
}

#[test]
fn an_inner_address_that_comes_later_is_asked_from_then_on() {
    let mut bench = Bench::new(SegmentConfig { own_mac: OWN, ..SegmentConfig::default() });
    let now = bench.now;
    bench.segment.set_health(Some(HealthConfig::default()), now);
    bench.segment.set_path_discovery(PROBES, now);
    bench.segment.peer_add(remote(A), now).unwrap();
    bench.segment.set_link_mtu(addr(A), Some(1500), now);
    assert!(probes(&mut bench, A).is_empty());
    bench.segment.peer_set_inner(addr(A), Some(addr(INNER_A))).unwrap();
    wait(&mut bench, Duration::from_secs(1));
    bench.segment.handle_tick(bench.now);
    assert_eq!(probes(&mut bench, A).len(), 1);
}

#[test]
fn what_was_known_of_a_path_goes_with_its_peer() {
    let mut bench = Bench::with_peers(&[A, B]);
    let now = bench.now;
    bench.segment.set_link_mtu(addr(A), Some(1400), now);
    bench.segment.set_link_mtu(addr(B), Some(1500), now);
    assert_eq!(bench.segment.limits().everywhere(), 1364);
    bench.segment.peer_del(addr(A)).unwrap();
    assert_eq!(bench.segment.limits().everywhere(), 1464, "its number may be another's next");
    wait(&mut bench, Duration::from_secs(1));
    bench.segment.handle_tick(bench.now);
    bench.segment.peer_add(remote(A), bench.now).unwrap();
    assert_eq!(path_of(&bench, A), None);
}

#[test]
fn a_remote_that_comes_later_is_limited_by_what_is_known_of_its_path() {
    let mut bench = Bench::with_peers(&[A]);
    let (now, limits) = (bench.now, bench.segment.limits());
    bench.segment.set_link_mtu(addr(A), Some(1400), now);
    // The same peer again, before anybody looked; and another remote at its address, which control or learning brings.
    bench.segment.peer_del(addr(A)).unwrap();
    let again = bench.segment.peer_add(remote(A), now).unwrap();
    bench.segment.set_link_mtu(addr(A), Some(1400), now);
    assert_eq!((path_of(&bench, A), limits.towards(again)), (Some(1400), 1364));
    let port = vxgate_core::Remote { port: Some(4790), ..remote(A) };
    bench.add(STATION, port, vxgate_core::EntryState::Static).unwrap();
    let towards: Vec<_> = bench.segment.peers().map(|peer| limits.towards(peer.id)).collect();
    assert_eq!(towards, [1364, 1364]);

    let mut bench = Bench::new(SegmentConfig::default());
    let (now, limits) = (bench.now, bench.segment.limits());
    bench.segment.peer_add(port, now).unwrap();
    bench.segment.set_link_mtu(addr(A), Some(1400), now);
    bench.receive(A, STATION).unwrap();
    wait(&mut bench, Duration::from_secs(1));
    bench.segment.handle_tick(bench.now);
    let towards: Vec<_> = bench.segment.peers().map(|peer| limits.towards(peer.id)).collect();
    assert_eq!(towards, [1364, 1364], "what is learned has the segment's own port");
}

#[test]
fn the_limit_of_the_segment_size_reaches_every_half() {
    let mut bench = Bench::with_peers(&[A]);
    let (overlay, underlay) = bench.segment.worker_halves();
    let limit = MssLimit::of_mtu(1450);
    bench.segment.set_mss_limit(Some(limit));
    for limits in [bench.overlay.limits(), overlay.limits(), underlay.limits()] {
        assert_eq!(limits.mss(), Some(limit));
    }
}
