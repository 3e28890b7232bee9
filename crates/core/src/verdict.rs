//! What to do with a frame: one type per direction.

use core::net::SocketAddr;

use vxgate_codec::Vni;

use crate::{DropReason, FloodTarget, PeerId};

/// Where a copy of a frame goes: the outer destination, and the VNI of its VXLAN header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Outer IP address and UDP port.
    pub addr: SocketAddr,
    /// The segment that the header names.
    pub vni: Vni,
}

/// What to do with a frame that came from the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayVerdict<'a> {
    /// Send it to this one remote.
    Unicast(PeerId, Destination),
    /// Send one copy to each of these, never an empty list (head-end replication).
    Flood(&'a [FloodTarget]),
    /// Drop it; already counted.
    Drop(DropReason),
}

/// What to do with a datagram that came from the underlay.
///
/// No variant names a remote to send to: what comes from the underlay never goes back to it. That is VXLAN's split
/// horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderlayVerdict {
    /// Hand the inner frame to the overlay.
    Deliver {
        /// Where in the payload the frame begins, in octets; it runs to the payload's end.
        frame_offset: usize,
        /// The remote that it came from; `None` when that is accepted by block and nothing was learned from it.
        peer: Option<PeerId>,
    },
    /// Drop it; already counted.
    Drop(DropReason),
}
