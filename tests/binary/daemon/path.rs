//! The path to the peer: what it carries is found out, and the device, the TCP connections and the hosts behind follow.
//!
//! ```text
//!   you ── eth0 ──── eth0 ── router ── eth1 ──── eth0 ── gate ── lo 100.64.158.4
//!   172.21.0.100    172.21.0.1        192.0.2.1    192.0.2.2 ── vxlan0 10.192.158.4/9    the kernel's own
//! ```

use std::time::Duration;

use vxgate_sys::packet::{PacketOptions, PacketSocket};
use vxgate_testbed::{Host, KernelVxlan, Ping, PingReport, eventually, isolated, link, now, wire_packets};

use vxgate_testbed::tcp::transfer;

use crate::ground::{Daemon, GATE, GATE_INNER, Ground, PATIENCE, YOU, missing};

/// The tunnel to the Gate peer whose inner address is known, and to the same one without.
const ASKED: &str = "up --address 10.225.194.171/9 --peer 100.64.158.4=10.192.158.4";
const NOT_ASKED: &str = "up --address 10.225.194.171/9 --peer 100.64.158.4";

/// The same over IPv6.
const ASKED_V6: &str = "up --address 10.225.194.171/9 --peer 2001:db8:22::2=10.192.158.4";

/// Hosts with a router between them; the Gate peer's tunnel is over the family of the line that is to reach it.
fn with_router(line: &str) -> (Ground, Host) {
    let [you, router, gate] = ["you", "router", "gate"].map(|name| Host::new(name).unwrap());
    link(&you, "eth0", &router, "eth0").unwrap();
    link(&router, "eth1", &gate, "eth0").unwrap();
    router.forward().unwrap();
    for (host, device, address) in [
        (&you, "eth0", "172.21.0.100/24"),
        (&you, "eth0", "2001:db8:21::100/64"),
        (&router, "eth0", "172.21.0.1/24"),
        (&router, "eth0", "2001:db8:21::1/64"),
        (&router, "eth1", "192.0.2.1/24"),
        (&router, "eth1", "2001:db8:22::1/64"),
        (&gate, "eth0", "192.0.2.2/24"),
        (&gate, "eth0", "2001:db8:22::2/64"),
        (&gate, "lo", "100.64.158.4/32"),
    ] {
        host.address(device, address).unwrap();
    }
    you.route("0.0.0.0/0", "172.21.0.1").unwrap();
    you.route("2001:db8:22::/64", "2001:db8:21::1").unwrap();
    router.route("100.64.158.4/32", "192.0.2.2").unwrap();
    gate.route("0.0.0.0/0", "192.0.2.1").unwrap();
    gate.route("2001:db8:21::/64", "2001:db8:22::1").unwrap();
    let [local, remote] = if line == ASKED_V6 { ["2001:db8:22::2", "2001:db8:21::100"] } else { [GATE, YOU] };
    KernelVxlan::new(local).peer(remote).address("10.192.158.4/9").create(&gate).unwrap();
    (Ground { you, gate }, router)
}

/// Waits until `show` says so of the tunnel and of its only peer.
#[track_caller]
fn settles(ground: &Ground, daemon: &Daemon, mtu: u32, path: u32) {
    let mut shown = ground.show();
    let settled = eventually(Duration::from_secs(20), || {
        shown = ground.show();
        shown["mtu"] == mtu && shown["peers"][0]["path_mtu"] == path
    });
    assert!(settled, "MTU {mtu}, path {path}: {shown}\n{}", daemon.log());
}

/// A ping of an IP packet of this many octets, which no router may cut.
fn ping(ground: &Ground, octets: usize, count: u16) -> PingReport {
    let ping = Ping {
        count,
        size: octets - 28,
        dont_fragment: true,
        interval: Duration::from_millis(10),
        timeout: Duration::from_millis(500),
        ..Ping::new(GATE_INNER.parse().unwrap())
    };
    ground.you.run(|| ping.run()).unwrap()
}

fn tcp_passes(ground: &Ground) {
    let to = GATE_INNER.parse().unwrap();
    let done = transfer(&ground.you, &ground.gate, to, 4 << 20, PATIENCE).expect("a transfer");
    assert!(done.intact, "{done:?}");
}

