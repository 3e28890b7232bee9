//! The way in, as a worker carries it: ingress, and its part of the control of the segment.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use vxgate_core::{Event, Segment, Sighting, Timestamp, UnderlayHalf, UnderlayView};

use super::Turn;
use super::outward::Published;
use crate::forwarder::{Command, Shared};
use crate::ingress::Ingress;
use crate::own::{Answer, OutboxSender};
use crate::port::PortTx;
use crate::underlay::UnderlayRx;

/// Commands that the owner carries out before it forwards again.
const COMMANDS_BEFORE_A_LOOK: usize = 64;

/// Sightings that it learns before it forwards again: about as long as one batch takes.
const SIGHTINGS_BEFORE_A_LOOK: usize = 64;

/// Answers to the host that it delivers before it forwards again.
const ANSWERS_BEFORE_A_LOOK: usize = 64;

/// For how long what is queued comes before a health check that is due: as long as the largest receive buffer takes to be read.
const HEALTH_PATIENCE: Duration = Duration::from_millis(50);

/// Ingress of a worker, whatever else its thread does for the segment.
pub(crate) trait Inward: Send {
    /// Carries out what has to be done besides, then forwards one batch.
    fn turn(&mut self, shared: &Shared, elapsed: Duration) -> io::Result<Turn>;

    /// To be called once a second.
    fn tick(&mut self, elapsed: Duration) -> io::Result<()>;

    /// When a turn has something to do at the latest, if datagrams do not bring it.
    fn deadline(&self) -> Option<Duration>;

    /// Becomes readable when [`Inward::turn`] may find a datagram.
    fn readiness(&self) -> BorrowedFd<'_>;

    /// Becomes readable when it may find something else to do, or is to stop.
    fn wake<'a>(&self, shared: &'a Shared) -> BorrowedFd<'a>;

    /// Nothing but datagrams is there to be looked at.
    fn may_sleep(&self) -> bool;

    /// [`Inward::wake`] was found readable; a turn comes next.
    fn woken(&self, shared: &Shared) -> io::Result<()>;
}

/// What the thread that owns the segment hears and tells besides datagrams.
pub(crate) struct Lines {
    pub(crate) commands: Receiver<Command>,
    pub(crate) events: Sender<Event>,
    /// What other workers have seen; `None` where there are none.
    pub(crate) sightings: Option<Receiver<Sighting>>,
    /// Frames of our own for peers.
    pub(crate) outbox: OutboxSender,
    /// Frames of our own for the host, from each way out.
    pub(crate) answers: Receiver<Answer>,
}

impl Lines {
    fn are_quiet(&self) -> bool {
        self.commands.is_empty()
            && self.answers.is_empty()
            && self.sightings.as_ref().is_none_or(Receiver::is_empty)
    }
}

/// The way in of the worker that owns the segment.
pub(crate) struct OwnerInward<R, T> {
    ingress: Ingress<R, T>,
    lines: Lines,
    /// Frames of our own wait for room on their line.
    crowded: bool,
}

impl<R, T> OwnerInward<R, T> {
    pub(crate) fn new(ingress: Ingress<R, T>, lines: Lines) -> Self {
        Self { ingress, lines, crowded: false }
    }

    /// The receiving half.
    pub(crate) fn underlay_mut(&mut self) -> &mut R {
        self.ingress.underlay_half_mut()
    }
}

impl<R: UnderlayRx, T: PortTx> Inward for OwnerInward<R, T> {
    fn turn(&mut self, shared: &Shared, elapsed: Duration) -> io::Result<Turn> {
        let Self { ingress, lines, crowded } = self;
        let now = Timestamp::from_duration(elapsed);
        if !lines.are_quiet() {
            // A bounded number of each, so that neither stops the frames.
            for command in lines.commands.try_iter().take(COMMANDS_BEFORE_A_LOOK) {
                let reply = command(ingress.segment_mut(), now);
                // Whether all found room, the last one tells.
                let _ = publish(ingress.segment_mut(), shared, lines);
                reply();
            }
            let sightings = lines.sightings.iter().flat_map(Receiver::try_iter);
            for sighting in sightings.take(SIGHTINGS_BEFORE_A_LOOK) {
                ingress.segment_mut().handle_sighting(sighting, now);
            }
            if !lines.answers.is_empty() {
                ingress.answer(lines.answers.try_iter().take(ANSWERS_BEFORE_A_LOOK))?;
            }
        }
        let count = ingress.turn(now)?;
        let turn = Turn::of(count, ingress.underlay().is_drained());
        let segment = ingress.segment_mut();
        if let Some(deadline) = segment.deadline()
            && deadline <= now
            // An answer that has arrived counts, and so it is read first; but not everybody stops sending for that.
            && (turn != Turn::More || now.saturating_since(deadline) >= HEALTH_PATIENCE)
        {
            segment.handle_due(now);
        }
        *crowded = !publish(segment, shared, lines);
        Ok(turn)
    }

