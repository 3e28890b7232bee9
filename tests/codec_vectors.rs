//! The codec against datagrams captured from Linux's vxlan device: `tests/vectors/README.md`.

use std::fs;
use std::path::Path;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use vxgate_codec::ecn::{self, Ecn};
use vxgate_codec::ethernet::{EtherType, Header};
use vxgate_codec::layers::{Fragment, Layers};
use vxgate_codec::{ReservedBits, Vni, vxlan};

/// Each capture, its segment, and whether its outer UDP checksum is filled in.
const CAPTURES: [(&str, u32, bool); 5] = [
    ("ipv4-vni-10", 10, true),
    ("ipv4-vni-0", 0, true),
    ("ipv4-vni-16777215", 16_777_215, true),
    ("ipv4-no-checksum-vni-10", 10, false),
    ("ipv6-vni-10", 10, true),
];

/// The packets of a classic little endian pcap file.
fn packets(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name).with_extension("pcap");
    let file = fs::read(&path).expect("the captures lie in the repository");
    let (magic, mut rest) = file.split_at(24);
    assert_eq!(magic[..4], [0xd4, 0xc3, 0xb2, 0xa1], "{}", path.display());
    let mut packets = vec![];
    while let Some((record, behind)) = rest.split_first_chunk::<16>() {
        let octets = u32::from_le_bytes([record[8], record[9], record[10], record[11]]) as usize;
        let (packet, behind) = behind.split_at(octets);
        packets.push(packet.to_vec());
        rest = behind;
    }
    packets
}

/// One captured datagram: its UDP payload and the outer type of service, as etherparse reads them.
struct Outer {
    tos: u8,
    payload: Vec<u8>,
}

fn outer(packet: &[u8], checksum: bool) -> Outer {
    let sliced = SlicedPacket::from_ethernet(packet).expect("the kernel sends well formed packets");
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else { panic!("not UDP: {sliced:?}") };
    assert_eq!(udp.destination_port(), vxlan::PORT);
    let header = udp.to_header();
    let (tos, right) = match sliced.net.as_ref() {
        Some(NetSlice::Ipv4(net)) => {
            let ip = net.header().to_header();
            (ip.dscp.value() << 2 | ip.ecn.value(), header.calc_checksum_ipv4(&ip, udp.payload()))
        }
        Some(NetSlice::Ipv6(net)) => {
            let ip = net.header().to_header();
            (ip.traffic_class, header.calc_checksum_ipv6(&ip, udp.payload()))
        }
        net => panic!("not IP: {net:?}"),
    };
    assert_eq!(header.checksum, if checksum { right.expect("a short payload") } else { 0 });
    Outer { tos, payload: udp.payload().to_vec() }
}

/// Runs `check` with each captured datagram, the frame that went in, and the segment.
fn each_vector(check: impl Fn(&Outer, &[u8], Vni)) {
    let inner = packets("inner");
    assert_eq!(inner.len(), 33);
    for (name, vni, checksum) in CAPTURES {
        let captured = packets(name);
        assert_eq!(captured.len(), inner.len(), "{name}");
        for (packet, frame) in captured.iter().zip(&inner) {
            check(&outer(packet, checksum), frame, Vni::new(vni).expect("24 bits"));
        }
    }
}

#[test]
fn decap_gives_the_frame_that_went_into_the_kernels_device() {
    each_vector(|outer, frame, vni| {
        for policy in ReservedBits::ALL {
            assert_eq!(vxlan::decap(&outer.payload, *policy), Ok((vni, frame)));
        }
    });
}

#[test]
fn encap_writes_the_octets_that_the_kernels_device_writes() {
    each_vector(|outer, frame, vni| {
        let mut datagram = vec![0xff; vxlan::HEADER_OCTETS + frame.len()];
        let (headroom, payload) = datagram.split_first_chunk_mut().unwrap();
        vxlan::encap(vni, headroom);
        payload.copy_from_slice(frame);
        assert_eq!(datagram, outer.payload);
    });
}

#[test]
fn the_kernels_header_has_flag_i_and_no_reserved_bit() {
    each_vector(|outer, _, vni| {
        let header = vxlan::Header::parse(&outer.payload).unwrap();
        assert_eq!((header.vni(), header.reserved()), (vni, 0));
        assert_eq!(header, vxlan::Header::new(vni));
    });
}

#[test]
fn the_outer_ecn_field_is_the_inner_one_except_that_the_kernel_makes_ce_ect_0() {
    each_vector(|outer, frame, _| {
        let inner = ecn::tos(frame).unwrap_or_default();
        let ours = ecn::encap(inner, 0);
        // RFC 3168 section 9.1.1, against RFC 6040 section 4.1: written down in `ecn::encap`.
        let kernels = if Ecn::from_tos(inner) == Ecn::Ce { Ecn::Ect0.bits() } else { ours };
        assert_eq!(outer.tos, kernels);
    });
}

#[test]
fn the_vectors_hold_every_kind_of_frame() {
    let frames = packets("inner");
    let headers: Vec<_> = frames.iter().map(|frame| Header::parse(frame).unwrap()).collect();
    let layers: Vec<_> = frames.iter().map(|frame| Layers::parse(frame).unwrap()).collect();
    let ips: Vec<_> = layers.iter().filter_map(|layers| layers.ip).collect();
    assert_eq!(frames.iter().map(Vec::len).min(), Some(14));
    assert_eq!(frames.iter().map(Vec::len).max(), Some(1518), "the payload of 1500 with a tag");
    for ether_type in [EtherType::IPV4, EtherType::IPV6, EtherType::ARP] {
        assert!(headers.iter().any(|header| header.ether_type == ether_type && header.tags.is_empty()));
        assert!(headers.iter().any(|header| header.ether_type == ether_type && !header.tags.is_empty()));
    }
    assert!(headers.iter().any(|header| header.tags.len() == 2));
    assert!(headers.iter().any(|header| header.destination.is_broadcast()));
    assert!(headers.iter().any(|header| header.destination.is_group() && !header.destination.is_broadcast()));
    let with_ip = |layers: &&Layers| [EtherType::IPV4, EtherType::IPV6].contains(&layers.ether_type);
    assert_eq!(ips.len(), layers.iter().filter(with_ip).count(), "all IP is well formed");
    for fragment in [Fragment::None, Fragment::First, Fragment::Later] {
        assert!(ips.iter().any(|ip| ip.fragment == fragment));
    }
    for ecn in Ecn::ALL {
        assert!(ips.iter().any(|ip| Ecn::from_tos(ip.tos) == *ecn));
    }
}
