//! `vxgate bench`: a short run of it measures, whatever ends it leaves nothing, and what is wrong is told at once.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use vxgate_testbed::{eventually, isolated, now};

use crate::ground::{Daemon, Ended, PATIENCE, VXGATE, missing};
use crate::lab::{living, mark, marked};

fn bench(args: &str) -> Command {
    let mut command = Command::new(VXGATE);
    command.arg("bench").args(args.split_whitespace()).env_remove("VXGATE_BENCH");
    // Ctrl-C goes to all processes in the foreground, and to no other.
    command.process_group(0);
    marked(command)
}

/// The binary with an option alone.
fn command_of(option: &str) -> Command {
    let mut command = Command::new(VXGATE);
    command.arg(option);
    command
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// The figure of the only round, with what must be known of it beside.
#[track_caller]
fn figure(sample: &Value) -> f64 {
    assert_eq!(keys(sample), ["cpu_seconds", "figure", "latency", "loss", "reordered"]);
    sample["figure"].as_f64().expect("a number")
}

#[test]
fn a_short_run_measures_both_data_planes() {
    isolated!(|| {
        if missing() {
            return;
        }
        let start = now();
        let line = "--load tcp1,udp-flat-18-1,rtt --rounds 1 --duration 0.3 --json /run/report.json \
                    --html /run/report.html";
        let ended = Ended::of(bench(line));
        println!("took {:?}\n{}{}", start.elapsed(), ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("[1/8] TCP, 1 stream: vxgate, round 1 of 1\n"), "{}", ended.stderr);
        // The caller's /run, which is not the one inside.
        let text = fs::read_to_string("/run/report.json").unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            keys(&report),
            [
                "against",
                "command",
                "cpu",
                "cpus",
                "kernel",
                "link",
                "loads",
                "mtu_octets",
                "resident_octets",
                "rounds",
                "started",
                "version"
            ]
        );
        assert_eq!((&report["link"], &report["rounds"]), (&"superframes".into(), &1.into()));
        assert_eq!(report["command"], format!("vxgate bench {line}"));
        let version = Ended::of(command_of("--version")).stdout;
        assert_eq!(report["version"], version.trim_end());
        let resident = report["resident_octets"].as_u64().unwrap();
        assert!((1 << 20..256 << 20).contains(&resident), "{resident}");

        let page = fs::read_to_string("/run/report.html").unwrap();
        assert!(page.contains("<svg") && page.contains("rtt-loaded"), "{page}");

        let loads = report["loads"].as_array().unwrap();
        let names: Vec<&str> = loads.iter().map(|load| load["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["tcp1", "udp-flat-18-1", "rtt-idle", "rtt-loaded"]);
        for (load, plausible) in loads.iter().zip([1e7..1e12, 1e3..1e8, 1e-6..1.0, 1e-6..1.0]) {
            assert_eq!(
                keys(load),
                [
                    "flows",
                    "kernel",
                    "kind",
                    "name",
                    "payload_octets",
                    "ratio",
                    "ratios",
                    "title",
                    "unit",
                    "vxgate"
                ]
            );
            let [vxgate, kernel] = [&load["vxgate"], &load["kernel"]].map(|samples| figure(&samples[0]));
            for figure in [vxgate, kernel] {
                assert!(plausible.contains(&figure), "{load:#}");
            }
            let ratio = load["ratio"].as_f64().unwrap();
            assert!((ratio - vxgate / kernel).abs() < 1e-9 * ratio, "{load:#}");
        }
        let page = fs::read_to_string("/run/report.html").unwrap();
        for row in ["1 stream", "18 octets, 1 flow", "idle, p99.9", "beside TCP, median"] {
            assert!(ended.stdout.contains(&format!("\n  {row} ")), "{row}: {}", ended.stdout);
            assert!(page.contains(&format!(">{row}</th>")), "{row}: {page}");
        }
        assert!(page.contains("<polyline") && page.ends_with("</html>\n"), "{page}");
        for plane in ["vxgate", "kernel"] {
            assert!(loads[0][plane][0]["cpu_seconds"].as_f64().unwrap() > 0.0, "{plane}");
            assert_eq!(loads[1][plane][0]["reordered"], 0, "{plane}");
            let loss = loads[1][plane][0]["loss"].as_f64().unwrap();
            assert!((0.0..1.0).contains(&loss), "{plane}: {loss}");
            let latency = &loads[2][plane][0]["latency"];
            assert_eq!(keys(latency), ["count", "curve", "p50", "p99", "p999"]);
            let [p50, p99, p999] = ["p50", "p99", "p999"].map(|key| latency[key].as_f64().unwrap());
            assert!(p50 <= p99 && p99 <= p999, "{latency}");
            assert_eq!(latency["curve"].as_array().unwrap().len(), 200);
        }
        assert!(eventually(PATIENCE, || living().0.is_empty()), "{:?}", living());
    });
}

#[test]
fn without_a_comparison_it_measures_vxgate_with_the_options_that_are_given() {
    isolated!(|| {
        if missing() {
            return;
        }
        let line =
            "--against none --load conn --rounds 2 --duration 0.1 --wire --json - -- --source-port hash";
        let ended = Ended::of(bench(line));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!((&report["against"], &report["link"]), (&Value::Null, &"wire".into()));
        let load = &report["loads"][0];
        assert_eq!(load["vxgate"].as_array().unwrap().len(), 2);
        assert_eq!((&load["kernel"], &load["ratio"]), (&Value::Array(Vec::new()), &Value::Null));

        let ended = Ended::of(bench("--against none --load conn -- --source-port none"));
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        let told = ended.stderr.lines().find(|line| line.starts_with("vxgate: bench: ")).unwrap_or_default();
        assert!(
            told.starts_with("vxgate: bench: conn over vxgate: it carries nothing; it said:"),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains("up: --source-port \"none\""), "{}", ended.stderr);
    });
}

#[test]
fn a_signal_ends_it_with_what_was_measured_and_nothing_is_left() {
    isolated!(|| {
        if missing() {
            return;
        }
        let told = |path: &str| fs::read_to_string(path).unwrap_or_default();
        for (signal, group) in [(Signal::INT, true), (Signal::TERM, false)] {
            let mut command = bench("--load tcp1 --rounds 100 --duration 0.1 --json /run/report.json");
            let script = "exec \"$@\" > /run/table";
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
            shell.process_group(0);
            command = marked(shell);
            let mut daemon = Daemon::spawn(command);
            let measured =
                eventually(PATIENCE, || daemon.log().contains("round 2 of 100") || daemon.has_ended());
            assert!(measured && !daemon.has_ended(), "{}", daemon.log());
            assert!(!living().0.is_empty(), "it is seen, or its absence would prove nothing");
            let pid = Pid::from_raw(daemon.pid().cast_signed()).unwrap();
            if group { kill_process_group(pid, signal) } else { kill_process(pid, signal) }.unwrap();
            let (status, log) = daemon.wait();
            assert_eq!(status.code(), Some(130), "{signal:?}: {log}");
            assert!(told("/run/table").contains("\n  1 stream "), "{signal:?}: {}", told("/run/table"));
            let report: Value = serde_json::from_str(&told("/run/report.json")).unwrap();
            let rounds = report["loads"][0]["kernel"].as_array().unwrap().len();
            assert!((1..100).contains(&rounds), "{rounds}");
            assert!(eventually(PATIENCE, || living().0.is_empty()), "{signal:?}: {:?}", living());
        }
    });
}

#[test]
fn interrupted_or_killed_at_any_moment_it_leaves_no_process_behind() {
    isolated!(|| {
        if missing() {
            return;
        }
        for (signal, milliseconds) in [
            (Signal::INT, 5),
            (Signal::INT, 150),
            (Signal::INT, 300),
            (Signal::INT, 450),
            (Signal::KILL, 250),
            (Signal::KILL, 600),
        ] {
            let mut daemon =
                Daemon::spawn(bench("--load udp-flat-18-8,tcp16,conn --rounds 2 --duration 0.2"));
            // An earlier end is as good a moment as any.
            let _ = eventually(Duration::from_millis(milliseconds), || daemon.has_ended());
            let pid = Pid::from_raw(daemon.pid().cast_signed()).unwrap();
            // Whoever has ended already has left nobody to signal.
            let _ = if signal == Signal::INT {
                kill_process_group(pid, signal)
            } else {
                kill_process(pid, signal)
            };
            let (status, log) = daemon.wait();
            let gone = eventually(PATIENCE, || living().0.is_empty());
            assert!(gone, "{signal:?} after {milliseconds} ms ({status}): {:?}: {log}", living());
        }
    });
}

/// The `vxgate up` processes of this test's own.
fn tunnels() -> Vec<Pid> {
    let own = |process: &fs::DirEntry| {
        let read = |file: &str| fs::read_to_string(process.path().join(file)).unwrap_or_default();
        read("cmdline").starts_with("vxgate\0up\0") && read("environ").contains(&mark())
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().filter(own);
    processes.filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?)).collect()
}

#[test]
fn a_tunnel_that_dies_while_it_is_measured_is_an_error() {
    isolated!(|| {
        if missing() {
            return;
        }
        let mut daemon = Daemon::spawn(bench("--against none --load tcp1 --rounds 1 --duration 2"));
        let up = eventually(PATIENCE, || tunnels().len() == 2 || daemon.has_ended());
        assert!(up && !daemon.has_ended(), "{}", daemon.log());
        kill_process(tunnels()[0], Signal::KILL).unwrap();
        let (status, log) = daemon.wait();
        assert_eq!(status.code(), Some(1), "{log}");
        let told = log.lines().find(|line| line.starts_with("vxgate: bench: ")).unwrap_or_default();
        assert!(told.starts_with("vxgate: bench: tcp1 over vxgate: "), "{log}");
        assert!(eventually(PATIENCE, || living().0.is_empty()), "{:?}", living());
    });
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_anything_is_measured() {
    isolated!(|| {
        let ended = Ended::of(bench("--json /nonexistent/report.json"));
        assert_eq!(ended.code, Some(1));
        assert_eq!(
            ended.stderr,
            "vxgate: bench: --json /nonexistent/report.json: No such file or directory (os error 2)\n"
        );
    });
}
