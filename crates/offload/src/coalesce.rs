//! Joining wire frames of one flow into superframes, as a NIC with LRO or a kernel with GRO would.
//!
//! # Theory of operation
//!
//! A *run* is what has been joined so far of one flow: the first frame as it came, and behind it the payloads of those that followed.
//! Each run has a buffer of its own, so that several flows may be interleaved. A frame is copied once, into its run's
//! buffer, and summed in the same pass (the first one when the second comes); a wrong sum, and the run is as if the frame had
//! never been there.
//!
//! ```text
//!   push ─► the last run, or that of its flow: same headers, continues it, sums right?
//!             │ no                                          └─ yes ─► Held; emitted if nothing may follow
//!             ▼
//!           emit what is held of its flow; may it begin a run? ─ yes ─► Held
//!                                                         └───── no ──► Pass
//! ```
//!
//! What is joined is what the kernel's own GRO joins (`tcp_gro_receive`, `udp_gro_receive_segment`, `inet_gro_receive` and
//! `ipv6_gro_receive` of Linux 6.18): equal headers but for lengths, checksums, IPv4 identification, TCP sequence
//! number, FIN and PSH; consecutive sequence numbers; equal payloads, the last of them perhaps shorter. A frame
//! that is anything else passes as it came, and never overtakes, or is overtaken by, another one of its flow.

mod run;
mod shape;

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;
use core::ops::Range;

use vxgate_codec::ethernet::MAX_HEADER_OCTETS;
use vxgate_codec::flow;
use vxgate_codec::layers::{IpVersion, Layers};

use self::run::{Joined, Run};
use self::shape::Shape;
use crate::split::SplitKind;
use crate::work::Work;

/// Runs that are held at once. One more flow, and the oldest run is emitted. A received batch is at most 64 superframes of
/// UDP_GRO, each of one outer flow; of 16 flows at a time each still has superframes of a dozen frames.
const RUNS: usize = 16;

/// Longest IP packet, in octets (RFC 791, section 3.1).
const IP_OCTETS_MAX: usize = 65_535;

/// Datagrams in one superframe: more are refused by kernels before 6.9 (`UDP_MAX_SEGMENTS` of include/linux/udp.h).
const UDP_FRAMES_MAX: u16 = 64;

/// Any value: two flows with one hash only cost each other the joining.
const FLOW_KEY: u64 = 0x5bf0_3635_dee1_8a4b;

/// Which superframes the device behind takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joins {
    /// TCP over IPv4 (VIRTIO_NET_HDR_GSO_TCPV4).
    pub tcp4: bool,
    /// TCP over IPv6 (VIRTIO_NET_HDR_GSO_TCPV6).
    pub tcp6: bool,
    /// UDP over IPv4 (VIRTIO_NET_HDR_GSO_UDP_L4, Linux 6.2).
    pub udp4: bool,
    /// UDP over IPv6 (VIRTIO_NET_HDR_GSO_UDP_L4, Linux 6.2).
    pub udp6: bool,
}

impl Joins {
    /// All of them.
    pub const ALL: Self = Self { tcp4: true, tcp6: true, udp4: true, udp6: true };
    /// None: each frame passes.
    pub const NONE: Self = Self { tcp4: false, tcp6: false, udp4: false, udp6: false };

    const fn takes(self, kind: SplitKind, version: IpVersion) -> bool {
        match (kind, version) {
            (SplitKind::Tcp, IpVersion::V4) => self.tcp4,
            (SplitKind::Tcp, IpVersion::V6) => self.tcp6,
            (SplitKind::Udp, IpVersion::V4) => self.udp4,
            (SplitKind::Udp, IpVersion::V6) => self.udp6,
        }
    }
}

/// What became of a frame that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a frame that passes is the caller's to write"]
pub enum Offer {
    /// It comes out of a later emit.
    Held,
    /// The caller writes it now, as it came. What was held of its flow has been emitted.
    Pass,
}

/// What comes out: frames joined, or one frame as it came.
#[derive(Debug)]
pub struct Superframe<'a> {
    /// The run's buffer, with the headroom asked for in front of the frame.
    pub buffer: &'a mut [u8],
    /// Where the frame stands in it.
    pub range: Range<usize>,
    /// What it still needs: [`Work::Split`] for frames joined, [`Work::Done`] for one alone.
    pub work: Work,
    /// How many wire frames it stands for. One: it is that frame, octet for octet.
    pub frames: usize,
}

impl Superframe<'_> {
    /// The frame's octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

/// Joins wire frames into superframes. Its memory, 64 KiB for each of sixteen runs, is taken when it is made and touched
/// only as far as runs fill it.
pub struct Coalescer {
    joins: Joins,
    headroom_octets: usize,
    runs: [Run; RUNS],
    /// Indices of runs: first those in use, in the order in which they were begun, then the free ones. The one that was freed last
    /// is used next, while its memory is still in the cache.
    order: [u8; RUNS],
    /// The flow of each run in use, in the same order. No two are of one flow.
    flows: [u32; RUNS],
    used: usize,
    /// Where in `order` the run stands that a frame last went to.
    last: usize,
    memory: Box<[u8]>,
    /// Length of each run's part of `memory`.
    stride: usize,
}

