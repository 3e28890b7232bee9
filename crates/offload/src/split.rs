//! Cutting a superframe into wire frames, as a NIC with TSO or USO would.
//!
//! Each segment gets the superframe's headers and its own part of the payload. What changes from segment to segment:
//! the IP length, the IPv4 identification (plus one each) and header checksum, the TCP sequence number and flags
//! (FIN and PSH on the last only, CWR on the first only: RFC 3168, section 6.1.2), the UDP length, the L4 checksum.

use vxgate_codec::layers::protocol::{TCP, UDP};
use vxgate_codec::layers::{Fragment, IpVersion, Layers};

use crate::checksum::{self, ChecksumAt};
use crate::virtio::VirtioNetHeader;

/// TCP flags that belong to the first or the last segment only (RFC 9293, section 3.1).
const CWR: u8 = 0x80;
const FIN_PSH: u8 = 0x01 | 0x08;

/// The transport whose payload is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitKind {
    /// A run of one TCP flow.
    Tcp,
    /// Datagrams of one UDP flow, all of one size but the last.
    Udp,
}

/// How a superframe is cut: made by [`Work`](crate::Work), which has checked it against the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    kind: SplitKind,
    version: IpVersion,
    l3: u16,
    l4: u16,
    payload: u16,
    segment_octets: u16,
}

impl Split {
    /// Checks that `frame` is a superframe of this kind; `None` where it is not, or where the segment size is zero.
    pub(crate) fn new(kind: SplitKind, layers: &Layers, frame: &[u8], segment_octets: u16) -> Option<Self> {
        let ip = layers.ip?;
        let protocol = match kind {
            SplitKind::Tcp => TCP,
            SplitKind::Udp => UDP,
        };
        if ip.protocol != protocol
            || ip.fragment != Fragment::None
            || segment_octets == 0
            || ip.end != frame.len()
        {
            return None;
        }
        let payload = match kind {
            SplitKind::Tcp => Self::tcp_headers(layers, frame)?,
            SplitKind::Udp => ip.l4 + 8,
        };
        if payload > frame.len() {
            return None;
        }
        Some(Self {
            kind,
            version: ip.version,
            l3: u16::try_from(layers.l3).ok()?,
            l4: u16::try_from(ip.l4).ok()?,
            payload: u16::try_from(payload).ok()?,
            segment_octets,
        })
    }

    /// The cuts that undo a joining; the caller knows the headers.
    pub(crate) const fn joined(
        kind: SplitKind,
        version: IpVersion,
        l3: u16,
        l4: u16,
        payload: u16,
        segment_octets: u16,
    ) -> Self {
        Self { kind, version, l3, l4, payload, segment_octets }
    }

    /// Offset of the TCP payload, from the data offset field.
    pub(crate) fn tcp_headers(layers: &Layers, frame: &[u8]) -> Option<usize> {
        let l4 = layers.ip?.l4;
        let octets = usize::from(frame.get(l4 + 12)? >> 4) * 4;
        (octets >= 20 && l4 + octets <= frame.len()).then_some(l4 + octets)
    }

    /// How many segments a superframe of `frame_octets` gives; at least one.
    #[must_use]
    pub fn count(&self, frame_octets: usize) -> usize {
        frame_octets
            .saturating_sub(usize::from(self.payload))
            .div_ceil(usize::from(self.segment_octets))
            .max(1)
    }

    /// Length of segment number `index` of a superframe of `frame_octets`; of one past the last, that of its headers.
    #[must_use]
    pub fn segment_length(&self, frame_octets: usize, index: usize) -> usize {
        let (headers, step) = (usize::from(self.payload), usize::from(self.segment_octets));
        headers + frame_octets.saturating_sub(headers + index * step).min(step)
    }

