//! Frames of our own that somebody else makes, and how all of them are counted.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::counters::{Counter, Flow};
use crate::{FlowCounts, Segment, Transmit};

impl Segment {
    /// Has a frame of the caller's own sent to the peer at this outer address, whatever the forwarding database says of where it
    /// goes; false where no such remote is known. It waits with others for [`Segment::poll_transmit`], and is counted in
    /// [`Counts::transmits_lost`](crate::Counts) where too many do.
    pub fn transmit_to(&mut self, outer: IpAddr, frame: Vec<u8>, dont_fragment: Option<bool>) -> bool {
        let peer = self.peers.source(outer.to_canonical()).peer();
        let target = peer.and_then(|peer| self.peers.target(peer));
        target.map(|target| self.transmit(Transmit { target, frame, dont_fragment })).is_some()
    }
}

/// What the overlay-to-underlay thread counts of our own frames.
#[derive(Debug, Default)]
pub(crate) struct OwnOverlaySide {
    pub(crate) sent: Flow,
    pub(crate) unsent: Counter,
    pub(crate) unanswered: Counter,
    pub(crate) held_back: Counter,
}

/// What the underlay-to-overlay thread counts of them.
#[derive(Debug, Default)]
pub(crate) struct OwnUnderlaySide {
    pub(crate) answered: Flow,
    pub(crate) undelivered: Counter,
}

impl OwnOverlaySide {
    pub(crate) fn load(&self, other: &OwnUnderlaySide) -> OwnCounts {
        OwnCounts {
            sent: self.sent.load(),
            unsent: self.unsent.load(),
            answered: other.answered.load(),
            unanswered: self.unanswered.load() + other.undelivered.load(),
            held_back: self.held_back.load(),
        }
    }
}

/// Frames of our own, apart from those of the host and of the peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnCounts {
    /// Frames for peers that the underlay has taken.
    pub sent: FlowCounts,
    /// Frames for peers that the underlay refused.
    pub unsent: u64,
    /// Frames for the host, made in answer to its own, that the overlay port has taken.
    pub answered: FlowCounts,
    /// Frames for the host that found no room, or that the port refused.
    pub unanswered: u64,
    /// Answers to the host that were not given, because too many had been given just before.
    pub held_back: u64,
}

impl OwnCounts {
    pub(crate) fn add(self, other: OwnCounts) -> OwnCounts {
        OwnCounts {
            sent: self.sent.add(other.sent),
            unsent: self.unsent + other.unsent,
            answered: self.answered.add(other.answered),
            unanswered: self.unanswered + other.unanswered,
            held_back: self.held_back + other.held_back,
        }
    }
}
