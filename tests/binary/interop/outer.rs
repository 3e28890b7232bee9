//! What the outer headers are filled with.

use std::collections::BTreeSet;

use vxgate_netlink::{DontFragment, TimeToLive, TypeOfService};
use vxgate_testbed::isolated;

use crate::support::{
    BROADCAST, Bench, Datagram, Device, Family, Inner, Lan, Layout, SourcePorts, agreed, frame, header, mac,
    ready, tagged,
};

/// An inner IPv4 packet, an inner IPv6 packet and no IP at all.
fn insides(tos: u8, ttl: u8, dont_fragment: bool) -> Vec<Vec<u8>> {
    let v4 = Inner { tos, ttl, dont_fragment, ..Inner::V4 };
    let v6 = Inner { tos, ttl, dont_fragment, ..Inner::V6 };
    vec![v4.frame(mac(1), mac(2), 32), v6.frame(mac(1), mac(2), 32), frame(mac(1), mac(2), &[])]
}

#[test]
fn the_outer_ttl_is_the_hosts_a_given_one_or_the_inner_packets() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            for (ttl, expected) in [
                (TimeToLive::Auto, [64, 64, 64]),
                (TimeToLive::Fixed(7), [7, 7, 7]),
                (TimeToLive::Fixed(255), [255, 255, 255]),
                (TimeToLive::Inherit, [33, 33, 64]),
            ] {
                let verdict = agreed(|device| {
                    let bench = Bench::over(family, device, |options| {
                        options.ttl = ttl;
                        options.peers.truncate(1);
                    });
                    let sent = bench.emit(&insides(0, 33, false));
                    sent.iter().map(|datagram| datagram.ttl).collect::<Vec<_>>()
                });
                assert_eq!(verdict, expected, "{family:?}, {ttl:?}");
            }
        }
    });
}

#[test]
fn the_outer_tos_is_zero_a_given_one_or_the_inner_packets() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            for (tos, expected) in [
                (TypeOfService::Fixed(0), [0, 0, 0]),
                (TypeOfService::Fixed(0x40), [0x40, 0x40, 0x40]),
                (TypeOfService::Inherit, [0xb8, 0xb8, 0]),
            ] {
                let verdict = agreed(|device| {
                    let bench = Bench::over(family, device, |options| {
                        options.tos = tos;
                        options.peers.truncate(1);
                    });
                    let sent = bench.emit(&insides(0xb8, 64, false));
                    sent.iter().map(|datagram| datagram.tos).collect::<Vec<_>>()
                });
                assert_eq!(verdict, expected, "{family:?}, {tos:?}");
            }
        }
    });
}

#[test]
fn the_inner_ecn_field_is_copied_outward() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            for tos in [TypeOfService::Fixed(0x40), TypeOfService::Inherit] {
                let [kernel, vxgate] = Device::BOTH.map(|device| {
                    let bench = Bench::over(family, device, |options| {
                        options.tos = tos;
                        options.peers.truncate(1);
                    });
                    let frames: Vec<_> =
                        (0..4).flat_map(|ecn| insides(0x40 | ecn, 64, false).into_iter().take(2)).collect();
                    let sent = bench.emit(&frames);
                    sent.iter().map(|datagram| datagram.tos).collect::<Vec<_>>()
                });
                let each = |ecn: [u8; 4]| ecn.map(|ecn| [0x40 | ecn; 2]).concat();
                // Differences from Linux: "ECN of an inner packet with congestion experienced".
                assert_eq!(kernel, each([0, 1, 2, 2]), "{family:?}, {tos:?}");
                assert_eq!(vxgate, each([0, 1, 2, 3]), "{family:?}, {tos:?}");
            }
        }
    });
}

#[test]
fn the_outer_df_bit_is_unset_set_or_the_inner_packets() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for (df, expected) in [
            (DontFragment::Unset, [[false; 3]; 2]),
            (DontFragment::Set, [[true; 3]; 2]),
            // An IPv6 packet is never fragmented on its way; what is no IP says nothing.
            (DontFragment::Inherit, [[false, true, false], [true, true, false]]),
        ] {
            let verdict = agreed(|device| {
                let bench = Bench::start(device, |options| {
                    options.df = df;
                    options.peers.truncate(1);
                });
                [false, true].map(|inner| {
                    let sent = bench.emit(&insides(0, 64, inner));
                    sent.iter().map(|datagram| datagram.dont_fragment).collect::<Vec<_>>()
                })
            });
            assert_eq!(verdict, expected, "{df:?}");
        }
    });
}

#[test]
fn the_outer_checksum_is_there_unless_switched_off() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            for udp_checksum in [true, false] {
                let verdict = agreed(|device| {
                    let bench = Bench::over(family, device, |options| options.udp_checksum = udp_checksum);
                    let sent = bench.emit(&insides(0, 64, false));
                    sent.iter().map(|datagram| datagram.checksum != 0).collect::<Vec<_>>()
                });
                assert_eq!(verdict, [udp_checksum; 6], "{family:?}");
            }
        }
    });
}

#[test]
fn the_reserved_bits_of_what_is_sent_are_zero_and_the_addresses_ours_and_the_peers() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            for vni in [0, 10, 0x00ff_ffff] {
                let verdict = agreed(|device| {
                    let bench = Bench::over(family, device, |options| options.vni = vni);
                    let sent = bench.emit(&insides(0, 64, false)[..1]);
                    let here = bench.remote(100);
                    sent.into_iter()
                        .map(|datagram| (datagram.header, datagram.from == here))
                        .collect::<Vec<_>>()
                });
                let [_, a, b, c] = vni.to_be_bytes();
                assert_eq!(verdict, [([8, 0, 0, 0, a, b, c, 0], true); 2], "{family:?}, VNI {vni}");
            }
        }
    });
}

