//! Where the report goes: standard output, and files.
//!
//! The files are opened before anything is measured, outside: minutes are not to end with a path that cannot be written,
//! and the `/run` of the namespaces is not the caller's.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::model::Report;
use super::report;
use crate::args::bench::BenchArgs;
use crate::failure::Failure;
use crate::namespaces;
use crate::print::Style;

/// A form of the report that has a file.
struct Document<'a> {
    /// The option that names it.
    option: &'static str,
    path: &'a Path,
    /// What passes it to the process inside.
    variable: &'static str,
    render: fn(&Report) -> String,
}

/// The files that were asked for.
fn documents(args: &BenchArgs) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    if let Some(path) = args.json.as_deref().filter(|_| !is_json_printed(args)) {
        documents.push(Document {
            option: "--json",
            path,
            variable: "VXGATE_BENCH_JSON",
            render: report::json,
        });
    }
    if let Some(path) = args.html.as_deref() {
        documents.push(Document {
            option: "--html",
            path,
            variable: "VXGATE_BENCH_HTML",
            render: report::html,
        });
    }
    documents
}

/// Whether JSON goes to standard output.
fn is_json_printed(args: &BenchArgs) -> bool {
    args.json.as_deref() == Some(Path::new("-"))
}

impl Document<'_> {
    /// Opened to write; what is there stays until there is something to take its place.
    fn open(&self) -> io::Result<File> {
        File::options().write(true).create(true).truncate(false).open(self.path)
    }

    fn fill(&self, report: &Report) -> io::Result<()> {
        let path = namespaces::inherited(self.variable).ok_or(io::ErrorKind::NotFound)?;
        // Opened once more, and by that emptied.
        fs::write(path, (self.render)(report))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::failed(format!("bench: {} {}", self.option, self.path.display()), error)
    }
}

/// The files that are to be written, each with its name inside.
pub(super) fn open(args: &BenchArgs) -> Result<Vec<(&'static str, File)>, Failure> {
    let open = |document: Document<'_>| {
        let file = document.open().map_err(|error| document.failed(&error))?;
        Ok((document.variable, file))
    };
    documents(args).into_iter().map(open).collect()
}

/// Prints and writes it.
pub(super) fn write(args: &BenchArgs, report: &Report, out: &mut dyn Write) -> Result<(), Failure> {
    if !report.loads.is_empty() {
        for document in documents(args) {
            document.fill(report).map_err(|error| document.failed(&error))?;
        }
    }
    let printed = if is_json_printed(args) {
        out.write_all(report::json(report).as_bytes())
    } else if report.loads.is_empty() {
        Ok(())
    } else {
        out.write_all(report::table(report, Style::of_stdout().is_coloured()).as_bytes())
    };
    printed.and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}
