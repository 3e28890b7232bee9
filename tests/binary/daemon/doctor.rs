//! `vxgate doctor`: each thing that can be wrong is made wrong, and is found with what to do about it; what is well is found well.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use rustix::process::Signal;
use serde_json::Value;
use vxgate_netlink::nft::{Action, Chain, Hook, Match, Nftables, Rule, Table};
use vxgate_testbed::{Host, KernelVxlan, Ping, eventually, isolated, link, now};

use crate::ground::{Ended, GATE, GATE_INNER, Ground, PATIENCE, Traces, UP, YOU, missing};

/// The Gate's tunnel in words of `doctor`.
const DOCTOR: &str = "doctor --address 10.225.194.171/9 --peer 100.64.158.4";

/// What the doctor said.
pub(crate) struct Report {
    code: Option<i32>,
    findings: Vec<Value>,
    text: String,
}

impl Report {
    /// Runs it, and sees that it leaves the host as it was and ends in time.
    #[track_caller]
    fn of(ground: &Ground, line: &str) -> Report {
        Report::of_command(ground, ground.command(&format!("{line} -j -p")))
    }

    #[track_caller]
    pub(crate) fn of_command(ground: &Ground, command: Command) -> Report {
        let before = Traces::of(&ground.you);
        let start = now();
        let ended = Ended::of(command);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        before.again(&ground.you, "the doctor changes nothing");
        assert_eq!(ended.stderr, "", "{}", ended.stdout);
        let findings: Vec<Value> = serde_json::from_str(&ended.stdout).expect("JSON");
        let report = Report { code: ended.code, findings, text: ended.stdout };
        for finding in &report.findings {
            let bad = ["warn", "fail"].contains(&finding["verdict"].as_str().expect("a verdict"));
            assert!(!bad || finding["next_step"].is_string(), "no next step: {finding}");
        }
        let failed = report.has("fail").next().is_some();
        assert_eq!(report.code, Some(i32::from(failed)), "{}", report.text);
        report
    }

    /// What it printed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The checks with this verdict.
    fn has<'a>(&'a self, verdict: &'a str) -> impl Iterator<Item = &'a str> {
        let findings = self.findings.iter().filter(move |finding| finding["verdict"] == verdict);
        findings.map(|finding| finding["check"].as_str().expect("a check"))
    }

    /// Nothing is worse than a note.
    #[track_caller]
    pub(crate) fn is_well(&self) {
        assert_eq!((self.has("fail").count(), self.has("warn").count()), (0, 0), "{}", self.text);
    }

    /// This check has this verdict, finds these words and gives this hint.
    #[track_caller]
    pub(crate) fn says(&self, check: &str, verdict: &str, found: &str, hint: &str) {
        let said = self.findings.iter().any(|finding| {
            finding["check"] == check
                && finding["verdict"] == verdict
                && finding["found"].as_str().is_some_and(|text| text.contains(found))
                && finding["next_step"].as_str().unwrap_or_default().contains(hint)
        });
        assert!(said, "no {verdict} of {check} with {found:?} and {hint:?}: {}", self.text);
    }

    /// The same, and no other check has a verdict as bad.
    #[track_caller]
    pub(crate) fn says_only(&self, check: &str, verdict: &str, found: &str, hint: &str) {
        self.says(check, verdict, found, hint);
        let others: Vec<_> = self
            .has("fail")
            .chain(self.has("warn").filter(|_| verdict == "warn"))
            .filter(|other| *other != check)
            .collect();
        assert!(others.is_empty(), "{others:?}: {}", self.text);
    }
}

