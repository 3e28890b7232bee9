//! `vxgate reload`: what is in force now, and what is not yet.

use std::io::{self, Write};

use super::Format;
use crate::control::protocol::Reloaded;

/// Writes what a reload did.
pub(crate) fn write(out: &mut dyn Write, format: Format, reloaded: &Reloaded) -> io::Result<()> {
    let Reloaded { applied, needs_restart } = reloaded;
    match format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(reloaded)?),
        Format::PrettyJson => writeln!(out, "{}", serde_json::to_string_pretty(reloaded)?),
        Format::Text(_) if applied.is_empty() && needs_restart.is_empty() => writeln!(out, "nothing differs"),
        Format::Text(style) => {
            for one in applied {
                writeln!(out, "{} {one}", style.good("now:"))?;
            }
            for one in needs_restart {
                writeln!(out, "{} {one}", style.doubtful("needs a restart:"))?;
            }
            Ok(())
        }
    }
}
