//! A socket for ICMP and ICMPv6 messages, enough to send echo requests and take the answers (icmp(7)).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::call;
use crate::poll;
use crate::udp::{DontFragment, options};

/// A raw socket, or where that is not permitted the kernel's own echo socket ("ping socket").
#[derive(Debug)]
pub struct IcmpSocket {
    fd: OwnedFd,
    v6: bool,
    raw: bool,
}

impl IcmpSocket {
    /// Opens a socket for ICMPv6 (`v6`) or ICMP.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` without CAP_NET_RAW when the process's group is outside net.ipv4.ping_group_range
    /// too.
    pub fn open(v6: bool) -> io::Result<IcmpSocket> {
        let (domain, protocol, any): (_, _, IpAddr) = if v6 {
            (Domain::IPV6, Protocol::ICMPV6, Ipv6Addr::UNSPECIFIED.into())
        } else {
            (Domain::IPV4, Protocol::ICMPV4, Ipv4Addr::UNSPECIFIED.into())
        };
        let open = |kind: Type| Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol));
        match open(Type::RAW) {
            Ok(socket) => Ok(IcmpSocket { fd: socket.into(), v6, raw: true }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let socket = open(Type::DGRAM)?;
                // Now and not with the first message, so that the identifier is known.
                socket.bind(&SocketAddr::new(any, 0).into())?;
                Ok(IcmpSocket { fd: socket.into(), v6, raw: false })
            }
            Err(error) => Err(error),
        }
    }

    /// The echo identifier that the kernel writes into each request and filters answers by; `None` when the
    /// caller chooses it, and must compute the checksum of ICMP (never of ICMPv6) and tell its answers from
    /// others itself.
    ///
    /// # Errors
    ///
    /// None that a caller can cause.
    pub fn identifier(&self) -> io::Result<Option<u16>> {
        if self.raw {
            return Ok(None);
        }
        Ok(SockRef::from(&self.fd).local_addr()?.as_socket().map(|address| address.port()))
    }

    /// Sends from this address from now on.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` when this host does not have it, `InvalidInput` for the kernel's own echo socket, which is bound when it
    /// is opened.
    pub fn bind(&self, source: IpAddr) -> io::Result<()> {
        SockRef::from(&self.fd).bind(&SocketAddr::new(source, 0).into())
    }

    /// Changes what becomes of messages that do not fit the path.
    ///
    /// # Errors
    ///
    /// None that a caller can cause.
    pub fn set_dont_fragment(&self, dont_fragment: DontFragment) -> io::Result<()> {
        options::set_dont_fragment(self.fd.as_fd(), self.v6, dont_fragment)
    }

    /// Sends one message, from its ICMP type on; `None` when the queue is full.
    ///
    /// # Errors
    ///
    /// `ENETUNREACH` and its like when there is no route.
    pub fn send(&self, message: &[u8], destination: IpAddr) -> io::Result<Option<usize>> {
        let address = SocketAddr::new(destination, 0);
        let result = rustix::io::retry_on_intr(|| {
            rustix::net::sendto(&self.fd, message, SendFlags::DONTWAIT, &address)
        });
        call::unless_blocked(result.map_err(io::Error::from))
    }

    /// Waits for a message for at most `timeout` (`None`: for ever) and returns its octets, from its ICMP
    /// type on, and who sent it; `None` when none came. It may come back early when a signal arrives.
    ///
    /// # Errors
    ///
    /// None that a peer can cause.
    pub fn recv(&self, buffer: &mut [u8], timeout: Option<Duration>) -> io::Result<Option<(usize, IpAddr)>> {
        if !poll::readable(self.fd.as_fd(), timeout)? {
            return Ok(None);
        }
        let result =
            rustix::io::retry_on_intr(|| rustix::net::recvfrom(&self.fd, &mut *buffer, RecvFlags::DONTWAIT));
        let Some((octets, _, source)) = call::unless_blocked(result.map_err(io::Error::from))? else {
            return Ok(None);
        };
        let source = source.and_then(|address| SocketAddr::try_from(address).ok());
        let source = source.ok_or(io::ErrorKind::InvalidData)?.ip();
        if self.raw && !self.v6 {
            return Ok(Some((strip_ip(buffer, octets), source)));
        }
        Ok(Some((octets, source)))
    }
}

impl AsFd for IcmpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Moves what follows the IPv4 header (RFC 791 section 3.1), which a raw socket gives too, to the front.
fn strip_ip(buffer: &mut [u8], octets: usize) -> usize {
    let header = buffer.first().map_or(0, |first| usize::from(first & 0x0f) * 4).min(octets);
    buffer.copy_within(header..octets, 0);
    octets - header
}

