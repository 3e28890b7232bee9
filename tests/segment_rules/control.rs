//! What a segment does at the words of `bridge fdb`, and with peers.

use std::collections::BTreeSet;
use std::time::Duration;

use vxgate_codec::{MacAddr, Vni};
use vxgate_core::{
    ControlError, DropReason, EntryState, EntryStates, EntryView, FlushFilter, PageCursor, Remote,
    SegmentConfig,
};

use crate::bench::{Bench, GROUP, STATION, addr, mac, remote};

fn empty() -> Bench {
    Bench::new(SegmentConfig::default())
}

/// All lines of a listing as `mac dst state`, sorted.
fn show(bench: &Bench) -> Vec<String> {
    let mut lines: Vec<_> =
        all(bench, 100).iter().map(|line| format!("{} {} {}", line.mac, line.dst, line.state)).collect();
    lines.sort();
    lines
}

fn all(bench: &Bench, limit: usize) -> Vec<EntryView> {
    let mut lines = Vec::new();
    let mut next = Some(PageCursor::default());
    while let Some(cursor) = next {
        let (page, cursor) = bench.segment.fdb_page(cursor, limit, bench.now);
        assert!(page.len() < limit + 8, "{} lines in a page of {limit}", page.len());
        lines.extend(page);
        next = cursor;
    }
    lines
}

const ALL_ADDRESSES: [MacAddr; 3] = [STATION, GROUP, MacAddr::ZERO];

// add

#[test]
fn adding_what_exists_is_refused_whatever_its_remote() {
    for mac in ALL_ADDRESSES {
        let mut bench = empty();
        bench.add(mac, remote("192.0.2.1"), EntryState::Static).unwrap();
        for to in ["192.0.2.1", "192.0.2.2"] {
            assert_eq!(bench.add(mac, remote(to), EntryState::Permanent), Err(ControlError::Exists), "{mac}");
        }
        assert_eq!(show(&bench), [format!("{mac} 192.0.2.1 static")]);
    }
}

#[test]
fn what_was_learned_exists_too() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    bench.receive("192.0.2.1", STATION).unwrap();
    assert_eq!(bench.add(STATION, remote("192.0.2.1"), EntryState::Static), Err(ControlError::Exists));
}

#[test]
fn adding_the_all_zero_entry_makes_the_flood_list() {
    let mut bench = empty();
    bench.add(MacAddr::ZERO, remote("192.0.2.1"), EntryState::Permanent).unwrap();
    assert_eq!(bench.send(STATION), Ok(vec!["192.0.2.1:4789/10".to_owned()]));
    assert!(bench.segment.peers().all(|view| view.configured));
}

#[test]
fn a_remote_without_an_address_or_with_port_0_is_refused() {
    let mut bench = empty();
    for to in
        [remote("0.0.0.0"), remote("::"), remote("::ffff:0.0.0.0"), Remote { port: Some(0), ..remote("::1") }]
    {
        for mac in ALL_ADDRESSES {
            assert_eq!(bench.add(mac, to, EntryState::Static), Err(ControlError::InvalidRemote), "{to:?}");
        }
        assert_eq!(bench.segment.peer_add(to, bench.now), Err(ControlError::InvalidRemote));
    }
    assert_eq!((bench.segment.entries(), bench.segment.peers().count()), (0, 0));
}

// append

#[test]
fn appending_adds_a_remote_to_a_list_or_makes_the_entry() {
    for mac in [GROUP, MacAddr::ZERO] {
        let mut bench = empty();
        bench.append(mac, "192.0.2.1");
        bench.append(mac, "192.0.2.2");
        assert_eq!(
            show(&bench),
            [format!("{mac} 192.0.2.1 permanent"), format!("{mac} 192.0.2.2 permanent")]
        );
        assert_eq!(bench.segment.entries(), 1);
    }
    let mut bench = empty();
    bench.append(STATION, "192.0.2.1");
    assert_eq!(show(&bench), [format!("{STATION} 192.0.2.1 permanent")]);
}

#[test]
fn appending_to_a_unicast_address_is_refused_where_the_kernel_says_nothing() {
    let mut bench = empty();
    bench.append(STATION, "192.0.2.1");
    let again = bench.segment.fdb_append(STATION, remote("192.0.2.2"), EntryState::Dynamic, bench.now);
    assert_eq!(again, Err(ControlError::AppendUnicast));
    assert_eq!(show(&bench), [format!("{STATION} 192.0.2.1 permanent")]);
}

