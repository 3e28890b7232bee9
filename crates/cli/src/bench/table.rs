//! The report as a table of text.

use std::io::{self, Write};

use super::model::{LoadReport, Report, Sample, Unit, median};

/// Prints it.
pub(super) fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    writeln!(
        out,
        "vxgate {}, Linux {}, {} x {}, link {:?}, MTU {}, {} rounds",
        report.version, report.kernel, report.cpus, report.cpu, report.link, report.mtu_octets, report.rounds
    )?;
    writeln!(
        out,
        "{:<20} {:>14} {:>14} {:>7}  {:<24} {:>17} {:>15} {:>9}",
        "load", "vxgate", "kernel", "ratio", "ratios", "cpu vxgate/kernel", "loss v/k", "reordered"
    )?;
    for load in &report.loads {
        line(out, load)?;
    }
    if let Some(octets) = report.resident_octets {
        writeln!(out, "resident memory of vxgate, at most: {:.1} MiB", octets as f64 / 1024.0 / 1024.0)?;
    }
    Ok(())
}

fn line(out: &mut dyn Write, load: &LoadReport) -> io::Result<()> {
    let figure = |samples: &[Sample]| {
        middle(samples, |sample| Some(sample.figure))
            .map_or_else(|| "-".to_owned(), |value| text(load.unit, value))
    };
    let pair = |of: fn(&Sample) -> Option<f64>, scale: f64, digits: usize| {
        let one = |samples: &[Sample]| {
            middle(samples, of).map_or_else(|| "-".to_owned(), |value| format!("{:.digits$}", value * scale))
        };
        format!("{}/{}", one(&load.vxgate), one(&load.kernel))
    };
    let ratios: Vec<String> = load.ratios().iter().map(|ratio| format!("{ratio:.2}")).collect();
    let reordered: u64 = load.vxgate.iter().filter_map(|sample| sample.reordered).sum();
    writeln!(
        out,
        "{:<20} {:>14} {:>14} {:>7}  {:<24} {:>17} {:>15} {:>9}",
        load.name,
        figure(&load.vxgate),
        figure(&load.kernel),
        load.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        ratios.join(" "),
        pair(|sample| sample.cpu_seconds, 1.0, 2),
        pair(|sample| sample.loss, 100.0, 2),
        reordered
    )?;
    for (name, samples) in [("vxgate", &load.vxgate), ("kernel", &load.kernel)] {
        let quantile = |of: fn(&super::model::Latency) -> f64| {
            middle(samples, |sample| sample.latency.as_ref().map(of)).map(|value| text(Unit::Seconds, value))
        };
        if let (Some(p50), Some(p99), Some(p999)) =
            (quantile(|times| times.p50), quantile(|times| times.p99), quantile(|times| times.p999))
        {
            writeln!(out, "  {name}: p50 {p50}, p99 {p99}, p99.9 {p999}")?;
        }
    }
    Ok(())
}

fn middle(samples: &[Sample], of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
    median(samples.iter().filter_map(of).collect())
}

fn text(unit: Unit, value: f64) -> String {
    match unit {
        Unit::BitsPerSecond => format!("{:.2} Gb/s", value / 1e9),
        Unit::FramesPerSecond => format!("{:.1} kpps", value / 1e3),
        Unit::Seconds => format!("{:.1} us", value * 1e6),
        Unit::ConnectionsPerSecond => format!("{value:.0} /s"),
    }
}
