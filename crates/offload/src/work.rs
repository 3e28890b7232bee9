//! What a frame still needs before it may go on a wire: a checksum, cuts, or nothing.

use core::fmt;

use vxgate_codec::layers::protocol::{TCP, UDP};
use vxgate_codec::layers::{Fragment, IPV4_HEADER_OCTETS, IPV6_HEADER_OCTETS, Ip, IpVersion, Layers};

use crate::checksum::{self, ChecksumAt};
use crate::split::{Split, SplitKind};
use crate::virtio::VirtioNetHeader;

/// The longest length that an IP header can say, in octets: of IPv6 without its own header (RFC 791, section 3.1; RFC 8200,
/// section 3).
const IP_OCTETS_MAX: usize = 65_535;

/// Datagrams that a kernel makes one run of at most (`UDP_MAX_SEGMENTS` of include/linux/udp.h).
const UDP_SEGMENTS_MAX: usize = 128;

/// What a frame still needs before it may go on a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing: the frame is whole.
    Done,
    /// The sum of the L4 segment; its field holds the pseudo header's sum.
    Checksum(ChecksumAt),
    /// Cutting into segments, each with its own checksum.
    Split(Split),
}

/// Why a virtio header does not fit the frame behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkError {
    /// The checksum field lies outside the frame.
    ChecksumOutside,
    /// The GSO type is none that this crate asks for.
    UnknownGso,
    /// A superframe with segments of no octets.
    NoSegmentSize,
    /// A superframe whose headers are not those its GSO type says.
    NotThatTransport,
    /// A superframe without the checksum offload that must go with it.
    NoChecksum,
    /// A superframe longer than an IP packet can say: BIG TCP, or a jumbogram (RFC 2675).
    TooLong,
}

impl fmt::Display for WorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChecksumOutside => "the checksum field lies outside the frame",
            Self::UnknownGso => "the GSO type is unknown",
            Self::NoSegmentSize => "the superframe has a segment size of zero",
            Self::NotThatTransport => "the superframe's headers are not those of its GSO type",
            Self::NoChecksum => "the superframe comes without checksum offload",
            Self::TooLong => "the superframe is longer than an IP packet can be",
        })
    }
}

impl core::error::Error for WorkError {}

impl Work {
    /// Reads what a TAP's virtio header says of the frame, and believes only what the frame bears out.
    ///
    /// # Errors
    /// The header lies about the frame: [`WorkError`] says how.
    pub fn from_virtio(header: VirtioNetHeader, frame: &[u8]) -> Result<Self, WorkError> {
        let checksum = if header.flags & VirtioNetHeader::F_NEEDS_CSUM == 0 {
            None
        } else {
            let at = ChecksumAt { start: header.checksum_start, offset: header.checksum_offset };
            let field = usize::from(at.start) + usize::from(at.offset);
            if field + 2 > frame.len() {
                return Err(WorkError::ChecksumOutside);
            }
            Some(at)
        };
        let (kind, version) = match header.gso_type & !VirtioNetHeader::GSO_ECN {
            VirtioNetHeader::GSO_NONE => return Ok(checksum.map_or(Self::Done, Self::Checksum)),
            VirtioNetHeader::GSO_TCPV4 => (SplitKind::Tcp, Some(IpVersion::V4)),
            VirtioNetHeader::GSO_TCPV6 => (SplitKind::Tcp, Some(IpVersion::V6)),
            VirtioNetHeader::GSO_UDP_L4 => (SplitKind::Udp, None),
            _ => return Err(WorkError::UnknownGso),
        };
        if header.segment_octets == 0 {
            return Err(WorkError::NoSegmentSize);
        }
        let Some(at) = checksum else { return Err(WorkError::NoChecksum) };
        let layers = Layers::parse(frame).map_err(|_| WorkError::NotThatTransport)?;
        // Such a packet says a length of zero; no segment of it could say where it stood.
        if frame.len() - layers.l3 > IP_OCTETS_MAX + IPV6_HEADER_OCTETS {
            return Err(WorkError::TooLong);
        }
        let split = Split::new(kind, &layers, frame, header.segment_octets)
            .filter(|split| {
                split.checksum_at() == at && version.is_none_or(|version| split.version == version)
            })
            .ok_or(WorkError::NotThatTransport)?;
        Ok(if split.count(frame.len()) > 1 { Self::Split(split) } else { Self::Checksum(at) })
    }

