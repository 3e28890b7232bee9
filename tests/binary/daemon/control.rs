//! The control socket of a tunnel that carries traffic.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use vxgate_netlink::FdbEntry;
use vxgate_testbed::{KernelVxlan, Ping, eventually, isolated};

use crate::ground::{Ended, GATE, GATE_INNER, Ground, PATIENCE, UP, missing};

const SOCKET: &str = "/run/vxgate/vxlan0.sock";

#[test]
fn show_has_every_key_with_live_values() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(&format!("{UP} --peer 100.64.158.132"));
        let idle = ground.show();
        let keys = [
            "dev",
            "vni",
            "local",
            "port",
            "source_port",
            "mtu",
            "lane",
            "offload",
            "workers",
            "uptime_s",
            "peers",
            "fdb",
            "rx",
            "tx",
            "drops",
        ];
        for key in keys {
            assert!(idle.get(key).is_some_and(|value| !value.is_null()), "{key}: {idle}");
        }
        assert_eq!(
            (&idle["dev"], &idle["vni"], &idle["local"]),
            (&"vxlan0".into(), &10.into(), &"172.21.0.100".into())
        );
        assert_eq!(
            (&idle["port"], &idle["source_port"], &idle["mtu"]),
            (&4789.into(), &"4789".into(), &1450.into())
        );
        assert_eq!(idle["fdb"]["limit"], 16384);
        assert_eq!(idle["peers"][1]["state"], "unknown");
        assert_eq!(idle["peers"][1]["last_heard_s"], Value::Null);

        assert!(ground.answers());
        let busy = ground.show();
        let peer = &busy["peers"][0];
        for key in [
            "ip",
            "state",
            "last_heard_s",
            "rtt_us",
            "macs",
            "rx_frames",
            "rx_octets",
            "tx_frames",
            "tx_octets",
        ] {
            assert!(peer.get(key).is_some(), "{key}: {peer}");
        }
        assert_eq!((&peer["ip"], &peer["state"]), (&GATE.into(), &"up".into()));
        assert!(peer["last_heard_s"].as_u64().unwrap() <= 1 && peer["macs"] == 1, "{peer}");
        assert!(more(&busy, &idle, "rx", "frames") && more(&busy, &idle, "tx", "octets"), "{busy}");
        assert!(busy["fdb"]["entries"].as_u64() >= Some(1), "{busy}");

        // A stranger on the Gate's own cable: its datagram is counted under its reason and nowhere else.
        let drops = || ground.show()["drops"]["stranger"].as_u64().unwrap_or(0);
        let before = drops();
        ground.gate.run(|| {
            let socket = std::net::UdpSocket::bind("172.21.0.1:0").unwrap();
            socket.send_to(&[8, 0, 0, 0, 0, 0, 10, 0, 1, 2, 3], "172.21.0.100:4789").unwrap();
        });
        assert!(eventually(PATIENCE, || drops() == before + 1), "{}", ground.show());
        daemon.stop();
    });
}

fn more(after: &Value, before: &Value, side: &str, unit: &str) -> bool {
    after[side][unit].as_u64() > before[side][unit].as_u64()
}

/// One line of `fdb`, and whether the kernel and whether vxgate say yes to it where the entries are those that the lines
/// before have left. They differ where the kernel says yes and does nothing.
const FDB_LINES: &[(&str, bool, bool)] = &[
    ("add 02:00:00:00:00:05 dst 100.64.158.4", true, true),
    ("add 02:00:00:00:00:05 dst 100.64.158.4", false, false),
    ("add 02:00:00:00:00:05 dst 100.64.158.132", false, false),
    ("append 02:00:00:00:00:05 dst 100.64.158.132", true, false),
    ("replace 02:00:00:00:00:05 dst 100.64.158.132", true, true),
    ("replace 02:00:00:00:00:06 dst 100.64.158.4 static", true, true),
    ("add 02:00:00:00:00:07 dst 100.64.158.4 port 8472 vni 77 dynamic", true, true),
    ("add 00:00:00:00:00:00 dst 100.64.158.9", false, false),
    ("append 00:00:00:00:00:00 dst 100.64.158.10", true, true),
    ("append 00:00:00:00:00:00 dst 100.64.158.10", true, false),
    ("add 00:00:00:00:00:00 dst 100.64.158.10", false, false),
    ("del 00:00:00:00:00:00 dst 100.64.158.10", true, true),
    ("del 00:00:00:00:00:00 dst 100.64.158.10", true, false),
    ("del 02:00:00:00:00:09", false, false),
    ("del 02:00:00:00:00:05", true, true),
    ("del 02:00:00:00:00:05", false, false),
    ("add 02:00:00:00:00:08 dst 100.64.158.4 permanent", true, true),
];