#[test]
fn appending_a_remote_twice_is_refused_where_the_kernel_says_nothing() {
    let mut bench = empty();
    bench.append(GROUP, "192.0.2.1");
    // The segment's own port and VNI are what stands for none.
    let vni = Vni::new(10);
    for twin in [
        remote("192.0.2.1"),
        remote("::ffff:192.0.2.1"),
        Remote { port: Some(4789), vni, ..remote("192.0.2.1") },
    ] {
        let again = bench.segment.fdb_append(GROUP, twin, EntryState::Static, bench.now);
        assert_eq!(again, Err(ControlError::Exists), "{twin:?}");
    }
    for other in
        [Remote { port: Some(1), ..remote("192.0.2.1") }, Remote { vni: Vni::new(11), ..remote("192.0.2.1") }]
    {
        bench.segment.fdb_append(GROUP, other, EntryState::Permanent, bench.now).unwrap();
    }
    assert_eq!(show(&bench).len(), 3);
}

#[test]
fn the_state_given_last_is_that_of_the_whole_list() {
    let mut bench = empty();
    bench.append(GROUP, "192.0.2.1");
    bench.segment.fdb_append(GROUP, remote("192.0.2.2"), EntryState::Static, bench.now).unwrap();
    assert_eq!(show(&bench), [format!("{GROUP} 192.0.2.1 static"), format!("{GROUP} 192.0.2.2 static")]);
}

// replace

#[test]
fn replacing_gives_a_unicast_address_its_remote_and_state_whether_or_not_it_has_any() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    bench.segment.fdb_replace(STATION, remote("192.0.2.2"), EntryState::Static, bench.now).unwrap();
    assert_eq!(bench.send(STATION), Ok(vec!["192.0.2.2:4789/10".to_owned()]));
    bench.segment.fdb_replace(STATION, remote("192.0.2.3"), EntryState::Dynamic, bench.now).unwrap();
    assert_eq!(bench.send(STATION), Ok(vec!["192.0.2.3:4789/10".to_owned()]));
    assert_eq!(bench.get(STATION).unwrap().state, EntryState::Dynamic);
    assert_eq!(bench.receive("192.0.2.2", mac(STATION, 1)), Err(DropReason::Stranger), "it is named no more");
}

#[test]
fn replacing_what_was_learned_pins_it() {
    let mut bench = Bench::with_peers(&["192.0.2.1", "192.0.2.2"]);
    bench.receive("192.0.2.1", STATION).unwrap();
    bench.segment.fdb_replace(STATION, remote("192.0.2.1"), EntryState::Static, bench.now).unwrap();
    assert_eq!(bench.receive("192.0.2.2", STATION), Err(DropReason::StaticElsewhere));
}

#[test]
fn a_list_cannot_be_replaced() {
    let mut bench = empty();
    for mac in [GROUP, MacAddr::ZERO, MacAddr::BROADCAST] {
        let replaced = bench.segment.fdb_replace(mac, remote("192.0.2.1"), EntryState::Permanent, bench.now);
        assert_eq!(replaced, Err(ControlError::ReplaceList), "{mac}");
    }
    assert_eq!(bench.segment.entries(), 0);
}

// del

#[test]
fn deleting_what_is_absent_is_refused() {
    let mut bench = empty();
    for mac in ALL_ADDRESSES {
        assert_eq!(bench.segment.fdb_del(mac, None), Err(ControlError::NotFound), "{mac}");
        bench.append(mac, "192.0.2.1");
        // The kernel says nothing to these.
        for absent in [remote("192.0.2.2"), Remote { port: Some(1), ..remote("192.0.2.1") }] {
            assert_eq!(bench.segment.fdb_del(mac, Some(absent)), Err(ControlError::NotFound), "{mac}");
        }
        assert!(bench.get(mac).is_some());
    }
}

