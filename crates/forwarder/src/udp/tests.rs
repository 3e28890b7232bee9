use std::net::UdpSocket as Peer;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use vxgate_codec::{Vni, vxlan};
use vxgate_core::{DropReason, PeerId, Remote, Segment, SegmentConfig, Timestamp};
use vxgate_offload::{ChecksumAt, Work};
use vxgate_sys::epoll::{Events, Interest};
use vxgate_sys::udp::{Message, SendBatch, send_batch};

use super::*;
use crate::underlay::{Outer, Tally, Target, UnderlayRx, UnderlayTx};

#[derive(Default)]
struct Counted {
    frames: u64,
    octets: u64,
    dropped: Vec<DropReason>,
}

impl Tally for Counted {
    fn sent(&mut self, _peer: PeerId, frames: u64, octets: u64) {
        self.frames += frames;
        self.octets += octets;
    }

    fn dropped(&mut self, _peer: PeerId, reason: DropReason, frames: u64) {
        self.dropped.extend(std::iter::repeat_n(reason, frames as usize));
    }
}

fn loopback() -> UdpConfig {
    UdpConfig::new("127.0.0.1:0".parse().unwrap())
}

fn peers(count: u8) -> Vec<(Peer, Target)> {
    let mut segment = Segment::new(SegmentConfig::default());
    (1..=count)
        .map(|last| {
            let socket = Peer::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let remote = Remote::new([192, 0, 2, last].into());
            let peer = segment.peer_add(remote, Timestamp::default()).unwrap();
            let target = Target { peer, address: socket.local_addr().unwrap(), vni: Vni::MAX };
            (socket, target)
        })
        .collect()
}

/// The next frame that `peer` received, its VXLAN header checked and taken off.
fn received(peer: &Peer) -> Vec<u8> {
    let mut datagram = [0; 2048];
    let octets = peer.recv(&mut datagram).expect("a datagram within five seconds");
    let mut header = [0; vxlan::HEADER_OCTETS];
    vxlan::encap(Vni::MAX, &mut header);
    assert_eq!(datagram[..8], header);
    datagram[8..octets].to_vec()
}

