//! The two hosts, the binary in one of them, and what is left there afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use vxgate_testbed::{
    Host, KernelVxlan, Ping, eventually, kernel_has_vxlan, link, skip, tun_obstacle, wait_for,
};

pub(crate) const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");
pub(crate) const YOU: &str = "172.21.0.100";
pub(crate) const GATE: &str = "100.64.158.4";
pub(crate) const GATE_INNER: &str = "10.192.158.4";
/// The Gate's tunnel in words of `up`.
pub(crate) const UP: &str = "up --address 10.225.194.171/9 --peer 100.64.158.4";
/// How long anything may take to happen before it counts as not happening.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a command that ends by itself may take: the lab, the longest, has 15 s.
const LIMIT: Duration = Duration::from_secs(30);

/// Says what is missing, if a TAP device or the kernel's vxlan device is.
pub(crate) fn missing() -> bool {
    let reason = tun_obstacle().or_else(|| {
        (!kernel_has_vxlan()).then(|| "this kernel has no vxlan device (modprobe vxlan)".to_owned())
    });
    reason.is_some_and(|reason| {
        skip(&reason);
        true
    })
}

/// The two hosts with the link between them.
pub(crate) struct Ground {
    pub(crate) you: Host,
    pub(crate) gate: Host,
}

impl Ground {
    /// Hosts, link, addresses and routes; no VTEP yet.
    pub(crate) fn lay() -> Ground {
        let (you, gate) = (Host::new("you").unwrap(), Host::new("gate").unwrap());
        link(&you, "eth0", &gate, "eth0").unwrap();
        you.address("eth0", "172.21.0.100/24").unwrap();
        you.address("eth0", "2001:db8:21::100/64").unwrap();
        gate.address("eth0", "172.21.0.1/24").unwrap();
        gate.address("eth0", "2001:db8:21::1/64").unwrap();
        gate.address("lo", "100.64.158.4/32").unwrap();
        gate.address("lo", "100.64.158.132/32").unwrap();
        you.route("0.0.0.0/0", "172.21.0.1").unwrap();
        Ground { you, gate }
    }

    /// The same with the kernel's VTEP on `gate`.
    pub(crate) fn with_gate() -> Ground {
        let ground = Ground::lay();
        let gate = KernelVxlan::new(GATE).peer(YOU).address("10.192.158.4/9").address("fd00:10::4/64");
        gate.create(&ground.gate).unwrap();
        ground
    }

    /// Runs the binary on `you` to its end.
    pub(crate) fn vxgate(&self, line: &str) -> Ended {
        Ended::of(self.command(line))
    }

    /// The binary on `you` with these arguments.
    pub(crate) fn command(&self, line: &str) -> Command {
        command(&self.you, VXGATE, line)
    }

    /// Brings a tunnel up on `you`.
    pub(crate) fn up(&self, line: &str) -> Daemon {
        Daemon::start(self.command(line))
    }

    /// Whether the Gate peer's inner address answers.
    pub(crate) fn answers(&self) -> bool {
        // The first may wait for IPv6 or ARP to settle.
        eventually(PATIENCE, || {
            let ping = Ping {
                count: 1,
                timeout: Duration::from_millis(500),
                ..Ping::new(GATE_INNER.parse().unwrap())
            };
            self.you.run(|| ping.run()).unwrap().all_answered()
        })
    }

    /// `show -j` of the only tunnel.
    pub(crate) fn show(&self) -> Value {
        let shown = self.vxgate("show -j");
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        let mut tunnels: Vec<Value> = serde_json::from_str(&shown.stdout).expect("JSON");
        assert_eq!(tunnels.len(), 1, "{}", shown.stdout);
        tunnels.remove(0)
    }

    /// Runs a line that must fail with this status, this first line (its beginning) and a hint that holds these words,
    /// and must leave `you` as it was.
    #[track_caller]
    pub(crate) fn refused(&self, line: &str, code: i32, message: &str, hint: &str) {
        self.refused_command(self.command(line), code, message, hint);
    }

    #[track_caller]
    pub(crate) fn refused_command(&self, command: Command, code: i32, message: &str, hint: &str) {
        let before = Traces::of(&self.you);
        let case = format!("{command:?}");
        let ended = Ended::of(command);
        let told = ended.stderr.lines().find(|line| line.starts_with("vxgate: ")).unwrap_or_default();
        assert_eq!(ended.code, Some(code), "{case}: {}", ended.stderr);
        assert!(told.starts_with(message), "{case}: {}", ended.stderr);
        let hinted = ended.stderr.lines().find(|line| line.starts_with("hint: "));
        let advice = hinted.unwrap_or(told);
        assert!(advice.contains(hint), "{case}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{case}");
        before.again(&self.you, &case);
    }
}

