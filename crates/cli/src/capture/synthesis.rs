//! The outer headers of a datagram, made up from what a socket tells: addresses, ports, TOS.
//!
//! No socket hands over the headers themselves. What is not known is 0: the peer's port, identification and flags, and the UDP checksum,
//! which readers take for "none" (RFC 768, RFC 6935). The VXLAN header and all within are as they were.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The default TTL of a Linux host, which a socket does not tell of what it sends.
const TTL: u8 = 64;
const UDP: u8 = 17;

/// Writes the headers of a datagram of so many octets of payload, and says how many they are. One that is longer than any datagram, as a
/// superframe is, has a length of 0, as in a capture on a device with segmentation offload.
pub(super) fn datagram(
    local: SocketAddr,
    peer: SocketAddr,
    tos: u8,
    is_out: bool,
    payload_octets: usize,
    out: &mut Vec<u8>,
) -> usize {
    let (from, to) = if is_out { (local, peer) } else { (peer, local) };
    let before = out.len();
    let length = |octets: usize| u16::try_from(octets).unwrap_or_default().to_be_bytes();
    match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = [0; 20];
            (header[0], header[1]) = (0x45, tos);
            header[2..4].copy_from_slice(&length(28 + payload_octets));
            (header[8], header[9]) = (TTL, UDP);
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum);
            out.extend(header);
        }
        (source, destination) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv6Addr::UNSPECIFIED.octets(),
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            out.extend([0x60 | tos >> 4, tos << 4, 0, 0]);
            out.extend(length(8 + payload_octets));
            out.extend([UDP, TTL]);
            out.extend(octets(source));
            out.extend(octets(destination));
        }
    }
    out.extend(from.port().to_be_bytes());
    out.extend(to.port().to_be_bytes());
    out.extend(length(8 + payload_octets));
    out.extend([0, 0]);
    out.len() - before
}

/// The internet checksum of a header (RFC 1071).
fn checksum(header: &[u8; 20]) -> [u8; 2] {
    let words = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (!(sum as u16)).to_be_bytes()
}
