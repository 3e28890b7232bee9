//! Neighbour discovery (RFC 4861): which MAC address an IPv6 address is behind.
//!
//! ```text
//! 0             40     41     42         44            48        64                    72
//! +-------------+------+------+----------+-------------+---------+---------------------+
//! | IPv6 header | type | code | checksum | R S O, rest | target  | option: MAC address |
//! +-------------+------+------+----------+-------------+---------+---------------------+
//! ```
//!
//! Only what a node may act on is read (RFC 4861 sections 7.1.1 and 7.1.2): hop limit 255, which no router passes on, code 0, a
//! checksum that holds, options that have a length. Extension headers before the message are not passed.

use core::net::Ipv6Addr;

use crate::MacAddr;
use crate::layers::{IPV6_HEADER_OCTETS, protocol};
use crate::octets::{chunk_at, u16_at};

/// Length of the longest message that is written, in octets, IPv6 header and option included.
pub const MAX_PACKET_OCTETS: usize = IPV6_HEADER_OCTETS + MESSAGE_OCTETS + OPTION_OCTETS;

/// Length of a message without options (RFC 4861 sections 4.3 and 4.4).
const MESSAGE_OCTETS: usize = 24;
/// Length of an option with a MAC address: one unit of 8 octets (RFC 4861 section 4.6.1).
const OPTION_OCTETS: usize = 8;
/// What no router has passed on has come from the link (RFC 4861 section 7.1.1).
const HOP_LIMIT: u8 = 255;

/// ICMPv6 types (RFC 4861 sections 4.3 and 4.4).
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Option types (RFC 4861 section 4.6.1).
const SOURCE_MAC: u8 = 1;
const TARGET_MAC: u8 = 2;
/// Flags of an advertisement, in the octet behind the checksum (RFC 4861 section 4.4).
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// One message with the addresses of its IPv6 header.
///
/// ```
/// use vxgate_codec::MacAddr;
/// use vxgate_codec::ndp::{MAX_PACKET_OCTETS, Message, Packet};
///
/// let (own, other) = ("2001:db8::1".parse()?, "2001:db8::2".parse()?);
/// let question = Packet::solicitation(MacAddr::new([2, 0, 0, 0, 0, 1]), own, other);
/// let mut buffer = [0; MAX_PACKET_OCTETS];
/// let read = Packet::parse(question.to_bytes(&mut buffer)).expect("a message");
/// assert!(matches!(read.message, Message::Solicitation { target, .. } if target == other));
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Who sends; `::` from one that has no address yet.
    pub source: Ipv6Addr,
    /// To whom: one node, or a group.
    pub destination: Ipv6Addr,
    /// What is asked or told.
    pub message: Message,
}

/// What is asked or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Asks for the MAC address of `target`.
    Solicitation {
        /// Who is asked for.
        target: Ipv6Addr,
        /// Where the sender is; never from `::`.
        source_mac: Option<MacAddr>,
    },
    /// Tells the MAC address of `target`.
    Advertisement {
        /// Whose.
        target: Ipv6Addr,
        /// Which one; may be left out of what answers a question that went to one node.
        target_mac: Option<MacAddr>,
        /// Whether the sender is a router.
        is_router: bool,
        /// Whether it answers a question.
        is_solicited: bool,
        /// Whether it replaces what is known.
        overrides: bool,
    },
}

impl Packet {
    /// Asks everybody that `target` may be for its MAC address. From `::`, as in duplicate address detection, the answer goes to all
    /// nodes (RFC 4861 section 7.2.4).
    #[must_use]
    pub fn solicitation(source_mac: MacAddr, source: Ipv6Addr, target: Ipv6Addr) -> Packet {
        let source_mac = (!source.is_unspecified()).then_some(source_mac);
        let message = Message::Solicitation { target, source_mac };
        Packet { source, destination: solicited_node(target), message }
    }

