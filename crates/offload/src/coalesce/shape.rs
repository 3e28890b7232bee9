//! Which frames may be joined, and which octets of their headers must be equal.

use core::ops::Range;

use vxgate_codec::layers::protocol::{TCP, UDP};
use vxgate_codec::layers::{Fragment, IPV4_HEADER_OCTETS, IPV6_HEADER_OCTETS, Ip, IpVersion, Layers};

use super::IP_OCTETS_MAX;
use crate::split::{Split, SplitKind};

/// Length of a UDP header, in octets (RFC 768).
const UDP_HEADER_OCTETS: usize = 8;

/// TCP flags (RFC 9293, section 3.1; RFC 3168, section 6.1).
pub(super) const FIN: u8 = 0x01;
pub(super) const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

/// Room for the longest headers, in octets: two tags, IPv6 without extension headers, TCP with all its options.
const HEADERS_MAX: usize = 128;

/// The headers of a frame that may be joined with others. Offsets are octets from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) kind: SplitKind,
    pub(super) version: IpVersion,
    pub(super) l3: u8,
    pub(super) l4: u8,
    /// Where the payload begins. There is one.
    pub(super) payload: u8,
}

impl Shape {
    /// The shape of a frame that may begin a run: one that another one may follow.
    pub(super) fn of(frame: &[u8], layers: &Layers, ip: &Ip) -> Option<Self> {
        let network_octets = match ip.version {
            // Neither the reserved bit nor a fragment: what is left is DF.
            IpVersion::V4 if frame.get(layers.l3 + 6)? & !0x40 == 0 => IPV4_HEADER_OCTETS,
            IpVersion::V4 => return None,
            IpVersion::V6 => IPV6_HEADER_OCTETS,
        };
        let plain = ip.l4 == layers.l3 + network_octets && ip.fragment == Fragment::None;
        if !plain || ip.end != frame.len() || ip.end - layers.l3 > IP_OCTETS_MAX {
            return None;
        }
        let l4 = frame.get(ip.l4..)?;
        let (kind, payload) = match (ip.protocol, l4) {
            // Whatever else is set, also PSH and FIN, ends a run before it has begun.
            (TCP, [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, ..]) if flags & !ECE == ACK => {
                (SplitKind::Tcp, Split::tcp_headers(layers, frame)?)
            }
            // No checksum (RFC 768): it could not be told from a frame that lost octets.
            (UDP, [_, _, _, _, a, b, c, d, ..])
                if usize::from(u16::from_be_bytes([*a, *b])) == l4.len() && [*c, *d] != [0, 0] =>
            {
                (SplitKind::Udp, ip.l4 + UDP_HEADER_OCTETS)
            }
            _ => return None,
        };
        let narrow = |offset: usize| u8::try_from(offset).ok();
        (payload < frame.len()).then_some(Self {
            kind,
            version: ip.version,
            l3: narrow(layers.l3)?,
            l4: narrow(ip.l4)?,
            payload: narrow(payload)?,
        })
    }

    /// Protocol number, and where source and destination address stand.
    #[inline]
    pub(super) fn pseudo_header(self) -> (u8, Range<usize>) {
        let protocol = match self.kind {
            SplitKind::Tcp => TCP,
            SplitKind::Udp => UDP,
        };
        // The last fields of either header without what follows it.
        let l4 = usize::from(self.l4);
        match self.version {
            IpVersion::V4 => (protocol, l4 - 8..l4),
            IpVersion::V6 => (protocol, l4 - 32..l4),
        }
    }

    /// The bits of the headers in which all frames of a run are equal.
    #[inline]
    pub(super) fn mask(self) -> &'static [u8; HEADERS_MAX] {
        let tags = (usize::from(self.l3) - 14) / 4;
        let version = match self.version {
            IpVersion::V4 => 0,
            IpVersion::V6 => 1,
        };
        let kind = match self.kind {
            SplitKind::Tcp => 0,
            SplitKind::Udp => 1,
        };
        &MASKS[tags % 3][version][kind]
    }
}

/// By number of tags, by IP version, by transport.
static MASKS: [[[[u8; HEADERS_MAX]; 2]; 2]; 3] = {
    let mut masks = [[[[0xff; HEADERS_MAX]; 2]; 2]; 3];
    let mut tags = 0;
    while tags < 3 {
        let l3 = 14 + 4 * tags;
        // Total length, identification and header checksum; payload length.
        let (v4, v6): (&[usize], &[usize]) = (&[2, 3, 4, 5, 10, 11], &[4, 5]);
        // Sequence number and checksum; length and checksum.
        let (tcp, udp): (&[usize], &[usize]) = (&[4, 5, 6, 7, 16, 17], &[4, 5, 6, 7]);
        let mut kind = 0;
        while kind < 2 {
            masks[tags][0][kind] = without(masks[tags][0][kind], l3, v4);
            masks[tags][1][kind] = without(masks[tags][1][kind], l3, v6);
            let fields = if kind == 0 { tcp } else { udp };
            let (l4_v4, l4_v6) = (l3 + IPV4_HEADER_OCTETS, l3 + IPV6_HEADER_OCTETS);
            masks[tags][0][kind] = without(masks[tags][0][kind], l4_v4, fields);
            masks[tags][1][kind] = without(masks[tags][1][kind], l4_v6, fields);
            kind += 1;
        }
        masks[tags][0][0][l3 + IPV4_HEADER_OCTETS + 13] = !(FIN | PSH);
        masks[tags][1][0][l3 + IPV6_HEADER_OCTETS + 13] = !(FIN | PSH);
        tags += 1;
    }
    masks
};

const fn without(mut mask: [u8; HEADERS_MAX], base: usize, offsets: &[usize]) -> [u8; HEADERS_MAX] {
    let mut index = 0;
    while index < offsets.len() {
        mask[base + offsets[index]] = 0;
        index += 1;
    }
    mask
}
