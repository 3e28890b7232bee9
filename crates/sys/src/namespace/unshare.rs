//! A child process in namespaces of its own, without any privilege where the kernel allows user namespaces.

use std::ffi::CStr;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::{Child, Command};

use super::refusal::{NamespaceError, Step, cvt};
use super::{bind_to_parent, mount, mount_run, unshare_mount};

/// Which namespaces a child gets, and whether it may outlive its parent. The default is none, and that it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unshare {
    /// A user namespace in which the caller is root and holds every capability over the other namespaces.
    pub user: bool,
    /// An empty network namespace; its loopback device is down.
    pub network: bool,
    /// A mount namespace whose changes stay inside, with an empty writable `/run` and, where the kernel allows it, a
    /// `/sys` that shows the new network namespace.
    pub mount: bool,
    /// A process namespace whose first process is the child: when it ends, the kernel kills what it left behind.
    /// The child's own number is then 1, and the number that the parent sees is that of a process which waits for it
    /// and ends as it ends. With `mount`, `/proc` shows the new namespace where the kernel allows it.
    pub pid: bool,
    /// Kill the child when the *thread* that starts it ends (see [`die_with_parent`](super::die_with_parent)).
    pub die_with_parent: bool,
}

impl Unshare {
    /// Network and mount namespaces, and a user namespace if the caller is not [`privileged`](super::privileged);
    /// the child dies with its parent.
    pub fn for_caller() -> Unshare {
        Unshare { user: !super::privileged(), network: true, mount: true, pid: false, die_with_parent: true }
    }

    /// Starts `command` in the new namespaces.
    ///
    /// # Errors
    /// The [`Step`] that was refused; [`Step::Start`] when it is the program that cannot be started.
    pub fn spawn(self, mut command: Command) -> Result<Child, NamespaceError> {
        let plan = Plan::new(self, std::process::id());
        // SAFETY: `Plan::apply` neither allocates nor locks: it makes system calls on constants and on the texts that
        // `Plan::new` prepared, so it may run between fork and exec of a process with threads.
        unsafe { command.pre_exec(move || plan.apply()) };
        command.spawn().map_err(|error| NamespaceError::unpack(&error))
    }

    /// Replaces this process by `command` in the new namespaces; returns only to say why it could not.
    ///
    /// Call it before the first thread starts: the kernel gives a user namespace to a single-threaded process only
    /// (`EINVAL`). After a failure this process may already be in some of the new namespaces: report and exit.
    pub fn exec(self, mut command: Command) -> NamespaceError {
        let plan = Plan::new(self, parent_id());
        // SAFETY: as in `spawn`.
        unsafe { command.pre_exec(move || plan.apply()) };
        NamespaceError::unpack(&command.exec())
    }

    /// Tries it in a child that starts no program.
    ///
    /// # Errors
    /// The [`Step`] that was refused.
    pub fn probe(self) -> Result<(), NamespaceError> {
        let plan = Plan::new(Unshare { pid: false, ..self }, std::process::id());
        let mut command = Command::new("/proc/self/exe");
        // SAFETY: as in `spawn`; the closure always answers an error, so no program starts.
        unsafe { command.pre_exec(move || plan.apply().and(Err(NamespaceError::pack(Step::Start, 0)))) };
        match command.spawn().map_err(|error| NamespaceError::unpack(&error)) {
            Err(error) if error == NamespaceError::new(Step::Start, 0) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => unreachable!("the closure above refuses every exec"),
        }
    }
}

/// What the child does between fork and exec, with every text ready: there it must not allocate.
struct Plan {
    unshare: Unshare,
    parent: u32,
    uid_map: String,
    gid_map: String,
}

impl Plan {
    fn new(unshare: Unshare, parent: u32) -> Plan {
        // SAFETY: geteuid has no precondition.
        let uid = unsafe { libc::geteuid() };
        // SAFETY: getegid has no precondition.
        let gid = unsafe { libc::getegid() };
        Plan { unshare, parent, uid_map: format!("0 {uid} 1\n"), gid_map: format!("0 {gid} 1\n") }
    }

