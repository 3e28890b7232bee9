//! Real devices, each test in a network namespace of its own.

use std::net::UdpSocket;
use std::thread;

use rustix::thread::CapabilitySet;

use super::*;
use crate::epoll::{Epoll, Events, Interest};
use crate::packet::{PacketOptions, PacketSocket};
use crate::plain_tap::PlainTap;
use crate::poll;
use crate::test_support::{self, LONG, isolated, set_address, up};

const ALL: [Offload; 5] = [Offload::CSUM, Offload::TSO4, Offload::TSO6, Offload::TSO_ECN, Offload::USO];

/// 60 octets: broadcast, from 02:00:00:00:00:01, an ether type for experiments (IEEE 802).
fn frame() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend(0..46);
    frame
}

fn with_header(frame: &[u8]) -> Vec<u8> {
    let mut both = vec![0; VNET_HEADER_OCTETS];
    both.extend_from_slice(frame);
    both
}

fn read_soon(tap: &Tap, buffer: &mut [u8]) -> usize {
    let epoll = Epoll::new().unwrap();
    epoll.add(tap, 0, Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(1);
    assert_eq!(epoll.wait(&mut events, LONG).unwrap(), 1, "nothing to read");
    tap.read(buffer).unwrap().unwrap()
}

#[test]
fn a_name_of_15_octets_is_used_whole_and_one_of_16_refused() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("fifteen-octets-")) else { return };
        assert_eq!(tap.name(), "fifteen-octets-");
        let error = Tap::open(&TapOptions::new("sixteen-octets-x")).unwrap_err();
        assert!(matches!(error, TapError::BadName { .. }), "{error:?}");
    });
}

#[test]
fn a_percent_d_becomes_the_first_free_number() {
    isolated(|| {
        let Some(first) = test_support::tap(&TapOptions::new("t%d-x")) else { return };
        let second = Tap::open(&TapOptions::new("t%d-x")).unwrap();
        assert_eq!((first.name(), second.name()), ("t0-x", "t1-x"));
    });
}

#[test]
fn a_second_open_of_a_name_finds_it_taken() {
    isolated(|| {
        let Some(_first) = test_support::tap(&TapOptions::new("taken")) else { return };
        for exclusive in [true, false] {
            let error = Tap::open(&TapOptions { exclusive, ..TapOptions::new("taken") }).unwrap_err();
            assert!(matches!(&error, TapError::NameTaken { name } if name == "taken"), "{error:?}");
        }
        // An interface that is no TAP device.
        for exclusive in [true, false] {
            let error = Tap::open(&TapOptions { exclusive, ..TapOptions::new("lo") }).unwrap_err();
            assert!(matches!(&error, TapError::NameTaken { name } if name == "lo"), "{error:?}");
        }
    });
}

#[test]
fn a_persistent_device_is_taken_unless_the_caller_wants_to_attach_and_then_loses_its_old_offloads() {
    isolated(|| {
        let options = TapOptions { offload: Offload::TSO4, ..TapOptions::new("stays") };
        let Some(first) = test_support::tap(&options) else { return };
        test_support::persist(&first, true);
        set_address("stays", [192, 0, 2, 1]);
        up("stays");
        drop(first);
        let error = Tap::open(&TapOptions::new("stays")).unwrap_err();
        assert!(matches!(error, TapError::NameTaken { .. }), "{error:?}");
        let again = Tap::open(&TapOptions { exclusive: false, ..TapOptions::new("stays") }).unwrap();
        test_support::persist(&again, false);
        let (header, _) = broadcast_through(&again, 100);
        assert_eq!(header[0], 0, "the checksum is left to us");
    });
}

#[test]
fn the_interface_disappears_with_the_device() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("gone")) else { return };
        assert_eq!(interface::index("gone").unwrap(), tap.index().unwrap());
        drop(tap);
        assert_eq!(interface::index("gone").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    });
}

