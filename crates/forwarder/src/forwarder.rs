//! The two directions as threads, and the way to steer them.
//!
//! # Theory of operation
//!
//! ```text
//!            ┌────────────── egress thread ──────────────┐
//!   port ───►│ drain ─► flush ─► wait(port, stop)        │───► underlay
//!            └──────────────▲────────────────────────────┘
//!              flood lists  │ (published, never locked)
//!            ┌──────────────┴── ingress thread ──────────┐
//!   port ◄───│ commands ─► drain ─► flush ─► tick ─► wait │◄─── underlay
//!            └──────▲──────────────────────────┬─────────┘
//!          commands │                          │ events
//!                 Control                   Forwarder
//! ```
//!
//! Each thread runs its direction to completion: it drains what is queued (a bounded number of batches), flushes, and
//! waits for more. No channel lies between them. The ingress thread owns the [`Segment`], so that whoever wants
//! something of it sends a command ([`Control::with`]) and never takes a lock that the data path would wait for.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use crossbeam::channel::{self, Receiver, Sender};
use vxgate_core::{Counters, Event, FloodLists, Segment, Timestamp};
use vxgate_sys::epoll::{Epoll, Events, Interest};
use vxgate_sys::eventfd::EventFd;

use crate::egress::Egress;
use crate::ingress::Ingress;
use crate::outer::OuterPolicy;
use crate::port::{Port, PortRx, PortTx};
use crate::underlay::{Underlay, UnderlayRx, UnderlayTx};

/// Batches that a direction forwards before it looks at its commands and its clock again.
const TURNS_BEFORE_A_LOOK: usize = 16;

/// Commands that the ingress thread carries out before it forwards again.
const COMMANDS_BEFORE_A_LOOK: usize = 64;

/// How often the forwarding database ages and the device is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Events that wait for the owner; more wait in the segment, whose own limit counts what is lost.
const EVENTS: usize = 1024;

const TOKEN_TRAFFIC: u64 = 0;
const TOKEN_WAKE: u64 = 1;

/// What a command leaves to do once its effects are published.
type Reply = Box<dyn FnOnce() + Send>;
type Command = Box<dyn FnOnce(&mut Segment, Timestamp) -> Reply + Send>;

/// A running tunnel: two threads that forward until they are told to stop.
///
/// Dropping it stops them too, and waits for them; only [`Forwarder::stop`] tells what ended them.
pub struct Forwarder {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    control: Control,
    events: Receiver<Event>,
    /// None once they are joined.
    threads: Vec<(Direction, JoinHandle<io::Result<()>>)>,
}

/// What the threads and their owner share.
struct Shared {
    stop: AtomicBool,
    wake_egress: EventFd,
    wake_ingress: EventFd,
    /// Called when an event was queued or a thread has ended.
    on_news: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// The flood lists as they last changed; `None` before the first change.
    flood: ArcSwapOption<FloodLists>,
}

impl Shared {
    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        for event in [&self.wake_egress, &self.wake_ingress] {
            // An event that cannot take another count is readable already.
            let _ = event.signal();
        }
    }

    fn tell(&self) {
        if let Some(on_news) = self.on_news.get() {
            on_news();
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// Stops both directions when the thread that holds it ends, however it ends.
struct StopAtEnd(Arc<Shared>);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.stop();
        self.0.tell();
    }
}