#[test]
fn every_fdb_verb_is_done_or_refused_as_bridge_has_it_done_by_the_kernel() {
    isolated!(|| {
        if missing() {
            return;
        }
        let Some(bridge) = bridge() else { return };
        let ground = Ground::lay();
        // Each hears the other's neighbour discovery; what is learned from that is not what is compared here.
        let daemon = ground.up(&format!("{UP} --learning off"));
        let kernel = KernelVxlan::new("172.21.0.1").peer(GATE).with(|vxlan| vxlan.learning = false);
        kernel.create(&ground.gate).unwrap();
        for (line, kernel, done) in FDB_LINES {
            let ours = ground.vxgate(&format!("fdb {line}"));
            let mut words: Vec<&str> = line.split(' ').collect();
            // The kernel's states need `self` and the device behind the address.
            words.splice(2..2, ["dev", "vxlan0"]);
            let mut command = ground.gate.command(bridge);
            command.arg("fdb").args(&words);
            let theirs = Ended::of(command);
            assert_eq!(theirs.code == Some(0), *kernel, "the kernel: {line}: {}", theirs.stderr);
            assert_eq!(ours.code == Some(0), *done, "{line}: {}", ours.stderr);
            if !done {
                assert!(
                    ours.code == Some(1) && ours.stderr.starts_with("vxgate: fdb "),
                    "{line}: {}",
                    ours.stderr
                );
            }
        }
        // The text, as sets of lines: neither promises an order. The kernel's own ageing may print `stale`.
        let lines = |text: &str| {
            let mut lines: Vec<String> =
                text.lines().map(|line| line.replace(" stale", "").trim_end().to_owned()).collect();
            lines.sort();
            lines
        };
        let mut command = ground.gate.command(bridge);
        command.args(["fdb", "show", "dev", "vxlan0"]);
        let theirs = Ended::of(command).stdout;
        let ours = ground.vxgate("fdb show dev vxlan0").stdout;
        assert_eq!(lines(&ours), lines(&theirs), "\nours:\n{ours}\ntheirs:\n{theirs}");

        let mut command = ground.gate.command(bridge);
        command.args(["-j", "fdb", "show", "dev", "vxlan0"]);
        let theirs = entries(&Ended::of(command).stdout);
        let ours = entries(&ground.vxgate("-j fdb show dev vxlan0").stdout);
        assert_eq!(ours, theirs);

        assert_eq!(ground.vxgate("fdb flush").code, Some(0));
        let mut command = ground.gate.command(bridge);
        command.args(["fdb", "flush", "dev", "vxlan0"]);
        let flushed = Ended::of(command);
        if flushed.code == Some(0) {
            let mut command = ground.gate.command(bridge);
            command.args(["fdb", "show", "dev", "vxlan0"]);
            assert_eq!(
                lines(&ground.vxgate("fdb show dev vxlan0").stdout),
                lines(&Ended::of(command).stdout)
            );
        }
        daemon.stop();
    });
}

fn entries(json: &str) -> Vec<String> {
    let entries: Value = serde_json::from_str(json).expect("JSON");
    let mut entries: Vec<String> = entries.as_array().expect("a list").iter().map(Value::to_string).collect();
    entries.sort();
    entries
}

/// iproute2's bridge(8): the words and the keys that ours are held against.
fn bridge() -> Option<&'static str> {
    let found =
        ["/usr/sbin/bridge", "/sbin/bridge"].into_iter().find(|path| std::fs::exists(path).unwrap_or(false));
    if found.is_none() {
        eprintln!("SKIPPED comparison with bridge(8), which is not installed: install iproute2");
    }
    found
}

