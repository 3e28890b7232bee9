//! Time as the caller passes it in.

use core::time::Duration;

/// A moment, in nanoseconds since an epoch of the caller's choice; 584 years fit.
///
/// The core never reads a clock: whoever calls it says what time it is. A moment before an earlier one counts as that
/// earlier one where a span is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The caller's epoch.
    pub const ZERO: Timestamp = Timestamp(0);

    /// The moment this long after the epoch; a span above 584 years counts as 584 years.
    #[must_use]
    pub const fn from_duration(since_epoch: Duration) -> Timestamp {
        let nanos = since_epoch.as_nanos();
        Timestamp(if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 })
    }

    /// The moment this many nanoseconds after the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Timestamp {
        Timestamp(nanos)
    }

    /// How long after the epoch, in nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after the epoch.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The moment this much later, or the last one there is.
    #[must_use]
    pub const fn saturating_add(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(Timestamp::from_duration(span).0))
    }

    /// How long after `earlier`; zero when it is not after it.
    #[must_use]
    pub const fn saturating_since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the epoch, rounded down; 136 years fit.
    pub(crate) const fn seconds(self) -> u32 {
        saturate(self.0 / NANOS_PER_SECOND)
    }

    /// Whole seconds since the epoch, rounded up, so that nothing that counts from here ends early.
    pub(crate) const fn seconds_up(self) -> u32 {
        saturate(self.0.div_ceil(NANOS_PER_SECOND))
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The seconds of a span, rounded up, so that what lasts this long does not end early; 136 years fit.
pub(crate) const fn span_seconds_up(span: Duration) -> u32 {
    saturate(span.as_secs().saturating_add((span.subsec_nanos() > 0) as u64))
}

const fn saturate(seconds: u64) -> u32 {
    if seconds > u32::MAX as u64 { u32::MAX } else { seconds as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_counted_backwards_is_zero() {
        let early = Timestamp::from_nanos(5);
        let late = Timestamp::from_nanos(9);
        assert_eq!(late.saturating_since(early), Duration::from_nanos(4));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
    }

    #[test]
    fn seconds_round_either_way_and_saturate() {
        let moment = Timestamp::from_nanos(1_000_000_001);
        assert_eq!((moment.seconds(), moment.seconds_up()), (1, 2));
        assert_eq!(Timestamp::from_nanos(1_000_000_000).seconds_up(), 1);
        assert_eq!(Timestamp::from_duration(Duration::MAX).seconds_up(), u32::MAX);
        assert_eq!(span_seconds_up(Duration::from_millis(1500)), 2);
        assert_eq!(span_seconds_up(Duration::MAX), u32::MAX);
    }

    #[test]
    fn the_last_moment_has_nothing_after_it() {
        let last = Timestamp::from_nanos(u64::MAX);
        assert_eq!(last.saturating_add(Duration::from_secs(1)), last);
        assert_eq!(
            Timestamp::ZERO.saturating_add(Duration::from_secs(1)).as_duration(),
            Duration::from_secs(1)
        );
    }
}