    fn apply(&self) -> std::io::Result<()> {
        self.steps().map_err(|(step, errno)| NamespaceError::pack(step, errno))
    }

    fn steps(&self) -> Result<(), (Step, i32)> {
        if self.unshare.die_with_parent {
            // Asked before the process namespace, where the parent has no number.
            bind_to_parent(self.parent).map_err(|errno| (Step::ParentDeath, errno))?;
        }
        if self.unshare.user {
            self.become_root()?;
        }
        if self.unshare.network {
            // SAFETY: unshare takes no pointer.
            cvt(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map_err(|errno| (Step::Network, errno))?;
        }
        if self.unshare.mount {
            unshare_mount()?;
            mount_run()?;
            // Without it /sys/class/net shows the parent's devices; nothing of ours reads that.
            let _ = mount(c"sysfs", c"/sys", c"sysfs", 0, c"");
        }
        if self.unshare.pid {
            become_first_process()?;
            if self.unshare.mount {
                // Without it /proc shows the parent's processes, and /proc/self is still right.
                let _ = mount(c"proc", c"/proc", c"proc", 0, c"");
            }
        }
        Ok(())
    }

    fn become_root(&self) -> Result<(), (Step, i32)> {
        // A program with file capabilities is not dumpable, and its /proc/self then belongs to root (proc(5)).
        // SAFETY: PR_SET_DUMPABLE takes a number and no pointer. A refusal shows in the writes below.
        let _ = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1 as libc::c_ulong) };
        // SAFETY: unshare takes no pointer.
        cvt(unsafe { libc::unshare(libc::CLONE_NEWUSER) }).map_err(|errno| (Step::User, errno))?;
        write_file(c"/proc/self/setgroups", b"deny").map_err(|errno| (Step::SetGroups, errno))?;
        write_file(c"/proc/self/uid_map", self.uid_map.as_bytes()).map_err(|errno| (Step::UserMap, errno))?;
        write_file(c"/proc/self/gid_map", self.gid_map.as_bytes())
            .map_err(|errno| (Step::GroupMap, errno))?;
        if self.unshare.die_with_parent {
            // A change of credentials clears the request (prctl(2)).
            bind_to_parent(self.parent).map_err(|errno| (Step::ParentDeath, errno))?;
        }
        Ok(())
    }
}

/// Returns in the first process of a new process namespace; the process that called waits for it and ends as it ends.
fn become_first_process() -> Result<(), (Step, i32)> {
    // SAFETY: unshare takes no pointer.
    cvt(unsafe { libc::unshare(libc::CLONE_NEWPID) }).map_err(|errno| (Step::Pid, errno))?;
    // SAFETY: this process has one thread, between fork and exec, and holds no lock that the copy would need.
    let child = unsafe { libc::fork() };
    cvt(child).map_err(|errno| (Step::Fork, errno))?;
    if child == 0 {
        // SAFETY: PR_SET_PDEATHSIG takes a signal number and no pointer.
        return cvt(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) })
            .map_err(|errno| (Step::ParentDeath, errno));
    }
    wait_in_its_place(child)
}

