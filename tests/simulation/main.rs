//! VTEPs wired in memory, in virtual time, each beside a naive bridge that must agree with it on every verdict, every
//! counter, every entry, every remote and every event, after every step.
//!
//! A run follows from its seed alone. A failure names seed and step: put the seed into `SEEDS` to see it again.

mod reference;
mod vtep;
mod world;

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use vxgate_codec::{MacAddr, ReservedBits, Vni};
use vxgate_core::{EntryState, EntryStates, FlushFilter, Remote, SegmentConfig};

use crate::world::{World, frame, station, vtep_addr};

/// Marsaglia's xorshift: the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

const VTEPS: usize = 4;
/// More than the tables hold.
const STATIONS: u64 = 40;
const SEEDS: std::ops::Range<u64> = 0..40;
const STEPS: u64 = 1500;

/// Small limits, so that every one is met; each VTEP has something of its own.
fn config(number: usize) -> SegmentConfig {
    SegmentConfig {
        own_mac: station(100 + number as u64),
        ageing: Duration::from_secs([30, 300, 0, 5][number]),
        max_macs: [24, 100, 12, 24][number],
        max_peers: [6, 100, 8, 5][number],
        reserved_bits: ReservedBits::ALL[number % 2],
        accept_from: if number == 3 { vec![IpAddr::from([10, 0, 0, 0]).into()] } else { Vec::new() },
        hash_key: number as u64,
        ..SegmentConfig::default()
    }
}

fn any_mac(random: &mut Random) -> MacAddr {
    match random.below(20) {
        0 => MacAddr::ZERO,
        1 => MacAddr::BROADCAST,
        2..5 => MacAddr::from_bits(0x0100_5e00_0000 + random.below(4)),
        5 => station(100 + random.below(VTEPS as u64)),
        _ => station(random.below(STATIONS)),
    }
}

fn any_addr(random: &mut Random) -> IpAddr {
    match random.below(12) {
        0 => [10, 0, 0, 100 + random.below(100) as u8].into(),
        1 => [192, 0, 2, random.below(4) as u8].into(),
        2 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, random.below(3) as u16]),
        3 => [239, 1, 1, 1].into(),
        4 => [0, 0, 0, 0].into(),
        _ => vtep_addr(random.below(VTEPS as u64) as usize),
    }
}

fn any_remote(random: &mut Random) -> Remote {
    let port = random.one_in(4).then(|| random.pick(&[0, 4789, 8472]));
    let vni = random.one_in(4).then(|| random.pick(&[10, 11])).and_then(Vni::new);
    Remote { addr: any_addr(random), port, vni }
}

/// A datagram as nobody should send it.
fn hostile(random: &mut Random) -> Vec<u8> {
    let mut octets = [&[8, 0, 0, 0, 0, 0, 10, 0][..], &frame(any_mac(random), any_mac(random))].concat();
    match random.below(5) {
        0 => octets.truncate(random.below(24) as usize),
        1 => octets[0] = 0,
        2 => octets[random.pick(&[0, 1, 2, 3, 7])] |= 1 << random.below(8),
        3 => octets[6] = 11,
        _ => {}
    }
    octets
}

/// One thing that can happen, to one VTEP.
fn step(world: &mut World, random: &mut Random) {
    let number = random.below(VTEPS as u64) as usize;
    match random.below(100) {
        // Stations talk, each mostly behind its own VTEP.
        0..50 => {
            let home = random.below(STATIONS);
            let vtep = if random.one_in(20) { number } else { home as usize % VTEPS };
            let to = any_mac(random);
            let mut octets = frame(to, station(home));
            if random.one_in(50) {
                octets.truncate(random.below(20) as usize);
            }
            let delivered = world.send(vtep, &octets);
            assert!(
                delivered.iter().all(|there| *there != vtep || !to.is_group()) || delivered.contains(&vtep)
            );
        }
        50..65 => {
            let octets = hostile(random);
            world.inject(number, any_addr(random), &octets);
        }
        65..75 => world.pass(Duration::from_millis(random.below(4000))),
        75 => world.pass(Duration::from_secs(random.below(400))),
        76..78 => world.vteps[number].is_up ^= true,
        _ => control(world, number, random),
    }
}

