//! Several tunnels in one process, and a configuration that changes while they run.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use vxgate_testbed::{KernelVxlan, Ping, eventually, isolated};

use crate::ground::{Daemon, GATE, GATE_INNER, Ground, PATIENCE, YOU, missing};

/// A configuration file that goes with its test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("vxgate-{}-{name}.toml", std::process::id()));
        fs::write(&path, text).expect("a file");
        File(path)
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).expect("a file");
    }

    fn up(&self, ground: &Ground) -> Daemon {
        ground.up(&format!("up --config {}", self.0.display()))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const TWO: &str = "mtu = 1400
[[tunnel]]
dev = \"vxlan0\"
address = \"10.225.194.171/9\"
peer = \"100.64.158.4=10.192.158.4\"
[[tunnel]]
dev = \"vxlan1\"
vni = 11
port = 4790
address = \"192.0.2.1/24\"
peer = \"100.64.158.132\"
";

#[test]
fn two_tunnels_of_one_file_run_in_one_process_and_each_can_be_taken_down() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let second = KernelVxlan { name: "vxlan1".to_owned(), ..KernelVxlan::new("100.64.158.132") };
        let second = second.with(|vxlan| (vxlan.vni, vxlan.port) = (11, 4790));
        second.peer(YOU).address("192.0.2.2/24").create(&ground.gate).expect("a second VTEP");
        let file = File::new("two", TWO);
        let mut daemon = file.up(&ground);
        let answers = |address: &str| {
            eventually(PATIENCE, || {
                let ping = Ping {
                    count: 1,
                    timeout: Duration::from_millis(500),
                    ..Ping::new(address.parse().expect("an address"))
                };
                ground.you.run(|| ping.run()).expect("a ping").all_answered()
            })
        };
        assert!(answers(GATE_INNER) && answers("192.0.2.2"));
        let shown: serde_json::Value = serde_json::from_str(&ground.vxgate("show -j").stdout).expect("JSON");
        assert_eq!((&shown[0]["dev"], &shown[1]["dev"]), (&"vxlan0".into(), &"vxlan1".into()));
        assert_eq!(shown[0]["pid"], shown[1]["pid"]);
        assert_eq!(shown[1]["mtu"], 1400);

        assert_eq!(ground.vxgate("down vxlan1").code, Some(0));
        assert!(answers(GATE_INNER), "the other one goes on");
        assert_eq!(ground.vxgate("show vxlan1").code, Some(1));
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait().0.code(), Some(0));
    });
}

#[test]
fn two_tunnels_of_one_port_are_told_apart_by_their_vni_as_the_kernels_devices_are() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        // The kernel's second device shares the port of its first.
        let second = KernelVxlan { name: "vxlan1".to_owned(), ..KernelVxlan::new(GATE) };
        let second = second.with(|vxlan| vxlan.vni = 11).peer(YOU).address("192.0.2.2/24");
        second.create(&ground.gate).expect("a second VTEP");
        let shared = TWO.replace("port = 4790\n", "").replace("100.64.158.132", GATE);
        let file = File::new("shared", &shared);
        let daemon = file.up(&ground);
        let pings = |address: &str, count: u16| {
            let ping = Ping {
                count,
                interval: Duration::from_millis(2),
                ..Ping::new(address.parse().expect("an address"))
            };
            ground.you.run(|| ping.run()).expect("pings")
        };
        assert!(eventually(PATIENCE, || pings(GATE_INNER, 1).all_answered()
            && pings("192.0.2.2", 1).all_answered()));
        let drops = || -> Vec<serde_json::Value> {
            let shown: Vec<serde_json::Value> =
                serde_json::from_str(&ground.vxgate("show -j").stdout).expect("JSON");
            shown.into_iter().map(|tunnel| tunnel["drops"].clone()).collect()
        };
        // What the second VTEP said before the second tunnel was there was of no VNI that the first one knows.
        let before = drops();
        // Both at once, each over its own VNI, and nothing lost.
        let (one, two) = thread::scope(|scope| {
            let one = scope.spawn(|| pings(GATE_INNER, 500));
            (pings("192.0.2.2", 500), one.join().expect("it ends"))
        });
        assert!(one.all_answered() && two.all_answered(), "{one:?} {two:?}");
        let shown: serde_json::Value = serde_json::from_str(&ground.vxgate("show -j").stdout).expect("JSON");
        assert_eq!((&shown[0]["port"], &shown[1]["port"]), (&4789.into(), &4789.into()));
        assert_eq!(drops(), before);
        // One socket.
        let sockets = ground.you.run(|| fs::read_to_string("/proc/thread-self/net/udp").expect("a table"));
        assert_eq!(sockets.lines().filter(|line| line.contains(":12B5 ")).count(), 1, "{sockets}");
        // One goes, the other loses nothing.
        let (report, down) = thread::scope(|scope| {
            let report = scope.spawn(|| pings(GATE_INNER, 300));
            let down = ground.vxgate("down vxlan1");
            (report.join().expect("it ends"), down)
        });
        assert_eq!(down.code, Some(0), "{}", down.stderr);
        assert!(report.all_answered(), "{report:?}");
        daemon.stop();
    });
}

