//! Copies of frames for whoever listens: what `vxgate capture` shows.
//!
//! # Theory of operation
//!
//! ```text
//!   way out, way in ──(is anybody listening? one load a batch)──► copy up to snaplen ──► ring ──► Capture::poll
//!                                                                    no room: lost, and counted
//! ```
//!
//! Nobody is waited for: a ring has a bounded number of frames and of octets, and what finds no room is lost to the listener and to
//! nobody else. Buffers go back to the ring's stock when they have been read, so that a listener that keeps up costs no memory that is
//! not there already. A superframe is copied as it is, as a capture on a device with segmentation offload has it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use vxgate_core::DropReason;

use crate::worker::Clock;

/// Most listeners of a forwarder at once.
pub(crate) const LISTENERS: usize = 4;

/// Frames that wait for a listener at most: 20 ms of the shortest frames at full rate.
const RING_FRAMES: usize = 16_384;

/// Octets that wait at most.
const RING_OCTETS: usize = 8 << 20;

/// The longest copy: a superframe and its headers.
pub const SNAPLEN_MAX: usize = 262_144;

/// What to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Frames as the host sends and gets them.
    pub inner: bool,
    /// Datagrams as the underlay carries them.
    pub outer: bool,
    /// What is dropped, in either direction.
    pub drops: bool,
    /// How much of each, in octets; at most [`SNAPLEN_MAX`].
    pub snaplen: usize,
    /// Only what goes to these outer addresses or comes from them; all where there are none.
    pub peers: Vec<IpAddr>,
}

/// Where a copy was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapturedAt {
    /// The host's side: a frame.
    Inner,
    /// The peers' side: the payload of a datagram, VXLAN header and frame.
    Outer {
        /// The peer's outer address; port 0 where it is not known.
        peer: SocketAddr,
        /// TOS or traffic class of the outer header.
        tos: u8,
    },
    /// A frame of the host, or the payload of a datagram of a peer, that went no further.
    Dropped(DropReason, Option<IpAddr>),
}

/// A copy of a frame or of a datagram.
#[derive(Debug)]
pub struct Captured {
    /// How long the forwarder had run.
    pub at: Duration,
    /// Where.
    pub place: CapturedAt,
    /// From the host to the peers, or from the peers to the host.
    pub is_out: bool,
    /// How long the original was.
    pub original_octets: usize,
    /// Its beginning.
    pub octets: Vec<u8>,
}

/// The data path's end: who listens.
pub(crate) struct CaptureTap {
    is_listened_to: AtomicBool,
    listeners: ArcSwap<Vec<Arc<Ring>>>,
    clock: Clock,
}

impl fmt::Debug for CaptureTap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureTap").field("listeners", &self.listeners.load().len()).finish_non_exhaustive()
    }
}

/// Between the data path and one listener.
#[derive(Debug)]
struct Ring {
    options: CaptureOptions,
    frames: ArrayQueue<Captured>,
    /// Buffers to use again, and what they hold together: a buffer keeps the size of the longest frame that it ever had.
    stock: ArrayQueue<Vec<u8>>,
    stocked_octets: AtomicUsize,
    octets: AtomicUsize,
    lost: AtomicU64,
}

impl CaptureTap {
    pub(crate) fn new(clock: Clock) -> CaptureTap {
        let listeners = ArcSwap::from_pointee(Vec::new());
        CaptureTap { is_listened_to: AtomicBool::new(false), listeners, clock }
    }

    /// Whoever listens to the batch that begins; `None` where nobody does.
    #[inline]
    pub(crate) fn listeners(&self) -> Option<Listeners> {
        self.is_listened_to.load(Ordering::Relaxed).then(|| self.some())
    }

    #[cold]
    fn some(&self) -> Listeners {
        Listeners { rings: self.listeners.load_full(), at: self.clock.elapsed() }
    }

    fn set(&self, change: impl Fn(&mut Vec<Arc<Ring>>)) {
        self.listeners.rcu(|rings| {
            let mut rings = Vec::clone(rings);
            change(&mut rings);
            rings
        });
        self.is_listened_to.store(!self.listeners.load().is_empty(), Ordering::Relaxed);
    }
}

/// Those who listen to one batch.
pub(crate) struct Listeners {
    rings: Arc<Vec<Arc<Ring>>>,
    at: Duration,
}

impl Listeners {
    /// A frame on the host's side, to or from these peers.
    pub(crate) fn inner(&self, is_out: bool, frame: &[u8], peers: impl Iterator<Item = IpAddr> + Clone) {
        for ring in self.rings.iter().filter(|ring| ring.options.inner) {
            let wanted = &ring.options.peers;
            if wanted.is_empty() || peers.clone().any(|peer| wanted.contains(&peer)) {
                ring.push(self.at, CapturedAt::Inner, is_out, &[frame]);
            }
        }
    }

