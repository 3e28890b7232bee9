//! ICMP and ICMPv6 echo from a raw socket.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::digest::fill;
use crate::wait::now;

/// Echo requests to send from the calling thread's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    /// To whom.
    pub destination: IpAddr,
    /// How many; default 3.
    pub count: u16,
    /// Time from one to the next; default 10 ms.
    pub interval: Duration,
    /// Octets of data in each, without the 8-octet ICMP header; default 56, as ping(8).
    pub size: usize,
    /// How long to wait for an answer to the last; default 2 s.
    pub timeout: Duration,
    /// Send IPv4 packets with the "don't fragment" bit, never in pieces; default false. It says nothing to IPv6.
    pub dont_fragment: bool,
    /// TTL or hop limit; default none, the kernel's.
    pub ttl: Option<u8>,
    /// TOS or traffic class, with its ECN bits; default 0.
    pub tos: u8,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PingReport {
    /// Requests sent or refused.
    pub sent: usize,
    /// Requests answered, each counted once.
    pub received: usize,
    /// Answers beyond the first to one request.
    pub duplicates: usize,
    /// Answers whose data is not what was sent.
    pub damaged: usize,
    /// Time from request to answer, in the order in which the answers came.
    pub rtts: Vec<Duration>,
    /// When answers came, the first to each request, in the order in which they came: how long after the first request was sent.
    pub arrivals: Vec<Duration>,
    /// Why this host's kernel refused to send (errno(3)); such a request counts as sent.
    pub refusals: Vec<i32>,
}

impl PingReport {
    /// Whether each request was answered exactly once with the right data, and at least one was sent.
    pub fn all_answered(&self) -> bool {
        self.sent > 0 && self.received == self.sent && self.duplicates == 0 && self.damaged == 0
    }

    /// Whether no request was answered.
    pub fn none_answered(&self) -> bool {
        self.received == 0
    }

    /// The shortest, the mean and the longest time, if there was any answer.
    pub fn min_mean_max(&self) -> Option<(Duration, Duration, Duration)> {
        let count = u32::try_from(self.rtts.len()).ok()?;
        let mean = self.rtts.iter().sum::<Duration>().checked_div(count)?;
        Some((*self.rtts.iter().min()?, mean, *self.rtts.iter().max()?))
    }
}

const HEADER_OCTETS: usize = 8;
const IPV4_HEADER_OCTETS: usize = 20;

/// A request on its way.
struct Pending {
    sent_at: Instant,
    answered: bool,
}

impl Ping {
    /// Three requests of 56 octets, 10 ms apart.
    pub fn new(destination: IpAddr) -> Ping {
        Ping {
            destination,
            count: 3,
            interval: Duration::from_millis(10),
            size: 56,
            timeout: Duration::from_secs(2),
            dont_fragment: false,
            ttl: None,
            tos: 0,
        }
    }

    /// Sends them and waits for the answers. What the network does is in the report.
    ///
    /// # Errors
    /// When no raw socket can be opened here: it takes `CAP_NET_RAW`.
    pub fn run(&self) -> io::Result<PingReport> {
        static NEXT_IDENT: AtomicU16 = AtomicU16::new(1);
        let ident = NEXT_IDENT.fetch_add(1, Ordering::Relaxed) ^ std::process::id() as u16;
        let socket = self.open()?;
        let target = SocketAddr::new(self.destination, 0).into();
        let mut report = PingReport::default();
        let mut pending = Vec::with_capacity(self.count.into());
        let mut next = now();
        for sequence in 0..self.count {
            pending.push(Pending { sent_at: now(), answered: false });
            report.sent += 1;
            if let Err(error) = socket.send_to(&self.request(ident, sequence), &target) {
                report.refusals.push(error.raw_os_error().unwrap_or_default());
            }
            let last = sequence + 1 == self.count;
            next = if last { now() + self.timeout } else { next + self.interval };
            self.collect(&socket, ident, &mut pending, &mut report, next, last)?;
        }
        Ok(report)
    }

    fn open(&self) -> io::Result<Socket> {
        if self.destination.is_ipv4() {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
            socket.set_header_included_v4(self.dont_fragment)?;
            socket.set_tos_v4(self.tos.into())?;
            if let Some(ttl) = self.ttl {
                socket.set_ttl_v4(ttl.into())?;
            }
            Ok(socket)
        } else {
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
            socket.set_tclass_v6(self.tos.into())?;
            if let Some(ttl) = self.ttl {
                socket.set_unicast_hops_v6(ttl.into())?;
            }
            Ok(socket)
        }
    }

