//! UDP flows: flat out, or at a steady rate.
//!
//! Each datagram begins with its flow and its number in it, so that the far end tells what was lost and what came late.

mod receive;
mod send;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use vxgate_sys::udp::{UdpOptions, UdpSocket, bind};

use crate::clock::now;
use crate::error::Error;
use crate::search::{self, Probe};
use crate::sequence::Sequence;
use crate::stop::Stop;
use crate::window::{Span, Window};
use send::Lane;

/// Smallest payload, in octets: the stamp.
pub const PAYLOAD_OCTETS_MIN: usize = STAMP_OCTETS;

/// What counts as carried without loss: less than one in a thousand is lost.
const LOSS_MAX: f64 = 0.001;

/// What the kernel may queue at the far end, in octets: a burst that the data plane delivers at once is not lost for
/// want of a reader.
const RECEIVE_BUFFER_OCTETS: usize = 8 << 20;

/// After the last datagram was sent, the far end has this long without another to call the rest lost.
const QUIET: Duration = Duration::from_millis(40);
/// How often it looks, and how often at most.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS_MAX: u32 = 50;

/// Run (2 octets), flow (2 octets), number (8 octets), in network order.
const STAMP_OCTETS: usize = 12;

/// The far ends of the flows.
#[derive(Debug)]
pub struct Receivers {
    sockets: Vec<UdpSocket>,
    addresses: Vec<SocketAddr>,
}

impl Receivers {
    /// `lanes` sockets at free ports of `address`, in the calling thread's network namespace, each with a thread of its
    /// own while datagrams come.
    ///
    /// # Errors
    /// When the address is not this host's.
    pub fn bind(address: IpAddr, lanes: usize) -> Result<Receivers, Error> {
        let mut options = UdpOptions::new((address, 0).into());
        options.receive_buffer_octets = Some(RECEIVE_BUFFER_OCTETS);
        let bind = || bind(&options).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let bound: Result<Vec<_>, _> = (0..lanes.max(1)).map(|_| bind()).collect();
        let (addresses, sockets) = bound.map_err(Error::io("bind a UDP socket"))?.into_iter().unzip();
        Ok(Receivers { sockets, addresses })
    }
}

/// The near ends of the flows.
#[derive(Debug)]
pub struct Senders {
    lanes: Vec<Lane>,
    /// The number of the run, so that what an earlier one left on its way is not counted.
    run: u16,
}

impl Senders {
    /// `flows` sockets at free ports of `address`, in the calling thread's network namespace, shared out over the lanes
    /// of the receivers; each lane has a thread of its own while datagrams go.
    ///
    /// # Errors
    /// When the address is not this host's.
    pub fn bind(address: IpAddr, flows: usize, receivers: &Receivers) -> Result<Senders, Error> {
        let options = UdpOptions::new((address, 0).into());
        let mut lanes: Vec<Lane> = receivers.addresses.iter().map(|address| Lane::new(*address)).collect();
        let count = lanes.len();
        for flow in 0..flows {
            lanes[flow % count].push(bind(&options).map_err(Error::io("bind a UDP socket"))?);
        }
        Ok(Senders { lanes, run: 0 })
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Flood<'a> {
    /// Payload octets of the datagrams, in turn; each at least [`PAYLOAD_OCTETS_MIN`].
    pub sizes: &'a [usize],
    /// Datagrams a second, over all flows; `None`: as many as go.
    pub per_second: Option<f64>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delivery {
    /// Datagrams that were sent, the warm-up's included.
    pub sent: u64,
    /// Of them, delivered.
    pub received: u64,
    /// Of these, after a later one of their flow.
    pub reordered: u64,
    /// Delivered in the measured time.
    pub delivered: u64,
    /// Sent a second, in the measured time.
    pub sent_per_second: f64,
    /// Delivered a second, in the measured time.
    pub delivered_per_second: f64,
    /// Processor time of the whole machine in the measured time.
    pub busy: Duration,
}

impl Delivery {
    /// The part of what was sent that did not arrive, 0 to 1.
    pub fn loss(&self) -> f64 {
        1.0 - self.received.min(self.sent) as f64 / self.sent.max(1) as f64
    }
}

/// Sends for as long as `span` says, and counts what arrives.
///
/// # Errors
/// [`Error::Interrupted`]; [`Error::Silent`] when nothing was delivered; [`Error::Io`] when the kernel refuses a
/// datagram.
pub fn run(
    senders: &mut Senders,
    receivers: &Receivers,
    flood: Flood<'_>,
    span: Span,
    stop: &Stop,
) -> Result<Delivery, Error> {
    senders.run = senders.run.wrapping_add(1);
    let run = senders.run;
    let lanes = senders.lanes.len();
    let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let (end_sending, end_receiving) = (AtomicBool::new(false), AtomicBool::new(false));
    let (window, refused, sequences) = thread::scope(|scope| {
        let receiving: Vec<_> = receivers
            .sockets
            .iter()
            .map(|socket| scope.spawn(|| receive::lane(socket, run, &received, &end_receiving)))
            .collect();
        let sending: Vec<_> = senders
            .lanes
            .iter_mut()
            .map(|lane| {
                let flood = Flood { per_second: flood.per_second.map(|rate| rate / lanes as f64), ..flood };
                let (sent, end) = (&sent, &end_sending);
                scope.spawn(move || send::lane(lane, run, flood, sent, end))
            })
            .collect();
        let look = || (sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed));
        let window = span.watch(stop, look);
        end_sending.store(true, Ordering::Relaxed);
        let refused = sending.into_iter().filter_map(|thread| thread.join().expect("a sender").err()).next();
        if window.is_ok() {
            drain(&received);
        }
        end_receiving.store(true, Ordering::Relaxed);
        let sequences: Vec<Sequence> =
            receiving.into_iter().flat_map(|thread| thread.join().expect("a receiver")).collect();
        (window, refused, sequences)
    });
    if let Some(error) = refused {
        return Err(Error::Io { what: "send a datagram", source: error });
    }
    let Window { first, last, elapsed, busy } = window?;
    let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    let delivered = last.1 - first.1;
    if delivered == 0 {
        return Err(Error::Silent);
    }
    Ok(Delivery {
        sent: sent.into_inner(),
        received: sequences.iter().map(|sequence| sequence.received).sum(),
        reordered: sequences.iter().map(|sequence| sequence.reordered).sum(),
        delivered,
        sent_per_second: (last.0 - first.0) as f64 / seconds,
        delivered_per_second: delivered as f64 / seconds,
        busy,
    })
}

/// Waits until nothing more arrives.
fn drain(received: &AtomicU64) {
    let (mut last, mut quiet_since) = (received.load(Ordering::Relaxed), now());
    for _ in 0..LOOKS_MAX {
        thread::park_timeout(LOOK);
        let count = received.load(Ordering::Relaxed);
        if count != last {
            (last, quiet_since) = (count, now());
        } else if quiet_since.elapsed() >= QUIET {
            return;
        }
    }
}

/// How long the runs of [`highest_rate`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchSpans {
    /// Each step of the search, of which there are 8 to 16, and the flood before it.
    pub step: Span,
    /// The run that verifies what was found.
    pub verify: Span,
}

