//! Network, user, mount and process namespaces: made, entered, given to a child process, and why the kernel refuses.
//!
//! # Theory of operation
//!
//! A namespace belongs to a *thread*. [`unshare_network`] moves the calling thread into a new network namespace and
//! [`current_network`] takes a descriptor that keeps it alive; any other thread can [`enter`] it through that
//! descriptor, and a child process can be started in it with [`command_in`]. When the last thread has left and the
//! last descriptor is closed, the kernel takes the namespace down with every virtual device in it: nothing has to be
//! undone by hand.
//!
//! A *user* namespace can only be made by a single-threaded process, so it is always given to a child between `fork`
//! and `exec`: see [`Unshare`].
//!
//! ```text
//!   fork ── user: setgroups, uid_map, gid_map ── network ── mount: private, /run, /sys ── pid: fork ── exec
//!                 (caller becomes root inside)                                            (/proc)
//! ```

mod refusal;
mod unshare;

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

pub use refusal::{NamespaceError, Step, explain_refusal};
pub use unshare::Unshare;

use refusal::cvt;

/// Moves the calling thread into a new, empty network namespace; its loopback device is down.
///
/// # Errors
/// [`Step::Network`] without `CAP_SYS_ADMIN` (`EPERM`) or at the limit `user.max_net_namespaces` (`ENOSPC`).
pub fn unshare_network() -> Result<(), NamespaceError> {
    // SAFETY: unshare takes no pointer and changes only the namespace of the calling thread.
    cvt(unsafe { libc::unshare(libc::CLONE_NEWNET) })
        .map_err(|errno| NamespaceError::new(Step::Network, errno))
}

/// Moves the calling thread into the network namespace behind `namespace`.
///
/// # Errors
/// [`Step::Enter`] when `namespace` is no network namespace (`EINVAL`) or the caller lacks `CAP_SYS_ADMIN` (`EPERM`).
pub fn enter(namespace: BorrowedFd<'_>) -> Result<(), NamespaceError> {
    set_network(namespace).map_err(|errno| NamespaceError::new(Step::Enter, errno))
}

/// A descriptor of the calling thread's network namespace, which lives at least as long as the descriptor.
///
/// # Errors
/// [`Step::Current`] when `/proc` is not mounted.
pub fn current_network() -> Result<OwnedFd, NamespaceError> {
    match File::open("/proc/thread-self/ns/net") {
        Ok(file) => Ok(file.into()),
        Err(error) => Err(NamespaceError::new(Step::Current, errno_of(&error))),
    }
}

/// Lets `command` start its child in the network namespace behind `namespace`.
///
/// `Command::spawn` reports `EPERM` or `EINVAL` where the kernel refuses the namespace to the child.
pub fn command_in(command: &mut Command, namespace: OwnedFd) {
    let enter = move || set_network(namespace.as_fd()).map_err(io::Error::from_raw_os_error);
    // SAFETY: the closure makes one system call on a descriptor it owns, and neither allocates nor locks, so it may
    // run between fork and exec of a process with threads.
    unsafe { command.pre_exec(enter) };
}

/// Lets the child of `command` be killed when the thread that starts it ends.
///
/// The kernel watches the *thread*, not the process (`PR_SET_PDEATHSIG`, prctl(2)): start such a command from a
/// thread that lives as long as the child is wanted.
pub fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let bind = move || bind_to_parent(parent).map_err(io::Error::from_raw_os_error);
    // SAFETY: the closure makes two system calls without pointers, and neither allocates nor locks.
    unsafe { command.pre_exec(bind) };
}

/// Gives the calling thread a mount namespace of its own with an empty, writable `/run` (tmpfs, mode 0755).
///
/// # Errors
/// The [`Step`] that the kernel refused; [`Step::Mount`] without `CAP_SYS_ADMIN`.
pub fn mount_private_run() -> Result<(), NamespaceError> {
    unshare_mount().and_then(|()| mount_run()).map_err(|(step, errno)| NamespaceError::new(step, errno))
}

/// Gives the network namespace a name: `path` becomes a file that stands for it, as `ip netns` expects in `/run/netns`.
///
/// # Errors
/// [`Step::Name`] when the file exists, cannot be created or cannot be mounted upon.
pub fn name_network(namespace: BorrowedFd<'_>, path: &Path) -> Result<(), NamespaceError> {
    let refused = |error: io::Error| NamespaceError::new(Step::Name, errno_of(&error));
    let target = c_path(path).map_err(refused)?;
    let source = format!("/proc/thread-self/fd/{}\0", namespace.as_raw_fd());
    let source = CStr::from_bytes_with_nul(source.as_bytes()).expect("one NUL, at the end");
    File::create_new(path).map_err(refused)?;
    mount(source, &target, c"", libc::MS_BIND, c"").map_err(|errno| {
        // The file alone stands for nothing; that it cannot be removed either adds nothing to the error.
        let _ = std::fs::remove_file(path);
        NamespaceError::new(Step::Name, errno)
    })
}

