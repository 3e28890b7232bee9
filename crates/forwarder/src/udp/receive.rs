//! The receiving half: what the kernel joined is cut into datagrams again.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use vxgate_codec::layers::Layers;
use vxgate_codec::vxlan;
use vxgate_sys::epoll::{Epoll, Interest};
use vxgate_sys::udp::{self, RecvBatch, UdpSocket};

use crate::port::HEADROOM_OCTETS;
use crate::underlay::{Datagram, UnderlayRx};

/// Datagrams in one call of recvmmsg, each of which may be a run of 64 that the kernel joined. More than these would leave
/// the cache before they are looked at.
const BATCH: usize = 16;

/// Room for the longest UDP payload, so that a kernel peer's superframe arrives whole.
const PAYLOAD_OCTETS: usize = 65_535;

/// The receiving half of a [`UdpUnderlay`](super::UdpUnderlay).
pub struct UdpRx {
    sockets: Vec<Arc<UdpSocket>>,
    /// Gathers the readiness of several receivers into one descriptor.
    gathered: Option<Epoll>,
    next: usize,
    batch: RecvBatch,
    /// The datagrams of the batch, those that the kernel joined one by one.
    datagrams: Vec<Received>,
}

struct Received {
    slot: usize,
    source: IpAddr,
    tos: Option<u8>,
    payload: Range<usize>,
    truncated: bool,
    segment_octets: Option<u16>,
}

impl UdpRx {
    pub(super) fn new(sockets: Vec<Arc<UdpSocket>>, gathered: Option<Epoll>) -> Self {
        let batch = RecvBatch::new(BATCH, HEADROOM_OCTETS, PAYLOAD_OCTETS);
        Self { sockets, gathered, next: 0, batch, datagrams: Vec::with_capacity(BATCH * 64) }
    }

    /// Lists the datagrams of the batch.
    fn cut(&mut self) {
        self.datagrams.clear();
        for slot in 0..self.batch.len() {
            let Some(datagram) = self.batch.datagram(slot) else { continue };
            let mut received = Received {
                slot,
                source: datagram.source.ip(),
                tos: datagram.tos,
                payload: datagram.range.clone(),
                truncated: datagram.truncated,
                segment_octets: None,
            };
            let Some(stride) = datagram.stride.filter(|stride| usize::from(*stride) < datagram.range.len())
            else {
                self.datagrams.push(received);
                continue;
            };
            if is_one_superframe(&self.batch.slot(slot)[datagram.range.clone()]) {
                received.segment_octets = Some(stride);
                self.datagrams.push(received);
                continue;
            }
            let end = datagram.range.end;
            for start in datagram.range.step_by(usize::from(stride)) {
                let payload = start..end.min(start + usize::from(stride));
                self.datagrams.push(Received {
                    // The kernel joins nothing that it had to cut short: only the last one can lack its end.
                    truncated: datagram.truncated && payload.end == end,
                    payload,
                    ..received
                });
            }
        }
    }
}

/// Gathers the readiness of several sockets into one descriptor.
pub(super) fn gather(sockets: &[Arc<UdpSocket>]) -> io::Result<Epoll> {
    let epoll = Epoll::new()?;
    for socket in sockets {
        epoll.add(socket.as_fd(), 0, Interest::READABLE)?;
    }
    Ok(epoll)
}

/// Whether a datagram that came with a stride is one frame all the same: a kernel peer's superframe of UDP datagrams, whose
/// stride is the size of the *inner* ones (`udp_cmsg_recv` of include/linux/udp.h gives what the last tunnel header left in
/// `gso_size`). The first inner packet of such a one reaches to the datagram's end.
fn is_one_superframe(payload: &[u8]) -> bool {
    payload
        .get(vxlan::HEADER_OCTETS..)
        .and_then(|frame| Some((frame.len(), Layers::parse(frame).ok()?.ip?.end)))
        .is_some_and(|(octets, end)| end == octets)
}

impl UnderlayRx for UdpRx {
    fn recv(&mut self) -> io::Result<usize> {
        for _ in 0..self.sockets.len() {
            let socket = &self.sockets[self.next];
            // Each in its turn: a flood at one must not starve the others.
            self.next = (self.next + 1) % self.sockets.len();
            match udp::recv_batch(socket, &mut self.batch) {
                Ok(0) => {}
                Ok(_) => {
                    self.cut();
                    return Ok(self.datagrams.len());
                }
                // What the network says of a datagram that we sent (ICMP) is told on this socket; the next call reads on.
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    fn datagram(&mut self, index: usize) -> Datagram<'_> {
        let received = &self.datagrams[index];
        Datagram {
            source: received.source,
            tos: received.tos,
            payload: received.payload.clone(),
            truncated: received.truncated,
            segment_octets: received.segment_octets,
            buffer: self.batch.slot_mut(received.slot),
        }
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        match &self.gathered {
            Some(epoll) => epoll.as_fd(),
            None => self.sockets[0].as_fd(),
        }
    }

    /// A call that brought less than a batch met the end of its socket's queue (recvmmsg(2)).
    fn is_drained(&self) -> bool {
        self.sockets.len() == 1 && self.batch.len() < BATCH
    }
}

/// Whether an error of a receiving call tells of one datagram and not of the socket.
fn is_passing(error: &io::Error) -> bool {
    error.kind() != ErrorKind::InvalidInput
        && !matches!(Errno::from_io_error(error), Some(Errno::BADF | Errno::NOTSOCK | Errno::FAULT))
}
