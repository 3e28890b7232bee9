//! `--watch`: the same listing again and again, in place on a terminal, one after the other elsewhere.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// To the upper left corner, and what was there goes line by line as it is written over (ECMA-48: CUP, and EL and ED below).
const HOME: &str = "\u{1b}[H";
/// The rest of the line.
const LINE: &str = "\u{1b}[K";
/// All below.
const BELOW: &str = "\u{1b}[J";

/// Calls `list` each `interval` until a signal ends it, which is no failure. What fails is shown in the listing's place, since a tunnel
/// that is being restarted comes back; only a reader that has left ends it.
pub(crate) fn every(
    interval: Duration,
    out: &mut dyn Write,
    mut list: impl FnMut(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let start = |error: io::Error| Failure::failed("watch", error);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(start)?;
    let is_screen = io::stdout().is_terminal();
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(start)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(start)?;
        let mut first = true;
        loop {
            let mut shown = Vec::new();
            if let Err(failure) = list(&mut shown) {
                shown.extend_from_slice(format!("{failure}\n").as_bytes());
            }
            let text = String::from_utf8_lossy(&shown);
            let text = if is_screen { in_place(&text, first) } else { appended(&text, first) };
            out.write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .map_err(|error| Failure::output(&error))?;
            first = false;
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
            }
        }
    })
}

/// A screen full, over the one before without a moment of nothing.
fn in_place(text: &str, first: bool) -> String {
    let before = if first { format!("{HOME}{BELOW}") } else { HOME.to_owned() };
    format!("{before}{}{BELOW}", text.replace('\n', &format!("{LINE}\n")))
}

/// One after the other, with an empty line between.
fn appended(text: &str, first: bool) -> String {
    if first { text.to_owned() } else { format!("\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_written_over_and_a_pipe_is_added_to() {
        assert_eq!(in_place("a\nb\n", true), "\u{1b}[H\u{1b}[Ja\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
        assert_eq!(in_place("a\n", false), "\u{1b}[Ha\u{1b}[K\n\u{1b}[J");
        assert_eq!(appended("a\n", true) + &appended("b\n", false), "a\n\nb\n");
    }

    #[test]
    fn a_reader_that_has_left_ends_it() {
        struct Left;
        impl Write for Left {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut looks = 0;
        let ended = every(Duration::from_millis(1), &mut Left, |out| {
            looks += 1;
            out.write_all(b"x").map_err(|error| Failure::output(&error))
        });
        assert!(ended.is_err());
        assert_eq!(looks, 1);
    }
}
