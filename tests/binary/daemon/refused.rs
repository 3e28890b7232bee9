//! Every way in which `vxgate up` does not come up: it says what, why and what to do, and leaves nothing.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use vxgate_testbed::{KernelVxlan, isolated};

use crate::ground::{Ground, Traces, UP, VXGATE, missing};

#[test]
fn without_dev_net_tun_it_says_how_to_get_one() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        // Somebody else's /dev in our mount namespace: no net/tun in it, then a node that is no TUN device.
        mount("none", "/dev/net", "tmpfs", MountFlags::empty(), None).unwrap();
        ground.refused(UP, 1, "vxgate: tunnel vxlan0: there is no /dev/net/tun", "modprobe tun");
        fs::write("/dev/net/tun", "").unwrap();
        mount_bind("/dev/null", "/dev/net/tun").unwrap();
        ground.refused(UP, 1, "vxgate: tunnel vxlan0: ", "tun");
        unmount("/dev/net/tun", UnmountFlags::empty()).unwrap();
        unmount("/dev/net", UnmountFlags::empty()).unwrap();
    });
}

#[test]
fn without_privilege_it_says_which_it_needs() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        fs::create_dir_all("/run/vxgate").unwrap();
        // All capabilities gone by way of the bounding set; the user stays, so that files are not in the way.
        let Some(setpriv) = setpriv() else { return };
        let mut command = ground.you.command(&setpriv);
        command.args(["--bounding-set", "-all", "--inh-caps", "-all", VXGATE]).args(UP.split(' '));
        ground.refused_command(command, 1, "vxgate: tunnel vxlan0: no permission to", "CAP_NET_ADMIN");
    });
}

/// util-linux's setpriv, which is on every distribution; without it there is nobody to take capabilities away.
pub(crate) fn setpriv() -> Option<String> {
    let found =
        ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().find(|path| fs::exists(path).unwrap_or(false));
    if found.is_none() {
        vxgate_testbed::skip("there is no setpriv: install util-linux");
    }
    found.map(str::to_owned)
}

#[test]
fn a_port_that_a_process_holds_names_the_process() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let taken = ground.you.run(|| UdpSocket::bind("172.21.0.100:4789").unwrap());
        let owner = format!("(pid {})", std::process::id());
        let message = "vxgate: tunnel vxlan0: UDP port 4789 of 172.21.0.100 is taken by ";
        ground.refused(UP, 1, message, "--local");
        assert!(ground.vxgate(UP).stderr.contains(&owner), "{}", ground.vxgate(UP).stderr);
        drop(taken);
        // Every address of the host is this one too, and the source port is a port as well.
        let taken = ground.you.run(|| UdpSocket::bind("0.0.0.0:4789").unwrap());
        ground.refused(UP, 1, message, "--port");
        ground.refused(
            &format!("{UP} --port 4790 --source-port 4789"),
            1,
            "vxgate: tunnel vxlan0: UDP port 4789 of 172.21.0.100 is taken by ",
            "--port",
        );
        drop(taken);
        ground.up(UP).stop();
    });
}

#[test]
fn a_port_that_the_kernels_device_holds_names_the_device() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let kernel = KernelVxlan { name: "vxlan7".to_owned(), ..KernelVxlan::new("172.21.0.100") };
        kernel.create(&ground.you).unwrap();
        ground.refused(
            UP,
            1,
            "vxgate: tunnel vxlan0: UDP port 4789 of 172.21.0.100 is taken by the kernel's vxlan device vxlan7",
            "stop its owner",
        );
    });
}

#[test]
fn a_device_name_that_is_taken_names_what_has_it() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let kernel = KernelVxlan::default().with(|vxlan| vxlan.port = 9999);
        kernel.create(&ground.you).unwrap();
        ground.refused(
            UP,
            1,
            "vxgate: tunnel vxlan0: a device named vxlan0 exists already (vxlan)",
            "ip link del vxlan0",
        );
        ground.refused(
            &format!("{UP} --dev lo"),
            1,
            "vxgate: tunnel lo: a device named lo exists already",
            "--dev",
        );
        let long = "a-name-of-15-oc";
        ground.up(&format!("{UP} --dev {long}")).stop();
    });
}