#[test]
fn a_healthy_host_is_found_well_before_and_while_the_tunnel_runs() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let before = Report::of(&ground, DOCTOR);
        before.is_well();
        before.says("tunnel", "note", "none runs for vxlan0", "");
        before.says("peer", "ok", "100.64.158.4 answers pings", "");
        before.says("path-mtu", "ok", "packets of 1500 octets get to 100.64.158.4", "");
        before.says("next-hop", "ok", "172.21.0.1 answers on eth0", "");
        // Both peers and IPv6, too.
        let both = "--peer 100.64.158.4=10.192.158.4 --peer 100.64.158.132=10.192.158.132";
        let both = format!("doctor --address 10.225.194.171/9 {both} --underlay eth0 --local {YOU}");
        Report::of(&ground, &both).is_well();
        let blind = Report::of(&ground, &format!("{DOCTOR} --peer 100.64.158.132"));
        blind.says_only("options", "warn", "the death of such a peer is not noticed", "");
        let gate6 = KernelVxlan { name: "vxlan6".to_owned(), ..KernelVxlan::new("2001:db8:21::1") };
        gate6.peer("2001:db8:21::100").create(&ground.gate).unwrap();
        let v6 = Report::of(&ground, "doctor --peer 2001:db8:21::1 --address fd00:10::100/64");
        v6.is_well();
        v6.says("path-mtu", "ok", "packets of 1500 octets get to 2001:db8:21::1", "");

        let daemon = ground.up(UP);
        assert!(ground.answers());
        // Without options it is the one that runs.
        let running = Report::of(&ground, "doctor");
        running.is_well();
        running.says("tunnel", "ok", &format!("vxlan0 runs (pid {})", daemon.pid()), "");
        running.says("peer", "ok", "100.64.158.4 speaks", "");
        running.says("arrivals", "ok", "frames have come from 100.64.158.4", "");
        running.says("duplicate", "ok", "nobody else", "");
        running.says("address", "ok", "1 network", "");
        // For people: aligned, with what it comes to at the end, and no colour into a pipe.
        let text = ground.vxgate("doctor");
        assert_eq!(text.code, Some(0), "{}", text.stdout);
        assert!(text.stdout.contains("\nok    peer          100.64.158.4 speaks"), "{}", text.stdout);
        assert!(text.stdout.ends_with("\nnothing is in the way\n"), "{}", text.stdout);
        assert!(!text.stdout.contains('\u{1b}'));
        daemon.stop();
    });
}

#[test]
fn a_tun_device_that_is_not_there_or_not_one_is_found() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        mount("none", "/dev/net", "tmpfs", MountFlags::empty(), None).unwrap();
        Report::of(&ground, DOCTOR).says_only("tun", "fail", "there is no /dev/net/tun", "modprobe tun");
        fs::write("/dev/net/tun", "").unwrap();
        mount_bind("/dev/null", "/dev/net/tun").unwrap();
        Report::of(&ground, DOCTOR).says_only("tun", "fail", "not the kernel's TUN device", "mknod");
        unmount("/dev/net/tun", UnmountFlags::empty()).unwrap();
        unmount("/dev/net", UnmountFlags::empty()).unwrap();
    });
}

#[test]
fn without_privilege_it_looks_all_the_same_and_says_what_is_missing() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let Some(setpriv) = crate::refused::setpriv() else { return };
        let unprivileged = |line: &str| {
            let mut command = ground.you.command(&setpriv);
            command.args(["--bounding-set", "-all", "--inh-caps", "-all", crate::ground::VXGATE]);
            command.args(line.split(' ')).arg("-j");
            Report::of_command(&ground, command)
        };
        let report = unprivileged(DOCTOR);
        report.says_only("privilege", "fail", "CAP_NET_ADMIN", "--cap-add NET_ADMIN");
        report.says("path-mtu", "note", "this process may not ping", "ping_group_range");
        report.says("route", "ok", "100.64.158.4 is reached via 172.21.0.1 by eth0", "");
        let daemon = ground.up(UP);
        assert!(ground.answers());
        let report = unprivileged("doctor");
        report.is_well();
        report.says("firewall", "note", "cannot be looked at", "CAP_NET_RAW");
        report.says("duplicate", "note", "nobody can be asked", "CAP_NET_RAW");
        // Another user's tunnel does not answer, and is no less well for that.
        fs::set_permissions("/run/vxgate", fs::Permissions::from_mode(0o000)).unwrap();
        let report = unprivileged(DOCTOR);
        report.is_well();
        report.says("tunnel", "note", "permission denied", "root");
        report.says("name", "note", "vxlan0 is there", "");
        fs::set_permissions("/run/vxgate", fs::Permissions::from_mode(0o755)).unwrap();
        daemon.stop();
    });
}

