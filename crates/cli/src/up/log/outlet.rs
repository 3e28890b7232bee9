//! Where lines go. A line for which there is no room at once is dropped and counted, and the count is told when there is room again.

use std::env;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use tracing::Level;

use super::line::{Line, Style};

/// Longest line in octets: a pipe that polls as writable takes as many without blocking (`PIPE_BUF`, linux/limits.h).
const OCTETS_MAX: usize = 4096;

/// What takes octets.
pub(super) trait Sink: Send + 'static {
    /// Whether it takes [`OCTETS_MAX`] of them at once.
    fn has_room(&mut self) -> bool;

    fn write(&mut self, octets: &[u8]) -> io::Result<()>;
}

/// Standard error.
pub(super) struct Stderr;

impl Sink for Stderr {
    fn has_room(&mut self) -> bool {
        let stderr = io::stderr();
        let mut polled = [PollFd::from_borrowed_fd(stderr.as_fd(), PollFlags::OUT)];
        // What cannot be polled is no pipe, and does not block.
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready == 1)
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        io::stderr().write_all(octets)
    }
}

/// Lines on their way to a sink.
pub(super) struct Outlet<S> {
    sink: S,
    lost: u64,
}

impl<S: Sink> Outlet<S> {
    pub(super) fn new(sink: S) -> Outlet<S> {
        Outlet { sink, lost: 0 }
    }

    pub(super) fn write(&mut self, line: &Line, style: Style) {
        if self.lost > 0 && self.sink.has_room() {
            let told = format!("{} lines of this log are lost: nobody took them", self.lost);
            self.lost = 0;
            self.put(&Line::new(Level::WARN, told), style);
        }
        self.put(line, style);
    }

    fn put(&mut self, line: &Line, style: Style) {
        let is_out = self.sink.has_room() && self.sink.write(&line.octets(style, OCTETS_MAX)).is_ok();
        // A log that nobody takes is no reason to end, and telling of it there would be of no use.
        self.lost += u64::from(!is_out);
    }
}

/// Whether standard error is the stream to the journal that `JOURNAL_STREAM` names (systemd.exec(5)).
pub(super) fn is_journal() -> bool {
    let Ok(named) = env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Pipe {
        room: usize,
        taken: Vec<String>,
    }

    impl Sink for Pipe {
        fn has_room(&mut self) -> bool {
            self.room > 0
        }

        fn write(&mut self, octets: &[u8]) -> io::Result<()> {
            self.room -= 1;
            self.taken.push(String::from_utf8(octets.to_vec()).unwrap());
            Ok(())
        }
    }

    #[test]
    fn lines_without_room_are_counted_and_told_when_there_is_room_again() {
        let mut outlet = Outlet::new(Pipe { room: 1, taken: Vec::new() });
        let line = Line::new(Level::INFO, "line".to_owned());
        for _ in 0..8 {
            outlet.write(&line, Style::Journal);
        }
        outlet.sink.room = 10;
        outlet.write(&line, Style::Journal);
        let told = "<4>7 lines of this log are lost: nobody took them\n";
        assert_eq!(outlet.sink.taken, ["<6>line\n", told, "<6>line\n"]);
    }
}
