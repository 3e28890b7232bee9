//! What holds for ARP and neighbour discovery on all inputs, etherparse as the second reader; and for health, whatever peers send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use vxgate_codec::ndp::{self, MAX_PACKET_OCTETS, Message};
use vxgate_codec::{MacAddr, arp};
use vxgate_core::{HealthConfig, PeerState, Remote, Segment, SegmentConfig, Timestamp, UnderlayVerdict};

fn macs() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr::new)
}

/// An address of one node.
fn nodes() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits & !(0xff << 120) | 0x20 << 120))
}

fn arp_packets() -> impl Strategy<Value = arp::Packet> {
    let operations = prop_oneof![Just(arp::Operation::Request), Just(arp::Operation::Reply)];
    (operations, macs(), any::<Ipv4Addr>(), macs(), any::<Ipv4Addr>()).prop_map(
        |(operation, sender_mac, sender, target_mac, target)| arp::Packet {
            operation,
            sender_mac,
            sender,
            target_mac,
            target,
        },
    )
}

fn ndp_packets() -> impl Strategy<Value = ndp::Packet> {
    let asked = (nodes(), option::of(macs()))
        .prop_map(|(target, source_mac)| Message::Solicitation { target, source_mac });
    let told = (nodes(), option::of(macs()), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(target, target_mac, is_router, is_solicited, overrides)| Message::Advertisement {
            target,
            target_mac,
            is_router,
            is_solicited,
            overrides,
        },
    );
    (nodes(), nodes(), prop_oneof![asked, told]).prop_map(|(source, destination, message)| ndp::Packet {
        source,
        destination,
        message,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..120)) {
        let _ = ndp::Packet::parse(&bytes);
        if let Some(packet) = arp::Packet::parse(&bytes) {
            prop_assert_eq!(&packet.to_bytes()[..], &bytes[..arp::PACKET_OCTETS]);
        }
    }

    #[test]
    fn an_arp_packet_is_read_as_it_was_written_and_as_another_reader_does(packet in arp_packets(), pad in 0_usize..20) {
        let bytes = packet.to_bytes();
        let padded = [&bytes[..], &vec![0xaa; pad]].concat();
        prop_assert_eq!(arp::Packet::parse(&padded), Some(packet));
        let other = etherparse::ArpPacketSlice::from_slice(&bytes).unwrap();
        prop_assert_eq!(other.operation().0, if packet.operation == arp::Operation::Request { 1 } else { 2 });
        prop_assert_eq!(other.sender_hw_addr(), &packet.sender_mac.octets()[..]);
        prop_assert_eq!(other.sender_protocol_addr(), &packet.sender.octets()[..]);
        prop_assert_eq!(other.target_hw_addr(), &packet.target_mac.octets()[..]);
        prop_assert_eq!(other.target_protocol_addr(), &packet.target.octets()[..]);
    }

    #[test]
    fn a_neighbour_message_is_read_as_it_was_written_and_its_checksum_holds(packet in ndp_packets(), dirt: u8) {
        let mut buffer = [dirt; MAX_PACKET_OCTETS];
        let bytes = packet.to_bytes(&mut buffer);
        prop_assert_eq!(ndp::Packet::parse(bytes), Some(packet));
        let other = SlicedPacket::from_ip(bytes).unwrap();
        let Some(NetSlice::Ipv6(net)) = &other.net else { panic!("{other:?}") };
        let Some(TransportSlice::Icmpv6(icmp)) = &other.transport else { panic!("{other:?}") };
        prop_assert_eq!(net.header().source_addr(), packet.source);
        prop_assert_eq!(net.header().destination_addr(), packet.destination);
        prop_assert!(icmp.is_checksum_valid(net.header().source(), net.header().destination()));
    }

    #[test]
    fn a_damaged_neighbour_message_is_read_without_a_panic(
        packet in ndp_packets(),
        damage in vec((any::<Index>(), any::<u8>()), 1..5),
        end in any::<Index>(),
    ) {
        let mut buffer = [0; MAX_PACKET_OCTETS];
        let mut bytes = packet.to_bytes(&mut buffer).to_vec();
        for (index, octet) in damage {
            *index.get_mut(&mut bytes) = octet;
        }
        let _ = ndp::Packet::parse(&bytes);
        let _ = ndp::Packet::parse(&bytes[..end.index(bytes.len())]);
    }
}

