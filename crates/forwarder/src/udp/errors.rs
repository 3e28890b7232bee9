//! What the network says of datagrams that we sent: ICMP errors and refusals of this host, read beside the way of the frames.
//!
//! ```text
//!   router or host ── ICMP ──► socket's error queue ──► UdpErrors::read ──► UnderlayReport::peer ──► Segment, or ignored
//! ```
//!
//! VXLAN has no authentication, and neither has ICMP: whoever knows this host's address, its port and a peer's address can make
//! up an error that the kernel takes for one of this socket's. What it quotes must therefore be a datagram of this very tunnel, and
//! what it says is a hint, never a fact.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::io::Errno;
use vxgate_codec::{Vni, vxlan};
use vxgate_core::Segment;
use vxgate_sys::epoll::{Epoll, Events, Interest};
use vxgate_sys::eventfd::EventFd;
use vxgate_sys::udp::{ErrorOrigin, QueuedError, UdpSocket};

use super::UdpUnderlay;
use crate::OnStart;
use crate::too_big::Allowance;
use crate::worker::Clock;

/// Sockets that are looked at after one wait; more come with the next.
const SOCKETS: usize = 16;

/// For how long nothing is heard where more is said than the kernel itself would say: what is queued takes its room from the frames.
/// Not much longer than the span of the hints by which a peer is given up that is not asked.
const DEAF: Duration = Duration::from_millis(250);

/// What tells the thread to end from the sockets.
const STOP: u64 = u64::MAX;

/// The error queues of a tunnel's sockets. Needs [`UdpConfig::errors`](super::UdpConfig::errors).
///
/// Whoever asks for errors has to read them: a queue that nobody reads wakes the worker of its socket again and again.
pub struct UdpErrors {
    sockets: Vec<Arc<UdpSocket>>,
    epoll: Epoll,
    /// Sockets whose queue may hold something.
    pending: Vec<usize>,
}

impl UdpErrors {
    /// Those of these underlays, which may be in use by then.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn of(underlays: &[UdpUnderlay]) -> io::Result<Self> {
        let mut sockets: Vec<Arc<UdpSocket>> = Vec::new();
        for socket in underlays.iter().flat_map(|underlay| underlay.receivers.iter().chain(&underlay.senders))
        {
            if !sockets.iter().any(|known| Arc::ptr_eq(known, socket)) {
                sockets.push(Arc::clone(socket));
            }
        }
        let epoll = Epoll::new()?;
        for (index, socket) in sockets.iter().enumerate() {
            // Errors are reported without being asked for, and nothing else is.
            epoll.add(socket.as_fd(), index as u64, Interest::NONE)?;
        }
        Ok(Self { sockets, epoll, pending: Vec::with_capacity(SOCKETS) })
    }

    /// The next report, without waiting; `None` when there is none.
    ///
    /// # Errors
    /// None that a peer can cause.
    pub fn read(&mut self) -> io::Result<Option<UnderlayReport>> {
        loop {
            if let Some(report) = self.read_pending()? {
                return Ok(Some(report));
            }
            self.look(Some(Duration::ZERO))?;
            if self.pending.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Reads in a thread of its own, which does `on_start` first and ends when what is returned is dropped, and hands each report to `hear`. The thread
    /// reads no faster than `hear` returns; the kernel loses what finds no room meanwhile. Of a flood, more than 50 at once or 1000 a
    /// second, the rest is not heard, nor what is said in the next quarter of a second.
    ///
    /// # Errors
    /// The system gives no thread or no descriptor.
    pub fn spawn(
        mut self,
        on_start: Option<OnStart>,
        mut hear: impl FnMut(UnderlayReport) + Send + 'static,
    ) -> io::Result<UdpErrorReader> {
        let stop = Arc::new(EventFd::new()?);
        self.epoll.add(&*stop, STOP, Interest::READABLE)?;
        let name = "vxgate-errors";
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            on_start.map_or(Ok(()), |first| first.run(name))?;
            let (clock, mut allowance) = (Clock::start(), Allowance::FULL);
            loop {
                if self.look(None)? {
                    return Ok(());
                }
                while let Some(report) = self.read_pending()? {
                    if allowance.take(clock.elapsed()) {
                        hear(report);
                    } else if self.rest()? {
                        return Ok(());
                    }
                }
            }
        })?;
        Ok(UdpErrorReader { stop, thread: Some(thread) })
    }

    /// Waits for a queue that holds something; true when the thread shall end.
    fn look(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let mut events = Events::with_capacity(SOCKETS);
        self.epoll.wait(&mut events, timeout)?;
        let tokens = events.iter().map(|event| event.token);
        self.pending.extend(tokens.filter(|token| *token != STOP).map(|token| token as usize));
        Ok(events.iter().any(|event| event.token == STOP))
    }

    /// Hears nothing for a while, and forgets what was said; true when the thread shall end.
    fn rest(&mut self) -> io::Result<bool> {
        for socket in &self.sockets {
            socket.queue_errors(false)?;
            socket.take_error()?;
        }
        self.pending.clear();
        let ends = self.look(Some(DEAF))?;
        self.sockets.iter().try_for_each(|socket| socket.queue_errors(true))?;
        Ok(ends)
    }

    /// The next report of the queues that may hold one.
    fn read_pending(&mut self) -> io::Result<Option<UnderlayReport>> {
        while let Some(socket) = self.pending.last().and_then(|index| self.sockets.get(*index)) {
            match socket.error_queue_read()? {
                Some(error) => {
                    if let Some(report) = UnderlayReport::of(&error) {
                        return Ok(Some(report));
                    }
                }
                None => {
                    // An error without an entry of the queue would be reported for ever.
                    socket.take_error()?;
                    self.pending.pop();
                }
            }
        }
        Ok(None)
    }
}

