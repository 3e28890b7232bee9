//! What a benchmark measured: the one shape that the table, the JSON and the HTML report are made from.

use serde::Serialize;

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Version of vxgate, as `vxgate --version` prints it.
    pub(crate) version: String,
    /// The command that was given, to repeat it.
    pub(crate) command: String,
    /// When it was started, RFC 3339 in UTC.
    pub(crate) started: String,
    /// `uname -r`.
    pub(crate) kernel: String,
    /// Model name of the processor.
    pub(crate) cpu: String,
    /// Processors that the run could use.
    pub(crate) cpus: usize,
    /// What the link between the two hosts does.
    pub(crate) link: LinkMode,
    /// Inner MTU of both data planes, in octets.
    pub(crate) mtu_octets: u32,
    /// What vxgate is compared with; `None`: nothing (`--against none`, or the kernel has no vxlan).
    pub(crate) against: Option<String>,
    /// Rounds that were asked for; an interrupted run has fewer.
    pub(crate) rounds: usize,
    /// Resident memory of a vxgate at full rate, the most that was seen, in octets.
    pub(crate) resident_octets: Option<u64>,
    /// One for each load, in the order in which they ran.
    pub(crate) loads: Vec<LoadReport>,
}

/// How the link between the hosts is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LinkMode {
    /// The link passes superframes whole, as veth does.
    Superframes,
    /// Segmentation offloads off, GRO on: as a plain NIC.
    Wire,
}

/// One load, over both data planes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LoadReport {
    /// `tcp1`, `udp-flat-18-1`, ...: stable, for programs.
    pub(crate) name: String,
    /// For people: `TCP, 1 stream`.
    pub(crate) title: String,
    /// Which chart it belongs to.
    pub(crate) kind: LoadKind,
    /// Payload octets of each datagram, for UDP loads of one size.
    pub(crate) payload_octets: Option<usize>,
    /// Flows or streams at once.
    pub(crate) flows: usize,
    /// The unit of [`Sample::figure`].
    pub(crate) unit: Unit,
    /// vxgate, one for each round.
    pub(crate) vxgate: Vec<Sample>,
    /// The kernel's device, one for each round; empty without it.
    pub(crate) kernel: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LoadKind {
    /// TCP streams.
    Tcp,
    /// UDP as fast as it goes.
    UdpFlat,
    /// Highest UDP rate with under 0.1 % loss.
    UdpLossless,
    /// UDP in the sizes of the Internet's simple mix (7 x 40, 4 x 576, 1 x 1400 octets at layer 3).
    Imix,
    /// Round trips, nothing else going on.
    RoundTripIdle,
    /// Round trips beside a TCP stream.
    RoundTripLoaded,
    /// TCP connections opened and closed.
    Connections,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    /// Bits of payload a second; more is better.
    BitsPerSecond,
    /// Datagrams delivered a second; more is better.
    FramesPerSecond,
    /// Seconds of a round trip, the median; less is better.
    Seconds,
    /// Connections a second; more is better.
    ConnectionsPerSecond,
}

/// One load over one data plane, once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) figure: f64,
    /// Part of what was sent that did not arrive, 0 to 1, for UDP.
    pub(crate) loss: Option<f64>,
    /// Datagrams that arrived after a later one of their flow, for UDP.
    pub(crate) reordered: Option<u64>,
    /// Processor seconds of the whole machine per gigabyte of payload (TCP) or per million datagrams or round trips.
    pub(crate) cpu_seconds: Option<f64>,
    /// The round trips, for those loads.
    pub(crate) latency: Option<Latency>,
}

/// Quantiles of round-trip times, in seconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) count: u64,
    /// Times at evenly spaced quantiles, ascending: what the chart draws; 0.5 %, 1 %, ... at most 200 of them.
    pub(crate) curve: Vec<f64>,
}

impl LoadReport {
    /// vxgate's figure over the kernel's, for each round in which both were measured.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        self.vxgate
            .iter()
            .zip(&self.kernel)
            .filter(|(_, kernel)| kernel.figure > 0.0)
            .map(|(ours, kernel)| ours.figure / kernel.figure)
            .collect()
    }

    /// The median of [`LoadReport::ratios`].
    pub(crate) fn ratio(&self) -> Option<f64> {
        median(self.ratios())
    }
}

/// The median, or `None` of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
