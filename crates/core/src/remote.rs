//! A remote VTEP, and the numbered table of them that two threads share.
//!
//! # Theory of operation
//!
//! The table has a fixed number of slots, one for each [`PeerId`]. One thread writes, others read without a lock. Each slot
//! is a sequence lock:
//!
//! ```text
//!   writer:  sequence odd | release fence | words | sequence even (release)
//!   reader:  sequence (acquire) | words | acquire fence | sequence again: the same and even, or nothing was read
//! ```
//!
//! A reader that meets the writer gives up instead of trying again, and the frame is flooded: the writer may be a thread
//! that does not run just now. While a number is in use its words do not change, so this happens only when a number goes to
//! another remote in the very moment; numbers go round, the one longest free first, to make that rare.

use alloc::boxed::Box;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use vxgate_codec::Vni;

use crate::Destination;
use crate::sync::{AtomicU64, Ordering, fence};

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
    pub(crate) fn normal(self, port: u16, vni: Vni) -> Remote {
        Remote {
            addr: self.addr.to_canonical(),
            port: self.port.filter(|own| *own != port),
            vni: self.vni.filter(|own| *own != vni),
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

/// The remotes by number, shared between the segment and its overlay halves.
#[derive(Debug)]
pub(crate) struct RemoteTable(Box<[Slot]>);

/// Half a cache line.
#[derive(Debug)]
#[repr(align(32))]
struct Slot {
    sequence: AtomicU64,
    /// The address: [`Words`].
    high: AtomicU64,
    low: AtomicU64,
    /// Everything else; 0 when no remote has this number.
    rest: AtomicU64,
}

/// A remote as three words, the segment's port and VNI filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Words {
    high: u64,
    low: u64,
    rest: u64,
}

/// Bits of [`Words::rest`] above the 16 of the port and the 24 of the VNI.
const VNI_SHIFT: u32 = 16;
const IN_USE: u64 = 1 << 40;
const IS_V6: u64 = 1 << 41;
const OWN_PORT: u64 = 1 << 42;
const OWN_VNI: u64 = 1 << 43;

impl Words {
    const FREE: Words = Words { high: 0, low: 0, rest: 0 };

    fn new(remote: Remote, port: u16, vni: Vni) -> Words {
        let (bits, is_v6) = match remote.addr {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 0),
            IpAddr::V6(v6) => (v6.to_bits(), IS_V6),
        };
        let number = u64::from(remote.vni.unwrap_or(vni).get()) << VNI_SHIFT;
        let own_port = if remote.port.is_some() { OWN_PORT } else { 0 };
        let own_vni = if remote.vni.is_some() { OWN_VNI } else { 0 };
        let rest = IN_USE | is_v6 | own_port | own_vni | number | u64::from(remote.port.unwrap_or(port));
        Words { high: (bits >> 64) as u64, low: bits as u64, rest }
    }

    fn addr(self) -> IpAddr {
        if self.rest & IS_V6 != 0 {
            IpAddr::V6(Ipv6Addr::from_bits(u128::from(self.high) << 64 | u128::from(self.low)))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(self.low as u32))
        }
    }

    fn port(self) -> u16 {
        self.rest as u16
    }

    fn vni(self) -> Vni {
        Vni::new((self.rest >> VNI_SHIFT) as u32 & Vni::MAX.get()).unwrap_or(Vni::MAX)
    }
}

impl RemoteTable {
    pub(crate) fn new(slots: usize) -> RemoteTable {
        let slot = |_| Slot {
            sequence: AtomicU64::new(0),
            high: AtomicU64::new(0),
            low: AtomicU64::new(0),
            rest: AtomicU64::new(0),
        };
        RemoteTable((0..slots).map(slot).collect())
    }

    /// Where frames for this number go.
    #[inline]
    pub(crate) fn destination(&self, peer: PeerId) -> Option<Destination> {
        let words = self.read(peer)?;
        Some(Destination { addr: SocketAddr::new(words.addr(), words.port()), vni: words.vni() })
    }

    pub(crate) fn remote(&self, peer: PeerId) -> Option<Remote> {
        let words = self.read(peer)?;
        Some(Remote {
            addr: words.addr(),
            port: (words.rest & OWN_PORT != 0).then(|| words.port()),
            vni: (words.rest & OWN_VNI != 0).then(|| words.vni()),
        })
    }

    /// What one thread only may call: the segment's.
    pub(crate) fn publish(&self, peer: PeerId, remote: Remote, port: u16, vni: Vni) {
        self.write(peer, Words::new(remote, port, vni));
    }

    /// What one thread only may call: the segment's.
    pub(crate) fn forget(&self, peer: PeerId) {
        self.write(peer, Words::FREE);
    }

    fn write(&self, peer: PeerId, words: Words) {
        let Some(slot) = self.0.get(peer.index()) else { return };
        let sequence = slot.sequence.load(Ordering::Relaxed);
        slot.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        // Nothing below becomes visible before the odd sequence, nor before what was stored ahead of this call.
        fence(Ordering::Release);
        slot.high.store(words.high, Ordering::Relaxed);
        slot.low.store(words.low, Ordering::Relaxed);
        slot.rest.store(words.rest, Ordering::Relaxed);
        slot.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    #[inline]
    fn read(&self, peer: PeerId) -> Option<Words> {
        let slot = self.0.get(peer.index())?;
        let before = slot.sequence.load(Ordering::Acquire);
        let words = Words {
            high: slot.high.load(Ordering::Relaxed),
            low: slot.low.load(Ordering::Relaxed),
            rest: slot.rest.load(Ordering::Relaxed),
        };
        // Nothing above is read after the sequence below.
        fence(Ordering::Acquire);
        let after = slot.sequence.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2) && words.rest & IN_USE != 0).then_some(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u16 = 4789;

    fn vni(number: u32) -> Vni {
        Vni::new(number).unwrap()
    }

    #[test]
    fn a_remote_reads_back_as_it_was_published() {
        let table = RemoteTable::new(2);
        for addr in ["192.0.2.1", "255.255.255.255", "2001:db8::1", "::1", "239.1.1.1", "ff02::1"] {
            for port in [None, Some(1), Some(65535)] {
                for number in [None, Some(vni(0)), Some(Vni::MAX)] {
                    let remote = Remote { addr: addr.parse().unwrap(), port, vni: number };
                    table.publish(PeerId(1), remote, PORT, vni(10));
                    assert_eq!(table.remote(PeerId(1)), Some(remote));
                    let there = table.destination(PeerId(1)).unwrap();
                    assert_eq!(there.addr, SocketAddr::new(remote.addr, port.unwrap_or(PORT)));
                    assert_eq!(there.vni, number.unwrap_or(vni(10)));
                }
            }
        }
    }

    #[test]
    fn a_number_without_a_remote_has_none() {
        let table = RemoteTable::new(2);
        assert_eq!(table.remote(PeerId(0)), None);
        table.publish(PeerId(0), Remote::new("192.0.2.1".parse().unwrap()), PORT, vni(10));
        table.forget(PeerId(0));
        assert_eq!((table.remote(PeerId(0)), table.remote(PeerId(2))), (None, None));
    }

    #[test]
    fn what_is_the_segments_own_is_not_kept() {
        let remote =
            Remote { addr: "::ffff:192.0.2.1".parse().unwrap(), port: Some(PORT), vni: Some(vni(10)) };
        assert_eq!(remote.normal(PORT, vni(10)), Remote::new("192.0.2.1".parse().unwrap()));
        assert_eq!(remote.normal(1, vni(11)), Remote { addr: "192.0.2.1".parse().unwrap(), ..remote });
    }
}
