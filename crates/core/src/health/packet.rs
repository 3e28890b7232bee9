//! What a probe is, and what answers it.
//!
//! An IPv4 peer is asked by ARP, an IPv6 one by neighbour solicitation: what every host answers whatever its firewall says. It is
//! asked from our own inner address nearest to its own, so that its answer finds a way where only known networks are
//! answered; without one, as in address conflict detection (RFC 5227 section 2.1.1, RFC 4862 section 5.4.2), from none.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vxgate_codec::ethernet::{self, EtherType, Header, VlanTags};
use vxgate_codec::layers::protocol;
use vxgate_codec::ndp::{self, Message};
use vxgate_codec::{MacAddr, arp};

/// That somebody says where an inner address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Which address.
    pub(crate) inner: IpAddr,
    /// Where it is.
    pub(crate) mac: MacAddr,
    /// To whom it was said.
    pub(crate) to: MacAddr,
}

/// What looks like an answer and breaks the rules of its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Offsets in a frame without tags: of its type, of an IPv6 header's next header, of an ICMPv6 type.
const TYPE_AT: usize = 12;
const NEXT_HEADER_AT: usize = 20;
const ICMP_TYPE_AT: usize = 54;
const ADVERTISEMENT: u8 = 136;

/// Whether a frame may be an answer; all that is looked at of frames that are none.
#[inline]
pub(crate) fn may_answer(frame: &[u8]) -> bool {
    const ARP: [u8; 2] = EtherType::ARP.0.to_be_bytes();
    const IPV6: [u8; 2] = EtherType::IPV6.0.to_be_bytes();
    match frame.get(TYPE_AT..TYPE_AT + 2) {
        Some(kind) if kind == ARP => true,
        Some(kind) if kind == IPV6 => frame.get(NEXT_HEADER_AT) == Some(&protocol::ICMPV6),
        Some(_) | None => false,
    }
}

/// The answer in a frame that [may be one](may_answer); `None` where it is something else.
pub(crate) fn read(frame: &[u8]) -> Option<Result<Answer, Malformed>> {
    let to = ethernet::destination(frame)?;
    let (header, payload) = frame.split_at_checked(ethernet::HEADER_OCTETS)?;
    let (inner, mac) = if header.ends_with(&EtherType::ARP.0.to_be_bytes()) {
        let Some(packet) = arp::Packet::parse(payload) else { return Some(Err(Malformed)) };
        match packet.operation {
            arp::Operation::Request => return None,
            arp::Operation::Reply => (IpAddr::V4(packet.sender), packet.sender_mac),
        }
    } else {
        if frame.get(ICMP_TYPE_AT) != Some(&ADVERTISEMENT) {
            return None;
        }
        let Some(packet) = ndp::Packet::parse(payload) else { return Some(Err(Malformed)) };
        let Message::Advertisement { target, target_mac, .. } = packet.message else { return None };
        (IpAddr::V6(target), target_mac.or_else(|| ethernet::source(frame))?)
    };
    let is_station = !mac.is_group() && !mac.is_zero();
    Some(if is_station { Ok(Answer { inner, mac, to }) } else { Err(Malformed) })
}

/// Asks for `inner`, the one that has `mac` if that is known, else everybody.
pub(crate) fn question(own_mac: MacAddr, own: &[IpAddr], inner: IpAddr, mac: Option<MacAddr>) -> Vec<u8> {
    match inner {
        IpAddr::V4(inner) => {
            let sender = nearest(own, inner.into()).and_then(v4).unwrap_or(Ipv4Addr::UNSPECIFIED);
            let packet = arp::Packet::request(own_mac, sender, inner);
            frame(mac.unwrap_or(MacAddr::BROADCAST), own_mac, EtherType::ARP, &packet.to_bytes())
        }
        IpAddr::V6(inner) => {
            let sender = nearest(own, inner.into()).and_then(v6).unwrap_or(Ipv6Addr::UNSPECIFIED);
            let mut packet = ndp::Packet::solicitation(own_mac, sender, inner);
            let group = ndp::group_mac(packet.destination);
            if mac.is_some() && !sender.is_unspecified() {
                // RFC 4861 section 7.3.3: to the neighbour itself.
                packet.destination = inner;
            }
            ipv6_frame(mac.unwrap_or(group), own_mac, &packet)
        }
    }
}

/// Tells everybody that `own` is here.
pub(crate) fn announcement(own_mac: MacAddr, own: IpAddr) -> Vec<u8> {
    match own {
        IpAddr::V4(own) => {
            let packet = arp::Packet::announcement(own_mac, own);
            frame(MacAddr::BROADCAST, own_mac, EtherType::ARP, &packet.to_bytes())
        }
        IpAddr::V6(own) => {
            let packet = ndp::Packet::announcement(own_mac, own);
            ipv6_frame(ndp::group_mac(packet.destination), own_mac, &packet)
        }
    }
}

/// Whether an answer to a question from these addresses may go to all nodes (RFC 4861 section 7.2.4).
pub(crate) fn may_be_answered_to_all(own: &[IpAddr], inner: IpAddr) -> bool {
    inner.is_ipv6() && nearest(own, inner).is_none()
}

/// Where such an answer goes.
pub(crate) fn all_nodes() -> MacAddr {
    ndp::group_mac(ndp::ALL_NODES)
}

/// The own address that shares the most leading bits with this one, of the same family.
fn nearest(own: &[IpAddr], inner: IpAddr) -> Option<IpAddr> {
    own.iter()
        .copied()
        .filter_map(|own| Some((shared_bits(own, inner)?, own)))
        .max_by_key(|(bits, _)| *bits)
        .map(|(_, own)| own)
}

