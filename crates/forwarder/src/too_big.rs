//! What the host hears of a frame that no path carries: ICMP "fragmentation needed", or ICMPv6 "packet too big".
//!
//! # Theory of operation
//!
//! ```text
//!   frame   to G from H | tags | IP  from S to D ......................... |   too long for the path
//!   answer  to H from G | tags | IP  from D to S | ICMP, MTU | IP from S to D ... |
//! ```
//!
//! The answer is what Linux's tunnels make for a bridge (`iptunnel_pmtud_build_icmp` and `iptunnel_pmtud_build_icmpv6` of
//! net/ipv4/ip_tunnel_core.c): it comes from the packet's own destination, since the tunnel has no address that every
//! sender could reach, and takes the frame's way back, VLAN tags and all. It is never an answer to an ICMP error, to a
//! fragment behind the first, to what went to a group, or to a packet that routers may cut (RFC 1812 section 4.3.2.7, RFC 4443
//! section 2.4): that one is dropped and counted, and nothing is said.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use vxgate_codec::ethernet;
use vxgate_codec::layers::protocol::{
    AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ICMP, ICMPV6, ROUTING,
};
use vxgate_codec::layers::{Fragment, IPV4_HEADER_OCTETS, IPV6_HEADER_OCTETS, Ip, IpVersion, Layers};
use vxgate_offload::checksum;

/// Length of the ICMP header with the MTU in it (RFC 1191 section 4, RFC 4443 section 3.2).
const ICMP_HEADER_OCTETS: usize = 8;

/// The longest ICMP error, in octets of IP: what every host takes (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 c).
const V4_OCTETS_MAX: usize = 576;
const V6_OCTETS_MAX: usize = 1280;

/// The smallest MTU that is worth telling: hosts take no smaller one seriously, and Linux's tunnels tell none
/// (`iptunnel_pmtud_check_icmp`; RFC 8200 section 5).
const V4_MTU_MIN: u32 = 576;
const V6_MTU_MIN: u32 = 1280;

/// Room for the longest answer, in octets.
pub(crate) const ANSWER_OCTETS: usize =
    ethernet::HEADER_OCTETS + ethernet::MAX_TAGS * ethernet::TAG_OCTETS + V6_OCTETS_MAX;

/// Writes the answer to `frame`, of which `room_octets` would fit the path from its destination address on, and returns its
/// length; `None` where there is none to give.
pub(crate) fn answer(frame: &[u8], room_octets: u32, out: &mut [u8; ANSWER_OCTETS]) -> Option<usize> {
    let layers = Layers::parse(frame).ok()?;
    let ip = layers.ip?;
    let mtu = room_octets.checked_sub(u32::try_from(layers.l3).ok()?)?;
    if ethernet::destination(frame)?.is_group()
        || ethernet::source(frame)?.is_group()
        || !is_answered(&ip, frame, mtu)
    {
        return None;
    }
    let (destination, rest) = frame.split_first_chunk::<6>()?;
    let source = rest.first_chunk::<6>()?;
    out[..6].copy_from_slice(source);
    out[6..12].copy_from_slice(destination);
    // Tags and EtherType.
    out[12..layers.l3].copy_from_slice(frame.get(12..layers.l3)?);
    let packet = &frame[layers.l3..ip.end];
    let addresses = [ip.destination(), ip.source()].map(|range| &frame[range]);
    let octets = match ip.version {
        IpVersion::V4 => write_v4(packet, ip.ttl, addresses, mtu, &mut out[layers.l3..]),
        IpVersion::V6 => write_v6(packet, ip.ttl, addresses, mtu, &mut out[layers.l3..]),
    };
    Some(layers.l3 + octets)
}

/// Whether such a packet is answered at all.
fn is_answered(ip: &Ip, frame: &[u8], mtu: u32) -> bool {
    let (Some(source), Some(destination)) = (ip.source_address(frame), ip.destination_address(frame)) else {
        return false;
    };
    let floor = match ip.version {
        IpVersion::V4 => V4_MTU_MIN,
        IpVersion::V6 => V6_MTU_MIN,
    };
    // Of IPv4, the kernel answers only a packet that says nothing of fragments but that it must not become any.
    let may_be_cut = match ip.version {
        IpVersion::V4 => !ip.dont_fragment || ip.fragment != Fragment::None,
        IpVersion::V6 => ip.fragment == Fragment::Later,
    };
    mtu >= floor && !may_be_cut && is_one_host(source) && !is_group(destination) && !is_icmp_error(ip, frame)
}

/// Whether an answer to this address reaches the one that it belongs to.
fn is_one_host(source: IpAddr) -> bool {
    let is_nobody = match source {
        IpAddr::V4(source) => source.octets()[0] == 0,
        IpAddr::V6(source) => source.is_unspecified(),
    };
    !is_nobody && !is_group(source) && !source.is_loopback()
}

fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// Errors, and redirects: `icmp_is_err` of linux/icmp.h; of ICMPv6 all that RFC 4443 section 2.1 calls errors, which the kernel knows
/// four of (`icmpv6_is_err` of linux/icmpv6.h); RFC 1122 section 3.2.2, RFC 4443
/// section 2.4 e. A message whose type is not there could be one, and so could what stands behind more extension headers than are
/// passed.
fn is_icmp_error(ip: &Ip, frame: &[u8]) -> bool {
    let kind = frame[..ip.end].get(ip.l4).copied();
    match (ip.version, ip.protocol) {
        (IpVersion::V4, ICMP) => kind.is_none_or(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12)),
        (IpVersion::V6, ICMPV6) => kind.is_none_or(|kind| kind < 128 || kind == 137),
        (IpVersion::V6, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS) => true,
        (_, _) => false,
    }
}

/// RFC 792 "destination unreachable", code 4, with the MTU of RFC 1191.
fn write_v4(packet: &[u8], ttl: u8, addresses: [&[u8]; 2], mtu: u32, out: &mut [u8]) -> usize {
    let quote = &packet[..packet.len().min(V4_OCTETS_MAX - IPV4_HEADER_OCTETS - ICMP_HEADER_OCTETS)];
    let octets = IPV4_HEADER_OCTETS + ICMP_HEADER_OCTETS + quote.len();
    let (header, message) = out[..octets].split_at_mut(IPV4_HEADER_OCTETS);
    message[..ICMP_HEADER_OCTETS].copy_from_slice(&[3, 4, 0, 0, 0, 0, 0, 0]);
    // One that is larger cannot be said; no frame is.
    message[6..8].copy_from_slice(&u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes());
    message[ICMP_HEADER_OCTETS..].copy_from_slice(quote);
    let sum = !checksum::fold(checksum::add(0, message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    // At most 576.
    let [high, low] = (octets as u16).to_be_bytes();
    header[..12].copy_from_slice(&[0x45, 0, high, low, 0, 0, 0x40, 0, ttl, ICMP, 0, 0]);
    write_addresses(addresses, &mut header[12..]);
    let sum = checksum::ipv4_header(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    octets
}

/// RFC 4443 section 3.2.
fn write_v6(packet: &[u8], hop_limit: u8, addresses: [&[u8]; 2], mtu: u32, out: &mut [u8]) -> usize {
    let quote = &packet[..packet.len().min(V6_OCTETS_MAX - IPV6_HEADER_OCTETS - ICMP_HEADER_OCTETS)];
    let octets = IPV6_HEADER_OCTETS + ICMP_HEADER_OCTETS + quote.len();
    let (header, message) = out[..octets].split_at_mut(IPV6_HEADER_OCTETS);
    // At most 1240.
    let [high, low] = (message.len() as u16).to_be_bytes();
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, high, low, ICMPV6, hop_limit]);
    write_addresses(addresses, &mut header[8..]);

    message[..4].copy_from_slice(&[2, 0, 0, 0]);
    message[4..8].copy_from_slice(&mtu.to_be_bytes());
    message[ICMP_HEADER_OCTETS..].copy_from_slice(quote);
    let seed = checksum::pseudo_header(&header[8..], ICMPV6, message.len());
    let sum = !checksum::fold(checksum::add(seed, message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    octets
}

fn write_addresses([first, second]: [&[u8]; 2], out: &mut [u8]) {
    let places: [Range<usize>; 2] = [0..first.len(), first.len()..2 * first.len()];
    let [at_first, at_second] = places;
    out[at_first].copy_from_slice(first);
    out[at_second].copy_from_slice(second);
}

/// Answers in a row, and for each second after that: the kernel's own limits for ICMP that it sends
/// (`net.ipv4.icmp_msgs_burst`, `net.ipv4.icmp_msgs_per_sec`).
const BURST: u32 = 50;
const PER_SECOND: u32 = 1000;

/// How many answers may be given now: a bucket that fills by [`PER_SECOND`] up to [`BURST`].
#[derive(Debug)]
pub(crate) struct Allowance {
    left: u32,
    filled: Duration,
}

impl Allowance {
    pub(crate) const FULL: Allowance = Allowance { left: BURST, filled: Duration::ZERO };

    /// Whether one more may be given; takes it.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let since = now.saturating_sub(self.filled);
        let more = since.as_micros() * u128::from(PER_SECOND) / 1_000_000;
        if more > 0 {
            self.left = u32::try_from(more).unwrap_or(BURST).saturating_add(self.left).min(BURST);
            self.filled = now;
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const GATE: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const S4: [u8; 4] = [10, 0, 0, 1];
    const D4: [u8; 4] = [10, 0, 0, 2];
    const S6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const D6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    const TAG: [u8; 4] = [0x81, 0, 0x20, 7];

    fn ethernet(tags: usize, ether_type: u16) -> Vec<u8> {
        [&GATE[..], &HOST, &TAG.repeat(tags), &ether_type.to_be_bytes()].concat()
    }

    fn v4(tags: usize, flags: u8, protocol: u8, payload: usize) -> Vec<u8> {
        let mut frame = ethernet(tags, 0x0800);
        let [high, low] = ((20 + payload) as u16).to_be_bytes();
        frame.extend([0x45, 0xb8, high, low, 0x12, 0x34, flags, 0, 63, protocol, 0, 0]);
        frame.extend([S4, D4].concat());
        frame.extend((0..payload).map(|at| at as u8));
        frame
    }

    fn v6(tags: usize, next_header: u8, payload: usize) -> Vec<u8> {
        let mut frame = ethernet(tags, 0x86dd);
        let [high, low] = (payload as u16).to_be_bytes();
        frame.extend([0x6b, 0x81, 2, 3, high, low, next_header, 63]);
        frame.extend([S6, D6].concat());
        frame.extend((0..payload).map(|at| 200 - at as u8 % 100));
        frame
    }

    /// The answer where the path carries 1450 octets behind an Ethernet header without tags.
    fn answered(frame: &[u8]) -> Option<Vec<u8>> {
        let mut out = [0xa5; ANSWER_OCTETS];
        let octets = answer(frame, 1464, &mut out)?;
        Some(out[..octets].to_vec())
    }

    #[test]
    fn an_ipv4_packet_is_answered_by_its_destination_with_what_fits() {
        for tags in 0..=2 {
            let frame = v4(tags, 0x40, 17, 1472);
            let answer = answered(&frame).unwrap();
            let l3 = 14 + 4 * tags;
            let expected = [&HOST[..], &GATE, &TAG.repeat(tags), &[8, 0]].concat();
            assert_eq!(answer[..l3], expected);
            let ip = &answer[l3..];
            assert_eq!(ip.len(), V4_OCTETS_MAX);
            assert_eq!(ip[..10], [0x45, 0, 2, 64, 0, 0, 0x40, 0, 63, ICMP]);
            assert_eq!(checksum::fold(checksum::add(0, &ip[..20])), 0xffff);
            assert_eq!(ip[12..20], [D4, S4].concat());
            assert_eq!(checksum::fold(checksum::add(0, &ip[20..])), 0xffff);
            assert_eq!((ip[20], ip[21]), (3, 4));
            assert_eq!(u16::from_be_bytes([ip[26], ip[27]]), 1450 - 4 * tags as u16);
            assert_eq!(ip[28..], frame[l3..][..548], "the quote");
        }
    }

    #[test]
    fn an_ipv6_packet_is_answered_by_its_destination_with_what_fits() {
        for tags in 0..=2 {
            let frame = v6(tags, 17, 1460);
            let answer = answered(&frame).unwrap();
            let l3 = 14 + 4 * tags;
            let ip = &answer[l3..];
            assert_eq!(ip.len(), V6_OCTETS_MAX);
            assert_eq!(ip[..8], [0x60, 0, 0, 0, 4, 216, ICMPV6, 63]);
            assert_eq!(ip[8..40], [D6, S6].concat());
            let seed = checksum::pseudo_header(&ip[8..40], ICMPV6, ip.len() - 40);
            assert_eq!(checksum::fold(checksum::add(seed, &ip[40..])), 0xffff);
            assert_eq!((ip[40], ip[41]), (2, 0));
            assert_eq!(u32::from_be_bytes([ip[44], ip[45], ip[46], ip[47]]), 1450 - 4 * tags as u32);
            assert_eq!(ip[48..], frame[l3..][..1232], "the quote");
        }
    }

    #[test]
    fn what_no_router_answers_is_not_answered() {
        let change = |mut frame: Vec<u8>, at: usize, octets: &[u8]| {
            frame[at..at + octets.len()].copy_from_slice(octets);
            frame
        };
        let (whole, whole6) = (v4(0, 0x40, 17, 1472), v6(0, 17, 1460));
        let mut later = v6(0, 44, 1460);
        later[54..58].copy_from_slice(&[17, 0, 0, 8]);
        let mut hidden = v6(0, DESTINATION_OPTIONS, 1460);
        for header in 0..9 {
            hidden[54 + 8 * header..][..2].copy_from_slice(&[DESTINATION_OPTIONS, 0]);
        }
        hidden[54 + 8 * 8] = ICMPV6;
        hidden[54 + 8 * 9] = 2;
        for (why, frame) in [
            ("routers may cut it", v4(0, 0, 17, 1472)),
            ("it is a first fragment", v4(0, 0x60, 17, 1472)),
            ("it is a later fragment", change(whole.clone(), 21, &[1])),
            ("it is a later fragment", later),
            ("its frame went to a group", change(whole.clone(), 0, &[1, 0, 0x5e, 1, 1, 1])),
            ("its frame went to all", change(whole.clone(), 0, &[0xff; 6])),
            ("its frame came from a group", change(whole.clone(), 6, &[0xff; 6])),
            ("it may be an error", hidden),
            ("it went to a group", change(whole.clone(), 30, &[239, 1, 1, 1])),
            ("it went to all", change(whole.clone(), 30, &[255; 4])),
            ("it went to a group", change(whole6.clone(), 38, &[0xff, 2])),
            ("it came from nobody", change(whole.clone(), 26, &[0; 4])),
            ("it came from loopback", change(whole.clone(), 26, &[127, 0, 0, 1])),
            ("it came from a group", change(whole.clone(), 26, &[224, 0, 0, 5])),
            ("it came from nobody", change(whole6.clone(), 22, &[0; 16])),
            ("it came from a group", change(whole6.clone(), 22, &[0xff, 2])),
            ("it is an error", change(v4(0, 0x40, ICMP, 1472), 34, &[3, 4])),
            ("it is a redirect", change(v4(0, 0x40, ICMP, 1472), 34, &[5])),
            ("it is an error", change(v6(0, ICMPV6, 1460), 54, &[2, 0])),
            ("it is a redirect", change(v6(0, ICMPV6, 1460), 54, &[137])),
            ("it may be an error", v4(0, 0x40, ICMP, 0)),
            ("it is no IP", change(whole.clone(), 12, &[0x88, 0xcc])),
            ("its header lies", change(whole.clone(), 16, &[0xff, 0xff])),
            ("there is hardly a header", whole[..15].to_vec()),
            ("there is none", Vec::new()),
        ] {
            assert_eq!(answered(&frame), None, "{why}");
        }
        assert!(answered(&change(v4(0, 0x40, ICMP, 1472), 34, &[8, 0])).is_some(), "an echo request is none");
        assert!(answered(&change(v6(0, ICMPV6, 1460), 54, &[128, 0])).is_some());
    }

    #[test]
    fn no_host_is_told_of_an_mtu_below_what_all_must_carry() {
        let mut out = [0; ANSWER_OCTETS];
        let (frame, frame6) = (v4(0, 0x40, 17, 1472), v6(0, 17, 1460));
        assert!(answer(&frame, 14 + 576, &mut out).is_some());
        assert_eq!(answer(&frame, 14 + 575, &mut out), None);
        assert!(answer(&frame6, 14 + 1280, &mut out).is_some());
        assert_eq!(answer(&frame6, 14 + 1279, &mut out), None);
        assert_eq!(answer(&frame, 3, &mut out), None);
    }

    #[test]
    fn a_short_packet_is_quoted_whole_and_without_its_padding() {
        let mut frame = v4(0, 0x40, 17, 100);
        frame.extend([0; 40]);
        let mut out = [0; ANSWER_OCTETS];
        let octets = answer(&frame, 14 + 600, &mut out).unwrap();
        assert_eq!(out[14 + 28..octets], frame[14..14 + 120]);
    }

    #[test]
    fn no_octets_make_it_panic_and_every_answer_is_a_packet() {
        let frames = [v4(0, 0x40, 17, 1472), v4(2, 0x40, ICMP, 1000), v6(1, 44, 1460), v6(0, ICMPV6, 1300)];
        for frame in frames {
            for (at, octet) in (0..90).flat_map(|at| (0..=255).map(move |octet| (at, octet))) {
                let mut damaged = frame.clone();
                damaged[at] = octet;
                for cut in [damaged.len(), 14 + at] {
                    for room in [0, 17, 600, 1464, u32::MAX] {
                        let mut out = [0; ANSWER_OCTETS];
                        if let Some(octets) = answer(&damaged[..cut], room, &mut out) {
                            let layers = Layers::parse(&out[..octets]).expect("a frame");
                            assert_eq!(layers.ip.expect("a packet").end, octets);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn answers_are_held_back_beyond_a_burst_and_come_again_with_time() {
        let mut allowance = Allowance::FULL;
        let given = |allowance: &mut Allowance, now| (0..200).filter(|_| allowance.take(now)).count();
        assert_eq!(given(&mut allowance, Duration::from_secs(1)), 50);
        assert_eq!(given(&mut allowance, Duration::from_micros(1_000_999)), 0);
        assert_eq!(given(&mut allowance, Duration::from_millis(1010)), 10);
        assert_eq!(given(&mut allowance, Duration::from_secs(60)), 50);
        assert_eq!(given(&mut allowance, Duration::ZERO), 0, "a clock that goes back gives nothing");
    }
}
