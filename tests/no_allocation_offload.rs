//! Cutting and joining allocate nothing once the coalescer is made.

use etherparse::PacketBuilder;
use vxgate_offload::{Coalescer, Joins, Offer, Superframe};
use vxgate_sys::counting_allocator::{CountingAllocator, allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Frames of this flow and length, each with the next sequence number.
fn frames(flow: u8, tcp: bool, payload_octets: usize, count: u32) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for index in 0..count {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4(
            [10, 0, 0, flow],
            [10, 0, 0, 200],
            64,
        );
        let (payload, mut frame) = (vec![flow; payload_octets], Vec::new());
        let written = if tcp {
            let sequence = index * payload_octets as u32;
            builder.tcp(4000, 5000, sequence, 512).ack(77).write(&mut frame, &payload)
        } else {
            builder.udp(4000, 5000).write(&mut frame, &payload)
        };
        written.expect("a vector takes all octets");
        frames.push(frame);
    }
    frames
}

#[test]
fn joining_frames_and_cutting_them_again_allocates_nothing() {
    // More flows than there are runs, and more frames than fit one superframe.
    let mut offered: Vec<Vec<u8>> = (0..20).flat_map(|flow| frames(flow, flow % 2 == 0, 1000, 5)).collect();
    offered.extend(frames(30, true, 1400, 100));
    offered.extend(frames(31, false, 18, 100));
    offered.push(vec![0; 60]);
    let mut coalescer = Coalescer::new(Joins::ALL, 16);
    let mut scratch = vec![0; 70_000];
    let mut came_out = 0;
    let before = allocations();
    let mut cut = |superframe: &Superframe<'_>| {
        superframe.work.finish_copy(superframe.octets(), &mut scratch, |_| came_out += 1);
    };
    let mut passed = 0;
    for frame in &offered {
        if coalescer.push(frame, &mut |superframe| cut(&superframe)) == Offer::Pass {
            passed += 1;
        }
        coalescer.give_way(&offered[0], &mut |superframe| cut(&superframe));
    }
    coalescer.flush(&mut |superframe| cut(&superframe));
    assert_eq!(allocations() - before, 0);
    assert_eq!(came_out + passed, offered.len());
}
