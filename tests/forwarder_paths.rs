//! What the forwarder does with frames that are too long for a path, and with connections that would send such ones.
//! Ports and underlays are in memory.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use vxgate_codec::MacAddr;
use vxgate_codec::tcp::MssLimit;
use vxgate_core::{Counts, DropReason, Remote, Segment, SegmentConfig, Timestamp};
use vxgate_forwarder::port::HEADROOM_OCTETS;
use vxgate_forwarder::{
    Device, Egress, Forwarder, Frame, MemoryPort, MemoryUnderlay, OuterPolicy, OverlayEnd, PortRx, Underlay,
    UnderlayEnd,
};
use vxgate_offload::{VirtioNetHeader, Work, checksum};
use vxgate_sys::eventfd::EventFd;
use vxgate_testbed::eventually;

const WIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const NARROW: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const HERE: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
const THERE: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);
const PATIENCE: Duration = Duration::from_secs(5);

/// A segment whose peers' paths carry this much.
fn segment(peers: &[(IpAddr, u16)]) -> Segment {
    let now = Timestamp::default();
    let config = SegmentConfig { own_mac: HERE, hash_key: 0x5eed, ..SegmentConfig::default() };
    let mut segment = Segment::new(config);
    for &(peer, octets) in peers {
        segment.peer_add(Remote::new(peer), now).expect("an empty table takes a peer");
        segment.set_link_mtu(peer, Some(octets), now);
    }
    segment
}

/// A forwarder over memory with its two ends.
fn start(segment: Segment) -> (Forwarder, OverlayEnd, UnderlayEnd) {
    let (port, overlay) = MemoryPort::new(Device { mac: HERE, mtu_octets: 1450 }, 256).expect("descriptors");
    let (underlay, network) = MemoryUnderlay::new(256).expect("descriptors");
    let forwarder = Forwarder::spawn(segment, port, underlay, OuterPolicy::default());
    (forwarder.expect("threads"), overlay, network)
}

