//! How a tunnel ends: told to, by force, or because what it stands on is taken away. Nothing is left in any case.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use vxgate_testbed::{eventually, isolated};

use crate::ground::{Daemon, Ground, PATIENCE, Traces, UP, VXGATE, command, missing};

/// From here on what this process starts is ended by SIGHUP, under nohup too: a program inherits that a signal is ignored, but not
/// a handler (execve(2)).
fn hear_hangup() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { drop(signal(SignalKind::hangup()).unwrap()) });
}

#[test]
fn sigterm_sigint_and_sighup_undo_everything_and_exit_0() {
    isolated!(|| {
        if missing() {
            return;
        }
        hear_hangup();
        let ground = Ground::with_gate();
        let before = Traces::of(&ground.you);
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            let mut daemon = ground.up(&format!("{UP} --address fd00:10::100/64 --route 10.64.0.0/16"));
            assert!(ground.answers(), "{signal:?}");
            daemon.signal(signal);
            let (status, log) = daemon.wait();
            assert_eq!((status.code(), status.signal()), (Some(0), None), "{signal:?}: {log}");
            before.again(&ground.you, &format!("{signal:?}"));
        }
    });
}

#[test]
fn a_tunnel_started_under_nohup_outlives_its_terminal() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let mut shell = ground.you.command("/bin/sh");
        shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", VXGATE]).args(UP.split(' '));
        let mut daemon = Daemon::start(shell);
        daemon.signal(Signal::HUP);
        assert!(ground.answers());
        assert!(!daemon.has_ended(), "{}", daemon.log());
        daemon.stop();
    });
}

#[test]
fn down_returns_when_the_tunnel_is_gone() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let before = Traces::of(&ground.you);
        for line in ["down", "down vxlan0"] {
            let mut daemon = ground.up(UP);
            let down = ground.vxgate(line);
            assert_eq!((down.code, down.stdout.as_str(), down.stderr.as_str()), (Some(0), "", ""), "{line}");
            before.again(&ground.you, line);
            // No wait: the lock was free, so the next one comes up at once, whatever the first has still to do.
            let next = ground.up(UP);
            assert_eq!(daemon.wait().0.code(), Some(0));
            next.stop();
        }
        let down = ground.vxgate("down vxlan0");
        assert_eq!(down.code, Some(1));
        assert!(down.stderr.contains("no tunnel is running for vxlan0\nhint: start it"), "{}", down.stderr);
    });
}

#[test]
fn a_device_deleted_under_the_tunnel_ends_it_with_a_word() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let before = Traces::of(&ground.you);
        let mut daemon = ground.up(UP);
        let delete = ground
            .you
            .netlink(async |netlink| netlink.link_delete(&netlink.link_by_name("vxlan0").await?).await);
        delete.unwrap();
        let (status, log) = daemon.wait();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("vxgate: tunnel vxlan0: device vxlan0 is gone: somebody deleted it"), "{log}");
        before.again(&ground.you, "deleted");
        ground.up(UP).stop();
    });
}

#[test]
fn killed_twenty_times_the_next_one_comes_up_at_once() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let before = Traces::of(&ground.you);
        for round in 0..20 {
            let mut daemon = ground.up(UP);
            if round % 5 == 0 {
                assert!(ground.answers(), "round {round}");
            }
            daemon.signal(Signal::KILL);
            assert_eq!(daemon.wait().0.signal(), Some(Signal::KILL.as_raw()));
            assert!(fs::exists("/run/vxgate/vxlan0.sock").unwrap(), "what a killed one leaves");
        }
        assert!(ground.vxgate("show").stderr.contains("no tunnel is running"));
        ground.up(UP).stop();
        before.again(&ground.you, "after the last");
    });
}

#[test]
fn killed_or_told_to_end_at_any_moment_of_its_start_it_leaves_nothing_in_the_way() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let before = Traces::of(&ground.you);
        for (signal, clean) in [(Signal::KILL, false), (Signal::TERM, true)] {
            for step in 0..40_u64 {
                let mut daemon = Daemon::spawn(ground.command(UP));
                // From before its first instruction to well after it is up.
                std::thread::park_timeout(Duration::from_micros(step * 250));
                daemon.signal(signal);
                let (status, log) = daemon.wait();
                // Until it listens to signals, a signal is what the kernel makes of it.
                let ended = status.code() == Some(0) || status.signal() == Some(signal.as_raw());
                assert!(ended, "{signal:?} after {step} steps: {status}: {log}");
                if status.code() == Some(0) && clean {
                    before.again(&ground.you, &log);
                }
            }
        }
        ground.up(UP).stop();
        let Ok(left) = fs::read_dir("/run/vxgate") else { return };
        assert_eq!(left.count(), 0);
    });
}

