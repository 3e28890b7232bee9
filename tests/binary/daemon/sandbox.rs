//! What the threads of a running tunnel may still do.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Signal, geteuid};
use vxgate_testbed::isolated;

use crate::ground::{Ground, Traces, UP, missing};

/// The threads of a process, by name: lines of proc_pid_status(5).
fn threads(pid: u32) -> BTreeMap<String, BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    let statuses = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let lines = |status: String| -> BTreeMap<String, String> {
        status
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect()
    };
    statuses.map(lines).map(|status| (status["Name"].clone(), status)).collect()
}

#[test]
fn no_thread_has_a_capability_and_each_has_a_filter_and_they_carry_on() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        for options in ["", "--threads auto", "--workers 2"] {
            let daemon = ground.up(&format!("{UP} {options}"));
            assert!(ground.answers(), "{options}");
            // Who answers has given up what there is to give up; frames pass a moment before.
            assert_eq!(ground.show()["sandbox"], "on");
            let threads = threads(daemon.pid());
            let of_data = threads.keys().filter(|name| name.starts_with("vxgate-")).count();
            assert!(of_data >= 3 && threads.contains_key("vxgate-errors"), "{threads:?}");
            // No thread has a capability, or may make any call.
            for (name, status) in &threads {
                for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                    assert_eq!(status[set], "0000000000000000", "{name} {set}");
                }
                assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"), "{name}");
            }
            assert_eq!(ground.show()["sandbox"], "on");
            // What is stopped and goes on sleeps again by a call of its own; whatever thread a signal is given to takes it.
            for _ in 0..20 {
                daemon.signal(Signal::STOP);
                daemon.signal(Signal::CONT);
                daemon.signal(Signal::WINCH);
            }
            assert!(ground.answers(), "{options}");
            daemon.stop();
        }
        let daemon = ground.up(&format!("{UP} --sandbox off"));
        assert!(
            threads(daemon.pid())
                .values()
                .all(|status| status["Seccomp"] == "0" || status["NoNewPrivs"] == "0")
        );
        daemon.stop();
        let daemon = ground.up(&format!("{UP} --sandbox log"));
        assert!(ground.answers());
        assert_eq!(ground.show()["sandbox"], "log");
        assert!(threads(daemon.pid()).values().all(|status| status["Seccomp"] == "2"));
        daemon.stop();
        ground.refused(
            &format!("{UP} --sandbox maybe"),
            2,
            "vxgate: up: --sandbox \"maybe\": on, off or log",
            "",
        );
    });
}

#[test]
fn as_another_user_it_carries_is_reloaded_and_leaves_nothing() {
    isolated!(|| {
        if missing() {
            return;
        }
        if geteuid().as_raw() != 0 || !has_all_users() {
            return vxgate_testbed::skip("this test becomes another user, as root");
        }
        let ground = Ground::with_gate();
        let before = Traces::of(&ground.you);
        let file = "/run/user.toml";
        let text = |more: &str| {
            format!(
                "user = \"4711:4712\"\n{more}\npeer = \"100.64.158.4=10.192.158.4\"\naddress = \"10.225.194.171/9\"\n"
            )
        };
        fs::write(file, text("mtu = 1400")).expect("a file");
        for (options, sandbox) in [("", "2"), (" --sandbox off", "0")] {
            let daemon = ground.up(&format!("up --config {file}{options}"));
            assert!(ground.answers());
            assert_eq!(ground.show()["vni"], 10);
            for (name, status) in threads(daemon.pid()) {
                assert_eq!(status["Uid"], "4711\t4711\t4711\t4711", "{name}");
                assert_eq!(status["Gid"], "4712\t4712\t4712\t4712", "{name}");
                assert_eq!((status["Groups"].as_str(), status["Seccomp"].as_str()), ("", sandbox), "{name}");
                assert_eq!(status["CapEff"], "0000000000000000", "{name}");
            }
            fs::write(file, text("mtu = 1300\nroute = \"198.51.100.0/24\"")).expect("a file");
            let reloaded = ground.vxgate("reload");
            assert_eq!(reloaded.code, Some(0), "{}", reloaded.stderr);
            assert_eq!(ground.show()["mtu"], 1300);
            fs::write(file, text("mtu = 1400")).expect("a file");
            daemon.stop();
            before.again(&ground.you, options);
        }
        ground.refused(
            &format!("{UP} --user root"),
            2,
            "vxgate: up: --user \"root\": a user that this host knows",
            "",
        );
        ground.refused(&format!("{UP} --user nobody-of-that-name"), 2, "vxgate: up: --user", "");
    });
}

/// Whether every user has a number in this namespace.
fn has_all_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").expect("proc");
    map.split_whitespace().last().and_then(|count| count.parse().ok()).is_some_and(|count: u64| count > 4712)
}