    fn tick(&mut self, elapsed: Duration) -> io::Result<()> {
        self.ingress.tick(Timestamp::from_duration(elapsed))
    }

    fn deadline(&self) -> Option<Duration> {
        self.ingress.segment().deadline().map(|deadline| Duration::from_nanos(deadline.as_nanos()))
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.ingress.underlay().readiness()
    }

    fn wake<'a>(&self, shared: &'a Shared) -> BorrowedFd<'a> {
        shared.wake_owner.as_fd()
    }

    fn may_sleep(&self) -> bool {
        self.lines.are_quiet() && !self.crowded
    }

    fn woken(&self, shared: &Shared) -> io::Result<()> {
        // Before the looks of the next turn: the signal of what comes after them stays for the next wait.
        shared.wake_owner.drain().map(drop)
    }
}

/// The way in of a worker that reports what it sees to the owner.
pub(crate) struct ReporterInward<R, T> {
    ingress: Ingress<R, T, UnderlayHalf>,
    sightings: Sender<Sighting>,
    view: Published<UnderlayView>,
}

impl<R: UnderlayRx, T: PortTx> ReporterInward<R, T> {
    pub(crate) fn new(ingress: Ingress<R, T, UnderlayHalf>, sightings: Sender<Sighting>) -> Self {
        Self { ingress, sightings, view: Published::NONE }
    }
}

impl<R: UnderlayRx, T: PortTx> Inward for ReporterInward<R, T> {
    fn turn(&mut self, shared: &Shared, elapsed: Duration) -> io::Result<Turn> {
        let Self { ingress, sightings, view } = self;
        let count = ingress.recv()?;
        // After the datagrams are read, as with the flood lists.
        if let Some(changed) = view.poll(&shared.view) {
            ingress.set_view(changed);
        }
        ingress.forward(count, Timestamp::from_duration(elapsed))?;
        let mut told = false;
        ingress.hand_over(|sighting| {
            let taken = sightings.try_send(sighting).is_ok();
            told |= taken;
            taken
        });
        if told {
            let _ = shared.wake_owner.signal();
        }
        Ok(Turn::of(count, ingress.underlay().is_drained()))
    }

    fn tick(&mut self, _elapsed: Duration) -> io::Result<()> {
        self.ingress.tick()
    }

    fn deadline(&self) -> Option<Duration> {
        None
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.ingress.underlay().readiness()
    }

    fn wake<'a>(&self, shared: &'a Shared) -> BorrowedFd<'a> {
        shared.stopping.as_fd()
    }

    fn may_sleep(&self) -> bool {
        true
    }

    fn woken(&self, _shared: &Shared) -> io::Result<()> {
        // Stopping is for good: the event stays readable for whoever sleeps.
        Ok(())
    }
}

/// Hands what has changed to the other threads, and events to the forwarder's owner; says whether all frames of our own may have found
/// room.
fn publish(segment: &mut Segment, shared: &Shared, lines: &Lines) -> bool {
    if let Some(flood) = segment.poll_flood() {
        shared.flood.store(Some(flood));
    }
    if lines.sightings.is_some()
        && let Some(view) = segment.poll_view()
    {
        shared.view.store(Some(view));
    }
    let is_all = lines.outbox.hand_over(segment);
    let mut news = false;
    // What finds no room stays in the segment, which counts what it must lose.
    while !lines.events.is_full()
        && let Some(event) = segment.poll_event()
    {
        // Full it is not, and who has gone away misses nothing.
        let _ = lines.events.try_send(event);
        news = true;
    }
    if news {
        shared.tell();
    }
    is_all
}
