//! `vxgate init`: the Gate's own script, as /etc/rc.local runs it.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixStream;

use vxgate_testbed::{Host, eventually, isolated};

use crate::ground::{Ended, Ground, PATIENCE, Traces, VXGATE, missing};

/// Ends what a failed test leaves: the daemon of `init` is nobody's child.
struct Undo<'a>(&'a Host);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let mut down = self.0.command(VXGATE);
        // After a test that went well there is nothing to end.
        let _ = down.arg("down").output();
    }
}

/// Every shape with every mask, all for the same tunnel.
const LINES: [&str; 6] = [
    "eth0 172.21.0.100 vxlan0 10.225.194.171/9 10.255.255.255 100.64.158.4 100.64.158.132",
    "eth0 172.21.0.100 vxlan0 10.225.194.171 255.128.0.0 100.64.158.4 100.64.158.132",
    "eth0 172.21.0.100 vxlan0 10.225.194.171 9 100.64.158.4 100.64.158.132",
    "eth0 172.21.0.100 vxlan0 10.225.194.171/9 10.255.255.255 10 100.64.158.4 100.64.158.132",
    "eth0 172.21.0.100 vxlan0 10.225.194.171 255.128.0.0 10 100.64.158.4 100.64.158.132",
    "eth0 172.21.0.100 vxlan0 10.225.194.171 9 10 100.64.158.4 100.64.158.132",
];

#[test]
fn every_shape_and_mask_returns_with_the_tunnel_up_and_down_ends_it() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let before = Traces::of(&ground.you);
        let _undo = Undo(&ground.you);
        for line in LINES {
            // The daemon logs to where init's errors go, as long as it lives, where that is a file.
            let mut init = ground.command(&format!("init {line}"));
            init.stderr(File::create("/run/log").unwrap());
            let init = init.output().unwrap();
            let (told, log) =
                (String::from_utf8(init.stdout).unwrap(), fs::read_to_string("/run/log").unwrap());
            assert_eq!(init.status.code(), Some(0), "{line}: {log}");
            assert!(
                told.starts_with("vxlan0 is up (pid ") && log.contains(" is up: "),
                "{line}: {told}{log}"
            );
            assert!(ground.answers(), "{line}");
            let show = ground.show();
            assert_eq!((&show["vni"], show["peers"].as_array().unwrap().len()), (&10.into(), 2), "{line}");
            let again = ground.vxgate(&format!("init {line}"));
            assert_eq!(again.code, Some(1), "{line}");
            assert!(
                again.stderr.contains("vxgate is already running for vxlan0 (pid "),
                "{line}: {}",
                again.stderr
            );
            assert!(ground.answers(), "{line}");
            assert_eq!(ground.vxgate("down").code, Some(0), "{line}");
            before.again(&ground.you, line);
        }
    });
}

#[test]
fn the_seeds_own_line_in_rc_local_works_with_its_log_redirected() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let _undo = Undo(&ground.you);
        fs::create_dir("/run/ec2-user").unwrap();
        symlink(VXGATE, "/run/ec2-user/init_vxlan.sh").unwrap();
        fs::write(
            "/run/rc.local",
            "#!/bin/sh\n\
             /run/ec2-user/init_vxlan.sh eth0 172.21.0.100 vxlan0 10.225.194.171/9 10.255.255.255 100.64.158.4 100.64.158.132 \
             > /run/init_vxlan.log 2>&1\n\
             touch /run/booted\n",
        )
        .unwrap();
        let mut boot = ground.you.command("/bin/sh");
        boot.arg("/run/rc.local");
        let boot = Ended::of(boot);
        assert_eq!((boot.code, boot.stdout.as_str(), boot.stderr.as_str()), (Some(0), "", ""));
        assert!(fs::exists("/run/booted").unwrap());
        assert!(ground.answers());
        let log = || fs::read_to_string("/run/init_vxlan.log").unwrap();
        assert!(log().contains("vxlan0 is up"), "{}", log());
        assert_eq!(ground.vxgate("down vxlan0").code, Some(0));
        assert!(eventually(PATIENCE, || log().contains("ending")), "{}", log());
    });
}

