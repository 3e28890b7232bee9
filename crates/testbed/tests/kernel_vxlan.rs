//! The kernel's own VTEP between two hosts.

use std::net::IpAddr;
use std::time::Duration;

use vxgate_testbed::{Host, KernelVxlan, eventually, isolated, kernel_has_vxlan, link, skip, tcp};

/// ```text
///   you ── eth0 ─────────────── eth0 ── gate
///    │     172.21.0.100         172.21.0.4│
///   vxlan0 10.225.194.171/9     vxlan0 10.192.158.4/9, VNI 10
/// ```
#[expect(clippy::unwrap_used, reason = "it is part of each test here")]
fn tunnel(outer: [&str; 2], inner: [&str; 2]) -> (Host, Host) {
    let (you, gate) = (Host::new("you").unwrap(), Host::new("gate").unwrap());
    link(&you, "eth0", &gate, "eth0").unwrap();
    for (host, this, other) in [(&you, 0, 1), (&gate, 1, 0)] {
        host.address("eth0", outer[this]).unwrap();
        let bare = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
        let vxlan = KernelVxlan::new(&bare(outer[this])).peer(&bare(outer[other])).address(inner[this]);
        vxlan.with(|settings| settings.mtu = Some(1430)).create(host).unwrap();
    }
    (you, gate)
}

#[test]
fn a_ping_and_a_transfer_cross_the_tunnel() {
    isolated!(|| {
        if !kernel_has_vxlan() {
            return skip("the kernel has no vxlan: modprobe vxlan, or CONFIG_VXLAN");
        }
        for outer in [["172.21.0.100/24", "172.21.0.4/24"], ["2001:db8::100/64", "2001:db8::4/64"]] {
            let (you, gate) = tunnel(outer, ["10.225.194.171/9", "10.192.158.4/9"]);
            assert!(you.ping("10.192.158.4").all_answered());
            let inner: IpAddr = "10.192.158.4".parse().unwrap();
            let transfer = tcp::transfer(&you, &gate, inner, 4 << 20, Duration::from_secs(20)).unwrap();
            assert!(transfer.intact, "{transfer:?}");
        }
    });
}

#[test]
fn the_tunnel_learns_and_the_database_shows_it() {
    isolated!(|| {
        if !kernel_has_vxlan() {
            return skip("the kernel has no vxlan: modprobe vxlan, or CONFIG_VXLAN");
        }
        let (you, gate) =
            tunnel(["172.21.0.100/24", "172.21.0.4/24"], ["10.225.194.171/9", "10.192.158.4/9"]);
        assert!(you.ping("10.192.158.4").all_answered());
        let mac = gate.netlink(async |netlink| netlink.link_by_name("vxlan0").await).unwrap().mac;
        let learned = || {
            let entries = you.netlink(async |netlink| {
                let vxlan = netlink.link_by_name("vxlan0").await?;
                netlink.fdb(&vxlan).await
            });
            entries.unwrap().into_iter().find(|entry| entry.mac == mac)
        };
        assert!(eventually(Duration::from_secs(5), || learned().is_some()));
        assert_eq!(learned().unwrap().dst, Some("172.21.0.4".parse().unwrap()));
    });
}
