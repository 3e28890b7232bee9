//! ARP for IPv4 over Ethernet (RFC 826): which MAC address an IPv4 address is behind.
//!
//! ```text
//! 0          2          4      5      6           8            14        18           24        28
//! +----------+----------+------+------+-----------+------------+---------+------------+---------+
//! | 1: Ethernet| 0x0800 |  6   |  4   | operation | sender MAC | sender  | target MAC | target  |
//! +----------+----------+------+------+-----------+------------+---------+------------+---------+
//! ```

use core::net::Ipv4Addr;

use crate::MacAddr;
use crate::octets::chunk_at;

/// Length of a packet, in octets; Ethernet pads what follows it.
pub const PACKET_OCTETS: usize = 28;

/// What every packet for IPv4 over Ethernet begins with: hardware type, protocol type and both lengths (RFC 826, "Packet
/// format"; IANA, "ARP Parameters").
const PREFIX: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// Whether a packet asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `ares_op$REQUEST`, 1.
    Request,
    /// `ares_op$REPLY`, 2.
    Reply,
}

/// One packet.
///
/// ```
/// use vxgate_codec::MacAddr;
/// use vxgate_codec::arp::{Operation, Packet};
///
/// let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
/// let question = Packet::request(mac, [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
/// let read = Packet::parse(&question.to_bytes()).expect("a packet");
/// assert_eq!((read.operation, read.target), (Operation::Request, [192, 0, 2, 2].into()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Whether it asks or answers.
    pub operation: Operation,
    /// Where the sender is.
    pub sender_mac: MacAddr,
    /// Who sends; 0.0.0.0 in a probe (RFC 5227 section 2.1.1).
    pub sender: Ipv4Addr,
    /// To whom an answer goes; of no meaning in a question.
    pub target_mac: MacAddr,
    /// Who is asked for, or to whom an answer goes.
    pub target: Ipv4Addr,
}

impl Packet {
    /// Asks for the MAC address of `target`.
    #[must_use]
    pub const fn request(sender_mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Packet {
        Packet { operation: Operation::Request, sender_mac, sender, target_mac: MacAddr::ZERO, target }
    }

    /// Tells everybody that `sender` is at this MAC address: an announcement (RFC 5227 section 2.3).
    #[must_use]
    pub const fn announcement(sender_mac: MacAddr, sender: Ipv4Addr) -> Packet {
        Packet::request(sender_mac, sender, sender)
    }

    /// Reads what follows an Ethernet header; `None` where that is no question or answer about IPv4 over Ethernet. Padding may
    /// follow.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Packet> {
        let packet: &[u8; PACKET_OCTETS] = chunk_at(payload, 0)?;
        if packet.first_chunk() != Some(&PREFIX) {
            return None;
        }
        let operation = match chunk_at(packet, 6)? {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return None,
        };
        Some(Packet {
            operation,
            sender_mac: MacAddr::new(*chunk_at(packet, 8)?),
            sender: Ipv4Addr::from(*chunk_at::<4>(packet, 14)?),
            target_mac: MacAddr::new(*chunk_at(packet, 18)?),
            target: Ipv4Addr::from(*chunk_at::<4>(packet, 24)?),
        })
    }

    /// The packet as sent.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; PACKET_OCTETS] {
        let operation = match self.operation {
            Operation::Request => [0, 1],
            Operation::Reply => [0, 2],
        };
        let octets = PREFIX.into_iter().chain(operation);
        let octets = octets.chain(self.sender_mac.octets()).chain(self.sender.octets());
        let octets = octets.chain(self.target_mac.octets()).chain(self.target.octets());
        let mut packet = [0; PACKET_OCTETS];
        packet.iter_mut().zip(octets).for_each(|(place, octet)| *place = octet);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: [u8; PACKET_OCTETS] =
        [0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 0xa, 192, 0, 2, 1, 2, 0, 0, 0, 0, 0xb, 192, 0, 2, 2];

    #[test]
    fn an_answer_is_read_and_written_field_by_field() {
        let packet = Packet {
            operation: Operation::Reply,
            sender_mac: MacAddr::new([2, 0, 0, 0, 0, 0xa]),
            sender: Ipv4Addr::new(192, 0, 2, 1),
            target_mac: MacAddr::new([2, 0, 0, 0, 0, 0xb]),
            target: Ipv4Addr::new(192, 0, 2, 2),
        };
        assert_eq!(Packet::parse(&REPLY), Some(packet));
        assert_eq!(packet.to_bytes(), REPLY);
    }

    #[test]
    fn padding_may_follow_and_nothing_may_be_missing() {
        let mut padded = [0xff; 46];
        padded[..PACKET_OCTETS].copy_from_slice(&REPLY);
        assert_eq!(Packet::parse(&padded), Packet::parse(&REPLY));
        for octets in 0..PACKET_OCTETS {
            assert_eq!(Packet::parse(&REPLY[..octets]), None, "{octets}");
        }
    }

    #[test]
    fn another_hardware_protocol_length_or_operation_is_not_read() {
        for octet in 0..8 {
            let mut other = REPLY;
            other[octet] ^= 0x40;
            assert_eq!(Packet::parse(&other), None, "octet {octet}");
        }
        for (operation, is_read) in [(0, false), (1, true), (2, true), (3, false), (8, false)] {
            let mut other = REPLY;
            other[7] = operation;
            assert_eq!(Packet::parse(&other).is_some(), is_read, "operation {operation}");
        }
    }

    #[test]
    fn an_announcement_asks_for_its_own_sender() {
        let packet = Packet::announcement(MacAddr::new([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(192, 0, 2, 9));
        assert_eq!((packet.operation, packet.sender), (Operation::Request, packet.target));
        assert!(packet.target_mac.is_zero());
    }
}
