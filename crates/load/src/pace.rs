//! When the next datagrams of a steady rate are due.

use std::time::Duration;

/// The shortest time from one burst to the next: about what it takes to wake a thread, so that a steady rate comes in
/// bursts that are as small as a sleeping sender can make them.
const INTERVAL: Duration = Duration::from_micros(50);

/// A steady rate in small bursts. A sender that comes late makes up for `burst` datagrams at most; beyond that the
/// schedule slips, and its rate is lower than asked for: it never floods.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    per_second: f64,
    burst: usize,
    /// Datagrams that were due up to now, sent or forgone.
    passed: f64,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Send so many, 1 or more.
    Now(usize),
    /// Nothing before that time has passed.
    After(Duration),
}

impl Pacer {
    /// `per_second` datagrams a second, at most `burst` (1 or more) at once.
    pub(crate) fn new(per_second: f64, burst: usize) -> Pacer {
        Pacer { per_second: per_second.max(f64::MIN_POSITIVE), burst: burst.max(1), passed: 0.0 }
    }

    /// What is due `elapsed` after the beginning.
    pub(crate) fn due(&mut self, elapsed: Duration) -> Due {
        let behind = elapsed.as_secs_f64() * self.per_second - self.passed;
        if behind < 1.0 {
            let until_next = (1.0 - behind) / self.per_second;
            // An hour is as good as never.
            return Due::After(Duration::from_secs_f64(until_next.min(3600.0)).max(INTERVAL));
        }
        let whole = behind.floor();
        self.passed += whole;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1 to `burst`, a small number"
        )]
        let datagrams = whole.min(self.burst as f64) as usize;
        Due::Now(datagrams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends for a second with a sleep that takes `late` longer than asked for; answers how many, and the largest burst.
    fn sent_in_a_second(per_second: f64, burst: usize, late: Duration) -> (usize, usize) {
        let mut pacer = Pacer::new(per_second, burst);
        let (mut elapsed, mut sent, mut largest) = (Duration::ZERO, 0, 0);
        while elapsed < Duration::from_secs(1) {
            match pacer.due(elapsed) {
                Due::Now(datagrams) => {
                    sent += datagrams;
                    largest = largest.max(datagrams);
                }
                Due::After(time) => elapsed += time + late,
            }
        }
        (sent, largest)
    }

    #[test]
    fn a_rate_is_kept_in_small_bursts() {
        let (sent, largest) = sent_in_a_second(1000.0, 64, Duration::ZERO);
        assert!((998..=1001).contains(&sent) && largest <= 2, "{sent} {largest}");
        let (sent, largest) = sent_in_a_second(200_000.0, 64, Duration::from_micros(10));
        assert!((199_900..=200_100).contains(&sent) && largest <= 13, "{sent} {largest}");
    }

    #[test]
    fn a_sender_that_cannot_keep_up_sends_less_and_never_more_at_once() {
        let (sent, largest) = sent_in_a_second(1_000_000.0, 64, Duration::from_micros(950));
        assert_eq!(largest, 64);
        assert!((63_000..=65_000).contains(&sent), "a burst each millisecond: {sent}");
    }

    #[test]
    fn what_was_missed_in_a_long_pause_is_forgone() {
        let mut pacer = Pacer::new(1000.0, 8);
        assert_eq!(pacer.due(Duration::from_secs(10)), Due::Now(8));
        assert!(matches!(pacer.due(Duration::from_secs(10)), Due::After(_)));
        assert_eq!(pacer.due(Duration::from_millis(10_001)), Due::Now(1));
    }
}
