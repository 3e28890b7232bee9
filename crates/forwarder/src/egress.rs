//! Overlay to underlay: one thread's work, a batch at a time.
//!
//! ```text
//!   PortRx::recv ─► tcp::clamp_mss ─► OverlayHalf::handle_overlay ─┬─► OuterPolicy::outer ─► UnderlayTx::push ─► flush
//!                                                                  └─► longer than a path carries: the host is told
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use vxgate_codec::tcp;
use vxgate_core::{
    Counters, DropReason, FloodLists, Limits, OverlayHalf, OverlayVerdict, PeerId, StormLimit, Timestamp,
    Transmit,
};
use vxgate_offload::Work;

use crate::outer::OuterPolicy;
use crate::own::Answers;
use crate::own_datagram::OwnDatagram;
use crate::port::PortRx;
use crate::too_big::{self, ANSWER_OCTETS, Allowance};
use crate::underlay::{Outer, Tally, Target, UnderlayTx};

/// The overlay-to-underlay direction: reads frames from a port, sends each where the core says.
pub struct Egress<R, T> {
    port: R,
    underlay: T,
    half: OverlayHalf,
    limits: Arc<Limits>,
    storm: Arc<StormLimit>,
    own: Option<OwnDatagram>,
    policy: OuterPolicy,
    tally: CounterTally,
    targets: Vec<Target>,
    /// Those of them whose path carries the frame, where not all do.
    fitting: Vec<Target>,
    host: Host,
}

impl<R: PortRx, T: UnderlayTx> Egress<R, T> {
    /// Joins a port's receiving half to an underlay's sending half.
    pub fn new(
        port: R,
        underlay: T,
        half: OverlayHalf,
        counters: Arc<Counters>,
        policy: OuterPolicy,
    ) -> Self {
        let (limits, storm, tally) = (half.limits(), half.storm_limit(), CounterTally(counters));
        let host = Host { answers: None, allowance: Allowance::FULL };
        let (targets, fitting) = (Vec::new(), Vec::new());
        Self { port, underlay, half, limits, storm, own: None, policy, tally, targets, fitting, host }
    }

    /// The same, with somebody to take answers to the host.
    pub(crate) fn with_answers(self, answers: Answers) -> Self {
        Self { host: Host { answers: Some(answers), ..self.host }, ..self }
    }

    /// The same at this address and port, by which it knows its own datagrams.
    pub(crate) fn at(self, local: Option<SocketAddr>) -> Self {
        Self { own: local.and_then(OwnDatagram::of), ..self }
    }

    /// Forwards one batch and returns how many frames it held; 0 means that none was queued.
    ///
    /// # Errors
    /// The port or the underlay is of no more use.
    pub fn turn(&mut self) -> io::Result<usize> {
        let count = self.recv()?;
        self.forward(count)?;
        Ok(count)
    }

    /// The first half of a turn: reads a batch. What changes between the halves is in force for the batch.
    pub(crate) fn recv(&mut self) -> io::Result<usize> {
        let count = self.port.recv()?;
        for _ in 0..self.port.take_rejected() {
            // How long such a frame was is what its header lied about.
            self.tally.0.count_overlay_refusal(DropReason::BadSuperframe, 0);
        }
        Ok(count)
    }

    /// The second half of a turn: sends the batch.
    pub(crate) fn forward(&mut self, count: usize) -> io::Result<()> {
        let (mss, everywhere) = (self.limits.mss(), self.limits.everywhere());
        for index in 0..count {
            let mut frame = self.port.frame(index);
            if let Some(limit) = mss
                && tcp::may_be_syn(frame.octets())
            {
                let unfinished = frame.work.unfinished_field();
                tcp::clamp_mss(frame.octets_mut(), limit, unfinished);
            }
            let (octets, frames) = (frame.octets(), frame.frames() as u64);
            if self.own.as_ref().is_some_and(|own| own.is_from_here(octets)) {
                self.tally.0.count_overlay_refusal(DropReason::TunnelInTunnel, octets.len() as u64);
                continue;
            }
            let single;
            let mut targets = match self.half.handle_superframe(octets, frames) {
                OverlayVerdict::Unicast(peer, to) => {
                    single = [Target { peer, address: to.addr, vni: to.vni }];
                    &single[..]
                }
                OverlayVerdict::Flood(to) => {
                    self.targets.clear();
                    self.targets.extend(to.iter().map(|to| Target {
                        peer: to.peer,
                        address: to.addr,
                        vni: to.vni,
                    }));
                    if self.storm.is_on()
                        && let Some(now) = self.host.now()
                    {
                        let (storm, tally) = (&self.storm, &mut self.tally);
                        self.targets.retain(|to| {
                            let is_admitted = storm.admit_out(to.peer, frames, now);
                            if !is_admitted {
                                tally.dropped(to.peer, DropReason::StormLimit, frames);
                            }
                            is_admitted
                        });
                        if self.targets.is_empty() {
                            continue;
                        }
                    }
                    &self.targets
                }
                // The core has counted it.
                OverlayVerdict::Drop(_) => continue,
            };
            // A superframe is longer than the frames that it becomes.
            if octets.len() > everywhere && frame.longest() > everywhere {
                let of = (frame.longest(), frames);
                let room = fit(targets, of, &self.limits, &mut self.fitting, &mut self.tally);
                if self.fitting.is_empty() {
                    self.host.tell_too_big(octets, room, &self.tally.0);
                    continue;
                }
                targets = &self.fitting;
            }
            let outer = self.policy.outer(octets);
            self.underlay.push(octets, frame.work, &outer, targets, &mut self.tally);
        }
        if count > 0 {
            self.underlay.flush(&mut self.tally)?;
        }
        Ok(())
    }

