//! Peers that die, return, fall mute, and paths that lose and delay, in virtual time: when is a peer taken for dead, and how often
//! wrongly? A run follows from its seed alone. The figures are printed with `-- --nocapture`.

mod world;

use std::time::Duration;

use vxgate_core::{DownReason, EntryView, Event, PeerState, Timestamp};
use world::{World, millis, outer};

/// Long enough for every peer to have answered, on any path here.
const SETTLED: Duration = Duration::from_secs(5);

/// The value that this many per cent of all lie at or below.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

/// How long it takes to notice that peer 0 is dead, over many seeds.
fn detections(seeds: u64, prepare: impl Fn(&mut World), kill: impl Fn(&mut World)) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..seeds)
        .map(|seed| {
            let mut world = World::new(seed, 2, 1 + seed as usize % 2);
            prepare(&mut world);
            world.run(SETTLED);
            let more = world.random.up_to(millis(1000));
            world.run(more);
            assert_eq!((world.state(0), world.state(1)), (PeerState::Up, PeerState::Up), "seed {seed}");
            kill(&mut world);
            let time = world.time_until(Duration::from_secs(60), |world| world.state(0) == PeerState::Down);
            let time = time.unwrap_or_else(|| panic!("seed {seed}: not noticed"));
            assert_eq!(world.flood(), [outer(1)], "seed {seed}");
            time
        })
        .collect();
    times.sort();
    times
}

/// The half and the 99th of a hundred, with a line to print.
fn figures(what: &str, times: &[Duration]) -> (Duration, Duration, String) {
    let (half, nearly_all, last) = (percentile(times, 50), percentile(times, 99), percentile(times, 100));
    let line = format!("{what}: {half:?} (p50), {nearly_all:?} (p99), {last:?} (max), n = {}", times.len());
    (half, nearly_all, line)
}

#[test]
fn a_dead_peer_is_noticed_within_400_ms_on_a_short_path() {
    for round_trip in [1, 5, 20] {
        let times = detections(
            500,
            |world| world.peers.iter_mut().for_each(|peer| peer.round_trip = millis(round_trip)),
            |world| world.peers[0].is_alive = false,
        );
        let (half, nearly_all, line) = figures(&format!("dead, round trip {round_trip} ms"), &times);
        println!("{line}");
        // 7 waits of 40 ms, and from the death to the next probe, half of 120 ms on average.
        assert!(half <= millis(350) && nearly_all <= millis(405), "{half:?} {nearly_all:?}");
        assert!(times[0] >= millis(280) - millis(round_trip), "{:?}", times[0]);
    }
}

#[test]
fn a_peer_may_die_at_any_moment() {
    let die_at_any_time = |loss: u64| {
        let wait = |world: &mut World| {
            world.loss = loss;
            let before = world.random.up_to(Duration::from_secs(120));
            world.run(before);
        };
        detections(200, wait, |world| world.peers[0].is_alive = false)
    };
    // Where answers are lost, a probe is sent half a second after the last one, once a minute.
    for (loss, most, last) in [(0, 405, 405), (50, 900, 1100)] {
        let times = die_at_any_time(loss);
        let what = format!("dead at any moment of two minutes, {loss} of 1000 lost each way");
        let (half, nearly_all, line) = figures(&what, &times);
        println!("{line}");
        assert!(half <= millis(350) && nearly_all <= millis(most), "{half:?} {nearly_all:?}");
        assert!(times[times.len() - 1] <= millis(last), "{:?}", times[times.len() - 1]);
    }
}

#[test]
fn a_path_of_one_direction_is_as_good_as_none() {
    let deaf = detections(200, |_| {}, |world| world.peers[0].hears = false);
    let unheard = detections(200, |_| {}, |world| world.peers[0].is_heard = false);
    for (what, times) in [("nothing arrives there", deaf), ("nothing arrives here", unheard)] {
        let (half, nearly_all, line) = figures(what, &times);
        println!("{line}");
        assert!(half <= millis(350) && nearly_all <= millis(405), "{half:?} {nearly_all:?}");
    }
}

