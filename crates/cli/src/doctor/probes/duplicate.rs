//! Who else in the overlay has this end's inner IPv4 addresses: an ARP probe (RFC 5227 section 2.1.1) on the tunnel's device, and the
//! answers. IPv6 has asked by itself when the address was given.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use ipnet::IpNet;
use vxgate_sys::packet::{PacketOptions, PacketSocket};

use crate::doctor::now;

/// Addresses that are asked for; of more, the first ones.
const ADDRESSES_MAX: usize = 8;

/// Octets of an Ethernet header and an ARP packet for IPv4 (RFC 826).
const ARP_OCTETS: usize = 14 + 28;

/// Who has which address, each pair once; or why nobody could be asked.
pub(crate) type Duplicates = Result<Vec<(Ipv4Addr, [u8; 6])>, io::Error>;

/// Asks, and listens until then; needs CAP_NET_RAW.
pub(crate) fn ask(dev: &str, mac: [u8; 6], addresses: &[IpNet], until: Instant) -> Duplicates {
    let own: Vec<Ipv4Addr> = addresses
        .iter()
        .filter_map(|address| match address.addr() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
        .take(ADDRESSES_MAX)
        .collect();
    let socket = PacketSocket::open(dev, &PacketOptions { ignore_outgoing: true, promiscuous: false })?;
    for &ip in &own {
        socket.send(&probe(mac, ip))?;
    }
    let mut others = Vec::new();
    let mut buffer = vec![0; 2048];
    loop {
        let left = until.saturating_duration_since(now());
        if left.is_zero() || own.is_empty() {
            return Ok(others);
        }
        let Some(octets) = socket.recv(&mut buffer, Some(left))? else { continue };
        if let Some((ip, other)) = claim(&buffer[..octets])
            && own.contains(&ip)
            && other != mac
            && !others.contains(&(ip, other))
        {
            others.push((ip, other));
        }
    }
}

/// Who has this address, asked by nobody: the sender's IP address is zero, so that no cache is touched.
fn probe(mac: [u8; 6], ip: Ipv4Addr) -> [u8; ARP_OCTETS] {
    let mut frame = [0; ARP_OCTETS];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    // ARP; Ethernet, IPv4, their lengths, request.
    frame[12..22].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[38..42].copy_from_slice(&ip.octets());
    frame
}

/// The address that an ARP packet, request or reply, claims for its sender.
fn claim(frame: &[u8]) -> Option<(Ipv4Addr, [u8; 6])> {
    let frame = frame.first_chunk::<ARP_OCTETS>()?;
    if frame[12..20] != [0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4] {
        return None;
    }
    let mac: [u8; 6] = frame[22..28].try_into().ok()?;
    let ip: [u8; 4] = frame[28..32].try_into().ok()?;
    Some((Ipv4Addr::from(ip), mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];

    #[test]
    fn a_probe_claims_nothing_and_an_answer_does() {
        let ip = Ipv4Addr::new(10, 225, 194, 171);
        let asked = probe(OURS, ip);
        assert_eq!(claim(&asked), Some((Ipv4Addr::UNSPECIFIED, OURS)));
        let mut answer = asked;
        answer[21] = 2;
        answer[22..28].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        answer[28..32].copy_from_slice(&ip.octets());
        assert_eq!(claim(&answer), Some((ip, [2, 0, 0, 0, 0, 9])));
        assert_eq!(claim(&answer[..41]), None);
        answer[13] = 0;
        assert_eq!(claim(&answer), None);
    }
}
