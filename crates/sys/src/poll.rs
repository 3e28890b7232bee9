//! Waiting for one descriptor.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

/// Waits until `fd` has something to read or an error to report; false when `timeout` passed first or, with a
/// timeout, a signal came. `None` waits for ever.
pub(crate) fn readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    let timespec = timeout.map(to_timespec);
    loop {
        match rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], timespec.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) if timeout.is_some() => return Ok(false),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// As the kernel takes it; a time beyond its range becomes the longest that it has.
pub(crate) fn to_timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
