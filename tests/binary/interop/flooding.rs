//! Where frames from the overlay go: to whom, and how many copies.

use std::net::IpAddr;

use vxgate_testbed::{Host, isolated};

use crate::support::{
    BROADCAST, Bench, Ears, Family, Lan, Layout, Mac, State, agreed, frame, mac, multicast, ready,
};

/// Ten frames to this address.
fn ten(destination: Mac) -> Vec<Vec<u8>> {
    (0..10).map(|_| frame(destination, mac(200), &[])).collect()
}

#[test]
fn two_kernel_peers_get_each_flooded_frame_once_and_each_known_one_alone() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let verdict = agreed(|device| {
                let layout = Layout { peers: 2, overlay_v6: false, ..Layout::new(family) };
                let lan = Lan::start(device, layout, |_| {});
                let ears = Ears::on(&lan);
                let tunnel = lan.tunnel();
                let [one, two] = [1, 2].map(|number| lan.options.kernel_peer(number));
                let mut heard =
                    vec![ears.hear(&ten(BROADCAST)), ears.hear(&ten(mac(1))), ears.hear(&ten(multicast(1)))];
                // Learned from a peer, not told.
                assert_eq!(ears.tell(1, &[frame(mac(200), mac(1), &[])]), 1);
                heard.push(ears.hear(&ten(mac(1))));
                assert!(tunnel.fdb_add(mac(2), two, State::Static));
                heard.push(ears.hear(&ten(mac(2))));
                assert!(tunnel.fdb_append(multicast(2), two, State::Permanent));
                heard.push(ears.hear(&ten(multicast(2))));
                heard.push(ears.hear(&ten(multicast(3))));
                assert!(tunnel.fdb_del([0; 6], Some(one)));
                heard.push(ears.hear(&ten(BROADCAST)));
                assert!(tunnel.fdb_append([0; 6], one, State::Permanent));
                heard.push(ears.hear(&ten(BROADCAST)));
                heard
            });
            let expected =
                [[10, 10], [10, 10], [10, 10], [10, 0], [0, 10], [0, 10], [10, 10], [0, 10], [10, 10]];
            assert_eq!(verdict, expected, "{family:?}");
        }
    });
}

#[test]
fn what_a_peer_floods_does_not_go_back_to_the_underlay() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = agreed(|device| {
            let layout = Layout { peers: 2, overlay_v6: false, ..Layout::new(Family::V4) };
            let lan = Lan::start(device, layout, |_| {});
            let ears = Ears::on(&lan);
            let told = ears.tell(1, &ten(BROADCAST));
            // Whatever had come back would stand before the marks.
            (told, ears.hear(&[]))
        });
        assert_eq!(verdict, (10, vec![0, 0]));
    });
}

#[test]
fn the_peers_own_counts_are_those_of_the_wire() {
    isolated!(|| {
        if !ready() {
            return;
        }
        agreed(|device| {
            let bench = Bench::start(device, |_| {});
            assert!(bench.tunnel.fdb_add(mac(1), bench.remote(1), State::Static));
            let frames = [ten(BROADCAST), ten(mac(1)), ten(mac(9)), ten(multicast(1))].concat();
            let sent = bench.emit(&frames);
            let to = |number| sent.iter().filter(|copy| copy.to == bench.remote(number)).count();
            // Three floods to both, one known to the first, the mark to remote 9.
            if let Some(counted) = bench.tunnel.sent_to_peers() {
                assert_eq!(counted["192.0.2.1"], 40);
                assert_eq!(counted["192.0.2.2"], 30);
            }
            assert_eq!((to(1), to(2)), (40, 30));
        });
    });
}

#[test]
fn an_entry_at_a_remote_that_nobody_has_keeps_its_frames_from_all_others() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = agreed(|device| {
            let bench = Bench::start(device, |_| {});
            // No host answers for it on the cable.
            assert!(bench.tunnel.fdb_add(mac(1), bench.remote(66), State::Permanent));
            let nowhere = bench.targets(frame(mac(1), mac(200), &[]));
            // A group with an own entry there is kept from the peers too, and nothing else is.
            assert!(bench.tunnel.fdb_append(multicast(1), bench.remote(66), State::Permanent));
            let group = bench.targets(frame(multicast(1), mac(200), &[]));
            (nowhere, group, bench.targets(frame(BROADCAST, mac(200), &[])))
        });
        assert_eq!(verdict, (vec![], vec![], vec![1, 2]));
    });
}

