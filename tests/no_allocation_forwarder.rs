//! Once warm, the forwarder allocates nothing for a frame, in either direction, over a real TAP and real sockets.
//!
//! ```text
//!   packet socket ─ tap0 ─ Egress ─► UDP 127.0.0.1 ──► 127.0.0.2 and .3 (peers)
//!   packet socket ─ tap0 ◄─ Ingress ─ UDP 127.0.0.1 ◄── 127.0.0.2 (peer)
//! ```

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use vxgate_codec::{MacAddr, vxlan};
use vxgate_core::{Remote, Segment, SegmentConfig, Timestamp};
use vxgate_forwarder::{Egress, Ingress, OuterPolicy, Port, TapPort, UdpConfig, UdpUnderlay, Underlay};
use vxgate_sys::counting_allocator::{CountingAllocator, allocations};
use vxgate_sys::packet::{PacketOptions, PacketSocket};
use vxgate_sys::tap::{Offload, Tap, TapOptions};
use vxgate_testbed::{Host, eventually, isolated, tun_obstacle};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const PATIENCE: Duration = Duration::from_secs(5);
const PEERS: [&str; 2] = ["127.0.0.2", "127.0.0.3"];
const STATION: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 5]);

/// An IPv4 UDP frame with an ECN mark, so that the outer headers have something to take over.
fn frame(destination: MacAddr, source: MacAddr, octets: usize) -> Vec<u8> {
    let mut frame = vec![0; octets];
    frame[..6].copy_from_slice(&destination.octets());
    frame[6..12].copy_from_slice(&source.octets());
    frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x02]);
    frame[16..18].copy_from_slice(&((octets - 14) as u16).to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame
}

fn forwards_without_allocating(tap: Arc<Tap>) {
    let own = MacAddr::new(tap.mac().expect("a device"));
    let mut segment = Segment::new(SegmentConfig { own_mac: own, ..SegmentConfig::default() });
    for peer in PEERS {
        let peer: IpAddr = peer.parse().expect("an address");
        segment.peer_add(Remote::new(peer), Timestamp::default()).expect("room for a peer");
    }
    let mut half = segment.overlay_half();
    half.set_flood(segment.poll_flood().expect("new peers"));
    let counters = segment.counters();
    let config = UdpConfig::new("127.0.0.1:4789".parse().expect("an address"));
    let (underlay_rx, underlay_tx) = UdpUnderlay::bind(&config).expect("a port of our own").split();
    let (port_rx, port_tx) = TapPort::new(tap).split();
    let mut egress = Egress::new(port_rx, underlay_tx, half, Arc::clone(&counters), OuterPolicy::default());
    let mut ingress = Ingress::new(underlay_rx, port_tx, segment).expect("a device");

    // The sockets of the peers stay open, so that nothing is refused.
    let peers = PEERS.map(|peer| UdpSocket::bind((peer, vxlan::PORT)).expect("a port of our own"));
    let host = PacketSocket::open("tap0", &PacketOptions::default()).expect("a packet socket");

    let out = [frame(MacAddr::BROADCAST, own, 60), frame(STATION, own, 60), frame(STATION, own, 1464)];
    let mut header = [0; vxlan::HEADER_OCTETS];
    vxlan::encap(SegmentConfig::default().vni, &mut header);
    let back = [&header[..], &frame(own, STATION, 1464)].concat();

    let mut spent = 0;
    for round in 0..50 {
        for frame in &out {
            host.send(frame).expect("the device takes it");
        }
        peers[0].send_to(&back, "127.0.0.1:4789").expect("loopback takes it");
        let before = (counters.snapshot().overlay_in.frames, counters.snapshot().underlay_in.frames);
        let started = allocations();
        let forwarded = eventually(PATIENCE, || {
            egress.turn().expect("the TAP is there");
            ingress.turn(Timestamp::default()).expect("the socket is there");
            let now = counters.snapshot();
            now.overlay_in.frames >= before.0 + 3 && now.underlay_in.frames > before.1
        });
        let allocated = allocations() - started;
        assert!(forwarded, "{:?}", counters.snapshot());
        // The first rounds fill the tables and the arenas.
        if round >= 10 {
            spent += allocated;
        }
    }
    let counts = counters.snapshot();
    assert!(counts.is_balanced(), "{counts:?}");
    assert!(counts.sent.frames >= 150 && counts.delivered.frames == 50, "{counts:?}");
    assert_eq!(spent, 0, "allocations in 40 rounds of 4 frames");
}

#[test]
fn a_warm_forwarder_allocates_nothing_for_a_frame() {
    isolated!(|| {
        if let Some(obstacle) = tun_obstacle() {
            return vxgate_testbed::skip(&obstacle);
        }
        let host = Host::new("host").expect("a namespace");
        host.sysctl("net/ipv6/conf/default/disable_ipv6", "1").expect("a setting of our own");
        for offload in [Offload::NONE, Offload::ALL] {
            let options = TapOptions { offload, ..TapOptions::new("tap0") };
            let tap = host.run(|| Tap::open(&options)).expect("a TAP");
            host.up("tap0").expect("a device of our own");
            host.run(|| forwards_without_allocating(Arc::new(tap)));
        }
    });
}