#[test]
fn where_one_of_two_cannot_be_started_neither_is_and_what_they_share_is_named_by_both_places() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let file = File::new("one-wrong", &TWO.replace("peer = \"100.64.158.132\"", "underlay = \"eth7\""));
        let line = format!("up --config {}", file.0.display());
        ground.refused(
            &line,
            1,
            "vxgate: tunnel vxlan1: --underlay eth7: there is no such device",
            "this host has",
        );
        let path = file.0.display();
        file.write(&TWO.replace("\"vxlan1\"", "\"vxlan0\""));
        ground.refused(
            &line,
            2,
            &format!("vxgate: {path}:7:1: dev: vxlan0 is the tunnel at {path}:3:1, too"),
            "",
        );
        file.write(&TWO.replace("port = 4790\n", "").replace("vni = 11\n", ""));
        let told = format!(
            "vxgate: {path}:6:1: vni: 10 is that of the tunnel at {path}:2:1, too, at the same UDP port"
        );
        ground.refused(&line, 2, &told, "by their VNI");
        file.write(&TWO.replace("port = 4790\n", "local = \"172.21.0.100\"\n"));
        let told =
            format!("vxgate: {path}:6:1: port: UDP port 4789 is that of the tunnel at {path}:2:1, too");
        ground.refused(&line, 2, &told, "a port of its own");
        file.write(&TWO.replace("port = 4790\n", "ttl = 9\noffload = \"off\"\n"));
        let told = format!("vxgate: {path}:10:1: offload: it must be that of the tunnel at {path}:2:1");
        ground.refused(&line, 2, &told, "before the first");
        file.write(TWO);
        ground.refused(
            &format!("{line} --mtu 1300"),
            2,
            "vxgate: up: --mtu: it, or VXGATE_MTU, is about one tunnel",
            "--dev",
        );
        let one = ground.up(&format!("{line} --dev vxlan0 --mtu 1300"));
        assert_eq!(ground.show()["mtu"], 1300);
        one.stop();
    });
}

const ONE: &str = "address = \"10.225.194.171/9\"\npeer = \"100.64.158.4=10.192.158.4\"\n";