#[test]
fn a_dead_peer_is_noticed_through_loss_and_later_on_long_paths() {
    for (round_trip, loss, bound) in [(1, 50, 405), (1, 300, 1200), (100, 0, 1000), (300, 0, 2500)] {
        let up = |world: &World| world.state(0) == PeerState::Up;
        let down = |world: &World| world.state(0) == PeerState::Down;
        let mut times: Vec<Duration> = (0..200)
            .map(|seed| {
                let mut world = World::new(seed, 2, 1);
                world.loss = loss;
                world.peers.iter_mut().for_each(|peer| peer.round_trip = millis(round_trip));
                let more = world.random.up_to(millis(1000));
                world.run(SETTLED + more);
                // Where much is lost, it may be down already.
                world.time_until(Duration::from_secs(300), up).expect("it answers now and then");
                world.peers[0].is_alive = false;
                world.time_until(Duration::from_secs(60), down).expect("noticed")
            })
            .collect();
        times.sort();
        let what = format!("dead, round trip {round_trip} ms, {loss} of 1000 lost each way");
        let (_, nearly_all, line) = figures(&what, &times);
        println!("{line}");
        assert!(nearly_all <= millis(bound), "{nearly_all:?}");
    }
}

#[test]
fn nobody_is_taken_for_dead_in_ten_minutes_of_5_percent_loss() {
    let (mut downs, mut runs) = (0, 0);
    for seed in 0..40 {
        let mut world = World::new(seed, 2, 1 + seed as usize % 2);
        world.loss = 50;
        world.peers[1].round_trip = millis(20);
        world.run(Duration::from_secs(600));
        (downs, runs) = (downs + world.downs().len(), runs + 1);
    }
    println!("5 % loss each way: {downs} false alarms in {runs} runs of two peers and ten minutes");
    // Seven probes in a row of which one in ten is lost, eight probes a second: one false alarm in about 700 runs.
    assert_eq!(downs, 0);
}

#[test]
fn nobody_is_taken_for_dead_on_a_long_path_without_loss() {
    for round_trip in [1, 30, 60, 150, 300] {
        for seed in 0..4 {
            let mut world = World::new(seed, 2, 1);
            world.peers.iter_mut().for_each(|peer| peer.round_trip = millis(round_trip));
            world.run(Duration::from_secs(120));
            assert_eq!(world.downs(), [], "round trip {round_trip} ms, seed {seed}");
            let view = world.segment.peers().next().expect("a peer").health;
            let rtt = view.rtt.expect("answers were timed");
            let off = rtt.abs_diff(millis(round_trip));
            assert!(off <= millis(1), "{rtt:?} for {round_trip} ms");
        }
    }
}

#[test]
fn a_path_that_becomes_longer_is_learned() {
    for (before, after) in [(1, 100), (1, 200), (20, 300)] {
        let mut world = World::new(7, 2, 1);
        world.peers.iter_mut().for_each(|peer| peer.round_trip = millis(before));
        world.run(SETTLED);
        world.peers.iter_mut().for_each(|peer| peer.round_trip = millis(after));
        // At most one alarm each, and none once it is learned.
        world.run(Duration::from_secs(10));
        assert!(world.downs().len() <= 2, "{before} to {after} ms: {:?}", world.events);
        world.events.clear();
        world.run(Duration::from_secs(120));
        assert_eq!(world.downs(), [], "{before} to {after} ms");
        assert_eq!((world.state(0), world.state(1)), (PeerState::Up, PeerState::Up));
        for view in world.segment.peers() {
            let rtt = view.health.rtt.expect("answers were timed");
            assert!(rtt.abs_diff(millis(after)) <= millis(2), "{before} to {after} ms: {rtt:?}");
        }
    }
}

#[test]
fn a_peer_that_returns_is_sent_to_within_a_second_and_not_at_once() {
    let mut times = Vec::new();
    for seed in 0..300 {
        let mut world = World::new(seed, 2, 1);
        world.run(SETTLED);
        world.peers[0].is_alive = false;
        let dead = world.random.up_to(millis(20_000)) + millis(1000);
        world.run(dead);
        assert_eq!(world.state(0), PeerState::Down);
        // It may be another machine by now.
        if seed % 2 == 0 {
            world.peers[0].mac = vxgate_codec::MacAddr::new([2, 0, 0, 0, 0, 0x77]);
        }
        world.peers[0].is_alive = true;
        let up = |world: &World| world.state(0) == PeerState::Up;
        times.push(world.time_until(Duration::from_secs(10), up).expect("it is back"));
        assert_eq!(world.flood(), [outer(0), outer(1)]);
    }
    times.sort();
    println!("{}", figures("back", &times).2);
    assert!(times[0] >= millis(500), "the hold-down: {:?}", times[0]);
    assert!(times[times.len() - 1] <= millis(1000), "{:?}", times[times.len() - 1]);
}

