//! What is written, read by somebody else's reader of packets.

use std::net::SocketAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::pcapng::tests::read;
use super::*;

fn wanted() -> CaptureWanted {
    CaptureWanted { inner: true, outer: true, drops: true, snaplen: 262_144, peers: Vec::new() }
}

fn info() -> Capturing {
    Capturing { local: "172.21.0.100".parse().unwrap(), port: 4789, epoch_ns: 1_700_000_000_000_000_000 }
}

#[test]
fn a_datagram_has_headers_that_a_reader_understands() {
    for (local, peer) in
        [("172.21.0.100:4789", "100.64.158.4:0"), ("[2001:db8::1]:4789", "[2001:db8::2]:4789")]
    {
        let (local, peer): (SocketAddr, SocketAddr) = (local.parse().unwrap(), peer.parse().unwrap());
        for is_out in [true, false] {
            let mut packet = Vec::new();
            let headers = synthesis::datagram(local, peer, 0xb8, is_out, 8, &mut packet);
            packet.extend([8, 0, 0, 0, 0, 0, 10, 0]);
            assert_eq!(headers, packet.len() - 8);
            let sliced = SlicedPacket::from_ip(&packet).expect("a packet");
            let from = match sliced.net {
                Some(NetSlice::Ipv4(ip)) => {
                    assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
                    IpAddr::V4(ip.header().source_addr())
                }
                Some(NetSlice::Ipv6(ip)) => IpAddr::V6(ip.header().source_addr()),
                _ => panic!("no packet"),
            };
            assert_eq!(from, if is_out { local.ip() } else { peer.ip() });
            let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no datagram") };
            assert_eq!(udp.destination_port(), if is_out { peer.port() } else { local.port() });
            assert_eq!(udp.payload(), [8, 0, 0, 0, 0, 0, 10, 0]);
        }
    }
}

#[test]
fn each_kind_goes_to_its_interface_and_a_drop_says_why() {
    let path = std::env::temp_dir().join(format!("vxgate-capture-{}.pcapng", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let target = Target::File(path.clone());
    let mut sink = Sink::begin(target.open(false).unwrap(), &wanted(), &info(), "vxlan0").unwrap();
    let peer: SocketAddr = "100.64.158.4:4789".parse().unwrap();
    let message = |place, is_out, lost| Message {
        at: Duration::from_millis(1500),
        place,
        is_out,
        original_octets: 60,
        lost,
        octets: vec![7; 60],
    };
    let reason = vxgate_core::DropReason::WrongVni;
    for (place, is_out) in [
        (Some(CapturedAt::Inner), true),
        (Some(CapturedAt::Outer { peer, tos: 0 }), true),
        (Some(CapturedAt::Dropped(reason, Some(peer.ip()))), false),
        (Some(CapturedAt::Dropped(reason, None)), true),
        (None, false),
    ] {
        sink.take(&message(place, is_out, 3)).unwrap();
    }
    sink.end().unwrap();
    assert_eq!(sink.told(), "4 captured, 3 lost, since they came faster than they were read");
    let blocks = read(&std::fs::read(&path).unwrap());
    let packets: Vec<_> = blocks.iter().filter(|block| block.kind == 6).collect();
    let interfaces: Vec<u8> = packets.iter().map(|packet| packet.fixed[0]).collect();
    assert_eq!(interfaces, [0, 1, 3, 2]);
    let comment = packets[2].options.iter().find(|(code, _)| *code == 1).expect("a comment");
    assert_eq!(String::from_utf8_lossy(&comment.1), format!("dropped: wrong-vni: {}", reason.explain()));
    assert_eq!(blocks.iter().filter(|block| block.kind == 5).count(), 4, "statistics of each interface");
    // It is for nobody else, and is not written over by accident.
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(target.open(false).map(drop).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    target.open(true).map(drop).unwrap();
    std::fs::remove_file(&path).unwrap();
}
