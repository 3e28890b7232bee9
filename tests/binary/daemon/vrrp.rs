//! Pairs of hosts that share an address: what announces a move crosses at once and as it is, in both directions, and two customer
//! hosts hand a virtual inner address over. The recipe is docs/two-hosts.md.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use vxgate_sys::packet::{PacketOptions, PacketSocket};
use vxgate_testbed::{Host, KernelVxlan, Ping, PingReport, eventually, isolated, link};

use crate::ground::{Daemon, Ground, PATIENCE, VXGATE, command, missing};

/// The MAC addresses of VRRP's virtual routers 51, IPv4 and IPv6 (RFC 9568 section 7.3).
const VIRTUAL: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];
const VIRTUAL6: [u8; 6] = [0, 0, 0x5e, 0, 2, 51];
const BROADCAST: [u8; 6] = [0xff; 6];
/// VXLAN's header with flag I and VNI 10.
const HEADER: [u8; 8] = [8, 0, 0, 0, 0, 0, 10, 0];

/// A gratuitous ARP (RFC 5227 section 3): of the request's form (1) or the reply's (2).
fn gratuitous(operation: u8, mac: [u8; 6], ip: [u8; 4]) -> Vec<u8> {
    let head = [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation];
    let target = if operation == 1 { [0; 6] } else { BROADCAST };
    let mut frame = [&BROADCAST[..], &mac, &head, &mac, &ip, &target, &ip].concat();
    frame.resize(60, 0);
    frame
}

/// An unsolicited neighbour advertisement to all nodes, with the override flag (RFC 4861 section 7.2.6).
fn advertisement(mac: [u8; 6]) -> Vec<u8> {
    let (source, all_nodes) = (
        "fd00:10::c8".parse::<std::net::Ipv6Addr>().unwrap(),
        [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    );
    let mut message = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &source.octets(), &[2, 1], &mac].concat();
    let pseudo = [&source.octets()[..], &all_nodes, &[0, 0, 0, 32, 0, 0, 0, 58]].concat();
    let sum = [pseudo, message.clone()]
        .concat()
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) as u16 + (sum >> 16) as u16);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let ip = [&[0x60, 0, 0, 0, 0, 32, 58, 255][..], &source.octets(), &all_nodes].concat();
    [&[0x33, 0x33, 0, 0, 0, 1][..], &mac, &[0x86, 0xdd], &ip, &message].concat()
}

/// A tunnel whose peers are plain sockets, and what its device carries.
///
/// ```text
///   you ── eth0 ──────────── eth0 ── gate: UDP sockets at 100.64.158.4 and .132, port 4789
///    └ vxlan0 ── packet socket
/// ```
struct Wire {
    ground: Ground,
    daemon: Daemon,
    device: PacketSocket,
    mac: [u8; 6],
    peers: [UdpSocket; 2],
}

impl Wire {
    fn start() -> Wire {
        let ground = Ground::lay();
        // The host's own stack stays quiet on the device.
        ground.you.sysctl("net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        let peers = ["100.64.158.4:4789", "100.64.158.132:4789"].map(|address| {
            let socket = ground.gate.run(|| UdpSocket::bind(address)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        });
        let daemon = ground.up("up --peer 100.64.158.4 --peer 100.64.158.132");
        let options = PacketOptions { ignore_outgoing: true, promiscuous: true };
        let device = ground.you.run(|| PacketSocket::open("vxlan0", &options)).unwrap();
        let mac = ground.you.netlink(async |netlink| netlink.link_by_name("vxlan0").await).unwrap().mac;
        Wire { ground, daemon, device, mac, peers }
    }

    fn send(&self, frame: &[u8]) {
        assert!(eventually(PATIENCE, || self.device.send(frame).unwrap().is_some()));
    }

    /// The next frame that the tunnel sends to this peer, but for what the host says by its own MAC address.
    #[track_caller]
    fn sent_to(&self, peer: usize) -> Vec<u8> {
        let mut datagram = [0; 2048];
        loop {
            let octets = self.peers[peer].recv(&mut datagram).expect("a datagram before patience ends");
            assert_eq!(datagram[..8], HEADER);
            if datagram[14..20] != self.mac {
                return datagram[8..octets].to_vec();
            }
        }
    }

