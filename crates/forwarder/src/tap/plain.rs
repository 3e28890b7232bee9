//! A port on a TAP without a virtio header.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use vxgate_codec::MacAddr;
use vxgate_core::DropReason;
use vxgate_offload::Work;
use vxgate_sys::plain_tap::PlainTap;

use super::slots::{FRAME_OCTETS, Slots};
use super::{mtu_octets, written};
use crate::port::{Device, Frame, Port, PortRx, PortTx};

/// A [`Port`] on a TAP without a virtio header: what a kernel peer left undone is done here.
pub struct PlainTapPort(Arc<PlainTap>);

impl PlainTapPort {
    /// Makes a port of an open TAP.
    #[must_use]
    pub const fn new(tap: Arc<PlainTap>) -> Self {
        Self(tap)
    }
}

impl Port for PlainTapPort {
    type Rx = PlainTapRx;
    type Tx = PlainTapTx;

    fn split(self) -> (PlainTapRx, PlainTapTx) {
        let scratch = vec![0; FRAME_OCTETS].into_boxed_slice();
        (
            PlainTapRx { tap: Arc::clone(&self.0), slots: Slots::new() },
            PlainTapTx { tap: self.0, scratch, gone: None, known: Cell::new(None) },
        )
    }
}

/// The receiving half of a [`PlainTapPort`].
pub struct PlainTapRx {
    tap: Arc<PlainTap>,
    slots: Slots,
}

impl PortRx for PlainTapRx {
    fn recv(&mut self) -> io::Result<usize> {
        self.slots.clear();
        while let Some(start) = self.slots.next() {
            let Some(octets) = self.tap.read(&mut self.slots.octets[start..])? else {
                self.slots.drained = true;
                break;
            };
            self.slots.frames.push((start..start + octets, Work::Done));
        }
        Ok(self.slots.frames.len())
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        self.slots.frame(index)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }

    fn is_drained(&self) -> bool {
        self.slots.drained
    }
}

/// The sending half of a [`PlainTapPort`].
pub struct PlainTapTx {
    tap: Arc<PlainTap>,
    scratch: Box<[u8]>,
    gone: Option<io::Error>,
    /// What the device last told of itself.
    known: Cell<Option<Device>>,
}

impl PortTx for PlainTapTx {
    fn push(&mut self, mut frame: Frame<'_>) -> Result<(), DropReason> {
        let Self { tap, scratch, gone, .. } = self;
        let mut outcome = Ok(());
        let work = frame.work;
        work.finish(frame.octets_mut(), scratch, |segment| {
            outcome = outcome.and(written(tap.write(segment), gone));
        });
        outcome
    }

    fn flush(&mut self) -> io::Result<usize> {
        self.gone.take().map_or(Ok(0), Err)
    }

    fn device(&self) -> io::Result<Device> {
        let ask = || -> io::Result<Device> {
            Ok(Device { mac: MacAddr::new(self.tap.mac()?), mtu_octets: mtu_octets(self.tap.mtu()?) })
        };
        // Renamed, the device cannot be asked by its name; deleted, reading it tells.
        let device = ask().or_else(|error| self.known.get().ok_or(error))?;
        self.known.set(Some(device));
        Ok(device)
    }
}