#[test]
fn a_tunnel_that_does_not_come_up_is_told_by_init_with_its_status() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        for (line, message) in [
            (
                "init eth7 172.21.0.100 vxlan0 10.225.194.171 9 100.64.158.4",
                "vxgate: tunnel vxlan0: --underlay eth7: there is no such device",
            ),
            (
                "init eth0 172.21.0.9 vxlan0 10.225.194.171 9 100.64.158.4",
                "vxgate: tunnel vxlan0: --local 172.21.0.9 is no address of this host",
            ),
        ] {
            ground.refused(line, 1, message, "this host has");
        }
    });
}

#[test]
fn who_reads_inits_output_to_its_end_gets_an_end() {
    isolated!(|| {
        if missing() {
            return;
        }
        // The output of a command substitution ends although the daemon lives.
        let ground = Ground::with_gate();
        let _undo = Undo(&ground.you);
        let mut shell = ground.you.command("/bin/sh");
        let null = File::create("/run/log").unwrap();
        shell
            .args(["-c", "told=$(\"$0\" init \"$@\"); echo \"told: $told\"", VXGATE])
            .args(LINES[5].split(' '))
            .stderr(null);
        let ended = shell.output().unwrap();
        let told = String::from_utf8(ended.stdout).unwrap();
        assert!(told.starts_with("told: vxlan0 is up (pid "), "{told}");
        assert!(ground.answers());
        assert_eq!(ground.vxgate("down").code, Some(0));
    });
}

#[test]
fn who_reads_inits_errors_too_gets_them_and_an_end() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let _undo = Undo(&ground.you);
        for script in ["told=$(\"$0\" init \"$@\" 2>&1); echo \"$told\"", "\"$0\" init \"$@\" 2>&1 | cat"] {
            let mut shell = ground.you.command("/bin/sh");
            // A descriptor of the caller's own goes to nobody either.
            shell.args(["-c", &format!("exec 7</dev/zero; {script}"), VXGATE]).args(LINES[5].split(' '));
            let ended = Ended::of(shell);
            let told = ended.stdout;
            assert!(
                told.contains(" is up: VNI 10") && told.contains("\nvxlan0 is up (pid "),
                "{script}: {told}"
            );
            assert!(ground.answers(), "{script}");

            let pid = ground.show()["pid"].to_string();
            let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
            for (name, target) in
                [("cwd", "/"), ("fd/0", "/dev/null"), ("fd/1", "/dev/null"), ("fd/2", "/dev/null")]
            {
                assert_eq!(link(name).to_str(), Some(target), "{script}: {name}");
            }
            let kept = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
            let kept: Vec<_> = kept.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
            assert!(!kept.iter().any(|target| target.ends_with("dev/zero")), "{script}: {kept:?}");
            // proc_pid_stat(5): process id, name, state, parent, group, session.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            assert_eq!(stat.split(' ').nth(5), Some(pid.as_str()), "{script}: {stat}");

            // What it logs now has no reader, and is no reason to end.
            assert_eq!(ground.vxgate("peer add 100.64.158.133").code, Some(0));
            assert!(ground.answers(), "{script}");
            assert_eq!(ground.vxgate("down").code, Some(0));
        }
        // What is relative stays where it was meant.
        let mut command = ground.command(&format!("init {}", LINES[5]));
        command.current_dir("/run").env("VXGATE_RUNTIME_DIR", "here");
        let ended = Ended::of(command);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(fs::exists("/run/here/vxlan0.sock").unwrap());
        let mut down = ground.command("down");
        down.env("VXGATE_RUNTIME_DIR", "/run/here");
        assert_eq!(Ended::of(down).code, Some(0));
    });
}

#[test]
fn the_journal_stays_its_log_and_no_other_socket_does() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let _undo = Undo(&ground.you);
        for is_journal in [true, false] {
            let (mut journal, stderr) = UnixStream::pair().unwrap();
            let stderr = OwnedFd::from(stderr);
            let stat = File::from(stderr.try_clone().unwrap()).metadata().unwrap();
            let mut init = ground.command(&format!("init {}", LINES[5]));
            init.stderr(stderr);
            if is_journal {
                init.env("JOURNAL_STREAM", format!("{}:{}", stat.dev(), stat.ino()));
            }
            assert_eq!(init.output().unwrap().status.code(), Some(0));
            drop(init);
            assert_eq!(ground.vxgate("down").code, Some(0));
            // It ends with the daemon, or with init.
            let mut log = String::new();
            journal.read_to_string(&mut log).unwrap();
            assert!(log.contains(" is up: ") && log.contains("ending") == is_journal, "{is_journal}: {log}");
        }
    });
}
