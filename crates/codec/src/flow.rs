//! One number per flow, and the outer source port that it becomes.
//!
//! RFC 7348 section 5 asks for a source port from a hash of the inner frame, so that routers and receive queues of the
//! underlay spread flows and keep each in order. What belongs to a flow:
//!
//! | frame | hashed |
//! |---|---|
//! | IP with TCP, UDP, UDP-Lite or SCTP | VLAN identifiers, addresses, protocol, ports |
//! | other IP | VLAN identifiers, addresses, protocol |
//! | a fragment of IP, the first too | VLAN identifiers, addresses |
//! | anything else | VLAN identifiers, MAC addresses, EtherType |
//!
//! A fragment hashes no protocol: only the first one has to name it rightly (RFC 8200 section 4.5), and all must go
//! the same way. No VLAN tag and VLAN identifier 0 are the same (IEEE 802.1Q clause 6.9: priority only).

use core::ops::RangeInclusive;

use crate::ethernet::{HEADER_OCTETS, TAG_OCTETS};
use crate::layers::{Fragment, Ip, IpVersion, Layers, protocol};
use crate::octets::{u16_at, u32_at, u64_at};
use crate::{MacAddr, ethernet};

/// The outer source ports that RFC 7348 section 5 recommends: the dynamic ports of RFC 6335.
pub const SOURCE_PORTS: RangeInclusive<u16> = 49152..=65535;

/// Hashes what identifies the flow of a frame; see the table of this module. Frames of one flow and one direction hash
/// to the same number, whatever their payload; the two directions of a conversation do not.
///
/// `key` should be random and secret, one per process: without it nobody can choose flows that share a port. The hash
/// is fast, not cryptographic. Takes any bytes: a frame without an Ethernet header hashes to a number of the key alone.
#[inline]
#[must_use]
pub fn flow_hash(frame: &[u8], key: u64) -> u32 {
    flow_hash_of(frame, Layers::parse(frame).ok().as_ref(), key)
}

/// As [`flow_hash`], for a frame whose layers are known: what [`Layers::parse`] says of it, `None` where that is an error.
#[inline]
#[must_use]
pub fn flow_hash_of(frame: &[u8], layers: Option<&Layers>, key: u64) -> u32 {
    let hash = Hash(key);
    let Some(layers) = layers else {
        return hash.absorb_macs(frame).finish();
    };
    match layers.ip {
        Some(ip) => {
            hash.absorb_addresses(frame, &ip).absorb(vids(frame, layers) << 40 | transport(frame, &ip))
        }
        None => hash.absorb_macs(frame).absorb(vids(frame, layers) << 40 | u64::from(layers.ether_type.0)),
    }
    .finish()
}

/// Maps a hash evenly onto `range`: each port takes the same share of all hashes, to within one in 2^32. An empty range
/// gives its start.
#[inline]
#[must_use]
pub fn source_port(hash: u32, range: RangeInclusive<u16>) -> u16 {
    let ports = u64::from(range.end().saturating_sub(*range.start())) + 1;
    // Below `ports`, hence at most `end - start`: neither the cast nor the sum loses anything.
    range.start().saturating_add(((u64::from(hash) * ports) >> 32) as u16)
}

/// The identifiers of the VLAN tags: 12 bits of the first, 12 of the second.
#[inline]
fn vids(frame: &[u8], layers: &Layers) -> u64 {
    if layers.vlan_tags == 0 {
        return 0;
    }
    let vid = |offset| u64::from(u16_at(frame, offset).unwrap_or_default() & 0x0fff);
    let inner = if layers.vlan_tags > 1 { vid(HEADER_OCTETS + TAG_OCTETS) } else { 0 };
    inner << 12 | vid(HEADER_OCTETS)
}

/// 40 bits: the protocol, and both ports where there are any. 0 for a fragment.
#[inline]
fn transport(frame: &[u8], ip: &Ip) -> u64 {
    if ip.fragment != Fragment::None {
        return 0;
    }
    let ports = match ip.protocol {
        // Both ports are the first four octets of each of these headers.
        protocol::TCP | protocol::UDP | protocol::SCTP | protocol::UDP_LITE if ip.l4 + 4 <= ip.end => {
            u32_at(frame, ip.l4).unwrap_or_default()
        }
        _ => 0,
    };
    u64::from(ip.protocol) << 32 | u64::from(ports)
}

