//! What the codec costs per frame. `cargo bench -p vxgate-tests --bench codec`; a header's encap and its decap are to stay under 10 ns.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use vxgate_codec::ethernet::{self, Header};
use vxgate_codec::flow::{SOURCE_PORTS, flow_hash, source_port};
use vxgate_codec::layers::Layers;
use vxgate_codec::{MacAddr, ReservedBits, Vni, ecn, vxlan};

const KEY: u64 = 0x0123_4567_89ab_cdef;

/// UDP frames: IPv4, IPv6, and IPv4 behind one and two VLAN tags.
fn frames() -> [(&'static str, Vec<u8>); 4] {
    let ethernet = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let vid = |vid| etherparse::VlanId::try_new(vid).expect("12 bits");
    let (from, to) = ([192, 0, 2, 1], [198, 51, 100, 2]);
    let builders = [
        ("ipv4", ethernet().ipv4(from, to, 64)),
        ("ipv6", ethernet().ipv6([0x20; 16], [0x21; 16], 64)),
        ("vlan", ethernet().single_vlan(vid(100)).ipv4(from, to, 64)),
        ("qinq", ethernet().double_vlan(vid(7), vid(100)).ipv4(from, to, 64)),
    ];
    builders.map(|(name, builder)| {
        let mut frame = vec![];
        builder.udp(40000, 443).write(&mut frame, &[0x5a; 1000]).expect("a vector takes all octets");
        (name, frame)
    })
}

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let [(_, frame), ..] = frames();
    let vni = Vni::new(10).expect("24 bits");
    let mut datagram = [&[0; vxlan::HEADER_OCTETS], &frame[..]].concat();
    group.bench_function("encap", |bencher| {
        let headroom = datagram.first_chunk_mut().expect("8 octets");
        bencher.iter(|| vxlan::encap(black_box(vni), black_box(&mut *headroom)));
    });
    for policy in ReservedBits::ALL {
        group.bench_function(format!("decap/{policy}"), |bencher| {
            bencher.iter(|| vxlan::decap(black_box(&datagram), black_box(*policy)));
        });
    }
    group.bench_function("macs", |bencher| {
        bencher.iter(|| {
            let frame = black_box(&frame[..]);
            let bits = |mac: Option<MacAddr>| mac.map_or(0, MacAddr::to_bits);
            bits(ethernet::destination(frame)) ^ bits(ethernet::source(frame))
        });
    });
    group.bench_function("source_port", |bencher| {
        bencher.iter(|| source_port(black_box(0x1234_5678), black_box(SOURCE_PORTS)));
    });
}

fn inner(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for (name, frame) in frames() {
        group.bench_function(format!("ethernet/{name}"), |bencher| {
            bencher.iter(|| Header::parse(black_box(&frame)).map(|header| header.payload_offset()));
        });
        group.bench_function(format!("layers/{name}"), |bencher| {
            bencher
                .iter(|| Layers::parse(black_box(&frame)).map(|layers| layers.ip.map(|ip| ip.end - ip.l4)));
        });
        group.bench_function(format!("flow_hash/{name}"), |bencher| {
            bencher.iter(|| flow_hash(black_box(&frame), black_box(KEY)));
        });
        group.bench_function(format!("tos/{name}"), |bencher| {
            bencher.iter(|| ecn::tos(black_box(&frame)));
        });
        let mut frame = frame;
        for (outer, tos) in [("not-ect", 0b00), ("ect0", 0b10)] {
            group.bench_function(format!("ecn_decap_{outer}/{name}"), |bencher| {
                bencher.iter(|| ecn::decap_frame(black_box(tos), black_box(&mut frame)));
            });
        }
    }
}

criterion_group!(benches, headers, inner);
criterion_main!(benches);