#[test]
fn a_device_that_another_program_holds_names_the_program() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let daemon = ground.up(UP);
        // The runtime directory is gone, so the lock says nothing.
        fs::remove_dir_all("/run/vxgate").unwrap();
        let ended = ground.vxgate(UP);
        assert_eq!(ended.code, Some(1));
        let message = format!(
            "vxgate: tunnel vxlan0: a device named vxlan0 exists already (tun, held by vxgate (pid {}))\nhint: ",
            daemon.pid()
        );
        assert!(ended.stderr.starts_with(&message), "{}", ended.stderr);
        daemon.stop();
        assert_eq!(fs::read_dir("/run/vxgate").unwrap().count(), 0);
        ground.up(UP).stop();
    });
}

#[test]
fn a_tunnel_that_runs_already_is_named_by_its_pid_and_not_disturbed() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        let message =
            format!("vxgate: tunnel vxlan0: vxgate is already running for vxlan0 (pid {})", daemon.pid());
        ground.refused(UP, 1, &message, "vxgate down vxlan0");
        assert!(ground.answers());
        daemon.stop();
    });
}

#[test]
fn what_the_host_does_not_have_is_told_with_what_it_has() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        for (line, message, hint) in [
            (
                "up --underlay eth7 --peer 100.64.158.4",
                "--underlay eth7: there is no such device",
                "lo, eth0",
            ),
            (
                "up --local 172.21.0.101 --peer 100.64.158.4",
                "--local 172.21.0.101 is no address of this host",
                "this host has 172.21.0.100",
            ),
            ("up --peer 2001:db8:99::1", "no route to peer 2001:db8:99::1", "ip route add 2001:db8:99::1"),
            ("up --peer 172.21.0.100", "peer 172.21.0.100 is an address of this host", "--local"),
            ("up --peer 127.0.0.1", "peer 127.0.0.1 is an address of this host", "--local"),
        ] {
            ground.refused(line, 1, &format!("vxgate: tunnel vxlan0: {message}"), hint);
        }
    });
}

#[test]
fn addresses_and_routes_that_collide_or_make_a_loop_are_refused() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        for (line, message, hint) in [
            (
                "up --peer 100.64.158.4 --address 172.21.0.100/24",
                "--address 172.21.0.100/24 overlaps 172.21.0.100/24 of eth0",
                "take the address off eth0",
            ),
            (
                "up --peer 100.64.158.4 --address 172.21.0.7/24",
                "--address 172.21.0.7/24 overlaps 172.21.0.100/24 of eth0",
                "take the address off eth0",
            ),
            (
                "up --peer 100.64.158.4 --address 172.21.0.100/32",
                "--address 172.21.0.100/32 overlaps 172.21.0.100/24 of eth0",
                "eth0",
            ),
            (
                "up --peer 100.64.158.4 --address 100.64.0.9/10",
                "--address 100.64.0.0/10 holds peer 100.64.158.4: the tunnel's own datagrams would go into the tunnel",
                "longer than /10",
            ),
            (
                "up --peer 100.64.158.4 --route 100.64.158.0/24",
                "--route 100.64.158.0/24 holds peer 100.64.158.4",
                "longer than /24",
            ),
            (
                "up --peer 100.64.158.4 --route 0.0.0.0/0",
                "--route 0.0.0.0/0 holds peer 100.64.158.4",
                "longer",
            ),
            (
                "up --peer 2001:db8:21::1 --address fd00::1/64 --route 2001:db8:21::/96",
                "--route 2001:db8:21::/96 holds peer 2001:db8:21::1",
                "longer than /96",
            ),
        ] {
            ground.refused(line, 1, &format!("vxgate: tunnel vxlan0: {message}"), hint);
        }
        // The network of the underlay is on a longer prefix than this route: no loop.
        ground.up("up --peer 172.21.0.1 --address 10.225.194.171/9 --route 172.16.0.0/12").stop();
    });
}

