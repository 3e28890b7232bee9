//! What every port promises, run over each kind. A new kind of port is one more line in [`each_port`].
//!
//! ```text
//!   host ──► PortRx::recv, frame          host ◄── PortTx::push, flush
//! ```
//! The host's side of a TAP is a packet socket on the device, in a network namespace of the test's own.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vxgate_codec::MacAddr;
use vxgate_core::DropReason;
use vxgate_forwarder::port::HEADROOM_OCTETS;
use vxgate_forwarder::{
    Device, Faults, FaultyPort, Frame, MemoryPort, OverlayEnd, PcapPort, PlainTapPort, Port, PortRx, PortTx,
    TapPort,
};
use vxgate_offload::{ChecksumAt, Work, checksum};
use vxgate_sys::packet::{PacketOptions, PacketSocket};
use vxgate_sys::plain_tap::PlainTap;
use vxgate_sys::tap::{Tap, TapOptions};
use vxgate_testbed::{Host, isolated, tun_obstacle};

const PATIENCE: Duration = Duration::from_secs(5);
/// An EtherType for local experiments (IEEE 802, 0x88b5): nobody in the host answers it.
const EXPERIMENT: [u8; 2] = [0x88, 0xb5];

/// The host's side of a port.
trait HostSide {
    fn send(&self, frame: &[u8]);
    fn recv(&self) -> Option<Vec<u8>>;
}

impl HostSide for OverlayEnd {
    fn send(&self, frame: &[u8]) {
        assert!(OverlayEnd::send(self, frame), "room for a frame");
    }

    fn recv(&self) -> Option<Vec<u8>> {
        self.recv_within(PATIENCE).expect("waiting works").map(|frame| frame.to_vec())
    }
}

impl HostSide for PacketSocket {
    fn send(&self, frame: &[u8]) {
        PacketSocket::send(self, frame).expect("the device takes it").expect("room for a frame");
    }

    fn recv(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 70_000];
        let octets = PacketSocket::recv(self, &mut buffer, Some(PATIENCE)).expect("waiting works")?;
        buffer.truncate(octets);
        Some(buffer)
    }
}

/// A frame of this length with a number in it.
fn frame(octets: usize, number: u8) -> Vec<u8> {
    let mut frame = vec![number; octets];
    frame[..6].copy_from_slice(&[0xff; 6]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    frame[12..14].copy_from_slice(&EXPERIMENT);
    frame
}

/// Reads the port until a frame of ours comes: a host's stack sends frames of its own accord.
fn next_of_ours(rx: &mut impl PortRx) -> Vec<u8> {
    loop {
        let count = rx.recv().expect("the port works");
        for index in 0..count {
            let octets = rx.frame(index).octets().to_vec();
            if octets[12..14] == EXPERIMENT {
                assert_eq!(index + 1, count, "one frame was sent");
                return octets;
            }
        }
        if count == 0 {
            let timeout = Timespec { tv_sec: 5, tv_nsec: 0 };
            let ready = poll(&mut [PollFd::new(&rx.readiness(), PollFlags::IN)], Some(&timeout));
            assert_eq!(ready, Ok(1), "a queued frame makes the port readable");
        }
    }
}

fn push(tx: &mut impl PortTx, octets: &[u8], work: Work) -> Result<(), DropReason> {
    let mut buffer = vec![0xaa; HEADROOM_OCTETS];
    buffer.extend_from_slice(octets);
    let range = HEADROOM_OCTETS..buffer.len();
    let pushed = tx.push(Frame { buffer: &mut buffer, range, work });
    assert_eq!(tx.flush().expect("the port works"), 0);
    pushed
}

/// A TCP superframe over IPv4 as a kernel peer sends it: the checksum field holds the pseudo header's sum.
fn superframe(payload: &[u8]) -> (Vec<u8>, Work) {
    let mut frame = vec![0; 54];
    frame[..6].copy_from_slice(&[0xff; 6]);
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 0x08, 0x00]);
    frame[14] = 0x45;
    let total = (40 + payload.len()) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 6]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = checksum::ipv4_header(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame[34..38].copy_from_slice(&[0x0f, 0xa0, 0x13, 0x88]);
    frame[46] = 0x50;
    frame[47] = 0x10;
    let seed = checksum::fold(checksum::pseudo_header(&frame[26..34], 6, 20 + payload.len()));
    frame[50..52].copy_from_slice(&seed.to_be_bytes());
    frame.extend_from_slice(payload);
    let work = Work::from_peer(&frame, 1450);
    assert_ne!(work, Work::Done);
    (frame, work)
}

