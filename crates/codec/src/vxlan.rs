//! The VXLAN header of RFC 7348 section 5.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-+-----+-----------------------------------------------+
//! | resv. |I|resv.|                   reserved                    |
//! +-------+-+-----+-------------------------------+---------------+
//! |                      VNI                      |   reserved    |
//! +-----------------------------------------------+---------------+
//! ```
//!
//! Everything here takes the eight octets as one number, so that a check is one mask.

use core::fmt;
use core::str::FromStr;

use crate::{ParseError, Vni, ethernet};

/// Length of the header, in octets (RFC 7348 section 5).
pub const HEADER_OCTETS: usize = 8;

/// The UDP destination port that IANA gave to VXLAN (RFC 7348 section 5).
pub const PORT: u16 = 4789;

/// Flag I: the VNI is valid (RFC 7348 section 5).
const FLAG_I: u64 = 0x0800_0000_0000_0000;
/// The 24 bits of the VNI.
const VNI: u64 = 0x0000_0000_ffff_ff00;
/// All other bits, 39 of them: sent as 0 (RFC 7348 section 5).
const RESERVED: u64 = !(FLAG_I | VNI);

/// A VXLAN header with flag I set.
///
/// It keeps the reserved bits that it was parsed from, so that a capture can show them; what we send comes from
/// [`encap`] or [`Header::new`], where they are 0 (RFC 7348 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    vni: Vni,
    reserved: u64,
}

impl Header {
    /// The header of this segment, every reserved bit 0.
    #[must_use]
    pub const fn new(vni: Vni) -> Header {
        Header { vni, reserved: 0 }
    }

    /// Reads the header at the start of a datagram; what follows it is not looked at.
    ///
    /// # Errors
    ///
    /// [`ParseError::Truncated`] below 8 octets, [`ParseError::FlagIClear`] without a valid VNI. Reserved bits are
    /// the caller's to judge: see [`Header::reserved`].
    pub const fn parse(datagram: &[u8]) -> Result<Header, ParseError> {
        match datagram.first_chunk() {
            Some(octets) => Header::from_word(u64::from_be_bytes(*octets)),
            None => Err(ParseError::Truncated),
        }
    }

    /// The header as sent, reserved bits as they were parsed.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; HEADER_OCTETS] {
        (FLAG_I | (self.vni.get() as u64) << 8 | self.reserved).to_be_bytes()
    }

    /// The segment.
    #[must_use]
    pub const fn vni(self) -> Vni {
        self.vni
    }

    /// The reserved bits in their places, the header taken as one number in network order; 0 from a sender that obeys
    /// RFC 7348.
    #[must_use]
    pub const fn reserved(self) -> u64 {
        self.reserved
    }

    const fn from_word(word: u64) -> Result<Header, ParseError> {
        if word & FLAG_I == 0 {
            return Err(ParseError::FlagIClear);
        }
        Ok(Header { vni: Vni::from_header_word(word as u32), reserved: word & RESERVED })
    }
}

/// Takes the VXLAN header off a datagram: the segment, and the inner frame of at least 14 octets.
///
/// # Errors
///
/// In this order: [`ParseError::Truncated`], [`ParseError::FlagIClear`], [`ParseError::ReservedBits`] by `policy`,
/// [`ParseError::Runt`] when what follows is no Ethernet header.
///
/// ```
/// use vxgate_codec::{ReservedBits, vxlan};
///
/// let datagram = [&[0x08, 0, 0, 0, 0, 0, 10, 0][..], &[0xff; 6], &[2, 0, 0, 0, 0, 1], &[0x08, 0x06]].concat();
/// let (vni, frame) = vxlan::decap(&datagram, ReservedBits::Ignore)?;
/// assert_eq!((vni.get(), frame.len()), (10, 14));
/// # Ok::<(), vxgate_codec::ParseError>(())
/// ```
#[inline]
pub fn decap(datagram: &[u8], policy: ReservedBits) -> Result<(Vni, &[u8]), ParseError> {
    let (octets, frame) = datagram.split_first_chunk().ok_or(ParseError::Truncated)?;
    let header = Header::from_word(u64::from_be_bytes(*octets))?;
    if policy == ReservedBits::Reject && header.reserved != 0 {
        return Err(ParseError::ReservedBits);
    }
    if frame.len() < ethernet::HEADER_OCTETS {
        return Err(ParseError::Runt);
    }
    Ok((header.vni, frame))
}

/// Writes the header of this segment into the octets in front of a frame, whatever they held.
#[inline]
pub const fn encap(vni: Vni, headroom: &mut [u8; HEADER_OCTETS]) {
    *headroom = Header::new(vni).to_bytes();
}

/// What to do with a datagram whose reserved bits are not all 0.
///
/// The words `rfc` and `kernel` name the two: RFC 7348 section 5 asks a receiver to ignore them; Linux's vxlan device
/// drops such a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReservedBits {
    /// Take the datagram (RFC 7348 section 5). The default.
    #[default]
    Ignore,
    /// Refuse it, as Linux's `vxlan_rcv` in `drivers/net/vxlan/vxlan_core.c` does.
    Reject,
}

