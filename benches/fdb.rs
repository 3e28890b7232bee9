//! The forwarding database alone: what one look-up and one change cost, by the number of entries.
//!
//! `cargo bench -p vxgate-tests --bench fdb`; `-- --quick` for a first idea. Addresses are asked for in random order, so that at a million
//! entries what is measured is the memory's answer.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vxgate_codec::MacAddr;
use vxgate_core::fdb::{Fdb, FdbReader, Kind};
use vxgate_core::{PeerId, Remote, Segment, SegmentConfig, Timestamp};

const SIZES: [u64; 4] = [1, 1_000, 64_000, 1_000_000];
const KEY: u64 = 0x0123_4567_89ab_cdef;
/// Look-ups in one measured step.
const STEP: usize = 1024;

fn station(number: u64) -> MacAddr {
    MacAddr::from_bits(0x0200_0000_0000 + number)
}

/// A remote's number, which only a segment gives.
fn peer() -> PeerId {
    let mut segment = Segment::new(SegmentConfig { max_macs: 1, max_peers: 1, ..SegmentConfig::default() });
    let remote = Remote::new([192, 0, 2, 1].into());
    segment.peer_add(remote, Timestamp::ZERO).expect("the first peer")
}

fn filled(entries: u64) -> Fdb {
    let mut fdb = Fdb::new(entries as usize, KEY);
    for number in 0..entries {
        fdb.insert(station(number), peer_of(number), Kind::LEARNED, 0).expect("room for it");
    }
    fdb
}

fn peer_of(_: u64) -> PeerId {
    thread_local!(static PEER: PeerId = peer());
    PEER.with(|peer| *peer)
}

/// The same numbers each run, below `bound`.
fn random_numbers(bound: u64) -> impl Iterator<Item = u64> {
    let mut state = KEY;
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state % bound)
    })
}

fn look_up_all(reader: &FdbReader, macs: &[MacAddr]) -> usize {
    macs.iter().filter(|mac| reader.lookup(black_box(**mac)).is_some()).count()
}

fn look_ups(c: &mut Criterion) {
    for (name, offset) in [("fdb/hit", 0), ("fdb/miss", 1 << 32)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(STEP as u64));
        for entries in SIZES {
            let reader = filled(entries).reader();
            // Enough of them that the processor cannot learn the order of the branches, nor keep what they touch.
            let macs: Vec<_> =
                random_numbers(entries).take(1 << 20).map(|number| station(offset + number)).collect();
            let mut steps = macs.chunks(STEP).cycle();
            let found = if offset == 0 { STEP } else { 0 };
            group.bench_function(BenchmarkId::from_parameter(entries), |b| {
                b.iter(|| assert_eq!(look_up_all(&reader, steps.next().expect("an endless cycle")), found));
            });
        }
        group.finish();
    }
}

/// A frame from a known station: found, and the second noted when it is a new one.
fn refresh(c: &mut Criterion) {
    let mut group = c.benchmark_group("fdb/refresh");
    group.throughput(Throughput::Elements(STEP as u64));
    for entries in SIZES {
        let mut fdb = filled(entries);
        let macs: Vec<_> = random_numbers(entries).take(1 << 20).map(station).collect();
        let mut steps = macs.chunks(STEP).cycle();
        let mut now_s = 0;
        group.bench_function(BenchmarkId::from_parameter(entries), |b| {
            b.iter(|| {
                now_s += 1;
                let macs = steps.next().expect("an endless cycle");
                let found = macs.iter().filter(|mac| fdb.refresh(black_box(**mac), now_s).is_some()).count();
                assert_eq!(found, STEP);
            });
        });
    }
    group.finish();
}

/// The last tenth of the entries, or the one, into a table that has the others.
fn learn(c: &mut Criterion) {
    let mut group = c.benchmark_group("fdb/learn");
    group.sample_size(10);
    for entries in SIZES {
        let part = (entries / 10).max(1);
        let macs: Vec<_> = (entries - part..entries).map(station).collect();
        group.throughput(Throughput::Elements(part));
        let nearly_full = || {
            let mut fdb = Fdb::new(entries as usize, KEY);
            for number in 0..entries - part {
                fdb.insert(station(number), peer_of(number), Kind::LEARNED, 0).expect("room for it");
            }
            fdb
        };
        group.bench_function(BenchmarkId::from_parameter(entries), |b| {
            b.iter_batched(
                nearly_full,
                |mut fdb| {
                    for mac in &macs {
                        fdb.insert(black_box(*mac), peer_of(0), Kind::LEARNED, 1).expect("room for it");
                    }
                    fdb
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// An address that a full table refuses.
fn full(c: &mut Criterion) {
    let mut group = c.benchmark_group("fdb/full");
    group.throughput(Throughput::Elements(STEP as u64));
    for entries in SIZES {
        let mut fdb = filled(entries);
        let macs: Vec<_> =
            random_numbers(1 << 40).take(1 << 20).map(|number| station(1 << 32 | number)).collect();
        let mut steps = macs.chunks(STEP).cycle();
        group.bench_function(BenchmarkId::from_parameter(entries), |b| {
            b.iter(|| {
                for mac in steps.next().expect("an endless cycle") {
                    let unknown = fdb.refresh(black_box(*mac), 1).is_none();
                    assert!(unknown && fdb.insert(*mac, peer_of(0), Kind::LEARNED, 1).is_err());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, look_ups, refresh, learn, full);
criterion_main!(benches);