#[test]
fn a_frame_crosses_each_way_behind_a_header_of_zeros() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        up("tap");
        let stack =
            PacketSocket::open("tap", &PacketOptions { ignore_outgoing: true, promiscuous: false }).unwrap();
        let mut buffer = [0xaa; 2048];
        assert_eq!(tap.read(&mut buffer).unwrap(), None);

        stack.send(&frame()).unwrap().unwrap();
        let octets = read_soon(&tap, &mut buffer);
        assert_eq!(buffer[..octets], with_header(&frame()));
        assert_eq!(tap.read(&mut buffer).unwrap(), None);

        let octets = tap.write(&with_header(&frame())).unwrap();
        assert_eq!(octets, Some(VNET_HEADER_OCTETS + frame().len()));
        let octets = stack.recv(&mut buffer, LONG).unwrap().unwrap();
        assert_eq!(buffer[..octets], frame());
    });
}

#[test]
fn what_cannot_be_a_frame_is_refused_by_name() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        let error = tap.write(&with_header(&frame())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "the interface is down");
        up("tap");
        let runt = tap.write(&with_header(&frame()[..13])).unwrap_err();
        assert_eq!(runt.kind(), io::ErrorKind::InvalidInput);
        let mut contradiction = with_header(&frame());
        contradiction[0] = 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM
        contradiction[6..8].copy_from_slice(&1000_u16.to_le_bytes()); // beyond the frame
        assert_eq!(tap.write(&contradiction).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(tap.write(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    });
}

#[test]
fn every_offload_alone_and_all_together_are_granted_or_demoted_to_what_the_kernel_knows() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("none")) else { return };
        assert_eq!(tap.offload(), Offload::NONE);
        let all = ALL.into_iter().fold(Offload::NONE, |sum, one| sum | one);
        let without_uso = Offload::CSUM | Offload::TSO4 | Offload::TSO6 | Offload::TSO_ECN;
        let tap = Tap::open(&TapOptions { offload: all, ..TapOptions::new("most") }).unwrap();
        assert!(tap.offload() == all || tap.offload() == without_uso, "{:?}", tap.offload());
        let known = tap.offload();
        assert_eq!(tap.write_offload(), known, "as much can be written as can be read");
        for offload in [Offload::CSUM, Offload::TSO4, Offload::TSO6, Offload::TSO4 | Offload::TSO6] {
            tap.set_offload(offload).unwrap();
            assert_eq!(tap.offload(), offload);
        }
        let unknown = Offload(1 << 30);
        assert_eq!(tap.set_offload(unknown).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(tap.offload(), Offload::TSO4 | Offload::TSO6);
        assert_eq!(tap.write_offload(), known);
        let demoted =
            Tap::open(&TapOptions { offload: all | unknown, ..TapOptions::new("demoted") }).unwrap();
        assert_eq!(demoted.offload(), known);
        // Alone it is refused, and what was asked for beside it is not: it needs one of the others.
        let ecn = Tap::open(&TapOptions { offload: Offload::TSO_ECN, ..TapOptions::new("ecn") }).unwrap();
        assert_eq!(ecn.offload(), Offload::CSUM);
    });
}

/// Sends a datagram of `octets` from the host out of the device and gives the header and frame that come out.
fn broadcast_through(tap: &Tap, octets: usize) -> ([u8; VNET_HEADER_OCTETS], Vec<u8>) {
    let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
    socket.set_broadcast(true).unwrap();
    socket.send_to(&vec![7; octets], "192.0.2.255:9").unwrap();
    let mut buffer = vec![0; 70_000];
    let octets = read_soon(tap, &mut buffer);
    (*buffer.first_chunk().unwrap(), buffer[VNET_HEADER_OCTETS..octets].to_vec())
}

