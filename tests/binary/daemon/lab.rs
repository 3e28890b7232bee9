//! `vxgate lab`: one command that shows a Gate at work, and leaves nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::{Signal, kill_process_group};
use vxgate_testbed::{eventually, isolated, now};

use crate::ground::{Daemon, Ended, PATIENCE, VXGATE, missing};

fn lab(args: &str) -> Command {
    let mut command = Command::new(VXGATE);
    command.arg("lab").args(args.split_whitespace()).env_remove("VXGATE_LAB").stdin(Stdio::null());
    // Ctrl-C goes to all processes in the foreground, and to no other.
    command.process_group(0);
    command
}

/// The binary's processes and the network namespaces that any process is in, this test's own aside.
pub(crate) fn living() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut processes, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let parent = fs::read_to_string(process.path().join("status")).unwrap_or_default();
        let cmdline = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        let ours = fs::read_to_string(process.path().join("environ")).unwrap_or_default().contains(&mark());
        if ours && !parent.contains("Name:\tdaemon") && !cmdline.contains("daemon-") {
            processes.insert(cmdline);
            namespaces.extend(
                fs::read_link(process.path().join("ns/net")).map(|name| name.to_string_lossy().into_owned()),
            );
        }
    }
    (processes, namespaces)
}

/// What is in the environment of this test's own processes and of no other test's. The lab takes variables of vxgate's own out.
pub(crate) fn mark() -> String {
    format!("LAB_TEST_PID={}\0", std::process::id())
}

pub(crate) fn marked(mut command: Command) -> Command {
    command.env("LAB_TEST_PID", std::process::id().to_string());
    command
}

#[test]
fn every_step_holds_within_15_seconds_and_nothing_is_left() {
    isolated!(|| {
        if missing() {
            return;
        }
        for args in ["--check", "--check --user-space-peers", "--check --api"] {
            let start = now();
            let ended = Ended::of(marked(lab(args)));
            let took = start.elapsed();
            assert_eq!(ended.code, Some(0), "{args}: {}{}", ended.stdout, ended.stderr);
            assert!(took < Duration::from_secs(15), "{args}: {took:?}");
            println!("lab {args}: {took:?}");
            for told in [
                "tunnel up",
                "ARP",
                "5 of 5 answered, 0 % lost",
                "Hello from the device",
                "peer away",
                "fdb show",
                "Try next",
            ] {
                assert!(ended.stdout.contains(told), "{args}: {told}: {}", ended.stdout);
            }
            assert!(!ended.stdout.contains("FAILED"), "{args}: {}", ended.stdout);
            assert!(eventually(PATIENCE, || living().0.is_empty()), "{args}: {:?}", living());
        }
    });
}

#[test]
fn ctrl_c_at_any_moment_leaves_no_process_behind() {
    isolated!(|| {
        if missing() {
            return;
        }
        for (args, milliseconds) in [
            ("", 5),
            ("", 60),
            ("", 150),
            ("--user-space-peers", 80),
            ("--user-space-peers", 250),
            ("--keep", 700),
        ] {
            let mut daemon = Daemon::spawn(marked(lab(args)));
            // An earlier end is as good a moment as any.
            let _ = eventually(Duration::from_millis(milliseconds), || daemon.has_ended());
            let group = rustix::process::Pid::from_raw(daemon.pid().cast_signed()).unwrap();
            // Whoever has ended already has left nobody to signal.
            let _ = kill_process_group(group, Signal::INT);
            let (status, log) = daemon.wait();
            let gone = eventually(PATIENCE, || living().0.is_empty());
            assert!(gone, "{args} after {milliseconds} ms ({status}): {:?}: {log}", living());
        }
    });
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_a_full_disk_is_one() {
    isolated!(|| {
        if missing() {
            return;
        }
        let mut command = marked(lab(""));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("vxgate lab: "), "{line}");
        let ended = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), told.as_ref()), (Some(0), ""));
        assert!(eventually(PATIENCE, || living().0.is_empty()), "{:?}", living());

        let mut command = marked(lab(""));
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{told}");
        assert!(told.starts_with("vxgate: standard output: No space left on device"), "{told}");
    });
}

#[test]
fn what_the_callers_environment_says_of_tunnels_does_not_reach_the_lab() {
    isolated!(|| {
        if missing() {
            return;
        }
        let mut command = marked(lab("--check"));
        command
            .env("VXGATE_VNI", "20")
            .env("VXGATE_PEERS", "192.0.2.1")
            .env("VXGATE_RUNTIME_DIR", "/run/elsewhere");
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stdout));
        assert!(!fs::exists("/run/elsewhere").unwrap(), "nothing is left behind");
    });
}

