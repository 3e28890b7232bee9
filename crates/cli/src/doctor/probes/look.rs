//! What arrives on the underlay's link for the tunnel's port, before any filter of this host has seen it (packet(7)).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use vxgate_codec::layers::{Fragment, Layers, protocol};
use vxgate_codec::vxlan::Header;
use vxgate_sys::packet::{PacketOptions, PacketSocket};

use crate::doctor::now;

/// Sources that are told apart, and VNIs of each; of more, the first ones.
const SOURCES_MAX: usize = 64;
const VNIS_MAX: usize = 8;

/// What was seen, or why nothing could be.
pub(crate) type Seen = Result<BTreeMap<IpAddr, Sender>, io::Error>;

/// What one address sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sender {
    /// Datagrams to the tunnel's address and port.
    pub(crate) datagrams: u64,
    /// The VNIs in them.
    pub(crate) vnis: BTreeSet<u32>,
}

/// Looks until then; needs CAP_NET_RAW.
pub(crate) fn look(link: &str, port: u16, local: Option<IpAddr>, until: Instant) -> Seen {
    let socket = PacketSocket::open(link, &PacketOptions { ignore_outgoing: true, promiscuous: false })?;
    let mut senders = BTreeMap::new();
    let mut buffer = vec![0; 2048];
    loop {
        let left = until.saturating_duration_since(now());
        if left.is_zero() {
            return Ok(senders);
        }
        if let Some(octets) = socket.recv(&mut buffer, Some(left))? {
            note(&mut senders, &buffer[..octets], port, local);
        }
    }
}

/// Takes a frame into account, if it is for the tunnel.
fn note(senders: &mut BTreeMap<IpAddr, Sender>, frame: &[u8], port: u16, local: Option<IpAddr>) {
    let Some((source, datagram)) = datagram(frame, port, local) else { return };
    if !senders.contains_key(&source) && senders.len() >= SOURCES_MAX {
        return;
    }
    let sender = senders.entry(source).or_default();
    sender.datagrams += 1;
    if let Ok(header) = Header::parse(datagram)
        && sender.vnis.len() < VNIS_MAX
    {
        sender.vnis.insert(header.vni().get());
    }
}

/// The source and the payload of a datagram to this address and port.
fn datagram(frame: &[u8], port: u16, local: Option<IpAddr>) -> Option<(IpAddr, &[u8])> {
    let ip = Layers::parse(frame).ok()?.ip?;
    if ip.protocol != protocol::UDP || ip.fragment == Fragment::Later {
        return None;
    }
    let destination = ip.destination_address(frame)?;
    if local.is_some_and(|local| local != destination) {
        return None;
    }
    let udp = frame.get(ip.l4..ip.end)?;
    let (header, payload) = udp.split_first_chunk::<8>()?;
    (u16::from_be_bytes([header[2], header[3]]) == port).then_some((ip.source_address(frame)?, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram from 100.64.158.4 to 172.21.0.100, Ethernet and IPv4 headers as they matter here.
    fn frame(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + 8];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14] = 0x45;
        let octets = u16::try_from(28 + payload.len()).unwrap();
        frame[16..18].copy_from_slice(&octets.to_be_bytes());
        frame[22..24].copy_from_slice(&[64, 17]);
        frame[26..34].copy_from_slice(&[100, 64, 158, 4, 172, 21, 0, 100]);
        frame[36..38].copy_from_slice(&port.to_be_bytes());
        frame.extend(payload);
        frame
    }

    #[test]
    fn datagrams_to_the_port_are_counted_by_sender_with_their_vnis() {
        let local = Some("172.21.0.100".parse().unwrap());
        let mut senders = BTreeMap::new();
        let vni = |vni: u8| [0x08, 0, 0, 0, 0, 0, vni, 0];
        for frame in [
            frame(4789, &vni(11)),
            frame(4789, &vni(10)),
            frame(4789, &vni(11)),
            frame(4789, &[0; 8]),
            frame(4790, &vni(9)),
            frame(4789, &[])[..30].to_vec(),
            vec![0; 13],
        ] {
            note(&mut senders, &frame, 4789, local);
        }
        note(&mut senders, &frame(4789, &vni(8)), 4789, Some("172.21.0.101".parse().unwrap()));
        let expected = Sender { datagrams: 4, vnis: [10, 11].into() };
        assert_eq!(senders, BTreeMap::from([("100.64.158.4".parse().unwrap(), expected)]));
    }

    #[test]
    fn a_flood_of_sources_and_vnis_has_bounds() {
        let mut senders = BTreeMap::new();
        for source in 0..200_u8 {
            for vni in 0..20 {
                let mut frame = frame(4789, &[0x08, 0, 0, 0, 0, 0, vni, 0]);
                frame[29] = source;
                note(&mut senders, &frame, 4789, None);
            }
        }
        assert_eq!(senders.len(), SOURCES_MAX);
        assert!(senders.values().all(|sender| sender.vnis.len() == VNIS_MAX && sender.datagrams == 20));
    }
}
