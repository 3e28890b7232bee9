//! On which processors threads run.

use std::io;
use std::thread;

use rustix::thread::{CpuSet, sched_setaffinity};

/// The highest processor that a thread can be pinned to, from 0 (`CPU_SETSIZE` of sched.h, less one).
pub const PROCESSOR_MAX: usize = CpuSet::MAX_CPU - 1;

/// Confines the calling thread to this processor.
pub(crate) fn pin(processor: usize) -> io::Result<()> {
    if processor > PROCESSOR_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut only = CpuSet::new();
    only.set(processor);
    Ok(sched_setaffinity(None, &only)?)
}

/// Whether this process may run threads on this processor: tries it with a thread that ends at once.
///
/// # Errors
/// `InvalidInput` where the host has no such processor, or the control group (cpuset) leaves it to others.
pub fn check_processor(processor: usize) -> io::Result<()> {
    let trial = thread::Builder::new().spawn(move || pin(processor))?;
    trial.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use rustix::thread::sched_getaffinity;

    use super::*;

    fn own() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap();
        (0..=PROCESSOR_MAX).filter(|processor| set.is_set(*processor)).collect()
    }

    #[test]
    fn a_pinned_thread_runs_on_its_processor_and_the_others_where_they_did() {
        let before = own();
        for processor in before.clone() {
            let pinned = thread::spawn(move || pin(processor).map(|()| own()));
            assert_eq!(pinned.join().unwrap().unwrap(), [processor]);
            check_processor(processor).unwrap();
        }
        assert_eq!(own(), before);
    }

    #[test]
    fn a_processor_that_is_not_there_is_refused() {
        for processor in [PROCESSOR_MAX, PROCESSOR_MAX + 1, usize::MAX] {
            assert_eq!(check_processor(processor).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
