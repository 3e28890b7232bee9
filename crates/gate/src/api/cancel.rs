//! Giving up a call from another thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often a call in flight looks whether it is still wanted: short beside the second in which a daemon must end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Ends every call of a client, for good: the one in flight, the wait between two attempts, and whatever is asked later.
/// Each returns `ApiError::Cancelled` within a tenth of a second. Clones cancel the same client.
#[derive(Clone, Debug, Default)]
pub struct Cancellation {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    waiting: Mutex<()>,
    wake: Condvar,
}

/// It was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cancelled;

impl Cancellation {
    /// Cancels.
    pub fn cancel(&self) {
        self.inner.cancelled.store(true, Ordering::Release);
        // Under the lock, so that no waiter is between its look and its wait.
        let _waiting = self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.wake.notify_all();
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.load(Ordering::Acquire)
    }

    /// Waits for this long, unless it is cancelled.
    pub(crate) fn wait(&self, duration: Duration) -> Result<(), Cancelled> {
        let waiting = self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.inner.wake.wait_timeout_while(waiting, duration, |()| !self.is_cancelled());
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Does some work on a thread of its own and returns its result, or leaves it to itself when it is cancelled. Name
    /// resolution and connecting cannot be interrupted: such a thread ends by its time-outs.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Cancelled> {
        if self.is_cancelled() {
            return Err(Cancelled);
        }
        let (done, result) = mpsc::channel();
        let work = Arc::new(Mutex::new(Some(work)));
        let taken = Arc::clone(&work);
        let started = thread::Builder::new().name("gate-api".to_owned()).spawn(move || {
            if let Some(work) = take(&taken) {
                let _ = done.send(work());
            }
        });
        let Ok(worker) = started else {
            // Without a thread it is done on this one, for as long as its own time-outs let it.
            return take(&work).map(|work| work()).ok_or(Cancelled);
        };
        loop {
            match result.recv_timeout(LOOK_EVERY) {
                Ok(value) => return Ok(value),
                Err(RecvTimeoutError::Timeout) if self.is_cancelled() => return Err(Cancelled),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => match worker.join() {
                    Err(panic) => std::panic::resume_unwind(panic),
                    Ok(()) => return Err(Cancelled),
                },
            }
        }
    }
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far longer than a test may take.
    const FOR_EVER: Duration = Duration::from_secs(3600);

    #[test]
    fn a_wait_ends_when_it_is_cancelled_and_later_ones_do_not_begin() {
        let cancellation = Cancellation::default();
        let waiter = {
            let cancellation = cancellation.clone();
            thread::spawn(move || cancellation.wait(FOR_EVER))
        };
        cancellation.cancel();
        assert_eq!(waiter.join().unwrap(), Err(Cancelled));
        assert_eq!(cancellation.wait(FOR_EVER), Err(Cancelled));
        assert_eq!(cancellation.run(|| 1), Err(Cancelled));
    }

    #[test]
    fn work_that_does_not_end_is_left() {
        let cancellation = Cancellation::default();
        let (hold, held) = mpsc::channel::<()>();
        let caller = {
            let cancellation = cancellation.clone();
            thread::spawn(move || {
                cancellation.run(move || {
                    let _ = held.recv();
                })
            })
        };
        cancellation.cancel();
        assert_eq!(caller.join().unwrap(), Err(Cancelled));
        drop(hold);
    }

    #[test]
    fn work_that_ends_gives_its_result_and_a_wait_its_end() {
        let cancellation = Cancellation::default();
        assert_eq!(cancellation.run(|| 7), Ok(7));
        assert_eq!(cancellation.wait(Duration::from_millis(1)), Ok(()));
    }
}
