//! Traffic of whole hosts through the tunnel, against a kernel peer that hands over superframes as they are.

use std::net::IpAddr;
use std::time::Duration;

use vxgate_netlink::DontFragment;
use vxgate_testbed::{Host, Ping, eventually, isolated, link, tcp, udp};

use crate::support::{
    BROADCAST, Bench, DEV, Device, Ears, Family, Lan, Layout, PATIENCE, agreed, frame, mac, ready,
};

const LIMIT: Duration = Duration::from_secs(30);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The device under test with addresses of its own, and one kernel peer.
fn two_hosts(device: Device, layout: Layout) -> Lan {
    Lan::start(device, layout, |options| options.addresses = vec!["10.0.0.100/24", "fd00::100/64"])
}

/// Whether pings of this size cross whole.
fn pings(from: &Host, destination: &str, size: usize) -> bool {
    let ping = Ping { size, dont_fragment: true, ..Ping::new(ip(destination)) };
    from.run(|| ping.run()).unwrap().all_answered()
}

#[test]
fn pings_cross_both_ways_over_each_underlay() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            for vni in [0, 10, 0x00ff_ffff] {
                let verdict = agreed(|device| {
                    let lan = Lan::start(device, Layout::new(family), |options| {
                        options.addresses = vec!["10.0.0.100/24", "fd00::100/64"];
                        options.vni = vni;
                    });
                    let mtu = usize::try_from(lan.tunnel().link().mtu).unwrap();
                    // The largest that fits: less the headers of IPv4 and ICMP, of IPv6 and ICMPv6.
                    [("10.0.0.1", "10.0.0.100", mtu - 28), ("fd00::1", "fd00::100", mtu - 48)].map(
                        |(there, here, largest)| {
                            [56, largest]
                                .map(|size| [pings(&lan.dut, there, size), pings(&lan.peers[0], here, size)])
                        },
                    )
                });
                assert_eq!(verdict, [[[true; 2]; 2]; 2], "{family:?}, VNI {vni}");
            }
        }
    });
}

#[test]
fn sixty_four_megabytes_of_tcp_arrive_intact_both_ways() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let verdict = agreed(|device| {
                let lan = two_hosts(device, Layout::new(family));
                let peer = &lan.peers[0];
                let octets = 64 << 20;
                let there = tcp::transfer(&lan.dut, peer, ip("10.0.0.1"), octets, LIMIT).unwrap();
                let back = tcp::transfer(peer, &lan.dut, ip("10.0.0.100"), octets, LIMIT).unwrap();
                let back_v6 = tcp::transfer(peer, &lan.dut, ip("fd00::100"), octets / 4, LIMIT).unwrap();
                [there, back, back_v6].map(|transfer| (transfer.received_octets, transfer.intact))
            });
            assert_eq!(verdict, [(64 << 20, true), (64 << 20, true), (16 << 20, true)], "{family:?}");
        }
    });
}

#[test]
fn udp_of_every_size_up_to_the_mtu_comes_back() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let verdict = agreed(|device| {
                let lan = two_hosts(device, Layout::new(family));
                let mtu = usize::try_from(lan.tunnel().link().mtu).unwrap();
                let largest = mtu - 28;
                // And some that the inner host cuts into pieces.
                let sizes = (1..=largest).chain([largest + 1, 4000, 20_000, 65_507]);
                let timeout = Duration::from_secs(2);
                let v4 = udp::exchange(&lan.dut, &lan.peers[0], ip("10.0.0.1"), sizes, timeout).unwrap();
                let sizes = [0, 1, 2, 3, mtu - 48];
                let v6 = udp::exchange(&lan.dut, &lan.peers[0], ip("fd00::1"), sizes, timeout).unwrap();
                (v4.sent, v4.all_returned(), v6.all_returned(), v4, v6)
            });
            assert_eq!((verdict.0 > 1400, verdict.1, verdict.2), (true, true, true), "{verdict:?}");
        }
    });
}

#[test]
fn vlan_tags_cross_both_ways_as_they_are() {
    isolated!(|| {
        if !ready() {
            return;
        }
        // Untagged, 802.1Q with priority, a priority tag, 802.1ad, QinQ of both kinds, the highest VID.
        let tags: [&[u8]; 7] = [
            &[],
            &[0x81, 0x00, 0x60, 0x64],
            &[0x81, 0x00, 0xe0, 0x00],
            &[0x88, 0xa8, 0x00, 0x07],
            &[0x88, 0xa8, 0x20, 0x64, 0x81, 0x00, 0x0f, 0xff],
            &[0x81, 0x00, 0x00, 0x02, 0x81, 0x00, 0x00, 0x03],
            &[0x81, 0x00, 0x0f, 0xfe],
        ];
        for family in Family::BOTH {
            let verdict = agreed(|device| {
                let layout = Layout { overlay_v6: false, ..Layout::new(family) };
                let lan = Lan::start(device, layout, |_| {});
                let ears = Ears::on(&lan);
                tags.map(|tag| {
                    let frames = [frame(BROADCAST, mac(1), tag), frame(mac(9), mac(1), tag)];
                    (ears.hear(&frames), ears.tell(1, &frames))
                })
            });
            assert!(
                verdict.iter().all(|(there, back)| *there == [2] && *back == 2),
                "{family:?}: {verdict:?}"
            );
        }
    });
}

