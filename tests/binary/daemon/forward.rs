//! `--forward`: other machines of the VPC reach the devices through this host, and nothing else changes.
//!
//! ```text
//!   machine   172.21.1.9  ──┐
//!   stranger  172.22.1.9  ──┤
//!                          vpc ── eth0 ── you ── eth1 ── other 192.0.2.2
//!   gate    100.64.158.4  ──┘    172.21.0.100
//!     └ vxlan0 10.192.158.4                └ vxlan0 10.225.194.171
//! ```
//!
//! The VPC routes the devices' network to `you`; the Gate knows of the VPC's machines nothing but `you`.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rustix::process::Signal;
use vxgate_netlink::nft::{Chain, Hook, Nftables, Table};
use vxgate_testbed::{Host, KernelVxlan, eventually, isolated, link};

use crate::ground::{Daemon, Ground, PATIENCE, Traces, UP, YOU, missing};

const INNER: &str = "10.225.194.171";
const DEVICE: &str = "10.192.158.4:7777";
const DEVICE6: &str = "[fd00:10::4]:7777";

struct Vpc {
    ground: Ground,
    machine: Host,
    stranger: Host,
    other: Host,
    _vpc: Host,
    device: UdpSocket,
    device6: UdpSocket,
}

impl Vpc {
    fn lay() -> Vpc {
        let [you, gate, vpc, machine, stranger, other] =
            ["you", "gate", "vpc", "machine", "stranger", "other"].map(|name| Host::new(name).unwrap());
        for (host, name, router, own, router6, own6) in [
            (&you, "you", "172.21.0.1/24", "172.21.0.100/24", "2001:db8:21::1/64", "2001:db8:21::100/64"),
            (&gate, "gate", "100.64.158.1/25", "100.64.158.4/25", "2001:db8:64::1/64", "2001:db8:64::4/64"),
            (&machine, "machine", "172.21.1.1/24", "172.21.1.9/24", "2001:db8:1::1/64", "2001:db8:1::9/64"),
            (&stranger, "stranger", "172.22.1.1/24", "172.22.1.9/24", "2001:db8:2::1/64", "2001:db8:2::9/64"),
        ] {
            link(host, "eth0", &vpc, name).unwrap();
            for (at, link, address) in
                [(&vpc, name, router), (&vpc, name, router6), (host, "eth0", own), (host, "eth0", own6)]
            {
                at.address(link, address).unwrap();
            }
            if name != "gate" {
                host.route("0.0.0.0/0", router.split('/').next().unwrap()).unwrap();
                host.route("::/0", router6.split('/').next().unwrap()).unwrap();
            }
        }
        gate.route("172.21.0.100/32", "100.64.158.1").unwrap();
        link(&you, "eth1", &other, "eth0").unwrap();
        you.address("eth1", "192.0.2.1/24").unwrap();
        other.address("eth0", "192.0.2.2/24").unwrap();
        other.route("0.0.0.0/0", "192.0.2.1").unwrap();
        vpc.forward().unwrap();
        for network in ["10.128.0.0/9", "192.0.2.0/24"] {
            vpc.route(network, YOU).unwrap();
        }
        vpc.route("fd00:10::/64", "2001:db8:21::100").unwrap();
        let kernel =
            KernelVxlan::new("100.64.158.4").peer(YOU).address("10.192.158.4/9").address("fd00:10::4/64");
        kernel.create(&gate).unwrap();
        let [device, device6] = [DEVICE, DEVICE6].map(|address| {
            let socket = gate.run(|| UdpSocket::bind(address)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            socket
        });
        Vpc { ground: Ground { you, gate }, machine, stranger, other, _vpc: vpc, device, device6 }
    }

    fn up(&self, options: &str) -> Daemon {
        self.ground.up(&format!("{UP} {options}"))
    }

    /// Who the device sees when this host speaks to it and gets its answer; none when either is lost.
    fn seen(&self, from: &Host, device: &UdpSocket) -> Option<String> {
        let to = device.local_addr().unwrap();
        let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
        let socket = from.run(|| UdpSocket::bind(any)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let question = socket.local_addr().unwrap().port().to_be_bytes();
        // A network that cannot be reached may be said to be so.
        let _ = socket.send_to(&question, to);
        let mut buffer = [0; 16];
        loop {
            let (octets, source) = device.recv_from(&mut buffer).ok()?;
            if buffer[..octets] != question {
                continue;
            }
            device.send_to(b"answer", source).unwrap();
            let octets = socket.recv(&mut buffer).ok()?;
            return (&buffer[..octets] == b"answer").then(|| source.ip().to_string());
        }
    }

    /// Waits until the device sees this host as that address.
    #[track_caller]
    fn sees(&self, from: &Host, device: &UdpSocket, expected: &str) {
        let mut last = None;
        let seen = eventually(PATIENCE, || {
            last = self.seen(from, device);
            last.as_deref() == Some(expected)
        });
        assert!(seen, "{} is seen as {last:?} and not as {expected}", from.name());
    }

    /// Fails where the device hears this host, or it the device.
    #[track_caller]
    fn does_not_see(&self, from: &Host, device: &UdpSocket) {
        for _ in 0..2 {
            assert_eq!(self.seen(from, device), None, "{} reaches the device", from.name());
        }
    }

    /// What `you` forwards and filters, link by link.
    fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        self.ground.you.run(|| {
            for (family, name) in [
                ("ipv4", "forwarding"),
                ("ipv4", "rp_filter"),
                ("ipv6", "forwarding"),
                ("ipv6", "force_forwarding"),
            ] {
                for link in ["all", "default", "lo", "eth0", "eth1", "vxlan0", "vx1"] {
                    let key = format!("net/{family}/conf/{link}/{name}");
                    if let Ok(value) = fs::read_to_string(format!("/proc/sys/{key}")) {
                        settings.insert(key, value.trim().to_owned());
                    }
                }
            }
        });
        settings
    }

    /// Keys whose values are others than before.
    fn changed(&self, before: &BTreeMap<String, String>) -> Vec<String> {
        let now = self.settings();
        let is_changed =
            |(key, value): &(&String, &String)| before.get(*key).is_some_and(|then| then != *value);
        now.iter().filter(is_changed).map(|(key, value)| format!("{key}={value}")).collect()
    }

    fn nftables(&self) -> Nftables {
        self.ground.you.run(|| Nftables::open().unwrap())
    }

    fn forces_ipv6(&self) -> bool {
        self.settings().contains_key("net/ipv6/conf/eth0/force_forwarding")
    }
}

/// A table as somebody else might have it.
fn table(name: &str, drops: bool) -> Table {
    let chain = Chain { name: "transit".to_owned(), hook: Hook::Forward, drops, rules: vec![] };
    Table { name: name.to_owned(), chains: vec![chain] }
}

#[test]
fn a_machine_of_the_vpc_reaches_the_device_which_sees_the_inner_address() {
    isolated!(|| {
        if missing() {
            return;
        }
        let vpc = Vpc::lay();
        let before = vpc.settings();
        let plain = vpc.up("");
        vpc.sees(&vpc.ground.you, &vpc.device, INNER);
        vpc.does_not_see(&vpc.machine, &vpc.device);
        plain.stop();

        let daemon = vpc.up("--forward 172.21.1.0/24");
        vpc.sees(&vpc.machine, &vpc.device, INNER);
        assert!(vpc.machine.ping("10.192.158.4").all_answered());
        // This host's own way is as it was, and so is every setting but those of the two interfaces.
        vpc.sees(&vpc.ground.you, &vpc.device, INNER);
        assert_eq!(vpc.changed(&before), ["net/ipv4/conf/eth0/forwarding=1"]);
        assert_eq!(vpc.settings()["net/ipv4/conf/vxlan0/forwarding"], "1");
        let warned = daemon.log().lines().any(|line| line.contains("WARN") && line.contains("forward"));
        assert!(!warned, "nothing is in the way: {}", daemon.log());
        assert!(
            daemon.log().contains(
                "forwarding 172.21.1.0/24 from eth0 into vxlan0, as 10.225.194.171; back come answers only"
            ),
            "{}",
            daemon.log()
        );
        daemon.stop();

        let daemon = vpc.up("--address fd00:10::100/64 --forward on");
        vpc.sees(&vpc.machine, &vpc.device, INNER);
        if vpc.forces_ipv6() {
            vpc.sees(&vpc.machine, &vpc.device6, "fd00:10::100");
            let changed = ["net/ipv4/conf/eth0/forwarding=1", "net/ipv6/conf/eth0/force_forwarding=1"];
            assert_eq!(vpc.changed(&before), changed);
        } else {
            assert!(daemon.log().contains("eth0 does not forward IPv6"), "{}", daemon.log());
        }
        daemon.stop();
        assert!(vpc.changed(&before).is_empty());
    });
}

#[test]
fn who_is_not_named_is_not_forwarded_and_what_comes_back_is_answers_unless_all_is_said() {
    isolated!(|| {
        if missing() {
            return;
        }
        let vpc = Vpc::lay();
        let daemon = vpc.up("--address fd00:10::100/64 --forward 172.21.1.0/24 --forward 2001:db8:1::/64");
        vpc.sees(&vpc.machine, &vpc.device, INNER);
        vpc.does_not_see(&vpc.stranger, &vpc.device);
        if vpc.forces_ipv6() {
            vpc.sees(&vpc.machine, &vpc.device6, "fd00:10::100");
        }
        vpc.does_not_see(&vpc.stranger, &vpc.device6);
        // The Gate learns of the VPC by the tunnel, and may not begin.
        for network in ["172.21.1.0/24", "172.22.1.0/24", "192.0.2.0/24"] {
            vpc.ground.gate.route(network, INNER).unwrap();
        }
        for to in ["172.21.1.9", "172.22.1.9", "192.0.2.2"] {
            assert!(vpc.ground.gate.ping(to).none_answered(), "{to}");
        }
        daemon.stop();

        let daemon = vpc.up("--forward 172.21.1.0/24 --forward-back all");
        assert!(eventually(PATIENCE, || vpc.ground.gate.ping("172.21.1.9").all_answered()));
        for to in ["172.22.1.9", "192.0.2.2"] {
            assert!(vpc.ground.gate.ping(to).none_answered(), "{to}");
        }
        vpc.does_not_see(&vpc.stranger, &vpc.device);
        daemon.stop();

        let daemon = vpc.up("--forward on");
        vpc.sees(&vpc.stranger, &vpc.device, INNER);
        vpc.sees(&vpc.machine, &vpc.device, INNER);
        assert!(vpc.ground.gate.ping("172.22.1.9").none_answered());
        vpc.does_not_see(&vpc.other, &vpc.device);
        daemon.stop();
    });
}

#[test]
fn what_was_not_forwarded_before_still_is_not_until_the_host_forwards_for_all() {
    isolated!(|| {
        if missing() {
            return;
        }
        let vpc = Vpc::lay();
        let before = vpc.settings();
        let daemon = vpc.up("--forward on");
        vpc.sees(&vpc.machine, &vpc.device, INNER);
        assert!(
            vpc.machine.ping("192.0.2.2").none_answered(),
            "this host is no router between its other interfaces"
        );
        // As Docker does at its start.
        vpc.ground.you.sysctl("net/ipv4/ip_forward", "1").unwrap();
        assert!(
            eventually(PATIENCE * 2, || vpc.machine.ping("192.0.2.2").all_answered()),
            "{}",
            daemon.log()
        );
        assert!(daemon.log().contains("put in anew: the host's own forwarding changed"), "{}", daemon.log());
        vpc.sees(&vpc.machine, &vpc.device, INNER);
        daemon.stop();
        assert_eq!(vpc.settings()["net/ipv4/conf/eth0/forwarding"], "1", "theirs stays");
        vpc.ground.you.sysctl("net/ipv4/ip_forward", "0").unwrap();
        assert!(vpc.changed(&before).is_empty());
    });
}

#[test]
fn all_is_undone_at_the_end_and_what_a_killed_one_leaves_by_the_next() {
    isolated!(|| {
        if missing() {
            return;
        }
        let vpc = Vpc::lay();
        let nftables = vpc.nftables();
        nftables.replace_for_good(&table("mine", false)).unwrap();
        let (before, traces) = (vpc.settings(), Traces::of(&vpc.ground.you));
        let undone = |case: &str| {
            assert_eq!(vpc.changed(&before), [""; 0], "{case}");
            let chains = nftables.forward_chains().unwrap();
            let names: Vec<_> = chains.iter().map(|chain| chain.table.as_str()).collect();
            assert_eq!(names, ["mine"], "{case}");
            traces.again(&vpc.ground.you, case);
        };
        let mut daemon = vpc.up("--forward on");
        vpc.sees(&vpc.machine, &vpc.device, INNER);
        assert_eq!(nftables.forward_chains().unwrap().len(), 2);
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait().0.code(), Some(0));
        undone("SIGTERM");

        // Its monitor is left, and undoes it.
        let mut daemon = vpc.up("--forward on");
        daemon.signal(Signal::KILL);
        assert_eq!(daemon.wait().0.signal(), Some(Signal::KILL.as_raw()));
        assert!(eventually(PATIENCE, || vpc.changed(&before).is_empty()));
        // And is not in the way of one that does not wait for that.
        let mut daemon = vpc.up("--forward on");
        daemon.signal(Signal::KILL);
        daemon.wait();
        let daemon = vpc.up("--forward on");
        vpc.sees(&vpc.machine, &vpc.device, INNER);
        daemon.stop();
        assert!(eventually(PATIENCE, || vpc.changed(&before).is_empty()));
        undone("killed and started again at once");

        for next in ["--forward on", ""] {
            let mut daemon = vpc.up("--forward on");
            daemon.kill_both();
            assert_eq!(vpc.changed(&before), ["net/ipv4/conf/eth0/forwarding=1"]);
            // The table goes with its owner; the kernel does that a moment after the process is gone.
            assert!(eventually(PATIENCE, || !nftables.has_table("vxgate-vxlan0").unwrap()));
            if next.is_empty() {
                // Also by one that does not come up.
                let refused = vpc.ground.vxgate("up --peer 127.0.0.1");
                assert!(refused.stderr.contains("it is 0 again"), "{}", refused.stderr);
                undone("refused");
                continue;
            }
            let daemon = vpc.up(next);
            assert!(
                daemon.log().contains(
                    "net.ipv4.conf.eth0.forwarding was left at 1 by a killed tunnel vxlan0: it is 0 again"
                ),
                "{}",
                daemon.log()
            );
            vpc.sees(&vpc.machine, &vpc.device, INNER);
            daemon.stop();
            undone(next);
        }
        // The notes may be gone before the tunnel is.
        let daemon = vpc.up("--forward on");
        fs::remove_dir_all("/run/vxgate").unwrap();
        daemon.stop();
        assert_eq!(vpc.changed(&before), [""; 0], "without a runtime directory");
        // What a kernel without owners of tables would leave.
        nftables.replace_for_good(&table("vxgate-vxlan0", true)).unwrap();
        let daemon = vpc.up("--forward on");
        assert!(
            daemon.log().contains("table vxgate-vxlan0 of nftables was left by another: it is replaced"),
            "{}",
            daemon.log()
        );
        vpc.sees(&vpc.machine, &vpc.device, INNER);
        daemon.stop();
        undone("replaced");
    });
}

