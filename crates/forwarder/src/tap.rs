//! Ports on a TAP device: with a virtio header, and without one where the kernel refuses it.

mod plain;
mod send;
mod slots;

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use vxgate_core::DropReason;
use vxgate_offload::{Joins, VIRTIO_NET_HEADER_OCTETS, VirtioNetHeader, Work};
use vxgate_sys::tap::{Offload, Tap, VNET_HEADER_OCTETS};

pub use self::plain::PlainTapPort;
use self::send::TapTx;
use self::slots::{BATCH, Slots};
use crate::port::{Frame, HEADROOM_OCTETS, Port, PortRx};

const _: () =
    assert!(VNET_HEADER_OCTETS == VIRTIO_NET_HEADER_OCTETS && VNET_HEADER_OCTETS <= HEADROOM_OCTETS);

/// A [`Port`] on a TAP whose frames carry a virtio header: what a kernel peer left undone is handed to the kernel.
pub struct TapPort {
    tap: Arc<Tap>,
    offload: Arc<TapOffload>,
}

impl TapPort {
    /// Makes a port of an open TAP. One that was opened without any offload moves each frame alone in the other direction, too.
    #[must_use]
    pub fn new(tap: Arc<Tap>) -> Self {
        let offload = Arc::new(TapOffload::new(Arc::clone(&tap)));
        Self { tap, offload }
    }

    /// Makes a port of each queue of a device ([`Tap::open_queues`]). What the kernel refuses one of them, none tries again.
    #[must_use]
    pub fn of_queues(queues: Vec<Tap>) -> Vec<Self> {
        let queues: Vec<Arc<Tap>> = queues.into_iter().map(Arc::new).collect();
        let offload = queues.first().map(|tap| Arc::new(TapOffload::new(Arc::clone(tap))));
        let port = |(tap, offload)| Self { tap, offload };
        queues.into_iter().zip(std::iter::repeat(offload).flatten()).map(port).collect()
    }

    /// What the device and the port do for many frames at once, now and while the tunnel runs.
    #[must_use]
    pub fn offload(&self) -> Arc<TapOffload> {
        Arc::clone(&self.offload)
    }
}

/// What a TAP and its port do for many frames at once. It may change while the tunnel runs: what the kernel refuses is not
/// tried again.
#[derive(Debug)]
pub struct TapOffload {
    tap: Arc<Tap>,
    joins_tcp4: AtomicBool,
    joins_tcp6: AtomicBool,
    joins_udp: AtomicBool,
}

impl TapOffload {
    fn new(tap: Arc<Tap>) -> Self {
        let wanted = tap.offload() != Offload::NONE;
        let takes = tap.write_offload();
        Self {
            joins_tcp4: AtomicBool::new(wanted && takes.has_tso4()),
            joins_tcp6: AtomicBool::new(wanted && takes.has_tso6()),
            joins_udp: AtomicBool::new(wanted && takes.has_uso()),
            tap,
        }
    }

    /// What the kernel may leave to the tunnel in frames that it reads.
    #[must_use]
    pub fn device(&self) -> Offload {
        self.tap.offload()
    }

    /// Of which flows the frames are joined into superframes for the device.
    #[must_use]
    pub fn joins(&self) -> Joins {
        let udp = self.joins_udp.load(Ordering::Relaxed);
        Joins {
            tcp4: self.joins_tcp4.load(Ordering::Relaxed),
            tcp6: self.joins_tcp6.load(Ordering::Relaxed),
            udp4: udp,
            udp6: udp,
        }
    }

    /// The kernel would not cut superframes of these kinds: from now on the frames go one by one.
    fn refuse(&self, refused: Joins) {
        for (joins, refused, name) in [
            (&self.joins_tcp4, refused.tcp4, "TCP over IPv4"),
            (&self.joins_tcp6, refused.tcp6, "TCP over IPv6"),
            (&self.joins_udp, refused.udp4 || refused.udp6, "UDP"),
        ] {
            if refused && joins.swap(false, Ordering::Relaxed) {
                tracing::warn!("the device refuses superframes of {name}: writing its frames one by one");
            }
        }
    }
}

impl Port for TapPort {
    type Rx = TapRx;
    type Tx = TapTx;

    fn split(self) -> (TapRx, TapTx) {
        let rx = TapRx { tap: Arc::clone(&self.tap), slots: Slots::new(), rejected: 0 };
        (rx, TapTx::new(self.tap, self.offload))
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
        self.slots.clear();
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