fn wait_in_its_place(child: libc::pid_t) -> ! {
    // Pipes of the parent must close when the child closes them. Linux 5.9; before that they close a moment later.
    // SAFETY: this process only waits from here on, and owns no descriptor that it still needs.
    let _ = unsafe {
        libc::syscall(libc::SYS_close_range, 0 as libc::c_uint, libc::c_uint::MAX, 0 as libc::c_uint)
    };
    // The terminal sends these to both; the child decides.
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
        // SAFETY: SIG_IGN is a disposition, not a function of ours.
        let _ = unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` is a live integer that the kernel may write.
        let answer = unsafe { libc::waitpid(child, &raw mut status, 0) };
        if answer == child {
            break;
        }
        if cvt(answer) != Err(libc::EINTR) {
            status = libc::W_EXITCODE(127, 0);
            break;
        }
    }
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        // SAFETY: SIG_DFL is a disposition, not a function of ours.
        let _ = unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: raise takes a signal number.
        let _ = unsafe { libc::raise(signal) };
    }
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
    // SAFETY: _exit has no precondition, and skips the exit handlers that belong to the parent's copy.
    unsafe { libc::_exit(code) }
}

fn write_file(path: &CStr, text: &[u8]) -> Result<(), i32> {
    // SAFETY: `path` is a NUL-terminated constant.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    cvt(fd)?;
    // SAFETY: `fd` was just opened, and `text` is readable for its whole length.
    let written = unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) };
    let answer = if written == -1 { cvt(-1) } else { Ok(()) };
    // SAFETY: `fd` is open and nobody else knows it.
    let _ = unsafe { libc::close(fd) };
    answer
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    use super::*;

    /// Runs `script` in new namespaces; nothing where this machine refuses them, which is a failure if CI says so.
    fn shell(unshare: Unshare, script: &str) -> Option<(std::process::ExitStatus, String)> {
        if let Err(error) = unshare.probe() {
            let hint = error.hint().unwrap_or_default();
            assert!(std::env::var_os("REQUIRE_NETNS").is_none(), "{error}: {hint}");
            writeln!(std::io::stderr(), "SKIPPED: {error}: {hint}").unwrap();
            return None;
        }
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        let output = unshare.spawn(command).unwrap().wait_with_output().unwrap();
        Some((output.status, String::from_utf8(output.stdout).unwrap()))
    }

    const USER: Unshare =
        Unshare { user: true, network: true, mount: true, pid: false, die_with_parent: true };

    #[test]
    fn the_caller_is_root_in_its_own_user_namespace() {
        let Some((status, text)) = shell(USER, "id -u; id -g; cat /proc/self/uid_map") else { return };
        assert!(status.success());
        assert!(text.starts_with("0\n0\n"), "{text}");
    }

    #[test]
    fn a_child_gets_an_empty_network_and_an_empty_writable_run() {
        let script = "cat /proc/net/dev | grep -c : ; ls -A /run | wc -l; echo x > /run/x && cat /run/x";
        let Some((status, text)) = shell(USER, script) else { return };
        assert!(status.success());
        assert!(text.ends_with("0\nx\n"), "{text}");
        assert!(text.starts_with("1\n"), "more than the loopback device: {text}");
        assert!(!fs::exists("/run/x").unwrap(), "the mount spread to the parent");
    }

    #[test]
    fn the_first_process_of_a_process_namespace_ends_as_its_child_ends() {
        let unshare = Unshare { pid: true, ..USER };
        let Some((status, text)) = shell(unshare, "echo $$; exit 7") else { return };
        assert_eq!((status.code(), text.as_str()), (Some(7), "1\n"));
        let (status, _) = shell(unshare, "sh -c 'kill -9 $$'; exit $?").unwrap();
        assert_eq!(status.code(), Some(137));
        let (status, _) = shell(unshare, "ulimit -c 0; exec sh -c 'sleep 60 & exec false'").unwrap();
        assert_eq!(status.code(), Some(1), "what is left behind in the namespace is killed, not waited for");
    }

    #[test]
    fn a_program_that_does_not_exist_is_named_as_the_refused_step() {
        if shell(USER, "true").is_none() {
            return;
        }
        let error = USER.spawn(Command::new("/nonexistent/program")).unwrap_err();
        assert_eq!((error.step(), error.errno()), (Step::Start, libc::ENOENT));
        assert_eq!(error.to_string(), "cannot start the program: No such file or directory (os error 2)");
    }

    #[test]
    fn a_child_dies_with_the_thread_that_started_it() {
        let mut command = Command::new("sleep");
        command.arg("60");
        super::super::die_with_parent(&mut command);
        let mut child = std::thread::spawn(move || command.spawn().unwrap()).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
