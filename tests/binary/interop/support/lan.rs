//! The device under test among kernel peers on one Ethernet.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use vxgate_sys::packet::{PacketOptions, PacketSocket};
use vxgate_testbed::{Host, link, now};

use super::Family;
use super::bench::{prefix, remote};
use super::device::{DEV, Device, Options, PATIENCE, State, Tunnel};
use super::frame::{is_mark, mark, mark_mac};

/// ```text
///   dut ── eth0 ────────── dut  ┐
///   vxlan0 192.0.2.100          │ br0
///   (under test)                │
///   peer-1 ── eth0 ──── peer-1  ┤ host "lan"
///   vxlan0 192.0.2.1            │
///   (kernel)                    │
///   peer-2 ... as peer-1 ...    ┘      2001:db8::64, ::1, ::2 on an IPv6 underlay
/// ```
#[derive(Debug)]
pub(crate) struct Lan {
    pub(crate) tunnel: Option<Tunnel>,
    pub(crate) dut: Rc<Host>,
    pub(crate) peers: Vec<Host>,
    pub(crate) options: Options,
    device: Device,
    _lan: Host,
}

/// How the peers and the Ethernet are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) family: Family,
    pub(crate) peers: u8,
    pub(crate) mtu: u32,
    /// Whether the stacks have IPv6 on the overlay; else they stay quiet there.
    pub(crate) overlay_v6: bool,
}

impl Layout {
    /// One peer, Ethernet's MTU.
    pub(crate) fn new(family: Family) -> Layout {
        Layout { family, peers: 1, mtu: 1500, overlay_v6: true }
    }
}

impl Lan {
    /// Peers 1 to n with inner addresses 10.0.0.n/24 and fd00::n/64, and the device under test, number 100, as their
    /// peer and they as its.
    pub(crate) fn start(device: Device, layout: Layout, options: impl Fn(&mut Options)) -> Lan {
        let lan = Host::new("lan").unwrap();
        let bridge = lan.netlink(async |netlink| netlink.bridge_add("br0").await).unwrap();
        let attach = |name: &str, number: u8| {
            let host = Host::new(name).unwrap();
            link(&host, "eth0", &lan, name).unwrap();
            host.mtu("eth0", layout.mtu).unwrap();
            lan.mtu(name, layout.mtu).unwrap();
            lan.netlink(async |netlink| {
                netlink.set_controller(&netlink.link_by_name(name).await?, Some(&bridge)).await
            })
            .unwrap();
            host.address("eth0", &format!("{}/{}", remote(layout.family, number), prefix(layout.family)))
                .unwrap();
            if !layout.overlay_v6 {
                host.sysctl("net/ipv6/conf/default/disable_ipv6", "1").unwrap();
            }
            host
        };
        let dut = Rc::new(attach("dut", 100));
        let peers: Vec<Host> =
            (1..=layout.peers).map(|number| attach(&format!("peer-{number}"), number)).collect();
        lan.up("br0").unwrap();

        let mut settings = Options::new(remote(layout.family, 100));
        settings.peers = (1..=layout.peers).map(|number| remote(layout.family, number)).collect();
        options(&mut settings);
        let group = settings.peers.iter().copied().find(IpAddr::is_multicast);
        for (peer, number) in peers.iter().zip(1..) {
            let theirs = Options {
                vni: settings.vni,
                peers: vec![group.unwrap_or(remote(layout.family, 100))],
                underlay: settings.underlay,
                ..Options::new(remote(layout.family, number))
            };
            theirs.kernel(peer).create(peer).unwrap();
            peer.address(DEV, &format!("10.0.0.{number}/24")).unwrap();
            if layout.overlay_v6 {
                peer.address(DEV, &format!("fd00::{number}/64")).unwrap();
            }
        }
        let mut lan = Lan { tunnel: None, dut, peers, options: settings, device, _lan: lan };
        lan.up();
        lan
    }

