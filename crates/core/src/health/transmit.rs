//! Frames of our own that wait for the underlay.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::FloodTarget;

/// A frame of our own for one remote: a probe, a question or an announcement.
///
/// It is none of the overlay's frames: the caller counts it neither as come in nor as sent, so that the balance of those
/// ([`Counts::is_balanced`](crate::Counts::is_balanced)) is about them alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes.
    pub target: FloodTarget,
    /// The inner frame, padded as far as it shall be.
    pub frame: Vec<u8>,
    /// Whether routers may fragment the datagram: `None` as the tunnel's other ones, `Some(true)` never.
    pub dont_fragment: Option<bool>,
}

/// What waits, oldest first; above the limit new ones are lost and counted.
#[derive(Debug, Default)]
pub(crate) struct TransmitQueue(VecDeque<Transmit>);

/// How many frames of our own wait at most: announcements of a dozen addresses to a dozen peers, with room to spare.
pub(crate) const MAX_TRANSMITS: usize = 1024;

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