#[test]
fn a_route_whose_prefix_is_left_out_is_told() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let daemon =
            ground.up(&format!("{UP} --address fd00::1/64 --route 10.1.0.0,10.1.0.5,10.2.0.0/16,fd01::"));
        let log = daemon.log();
        for notice in
            ["--route 10.1.0.0 is taken as 10.1.0.0/32, one address", "--route fd01:: is taken as fd01::/128"]
        {
            assert!(log.contains(notice), "{log}");
        }
        assert_eq!(log.matches("is taken as").count(), 2, "{log}");
        daemon.stop();
    });
}

#[test]
fn an_address_whose_network_another_link_shares_is_told() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        ground.you.address("lo", "172.30.0.1/32").unwrap();
        ground.you.address("lo", "127.5.0.1/16").unwrap();
        for (line, notice) in [
            (
                "up --peer 172.21.0.1 --address 172.16.0.9/12",
                "172.21.0.0/24 of eth0 lies inside 172.16.0.0/12: what is there is reached by eth0 and not through \
                 the tunnel",
            ),
            (
                "up --peer 100.64.158.4 --address 172.21.0.9/28",
                "172.21.0.0/24 of eth0 holds 172.21.0.0/28: what was reached there by eth0 now goes into the tunnel",
            ),
        ] {
            let daemon = ground.up(line);
            let log = daemon.log();
            assert!(log.contains(notice), "{line}: {log}");
            // Neither an address that stands alone nor loopback's claims a neighbour.
            assert_eq!(log.matches(" of ").count(), 1, "{line}: {log}");
            daemon.stop();
        }
        for line in
            ["up --peer 100.64.158.4 --address fe80::9/10", "up --peer 100.64.158.4 --address 10.0.0.1/8"]
        {
            let daemon = ground.up(line);
            assert!(!daemon.log().contains(" of "), "{line}: {}", daemon.log());
            daemon.stop();
        }
    });
}

#[test]
fn an_underlay_too_small_for_the_headers_is_refused() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        ground.you.mtu("eth0", 117).unwrap();
        let message =
            "vxgate: tunnel vxlan0: the underlay's MTU of 117 leaves no room behind 50 octets of headers";
        ground.refused(UP, 1, message, "raise the MTU");
        ground.you.mtu("eth0", 118).unwrap();
        ground.up("up --peer 100.64.158.4").stop();
    });
}

#[test]
fn a_runtime_directory_that_cannot_be_written_is_named() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let refused = |dir: &str, message: &str| {
            let mut command = ground.command(UP);
            command.env("VXGATE_RUNTIME_DIR", dir);
            ground.refused_command(
                command,
                1,
                &format!("vxgate: tunnel vxlan0: {message}"),
                "VXGATE_RUNTIME_DIR",
            );
        };
        fs::write("/run/file", "").unwrap();
        refused("/run/file", "/run/file");
        refused("/run/file/deeper", "/run/file/deeper");
        refused("/proc/nowhere", "/proc/nowhere");
        fs::create_dir("/run/full").unwrap();
        mount("none", "/run/full", "tmpfs", MountFlags::empty(), Some(c"nr_inodes=1")).unwrap();
        refused("/run/full", "/run/full/vxlan0.lock: No space left on device");
        // Root without the capability to pass over permissions is a user like any other.
        let Some(setpriv) = setpriv() else { return };
        fs::create_dir("/run/locked").unwrap();
        fs::set_permissions("/run/locked", fs::Permissions::from_mode(0o500)).unwrap();
        let mut command = ground.you.command(&setpriv);
        command.args(["--bounding-set", "-all", "--inh-caps", "-all", VXGATE]).args(UP.split(' '));
        command.env("VXGATE_RUNTIME_DIR", "/run/locked/deeper");
        let message = "vxgate: tunnel vxlan0: /run/locked/deeper: Permission denied";
        let hint = "hint: run as root, or set VXGATE_RUNTIME_DIR to a directory that you may write to";
        ground.refused_command(command, 1, message, hint);
    });
}

