//! The two directions as threads, and the way to steer them.
//!
//! # Theory of operation
//!
//! ```text
//!            ┌─────────────── worker: one thread, or two ───────────────┐
//!   port ───►│ drain ─► flush ───────────────────────┐                  │───► underlay
//!            │                        wait (port, underlay, commands)   │
//!   port ◄───│ commands ─► drain ─► flush ─► tick ───┘                  │◄─── underlay
//!            └──────▲──────────────────────────┬────────────────────────┘
//!          commands │                          │ events
//!                 Control                   Forwarder
//! ```
//!
//! A worker runs to completion, as the `worker` module tells: it forwards what is queued in both directions and waits for more. No
//! channel lies on the way of a frame. The first worker owns the [`Segment`], so that whoever wants something of it sends a
//! command ([`Control::with`]) and never takes a lock that the data path would wait for.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwapOption;
use crossbeam::channel::{self, Receiver, Sender};
use vxgate_core::{AllCounters, Event, FloodLists, Segment, Sighting, Timestamp, UnderlayView};
use vxgate_sys::eventfd::EventFd;

use crate::affinity;
use crate::capture::{Capture, CaptureOptions, CaptureTap};
use crate::egress::Egress;
use crate::ingress::Ingress;
use crate::outer::OuterPolicy;
use crate::own::{self, Answers};
use crate::patience::BusyPoll;
use crate::port::{Port, PortRx};
use crate::udp::{LaneRx, UdpTx};
use crate::underlay::{Underlay, UnderlayRx, UnderlayTx};
use crate::worker::{
    Clock, Inward, Lines, Outward, OwnerInward, ReporterInward, SecondThread, line, run_first, run_on_demand,
    run_outward,
};

/// Events that wait for the owner; more wait in the segment, whose own limit counts what is lost.
const EVENTS: usize = 1024;

/// Sightings of other workers that wait for the thread that owns the segment; beyond that frames are delivered unlearned.
const SIGHTINGS: usize = 1024;

/// What each thread does before its first frame, given its name: giving up privileges, say. Its error keeps the thread from running.
#[derive(Clone)]
pub struct OnStart(Arc<First>);

/// Given the thread's name.
type First = dyn Fn(&str) -> io::Result<()> + Send + Sync;

impl OnStart {
    /// Does this.
    pub fn new(run: impl Fn(&str) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(run))
    }

    /// Does it for the calling thread.
    ///
    /// # Errors
    /// What it says.
    pub fn run(&self, name: &str) -> io::Result<()> {
        (self.0)(name)
    }
}

impl fmt::Debug for OnStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnStart").finish_non_exhaustive()
    }
}

impl PartialEq for OnStart {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for OnStart {}

/// How the threads of a forwarder run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerOptions {
    /// What a thread does when nothing is queued.
    pub busy_poll: BusyPoll,
    /// Whether, and when, a second thread of a worker carries the way out.
    pub second_thread: SecondThread,
    /// Processors that the threads are pinned to, one each and in turn: a worker's first and its second; after the last comes the first again.
    /// Default none: they run where the system puts them.
    pub affinity: Vec<usize>,
    /// What each thread does first. Default nothing.
    pub on_start: Option<OnStart>,
}

/// A segment that shares its sockets: its forwarder, its way in, and what its threads share.
pub(crate) type LaneParts<T> = (Forwarder, OwnerInward<LaneRx, T>, Arc<Shared>);

/// The worker that owns a segment, before its threads run.
type OwnerParts<P, R, T> = (Forwarder, OwnerInward<R, <P as Port>::Tx>, Outward<<P as Port>::Rx, T>, Answers);

/// What a command leaves to do once its effects are published.
type Reply = Box<dyn FnOnce() + Send>;
pub(crate) type Command = Box<dyn FnOnce(&mut Segment, Timestamp) -> Reply + Send>;

/// A running tunnel: workers that forward until they are told to stop.
///
/// Dropping it stops them too, and waits for them; only [`Forwarder::stop`] tells what ended them.
pub struct Forwarder {
    shared: Arc<Shared>,
    counters: AllCounters,
    control: Control,
    events: Receiver<Event>,
    /// None once they are joined.
    threads: Vec<JoinHandle<Result<(), ForwarderError>>>,
    /// Where the way in is a lane of a hub, what becomes of it.
    lane: Option<Receiver<Result<(), ForwarderError>>>,
}

/// What the threads and their owner share.
pub(crate) struct Shared {
    stop: AtomicBool,
    /// Readable from when the threads are told to stop.
    pub(crate) stopping: EventFd,
    /// Wakes the thread that owns the segment.
    pub(crate) wake_owner: EventFd,
    /// Called when an event was queued or a thread has ended.
    on_news: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// The flood lists as they last changed; `None` before the first change.
    pub(crate) flood: ArcSwapOption<FloodLists>,
    /// What other workers go by as it last changed; `None` before the first change.
    pub(crate) view: ArcSwapOption<UnderlayView>,
    /// The same for all threads: what one notes, another compares.
    pub(crate) clock: Clock,
    /// Who gets copies of frames.
    pub(crate) capture: Arc<CaptureTap>,
}