impl Forwarder {
    /// Starts forwarding between a port and an underlay as `segment` decides.
    ///
    /// # Errors
    /// The system gives no thread or no descriptor, or the port's device is gone.
    pub fn spawn(
        segment: Segment,
        port: impl Port,
        underlay: impl Underlay,
        policy: OuterPolicy,
    ) -> io::Result<Self> {
        let (port_rx, port_tx) = port.split();
        let (underlay_rx, underlay_tx) = underlay.split();
        let half = segment.overlay_half();
        let counters = segment.counters();
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            wake_egress: EventFd::new()?,
            wake_ingress: EventFd::new()?,
            on_news: OnceLock::new(),
            flood: ArcSwapOption::empty(),
        });
        let (command_tx, command_rx) = channel::unbounded();
        let (event_tx, event_rx) = channel::bounded(EVENTS);
        let control = Control { commands: command_tx, shared: Arc::clone(&shared) };

        let mut ingress = Ingress::new(underlay_rx, port_tx, segment)?;
        let mut egress = Egress::new(port_rx, underlay_tx, half, Arc::clone(&counters), policy);

        let ends = Arc::clone(&shared);
        let ingress = thread::Builder::new().name("vxgate-ingress".into()).spawn(move || {
            let _stop = StopAtEnd(Arc::clone(&ends));
            run_ingress(&mut ingress, &ends, &command_rx, &event_tx)
        })?;
        let ends = Arc::clone(&shared);
        let started = thread::Builder::new().name("vxgate-egress".into()).spawn(move || {
            let _stop = StopAtEnd(Arc::clone(&ends));
            run_egress(&mut egress, &ends)
        });
        let egress = match started {
            Ok(egress) => egress,
            Err(error) => {
                shared.stop();
                let _ = ingress.join();
                return Err(error);
            }
        };
        let threads = vec![(Direction::Ingress, ingress), (Direction::Egress, egress)];
        Ok(Self { shared, counters, control, events: event_rx, threads })
    }

    /// A handle to look at and change the segment while it forwards.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The counters of both directions.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The next event, if one is queued.
    #[must_use]
    pub fn poll_event(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Has `tell` called, from a thread of the forwarder, whenever an event was queued or a direction has ended; call
    /// [`Forwarder::poll_event`] once after this for what came before. Only the first call counts. Keep `tell` short: frames
    /// wait for it, and so would [`Control::with`], for ever.
    pub fn on_news(&self, tell: impl Fn() + Send + Sync + 'static) {
        // A second listener was never promised to be heard.
        let _ = self.shared.on_news.set(Box::new(tell));
    }

    /// Whether the threads are told to stop, or one of them has ended by itself and taken the other along.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.stopped()
    }

    /// Stops both directions, waits for their threads and closes the port and the underlay.
    ///
    /// # Errors
    /// What ended a direction before it was told to stop.
    pub fn stop(mut self) -> Result<(), ForwarderError> {
        for (direction, end) in self.end() {
            match end {
                Ok(Ok(())) => {}
                Ok(Err(source)) => return Err(ForwarderError { direction, source }),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    }

    /// Stops the threads that run and waits for them: what became of each.
    fn end(&mut self) -> Vec<(Direction, thread::Result<io::Result<()>>)> {
        self.shared.stop();
        self.threads.drain(..).map(|(direction, thread)| (direction, thread.join())).collect()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // Who wants to know what became of them calls `stop`.
        drop(self.end());
    }
}

/// One of the two directions of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Overlay to underlay.
    Egress,
    /// Underlay to overlay.
    Ingress,
}

/// What ended a direction.
#[derive(Debug)]
pub struct ForwarderError {
    /// Which direction ended.
    pub direction: Direction,
    /// What its port or underlay said.
    pub source: io::Error,
}

impl fmt::Display for ForwarderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.direction {
            Direction::Egress => "frames of the host can no longer be forwarded",
            Direction::Ingress => "frames of the peers can no longer be forwarded",
        })
    }
}

impl std::error::Error for ForwarderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A handle to look at and change a running segment.
#[derive(Clone)]
pub struct Control {
    commands: Sender<Command>,
    shared: Arc<Shared>,
}

/// The forwarder has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the forwarder has ended")
    }
}

impl std::error::Error for Ended {}

