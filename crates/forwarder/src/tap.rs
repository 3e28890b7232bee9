//! Ports on a TAP device: with a virtio header, and without one where the kernel refuses it.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use vxgate_codec::{MacAddr, ethernet};
use vxgate_core::DropReason;
use vxgate_offload::{VIRTIO_NET_HEADER_OCTETS, VirtioNetHeader, Work};
use vxgate_sys::plain_tap::PlainTap;
use vxgate_sys::tap::{Tap, VNET_HEADER_OCTETS};

use crate::port::{Device, Frame, HEADROOM_OCTETS, Port, PortRx, PortTx};

/// Frames read from a TAP in one batch: enough to fill a GSO datagram (128 segments at most), small enough that
/// the buffers of short frames stay in the second-level cache.
const BATCH: usize = 64;

/// Room for the longest frame a TAP can hold: 65,535 octets and two VLAN tags.
const SLOT_OCTETS: usize = HEADROOM_OCTETS + 65_535 + 8 + ethernet::HEADER_OCTETS;

const _: () =
    assert!(VNET_HEADER_OCTETS == VIRTIO_NET_HEADER_OCTETS && VNET_HEADER_OCTETS <= HEADROOM_OCTETS);

/// Buffers for a batch of frames, one after the other; pages that no frame has touched cost no memory.
struct Slots {
    octets: Vec<u8>,
    frames: Vec<(usize, Work)>,
    /// The last batch ended because nothing more was queued.
    drained: bool,
}

impl Slots {
    fn new() -> Self {
        Self { octets: vec![0; BATCH * SLOT_OCTETS], frames: Vec::with_capacity(BATCH), drained: false }
    }

    fn slot(&mut self, index: usize) -> &mut [u8] {
        &mut self.octets[index * SLOT_OCTETS..(index + 1) * SLOT_OCTETS]
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        let (octets, work) = self.frames[index];
        Frame { buffer: self.slot(index), range: HEADROOM_OCTETS..HEADROOM_OCTETS + octets, work }
    }
}

/// A [`Port`] on a TAP whose frames carry a virtio header: what a kernel peer left undone is handed to the kernel.
pub struct TapPort(Arc<Tap>);

impl TapPort {
    /// Makes a port of an open TAP.
    #[must_use]
    pub const fn new(tap: Arc<Tap>) -> Self {
        Self(tap)
    }
}

impl Port for TapPort {
    type Rx = TapRx;
    type Tx = TapTx;

    fn split(self) -> (TapRx, TapTx) {
        let scratch = vec![0; SLOT_OCTETS].into_boxed_slice();
        (
            TapRx { tap: Arc::clone(&self.0), slots: Slots::new(), rejected: 0 },
            TapTx { tap: self.0, scratch, whole: Vec::new(), gone: None, mtu_octets: Cell::new(None) },
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
            let index = self.slots.frames.len();
            let slot = &mut self.slots.slot(index)[HEADROOM_OCTETS - VNET_HEADER_OCTETS..];
            let octets = match self.tap.read(slot) {
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
            let Some((header, frame)) = slot[..octets].split_first_chunk() else {
                self.rejected += 1;
                continue;
            };
            match Work::from_virtio(VirtioNetHeader::parse(header), frame) {
                Ok(work) => {
                    let octets = frame.len();
                    self.slots.frames.push((octets, work));
                }
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
        let scratch = vec![0; SLOT_OCTETS].into_boxed_slice();
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
        while self.slots.frames.len() < BATCH {
            let index = self.slots.frames.len();
            let slot = &mut self.slots.slot(index)[HEADROOM_OCTETS..];
            let Some(octets) = self.tap.read(slot)? else { break };
            self.slots.frames.push((octets, Work::Done));
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
