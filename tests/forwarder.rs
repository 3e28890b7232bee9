//! The forwarder as an embedder sees it: threads, control, events, ends. Ports and underlays are in memory.
//!
//! ```text
//!   OverlayEnd a ── Forwarder a ── UnderlayEnd a        the test carries datagrams
//!   OverlayEnd b ── Forwarder b ── UnderlayEnd b        from one to the other
//! ```

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use vxgate_codec::{MacAddr, Vni};
use vxgate_core::{DropReason, EntryState, Event, Remote, Segment, SegmentConfig, Timestamp};
use vxgate_forwarder::{
    Device, Direction, Faults, FaultyPort, Forwarder, Frame, MemoryPort, MemoryUnderlay, OuterPolicy,
    OverlayEnd, PcapPort, Port, PortRx, PortTx, SecondThread, UnderlayEnd, WorkerOptions,
};
use vxgate_sys::eventfd::EventFd;
use vxgate_testbed::{eventually, now, wait_for};

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const MAC_A: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xa]);
const MAC_B: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xb]);
const PATIENCE: Duration = Duration::from_secs(5);

fn device(mac: MacAddr) -> Device {
    Device { mac, mtu_octets: 1450 }
}

fn segment(own_mac: MacAddr, peers: &[IpAddr]) -> Segment {
    let mut segment = Segment::new(SegmentConfig { own_mac, hash_key: 0x5eed, ..SegmentConfig::default() });
    for &peer in peers {
        segment.peer_add(Remote::new(peer), Timestamp::default()).expect("an empty table takes a peer");
    }
    segment
}

fn frame(destination: MacAddr, source: MacAddr, number: u16) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&destination.octets());
    frame[6..12].copy_from_slice(&source.octets());
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14..16].copy_from_slice(&number.to_be_bytes());
    frame
}

/// A forwarder over memory with its two ends.
struct Vtep {
    forwarder: Forwarder,
    overlay: OverlayEnd,
    network: UnderlayEnd,
}

impl Vtep {
    fn start(mac: MacAddr, peers: &[IpAddr]) -> Vtep {
        let (port, overlay) = MemoryPort::new(device(mac), 256).expect("descriptors");
        let (underlay, network) = MemoryUnderlay::new(256).expect("descriptors");
        let forwarder = Forwarder::spawn(segment(mac, peers), port, underlay, OuterPolicy::default());
        Vtep { forwarder: forwarder.expect("threads"), overlay, network }
    }
}

/// Carries one datagram from `from`, which is at `address`, to `to`.
fn carry(from: &Vtep, address: IpAddr, to: &Vtep) -> IpAddr {
    let (destination, datagram) =
        from.network.recv_within(PATIENCE).expect("waiting works").expect("a datagram");
    assert!(to.network.send(address, &datagram));
    destination.ip()
}

#[test]
fn frames_cross_and_what_was_learned_spares_the_flood() {
    let a = Vtep::start(MAC_A, &[B]);
    let b = Vtep::start(MAC_B, &[A]);
    let hello = frame(MacAddr::BROADCAST, MAC_A, 1);
    assert!(a.overlay.send(&hello));
    assert_eq!(carry(&a, A, &b), B);
    assert_eq!(b.overlay.recv_within(PATIENCE).expect("waiting works").as_deref(), Some(&hello[..]));

    let answer = frame(MAC_A, MAC_B, 2);
    assert!(b.overlay.send(&answer));
    assert_eq!(carry(&b, B, &a), A);
    assert_eq!(a.overlay.recv_within(PATIENCE).expect("waiting works").as_deref(), Some(&answer[..]));
    let event = wait_for(PATIENCE, || b.forwarder.poll_event());
    assert_eq!(event, Some(Event::Learned { mac: MAC_A, dst: A }));

    let counts = b.forwarder.counters().snapshot();
    assert_eq!((counts.sent.frames, counts.delivered.frames, counts.floods), (1, 1, 0));
    a.forwarder.stop().expect("a clean end");
    b.forwarder.stop().expect("a clean end");
}

