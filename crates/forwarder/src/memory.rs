//! A port and an underlay in memory: for embedders with frames of their own, for tests and for benches.
//!
//! Each direction is a [`Pipe`](pipe): a bounded ring of buffers that are allocated once and go round. A full pipe
//! drops, as a wire would, and says so. The embedder's end speaks `bytes`; the worker's end allocates nothing.
//!
//! ```text
//!   OverlayEnd::send ──► pipe ──► MemoryPort (Rx)      MemoryUnderlay (Tx) ──► pipe ──► UnderlayEnd::recv
//!   OverlayEnd::recv ◄── pipe ◄── MemoryPort (Tx)      MemoryUnderlay (Rx) ◄── pipe ◄── UnderlayEnd::send
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam::queue::ArrayQueue;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vxgate_codec::vxlan;
use vxgate_core::DropReason;
use vxgate_offload::Work;
use vxgate_sys::eventfd::EventFd;

use crate::port::{Device, Frame, HEADROOM_OCTETS, Port, PortRx, PortTx};
use crate::underlay::{Datagram, Outer, Tally, Target, Underlay, UnderlayRx, UnderlayTx};

/// Packets that a worker's half takes from its pipe in one batch.
const BATCH: usize = 64;

/// One packet on its way, with what goes beside the octets.
struct Packet {
    buffer: Vec<u8>,
    address: SocketAddr,
    tos: u8,
}

/// A bounded ring of packets whose buffers return to where they came from.
struct Pipe {
    full: ArrayQueue<Packet>,
    free: ArrayQueue<Vec<u8>>,
    arrived: EventFd,
    /// The reader found the pipe empty and counts on being woken. A writer that finds this set takes it down and signals;
    /// while the reader is busy, a packet costs no system call.
    asleep: AtomicBool,
    capacity_octets: usize,
}

impl Pipe {
    fn new(packets: usize, capacity_octets: usize) -> io::Result<Arc<Self>> {
        let free = ArrayQueue::new(packets.max(1));
        for _ in 0..free.capacity() {
            // The queue has room for exactly this many.
            let _ = free.push(Vec::with_capacity(HEADROOM_OCTETS + capacity_octets));
        }
        Ok(Arc::new(Self {
            full: ArrayQueue::new(packets.max(1)),
            free,
            arrived: EventFd::new()?,
            asleep: AtomicBool::new(true),
            capacity_octets,
        }))
    }

    /// Puts a packet of these parts into the pipe; false where it is full or the packet too long.
    fn put(&self, parts: [&[u8]; 2], address: SocketAddr, tos: u8) -> bool {
        if parts[0].len() + parts[1].len() > self.capacity_octets {
            return false;
        }
        let Some(mut buffer) = self.free.pop() else { return false };
        buffer.clear();
        buffer.resize(HEADROOM_OCTETS, 0);
        buffer.extend_from_slice(parts[0]);
        buffer.extend_from_slice(parts[1]);
        // There are as many places as buffers: a buffer in hand means a place.
        self.full.push(Packet { buffer, address, tos }).is_ok()
    }

