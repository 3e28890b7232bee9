//! Figures in the units that people read.

use std::fmt;

use crate::bench::model::Unit;

/// A unit with the prefix that suits a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Prefixed {
    /// What it is of the unit without a prefix.
    pub(super) factor: f64,
    pub(super) name: &'static str,
}

impl Prefixed {
    /// The prefix under which a figure has few digits before the point; the unit's usual one for zero.
    pub(super) fn suiting(unit: Unit, figure: f64) -> Prefixed {
        let prefixes: &[(f64, &str)] = match unit {
            Unit::BitsPerSecond => {
                &[(1e12, "Tb/s"), (1e9, "Gb/s"), (1e6, "Mb/s"), (1e3, "kb/s"), (1.0, "b/s")]
            }
            Unit::FramesPerSecond => &[(1e9, "Gpps"), (1e6, "Mpps"), (1e3, "kpps"), (1.0, "pps")],
            Unit::Seconds => &[(1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")],
            Unit::ConnectionsPerSecond => &[(1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")],
        };
        let usual = match unit {
            Unit::BitsPerSecond => 1e9,
            Unit::FramesPerSecond => 1e3,
            Unit::Seconds => 1e-6,
            Unit::ConnectionsPerSecond => 1.0,
        };
        // What would be rounded up to 1000 belongs to the next prefix.
        let figure = if figure.abs() > 0.0 { figure.abs() } else { usual };
        let suiting = prefixes.iter().find(|(factor, _)| figure >= factor * 0.9995);
        let (factor, name) = suiting.or(prefixes.last()).copied().unwrap_or((1.0, ""));
        Prefixed { factor, name }
    }

    /// As on paper, where there is no lack of letters.
    pub(super) fn printed(self) -> &'static str {
        if self.name == "us" { "\u{b5}s" } else { self.name }
    }
}

/// A figure with its unit, as in `7.12 Gb/s`.
pub(super) struct Figure(pub(super) Unit, pub(super) f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figure(unit, figure) = *self;
        let prefixed = Prefixed::suiting(unit, figure);
        // `f` may ask for the other micro sign.
        let name = if f.alternate() { prefixed.printed() } else { prefixed.name };
        write!(f, "{} {name}", Digits(figure / prefixed.factor))
    }
}

/// A number with three digits that matter, as in `1.18`, `45.3`, `812`.
pub(super) struct Digits(pub(super) f64);

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        match value.abs() {
            _ if !value.is_finite() => f.write_str("-"),
            0.0 => f.write_str("0"),
            ..0.0005 => write!(f, "{value:.1e}"),
            ..0.0995 => write!(f, "{value:.3}"),
            ..9.995 => write!(f, "{value:.2}"),
            ..99.95 => write!(f, "{value:.1}"),
            ..999_999.5 => write!(f, "{value:.0}"),
            _ => write!(f, "{value:.1e}"),
        }
    }
}

/// A part from 0 to 1 as per cent without the sign, as in `0.05`.
pub(super) struct PerCent(pub(super) f64);

impl fmt::Display for PerCent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0 * 100.0;
        match value.abs() {
            _ if !value.is_finite() => f.write_str("-"),
            0.0 => f.write_str("0"),
            // Little is not nothing.
            ..0.005 => f.write_str("<0.01"),
            ..9.995 => write!(f, "{value:.2}"),
            _ => write!(f, "{value:.1}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_the_prefix_that_suits_them() {
        for (unit, figure, text) in [
            (Unit::BitsPerSecond, 7.1234e9, "7.12 Gb/s"),
            (Unit::BitsPerSecond, 999.9e6, "1.00 Gb/s"),
            (Unit::BitsPerSecond, 0.0, "0 Gb/s"),
            (Unit::BitsPerSecond, 3.0, "3.00 b/s"),
            (Unit::FramesPerSecond, 812_345.0, "812 kpps"),
            (Unit::FramesPerSecond, 1_203_000.0, "1.20 Mpps"),
            (Unit::FramesPerSecond, 12.0, "12.0 pps"),
            (Unit::Seconds, 45.31e-6, "45.3 us"),
            (Unit::Seconds, 1.2e-3, "1.20 ms"),
            (Unit::Seconds, 2.0, "2.00 s"),
            (Unit::Seconds, 1e-12, "0.001 ns"),
            (Unit::ConnectionsPerSecond, 940.0, "940 /s"),
            (Unit::ConnectionsPerSecond, 12_340.0, "12.3 k/s"),
            (Unit::BitsPerSecond, 1e300, "1.0e288 Tb/s"),
        ] {
            assert_eq!(Figure(unit, figure).to_string(), text);
        }
        assert_eq!(format!("{:#}", Figure(Unit::Seconds, 45.31e-6)), "45.3 \u{b5}s");
    }

    #[test]
    fn numbers_lose_no_digit_that_matters_and_are_never_called_nan() {
        for (value, text) in [
            (0.0, "0"),
            (0.000_04, "4.0e-5"),
            (0.004, "0.004"),
            (0.25, "0.25"),
            (1.176, "1.18"),
            (9.996, "10.0"),
            (99.96, "100"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.2e6"),
            (f64::NAN, "-"),
            (f64::INFINITY, "-"),
            (f64::NEG_INFINITY, "-"),
        ] {
            assert_eq!(Digits(value).to_string(), text);
        }
    }

    #[test]
    fn a_little_loss_is_not_called_none() {
        for (part, text) in [
            (0.0, "0"),
            (0.000_01, "<0.01"),
            (0.000_6, "0.06"),
            (0.5, "50.0"),
            (1.0, "100.0"),
            (f64::MAX, "-"),
        ] {
            assert_eq!(PerCent(part).to_string(), text);
        }
    }
}