#[test]
fn an_entry_with_a_port_and_a_vni_of_its_own_is_sent_to_with_them() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let verdict = agreed(|device| {
                let bench = Bench::over(family, device, |_| {});
                assert!(bench.tunnel.fdb_add_at(mac(1), bench.remote(1), 8472, 20));
                let sent = bench.emit(&[frame(mac(1), mac(2), &[])]);
                sent.iter().map(|datagram| (datagram.port, datagram.header)).collect::<Vec<_>>()
            });
            assert_eq!(verdict, [(8472, header(20))], "{family:?}");
        }
    });
}

#[test]
fn answers_go_to_the_tunnels_port_and_not_to_the_one_that_was_sent_from() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for port in [4789, 8472] {
            let verdict = agreed(|device| {
                let bench = Bench::start(device, |options| options.port = port);
                // From port 50000, as every datagram of the bench.
                assert!(bench.delivers(1, &frame(BROADCAST, mac(1), &[])));
                let sent = bench.emit(&[frame(mac(1), mac(2), &[])]);
                sent.iter()
                    .map(|datagram| (datagram.to == bench.remote(1), datagram.port))
                    .collect::<Vec<_>>()
            });
            assert_eq!(verdict, [(true, port)]);
        }
    });
}

/// The source ports of 64 flows, each sent twice: for each flow both.
fn ports_of_flows(device: Device, family: Family, source_ports: Option<SourcePorts>) -> Vec<[u16; 2]> {
    let bench = Bench::over(family, device, |options| {
        options.peers.truncate(1);
        options.source_ports = source_ports;
    });
    let flow = |number: u16| Inner { source_port: 2000 + number, ..Inner::V4 }.frame(BROADCAST, mac(2), 32);
    let round = || {
        let sent = bench.emit(&(0..64).map(flow).collect::<Vec<_>>());
        sent.iter().map(|datagram| datagram.source_port).collect::<Vec<_>>()
    };
    round().into_iter().zip(round()).map(|(first, second)| [first, second]).collect()
}

#[test]
fn a_pinned_source_port_is_that_of_every_flow() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let verdict = agreed(|device| ports_of_flows(device, family, Some(SourcePorts::Pinned)));
            assert_eq!(verdict, [[4789; 2]; 64]);
        }
    });
}

#[test]
fn the_source_port_is_pinned_unless_asked_otherwise() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let [kernel, vxgate] = Device::BOTH.map(|device| ports_of_flows(device, Family::V4, None));
        // Differences from Linux: "Source port".
        assert!(kernel.iter().all(|ports| ports[0] >= 32_768), "{kernel:?}");
        assert_eq!(vxgate, [[4789; 2]; 64]);
        // The range that reads as one port is none to the kernel.
        let one_port = || Some(SourcePorts::Hash(4789..=4789));
        let [kernel, vxgate] = Device::BOTH.map(|device| {
            ports_of_flows(device, Family::V4, if device == Device::Kernel { one_port() } else { None })
        });
        assert!(kernel.iter().all(|ports| ports[0] >= 32_768), "{kernel:?}");
        assert_eq!(vxgate, [[4789; 2]; 64]);
    });
}

#[test]
fn source_ports_by_flow_are_spread_over_the_range_and_stay_with_their_flow() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            for range in [49_152..=65_535, 50_000..=50_099] {
                let verdict = agreed(|device| {
                    let ports = ports_of_flows(device, family, Some(SourcePorts::Hash(range.clone())));
                    let distinct: BTreeSet<u16> = ports.iter().map(|pair| pair[0]).collect();
                    let stay = ports.iter().all(|[first, second]| first == second);
                    let within = ports.iter().flatten().all(|port| range.contains(port));
                    (ports.len(), distinct.len() >= 16, stay, within)
                });
                assert_eq!(verdict, (64, true, true, true), "{family:?} {range:?}");
            }
        }
    });
}

#[test]
fn the_mtu_is_the_underlays_less_the_headers() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for (family, mtu, expected) in [
            (Family::V4, 1500, 1450),
            (Family::V6, 1500, 1430),
            (Family::V4, 9000, 8950),
            (Family::V6, 9000, 8930),
        ] {
            let verdict = agreed(|device| {
                let lan = Lan::start(device, Layout { mtu, ..Layout::new(family) }, |_| {});
                lan.tunnel().link().mtu
            });
            assert_eq!(verdict, expected, "{family:?} {mtu}");
        }
    });
}

#[test]
fn what_the_outer_header_inherits_comes_from_behind_a_vlan_tag() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let [kernel, vxgate] = Device::BOTH.map(|device| {
                let bench = Bench::over(family, device, |options| {
                    options.ttl = TimeToLive::Inherit;
                    options.tos = TypeOfService::Inherit;
                    options.df = DontFragment::Inherit;
                    options.peers.truncate(1);
                });
                let frames: Vec<_> =
                    insides(0xba, 33, true).iter().map(|frame| tagged(frame, [0x81, 0, 0, 5])).collect();
                let outer = |datagram: &Datagram| (datagram.ttl, datagram.tos, datagram.dont_fragment);
                bench.emit(&frames).iter().map(outer).collect::<Vec<_>>()
            });
            // Differences from Linux: "DF behind a VLAN tag".
            assert_eq!(kernel, [(33, 0xba, false), (33, 0xba, false), (64, 0, false)], "{family:?}");
            let df = family == Family::V4;
            assert_eq!(vxgate, [(33, 0xba, df), (33, 0xba, df), (64, 0, false)], "{family:?}");
        }
    });
}
