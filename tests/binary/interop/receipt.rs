//! What comes from the underlay: which datagrams are taken, and why the others are not.

use vxgate_codec::ReservedBits;
use vxgate_testbed::isolated;

use crate::support::{
    BROADCAST, Bench, Checksum, Device, Family, Inner, Outer, agreed, datagram, frame, header, mac,
    multicast, ready, tagged, tos_of,
};

/// The 39 bits of the header that RFC 7348 section 5 reserves.
fn reserved_bits() -> impl Iterator<Item = u64> {
    let flags = u64::from(!0x08_u8) << 56;
    let after_flags = 0xff_ffff << 32;
    (0..64).map(|bit| 1 << bit).filter(move |bit| bit & (flags | after_flags | 0xff) != 0)
}

fn with_bits(vni: u32, bits: u64) -> Vec<u8> {
    let header = u64::from_be_bytes(header(vni)) | bits;
    datagram(header.to_be_bytes(), &frame(BROADCAST, mac(1), &[]))
}

#[test]
fn each_reserved_bit_drops_the_frame_by_the_kernels_policy_and_not_by_the_rfcs() {
    isolated!(|| {
        if !ready() {
            return;
        }
        assert_eq!(reserved_bits().count(), 39);
        for (policy, accepted) in [(ReservedBits::Ignore, true), (ReservedBits::Reject, false)] {
            let verdict = agreed(|device| {
                let bench = Bench::start(device, |options| options.reserved_bits = Some(policy));
                let payloads: Vec<_> = reserved_bits().map(|bits| with_bits(10, bits)).collect();
                let verdict = bench.accepted(1, Outer::default(), &payloads);
                let dropped = bench.tunnel.dropped("reserved-bits");
                assert!(dropped.is_none_or(|dropped| dropped == if accepted { 0 } else { 39 }));
                verdict
            });
            assert_eq!(verdict, vec![accepted; 39], "{policy}");
        }
    });
}

#[test]
fn reserved_bits_are_ignored_unless_asked_otherwise() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let [kernel, vxgate] = Device::BOTH.map(|device| {
            let bench = Bench::start(device, |_| {});
            bench.accepted(1, Outer::default(), &[with_bits(10, 1), with_bits(10, 0)])
        });
        // Differences from Linux: "Reserved bits on receipt".
        assert_eq!(kernel, [false, true]);
        assert_eq!(vxgate, [true, true]);
    });
}

#[test]
fn only_datagrams_with_flag_i_and_our_vni_are_taken() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for vni in [0, 10, 0x00ff_ffff] {
            let others = [0, 1, 10, 11, 10 << 8, 0x8000_0000 >> 8, 0x00ff_ffff];
            let others: Vec<u32> = others.into_iter().filter(|other| *other != vni).collect();
            let verdict = agreed(|device| {
                let bench = Bench::start(device, |options| options.vni = vni);
                let mut payloads = vec![with_bits(vni, 0)];
                payloads.extend(others.iter().map(|other| with_bits(*other, 0)));
                let mut without_flag = header(vni);
                without_flag[0] = 0;
                payloads.push(datagram(without_flag, &frame(BROADCAST, mac(1), &[])));
                let verdict = bench.accepted(1, Outer::default(), &payloads);
                if device == Device::Vxgate {
                    let drops: Vec<_> = bench.tunnel.drops().into_iter().collect();
                    let wrong_vni = others.len() as u64;
                    assert_eq!(drops, [("flag-i-clear".to_owned(), 1), ("wrong-vni".to_owned(), wrong_vni)]);
                }
                verdict
            });
            assert!(verdict[0], "VNI {vni}");
            assert!(verdict[1..].iter().all(|accepted| !accepted), "VNI {vni}: {verdict:?}");
        }
    });
}

#[test]
fn a_datagram_without_a_whole_ethernet_header_is_dropped() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = agreed(|device| {
            let bench = Bench::start(device, |_| {});
            let whole = with_bits(10, 0);
            let cut: Vec<_> = (0..=23).map(|octets| whole[..octets].to_vec()).collect();
            let verdict = bench.accepted(1, Outer::default(), &cut);
            if device == Device::Vxgate {
                let drops: Vec<_> = bench.tunnel.drops().into_iter().collect();
                assert_eq!(drops, [("runt".to_owned(), 14), ("truncated".to_owned(), 8)]);
            }
            verdict
        });
        let whole_headers: Vec<_> = (0..=23).map(|octets| octets >= 22).collect();
        assert_eq!(verdict, whole_headers);
    });
}

