//! Where the report goes: standard output, and files.
//!
//! The files are opened before anything is measured, outside: minutes are not to end with a path that cannot be written,
//! and the `/run` of the namespaces is not the caller's.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::model::{LoadReport, Report};
use super::table;
use crate::args::bench::BenchArgs;
use crate::failure::Failure;
use crate::namespaces;

/// What passes a file to the process inside.
const JSON_FILE: &str = "VXGATE_BENCH_JSON";

/// The files that are to be written, each with its name inside.
pub(super) fn open(args: &BenchArgs) -> Result<Vec<(&'static str, File)>, Failure> {
    let mut files = Vec::new();
    if let Some(path) = json_file(args) {
        files.push((JSON_FILE, create("--json", path)?));
    }
    Ok(files)
}

/// What is there stays until there is something to take its place.
fn create(option: &str, path: &Path) -> Result<File, Failure> {
    let file = File::options().write(true).create(true).truncate(false).open(path);
    file.map_err(|error| Failure::failed(format!("bench: {option} {}", path.display()), error))
}

/// Prints and writes it.
pub(super) fn write(args: &BenchArgs, report: &Report, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(path) = json_file(args).filter(|_| !report.loads.is_empty()) {
        fill(JSON_FILE, &json(report))
            .map_err(|error| Failure::failed(format!("bench: --json {}", path.display()), error))?;
    }
    let printed = if args.json.is_some() && json_file(args).is_none() {
        out.write_all(json(report).as_bytes())
    } else if report.loads.is_empty() {
        Ok(())
    } else {
        table::write(out, report)
    };
    printed.and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}

/// The file that JSON goes to; none where it goes to standard output or nowhere.
fn json_file(args: &BenchArgs) -> Option<&Path> {
    args.json.as_deref().filter(|path| *path != Path::new("-"))
}

fn fill(name: &str, text: &str) -> io::Result<()> {
    let path = namespaces::inherited(name).ok_or(io::ErrorKind::NotFound)?;
    // Opened, and by that emptied, only now.
    fs::write(path, text)
}

/// One load as `--json` writes it: with the ratios, which the model computes.
#[derive(Serialize)]
struct JsonLoad<'a> {
    #[serde(flatten)]
    load: &'a LoadReport,
    /// vxgate's figure over the kernel's, for each round.
    ratios: Vec<f64>,
    /// Their median.
    ratio: Option<f64>,
}

fn json(report: &Report) -> String {
    let of = |load: &LoadReport| {
        let load = JsonLoad { load, ratios: load.ratios(), ratio: load.ratio() };
        serde_json::to_value(load).expect("numbers and texts")
    };
    let mut value = serde_json::to_value(report).expect("numbers and texts");
    value["loads"] = report.loads.iter().map(of).collect();
    format!("{value:#}\n")
}