/// A child that does not outlive a test that fails.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // One that has ended by itself needs neither.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn kept_it_says_how_to_enter_and_ends_with_sigterm() {
    isolated!(|| {
        if missing() {
            return;
        }
        let told = fs::File::create("/run/told").unwrap();
        let mut command = marked(lab("--keep"));
        command.stdout(told).stderr(Stdio::inherit());
        let mut child = Ending(command.spawn().unwrap());
        let child = &mut child.0;
        let told = || fs::read_to_string("/run/told").unwrap();
        assert!(eventually(PATIENCE, || told().contains("as `you`:")), "{}", told());
        assert!(!living().0.is_empty(), "the lab itself is seen, or its absence would prove nothing");
        let enter = told().lines().find(|line| line.trim_start().starts_with("you ")).unwrap().to_owned();
        let words: Vec<&str> = enter.split_whitespace().skip(1).collect();
        assert_eq!(words[0], "nsenter", "{enter}");
        if let Ok(shown) = Command::new(words[0]).args(&words[1..]).args([VXGATE, "show", "-j"]).output() {
            let shown = String::from_utf8(shown.stdout).unwrap();
            assert!(shown.contains("\"local\":\"172.21.0.100\""), "{enter}: {shown}");
        } else {
            println!("there is no nsenter here to try it with");
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(child), Signal::TERM).unwrap();
        assert!(eventually(PATIENCE, || child.try_wait().unwrap().is_some()));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{}", told());
        assert!(eventually(PATIENCE, || living().0.is_empty()), "{:?}", living());
    });
}

#[test]
fn without_privilege_it_works_or_says_what_is_missing() {
    isolated!(|| {
        if missing() {
            return;
        }
        // The lab in a user namespace of its own, whoever runs this test: an unprivileged user's way.
        let Some(setpriv) =
            ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().find(|path| fs::exists(path).unwrap())
        else {
            return vxgate_testbed::skip("there is no setpriv: install util-linux");
        };
        // The binary where that user may reach it.
        fs::copy(VXGATE, "/run/vxgate-binary").unwrap();
        let run = |mode: &str| {
            let mut command = Command::new(setpriv);
            command.args([
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "/run/vxgate-binary",
                "lab",
                "--check",
            ]);
            let ended = Ended::of(marked(command));
            println!("lab as nobody, {mode}: {:?}\n{}{}", ended.code, ended.stdout, ended.stderr);
            ended
        };
        let ended = run("as it is here");
        if ended.stderr.contains("setpriv: setresuid failed")
            || ended.stderr.contains("setpriv: setgroups failed")
        {
            // Only root can become somebody else; who is not root tests it by every other test here.
            return;
        }
        if ended.code != Some(0) {
            assert_eq!(ended.code, Some(1));
            let told = ended.stderr.as_str();
            assert!(told.starts_with("vxgate: lab: "), "{told}");
            assert!(told.contains("chmod 0666 /dev/net/tun") || told.contains("hint: "), "{told}");
        }
        // A node for everybody, in this mount namespace only: the way most distributions have it.
        mount("none", "/dev/net", "tmpfs", MountFlags::empty(), None).unwrap();
        let made = Command::new("/bin/mknod").args(["-m", "0666", "/dev/net/tun", "c", "10", "200"]).status();
        if !made.is_ok_and(|status| status.success()) {
            return println!("no node can be made here");
        }
        let ended = run("with a node for everybody");
        let refused = ended.stderr.contains("user namespace") || ended.stderr.contains("cannot ");
        assert!(ended.code == Some(0) || refused, "{}{}", ended.stdout, ended.stderr);
        assert!(eventually(PATIENCE, || living().0.is_empty()), "{:?}", living());
        // Nothing at its place is told as well.
        fs::remove_file("/dev/net/tun").unwrap();
        let ended = run("without a node");
        assert!(ended.code == Some(1) && ended.stderr.contains("modprobe tun"), "{}", ended.stderr);
        fs::write("/dev/net/tun", "").unwrap();
        mount_bind("/dev/null", "/dev/net/tun").unwrap();
    });
}

#[test]
fn where_user_namespaces_are_refused_it_says_what_to_change() {
    isolated!(|| {
        // A limit of this user namespace's own, which bounds those below it; the initial one is not ours to change.
        let Some(unshare) =
            ["/usr/bin/unshare", "/bin/unshare"].into_iter().find(|path| fs::exists(path).unwrap())
        else {
            return vxgate_testbed::skip("there is no unshare: install util-linux");
        };
        let mut command = Command::new(unshare);
        command.args(["--user", "--map-root-user", "--mount", "/bin/sh", "-c"]).arg(
            "echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_net_namespaces \
             && exec \"$0\" lab --check",
        );
        command.arg(VXGATE);
        let ended = Ended::of(marked(command));
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.starts_with("vxgate: lab: cannot "), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("\nhint: ") && ended.stderr.contains("sysctl -w user.max_"),
            "{}",
            ended.stderr
        );
    });
}
