//! Receiving many datagrams in one call (recvmmsg(2)).

use std::fmt;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr;

use super::{BATCH_MAX, UdpSocket, error_queue};
use crate::call;
use crate::control::{ControlBuffer, Message, space};
use crate::socket_name::{NAME_OCTETS, SocketName};

/// TOS, TTL, packet information (the IPv6 one is the longer), stride.
const CONTROL_OCTETS: usize = space(4) + space(4) + space(20) + space(4);

/// How often a call is made again that failed with what an earlier datagram caused.
const PENDING_ERRORS_MAX: usize = 8;

/// Room for a batch of datagrams, made once and filled by [`recv_batch`].
///
/// Each slot is `headroom` octets that the kernel leaves alone, then `capacity` octets for one datagram. The
/// memory starts as zeros and costs nothing until a datagram is first written to it.
pub struct RecvBatch {
    memory: Vec<u8>,
    slot_octets: usize,
    headroom: usize,
    names: Vec<SocketName>,
    controls: Vec<ControlBuffer<CONTROL_OCTETS>>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    received: usize,
}

// SAFETY: the raw pointers in `vectors` and `headers` are set anew from `&mut self` by each `recv_batch`
// before the kernel follows them, and nothing follows them afterwards; everything else is `Send`.
unsafe impl Send for RecvBatch {}
// SAFETY: through `&RecvBatch` only lengths and flags of the headers are read, never a pointer.
unsafe impl Sync for RecvBatch {}

impl RecvBatch {
    /// Room for `slots` datagrams (1 to [`BATCH_MAX`], clamped) of `capacity` octets each.
    ///
    /// A peer on the same host can send one datagram of 64 KB where many were meant (a superframe that no
    /// device cut), so a `capacity` below 65,535 may truncate.
    #[must_use]
    pub fn new(slots: usize, headroom: usize, capacity: usize) -> RecvBatch {
        let slots = slots.clamp(1, BATCH_MAX);
        let slot_octets = headroom + capacity;
        RecvBatch {
            memory: vec![0; slots * slot_octets],
            slot_octets,
            headroom,
            names: vec![SocketName::new(); slots],
            controls: vec![ControlBuffer::new(); slots],
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; slots],
            headers: vec![empty_header(); slots],
            received: 0,
        }
    }

    /// How many datagrams the last [`recv_batch`] brought.
    #[must_use]
    pub fn len(&self) -> usize {
        self.received
    }

    /// True if the last [`recv_batch`] brought nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.received == 0
    }

    /// What the kernel said of datagram `index` of the last batch; `None` beyond its end.
    #[must_use]
    pub fn datagram(&self, index: usize) -> Option<Datagram> {
        let header = self.headers[..self.received].get(index)?;
        let octets = usize::try_from(header.msg_len).ok()?.min(self.slot_octets - self.headroom);
        let mut datagram = Datagram {
            source: self.names[index].address()?,
            range: self.headroom..self.headroom + octets,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            tos: None,
            ttl: None,
            destination: None,
            interface: None,
            stride: None,
        };
        // A size_t or a socklen_t, as the C library has it.
        let control_octets: usize = header.msg_hdr.msg_controllen as _;
        for message in self.controls[index].messages(control_octets) {
            datagram.take(&message);
        }
        Some(datagram)
    }

    /// The whole slot `index`: headroom, then the datagram at [`Datagram::range`], then what earlier
    /// datagrams left.
    ///
    /// # Panics
    ///
    /// Beyond the slots of [`RecvBatch::new`].
    #[must_use]
    pub fn slot(&self, index: usize) -> &[u8] {
        &self.memory[index * self.slot_octets..(index + 1) * self.slot_octets]
    }

    /// The whole slot `index`, to write to.
    ///
    /// # Panics
    ///
    /// As [`RecvBatch::slot`].
    #[must_use]
    pub fn slot_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.memory[index * self.slot_octets..(index + 1) * self.slot_octets]
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RecvBatch")
            .field("slots", &self.headers.len())
            .field("slot_octets", &self.slot_octets)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// What came with one datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub source: SocketAddr,
    /// Where its payload lies in its slot.
    pub range: Range<usize>,
    /// It was longer than the slot's capacity; the rest is lost.
    pub truncated: bool,
    /// TOS octet or traffic class, if wanted.
    pub tos: Option<u8>,
    /// TTL or hop limit on arrival, if wanted.
    pub ttl: Option<u8>,
    /// The address that it was sent to, if wanted.
    pub destination: Option<IpAddr>,
    /// Index of the interface that it came by, if the destination was wanted.
    pub interface: Option<u32>,
    /// The kernel joined several datagrams: each has this many octets but the last, which may have fewer.
    /// `None`: the kernel joined nothing.
    pub stride: Option<u16>,
}