#[test]
fn a_name_or_a_port_that_is_taken_is_found_with_who_has_it() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let taken = ground.you.run(|| UdpSocket::bind("0.0.0.0:4789").unwrap());
        let owner = format!("UDP port 4789 of {YOU} is taken by ");
        let report = Report::of(&ground, DOCTOR);
        report.says_only("port", "fail", &owner, "stop its owner");
        report.says("port", "fail", &format!("(pid {})", std::process::id()), "--port");
        drop(taken);

        let kernel = KernelVxlan::default().with(|vxlan| vxlan.port = 9999);
        kernel.create(&ground.you).unwrap();
        let found = "a device named vxlan0 exists already (vxlan)";
        Report::of(&ground, DOCTOR).says_only("name", "fail", found, "ip link del vxlan0");
        Report::of(&ground, &format!("{DOCTOR} --dev vx7")).is_well();

        // Down it has no port yet, and will want it.
        let kernel = KernelVxlan { name: "vxlan7".to_owned(), ..KernelVxlan::default() };
        kernel.create(&ground.you).unwrap();
        let report = Report::of(&ground, &format!("{DOCTOR} --dev vx7"));
        report.says("port", "fail", "the kernel's vxlan device vxlan7", "stop its owner");
        report.says("kernel-vxlan", "warn", "the same VNI, and up", "ip link del vxlan7");
        ground.you.down("vxlan7").unwrap();
        let report = Report::of(&ground, &format!("{DOCTOR} --dev vx7"));
        report.says_only("kernel-vxlan", "warn", "and down", "ip link del vxlan7");
    });
}

#[test]
fn what_is_wrong_with_the_underlay_is_found() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        for (options, check, found, hint) in [
            ("--underlay eth7", "underlay", "--underlay eth7: there is no such device", "lo, eth0"),
            ("--local 172.21.0.101", "local", "--local 172.21.0.101 is no address of this host", YOU),
            ("--address 100.64.0.9/10", "loop", "would go into the tunnel", "longer than /10"),
            (
                "--address 172.21.0.7/24",
                "address",
                "overlaps 172.21.0.100/24 of eth0",
                "take the address off",
            ),
            ("--route 10.99.0.0/16", "address", "cannot add route 10.99.0.0/16", "ip route del 10.99.0.0/16"),
            ("--peer 172.21.0.100", "route", "is an address of this host", "--local"),
            ("--peer 100.64.158.66", "route", "of type blackhole", "ip route show type blackhole"),
            ("--peer 100.64.158.77", "next-hop", "172.21.0.99 does not answer on eth0", "ip route"),
        ] {
            if options.contains("10.99.0.0") {
                ground.you.route("10.99.0.0/16", "172.21.0.1").unwrap();
            }
            if options.contains("158.66") {
                let black = "100.64.158.66/32".parse().unwrap();
                ground.you.netlink(async |netlink| netlink.blackhole_add(black).await).unwrap();
            }
            if options.contains("158.77") {
                ground.you.route("100.64.158.77/32", "172.21.0.99").unwrap();
            }
            Report::of(&ground, &format!("{DOCTOR} {options}")).says_only(check, "fail", found, hint);
        }
        let v6 = Report::of(&ground, "doctor --peer 2001:db8:99::1");
        v6.says("route", "fail", "no route to peer 2001:db8:99::1", "ip route add");
        ground.you.sysctl("net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        let report = Report::of(&ground, &format!("{DOCTOR} --address fd00::1/64"));
        report.says_only("ipv6", "fail", "switched off here", "disable_ipv6=0");

        ground.gate.down("eth0").unwrap();
        let report = Report::of(&ground, DOCTOR);
        report.says("underlay", "fail", "eth0 is up and has no carrier", "cable");
        ground.you.down("eth0").unwrap();
        let report = Report::of(&ground, &format!("{DOCTOR} --underlay eth0"));
        report.says("underlay", "fail", "eth0 is down", "ip link set eth0 up");
    });
}