#[test]
fn the_device_follows_its_link_down_and_up() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        for line in [ASKED, NOT_ASKED] {
            let daemon = ground.up(line);
            settles(&ground, &daemon, 1450, 1500);
            for (underlay, mtu, gso_max_octets) in
                [(1400, 1350, 61_327), (1500, 1450, 61_833), (1280, 1230, 61_577)]
            {
                ground.gate.mtu("eth0", underlay).unwrap();
                ground.you.mtu("eth0", underlay).unwrap();
                settles(&ground, &daemon, mtu, underlay);
                assert_eq!(ground.show()["sizes"]["gso_max_octets"], gso_max_octets, "{underlay}");
                assert!(ground.answers());
            }
            ground.gate.mtu("eth0", 1500).unwrap();
            ground.you.mtu("eth0", 1500).unwrap();
            settles(&ground, &daemon, 1450, 1500);
            assert!(daemon.log().contains("MTU of vxlan0 is 1350 now, after 1450"), "{}", daemon.log());
            daemon.stop();
        }
    });
}

#[test]
fn a_given_mtu_stays_whatever_the_path_carries() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(&format!("{ASKED} --mtu 1450"));
        settles(&ground, &daemon, 1450, 1500);
        ground.you.mtu("eth0", 1400).unwrap();
        settles(&ground, &daemon, 1450, 1400);
        // The host's own stack hears of it as of any link on the way, and from then on sends no longer packet.
        assert!(eventually(PATIENCE, || !ping(&ground, 1450, 2).refusals.is_empty()));
        assert!(ping(&ground, 1350, 1).all_answered());
        daemon.stop();
    });
}

#[test]
fn a_router_that_says_too_big_is_believed() {
    isolated!(|| {
        if missing() {
            return;
        }
        for (line, df, mtu) in [
            (ASKED, "set", 1350),
            (ASKED, "unset", 1350),
            (NOT_ASKED, "set", 1350),
            (ASKED_V6, "unset", 1330),
        ] {
            let (ground, router) = with_router(line);
            router.mtu("eth1", 1400).unwrap();
            let daemon = ground.up(&format!("{line} --df {df}"));
            if line == NOT_ASKED {
                assert!(ground.answers());
                // The first long packet finds out; where there are probes, they do.
                ping(&ground, 1450, 1);
            }
            settles(&ground, &daemon, mtu, 1400);
            assert!(ground.show()["reports"]["too_big"].as_u64() >= Some(1), "{}", ground.show());
            tcp_passes(&ground);
            daemon.stop();
        }
    });
}

#[test]
fn a_path_that_swallows_long_packets_without_a_word_is_found_out() {
    isolated!(|| {
        if missing() {
            return;
        }
        let (ground, router) = with_router(ASKED);
        // The far end of a virtual cable takes nothing longer than its own MTU and a VLAN tag, and tells nobody
        // (`is_skb_forwardable` of linux/netdevice.h); superframes pass it, and so may not be.
        router.mtu("eth0", 1400).unwrap();
        wire_packets(&ground.you, "eth0").unwrap();
        // The answers come to either worker, and the owner of the segment hears of them.
        let daemon = ground.up(&format!("{ASKED} --workers 2"));
        settles(&ground, &daemon, 1354, 1404);
        assert_eq!(ground.show()["reports"]["too_big"], 0, "nobody said a word");
        tcp_passes(&ground);
        daemon.stop();
    });
}

#[test]
fn a_forged_too_big_lasts_as_long_as_a_probe_takes() {
    isolated!(|| {
        if missing() {
            return;
        }
        for df in ["unset", "set"] {
            let ground = Ground::with_gate();
            let daemon = ground.up(&format!("{ASKED} --df {df}"));
            assert!(ground.answers());
            settles(&ground, &daemon, 1450, 1500);
            let [you, gate] = [&ground.you, &ground.gate].map(|host| {
                host.netlink(async |netlink| Ok(netlink.link_by_name("eth0").await?.mac)).unwrap()
            });
            let mouth = ground.gate.run(|| PacketSocket::open("eth0", &PacketOptions::default())).unwrap();
            let forge = |vni: u8| {
                let frame = [&you[..], &gate, &[0x08, 0x00], &too_big(600, vni)].concat();
                assert_eq!(mouth.send(&frame).unwrap(), Some(frame.len()));
            };
            // It quotes another segment's datagram: no peer of ours.
            forge(11);
            assert!(eventually(PATIENCE, || ground.show()["reports"]["ignored"].as_u64() >= Some(1)));
            assert_eq!(ground.show()["reports"]["too_big"], 0);
            forge(10);
            assert!(eventually(PATIENCE, || ground.show()["reports"]["too_big"].as_u64() >= Some(1)));
            settles(&ground, &daemon, 1450, 1500);
            // However many come: one that comes while a probe is under way, the kernel believes for ten minutes.
            assert!(eventually(PATIENCE, || {
                forge(10);
                ground.show()["reports"]["too_big"].as_u64() >= Some(2)
            }));
            settles(&ground, &daemon, 1450, 1500);
            tcp_passes(&ground);
            daemon.stop();
        }
    });
}