#[test]
fn what_control_changes_is_in_force_when_it_returns() {
    let a = Vtep::start(MAC_A, &[]);
    assert!(a.overlay.send(&frame(MacAddr::BROADCAST, MAC_A, 0)));
    let counters = a.forwarder.counters();
    let dropped = || counters.snapshot().overlay_drops[DropReason::NoRemote.index()];
    assert!(eventually(PATIENCE, || dropped() == 1), "without a peer there is nowhere to go");

    for round in 0..100 {
        let control = a.forwarder.control();
        control
            .with(|segment, now| segment.peer_add(Remote::new(B), now))
            .expect("running")
            .expect("no peer yet");
        assert!(a.overlay.send(&frame(MacAddr::BROADCAST, MAC_A, round)));
        let sent = a.network.recv_within(PATIENCE).expect("waiting works").expect("a datagram");
        assert_eq!(sent.0.ip(), B);
        control.with(|segment, _| segment.peer_del(B)).expect("running").expect("the peer from above");
        assert!(a.overlay.send(&frame(MacAddr::BROADCAST, MAC_A, round)));
        assert!(eventually(PATIENCE, || dropped() == u64::from(round) + 2));
        assert_eq!(a.network.recv(), None);
    }
    a.forwarder.stop().expect("a clean end");
}

#[test]
fn frames_of_our_own_go_to_their_peer_whoever_carries_the_way_out() {
    for second_thread in [SecondThread::Never, SecondThread::OnDemand, SecondThread::Always] {
        for workers in [1, 3] {
            let ends: Vec<_> = (0..workers)
                .map(|_| (MemoryPort::new(device(MAC_A), 256), MemoryUnderlay::new(1024)))
                .map(|(port, underlay)| (port.expect("descriptors"), underlay.expect("descriptors")))
                .collect();
            let networks: Vec<_> = ends.iter().map(|(_, (_, network))| network.clone()).collect();
            let pairs = ends.into_iter().map(|((port, _), (underlay, _))| (port, underlay));
            let options = WorkerOptions { second_thread, ..WorkerOptions::default() };
            let forwarder =
                Forwarder::spawn_pairs(segment(MAC_A, &[B]), pairs, OuterPolicy::default(), &options)
                    .expect("threads");
            let control = forwarder.control();
            let stranger: IpAddr = "192.0.2.99".parse().expect("an address");
            // More than wait on the line between the threads: the rest waits in the segment.
            let sent = control.with(move |segment, _| {
                let frames = (0..200).map(|number| frame(MAC_B, MAC_A, number));
                let sent = frames.filter(|frame| segment.transmit_to(B, frame.clone(), Some(true))).count();
                (sent, segment.transmit_to(stranger, frame(MAC_B, MAC_A, 0), None))
            });
            assert_eq!(sent, Ok((200, false)));
            for number in 0..200 {
                let (to, datagram) =
                    networks[0].recv_within(PATIENCE).expect("waiting works").expect("one for each");
                assert_eq!((to.ip(), &datagram[8..]), (B, &frame(MAC_B, MAC_A, number)[..]));
            }
            let counters = forwarder.counters();
            assert!(eventually(PATIENCE, || counters.snapshot().own.sent.frames == 200));
            let counts = counters.snapshot();
            assert_eq!((counts.own.sent.octets, counts.own.unsent), (200 * 60, 0));
            assert_eq!((counts.overlay_in.frames, counts.sent.frames), (0, 0), "no frame of the host");
            assert!(counts.is_balanced() && networks.iter().all(|network| network.recv().is_none()));
            forwarder.stop().expect("a clean end");
        }
    }
}

#[test]
fn each_target_gets_its_own_vni() {
    let a = Vtep::start(MAC_A, &[B]);
    let other = Vni::new(77).expect("24 bits");
    let control = a.forwarder.control();
    let c: IpAddr = "192.0.2.3".parse().expect("an address");
    control
        .with(move |segment, now| {
            let remote = Remote { addr: c, port: Some(8472), vni: Some(other) };
            segment.fdb_append(MacAddr::ZERO, remote, EntryState::Permanent, now)
        })
        .expect("running")
        .expect("room for a remote");
    assert!(a.overlay.send(&frame(MacAddr::BROADCAST, MAC_A, 0)));
    let mut sent: Vec<_> = (0..2)
        .map(|_| a.network.recv_within(PATIENCE).expect("waiting works").expect("a copy for each"))
        .map(|(to, datagram)| (to.to_string(), datagram[4..7].to_vec()))
        .collect();
    sent.sort();
    assert_eq!(
        sent,
        [("192.0.2.2:4789".to_owned(), vec![0, 0, 10]), ("192.0.2.3:8472".to_owned(), vec![0, 0, 77])]
    );
    a.forwarder.stop().expect("a clean end");
}

