//! What is shown of each load: medians, ratios, and on which side of the kernel's device vxgate is.
//!
//! All figures pass here, and none that is not finite passes.

use super::plot::Spread;
use super::units::Figure;
use crate::bench::model::{Latency, LoadKind, LoadReport, Report, Sample, Unit, median};
use crate::print::units::Count;

/// Loads that are shown together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Tcp,
    UdpFlat,
    UdpLossless,
    RoundTrip,
    Connections,
}

impl Group {
    pub(super) const ALL: [Group; 5] =
        [Group::Tcp, Group::UdpFlat, Group::UdpLossless, Group::RoundTrip, Group::Connections];

    pub(super) fn of(kind: LoadKind) -> Group {
        match kind {
            LoadKind::Tcp => Group::Tcp,
            LoadKind::UdpFlat | LoadKind::Imix => Group::UdpFlat,
            LoadKind::UdpLossless => Group::UdpLossless,
            LoadKind::RoundTripIdle | LoadKind::RoundTripLoaded => Group::RoundTrip,
            LoadKind::Connections => Group::Connections,
        }
    }

    pub(super) fn heading(self) -> &'static str {
        match self {
            Group::Tcp => "TCP throughput",
            Group::UdpFlat => "UDP flat out, delivered",
            Group::UdpLossless => "UDP under 0.1 % loss, highest rate",
            Group::RoundTrip => "Round trip, less is better",
            Group::Connections => "TCP connections opened and closed",
        }
    }

    /// What its processor seconds are counted for.
    pub(super) fn cpu_per(self) -> &'static str {
        match self {
            Group::Tcp => "gigabyte",
            Group::UdpFlat | Group::UdpLossless => "million datagrams",
            Group::RoundTrip => "million round trips",
            Group::Connections => "million connections",
        }
    }
}

/// Which data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plane {
    Vxgate,
    Kernel,
}

impl Plane {
    pub(super) const BOTH: [Plane; 2] = [Plane::Vxgate, Plane::Kernel];

    pub(super) fn name(self) -> &'static str {
        match self {
            Plane::Vxgate => "vxgate",
            Plane::Kernel => "kernel",
        }
    }
}

/// Which figure of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    /// The load's own.
    Figure,
    P99,
    P999,
}

/// Where vxgate is, by the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Better than the kernel's device in every round.
    Ahead,
    /// Worse in every round.
    Behind,
    /// Neither.
    Even,
}

impl Standing {
    pub(super) fn name(self) -> &'static str {
        match self {
            Standing::Ahead => "ahead",
            Standing::Behind => "behind",
            Standing::Even => "even",
        }
    }
}

/// One line of the tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) load: &'a LoadReport,
    measure: Measure,
}

impl<'a> Row<'a> {
    /// The rows of a load: one, and for round trips two more for their quantiles.
    fn of(load: &'a LoadReport) -> Vec<Row<'a>> {
        let quantiles = load.vxgate.iter().chain(&load.kernel).any(|sample| sample.latency.is_some());
        let measures: &[Measure] =
            if quantiles { &[Measure::Figure, Measure::P99, Measure::P999] } else { &[Measure::Figure] };
        measures.iter().map(|measure| Row { load, measure: *measure }).collect()
    }

    /// Whether it is the load's own figure.
    pub(super) fn is_main(&self) -> bool {
        self.measure == Measure::Figure
    }

    pub(super) fn group(&self) -> Group {
        Group::of(self.load.kind)
    }

    /// What it is called under the heading of its group.
    pub(super) fn label(&self) -> String {
        let name = self.load_label();
        match self.measure {
            Measure::Figure if self.load.unit == Unit::Seconds => name + ", median",
            Measure::Figure => name,
            Measure::P99 => name + ", p99",
            Measure::P999 => name + ", p99.9",
        }
    }

    /// What its load is called there.
    pub(super) fn load_label(&self) -> String {
        let load = self.load;
        let flows = Count(load.flows as u64, "flow");
        match (load.kind, load.payload_octets) {
            (LoadKind::Tcp, _) => Count(load.flows as u64, "stream").to_string(),
            (LoadKind::UdpFlat | LoadKind::UdpLossless, Some(octets)) => format!("{octets} octets, {flows}"),
            (LoadKind::UdpFlat | LoadKind::UdpLossless, None) => load.title.clone(),
            (LoadKind::Imix, _) => format!("Internet mix, {flows}"),
            (LoadKind::RoundTripIdle, _) => "idle".to_owned(),
            (LoadKind::RoundTripLoaded, _) => "beside TCP".to_owned(),
            (LoadKind::Connections, _) => format!("{} at once", load.flows),
        }
    }

    pub(super) fn samples(&self, plane: Plane) -> &'a [Sample] {
        match plane {
            Plane::Vxgate => &self.load.vxgate,
            Plane::Kernel => &self.load.kernel,
        }
    }