/// The ones-complement sum of a UDP datagram in an Ethernet frame without options, with its pseudo-header
/// (RFC 768).
fn udp_sum(frame: &[u8]) -> u16 {
    let (pseudo, datagram) = (&frame[26..34], &frame[34..]);
    let words = pseudo.chunks(2).chain(datagram.chunks(2));
    let sum: u32 =
        words.map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum();
    let sum = sum + 17 + u32::try_from(datagram.len()).unwrap();
    let folded = (sum & 0xffff) + (sum >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}

#[test]
fn a_checksum_is_whole_without_offload_and_partial_with_it() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        set_address("tap", [192, 0, 2, 1]);
        up("tap");
        let (header, frame) = broadcast_through(&tap, 1000);
        assert_eq!((header, udp_sum(&frame)), ([0; VNET_HEADER_OCTETS], 0xffff));
        tap.set_offload(Offload::CSUM).unwrap();
        let (header, frame) = broadcast_through(&tap, 1000);
        // VIRTIO_NET_HDR_F_NEEDS_CSUM; the sum starts at the UDP header (14 + 20) and goes to octet 6 of it.
        assert_eq!((header[0], &header[6..]), (1, &[34, 0, 6, 0][..]));
        assert_ne!(udp_sum(&frame), 0xffff);
    });
}

#[test]
fn a_udp_superframe_comes_whole_with_uso_and_in_pieces_without() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions { offload: Offload::USO, ..TapOptions::new("tap") })
        else {
            return;
        };
        if !tap.offload().contains(Offload::USO) {
            return test_support::skip("a kernel with USO on TAP devices (Linux 6.2)");
        }
        set_address("tap", [192, 0, 2, 1]);
        up("tap");
        let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
        socket.set_broadcast(true).unwrap();
        call::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 1000).unwrap();
        let mut buffer = vec![0; 70_000];

        socket.send_to(&[7; 10_500], "192.0.2.255:9").unwrap();
        let octets = read_soon(&tap, &mut buffer);
        assert_eq!(octets, VNET_HEADER_OCTETS + 14 + 20 + 8 + 10_500);
        // gso_type VIRTIO_NET_HDR_GSO_UDP_L4, gso_size.
        assert_eq!((buffer[1], &buffer[4..6]), (5, &1000_u16.to_le_bytes()[..]));

        tap.set_offload(Offload::NONE).unwrap();
        socket.send_to(&[7; 10_500], "192.0.2.255:9").unwrap();
        let lengths: Vec<_> =
            (0..11).map(|_| read_soon(&tap, &mut buffer) - VNET_HEADER_OCTETS - 42).collect();
        assert_eq!(lengths, [[1000; 10].as_slice(), &[500]].concat());
    });
}

/// A superframe from 192.0.2.2 or 2001:db8::2 to the device's own MAC address, behind its virtio header:
/// `segments` of 1000 octets, but the last of 500.
fn superframe(tap: &Tap, gso_type: u8, segments: usize) -> Vec<u8> {
    let (v6, udp) = (gso_type & 0x7f == 4, gso_type == 5);
    let (ip_octets, l4_octets): (u16, u16) = (if v6 { 40 } else { 20 }, if udp { 8 } else { 20 });
    let payload = u16::try_from(segments * 1000 - 500).unwrap();
    let mut frame = vec![1, gso_type];
    for field in [14 + ip_octets + l4_octets, 1000, 14 + ip_octets, if udp { 6 } else { 16 }] {
        frame.extend(field.to_le_bytes());
    }
    frame.extend(tap.mac().unwrap().iter().chain(&[2, 0, 0, 0, 0, 2]));
    let protocol = if udp { 17 } else { 6 };
    if v6 {
        let [high, low] = (l4_octets + payload).to_be_bytes();
        let (source, destination) = ("2001:db8::2", "2001:db8::1");
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, high, low, protocol, 64]);
        for address in [source, destination] {
            frame.extend(address.parse::<std::net::Ipv6Addr>().unwrap().octets());
        }
    } else {
        let [high, low] = (ip_octets + l4_octets + payload).to_be_bytes();
        let header = [0x45, 0, high, low, 0, 7, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1];
        let [sum_high, sum_low] = (!internet_sum(&header)).to_be_bytes();
        frame.extend([8, 0]);
        frame.extend(header);
        let at = frame.len() - 20;
        frame[at + 10..at + 12].copy_from_slice(&[sum_high, sum_low]);
    }
    // The addresses' and the rest's sum, which the kernel completes.
    let addresses = if v6 { 32 } else { 8 };
    let [high, low] = (l4_octets + payload).to_be_bytes();
    let pseudo = [&frame[frame.len() - addresses..], &[0, protocol, high, low]].concat();
    let sum = internet_sum(&pseudo).to_be_bytes();
    if udp {
        frame.extend([0, 9, 0, 9, high, low]);
        frame.extend(sum);
    } else {
        frame.extend([0, 9, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x90, 0xff, 0xff]);
        frame.extend(sum);
        frame.extend([0, 0]);
    }
    frame.resize(frame.len() + usize::from(payload), 7);
    frame
}