#[test]
fn two_tunnels_of_one_interface_forward_and_the_last_one_sets_it_back() {
    isolated!(|| {
        if missing() {
            return;
        }
        let vpc = Vpc::lay();
        let before = vpc.settings();
        vpc.ground.you.address("eth0", "172.21.0.101/24").unwrap();
        let second = "up --dev vx1 --vni 11 --local 172.21.0.101 --peer 100.64.158.132 --address 10.1.0.1/24 --forward on";
        for kill in [false, true] {
            let mut first = vpc.ground.up(second);
            let daemon = vpc.up(&format!("--local {YOU} --forward 172.21.1.0/24"));
            vpc.sees(&vpc.machine, &vpc.device, INNER);
            if kill {
                first.kill_both();
            } else {
                first.stop();
            }
            vpc.sees(&vpc.machine, &vpc.device, INNER);
            daemon.stop();
            if kill {
                // Its note is still there, and whoever starts next sees that its process is not.
                assert_eq!(vpc.changed(&before), ["net/ipv4/conf/eth0/forwarding=1"]);
                let next = vpc.up(&format!("--local {YOU}"));
                assert!(next.log().contains("by a killed tunnel vx1"), "{}", next.log());
                next.stop();
            }
            assert_eq!(vpc.changed(&before), [""; 0], "killed: {kill}");
        }
    });
}

