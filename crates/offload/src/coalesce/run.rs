//! One run: frames of one flow, joined as far as they have come.

use vxgate_codec::layers::IpVersion;
use vxgate_codec::layers::protocol::{TCP, UDP};

use super::shape::{FIN, HEADERS_MAX, PSH, Shape};
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

/// Frames of one flow, joined. The octets stand in a buffer that the caller keeps beside the run.
pub(super) struct Run {
    /// Both ports as they stand in the headers: what tells most frames of other flows apart.
    ports: [u8; 4],
    shape: Shape,
    flow: u32,
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
    /// Sums of what all frames of the run have equal: of the IPv4 header, of L4 and pseudo header.
    l3_sum: u64,
    l4_sum: u64,
    mask: &'static [u8; HEADERS_MAX],
    /// The headers' octets under the mask.
    template: [u8; HEADERS_MAX],
}

impl Run {
    pub(super) const EMPTY: Self = Self {
        ports: [0; 4],
        shape: Shape { kind: SplitKind::Tcp, version: IpVersion::V4, l3: 14, l4: 34, payload: 54 },
        flow: 0,
        frames: 0,
        segment_octets: 0,
        octets: 0,
        sequence: 0,
        identification: None,
        last_flags: 0,
        l3_sum: 0,
        l4_sum: 0,
        mask: &[0; HEADERS_MAX],
        template: [0; HEADERS_MAX],
    };

    pub(super) const fn flow(&self) -> u32 {
        self.flow
    }

    /// Makes this the run that `frame` begins; false where a checksum of it is wrong.
    pub(super) fn begin(&mut self, flow: u32, shape: Shape, frame: &[u8], memory: &mut [u8]) -> bool {
        let (l3, l4, payload) = (usize::from(shape.l3), usize::from(shape.l4), usize::from(shape.payload));
        let Some((headers, data)) = frame.split_at_checked(payload) else { return false };
        self.mask = shape.mask();
        for ((octet, header), mask) in self.template.iter_mut().zip(headers).zip(self.mask) {
            *octet = header & mask;
        }
        let protocol = match shape.kind {
            SplitKind::Tcp => TCP,
            SplitKind::Udp => UDP,
        };
        let addresses = match shape.version {
            IpVersion::V4 => l3 + 12..l3 + 20,
            IpVersion::V6 => l3 + 8..l3 + 40,
        };
        self.l3_sum = add(0, &self.template[l3..l4]);
        self.l4_sum = add(add(u64::from(protocol), &self.template[addresses]), &self.template[l4..payload]);
        self.ports = [headers[l4], headers[l4 + 1], headers[l4 + 2], headers[l4 + 3]];
        (self.shape, self.flow) = (shape, flow);
        (self.frames, self.octets) = (0, payload);
        let fields = Fields::of(shape, headers);
        self.identification =
            (headers[l3 + 6] & 0x40 == 0 && shape.version == IpVersion::V4).then_some(fields.identification);
        self.sequence = fields.sequence;
        // The frame is no longer than an IP packet and its Ethernet header, hence its payload than 16 bits.
        self.segment_octets = data.len() as u16;
        memory[..payload].copy_from_slice(headers);
        self.append(&fields, data, memory)
    }

    /// Whether `frame` has this run's headers.
    #[inline]
    pub(super) fn matches(&self, frame: &[u8]) -> bool {
        let l4 = usize::from(self.shape.l4);
        if frame.get(l4..l4 + 4) != Some(&self.ports[..]) {
            return false;
        }
        let payload = usize::from(self.shape.payload);
        let (Some(headers), Some(template), Some(mask)) =
            (frame.get(..payload), self.template.get(..payload), self.mask.get(..payload))
        else {
            return false;
        };
        let differ = |octets: &[u8; 8], template: &[u8; 8], mask: &[u8; 8]| {
            u64::from_ne_bytes(*octets) & u64::from_ne_bytes(*mask) ^ u64::from_ne_bytes(*template)
        };
        let words = headers.as_chunks().0.iter().zip(template.as_chunks().0).zip(mask.as_chunks().0);
        let difference =
            words.fold(0, |all, ((octets, template), mask)| all | differ(octets, template, mask));
        let rest = match (headers.last_chunk(), template.last_chunk(), mask.last_chunk()) {
            (Some(octets), Some(template), Some(mask)) => differ(octets, template, mask),
            _ => 1,
        };
        difference | rest == 0
    }

    /// Appends a frame that [has the run's headers](Run::matches), if it continues the run and its checksums are right.
    #[inline]
    pub(super) fn join(&mut self, frame: &[u8], memory: &mut [u8]) -> Joined {
        let Some((headers, data)) = frame.split_at_checked(usize::from(self.shape.payload)) else {
            return Joined::Not;
        };
        let fields = Fields::of(self.shape, headers);
        let continues = match self.shape.kind {
            SplitKind::Tcp => fields.sequence == self.sequence,
            SplitKind::Udp => {
                usize::from(fields.length) == frame.len() - usize::from(self.shape.l4)
                    && fields.checksum != 0
                    && self.frames < UDP_FRAMES_MAX
            }
        };
        let counts = self.identification.is_none_or(|wanted| fields.identification == wanted);
        let fits = !data.is_empty()
            && data.len() <= usize::from(self.segment_octets)
            && self.octets + data.len() <= usize::from(self.shape.l3) + IP_OCTETS_MAX;
        let network_octets = match self.shape.version {
            IpVersion::V4 => frame.len() - usize::from(self.shape.l3),
            IpVersion::V6 => frame.len() - usize::from(self.shape.l4),
        };
        let whole = usize::from(fields.network_length) == network_octets;
        if !(continues && counts && fits && whole && self.append(&fields, data, memory)) {
            return Joined::Not;
        }
        let ended = data.len() < usize::from(self.segment_octets)
            || fields.flags != 0
            || self.shape.kind == SplitKind::Udp && self.frames == UDP_FRAMES_MAX;
        if ended { Joined::Ended } else { Joined::Open }
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
    pub(super) fn finish(&mut self, memory: &mut [u8]) -> (usize, usize, Work) {
        if self.frames == 1 {
            return (self.octets, 1, Work::Done);
        }
        let shape = self.shape;
        let (l3, l4) = (usize::from(shape.l3), usize::from(shape.l4));
        let put = |memory: &mut [u8], at: usize, value: u16| {
            memory[at..at + 2].copy_from_slice(&value.to_be_bytes());
        };
        // `join` keeps the length of the IP packet within 16 bits.
        let addresses = match shape.version {
            IpVersion::V4 => {
                put(memory, l3 + 2, (self.octets - l3) as u16);
                let sum = checksum::ipv4_header(&memory[l3..l4]);
                put(memory, l3 + 10, sum);
                l3 + 12..l3 + 20
            }
            IpVersion::V6 => {
                put(memory, l3 + 4, (self.octets - l4) as u16);
                l3 + 8..l3 + 40
            }
        };
        let protocol = match shape.kind {
            SplitKind::Tcp => {
                memory[l4 + 13] |= self.last_flags;
                TCP
            }
            SplitKind::Udp => {
                put(memory, l4 + 4, (self.octets - l4) as u16);
                UDP
            }
        };
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
