//! What superframes cost. `cargo bench -p vxgate-tests --bench offload`; 64 KiB are to be summed in less than 1 us and summed with
//! their copy in less than 2, a small datagram to be joined in less than 25 ns.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use vxgate_checksum::{Backend, add, add_with, copy_add, copy_add_with};
use vxgate_offload::{ChecksumAt, Coalescer, Joins, Offer, Superframe, Work};

fn checksum(criterion: &mut Criterion) {
    let data = vec![0x5a; 65_536];
    let mut copy = vec![0; 65_536];
    let mut group = criterion.benchmark_group("checksum");
    for octets in [20, 60, 128, 512, 1448, 9000, 65_536] {
        group.throughput(Throughput::Bytes(octets as u64));
        let (data, copy) = (&data[..octets], &mut copy[..octets]);
        group.bench_function(BenchmarkId::new("add", octets), |bencher| {
            bencher.iter(|| add(0, black_box(data)));
        });
        group.bench_function(BenchmarkId::new("copy_add", octets), |bencher| {
            bencher.iter(|| copy_add(0, black_box(data), black_box(&mut *copy)));
        });
        for backend in Backend::available() {
            group.bench_function(BenchmarkId::new(format!("add {backend:?}"), octets), |bencher| {
                bencher.iter(|| add_with(backend, 0, black_box(data)));
            });
            group.bench_function(BenchmarkId::new(format!("copy_add {backend:?}"), octets), |bencher| {
                bencher.iter(|| copy_add_with(backend, 0, black_box(data), black_box(&mut *copy)));
            });
        }
        group.bench_function(BenchmarkId::new("copy alone", octets), |bencher| {
            bencher.iter(|| black_box(&mut *copy).copy_from_slice(black_box(data)));
        });
    }
}

/// `count` consecutive frames of one flow.
fn train(tcp: bool, flow: u8, payload_octets: usize, count: u32) -> Vec<Vec<u8>> {
    let mut sequence = 1;
    (0..count)
        .map(|_| {
            let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4(
                [10, 0, 0, flow],
                [10, 0, 0, 200],
                64,
            );
            let payload = vec![flow ^ 0x5a; payload_octets];
            let mut frame = Vec::new();
            let written = if tcp {
                builder.tcp(4000, 5000, sequence, 512).ack(77).write(&mut frame, &payload)
            } else {
                builder.udp(4000, 5000).write(&mut frame, &payload)
            };
            written.expect("a vector takes all octets");
            sequence += payload_octets as u32;
            frame
        })
        .collect()
}

/// A superframe of one flow, as a TAP gives it, and its work.
fn superframe(tcp: bool, payload_octets: usize, segment_octets: u16) -> (Vec<u8>, Work) {
    let mut frame = train(tcp, 1, payload_octets, 1).remove(0);
    let at = ChecksumAt { start: 34, offset: if tcp { 16 } else { 6 } };
    let header = vxgate_offload::VirtioNetHeader {
        flags: vxgate_offload::VirtioNetHeader::F_NEEDS_CSUM,
        gso_type: if tcp {
            vxgate_offload::VirtioNetHeader::GSO_TCPV4
        } else {
            vxgate_offload::VirtioNetHeader::GSO_UDP_L4
        },
        header_octets: if tcp { 54 } else { 42 },
        segment_octets,
        checksum_start: at.start,
        checksum_offset: at.offset,
    };
    frame[34 + usize::from(at.offset)..][..2].fill(0);
    let work = Work::from_virtio(header, &frame).expect("a true header");
    (frame, work)
}

/// Cutting a superframe, each segment behind the one before, as they stand in one send.
fn split(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split");
    for (name, tcp, payload_octets, segment_octets) in [
        ("tcp 45 x 1448", true, 64_000, 1448),
        ("uso 64 x 18", false, 64 * 18, 18),
        ("uso 45 x 1400", false, 63_000, 1400),
    ] {
        let (frame, work) = superframe(tcp, payload_octets, segment_octets);
        let Work::Split(split) = work else { panic!("a superframe") };
        let mut out = vec![0; 70_000];
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut at = 0;
                let cutter = split.cutter(black_box(&frame)).expect("its frame");
                for index in 0..cutter.count() {
                    at += cutter.segment(index, &mut out[at..]).expect("room");
                }
                at
            });
        });
    }
}

/// Takes turns of several trains.
fn interleaved(trains: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    (0..trains[0].len()).flat_map(|at| trains.iter().map(move |train| train[at].clone())).collect()
}

fn coalesce(criterion: &mut Criterion) {
    let flows = |count: u8, tcp, payload, frames| {
        interleaved(&(0..count).map(|flow| train(tcp, flow, payload, frames)).collect::<Vec<_>>())
    };
    let mut group = criterion.benchmark_group("coalesce");
    for (name, frames) in [
        ("tcp 44 x 1450", flows(1, true, 1396, 44)),
        ("udp 64 x 60", flows(1, false, 18, 64)),
        ("udp 44 x 1442", flows(1, false, 1400, 44)),
        ("tcp 8 flows, 64 x 1450", flows(8, true, 1396, 8)),
        ("udp 8 flows, 64 x 60", flows(8, false, 18, 8)),
        ("nothing joinable, 64 x 60", flows(64, false, 18, 1)),
        ("nothing joinable, 64 x 1450", flows(64, true, 1396, 1)),
        ("acknowledgements, 64 x 54", flows(1, true, 0, 64)),
    ] {
        let mut coalescer = Coalescer::new(Joins::ALL, 16);
        group.throughput(Throughput::Elements(frames.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut octets = 0;
                let mut emit = |superframe: Superframe<'_>| octets += superframe.range.len();
                let mut passed = 0;
                for frame in &frames {
                    if coalescer.push(black_box(frame), &mut emit) == Offer::Pass {
                        passed += 1;
                    }
                }
                coalescer.flush(&mut emit);
                (octets, passed)
            });
        });
    }
}

criterion_group!(benches, checksum, split, coalesce);
criterion_main!(benches);
