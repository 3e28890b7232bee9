//! What the service manager hears of a tunnel, on a notify socket as systemd has one.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use vxgate_testbed::{isolated, now, skip, wait_for};

use crate::ground::{Daemon, Ground, PATIENCE, UP, missing};

const SOCKET: &str = "/run/notify";

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn listen() -> Manager {
        let socket = UnixDatagram::bind(SOCKET).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager { socket }
    }

    /// The next datagram, if one is there.
    fn heard(&self) -> Option<String> {
        let mut datagram = [0; 4096];
        match self.socket.recv(&mut datagram) {
            Ok(octets) => Some(String::from_utf8(datagram[..octets].to_vec()).unwrap()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits for a state that begins so; what was heard until then.
    #[track_caller]
    fn wait(&self, state: &str) -> Vec<String> {
        let mut heard: Vec<String> = Vec::new();
        let found = wait_for(PATIENCE, || {
            while let Some(datagram) = self.heard() {
                heard.extend(datagram.lines().map(str::to_owned));
                if heard.iter().any(|line| line.starts_with(state)) {
                    return Some(());
                }
            }
            None
        });
        assert!(found.is_some(), "{state} was not told: {heard:?}");
        heard
    }

    /// How often a sign of life came within this time.
    fn signs_of_life(&self, time: Duration) -> usize {
        let end = now() + time;
        let mut signs = 0;
        let _ = wait_for(time, || {
            while let Some(datagram) = self.heard() {
                signs += datagram.lines().filter(|line| *line == "WATCHDOG=1").count();
            }
            (now() >= end).then_some(())
        });
        signs
    }
}

/// The command as the service manager starts it, with a watchdog of this time.
fn watched(ground: &Ground, line: &str, watchdog: Duration) -> Command {
    let mut command = ground.command(line);
    command.env("NOTIFY_SOCKET", SOCKET).env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    command.env_remove("WATCHDOG_PID");
    command
}

#[test]
fn ready_is_told_once_when_the_tunnel_can_be_reached_then_signs_of_life_and_the_end() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let manager = Manager::listen();
        let mut daemon = Daemon::spawn(watched(&ground, UP, Duration::from_millis(300)));
        let before = manager.wait("READY=1");
        assert_eq!(before, ["READY=1"], "nothing is told before");
        // No wait: who is ready answers.
        assert_eq!(ground.show()["dev"], "vxlan0");
        assert!(ground.answers());
        let heard = manager.wait("STATUS=1 of 1 peers up");
        assert!(!heard.contains(&"READY=1".to_owned()), "{heard:?}");
        for _ in 0..3 {
            manager.wait("WATCHDOG=1");
        }
        daemon.signal(Signal::TERM);
        manager.wait("STOPPING=1");
        assert_eq!(daemon.wait().0.code(), Some(0));
    });
}

#[test]
fn a_tunnel_that_does_not_come_up_is_never_ready_and_its_status_says_why() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let manager = Manager::listen();
        let mut daemon =
            Daemon::spawn(watched(&ground, "up --peer 100.64.158.4 --underlay eth7", Duration::from_secs(1)));
        assert_eq!(daemon.wait().0.code(), Some(1));
        assert_eq!(
            manager.wait("STATUS="),
            ["STATUS=tunnel vxlan0: --underlay eth7: there is no such device"]
        );
    });
}

#[test]
fn another_processs_watchdog_and_a_manager_that_is_gone_disturb_nothing() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let manager = Manager::listen();
        let mut command = watched(&ground, UP, Duration::from_millis(30));
        command.env("WATCHDOG_PID", "1");
        let daemon = Daemon::start(command);
        manager.wait("READY=1");
        assert_eq!(manager.signs_of_life(Duration::from_millis(300)), 0);
        drop(manager);
        fs::remove_file(SOCKET).unwrap();
        assert!(ground.answers(), "{}", daemon.log());
        daemon.stop();
    });
}

/// A thread whose every system call is held up from outside.
struct Held(Child);

impl Held {
    /// Holds the thread of this process that has this name; `None` where the system does not let us.
    fn hold(pid: u32, name: &str) -> Result<Held, String> {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let is_it = |path: &std::path::Path| {
            fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let thread = threads.map(|entry| entry.path()).find(|path| is_it(path)).expect(name);
        let number = thread.file_name().unwrap().to_str().unwrap().to_owned();
        let mut strace = Command::new("strace");
        strace.args([
            "-q",
            "-o",
            "/dev/null",
            "-p",
            &number,
            "-e",
            "trace=all",
            "-e",
            "inject=all:delay_enter=60s",
        ]);
        let held = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut held = held.map_err(|error| format!("strace: {error}"))?;
        // It is held from when the kernel names its tracer.
        let status = thread.join("status");
        let traced = wait_for(PATIENCE, || {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let tracer = text.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().to_owned();
            (tracer != "0" || held.try_wait().unwrap().is_some()).then_some(tracer)
        });
        if traced.as_deref().is_none_or(|tracer| tracer == "0") {
            let _ = held.kill();
            let said = held.wait_with_output().unwrap();
            return Err(format!("strace: {}", String::from_utf8_lossy(&said.stderr)));
        }
        Ok(Held(held))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Told to end, it lets go of the thread.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn a_data_path_that_hangs_gives_no_sign_of_life_until_it_goes_on() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let manager = Manager::listen();
        let mut daemon = Daemon::spawn(watched(&ground, UP, Duration::from_millis(300)));
        manager.wait("WATCHDOG=1");
        let held = match Held::hold(daemon.pid(), "vxgate-0") {
            Ok(held) => held,
            Err(why) => {
                return skip(&format!("this test holds a thread with strace (package strace): {why}"));
            }
        };
        // What was answered before the hold may still come.
        manager.signs_of_life(Duration::from_millis(300));
        assert_eq!(manager.signs_of_life(Duration::from_millis(1500)), 0, "{}", daemon.log());
        assert!(daemon.log().contains("the data path has not answered for 100 ms"), "{}", daemon.log());
        drop(held);
        manager.wait("WATCHDOG=1");
        assert!(ground.answers());
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait().0.code(), Some(0));
    });
}
