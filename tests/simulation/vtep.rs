//! A segment beside the naive bridge: each is asked the same, and both must say the same and come to the same.

use std::net::IpAddr;

use vxgate_codec::{MacAddr, Vni, vxlan};
use vxgate_core::{
    DropReason, EntryState, Event, OverlayHalf, OverlayVerdict, PageCursor, PeerId, Remote, Segment,
    SegmentConfig, Timestamp, UnderlayHalf, UnderlayVerdict,
};

use crate::reference::Reference;

#[derive(Debug)]
pub(crate) struct Vtep {
    pub(crate) addr: IpAddr,
    pub(crate) segment: Segment,
    overlay: OverlayHalf,
    /// The workers beside the segment's own, and how many frames found their worker so far: they take turns.
    workers: Vec<(OverlayHalf, UnderlayHalf)>,
    turns: usize,
    pub(crate) reference: Reference,
    /// Whether the underlay carries anything from and to it.
    pub(crate) is_up: bool,
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) from: IpAddr,
    pub(crate) to: Remote,
    pub(crate) payload: Vec<u8>,
}

impl Vtep {
    pub(crate) fn new(addr: IpAddr, config: SegmentConfig, workers: usize) -> Vtep {
        let reference = Reference::new(&config);
        let mut segment = Segment::new(config);
        let overlay = segment.overlay_half();
        let workers = (1..workers).map(|_| segment.worker_halves()).collect();
        Vtep { addr, segment, overlay, workers, turns: 0, reference, is_up: true }
    }

    /// The worker whose turn it is; `None` for the segment's own.
    fn turn(&mut self) -> Option<usize> {
        self.turns += 1;
        (self.turns % (self.workers.len() + 1)).checked_sub(1)
    }

    fn vni(&self) -> Vni {
        self.segment.config().vni
    }

