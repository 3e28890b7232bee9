//! Real sockets: on the loopback interface where that is enough, in a namespace of its own where a test
//! changes an interface, looks at the datagrams from outside or counts them.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::CapabilitySet;

use super::*;
use crate::icmp::IcmpSocket;
use crate::interface;
use crate::packet::{PacketOptions, PacketSocket};
use crate::poll;
use crate::tap::{Offload, TapOptions, VNET_HEADER_OCTETS};
use crate::test_support::{self, LONG, drop_capability, isolated, set_address, set_mtu, up};

const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";
const HEADROOM: usize = 64;

fn options(local: &str) -> UdpOptions {
    UdpOptions::new(local.parse().unwrap())
}

/// Both families, or what this host has of them.
fn families() -> Vec<&'static str> {
    if bind(&options(V6)).is_ok() {
        return vec![V4, V6];
    }
    test_support::skip("the IPv6 loopback address ::1");
    vec![V4]
}

fn bound(local: &str) -> UdpSocket {
    bind(&options(local)).unwrap()
}

/// Sends all, in as many calls as it takes.
fn send_all(socket: &UdpSocket, messages: &[Message<'_>]) {
    let outcome = send_batch(socket, &mut SendBatch::new(messages.len()), messages.iter().copied());
    assert!(outcome.error.is_none() && outcome.sent == messages.len(), "{outcome:?}");
}

fn send(socket: &UdpSocket, destination: SocketAddr, data: &[u8]) {
    send_all(socket, &[Message::new(destination, data)]);
}

fn errno_of(socket: &UdpSocket, message: Message<'_>) -> Option<i32> {
    let outcome = send_batch(socket, &mut SendBatch::new(1), [message]);
    outcome.error.and_then(|error| error.raw_os_error())
}

/// Receives until there are `count`, each with its payload.
fn receive(socket: &UdpSocket, count: usize) -> Vec<(Datagram, Vec<u8>)> {
    let mut batch = RecvBatch::new(32, HEADROOM, 65_535);
    let mut datagrams = Vec::new();
    while datagrams.len() < count {
        assert!(poll::readable(socket.as_fd(), LONG).unwrap(), "{} of {count} came", datagrams.len());
        for index in 0..recv_batch(socket, &mut batch).unwrap() {
            let datagram = batch.datagram(index).unwrap();
            let payload = batch.slot(index)[datagram.range.clone()].to_vec();
            datagrams.push((datagram, payload));
        }
    }
    assert_eq!(recv_batch(socket, &mut batch).unwrap(), 0, "more came");
    datagrams
}

fn receive_one(socket: &UdpSocket) -> (Datagram, Vec<u8>) {
    let mut datagrams = receive(socket, 1);
    assert_eq!(datagrams.len(), 1);
    datagrams.remove(0)
}

fn error_soon(socket: &UdpSocket) -> QueuedError {
    assert!(poll::readable(socket.as_fd(), LONG).unwrap());
    socket.error_queue_read().unwrap().unwrap()
}

#[test]
fn a_batch_arrives_in_order_with_its_source_and_payload_behind_the_headroom() {
    for local in families() {
        let (sender, receiver) = (bound(local), bound(local));
        let payloads: Vec<Vec<u8>> = (0..20_u8).map(|i| vec![i; usize::from(i) * 70]).collect();
        let destination = receiver.local_addr().unwrap();
        let messages: Vec<_> = payloads.iter().map(|data| Message::new(destination, data)).collect();
        send_all(&sender, &messages);
        let received = receive(&receiver, 20);
        assert_eq!(received.len(), 20);
        for ((datagram, payload), expected) in received.iter().zip(&payloads) {
            assert_eq!(payload, expected);
            let expected = Datagram {
                source: sender.local_addr().unwrap(),
                range: HEADROOM..HEADROOM + expected.len(),
                truncated: false,
                tos: None,
                ttl: None,
                destination: None,
                interface: None,
                stride: None,
            };
            assert_eq!(*datagram, expected);
        }
    }
}

#[test]
fn a_call_takes_no_more_messages_than_it_has_slots() {
    let (sender, receiver) = (bound(V4), bound(V4));
    let destination = receiver.local_addr().unwrap();
    let payloads: Vec<[u8; 1]> = (0..10).map(|i| [i]).collect();
    let mut messages = payloads.iter().map(|data| Message::new(destination, data));
    let mut scratch = SendBatch::new(4);
    let sent: Vec<_> = (0..4).map(|_| send_batch(&sender, &mut scratch, messages.by_ref()).sent).collect();
    assert_eq!(sent, [4, 4, 2, 0]);
    let order: Vec<_> = receive(&receiver, 10).into_iter().map(|(_, payload)| payload[0]).collect();
    assert_eq!(order, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_batch_is_filled_from_its_first_slot_and_what_is_beyond_it_is_none() {
    let (sender, receiver) = (bound(V4), bound(V4));
    let destination = receiver.local_addr().unwrap();
    let mut batch = RecvBatch::new(2, 8, 100);
    assert_eq!(recv_batch(&receiver, &mut batch).unwrap(), 0);
    assert!(batch.is_empty() && batch.datagram(0).is_none());
    for data in [b"one", b"two", b"six"] {
        send(&sender, destination, data);
    }
    assert!(poll::readable(receiver.as_fd(), LONG).unwrap());
    batch.slot_mut(0)[..8].copy_from_slice(b"headroom");
    assert_eq!(recv_batch(&receiver, &mut batch).unwrap(), 2);
    assert_eq!(
        (batch.len(), &batch.slot(0)[..11], &batch.slot(1)[8..11]),
        (2, &b"headroomone"[..], &b"two"[..])
    );
    assert!(batch.datagram(2).is_none() && batch.datagram(usize::MAX).is_none());
    assert_eq!(recv_batch(&receiver, &mut batch).unwrap(), 1);
    assert!(batch.datagram(0).is_some() && batch.datagram(1).is_none());
    assert_eq!(batch.slot(0)[8..11], *b"six");
}

#[test]
fn a_batch_can_move_to_another_thread_between_calls() {
    let (sender, receiver) = (bound(V4), bound(V4));
    let destination = receiver.local_addr().unwrap();
    let (mut batch, mut scratch) = (RecvBatch::new(4, 0, 64), SendBatch::new(4));
    for round in 0..3_u8 {
        (batch, scratch) = std::thread::scope(|scope| {
            let (sender, receiver) = (&sender, &receiver);
            let elsewhere = scope.spawn(move || {
                assert_eq!(send_batch(sender, &mut scratch, [Message::new(destination, &[round])]).sent, 1);
                assert!(poll::readable(receiver.as_fd(), LONG).unwrap());
                assert_eq!(recv_batch(receiver, &mut batch).unwrap(), 1);
                (batch, scratch)
            });
            elsewhere.join().unwrap()
        });
        assert_eq!(batch.slot(0)[0], round);
    }
}

#[test]
fn a_datagram_of_64_kb_arrives_whole() {
    let (sender, receiver) = (bound(V4), bound(V4));
    let payload: Vec<u8> = (0..PAYLOAD_OCTETS_MAX).map(|i| i.to_le_bytes()[0]).collect();
    send(&sender, receiver.local_addr().unwrap(), &payload);
    let (datagram, received) = receive_one(&receiver);
    assert!(received == payload && !datagram.truncated);
}

#[test]
fn a_datagram_longer_than_its_slot_is_marked_truncated() {
    for local in families() {
        let (sender, receiver) = (bound(local), bound(local));
        let mut batch = RecvBatch::new(4, 16, 100);
        for octets in [99, 100, 101, 2000] {
            send(&sender, receiver.local_addr().unwrap(), &vec![1; octets]);
        }
        assert!(poll::readable(receiver.as_fd(), LONG).unwrap());
        assert_eq!(recv_batch(&receiver, &mut batch).unwrap(), 4);
        let seen: Vec<_> = (0..4)
            .map(|index| batch.datagram(index).unwrap())
            .map(|datagram| (datagram.range, datagram.truncated))
            .collect();
        assert_eq!(seen, [(16..115, false), (16..116, false), (16..116, true), (16..116, true)]);
    }
}

#[test]
fn tos_and_ttl_go_with_the_socket_or_with_the_message() {
    let want = Want { tos: true, ttl: true, destination: false };
    for local in families() {
        let receiver = bind(&UdpOptions { want, ..options(local) }).unwrap();
        let destination = receiver.local_addr().unwrap();
        let plain = bound(local);
        let set = bind(&UdpOptions { tos: Some(0xb9), ttl: Some(9), ..options(local) }).unwrap();
        let message = Message::new(destination, b"x");
        let marked = Message { tos: Some(0x03), ttl: Some(255), ..message };
        for (sender, message, expected) in
            [(&plain, message, (0, 64)), (&set, message, (0xb9, 9)), (&set, marked, (0x03, 255))]
        {
            send_all(sender, &[message]);
            let (datagram, _) = receive_one(&receiver);
            assert_eq!((datagram.tos, datagram.ttl), (Some(expected.0), Some(expected.1)), "{local}");
        }
    }
}

#[test]
fn one_batch_mixes_messages_with_and_without_marks() {
    let want = Want { tos: true, ttl: true, destination: true };
    for local in families() {
        let receiver = bind(&UdpOptions { want, ..options(local) }).unwrap();
        let destination = receiver.local_addr().unwrap();
        let message = Message::new(destination, b"x");
        let messages = [
            message,
            Message { tos: Some(4), ..message },
            Message {
                ttl: Some(5),
                source: Some(destination.ip()),
                segment_octets: Some(1),
                data: b"yz",
                ..message
            },
            message,
        ];
        send_all(&bound(local), &messages);
        let marks: Vec<_> = receive(&receiver, 5)
            .iter()
            .map(|(datagram, _)| (datagram.tos.unwrap(), datagram.ttl.unwrap()))
            .collect();
        assert_eq!(marks, [(0, 64), (4, 64), (0, 5), (0, 5), (0, 64)]);
    }
}

#[test]
fn a_ttl_of_zero_is_refused() {
    for local in families() {
        let error = bind(&UdpOptions { ttl: Some(0), ..options(local) }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{local}");
    }
}

#[test]
fn the_destination_and_the_source_address_can_be_told_and_chosen() {
    let want = Want { destination: true, ..Want::default() };
    let receiver = bind(&UdpOptions { want, ..options("0.0.0.0:0") }).unwrap();
    let sender = bound("0.0.0.0:0");
    let port = receiver.local_addr().unwrap().port();
    let message = Message::new(SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), port), b"x");
    send_all(&sender, &[Message { source: Some(Ipv4Addr::new(127, 0, 0, 3).into()), ..message }]);
    let (datagram, _) = receive_one(&receiver);
    assert_eq!(datagram.destination, Some(Ipv4Addr::new(127, 0, 0, 2).into()));
    assert_eq!(datagram.source.ip(), Ipv4Addr::new(127, 0, 0, 3));
    assert_eq!(datagram.interface, Some(1));

    if !families().contains(&V6) {
        return;
    }
    let receiver = bind(&UdpOptions { want, ..options("[::]:0") }).unwrap();
    let message = Message::new(
        SocketAddr::new(Ipv6Addr::LOCALHOST.into(), receiver.local_addr().unwrap().port()),
        b"x",
    );
    send_all(&bound("[::]:0"), &[Message { source: Some(Ipv6Addr::LOCALHOST.into()), ..message }]);
    let (datagram, _) = receive_one(&receiver);
    assert_eq!(datagram.destination, Some(Ipv6Addr::LOCALHOST.into()));
    assert_eq!(datagram.interface, Some(1));
}

#[test]
fn each_family_has_its_own_socket_on_one_port() {
    isolated(|| {
        let v6 = bound("[::]:4789");
        let v4 = bound("0.0.0.0:4789");
        assert!(v6.is_ipv6() && !v4.is_ipv6());
        send(&bound(V4), "127.0.0.1:4789".parse().unwrap(), b"four");
        send(&bound(V6), "[::1]:4789".parse().unwrap(), b"six");
        assert_eq!(receive_one(&v4).1, b"four");
        assert_eq!(receive_one(&v6).1, b"six");
        let error = bind(&options("0.0.0.0:4789")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let share = UdpOptions { reuse_address: true, ..options("0.0.0.0:4790") };
        let (_one, _two) = (bind(&share).unwrap(), bind(&share).unwrap());
    });
}

#[test]
fn a_message_of_the_other_family_is_refused() {
    let message = Message::new("[::1]:9".parse().unwrap(), b"x");
    assert_eq!(errno_of(&bound(V4), message), Some(libc::EAFNOSUPPORT));
}

/// Octets of the IPv4 or IPv6 header and the UDP header.
fn headers(local: &str) -> usize {
    if local == V4 { 28 } else { 48 }
}

#[test]
fn what_does_not_fit_the_interface_is_emsgsize_and_never_a_fragment() {
    isolated(|| {
        set_mtu("lo", 1500);
        for dont_fragment in [DontFragment::Set, DontFragment::Unset, DontFragment::Probe] {
            for local in families() {
                let receiver = bound(local);
                let sender = bind(&UdpOptions { dont_fragment, ..options(local) }).unwrap();
                let destination = receiver.local_addr().unwrap();
                let fits = vec![1; 1500 - headers(local)];
                let too_big = vec![1; 1501 - headers(local)];
                let messages = [&fits, &too_big, &fits].map(|data| Message::new(destination, data));
                let outcome = send_batch(&sender, &mut SendBatch::new(3), messages);
                assert_eq!(outcome.sent, 1);
                assert_eq!(
                    outcome.error.unwrap().raw_os_error(),
                    Some(libc::EMSGSIZE),
                    "{local} {dont_fragment:?}"
                );
                assert_eq!(receive_one(&receiver).1, fits);
            }
        }
    });
}

/// Sends one datagram over the loopback interface and gives it as an Ethernet frame.
fn seen_on_lo(sender: &UdpSocket, destination: SocketAddr) -> Vec<u8> {
    let packets =
        PacketSocket::open("lo", &PacketOptions { ignore_outgoing: true, promiscuous: false }).unwrap();
    send(sender, destination, b"look at me");
    let mut buffer = vec![0; 70_000];
    let octets = packets.recv(&mut buffer, LONG).unwrap().unwrap();
    buffer.truncate(octets);
    buffer
}

#[test]
fn the_df_bit_is_as_asked_and_can_be_changed() {
    isolated(|| {
        let receiver = bound(V4);
        let destination = receiver.local_addr().unwrap();
        let df = |sender: &UdpSocket| seen_on_lo(sender, destination)[14 + 6] & 0x40 != 0;
        let set = bind(&UdpOptions { dont_fragment: DontFragment::Set, ..options(V4) }).unwrap();
        let unset = bound(V4);
        assert_eq!((df(&set), df(&unset)), (true, false));
        unset.set_dont_fragment(DontFragment::Probe).unwrap();
        assert!(df(&unset));
        set.set_dont_fragment(DontFragment::Unset).unwrap();
        unset.set_dont_fragment(DontFragment::Set).unwrap();
        assert_eq!((df(&set), df(&unset)), (false, true));
    });
}

#[test]
fn without_checksums_ipv4_sends_zero_which_any_socket_accepts() {
    isolated(|| {
        let receiver = bound(V4);
        let destination = receiver.local_addr().unwrap();
        let without = bind(&UdpOptions { checksum: false, ..options(V4) }).unwrap();
        assert_eq!(seen_on_lo(&without, destination)[14 + 20 + 6..][..2], [0, 0]);
        assert_ne!(seen_on_lo(&bound(V4), destination)[14 + 20 + 6..][..2], [0, 0]);
        assert_eq!(receive(&receiver, 2).len(), 2);
    });
}

#[test]
fn without_checksums_ipv6_sends_zero_which_only_a_socket_without_them_accepts() {
    isolated(|| {
        let with = bound(V6);
        let without = bind(&UdpOptions { checksum: false, ..options(V6) }).unwrap();
        for receiver in [&with, &without] {
            let frame = seen_on_lo(&without, receiver.local_addr().unwrap());
            assert_eq!(frame[14 + 40 + 6..][..2], [0, 0]);
        }
        assert_eq!(receive_one(&without).1, b"look at me");
        // Sent after the one with checksum 0, and alone.
        send(&bound(V6), with.local_addr().unwrap(), b"with a sum");
        assert_eq!(receive_one(&with).1, b"with a sum");
    });
}

#[test]
fn a_segmented_send_arrives_as_separate_datagrams() {
    for local in families() {
        let (sender, receiver) = (bound(local), bound(local));
        assert!(sender.supports_segment());
        let data: Vec<u8> = (0..4500_u16).map(|i| i.to_le_bytes()[0]).collect();
        let message = Message::new(receiver.local_addr().unwrap(), &data);
        send_all(&sender, &[Message { segment_octets: Some(1000), ..message }]);
        let received: Vec<_> = receive(&receiver, 5).into_iter().map(|(_, payload)| payload).collect();
        assert_eq!(received, data.chunks(1000).collect::<Vec<_>>());
    }
}

#[test]
fn the_most_segments_and_octets_go_in_one_send_and_more_are_refused() {
    for local in families() {
        let wide = UdpOptions { receive_buffer_octets: Some(4 << 20), ..options(local) };
        let (sender, receiver) = (bound(local), bind(&wide).unwrap());
        let destination = receiver.local_addr().unwrap();
        let (segments, octets) = (sender.segments_max(), sender.payload_octets_max());
        let data = vec![1; octets + 1];
        let one_octet_each =
            |count| Message { segment_octets: Some(1), ..Message::new(destination, &data[..count]) };
        send_all(&sender, &[one_octet_each(segments)]);
        assert_eq!(receive(&receiver, segments).len(), segments);
        assert_eq!(errno_of(&sender, one_octet_each(segments + 1)), Some(libc::EINVAL), "{local}");
        let longest = Message { segment_octets: Some(1448), ..Message::new(destination, &data[..octets]) };
        send_all(&sender, &[longest]);
        assert_eq!(receive(&receiver, 46).len(), 46);
        assert_eq!(errno_of(&sender, Message { data: &data, ..longest }), Some(libc::EMSGSIZE), "{local}");
    }
}

#[test]
fn the_most_segments_cross_a_link_and_one_too_big_for_it_is_emsgsize() {
    // near: 192.0.2.1 on a TAP that leaves the cutting to the kernel, far: whoever reads it
    isolated(|| {
        let Some(far) = test_support::tap(&TapOptions::new("near")) else { return };
        set_address("near", [192, 0, 2, 1]);
        up("near");
        let sender = bound("192.0.2.1:0");
        let socket = socket2::SockRef::from(&sender);
        socket.set_broadcast(true).unwrap();
        let data = vec![7; PAYLOAD_OCTETS_MAX];
        let segments = sender.segments_max();
        let message = |octets: u16, count: usize| Message {
            segment_octets: Some(octets),
            ..Message::new("192.0.2.255:9".parse().unwrap(), &data[..usize::from(octets) * count])
        };
        send_all(&sender, &[message(72, segments)]);
        let mut buffer = [0; 2048];
        for index in 0..segments {
            assert!(poll::readable(far.as_fd(), LONG).unwrap(), "{index} of {segments} came");
            assert_eq!(far.read(&mut buffer).unwrap(), Some(VNET_HEADER_OCTETS + 14 + 28 + 72));
        }
        assert_eq!(far.read(&mut buffer).unwrap(), None);
        send_all(&sender, &[message(1472, 44)]);
        assert_eq!(errno_of(&sender, message(1473, 44)), Some(libc::EMSGSIZE));
        assert_eq!(errno_of(&sender, message(72, segments + 1)), Some(libc::EINVAL));
    });
}

#[test]
fn segments_and_no_checksums_exclude_each_other() {
    let receiver = bound(V4);
    let sender = bind(&UdpOptions { checksum: false, ..options(V4) }).unwrap();
    assert!(sender.supports_segment());
    let message = Message::new(receiver.local_addr().unwrap(), &[0; 20]);
    assert_eq!(errno_of(&sender, Message { segment_octets: Some(10), ..message }), Some(libc::EINVAL));
    send_all(&sender, &[message]);
}

#[test]
fn probing_leaves_nothing_on() {
    let (sender, receiver) = (bound(V4), bound(V4));
    assert!(sender.supports_segment() && receiver.supports_gro());
    let message = Message::new(receiver.local_addr().unwrap(), &[1; 3000]);
    send_all(&sender, &[message]);
    assert_eq!(receive_one(&receiver).1.len(), 3000, "the probe's segment size is still set");
    send_all(&sender, &[Message { segment_octets: Some(1000), ..message }]);
    assert_eq!(receive(&receiver, 3).len(), 3, "joining is still on");
}

#[test]
fn joined_datagrams_come_with_their_stride() {
    for local in families() {
        let (sender, receiver) = (bound(local), bound(local));
        receiver.set_gro(true).unwrap();
        let message = Message::new(receiver.local_addr().unwrap(), &[1; 4500]);
        send_all(&sender, &[Message { segment_octets: Some(1000), ..message }]);
        let (datagram, payload) = receive_one(&receiver);
        assert_eq!((payload.len(), datagram.stride), (4500, Some(1000)));
        send_all(&sender, &[message]);
        assert_eq!(receive_one(&receiver).0.stride, None);
    }
}

#[test]
fn a_closed_port_is_reported_in_the_error_queue_and_not_by_the_next_calls() {
    // A namespace of its own, or another test could take the port that was closed.
    isolated(|| {
        for local in families() {
            let sender = bind(&UdpOptions { errors: true, ..options(local) }).unwrap();
            let receiver = bound(local);
            let gone = bound(local).local_addr().unwrap();
            assert_eq!(sender.error_queue_read().unwrap(), None);
            send(&sender, gone, b"anyone?");
            assert!(poll::readable(sender.as_fd(), LONG).unwrap());
            // The pending error belongs to the datagram before.
            send(&sender, receiver.local_addr().unwrap(), b"hello");
            assert_eq!(receive_one(&receiver).1, b"hello");
            send(&sender, gone, b"anyone?");
            assert_eq!(recv_batch(&sender, &mut RecvBatch::new(1, 0, 100)).unwrap(), 0);
            let v6 = local == V6;
            let expected = QueuedError {
                errno: libc::ECONNREFUSED,
                origin: ErrorOrigin::Icmp,
                // Port unreachable: ICMP 3/3 (RFC 792), ICMPv6 1/4 (RFC 4443 section 3.1).
                icmp_type: if v6 { 1 } else { 3 },
                icmp_code: if v6 { 4 } else { 3 },
                offender: Some(gone.ip()),
                destination: Some(gone),
                mtu: None,
                payload: b"anyone?".to_vec(),
            };
            assert_eq!(error_soon(&sender), expected);
            assert_eq!(expected.error().kind(), ErrorKind::ConnectionRefused);
            assert_eq!(error_soon(&sender), expected);
            assert_eq!(sender.error_queue_read().unwrap(), None);
            assert!(sender.take_error().unwrap().is_none());
        }
    });
}

#[test]
fn a_flood_of_icmp_errors_ends_no_receiving_and_costs_no_datagram() {
    isolated(|| {
        let socket = bind(&UdpOptions { errors: true, ..options(V4) }).unwrap();
        let (receiver, gone) = (bound(V4), bound(V4).local_addr().unwrap());
        // Port unreachable, which quotes an IPv4 and a UDP header (RFC 792).
        let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0];
        message.extend([127, 0, 0, 1, 127, 0, 0, 1]);
        message.extend(socket.local_addr().unwrap().port().to_be_bytes());
        message.extend(gone.port().to_be_bytes());
        message.extend([0, 8, 0, 0]);
        let sum: u32 = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let ended = AtomicBool::new(false);
        let icmp = IcmpSocket::open(false).unwrap();
        thread::scope(|scope| {
            let flood = scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let _ = icmp.send(&message, Ipv4Addr::LOCALHOST.into());
                }
            });
            assert!(poll::readable(socket.as_fd(), LONG).unwrap());
            let (mut batch, mut scratch) = (RecvBatch::new(1, 0, 100), SendBatch::new(1));
            let mut outcome = Ok(());
            let to = receiver.local_addr().unwrap();
            for _ in 0..300_000 {
                let sent = send_batch(&socket, &mut scratch, [Message::new(to, b"hello")]);
                outcome = outcome.and(sent.error.map_or(Ok(()), Err));
            }
            for _ in 0..300_000 {
                outcome = outcome.and(recv_batch(&socket, &mut batch).map(drop));
            }
            ended.store(true, Ordering::Relaxed);
            flood.join().unwrap();
            outcome.unwrap();
        });
    });
}