impl fmt::Debug for Coalescer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalescer")
            .field("joins", &self.joins)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl Coalescer {
    /// Makes a coalescer that leaves `headroom_octets` free in front of each superframe.
    #[must_use]
    pub fn new(joins: Joins, headroom_octets: usize) -> Self {
        // Whole cache lines, so that no two runs share one.
        let stride = (headroom_octets + MAX_HEADER_OCTETS + IP_OCTETS_MAX).next_multiple_of(64);
        Self {
            joins,
            headroom_octets,
            runs: [Run::EMPTY; RUNS],
            order: core::array::from_fn(|index| index as u8),
            flows: [0; RUNS],
            used: 0,
            last: 0,
            memory: vec![0; RUNS * stride].into_boxed_slice(),
            stride,
        }
    }

    /// Changes which superframes may be begun. Runs that are held come out as they are.
    pub fn set_joins(&mut self, joins: Joins) {
        self.joins = joins;
    }

    /// Offers a whole wire frame, one that needs no work.
    #[inline]
    pub fn push(&mut self, frame: &[u8], emit: &mut dyn FnMut(Superframe<'_>)) -> Offer {
        // Most frames follow one of their own flow: its headers tell that sooner than a look at what they are.
        if self.last < self.used && self.join(self.last, frame, emit) {
            return Offer::Held;
        }
        self.push_elsewhere(frame, emit)
    }

    /// Emits what is held of the flow of a frame that is not offered (because it still needs work), so that it does not overtake.
    pub fn give_way(&mut self, frame: &[u8], emit: &mut dyn FnMut(Superframe<'_>)) {
        if self.used > 0
            && let Ok(layers) = Layers::parse(frame)
            && let Some(position) = self.position(flow::flow_hash_of(frame, Some(&layers), FLOW_KEY))
        {
            self.emit(position, emit);
        }
    }

    /// Emits all that is held, in the order in which the runs were begun.
    pub fn flush(&mut self, emit: &mut dyn FnMut(Superframe<'_>)) {
        for position in 0..self.used {
            self.emit_one(position, emit);
        }
        self.used = 0;
    }

    /// Joins a frame to the run at `position`, if it has its headers and continues it.
    #[inline]
    fn join(&mut self, position: usize, frame: &[u8], emit: &mut dyn FnMut(Superframe<'_>)) -> bool {
        let index = usize::from(self.order[position]);
        let memory = &mut self.memory[index * self.stride + self.headroom_octets..];
        let run = &mut self.runs[index];
        if !run.matches(frame, memory) {
            return false;
        }
        match run.join(frame, memory) {
            Joined::Open => self.last = position,
            Joined::Ended => self.emit(position, emit),
            Joined::Not => return false,
        }
        true
    }

    /// Finds the run of a frame that does not continue the last one, or begins one.
    fn push_elsewhere(&mut self, frame: &[u8], emit: &mut dyn FnMut(Superframe<'_>)) -> Offer {
        let Ok(layers) = Layers::parse(frame) else { return Offer::Pass };
        let Some(ip) = layers.ip else { return Offer::Pass };
        let flow = flow::flow_hash_of(frame, Some(&layers), FLOW_KEY);
        if let Some(position) = self.position(flow) {
            if position != self.last && self.join(position, frame, emit) {
                return Offer::Held;
            }
            self.emit(position, emit);
        }
        let Some(shape) = Shape::of(frame, &layers, &ip) else { return Offer::Pass };
        if !self.joins.takes(shape.kind, shape.version) {
            return Offer::Pass;
        }
        if self.used == RUNS {
            self.emit(0, emit);
        }
        let index = usize::from(self.order[self.used]);
        let memory = &mut self.memory[index * self.stride + self.headroom_octets..];
        self.runs[index] = Run::begin(shape, frame, memory);
        self.flows[self.used] = flow;
        self.last = self.used;
        self.used += 1;
        Offer::Held
    }

    /// Where the run of this flow stands, if there is one.
    #[inline]
    fn position(&self, flow: u32) -> Option<usize> {
        // All of them, in one go: few comparisons of vectors.
        let found = self
            .flows
            .iter()
            .enumerate()
            .fold(0_u32, |found, (position, known)| found | u32::from(*known == flow) << position);
        let found = found & ((1 << self.used) - 1);
        (found != 0).then(|| found.trailing_zeros() as usize)
    }

    /// Emits a run and frees it.
    fn emit(&mut self, position: usize, emit: &mut dyn FnMut(Superframe<'_>)) {
        self.emit_one(position, emit);
        let index = self.order[position];
        self.order.copy_within(position + 1..self.used, position);
        self.flows.copy_within(position + 1..self.used, position);
        self.used -= 1;
        self.order[self.used] = index;
    }

    fn emit_one(&mut self, position: usize, emit: &mut dyn FnMut(Superframe<'_>)) {
        let index = usize::from(self.order[position]);
        let buffer = &mut self.memory[index * self.stride..][..self.stride];
        let (octets, frames, work) = self.runs[index].finish(&mut buffer[self.headroom_octets..]);
        let range = self.headroom_octets..self.headroom_octets + octets;
        emit(Superframe { buffer, range, work, frames });
    }
}
