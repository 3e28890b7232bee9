//! An underlay of UDP sockets.
//!
//! One socket at the local address and port receives. It also sends, unless another source port was asked for:
//! then one socket (`SourcePort::Fixed`) or a pool (`SourcePort::Hash`) sends, and what arrives there is discarded by a
//! filter in the kernel. A multicast group has a receiving socket of its own, bound to the group.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vxgate_codec::{flow, vxlan};
use vxgate_core::{DropReason, PeerId};
use vxgate_offload::Work;
use vxgate_sys::epoll::{Epoll, Interest};
use vxgate_sys::udp::{self, DontFragment, Message, RecvBatch, SendBatch, UdpOptions, UdpSocket, Want};

use crate::port::HEADROOM_OCTETS;
use crate::underlay::{Datagram, Outer, Tally, Target, Underlay, UnderlayRx, UnderlayTx};

/// Datagrams in one call of recvmmsg or sendmmsg.
const BATCH: usize = 64;

/// Room for the longest UDP payload, so that a kernel peer's superframe arrives whole.
const PAYLOAD_OCTETS: usize = 65_535;

/// Octets that wait to be sent: four full superframes.
const ARENA_OCTETS: usize = 4 * 65_536;

/// Copies that wait to be sent.
const QUEUE: usize = 1024;

/// Sockets in the pool of source ports. Sixteen flows over 64 ports share one seldom enough for the ECMP paths and
/// receive queues that the entropy is for, and each socket costs a descriptor and a kilobyte.
pub const SOURCE_PORT_POOL: usize = 64;

/// How long a full send buffer is waited for. One that stays full so long is not waited for again in the same batch: what
/// finds no room is dropped.
const SEND_PATIENCE: Duration = Duration::from_millis(20);

/// Which UDP source port datagrams bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourcePort {
    /// Always this one; that of the Gate's own script is 4789.
    Fixed(u16),
    /// One of [`SOURCE_PORT_POOL`] ports in this range, by the hash of the inner flow (RFC 7348, section 5). Not empty, and
    /// without port 0.
    Hash(RangeInclusive<u16>),
}

/// How a [`UdpUnderlay`] is opened.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// The outer address of this VTEP and the port that peers send to.
    pub local: SocketAddr,
    /// The link that carries the underlay, if only one may.
    pub device: Option<String>,
    /// Which source port datagrams bear.
    pub source_port: SourcePort,
    /// Whether outer checksums are sent, and asked for on IPv6 (RFC 7348, section 5; RFC 6935).
    pub checksum: bool,
    /// The DF bit of the outer IPv4 header where a frame does not say. An outer datagram is never fragmented here,
    /// set or not (RFC 7348, section 4.3).
    pub dont_fragment: bool,
    /// Multicast groups to join, each on the link with this index (RFC 7348, section 4.2).
    pub groups: Vec<(IpAddr, u32)>,
    /// Asked size of the receive buffer, in octets; the system may give less. Default 4 MiB: 30 ms at 1 Gb/s.
    pub receive_buffer_octets: usize,
    /// Asked size of the send buffer, in octets; the system may give less. Default 4 MiB.
    pub send_buffer_octets: usize,
}

impl UdpConfig {
    /// The defaults for a VTEP at `local`: no particular link, the source port that it also receives on, checksums.
    #[must_use]
    pub const fn new(local: SocketAddr) -> Self {
        Self {
            local,
            device: None,
            source_port: SourcePort::Fixed(local.port()),
            checksum: true,
            dont_fragment: false,
            groups: Vec::new(),
            receive_buffer_octets: 4 << 20,
            send_buffer_octets: 4 << 20,
        }
    }
}

/// How much the kernel queues for a socket of a [`UdpUnderlay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpBuffers {
    /// For receiving, in octets.
    pub receive_octets: usize,
    /// For sending, in octets.
    pub send_octets: usize,
}

/// An [`Underlay`] over UDP.
pub struct UdpUnderlay {
    main: Arc<UdpSocket>,
    receivers: Vec<Arc<UdpSocket>>,
    /// Gathers the readiness of several receivers into one descriptor.
    gathered: Option<Epoll>,
    senders: Vec<Arc<UdpSocket>>,
    ports: RangeInclusive<u16>,
    dont_fragment: bool,
}