    /// Tells all nodes that `own` is at this MAC address: an unsolicited advertisement (RFC 4861 section 7.2.6).
    #[must_use]
    pub const fn announcement(mac: MacAddr, own: Ipv6Addr) -> Packet {
        let message = Message::Advertisement {
            target: own,
            target_mac: Some(mac),
            is_router: false,
            is_solicited: false,
            overrides: true,
        };
        Packet { source: own, destination: ALL_NODES, message }
    }

    /// Reads what follows an Ethernet header; `None` where that is no message that a node may act on. Padding may follow.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Packet> {
        let header: &[u8; IPV6_HEADER_OCTETS] = chunk_at(payload, 0)?;
        let [first, ..] = header;
        let [next_header, hop_limit] = *chunk_at(header, 6)?;
        if first >> 4 != 6 || next_header != protocol::ICMPV6 || hop_limit != HOP_LIMIT {
            return None;
        }
        let octets = usize::from(u16_at(header, 4)?);
        let message = payload.get(IPV6_HEADER_OCTETS..IPV6_HEADER_OCTETS.checked_add(octets)?)?;
        let source = Ipv6Addr::from(*chunk_at::<16>(header, 8)?);
        let destination = Ipv6Addr::from(*chunk_at::<16>(header, 24)?);
        // Summed with the checksum in place, all bits are 1 (RFC 1071 section 1).
        if sum(source, destination, message) != u16::MAX {
            return None;
        }
        let message = Message::parse(message)?;
        message.may_go(source, destination).then_some(Packet { source, destination, message })
    }

    /// Writes the message with its IPv6 header into the start of `buffer`, whatever it held, and returns the octets written.
    pub fn to_bytes<'a>(&self, buffer: &'a mut [u8; MAX_PACKET_OCTETS]) -> &'a [u8] {
        let (kind, flags, target, option) = match self.message {
            Message::Solicitation { target, source_mac } => {
                (SOLICITATION, 0, target, (SOURCE_MAC, source_mac))
            }
            Message::Advertisement { target, target_mac, is_router, is_solicited, overrides } => {
                let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
                let flags =
                    flag(is_router, ROUTER) | flag(is_solicited, SOLICITED) | flag(overrides, OVERRIDE);
                (ADVERTISEMENT, flags, target, (TARGET_MAC, target_mac))
            }
        };
        let (option, mac) = option;
        let message_octets = MESSAGE_OCTETS + mac.map_or(0, |_| OPTION_OCTETS);
        let [high, low] = (message_octets as u16).to_be_bytes();
        let header = [0x60, 0, 0, 0, high, low, protocol::ICMPV6, HOP_LIMIT];
        let mac = mac.into_iter().flat_map(|mac| [option, 1].into_iter().chain(mac.octets()));
        let octets = header.into_iter().chain(self.source.octets()).chain(self.destination.octets());
        let octets = octets.chain([kind, 0, 0, 0, flags, 0, 0, 0]).chain(target.octets()).chain(mac);
        buffer.iter_mut().zip(octets).for_each(|(place, octet)| *place = octet);
        let message = buffer.get(IPV6_HEADER_OCTETS..IPV6_HEADER_OCTETS + message_octets).unwrap_or_default();
        let checksum = !sum(self.source, self.destination, message);
        if let Some(place) = buffer.get_mut(IPV6_HEADER_OCTETS + 2..IPV6_HEADER_OCTETS + 4) {
            place.copy_from_slice(&checksum.to_be_bytes());
        }
        buffer.get(..IPV6_HEADER_OCTETS + message_octets).unwrap_or_default()
    }
}

