//! The one place of this crate that reads the clock and waits.

use std::thread;
use std::time::{Duration, Instant};

/// First pause between two looks, and the longest: short enough for a test, long enough to leave the processor alone.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The time now.
#[expect(clippy::disallowed_methods, reason = "a test bed stands at the edge: it measures real traffic")]
pub fn now() -> Instant {
    Instant::now()
}

/// Looks at `condition` until it holds or `limit` has passed; answers whether it held.
#[must_use = "a condition that never held is the failure to report"]
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    wait_for(limit, || condition().then_some(())).is_some()
}

/// Looks until there is a value or `limit` has passed. It looks at least once, and once more at the end.
pub fn wait_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = now() + limit;
    let mut pause = FIRST_PAUSE;
    loop {
        let last = now() >= deadline;
        if let Some(value) = look() {
            return Some(value);
        }
        if last {
            return None;
        }
        // Nobody unparks this thread, and an early return only means one more look.
        thread::park_timeout(pause.min(deadline.saturating_duration_since(now())));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        assert!(eventually(Duration::from_secs(60), || {
            looks += 1;
            looks == 3
        }));
        assert_eq!(looks, 3);
    }

    #[test]
    fn waiting_ends_at_its_limit() {
        let start = now();
        assert!(!eventually(Duration::from_millis(30), || false));
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert_eq!(wait_for(Duration::ZERO, || Some(1)), Some(1), "it looks once even without time");
    }
}