impl UdpUnderlay {
    /// Opens the sockets.
    ///
    /// # Errors
    /// The port is taken, the address is not this host's, the link does not exist, a group cannot be joined;
    /// `InvalidInput` where the range of source ports is empty or holds port 0.
    pub fn bind(config: &UdpConfig) -> io::Result<Self> {
        let options = |local: SocketAddr, only_send: bool| UdpOptions {
            device: config.device.clone(),
            receive_buffer_octets: (!only_send).then_some(config.receive_buffer_octets),
            send_buffer_octets: Some(config.send_buffer_octets),
            checksum: config.checksum,
            dont_fragment: dont_fragment(config.dont_fragment),
            want: Want { tos: !only_send, ..Want::default() },
            only_send,
            ..UdpOptions::new(local)
        };
        let main = Arc::new(udp::bind(&options(config.local, false))?);
        // The kernel may have chosen the port.
        let port = main.local_addr()?.port();
        let sender = |port: u16| -> io::Result<Arc<UdpSocket>> {
            Ok(Arc::new(udp::bind(&options(SocketAddr::new(config.local.ip(), port), true))?))
        };
        let (senders, ports) = match &config.source_port {
            SourcePort::Fixed(fixed) if *fixed == port || *fixed == config.local.port() => {
                (vec![Arc::clone(&main)], port..=port)
            }
            SourcePort::Fixed(fixed) => (vec![sender(*fixed)?], *fixed..=*fixed),
            SourcePort::Hash(range) => (bind_pool(range, port, sender)?, range.clone()),
        };
        let mut receivers = vec![Arc::clone(&main)];
        for (group, link) in &config.groups {
            let socket = udp::bind(&UdpOptions {
                reuse_address: true,
                ..options(SocketAddr::new(*group, port), false)
            })?;
            socket.join_multicast(*group, *link)?;
            receivers.push(Arc::new(socket));
            // What goes to the group leaves where its members are: the routing table need not know.
            for sender in senders.iter().filter(|_| *link != 0) {
                sender.set_multicast_interface(*link)?;
            }
        }
        let gathered = if receivers.len() > 1 { Some(gather(&receivers)?) } else { None };
        Ok(Self { main, receivers, gathered, senders, ports, dont_fragment: config.dont_fragment })
    }

    /// The address and port that peers send to.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.main.local_addr()
    }

    /// What the kernel granted of [`UdpConfig::receive_buffer_octets`] and [`UdpConfig::send_buffer_octets`], of each socket. It
    /// counts its own overhead, and so grants twice what was asked where nothing limits it.
    ///
    /// # Errors
    /// A socket is broken.
    pub fn buffers(&self) -> io::Result<UdpBuffers> {
        Ok(UdpBuffers {
            receive_octets: self.main.receive_buffer_octets()?,
            send_octets: self.senders.first().unwrap_or(&self.main).send_buffer_octets()?,
        })
    }

    /// How many source ports datagrams are spread over.
    #[must_use]
    pub fn source_ports(&self) -> usize {
        self.senders.len()
    }
}

const fn dont_fragment(set: bool) -> DontFragment {
    if set { DontFragment::Set } else { DontFragment::Unset }
}

/// Binds up to [`SOURCE_PORT_POOL`] ports, spread over the range; a taken port is passed over.
fn bind_pool(
    range: &RangeInclusive<u16>,
    receive_port: u16,
    bind: impl Fn(u16) -> io::Result<Arc<UdpSocket>>,
) -> io::Result<Vec<Arc<UdpSocket>>> {
    if range.is_empty() || range.contains(&0) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "no range of source ports"));
    }
    let width = usize::from(range.end() - range.start()) + 1;
    let wanted = width.min(SOURCE_PORT_POOL);
    let mut pool = Vec::with_capacity(wanted);
    let mut last_error = None;
    // One slice of the range for each socket; within it the first free port.
    for slice in 0..wanted {
        let ports = slice * width / wanted..(slice + 1) * width / wanted;
        for offset in ports.take(SOURCE_PORT_POOL) {
            // The offset is less than the width of a range of 16-bit numbers.
            let port = *range.start() + offset as u16;
            if port == receive_port {
                continue;
            }
            match bind(port) {
                Ok(socket) => {
                    pool.push(socket);
                    break;
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => last_error = Some(error),
                Err(error) => return Err(error),
            }
        }
    }
    if pool.is_empty() {
        return Err(last_error.unwrap_or_else(|| ErrorKind::AddrInUse.into()));
    }
    Ok(pool)
}

impl Underlay for UdpUnderlay {
    type Rx = UdpRx;
    type Tx = UdpTx;

