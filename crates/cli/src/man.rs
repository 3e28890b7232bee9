//! Manual pages, made of the command line's own description: a page for each command, and one for the configuration file.
//!
//! What only a manual has, such as files and exit statuses, stands here once.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use roff::{Inline, Roff, bold, italic, roman};

use crate::args;
use crate::args::environment::VARIABLES;
use crate::failure::Failure;

/// The name of the page about the configuration file.
const FILE_PAGE: &str = "vxgate.toml";

/// Writes the page of the program, or every page into the manual at `dir`: those of commands below man1, that of the configuration
/// file below man5, each path on a line.
pub(crate) fn run(out: &mut dyn Write, dir: Option<&Path>) -> Result<(), Failure> {
    let mut command = args::command();
    command.build();
    let Some(dir) = dir else {
        // By way of memory: the generator panics where it cannot write.
        return page(command, "vxgate".to_owned())
            .and_then(|page| out.write_all(&page))
            .map_err(|error| Failure::output(&error));
    };
    let write = || {
        let (commands, files) = (dir.join("man1"), dir.join("man5"));
        fs::create_dir_all(&commands)?;
        fs::create_dir_all(&files)?;
        let path = files.join(format!("{FILE_PAGE}.5"));
        fs::write(&path, file_page(&command)?)?;
        writeln!(out, "{}", path.display())?;
        pages(out, &commands, command, "vxgate".to_owned())
    };
    write().map_err(|error: io::Error| Failure::failed(format!("man {}", dir.display()), error))
}

/// A page for this command and for each below it, each under the words that are typed, joined by `-`. `help` is none: it prints what
/// the others have.
fn pages(out: &mut dyn Write, dir: &Path, command: Command, name: String) -> io::Result<()> {
    for sub in command.get_subcommands().filter(|sub| is_public(sub)) {
        pages(out, dir, sub.clone(), format!("{name}-{}", sub.get_name()))?;
    }
    let path = dir.join(format!("{name}.1"));
    fs::write(&path, page(command, name)?)?;
    writeln!(out, "{}", path.display())
}

fn is_public(command: &Command) -> bool {
    command.get_name() != "help" && !command.is_hide_set()
}

/// The page of one command.
fn page(command: Command, name: String) -> io::Result<Vec<u8>> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_options = command.get_arguments().any(|arg| !arg.is_hide_set());
    let has_verbs = command.get_subcommands().any(is_public);
    let is_daemon = ["vxgate", "vxgate-up", "vxgate-init"].contains(&name.as_str());
    let is_program = name == "vxgate";
    let man = Man::new(command.display_name(name))
        .manual("User Commands")
        .source(concat!("vxgate ", env!("CARGO_PKG_VERSION")));

    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if has_options {
        man.render_options_section(&mut page)?;
    }
    if has_verbs {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    let (notes, examples) = after.split_once("Examples:\n").unwrap_or((&after, ""));
    // What stands behind the examples, after an empty line, is no example.
    let (examples, more) = examples.split_once("\n\n").unwrap_or((examples, ""));
    let notes: Vec<&str> = notes
        .split("\n\n")
        .chain(more.split("\n\n"))
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect();
    if !notes.is_empty() {
        roff.control("SH", ["NOTES"]);
        for note in notes {
            roff.control("PP", []);
            roff.text([roman(note)]);
        }
    }
    if is_daemon {
        environment(&mut roff, is_program);
        files(&mut roff);
    }
    exit_status(&mut roff);
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        verbatim(&mut roff, examples);
    }
    let mut others = vec![("bridge", 8), ("ip-link", 8)];
    if is_daemon {
        others.insert(0, (FILE_PAGE, 5));
    }
    if !is_program {
        others.insert(0, ("vxgate", 1));
    }
    see_also(&mut roff, &others);
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// Lines as they are.
fn verbatim(roff: &mut Roff, text: &str) {
    roff.control("PP", []);
    roff.control("nf", []);
    roff.text([roman(text.trim_end())]);
    roff.control("fi", []);
}

/// A term and what it means.
fn entry(roff: &mut Roff, term: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([bold(term)]);
    roff.text([roman(meaning)]);
}