#[test]
fn what_may_not_be_meant_is_a_warning_and_a_wrong_command_line_is_none() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let report = Report::of(&ground, "doctor --address 10.225.194.171/9 --local 172.21.0.100");
        report.says_only("options", "warn", "no --peer", "change the options");
        let report = Report::of(&ground, &format!("{DOCTOR} --mtu 9000"));
        report.says_only("mtu", "warn", "--mtu 9000 is more than the 1450 octets", "--mtu auto");
        let report = Report::of(&ground, &format!("{DOCTOR} --address 172.16.0.9/12"));
        report.says_only(
            "address",
            "warn",
            "172.21.0.0/24 of eth0 lies inside 172.16.0.0/12",
            "longer prefix",
        );
        ground.you.sysctl("net/ipv4/conf/default/rp_filter", "1").unwrap();
        let report = Report::of(&ground, DOCTOR);
        report.is_well();
        report.says("rp-filter", "note", "vxlan0 filters strictly", "rp_filter=2");
        ground.refused("doctor --peer host", 2, "vxgate: doctor: --peer \"host\": ", "doctor --help");
        ground.refused("doctor --peer 0.0.0.0", 2, "vxgate: doctor: --peer: 0.0.0.0", "unspecified");
        let report = Report::of(&ground, &format!("{DOCTOR} --on-event /nonexistent/program"));
        report.says_only("options", "fail", "/nonexistent/program: it cannot be run", "path of a program");
        // Few files are a note.
        let mut shell = ground.you.command("/bin/sh");
        let line = format!("ulimit -n 100 && exec {} {DOCTOR} -j", crate::ground::VXGATE);
        shell.args(["-c", &line]);
        Report::of_command(&ground, shell).says("limits", "note", "100 files", "ulimit -n 256");
    });
}

#[test]
fn what_the_network_says_of_a_peer_is_found() {
    isolated!(|| {
        if missing() {
            return;
        }
        // No VTEP on the other host: its kernel says so.
        let ground = Ground::lay();
        let report = Report::of(&ground, DOCTOR);
        report.says_only("peer", "fail", "100.64.158.4: nobody listens on UDP port 4789", "Gate is open");
        let report = Report::of(&ground, "doctor --peer 2001:db8:21::1");
        report.says_only("peer", "fail", "2001:db8:21::1: nobody listens on UDP port 4789", "VTEP");
        // A host that forwards nothing says nothing of addresses that it has not.
        let report = Report::of(&ground, "doctor --peer 100.64.158.9 --address 10.225.194.171/9");
        report.is_well();
        report.says("peer", "note", "100.64.158.9 is silent", "once the tunnel runs");
        report.says("path-mtu", "note", "not known for 100.64.158.9", "ping -M do -s 1422");
        ground.gate.forward().unwrap();
        let report = Report::of(&ground, "doctor --peer 100.64.158.9");
        report.says_only(
            "peer",
            "fail",
            "172.21.0.1 says that there is no way to it",
            "routes from 172.21.0.1",
        );
        // Sixteen dead peers cost no more than one; the rest are told.
        let peers: Vec<String> = (10..40).map(|host| format!("172.21.0.{host}")).collect();
        let report = Report::of(&ground, &format!("doctor --peer {}", peers.join(",")));
        report.says("options", "note", "of 30 peers only the first 16", "");
        assert_eq!(report.has("fail").filter(|check| *check == "next-hop").count(), 16, "{}", report.text);
    });
}

