//! A port that loses, doubles, swaps and damages frames, the same way for the same seed.
//!
//! Wrapped around any other [`Port`], it shows what a tunnel does over a bad wire, in both directions.

use std::io;
use std::os::fd::BorrowedFd;

use vxgate_core::DropReason;
use vxgate_offload::Work;

use crate::port::{Device, Frame, HEADROOM_OCTETS, Port, PortRx, PortTx};

/// How often each fault strikes, in frames of a thousand; 0 never, 1000 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The frame is lost.
    pub drop_per_mille: u16,
    /// The frame comes twice.
    pub duplicate_per_mille: u16,
    /// The frame changes places with the next one.
    pub reorder_per_mille: u16,
    /// One octet of the frame is changed.
    pub corrupt_per_mille: u16,
}

/// A [`Port`] with [`Faults`].
pub struct FaultyPort<P> {
    inner: P,
    faults: Faults,
    seed: u64,
}

impl<P: Port> FaultyPort<P> {
    /// Wraps `inner`; the two directions draw from generators of their own, both made from `seed`.
    pub const fn new(inner: P, faults: Faults, seed: u64) -> Self {
        Self { inner, faults, seed }
    }
}

impl<P: Port> Port for FaultyPort<P> {
    type Rx = FaultyRx<P::Rx>;
    type Tx = FaultyTx<P::Tx>;

    fn split(self) -> (Self::Rx, Self::Tx) {
        let (rx, tx) = self.inner.split();
        let rx =
            FaultyRx { inner: rx, dice: Dice::new(self.faults, self.seed), order: Vec::with_capacity(256) };
        let held =
            Held { buffer: vec![0; HEADROOM_OCTETS + usize::from(u16::MAX)], octets: None, work: Work::Done };
        let tx = FaultyTx { inner: tx, dice: Dice::new(self.faults, !self.seed), held };
        (rx, tx)
    }
}

/// xorshift64*: small, fast, and the same on every machine (Vigna 2016).
struct Dice {
    faults: Faults,
    state: u64,
}

impl Dice {
    const fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, state: seed | 1 }
    }

    const fn roll(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    const fn strikes(&mut self, per_mille: u16) -> bool {
        self.roll() % 1000 < per_mille as u64
    }

    fn corrupt(&mut self, octets: &mut [u8]) {
        if self.strikes(self.faults.corrupt_per_mille) && !octets.is_empty() {
            let at = self.roll() as usize % octets.len();
            // A change of at least one bit.
            octets[at] ^= (self.roll() % 255) as u8 + 1;
        }
    }
}

/// The receiving half of a [`FaultyPort`].
pub struct FaultyRx<R> {
    inner: R,
    dice: Dice,
    order: Vec<usize>,
}

impl<R: PortRx> PortRx for FaultyRx<R> {
    fn recv(&mut self) -> io::Result<usize> {
        // A batch of which nothing is left is not the end of what is queued.
        loop {
            self.order.clear();
            let count = self.inner.recv()?;
            for index in 0..count {
                if self.dice.strikes(self.dice.faults.drop_per_mille) {
                    continue;
                }
                self.order.push(index);
                if self.dice.strikes(self.dice.faults.duplicate_per_mille) {
                    self.order.push(index);
                }
                self.dice.corrupt(self.inner.frame(index).octets_mut());
            }
            for place in 1..self.order.len() {
                if self.dice.strikes(self.dice.faults.reorder_per_mille) {
                    self.order.swap(place - 1, place);
                }
            }
            if count == 0 || !self.order.is_empty() {
                return Ok(self.order.len());
            }
        }
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        self.inner.frame(self.order[index])
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.inner.readiness()
    }

    fn take_rejected(&mut self) -> usize {
        self.inner.take_rejected()
    }
}

/// A frame that waits for the next one to go first.
struct Held {
    buffer: Vec<u8>,
    octets: Option<usize>,
    work: Work,
}

impl Held {
    fn frame(&mut self, octets: usize) -> Frame<'_> {
        Frame { buffer: &mut self.buffer, range: HEADROOM_OCTETS..HEADROOM_OCTETS + octets, work: self.work }
    }
}

/// The sending half of a [`FaultyPort`].
pub struct FaultyTx<T> {
    inner: T,
    dice: Dice,
    held: Held,
}

impl<T: PortTx> PortTx for FaultyTx<T> {
    fn push(&mut self, mut frame: Frame<'_>) -> Result<(), DropReason> {
        if self.dice.strikes(self.dice.faults.drop_per_mille) {
            return Ok(());
        }
        self.dice.corrupt(frame.octets_mut());
        if self.held.octets.is_none() && self.dice.strikes(self.dice.faults.reorder_per_mille) {
            let octets = frame.octets().len();
            self.held.buffer[HEADROOM_OCTETS..HEADROOM_OCTETS + octets].copy_from_slice(frame.octets());
            self.held.octets = Some(octets);
            self.held.work = frame.work;
            return Ok(());
        }
        if self.dice.strikes(self.dice.faults.duplicate_per_mille) {
            self.inner.push(frame.reborrow())?;
        }
        self.inner.push(frame)?;
        match self.held.octets.take() {
            Some(octets) => self.inner.push(self.held.frame(octets)),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<usize> {
        let mut lost = 0;
        if let Some(octets) = self.held.octets.take() {
            lost = usize::from(self.inner.push(self.held.frame(octets)).is_err());
        }
        Ok(lost + self.inner.flush()?)
    }

    fn device(&self) -> io::Result<Device> {
        self.inner.device()
    }
}
