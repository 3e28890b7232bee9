//! What the network says of datagrams that we sent (`IP_RECVERR`, ip(7)): ICMP errors and refusals by this
//! host.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::receive::empty_header;
use crate::call;
use crate::control::{ControlBuffer, Message, space};
use crate::socket_name::{self, NAME_OCTETS, SocketName};

/// `sizeof(struct sock_extended_err)` (linux/errqueue.h).
const EXTENDED_ERROR_OCTETS: usize = 16;

/// The error with its offender, behind the TOS, TTL and packet information that may precede it.
const CONTROL_OCTETS: usize =
    space(EXTENDED_ERROR_OCTETS + NAME_OCTETS) + space(4) + space(4) + space(20) + space(4);

/// Octets of our datagram's payload that are kept of what an error quotes. RFC 792 promises none, RFC 1812 section 4.3.2.3 and
/// RFC 4443 section 3 as many as fit.
const QUOTE_OCTETS: usize = 64;

/// Who reported an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorOrigin {
    /// This host: the datagram never left.
    Local,
    /// A router or the peer, by ICMP or ICMPv6.
    Icmp,
    /// Anything else that the kernel queues there.
    Other,
}

/// One entry of the error queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedError {
    /// The error number: `ECONNREFUSED`, `EHOSTUNREACH`, `EMSGSIZE` and their like.
    pub errno: i32,
    /// Who reported it.
    pub origin: ErrorOrigin,
    /// ICMP type; 0 when local.
    pub icmp_type: u8,
    /// ICMP code; 0 when local.
    pub icmp_code: u8,
    /// The address that reported it; `None` when local.
    pub offender: Option<IpAddr>,
    /// Where our datagram was going. Port 0 where this host refused an IPv4 datagram: the kernel leaves it
    /// out.
    pub destination: Option<SocketAddr>,
    /// What fits, in octets of IP, when `errno` is `EMSGSIZE`.
    pub mtu: Option<u32>,
    /// The start of the payload that the report quotes of our datagram, 64 octets at most; empty when local.
    pub payload: Vec<u8>,
}

impl QueuedError {
    /// The error number as an error.
    #[must_use]
    pub fn error(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }

    /// Reads `struct sock_extended_err` and the address behind it.
    fn parse(data: &[u8], destination: Option<SocketAddr>, payload: &[u8]) -> Option<QueuedError> {
        let (errno, rest) = data.split_first_chunk()?;
        let ([origin, icmp_type, icmp_code, _], rest) = rest.split_first_chunk()?;
        let (information, _) = rest.split_first_chunk()?;
        let errno = i32::from_ne_bytes(*errno);
        let offender = data.get(EXTENDED_ERROR_OCTETS..).and_then(socket_name::parse_ip);
        Some(QueuedError {
            errno,
            origin: match *origin {
                libc::SO_EE_ORIGIN_LOCAL => ErrorOrigin::Local,
                libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => ErrorOrigin::Icmp,
                _ => ErrorOrigin::Other,
            },
            icmp_type: *icmp_type,
            icmp_code: *icmp_code,
            offender,
            destination,
            mtu: (errno == libc::EMSGSIZE).then(|| u32::from_ne_bytes(*information)),
            payload: payload.to_vec(),
        })
    }
}

/// Whether a call can fail by this because of an ICMP error to an earlier datagram (`icmp_err_convert` of net/ipv4/icmp.c,
/// `icmpv6_err_convert` of net/ipv6/icmp.c).
pub(super) fn is_icmp(error: &io::Error) -> bool {
    let others = [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EMSGSIZE, libc::EOPNOTSUPP, libc::EACCES];
    is_icmp_alone(error) || error.raw_os_error().is_some_and(|errno| others.contains(&errno))
}

/// Whether a send can fail by this for no other reason: what no socket without a connection is refused by itself.
pub(super) fn is_icmp_alone(error: &io::Error) -> bool {
    let alone = [libc::ECONNREFUSED, libc::ENOPROTOOPT, libc::EPROTO, libc::EHOSTDOWN, libc::ENONET];
    error.raw_os_error().is_some_and(|errno| alone.contains(&errno))
}

/// Takes the oldest entry; what the kernel queues there without an error is passed over.
pub(super) fn read(fd: BorrowedFd<'_>) -> io::Result<Option<QueuedError>> {
    let mut name = SocketName::new();
    let mut control = ControlBuffer::<CONTROL_OCTETS>::new();
    let mut quote = [0; QUOTE_OCTETS];
    let is_error = |message: &Message<'_>| {
        (message.level, message.kind) == (libc::IPPROTO_IP, libc::IP_RECVERR)
            || (message.level, message.kind) == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    };
    while let Some((octets, control_octets)) =
        call::unless_blocked(receive(fd, &mut name, &mut control, &mut quote))?
    {
        let payload = &quote[..octets.min(QUOTE_OCTETS)];
        let found = control.messages(control_octets).find(is_error);
        if let Some(error) =
            found.and_then(|message| QueuedError::parse(message.data, name.address(), payload))
        {
            return Ok(Some(error));
        }
    }
    Ok(None)
}

/// Returns the octets of the payload and of control messages.
fn receive(
    fd: BorrowedFd<'_>,
    name: &mut SocketName,
    control: &mut ControlBuffer<CONTROL_OCTETS>,
    quote: &mut [u8; QUOTE_OCTETS],
) -> io::Result<(usize, usize)> {
    let mut vector = libc::iovec { iov_base: quote.as_mut_ptr().cast(), iov_len: QUOTE_OCTETS };
    let mut header = empty_header().msg_hdr;
    let octets = call::retry(|| {
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_name = name.as_mut_ptr().cast();
        header.msg_namelen = NAME_OCTETS as libc::socklen_t;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_OCTETS as _;
        // SAFETY: `fd` is open for the length of the borrow; `header` points to the name, the control buffer and, by one
        // vector, the quote, all exclusively ours, with their lengths; any octets that the kernel writes there are valid.
        unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) }
    })?;
    // A size_t or a socklen_t, as the C library has it.
    Ok((octets, header.msg_controllen as _))
}