#[test]
fn forged_too_bigs_in_a_row_keep_no_probe_back() {
    isolated!(|| {
        if missing() {
            return;
        }
        for df in ["unset", "set"] {
            let ground = Ground::with_gate();
            let daemon = ground.up(&format!("{ASKED} --df {df}"));
            settles(&ground, &daemon, 1450, 1500);
            let [you, gate] = [&ground.you, &ground.gate].map(|host| {
                host.netlink(async |netlink| Ok(netlink.link_by_name("eth0").await?.mac)).unwrap()
            });
            let mouth = ground.gate.run(|| PacketSocket::open("eth0", &PacketOptions::default())).unwrap();
            let frame = [&you[..], &gate, &[0x08, 0x00], &too_big(300, 10)].concat();
            // The first has the path asked, with DF set; the kernel takes those that come meanwhile for true, and remembers.
            for count in 1..=20 {
                assert_eq!(mouth.send(&frame).unwrap(), Some(frame.len()));
                let heard = || {
                    let reports = &ground.show()["reports"];
                    reports["too_big"].as_u64().zip(reports["ignored"].as_u64())
                };
                assert!(eventually(PATIENCE, || heard().is_some_and(|(one, other)| one + other >= count)));
            }
            // Asked again, the path still carries what it does.
            ground.you.mtu("eth0", 1490).unwrap();
            settles(&ground, &daemon, 1440, 1490);
            ground.you.mtu("eth0", 1480).unwrap();
            settles(&ground, &daemon, 1430, 1480);
            tcp_passes(&ground);
            daemon.stop();
        }
    });
}

#[test]
fn a_flood_of_icmp_errors_takes_no_room_from_the_frames() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(ASKED);
        settles(&ground, &daemon, 1450, 1500);
        let [you, gate] = [&ground.you, &ground.gate]
            .map(|host| host.netlink(async |netlink| Ok(netlink.link_by_name("eth0").await?.mac)).unwrap());
        let mouth = ground.gate.run(|| PacketSocket::open("eth0", &PacketOptions::default())).unwrap();
        let frame = [&you[..], &gate, &[0x08, 0x00], &too_big(600, 11)].concat();
        let heard = || ground.show()["reports"]["ignored"].as_u64().unwrap();
        (0..20_000).for_each(|_| assert!(mouth.send(&frame).is_ok()));
        let queued = queued_octets(&ground.you);
        assert!(queued < 1 << 20, "{queued} octets of the receive buffer: {}", ground.show());
        assert!(ground.answers());
        // One by one they are heard again.
        let before = heard();
        assert!(eventually(PATIENCE, || {
            mouth.send(&frame).unwrap();
            heard() > before
        }));
        settles(&ground, &daemon, 1450, 1500);
        daemon.stop();
    });
}

/// What waits at the tunnel's socket, errors as well as datagrams, in octets of its receive buffer (proc_net_udp.txt).
fn queued_octets(host: &Host) -> u64 {
    let table = host.run(|| std::fs::read_to_string("/proc/thread-self/net/udp").unwrap());
    let mut lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let line = lines.find(|line| line[1].ends_with(":12B5")).expect("a socket at port 4789");
    let (_, queued) = line[4].split_once(':').expect("both queues");
    u64::from_str_radix(queued, 16).unwrap()
}

#[test]
fn a_path_that_was_narrow_is_used_to_its_width_though_the_kernel_remembers() {
    isolated!(|| {
        if missing() {
            return;
        }
        for (line, df, overhead) in [(ASKED, "set", 50), (ASKED_V6, "unset", 70)] {
            let (ground, router) = with_router(line);
            router.mtu("eth1", 1400).unwrap();
            let daemon = ground.up(&format!("{line} --df {df}"));
            settles(&ground, &daemon, 1400 - overhead, 1400);
            router.mtu("eth1", 1500).unwrap();
            // What changes has the path asked again.
            ground.you.mtu("eth0", 1490).unwrap();
            settles(&ground, &daemon, 1490 - overhead, 1490);
            tcp_passes(&ground);
            daemon.stop();
        }
    });
}