#[test]
fn a_pending_error_can_be_taken() {
    // A namespace of its own, or another test could take the port that was closed.
    isolated(|| {
        let sender = bind(&UdpOptions { errors: true, ..options(V4) }).unwrap();
        let gone = bound(V4).local_addr().unwrap();
        send(&sender, gone, b"anyone?");
        assert!(poll::readable(sender.as_fd(), LONG).unwrap());
        assert_eq!(sender.take_error().unwrap().unwrap().kind(), ErrorKind::ConnectionRefused);
        assert!(sender.take_error().unwrap().is_none());
    });
}

#[test]
fn errors_are_forgotten_and_queued_no_more_until_they_are_asked_for_again() {
    // As above.
    isolated(|| {
        for local in families() {
            let gone = bound(local).local_addr().unwrap();
            let sender = bind(&UdpOptions { errors: true, ..options(local) }).unwrap();
            send(&sender, gone, b"anyone?");
            assert!(poll::readable(sender.as_fd(), LONG).unwrap());
            sender.queue_errors(false).unwrap();
            sender.take_error().unwrap();
            assert_eq!(sender.error_queue_read().unwrap(), None);
            send(&sender, gone, b"anyone?");
            assert!(!poll::readable(sender.as_fd(), Some(Duration::from_millis(50))).unwrap());
            sender.queue_errors(true).unwrap();
            send(&sender, gone, b"anyone?");
            assert_eq!(error_soon(&sender).errno, libc::ECONNREFUSED);
        }
    });
}

