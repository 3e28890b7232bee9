//! An underlay of UDP sockets.
//!
//! What the kernel does for many datagrams at once is used where it can be: `UDP_GRO` on receipt, `UDP_SEGMENT` for sending.
//! [`UdpOffload`] says what is in force.
//!
//! One socket at the local address and port receives. It also sends, unless another source port was asked for:
//! then one socket (`SourcePort::Fixed`) or a pool (`SourcePort::Hash`) sends, and what arrives there is discarded by a
//! filter in the kernel. Each of several workers has such sockets; they share the ports. A multicast group has a receiving socket of its own, bound to the group.

mod errors;
mod groups;
mod hub;
mod receive;
mod send;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vxgate_sys::epoll::Epoll;
use vxgate_sys::udp::{self, DontFragment, SEGMENTS_FLOOR, UdpOptions, UdpSocket, Want};

pub use self::errors::{Fate, UdpErrorReader, UdpErrors, UnderlayReport};
pub(crate) use self::hub::LaneRx;
pub use self::hub::{HUB_SEGMENTS, HubReports, UdpHub};
use self::receive::{UdpRx, gather};
pub(crate) use self::send::UdpTx;
use crate::underlay::Underlay;

/// Sockets in the pool of source ports. Sixteen flows over 64 ports share one seldom enough for the ECMP paths and
/// receive queues that the entropy is for, and each socket costs a descriptor and a kilobyte.
pub const SOURCE_PORT_POOL: usize = 64;

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
    /// Whether the kernel may join and cut datagrams (`UDP_GRO`, `UDP_SEGMENT`), where it can. Default true.
    pub offload: bool,
    /// Whether what the network says of our datagrams is kept for [`UdpErrors`], which then must be read. Default false.
    pub errors: bool,
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
            offload: true,
            errors: false,
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
    offload: Arc<UdpOffload>,
}

/// What the kernel does for many datagrams at once. It may change while the tunnel runs: what is refused is not tried again.
#[derive(Debug)]
pub struct UdpOffload {
    segment: AtomicBool,
    segments_max: usize,
    gro: bool,
}

impl UdpOffload {
    /// Asks the sockets; the receiving ones join datagrams from now on.
    fn probe(config: &UdpConfig, receivers: &[Arc<UdpSocket>], senders: &[Arc<UdpSocket>]) -> Self {
        // The kernel cuts nothing for a socket that sends no checksums.
        let segment =
            config.offload && config.checksum && senders.iter().all(|socket| socket.supports_segment());
        let gro = config.offload && receivers.iter().all(|socket| socket.supports_gro());
        // A socket that refuses what it said it could do goes on without.
        let gro = gro && receivers.iter().all(|socket| socket.set_gro(true).is_ok());
        Self {
            segment: AtomicBool::new(segment),
            segments_max: senders.first().map_or(SEGMENTS_FLOOR, |socket| socket.segments_max()),
            gro,
        }
    }

    /// Whether one send is cut into many datagrams (`UDP_SEGMENT`).
    #[must_use]
    pub fn segment(&self) -> bool {
        self.segment.load(Ordering::Relaxed)
    }

    /// Datagrams that one send may become.
    #[must_use]
    pub const fn segments_max(&self) -> usize {
        self.segments_max
    }

    /// Whether received datagrams come joined (`UDP_GRO`).
    #[must_use]
    pub const fn gro(&self) -> bool {
        self.gro
    }

    /// The kernel or the device would not cut: from now on each datagram is a message of its own.
    fn refuse_segment(&self, error: &io::Error) {
        if self.segment.swap(false, Ordering::Relaxed) {
            tracing::warn!(%error, "the kernel refuses to cut datagrams (UDP_SEGMENT): sending them one by one");
        }
    }
}

impl UdpUnderlay {
    /// Opens the sockets.
    ///
    /// # Errors
    /// The port is taken, the address is not this host's, the link does not exist, a group cannot be joined;
    /// `InvalidInput` where the range of source ports is empty or holds port 0.
    pub fn bind(config: &UdpConfig) -> io::Result<Self> {
        let mut only = Self::bind_workers(config, 1)?;
        only.pop().ok_or_else(|| ErrorKind::InvalidInput.into())
    }

    /// Opens the sockets for this many workers. Each has a receiving socket of its own at the same address (`SO_REUSEPORT`): the
    /// kernel gives it a share of the flows, by a hash of a datagram's addresses and ports, so that no flow changes its worker.
    /// Datagrams that all have one source port, as those of a peer that pins it, all go to one worker. Multicast groups are
    /// the first one's.
    ///
    /// A range of source ports is parted among the workers.
    ///
    /// # Errors
    /// As [`UdpUnderlay::bind`]; `InvalidInput` for a range of fewer source ports than workers.
    pub fn bind_workers(config: &UdpConfig, workers: usize) -> io::Result<Vec<Self>> {
        let mut opened: Vec<Sockets> = Vec::with_capacity(workers);
        for worker in 0..workers {
            let sockets = Sockets::open(config, opened.first(), worker, workers)?;
            opened.push(sockets);
        }
        let receivers: Vec<_> = opened.iter().flat_map(|sockets| sockets.receivers.clone()).collect();
        let senders: Vec<_> = opened.iter().flat_map(|sockets| sockets.senders.clone()).collect();
        // What goes to a group leaves where its members are: the routing table need not know.
        for (_, link) in config.groups.iter().filter(|(_, link)| *link != 0) {
            senders.iter().try_for_each(|sender| sender.set_multicast_interface(*link))?;
        }
        let offload = Arc::new(UdpOffload::probe(config, &receivers, &senders));
        let underlay = |sockets: Sockets| {
            let Sockets { main, receivers, senders, ports } = sockets;
            let gathered = if receivers.len() > 1 { Some(gather(&receivers)?) } else { None };
            let (dont_fragment, offload) = (config.dont_fragment, Arc::clone(&offload));
            Ok(Self { main, receivers, gathered, senders, ports, dont_fragment, offload })
        };
        opened.into_iter().map(underlay).collect()
    }

