//! Workers beside the segment's own: what they deliver, report and go by. That they come to the same as one worker alone is the
//! simulation's to show.

use std::sync::Arc;
use std::time::Duration;

use vxgate_core::{
    DropReason, EntryState, OverlayHalf, PeerId, Prefix, SegmentConfig, Sighting, Timestamp, UnderlayHalf,
    UnderlayVerdict,
};

use crate::bench::{Bench, OWN, STATION, addr, datagram, frame, mac, remote};

const PEER: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";

/// One more worker; hands nothing over by itself.
struct Worker {
    overlay: OverlayHalf,
    underlay: UnderlayHalf,
}

impl Worker {
    fn of(bench: &mut Bench) -> Worker {
        let (overlay, underlay) = bench.segment.worker_halves();
        Worker { overlay, underlay }
    }

    fn receive(
        &mut self,
        source: &str,
        from: vxgate_codec::MacAddr,
        now: Timestamp,
    ) -> Result<Option<PeerId>, DropReason> {
        let payload = datagram(10, OWN, from);
        match self.underlay.handle_underlay(addr(source), &payload, now) {
            UnderlayVerdict::Deliver { frame_offset, peer } => {
                self.underlay.counters().count_delivered(peer, 1, (payload.len() - frame_offset) as u64);
                Ok(peer)
            }
            UnderlayVerdict::Drop(reason) => Err(reason),
        }
    }

    fn sightings(&mut self) -> Vec<Sighting> {
        let mut all = Vec::new();
        self.underlay.hand_over(|sighting| {
            all.push(sighting);
            true
        });
        all
    }

    fn teach(&mut self, bench: &mut Bench) -> usize {
        let sightings = self.sightings();
        sightings.iter().for_each(|sighting| bench.segment.handle_sighting(*sighting, bench.now));
        if let Some(view) = bench.segment.poll_view() {
            self.underlay.set_view(view);
        }
        sightings.len()
    }
}

#[test]
fn a_new_station_is_delivered_at_once_and_learned_by_the_owner() {
    let mut bench = Bench::with_peers(&[PEER]);
    let mut worker = Worker::of(&mut bench);
    let peer = bench.peer(PEER);
    assert_eq!(worker.receive(PEER, STATION, bench.now), Ok(Some(peer)));
    assert_eq!(bench.get(STATION).map(|line| line.dst), None);
    assert_eq!(worker.teach(&mut bench), 1);
    assert_eq!(bench.get(STATION).map(|line| line.dst), Some(addr(PEER)));
    // Every worker finds it now, and nobody reports it again.
    assert_eq!(worker.receive(PEER, STATION, bench.now), Ok(Some(peer)));
    assert_eq!(worker.teach(&mut bench), 0);
    let there = worker.overlay.handle_overlay(&frame(STATION, OWN));
    assert!(matches!(there, vxgate_core::OverlayVerdict::Unicast(to, _) if to == peer), "{there:?}");
}

#[test]
fn a_station_that_moves_is_reported_and_a_static_one_keeps_its_place() {
    let mut bench = Bench::with_peers(&[PEER, OTHER]);
    let mut worker = Worker::of(&mut bench);
    bench.receive(PEER, STATION).unwrap();
    bench.add(mac(STATION, 1), remote(PEER), EntryState::Static).unwrap();
    assert!(worker.receive(OTHER, STATION, bench.now).is_ok());
    assert_eq!(worker.receive(OTHER, mac(STATION, 1), bench.now), Err(DropReason::StaticElsewhere));
    assert_eq!(worker.teach(&mut bench), 1);
    assert_eq!(bench.get(STATION).map(|line| line.dst), Some(addr(OTHER)));
    assert_eq!(bench.get(mac(STATION, 1)).map(|line| line.dst), Some(addr(PEER)));
    let counts = bench.segment.all_counters().snapshot();
    assert_eq!((counts.learned, counts.moved), (1, 1));
    assert_eq!(counts.underlay_drops[DropReason::StaticElsewhere.index()], 1);
}

