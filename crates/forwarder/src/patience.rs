//! How long a worker that finds nothing queued goes on looking before it sleeps.
//!
//! # Theory of operation
//!
//! A thread that sleeps in epoll costs the next frame a wake-up: some microseconds where the processor is awake, 20 to
//! 50 where it is halted, in a virtual machine above all. A frame's round trip meets four of them. A thread that looks again and
//! again costs a processor, and takes it from whoever has work.
//!
//! ```text
//!      frames     nothing: look, yield, look, yield, ...      nothing for a window        frame
//!   ──────█────────────────────────────────────────────────┬──────── asleep ───────────────█──────►
//!         └─────────────── window ─────────────────────────┘                               │
//!         └──────────────────────── gap: shorter than CEILING? ────────────────────────────┘
//!                                     yes: the window grows      no: it goes
//! ```
//!
//! Whoever does not know when the next frame comes loses least by looking for as long as sleeping would have cost (the
//! ski-rental problem), and nothing at all by not looking where frames are known to come seldom. So [`BusyPoll::Adaptive`] looks
//! for at most [`CEILING`], and only while gaps are shorter than that: a sleep that turns out as short makes the window
//! longer, one that turns out longer closes it. Linux's own halt polling (`halt_poll_ns`, drivers/cpuidle/governors/haltpoll.c)
//! goes by the same rule.
//!
//! Between two looks the thread yields. Where others want the processor, it is theirs until their slices end, which is longer than
//! any window: a thread that comes back so late goes to sleep, since a sleeper is woken ahead of others and one who yields
//! queues behind them.

use std::time::Duration;

/// What a worker does when nothing is queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BusyPoll {
    /// Sleeps at once.
    Off,
    /// Looks again for this long after the last traffic, then sleeps.
    Fixed(Duration),
    /// Looks again for at most 100 us, and only while frames come in quicker succession than that; the default.
    #[default]
    Adaptive,
}

/// The longest window of [`BusyPoll::Adaptive`]: the round trip of a request and its answer whose four threads all sleep, in a
/// virtual machine, is 60 to 90 us. With less, such a load never opens the window that would halve it.
const CEILING: Duration = Duration::from_micros(100);

/// The window after the first short gap.
const FIRST: Duration = Duration::from_micros(10);

/// A yield that took longer means that others had work for this processor, and more than the threads of a frame's way have.
const CROWDED: Duration = Duration::from_micros(500);

/// For how long no window opens after that: at most half of the time, then, goes to yields that end late.
const RESPITE: Duration = Duration::from_micros(500);

/// One thread's patience. Time is since any moment, the same for all calls.
#[derive(Debug)]
pub(crate) struct Patience {
    policy: BusyPoll,
    window: Duration,
    /// Until when a crowded processor keeps the window closed.
    closed_until: Duration,
    /// Since when nothing was found, if nothing is.
    idle_since: Option<Duration>,
    /// When that was last seen.
    looked: Duration,
    asleep: bool,
}

impl Patience {
    pub(crate) fn new(policy: BusyPoll) -> Patience {
        let window = match policy {
            BusyPoll::Off | BusyPoll::Adaptive => Duration::ZERO,
            BusyPoll::Fixed(window) => window,
        };
        Patience {
            policy,
            window,
            closed_until: Duration::ZERO,
            idle_since: None,
            looked: Duration::ZERO,
            asleep: false,
        }
    }

    /// Something was found.
    pub(crate) fn found(&mut self, now: impl FnOnce() -> Duration) {
        let Some(since) = self.idle_since.take() else { return };
        let slept = std::mem::take(&mut self.asleep);
        if self.policy != BusyPoll::Adaptive {
            return;
        }
        let now = now();
        if slept {
            let short = now.saturating_sub(since) <= CEILING && now >= self.closed_until;
            self.window = if short { (self.window * 2).clamp(FIRST, CEILING) } else { Duration::ZERO };
        } else if now.saturating_sub(self.looked) > CROWDED {
            self.close(now);
        }
    }