#[test]
fn superframes_are_taken_by_a_device_that_hands_none_out() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        assert_eq!((tap.offload(), tap.write_offload().contains(Offload::TSO4)), (Offload::NONE, true));
        up("tap");
        let incoming = PacketOptions { ignore_outgoing: true, promiscuous: false };
        let stack = PacketSocket::open("tap", &incoming).unwrap();
        let mut buffer = vec![0; 70_000];
        // VIRTIO_NET_HDR_GSO_TCPV4, the same with GSO_ECN, _TCPV6, _UDP_L4.
        for gso_type in [1, 0x81, 4, 5] {
            if gso_type == 5 && !tap.write_offload().has_uso() {
                test_support::skip("a kernel with USO on TAP devices (Linux 6.2)");
                continue;
            }
            let frame = superframe(&tap, gso_type, 40);
            assert_eq!(tap.write(&frame).unwrap(), Some(frame.len()), "type {gso_type:#x}");
            let octets = stack.recv(&mut buffer, LONG).unwrap().unwrap();
            // In one piece, with its checksum as unfinished as it was.
            assert_eq!(buffer[..octets], frame[VNET_HEADER_OCTETS..], "type {gso_type:#x}");
        }
    });
}

#[test]
fn a_udp_superframe_of_more_segments_than_a_send_may_have_is_refused() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        if !tap.write_offload().has_uso() {
            return test_support::skip("a kernel with USO on TAP devices (Linux 6.2)");
        }
        up("tap");
        let most = crate::udp::bind(&crate::udp::UdpOptions::new("127.0.0.1:0".parse().unwrap()))
            .unwrap()
            .segments_max();
        let mut frame = superframe(&tap, 5, 1);
        let segment_octets = |frame: &mut Vec<u8>, segments: usize| {
            let octets = u16::try_from(500_usize.div_ceil(segments)).unwrap();
            frame[4..6].copy_from_slice(&octets.to_le_bytes());
        };
        segment_octets(&mut frame, most);
        assert_eq!(tap.write(&frame).unwrap(), Some(frame.len()));
        frame[4..6].copy_from_slice(&1_u16.to_le_bytes());
        assert_eq!(tap.write(&frame).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    });
}

