//! How long answers take.

use core::time::Duration;

/// The smoothed round-trip time and its variation (RFC 6298 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoundTrip {
    smoothed: Duration,
    variation: Duration,
}

/// How much the shortest wait lies above the smoothed time: the granularity G of RFC 6298 section 2, here what a thread may be
/// late on a busy machine.
const GRANULARITY: Duration = Duration::from_millis(1);

impl RoundTrip {
    /// Takes in a sample; the first one stands for all before it.
    pub(crate) fn sampled(before: Option<RoundTrip>, sample: Duration) -> RoundTrip {
        let Some(RoundTrip { smoothed, variation }) = before else {
            return RoundTrip { smoothed: sample, variation: sample / 2 };
        };
        let off = smoothed.abs_diff(sample);
        RoundTrip { smoothed: (smoothed * 7 + sample) / 8, variation: (variation * 3 + off) / 4 }
    }

    pub(crate) fn smoothed(self) -> Duration {
        self.smoothed
    }

    /// How long to wait for an answer before it counts as lost.
    pub(crate) fn timeout(self) -> Duration {
        self.smoothed + (self.variation * 4).max(GRANULARITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: impl IntoIterator<Item = u64>) -> RoundTrip {
        let sampled = |before, millis| Some(RoundTrip::sampled(before, Duration::from_millis(millis)));
        samples.into_iter().fold(None, sampled).unwrap()
    }

    #[test]
    fn the_first_sample_is_waited_for_three_times_over() {
        assert_eq!(after([100]).timeout(), Duration::from_millis(300));
    }

    #[test]
    fn a_steady_path_is_waited_for_little_longer_than_it_takes() {
        let steady = after([100; 100]);
        assert_eq!(steady.smoothed(), Duration::from_millis(100));
        assert!(steady.timeout() <= Duration::from_millis(102), "{steady:?}");
    }

    #[test]
    fn one_sample_of_a_much_longer_path_makes_us_wait_long_enough_for_the_next() {
        let longer = after([1; 100].into_iter().chain([300]));
        assert!(longer.timeout() > Duration::from_millis(300), "{longer:?}");
    }
}
