//! How large packets may be: what a path carries, what the device gets of it, and superframes and segments after that.
//!
//! Pure sums over links, routes and configuration; nothing here asks or changes anything.

use std::net::IpAddr;

use ipnet::IpNet;
use vxgate_codec::tcp::MssLimit;
use vxgate_netlink::{Link, Route};

use super::error::UpError;
use crate::config::values::{MTU_OCTETS, MssClamp, Mtu};
use crate::config::{Family, UpConfig};

/// Octets of outer headers: Ethernet (inner) 14, VXLAN 8, UDP 8, IPv4 20 or IPv6 40 (RFC 7348, section 5).
const OVERHEAD_V4: u32 = 50;
const OVERHEAD_V6: u32 = 70;

/// The largest packet that `auto` expects to arrive at Gate peers: Ethernet's own. A VPC's jumbo frames end at the VPG, whose
/// own links no host can ask.
const GATE_PATH: u32 = 1500;

/// The smallest MTU that a device may have (`ETH_MIN_MTU`, linux/if_ether.h).
const MTU_MIN: u32 = 68;

/// The smallest MTU with which a device keeps its IPv6 addresses (RFC 8200 section 5).
const MTU_MIN_V6: u32 = 1280;

/// Octets of outer headers around an inner packet.
pub(crate) const fn overhead(family: Family) -> u32 {
    match family {
        Family::V4 => OVERHEAD_V4,
        Family::V6 => OVERHEAD_V6,
    }
}

/// What `auto` makes of a path that carries `outer` octets.
pub(super) fn inner_mtu(config: &UpConfig, outer: u32) -> u32 {
    let least = if config.addresses.iter().any(|address| matches!(address, IpNet::V6(_))) {
        MTU_MIN_V6
    } else {
        MTU_MIN
    };
    outer.saturating_sub(overhead(config.family)).clamp(least, u32::from(*MTU_OCTETS.end()))
}

/// What link and route towards `peer` are set to carry, in octets of the outer IP packet; `None` where nothing says by which link
/// it is reached. What the kernel has learned of the path from ICMP is no part of it: anybody could have made that up, and the
/// segment hears of it by itself.
pub(crate) fn carried(config: &UpConfig, links: &[Link], peer: IpAddr, route: Option<&Route>) -> Option<u16> {
    let link = match &config.underlay {
        Some(name) => links.iter().find(|link| link.name == name.as_str()),
        None => route.and_then(|route| links.iter().find(|link| Some(link.index) == route.link)),
    };
    let set = route.filter(|route| !route.mtu_learned).and_then(|route| route.mtu);
    let is_gate = config.mtu == Mtu::Auto && IpNet::V4(vxgate_gate::VPG_RANGE).contains(&peer);
    let ceiling = if is_gate { GATE_PATH } else { u32::from(u16::MAX) };
    let octets = link?.mtu.min(set.unwrap_or(u32::MAX)).min(ceiling);
    Some(u16::try_from(octets).unwrap_or(u16::MAX))
}

/// The segment size to lower TCP connections to, where inner packets may have `mtu` octets.
pub(super) fn mss_limit(config: &UpConfig, mtu: u32) -> Option<MssLimit> {
    match config.mss_clamp {
        MssClamp::Auto => Some(MssLimit::of_mtu(mtu)),
        MssClamp::Off => None,
        MssClamp::Octets(octets) => Some(MssLimit { v4: octets, v6: octets }),
    }
}

/// The device's MTU over a path that carries `outer` octets.
pub(crate) fn device_mtu(config: &UpConfig, outer: u32, notices: &mut Vec<String>) -> Result<u32, UpError> {
    let overhead = overhead(config.family);
    let room = outer.saturating_sub(overhead);
    match config.mtu {
        Mtu::Auto if room < MTU_MIN => Err(UpError::UnderlayTooSmall { outer, overhead }),
        Mtu::Auto => Ok(inner_mtu(config, outer)),
        Mtu::Octets(octets) => {
            if u32::from(octets) > room {
                notices.push(format!(
                    "--mtu {octets} is more than the {room} octets that the underlay's MTU of {outer} leaves: longer \
                     packets are dropped (too-big), and their senders told so"
                ));
            }
            Ok(octets.into())
        }
    }
}