impl Message {
    /// Reads a message from its type on; its checksum holds.
    fn parse(message: &[u8]) -> Option<Message> {
        let [kind, code, _, _, flags, _, _, _] = *chunk_at(message, 0)?;
        let target = Ipv6Addr::from(*chunk_at::<16>(message, 8)?);
        if code != 0 || target.is_multicast() {
            return None;
        }
        match kind {
            SOLICITATION => Some(Message::Solicitation { target, source_mac: option(message, SOURCE_MAC)? }),
            ADVERTISEMENT => Some(Message::Advertisement {
                target,
                target_mac: option(message, TARGET_MAC)?,
                is_router: flags & ROUTER != 0,
                is_solicited: flags & SOLICITED != 0,
                overrides: flags & OVERRIDE != 0,
            }),
            _ => None,
        }
    }

    /// Whether it may go between these addresses (RFC 4861 sections 7.1.1 and 7.1.2).
    fn may_go(&self, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        match self {
            Message::Solicitation { target, source_mac } => {
                !source.is_unspecified() || source_mac.is_none() && destination == solicited_node(*target)
            }
            Message::Advertisement { is_solicited, .. } => !(*is_solicited && destination.is_multicast()),
        }
    }
}

/// The MAC address in the option of this kind; `Some(None)` where there is none, `None` where an option has no length or ends
/// behind the message.
fn option(message: &[u8], wanted: u8) -> Option<Option<MacAddr>> {
    let mut found = None;
    let mut rest = message.get(MESSAGE_OCTETS..)?;
    while let [kind, units, ..] = rest {
        let octets = usize::from(*units) * OPTION_OCTETS;
        if octets == 0 {
            return None;
        }
        let option = rest.get(..octets)?;
        if *kind == wanted && found.is_none() {
            found = chunk_at(option, 2).map(|mac| MacAddr::new(*mac));
        }
        rest = rest.get(octets..)?;
    }
    rest.is_empty().then_some(found)
}

/// Every node of the link (RFC 4291 section 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The group of those nodes whose address ends as this one does (RFC 4291 section 2.7.1).
#[must_use]
pub const fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | addr.to_bits() & 0x00ff_ffff)
}

/// The MAC address that frames to this group go to (RFC 2464 section 7).
#[must_use]
pub const fn group_mac(group: Ipv6Addr) -> MacAddr {
    MacAddr::from_bits(0x3333_0000_0000 | (group.to_bits() & 0xffff_ffff) as u64)
}