#[test]
fn deleting_one_remote_leaves_the_others_and_the_last_one_takes_the_entry_along() {
    for mac in [GROUP, MacAddr::ZERO] {
        let mut bench = empty();
        bench.append(mac, "192.0.2.1");
        bench.append(mac, "192.0.2.2");
        bench.segment.fdb_del(mac, Some(remote("192.0.2.1"))).unwrap();
        assert_eq!(show(&bench), [format!("{mac} 192.0.2.2 permanent")]);
        bench.segment.fdb_del(mac, Some(Remote { port: Some(4789), ..remote("192.0.2.2") })).unwrap();
        assert_eq!((bench.segment.entries(), bench.segment.peers().count()), (0, 0));
        assert_eq!(bench.send(mac), Err(DropReason::NoRemote));
    }
}

#[test]
fn deleting_without_a_remote_takes_the_whole_entry() {
    for mac in ALL_ADDRESSES {
        let mut bench = empty();
        bench.append(mac, "192.0.2.1");
        if mac != STATION {
            bench.append(mac, "192.0.2.2");
        }
        bench.segment.fdb_del(mac, None).unwrap();
        assert_eq!((bench.segment.entries(), bench.segment.peers().count()), (0, 0), "{mac}");
    }
}

// flush

/// Two of each kind: `n` at 192.0.2.1, and one at a remote with a port and a VNI of its own.
fn stocked() -> Bench {
    let mut bench = empty();
    let far = Remote { port: Some(9), vni: Vni::new(9), ..remote("192.0.2.2") };
    for to in [remote("192.0.2.1"), far] {
        bench.segment.fdb_append(MacAddr::ZERO, to, EntryState::Permanent, bench.now).expect("room for it");
        bench.segment.fdb_append(GROUP, to, EntryState::Static, bench.now).expect("room for it");
        let number = if to == far { 1 } else { 0 };
        bench.add(mac(STATION, number), to, EntryState::Static).expect("room for it");
        bench.add(mac(STATION, 4 + number), to, EntryState::Permanent).expect("room for it");
    }
    bench.receive("192.0.2.1", mac(STATION, 8)).expect("room for it");
    bench.receive("192.0.2.2", mac(STATION, 9)).expect("room for it");
    assert_eq!(show(&bench).len(), 10);
    bench
}

#[test]
fn flushing_without_a_filter_leaves_nothing_as_in_the_kernel() {
    let mut bench = stocked();
    assert_eq!(bench.segment.fdb_flush(&FlushFilter::default()), 10);
    assert_eq!((bench.segment.entries(), bench.segment.peers().count(), bench.counts().entries), (0, 0, 0));
    assert_eq!(bench.send(STATION), Err(DropReason::NoRemote));
}

#[test]
fn flushing_what_is_dynamic_leaves_what_control_made_to_stay() {
    let mut bench = stocked();
    assert_eq!(bench.segment.fdb_flush(&FlushFilter::DYNAMIC), 2);
    assert_eq!(show(&bench).len(), 8);
    assert!(bench.get(mac(STATION, 8)).is_none());
}

#[test]
fn flushing_by_state_takes_entries_in_it_or_all_but_those_in_it() {
    for (states, gone) in [
        (EntryStates::only(EntryState::Permanent), 4),
        (EntryStates::only(EntryState::Static), 4),
        (EntryStates::ALL.without(EntryState::Permanent), 6),
        (EntryStates::ALL.without(EntryState::Dynamic), 8),
    ] {
        let mut bench = stocked();
        assert_eq!(
            bench.segment.fdb_flush(&FlushFilter { states, ..FlushFilter::default() }),
            gone,
            "{states:?}"
        );
        assert!(all(&bench, 100).iter().all(|line| !states.contains(line.state)), "{states:?}");
    }
}

#[test]
fn flushing_by_address_takes_the_lines_of_that_address() {
    for (own, gone) in [(STATION, 1), (GROUP, 2), (MacAddr::ZERO, 2), (mac(STATION, 99), 0)] {
        let mut bench = stocked();
        assert_eq!(
            bench.segment.fdb_flush(&FlushFilter { mac: Some(own), ..FlushFilter::default() }),
            gone,
            "{own}"
        );
        assert!(all(&bench, 100).iter().all(|line| line.mac != own), "{own}");
    }
}