#[test]
fn two_tunnels_live_side_by_side_and_are_told_apart() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        ground.you.address("eth0", "172.21.0.101/24").unwrap();
        let first = ground.up(&format!("{UP} --local 172.21.0.100"));
        let mut second = ground
            .up("up --dev vx1 --vni 11 --local 172.21.0.101 --peer 100.64.158.132 --address 10.1.0.1/24");
        assert!(ground.answers());
        let shown: serde_json::Value = serde_json::from_str(&ground.vxgate("show -j").stdout).unwrap();
        let devices: Vec<_> = shown.as_array().unwrap().iter().map(|tunnel| tunnel["dev"].clone()).collect();
        assert_eq!(devices, ["vx1", "vxlan0"]);
        let down = ground.vxgate("down");
        assert_eq!(down.code, Some(1));
        assert!(
            down.stderr.contains("more than one tunnel is running: vx1, vxlan0\nhint: name one"),
            "{}",
            down.stderr
        );
        assert_eq!(ground.vxgate("down vx1").code, Some(0));
        assert_eq!(second.wait().0.code(), Some(0));
        assert!(ground.answers());
        first.stop();
    });
}

#[test]
fn down_up_rename_and_mtu_of_the_device_do_not_end_the_tunnel() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        assert!(ground.answers());
        ground.you.down("vxlan0").unwrap();
        ground.you.up("vxlan0").unwrap();
        assert!(ground.answers(), "after down and up");
        ground.you.mtu("vxlan0", 1300).unwrap();
        assert!(ground.answers(), "with another MTU");
        assert_eq!(ground.show()["mtu"], 1300);
        ground.you.down("vxlan0").unwrap();
        let renamed = ground
            .you
            .netlink(async |netlink| netlink.rename(&netlink.link_by_name("vxlan0").await?, "gate0").await);
        renamed.unwrap();
        ground.you.up("gate0").unwrap();
        assert!(ground.answers(), "under another name");
        // The tunnel keeps the name that it was started by: its socket and its lock have it.
        let shown = ground.show();
        assert_eq!((&shown["dev"], &shown["mtu"]), (&"vxlan0".into(), &1300.into()));
        daemon.stop();
        assert!(ground.you.up("gate0").is_err());
    });
}

#[test]
fn an_underlay_that_goes_and_comes_back_is_used_again() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        assert!(ground.answers());
        let change = |add: bool| {
            ground
                .you
                .netlink(async |netlink| {
                    let link = netlink.link_by_name("eth0").await?;
                    let ip = "172.21.0.100/24".parse().unwrap();
                    if add {
                        netlink.address_add(&link, ip).await
                    } else {
                        netlink.address_delete(&link, ip).await
                    }
                })
                .unwrap();
        };
        change(false);
        assert!(ground.you.ping(crate::ground::GATE_INNER).none_answered());
        change(true);
        ground.you.route("0.0.0.0/0", "172.21.0.1").unwrap();
        assert!(ground.answers(), "{}", daemon.log());
        ground.you.down("eth0").unwrap();
        ground.you.up("eth0").unwrap();
        ground.you.route("0.0.0.0/0", "172.21.0.1").unwrap();
        assert!(ground.answers(), "{}", daemon.log());
        daemon.stop();
    });
}

#[test]
fn a_runtime_directory_that_goes_does_not_end_the_tunnel() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let mut daemon = ground.up(UP);
        fs::remove_dir_all("/run/vxgate").unwrap();
        assert!(ground.answers());
        assert!(ground.vxgate("down").stderr.contains("no tunnel is running"));
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait().0.code(), Some(0), "{}", daemon.log());
        ground.up(UP).stop();
    });
}

#[test]
fn a_namespace_torn_down_around_the_tunnel_takes_it_along() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let mut daemon = Daemon::start(command(&ground.you, VXGATE, UP));
        assert!(ground.answers());
        // The process keeps its namespace alive; what goes is the other end of its cable.
        let Ground { you, gate } = ground;
        drop(gate);
        assert!(eventually(PATIENCE, || you.up("eth0").is_err()), "the cable goes with its other end");
        assert!(!daemon.has_ended());
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait().0.code(), Some(0));
    });
}
