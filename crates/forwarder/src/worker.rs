//! One direction as a thread's work: forward what is queued, then look again for a while, then sleep.
//!
//! # Theory of operation
//!
//! ```text
//!             ┌── more queued ──┐
//!             ▼                 │        nothing: PATIENCE looks again
//!   egress  [ recv, forward, flush ] ──┬────────────► yield ──► recv ...
//!   ingress [ commands, tick, turn ] ◄─┴────────────► epoll: asleep
//! ```
//!
//! Where there are several workers, the first one's ingress thread owns the segment, and learns what the others' report over a
//! bounded channel; those load what it has published after each batch that they read, as egress threads do.
//!
//! A batch is what is queued at the moment, and a bounded number of it; nothing is held back for more to come. Each turn is one
//! batch, so that a command waits for one batch at most, however much traffic there is. What a turn costs besides the
//! batch: egress a look at two atomics, ingress that and one reading of the clock, which the batch needs for its timestamps.
//!
//! The source is watched level-triggered: whatever is left in it, or came while the thread was on its way to sleep, ends the
//! sleep at once. So a source that says that it is drained is not asked again before the thread sleeps, and a wake-up costs no
//! call but the wait itself. The event that wakes for commands is drained only when the wait names it, and then the
//! commands are looked at; one that comes later signals again.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use crossbeam::channel::{Receiver, Sender};
use vxgate_core::{Event, Segment, Sighting, Timestamp, UnderlayHalf};
use vxgate_sys::epoll::{Epoll, Events, Interest};

use crate::egress::Egress;
use crate::forwarder::{Command, Shared};
use crate::ingress::Ingress;
use crate::patience::{BusyPoll, Patience};
use crate::port::{PortRx, PortTx};
use crate::underlay::{UnderlayRx, UnderlayTx};

/// Commands that the ingress thread carries out before it forwards again.
const COMMANDS_BEFORE_A_LOOK: usize = 64;

/// Sightings that it learns before it forwards again: about as long as one batch takes.
const SIGHTINGS_BEFORE_A_LOOK: usize = 64;

/// How often the forwarding database ages and the device is looked at.
const TICK: Duration = Duration::from_secs(1);

const TOKEN_TRAFFIC: u64 = 0;
const TOKEN_WAKE: u64 = 1;

pub(crate) fn run_egress<R: PortRx, T: UnderlayTx>(
    egress: &mut Egress<R, T>,
    shared: &Shared,
    busy_poll: BusyPoll,
) -> io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(egress.port().readiness(), TOKEN_TRAFFIC, Interest::READABLE)?;
    epoll.add(shared.stopping.as_fd(), TOKEN_WAKE, Interest::READABLE)?;
    let mut events = Events::with_capacity(2);
    let mut flood = Published::new(&shared.flood);
    let mut patience = Patience::new(busy_poll);
    while !shared.stopped() {
        let count = egress.recv()?;
        // After the frames are read: one that was sent after a change is flooded as changed.
        if let Some(changed) = flood.poll() {
            egress.set_flood(changed);
        }
        egress.forward(count)?;
        if count > 0 {
            patience.found(|| shared.clock.elapsed());
            if !egress.port().is_drained() {
                continue;
            }
        }
        if patience.looks_again(|| shared.clock.elapsed()) {
            thread::yield_now();
        } else {
            epoll.wait(&mut events, None)?;
        }
    }
    Ok(())
}

/// What the thread that owns the segment hears and tells besides datagrams.
pub(crate) struct Lines {
    pub(crate) commands: Receiver<Command>,
    pub(crate) events: Sender<Event>,
    /// What other workers have seen; `None` where there are none.
    pub(crate) sightings: Option<Receiver<Sighting>>,
}

impl Lines {
    fn are_quiet(&self) -> bool {
        self.commands.is_empty() && self.sightings.as_ref().is_none_or(Receiver::is_empty)
    }
}

