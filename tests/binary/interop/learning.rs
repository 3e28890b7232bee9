//! The forwarding database: what is learned, moved, forgotten, limited and fixed.

use std::time::Duration;

use vxgate_testbed::{eventually, isolated};

use crate::support::{
    BROADCAST, Bench, Device, Family, PATIENCE, State, agreed, frame, mac, multicast, ready,
};

/// From `number`, as heard from this MAC address.
fn hear(bench: &Bench, number: u8, source: u8) -> bool {
    bench.delivers(number, &frame(BROADCAST, mac(source), &[]))
}

fn to(destination: u8) -> Vec<u8> {
    frame(mac(destination), mac(200), &[])
}

/// The two peers' lines of the forwarding database, and these.
fn with_peers(bench_family: Family, lines: &[&str]) -> Vec<String> {
    let peers = match bench_family {
        Family::V4 => ["00:00:00:00:00:00 192.0.2.1 permanent", "00:00:00:00:00:00 192.0.2.2 permanent"],
        Family::V6 => ["00:00:00:00:00:00 2001:db8::1 permanent", "00:00:00:00:00:00 2001:db8::2 permanent"],
    };
    peers.iter().chain(lines).map(|line| (*line).to_owned()).collect()
}

#[test]
fn a_source_is_learned_moves_and_is_flushed() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let verdict = agreed(|device| {
                let bench = Bench::over(family, device, |_| {});
                let unknown = bench.targets(to(1));
                assert!(hear(&bench, 1, 1));
                let (learned, at_1) = (bench.targets(to(1)), bench.tunnel.fdb());
                assert!(hear(&bench, 2, 1));
                let (moved, at_2) = (bench.targets(to(1)), bench.tunnel.fdb());
                assert!(hear(&bench, 1, 1));
                let back = bench.targets(to(1));
                assert!(bench.tunnel.fdb_del(mac(1), None));
                let deleted = bench.targets(to(1));
                assert!(!bench.tunnel.fdb_del(mac(1), None), "there is none");
                (unknown, learned, at_1, moved, at_2, back, deleted)
            });
            let [one, two] = match family {
                Family::V4 => ["02:bb:00:00:00:01 192.0.2.1", "02:bb:00:00:00:01 192.0.2.2"],
                Family::V6 => ["02:bb:00:00:00:01 2001:db8::1", "02:bb:00:00:00:01 2001:db8::2"],
            };
            let at_1 = with_peers(family, &[one]);
            let at_2 = with_peers(family, &[two]);
            assert_eq!(verdict, (vec![1, 2], vec![1], at_1, vec![2], at_2, vec![1], vec![1, 2]));
        }
    });
}

#[test]
fn what_is_not_heard_of_is_forgotten_although_it_is_sent_to() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = agreed(|device| {
            let bench = Bench::start(device, |options| options.ageing_s = 1);
            assert!(hear(&bench, 1, 1));
            assert!(bench.tunnel.fdb_add(mac(2), bench.remote(1), State::Static));
            assert!(bench.tunnel.fdb_add(mac(3), bench.remote(1), State::Dynamic));
            let known = bench.targets(to(1));
            // The kernel looks every 10 s.
            let limit = Duration::from_secs(20);
            let forgotten = eventually(limit, || {
                let forgotten = bench.targets(to(1)) == [1, 2];
                forgotten && bench.targets(to(3)) == [1, 2]
            });
            (known, forgotten, bench.tunnel.fdb())
        });
        let left = with_peers(Family::V4, &["02:bb:00:00:00:02 192.0.2.1 static"]);
        assert_eq!(verdict, (vec![1], true, left));
    });
}

#[test]
fn an_address_that_is_heard_of_stays_while_another_ages() {
    isolated!(|| {
        if !ready() {
            return;
        }
        // The kernel looks every 10 s only, and the scenario above waits for it once: this one is ours alone.
        let bench = Bench::start(Device::Vxgate, |options| options.ageing_s = 2);
        assert!(hear(&bench, 1, 1));
        assert!(hear(&bench, 1, 2));
        let aged = eventually(PATIENCE, || {
            assert!(hear(&bench, 1, 1));
            bench.tunnel.fdb().len() == 3
        });
        assert!(aged, "{:?}", bench.tunnel.fdb());
        assert_eq!(bench.tunnel.fdb(), with_peers(Family::V4, &["02:bb:00:00:00:01 192.0.2.1"]));
    });
}

#[test]
fn flush_takes_every_entry_away() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = agreed(|device| {
            let bench = Bench::start(device, |_| {});
            assert!(hear(&bench, 1, 1));
            assert!(bench.tunnel.fdb_add(mac(2), bench.remote(1), State::Static));
            assert!(bench.tunnel.fdb_add(mac(3), bench.remote(1), State::Permanent));
            assert!(bench.tunnel.fdb_append(multicast(1), bench.remote(1), State::Permanent));
            assert!(bench.tunnel.fdb_flush());
            let left = bench.tunnel.fdb();
            bench.place_mark();
            (left, bench.targets(to(1)), bench.targets(frame(BROADCAST, mac(200), &[])))
        });
        assert_eq!(verdict, (vec![], vec![], vec![]));
    });
}

