//! Explicit congestion notification across the tunnel, by RFC 6040.
//!
//! The two lowest bits of the type of service (IPv4) or traffic class (IPv6) are the ECN field (RFC 3168 section 5).
//! [`encap`] carries it from the inner packet to the outer header, [`decap`] combines both on the way out.

use core::fmt;

use crate::ethernet::{self, EtherType};
use crate::layers::{IPV4_HEADER_OCTETS, IPV6_HEADER_OCTETS, IpVersion};
use crate::octets::chunk_at;

/// The ECN field's two bits within the type of service.
const FIELD: u8 = 0b11;

/// A codepoint of the ECN field (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not take part.
    NotEct = 0b00,
    /// The transport takes part; what it means beyond that is the transport's (RFC 9331: L4S).
    Ect1 = 0b01,
    /// The transport takes part.
    Ect0 = 0b10,
    /// Congestion experienced: a router would have dropped the packet.
    Ce = 0b11,
}

impl Ecn {
    /// All codepoints, in the order in which RFC 6040 figure 4 lists them.
    pub const ALL: &[Ecn] = &[Self::NotEct, Self::Ect0, Self::Ect1, Self::Ce];

    /// The codepoint in a type of service or traffic class.
    #[inline]
    #[must_use]
    pub const fn from_tos(tos: u8) -> Ecn {
        match tos & FIELD {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits, from 0 to 3.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// The outer type of service: the DSCP of `outer_tos` with the ECN field of `inner_tos`.
///
/// RFC 6040 section 4.1, normal mode: all four codepoints are copied, CE too. Linux's tunnels still follow RFC 3168
/// section 9.1.1 there: `INET_ECN_encapsulate` of `include/net/inet_ecn.h` turns an inner CE into an outer ECT(0).
#[inline]
#[must_use]
pub const fn encap(inner_tos: u8, outer_tos: u8) -> u8 {
    outer_tos & !FIELD | inner_tos & FIELD
}

/// What the egress of a tunnel does with the inner ECN field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decap {
    /// Leave it.
    Keep,
    /// Write this codepoint.
    Set(Ecn),
    /// Drop the packet: the sign of congestion can reach nobody.
    Drop,
}

/// Combines the ECN fields of the outer and the inner header: RFC 6040 section 4.2, figure 4.
///
/// ```text
///                            outer
///           Not-ECT   ECT(0)        ECT(1)        CE
/// inner
/// Not-ECT   keep      keep (!!!)    keep (!!!)    drop (!!!)
/// ECT(0)    keep      keep          ECT(1)        CE
/// ECT(1)    keep      keep (!)      keep          CE
/// CE        keep      keep          keep (!!!)    keep
/// ```
///
/// [`alarm`] gives the marks.
#[inline]
#[must_use]
pub const fn decap(outer: Ecn, inner: Ecn) -> Decap {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => Decap::Drop,
        (Ecn::Ect0 | Ecn::Ect1, Ecn::Ce) => Decap::Set(Ecn::Ce),
        (Ecn::Ect0, Ecn::Ect1) => Decap::Set(Ecn::Ect1),
        (Ecn::NotEct, Ecn::NotEct | Ecn::Ect0 | Ecn::Ect1)
        | (Ecn::Ect0, Ecn::NotEct | Ecn::Ect0)
        | (Ecn::Ect1, Ecn::NotEct | Ecn::Ect0 | Ecn::Ect1)
        | (Ecn::Ce, Ecn::NotEct | Ecn::Ect0 | Ecn::Ect1 | Ecn::Ce) => Decap::Keep,
    }
}

/// How unusual a pair of ECN fields is: no sender that obeys RFC 6040 and no router makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alarm {
    /// Marked `(!)`: unused today and possibly dangerous.
    PossiblyDangerous,
    /// Marked `(!!!)`: unused today and always potentially dangerous.
    AlwaysDangerous,
}

/// The mark of RFC 6040 figure 4 for this pair, or `None` for the usual ones. Section 4.2 asks to log the marked ones,
/// which the caller decides.
#[must_use]
pub const fn alarm(outer: Ecn, inner: Ecn) -> Option<Alarm> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ect0 | Ecn::Ect1 | Ecn::Ce) | (Ecn::Ce, Ecn::Ect1) => Some(Alarm::AlwaysDangerous),
        (Ecn::Ect1, Ecn::Ect0) => Some(Alarm::PossiblyDangerous),
        (Ecn::NotEct, Ecn::NotEct)
        | (Ecn::Ect0, Ecn::NotEct | Ecn::Ect0 | Ecn::Ect1 | Ecn::Ce)
        | (Ecn::Ect1, Ecn::NotEct | Ecn::Ect1 | Ecn::Ce)
        | (Ecn::Ce, Ecn::NotEct | Ecn::Ect0 | Ecn::Ce) => None,
    }
}