/// A thread that reads error queues; dropping this ends it, and waits for it.
pub struct UdpErrorReader {
    stop: Arc<EventFd>,
    /// None once it is joined.
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Drop for UdpErrorReader {
    fn drop(&mut self) {
        // An event that cannot take another count is readable already; who reads errors has nothing to say at the end.
        let _ = self.stop.signal();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl AsFd for UdpErrors {
    /// Becomes readable when [`UdpErrors::read`] may find something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// What the network says of one datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderlayReport {
    /// Where the datagram was going.
    pub to: SocketAddr,
    /// What became of it.
    pub fate: Fate,
    quote: Quote,
}

/// What became of a datagram, as somebody on its way says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There is no way to that address, or nobody listens there: ICMP type 3 but for code 4 (RFC 792), ICMPv6 type 1 (RFC 4443).
    Unreachable,
    /// It is too long for the path: ICMP type 3 code 4 (RFC 1191), ICMPv6 type 2, or this host's own word.
    TooBig {
        /// What fits, in octets of IP; 0 where an old router does not say.
        mtu_octets: u32,
    },
    /// Something else, as that it went in a circle.
    Other,
}

/// How much of our datagram the report quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    /// This host says so itself.
    Local,
    /// A VXLAN header with this VNI.
    Vxlan(Vni),
    /// Too little to tell, or nothing that we send.
    Foreign,
}

impl UnderlayReport {
    fn of(error: &QueuedError) -> Option<UnderlayReport> {
        let quote = match error.origin {
            ErrorOrigin::Local => Quote::Local,
            ErrorOrigin::Icmp => vxlan::Header::parse(&error.payload)
                .map_or(Quote::Foreign, |header| Quote::Vxlan(header.vni())),
            ErrorOrigin::Other => return None,
        };
        let fate = match (error.mtu, Errno::from_raw_os_error(error.errno)) {
            (Some(mtu_octets), _) => Fate::TooBig { mtu_octets },
            (
                None,
                Errno::CONNREFUSED
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::ACCESS
                | Errno::PROTO
                | Errno::NOPROTOOPT,
            ) if !is_time_exceeded(error) => Fate::Unreachable,
            (None, _) => Fate::Other,
        };
        Some(UnderlayReport { to: error.destination?, fate, quote })
    }

