//! What the threads of a running tunnel may still do.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::Signal;
use vxgate_testbed::isolated;

use crate::ground::{Ground, UP, missing};

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
fn threads_that_handle_frames_have_no_capability_and_a_filter_and_carry_on() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        for options in ["", "--threads auto", "--workers 2"] {
            let daemon = ground.up(&format!("{UP} {options}"));
            assert!(ground.answers(), "{options}");
            let threads = threads(daemon.pid());
            let data =
                threads.iter().filter(|(name, _)| name.starts_with("vxgate-") && *name != "vxgate-errors");
            let mut count = 0;
            for (name, status) in data {
                for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                    assert_eq!(status[set], "0000000000000000", "{name} {set}");
                }
                assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"), "{name}");
                count += 1;
            }
            assert!(count >= 2, "{threads:?}");
            assert!(threads.values().all(|status| status["NoNewPrivs"] == "1"));
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
        ground.refused(
            &format!("{UP} --sandbox maybe"),
            2,
            "vxgate: up: --sandbox \"maybe\": on, off or log",
            "",
        );
    });
}
