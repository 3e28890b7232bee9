//! `vxgate init`: the Gate's init script, its arguments and its manner.
//!
//! ```text
//! init ──spawn──► init --foreground --detached = up      the daemon, in a session of its own
//!   │◄── what it says, until it is up ────────────────┤
//!   │◄── its exit, or its control socket's answer ────┘
//!   └─► returns, as a line of /etc/rc.local must
//! ```
//!
//! The daemon keeps nothing of its caller's but a standard error that is a file, as rc.local's log is, or the journal:
//! whoever reads a pipe to its end gets the end when init returns, and a terminal closes.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::fs::{FileType, fstat};
use rustix::process::{Pid, Signal, kill_process, setsid};
use vxgate_gate::InitArguments;
use vxgate_sys::inheritance::close_on_exec_above_stderr;

use crate::args::InitArgs;
use crate::args::environment;
use crate::args::up::UpOptions;
use crate::config::UpConfig;
use crate::config::layers::Layers;
use crate::config::values::NotAllowed;
use crate::control::client::Client;
use crate::control::runtime_dir::{self, RuntimeDir};
use crate::failure::Failure;
use crate::up::{self, Wanted};

/// How often the daemon is asked whether it is up.
const INTERVAL: Duration = Duration::from_millis(20);

/// How often at most: a tunnel that is not up after 30 s is not coming.
const ATTEMPTS: u32 = 1500;

/// Brings up the tunnel that these arguments ask for.
pub(crate) fn run(args: &InitArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let config = config(&args.arguments)?;
    if args.detached {
        detach().map_err(|error| Failure::failed("init: leave the caller", error))?;
        return up::run(vec![Wanted::Said(config)], None, leave_stderr);
    }
    if args.foreground {
        return up::run(vec![Wanted::Said(config)], None, || {});
    }
    let mut daemon =
        spawn(&args.arguments).map_err(|error| Failure::failed("init: start the daemon", error))?;
    let pid = daemon.id();
    let said = daemon.stderr.take().map(|mut said| {
        // Where our own errors go nowhere, neither do its.
        thread::spawn(move || io::copy(&mut said, &mut io::stderr()).map(drop))
    });
    let came_up = wait_up(daemon, &config);
    // It has ended, or left the pipe before it answered: what it said has an end. After any other failure it may not.
    if let Some(said) = said.filter(|_| came_up.as_ref().err().is_none_or(Failure::is_silent)) {
        // What cannot be copied has nobody to be told to.
        let _ = said.join();
    }
    came_up?;
    let dev = &config.dev;
    writeln!(out, "{dev} is up (pid {pid}): `vxgate show {dev}` shows it, `vxgate down {dev}` takes it down")
        .map_err(|error| Failure::output(&error))
}

/// Starts the daemon with nothing of ours but, where it is a log, our standard error.
fn spawn(arguments: &[String]) -> io::Result<Child> {
    let mut daemon = Command::new("/proc/self/exe");
    daemon.arg0("vxgate").args(["init", "--foreground", "--detached"]).args(arguments);
    // It leaves the working directory, to which the path may be relative.
    let dir = std::path::absolute(RuntimeDir::from_environment().path())?;
    daemon.env(runtime_dir::VARIABLE, dir).stdin(Stdio::null()).stdout(Stdio::null());
    daemon.stderr(if stderr_is_log() { Stdio::inherit() } else { Stdio::piped() });
    // A kernel without the call leaves what our caller left open.
    let _ = close_on_exec_above_stderr();
    daemon.spawn()
}

/// Whether standard error is a log that may be kept: a file, or the journal by what it says of itself (systemd.exec(5),
/// `JOURNAL_STREAM`). Nobody waits for the end of either.
fn stderr_is_log() -> bool {
    let Ok(stat) = fstat(io::stderr()) else { return false };
    let journal = env::var("JOURNAL_STREAM").unwrap_or_default();
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        || journal == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// Outlives the caller's terminal and keeps no file system busy.
fn detach() -> io::Result<()> {
    setsid()?;
    env::set_current_dir("/")
}

/// Lets go of the pipe to init, which has heard enough. What is logged from here on goes nowhere, unless to a log.
fn leave_stderr() {
    if stderr_is_log() {
        return;
    }
    let null = OpenOptions::new().write(true).open("/dev/null");
    // Without a /dev/null there is nothing better than the pipe.
    let _ = null.map(|null| rustix::stdio::dup2_stderr(null.as_fd()));
}

/// What the script's arguments, the environment and the file that it names ask for; the arguments win.
pub(crate) fn config(arguments: &[String]) -> Result<UpConfig, Failure> {
    let init = InitArguments::parse(arguments)
        .map_err(|error| Failure::usage("init", &error).with_hint(error.hint()))?;
    let layers =
        Layers::under(options(&init).map_err(|(what, why)| Failure::usage(format!("init: {what}"), why))?)?
            .only("init")?;
    UpConfig::new(layers.options())
        .map_err(|error| layers.failure(&error, |option| format!("init: {}", argument(option))))
}

/// The options of `up` that the script's arguments are; an error names the argument and its value.
pub(crate) fn options(init: &InitArguments) -> Result<UpOptions, (String, NotAllowed)> {
    let name = |argument: &'static str, text: &str| {
        text.parse().map_err(|error| (format!("{argument} {text:?}"), error))
    };
    Ok(UpOptions {
        underlay: Some(name("PHY_IF", &init.underlay)?),
        local: Some(init.local.to_canonical()),
        dev: Some(name("VXLAN_IF", &init.device)?),
        address: init.address.into_iter().collect(),
        vni: Some(init.vni),
        peer: init.peers.iter().map(|peer| peer.to_canonical().into()).collect(),
        ..UpOptions::default()
    })
}