    fn hand_in(&self, peer: usize, frame: &[u8]) {
        self.peers[peer].send_to(&[&HEADER, frame].concat(), "172.21.0.100:4789").unwrap();
    }

    #[track_caller]
    fn received(&self) -> Vec<u8> {
        let mut frame = [0; 2048];
        let octets =
            self.device.recv(&mut frame, Some(PATIENCE)).unwrap().expect("a frame before patience ends");
        frame[..octets].to_vec()
    }
}

/// Everything by which a host says that an address is now its own.
fn announcements() -> [Vec<u8>; 4] {
    [
        gratuitous(1, VIRTUAL, [10, 225, 194, 200]),
        gratuitous(2, VIRTUAL, [10, 225, 194, 200]),
        gratuitous(2, [2, 0, 0, 0, 0, 1], [10, 225, 194, 200]),
        advertisement(VIRTUAL6),
    ]
}

/// How often each announcement is repeated, back to back: keepalived repeats its own five times.
const REPEATED: usize = 50;

#[test]
fn announcements_cross_octet_for_octet_both_ways_each_time_they_are_made() {
    isolated!(|| {
        if missing() {
            return;
        }
        let wire = Wire::start();
        for frame in announcements() {
            for _ in 0..REPEATED {
                wire.send(&frame);
            }
            for _ in 0..REPEATED {
                for peer in [0, 1] {
                    assert_eq!(wire.sent_to(peer), frame, "out to peer {peer}");
                }
            }
            for peer in [0, 1] {
                for _ in 0..REPEATED {
                    wire.hand_in(peer, &frame);
                }
                for _ in 0..REPEATED {
                    assert_eq!(wire.received(), frame, "in from peer {peer}");
                }
            }
        }
        // None more than were sent, and none dropped.
        let shown = wire.ground.show();
        let frames = (REPEATED * announcements().len()) as u64;
        assert_eq!(shown["rx"]["frames"], 2 * frames, "{shown}");
        assert_eq!(shown["drops"], serde_json::json!({}), "{shown}");
        wire.daemon.stop();
    });
}

#[test]
fn a_mac_address_that_moves_by_an_announcement_is_sent_to_its_new_place_from_the_next_frame_on() {
    isolated!(|| {
        if missing() {
            return;
        }
        let wire = Wire::start();
        for (round, (frame, mac)) in [
            (announcements()[0].clone(), VIRTUAL),
            (announcements()[1].clone(), VIRTUAL),
            (announcements()[3].clone(), VIRTUAL6),
        ]
        .into_iter()
        .cycle()
        .take(12)
        .enumerate()
        {
            let (here, there) = (round % 2, 1 - round % 2);
            wire.hand_in(here, &frame);
            assert_eq!(wire.received(), frame);
            let mut unicast = [&mac[..], &[2, 0, 0, 0, 0, 9], &[0x88, 0xb5], &[round as u8; 46]].concat();
            wire.send(&unicast);
            assert_eq!(wire.sent_to(here), unicast, "round {round}");
            // What is for all goes to the other too, and there is nothing before it.
            unicast[..6].copy_from_slice(&BROADCAST);
            wire.send(&unicast);
            assert_eq!(wire.sent_to(there), unicast, "round {round}");
            assert_eq!(wire.sent_to(here), unicast, "round {round}");
        }
        wire.daemon.stop();
    });
}

const SHARED: &str = "10.225.194.200";

/// Two customer hosts, each a Gate peer of its own, and a device behind the Gate that knows the shared address only.
///
/// ```text
///   you-a 172.21.0.100 ──┐
///     └ vxlan0 10.225.194.171     ┌── gate-a 100.64.158.4    10.192.158.4   ──┐
///                        ├── vpc ─┤                                           ├── device 10.129.0.5
///   you-b 172.21.0.101 ──┘        └── gate-b 100.64.158.132  10.192.158.132 ──┘
///     └ vxlan0 10.225.194.172
/// ```
struct Pair {
    yous: [Host; 2],
    device: Host,
    _others: [Host; 3],
}

