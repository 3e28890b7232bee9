//! What every system call here has in common: errno, interruption, would-block.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Makes `call` again for as long as a signal interrupts it; -1 becomes the error that errno names.
pub(crate) fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        if let Ok(value) = usize::try_from(call()) {
            return Ok(value);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINTR) {
            return Err(error);
        }
    }
}

/// Turns "would block" from an error into a value.
pub(crate) fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads once; `None` when nothing is there.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let result = rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut *buffer));
    unless_blocked(result.map_err(io::Error::from))
}

/// Writes once; `None` when the queue is full.
pub(crate) fn write(fd: BorrowedFd<'_>, data: &[u8]) -> io::Result<Option<usize>> {
    match rustix::io::retry_on_intr(|| rustix::io::write(fd, data)) {
        Err(rustix::io::Errno::NOBUFS) => Ok(None),
        result => unless_blocked(result.map_err(io::Error::from)),
    }
}

/// A value that the kernel reads as the bytes of a socket option.
///
/// # Safety
///
/// The type is `repr(C)` or a primitive, has no padding, and holds no pointer.
pub(crate) unsafe trait OptionValue: Copy {}

// SAFETY: a primitive without padding.
unsafe impl OptionValue for libc::c_int {}
// SAFETY: `repr(C)`: i32, u16, u16, [u8; 8], which leaves no gap.
unsafe impl OptionValue for libc::packet_mreq {}
// SAFETY: `repr(C)`: two u32 in structures of their own and an i32, which leaves no gap.
unsafe impl OptionValue for libc::ip_mreqn {}

/// setsockopt(2), for the options that neither socket2 nor rustix has.
pub(crate) fn set_option<T: OptionValue>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> io::Result<()> {
    let octets = libc::socklen_t::try_from(mem::size_of::<T>()).expect("an option of a few octets");
    retry(|| {
        // SAFETY: `fd` is open for the length of the borrow; the pointer and the length describe `value`,
        // which the kernel only reads, and `OptionValue` promises that each of its octets is initialised.
        let result =
            unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), octets) };
        result as isize
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_errno(errno: libc::c_int) {
        // SAFETY: the function takes nothing and gives a pointer to this thread's errno.
        let place = unsafe { libc::__errno_location() };
        // SAFETY: the pointer is valid for this thread, which alone uses it.
        unsafe { *place = errno };
    }

    #[test]
    fn a_call_that_a_signal_interrupts_is_made_again() {
        let mut calls = 0;
        let result = retry(|| {
            calls += 1;
            set_errno(libc::EINTR);
            if calls < 3 { -1 } else { 7 }
        });
        assert_eq!((result.unwrap(), calls), (7, 3));
    }

    #[test]
    fn an_error_is_reported_once() {
        let mut calls = 0;
        let result = retry(|| {
            calls += 1;
            set_errno(libc::EMSGSIZE);
            -1
        });
        assert_eq!((result.unwrap_err().raw_os_error(), calls), (Some(libc::EMSGSIZE), 1));
    }

    #[test]
    fn would_block_is_a_value_and_other_errors_are_not() {
        let error = |errno| Err::<(), _>(io::Error::from_raw_os_error(errno));
        assert!(unless_blocked(error(libc::EAGAIN)).unwrap().is_none());
        assert!(unless_blocked(Ok(())).unwrap().is_some());
        assert!(unless_blocked(error(libc::EIO)).is_err());
    }
}