#[test]
fn flushing_by_remote_takes_its_lines_and_entries_that_have_no_other() {
    let by_dst = FlushFilter { dst: Some(addr("192.0.2.2")), ..FlushFilter::default() };
    let by_port = FlushFilter { port: Some(9), ..FlushFilter::default() };
    let by_vni = FlushFilter { vni: Vni::new(9), ..FlushFilter::default() };
    // What was learned from 192.0.2.2 has the segment's port and VNI.
    for (filter, gone) in [(by_dst, 5), (by_port, 4), (by_vni, 4)] {
        let mut bench = stocked();
        assert_eq!(bench.segment.fdb_flush(&filter), gone, "{filter:?}");
        assert!(bench.get(GROUP).is_some() && bench.get(mac(STATION, 1)).is_none(), "{filter:?}");
    }
    let own = FlushFilter { port: Some(4789), vni: Vni::new(10), ..FlushFilter::default() };
    assert_eq!(
        stocked().segment.fdb_flush(&own),
        6,
        "the segment's own stand for what a remote does not give"
    );
}

#[test]
fn all_that_a_filter_gives_must_fit() {
    let mut bench = stocked();
    let filter = FlushFilter {
        mac: Some(GROUP),
        dst: Some(addr("192.0.2.1")),
        states: EntryStates::only(EntryState::Permanent),
        ..FlushFilter::default()
    };
    assert_eq!(bench.segment.fdb_flush(&filter), 0, "the group's entry is static");
    let filter = FlushFilter { states: EntryStates::only(EntryState::Static), ..filter };
    assert_eq!(bench.segment.fdb_flush(&filter), 1);
}

// show and get

#[test]
fn a_line_holds_what_bridge_prints() {
    let mut bench = empty();
    let far = Remote { port: Some(4790), vni: Vni::new(11), ..remote("192.0.2.7") };
    bench.add(STATION, far, EntryState::Static).unwrap();
    bench.pass(Duration::from_secs(5));
    let line = bench.get(STATION).unwrap();
    assert_eq!(
        (line.mac, line.dst, line.port, line.vni),
        (STATION, addr("192.0.2.7"), Some(4790), Vni::new(11))
    );
    assert_eq!((line.state.shown(), line.used_s, line.updated_s), ("static", 5, 5));
    // The segment's own port and VNI are not printed.
    let near = Remote { port: Some(4789), vni: Vni::new(10), ..remote("192.0.2.7") };
    bench.segment.fdb_replace(STATION, near, EntryState::Dynamic, bench.now).unwrap();
    let line = bench.get(STATION).unwrap();
    assert_eq!((line.port, line.vni, line.state.shown(), line.updated_s), (None, None, "", 0));
    assert_eq!(EntryState::Permanent.shown(), "permanent");
}

