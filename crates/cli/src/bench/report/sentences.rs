//! The report in words.

use super::row::{Plane, Row, Standing, is_compared, main_rows, rounds_missing};
use super::units::{Digits, Figure};
use crate::bench::model::{LinkMode, LoadKind, Report};
use crate::print::units::Count;

/// What came of it, in a sentence or two.
pub(super) fn summary(report: &Report) -> String {
    let rows = main_rows(report);
    if rows.is_empty() {
        return "Nothing was measured.".to_owned();
    }
    let mut clauses: Vec<String> = headline_rows(&rows).into_iter().filter_map(clause).collect();
    if let Some(first) = clauses.first_mut().filter(|_| is_compared(report)) {
        first.push_str(" as the kernel's vxlan device");
    }
    let mut sentences = Vec::new();
    if !clauses.is_empty() {
        sentences.push(format!("vxgate {}.", enumerated(&clauses)));
    }
    sentences.extend(standings(&rows));
    if !is_compared(report) {
        sentences.push("The kernel's device was not measured beside it.".to_owned());
    }
    sentences.join(" ")
}

/// The loads that tell most: one TCP stream, the smallest datagrams, an undisturbed round trip, connections; without
/// them the first there is.
fn headline_rows<'a>(rows: &[Row<'a>]) -> Vec<Row<'a>> {
    let kinds = [LoadKind::Tcp, LoadKind::UdpFlat, LoadKind::RoundTripIdle, LoadKind::Connections];
    let measured = || rows.iter().filter(|row| row.figure(Plane::Vxgate).is_some());
    let smallest = |kind| {
        let of_kind = measured().filter(|row| row.load.kind == kind);
        of_kind.min_by_key(|row| (row.load.payload_octets, row.load.flows)).copied()
    };
    let headline: Vec<_> = kinds.into_iter().filter_map(smallest).collect();
    if headline.is_empty() { measured().take(1).copied().collect() } else { headline }
}

fn clause(row: Row<'_>) -> Option<String> {
    let load = row.load;
    let (times, figure) = match row.ratio() {
        Some(ratio) => (Some(Digits(ratio.middle)), String::new()),
        None => (None, format!("{:#}", Figure(load.unit, row.figure(Plane::Vxgate)?.middle))),
    };
    Some(match load.kind {
        LoadKind::Tcp => {
            let streams = if load.flows == 1 {
                "one TCP stream".to_owned()
            } else {
                format!("{} TCP streams", load.flows)
            };
            match times {
                Some(times) => format!("carries {times} times as much in {streams}"),
                None => format!("carries {figure} in {streams}"),
            }
        }
        LoadKind::UdpFlat | LoadKind::UdpLossless | LoadKind::Imix => {
            let datagrams = match load.payload_octets {
                Some(octets) => format!("UDP datagrams of {octets} octets"),
                None => "UDP datagrams".to_owned(),
            };
            match times {
                Some(times) => format!("delivers {times} times as many {datagrams}"),
                None => format!("delivers {figure} of {datagrams}"),
            }
        }
        LoadKind::RoundTripIdle | LoadKind::RoundTripLoaded => {
            let beside = if load.kind == LoadKind::RoundTripLoaded { " beside a TCP stream" } else { "" };
            match times {
                Some(times) => format!("takes {times} times as long for a round trip{beside}"),
                None => format!("takes {figure} for a round trip{beside}"),
            }
        }
        LoadKind::Connections => match times {
            Some(times) => format!("carries {times} times as many TCP connections a second"),
            None => format!("carries {figure} of TCP connections"),
        },
    })
}

/// How many loads are on which side.
fn standings(rows: &[Row<'_>]) -> Option<String> {
    let standings: Vec<Standing> = rows.iter().filter_map(Row::standing).collect();
    let of = |standing: Standing, what: &'static str| {
        let count = standings.iter().filter(|other| **other == standing).count();
        (count > 0).then_some((what, count))
    };
    let mut counts = [
        of(Standing::Ahead, "ahead in every round of"),
        of(Standing::Behind, "behind in every round of"),
        of(Standing::Even, "now ahead, now behind in"),
    ]
    .into_iter()
    .flatten();
    let (what, count) = counts.next()?;
    let first = match standings.len() {
        1 => format!("{what} the only load"),
        all if all == count => format!("{what} all {all} loads"),
        all => format!("{what} {count} of the {all} loads"),
    };
    let clauses: Vec<String> =
        [first].into_iter().chain(counts.map(|(what, count)| format!("{what} {count}"))).collect();
    Some(format!("It is {}.", enumerated(&clauses)))
}

/// Why there is less than was asked for, where there is.
pub(super) fn incomplete(report: &Report) -> Option<String> {
    let rounds = report.rounds;
    rounds_missing(report).map(|least| {
        format!(
            "Not measured to the end: some loads have {least} of the {rounds} rounds that were asked for."
        )
    })
}

/// What the link does.
pub(super) fn link(mode: LinkMode) -> &'static str {
    match mode {
        LinkMode::Superframes => "superframes: passed whole, as veth does",
        LinkMode::Wire => "wire: segmentation offloads off, GRO on, as a plain network card",
    }
}

/// What it was measured on.
pub(super) fn machine(report: &Report) -> String {
    format!("{}, {}, Linux {}", report.cpu, Count(report.cpus as u64, "processor"), report.kernel)
}

/// `a`, `a and b`, `a, b and c`.
fn enumerated(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