#[test]
fn who_listens_for_news_is_told_of_events_and_of_the_end() {
    let a = Vtep::start(MAC_A, &[B]);
    let (told, news) = mpsc::channel();
    a.forwarder.on_news(move || {
        // The test has ended when nobody listens.
        let _ = told.send(());
    });
    let b = Vtep::start(MAC_B, &[A]);
    assert!(b.overlay.send(&frame(MAC_A, MAC_B, 0)));
    carry(&b, B, &a);
    news.recv_timeout(PATIENCE).expect("news of the learned address");
    assert_eq!(a.forwarder.poll_event(), Some(Event::Learned { mac: MAC_B, dst: B }));
    let control = a.forwarder.control();
    a.forwarder.stop().expect("a clean end");
    news.recv_timeout(PATIENCE).expect("news of the end");
    assert!(control.with(|_, _| ()).is_err(), "nobody is there to answer");
    b.forwarder.stop().expect("a clean end");
}

/// A port whose device is deleted as soon as it is looked at.
struct Broken(EventFd);

struct BrokenTx;

impl Port for Broken {
    type Rx = Broken;
    type Tx = BrokenTx;

    fn split(self) -> (Broken, BrokenTx) {
        (self, BrokenTx)
    }
}

impl PortRx for Broken {
    fn recv(&mut self) -> io::Result<usize> {
        Err(io::Error::other("the device is gone"))
    }

    fn frame(&mut self, _index: usize) -> Frame<'_> {
        unreachable!("no frame was ever received")
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl PortTx for BrokenTx {
    fn push(&mut self, _frame: Frame<'_>) -> Result<(), DropReason> {
        Err(DropReason::PortRefused)
    }

    fn flush(&mut self) -> io::Result<usize> {
        Ok(0)
    }

    fn device(&self) -> io::Result<Device> {
        Ok(device(MAC_A))
    }
}

#[test]
fn a_direction_that_fails_takes_the_other_along_and_says_why() {
    let (underlay, _network) = MemoryUnderlay::new(8).expect("descriptors");
    let port = Broken(EventFd::new().expect("a descriptor"));
    let forwarder =
        Forwarder::spawn(segment(MAC_A, &[B]), port, underlay, OuterPolicy::default()).expect("threads");
    assert!(eventually(PATIENCE, || forwarder.is_stopping()));
    let error = forwarder.stop().expect_err("the port is broken");
    assert_eq!(error.direction, Direction::Egress);
    assert_eq!(error.source.to_string(), "the device is gone");
}

#[test]
fn over_a_bad_wire_every_frame_is_delivered_or_dropped_by_a_reason() {
    let faults =
        Faults { drop_per_mille: 50, duplicate_per_mille: 50, reorder_per_mille: 50, corrupt_per_mille: 200 };
    for seed in 1..=4 {
        let (port, overlay) = MemoryPort::new(device(MAC_A), 256).expect("descriptors");
        let (underlay, network) = MemoryUnderlay::new(256).expect("descriptors");
        let port = FaultyPort::new(port, faults, seed);
        let segment = segment(MAC_A, &[B]);
        let forwarder = Forwarder::spawn(segment, port, underlay, OuterPolicy::default()).expect("threads");
        let counters = forwarder.counters();
        let b = Vtep::start(MAC_B, &[A]);
        for round in 0..200 {
            for number in 0..10 {
                assert!(overlay.send(&frame(MacAddr::BROADCAST, MAC_A, round * 10 + number)));
                assert!(b.overlay.send(&frame(MAC_A, MAC_B, round * 10 + number)));
                carry_to(&b, &network);
            }
            // A pipe holds 256: wait for the worker, on a machine that is busy elsewhere too.
            let done = || counters.snapshot().underlay_in.frames == u64::from(round + 1) * 10;
            assert!(eventually(PATIENCE, done));
            assert!(eventually(PATIENCE, || overlay.is_drained()));
            while network.recv().is_some() {}
            while overlay.recv().is_some() {}
        }
        forwarder.stop().expect("a clean end");
        let counts = counters.snapshot();
        assert!(counts.is_balanced(), "{counts:?}");
        assert!(counts.sent.frames > 1500 && counts.delivered.frames > 1500, "{counts:?}");
        b.forwarder.stop().expect("a clean end");
    }
}

/// A port that takes frames in `push` and loses some of them at `flush`, and whose receiving half refuses one frame
/// whenever it is asked.
struct Lossy(EventFd);

impl Port for Lossy {
    type Rx = Lossy;
    type Tx = LossyTx;

