//! Underlay to overlay: one thread's work, a batch at a time.
//!
//! ```text
//!   UnderlayRx::recv ─► Segment::handle_underlay ─► ecn::decap_frame ─► Work::from_peer ─► PortTx::push ─► flush
//! ```
//!
//! The [`Segment`] lives here: this thread alone learns, ages and carries out what the control plane asks.

use std::io;
use std::sync::Arc;

use vxgate_codec::ecn;
use vxgate_core::{Counters, DropReason, PeerId, Segment, Timestamp, UnderlayVerdict};
use vxgate_offload::Work;

use crate::port::{Frame, PortTx};
use crate::underlay::UnderlayRx;

/// The underlay-to-overlay direction: reads datagrams, hands the frames that the core lets through to a port.
pub struct Ingress<R, T> {
    underlay: R,
    port: T,
    segment: Segment,
    counters: Arc<Counters>,
    mtu_octets: usize,
    /// Frames of this batch that the port has taken, and may still lose at the flush: whose they are, and their octets.
    taken: Vec<(Option<PeerId>, u64)>,
}

impl<R: UnderlayRx, T: PortTx> Ingress<R, T> {
    /// Joins an underlay's receiving half to a port's sending half.
    ///
    /// # Errors
    /// The port's device is gone.
    pub fn new(underlay: R, port: T, segment: Segment) -> io::Result<Self> {
        let counters = segment.counters();
        let mut ingress = Self { underlay, port, segment, counters, mtu_octets: 0, taken: Vec::new() };
        ingress.follow_device()?;
        Ok(ingress)
    }

    /// Forwards one batch and returns how many datagrams it held; 0 means that none was queued.
    ///
    /// # Errors
    /// The port or the underlay is of no more use.
    pub fn turn(&mut self, now: Timestamp) -> io::Result<usize> {
        let count = self.underlay.recv()?;
        for index in 0..count {
            let datagram = self.underlay.datagram(index);
            let payload = &mut datagram.buffer[datagram.payload.clone()];
            if datagram.truncated {
                self.counters.count_underlay_refusal(DropReason::CutShort, payload.len() as u64);
                continue;
            }
            let (start, peer) = match self.segment.handle_underlay(datagram.source, payload, now) {
                UnderlayVerdict::Deliver { frame_offset, peer } => (frame_offset, peer),
                // The core has counted it.
                UnderlayVerdict::Drop(_) => continue,
            };
            let inner = &mut payload[start..];
            if let Some(tos) = datagram.tos
                && ecn::decap_frame(tos, inner).is_err()
            {
                self.counters.count_underlay_drop(DropReason::Ecn, 1);
                continue;
            }
            let work = datagram
                .segment_octets
                .and_then(|octets| Work::from_peer_run(inner, octets))
                .unwrap_or_else(|| Work::from_peer(inner, self.mtu_octets));
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
        Ok(count)
    }

    /// Ages the forwarding database and follows the device's address and MTU. Call it once a second.
    ///
    /// # Errors
    /// The port's device is gone.
    pub fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        self.follow_device()?;
        self.segment.handle_tick(now);
        Ok(())
    }

    fn follow_device(&mut self) -> io::Result<()> {
        let device = self.port.device()?;
        self.mtu_octets = device.mtu_octets;
        self.segment.set_own_mac(device.mac);
        Ok(())
    }

    /// The core, for the control plane.
    pub fn segment_mut(&mut self) -> &mut Segment {
        &mut self.segment
    }

    /// What becomes readable when [`Ingress::turn`] may find a datagram.
    pub fn underlay(&self) -> &R {
        &self.underlay
    }
}
