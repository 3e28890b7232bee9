//! What a segment does with frames, datagrams and time.

use std::net::IpAddr;
use std::time::Duration;

use crate::bench::{Bench, GROUP, OWN, STATION, addr, datagram, frame, mac, remote};
use vxgate_codec::{MacAddr, ReservedBits, Vni};
use vxgate_core::{
    ControlError, DropReason, EntryState, Event, OverlayVerdict, PeerId, Remote, SegmentConfig,
    UnderlayVerdict,
};

// From the overlay to the underlay.

#[test]
fn a_frame_without_a_whole_header_is_dropped_as_a_runt() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    for octets in 0..14 {
        assert_eq!(bench.send_octets(&frame(STATION, OWN)[..octets]), Err(DropReason::Runt));
    }
    assert_eq!(bench.overlay_drops(DropReason::Runt), 14);
}

#[test]
fn a_known_unicast_goes_to_its_remote_only() {
    let mut bench = Bench::with_peers(&["192.0.2.1", "192.0.2.2"]);
    bench.receive("192.0.2.2", STATION).unwrap();
    assert_eq!(bench.send(STATION), Ok(vec!["192.0.2.2:4789/10".to_owned()]));
}

#[test]
fn an_unknown_unicast_goes_to_every_peer_in_the_order_in_which_they_were_added() {
    let mut bench = Bench::with_peers(&["192.0.2.2", "192.0.2.1"]);
    assert_eq!(bench.send(STATION), Ok(vec!["192.0.2.2:4789/10".to_owned(), "192.0.2.1:4789/10".to_owned()]));
    let counts = bench.counts();
    assert_eq!((counts.overlay_in.frames, counts.floods, counts.flood_copies), (1, 1, 2));
}

#[test]
fn a_group_without_an_entry_of_its_own_goes_to_every_peer() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    bench.append(mac(GROUP, 9), "192.0.2.9");
    for to in [mac(GROUP, 1), MacAddr::BROADCAST] {
        assert_eq!(bench.send(to), Ok(vec!["192.0.2.1:4789/10".to_owned()]), "{to}");
    }
}

#[test]
fn a_group_with_an_entry_of_its_own_goes_to_that_entrys_remotes_only() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    bench.append(mac(GROUP, 1), "192.0.2.8");
    bench.append(mac(GROUP, 1), "192.0.2.9");
    assert_eq!(
        bench.send(mac(GROUP, 1)),
        Ok(vec!["192.0.2.8:4789/10".to_owned(), "192.0.2.9:4789/10".to_owned()])
    );
    assert_eq!(bench.send(mac(GROUP, 2)), Ok(vec!["192.0.2.1:4789/10".to_owned()]));
}

#[test]
fn without_a_peer_what_is_unknown_is_dropped_for_want_of_a_remote() {
    let mut bench = Bench::new(SegmentConfig::default());
    for to in [STATION, mac(GROUP, 1), MacAddr::BROADCAST, MacAddr::ZERO] {
        assert_eq!(bench.send(to), Err(DropReason::NoRemote), "{to}");
    }
    assert_eq!(bench.overlay_drops(DropReason::NoRemote), 4);
}

#[test]
fn a_frame_to_the_zero_address_goes_to_every_peer() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    assert_eq!(bench.send(MacAddr::ZERO), Ok(vec!["192.0.2.1:4789/10".to_owned()]));
}

#[test]
fn the_source_of_a_frame_from_the_overlay_is_not_looked_at() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    for source in [MacAddr::ZERO, MacAddr::BROADCAST, mac(GROUP, 1)] {
        assert!(bench.send_octets(&frame(STATION, source)).is_ok());
    }
    assert_eq!(bench.segment.entries(), 1);
}

#[test]
fn a_remote_with_a_port_and_a_vni_of_its_own_gets_them() {
    let mut bench = Bench::new(SegmentConfig::default());
    let far = Remote { addr: addr("2001:db8::1"), port: Some(8472), vni: Vni::new(0) };
    bench.add(STATION, far, EntryState::Static).unwrap();
    bench.segment.peer_add(far, bench.now).unwrap();
    assert_eq!(bench.send(STATION), Ok(vec!["[2001:db8::1]:8472/0".to_owned()]));
    assert_eq!(bench.send(MacAddr::BROADCAST), Ok(vec!["[2001:db8::1]:8472/0".to_owned()]));
}