    fn split(self) -> (Lossy, LossyTx) {
        (self, LossyTx(0))
    }
}

impl PortRx for Lossy {
    fn recv(&mut self) -> io::Result<usize> {
        Ok(0)
    }

    fn frame(&mut self, _index: usize) -> Frame<'_> {
        unreachable!("no frame was ever received")
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn take_rejected(&mut self) -> usize {
        1
    }
}

struct LossyTx(usize);

impl PortTx for LossyTx {
    fn push(&mut self, _frame: Frame<'_>) -> Result<(), DropReason> {
        self.0 += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<usize> {
        Ok(std::mem::take(&mut self.0))
    }

    fn device(&self) -> io::Result<Device> {
        Ok(device(MAC_A))
    }
}

#[test]
fn a_frame_that_is_lost_at_the_flush_is_dropped_and_not_delivered_too() {
    let (underlay, network) = MemoryUnderlay::new(8).expect("descriptors");
    let port = Lossy(EventFd::new().expect("a descriptor"));
    let forwarder =
        Forwarder::spawn(segment(MAC_A, &[B]), port, underlay, OuterPolicy::default()).expect("threads");
    let b = Vtep::start(MAC_B, &[A]);
    assert!(b.overlay.send(&frame(MAC_A, MAC_B, 0)));
    carry_to(&b, &network);
    let counters = forwarder.counters();
    assert!(eventually(PATIENCE, || counters.snapshot().underlay_in.frames == 1));
    forwarder.stop().expect("a clean end");
    let counts = counters.snapshot();
    assert_eq!((counts.delivered.frames, counts.delivered.octets), (0, 0));
    assert_eq!(counts.underlay_drops[DropReason::PortRefused.index()], 1);
    assert!(counts.is_balanced(), "{counts:?}");
    b.forwarder.stop().expect("a clean end");
}

#[test]
fn frames_that_a_wrapped_port_refused_are_counted() {
    let lossy = || Lossy(EventFd::new().expect("a descriptor"));
    let (mut faulty, _) = FaultyPort::new(lossy(), Faults::default(), 1).split();
    assert_eq!(faulty.take_rejected(), 1);
    let (mut captured, _) = PcapPort::new(lossy(), io::sink()).expect("a sink takes all").split();
    assert_eq!(captured.take_rejected(), 1);
}

#[test]
fn flood_lists_that_were_looked_at_before_the_start_are_in_force() {
    let (port, overlay) = MemoryPort::new(device(MAC_A), 8).expect("descriptors");
    let (underlay, network) = MemoryUnderlay::new(8).expect("descriptors");
    let mut segment = segment(MAC_A, &[B]);
    assert!(segment.poll_flood().is_some());
    let forwarder = Forwarder::spawn(segment, port, underlay, OuterPolicy::default()).expect("threads");
    assert!(overlay.send(&frame(MacAddr::BROADCAST, MAC_A, 0)));
    let sent = network.recv_within(PATIENCE).expect("waiting works").expect("a datagram");
    assert_eq!(sent.0.ip(), B);
    forwarder.stop().expect("a clean end");
}

#[test]
fn a_forwarder_that_is_let_go_ends() {
    let a = Vtep::start(MAC_A, &[B]);
    let control = a.forwarder.control();
    drop(a);
    assert!(control.with(|_, _| ()).is_err(), "nobody is there to answer");
}

#[test]
fn a_stop_while_the_forwarder_wakes_is_not_waited_for() {
    for round in 0..300 {
        let a = Vtep::start(MAC_A, &[B]);
        // The command's wake-up and the stop's meet at different places from round to round.
        a.forwarder.control().send(|_, _| (), drop).expect("running");
        for _ in 0..round * 20 {
            std::hint::spin_loop();
        }
        let start = now();
        a.forwarder.stop().expect("a clean end");
        // A wake-up that went unheard would end with the worker's tick of a second.
        assert!(start.elapsed() < Duration::from_millis(700), "round {round}: {:?}", start.elapsed());
    }
}

#[test]
fn who_stops_the_forwarder_is_not_called_back() {
    let a = Vtep::start(MAC_A, &[B]);
    let (told, news) = mpsc::channel();
    a.forwarder.on_news(move || {
        let name = std::thread::current().name().map(str::to_owned);
        // The test has ended when nobody listens.
        let _ = told.send(name);
    });
    a.forwarder.stop().expect("a clean end");
    let names: Vec<_> = news.try_iter().flatten().collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("vxgate-")), "{names:?}");
}