impl Pair {
    fn lay() -> Pair {
        let [you_a, you_b, vpc, gate_a, gate_b, device] =
            ["you-a", "you-b", "vpc", "gate-a", "gate-b", "device"].map(|name| Host::new(name).unwrap());
        for (host, name, router, own) in [
            (&you_a, "you-a", "172.21.0.1/30", "172.21.0.2/30"),
            (&you_b, "you-b", "172.21.1.1/30", "172.21.1.2/30"),
            (&gate_a, "gate-a", "100.64.158.1/25", "100.64.158.4/25"),
            (&gate_b, "gate-b", "100.64.158.129/25", "100.64.158.132/25"),
        ] {
            link(host, "eth0", &vpc, name).unwrap();
            vpc.address(name, router).unwrap();
            host.address("eth0", own).unwrap();
            host.route("172.21.0.0/16", router.split('/').next().unwrap()).unwrap();
            host.route("100.64.0.0/10", router.split('/').next().unwrap()).unwrap();
        }
        vpc.forward().unwrap();
        device.address("lo", "10.129.0.5/32").unwrap();
        for (gate, name, outer, inner, cell, cell_device) in [
            (&gate_a, "cell-a", "100.64.158.4", "10.192.158.4/9", "192.0.2.1", "192.0.2.2"),
            (&gate_b, "cell-b", "100.64.158.132", "10.192.158.132/9", "192.0.2.5", "192.0.2.6"),
        ] {
            link(gate, "cell", &device, name).unwrap();
            gate.address("cell", &format!("{cell}/30")).unwrap();
            device.address(name, &format!("{cell_device}/30")).unwrap();
            gate.forward().unwrap();
            let kernel = KernelVxlan::new(outer).peer("172.21.0.2").peer("172.21.1.2").address(inner);
            kernel.create(gate).unwrap();
            gate.route("10.129.0.5/32", cell_device).unwrap();
            // A VPG answers ARP for its devices, at once; and answers may come by its other half.
            for (key, value) in [
                ("conf/vxlan0/proxy_arp", "1"),
                ("neigh/vxlan0/proxy_delay", "0"),
                ("conf/all/rp_filter", "0"),
                ("conf/vxlan0/rp_filter", "0"),
            ] {
                gate.sysctl(&format!("net/ipv4/{key}"), value).unwrap();
            }
        }
        device.sysctl("net/ipv4/conf/all/rp_filter", "0").unwrap();
        // It speaks as the address that the Gate knows it by.
        let routed = device.netlink(async |netlink| {
            let link = netlink.link_by_name("cell-a").await?;
            let [gateway, source] = ["192.0.2.1", "10.129.0.5"].map(|ip| Some(ip.parse().unwrap()));
            netlink.route_add("10.128.0.0/9".parse().unwrap(), &link, gateway, source).await
        });
        routed.unwrap();
        Pair { yous: [you_a, you_b], device, _others: [vpc, gate_a, gate_b] }
    }

    fn up(&self, which: usize) -> Daemon {
        let line = [
            "--local 172.21.0.2 --address 10.225.194.171/9",
            "--local 172.21.1.2 --address 10.225.194.172/9",
        ][which];
        let mut command = command(
            &self.yous[which],
            VXGATE,
            &format!("up --peer 100.64.158.4 --peer 100.64.158.132 {line}"),
        );
        command.env("VXGATE_RUNTIME_DIR", format!("/run/you-{which}"));
        Daemon::start(command)
    }