#[test]
fn a_refusal_by_this_host_is_in_the_error_queue_with_what_fits() {
    isolated(|| {
        set_mtu("lo", 1500);
        for local in families() {
            let dont_fragment = DontFragment::Set;
            let sender = bind(&UdpOptions { errors: true, dont_fragment, ..options(local) }).unwrap();
            let receiver = bound(local);
            let destination = receiver.local_addr().unwrap();
            assert_eq!(errno_of(&sender, Message::new(destination, &[0; 2000])), Some(libc::EMSGSIZE));
            let error = error_soon(&sender);
            assert_eq!(
                (error.errno, error.origin, error.mtu),
                (libc::EMSGSIZE, ErrorOrigin::Local, Some(1500))
            );
            assert_eq!(error.offender, None);
            // Linux leaves the port out for IPv4.
            let port = if local == V4 { 0 } else { destination.port() };
            assert_eq!(error.destination, Some(SocketAddr::new(destination.ip(), port)));
        }
    });
}

#[test]
fn a_destination_without_a_route_is_the_error_of_its_message() {
    isolated(|| {
        let receiver = bound(V4);
        for errors in [false, true] {
            let sender = bind(&UdpOptions { errors, ..options("0.0.0.0:0") }).unwrap();
            let good = Message::new(receiver.local_addr().unwrap(), b"x");
            let bad = Message::new("192.0.2.9:9".parse().unwrap(), b"x");
            let outcome = send_batch(&sender, &mut SendBatch::new(4), [good, good, bad, good]);
            assert_eq!(outcome.sent, 2);
            assert_eq!(outcome.error.unwrap().raw_os_error(), Some(libc::ENETUNREACH));
        }
    });
}