/// An IPv4 packet with ICMP "fragmentation needed" that quotes a datagram of the tunnel, as if its peer said so.
fn too_big(mtu: u16, vni: u8) -> Vec<u8> {
    let mut quote = vec![0x45, 0, 5, 220, 0, 0, 0x40, 0, 64, 17, 0, 0, 172, 21, 0, 100, 100, 64, 158, 4];
    fill_checksum(&mut quote, 10);
    quote.extend([0x12, 0xb5, 0x12, 0xb5, 5, 200, 0, 0, 8, 0, 0, 0, 0, 0, vni, 0]);
    let [high, low] = mtu.to_be_bytes();
    let mut message = [&[3, 4, 0, 0, 0, 0, high, low][..], &quote].concat();
    fill_checksum(&mut message, 2);
    let octets = 20 + message.len() as u8;
    let mut packet = vec![0x45, 0, 0, octets, 0, 0, 0, 0, 64, 1, 0, 0, 100, 64, 158, 4, 172, 21, 0, 100];
    fill_checksum(&mut packet, 10);
    [packet, message].concat()
}

/// RFC 1071, into a field that is zero; an even number of octets.
fn fill_checksum(octets: &mut [u8], field: usize) {
    let sum: u32 = octets.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    octets[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The maximum segment size of the first SYN or SYN-ACK that passes this device within a while.
fn mss_seen(host: &Host, tcp_flags: u8, connect: impl FnOnce()) -> u16 {
    let incoming = PacketOptions { ignore_outgoing: true, promiscuous: false };
    let ear = host.run(|| PacketSocket::open("vxlan0", &incoming)).unwrap();
    connect();
    let deadline = now() + PATIENCE;
    let mut buffer = vec![0; 70_000];
    loop {
        let left = deadline.saturating_duration_since(now());
        assert!(!left.is_zero(), "no such segment");
        let Some(octets) = ear.recv(&mut buffer, Some(left)).unwrap() else { continue };
        let frame = &buffer[..octets];
        let (ip_octets, l4) = match frame[12..14] {
            [0x08, 0x00] if frame[23] == 6 => (20, 34),
            [0x86, 0xdd] if frame[20] == 6 => (40, 54),
            _ => continue,
        };
        assert!(octets >= 14 + ip_octets + 24, "headers and an option");
        if frame[l4 + 13] & 0x12 == tcp_flags {
            assert_eq!(frame[l4 + 20..l4 + 22], [2, 4], "Linux puts the option first");
            return u16::from_be_bytes([frame[l4 + 22], frame[l4 + 23]]);
        }
    }
}

#[test]
fn connections_agree_on_segments_that_the_tunnel_carries() {
    isolated!(|| {
        if missing() {
            return;
        }
        // Devices that could send more than the underlay carries, at both ends.
        let ground = Ground::lay();
        let gate = KernelVxlan::new(GATE).peer(YOU).address("10.192.158.4/9").address("fd00:10::4/64");
        gate.with(|settings| settings.mtu = Some(9000)).create(&ground.gate).unwrap();
        let base = format!("{ASKED} --address fd00:10::100/64 --mtu 8000");
        for (clamp, v4, v6) in [
            ("auto", (1410, 1410), (1390, 1390)),
            ("off", (7960, 8960), (7940, 8940)),
            ("1200", (1200, 1200), (1200, 1200)),
        ] {
            let daemon = ground.up(&format!("{base} --mss-clamp {clamp}"));
            settles(&ground, &daemon, 8000, 1500);
            for (inner, (outward, inward)) in [("10.192.158.4", v4), ("fd00:10::4", v6)] {
                let to: std::net::IpAddr = inner.parse().unwrap();
                let carry = || {
                    let done =
                        transfer(&ground.you, &ground.gate, to, 1 << 20, PATIENCE).expect("a transfer");
                    assert!(done.intact, "{done:?}");
                };
                assert_eq!(mss_seen(&ground.gate, 0x02, carry), outward, "SYN, {clamp}, {inner}");
                assert_eq!(mss_seen(&ground.you, 0x12, carry), inward, "SYN-ACK, {clamp}, {inner}");
            }
            daemon.stop();
        }
    });
}