#[test]
fn strangers_are_dropped_and_counted_unless_their_network_is_accepted() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = |device, accept_from: &[&'static str]| {
            let bench = Bench::start(device, |options| options.accept_from = accept_from.to_vec());
            let from =
                [1, 2, 33, 34, 40].map(|number| bench.delivers(number, &frame(BROADCAST, mac(1), &[])));
            (from, bench.tunnel.dropped("stranger"))
        };
        // Differences from Linux: "Strangers".
        assert_eq!(verdict(Device::Kernel, &[]), ([true; 5], None));
        assert_eq!(verdict(Device::Vxgate, &[]), ([true, true, false, false, false], Some(3)));
        // Numbers 32 to 35, and all.
        let widened = verdict(Device::Vxgate, &["192.0.2.32/30"]);
        assert_eq!(widened, ([true, true, true, true, false], Some(1)));
        assert_eq!(verdict(Device::Vxgate, &["0.0.0.0/0"]), ([true; 5], Some(0)));
    });
}

#[test]
fn frames_with_our_own_or_an_invalid_source_are_dropped() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = |device, learning| {
            let bench = Bench::start(device, |options| options.learning = learning);
            let own = bench.tunnel.link().mac;
            let sources = [mac(1), own, [0; 6], multicast(1), BROADCAST];
            let payloads = sources.map(|source| datagram(header(10), &frame(BROADCAST, source, &[])));
            let verdict = bench.accepted(1, Outer::default(), &payloads);
            if device == Device::Vxgate {
                let drops: Vec<_> = bench.tunnel.drops().into_iter().collect();
                assert_eq!(drops, [("invalid-source".to_owned(), 3), ("own-mac".to_owned(), 1)]);
            }
            (verdict, bench.tunnel.fdb().len())
        };
        // Two peers, and what was learned.
        let only_the_valid = |entries| (vec![true, false, false, false, false], entries);
        assert_eq!(agreed(|device| verdict(device, true)), only_the_valid(3));
        // Differences from Linux: "Invalid source without learning".
        assert_eq!(verdict(Device::Vxgate, false), only_the_valid(2));
        assert_eq!(verdict(Device::Kernel, false), (vec![true, false, true, true, true], 2));
    });
}

#[test]
fn a_wrong_outer_checksum_drops_and_a_zero_one_is_taken_over_ipv4() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for (family, udp_checksum, zero_taken) in [
            (Family::V4, true, true),
            (Family::V4, false, true),
            (Family::V6, true, false),
            (Family::V6, false, true),
        ] {
            let verdict = agreed(|device| {
                let bench = Bench::over(family, device, |options| options.udp_checksum = udp_checksum);
                [Checksum::Right, Checksum::Zero, Checksum::Wrong].map(|checksum| {
                    let outer = Outer { checksum, ..Outer::default() };
                    bench.accepted(1, outer, &[with_bits(10, 0)])[0]
                })
            });
            assert_eq!(verdict, [true, zero_taken, false], "{family:?}, checksums {udp_checksum}");
        }
    });
}

/// RFC 6040 figure 4: what the inner field becomes, or nothing for a drop.
fn combined(outer: u8, inner: u8) -> Option<u8> {
    const NOT_ECT: u8 = 0;
    const ECT_1: u8 = 1;
    const ECT_0: u8 = 2;
    const CE: u8 = 3;
    match (inner, outer) {
        (NOT_ECT, CE) => None,
        (ECT_0 | ECT_1, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

#[test]
fn the_outer_ecn_field_reaches_the_inner_one_in_all_sixteen_cases() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let cases: Vec<(u8, u8)> = (0..4).flat_map(|outer| (0..4).map(move |inner| (outer, inner))).collect();
        let expected: Vec<Option<u8>> =
            cases.iter().map(|(outer, inner)| combined(*outer, *inner).map(|ecn| 0x50 | ecn)).collect();
        for family in Family::BOTH {
            for inside in [Inner::V4, Inner::V6] {
                let verdict = agreed(|device| {
                    let bench = Bench::over(family, device, |_| {});
                    let results = cases.iter().map(|(outer, inner)| {
                        let frame = Inner { tos: 0x50 | inner, ..inside }.frame(BROADCAST, mac(1), 32);
                        let outer = Outer { tos: 0xa0 | outer, ..Outer::default() };
                        let frames = bench.deliver([(1, outer, &datagram(header(10), &frame)[..])]);
                        assert!(frames.len() <= 1);
                        frames.first().map(|frame| tos_of(frame).expect("a right IPv4 header checksum"))
                    });
                    let results: Vec<_> = results.collect();
                    assert!(bench.tunnel.dropped("ecn").is_none_or(|dropped| dropped == 1));
                    results
                });
                assert_eq!(verdict, expected, "{family:?}, inner {inside:?}");
            }
        }
    });
}

