//! Superframes of every shape that a stack may send, and of some that it never would.
#![expect(clippy::unwrap_used, reason = "each strategy draws within the range that etherparse checks")]

use std::fmt;
use std::ops::Deref;

use etherparse::{Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use vxgate_offload::VirtioNetHeader;

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 2];
/// Segments of one superframe, at most: each is a frame that the reader's queue must hold.
const SEGMENTS_MAX: usize = 600;
/// Octets of an IP packet, whose length field has 16 bits, less its headers at their longest.
const PAYLOAD_OCTETS_MAX: usize = 65_535 - 20 - 40 - 60 - 60;

/// What varies from one superframe to the next.
#[derive(Clone, Debug)]
pub(crate) struct Superframe {
    pub(crate) udp: bool,
    v6: bool,
    /// VLAN tags: TPID and TCI.
    tags: Vec<(u16, u16)>,
    tos: u8,
    ttl: u8,
    /// Identification and DF of IPv4; the flow label of IPv6 has the former, too.
    identification: u16,
    dont_fragment: bool,
    /// Words of IPv4 options, all of them "no operation".
    ip_options: usize,
    /// Options of IPv6 to pad, in an extension header of this kind: hop by hop (0), or destination (60).
    extension: Option<u8>,
    tcp: Tcp,
    pub(crate) payload: Payload,
    pub(crate) segment_octets: u16,
    gso: bool,
}

/// Shows its length only: the octets say nothing.
#[derive(Clone)]
pub(crate) struct Payload(Vec<u8>);

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} octets", self.0.len())
    }
}

#[derive(Clone, Debug)]
struct Tcp {
    sequence: u32,
    /// All eight, CWR first (RFC 9293 section 3.1).
    flags: u8,
    window: u16,
    /// Padded with zeros, the end of the list, to a multiple of four.
    options: Vec<u8>,
}

pub(crate) fn superframes() -> impl Strategy<Value = Superframe> {
    let near_the_end = |most: u32| prop_oneof![any::<u32>(), most - 5_000..=most];
    let options = prop_oneof![
        Just(Vec::new()),
        // No operation twice, and timestamps: what Linux sends with each segment (RFC 7323).
        any::<[u8; 8]>().prop_map(|stamps| [&[1, 1, 8, 10][..], &stamps].concat()),
        vec(any::<u8>(), 0..=40),
    ];
    let tcp = (near_the_end(u32::MAX), any::<u8>(), any::<u16>(), options)
        .prop_map(|(sequence, flags, window, options)| Tcp { sequence, flags, window, options });
    let tag = (select(vec![0x8100_u16, 0x88a8]), any::<u16>());
    let payload = prop_oneof![
        4 => 1..20_000_usize,
        1 => PAYLOAD_OCTETS_MAX - 1_000..=PAYLOAD_OCTETS_MAX,
        1 => 1..100_usize,
    ];
    let network = (
        any::<bool>(),
        vec(tag, 0..=2),
        any::<(u8, bool)>(),
        1..=u8::MAX,
        near_the_end(u32::from(u16::MAX)),
        0..=10_usize,
        proptest::option::weighted(0.2, select(vec![0_u8, 60])),
    );
    (network, tcp, payload, any::<u64>(), prop_oneof![1..9_000_u16, 1_300..1_500_u16]).prop_map(
        |((v6, tags, (tos, dont_fragment), ttl, id, ip_options, extension), tcp, octets, seed, segment)| {
            Superframe {
                udp: false,
                v6,
                tags,
                tos,
                ttl,
                identification: (id & 0xffff) as u16,
                dont_fragment,
                ip_options: ip_options.saturating_sub(5),
                extension,
                tcp,
                payload: noise(seed, octets),
                segment_octets: segment.max(octets.div_ceil(SEGMENTS_MAX) as u16),
                gso: true,
            }
        },
    )
}

