//! A descriptor that one thread signals and another waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;

use crate::call;

/// A wake-up: any number of signals before a drain count as one.
#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    /// Opens one, not signalled.
    ///
    /// # Errors
    ///
    /// When the process or the system has no descriptor left.
    pub fn new() -> io::Result<EventFd> {
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(EventFd { fd })
    }

    /// Makes the descriptor readable until the next drain.
    ///
    /// # Errors
    ///
    /// None that a caller can cause; a counter that is full is already signalled.
    pub fn signal(&self) -> io::Result<()> {
        call::write(self.fd.as_fd(), &1_u64.to_ne_bytes())?;
        Ok(())
    }

    /// Takes the signals so far; true if there were any.
    ///
    /// # Errors
    ///
    /// None that a caller can cause.
    pub fn drain(&self) -> io::Result<bool> {
        let mut count = [0; 8];
        Ok(call::read(self.fd.as_fd(), &mut count)?.is_some())
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::poll;

    #[test]
    fn many_signals_before_a_drain_are_one() {
        let event = EventFd::new().unwrap();
        assert!(!event.drain().unwrap());
        event.signal().unwrap();
        event.signal().unwrap();
        assert!(event.drain().unwrap());
        assert!(!event.drain().unwrap());
    }

    #[test]
    fn a_full_counter_still_counts_as_signalled() {
        let event = EventFd::new().unwrap();
        call::write(event.as_fd(), &(u64::MAX - 1).to_ne_bytes()).unwrap();
        event.signal().unwrap();
        assert!(event.drain().unwrap());
    }

    #[test]
    fn a_signal_wakes_a_waiting_thread() {
        let event = EventFd::new().unwrap();
        thread::scope(|scope| {
            let waiter =
                scope.spawn(|| poll::readable(event.as_fd(), Some(Duration::from_secs(30))).unwrap());
            event.signal().unwrap();
            assert!(waiter.join().unwrap());
        });
    }
}