#[test]
fn what_is_in_the_way_is_told_with_what_to_do() {
    isolated!(|| {
        if missing() {
            return;
        }
        let vpc = Vpc::lay();
        let nftables = vpc.nftables();
        nftables.replace(&table("firewall", true)).unwrap();
        let daemon = vpc.up("--forward 172.21.1.0/24 --forward 10.200.0.0/16");
        for words in [
            "chain transit of nftables table inet firewall drops what none of its rules accepts; unless it has them: nft insert rule inet firewall transit iifname eth0 oifname vxlan0 accept",
            "10.200.0.0/16 is routed into vxlan0: answers do not find their way back; add one, as in `ip route add 10.200.0.0/16 via ROUTER dev eth0`",
        ] {
            assert!(daemon.log().contains(words), "{words}: {}", daemon.log());
        }
        vpc.does_not_see(&vpc.machine, &vpc.device);
        nftables.delete("firewall").unwrap();
        vpc.sees(&vpc.machine, &vpc.device, INNER);
        // What changes while it runs is told too, once.
        vpc.ground.you.sysctl("net/ipv4/conf/eth0/forwarding", "0").unwrap();
        let words = [
            "no longer so: chain transit",
            "eth0 does not forward IPv4; sysctl -w net/ipv4/conf/eth0/forwarding=1",
        ];
        assert!(
            eventually(PATIENCE * 2, || words.iter().all(|words| daemon.log().contains(words))),
            "{}",
            daemon.log()
        );
        assert_eq!(daemon.log().matches("chain transit of").count(), 2, "{}", daemon.log());
        daemon.stop();
    });
}

