//! What the split makes of any superframe: right headers, right checksums, every octet once. Oracle: etherparse.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use vxgate_offload::{ChecksumAt, VirtioNetHeader, Work, WorkError, checksum};

/// What varies from one superframe to the next.
#[derive(Clone, Debug)]
struct Superframe {
    v6: bool,
    vlan: bool,
    udp: bool,
    payload: Vec<u8>,
    sequence: u32,
    flags: u8,
}

fn superframes() -> impl Strategy<Value = Superframe> {
    (
        any::<(bool, bool, bool)>(),
        proptest::collection::vec(any::<u8>(), 1..20_000),
        any::<u32>(),
        any::<u8>(),
    )
        .prop_map(|((v6, vlan, udp), payload, sequence, flags)| Superframe {
            v6,
            vlan,
            udp,
            payload,
            sequence,
            flags,
        })
}

impl Superframe {
    /// The frame with its checksum field as a kernel leaves it: the folded sum of the pseudo header.
    fn build(&self) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let mut frame = Vec::new();
        macro_rules! finish {
            ($step:expr) => {
                if self.udp {
                    $step.udp(4000, 5000).write(&mut frame, &self.payload).expect("a Vec takes all")
                } else {
                    let mut step = $step.tcp(4000, 5000, self.sequence, 64_000).ack(77);
                    if self.flags & 1 != 0 {
                        step = step.fin();
                    }
                    if self.flags & 8 != 0 {
                        step = step.psh();
                    }
                    if self.flags & 0x80 != 0 {
                        step = step.cwr();
                    }
                    step.write(&mut frame, &self.payload).expect("a Vec takes all")
                }
            };
        }
        let (a, b) = ([0xfd; 16], [0xfe; 16]);
        match (self.v6, self.vlan) {
            (false, false) => finish!(ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)),
            (false, true) => {
                finish!(ethernet.single_vlan(7.try_into().expect("a VLAN id")).ipv4(
                    [10, 0, 0, 1],
                    [10, 0, 0, 2],
                    64
                ))
            }
            (true, false) => finish!(ethernet.ipv6(a, b, 64)),
            (true, true) => {
                finish!(ethernet.single_vlan(7.try_into().expect("a VLAN id")).ipv6(a, b, 64))
            }
        }
        let seed = self.pseudo_sum();
        let at = self.l4() + if self.udp { 6 } else { 16 };
        frame[at..at + 2].copy_from_slice(&seed.to_be_bytes());
        frame
    }

    fn l4(&self) -> usize {
        14 + if self.vlan { 4 } else { 0 } + if self.v6 { 40 } else { 20 }
    }

    /// RFC 9293's pseudo header, summed as slowly as it can be written.
    fn pseudo_sum(&self) -> u16 {
        let mut words: Vec<u32> = Vec::new();
        let addresses: Vec<u8> =
            if self.v6 { [[0xfd; 16], [0xfe; 16]].concat() } else { vec![10, 0, 0, 1, 10, 0, 0, 2] };
        words.extend(addresses.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])));
        words.push(if self.udp { 17 } else { 6 });
        words.push((self.payload.len() + if self.udp { 8 } else { 20 }) as u32);
        let mut sum: u32 = words.iter().sum();
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    fn virtio(&self, segment_octets: u16) -> VirtioNetHeader {
        VirtioNetHeader {
            flags: VirtioNetHeader::F_NEEDS_CSUM,
            gso_type: match (self.udp, self.v6) {
                (true, _) => VirtioNetHeader::GSO_UDP_L4,
                (false, false) => VirtioNetHeader::GSO_TCPV4,
                (false, true) => VirtioNetHeader::GSO_TCPV6,
            },
            header_octets: 0,
            segment_octets,
            checksum_start: self.l4() as u16,
            checksum_offset: if self.udp { 6 } else { 16 },
        }
    }
}

