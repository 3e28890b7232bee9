//! What the threads of a tunnel may still do once it runs.
//!
//! ```text
//!   thread            capabilities   signals   system calls           files
//!   vxgate-*          none           none      calls::DATA            none: no call opens one
//!   vxgate-errors     none           none      calls::ERRORS          none
//!   control, gate-*   none           its own   calls::CONTROL         reads what files::READ names, writes none
//!   monitor           NET_ADMIN      (a process of its own: `up::monitor`)
//! ```
//!
//! The process has no_new_privs from before its first thread on. Capabilities, filters (seccomp(2)), file rules (landlock(7)) and, with
//! `--user`, user and groups are each thread's own (credentials(7)), so that each takes them on: data threads before their first frame,
//! the control thread once all tunnels are up. Threads started later begin with what the control thread has left.
//!
//! It is no wall within the process: all threads share memory. It takes from a hostile frame that finds a way in what it would do next:
//! open files, run programs, change the network.

mod calls;
mod files;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::signal::SigSet;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use vxgate_forwarder::OnStart;

use crate::config::UpConfig;
use crate::config::user::User;

/// What becomes of a call that is not on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sandbox {
    /// It ends the process, or fails.
    On,
    /// Nothing is taken away.
    Off,
    /// It is logged by the kernel's audit, and done.
    Log,
}

impl Sandbox {
    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Sandbox::On => "on",
            Sandbox::Off => "off",
            Sandbox::Log => "log",
        }
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a process takes from its threads.
#[derive(Clone, Debug)]
pub(crate) struct Confinement {
    sandbox: Sandbox,
    /// Who they run as, where that is somebody else.
    user: Option<User>,
}

impl Confinement {
    /// What the tunnels of a process say, which all say the same.
    pub(crate) fn of(config: &UpConfig) -> Confinement {
        Confinement { sandbox: config.sandbox, user: config.user }
    }

    /// Begins with what every thread of this process will have.
    pub(crate) fn begin(&self) {
        if self.sandbox != Sandbox::Off {
            no_new_privileges();
        }
    }

    /// Whether what needs privilege is done by another process.
    pub(crate) fn separates(&self) -> bool {
        self.sandbox != Sandbox::Off || self.user.is_some()
    }

    /// What a thread that handles frames, or what the network says of them, does before its first; none where nothing is taken away.
    pub(crate) fn data_threads(&self) -> Option<OnStart> {
        if !self.separates() {
            return None;
        }
        // A thread that does what it never does is no longer ours.
        let end = SeccompAction::KillProcess;
        let data = self.program(&[calls::DATA], end.clone());
        let errors = self.program(&[calls::DATA, calls::ERRORS], end);
        let confinement = self.clone();
        Some(OnStart::new(move |thread| {
            // A handler would run here by whatever calls it makes: signals are for the control thread.
            SigSet::all().thread_block()?;
            confinement.drop_privilege("a thread of the data path")?;
            let program = if thread == "vxgate-errors" { &errors } else { &data };
            apply(program.as_deref(), "a thread of the data path");
            Ok(())
        }))
    }

    /// Confines this thread, which is the control thread, and those that it will start. It reads files below these places, and those
    /// that the system's resolver needs.
    ///
    /// # Errors
    /// `--user` cannot be done.
    pub(crate) fn control(&self, reads: &[PathBuf]) -> io::Result<()> {
        if !self.separates() {
            return Ok(());
        }
        self.drop_privilege("the control thread")?;
        if self.sandbox == Sandbox::On
            && let Err(error) = files::read_only(reads)
        {
            tracing::warn!("the control thread may write and run whatever its user may: {error}");
        }
        // What a module of somebody's resolver would do besides fails, and costs no tunnel; but tests shall find it.
        let refuse = if cfg!(debug_assertions) {
            SeccompAction::KillProcess
        } else {
            SeccompAction::Errno(libc::EPERM.cast_unsigned())
        };
        apply(self.program(&[calls::CONTROL], refuse).as_deref(), "the control thread");
        Ok(())
    }

