//! Overlay to underlay: one thread's work, a batch at a time.
//!
//! ```text
//!   PortRx::recv ─► OverlayHalf::handle_overlay ─► OuterPolicy::outer ─► UnderlayTx::push ─► UnderlayTx::flush
//! ```

use std::io;
use std::sync::Arc;

use vxgate_core::{Counters, DropReason, FloodLists, OverlayHalf, OverlayVerdict, PeerId, Transmit};
use vxgate_offload::Work;

use crate::outer::OuterPolicy;
use crate::own::Answers;
use crate::port::PortRx;
use crate::underlay::{Outer, Tally, Target, UnderlayTx};

/// The overlay-to-underlay direction: reads frames from a port, sends each where the core says.
pub struct Egress<R, T> {
    port: R,
    underlay: T,
    half: OverlayHalf,
    policy: OuterPolicy,
    tally: CounterTally,
    targets: Vec<Target>,
    /// Where answers to the host go; `None` where nobody takes them.
    answers: Option<Answers>,
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
        let tally = CounterTally(counters);
        Self { port, underlay, half, policy, tally, targets: Vec::new(), answers: None }
    }

    /// The same, with somebody to take answers to the host.
    pub(crate) fn with_answers(self, answers: Answers) -> Self {
        Self { answers: Some(answers), ..self }
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
        for index in 0..count {
            let frame = self.port.frame(index);
            let octets = frame.octets();
            let single;
            let targets = match self.half.handle_superframe(octets, frame.frames() as u64) {
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
                    &self.targets
                }
                // The core has counted it.
                OverlayVerdict::Drop(_) => continue,
            };
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
        if !self.answers.as_ref().is_some_and(|answers| answers.send(frame)) {
            self.tally.0.count_unanswered();
        }
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