/// The outer header says congestion experienced and the inner transport does not take part in ECN: the frame must be
/// dropped (RFC 6040 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcnError;

impl fmt::Display for EcnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("congestion experienced outside, a transport without ECN inside")
    }
}

impl core::error::Error for EcnError {}

/// Applies [`decap`] to the IP packet of an inner frame, behind its VLAN tags, and says whether the frame changed. The
/// checksum of an IPv4 header is kept right, or as wrong as it was. A frame without IP stays as it is.
///
/// # Errors
///
/// [`EcnError`] when the frame must be dropped.
#[inline]
pub fn decap_frame(outer_tos: u8, frame: &mut [u8]) -> Result<bool, EcnError> {
    let outer = Ecn::from_tos(outer_tos);
    // The column of Not-ECT keeps everything: most frames are not looked at.
    if outer == Ecn::NotEct {
        return Ok(false);
    }
    let Some((version, l3)) = ip_header(frame) else { return Ok(false) };
    let Some(header) = frame.get_mut(l3..).and_then(|packet| packet.first_chunk_mut()) else {
        return Ok(false);
    };
    match decap(outer, Ecn::from_tos(tos_of(version, header))) {
        Decap::Keep => Ok(false),
        Decap::Drop => Err(EcnError),
        Decap::Set(ecn) => {
            match version {
                IpVersion::V4 => set_v4(header, ecn),
                IpVersion::V6 => header[1] = header[1] & !(FIELD << 4) | ecn.bits() << 4,
            }
            Ok(true)
        }
    }
}

/// The type of service or traffic class of a frame's IP packet, behind its VLAN tags; `None` when it carries no IP.
#[inline]
#[must_use]
pub fn tos(frame: &[u8]) -> Option<u8> {
    let (version, l3) = ip_header(frame)?;
    Some(tos_of(version, chunk_at(frame, l3)?))
}

/// Where a whole IP header lies; its lengths are not checked, as its ECN field does not depend on them.
#[inline]
fn ip_header(frame: &[u8]) -> Option<(IpVersion, usize)> {
    let (ether_type, tags) = ethernet::skip(frame).ok()?;
    let l3 = ethernet::HEADER_OCTETS + usize::from(tags) * ethernet::TAG_OCTETS;
    let packet = frame.get(l3..)?;
    let (version, nibble, octets) = match ether_type {
        EtherType::IPV4 => (IpVersion::V4, 4, IPV4_HEADER_OCTETS),
        EtherType::IPV6 => (IpVersion::V6, 6, IPV6_HEADER_OCTETS),
        _ => return None,
    };
    (packet.len() >= octets && packet.first()? >> 4 == nibble).then_some((version, l3))
}

#[inline]
const fn tos_of(version: IpVersion, header: &[u8; IPV4_HEADER_OCTETS]) -> u8 {
    match version {
        IpVersion::V4 => header[1],
        IpVersion::V6 => header[0] << 4 | header[1] >> 4,
    }
}

