//! A worker: both directions between a port and an underlay, carried by one thread, or by two while both are busy.
//!
//! # Theory of operation
//!
//! ```text
//!               ┌───────────────── more queued in either ─────────────────┐
//!               ▼                                                         │
//!   first   [ commands, tick, INWARD turn ] ─► [ OUTWARD turn ] ──────────┼─► nothing: PATIENCE looks again,
//!                                                 │        ▲              │   then epoll: asleep
//!                            both full for a while│        │nothing queued
//!                                                 ▼        │
//!   second                                     [ OUTWARD turn ] ◄─┐
//!                                                     └──── more ─┘
//! ```
//!
//! By default each direction has its own thread: the drawing then lacks the arrows between the two. Most loads are heavy one
//! way and light the other, a stream and its acknowledgements, and a thread for each direction is woken for each
//! acknowledgement, which costs both sides of the wake-up more than the frame. Where processors are short, one thread that is
//! awake anyway does better; where one is idle, two do (docs/performance.md has both). On demand, a worker has one thread until both
//! directions have more than a batch queued, turn after turn; then it hands the way out to the second thread, which gives it
//! back when nothing is queued there. Only one thread has a direction at any time, and each turn ends with a flush, so that
//! nothing is reordered by the handover. [`SecondThread`] says which.
//!
//! Where there are several workers, the first one owns the segment, and learns what the others report over a bounded channel;
//! those load what it has published after each batch that they read, as the way out does.
//!
//! A batch is what is queued at the moment, and a bounded number of it; nothing is held back for more to come. Each turn is one
//! batch, so that a command waits for one batch of each direction at most, however much traffic there is.
//!
//! The sources are watched level-triggered: whatever is left in them, or came while the thread was on its way to sleep, ends
//! the sleep at once. So a source that says that it is drained is not asked again before the thread sleeps, and a wake-up costs
//! no call but the wait itself. The event that wakes for commands is drained only when the wait names it, and then the
//! commands are looked at; one that comes later signals again.

mod inward;
mod outward;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender};
use vxgate_sys::epoll::{Epoll, Events, Interest};
use vxgate_sys::eventfd::EventFd;

pub(crate) use self::inward::{Inward, Lines, OwnerInward, ReporterInward};
pub(crate) use self::outward::Outward;
use crate::forwarder::{Direction, ForwarderError, Shared};
use crate::patience::{BusyPoll, Patience};
use crate::port::PortRx;
use crate::underlay::UnderlayTx;

/// Whether a worker has a second thread for the way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecondThread {
    /// One thread carries both directions.
    Never,
    /// A second one takes over the way out while both directions are busy.
    OnDemand,
    /// Each direction has its own thread; the default.
    #[default]
    Always,
}

/// How often the forwarding database ages and the device is looked at.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// Turns in a row that leave both directions with more than a batch before the second thread is asked: about a millisecond of
/// full load, beside which waking it costs nothing.
const BUSY_TURNS: u32 = 16;

const TOKEN_TRAFFIC: u64 = 0;
const TOKEN_WAKE: u64 = 1;
const TOKEN_RETURNED: u64 = 2;
const TOKEN_OWN: u64 = 3;

/// What a turn of one direction found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Turn {
    /// Nothing was queued.
    Nothing,
    /// What was queued is forwarded, and nothing more was there.
    Drained,
    /// A batch is forwarded, and more may be queued.
    More,
}

impl Turn {
    fn of(count: usize, is_drained: bool) -> Turn {
        match (count, is_drained) {
            (0, _) => Turn::Nothing,
            (_, true) => Turn::Drained,
            (_, false) => Turn::More,
        }
    }
}

/// The first thread's end of the line to the second.
pub(crate) struct Lender<R, T> {
    give: Sender<Box<Outward<R, T>>>,
    back: Receiver<Box<Outward<R, T>>>,
    returned: Arc<EventFd>,
}

/// The second thread's end.
pub(crate) struct Borrower<R, T> {
    take: Receiver<Box<Outward<R, T>>>,
    back: Sender<Box<Outward<R, T>>>,
    returned: Arc<EventFd>,
}

/// A line between a worker's two threads.
pub(crate) fn line<R, T>() -> io::Result<(Lender<R, T>, Borrower<R, T>)> {
    // There is one way out to be lent.
    let (give, take) = channel::bounded(1);
    let (back_tx, back) = channel::bounded(1);
    let returned = Arc::new(EventFd::new()?);
    let borrower = Borrower { take, back: back_tx, returned: Arc::clone(&returned) };
    Ok((Lender { give, back, returned }, borrower))
}

fn inward_error(source: io::Error) -> ForwarderError {
    ForwarderError { direction: Direction::Ingress, source }
}

fn outward_error(source: io::Error) -> ForwarderError {
    ForwarderError { direction: Direction::Egress, source }
}

