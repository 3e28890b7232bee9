//! A block of IP addresses.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

/// A block of IPv4 or IPv6 addresses, written `192.0.2.0/24` or `2001:db8::/32`; a bare address is a block of one.
///
/// Bits behind the prefix length are cut off. IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2) count as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    addr: IpAddr,
    length: u8,
}

impl Prefix {
    /// The block around this address, or `None` when `length` is above 32 (IPv4) or 128 (IPv6).
    #[must_use]
    pub fn new(addr: IpAddr, length: u8) -> Option<Prefix> {
        // ::ffff:192.0.2.0/120 is 192.0.2.0/24; a shorter mapped prefix holds more than IPv4 addresses.
        let (addr, length) = match (addr, addr.to_canonical()) {
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if (96..=128).contains(&length) => (v4, length - 96),
            _ => (addr, length),
        };
        (length <= width(addr)).then(|| Prefix { addr: network(addr, length), length })
    }

    /// The lowest address of the block.
    #[must_use]
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// How many leading bits all addresses of the block share, from 0 to 32 (IPv4) or 128 (IPv6).
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Whether the block holds this address.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        width(addr) == width(self.addr) && network(addr, self.length) == self.addr
    }
}

fn width(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

/// The address with all bits behind `length` cut off.
fn network(addr: IpAddr, length: u8) -> IpAddr {
    match addr {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length.into())).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(length.into())).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// The block of this one address.
impl From<IpAddr> for Prefix {
    fn from(addr: IpAddr) -> Prefix {
        let addr = addr.to_canonical();
        Prefix { addr, length: width(addr) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.length)
    }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Prefix, InvalidPrefix> {
        let Some((addr, length)) = text.split_once('/') else {
            return text.parse().map(|addr: IpAddr| Prefix::from(addr)).map_err(|_| InvalidPrefix);
        };
        // `u8::from_str` takes a leading `+`, which no one writes here.
        if !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidPrefix);
        }
        let addr = addr.parse().map_err(|_| InvalidPrefix)?;
        Prefix::new(addr, length.parse().map_err(|_| InvalidPrefix)?).ok_or(InvalidPrefix)
    }
}

/// The text is no block of IP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPrefix;

impl fmt::Display for InvalidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a block of addresses is an IP address and a prefix length, as in 192.0.2.0/24 or 2001:db8::/32",
        )
    }
}

impl core::error::Error for InvalidPrefix {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_block_holds_its_first_and_last_address_and_not_their_neighbours() {
        let block = prefix("192.0.2.128/25");
        assert!(block.contains(addr("192.0.2.128")) && block.contains(addr("192.0.2.255")));
        assert!(!block.contains(addr("192.0.2.127")) && !block.contains(addr("192.0.3.0")));
        let block = prefix("2001:db8::/33");
        assert!(block.contains(addr("2001:db8:7fff::1")) && !block.contains(addr("2001:db8:8000::1")));
    }

    #[test]
    fn length_zero_holds_all_of_its_family_and_none_of_the_other() {
        assert!(
            prefix("0.0.0.0/0").contains(addr("255.1.2.3")) && !prefix("0.0.0.0/0").contains(addr("::1"))
        );
        assert!(prefix("::/0").contains(addr("2001:db8::1")) && !prefix("::/0").contains(addr("192.0.2.1")));
    }

    #[test]
    fn bits_behind_the_length_are_cut_off() {
        assert_eq!(prefix("192.0.2.99/24").to_string(), "192.0.2.0/24");
        assert_eq!(prefix("2001:db8::1/32").to_string(), "2001:db8::/32");
    }

    #[test]
    fn an_ipv4_mapped_address_counts_as_ipv4() {
        assert!(prefix("192.0.2.0/24").contains(addr("::ffff:192.0.2.7")));
        assert_eq!(prefix("::ffff:192.0.2.0/120"), prefix("192.0.2.0/24"));
        assert_eq!(prefix("::ffff:192.0.2.7"), prefix("192.0.2.7/32"));
    }

    #[test]
    fn text_that_is_no_block_is_refused() {
        for text in [
            "",
            "/",
            "192.0.2.0/",
            "192.0.2.0/33",
            "192.0.2.0/+8",
            "::/129",
            "192.0.2/24",
            "a/8",
            "1.2.3.4/8/8",
        ] {
            assert_eq!(text.parse::<Prefix>(), Err(InvalidPrefix), "{text}");
        }
    }
}
