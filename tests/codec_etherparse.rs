//! The codec against etherparse, which reads the same frames with none of our code.

mod frames;

use etherparse::{LenSource, LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};
use frames::samples;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use vxgate_codec::ecn::{self, Decap, Ecn};
use vxgate_codec::ethernet::{EtherType, Header, VlanTag};
use vxgate_codec::layers::{Fragment, IpVersion, Layers};
use vxgate_codec::{MacAddr, layers};

/// Where `part` lies in `frame`, in octets.
fn offset(frame: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - frame.as_ptr() as usize
}

/// Compares all that both say of a frame. False when etherparse reads no IP in it.
fn same(frame: &[u8], packet: &SlicedPacket<'_>) -> bool {
    let header = Header::parse(frame).expect("etherparse reads the header");
    let layers = Layers::parse(frame).expect("etherparse reads the header");
    let link = packet
        .link
        .as_ref()
        .and_then(|link| link.to_header())
        .and_then(|link| link.ethernet2())
        .expect("Ethernet");
    assert_eq!(header.destination, MacAddr::new(link.destination));
    assert_eq!(header.source, MacAddr::new(link.source));
    let mut ether_type = link.ether_type.0;
    let mut tags = vec![];
    for extension in &packet.link_exts {
        let LinkExtSlice::Vlan(tag) = extension else { unreachable!("no sample has MACsec") };
        tags.push(VlanTag {
            tpid: EtherType(ether_type),
            pcp: tag.priority_code_point().value(),
            dei: tag.drop_eligible_indicator(),
            vid: tag.vlan_identifier().value(),
        });
        ether_type = tag.ether_type().0;
    }
    assert_eq!(header.tags[..], tags);
    assert_eq!(usize::from(layers.vlan_tags), tags.len());
    assert_eq!((header.ether_type, layers.ether_type), (EtherType(ether_type), EtherType(ether_type)));
    assert_eq!((header.payload_offset(), layers.l3), (14 + 4 * tags.len(), 14 + 4 * tags.len()));

    let Some(ip) = layers.ip else {
        assert!(packet.ip_payload().is_none(), "etherparse reads IP");
        return false;
    };
    let payload = packet.ip_payload().expect("we read IP");
    match packet.net.as_ref().expect("an IP payload has an IP header") {
        NetSlice::Ipv4(net) => {
            let header = net.header();
            assert_eq!(ip.version, IpVersion::V4);
            assert_eq!(ip.tos, header.dcp().value() << 2 | header.ecn().value());
            assert_eq!((ip.ttl, ip.dont_fragment), (header.ttl(), header.dont_fragment()));
            assert_eq!(ip.source_address(frame), Some(header.source_addr().into()));
            assert_eq!(ip.destination_address(frame), Some(header.destination_addr().into()));
            assert_eq!(ip.fragment == Fragment::Later, header.fragments_offset().value() > 0);
        }
        NetSlice::Ipv6(net) => {
            let header = net.header();
            assert_eq!(ip.version, IpVersion::V6);
            assert_eq!((ip.tos, ip.ttl), (header.traffic_class(), header.hop_limit()));
            assert_eq!(ip.source_address(frame), Some(header.source_addr().into()));
            assert_eq!(ip.destination_address(frame), Some(header.destination_addr().into()));
        }
        NetSlice::Arp(_) => unreachable!("etherparse gave an IP payload"),
    }
    assert_eq!(ip.fragment != Fragment::None, payload.fragmented);
    assert_eq!(ip.protocol, payload.ip_number.0);
    assert_eq!(ip.l4, offset(frame, payload.payload));
    assert_eq!(ip.end, ip.l4 + payload.payload.len());
    true
}