#[test]
fn a_multicast_group_can_be_a_peer() {
    let mut bench = Bench::with_peers(&["239.1.1.1", "ff05::100"]);
    assert_eq!(
        bench.send(STATION),
        Ok(vec!["239.1.1.1:4789/10".to_owned(), "[ff05::100]:4789/10".to_owned()])
    );
}

// From the underlay to the overlay: whose datagrams are taken.

#[test]
fn a_stranger_is_dropped_before_anything_is_parsed() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    assert_eq!(bench.receive_octets("192.0.2.2", &[]), Err(DropReason::Stranger));
    assert_eq!(bench.receive_octets("192.0.2.1", &[]), Err(DropReason::Truncated));
    assert_eq!(bench.receive("192.0.2.2", STATION), Err(DropReason::Stranger));
    assert_eq!(bench.underlay_drops(DropReason::Stranger), 2);
    assert_eq!(bench.segment.entries(), 1);
}

#[test]
fn every_remote_that_control_named_is_accepted() {
    let mut bench = Bench::with_peers(&["192.0.2.1", "2001:db8::1"]);
    bench.append(mac(GROUP, 1), "192.0.2.2");
    bench.add(STATION, remote("192.0.2.3"), EntryState::Static).unwrap();
    for from in ["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3", "::ffff:192.0.2.1"] {
        assert!(bench.receive(from, mac(STATION, 9)).is_ok(), "{from}");
    }
}

#[test]
fn a_remote_is_a_stranger_again_once_no_entry_of_control_names_it() {
    let mut bench = Bench::new(SegmentConfig { ageing: Duration::ZERO, ..SegmentConfig::default() });
    bench.add(STATION, remote("192.0.2.3"), EntryState::Static).unwrap();
    bench.append(mac(GROUP, 1), "192.0.2.3");
    bench.receive("192.0.2.3", mac(STATION, 9)).unwrap();
    bench.segment.fdb_del(STATION, None).unwrap();
    assert!(bench.receive("192.0.2.3", mac(STATION, 9)).is_ok());
    bench.segment.fdb_del(mac(GROUP, 1), None).unwrap();
    // What was learned from it does not open the door to it.
    assert!(bench.get(mac(STATION, 9)).is_some());
    assert_eq!(bench.receive("192.0.2.3", mac(STATION, 9)), Err(DropReason::Stranger));
}

#[test]
fn a_dynamic_entry_that_moved_no_longer_opens_the_door_to_where_it_was() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    bench.add(STATION, remote("192.0.2.3"), EntryState::Dynamic).unwrap();
    assert!(bench.receive("192.0.2.3", mac(STATION, 9)).is_ok());
    bench.receive("192.0.2.1", STATION).unwrap();
    assert_eq!(bench.receive("192.0.2.3", mac(STATION, 9)), Err(DropReason::Stranger));
}

#[test]
fn accepted_blocks_open_the_door_to_all_addresses_in_them() {
    let accept_from = vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let mut bench = Bench::new(SegmentConfig { accept_from, ..SegmentConfig::default() });
    for from in ["198.51.100.0", "198.51.100.255", "2001:db8:ffff::1", "::ffff:198.51.100.7"] {
        assert!(bench.receive(from, STATION).is_ok(), "{from}");
    }
    for from in ["198.51.101.0", "2001:db9::1", "192.0.2.1", "::1"] {
        assert_eq!(bench.receive(from, STATION), Err(DropReason::Stranger), "{from}");
    }
    bench.segment.set_accept_from(vec!["192.0.2.0/24".parse().unwrap()]);
    assert!(bench.receive("192.0.2.1", STATION).is_ok());
    assert_eq!(bench.receive("198.51.100.0", STATION), Err(DropReason::Stranger));
}