/// Takes in 64 bits at a time: multiply to 128 bits, fold the halves together. The key is where it starts, so that
/// which inputs collide depends on the key.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    /// The golden ratio's first 64 bits, odd: any odd number with bits set all over serves.
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

    #[inline]
    const fn absorb(self, word: u64) -> Hash {
        let product = (self.0 ^ word) as u128 * Self::MULTIPLIER as u128;
        Hash((product >> 64) as u64 ^ product as u64)
    }

    #[inline]
    fn absorb_macs(self, frame: &[u8]) -> Hash {
        let destination = ethernet::destination(frame).map_or(0, MacAddr::to_bits);
        let source = ethernet::source(frame).map_or(0, MacAddr::to_bits);
        self.absorb(destination).absorb(source)
    }

    #[inline]
    fn absorb_addresses(self, frame: &[u8], ip: &Ip) -> Hash {
        let start = ip.source().start;
        // `Layers::parse` saw both addresses, so that each read finds its octets.
        let word = |index: usize| u64_at(frame, start + 8 * index).unwrap_or_default();
        match ip.version {
            IpVersion::V4 => self.absorb(word(0)),
            IpVersion::V6 => self.absorb(word(0)).absorb(word(1)).absorb(word(2)).absorb(word(3)),
        }
    }

    /// One more round, for the last word to reach every bit.
    #[inline]
    const fn finish(self) -> u32 {
        (self.absorb(Self::MULTIPLIER.rotate_left(32)).0 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    const KEY: u64 = 0x0123_4567_89ab_cdef;

    fn udp_v4(vids: &[u16], source: u16, destination: u16) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for vid in vids {
            frame.extend([0x81, 0x00]);
            frame.extend(vid.to_be_bytes());
        }
        frame.extend([0x08, 0x00, 0x45, 0, 0, 32, 0, 1, 0, 0, 64, protocol::UDP, 0, 0]);
        frame.extend([192, 0, 2, 1, 198, 51, 100, 2]);
        frame.extend(source.to_be_bytes());
        frame.extend(destination.to_be_bytes());
        frame.extend([0, 12, 0, 0, 1, 2, 3, 4]);
        frame
    }

    fn udp_v6() -> Vec<u8> {
        let mut frame =
            vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, protocol::UDP, 64];
        frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        frame.extend([0x12, 0x34, 0x56, 0x78, 0, 8, 0, 0]);
        frame
    }

    /// The hashes of `frame` and of each copy of it with one bit of `octets` turned.
    fn turned(frame: &[u8], octets: impl Iterator<Item = usize>) -> BTreeSet<u32> {
        let mut hashes = BTreeSet::from([flow_hash(frame, KEY)]);
        for octet in octets {
            for bit in 0..8 {
                let mut other = frame.to_vec();
                other[octet] ^= 1 << bit;
                hashes.insert(flow_hash(&other, KEY));
            }
        }
        hashes
    }

    #[test]
    fn every_bit_of_addresses_and_ports_counts() {
        assert_eq!(turned(&udp_v4(&[], 1, 2), 26..38).len(), 1 + 12 * 8);
        assert_eq!(turned(&udp_v6(), 22..58).len(), 1 + 36 * 8);
    }

    #[test]
    fn nothing_else_of_a_tcp_or_udp_packet_counts() {
        let v4 = udp_v4(&[], 1, 2);
        // MAC addresses, TOS, identification, TTL, checksum, length and checksum of UDP, payload.
        assert_eq!(turned(&v4, (0..12).chain([15, 18, 19, 22, 24, 25]).chain(38..v4.len())).len(), 1);
        let v6 = udp_v6();
        // MAC addresses, flow label, hop limit, length and checksum of UDP.
        assert_eq!(turned(&v6, (0..12).chain([16, 17, 21]).chain(58..v6.len())).len(), 1);
    }

    #[test]
    fn protocols_with_ports_hash_them_and_others_do_not() {
        for (number, ports) in [
            (protocol::TCP, true),
            (protocol::UDP, true),
            (protocol::SCTP, true),
            (protocol::UDP_LITE, true),
            (protocol::ICMP, false),
            (47, false),
        ] {
            let mut frame = udp_v4(&[], 1, 2);
            frame[23] = number;
            assert_eq!(turned(&frame, 34..38).len() > 1, ports, "protocol {number}");
        }
    }

    #[test]
    fn protocols_differ() {
        let mut tcp = udp_v4(&[], 1, 2);
        tcp[23] = protocol::TCP;
        assert_ne!(flow_hash(&tcp, KEY), flow_hash(&udp_v4(&[], 1, 2), KEY));
    }

    #[test]
    fn vlan_identifiers_count_and_priorities_do_not() {
        let hashes: BTreeSet<_> = [&[][..], &[1], &[2], &[1, 2], &[2, 1], &[0, 1]]
            .map(|vids| flow_hash(&udp_v4(vids, 1, 2), KEY))
            .into();
        assert_eq!(hashes.len(), 6);
        assert_eq!(flow_hash(&udp_v4(&[0xf001], 1, 2), KEY), flow_hash(&udp_v4(&[1], 1, 2), KEY));
        assert_eq!(flow_hash(&udp_v4(&[0], 1, 2), KEY), flow_hash(&udp_v4(&[], 1, 2), KEY));
    }

    #[test]
    fn all_fragments_of_a_datagram_hash_alike() {
        let fragment = |flags: u8, offset: u8, ports: u16| {
            let mut frame = udp_v4(&[7], ports, ports);
            (frame[24], frame[25]) = (flags, offset);
            flow_hash(&frame, KEY)
        };
        let first = fragment(0x20, 0, 0x1234);
        assert_eq!(first, fragment(0x20, 185, 0xabcd));
        assert_eq!(first, fragment(0x01, 114, 0));
        assert_ne!(first, flow_hash(&udp_v4(&[7], 0x1234, 0x1234), KEY));
    }

    #[test]
    fn ipv6_fragments_hash_alike_whatever_next_header_they_name() {
        let fragment = |next: u8, offset_and_flag: u8| {
            let mut frame = udp_v6();
            frame[19] = 16;
            frame[20] = protocol::FRAGMENT;
            frame.splice(54..54, [next, 0, 0, offset_and_flag, 0, 0, 0, 7]);
            flow_hash(&frame, KEY)
        };
        assert_eq!(fragment(protocol::UDP, 0x01), fragment(protocol::DESTINATION_OPTIONS, 0x08));
        assert_eq!(fragment(protocol::UDP, 0x00), flow_hash(&udp_v6(), KEY), "an atomic fragment is none");
    }

    #[test]
    fn ports_that_are_cut_off_or_only_padding_do_not_count() {
        let mut frame = udp_v4(&[], 1, 2);
        frame[17] = 22;
        assert_eq!(turned(&frame, 34..38).len(), 1);
    }

    #[test]
    fn frames_without_ip_hash_their_addresses_and_type() {
        let mut arp = vec![0xff; 6];
        arp.extend([2, 0, 0, 0, 0, 2, 0x08, 0x06]);
        arp.extend([0; 28]);
        assert_eq!(turned(&arp, 0..14).len(), 1 + 14 * 8);
        assert_eq!(turned(&arp, 14..arp.len()).len(), 1);
    }

    #[test]
    fn any_prefix_of_a_frame_has_a_hash() {
        let frame = udp_v4(&[1, 2], 3, 4);
        for octets in 0..frame.len() {
            let _ = flow_hash(&frame[..octets], KEY);
        }
    }

    #[test]
    fn the_key_decides_which_flows_share_a_port() {
        let port = |source, key| source_port(flow_hash(&udp_v4(&[], source, 53), key), 0..=15);
        let sharing =
            |key| (1..2000).filter(|source| port(*source, key) == port(0, key)).collect::<BTreeSet<u16>>();
        let (one, other) = (sharing(KEY), sharing(!KEY));
        assert!(one.len() > 80 && other.len() > 80, "{} {}", one.len(), other.len());
        assert!(one.intersection(&other).count() < 40);
    }

    #[test]
    fn a_turned_bit_turns_half_of_the_hash() {
        let frame = udp_v4(&[5], 40000, 443);
        let hash = flow_hash(&frame, KEY);
        let (mut turned, mut cases) = (0, 0);
        for octet in (15..16).chain(30..42) {
            for bit in 0..8 {
                let mut other = frame.clone();
                other[octet] ^= 1 << bit;
                turned += (flow_hash(&other, KEY) ^ hash).count_ones();
                cases += 1;
            }
        }
        let share = f64::from(turned) / f64::from(cases * 32);
        assert!((0.45..0.55).contains(&share), "{share}");
    }

    #[test]
    fn neighbouring_ports_fill_the_range_evenly() {
        // 65536 flows into 256 bins of 256; the deviation of a fair draw is 16.
        let mut bins = [0_u32; 256];
        for source in 0..=u16::MAX {
            let hash = flow_hash(&udp_v4(&[], source, 443), KEY);
            let port = source_port(hash, SOURCE_PORTS);
            bins[usize::from((port - 49152) / 64)] += 1;
        }
        assert!(bins.iter().all(|flows| (160..=352).contains(flows)), "{bins:?}");
    }

    #[test]
    fn source_ports_stay_in_their_range() {
        assert_eq!(source_port(0, SOURCE_PORTS), 49152);
        assert_eq!(source_port(u32::MAX, SOURCE_PORTS), 65535);
        assert_eq!(source_port(u32::MAX, 0..=u16::MAX), 65535);
        assert_eq!(source_port(u32::MAX, 4789..=4789), 4789);
        assert_eq!(source_port(0x7fff_ffff, 10..=11), 10);
        assert_eq!(source_port(0x8000_0000, 10..=11), 11);
        #[expect(clippy::reversed_empty_ranges, reason = "an empty range is what this asks about")]
        let empty = 20..=10;
        assert_eq!(source_port(u32::MAX, empty), 20);
    }
}
