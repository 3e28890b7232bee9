//! What a UDP socket costs per datagram: sent alone, in one call with others, and as one buffer that the kernel cuts;
//! received alone, in one call, and joined.
//!
//! `cargo bench -p vxgate-tests --bench udp`. Small datagrams of 72 octets hold a frame of 64, large ones of 1450 fill
//! an MTU of 1500 but for a few octets. Senders sit on a veth pair whose other end throws away what is not for its MAC
//! address, so a figure holds the sender's own work and the link's, and none of a receiver's; the pair passes what is
//! sent in one piece whole, as a NIC that cuts for itself would. Receivers sit on the loopback interface, and what
//! fills their queue is not counted.

use std::hint::black_box;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use vxgate_sys::epoll::{Epoll, Events, Interest};
use vxgate_sys::udp::{Message, RecvBatch, SendBatch, UdpOptions, UdpSocket, bind, recv_batch, send_batch};
use vxgate_testbed::{Host, isolated_main, link, now};

const SMALL: usize = 72;
const LARGE: usize = 1450;
/// As many large datagrams as one send holds, less one: the figure that whole segments of TCP give.
const LARGE_IN_ONE: usize = 44;
/// Octets of both queues: what one iteration needs, with the kernel's overhead for each datagram.
const BUFFER_OCTETS: usize = 8 << 20;

/// Longer than anything here takes, so that what is lost becomes a failure.
const PATIENCE: Duration = Duration::from_secs(5);

fn socket(local: &str) -> UdpSocket {
    let local = local.parse().expect("an address and a port");
    let buffer = Some(BUFFER_OCTETS);
    let options =
        UdpOptions { receive_buffer_octets: buffer, send_buffer_octets: buffer, ..UdpOptions::new(local) };
    bind(&options).expect("an address of this host")
}

/// Sends all of them in as few calls as `scratch` allows.
fn send_all(socket: &UdpSocket, scratch: &mut SendBatch, messages: &[Message<'_>]) {
    let mut rest = messages;
    while !rest.is_empty() {
        let outcome = send_batch(socket, scratch, rest.iter().copied());
        assert!(outcome.error.is_none(), "{outcome:?}");
        rest = &rest[outcome.sent..];
    }
}

/// near (192.0.2.1) ── veth ── far, which has not the MAC address that near believes 192.0.2.2 to have
fn send(criterion: &mut Criterion) {
    let (near, far) = (Host::new("near").expect("a host"), Host::new("far").expect("a host"));
    link(&near, "eth0", &far, "eth0").expect("a veth pair");
    near.address("eth0", "192.0.2.1/24").expect("an address");
    let nobody = near.netlink(async |netlink| {
        let eth0 = netlink.link_by_name("eth0").await?;
        netlink.neighbour_set(&eth0, [192, 0, 2, 2].into(), [2, 0, 0, 0, 0, 2]).await
    });
    nobody.expect("a neighbour");
    let socket = near.run(|| socket("192.0.2.1:0"));
    let destination: SocketAddr = "192.0.2.2:4789".parse().expect("an address and a port");
    let data = vec![0x5a; socket.payload_octets_max()];

    let mut group = criterion.benchmark_group("udp/send");
    for (octets, count) in [(SMALL, 64), (LARGE, LARGE_IN_ONE)] {
        let messages = vec![Message::new(destination, &data[..octets]); count];
        group.throughput(Throughput::Elements(count as u64));
        for (name, slots) in [("one a call", 1), ("sendmmsg", count)] {
            let mut scratch = SendBatch::new(slots);
            group.bench_function(format!("{name}/{count} x {octets}"), |bencher| {
                bencher.iter(|| send_all(&socket, &mut scratch, black_box(&messages)));
            });
        }
    }
    for (octets, count) in [(SMALL, 64), (SMALL, socket.segments_max()), (LARGE, LARGE_IN_ONE)] {
        group.throughput(Throughput::Elements(count as u64));
        let one = Message {
            segment_octets: Some(octets as u16),
            ..Message::new(destination, &data[..octets * count])
        };
        let mut scratch = SendBatch::new(1);
        group.bench_function(format!("UDP_SEGMENT/{count} x {octets}"), |bencher| {
            bencher.iter(|| send_all(&socket, &mut scratch, black_box(&[one])));
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

/// Measures how long it takes to receive `count` datagrams, however they come out.
fn receive_one_way(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    (octets, count): (usize, usize),
    segment: bool,
    receiver: &UdpSocket,
    mut batch: RecvBatch,
) {
    let sender = socket("127.0.0.1:0");
    let destination = receiver.local_addr().expect("a bound socket");
    let data = vec![0x5a; octets * count];
    let one = Message { segment_octets: Some(octets as u16), ..Message::new(destination, &data) };
    let each = vec![Message::new(destination, &data[..octets]); count];
    let messages = if segment { vec![one] } else { each };
    let mut scratch = SendBatch::new(count);
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(format!("{name}/{count} x {octets}"), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut taken = Duration::ZERO;
            for _ in 0..iterations {
                send_all(&sender, &mut scratch, &messages);
                assert!(readable(receiver), "what was sent does not come");
                let start = now();
                let mut received = 0;
                while received < octets * count {
                    let datagrams = recv_batch(receiver, &mut batch).expect("no error is pending");
                    assert!(datagrams > 0, "{received} of {} octets came", octets * count);
                    received += (0..datagrams)
                        .filter_map(|index| batch.datagram(index))
                        .map(|datagram| datagram.range.len())
                        .sum::<usize>();
                }
                taken += start.elapsed();
            }
            taken
        });
    });
}

fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("udp/receive");
    let plain = socket("127.0.0.1:0");
    let joining = socket("127.0.0.1:0");
    joining.set_gro(true).expect("a kernel with UDP_GRO (Linux 5.0)");
    let most = plain.segments_max();
    for (octets, count) in [(SMALL, 64), (LARGE, LARGE_IN_ONE)] {
        for (name, slots) in [("one a call", 1), ("recvmmsg", count)] {
            let batch = RecvBatch::new(slots, 0, 2048);
            receive_one_way(&mut group, name, (octets, count), false, &plain, batch);
        }
        // Slots that could hold joined datagrams, for a peer whose datagrams the kernel does not join.
        let batch = RecvBatch::new(count, 0, 65_535);
        receive_one_way(&mut group, "UDP_GRO, none joined", (octets, count), false, &joining, batch);
    }
    for (octets, count) in [(SMALL, 64), (SMALL, most), (LARGE, LARGE_IN_ONE)] {
        let batch = RecvBatch::new(1, 0, 65_535);
        receive_one_way(&mut group, "UDP_GRO", (octets, count), true, &joining, batch);
    }
    group.finish();
}

fn main() {
    isolated_main(|| {
        let mut criterion = Criterion::default().configure_from_args();
        send(&mut criterion);
        receive(&mut criterion);
        criterion.final_summary();
    });
}