    /// Sends frames of our own, between two batches, and returns how many there were.
    ///
    /// # Errors
    /// The underlay is of no more use.
    pub fn send_own(&mut self, transmits: impl IntoIterator<Item = Transmit>) -> io::Result<usize> {
        let mut tally = OwnTally(Arc::clone(&self.tally.0));
        let mut count = 0;
        for Transmit { target, frame, dont_fragment } in transmits {
            let target = Target { peer: target.peer, address: target.addr, vni: target.vni };
            let outer = self.policy.outer(&frame);
            let outer = Outer { dont_fragment: dont_fragment.or(outer.dont_fragment), ..outer };
            self.underlay.push(&frame, Work::Done, &outer, &[target], &mut tally);
            count += 1;
        }
        if count > 0 {
            self.underlay.flush(&mut tally)?;
        }
        Ok(count)
    }

    /// Hands the host a frame of our own, in answer to one of its own, by way of the thread that has the port's sending half. What
    /// finds no room there is counted ([`OwnCounts::unanswered`](vxgate_core::OwnCounts)).
    pub fn answer(&mut self, frame: &[u8]) {
        self.host.answer(frame, &self.tally.0);
    }

    /// Takes over flood lists that changed.
    pub fn set_flood(&mut self, flood: Arc<FloodLists>) {
        self.half.set_flood(flood);
    }

    /// What becomes readable when [`Egress::turn`] may find a frame.
    pub fn port(&self) -> &R {
        &self.port
    }
}

/// Lists the targets whose path carries a frame of this length, in their order, and drops it for the others, as so many frames of the
/// wire; the room on the narrowest path of those.
#[cold]
#[inline(never)]
fn fit(
    targets: &[Target],
    (longest, frames): (usize, u64),
    limits: &Limits,
    fitting: &mut Vec<Target>,
    tally: &mut CounterTally,
) -> u32 {
    fitting.clear();
    let mut room = u32::MAX;
    for target in targets {
        let towards = limits.towards(target.peer);
        if longest as u64 <= u64::from(towards) {
            fitting.push(*target);
        } else {
            room = room.min(towards);
            tally.dropped(target.peer, DropReason::TooBig, frames);
        }
    }
    room
}

/// The host, as the one that is answered.
struct Host {
    /// Where answers go; `None` where nobody takes them.
    answers: Option<Answers>,
    allowance: Allowance,
}

impl Host {
    /// The time, where anybody has it.
    fn now(&self) -> Option<Timestamp> {
        self.answers.as_ref().map(|answers| Timestamp::from_duration(answers.now()))
    }

    /// Tells the sender of a frame that no path carries it.
    #[cold]
    fn tell_too_big(&mut self, frame: &[u8], room_octets: u32, counters: &Counters) {
        let Some(answers) = &self.answers else { return };
        let mut answer = [0; ANSWER_OCTETS];
        let Some(octets) = too_big::answer(frame, room_octets, &mut answer) else { return };
        if self.allowance.take(answers.now()) {
            self.answer(&answer[..octets], counters);
        } else {
            counters.count_held_back();
        }
    }

    fn answer(&self, frame: &[u8], counters: &Counters) {
        if !self.answers.as_ref().is_some_and(|answers| answers.send(frame)) {
            counters.count_unanswered();
        }
    }
}

/// Counts copies in the core's counters.
struct CounterTally(Arc<Counters>);

impl Tally for CounterTally {
    fn sent(&mut self, peer: PeerId, frames: u64, octets: u64) {
        self.0.count_sent(peer, frames, octets);
    }

    fn dropped(&mut self, _peer: PeerId, reason: DropReason, frames: u64) {
        self.0.count_overlay_drop(reason, frames);
    }
}

/// Counts frames of our own.
struct OwnTally(Arc<Counters>);

impl Tally for OwnTally {
    fn sent(&mut self, _peer: PeerId, frames: u64, octets: u64) {
        self.0.count_own_sent(frames, octets);
    }

    fn dropped(&mut self, _peer: PeerId, _reason: DropReason, frames: u64) {
        self.0.count_own_unsent(frames);
    }
}
