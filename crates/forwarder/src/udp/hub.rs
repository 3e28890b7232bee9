//! One address and port for several segments, as the kernel's devices of one port share a socket.
//!
//! # Theory of operation
//!
//! ```text
//!                       hub's thread
//!   socket ──► read a batch ──► sorted by VNI ──► lane of VNI 10: OwnerInward ──► its port
//!                                            └──► lane of VNI 11: OwnerInward ──► its port
//!   socket ◄── UdpTx ◄── way out of each lane, in a thread of its own ◄── its port
//! ```
//!
//! A batch is read once, with all that the kernel joins, and each lane has its part of it: the receiving half is lent to a lane for
//! its turn and taken back after, so that no datagram is copied or passed on by a channel, and the frames of a flow stay in order. A lane is
//! the way in of a forwarder as any other (the `worker` module); it does not know that there are others. Datagrams of a VNI that no lane has
//! are the first one's to judge and to count: strangers and wrong VNIs.
//!
//! Lanes come and go while the others forward: a new one waits on a line and is taken in between two batches; one whose forwarder is
//! stopped is let go in the next turn. One whose port fails ends alone.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender};
use vxgate_codec::{Vni, vxlan};
use vxgate_core::Segment;
use vxgate_sys::epoll::{Epoll, Events, Interest};
use vxgate_sys::eventfd::EventFd;

use super::{
    UdpBuffers, UdpConfig, UdpErrorReader, UdpErrors, UdpOffload, UdpRx, UdpTx, UdpUnderlay, UnderlayReport,
};
use crate::affinity;
use crate::forwarder::{Direction, Forwarder, ForwarderError, Shared, WorkerOptions};
use crate::outer::OuterPolicy;
use crate::patience::{BusyPoll, Patience};
use crate::port::{Port, PortTx};
use crate::underlay::{Datagram, UnderlayRx};
use crate::worker::{Clock, Inward, OwnerInward, TICK, Turn};

/// Most segments of one hub: each costs a look in each turn, and two threads' worth of memory.
pub const HUB_SEGMENTS: usize = 64;

/// The sockets of one address and port, for several segments.
///
/// Each segment that is attached is a [`Forwarder`] of its own; when that is stopped or dropped, its VNI is free again. Dropping the hub
/// ends those that are left.
pub struct UdpHub {
    underlay: UdpUnderlay,
    options: WorkerOptions,
    lanes: Sender<Lane>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
    subscribers: Arc<Mutex<Vec<Subscriber>>>,
    _errors: Option<UdpErrorReader>,
}

/// What a hub and its thread share.
struct State {
    stop: AtomicBool,
    wake: EventFd,
    vnis: Mutex<BTreeSet<Vni>>,
}

/// Somebody who wants to know what the network says.
struct Subscriber {
    number: Arc<()>,
    hear: Box<dyn Fn(&UnderlayReport) + Send>,
}

/// What the network says of a hub's datagrams is told as long as this lives.
pub struct HubReports {
    number: Arc<()>,
    subscribers: Arc<Mutex<Vec<Subscriber>>>,
}

impl Drop for HubReports {
    fn drop(&mut self) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|one| !Arc::ptr_eq(&one.number, &self.number));
    }
}

impl fmt::Debug for HubReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubReports").finish_non_exhaustive()
    }
}

impl fmt::Debug for UdpHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpHub").field("local", &self.underlay.local_addr().ok()).finish_non_exhaustive()
    }
}

