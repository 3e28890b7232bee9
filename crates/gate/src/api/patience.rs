//! How often and how long a call is tried.

use std::time::Duration;

/// How long a client waits for answers, and between attempts.
///
/// Network errors, 429 and 5xx are tried again. The default is the schedule of the vendor's command: five more attempts
/// after 10, 10, 20, 30 and 50 s, each with up to 120 s for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Before the second attempt, the third, and so on; none are made beyond. Each wait is shifted at random by up to a
    /// fifth either way, so that hosts that lost the API together do not come back together.
    pub waits: Vec<Duration>,
    /// For one attempt: from the name's resolution to the answer's last octet.
    pub per_attempt: Duration,
    /// For resolving the name, and again for connecting. Not above `per_attempt`.
    pub connect: Duration,
    /// No attempt begins later than this after the first.
    pub total: Duration,
    /// The longest wait that an answer's `Retry-After` may ask for. One that asks for more ends the call, which says when to
    /// try again: to come back earlier than asked is no use.
    pub longest_retry_after: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            waits: [10, 10, 20, 30, 50].map(Duration::from_secs).to_vec(),
            per_attempt: Duration::from_secs(120),
            connect: Duration::from_secs(30),
            total: Duration::from_secs(300),
            longest_retry_after: Duration::from_secs(120),
        }
    }
}

impl Patience {
    /// One attempt of up to this long.
    #[must_use]
    pub fn once(per_attempt: Duration) -> Patience {
        Patience { waits: Vec::new(), per_attempt, connect: per_attempt, ..Patience::default() }
    }

    /// How long to wait before the next attempt, after this many; `None` when it is enough. `elapsed` is the time since the
    /// first began, `asked` the answer's `Retry-After`, `chance` a number from 0 to 1.
    pub(crate) fn next_wait(
        &self,
        attempts: usize,
        elapsed: Duration,
        asked: Option<Duration>,
        chance: f64,
    ) -> Option<Duration> {
        let planned = *self.waits.get(attempts.checked_sub(1)?)?;
        let wait = match asked {
            Some(asked) if asked > self.longest_retry_after => return None,
            // Never earlier than asked.
            Some(asked) => asked + planned.min(asked).mul_f64(SHIFT * chance),
            None => planned.mul_f64(1.0 - SHIFT + 2.0 * SHIFT * chance),
        };
        (elapsed + wait <= self.total).then_some(wait)
    }
}

/// How far a wait is shifted, as a part of it: enough to part hosts that wait for 10 s by seconds.
const SHIFT: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn the_default_is_the_vendors_schedule_give_or_take_a_fifth() {
        let patience = Patience::default();
        let waits = |chance| -> Vec<_> {
            (1..).map_while(|attempts| patience.next_wait(attempts, Duration::ZERO, None, chance)).collect()
        };
        assert_eq!(waits(0.5), [10, 10, 20, 30, 50].map(seconds));
        assert_eq!(waits(0.0), [8, 8, 16, 24, 40].map(seconds));
        assert_eq!(waits(1.0), [12, 12, 24, 36, 60].map(seconds));
        assert_eq!(patience.per_attempt, seconds(120));
    }

    #[test]
    fn a_server_is_never_asked_earlier_than_it_says_and_a_long_wait_ends_the_call() {
        let patience = Patience::default();
        let wait = |asked, chance| patience.next_wait(1, Duration::ZERO, Some(seconds(asked)), chance);
        assert_eq!(wait(0, 1.0), Some(Duration::ZERO));
        assert_eq!(wait(60, 0.0), Some(seconds(60)));
        assert_eq!(wait(60, 1.0), Some(seconds(62)));
        assert_eq!(wait(120, 0.0), Some(seconds(120)));
        assert_eq!(wait(121, 0.0), None);
    }

    #[test]
    fn nothing_begins_after_the_total_and_once_is_once() {
        let patience = Patience::default();
        assert_eq!(patience.next_wait(1, seconds(290), None, 0.5), Some(seconds(10)));
        assert_eq!(patience.next_wait(1, seconds(291), None, 0.5), None);
        assert_eq!(Patience::once(seconds(5)).next_wait(1, Duration::ZERO, None, 0.5), None);
    }
}