#[test]
fn more_senders_than_the_accept_list_keeps_ready_are_told_apart_all_the_same() {
    let accept_from = vec!["198.51.0.0/16".parse().unwrap()];
    let mut bench = Bench::new(SegmentConfig { accept_from, learning: false, ..SegmentConfig::default() });
    for _ in 0..2 {
        for number in 0..1000_u32 {
            let inside = IpAddr::from((0xc633_0000 + number).to_be_bytes());
            let outside = IpAddr::from((0xc634_0000 + number).to_be_bytes());
            assert!(bench.receive(&inside.to_string(), STATION).is_ok(), "{inside}");
            assert_eq!(bench.receive(&outside.to_string(), STATION), Err(DropReason::Stranger), "{outside}");
        }
    }
}

// From the underlay to the overlay: what is wrong with a datagram.

#[test]
fn a_datagram_that_breaks_a_rule_is_dropped_under_the_name_of_the_rule() {
    let good = datagram(10, OWN, STATION);
    let mut no_flag = good.clone();
    no_flag[0] = 0;
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    for (octets, reason) in [
        (&good[..7], DropReason::Truncated),
        (&no_flag, DropReason::FlagIClear),
        (&good[..8], DropReason::Runt),
        (&good[..21], DropReason::Runt),
        (&datagram(11, OWN, STATION), DropReason::WrongVni),
    ] {
        assert_eq!(bench.receive_octets("192.0.2.1", octets), Err(reason));
        assert_eq!(bench.overlay_drops(reason), 0, "{reason} counts in one direction only");
    }
    assert_eq!(bench.underlay_drops(DropReason::Runt), 2);
    assert_eq!(bench.segment.entries(), 1, "nothing was learned");
    assert_eq!(bench.receive_octets("192.0.2.1", &good), Ok(Some(bench.peer("192.0.2.1"))));
}

#[test]
fn reserved_bits_are_refused_by_the_policy_kernel_only() {
    for (policy, verdict) in
        [(ReservedBits::Ignore, None), (ReservedBits::Reject, Some(DropReason::ReservedBits))]
    {
        let mut bench = Bench::new(SegmentConfig { reserved_bits: policy, ..SegmentConfig::default() });
        bench.segment.peer_add(remote("192.0.2.1"), bench.now).unwrap();
        for bit in (0..64).filter(|bit| *bit != 4 && !(32..56).contains(bit)) {
            let mut octets = datagram(10, OWN, STATION);
            octets[bit / 8] |= 0x80 >> (bit % 8);
            assert_eq!(bench.receive_octets("192.0.2.1", &octets).err(), verdict, "bit {bit}");
        }
    }
}

#[test]
fn vni_0_is_a_segment_like_any_other() {
    let mut bench = Bench::new(SegmentConfig { vni: Vni::new(0).unwrap(), ..SegmentConfig::default() });
    bench.segment.peer_add(remote("192.0.2.1"), bench.now).unwrap();
    assert!(bench.receive_octets("192.0.2.1", &datagram(0, OWN, STATION)).is_ok());
    assert_eq!(bench.receive_octets("192.0.2.1", &datagram(10, OWN, STATION)), Err(DropReason::WrongVni));
}

#[test]
fn a_frame_from_our_own_address_is_a_loop() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    assert!(bench.receive("192.0.2.1", OWN).is_ok());
    bench.segment.set_own_mac(OWN);
    assert_eq!(bench.receive("192.0.2.1", OWN), Err(DropReason::OwnMac));
}

#[test]
fn a_frame_from_no_station_is_dropped() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    for source in [MacAddr::ZERO, MacAddr::BROADCAST, mac(GROUP, 1)] {
        assert_eq!(bench.receive("192.0.2.1", source), Err(DropReason::InvalidSource), "{source}");
    }
}

#[test]
fn a_verdict_about_a_datagram_names_where_it_came_from_and_nowhere_to_go() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    // To another remote's address: delivered, never sent on.
    bench.receive("192.0.2.1", STATION).unwrap();
    let back = datagram(10, STATION, mac(STATION, 9));
    let verdict = bench.segment.handle_underlay(addr("192.0.2.1"), &back, bench.now);
    assert_eq!(verdict, UnderlayVerdict::Deliver { frame_offset: 8, peer: Some(bench.peer("192.0.2.1")) });
    bench.segment.counters().count_delivered(None, 1, 0);
}

