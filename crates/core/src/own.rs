//! Frames of our own: what the segment has to say to a peer, and how such frames are counted.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::counters::{Counter, Flow};
use crate::{FloodTarget, FlowCounts};

/// A frame of our own for one peer. Such frames are rare, so that each owns its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Whose it is, and where it goes.
    pub target: FloodTarget,
    /// The whole Ethernet frame.
    pub frame: Vec<u8>,
    /// Whether the outer IPv4 header forbids fragmentation; `None` leaves it as the underlay was opened.
    pub dont_fragment: Option<bool>,
}

/// Frames of our own that the shell has not taken yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct TransmitQueue(VecDeque<Transmit>);

/// How many wait at most: a frame for each of 128 peers, and as many again.
pub(crate) const MAX_TRANSMITS: usize = 256;

impl TransmitQueue {
    /// Whether there was room.
    pub(crate) fn push(&mut self, transmit: Transmit) -> bool {
        let room = self.0.len() < MAX_TRANSMITS;
        if room {
            self.0.push_back(transmit);
        }
        room
    }

    pub(crate) fn pop(&mut self) -> Option<Transmit> {
        self.0.pop_front()
    }
}

/// What the overlay-to-underlay thread counts of our own frames.
#[derive(Debug, Default)]
pub(crate) struct OwnOverlaySide {
    pub(crate) sent: Flow,
    pub(crate) unsent: Counter,
    pub(crate) unanswered: Counter,
}

/// What the underlay-to-overlay thread counts of them.
#[derive(Debug, Default)]
pub(crate) struct OwnUnderlaySide {
    pub(crate) refused: Counter,
    pub(crate) answered: Flow,
    pub(crate) undelivered: Counter,
}

impl OwnOverlaySide {
    pub(crate) fn load(&self, other: &OwnUnderlaySide) -> OwnCounts {
        OwnCounts {
            sent: self.sent.load(),
            unsent: self.unsent.load() + other.refused.load(),
            answered: other.answered.load(),
            unanswered: self.unanswered.load() + other.undelivered.load(),
        }
    }
}

/// Frames of our own, apart from those of the host and of the peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnCounts {
    /// Frames for peers that the underlay has taken.
    pub sent: FlowCounts,
    /// Frames for peers that found no room, or that the underlay refused.
    pub unsent: u64,
    /// Frames for the host, made in answer to its own, that the overlay port has taken.
    pub answered: FlowCounts,
    /// Frames for the host that found no room, or that the port refused.
    pub unanswered: u64,
}

impl OwnCounts {
    pub(crate) fn add(self, other: OwnCounts) -> OwnCounts {
        OwnCounts {
            sent: self.sent.add(other.sent),
            unsent: self.unsent + other.unsent,
            answered: self.answered.add(other.answered),
            unanswered: self.unanswered + other.unanswered,
        }
    }
}