impl Shared {
    pub(crate) fn new() -> io::Result<Self> {
        let clock = Clock::start();
        Ok(Self {
            capture: Arc::new(CaptureTap::new(clock)),
            stop: AtomicBool::new(false),
            stopping: EventFd::new()?,
            wake_owner: EventFd::new()?,
            on_news: OnceLock::new(),
            flood: ArcSwapOption::empty(),
            view: ArcSwapOption::empty(),
            clock,
        })
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        for event in [&self.stopping, &self.wake_owner] {
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
        Self::spawn_pairs(segment, [(port, underlay)], policy, &WorkerOptions::default())
    }

    /// Starts one worker for each pair of a port and an underlay, whose threads run as `options` say.
    ///
    /// The ports are queues of one device, and the underlays sockets of one address: all frames are of the same segment, and
    /// whichever pair a frame comes by, the same becomes of it. No frame changes its pair, so that frames of a flow stay
    /// in order where the device and the sockets keep each flow on one of theirs ([`TapPort`](crate::TapPort) over
    /// [`Tap::open_queues`](crate::Tap::open_queues) and [`UdpUnderlay::bind_workers`](crate::UdpUnderlay::bind_workers) do).
    ///
    /// # Errors
    /// As [`Forwarder::spawn`]; `InvalidInput` for no pair, and for a processor that is not there
    /// ([`check_processor`](crate::check_processor)).
    pub fn spawn_pairs<P: Port, U: Underlay>(
        mut segment: Segment,
        pairs: impl IntoIterator<Item = (P, U)>,
        policy: OuterPolicy,
        options: &WorkerOptions,
    ) -> io::Result<Self> {
        let mut pairs = pairs.into_iter();
        let (port, underlay) = pairs.next().ok_or(io::ErrorKind::InvalidInput)?;
        let others: Vec<_> = pairs.map(|pair| (pair, segment.worker_halves())).collect();
        let (sighting_tx, sightings) = channel::bounded(SIGHTINGS);
        let sightings = (!others.is_empty()).then_some(sightings);
        let mut processors = options.affinity.iter().copied().cycle();
        let local = underlay.local();
        // From here on an error drops it, which ends the threads that run.
        let (mut forwarder, inward, outward, answers) =
            Self::owner(segment, port, underlay.split(), local, policy, sightings)?;
        forwarder.start_worker(0, inward, outward, &mut processors, options)?;
        for (number, ((port, underlay), (overlay_half, underlay_half))) in (1..).zip(others) {
            let (port_rx, port_tx) = port.split();
            let (underlay_rx, underlay_tx) = underlay.split();
            let counters = overlay_half.counters();
            let egress = Egress::new(port_rx, underlay_tx, overlay_half, counters, policy);
            let egress =
                egress.with_answers(answers.clone()).at(local, Arc::clone(&forwarder.shared.capture));
            let ingress = Ingress::of_worker(underlay_rx, port_tx, underlay_half)?;
            let ingress = ingress.at(local, Arc::clone(&forwarder.shared.capture));
            let inward = ReporterInward::new(ingress, sighting_tx.clone());
            forwarder.start_worker(number, inward, Outward::new(egress, None), &mut processors, options)?;
        }
        Ok(forwarder)
    }

    /// Starts the way out of a segment that shares its sockets with others, and makes its way in for the thread that reads them; `ended`
    /// tells what became of that.
    pub(crate) fn spawn_lane<P: Port>(
        segment: Segment,
        port: P,
        halves: (LaneRx, UdpTx),
        local: Option<SocketAddr>,
        policy: OuterPolicy,
        options: &WorkerOptions,
        ended: Receiver<Result<(), ForwarderError>>,
    ) -> io::Result<LaneParts<P::Tx>> {
        let (mut forwarder, inward, outward, _) = Self::owner(segment, port, halves, local, policy, None)?;
        let (busy_poll, second) = (options.busy_poll, options.affinity.get(1).copied());
        forwarder.start("vxgate-0-out".to_owned(), second, options.on_start.clone(), move |shared| {
            run_outward(outward, shared, busy_poll)
        })?;
        // Until there is a lane nobody can wait for its end.
        forwarder.lane = Some(ended);
        let shared = Arc::clone(&forwarder.shared);
        Ok((forwarder, inward, shared))
    }

    /// Both ways of the worker that owns the segment, the forwarder that their threads will belong to, and where other ways out put what
    /// they have to say to the host.
    fn owner<P: Port, R: UnderlayRx, T: UnderlayTx>(
        segment: Segment,
        port: P,
        (rx, tx): (R, T),
        local: Option<SocketAddr>,
        policy: OuterPolicy,
        sightings: Option<Receiver<Sighting>>,
    ) -> io::Result<OwnerParts<P, R, T>> {
        let shared = Arc::new(Shared::new()?);
        let (command_tx, commands) = channel::unbounded();
        let (events, event_rx) = channel::bounded(EVENTS);
        let (outbox_sender, outbox) = own::outbox()?;
        let (answers, answer_rx) = own::answers(&shared);
        let lines = Lines { commands, events, sightings, outbox: outbox_sender, answers: answer_rx };
        let (port_rx, port_tx) = port.split();
        let counters = segment.all_counters();
        let egress = Egress::new(port_rx, tx, segment.overlay_half(), segment.counters(), policy);
        let egress = egress.with_answers(answers.clone()).at(local, Arc::clone(&shared.capture));
        let ingress = Ingress::new(rx, port_tx, segment)?.at(local, Arc::clone(&shared.capture));
        let forwarder = Self {
            control: Control { commands: command_tx, shared: Arc::clone(&shared) },
            shared,
            counters,
            events: event_rx,
            threads: Vec::new(),
            lane: None,
        };
        Ok((forwarder, OwnerInward::new(ingress, lines), Outward::new(egress, Some(outbox)), answers))
    }

    /// Starts the threads of a worker.
    fn start_worker<I: Inward + 'static, R: PortRx + 'static, T: UnderlayTx + 'static>(
        &mut self,
        number: usize,
        inward: I,
        outward: Outward<R, T>,
        processors: &mut impl Iterator<Item = usize>,
        options: &WorkerOptions,
    ) -> io::Result<()> {
        let (busy_poll, on_start) = (options.busy_poll, options.on_start.clone());
        // Linux cuts a thread's name to 15 octets.
        let (first, second) = (format!("vxgate-{number}"), format!("vxgate-{number}-out"));
        let (first_on, second_on) = (processors.next(), processors.next());
        match options.second_thread {
            SecondThread::Never => self.start(first, first_on, on_start, move |shared| {
                run_first(inward, Some(Box::new(outward)), None, shared, busy_poll)
            }),
            SecondThread::OnDemand => {
                let (lender, borrower) = line()?;
                self.start(first, first_on, on_start.clone(), move |shared| {
                    run_first(inward, Some(Box::new(outward)), Some(&lender), shared, busy_poll)
                })?;
                self.start(second, second_on, on_start, move |shared| {
                    run_on_demand(&borrower, shared, busy_poll)
                })
            }
            SecondThread::Always => {
                self.start(first, first_on, on_start.clone(), move |shared| {
                    run_first::<I, R, T>(inward, None, None, shared, busy_poll)
                })?;
                self.start(second, second_on, on_start, move |shared| run_outward(outward, shared, busy_poll))
            }
        }
    }

