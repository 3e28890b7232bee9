//! What is asked by netlink is what the kernel then has. Each test has a network namespace of its own, empty but for
//! the devices it makes.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use ipnet::IpNet;
use vxgate_netlink::{DontFragment, Error, NeighbourState, Netlink, TimeToLive, TypeOfService, Vxlan, Watch};
use vxgate_testbed::{Host, isolated};

/// Runs `body` with a netlink connection to an empty host.
#[expect(clippy::unwrap_used, reason = "it is part of each test here")]
fn in_empty_host<T: Send>(body: impl AsyncFnOnce(&Netlink) -> Result<T, Error> + Send) -> T {
    Host::new("empty").unwrap().netlink(body).unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().expect("an address with a prefix length")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn a_link_takes_what_is_set() {
    isolated!(|| {
        in_empty_host(async |netlink| {
            let made = netlink.veth_add("v0", "v1", None).await?;
            assert_eq!((made.name.as_str(), made.kind.as_deref(), made.up), ("v0", Some("veth"), false));
            netlink.set_mtu(&made, 9000).await?;
            netlink.set_mac(&made, [2, 0, 0, 0, 0, 7]).await?;
            netlink.set_tx_queue_len(&made, 77).await?;
            netlink.set_gso_max_size(&made, 20_000).await?;
            netlink.set_up(&made).await?;
            netlink.set_up(&netlink.link_by_name("v1").await?).await?;
            netlink.rename(&made, "renamed").await?;
            let link = netlink.link_by_name("renamed").await?;
            assert_eq!((link.index, link.mtu, link.mac), (made.index, 9000, [2, 0, 0, 0, 0, 7]));
            assert_eq!((link.tx_queue_len, link.gso_max_size), (77, Some(20_000)));
            assert_eq!(link.gso_max_segments, Some(65_535), "the kernel's default (GSO_MAX_SEGS)");
            assert!(link.up && link.carrier);
            assert_eq!(netlink.link_by_index(link.index).await?.name, "renamed");
            netlink.set_down(&link).await?;
            assert!(!netlink.link_by_name("renamed").await?.up);

            let names: Vec<String> = netlink.links().await?.into_iter().map(|link| link.name).collect();
            assert_eq!(names.len(), 3, "{names:?}");
            netlink.link_delete(&link).await?;
            assert_eq!(netlink.links().await?.len(), 1, "the other end went along");
            Ok(())
        });
    });
}

#[test]
fn a_watch_hears_of_links_and_routes_that_change() {
    isolated!(|| {
        in_empty_host(async |netlink| {
            let link = netlink.veth_add("v0", "v1", None).await?;
            netlink.set_up(&link).await?;
            netlink.set_up(&netlink.link_by_name("v1").await?).await?;
            netlink.address_add(&link, net("192.0.2.1/24")).await?;
            let mut watch = Watch::open()?;
            // Each request lets what was told meanwhile come in.
            let hears = async |watch: &mut Watch| {
                for _ in 0..100 {
                    let _ = netlink.links().await;
                    if let Some(more) = watch.changed().now_or_never() {
                        return more;
                    }
                }
                false
            };
            // What the kernel does by itself when a link comes up is done some time.
            while hears(&mut watch).await {}
            netlink.set_mtu(&link, 1400).await?;
            assert!(hears(&mut watch).await, "a link");
            while hears(&mut watch).await {}
            netlink.route_add(net("198.51.100.0/24"), &link, None, None).await?;
            assert!(hears(&mut watch).await, "a route");
            Ok(())
        });
    });
}

#[test]
fn a_refusal_says_what_failed_and_can_be_told_apart() {
    isolated!(|| {
        in_empty_host(async |netlink| {
            let missing = netlink.link_by_name("nobody").await.unwrap_err();
            assert!(missing.is_missing(), "{missing}");
            assert_eq!(missing.to_string(), "cannot find link nobody: No such device (os error 19)");

            let bridge = netlink.bridge_add("br0").await?;
            let taken = netlink.bridge_add("br0").await.unwrap_err();
            assert!(taken.is_exists(), "{taken}");
            assert!(taken.to_string().starts_with("cannot make bridge link br0: File exists"), "{taken}");

            let large = netlink.set_mtu(&bridge, 1_000_000).await.unwrap_err();
            assert_eq!(large.errno(), Some(22), "{large}");
            assert!(
                large.to_string().contains("mtu greater than device maximum"),
                "the kernel's words: {large}"
            );

            netlink.link_delete(&bridge).await?;
            assert!(netlink.set_up(&bridge).await.unwrap_err().is_missing());
            Ok(())
        });
    });
}

#[test]
fn a_bridge_takes_and_gives_back_its_ports() {
    isolated!(|| {
        in_empty_host(async |netlink| {
            let bridge = netlink.bridge_add("br0").await?;
            let port = netlink.veth_add("v0", "v1", None).await?;
            netlink.set_controller(&port, Some(&bridge)).await?;
            assert_eq!(netlink.link_by_name("v0").await?.controller, Some(bridge.index));
            netlink.set_controller(&port, None).await?;
            assert_eq!(netlink.link_by_name("v0").await?.controller, None);
            Ok(())
        });
    });
}

#[test]
fn a_link_moves_to_another_host() {
    isolated!(|| {
        let other = Host::new("other").unwrap();
        in_empty_host(async |netlink| {
            let link = netlink.veth_add("v0", "v1", None).await?;
            netlink.move_to(&link, other.namespace()).await?;
            assert!(netlink.link_by_name("v0").await.unwrap_err().is_missing());
            assert_eq!(
                other.netlink(async |there| there.link_by_name("v0").await)?.kind.as_deref(),
                Some("veth")
            );
            Ok(())
        });
    });
}

#[test]
fn addresses_come_with_their_broadcast_and_can_be_used_at_once() {
    isolated!(|| {
        in_empty_host(async |netlink| {
            let link = netlink.veth_add("v0", "v1", None).await?;
            netlink.address_add(&link, net("10.225.194.171/9")).await?;
            netlink.address_add(&link, net("192.0.2.1/31")).await?;
            netlink.address_add_nodad(&link, net("2001:db8::1/64")).await?;
            let addresses = netlink.addresses_of(&link).await?;
            let [gate, narrow, six] = &addresses[..] else { panic!("{addresses:?}") };
            assert_eq!((gate.ip, gate.broadcast), (net("10.225.194.171/9"), "10.255.255.255".parse().ok()));
            assert_eq!((narrow.ip, narrow.broadcast), (net("192.0.2.1/31"), None));
            assert_eq!((six.ip, six.tentative, six.duplicate), (net("2001:db8::1/64"), false, false));

            assert!(netlink.address_add(&link, net("10.225.194.171/9")).await.unwrap_err().is_exists());
            netlink.address_delete(&link, net("10.225.194.171/9")).await?;
            let gone = netlink.address_delete(&link, net("10.225.194.171/9")).await.unwrap_err();
            assert!(gone.is_missing(), "{gone}");
            assert_eq!(
                gone.to_string().split(':').next(),
                Some("cannot delete address 10.225.194.171/9 of link v0")
            );
            Ok(())
        });
    });
}

#[test]
fn routes_are_added_found_and_deleted() {
    isolated!(|| {
        in_empty_host(async |netlink| {
            let link = netlink.veth_add("v0", "v1", None).await?;
            netlink.set_up(&netlink.link_by_name("v1").await?).await?;
            netlink.set_up(&link).await?;
            for (own, router, far, inside) in [
                ("172.21.0.100/24", "172.21.0.1", "100.64.158.0/24", "100.64.158.4"),
                ("2001:db8::100/64", "2001:db8::1", "2001:db8:1::/48", "2001:db8:1::4"),
            ] {
                let unreachable = netlink.route_lookup(ip(inside)).await.unwrap_err();
                assert!(unreachable.is_unreachable(), "{unreachable}");
                netlink.address_add_nodad(&link, net(own)).await?;
                netlink.route_add(net(far), &link, Some(ip(router)), Some(net(own).addr())).await?;
                let again = netlink.route_add(net(far), &link, Some(ip(router)), None).await.unwrap_err();
                assert!(again.is_exists(), "{again}");

                let found = netlink.route_lookup(ip(inside)).await?;
                assert_eq!((found.prefix, found.link), (IpNet::from(ip(inside)), Some(link.index)));
                assert_eq!((found.gateway, found.source), (Some(ip(router)), Some(net(own).addr())));
                assert!(!found.local && found.mtu.is_none());
                let neighbour = netlink.route_lookup(ip(router)).await?;
                assert_eq!((neighbour.gateway, neighbour.source), (None, Some(net(own).addr())));
                let mut asked = 0;
                while !netlink.route_lookup(net(own).addr()).await?.local {
                    asked += 1;
                    assert!(asked < 10_000, "{own} never became an address of this host");
                }

                let listed = netlink.routes().await?;
                let listed: Vec<_> = listed.iter().filter(|route| route.prefix == net(far)).collect();
                assert_eq!(listed.len(), 1);
                assert_eq!((listed[0].link, listed[0].gateway), (Some(link.index), Some(ip(router))));
                netlink.route_delete(net(far), &link, Some(ip(router))).await?;
                assert!(
                    netlink.route_delete(net(far), &link, Some(ip(router))).await.unwrap_err().is_missing()
                );
            }
            netlink.route_add(net("10.128.0.0/9"), &link, None, None).await?;
            assert_eq!(netlink.route_lookup(ip("10.192.158.4")).await?.link, Some(link.index));
            netlink.route_add(net("0.0.0.0/0"), &link, Some(ip("172.21.0.1")), None).await?;
            assert!(netlink.routes().await?.iter().any(|route| route.prefix == net("0.0.0.0/0")));
            Ok(())
        });
    });
}

#[test]
fn neighbours_are_set_listed_and_forgotten() {
    isolated!(|| {
        in_empty_host(async |netlink| {
            let link = netlink.veth_add("v0", "v1", None).await?;
            netlink.set_up(&link).await?;
            for (own, other) in [("192.0.2.1/24", "192.0.2.2"), ("2001:db8::1/64", "2001:db8::2")] {
                netlink.address_add_nodad(&link, net(own)).await?;
                netlink.neighbour_set(&link, ip(other), [2, 0, 0, 0, 0, 9]).await?;
                netlink.neighbour_set(&link, ip(other), [2, 0, 0, 0, 0, 8]).await?;
                let known = netlink.neighbours().await?;
                let known: Vec<_> = known.iter().filter(|neighbour| neighbour.ip == ip(other)).collect();
                assert_eq!(known.len(), 1);
                assert_eq!(
                    (known[0].mac, known[0].state),
                    (Some([2, 0, 0, 0, 0, 8]), NeighbourState::Permanent)
                );
                netlink.neighbour_delete(&link, ip(other)).await?;
                let gone = netlink.neighbours().await?;
                assert!(gone.iter().all(|neighbour| neighbour.ip != ip(other) || neighbour.mac.is_none()));
            }
            Ok(())
        });
    });
}

#[test]
fn a_vxlan_device_has_every_setting_that_was_asked_for() {
    isolated!(|| {
        if !vxgate_testbed::kernel_has_vxlan() {
            return vxgate_testbed::skip("the kernel has no vxlan: modprobe vxlan, or CONFIG_VXLAN");
        }
        in_empty_host(async |netlink| {
            let underlay = netlink.veth_add("v0", "v1", None).await?;
            let plain = Vxlan { vni: 10, ..Vxlan::default() };
            let link = netlink.vxlan_add("vxlan0", &plain).await?;
            assert_eq!(link.kind.as_deref(), Some("vxlan"));
            let read = netlink.vxlan_settings(&link).await?;
            assert_eq!(
                read,
                Vxlan { mac: read.mac, mtu: read.mtu, reserved_bits: read.reserved_bits, ..plain }
            );

            for (name, local, group) in
                [("vxlan4", "172.21.0.100", "239.1.1.1"), ("vxlan6", "2001:db8::1", "ff05::1")]
            {
                let asked = Vxlan {
                    vni: 0xff_ffff,
                    local: Some(ip(local)),
                    underlay: Some(underlay.index),
                    group: Some(ip(group)),
                    port: 14_789,
                    source_ports: Some(40_000..=40_007),
                    ttl: TimeToLive::Fixed(7),
                    tos: TypeOfService::Inherit,
                    df: DontFragment::Inherit,
                    learning: false,
                    ageing: Duration::from_secs(17),
                    limit: Some(5),
                    udp_checksum: false,
                    udp6_zero_checksum_tx: true,
                    udp6_zero_checksum_rx: true,
                    reserved_bits: Some(0),
                    mac: Some([2, 0, 0, 0, 0, 4]),
                    mtu: Some(1400),
                };
                let link = netlink.vxlan_add(name, &asked).await?;
                let read = netlink.vxlan_settings(&link).await?;
                // A kernel before Linux 6.14 ignores what it does not know.
                assert!(matches!(read.reserved_bits, None | Some(0)), "{read:?}");
                assert_eq!(Vxlan { reserved_bits: Some(0), ..read }, asked);
            }
            let inherit =
                Vxlan { vni: 11, ttl: TimeToLive::Inherit, df: DontFragment::Set, ..Vxlan::default() };
            let link = netlink.vxlan_add("vxlan1", &inherit).await?;
            let read = netlink.vxlan_settings(&link).await?;
            assert_eq!((read.ttl, read.df), (TimeToLive::Inherit, DontFragment::Set));
            assert!(netlink.vxlan_settings(&underlay).await.is_err());
            assert!(
                netlink.vxlan_add("vxlan2", &inherit).await.unwrap_err().is_exists(),
                "VNI and port are taken"
            );
            Ok(())
        });
    });
}

#[test]
fn a_blackhole_is_told_from_a_way_that_is_not_there() {
    isolated!(|| {
        in_empty_host(async |netlink| {
            let none = netlink.route_lookup(ip("192.0.2.1")).await.unwrap_err();
            assert!(none.is_unreachable() && none.errno() == Some(101), "ENETUNREACH: {none}");
            for (prefix, inside) in [("192.0.2.0/24", "192.0.2.1"), ("2001:db8:9::/64", "2001:db8:9::1")] {
                netlink.blackhole_add(net(prefix)).await?;
                let black = netlink.route_lookup(ip(inside)).await.unwrap_err();
                assert!(!black.is_unreachable() && black.errno() == Some(22), "EINVAL: {black}");
                assert!(netlink.blackhole_add(net(prefix)).await.unwrap_err().is_exists());
            }
            Ok(())
        });
    });
}

#[test]
fn whether_changes_are_allowed_is_asked_without_one() {
    isolated!(|| {
        in_empty_host(async |netlink| {
            let before = netlink.links().await?;
            assert!(netlink.may_change().await?);
            assert_eq!(netlink.links().await?, before);
            Ok(())
        });
    });
}