pub(crate) fn run_ingress<R: UnderlayRx, T: PortTx>(
    ingress: &mut Ingress<R, T>,
    shared: &Shared,
    lines: &Lines,
    busy_poll: BusyPoll,
) -> io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(ingress.underlay().readiness(), TOKEN_TRAFFIC, Interest::READABLE)?;
    epoll.add(shared.wake_owner.as_fd(), TOKEN_WAKE, Interest::READABLE)?;
    let mut events = Events::with_capacity(2);
    let mut next_tick = TICK;
    let mut patience = Patience::new(busy_poll);
    while !shared.stopped() {
        let elapsed = shared.clock.elapsed();
        let now = Timestamp::from_duration(elapsed);
        if !lines.are_quiet() {
            // A bounded number of each, so that neither stops the frames.
            for command in lines.commands.try_iter().take(COMMANDS_BEFORE_A_LOOK) {
                let reply = command(ingress.segment_mut(), now);
                publish(ingress.segment_mut(), shared, lines);
                reply();
            }
            let sightings = lines.sightings.iter().flat_map(Receiver::try_iter);
            for sighting in sightings.take(SIGHTINGS_BEFORE_A_LOOK) {
                ingress.segment_mut().handle_sighting(sighting, now);
            }
        }
        if elapsed >= next_tick {
            next_tick = elapsed + TICK;
            ingress.tick(now)?;
        }
        let count = ingress.turn(now)?;
        publish(ingress.segment_mut(), shared, lines);
        if count > 0 {
            patience.found(|| elapsed);
            if !ingress.underlay().is_drained() {
                continue;
            }
        }
        if patience.looks_again(|| shared.clock.elapsed()) {
            thread::yield_now();
        } else if lines.are_quiet() {
            epoll.wait(&mut events, Some(next_tick.saturating_sub(elapsed)))?;
            if events.iter().any(|event| event.token == TOKEN_WAKE) {
                // Before the looks above: the signal of what comes after them stays for the next wait.
                shared.wake_owner.drain()?;
            }
        }
    }
    Ok(())
}

/// As [`run_ingress`], in a thread that does not own the segment.
pub(crate) fn run_ingress_of_worker<R: UnderlayRx, T: PortTx>(
    ingress: &mut Ingress<R, T, UnderlayHalf>,
    shared: &Shared,
    sightings: &Sender<Sighting>,
    busy_poll: BusyPoll,
) -> io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(ingress.underlay().readiness(), TOKEN_TRAFFIC, Interest::READABLE)?;
    epoll.add(shared.stopping.as_fd(), TOKEN_WAKE, Interest::READABLE)?;
    let mut events = Events::with_capacity(2);
    let mut view = Published::new(&shared.view);
    let mut next_tick = TICK;
    let mut patience = Patience::new(busy_poll);
    while !shared.stopped() {
        let elapsed = shared.clock.elapsed();
        if elapsed >= next_tick {
            next_tick = elapsed + TICK;
            ingress.tick()?;
        }
        let count = ingress.recv()?;
        // After the datagrams are read, as with the flood lists.
        if let Some(changed) = view.poll() {
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
        if count > 0 {
            patience.found(|| elapsed);
            if !ingress.underlay().is_drained() {
                continue;
            }
        }
        if patience.looks_again(|| shared.clock.elapsed()) {
            thread::yield_now();
        } else {
            epoll.wait(&mut events, Some(next_tick.saturating_sub(elapsed)))?;
        }
    }
    Ok(())
}

/// What the owner of the segment publishes, as one other thread sees it.
struct Published<'a, T> {
    cache: arc_swap::Cache<&'a ArcSwapOption<T>, Option<Arc<T>>>,
    known: Option<Arc<T>>,
}

impl<'a, T> Published<'a, T> {
    fn new(published: &'a ArcSwapOption<T>) -> Self {
        Self { cache: arc_swap::Cache::new(published), known: None }
    }

    /// What was published since the last call, if anything was.
    #[inline]
    fn poll(&mut self) -> Option<Arc<T>> {
        let current = self.cache.load().as_ref()?;
        if self.known.as_ref().is_some_and(|known| Arc::ptr_eq(current, known)) {
            return None;
        }
        self.known = Some(Arc::clone(current));
        self.known.clone()
    }
}

/// Hands what has changed to the other threads, and events to the forwarder's owner.
fn publish(segment: &mut Segment, shared: &Shared, lines: &Lines) {
    if let Some(flood) = segment.poll_flood() {
        shared.flood.store(Some(flood));
    }
    if lines.sightings.is_some()
        && let Some(view) = segment.poll_view()
    {
        shared.view.store(Some(view));
    }
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
}

/// The edge where time enters.
pub(crate) struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the worker is the edge where time enters")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
