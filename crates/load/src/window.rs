//! How long a load runs, and what its counters say between two looks.

use std::time::Duration;

use crate::clock::now;
use crate::error::Error;
use crate::processor;
use crate::stop::Stop;

/// How long a load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// At first, unmeasured: TCP opens its window, threads and caches come to their places.
    pub warm_up: Duration,
    /// Then, measured.
    pub measured: Duration,
}

/// What was seen at the two ends of the measured time.
pub(crate) struct Window<T> {
    pub(crate) first: T,
    pub(crate) last: T,
    pub(crate) elapsed: Duration,
    /// Processor time of the whole machine.
    pub(crate) busy: Duration,
}

impl Span {
    /// Lets the time pass and looks at its ends.
    pub(crate) fn watch<T>(self, stop: &Stop, look: impl Fn() -> T) -> Result<Window<T>, Error> {
        stop.wait(self.warm_up)?;
        let busy = Busy::start()?;
        let (start, first) = (now(), look());
        stop.wait(self.measured)?;
        let (elapsed, last) = (start.elapsed(), look());
        Ok(Window { first, last, elapsed, busy: busy.spent()? })
    }
}

/// Processor time from here on.
pub(crate) struct Busy(Duration);

impl Busy {
    pub(crate) fn start() -> Result<Busy, Error> {
        Ok(Busy(processor::busy().map_err(Error::io("read the processors' times"))?))
    }

    pub(crate) fn spent(&self) -> Result<Duration, Error> {
        Ok(Busy::start()?.0.saturating_sub(self.0))
    }
}
