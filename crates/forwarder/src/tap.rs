//! Ports on a TAP device: with a virtio header, and without one where the kernel refuses it.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use vxgate_codec::{MacAddr, ethernet};
use vxgate_core::DropReason;
use vxgate_offload::{VIRTIO_NET_HEADER_OCTETS, VirtioNetHeader, Work};
use vxgate_sys::plain_tap::PlainTap;
use vxgate_sys::tap::{Offload, Tap, VNET_HEADER_OCTETS};

use crate::port::{Device, Frame, HEADROOM_OCTETS, Port, PortRx, PortTx};

/// Frames read from a TAP in one batch: as many as one send may become (`UDP_MAX_SEGMENTS` of include/linux/udp.h).
const BATCH: usize = 128;

/// A batch ends with the frame that reaches this many octets: one send's worth. What is read further ahead has left the cache
/// when it is sent.
const BATCH_OCTETS: usize = 64 << 10;

/// Room for the longest frame a TAP can hold: 65,535 octets and two VLAN tags.
const FRAME_OCTETS: usize = 65_535 + 8 + ethernet::HEADER_OCTETS;

const _: () =
    assert!(VNET_HEADER_OCTETS == VIRTIO_NET_HEADER_OCTETS && VNET_HEADER_OCTETS <= HEADROOM_OCTETS);

/// Memory for a batch of frames, one behind the other: short ones touch few cache lines.
struct Slots {
    octets: Vec<u8>,
    frames: Vec<(Range<usize>, Work)>,
    /// The last batch ended because nothing more was queued.
    drained: bool,
}

impl Slots {
    fn new() -> Self {
        let octets = vec![0; BATCH_OCTETS + HEADROOM_OCTETS + FRAME_OCTETS];
        Self { octets, frames: Vec::with_capacity(BATCH), drained: false }
    }

    /// Where the next frame begins, if the batch takes another one.
    fn next(&self) -> Option<usize> {
        let end = self.frames.last().map_or(0, |(range, _)| range.end);
        (self.frames.len() < BATCH && end < BATCH_OCTETS).then(|| end.next_multiple_of(16) + HEADROOM_OCTETS)
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        let (range, work) = self.frames[index].clone();
        Frame { buffer: &mut self.octets, range, work }
    }
}

/// A [`Port`] on a TAP whose frames carry a virtio header: what a kernel peer left undone is handed to the kernel.
pub struct TapPort {
    tap: Arc<Tap>,
    offload: Arc<TapOffload>,
}

impl TapPort {
    /// Makes a port of an open TAP. One that was opened without any offload moves each frame alone in the other direction, too.
    #[must_use]
    pub fn new(tap: Arc<Tap>) -> Self {
        let offload = Arc::new(TapOffload {
            tap: Arc::clone(&tap),
            joins_tcp: AtomicBool::new(false),
            joins_udp: AtomicBool::new(false),
        });
        Self { tap, offload }
    }

    /// What the device and the port do for many frames at once, now and while the tunnel runs.
    #[must_use]
    pub fn offload(&self) -> Arc<TapOffload> {
        Arc::clone(&self.offload)
    }
}

/// What a TAP and its port do for many frames at once.
#[derive(Debug)]
pub struct TapOffload {
    tap: Arc<Tap>,
    joins_tcp: AtomicBool,
    joins_udp: AtomicBool,
}

impl TapOffload {
    /// What the kernel may leave to the tunnel in frames that it reads.
    #[must_use]
    pub fn device(&self) -> Offload {
        self.tap.offload()
    }

    /// Whether frames of one TCP flow go to the device as superframes.
    #[must_use]
    pub fn joins_tcp(&self) -> bool {
        self.joins_tcp.load(Ordering::Relaxed)
    }

    /// Whether frames of one UDP flow go to the device as superframes.
    #[must_use]
    pub fn joins_udp(&self) -> bool {
        self.joins_udp.load(Ordering::Relaxed)
    }
}

impl Port for TapPort {
    type Rx = TapRx;
    type Tx = TapTx;

    fn split(self) -> (TapRx, TapTx) {
        let scratch = vec![0; FRAME_OCTETS].into_boxed_slice();
        (
            TapRx { tap: Arc::clone(&self.tap), slots: Slots::new(), rejected: 0 },
            TapTx { tap: self.tap, scratch, whole: Vec::new(), gone: None, mtu_octets: Cell::new(None) },
        )
    }
}

/// The receiving half of a [`TapPort`].
pub struct TapRx {
    tap: Arc<Tap>,
    slots: Slots,
    rejected: usize,
}