    /// Where the checksum of the superframe and of each segment stands.
    #[must_use]
    pub fn checksum_at(&self) -> ChecksumAt {
        let offset = match self.kind {
            SplitKind::Tcp => 16,
            SplitKind::Udp => 6,
        };
        ChecksumAt { start: self.l4, offset }
    }

    /// Writes segment number `index` of the superframe into `out` and returns its length; `None` past the last one
    /// or where `out` is shorter than the segment.
    #[must_use]
    pub fn segment(&self, frame: &[u8], index: usize, out: &mut [u8]) -> Option<usize> {
        let count = self.count(frame.len());
        if index >= count {
            return None;
        }
        let (l3, l4, headers) = (usize::from(self.l3), usize::from(self.l4), usize::from(self.payload));
        let step = usize::from(self.segment_octets);
        let from = headers + index * step;
        let payload = frame.get(from..frame.len().min(from + step))?;
        let length = headers + payload.len();
        let out = out.get_mut(..length)?;
        out[..headers].copy_from_slice(frame.get(..headers)?);
        out[headers..].copy_from_slice(payload);

        // An IP length is below 64 KiB because a segment is no longer than the superframe, whose own length fitted.
        let addresses = match self.version {
            IpVersion::V4 => {
                put(out, l3 + 2, (length - l3) as u16);
                let id = u16::from_be_bytes([out[l3 + 4], out[l3 + 5]]).wrapping_add(index as u16);
                put(out, l3 + 4, id);
                let header_octets = usize::from(out[l3] & 0x0f) * 4;
                let sum = checksum::ipv4_header(out.get(l3..l3 + header_octets)?);
                put(out, l3 + 10, sum);
                l3 + 12..l3 + 20
            }
            IpVersion::V6 => {
                put(out, l3 + 4, (length - l3 - 40) as u16);
                l3 + 8..l3 + 40
            }
        };
        let protocol = match self.kind {
            SplitKind::Tcp => {
                let sequence = u32::from_be_bytes([out[l4 + 4], out[l4 + 5], out[l4 + 6], out[l4 + 7]]);
                let sequence = sequence.wrapping_add((index * step) as u32);
                out[l4 + 4..l4 + 8].copy_from_slice(&sequence.to_be_bytes());
                if index > 0 {
                    out[l4 + 13] &= !CWR;
                }
                if index + 1 < count {
                    out[l4 + 13] &= !FIN_PSH;
                }
                TCP
            }
            SplitKind::Udp => {
                put(out, l4 + 4, (length - l4) as u16);
                UDP
            }
        };
        let field = l4 + usize::from(self.checksum_at().offset);
        let seed = checksum::fold(checksum::pseudo_header(out.get(addresses)?, protocol, length - l4));
        put(out, field, seed);
        let sum = !checksum::fold(checksum::add(0, out.get(l4..)?));
        // A UDP checksum of zero means "none" and goes out as its other form (RFC 768). One of TCP goes as it is, as the
        // kernel's own segmentation writes it.
        put(out, field, if sum == 0 && self.kind == SplitKind::Udp { 0xffff } else { sum });
        Some(length)
    }

    /// The virtio header that lets a kernel make these cuts.
    pub(crate) fn to_virtio(self) -> VirtioNetHeader {
        let at = self.checksum_at();
        VirtioNetHeader {
            flags: VirtioNetHeader::F_NEEDS_CSUM,
            gso_type: match (self.kind, self.version) {
                (SplitKind::Tcp, IpVersion::V4) => VirtioNetHeader::GSO_TCPV4,
                (SplitKind::Tcp, IpVersion::V6) => VirtioNetHeader::GSO_TCPV6,
                (SplitKind::Udp, IpVersion::V4 | IpVersion::V6) => VirtioNetHeader::GSO_UDP_L4,
            },
            header_octets: self.payload,
            segment_octets: self.segment_octets,
            checksum_start: at.start,
            checksum_offset: at.offset,
        }
    }
}

fn put(out: &mut [u8], at: usize, value: u16) {
    if let Some(field) = out.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
