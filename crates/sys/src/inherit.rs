//! Descriptors that whoever started this process left open for it, named by their number.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// The first number that can be one: below are standard input, output and error.
const FIRST: RawFd = 3;

/// A descriptor of our own for what is open at `number`, kept from programs that are started later. The number itself stays
/// open, and is kept from them as well.
///
/// It says nothing of what is behind the number: the caller looks.
///
/// # Errors
///
/// `InvalidInput` for standard input, output and error, and for a negative number; `EBADF` where nothing is open.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < FIRST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "descriptors below 3 are standard input, output and error",
        ));
    }
    // SAFETY: the number is not -1. The borrow ends with this function, which neither closes nor reads what is behind it: it asks
    // the kernel for a second descriptor and sets FD_CLOEXEC. Where nothing is open, the kernel says EBADF to both.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let own = fcntl_dupfd_cloexec(borrowed, FIRST)?;
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    use rustix::io::fcntl_getfd;

    use super::*;

    #[test]
    fn what_is_open_is_taken_and_kept_from_programs_that_come_later() {
        let file = File::open("/dev/zero").unwrap();
        fcntl_setfd(&file, FdFlags::empty()).unwrap();
        let own = take(file.as_raw_fd()).unwrap();
        assert_eq!(fcntl_getfd(&file).unwrap(), FdFlags::CLOEXEC);
        assert_eq!(fcntl_getfd(&own).unwrap(), FdFlags::CLOEXEC);
        drop(file);
        let mut octets = [1; 2];
        File::from(own).read_exact(&mut octets).unwrap();
        assert_eq!(octets, [0, 0]);
    }

    #[test]
    fn standard_descriptors_and_numbers_where_nothing_is_open_are_refused() {
        for number in [RawFd::MIN, -1, 0, 1, 2] {
            assert_eq!(take(number).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{number}");
        }
        assert_eq!(take(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}
