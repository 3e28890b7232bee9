//! What a program that is started next gets of this process.

use std::io;

use libc::{CLOSE_RANGE_CLOEXEC, SYS_close_range, c_uint, syscall};

/// Keeps every descriptor above standard error from programs that are started later (close_range(2), Linux 5.11).
///
/// What this process opens itself is kept from them already; this is for what it was started with.
///
/// # Errors
///
/// An older kernel or a filter of system calls refuses; the descriptors are inherited then.
pub fn close_on_exec_above_stderr() -> io::Result<()> {
    let (first, last): (c_uint, c_uint) = (3, c_uint::MAX);
    // SAFETY: with this flag the call closes nothing and touches no memory; it only sets FD_CLOEXEC.
    let set = unsafe { syscall(SYS_close_range, first, last, CLOSE_RANGE_CLOEXEC) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd as _;
    use std::process::Command;

    use rustix::io::{FdFlags, fcntl_setfd};

    use super::*;

    #[test]
    fn a_descriptor_that_would_be_inherited_is_not() {
        let file = File::open("/dev/null").unwrap();
        fcntl_setfd(&file, FdFlags::empty()).unwrap();
        let has_it = || {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            Command::new("test").args(["-e", &path]).status().unwrap().success()
        };
        assert!(has_it());
        if let Err(error) = close_on_exec_above_stderr() {
            assert!(
                matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EPERM)),
                "{error}"
            );
            return;
        }
        assert!(!has_it());
    }
}
