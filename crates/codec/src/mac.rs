//! The Ethernet MAC address.

use core::fmt;
use core::str::FromStr;

/// An Ethernet MAC address: 48 bits, first octet first on the wire.
///
/// ```
/// use vxgate_codec::MacAddr;
///
/// let mac: MacAddr = "02:00:00:00:00:0A".parse()?;
/// assert_eq!(mac.to_string(), "02:00:00:00:00:0a");
/// assert_eq!(MacAddr::from_bits(mac.to_bits()), mac);
/// # Ok::<(), vxgate_codec::InvalidMacAddr>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// `00:00:00:00:00:00`: no station's address. As a key of the forwarding database it means every unknown destination.
    pub const ZERO: MacAddr = MacAddr([0; 6]);
    /// `ff:ff:ff:ff:ff:ff`: every station (IEEE 802.3 clause 3.2.3).
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    /// The address of these octets, first on the wire first.
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> MacAddr {
        MacAddr(octets)
    }

    /// The octets, first on the wire first.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The address as a number of 48 bits whose top octet is first on the wire; the upper 16 bits are 0.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        (u32::from_be_bytes([a, b, c, d]) as u64) << 16 | u16::from_be_bytes([e, f]) as u64
    }

    /// The address whose number this is; the upper 16 bits are ignored.
    #[must_use]
    pub const fn from_bits(bits: u64) -> MacAddr {
        let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
        MacAddr([a, b, c, d, e, f])
    }

    /// Whether this addresses a group, broadcast included: the I/G bit, lowest of the first octet (IEEE 802 clause 8.2).
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 0x01 != 0
    }

    /// Whether this is [`MacAddr::ZERO`].
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.to_bits() == 0
    }

    /// Whether this is [`MacAddr::BROADCAST`].
    #[must_use]
    pub const fn is_broadcast(self) -> bool {
        self.to_bits() == Self::BROADCAST.to_bits()
    }

    /// Whether the address was given locally rather than by a vendor: the U/L bit (IEEE 802 clause 8.2).
    #[must_use]
    pub const fn is_local_admin(self) -> bool {
        self.0[0] & 0x02 != 0
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> MacAddr {
        MacAddr(octets)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b':'; 17];
        for (pair, octet) in text.chunks_mut(3).zip(self.0) {
            for (place, nibble) in pair.iter_mut().zip([octet >> 4, octet & 0x0f]) {
                *place = DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'?');
            }
        }
        f.pad(core::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacAddr({self})")
    }
}

/// Reads six pairs of hexadecimal digits in either case, joined by `:` or by `-` throughout.
impl FromStr for MacAddr {
    type Err = InvalidMacAddr;

    fn from_str(text: &str) -> Result<MacAddr, InvalidMacAddr> {
        let separator = match text.as_bytes().get(2) {
            Some(b'-') => '-',
            _ => ':',
        };
        let mut octets = [0; 6];
        let mut pairs = text.split(separator);
        for octet in &mut octets {
            *octet = pairs.next().and_then(hex_pair).ok_or(InvalidMacAddr)?;
        }
        if pairs.next().is_some() {
            return Err(InvalidMacAddr);
        }
        Ok(MacAddr(octets))
    }
}

fn hex_pair(text: &str) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match text.as_bytes() {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// The text is no MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMacAddr;

impl fmt::Display for InvalidMacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MAC address is six pairs of hexadecimal digits, as in 02:00:00:00:00:0a")
    }
}

impl core::error::Error for InvalidMacAddr {}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use super::*;

    #[test]
    fn bits_are_the_octets_in_network_order() {
        let mac = MacAddr::new([1, 2, 3, 4, 5, 6]);
        assert_eq!(mac.to_bits(), 0x0102_0304_0506);
        assert_eq!(MacAddr::from_bits(0xffff_0102_0304_0506), mac);
        assert_eq!(mac.octets(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(MacAddr::from([1, 2, 3, 4, 5, 6]), mac);
    }

    #[test]
    fn kinds_follow_the_first_octet() {
        let mac = |first| MacAddr::new([first, 0, 0, 0, 0, 1]);
        assert!(!mac(0x00).is_group() && !mac(0x00).is_local_admin());
        assert!(mac(0x01).is_group() && !mac(0x01).is_local_admin());
        assert!(!mac(0x02).is_group() && mac(0x02).is_local_admin());
        assert!(MacAddr::BROADCAST.is_group() && MacAddr::BROADCAST.is_broadcast());
        assert!(!mac(0xff).is_broadcast());
        assert!(MacAddr::ZERO.is_zero() && !MacAddr::ZERO.is_group());
        assert!(!mac(0x00).is_zero());
        assert_eq!(MacAddr::default(), MacAddr::ZERO);
    }

    #[test]
    fn order_is_that_of_the_text() {
        let low: MacAddr = "00:ff:ff:ff:ff:ff".parse().unwrap();
        let high: MacAddr = "01:00:00:00:00:00".parse().unwrap();
        assert!(low < high && low.to_string() < high.to_string());
    }

    #[test]
    fn text_is_six_pairs_of_digits() {
        let mac = MacAddr::new([0x02, 0xab, 0xcd, 0xef, 0x00, 0x9f]);
        assert_eq!("02:ab:cd:ef:00:9f".parse(), Ok(mac));
        assert_eq!("02-AB-cd-EF-00-9f".parse(), Ok(mac));
        assert_eq!(mac.to_string(), "02:ab:cd:ef:00:9f");
        assert_eq!(format!("{mac:>19}|{mac:?}"), "  02:ab:cd:ef:00:9f|MacAddr(02:ab:cd:ef:00:9f)");
        for text in [
            "",
            ":",
            "02",
            "2:ab:cd:ef:0:9f",
            "02:ab:cd:ef:00",
            "02:ab:cd:ef:00:",
            "02:ab:cd:ef:00:9f:00",
            "02:ab:cd-ef:00:9f",
            "02abcdef009f",
            "02ab.cdef.009f",
            "02:ab:cd:ef:00:9g",
            "02:ab:cd:ef:00:+9",
            "é:ab:cd:ef:00:9f",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(InvalidMacAddr), "{text:?}");
        }
    }
}
