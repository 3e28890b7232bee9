//! Where the network and transport headers of a frame lie.
//!
//! ```text
//! 0                     l3                        l4             end     frame.len()
//! +---------------------+-------------------------+--------------+-------+
//! | Ethernet, VLAN tags | IPv4 and its options, or| TCP, UDP ... |padding|
//! |                     | IPv6 and its extensions | and payload  |       |
//! +---------------------+-------------------------+--------------+-------+
//! ```
//!
//! A frame need not carry IP, and IP that lies about its own lengths is none to us: both are `ip: None`. Only a broken
//! Ethernet header is an error. No checksum is looked at.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;

use crate::ParseError;
use crate::ethernet::{self, EtherType};
use crate::octets::{chunk_at, u16_at};

/// The protocol numbers that the walk tells apart (IANA, "Assigned Internet Protocol Numbers").
pub mod protocol {
    /// IPv6 hop-by-hop options (RFC 8200 section 4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// IPv6 routing header (RFC 8200 section 4.4).
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header (RFC 8200 section 4.5).
    pub const FRAGMENT: u8 = 44;
    /// Authentication header (RFC 4302 section 2).
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options (RFC 8200 section 4.6).
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
    /// UDP-Lite (RFC 3828).
    pub const UDP_LITE: u8 = 136;
}

/// Length of an IPv4 header without options, in octets (RFC 791 section 3.1).
pub const IPV4_HEADER_OCTETS: usize = 20;

/// Length of an IPv6 header without extensions, in octets (RFC 8200 section 3).
pub const IPV6_HEADER_OCTETS: usize = 40;

/// How many IPv6 extension headers are passed; the next one ends the walk. RFC 8200 section 4.1 asks for each kind at
/// most once and destination options twice, which is six of those that the walk knows.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// Where the headers of one frame lie. Offsets are octets from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// What lies at `l3`: the EtherType behind the VLAN tags.
    pub ether_type: EtherType,
    /// How many VLAN tags lie before `l3`, from 0 to [`ethernet::MAX_TAGS`].
    pub vlan_tags: u8,
    /// Where the network header begins: 14, 18 or 22.
    pub l3: usize,
    /// The IP header, when there is one and it is well formed.
    pub ip: Option<Ip>,
}

impl Layers {
    /// Finds the headers of a frame.
    ///
    /// # Errors
    ///
    /// [`ParseError::Runt`] and [`ParseError::TruncatedTag`]; never for what lies behind the Ethernet header.
    ///
    /// ```
    /// use vxgate_codec::layers::{IpVersion, Layers};
    ///
    /// let mut frame = [0; 14 + 20 + 8];
    /// frame[12..14].copy_from_slice(&[0x08, 0x00]);
    /// frame[14..24].copy_from_slice(&[0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17]);
    /// let ip = Layers::parse(&frame)?.ip.expect("IPv4");
    /// assert_eq!((ip.version, ip.protocol, ip.l4, ip.end), (IpVersion::V4, 17, 34, 42));
    /// # Ok::<(), vxgate_codec::ParseError>(())
    /// ```
    // Always: a caller that reads a few fields must not pay for writing all of them to memory.
    #[inline(always)]
    pub fn parse(frame: &[u8]) -> Result<Layers, ParseError> {
        let (ether_type, vlan_tags) = ethernet::skip(frame)?;
        let l3 = ethernet::HEADER_OCTETS + usize::from(vlan_tags) * ethernet::TAG_OCTETS;
        let ip = match ether_type {
            EtherType::IPV4 => Ip::parse_v4(frame, l3),
            EtherType::IPV6 => Ip::parse_v6(frame, l3),
            _ => None,
        };
        Ok(Layers { ether_type, vlan_tags, l3, ip })
    }
}

/// Which IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4 (RFC 791).
    V4,
    /// IPv6 (RFC 8200).
    V6,
}

/// Which part of a datagram an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// All of it; also an IPv6 packet with a fragment header that says so (RFC 6946).
    None,
    /// The first of several: the transport header is here, the payload is not all of it.
    First,
    /// One behind the first: no transport header.
    Later,
}