#[test]
fn what_any_worker_hears_of_does_not_age() {
    let config = SegmentConfig { ageing: Duration::from_secs(300), ..SegmentConfig::default() };
    let mut bench = Bench::new(config);
    bench.segment.peer_add(remote(PEER), bench.now).unwrap();
    let mut worker = Worker::of(&mut bench);
    bench.receive(PEER, STATION).unwrap();
    for _ in 0..4 {
        bench.pass(Duration::from_secs(200));
        assert!(worker.receive(PEER, STATION, bench.now).is_ok());
    }
    assert!(bench.get(STATION).is_some());
    bench.pass(Duration::from_secs(302));
    assert!(bench.get(STATION).is_none());
    let heard = bench.segment.peers().next().unwrap().counts.last_heard;
    assert_eq!(heard, Some(Timestamp::from_duration(Duration::from_secs(800))));
}

#[test]
fn a_station_is_reported_ten_times_a_second_at_most() {
    let mut bench = Bench::with_peers(&[PEER]);
    let mut worker = Worker::of(&mut bench);
    let mut reported = 0;
    for millis in 0..1000 {
        let now = Timestamp::from_duration(Duration::from_millis(millis));
        assert!(worker.receive(PEER, STATION, now).is_ok());
        reported += worker.sightings().len();
    }
    assert_eq!(reported, 10);
}

#[test]
fn while_the_owner_is_busy_frames_are_delivered_and_learned_later() {
    let mut bench = Bench::with_peers(&[PEER]);
    let mut worker = Worker::of(&mut bench);
    for number in 0..100 {
        assert!(worker.receive(PEER, mac(STATION, number), bench.now).is_ok());
    }
    let deferred = bench.segment.all_counters().snapshot().sightings_deferred;
    assert_eq!(worker.teach(&mut bench) as u64 + deferred, 100);
    assert!(deferred > 0);
    // The next frames of those that were put off.
    for number in 0..100 {
        assert!(worker.receive(PEER, mac(STATION, number), bench.now).is_ok());
    }
    assert_eq!(worker.teach(&mut bench) as u64, deferred);
    let counts = bench.segment.all_counters().snapshot();
    assert_eq!((counts.learned, counts.delivered.frames), (100, 200));
    assert!(counts.is_balanced(), "{counts:?}");
}

#[test]
fn what_finds_no_room_with_the_owner_waits_in_its_order() {
    let mut bench = Bench::with_peers(&[PEER]);
    let mut worker = Worker::of(&mut bench);
    for number in 0..5 {
        worker.receive(PEER, mac(STATION, number), bench.now).unwrap();
    }
    let mut taken = Vec::new();
    worker.underlay.hand_over(|sighting| {
        taken.push(sighting);
        taken.len() < 3
    });
    // The third was refused and comes again.
    taken.pop();
    taken.extend(worker.sightings());
    assert_eq!(taken.len(), 5);
    for sighting in taken {
        bench.segment.handle_sighting(sighting, bench.now);
    }
    assert_eq!(bench.segment.all_counters().snapshot().learned, 5);
}

