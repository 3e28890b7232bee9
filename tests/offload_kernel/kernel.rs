//! The kernel's software segmentation, laid open: what goes into one TAP comes out of another that can do nothing itself.
#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be built or a frame that is lost fails the test"
)]

use std::os::fd::AsFd;
use std::time::Duration;

use vxgate_netlink as netlink;
use vxgate_offload::{VIRTIO_NET_HEADER_OCTETS, VirtioNetHeader};
use vxgate_sys::epoll::{Epoll, Events, Interest};
use vxgate_sys::tap::{Offload, Tap, TapOptions};
use vxgate_sys::udp::{UdpOptions, bind};
use vxgate_testbed::{Host, skip, tun_obstacle};

/// Longer than anything here takes, so that what is lost becomes a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// Segments that the reader's queue holds: more than any superframe of these tests has.
const QUEUE_FRAMES: u32 = 4096;

/// The largest MTU of a TAP (65,535 octets less an Ethernet header): frames that are no superframes may be as long.
const MTU_OCTETS: u32 = 65_521;

/// Follows each superframe, from an address that no other frame has: what came before it is all there is.
const MARK: [u8; 60] = {
    let mut mark = [0; 60];
    // To 02:00:00:00:00:04 from 02:00:00:00:00:ee, of an EtherType for experiments (IEEE 802, 0x88b5).
    (mark[0], mark[5], mark[6], mark[11]) = (2, 4, 2, 0xee);
    (mark[12], mark[13]) = (0x88, 0xb5);
    mark
};

/// feeder ── bridge ── reader
pub(crate) struct Kernel {
    host: Host,
    feeder: Tap,
    reader: Tap,
}

impl Kernel {
    /// Builds the three, or says what is missing.
    pub(crate) fn new() -> Option<Self> {
        if let Some(obstacle) = tun_obstacle() {
            skip(&obstacle);
            return None;
        }
        let host = quiet_host("kernel");
        let [feeder, reader] =
            ["feeder", "reader"].map(|name| host.run(|| Tap::open(&TapOptions::new(name)).unwrap()));
        let bridged = host.netlink(async |netlink| {
            let bridge = netlink.bridge_add("bridge").await?;
            for name in ["feeder", "reader"] {
                let link = netlink.link_by_name(name).await?;
                netlink.set_mtu(&link, MTU_OCTETS).await?;
                netlink.set_tx_queue_len(&link, QUEUE_FRAMES).await?;
                netlink.set_controller(&link, Some(&bridge)).await?;
                netlink.set_up(&link).await?;
            }
            netlink.set_up(&bridge).await
        });
        match bridged {
            Ok(()) => Some(Self { host, feeder, reader }),
            Err(error) => {
                skip(&format!("a bridge that hands superframes to the kernel: {error}"));
                None
            }
        }
    }

    pub(crate) fn takes_uso(&self) -> bool {
        self.feeder.write_offload().contains(Offload::USO)
    }

    pub(crate) fn udp_segments_max(&self) -> usize {
        let socket = bind(&UdpOptions::new("127.0.0.1:0".parse().unwrap())).unwrap();
        socket.segments_max()
    }

    /// What the kernel makes of a frame with this header where the device can do nothing.
    pub(crate) fn segments(&self, virtio: VirtioNetHeader, frame: &[u8]) -> Vec<Vec<u8>> {
        self.feed(&virtio.to_bytes(), frame);
        self.feed(&[0; VIRTIO_NET_HEADER_OCTETS], &MARK);
        let mut segments = Vec::new();
        loop {
            let (header, segment) = read(&self.reader).expect("each frame comes, and the mark behind it");
            if segment == MARK {
                return segments;
            }
            // A new bridge tells groups that it is there; what we write goes to one station.
            if segment[0] & 1 != 0 {
                continue;
            }
            assert_eq!(header, VirtioNetHeader::default(), "nothing is left to the reader");
            segments.push(segment);
        }
    }

    fn feed(&self, virtio: &[u8; VIRTIO_NET_HEADER_OCTETS], frame: &[u8]) {
        let whole = [virtio, frame].concat();
        assert_eq!(self.feeder.write(&whole).expect("a frame that the kernel takes"), Some(whole.len()));
    }

    /// The reader's largest superframe, and what the kernel says to a larger one.
    pub(crate) fn ask_for_big_tcp(&self) -> (Option<u32>, netlink::Error) {
        let mut before = None;
        let outcome = self.host.netlink(async |netlink| {
            let link = netlink.link_by_name("reader").await?;
            before = link.gso_max_size;
            netlink.set_gso_max_size(&link, 65_537).await
        });
        (before, outcome.unwrap_err())
    }
}

/// A host that sends nothing of its own accord.
pub(crate) fn quiet_host(name: &str) -> Host {
    let host = Host::new(name).unwrap();
    // A kernel without IPv6 solicits nobody, and has no such setting.
    let _ = host.sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    host
}

/// The next frame that the device has for us.
pub(crate) fn read(tap: &Tap) -> Option<(VirtioNetHeader, Vec<u8>)> {
    let mut buffer = vec![0; 70_000];
    let octets = match tap.read(&mut buffer).unwrap() {
        Some(octets) => octets,
        None => {
            let epoll = Epoll::new().unwrap();
            epoll.add(tap.as_fd(), 0, Interest::READABLE).unwrap();
            epoll.wait(&mut Events::with_capacity(1), Some(PATIENCE)).unwrap();
            tap.read(&mut buffer).unwrap()?
        }
    };
    let (header, frame) = buffer[..octets].split_first_chunk().unwrap();
    Some((VirtioNetHeader::parse(header), frame.to_vec()))
}
