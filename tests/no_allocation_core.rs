//! The core allocates nothing for a frame: not once it is warm, and not for what a stranger can make it do.

use std::net::IpAddr;
use std::time::Duration;

use vxgate_codec::{MacAddr, arp};
use vxgate_core::{
    HealthConfig, OverlayHalf, OverlayVerdict, Remote, Segment, SegmentConfig, Timestamp, UnderlayVerdict,
};
use vxgate_sys::counting_allocator::{CountingAllocator, allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const PEERS: [[u8; 4]; 2] = [[192, 0, 2, 1], [192, 0, 2, 2]];
const STATIONS: u64 = 500;
const OWN: MacAddr = MacAddr::new([2, 0, 0xff, 0, 0, 0]);

fn station(number: u64) -> MacAddr {
    MacAddr::from_bits(0x0200_0000_0000 + number)
}

fn frame(to: MacAddr, from: MacAddr) -> Vec<u8> {
    [&to.octets()[..], &from.octets(), &[8, 0], &[0; 46]].concat()
}

fn datagram(vni: u8, from: MacAddr) -> Vec<u8> {
    [&[8, 0, 0, 0, 0, 0, vni, 0][..], &frame(OWN, from)].concat()
}

/// How often `work` allocates.
fn allocated_by(work: impl FnOnce()) -> u64 {
    let before = allocations();
    work();
    allocations() - before
}

/// A segment of two peers with room for as many stations as there are, all of which have been heard of.
fn warm() -> (Segment, OverlayHalf) {
    let max_macs = STATIONS as usize + 1;
    let mut segment = Segment::new(SegmentConfig { own_mac: OWN, max_macs, ..SegmentConfig::default() });
    for peer in PEERS {
        segment.peer_add(Remote::new(peer.into()), Timestamp::ZERO).expect("a new peer");
    }
    let flood = segment.poll_flood().expect("new peers");
    let mut overlay = segment.overlay_half();
    overlay.set_flood(flood);
    for number in 0..STATIONS {
        segment.handle_underlay(PEERS[0].into(), &datagram(10, station(number)), Timestamp::ZERO);
    }
    (segment, overlay)
}

#[test]
fn the_allocator_counts() {
    assert_eq!(allocated_by(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn no_verdict_about_a_frame_from_the_overlay_allocates() {
    let (_segment, overlay) = warm();
    let known = frame(station(7), OWN);
    let frames = [frame(MacAddr::BROADCAST, OWN), frame(station(STATIONS), OWN), vec![0; 13]];
    let asked = || {
        for _ in 0..1000 {
            assert!(matches!(overlay.handle_overlay(&known), OverlayVerdict::Unicast(..)));
            for frame in &frames {
                let _ = overlay.handle_overlay(frame);
            }
        }
    };
    assert_eq!(allocated_by(asked), 0);
}

#[test]
fn no_verdict_about_a_datagram_from_the_underlay_allocates() {
    let (mut segment, _) = warm();
    let known: Vec<_> = (0..STATIONS).map(|number| datagram(10, station(number))).collect();
    let refused: Vec<_> = (STATIONS..2 * STATIONS).map(|number| datagram(10, station(number))).collect();
    let bad = [vec![], vec![0; 8], datagram(11, station(1)), datagram(10, OWN), datagram(10, MacAddr::ZERO)];
    let mut now = Timestamp::ZERO;
    let asked = || {
        // Known ones heard of again, in a new second, moved to the other peer; new ones, for which there is no room; bad ones.
        for payload in known.iter().chain(&refused).chain(&bad) {
            for peer in PEERS {
                now = now.saturating_add(Duration::from_millis(100));
                segment.handle_underlay(peer.into(), payload, now);
            }
        }
    };
    assert_eq!(allocated_by(asked), 0);
    let counts = segment.counters().snapshot();
    assert_eq!((counts.moved, counts.refused_macs), (STATIONS, 2 * STATIONS));
}

#[test]
fn a_hundred_thousand_strangers_make_nothing_allocate() {
    let (mut segment, _) = warm();
    let payload = datagram(10, station(1));
    let asked = || {
        for number in 0..100_000_u32 {
            let stranger = IpAddr::from((0xc633_6400 + number).to_be_bytes());
            let verdict = segment.handle_underlay(stranger, &payload, Timestamp::ZERO);
            assert!(matches!(verdict, UnderlayVerdict::Drop(_)));
        }
    };
    assert_eq!(allocated_by(asked), 0);
}

#[test]
fn learning_ageing_and_learning_again_allocate_nothing() {
    let (mut segment, _) = warm();
    let datagrams: Vec<_> = (0..STATIONS).map(|number| datagram(10, station(1000 + number))).collect();
    let mut now = Timestamp::ZERO;
    let asked = || {
        for _ in 0..3 {
            now = now.saturating_add(Duration::from_secs(301));
            segment.handle_tick(now);
            for payload in &datagrams {
                segment.handle_underlay(PEERS[0].into(), payload, now);
            }
            while segment.poll_event().is_some() {}
        }
    };
    assert_eq!(allocated_by(asked), 0);
    assert_eq!(segment.counters().snapshot().learned, 4 * STATIONS);
}

#[test]
fn no_answer_to_a_probe_allocates_nor_what_only_looks_like_one() {
    let (mut segment, _) = warm();
    for (number, peer) in PEERS.iter().enumerate() {
        let inner = [10, 0, 0, 1 + number as u8];
        segment.peer_set_inner((*peer).into(), Some(inner.into())).expect("a peer");
    }
    segment.set_health(Some(HealthConfig::default()), Timestamp::ZERO);
    let mut now = Timestamp::ZERO;
    let answer = |inner: u8| {
        let packet = arp::Packet {
            operation: arp::Operation::Reply,
            sender_mac: station(1),
            sender: [10, 0, 0, inner].into(),
            target_mac: OWN,
            target: [10, 0, 0, 100].into(),
        };
        let header = [&[8, 0, 0, 0, 0, 0, 10, 0][..], &OWN.octets(), &station(1).octets(), &[8, 6]].concat();
        [&header[..], &packet.to_bytes()].concat()
    };
    let [one, two] = [answer(1), answer(2)];
    let short = one[..30].to_vec();
    let mut allocations = 0;
    for round in 0..100 {
        // Probes are rare, and may allocate.
        now = now.saturating_add(Duration::from_millis(200));
        segment.handle_health(now);
        while segment.poll_transmit().is_some() {}
        let answered = || {
            for payload in [&one, &two, &one, &short] {
                for peer in PEERS {
                    segment.handle_underlay(peer.into(), payload, now);
                }
            }
        };
        // That a peer comes up is told once, at the beginning.
        let allocated = allocated_by(answered);
        allocations += if round > 10 { allocated } else { 0 };
    }
    assert_eq!(allocations, 0);
    let counts = segment.counters().snapshot();
    let refused: u64 = counts.answers_refused.iter().sum();
    assert!(counts.probe_answers >= 190 && refused >= 500, "{counts:?}");
}