impl UdpHub {
    /// Opens the sockets and starts the thread that reads them. What `options` say of a second thread has no part in it: each segment
    /// has one for its way out.
    ///
    /// # Errors
    /// As [`UdpUnderlay::bind`]; the system gives no thread or descriptor; a processor of the options is not there.
    pub fn bind(config: &UdpConfig, options: &WorkerOptions) -> io::Result<Self> {
        let underlay = UdpUnderlay::bind(config)?;
        let subscribers: Arc<Mutex<Vec<Subscriber>>> = Arc::default();
        let errors = if config.errors {
            let heard = Arc::clone(&subscribers);
            let tell = move |report: UnderlayReport| {
                let subscribers = heard.lock().unwrap_or_else(PoisonError::into_inner);
                subscribers.iter().for_each(|one| (one.hear)(&report));
            };
            Some(UdpErrors::of(std::slice::from_ref(&underlay))?.spawn(options.on_start.clone(), tell)?)
        } else {
            None
        };
        let vnis = Mutex::default();
        let state = Arc::new(State { stop: AtomicBool::new(false), wake: EventFd::new()?, vnis });
        let (lanes, incoming) = channel::unbounded();
        let rx = UdpRx::new(underlay.receivers.clone(), None);
        // A group's socket is a receiver more, which a hub has none of.
        if underlay.receivers.len() != 1 {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "several segments of one port have no groups",
            ));
        }
        let epoll = Epoll::new()?;
        epoll.add(rx.readiness(), TOKEN_TRAFFIC, Interest::READABLE)?;
        epoll.add(state.wake.as_fd(), TOKEN_WAKE, Interest::READABLE)?;
        let (processor, busy_poll) = (options.affinity.first().copied(), options.busy_poll);
        if let Some(processor) = processor {
            affinity::check_processor(processor)?;
        }
        let (hub, on_start) = (Arc::clone(&state), options.on_start.clone());
        let name = format!("vxgate-{}", underlay.local_addr()?.port());
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            if let Some(processor) = processor
                && let Err(error) = affinity::pin(processor)
            {
                tracing::warn!(%error, "the thread of a shared port runs where the system puts it");
            }
            if let Some(first) = on_start
                && let Err(error) = first.run(&name)
            {
                tracing::error!(%error, "the thread of a shared port does not run");
                return;
            }
            let mut several = Several { rx: Some(Box::new(rx)), lanes: Vec::new(), incoming, hub, epoll };
            if let Err(error) = several.run(busy_poll) {
                tracing::error!(%error, "datagrams of a shared port can no longer be received");
                several.end_all(|| Err(io::Error::new(error.kind(), error.to_string())));
            }
        })?;
        let thread = Some(thread);
        Ok(Self { underlay, options: options.clone(), lanes, state, thread, subscribers, _errors: errors })
    }

    /// Starts forwarding between a port and the peers of a segment, as [`Forwarder::spawn`] does over an underlay of its own. The
    /// others of the hub lose nothing meanwhile.
    ///
    /// # Errors
    /// `AlreadyExists`: a segment of this VNI is attached; `QuotaExceeded`: [`HUB_SEGMENTS`] are; or as [`Forwarder::spawn`].
    pub fn attach(&self, segment: Segment, port: impl Port, policy: OuterPolicy) -> io::Result<Forwarder> {
        let vni = segment.config().vni;
        let claim = Claim::of(&self.state, vni)?;
        let UdpUnderlay { main, senders, ports, dont_fragment, offload, .. } = &self.underlay;
        let tx = UdpTx::new(senders.clone(), ports.clone(), *dont_fragment, Arc::clone(offload));
        let rx = LaneRx { lent: None, indices: Vec::new(), readiness: main.as_fd().try_clone_to_owned()? };
        let local = self.underlay.local_addr().ok();
        let (outcome, ended) = channel::bounded(1);
        let parts = Forwarder::spawn_lane(segment, port, (rx, tx), local, policy, &self.options, ended)?;
        let (forwarder, inward, shared) = parts;
        let lane = Lane {
            vni,
            inward: Box::new(inward),
            shared,
            next_tick: Duration::ZERO,
            indices: Vec::new(),
            outcome,
            _claim: claim,
        };
        self.lanes.send(lane).map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
        self.state.wake.signal()?;
        Ok(forwarder)
    }

    /// Has `hear` called with what the network says of the hub's datagrams, of any segment, until what is returned is dropped; it is
    /// told nothing where [`UdpConfig::errors`] is off. [`UnderlayReport::peer`] says whether a segment is meant.
    pub fn on_report(&self, hear: impl Fn(&UnderlayReport) + Send + 'static) -> HubReports {
        let number = Arc::new(());
        let subscriber = Subscriber { number: Arc::clone(&number), hear: Box::new(hear) };
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(subscriber);
        HubReports { number, subscribers: Arc::clone(&self.subscribers) }
    }

    /// As [`UdpUnderlay::local_addr`].
    ///
    /// # Errors
    /// The socket is broken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.underlay.local_addr()
    }

    /// As [`UdpUnderlay::offload`].
    #[must_use]
    pub fn offload(&self) -> Arc<UdpOffload> {
        self.underlay.offload()
    }

    /// As [`UdpUnderlay::buffers`].
    ///
    /// # Errors
    /// A socket is broken.
    pub fn buffers(&self) -> io::Result<UdpBuffers> {
        self.underlay.buffers()
    }
}

