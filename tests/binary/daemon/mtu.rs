//! What a tunnel gives its device: addresses, routes, MTU, and the outer address where none is named.

use vxgate_testbed::isolated;

use crate::ground::{Ground, UP, missing};

#[test]
fn the_mtu_is_what_the_underlay_and_the_gate_leave() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        for (underlay, line, mtu) in [
            (1500, "up --peer 100.64.158.4", 1450),
            // A VPC's jumbo frames end at the VPG.
            (9001, "up --peer 100.64.158.4", 1450),
            (1400, "up --peer 100.64.158.4", 1350),
            (9001, "up --peer 172.21.0.1", 8951),
            (1500, "up --peer 172.21.0.1", 1450),
            (1500, "up --peer 2001:db8:21::1", 1430),
            (9001, "up --peer 2001:db8:21::1", 8931),
            (1500, "up --peer 100.64.158.4 --mtu 1280", 1280),
            (1500, "up --peer 100.64.158.4 --mtu 9000", 9000),
            (1500, "up --peer 100.64.158.4 --mtu 68", 68),
            (1500, "up --underlay eth0 --local 172.21.0.100", 1450),
        ] {
            ground.you.mtu("eth0", underlay).unwrap();
            let daemon = ground.up(line);
            assert_eq!(ground.show()["mtu"], mtu, "{line} on {underlay}");
            let told =
                ground.you.netlink(async |netlink| Ok(netlink.link_by_name("vxlan0").await?.mtu)).unwrap();
            assert_eq!(told, mtu, "{line} on {underlay}");
            let warned = daemon.log().contains("--mtu 9000 is more than the 1450 octets");
            assert_eq!(warned, mtu == 9000, "{}", daemon.log());
            daemon.stop();
        }
    });
}

#[test]
fn the_outer_address_is_that_of_the_route_to_the_first_peer() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        ground.you.address("eth0", "192.0.2.9/24").unwrap();
        for (line, local) in [
            ("up --peer 100.64.158.4", "172.21.0.100"),
            ("up --peer 192.0.2.77", "192.0.2.9"),
            ("up --peer 2001:db8:21::1", "2001:db8:21::100"),
            ("up --peer 100.64.158.4 --underlay eth0", "172.21.0.100"),
            ("up --peer 100.64.158.4 --local 192.0.2.9", "192.0.2.9"),
        ] {
            let daemon = ground.up(line);
            assert_eq!(ground.show()["local"], local, "{line}");
            daemon.stop();
        }
    });
}

#[test]
fn addresses_and_routes_of_both_families_are_there_and_carry() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        ground.gate.address("lo", "10.64.0.1/32").unwrap();
        ground.gate.address("lo", "fd00:64::1/128").unwrap();
        let daemon = ground.up(&format!(
            "{UP} --address fd00:10::100/64 --route 10.64.0.0/16 --route fd00:64::/64 --route 10.65.1.1/32"
        ));
        assert!(ground.answers());
        assert!(ground.you.ping("fd00:10::4").all_answered());
        // A route by the device asks for the destination itself, whose address is on the Gate peer's loopback.
        assert!(ground.you.ping("10.64.0.1").all_answered());
        let (addresses, routes) = ground
            .you
            .netlink(async |netlink| {
                let link = netlink.link_by_name("vxlan0").await?;
                let mut routes = netlink.routes().await?;
                routes.retain(|route| route.link == Some(link.index));
                Ok((netlink.addresses_of(&link).await?, routes))
            })
            .unwrap();
        for wanted in ["10.225.194.171/9", "fd00:10::100/64"] {
            assert!(
                addresses.iter().any(|address| address.ip.to_string() == wanted && !address.tentative),
                "{wanted}"
            );
        }
        for wanted in ["10.128.0.0/9", "fd00:10::/64", "10.64.0.0/16", "fd00:64::/64", "10.65.1.1/32"] {
            assert!(routes.iter().any(|route| route.prefix.to_string() == wanted), "{wanted}: {routes:?}");
        }
        daemon.stop();
    });
}

#[test]
fn queues_and_superframes_have_their_sizes_and_they_are_shown() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        for (line, gso_max_octets) in [
            // 44 segments of 1398 octets, 7 of 8899, and what TCP reserves.
            ("up --peer 100.64.158.4", 61_833),
            ("up --peer 172.21.0.1 --mtu 8951", 62_614),
            ("up --peer 172.21.0.1 --mtu 65485", 65_536),
            ("up --peer 172.21.0.1 --mtu 68", 2369),
        ] {
            let daemon = ground.up(line);
            let link = ground.you.netlink(async |netlink| netlink.link_by_name("vxlan0").await).unwrap();
            assert_eq!((link.tx_queue_len, link.gso_max_size), (5000, Some(gso_max_octets)), "{line}");
            let sizes = &ground.show()["sizes"];
            assert_eq!(sizes["tx_queue_frames"], 5000);
            assert_eq!(sizes["gso_max_octets"], gso_max_octets);
            assert_eq!(sizes["gso_max_segments"].as_u64(), link.gso_max_segments.map(u64::from));
            // 4 MiB asked, and twice that where nothing limits it: root is not limited.
            for buffer in ["receive_buffer_octets", "send_buffer_octets"] {
                assert_eq!(sizes[buffer], 8 << 20, "{buffer}");
            }
            let text = ground.vxgate("show").stdout;
            assert!(
                text.contains("  buffers:     receive 8.00 MiB, send 8.00 MiB, device 5000 frames\n"),
                "{text}"
            );
            daemon.stop();
        }
    });
}
