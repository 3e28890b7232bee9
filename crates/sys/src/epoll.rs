//! Waiting for several descriptors (epoll(7), level-triggered).

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::poll::to_timespec;

/// What a descriptor is watched for; errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Interest {
    /// Something can be read.
    pub readable: bool,
    /// Something can be written.
    pub writable: bool,
}

impl Interest {
    /// Errors and hang-ups only.
    pub const NONE: Interest = Interest { readable: false, writable: false };
    /// Something can be read.
    pub const READABLE: Interest = Interest { readable: true, writable: false };
    /// Something can be written.
    pub const WRITABLE: Interest = Interest { readable: false, writable: true };
    /// Either.
    pub const BOTH: Interest = Interest { readable: true, writable: true };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.readable);
        flags.set(EventFlags::OUT, self.writable);
        flags
    }
}

/// One descriptor that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number that the descriptor was added with.
    pub token: u64,
    /// Something can be read.
    pub readable: bool,
    /// Something can be written.
    pub writable: bool,
    /// An error is pending: an entry in the error queue of a UDP socket, or a TAP device whose interface was
    /// deleted.
    pub error: bool,
    /// The other side is gone, where the descriptor has one.
    pub hang_up: bool,
}

/// Room for the events of one wait.
pub struct Events {
    events: Vec<epoll::Event>,
}

impl Events {
    /// Room for `capacity` events; more than that come with the next wait.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Events {
        Events { events: Vec::with_capacity(capacity.max(1)) }
    }

    /// The events of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Event> {
        self.events.iter().map(|event| {
            let flags = event.flags;
            Event {
                token: { event.data }.u64(),
                readable: flags.contains(EventFlags::IN),
                writable: flags.contains(EventFlags::OUT),
                error: flags.contains(EventFlags::ERR),
                hang_up: flags.contains(EventFlags::HUP),
            }
        })
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// A set of watched descriptors. A descriptor leaves the set when its last duplicate is closed.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// Opens an empty set.
    ///
    /// # Errors
    ///
    /// When the process or the system has no descriptor left.
    pub fn new() -> io::Result<Epoll> {
        Ok(Epoll { fd: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Watches `source` for `interest`; its events carry `token`.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` when it is watched already, `PermissionDenied` when the kernel cannot watch it (a
    /// plain file).
    pub fn add(&self, source: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.fd, source, EventData::new_u64(token), interest.flags())?)
    }

    /// Changes what `source` is watched for, and its token.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not watched.
    pub fn modify(&self, source: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, source, EventData::new_u64(token), interest.flags())?)
    }

    /// Stops watching `source`.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not watched.
    pub fn delete(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, source)?)
    }

    /// Waits until a descriptor is ready or `timeout` has passed (`None`: for ever), and returns how many are
    /// ready.
    ///
    /// With a timeout, 0 may come early when a signal arrives: it does not prove that the time has passed.
    ///
    /// # Errors
    ///
    /// None that a caller can cause.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        let timespec = timeout.map(to_timespec);
        loop {
            events.events.clear();
            let buffer = rustix::buffer::spare_capacity(&mut events.events);
            match epoll::wait(&self.fd, buffer, timespec.as_ref()) {
                Ok(ready) => return Ok(ready),
                Err(rustix::io::Errno::INTR) if timeout.is_some() => return Ok(0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::eventfd::EventFd;

    const LONG: Option<Duration> = Some(Duration::from_secs(30));

    #[test]
    fn a_signal_wakes_the_waiter_with_its_token() {
        let epoll = Epoll::new().unwrap();
        let (first, second) = (EventFd::new().unwrap(), EventFd::new().unwrap());
        epoll.add(&first, 1, Interest::READABLE).unwrap();
        epoll.add(&second, u64::MAX, Interest::READABLE).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut events = Events::with_capacity(8);
                epoll.wait(&mut events, LONG).unwrap();
                events.iter().collect::<Vec<_>>()
            });
            second.signal().unwrap();
            let expected =
                Event { token: u64::MAX, readable: true, writable: false, error: false, hang_up: false };
            assert_eq!(waiter.join().unwrap(), [expected]);
        });
    }

    #[test]
    fn nothing_ready_is_zero_events() {
        let epoll = Epoll::new().unwrap();
        let event = EventFd::new().unwrap();
        epoll.add(&event, 1, Interest::READABLE).unwrap();
        let mut events = Events::with_capacity(1);
        assert_eq!(epoll.wait(&mut events, Some(Duration::ZERO)).unwrap(), 0);
        assert_eq!(events.iter().count(), 0);
    }

    #[test]
    fn an_interest_can_be_changed_and_withdrawn() {
        let epoll = Epoll::new().unwrap();
        let event = EventFd::new().unwrap();
        let mut events = Events::with_capacity(1);
        epoll.add(&event, 1, Interest::NONE).unwrap();
        event.signal().unwrap();
        assert_eq!(epoll.wait(&mut events, Some(Duration::ZERO)).unwrap(), 0);
        epoll.modify(&event, 2, Interest::BOTH).unwrap();
        assert_eq!(epoll.wait(&mut events, LONG).unwrap(), 1);
        let ready = events.iter().next().unwrap();
        assert_eq!((ready.token, ready.readable, ready.writable), (2, true, true));
        epoll.delete(&event).unwrap();
        assert_eq!(epoll.wait(&mut events, Some(Duration::ZERO)).unwrap(), 0);
        assert_eq!(epoll.delete(&event).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn more_ready_descriptors_than_room_come_with_the_next_wait() {
        let epoll = Epoll::new().unwrap();
        let sources: Vec<_> = (0..3).map(|_| EventFd::new().unwrap()).collect();
        for (token, source) in (0..).zip(&sources) {
            source.signal().unwrap();
            epoll.add(source, token, Interest::READABLE).unwrap();
        }
        let mut events = Events::with_capacity(2);
        let mut seen = Vec::new();
        while seen.len() < 3 {
            assert!(epoll.wait(&mut events, LONG).unwrap() > 0);
            for event in events.iter() {
                sources[usize::try_from(event.token).unwrap()].drain().unwrap();
                seen.push(event.token);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    }
}
