//! Numbers in the units that people read.

use std::fmt;

/// A number of octets, as in `1.20 KiB`.
pub(crate) struct Octets(pub(crate) u64);

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut value = self.0 as f64 / 1024.0;
        if value < 1.0 {
            return write!(f, "{} B", self.0);
        }
        for unit in UNITS {
            // What would be rounded up to 1024 belongs to the next unit.
            if value < 1023.995 || unit == "EiB" {
                return write!(f, "{value:.2} {unit}");
            }
            value /= 1024.0;
        }
        Ok(())
    }
}

/// A number of seconds, as in `1 hour, 2 minutes, 3 seconds`.
pub(crate) struct Seconds(pub(crate) u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.0 / 86_400, "day"),
            (self.0 / 3600 % 24, "hour"),
            (self.0 / 60 % 60, "minute"),
            (self.0 % 60, "second"),
        ];
        let mut first = true;
        for (count, unit) in parts {
            if count > 0 || (unit == "second" && first) {
                write!(f, "{}{}", if first { "" } else { ", " }, Count(count, unit))?;
                first = false;
            }
        }
        Ok(())
    }
}

/// How long ago something was, or `never`.
pub(crate) struct Ago(pub(crate) Option<u64>);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("never"),
            Some(0) => f.write_str("now"),
            Some(seconds) => write!(f, "{} ago", Seconds(seconds)),
        }
    }
}

/// How long ago something was, to a tenth of a second while that says anything, or `never`.
pub(crate) struct MillisAgo(pub(crate) Option<u64>);

impl fmt::Display for MillisAgo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(millis @ ..10_000) => write!(f, "{}.{} s ago", millis / 1000, millis % 1000 / 100),
            Some(millis) => write!(f, "{} ago", Seconds(millis / 1000)),
            None => f.write_str("never"),
        }
    }
}

/// A rate in steps of a thousand, as in `1.20 kbit/s`.
pub(crate) struct PerSecond(pub(crate) u64, pub(crate) &'static str);

impl fmt::Display for PerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        if self.0 < 1000 {
            return write!(f, "{} {}/s", self.0, self.1);
        }
        for prefix in ["k", "M", "G", "T", "P", "E"] {
            value /= 1000.0;
            // What would be rounded up to 1000 belongs to the next prefix.
            if value < 999.95 || prefix == "E" {
                return write!(f, "{value:.1} {prefix}{}/s", self.1);
            }
        }
        Ok(())
    }
}

/// Microseconds as milliseconds, or `-`.
pub(crate) struct Millis(pub(crate) Option<u64>);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("-"),
            Some(micros) => write!(f, "{}.{:03} ms", micros / 1000, micros % 1000),
        }
    }
}

/// A number of things, as in `1 frame` and `2 frames`.
pub(crate) struct Count(pub(crate) u64, pub(crate) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_have_three_or_more_figures_and_the_largest_unit_that_fits() {
        for (octets, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1229, "1.20 KiB"),
            ((1 << 20) - 1, "1.00 MiB"),
            (1 << 20, "1.00 MiB"),
            (u64::MAX, "16.00 EiB"),
        ] {
            assert_eq!(Octets(octets).to_string(), text);
        }
    }

    #[test]
    fn seconds_name_the_parts_that_are_not_zero() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (60, "1 minute"),
            (3723, "1 hour, 2 minutes, 3 seconds"),
            (86_400 * 2 + 1, "2 days, 1 second"),
        ] {
            assert_eq!(Seconds(seconds).to_string(), text);
        }
        assert_eq!(Ago(None).to_string(), "never");
        assert_eq!(Ago(Some(0)).to_string(), "now");
        assert_eq!(Ago(Some(61)).to_string(), "1 minute, 1 second ago");
    }

    #[test]
    fn what_was_heard_just_now_is_told_to_a_tenth_of_a_second() {
        for (millis, text) in
            [(0, "0.0 s ago"), (349, "0.3 s ago"), (9_999, "9.9 s ago"), (61_000, "1 minute, 1 second ago")]
        {
            assert_eq!(MillisAgo(Some(millis)).to_string(), text);
        }
        assert_eq!(MillisAgo(None).to_string(), "never");
    }

    #[test]
    fn rates_have_the_prefix_that_leaves_three_figures() {
        for (rate, text) in [
            (0, "0 bit/s"),
            (999, "999 bit/s"),
            (1000, "1.0 kbit/s"),
            (999_949, "999.9 kbit/s"),
            (999_950, "1.0 Mbit/s"),
            (u64::MAX, "18.4 Ebit/s"),
        ] {
            assert_eq!(PerSecond(rate, "bit").to_string(), text);
        }
    }

    #[test]
    fn round_trips_are_in_milliseconds() {
        assert_eq!(Millis(Some(1_234)).to_string(), "1.234 ms");
        assert_eq!(Millis(Some(56)).to_string(), "0.056 ms");
        assert_eq!(Millis(None).to_string(), "-");
    }
}