// Learning.

#[test]
fn the_remote_that_a_frame_came_from_is_learned_with_the_segments_own_port() {
    let mut bench = Bench::new(SegmentConfig { port: 8472, ..SegmentConfig::default() });
    bench.segment.peer_add(Remote { port: Some(9), ..remote("192.0.2.1") }, bench.now).unwrap();
    bench.receive("192.0.2.1", STATION).unwrap();
    assert_eq!(bench.send(STATION), Ok(vec!["192.0.2.1:8472/10".to_owned()]));
    assert_eq!(bench.events(), [Event::Learned { mac: STATION, dst: addr("192.0.2.1") }]);
    assert_eq!(bench.counts().learned, 1);
}

#[test]
fn a_dynamic_entry_moves_to_the_remote_last_heard_of() {
    let mut bench = Bench::with_peers(&["192.0.2.1", "192.0.2.2"]);
    bench.receive("192.0.2.1", STATION).unwrap();
    bench.receive("192.0.2.2", STATION).unwrap();
    assert_eq!(bench.send(STATION), Ok(vec!["192.0.2.2:4789/10".to_owned()]));
    let moved = Event::Moved { mac: STATION, from: addr("192.0.2.1"), to: addr("192.0.2.2") };
    assert_eq!(bench.events().last(), Some(&moved));
    assert_eq!((bench.counts().learned, bench.counts().moved, bench.counts().entries), (1, 1, 2));
}

#[test]
fn a_dynamic_entry_of_control_moves_too_and_leaves_its_port_and_vni_behind() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    let far = Remote { port: Some(9), vni: Vni::new(9), ..remote("192.0.2.3") };
    bench.add(STATION, far, EntryState::Dynamic).unwrap();
    bench.receive("192.0.2.3", STATION).unwrap();
    assert_eq!(bench.send(STATION), Ok(vec!["192.0.2.3:9/9".to_owned()]), "the address is the same: no move");
    bench.receive("192.0.2.1", STATION).unwrap();
    assert_eq!(bench.send(STATION), Ok(vec!["192.0.2.1:4789/10".to_owned()]));
}

#[test]
fn a_static_entry_never_moves_and_drops_what_comes_from_elsewhere() {
    for state in [EntryState::Static, EntryState::Permanent] {
        let mut bench = Bench::with_peers(&["192.0.2.1", "192.0.2.2"]);
        bench.add(STATION, remote("192.0.2.1"), state).unwrap();
        assert!(bench.receive("192.0.2.1", STATION).is_ok());
        assert_eq!(bench.receive("192.0.2.2", STATION), Err(DropReason::StaticElsewhere));
        assert_eq!(bench.send(STATION), Ok(vec!["192.0.2.1:4789/10".to_owned()]));
        assert_eq!((bench.underlay_drops(DropReason::StaticElsewhere), bench.counts().moved), (1, 0));
    }
}

#[test]
fn with_learning_off_nothing_is_learned_moved_refreshed_or_held_against_a_frame() {
    let mut bench = Bench::with_peers(&["192.0.2.1", "192.0.2.2"]);
    bench.receive("192.0.2.1", STATION).unwrap();
    bench.add(mac(STATION, 2), remote("192.0.2.1"), EntryState::Static).unwrap();
    bench.segment.set_learning(false);
    bench.pass(Duration::from_secs(100));
    bench.receive("192.0.2.2", STATION).unwrap();
    bench.receive("192.0.2.2", mac(STATION, 2)).unwrap();
    bench.receive("192.0.2.2", mac(STATION, 3)).unwrap();
    let entry = bench.get(STATION).unwrap();
    assert_eq!((entry.dst, entry.updated_s), (addr("192.0.2.1"), 100));
    assert!(bench.get(mac(STATION, 3)).is_none());
}