    /// Recognises what a kernel peer left undone in a frame that came in a datagram.
    ///
    /// Over a link that passes superframes whole (veth), a kernel vxlan peer's datagram holds up to 64 KiB of one TCP
    /// flow, its checksum field being the folded sum of the pseudo header; no control message says so. A frame whose
    /// field holds exactly that sum is taken as unfinished. `mtu_octets` is that of the device the frame is for: it
    /// gives the segment size, which the datagram does not tell. Of UDP a run of datagrams (USO) looks as one long datagram
    /// does, and is taken for one; [`Work::from_peer_run`] is for those.
    ///
    /// A frame whose headers would take more than half of each segment is not cut: no stack sends such a one, and a
    /// peer could make a thousand long frames of one datagram.
    #[must_use]
    pub fn from_peer(frame: &[u8], mtu_octets: usize) -> Self {
        let Ok(layers) = Layers::parse(frame) else { return Self::Done };
        let Some(ip) = layers.ip else { return Self::Done };
        let Some(at) = checksum_field(&ip) else { return Self::Done };
        let field = usize::from(at.start) + usize::from(at.offset);
        let Some(&[high, low]) = frame.get(field..field + 2) else { return Self::Done };
        let Some(seed) = pseudo_sum(&ip, frame) else { return Self::Done };
        // Octets behind the IP datagram (padding of short frames) are not part of the sum; the kernel sums to the
        // frame's end, so such a frame is taken as it stands.
        if u16::from_be_bytes([high, low]) != checksum::fold(seed) || ip.end != frame.len() {
            return Self::Done;
        }
        if ip.protocol == TCP
            && ip.end - layers.l3 > mtu_octets
            && let Some(payload) = Split::tcp_headers(&layers, frame)
        {
            let headers = payload - layers.l3;
            let segment = mtu_octets.saturating_sub(headers).min(usize::from(u16::MAX));
            // `min` above keeps the value within 16 bits.
            if segment >= headers
                && let Some(split) = Split::new(SplitKind::Tcp, &layers, frame, segment as u16)
            {
                return Self::Split(split);
            }
        }
        Self::Checksum(at)
    }

    /// Recognises a run of UDP datagrams (USO) that a kernel peer left uncut, in a frame that came in a datagram.
    ///
    /// `segment_octets` is what the kernel says of the datagram beside it (`UDP_GRO`): over a link that passes superframes whole
    /// it is the size of the inner segments. `None` where the frame does not bear that out: it is one IP packet without
    /// options or extension headers that fills the frame, its checksum field holds exactly the pseudo header's sum, and it gives at
    /// least two and at most 128 segments (`UDP_MAX_SEGMENTS` of include/linux/udp.h), so that no peer makes more of less.
    #[must_use]
    pub fn from_peer_run(frame: &[u8], segment_octets: u16) -> Option<Self> {
        let layers = Layers::parse(frame).ok()?;
        let ip = layers.ip.filter(|ip| ip.protocol == UDP)?;
        let split = Split::new(SplitKind::Udp, &layers, frame, segment_octets)?;
        let at = split.checksum_at();
        let field = usize::from(at.start) + usize::from(at.offset);
        let &[high, low] = frame.get(field..field + 2)? else { return None };
        let &[length_high, length_low] = frame.get(ip.l4 + 4..ip.l4 + 6)? else { return None };
        let is_plain = ip.l4 - layers.l3 == header_octets(ip.version);
        let is_whole = usize::from(u16::from_be_bytes([length_high, length_low])) == frame.len() - ip.l4;
        let is_unfinished = u16::from_be_bytes([high, low]) == checksum::fold(pseudo_sum(&ip, frame)?);
        let is_run = (2..=UDP_SEGMENTS_MAX).contains(&split.count(frame.len()));
        (is_plain && is_whole && is_unfinished && is_run).then_some(Self::Split(split))
    }