const OWN: MacAddr = MacAddr::new([2, 0, 0xff, 0, 0, 0]);
const PEERS: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
    (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), IpAddr::V6(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 2))),
];

/// A frame that looks like an answer, some octets of which may be wrong.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let arp = arp_packets().prop_map(|packet| {
        let sender = Ipv4Addr::new(10, 0, 0, packet.sender.octets()[3] % 3);
        let packet = arp::Packet { sender, ..packet };
        [&[8, 6][..], &packet.to_bytes()].concat()
    });
    let ndp = ndp_packets().prop_map(|mut packet| {
        if let Message::Advertisement { target, .. } = &mut packet.message {
            *target = Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, u16::from(target.octets()[15] % 3));
        }
        [&[0x86, 0xdd][..], packet.to_bytes(&mut [0; MAX_PACKET_OCTETS])].concat()
    });
    let to = prop_oneof![Just(OWN), macs(), Just(MacAddr::BROADCAST)];
    (to, prop_oneof![arp, ndp], vec((any::<Index>(), any::<u8>()), 0..2), any::<Index>(), 0_u8..4).prop_map(
        |(to, payload, damage, end, cut)| {
            let mut frame = [&to.octets()[..], &[2, 0, 0, 0, 0, 1], &payload].concat();
            for (index, octet) in damage {
                *index.get_mut(&mut frame) = octet;
            }
            if cut == 0 {
                frame.truncate(14 + end.index(frame.len() - 13));
            }
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_peers_answer_nothing_panics_and_none_is_up_by_what_another_says(
        frames in vec((0_usize..2, answers()), 1..40),
    ) {
        let mut segment = Segment::new(SegmentConfig { own_mac: OWN, ..SegmentConfig::default() });
        for (outer, inner) in PEERS {
            segment.peer_add(Remote::new(outer), Timestamp::ZERO).unwrap();
            segment.peer_set_inner(outer, Some(inner)).unwrap();
        }
        segment.set_health(Some(HealthConfig::default()), Timestamp::ZERO);
        let mut may_be_up = [false; 2];
        for (step, (peer, frame)) in frames.into_iter().enumerate() {
            let now = Timestamp::from_nanos(step as u64 * 30_000_000);
            segment.handle_health(now);
            let payload = [&[8, 0, 0, 0, 0, 0, 10, 0][..], &frame].concat();
            let counters = segment.counters();
            if let UnderlayVerdict::Deliver { peer, .. } = segment.handle_underlay(PEERS[peer].0, &payload, now) {
                counters.count_delivered(peer, 1, frame.len() as u64);
            }
            let to_us = frame.starts_with(&OWN.octets());
            let names = match (arp::Packet::parse(&frame[14..]), ndp::Packet::parse(&frame[14..])) {
                (Some(packet), _) if packet.operation == arp::Operation::Reply => Some(IpAddr::V4(packet.sender)),
                (_, Some(packet)) => match packet.message {
                    Message::Advertisement { target, .. } => Some(IpAddr::V6(target)),
                    Message::Solicitation { .. } => None,
                },
                _ => None,
            };
            // Asked from `::`, as we have no address here, an IPv6 peer answers to all nodes.
            let to_all = frame.starts_with(&[0x33, 0x33, 0, 0, 0, 1]);
            may_be_up[peer] |= (to_us || to_all) && names == Some(PEERS[peer].1);
            for (view, may) in segment.peers().zip(may_be_up) {
                prop_assert!(may || view.health.state == PeerState::Unknown, "{view:?}");
            }
        }
        prop_assert!(segment.counters().snapshot().is_balanced());
    }
}