#[test]
fn a_source_accepted_by_block_becomes_a_remote_when_it_is_learned_and_is_forgotten_with_its_last_entry() {
    let accept_from = vec!["198.51.100.0/24".parse().unwrap()];
    let mut bench = Bench::new(SegmentConfig { accept_from, ..SegmentConfig::default() });
    assert_eq!(bench.segment.peers().count(), 0);
    bench.receive("198.51.100.1", STATION).unwrap();
    let view = bench.segment.peers().next().unwrap();
    assert_eq!((view.remote, view.configured, view.macs), (remote("198.51.100.1"), false, 1));
    assert_eq!(bench.receive("198.51.100.1", STATION), Ok(Some(view.id)));
    bench.segment.fdb_del(STATION, None).unwrap();
    assert_eq!(bench.segment.peers().count(), 0);
    bench.segment.set_learning(false);
    assert_eq!(bench.receive("198.51.100.1", STATION), Ok(None));
}

#[test]
fn a_full_table_learns_no_more_and_delivers_all_the_same() {
    // The all-zero entry counts, as in the kernel: room for two more.
    let mut bench = Bench::new(SegmentConfig { max_macs: 3, ..SegmentConfig::default() });
    bench.segment.peer_add(remote("192.0.2.1"), bench.now).unwrap();
    for number in 1..=5 {
        assert!(bench.receive("192.0.2.1", mac(STATION, number)).is_ok());
    }
    assert_eq!((bench.segment.entries(), bench.counts().entries), (3, 3));
    assert_eq!((bench.counts().learned, bench.counts().refused_macs), (2, 3));
    assert!(bench.get(mac(STATION, 2)).is_some() && bench.get(mac(STATION, 3)).is_none());
    // Further remotes of an entry count nothing; further addresses do.
    bench.append(MacAddr::ZERO, "192.0.2.2");
    let full = ControlError::TableFull { limit: 3 };
    assert_eq!(bench.add(mac(STATION, 9), remote("192.0.2.1"), EntryState::Static), Err(full));
    assert_eq!(bench.add(mac(GROUP, 9), remote("192.0.2.1"), EntryState::Static), Err(full));
    // Those that are known are refreshed, and move.
    bench.receive("192.0.2.2", mac(STATION, 1)).unwrap();
    assert_eq!(bench.send(mac(STATION, 1)), Ok(vec!["192.0.2.2:4789/10".to_owned()]));
    // Room is room again.
    bench.segment.fdb_del(mac(STATION, 1), None).unwrap();
    bench.receive("192.0.2.1", mac(STATION, 5)).unwrap();
    assert!(bench.get(mac(STATION, 5)).is_some());
}

#[test]
fn without_room_for_a_remote_nothing_is_learned_from_it_and_its_frames_are_delivered() {
    let accept_from = vec!["0.0.0.0/0".parse().unwrap()];
    let mut bench = Bench::new(SegmentConfig { accept_from, max_peers: 2, ..SegmentConfig::default() });
    bench.segment.peer_add(remote("192.0.2.1"), bench.now).unwrap();
    bench.receive("198.51.100.1", mac(STATION, 1)).unwrap();
    assert_eq!(bench.receive("198.51.100.2", mac(STATION, 2)), Ok(None));
    assert_eq!(bench.receive("198.51.100.2", mac(STATION, 1)), Ok(None));
    assert_eq!(bench.counts().refused_peers, 2);
    assert_eq!(bench.get(mac(STATION, 1)).unwrap().dst, addr("198.51.100.1"), "it did not move");
    assert_eq!(
        bench.segment.peer_add(remote("192.0.2.2"), bench.now),
        Err(ControlError::TooManyPeers { limit: 2 })
    );
}

// Ageing.

