//! The internet checksum (RFC 1071) of IP, TCP and UDP; [`vxgate_checksum`] does the sums.
//!
//! A running sum is a `u64` that holds words added without folding; [`fold`] brings it down to 16 bits.

pub use vxgate_checksum::{add, copy_add, fold};

/// The running sum of the TCP or UDP pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1).
///
/// `addresses` are source and destination, as they stand next to each other in the IPv4 (8 octets) or IPv6 (32 octets)
/// header; `length_octets` is the length of the L4 header and its data.
#[must_use]
pub fn pseudo_header(addresses: &[u8], protocol: u8, length_octets: usize) -> u64 {
    add(u64::from(protocol) + length_octets as u64, addresses)
}

/// The checksum field of an IPv4 header whose own field counts as zero (RFC 791, section 3.1).
#[must_use]
pub fn ipv4_header(header: &[u8]) -> u16 {
    let (before, rest) = header.split_at(header.len().min(10));
    let after = rest.get(2..).unwrap_or_default();
    !fold(add(add(0, before), after))
}

/// Where a checksum is summed from and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumAt {
    /// Offset of the L4 header, in octets from the frame's first.
    pub start: u16,
    /// Offset of the checksum field, in octets from `start`.
    pub offset: u16,
}

impl ChecksumAt {
    /// Sums the frame from `start` to its end into the field, whatever stands before it being taken as the seed.
    /// Does nothing where the field lies outside the frame.
    pub fn finish(self, frame: &mut [u8]) {
        let start = usize::from(self.start);
        let field = start + usize::from(self.offset);
        let Some(segment) = frame.get(start..) else { return };
        let sum = !fold(add(0, segment));
        // A UDP checksum of zero means "none" and goes out as its other form (RFC 768).
        let sum = if sum == 0 { 0xffff } else { sum };
        if let Some(field) = frame.get_mut(field..field + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_its_checksum_in_place_verifies() {
        // An IPv4 header from RFC 1071-style textbooks: 45 00 00 73 ... with checksum b861.
        let header =
            [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(ipv4_header(&header), 0xb861);
        assert_eq!(fold(add(0, &header)), 0xffff);
    }

    #[test]
    fn short_headers_do_not_panic() {
        for length in 0..20 {
            let _ = ipv4_header(&[0xab; 20][..length]);
        }
    }
}