/// An IPv4 frame with DF set, of this many octets of IP: `protocol` and what it carries.
fn frame(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (20 + payload.len() as u16).to_be_bytes();
    let mut header = [0x45, 0, high, low, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let sum = checksum::ipv4_header(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&THERE.octets()[..], &HERE.octets(), &[0x08, 0x00], &header, payload].concat()
}

fn too_big(counts: &Counts) -> u64 {
    counts.overlay_drops[DropReason::TooBig.index()]
}

#[test]
fn a_frame_that_no_path_carries_is_dropped_and_its_sender_told() {
    let (forwarder, host, network) = start(segment(&[(WIDE, 1500), (NARROW, 1400)]));
    let long = frame(17, &[0; 1500 - 36 - 14 - 20 + 1]);
    assert!(host.send(&long));
    let answer = host.recv_within(PATIENCE).expect("waiting works").expect("an answer");
    assert_eq!(answer[..12], [HERE.octets(), THERE.octets()].concat());
    assert_eq!(answer[34..36], [3, 4], "fragmentation needed");
    // What goes to both must fit the narrower.
    assert_eq!(u16::from_be_bytes([answer[40], answer[41]]), 1350);
    assert_eq!(answer[42..], long[14..14 + 548], "the quote");
    let settled = || {
        let counts = forwarder.counters().snapshot();
        (too_big(&counts), counts.own.answered.frames, counts.own.held_back) == (2, 1, 0)
            && counts.is_balanced()
    };
    assert!(eventually(PATIENCE, settled), "{:?}", forwarder.counters().snapshot());
    assert!(network.recv().is_none());
    forwarder.stop().expect("a clean end");
}

#[test]
fn a_flood_goes_where_it_fits_and_nothing_is_said_of_where_it_does_not() {
    let (forwarder, host, network) = start(segment(&[(NARROW, 1400), (WIDE, 1500)]));
    let long = frame(17, &[0; 1400]);
    let short = frame(17, &[0; 100]);
    assert!(host.send(&long) && host.send(&short));
    let mut sent = Vec::new();
    for _ in 0..3 {
        let (to, datagram) = network.recv_within(PATIENCE).expect("waiting works").expect("a datagram");
        sent.push((to.ip(), datagram.len() - 8));
    }
    sent.sort_unstable();
    assert_eq!(sent, [(WIDE, short.len()), (WIDE, long.len()), (NARROW, short.len())]);
    let settled = || {
        let counts = forwarder.counters().snapshot();
        too_big(&counts) == 1 && counts.is_balanced()
    };
    assert!(eventually(PATIENCE, settled), "{:?}", forwarder.counters().snapshot());
    assert!(host.recv().is_none());
    assert_eq!(forwarder.counters().snapshot().own.answered.frames, 0);
    forwarder.stop().expect("a clean end");
}

#[test]
fn a_storm_of_frames_that_are_too_big_is_answered_at_a_bounded_rate() {
    let (forwarder, host, _network) = start(segment(&[(NARROW, 1400)]));
    let long = frame(17, &[0; 1400]);
    let mut sent = 0;
    let mut heard = 0;
    // However slow this machine is, a batch of the port's is more than a burst of answers.
    while forwarder.counters().snapshot().own.held_back == 0 {
        assert!(sent < 1_000_000, "every one of a million is answered");
        sent += u64::from(host.send(&long));
        heard += u64::from(host.recv().is_some());
    }
    let settled = || {
        heard += u64::from(host.recv().is_some());
        let counts = forwarder.counters().snapshot();
        let own = counts.own;
        too_big(&counts) == sent && heard + own.held_back + own.unanswered == sent
    };
    assert!(eventually(PATIENCE, settled), "{:?}", forwarder.counters().snapshot());
    assert!(forwarder.counters().snapshot().is_balanced());
    forwarder.stop().expect("a clean end");
}

/// Lends one superframe.
struct Once {
    buffer: Vec<u8>,
    work: Work,
    lent: bool,
    idle: EventFd,
}

impl PortRx for Once {
    fn recv(&mut self) -> io::Result<usize> {
        Ok(usize::from(!std::mem::replace(&mut self.lent, true)))
    }

    fn frame(&mut self, _index: usize) -> Frame<'_> {
        let range = HEADROOM_OCTETS..self.buffer.len();
        Frame { buffer: &mut self.buffer, range, work: self.work }
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.idle.as_fd()
    }
}

#[test]
fn a_superframe_counts_by_its_segments() {
    // Ten segments of TCP with 1310 or 1311 octets each behind 40 octets of headers, over a path of 1400.
    for (segment_octets, fits) in [(1310_u16, true), (1311, false)] {
        let mut tcp = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0];
        tcp.resize(20 + 10 * usize::from(segment_octets), 0x5a);
        let superframe = frame(6, &tcp);
        let header = VirtioNetHeader {
            flags: VirtioNetHeader::F_NEEDS_CSUM,
            gso_type: VirtioNetHeader::GSO_TCPV4,
            header_octets: 54,
            segment_octets,
            checksum_start: 34,
            checksum_offset: 16,
        };
        let work = Work::from_virtio(header, &superframe).expect("a superframe");
        let buffer = [&[0; HEADROOM_OCTETS][..], &superframe].concat();
        let port = Once { buffer, work, lent: false, idle: EventFd::new().expect("a descriptor") };
        let (underlay, network) = MemoryUnderlay::new(64).expect("descriptors");
        let (_, underlay) = underlay.split();
        let segment = segment(&[(NARROW, 1400)]);
        let counters = segment.counters();
        let mut egress =
            Egress::new(port, underlay, segment.overlay_half(), segment.counters(), OuterPolicy::default());
        assert_eq!(egress.turn().expect("memory does not fail"), 1);
        let counts = counters.snapshot();
        let expected = if fits { (10, 0) } else { (0, 10) };
        assert_eq!((counts.sent.frames, too_big(&counts)), expected, "{segment_octets}");
        assert!(counts.is_balanced());
        assert_eq!(network.recv().is_some(), fits);
    }
}

