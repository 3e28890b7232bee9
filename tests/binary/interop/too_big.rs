//! Packets that are too long for the tunnel, from hosts behind a bridge and behind a router: what their senders hear of it.
//!
//! ```text
//!   host ── eth0 ──── lan0 ── br0 ── vxlan0 (under test) ── eth0 ──── eth0 ── far       bridged
//!                              dut   MTU 1600               MTU 1500
//!   host ── eth0 ──── lan0 ── dut ── vxlan0 (under test) ── eth0 ──── peer-1            routed
//! ```

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use vxgate_sys::packet::{PacketOptions, PacketSocket};
use vxgate_testbed::{Host, Ping, eventually, isolated, link, now};

use crate::support::{
    DEV, Device, Family, Inner, Lan, Layout, Mac, Options, PATIENCE, State, Tunnel, agreed, ready, remote,
    tagged,
};

/// The host that sends, and the station that it sends to.
const HERE: Mac = [2, 0xbb, 0, 0, 0, 1];
const THERE: Mac = [2, 0xbb, 0, 0, 0, 2];

/// UDP payloads of packets of 1500 octets: 50 (70) more than the tunnel carries over IPv4 (IPv6).
const V4_OCTETS: usize = 1472;
const V6_OCTETS: usize = 1452;

/// Sends these frames from the host behind the bridge, and gives the answers in their order; the last one must be answered.
fn answers(device: Device, family: Family, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let [host, far] = ["host", "far"].map(|name| Host::new(name).unwrap());
    let dut = Rc::new(Host::new("dut").unwrap());
    // What a stack says by itself is none of this.
    let quiet = |host: &Host, quiet: &str| host.sysctl("net/ipv6/conf/default/disable_ipv6", quiet).unwrap();
    quiet(&host, "1");
    quiet(&dut, "1");
    quiet(&far, "1");
    link(&host, "eth0", &dut, "lan0").unwrap();
    if family == Family::V6 {
        quiet(&dut, "0");
        quiet(&far, "0");
    }
    link(&dut, "eth0", &far, "eth0").unwrap();
    for (host, number) in [(&*dut, 100), (&far, 1)] {
        let prefix = if family == Family::V4 { 24 } else { 64 };
        host.address("eth0", &format!("{}/{prefix}", remote(family, number))).unwrap();
    }
    let options =
        Options { peers: vec![remote(family, 1)], mtu: Some(1600), ..Options::new(remote(family, 100)) };
    let tunnel = Tunnel::start(device, &dut, &options);
    assert!(tunnel.fdb_add(THERE, remote(family, 1), State::Static));
    dut.netlink(async |netlink| {
        let bridge = netlink.bridge_add("br0").await?;
        netlink.set_up(&bridge).await?;
        for port in ["lan0", DEV] {
            netlink.set_controller(&netlink.link_by_name(port).await?, Some(&bridge)).await?;
        }
        Ok(())
    })
    .unwrap();

    let promiscuous = PacketOptions { ignore_outgoing: true, promiscuous: true };
    let ear = host.run(|| PacketSocket::open("eth0", &promiscuous)).unwrap();
    let last = frames.last().unwrap();
    let mut heard = Vec::new();
    let deadline = now() + PATIENCE;
    let mut buffer = vec![0; 70_000];
    // A port of a bridge that has just come up may swallow the first.
    loop {
        assert!(now() < deadline, "no answer to the last one: {heard:02x?}");
        frames.iter().for_each(|frame| assert_eq!(ear.send(frame).unwrap(), Some(frame.len())));
        let until = now() + Duration::from_secs(1);
        while let left = until.saturating_duration_since(now())
            && !left.is_zero()
        {
            let Some(octets) = ear.recv(&mut buffer, Some(left)).unwrap() else { continue };
            let frame = buffer[..octets].to_vec();
            if frame[..6] != HERE {
                continue;
            }
            let is_last = quotes(&frame, last);
            heard.push(frame);
            if is_last {
                return heard;
            }
        }
        heard.clear();
    }
}

/// Whether an answer quotes the beginning of this frame's packet.
fn quotes(answer: &[u8], frame: &[u8]) -> bool {
    let packet = &frame[frame.len() - frame_packet(frame)..];
    answer.windows(64).any(|window| window == &packet[..64])
}

/// How long the packet in a frame is.
fn frame_packet(frame: &[u8]) -> usize {
    let tags = if frame[12..14] == [0x81, 0] { 4 } else { 0 };
    frame.len() - 14 - tags
}