#[test]
fn a_peer_that_comes_and_goes_is_held_down_longer_each_time() {
    let mut world = World::new(1, 2, 1);
    world.run(SETTLED);
    let mut holds = Vec::new();
    for _ in 0..9 {
        world.peers[0].is_alive = false;
        world.run(millis(2000));
        world.peers[0].is_alive = true;
        let up = |world: &World| world.state(0) == PeerState::Up;
        holds.push(world.time_until(Duration::from_secs(120), up).expect("it is back"));
    }
    assert!(holds[0] <= millis(1000) && holds[1] >= millis(1000) && holds[2] >= millis(2000), "{holds:?}");
    assert!(holds[8] >= Duration::from_secs(60) && holds[8] <= Duration::from_secs(61), "{holds:?}");
    // Once it stays for a minute, that is forgotten.
    world.run(Duration::from_secs(61));
    world.peers[0].is_alive = false;
    world.run(millis(1000));
    world.peers[0].is_alive = true;
    let up = |world: &World| world.state(0) == PeerState::Up;
    assert!(world.time_until(Duration::from_secs(10), up).is_some_and(|hold| hold <= millis(1000)));
}

#[test]
fn a_peer_that_answers_only_once_in_a_second_is_taken_for_dead_a_few_times_at_most() {
    for seed in 0..10 {
        let mut world = World::new(seed, 2, 1);
        world.peers.iter_mut().for_each(|peer| peer.rests = millis(1000));
        world.run(Duration::from_secs(60));
        assert!(world.downs().len() <= 8, "seed {seed}: {:?}", world.events);
        world.events.clear();
        world.run(Duration::from_secs(480));
        assert_eq!(world.events, [], "seed {seed}");
        assert_eq!(world.flood().len(), 2);
        // It can die all the same.
        world.peers[0].is_alive = false;
        let down = |world: &World| world.state(0) == PeerState::Down;
        assert!(world.time_until(Duration::from_secs(10), down).is_some_and(|time| time <= millis(3500)));
    }
}

#[test]
fn when_all_are_silent_all_are_sent_to_until_one_answers() {
    for seed in 0..100 {
        let mut world = World::new(seed, 3, 1 + seed as usize % 2);
        world.run(SETTLED);
        world.peers.iter_mut().for_each(|peer| peer.is_alive = false);
        world.run(Duration::from_secs(30));
        assert_eq!(world.flood(), [outer(0), outer(1), outer(2)], "seed {seed}");
        assert_eq!(world.events.last().map(|(_, event)| *event), Some(Event::AllPeersSilent));
        let wakes = world.wakes;
        world.run(Duration::from_secs(10));
        assert!(world.wakes - wakes < 10 * 3 * 10, "no busy loop: {}", world.wakes - wakes);
        // The first one that answers is up at once, and the others leave then.
        world.peers[1].is_alive = true;
        let back = world.time_until(Duration::from_secs(10), |world| world.state(1) == PeerState::Up);
        assert!(back.is_some_and(|back| back <= millis(400)), "seed {seed}: {back:?}");
        assert_eq!(world.flood(), [outer(1)], "seed {seed}");
        world.peers.iter_mut().for_each(|peer| peer.is_alive = true);
        world.run(Duration::from_secs(2));
        assert_eq!(world.flood().len(), 3, "seed {seed}");
    }
}

#[test]
fn a_peer_that_never_answers_is_never_down_by_silence() {
    let mut world = World::new(3, 2, 1);
    world.peers[0].answers = false;
    world.run(Duration::from_secs(600));
    assert_eq!(world.state(0), PeerState::Unknown);
    assert_eq!(world.flood(), [outer(0), outer(1)]);
    let sent = world.sent_to[&outer(0)];
    assert!((280..=400).contains(&sent), "it is asked every two seconds: {sent}");
}