/// Takes the name that [`name_network`] gave away again; the namespace itself lives on while it is in use.
///
/// # Errors
/// [`Step::Name`] when nothing is mounted at `path` or it cannot be removed.
pub fn unname_network(path: &Path) -> Result<(), NamespaceError> {
    let refused = |error: io::Error| NamespaceError::new(Step::Name, errno_of(&error));
    let target = c_path(path).map_err(refused)?;
    // SAFETY: `target` is a NUL-terminated string that outlives the call.
    cvt(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })
        .map_err(|errno| NamespaceError::new(Step::Name, errno))?;
    std::fs::remove_file(path).map_err(refused)
}

/// Whether the calling thread holds `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`, so that it needs no user namespace to make
/// the other kinds.
pub fn privileged() -> bool {
    /// Bits of `CapEff` in proc(5), from linux/capability.h.
    const NEEDED: u64 = 1 << 12 | 1 << 21;
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .is_some_and(|bits| bits & NEEDED == NEEDED)
}

fn set_network(namespace: BorrowedFd<'_>) -> Result<(), i32> {
    // SAFETY: the descriptor is open for the length of the call, and only the calling thread changes its namespace.
    cvt(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Asks for SIGKILL when the parent thread ends; refuses with `ESRCH` when `parent` is gone already.
fn bind_to_parent(parent: u32) -> Result<(), i32> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and no pointer.
    cvt(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) })?;
    // SAFETY: getppid has no precondition.
    let now = unsafe { libc::getppid() };
    if u32::try_from(now) == Ok(parent) { Ok(()) } else { Err(libc::ESRCH) }
}

fn unshare_mount() -> Result<(), (Step, i32)> {
    // SAFETY: unshare takes no pointer; CLONE_NEWNS gives the calling thread its own mounts, root and working directory.
    cvt(unsafe { libc::unshare(libc::CLONE_NEWNS) }).map_err(|errno| (Step::Mount, errno))?;
    mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"").map_err(|errno| (Step::Private, errno))
}

fn mount_run() -> Result<(), (Step, i32)> {
    // SAFETY: the path is a NUL-terminated constant. An existing directory (EEXIST) is the usual case, and the mount
    // below reports a missing one.
    let _ = unsafe { libc::mkdir(c"/run".as_ptr(), 0o755) };
    mount(c"tmpfs", c"/run", c"tmpfs", libc::MS_NOSUID | libc::MS_NODEV, c"mode=0755")
        .map_err(|errno| (Step::Run, errno))
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong, data: &CStr) -> Result<(), i32> {
    let data = data.as_ptr().cast();
    // SAFETY: all four are NUL-terminated strings that outlive the call.
    cvt(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data) })
}

fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::CString::new(path.as_os_str().as_bytes())?)
}

fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;
    use std::process::Stdio;

    use super::*;

    fn inode(namespace: &OwnedFd) -> u64 {
        File::from(namespace.try_clone().unwrap()).metadata().unwrap().ino()
    }

    #[test]
    fn a_namespace_is_made_by_one_thread_and_entered_by_another_and_by_a_child() {
        let outside = current_network().unwrap();
        let made =
            std::thread::spawn(|| unshare_network().map(|()| current_network().unwrap())).join().unwrap();
        let inside = match made {
            Ok(inside) => inside,
            Err(error) => {
                // Without privilege `Unshare` is the way; its tests stand in `unshare.rs`.
                assert!(!privileged(), "{error}");
                writeln!(std::io::stderr(), "SKIPPED: {error}: {}", explain_refusal()).unwrap();
                return;
            }
        };
        assert_ne!(inode(&inside), inode(&outside));

        let entered = std::thread::scope(|scope| {
            let enter_it = || enter(inside.as_fd()).map(|()| current_network().unwrap());
            scope.spawn(enter_it).join().unwrap().unwrap()
        });
        assert_eq!(inode(&entered), inode(&inside));
        assert_eq!(inode(&current_network().unwrap()), inode(&outside), "this thread stayed where it was");

        let mut command = Command::new("readlink");
        command.arg("/proc/self/ns/net").stdout(Stdio::piped());
        command_in(&mut command, inside.try_clone().unwrap());
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("net:[{}]\n", inode(&inside)));
    }

    #[test]
    fn entering_what_is_no_namespace_is_refused() {
        let file = File::open("/proc/self/status").unwrap();
        let error = enter(file.as_fd()).unwrap_err();
        assert_eq!((error.step(), error.errno()), (Step::Enter, libc::EINVAL));
        assert_eq!(error.hint(), None);
    }
}
