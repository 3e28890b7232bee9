//! What comes back from each peer: datagrams to the tunnel's port and pings of many sizes, none of which may be fragmented.
//!
//! A datagram of zeros is for no VTEP: flag I of the VXLAN header is 0 in it, and RFC 7348 section 5 has it dropped. The network, or a
//! host where nobody listens, answers it with an ICMP error all the same. Pings say which sizes get there; where the peer answers none,
//! only the errors speak. What is not answered is sent again, since one loss is no black hole.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vxgate_codec::vxlan::HEADER_OCTETS;
use vxgate_sys::icmp::IcmpSocket;
use vxgate_sys::udp::{
    self, DontFragment, ErrorOrigin, Message, QueuedError, SendBatch, UdpOptions, UdpSocket, send_batch,
};

use crate::doctor::now;

/// Sizes of packets that paths are known to have or to end at, beside the one that is wanted: jumbo frames of clouds, Ethernet, PPPoE,
/// tunnels in tunnels, the least of IPv6 and of IPv4 (RFC 8200 section 5, RFC 791); and one that passes everywhere.
const LADDER: [u32; 14] = [9001, 8951, 4470, 1500, 1492, 1476, 1450, 1400, 1350, 1280, 1200, 1024, 576, 96];

/// IPv4 or IPv6 header, without options.
const fn ip_header(v6: bool) -> u32 {
    if v6 { 40 } else { 20 }
}

/// UDP header (RFC 768), and the header of an echo request (RFC 792, RFC 4443 section 4.1).
const UDP_HEADER: u32 = 8;
const ECHO_HEADER: usize = 8;

/// After all that was hoped for has come: what may still be on its way, such as an error beside an answer.
const GRACE: Duration = Duration::from_millis(100);

/// What to send to whom.
pub(crate) struct PathPlan {
    /// The peers, of one family.
    pub(crate) peers: Vec<IpAddr>,
    /// The tunnel's port.
    pub(crate) port: u16,
    /// The address to send from.
    pub(crate) local: Option<IpAddr>,
    /// The interface to send by.
    pub(crate) device: Option<String>,
    /// The longest packet of the tunnel, outer IP header included.
    pub(crate) wanted_octets: u32,
    /// When to stop listening.
    pub(crate) until: Instant,
    /// Stop as soon as there is nothing to wait for.
    pub(crate) hurry: bool,
}

/// What came back from one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathFacts {
    /// The peer; none only by default.
    pub(crate) peer: Option<IpAddr>,
    /// The longest packet of the tunnel.
    pub(crate) wanted_octets: u32,
    /// Sizes of pings that left, longest first.
    pub(crate) tried: Vec<u32>,
    /// Sizes of those that were answered.
    pub(crate) answered: Vec<u32>,
    /// The time that the first answer took.
    pub(crate) round_trip: Option<Duration>,
    /// What the network said of datagrams.
    pub(crate) errors: Vec<QueuedError>,
    /// Why this host's kernel did not send a small datagram (errno(3)).
    pub(crate) refused: Option<i32>,
}

impl PathFacts {
    /// Errors that routers or the peer sent.
    pub(crate) fn icmp(&self) -> impl Iterator<Item = &QueuedError> {
        self.errors.iter().filter(|error| error.origin == ErrorOrigin::Icmp)
    }
}

/// Sends to every peer and listens.
pub(crate) fn probe(plan: &PathPlan) -> Vec<PathFacts> {
    let facts = |peer: &IpAddr| PathFacts {
        peer: Some(*peer),
        wanted_octets: plan.wanted_octets,
        ..PathFacts::default()
    };
    let mut paths: Vec<PathFacts> = plan.peers.iter().map(facts).collect();
    let Some(v6) = plan.peers.first().map(IpAddr::is_ipv6) else { return paths };
    let udp = open_udp(plan, v6);
    if let Ok(udp) = &udp {
        send_datagrams(udp, plan, v6, &mut paths);
    }
    let mut pings = Pings::open(plan, v6).ok();
    listen(plan, udp.ok().as_ref(), pings.as_mut(), &mut paths);
    paths
}

