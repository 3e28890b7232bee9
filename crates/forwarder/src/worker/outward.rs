//! The way out, as a worker carries it: egress, and the flood lists that it takes over.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use vxgate_core::FloodLists;

use super::Turn;
use crate::egress::Egress;
use crate::forwarder::Shared;
use crate::own::Outbox;
use crate::port::PortRx;
use crate::underlay::UnderlayTx;

/// Egress, and what it knows of what the segment's owner has published.
pub(crate) struct Outward<R, T> {
    egress: Egress<R, T>,
    flood: Published<FloodLists>,
    /// Frames of our own; `None` where another worker sends them.
    outbox: Option<Outbox>,
}

impl<R: PortRx, T: UnderlayTx> Outward<R, T> {
    pub(crate) fn new(egress: Egress<R, T>, outbox: Option<Outbox>) -> Self {
        Self { egress, flood: Published::NONE, outbox }
    }

    /// Forwards one batch.
    pub(super) fn turn(&mut self, shared: &Shared) -> io::Result<Turn> {
        let count = self.egress.recv()?;
        // After the frames are read: one that was sent after a change is flooded as changed.
        if let Some(changed) = self.flood.poll(&shared.flood) {
            self.egress.set_flood(changed);
        }
        self.egress.forward(count)?;
        let own = match &self.outbox {
            Some(outbox) if !outbox.is_empty() => self.egress.send_own(outbox.take())?,
            Some(_) | None => 0,
        };
        // More of our own frames wake the thread again.
        let own = if own > 0 { Turn::Drained } else { Turn::Nothing };
        Ok(Turn::of(count, self.egress.port().is_drained()).max(own))
    }

    /// What else wakes the way out: frames of our own. To be answered by [`Outward::woken`].
    pub(super) fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.outbox.as_ref().map(Outbox::readiness)
    }

    /// [`Outward::wake`] was found readable; a turn comes next.
    pub(super) fn woken(&self) -> io::Result<()> {
        self.outbox.as_ref().map_or(Ok(()), Outbox::woken)
    }

    pub(super) fn readiness(&self) -> BorrowedFd<'_> {
        self.egress.port().readiness()
    }
}

/// What the owner of the segment publishes, as one other thread sees it.
pub(super) struct Published<T> {
    known: Option<Arc<T>>,
}

impl<T> Published<T> {
    pub(super) const NONE: Self = Self { known: None };

    /// What was published since the last call, if anything was.
    #[inline]
    pub(super) fn poll(&mut self, published: &ArcSwapOption<T>) -> Option<Arc<T>> {
        let current = published.load();
        let current = current.as_ref()?;
        if self.known.as_ref().is_some_and(|known| Arc::ptr_eq(current, known)) {
            return None;
        }
        self.known = Some(Arc::clone(current));
        self.known.clone()
    }
}
