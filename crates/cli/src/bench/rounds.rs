//! Each load over each data plane in turn, round after round.

use std::time::Duration;

use anyhow::Context as _;
use vxgate_load::{Error, Span, Stop};

use super::ground::{Ground, Plane};
use super::load::Load;
use super::measure;
use super::model::{LoadReport, Report, Sample};
use super::progress::Progress;

/// About what it takes to bring a data plane up and down.
const CHANGE: Duration = Duration::from_millis(400);

/// What is the same for all loads.
pub(super) struct Rounds<'a> {
    pub(super) ground: &'a Ground,
    pub(super) planes: &'a [Plane],
    pub(super) rounds: usize,
    pub(super) span: Span,
    /// For `vxgate up`.
    pub(super) up_options: &'a [String],
    pub(super) stop: &'a Stop,
}

impl Rounds<'_> {
    /// Measures the loads and adds each to the report as far as it went.
    ///
    /// A load that cannot be measured leaves the others alone, and is an error in the end. A data plane that does not
    /// come up is one at once.
    pub(super) fn run(&self, loads: &[Load], report: &mut Report) -> anyhow::Result<()> {
        let each = self.rounds * self.planes.len();
        let all: Duration = loads.iter().map(|load| self.takes(*load)).sum();
        let mut progress = Progress::new(loads.len() * each, all * u32::try_from(each).unwrap_or(u32::MAX));
        let mut failed = Vec::new();
        for (index, load) in loads.iter().enumerate() {
            report.loads.push(LoadReport::new(*load));
            let measured = self.load(*load, report, &mut progress);
            if self.stop.is_stopped() {
                progress.clear();
                return Err(Error::Interrupted.into());
            }
            match measured {
                Ok(()) => {}
                Err(error) if error.is::<Error>() => {
                    let told = format!("{error:#}");
                    progress.note(&told);
                    progress.skip_to((index + 1) * each);
                    failed.push(told);
                }
                Err(error) => {
                    progress.clear();
                    return Err(error);
                }
            }
        }
        progress.clear();
        anyhow::ensure!(failed.is_empty(), "not measured to the end: {}", failed.join("; "));
        Ok(())
    }

    fn load(&self, load: Load, report: &mut Report, progress: &mut Progress) -> anyhow::Result<()> {
        for round in 1..=self.rounds {
            for plane in self.planes {
                let told = format!("{}: {}, round {round} of {}", load.title(), plane.name(), self.rounds);
                progress.step(&told, self.takes(load));
                let (sample, resident) = self
                    .measure(load, *plane)
                    .with_context(|| format!("{} over {}", load.name(), plane.name()))?;
                report.resident_octets = report.resident_octets.max(resident);
                let load = report.loads.last_mut().expect("a report of this load");
                match plane {
                    Plane::Vxgate => load.vxgate.push(sample),
                    Plane::Kernel => load.kernel.push(sample),
                }
            }
        }
        Ok(())
    }

    /// One measurement, with the most memory that a vxgate had resident.
    fn measure(&self, load: Load, plane: Plane) -> anyhow::Result<(Sample, Option<u64>)> {
        let mut carrier = self.ground.carry(plane, self.up_options, self.stop)?;
        let measured = measure::measure(load, self.ground, self.span, self.stop);
        let sample = measured.map_err(|error| carrier.explain(error))?;
        let resident = carrier.resident_octets();
        carrier.end()?;
        Ok((sample, resident))
    }

    fn takes(&self, load: Load) -> Duration {
        measure::expected(load, self.span) + CHANGE
    }
}

impl LoadReport {
    fn new(load: Load) -> LoadReport {
        LoadReport {
            name: load.name(),
            title: load.title(),
            kind: load.kind(),
            payload_octets: load.payload_octets(),
            flows: load.flows(),
            unit: load.unit(),
            vxgate: Vec::new(),
            kernel: Vec::new(),
        }
    }
}