impl ReservedBits {
    /// Both policies.
    pub const ALL: &[ReservedBits] = &[Self::Ignore, Self::Reject];

    /// The word that options and output use for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ignore => "rfc",
            Self::Reject => "kernel",
        }
    }
}

impl fmt::Display for ReservedBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ReservedBits {
    type Err = InvalidReservedBits;

    fn from_str(text: &str) -> Result<ReservedBits, InvalidReservedBits> {
        Self::ALL.iter().copied().find(|policy| policy.name() == text).ok_or(InvalidReservedBits)
    }
}

/// The text names no policy for reserved bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidReservedBits;

impl fmt::Display for InvalidReservedBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the policy for reserved bits is `rfc` or `kernel`")
    }
}

impl core::error::Error for InvalidReservedBits {}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    fn vni(number: u32) -> Vni {
        Vni::new(number).unwrap()
    }

    fn datagram(header: [u8; 8], frame_octets: usize) -> Vec<u8> {
        let mut datagram = header.to_vec();
        datagram.resize(8 + frame_octets, 0xa5);
        datagram
    }

    #[test]
    fn a_header_is_the_eight_octets_of_the_rfc() {
        let octets = [0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0];
        assert_eq!(Header::new(vni(0x12_3456)).to_bytes(), octets);
        let header = Header::parse(&octets).unwrap();
        assert_eq!((header.vni(), header.reserved()), (vni(0x12_3456), 0));
    }

    #[test]
    fn encap_overwrites_whatever_the_headroom_held() {
        let mut headroom = [0xff; 8];
        encap(vni(10), &mut headroom);
        assert_eq!(headroom, [0x08, 0, 0, 0, 0, 0, 10, 0]);
        encap(Vni::MAX, &mut headroom);
        assert_eq!(headroom, [0x08, 0, 0, 0, 0xff, 0xff, 0xff, 0]);
    }

    #[test]
    fn decap_gives_the_segment_and_all_octets_behind_the_header() {
        let datagram = datagram([0x08, 0, 0, 0, 0, 0, 10, 0], 14);
        assert_eq!(decap(&datagram, ReservedBits::Reject), Ok((vni(10), &datagram[8..])));
    }

    #[test]
    fn vni_0_is_a_segment() {
        let datagram = datagram([0x08, 0, 0, 0, 0, 0, 0, 0], 60);
        assert_eq!(decap(&datagram, ReservedBits::Reject), Ok((vni(0), &datagram[8..])));
    }

    #[test]
    fn a_datagram_shorter_than_the_header_is_truncated() {
        for octets in 0..8 {
            assert_eq!(Header::parse(&[0xff; 8][..octets]), Err(ParseError::Truncated));
            assert_eq!(decap(&[0xff; 8][..octets], ReservedBits::Ignore), Err(ParseError::Truncated));
        }
    }

    #[test]
    fn flag_i_must_be_1() {
        let datagram = datagram([0xf7, 0, 0, 0, 0, 0, 10, 0], 60);
        assert_eq!(decap(&datagram, ReservedBits::Ignore), Err(ParseError::FlagIClear));
        assert_eq!(Header::parse(&datagram), Err(ParseError::FlagIClear));
    }

    #[test]
    fn each_of_the_39_reserved_bits_is_ignored_or_rejected_by_policy() {
        let clean = u64::from_be_bytes(Header::new(vni(10)).to_bytes());
        let mut reserved = 0;
        for bit in (0..64).map(|bit| 1_u64 << bit).filter(|bit| bit & (FLAG_I | VNI) == 0) {
            reserved += 1;
            let datagram = datagram((clean | bit).to_be_bytes(), 60);
            assert_eq!(decap(&datagram, ReservedBits::Ignore), Ok((vni(10), &datagram[8..])));
            assert_eq!(decap(&datagram, ReservedBits::Reject), Err(ParseError::ReservedBits));
            let header = Header::parse(&datagram).unwrap();
            assert_eq!(header.reserved(), bit);
            assert_eq!(header.to_bytes()[..], datagram[..8]);
        }
        assert_eq!(reserved, 39);
    }

    #[test]
    fn an_inner_frame_shorter_than_an_ethernet_header_is_a_runt() {
        for octets in 0..14 {
            let datagram = datagram(Header::new(vni(10)).to_bytes(), octets);
            assert_eq!(decap(&datagram, ReservedBits::Ignore), Err(ParseError::Runt));
        }
    }

    #[test]
    fn the_first_rule_broken_is_the_one_named() {
        assert_eq!(decap(&datagram([0xf7; 8], 0), ReservedBits::Reject), Err(ParseError::FlagIClear));
        assert_eq!(decap(&datagram([0xff; 8], 0), ReservedBits::Reject), Err(ParseError::ReservedBits));
    }

    #[test]
    fn policies_are_read_and_written_as_rfc_and_kernel() {
        assert_eq!("rfc".parse(), Ok(ReservedBits::Ignore));
        assert_eq!("kernel".parse(), Ok(ReservedBits::Reject));
        assert_eq!("RFC".parse::<ReservedBits>(), Err(InvalidReservedBits));
        assert_eq!(ReservedBits::default().to_string(), "rfc");
        assert_eq!(ReservedBits::Reject.to_string(), "kernel");
    }
}
