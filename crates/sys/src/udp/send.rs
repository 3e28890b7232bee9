//! Sending many datagrams in one call (sendmmsg(2)), each with its own destination, TOS, TTL and segment
//! size.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::ptr;

use super::receive::empty_header;
use super::{BATCH_MAX, UdpSocket, error_queue};
use crate::call;
use crate::control::{ControlBuffer, space};
use crate::socket_name::SocketName;

/// How often a message is sent again that failed with what only an earlier one can have caused: so many in a row come of no flood.
const PENDING_ERRORS_MAX: u32 = 64;

/// TOS, TTL, packet information (the IPv6 one is the longer), segment size.
const CONTROL_OCTETS: usize = space(4) + space(4) + space(20) + space(2);

/// One datagram to send, or several of equal size.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Where to. Of the socket's family.
    pub destination: SocketAddr,
    /// The payload.
    pub data: &'a [u8],
    /// Cut `data` into datagrams of this many octets, the last of which may have fewer (`UDP_SEGMENT`): at
    /// most [`UdpSocket::segments_max`] of them and [`UdpSocket::payload_octets_max`] octets in all. `None`: one
    /// datagram.
    ///
    /// Each datagram is to fit the path without fragments. Octets that reach `gso_max_size` of the outgoing
    /// interface with all headers (65,536 by default, counted from the Ethernet header on) go as well, but the
    /// kernel cuts them itself even where the interface could (`gso_features_check` of net/core/dev.c).
    ///
    /// Leave it out for a single datagram: some releases of Linux 6.11 send one with a wrong checksum by a device
    /// that leaves checksums to the software.
    pub segment_octets: Option<u16>,
    /// TOS octet or traffic class. `None`: the socket's.
    pub tos: Option<u8>,
    /// TTL or hop limit, 1 to 255. `None`: the socket's.
    pub ttl: Option<u8>,
    /// The address to send from. `None`: the socket's, or the routing table's choice.
    pub source: Option<IpAddr>,
}

impl<'a> Message<'a> {
    /// One datagram with everything as the socket has it.
    #[must_use]
    pub fn new(destination: SocketAddr, data: &'a [u8]) -> Message<'a> {
        Message { destination, data, segment_octets: None, tos: None, ttl: None, source: None }
    }
}

/// Scratch memory of [`send_batch`], made once.
pub struct SendBatch {
    names: Vec<SocketName>,
    controls: Vec<ControlBuffer<CONTROL_OCTETS>>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in `vectors` and `headers` are set by each `send_batch` before the kernel follows
// them, and nothing follows them afterwards; everything else is `Send`.
unsafe impl Send for SendBatch {}
// SAFETY: nothing reads the pointers through `&SendBatch`.
unsafe impl Sync for SendBatch {}

impl SendBatch {
    /// Scratch for `slots` messages a call (1 to [`BATCH_MAX`], clamped).
    #[must_use]
    pub fn new(slots: usize) -> SendBatch {
        let slots = slots.clamp(1, BATCH_MAX);
        SendBatch {
            names: vec![SocketName::new(); slots],
            controls: vec![ControlBuffer::new(); slots],
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; slots],
            headers: vec![empty_header(); slots],
        }
    }

    /// How many messages one call takes.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.headers.len()
    }
}

impl fmt::Debug for SendBatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SendBatch").field("slots", &self.slots()).finish_non_exhaustive()
    }
}

/// How far a batch came.
#[derive(Debug)]
pub struct SendOutcome {
    /// Messages that the kernel took, from the first.
    pub sent: usize,
    /// Why it refused message number `sent`; those after it were not tried. `WouldBlock`: wait until the
    /// socket is writable. `None`: all went.
    ///
    /// Of the others: `EMSGSIZE` does not fit the path, `ENETUNREACH` and `EHOSTUNREACH` have no route,
    /// `EPERM` a packet filter. With `segment_octets` (`udp_send_skb` of net/ipv4/udp.c and its twin of
    /// net/ipv6):
    ///
    /// * `EMSGSIZE`: one datagram does not fit the path, or the whole is longer than
    ///   [`UdpSocket::payload_octets_max`]. The same data in smaller sends, or in messages of one datagram, may
    ///   go.
    /// * `EINVAL` (`InvalidInput`): more than [`UdpSocket::segments_max`] datagrams, or a socket that sends no
    ///   checksums. Linux before 4.18 says so too, not knowing the control message.
    /// * `EIO`: the route goes by IPsec, or (Linux before 6.11) by a device that leaves checksums to the
    ///   software. Nothing of that route can be sent so; messages of one datagram go.
    pub error: Option<io::Error>,
}