/// What one `UDP_SEGMENT` send carries at most: octets of an IPv4 datagram's payload (RFC 768, RFC 791), and segments
/// (`UDP_MAX_SEGMENTS`, net/udp.h).
const SEND_OCTETS_MAX: u32 = 65_507;
const SEND_SEGMENTS_MAX: u32 = 128;

/// What a segment has in front of its layer-3 packet on the way out: VXLAN header and inner Ethernet header.
const SEGMENT_OVERHEAD: u32 = 8 + 14;

/// IPv4 and TCP headers with the timestamps that Linux sends (RFC 9293, RFC 7323): what a full packet holds besides its data.
const TCP_HEADERS: u32 = 20 + 20 + 12;

/// What the kernel's TCP takes off `gso_max_size` before it divides by the segment's data: `MAX_TCP_HEADER` and one octet more
/// (`sk_setup_caps`, net/core/sock.c), 160 to 320 octets by what the kernel was built with.
const TCP_RESERVE: u32 = 320 + 1;

/// The largest `gso_max_size`; more takes a header of its own in IPv6 (`GSO_LEGACY_MAX_SIZE`, linux/netdevice.h).
const GSO_OCTETS_MAX: u32 = 65_536;

/// The device's `gso_max_size`: superframes of a TCP stream that leave in one send each.
///
/// A superframe of TCP grows to 64 KiB of inner packets. On the way out each of its segments takes [`SEGMENT_OVERHEAD`] octets
/// more, so that the largest one exceeds a send by a few segments, which then take a send of their own: half of all sends would
/// carry two or three segments. At an MTU of 1450 a send carries 44 segments and a superframe has 46.
///
/// The kernel fills a superframe with as many whole segments as fit into `gso_max_size` less [`TCP_RESERVE`], and so takes 44 of
/// them where this is given. Segments with fewer headers (no timestamps) have more data: then it is one segment less. The size that
/// the kernel compares counts the frame with all its headers but once, and must be less than `gso_max_size`
/// (`gso_features_check`, net/core/dev.c); 44 segments are, since the reserve is longer than headers are.
pub(crate) fn gso_max_octets(mtu: u32) -> u32 {
    let segments = (SEND_OCTETS_MAX / (mtu + SEGMENT_OVERHEAD)).clamp(1, SEND_SEGMENTS_MAX);
    (segments * mtu.saturating_sub(TCP_HEADERS) + TCP_RESERVE).min(GSO_OCTETS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The segments of a superframe of TCP whose packets have `headers` octets of headers, as `tcp_xmit_size_goal` of
    /// net/ipv4/tcp_output.c counts them, in a kernel whose `MAX_TCP_HEADER` is `reserve`.
    fn segments(mtu: u32, headers: u32, reserve: u32) -> u32 {
        (gso_max_octets(mtu) - 1 - reserve) / (mtu - headers)
    }

    #[test]
    fn a_superframe_of_tcp_leaves_in_one_send() {
        for mtu in [1280, 1350, 1430, 1450, 1500, 4000, 8931, 8951, 9000] {
            let fit = (SEND_OCTETS_MAX / (mtu + 22)).min(SEND_SEGMENTS_MAX);
            for reserve in [160, 192, 256, 320] {
                // IPv4 and IPv6, with and without timestamps.
                for headers in [40, 52, 60, 72] {
                    let segments = segments(mtu, headers, reserve);
                    assert!(segments <= fit, "MTU {mtu}, {headers} octets of headers: {segments} of {fit}");
                    assert!(
                        segments >= fit - 1,
                        "MTU {mtu}, {headers} octets of headers: {segments} of {fit}"
                    );
                    let longest = 14 + headers + segments * (mtu - headers);
                    assert!(longest < gso_max_octets(mtu), "MTU {mtu}: {longest} octets are cut");
                }
            }
            assert_eq!(segments(mtu, 52, 320), fit, "the usual stream fills its sends, MTU {mtu}");
        }
        assert_eq!((gso_max_octets(1450), segments(1450, 52, 320)), (61_833, 44));
    }

    #[test]
    fn any_mtu_has_a_size_that_the_kernel_takes() {
        for mtu in 68..=65_535 {
            // Not below MAX_TCP_HEADER + 1, not above what every device takes.
            assert!((321..=65_536).contains(&gso_max_octets(mtu)), "{mtu}");
        }
    }
}
