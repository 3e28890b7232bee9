//! How long a frame may be: for every thread that carries frames, as whoever measures the paths last said.
//!
//! # Theory of operation
//!
//! One thread writes, the segment's; the others read for each frame, without a lock. Nearly every frame is no longer than what
//! fits every path, and one comparison says so; only a longer one is compared with the path that it is to take. A
//! reader may see one number before another: then one frame more or less is sent, which the underlay judges again.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering};

use vxgate_codec::tcp::MssLimit;

use crate::PeerId;

/// That nothing is known: every frame fits.
const UNLIMITED: u32 = u32::MAX;

/// How long a frame may be, towards each remote, and what the ends of a TCP connection may agree on.
#[derive(Debug)]
pub struct Limits {
    /// Octets of a frame that fit every path.
    everywhere: AtomicU32,
    /// Octets of a frame that fit the path to each remote, by number.
    towards: Box<[AtomicU32]>,
    /// IPv4 in the lower half, IPv6 in the upper; 0 for none.
    mss: AtomicU32,
}

impl Limits {
    pub(crate) fn new(peers: usize) -> Limits {
        Limits {
            everywhere: AtomicU32::new(UNLIMITED),
            towards: (0..peers).map(|_| AtomicU32::new(UNLIMITED)).collect(),
            mss: AtomicU32::new(0),
        }
    }

    /// Whether a frame of this many octets, from its destination address on, fits whatever path it takes.
    #[inline]
    #[must_use]
    pub fn fits_everywhere(&self, frame_octets: usize) -> bool {
        frame_octets as u64 <= u64::from(self.everywhere.load(Ordering::Relaxed))
    }

    /// The longest frame that fits the path to this remote, in octets from its destination address on.
    #[must_use]
    pub fn towards(&self, peer: PeerId) -> u32 {
        self.towards.get(peer.index()).map_or(UNLIMITED, |octets| octets.load(Ordering::Relaxed))
    }

    /// The largest maximum segment sizes to let pass; `None`: all.
    #[inline]
    #[must_use]
    pub fn mss(&self) -> Option<MssLimit> {
        let word = self.mss.load(Ordering::Relaxed);
        (word != 0).then_some(MssLimit { v4: word as u16, v6: (word >> 16) as u16 })
    }

    /// By the segment only.
    pub(crate) fn set_mss(&self, limit: Option<MssLimit>) {
        // At least 1, so that it stays apart from none.
        let word = limit.map_or(0, |limit| u32::from(limit.v4.max(1)) | u32::from(limit.v6.max(1)) << 16);
        self.mss.store(word, Ordering::Relaxed);
    }

    /// By the segment only: what fits the path to a remote; `None`: nothing is known of it, and any frame does.
    pub(crate) fn set_towards(&self, peer: PeerId, frame_octets: Option<u32>) {
        let Some(place) = self.towards.get(peer.index()) else { return };
        let octets = frame_octets.unwrap_or(UNLIMITED);
        if place.load(Ordering::Relaxed) == octets {
            return;
        }
        place.store(octets, Ordering::Relaxed);
        let least = self.towards.iter().map(|octets| octets.load(Ordering::Relaxed)).min();
        self.everywhere.store(least.unwrap_or(UNLIMITED), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_everywhere_is_what_fits_the_narrowest_path() {
        let limits = Limits::new(3);
        assert!(limits.fits_everywhere(usize::from(u16::MAX)));
        limits.set_towards(PeerId(1), Some(1464));
        limits.set_towards(PeerId(2), Some(1364));
        assert!(limits.fits_everywhere(1364) && !limits.fits_everywhere(1365));
        assert_eq!([0, 1, 2, 3].map(|peer| limits.towards(PeerId(peer))), [UNLIMITED, 1464, 1364, UNLIMITED]);
        limits.set_towards(PeerId(2), None);
        assert!(limits.fits_everywhere(1464) && !limits.fits_everywhere(1465));
        limits.set_towards(PeerId(1), None);
        assert!(limits.fits_everywhere(usize::from(u16::MAX)));
    }

    #[test]
    fn the_segment_sizes_read_back_as_they_were_set() {
        let limits = Limits::new(1);
        assert_eq!(limits.mss(), None);
        for limit in [MssLimit::of_mtu(1450), MssLimit::of_mtu(0), MssLimit { v4: u16::MAX, v6: u16::MAX }] {
            limits.set_mss(Some(limit));
            assert_eq!(limits.mss(), Some(limit));
        }
        limits.set_mss(None);
        assert_eq!(limits.mss(), None);
    }
}