/// How far above the rate of a flood the search begins: a sender that never sleeps may take from the data plane what it
/// needs to carry more.
const CEILING: f64 = 1.25;

/// The highest rate at which less than one datagram in a thousand is lost, by bisection; the delivery of the run that
/// verified it.
///
/// # Errors
/// As [`run`]; [`Error::Silent`] when no rate is free of loss.
pub fn highest_rate(
    senders: &mut Senders,
    receivers: &Receivers,
    sizes: &[usize],
    spans: SearchSpans,
    stop: &Stop,
) -> Result<Delivery, Error> {
    let flat_out = run(senders, receivers, Flood { sizes, per_second: None }, spans.step, stop)?;
    let found = search::highest_rate(flat_out.sent_per_second * CEILING, |rate, probe| {
        let span = match probe {
            Probe::Step => spans.step,
            Probe::Verify => spans.verify,
        };
        match run(senders, receivers, Flood { sizes, per_second: Some(rate) }, span, stop) {
            Ok(delivery) if delivery.loss() < LOSS_MAX => Ok(Some(delivery)),
            Ok(_) | Err(Error::Silent) => Ok(None),
            Err(error) => Err(error),
        }
    })?;
    found.ok_or(Error::Silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const SPAN: Span = Span { warm_up: Duration::from_millis(10), measured: Duration::from_millis(60) };

    fn flood(flows: usize, lanes: usize, sizes: &[usize], per_second: Option<f64>) -> Delivery {
        let receivers = Receivers::bind(LOCALHOST, lanes).unwrap();
        let mut senders = Senders::bind(LOCALHOST, flows, &receivers).unwrap();
        run(&mut senders, &receivers, Flood { sizes, per_second }, SPAN, &Stop::new()).unwrap()
    }

    #[test]
    fn a_flood_over_the_loopback_device_is_counted() {
        let delivery = flood(3, 2, &[12, 548, 1372], None);
        assert!(delivery.received > 1000 && delivery.received <= delivery.sent, "{delivery:?}");
        assert!(delivery.delivered > 0 && delivery.delivered <= delivery.received, "{delivery:?}");
        assert_eq!(delivery.reordered, 0, "{delivery:?}");
    }

    #[test]
    fn a_slow_flow_arrives_whole_at_its_rate() {
        let delivery = flood(1, 1, &[18], Some(2000.0));
        assert_eq!((delivery.loss(), delivery.reordered), (0.0, 0), "{delivery:?}");
        // 70 ms of it.
        assert!((40..=142).contains(&delivery.sent), "{delivery:?}");
    }

    #[test]
    fn what_an_earlier_run_left_on_its_way_is_not_counted() {
        let receivers = Receivers::bind(LOCALHOST, 1).unwrap();
        let mut senders = Senders::bind(LOCALHOST, 1, &receivers).unwrap();
        let flood = Flood { sizes: &[18], per_second: Some(1000.0) };
        let stop = Stop::new();
        stop.stop();
        assert!(matches!(run(&mut senders, &receivers, flood, SPAN, &stop), Err(Error::Interrupted)));
        let delivery = run(&mut senders, &receivers, flood, SPAN, &Stop::new()).unwrap();
        assert_eq!(delivery.received, delivery.sent);
    }

    #[test]
    fn a_rate_without_loss_is_found() {
        let receivers = Receivers::bind(LOCALHOST, 1).unwrap();
        let mut senders = Senders::bind(LOCALHOST, 1, &receivers).unwrap();
        let spans = SearchSpans { step: SPAN, verify: SPAN };
        let delivery = highest_rate(&mut senders, &receivers, &[18], spans, &Stop::new()).unwrap();
        assert!(delivery.loss() < LOSS_MAX && delivery.delivered_per_second > 0.0, "{delivery:?}");
    }
}
