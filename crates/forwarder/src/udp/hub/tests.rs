//! Segments that share a port: each gets its own and all of its own, whatever comes and goes beside it.

use std::net::UdpSocket;
use std::time::Instant;

use vxgate_codec::MacAddr;
use vxgate_core::{DropReason, Remote, SegmentConfig, Timestamp};

use super::*;
use crate::{Device, MemoryPort, OverlayEnd};

const PATIENCE: Duration = Duration::from_secs(20);

fn segment(vni: u32, peer: SocketAddr) -> Segment {
    let vni = Vni::new(vni).expect("a VNI");
    let mut segment = Segment::new(SegmentConfig { vni, port: peer.port(), ..SegmentConfig::default() });
    segment.peer_add(Remote::new(peer.ip()), Timestamp::ZERO).expect("a new peer");
    segment
}

fn port() -> (MemoryPort, OverlayEnd) {
    let device = Device { mac: MacAddr::new([2, 0, 0, 0, 0, 1]), mtu_octets: 1450 };
    MemoryPort::new(device, 4096).expect("a port")
}

fn hub() -> UdpHub {
    UdpHub::bind(&UdpConfig::new("127.0.0.1:0".parse().expect("an address")), &WorkerOptions::default())
        .expect("a hub")
}

/// A peer at a port of loopback.
fn peer() -> UdpSocket {
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a port");
    peer.set_read_timeout(Some(PATIENCE)).expect("a limit");
    peer
}

fn datagram(vni: u8, number: u32) -> Vec<u8> {
    let mut datagram = vec![8, 0, 0, 0, 0, 0, vni, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x88, 0xb5];
    datagram.extend(number.to_be_bytes());
    datagram.resize(8 + 60, 0);
    datagram
}

#[expect(clippy::disallowed_methods, reason = "a test waits for threads")]
fn now() -> Instant {
    Instant::now()
}

/// The numbers of the next frames that arrive.
fn numbers(end: &OverlayEnd, count: usize) -> Vec<u32> {
    let (mut numbers, deadline) = (Vec::new(), now() + PATIENCE);
    while numbers.len() < count && now() < deadline {
        match end.recv() {
            Some(frame) => numbers.push(u32::from_be_bytes([frame[14], frame[15], frame[16], frame[17]])),
            None => thread::yield_now(),
        }
    }
    numbers
}

#[test]
fn each_segment_gets_its_own_datagrams_in_their_order_and_sends_under_its_own_vni() {
    let (hub, peer) = (hub(), peer());
    let to = hub.local_addr().expect("an address");
    let from = peer.local_addr().expect("an address");
    let ((port_a, end_a), (port_b, end_b)) = (port(), port());
    let a = hub.attach(segment(10, from), port_a, OuterPolicy::default()).expect("a lane");
    let b = hub.attach(segment(11, from), port_b, OuterPolicy::default()).expect("a lane");
    for number in 0..500 {
        peer.send_to(&datagram(if number % 3 == 0 { 10 } else { 11 }, number), to).expect("room");
        if number % 50 == 49 {
            // As much as the socket's queue holds in any case.
            let of =
                |third: bool| (number - 49..=number).filter(|n| (n % 3 == 0) == third).collect::<Vec<_>>();
            assert_eq!(numbers(&end_a, of(true).len()), of(true));
            assert_eq!(numbers(&end_b, of(false).len()), of(false));
        }
    }
    assert!(end_a.recv().is_none() && end_b.recv().is_none());
    // Out: a broadcast of each goes to the peer with its VNI.
    let broadcast = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x88, 0xb5], &[0; 46]].concat();
    for (end, vni) in [(&end_a, 10), (&end_b, 11)] {
        assert!(end.send(&broadcast));
        let mut received = [0; 2048];
        let (octets, _) = peer.recv_from(&mut received).expect("a copy");
        assert_eq!((octets, received[6]), (68, vni));
    }
    // What nobody has is the first one's, and a stranger's is nobody's.
    peer.send_to(&datagram(77, 0), to).expect("room");
    let wrong = |of: &Forwarder| of.counters().snapshot().underlay_drops[DropReason::WrongVni.index()];
    let deadline = now() + PATIENCE;
    while wrong(&a) == 0 && now() < deadline {
        thread::yield_now();
    }
    assert_eq!((wrong(&a), wrong(&b)), (1, 0));
    for forwarder in [a, b] {
        assert!(forwarder.counters().snapshot().is_balanced());
        forwarder.stop().expect("a good end");
    }
}

#[test]
fn one_that_comes_and_goes_costs_the_other_nothing() {
    let (hub, peer) = (hub(), peer());
    let to = hub.local_addr().expect("an address");
    let from = peer.local_addr().expect("an address");
    let (port_a, end_a) = port();
    let a = hub.attach(segment(10, from), port_a, OuterPolicy::default()).expect("a lane");
    for round in 0..30 {
        let (port_b, end_b) = port();
        let b = hub.attach(segment(11, from), port_b, OuterPolicy::default()).expect("a lane");
        let twice = hub.attach(segment(11, from), port().0, OuterPolicy::default());
        assert_eq!(twice.map(drop).map_err(|error| error.kind()), Err(ErrorKind::AlreadyExists));
        for number in 0..20 {
            peer.send_to(&datagram(10, round * 20 + number), to).expect("room");
        }
        peer.send_to(&datagram(11, round), to).expect("room");
        assert_eq!(numbers(&end_b, 1), [round]);
        // Stopped and dropped, in turn.
        if round % 2 == 0 {
            b.stop().expect("a good end")
        } else {
            drop(b)
        };
        assert_eq!(numbers(&end_a, 20), (round * 20..round * 20 + 20).collect::<Vec<_>>());
    }
    assert!(!a.is_stopping());
    drop(hub);
    assert!(a.is_stopping(), "with the hub all end");
    a.stop().expect("a good end");
}

#[test]
fn control_events_and_captures_are_each_segments_own() {
    let (hub, peer) = (hub(), peer());
    let to = hub.local_addr().expect("an address");
    let from = peer.local_addr().expect("an address");
    let ((port_a, end_a), (port_b, _end_b)) = (port(), port());
    let a = hub.attach(segment(10, from), port_a, OuterPolicy::default()).expect("a lane");
    let b = hub.attach(segment(11, from), port_b, OuterPolicy::default()).expect("a lane");
    let capture = a.control().capture(crate::CaptureOptions {
        inner: true,
        outer: false,
        drops: false,
        snaplen: 64,
        peers: Vec::new(),
    });
    let capture = capture.expect("room");
    peer.send_to(&datagram(11, 1), to).expect("room");
    peer.send_to(&datagram(10, 2), to).expect("room");
    assert_eq!(numbers(&end_a, 1), [2]);
    assert!(capture.poll().is_some_and(|one| one.octets[14..18] == [0, 0, 0, 2]) && capture.poll().is_none());
    assert_eq!(a.control().with(|segment, _| segment.entries()), Ok(2));
    assert_eq!(b.control().with(|segment, _| segment.config().vni.get()), Ok(11));
    assert!(a.poll_event().is_some());
    drop(b);
    assert_eq!(a.control().with(|segment, _| segment.config().vni.get()), Ok(10));
    let b = hub.attach(segment(11, from), port().0, OuterPolicy::default());
    assert!(b.is_ok(), "the VNI is free again");
}
