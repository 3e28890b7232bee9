//! What a superframe must be to be cut, and what is refused by name.

use vxgate_offload::{VirtioNetHeader, Work, WorkError};

use crate::properties::frames::{CWR, Frame, naive_sum};
use crate::properties::split::Superframe;

fn superframe(v6: bool, udp: bool) -> Superframe {
    let whole = Frame::new(v6, udp, (0..4000_u32).map(|at| (at % 251) as u8).collect());
    Superframe { whole, segment_octets: 1000 }
}

#[test]
fn congestion_that_a_superframe_tells_of_is_told_to_the_device() {
    for v6 in [false, true] {
        let mut superframe = superframe(v6, false);
        let kind = superframe.virtio().gso_type;
        superframe.whole.flags |= CWR;
        let frame = superframe.whole.build_unfinished();
        let work = Work::from_virtio(VirtioNetHeader { gso_type: kind, ..superframe.virtio() }, &frame);
        let told = work.expect("a true header").to_virtio().gso_type;
        assert_eq!(told, kind | VirtioNetHeader::GSO_ECN, "even if whoever wrote it did not say so");
    }
}

#[test]
fn a_superframe_longer_than_an_ip_packet_is_refused_by_name() {
    for v6 in [false, true] {
        let mut superframe = superframe(v6, false);
        superframe.whole.payload = vec![1; 100_000];
        let mut frame = superframe.whole.build_unfinished();
        // As BIG TCP says it.
        let length = superframe.whole.l3() + if v6 { 4 } else { 2 };
        frame[length..length + 2].fill(0);
        assert_eq!(Work::from_virtio(superframe.virtio(), &frame), Err(WorkError::TooLong));
        assert_eq!(Work::from_peer(&frame, 1450), Work::Done);
    }
}

#[test]
fn a_length_of_zero_in_a_short_superframe_is_a_lie() {
    for v6 in [false, true] {
        let superframe = superframe(v6, false);
        let mut frame = superframe.whole.build_unfinished();
        let length = superframe.whole.l3() + if v6 { 4 } else { 2 };
        frame[length..length + 2].fill(0);
        assert_eq!(Work::from_virtio(superframe.virtio(), &frame), Err(WorkError::NotThatTransport));
    }
}

#[test]
fn a_superframe_of_the_other_ip_version_than_its_header_says_is_refused() {
    for (v6, gso_type) in [(true, VirtioNetHeader::GSO_TCPV4), (false, VirtioNetHeader::GSO_TCPV6)] {
        let superframe = superframe(v6, false);
        let frame = superframe.whole.build_unfinished();
        let header = VirtioNetHeader { gso_type, ..superframe.virtio() };
        assert_eq!(Work::from_virtio(header, &frame), Err(WorkError::NotThatTransport));
    }
}

#[test]
fn a_checksum_of_zero_is_written_as_such_by_tcp_and_as_its_other_form_by_udp() {
    for (udp, zero) in [(false, [0, 0]), (true, [0xff, 0xff])] {
        let mut superframe = superframe(false, udp);
        let field = superframe.whole.checksum_field();
        superframe.whole.payload.fill(0);
        // The first word of each segment takes up its checksum.
        for (index, segment) in superframe.segments().iter().enumerate() {
            superframe.whole.payload[1000 * index..][..2].copy_from_slice(&segment[field..field + 2]);
        }
        let frame = superframe.whole.build_unfinished();
        let work = Work::from_virtio(superframe.virtio(), &frame).expect("a true header");
        let mut segments = Vec::new();
        work.finish_copy(&frame, &mut [0; 2000], |segment| segments.push(segment.to_vec()));
        assert!(segments.iter().all(|segment| segment[field..field + 2] == zero));
        assert_eq!(segments, superframe.segments());
    }
}

#[test]
fn a_hint_at_the_headers_length_is_not_believed() {
    let superframe = superframe(false, false);
    let frame = superframe.whole.build_unfinished();
    let work = Work::from_virtio(superframe.virtio(), &frame);
    for header_octets in [0, 1, 53, 55, u16::MAX] {
        assert_eq!(Work::from_virtio(VirtioNetHeader { header_octets, ..superframe.virtio() }, &frame), work);
    }
}

/// A routing header names the last hop, which is what the checksum counts, while the IPv6 header names the next.
#[test]
fn segments_behind_a_routing_header_are_summed_for_their_last_hop() {
    let mut superframe = superframe(true, false);
    superframe.whole.extra_octets = 24;
    let l3 = superframe.whole.l3();
    let last_hop = [0xfc; 16];
    let mut frame = superframe.whole.build_unfinished();
    let field = superframe.whole.checksum_field();
    // RFC 8200, section 4.4: type 0 here, one segment left.
    frame[l3 + 6] = 43;
    frame[l3 + 40..l3 + 48].copy_from_slice(&[6, 2, 0, 1, 0, 0, 0, 0]);
    frame[l3 + 48..l3 + 64].copy_from_slice(&last_hop);
    let pseudo = |l4_octets: usize| {
        [&frame[l3 + 8..l3 + 24], &last_hop, &(l4_octets as u32).to_be_bytes(), &[0, 0, 0, 6]].concat()
    };
    let sum = naive_sum(&pseudo(20 + 4000));
    let pseudo_of_segment = pseudo(20 + 1000);
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());

    let work = Work::from_virtio(superframe.virtio(), &frame).expect("a true header");
    let mut segments = 0;
    work.finish_copy(&frame, &mut [0; 2000], |segment| {
        segments += 1;
        let l4 = &segment[superframe.whole.l4()..];
        assert_eq!(naive_sum(&[&pseudo_of_segment, l4].concat()), 0xffff, "segment {segments}");
    });
    assert_eq!(segments, 4);
}

#[test]
fn a_run_of_datagrams_is_one_only_if_the_frame_bears_it_out() {
    for v6 in [false, true] {
        let honest = superframe(v6, true);
        let frame = honest.whole.build_unfinished();
        assert!(matches!(Work::from_peer_run(&frame, 1000), Some(Work::Split(_))));
        assert_eq!(Work::from_peer_run(&frame, 0), None, "no segment size");
        assert_eq!(Work::from_peer_run(&frame, 4000), None, "one datagram");
        assert_eq!(Work::from_peer_run(&frame, 31), None, "130 datagrams, more than a kernel makes");
        assert_eq!(Work::from_peer_run(&honest.whole.build(), 1000), None, "a finished checksum");
        assert_eq!(Work::from_peer_run(&[&frame[..], &[0]].concat(), 1000), None, "octets behind it");
        assert_eq!(Work::from_peer_run(&frame[..frame.len() - 1], 1000), None, "cut off");
        let mut length = frame.clone();
        length[honest.whole.l4() + 5] ^= 1;
        assert_eq!(Work::from_peer_run(&length, 1000), None, "a UDP length that is another");
        let mut behind = superframe(v6, true);
        behind.whole.extra_octets = 8;
        assert_eq!(Work::from_peer_run(&behind.whole.build_unfinished(), 1000), None, "options");
        let tcp = superframe(v6, false).whole.build_unfinished();
        assert_eq!(Work::from_peer_run(&tcp, 1000), None, "TCP");
    }
}