#[test]
fn a_path_that_is_narrower_than_the_tunnel_is_found_with_and_without_a_routers_word() {
    isolated!(|| {
        if missing() {
            return;
        }
        // you ── gate, a router ── 1400 octets ── far
        let ground = Ground::lay();
        let far = Host::new("far").unwrap();
        link(&ground.gate, "eth1", &far, "eth0").unwrap();
        ground.gate.forward().unwrap();
        for (host, name, address) in [
            (&ground.gate, "eth1", "198.51.100.1/24"),
            (&far, "eth0", "198.51.100.2/24"),
            (&ground.gate, "eth1", "2001:db8:100::1/64"),
            (&far, "eth0", "2001:db8:100::2/64"),
        ] {
            host.mtu(name, 1400).unwrap();
            host.address(name, address).unwrap();
        }
        far.route("0.0.0.0/0", "198.51.100.1").unwrap();
        far.route("::/0", "2001:db8:100::1").unwrap();
        ground.you.route("2001:db8:100::/64", "2001:db8:21::1").unwrap();
        KernelVxlan::new("198.51.100.2").create(&far).unwrap();
        let told = "the path to 198.51.100.2 carries packets of 1400 octets, says 172.21.0.1";
        let report = Report::of(&ground, "doctor --peer 198.51.100.2");
        report.says_only("path-mtu", "warn", told, "--mtu 1350 ");
        Report::of(&ground, "doctor --peer 198.51.100.2 --mtu 1350").is_well();
        let report = Report::of(&ground, "doctor --peer 198.51.100.2 --mtu 1450 --df set");
        report.says_only("path-mtu", "fail", told, "--mtu 1350 ");
        let told6 = "the path to 2001:db8:100::2 carries packets of 1400 octets";
        let report = Report::of(&ground, "doctor --peer 2001:db8:100::2 --mtu 1430");
        report.says("path-mtu", "fail", told6, "--mtu 1330 ");
        // What `up` finds out by itself is nobody's business.
        for (line, told, takes) in [
            ("doctor --peer 2001:db8:100::2", told6, "takes 1330 octets"),
            ("doctor --peer 198.51.100.2=10.192.158.4", told, "takes 1350 octets"),
        ] {
            let report = Report::of(&ground, line);
            report.says("path-mtu", "note", told, "");
            report.says("path-mtu", "note", takes, "");
        }

        // The other end of this cable takes less than is sent into it, and cannot say so.
        KernelVxlan::new(GATE).create(&ground.gate).unwrap();
        ground.gate.mtu("eth0", 1400).unwrap();
        let report = Report::of(&ground, DOCTOR);
        report.says_only(
            "path-mtu",
            "warn",
            "packets of 1400 octets get to 100.64.158.4 and back, those of",
            "--mtu 1350 ",
        );
        report.says("path-mtu", "warn", "a black hole", "");
    });
}

/// Has `gate` send datagrams of this VNI from `from` to the tunnel for as long as `body` runs.
fn while_sending(ground: &Ground, from: &str, vni: u8, body: impl FnOnce()) {
    let enough = AtomicBool::new(false);
    let socket = ground.gate.run(|| UdpSocket::bind((from, 4789)).unwrap());
    // A broadcast frame from a station of the overlay, of an EtherType for experiments.
    let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9, 0x88, 0xb5], &[0; 46]].concat();
    let datagram = [&[0x08, 0, 0, 0, 0, 0, vni, 0][..], &frame].concat();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                // What arrives meanwhile is of no interest, and a refusal is the doctor's to find.
                let _ = socket.send_to(&datagram, (YOU, 4789));
                thread::park_timeout(Duration::from_millis(5));
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        enough.store(true, Ordering::Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Waits until the tunnel has counted so many of something.
#[track_caller]
fn until(ground: &Ground, count: impl Fn(&Value) -> u64, enough: u64) {
    assert!(eventually(PATIENCE, || count(&ground.show()) >= enough), "{}", ground.show());
}

#[test]
fn silence_of_all_peers_fails_and_of_one_is_a_warning() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let daemon = ground.up("up --address 10.225.194.171/9 --peer 100.64.158.9");
        let report = Report::of(&ground, "doctor");
        report.says("arrivals", "note", "nothing yet from 100.64.158.9", "");
        until(&ground, |show| show["uptime_s"].as_u64().unwrap(), 3);
        let report = Report::of(&ground, "doctor");
        report.says("arrivals", "note", "and nothing was asked", "ping an inner address");
        assert!(report.has("fail").next().is_none(), "an idle tunnel is no broken one: {}", report.text);
        let ping =
            Ping { count: 1, timeout: Duration::from_millis(100), ..Ping::new(GATE_INNER.parse().unwrap()) };
        // Nobody answers ARP, of which the system may tell by an error.
        let _ = ground.you.run(|| ping.run());
        let report = Report::of(&ground, "doctor");
        let rule = format!("allow UDP 4789 from 100.64.158.9 to {YOU}");
        report.says_only("arrivals", "fail", "nothing has come from 100.64.158.9", &rule);
        daemon.stop();

        let ground = Ground::with_gate();
        let daemon = ground.up(&format!("{UP} --peer 100.64.158.132"));
        assert!(ground.answers());
        until(&ground, |show| show["uptime_s"].as_u64().unwrap(), 3);
        let report = Report::of(&ground, "doctor --dev vxlan0");
        let rule = format!("allow UDP 4789 from 100.64.158.132 to {YOU}");
        report.says_only("arrivals", "warn", "nothing has come from 100.64.158.132", &rule);
        daemon.stop();
    });
}