/// A forwarder of several workers over memory, with the ends of each.
struct Workers {
    forwarder: Forwarder,
    ends: Vec<(OverlayEnd, UnderlayEnd)>,
}

impl Workers {
    fn start(peers: &[IpAddr], workers: usize) -> Workers {
        let (mut pairs, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (port, overlay) = MemoryPort::new(device(MAC_A), 256).expect("descriptors");
            let (underlay, network) = MemoryUnderlay::new(256).expect("descriptors");
            pairs.push((port, underlay));
            ends.push((overlay, network));
        }
        let (policy, options) = (OuterPolicy::default(), WorkerOptions::default());
        let forwarder = Forwarder::spawn_pairs(segment(MAC_A, peers), pairs, policy, &options);
        Workers { forwarder: forwarder.expect("threads"), ends }
    }

    /// A frame from `source` behind `peer` that comes by this worker: what reaches the host there.
    fn receive(&self, worker: usize, peer: IpAddr, source: MacAddr) -> Vec<u8> {
        let (overlay, network) = &self.ends[worker];
        let datagram = [&[8, 0, 0, 0, 0, 0, 10, 0][..], &frame(MAC_A, source, 0)].concat();
        assert!(network.send(peer, &datagram));
        overlay.recv_within(PATIENCE).expect("waiting works").expect("a frame").to_vec()
    }

    /// Whether a frame to `destination` goes to these remotes by this worker, and the next one, too: nothing else was sent.
    fn sends(&self, worker: usize, destination: MacAddr, remotes: &[IpAddr]) -> bool {
        let (overlay, network) = &self.ends[worker];
        assert!(overlay.send(&frame(destination, MAC_A, 0)));
        let next = || network.recv_within(PATIENCE).expect("waiting works").expect("a datagram").0.ip();
        remotes.iter().all(|remote| next() == *remote)
    }

    fn event(&self) -> Option<Event> {
        wait_for(PATIENCE, || self.forwarder.poll_event())
    }
}

const C: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));

fn station(number: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 1, number])
}

#[test]
fn what_one_worker_receives_every_worker_knows() {
    let workers = Workers::start(&[B, C], 3);
    for worker in 0..3 {
        let own = station(worker as u8);
        assert_eq!(workers.receive(worker, B, own), frame(MAC_A, own, 0));
        assert_eq!(workers.event(), Some(Event::Learned { mac: own, dst: B }));
        for other in 0..3 {
            assert!(workers.sends(other, own, &[B]), "learned by {worker}, asked of {other}");
        }
    }
    // It moves, whichever worker sees it there.
    for (worker, to, from) in [(2, C, B), (0, B, C), (1, C, B)] {
        workers.receive(worker, to, station(0));
        assert_eq!(workers.event(), Some(Event::Moved { mac: station(0), from, to }));
        assert!((0..3).all(|other| workers.sends(other, station(0), &[to])));
    }
    let control = workers.forwarder.control();
    let macs = control.with(|segment, _| segment.peers().map(|peer| peer.macs).collect::<Vec<_>>());
    assert_eq!(macs, Ok(vec![2, 1]));
    let counters = workers.forwarder.counters();
    workers.forwarder.stop().expect("a clean end");
    let counts = counters.snapshot();
    assert_eq!((counts.learned, counts.moved, counts.delivered.frames, counts.sent.frames), (3, 3, 6, 18));
    assert!(counts.is_balanced(), "{counts:?}");
}

#[test]
fn what_control_changes_is_in_force_with_every_worker_when_it_returns() {
    let workers = Workers::start(&[B], 3);
    let control = workers.forwarder.control();
    let counters = workers.forwarder.counters();
    let strangers = || counters.snapshot().underlay_drops[DropReason::Stranger.index()];
    let datagram = [&[8, 0, 0, 0, 0, 0, 10, 0][..], &frame(MAC_A, MAC_B, 0)].concat();
    for round in 0..30 {
        control
            .with(|segment, now| segment.peer_add(Remote::new(C), now))
            .expect("running")
            .expect("no peer yet");
        for worker in 0..3 {
            workers.receive(worker, C, MAC_B);
            assert!(workers.sends(worker, MacAddr::BROADCAST, &[B, C]));
        }
        control.with(|segment, _| segment.peer_del(C)).expect("running").expect("the peer from above");
        for worker in 0..3 {
            assert!(workers.ends[worker].1.send(C, &datagram));
            assert!(workers.sends(worker, MacAddr::BROADCAST, &[B]));
        }
        assert!(eventually(PATIENCE, || strangers() == (round + 1) * 3), "{} of {round}", strangers());
    }
    workers.forwarder.stop().expect("a clean end");
    assert!(counters.snapshot().is_balanced());
}

