//! A report as a full run makes it, in round figures that are plausible and of no machine.

use crate::bench::model::{Latency, LinkMode, LoadKind, LoadReport, Report, Sample, Unit};

/// Every load, three rounds.
pub(super) fn full() -> Report {
    let mut loads = Vec::new();
    for (streams, vxgate, kernel) in [(1, 7.4e9, 6.1e9), (4, 8.1e9, 7.2e9), (16, 7.7e9, 7.9e9)] {
        let title = format!("TCP, {streams} stream{}", if streams == 1 { "" } else { "s" });
        loads.push(load(&format!("tcp{streams}"), &title, LoadKind::Tcp, (None, streams), (vxgate, kernel)));
    }
    let sizes = [(18, 812e3, 351e3), (512, 705e3, 330e3), (1400, 524e3, 255e3)];
    for (kind, name, title, part) in [
        (LoadKind::UdpFlat, "udp-flat", "UDP flat out", 1.0),
        (LoadKind::UdpLossless, "udp-lossless", "UDP under 0.1 % loss", 0.6),
    ] {
        for (octets, vxgate, kernel) in sizes {
            for (flows, many, more) in [(1, "flow", 1.0), (8, "flows", 1.12)] {
                loads.push(load(
                    &format!("{name}-{octets}-{flows}"),
                    &format!("{title}, {octets} octets, {flows} {many}"),
                    kind,
                    (Some(octets), flows),
                    (vxgate * part * more, kernel * part * more.powi(2)),
                ));
            }
        }
    }
    loads.push(load(
        "imix",
        "UDP flat out, Internet mix, 8 flows",
        LoadKind::Imix,
        (None, 8),
        (690e3, 320e3),
    ));
    loads.push(load("rtt-idle", "Round trip, idle", LoadKind::RoundTripIdle, (Some(18), 1), (46e-6, 24e-6)));
    loads.push(load(
        "rtt-loaded",
        "Round trip beside a TCP stream",
        LoadKind::RoundTripLoaded,
        (Some(18), 1),
        (310e-6, 640e-6),
    ));
    loads.push(load(
        "conn",
        "TCP connections, 8 at once",
        LoadKind::Connections,
        (None, 8),
        (11_800.0, 15_300.0),
    ));
    Report {
        version: "vxgate 0.1.0".to_owned(),
        command: "vxgate bench --load all --wire --html report.html".to_owned(),
        started: "2026-11-24T03:00:00Z".to_owned(),
        kernel: "6.12.1".to_owned(),
        cpu: "Example CPU @ 2.60GHz".to_owned(),
        cpus: 2,
        link: LinkMode::Wire,
        mtu_octets: 1450,
        against: Some("kernel vxlan".to_owned()),
        rounds: 3,
        resident_octets: Some(12_900_000),
        loads,
    }
}

/// The same without anything beside vxgate.
pub(super) fn alone() -> Report {
    let mut report = full();
    report.against = None;
    for load in &mut report.loads {
        load.kernel.clear();
    }
    report
}

/// The same with these loads only.
pub(super) fn only(names: &[&str]) -> Report {
    let mut report = full();
    report.loads.retain(|load| names.contains(&load.name.as_str()));
    assert_eq!(report.loads.len(), names.len());
    report
}

fn load(
    name: &str,
    title: &str,
    kind: LoadKind,
    (payload_octets, flows): (Option<usize>, usize),
    (vxgate, kernel): (f64, f64),
) -> LoadReport {
    let unit = match kind {
        LoadKind::Tcp => Unit::BitsPerSecond,
        LoadKind::UdpFlat | LoadKind::UdpLossless | LoadKind::Imix => Unit::FramesPerSecond,
        LoadKind::RoundTripIdle | LoadKind::RoundTripLoaded => Unit::Seconds,
        LoadKind::Connections => Unit::ConnectionsPerSecond,
    };
    let rounds = |figure: f64, cpu: f64, loss: f64, parts: [f64; 3]| {
        parts.map(|part| sample(kind, figure * part, cpu * part, loss * part)).to_vec()
    };
    LoadReport {
        name: name.to_owned(),
        title: title.to_owned(),
        kind,
        payload_octets,
        flows,
        unit,
        vxgate: rounds(vxgate, 1.5, 0.124, [0.97, 1.0, 1.04]),
        kernel: rounds(kernel, 1.9, 0.582, [1.01, 0.98, 1.0]),
    }
}

fn sample(kind: LoadKind, figure: f64, cpu: f64, loss: f64) -> Sample {
    let plain = Sample { figure, loss: None, reordered: None, cpu_seconds: None, latency: None };
    match kind {
        LoadKind::Tcp => Sample { cpu_seconds: Some(cpu), ..plain },
        LoadKind::UdpFlat | LoadKind::Imix => {
            Sample { loss: Some(loss), reordered: Some(0), cpu_seconds: Some(cpu * 1.4), ..plain }
        }
        LoadKind::UdpLossless => {
            Sample { loss: Some(loss / 1000.0), reordered: Some(0), cpu_seconds: Some(cpu * 2.0), ..plain }
        }
        LoadKind::RoundTripIdle => {
            Sample { loss: Some(0.0), cpu_seconds: Some(cpu * 30.0), latency: Some(latency(figure)), ..plain }
        }
        LoadKind::RoundTripLoaded => Sample { loss: Some(0.0), latency: Some(latency(figure)), ..plain },
        LoadKind::Connections => Sample { cpu_seconds: Some(cpu * 60.0), ..plain },
    }
}

/// Round trips with this median and a tail.
fn latency(p50: f64) -> Latency {
    let at = |quantile: f64| p50 * (0.8 + 0.25 * quantile + 0.15 * -(1.0 - quantile).log10().min(0.0));
    let curve = (1..=200).map(|index| at((f64::from(index) / 200.0).min(0.9999))).collect();
    Latency { p50, p99: at(0.99), p999: at(0.999), count: 60_000, curve }
}