#[test]
fn a_dynamic_entry_goes_when_it_was_not_heard_of_for_the_ageing_time() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    bench.pass(Duration::from_millis(500));
    bench.receive("192.0.2.1", STATION).unwrap();
    // Seconds are whole: heard of at second 1 at the latest, past at 301.
    bench.pass(Duration::from_millis(300_400));
    assert!(bench.get(STATION).is_some());
    bench.pass(Duration::from_millis(100));
    assert!(bench.get(STATION).is_none());
    assert_eq!(bench.events().last(), Some(&Event::Aged { mac: STATION, dst: addr("192.0.2.1") }));
    assert_eq!((bench.counts().aged, bench.counts().entries), (1, 1));
    assert_eq!(bench.send(STATION).map(|copies| copies.len()), Ok(1), "it floods again");
}

#[test]
fn hearing_of_an_entry_keeps_it_and_sending_to_it_does_not() {
    let mut bench = Bench::with_peers(&["192.0.2.1", "192.0.2.2"]);
    bench.receive("192.0.2.1", mac(STATION, 1)).unwrap();
    bench.receive("192.0.2.1", mac(STATION, 2)).unwrap();
    for _ in 0..400 {
        bench.pass(Duration::from_secs(1));
        bench.receive("192.0.2.1", mac(STATION, 1)).unwrap();
        bench.send(mac(STATION, 2)).unwrap();
    }
    assert_eq!(bench.get(mac(STATION, 1)).map(|entry| entry.updated_s), Some(0));
    assert!(bench.get(mac(STATION, 2)).is_none());
}

#[test]
fn static_and_permanent_entries_do_not_age_and_dynamic_ones_of_control_do() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    for (number, state) in [(1, EntryState::Static), (2, EntryState::Permanent), (3, EntryState::Dynamic)] {
        bench.add(mac(STATION, number), remote("192.0.2.3"), state).unwrap();
        bench.add(mac(GROUP, number), remote("192.0.2.3"), state).unwrap();
    }
    bench.pass(Duration::from_secs(301));
    for number in 1..=3 {
        let stays = number != 3;
        assert_eq!(bench.get(mac(STATION, number)).is_some(), stays, "{number}");
        assert_eq!(bench.get(mac(GROUP, number)).is_some(), stays, "{number}");
    }
    assert_eq!(bench.send(mac(GROUP, 3)), Ok(vec!["192.0.2.1:4789/10".to_owned()]));
}

#[test]
fn ageing_time_zero_is_for_ever() {
    let mut bench = Bench::new(SegmentConfig { ageing: Duration::ZERO, ..SegmentConfig::default() });
    bench.segment.peer_add(remote("192.0.2.1"), bench.now).unwrap();
    bench.receive("192.0.2.1", STATION).unwrap();
    bench.pass(Duration::from_secs(100_000_000));
    assert!(bench.get(STATION).is_some());
}

#[test]
fn a_new_ageing_time_holds_for_entries_that_exist() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    bench.receive("192.0.2.1", STATION).unwrap();
    bench.pass(Duration::from_secs(50));
    bench.segment.set_ageing(Duration::from_secs(20));
    bench.pass(Duration::from_secs(1));
    assert!(bench.get(STATION).is_none());
}

#[test]
fn a_large_table_is_aged_within_nine_seconds_of_the_ageing_time() {
    let mut bench = Bench::new(SegmentConfig { max_macs: 100_001, ..SegmentConfig::default() });
    bench.segment.peer_add(remote("192.0.2.1"), bench.now).unwrap();
    for number in 0..100_000 {
        bench.receive("192.0.2.1", mac(STATION, number)).unwrap();
    }
    bench.pass(Duration::from_secs(299));
    assert_eq!(bench.segment.entries(), 100_001);
    for _ in 0..9 {
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!((bench.segment.entries(), bench.counts().aged), (1, 100_000));
    assert_eq!(bench.segment.peers().map(|view| view.macs).sum::<usize>(), 0);
}

#[test]
fn time_that_runs_backwards_ages_nothing() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    bench.pass(Duration::from_secs(1_000));
    bench.receive("192.0.2.1", STATION).unwrap();
    bench.now = vxgate_core::Timestamp::ZERO;
    bench.segment.handle_tick(bench.now);
    assert_eq!(bench.get(STATION).map(|entry| entry.updated_s), Some(0));
}

// What is shown.