/// Checks one wire frame from Ethernet to the L4 checksum and returns its payload.
fn verified(frame: &[u8]) -> Vec<u8> {
    let packet = SlicedPacket::from_ethernet(frame).expect("a frame that parses");
    let transport = packet.transport.expect("a transport");
    let (payload, stated, computed) = match (&packet.net, &transport) {
        (Some(NetSlice::Ipv4(ip)), TransportSlice::Tcp(tcp)) => {
            let header = ip.header();
            assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum(), "IPv4 header");
            (
                tcp.payload(),
                tcp.checksum(),
                tcp.calc_checksum_ipv4(header.source(), header.destination()).expect("a sum"),
            )
        }
        (Some(NetSlice::Ipv6(ip)), TransportSlice::Tcp(tcp)) => (
            tcp.payload(),
            tcp.checksum(),
            tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).expect("a sum"),
        ),
        (Some(NetSlice::Ipv4(ip)), TransportSlice::Udp(udp)) => {
            let header = ip.header();
            assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum(), "IPv4 header");
            let sum = udp.to_header().calc_checksum_ipv4(&header.to_header(), udp.payload()).expect("a sum");
            (udp.payload(), udp.checksum(), sum)
        }
        (Some(NetSlice::Ipv6(ip)), TransportSlice::Udp(udp)) => {
            let sum =
                udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).expect("a sum");
            (udp.payload(), udp.checksum(), sum)
        }
        (net, transport) => panic!("not what was built: {net:?} {transport:?}"),
    };
    assert_eq!(stated, computed, "L4 checksum");
    payload.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_segment_is_right_and_every_octet_comes_once(superframe in superframes(), size in 1_u16..9000) {
        let mut frame = superframe.build();
        let work = Work::from_virtio(superframe.virtio(size), &frame).expect("a header that tells the truth");
        let mut scratch = vec![0xaa; frame.len()];
        let mut segments = Vec::new();
        work.finish(&mut frame, &mut scratch, |segment| segments.push(segment.to_vec()));

        prop_assert_eq!(segments.len(), superframe.payload.len().div_ceil(usize::from(size)));
        let payload: Vec<u8> = segments.iter().flat_map(|segment| verified(segment)).collect();
        prop_assert_eq!(&payload, &superframe.payload);
        if !superframe.udp {
            for (index, segment) in segments.iter().enumerate() {
                let tcp = &segment[superframe.l4()..];
                let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
                prop_assert_eq!(sequence, superframe.sequence.wrapping_add((index * usize::from(size)) as u32));
                let wanted = superframe.flags & 0x89
                    & if index == 0 { 0xff } else { 0x7f }
                    & if index + 1 == segments.len() { 0xff } else { 0xf6 };
                prop_assert_eq!(tcp[13] & 0x89, wanted, "CWR on the first only, FIN and PSH on the last only");
            }
        }
        if !superframe.v6 {
            let l3 = superframe.l4() - 20;
            let ids: Vec<u16> = segments.iter().map(|s| u16::from_be_bytes([s[l3 + 4], s[l3 + 5]])).collect();
            prop_assert!(ids.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
        }
    }

    #[test]
    fn a_kernel_peers_superframe_is_recognised_and_cut_to_the_mtu(superframe in superframes(), mtu in 576_usize..9000) {
        let mut frame = superframe.build();
        let work = Work::from_peer(&frame, mtu);
        prop_assert_ne!(work, Work::Done, "the checksum field holds the pseudo header's sum");
        let mut scratch = vec![0; frame.len()];
        let mut payload = Vec::new();
        let l3 = superframe.l4() - if superframe.v6 { 40 } else { 20 };
        work.finish(&mut frame, &mut scratch, |segment| {
            assert!(superframe.udp || segment.len() - l3 <= mtu, "a segment longer than the MTU");
            payload.extend(verified(segment));
        });
        prop_assert_eq!(&payload, &superframe.payload);
    }

    #[test]
    fn a_finished_frame_is_left_alone(superframe in superframes()) {
        let mut frame = superframe.build();
        let at = ChecksumAt { start: superframe.l4() as u16, offset: if superframe.udp { 6 } else { 16 } };
        at.finish(&mut frame);
        let field = superframe.l4() + usize::from(at.offset);
        let finished = u16::from_be_bytes([frame[field], frame[field + 1]]);
        // One sum in 65,536 is that of the pseudo header by chance; taking it as unfinished gives the same octets.
        prop_assume!(finished != superframe.pseudo_sum());
        prop_assert_eq!(Work::from_peer(&frame, 1450), Work::Done);
    }

    #[test]
    fn no_octets_and_no_header_make_it_panic(
        mut frame in proptest::collection::vec(any::<u8>(), 0..300),
        header in any::<[u8; 10]>(),
        mtu in 0_usize..70_000,
    ) {
        let mut scratch = vec![0; 400];
        let header = VirtioNetHeader::parse(&header);
        if let Ok(work) = Work::from_virtio(header, &frame) {
            work.finish_copy(&frame, &mut scratch, |segment| assert!(segment.len() <= 300));
            let (told, kept) = (header.gso_type & !VirtioNetHeader::GSO_ECN, work.to_virtio().gso_type);
            prop_assert!(kept == told || kept == VirtioNetHeader::GSO_NONE, "a superframe of one segment is none");
        }
        let work = Work::from_peer(&frame, mtu);
        work.finish(&mut frame, &mut scratch, |_| ());
    }

    #[test]
    fn any_change_of_a_real_superframe_makes_it_neither_panic_nor_grow(
        superframe in superframes(), at in any::<prop::sample::Index>(), value in any::<u8>(), size in 1_u16..3000,
    ) {
        let mut frame = superframe.build();
        let at = at.index(frame.len().min(120));
        frame[at] = value;
        let mut scratch = vec![0; frame.len()];
        if let Ok(work) = Work::from_virtio(superframe.virtio(size), &frame) {
            let mut payload = 0;
            let whole = frame.len();
            work.finish(&mut frame, &mut scratch, |segment| payload += segment.len().min(whole));
            prop_assert!(payload > 0);
        }
    }
}

