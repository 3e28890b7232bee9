//! The process with privilege: what it does for a tunnel, what it refuses, and that neither outlives the other.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use vxgate_testbed::{eventually, isolated, now};

use crate::ground::{Ground, PATIENCE, Traces, UP, VXGATE, command, missing};

/// A monitor that this test orders as a tunnel would that was taken over.
struct Monitor {
    child: Child,
    stream: BufReader<UnixStream>,
}

impl Monitor {
    fn start(ground: &Ground) -> Monitor {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut command = command(&ground.you, VXGATE, "monitor --log-format text");
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::null());
        Monitor { child: command.spawn().expect("it runs"), stream: BufReader::new(ours) }
    }

    /// What it answers; nothing where it hangs up.
    fn order(&mut self, order: &Value) -> String {
        self.say(&json!({ "order": { "dev": "vxlan0", "order": order }}).to_string())
    }

    /// The same of what the tunnel of this device is to be granted.
    fn grant(&mut self, dev: &str, grant: &Value) -> String {
        self.say(&json!({ "grant": { "dev": dev, "grant": grant }}).to_string())
    }

    fn say(&mut self, line: &str) -> String {
        let mut answer = String::new();
        if writeln!(self.stream.get_mut(), "{line}").is_ok() {
            let _ = self.stream.read_line(&mut answer);
        }
        answer.trim_end().to_owned()
    }

    /// Whether it ends with this status once nobody orders any more.
    fn ends(mut self) -> bool {
        drop(self.stream);
        self.child.wait().expect("it ends").success()
    }
}

