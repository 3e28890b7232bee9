//! The report as text.

use std::fmt::Write as _;

use super::columns::{Block, Cell, Column, Medium, blocks, cpu_per};
use super::row::{Group, Row, Standing, groups, is_compared};
use super::sentences;
use crate::bench::model::Report;
use crate::print::Style;
use crate::print::units::Octets;

/// The report for a terminal.
pub(crate) fn table(report: &Report, colour: bool) -> String {
    let mut out = String::new();
    write(&mut out, report, Style::coloured(colour)).expect("a String takes all");
    out
}

fn write(out: &mut String, report: &Report, style: Style) -> std::fmt::Result {
    let against = report.against.as_deref().map_or_else(String::new, |against| format!(" against {against}"));
    let name = style.name(printable(&report.version));
    writeln!(out, "{name}{against}, {}", printable(&report.started))?;
    let groups = groups(report);
    if groups.is_empty() {
        writeln!(out, "\nNothing was measured.")?;
    } else {
        writeln!(out)?;
        Grid::of(&groups, is_compared(report)).write(out, style)?;
    }
    writeln!(out)?;
    line(out, "machine", sentences::machine(report))?;
    line(out, "link", sentences::link(report.link))?;
    line(out, "mtu", report.mtu_octets)?;
    if let Some(octets) = report.resident_octets {
        line(out, "memory", format_args!("{} resident at most, one vxgate", Octets(octets)))?;
    }
    line(
        out,
        "rounds",
        format_args!("{}; each figure is their median, each ratio the median of their ratios", report.rounds),
    )?;
    if let Some(sentence) = sentences::incomplete(report) {
        line(out, "incomplete", sentence)?;
    }
    line(out, "repeat", &report.command)
}

fn line(out: &mut String, label: &str, value: impl std::fmt::Display) -> std::fmt::Result {
    writeln!(out, "  {:<13}{}", format!("{label}:"), printable(&value.to_string()))
}

/// Without what a terminal would obey.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// The cells of the table, and what stands before and above them.
struct Grid {
    /// Before which row, and what.
    headings: Vec<(usize, String)>,
    labels: Vec<String>,
    blocks: Vec<Block>,
}

impl Grid {
    fn of(groups: &[(Group, Vec<Row<'_>>)], compared: bool) -> Grid {
        let rows: Vec<Row<'_>> = groups.iter().flat_map(|(_, rows)| rows).copied().collect();
        let mut headings = Vec::new();
        let mut next = 0;
        for (group, rows) in groups {
            let per = cpu_per(*group, rows).map_or_else(String::new, |per| format!(" (CPU per {per})"));
            headings.push((next, format!("{}{per}", group.heading())));
            next += rows.len();
        }
        let labels = rows.iter().map(|row| format!("  {}", printable(&row.label()))).collect();
        Grid { headings, labels, blocks: blocks(&rows, compared, Medium::Terminal) }
    }

    fn write(&self, out: &mut String, style: Style) -> std::fmt::Result {
        let label_width = self.labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let (mut titles, mut names) = (" ".repeat(label_width), " ".repeat(label_width));
        for block in &self.blocks {
            let width = block.width();
            write!(titles, "  {:>width$}", block.title)?;
            write!(
                names,
                "  {:>width$}",
                block.line(|column| format!("{:>1$}", column.name, column.width()))
            )?;
        }
        writeln!(out, "{titles}\n{names}")?;
        for (index, label) in self.labels.iter().enumerate() {
            if let Some((_, heading)) = self.headings.iter().find(|(before, _)| *before == index) {
                writeln!(out, "{}", style.name(heading))?;
            }
            let mut line = format!("{label:<label_width$}");
            for block in &self.blocks {
                let before = block.width() - block.columns_width();
                let cells = block.line(|column| padded(column.cells[index].as_ref(), column.width(), style));
                write!(line, "  {:before$}{cells}", "")?;
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Block {
    fn columns_width(&self) -> usize {
        let gaps = self.columns.len().saturating_sub(1);
        self.columns.iter().map(Column::width).sum::<usize>() + gaps
    }

    fn width(&self) -> usize {
        self.columns_width().max(self.title.len())
    }

    fn line(&self, of: impl Fn(&Column) -> String) -> String {
        self.columns.iter().map(of).collect::<Vec<_>>().join(" ")
    }
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().flatten().map(|cell| cell.text.chars().count());
        cells.chain([self.name.len()]).max().unwrap_or(0)
    }
}

/// A cell, flush right, in the colour of where every round puts vxgate.
fn padded(cell: Option<&Cell>, width: usize, style: Style) -> String {
    let text = format!("{:>width$}", cell.map_or("", |cell| &cell.text));
    match cell.and_then(|cell| cell.standing) {
        Some(Standing::Ahead) => style.good(text).to_string(),
        Some(Standing::Behind) => style.bad(text).to_string(),
        Some(Standing::Even) | None => text,
    }
}