#[test]
fn a_superframe_is_written_in_one_piece() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        set_address("tap", [192, 0, 2, 1]);
        up("tap");
        let receiver = UdpSocket::bind("192.0.2.1:9").unwrap();
        receiver.set_read_timeout(LONG).unwrap();
        // Three datagrams of 4 octets as one: 192.0.2.2 to .1, port 9, checksums left to the stack.
        let mac = tap.mac().unwrap();
        let mut superframe = vec![1, 5, 42, 0, 4, 0, 34, 0, 6, 0];
        superframe.extend(mac.iter().chain(&[2, 0, 0, 0, 0, 2, 8, 0]));
        superframe.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1]);
        let sum = internet_sum(&superframe[VNET_HEADER_OCTETS + 14..]);
        superframe[VNET_HEADER_OCTETS + 24..VNET_HEADER_OCTETS + 26].copy_from_slice(&(!sum).to_be_bytes());
        let pseudo = internet_sum(&[192, 0, 2, 2, 192, 0, 2, 1, 0, 17, 0, 20]);
        superframe.extend([0, 9, 0, 9, 0, 20]);
        superframe.extend(pseudo.to_be_bytes());
        superframe.extend(*b"one.two.six.");
        assert_eq!(tap.write(&superframe).unwrap(), Some(superframe.len()));
        for expected in [b"one.", b"two.", b"six."] {
            let mut buffer = [0; 16];
            let (octets, _) = receiver.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..octets], expected);
        }
    });
}

fn internet_sum(octets: &[u8]) -> u16 {
    let sum: u32 = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
}

#[test]
fn the_mac_address_can_be_read_and_set_while_the_device_is_up() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        assert_eq!(tap.mac().unwrap(), interface::hardware_address("tap").unwrap());
        up("tap");
        tap.set_mac([2, 1, 2, 3, 4, 5]).unwrap();
        assert_eq!(tap.mac().unwrap(), [2, 1, 2, 3, 4, 5]);
        assert_eq!(interface::hardware_address("tap").unwrap(), [2, 1, 2, 3, 4, 5]);
        for bad in [[0; 6], [1, 0, 0, 0, 0, 0]] {
            assert_eq!(tap.set_mac(bad).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        }
    });
}

#[test]
fn the_device_is_known_from_a_thread_in_another_namespace() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        let (mac, index) = (tap.mac().unwrap(), tap.index().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| {
                // SAFETY: NEWNET leaves the thread's file descriptors and memory shared as they are.
                unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
                assert_eq!(tap.mac().unwrap(), mac);
                assert_eq!((tap.index().unwrap(), tap.mtu().unwrap()), (index, 1500));
                let _ = interface::index("tap").unwrap_err();
            });
        });
    });
}

#[test]
fn a_descriptor_from_elsewhere_is_checked_and_made_ours() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions { offload: Offload::TSO4, ..TapOptions::new("tap") })
        else {
            return;
        };
        let copy = rustix::io::dup(&tap).unwrap();
        rustix::io::ioctl_fionbio(&copy, false).unwrap();
        let ours = Tap::from_fd(copy).unwrap();
        assert_eq!((ours.name(), ours.offload()), ("tap", Offload::NONE));
        assert_eq!(rustix::io::fcntl_getfd(&ours).unwrap(), rustix::io::FdFlags::CLOEXEC);
        assert_eq!(ours.read(&mut [0; 64]).unwrap(), None);

        let plain = PlainTap::open("plain").unwrap();
        let error = Tap::from_fd(rustix::io::dup(&plain).unwrap()).unwrap_err();
        assert!(matches!(error, TapError::FlagsRefused), "{error:?}");
        for other in [open_device_file().unwrap(), interface::socket().unwrap()] {
            let error = Tap::from_fd(other).unwrap_err();
            assert!(
                matches!(&error, TapError::Io(cause) if cause.kind() == io::ErrorKind::InvalidInput),
                "{error:?}"
            );
        }
    });
}

#[test]
fn a_persistent_device_outlives_its_descriptors_and_is_its_users_alone() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        let index = tap.index().unwrap();
        tap.set_persistent(true).unwrap();
        drop(tap);
        assert_eq!(interface::index("tap").unwrap(), index);
        let owner = std::fs::read_to_string("/sys/class/net/tap/owner");
        // Not every sandbox shows this namespace's devices there.
        if let Ok(owner) = owner {
            assert_eq!(owner.trim(), rustix::process::geteuid().as_raw().to_string());
        }
        let again = Tap::open(&TapOptions { exclusive: false, ..TapOptions::new("tap") }).unwrap();
        assert_eq!(again.index().unwrap(), index);
        again.set_persistent(false).unwrap();
        drop(again);
        assert_eq!(interface::index("tap").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    });
}

