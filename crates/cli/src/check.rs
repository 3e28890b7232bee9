//! `vxgate check FILE`: what is wrong in a configuration file, all of it, and nothing is changed.

use std::env;
use std::fs;
use std::io::{self, Read as _, Write};
use std::path::Path;

use serde::Serialize;

use crate::args::environment::VARIABLES;
use crate::config::UpConfig;
use crate::config::file::{MAX_FILE_OCTETS, ROOM_FOR_ONE_MORE};
use crate::config::layers;
use crate::failure::Failure;
use crate::print::{self, Format, JsonList};

/// A problem, for an editor.
#[derive(Serialize)]
struct Problem {
    /// FILE:LINE:COLUMN and the key.
    #[serde(rename = "where")]
    place: String,
    why: String,
    hint: Option<String>,
}

/// Looks a file over; `-` is standard input.
pub(crate) fn run(path: &Path, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let text = read(path).map_err(|error| Failure::failed(format!("check {}", path.display()), error))?;
    let name = if path == Path::new("-") { Path::new("standard input") } else { path };
    let (configs, problems) = layers::check(&text, name);
    let written = match format {
        Format::Text(_) => told(out, &configs, &problems, name),
        Format::Json | Format::PrettyJson => {
            let mut list = JsonList::new(format == Format::PrettyJson);
            let each = problems.iter().map(|one| {
                let (place, why) = one.parts();
                Problem { place: place.to_owned(), why: why.to_owned(), hint: one.hint().map(str::to_owned) }
            });
            let mut each = each;
            each.try_for_each(|one| list.element(out, &one)).and_then(|()| list.end(out))
        }
    };
    written.map_err(|error| Failure::output(&error))?;
    for notice in unknown_variables() {
        let _ = writeln!(io::stderr(), "notice: {notice}");
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::printed_usage()) }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let limit = MAX_FILE_OCTETS + ROOM_FOR_ONE_MORE;
    let octets = if path == Path::new("-") {
        io::stdin().take(limit).read_to_string(&mut text)?
    } else {
        fs::File::open(path)?.take(limit).read_to_string(&mut text)?
    };
    if octets as u64 > MAX_FILE_OCTETS {
        return Err(io::Error::other(format!("it is longer than {MAX_FILE_OCTETS} octets")));
    }
    Ok(text)
}

fn told(out: &mut dyn Write, configs: &[UpConfig], problems: &[Failure], name: &Path) -> io::Result<()> {
    for problem in problems {
        let (place, why) = problem.parts();
        writeln!(out, "{place}: {why}")?;
        if let Some(hint) = problem.hint().filter(|hint| !hint.is_empty()) {
            writeln!(out, "  hint: {hint}")?;
        }
    }
    if !problems.is_empty() {
        let things = if problems.len() == 1 { "problem" } else { "problems" };
        return writeln!(out, "{}: {} {things}", name.display(), problems.len());
    }
    for config in configs {
        let peers: Vec<String> = config.peers.iter().map(ToString::to_string).collect();
        let peers = if peers.is_empty() { "no peers of its own".to_owned() } else { peers.join(" ") };
        writeln!(out, "{}: VNI {}, UDP port {}, {peers}", config.dev, config.vni, config.port)?;
        for notice in &config.notices {
            writeln!(out, "  notice: {notice}")?;
        }
    }
    writeln!(out, "{}: right", name.display())
}

/// Variables that look like ours and are none: most likely a slip of the keyboard.
pub(crate) fn unknown_variables() -> Vec<String> {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter_map(|name| unknown_variable(&name)).collect()
}

/// Those that are no option of `up`, by the names that the program reads elsewhere.
const OTHERS: &[&str] = &[
    "VXGATE_LOG",
    "VXGATE_RUNTIME_DIR",
    "VXGATE_STATE_DIR",
    "VXGATE_ALLOW_PLAIN_HTTP",
    "VXGATE_CA_FILE",
    // Of `vxgate bench`.
    "VXGATE_BENCH_JSON",
    "VXGATE_BENCH_HTML",
];

/// What Kubernetes sets in every pod beside a service that is called vxgate.
const OF_A_SERVICE: &[&str] = &["VXGATE_SERVICE_", "VXGATE_PORT_"];

/// What the program of `--on-event` is told.
const OF_AN_EVENT: &[&str] =
    &["VXGATE_EVENT", "VXGATE_PEER", "VXGATE_WHY", "VXGATE_DOWN_MS", "VXGATE_ISOLATED"];

fn unknown_variable(name: &str) -> Option<String> {
    let is_ours = |known: &str| known == name;
    let known =
        VARIABLES.iter().any(|(_, known)| is_ours(known)) || OTHERS.iter().any(|known| is_ours(known));
    let another = OF_A_SERVICE.iter().any(|start| name.starts_with(start))
        || OF_AN_EVENT.iter().any(|known| is_ours(known));
    if !name.starts_with("VXGATE_") || known || another {
        return None;
    }
    let all = VARIABLES
        .iter()
        .map(|(_, known)| known.trim_start_matches("VXGATE_"))
        .chain(OTHERS.iter().map(|known| known.trim_start_matches("VXGATE_")));
    let lower: Vec<String> = all.map(str::to_lowercase).collect();
    let near = print::nearest(name.trim_start_matches("VXGATE_"), lower.iter().map(String::as_str));
    Some(match near {
        Some(near) => {
            format!("{name} is no variable of vxgate; a similar one is VXGATE_{}", near.to_uppercase())
        }
        None => format!("{name} is no variable of vxgate"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_that_a_document_names_is_known() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let mut seen = 0;
        for path in
            docs.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|is| is == "md"))
        {
            let text = fs::read_to_string(&path).unwrap();
            for (at, _) in text.match_indices("VXGATE_") {
                let end =
                    text[at..].find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(text.len() - at);
                let name = text[at..at + end].trim_end_matches('_');
                assert_eq!(unknown_variable(name), None, "{}: {name}", path.display());
                seen += 1;
            }
        }
        assert!(seen > 15, "{seen}");
    }

    #[test]
    fn a_variable_with_a_slip_gets_the_near_one_and_others_pass() {
        let told = unknown_variable("VXGATE_PEER_S").unwrap();
        assert!(told.ends_with("a similar one is VXGATE_PEERS"), "{told}");
        assert!(unknown_variable("VXGATE_XYZZY").is_some_and(|told| !told.contains("similar")));
        assert_eq!(unknown_variable("VXGATE_CA_FILE"), None);
        for fine in ["VXGATE_PEERS", "VXGATE_LOG", "VXGATE_SERVICE_HOST", "VXGATE_PORT_4789_UDP", "PATH"] {
            assert_eq!(unknown_variable(fine), None, "{fine}");
        }
    }
}