#[test]
fn jumbo_frames_cross_a_jumbo_underlay() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let verdict = agreed(|device| {
                let lan = two_hosts(device, Layout { mtu: 9000, ..Layout::new(family) });
                let mtu = usize::try_from(lan.tunnel().link().mtu).unwrap();
                let peer = &lan.peers[0];
                let pings = [pings(&lan.dut, "10.0.0.1", mtu - 28), pings(peer, "10.0.0.100", mtu - 28)];
                let there = tcp::transfer(&lan.dut, peer, ip("10.0.0.1"), 16 << 20, LIMIT).unwrap();
                let back = tcp::transfer(peer, &lan.dut, ip("10.0.0.100"), 16 << 20, LIMIT).unwrap();
                (mtu, pings, there.intact, back.intact)
            });
            let mtu = if family == Family::V4 { 8950 } else { 8930 };
            assert_eq!(verdict, (mtu, [true; 2], true, true));
        }
    });
}

#[test]
fn a_restart_keeps_the_mac_address_and_the_peer_goes_on_with_what_it_knows() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let verdict = agreed(|device| {
                let mut lan = Lan::start(device, Layout::new(family), |options| {
                    options.addresses = vec!["10.0.0.100/24"];
                    options.kernel_mac = Some(mac(77));
                });
                assert!(pings(&lan.dut, "10.0.0.1", 56));
                let before = lan.tunnel().link().mac;
                lan.down();
                let silent = Ping { timeout: Duration::from_millis(200), ..Ping::new(ip("10.0.0.100")) };
                let while_down = lan.peers[0].run(|| silent.run()).unwrap();
                lan.up();
                // The first ones, at once: the peer has our MAC address and its entry.
                let first = pings(&lan.peers[0], "10.0.0.100", 56);
                lan.kill();
                lan.up();
                assert!(pings(&lan.peers[0], "10.0.0.100", 56), "after a disorderly end");
                (while_down.none_answered(), first, lan.tunnel().link().mac == before)
            });
            assert_eq!(verdict, (true, true, true));
        }
        // Differences from Linux: "MAC address of the device".
        let [kernel, vxgate] = Device::BOTH.map(|device| {
            let mut lan = Lan::start(device, Layout::new(Family::V4), |_| {});
            let before = lan.tunnel().link().mac;
            lan.down();
            lan.up();
            lan.tunnel().link().mac == before
        });
        assert_eq!((kernel, vxgate), (false, true));
    });
}

#[test]
fn an_underlay_address_that_goes_and_comes_back_takes_the_traffic_with_it() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for (family, address) in [(Family::V4, "192.0.2.100/24"), (Family::V6, "2001:db8::64/64")] {
            let verdict = agreed(|device| {
                let lan = two_hosts(device, Layout::new(family));
                let before = pings(&lan.dut, "10.0.0.1", 56);
                lan.dut
                    .netlink(async |netlink| {
                        let link = netlink.link_by_name("eth0").await?;
                        netlink.address_delete(&link, address.parse().unwrap()).await
                    })
                    .unwrap();
                let short = Ping { timeout: Duration::from_millis(200), ..Ping::new(ip("10.0.0.1")) };
                let gone = lan.dut.run(|| short.run()).unwrap().none_answered();
                lan.dut.address("eth0", address).unwrap();
                let back = eventually(PATIENCE, || lan.dut.run(|| short.run()).unwrap().all_answered());
                (before, gone, back, pings(&lan.peers[0], "10.0.0.100", 56))
            });
            assert_eq!(verdict, (true, true, true, true), "{family:?}");
        }
    });
}

#[test]
fn an_underlay_link_that_goes_down_and_up_takes_the_traffic_with_it() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = agreed(|device| {
            let lan = two_hosts(device, Layout::new(Family::V4));
            let before = pings(&lan.dut, "10.0.0.1", 56);
            lan.dut.down("eth0").unwrap();
            let short = Ping { timeout: Duration::from_millis(200), ..Ping::new(ip("10.0.0.1")) };
            let gone = lan.dut.run(|| short.run()).unwrap().none_answered();
            lan.dut.up("eth0").unwrap();
            let back = eventually(PATIENCE, || lan.dut.run(|| short.run()).unwrap().all_answered());
            (before, gone, back)
        });
        assert_eq!(verdict, (true, true, true));
    });
}