/// A well formed IP header and where it leads. Offsets are octets from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Which IP.
    pub version: IpVersion,
    /// Type of service or traffic class: six bits DSCP, two bits ECN (RFC 2474, RFC 3168).
    pub tos: u8,
    /// Time to live or hop limit, in hops.
    pub ttl: u8,
    /// Whether routers must not fragment the packet: flag DF of IPv4; always for IPv6 (RFC 8200 section 4.5).
    pub dont_fragment: bool,
    /// Which part of a datagram this is.
    pub fragment: Fragment,
    /// What lies at `l4`: the protocol behind the IPv6 extension headers. In an IPv6 fragment behind the first it is
    /// what the fragment header names. A walk that ends early, at a header that is cut off or at one more than
    /// [`MAX_EXTENSION_HEADERS`], leaves the number of the header where it ended.
    pub protocol: u8,
    /// Where the transport header begins, or in a later fragment its share of the payload; at most `end`. How many
    /// octets lie there is not checked.
    pub l4: usize,
    /// One past the last octet of the IP packet; Ethernet padding may follow. At most the length of the frame.
    pub end: usize,
    /// Where the source address begins; the destination address follows it.
    addresses: usize,
}

impl Ip {
    /// Where the source address lies: 4 or 16 octets.
    #[must_use]
    pub fn source(&self) -> Range<usize> {
        self.addresses..self.addresses + self.address_octets()
    }

    /// Where the destination address lies: 4 or 16 octets.
    #[must_use]
    pub fn destination(&self) -> Range<usize> {
        let source = self.source();
        source.end..source.end + source.len()
    }

    /// The source address, or `None` when `frame` is not the one that was parsed and ends before it.
    #[must_use]
    pub fn source_address(&self, frame: &[u8]) -> Option<IpAddr> {
        self.address_at(frame, self.source().start)
    }

    /// The destination address, or `None` when `frame` is not the one that was parsed and ends before it.
    #[must_use]
    pub fn destination_address(&self, frame: &[u8]) -> Option<IpAddr> {
        self.address_at(frame, self.destination().start)
    }

    fn address_at(&self, frame: &[u8], offset: usize) -> Option<IpAddr> {
        match self.version {
            IpVersion::V4 => chunk_at::<4>(frame, offset).map(|octets| Ipv4Addr::from(*octets).into()),
            IpVersion::V6 => chunk_at::<16>(frame, offset).map(|octets| Ipv6Addr::from(*octets).into()),
        }
    }

    const fn address_octets(&self) -> usize {
        match self.version {
            IpVersion::V4 => 4,
            IpVersion::V6 => 16,
        }
    }

    /// RFC 791 section 3.1.
    #[inline]
    fn parse_v4(frame: &[u8], l3: usize) -> Option<Ip> {
        let header: &[u8; IPV4_HEADER_OCTETS] = chunk_at(frame, l3)?;
        let header_octets = usize::from(header[0] & 0x0f) * 4;
        let total_octets = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let end = l3 + total_octets;
        if header[0] >> 4 != 4
            || header_octets < IPV4_HEADER_OCTETS
            || total_octets < header_octets
            || end > frame.len()
        {
            return None;
        }
        let flags_and_offset = u16::from_be_bytes([header[6], header[7]]);
        Some(Ip {
            version: IpVersion::V4,
            tos: header[1],
            ttl: header[8],
            dont_fragment: flags_and_offset & 0x4000 != 0,
            fragment: Fragment::of(flags_and_offset & 0x1fff, flags_and_offset & 0x2000 != 0),
            protocol: header[9],
            l4: l3 + header_octets,
            end,
            addresses: l3 + 12,
        })
    }

    /// RFC 8200 section 3. A jumbogram (RFC 2675) fits in no inner frame and reads as a packet without payload.
    #[inline]
    fn parse_v6(frame: &[u8], l3: usize) -> Option<Ip> {
        let header: &[u8; IPV6_HEADER_OCTETS] = chunk_at(frame, l3)?;
        let l4 = l3 + IPV6_HEADER_OCTETS;
        let end = l4 + usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[0] >> 4 != 6 || end > frame.len() {
            return None;
        }
        let (mut protocol, mut l4, mut fragment) = (header[6], l4, Fragment::None);
        if is_extension(protocol) {
            (protocol, l4, fragment) = behind_extensions(frame, protocol, l4, end);
        }
        Some(Ip {
            version: IpVersion::V6,
            tos: header[0] << 4 | header[1] >> 4,
            ttl: header[7],
            dont_fragment: true,
            fragment,
            protocol,
            l4,
            end,
            addresses: l3 + 8,
        })
    }
}

