//! A socket for ICMP and ICMPv6 messages, enough to send echo requests and take the answers (icmp(7)).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::call;
use crate::poll;

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
    /// `PermissionDenied` without CAP_NET_RAW when the process's group is outside net.ipv4.ping_group_range too.
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

    /// The echo identifier that the kernel writes into each request and filters answers by; `None` when the caller chooses
    /// it, and must compute the checksum of ICMP (never of ICMPv6) and tell its answers from others itself.
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

    /// Waits for a message for at most `timeout` (`None`: for ever) and returns its octets, from its ICMP type on, and who
    /// sent it; `None` when none came. It may come back early when a signal arrives.
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