    /// Starts a thread, on this processor if there is one; with its end all others end.
    fn start(
        &mut self,
        name: String,
        processor: Option<usize>,
        on_start: Option<OnStart>,
        run: impl FnOnce(&Shared) -> Result<(), ForwarderError> + Send + 'static,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let (tell_pinned, pinned) = channel::bounded(1);
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            let _stop = StopAtEnd(Arc::clone(&shared));
            let pinned = processor.map_or(Ok(()), affinity::pin);
            let outcome = pinned.and_then(|()| on_start.map_or(Ok(()), |first| first.run(&name)));
            let is_pinned = outcome.is_ok();
            // Whoever starts it waits for this.
            let _ = tell_pinned.send(outcome);
            if is_pinned { run(&shared) } else { Ok(()) }
        })?;
        self.threads.push(thread);
        pinned.recv().unwrap_or(Ok(()))
    }

    /// A handle to look at and change the segment while it forwards.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The counters of both directions, those of all workers added up.
    #[must_use]
    pub fn counters(&self) -> AllCounters {
        self.counters.clone()
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
        for end in self.end() {
            match end {
                Ok(outcome) => outcome?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    }

    /// Stops the threads that run and waits for them: what became of each.
    fn end(&mut self) -> Vec<thread::Result<Result<(), ForwarderError>>> {
        self.shared.stop();
        let mut ends: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        // A hub that has ended has let it go without a word.
        ends.extend(self.lane.take().and_then(|lane| lane.recv().ok()).map(Ok));
        ends
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
    /// Begins to copy frames, of all workers, until what is returned is dropped. Whether or not they are read in time, frames are
    /// forwarded as before.
    ///
    /// # Errors
    /// `QuotaExceeded`: four listen already.
    pub fn capture(&self, options: CaptureOptions) -> io::Result<Capture> {
        Capture::begin(&self.shared.capture, options)
    }

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
        let _ = self.shared.wake_owner.signal();
        Ok(())
    }
}