#[test]
fn a_full_send_queue_is_would_block_at_the_message_that_did_not_fit() {
    isolated(|| {
        // you ---- tap (192.0.2.1/24) ---- nobody: datagrams to .2 wait for an answer to ARP, and count as
        // unsent.
        let Some(_tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        set_address("tap", [192, 0, 2, 1]);
        up("tap");
        let sender = bind(&UdpOptions { send_buffer_octets: Some(8192), ..options("192.0.2.1:0") }).unwrap();
        let message = Message::new("192.0.2.2:9".parse().unwrap(), &[0; 1000]);
        let outcome = send_batch(&sender, &mut SendBatch::new(64), [message; 64]);
        assert!((1..64).contains(&outcome.sent), "{outcome:?}");
        assert_eq!(outcome.error.unwrap().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_socket_that_only_sends_queues_nothing_but_errors() {
    // A namespace of its own, or another test could take the port that was closed.
    isolated(|| {
        for local in families() {
            let sender = bind(&UdpOptions { only_send: true, errors: true, ..options(local) }).unwrap();
            let other = bound(local);
            send(&other, sender.local_addr().unwrap(), b"not wanted");
            send(&other, other.local_addr().unwrap(), b"sent after it");
            receive_one(&other);
            assert_eq!(recv_batch(&sender, &mut RecvBatch::new(1, 0, 100)).unwrap(), 0);
            send(&sender, other.local_addr().unwrap(), b"wanted");
            assert_eq!(receive_one(&other).1, b"wanted");
            let gone = bound(local).local_addr().unwrap();
            send(&sender, gone, b"anyone?");
            assert_eq!(error_soon(&sender).errno, libc::ECONNREFUSED);
        }
    });
}

#[test]
fn a_group_is_received_between_joining_and_leaving_and_by_nobody_else() {
    isolated(|| {
        // member, other ---- tap (192.0.2.1/24) ---- frames written to the device, from .2 or fe80::2 to the
        // group
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        std::fs::write("/proc/sys/net/ipv6/conf/tap/disable_ipv6", "0").unwrap();
        set_address("tap", [192, 0, 2, 1]);
        up("tap");
        let index = interface::index("tap").unwrap();
        for (group, any) in [("239.1.1.1", "0.0.0.0:0"), ("ff02::1:2:3", "[::]:0")] {
            let group: IpAddr = group.parse().unwrap();
            // The frames below carry checksum 0.
            let without = UdpOptions { checksum: false, ..options(any) };
            let (member, other) = (bind(&without).unwrap(), bind(&without).unwrap());
            let arrive = |socket: &UdpSocket, data: &[u8; 4]| {
                let frame = multicast_frame(group, socket.local_addr().unwrap().port(), data);
                assert_eq!(tap.write(&frame).unwrap(), Some(frame.len()));
            };
            member.join_multicast(group, index).unwrap();
            assert_eq!(member.join_multicast(group, index).unwrap_err().kind(), ErrorKind::AddrInUse);
            arrive(&other, b"none");
            arrive(&member, b"join");
            assert_eq!(receive_one(&member).1, b"join");
            member.leave_multicast(group, index).unwrap();
            assert_eq!(member.leave_multicast(group, index).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
            arrive(&member, b"left");
            // What is sent last is all that there is.
            for socket in [&member, &other] {
                let own = if group.is_ipv4() { V4 } else { V6 }.parse::<SocketAddr>().unwrap().ip();
                send(socket, SocketAddr::new(own, socket.local_addr().unwrap().port()), b"last");
                assert_eq!(receive_one(socket).1, b"last");
            }
            let unknown = member.join_multicast(group, 4000).unwrap_err();
            assert_eq!(unknown.raw_os_error(), Some(libc::ENODEV));
            assert!(member.set_multicast_interface(4000).is_err());
        }
    });
}

/// A UDP datagram of 4 octets to `group`, checksum 0, in an Ethernet frame behind a virtio header.
fn multicast_frame(group: IpAddr, port: u16, data: &[u8; 4]) -> Vec<u8> {
    let mut frame = vec![0; VNET_HEADER_OCTETS];
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            frame.extend([1, 0, 0x5e, b & 0x7f, c, d, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
            let mut header = [0x45, 0, 0, 32, 0, 0, 0, 0, 1, 17, 0, 0, 192, 0, 2, 2, 0, 0, 0, 0];
            header[16..].copy_from_slice(&group.octets());
            let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
            let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
            header[10..12].copy_from_slice(&(!folded).to_be_bytes());
            frame.extend(header);
        }
        IpAddr::V6(group) => {
            frame.extend([0x33, 0x33]);
            frame.extend(&group.octets()[12..]);
            frame.extend([2, 0, 0, 0, 0, 2, 0x86, 0xdd]);
            frame.extend([0x60, 0, 0, 0, 0, 12, 17, 1]);
            frame.extend(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2).octets());
            frame.extend(group.octets());
        }
    }
    frame.extend([0, 9]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 12, 0, 0]);
    frame.extend(data);
    frame
}

#[test]
fn multicast_leaves_by_the_interface_and_does_not_come_back() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions { offload: Offload::CSUM, ..TapOptions::new("tap") })
        else {
            return;
        };
        set_address("tap", [192, 0, 2, 1]);
        up("tap");
        let index = interface::index("tap").unwrap();
        let group = Ipv4Addr::new(239, 1, 1, 1);
        let socket = bound("0.0.0.0:0");
        socket.join_multicast(group.into(), index).unwrap();
        socket.set_multicast_interface(index).unwrap();
        let port = socket.local_addr().unwrap().port();
        send(&socket, SocketAddr::new(group.into(), port), b"to all");
        let mut buffer = [0; 2048];
        // The membership report (IGMP) comes out of the device too.
        loop {
            assert!(poll::readable(tap.as_fd(), LONG).unwrap());
            let octets = tap.read(&mut buffer).unwrap().unwrap();
            let frame = &buffer[VNET_HEADER_OCTETS..octets];
            if frame[14 + 9] == 17 {
                // RFC 1112 section 6.4: 01:00:5e and the low 23 bits of the group; TTL 1 by default.
                assert_eq!((&frame[..6], frame[14 + 8]), (&[1, 0, 0x5e, 1, 1, 1][..], 1));
                break;
            }
        }
        let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        send(&bound(V4), local, b"last");
        assert_eq!(receive_one(&socket).1, b"last");
    });
}