#[test]
fn another_vni_and_strangers_are_named() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let daemon = ground.up(UP);
        let dropped = |reason: &'static str| move |show: &Value| show["drops"][reason].as_u64().unwrap_or(0);
        while_sending(&ground, GATE, 11, || {
            until(&ground, dropped("wrong-vni"), 1);
            let report = Report::of(&ground, "doctor");
            report.says_only("vni", "fail", "came with another VNI than 10, such as 11", "--vni 11");
            report.says("firewall", "ok", "out and in", "");
        });
        while_sending(&ground, "100.64.158.132", 10, || {
            until(&ground, dropped("stranger"), 1);
            let report = Report::of(&ground, "doctor");
            let hint = "vxgate peer add 100.64.158.132 dev vxlan0";
            report.says(
                "strangers",
                "warn",
                "came from addresses that are no peers, such as 100.64.158.132",
                hint,
            );
        });
        daemon.stop();
    });
}

/// Has the Gate's host ask for the tunnel's inner address, or send to it, for as long as `body` runs.
fn while_pinging<T>(ground: &Ground, body: impl FnOnce() -> T) -> T {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                let ping = Ping {
                    timeout: Duration::from_millis(20),
                    ..Ping::new("10.225.194.171".parse().unwrap())
                };
                ground.gate.run(|| ping.run()).unwrap();
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        enough.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn what_arrives_and_is_dropped_by_this_host_is_found() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        assert!(ground.answers());
        // A second cable, by which the peer is reached now, while it still sends by the first.
        link(&ground.you, "eth1", &ground.gate, "eth1").unwrap();
        ground.you.address("eth1", "172.22.0.100/24").unwrap();
        ground.gate.address("eth1", "172.22.0.1/24").unwrap();
        ground.you.route("100.64.158.4/32", "172.22.0.1").unwrap();
        let report = Report::of(&ground, "doctor");
        report.says_only(
            "local",
            "warn",
            "172.21.0.100 is the address of eth0, and the peers are reached by eth1",
            "--local",
        );
        let report = Report::of(&ground, "doctor --underlay eth0");
        report.says("route", "warn", "by eth1, and --underlay is eth0", "dev eth0");
        ground.you.sysctl("net/ipv4/conf/all/rp_filter", "1").unwrap();
        let report = while_pinging(&ground, || Report::of(&ground, "doctor"));
        report.says("rp-filter", "fail", "100.64.158.4 is reached by eth1", "rp_filter=2");
        report.says(
            "firewall",
            "fail",
            "arrived at this host and none at the tunnel",
            "udp dport 4789 accept",
        );
        daemon.stop();
    });
}

#[test]
fn what_is_wrong_with_a_tunnel_that_runs_is_found() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        assert!(ground.answers());
        let report = Report::of(&ground, "doctor --dev vxlan0 --vni 11 --peer 100.64.158.132");
        report.says_only(
            "tunnel",
            "warn",
            "the options say --vni 11, the tunnel that runs has 10",
            "vxgate down vxlan0",
        );
        report.says("tunnel", "warn", "--peer 100.64.158.132", "");
        ground.you.mtu("vxlan0", 9000).unwrap();
        Report::of(&ground, "doctor").says_only(
            "mtu",
            "warn",
            "9000 is more than the 1450 octets",
            "ip link set vxlan0 mtu",
        );
        ground.you.mtu("vxlan0", 1450).unwrap();

        // Somebody else has the inner address.
        ground.gate.address("vxlan0", "10.225.194.171/9").unwrap();
        let report = Report::of(&ground, "doctor");
        report.says_only("duplicate", "fail", "answers for 10.225.194.171, too", "innerIpAddress");

        let peer = "100.64.158.4/32".parse().unwrap();
        ground
            .you
            .netlink(async |netlink| {
                netlink.route_add(peer, &netlink.link_by_name("vxlan0").await?, None, None).await
            })
            .unwrap();
        Report::of(&ground, "doctor").says(
            "route",
            "fail",
            "by vxlan0, the tunnel itself",
            "route the peer outside",
        );
        assert_eq!(ground.show()["mtu"], 1450, "the device does not follow itself down");
        ground.you.down("vxlan0").unwrap();
        Report::of(&ground, "doctor").says(
            "name",
            "fail",
            "vxlan0 is the tunnel's and is down",
            "ip link set vxlan0 up",
        );

        // A daemon that hangs.
        daemon.signal(Signal::STOP);
        let report = Report::of(&ground, "doctor --dev vxlan0");
        daemon.signal(Signal::CONT);
        report.says("tunnel", "fail", "the daemon of vxlan0 does not answer within 1 s", "its log");
        daemon.stop();
    });
}