impl Datagram {
    fn take(&mut self, message: &Message<'_>) {
        let octet = || message.int().and_then(|value| u8::try_from(value).ok());
        match (message.level, message.kind) {
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => self.tos = octet(),
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                self.ttl = octet()
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                self.stride =
                    message.int().and_then(|value| u16::try_from(value).ok()).filter(|octets| *octets > 0);
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => self.take_information_v4(message.data),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => self.take_information_v6(message.data),
            _ => {}
        }
    }

    /// `struct in_pktinfo` (linux/in.h): index, local address, address in the header.
    fn take_information_v4(&mut self, data: &[u8]) {
        if let Some((index, rest)) = data.split_first_chunk()
            && let Some((_local, rest)) = rest.split_first_chunk::<4>()
            && let Some((header, _)) = rest.split_first_chunk::<4>()
        {
            self.interface = Some(u32::from_ne_bytes(*index));
            self.destination = Some(Ipv4Addr::from(*header).into());
        }
    }

    /// `struct in6_pktinfo` (linux/ipv6.h): address, index.
    fn take_information_v6(&mut self, data: &[u8]) {
        if let Some((address, rest)) = data.split_first_chunk::<16>()
            && let Some((index, _)) = rest.split_first_chunk()
        {
            self.interface = Some(u32::from_ne_bytes(*index));
            self.destination = Some(Ipv6Addr::from(*address).into());
        }
    }
}

/// Fills `batch` with what is queued and returns how many datagrams that are; 0 when nothing is.
///
/// An error that an earlier datagram of ours caused (`ECONNREFUSED` and its like) is passed over: it stands
/// in the error queue.
///
/// # Errors
///
/// None that a peer can cause.
pub fn recv_batch(socket: &UdpSocket, batch: &mut RecvBatch) -> io::Result<usize> {
    batch.received = 0;
    let mut pending_errors = 0;
    loop {
        match receive_once(socket, batch) {
            Ok(received) => {
                batch.received = received;
                return Ok(received);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(_) if socket.errors && pending_errors < PENDING_ERRORS_MAX => pending_errors += 1,
            // They come as fast as they are passed over.
            Err(error) if socket.errors && error_queue::is_icmp(&error) => return Ok(0),
            Err(error) => return Err(error),
        }
    }
}

fn receive_once(socket: &UdpSocket, batch: &mut RecvBatch) -> io::Result<usize> {
    let (headroom, capacity) = (batch.headroom, batch.slot_octets - batch.headroom);
    let slots = batch.memory.chunks_exact_mut(batch.slot_octets.max(1));
    let scratch = batch.names.iter_mut().zip(&mut batch.controls).zip(&mut batch.vectors);
    for (((name, control), vector), (header, slot)) in scratch.zip(batch.headers.iter_mut().zip(slots)) {
        vector.iov_base = slot[headroom..].as_mut_ptr().cast();
        vector.iov_len = capacity;
        let header = &mut header.msg_hdr;
        header.msg_name = name.as_mut_ptr().cast();
        header.msg_namelen = NAME_OCTETS as libc::socklen_t;
        header.msg_iov = vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_OCTETS as _;
        header.msg_flags = 0;
    }
    let slots = libc::c_uint::try_from(batch.headers.len()).expect("at most BATCH_MAX");
    call::retry(|| {
        // SAFETY: the socket is open for the length of the borrow. `headers` holds `slots` structures whose
        // pointers were set above from exclusive borrows of this batch, with the lengths of what they point
        // to: the name, one vector, the control buffer (both types are octets with the alignment the kernel
        // asks) and the slot past its headroom. None of that memory is touched again before the call returns,
        // and any octets that the kernel writes there are valid.
        let result = unsafe {
            libc::recvmmsg(
                socket.fd.as_raw_fd(),
                batch.headers.as_mut_ptr(),
                slots,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        result as isize
    })
}

/// A header with nothing in it.
pub(super) fn empty_header() -> libc::mmsghdr {
    // SAFETY: the structure holds integers and raw pointers only, for which zeros are valid.
    unsafe { mem::zeroed() }
}