    /// Makes this host the one that has the shared address, as keepalived does: the address on the device, then announcements. With
    /// `mac`, the device answers by that MAC address from now on.
    fn take(&self, which: usize, mac: Option<[u8; 6]>) {
        let you = &self.yous[which];
        let mac = you
            .netlink(async |netlink| {
                let link = netlink.link_by_name("vxlan0").await?;
                if let Some(mac) = mac {
                    netlink.set_mac(&link, mac).await?;
                }
                netlink.address_add_nodad(&link, format!("{SHARED}/32").parse().unwrap()).await?;
                Ok(mac.unwrap_or(link.mac))
            })
            .unwrap();
        let device = you.run(|| PacketSocket::open("vxlan0", &PacketOptions::default())).unwrap();
        for operation in [2, 1] {
            let frame = gratuitous(operation, mac, [10, 225, 194, 200]);
            assert!(device.send(&frame).unwrap().is_some());
        }
    }

    /// Takes the shared address from this host, and the virtual MAC address with it.
    fn leave(&self, which: usize, mac: [u8; 6]) {
        let left = self.yous[which].netlink(async |netlink| {
            let link = netlink.link_by_name("vxlan0").await?;
            netlink.address_delete(&link, format!("{SHARED}/32").parse().unwrap()).await?;
            netlink.set_mac(&link, mac).await
        });
        left.unwrap();
    }

    /// Frames that this host's device has received.
    fn received(&self, which: usize) -> u64 {
        self.yous[which]
            .netlink(async |netlink| netlink.link_by_name("vxlan0").await)
            .unwrap()
            .counters
            .rx_frames
    }

    /// Pings the shared address from the device every 10 ms, makes the change in the middle, and tells what came of it.
    fn across(&self, holder: usize, change: impl FnOnce()) -> PingReport {
        let address = SHARED.parse().unwrap();
        assert!(eventually(PATIENCE, || self.device.ping(SHARED).all_answered()));
        let before = self.received(holder);
        thread::scope(|scope| {
            let pings = scope.spawn(|| {
                let ping = Ping { count: 300, interval: INTERVAL, ..Ping::new(address) };
                self.device.run(|| ping.run()).unwrap()
            });
            assert!(eventually(PATIENCE, || self.received(holder) > before + 50));
            change();
            pings.join().unwrap()
        })
    }
}

const INTERVAL: Duration = Duration::from_millis(10);

/// What a move may cost on a machine that is busy with other tests, in pings; on an idle one it is none or one.
const LOST_MAX: usize = 100;

#[track_caller]
fn judge(case: &str, report: &PingReport) {
    let lost = report.sent - report.received;
    println!("{case}: {lost} of {} pings lost: a gap of about {} ms", report.sent, lost * 10);
    assert!(lost <= LOST_MAX && report.duplicates == 0 && report.damaged == 0, "{case}: {report:?}");
}

#[test]
fn a_shared_inner_address_moves_to_the_other_customer_host_and_the_devices_ping_goes_on() {
    isolated!(|| {
        if missing() {
            return;
        }
        let pair = Pair::lay();
        let [mut daemon_a, daemon_b] = [0, 1].map(|which| pair.up(which));
        pair.take(0, None);
        // The host that has it dies: its device goes, and the address with it.
        let killed = pair.across(0, || {
            daemon_a.signal(Signal::KILL);
            daemon_a.wait();
            pair.take(1, None);
        });
        judge("killed", &killed);
        daemon_b.stop();
    });
}

#[test]
fn a_virtual_mac_address_moves_there_and_back_with_its_inner_address() {
    isolated!(|| {
        if missing() {
            return;
        }
        let pair = Pair::lay();
        let daemons = [0, 1].map(|which| pair.up(which));
        pair.take(0, Some(VIRTUAL));
        for (case, from, to) in [("there", 0, 1), ("back", 1, 0)] {
            let moved = pair.across(from, || {
                pair.leave(from, [2, 0, 0, 0, 0, from as u8]);
                pair.take(to, Some(VIRTUAL));
            });
            judge(case, &moved);
            let before = pair.received(from);
            let pings = Ping { count: 40, ..Ping::new(SHARED.parse().unwrap()) };
            assert!(pair.device.run(|| pings.run()).unwrap().all_answered());
            // Announcements and questions of the Gate's hosts reach both, the pings only who has the address.
            assert!(pair.received(from) < before + 20, "{case}: the old place still gets them");
        }
        for daemon in daemons {
            daemon.stop();
        }
    });
}
