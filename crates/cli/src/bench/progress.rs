//! What is going on, on standard error: one line that is rewritten on a terminal, a line for each step elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

/// Tells the steps.
pub(super) struct Progress {
    terminal: bool,
    steps: usize,
    step: usize,
    /// About what a step takes.
    step_time: Duration,
}

impl Progress {
    pub(super) fn new(steps: usize, step_time: Duration) -> Progress {
        Progress { terminal: io::stderr().is_terminal(), steps, step: 0, step_time }
    }

    /// The next step begins.
    pub(super) fn step(&mut self, told: &str) {
        let left = self.step_time * u32::try_from(self.steps - self.step).unwrap_or(u32::MAX);
        self.step += 1;
        let (step, steps) = (self.step, self.steps);
        if self.terminal {
            let line = format!("[{step:>2}/{steps}] {told}, about {} s left", left.as_secs());
            // Nobody needs to know that nobody looks.
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
        } else {
            let _ = writeln!(io::stderr(), "[{step}/{steps}] {told}");
        }
    }

    /// Something to know, on a line of its own.
    pub(super) fn note(&self, told: &str) {
        self.clear();
        let _ = writeln!(io::stderr(), "{told}");
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