/// A command that runs in this host and reads nothing.
pub(crate) fn command(host: &Host, program: impl AsRef<Path>, line: &str) -> Command {
    let mut command = host.command(program.as_ref());
    command.args(line.split_whitespace()).stdin(Stdio::null());
    for (variable, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("VXGATE_") && name != "VXGATE_ISOLATED")
    {
        command.env_remove(variable);
    }
    command
}

/// A process that has ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(mut command: Command) -> Ended {
        let case = format!("{command:?}");
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let outputs = [
            child.stdout.take().map(|pipe| thread::spawn(|| io::read_to_string(pipe))),
            child.stderr.take().map(|pipe| thread::spawn(|| io::read_to_string(pipe))),
        ];
        let status = wait_for(LIMIT, || child.try_wait().unwrap());
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let [stdout, stderr] =
            outputs.map(|reader| reader.expect("a pipe").join().expect("no panic").expect("UTF-8"));
        let status = status.unwrap_or_else(|| panic!("{case} does not end: {stdout}{stderr}"));
        Ended { code: status.code(), stdout, stderr }
    }
}

/// What a tunnel could leave behind on a host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    links: BTreeSet<String>,
    addresses: BTreeSet<String>,
    routes: BTreeSet<String>,
    sockets: BTreeSet<String>,
    files: BTreeSet<String>,
}

impl Traces {
    pub(crate) fn of(host: &Host) -> Traces {
        let (links, addresses, routes) = host
            .netlink(async |netlink| {
                Ok((netlink.links().await?, netlink.addresses().await?, netlink.routes().await?))
            })
            .unwrap();
        // What the kernel makes by itself comes and goes in its own time.
        let own = |text: &str| !text.starts_with("fe80:") && !text.starts_with("ff00:");
        let sockets = host.run(|| {
            let tables = ["udp", "udp6"].map(|table| {
                fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default()
            });
            let lines = tables.iter().flat_map(|table| table.lines().skip(1));
            lines.filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned)).collect()
        });
        let files = fs::read_dir("/run/vxgate").into_iter().flatten().flatten();
        Traces {
            links: links.iter().map(|link| format!("{} {} {}", link.name, link.mtu, link.up)).collect(),
            addresses: addresses
                .iter()
                .map(|address| address.ip.to_string())
                .filter(|text| own(text))
                .collect(),
            routes: routes
                .iter()
                .map(|route| format!("{} {:?} {:?}", route.prefix, route.link, route.gateway))
                .filter(|text| own(text))
                .collect(),
            sockets,
            files: files.map(|file| file.file_name().to_string_lossy().into_owned()).collect(),
        }
    }

    /// Fails unless the host is now as it was then.
    #[track_caller]
    pub(crate) fn again(&self, host: &Host, case: &str) {
        if !eventually(Duration::from_secs(2), || Traces::of(host) == *self) {
            assert_eq!(*self, Traces::of(host), "{case}");
        }
    }
}

/// A running `vxgate up`, killed with the test.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts it and waits until it says that it is up.
    #[track_caller]
    pub(crate) fn start(command: Command) -> Daemon {
        let mut daemon = Daemon::spawn(command);
        let up = eventually(PATIENCE, || daemon.log().contains(" is up: ") || daemon.has_ended());
        assert!(up && daemon.log().contains(" is up: "), "it did not come up: {}", daemon.log());
        daemon
    }

    /// Starts it and does not wait.
    pub(crate) fn spawn(mut command: Command) -> Daemon {
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let log = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&log);
        let stderr = child.stderr.take().expect("a pipe");
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Daemon { child, log, reader: Some(reader) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The process that does for it what needs privilege.
    #[track_caller]
    pub(crate) fn monitor(&self) -> Pid {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let [monitor] = children.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("its children: {children:?}")
        };
        monitor.parse().ok().and_then(Pid::from_raw).expect("a process")
    }

    /// Kills it and its monitor at once, as the end of a container does: neither undoes anything.
    #[track_caller]
    pub(crate) fn kill_both(&mut self) {
        let monitor = self.monitor();
        self.signal(Signal::STOP);
        kill_process(monitor, Signal::KILL).unwrap();
        self.signal(Signal::KILL);
        assert_eq!(self.wait().0.signal(), Some(Signal::KILL.as_raw()));
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let status = wait_for(PATIENCE, || self.child.try_wait().unwrap());
        let status = status.unwrap_or_else(|| panic!("it does not end: {}", self.log()));
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status, self.log())
    }

    /// Ends it with SIGTERM, and sees that it ends well.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        let (status, log) = self.wait();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has ended needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