/// Where etherparse goes on and we stop, by our documentation.
fn out_of_scope(frame: &[u8], packet: &SlicedPacket<'_>) -> bool {
    let tags = packet.link_exts.len() > 2;
    let other_link = packet.link_exts.iter().any(|extension| !matches!(extension, LinkExtSlice::Vlan(_)));
    // An IPv6 payload length of 0 means "all there is" to etherparse.
    let length = packet.ip_payload().is_some_and(|payload| payload.len_source == LenSource::Slice);
    let extensions = match &packet.net {
        // An authentication header of IPv4 is the transport to us.
        Some(NetSlice::Ipv4(net)) => net.extensions().auth.is_some(),
        // What follows the fragment header of a later fragment is payload to us; the walk has a bound.
        Some(NetSlice::Ipv6(net)) => {
            let later = Layers::parse(frame)
                .is_ok_and(|layers| layers.ip.is_some_and(|ip| ip.fragment == Fragment::Later));
            later || net.extensions().clone().into_iter().count() > layers::MAX_EXTENSION_HEADERS
        }
        Some(NetSlice::Arp(_)) | None => false,
    };
    tags || other_link || length || extensions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn well_formed_frames_read_the_same(mut sample in samples()) {
        let frame = sample.frame();
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let has_ip = same(&frame, &packet);
        let transport = sample.transport();
        prop_assert_eq!(has_ip, transport.is_some());
        let Some(transport) = transport else { return Ok(()) };
        let ip = Layers::parse(&frame).unwrap().ip.unwrap();
        prop_assert_eq!(&frame[ip.l4..ip.end], &transport.octets[..]);
        let (ports, payload) = match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => (true, tcp.payload()),
            Some(TransportSlice::Udp(udp)) => (true, udp.payload()),
            Some(TransportSlice::Icmpv4(icmp)) => (false, icmp.payload()),
            Some(TransportSlice::Icmpv6(icmp)) => (false, icmp.payload()),
            Some(TransportSlice::Igmp(_)) | None => return Ok(()),
        };
        prop_assert_eq!(transport.has_ports(), ports);
        prop_assert_eq!(&transport.octets[transport.payload()], payload);
    }

    #[test]
    fn what_etherparse_reads_of_a_damaged_frame_we_read_the_same(
        sample in samples(),
        octets in vec((any::<Index>(), any::<u8>()), 1..4),
        header_only: bool,
    ) {
        let mut frame = sample.frame();
        let reach = if header_only { 60.min(frame.len()) } else { frame.len() };
        for (index, octet) in octets {
            frame[12 + index.index(reach - 12)] = octet;
        }
        let Ok(packet) = SlicedPacket::from_ethernet(&frame) else { return Ok(()) };
        if !out_of_scope(&frame, &packet) {
            same(&frame, &packet);
        }
    }

    #[test]
    fn ecn_written_by_us_is_read_by_etherparse(sample in samples(), outer in 0_u8..4) {
        let before = sample.frame();
        let mut after = before.clone();
        let outer = Ecn::from_tos(outer);
        let result = ecn::decap_frame(0xb8 | outer.bits(), &mut after);
        let Some(tos) = ecn::tos(&before) else {
            prop_assert_eq!(result, Ok(false));
            return Ok(());
        };
        let expected = match ecn::decap(outer, Ecn::from_tos(tos)) {
            Decap::Keep => tos,
            Decap::Set(ecn) => tos & 0xfc | ecn.bits(),
            Decap::Drop => {
                prop_assert_eq!(result, Err(ecn::EcnError));
                return Ok(());
            }
        };
        prop_assert_eq!(result, Ok(expected != tos));
        let packet = SlicedPacket::from_ethernet(&after).unwrap();
        match packet.net.unwrap() {
            NetSlice::Ipv4(net) => {
                let header = net.header().to_header();
                prop_assert_eq!(header.dscp.value() << 2 | header.ecn.value(), expected);
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
            }
            NetSlice::Ipv6(net) => prop_assert_eq!(net.header().traffic_class(), expected),
            NetSlice::Arp(_) => unreachable!("the frame has a type of service"),
        }
    }
}