fn set_v4(header: &mut [u8; IPV4_HEADER_OCTETS], ecn: Ecn) {
    let old = u16::from_be_bytes([header[0], header[1]]);
    header[1] = header[1] & !FIELD | ecn.bits();
    let new = u16::from_be_bytes([header[0], header[1]]);
    // RFC 1624 section 3, equation 3: HC' = ~(~HC + ~m + m').
    let checksum = u16::from_be_bytes([header[10], header[11]]);
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    [header[10], header[11]] = (!(sum as u16)).to_be_bytes();
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// RFC 6040 figure 4: inner, outer, what leaves the tunnel, the mark.
    const FIGURE_4: [(Ecn, Ecn, Option<Ecn>, &str); 16] = {
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        [
            (NotEct, NotEct, Some(NotEct), ""),
            (NotEct, Ect0, Some(NotEct), "!!!"),
            (NotEct, Ect1, Some(NotEct), "!!!"),
            (NotEct, Ce, None, "!!!"),
            (Ect0, NotEct, Some(Ect0), ""),
            (Ect0, Ect0, Some(Ect0), ""),
            (Ect0, Ect1, Some(Ect1), ""),
            (Ect0, Ce, Some(Ce), ""),
            (Ect1, NotEct, Some(Ect1), ""),
            (Ect1, Ect0, Some(Ect1), "!"),
            (Ect1, Ect1, Some(Ect1), ""),
            (Ect1, Ce, Some(Ce), ""),
            (Ce, NotEct, Some(Ce), ""),
            (Ce, Ect0, Some(Ce), ""),
            (Ce, Ect1, Some(Ce), "!!!"),
            (Ce, Ce, Some(Ce), ""),
        ]
    };

    /// A frame with DSCP 46, the codepoint and a right checksum; `tags` VLAN tags.
    fn ipv4(ecn: Ecn, tags: usize) -> Vec<u8> {
        let mut packet =
            [0x45, 46 << 2 | ecn.bits(), 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2];
        let sum = !checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        frame([0x08, 0x00], tags, &packet)
    }

    fn ipv6(ecn: Ecn, tags: usize) -> Vec<u8> {
        let mut packet = [0xa5; 40];
        let tos = 46 << 2 | ecn.bits();
        (packet[0], packet[1]) = (0x60 | tos >> 4, tos << 4 | 0x05);
        frame([0x86, 0xdd], tags, &packet)
    }

    fn frame(ether_type: [u8; 2], tags: usize, packet: &[u8]) -> Vec<u8> {
        [&[2; 12][..], &[0x81, 0, 0, 9].repeat(tags), &ether_type, packet].concat()
    }

    /// The ones' complement sum of 16-bit words (RFC 1071); 0xffff over a header with a right checksum.
    fn checksum(header: &[u8]) -> u16 {
        let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    #[test]
    fn decap_is_figure_4_of_rfc_6040() {
        for (inner, outer, leaves, mark) in FIGURE_4 {
            let result = match decap(outer, inner) {
                Decap::Keep => Some(inner),
                Decap::Set(ecn) => {
                    assert_ne!(ecn, inner, "what stays is kept, not set");
                    Some(ecn)
                }
                Decap::Drop => None,
            };
            assert_eq!(result, leaves, "inner {inner:?}, outer {outer:?}");
            let alarm = match alarm(outer, inner) {
                None => "",
                Some(Alarm::PossiblyDangerous) => "!",
                Some(Alarm::AlwaysDangerous) => "!!!",
            };
            assert_eq!(alarm, mark, "inner {inner:?}, outer {outer:?}");
        }
    }

    #[test]
    fn encap_copies_all_four_codepoints_and_keeps_the_outer_dscp() {
        for ecn in Ecn::ALL {
            assert_eq!(encap(0xfc | ecn.bits(), 0xb8 | 0b11), 0xb8 | ecn.bits());
            assert_eq!(Ecn::from_tos(0xfc | ecn.bits()), *ecn);
        }
    }

    #[test]
    fn frames_are_rewritten_by_the_table_with_a_right_checksum() {
        for build in [ipv4, ipv6] {
            for (inner, outer, leaves, _) in FIGURE_4 {
                for tags in 0..=2 {
                    let before = build(inner, tags);
                    let mut after = before.clone();
                    let result = decap_frame(0x28 | outer.bits(), &mut after);
                    match leaves {
                        Some(ecn) => {
                            assert_eq!(result, Ok(after != before));
                            assert_eq!(after, build(ecn, tags), "inner {inner:?}, outer {outer:?}");
                        }
                        None => {
                            assert_eq!(result, Err(EcnError));
                            assert_eq!(after, before);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_right_checksum_stays_right() {
        for identification in 0..=u16::MAX {
            let mut frame = ipv4(Ecn::Ect0, 0);
            frame[18..20].copy_from_slice(&identification.to_be_bytes());
            frame[24..26].fill(0);
            let sum = !checksum(&frame[14..]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            assert_eq!(decap_frame(Ecn::Ce.bits(), &mut frame), Ok(true));
            assert_eq!(checksum(&frame[14..]), 0xffff, "identification {identification}");
        }
    }

    #[test]
    fn frames_without_a_whole_ip_header_stay() {
        let wrong_version = frame([0x08, 0x00], 0, &[0x60; 40]);
        let arp = frame([0x08, 0x06], 0, &[0x45; 28]);
        let tags = frame([0x08, 0x00], 3, &[0x45; 40]);
        for mut frame in [wrong_version, arp, tags] {
            assert_eq!(decap_frame(Ecn::Ce.bits(), &mut frame), Ok(false));
            assert_eq!(tos(&frame), None);
        }
        for whole in [ipv4(Ecn::NotEct, 1), ipv6(Ecn::NotEct, 1)] {
            for octets in 0..whole.len() {
                let mut frame = whole[..octets].to_vec();
                assert_eq!(decap_frame(Ecn::Ce.bits(), &mut frame), Ok(false), "{octets} octets");
                assert_eq!(tos(&frame), None);
            }
        }
    }

    #[test]
    fn the_type_of_service_is_found_behind_tags() {
        for tags in 0..=2 {
            assert_eq!(tos(&ipv4(Ecn::Ce, tags)), Some(46 << 2 | 3));
            assert_eq!(tos(&ipv6(Ecn::Ect1, tags)), Some(46 << 2 | 1));
        }
    }
}