#[test]
fn a_superframe_with_a_syn_is_cut_into_segments_that_are_right() {
    // TCP fast open: the SYN bears data, here of three segments, and its checksum is left to whoever cuts it.
    let mut tcp = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0];
    tcp.extend([2, 4, 0x23, 0]);
    tcp.extend((0..2500).map(|at| at as u8));
    let seed = checksum::fold(checksum::pseudo_header(&[10, 0, 0, 1, 10, 0, 0, 2], 6, tcp.len()));
    tcp[16..18].copy_from_slice(&seed.to_be_bytes());
    let superframe = frame(6, &tcp);
    let header = VirtioNetHeader {
        flags: VirtioNetHeader::F_NEEDS_CSUM,
        gso_type: VirtioNetHeader::GSO_TCPV4,
        header_octets: 58,
        segment_octets: 1000,
        checksum_start: 34,
        checksum_offset: 16,
    };
    let work = Work::from_virtio(header, &superframe).expect("a superframe");
    let buffer = [&[0; HEADROOM_OCTETS][..], &superframe].concat();
    let port = Once { buffer, work, lent: false, idle: EventFd::new().expect("a descriptor") };
    let (underlay, network) = MemoryUnderlay::new(64).expect("descriptors");
    let (_, underlay) = underlay.split();
    let mut segment = segment(&[(WIDE, 1500)]);
    segment.set_mss_limit(Some(MssLimit::of_mtu(1450)));
    let (half, counters) = (segment.overlay_half(), segment.counters());
    let mut egress = Egress::new(port, underlay, half, counters, OuterPolicy::default());
    assert_eq!(egress.turn().expect("memory does not fail"), 1);
    let mut data = Vec::new();
    for _ in 0..3 {
        let (_, datagram) = network.recv().expect("a segment");
        assert_eq!(mss(&datagram[8..]), 1410, "with a right checksum");
        data.extend_from_slice(&datagram[8 + 58..]);
    }
    assert_eq!(data, tcp[24..]);
    assert!(network.recv().is_none());
}

/// A SYN whose sender could take 8960 octets at once, with a right checksum.
fn syn() -> Vec<u8> {
    let mut tcp = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0];
    tcp.extend([2, 4, 0x23, 0]);
    let seed = checksum::pseudo_header(&[10, 0, 0, 1, 10, 0, 0, 2], 6, tcp.len());
    let sum = !checksum::fold(checksum::add(seed, &tcp));
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    frame(6, &tcp)
}

/// The segment size in a SYN whose checksum is right.
fn mss(frame: &[u8]) -> u16 {
    let seed = checksum::pseudo_header(&frame[26..34], 6, frame.len() - 34);
    assert_eq!(checksum::fold(checksum::add(seed, &frame[34..])), 0xffff, "the checksum");
    u16::from_be_bytes([frame[56], frame[57]])
}

#[test]
fn the_segment_size_is_lowered_both_ways_or_not_at_all() {
    for (limit, expected) in [(None, 8960), (Some(MssLimit::of_mtu(1450)), 1410)] {
        let mut segment = segment(&[(WIDE, 1500)]);
        segment.set_mss_limit(limit);
        let (forwarder, host, network) = start(segment);
        assert!(host.send(&syn()));
        let (_, datagram) = network.recv_within(PATIENCE).expect("waiting works").expect("a datagram");
        assert_eq!(mss(&datagram[8..]), expected);

        let mut answer = syn();
        answer[..6].copy_from_slice(&HERE.octets());
        answer[6..12].copy_from_slice(&THERE.octets());
        assert!(network.send(WIDE, &[&[8, 0, 0, 0, 0, 0, 10, 0], &answer[..]].concat()));
        let delivered = host.recv_within(PATIENCE).expect("waiting works").expect("a frame");
        assert_eq!(mss(&delivered), expected);
        forwarder.stop().expect("a clean end");
    }
}