#[cfg(test)]
mod tests {
    use rustix::thread::CapabilitySet;

    use super::*;
    use crate::test_support::{LONG, drop_capability, isolated, set_mtu};

    /// Echo request types (RFC 792, RFC 4443 section 4); the answer is the second.
    const V4: (u8, u8) = (8, 0);
    const V6: (u8, u8) = (128, 129);

    /// An ICMP checksum over octets whose own checksum field is 0 (RFC 1071).
    fn checksum(message: &[u8]) -> [u8; 2] {
        let sum: u32 = message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        (!u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()).to_be_bytes()
    }

    /// Pings this host and gives the answer.
    fn ping(socket: &IcmpSocket, v6: bool) -> Vec<u8> {
        let (destination, (request, answer)): (IpAddr, _) =
            if v6 { (Ipv6Addr::LOCALHOST.into(), V6) } else { (Ipv4Addr::LOCALHOST.into(), V4) };
        let identifier = socket.identifier().unwrap().unwrap_or(0x1234);
        let [high, low] = identifier.to_be_bytes();
        let mut message = vec![request, 0, 0, 0, high, low, 0, 1];
        message.extend(*b"hello, you");
        if !v6 {
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum);
        }
        assert_eq!(socket.send(&message, destination).unwrap(), Some(message.len()));
        let mut buffer = [0; 256];
        loop {
            let (octets, source) = socket.recv(&mut buffer, LONG).unwrap().expect("an answer");
            assert_eq!(source, destination);
            // A raw socket sees the request too.
            if buffer[0] == answer {
                assert_eq!(buffer[4..octets], message[4..]);
                return buffer[..octets].to_vec();
            }
        }
    }

    #[test]
    fn a_raw_socket_gets_the_answer_without_the_ip_header() {
        isolated(|| {
            for v6 in [false, true] {
                let socket = IcmpSocket::open(v6).unwrap();
                assert_eq!(socket.identifier().unwrap(), None);
                assert_eq!(ping(&socket, v6).len(), 18);
            }
        });
    }

    #[test]
    fn without_the_capability_the_kernel_s_echo_socket_serves() {
        isolated(|| {
            drop_capability(CapabilitySet::NET_RAW);
            // A new namespace lets no group have it.
            let error = IcmpSocket::open(false).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
            for v6 in [false, true] {
                let socket = IcmpSocket::open(v6).unwrap();
                assert!(socket.identifier().unwrap().is_some_and(|identifier| identifier != 0));
                assert_eq!(ping(&socket, v6).len(), 18);
            }
        });
    }

    #[test]
    fn nothing_to_read_is_none_and_no_route_an_error() {
        isolated(|| {
            let socket = IcmpSocket::open(false).unwrap();
            assert_eq!(socket.recv(&mut [0; 64], Some(Duration::ZERO)).unwrap(), None);
            let error =
                socket.send(&[8, 0, 0xf7, 0xff, 0, 0, 0, 0], Ipv4Addr::new(192, 0, 2, 1).into()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
        });
    }

    #[test]
    fn messages_leave_from_the_address_bound_and_no_longer_than_the_interface_takes() {
        isolated(|| {
            set_mtu("lo", 1500);
            let source: IpAddr = Ipv4Addr::new(127, 0, 0, 9).into();
            let socket = IcmpSocket::open(false).unwrap();
            socket.bind(source).unwrap();
            socket.set_dont_fragment(DontFragment::Probe).unwrap();
            let mut message = vec![0; 1480];
            message[0] = V4.0;
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum);
            assert_eq!(socket.send(&message, Ipv4Addr::LOCALHOST.into()).unwrap(), Some(1480));
            let mut buffer = [0; 2048];
            // What comes for another of this host's addresses is not for a bound socket: this is the answer.
            let answerer = Ipv4Addr::LOCALHOST.into();
            assert_eq!(socket.recv(&mut buffer, LONG).unwrap(), Some((1480, answerer)));
            message.push(0);
            let error = socket.send(&message, Ipv4Addr::LOCALHOST.into()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
            let nobodys = socket.bind(Ipv4Addr::new(192, 0, 2, 1).into()).unwrap_err();
            assert_eq!(nobodys.kind(), io::ErrorKind::AddrNotAvailable);
        });
    }

    #[test]
    fn a_message_without_its_header_is_never_longer_than_what_came() {
        let mut buffer = [0x4f; 8];
        assert_eq!(strip_ip(&mut buffer, 8), 0);
        assert_eq!(strip_ip(&mut [], 0), 0);
    }
}