#[test]
fn a_peer_that_no_longer_answers_the_tunnels_probes_is_told() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up("up --address 10.225.194.171/9 --peer 100.64.158.4=10.192.158.4");
        let state = |wanted: &str| {
            let there = eventually(PATIENCE, || ground.show()["peers"][0]["state"] == wanted);
            assert!(there, "not {wanted}: {}", ground.show());
        };
        state("up");
        // The Gate's host receives, and no answer finds its way back.
        let you = "172.21.0.100/32".parse().unwrap();
        ground.gate.netlink(async |netlink| netlink.blackhole_add(you).await).unwrap();
        state("down");
        Report::of(&ground, "doctor").says("peer", "warn", "100.64.158.4 is down", "other peers");
        daemon.stop();
    });
}

#[test]
fn what_undoes_forwarding_for_others_is_found() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let forward = "--forward 172.21.0.0/24";
        let report = Report::of(&ground, &format!("{DOCTOR} {forward}"));
        report.is_well();
        report.says("forwarding", "note", "`up` sets what it needs", "");
        let report = Report::of(&ground, "doctor --peer 100.64.158.4 --forward on");
        report.says_only("forwarding", "fail", "", "--address");

        let daemon = ground.up(&format!("{UP} {forward}"));
        assert!(ground.answers());
        let look = || Report::of(&ground, &format!("doctor --dev vxlan0 {forward}"));
        let report = look();
        report.is_well();
        report.says("forwarding", "ok", "nothing of this host's is in its way", "");
        ground.you.sysctl("net/ipv4/conf/eth0/forwarding", "0").unwrap();
        look().says("forwarding", "fail", "eth0 does not forward IPv4", "sysctl -w");
        daemon.stop();
    });
}

/// A firewall on `you` that drops what goes there or comes from there, for as long as it lives.
fn firewall(ground: &Ground, hook: Hook, dropped: Match) -> Nftables {
    let rule = Rule { matches: vec![dropped], action: Action::Drop };
    let chain = Chain { name: "chain".to_owned(), hook, drops: false, rules: vec![rule] };
    let table = Table { name: "firewall".to_owned(), chains: vec![chain] };
    ground.you.run(|| {
        let nftables = Nftables::open().unwrap();
        nftables.replace(&table).unwrap();
        nftables
    })
}

#[test]
fn a_firewall_of_this_host_is_found_in_either_direction() {
    isolated!(|| {
        if missing() {
            return;
        }
        if let Err(error) = Nftables::open().and_then(|nftables| nftables.has_table("firewall")) {
            return vxgate_testbed::skip(&format!("this kernel has no nftables: {error}"));
        }
        let ground = Ground::with_gate();
        let peer = "100.64.158.4/32".parse().unwrap();
        let wall = firewall(&ground, Hook::Output, Match::Destination(peer));
        let report = Report::of(&ground, DOCTOR);
        let found = "this host's own firewall lets no datagram out to 100.64.158.4";
        report.says_only("firewall", "fail", found, "allow UDP 4789 to 100.64.158.4");
        drop(wall);
        Report::of(&ground, DOCTOR).is_well();

        let daemon = ground.up(UP);
        assert!(ground.answers());
        let _wall = firewall(&ground, Hook::Input, Match::Source(peer));
        let report = while_pinging(&ground, || Report::of(&ground, "doctor"));
        let found = "from 100.64.158.4 arrived at this host and none at the tunnel";
        report.says_only("firewall", "fail", found, "udp dport 4789 accept");
        daemon.stop();
    });
}
