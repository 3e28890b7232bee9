//! Listings, for people and for programs.

pub(crate) mod doctor;
pub(crate) mod fdb;
pub(crate) mod gate;
mod nearest;
pub(crate) mod peers;
pub(crate) mod reloaded;
pub(crate) mod show;
mod style;
pub(crate) mod units;

use std::io::{self, Write};

use serde::Serialize;

pub(crate) use nearest::nearest;
pub(crate) use style::Style;

/// How a listing comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text(Style),
    /// One line of JSON.
    Json,
    /// JSON for people to read.
    PrettyJson,
}

/// Writes a list as JSON element by element, so that a table of a million entries is never in memory whole. The compact
/// form is what iproute2 prints: one line, no spaces.
pub(crate) struct JsonList {
    pretty: bool,
    empty: bool,
}

impl JsonList {
    pub(crate) fn new(pretty: bool) -> JsonList {
        JsonList { pretty, empty: true }
    }

    pub(crate) fn element(&mut self, out: &mut dyn Write, element: &impl Serialize) -> io::Result<()> {
        let before = match (self.pretty, self.empty) {
            (false, true) => "[",
            (false, false) => ",",
            (true, true) => "[\n  ",
            (true, false) => ",\n  ",
        };
        self.empty = false;
        out.write_all(before.as_bytes())?;
        if self.pretty {
            let text = serde_json::to_string_pretty(element)?;
            out.write_all(text.replace('\n', "\n  ").as_bytes())
        } else {
            serde_json::to_writer(out, element).map_err(io::Error::from)
        }
    }

    pub(crate) fn end(self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(match (self.empty, self.pretty) {
            (true, _) => b"[]\n",
            (false, false) => b"]\n",
            (false, true) => b"\n]\n",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