#[test]
fn a_worker_that_fails_takes_all_others_along() {
    let pairs: Vec<_> = (0..3)
        .map(|_| {
            let (underlay, _network) = MemoryUnderlay::new(8).expect("descriptors");
            (Broken(EventFd::new().expect("a descriptor")), underlay)
        })
        .collect();
    let (policy, options) = (OuterPolicy::default(), WorkerOptions::default());
    let forwarder = Forwarder::spawn_pairs(segment(MAC_A, &[B]), pairs, policy, &options).expect("threads");
    assert!(eventually(PATIENCE, || forwarder.is_stopping()));
    let error = forwarder.stop().expect_err("the port is broken");
    assert_eq!(error.direction, Direction::Egress);
}

#[test]
fn without_a_worker_or_a_processor_nothing_starts() {
    let policy = OuterPolicy::default();
    let spawn = |pairs: Vec<(MemoryPort, MemoryUnderlay)>, options: &WorkerOptions| {
        Forwarder::spawn_pairs(segment(MAC_A, &[B]), pairs, policy, options).err().map(|error| error.kind())
    };
    let invalid = Some(io::ErrorKind::InvalidInput);
    assert_eq!(spawn(Vec::new(), &WorkerOptions::default()), invalid);
    let (port, _overlay) = MemoryPort::new(device(MAC_A), 8).expect("descriptors");
    let (underlay, _network) = MemoryUnderlay::new(8).expect("descriptors");
    let nowhere = WorkerOptions { affinity: vec![usize::MAX], ..WorkerOptions::default() };
    assert_eq!(spawn(vec![(port, underlay)], &nowhere), invalid);
}

fn carry_to(from: &Vtep, network: &UnderlayEnd) {
    let (_, datagram) = from.network.recv_within(PATIENCE).expect("waiting works").expect("a datagram");
    assert!(network.send(B, &datagram));
}

/// A port that notes by which threads it is read.
struct Watched {
    port: MemoryPort,
    readers: Arc<Mutex<BTreeSet<String>>>,
}

struct WatchedRx<R> {
    rx: R,
    readers: Arc<Mutex<BTreeSet<String>>>,
}

impl Port for Watched {
    type Rx = WatchedRx<<MemoryPort as Port>::Rx>;
    type Tx = <MemoryPort as Port>::Tx;

    fn split(self) -> (Self::Rx, Self::Tx) {
        let (rx, tx) = self.port.split();
        (WatchedRx { rx, readers: self.readers }, tx)
    }
}

impl<R: PortRx> PortRx for WatchedRx<R> {
    fn recv(&mut self) -> io::Result<usize> {
        let count = self.rx.recv()?;
        if count > 0 {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            self.readers.lock().expect("no reader panics").insert(name);
        }
        Ok(count)
    }

    fn frame(&mut self, index: usize) -> Frame<'_> {
        self.rx.frame(index)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.rx.readiness()
    }
}

/// Hands in frames 0 to `count` by `send`, each again until it is taken.
fn hand_in(count: u16, mut send: impl FnMut(u16) -> bool) {
    for number in 0..count {
        assert!(eventually(PATIENCE, || send(number)), "number {number} is not taken");
    }
}

/// Takes frames by `recv` until the last of `count`, each of which comes after those before it. What a full pipe drops is
/// counted elsewhere.
fn take_out(count: u16, mut recv: impl FnMut() -> Option<u16>) {
    let mut last = None;
    while last != Some(count - 1) {
        let number = recv().expect("a frame within the time");
        assert!(last < Some(number), "{number} after {last:?}");
        last = Some(number);
    }
}

