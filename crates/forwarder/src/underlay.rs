//! The underlay side: how datagrams reach other VTEPs and come from them.
//!
//! As a [port](crate::port), an underlay has two halves, is called once per batch and never waits.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use vxgate_codec::Vni;
use vxgate_core::{DropReason, PeerId};
use vxgate_offload::Work;

/// One datagram of a batch, in a buffer of the underlay.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Who sent it: the outer source address. The port is of no interest (RFC 7348, section 4.1).
    pub source: IpAddr,
    /// TOS or traffic class of the outer header, where the underlay tells.
    pub tos: Option<u8>,
    /// The whole buffer, at least [`HEADROOM_OCTETS`](crate::port::HEADROOM_OCTETS) longer than the payload in front.
    pub buffer: &'a mut [u8],
    /// Where the UDP payload stands in it.
    pub payload: Range<usize>,
    /// The payload was longer than the buffer and has lost its end.
    pub truncated: bool,
    /// The frame within is a kernel peer's superframe of UDP datagrams of this payload each.
    pub segment_octets: Option<u16>,
}

/// The half that datagrams come from.
pub trait UnderlayRx: Send {
    /// Reads datagrams that are queued, at most a batch of them, and returns how many there are; 0 means none is
    /// queued. Datagrams of an earlier batch are gone.
    ///
    /// # Errors
    /// The underlay is of no more use. What a network reports of single datagrams is no error.
    fn recv(&mut self) -> io::Result<usize>;

    /// Lends datagram `index` of the last batch. `index` is less than what [`UnderlayRx::recv`] returned, and goes up from
    /// call to call: what is in front of a datagram in its buffer may be an earlier one.
    fn datagram(&mut self, index: usize) -> Datagram<'_>;

    /// Becomes readable when a datagram may be queued.
    fn readiness(&self) -> BorrowedFd<'_>;

    /// Whether the last [`UnderlayRx::recv`] took all that was queued: the worker need not ask again before it waits. False
    /// where the underlay cannot tell.
    fn is_drained(&self) -> bool {
        false
    }
}

/// Where one copy of a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which remote, for the counters.
    pub peer: PeerId,
    /// Its address and port.
    pub address: SocketAddr,
    /// The VNI that its copy bears.
    pub vni: Vni,
}

/// What goes into the outer headers of one frame, the same in each copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outer {
    /// TOS or traffic class.
    pub tos: u8,
    /// TTL or hop limit; `None` leaves it to the host.
    pub ttl: Option<u8>,
    /// Whether the outer IPv4 header forbids fragmentation; `None` leaves it as the underlay was opened.
    pub dont_fragment: Option<bool>,
    /// Hash of the inner flow: frames of one hash stay in order, and a source port may be chosen from it (RFC 7348,
    /// section 5).
    pub flow_hash: u32,
}

/// What became of copies: the underlay tells, the worker counts.
pub trait Tally {
    /// Copies of `frames` frames, `octets` in all, went to `peer`; outer headers not counted.
    fn sent(&mut self, peer: PeerId, frames: u64, octets: u64);
    /// Copies of `frames` frames for `peer` were dropped.
    fn dropped(&mut self, peer: PeerId, reason: DropReason, frames: u64);
}

/// The half that datagrams go to.
pub trait UnderlayTx: Send {
    /// Takes one inner frame, or a superframe that it cuts as `work` says, and sends a copy to each target, now or at
    /// [`UnderlayTx::flush`]. Frames of one [`Outer::flow_hash`] arrive in the order in which they were pushed.
    fn push(&mut self, frame: &[u8], work: Work, outer: &Outer, targets: &[Target], tally: &mut dyn Tally);

    /// Sends what `push` has held back.
    ///
    /// # Errors
    /// The underlay is of no more use. What keeps single datagrams from being sent goes to the tally.
    fn flush(&mut self, tally: &mut dyn Tally) -> io::Result<()>;
}

/// A network that carries datagrams between VTEPs.
pub trait Underlay {
    /// What the receiving thread owns.
    type Rx: UnderlayRx + 'static;
    /// What the sending thread owns.
    type Tx: UnderlayTx + 'static;

    /// The outer address of this VTEP and the port that peers send to, where the underlay has them: by these the tunnel knows its own
    /// datagrams when they come to it as frames. Default none.
    fn local(&self) -> Option<SocketAddr> {
        None
    }

    /// Parts the underlay into its halves.
    fn split(self) -> (Self::Rx, Self::Tx);
}
