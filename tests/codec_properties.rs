//! What holds for the codec on all inputs: nothing panics, what is written is what was read, flows stay together.

mod frames;

use frames::{Network, Sample, samples};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use vxgate_codec::ethernet::{self, MAX_HEADER_OCTETS};
use vxgate_codec::flow::{SOURCE_PORTS, flow_hash, source_port};
use vxgate_codec::layers::{Fragment, Layers};
use vxgate_codec::tcp::{MssLimit, clamp_mss, may_be_syn};
use vxgate_codec::{MacAddr, ParseError, ReservedBits, Vni, ecn, vxlan};

/// Runs every function that takes bytes and checks what each result promises.
fn read_all(bytes: &[u8], outer_tos: u8, key: u64) {
    for policy in ReservedBits::ALL {
        if let Ok((_, frame)) = vxlan::decap(bytes, *policy) {
            assert!(frame.len() >= ethernet::HEADER_OCTETS);
            assert_eq!(frame, &bytes[vxlan::HEADER_OCTETS..]);
        }
    }
    assert_eq!(
        vxlan::Header::parse(bytes).is_err_and(|error| error == ParseError::Truncated),
        bytes.len() < 8
    );
    assert_eq!(ethernet::destination(bytes).is_some(), bytes.len() >= 6);
    assert_eq!(ethernet::source(bytes).is_some(), bytes.len() >= 12);
    let header = ethernet::Header::parse(bytes);
    let layers = Layers::parse(bytes);
    assert_eq!(header.err(), layers.err(), "both name the same rule");
    if let Ok(layers) = layers {
        assert!(layers.l3 <= bytes.len());
        if let Some(ip) = layers.ip {
            assert!(layers.l3 < ip.l4 && ip.l4 <= ip.end && ip.end <= bytes.len());
            assert!(ip.source().start > layers.l3 && ip.source().end == ip.destination().start);
            assert!(ip.destination().end <= ip.l4);
            assert!(ip.source_address(bytes).is_some() && ip.destination_address(bytes).is_some());
            assert_eq!(ecn::tos(bytes), Some(ip.tos));
        }
    }
    let _ = flow_hash(bytes, key);
    let mut frame = bytes.to_vec();
    match ecn::decap_frame(outer_tos, &mut frame) {
        Ok(changed) => assert_eq!(changed, frame != bytes),
        Err(ecn::EcnError) => assert_eq!(frame, bytes),
    }
    let limit = MssLimit { v4: 536, v6: 1220 };
    let mut frame = bytes.to_vec();
    let lowered = clamp_mss(&mut frame, limit, None);
    assert_eq!(lowered, frame != bytes);
    assert!(
        !lowered || may_be_syn(bytes) && !clamp_mss(&mut frame, limit, None),
        "seen at once, and done once"
    );
}

