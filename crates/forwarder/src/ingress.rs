//! Underlay to overlay: one thread's work, a batch at a time.
//!
//! ```text
//!   UnderlayRx::recv ─► Segment::handle_underlay ─► ecn::decap_frame ─► Work::from_peer ─► tcp::clamp_mss ─► PortTx::push ─► flush
//! ```
//!
//! The [`Segment`] lives here: this thread alone learns, ages and carries out what the control plane asks. Where several
//! workers carry frames it is the first one's; the others have an [`UnderlayHalf`] in its place, which says the same.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use vxgate_codec::{ecn, tcp};
use vxgate_core::{
    Counters, DropReason, Limits, PeerId, Segment, Sighting, Timestamp, UnderlayHalf, UnderlayVerdict,
    UnderlayView,
};
use vxgate_offload::Work;

use crate::capture::CaptureTap;
use crate::own::Answer;
use crate::own_datagram::OwnDatagram;
use crate::port::{Frame, HEADROOM_OCTETS, PortTx};
use crate::underlay::UnderlayRx;

/// Who says what becomes of a datagram: the segment itself, or a half of it in another thread.
pub trait Judge {
    /// What to do with this datagram; counted as come in, and as dropped where that is the verdict.
    fn handle_underlay(&mut self, source: IpAddr, payload: &[u8], now: Timestamp) -> UnderlayVerdict;
}

impl Judge for Segment {
    #[inline]
    fn handle_underlay(&mut self, source: IpAddr, payload: &[u8], now: Timestamp) -> UnderlayVerdict {
        Segment::handle_underlay(self, source, payload, now)
    }
}

impl Judge for UnderlayHalf {
    #[inline]
    fn handle_underlay(&mut self, source: IpAddr, payload: &[u8], now: Timestamp) -> UnderlayVerdict {
        UnderlayHalf::handle_underlay(self, source, payload, now)
    }
}

/// The underlay-to-overlay direction: reads datagrams, hands the frames that the core lets through to a port.
pub struct Ingress<R, T, J = Segment> {
    underlay: R,
    port: T,
    judge: J,
    counters: Arc<Counters>,
    limits: Arc<Limits>,
    mtu_octets: usize,
    own: Option<OwnDatagram>,
    capture: Option<Arc<CaptureTap>>,
    /// Frames of this batch that the port has taken, and may still lose at the flush: whose they are, and their octets.
    taken: Vec<(Option<PeerId>, u64)>,
}

impl<R, T, J> Ingress<R, T, J> {
    /// The receiving half, for whoever lends it.
    pub(crate) fn underlay_half_mut(&mut self) -> &mut R {
        &mut self.underlay
    }
}

impl<R: UnderlayRx, T: PortTx, J: Judge> Ingress<R, T, J> {
    fn joined(underlay: R, port: T, judge: J, counters: Arc<Counters>, limits: Arc<Limits>) -> Self {
        Self {
            underlay,
            port,
            judge,
            counters,
            limits,
            mtu_octets: 0,
            own: None,
            capture: None,
            taken: Vec::new(),
        }
    }

    /// The same at this address and port, by which it knows datagrams for itself, with somebody who may want copies.
    pub(crate) fn at(self, local: Option<SocketAddr>, capture: Arc<CaptureTap>) -> Self {
        Self { own: local.and_then(OwnDatagram::of), capture: Some(capture), ..self }
    }

    /// Forwards one batch and returns how many datagrams it held; 0 means that none was queued.
    ///
    /// # Errors
    /// The port or the underlay is of no more use.
    pub fn turn(&mut self, now: Timestamp) -> io::Result<usize> {
        let count = self.recv()?;
        self.forward(count, now)?;
        Ok(count)
    }

    /// The first half of a turn: reads a batch. What changes between the halves is in force for the batch.
    pub(crate) fn recv(&mut self) -> io::Result<usize> {
        self.underlay.recv()
    }

