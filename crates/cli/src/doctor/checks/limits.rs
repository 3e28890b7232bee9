//! Limits of a process that a tunnel meets.

use rustix::process::{Resource, getrlimit};

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;

/// Files that a tunnel has open: its device and sockets, two epolls and eventfds for each of 16 workers, and clients of the control
/// socket.
const FILES: u64 = 256;

pub(crate) fn check() -> Vec<Finding> {
    vec![judge(getrlimit(Resource::Nofile).current)]
}

/// `files` is none where there is no limit.
fn judge(files: Option<u64>) -> Finding {
    match files {
        Some(files) if files < FILES => Finding::advice(
            Check::Limits,
            format!("a process may have {files} files open; a tunnel of many workers has up to {FILES}"),
            format!(
                "ulimit -n {FILES}, LimitNOFILE= in a unit of systemd, or docker run --ulimit nofile={FILES}"
            ),
        ),
        Some(files) => Finding::ok(Check::Limits, format!("a process may have {files} files open")),
        None => Finding::ok(Check::Limits, "a process may have any number of files open"),
    }
}
