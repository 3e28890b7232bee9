//! Ends every load from outside.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Error;

/// A word to stop, given once and for all: loads that run end within a fraction of a second, later ones do not begin.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    /// Nobody has said it yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Says it.
    pub fn stop(&self) {
        let guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.stopped.store(true, Ordering::Release);
        drop(guard);
        self.0.changed.notify_all();
    }

    /// Whether it was said.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    /// Lets `time` pass.
    ///
    /// # Errors
    /// [`Error::Interrupted`] as soon as it is said.
    pub fn wait(&self, time: Duration) -> Result<(), Error> {
        let guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(guard, time, |()| !self.is_stopped());
        drop(waited);
        if self.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;

    #[test]
    fn a_wait_lasts_its_time_or_until_it_is_stopped() {
        let (stop, start) = (Stop::new(), now());
        stop.wait(Duration::from_millis(20)).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
        std::thread::scope(|scope| {
            scope.spawn(|| stop.stop());
            assert!(matches!(stop.wait(Duration::from_secs(600)), Err(Error::Interrupted)));
        });
        assert!(matches!(stop.clone().wait(Duration::ZERO), Err(Error::Interrupted)), "and from then on");
    }
}