#[test]
fn a_listing_in_parts_holds_every_line_once() {
    let mut bench = Bench::with_peers(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    for number in 0..50 {
        bench.append(mac(GROUP, number), "192.0.2.1");
        bench.append(mac(GROUP, number), "192.0.2.2");
    }
    for number in 0..3000 {
        bench.receive("192.0.2.1", mac(STATION, number)).unwrap();
    }
    for limit in [1, 2, 3, 7, 100, 10_000] {
        let lines = all(&bench, limit);
        let distinct: BTreeSet<_> = lines.iter().map(|line| (line.mac, line.dst)).collect();
        assert_eq!((lines.len(), distinct.len()), (3103, 3103), "{limit}");
    }
}

#[test]
fn no_part_of_a_listing_looks_at_more_than_its_share_of_a_sparse_table() {
    let bench = Bench::new(SegmentConfig { max_macs: 1 << 20, ..SegmentConfig::default() });
    let (lines, next) = bench.segment.fdb_page(PageCursor::default(), 100, bench.now);
    assert!(lines.is_empty() && next.is_some());
    assert!(all(&bench, 100).is_empty(), "and the last part ends it");
}

#[test]
fn a_listing_goes_on_where_it_was_though_lists_come_and_go() {
    let mut bench = empty();
    for number in 0..4 {
        bench.append(mac(GROUP, number), "192.0.2.1");
    }
    let (first, next) = bench.segment.fdb_page(PageCursor::default(), 2, bench.now);
    bench.segment.fdb_del(mac(GROUP, 0), None).unwrap();
    bench.segment.fdb_del(mac(GROUP, 2), None).unwrap();
    let (second, _) = bench.segment.fdb_page(next.unwrap(), 2, bench.now);
    let numbers = |lines: &[EntryView]| lines.iter().map(|line| line.mac.octets()[5]).collect::<Vec<_>>();
    assert_eq!((numbers(&first), numbers(&second)), (vec![0, 1], vec![3]));
}

// peers

#[test]
fn a_peer_is_a_permanent_remote_of_the_all_zero_entry() {
    let mut bench = empty();
    let id = bench.segment.peer_add(remote("192.0.2.1"), bench.now).unwrap();
    assert_eq!(show(&bench), ["00:00:00:00:00:00 192.0.2.1 permanent"]);
    let view = bench.segment.peers().next().unwrap();
    assert_eq!((view.id, view.remote, view.configured), (id, remote("192.0.2.1"), true));
    assert_eq!(bench.segment.peer_add(remote("192.0.2.1"), bench.now), Err(ControlError::Exists));
}

#[test]
fn deleting_a_peer_flushes_what_was_learned_behind_it_and_leaves_what_is_static() {
    let mut bench = Bench::with_peers(&["192.0.2.1", "192.0.2.2"]);
    bench.receive("192.0.2.1", mac(STATION, 1)).unwrap();
    bench.receive("192.0.2.2", mac(STATION, 2)).unwrap();
    bench.add(mac(STATION, 3), remote("192.0.2.1"), EntryState::Static).unwrap();
    bench.segment.peer_del(addr("::ffff:192.0.2.1")).unwrap();
    assert_eq!(
        show(&bench),
        [
            "00:00:00:00:00:00 192.0.2.2 permanent".to_owned(),
            format!("{} 192.0.2.2 dynamic", mac(STATION, 2)),
            format!("{} 192.0.2.1 static", mac(STATION, 3)),
        ]
    );
    assert_eq!(bench.send(mac(STATION, 1)), Ok(vec!["192.0.2.2:4789/10".to_owned()]));
    assert!(bench.receive("192.0.2.1", mac(STATION, 3)).is_ok(), "a static entry still names it");
    assert_eq!(bench.segment.peer_del(addr("192.0.2.1")), Err(ControlError::NotFound));
}

#[test]
fn deleting_a_peer_takes_every_remote_at_its_address() {
    let mut bench = Bench::with_peers(&["192.0.2.1"]);
    bench.segment.peer_add(Remote { port: Some(9), ..remote("192.0.2.1") }, bench.now).unwrap();
    bench.segment.peer_del(addr("192.0.2.1")).unwrap();
    assert_eq!(bench.segment.peers().count(), 0);
}

#[test]
fn frames_from_a_peer_count_for_it_though_its_address_is_learned_as_another_remote() {
    let mut bench = empty();
    let peer = bench.segment.peer_add(Remote { port: Some(9), ..remote("192.0.2.1") }, bench.now).unwrap();
    assert_eq!(bench.receive("192.0.2.1", STATION), Ok(Some(peer)));
    assert_eq!(bench.receive("192.0.2.1", STATION), Ok(Some(peer)));
    assert_eq!(bench.segment.peers().count(), 2);
}

#[test]
fn as_many_remotes_are_known_as_asked_for_and_no_more() {
    let mut bench = Bench::new(SegmentConfig { max_peers: 1 << 16, ..SegmentConfig::default() });
    for number in 0..1_u32 << 16 {
        let to = Remote::new((0x0a00_0001 + number).to_be_bytes().into());
        assert_eq!(bench.segment.peer_add(to, bench.now).unwrap().index(), number as usize);
    }
    let one_more = bench.segment.peer_add(remote("192.0.2.1"), bench.now);
    assert_eq!(one_more, Err(ControlError::TooManyPeers { limit: 1 << 16 }));
}

#[test]
fn errors_say_in_a_sentence_what_to_do() {
    for error in [
        ControlError::Exists,
        ControlError::NotFound,
        ControlError::TableFull { limit: 3 },
        ControlError::TooManyPeers { limit: 3 },
        ControlError::ReplaceList,
        ControlError::AppendUnicast,
        ControlError::InvalidRemote,
    ] {
        assert!(error.to_string().len() > 10, "{error}");
    }
}
