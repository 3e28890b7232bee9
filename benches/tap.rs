//! What a TAP device costs per frame and per superframe, in each direction.
//!
//! `cargo bench -p vxgate-tests --bench tap`. Frames that are read were written to another TAP device on the same
//! bridge, and that is not counted. A frame that is written and meant for nobody is thrown away as soon as the stack sees
//! its MAC address: that is the device's own cost. One for a socket goes all the way and is thrown away by the socket's
//! filter, so it shows what the stack does to frames that come one by one and what it spares itself with a superframe.

use std::hint::black_box;
use std::os::fd::AsFd;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use etherparse::PacketBuilder;
use vxgate_offload::VirtioNetHeader;
use vxgate_sys::epoll::{Epoll, Events, Interest};
use vxgate_sys::tap::{Offload, Tap, TapOptions, VNET_HEADER_OCTETS};
use vxgate_sys::udp::{UdpOptions, UdpSocket, bind};
use vxgate_testbed::{Host, isolated_main, now, skip, tun_obstacle};

/// Frames of one iteration: as many as the forwarder reads at once.
const BATCH: usize = 64;
const HERE: [u8; 4] = [192, 0, 2, 1];
const THERE: [u8; 4] = [192, 0, 2, 2];
const PORT: u16 = 4000;
/// TCP payload of a full superframe at the overlay's usual MTU of 1450 octets, timestamps left out.
const SEGMENT_OCTETS: u16 = 1410;

/// Longer than anything here takes, so that what is lost becomes a failure.
const PATIENCE: Duration = Duration::from_secs(5);

/// A UDP frame of `octets` behind an empty virtio header.
fn udp_frame(to: [u8; 6], octets: usize) -> Vec<u8> {
    let mut frame = vec![0; VNET_HEADER_OCTETS];
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], to)
        .ipv4(THERE, HERE, 64)
        .udp(PORT, PORT)
        .write(&mut frame, &vec![0; octets - 42])
        .expect("a Vec takes all");
    frame
}

/// A superframe whose checksum field is left to the kernel, behind its header. The field's value does not matter: no one
/// looks at the sum of what came through a TAP unfinished.
fn superframe(to: [u8; 6], udp: bool, payload_octets: usize, segment_octets: u16) -> Vec<u8> {
    let headers = if udp { 42 } else { 54 };
    let header = VirtioNetHeader {
        flags: VirtioNetHeader::F_NEEDS_CSUM,
        gso_type: if udp { VirtioNetHeader::GSO_UDP_L4 } else { VirtioNetHeader::GSO_TCPV4 },
        header_octets: headers,
        segment_octets,
        checksum_start: 34,
        checksum_offset: if udp { 6 } else { 16 },
    };
    let mut frame = header.to_bytes().to_vec();
    let packet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], to).ipv4(THERE, HERE, 64);
    let payload = vec![0; payload_octets];
    if udp {
        packet.udp(PORT, PORT).write(&mut frame, &payload).expect("a Vec takes all");
    } else {
        packet.tcp(PORT, PORT, 1, 64_000).ack(1).write(&mut frame, &payload).expect("a Vec takes all");
    }
    frame
}