    /// The peer that the datagram was for, if it was one of this segment: to a configured peer's address and port, with its VNI.
    /// `None` for what somebody made up, or quotes too little of.
    #[must_use]
    pub fn peer(&self, segment: &Segment) -> Option<IpAddr> {
        let own = segment.config();
        let addr = self.to.ip().to_canonical();
        let quoted = segment.peers().filter(|peer| peer.configured && peer.remote.addr == addr).any(|peer| {
            let remote = peer.remote;
            match self.quote {
                Quote::Local => true,
                Quote::Vxlan(vni) => {
                    vni == remote.vni.unwrap_or(own.vni) && self.to.port() == remote.port.unwrap_or(own.port)
                }
                Quote::Foreign => false,
            }
        });
        quoted.then_some(addr)
    }
}

/// ICMP type 11 and ICMPv6 type 3, which the kernel calls `EHOSTUNREACH` too.
fn is_time_exceeded(error: &QueuedError) -> bool {
    let v6 = error.destination.is_some_and(|destination| destination.is_ipv6());
    error.origin == ErrorOrigin::Icmp && error.icmp_type == if v6 { 3 } else { 11 }
}

#[cfg(test)]
mod tests {
    use vxgate_core::{Remote, SegmentConfig, Timestamp};

    use super::*;

    const PEER: &str = "192.0.2.1:4789";

    /// Port unreachable, as Linux queues it.
    fn error(to: &str, payload: &[u8]) -> QueuedError {
        QueuedError {
            errno: Errno::CONNREFUSED.raw_os_error(),
            origin: ErrorOrigin::Icmp,
            icmp_type: 3,
            icmp_code: 3,
            offender: Some("192.0.2.1".parse().unwrap()),
            destination: Some(to.parse().unwrap()),
            mtu: None,
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn only_what_quotes_a_datagram_of_this_segment_to_a_peer_names_one() {
        let mut segment = Segment::new(SegmentConfig::default());
        segment.peer_add(Remote::new("192.0.2.1".parse().unwrap()), Timestamp::ZERO).unwrap();
        let peer = |to, payload: &[u8]| UnderlayReport::of(&error(to, payload)).unwrap().peer(&segment);
        let ours = [8, 0, 0, 0, 0, 0, 10, 0, 0xff];
        assert_eq!(peer(PEER, &ours), Some("192.0.2.1".parse().unwrap()));
        for (to, payload) in [
            ("192.0.2.1:4790", &ours[..]),
            ("192.0.2.2:4789", &ours),
            (PEER, &[8, 0, 0, 0, 0, 0, 11, 0]),
            (PEER, &[0, 0, 0, 0, 0, 0, 10, 0]),
            (PEER, &ours[..7]),
            (PEER, b"no datagram of ours"),
            (PEER, &[]),
        ] {
            assert_eq!(peer(to, payload), None, "{to} {payload:?}");
        }
    }

    #[test]
    fn a_report_says_what_became_of_the_datagram() {
        let fate = |error: QueuedError| UnderlayReport::of(&error).map(|report| report.fate);
        let payload = [8, 0, 0, 0, 0, 0, 10, 0];
        assert_eq!(fate(error(PEER, &payload)), Some(Fate::Unreachable));
        let host = Errno::HOSTUNREACH.raw_os_error();
        assert_eq!(fate(QueuedError { errno: host, ..error(PEER, &payload) }), Some(Fate::Unreachable));
        let circle = QueuedError { errno: host, icmp_type: 11, icmp_code: 0, ..error(PEER, &payload) };
        assert_eq!(fate(circle), Some(Fate::Other));
        let errno = Errno::MSGSIZE.raw_os_error();
        let too_big = QueuedError { errno, mtu: Some(1400), ..error(PEER, &payload) };
        assert_eq!(fate(too_big), Some(Fate::TooBig { mtu_octets: 1400 }));
        assert_eq!(fate(QueuedError { destination: None, ..error(PEER, &payload) }), None);
        assert_eq!(fate(QueuedError { origin: ErrorOrigin::Other, ..error(PEER, &payload) }), None);
    }
}