#[test]
fn buffers_beyond_the_limit_take_the_capability_and_are_cut_without_it() {
    isolated(|| {
        let large = UdpOptions {
            receive_buffer_octets: Some(64 << 20),
            send_buffer_octets: Some(64 << 20),
            ..options(V4)
        };
        let before = bound(V4).receive_buffer_octets().unwrap();
        if CapabilitySet::NET_ADMIN.intersects(rustix::thread::capabilities(None).unwrap().effective) {
            let forced = bind(&large).unwrap();
            // A user namespace's root may not pass the limit of the machine.
            if rustix::process::geteuid().is_root() && std::env::var_os("VXGATE_SYS_TEST_INSIDE").is_none() {
                assert_eq!(forced.receive_buffer_octets().unwrap(), 128 << 20);
                assert_eq!(forced.send_buffer_octets().unwrap(), 128 << 20);
            }
        }
        drop_capability(CapabilitySet::NET_ADMIN);
        let cut = bind(&large).unwrap();
        assert!((before..128 << 20).contains(&cut.receive_buffer_octets().unwrap()));
        assert!(cut.send_buffer_octets().unwrap() < 128 << 20);
    });
}

#[test]
fn a_socket_can_be_confined_to_a_device_and_bound_before_its_address_exists() {
    isolated(|| {
        let device = Some("no-such-device".to_owned());
        let error = bind(&UdpOptions { device, ..options(V4) }).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        let confined = bind(&UdpOptions { device: Some("lo".to_owned()), ..options("0.0.0.0:0") }).unwrap();
        let port = confined.local_addr().unwrap().port();
        send(&bound(V4), SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), b"by lo");
        assert_eq!(receive_one(&confined).1, b"by lo");
        for local in ["203.0.113.1:0", "[2001:db8::1]:0"] {
            let error = bind(&options(local)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
            bind(&UdpOptions { freebind: true, ..options(local) }).unwrap();
        }
    });
}