    /// User, groups and capabilities of this thread.
    fn drop_privilege(&self, thread: &str) -> io::Result<()> {
        if let Some(user) = &self.user {
            let (uid, gid) = (user.uid(), user.gid());
            set_thread_groups(&[])?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)?;
        }
        if self.sandbox != Sandbox::Off
            && let Err(error) = keep_only(CapabilitySet::empty())
        {
            tracing::warn!("{thread} keeps its capabilities: {error}");
        }
        Ok(())
    }

    /// Lists as the kernel runs them; none where no call is taken away, or the kernel's filter cannot be made.
    fn program(&self, lists: &[calls::List], otherwise: SeccompAction) -> Option<Arc<BpfProgram>> {
        let action = match self.sandbox {
            Sandbox::Off => return None,
            Sandbox::On => otherwise,
            Sandbox::Log => SeccompAction::Log,
        };
        match filter(lists, action) {
            Ok(program) => Some(Arc::new(program)),
            Err(error) => {
                tracing::warn!("threads may make any system call: {error}");
                None
            }
        }
    }
}

/// Takes from this process, and from every thread that it will have, the way to more privilege by running a program.
pub(crate) fn no_new_privileges() {
    if let Err(error) = set_no_new_privs(true) {
        tracing::warn!("programs could gain privilege (no_new_privs is refused): {error}");
    }
}

/// Whether this thread can become this user.
pub(crate) fn may_become(user: &User) -> bool {
    let is_already = rustix::process::geteuid() == user.uid() && rustix::process::getegid() == user.gid();
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    is_already || capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// Leaves this thread no more than these capabilities, and what it runs none.
///
/// # Errors
/// The kernel does not know how.
pub(crate) fn keep_only(kept: CapabilitySet) -> io::Result<()> {
    clear_ambient_capability_set()?;
    let kept = capabilities(None)?.permitted & kept;
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: none })?)
}

fn filter(lists: &[calls::List], mismatch: SeccompAction) -> Result<BpfProgram, seccompiler::Error> {
    let calls = lists.iter().copied().flatten().map(|(call, _)| *call).chain(calls::DEBUG.iter().copied());
    let rules = calls.map(|call| (call, Vec::new())).collect();
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, mismatch, SeccompAction::Allow, arch)?;
    Ok(BpfProgram::try_from(filter)?)
}

