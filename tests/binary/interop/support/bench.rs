//! The device under test between two probes: frames in on one side, datagrams seen and sent on the other.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use vxgate_sys::packet::{PacketOptions, PacketSocket};
use vxgate_testbed::{Host, link, now, wire_packets};

use super::Family;
use super::device::{DEV, Device, Options, PATIENCE, State, Tunnel};
use super::frame::{BROADCAST, Mac, datagram, header, is_mark, mark, mark_mac};
use super::wire::{Datagram, Outer, is_fragment};

/// The remote that marks go to and come from.
const MARKER: u8 = 9;

/// ```text
///   frames            dut                                          far
///   AF_PACKET ── vxlan0 (under test) ── eth0 ────────────── eth0 ── AF_PACKET: datagrams seen and sent
///                                       192.0.2.100/24              192.0.2.1 .. 192.0.2.40, no VTEP
///                                       2001:db8::64/64             2001:db8::1 .. 2001:db8::28
/// ```
///
/// A mark follows what is sent: a frame of its own, to or from a static entry at remote 9. What arrives before it is all
/// that arrives, without a wait.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) tunnel: Tunnel,
    overlay: PacketSocket,
    wire: PacketSocket,
    family: Family,
    vni: u32,
    port: u16,
    /// MAC addresses of eth0: of `dut`, of `far`.
    cable: [Mac; 2],
    _far: Host,
    taken_port: Option<UdpSocket>,
}

/// How many remotes `far` stands for. `dut` knows where they are: none waits for resolution while others pass.
const REMOTES: u8 = 40;

impl Bench {
    /// The device under test on an IPv4 underlay, with remotes 1 and 2 as peers unless `options` says otherwise.
    pub(crate) fn start(device: Device, options: impl FnOnce(&mut Options)) -> Bench {
        Bench::over(Family::V4, device, options)
    }