#[test]
fn a_virtio_header_that_lies_is_refused_by_name() {
    let superframe =
        Superframe { v6: false, vlan: false, udp: false, payload: vec![7; 4000], sequence: 1, flags: 0 };
    let frame = superframe.build();
    let honest = superframe.virtio(1000);
    let refused = |header| Work::from_virtio(header, &frame).expect_err("a lie");

    assert_eq!(refused(VirtioNetHeader { segment_octets: 0, ..honest }), WorkError::NoSegmentSize);
    assert_eq!(refused(VirtioNetHeader { checksum_start: 4100, ..honest }), WorkError::ChecksumOutside);
    assert_eq!(refused(VirtioNetHeader { checksum_start: 20, ..honest }), WorkError::NotThatTransport);
    assert_eq!(refused(VirtioNetHeader { gso_type: 3, ..honest }), WorkError::UnknownGso);
    assert_eq!(refused(VirtioNetHeader { flags: 0, ..honest }), WorkError::NoChecksum);
    let udp = VirtioNetHeader { gso_type: VirtioNetHeader::GSO_UDP_L4, ..honest };
    assert_eq!(refused(udp), WorkError::NotThatTransport);
}

/// A frame of a peer that claims an unfinished checksum: IPv6, a hop-by-hop header of so many octets, TCP, payload.
fn behind_extension(extension_octets: usize, payload_octets: usize) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(((extension_octets + 20 + payload_octets) as u16).to_be_bytes());
    frame.extend([0, 64]);
    frame.extend([0xfd; 32]);
    let mut extension = vec![0; extension_octets];
    extension[..2].copy_from_slice(&[6, (extension_octets / 8 - 1) as u8]);
    frame.extend(extension);
    let l4 = frame.len();
    frame.extend([0; 20]);
    frame[l4 + 12] = 0x50;
    let sum = checksum::fold(checksum::pseudo_header(&[0xfd; 32], 6, 20 + payload_octets));
    frame[l4 + 16..l4 + 18].copy_from_slice(&sum.to_be_bytes());
    frame.resize(frame.len() + payload_octets, 0x55);
    frame
}

#[test]
fn no_datagram_of_a_peer_makes_more_than_twice_its_octets() {
    let mtu = 1450;
    for extension_octets in (8..=2048).step_by(8) {
        let mut frame = behind_extension(extension_octets, 60_000);
        let whole = frame.len();
        let mut scratch = vec![0; whole];
        let mut octets = 0;
        Work::from_peer(&frame, mtu).finish(&mut frame, &mut scratch, |segment| octets += segment.len());
        assert!(octets <= 2 * whole, "{extension_octets} octets of extension: {octets} octets of {whole}");
    }
}

#[test]
fn extension_headers_do_not_keep_a_superframe_from_being_cut() {
    let mut frame = behind_extension(24, 60_000);
    let mut scratch = vec![0; frame.len()];
    let mut longest = 0;
    Work::from_peer(&frame, 1450)
        .finish(&mut frame, &mut scratch, |segment| longest = longest.max(segment.len()));
    assert_eq!(longest, 14 + 1450);
}
