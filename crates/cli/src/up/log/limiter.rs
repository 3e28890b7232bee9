//! How much each source of lines may say: a token bucket for each place in the program that logs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Lines that may come at once. Our choice: a start with many notices is told whole.
pub(super) const BURST: u32 = 20;

/// From one line to the next once the burst is spent. Our choice: what a person can read.
const PAUSE: Duration = Duration::from_secs(1);

/// Shares by kind. There are as many kinds as places in the program that log, some hundreds.
#[derive(Debug, Default)]
pub(super) struct Limiter(HashMap<usize, Share>);

#[derive(Debug)]
struct Share {
    tokens: u32,
    /// When the last token came in.
    filled: Instant,
    left_out: u64,
}

impl Limiter {
    /// Whether one more line of this kind may be written: how many were left out since the last one, or `None` where it may not.
    pub(super) fn pass(&mut self, kind: usize, now: Instant) -> Option<u64> {
        let share = self.0.entry(kind).or_insert(Share { tokens: BURST, filled: now, left_out: 0 });
        let pauses = now.saturating_duration_since(share.filled).as_secs() / PAUSE.as_secs();
        let due = u32::try_from(pauses).unwrap_or(u32::MAX);
        if due >= BURST - share.tokens {
            share.tokens = BURST;
            share.filled = now;
        } else {
            share.tokens += due;
            share.filled += PAUSE * due;
        }
        if share.tokens == 0 {
            share.left_out += 1;
            return None;
        }
        share.tokens -= 1;
        Some(std::mem::take(&mut share.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::super::now;
    use super::*;

    #[test]
    fn a_burst_then_one_a_second_and_a_full_share_after_a_silence() {
        let (mut limiter, start) = (Limiter::default(), now());
        for _ in 0..BURST {
            assert_eq!(limiter.pass(1, start), Some(0));
        }
        assert_eq!(limiter.pass(1, start), None);
        assert_eq!(limiter.pass(1, start + Duration::from_millis(999)), None);
        assert_eq!(limiter.pass(2, start), Some(0), "another kind has its own");
        assert_eq!(limiter.pass(1, start + Duration::from_millis(1000)), Some(2));
        assert_eq!(limiter.pass(1, start + Duration::from_millis(1500)), None);
        assert_eq!(limiter.pass(1, start + Duration::from_millis(2000)), Some(1));
        let later = start + Duration::from_secs(3600);
        for _ in 0..BURST {
            assert_eq!(limiter.pass(1, later), Some(0));
        }
        assert_eq!(limiter.pass(1, later), None);
    }
}
