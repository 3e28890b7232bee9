//! How peers are probed.

use core::time::Duration;

/// How peers are probed: how often, and when silence means death.
///
/// With the defaults a peer that dies is noticed 280 to 400 ms later, as it dies just before a probe or just after one
/// (`cargo test --test health_simulation -- --nocapture`). At 5 % of frames lost each way, one probe of ten goes unanswered; with
/// eight a second, seven in a row do so about once in two weeks (0.0975 to the 7th, times 8 for each second).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// How long after a probe that was answered the next one is sent; default 120 ms. From 10 ms to 1 minute.
    pub interval: Duration,
    /// How long an answer is waited for at least, and then the next probe sent; default 40 ms, which is a dozen round trips
    /// within one region of a cloud. A path that is longer is waited for longer: for its round-trip time and four times its
    /// variation, as RFC 6298 section 2 has it. From 5 ms to [`HealthConfig::interval`].
    pub retry: Duration,
    /// How many probes in a row must go unanswered, with nothing else heard, for a peer to be down; default 7. From 2 to 100.
    /// Doubled for each false alarm of the last ten minutes, after which the peer answered again within a second, up to eight times.
    pub misses: u32,
    /// How long a peer that answers again must go on answering before it is up; default 500 ms. Doubled for each time that it
    /// went down within the last minute, up to a minute; it answers three probes at least. Up to 1 minute.
    pub hold_down: Duration,
}

impl HealthConfig {
    /// The shortest [`HealthConfig::interval`]: a hundred probes a second.
    pub const MIN_INTERVAL: Duration = Duration::from_millis(10);
    /// The longest [`HealthConfig::interval`].
    pub const MAX_INTERVAL: Duration = Duration::from_secs(60);
    /// The shortest [`HealthConfig::retry`].
    pub const MIN_RETRY: Duration = Duration::from_millis(5);
    /// The fewest [`HealthConfig::misses`]: one lost frame is no death.
    pub const MIN_MISSES: u32 = 2;
    /// The most [`HealthConfig::misses`].
    pub const MAX_MISSES: u32 = 100;
    /// The longest [`HealthConfig::hold_down`], doubled ones included.
    pub const MAX_HOLD_DOWN: Duration = Duration::from_secs(60);

    /// With each value outside its range taken for the nearer end.
    #[must_use]
    pub fn clamped(self) -> HealthConfig {
        let interval = self.interval.clamp(Self::MIN_INTERVAL, Self::MAX_INTERVAL);
        HealthConfig {
            interval,
            retry: self.retry.clamp(Self::MIN_RETRY, interval),
            misses: self.misses.clamp(Self::MIN_MISSES, Self::MAX_MISSES),
            hold_down: self.hold_down.min(Self::MAX_HOLD_DOWN),
        }
    }
}

impl Default for HealthConfig {
    fn default() -> HealthConfig {
        HealthConfig {
            interval: Duration::from_millis(120),
            retry: Duration::from_millis(40),
            misses: 7,
            hold_down: Duration::from_millis(500),
        }
    }
}