/// How many leading bits the two share; `None` where they are too far apart to be on one link: of different families, of which
/// no network is that wide (a /8 of IPv4), or of different scopes (RFC 4007: link-local is a /10).
fn shared_bits(one: IpAddr, other: IpAddr) -> Option<u32> {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            Some((one.to_bits() ^ other.to_bits()).leading_zeros()).filter(|bits| *bits >= 8)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            let same_scope = one.is_unicast_link_local() == other.is_unicast_link_local();
            Some((one.to_bits() ^ other.to_bits()).leading_zeros()).filter(|_| same_scope)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

fn v4(addr: IpAddr) -> Option<Ipv4Addr> {
    match addr {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    }
}

fn v6(addr: IpAddr) -> Option<Ipv6Addr> {
    match addr {
        IpAddr::V6(addr) => Some(addr),
        IpAddr::V4(_) => None,
    }
}

fn ipv6_frame(to: MacAddr, own_mac: MacAddr, packet: &ndp::Packet) -> Vec<u8> {
    frame(to, own_mac, EtherType::IPV6, packet.to_bytes(&mut [0; ndp::MAX_PACKET_OCTETS]))
}

fn frame(to: MacAddr, from: MacAddr, ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
    let header = Header { destination: to, source: from, tags: VlanTags::NONE, ether_type };
    [header.to_bytes(&mut [0; ethernet::MAX_HEADER_OCTETS]), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
    const PEER_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn reply(sender: &str, mac: MacAddr) -> Vec<u8> {
        let packet = arp::Packet {
            operation: arp::Operation::Reply,
            sender_mac: mac,
            sender: v4(addr(sender)).unwrap(),
            target_mac: OWN_MAC,
            target: Ipv4Addr::UNSPECIFIED,
        };
        frame(OWN_MAC, PEER_MAC, EtherType::ARP, &packet.to_bytes())
    }

    #[test]
    fn a_peer_is_asked_from_the_nearest_own_address_or_from_none() {
        let own = [addr("10.225.194.171"), addr("192.0.2.1"), addr("fe80::1"), addr("2001:db8::1")];
        let sender = |own: &[IpAddr], inner: &str| {
            let asked = question(OWN_MAC, own, addr(inner), None);
            match arp::Packet::parse(&asked[14..]) {
                Some(packet) => IpAddr::V4(packet.sender),
                None => IpAddr::V6(ndp::Packet::parse(&asked[14..]).unwrap().source),
            }
        };
        for (inner, expected) in [
            ("10.192.158.4", "10.225.194.171"),
            ("192.0.2.77", "192.0.2.1"),
            ("198.51.100.1", "0.0.0.0"),
            ("fe80::9", "fe80::1"),
            ("2001:db8::9", "2001:db8::1"),
        ] {
            assert_eq!(sender(&own, inner), addr(expected), "{inner}");
        }
        assert_eq!(sender(&own[..2], "fe80::9"), addr("::"));
        assert!(may_be_answered_to_all(&own[..2], addr("fe80::9")));
        assert!(!may_be_answered_to_all(&own, addr("fe80::9")));
    }

    #[test]
    fn a_question_goes_to_the_one_that_is_known_or_to_all_that_may_be_it() {
        for (inner, all) in [("10.0.0.9", "ff:ff:ff:ff:ff:ff"), ("fe80::1:2:3", "33:33:ff:02:00:03")] {
            for own in [&[addr("10.0.0.1"), addr("fe80::1")][..], &[]] {
                let to = |mac| ethernet::destination(&question(OWN_MAC, own, addr(inner), mac)).unwrap();
                assert_eq!(to(Some(PEER_MAC)), PEER_MAC);
                assert_eq!(to(None), all.parse().unwrap());
            }
        }
    }

    #[test]
    fn replies_and_advertisements_answer_and_nothing_else_does() {
        let answer = Answer { inner: addr("10.0.0.9"), mac: PEER_MAC, to: OWN_MAC };
        assert_eq!(read(&reply("10.0.0.9", PEER_MAC)), Some(Ok(answer)));
        assert_eq!(read(&question(OWN_MAC, &[], addr("10.0.0.9"), None)), None);
        assert_eq!(read(&question(OWN_MAC, &[], addr("fe80::9"), None)), None);
        let told = announcement(PEER_MAC, addr("fe80::9"));
        let answer = Answer { inner: addr("fe80::9"), mac: PEER_MAC, to: all_nodes() };
        assert_eq!(read(&told), Some(Ok(answer)));
        assert!([&told, &reply("10.0.0.9", PEER_MAC)].into_iter().all(|frame| may_answer(frame)));
    }

    #[test]
    fn what_breaks_the_rules_is_malformed() {
        let whole = reply("10.0.0.9", PEER_MAC);
        for octets in 14..whole.len() {
            assert_eq!(read(&whole[..octets]), Some(Err(Malformed)), "{octets}");
        }
        for mac in [MacAddr::ZERO, MacAddr::BROADCAST] {
            assert_eq!(read(&reply("10.0.0.9", mac)), Some(Err(Malformed)));
        }
        let mut told = announcement(PEER_MAC, addr("fe80::9"));
        *told.last_mut().unwrap() ^= 1;
        assert_eq!(read(&told), Some(Err(Malformed)), "its checksum is wrong");
    }

    #[test]
    fn other_frames_are_not_looked_into() {
        for octets in [&[8, 0][..], &[0x81, 0], &[8], &[]] {
            assert!(!may_answer(&[&[0; 12], octets, &[0; 0]].concat()));
        }
        let udp = [&[0; 12][..], &[0x86, 0xdd], &[0x60, 0, 0, 0, 0, 8, 17]].concat();
        assert!(!may_answer(&udp));
    }
}
