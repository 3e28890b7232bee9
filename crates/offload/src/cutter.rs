//! Writing the segments of one superframe: what all of them have equal is summed once, each payload while it is copied.

use vxgate_codec::layers::protocol::{TCP, UDP};
use vxgate_codec::layers::{IPV4_HEADER_OCTETS, IPV6_HEADER_OCTETS, IpVersion};

use crate::checksum::{add, copy_add, fold};
use crate::split::{Split, SplitKind};

/// TCP flags that belong to the first or the last segment only (RFC 9293, section 3.1).
pub(crate) const CWR: u8 = 0x80;
const FIN_PSH: u8 = 0x01 | 0x08;

/// Cuts one superframe: made by [`Split::cutter`].
#[derive(Clone, Debug)]
pub struct Cutter<'a> {
    split: Split,
    headers: &'a [u8],
    payload: &'a [u8],
    /// Sum of the IPv4 header without length, identification and checksum.
    l3_sum: u64,
    identification: u16,
    /// Sum of pseudo and L4 header without what changes from segment to segment.
    l4_sum: u64,
    sequence: u32,
    /// The TCP octet that holds the flags.
    flags: u8,
}

impl<'a> Cutter<'a> {
    /// `None` where the frame is shorter than the headers that the split was made for.
    pub(crate) fn new(split: Split, frame: &'a [u8]) -> Option<Self> {
        let (l3, l4) = (usize::from(split.l3), usize::from(split.l4));
        let (headers, payload) = frame.split_at_checked(usize::from(split.payload))?;
        let u16_at = |at: usize| {
            headers.get(at..at + 2).map_or(0, |octets| u16::from_be_bytes([octets[0], octets[1]]))
        };
        // The field as it stands, and the length in its pseudo header.
        let seed = || {
            let unfinished = u64::from(u16_at(l4 + usize::from(split.checksum_at().offset)));
            unfinished + u64::from(!fold((frame.len() - l4) as u64))
        };
        let addresses = |range| add(u64::from(split.protocol()), headers.get(range).unwrap_or_default());
        let (l3_sum, identification, pseudo) = match split.version {
            IpVersion::V4 => {
                let sum = [0..2, 6..10, 12..l4 - l3].into_iter().fold(0, |sum, part| {
                    add(sum, headers.get(l3 + part.start..l3 + part.end).unwrap_or_default())
                });
                let plain = l4 == l3 + IPV4_HEADER_OCTETS;
                let pseudo = if plain { addresses(l3 + 12..l3 + 20) } else { seed() };
                (sum, u16_at(l3 + 4), pseudo)
            }
            // A routing header holds the destination that is summed (RFC 8200, section 8.1), as a source route of IPv4
            // does; whoever left the sum undone has counted it.
            IpVersion::V6 => {
                let plain = l4 == l3 + IPV6_HEADER_OCTETS;
                (0, 0, if plain { addresses(l3 + 8..l3 + 40) } else { seed() })
            }
        };
        let part = |sum, range| add(sum, headers.get(range).unwrap_or_default());
        let ports = part(pseudo, l4..l4 + 4);
        let (l4_sum, sequence, flags) = match split.kind {
            SplitKind::Tcp => {
                let flags = headers.get(l4 + 13).copied().unwrap_or_default();
                let data_offset = u64::from(u16_at(l4 + 12) & 0xff00);
                let sum = part(part(part(ports, l4 + 8..l4 + 12), l4 + 14..l4 + 16), l4 + 18..headers.len());
                (sum + data_offset, u32::from(u16_at(l4 + 4)) << 16 | u32::from(u16_at(l4 + 6)), flags)
            }
            SplitKind::Udp => (ports, 0, 0),
        };
        Some(Self { split, headers, payload, l3_sum, identification, l4_sum, sequence, flags })
    }

    /// How many segments there are; at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.split.count(self.headers.len() + self.payload.len())
    }

    /// Length of segment number `index`; of one past the last, that of its headers.
    #[must_use]
    pub fn segment_length(&self, index: usize) -> usize {
        self.split.segment_length(self.headers.len() + self.payload.len(), index)
    }

    /// Writes segment number `index` into `out` and returns its length; `None` past the last one or where `out` is
    /// shorter than the segment.
    #[must_use]
    pub fn segment(&self, index: usize, out: &mut [u8]) -> Option<usize> {
        let step = usize::from(self.split.segment_octets);
        let (from, is_last) = (index * step, (index + 1) * step >= self.payload.len());
        if index > 0 && from >= self.payload.len() {
            return None;
        }
        let payload = self.payload.get(from..self.payload.len().min(from + step))?;
        let length = self.headers.len() + payload.len();
        let (headers, place) = out.get_mut(..length)?.split_at_mut_checked(self.headers.len())?;
        headers.copy_from_slice(self.headers);

        let (l3, l4) = (usize::from(self.split.l3), usize::from(self.split.l4));
        // An IP length is below 64 KiB because a segment is no longer than the superframe, whose own length fitted.
        match self.split.version {
            IpVersion::V4 => {
                let total = (length - l3) as u16;
                let identification = self.identification.wrapping_add(index as u16);
                put(headers, l3 + 2, total);
                put(headers, l3 + 4, identification);
                put(headers, l3 + 10, !fold(self.l3_sum + u64::from(total) + u64::from(identification)));
            }
            IpVersion::V6 => put(headers, l3 + 4, (length - l3 - IPV6_HEADER_OCTETS) as u16),
        }
        let l4_octets = (length - l4) as u16;
        let changing = match self.split.kind {
            SplitKind::Tcp => {
                let sequence = self.sequence.wrapping_add(from as u32);
                let first = if index == 0 { 0xff } else { !CWR };
                let flags = self.flags & first & if is_last { 0xff } else { !FIN_PSH };
                headers.get_mut(l4 + 4..l4 + 8)?.copy_from_slice(&sequence.to_be_bytes());
                *headers.get_mut(l4 + 13)? = flags;
                u64::from(sequence) + u64::from(flags)
            }
            SplitKind::Udp => {
                put(headers, l4 + 4, l4_octets);
                u64::from(l4_octets)
            }
        };
        let sum = !fold(copy_add(self.l4_sum + u64::from(l4_octets) + changing, payload, place));
        // A UDP checksum of zero means "none" and goes out as its other form (RFC 768).
        let sum = if sum == 0 && self.split.kind == SplitKind::Udp { 0xffff } else { sum };
        put(headers, l4 + usize::from(self.split.checksum_at().offset), sum);
        Some(length)
    }
}

impl Split {
    const fn protocol(&self) -> u8 {
        match self.kind {
            SplitKind::Tcp => TCP,
            SplitKind::Udp => UDP,
        }
    }
}

#[inline(always)]
fn put(headers: &mut [u8], at: usize, value: u16) {
    if let Some(field) = headers.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