    /// Does the work here: hands each finished wire frame to `emit`, one for a frame that needs no cutting.
    ///
    /// `scratch` holds one segment at a time; a segment longer than it is left out. A checksum is finished in place.
    pub fn finish(self, frame: &mut [u8], scratch: &mut [u8], mut emit: impl FnMut(&[u8])) {
        match self {
            Self::Done => emit(frame),
            Self::Checksum(at) => {
                at.finish(frame);
                emit(frame);
            }
            Self::Split(split) => cut(split, frame, scratch, emit),
        }
    }

    /// As [`Work::finish`] for a frame that must stay as it is: a checksum is finished in a copy in `scratch`.
    pub fn finish_copy(self, frame: &[u8], scratch: &mut [u8], mut emit: impl FnMut(&[u8])) {
        match self {
            Self::Done => emit(frame),
            Self::Checksum(at) => {
                if let Some(copy) = scratch.get_mut(..frame.len()) {
                    copy.copy_from_slice(frame);
                    at.finish(copy);
                    emit(copy);
                }
            }
            Self::Split(split) => cut(split, frame, scratch, emit),
        }
    }

    /// Offset in the frame of a checksum field that holds the pseudo header's sum only, until this work is done.
    #[must_use]
    pub fn unfinished_field(&self) -> Option<usize> {
        let at = match self {
            Self::Done => return None,
            Self::Checksum(at) => *at,
            Self::Split(split) => split.checksum_at(),
        };
        Some(usize::from(at.start) + usize::from(at.offset))
    }

    /// The virtio header that hands this work on to a kernel.
    #[must_use]
    pub fn to_virtio(self) -> VirtioNetHeader {
        match self {
            Self::Done => VirtioNetHeader::default(),
            Self::Checksum(at) => VirtioNetHeader {
                flags: VirtioNetHeader::F_NEEDS_CSUM,
                checksum_start: at.start,
                checksum_offset: at.offset,
                ..VirtioNetHeader::default()
            },
            Self::Split(split) => split.to_virtio(),
        }
    }
}

/// Hands each segment to `emit`; one that is longer than `scratch` is left out.
fn cut(split: Split, frame: &[u8], scratch: &mut [u8], mut emit: impl FnMut(&[u8])) {
    let Some(cutter) = split.cutter(frame) else { return };
    for index in 0..cutter.count() {
        if let Some(octets) = cutter.segment(index, scratch) {
            emit(&scratch[..octets]);
        }
    }
}

/// Length of an IP header without options or extension headers.
const fn header_octets(version: IpVersion) -> usize {
    match version {
        IpVersion::V4 => IPV4_HEADER_OCTETS,
        IpVersion::V6 => IPV6_HEADER_OCTETS,
    }
}

/// Where the checksum of an unfragmented TCP or UDP datagram stands.
fn checksum_field(ip: &Ip) -> Option<ChecksumAt> {
    if ip.fragment != Fragment::None {
        return None;
    }
    let offset = match ip.protocol {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    Some(ChecksumAt { start: u16::try_from(ip.l4).ok()?, offset })
}

/// The running sum of the pseudo header of the L4 segment.
fn pseudo_sum(ip: &Ip, frame: &[u8]) -> Option<u64> {
    let addresses = frame.get(ip.source().start..ip.destination().end)?;
    Some(checksum::pseudo_header(addresses, ip.protocol, ip.end.checked_sub(ip.l4)?))
}
