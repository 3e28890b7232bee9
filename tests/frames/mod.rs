//! Frames of every shape that the codec tells apart, drawn by proptest and written by etherparse.
#![expect(clippy::unwrap_used, reason = "each strategy draws within the range that etherparse checks")]

use std::ops::Range;

use etherparse::{
    EtherType, Ethernet2Header, IpAuthHeader, IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options,
    Ipv6Extensions, Ipv6FlowLabel, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions,
    SingleVlanHeader, TcpHeader, UdpHeader, VlanId, VlanPcp,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Transport protocols whose header begins with two ports.
const WITH_PORTS: [u8; 4] = [6, 17, 132, 136];

/// A frame in parts, so that a test can change one and write it again.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) destination: [u8; 6],
    pub(crate) source: [u8; 6],
    pub(crate) tags: Vec<Tag>,
    pub(crate) network: Network,
    /// Octets behind the packet, as Ethernet pads short ones.
    pub(crate) padding: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    pub(crate) tpid: u16,
    pub(crate) pcp: u8,
    pub(crate) dei: bool,
    pub(crate) vid: u16,
}

#[derive(Clone, Debug)]
pub(crate) enum Network {
    V4(Ipv4Header, Transport),
    V6(Ipv6Header, Box<Ipv6Extensions>, Transport),
    Other(u16, Vec<u8>),
}

/// A transport header and payload.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) number: u8,
    pub(crate) octets: Vec<u8>,
    header_octets: usize,
}

impl Sample {
    /// The frame as sent, lengths and IPv4 checksum filled in.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let (ether_type, packet) = self.network.packet();
        let ether_type_behind =
            |index: usize| EtherType(self.tags.get(index).map_or(ether_type, |tag| tag.tpid));
        let ethernet = Ethernet2Header {
            source: self.source,
            destination: self.destination,
            ether_type: ether_type_behind(0),
        };
        let mut frame = ethernet.to_bytes().to_vec();
        for (index, tag) in self.tags.iter().enumerate() {
            let header = SingleVlanHeader {
                pcp: VlanPcp::try_new(tag.pcp).unwrap(),
                drop_eligible_indicator: tag.dei,
                vlan_id: VlanId::try_new(tag.vid).unwrap(),
                ether_type: ether_type_behind(index + 1),
            };
            frame.extend(header.to_bytes());
        }
        frame.extend(packet);
        frame.resize(frame.len() + self.padding, 0);
        frame
    }

    /// The transport header and payload, where there is IP.
    pub(crate) fn transport(&mut self) -> Option<&mut Transport> {
        match &mut self.network {
            Network::V4(_, transport) | Network::V6(_, _, transport) => Some(transport),
            Network::Other(..) => None,
        }
    }

    /// Turns the packet into the part of a datagram at `offset`, in units of 8 octets. False without IP.
    pub(crate) fn fragment(&mut self, offset: u16, more: bool) -> bool {
        let fragment_offset = IpFragOffset::try_new(offset).unwrap();
        match &mut self.network {
            Network::V4(header, _) => {
                (header.fragment_offset, header.more_fragments) = (fragment_offset, more);
                true
            }
            Network::V6(_, extensions, _) => {
                extensions.fragment =
                    Some(Ipv6FragmentHeader::new(IpNumber::UDP, fragment_offset, more, 0x0123_4567));
                if offset > 0 {
                    // Headers behind the fragment header stand in the first fragment only.
                    extensions.auth = None;
                    if let Some(routing) = &mut extensions.routing {
                        routing.final_destination_options = None;
                    }
                }
                true
            }
            Network::Other(..) => false,
        }
    }
}

impl Network {
    fn packet(&self) -> (u16, Vec<u8>) {
        match self {
            Network::V4(header, transport) => {
                let mut header = header.clone();
                header.protocol = IpNumber(transport.number);
                header.set_payload_len(transport.octets.len()).unwrap();
                header.header_checksum = header.calc_header_checksum();
                (0x0800, [&header.to_bytes()[..], &transport.octets].concat())
            }
            Network::V6(header, extensions, transport) => {
                let mut extensions = extensions.clone();
                let mut header = header.clone();
                header.next_header = extensions.set_next_headers(IpNumber(transport.number));
                header.set_payload_length(extensions.header_len() + transport.octets.len()).unwrap();
                let mut packet = header.to_bytes().to_vec();
                extensions.write(&mut packet, header.next_header).unwrap();
                packet.extend(&transport.octets);
                (0x86dd, packet)
            }
            Network::Other(ether_type, payload) => (*ether_type, payload.clone()),
        }
    }
}

impl Transport {
    pub(crate) fn has_ports(&self) -> bool {
        WITH_PORTS.contains(&self.number)
    }

    /// Where the octets lie that no flow depends on.
    pub(crate) fn payload(&self) -> Range<usize> {
        self.header_octets..self.octets.len()
    }
}

pub(crate) fn samples() -> impl Strategy<Value = Sample> {
    let fragment = prop_oneof![
        4 => Just(None),
        1 => Just(Some((0, true))),
        1 => (1_u16..0x2000, any::<bool>()).prop_map(Some),
    ];
    let headers = (any::<[u8; 6]>(), any::<[u8; 6]>(), vec(tag(), 0..=2), network(), 0_usize..20);
    (headers, fragment).prop_map(|((destination, source, tags, network, padding), fragment)| {
        let mut sample = Sample { destination, source, tags, network, padding };
        if let Some((offset, more)) = fragment {
            sample.fragment(offset, more);
        }
        sample
    })
}

