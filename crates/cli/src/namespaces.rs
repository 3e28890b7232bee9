//! The program started again in namespaces of its own, for what builds hosts: lab and bench.
//!
//! The process keeps its number over the exec, so that a signal ends it; the kernel takes down namespaces that nobody
//! is in.

use std::env;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};
use vxgate_sys::namespace::Unshare;

use crate::failure::Failure;

/// Whether this process is the one that [`enter`] started with this mark.
///
/// The mark holds the process's number: the exec keeps it, and no other process can have set it right by chance.
pub(crate) fn is_inside(mark: &str) -> bool {
    env::var(mark).ok() == Some(std::process::id().to_string())
}

/// Starts this program again, in new user (if not root), network and mount namespaces; returns only to say why it could
/// not, on behalf of `verb`. `mark` and the names of the files are environment variables of vxgate's own.
///
/// Inside, `/run` is another directory: what is to be written outside has to be opened before, and [`inherited`] says
/// where it is.
pub(crate) fn enter(verb: &str, mark: &str, files: &[(&str, File)]) -> Failure {
    let mut command = Command::new("/proc/self/exe");
    // What the caller's environment says of tunnels is about others than those in there.
    for (variable, _) in
        env::vars_os().filter(|(variable, _)| variable.as_encoded_bytes().starts_with(b"VXGATE_"))
    {
        command.env_remove(variable);
    }
    command.args(env::args_os().skip(1)).env(mark, std::process::id().to_string());
    for (name, file) in files {
        if let Err(error) = fcntl_setfd(file, FdFlags::empty()) {
            return Failure::failed(verb, error);
        }
        command.env(name, file.as_raw_fd().to_string());
    }
    let unshare = Unshare { die_with_parent: false, ..Unshare::for_caller() };
    let error = unshare.exec(command);
    let hint = error.hint();
    Failure::failed(verb, error).with_hint(hint)
}

/// By which path the file that [`enter`] was given under this name can be opened inside; `None` where it was given none.
pub(crate) fn inherited(name: &str) -> Option<PathBuf> {
    let number: u32 = env::var(name).ok()?.parse().ok()?;
    Some(format!("/proc/self/fd/{number}").into())
}