/// A well formed frame with some octets replaced and its end cut off: reaches deeper than any bytes do.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (samples(), vec((any::<Index>(), any::<u8>()), 0..6), any::<Index>(), any::<bool>()).prop_map(
        |(sample, octets, end, cut)| {
            let mut frame = sample.frame();
            for (index, octet) in octets {
                *index.get_mut(&mut frame) = octet;
            }
            if cut {
                frame.truncate(end.index(frame.len()));
            }
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..300), tos: u8, key: u64) {
        read_all(&bytes, tos, key);
    }

    #[test]
    fn damaged_frames_are_read_without_a_panic(frame in damaged(), tos: u8, key: u64) {
        read_all(&frame, tos, key);
    }

    #[test]
    fn decap_gives_back_what_encap_took(
        number in 0_u32..1 << 24,
        dirt: [u8; 8],
        frame in vec(any::<u8>(), 14..200),
    ) {
        let vni = Vni::new(number).unwrap();
        let mut headroom = dirt;
        vxlan::encap(vni, &mut headroom);
        let datagram = [&headroom[..], &frame].concat();
        for policy in ReservedBits::ALL {
            prop_assert_eq!(vxlan::decap(&datagram, *policy), Ok((vni, &frame[..])));
        }
    }

    #[test]
    fn a_vxlan_header_is_written_as_it_was_read(mut octets: [u8; 8]) {
        octets[0] |= 0x08;
        let header = vxlan::Header::parse(&octets).unwrap();
        prop_assert_eq!(header.to_bytes(), octets);
        prop_assert_eq!(header.reserved() == 0, vxlan::Header::new(header.vni()) == header);
    }

    #[test]
    fn an_ethernet_header_is_written_as_it_was_read(sample in samples(), dirt: [u8; 16]) {
        let frame = sample.frame();
        let header = ethernet::Header::parse(&frame).unwrap();
        let mut buffer = [0; MAX_HEADER_OCTETS];
        buffer[..16].copy_from_slice(&dirt);
        prop_assert_eq!(header.to_bytes(&mut buffer), &frame[..header.payload_offset()]);
    }

    #[test]
    fn text_gives_back_what_it_was_made_from(octets: [u8; 6], number in 0_u32..1 << 24) {
        let mac = MacAddr::new(octets);
        prop_assert_eq!(mac.to_string().parse(), Ok(mac));
        prop_assert_eq!(mac.to_string().to_uppercase().replace(':', "-").parse(), Ok(mac));
        prop_assert_eq!(MacAddr::from_bits(mac.to_bits()), mac);
        let vni = Vni::new(number).unwrap();
        prop_assert_eq!(vni.to_string().parse(), Ok(vni));
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,24}") {
        let _ = (text.parse::<MacAddr>(), text.parse::<Vni>(), text.parse::<ReservedBits>());
    }

    #[test]
    fn the_payload_does_not_change_the_flow(sample in samples(), key: u64, octet: u8, index: Index) {
        let mut other = sample.clone();
        let Some(transport) = other.transport() else { return Ok(()) };
        let payload = transport.payload();
        let place = payload.start + index.index(payload.len());
        transport.octets[place] ^= octet;
        prop_assert_eq!(flow_hash(&sample.frame(), key), flow_hash(&other.frame(), key));
    }

    #[test]
    fn ports_make_flows_differ_unless_the_packet_is_a_fragment(sample in samples(), key: u64, turned in 1_u16..) {
        let mut other = sample.clone();
        let Some(transport) = other.transport() else { return Ok(()) };
        for (octet, turned) in transport.octets.iter_mut().zip(turned.to_be_bytes()) {
            *octet ^= turned;
        }
        let has_ports = transport.has_ports();
        let frame = sample.frame();
        let whole = Layers::parse(&frame).unwrap().ip.unwrap().fragment == Fragment::None;
        let same = flow_hash(&frame, key) == flow_hash(&other.frame(), key);
        prop_assert_eq!(same, !(whole && has_ports));
    }

    #[test]
    fn addresses_and_vlans_make_flows_differ(sample in samples(), key: u64, turned in 1_u8.., vid in 1_u16..0x1000) {
        let hash = flow_hash(&sample.frame(), key);
        let mut other = sample.clone();
        match &mut other.network {
            Network::V4(header, _) => header.source[3] ^= turned,
            Network::V6(header, ..) => header.destination[15] ^= turned,
            Network::Other(..) => other.source[5] ^= turned,
        }
        prop_assert_ne!(flow_hash(&other.frame(), key), hash);
        let mut other = sample.clone();
        if let Some(tag) = other.tags.last_mut() {
            tag.vid ^= vid;
            prop_assert_ne!(flow_hash(&other.frame(), key), hash);
        }
    }

    #[test]
    fn all_fragments_of_a_datagram_are_one_flow(
        sample in samples(),
        key: u64,
        parts in vec((1_u16..0x2000, any::<bool>(), any::<u8>(), vec(any::<u8>(), 1..40)), 1..4),
    ) {
        let first = |mut sample: Sample| sample.fragment(0, true).then(|| flow_hash(&sample.frame(), key));
        let Some(hash) = first(sample.clone()) else { return Ok(()) };
        for (offset, more, next_header, payload) in parts {
            let mut later = sample.clone();
            later.fragment(offset, more);
            let transport = later.transport().unwrap();
            transport.octets = payload;
            // Only the first fragment of IPv6 must name the right one (RFC 8200 section 4.5).
            transport.number = next_header;
            prop_assert_eq!(flow_hash(&later.frame(), key), hash);
        }
    }

    #[test]
    fn a_source_port_lies_in_its_range_and_keeps_the_order_of_hashes(hash: u32, other: u32, start: u16, ports: u16) {
        let range = start..=start.saturating_add(ports);
        let port = source_port(hash, range.clone());
        prop_assert!(range.contains(&port));
        if hash <= other {
            prop_assert!(port <= source_port(other, range));
        }
        prop_assert!(source_port(hash, SOURCE_PORTS) >= 49152);
    }
}
