//! The one place of this crate that reads the clock.

use std::time::Instant;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "a load stands at the edge: it measures real traffic")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
