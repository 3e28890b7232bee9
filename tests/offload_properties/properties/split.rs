//! What cutting may do to a superframe: make the frames that a host would have sent one by one.

use vxgate_offload::{Joins, VirtioNetHeader, Work};

use super::coalesce::{Event, run};
use super::frames::{ACK, CWR, DF, FIN, Frame, PSH};
use super::script::Octets;

/// A superframe, and where it is cut.
#[derive(Clone, Debug)]
pub(crate) struct Superframe {
    pub(crate) whole: Frame,
    pub(crate) segment_octets: u16,
}

impl Superframe {
    /// Reads one that a host may send: the first octets say what it is.
    pub(crate) fn read(octets: &mut Octets<'_>) -> Self {
        let bits = octets.take();
        let mut whole = Frame::new(bits & 1 != 0, bits & 2 != 0, Vec::new());
        whole.tags = [vec![], vec![0x2005], vec![7, 8], vec![]][usize::from(bits >> 2 & 3)].clone();
        whole.fragment = if bits & 16 == 0 { DF } else { 0 };
        whole.extra_octets = if bits & 32 == 0 { 0 } else { 8 };
        whole.tcp_options = if bits & 64 == 0 { vec![] } else { vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2] };
        whole.flags = ACK | octets.take() & (CWR | 0x40 | PSH | FIN);
        whole.tos = octets.take();
        whole.identification = u16::MAX - u16::from(octets.take() % 4);
        whole.sequence = u32::MAX - octets.take_u16() as u32;
        let segment_octets = octets.take_u16() % 9000 + 1;
        let room = 65_535 - (whole.headers() - whole.l3());
        let payload_octets = usize::from(octets.take_u16()) % (room + 1);
        // Few segments of many octets, or many of few.
        let payload_octets = payload_octets.min(usize::from(segment_octets) * 70).max(1);
        let first = octets.take();
        whole.payload = (0..payload_octets).map(|at| (at ^ at >> 8) as u8 ^ first).collect();
        Self { whole, segment_octets }
    }

    /// The header that a TAP puts in front of it.
    pub(crate) fn virtio(&self) -> VirtioNetHeader {
        let ecn = if !self.whole.udp && self.whole.flags & CWR != 0 { VirtioNetHeader::GSO_ECN } else { 0 };
        VirtioNetHeader {
            flags: VirtioNetHeader::F_NEEDS_CSUM,
            gso_type: ecn
                | match (self.whole.udp, self.whole.v6) {
                    (true, _) => VirtioNetHeader::GSO_UDP_L4,
                    (false, false) => VirtioNetHeader::GSO_TCPV4,
                    (false, true) => VirtioNetHeader::GSO_TCPV6,
                },
            header_octets: self.whole.headers() as u16,
            segment_octets: self.segment_octets,
            checksum_start: self.whole.l4() as u16,
            checksum_offset: if self.whole.udp { 6 } else { 16 },
        }
    }

    /// The frames that a host would have sent: built one by one, without any cutting.
    pub(crate) fn segments(&self) -> Vec<Vec<u8>> {
        let chunks: Vec<&[u8]> = self.whole.payload.chunks(usize::from(self.segment_octets)).collect();
        let last = chunks.len() - 1;
        let mut next = self.whole.clone();
        let mut segments = Vec::new();
        for (index, chunk) in chunks.into_iter().enumerate() {
            next.flags = self.whole.flags;
            if index > 0 {
                next.flags &= !CWR;
            }
            if index < last {
                next.flags &= !(PSH | FIN);
            }
            next.payload = chunk.to_vec();
            segments.push(next.build());
            next.sequence = next.sequence.wrapping_add(chunk.len() as u32);
            next.identification = next.identification.wrapping_add(1);
        }
        segments
    }

    /// Whether its segments are such as may be joined, and all in one.
    fn is_joinable(&self, segments: usize) -> bool {
        let whole = &self.whole;
        whole.extra_octets == 0 && if whole.udp { segments <= 64 } else { whole.flags & CWR == 0 }
    }
}