fn environment(roff: &mut Roff, is_program: bool) {
    roff.control("SH", ["ENVIRONMENT"]);
    entry(
        roff,
        "VXGATE_RUNTIME_DIR",
        "Where control sockets and locks lie: /run/vxgate where it is not set.",
    );
    entry(
        roff,
        "VXGATE_STATE_DIR",
        "Where the last answer of the Gate's API is kept: /var/lib/vxgate where it is not set.",
    );
    entry(
        roff,
        "VXGATE_LOG",
        "What is logged to standard error: error, warn, info (the default), debug or trace.",
    );
    if is_program {
        let meaning = "Options of vxgate up: VXGATE_ and the option's name, those that may be given many times in the plural. A \
                       value file:PATH is read from that file. vxgate-up(1) names each.";
        entry(roff, "VXGATE_PEERS, VXGATE_ADDRESS, ...", meaning);
        entry(roff, "SORACOM_AUTH_KEY_ID, SORACOM_AUTH_KEY", "The key of the Gate's API: vxgate-gate(1).");
    }
    entry(roff, "NO_COLOR", "Anything but nothing: listings have no colours.");
}

fn files(roff: &mut Roff) {
    roff.control("SH", ["FILES"]);
    entry(roff, "/etc/vxgate/DEV.toml", "What vxgate@DEV.service runs: vxgate.toml(5).");
    entry(roff, "/etc/vxgate/DEV.env", "Its environment, for secrets: mode 0600.");
    entry(roff, "/run/vxgate/DEV.sock", "The control socket of a tunnel, for its own user and root.");
    entry(roff, "/dev/net/tun", "Where the device comes from.");
}

fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    entry(roff, "0", "It is done; a tunnel was told to end.");
    entry(roff, "1", "It did not work: standard error says what failed, why, and what to do.");
    entry(
        roff,
        "2",
        "The command line, the environment or the configuration file is wrong. Trying again does not help.",
    );
}

fn see_also(roff: &mut Roff, pages: &[(&str, u8)]) {
    roff.control("SH", ["SEE ALSO"]);
    let mut line: Vec<Inline> = Vec::new();
    for (index, (name, section)) in pages.iter().enumerate() {
        let comma = if index + 1 < pages.len() { ", " } else { "" };
        line.extend([bold(*name), roman(format!("({section}){comma}"))]);
    }
    roff.text(line);
    roff.control("PP", []);
    roff.text([roman("RFC 7348: Virtual eXtensible Local Area Network (VXLAN)")]);
}

/// The page of the configuration file: each option of `up` is a key.
fn file_page(program: &Command) -> io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    let source = concat!("vxgate ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", [FILE_PAGE, "5", "", source, "File Formats"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("vxgate.toml - the configuration file of vxgate up")]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "TOML. Each key is an option of vxgate up without its dashes, with the same values; options that may be given many times take a \
         list, on and off may be written true and false. The command line wins over the environment, and that over the file. Secrets do \
         not belong in it.",
    )]);
    roff.control("SH", ["KEYS"]);
    let up = program.find_subcommand("up").into_iter().flat_map(Command::get_arguments);
    for arg in up.filter(|arg| !arg.is_hide_set()) {
        let Some(key) = arg.get_long().filter(|key| !["config", "help"].contains(key)) else { continue };
        let values = arg.get_value_names().unwrap_or_default().join(" ");
        roff.control("TP", []);
        roff.text([
            bold(key),
            roman(" = "),
            italic(if values.is_empty() { "true|false".to_owned() } else { values }),
        ]);
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        roff.text([roman(help)]);
        if let Some((_, variable)) = VARIABLES.iter().find(|(option, _)| *option == key) {
            roff.text([roman(format!("[{variable}]"))]);
        }
    }
    roff.control("SH", ["EXAMPLE"]);
    let example = include_str!("../../../contrib/vxgate.toml");
    let set = example.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    verbatim(&mut roff, &set.flat_map(|line| [line, "\n"]).collect::<String>());
    exit_note(&mut roff);
    see_also(&mut roff, &[("vxgate", 1), ("vxgate-up", 1), ("vxgate-migrate", 1)]);
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    Ok(page)
}

fn exit_note(roff: &mut Roff) {
    roff.control("SH", ["ERRORS"]);
    roff.text([roman(
        "What is wrong is told by file, line and column, with what is allowed; then nothing is made, and the exit status is 2.",
    )]);
}