#[test]
fn a_second_thread_carries_the_way_out_when_it_is_asked_to_and_nothing_is_reordered() {
    const FRAMES: u16 = 60_000;
    for (second_thread, expected) in [
        (SecondThread::Never, vec!["vxgate-0"]),
        (SecondThread::OnDemand, vec!["vxgate-0", "vxgate-0-out"]),
        (SecondThread::Always, vec!["vxgate-0-out"]),
    ] {
        let readers = Arc::new(Mutex::new(BTreeSet::new()));
        let (port, overlay) = MemoryPort::new(device(MAC_A), 4096).expect("descriptors");
        let port = Watched { port, readers: Arc::clone(&readers) };
        let (underlay, network) = MemoryUnderlay::new(4096).expect("descriptors");
        let options = WorkerOptions { second_thread, ..WorkerOptions::default() };
        let pairs = [(port, underlay)];
        let forwarder = Forwarder::spawn_pairs(segment(MAC_A, &[B]), pairs, OuterPolicy::default(), &options)
            .expect("threads");
        let mut header = [0; 8];
        vxgate_codec::vxlan::encap(SegmentConfig::default().vni, &mut header);
        let number = |frame: &[u8]| u16::from_be_bytes([frame[14], frame[15]]);
        // Both directions are kept full; the last frame is handed in again should a full pipe have dropped it.
        let done = [AtomicBool::new(false), AtomicBool::new(false)];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                hand_in(FRAMES, |number| overlay.send(&frame(MAC_B, MAC_A, number)));
                assert!(eventually(PATIENCE, || {
                    overlay.send(&frame(MAC_B, MAC_A, FRAMES - 1));
                    done[0].load(Ordering::Acquire)
                }));
            });
            scope.spawn(|| {
                let datagram = |number| [&header[..], &frame(MAC_A, MAC_B, number)].concat();
                hand_in(FRAMES, |number| network.send(B, &datagram(number)));
                assert!(eventually(PATIENCE, || {
                    network.send(B, &datagram(FRAMES - 1));
                    done[1].load(Ordering::Acquire)
                }));
            });
            scope.spawn(|| {
                take_out(FRAMES, || {
                    network.recv_within(PATIENCE).ok()?.map(|(_, datagram)| number(&datagram[8..]))
                });
                done[0].store(true, Ordering::Release);
            });
            take_out(FRAMES, || overlay.recv_within(PATIENCE).ok()?.map(|frame| number(&frame)));
            done[1].store(true, Ordering::Release);
        });
        let readers: Vec<String> = readers.lock().expect("no reader panics").iter().cloned().collect();
        assert_eq!(readers, expected, "{second_thread:?}");
        // The way out is back with whoever has it at rest, and carries a lone frame.
        while network.recv_within(Duration::from_millis(50)).expect("waiting works").is_some() {}
        assert!(overlay.send(&frame(MAC_B, MAC_A, 7)));
        let (_, datagram) = network.recv_within(PATIENCE).expect("waiting works").expect("a datagram");
        assert_eq!(number(&datagram[8..]), 7, "{second_thread:?}");
        assert!(eventually(PATIENCE, || forwarder.counters().snapshot().is_balanced()), "{second_thread:?}");
        forwarder.stop().expect("a clean end");
    }
}

#[test]
fn a_stop_while_the_way_out_is_lent_ends_both_threads() {
    for _ in 0..20 {
        let (port, overlay) = MemoryPort::new(device(MAC_A), 1024).expect("descriptors");
        let (underlay, network) = MemoryUnderlay::new(1024).expect("descriptors");
        let options = WorkerOptions { second_thread: SecondThread::OnDemand, ..WorkerOptions::default() };
        let pairs = [(port, underlay)];
        let forwarder = Forwarder::spawn_pairs(segment(MAC_A, &[B]), pairs, OuterPolicy::default(), &options)
            .expect("threads");
        let mut datagram = vec![0; 8];
        vxgate_codec::vxlan::encap(SegmentConfig::default().vni, datagram.first_chunk_mut().expect("eight"));
        datagram.extend(frame(MAC_A, MAC_B, 1));
        let stopping = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stopping.load(Ordering::Acquire) {
                    overlay.send(&frame(MAC_B, MAC_A, 1));
                    network.send(B, &datagram);
                }
            });
            let sent = || forwarder.counters().snapshot().overlay_in.frames > 20_000;
            assert!(eventually(PATIENCE, sent));
            forwarder.stop().expect("a clean end");
            stopping.store(true, Ordering::Release);
        });
    }
}