/// One thing that an operator can ask of one VTEP.
fn control(world: &mut World, number: usize, random: &mut Random) {
    let now = world.now;
    let vtep = &mut world.vteps[number];
    let (mac, remote, state) = (any_mac(random), any_remote(random), random.pick(EntryState::ALL));
    let (segment, reference) = (&mut vtep.segment, &mut vtep.reference);
    match random.below(22) {
        0..4 => {
            assert_eq!(segment.fdb_add(mac, remote, state, now), reference.fdb_add(mac, remote, state, now))
        }
        4..7 => assert_eq!(
            segment.fdb_append(mac, remote, state, now),
            reference.fdb_append(mac, remote, state, now)
        ),
        7..10 => {
            assert_eq!(
                segment.fdb_replace(mac, remote, state, now),
                reference.fdb_replace(mac, remote, state, now)
            );
        }
        10..13 => {
            let remote = random.one_in(2).then_some(remote);
            assert_eq!(segment.fdb_del(mac, remote), reference.fdb_del(mac, remote));
        }
        13..17 => {
            let added = segment.peer_add(remote, now).map(drop);
            assert_eq!(added, reference.fdb_append(MacAddr::ZERO, remote, EntryState::Permanent, now));
        }
        17 => assert_eq!(segment.peer_del(remote.addr), reference.peer_del(remote.addr)),
        18 => {
            let filter = FlushFilter {
                mac: random.one_in(3).then_some(mac),
                dst: random.one_in(3).then_some(remote.addr),
                port: random.one_in(5).then_some(4789),
                vni: random.one_in(5).then_some(Vni::new(10)).flatten(),
                states: random.pick(&[EntryStates::only(state), EntryStates::ALL.without(state)]),
            };
            assert_eq!(segment.fdb_flush(&filter), reference.fdb_flush(&filter), "{filter:?}");
        }
        19 => {
            reference.learning ^= true;
            segment.set_learning(reference.learning);
        }
        20 => {
            reference.accept_from = if random.one_in(2) { Vec::new() } else { vec![vtep_block()] };
            segment.set_accept_from(reference.accept_from.clone());
        }
        _ => {
            reference.ageing_s = random.pick(&[0, 5, 30, 300]);
            segment.set_ageing(Duration::from_secs(reference.ageing_s));
        }
    }
}

fn vtep_block() -> vxgate_core::Prefix {
    vxgate_core::Prefix::new([10, 0, 0, 0].into(), 24).expect("a length below 33")
}

#[test]
fn four_vteps_agree_with_four_naive_bridges_on_everything_after_every_step() {
    agree(1, SEEDS);
}

#[test]
fn however_many_workers_carry_the_frames_the_bridge_is_the_same() {
    agree(3, SEEDS);
}

fn agree(workers: usize, seeds: std::ops::Range<u64>) {
    let mut totals = [0_u64; 8];
    for seed in seeds {
        let mut random = Random::new(seed);
        let mut world = World::new(VTEPS, workers, config);
        for vtep in 0..VTEPS {
            for peer in (0..VTEPS).filter(|peer| *peer != vtep) {
                let vtep = &mut world.vteps[vtep];
                let remote = Remote::new(vtep_addr(peer));
                vtep.segment.peer_add(remote, world.now).expect("a new peer");
                vtep.reference
                    .fdb_append(MacAddr::ZERO, remote, EntryState::Permanent, world.now)
                    .expect("as above");
            }
        }
        for number in 0..STEPS {
            let run = catch_unwind(AssertUnwindSafe(|| {
                step(&mut world, &mut random);
                world.check();
            }));
            // What disagreed is told above this.
            assert!(run.is_ok(), "{workers} workers, seed {seed}, step {number}, {:?}", world.now);
        }
        for vtep in &world.vteps {
            let counts = vtep.segment.all_counters().snapshot();
            let (learned, moved, aged) = (counts.learned, counts.moved, counts.aged);
            let (refused_macs, refused_peers) = (counts.refused_macs, counts.refused_peers);
            let drops = counts.underlay_drops.iter().filter(|count| **count > 0).count() as u64;
            let seen = [learned, moved, aged, refused_macs, refused_peers, drops, counts.floods, world.lost];
            totals.iter_mut().zip(seen).for_each(|(total, seen)| *total += seen);
        }
    }
    // A simulation in which something never happens says nothing about it.
    assert!(totals.iter().all(|total| *total > 100), "{totals:?}");
}

