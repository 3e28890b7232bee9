//! Memory for the frames that are read from a TAP.

use std::ops::Range;

use vxgate_codec::ethernet;
use vxgate_offload::Work;

use crate::port::{Frame, HEADROOM_OCTETS};

/// Frames read from a TAP in one batch: as many as one send may become (`UDP_MAX_SEGMENTS` of include/linux/udp.h).
pub(super) const BATCH: usize = 128;

/// A batch ends with the frame that reaches this many octets: one send's worth. What is read further ahead has left the cache
/// when it is sent.
const BATCH_OCTETS: usize = 64 << 10;

/// Room for the longest frame a TAP can hold: 65,535 octets and two VLAN tags.
pub(super) const FRAME_OCTETS: usize = 65_535 + 8 + ethernet::HEADER_OCTETS;

/// Memory for a batch of frames, one behind the other: short ones touch few cache lines.
pub(super) struct Slots {
    pub(super) octets: Vec<u8>,
    pub(super) frames: Vec<(Range<usize>, Work)>,
    /// The last batch ended because nothing more was queued.
    pub(super) drained: bool,
}

impl Slots {
    pub(super) fn new() -> Self {
        let octets = vec![0; BATCH_OCTETS + HEADROOM_OCTETS + FRAME_OCTETS];
        Self { octets, frames: Vec::with_capacity(BATCH), drained: false }
    }

    /// Forgets the last batch.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.drained = false;
    }

    /// Where the next frame begins, if the batch takes another one.
    pub(super) fn next(&self) -> Option<usize> {
        let end = self.frames.last().map_or(0, |(range, _)| range.end);
        (self.frames.len() < BATCH && end < BATCH_OCTETS).then(|| end.next_multiple_of(16) + HEADROOM_OCTETS)
    }

    pub(super) fn frame(&mut self, index: usize) -> Frame<'_> {
        let (range, work) = self.frames[index].clone();
        Frame { buffer: &mut self.octets, range, work }
    }
}
