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
//! Each thread runs its direction to completion, as the `worker` module tells: it forwards what is queued and waits for more. No
//! channel lies between them. The ingress thread owns the [`Segment`], so that whoever wants something of it sends a
//! command ([`Control::with`]) and never takes a lock that the data path would wait for.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwapOption;
use crossbeam::channel::{self, Receiver, Sender};
use vxgate_core::{Counters, Event, FloodLists, Segment, Timestamp};
use vxgate_sys::eventfd::EventFd;

use crate::affinity;
use crate::egress::Egress;
use crate::ingress::Ingress;
use crate::outer::OuterPolicy;
use crate::patience::BusyPoll;
use crate::port::Port;
use crate::underlay::Underlay;
use crate::worker::{run_egress, run_ingress};

/// Events that wait for the owner; more wait in the segment, whose own limit counts what is lost.
const EVENTS: usize = 1024;

/// How the threads of a forwarder run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerOptions {
    /// What a thread does when nothing is queued.
    pub busy_poll: BusyPoll,
    /// Processors that the threads are pinned to, one each and in turn: egress and ingress; after the last comes the first again.
    /// Default none: they run where the system puts them.
    pub affinity: Vec<usize>,
}

/// What a command leaves to do once its effects are published.
type Reply = Box<dyn FnOnce() + Send>;
pub(crate) type Command = Box<dyn FnOnce(&mut Segment, Timestamp) -> Reply + Send>;

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
pub(crate) struct Shared {
    stop: AtomicBool,
    pub(crate) wake_egress: EventFd,
    pub(crate) wake_ingress: EventFd,
    /// Called when an event was queued or a thread has ended.
    on_news: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// The flood lists as they last changed; `None` before the first change.
    pub(crate) flood: ArcSwapOption<FloodLists>,
}

impl Shared {
    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        for event in [&self.wake_egress, &self.wake_ingress] {
            // An event that cannot take another count is readable already.
            let _ = event.signal();
        }
    }

    pub(crate) fn tell(&self) {
        if let Some(on_news) = self.on_news.get() {
            on_news();
        }
    }

    pub(crate) fn stopped(&self) -> bool {
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
    /// Starts forwarding between a port and an underlay as `segment` decides, with the defaults of [`WorkerOptions`].
    ///
    /// # Errors
    /// The system gives no thread or no descriptor, or the port's device is gone.
    pub fn spawn(
        segment: Segment,
        port: impl Port,
        underlay: impl Underlay,
        policy: OuterPolicy,
    ) -> io::Result<Self> {
        Self::spawn_with(segment, port, underlay, policy, &WorkerOptions::default())
    }

    /// As [`Forwarder::spawn`], with threads that run as `options` say.
    ///
    /// # Errors
    /// As [`Forwarder::spawn`], and `InvalidInput` for a processor that is not there ([`check_processor`](crate::check_processor)).
    pub fn spawn_with(
        segment: Segment,
        port: impl Port,
        underlay: impl Underlay,
        policy: OuterPolicy,
        options: &WorkerOptions,
    ) -> io::Result<Self> {
        let busy_poll = options.busy_poll;
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

        let mut processors = options.affinity.iter().copied().cycle();
        let (egress_on, ingress_on) = (processors.next(), processors.next());
        // From here on an error drops it, which ends the threads that run.
        let mut forwarder = Self { shared, counters, control, events: event_rx, threads: Vec::new() };
        forwarder.start(Direction::Ingress, "vxgate-ingress", ingress_on, move |shared| {
            run_ingress(&mut ingress, shared, &command_rx, &event_tx, busy_poll)
        })?;
        forwarder.start(Direction::Egress, "vxgate-egress", egress_on, move |shared| {
            run_egress(&mut egress, shared, busy_poll)
        })?;
        Ok(forwarder)
    }

    /// Starts a thread, on this processor if there is one; with its end all others end.
    fn start(
        &mut self,
        direction: Direction,
        name: &str,
        processor: Option<usize>,
        run: impl FnOnce(&Shared) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let (tell_pinned, pinned) = channel::bounded(1);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _stop = StopAtEnd(Arc::clone(&shared));
            let outcome = processor.map_or(Ok(()), affinity::pin);
            let is_pinned = outcome.is_ok();
            // Whoever starts it waits for this.
            let _ = tell_pinned.send(outcome);
            if is_pinned { run(&shared) } else { Ok(()) }
        })?;
        self.threads.push((direction, thread));
        pinned.recv().unwrap_or(Ok(()))
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