#[test]
fn a_plain_tap_is_taken_over_and_one_with_a_header_is_not() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        let plain = PlainTap::open("plain").unwrap();
        let ours = PlainTap::from_fd(rustix::io::dup(&plain).unwrap()).unwrap();
        assert_eq!((ours.name(), ours.index().unwrap()), ("plain", plain.index().unwrap()));
        assert_eq!(ours.read(&mut [0; 64]).unwrap(), None);
        for other in [rustix::io::dup(&tap).unwrap(), interface::socket().unwrap()] {
            let error = PlainTap::from_fd(other).unwrap_err();
            assert!(
                matches!(&error, TapError::Io(cause) if cause.kind() == io::ErrorKind::InvalidInput),
                "{error:?}"
            );
        }
        let asked = Tap::from_fd_with(rustix::io::dup(&tap).unwrap(), Offload::CSUM).unwrap();
        assert_eq!(asked.offload(), Offload::CSUM);
    });
}

#[test]
fn the_device_file_is_looked_at_without_making_a_device() {
    isolated(|| {
        if test_support::tap(&TapOptions::new("probe")).is_none() {
            return;
        }
        check_device_file().unwrap();
        // Neither does it take a capability.
        test_support::drop_capability(CapabilitySet::NET_ADMIN);
        check_device_file().unwrap();
        assert_eq!(interface::index("tap0").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    });
}

#[test]
fn without_the_capability_the_message_says_which() {
    isolated(|| {
        if test_support::tap(&TapOptions::new("probe")).is_none() {
            return;
        }
        test_support::drop_capability(CapabilitySet::NET_ADMIN);
        let error = Tap::open(&TapOptions::new("tap")).unwrap_err();
        assert!(matches!(error, TapError::NoPermission { .. }), "{error:?}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"));
        let error = PlainTap::open("tap").unwrap_err();
        assert!(matches!(error, TapError::NoPermission { .. }), "{error:?}");
    });
}

#[test]
fn a_deleted_interface_is_an_error_event_and_a_bad_descriptor() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        up("tap");
        let epoll = Epoll::new().unwrap();
        epoll.add(&tap, 7, Interest::READABLE).unwrap();
        test_support::delete(tap.index().unwrap());
        let mut events = Events::with_capacity(1);
        assert_eq!(epoll.wait(&mut events, LONG).unwrap(), 1);
        let event = events.iter().next().unwrap();
        assert_eq!((event.token, event.readable, event.error), (7, false, true));
        let gone = |error: io::Error| assert_eq!(error.raw_os_error(), Some(libc::EBADFD));
        gone(tap.read(&mut [0; 2048]).unwrap_err());
        gone(tap.write(&with_header(&frame())).unwrap_err());
        gone(tap.mac().unwrap_err());
        gone(tap.mtu().unwrap_err());
    });
}

#[test]
fn a_buffer_shorter_than_the_header_is_refused_and_a_longer_one_cuts_the_frame() {
    isolated(|| {
        let Some(tap) = test_support::tap(&TapOptions::new("tap")) else { return };
        up("tap");
        let stack = PacketSocket::open("tap", &PacketOptions::default()).unwrap();
        stack.send(&frame()).unwrap().unwrap();
        assert!(poll::readable(tap.as_fd(), LONG).unwrap());
        assert_eq!(
            tap.read(&mut [0; VNET_HEADER_OCTETS - 1]).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        stack.send(&frame()).unwrap().unwrap();
        let mut short = [0xaa; VNET_HEADER_OCTETS + 20];
        assert_eq!(read_soon(&tap, &mut short), short.len());
        assert_eq!(short, with_header(&frame())[..short.len()]);
    });
}
