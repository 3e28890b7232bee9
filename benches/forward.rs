//! Memory to memory forwarding on one core, each direction: what the data path costs without system calls.
//!
//! `bare` lends frames from a fixed buffer and copies what comes out into another: the worker's own cost. `pipes` is the
//! in-memory port and underlay as an embedder uses them, the filling and emptying of the pipes included.

use std::hint::black_box;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vxgate_codec::{MacAddr, vxlan};
use vxgate_core::{DropReason, EntryState, Remote, Segment, SegmentConfig, Timestamp};
use vxgate_forwarder::port::HEADROOM_OCTETS;
use vxgate_forwarder::{
    Datagram, Device, Egress, Frame, Ingress, MemoryPort, MemoryUnderlay, Outer, OuterPolicy, Port, PortRx,
    PortTx, Tally, Target, Underlay, UnderlayRx, UnderlayTx,
};
use vxgate_offload::Work;
use vxgate_sys::eventfd::EventFd;

const BATCH: usize = 64;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(100, 64, 158, 4));
const HERE: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
const THERE: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);

fn device() -> Device {
    Device { mac: HERE, mtu_octets: 1450 }
}

/// An IPv4 UDP frame of this length between the two stations.
fn frame(octets: usize, destination: MacAddr, source: MacAddr) -> Vec<u8> {
    let mut frame = vec![0; octets];
    frame[..6].copy_from_slice(&destination.octets());
    frame[6..12].copy_from_slice(&source.octets());
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let total = (octets - 14) as u16;
    frame[14..16].copy_from_slice(&[0x45, 0]);
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame[34..38].copy_from_slice(&[0x0f, 0xa0, 0x13, 0x88]);
    frame[38..40].copy_from_slice(&(total - 20).to_be_bytes());
    frame
}

fn segment() -> Segment {
    let now = Timestamp::default();
    let mut segment =
        Segment::new(SegmentConfig { own_mac: HERE, hash_key: 0x5eed, ..SegmentConfig::default() });
    segment.peer_add(Remote::new(PEER), now).expect("an empty table takes a peer");
    segment
        .fdb_add(THERE, Remote::new(PEER), EntryState::Dynamic, now)
        .expect("an empty table takes an entry");
    segment
}

/// Lends the same batch for ever.
struct Source {
    buffers: Vec<Vec<u8>>,
    octets: usize,
    event: EventFd,
}

impl Source {
    fn new(payload: &[u8]) -> Self {
        let mut buffer = vec![0; HEADROOM_OCTETS];
        buffer.extend_from_slice(payload);
        Self {
            buffers: vec![buffer; BATCH],
            octets: payload.len(),
            event: EventFd::new().expect("an eventfd"),
        }
    }
}

