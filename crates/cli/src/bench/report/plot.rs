//! Small charts as SVG: lines, bars, and rows of dots. Knows nothing of what the figures mean.
//!
//! A chart is a value that says what to draw; its `svg` draws it, or is `None` where no figure could be drawn, so that
//! a page never shows empty axes. A figure that is not finite is left out. Charts are drawn [`WIDTH`] wide, about the
//! width of a telephone, so that text keeps its size there; a page sets several beside one another where it is wider.
//!
//! Colours come from the page, which includes [`STYLE`]; two series differ in shape and dash as well ([`Look`]), for
//! those who see no colours and for paper that has none.

mod axis;
mod bars;
mod dots;
mod lines;
mod svg;

pub(crate) use axis::Axis;
pub(crate) use bars::{Bar, Bars};
pub(crate) use dots::{Dots, Ratio};
pub(crate) use lines::{Line, Lines, Mark, Point};
pub(crate) use svg::{Escaped, Key, key};

/// Units of a chart's width: CSS pixels where the page shows it that wide.
pub(crate) const WIDTH: f64 = 400.0;

/// What a page has to have among its styles.
pub(crate) const STYLE: &str = include_str!("plot/style.css");

/// How a series is told from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// An unbroken line, round marks, full bars.
    Solid,
    /// A dashed line, square hollow marks, hollow bars.
    Dashed,
}

impl Look {
    fn class(self) -> &'static str {
        match self {
            Look::Solid => "solid",
            Look::Dashed => "dashed",
        }
    }
}

/// What a chart is called, and what it shows for those who cannot see it.
#[derive(Clone, Debug)]
pub(crate) struct Caption {
    /// Unique in the page.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) description: String,
}

/// A figure that was taken several times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) middle: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// A figure that was taken once.
    pub(crate) fn single(value: f64) -> Spread {
        Spread { low: value, middle: value, high: value }
    }
}

/// Rows that belong together, under a heading where they have one.
#[derive(Clone, Debug)]
pub(crate) struct Section<T> {
    pub(crate) heading: Option<String>,
    pub(crate) rows: Vec<Row<T>>,
}

/// A row of a chart that has one for each thing compared.
#[derive(Clone, Debug)]
pub(crate) struct Row<T> {
    pub(crate) label: String,
    /// What is drawn in it.
    pub(crate) content: T,
}

/// The part of the width that the labels of rows take.
fn label_width<T>(sections: &[Section<T>]) -> f64 {
    let labels = sections.iter().flat_map(|section| &section.rows).map(|row| svg::text_width(&row.label));
    labels.fold(0.0, f64::max).min(WIDTH * 0.45) + 12.0
}
