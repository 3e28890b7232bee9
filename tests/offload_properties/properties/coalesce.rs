//! What the coalescer may do to frames: nothing that cannot be undone by cutting.

use vxgate_codec::flow::flow_hash;
use vxgate_offload::{Coalescer, Joins, Offer, Superframe, VirtioNetHeader, Work};

/// What is done to a coalescer.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Offer(Vec<u8>),
    GiveWay(Vec<u8>),
    SetJoins(Joins),
    Flush,
}

/// What came out, in order.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) octets: Vec<u8>,
    pub(crate) work: Work,
    pub(crate) frames: usize,
}

const HEADROOM: usize = 16;

fn take(out: &mut Vec<Out>, superframe: &Superframe<'_>) {
    assert_eq!(superframe.range.start, HEADROOM, "the headroom asked for");
    out.push(Out { octets: superframe.octets().to_vec(), work: superframe.work, frames: superframe.frames });
}

/// Does all that is asked of a coalescer, with a flush at the end. A frame that passes, or makes others give way, comes out as itself.
pub(crate) fn run(joins: Joins, events: &[Event]) -> Vec<Out> {
    let mut coalescer = Coalescer::new(joins, HEADROOM);
    let mut out = Vec::new();
    for event in events {
        match event {
            Event::Offer(frame) => {
                if coalescer.push(frame, &mut |superframe| take(&mut out, &superframe)) == Offer::Pass {
                    out.push(Out { octets: frame.clone(), work: Work::Done, frames: 1 });
                }
            }
            Event::GiveWay(frame) => {
                coalescer.give_way(frame, &mut |superframe| take(&mut out, &superframe));
                out.push(Out { octets: frame.clone(), work: Work::Done, frames: 1 });
            }
            Event::SetJoins(joins) => coalescer.set_joins(*joins),
            Event::Flush => coalescer.flush(&mut |superframe| take(&mut out, &superframe)),
        }
    }
    coalescer.flush(&mut |superframe| take(&mut out, &superframe));
    let before = out.len();
    coalescer.flush(&mut |superframe| take(&mut out, &superframe));
    assert_eq!(out.len(), before, "a flush leaves nothing");
    out
}

/// Cuts what came out: the wire frames that it stands for.
pub(crate) fn cut(out: &[Out]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut scratch = vec![0; 70_000];
    for superframe in out {
        let before = frames.len();
        superframe.work.finish_copy(&superframe.octets, &mut scratch, |frame| frames.push(frame.to_vec()));
        assert_eq!(frames.len() - before, superframe.frames, "as many frames as it says");
    }
    frames
}

/// Each frame comes out once, in the order of its flow, as it came; what differs after the joining is undone means nothing.
pub(crate) fn check(joins: Joins, events: &[Event]) {
    let out = run(joins, events);
    for superframe in &out {
        check_superframe(superframe);
    }
    let came: Vec<&[u8]> = events
        .iter()
        .filter_map(|event| match event {
            Event::Offer(frame) | Event::GiveWay(frame) => Some(frame.as_slice()),
            Event::SetJoins(_) | Event::Flush => None,
        })
        .collect();
    let went = cut(&out);
    assert_eq!(by_flow(came.into_iter()), by_flow(went.iter().map(Vec::as_slice)));
}

/// What a kernel asks of a superframe (`__virtio_net_hdr_to_skb` of include/linux/virtio_net.h).
fn check_superframe(superframe: &Out) {
    let Work::Split(_) = superframe.work else {
        assert_eq!((superframe.work, superframe.frames), (Work::Done, 1), "one frame needs nothing");
        return;
    };
    assert!(superframe.frames > 1);
    let header = superframe.work.to_virtio();
    let payload = superframe.octets.len() - usize::from(header.header_octets);
    assert_eq!(header.flags, VirtioNetHeader::F_NEEDS_CSUM);
    assert_eq!(payload.div_ceil(usize::from(header.segment_octets)), superframe.frames);
    if header.gso_type == VirtioNetHeader::GSO_UDP_L4 {
        assert!(superframe.frames <= 64, "UDP_MAX_SEGMENTS of kernels before 6.9");
    }
    assert_eq!(
        Work::from_virtio(header, &superframe.octets),
        Ok(superframe.work),
        "the header tells the truth"
    );
}

/// The frames of each flow in their order, without what says nothing.
fn by_flow<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Vec<(u32, Vec<Vec<u8>>)> {
    let mut flows: Vec<(u32, Vec<Vec<u8>>)> = Vec::new();
    for frame in frames {
        let flow = flow_hash(frame, 1);
        let frame = without_what_says_nothing(frame);
        match flows.iter_mut().find(|(known, _)| *known == flow) {
            Some((_, frames)) => frames.push(frame),
            None => flows.push((flow, vec![frame])),
        }
    }
    flows.sort();
    flows
}

/// The identification of an IPv4 packet that must not be fragmented (RFC 6864, section 4.1) and the header checksum over it; which
/// of the two zeros of one's complement a TCP or IPv4 checksum is.
fn without_what_says_nothing(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let mut l3 = 14;
    while l3 < 22 && matches!(frame.get(l3 - 2..l3), Some([0x81, 0] | [0x88, 0xa8] | [0x91, 0])) {
        l3 += 4;
    }
    let l4 = match frame.get(l3 - 2..l3) {
        Some([0x08, 0]) if frame.len() >= l3 + 20 && frame[l3] == 0x45 => {
            let sum = super::frames::naive_sum(&frame[l3..l3 + 20]);
            if sum == 0xffff && frame[l3 + 6] & 0x40 != 0 {
                frame[l3 + 4..l3 + 6].fill(0);
                frame[l3 + 10..l3 + 12].fill(0);
            } else if frame[l3 + 10..l3 + 12] == [0xff; 2] {
                frame[l3 + 10..l3 + 12].fill(0);
            }
            (frame[l3 + 9] == 6).then_some(l3 + 20)
        }
        Some([0x86, 0xdd]) if frame.len() >= l3 + 40 => (frame[l3 + 6] == 6).then_some(l3 + 40),
        _ => None,
    };
    if let Some(field) = l4.and_then(|l4| frame.get_mut(l4 + 16..l4 + 18))
        && field == [0xff; 2]
    {
        field.fill(0);
    }
    frame
}

/// Octets as a script of frames.
pub(crate) fn check_script(data: &[u8]) {
    let (joins, events) = super::script::read(data);
    check(joins, &events);
}

/// Octets as frames: each begins with its length in two octets.
pub(crate) fn check_octets(data: &[u8]) {
    let mut events = Vec::new();
    let mut rest = data;
    while let Some(([low, high], behind)) = rest.split_first_chunk() {
        let octets = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (frame, behind) = behind.split_at(octets);
        events.push(Event::Offer(frame.to_vec()));
        rest = behind;
    }
    check(Joins::ALL, &events);
}
