//! VTEPs on one underlay, in memory.

use std::net::IpAddr;
use std::time::Duration;

use vxgate_codec::MacAddr;
use vxgate_core::{SegmentConfig, Timestamp};

use crate::vtep::{Datagram, Vtep};

/// VTEPs on one underlay, which carries every datagram at once, or loses it where an end is down.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) vteps: Vec<Vtep>,
    pub(crate) now: Timestamp,
    pub(crate) lost: u64,
    /// What passes before each datagram: workers beside the segment's own report a station ten times a second at most.
    delay: Duration,
}

/// The address of a VTEP.
pub(crate) fn vtep_addr(number: usize) -> IpAddr {
    [10, 0, 0, 1 + number as u8].into()
}

/// A station of a VTEP's overlay.
pub(crate) fn station(number: u64) -> MacAddr {
    MacAddr::from_bits(0x0200_0000_0000 + number)
}

/// The smallest frame between two stations.
pub(crate) fn frame(to: MacAddr, from: MacAddr) -> Vec<u8> {
    [&to.octets()[..], &from.octets(), &[0x88, 0xb5], &[0; 46]].concat()
}

impl World {
    pub(crate) fn new(vteps: usize, workers: usize, config: impl Fn(usize) -> SegmentConfig) -> World {
        let vteps = (0..vteps).map(|number| Vtep::new(vtep_addr(number), config(number), workers)).collect();
        let delay = Duration::from_millis(if workers > 1 { 100 } else { 0 });
        World { vteps, now: Timestamp::ZERO, lost: 0, delay }
    }

    /// A frame that a station hands to its VTEP: the VTEPs that deliver it on their side.
    pub(crate) fn send(&mut self, vtep: usize, frame: &[u8]) -> Vec<usize> {
        let datagrams = self.vteps[vtep].send(frame);
        let is_up = self.vteps[vtep].is_up;
        let arrive = |world: &mut World, datagram: &Datagram| {
            let there = world.vteps.iter().position(|vtep| is_up && vtep.is_up && listens(vtep, datagram));
            let delivered = there.map(|there| (there, world.receive(there, datagram)));
            match delivered {
                Some((there, Some(inner))) => {
                    assert_eq!(inner, frame, "what arrives is what was sent");
                    Some(there)
                }
                Some((_, None)) => None,
                None => {
                    world.lost += 1;
                    None
                }
            }
        };
        datagrams.iter().filter_map(|datagram| arrive(self, datagram)).collect()
    }

    fn receive(&mut self, vtep: usize, datagram: &Datagram) -> Option<Vec<u8>> {
        self.inject(vtep, datagram.from, &datagram.payload)
    }

    /// A datagram that arrives at a VTEP, whoever sent it.
    pub(crate) fn inject(&mut self, vtep: usize, from: IpAddr, payload: &[u8]) -> Option<Vec<u8>> {
        self.pass(self.delay);
        self.vteps[vtep].receive(from, payload, self.now).map(<[u8]>::to_vec)
    }

    /// Time passes in steps of at most a second, each with a tick.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now.saturating_add(span);
        while self.now < end {
            let rest = end.saturating_since(self.now);
            self.now = self.now.saturating_add(rest.min(Duration::from_secs(1)));
            for vtep in &mut self.vteps {
                vtep.tick(self.now);
            }
        }
    }

    pub(crate) fn check(&mut self) {
        for vtep in &mut self.vteps {
            vtep.check(self.now);
        }
    }
}

fn listens(vtep: &Vtep, datagram: &Datagram) -> bool {
    datagram.to.addr == vtep.addr && datagram.to.port == Some(4789)
}
