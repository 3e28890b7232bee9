//! The kernel's own VTEP between two hosts.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
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

/// The UDP source ports of what a kernel VTEP with these source ports sends, as a plain socket sees them.
#[expect(clippy::unwrap_used, reason = "it is part of each test here")]
fn source_ports(range: Option<RangeInclusive<u16>>) -> BTreeSet<u16> {
    let (you, gate) = (Host::new("you").unwrap(), Host::new("gate").unwrap());
    link(&you, "eth0", &gate, "eth0").unwrap();
    you.address("eth0", "172.21.0.100/24").unwrap();
    gate.address("eth0", "172.21.0.4/24").unwrap();
    let socket = gate.run(|| UdpSocket::bind("172.21.0.4:4789")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let vxlan = KernelVxlan::new("172.21.0.100").peer("172.21.0.4").address("10.225.194.171/9");
    vxlan.with(|settings| settings.source_ports = range).create(&you).unwrap();
    let frames = 40;
    you.run(|| {
        let asker = UdpSocket::bind("0.0.0.0:0").unwrap();
        for last in 1..=frames {
            asker.send_to(b"?", (Ipv4Addr::new(10, 192, 158, last), 9)).unwrap();
        }
    });
    let mut ports = BTreeSet::new();
    for _ in 0..frames {
        ports.insert(socket.recv_from(&mut [0; 2000]).unwrap().1.port());
    }
    ports
}

#[test]
fn a_source_port_is_pinned_by_a_range_that_ends_above_it() {
    isolated!(|| {
        if !kernel_has_vxlan() {
            return skip("the kernel has no vxlan: modprobe vxlan, or CONFIG_VXLAN");
        }
        assert_eq!(source_ports(Some(4789..=4790)), BTreeSet::from([4789]));
        // A range of one port is no range to the kernel: it takes the range of local ports instead.
        for unpinned in [Some(4789..=4789), None] {
            let ports = source_ports(unpinned);
            assert!(ports.iter().all(|port| *port >= 32_768), "{ports:?}");
        }
    });
}

#[test]
fn reserved_bits_drop_a_frame_unless_the_device_tolerates_them() {
    isolated!(|| {
        if !kernel_has_vxlan() {
            return skip("the kernel has no vxlan: modprobe vxlan, or CONFIG_VXLAN");
        }
        for (reserved_bits, delivered) in [(None, 0), (Some(0), 1)] {
            let (you, gate) = (Host::new("you").unwrap(), Host::new("gate").unwrap());
            link(&you, "eth0", &gate, "eth0").unwrap();
            you.address("eth0", "172.21.0.100/24").unwrap();
            gate.address("eth0", "172.21.0.4/24").unwrap();
            let vxlan =
                KernelVxlan::new("172.21.0.4").with(|settings| settings.reserved_bits = reserved_bits);
            let device = vxlan.create(&gate).unwrap();
            let settings = gate.netlink(async |netlink| netlink.vxlan_settings(&device).await).unwrap();
            if reserved_bits.is_some() && settings.reserved_bits != reserved_bits {
                return skip("the kernel cannot tolerate reserved bits: Linux 6.14");
            }
            // RFC 7348 section 5: flags with I and one reserved bit, 24 bits reserved, VNI 10, 8 bits reserved.
            let mut datagram = vec![0x88, 0, 0, 0, 0, 0, 10, 0];
            datagram.extend([0xff; 6]);
            datagram.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
            datagram.extend([0; 46]);
            let sender = you.run(|| UdpSocket::bind("172.21.0.100:0")).unwrap();
            sender.send_to(&datagram, "172.21.0.4:4789").unwrap();
            let counters =
                || gate.netlink(async |netlink| netlink.link_by_name("vxlan0").await).unwrap().counters;
            let seen = || counters().rx_frames + counters().rx_errors + counters().rx_dropped > 0;
            assert!(eventually(Duration::from_secs(5), seen));
            assert_eq!(counters().rx_frames, delivered, "{reserved_bits:?}: {:?}", counters());
        }
    });
}