/// The same four everywhere: name, frames that a wire would see, what to write.
fn kinds(to: [u8; 6]) -> [(&'static str, usize, Vec<u8>); 4] {
    let whole = usize::from(SEGMENT_OCTETS) * 46;
    [
        ("60 octets", 1, udp_frame(to, 60)),
        ("1450 octets", 1, udp_frame(to, 1450)),
        ("TCP superframe of 64 KB", 46, superframe(to, false, whole, SEGMENT_OCTETS)),
        ("UDP superframe of 64 x 18", 64, superframe(to, true, 64 * 18, 18)),
    ]
}

fn open(host: &Host, name: &str, offload: Offload) -> Tap {
    let options = TapOptions { offload, ..TapOptions::new(name) };
    let tap = host.run(|| Tap::open(&options)).unwrap_or_else(|error| panic!("{error}"));
    host.up(name).expect("a device of ours");
    tap
}

fn quiet_host(name: &str) -> Host {
    let host = Host::new(name).expect("a host");
    // A kernel without IPv6 solicits nobody, and has no such setting.
    let _ = host.sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    host
}

fn written(tap: &Tap, frame: &[u8]) {
    assert_eq!(tap.write(frame).expect("a frame that the kernel takes"), Some(frame.len()));
}

fn write(criterion: &mut Criterion) {
    let host = quiet_host("write");
    let tap = open(&host, "tap0", Offload::NONE);
    let mut group = criterion.benchmark_group("tap/write");
    for (name, frames, frame) in kinds([2, 0, 0, 0, 0, 3]) {
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(name, |bencher| bencher.iter(|| written(&tap, black_box(&frame))));
    }
    group.finish();
}

fn write_to_a_socket(criterion: &mut Criterion) {
    let host = quiet_host("socket");
    let tap = open(&host, "tap0", Offload::NONE);
    host.address("tap0", "192.0.2.1/24").expect("an address");
    let to = tap.mac().expect("the device's address");
    let receiver = |join: bool| -> UdpSocket {
        let local = (HERE, PORT).into();
        let options = UdpOptions { only_send: true, reuse_address: true, ..UdpOptions::new(local) };
        let socket = host.run(|| bind(&options)).expect("an address of this host");
        socket.set_gro(join).expect("a kernel with UDP_GRO (Linux 5.0)");
        socket
    };
    let mut group = criterion.benchmark_group("tap/write to a socket");
    let single = udp_frame(to, 60);
    let run = superframe(to, true, BATCH * 18, 18);
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, join) in [("cut for it", false), ("UDP_GRO", true)] {
        let _socket = receiver(join);
        if !join {
            group.bench_function("64 frames of 60 octets", |bencher| {
                bencher.iter(|| (0..BATCH).for_each(|_| written(&tap, black_box(&single))));
            });
        }
        group.bench_function(format!("UDP superframe of 64 x 18, {name}"), |bencher| {
            bencher.iter(|| written(&tap, black_box(&run)));
        });
    }
    group.finish();
}

/// Waits until there is something to read.
fn readable(source: impl AsFd) -> bool {
    let epoll = Epoll::new().expect("a descriptor");
    epoll.add(source, 0, Interest::READABLE).expect("a descriptor that can be waited for");
    let mut events = Events::with_capacity(1);
    epoll.wait(&mut events, Some(PATIENCE)).expect("waiting works") > 0
}

/// feeder ── bridge ── tap, which is read
fn read(criterion: &mut Criterion) {
    let host = quiet_host("read");
    let every = Offload::TSO4 | Offload::TSO6 | Offload::TSO_ECN | Offload::USO;
    let (feeder, tap) = (open(&host, "feeder", Offload::NONE), open(&host, "tap0", every));
    let bridged = host.netlink(async |netlink| {
        let bridge = netlink.bridge_add("bridge").await?;
        for name in ["feeder", "tap0"] {
            netlink.set_controller(&netlink.link_by_name(name).await?, Some(&bridge)).await?;
        }
        netlink.set_up(&bridge).await
    });
    if let Err(error) = bridged {
        return skip(&format!("no bridge to read frames from: {error}"));
    }
    let mut buffer = vec![0; 70_000];
    let mut group = criterion.benchmark_group("tap/read");
    for (name, frames, frame) in kinds([2, 0, 0, 0, 0, 3]) {
        if frames > 1 && !tap.offload().contains(Offload::USO) {
            continue;
        }
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut taken = Duration::ZERO;
                let mut left = iterations;
                while left > 0 {
                    let batch = left.min(BATCH as u64);
                    (0..batch).for_each(|_| written(&feeder, &frame));
                    assert!(readable(&tap), "what was written does not come");
                    let start = now();
                    for _ in 0..batch {
                        let octets = tap.read(&mut buffer).expect("a device that is up");
                        assert_eq!(octets, Some(frame.len()), "it comes as it went in");
                    }
                    taken += start.elapsed();
                    left -= batch;
                }
                taken
            });
        });
    }
    group.finish();
}

fn main() {
    isolated_main(|| {
        if let Some(obstacle) = tun_obstacle() {
            return skip(&obstacle);
        }
        let mut criterion = Criterion::default().configure_from_args();
        write(&mut criterion);
        write_to_a_socket(&mut criterion);
        read(&mut criterion);
        criterion.final_summary();
    });
}
