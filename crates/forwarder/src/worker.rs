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

use crossbeam::channel::{Receiver, Sender};
use vxgate_core::{Event, FloodLists, Segment, Timestamp};
use vxgate_sys::epoll::{Epoll, Events, Interest};

use crate::egress::Egress;
use crate::forwarder::{Command, Shared};
use crate::ingress::Ingress;
use crate::patience::{BusyPoll, Patience};
use crate::port::{PortRx, PortTx};
use crate::underlay::{UnderlayRx, UnderlayTx};

/// Commands that the ingress thread carries out before it forwards again.
const COMMANDS_BEFORE_A_LOOK: usize = 64;

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
    epoll.add(shared.wake_egress.as_fd(), TOKEN_WAKE, Interest::READABLE)?;
    let mut events = Events::with_capacity(2);
    let mut flood = arc_swap::Cache::new(&shared.flood);
    let mut known: Option<Arc<FloodLists>> = None;
    let clock = Clock::start();
    let mut patience = Patience::new(busy_poll);
    while !shared.stopped() {
        let count = egress.recv()?;
        // After the frames are read: one that was sent after a change is flooded as changed.
        if let Some(current) = flood.load()
            && known.as_ref().is_none_or(|known| !Arc::ptr_eq(current, known))
        {
            known = Some(Arc::clone(current));
            egress.set_flood(Arc::clone(current));
        }
        egress.forward(count)?;
        if count > 0 {
            patience.found(|| clock.elapsed());
            if !egress.port().is_drained() {
                continue;
            }
        }
        if patience.looks_again(|| clock.elapsed()) {
            thread::yield_now();
        } else {
            epoll.wait(&mut events, None)?;
        }
    }
    Ok(())
}

pub(crate) fn run_ingress<R: UnderlayRx, T: PortTx>(
    ingress: &mut Ingress<R, T>,
    shared: &Shared,
    commands: &Receiver<Command>,
    events_out: &Sender<Event>,
    busy_poll: BusyPoll,
) -> io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(ingress.underlay().readiness(), TOKEN_TRAFFIC, Interest::READABLE)?;
    epoll.add(shared.wake_ingress.as_fd(), TOKEN_WAKE, Interest::READABLE)?;
    let mut events = Events::with_capacity(2);
    let clock = Clock::start();
    let mut next_tick = TICK;
    let mut patience = Patience::new(busy_poll);
    while !shared.stopped() {
        let elapsed = clock.elapsed();
        let now = Timestamp::from_duration(elapsed);
        // One batch, one look: a control plane that asks without end does not stop the frames.
        for command in commands.try_iter().take(if commands.is_empty() { 0 } else { COMMANDS_BEFORE_A_LOOK })
        {
            let reply = command(ingress.segment_mut(), now);
            publish(ingress.segment_mut(), shared, events_out);
            reply();
        }
        if elapsed >= next_tick {
            next_tick = elapsed + TICK;
            ingress.tick(now)?;
        }
        let count = ingress.turn(now)?;
        publish(ingress.segment_mut(), shared, events_out);
        if count > 0 {
            patience.found(|| elapsed);
            if !ingress.underlay().is_drained() {
                continue;
            }
        }
        if patience.looks_again(|| clock.elapsed()) {
            thread::yield_now();
        } else if commands.is_empty() {
            epoll.wait(&mut events, Some(next_tick.saturating_sub(elapsed)))?;
            if events.iter().any(|event| event.token == TOKEN_WAKE) {
                // Before the looks above: the signal of what comes after them stays for the next wait.
                shared.wake_ingress.drain()?;
            }
        }
    }
    Ok(())
}

/// Hands changed flood lists to the egress thread and events to the owner.
fn publish(segment: &mut Segment, shared: &Shared, events_out: &Sender<Event>) {
    if let Some(flood) = segment.poll_flood() {
        shared.flood.store(Some(flood));
    }
    let mut news = false;
    // What finds no room stays in the segment, which counts what it must lose.
    while !events_out.is_full()
        && let Some(event) = segment.poll_event()
    {
        // Full it is not, and who has gone away misses nothing.
        let _ = events_out.try_send(event);
        news = true;
    }
    if news {
        shared.tell();
    }
}

/// The edge where time enters.
struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the worker is the edge where time enters")]
    fn start() -> Self {
        Self(Instant::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