/// Octets that repeat nowhere near a segment's length.
fn noise(seed: u64, octets: usize) -> Payload {
    let mut state = seed | 1;
    let next = move || {
        // xorshift64, by its author's first triple.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    Payload(std::iter::repeat_with(next).take(octets).collect())
}

impl Superframe {
    /// A superframe of so many segments without anything special in it.
    pub(crate) fn plain(udp: bool, v6: bool, segments: usize) -> Self {
        let tcp = Tcp { sequence: 1, flags: 0x10, window: 1000, options: Vec::new() };
        Self {
            udp,
            v6,
            tags: Vec::new(),
            tos: 0,
            ttl: 64,
            identification: 1,
            dont_fragment: true,
            ip_options: 0,
            extension: None,
            tcp,
            payload: Payload(vec![0; segments * 1000]),
            segment_octets: 1000,
            gso: true,
        }
    }

    /// The same of UDP, in `most` datagrams at most.
    pub(crate) fn into_udp(mut self, most: usize) -> Self {
        self.udp = true;
        self.segment_octets = self.segment_octets.max(self.payload.len().div_ceil(most) as u16);
        self
    }

    /// The same as one frame that lacks nothing but its checksum.
    pub(crate) fn into_one(mut self) -> Self {
        self.udp = self.tcp.flags & 1 != 0;
        self.gso = false;
        self
    }

    /// What a TAP would say of it.
    pub(crate) fn virtio(&self) -> VirtioNetHeader {
        let ecn = if self.tcp.flags & 0x80 == 0 { 0 } else { VirtioNetHeader::GSO_ECN };
        // No stack calls one segment a superframe. The kernel would lose it where it counts the TCP options as payload
        // (`virtio_net_hdr_to_skb`) and finds too little of it to cut (`tcp_gso_segment`).
        let gso = self.gso && self.payload.len() > usize::from(self.segment_octets);
        let gso_type = match (gso, self.udp, self.v6) {
            (false, ..) => VirtioNetHeader::GSO_NONE,
            (true, true, _) => VirtioNetHeader::GSO_UDP_L4,
            (true, false, false) => VirtioNetHeader::GSO_TCPV4 | ecn,
            (true, false, true) => VirtioNetHeader::GSO_TCPV6 | ecn,
        };
        let l4 = self.l4();
        VirtioNetHeader {
            flags: VirtioNetHeader::F_NEEDS_CSUM,
            gso_type,
            header_octets: (l4 + self.transport().len()) as u16,
            segment_octets: if gso { self.segment_octets } else { 0 },
            checksum_start: l4 as u16,
            checksum_offset: if self.udp { 6 } else { 16 },
        }
    }

    /// Where the checksum stands, in the superframe and in each segment.
    pub(crate) fn checksum_field(&self) -> usize {
        self.l4() + if self.udp { 6 } else { 16 }
    }

    /// The frame from its Ethernet header on, with the folded sum of the pseudo header where the checksum goes.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let (transport, network) = (self.transport(), self.network());
        let mut frame = self.ethernet();
        frame.extend(&network);
        frame.extend(&transport);
        frame.extend(&*self.payload);
        let addresses = if self.v6 { &network[8..40] } else { &network[12..20] };
        let words = addresses.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
        let protocol = if self.udp { 17 } else { 6 };
        let mut sum = words.sum::<u32>() + protocol + (transport.len() + self.payload.len()) as u32;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        let field = self.checksum_field();
        frame[field..field + 2].copy_from_slice(&(sum as u16).to_be_bytes());
        frame
    }

    fn ethernet(&self) -> Vec<u8> {
        let mut header = MACS.to_vec();
        for (tpid, tci) in &self.tags {
            header.extend(tpid.to_be_bytes());
            header.extend(tci.to_be_bytes());
        }
        header.extend(if self.v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        header
    }

    fn l4(&self) -> usize {
        self.ethernet().len() + self.network().len()
    }

    fn network(&self) -> Vec<u8> {
        let protocol = if self.udp { 17 } else { 6 };
        let payload_octets = self.transport().len() + self.payload.len();
        if !self.v6 {
            let mut header = Ipv4Header {
                dscp: (self.tos >> 2).try_into().unwrap(),
                ecn: (self.tos & 3).try_into().unwrap(),
                identification: self.identification,
                dont_fragment: self.dont_fragment,
                time_to_live: self.ttl,
                protocol: protocol.into(),
                source: [192, 0, 2, 2],
                destination: [192, 0, 2, 1],
                options: Ipv4Options::try_from(&vec![1; self.ip_options * 4][..]).unwrap(),
                ..Ipv4Header::default()
            };
            header.set_payload_len(payload_octets).unwrap();
            header.header_checksum = header.calc_header_checksum();
            return header.to_bytes().to_vec();
        }
        // Next header, length beyond eight octets, and an option that pads the rest (RFC 8200 section 4.2).
        let extension = match self.extension {
            Some(_) => vec![protocol, 0, 1, 4, 0, 0, 0, 0],
            None => Vec::new(),
        };
        let header = Ipv6Header {
            traffic_class: self.tos,
            flow_label: Ipv6FlowLabel::try_new(u32::from(self.identification)).unwrap(),
            payload_length: (extension.len() + payload_octets) as u16,
            next_header: self.extension.unwrap_or(protocol).into(),
            hop_limit: self.ttl,
            source: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
            destination: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        };
        [&header.to_bytes()[..], &extension].concat()
    }

    fn transport(&self) -> Vec<u8> {
        if self.udp {
            let length = (8 + self.payload.len()) as u16;
            let header = UdpHeader { source_port: 4000, destination_port: 5000, length, checksum: 0 };
            return header.to_bytes().to_vec();
        }
        let mut header = TcpHeader::new(4000, 5000, self.tcp.sequence, self.tcp.window);
        header.acknowledgment_number = 0x0102_0304;
        header.set_options_raw(&self.tcp.options).unwrap();
        let mut octets = header.to_bytes().to_vec();
        octets[13] = self.tcp.flags;
        octets
    }
}
