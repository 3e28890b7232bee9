//! A segment with both halves, plugged in by hand: what the tests of the segment's rules stand on.

use std::net::IpAddr;
use std::time::Duration;

use vxgate_codec::{MacAddr, Vni, vxlan};
use vxgate_core::{
    ControlError, Counts, DropReason, EntryState, EntryView, Event, OverlayHalf, OverlayVerdict, PeerId,
    Remote, Segment, SegmentConfig, Timestamp, UnderlayVerdict,
};

/// Some station on the far side.
pub(crate) const STATION: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0]);
/// Some group.
pub(crate) const GROUP: MacAddr = MacAddr::new([1, 0, 0x5e, 0, 0, 0]);
/// The station on our side.
pub(crate) const OWN: MacAddr = MacAddr::new([2, 0, 0, 0xff, 0, 0]);

/// The address this many behind `base`.
pub(crate) fn mac(base: MacAddr, number: u64) -> MacAddr {
    MacAddr::from_bits(base.to_bits() + number)
}

pub(crate) fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn remote(text: &str) -> Remote {
    Remote::new(addr(text))
}

/// A frame of 60 octets.
pub(crate) fn frame(to: MacAddr, from: MacAddr) -> Vec<u8> {
    [&to.octets()[..], &from.octets(), &[0x88, 0xb5], &[0; 46]].concat()
}

/// The payload of a VXLAN datagram.
pub(crate) fn datagram(vni: u32, to: MacAddr, from: MacAddr) -> Vec<u8> {
    let header = vxlan::Header::new(Vni::new(vni).expect("24 bits")).to_bytes();
    [&header[..], &frame(to, from)].concat()
}

/// A segment, its overlay half and the time; carries every verdict out and counts it, as a shell does.
pub(crate) struct Bench {
    pub(crate) segment: Segment,
    pub(crate) overlay: OverlayHalf,
    pub(crate) now: Timestamp,
}

impl Bench {
    pub(crate) fn new(config: SegmentConfig) -> Bench {
        let segment = Segment::new(config);
        let overlay = segment.overlay_half();
        Bench { segment, overlay, now: Timestamp::ZERO }
    }

    pub(crate) fn with_peers(peers: &[&str]) -> Bench {
        let mut bench = Bench::new(SegmentConfig::default());
        for peer in peers {
            bench.segment.peer_add(remote(peer), bench.now).expect("a new peer");
        }
        bench.take_flood();
        bench
    }

    pub(crate) fn take_flood(&mut self) {
        if let Some(flood) = self.segment.poll_flood() {
            self.overlay.set_flood(flood);
        }
    }

    /// Where a frame to this address goes, as `addr:port/vni`, in order.
    pub(crate) fn send(&mut self, to: MacAddr) -> Result<Vec<String>, DropReason> {
        self.send_octets(&frame(to, OWN))
    }

    pub(crate) fn send_octets(&mut self, octets: &[u8]) -> Result<Vec<String>, DropReason> {
        self.take_flood();
        let copies = match self.overlay.handle_overlay(octets) {
            OverlayVerdict::Unicast(peer, there) => vec![(peer, there.addr, there.vni)],
            OverlayVerdict::Flood(targets) => {
                targets.iter().map(|target| (target.peer, target.addr, target.vni)).collect()
            }
            OverlayVerdict::Drop(reason) => return Err(reason),
        };
        let counters = self.segment.counters();
        for (peer, _, _) in &copies {
            counters.count_sent(*peer, 1, octets.len() as u64);
        }
        Ok(copies.into_iter().map(|(_, addr, vni)| format!("{addr}/{vni}")).collect())
    }

    /// Receives a good frame from this station behind this remote.
    pub(crate) fn receive(&mut self, source: &str, from: MacAddr) -> Result<Option<PeerId>, DropReason> {
        let vni = self.segment.config().vni.get();
        self.receive_octets(source, &datagram(vni, OWN, from))
    }

    pub(crate) fn receive_octets(
        &mut self,
        source: &str,
        payload: &[u8],
    ) -> Result<Option<PeerId>, DropReason> {
        match self.segment.handle_underlay(addr(source), payload, self.now) {
            UnderlayVerdict::Deliver { frame_offset, peer } => {
                assert_eq!(frame_offset, 8);
                self.segment.counters().count_delivered(peer, 1, (payload.len() - frame_offset) as u64);
                Ok(peer)
            }
            UnderlayVerdict::Drop(reason) => Err(reason),
        }
    }

    /// Lets time pass in one step.
    pub(crate) fn pass(&mut self, span: Duration) {
        self.now = self.now.saturating_add(span);
        self.segment.handle_tick(self.now);
    }

    pub(crate) fn add(
        &mut self,
        mac: MacAddr,
        remote: Remote,
        state: EntryState,
    ) -> Result<(), ControlError> {
        self.segment.fdb_add(mac, remote, state, self.now)
    }

    pub(crate) fn append(&mut self, mac: MacAddr, to: &str) {
        self.segment.fdb_append(mac, remote(to), EntryState::Permanent, self.now).expect("a new remote");
    }

    pub(crate) fn get(&self, mac: MacAddr) -> Option<EntryView> {
        self.segment.fdb_get(mac, self.now)
    }

    /// The number of the remote at this address.
    pub(crate) fn peer(&self, text: &str) -> PeerId {
        self.segment.peers().find(|view| view.remote.addr == addr(text)).expect("a known remote").id
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.segment.poll_event()).collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.segment.counters().snapshot()
    }

    pub(crate) fn overlay_drops(&self, reason: DropReason) -> u64 {
        self.counts().overlay_drops[reason.index()]
    }

    pub(crate) fn underlay_drops(&self, reason: DropReason) -> u64 {
        self.counts().underlay_drops[reason.index()]
    }
}