    /// A frame from the overlay: the datagrams that it becomes.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Vec<Datagram> {
        if let Some(flood) = self.segment.poll_flood() {
            for (overlay, _) in &mut self.workers {
                overlay.set_flood(flood.clone());
            }
            self.overlay.set_flood(flood);
        }
        let overlay = match self.turn() {
            None => &self.overlay,
            Some(worker) => &self.workers[worker].0,
        };
        let verdict = overlay.handle_overlay(frame);
        let copies: Result<Vec<(PeerId, Remote)>, DropReason> = match verdict {
            OverlayVerdict::Unicast(peer, there) => Ok(vec![(
                peer,
                Remote { addr: there.addr.ip(), port: Some(there.addr.port()), vni: Some(there.vni) },
            )]),
            OverlayVerdict::Flood(targets) => {
                let remote = |target: &vxgate_core::FloodTarget| Remote {
                    addr: target.addr.ip(),
                    port: Some(target.addr.port()),
                    vni: Some(target.vni),
                };
                Ok(targets.iter().map(|target| (target.peer, remote(target))).collect())
            }
            OverlayVerdict::Drop(reason) => Err(reason),
        };
        let wanted = self.reference.send(frame).map(|copies| {
            let full = |remote: Remote| Remote {
                port: Some(remote.port.unwrap_or(4789)),
                vni: Some(remote.vni.unwrap_or(self.vni())),
                ..remote
            };
            copies.into_iter().map(full).collect::<Vec<_>>()
        });
        let said =
            copies.clone().map(|copies| copies.into_iter().map(|(_, remote)| remote).collect::<Vec<_>>());
        assert_eq!(said, wanted);
        let counters = overlay.counters();
        let mut datagrams = Vec::new();
        for (peer, to) in copies.unwrap_or_default() {
            let live = self.overlay.remote(peer).expect("a verdict names a live peer");
            counters.count_sent(peer, 1, frame.len() as u64);
            self.reference.sent(live, frame.len());
            let header = vxlan::Header::new(to.vni.expect("filled in")).to_bytes();
            datagrams.push(Datagram { from: self.addr, to, payload: [&header[..], frame].concat() });
        }
        datagrams
    }

    /// A datagram from the underlay: the inner frame if it is delivered.
    pub(crate) fn receive<'a>(
        &mut self,
        from: IpAddr,
        payload: &'a [u8],
        now: Timestamp,
    ) -> Option<&'a [u8]> {
        let wanted = self.reference.receive(from, payload, now);
        let Some(worker) = self.turn() else {
            return self.deliver_own(from, payload, now, wanted);
        };
        if let Some(view) = self.segment.poll_view() {
            self.workers.iter_mut().for_each(|(_, underlay)| underlay.set_view(view.clone()));
        }
        let (_, underlay) = &mut self.workers[worker];
        let verdict = underlay.handle_underlay(from, payload, now);
        underlay.hand_over(|sighting| {
            self.segment.handle_sighting(sighting, now);
            true
        });
        match verdict {
            UnderlayVerdict::Drop(reason) => {
                assert_eq!(Err(reason), wanted);
                None
            }
            UnderlayVerdict::Deliver { frame_offset, peer } => {
                let frame = &payload[frame_offset..];
                assert!(wanted.is_ok(), "{wanted:?}");
                // What was learned from this frame is known from the next one on.
                let remote = peer.and_then(|peer| self.overlay.remote(peer));
                self.workers[worker].1.counters().count_delivered(
                    peer.filter(|_| remote.is_some()),
                    1,
                    frame.len() as u64,
                );
                self.reference.delivered(remote, frame.len());
                Some(frame)
            }
        }
    }

    fn deliver_own<'a>(
        &mut self,
        from: IpAddr,
        payload: &'a [u8],
        now: Timestamp,
        wanted: Result<Option<Remote>, DropReason>,
    ) -> Option<&'a [u8]> {
        let verdict = self.segment.handle_underlay(from, payload, now);
        match verdict {
            UnderlayVerdict::Drop(reason) => {
                assert_eq!(Err(reason), wanted);
                None
            }
            UnderlayVerdict::Deliver { frame_offset, peer } => {
                let frame = &payload[frame_offset..];
                let remote = peer.map(|peer| self.overlay.remote(peer).expect("a verdict names a live peer"));
                assert_eq!(Ok(remote), wanted);
                self.segment.counters().count_delivered(peer, 1, frame.len() as u64);
                self.reference.delivered(remote, frame.len());
                Some(frame)
            }
        }
    }

    pub(crate) fn tick(&mut self, now: Timestamp) {
        self.segment.handle_tick(now);
        self.reference.tick(now);
    }

    /// Everything that can be seen from outside is as the naive bridge has it.
    pub(crate) fn check(&mut self, now: Timestamp) {
        let counts = self.segment.all_counters().snapshot();
        assert_eq!(counts, self.reference.counts);
        assert!(counts.is_balanced(), "{counts:?}");
        assert!(self.segment.entries() <= self.segment.config().max_macs);
        assert_eq!(self.shown(now), self.reference_lines(now));
        self.check_peers();
        let mut events: Vec<Event> = std::iter::from_fn(|| self.segment.poll_event()).collect();
        let mut wanted = std::mem::take(&mut self.reference.events);
        events.sort_by_key(|event| format!("{event:?}"));
        wanted.sort_by_key(|event| format!("{event:?}"));
        assert_eq!(events, wanted);
    }

    fn shown(&self, now: Timestamp) -> Vec<(MacAddr, Remote, EntryState, u32)> {
        let mut lines = Vec::new();
        let mut next = Some(PageCursor::default());
        while let Some(cursor) = next {
            let (page, cursor) = self.segment.fdb_page(cursor, 8, now);
            lines.extend(page.iter().map(|line| {
                (
                    line.mac,
                    Remote { addr: line.dst, port: line.port, vni: line.vni },
                    line.state,
                    line.updated_s,
                )
            }));
            next = cursor;
        }
        lines.sort();
        lines
    }

    fn reference_lines(&self, now: Timestamp) -> Vec<(MacAddr, Remote, EntryState, u32)> {
        let age = |since: u64| (now.as_nanos() / 1_000_000_000).saturating_sub(since) as u32;
        let entries = &self.reference.entries;
        let mut lines: Vec<_> = entries
            .iter()
            .map(|(mac, entry)| (*mac, entry.remote, entry.state, age(entry.heard_s)))
            .collect();
        for (mac, list) in &self.reference.lists {
            lines.extend(list.remotes.iter().map(|remote| (*mac, *remote, list.state, age(list.updated_s))));
        }
        lines.sort();
        lines
    }

    fn check_peers(&self) {
        let mut views: Vec<_> = self.segment.peers().collect();
        views.sort_by_key(|view| view.remote);
        let flood = self.reference.lists.get(&MacAddr::ZERO).map_or(&[][..], |list| &list.remotes);
        assert_eq!(views.len(), self.reference.remotes.len());
        for (view, (remote, counts)) in views.iter().zip(&self.reference.remotes) {
            let macs = self.reference.entries.values().filter(|entry| entry.remote == *remote).count();
            let mut seen = view.counts;
            if !self.workers.is_empty() && seen.last_heard > counts.last_heard {
                // A worker hears the remote that it knew; the naive bridge only the one that was learned then.
                seen.last_heard = counts.last_heard;
            }
            assert_eq!((view.remote, view.macs, seen), (*remote, macs, *counts));
            assert_eq!(view.configured, flood.contains(remote));
            assert_eq!(self.overlay.remote(view.id), Some(*remote));
        }
    }
}