    /// Wakes the reader if it sleeps; to be called after each packet or batch of them.
    fn wake(&self) {
        // Either this sees that the reader sleeps, or the reader sees the packet: see `sleep`.
        atomic::fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            // A counter at its limit is readable all the same.
            let _ = self.arrived.signal();
        }
    }

    /// Lets writers know that the reader found nothing. It must look once more before it waits.
    fn sleep(&self) -> io::Result<()> {
        self.arrived.drain()?;
        self.asleep.store(true, Ordering::Relaxed);
        atomic::fence(Ordering::SeqCst);
        Ok(())
    }

    /// The octets behind the headroom, copied out; the buffer goes back.
    fn take(&self) -> Option<(Bytes, SocketAddr, u8)> {
        let packet = self.full.pop()?;
        let octets = Bytes::copy_from_slice(&packet.buffer[HEADROOM_OCTETS..]);
        let _ = self.free.push(packet.buffer);
        Some((octets, packet.address, packet.tos))
    }

    /// As [`Pipe::take`], waiting at most `timeout` for a packet to come.
    #[expect(
        clippy::disallowed_methods,
        reason = "an embedder's wait with a bound is an edge where time enters"
    )]
    fn take_within(&self, timeout: Duration) -> io::Result<Option<(Bytes, SocketAddr, u8)>> {
        let start = Instant::now();
        loop {
            if let Some(packet) = self.take() {
                return Ok(Some(packet));
            }
            self.sleep()?;
            if let Some(packet) = self.take() {
                // The signal that `sleep` took back may have been for another receiver, too.
                if !self.full.is_empty() {
                    self.arrived.signal()?;
                }
                return Ok(Some(packet));
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            // A signal of an earlier packet may end the wait: then there is another look, and another wait.
            let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
            match poll(&mut [PollFd::new(&self.arrived, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The worker's receiving end of a pipe: a batch of packets in hand.
struct Outlet {
    pipe: Arc<Pipe>,
    batch: Vec<Packet>,
}

impl Outlet {
    fn new(pipe: Arc<Pipe>) -> Self {
        Self { pipe, batch: Vec::with_capacity(BATCH) }
    }

    fn recv(&mut self) -> io::Result<usize> {
        for packet in self.batch.drain(..) {
            let _ = self.pipe.free.push(packet.buffer);
        }
        self.fill();
        if self.batch.is_empty() {
            self.pipe.sleep()?;
            self.fill();
        }
        Ok(self.batch.len())
    }

    fn fill(&mut self) {
        while self.batch.len() < BATCH
            && let Some(packet) = self.pipe.full.pop()
        {
            self.batch.push(packet);
        }
    }
}

fn nowhere() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)
}

/// A [`Port`] whose frames come from and go to an [`OverlayEnd`].
pub struct MemoryPort {
    rx: MemoryPortRx,
    tx: MemoryPortTx,
}

/// The embedder's end of a [`MemoryPort`]: the host's side of the tunnel.
#[derive(Clone)]
pub struct OverlayEnd {
    to_port: Arc<Pipe>,
    from_port: Arc<Pipe>,
}

impl MemoryPort {
    /// Makes a port of this address and MTU with room for `frames` frames in each direction, and its other end.
    ///
    /// # Errors
    /// The system has no descriptor left for the events that wake the worker.
    pub fn new(device: Device, frames: usize) -> io::Result<(Self, OverlayEnd)> {
        // The largest superframe that a datagram can hold.
        let octets = usize::from(u16::MAX);
        let to_port = Pipe::new(frames, octets)?;
        let from_port = Pipe::new(frames, octets)?;
        let end = OverlayEnd { to_port: Arc::clone(&to_port), from_port: Arc::clone(&from_port) };
        let tx = MemoryPortTx { pipe: from_port, device, scratch: vec![0; octets].into_boxed_slice() };
        Ok((Self { rx: MemoryPortRx(Outlet::new(to_port)), tx }, end))
    }
}

impl OverlayEnd {
    /// Hands a frame to the tunnel; false where the pipe is full or the frame longer than 65,535 octets.
    pub fn send(&self, frame: &[u8]) -> bool {
        let sent = self.to_port.put([frame, &[]], nowhere(), 0);
        self.to_port.wake();
        sent
    }

    /// Whether the tunnel has taken every frame that was sent.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.to_port.full.is_empty()
    }

    /// The next frame that came out of the tunnel, if there is one.
    #[must_use]
    pub fn recv(&self) -> Option<Bytes> {
        self.from_port.take().map(|(octets, ..)| octets)
    }

    /// The next frame that comes out of the tunnel within `timeout`.
    ///
    /// # Errors
    /// Waiting failed.
    pub fn recv_within(&self, timeout: Duration) -> io::Result<Option<Bytes>> {
        Ok(self.from_port.take_within(timeout)?.map(|(octets, ..)| octets))
    }
}

impl Port for MemoryPort {
    type Rx = MemoryPortRx;
    type Tx = MemoryPortTx;

    fn split(self) -> (MemoryPortRx, MemoryPortTx) {
        (self.rx, self.tx)
    }
}

/// The receiving half of a [`MemoryPort`].
pub struct MemoryPortRx(Outlet);

impl PortRx for MemoryPortRx {
    fn recv(&mut self) -> io::Result<usize> {
        self.0.recv()
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        let buffer = self.0.batch[index].buffer.as_mut_slice();
        let range = HEADROOM_OCTETS..buffer.len();
        Frame { buffer, range, work: Work::Done }
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.0.pipe.arrived.as_fd()
    }
}

/// The sending half of a [`MemoryPort`]: finishes each frame, as its other end knows no virtio header.
pub struct MemoryPortTx {
    pipe: Arc<Pipe>,
    device: Device,
    scratch: Box<[u8]>,
}

impl PortTx for MemoryPortTx {
    fn push(&mut self, mut frame: Frame<'_>) -> Result<(), DropReason> {
        let (pipe, work) = (&self.pipe, frame.work);
        let mut whole = true;
        work.finish(frame.octets_mut(), &mut self.scratch, |segment| {
            whole &= pipe.put([segment, &[]], nowhere(), 0);
        });
        if whole { Ok(()) } else { Err(DropReason::PortFull) }
    }

    fn flush(&mut self) -> io::Result<usize> {
        self.pipe.wake();
        Ok(0)
    }

    fn device(&self) -> io::Result<Device> {
        Ok(self.device)
    }
}

/// An [`Underlay`] whose datagrams come from and go to an [`UnderlayEnd`].
pub struct MemoryUnderlay {
    rx: MemoryUnderlayRx,
    tx: MemoryUnderlayTx,
}

/// The embedder's end of a [`MemoryUnderlay`]: the network.
#[derive(Clone)]
pub struct UnderlayEnd {
    to_underlay: Arc<Pipe>,
    from_underlay: Arc<Pipe>,
}

impl MemoryUnderlay {
    /// Makes an underlay with room for `datagrams` datagrams in each direction, and its other end.
    ///
    /// # Errors
    /// The system has no descriptor left for the events that wake the worker.
    pub fn new(datagrams: usize) -> io::Result<(Self, UnderlayEnd)> {
        let octets = vxlan::HEADER_OCTETS + usize::from(u16::MAX);
        let to_underlay = Pipe::new(datagrams, octets)?;
        let from_underlay = Pipe::new(datagrams, octets)?;
        let end =
            UnderlayEnd { to_underlay: Arc::clone(&to_underlay), from_underlay: Arc::clone(&from_underlay) };
        let scratch = vec![0; usize::from(u16::MAX)].into_boxed_slice();
        let tx = MemoryUnderlayTx { pipe: from_underlay, scratch };
        Ok((Self { rx: MemoryUnderlayRx(Outlet::new(to_underlay)), tx }, end))
    }
}

impl UnderlayEnd {
    /// Hands a datagram of `source` to the tunnel; false where the pipe is full or the payload too long.
    pub fn send(&self, source: IpAddr, payload: &[u8]) -> bool {
        let sent = self.to_underlay.put([payload, &[]], SocketAddr::new(source, vxlan::PORT), 0);
        self.to_underlay.wake();
        sent
    }

    /// The next datagram that the tunnel sent, with its destination, if there is one.
    #[must_use]
    pub fn recv(&self) -> Option<(SocketAddr, Bytes)> {
        self.from_underlay.take().map(|(octets, address, _)| (address, octets))
    }

    /// The next datagram that the tunnel sends within `timeout`, with its destination.
    ///
    /// # Errors
    /// Waiting failed.
    pub fn recv_within(&self, timeout: Duration) -> io::Result<Option<(SocketAddr, Bytes)>> {
        Ok(self.from_underlay.take_within(timeout)?.map(|(octets, address, _)| (address, octets)))
    }
}

impl Underlay for MemoryUnderlay {
    type Rx = MemoryUnderlayRx;
    type Tx = MemoryUnderlayTx;

    fn split(self) -> (MemoryUnderlayRx, MemoryUnderlayTx) {
        (self.rx, self.tx)
    }
}

/// The receiving half of a [`MemoryUnderlay`].
pub struct MemoryUnderlayRx(Outlet);

impl UnderlayRx for MemoryUnderlayRx {
    fn recv(&mut self) -> io::Result<usize> {
        self.0.recv()
    }

    fn datagram(&mut self, index: usize) -> Datagram<'_> {
        let packet = &mut self.0.batch[index];
        let payload = HEADROOM_OCTETS..packet.buffer.len();
        Datagram {
            source: packet.address.ip(),
            tos: Some(packet.tos),
            buffer: packet.buffer.as_mut_slice(),
            payload,
            truncated: false,
            segment_octets: None,
        }
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.0.pipe.arrived.as_fd()
    }
}

/// The sending half of a [`MemoryUnderlay`].
pub struct MemoryUnderlayTx {
    pipe: Arc<Pipe>,
    scratch: Box<[u8]>,
}

impl UnderlayTx for MemoryUnderlayTx {
    fn push(&mut self, frame: &[u8], work: Work, outer: &Outer, targets: &[Target], tally: &mut dyn Tally) {
        let pipe = &self.pipe;
        let mut fits = false;
        work.finish_copy(frame, &mut self.scratch, |segment| {
            fits = vxlan::HEADER_OCTETS + segment.len() <= pipe.capacity_octets;
            for target in targets.iter().filter(|_| fits) {
                let mut header = [0; vxlan::HEADER_OCTETS];
                vxlan::encap(target.vni, &mut header);
                if pipe.put([&header, segment], target.address, outer.tos) {
                    tally.sent(target.peer, 1, segment.len() as u64);
                } else {
                    tally.dropped(target.peer, DropReason::UnderlayFull, 1);
                }
            }
        });
        if !fits {
            targets.iter().for_each(|target| tally.dropped(target.peer, DropReason::TooBig, 1));
        }
    }

    fn flush(&mut self, _tally: &mut dyn Tally) -> io::Result<()> {
        self.pipe.wake();
        Ok(())
    }
}