#[test]
fn a_full_disk_leaves_no_lock_behind() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        fs::create_dir("/run/vxgate").unwrap();
        mount("none", "/run/vxgate", "tmpfs", MountFlags::empty(), Some(c"size=4k")).unwrap();
        fs::write("/run/vxgate/ballast", [0; 4096]).unwrap();
        let message = "vxgate: tunnel vxlan0: /run/vxgate/vxlan0.lock: No space left on device";
        ground.refused(UP, 1, message, "VXGATE_RUNTIME_DIR");
    });
}

#[test]
fn what_the_kernel_refuses_half_way_is_undone() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        // A route that is there already, after device and address are.
        ground.you.route("10.99.0.0/16", "172.21.0.1").unwrap();
        ground.refused(
            &format!("{UP} --route 10.99.0.0/16"),
            1,
            "vxgate: tunnel vxlan0: cannot add route 10.99.0.0/16: this host has one already, via 172.21.0.1 dev eth0",
            "ip route del 10.99.0.0/16",
        );
        ground.you.route("2001:db8:99::/48", "2001:db8:21::1").unwrap();
        ground.refused(
            &format!("{UP} --address fd00::1/64 --route 2001:db8:99::/48"),
            1,
            "vxgate: tunnel vxlan0: cannot add route 2001:db8:99::/48: this host has one already, via 2001:db8:21::1 dev eth0",
            "leave --route 2001:db8:99::/48 out",
        );
        ground.you.sysctl("net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        ground.refused(
            &format!("{UP} --address fd00::1/64"),
            1,
            "vxgate: tunnel vxlan0: cannot add address fd00::1/64",
            "IPv6 is switched off here",
        );
        // A second device of the same address does not come up either, and takes nothing of the first.
        ground.you.sysctl("net/ipv6/conf/default/disable_ipv6", "0").unwrap();
        ground.up(&format!("{UP} --address fd00::1/64")).stop();
    });
}

#[test]
fn a_wrong_command_line_touches_nothing() {
    isolated!(|| {
        let ground = Ground::lay();
        for line in ["up --peer host", "up --mtu 67", "up extra", "up --route 10.0.0.1/8 --peer", "--up"] {
            ground.refused(line, 2, "vxgate: ", "");
        }
        // What is not there and what is too small are named with what is allowed.
        for (line, message) in [
            ("fdb add", "vxgate: fdb add: ADDR is missing: a MAC address"),
            ("up --ageing -1", "vxgate: up: --ageing \"-1\": "),
            ("up --vni -1", "vxgate: up: --vni \"-1\": a VNI is a whole number"),
            ("up --ttl -1", "vxgate: up: --ttl \"-1\": "),
        ] {
            ground.refused(line, 2, message, "--help");
        }
        assert!(ground.vxgate("up --help").stdout.contains("--ttl <auto|inherit|N>"));
    });
}

#[test]
fn a_closed_standard_error_is_no_reason_to_leave_something() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let before = Traces::of(&ground.you);
        // Not even descriptors 0, 1 and 2: what is opened first gets their numbers.
        let mut shell = ground.you.command("/bin/sh");
        shell
            .args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-", VXGATE])
            .args("up --local 172.21.0.9 --peer 1.2.3.4".split(' '));
        assert_eq!(status(shell), Some(1));
        before.again(&ground.you, "closed descriptors");
    });
}

fn status(mut command: Command) -> Option<i32> {
    command.stdin(Stdio::null()).process_group(0).status().unwrap().code()
}