impl Control {
    /// Has the ingress thread call `look` with the segment and the time, between two batches, and returns its answer.
    /// What it changes is in force in both directions when this returns. Keep `look` short: frames wait for it.
    ///
    /// # Errors
    /// The forwarder has ended.
    pub fn with<R: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Segment, Timestamp) -> R + Send + 'static,
    ) -> Result<R, Ended> {
        let (answer_tx, answer_rx) = channel::bounded(1);
        self.send(look, move |answer| {
            // Who asked may have gone away.
            let _ = answer_tx.send(answer);
        })?;
        answer_rx.recv().map_err(|_| Ended)
    }

    /// As [`Control::with`], without waiting: the ingress thread hands the answer to `reply`. Should the forwarder end before it
    /// comes to that, `reply` is dropped uncalled.
    ///
    /// # Errors
    /// The forwarder has ended.
    pub fn send<R: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Segment, Timestamp) -> R + Send + 'static,
        reply: impl FnOnce(R) + Send + 'static,
    ) -> Result<(), Ended> {
        let command: Command = Box::new(move |segment, now| {
            let answer = look(segment, now);
            Box::new(move || reply(answer))
        });
        self.commands.send(command).map_err(|_| Ended)?;
        let _ = self.shared.wake_ingress.signal();
        Ok(())
    }
}

fn run_egress<R: PortRx, T: UnderlayTx>(egress: &mut Egress<R, T>, shared: &Shared) -> io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(egress.port().readiness(), TOKEN_TRAFFIC, Interest::READABLE)?;
    epoll.add(shared.wake_egress.as_fd(), TOKEN_WAKE, Interest::READABLE)?;
    let mut events = Events::with_capacity(2);
    let mut flood = arc_swap::Cache::new(&shared.flood);
    let mut known: Option<Arc<FloodLists>> = None;
    while !shared.stopped() {
        let mut drained = false;
        for _ in 0..TURNS_BEFORE_A_LOOK {
            let count = egress.recv()?;
            // After the frames are read: one that was sent after a change is flooded as changed.
            if let Some(current) = flood.load()
                && known.as_ref().is_none_or(|known| !Arc::ptr_eq(current, known))
            {
                known = Some(Arc::clone(current));
                egress.set_flood(Arc::clone(current));
            }
            egress.forward(count)?;
            if count == 0 {
                drained = true;
                break;
            }
        }
        if drained {
            epoll.wait(&mut events, None)?;
        }
    }
    Ok(())
}

fn run_ingress<R: UnderlayRx, T: PortTx>(
    ingress: &mut Ingress<R, T>,
    shared: &Shared,
    commands: &Receiver<Command>,
    events_out: &Sender<Event>,
) -> io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(ingress.underlay().readiness(), TOKEN_TRAFFIC, Interest::READABLE)?;
    epoll.add(shared.wake_ingress.as_fd(), TOKEN_WAKE, Interest::READABLE)?;
    let mut events = Events::with_capacity(2);
    let clock = Clock::start();
    let mut next_tick = TICK;
    loop {
        // In this order: the signal of a stop that comes after the look stays for the wait below.
        shared.wake_ingress.drain()?;
        if shared.stopped() {
            return Ok(());
        }
        let elapsed = clock.elapsed();
        let now = Timestamp::from_duration(elapsed);
        for command in commands.try_iter().take(COMMANDS_BEFORE_A_LOOK) {
            let reply = command(ingress.segment_mut(), now);
            publish(ingress.segment_mut(), shared, events_out);
            reply();
        }
        if elapsed >= next_tick {
            next_tick = elapsed + TICK;
            ingress.tick(now)?;
        }
        let mut drained = false;
        for _ in 0..TURNS_BEFORE_A_LOOK {
            if ingress.turn(Timestamp::from_duration(clock.elapsed()))? == 0 {
                drained = true;
                break;
            }
        }
        publish(ingress.segment_mut(), shared, events_out);
        if drained && commands.is_empty() {
            epoll.wait(&mut events, Some(next_tick.saturating_sub(clock.elapsed())))?;
        }
    }
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
