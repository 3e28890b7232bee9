//! Which frames are joined, and which are not.

use vxgate_offload::{Coalescer, Joins, Offer, VirtioNetHeader, Work};

use crate::properties::coalesce::{Event, check, cut, run};
use crate::properties::frames::{ACK, CWR, DF, FIN, Frame, PSH, SYN};

/// What is done to a frame, and its name.
type Change = (&'static str, fn(&mut Frame));

/// Consecutive frames of one flow, each with so many octets of payload.
fn train(first: &Frame, sizes: &[usize]) -> Vec<Frame> {
    let mut next = first.clone();
    sizes
        .iter()
        .map(|size| {
            next.payload = (0..*size).map(|at| (at ^ next.sequence as usize) as u8).collect();
            let frame = next.clone();
            next.sequence = next.sequence.wrapping_add(*size as u32);
            next.identification = next.identification.wrapping_add(1);
            frame
        })
        .collect()
}

fn offers(frames: &[Frame]) -> Vec<Event> {
    frames.iter().map(|frame| Event::Offer(frame.build())).collect()
}

/// How many frames each thing that comes out stands for.
fn joined(frames: &[Frame]) -> Vec<usize> {
    let events = offers(frames);
    check(Joins::ALL, &events);
    run(Joins::ALL, &events).iter().map(|out| out.frames).collect()
}

/// All four kinds, with no tag, one and two.
fn kinds() -> impl Iterator<Item = Frame> {
    let tags = [vec![], vec![0x2005], vec![3, 4]];
    tags.into_iter().flat_map(|tags| {
        [(false, false), (true, false), (false, true), (true, true)].map(|(v6, udp)| {
            let mut frame = Frame::new(v6, udp, Vec::new());
            frame.tags = tags.clone();
            frame
        })
    })
}

#[test]
fn a_train_of_equal_frames_becomes_one_superframe_and_a_kernel_is_told_all_of_it() {
    for first in kinds() {
        let train = train(&first, &[1000, 1000, 1000, 400]);
        let out = run(Joins::ALL, &offers(&train));
        assert_eq!(out.len(), 1, "{first:?}");
        let mut whole = first.clone();
        whole.payload = train.iter().flat_map(|frame| frame.payload.clone()).collect();
        assert_eq!(out[0].octets, whole.build_unfinished(), "{first:?}");
        assert_eq!(
            out[0].work.to_virtio(),
            VirtioNetHeader {
                flags: VirtioNetHeader::F_NEEDS_CSUM,
                gso_type: match (first.udp, first.v6) {
                    (true, _) => VirtioNetHeader::GSO_UDP_L4,
                    (false, false) => VirtioNetHeader::GSO_TCPV4,
                    (false, true) => VirtioNetHeader::GSO_TCPV6,
                },
                header_octets: first.headers() as u16,
                segment_octets: 1000,
                checksum_start: first.l4() as u16,
                checksum_offset: if first.udp { 6 } else { 16 },
            }
        );
        let frames: Vec<Vec<u8>> = train.iter().map(Frame::build).collect();
        assert_eq!(cut(&out), frames, "cut again, octet for octet");
    }
}

#[test]
fn a_frame_alone_comes_out_as_it_came() {
    for first in kinds() {
        let frame = train(&first, &[777])[0].build();
        let out = run(Joins::ALL, &[Event::Offer(frame.clone())]);
        assert_eq!((out.len(), &out[0].octets, out[0].work, out[0].frames), (1, &frame, Work::Done, 1));
    }
}

#[test]
fn a_shorter_frame_is_the_last_and_a_longer_one_begins_anew() {
    for first in kinds() {
        assert_eq!(joined(&train(&first, &[500, 500, 499, 500, 500])), [3, 2], "{first:?}");
        assert_eq!(joined(&train(&first, &[500, 501, 501])), [1, 2], "{first:?}");
    }
}

#[test]
fn a_superframe_is_no_longer_than_an_ip_packet() {
    for first in kinds().filter(|first| !first.udp) {
        let frames = train(&first, &[1400; 100]);
        let out = run(Joins::ALL, &offers(&frames));
        let longest = out.iter().map(|out| out.octets.len() - first.l3()).max().expect("something");
        assert!((65_535 - 1400..=65_535).contains(&longest), "{longest} octets");
        check(Joins::ALL, &offers(&frames));
    }
}

#[test]
fn no_more_than_64_datagrams_are_joined() {
    for first in kinds().filter(|first| first.udp) {
        assert_eq!(joined(&train(&first, &[18; 150])), [64, 64, 22]);
    }
}

#[test]
fn push_and_fin_end_a_run_and_stand_on_its_last_frame() {
    for (flag, v6) in [(PSH, false), (FIN, false), (PSH | FIN, true)] {
        let mut frames = train(&Frame::new(v6, false, Vec::new()), &[100; 6]);
        frames[3].flags |= flag;
        assert_eq!(joined(&frames), [4, 2]);
        frames[0].flags |= flag;
        assert_eq!(joined(&frames), [1, 3, 2], "the first of its run passes at once");
    }
}

#[test]
fn what_must_be_seen_alone_passes_in_its_place() {
    let first = Frame::new(false, false, Vec::new());
    let changes: [Change; 9] = [
        ("SYN", |frame| frame.flags |= SYN),
        ("RST", |frame| frame.flags |= 0x04),
        ("URG", |frame| frame.flags |= 0x20),
        ("CWR", |frame| frame.flags |= CWR),
        ("no ACK", |frame| frame.flags &= !ACK),
        ("a fragment", |frame| frame.fragment = 0x2000),
        ("the reserved bit", |frame| frame.fragment = 0x8000 | DF),
        ("options", |frame| frame.extra_octets = 8),
        ("no payload", |frame| frame.payload.clear()),
    ];
    for (what, change) in changes {
        let mut frames = train(&first, &[100; 5]);
        change(&mut frames[2]);
        let wanted: &[usize] = match what {
            // A fragment is of no flow that has ports: it passes at once.
            "a fragment" => &[1, 2, 2],
            _ => &[2, 1, 2],
        };
        assert_eq!(joined(&frames), wanted, "{what}");
        frames.iter_mut().for_each(change);
        assert_eq!(joined(&frames), [1; 5], "{what}, all of them");
    }
    let mut frames = train(&Frame::new(true, false, Vec::new()), &[100; 5]);
    frames[2].extra_octets = 8;
    assert_eq!(joined(&frames), [2, 1, 2], "an extension header");
}

#[test]
fn a_header_that_changes_begins_a_new_run() {
    let changes: [Change; 10] = [
        ("TTL", |frame| frame.ttl -= 1),
        ("TOS", |frame| frame.tos ^= 4),
        ("ECN", |frame| frame.tos ^= 3),
        ("DF", |frame| frame.fragment ^= DF),
        ("ACK number", |frame| frame.ack += 1),
        ("window", |frame| frame.window += 1),
        ("ECE", |frame| frame.flags |= 0x40),
        ("options", |frame| frame.tcp_options = vec![1; 4]),
        ("sequence", |frame| frame.sequence += 1),
        ("VLAN", |frame| frame.tags = vec![9]),
    ];
    for (what, change) in changes {
        for v6 in [false, true] {
            let mut frames = train(&Frame::new(v6, false, Vec::new()), &[100; 4]);
            frames[2..].iter_mut().for_each(change);
            let wanted: &[usize] = if v6 && what == "DF" { &[4] } else { &[2, 2] };
            assert_eq!(joined(&frames), wanted, "{what}");
        }
    }
}

#[test]
fn an_identification_counts_only_where_a_packet_may_be_fragmented() {
    for (fragment, wanted) in [(DF, &[4][..]), (0, &[2, 2])] {
        let mut first = Frame::new(false, false, Vec::new());
        first.fragment = fragment;
        let mut frames = train(&first, &[100; 4]);
        frames[2].identification += 5;
        frames[3].identification += 5;
        assert_eq!(joined(&frames), wanted);
    }
}

#[test]
fn a_wrong_checksum_passes_in_its_place_and_is_wrong_still() {
    for first in kinds() {
        let frames: Vec<Vec<u8>> = train(&first, &[100; 5]).iter().map(Frame::build).collect();
        let payload = first.headers() + 50;
        let l4_field = first.checksum_field();
        let ip_field = first.l3() + 10;
        for at in [Some(payload), Some(l4_field), (!first.v6).then_some(ip_field)].into_iter().flatten() {
            for bad in [0, 2, 4] {
                let mut frames = frames.clone();
                frames[bad][at] ^= 0x10;
                let events: Vec<Event> = frames.iter().cloned().map(Event::Offer).collect();
                check(Joins::ALL, &events);
                let out = run(Joins::ALL, &events);
                assert!(out.iter().any(|out| out.frames == 1 && out.octets == frames[bad]), "as it came");
            }
        }
    }
}

#[test]
fn a_datagram_without_checksum_or_with_another_length_and_a_frame_with_padding_pass() {
    for v6 in [false, true] {
        let first = Frame::new(v6, true, Vec::new());
        let built: Vec<Vec<u8>> = train(&first, &[18; 3]).iter().map(Frame::build).collect();
        let mut without = built.clone();
        without[1][first.checksum_field()..][..2].fill(0);
        let mut padded = built.clone();
        padded[1].extend([0; 4]);
        let mut shorter = built;
        shorter[1][first.l4() + 5] -= 1;
        for frames in [without, padded, shorter] {
            let events: Vec<Event> = frames.iter().cloned().map(Event::Offer).collect();
            check(Joins::ALL, &events);
            assert_eq!(run(Joins::ALL, &events).len(), 3);
        }
    }
}

/// Adds to a frame's L4 checksum in one's complement.
fn add_to_checksum(frame: &mut [u8], field: usize, more: u16) {
    let sum = u32::from(u16::from_be_bytes([frame[field], frame[field + 1]])) + u32::from(more);
    let sum = (sum >> 16) as u16 + (sum & 0xffff) as u16;
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Offers a train of which one frame is another; it comes out alone.
fn assert_alone(first: &Frame, build: impl Fn(Frame) -> Vec<u8>) {
    for at in 0..3 {
        let train = train(first, &[20; 3]);
        let mut frames: Vec<Vec<u8>> = train.iter().map(Frame::build).collect();
        frames[at] = build(train[at].clone());
        let events: Vec<Event> = frames.iter().cloned().map(Event::Offer).collect();
        check(Joins::ALL, &events);
        let out = run(Joins::ALL, &events);
        assert!(out.iter().any(|out| out.frames == 1 && out.octets == frames[at]), "{first:?}, frame {at}");
    }
}

#[test]
fn no_sum_that_happens_to_be_right_makes_up_for_a_wrong_length() {
    for first in kinds() {
        // Two octets behind the packet that take back what they add to the length.
        assert_alone(&first, |mut frame| {
            frame.payload.truncate(18);
            [&frame.build()[..], &[0xff, 0xfd]].concat()
        });
        if first.udp {
            assert_alone(&first, |frame| {
                let mut built = frame.build();
                built[frame.l4() + 5] -= 2;
                add_to_checksum(&mut built, frame.checksum_field(), 2);
                built
            });
        }
    }
}

#[test]
fn a_datagram_without_checksum_passes_even_if_it_sums_to_what_it_says() {
    for first in kinds().filter(|first| first.udp) {
        assert_alone(&first, |frame| {
            let (field, payload) = (frame.checksum_field(), frame.headers());
            let mut built = frame.build();
            // The payload's first word takes up the checksum, which is zero then.
            let sum = u16::from_be_bytes([built[field], built[field + 1]]);
            built[field..field + 2].fill(0);
            add_to_checksum(&mut built, payload, sum);
            built
        });
    }
}

#[test]
fn flows_are_joined_side_by_side_and_come_out_in_the_order_in_which_they_began() {
    let trains: Vec<Vec<Frame>> = (0..16)
        .map(|flow| {
            let mut first = Frame::new(flow % 2 == 0, flow % 3 == 0, Vec::new());
            first.flow = flow;
            train(&first, &[300; 5])
        })
        .collect();
    let interleaved: Vec<Frame> =
        (0..5).flat_map(|at| trains.iter().map(move |train| train[at].clone())).collect();
    let out = run(Joins::ALL, &offers(&interleaved));
    assert_eq!(out.iter().map(|out| out.frames).collect::<Vec<_>>(), [5; 16]);
    let firsts: Vec<Vec<u8>> = trains.iter().map(|train| train[0].build()[..14 + 8].to_vec()).collect();
    let headers: Vec<Vec<u8>> = cut(&out).chunks(5).map(|frames| frames[0][..14 + 8].to_vec()).collect();
    assert_eq!(headers, firsts);
}

#[test]
fn one_flow_more_than_there_are_runs_pushes_the_oldest_out() {
    let frames: Vec<Frame> = (0..17)
        .map(|flow| {
            let mut frame = Frame::new(false, true, vec![flow; 20]);
            frame.flow = flow;
            frame
        })
        .collect();
    let mut coalescer = Coalescer::new(Joins::ALL, 0);
    let mut out = Vec::new();
    for frame in &frames {
        let offer = coalescer.push(&frame.build(), &mut |superframe| out.push(superframe.octets().to_vec()));
        assert_eq!(offer, Offer::Held);
    }
    assert_eq!(out, [frames[0].build()]);
}

#[test]
fn kinds_that_the_device_does_not_take_pass() {
    for first in kinds() {
        let joins = Joins {
            tcp4: first.udp || first.v6,
            tcp6: first.udp || !first.v6,
            udp4: !first.udp || first.v6,
            udp6: !first.udp || !first.v6,
        };
        let mut coalescer = Coalescer::new(joins, 0);
        let frame = train(&first, &[100])[0].build();
        let mut nothing = |_: vxgate_offload::Superframe<'_>| panic!("nothing was held");
        assert_eq!(coalescer.push(&frame, &mut nothing), Offer::Pass);
        coalescer.set_joins(Joins::ALL);
        assert_eq!(coalescer.push(&frame, &mut nothing), Offer::Held);
    }
}

#[test]
fn a_frame_that_is_not_offered_makes_its_flow_give_way_and_no_other() {
    let one = train(&Frame::new(false, false, Vec::new()), &[100; 3]);
    let mut other = Frame::new(false, false, vec![1; 100]);
    other.flow = 2;
    let mut events =
        vec![Event::Offer(other.build()), Event::Offer(one[0].build()), Event::Offer(one[1].build())];
    events.push(Event::GiveWay(one[2].build()));
    check(Joins::ALL, &events);
    let out: Vec<usize> = run(Joins::ALL, &events).iter().map(|out| out.frames).collect();
    assert_eq!(out, [2, 1, 1]);
}