    /// What the kernel does for many datagrams at once, now and while the tunnel runs.
    #[must_use]
    pub fn offload(&self) -> Arc<UdpOffload> {
        Arc::clone(&self.offload)
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

/// The sockets of one worker.
struct Sockets {
    main: Arc<UdpSocket>,
    receivers: Vec<Arc<UdpSocket>>,
    senders: Vec<Arc<UdpSocket>>,
    ports: RangeInclusive<u16>,
}

impl Sockets {
    /// Opens those of worker number `worker` of `workers`; `first` is the first one's.
    fn open(
        config: &UdpConfig,
        first: Option<&Sockets>,
        worker: usize,
        workers: usize,
    ) -> io::Result<Sockets> {
        let options = |local: SocketAddr, only_send: bool| UdpOptions {
            device: config.device.clone(),
            receive_buffer_octets: (!only_send).then_some(config.receive_buffer_octets),
            send_buffer_octets: Some(config.send_buffer_octets),
            checksum: config.checksum,
            dont_fragment: dont_fragment(config.dont_fragment),
            want: Want { tos: !only_send, ..Want::default() },
            errors: config.errors,
            only_send,
            ..UdpOptions::new(local)
        };
        // The first one finds out whether somebody else has the port; then all of them share it.
        let shared = |local: SocketAddr, only_send: bool| -> io::Result<Arc<UdpSocket>> {
            let options = UdpOptions { reuse_port: first.is_some(), ..options(local, only_send) };
            let socket = udp::bind(&options)?;
            if workers > 1 {
                socket.share_port()?;
            }
            Ok(Arc::new(socket))
        };
        // The kernel may have chosen the port.
        let local = first.map_or(Ok(config.local), |first| first.main.local_addr())?;
        let main = shared(local, false)?;
        let port = main.local_addr()?.port();
        let at = |port: u16| SocketAddr::new(config.local.ip(), port);
        let (senders, ports) = match &config.source_port {
            SourcePort::Fixed(fixed) if *fixed == port || *fixed == config.local.port() => {
                (vec![Arc::clone(&main)], port..=port)
            }
            SourcePort::Fixed(fixed) => (vec![shared(at(*fixed), true)?], *fixed..=*fixed),
            SourcePort::Hash(range) => {
                let range = part(range, worker, workers)?;
                let sender = |port: u16| Ok(Arc::new(udp::bind(&options(at(port), true))?));
                (bind_pool(&range, port, SOURCE_PORT_POOL.div_ceil(workers), sender)?, range)
            }
        };
        let mut receivers = vec![Arc::clone(&main)];
        // Every socket that joined a group gets a copy of what is sent to it.
        for (group, link) in config.groups.iter().filter(|_| first.is_none()) {
            let socket = udp::bind(&UdpOptions {
                reuse_address: true,
                ..options(SocketAddr::new(*group, port), false)
            })?;
            socket.join_multicast(*group, *link)?;
            receivers.push(Arc::new(socket));
        }
        Ok(Sockets { main, receivers, senders, ports })
    }
}

/// The part of a range of source ports that one worker of several has.
fn part(range: &RangeInclusive<u16>, worker: usize, workers: usize) -> io::Result<RangeInclusive<u16>> {
    let width = (usize::from(*range.end()) + 1).saturating_sub(usize::from(*range.start()));
    if width < workers || range.contains(&0) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "no range of source ports"));
    }
    // Both are less than the width of a range of 16-bit numbers.
    let (first, last) = (worker * width / workers, (worker + 1) * width / workers - 1);
    Ok(range.start() + first as u16..=range.start() + last as u16)
}

/// The kernel's own path MTU is never obeyed: it takes any ICMP error for true, for ten minutes, and would keep back the very
/// probes that find out a forged one. The segment has its own ([`vxgate_core::Limits`]).
const fn dont_fragment(set: bool) -> DontFragment {
    if set { DontFragment::Probe } else { DontFragment::Unset }
}

/// Binds up to `most` ports, spread over the range, which is not empty; a taken port is passed over.
fn bind_pool(
    range: &RangeInclusive<u16>,
    receive_port: u16,
    most: usize,
    bind: impl Fn(u16) -> io::Result<Arc<UdpSocket>>,
) -> io::Result<Vec<Arc<UdpSocket>>> {
    let width = usize::from(range.end() - range.start()) + 1;
    let wanted = width.min(most);
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

    fn local(&self) -> Option<SocketAddr> {
        self.local_addr().ok()
    }

    fn split(self) -> (UdpRx, UdpTx) {
        (
            UdpRx::new(self.receivers, self.gathered),
            UdpTx::new(self.senders, self.ports, self.dont_fragment, self.offload),
        )
    }
}

#[cfg(test)]
mod tests;