    /// RFC 792 and RFC 4443 section 4.1: type, code, checksum, identifier, sequence number, data.
    fn request(&self, ident: u16, sequence: u16) -> Vec<u8> {
        let mut message = vec![0; HEADER_OCTETS + self.size];
        message[0] = if self.destination.is_ipv4() { 8 } else { 128 };
        message[4..6].copy_from_slice(&ident.to_be_bytes());
        message[6..8].copy_from_slice(&sequence.to_be_bytes());
        fill(sequence.into(), &mut message[HEADER_OCTETS..]);
        let IpAddr::V4(destination) = self.destination else {
            // The kernel fills in the checksum of ICMPv6 (RFC 3542 section 3.1).
            return message;
        };
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        if !self.dont_fragment {
            return message;
        }
        // The kernel fills in source, identification, total length and checksum (raw(7)).
        let mut packet = vec![0; IPV4_HEADER_OCTETS];
        packet[0] = 0x45;
        packet[1] = self.tos;
        packet[6] = 0x40;
        packet[8] = self.ttl.unwrap_or(64);
        packet[9] = 1;
        packet[16..20].copy_from_slice(&destination.octets());
        packet.extend(message);
        packet
    }

    /// Takes answers in until `deadline`, or until all have come if no more requests follow.
    fn collect(
        &self,
        socket: &Socket,
        ident: u16,
        pending: &mut [Pending],
        report: &mut PingReport,
        deadline: Instant,
        last: bool,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 65_536];
        let mut reader = socket;
        loop {
            if last && report.received + report.refusals.len() == report.sent {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Ok(());
            }
            // The kernel rounds down, and takes zero for "for ever".
            socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match reader.read(&mut buffer) {
                Ok(length) => self.count(&buffer[..length], ident, pending, report),
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn count(&self, received: &[u8], ident: u16, pending: &mut [Pending], report: &mut PingReport) {
        let (reply_kind, header) = if self.destination.is_ipv4() {
            // An IPv4 raw socket hands over the IP header as well.
            (0, usize::from(received.first().unwrap_or(&0) & 0x0f) * 4)
        } else {
            (129, 0)
        };
        let Some(message) = received.get(header..).filter(|message| message.len() >= HEADER_OCTETS) else {
            return;
        };
        let field = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
        if message[0] != reply_kind || field(4) != ident {
            return;
        }
        let sequence = field(6);
        let first_sent_at = pending.first().map(|first| first.sent_at);
        let Some(request) = pending.get_mut(usize::from(sequence)) else { return };
        let mut data = vec![0; self.size];
        fill(sequence.into(), &mut data);
        if message[HEADER_OCTETS..] != data {
            report.damaged += 1;
        } else if request.answered {
            report.duplicates += 1;
        } else {
            request.answered = true;
            report.received += 1;
            let arrived = now();
            report.rtts.push(arrived.saturating_duration_since(request.sent_at));
            report.arrivals.extend(first_sent_at.map(|first| arrived.saturating_duration_since(first)));
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in octets.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_rfc_792_draws() {
        let ping = Ping { size: 5, ..Ping::new("192.0.2.1".parse().unwrap()) };
        let message = ping.request(0x1234, 7);
        assert_eq!((message.len(), &message[..2]), (13, &[8, 0][..]));
        assert_eq!(message[4..8], [0x12, 0x34, 0, 7]);
        assert_eq!(checksum(&message), 0, "a right checksum sums up to nothing");
    }

    #[test]
    fn answers_are_told_apart_from_strangers_and_from_each_other() {
        let ping = Ping { count: 2, ..Ping::new("::1".parse().unwrap()) };
        let mut pending = [(); 2].map(|()| Pending { sent_at: now(), answered: false });
        let mut report = PingReport { sent: 2, ..PingReport::default() };
        let mut answer = ping.request(9, 1);
        ping.count(&answer, 9, &mut pending, &mut report);
        assert!(report.none_answered(), "the request itself is no answer");
        answer[0] = 129;
        ping.count(&answer, 8, &mut pending, &mut report);
        assert!(report.none_answered(), "of another ping");
        ping.count(&answer, 9, &mut pending, &mut report);
        ping.count(&answer, 9, &mut pending, &mut report);
        assert_eq!((report.received, report.duplicates, report.rtts.len()), (1, 1, 1));
        answer[20] ^= 1;
        ping.count(&answer, 9, &mut pending, &mut report);
        ping.count(&answer[..7], 9, &mut pending, &mut report);
        assert_eq!((report.received, report.damaged), (1, 1));
        assert!(!report.all_answered());
    }
}