/// A kernel that does not know how leaves the thread as it is, which is told.
fn apply(program: Option<&BpfProgram>, thread: &str) {
    if let Some(program) = program
        && let Err(error) = apply_filter(program)
    {
        tracing::warn!("{thread} may make any system call: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;
    use std::time::Duration;

    use landlock::RulesetStatus;
    use vxgate_gate::api::{Client, ClientConfig, Credentials, Patience};

    use super::*;

    #[test]
    fn a_data_thread_may_make_no_more_than_25_calls_and_each_says_what_for() {
        let calls: BTreeSet<_> = calls::DATA.iter().map(|(call, _)| call).collect();
        assert_eq!(calls.len(), calls::DATA.len());
        assert!(calls.len() <= 25, "{}", calls.len());
        assert!(calls::DATA.iter().all(|(_, what)| what.len() > 4));
        for forbidden in [
            libc::SYS_openat,
            libc::SYS_execve,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_ptrace,
            libc::SYS_clone,
        ] {
            assert!(!calls.contains(&forbidden), "{forbidden}");
        }
    }

    /// Runs this test binary again, for the named test alone.
    fn again(name: &str, sandbox: &str) -> std::process::ExitStatus {
        let test = std::env::current_exe().expect("a path");
        let mut command = Command::new(test);
        command.args(["--exact", name, "--nocapture"]).env("VXGATE_TEST_SANDBOX", sandbox);
        command.output().expect("it runs").status
    }

    #[test]
    fn a_call_that_is_not_on_the_list_ends_the_process() {
        const NAME: &str = "sandbox::tests::a_call_that_is_not_on_the_list_ends_the_process";
        if let Ok(asked) = std::env::var("VXGATE_TEST_SANDBOX") {
            let sandbox = if asked == "on" { Sandbox::On } else { Sandbox::Log };
            let start = Confinement { sandbox, user: None }.data_threads().expect("something is taken away");
            std::thread::spawn(move || {
                start.run("test").expect("confined");
                // What is allowed goes on.
                let moment = std::time::Duration::from_nanos(0);
                assert!(moment.is_zero());
                std::thread::yield_now();
                drop(std::fs::File::open("/etc/hostname"));
            })
            .join()
            .expect("it goes on where it is only logged");
            return;
        }
        assert_eq!(again(NAME, "on").signal(), Some(libc::SIGSYS));
        assert!(again(NAME, "log").success());
    }

    #[test]
    fn the_control_thread_reads_what_it_is_given_and_writes_listens_and_runs_nothing() {
        const NAME: &str =
            "sandbox::tests::the_control_thread_reads_what_it_is_given_and_writes_listens_and_runs_nothing";
        let dir = std::env::temp_dir().join(format!("vxgate-sandbox-{}", std::process::id()));
        if let Ok(asked) = std::env::var("VXGATE_TEST_SANDBOX") {
            std::fs::create_dir(&dir).expect("a directory");
            let (given, other) = (dir.join("given"), dir.join("other"));
            for place in [&given, &other] {
                std::fs::create_dir(place).expect("a directory");
                std::fs::write(place.join("file"), "text").expect("a file");
            }
            let confinement = Confinement { sandbox: Sandbox::On, user: None };
            confinement.begin();
            let denied = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
            let directory = dir.clone();
            let confined = std::thread::spawn(move || {
                confinement.control(std::slice::from_ref(&given)).expect("confined");
                assert_eq!(std::fs::read_to_string(given.join("file")).expect("it may"), "text");
                assert!(std::fs::read_to_string("/etc/passwd").is_ok());
                // What is started ends before it is a program, or is not started.
                let ran = Command::new("/proc/self/exe").status();
                assert!(ran.map_or_else(denied, |status| status.signal() == Some(libc::SIGSYS)));
                assert!(std::fs::read_to_string(other.join("file")).is_err_and(denied));
                assert!(std::fs::write(given.join("file"), "more").is_err_and(denied));
                assert!(std::fs::write(given.join("another"), "more").is_err_and(denied));
                assert!(std::fs::remove_file(given.join("file")).is_err_and(denied));
                if asked == "all" {
                    assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err_and(denied));
                }
            });
            confined.join().expect("as it should be");
            std::fs::remove_dir_all(directory).expect("gone");
            return;
        }
        // An older kernel's landlock knows no ports, and some have none.
        let has = std::thread::spawn(|| files::read_only(&[])).join().expect("it tries");
        match has {
            Ok(RulesetStatus::FullyEnforced) => assert!(again(NAME, "all").success()),
            Ok(_) => assert!(again(NAME, "files").success()),
            Err(error) => println!("SKIPPED: {error}"),
        }
        let left = std::fs::read_dir(std::env::temp_dir()).expect("a directory").flatten();
        for directory in
            left.filter(|entry| entry.file_name().to_string_lossy().starts_with("vxgate-sandbox-"))
        {
            let _ = std::fs::remove_dir_all(directory.path());
        }
    }

    #[test]
    fn the_gates_api_is_asked_by_its_name_and_by_tls_all_the_same() {
        const NAME: &str = "sandbox::tests::the_gates_api_is_asked_by_its_name_and_by_tls_all_the_same";
        if std::env::var_os("VXGATE_TEST_SANDBOX").is_none() {
            assert!(again(NAME, "on").success());
            return;
        }
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("https://localhost:{}", server.local_addr().expect("an address").port());
        let served = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("a connection");
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).expect("the head of a record");
            // No server that there is.
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("it reads");
            hello
        });
        let credentials = Credentials::token("key".into(), "token".into(), "a test");
        let config = ClientConfig {
            patience: Patience::once(Duration::from_secs(5)),
            ..ClientConfig::new(endpoint.parse().expect("an endpoint"), credentials)
        };
        let client = Client::new(config);
        let asked = std::thread::spawn(move || {
            Confinement { sandbox: Sandbox::On, user: None }.control(&[]).expect("confined");
            // As the daemon does: on a thread that the control thread starts.
            let id = "vpg-1".parse().expect("an identifier");
            std::thread::Builder::new()
                .name("gate-api".to_owned())
                .spawn(move || client.vpg(&id))
                .expect("a thread")
                .join()
        });
        assert!(asked.join().expect("it ends").expect("it ends, too").is_err());
        assert_eq!(
            served.join().expect("it ends")[..3],
            [22, 3, 1],
            "a handshake of TLS (RFC 8446 section 5.1)"
        );
    }
}