#[test]
fn machines_behind_another_interface_are_forwarded_and_a_strict_filter_is_loosened_for_them() {
    isolated!(|| {
        if missing() {
            return;
        }
        let vpc = Vpc::lay();
        vpc.ground.you.sysctl("net/ipv4/conf/eth0/rp_filter", "1").unwrap();
        vpc.ground.you.sysctl("net/ipv4/conf/all/rp_filter", "0").unwrap();
        let before = vpc.settings();
        let daemon = vpc.up("--forward 192.0.2.0/24");
        vpc.sees(&vpc.other, &vpc.device, INNER);
        vpc.does_not_see(&vpc.machine, &vpc.device);
        assert_eq!(
            vpc.changed(&before),
            [
                "net/ipv4/conf/eth0/forwarding=1",
                "net/ipv4/conf/eth0/rp_filter=2",
                "net/ipv4/conf/eth1/forwarding=1"
            ]
        );
        daemon.stop();
        assert_eq!(vpc.changed(&before), [""; 0]);
    });
}

#[test]
fn what_cannot_be_forwarded_is_refused_with_a_reason_and_nothing_is_left() {
    isolated!(|| {
        if missing() {
            return;
        }
        let vpc = Vpc::lay();
        let before = vpc.settings();
        let ground = &vpc.ground;
        let peer = "up --peer 100.64.158.4";
        for (line, message, hint) in [
            (
                format!("{peer} --forward on"),
                "--forward: the device has no address to send from",
                "add --address CIDR",
            ),
            (
                format!("{UP} --forward 172.21.1.0/24 --forward 2001:db8:1::/64"),
                "--forward 2001:db8:1::/64: the device has no IPv6 address to send from",
                "add --address CIDR",
            ),
            (
                "up --local 172.21.0.100 --address 10.225.194.171/9 --forward on".to_owned(),
                "--forward: nothing tells which interface the machines are behind",
                "--underlay eth0",
            ),
        ] {
            ground.refused(&line, 1, &format!("vxgate: tunnel vxlan0: {message}"), hint);
        }
        ground.refused(
            &format!("{UP} --forward 172.21.1.1/24"),
            2,
            "vxgate: up: --forward: 172.21.1.1/24 has bits set",
            "write --forward 172.21.1.0/24",
        );
        // Somebody else's table of our name, whose owner lives.
        let nftables = vpc.nftables();
        nftables.replace(&table("vxgate-vxlan0", false)).unwrap();
        ground.refused(
            &format!("{UP} --forward on"),
            1,
            "vxgate: tunnel vxlan0: --forward: another process owns the nftables table vxgate-vxlan0",
            "nft list ruleset",
        );
        assert_eq!(vpc.changed(&before), [""; 0]);
    });
}
