//! Cutting a superframe into wire frames, as a NIC with TSO or USO would.
//!
//! Each segment gets the superframe's headers and its own part of the payload. What changes from segment to segment:
//! the IP length, the IPv4 identification (plus one each) and header checksum, the TCP sequence number and flags
//! (FIN and PSH on the last only, CWR on the first only: RFC 3168, section 6.1.2), the UDP length, the L4 checksum.

use vxgate_codec::layers::protocol::{TCP, UDP};
use vxgate_codec::layers::{Fragment, IpVersion, Layers};

use crate::checksum::ChecksumAt;
use crate::cutter::{CWR, Cutter};
use crate::virtio::VirtioNetHeader;

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
    pub(crate) kind: SplitKind,
    pub(crate) version: IpVersion,
    pub(crate) l3: u16,
    pub(crate) l4: u16,
    pub(crate) payload: u16,
    pub(crate) segment_octets: u16,
    /// Whether the superframe bears CWR, which a device that cuts must know of.
    pub(crate) cwr: bool,
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
            cwr: kind == SplitKind::Tcp && frame.get(ip.l4 + 13)? & CWR != 0,
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
        Self { kind, version, l3, l4, payload, segment_octets, cwr: false }
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

    /// What cuts `frame`, which is the superframe that this split was made for; `None` where it is shorter than its headers.
    #[must_use]
    pub fn cutter<'a>(&self, frame: &'a [u8]) -> Option<Cutter<'a>> {
        Cutter::new(*self, frame)
    }

    /// Writes segment number `index` of the superframe into `out` and returns its length; `None` past the last one
    /// or where `out` is shorter than the segment. For more than one segment a [cutter](Split::cutter) is faster.
    #[must_use]
    pub fn segment(&self, frame: &[u8], index: usize, out: &mut [u8]) -> Option<usize> {
        self.cutter(frame)?.segment(index, out)
    }

    /// The virtio header that lets a kernel make these cuts.
    pub(crate) fn to_virtio(self) -> VirtioNetHeader {
        let at = self.checksum_at();
        let ecn = if self.cwr { VirtioNetHeader::GSO_ECN } else { 0 };
        VirtioNetHeader {
            flags: VirtioNetHeader::F_NEEDS_CSUM,
            gso_type: ecn
                | match (self.kind, self.version) {
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
