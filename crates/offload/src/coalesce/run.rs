//! One run: frames of one flow, joined as far as they have come.

use vxgate_codec::layers::IpVersion;

use super::shape::{FIN, PSH, Shape};
use super::{IP_OCTETS_MAX, UDP_FRAMES_MAX};
use crate::checksum::{self, add, copy_add, fold};
use crate::split::{Split, SplitKind};
use crate::work::Work;

/// What became of a frame that has a run's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// It is the run's last so far.
    Open,
    /// It is the run's last: nothing may follow it.
    Ended,
    /// It does not continue the run, or a checksum of it is wrong.
    Not,
}

/// Frames of one flow, joined. The octets stand in a buffer that the caller keeps beside the run: the first frame, whose headers stay as
/// they came until the end, and behind it the payloads of the others.
#[derive(Clone, Copy)]
pub(super) struct Run {
    shape: Shape,
    frames: u16,
    /// Payload octets of each frame but the last.
    segment_octets: u16,
    octets: usize,
    /// TCP sequence number of the frame that comes next.
    sequence: u32,
    /// IPv4 identification of the frame that comes next, where it counts: not beside DF (RFC 6864, section 4.1).
    identification: Option<u16>,
    /// FIN and PSH of the last frame.
    last_flags: u8,
    /// Sums of what all frames of the run have equal: of the IPv4 header, of L4 and pseudo header. Known from the second frame on.
    l3_sum: u64,
    l4_sum: u64,
}

impl Run {
    pub(super) const EMPTY: Self = Self {
        shape: Shape { kind: SplitKind::Tcp, version: IpVersion::V4, l3: 14, l4: 34, payload: 54 },
        frames: 0,
        segment_octets: 0,
        octets: 0,
        sequence: 0,
        identification: None,
        last_flags: 0,
        l3_sum: 0,
        l4_sum: 0,
    };

    /// The run that `frame` begins. Its checksums are looked at when a second one comes: alone it goes out as it came.
    pub(super) fn begin(shape: Shape, frame: &[u8], memory: &mut [u8]) -> Self {
        let fields = Fields::of(shape, frame);
        let counts = shape.version == IpVersion::V4 && frame[usize::from(shape.l3) + 6] & 0x40 == 0;
        let payload_octets = frame.len() - usize::from(shape.payload);
        memory[..frame.len()].copy_from_slice(frame);
        Self {
            shape,
            frames: 1,
            // An IP packet, hence a payload, is no longer than 16 bits can say.
            segment_octets: payload_octets as u16,
            octets: frame.len(),
            sequence: fields.sequence.wrapping_add(payload_octets as u32),
            identification: counts.then(|| fields.identification.wrapping_add(1)),
            ..Self::EMPTY
        }
    }

    /// Whether `frame` has the run's headers.
    #[inline]
    pub(super) fn matches(&self, frame: &[u8], memory: &[u8]) -> bool {
        let payload = usize::from(self.shape.payload);
        let (Some(headers), Some(first), Some(mask)) =
            (frame.get(..payload), memory.get(..payload), self.shape.mask().get(..payload))
        else {
            return false;
        };
        let differ = |octets: &[u8; 8], first: &[u8; 8], mask: &[u8; 8]| {
            (u64::from_ne_bytes(*octets) ^ u64::from_ne_bytes(*first)) & u64::from_ne_bytes(*mask)
        };
        let words = headers.as_chunks().0.iter().zip(first.as_chunks().0).zip(mask.as_chunks().0);
        let difference = words.fold(0, |all, ((octets, first), mask)| all | differ(octets, first, mask));
        let rest = match (headers.last_chunk(), first.last_chunk(), mask.last_chunk()) {
            (Some(octets), Some(first), Some(mask)) => differ(octets, first, mask),
            _ => 1,
        };
        difference | rest == 0
    }

    /// Appends a frame that [has the run's headers](Run::matches), if it continues the run and the checksums are right.
    #[inline]
    pub(super) fn join(&mut self, frame: &[u8], memory: &mut [u8]) -> Joined {
        let shape = self.shape;
        let (l3, l4) = (usize::from(shape.l3), usize::from(shape.l4));
        let Some((headers, data)) = frame.split_at_checked(usize::from(shape.payload)) else {
            return Joined::Not;
        };
        let fields = Fields::of(shape, headers);
        let continues = match shape.kind {
            SplitKind::Tcp => fields.sequence == self.sequence,
            SplitKind::Udp => usize::from(fields.length) == frame.len() - l4 && fields.checksum != 0,
        };
        let counts = self.identification.is_none_or(|wanted| fields.identification == wanted);
        let fits = !data.is_empty()
            && data.len() <= usize::from(self.segment_octets)
            && self.octets + data.len() <= l3 + IP_OCTETS_MAX;
        let network_octets = match shape.version {
            IpVersion::V4 => frame.len() - l3,
            IpVersion::V6 => frame.len() - l4,
        };
        let whole = usize::from(fields.network_length) == network_octets;
        let joins = continues && counts && fits && whole;
        if !joins || self.frames == 1 && !self.sum_first(memory) || !self.append(&fields, data, memory) {
            return Joined::Not;
        }
        let ended = data.len() < usize::from(self.segment_octets)
            || fields.flags != 0
            || shape.kind == SplitKind::Udp && self.frames == UDP_FRAMES_MAX;
        if ended { Joined::Ended } else { Joined::Open }
    }

