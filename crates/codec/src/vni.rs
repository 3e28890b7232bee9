//! The VXLAN network identifier.

use core::fmt;
use core::str::FromStr;

/// A VXLAN network identifier: the 24 bits that name a segment (RFC 7348 section 4). From 0 to 16777215.
///
/// 0 is an identifier like any other: the RFC reserves none, and peers in the field use it.
///
/// ```
/// use vxgate_codec::Vni;
///
/// let vni: Vni = "10".parse()?;
/// assert_eq!(vni, Vni::new(10).expect("below 2^24"));
/// assert_eq!(Vni::new(1 << 24), None);
/// # Ok::<(), vxgate_codec::InvalidVni>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(u32);

impl Vni {
    /// The largest identifier, 16777215.
    pub const MAX: Vni = Vni(0x00ff_ffff);

    /// The identifier of this number, or `None` above [`Vni::MAX`].
    #[must_use]
    pub const fn new(number: u32) -> Option<Vni> {
        if number <= Self::MAX.0 { Some(Vni(number)) } else { None }
    }

    /// The identifier as a number, from 0 to 16777215.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The identifier in the last four octets of a VXLAN header; the reserved octet below it is left out.
    pub(crate) const fn from_header_word(word: u32) -> Vni {
        Vni(word >> 8)
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> u32 {
        vni.0
    }
}

impl TryFrom<u32> for Vni {
    type Error = InvalidVni;

    fn try_from(number: u32) -> Result<Vni, InvalidVni> {
        Vni::new(number).ok_or(InvalidVni)
    }
}

/// Reads decimal digits.
impl FromStr for Vni {
    type Err = InvalidVni;

    fn from_str(text: &str) -> Result<Vni, InvalidVni> {
        // `u32::from_str` takes a leading `+`, which no command that prints a VNI writes.
        if text.starts_with('+') {
            return Err(InvalidVni);
        }
        text.parse().ok().and_then(Vni::new).ok_or(InvalidVni)
    }
}

/// The text or number is no VXLAN network identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidVni;

impl fmt::Display for InvalidVni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a VNI is a whole number from 0 to 16777215")
    }
}

impl core::error::Error for InvalidVni {}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use super::*;

    #[test]
    fn every_24_bit_number_and_no_other_is_an_identifier() {
        for number in [0, 1, 10, 0x00ff_fffe, 0x00ff_ffff] {
            assert_eq!(Vni::new(number).map(Vni::get), Some(number));
            assert_eq!(Vni::try_from(number).map(u32::from), Ok(number));
        }
        for number in [0x0100_0000, u32::MAX] {
            assert_eq!(Vni::new(number), None);
            assert_eq!(Vni::try_from(number), Err(InvalidVni));
        }
    }

    #[test]
    fn text_is_decimal_digits() {
        assert_eq!("16777215".parse(), Ok(Vni::MAX));
        assert_eq!(Vni::MAX.to_string(), "16777215");
        assert_eq!(format!("{:>4}", Vni::new(10).unwrap()), "  10");
        for text in ["", " 1", "1 ", "-1", "+1", "0x10", "16777216", "99999999999", "ten"] {
            assert_eq!(text.parse::<Vni>(), Err(InvalidVni), "{text:?}");
        }
    }
}