#[test]
fn a_descriptor_does_not_outlive_an_exec_and_does_not_block() {
    let socket = bound(V4);
    assert_eq!(rustix::io::fcntl_getfd(&socket).unwrap(), rustix::io::FdFlags::CLOEXEC);
    let flags = rustix::fs::fcntl_getfl(&socket).unwrap();
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn sockets_that_share_a_port_take_each_flow_whole_and_leave_the_port_to_nobody_else() {
    let first = bind(&UdpOptions::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let local = first.local_addr().unwrap();
    let sharing = UdpOptions { reuse_port: true, ..UdpOptions::new(local) };
    // Whoever does not share keeps the port, from those who would, too.
    assert_eq!(bind(&sharing).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    first.share_port().unwrap();
    let sockets: Vec<UdpSocket> =
        std::iter::once(first).chain((1..4).map(|_| bind(&sharing).unwrap())).collect();
    assert_eq!(bind(&UdpOptions::new(local)).unwrap_err().kind(), io::ErrorKind::AddrInUse);

    let senders: Vec<_> = (0..64).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for number in 0..4_u8 {
        for sender in &senders {
            sender.send_to(&[number], local).unwrap();
        }
    }
    let mut batch = RecvBatch::new(64, 0, 16);
    let mut flows = std::collections::BTreeMap::new();
    for (index, socket) in sockets.iter().enumerate() {
        loop {
            let count = recv_batch(socket, &mut batch).unwrap();
            for place in 0..count {
                let datagram = batch.datagram(place).unwrap();
                let flow = flows.entry(datagram.source.port()).or_insert((index, Vec::new()));
                assert_eq!(flow.0, index, "a flow has one socket");
                flow.1.push(batch.slot(place)[datagram.range][0]);
            }
            if count == 0 {
                break;
            }
        }
    }
    assert_eq!(flows.len(), senders.len());
    assert!(flows.values().all(|(_, numbers)| *numbers == [0, 1, 2, 3]), "{flows:?}");
    assert!((0..4).all(|index| flows.values().any(|(own, _)| *own == index)), "{flows:?}");
}
