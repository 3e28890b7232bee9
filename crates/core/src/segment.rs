//! One VXLAN segment: the single writer of all that is known, and the way from the underlay to the overlay.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use vxgate_codec::MacAddr;

use crate::event::EventQueue;
use crate::{
    Counters, DropReason, Event, FloodLists, OverlayHalf, Prefix, SegmentConfig, Timestamp, UnderlayVerdict,
};

/// One VXLAN segment: the single writer of all that is known about it.
///
/// It lives in the thread that carries frames from the underlay to the overlay; [`Segment::overlay_half`] is for the other.
#[derive(Debug)]
pub struct Segment {
    config: SegmentConfig,
    counters: Arc<Counters>,
    events: EventQueue,
}

impl Segment {
    /// A segment that knows nothing yet.
    #[must_use]
    pub fn new(config: SegmentConfig) -> Segment {
        Segment { config: config.clamped(), counters: Arc::new(Counters {}), events: EventQueue::new() }
    }

    /// What the segment goes by now.
    #[must_use]
    pub fn config(&self) -> &SegmentConfig {
        &self.config
    }

    /// The half for the thread that carries frames from the overlay to the underlay, with the lists as they are now.
    #[must_use]
    pub fn overlay_half(&self) -> OverlayHalf {
        OverlayHalf::new(Arc::new(FloodLists::default()))
    }

    /// The counters, for whoever reads them.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// What to do with this datagram; learns from it.
    ///
    /// `source` is the outer source address, `payload` the UDP payload: VXLAN header and inner frame.
    pub fn handle_underlay(&mut self, _source: IpAddr, _payload: &[u8], _now: Timestamp) -> UnderlayVerdict {
        UnderlayVerdict::Drop(DropReason::Stranger)
    }

    /// Removes entries that are past the ageing time, a bounded part of the table per call. To be called at least once a
    /// second.
    pub fn handle_tick(&mut self, _now: Timestamp) {}

    /// The oldest event that nobody has taken yet.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// The lists, when they have changed since the last call: for [`OverlayHalf::set_flood`].
    pub fn poll_flood(&mut self) -> Option<Arc<FloodLists>> {
        None
    }

    /// Tells the MAC address of the overlay port, when that has changed.
    pub fn set_own_mac(&mut self, own_mac: MacAddr) {
        self.config.own_mac = own_mac;
    }

    /// Replaces the blocks of addresses that datagrams are accepted from besides the configured remotes.
    pub fn set_accept_from(&mut self, accept_from: Vec<Prefix>) {
        self.config.accept_from = accept_from;
    }

    /// Switches learning on or off; what was learned stays until it ages.
    pub fn set_learning(&mut self, learning: bool) {
        self.config.learning = learning;
    }

    /// Sets the ageing time, for entries that exist too; zero: for ever.
    pub fn set_ageing(&mut self, ageing: Duration) {
        self.config.ageing = ageing;
    }
}