#[test]
fn what_was_not_granted_is_refused_whoever_asks() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        let index = |name: &str| {
            ground.you.netlink(async |netlink| netlink.link_by_name(name).await).expect("a link").index
        };
        let (tunnel, eth0) = (index("vxlan0"), index("eth0"));
        let grant = |link: u32, api: bool| {
            json!({
                "link": link, "kept": false, "addresses": ["192.0.2.7/24"], "routes": ["198.51.100.0/24"], "follows_api": api,
                "outside": ["100.64.158.4"], "forward": null, "on_event": null, "answers": null,
            })
        };
        let before = Traces::of(&ground.you);

        let mut monitor = Monitor::start(&ground);
        let mut refused = |order: Value, why: &str| {
            let answer = monitor.order(&order);
            assert!(answer.contains(r#""errno":1"#) && answer.contains(why), "{order}: {answer}");
        };
        refused(json!({ "set_mtu": { "octets": 1400 } }), "nothing is granted");
        assert_eq!(monitor.grant("vxlan0", &grant(tunnel, false)), r#""done""#);
        let mut refused = |order: Value, why: &str| {
            let answer = monitor.order(&order);
            assert!(answer.contains(r#""errno":1"#) && answer.contains(why), "{order}: {answer}");
        };
        refused(json!({ "add_address": "192.0.2.8/24" }), "the configuration does not say it");
        refused(json!({ "add_address": "192.0.2.7/8" }), "the configuration does not say it");
        refused(json!({ "delete_address": "10.225.194.171/9" }), "the configuration does not say it");
        for route in ["0.0.0.0/0", "198.51.0.0/16", "203.0.113.0/24"] {
            refused(json!({ "add_route": route }), "the configuration does not say it");
        }
        refused(json!({ "set_mtu": { "octets": 67 } }), "that is none");
        refused(json!("forward"), "nothing of that is granted");
        refused(json!({ "keep_answer": "{}" }), "none is granted");
        before.again(&ground.you, "nothing was done");
        for order in [
            json!({ "add_address": "192.0.2.7/24" }),
            json!({ "add_route": "198.51.100.0/24" }),
            json!({ "delete_route": "198.51.100.0/24" }),
            json!({ "delete_address": "192.0.2.7/24" }),
            // There is no program, and no kept device.
            json!({ "tell": [["VXGATE_EVENT", "peer-down"]] }),
            json!("remember"),
            json!("remove_device"),
            json!({ "set_mtu": { "octets": 1400 } }),
        ] {
            assert_eq!(monitor.order(&order), r#""done""#, "{order}");
        }
        assert_eq!(ground.show()["mtu"], 1400);
        assert!(monitor.grant("vxlan0", &grant(eth0, true)).contains("all was granted at the start"));
        assert!(monitor.grant("../../etc", &grant(eth0, true)).contains("it is no name of a device"));
        assert_eq!(monitor.say(r#"{"seal":{"quiet":false}}"#), r#""done""#);
        assert!(monitor.grant("vxlan7", &grant(eth0, true)).contains("all was granted at the start"));
        // What the kernel refuses is told as the kernel says it.
        let answer = monitor.order(&json!({ "delete_route": "198.51.100.0/24" }));
        assert!(answer.contains(r#""errno":3"#), "{answer}");
        assert!(monitor.ends());

        // Another link than a tunnel's is never changed, whoever granted it.
        let mut monitor = Monitor::start(&ground);
        assert_eq!(monitor.grant("vxlan0", &grant(eth0, true)), r#""done""#);
        let answer = monitor.order(&json!({ "set_mtu": { "octets": 1300 } }));
        assert!(answer.contains("it is not the tunnel's device"), "{answer}");
        assert!(monitor.ends());

        // What the API may name leaves the peers outside, and is not all there is.
        let mut monitor = Monitor::start(&ground);
        assert_eq!(monitor.grant("vxlan0", &grant(tunnel, true)), r#""done""#);
        for (route, granted) in [("0.0.0.0/0", false), ("100.64.158.4/32", false), ("203.0.113.0/24", true)] {
            let answer = monitor.order(&json!({ "add_route": route }));
            assert_eq!(answer == r#""done""#, granted, "{route}: {answer}");
        }
        assert!(monitor.ends());

        // What is no order ends it.
        let big = "x".repeat(2 << 20);
        for nonsense in [
            "",
            "{}",
            "[[[[",
            r#"{"dev":"vxlan0","order":"reboot"}"#,
            r#"{"dev":"vxlan0","order":{"run":"sh"}}"#,
            &big,
        ] {
            let mut monitor = Monitor::start(&ground);
            assert_eq!(monitor.say(nonsense), "", "{nonsense:.40}");
            assert!(monitor.ends());
        }
        daemon.stop();
    });
}

#[test]
fn neither_of_the_two_processes_outlives_the_other() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let before = Traces::of(&ground.you);
        let mut daemon = ground.up(UP);
        let monitor = daemon.monitor();
        daemon.signal(Signal::KILL);
        assert_eq!(daemon.wait().0.signal(), Some(Signal::KILL.as_raw()));
        assert!(eventually(PATIENCE, || test_kill_process(monitor).is_err()), "the monitor is still there");

        let mut daemon = ground.up(UP);
        // It is the tunnel that a terminal or a service manager means.
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            kill_process(daemon.monitor(), signal).unwrap();
        }
        assert!(ground.answers());
        kill_process(daemon.monitor(), Signal::KILL).unwrap();
        let (status, log) = daemon.wait();
        assert_eq!(status.code(), Some(1), "{log}");
        let told = "the tunnel's monitor, which changes the network for it, is gone: signal: 9";
        assert!(log.contains(told) && log.contains("hint: start the tunnel again"), "{log}");
        // A socket and a lock are left, as after a kill of the tunnel, and are in nobody's way.
        let daemon = ground.up(UP);
        assert!(ground.answers());
        daemon.stop();
        before.again(&ground.you, "the monitor was killed");
    });
}

#[test]
fn one_that_hangs_is_found_out_and_holds_up_no_end() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let mut daemon = ground.up(UP);
        let monitor = daemon.monitor();
        kill_process(monitor, Signal::STOP).unwrap();
        // Frames go on; what needs it waits.
        assert!(ground.answers());
        let start = now();
        daemon.signal(Signal::TERM);
        let (status, log) = daemon.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("it does not answer") && log.contains("killing it"), "{log}");
        assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
        assert!(eventually(PATIENCE, || test_kill_process(monitor).is_err()));
    });
}

#[test]
fn only_a_tunnel_starts_one() {
    let ended = std::process::Command::new(VXGATE)
        .args(["monitor", "--log-format", "text"])
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let told = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(ended.status.code(), Some(1));
    assert!(told.contains("it is `vxgate up` that starts a monitor, and nobody else"), "{told}");
}

#[test]
fn what_a_kept_device_has_is_written_down_again_at_a_reload_and_what_is_there_already_is_right() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let file = "/run/kept.toml";
        let text = |more: &str| {
            format!(
                "tap = \"keep\"\npeer = \"100.64.158.4=10.192.158.4\"\naddress = [\"10.225.194.171/9\"{more}]\n"
            )
        };
        fs::write(file, text("")).unwrap();
        let daemon = ground.up(&format!("up --config {file}"));
        // Somebody was quicker than the file.
        ground.you.address("vxlan0", "192.0.2.1/24").unwrap();
        fs::write(file, text(", \"192.0.2.1/24\"") + "route = \"198.51.100.0/24\"\n").unwrap();
        let link = ground.you.netlink(async |netlink| netlink.link_by_name("vxlan0").await).unwrap();
        let route = "198.51.100.0/24".parse().unwrap();
        ground.you.netlink(async |netlink| netlink.route_add(route, &link, None, None).await).unwrap();
        let reloaded = ground.vxgate("reload");
        assert_eq!(reloaded.code, Some(0), "{}", reloaded.stderr);
        let kept = fs::read_to_string("/run/vxgate/vxlan0.kept").unwrap();
        assert!(kept.contains("192.0.2.1/24") && kept.contains("198.51.100.0/24"), "{kept}");
        daemon.stop();

        // The next start takes away what is said no longer.
        fs::write(file, text("")).unwrap();
        let daemon = ground.up(&format!("up --config {file}"));
        let addresses = ground.you.netlink(async |netlink| netlink.addresses_of(&link).await).unwrap();
        assert!(addresses.iter().all(|address| address.ip.to_string() != "192.0.2.1/24"), "{addresses:?}");
        assert_eq!(ground.vxgate("down").code, Some(0));
        drop(daemon);
        assert!(!fs::exists("/run/vxgate/vxlan0.kept").unwrap());
    });
}
