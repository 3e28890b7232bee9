//! `--on-event`: a program of the operator's that is run when a peer goes down or comes back.
//!
//! # Theory of operation
//!
//! ```text
//!   event ──► queue of 64 ──► one program at a time, in the order of the events ──► its end, or 10 s and SIGKILL
//! ```
//!
//! The program is run as it is, without a shell and without arguments: what happened stands in its environment, which holds
//! nothing else but `PATH`, `HOME` and `LANG`. It reads nothing, and what it says on standard error stands in the tunnel's log. Nothing
//! waits for it: events that find the queue full are told to the log only.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::sync::mpsc;

/// Events that wait for the program: a minute of two peers that flap once a second with a program that takes half of one.
const WAITING: usize = 64;

/// How long the program may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// What it keeps of our environment: what programs need to be found and to speak, and no secret.
const KEPT: [&str; 3] = ["PATH", "HOME", "LANG"];

/// The names by which it is told; each begins with `VXGATE_`.
const NAMES: [&str; 6] =
    ["VXGATE_EVENT", "VXGATE_DEV", "VXGATE_VNI", "VXGATE_PEER", "VXGATE_WHY", "VXGATE_DOWN_MS"];

/// What the program is told: names and values of its environment.
pub(super) type Told = Vec<(&'static str, String)>;

/// The program, ready to be run.
pub(super) struct Hook {
    events: mpsc::Sender<Told>,
}

impl Hook {
    /// Looks whether there is a program of that name that may be run, so that nobody finds out when a peer dies.
    pub(super) fn check(program: &Path) -> io::Result<()> {
        let places: Vec<PathBuf> = if program.components().count() > 1 {
            vec![program.to_owned()]
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|dir| dir.join(program)).collect()
        };
        let mut outcome = Err(io::ErrorKind::NotFound.into());
        for place in places {
            match access(&place, Access::EXEC_OK) {
                Ok(()) if place.is_dir() => outcome = Err(io::ErrorKind::IsADirectory.into()),
                Ok(()) => return Ok(()),
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => outcome = Err(error.into()),
            }
        }
        outcome
    }

    /// Makes it ready; it runs in tasks of the current runtime, and is killed with it.
    pub(super) fn new(program: PathBuf) -> Hook {
        let (events, mut queue) = mpsc::channel::<Told>(WAITING);
        tokio::spawn(async move {
            while let Some(told) = queue.recv().await {
                if let Err(why) = run(&program, told, TIME_LIMIT).await {
                    tracing::warn!("--on-event {}: {why}", program.display());
                }
            }
        });
        Hook { events }
    }

    /// As [`Hook::tell`], of what another process says: names that there are, and values of words, numbers and addresses.
    pub(super) fn tell_checked(&self, told: Vec<(String, String)>) {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.:@".contains(&octet);
        let known = told.into_iter().filter_map(|(name, value)| {
            let name = NAMES.into_iter().find(|known| *known == name)?;
            (value.len() <= 64 && value.bytes().all(is_plain)).then_some((name, value))
        });
        self.tell(known.collect());
    }

    /// Has it run with this in its environment.
    pub(super) fn tell(&self, told: Told) {
        if self.events.try_send(told).is_err() {
            tracing::warn!(
                "--on-event: {WAITING} events wait for the program, which is not told of this one"
            );
        }
    }
}

