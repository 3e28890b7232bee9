//! What a benchmark shows: a table for the terminal, a page with charts, and JSON. Never measures.
//!
//! ```text
//!   model::Report ──► row.rs: medians, ratios, groups ──► table.rs          text
//!                        │                             └► html.rs ◄─ charts.rs ◄─ plot.rs: any chart, as SVG
//!                        └ sentences.rs: what it says, in words
//!                 └─► json.rs
//! ```

mod charts;
mod columns;
mod html;
mod json;
mod plot;
mod row;
mod sentences;
mod table;
mod units;

pub(crate) use html::html;
pub(crate) use json::json;
pub(crate) use table::table;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
