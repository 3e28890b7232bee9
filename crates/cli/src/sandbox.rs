//! What the threads that handle frames may still do once they run: nothing but move frames.
//!
//! ```text
//!   process         no_new_privs from before the first thread on
//!   data threads    no signal, no capability ─► a list of system calls; any other ends the process (seccomp(2))
//!   control thread  CAP_NET_ADMIN, where the process has it: MTU, routes and forwarding change while the tunnel runs
//! ```
//!
//! Capabilities and filters are each thread's own (capabilities(7)), so that every data thread takes them on before its first frame. It
//! is no wall within the process: all threads share memory. It takes from a hostile frame that finds a way in what it would do next: open
//! files, run programs, open connections, change the network.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use nix::sys::signal::SigSet;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_no_new_privs,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use vxgate_forwarder::OnStart;

/// What becomes of a call that is not on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sandbox {
    /// It ends the process.
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

/// Waiting for one descriptor: rustix makes it of what the architecture has.
#[cfg(target_arch = "x86_64")]
const POLL: i64 = libc::SYS_poll;
#[cfg(not(target_arch = "x86_64"))]
const POLL: i64 = libc::SYS_ppoll;

/// The calls of a data thread after its start, each with what for. No more than 25.
const DATA_CALLS: &[(i64, &str)] = &[
    (libc::SYS_read, "frames of the device, events"),
    (libc::SYS_write, "frames to the device, events, the log"),
    (libc::SYS_recvmmsg, "datagrams"),
    (libc::SYS_sendmmsg, "datagrams"),
    (libc::SYS_epoll_create1, "what it sleeps on"),
    (libc::SYS_epoll_ctl, "the same; tunnels that join a shared port, and leave it"),
    (libc::SYS_epoll_pwait, "sleep"),
    (libc::SYS_ioctl, "the device's address and MTU, each second"),
    (libc::SYS_setsockopt, "the DF bit"),
    (libc::SYS_futex, "locks and channels of the standard library"),
    (libc::SYS_sched_yield, "adaptive polling"),
    (libc::SYS_clock_gettime, "time, where the kernel's page does not have it"),
    (POLL, "whether the log has room"),
    (libc::SYS_mmap, "memory"),
    (libc::SYS_munmap, "memory"),
    (libc::SYS_mremap, "memory"),
    (libc::SYS_madvise, "memory"),
    (libc::SYS_brk, "memory"),
    (libc::SYS_mprotect, "memory"),
    (libc::SYS_rt_sigprocmask, "a thread's end"),
    (libc::SYS_sigaltstack, "a thread's end"),
    (libc::SYS_close, "the end of a device and of sockets"),
    (libc::SYS_exit, "a thread's end"),
    (libc::SYS_restart_syscall, "sleep goes on after the process was stopped"),
];

/// What the standard library asks besides, where debug assertions are on: whether a descriptor that it closes is open.
const DEBUG_CALLS: &[i64] = if cfg!(debug_assertions) { &[libc::SYS_fcntl] } else { &[] };

/// Takes from this process, and from every thread that it will have, the way to more privilege by running a program.
pub(crate) fn begin(sandbox: Sandbox) {
    if sandbox != Sandbox::Off
        && let Err(error) = set_no_new_privs(true)
    {
        tracing::warn!("programs could gain privilege (no_new_privs is refused): {error}");
    }
}

/// What a data thread does before its first frame; none where nothing is taken away.
pub(crate) fn data_threads(sandbox: Sandbox) -> Option<OnStart> {
    let action = match sandbox {
        Sandbox::Off => return None,
        Sandbox::On => SeccompAction::KillProcess,
        Sandbox::Log => SeccompAction::Log,
    };
    let program = match filter(action) {
        Ok(program) => Some(Arc::new(program)),
        Err(error) => {
            tracing::warn!("threads of the data path may make any system call: {error}");
            None
        }
    };
    Some(OnStart::new(move |_| confine(program.as_deref())))
}

/// The list as the kernel runs it.
fn filter(mismatch: SeccompAction) -> Result<BpfProgram, seccompiler::Error> {
    let calls = DATA_CALLS.iter().map(|(call, _)| call).chain(DEBUG_CALLS);
    let rules: BTreeMap<i64, Vec<_>> = calls.map(|call| (*call, Vec::new())).collect();
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, mismatch, SeccompAction::Allow, arch)?;
    Ok(BpfProgram::try_from(filter)?)
}

/// Confines this thread. A kernel that does not know how leaves it as it is, which is told.
fn confine(program: Option<&BpfProgram>) -> io::Result<()> {
    // A handler would run here by whatever calls it makes: signals are for the control thread.
    SigSet::all().thread_block()?;
    let none = CapabilitySet::empty();
    let dropped = clear_ambient_capability_set().and_then(|()| {
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
    });
    if let Err(error) = dropped {
        tracing::warn!("a thread of the data path keeps its capabilities: {error}");
    }
    if let Some(program) = program
        && let Err(error) = apply_filter(program)
    {
        tracing::warn!("a thread of the data path may make any system call: {error}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_data_thread_may_make_no_more_than_25_calls_and_each_says_what_for() {
        let calls: BTreeSet<_> = DATA_CALLS.iter().map(|(call, _)| call).collect();
        assert_eq!(calls.len(), DATA_CALLS.len());
        assert!(calls.len() <= 25, "{}", calls.len());
        assert!(DATA_CALLS.iter().all(|(_, what)| what.len() > 4));
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
            let start = data_threads(sandbox).expect("something is taken away");
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
}