/// Runs it to its end.
async fn run(program: &Path, told: Told, limit: Duration) -> Result<(), String> {
    let kept = KEPT.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let mut command = Command::new(program);
    command.env_clear().envs(kept).envs(told);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    // In a group of its own: what it has started is killed with it.
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("it cannot be run: {error}"))?;
    let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    match tokio::time::timeout(limit, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(match (status.code(), status.signal()) {
            (Some(code), _) => format!("it ended with status {code}"),
            (None, Some(signal)) => format!("signal {signal} ended it"),
            (None, None) => "it ended".to_owned(),
        }),
        Ok(Err(error)) => Err(format!("it cannot be waited for: {error}")),
        Err(_) => {
            if let Some(group) = group {
                // It may have ended in this moment.
                let _ = kill_process_group(group, Signal::KILL);
            }
            let ended = child.wait().await;
            ended.map_err(|error: io::Error| error.to_string())?;
            Err(format!("it had not ended after {} s, and was killed", limit.as_secs_f64()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A script in a file of its own, which goes with the test.
    struct Script(PathBuf);

    impl Script {
        fn new(name: &str, text: &str) -> Script {
            let path = std::env::temp_dir().join(format!("vxgate-hook-{}-{name}", std::process::id()));
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            Script(path)
        }

        fn run(&self, told: Told, limit: Duration) -> Result<(), String> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&self.0, told, limit))
        }
    }

    impl Drop for Script {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn the_program_is_told_by_its_environment_and_of_nothing_else_of_ours() {
        let out = std::env::temp_dir().join(format!("vxgate-hook-{}-out", std::process::id()));
        let script = Script::new("environment", &format!("env > {}", out.display()));
        let told =
            vec![("VXGATE_EVENT", "peer-down".to_owned()), ("VXGATE_PEER", "$(reboot); 'x'".to_owned())];
        assert_eq!(script.run(told, TIME_LIMIT), Ok(()));
        let environment = fs::read_to_string(&out).unwrap();
        fs::remove_file(&out).unwrap();
        let names: Vec<_> =
            environment.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        assert!(environment.contains("VXGATE_EVENT=peer-down\n"), "{environment}");
        assert!(environment.contains("VXGATE_PEER=$(reboot); 'x'\n"), "no shell has read it: {environment}");
        // The shell that runs the script adds the last three.
        let known = ["VXGATE_EVENT", "VXGATE_PEER", "PATH", "HOME", "LANG", "PWD", "SHLVL", "_", "OLDPWD"];
        assert!(names.iter().all(|name| known.contains(name)), "{environment}");
    }

    #[test]
    fn a_program_that_cannot_be_run_is_found_out_at_once() {
        let check = |program: &str| Hook::check(Path::new(program)).map_err(|error| error.kind());
        assert_eq!((check("/bin/sh"), check("sh")), (Ok(()), Ok(())));
        assert_eq!(check("/nonexistent/program"), Err(io::ErrorKind::NotFound));
        assert_eq!(check("no-program-has-this-name"), Err(io::ErrorKind::NotFound));
        assert_eq!(check("/etc/hostname/x"), Err(io::ErrorKind::NotFound));
        assert_eq!(check("/tmp"), Err(io::ErrorKind::IsADirectory));
        let plain = Script::new("plain", "");
        fs::set_permissions(&plain.0, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Hook::check(&plain.0).map_err(|error| error.kind()), Err(io::ErrorKind::PermissionDenied));
    }

    #[test]
    fn what_goes_wrong_with_it_is_said() {
        let failing = Script::new("failing", "exit 3");
        assert_eq!(failing.run(Vec::new(), TIME_LIMIT), Err("it ended with status 3".to_owned()));
        let gone = Script(PathBuf::from("/nonexistent/program"));
        let error = gone.run(Vec::new(), TIME_LIMIT).unwrap_err();
        assert!(error.starts_with("it cannot be run: No such file"), "{error}");
    }

    #[test]
    fn one_that_hangs_is_killed_with_what_it_started() {
        let pid = std::env::temp_dir().join(format!("vxgate-hook-{}-pid", std::process::id()));
        let hanging = Script::new(
            "hanging",
            &format!("sleep 600 & echo $! > {}.new; mv {0}.new {0}; wait", pid.display()),
        );
        let error = hanging.run(Vec::new(), Duration::from_secs(2)).unwrap_err();
        assert_eq!(error, "it had not ended after 2 s, and was killed");
        let started: u32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        fs::remove_file(&pid).unwrap();
        // Whoever adopts it may take a moment to see its end.
        let gone = vxgate_testbed::eventually(Duration::from_secs(5), || {
            fs::read_to_string(format!("/proc/{started}/stat")).map_or(true, |stat| stat.contains(") Z "))
        });
        assert!(gone, "process {started} lives on");
    }
}