fn open_udp(plan: &PathPlan, v6: bool) -> io::Result<UdpSocket> {
    let any: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let options = UdpOptions {
        device: plan.device.clone(),
        dont_fragment: DontFragment::Probe,
        errors: true,
        ..UdpOptions::new(SocketAddr::new(plan.local.unwrap_or(any), 0))
    };
    // Before Linux 5.7 confining a socket to an interface takes CAP_NET_RAW; the routing table may choose the same one.
    udp::bind(&options).or_else(|_| udp::bind(&UdpOptions { device: None, ..options }))
}

fn send_datagrams(socket: &UdpSocket, plan: &PathPlan, v6: bool, paths: &mut [PathFacts]) {
    let headers = ip_header(v6) + UDP_HEADER;
    let long = usize::try_from(plan.wanted_octets.saturating_sub(headers)).unwrap_or(0);
    let zeros = vec![0; long.clamp(HEADER_OCTETS, socket.payload_octets_max())];
    for path in paths {
        let Some(peer) = path.peer else { continue };
        let to = SocketAddr::new(peer, plan.port);
        let mut scratch = SendBatch::new(1);
        let small = send_batch(socket, &mut scratch, [Message::new(to, &zeros[..HEADER_OCTETS])]);
        path.refused = small.error.and_then(|error| error.raw_os_error());
        // What does not fit the interface is in the error queue.
        let _ = send_batch(socket, &mut scratch, [Message::new(to, &zeros)]);
    }
}

/// Echo requests on their way, by sequence number.
struct Pings {
    socket: IcmpSocket,
    v6: bool,
    identifier: u16,
    next: u16,
    pending: BTreeMap<u16, (usize, u32, Instant)>,
    /// Where answers are taken in.
    buffer: Vec<u8>,
}

impl Pings {
    fn open(plan: &PathPlan, v6: bool) -> io::Result<Pings> {
        let socket = IcmpSocket::open(v6)?;
        socket.set_dont_fragment(DontFragment::Probe)?;
        let own = socket.identifier()?;
        if let (Some(local), None) = (plan.local, own) {
            // An address that is not here is another check's to find.
            let _ = socket.bind(local);
        }
        // The kernel's own echo socket chooses it; a raw one shares with every other ping of this host.
        let identifier = own.unwrap_or((std::process::id() & 0xffff) as u16);
        Ok(Pings { socket, v6, identifier, next: 0, pending: BTreeMap::new(), buffer: vec![0; 65_536] })
    }

    /// Sends a request of each size that is not answered yet. Answers are taken in between, so that they do not overflow the socket.
    fn send(&mut self, plan: &PathPlan, paths: &mut [PathFacts]) {
        let sizes = sizes(plan.wanted_octets);
        for index in 0..paths.len() {
            let Some(peer) = paths[index].peer else { continue };
            for &octets in &sizes {
                if paths[index].answered.contains(&octets) {
                    continue;
                }
                let message = self.request(self.next, octets.saturating_sub(ip_header(self.v6)));
                if let Ok(Some(_)) = self.socket.send(&message, peer) {
                    if !paths[index].tried.contains(&octets) {
                        paths[index].tried.push(octets);
                    }
                    self.pending.insert(self.next, (index, octets, now()));
                }
                self.next = self.next.wrapping_add(1);
            }
            self.take(paths);
        }
    }

