//! A frame's whole way in memory: port, egress, underlay, and at the other VTEP underlay, ingress, port.
//!
//! `cargo bench -p vxgate-tests --bench end_to_end`. One thread does all of it; the copies into and out of the four
//! pipes are part of the figure, system calls are none.
//!
//! ```text
//!   here ──► MemoryPort ── Egress ── MemoryUnderlay ──► (copied) ──► MemoryUnderlay ── Ingress ── MemoryPort ──► there
//! ```

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vxgate_codec::MacAddr;
use vxgate_core::{EntryState, Remote, Segment, SegmentConfig, Timestamp};
use vxgate_forwarder::{Device, Egress, Ingress, MemoryPort, MemoryUnderlay, OuterPolicy, Port, Underlay};

/// Frames that wait at each hop: as many as a worker takes at once.
const BATCH: usize = 64;
const HERE: (IpAddr, MacAddr) = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), MacAddr::new([2, 0, 0, 0, 0, 1]));
const THERE: (IpAddr, MacAddr) = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), MacAddr::new([2, 0, 0, 0, 0, 2]));

/// The segment of one VTEP, which knows where the other's station is.
fn segment(own: (IpAddr, MacAddr), other: (IpAddr, MacAddr)) -> Segment {
    let now = Timestamp::default();
    let config = SegmentConfig { own_mac: own.1, hash_key: 0x5eed, ..SegmentConfig::default() };
    let mut segment = Segment::new(config);
    segment.peer_add(Remote::new(other.0), now).expect("an empty table takes a peer");
    segment
        .fdb_add(other.1, Remote::new(other.0), EntryState::Dynamic, now)
        .expect("an empty table takes an entry");
    segment
}

fn frame(octets: usize) -> Vec<u8> {
    let mut frame = [&THERE.1.octets()[..], &HERE.1.octets(), &[0x88, 0xb5]].concat();
    frame.resize(octets, 0x5a);
    frame
}

fn end_to_end(criterion: &mut Criterion) {
    let device = |mac| Device { mac, mtu_octets: 1450 };
    let (near_port, here) = MemoryPort::new(device(HERE.1), BATCH).expect("descriptors");
    let (near_underlay, near_network) = MemoryUnderlay::new(BATCH).expect("descriptors");
    let (far_port, there) = MemoryPort::new(device(THERE.1), BATCH).expect("descriptors");
    let (far_underlay, far_network) = MemoryUnderlay::new(BATCH).expect("descriptors");

    let mut near = segment(HERE, THERE);
    let mut half = near.overlay_half();
    half.set_flood(near.poll_flood().unwrap_or_default());
    let policy = OuterPolicy::default();
    let mut egress = Egress::new(near_port.split().0, near_underlay.split().1, half, near.counters(), policy);
    let far = segment(THERE, HERE);
    let far_counters = far.counters();
    let mut ingress = Ingress::new(far_underlay.split().0, far_port.split().1, far).expect("a device");

    let mut group = criterion.benchmark_group("end to end");
    group.throughput(Throughput::Elements(BATCH as u64));
    for octets in [60, 1464] {
        let frame = frame(octets);
        group.bench_function(BenchmarkId::new("memory", octets), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    assert!(here.send(black_box(&frame)), "room for a batch");
                }
                while egress.turn().expect("memory does not fail") > 0 {}
                for _ in 0..BATCH {
                    let (_, datagram) = near_network.recv().expect("one datagram for each frame");
                    assert!(far_network.send(HERE.0, &datagram), "room for a batch");
                }
                while ingress.turn(Timestamp::default()).expect("memory does not fail") > 0 {}
                for _ in 0..BATCH {
                    black_box(there.recv().expect("one frame for each datagram"));
                }
            });
        });
    }
    group.finish();
    let (sent, delivered) = (near.counters().snapshot().sent, far_counters.snapshot().delivered);
    assert_eq!((sent.frames, sent.octets), (delivered.frames, delivered.octets), "as much came as went");
}

criterion_group!(benches, end_to_end);
criterion_main!(benches);