/// ```text
///   guest ── eth0 ──── guest ── br0 ── vxlan0 (under test) ... kernel peer
///   10.0.0.50/24               dut                             10.0.0.1/24
/// ```
#[test]
fn a_host_behind_a_bridge_reaches_the_peer() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let verdict = agreed(|device| {
                let lan = Lan::start(device, Layout::new(family), |_| {});
                let guest = Host::new("guest").unwrap();
                link(&guest, "eth0", &lan.dut, "guest").unwrap();
                let mtu = lan.tunnel().link().mtu;
                guest.mtu("eth0", mtu).unwrap();
                lan.dut.mtu("guest", mtu).unwrap();
                lan.dut
                    .netlink(async |netlink| {
                        let bridge = netlink.bridge_add("br0").await?;
                        for port in ["guest", DEV] {
                            netlink.set_controller(&netlink.link_by_name(port).await?, Some(&bridge)).await?;
                        }
                        netlink.set_up(&bridge).await
                    })
                    .unwrap();
                guest.address("eth0", "10.0.0.50/24").unwrap();
                let size = usize::try_from(mtu).unwrap() - 28;
                let reached = eventually(PATIENCE, || pings(&guest, "10.0.0.1", size));
                let octets = 16 << 20;
                let there = tcp::transfer(&guest, &lan.peers[0], ip("10.0.0.1"), octets, LIMIT).unwrap();
                let back = tcp::transfer(&lan.peers[0], &guest, ip("10.0.0.50"), octets, LIMIT).unwrap();
                (reached, there.intact, back.intact)
            });
            assert_eq!(verdict, (true, true, true), "{family:?}");
        }
    });
}

#[test]
fn udp_that_a_peer_hands_over_uncut_arrives_cut() {
    isolated!(|| {
        if !ready() {
            return;
        }
        for family in Family::BOTH {
            let verdict = agreed(|device| {
                let lan = two_hosts(device, Layout::new(family));
                assert!(pings(&lan.peers[0], "10.0.0.100", 56));
                ["10.0.0.1", "fd00::1"].map(|source| {
                    let target = if source.contains(':') { "[fd00::100]:5000" } else { "10.0.0.100:5000" };
                    let receiver = lan.dut.run(|| std::net::UdpSocket::bind(target)).unwrap();
                    receiver.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                    let sender = vxgate_sys::udp::UdpOptions::new((ip(source), 0).into());
                    let sender = lan.peers[0].run(|| vxgate_sys::udp::bind(&sender)).unwrap();
                    let data: Vec<u8> = (0..30_500_u32).map(|position| (position / 1000) as u8).collect();
                    let message = vxgate_sys::udp::Message {
                        segment_octets: Some(1000),
                        ..vxgate_sys::udp::Message::new(target.parse().unwrap(), &data)
                    };
                    let outcome = vxgate_sys::udp::send_batch(
                        &sender,
                        &mut vxgate_sys::udp::SendBatch::new(1),
                        [message].into_iter(),
                    );
                    assert_eq!(outcome.sent, 1, "{:?}", outcome.error);
                    let mut buffer = [0; 65_536];
                    let mut sizes = Vec::new();
                    while sizes.iter().sum::<usize>() < data.len() {
                        match receiver.recv(&mut buffer) {
                            Ok(octets) => sizes.push(octets),
                            Err(_) => break,
                        }
                    }
                    sizes
                })
            });
            let cut: Vec<usize> = [vec![1000; 30], vec![500]].concat();
            assert_eq!(verdict, [cut.clone(), cut], "{family:?}");
        }
    });
}

#[test]
fn a_frame_that_the_underlay_cannot_carry_whole_is_dropped_and_never_cut() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let verdict = |device, family, df| {
            let bench = Bench::over(family, device, |options| {
                options.mtu = Some(9000);
                options.peers.truncate(1);
                options.df = df;
            });
            let mut long = frame(BROADCAST, mac(1), &[]);
            long.resize(3000, 7);
            let whole = bench.emit(&[long.clone()]).len();
            let fragments = bench.fragments(&[long]);
            // Alone it would be no proof that others pass.
            let others = bench.targets(frame(BROADCAST, mac(1), &[]));
            (whole, fragments, others, bench.tunnel.dropped("too-big"))
        };
        for family in Family::BOTH {
            for df in [DontFragment::Unset, DontFragment::Set] {
                assert_eq!(
                    verdict(Device::Vxgate, family, df),
                    (0, 0, vec![1], Some(2)),
                    "{family:?} {df:?}"
                );
            }
        }
        // Differences from Linux: "Fragments".
        assert_eq!(verdict(Device::Kernel, Family::V4, DontFragment::Unset), (0, 3, vec![1], None));
        assert_eq!(verdict(Device::Kernel, Family::V4, DontFragment::Set), (0, 0, vec![1], None));
    });
}