    /// Sums the first frame: what of its headers all frames have equal, and whether its checksums are right.
    fn sum_first(&mut self, memory: &[u8]) -> bool {
        let (l3, l4) = (usize::from(self.shape.l3), usize::from(self.shape.l4));
        let payload = usize::from(self.shape.payload);
        let Some((headers, data)) =
            memory.get(..self.octets).and_then(|frame| frame.split_at_checked(payload))
        else {
            return false;
        };
        let fields = Fields::of(self.shape, headers);
        let (protocol, addresses) = self.shape.pseudo_header();
        let l3_sum = add(0, &headers[l3..l4]);
        let l4_sum = add(add(u64::from(protocol), &headers[addresses]), &headers[l4..]);
        // A complement is the negative in one's complement.
        self.l3_sum = l3_sum + u64::from(!fold(fields.l3_sum()));
        self.l4_sum = l4_sum + u64::from(!fold(fields.l4_sum()));
        let l3_is_right = self.shape.version == IpVersion::V6 || fold(l3_sum) == 0xffff;
        l3_is_right && fold(add(l4_sum + (self.octets - l4) as u64, data)) == 0xffff
    }

    /// Copies the payload behind what is there and sums it; what was copied counts only if both checksums are right.
    #[inline]
    fn append(&mut self, fields: &Fields, data: &[u8], memory: &mut [u8]) -> bool {
        if self.shape.version == IpVersion::V4 && fold(self.l3_sum + fields.l3_sum()) != 0xffff {
            return false;
        }
        let l4_octets = usize::from(self.shape.payload - self.shape.l4) + data.len();
        let Some(place) = memory.get_mut(self.octets..self.octets + data.len()) else { return false };
        let seed = self.l4_sum + fields.l4_sum() + l4_octets as u64;
        if fold(copy_add(seed, data, place)) != 0xffff {
            return false;
        }
        self.octets += data.len();
        self.frames += 1;
        self.sequence = self.sequence.wrapping_add(data.len() as u32);
        self.identification = self.identification.map(|identification| identification.wrapping_add(1));
        self.last_flags = fields.flags;
        true
    }

    /// Completes the headers: the run's length in octets and frames, and the work that it needs.
    pub(super) fn finish(&self, memory: &mut [u8]) -> (usize, usize, Work) {
        if self.frames == 1 {
            return (self.octets, 1, Work::Done);
        }
        let shape = self.shape;
        let (l3, l4) = (usize::from(shape.l3), usize::from(shape.l4));
        let put = |memory: &mut [u8], at: usize, value: u16| {
            memory[at..at + 2].copy_from_slice(&value.to_be_bytes());
        };
        // `join` keeps the length of the IP packet within 16 bits.
        match shape.version {
            IpVersion::V4 => {
                put(memory, l3 + 2, (self.octets - l3) as u16);
                let sum = checksum::ipv4_header(&memory[l3..l4]);
                put(memory, l3 + 10, sum);
            }
            IpVersion::V6 => put(memory, l3 + 4, (self.octets - l4) as u16),
        }
        match shape.kind {
            SplitKind::Tcp => memory[l4 + 13] |= self.last_flags,
            SplitKind::Udp => put(memory, l4 + 4, (self.octets - l4) as u16),
        }
        let (protocol, addresses) = shape.pseudo_header();
        let seed = fold(checksum::pseudo_header(&memory[addresses], protocol, self.octets - l4));
        let split = Split::joined(
            shape.kind,
            shape.version,
            u16::from(shape.l3),
            u16::from(shape.l4),
            u16::from(shape.payload),
            self.segment_octets,
        );
        put(memory, l4 + usize::from(split.checksum_at().offset), seed);
        (self.octets, usize::from(self.frames), Work::Split(split))
    }
}

/// What differs between the headers of one run.
struct Fields {
    /// IPv4 total length, or IPv6 payload length.
    network_length: u16,
    identification: u16,
    network_checksum: u16,
    sequence: u32,
    /// FIN and PSH.
    flags: u8,
    /// Of UDP.
    length: u16,
    checksum: u16,
}

impl Fields {
    /// Reads them out of the headers, which are as long as the shape says.
    #[inline]
    fn of(shape: Shape, headers: &[u8]) -> Self {
        let (l3, l4) = (usize::from(shape.l3), usize::from(shape.l4));
        let u16_at = |at: usize| {
            headers.get(at..at + 2).map_or(0, |octets| u16::from_be_bytes([octets[0], octets[1]]))
        };
        let (network_length, identification, network_checksum) = match shape.version {
            IpVersion::V4 => (u16_at(l3 + 2), u16_at(l3 + 4), u16_at(l3 + 10)),
            IpVersion::V6 => (u16_at(l3 + 4), 0, 0),
        };
        let (sequence, flags, length, checksum) = match shape.kind {
            SplitKind::Tcp => {
                let sequence = u32::from(u16_at(l4 + 4)) << 16 | u32::from(u16_at(l4 + 6));
                let flags = headers.get(l4 + 13).map_or(0, |flags| flags & (FIN | PSH));
                (sequence, flags, 0, u16_at(l4 + 16))
            }
            SplitKind::Udp => (0, 0, u16_at(l4 + 4), u16_at(l4 + 6)),
        };
        Self { network_length, identification, network_checksum, sequence, flags, length, checksum }
    }

    const fn l3_sum(&self) -> u64 {
        self.network_length as u64 + self.identification as u64 + self.network_checksum as u64
    }

    const fn l4_sum(&self) -> u64 {
        self.sequence as u64 + self.flags as u64 + self.length as u64 + self.checksum as u64
    }
}
