//! Inner frames: with the ether type for experiments, which no host's stack answers, and with IP inside.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) type Mac = [u8; 6];

pub(crate) const BROADCAST: Mac = [0xff; 6];

/// "Local Experimental Ethertype 1" and 2 of IEEE 802: for what is tested, and for marks between.
const SUBJECT: [u8; 2] = [0x88, 0xb5];
const MARK: [u8; 2] = [0x88, 0xb6];

/// A unicast MAC address.
pub(crate) fn mac(number: u8) -> Mac {
    [2, 0xbb, 0, 0, 0, number]
}

/// The MAC address that marks go to and come from.
pub(crate) fn mark_mac(number: u8) -> Mac {
    [2, 0xff, 0, 0, 0, number]
}

/// A multicast MAC address.
pub(crate) fn multicast(number: u8) -> Mac {
    [1, 0, 0x5e, 1, 1, number]
}

/// As `bridge fdb` prints it.
pub(crate) fn show(mac: Mac) -> String {
    let mut text = String::new();
    for (position, octet) in mac.iter().enumerate() {
        let _ = write!(text, "{}{octet:02x}", if position == 0 { "" } else { ":" });
    }
    text
}

/// A frame of 60 octets that differs from every other; `tags` stand between its addresses and its ether type.
pub(crate) fn frame(destination: Mac, source: Mac, tags: &[u8]) -> Vec<u8> {
    build(destination, source, tags, SUBJECT, serial())
}

pub(crate) fn mark(destination: Mac, source: Mac) -> Vec<u8> {
    build(destination, source, &[], MARK, serial())
}

pub(crate) fn is_mark(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&MARK[..])
}

fn serial() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn build(destination: Mac, source: Mac, tags: &[u8], ether_type: [u8; 2], serial: u32) -> Vec<u8> {
    let mut frame = [&destination[..], &source, tags, &ether_type, &serial.to_be_bytes()].concat();
    frame.resize(60.max(frame.len()), 0x5a);
    frame
}

/// A frame with a UDP packet inside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inner {
    pub(crate) v6: bool,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) source_port: u16,
}

impl Inner {
    pub(crate) const V4: Inner =
        Inner { v6: false, tos: 0, ttl: 33, dont_fragment: false, source_port: 1000 };
    pub(crate) const V6: Inner = Inner { v6: true, ..Inner::V4 };

    /// The frame; `octets` of UDP payload.
    pub(crate) fn frame(&self, destination: Mac, source: Mac, octets: usize) -> Vec<u8> {
        let length = (8 + octets) as u16;
        let mut udp =
            [&self.source_port.to_be_bytes()[..], &[0x13, 0x88], &length.to_be_bytes(), &[0; 2]].concat();
        udp.extend((0..octets).map(|position| position as u8));
        let (ether_type, ip) = if self.v6 {
            let mut ip = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
            ip.extend(length.to_be_bytes());
            ip.extend([17, self.ttl]);
            for last in [1, 2] {
                ip.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
            }
            let sum = pseudo_sum(&ip[8..40], &udp);
            udp[6..8].copy_from_slice(&sum.to_be_bytes());
            ([0x86, 0xdd], ip)
        } else {
            let df = if self.dont_fragment { 0x40 } else { 0 };
            let mut ip = vec![0x45, self.tos];
            ip.extend((20 + length).to_be_bytes());
            ip.extend([0, 1, df, 0, self.ttl, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            let sum = pseudo_sum(&ip[12..20], &udp);
            udp[6..8].copy_from_slice(&sum.to_be_bytes());
            ([0x08, 0x00], ip)
        };
        [&destination[..], &source, &ether_type, &ip, &udp].concat()
    }
}

/// The frame with a tag between its addresses and its ether type.
pub(crate) fn tagged(frame: &[u8], tag: [u8; 4]) -> Vec<u8> {
    [&frame[..12], &tag, &frame[12..]].concat()
}

/// The TOS or traffic class of a frame's IP packet, behind one tag if there is one, if its IPv4 header checksum is right.
pub(crate) fn tos_of(frame: &[u8]) -> Option<u8> {
    match (frame.get(12..14)?, frame.get(14..)?) {
        ([0x81, 0x00], _) => tos_of(&[&frame[..12], frame.get(16..)?].concat()),
        ([0x08, 0x00], packet) => (checksum(&[packet.get(..20)?]) == 0).then(|| packet[1]),
        ([0x86, 0xdd], packet) => Some(packet.first()? << 4 | packet.get(1)? >> 4),
        _ => None,
    }
}

/// The UDP checksum (RFC 768): over both addresses, protocol and length, and the datagram.
pub(crate) fn pseudo_sum(addresses: &[u8], udp: &[u8]) -> u16 {
    let length = (udp.len() as u16).to_be_bytes();
    match checksum(&[addresses, &[0, 17], &length, udp]) {
        0 => 0xffff,
        sum => sum,
    }
}

/// RFC 1071; every part but the last has an even length.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The VXLAN header of RFC 7348 section 5 with flag I and this VNI.
pub(crate) fn header(vni: u32) -> [u8; 8] {
    let [_, a, b, c] = vni.to_be_bytes();
    [8, 0, 0, 0, a, b, c, 0]
}

/// A header and a frame.
pub(crate) fn datagram(header: [u8; 8], frame: &[u8]) -> Vec<u8> {
    [&header[..], frame].concat()
}