#[test]
fn what_control_changes_every_worker_goes_by() {
    let mut bench = Bench::with_peers(&[PEER]);
    let mut worker = Worker::of(&mut bench);
    let now = bench.now;
    let stranger = Err(DropReason::Stranger);
    let show = |bench: &mut Bench, worker: &mut Worker| {
        worker.underlay.set_view(bench.segment.poll_view().expect("something has changed"));
        assert!(bench.segment.poll_view().is_none(), "nothing has changed since");
    };
    // The first view holds all that was before.
    drop(bench.segment.poll_view());

    assert_eq!(worker.receive(OTHER, STATION, now), stranger);
    bench.segment.peer_add(remote(OTHER), now).unwrap();
    assert_eq!(worker.receive(OTHER, STATION, now), stranger, "a view is a moment's");
    show(&mut bench, &mut worker);
    assert!(worker.receive(OTHER, STATION, now).is_ok());
    bench.segment.peer_del(addr(OTHER)).unwrap();
    show(&mut bench, &mut worker);
    assert_eq!(worker.receive(OTHER, STATION, now), stranger);

    bench.segment.set_accept_from(vec![Prefix::new(addr("192.0.2.0"), 24).unwrap()]);
    show(&mut bench, &mut worker);
    assert_eq!(worker.receive(OTHER, STATION, now), Ok(None), "accepted by block, and no remote");
    assert_eq!(worker.teach(&mut bench), 1);
    assert_eq!(worker.receive(OTHER, STATION, now), Ok(Some(bench.peer(OTHER))));

    bench.segment.set_own_mac(mac(STATION, 7));
    show(&mut bench, &mut worker);
    assert_eq!(worker.receive(PEER, mac(STATION, 7), now), Err(DropReason::OwnMac));
    bench.segment.set_own_mac(mac(STATION, 7));
    assert!(bench.segment.poll_view().is_none(), "the same address is no change");

    bench.segment.set_learning(false);
    show(&mut bench, &mut worker);
    assert!(worker.receive(PEER, mac(STATION, 8), now).is_ok());
    assert_eq!(worker.sightings(), []);
}

#[test]
fn what_was_seen_before_a_peer_was_taken_away_is_not_learned_after() {
    let mut bench = Bench::with_peers(&[PEER, OTHER]);
    let mut worker = Worker::of(&mut bench);
    worker.receive(OTHER, STATION, bench.now).unwrap();
    let seen = worker.sightings();
    bench.segment.peer_del(addr(OTHER)).unwrap();
    bench.segment.handle_sighting(seen[0], bench.now);
    assert!(bench.get(STATION).is_none());
    worker.receive(PEER, STATION, bench.now).unwrap();
    bench.segment.set_learning(false);
    let seen = worker.sightings();
    bench.segment.handle_sighting(seen[0], bench.now);
    assert!(bench.get(STATION).is_none());
}

#[test]
fn what_each_worker_counts_is_counted_once() {
    let mut bench = Bench::with_peers(&[PEER]);
    let mut workers: Vec<Worker> = (0..3).map(|_| Worker::of(&mut bench)).collect();
    bench.receive(PEER, STATION).unwrap();
    for (number, worker) in (1..).zip(&mut workers) {
        for _ in 0..number {
            worker.receive(PEER, STATION, bench.now).unwrap();
            assert!(worker.receive("203.0.113.9", STATION, bench.now).is_err());
        }
    }
    let all = bench.segment.all_counters();
    let counts = all.snapshot();
    assert_eq!((counts.delivered.frames, counts.underlay_in.frames), (1 + 6, 1 + 6 + 6));
    assert_eq!(counts.underlay_drops[DropReason::Stranger.index()], 6);
    assert!(counts.is_balanced());
    let peer = bench.segment.peers().next().unwrap();
    assert_eq!((peer.counts.rx.frames, all.peer(peer.id).rx.frames), (7, 7));
    // A number that goes to another remote starts again with every worker.
    bench.segment.peer_del(addr(PEER)).unwrap();
    let views: Vec<_> = (0..2000)
        .map(|_| {
            let id = bench.segment.peer_add(remote(OTHER), bench.now).unwrap();
            bench.segment.peer_del(addr(OTHER)).unwrap();
            id
        })
        .collect();
    assert!(views.contains(&peer.id), "numbers go round");
    assert_eq!(all.peer(peer.id), Default::default());
}

#[test]
fn a_view_is_shared_and_not_copied() {
    let mut bench = Bench::with_peers(&[PEER]);
    let view = bench.segment.poll_view().unwrap();
    let mut worker = Worker::of(&mut bench);
    worker.underlay.set_view(Arc::clone(&view));
    assert_eq!(Arc::strong_count(&view), 2);
}
