//! Round trips: one datagram goes, the same comes back, then the next.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::now;
use crate::error::Error;
use crate::stop::Stop;
use crate::window::{Busy, Span};

/// Fewest round trips that quantiles are made from: 99.9 % of them leaves two.
const COUNT_MIN: usize = 2000;
/// They are waited for no longer than so many times the span.
const PATIENCE_SPANS: u32 = 4;
/// A datagram that does not come back within that is lost.
const LOST_AFTER: Duration = Duration::from_millis(200);
/// How often a blocked thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// Largest payload here, in octets.
const OCTETS_MAX: usize = 2048;

/// Sends every datagram back to where it came from, until it is dropped.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Listens at a free port of `address`, in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the address is not this host's.
    pub fn start(address: IpAddr) -> io::Result<Echo> {
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_read_timeout(Some(LOOK))?;
        let address = socket.local_addr()?;
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = thread::Builder::new().name("echo".into()).spawn(move || {
            let mut buffer = [0; OCTETS_MAX];
            while !ended.load(Ordering::Relaxed) {
                if let Ok((octets, asker)) = socket.recv_from(&mut buffer) {
                    // One that cannot be sent is lost, as any.
                    let _ = socket.send_to(&buffer[..octets], asker);
                }
            }
        })?;
        Ok(Echo { address, end, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The round trips of the measured time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundTrips {
    /// How long each took, the shortest first; at least one.
    times: Vec<Duration>,
    /// Datagrams that did not come back within 200 ms.
    pub lost: u64,
    /// Processor time of the whole machine.
    pub busy: Duration,
}

impl RoundTrips {
    /// How many came back.
    pub fn count(&self) -> u64 {
        self.times.len() as u64
    }

    /// The time that a part `quantile` (0 to 1) of the round trips did not exceed: the nearest rank.
    pub fn quantile(&self, quantile: f64) -> Duration {
        self.times[rank(quantile, self.times.len())]
    }
}

/// The index of the nearest rank of `quantile` among `count` (1 or more) sorted values.
fn rank(quantile: f64, count: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank lies within its list"
    )]
    let rank = (quantile.clamp(0.0, 1.0) * count as f64).ceil() as usize;
    rank.clamp(1, count) - 1
}

/// Sends datagrams of `payload_octets` (8 to 2048) to an [`Echo`], one at a time, from the calling thread's network
/// namespace; for longer than `span` where it takes that to get 2000 of them back, but four times as long at most.
///
/// # Errors
/// [`Error::Interrupted`]; [`Error::Silent`] when none came back.
pub fn measure(
    echo: SocketAddr,
    payload_octets: usize,
    span: Span,
    stop: &Stop,
) -> Result<RoundTrips, Error> {
    let any: IpAddr =
        if echo.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).map_err(Error::io("bind"))?;
    socket.connect(echo).map_err(Error::io("connect"))?;
    socket.set_read_timeout(Some(LOST_AFTER)).map_err(Error::io("set a timeout"))?;
    let mut trips = Trips { socket, payload: vec![0; payload_octets.clamp(8, OCTETS_MAX)], number: 0 };

    let start = now();
    while start.elapsed() < span.warm_up {
        trips.go(stop)?;
    }
    let (start, busy) = (now(), Busy::start()?);
    let mut measured = RoundTrips { times: Vec::with_capacity(1 << 16), lost: 0, busy: Duration::ZERO };
    loop {
        let elapsed = start.elapsed();
        let enough = measured.times.len() >= COUNT_MIN || elapsed >= span.measured * PATIENCE_SPANS;
        if elapsed >= span.measured && enough {
            break;
        }
        match trips.go(stop)? {
            Some(time) => measured.times.push(time),
            None => measured.lost += 1,
        }
    }
    measured.busy = busy.spent()?;
    measured.times.sort_unstable();
    if measured.times.is_empty() { Err(Error::Silent) } else { Ok(measured) }
}

struct Trips {
    socket: UdpSocket,
    payload: Vec<u8>,
    number: u64,
}

impl Trips {
    /// One there and back; `None` when it is lost.
    fn go(&mut self, stop: &Stop) -> Result<Option<Duration>, Error> {
        if stop.is_stopped() {
            return Err(Error::Interrupted);
        }
        self.number += 1;
        let number = self.number.to_be_bytes();
        self.payload[..8].copy_from_slice(&number);
        let mut answer = [0; OCTETS_MAX];
        let start = now();
        if self.socket.send(&self.payload).is_err() {
            return Ok(None);
        }
        loop {
            match self.socket.recv(&mut answer) {
                Ok(octets) if octets == self.payload.len() && answer[..8] == number => {
                    return Ok(Some(start.elapsed()));
                }
                // One that was given up comes after all.
                Ok(_) if start.elapsed() < LOST_AFTER => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_nearest_rank() {
        for (quantile, count, index) in [
            (0.5, 1, 0),
            (0.5, 2, 0),
            (0.5, 3, 1),
            (0.5, 100, 49),
            (0.99, 100, 98),
            (0.999, 100, 99),
            (0.999, 1000, 998),
            (0.0, 7, 0),
            (1.0, 7, 6),
            (2.0, 7, 6),
        ] {
            assert_eq!(rank(quantile, count), index, "{quantile} of {count}");
        }
    }

    #[test]
    fn round_trips_over_the_loopback_device_are_counted_and_ordered() {
        let echo = Echo::start([127, 0, 0, 1].into()).unwrap();
        let span = Span { warm_up: Duration::from_millis(5), measured: Duration::from_millis(20) };
        let trips = measure(echo.address(), 18, span, &Stop::new()).unwrap();
        assert!(trips.count() > 0 && trips.lost == 0, "{trips:?}");
        assert!(trips.quantile(0.0) > Duration::ZERO && trips.quantile(0.5) <= trips.quantile(0.99));
        assert!(trips.times.is_sorted());
    }

    #[test]
    fn where_nobody_answers_there_is_no_figure() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
        let span = Span { warm_up: Duration::ZERO, measured: Duration::from_millis(1) };
        let trips = measure(nobody.local_addr().unwrap(), 18, span, &Stop::new());
        assert!(matches!(trips, Err(Error::Silent)), "{trips:?}");
    }
}