#[test]
fn peers_come_and_go_and_the_traffic_with_them() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up("up --address 10.225.194.171/9 --local 172.21.0.100");
        let once = || {
            let ping = Ping {
                count: 1,
                timeout: Duration::from_millis(300),
                ..Ping::new(GATE_INNER.parse().unwrap())
            };
            ground.you.run(|| ping.run()).unwrap().all_answered()
        };
        assert!(!once(), "nobody to send to");
        let done = |line: &str| {
            let ended = ground.vxgate(line);
            assert_eq!(
                (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
                (Some(0), "", ""),
                "{line}"
            );
        };
        done("peer add 100.64.158.4");
        assert!(ground.answers());
        assert!(ground.vxgate("peer list").stdout.contains(GATE));
        done("peer add 100.64.158.132");
        let peers: Value = serde_json::from_str(&ground.vxgate("-j peer list").stdout).unwrap();
        let text = peers.to_string();
        assert!(text.contains("\"100.64.158.4\"") && text.contains("\"100.64.158.132\""), "{text}");
        done("peer del 100.64.158.4");
        // Frames from it are a stranger's now; what was learned behind it must not be sent to either, in the end.
        done("fdb flush dynamic");
        assert!(!once(), "{}", ground.show());
        let before = ground.show();
        assert_eq!(before["peers"].as_array().unwrap().len(), 1);
        done("peer add 100.64.158.4 inner 10.192.158.4");
        assert!(ground.answers());
        for (line, why) in [
            (
                "peer add 100.64.158.9 inner 10.192.158.4",
                "10.192.158.4 is the inner address of 100.64.158.4 already",
            ),
            (
                "peer add 100.64.158.9 inner 10.225.194.171",
                "10.225.194.171 is an address of this host's own device",
            ),
            ("peer add 100.64.158.4", "100.64.158.4 is a peer already"),
            ("peer del 100.64.158.99", ""),
            ("peer add 172.21.0.100", "172.21.0.100 is this end of the tunnel"),
            ("peer add 2001:db8::1", "the tunnel's underlay is IPv4"),
            ("peer add 239.1.1.1", "multicast"),
            ("peer add 255.255.255.255", "255.255.255.255 is the broadcast address"),
            ("peer add 127.0.0.1", "127.0.0.1 is an address of this host"),
            ("peer add 10.192.1.1", "10.192.1.1 is inside: its own datagrams would go into the tunnel"),
        ] {
            let ended = ground.vxgate(line);
            assert_eq!(ended.code, Some(1), "{line}");
            assert!(
                ended.stderr.starts_with("vxgate: peer ") && ended.stderr.contains(why),
                "{line}: {}",
                ended.stderr
            );
        }
        assert!(ground.answers());
        daemon.stop();
    });
}

#[test]
fn whatever_the_control_socket_is_fed_the_traffic_goes_on() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        assert!(ground.answers());
        // Once it answers it has opened all that it opens: frames pass before.
        assert_eq!(ground.show()["vni"], 10);
        let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
        let before = descriptors();
        let report = thread::scope(|scope| {
            let ping = scope.spawn(|| {
                let ping = Ping { count: 150, ..Ping::new(GATE_INNER.parse().unwrap()) };
                ground.you.run(|| ping.run()).unwrap()
            });
            let hanging: Vec<_> = (0..20).map(|_| UnixStream::connect(SOCKET).unwrap()).collect();
            for stream in &hanging {
                let mut stream = stream;
                stream.write_all(b"{\"request\":").unwrap();
            }
            for garbage in [&b"\0\xff\n"[..], b"{}\n", b"[[[[[[[[[[\n", b"GET / HTTP/1.1\r\n\r\n"] {
                let mut stream = UnixStream::connect(SOCKET).unwrap();
                stream.write_all(garbage).unwrap();
                let mut line = String::new();
                BufReader::new(stream).read_line(&mut line).unwrap();
                assert!(line.contains("error"), "{line}");
            }
            for _ in 0..1000 {
                let mut stream = UnixStream::connect(SOCKET).unwrap();
                stream.write_all(b"{\"request\":\"show\"}\n").unwrap();
                let mut line = String::new();
                BufReader::new(stream).read_line(&mut line).unwrap();
                assert!(line.contains("\"vni\":10"), "{line}");
            }
            drop(hanging);
            ping.join().unwrap()
        });
        assert!(report.all_answered(), "{report:?}");
        assert!(
            eventually(PATIENCE, || descriptors() <= before),
            "{} descriptors, {before} before",
            descriptors()
        );
        daemon.stop();
    });
}

#[test]
fn entries_of_the_kernel_and_ours_send_to_the_same_place() {
    isolated!(|| {
        if missing() {
            return;
        }
        // Not learned but told: a static entry alone carries unicast to the Gate peer.
        let ground = Ground::with_gate();
        let daemon = ground.up(&format!("{UP} --learning off"));
        let (mac, own): ([u8; 6], [u8; 6]) = (
            ground.gate.netlink(async |netlink| Ok(netlink.link_by_name("vxlan0").await?.mac)).unwrap(),
            ground.you.netlink(async |netlink| Ok(netlink.link_by_name("vxlan0").await?.mac)).unwrap(),
        );
        let text = |mac: [u8; 6]| mac.map(|octet| format!("{octet:02x}")).join(":");
        assert_eq!(ground.vxgate(&format!("fdb add {} dst {GATE}", text(mac))).code, Some(0));
        let back: IpAddr = "172.21.0.100".parse().unwrap();
        ground
            .gate
            .netlink(async |netlink| {
                netlink.fdb_replace(&netlink.link_by_name("vxlan0").await?, &FdbEntry::new(own, back)).await
            })
            .unwrap();
        assert!(ground.answers());
        assert_eq!(ground.show()["fdb"]["entries"], 2);
        daemon.stop();
    });
}
