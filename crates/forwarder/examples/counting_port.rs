//! A port of one's own: it stands around another one, counts what passes, and changes nothing.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vxgate_forwarder::{
    Device, DropReason, Forwarder, Frame, MacAddr, MemoryPort, MemoryUnderlay, OuterPolicy, Port, PortRx,
    PortTx, Remote, Segment, SegmentConfig, Timestamp,
};

/// What passed, each way.
#[derive(Default)]
struct Passed {
    out: AtomicU64,
    back: AtomicU64,
}

/// Counts around another port.
struct CountingPort<P> {
    inner: P,
    passed: Arc<Passed>,
}

impl<P: Port> Port for CountingPort<P> {
    type Rx = CountingRx<P::Rx>;
    type Tx = CountingTx<P::Tx>;

    fn split(self) -> (Self::Rx, Self::Tx) {
        let (rx, tx) = self.inner.split();
        let passed = Arc::clone(&self.passed);
        (CountingRx { inner: rx, passed }, CountingTx { inner: tx, passed: self.passed })
    }
}

/// The half that frames of the host come from.
struct CountingRx<R> {
    inner: R,
    passed: Arc<Passed>,
}

impl<R: PortRx> PortRx for CountingRx<R> {
    fn recv(&mut self) -> io::Result<usize> {
        let count = self.inner.recv()?;
        // Once a batch, not once a frame.
        self.passed.out.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        self.inner.frame(index)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.inner.readiness()
    }

    fn take_rejected(&mut self) -> usize {
        self.inner.take_rejected()
    }

    fn is_drained(&self) -> bool {
        self.inner.is_drained()
    }
}

/// The half that frames of the peers go to.
struct CountingTx<T> {
    inner: T,
    passed: Arc<Passed>,
}

impl<T: PortTx> PortTx for CountingTx<T> {
    fn push(&mut self, frame: Frame<'_>) -> Result<(), DropReason> {
        self.passed.back.fetch_add(1, Ordering::Relaxed);
        self.inner.push(frame)
    }

    fn flush(&mut self) -> io::Result<usize> {
        self.inner.flush()
    }

    fn device(&self) -> io::Result<Device> {
        self.inner.device()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let peer = "192.0.2.2".parse()?;
    let mut segment = Segment::new(SegmentConfig { hash_key: 0x5eed, ..SegmentConfig::default() });
    segment.peer_add(Remote::new(peer), Timestamp::default())?;
    let (inner, host) =
        MemoryPort::new(Device { mac: MacAddr::new([2, 0, 0, 0, 0, 1]), mtu_octets: 1450 }, 64)?;
    let (underlay, network) = MemoryUnderlay::new(64)?;
    let passed = Arc::new(Passed::default());
    let port = CountingPort { inner, passed: Arc::clone(&passed) };
    let forwarder = Forwarder::spawn(segment, port, underlay, OuterPolicy::default())?;

    for _ in 0..10 {
        host.send(&[0xff; 60]);
        let (_, datagram) = network.recv_within(Duration::from_secs(5))?.ok_or("nothing was sent")?;
        // As if the peer had sent the like: from another station.
        let mut back = datagram.to_vec();
        back[14] = 2;
        network.send(peer, &back);
        host.recv_within(Duration::from_secs(5))?.ok_or("nothing arrived")?;
    }
    forwarder.stop()?;
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    println!("{} frames out, {} back", count(&passed.out), count(&passed.back));
    Ok(())
}
