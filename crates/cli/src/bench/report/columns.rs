//! The columns of the tables: what stands in them, for the terminal and for the page.

use super::plot::Spread;
use super::row::{Group, Plane, Row, Standing};
use super::units::{Digits, PerCent};

/// What a table is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// ASCII, and not wide.
    Terminal,
    Page,
}

/// Columns under one title.
pub(super) struct Block {
    pub(super) title: &'static str,
    pub(super) columns: Vec<Column>,
}

pub(super) struct Column {
    pub(super) name: &'static str,
    /// One for each row; `None` where there is nothing to say.
    pub(super) cells: Vec<Option<Cell>>,
}

pub(super) struct Cell {
    pub(super) text: String,
    /// Of a ratio: what it says.
    pub(super) standing: Option<Standing>,
}

impl Column {
    fn new(name: &'static str, rows: &[Row<'_>], of: impl Fn(&Row<'_>) -> Option<String>) -> Column {
        let cell = |row| Some(Cell { text: of(row)?, standing: None });
        Column { name, cells: rows.iter().map(cell).collect() }
    }

    fn is_empty(&self) -> bool {
        self.cells.iter().all(Option::is_none)
    }
}

/// The columns for which there is something in these rows.
pub(super) fn blocks(rows: &[Row<'_>], compared: bool, medium: Medium) -> Vec<Block> {
    let planes: &[Plane] = if compared { &Plane::BOTH } else { &[Plane::Vxgate] };
    let of_planes = |title, text: &dyn Fn(&Row<'_>, Plane) -> Option<String>| Block {
        title,
        columns: planes
            .iter()
            .map(|plane| Column::new(plane.name(), rows, |row| text(row, *plane)))
            .collect(),
    };
    let median = |spread: Option<Spread>| spread.map(|spread| spread.middle);
    let blocks = [
        of_planes("figure", &|row, plane| {
            let figure = row.figure_text(plane)?;
            Some(if medium == Medium::Page { format!("{figure:#}") } else { figure.to_string() })
        }),
        Block { title: "ratio to kernel", columns: ratio_columns(rows, medium) },
        of_planes("CPU seconds", &|row, plane| median(row.cpu(plane)).map(|cpu| Digits(cpu).to_string())),
        of_planes("loss, %", &|row, plane| median(row.loss(plane)).map(|loss| PerCent(loss).to_string())),
        of_planes("reordered", &|row, plane| row.reordered(plane).map(|count| count.to_string())),
    ];
    blocks.into_iter().filter(|block| !block.columns.iter().all(Column::is_empty)).collect()
}

/// The median, with what every round says of it, and the rounds.
fn ratio_columns(rows: &[Row<'_>], medium: Medium) -> Vec<Column> {
    let median = |row: &Row<'_>| {
        Some(Cell { text: Digits(row.ratio()?.middle).to_string(), standing: row.standing() })
    };
    let several = |row: &Row<'_>| Some(row.ratios()).filter(|ratios| ratios.len() > 1);
    let rounds = match medium {
        Medium::Terminal => Column::new("least-most", rows, |row| {
            several(row)?;
            let Spread { low, high, .. } = row.ratio()?;
            Some(format!("{}-{}", Digits(low), Digits(high)))
        }),
        Medium::Page => Column::new("each round", rows, |row| {
            let texts: Vec<String> =
                several(row)?.into_iter().map(|ratio| Digits(ratio).to_string()).collect();
            Some(texts.join(" "))
        }),
    };
    let mut columns = vec![Column { name: "median", cells: rows.iter().map(median).collect() }];
    columns.extend(Some(rounds).filter(|rounds| !rounds.is_empty()));
    columns
}

/// What the processor seconds of these rows are for; `None` without any.
pub(super) fn cpu_per(group: Group, rows: &[Row<'_>]) -> Option<&'static str> {
    let any = rows.iter().any(|row| Plane::BOTH.into_iter().any(|plane| row.cpu(plane).is_some()));
    any.then(|| group.cpu_per())
}