/// The one's complement sum of the pseudo-header and the message (RFC 8200 section 8.1, RFC 1071).
fn sum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |octets: &[u8]| -> u32 {
        let pairs = octets.chunks(2).map(|pair| match pair {
            [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
            [high] => u32::from(*high) << 8,
            _ => 0,
        });
        pairs.sum()
    };
    let addresses = words(&source.octets()) + words(&destination.octets());
    // At most 65,535 octets: the sum of all words fits.
    let mut sum = addresses + words(message) + message.len() as u32 + u32::from(protocol::ICMPV6);
    while sum > u32::from(u16::MAX) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xa]);

    fn addr(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn bytes(packet: &Packet) -> Vec<u8> {
        packet.to_bytes(&mut [0xff; MAX_PACKET_OCTETS]).to_vec()
    }

    fn question() -> Packet {
        Packet::solicitation(MAC, addr("2001:db8::1"), addr("2001:db8::102:304"))
    }

    fn answer() -> Packet {
        let message = Message::Advertisement {
            target: addr("2001:db8::102:304"),
            target_mac: Some(MAC),
            is_router: true,
            is_solicited: true,
            overrides: false,
        };
        Packet { source: addr("2001:db8::102:304"), destination: addr("2001:db8::1"), message }
    }

    /// With the checksum that the octets then have.
    fn changed(packet: &Packet, octet: usize, value: u8) -> Vec<u8> {
        let mut bytes = bytes(packet);
        bytes[octet] = value;
        bytes[42..44].fill(0);
        let source = Ipv6Addr::from(*chunk_at::<16>(&bytes, 8).unwrap());
        let destination = Ipv6Addr::from(*chunk_at::<16>(&bytes, 24).unwrap());
        let checksum = !sum(source, destination, &bytes[40..]);
        bytes[42..44].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    #[test]
    fn a_question_is_laid_out_as_rfc_4861_has_it() {
        // fe80::1 at 02:00:00:00:00:0a asks for fe80::2; the checksum by another program.
        let sent: [u8; 72] = [
            0x60, 0, 0, 0, 0, 32, 58, 255, // header
            0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // source
            0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2, // destination
            135, 0, 0x7a, 0x8e, 0, 0, 0, 0, // type, code, checksum, reserved
            0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // target
            1, 1, 2, 0, 0, 0, 0, 0xa, // source link-layer address
        ];
        let question = Packet::solicitation(MAC, addr("fe80::1"), addr("fe80::2"));
        assert_eq!(bytes(&question), sent);
        assert_eq!(Packet::parse(&sent), Some(question));
    }

    #[test]
    fn all_messages_read_back_as_written() {
        let anonymous = Packet::solicitation(MAC, Ipv6Addr::UNSPECIFIED, addr("fe80::7"));
        assert_eq!(bytes(&anonymous).len(), 64, "a sender without an address names no MAC address");
        for packet in [question(), answer(), anonymous, Packet::announcement(MAC, addr("fe80::1"))] {
            assert_eq!(Packet::parse(&bytes(&packet)), Some(packet));
        }
    }

    #[test]
    fn padding_may_follow_and_nothing_may_be_missing() {
        let whole = bytes(&answer());
        let padded = [&whole[..], &[0xff; 9]].concat();
        assert_eq!(Packet::parse(&padded), Some(answer()));
        for octets in 0..whole.len() {
            assert_eq!(Packet::parse(&whole[..octets]), None, "{octets}");
        }
    }

    #[test]
    fn one_wrong_bit_anywhere_breaks_the_checksum_or_a_rule() {
        let whole = bytes(&answer());
        // Traffic class and flow label are not covered by anything.
        for octet in [0].into_iter().chain(4..whole.len()) {
            for bit in 0..8 {
                let mut other = whole.clone();
                other[octet] ^= 1 << bit;
                let is_class = octet == 0 && bit < 4;
                assert_eq!(Packet::parse(&other).is_some(), is_class, "octet {octet}, bit {bit}");
            }
        }
    }

    #[test]
    fn what_a_router_passed_on_and_what_breaks_a_rule_is_not_read() {
        assert_eq!(Packet::parse(&changed(&answer(), 7, 254)), None, "hop limit");
        assert_eq!(Packet::parse(&changed(&answer(), 41, 1)), None, "code");
        assert_eq!(Packet::parse(&changed(&answer(), 40, 134)), None, "another type");
        assert_eq!(Packet::parse(&changed(&answer(), 48, 0xff)), None, "a group as the target");
        assert_eq!(
            Packet::parse(&changed(&answer(), 24, 0xff)),
            None,
            "answers to a group are not solicited"
        );
        assert_eq!(Packet::parse(&changed(&answer(), 65, 0)), None, "an option without a length");
        assert_eq!(Packet::parse(&changed(&answer(), 65, 2)), None, "an option longer than the message");
        assert!(Packet::parse(&changed(&answer(), 64, 14)).is_some(), "another option is passed over");
        let mut anonymous = question();
        anonymous.source = Ipv6Addr::UNSPECIFIED;
        assert_eq!(Packet::parse(&bytes(&anonymous)), None, "no MAC address without an address");
    }

    #[test]
    fn groups_have_their_own_addresses() {
        assert_eq!(solicited_node(addr("2001:db8::102:304")), addr("ff02::1:ff02:304"));
        assert_eq!(group_mac(addr("ff02::1:ff02:304")), MacAddr::new([0x33, 0x33, 0xff, 2, 3, 4]));
        assert_eq!(group_mac(ALL_NODES), MacAddr::new([0x33, 0x33, 0, 0, 0, 1]));
    }
}
