//! Datagrams of the tunnel itself, within the tunnel: a route that leads a peer's outer address into it makes them.
//!
//! ```text
//!   host: frame ──► tunnel: datagram to the peer ──► routing: by the tunnel's device ──► tunnel: a frame with that datagram ──► ...
//! ```
//!
//! Each round would add a header, and never end. So a frame that carries a VXLAN datagram from this VTEP's own address, or to it, is
//! dropped the first time that it is seen: what is lost is one datagram for each that the host sends, and nothing goes round twice.
//! Tunnels of other machines, and this host's from other addresses, pass.
//!
//! What is looked at: IPv4 without options and IPv6 without extension headers, as the host's own sockets send them, untagged. A datagram
//! of the tunnel is never a fragment.

use std::net::{IpAddr, SocketAddr};

use vxgate_codec::ethernet;

/// Where the IP header begins.
const IP: usize = ethernet::HEADER_OCTETS;
/// The protocol's number (RFC 768).
const UDP: u8 = 17;

/// The address and port of this VTEP, as they stand in headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnDatagram {
    address: Octets,
    /// In the order of the network.
    port: [u8; 2],
}

#[derive(Clone, Copy, Debug)]
enum Octets {
    V4([u8; 4]),
    V6([u8; 16]),
}

impl OwnDatagram {
    /// Of a VTEP at this address; none where the address is not known.
    pub(crate) fn of(local: SocketAddr) -> Option<OwnDatagram> {
        let address = match local.ip().to_canonical() {
            ip if ip.is_unspecified() => return None,
            IpAddr::V4(ip) => Octets::V4(ip.octets()),
            IpAddr::V6(ip) => Octets::V6(ip.octets()),
        };
        Some(OwnDatagram { address, port: local.port().to_be_bytes() })
    }

    /// Whether this frame of the host is one that this VTEP has sent.
    #[inline]
    pub(crate) fn is_from_here(&self, frame: &[u8]) -> bool {
        match &self.address {
            // Hardly any frame comes from the outer address: one comparison.
            Octets::V4(own) => frame.get(IP + 12..IP + 16) == Some(own) && self.is_vxlan_v4(frame),
            Octets::V6(own) => frame.get(IP + 8..IP + 24) == Some(own) && self.is_vxlan_v6(frame),
        }
    }

    /// Whether this frame of a peer is for this VTEP.
    #[inline]
    pub(crate) fn is_for_here(&self, frame: &[u8]) -> bool {
        match &self.address {
            Octets::V4(own) => frame.get(IP + 16..IP + 20) == Some(own) && self.is_vxlan_v4(frame),
            Octets::V6(own) => frame.get(IP + 24..IP + 40) == Some(own) && self.is_vxlan_v6(frame),
        }
    }

    #[cold]
    fn is_vxlan_v4(&self, frame: &[u8]) -> bool {
        frame.get(12..IP + 1) == Some(&[0x08, 0x00, 0x45])
            && frame.get(IP + 9) == Some(&UDP)
            && frame.get(IP + 22..IP + 24) == Some(&self.port)
    }

    #[cold]
    fn is_vxlan_v6(&self, frame: &[u8]) -> bool {
        frame.get(12..14) == Some(&[0x86, 0xdd])
            && frame.get(IP + 6) == Some(&UDP)
            && frame.get(IP + 42..IP + 44) == Some(&self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with a UDP datagram from and to these addresses, to this port.
    fn frame(from: &str, to: &str, port: u16) -> Vec<u8> {
        let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = match (from.parse().unwrap(), to.parse().unwrap()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => builder.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => builder.ipv6(from.octets(), to.octets(), 64),
            _ => panic!("one family"),
        };
        let builder = builder.udp(4789, port);
        let mut frame = Vec::new();
        builder.write(&mut frame, &[8, 0, 0, 0, 0, 0, 10, 0]).unwrap();
        frame
    }

    fn own(local: &str) -> OwnDatagram {
        OwnDatagram::of(local.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_datagram_of_the_tunnel_itself_is_known_in_both_directions_and_others_are_not() {
        for (local, here, there) in [
            ("172.21.0.100:4789", "172.21.0.100", "100.64.158.4"),
            ("[2001:db8::1]:4789", "2001:db8::1", "2001:db8::2"),
        ] {
            let own = own(local);
            assert!(own.is_from_here(&frame(here, there, 4789)), "{local}");
            assert!(!own.is_for_here(&frame(here, there, 4789)), "{local}");
            assert!(own.is_for_here(&frame(there, here, 4789)), "{local}");
            assert!(!own.is_from_here(&frame(there, here, 4789)), "{local}");
            assert!(!own.is_from_here(&frame(here, there, 53)), "another service of this host");
            assert!(!own.is_from_here(&frame(there, there, 4789)), "another machine's tunnel");
        }
        assert!(OwnDatagram::of("0.0.0.0:4789".parse().unwrap()).is_none());
    }

    #[test]
    fn no_octets_make_it_panic_and_half_a_header_is_nobodys() {
        let own = own("172.21.0.100:4789");
        let whole = frame("172.21.0.100", "172.21.0.100", 4789);
        for length in 0..IP + 24 {
            assert!(!own.is_from_here(&whole[..length]) && !own.is_for_here(&whole[..length]), "{length}");
        }
    }
}
