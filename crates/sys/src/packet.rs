//! Whole Ethernet frames on an interface (packet(7)): what tests and diagnostics see and send, beside the
//! data path.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::call::{self, set_option};
use crate::control::{ControlBuffer, Message, space};
use crate::interface;
use crate::poll;

/// `sizeof(struct tpacket_auxdata)` (linux/if_packet.h).
const AUXILIARY_OCTETS: usize = 20;
const CONTROL_OCTETS: usize = space(AUXILIARY_OCTETS);
/// Where an 802.1Q tag stands: after the two MAC addresses.
const TAG_AT: usize = 12;
/// TPID and TCI.
const TAG_OCTETS: usize = 4;

/// What the socket receives beyond the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PacketOptions {
    /// Leave out what this host sends (`PACKET_IGNORE_OUTGOING`, Linux 4.20 and later). Off by default.
    pub ignore_outgoing: bool,
    /// Receive what is addressed to other hosts too, for as long as the socket is open. Off by default.
    pub promiscuous: bool,
}

/// A raw socket on one interface, for every protocol. Needs CAP_NET_RAW.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket on `interface`, which must be in the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` without CAP_NET_RAW, `ENODEV` for an unknown interface, `ENOPROTOOPT` for an option
    /// that the kernel does not have.
    pub fn open(interface: &str, options: &PacketOptions) -> io::Result<PacketSocket> {
        // Protocol 0 receives nothing until bound: no frame of another interface can slip in.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
        let fd = OwnedFd::from(socket);
        let index = interface::index_on(fd.as_fd(), interface)?;
        let index = libc::c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidData)?;
        set_option(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        if options.ignore_outgoing {
            set_option(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        }
        if options.promiscuous {
            let kind = libc::c_ushort::try_from(libc::PACKET_MR_PROMISC).expect("a small number");
            let request =
                libc::packet_mreq { mr_ifindex: index, mr_type: kind, mr_alen: 0, mr_address: [0; 8] };
            set_option(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, request)?;
        }
        bind(fd.as_fd(), index)?;
        Ok(PacketSocket { fd })
    }

    /// Sends one frame, from its destination MAC address on, and returns its octets; `None` when the queue is
    /// full.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` beyond the MTU and an Ethernet header, `InvalidInput` for less than an Ethernet header,
    /// `ENETDOWN` while the interface is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<Option<usize>> {
        call::write(self.fd.as_fd(), frame)
    }

    /// Waits for a frame for at most `timeout` (`None`: for ever) and returns its octets; `None` when none
    /// came. It may come back early when a signal arrives.
    ///
    /// A VLAN tag that the kernel took out of the frame stands in it again. A frame longer than the buffer is
    /// cut. A frame that this host sends may have a partial checksum, or be a superframe.
    ///
    /// # Errors
    ///
    /// `ENETDOWN` when the interface went down or was deleted.
    pub fn recv(&self, buffer: &mut [u8], timeout: Option<Duration>) -> io::Result<Option<usize>> {
        if let Some(octets) = self.recv_now(buffer)? {
            return Ok(Some(octets));
        }
        if timeout == Some(Duration::ZERO) || !poll::readable(self.fd.as_fd(), timeout)? {
            return Ok(None);
        }
        self.recv_now(buffer)
    }

    fn recv_now(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut control = ControlBuffer::<CONTROL_OCTETS>::new();
        let Some((octets, control_octets)) = call::unless_blocked(self.receive(buffer, &mut control))? else {
            return Ok(None);
        };
        let tag = control.messages(control_octets).find_map(|message| stripped_tag(&message));
        Ok(Some(tag.map_or(octets, |tag| put_back(buffer, octets, tag))))
    }

    /// Returns the octets of the frame and of the control messages.
    fn receive(
        &self,
        buffer: &mut [u8],
        control: &mut ControlBuffer<CONTROL_OCTETS>,
    ) -> io::Result<(usize, usize)> {
        let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: the structure holds integers and raw pointers only, for which zeros are valid.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        let octets = call::retry(|| {
            header.msg_iov = &raw mut vector;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_OCTETS as _;
            // SAFETY: the socket is open for the length of the borrow; `header` points to one vector over
            // `buffer` and to the control buffer, both exclusively ours, with their lengths; any octets that
            // the kernel writes there are valid.
            unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) }
        })?;
        // A size_t or a socklen_t, as the C library has it.
        Ok((octets, header.msg_controllen as _))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn bind(fd: BorrowedFd<'_>, index: libc::c_int) -> io::Result<()> {
    let every_protocol = libc::c_ushort::try_from(libc::ETH_P_ALL).expect("an ether type").to_be();
    let address = libc::sockaddr_ll {
        sll_family: libc::c_ushort::try_from(libc::AF_PACKET).expect("a small number"),
        sll_protocol: every_protocol,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let octets = libc::socklen_t::try_from(mem::size_of_val(&address)).expect("an address of 20 octets");
    call::retry(|| {
        // SAFETY: `fd` is open for the length of the borrow; the pointer and the length describe `address`,
        // which the kernel only reads and which has no padding.
        let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), octets) };
        result as isize
    })?;
    Ok(())
}