#[test]
fn a_peer_that_sends_lives_until_it_is_plainly_deaf() {
    let mut world = World::new(3, 2, 1);
    world.peers[0].traffic = Some(millis(30));
    world.run(SETTLED);
    world.peers[0].answers = false;
    world.run(Duration::from_secs(8));
    assert_eq!(world.state(0), PeerState::Up, "its frames are signs of life");
    world.run(Duration::from_secs(8));
    assert_eq!(world.state(0), PeerState::Down);
    let deaf = Event::PeerDown { addr: outer(0), why: DownReason::Deaf };
    assert!(world.events.iter().any(|(_, event)| *event == deaf));
    // Down for good, however much it sends, until it answers.
    world.run(Duration::from_secs(60));
    assert_eq!((world.state(0), world.flood()), (PeerState::Down, vec![outer(1)]));
    world.peers[0].answers = true;
    world.run(Duration::from_secs(2));
    assert_eq!(world.state(0), PeerState::Up);
}

#[test]
fn a_caller_who_is_late_takes_nobody_for_dead() {
    for late in [10, 50, 200, 1000] {
        for seed in 0..5 {
            let mut world = World::new(seed, 2, 1);
            world.run(SETTLED);
            world.late = millis(late);
            world.run(Duration::from_secs(60));
            assert_eq!(world.downs(), [], "up to {late} ms late, seed {seed}");
        }
    }
}

#[test]
fn a_process_that_was_suspended_takes_nobody_for_dead() {
    for seed in 0..50 {
        let mut world = World::new(seed, 2, 1);
        world.run(SETTLED);
        for span in [1, 10, 3600, 1_000_000] {
            let more = world.random.up_to(millis(300));
            world.run(more);
            // The clock goes on; what came meanwhile is lost or waits.
            world.now = world.now.saturating_add(Duration::from_secs(span));
            world.run(millis(500));
            assert_eq!(world.downs(), [], "{span} s, seed {seed}");
        }
    }
}

#[test]
fn heavy_loss_downs_peers_but_never_all_of_the_tunnel() {
    for seed in 0..10 {
        let mut world = World::new(seed, 2, 1 + seed as usize % 2);
        world.loss = 300;
        world.run(Duration::from_secs(120));
        world.loss = 0;
        // Past the longest hold-down.
        world.run(Duration::from_secs(65));
        assert_eq!((world.state(0), world.state(1)), (PeerState::Up, PeerState::Up), "seed {seed}");
        assert_eq!(world.flood().len(), 2);
    }
}

#[test]
fn what_was_learned_behind_a_dead_peer_is_flooded_to_the_others() {
    for seed in 0..20 {
        let mut world = World::new(seed, 2, 1 + seed as usize % 2);
        world.peers.iter_mut().for_each(|peer| peer.traffic = Some(millis(100)));
        world.run(SETTLED);
        let where_is = |world: &World, peer: usize| {
            let entry: Option<EntryView> = world.segment.fdb_get(world.peers[peer].device(), world.now);
            entry.map(|entry| entry.dst)
        };
        assert_eq!((where_is(&world, 0), where_is(&world, 1)), (Some(outer(0)), Some(outer(1))));
        world.peers[0].is_alive = false;
        world.run(millis(1000));
        assert_eq!((where_is(&world, 0), where_is(&world, 1)), (None, Some(outer(1))));
        // What it sends while it returns is not learned; once it is back, it is.
        world.peers[0].is_alive = true;
        world.run(millis(300));
        assert_eq!((world.state(0), where_is(&world, 0)), (PeerState::Down, None));
        world.run(millis(1200));
        assert_eq!((world.state(0), where_is(&world, 0)), (PeerState::Up, Some(outer(0))));
        assert_eq!(where_is(&world, 1), Some(outer(1)), "nothing moves when it returns");
    }
}

#[test]
fn a_run_follows_from_its_seed_alone() {
    let run = || {
        let mut world = World::new(11, 2, 2);
        world.loss = 200;
        world.late = millis(3);
        world.run(Duration::from_secs(60));
        let events: Vec<(Timestamp, Event)> = world.events.clone();
        (events, world.segment.all_counters().snapshot())
    };
    assert_eq!(run(), run());
}