    /// The second half of a turn: delivers the batch.
    pub(crate) fn forward(&mut self, count: usize, now: Timestamp) -> io::Result<()> {
        let mss = self.limits.mss();
        let listeners = self.capture.as_ref().and_then(|capture| capture.listeners());
        for index in 0..count {
            let datagram = self.underlay.datagram(index);
            let payload = &mut datagram.buffer[datagram.payload.clone()];
            if let Some(listeners) = &listeners {
                let peer = SocketAddr::new(datagram.source, 0);
                listeners.outer(false, peer, datagram.tos.unwrap_or_default(), &[payload]);
            }
            let tell = |reason: DropReason, octets: &[u8]| {
                if let Some(listeners) = &listeners {
                    listeners.dropped(false, reason, Some(datagram.source), octets);
                }
            };
            if datagram.truncated {
                self.counters.count_underlay_refusal(DropReason::CutShort, payload.len() as u64);
                tell(DropReason::CutShort, payload);
                continue;
            }
            let (start, peer) = match self.judge.handle_underlay(datagram.source, payload, now) {
                UnderlayVerdict::Deliver { frame_offset, peer } => (frame_offset, peer),
                // The core has counted it.
                UnderlayVerdict::Drop(reason) => {
                    tell(reason, payload);
                    continue;
                }
            };
            let inner = &mut payload[start..];
            if self.own.as_ref().is_some_and(|own| own.is_for_here(inner)) {
                self.counters.count_underlay_drop(DropReason::TunnelInTunnel, 1);
                tell(DropReason::TunnelInTunnel, inner);
                continue;
            }
            if let Some(tos) = datagram.tos
                && ecn::decap_frame(tos, inner).is_err()
            {
                self.counters.count_underlay_drop(DropReason::Ecn, 1);
                tell(DropReason::Ecn, inner);
                continue;
            }
            let work = datagram
                .segment_octets
                .and_then(|octets| Work::from_peer_run(inner, octets))
                .unwrap_or_else(|| Work::from_peer(inner, self.mtu_octets));
            if let Some(limit) = mss
                && tcp::may_be_syn(inner)
            {
                tcp::clamp_mss(inner, limit, work.unfinished_field());
            }
            if let Some(listeners) = &listeners {
                listeners.inner(false, inner, std::iter::once(datagram.source));
            }
            let octets = inner.len() as u64;
            let range = datagram.payload.start + start..datagram.payload.end;
            match self.port.push(Frame { buffer: datagram.buffer, range, work }) {
                Ok(()) => self.taken.push((peer, octets)),
                Err(reason) => self.counters.count_underlay_drop(reason, 1),
            }
        }
        if count > 0 {
            let flushed = self.port.flush();
            let dropped = flushed.as_ref().map_or(0, |dropped| *dropped).min(self.taken.len());
            self.taken.truncate(self.taken.len() - dropped);
            for (peer, octets) in self.taken.drain(..) {
                self.counters.count_delivered(peer, 1, octets);
            }
            self.counters.count_underlay_drop(DropReason::PortRefused, dropped as u64);
            flushed?;
        }
        Ok(())
    }

    /// Hands the host frames of our own, each behind the headroom of its buffer.
    pub(crate) fn answer(&mut self, answers: impl Iterator<Item = Answer>) -> io::Result<()> {
        let mut taken = Vec::new();
        for Answer(mut buffer) in answers {
            let range = HEADROOM_OCTETS..buffer.len();
            match self.port.push(Frame { buffer: &mut buffer, range: range.clone(), work: Work::Done }) {
                Ok(()) => taken.push(range.len() as u64),
                Err(_) => self.counters.count_undelivered(1),
            }
        }
        let flushed = self.port.flush();
        let dropped = flushed.as_ref().map_or(0, |dropped| *dropped).min(taken.len());
        taken.truncate(taken.len() - dropped);
        self.counters.count_answered(taken.len() as u64, taken.iter().sum());
        self.counters.count_undelivered(dropped as u64);
        flushed.map(drop)
    }

    /// What becomes readable when [`Ingress::turn`] may find a datagram.
    pub fn underlay(&self) -> &R {
        &self.underlay
    }
}

impl<R: UnderlayRx, T: PortTx> Ingress<R, T> {
    /// Joins an underlay's receiving half to a port's sending half.
    ///
    /// # Errors
    /// The port's device is gone.
    pub fn new(underlay: R, port: T, segment: Segment) -> io::Result<Self> {
        let (counters, limits) = (segment.counters(), segment.limits());
        let mut ingress = Self::joined(underlay, port, segment, counters, limits);
        ingress.follow_device()?;
        Ok(ingress)
    }

    /// Ages the forwarding database and follows the device's address and MTU. Call it once a second.
    ///
    /// # Errors
    /// The port's device is gone.
    pub fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        self.follow_device()?;
        self.judge.handle_tick(now);
        Ok(())
    }

    fn follow_device(&mut self) -> io::Result<()> {
        let device = self.port.device()?;
        self.mtu_octets = device.mtu_octets;
        self.judge.set_own_mac(device.mac);
        Ok(())
    }

    /// The core, to look at.
    pub fn segment(&self) -> &Segment {
        &self.judge
    }

    /// The core, for the control plane.
    pub fn segment_mut(&mut self) -> &mut Segment {
        &mut self.judge
    }
}

impl<R: UnderlayRx, T: PortTx> Ingress<R, T, UnderlayHalf> {
    /// Joins an underlay's receiving half to a port's sending half, in a thread that does not own the segment.
    ///
    /// # Errors
    /// The port's device is gone.
    pub fn of_worker(underlay: R, port: T, half: UnderlayHalf) -> io::Result<Self> {
        let (counters, limits) = (half.counters(), half.limits());
        let mut ingress = Self::joined(underlay, port, half, counters, limits);
        ingress.tick()?;
        Ok(ingress)
    }

    /// Follows the device's MTU. Call it once a second.
    ///
    /// # Errors
    /// The port's device is gone.
    pub fn tick(&mut self) -> io::Result<()> {
        self.mtu_octets = self.port.device()?.mtu_octets;
        Ok(())
    }

    /// Takes over what the segment's owner published.
    pub fn set_view(&mut self, view: Arc<UnderlayView>) {
        self.judge.set_view(view);
    }

    /// Gives what the segment's owner has to learn to `take`, until that says that it has no room.
    pub fn hand_over(&mut self, take: impl FnMut(Sighting) -> bool) {
        self.judge.hand_over(take);
    }
}