#[test]
fn a_reload_takes_over_what_differs_and_costs_no_frame() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let file = File::new("reload", ONE);
        let daemon = file.up(&ground);
        assert!(ground.answers());
        assert_eq!(ground.vxgate("reload").stdout, "nothing differs\n");
        let report = thread::scope(|scope| {
            let pings = scope.spawn(|| {
                let ping = Ping {
                    count: 2000,
                    interval: Duration::from_millis(1),
                    ..Ping::new(GATE_INNER.parse().expect("an address"))
                };
                ground.you.run(|| ping.run()).expect("pings")
            });
            for number in 0..20 {
                let more = [
                    "peer = [\"100.64.158.4=10.192.158.4\", \"100.64.158.132\"]\nroute = \"10.1.0.0/16\"\nageing = 100\n",
                    "peer = \"100.64.158.4=10.192.158.4\"\nroute = \"192.0.2.0/24\"\nmtu = 1400\nstorm-limit = 500\n",
                ][number % 2];
                file.write(&format!(
                    "address = [\"10.225.194.171/9\", \"198.51.100.{}/32\"]\n{more}",
                    number + 1
                ));
                let ended = ground.vxgate("reload");
                assert_eq!(ended.code, Some(0), "{}", ended.stderr);
                assert!(
                    ended.stdout.contains("now: vxlan0: route") && !ended.stdout.contains("restart"),
                    "{}",
                    ended.stdout
                );
            }
            pings.join().expect("it ends")
        });
        println!("20 reloads: {} of {} pings answered", report.received, report.sent);
        assert_eq!(report.received, report.sent, "{report:?}");
        let show = ground.show();
        assert_eq!(
            (show["mtu"].as_u64(), show["peers"].as_array().map(Vec::len)),
            (Some(1400), Some(1)),
            "{show}"
        );
        let routes = ground.you.netlink(async |netlink| netlink.routes().await).expect("routes");
        let has = |network: &str| routes.iter().any(|route| route.prefix.to_string() == network);
        assert!(has("192.0.2.0/24") && !has("10.1.0.0/16"));

        // By a signal, too; a peer that was added by hand stays.
        assert_eq!(ground.vxgate("peer add 100.64.158.200").code, Some(0));
        file.write(&format!("{ONE}vni = 77\n"));
        daemon.signal(Signal::HUP);
        assert!(
            eventually(PATIENCE, || daemon
                .log()
                .contains("needs a restart, and is as before until then: vxlan0: vni")),
            "{}",
            daemon.log()
        );
        assert!(
            eventually(PATIENCE, || ground.show()["mtu"] == 1450),
            "auto again: {}",
            ground.show()["mtu"]
        );
        let show = ground.show();
        assert_eq!(show["vni"].as_u64(), Some(10), "{show}");
        assert_eq!(show["peers"].as_array().map(Vec::len), Some(2), "{show}");
        assert!(ground.answers());
        daemon.stop();
    });
}

#[test]
fn a_file_that_is_wrong_or_that_the_host_refuses_changes_nothing() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let file = File::new("wrong", ONE);
        let daemon = file.up(&ground);
        assert!(ground.answers());
        let path = file.0.display().to_string();
        for (text, told) in [
            (format!("{ONE}mtu = 1\n"), format!("{path}:3:7: mtu \"1\"")),
            (
                format!("{ONE}peers = \"x\"\n"),
                format!("{path}:3:1: \"peers\": no such option; a similar one is peer"),
            ),
            (format!("{ONE}peer = \"192.0.2.1\"\n"), format!("{path}:3:1: ")),
            (
                format!("{ONE}mtu = 1300\nroute = \"100.64.158.4/32\"\n"),
                "vxlan0: --route 100.64.158.4/32 holds peer 100.64.158.4".to_owned(),
            ),
            (
                format!(
                    "mtu = 1300\n{}",
                    ONE.replace("\"10.225.194.171/9\"", "[\"10.225.194.171/9\", \"172.21.0.77/24\"]")
                ),
                "vxlan0: --address 172.21.0.77/24 overlaps 172.21.0.100/24 of eth0".to_owned(),
            ),
            // The host has that one on eth0.
            (
                format!("{ONE}mtu = 1300\nroute = [\"10.1.0.0/16\", \"172.21.0.0/24\"]\nageing = 7\n"),
                "vxlan0: ".to_owned(),
            ),
        ] {
            file.write(&text);
            let ended = ground.vxgate("reload");
            assert_eq!(ended.code, Some(1), "{text}");
            assert!(ended.stderr.starts_with(&format!("vxgate: reload: {told}")), "{}", ended.stderr);
            let show = ground.show();
            assert_eq!(show["mtu"], 1450, "{text}");
        }
        let routes = ground.you.netlink(async |netlink| netlink.routes().await).expect("routes");
        assert!(!routes.iter().any(|route| route.prefix.to_string() == "10.1.0.0/16"), "put back");
        let checked = ground.vxgate(&format!("check {path}"));
        assert_eq!(checked.code, Some(0), "as far as a file goes it is right: {}", checked.stdout);
        fs::remove_file(&file.0).expect("it is there");
        assert!(ground.vxgate("reload").stderr.contains("No such file"));
        // Nobody writes to it, and nobody waits for that.
        mknodat(CWD, &file.0, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
        assert!(ground.vxgate("reload").stderr.contains("it is no regular file, and cannot be read again"));
        assert!(ground.answers());
        daemon.stop();
        let daemon = ground.up("up --peer 100.64.158.4 --address 10.225.194.171/9");
        ground.refused("reload", 1, "vxgate: reload: the tunnel has no configuration file", "--config");
        daemon.stop();
    });
}