    /// The same on either underlay.
    pub(crate) fn over(family: Family, device: Device, options: impl FnOnce(&mut Options)) -> Bench {
        let mut settings = Options::new(remote(family, 100));
        settings.peers = vec![remote(family, 1), remote(family, 2)];
        options(&mut settings);
        let (dut, far) = (Rc::new(Host::new("dut").unwrap()), Host::new("far").unwrap());
        link(&dut, "eth0", &far, "eth0").unwrap();
        wire_packets(&dut, "eth0").unwrap();
        dut.address("eth0", &format!("{}/{}", remote(family, 100), prefix(family))).unwrap();
        let addresses = (1..=REMOTES).map(|number| format!("{}/{}", remote(family, number), prefix(family)));
        far.netlink(async |netlink| {
            let link = netlink.link_by_name("eth0").await?;
            for address in addresses {
                netlink.address_add_nodad(&link, address.parse().unwrap()).await?;
            }
            Ok(())
        })
        .unwrap();
        let cable = [&*dut, &far]
            .map(|host| host.netlink(async |netlink| netlink.link_by_name("eth0").await).unwrap().mac);
        dut.netlink(async |netlink| {
            let link = netlink.link_by_name("eth0").await?;
            for number in 1..=REMOTES {
                netlink.neighbour_set(&link, remote(family, number), cable[1]).await?;
            }
            Ok(())
        })
        .unwrap();
        // Nobody reads it: it keeps `far` from answering that the port is closed.
        let taken_port = far.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, settings.port))).unwrap();
        // The stack of `dut` stays quiet on the device under test.
        dut.sysctl("net/ipv6/conf/default/disable_ipv6", "1").unwrap();

        let tunnel = Tunnel::start(device, &dut, &settings);
        let incoming = PacketOptions { ignore_outgoing: true, promiscuous: false };
        let overlay = dut.run(|| PacketSocket::open(DEV, &incoming)).unwrap();
        let wire = far.run(|| PacketSocket::open("eth0", &incoming)).unwrap();
        let bench = Bench {
            tunnel,
            overlay,
            wire,
            family,
            vni: settings.vni,
            port: settings.port,
            cable,
            _far: far,
            taken_port: Some(taken_port),
        };
        bench.place_mark();
        bench
    }

    /// Makes the entry that marks need; to be repeated after a flush.
    pub(crate) fn place_mark(&self) {
        assert!(self.tunnel.fdb_add(mark_mac(MARKER), self.remote(MARKER), State::Static));
    }

    /// Has `far` answer what comes for the VXLAN port from now on with "port unreachable".
    pub(crate) fn close_port(&mut self) {
        self.taken_port = None;
    }

    /// The outer address of a remote.
    pub(crate) fn remote(&self, number: u8) -> IpAddr {
        remote(self.family, number)
    }

    /// Hands frames to the device under test as the host's stack would, and answers the datagrams that left for it, in the order
    /// of the frames: those of one flow leave in that order, others may pass each other.
    pub(crate) fn emit(&self, frames: &[Vec<u8>]) -> Vec<Datagram> {
        let sent = self.emit_raw(frames);
        let parsed = sent.iter().filter_map(|frame| Datagram::parse(frame));
        let mut datagrams: Vec<Datagram> = parsed.filter(is_subject).collect();
        datagrams.sort_by_key(|datagram| frames.iter().position(|frame| *frame == datagram.inner));
        datagrams
    }

    /// To which remotes, in ascending order, one frame goes.
    pub(crate) fn targets(&self, frame: Vec<u8>) -> Vec<u8> {
        let copies = self.emit(std::slice::from_ref(&frame));
        assert!(copies.iter().all(|copy| copy.inner == frame), "the frame arrives as it was sent");
        let mut targets: Vec<u8> = copies.iter().map(|copy| number(copy.to)).collect();
        targets.sort_unstable();
        targets
    }

    /// Hands over frames and counts the pieces of IP packets on the wire until the mark.
    pub(crate) fn fragments(&self, frames: &[Vec<u8>]) -> usize {
        self.emit_raw(frames).iter().filter(|frame| is_fragment(frame)).count()
    }

    fn emit_raw(&self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mark = mark(mark_mac(MARKER), mark_mac(0));
        for frame in frames.iter().chain([&mark]) {
            assert_eq!(self.overlay.send(frame).unwrap(), Some(frame.len()));
        }
        collect(&self.wire, |frame| Datagram::parse(frame).is_some_and(|datagram| datagram.inner == mark))
    }

    /// Sends datagrams from remotes to the device under test, and answers the frames that it delivers for them.
    pub(crate) fn deliver<'a>(
        &self,
        datagrams: impl IntoIterator<Item = (u8, Outer, &'a [u8])>,
    ) -> Vec<Vec<u8>> {
        for (from, outer, payload) in datagrams {
            self.inject(from, outer, payload);
        }
        let mark = mark(BROADCAST, mark_mac(MARKER));
        let mut frames = Vec::new();
        // A frame that could be joined with the next one of its flow is held until its batch ends, and a mark in that batch
        // overtakes it. What comes after the first mark is of a later batch.
        for _ in 0..2 {
            self.inject(MARKER, Outer::default(), &datagram(header(self.vni), &mark));
            frames.extend(collect(&self.overlay, |frame| frame == mark));
        }
        frames.retain(|frame| !is_mark(frame));
        frames
    }

    /// Whether the device under test delivers this frame from this remote, as it is.
    pub(crate) fn delivers(&self, from: u8, frame: &[u8]) -> bool {
        let payload = datagram(header(self.vni), frame);
        let frames = self.deliver([(from, Outer::default(), &payload[..])]);
        assert!(frames.iter().all(|delivered| delivered == frame), "only this one: {frames:?}");
        assert!(frames.len() <= 1, "once");
        !frames.is_empty()
    }

    /// For each datagram whether the frame behind its header is delivered, as it is; all from one remote.
    pub(crate) fn accepted(&self, from: u8, outer: Outer, payloads: &[Vec<u8>]) -> Vec<bool> {
        let frames = self.deliver(payloads.iter().map(|payload| (from, outer, &payload[..])));
        let arrives =
            |payload: &Vec<u8>| payload.get(8..).is_some_and(|frame| frames.iter().any(|seen| seen == frame));
        let accepted: Vec<bool> = payloads.iter().map(arrives).collect();
        assert_eq!(
            accepted.iter().filter(|arrived| **arrived).count(),
            frames.len(),
            "no other frame: {frames:?}"
        );
        accepted
    }

    fn inject(&self, from: u8, outer: Outer, payload: &[u8]) {
        let packet = outer.packet(self.remote(from), (self.remote(100), self.port), payload);
        let frame = [&self.cable[0][..], &self.cable[1], &packet].concat();
        assert_eq!(self.wire.send(&frame).unwrap(), Some(frame.len()));
    }
}

fn is_subject(datagram: &Datagram) -> bool {
    !is_mark(&datagram.inner)
}

/// What a socket receives up to the mark.
fn collect(socket: &PacketSocket, is_mark: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let deadline = now() + PATIENCE;
    let mut buffer = vec![0; 70_000];
    let mut frames = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(now());
        assert!(left > Duration::ZERO, "no mark after {} frames", frames.len());
        let Some(octets) = socket.recv(&mut buffer, Some(left)).unwrap() else { continue };
        if is_mark(&buffer[..octets]) {
            return frames;
        }
        frames.push(buffer[..octets].to_vec());
    }
}

/// The outer address with this number.
pub(crate) fn remote(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => [192, 0, 2, number].into(),
        Family::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)].into(),
    }
}

pub(crate) fn prefix(family: Family) -> u8 {
    match family {
        Family::V4 => 24,
        Family::V6 => 64,
    }
}

fn number(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    }
}