/// The tag that `struct tpacket_auxdata` holds: status, len, snaplen (32 bits each), mac, net, vlan_tci,
/// vlan_tpid (16 each).
fn stripped_tag(message: &Message<'_>) -> Option<[u8; TAG_OCTETS]> {
    if (message.level, message.kind) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    let (status, _) = message.data.split_first_chunk()?;
    let status = u32::from_ne_bytes(*status);
    let (tci, rest) = message.data.get(16..)?.split_first_chunk()?;
    let (tpid, _) = rest.split_first_chunk()?;
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
        u16::try_from(libc::ETH_P_8021Q).expect("an ether type")
    } else {
        u16::from_ne_bytes(*tpid)
    };
    let ([tpid_0, tpid_1], [tci_0, tci_1]) = (tpid.to_be_bytes(), u16::from_ne_bytes(*tci).to_be_bytes());
    Some([tpid_0, tpid_1, tci_0, tci_1])
}

/// Inserts the tag into the frame of `octets` in `buffer` and returns its new length.
fn put_back(buffer: &mut [u8], octets: usize, tag: [u8; TAG_OCTETS]) -> usize {
    let tagged = (octets + TAG_OCTETS).min(buffer.len());
    if octets < TAG_AT || tagged < TAG_AT + TAG_OCTETS {
        return octets;
    }
    buffer.copy_within(TAG_AT..tagged - TAG_OCTETS, TAG_AT + TAG_OCTETS);
    buffer[TAG_AT..TAG_AT + TAG_OCTETS].copy_from_slice(&tag);
    tagged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::{Tap, TapOptions, VNET_HEADER_OCTETS};
    use crate::test_support::{self, LONG, isolated, up};

    const INCOMING: PacketOptions = PacketOptions { ignore_outgoing: true, promiscuous: false };

    fn frame(tag: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1]);
        frame.extend(tag);
        frame.extend([0x88, 0xb5]);
        frame.extend(0..50);
        frame
    }

    /// Brings a frame in by the device, as from a wire.
    fn arrive(tap: &Tap, frame: &[u8]) {
        tap.write(&[&[0; VNET_HEADER_OCTETS], frame].concat()).unwrap().unwrap();
    }

    fn receive(socket: &PacketSocket, buffer: &mut [u8]) -> Vec<u8> {
        let octets = socket.recv(buffer, LONG).unwrap().unwrap();
        buffer[..octets].to_vec()
    }

    fn tap_up() -> Option<Tap> {
        let tap = test_support::tap(&TapOptions::new("tap"))?;
        up("tap");
        Some(tap)
    }

    #[test]
    fn a_tag_that_the_kernel_takes_out_stands_in_the_frame_again() {
        isolated(|| {
            let Some(tap) = tap_up() else { return };
            let socket = PacketSocket::open("tap", &INCOMING).unwrap();
            let mut buffer = [0; 2048];
            let service_and_customer = [0x88, 0xa8, 0x20, 0x64, 0x81, 0x00, 0xef, 0xff];
            for tag in [
                &[][..],
                &[0x81, 0x00, 0x6f, 0xfe],
                &[0x88, 0xa8, 0, 7],
                &[0x81, 0, 0, 0],
                &service_and_customer,
            ] {
                arrive(&tap, &frame(tag));
                assert_eq!(receive(&socket, &mut buffer), frame(tag));
            }
        });
    }

    #[test]
    fn a_frame_longer_than_the_buffer_is_cut_with_its_tag_in_place() {
        isolated(|| {
            let Some(tap) = tap_up() else { return };
            let socket = PacketSocket::open("tap", &INCOMING).unwrap();
            let tagged = frame(&[0x81, 0x00, 0, 5]);
            for octets in 14..tagged.len() + 8 {
                arrive(&tap, &tagged);
                let expected = if octets < 16 {
                    // No room for the tag: the frame without it.
                    [&tagged[..12], &tagged[16..]].concat()[..octets].to_vec()
                } else {
                    tagged[..octets.min(tagged.len())].to_vec()
                };
                assert_eq!(receive(&socket, &mut vec![0; octets]), expected, "a buffer of {octets} octets");
            }
        });
    }

    #[test]
    fn what_this_host_sends_is_seen_unless_it_is_left_out() {
        isolated(|| {
            let Some(tap) = tap_up() else { return };
            let both =
                PacketSocket::open("tap", &PacketOptions { ignore_outgoing: false, promiscuous: true })
                    .unwrap();
            let incoming = PacketSocket::open("tap", &INCOMING).unwrap();
            let sender = PacketSocket::open("tap", &INCOMING).unwrap();
            let tagged = frame(&[0x81, 0x00, 0, 5]);
            assert_eq!(sender.send(&tagged).unwrap(), Some(tagged.len()));
            arrive(&tap, &frame(&[]));
            let mut buffer = [0; 2048];
            assert_eq!(receive(&both, &mut buffer), tagged);
            assert_eq!(receive(&both, &mut buffer), frame(&[]));
            assert_eq!(receive(&incoming, &mut buffer), frame(&[]));
            assert_eq!(incoming.recv(&mut buffer, Some(Duration::ZERO)).unwrap(), None);
            assert_eq!(both.recv(&mut buffer, Some(Duration::from_millis(1))).unwrap(), None);
        });
    }

    #[test]
    fn frames_of_other_interfaces_never_come() {
        isolated(|| {
            let Some(tap) = tap_up() else { return };
            let other = Tap::open(&TapOptions::new("other")).unwrap();
            up("other");
            let socket = PacketSocket::open("tap", &INCOMING).unwrap();
            arrive(&other, &frame(&[0x81, 0x00, 0, 5]));
            arrive(&tap, &frame(&[]));
            assert_eq!(receive(&socket, &mut [0; 2048]), frame(&[]));
        });
    }

    #[test]
    fn what_cannot_be_sent_is_refused_by_name() {
        isolated(|| {
            let Some(_tap) = test_support::tap(&TapOptions::new("tap")) else { return };
            let socket = PacketSocket::open("tap", &INCOMING).unwrap();
            assert_eq!(socket.send(&frame(&[])).unwrap_err().raw_os_error(), Some(libc::ENETDOWN));
            up("tap");
            let socket = PacketSocket::open("tap", &INCOMING).unwrap();
            assert_eq!(socket.send(&[0; 2000]).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
            assert_eq!(socket.send(&[0; 13]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            let error = PacketSocket::open("no-such-device", &INCOMING).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        });
    }

    #[test]
    fn without_the_capability_it_is_refused() {
        isolated(|| {
            test_support::drop_capability(rustix::thread::CapabilitySet::NET_RAW);
            let error = PacketSocket::open("lo", &INCOMING).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        });
    }
}