    fn split(self) -> (UdpRx, UdpTx) {
        let batch = RecvBatch::new(BATCH, HEADROOM_OCTETS, PAYLOAD_OCTETS);
        let rx = UdpRx { sockets: self.receivers, gathered: self.gathered, next: 0, batch };
        let tx = UdpTx {
            current_df: vec![self.dont_fragment; self.senders.len()],
            sockets: self.senders,
            ports: self.ports,
            default_df: self.dont_fragment,
            arena: Vec::with_capacity(ARENA_OCTETS),
            queue: Vec::with_capacity(QUEUE),
            scratch: vec![0; PAYLOAD_OCTETS].into_boxed_slice(),
            batch: SendBatch::new(BATCH),
        };
        (rx, tx)
    }
}

/// The receiving half of a [`UdpUnderlay`].
pub struct UdpRx {
    sockets: Vec<Arc<UdpSocket>>,
    gathered: Option<Epoll>,
    next: usize,
    batch: RecvBatch,
}

fn gather(sockets: &[Arc<UdpSocket>]) -> io::Result<Epoll> {
    let epoll = Epoll::new()?;
    for socket in sockets {
        epoll.add(socket.as_fd(), 0, Interest::READABLE)?;
    }
    Ok(epoll)
}

impl UnderlayRx for UdpRx {
    fn recv(&mut self) -> io::Result<usize> {
        for _ in 0..self.sockets.len() {
            let socket = &self.sockets[self.next];
            // Each in its turn: a flood at one must not starve the others.
            self.next = (self.next + 1) % self.sockets.len();
            match udp::recv_batch(socket, &mut self.batch) {
                Ok(0) => {}
                Ok(count) => return Ok(count),
                // What the network says of a datagram that we sent (ICMP) is told on this socket; the next call reads on.
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    fn datagram(&mut self, index: usize) -> Datagram<'_> {
        let datagram = self.batch.datagram(index).expect("the index is within the batch");
        Datagram {
            source: datagram.source.ip(),
            tos: datagram.tos,
            payload: datagram.range,
            truncated: datagram.truncated,
            buffer: self.batch.slot_mut(index),
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

/// One copy that waits to be sent.
struct Queued {
    start: usize,
    end: usize,
    socket: usize,
    peer: PeerId,
    address: SocketAddr,
    tos: u8,
    ttl: Option<u8>,
    dont_fragment: bool,
}

/// The sending half of a [`UdpUnderlay`].
pub struct UdpTx {
    sockets: Vec<Arc<UdpSocket>>,
    ports: RangeInclusive<u16>,
    default_df: bool,
    /// The DF bit that each socket sets now.
    current_df: Vec<bool>,
    /// Datagrams that wait, one behind the other; copies of one frame share their octets.
    arena: Vec<u8>,
    queue: Vec<Queued>,
    scratch: Box<[u8]>,
    batch: SendBatch,
}

impl UnderlayTx for UdpTx {
    fn push(&mut self, frame: &[u8], work: Work, outer: &Outer, targets: &[Target], tally: &mut dyn Tally) {
        // The scratch buffer is lent to the cutter while its segments go into the arena.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut fits = false;
        work.finish_copy(frame, &mut scratch, |segment| {
            fits = true;
            self.enqueue(segment, outer, targets, tally);
        });
        self.scratch = scratch;
        if !fits {
            targets.iter().for_each(|target| tally.dropped(target.peer, DropReason::TooBig));
        }
    }

    fn flush(&mut self, tally: &mut dyn Tally) -> io::Result<()> {
        self.send(tally);
        Ok(())
    }
}

impl UdpTx {
    fn enqueue(&mut self, segment: &[u8], outer: &Outer, targets: &[Target], tally: &mut dyn Tally) {
        let octets = vxlan::HEADER_OCTETS + segment.len();
        let socket =
            usize::from(flow::source_port(outer.flow_hash, self.ports.clone()) - *self.ports.start());
        let width = usize::from(self.ports.end() - self.ports.start()) + 1;
        let socket = socket * self.sockets.len() / width;
        let mut built = None;
        for target in targets {
            if octets > PAYLOAD_OCTETS {
                tally.dropped(target.peer, DropReason::TooBig);
                continue;
            }
            if self.queue.len() == QUEUE || self.arena.len() + octets > ARENA_OCTETS {
                self.send(tally);
                built = None;
            }
            let start = match built {
                Some((vni, start)) if vni == target.vni => start,
                _ => {
                    let start = self.arena.len();
                    let mut header = [0; vxlan::HEADER_OCTETS];
                    vxlan::encap(target.vni, &mut header);
                    self.arena.extend_from_slice(&header);
                    self.arena.extend_from_slice(segment);
                    built = Some((target.vni, start));
                    start
                }
            };
            self.queue.push(Queued {
                start,
                end: start + octets,
                socket,
                peer: target.peer,
                address: target.address,
                tos: outer.tos,
                ttl: outer.ttl,
                dont_fragment: outer.dont_fragment.unwrap_or(self.default_df),
            });
        }
    }

    /// Sends all that waits: one call for each run of copies of one socket.
    fn send(&mut self, tally: &mut dyn Tally) {
        let mut at = 0;
        let mut patience = true;
        while let Some(first) = self.queue.get(at) {
            let (socket, df) = (first.socket, first.dont_fragment);
            if df != self.current_df[socket] {
                self.switch_df(socket, df);
            }
            let run =
                self.queue[at..].iter().take_while(|copy| copy.socket == socket && copy.dont_fragment == df);
            let arena = &self.arena;
            let outcome = udp::send_batch(
                &self.sockets[socket],
                &mut self.batch,
                run.map(|copy| Message {
                    tos: Some(copy.tos),
                    ttl: copy.ttl,
                    ..Message::new(copy.address, &arena[copy.start..copy.end])
                }),
            );
            for copy in &self.queue[at..at + outcome.sent] {
                tally.sent(copy.peer, copy.end - copy.start - vxlan::HEADER_OCTETS);
            }
            at += outcome.sent;
            let (Some(error), Some(copy)) = (outcome.error, self.queue.get(at)) else { continue };
            if error.kind() == ErrorKind::WouldBlock {
                if patience && wait_writable(&self.sockets[socket], SEND_PATIENCE) {
                    continue;
                }
                patience = false;
            }
            tally.dropped(copy.peer, drop_reason(&error));
            at += 1;
        }
        self.queue.clear();
        self.arena.clear();
    }

    fn switch_df(&mut self, socket: usize, set: bool) {
        // IPv6 has no such bit; a refusal there changes nothing.
        let _ = self.sockets[socket].set_dont_fragment(dont_fragment(set));
        self.current_df[socket] = set;
    }
}

/// Whether an error of a receiving call tells of one datagram and not of the socket.
fn is_passing(error: &io::Error) -> bool {
    !matches!(Errno::from_io_error(error), Some(Errno::BADF | Errno::NOTSOCK | Errno::FAULT | Errno::INVAL))
}

/// Whether there is room in the socket's send buffer within `patience`.
fn wait_writable(socket: &UdpSocket, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
    poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&timeout)).is_ok_and(|ready| ready > 0)
}

fn drop_reason(error: &io::Error) -> DropReason {
    match Errno::from_io_error(error) {
        Some(Errno::MSGSIZE) => DropReason::TooBig,
        Some(Errno::PERM | Errno::ACCESS) => DropReason::UnderlayRefused,
        Some(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => DropReason::UnderlayFull,
        _ => DropReason::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dropped(Vec<DropReason>);

    impl Tally for Dropped {
        fn sent(&mut self, _peer: PeerId, _octets: usize) {}

        fn dropped(&mut self, _peer: PeerId, reason: DropReason) {
            self.0.push(reason);
        }
    }

    fn loopback() -> UdpConfig {
        UdpConfig::new("127.0.0.1:0".parse().unwrap())
    }

    #[test]
    fn a_range_that_holds_no_source_port_is_refused() {
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        for range in [60_000..=50_000, 0..=10] {
            let config = UdpConfig { source_port: SourcePort::Hash(range), ..loopback() };
            assert_eq!(UdpUnderlay::bind(&config).err().unwrap().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_frame_too_long_to_be_finished_is_counted_as_too_big() {
        let peer = segment_with_a_peer();
        let (_, mut tx) = UdpUnderlay::bind(&loopback()).unwrap().split();
        let address = "127.0.0.1:9".parse().unwrap();
        let target = Target { peer, address, vni: vxgate_codec::Vni::MAX };
        let mut tally = Dropped(Vec::new());
        let work = Work::Checksum(vxgate_offload::ChecksumAt { start: 34, offset: 16 });
        for work in [Work::Done, work] {
            tx.push(&vec![0; PAYLOAD_OCTETS + 4], work, &Outer::default(), &[target], &mut tally);
        }
        assert_eq!(tally.0, [DropReason::TooBig; 2]);
    }

    fn segment_with_a_peer() -> PeerId {
        let mut segment = vxgate_core::Segment::new(vxgate_core::SegmentConfig::default());
        let remote = vxgate_core::Remote::new("192.0.2.1".parse().unwrap());
        segment.peer_add(remote, vxgate_core::Timestamp::default()).unwrap()
    }
}