/// What the script calls the argument behind an option of `up`; the others came from the environment.
pub(crate) fn argument(option: &str) -> String {
    match option {
        "underlay" => "PHY_IF".to_owned(),
        "local" => "PHY_ADDR".to_owned(),
        "dev" => "VXLAN_IF".to_owned(),
        "address" => "VXLAN_ADDR".to_owned(),
        "peer" => "PEER".to_owned(),
        other => environment::variable(other).to_owned(),
    }
}

/// Waits until the daemon answers on its control socket, or ends.
fn wait_up(mut daemon: Child, config: &UpConfig) -> Result<(), Failure> {
    let pid = daemon.id();
    let dir = RuntimeDir::from_environment();
    let (ended, end) = mpsc::channel();
    thread::spawn(move || ended.send(daemon.wait()));
    for _ in 0..ATTEMPTS {
        match end.recv_timeout(INTERVAL) {
            // It has said why.
            Ok(Ok(status)) => return Err(Failure::told(status.code())),
            Ok(Err(error)) => return Err(Failure::failed("init: wait for the daemon", error)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::failed("init", "the wait for the daemon ended early"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Another daemon of the same device may answer while ours finds that out.
        let status = Client::connect(&dir, &config.dev).and_then(|mut client| client.show());
        if status.is_ok_and(|tunnel| tunnel.pid == pid) {
            return Ok(());
        }
    }
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
    Err(Failure::failed(format!("init: {}", config.dev), "the tunnel did not come up within 30 s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_of(line: &str) -> Result<UpConfig, Failure> {
        config(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_seeds_line_is_this_tunnel() {
        let config =
            config_of("eth0 172.21.0.100 vxlan0 10.225.194.171/9 10.255.255.255 100.64.158.4 100.64.158.132")
                .unwrap();
        assert_eq!(config.underlay.unwrap().as_str(), "eth0");
        assert_eq!(config.local, Some("172.21.0.100".parse().unwrap()));
        assert_eq!(config.addresses, ["10.225.194.171/9".parse().unwrap()]);
        assert_eq!(
            (config.vni.get(), config.peers.len(), config.source_port.to_string().as_str()),
            (10, 2, "4789")
        );
    }

    #[test]
    fn a_daemon_that_ends_early_has_told_why_and_its_status_is_ours() {
        let config = config_of("eth0 172.21.0.100 vxgate-no-such - -").unwrap_err();
        assert!(config.to_string().contains("VXLAN_ADDR"), "{config}");
        let config = config_of("eth0 172.21.0.100 vxgate-none 10.0.0.1 9").unwrap();
        for (script, code) in [("exit 2", 2), ("exit 1", 1), ("exit 0", 1), ("kill -9 $$", 1)] {
            let daemon = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let failure = wait_up(daemon, &config).unwrap_err();
            assert!(failure.is_silent());
            assert_eq!(failure.exit_code(), std::process::ExitCode::from(code), "{script}");
        }
    }

    #[test]
    fn each_wrong_argument_has_the_scripts_name() {
        for (line, message) in [
            ("eth0 172.21.0.100", "vxgate: init: VXLAN_IF is missing\nhint: the arguments are PHY_IF"),
            ("eth/0 172.21.0.100 vxlan0 10.0.0.1 9", "vxgate: init: PHY_IF \"eth/0\": a device's name is"),
            (
                "eth0 172.21.0.100 vxlan/0 10.0.0.1 9",
                "vxgate: init: VXLAN_IF \"vxlan/0\": a device's name is",
            ),
            ("eth0 172.21.0.100 eth0 10.0.0.1 9", "vxgate: init: PHY_IF: eth0 is the device to make"),
            (
                "eth0 172.21.0.100 vxlan0 10.0.0.1 9 172.21.0.100",
                "vxgate: init: PEER: 172.21.0.100 is this host's",
            ),
            (
                "eth0 172.21.0.100 vxlan0 10.0.0.0 8 1.2.3.4",
                "vxgate: init: VXLAN_ADDR: 10.0.0.0/8 is the network",
            ),
            ("eth0 0.0.0.0 vxlan0 10.0.0.1 9", "vxgate: init: PHY_ADDR: 0.0.0.0 is the unspecified"),
        ] {
            let failure = config_of(line).expect_err(line);
            assert!(failure.to_string().starts_with(message), "{line}: {failure}");
        }
    }
}