/// Sends what `messages` yields, at most as many as `scratch` has slots; the rest stays in the iterator.
///
/// An error that an earlier datagram caused (`ECONNREFUSED` and its like) is not taken for the error of a
/// message here: it stands in the error queue.
pub fn send_batch<'a>(
    socket: &UdpSocket,
    scratch: &mut SendBatch,
    messages: impl IntoIterator<Item = Message<'a>>,
) -> SendOutcome {
    let mut queued = 0;
    // Each message's data outlives 'a, and so the call below: only its pointer stays in the scratch memory.
    for message in messages.into_iter().take(scratch.slots()) {
        scratch.queue(queued, &message);
        queued += 1;
    }
    scratch.send(socket, queued)
}

impl SendBatch {
    fn queue(&mut self, index: usize, message: &Message<'_>) {
        let vector = &mut self.vectors[index];
        vector.iov_base = message.data.as_ptr().cast_mut().cast();
        vector.iov_len = message.data.len();
        let name_octets = self.names[index].set(&message.destination);
        let control_octets = write_control(&mut self.controls[index], message);
        let header = &mut self.headers[index].msg_hdr;
        header.msg_namelen = name_octets as libc::socklen_t;
        header.msg_controllen = control_octets as _;
        header.msg_iovlen = 1;
    }

    /// Sends the first `queued` slots, whose `data` the caller of [`send_batch`] still borrows.
    fn send(&mut self, socket: &UdpSocket, queued: usize) -> SendOutcome {
        let scratch = self.names.iter_mut().zip(&mut self.controls).zip(&mut self.vectors);
        for (((name, control), vector), header) in scratch.zip(&mut self.headers).take(queued) {
            let header = &mut header.msg_hdr;
            header.msg_name = name.as_mut_ptr().cast();
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_iov = vector;
        }
        let mut sent = 0;
        let mut tried_again = 0;
        while sent < queued {
            match send_once(socket, &mut self.headers[sent..queued]) {
                Ok(more) => {
                    sent += more;
                    tried_again = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return SendOutcome { sent, error: Some(error) };
                }
                // A pending error belongs to an earlier datagram and is gone once reported: only a second one
                // is this message's own, unless it is one that no message has of its own.
                Err(error)
                    if socket.errors
                        && (tried_again == 0
                            || tried_again < PENDING_ERRORS_MAX && error_queue::is_icmp_alone(&error)) =>
                {
                    tried_again += 1;
                }
                Err(error) => return SendOutcome { sent, error: Some(error) },
            }
        }
        SendOutcome { sent, error: None }
    }
}

/// Writes the control messages that `message` asks for and returns their octets.
fn write_control(control: &mut ControlBuffer<CONTROL_OCTETS>, message: &Message<'_>) -> usize {
    let v6 = message.destination.is_ipv6();
    let level = if v6 { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IP };
    let mut end = 0;
    if let Some(tos) = message.tos {
        let kind = if v6 { libc::IPV6_TCLASS } else { libc::IP_TOS };
        end = control.push(end, level, kind, &libc::c_int::from(tos).to_ne_bytes());
    }
    if let Some(ttl) = message.ttl {
        let kind = if v6 { libc::IPV6_HOPLIMIT } else { libc::IP_TTL };
        end = control.push(end, level, kind, &libc::c_int::from(ttl).to_ne_bytes());
    }
    match message.source {
        Some(IpAddr::V4(source)) => {
            // `struct in_pktinfo` (linux/in.h): index (0: any), the address to send from, one that sending
            // ignores.
            let mut information = [0; 12];
            information[4..8].copy_from_slice(&source.octets());
            end = control.push(end, libc::IPPROTO_IP, libc::IP_PKTINFO, &information);
        }
        Some(IpAddr::V6(source)) => {
            // `struct in6_pktinfo` (linux/ipv6.h): the address to send from, index (0: any).
            let mut information = [0; 20];
            information[..16].copy_from_slice(&source.octets());
            end = control.push(end, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &information);
        }
        None => {}
    }
    if let Some(octets) = message.segment_octets {
        end = control.push(end, libc::SOL_UDP, libc::UDP_SEGMENT, &octets.to_ne_bytes());
    }
    end
}

fn send_once(socket: &UdpSocket, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let count = libc::c_uint::try_from(headers.len()).expect("at most BATCH_MAX");
    call::retry(|| {
        // SAFETY: the socket is open for the length of the borrow. `headers` holds `count` structures whose
        // pointers `SendBatch::send` has just set from exclusive borrows of the scratch memory, with the
        // lengths of what they point to; each vector points to data that the caller of `send_batch` borrows
        // past this call, which the kernel only reads.
        let result = unsafe {
            libc::sendmmsg(socket.fd.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _)
        };
        result as isize
    })
}
