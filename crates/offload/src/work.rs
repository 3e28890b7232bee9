//! What a frame still needs before it may go on a wire: a checksum, cuts, or nothing.

use core::fmt;

use vxgate_codec::layers::protocol::{TCP, UDP};
use vxgate_codec::layers::{Fragment, Ip, Layers};

use crate::checksum::{self, ChecksumAt};
use crate::split::{Split, SplitKind};
use crate::virtio::VirtioNetHeader;

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
}

impl fmt::Display for WorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChecksumOutside => "the checksum field lies outside the frame",
            Self::UnknownGso => "the GSO type is unknown",
            Self::NoSegmentSize => "the superframe has a segment size of zero",
            Self::NotThatTransport => "the superframe's headers are not those of its GSO type",
            Self::NoChecksum => "the superframe comes without checksum offload",
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
        let kind = match header.gso_type & !VirtioNetHeader::GSO_ECN {
            VirtioNetHeader::GSO_NONE => return Ok(checksum.map_or(Self::Done, Self::Checksum)),
            VirtioNetHeader::GSO_TCPV4 | VirtioNetHeader::GSO_TCPV6 => SplitKind::Tcp,
            VirtioNetHeader::GSO_UDP_L4 => SplitKind::Udp,
            _ => return Err(WorkError::UnknownGso),
        };
        if header.segment_octets == 0 {
            return Err(WorkError::NoSegmentSize);
        }
        let Some(at) = checksum else { return Err(WorkError::NoChecksum) };
        let split = Layers::parse(frame)
            .ok()
            .and_then(|layers| Split::new(kind, &layers, frame, header.segment_octets))
            .filter(|split| split.checksum_at() == at)
            .ok_or(WorkError::NotThatTransport)?;
        Ok(if split.count(frame.len()) > 1 { Self::Split(split) } else { Self::Checksum(at) })
    }

    /// Recognises what a kernel peer left undone in a frame that came in a datagram.
    ///
    /// Over a link that passes superframes whole (veth), a kernel vxlan peer's datagram holds up to 64 KiB of one TCP
    /// flow, its checksum field being the folded sum of the pseudo header; no control message says so. A frame whose
    /// field holds exactly that sum is taken as unfinished. `mtu_octets` is that of the device the frame is for: it
    /// gives the segment size, which the datagram does not tell. Of UDP a run of datagrams (USO) looks as one long datagram
    /// does, and is taken for one.
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
            Self::Split(split) => {
                for index in 0..split.count(frame.len()) {
                    if let Some(octets) = split.segment(frame, index, scratch) {
                        emit(&scratch[..octets]);
                    }
                }
            }
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
            Self::Split(split) => {
                for index in 0..split.count(frame.len()) {
                    if let Some(octets) = split.segment(frame, index, scratch) {
                        emit(&scratch[..octets]);
                    }
                }
            }
        }
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