/// The first thread: carries the way in, and the way out while it has it. `outward` is `None` where another thread has it for
/// good, and `lender` where nobody else ever has it.
pub(crate) fn run_first<I: Inward, R: PortRx, T: UnderlayTx>(
    mut inward: I,
    mut outward: Option<Box<Outward<R, T>>>,
    lender: Option<&Lender<R, T>>,
    shared: &Shared,
    busy_poll: BusyPoll,
) -> Result<(), ForwarderError> {
    let (both, alone) = watches(&inward, outward.as_deref(), lender, shared).map_err(inward_error)?;
    let mut events = Events::with_capacity(5);
    let mut patience = Patience::new(busy_poll);
    let mut next_tick = TICK;
    let mut busy_turns = 0;
    while !shared.stopped() {
        let elapsed = shared.clock.elapsed();
        if elapsed >= next_tick {
            next_tick = elapsed + TICK;
            inward.tick(elapsed).map_err(inward_error)?;
        }
        let mut found = inward.turn(shared, elapsed).map_err(inward_error)?;
        if let (None, Some(lender)) = (&outward, lender) {
            outward = lender.back.try_recv().ok();
        }
        if let Some(way_out) = &mut outward {
            let turn = way_out.turn(shared).map_err(outward_error)?;
            busy_turns = if found == Turn::More && turn == Turn::More { busy_turns + 1 } else { 0 };
            found = found.max(turn);
        }
        if busy_turns >= BUSY_TURNS
            && let Some(lender) = lender
            && let Some(way_out) = outward.take()
        {
            busy_turns = 0;
            // Refused only when the second thread has ended, and the forwarder with it.
            let _ = lender.give.send(way_out);
        }
        if found > Turn::Nothing {
            patience.found(|| elapsed);
        }
        if found == Turn::More {
            continue;
        }
        if patience.looks_again(|| shared.clock.elapsed()) {
            thread::yield_now();
        } else if inward.may_sleep() {
            let watch = if outward.is_some() { &both } else { &alone };
            let due = inward.deadline().map_or(next_tick, |deadline| deadline.min(next_tick));
            let timeout = due.saturating_sub(shared.clock.elapsed());
            watch.wait(&mut events, Some(timeout)).map_err(inward_error)?;
            for event in events.iter() {
                match event.token {
                    TOKEN_WAKE => inward.woken(shared).map_err(inward_error)?,
                    TOKEN_RETURNED => {
                        if let Some(lender) = lender {
                            lender.returned.drain().map_err(inward_error)?;
                        }
                    }
                    TOKEN_OWN => {
                        if let Some(way_out) = &outward {
                            way_out.woken().map_err(outward_error)?;
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// What the first thread sleeps on: with the way out, and without it.
fn watches<I: Inward, R: PortRx, T: UnderlayTx>(
    inward: &I,
    outward: Option<&Outward<R, T>>,
    lender: Option<&Lender<R, T>>,
    shared: &Shared,
) -> io::Result<(Epoll, Epoll)> {
    let (both, alone) = (Epoll::new()?, Epoll::new()?);
    for epoll in [&both, &alone] {
        epoll.add(inward.readiness(), TOKEN_TRAFFIC, Interest::READABLE)?;
        epoll.add(inward.wake(shared), TOKEN_WAKE, Interest::READABLE)?;
        if let Some(lender) = lender {
            epoll.add(lender.returned.as_fd(), TOKEN_RETURNED, Interest::READABLE)?;
        }
    }
    if let Some(outward) = outward {
        both.add(outward.readiness(), TOKEN_TRAFFIC, Interest::READABLE)?;
        if let Some(own) = outward.wake() {
            both.add(own, TOKEN_OWN, Interest::READABLE)?;
        }
    }
    Ok((both, alone))
}

/// The second thread where it serves on demand: carries the way out whenever it is lent, until nothing is queued.
pub(crate) fn run_on_demand<R: PortRx, T: UnderlayTx>(
    borrower: &Borrower<R, T>,
    shared: &Shared,
    busy_poll: BusyPoll,
) -> Result<(), ForwarderError> {
    // The line ends with the first thread.
    for mut outward in &borrower.take {
        let mut patience = Patience::new(busy_poll);
        while !shared.stopped() {
            let turn = outward.turn(shared).map_err(outward_error)?;
            if turn > Turn::Nothing {
                patience.found(|| shared.clock.elapsed());
            }
            if turn == Turn::More {
                continue;
            }
            if !patience.looks_again(|| shared.clock.elapsed()) {
                break;
            }
            thread::yield_now();
        }
        if borrower.back.send(outward).is_err() {
            break;
        }
        let _ = borrower.returned.signal();
    }
    Ok(())
}

/// The second thread where each direction has its own: carries the way out, and sleeps by itself.
pub(crate) fn run_outward<R: PortRx, T: UnderlayTx>(
    mut outward: Outward<R, T>,
    shared: &Shared,
    busy_poll: BusyPoll,
) -> Result<(), ForwarderError> {
    let mut run = || {
        let epoll = Epoll::new()?;
        epoll.add(outward.readiness(), TOKEN_TRAFFIC, Interest::READABLE)?;
        epoll.add(shared.stopping.as_fd(), TOKEN_WAKE, Interest::READABLE)?;
        if let Some(own) = outward.wake() {
            epoll.add(own, TOKEN_OWN, Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(3);
        let mut patience = Patience::new(busy_poll);
        while !shared.stopped() {
            let turn = outward.turn(shared)?;
            if turn > Turn::Nothing {
                patience.found(|| shared.clock.elapsed());
            }
            if turn == Turn::More {
                continue;
            }
            if patience.looks_again(|| shared.clock.elapsed()) {
                thread::yield_now();
            } else {
                epoll.wait(&mut events, None)?;
                if events.iter().any(|event| event.token == TOKEN_OWN) {
                    outward.woken()?;
                }
            }
        }
        Ok(())
    };
    run().map_err(outward_error)
}

/// The edge where time enters.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the worker is the edge where time enters")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
