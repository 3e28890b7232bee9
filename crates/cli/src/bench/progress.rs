//! What is going on, on standard error: one line that is rewritten on a terminal, a line for each step elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

/// Tells the steps.
pub(super) struct Progress {
    terminal: bool,
    steps: usize,
    step: usize,
    /// About what the steps from here on take.
    left: Duration,
}

impl Progress {
    /// So many steps, which take about `left`.
    pub(super) fn new(steps: usize, left: Duration) -> Progress {
        Progress { terminal: io::stderr().is_terminal(), steps, step: 0, left }
    }

    /// The next step begins, and takes about `takes`.
    pub(super) fn step(&mut self, told: &str, takes: Duration) {
        let left = self.left;
        self.left = left.saturating_sub(takes);
        self.step += 1;
        let (step, steps) = (self.step, self.steps);
        if self.terminal {
            let line = format!("[{step:>2}/{steps}] {told}, about {} s left", left.as_secs().max(1));
            // Nobody needs to know that nobody looks.
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
        } else {
            let _ = writeln!(io::stderr(), "[{step}/{steps}] {told}");
        }
    }

    /// Something to know, on a line of its own.
    pub(super) fn note(&self, told: &str) {
        self.clear();
        note(told);
    }

    /// The next step is the one after number `step`; what lies between is not done.
    pub(super) fn skip_to(&mut self, step: usize) {
        self.step = step;
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Something to know, where no step is being told.
pub(super) fn note(told: &str) {
    let _ = writeln!(io::stderr(), "{told}");
}