impl Drop for UdpHub {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Release);
        // An event that cannot take another count is readable already.
        let _ = self.state.wake.signal();
        if let Some(thread) = self.thread.take() {
            // It has told of what ended it.
            let _ = thread.join();
        }
    }
}

/// A VNI that nobody else of the hub has, as long as this lives.
struct Claim {
    state: Arc<State>,
    vni: Vni,
}

impl Claim {
    fn of(state: &Arc<State>, vni: Vni) -> io::Result<Claim> {
        let mut vnis = state.vnis.lock().unwrap_or_else(PoisonError::into_inner);
        if vnis.len() >= HUB_SEGMENTS {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        if !vnis.insert(vni) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        Ok(Claim { state: Arc::clone(state), vni })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.state.vnis.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.vni);
    }
}

/// The way in of a segment that shares its sockets.
trait LaneInward: Inward {
    /// Lends the receiving half, with the numbers of this lane's datagrams, for the next turn.
    fn lend(&mut self, rx: Box<UdpRx>, indices: Vec<usize>);

    /// Takes both back.
    fn give_back(&mut self) -> Option<(Box<UdpRx>, Vec<usize>)>;
}

impl<T: PortTx> LaneInward for OwnerInward<LaneRx, T> {
    fn lend(&mut self, rx: Box<UdpRx>, indices: Vec<usize>) {
        let lane = self.underlay_mut();
        (lane.lent, lane.indices) = (Some(rx), indices);
    }

    fn give_back(&mut self) -> Option<(Box<UdpRx>, Vec<usize>)> {
        let lane = self.underlay_mut();
        Some((lane.lent.take()?, std::mem::take(&mut lane.indices)))
    }
}

/// The receiving half as a lane sees it: its own datagrams of the hub's batch.
pub(crate) struct LaneRx {
    lent: Option<Box<UdpRx>>,
    indices: Vec<usize>,
    readiness: OwnedFd,
}

impl UnderlayRx for LaneRx {
    fn recv(&mut self) -> io::Result<usize> {
        Ok(self.indices.len())
    }

    fn datagram(&mut self, index: usize) -> Datagram<'_> {
        let number = self.indices[index];
        self.lent.as_mut().expect("lent for the turn").datagram(number)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }

    fn is_drained(&self) -> bool {
        // Whether there is more is for the hub to find out.
        true
    }
}

/// A segment of the hub.
struct Lane {
    vni: Vni,
    inward: Box<dyn LaneInward>,
    shared: Arc<Shared>,
    next_tick: Duration,
    indices: Vec<usize>,
    outcome: Sender<Result<(), ForwarderError>>,
    _claim: Claim,
}

impl Lane {
    /// Tells its forwarder that it has ended, and lets its port go first.
    fn end(self, outcome: io::Result<()>) {
        let Lane { inward, shared, outcome: tell, _claim: claim, .. } = self;
        shared.stop();
        drop(inward);
        drop(claim);
        // A forwarder that was dropped waits for this, too.
        let _ = tell.send(outcome.map_err(|source| ForwarderError { direction: Direction::Ingress, source }));
        shared.tell();
    }
}

const TOKEN_TRAFFIC: u64 = 0;
const TOKEN_WAKE: u64 = 1;

/// The hub's thread.
struct Several {
    /// None while it is lent.
    rx: Option<Box<UdpRx>>,
    lanes: Vec<Lane>,
    incoming: Receiver<Lane>,
    hub: Arc<State>,
    epoll: Epoll,
}