impl PortRx for Source {
    fn recv(&mut self) -> io::Result<usize> {
        Ok(BATCH)
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        let range = HEADROOM_OCTETS..HEADROOM_OCTETS + self.octets;
        Frame { buffer: &mut self.buffers[index], range, work: Work::Done }
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl UnderlayRx for Source {
    fn recv(&mut self) -> io::Result<usize> {
        Ok(BATCH)
    }

    fn datagram(&mut self, index: usize) -> Datagram<'_> {
        let payload = HEADROOM_OCTETS..HEADROOM_OCTETS + self.octets;
        Datagram {
            source: PEER,
            tos: Some(0),
            buffer: &mut self.buffers[index],
            payload,
            truncated: false,
            segment_octets: None,
        }
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Copies what comes, header and all, into a buffer of a megabyte that it fills again and again.
struct Sink {
    memory: Vec<u8>,
}

impl Sink {
    fn new() -> Self {
        Self { memory: Vec::with_capacity(1 << 20) }
    }

    fn take(&mut self, parts: [&[u8]; 2]) {
        if self.memory.len() + parts[0].len() + parts[1].len() > self.memory.capacity() {
            self.memory.clear();
        }
        self.memory.extend_from_slice(parts[0]);
        self.memory.extend_from_slice(parts[1]);
    }
}

impl UnderlayTx for Sink {
    fn push(&mut self, frame: &[u8], _work: Work, outer: &Outer, targets: &[Target], tally: &mut dyn Tally) {
        black_box(outer);
        for target in targets {
            let mut header = [0; vxlan::HEADER_OCTETS];
            vxlan::encap(target.vni, &mut header);
            self.take([&header, frame]);
            tally.sent(target.peer, 1, frame.len() as u64);
        }
    }

    fn flush(&mut self, _tally: &mut dyn Tally) -> io::Result<()> {
        black_box(self.memory.last());
        Ok(())
    }
}

impl PortTx for Sink {
    fn push(&mut self, frame: Frame<'_>) -> Result<(), DropReason> {
        self.take([&frame.work.to_virtio().to_bytes(), frame.octets()]);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<usize> {
        black_box(self.memory.last());
        Ok(0)
    }

    fn device(&self) -> io::Result<Device> {
        Ok(device())
    }
}

fn datagram(inner: &[u8]) -> Vec<u8> {
    let mut header = [0; vxlan::HEADER_OCTETS];
    vxlan::encap(SegmentConfig::default().vni, &mut header);
    [&header, inner].concat()
}

fn bare(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward/bare");
    group.throughput(Throughput::Elements(BATCH as u64));
    for octets in [60, 1464] {
        let mut segment = segment();
        let mut half = segment.overlay_half();
        half.set_flood(segment.poll_flood().unwrap_or_default());
        let source = Source::new(&frame(octets, THERE, HERE));
        let mut egress = Egress::new(source, Sink::new(), half, segment.counters(), OuterPolicy::default());
        group.bench_function(BenchmarkId::new("egress", octets), |bencher| {
            bencher.iter(|| egress.turn().expect("memory does not fail"));
        });
        let sent = segment.counters().snapshot();
        assert_eq!(sent.overlay_in.frames, sent.sent.frames, "each frame is to leave once");

        let source = Source::new(&datagram(&frame(octets, HERE, THERE)));
        let counters = segment.counters();
        let mut ingress = Ingress::new(source, Sink::new(), segment).expect("a device");
        group.bench_function(BenchmarkId::new("ingress", octets), |bencher| {
            bencher.iter(|| ingress.turn(Timestamp::default()).expect("memory does not fail"));
        });
        let counts = counters.snapshot();
        assert_eq!(counts.underlay_in.frames, counts.delivered.frames, "each datagram is to be delivered");
    }
    group.finish();
}

fn pipes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward/pipes");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut segment = segment();
    let mut half = segment.overlay_half();
    half.set_flood(segment.poll_flood().unwrap_or_default());
    let (port, overlay) = MemoryPort::new(device(), BATCH * 2).expect("descriptors");
    let (underlay, network) = MemoryUnderlay::new(BATCH * 2).expect("descriptors");
    let (port_rx, port_tx) = port.split();
    let (underlay_rx, underlay_tx) = underlay.split();
    let mut egress = Egress::new(port_rx, underlay_tx, half, segment.counters(), OuterPolicy::default());
    let mut ingress = Ingress::new(underlay_rx, port_tx, segment).expect("a device");

    let out = frame(60, THERE, HERE);
    group.bench_function("egress/60", |bencher| {
        bencher.iter(|| {
            for _ in 0..BATCH {
                assert!(overlay.send(&out), "room for a batch");
            }
            while egress.turn().expect("memory does not fail") > 0 {}
            for _ in 0..BATCH {
                black_box(network.recv().expect("as many come out as went in"));
            }
        });
    });
    let back = datagram(&frame(60, HERE, THERE));
    group.bench_function("ingress/60", |bencher| {
        bencher.iter(|| {
            for _ in 0..BATCH {
                assert!(network.send(PEER, &back), "room for a batch");
            }
            while ingress.turn(Timestamp::default()).expect("memory does not fail") > 0 {}
            for _ in 0..BATCH {
                black_box(overlay.recv().expect("as many come out as went in"));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, bare, pipes);
criterion_main!(benches);