impl PortRx for TapRx {
    fn recv(&mut self) -> io::Result<usize> {
        self.slots.frames.clear();
        self.slots.drained = false;
        // Refused frames count, too: a run of them must not hold up the thread, and the device stays readable.
        for _ in 0..BATCH {
            let Some(start) = self.slots.next() else { break };
            let room = &mut self.slots.octets[start - VNET_HEADER_OCTETS..];
            let octets = match self.tap.read(room) {
                Ok(Some(octets)) => octets,
                Ok(None) => {
                    self.slots.drained = true;
                    break;
                }
                // A superframe of a kind that the header has no word for; the kernel has thrown it away (`tun_put_user` of
                // drivers/net/tun.c).
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    self.rejected += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some((header, frame)) = room[..octets].split_first_chunk() else {
                self.rejected += 1;
                continue;
            };
            match Work::from_virtio(VirtioNetHeader::parse(header), frame) {
                Ok(work) => self.slots.frames.push((start..start + frame.len(), work)),
                Err(_) => self.rejected += 1,
            }
        }
        Ok(self.slots.frames.len())
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        self.slots.frame(index)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }

    fn is_drained(&self) -> bool {
        self.slots.drained
    }

    fn take_rejected(&mut self) -> usize {
        std::mem::take(&mut self.rejected)
    }
}

/// The sending half of a [`TapPort`].
pub struct TapTx {
    tap: Arc<Tap>,
    scratch: Box<[u8]>,
    /// A segment with its header, where the kernel does not cut.
    whole: Vec<u8>,
    gone: Option<io::Error>,
    /// The MTU as it was last told.
    mtu_octets: Cell<Option<usize>>,
}

impl PortTx for TapTx {
    fn push(&mut self, frame: Frame<'_>) -> Result<(), DropReason> {
        let Frame { buffer, range, work } = frame;
        let start = range.start - VNET_HEADER_OCTETS;
        let header = &mut buffer[start..range.start];
        header.fill(0);
        header[..VIRTIO_NET_HEADER_OCTETS].copy_from_slice(&work.to_virtio().to_bytes());
        match written(self.tap.write(&buffer[start..range.end]), &mut self.gone) {
            // The kernel takes the frame but not the work: do it here.
            Err(DropReason::PortRefused) if work != Work::Done => {
                let Self { tap, scratch, whole, gone, .. } = self;
                let mut outcome = Ok(());
                work.finish(&mut buffer[range], scratch, |segment| {
                    whole.clear();
                    whole.resize(VNET_HEADER_OCTETS, 0);
                    whole.extend_from_slice(segment);
                    outcome = outcome.and(written(tap.write(whole), gone));
                });
                outcome
            }
            outcome => outcome,
        }
    }

    fn flush(&mut self) -> io::Result<usize> {
        self.gone.take().map_or(Ok(0), Err)
    }

    fn device(&self) -> io::Result<Device> {
        let mac = MacAddr::new(self.tap.mac()?);
        // In another network namespace the device still carries frames, but its MTU cannot be asked from here.
        let mtu = self.tap.mtu().map(mtu_octets);
        let mtu_octets = mtu.or_else(|error| self.mtu_octets.get().ok_or(error))?;
        self.mtu_octets.set(Some(mtu_octets));
        Ok(Device { mac, mtu_octets })
    }
}

/// A [`Port`] on a TAP without a virtio header: what a kernel peer left undone is done here.
pub struct PlainTapPort(Arc<PlainTap>);

impl PlainTapPort {
    /// Makes a port of an open TAP.
    #[must_use]
    pub const fn new(tap: Arc<PlainTap>) -> Self {
        Self(tap)
    }
}

impl Port for PlainTapPort {
    type Rx = PlainTapRx;
    type Tx = PlainTapTx;

    fn split(self) -> (PlainTapRx, PlainTapTx) {
        let scratch = vec![0; FRAME_OCTETS].into_boxed_slice();
        (
            PlainTapRx { tap: Arc::clone(&self.0), slots: Slots::new() },
            PlainTapTx { tap: self.0, scratch, gone: None, known: Cell::new(None) },
        )
    }
}

/// The receiving half of a [`PlainTapPort`].
pub struct PlainTapRx {
    tap: Arc<PlainTap>,
    slots: Slots,
}

impl PortRx for PlainTapRx {
    fn recv(&mut self) -> io::Result<usize> {
        self.slots.frames.clear();
        while let Some(start) = self.slots.next() {
            let Some(octets) = self.tap.read(&mut self.slots.octets[start..])? else { break };
            self.slots.frames.push((start..start + octets, Work::Done));
        }
        Ok(self.slots.frames.len())
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        self.slots.frame(index)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }
}

/// The sending half of a [`PlainTapPort`].
pub struct PlainTapTx {
    tap: Arc<PlainTap>,
    scratch: Box<[u8]>,
    gone: Option<io::Error>,
    /// What the device last told of itself.
    known: Cell<Option<Device>>,
}

impl PortTx for PlainTapTx {
    fn push(&mut self, mut frame: Frame<'_>) -> Result<(), DropReason> {
        let Self { tap, scratch, gone, .. } = self;
        let mut outcome = Ok(());
        let work = frame.work;
        work.finish(frame.octets_mut(), scratch, |segment| {
            outcome = outcome.and(written(tap.write(segment), gone));
        });
        outcome
    }

    fn flush(&mut self) -> io::Result<usize> {
        self.gone.take().map_or(Ok(0), Err)
    }

    fn device(&self) -> io::Result<Device> {
        let ask = || -> io::Result<Device> {
            Ok(Device { mac: MacAddr::new(self.tap.mac()?), mtu_octets: mtu_octets(self.tap.mtu()?) })
        };
        // Renamed, the device cannot be asked by its name; deleted, reading it tells.
        let device = ask().or_else(|error| self.known.get().ok_or(error))?;
        self.known.set(Some(device));
        Ok(device)
    }
}

/// No MTU of Linux is longer than an `int`.
fn mtu_octets(mtu: u32) -> usize {
    usize::try_from(mtu).unwrap_or(usize::MAX)
}

/// Tells a frame that the device would not take from a device that is gone.
fn written(outcome: io::Result<Option<usize>>, gone: &mut Option<io::Error>) -> Result<(), DropReason> {
    match outcome {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(DropReason::PortFull),
        Err(error) if error.kind() == ErrorKind::OutOfMemory => Err(DropReason::PortFull),
        // The device was deleted: the descriptor has lost it for good.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::BADFD) => {
            *gone = Some(error);
            Err(DropReason::PortRefused)
        }
        Err(_) => Err(DropReason::PortRefused),
    }
}
