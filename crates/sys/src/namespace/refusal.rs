//! Which step the kernel refused, and what a person can do about it.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// One step on the way into new namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Making a user namespace.
    User = 1,
    /// Denying `setgroups`, which the kernel asks for before an unprivileged `gid_map` (user_namespaces(7)).
    SetGroups,
    /// Mapping the caller's user to root.
    UserMap,
    /// Mapping the caller's group to root.
    GroupMap,
    /// Making a network namespace.
    Network,
    /// Making a mount namespace.
    Mount,
    /// Keeping its mounts from spreading to the parent.
    Private,
    /// Mounting an empty `/run`.
    Run,
    /// Making a process namespace.
    Pid,
    /// Starting its first process.
    Fork,
    /// Tying the child's life to its parent's.
    ParentDeath,
    /// Entering an existing network namespace.
    Enter,
    /// Opening the current network namespace.
    Current,
    /// Naming or unnaming a network namespace.
    Name,
    /// Starting the program, after all namespaces were made.
    Start,
}

impl Step {
    const ALL: [Step; 15] = [
        Step::User,
        Step::SetGroups,
        Step::UserMap,
        Step::GroupMap,
        Step::Network,
        Step::Mount,
        Step::Private,
        Step::Run,
        Step::Pid,
        Step::Fork,
        Step::ParentDeath,
        Step::Enter,
        Step::Current,
        Step::Name,
        Step::Start,
    ];

    fn sentence(self) -> &'static str {
        match self {
            Step::User => "make a user namespace",
            Step::SetGroups => "deny setgroups in the new user namespace",
            Step::UserMap => "map this user to root in the new user namespace",
            Step::GroupMap => "map this group to root in the new user namespace",
            Step::Network => "make a network namespace",
            Step::Mount => "make a mount namespace",
            Step::Private => "make the mounts of the new namespace private",
            Step::Run => "mount an empty /run",
            Step::Pid => "make a process namespace",
            Step::Fork => "start the first process of the new process namespace",
            Step::ParentDeath => "tie the new process to its parent",
            Step::Enter => "enter the network namespace",
            Step::Current => "open this thread's network namespace (is /proc mounted?)",
            Step::Name => "name the network namespace",
            Step::Start => "start the program",
        }
    }
}

/// A refused step, with the kernel's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamespaceError {
    step: Step,
    errno: i32,
}

impl NamespaceError {
    pub(super) fn new(step: Step, errno: i32) -> NamespaceError {
        NamespaceError { step, errno }
    }

    /// The step that failed.
    pub fn step(&self) -> Step {
        self.step
    }

    /// The kernel's error number (errno(3)).
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// What to do about it, where the cause is a setting of this machine or a missing privilege.
    pub fn hint(&self) -> Option<String> {
        let step_needs_privilege = match self.step {
            Step::User | Step::SetGroups | Step::UserMap | Step::GroupMap => true,
            Step::Network | Step::Mount | Step::Private | Step::Run | Step::Pid => true,
            Step::Fork | Step::ParentDeath | Step::Enter | Step::Current | Step::Name | Step::Start => false,
        };
        step_needs_privilege.then(explain_refusal)
    }

    /// Packs a step and its errno into the one integer that `Command` carries from the child to its parent.
    pub(super) fn pack(step: Step, errno: i32) -> io::Error {
        io::Error::from_raw_os_error((step as i32) << STEP_SHIFT | errno)
    }

    /// Undoes [`pack`](Self::pack); an error that carries no step came from `Command` itself.
    pub(super) fn unpack(error: &io::Error) -> NamespaceError {
        let raw = error.raw_os_error().unwrap_or(libc::EINVAL);
        let step = Step::ALL.into_iter().find(|step| *step as i32 == raw >> STEP_SHIFT);
        NamespaceError { step: step.unwrap_or(Step::Start), errno: raw & ((1 << STEP_SHIFT) - 1) }
    }
}

/// An errno has at most 12 bits (`MAX_ERRNO` of linux/err.h); the step stands above them.
const STEP_SHIFT: u32 = 16;

impl fmt::Display for NamespaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.step.sentence(), io::Error::from_raw_os_error(self.errno))
    }
}

impl std::error::Error for NamespaceError {}

/// Says, from this machine's settings, why it may refuse new namespaces and what to change.
///
/// Reads `user.max_user_namespaces` and `user.max_net_namespaces` (Linux 4.9), `kernel.unprivileged_userns_clone`
/// (Debian), `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu 23.10) and whether a seccomp filter is in force.
pub fn explain_refusal() -> String {
    explain_refusal_by(Path::new("/proc"))
}

fn explain_refusal_by(proc: &Path) -> String {
    let sysctl =
        |name: &str| fs::read_to_string(proc.join("sys").join(name)).unwrap_or_default().trim().to_owned();
    let mut causes = Vec::new();
    for name in ["max_user_namespaces", "max_net_namespaces"] {
        if sysctl(&format!("user/{name}")) == "0" {
            causes.push(format!("user.{name} is 0 here; as root: sysctl -w user.{name}=10000"));
        }
    }
    if sysctl("kernel/unprivileged_userns_clone") == "0" {
        causes.push(
            "only root may make user namespaces here; as root: sysctl -w kernel.unprivileged_userns_clone=1"
                .to_owned(),
        );
    }
    if sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" {
        causes.push(
            "AppArmor restricts user namespaces here; as root: sysctl -w \
             kernel.apparmor_restrict_unprivileged_userns=0, or give the program a profile that allows `userns`"
                .to_owned(),
        );
    }
    let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
    if causes.is_empty() && status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])) {
        causes.push(
            "a seccomp filter is in force, as in a container; start the container with --privileged, or with \
             --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined"
                .to_owned(),
        );
    }
    if causes.is_empty() {
        causes.push("run it as root, or with CAP_SYS_ADMIN and CAP_NET_ADMIN".to_owned());
    }
    causes.join("; ")
}

/// The errno of a system call that answers -1.
pub(super) fn cvt(answer: libc::c_int) -> Result<(), i32> {
    if answer != -1 {
        return Ok(());
    }
    Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_and_its_errno_survive_the_way_through_one_integer() {
        for step in Step::ALL {
            let error = NamespaceError::new(step, libc::EPERM);
            assert_eq!(NamespaceError::unpack(&NamespaceError::pack(step, libc::EPERM)), error);
        }
        let exec = NamespaceError::unpack(&io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!((exec.step(), exec.errno()), (Step::Start, libc::ENOENT));
    }

    #[test]
    fn each_setting_that_forbids_namespaces_is_named_with_its_cure() {
        let proc = std::env::temp_dir().join(format!("vxgate-refusal-{}", std::process::id()));
        for (file, text, expected) in [
            ("sys/user/max_user_namespaces", "0\n", "sysctl -w user.max_user_namespaces="),
            ("sys/user/max_net_namespaces", "0\n", "sysctl -w user.max_net_namespaces="),
            ("sys/kernel/unprivileged_userns_clone", "0\n", "sysctl -w kernel.unprivileged_userns_clone=1"),
            (
                "sys/kernel/apparmor_restrict_unprivileged_userns",
                "1\n",
                "apparmor_restrict_unprivileged_userns=0",
            ),
            ("self/status", "Name:\tx\nSeccomp:\t2\n", "--security-opt seccomp=unconfined"),
            ("self/status", "Name:\tx\nSeccomp:\t0\n", "run it as root"),
        ] {
            let path = proc.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let hint = explain_refusal_by(&proc);
            fs::remove_dir_all(&proc).unwrap();
            assert!(hint.contains(expected), "{file}: {hint}");
        }
    }
}