/// Three VTEPs, two stations each, everybody says something once a minute:
///
/// ```text
///   0 1           2 3           4 5
///   VTEP 0 ------ VTEP 1 ------ VTEP 2     full mesh of peers, ageing 300 s
///                               down from minute 10 to minute 20
/// ```
#[test]
fn an_outage_and_an_hour_of_ageing_end_as_they_began() {
    const STATIONS: u64 = 6;
    let config = |number| SegmentConfig { own_mac: station(100 + number as u64), ..SegmentConfig::default() };
    let mut world = World::new(3, 1, config);
    for vtep in 0..3 {
        for peer in (0..3).filter(|peer| *peer != vtep) {
            let (vtep, remote) = (&mut world.vteps[vtep], Remote::new(vtep_addr(peer)));
            vtep.segment.peer_add(remote, world.now).expect("a new peer");
            vtep.reference
                .fdb_append(MacAddr::ZERO, remote, EntryState::Permanent, world.now)
                .expect("as above");
        }
    }
    let known = |world: &World, vtep: usize| world.vteps[vtep].segment.entries() - 1;
    for minute in 0..60 {
        world.vteps[2].is_up = !(10..20).contains(&minute);
        for from in 0..STATIONS {
            for to in (0..STATIONS).filter(|to| to / 2 != from / 2) {
                let delivered = world.send(from as usize / 2, &frame(station(to), station(from)));
                let reaches = world.vteps[2].is_up || (from / 2 != 2 && to / 2 != 2);
                assert_eq!(
                    delivered.contains(&(to as usize / 2)),
                    reaches,
                    "minute {minute}, {from} to {to}"
                );
            }
            world.check();
        }
        match minute {
            0..10 | 20..60 => assert!((0..3).all(|vtep| known(&world, vtep) == 4), "minute {minute}"),
            // Last heard of in minute 9; past in minute 15, at the tick of 14:59 that begins it.
            10..14 => assert_eq!(known(&world, 0), 4, "minute {minute}"),
            _ => assert_eq!((known(&world, 0), known(&world, 2)), (2, 0), "minute {minute}"),
        }
        world.pass(Duration::from_secs(60));
        world.check();
    }
    // Nobody talks any more: all that was learned goes, and the peers stay.
    world.pass(Duration::from_secs(301));
    world.check();
    let mut sums = [0; 4];
    for vtep in &world.vteps {
        assert_eq!(vtep.segment.entries(), 1);
        let counts = vtep.segment.counters().snapshot();
        assert_eq!(counts.learned, counts.aged);
        assert_eq!(
            (counts.moved, counts.refused_macs, counts.refused_peers, counts.events_lost),
            (0, 0, 0, 0)
        );
        assert_eq!(counts.overlay_drops.iter().chain(&counts.underlay_drops).sum::<u64>(), 0);
        let all = [counts.sent.frames, counts.delivered.frames, counts.floods, counts.learned];
        sums.iter_mut().zip(all).for_each(|(sum, count)| *sum += count);
    }
    let [sent, delivered, _, learned] = sums;
    assert_eq!(sent, delivered + world.lost);
    // Four each at first; after the outage the two of VTEP 2 anew at VTEPs 0 and 1, and all four at VTEP 2.
    assert_eq!(learned, 12 + 2 + 2 + 4);
}