/// The promises.
fn keeps_the_contract<P: Port>(port: P, host: &dyn HostSide) {
    let (mut rx, mut tx) = port.split();
    let device = tx.device().expect("a device");
    assert!(!device.mac.is_zero() && !device.mac.is_group());
    assert!((68..=65_535).contains(&device.mtu_octets));

    // Frames of the host come as they are and in order, from the shortest to the longest that the MTU allows.
    for (number, octets) in [60, 61, 64, 590, 1464].into_iter().enumerate() {
        let sent = frame(octets, number as u8);
        host.send(&sent);
        assert_eq!(next_of_ours(&mut rx), sent);
    }
    // Nothing queued is no error and no wait.
    while rx.recv().expect("the port works") > 0 {}
    assert_eq!(rx.recv().expect("the port works"), 0);

    // Frames of the peers reach the host as they are and in order, longer ones than the MTU too.
    for (number, octets) in [14, 60, 61, 1464, 1518, 9000].into_iter().enumerate() {
        let sent = frame(octets, number as u8);
        assert_eq!(push(&mut tx, &sent, Work::Done), Ok(()));
        assert_eq!(host.recv(), Some(sent));
    }

    // What a kernel peer left undone is handed on or done; no octet of it is lost.
    let payload: Vec<u8> = (0..20_000_u32).map(|i| (i % 251) as u8).collect();
    let (superframe, work) = superframe(&payload);
    assert_eq!(push(&mut tx, &superframe, work), Ok(()));
    let mut received = Vec::new();
    while received.len() < payload.len() {
        let segment = host.recv().expect("the rest of the superframe");
        received.extend_from_slice(&segment[54..]);
    }
    assert_eq!(received, payload);

    // An unfinished checksum does not keep a frame from its host.
    let (short, work) = self::superframe(&payload[..100]);
    assert!(matches!(work, Work::Checksum(ChecksumAt { start: 34, offset: 16 })));
    assert_eq!(push(&mut tx, &short, work), Ok(()));
    assert_eq!(host.recv().map(|frame| frame[54..].to_vec()), Some(payload[..100].to_vec()));
}

fn memory() -> (MemoryPort, OverlayEnd) {
    let device = Device { mac: MacAddr::new([2, 0, 0, 0, 0, 1]), mtu_octets: 1450 };
    MemoryPort::new(device, 64).expect("descriptors")
}

/// A sink that can be looked into.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A host whose TAP is up and sends nothing by itself.
fn with_tap(body: impl FnOnce(&PacketSocket) + Send, open: impl FnOnce() + Send) {
    let host = Host::new("host").expect("a namespace");
    host.sysctl("net/ipv6/conf/default/disable_ipv6", "1").expect("a setting of our own");
    host.run(open);
    host.mtu("tap0", 1450).expect("a device of our own");
    host.up("tap0").expect("a device of our own");
    host.run(|| {
        let options = PacketOptions { ignore_outgoing: true, ..PacketOptions::default() };
        let socket = PacketSocket::open("tap0", &options).expect("a packet socket");
        body(&socket);
    });
}

fn tun_is_missing() -> bool {
    let obstacle = tun_obstacle();
    if let Some(obstacle) = &obstacle {
        vxgate_testbed::skip(obstacle);
    }
    obstacle.is_some()
}

#[test]
fn the_memory_port_keeps_the_contract() {
    let (port, end) = memory();
    keeps_the_contract(port, &end);
}

#[test]
fn a_port_without_faults_keeps_the_contract() {
    let (port, end) = memory();
    keeps_the_contract(FaultyPort::new(port, Faults::default(), 7), &end);
}

#[test]
fn a_captured_port_keeps_the_contract_and_captures_every_frame() {
    let (port, end) = memory();
    let sink = Shared::default();
    keeps_the_contract(PcapPort::new(port, sink.clone()).expect("a sink that writes"), &end);

    let file = sink.0.lock().expect("nobody panics with it");
    assert_eq!(file[..4], 0xa1b2_3c4d_u32.to_le_bytes());
    let (mut at, mut lengths) = (24, Vec::new());
    while at < file.len() {
        let octets = u32::from_le_bytes(file[at + 8..at + 12].try_into().expect("four octets"));
        lengths.push(octets);
        at += 16 + octets as usize;
    }
    assert_eq!(at, file.len(), "the capture ends with a whole frame");
    assert_eq!(lengths, [60, 61, 64, 590, 1464, 14, 60, 61, 1464, 1518, 9000, 20_054, 154]);
}

