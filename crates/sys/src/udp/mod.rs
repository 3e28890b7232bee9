//! UDP sockets: options, batches in both directions, and the errors that the network reports.
//!
//! One socket has one family: a socket on `[::]` takes IPv6 only, so that each family can have its own.

mod error_queue;
pub(crate) mod options;
mod receive;
mod segments;
mod send;

pub use error_queue::{ErrorOrigin, QueuedError};
pub use options::{DontFragment, UdpOptions, Want, bind};
pub use receive::{Datagram, RecvBatch, recv_batch};
pub use send::{Message, SendBatch, SendOutcome, send_batch};

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{InterfaceIndexOrAddress, SockRef};

use crate::call::set_option;

/// Largest UDP payload over IPv4 in octets: 65,535 less the IP and UDP headers (RFC 768, RFC 791). It bounds one
/// datagram and one send of several alike ([`Message::segment_octets`]).
pub const PAYLOAD_OCTETS_MAX: usize = 65_507;

/// The same over IPv6, whose payload length does not count the IPv6 header (RFC 8200 section 3): 65,535 less the
/// UDP header.
pub const PAYLOAD_OCTETS_MAX_V6: usize = 65_527;

/// Datagrams that one send may become on every kernel that can cut one: `UDP_MAX_SEGMENTS` of linux/udp.h from
/// Linux 4.18 on.
pub const SEGMENTS_FLOOR: usize = 64;

/// Datagrams that one send may become on today's kernels: `UDP_MAX_SEGMENTS` of linux/udp.h since Linux 6.9, and
/// of the stable releases that took the change. [`UdpSocket::segments_max`] tells which of the two it is.
pub const SEGMENTS_CEILING: usize = 128;

/// Most messages that one batch moves: `UIO_MAXIOV` of linux/uio.h, beyond which the kernel ignores the rest.
pub const BATCH_MAX: usize = 1024;

/// A UDP socket, made by [`bind`]. Shared between threads as it is.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    v6: bool,
    /// `IP_RECVERR` is on: a call may fail with what an earlier datagram caused.
    errors: bool,
}