#[test]
fn events_that_nobody_takes_are_lost_beyond_the_first_1024_and_counted() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    for number in 0..1100 {
        bench.receive("192.0.2.1", mac(STATION, number)).unwrap();
    }
    let events = bench.events();
    assert_eq!(events.len(), 1024);
    assert_eq!(events[1023], Event::Learned { mac: mac(STATION, 1023), dst: addr("192.0.2.1") });
    assert_eq!(bench.counts().events_lost, 76);
}

#[test]
fn frames_are_counted_for_the_peer_that_they_came_from_and_went_to() {
    let mut bench = Bench::with_peers(&["192.0.2.1", "192.0.2.2"]);
    bench.pass(Duration::from_secs(7));
    bench.receive("192.0.2.1", STATION).unwrap();
    bench.send(STATION).unwrap();
    bench.send(MacAddr::BROADCAST).unwrap();
    let views: Vec<_> = bench.segment.peers().collect();
    let frames: Vec<_> =
        views.iter().map(|view| (view.counts.rx.frames, view.counts.tx.frames, view.macs)).collect();
    assert_eq!(frames, [(1, 2, 1), (0, 1, 0)]);
    assert_eq!(views[0].counts.last_heard, Some(bench.now));
    assert_eq!(views[1].counts.last_heard, None);
    let counts = bench.counts();
    assert_eq!((counts.sent.frames, counts.delivered.frames), (3, 1));
    assert!(counts.is_balanced(), "{counts:?}");
}

#[test]
fn what_never_came_to_a_verdict_is_counted_in_and_dropped() {
    let bench = Bench::new(SegmentConfig::default());
    let counters = bench.segment.counters();
    counters.count_underlay_refusal(DropReason::CutShort, 9000);
    counters.count_overlay_refusal(DropReason::BadSuperframe, 60);
    assert_eq!((bench.underlay_drops(DropReason::CutShort), bench.counts().underlay_in.octets), (1, 9000));
    assert_eq!((bench.overlay_drops(DropReason::BadSuperframe), bench.counts().overlay_in.frames), (1, 1));
    assert!(bench.counts().is_balanced());
}

#[test]
fn a_number_that_goes_to_another_remote_starts_its_counters_again() {
    let mut bench = Bench::new(SegmentConfig { max_peers: 1, ..SegmentConfig::default() });
    let first = bench.segment.peer_add(remote("192.0.2.1"), bench.now).unwrap();
    bench.receive("192.0.2.1", STATION).unwrap();
    bench.segment.peer_del(addr("192.0.2.1")).unwrap();
    let second = bench.segment.peer_add(remote("192.0.2.2"), bench.now).unwrap();
    assert_eq!(first, second);
    assert_eq!(bench.segment.counters().peer(second), Default::default());
}

#[test]
fn numbers_go_round_so_that_one_just_freed_rests_longest() {
    let mut bench = Bench::new(SegmentConfig { max_peers: 3, ..SegmentConfig::default() });
    let mut used: Vec<PeerId> = Vec::new();
    for _ in 0..6 {
        used.push(bench.segment.peer_add(remote("192.0.2.1"), bench.now).unwrap());
        bench.segment.peer_del(addr("192.0.2.1")).unwrap();
    }
    let numbers: Vec<_> = used.iter().map(|peer| peer.index()).collect();
    assert_eq!(numbers, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn an_overlay_half_floods_to_the_lists_that_it_was_given_last() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    bench.segment.peer_add(remote("192.0.2.2"), bench.now).unwrap();
    let flooded = |bench: &Bench| match bench.overlay.handle_overlay(&frame(STATION, OWN)) {
        OverlayVerdict::Flood(targets) => targets.len(),
        OverlayVerdict::Unicast(..) | OverlayVerdict::Drop(_) => 0,
    };
    assert_eq!(flooded(&bench), 1);
    bench.overlay.set_flood(bench.segment.poll_flood().unwrap());
    assert_eq!(flooded(&bench), 2);
    assert!(bench.segment.poll_flood().is_none(), "nothing has changed since");
    assert_eq!(bench.overlay.remote(bench.peer("192.0.2.2")), Some(remote("192.0.2.2")));
}