    /// RFC 792 and RFC 4443 section 4.1: type, code, checksum, identifier, sequence number, data.
    fn request(&self, sequence: u16, octets: u32) -> Vec<u8> {
        let mut message = vec![0; usize::try_from(octets).unwrap_or(0).max(ECHO_HEADER)];
        message[0] = if self.v6 { 128 } else { 8 };
        message[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        message[6..8].copy_from_slice(&sequence.to_be_bytes());
        if !self.v6 {
            // All the rest is zeros, which a sum does not see (RFC 1071). The kernel fills in that of ICMPv6.
            let sum = [0x0800, u32::from(self.identifier), u32::from(sequence)].iter().sum::<u32>();
            let folded = (sum & 0xffff) + (sum >> 16);
            let folded = (folded & 0xffff) + (folded >> 16);
            message[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
        }
        message
    }

    /// Takes every answer that is there.
    fn take(&mut self, paths: &mut [PathFacts]) {
        let answer = if self.v6 { 129 } else { 0 };
        while let Ok(Some((octets, source))) = self.socket.recv(&mut self.buffer, Some(Duration::ZERO)) {
            let Some([kind, 0, _, _, id_0, id_1, sequence_0, sequence_1]) =
                self.buffer[..octets].first_chunk::<ECHO_HEADER>()
            else {
                continue;
            };
            if *kind != answer || u16::from_be_bytes([*id_0, *id_1]) != self.identifier {
                continue;
            }
            let sequence = u16::from_be_bytes([*sequence_0, *sequence_1]);
            let Some((index, size, sent)) = self.pending.get(&sequence) else { continue };
            let path = &mut paths[*index];
            if path.peer == Some(source) && !path.answered.contains(size) {
                path.answered.push(*size);
                path.round_trip = path.round_trip.or_else(|| Some(now().saturating_duration_since(*sent)));
            }
        }
    }
}

/// The sizes to try, longest first.
fn sizes(wanted: u32) -> Vec<u32> {
    let shorter = LADDER.into_iter().filter(|octets| *octets < wanted);
    [wanted].into_iter().chain(shorter).collect()
}

/// How often pings that are not answered are sent: one of a lossy path would pass for a black hole.
const ROUNDS: u32 = 4;

fn listen(plan: &PathPlan, udp: Option<&UdpSocket>, mut pings: Option<&mut Pings>, paths: &mut [PathFacts]) {
    let mut until = plan.until;
    let pause = until.saturating_duration_since(now()) / ROUNDS;
    let mut next_round = now();
    let mut settled = false;
    loop {
        let time = now();
        if time >= until {
            return;
        }
        if time >= next_round {
            next_round = time + pause;
            if let Some(pings) = pings.as_deref_mut() {
                pings.send(plan, paths);
            }
        }
        let mut descriptors = Vec::new();
        descriptors.extend(udp.map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)));
        let icmp = pings.as_deref().map(|pings| pings.socket.as_fd());
        descriptors.extend(icmp.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        if descriptors.is_empty() {
            return;
        }
        let left = until.min(next_round).saturating_duration_since(now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        if let Some(socket) = udp {
            take_errors(socket, paths);
        }
        if let Some(pings) = pings.as_deref_mut() {
            pings.take(paths);
        }
        if plan.hurry && !settled && paths.iter().all(is_settled) {
            settled = true;
            until = until.min(now() + GRACE);
        }
    }
}

/// Whether there is nothing to wait for: an error, or an answer to the longest.
fn is_settled(path: &PathFacts) -> bool {
    path.icmp().next().is_some() || path.answered.contains(&path.wanted_octets) || path.refused.is_some()
}

fn take_errors(socket: &UdpSocket, paths: &mut [PathFacts]) {
    // The socket's own error is one of those in the queue, and would keep it readable.
    let _ = socket.take_error();
    while let Ok(Some(error)) = socket.error_queue_read() {
        let to = error.destination.map(|destination| destination.ip());
        if let Some(path) = paths.iter_mut().find(|path| path.peer == to && to.is_some())
            && !path.errors.contains(&error)
        {
            path.errors.push(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_down_from_the_one_that_is_wanted_and_none_is_tried_twice() {
        assert_eq!(sizes(1500), [1500, 1492, 1476, 1450, 1400, 1350, 1280, 1200, 1024, 576, 96]);
        assert_eq!(sizes(1499)[..2], [1499, 1492]);
        assert_eq!(sizes(9001)[..3], [9001, 8951, 4470]);
        assert_eq!(sizes(118), [118, 96]);
    }

    #[test]
    fn this_host_answers_each_size_and_says_that_nobody_listens() {
        // The port of a socket that is gone: nobody's, most likely, and then the error says so.
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let plan = PathPlan {
            peers: vec![Ipv4Addr::LOCALHOST.into()],
            port,
            local: None,
            device: None,
            wanted_octets: 1500,
            until: now() + Duration::from_secs(10),
            hurry: true,
        };
        let paths = probe(&plan);
        assert_eq!(paths.len(), 1);
        let refused = paths[0].icmp().next().expect("an ICMP error");
        assert_eq!((refused.icmp_type, refused.icmp_code), (3, 3));
        assert_eq!(refused.offender, Some(Ipv4Addr::LOCALHOST.into()));
        // Where this process may ping.
        if IcmpSocket::open(false).is_ok() {
            assert_eq!(paths[0].tried, sizes(1500));
        }
    }
}
