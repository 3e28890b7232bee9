//! The charts of the report: which figures go into which.

use std::collections::BTreeSet;

use super::plot::{
    Axis, Bar, Bars, Caption, Dots, Key, Line, Lines, Look, Mark, Point, Ratio, Row as PlotRow, Section,
    Spread,
};
use super::row::{Group, Plane, Row, main_rows, spread};
use super::units::{Digits, Figure, Prefixed};
use crate::bench::model::{Latency, LoadKind, Report, Unit};
use crate::print::units::Count;

/// One figure of the page: panels that are read together.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// How it is read.
    pub(super) note: &'static str,
    /// What the legend shows; `None`: the data planes are not told apart.
    pub(super) key: Option<Key>,
    /// Beside one another where the page is wide enough.
    pub(super) columns: Vec<Vec<Panel>>,
}

/// A drawing under a title of its own.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) svg: String,
}

impl Panel {
    fn of(caption: Caption, draw: impl FnOnce(Caption) -> Option<String>) -> Option<Panel> {
        Some(Panel { title: caption.title.clone(), svg: draw(caption)? })
    }
}

/// The charts for which there are figures.
pub(super) fn charts(report: &Report) -> Vec<Chart> {
    let rows = main_rows(report);
    let charts = [ratios(&rows), tcp(&rows), udp(&rows), latency(&rows), cpu(&rows)];
    let filled = |mut chart: Chart| {
        chart.columns.retain(|column| !column.is_empty());
        (!chart.columns.is_empty()).then_some(chart)
    };
    charts.into_iter().filter_map(filled).collect()
}

fn look(plane: Plane) -> Look {
    match plane {
        Plane::Vxgate => Look::Solid,
        Plane::Kernel => Look::Dashed,
    }
}

/// Every load's ratio, in two columns: many kinds of load in the one, UDP in the other.
fn ratios(rows: &[Row<'_>]) -> Chart {
    let all = rows.iter().flat_map(Row::ratios);
    // As much room on either side of 1 as a factor of 1.5 takes, at least.
    let axis = Axis::log("vxgate / kernel", all.chain([1.0 / 1.5, 1.5]), round_number);
    let panel = |id: &str, title: &str, groups: &[Group]| {
        let section = |group: &Group| {
            let rows = rows.iter().filter(|row| row.group() == *group);
            let rows: Vec<_> = rows.filter_map(ratio_row).collect();
            (!rows.is_empty()).then(|| Section { heading: Some(short_heading(*group).to_owned()), rows })
        };
        let sections: Vec<_> = groups.iter().filter_map(section).collect();
        let told = sections.iter().flat_map(|section| &section.rows).map(|row| row.content.told.clone());
        let caption = caption(id, title, told);
        Panel::of(caption, |caption| Dots { caption, axis: axis.clone()?, sections }.svg())
    };
    Chart {
        title: "Ratio to the kernel's device",
        note: "One dot for each round, the stroke is their median. On the line at 1 both are equal.",
        key: None,
        columns: vec![
            panel("ratio-tcp", "TCP and round trips", &[Group::Tcp, Group::Connections, Group::RoundTrip]),
            panel("ratio-udp", "UDP", &[Group::UdpFlat, Group::UdpLossless]),
        ]
        .into_iter()
        .map(|panel| panel.into_iter().collect())
        .collect(),
    }
}

fn ratio_row(row: &Row<'_>) -> Option<PlotRow<Ratio>> {
    let ratio = row.ratio()?;
    let each = row.ratios();
    let text = Digits(ratio.middle).to_string();
    let rounds: Vec<String> = each.iter().map(|ratio| Digits(*ratio).to_string()).collect();
    let told = format!("{}: ratio {text} (rounds {})", row.load.title, rounds.join(", "));
    let less = row.load.unit == Unit::Seconds;
    Some(PlotRow { label: row.label(), content: Ratio { each, median: ratio.middle, text, told, less } })
}

/// A round number as short as it can be.
fn round_number(value: f64) -> String {
    if (1e-4..1e6).contains(&value) { value.to_string() } else { format!("{value:e}") }
}

/// What a section is called where labels are narrow.
fn short_heading(group: Group) -> &'static str {
    match group {
        Group::Tcp => "TCP throughput",
        Group::UdpFlat => "Flat out",
        Group::UdpLossless => "Under 0.1 % loss",
        Group::RoundTrip => "Round trip",
        Group::Connections => "TCP connections",
    }
}