#[test]
fn the_tap_port_keeps_the_contract() {
    isolated!(|| {
        if tun_is_missing() {
            return;
        }
        let tap = Mutex::new(None);
        with_tap(
            |host| {
                let tap = tap.lock().expect("one thread").take().expect("an open TAP");
                keeps_the_contract(TapPort::new(tap), host);
            },
            || {
                let opened = Tap::open(&TapOptions::new("tap0")).expect("a TAP");
                *tap.lock().expect("one thread") = Some(Arc::new(opened));
            },
        );
    });
}

#[test]
fn the_plain_tap_port_keeps_the_contract() {
    isolated!(|| {
        if tun_is_missing() {
            return;
        }
        let tap = Mutex::new(None);
        with_tap(
            |host| {
                let tap = tap.lock().expect("one thread").take().expect("an open TAP");
                keeps_the_contract(PlainTapPort::new(tap), host);
            },
            || {
                let opened = PlainTap::open("tap0").expect("a TAP");
                *tap.lock().expect("one thread") = Some(Arc::new(opened));
            },
        );
    });
}

#[test]
fn faults_strike_as_often_as_asked_and_the_same_way_for_the_same_seed() {
    let run = |faults: Faults, seed: u64| -> Vec<u8> {
        let (port, end) = memory();
        let (mut rx, mut tx) = FaultyPort::new(port, faults, seed).split();
        let mut out = Vec::new();
        for number in 0..200 {
            end.send(&frame(60, number));
            for index in 0..rx.recv().expect("memory does not fail") {
                out.push(rx.frame(index).octets()[20]);
            }
            push(&mut tx, &frame(60, number), Work::Done).expect("room for a frame");
            while let Some(frame) = OverlayEnd::recv(&end) {
                out.push(frame[20]);
            }
        }
        out
    };
    let all = run(Faults::default(), 1);
    assert_eq!(all.len(), 400);
    assert!(run(Faults { drop_per_mille: 1000, ..Faults::default() }, 1).is_empty());
    assert_eq!(run(Faults { duplicate_per_mille: 1000, ..Faults::default() }, 1).len(), 800);
    let some = Faults { drop_per_mille: 250, ..Faults::default() };
    assert_eq!(run(some, 1), run(some, 1));
    assert_ne!(run(some, 1), run(some, 2));
    let kept = run(some, 1).len();
    assert!((250..350).contains(&kept), "{kept} of 400 frames at 25 % loss");
    let corrupt = run(Faults { corrupt_per_mille: 1000, ..Faults::default() }, 3);
    assert_eq!(corrupt.len(), 400);
}

/// What a port's sending half says of the device at first, after it is moved to another namespace (or, where it is asked by
/// name, renamed), and after it is deleted by way of its receiving half.
fn follows_its_device<P: Port + Send>(open: impl FnOnce() -> P + Send, moves: bool) {
    let host = Host::new("host").expect("a namespace");
    let elsewhere = Host::new("elsewhere").expect("a namespace");
    let (mut rx, tx) = host.run(open).split();
    host.mtu("tap0", 1400).expect("a device of our own");
    let before = tx.device().expect("a device");
    assert_eq!(before.mtu_octets, 1400);
    host.netlink(async |netlink| {
        let link = netlink.link_by_name("tap0").await?;
        if moves {
            netlink.move_to(&link, elsewhere.namespace()).await
        } else {
            netlink.rename(&link, "other").await
        }
    })
    .expect("a device of our own");
    assert_eq!(tx.device().expect("the device is still there"), before);

    let (place, name) = if moves { (&elsewhere, "tap0") } else { (&host, "other") };
    place
        .netlink(async |netlink| netlink.link_delete(&netlink.link_by_name(name).await?).await)
        .expect("a device of our own");
    assert!(rx.recv().is_err(), "the device is gone");
}

#[test]
fn a_tap_port_lives_on_in_another_namespace() {
    isolated!(|| {
        if !tun_is_missing() {
            let open = || TapPort::new(Arc::new(Tap::open(&TapOptions::new("tap0")).expect("a TAP")));
            follows_its_device(open, true);
        }
    });
}

#[test]
fn a_plain_tap_port_lives_on_under_another_name() {
    isolated!(|| {
        if !tun_is_missing() {
            let open = || PlainTapPort::new(Arc::new(PlainTap::open("tap0").expect("a TAP")));
            follows_its_device(open, false);
        }
    });
}
