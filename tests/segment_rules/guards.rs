//! What keeps one peer, or one station, from taking what is everybody's: the limit of floods, the share of the table, the damping of
//! moves, and the accept list before all of them.

use std::num::NonZeroU32;
use std::time::Duration;

use vxgate_codec::MacAddr;
use vxgate_core::{DropReason, Event, SegmentConfig};

use crate::bench::{Bench, OWN, STATION, addr, datagram, mac, remote};

const ONE: &str = "192.0.2.1";
const TWO: &str = "192.0.2.2";

fn with(config: SegmentConfig) -> Bench {
    let mut bench = Bench::new(SegmentConfig { own_mac: OWN, ..config });
    for peer in [ONE, TWO] {
        bench.segment.peer_add(remote(peer), bench.now).expect("a new peer");
    }
    bench.take_flood();
    bench
}

#[test]
fn of_a_stranger_nothing_is_read_whatever_it_sends() {
    let mut bench = with(SegmentConfig::default());
    let garbage = [
        vec![],
        vec![0],
        vec![0xff; 7],
        vec![8; 8],
        vec![0; 100],
        datagram(10, OWN, STATION),
        datagram(11, OWN, STATION),
    ];
    for octets in &garbage {
        assert_eq!(bench.receive_octets("203.0.113.9", octets), Err(DropReason::Stranger));
    }
    assert_eq!(bench.underlay_drops(DropReason::Stranger), garbage.len() as u64);
    assert_eq!(bench.segment.entries(), 1, "the list of peers");
    assert!(bench.counts().is_balanced());
}

#[test]
fn floods_from_a_peer_are_limited_and_unicast_and_other_peers_are_not() {
    let mut bench = with(SegmentConfig { storm_limit: NonZeroU32::new(1000), ..SegmentConfig::default() });
    let broadcast = datagram(10, MacAddr::BROADCAST, STATION);
    let mut delivered = 0;
    // Ten times the rate for ten seconds, and unicast in between.
    for number in 0..100_000_u64 {
        bench.now = vxgate_core::Timestamp::from_nanos(number * 100_000);
        delivered += u64::from(bench.receive_octets(ONE, &broadcast).is_ok());
        if number % 100 == 0 {
            assert!(bench.receive(ONE, STATION).is_ok(), "{number}");
        }
    }
    // A tenth of a second at once, then the rate.
    assert!((10_000..=10_300).contains(&delivered), "{delivered}");
    assert_eq!(bench.underlay_drops(DropReason::StormLimit), 100_000 - delivered);
    assert!(bench.receive_octets(TWO, &datagram(10, MacAddr::BROADCAST, mac(STATION, 7))).is_ok());
}

#[test]
fn without_a_limit_everything_is_flooded_as_in_the_kernel() {
    let mut bench = with(SegmentConfig::default());
    let broadcast = datagram(10, MacAddr::BROADCAST, STATION);
    assert!((0..10_000).all(|_| bench.receive_octets(ONE, &broadcast).is_ok()));
}

#[test]
fn one_peer_does_not_fill_the_table_and_the_other_finds_room() {
    let mut bench =
        with(SegmentConfig { max_macs: 100, max_macs_per_peer: Some(60), ..SegmentConfig::default() });
    for number in 0..1000 {
        assert!(bench.receive(ONE, mac(STATION, number)).is_ok(), "delivered, learned or not");
    }
    assert_eq!(bench.segment.entries(), 61, "with the list of peers");
    assert_eq!(bench.counts().refused_share, 940);
    for number in 2000..2020 {
        bench.receive(TWO, mac(STATION, number)).expect("accepted");
        assert!(bench.get(mac(STATION, number)).is_some(), "{number}");
    }
    // What is known may still move there, as all of it does when the other peer of a Gate dies.
    bench.receive(ONE, mac(STATION, 2000)).expect("accepted");
    assert_eq!(bench.get(mac(STATION, 2000)).map(|entry| entry.dst), Some(addr(ONE)));
    assert!(bench.counts().is_balanced());
}

#[test]
fn a_station_that_moves_to_and_fro_stays_where_it_is_and_is_told_of_once() {
    let mut bench = with(SegmentConfig { flap_damping: true, ..SegmentConfig::default() });
    let at = |bench: &Bench| bench.get(STATION).map(|entry| entry.dst);
    // Ten thousand moves a second: every frame comes from the other peer.
    for number in 0..10_000_u64 {
        bench.now = vxgate_core::Timestamp::from_nanos(number * 100_000);
        let from = if number % 2 == 0 { ONE } else { TWO };
        assert!(bench.receive(from, STATION).is_ok(), "delivered all the same");
        // One beside it, that stays.
        bench.receive(ONE, mac(STATION, 1)).expect("accepted");
    }
    let counts = bench.counts();
    assert_eq!((counts.moved, counts.moves_damped), (5, 4_997));
    assert_eq!(at(&bench), Some(addr(TWO)), "where the fifth move left it");
    let events = bench.events();
    let damped = events.iter().filter(|event| matches!(event, Event::Damped { .. }));
    assert_eq!(damped.collect::<Vec<_>>(), [&Event::Damped { mac: STATION, at: addr(TWO), and: addr(ONE) }]);
    assert_eq!(bench.get(mac(STATION, 1)).map(|entry| entry.dst), Some(addr(ONE)));
    // Three quiet minutes later it may move again.
    bench.pass(Duration::from_secs(181));
    bench.receive(TWO, STATION).expect("accepted");
    bench.receive(ONE, STATION).expect("accepted");
    assert_eq!(at(&bench), Some(addr(ONE)));
}

#[test]
fn by_hand_a_damped_station_moves_all_the_same() {
    let mut bench = with(SegmentConfig { flap_damping: true, ..SegmentConfig::default() });
    for number in 0..20 {
        bench.receive(if number % 2 == 0 { ONE } else { TWO }, STATION).expect("accepted");
    }
    let now = bench.now;
    let replaced = bench.segment.fdb_replace(STATION, remote(ONE), vxgate_core::EntryState::Dynamic, now);
    assert_eq!(replaced, Ok(()));
    assert_eq!(bench.get(STATION).map(|entry| entry.dst), Some(addr(ONE)));
}

#[test]
fn without_damping_every_move_is_made_as_in_the_kernel() {
    let mut bench = with(SegmentConfig::default());
    for number in 0..20 {
        bench.receive(if number % 2 == 0 { ONE } else { TWO }, STATION).expect("accepted");
    }
    assert_eq!(bench.counts().moved, 19);
}