fn tcp(rows: &[Row<'_>]) -> Chart {
    let panel = |id: &str, title: &str, what: &str, group: Group| {
        let rows: Vec<_> = rows.iter().filter(|row| row.group() == group).collect();
        let figures = || rows.iter().flat_map(|row| Plane::BOTH.map(|plane| row.figure(plane))).flatten();
        let unit = rows.first()?.load.unit;
        let prefixed = Prefixed::suiting(unit, figures().map(|figure| figure.high).fold(0.0, f64::max));
        let title_below = format!("{what}{}", prefixed.printed());
        let of = |row: &Row<'_>, plane| {
            let figure = row.figure(plane)?;
            Some((scaled(figure, prefixed.factor), Digits(figure.middle / prefixed.factor).to_string()))
        };
        bars(caption_parts(id, title), &title_below, &[(None, rows.clone())], of)
    };
    Chart {
        title: "TCP",
        note: "More is better. The thin line at a bar's end reaches from the least to the greatest round.",
        key: Some(Key::Bar),
        columns: vec![
            panel("tcp", "Throughput by streams", "payload, ", Group::Tcp).into_iter().collect(),
            panel("connections", "Connections opened and closed", "connections, ", Group::Connections)
                .into_iter()
                .collect(),
        ],
    }
}