impl UdpSocket {
    /// The address that it is bound to, with the port that the kernel chose where 0 was asked for.
    ///
    /// # Errors
    ///
    /// None that a caller can cause.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = SockRef::from(&self.fd).local_addr()?;
        address.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// True for an IPv6 socket.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.v6
    }

    /// Lets sockets that are bound with [`UdpOptions::reuse_port`] from now on share this one's port. The first socket, bound
    /// without that, so finds out whether somebody else has the port.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` before Linux 3.9.
    pub fn share_port(&self) -> io::Result<()> {
        SockRef::from(&self.fd).set_reuse_port(true)
    }

    /// Octets that the kernel may queue for receiving; it counts its own overhead, and doubles what was asked
    /// for.
    ///
    /// # Errors
    ///
    /// None that a caller can cause.
    pub fn receive_buffer_octets(&self) -> io::Result<usize> {
        SockRef::from(&self.fd).recv_buffer_size()
    }

    /// Octets that the kernel may queue for sending, as [`UdpSocket::receive_buffer_octets`] counts.
    ///
    /// # Errors
    ///
    /// None that a caller can cause.
    pub fn send_buffer_octets(&self) -> io::Result<usize> {
        SockRef::from(&self.fd).send_buffer_size()
    }

    /// Changes what becomes of datagrams that do not fit the path.
    ///
    /// # Errors
    ///
    /// None that a caller can cause.
    pub fn set_dont_fragment(&self, dont_fragment: DontFragment) -> io::Result<()> {
        options::set_dont_fragment(self.fd.as_fd(), self.v6, dont_fragment)
    }

    /// Takes and clears the error that an earlier datagram caused (`SO_ERROR`). With `errors` on, the error
    /// queue has more.
    ///
    /// # Errors
    ///
    /// None that a caller can cause; the pending error is the value.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(&self.fd).take_error()
    }

    /// Receives what is sent to `group` on the interface of that index. Other sockets' groups never reach
    /// this one.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an address that is no group or of the other family, `ENODEV` for an unknown
    /// interface, `EADDRINUSE` when it has joined already, `ENOBUFS` beyond the limit
    /// net.ipv4.igmp_max_memberships.
    pub fn join_multicast(&self, group: IpAddr, interface: u32) -> io::Result<()> {
        let socket = SockRef::from(&self.fd);
        match group {
            IpAddr::V4(group) => {
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface))
            }
            IpAddr::V6(group) => socket.join_multicast_v6(&group, interface),
        }
    }

    /// Undoes [`UdpSocket::join_multicast`].
    ///
    /// # Errors
    ///
    /// `EADDRNOTAVAIL` when it has not joined.
    pub fn leave_multicast(&self, group: IpAddr, interface: u32) -> io::Result<()> {
        let socket = SockRef::from(&self.fd);
        match group {
            IpAddr::V4(group) => {
                socket.leave_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface))
            }
            IpAddr::V6(group) => socket.leave_multicast_v6(&group, interface),
        }
    }

    /// Sends multicast by the interface of that index; by default the routing table decides.
    ///
    /// # Errors
    ///
    /// `EADDRNOTAVAIL` or `ENODEV` for an unknown interface.
    pub fn set_multicast_interface(&self, interface: u32) -> io::Result<()> {
        options::set_multicast_interface(self.fd.as_fd(), self.v6, interface)
    }

    /// True if the kernel can cut one send into equal datagrams ([`Message::segment_octets`], Linux 4.18 and
    /// later). A device may still refuse with `EIO`, and a socket without checksums with `InvalidInput`.
    #[must_use]
    pub fn supports_segment(&self) -> bool {
        // Any size will do; what is set is set back, or every later send would be cut.
        let accepted = set_option(self.fd.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 1400).is_ok();
        accepted && set_option(self.fd.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
    }

    /// How many datagrams one send may become ([`Message::segment_octets`]): [`SEGMENTS_FLOOR`] or
    /// [`SEGMENTS_CEILING`]. It says nothing of whether the kernel can cut a send at all, which
    /// [`UdpSocket::supports_segment`] does.
    ///
    /// The kernel has no other way to tell, so the first call sends: segments of one octet, from a socket of its
    /// own to itself over the loopback interface of the calling thread's network namespace. The answer is kept
    /// for the life of the process. Where that interface was never up it is the floor, and the next call tries
    /// again.
    ///
    /// The same number bounds the UDP superframe that a TAP device takes (`virtio_net_hdr_to_skb` of
    /// linux/virtio_net.h).
    #[must_use]
    pub fn segments_max(&self) -> usize {
        segments::max()
    }

    /// The largest payload of this socket's family, in one datagram or in one send of several.
    #[must_use]
    pub fn payload_octets_max(&self) -> usize {
        if self.v6 { PAYLOAD_OCTETS_MAX_V6 } else { PAYLOAD_OCTETS_MAX }
    }

    /// True if the kernel can join datagrams of one flow on receipt ([`UdpSocket::set_gro`], Linux 5.0 and
    /// later). Leaves it off.
    #[must_use]
    pub fn supports_gro(&self) -> bool {
        self.set_gro(true).is_ok() && self.set_gro(false).is_ok()
    }

    /// Lets the kernel join datagrams of one flow and equal size (`UDP_GRO`); [`Datagram::stride`] says where
    /// to cut.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` where the kernel has no such thing.
    pub fn set_gro(&self, on: bool) -> io::Result<()> {
        set_option(self.fd.as_fd(), libc::SOL_UDP, libc::UDP_GRO, libc::c_int::from(on))
    }

    /// Has errors queued no more, and forgets those that are, or queues them again. Needs [`UdpOptions::errors`]. The queue takes its
    /// room from the receive buffer: one that fills faster than it is read leaves datagrams none.
    ///
    /// # Errors
    ///
    /// None that a caller can cause.
    pub fn queue_errors(&self, on: bool) -> io::Result<()> {
        options::set_errors(self.fd.as_fd(), self.v6, on)
    }

    /// Takes the oldest entry of the error queue; `None` when it is empty. Needs [`UdpOptions::errors`].
    /// Epoll reports an error for as long as the queue holds one.
    ///
    /// # Errors
    ///
    /// None that a caller can cause; what the network reported is the value.
    pub fn error_queue_read(&self) -> io::Result<Option<QueuedError>> {
        error_queue::read(self.fd.as_fd())
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests;
