//! The report for programs.

use serde::Serialize;

use crate::bench::model::{LoadReport, Report};

/// One load, with what the model computes.
#[derive(Serialize)]
struct Load<'a> {
    #[serde(flatten)]
    load: &'a LoadReport,
    /// vxgate's figure over the kernel's, for each round.
    ratios: Vec<f64>,
    /// Their median.
    ratio: Option<f64>,
}

/// The report as JSON for people to read, too; a number that is not finite is `null`.
pub(crate) fn json(report: &Report) -> String {
    let of = |load: &LoadReport| {
        let load = Load { load, ratios: load.ratios(), ratio: load.ratio() };
        serde_json::to_value(load).expect("numbers and texts")
    };
    let mut value = serde_json::to_value(report).expect("numbers and texts");
    value["loads"] = report.loads.iter().map(of).collect();
    format!("{value:#}\n")
}