    /// Nothing was found. True to look again, after a yield; false to sleep.
    pub(crate) fn looks_again(&mut self, now: impl FnOnce() -> Duration) -> bool {
        // A wake-up that brought nothing does not start the window again.
        if self.policy == BusyPoll::Off || self.asleep {
            return false;
        }
        let now = now();
        let since = match self.idle_since {
            None => *self.idle_since.insert(now),
            Some(since) => {
                if now.saturating_sub(self.looked) > CROWDED && self.policy == BusyPoll::Adaptive {
                    self.close(now);
                }
                since
            }
        };
        self.looked = now;
        self.asleep = now.saturating_sub(since) >= self.window;
        !self.asleep
    }

    fn close(&mut self, now: Duration) {
        self.window = Duration::ZERO;
        self.closed_until = now + RESPITE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// A thread whose looks and yields take a microsecond: how long it looks in vain after traffic at `from`.
    fn looks_in_vain(patience: &mut Patience, from: Duration) -> Duration {
        let mut now = from;
        while patience.looks_again(|| now) {
            now += us(1);
        }
        now - from
    }

    /// Frames this far apart, of which the thread finds each at its first look.
    fn traffic(patience: &mut Patience, from: Duration, gap: Duration, frames: u32) -> Duration {
        (0..frames).fold(from, |now, _| {
            patience.found(|| now);
            looks_in_vain(patience, now);
            now + gap
        })
    }

    #[test]
    fn without_busy_polling_a_thread_sleeps_at_once_and_reads_no_clock() {
        let mut patience = Patience::new(BusyPoll::Off);
        for _ in 0..3 {
            assert!(!patience.looks_again(|| unreachable!("no clock")));
            patience.found(|| unreachable!("no clock"));
        }
    }

    #[test]
    fn a_fixed_time_is_looked_for_after_each_frame_and_not_after_an_empty_wake_up() {
        let mut patience = Patience::new(BusyPoll::Fixed(us(70)));
        for round in 1..4 {
            let now = us(1_000_000) * round;
            patience.found(|| now);
            assert_eq!(looks_in_vain(&mut patience, now), us(70));
            assert!(!patience.looks_again(|| now + us(500_000)), "it was a command's wake-up");
        }
    }

    #[test]
    fn quick_frames_open_the_window_and_a_pause_closes_it() {
        let mut patience = Patience::new(BusyPoll::Adaptive);
        let now = traffic(&mut patience, Duration::ZERO, us(90), 10);
        patience.found(|| now);
        assert_eq!(looks_in_vain(&mut patience, now), CEILING);
        let later = now + us(110);
        patience.found(|| later);
        assert_eq!(looks_in_vain(&mut patience, later), Duration::ZERO, "the last gap was longer");
    }

    #[test]
    fn frames_that_come_seldom_are_not_looked_for() {
        let mut patience = Patience::new(BusyPoll::Adaptive);
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            now += us(101);
            patience.found(|| now);
            assert_eq!(looks_in_vain(&mut patience, now), Duration::ZERO);
        }
    }

    #[test]
    fn where_others_want_the_processor_the_window_closes_for_a_while() {
        let mut patience = Patience::new(BusyPoll::Adaptive);
        let now = traffic(&mut patience, Duration::ZERO, us(10), 10);
        patience.found(|| now);
        assert!(patience.looks_again(|| now));
        // The yield gave the processor away for a slice.
        let back = now + us(3000);
        patience.found(|| back);
        let now = traffic(&mut patience, back, us(10), 49);
        patience.found(|| now);
        assert_eq!(looks_in_vain(&mut patience, now), Duration::ZERO, "{:?} later", now - back);
        let now = traffic(&mut patience, now, us(10), 10);
        patience.found(|| now);
        assert_eq!(looks_in_vain(&mut patience, now), CEILING, "{:?} later", now - back);
    }

    #[test]
    fn a_late_return_that_finds_nothing_sleeps() {
        let mut patience = Patience::new(BusyPoll::Adaptive);
        let now = traffic(&mut patience, Duration::ZERO, us(10), 10);
        patience.found(|| now);
        assert!(patience.looks_again(|| now));
        assert!(!patience.looks_again(|| now + us(501)));
    }
}
