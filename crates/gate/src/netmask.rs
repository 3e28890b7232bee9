//! The IPv4 netmask, in the two spellings that the Gate's tools use.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use thiserror::Error;

/// An IPv4 netmask of 1 to 32 leading one bits.
///
/// Reads `255.128.0.0` as the API writes it, and `9`; shows itself in the first form. 0 bits is refused: a device's
/// netmask of 0 would route every destination into the tunnel.
///
/// ```
/// use vxgate_gate::Netmask;
///
/// let mask: Netmask = "255.128.0.0".parse()?;
/// assert_eq!(mask.prefix_len(), 9);
/// assert_eq!("9".parse(), Ok(mask));
/// # Ok::<(), vxgate_gate::InvalidNetmask>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Netmask(u8);

impl Netmask {
    /// The mask of this many leading one bits, from 1 to 32.
    ///
    /// # Errors
    ///
    /// [`InvalidNetmask::Zero`] for 0, [`InvalidNetmask::NotANetmask`] above 32.
    pub const fn from_prefix_len(bits: u8) -> Result<Netmask, InvalidNetmask> {
        match bits {
            0 => Err(InvalidNetmask::Zero),
            1..=32 => Ok(Netmask(bits)),
            33.. => Err(InvalidNetmask::NotANetmask),
        }
    }

    /// How many leading bits are one, from 1 to 32.
    #[must_use]
    pub const fn prefix_len(self) -> u8 {
        self.0
    }
}

impl TryFrom<Ipv4Addr> for Netmask {
    type Error = InvalidNetmask;

    fn try_from(mask: Ipv4Addr) -> Result<Netmask, InvalidNetmask> {
        let bits = mask.to_bits();
        let ones = bits.leading_ones();
        if bits.count_ones() != ones {
            return Err(InvalidNetmask::NotContiguous);
        }
        u8::try_from(ones).map_or(Err(InvalidNetmask::NotANetmask), Netmask::from_prefix_len)
    }
}

impl From<Netmask> for Ipv4Addr {
    fn from(mask: Netmask) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX << (32 - u32::from(mask.0)))
    }
}

impl fmt::Display for Netmask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Ipv4Addr::from(*self), f)
    }
}

impl FromStr for Netmask {
    type Err = InvalidNetmask;

    fn from_str(text: &str) -> Result<Netmask, InvalidNetmask> {
        if let Ok(mask) = text.parse::<Ipv4Addr>() {
            return Netmask::try_from(mask);
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidNetmask::NotANetmask);
        }
        text.parse().map_or(Err(InvalidNetmask::NotANetmask), Netmask::from_prefix_len)
    }
}

/// Why a text or address is no netmask.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidNetmask {
    /// Neither a number from 1 to 32 nor four octets.
    #[error("a netmask is a number of bits from 1 to 32, or four octets as in 255.128.0.0")]
    NotANetmask,
    /// A one bit follows a zero bit, as in a broadcast address.
    #[error("its one bits are not contiguous, so it is no netmask")]
    NotContiguous,
    /// No bit is one.
    #[error("a netmask of 0 bits would route every destination into the tunnel")]
    Zero,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_every_length_agree() {
        for bits in 1..=32 {
            let mask = Netmask::from_prefix_len(bits).unwrap();
            assert_eq!(bits.to_string().parse(), Ok(mask));
            assert_eq!(mask.to_string().parse(), Ok(mask));
            assert_eq!(Netmask::try_from(Ipv4Addr::from(mask)), Ok(mask));
        }
        assert_eq!(Netmask::from_prefix_len(9).unwrap().to_string(), "255.128.0.0");
    }

    #[test]
    fn each_wrong_text_has_its_reason() {
        for (text, reason) in [
            ("10.255.255.255", InvalidNetmask::NotContiguous),
            ("0.127.255.255", InvalidNetmask::NotContiguous),
            ("255.0.255.0", InvalidNetmask::NotContiguous),
            ("0", InvalidNetmask::Zero),
            ("0.0.0.0", InvalidNetmask::Zero),
            ("33", InvalidNetmask::NotANetmask),
            ("999", InvalidNetmask::NotANetmask),
            ("+9", InvalidNetmask::NotANetmask),
            ("/9", InvalidNetmask::NotANetmask),
            ("", InvalidNetmask::NotANetmask),
            ("255.128.0", InvalidNetmask::NotANetmask),
            ("ffff::", InvalidNetmask::NotANetmask),
        ] {
            assert_eq!(text.parse::<Netmask>(), Err(reason), "{text:?}");
        }
    }
}