fn tag() -> impl Strategy<Value = Tag> {
    (select(vec![0x8100_u16, 0x88a8, 0x9100]), 0_u8..8, any::<bool>(), 0_u16..4096)
        .prop_map(|(tpid, pcp, dei, vid)| Tag { tpid, pcp, dei, vid })
}

fn network() -> impl Strategy<Value = Network> {
    let arp = vec(any::<u8>(), 20).prop_map(|addresses| {
        // Ethernet and IPv4, six and four octets, a request (RFC 826).
        Network::Other(0x0806, [&[0, 1, 0x08, 0x00, 6, 4, 0, 1][..], &addresses].concat())
    });
    let other = select(vec![0x8847_u16, 0x88cc, 0x0027]);
    prop_oneof![
        4 => (ipv4(), transport(1, 8)).prop_map(|(header, transport)| Network::V4(header, transport)),
        4 => (ipv6(), extensions(), transport(58, 128)).prop_map(|(header, extensions, transport)| {
            Network::V6(header, Box::new(extensions), transport)
        }),
        1 => arp,
        1 => (other, vec(any::<u8>(), 28..60)).prop_map(|(ether_type, payload)| Network::Other(ether_type, payload)),
    ]
}

fn ipv4() -> impl Strategy<Value = Ipv4Header> {
    let options = (0_usize..=10).prop_flat_map(|words| vec(any::<u8>(), words * 4));
    let fields = (any::<u8>(), any::<u8>(), any::<u16>(), any::<bool>());
    (fields, any::<[u8; 4]>(), any::<[u8; 4]>(), options).prop_map(
        |((tos, time_to_live, identification, dont_fragment), source, destination, options)| Ipv4Header {
            dscp: IpDscp::try_new(tos >> 2).unwrap(),
            ecn: IpEcn::try_new(tos & 3).unwrap(),
            identification,
            dont_fragment,
            time_to_live,
            source,
            destination,
            options: Ipv4Options::try_from(&options[..]).unwrap(),
            ..Default::default()
        },
    )
}

fn ipv6() -> impl Strategy<Value = Ipv6Header> {
    (any::<u8>(), 0_u32..1 << 20, any::<u8>(), any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(
        |(traffic_class, flow_label, hop_limit, source, destination)| Ipv6Header {
            traffic_class,
            flow_label: Ipv6FlowLabel::try_new(flow_label).unwrap(),
            payload_length: 0,
            next_header: IpNumber::UDP,
            hop_limit,
            source,
            destination,
        },
    )
}

fn extensions() -> impl Strategy<Value = Ipv6Extensions> {
    let raw = || {
        (0_usize..3).prop_flat_map(|units| {
            vec(any::<u8>(), 6 + units * 8)
                .prop_map(|payload| Ipv6RawExtHeader::new_raw(IpNumber::UDP, &payload).unwrap())
        })
    };
    let rare = |strategy| option::weighted(0.25, strategy);
    let auth = (0_usize..6).prop_flat_map(|words| {
        vec(any::<u8>(), words * 4).prop_map(|icv| IpAuthHeader::new(IpNumber::UDP, 1, 2, &icv).unwrap())
    });
    let atomic = Just(Ipv6FragmentHeader::new(IpNumber::UDP, IpFragOffset::ZERO, false, 9));
    let routing = (raw(), option::of(raw())).prop_map(|(routing, final_destination_options)| {
        Ipv6RoutingExtensions { routing, final_destination_options }
    });
    (
        rare(raw()),
        rare(raw()),
        option::weighted(0.25, routing),
        option::weighted(0.1, atomic),
        option::weighted(0.2, auth),
    )
        .prop_map(|(hop_by_hop_options, destination_options, routing, fragment, auth)| Ipv6Extensions {
            hop_by_hop_options,
            destination_options,
            routing,
            fragment,
            auth,
        })
}

fn transport(icmp: u8, echo: u8) -> impl Strategy<Value = Transport> {
    let payload = || vec(any::<u8>(), 1..200);
    let ports = || any::<(u16, u16)>();
    let tcp_options = (0_usize..=10).prop_flat_map(|words| vec(any::<u8>(), words * 4));
    let tcp = (ports(), any::<u32>(), tcp_options, payload()).prop_map(
        |((source, destination), sequence, options, payload)| {
            let mut header = TcpHeader::new(source, destination, sequence, 0x1000);
            header.set_options_raw(&options).unwrap();
            Transport::new(6, &header.to_bytes(), &payload)
        },
    );
    let udp = (ports(), payload()).prop_map(|((source_port, destination_port), payload)| {
        let length = 8 + payload.len() as u16;
        let header = UdpHeader { source_port, destination_port, length, checksum: 0 };
        Transport::new(17, &header.to_bytes(), &payload)
    });
    let ports_first = (select(vec![132_u8, 136]), ports(), payload()).prop_map(
        |(number, (source, destination), payload)| {
            let header = [source.to_be_bytes(), destination.to_be_bytes()].concat();
            Transport::new(number, &header, &payload)
        },
    );
    let icmp =
        payload().prop_map(move |payload| Transport::new(icmp, &[echo, 0, 0, 0, 0, 1, 0, 1], &payload));
    let other = (select(vec![4_u8, 41, 47, 50, 89, 253]), payload())
        .prop_map(|(number, payload)| Transport::new(number, &[], &payload));
    prop_oneof![3 => tcp, 3 => udp, 1 => ports_first, 1 => icmp, 1 => other]
}

impl Transport {
    fn new(number: u8, header: &[u8], payload: &[u8]) -> Transport {
        Transport { number, octets: [header, payload].concat(), header_octets: header.len() }
    }
}
