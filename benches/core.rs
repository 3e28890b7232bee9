//! One verdict of the core: what it costs to be told where a frame goes.
//!
//! `cargo bench -p vxgate-tests --bench core`; `-- --quick` for a first idea. Frames are of 60 octets, between 1000 stations behind each of two
//! peers.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vxgate_codec::MacAddr;
use vxgate_core::{
    DropReason, OverlayHalf, OverlayVerdict, Remote, Segment, SegmentConfig, Timestamp, UnderlayVerdict,
};

const PEERS: [[u8; 4]; 2] = [[192, 0, 2, 1], [192, 0, 2, 2]];
const STATIONS: u64 = 1000;
const OWN: MacAddr = MacAddr::new([2, 0, 0xff, 0, 0, 0]);

fn station(number: u64) -> MacAddr {
    MacAddr::from_bits(0x0200_0000_0000 + number)
}

fn frame(to: MacAddr, from: MacAddr) -> Vec<u8> {
    [&to.octets()[..], &from.octets(), &[8, 0], &[0; 46]].concat()
}

fn datagram(vni: u8, from: MacAddr) -> Vec<u8> {
    [&[8, 0, 0, 0, 0, 0, vni, 0][..], &frame(OWN, from)].concat()
}

/// A segment of two peers that has heard from all stations, odd ones behind the one, even ones behind the other.
fn segment(max_macs: usize) -> Segment {
    let config = SegmentConfig { own_mac: OWN, hash_key: 7, max_macs, ..SegmentConfig::default() };
    let mut segment = Segment::new(config);
    for peer in PEERS {
        segment.peer_add(Remote::new(peer.into()), Timestamp::ZERO).expect("a new peer");
    }
    for number in 0..STATIONS {
        let source = PEERS[(number % 2) as usize].into();
        segment.handle_underlay(source, &datagram(10, station(number)), Timestamp::ZERO);
    }
    segment
}

/// Asks about the frames one after the other, for ever, and holds every verdict against `right`.
fn overlay(
    c: &mut Criterion,
    name: &str,
    half: &OverlayHalf,
    frames: &[Vec<u8>],
    right: fn(OverlayVerdict<'_>) -> bool,
) {
    let mut group = c.benchmark_group("core/overlay");
    group.throughput(Throughput::Elements(frames.len() as u64));
    group.bench_function(name, |b| {
        b.iter(|| {
            for frame in frames {
                assert!(right(half.handle_overlay(black_box(frame))));
            }
        });
    });
    group.finish();
}

fn overlay_verdicts(c: &mut Criterion) {
    let segment = segment(16384);
    let half = segment.overlay_half();
    let shuffled = |number| station(number * 7919 % STATIONS);
    let known: Vec<_> = (0..STATIONS).map(|number| frame(shuffled(number), OWN)).collect();
    let unknown: Vec<_> = (0..STATIONS).map(|number| frame(station(STATIONS + number), OWN)).collect();
    let broadcast = vec![frame(MacAddr::BROADCAST, OWN)];
    let runt = vec![vec![0; 13]];
    overlay(c, "unicast", &half, &known, |verdict| matches!(verdict, OverlayVerdict::Unicast(..)));
    overlay(c, "unknown unicast", &half, &unknown, |verdict| {
        matches!(verdict, OverlayVerdict::Flood([_, _]))
    });
    overlay(c, "broadcast", &half, &broadcast, |verdict| matches!(verdict, OverlayVerdict::Flood([_, _])));
    overlay(c, "runt", &half, &runt, |verdict| verdict == OverlayVerdict::Drop(DropReason::Runt));
}

/// As [`overlay`], for datagrams; a new second begins every 1000 of them.
fn underlay(
    c: &mut Criterion,
    name: &str,
    segment: &mut Segment,
    datagrams: &[(IpAddr, Vec<u8>)],
    right: fn(UnderlayVerdict) -> bool,
) {
    let mut group = c.benchmark_group("core/underlay");
    group.throughput(Throughput::Elements(datagrams.len() as u64));
    let mut now_ns = 0;
    group.bench_function(name, |b| {
        b.iter(|| {
            for (source, payload) in datagrams {
                now_ns += 1_000_000;
                let now = Timestamp::from_nanos(now_ns);
                assert!(right(segment.handle_underlay(black_box(*source), black_box(payload), now)));
            }
        });
    });
    group.finish();
}

fn underlay_verdicts(c: &mut Criterion) {
    let mut segment = segment(1 + STATIONS as usize);
    let shuffled = |number| number * 7919 % STATIONS;
    let from = |number: u64| IpAddr::from(PEERS[(number % 2) as usize]);
    let known: Vec<_> =
        (0..STATIONS).map(shuffled).map(|number| (from(number), datagram(10, station(number)))).collect();
    let unknown: Vec<_> =
        (STATIONS..2 * STATIONS).map(|number| (from(number), datagram(10, station(number)))).collect();
    let strangers: Vec<_> = (0..STATIONS)
        .map(|number| ([198, 51, 100, number as u8].into(), datagram(10, station(number))))
        .collect();
    let wrong_vni = vec![(from(0), datagram(11, station(0)))];
    let moving: Vec<_> =
        (0..STATIONS).map(|number| (from(number / 10), datagram(10, station(number % 10)))).collect();

    let delivered: fn(UnderlayVerdict) -> bool = |verdict| matches!(verdict, UnderlayVerdict::Deliver { .. });
    underlay(c, "known", &mut segment, &known, delivered);
    underlay(c, "full table", &mut segment, &unknown, delivered);
    underlay(c, "stranger", &mut segment, &strangers, |verdict| {
        verdict == UnderlayVerdict::Drop(DropReason::Stranger)
    });
    underlay(c, "wrong vni", &mut segment, &wrong_vni, |verdict| {
        verdict == UnderlayVerdict::Drop(DropReason::WrongVni)
    });
    underlay(c, "moving", &mut segment, &moving, delivered);
}

/// New stations: each round learns 1000 and forgets them again, of which learning is about two thirds.
fn learn(c: &mut Criterion) {
    let mut segment = segment(16384);
    let new: Vec<_> = (0..STATIONS).map(|number| datagram(10, station(1 << 20 | number))).collect();
    let mut group = c.benchmark_group("core/underlay");
    group.throughput(Throughput::Elements(STATIONS));
    group.bench_function("learn and forget", |b| {
        b.iter(|| {
            for payload in &new {
                segment.handle_underlay(PEERS[0].into(), black_box(payload), Timestamp::ZERO);
            }
            for number in 0..STATIONS {
                segment.fdb_del(station(1 << 20 | number), None).expect("what was learned");
            }
        });
    });
    group.finish();
}

criterion_group!(benches, overlay_verdicts, underlay_verdicts, learn);
criterion_main!(benches);
