//! The internet checksum (RFC 1071): sums of 16-bit words in one's complement.
//!
//! A running sum is a `u64` that holds 32-bit words added without folding; [`fold`] brings it down to 16 bits.

/// Adds the octets of `data`, taken as big-endian 16-bit words, to a running sum.
///
/// `data` begins at an even offset of the checksummed text; an odd last octet is padded with zero (RFC 1071, section 1).
#[must_use]
pub fn add(sum: u64, data: &[u8]) -> u64 {
    // Four 32-bit lanes in native order: one's complement sums may be taken in any octet order and swapped at the
    // end (RFC 1071, section 2 B), and lanes without a carry between them are what the compiler turns into SIMD.
    let mut lanes = [0_u64; 4];
    let (blocks, rest) = data.as_chunks::<16>();
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut native: u64 = lanes.iter().sum();
    let (pairs, odd) = rest.as_chunks::<2>();
    for pair in pairs {
        native += u64::from(u16::from_ne_bytes(*pair));
    }
    if let [last] = odd {
        native += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum + u64::from(u16::from_be_bytes(fold(native).to_ne_bytes()))
}

/// Brings a running sum down to 16 bits, each carry added back (RFC 1071, section 4.1). The complement is not taken.
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    let mut sum = (sum >> 32) + (sum & 0xffff_ffff);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    // At most 16 bits are left.
    (sum & 0xffff) as u16
}

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

    /// RFC 1071 word by word, as slowly as it can be written.
    fn naive(data: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in data.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        assert_eq!(fold(add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    #[test]
    fn every_length_agrees_with_the_naive_sum() {
        let data: [u8; 1024] = core::array::from_fn(|i| (i * 37 % 251) as u8);
        for length in 0..data.len() {
            assert_eq!(fold(add(0, &data[..length])), naive(&data[..length]), "length {length}");
        }
    }

    #[test]
    fn sixty_four_kilobytes_of_ones_do_not_overflow() {
        let data = [0xff_u8; 65_536];
        assert_eq!(fold(add(0, &data)), 0xffff);
    }

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