#[test]
fn beyond_the_limit_frames_are_delivered_and_not_learned() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = agreed(|device| {
            // The all-zero entry, the one for marks, and two more.
            let bench = Bench::start(device, |options| options.max_macs = Some(4));
            let delivered = [1, 2, 3, 4].map(|source| hear(&bench, 1, source));
            let refused = bench.tunnel.fdb_add(mac(5), bench.remote(1), State::Static);
            let full = bench.tunnel.fdb();
            assert!(bench.tunnel.fdb_del(mac(1), None));
            let after = hear(&bench, 1, 4);
            (delivered, refused, full, after, bench.tunnel.fdb())
        });
        let full = with_peers(Family::V4, &["02:bb:00:00:00:01 192.0.2.1", "02:bb:00:00:00:02 192.0.2.1"]);
        let after = with_peers(Family::V4, &["02:bb:00:00:00:02 192.0.2.1", "02:bb:00:00:00:04 192.0.2.1"]);
        assert_eq!(verdict, ([true; 4], false, full, true, after));
    });
}

#[test]
fn without_learning_everything_unknown_is_flooded_and_static_entries_hold_nobody_off() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = agreed(|device| {
            let bench = Bench::start(device, |options| options.learning = false);
            assert!(hear(&bench, 1, 1));
            let unknown = bench.targets(to(1));
            assert!(bench.tunnel.fdb_add(mac(2), bench.remote(1), State::Static));
            let known = bench.targets(to(2));
            (unknown, known, hear(&bench, 2, 2), bench.tunnel.fdb())
        });
        let fdb = with_peers(Family::V4, &["02:bb:00:00:00:02 192.0.2.1 static"]);
        assert_eq!(verdict, (vec![1, 2], vec![1], true, fdb));
    });
}

#[test]
fn a_static_entry_never_moves_and_drops_its_address_from_elsewhere() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for (state, word) in [(State::Static, "static"), (State::Permanent, "permanent")] {
            let verdict = agreed(|device| {
                let bench = Bench::start(device, |_| {});
                assert!(bench.tunnel.fdb_add(mac(1), bench.remote(1), state));
                let heard = [hear(&bench, 1, 1), hear(&bench, 2, 1), hear(&bench, 1, 1)];
                let dropped = bench.tunnel.dropped("static-elsewhere");
                assert!(dropped.is_none_or(|dropped| dropped == 1));
                (heard, bench.targets(to(1)), bench.tunnel.fdb())
            });
            let fdb = with_peers(Family::V4, &[&format!("02:bb:00:00:00:01 192.0.2.1 {word}")]);
            assert_eq!(verdict, ([true, false, true], vec![1], fdb));
        }
    });
}

#[test]
fn a_dynamic_entry_made_by_hand_moves_as_a_learned_one() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = agreed(|device| {
            let bench = Bench::start(device, |_| {});
            assert!(bench.tunnel.fdb_add(mac(1), bench.remote(1), State::Dynamic));
            let before = bench.targets(to(1));
            assert!(hear(&bench, 2, 1));
            (before, bench.targets(to(1)))
        });
        assert_eq!(verdict, (vec![1], vec![2]));
    });
}

#[test]
fn the_words_of_bridge_fdb_do_and_refuse_the_same() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = agreed(|device| {
            let bench = Bench::start(device, |_| {});
            let tunnel = &bench.tunnel;
            let [one, two, three] = [1, 2, 3].map(|number| bench.remote(number));
            let done = [
                tunnel.fdb_add(mac(1), one, State::Static),
                tunnel.fdb_add(mac(1), two, State::Static),
                tunnel.fdb_replace(mac(1), two, State::Permanent),
                tunnel.fdb_replace(mac(2), one, State::Static),
                tunnel.fdb_append(mac(3), one, State::Dynamic),
                tunnel.fdb_append(multicast(1), one, State::Permanent),
                tunnel.fdb_append(multicast(1), two, State::Permanent),
                tunnel.fdb_add(multicast(1), three, State::Permanent),
                tunnel.fdb_replace(multicast(1), three, State::Permanent),
                tunnel.fdb_append([0; 6], three, State::Permanent),
                tunnel.fdb_del([0; 6], Some(one)),
                tunnel.fdb_del(mac(2), None),
                tunnel.fdb_del(mac(2), None),
            ];
            (done, tunnel.fdb())
        });
        let done = [true, false, true, true, true, true, true, false, false, true, true, true, false];
        let fdb = [
            "00:00:00:00:00:00 192.0.2.2 permanent",
            "00:00:00:00:00:00 192.0.2.3 permanent",
            "01:00:5e:01:01:01 192.0.2.1 permanent",
            "01:00:5e:01:01:01 192.0.2.2 permanent",
            "02:bb:00:00:00:01 192.0.2.2 permanent",
            "02:bb:00:00:00:03 192.0.2.1",
        ];
        assert_eq!(verdict, (done, fdb.map(str::to_owned).to_vec()));
    });
}

#[test]
fn commands_that_change_nothing_are_refused() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let [kernel, vxgate] = Device::BOTH.map(|device| {
            let bench = Bench::start(device, |_| {});
            let tunnel = &bench.tunnel;
            assert!(tunnel.fdb_add(mac(1), bench.remote(1), State::Static));
            [
                tunnel.fdb_append([0; 6], bench.remote(1), State::Permanent),
                tunnel.fdb_append(mac(1), bench.remote(2), State::Static),
                tunnel.fdb_del(mac(1), Some(bench.remote(2))),
            ]
        });
        // Differences from Linux: "Commands that change nothing".
        assert_eq!(kernel, [true, true, true]);
        assert_eq!(vxgate, [false, false, false]);
    });
}
