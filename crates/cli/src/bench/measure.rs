//! One load over the data plane that carries, once.

use std::num::NonZero;
use std::thread;
use std::time::Duration;

use vxgate_load::udp::{Delivery, Flood, Receivers, SearchSpans, Senders};
use vxgate_load::{Error, Span, Stop, connections, round_trip, tcp, udp};

use super::ground::Ground;
use super::load::Load;
use super::model::{Latency, Sample};

/// Payload octets of the simple Internet mix, in turn: 7 packets of 40 octets at layer 3, 4 of 576 and 1 of 1400, spread
/// evenly, each less its IPv4 and UDP headers of 28.
const IMIX: [usize; 12] = [12, 12, 548, 12, 12, 548, 12, 548, 12, 12, 548, 1372];

/// About how many steps a search takes.
const SEARCH_STEPS: u32 = 13;

/// Points of the curve of round-trip times.
const CURVE_POINTS: u32 = 200;

/// Takes the measurement.
pub(super) fn measure(load: Load, ground: &Ground, span: Span, stop: &Stop) -> Result<Sample, Error> {
    match load {
        Load::Tcp { streams } => {
            let throughput = connect(ground, streams)?.run(span, stop)?;
            let gigabytes = throughput.octets as f64 / 1e9;
            Ok(Sample {
                figure: throughput.bits_per_second(),
                cpu_seconds: per(throughput.busy, gigabytes),
                ..Sample::EMPTY
            })
        }
        Load::UdpFlat { payload_octets, flows } => flat_out(ground, &[payload_octets], flows, span, stop),
        Load::Imix => flat_out(ground, &IMIX, load.flows(), span, stop),
        Load::UdpLossless { payload_octets, flows } => {
            let (receivers, mut senders) = flows_between(ground, flows)?;
            let sizes = [payload_octets];
            match udp::highest_rate(&mut senders, &receivers, &sizes, search_spans(span), stop) {
                // There is a figure: no rate is free of loss.
                Err(Error::Silent) => Ok(Sample::EMPTY),
                found => found.map(delivered),
            }
        }
        Load::RoundTripIdle => {
            let trips = round_trips(ground, load, span, stop)?;
            let millions = trips.count() as f64 / 1e6;
            Ok(Sample { cpu_seconds: per(trips.busy, millions), ..times(&trips) })
        }
        Load::RoundTripLoaded => {
            let stream = connect(ground, 1)?;
            // What the machine spends is the stream's, and nothing for the round trips.
            Ok(times(&stream.carry(|_| round_trips(ground, load, span, stop))?))
        }
        Load::Connections => {
            let at_once = load.flows();
            let acceptor = ground.far.run(|| connections::Acceptor::start(Ground::far_inner(), at_once));
            let acceptor = acceptor.map_err(|source| Error::Io { what: "listen", source })?;
            let measured =
                ground.near.run(|| connections::measure(acceptor.address(), at_once, span, stop))?;
            let millions = measured.completed as f64 / 1e6;
            Ok(Sample {
                figure: measured.per_second(),
                cpu_seconds: per(measured.busy, millions),
                ..Sample::EMPTY
            })
        }
    }
}

/// About how long the measurement takes.
pub(super) fn expected(load: Load, span: Span) -> Duration {
    let whole = |span: Span| span.warm_up + span.measured;
    match load {
        Load::UdpLossless { .. } => {
            let SearchSpans { step, verify } = search_spans(span);
            whole(step) * SEARCH_STEPS + whole(verify)
        }
        Load::Tcp { .. }
        | Load::UdpFlat { .. }
        | Load::Imix
        | Load::RoundTripIdle
        | Load::RoundTripLoaded
        | Load::Connections => whole(span),
    }
}

/// A search takes many short looks: 0.4 s each, and 1 s for the last, where other loads take 3 s.
fn search_spans(span: Span) -> SearchSpans {
    let part = |part: f64| Span {
        warm_up: span.measured.mul_f64(part / 4.0),
        measured: span.measured.mul_f64(part),
    };
    SearchSpans { step: part(0.4 / 3.0), verify: part(1.0 / 3.0) }
}

impl Sample {
    const EMPTY: Sample =
        Sample { figure: 0.0, loss: None, reordered: None, cpu_seconds: None, latency: None };
}

fn connect(ground: &Ground, streams: usize) -> Result<tcp::Streams, Error> {
    let sink = ground.far.run(|| tcp::Sink::listen(Ground::far_inner()));
    let sink = sink.map_err(|source| Error::Io { what: "listen", source })?;
    ground.near.run(|| tcp::connect(&sink, streams))
}

/// The sockets of some flows. Half of the processors may send, and as many receive: with more, the load would take from
/// the data plane what it is to measure.
fn flows_between(ground: &Ground, flows: usize) -> Result<(Receivers, Senders), Error> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let lanes = flows.min(processors / 2).max(1);
    let receivers = ground.far.run(|| Receivers::bind(Ground::far_inner(), lanes))?;
    let senders = ground.near.run(|| Senders::bind(Ground::near_inner(), flows, &receivers))?;
    Ok((receivers, senders))
}

fn flat_out(
    ground: &Ground,
    sizes: &[usize],
    flows: usize,
    span: Span,
    stop: &Stop,
) -> Result<Sample, Error> {
    let (receivers, mut senders) = flows_between(ground, flows)?;
    udp::run(&mut senders, &receivers, Flood { sizes, per_second: None }, span, stop).map(delivered)
}

fn delivered(delivery: Delivery) -> Sample {
    Sample {
        figure: delivery.delivered_per_second,
        loss: Some(delivery.loss()),
        reordered: Some(delivery.reordered),
        cpu_seconds: per(delivery.busy, delivery.delivered as f64 / 1e6),
        latency: None,
    }
}

fn round_trips(
    ground: &Ground,
    load: Load,
    span: Span,
    stop: &Stop,
) -> Result<round_trip::RoundTrips, Error> {
    let echo = ground.far.run(|| round_trip::Echo::start(Ground::far_inner()));
    let echo = echo.map_err(|source| Error::Io { what: "bind a UDP socket", source })?;
    let octets = load.payload_octets().unwrap_or_default();
    ground.near.run(|| round_trip::measure(echo.address(), octets, span, stop))
}

fn times(trips: &round_trip::RoundTrips) -> Sample {
    let seconds = |quantile: f64| trips.quantile(quantile).as_secs_f64();
    let total = trips.count() + trips.lost;
    Sample {
        figure: seconds(0.5),
        loss: Some(trips.lost as f64 / total.max(1) as f64),
        latency: Some(Latency {
            p50: seconds(0.5),
            p99: seconds(0.99),
            p999: seconds(0.999),
            count: trips.count(),
            curve: (1..=CURVE_POINTS)
                .map(|point| seconds(f64::from(point) / f64::from(CURVE_POINTS)))
                .collect(),
        }),
        ..Sample::EMPTY
    }
}

/// Seconds for each of `count`.
fn per(busy: Duration, count: f64) -> Option<f64> {
    (count > 0.0).then(|| busy.as_secs_f64() / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_internet_mix_is_seven_to_four_to_one() {
        let count = |octets: usize| IMIX.iter().filter(|size| **size + 28 == octets).count();
        assert_eq!((count(40), count(576), count(1400)), (7, 4, 1));
        assert!(IMIX.iter().all(|size| *size >= udp::PAYLOAD_OCTETS_MIN));
    }
}