#[test]
fn a_peer_whose_host_refuses_takes_nothing_from_the_others() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let verdict = agreed(|device| {
                let mut bench = Bench::over(family, device, |_| {});
                bench.close_port();
                // Each answered by "port unreachable" before the next goes out.
                let rounds = (0..50).map(|_| bench.targets(frame(BROADCAST, mac(200), &[])));
                let all = rounds.filter(|targets| *targets == [1, 2]).count();
                assert!(bench.tunnel.drops().is_empty());
                (all, bench.delivers(1, &frame(BROADCAST, mac(1), &[])))
            });
            assert_eq!(verdict, (50, true), "{family:?}");
        }
    });
}

#[test]
fn without_peers_a_frame_to_an_unknown_address_is_dropped() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = agreed(|device| {
            let bench = Bench::start(device, |options| options.peers.clear());
            let targets = [BROADCAST, mac(1), multicast(1)]
                .map(|destination| bench.targets(frame(destination, mac(200), &[])));
            let dropped = bench.tunnel.dropped("no-remote");
            assert!(dropped.is_none_or(|dropped| dropped == 3));
            targets
        });
        assert!(verdict.iter().all(Vec::is_empty), "{verdict:?}");
    });
}

#[test]
fn each_of_twenty_peers_gets_one_copy() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let verdict = agreed(|device| {
                let bench = Bench::over(family, device, |options| {
                    options.peers = (11..=30)
                        .map(|number| match family {
                            Family::V4 => [192, 0, 2, number].into(),
                            Family::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)].into(),
                        })
                        .collect();
                });
                bench.targets(frame(BROADCAST, mac(200), &[]))
            });
            assert_eq!(verdict, (11..=30).collect::<Vec<u8>>());
        }
    });
}

/// Whether the host is a member of the group on eth0.
fn is_member(host: &Host, group: IpAddr) -> bool {
    let (list, listed) = match group {
        // The address as the machine holds it.
        IpAddr::V4(group) => ("igmp", format!("{:08X}", u32::from_ne_bytes(group.octets()))),
        IpAddr::V6(group) => ("igmp6", format!("{:032x}", group.to_bits())),
    };
    host.run(|| std::fs::read_to_string(format!("/proc/thread-self/net/{list}"))).unwrap().contains(&listed)
}

#[test]
fn a_multicast_peer_is_a_group_that_is_joined_and_flooded_to() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for (family, group, accept_from) in
            [(Family::V4, "239.1.1.1", "192.0.2.0/24"), (Family::V6, "ff05::7348", "2001:db8::/64")]
        {
            let group: IpAddr = group.parse().unwrap();
            let verdict = agreed(|device| {
                let layout = Layout { peers: 2, overlay_v6: false, ..Layout::new(family) };
                let mut lan = Lan::start(device, layout, |options| {
                    options.peers = vec![group];
                    options.underlay = Some("eth0");
                    options.accept_from = vec![accept_from];
                });
                let member = is_member(&lan.dut, group);
                let ears = Ears::on(&lan);
                let heard = [BROADCAST, mac(1), multicast(1)].map(|destination| ears.hear(&ten(destination)));
                let told = [1, 2].map(|peer| ears.tell(peer, &ten(BROADCAST)));
                assert_eq!(ears.tell(2, &[frame(BROADCAST, mac(2), &[])]), 1);
                let known = ears.hear(&ten(mac(2)));
                drop(ears);
                lan.down();
                (member, heard, told, known, is_member(&lan.dut, group))
            });
            let both = || vec![10, 10];
            assert_eq!(verdict, (true, [both(), both(), both()], [10, 10], vec![0, 10], false), "{family:?}");
        }
    });
}

#[test]
fn a_change_of_peers_holds_for_the_very_next_frame() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = agreed(|device| {
            let bench = Bench::start(device, |_| {});
            let wrong = (0..20).filter(|_| {
                assert!(bench.tunnel.fdb_del([0; 6], Some(bench.remote(2))));
                let without = bench.targets(frame(BROADCAST, mac(200), &[]));
                assert!(bench.tunnel.fdb_append([0; 6], bench.remote(2), State::Permanent));
                let with = bench.targets(frame(BROADCAST, mac(200), &[]));
                (without, with) != (vec![1], vec![1, 2])
            });
            wrong.count()
        });
        assert_eq!(verdict, 0);
    });
}