/// The wire frames that a work makes of a frame, in both ways.
fn finished(work: Work, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut scratch = vec![0xaa; frame.len()];
    let mut copies = Vec::new();
    work.finish_copy(frame, &mut scratch, |segment| copies.push(segment.to_vec()));
    let mut in_place = Vec::new();
    work.finish(&mut frame.to_vec(), &mut scratch, |segment| in_place.push(segment.to_vec()));
    assert!(copies == in_place, "in place or not, it is the same frame");
    if let Work::Split(split) = work {
        assert_eq!(copies.len(), split.count(frame.len()));
        for (index, copy) in copies.iter().enumerate() {
            assert_eq!(copy.len(), split.segment_length(frame.len(), index));
            let octets = split.segment(frame, index, &mut scratch);
            assert!(octets.is_some_and(|octets| scratch[..octets] == *copy), "one by one, too");
        }
        assert_eq!(split.segment(frame, copies.len(), &mut scratch), None, "one past the last");
    }
    copies
}

/// Octets as a true superframe: it is cut into what a host would have sent, and joined it is what it was.
pub(crate) fn check_superframe(data: &[u8]) {
    let superframe = Superframe::read(&mut Octets(data));
    let frame = superframe.whole.build_unfinished();
    let virtio = superframe.virtio();
    let work = Work::from_virtio(virtio, &frame).expect("a header that tells the truth");
    let segments = finished(work, &frame);
    assert!(segments == superframe.segments(), "{superframe:?}, cut");
    if segments.len() < 2 {
        return;
    }
    assert_eq!(work.to_virtio(), virtio, "passed on as it came");
    if superframe.whole.udp && superframe.whole.extra_octets == 0 {
        assert_eq!(Work::from_peer_run(&frame, superframe.segment_octets), Some(work), "of a kernel peer");
    }
    if superframe.is_joinable(segments.len()) {
        let out = run(Joins::ALL, &segments.into_iter().map(Event::Offer).collect::<Vec<_>>());
        assert_eq!(out.len(), 1, "all in one");
        assert!(out[0].octets == frame, "{superframe:?}, joined");
        assert_eq!(out[0].work, work);
    }
}

/// Octets as a superframe that lies: one octet of it or of its header is another, and the header is any.
pub(crate) fn check_lie(data: &[u8]) {
    let mut octets = Octets(data);
    let superframe = Superframe::read(&mut octets);
    let mut frame = superframe.whole.build_unfinished();
    let mut header = superframe.virtio().to_bytes();
    for _ in 0..octets.take() % 4 {
        let (at, value) = (usize::from(octets.take()), octets.take());
        match header.get_mut(at) {
            Some(octet) => *octet = value,
            None => {
                let at = (at - header.len()) % frame.len();
                frame[at] = value;
            }
        }
    }
    let cut_at = frame.len() - usize::from(octets.take() % 64).min(frame.len());
    frame.truncate(cut_at);
    check_octets(VirtioNetHeader::parse(&header), octets.take_u16(), &frame);
}

/// Octets as a virtio header, an MTU and a frame.
pub(crate) fn check_virtio(data: &[u8]) {
    let Some((header, rest)) = data.split_first_chunk() else { return };
    let Some((mtu, frame)) = rest.split_first_chunk() else { return };
    check_octets(VirtioNetHeader::parse(header), u16::from_le_bytes(*mtu), frame);
}

/// Nothing panics; what comes out is no longer than what came in, and holds its payload.
fn check_octets(header: VirtioNetHeader, mtu: u16, frame: &[u8]) {
    if let Ok(work) = Work::from_virtio(header, frame) {
        check_work(work, frame);
        let told = header.gso_type & !VirtioNetHeader::GSO_ECN;
        let kept = work.to_virtio().gso_type & !VirtioNetHeader::GSO_ECN;
        assert!(kept == told || kept == VirtioNetHeader::GSO_NONE, "a superframe of one segment is none");
    }
    check_work(Work::from_peer(frame, usize::from(mtu)), frame);
    if let Some(work) = Work::from_peer_run(frame, mtu) {
        check_work(work, frame);
        let octets: usize = finished(work, frame).iter().map(Vec::len).sum();
        assert!(octets <= 128 * (22 + 40 + 8) + frame.len(), "no more than a kernel would make of it");
    }
}

fn check_work(work: Work, frame: &[u8]) {
    let segments = finished(work, frame);
    let header = work.to_virtio();
    let Work::Split(_) = work else {
        assert_eq!(segments.len(), 1);
        assert_eq!(segments[0].len(), frame.len());
        return;
    };
    let headers = usize::from(header.header_octets);
    let payload: Vec<u8> = segments.iter().flat_map(|segment| segment[headers..].to_vec()).collect();
    assert!(payload == frame[headers..], "each octet of the payload once");
    for segment in &segments {
        assert!(segment.len() <= headers + usize::from(header.segment_octets));
    }
}