    fn value(&self, sample: &Sample) -> Option<f64> {
        let of = |quantile: fn(&Latency) -> f64| sample.latency.as_ref().map(quantile);
        let value = match self.measure {
            Measure::Figure => Some(sample.figure),
            Measure::P99 => of(|times| times.p99),
            Measure::P999 => of(|times| times.p999),
        };
        value.filter(|value| value.is_finite())
    }

    /// The figure, over the rounds.
    pub(super) fn figure(&self, plane: Plane) -> Option<Spread> {
        self.over_rounds(plane, |sample| self.value(sample))
    }

    /// The figure's median with its unit.
    pub(super) fn figure_text(&self, plane: Plane) -> Option<Figure> {
        self.figure(plane).map(|figure| Figure(self.load.unit, figure.middle))
    }

    /// Processor seconds for each of what the group counts.
    pub(super) fn cpu(&self, plane: Plane) -> Option<Spread> {
        self.of_main(plane, |sample| sample.cpu_seconds)
    }

    /// The part that was lost.
    pub(super) fn loss(&self, plane: Plane) -> Option<Spread> {
        self.of_main(plane, |sample| sample.loss)
    }

    /// How many datagrams were overtaken in all rounds together.
    pub(super) fn reordered(&self, plane: Plane) -> Option<u64> {
        let counts = self.samples(plane).iter().filter_map(|sample| sample.reordered);
        counts.reduce(u64::saturating_add).filter(|_| self.is_main())
    }

    fn of_main(&self, plane: Plane, of: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        self.over_rounds(plane, of).filter(|_| self.is_main())
    }

    fn over_rounds(&self, plane: Plane, of: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        spread(self.samples(plane).iter().filter_map(of))
    }

    /// vxgate's figure over the kernel's, for each round in which both were measured.
    pub(super) fn ratios(&self) -> Vec<f64> {
        let pairs = self.load.vxgate.iter().zip(&self.load.kernel);
        let ratio = |(ours, kernel)| Some(self.value(ours)? / self.value(kernel)?);
        pairs.filter_map(ratio).filter(|ratio| ratio.is_finite()).collect()
    }

    /// Their median, least and greatest.
    pub(super) fn ratio(&self) -> Option<Spread> {
        spread(self.ratios())
    }

    /// Where the ratios put vxgate; `None` without any.
    pub(super) fn standing(&self) -> Option<Standing> {
        let Spread { low, high, .. } = self.ratio()?;
        Some(match (self.load.unit, low > 1.0, high < 1.0) {
            (Unit::Seconds, false, true) => Standing::Ahead,
            (Unit::Seconds, true, false) => Standing::Behind,
            (_, true, false) => Standing::Ahead,
            (_, false, true) => Standing::Behind,
            _ => Standing::Even,
        })
    }
}

/// The groups that have rows, each with them.
pub(super) fn groups(report: &Report) -> Vec<(Group, Vec<Row<'_>>)> {
    let rows = |group| {
        let loads = report.loads.iter().filter(move |load| Group::of(load.kind) == group);
        loads.flat_map(Row::of).collect()
    };
    let groups = Group::ALL.into_iter().map(|group| (group, rows(group)));
    groups.filter(|(_, rows): &(Group, Vec<Row<'_>>)| !rows.is_empty()).collect()
}

/// Every load's own row, in the order of the groups.
pub(super) fn main_rows(report: &Report) -> Vec<Row<'_>> {
    groups(report).into_iter().flat_map(|(_, rows)| rows).filter(Row::is_main).collect()
}

/// Whether there is anything of the kernel's to show.
pub(super) fn is_compared(report: &Report) -> bool {
    report.loads.iter().any(|load| !load.kernel.is_empty())
}

/// In how many of `rounds` rounds both were measured for every load; `None` where it is all of them.
pub(super) fn rounds_missing(report: &Report) -> Option<usize> {
    let compared = is_compared(report);
    let complete = |load: &LoadReport| {
        if compared { load.vxgate.len().min(load.kernel.len()) } else { load.vxgate.len() }
    };
    report.loads.iter().map(complete).min().filter(|least| *least < report.rounds)
}

/// Median, least and greatest of those that are finite; `None` without any.
pub(super) fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    let low = values.iter().copied().reduce(f64::min)?;
    let high = values.iter().copied().reduce(f64::max)?;
    // The middle of two that are huge may be beyond all numbers.
    let middle = median(values).filter(|middle| middle.is_finite()).unwrap_or(high);
    Some(Spread { low, middle, high })
}
