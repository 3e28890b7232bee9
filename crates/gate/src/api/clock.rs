//! The client's clocks. This file is an edge: time enters here.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime};

use super::cancel::{Cancellation, Cancelled};
use super::date::Utc;

/// What the client reads and waits for; a test brings its own.
pub(crate) trait Clock: Debug + Send + Sync {
    /// Since some moment before the client's first call; never steps back.
    fn uptime(&self) -> Duration;
    /// What this host takes the time to be.
    fn wall(&self) -> Utc;
    /// Waits, unless it is cancelled.
    fn wait(&self, duration: Duration, cancellation: &Cancellation) -> Result<(), Cancelled>;
}

/// The host's clocks.
#[derive(Debug)]
pub(crate) struct HostClock(Instant);

impl HostClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the edge at which the client reads the clock"
    )]
    pub(crate) fn new() -> HostClock {
        HostClock(Instant::now())
    }
}

impl Clock for HostClock {
    fn uptime(&self) -> Duration {
        self.0.elapsed()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the edge at which the client reads the clock"
    )]
    fn wall(&self) -> Utc {
        SystemTime::now().into()
    }

    fn wait(&self, duration: Duration, cancellation: &Cancellation) -> Result<(), Cancelled> {
        cancellation.wait(duration)
    }
}