    /// Starts the device under test, again or for the first time.
    pub(crate) fn up(&mut self) {
        self.tunnel = Some(Tunnel::start(self.device, &self.dut, &self.options));
    }

    /// Ends the device under test in the orderly way.
    pub(crate) fn down(&mut self) {
        self.tunnel.take().unwrap().stop();
    }

    /// Ends it in the disorderly way.
    pub(crate) fn kill(&mut self) {
        self.tunnel.take().unwrap().kill();
    }

    pub(crate) fn tunnel(&self) -> &Tunnel {
        self.tunnel.as_ref().unwrap()
    }
}

/// Ears on the overlay of every peer: who hears which frame how often.
#[derive(Debug)]
pub(crate) struct Ears<'l> {
    lan: &'l Lan,
    mouth: PacketSocket,
    peers: Vec<PacketSocket>,
}

impl<'l> Ears<'l> {
    pub(crate) fn on(lan: &'l Lan) -> Ears<'l> {
        let incoming = PacketOptions { ignore_outgoing: true, promiscuous: false };
        let open = |host: &Host| host.run(|| PacketSocket::open(DEV, &incoming)).unwrap();
        for number in 1..=lan.peers.len() as u8 {
            let there = lan.options.kernel_peer(number);
            assert!(lan.tunnel().fdb_add(mark_mac(number), there, State::Static));
        }
        Ears { lan, mouth: open(&lan.dut), peers: lan.peers.iter().map(open).collect() }
    }

    /// Sends each frame from the device under test and counts, for each peer, those that arrive as they are.
    pub(crate) fn hear(&self, frames: &[Vec<u8>]) -> Vec<usize> {
        for frame in frames {
            assert_eq!(self.mouth.send(frame).unwrap(), Some(frame.len()));
        }
        (1..=self.lan.peers.len() as u8)
            .zip(&self.peers)
            .map(|(number, ear)| {
                let mark = mark(mark_mac(number), mark_mac(0));
                assert_eq!(self.mouth.send(&mark).unwrap(), Some(mark.len()));
                listen(ear, &mark, frames)
            })
            .collect()
    }

    /// Sends each frame from a peer and counts those that arrive at the device under test as they are.
    pub(crate) fn tell(&self, from: u8, frames: &[Vec<u8>]) -> usize {
        let mouth = &self.peers[usize::from(from) - 1];
        let mark = mark([0xff; 6], mark_mac(from));
        for frame in frames.iter().chain([&mark]) {
            assert_eq!(mouth.send(frame).unwrap(), Some(frame.len()));
        }
        if self.lan.options.peers.iter().any(IpAddr::is_multicast) {
            // The other members of the group hear it too.
            let others = self.peers.iter().zip(1..).filter(|(_, number)| *number != from);
            others.for_each(|(ear, _)| assert_eq!(listen(ear, &mark, frames), frames.len()));
        }
        listen(&self.mouth, &mark, frames)
    }
}

fn listen(ear: &PacketSocket, mark: &[u8], frames: &[Vec<u8>]) -> usize {
    let deadline = now() + PATIENCE;
    let mut buffer = vec![0; 70_000];
    let mut heard = 0;
    loop {
        let left = deadline.saturating_duration_since(now());
        assert!(left > Duration::ZERO, "no mark after {heard} frames");
        let Some(octets) = ear.recv(&mut buffer, Some(left)).unwrap() else { continue };
        let frame = &buffer[..octets];
        if frame == mark {
            return heard;
        }
        if !is_mark(frame) {
            assert!(frames.iter().any(|sent| sent == frame), "nothing else: {frame:02x?}");
            heard += 1;
        }
    }
}

impl Options {
    /// The outer address of a kernel peer.
    pub(crate) fn kernel_peer(&self, number: u8) -> IpAddr {
        remote(if self.local.is_ipv4() { Family::V4 } else { Family::V6 }, number)
    }
}