impl Several {
    fn run(&mut self, busy_poll: BusyPoll) -> io::Result<()> {
        let clock = Clock::start();
        let mut events = Events::with_capacity(8);
        let mut patience = Patience::new(busy_poll);
        while !self.hub.stop.load(Ordering::Acquire) {
            self.take_in()?;
            let count = self.rx.as_mut().map_or(Ok(0), |rx| rx.recv())?;
            self.sort(count);
            let found = self.turn();
            let is_more = count > 0 && self.rx.as_ref().is_some_and(|rx| !rx.is_drained());
            if count > 0 || found {
                patience.found(|| clock.elapsed());
            }
            if is_more {
                continue;
            }
            if patience.looks_again(|| clock.elapsed()) {
                thread::yield_now();
            } else if self.lanes.iter().all(|lane| lane.inward.may_sleep()) {
                self.epoll.wait(&mut events, self.timeout())?;
                if events.iter().any(|event| event.token == TOKEN_WAKE) {
                    // Before the looks of the next turn: a signal of what comes after them stays for the next wait.
                    self.hub.wake.drain()?;
                    for lane in &self.lanes {
                        lane.inward.woken(&lane.shared)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes in the lanes that are new.
    fn take_in(&mut self) -> io::Result<()> {
        for lane in self.incoming.try_iter() {
            self.epoll.add(lane.shared.wake_owner.as_fd(), TOKEN_WAKE, Interest::READABLE)?;
            self.lanes.push(lane);
        }
        Ok(())
    }

    /// Parts the batch among the lanes by VNI; the first one has what nobody has.
    fn sort(&mut self, count: usize) {
        let Self { rx: Some(rx), lanes, .. } = self else { return };
        for index in 0..count {
            let datagram = rx.datagram(index);
            let payload = datagram.buffer.get(datagram.payload).unwrap_or_default();
            let place = match lanes.as_slice() {
                [_] => 0,
                _ => {
                    vni_of(payload).and_then(|vni| lanes.iter().position(|lane| lane.vni == vni)).unwrap_or(0)
                }
            };
            if let Some(lane) = lanes.get_mut(place) {
                lane.indices.push(index);
            }
        }
    }

    /// A turn of each lane that has something to do; whether any had.
    fn turn(&mut self) -> bool {
        let mut found = false;
        let mut place = 0;
        while let Some(lane) = self.lanes.get_mut(place) {
            if lane.shared.stopped() {
                self.let_go(place, Ok(()));
                continue;
            }
            let elapsed = lane.shared.clock.elapsed();
            let is_due = lane.inward.deadline().is_some_and(|deadline| deadline <= elapsed);
            let mut outcome = Ok(());
            if elapsed >= lane.next_tick {
                lane.next_tick = elapsed + TICK;
                outcome = lane.inward.tick(elapsed);
            }
            if outcome.is_ok() && (!lane.indices.is_empty() || is_due || !lane.inward.may_sleep()) {
                if let Some(rx) = self.rx.take() {
                    lane.inward.lend(rx, std::mem::take(&mut lane.indices));
                }
                outcome = lane.inward.turn(&lane.shared, elapsed).map(|turn| found |= turn > Turn::Nothing);
                if let Some((rx, mut indices)) = lane.inward.give_back() {
                    indices.clear();
                    (self.rx, lane.indices) = (Some(rx), indices);
                }
            }
            match outcome {
                Ok(()) => place += 1,
                Err(error) => self.let_go(place, Err(error)),
            }
        }
        found
    }

    fn let_go(&mut self, place: usize, outcome: io::Result<()>) {
        let lane = self.lanes.remove(place);
        // It would wake this thread for ever.
        let _ = self.epoll.delete(lane.shared.wake_owner.as_fd());
        lane.end(outcome);
    }

    /// Lets all go, also those that were not taken in yet.
    fn end_all(&mut self, outcome: impl Fn() -> io::Result<()>) {
        self.lanes.extend(self.incoming.try_iter());
        for lane in self.lanes.drain(..) {
            lane.end(outcome());
        }
    }

    /// Until the first lane has something to do by itself.
    fn timeout(&self) -> Option<Duration> {
        let due = self.lanes.iter().map(|lane| {
            let due = lane.inward.deadline().map_or(lane.next_tick, |deadline| deadline.min(lane.next_tick));
            due.saturating_sub(lane.shared.clock.elapsed())
        });
        due.min()
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        self.end_all(|| Ok(()));
    }
}

/// The VNI of a datagram, as far as it has one (RFC 7348 section 5).
fn vni_of(payload: &[u8]) -> Option<Vni> {
    vxlan::Header::parse(payload).ok().map(vxlan::Header::vni)
}

#[cfg(test)]
mod tests;