/// Walks over the extension headers between `offset` and `end`: the protocol behind them, where it begins, and what the
/// fragment header says. Each step moves forward by at least 8 octets.
#[cold]
fn behind_extensions(frame: &[u8], protocol: u8, offset: usize, end: usize) -> (u8, usize, Fragment) {
    let (mut protocol, mut offset, mut fragment) = (protocol, offset, Fragment::None);
    for _ in 0..MAX_EXTENSION_HEADERS {
        let Some(&[next, length]) = chunk_at(frame, offset) else { break };
        let octets = match protocol {
            protocol::FRAGMENT => 8,
            protocol::AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        if !is_extension(protocol) || offset + octets > end {
            break;
        }
        if protocol == protocol::FRAGMENT {
            let offset_and_flag = u16_at(frame, offset + 2).unwrap_or_default();
            match Fragment::of(offset_and_flag >> 3, offset_and_flag & 1 != 0) {
                Fragment::None => {}
                part @ (Fragment::First | Fragment::Later) => fragment = part,
            }
        }
        (protocol, offset) = (next, offset + octets);
        if fragment == Fragment::Later {
            break;
        }
    }
    (protocol, offset, fragment)
}

impl Fragment {
    #[inline]
    const fn of(offset: u16, more: bool) -> Fragment {
        match (offset, more) {
            (0, false) => Fragment::None,
            (0, true) => Fragment::First,
            _ => Fragment::Later,
        }
    }
}

#[inline]
const fn is_extension(number: u8) -> bool {
    matches!(
        number,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
    )
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &ether_type.to_be_bytes()[..], payload].concat()
    }

    /// An IPv4 packet of 192.0.2.1 -> 198.51.100.2 with TOS 0xb9 and TTL 63.
    fn ipv4(flags_and_offset: u16, protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let header_octets = 20 + options.len();
        let mut packet = vec![0x40 | (header_octets / 4) as u8, 0xb9];
        packet.extend(((header_octets + payload.len()) as u16).to_be_bytes());
        packet.extend([0, 1]);
        packet.extend(flags_and_offset.to_be_bytes());
        packet.extend([63, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
        packet.extend(options);
        packet.extend(payload);
        packet
    }

    /// An IPv6 packet of 2001:db8::1 -> 2001:db8::2 with traffic class 0xb9 and hop limit 63.
    fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x6b, 0x91, 0x23, 0x45];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([next_header, 63]);
        packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend(payload);
        packet
    }

    fn ip(frame: &[u8]) -> Option<Ip> {
        Layers::parse(frame).unwrap().ip
    }

    #[test]
    fn ipv4_fields_and_addresses_are_found() {
        let mut frame = ethernet(0x0800, &ipv4(0x4000, protocol::UDP, &[], &[0; 8]));
        frame.extend([0; 18]);
        let layers = Layers::parse(&frame).unwrap();
        assert_eq!((layers.ether_type, layers.vlan_tags, layers.l3), (EtherType::IPV4, 0, 14));
        let ip = layers.ip.unwrap();
        assert_eq!((ip.version, ip.tos, ip.ttl, ip.protocol), (IpVersion::V4, 0xb9, 63, protocol::UDP));
        assert_eq!((ip.dont_fragment, ip.fragment), (true, Fragment::None));
        assert_eq!((ip.l4, ip.end), (34, 42));
        assert_eq!((ip.source(), ip.destination()), (26..30, 30..34));
        assert_eq!(ip.source_address(&frame), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(ip.destination_address(&frame), Some("198.51.100.2".parse().unwrap()));
        assert_eq!(ip.source_address(&frame[..29]), None);
    }

    #[test]
    fn ipv4_options_move_the_transport_header() {
        let ip = ip(&ethernet(0x0800, &ipv4(0, protocol::TCP, &[1; 40], &[0; 20]))).unwrap();
        assert_eq!((ip.l4, ip.end, ip.dont_fragment), (14 + 60, 14 + 80, false));
    }

    #[test]
    fn ipv4_fragments_are_told_by_offset_and_more_flag() {
        for (flags_and_offset, fragment) in [
            (0x0000, Fragment::None),
            (0xc000, Fragment::None),
            (0x2000, Fragment::First),
            (0x2001, Fragment::Later),
            (0x1000, Fragment::Later),
        ] {
            let frame = ethernet(0x0800, &ipv4(flags_and_offset, protocol::UDP, &[], &[0; 8]));
            assert_eq!(ip(&frame).unwrap().fragment, fragment, "{flags_and_offset:#06x}");
        }
    }

    #[test]
    fn ipv4_that_lies_about_its_lengths_is_none() {
        let good = ethernet(0x0800, &ipv4(0, protocol::UDP, &[], &[0; 8]));
        assert!(ip(&good).is_some());
        let with = |offset: usize, octet: u8| {
            let mut frame = good.clone();
            frame[offset] = octet;
            ip(&frame)
        };
        assert_eq!(with(14, 0x65), None, "version 6 under the type of IPv4");
        assert_eq!(with(14, 0x44), None, "a header of 16 octets");
        assert_eq!(with(14, 0x48), None, "a header longer than the packet");
        assert_eq!(with(17, 29), None, "a packet longer than the frame");
        assert_eq!(with(17, 19), None, "a packet shorter than its header");
        for octets in 14..good.len() {
            assert_eq!(ip(&good[..octets]), None, "{octets} octets");
        }
    }

    #[test]
    fn ipv6_fields_and_addresses_are_found() {
        let mut frame = ethernet(0x86dd, &ipv6(protocol::TCP, &[0; 20]));
        frame.push(0);
        let ip = ip(&frame).unwrap();
        assert_eq!((ip.version, ip.tos, ip.ttl, ip.protocol), (IpVersion::V6, 0xb9, 63, protocol::TCP));
        assert_eq!((ip.dont_fragment, ip.fragment), (true, Fragment::None));
        assert_eq!((ip.l4, ip.end), (54, 74));
        assert_eq!((ip.source(), ip.destination()), (22..38, 38..54));
        assert_eq!(ip.source_address(&frame), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(ip.destination_address(&frame), Some("2001:db8::2".parse().unwrap()));
    }

    #[test]
    fn ipv6_that_lies_about_its_lengths_is_none() {
        let good = ethernet(0x86dd, &ipv6(protocol::UDP, &[0; 8]));
        for octets in 14..good.len() {
            assert_eq!(ip(&good[..octets]), None, "{octets} octets");
        }
        let mut other_version = good;
        other_version[14] = 0x45;
        assert_eq!(ip(&other_version), None);
    }

    #[test]
    fn every_ipv6_extension_header_is_passed() {
        let mut payload = vec![];
        payload.extend([&[protocol::DESTINATION_OPTIONS, 0][..], &[0; 6]].concat());
        payload.extend([&[protocol::ROUTING, 1][..], &[0; 14]].concat());
        payload.extend([&[protocol::AUTHENTICATION, 2][..], &[0; 22]].concat());
        payload.extend([&[protocol::DESTINATION_OPTIONS, 4][..], &[0; 22]].concat());
        payload.extend([&[protocol::UDP, 0][..], &[0; 6]].concat());
        let l4 = 54 + payload.len();
        payload.extend([0; 8]);
        let ip = ip(&ethernet(0x86dd, &ipv6(protocol::HOP_BY_HOP, &payload))).unwrap();
        assert_eq!((ip.protocol, ip.l4, ip.end), (protocol::UDP, l4, l4 + 8));
    }

    #[test]
    fn ipv6_fragments_are_told_by_their_header() {
        let fragment = |next: u8, offset_and_flag: u16| {
            let [high, low] = offset_and_flag.to_be_bytes();
            let payload =
                [next, 0, high, low, 0, 0, 0, 7, protocol::UDP, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            let ip = ip(&ethernet(0x86dd, &ipv6(protocol::FRAGMENT, &payload))).unwrap();
            (ip.fragment, ip.protocol, ip.l4)
        };
        let options = protocol::DESTINATION_OPTIONS;
        assert_eq!(fragment(options, 0x0000), (Fragment::None, protocol::UDP, 70), "an atomic fragment");
        assert_eq!(fragment(options, 0x0001), (Fragment::First, protocol::UDP, 70));
        assert_eq!(fragment(options, 0x0006), (Fragment::None, protocol::UDP, 70), "reserved bits");
        assert_eq!(fragment(options, 0x0007), (Fragment::First, protocol::UDP, 70), "reserved bits");
        assert_eq!(fragment(options, 0x0008), (Fragment::Later, options, 62));
        assert_eq!(fragment(options, 0xfff9), (Fragment::Later, options, 62));
    }

    #[test]
    fn a_walk_over_extension_headers_ends_where_one_is_cut_off() {
        for (header, payload) in [
            (protocol::HOP_BY_HOP, &[protocol::UDP, 1, 0, 0, 0, 0, 0, 0][..]),
            (protocol::ROUTING, &[protocol::UDP]),
            (protocol::DESTINATION_OPTIONS, &[]),
            (protocol::AUTHENTICATION, &[protocol::UDP, 1, 0, 0, 0, 0, 0, 0]),
            (protocol::FRAGMENT, &[protocol::UDP, 0, 0, 9, 0, 0, 0]),
        ] {
            let mut frame = ethernet(0x86dd, &ipv6(header, payload));
            frame.extend([0; 32]);
            let ip = ip(&frame).unwrap();
            assert_eq!((ip.protocol, ip.l4, ip.fragment), (header, 54, Fragment::None));
        }
    }

    #[test]
    fn a_walk_over_extension_headers_is_bounded() {
        let chain = |headers: usize| {
            let mut payload = [protocol::DESTINATION_OPTIONS, 0, 0, 0, 0, 0, 0, 0].repeat(headers);
            payload[8 * (headers - 1)] = protocol::UDP;
            let ip = ip(&ethernet(0x86dd, &ipv6(protocol::DESTINATION_OPTIONS, &payload))).unwrap();
            (ip.protocol, ip.l4)
        };
        assert_eq!(chain(MAX_EXTENSION_HEADERS), (protocol::UDP, 54 + 64));
        assert_eq!(chain(MAX_EXTENSION_HEADERS + 1), (protocol::DESTINATION_OPTIONS, 54 + 64));
    }

    #[test]
    fn vlan_tags_move_everything() {
        let packet = ipv4(0, protocol::UDP, &[], &[0; 8]);
        let single = ethernet(0x8100, &[&[0, 5, 0x08, 0x00][..], &packet].concat());
        let double = ethernet(0x88a8, &[&[0, 5, 0x81, 0x00, 0, 6, 0x08, 0x00][..], &packet].concat());
        for (frame, tags, l3) in [(single, 1, 18), (double, 2, 22)] {
            let layers = Layers::parse(&frame).unwrap();
            assert_eq!((layers.ether_type, layers.vlan_tags, layers.l3), (EtherType::IPV4, tags, l3));
            assert_eq!(layers.ip.map(|ip| (ip.l4, ip.end)), Some((l3 + 20, l3 + 28)));
        }
        let triple = ethernet(
            0x88a8,
            &[&[0, 5, 0x81, 0x00, 0, 6, 0x81, 0x00, 0, 7, 0x08, 0x00][..], &packet].concat(),
        );
        let layers = Layers::parse(&triple).unwrap();
        assert_eq!((layers.ether_type, layers.vlan_tags, layers.ip), (EtherType::VLAN, 2, None));
    }

    #[test]
    fn other_protocols_have_no_ip() {
        let frame = ethernet(0x0806, &[0; 28]);
        assert_eq!(
            Layers::parse(&frame),
            Ok(Layers { ether_type: EtherType::ARP, vlan_tags: 0, l3: 14, ip: None })
        );
    }

    #[test]
    fn only_a_broken_ethernet_header_is_an_error() {
        assert_eq!(Layers::parse(&[0; 13]), Err(ParseError::Runt));
        assert_eq!(Layers::parse(&ethernet(0x8100, &[0, 5, 8])), Err(ParseError::TruncatedTag));
        assert!(Layers::parse(&ethernet(0x0800, &[])).is_ok());
    }
}