fn nothing_more(peer: &Peer) {
    peer.set_nonblocking(true).unwrap();
    assert_eq!(peer.recv(&mut [0; 2048]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_range_that_holds_no_source_port_is_refused() {
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    for range in [60_000..=50_000, 0..=10] {
        let config = UdpConfig { source_port: SourcePort::Hash(range), ..loopback() };
        assert_eq!(UdpUnderlay::bind(&config).err().unwrap().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_frame_too_long_to_be_finished_is_counted_as_too_big() {
    let peers = peers(1);
    let (_, mut tx) = UdpUnderlay::bind(&loopback()).unwrap().split();
    let mut tally = Counted::default();
    for work in [Work::Done, Work::Checksum(ChecksumAt { start: 34, offset: 16 })] {
        tx.push(&vec![0; 65_535], work, &Outer::default(), &[peers[0].1], &mut tally);
    }
    assert_eq!(tally.dropped, [DropReason::TooBig; 2]);
}

/// Frames of these flows and sizes, numbered, to one peer: they arrive unchanged, each flow in order.
fn flows_arrive_in_order(config: &UdpConfig, break_segmentation: bool) {
    let peers = peers(1);
    let underlay = UdpUnderlay::bind(config).unwrap();
    let offload = underlay.offload();
    if break_segmentation {
        // As if the socket could: the kernel then refuses each send that it should cut.
        offload.segment.store(true, Ordering::Relaxed);
    }
    let (_, mut tx) = underlay.split();
    let mut tally = Counted::default();
    let mut pushed: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 5];
    for number in 0..80_u32 {
        let flow = number % 5;
        let octets = [60, 60, 1400, 576, 60, 61][(number / 7 % 6) as usize];
        let mut frame = vec![number as u8; octets];
        frame[..4].copy_from_slice(&number.to_be_bytes());
        frame[4] = flow as u8;
        let outer = Outer { flow_hash: flow * 0x0101_0101, ..Outer::default() };
        tx.push(&frame, Work::Done, &outer, &[peers[0].1], &mut tally);
        pushed[flow as usize].push(frame);
    }
    tx.flush(&mut tally).unwrap();
    assert_eq!((tally.frames, tally.dropped.as_slice()), (80, &[][..]));
    assert_eq!(tally.octets, pushed.iter().flatten().map(|frame| frame.len() as u64).sum::<u64>());
    let mut arrived: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 5];
    for _ in 0..80 {
        let frame = received(&peers[0].0);
        arrived[usize::from(frame[4])].push(frame);
    }
    assert!(arrived == pushed, "a flow is not what it was");
    nothing_more(&peers[0].0);
    assert_eq!(offload.segment(), config.checksum, "segmentation is in force where it can be");
}

#[test]
fn frames_of_many_flows_and_sizes_arrive_unchanged_and_in_order() {
    flows_arrive_in_order(&loopback(), false);
    flows_arrive_in_order(&UdpConfig { source_port: SourcePort::Hash(50_000..=60_000), ..loopback() }, false);
}

#[test]
fn frames_that_the_kernel_would_not_cut_are_sent_one_by_one() {
    flows_arrive_in_order(&UdpConfig { checksum: false, ..loopback() }, true);
}

#[test]
fn without_offload_nothing_is_cut_or_joined() {
    let underlay = UdpUnderlay::bind(&UdpConfig { offload: false, ..loopback() }).unwrap();
    assert_eq!((underlay.offload().segment(), underlay.offload().gro()), (false, false));
}

#[test]
fn a_flood_goes_to_every_peer_and_is_counted_for_each() {
    let peers = peers(3);
    let targets: Vec<Target> = peers.iter().map(|(_, target)| *target).collect();
    let (_, mut tx) = UdpUnderlay::bind(&loopback()).unwrap().split();
    let mut tally = Counted::default();
    for number in 0..20_u8 {
        tx.push(&[number; 60], Work::Done, &Outer::default(), &targets, &mut tally);
    }
    tx.flush(&mut tally).unwrap();
    assert_eq!((tally.frames, tally.octets, tally.dropped.len()), (60, 3600, 0));
    for (peer, _) in &peers {
        (0..20_u8).for_each(|number| assert_eq!(received(peer), [number; 60]));
        nothing_more(peer);
    }
}

#[test]
fn datagrams_that_the_kernel_joined_are_lent_one_by_one() {
    let underlay = UdpUnderlay::bind(&loopback()).unwrap();
    assert!(underlay.offload().gro(), "Linux 5.0 and later joins datagrams");
    let address = underlay.local_addr().unwrap();
    let (mut rx, _) = underlay.split();
    let sender = udp::bind(&UdpOptions::new("127.0.0.1:0".parse().unwrap())).unwrap();
    // Over loopback, a send that the kernel would cut on its way arrives whole, with the size of its parts.
    let octets: Vec<u8> = (0..10_u8).flat_map(|number| [number; 100]).chain([10; 7]).collect();
    let message = Message { segment_octets: Some(100), ..Message::new(address, &octets) };
    assert_eq!(send_batch(&sender, &mut SendBatch::new(1), [message]).sent, 1);
    assert_eq!(rx.recv().unwrap(), 11);
    for index in 0..11 {
        let datagram = rx.datagram(index);
        let number = index as u8;
        let payload = &datagram.buffer[datagram.payload.clone()];
        assert_eq!(payload, [number; 100].get(..if index < 10 { 100 } else { 7 }).unwrap());
        assert_eq!((datagram.segment_octets, datagram.truncated), (None, false));
        assert!(datagram.payload.start >= crate::port::HEADROOM_OCTETS);
    }
    assert_eq!(rx.recv().unwrap(), 0);
}

#[test]
fn a_kernel_peers_superframe_of_datagrams_is_lent_whole() {
    let underlay = UdpUnderlay::bind(&loopback()).unwrap();
    let address = underlay.local_addr().unwrap();
    let (mut rx, _) = underlay.split();
    let sender = udp::bind(&UdpOptions::new("127.0.0.1:0".parse().unwrap())).unwrap();
    // VXLAN, Ethernet and IPv4 headers whose length reaches to the end, as before a superframe is cut.
    let mut payload = vec![0; 8 + 14 + 20 + 8 + 3 * 500];
    payload[20..23].copy_from_slice(&[0x08, 0x00, 0x45]);
    let length = (payload.len() - 22) as u16;
    payload[24..26].copy_from_slice(&length.to_be_bytes());
    payload[31] = 17;
    let message = Message { segment_octets: Some(500), ..Message::new(address, &payload) };
    assert_eq!(send_batch(&sender, &mut SendBatch::new(1), [message]).sent, 1);
    assert_eq!(rx.recv().unwrap(), 1);
    let datagram = rx.datagram(0);
    assert_eq!(datagram.segment_octets, Some(500));
    assert_eq!(datagram.buffer[datagram.payload.clone()], payload);
}

#[test]
fn workers_share_the_receiving_port_and_part_the_source_ports() {
    for source_port in [SourcePort::Fixed(0), SourcePort::Hash(40_000..=40_999)] {
        let workers = UdpUnderlay::bind_workers(&UdpConfig { source_port, ..loopback() }, 4).unwrap();
        let local = workers[0].local_addr().unwrap();
        assert!(workers.iter().all(|worker| worker.local_addr().unwrap() == local));
        let pools: Vec<Vec<u16>> = workers.iter().map(|worker| ports(&worker.senders)).collect();
        if workers[0].source_ports() == 1 {
            assert_eq!(pools, vec![vec![local.port()]; 4]);
        } else {
            for (worker, pool) in (0..).zip(&pools) {
                let own = 40_000 + worker * 250..40_000 + (worker + 1) * 250;
                assert_eq!(pool.len(), SOURCE_PORT_POOL / 4);
                assert!(pool.iter().all(|port| own.contains(port)), "{pool:?}");
            }
        }
        // Nobody else has it, several workers or one.
        for others in [1, 2] {
            let config = UdpConfig::new(local);
            assert_eq!(error_of(UdpUnderlay::bind_workers(&config, others)), ErrorKind::AddrInUse);
        }
    }
}

fn ports(sockets: &[Arc<UdpSocket>]) -> Vec<u16> {
    sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
}

fn error_of<T>(result: io::Result<T>) -> ErrorKind {
    result.err().expect("it is refused").kind()
}

#[test]
fn a_pinned_source_port_of_its_own_is_shared_too() {
    // One that the system chose a moment ago.
    let free = Peer::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = UdpConfig { source_port: SourcePort::Fixed(free), ..loopback() };
    let workers = UdpUnderlay::bind_workers(&config, 3).unwrap();
    assert!(workers.iter().all(|worker| ports(&worker.senders) == [free]));
    assert_ne!(workers[0].local_addr().unwrap().port(), free);
}

#[test]
fn fewer_source_ports_than_workers_are_refused() {
    let config = UdpConfig { source_port: SourcePort::Hash(50_000..=50_001), ..loopback() };
    assert_eq!(error_of(UdpUnderlay::bind_workers(&config, 3)), ErrorKind::InvalidInput);
    assert_eq!(UdpUnderlay::bind_workers(&config, 0).unwrap().len(), 0);
}

#[test]
fn the_parts_of_a_range_are_the_range() {
    for range in [1..=65_535, 4000..=4004, 7..=7] {
        for workers in 1..=range.len().min(16) {
            let parts: Vec<u16> =
                (0..workers).flat_map(|worker| part(&range, worker, workers).unwrap()).collect();
            assert_eq!(parts, range.clone().collect::<Vec<_>>(), "{workers}");
        }
    }
}

#[test]
fn what_the_network_says_of_a_datagram_is_read_from_whichever_socket_sent_it() {
    for source_port in [SourcePort::Fixed(0), SourcePort::Hash(49152..=65535)] {
        let config = UdpConfig { source_port, errors: true, ..loopback() };
        let underlays = UdpUnderlay::bind_workers(&config, 2).unwrap();
        let mut errors = UdpErrors::of(&underlays).unwrap();
        assert_eq!(errors.read().unwrap(), None);
        // Bound and closed again: nobody listens there.
        let gone = Peer::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for underlay in &underlays {
            for sender in &underlay.senders {
                let message = Message::new(gone, &[8, 0, 0, 0, 0, 0, 10, 0, 1, 2]);
                let sent = send_batch(sender, &mut SendBatch::new(1), [message]);
                assert_eq!(sent.sent, 1);
                let epoll = Epoll::new().unwrap();
                epoll.add(&errors, 0, Interest::READABLE).unwrap();
                assert_eq!(
                    epoll.wait(&mut Events::with_capacity(1), Some(Duration::from_secs(10))).unwrap(),
                    1
                );
                let report = errors.read().unwrap().unwrap();
                assert_eq!((report.to, report.fate), (gone, Fate::Unreachable));
                assert_eq!(errors.read().unwrap(), None);
            }
        }
        drop(underlays);
    }
}

#[test]
fn a_reader_of_errors_ends_although_more_come_than_it_reads() {
    let underlays = UdpUnderlay::bind_workers(&UdpConfig { errors: true, ..loopback() }, 1).unwrap();
    let gone = Peer::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sender = Arc::clone(&underlays[0].senders[0]);
    let (heard_tx, heard) = mpsc::channel();
    let reader = UdpErrors::of(&underlays).unwrap().spawn(None, move |report| {
        assert_eq!(report.to, gone);
        // At the end nobody listens.
        let _ = heard_tx.send(());
    });
    let flood_ends = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !flood_ends.load(Ordering::Relaxed) {
                let datagram = [8, 0, 0, 0, 0, 0, 10, 0];
                let _ = send_batch(&sender, &mut SendBatch::new(8), [Message::new(gone, &datagram); 8]);
            }
        });
        let patience = Duration::from_secs(10);
        // More than the 50 that it hears at once: it has rested, and hears again.
        let hears_on = (0..60).all(|_| heard.recv_timeout(patience).is_ok());
        let (ended_tx, ended) = mpsc::channel();
        thread::spawn(move || {
            drop(reader.unwrap());
            let _ = ended_tx.send(());
        });
        let has_ended = ended.recv_timeout(patience).is_ok();
        flood_ends.store(true, Ordering::Relaxed);
        assert!(hears_on && has_ended, "hears on: {hears_on}, has ended: {has_ended}");
    });
}
