//! Dates of HTTP headers and of certificates, in UTC.

use std::fmt;
use std::time::{Duration, SystemTime};

/// Seconds since 1970-01-01T00:00:00Z, shown as `2026-11-25T23:59:59Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc(u64);

const SECONDS_OF_A_DAY: u64 = 86_400;

/// Days before each month of a common year.
const DAYS_BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Utc {
    /// The moment this many seconds after the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Utc {
        Utc(seconds)
    }

    /// Seconds after the epoch.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// Reads an HTTP date in the form that servers send, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7). The two
    /// forms that are obsolete there read as no date.
    pub(crate) fn parse_http(text: &str) -> Option<Utc> {
        let (_, text) = text.trim().split_once(", ")?;
        let text = text.strip_suffix(" GMT")?;
        let mut parts = text.split(' ');
        let day: u64 = number(parts.next()?, 2)?;
        let month = parts.next()?;
        let month = MONTHS.iter().position(|name| *name == month)?;
        let year: u64 = number(parts.next()?, 4)?;
        let mut clock = parts.next()?.split(':');
        let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next()?);
        let (hour, minute, second) = (number(hour, 2)?, number(minute, 2)?, number(second, 2)?);
        if parts.next().is_some() || clock.next().is_some() {
            return None;
        }
        // 60 is a leap second.
        if !(1..=days_of(year, month)).contains(&day)
            || year < 1970
            || hour > 23
            || minute > 59
            || second > 60
        {
            return None;
        }
        let days = days_before_year(year) + days_before_month(year, month) + day - 1;
        Some(Utc(days * SECONDS_OF_A_DAY + hour * 3600 + minute * 60 + second))
    }
}

impl From<SystemTime> for Utc {
    fn from(time: SystemTime) -> Utc {
        Utc(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut days = self.0 / SECONDS_OF_A_DAY;
        let clock = self.0 % SECONDS_OF_A_DAY;
        // A year has fewer than 367 days: this estimate is never too late.
        let mut year = 1970 + days / 366;
        while days_before_year(year + 1) <= days {
            year += 1;
        }
        days -= days_before_year(year);
        let month = (0..12).rev().find(|month| days_before_month(year, *month) <= days).unwrap_or(0);
        let day = days - days_before_month(year, month) + 1;
        let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
        write!(f, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1)
    }
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let fits = text.len() == digits && text.bytes().all(|octet| octet.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days from 1970-01-01 to the first of January of this year.
const fn days_before_year(year: u64) -> u64 {
    (year - 1970) * 365 + leap_days_before(year) - leap_days_before(1970)
}

/// Leap days from the year 1 to the first of January of this year.
const fn leap_days_before(year: u64) -> u64 {
    let year = year - 1;
    year / 4 - year / 100 + year / 400
}

fn days_before_month(year: u64, month: usize) -> u64 {
    DAYS_BEFORE[month] + u64::from(month > 1 && is_leap(year))
}

fn days_of(year: u64, month: usize) -> u64 {
    if month == 11 { 31 } else { days_before_month(year, month + 1) - days_before_month(year, month) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_moments_read_and_show() {
        for (text, seconds, shown) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777, "1994-11-06T08:49:37Z"),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0, "1970-01-01T00:00:00Z"),
            ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199, "2024-02-29T23:59:59Z"),
            ("Thu, 31 Dec 2026 00:00:00 GMT", 1_798_675_200, "2026-12-31T00:00:00Z"),
            ("Tue, 01 Mar 2100 00:00:00 GMT", 4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let utc = Utc::parse_http(text).expect(text);
            assert_eq!((utc.seconds(), utc.to_string().as_str()), (seconds, shown));
        }
    }

    #[test]
    fn what_is_no_date_reads_as_none() {
        for text in [
            "",
            "120",
            "Sun, 06 Nov 1994 08:49:37",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Wed, 30 Feb 2024 00:00:00 GMT",
            "Wed, 00 Feb 2024 00:00:00 GMT",
            "Wed, 01 Feb 1969 00:00:00 GMT",
            "Wed, 01 Feb 2024 24:00:00 GMT",
            "Wed, +1 Feb 2024 00:00:00 GMT",
            "Wed, 01 Feb 2024 00:00:00 00 GMT",
        ] {
            assert_eq!(Utc::parse_http(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_second_of_four_centuries_shows_as_what_reads_back(seconds in 0..13_000_000_000u64) {
            let shown = Utc(seconds).to_string();
            let month: usize = shown[5..7].parse().unwrap();
            let http =
                format!("Mon, {} {} {} {} GMT", &shown[8..10], MONTHS[month - 1], &shown[..4], &shown[11..19]);
            prop_assert_eq!(Utc::parse_http(&http), Some(Utc(seconds)));
        }

        #[test]
        fn any_text_reads_as_a_date_or_none(text in "\\PC{0,40}") {
            let _ = Utc::parse_http(&text);
        }
    }
}