    /// A datagram on the peers' side, its payload in parts.
    pub(crate) fn outer(&self, is_out: bool, peer: SocketAddr, tos: u8, payload: &[&[u8]]) {
        for ring in self.rings.iter().filter(|ring| ring.options.outer && ring.wants(peer.ip())) {
            ring.push(self.at, CapturedAt::Outer { peer, tos }, is_out, payload);
        }
    }

    /// A frame or the payload of a datagram that went no further.
    pub(crate) fn dropped(&self, is_out: bool, reason: DropReason, peer: Option<IpAddr>, octets: &[u8]) {
        for ring in self.rings.iter().filter(|ring| ring.options.drops) {
            if ring.options.peers.is_empty() || peer.is_some_and(|peer| ring.options.peers.contains(&peer)) {
                ring.push(self.at, CapturedAt::Dropped(reason, peer), is_out, &[octets]);
            }
        }
    }
}

impl Ring {
    fn wants(&self, peer: IpAddr) -> bool {
        self.options.peers.is_empty() || self.options.peers.contains(&peer)
    }

    fn push(&self, at: Duration, place: CapturedAt, is_out: bool, parts: &[&[u8]]) {
        let original_octets = parts.iter().map(|part| part.len()).sum::<usize>();
        let kept = original_octets.min(self.options.snaplen);
        if self.frames.is_full() || self.octets.load(Ordering::Relaxed) + kept > RING_OCTETS {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut octets = self.stock.pop().unwrap_or_default();
        self.stocked_octets.fetch_sub(octets.capacity(), Ordering::Relaxed);
        octets.clear();
        octets.reserve(kept);
        for part in parts {
            let room = kept - octets.len();
            octets.extend_from_slice(&part[..part.len().min(room)]);
        }
        self.octets.fetch_add(kept, Ordering::Relaxed);
        if let Err(full) = self.frames.push(Captured { at, place, is_out, original_octets, octets }) {
            // Another thread was quicker.
            self.octets.fetch_sub(full.octets.len(), Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Somebody who listens, until it is dropped.
pub struct Capture {
    tap: Arc<CaptureTap>,
    ring: Arc<Ring>,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("options", &self.ring.options).finish_non_exhaustive()
    }
}

impl Capture {
    /// Begins to listen.
    pub(crate) fn begin(tap: &Arc<CaptureTap>, options: CaptureOptions) -> io::Result<Capture> {
        let options = CaptureOptions { snaplen: options.snaplen.min(SNAPLEN_MAX), ..options };
        let ring = Arc::new(Ring {
            options,
            frames: ArrayQueue::new(RING_FRAMES),
            stock: ArrayQueue::new(RING_FRAMES),
            stocked_octets: AtomicUsize::new(0),
            octets: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        });
        tap.set(|rings| {
            if rings.len() < LISTENERS {
                rings.push(Arc::clone(&ring));
            }
        });
        let capture = Capture { tap: Arc::clone(tap), ring };
        let is_in = tap.listeners.load().iter().any(|ring| Arc::ptr_eq(ring, &capture.ring));
        if is_in { Ok(capture) } else { Err(io::ErrorKind::QuotaExceeded.into()) }
    }

    /// The oldest copy that was not read yet.
    #[must_use]
    pub fn poll(&self) -> Option<Captured> {
        let captured = self.ring.frames.pop()?;
        self.ring.octets.fetch_sub(captured.octets.len(), Ordering::Relaxed);
        Some(captured)
    }

    /// Gives a copy's memory back, for copies to come.
    pub fn recycle(&self, captured: Captured) {
        let octets = captured.octets.capacity();
        if self.ring.stocked_octets.fetch_add(octets, Ordering::Relaxed) + octets > RING_OCTETS
            || self.ring.stock.push(captured.octets).is_err()
        {
            // A stock that is full has enough.
            self.ring.stocked_octets.fetch_sub(octets, Ordering::Relaxed);
        }
    }

    /// How many copies found no room so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.ring.lost.load(Ordering::Relaxed)
    }

    /// How long the forwarder has run: the clock of [`Captured::at`].
    #[must_use]
    pub fn now(&self) -> Duration {
        self.tap.clock.elapsed()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.tap.set(|rings| rings.retain(|ring| !Arc::ptr_eq(ring, &self.ring)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> CaptureOptions {
        CaptureOptions { inner: true, outer: false, drops: true, snaplen: 64, peers: Vec::new() }
    }

    fn tap() -> Arc<CaptureTap> {
        Arc::new(CaptureTap::new(Clock::start()))
    }

    #[test]
    fn nobody_listens_until_somebody_does_and_after_it_has_gone() {
        let tap = tap();
        assert!(tap.listeners().is_none());
        let capture = Capture::begin(&tap, options()).unwrap();
        let listeners = tap.listeners().expect("somebody");
        listeners.inner(true, &[7; 100], std::iter::empty());
        listeners.outer(true, "192.0.2.1:4789".parse().unwrap(), 0, &[&[1]]);
        listeners.dropped(false, DropReason::Runt, None, &[1, 2]);
        let first = capture.poll().expect("a frame");
        assert_eq!((first.octets.len(), first.original_octets, first.is_out), (64, 100, true));
        let second = capture.poll().expect("a drop");
        assert_eq!(second.place, CapturedAt::Dropped(DropReason::Runt, None));
        assert!(capture.poll().is_none(), "outer ones were not asked for");
        drop(capture);
        assert!(tap.listeners().is_none());
    }

    #[test]
    fn a_listener_that_does_not_read_loses_frames_and_they_are_counted() {
        let tap = tap();
        let capture = Capture::begin(&tap, options()).unwrap();
        let listeners = tap.listeners().expect("somebody");
        for _ in 0..RING_FRAMES + 10 {
            listeners.inner(false, &[0; 60], std::iter::empty());
        }
        assert_eq!(capture.lost(), 10);
        let one = capture.poll().expect("a frame");
        capture.recycle(one);
        listeners.inner(false, &[0; 60], std::iter::empty());
        assert_eq!(capture.lost(), 10);
        // Octets are bounded, too.
        let big = Capture::begin(&tap, CaptureOptions { snaplen: SNAPLEN_MAX, ..options() }).unwrap();
        let listeners = tap.listeners().expect("somebody");
        let frame = vec![0; 60_000];
        (0..1000).for_each(|_| listeners.inner(false, &frame, std::iter::empty()));
        assert_eq!(big.lost(), 1000 - (RING_OCTETS / 60_000) as u64);
    }

    #[test]
    fn what_is_kept_for_copies_to_come_is_bounded_however_long_the_frames_are() {
        let tap = tap();
        let capture = Capture::begin(&tap, CaptureOptions { snaplen: SNAPLEN_MAX, ..options() }).unwrap();
        let listeners = tap.listeners().expect("somebody");
        // As many buffers as fit, and then each of them grown in its turn.
        (0..RING_FRAMES).for_each(|_| listeners.inner(true, &[0; 60], std::iter::empty()));
        while let Some(one) = capture.poll() {
            capture.recycle(one);
        }
        let superframe = vec![0; 60_000];
        for _ in 0..RING_FRAMES {
            listeners.inner(true, &superframe, std::iter::empty());
            capture.recycle(capture.poll().expect("a frame"));
        }
        let stock = std::iter::from_fn(|| capture.ring.stock.pop());
        let stocked: usize = stock.map(|buffer| buffer.capacity()).sum();
        assert!(stocked > 0 && stocked <= RING_OCTETS, "{stocked} octets");
        assert_eq!(stocked, capture.ring.stocked_octets.load(Ordering::Relaxed));
    }

    #[test]
    fn each_of_two_listeners_is_asked_for_its_own_peers() {
        let tap = tap();
        let [one, two]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let of = |peer| CaptureOptions { peers: vec![peer], ..options() };
        let captures = [two, one].map(|peer| Capture::begin(&tap, of(peer)).unwrap());
        tap.listeners().expect("both").inner(true, &[1], [one, two].into_iter());
        assert!(captures.iter().all(|capture| capture.poll().is_some()));
    }

    #[test]
    fn only_the_peers_that_were_asked_for_and_no_more_listeners_than_may_be() {
        let tap = tap();
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        let of_one = CaptureOptions { outer: true, peers: vec![peer], ..options() };
        let capture = Capture::begin(&tap, of_one).unwrap();
        let listeners = tap.listeners().expect("somebody");
        listeners.inner(true, &[1], [other].into_iter());
        listeners.inner(true, &[2], [other, peer].into_iter());
        listeners.outer(false, SocketAddr::new(other, 0), 0, &[&[3]]);
        listeners.outer(false, SocketAddr::new(peer, 0), 0, &[&[4], &[5]]);
        listeners.dropped(true, DropReason::TooBig, Some(other), &[6]);
        let seen: Vec<Vec<u8>> = std::iter::from_fn(|| capture.poll()).map(|one| one.octets).collect();
        assert_eq!(seen, [vec![2], vec![4, 5]]);
        let _more: Vec<_> = (1..LISTENERS).map(|_| Capture::begin(&tap, options()).unwrap()).collect();
        assert!(Capture::begin(&tap, options()).is_err());
    }
}
