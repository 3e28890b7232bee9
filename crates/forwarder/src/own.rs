//! Frames of our own: what the segment has to say to peers, and what the way out has to say to the host.
//!
//! # Theory of operation
//!
//! ```text
//!   owner's thread   Segment::poll_transmit ──► Outbox ──► way out of the first worker: UnderlayTx
//!   each way out     Egress::answer ─────────► Answers ─► owner's thread: PortTx
//! ```
//!
//! Only the thread that has a half of a port or of an underlay may use it, and our own frames arise in the other one. So they
//! cross by two bounded lines, beside the way of the frames: a thread looks at its line once a turn, which is two loads, and is
//! woken by an event where it sleeps. Frames that find no room are counted, and never waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender};
use vxgate_core::{Segment, Transmit};
use vxgate_sys::eventfd::EventFd;

use crate::forwarder::Shared;
use crate::port::HEADROOM_OCTETS;

/// Frames that wait on each line; more for peers wait in the segment, which has a limit of its own.
const WAITING: usize = 64;

/// Makes the line from the owner's thread to the way out.
pub(crate) fn outbox() -> io::Result<(OutboxSender, Outbox)> {
    let (sender, frames) = channel::bounded(WAITING);
    let queued = Arc::new(EventFd::new()?);
    Ok((OutboxSender { frames: sender, queued: Arc::clone(&queued) }, Outbox { frames, queued }))
}

/// The owner's end of the line to the way out.
pub(crate) struct OutboxSender {
    frames: Sender<Transmit>,
    queued: Arc<EventFd>,
}

impl OutboxSender {
    /// Hands over what the segment has to say, as far as there is room, and says whether that may be all; the rest stays in the segment
    /// for the next call. The way out makes room meanwhile, and so a later look at the line would not tell.
    pub(crate) fn hand_over(&self, segment: &mut Segment) -> bool {
        let mut told = false;
        let is_all = loop {
            if self.frames.is_full() {
                break false;
            }
            let Some(transmit) = segment.poll_transmit() else { break true };
            // There is room, and who has gone away ends the forwarder.
            let _ = self.frames.try_send(transmit);
            told = true;
        };
        if told {
            let _ = self.queued.signal();
        }
        is_all
    }
}

/// The end of the way out.
pub(crate) struct Outbox {
    frames: Receiver<Transmit>,
    queued: Arc<EventFd>,
}

impl Outbox {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames that wait.
    pub(crate) fn take(&self) -> impl Iterator<Item = Transmit> {
        self.frames.try_iter().take(WAITING)
    }

    /// Becomes readable when a frame was put in.
    pub(crate) fn readiness(&self) -> BorrowedFd<'_> {
        self.queued.as_fd()
    }

    /// The readiness was seen; a look comes next.
    pub(crate) fn woken(&self) -> io::Result<()> {
        self.queued.drain().map(drop)
    }
}

/// Makes the line of answers to the host; each way out has a clone of its sending end.
pub(crate) fn answers(shared: &Arc<Shared>) -> (Answers, Receiver<Answer>) {
    let (sender, frames) = channel::bounded(WAITING);
    (Answers { frames: sender, shared: Arc::clone(shared) }, frames)
}

/// A way out's end of the line to the owner's thread.
#[derive(Clone)]
pub(crate) struct Answers {
    frames: Sender<Answer>,
    shared: Arc<Shared>,
}

impl Answers {
    /// How long the forwarder has run.
    pub(crate) fn now(&self) -> Duration {
        self.shared.clock.elapsed()
    }

    /// Hands a frame for the host over; false where there is no room.
    pub(crate) fn send(&self, frame: &[u8]) -> bool {
        if self.frames.is_full() {
            return false;
        }
        let mut buffer = Vec::with_capacity(HEADROOM_OCTETS + frame.len());
        buffer.resize(HEADROOM_OCTETS, 0);
        buffer.extend_from_slice(frame);
        let sent = self.frames.try_send(Answer(buffer)).is_ok();
        if sent {
            let _ = self.shared.wake_owner.signal();
        }
        sent
    }
}

/// A frame for the host, with the headroom that a port asks for in front.
pub(crate) struct Answer(pub(crate) Vec<u8>);

#[cfg(test)]
mod tests {
    use vxgate_codec::MacAddr;
    use vxgate_core::SegmentConfig;

    use super::*;
    use crate::worker::{Inward, Lines, OwnerInward};
    use crate::{Device, Egress, Ingress, MemoryPort, MemoryUnderlay, OuterPolicy, Port, Underlay};

    #[test]
    fn an_answer_reaches_the_host_and_what_finds_no_room_is_counted() {
        let device = Device { mac: MacAddr::new([2, 0, 0, 0, 0, 1]), mtu_octets: 1450 };
        let (port, host) = MemoryPort::new(device, 256).unwrap();
        let (underlay, _network) = MemoryUnderlay::new(8).unwrap();
        let ((port_rx, port_tx), (underlay_rx, underlay_tx)) = (port.split(), underlay.split());
        let segment = Segment::new(SegmentConfig::default());
        let (half, counters) = (segment.overlay_half(), segment.counters());
        let shared = Arc::new(Shared::new().unwrap());
        let (answers, answer_rx) = answers(&shared);
        let mut egress = Egress::new(port_rx, underlay_tx, half, segment.counters(), OuterPolicy::default())
            .with_answers(answers);
        let (_commands, commands) = channel::unbounded();
        let (events, _events) = channel::bounded(1);
        let lines =
            Lines { commands, events, sightings: None, outbox: outbox().unwrap().0, answers: answer_rx };
        let mut inward = OwnerInward::new(Ingress::new(underlay_rx, port_tx, segment).unwrap(), lines);

        let frame = |number: usize| vec![number as u8; 60];
        (0..=WAITING).for_each(|number| egress.answer(&frame(number)));
        assert_eq!(counters.snapshot().own.unanswered, 1);
        assert!(!inward.may_sleep() && shared.wake_owner.drain().unwrap());
        inward.turn(&shared, Duration::ZERO).unwrap();
        for number in 0..WAITING {
            assert_eq!(host.recv().as_deref(), Some(&frame(number)[..]));
        }
        assert!(host.recv().is_none() && inward.may_sleep());
        let counts = counters.snapshot();
        assert_eq!((counts.own.answered.frames, counts.own.answered.octets), (64, 64 * 60));
        assert_eq!(counts.delivered.frames, 0, "no frame of a peer");
    }
}