fn udp(rows: &[Row<'_>]) -> Chart {
    let of_kind =
        |kind| rows.iter().filter(move |row| row.load.kind == kind && row.load.payload_octets.is_some());
    let kinds =
        [(LoadKind::UdpFlat, "flat", "Flat out"), (LoadKind::UdpLossless, "lossless", "Under 0.1 % loss")];
    let all = || kinds.iter().flat_map(|(kind, ..)| of_kind(*kind));
    let figures = || all().flat_map(|row| Plane::BOTH.map(|plane| row.figure(plane))).flatten();
    let prefixed =
        Prefixed::suiting(Unit::FramesPerSecond, figures().map(|figure| figure.high).fold(0.0, f64::max));
    // Of all panels, so that they can be compared.
    let upright = Axis::from_zero(
        format!("datagrams delivered, {}", prefixed.printed()),
        figures().map(|figure| figure.high / prefixed.factor),
    );
    let sizes: Vec<f64> = all().filter_map(|row| Some(row.load.payload_octets? as f64)).collect();
    let across = Axis::at("UDP payload, octets", &sizes);
    let panel = |kind: LoadKind, id: &str, title: &str, flows: usize| {
        let mut told = Vec::new();
        let mut lines = Vec::new();
        for plane in Plane::BOTH {
            let mut points = Vec::new();
            for row in of_kind(kind).filter(|row| row.load.flows == flows) {
                let (Some(octets), Some(figure)) = (row.load.payload_octets, row.figure(plane)) else {
                    continue;
                };
                let text =
                    format!("{}, {octets} octets: {}", plane.name(), spread_text(row.load.unit, figure));
                told.push(text.clone());
                let upright = scaled(figure, prefixed.factor);
                let label = Digits(upright.middle).to_string();
                points.push(Point { across: octets as f64, upright, mark: Some(Mark { label, told: text }) });
            }
            points.sort_by(|a, b| a.across.total_cmp(&b.across));
            lines.push(Line { look: look(plane), points });
        }
        let title = format!("{title}, {}", Count(flows as u64, "flow"));
        let caption = caption(&format!("udp-{id}-{flows}"), &title, told);
        let (across, upright) = (across.clone()?, upright.clone()?);
        Panel::of(caption, |caption| Lines { caption, across, upright, lines }.svg())
    };
    let flows: BTreeSet<usize> = all().map(|row| row.load.flows).collect();
    let column =
        |(kind, id, title)| flows.iter().filter_map(|flows| panel(kind, id, title, *flows)).collect();
    Chart {
        title: "UDP by frame size",
        note: "Datagrams that arrived each second; more is better. Upright lines reach from the least to the greatest round.",
        key: Some(Key::Line),
        columns: kinds.map(column).into_iter().collect(),
    }
}

fn latency(rows: &[Row<'_>]) -> Chart {
    let kinds = [
        (LoadKind::RoundTripIdle, "idle", "Idle"),
        (LoadKind::RoundTripLoaded, "loaded", "Beside a TCP stream"),
    ];
    let curves: Vec<_> = kinds
        .iter()
        .flat_map(|kind| rows.iter().filter(|row| row.load.kind == kind.0).map(move |row| (kind, row)))
        .map(|(kind, row)| (kind, Plane::BOTH.map(|plane| (plane, curve(row, plane)))))
        .collect();
    let times = curves.iter().flat_map(|(_, curves)| curves).flat_map(|(_, points)| points);
    let upright = Axis::log("round trip", times.map(|point| point.upright.middle), |at| {
        format!("{:#}", Figure(Unit::Seconds, at)).replace(".00 ", " ").replace(".0 ", " ")
    });
    let panel = |id: &str, title: &str, curves: &[(Plane, Vec<Point>); 2]| {
        let marks = curves
            .iter()
            .flat_map(|(_, points)| points)
            .filter_map(|point| Some(point.mark.as_ref()?.told.clone()));
        let caption = caption(&format!("latency-{id}"), title, marks);
        let line =
            |(plane, points): &(Plane, Vec<Point>)| Line { look: look(*plane), points: points.clone() };
        let (across, upright) = (Axis::nines("share of round trips that took no longer"), upright.clone()?);
        let lines = curves.iter().map(line).collect();
        Panel::of(caption, |caption| Lines { caption, across, upright, lines }.svg())
    };
    let column = |((_, id, title), curves): &(&(LoadKind, &str, &str), _)| {
        panel(id, title, curves).into_iter().collect()
    };
    Chart {
        title: "Round-trip times",
        note: "Lower is better, on a logarithmic scale. Marks at the median, 99 % and 99.9 %; medians over the rounds.",
        key: Some(Key::Line),
        columns: curves.iter().map(column).collect(),
    }
}

/// One of the quantiles that have names.
type TimeAt = fn(&Latency) -> f64;

/// The times at each quantile, each the median of the rounds.
fn curve(row: &Row<'_>, plane: Plane) -> Vec<Point> {
    let latencies: Vec<&Latency> =
        row.samples(plane).iter().filter_map(|sample| sample.latency.as_ref()).collect();
    let over_rounds = |of: &dyn Fn(&Latency) -> Option<f64>| {
        spread(latencies.iter().filter_map(|times| of(times))).map(|times| Spread::single(times.middle))
    };
    let count = latencies.iter().map(|times| times.curve.len()).min().unwrap_or(0);
    let mut points = Vec::new();
    for index in 0..count {
        // Rounds may have differently fine curves: each point is at a part of its own round's.
        let part = (index + 1) as f64 / count as f64;
        let of = |times: &Latency| {
            let at = (part * times.curve.len() as f64).round() as usize;
            times.curve.get(at.checked_sub(1)?).copied()
        };
        if let Some(upright) = over_rounds(&of) {
            points.push(Point { across: part, upright, mark: None });
        }
    }
    let marks: [(f64, &str, TimeAt); 3] = [
        (0.5, "50 %", |times| times.p50),
        (0.99, "99 %", |times| times.p99),
        (0.999, "99.9 %", |times| times.p999),
    ];
    for (quantile, name, of) in marks {
        let Some(upright) = over_rounds(&|times| Some(of(times))) else { continue };
        let label = format!("{:#}", Figure(Unit::Seconds, upright.middle));
        let told = format!("{}, {name}: {label}", plane.name());
        points.retain(|point| (point.across - quantile).abs() > 1e-9);
        points.push(Point { across: quantile, upright, mark: Some(Mark { label, told }) });
    }
    points.sort_by(|a, b| a.across.total_cmp(&b.across));
    points
}

fn cpu(rows: &[Row<'_>]) -> Chart {
    let panel = |id: &str, title: &str, groups: &[Group]| {
        let sections: Vec<_> = groups
            .iter()
            .map(|group| {
                let heading = (groups.len() > 1).then(|| short_heading(*group).to_owned());
                (heading, rows.iter().filter(|row| row.group() == *group).collect())
            })
            .collect();
        let title_below = format!("processor seconds for a {}", groups.first()?.cpu_per());
        let of = |row: &Row<'_>, plane| {
            let cpu = row.cpu(plane)?;
            Some((cpu, Digits(cpu.middle).to_string()))
        };
        bars(caption_parts(id, title), &title_below, &sections, of)
    };
    let panels = |panels: Vec<Option<Panel>>| panels.into_iter().flatten().collect();
    Chart {
        title: "Processor time",
        note: "Time for which processors of the machine were busy, the load's own included; less is better.",
        key: Some(Key::Bar),
        columns: vec![
            panels(vec![
                panel("cpu-tcp", "TCP, by streams", &[Group::Tcp]),
                panel("cpu-connections", "TCP connections", &[Group::Connections]),
                panel("cpu-round-trip", "Round trips", &[Group::RoundTrip]),
            ]),
            panels(vec![panel("cpu-udp", "UDP", &[Group::UdpFlat, Group::UdpLossless])]),
        ],
    }
}

/// A panel of bars, two for each row: the figure on the axis and as text.
fn bars(
    caption: Caption,
    title_below: &str,
    sections: &[(Option<String>, Vec<&Row<'_>>)],
    of: impl Fn(&Row<'_>, Plane) -> Option<(Spread, String)>,
) -> Option<Panel> {
    let mut told = Vec::new();
    let mut drawn = Vec::new();
    for (heading, rows) in sections {
        let mut section = Section { heading: heading.clone(), rows: Vec::new() };
        for row in rows {
            let mut bars = Vec::new();
            for plane in Plane::BOTH {
                let Some((figure, text)) = of(row, plane) else { continue };
                let sentence = format!("{}, {}: {text}", row.load.title, plane.name());
                told.push(sentence.clone());
                bars.push(Bar { look: look(plane), figure, text, told: sentence });
            }
            section.rows.push(PlotRow { label: row.load_label(), content: bars });
        }
        drawn.push(section);
    }
    let all = drawn.iter().flat_map(|section| &section.rows).flat_map(|row| &row.content);
    let axis = Axis::from_zero(title_below, all.map(|bar| bar.figure.high))?;
    let caption =
        Caption { description: description(&format!("{}, {title_below}", caption.title), told), ..caption };
    Panel::of(caption, |caption| Bars { caption, axis, sections: drawn }.svg())
}

fn scaled(figure: Spread, factor: f64) -> Spread {
    Spread { low: figure.low / factor, middle: figure.middle / factor, high: figure.high / factor }
}

fn spread_text(unit: Unit, figure: Spread) -> String {
    let text = format!("{:#}", Figure(unit, figure.middle));
    if figure.low < figure.high {
        format!("{text} ({:#} to {:#})", Figure(unit, figure.low), Figure(unit, figure.high))
    } else {
        text
    }
}

fn caption_parts(id: &str, title: &str) -> Caption {
    Caption { id: id.to_owned(), title: title.to_owned(), description: String::new() }
}

fn caption(id: &str, title: &str, told: impl IntoIterator<Item = String>) -> Caption {
    Caption { description: description(title, told), ..caption_parts(id, title) }
}

fn description(what: &str, told: impl IntoIterator<Item = String>) -> String {
    format!("{what}. {}.", told.into_iter().collect::<Vec<_>>().join("; "))
}