#[test]
fn the_outer_ecn_field_reaches_an_inner_one_behind_a_vlan_tag() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for inside in [Inner::V4, Inner::V6] {
            let [kernel, vxgate] = Device::BOTH.map(|device| {
                let bench = Bench::start(device, |_| {});
                [0, 1, 2, 3].map(|ecn| {
                    let untagged = Inner { tos: 0x50 | ecn, ..inside }.frame(BROADCAST, mac(1), 32);
                    let payload = datagram(header(10), &tagged(&untagged, [0x81, 0, 0, 5]));
                    let frames = bench.deliver([(1, Outer { tos: 3, ..Outer::default() }, &payload[..])]);
                    frames.first().map(|frame| tos_of(frame).expect("a right IPv4 header checksum"))
                })
            });
            // Differences from Linux: "ECN behind a VLAN tag".
            assert_eq!(kernel, [0x50, 0x51, 0x52, 0x53].map(Some));
            assert_eq!(vxgate, [None, Some(0x53), Some(0x53), Some(0x53)]);
        }
    });
}

#[test]
fn a_frame_whose_ip_header_is_cut_is_carried_as_any_other() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for (ether_type, first, header_octets) in [([0x08, 0x00], 0x45, 20), ([0x86, 0xdd], 0x60, 40)] {
            let [kernel, vxgate] = Device::BOTH.map(|device| {
                let bench = Bench::start(device, |_| {});
                let cut = |octets: u8| {
                    let mut packet = vec![0; octets.into()];
                    packet.iter_mut().take(1).for_each(|octet| *octet = first);
                    datagram(header(10), &[&BROADCAST[..], &mac(octets), &ether_type, &packet].concat())
                };
                let verdict =
                    bench.accepted(1, Outer::default(), &(0..=header_octets).map(cut).collect::<Vec<_>>());
                assert!(bench.tunnel.drops().is_empty());
                verdict
            });
            // Differences from Linux: "Cut inner IP header".
            let whole: Vec<bool> = (0..=header_octets).map(|octets| octets == header_octets).collect();
            assert_eq!(kernel, whole);
            assert_eq!(vxgate, vec![true; whole.len()]);
        }
    });
}

#[test]
fn a_thousand_damaged_datagrams_meet_the_same_verdicts() {
    isolated!(|| {
        if !ready() {
            return;
        }
        // The multiplier and the increment of Knuth's MMIX: any seed will do, and this one is the same each time.
        let mut state = 7348_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut payloads = Vec::new();
        for _ in 0..1000 {
            let mut payload = with_bits(10, 0);
            // In the header, the addresses and what follows; seldom enough that some stay whole.
            for _ in 0..random(3) {
                payload[random(24)] ^= 1 << random(8);
            }
            // Behind these addresses would be another protocol, which the kernel looks into.
            payload[20..22].copy_from_slice(&[0x88, 0xb5]);
            if random(4) == 0 {
                payload.truncate(random(payload.len()));
            }
            payloads.push(payload);
        }
        for policy in [ReservedBits::Ignore, ReservedBits::Reject] {
            let verdict = agreed(|device| {
                let bench = Bench::start(device, |options| options.reserved_bits = Some(policy));
                // In parts that no socket buffer loses.
                payloads
                    .chunks(50)
                    .flat_map(|part| bench.accepted(1, Outer::default(), part))
                    .collect::<Vec<_>>()
            });
            let accepted = verdict.iter().filter(|accepted| **accepted).count();
            assert!((200..800).contains(&accepted), "{policy}: {accepted} of 1000 say little");
        }
    });
}
