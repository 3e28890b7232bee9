//! How much broadcast, unknown unicast and multicast is carried for each peer, each way.
//!
//! # Theory of operation
//!
//! A token bucket for each peer and direction, kept as one number: the moment at which all that was let through would have been through
//! at the rate that is allowed (the theoretical arrival time of the generic cell rate algorithm, ITU-T I.371). A frame passes where
//! that moment is less than a burst ahead of now, and moves it on by its share of a second; so the average is exact whatever the sizes of
//! superframes are, and an idle peer has its whole burst.
//!
//! Several workers share the buckets. Only floods touch them: a frame for a known address never does.

use alloc::boxed::Box;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::{PeerId, Timestamp};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// What may come at once after a pause: this long at the rate, and [`BURST_FRAMES`] at least.
const BURST: Duration = Duration::from_millis(100);

/// More than one superframe of the longest packets has.
const BURST_FRAMES: u64 = 128;

/// The limit of floods, shared by all threads of a segment.
#[derive(Debug)]
pub struct StormLimit {
    /// Nanoseconds that a frame costs; 0: no limit.
    cost_ns: AtomicU64,
    /// By number of the remote; the last is for those that have none.
    out: Box<[AtomicU64]>,
    back: Box<[AtomicU64]>,
}

impl StormLimit {
    pub(crate) fn new(peers: usize, frames_per_s: Option<NonZeroU32>) -> StormLimit {
        let buckets = || (0..=peers).map(|_| AtomicU64::new(0)).collect();
        let limit = StormLimit { cost_ns: AtomicU64::new(0), out: buckets(), back: buckets() };
        limit.set(frames_per_s);
        limit
    }

    /// Sets the rate, in frames a second for each peer and direction; `None`: no limit. In force from the next flood on.
    pub(crate) fn set(&self, frames_per_s: Option<NonZeroU32>) {
        let cost = frames_per_s.map_or(0, |rate| (NANOS_PER_SECOND / u64::from(rate.get())).max(1));
        if self.cost_ns.swap(cost, Ordering::Relaxed) != cost {
            // What was owed at the old rate may be minutes of the new one.
            self.out.iter().chain(&self.back).for_each(|bucket| bucket.store(0, Ordering::Relaxed));
        }
    }

    /// Whether there is a limit.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.cost_ns.load(Ordering::Relaxed) != 0
    }

    /// Whether a copy of so many frames may go to this remote now; then they count.
    #[must_use]
    pub fn admit_out(&self, peer: PeerId, frames: u64, now: Timestamp) -> bool {
        self.admit(self.out.get(peer.index()), frames, now)
    }

    /// Whether a frame for many from this remote may be delivered now; then it counts. Accepted senders that are no remote share a
    /// bucket.
    #[must_use]
    pub(crate) fn admit_back(&self, peer: Option<PeerId>, now: Timestamp) -> bool {
        let bucket = peer.and_then(|peer| self.back.get(peer.index())).or(self.back.last());
        self.admit(bucket, 1, now)
    }

    fn admit(&self, bucket: Option<&AtomicU64>, frames: u64, now: Timestamp) -> bool {
        let cost = self.cost_ns.load(Ordering::Relaxed);
        let (Some(bucket), true) = (bucket, cost != 0) else { return true };
        let now = now.as_nanos();
        let burst = Timestamp::from_duration(BURST).as_nanos().max(cost.saturating_mul(BURST_FRAMES));
        let pass = |through_at: u64| {
            let from = through_at.max(now);
            (from < now.saturating_add(burst)).then(|| from.saturating_add(cost.saturating_mul(frames)))
        };
        bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pass).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_nanos(micros * 1000)
    }

    /// How many of `offered` frames a second pass in ten seconds, in steps of `frames`.
    fn passed(limit: &StormLimit, offered: u64, frames: u64) -> u64 {
        let step = 1_000_000 * frames / offered;
        (0..10_000_000 / step).filter(|number| limit.admit_out(PeerId(0), frames, at(number * step))).count()
            as u64
            * frames
    }

    #[test]
    fn what_passes_is_within_five_parts_in_a_hundred_of_the_rate_however_much_is_offered() {
        for rate in [100, 1000, 20_000, 700_000] {
            for times in [2, 20] {
                for frames in [1, 44] {
                    let limit = StormLimit::new(1, NonZeroU32::new(rate));
                    let offered = u64::from(rate) * times;
                    if offered > 1_000_000 {
                        continue;
                    }
                    let passed = passed(&limit, offered, frames) as f64;
                    let burst = f64::from(rate) / 10.0;
                    let expected = f64::from(rate) * 10.0 + burst.max(128.0);
                    let off = (passed - expected).abs() / expected;
                    assert!(
                        off < 0.05,
                        "{rate} a second, {times} times, by {frames}: {passed} of {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn peers_and_directions_have_buckets_of_their_own() {
        let limit = StormLimit::new(2, NonZeroU32::new(10));
        let drain = |pass: &dyn Fn() -> bool| (0..1000).filter(|_| pass()).count();
        assert_eq!(drain(&|| limit.admit_out(PeerId(0), 1, at(0))), 128);
        assert_eq!(drain(&|| limit.admit_out(PeerId(1), 1, at(0))), 128);
        assert_eq!(drain(&|| limit.admit_back(Some(PeerId(0)), at(0))), 128);
        assert_eq!(drain(&|| limit.admit_back(None, at(0))), 128);
    }

    #[test]
    fn without_a_rate_everything_passes_and_a_new_rate_counts_at_once() {
        let limit = StormLimit::new(1, None);
        assert!(!limit.is_on() && (0..10_000).all(|_| limit.admit_out(PeerId(0), 64, at(0))));
        limit.set(NonZeroU32::new(1));
        assert!(limit.is_on());
        assert_eq!((0..10_000).filter(|_| limit.admit_out(PeerId(0), 1, at(1))).count(), 128);
        limit.set(NonZeroU32::new(1));
        assert!(!limit.admit_out(PeerId(0), 1, at(1)), "the same rate forgives nothing");
        limit.set(NonZeroU32::new(1000));
        assert!(
            limit.admit_out(PeerId(0), 1, at(3)),
            "two minutes of the old rate are not owed to the new one"
        );
    }

    #[test]
    fn a_superframe_longer_than_the_burst_passes_and_is_paid_for() {
        let limit = StormLimit::new(1, NonZeroU32::new(1000));
        assert!(limit.admit_out(PeerId(0), 1000, at(0)));
        assert!(
            !limit.admit_out(PeerId(0), 1, at(800_000)),
            "a second is not over, nor all but the burst of it"
        );
        assert!(limit.admit_out(PeerId(0), 1, at(900_001)));
    }
}
