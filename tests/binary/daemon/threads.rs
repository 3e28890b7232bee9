//! The threads that carry frames: where they run, how long they poll, and what the operator is told of it.

use std::collections::BTreeMap;
use std::fs;

use vxgate_testbed::isolated;

use crate::ground::{Daemon, Ground, UP, missing};

/// The processors that each of the daemon's threads may run on, by the thread's name (proc_pid_status(5)).
fn processors(daemon: &Daemon) -> BTreeMap<String, String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect("a field of the kernel's").trim().to_owned()
    };
    let statuses = tasks.map(|task| fs::read_to_string(task.path().join("status")).unwrap());
    statuses.map(|status| (field(&status, "Name:"), field(&status, "Cpus_allowed_list:"))).collect()
}

#[test]
fn the_threads_run_where_they_are_told_in_turn() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        let anywhere = processors(&daemon);
        assert_eq!(ground.show()["affinity"], serde_json::Value::Null);
        daemon.stop();
        let all = &anywhere["vxgate"];
        assert!(anywhere.values().all(|processors| processors == all), "{anywhere:?}");
        // Whichever this test may use: the first and the last of them.
        let first = all.split([',', '-']).next().unwrap();
        let last = all.rsplit([',', '-']).next().unwrap();
        for (list, first_on, second_on) in [
            (first.to_owned(), first, first),
            (format!("{first},{last}"), first, last),
            (format!("{last},{first}"), last, first),
        ] {
            let daemon = ground.up(&format!("{UP} --affinity {list}"));
            let pinned = processors(&daemon);
            assert_eq!((&*pinned["vxgate-0"], &*pinned["vxgate-0-out"]), (first_on, second_on), "{list}");
            assert_eq!(&pinned["vxgate"], all, "what steers is not pinned");
            assert!(ground.answers());
            assert!(ground.vxgate("show").stdout.contains("  affinity:    "), "{list}");
            assert!(ground.show()["affinity"].is_string());
            daemon.stop();
        }
    });
}

#[test]
fn a_processor_that_is_not_there_is_told_with_those_that_are() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let message = "vxgate: tunnel vxlan0: --affinity 1023: no thread can run on that processor";
        ground.refused(&format!("{UP} --affinity 1023"), 1, message, "this process may run on 0");
    });
}

#[test]
fn frames_pass_however_long_the_threads_poll_and_it_is_shown() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        for (option, shown, text) in [
            ("", "auto", "  busy poll:   auto\n"),
            ("--busy-poll 0", "0", "  busy poll:   0 us\n"),
            ("--busy-poll 200", "200", "  busy poll:   200 us\n"),
        ] {
            let daemon = ground.up(&format!("{UP} {option}"));
            assert!(ground.answers(), "{option}");
            assert_eq!(ground.show()["busy_poll"], shown);
            assert!(ground.vxgate("show").stdout.contains(text), "{option}");
            daemon.stop();
        }
    });
}

#[test]
fn frames_pass_with_one_thread_and_with_two_and_it_is_shown() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        for (option, shown, threads) in [("", "2", 2), ("--threads 1", "1", 1), ("--threads auto", "auto", 2)]
        {
            let daemon = ground.up(&format!("{UP} {option}"));
            assert!(ground.answers(), "{option}");
            assert_eq!(ground.show()["threads"], shown);
            let carriers = processors(&daemon).keys().filter(|name| name.starts_with("vxgate-0")).count();
            assert_eq!(carriers, threads, "{option}");
            daemon.stop();
        }
    });
}
