//! Superframes as a host's own stack makes them: TCP and UDP, over IPv4 and IPv6, through a TAP with every offload.
#![expect(
    clippy::unwrap_used,
    reason = "a host that cannot be built or a transfer that stalls fails the test"
)]

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use vxgate_offload::VirtioNetHeader;
use vxgate_sys::tap::{Offload, Tap, TapOptions};
use vxgate_sys::udp::{Message, SendBatch, UdpOptions, bind, send_batch};
use vxgate_testbed::{Host, tcp};

use crate::kernel::read;

const PATIENCE: Duration = Duration::from_secs(20);
/// Enough for TCP to open its window and send full superframes.
const TRANSFER_OCTETS: u64 = 4 << 20;
/// Superframes of one kind that are looked at.
const LOOKED_AT: usize = 100;

type Frames = Vec<(VirtioNetHeader, Vec<u8>)>;

/// a ── TAP ── this test ── TAP ── b
struct Pair {
    hosts: [Host; 2],
    taps: [Tap; 2],
}

const ADDRESSES: [[&str; 2]; 2] = [["192.0.2.1", "192.0.2.2"], ["2001:db8::1", "2001:db8::2"]];

impl Pair {
    fn new() -> Self {
        let hosts = ["a", "b"].map(|name| Host::new(name).unwrap());
        let offload = Offload::TSO4 | Offload::TSO6 | Offload::TSO_ECN | Offload::USO;
        let options = TapOptions { offload, ..TapOptions::new("tap0") };
        let taps = [0, 1].map(|index: usize| hosts[index].run(|| Tap::open(&options).unwrap()));
        for (index, host) in hosts.iter().enumerate() {
            host.sysctl("net/ipv4/tcp_ecn", "1").unwrap();
            host.up("tap0").unwrap();
            host.address("tap0", &format!("{}/24", ADDRESSES[0][index])).unwrap();
            // Without an answer to duplicate address detection it would take a second.
            host.address("tap0", &format!("{}/64", ADDRESSES[1][index])).unwrap();
        }
        Self { hosts, taps }
    }

    /// Carries frames both ways while `traffic` runs, and keeps those of a that lack something.
    fn unfinished(&self, traffic: impl FnOnce() + Send) -> Frames {
        let mut kept = Vec::new();
        thread::scope(|scope| {
            // Also when it panics: the scope passes that on.
            let traffic = scope.spawn(traffic);
            let [a, b] = &self.taps;
            let mut buffer = vec![0; 70_000];
            while !traffic.is_finished() {
                if let Some(octets) = a.read(&mut buffer).unwrap() {
                    let (header, frame) = buffer[..octets].split_first_chunk().unwrap();
                    let header = VirtioNetHeader::parse(header);
                    if header.flags & VirtioNetHeader::F_NEEDS_CSUM != 0 {
                        kept.push((header, frame.to_vec()));
                    }
                    // A full queue loses it, and TCP sends it again.
                    let _ = b.write(&buffer[..octets]).unwrap();
                } else if let Some(octets) = b.read(&mut buffer).unwrap() {
                    let _ = a.write(&buffer[..octets]).unwrap();
                } else {
                    thread::yield_now();
                }
            }
        });
        kept
    }

    fn tcp(&self, family: usize) -> Frames {
        let to: IpAddr = ADDRESSES[family][1].parse().unwrap();
        let [a, b] = &self.hosts;
        let frames = self.unfinished(|| {
            let transfer = tcp::transfer(a, b, to, TRANSFER_OCTETS, PATIENCE).unwrap();
            assert!(transfer.intact, "{transfer:?}");
        });
        // Some of everything: the first with SYN and what opens the window, the last with FIN, the longest.
        let (mut superframes, single): (Frames, Frames) =
            frames.into_iter().partition(|(header, _)| header.gso_type != VirtioNetHeader::GSO_NONE);
        superframes.sort_by_key(|(_, frame)| frame.len());
        let kind = if family == 0 { VirtioNetHeader::GSO_TCPV4 } else { VirtioNetHeader::GSO_TCPV6 };
        let (_, longest) = superframes.last().expect("the stack sends superframes");
        assert!(longest.len() > 30_000, "the longest has {} octets", longest.len());
        assert!(superframes.iter().all(|(header, _)| header.gso_type & 0x7f == kind));
        let step = superframes.len().div_ceil(LOOKED_AT);
        superframes.into_iter().rev().step_by(step).chain(single.into_iter().rev().take(LOOKED_AT)).collect()
    }

    /// Sent to nobody that listens: they only have to leave.
    fn udp(&self, family: usize) -> Frames {
        let [from, to]: [IpAddr; 2] = ADDRESSES[family].map(|address| address.parse().unwrap());
        self.tcp_hello(to);
        let socket = self.hosts[0].run(|| bind(&UdpOptions::new((from, 0).into())).unwrap());
        let data: Vec<u8> = (0..60_000_u32).map(|number| number.to_le_bytes()[0] ^ 0x35).collect();
        let mut frames = Vec::new();
        for (octets, segment) in [(60_000, 1400), (1_000, 18), (2_801, 1400), (127, 1), (1_401, 1400)] {
            let message = Message {
                segment_octets: Some(segment),
                ..Message::new(SocketAddr::new(to, 9), &data[..octets])
            };
            if octets.div_ceil(usize::from(segment)) > socket.segments_max() {
                continue;
            }
            let outcome = send_batch(&socket, &mut SendBatch::new(1), [message]);
            assert_eq!((outcome.sent, outcome.error.map(|error| error.to_string())), (1, None));
            // What the hosts say to each other of their own accord goes by.
            let superframe = std::iter::from_fn(|| read(&self.taps[0]))
                .find(|(header, _)| header.gso_type == VirtioNetHeader::GSO_UDP_L4);
            frames.push(superframe.expect("the stack sends superframes"));
        }
        frames
    }

    /// Lets a learn b's MAC address.
    fn tcp_hello(&self, to: IpAddr) {
        let [a, b] = &self.hosts;
        let _ = self.unfinished(|| {
            let transfer = tcp::transfer(a, b, to, 1, PATIENCE).unwrap();
            assert!(transfer.intact, "{transfer:?}");
        });
    }
}

/// Superframes of TCP and of UDP where the kernel has them, with the name of their kind.
pub(crate) fn superframes_of_each_kind() -> Vec<(&'static str, Frames)> {
    let pair = Pair::new();
    let mut kinds = vec![("TCP over IPv4", pair.tcp(0)), ("TCP over IPv6", pair.tcp(1))];
    if pair.taps[0].offload().contains(Offload::USO) {
        kinds.push(("UDP over IPv4", pair.udp(0)));
        kinds.push(("UDP over IPv6", pair.udp(1)));
    }
    kinds
}
