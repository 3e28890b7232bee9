//! Outer headers: read from the wire, and built with every field at will.

use std::net::IpAddr;

use super::frame::{checksum, pseudo_sum};

/// A VXLAN datagram as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) source_port: u16,
    pub(crate) port: u16,
    /// Over veth it may hold the pseudo-header's sum only; zero is zero.
    pub(crate) checksum: u16,
    pub(crate) header: [u8; 8],
    pub(crate) inner: Vec<u8>,
}

impl Datagram {
    /// Reads an Ethernet frame; none for what is no UDP datagram that could be VXLAN.
    pub(crate) fn parse(frame: &[u8]) -> Option<Datagram> {
        if is_fragment(frame) {
            return None;
        }
        let (ether_type, packet) = (frame.get(12..14)?, frame.get(14..)?);
        let (from, to, tos, ttl, dont_fragment, udp): (IpAddr, IpAddr, _, _, _, _) = match ether_type {
            [0x08, 0x00] if packet.get(9) == Some(&17) => {
                let octets = |at: usize| -> Option<[u8; 4]> { packet.get(at..at + 4)?.try_into().ok() };
                let end = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
                let udp = packet.get(20..end)?;
                (octets(12)?.into(), octets(16)?.into(), packet[1], packet[8], packet[6] & 0x40 != 0, udp)
            }
            [0x86, 0xdd] if packet.get(6) == Some(&17) => {
                let octets = |at: usize| -> Option<[u8; 16]> { packet.get(at..at + 16)?.try_into().ok() };
                let tos = packet[0] << 4 | packet[1] >> 4;
                let end = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
                (octets(8)?.into(), octets(24)?.into(), tos, packet[7], false, packet.get(40..end)?)
            }
            _ => return None,
        };
        let field = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
        Some(Datagram {
            from,
            to,
            tos,
            ttl,
            dont_fragment,
            source_port: field(0)?,
            port: field(2)?,
            checksum: field(6)?,
            header: udp.get(8..16)?.try_into().ok()?,
            inner: udp[16..].to_vec(),
        })
    }
}

/// Whether an Ethernet frame holds a piece of an IP packet.
pub(crate) fn is_fragment(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(20..22).is_some_and(|bits| bits[0] & 0x3f != 0 || bits[1] != 0),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&44),
        _ => false,
    }
}

/// What stands in an outer UDP checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksum {
    Right,
    Wrong,
    Zero,
}

/// Outer fields to send with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outer {
    pub(crate) tos: u8,
    pub(crate) checksum: Checksum,
}

impl Default for Outer {
    fn default() -> Outer {
        Outer { tos: 0, checksum: Checksum::Right }
    }
}

impl Outer {
    /// The packet that carries `payload`, with its ether type before it.
    pub(crate) fn packet(&self, from: IpAddr, to: (IpAddr, u16), payload: &[u8]) -> Vec<u8> {
        let (to, port) = to;
        let length = (8 + payload.len()) as u16;
        let mut udp =
            [&50_000u16.to_be_bytes()[..], &port.to_be_bytes(), &length.to_be_bytes(), &[0; 2], payload]
                .concat();
        let addresses = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
            (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
            _ => panic!("{from} and {to} are of two families"),
        };
        let sum = match self.checksum {
            Checksum::Right => pseudo_sum(&addresses, &udp),
            // One bit off, and not zero, which would say that there is none.
            Checksum::Wrong => match pseudo_sum(&addresses, &udp) ^ 1 {
                0 => 2,
                sum => sum,
            },
            Checksum::Zero => 0,
        };
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        if from.is_ipv4() {
            let mut ip = vec![0x45, self.tos];
            ip.extend((20 + length).to_be_bytes());
            ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
            ip.extend(addresses);
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            [&[0x08, 0x00][..], &ip, &udp].concat()
        } else {
            let head = [0x60 | self.tos >> 4, self.tos << 4, 0, 0];
            [&[0x86, 0xdd][..], &head, &length.to_be_bytes(), &[17, 64], &addresses, &udp].concat()
        }
    }
}
