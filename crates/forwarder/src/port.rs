//! The overlay side: where frames of the host come from and go to.
//!
//! A port has two halves, one for each direction's thread. Each is called once per batch: the receiving half reads
//! what is already queued and lends the frames one by one; the sending half takes frames and writes what it still
//! holds at `flush`. No half ever waits; the worker waits for [`PortRx::readiness`].

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use vxgate_codec::MacAddr;
use vxgate_core::DropReason;
use vxgate_offload::Work;

/// Free octets that a lent frame has in front of it, for whoever passes it on to write a header there.
///
/// Twelve for the largest virtio header that a TAP takes in front of a frame, rounded up to keep what follows aligned.
pub const HEADROOM_OCTETS: usize = 16;

/// An Ethernet frame inside a buffer of the side that lends it.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The whole buffer, at least [`HEADROOM_OCTETS`] longer than the frame in front.
    pub buffer: &'a mut [u8],
    /// Where the frame stands in it.
    pub range: Range<usize>,
    /// What the frame still needs before it may go on a wire.
    pub work: Work,
}

impl Frame<'_> {
    /// The frame's octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }

    /// The frame's octets, to change in place.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.range.clone()]
    }

    /// How many frames of the wire it stands for: more than one for a superframe.
    #[must_use]
    pub fn frames(&self) -> usize {
        match self.work {
            Work::Split(split) => split.count(self.range.len()),
            Work::Done | Work::Checksum(_) => 1,
        }
    }

    /// How long the longest frame of the wire is that it stands for, in octets: of a superframe, its first segment.
    #[must_use]
    pub fn longest(&self) -> usize {
        match self.work {
            Work::Split(split) => split.segment_length(self.range.len(), 0),
            Work::Done | Work::Checksum(_) => self.range.len(),
        }
    }

    /// The same frame, lent on.
    pub fn reborrow(&mut self) -> Frame<'_> {
        Frame { buffer: self.buffer, range: self.range.clone(), work: self.work }
    }
}

/// What a port knows of the device behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device's own address: frames that come in with this source went in a loop.
    pub mac: MacAddr,
    /// Largest inner layer-3 packet, in octets.
    pub mtu_octets: usize,
}

/// The half that frames of the host come from.
pub trait PortRx: Send {
    /// Reads frames that are queued, at most a batch of them, and returns how many there are; 0 means none is queued.
    /// Frames of an earlier batch are gone.
    ///
    /// # Errors
    /// The port is of no more use (the device was deleted).
    fn recv(&mut self) -> io::Result<usize>;

    /// Lends frame `index` of the last batch. `index` is less than what [`PortRx::recv`] returned.
    fn frame(&mut self, index: usize) -> Frame<'_>;

    /// Becomes readable when a frame may be queued.
    fn readiness(&self) -> BorrowedFd<'_>;

    /// Whether the last [`PortRx::recv`] took all that was queued: the worker need not ask again before it waits. False where
    /// the port cannot tell.
    fn is_drained(&self) -> bool {
        false
    }

    /// Frames that the port refused since this was last asked, because what came with them lies about them.
    fn take_rejected(&mut self) -> usize {
        0
    }
}

/// The half that frames for the host go to.
pub trait PortTx: Send {
    /// Takes one frame, whatever work it still needs.
    ///
    /// # Errors
    /// The frame was dropped, under the reason returned. Anything worse shows at [`PortTx::flush`].
    fn push(&mut self, frame: Frame<'_>) -> Result<(), DropReason>;

    /// Writes what `push` has held back and returns how many of those frames were dropped; they count as the last ones that
    /// `push` took.
    ///
    /// # Errors
    /// The port is of no more use (the device was deleted).
    fn flush(&mut self) -> io::Result<usize>;

    /// The device's address and MTU as they are now. Asked once a second, so that changes from outside are followed.
    ///
    /// # Errors
    /// The device is gone.
    fn device(&self) -> io::Result<Device>;
}

/// A place where frames enter and leave the overlay.
pub trait Port {
    /// What the receiving thread owns.
    type Rx: PortRx + 'static;
    /// What the sending thread owns.
    type Tx: PortTx + 'static;

    /// Parts the port into its halves.
    fn split(self) -> (Self::Rx, Self::Tx);
}
