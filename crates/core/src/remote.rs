//! A remote VTEP and its number.

use core::net::{IpAddr, SocketAddr};

use vxgate_codec::Vni;

use crate::Destination;

/// Where a remote VTEP listens.
///
/// Two remotes are the same when address, port and VNI are, the segment's own standing for what is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remote {
    /// Outer IP address; a multicast group stands for all VTEPs that joined it. IPv4-mapped IPv6 counts as IPv4.
    pub addr: IpAddr,
    /// UDP port; `None`: the segment's.
    pub port: Option<u16>,
    /// VNI of the VXLAN headers that go there; `None`: the segment's.
    pub vni: Option<Vni>,
}

impl Remote {
    /// The remote at this address, port and VNI as the segment's.
    #[must_use]
    pub const fn new(addr: IpAddr) -> Remote {
        Remote { addr, port: None, vni: None }
    }

    /// The same remote in the one form that it is stored in: IPv4-mapped addresses as IPv4, and nothing given that is the
    /// segment's anyway.
    #[expect(dead_code, reason = "the remote table, in the next change, uses it")]
    pub(crate) fn normal(self, port: u16, vni: Vni) -> Remote {
        Remote {
            addr: self.addr.to_canonical(),
            port: self.port.filter(|own| *own != port),
            vni: self.vni.filter(|own| *own != vni),
        }
    }

    /// Where a frame for this remote goes.
    #[expect(dead_code, reason = "the remote table, in the next change, uses it")]
    pub(crate) fn destination(self, port: u16, vni: Vni) -> Destination {
        Destination {
            addr: SocketAddr::new(self.addr, self.port.unwrap_or(port)),
            vni: self.vni.unwrap_or(vni),
        }
    }
}

impl From<IpAddr> for Remote {
    fn from(addr: IpAddr) -> Remote {
        Remote::new(addr)
    }
}

/// The number of a remote that the segment knows, below [`SegmentConfig::max_peers`](crate::SegmentConfig::max_peers).
///
/// A number whose remote is forgotten is given to another one later, the one longest free first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub(crate) u16);

impl PeerId {
    /// The number, for tables that run in parallel to the segment's.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