#[test]
fn a_bridged_host_hears_what_the_kernels_device_would_tell_it() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let v4 = |source_port| {
            Inner { source_port, dont_fragment: true, ..Inner::V4 }.frame(THERE, HERE, V4_OCTETS)
        };
        let v6 = |source_port| Inner { source_port, ..Inner::V6 }.frame(THERE, HERE, V6_OCTETS);
        let change = |mut frame: Vec<u8>, at: usize, octets: &[u8]| {
            frame[at..at + octets.len()].copy_from_slice(octets);
            frame
        };
        // Those that nobody answers come first, so that an answer to them would be seen.
        let frames = [
            change(v4(1), 20, &[0x20]),
            change(v4(2), 20, &[0x60]),
            change(v4(3), 26, &[127, 0, 0, 1]),
            change(v4(4), 30, &[239, 1, 1, 1]),
            change(v4(5), 23, &[1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 3, 4]),
            change(v6(0x0106), 20, &[58, 33]),
            v6(7),
            v4(8),
        ];
        for (family, mtu) in [(Family::V4, 1450_u32), (Family::V6, 1430)] {
            let heard = agreed(|device| answers(device, family, &frames));
            assert_eq!(heard.len(), 2, "{heard:02x?}");
            let (to_v6, to_v4) = (&heard[0], &heard[1]);
            assert!(quotes(to_v6, &frames[6]) && quotes(to_v4, &frames[7]));
            assert_eq!((&to_v4[6..12], &to_v4[34..36]), (&THERE[..], &[3, 4][..]));
            assert_eq!(to_v4[26..34], [10, 0, 0, 2, 10, 0, 0, 1], "from the packet's destination");
            assert_eq!(u32::from(u16::from_be_bytes([to_v4[40], to_v4[41]])), mtu);
            assert_eq!((to_v6[54], to_v6[58..62].to_vec()), (2, mtu.to_be_bytes().to_vec()));
            assert_eq!((to_v4.len(), to_v6.len()), (14 + 576, 14 + 1280));
        }
    });
}

#[test]
fn a_bridged_host_hears_of_a_packet_behind_a_vlan_tag_too() {
    isolated!(|| {
        if !ready() {
            return;
        }
        // Differences from Linux: "Too big behind a VLAN tag". A packet that anybody answers comes last.
        let plain = Inner { dont_fragment: true, ..Inner::V4 }.frame(THERE, HERE, V4_OCTETS);
        let frames = [
            tagged(&plain, [0x81, 0, 0x20, 7]),
            Inner { source_port: 2, ..Inner::V6 }.frame(THERE, HERE, V6_OCTETS),
        ];
        let heard = |device| answers(device, Family::V4, &frames).len();
        assert_eq!(heard(Device::Kernel), 1);
        let heard = answers(Device::Vxgate, Family::V4, &frames);
        assert_eq!(heard.len(), 2);
        assert_eq!(heard[0][12..18], [0x81, 0, 0x20, 7, 0x08, 0]);
        assert_eq!((&heard[0][38..40], &heard[0][44..46]), (&[3, 4][..], &1446_u16.to_be_bytes()[..]));
    });
}

#[test]
fn a_routed_host_learns_what_the_tunnel_carries() {
    isolated!(|| {
        if !ready() {
            return;
        }
        let learned = agreed(|device| {
            let lan = Lan::start(device, Layout::new(Family::V4), |options| {
                options.mtu = Some(1600);
                options.addresses = vec!["10.0.0.100/24"];
            });
            let host = Host::new("host").unwrap();
            link(&host, "eth0", &lan.dut, "lan0").unwrap();
            host.address("eth0", "10.1.0.2/24").unwrap();
            lan.dut.address("lan0", "10.1.0.1/24").unwrap();
            lan.dut.forward().unwrap();
            // Else a Linux router does not heed what its own device has found out, and the outer datagrams are cut ("Fragments" of
            // Differences from Linux). vxgate tells the host past the router.
            lan.dut.sysctl("net/ipv4/ip_forward_use_pmtu", "1").unwrap();
            host.route("10.0.0.0/24", "10.1.0.1").unwrap();
            lan.peers[0].route("10.1.0.0/24", "10.0.0.100").unwrap();
            let to: IpAddr = "10.0.0.1".parse().unwrap();
            let ping = Ping {
                count: 1,
                size: 1472,
                dont_fragment: true,
                timeout: Duration::from_millis(200),
                ..Ping::new(to)
            };
            let known = || host.netlink(async |netlink| netlink.route_lookup(to).await).unwrap().mtu;
            // The kernel's device lets the first pass in fragments, and its router tells of the next.
            let learned = eventually(PATIENCE, || {
                host.run(|| ping.run()).unwrap();
                known().is_some()
            });
            assert!(learned, "{device:?}");
            known()
        });
        assert_eq!(learned, Some(1450));
    });
}
