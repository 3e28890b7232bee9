//! `--config FILE`: the options of `up` in TOML, each key an option's name.
//!
//! Keys before the first `[[tunnel]]` are of all tunnels of the file, those in a `[[tunnel]]` of that one. A file without any is one
//! tunnel.
//!
//! Nothing here lists the options. A key is looked up among those of the command line and its value goes through that option's own
//! parser, so that a new option is a new key at once, with the same values and the same errors.

use std::error::Error as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Args as _, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::args::environment::read_layer;
use crate::args::up::UpOptions;
use crate::failure::{Failure, see_help};

/// Longest file, in octets: far above 1024 peers with a comment each.
pub(crate) const MAX_FILE_OCTETS: u64 = 256 * 1024;

/// What is read beyond that, to see that it is longer.
pub(crate) const ROOM_FOR_ONE_MORE: u64 = 1;

/// Words in a key that no option has: who writes one wants to keep a secret here.
const SECRETS: &[&str] = &["auth-key", "api-key", "token", "password", "secret", "email"];

/// A configuration file that has been read: the lowest layer of options.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    /// Of all tunnels.
    settings: Vec<Setting>,
    /// Those of each `[[tunnel]]`.
    tunnels: Vec<Section>,
}

/// A `[[tunnel]]`.
#[derive(Clone, Debug)]
struct Section {
    settings: Vec<Setting>,
    /// FILE:LINE:COLUMN of its beginning.
    place: String,
}

/// The key of a tunnel's table.
const TUNNEL: &str = "tunnel";

/// Options of which a process has one, whatever tunnels it carries.
pub(crate) const OF_THE_PROCESS: &[&str] = &["metrics", "log-format", "sandbox", "user"];

/// Options that one file cannot have for several tunnels, as they ask or say something once.
const OF_THE_LINE: &[&str] = &["dry-run"];

/// Most tunnels of a file: each has two threads and some megabytes.
pub(crate) const MAX_TUNNELS: usize = 64;

/// One key of the file.
#[derive(Clone, Debug)]
struct Setting {
    /// The option's name.
    option: String,
    /// What it says, and nothing else.
    layer: UpOptions,
    /// FILE:LINE:COLUMN of its key.
    place: String,
}

impl ConfigFile {
    /// Reads the file at this path.
    pub(crate) fn read(path: &Path) -> Result<ConfigFile, Failure> {
        let read = || {
            let mut octets = Vec::new();
            File::open(path)?.take(MAX_FILE_OCTETS + ROOM_FOR_ONE_MORE).read_to_end(&mut octets)?;
            if octets.len() as u64 > MAX_FILE_OCTETS {
                return Err(io::Error::other(format!("it is longer than {MAX_FILE_OCTETS} octets")));
            }
            Ok(octets)
        };
        let octets = read().map_err(|error| {
            let failure = Failure::failed(format!("--config {}", path.display()), &error);
            let hint = if error.kind() == io::ErrorKind::NotFound {
                "`vxgate migrate -o FILE` makes one of an init_vxlan.sh line; contrib/vxgate.toml is an example"
            } else if error.kind() == io::ErrorKind::PermissionDenied {
                "the user that vxgate runs as must be able to read it; with --user, to reload it, that one"
            } else {
                return failure;
            };
            failure.with_hint(hint.to_owned())
        })?;
        let text = String::from_utf8(octets).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
            Failure::usage(Places { path, text: &before }.at(before.len()), "it is not UTF-8 from here on")
        })?;
        ConfigFile::parse(&text, path)
    }

    /// Reads this text, which stands at `path`.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<ConfigFile, Failure> {
        let (file, mut problems) = ConfigFile::look(text, path);
        if problems.is_empty() { Ok(file) } else { Err(problems.remove(0)) }
    }

    /// Reads this text as far as it is right; with all that is wrong, in the order in which it stands there.
    pub(crate) fn look(text: &str, path: &Path) -> (ConfigFile, Vec<Failure>) {
        let places = Places { path, text };
        let mut file = ConfigFile { settings: Vec::new(), tunnels: Vec::new() };
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let place = places.at(error.span().map_or(0, |span| span.start));
                let hint = error.message().contains("duplicate").then(|| {
                    "a key stands once; many values are one list, as in peer = [\"100.64.158.4\", \"100.64.158.132\"]".to_owned()
                });
                return (file, vec![Failure::usage(place, error.message()).with_hint(hint)]);
            }
        };
        let mut problems = Vec::new();
        let options = UpOptions::augment_args(Command::new("up"));
        let reader = Reader { places: &places, options: &options };
        let tunnels = table.get_ref().get(TUNNEL);
        file.settings = reader.settings(table.get_ref(), Scope::All, &mut problems);
        if let Some(tunnels) = tunnels {
            file.tunnels = reader.tunnels(tunnels, &mut problems);
        }
        // In the order of the file: by line and column, which stand at the end of a place.
        problems.sort_by_key(|(offset, _)| *offset);
        (file, problems.into_iter().map(|(_, problem)| problem).collect())
    }

    /// How many tunnels it has: a file that names none is one.
    pub(crate) fn count(&self) -> usize {
        self.tunnels.len().max(1)
    }

    /// Whether it names tunnels.
    pub(crate) fn has_sections(&self) -> bool {
        !self.tunnels.is_empty()
    }

    /// FILE:LINE:COLUMN of a tunnel's beginning.
    pub(crate) fn beginning(&self, tunnel: usize) -> Option<&str> {
        self.tunnels.get(tunnel).map(|section| section.place.as_str())
    }

    /// All that it says of a tunnel.
    pub(crate) fn options(&self, tunnel: usize) -> UpOptions {
        let of = |settings: &[Setting]| {
            settings
                .iter()
                .fold(UpOptions::default(), |options, setting| setting.layer.clone().beside(options))
        };
        let own = self.tunnels.get(tunnel).map(|section| of(&section.settings)).unwrap_or_default();
        own.over(of(&self.settings))
    }

    /// Where the file sets this option of a tunnel, where no layer above does.
    pub(crate) fn place(&self, option: &str, above: &UpOptions, tunnel: usize) -> Option<&str> {
        let own = self.tunnels.get(tunnel).into_iter().flat_map(|section| &section.settings);
        let setting = own.chain(&self.settings).find(|setting| setting.option == option)?;
        let counts = above.clone().over(setting.layer.clone()) != *above;
        counts.then_some(setting.place.as_str())
    }
}

/// A problem, and where in the text it is, for the order.
type Problem = (usize, Failure);

/// Whose keys are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    Tunnel,
}

/// Reads keys.
struct Reader<'a> {
    places: &'a Places<'a>,
    options: &'a Command,
}

impl Reader<'_> {
    /// The keys of a table.
    fn settings(&self, table: &DeTable<'_>, scope: Scope, problems: &mut Vec<Problem>) -> Vec<Setting> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut settings = Vec::new();
        for (key, value) in entries {
            let option = key.get_ref().as_ref();
            if scope == Scope::All && option == TUNNEL {
                continue;
            }
            match self.setting(key, value, scope) {
                Ok(setting) => settings.push(setting),
                Err(problem) => problems.push((key.span().start, problem)),
            }
        }
        settings
    }

    fn setting(
        &self,
        key: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        scope: Scope,
    ) -> Result<Setting, Failure> {
        let option = key.get_ref().as_ref();
        let place = self.places.at(key.span().start);
        if scope == Scope::Tunnel && OF_THE_PROCESS.contains(&option) {
            return Err(Failure::usage(
                format!("{place}: {option}"),
                "a process has one, for all its tunnels",
            )
            .with_hint("write it before the first [[tunnel]]".to_owned()));
        }
        if scope == Scope::Tunnel && OF_THE_LINE.contains(&option) {
            return Err(Failure::usage(format!("{place}: {option}"), "that is for the command line"));
        }
        let known = self.options.get_arguments().find(|arg| arg.get_long() == Some(option));
        let arg = known.filter(|_| option != "config").ok_or_else(|| unknown(&place, option))?;
        Ok(Setting { option: option.to_owned(), layer: layer(arg, option, value, self.places)?, place })
    }

    /// The tables of the tunnels.
    fn tunnels(&self, value: &Spanned<DeValue<'_>>, problems: &mut Vec<Problem>) -> Vec<Section> {
        let start = value.span().start;
        let wrong = |at: usize, why: String| {
            let hint = "each tunnel is a table of its own, which begins with [[tunnel]]".to_owned();
            (at, Failure::usage(format!("{}: {TUNNEL}", self.places.at(at)), why).with_hint(hint))
        };
        let list = match value.get_ref() {
            DeValue::Array(list) => list,
            other @ (DeValue::Table(_)
            | DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)) => {
                problems.push(wrong(start, format!("tables stand here, not {}", kind(other))));
                return Vec::new();
            }
        };
        if list.len() > MAX_TUNNELS {
            problems.push(wrong(start, format!("{} tunnels are more than {MAX_TUNNELS}", list.len())));
            return Vec::new();
        }
        let mut sections = Vec::new();
        for one in list.iter() {
            let start = one.span().start;
            match one.get_ref() {
                DeValue::Table(table) => sections.push(Section {
                    settings: self.settings(table, Scope::Tunnel, problems),
                    place: self.places.at(start),
                }),
                other @ (DeValue::Array(_)
                | DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)) => {
                    problems.push(wrong(start, format!("a table stands here, not {}", kind(other))));
                }
            }
        }
        sections
    }
}

/// Tells lines and columns in a file.
struct Places<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Places<'_> {
    /// FILE:LINE:COLUMN of an octet, both from 1; a column is a character.
    fn at(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{column}", self.path.display())
    }
}

/// An error about a key that is no option.
fn unknown(place: &str, key: &str) -> Failure {
    let what = format!("{place}: {key:?}");
    if key == "config" {
        return Failure::usage(what, "a configuration file names no other");
    }
    let name = key.replace('_', "-").to_lowercase();
    if SECRETS.iter().any(|secret| name.contains(secret)) {
        return Failure::usage(what, "secrets do not belong in this file").with_hint(
            "put SORACOM_AUTH_KEY_ID and SORACOM_AUTH_KEY into the environment, as from /etc/vxgate/DEV.env with mode 0600"
                .to_owned(),
        );
    }
    let why = match similar(&name) {
        Some(near) => format!("no such option; a similar one is {near}"),
        None => "no such option".to_owned(),
    };
    Failure::usage(what, why).with_hint(see_help("up"))
}

/// The option whose name is nearest, as the command line finds it.
fn similar(name: &str) -> Option<String> {
    let options = UpOptions::augment_args(Command::new("up"));
    if options.get_arguments().any(|arg| arg.get_long() == Some(name)) {
        return Some(name.to_owned());
    }
    let error = read_layer([format!("--{name}=")]).err()?;
    match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(near)) => Some(near.trim_start_matches('-').to_owned()),
        _ => None,
    }
}

/// The layer that this key and its value are.
fn layer(
    arg: &Arg,
    option: &str,
    value: &Spanned<DeValue<'_>>,
    places: &Places<'_>,
) -> Result<UpOptions, Failure> {
    let wrong = |at: &Spanned<DeValue<'_>>, allowed: &str| {
        let what = format!("{}: {option}", places.at(at.span().start));
        Failure::usage(what, format!("{allowed}, not {}", kind(at.get_ref()))).with_hint(see_help("up"))
    };
    if !arg.get_action().takes_values() {
        return match value.get_ref() {
            DeValue::Boolean(true) => Ok(read_layer([format!("--{option}")]).unwrap_or_default()),
            DeValue::Boolean(false) => Ok(UpOptions::default()),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => Err(wrong(value, "true or false stands here")),
        };
    }
    let is_list = matches!(arg.get_action(), ArgAction::Append);
    let values = match value.get_ref() {
        DeValue::Array(values) if is_list => values.iter().collect(),
        DeValue::Array(_)
        | DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => vec![value],
    };
    let allowed = if is_list { "a value or a list of values stands here" } else { "one value stands here" };
    let mut arguments = Vec::new();
    for value in values {
        let text = text(value.get_ref()).ok_or_else(|| wrong(value, allowed))?;
        let argument = format!("--{option}={text}");
        if let Err(error) = read_layer([&argument]) {
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            let what = format!("{}: {option} {text:?}", places.at(value.span().start));
            return Err(Failure::usage(what, why).with_hint(see_help("up")));
        }
        arguments.push(argument);
    }
    let place = places.at(value.span().start);
    read_layer(arguments).map_err(|error| Failure::usage(format!("{place}: {option}"), error))
}

/// A value as the command line would have it; none where it is none of one word.
fn text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.as_ref().to_owned()),
        DeValue::Integer(number) => {
            // Beyond 64 bits no option takes a number: its own error says what it takes.
            let decimal = i64::from_str_radix(number.as_str(), number.radix());
            Some(decimal.map_or_else(|_| number.to_string(), |number| number.to_string()))
        }
        DeValue::Boolean(on) => Some(if *on { "on" } else { "off" }.to_owned()),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// A value's type, as an error names it.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, Failure> {
        ConfigFile::parse(text, Path::new("vx.toml"))
    }

    fn line(line: &str) -> UpOptions {
        read_layer(line.split(' ')).unwrap()
    }

    #[test]
    fn a_key_says_what_its_option_says() {
        let text = r#"
            dev = "vx7"                 # a comment
            vni = 7
            peer = ["100.64.158.4", "100.64.158.132"]
            address = "10.225.194.171/9,fd00::2/64"
            learning = false
            offload = "off"
            mtu = 0x578
            source-port = "hash:50_000-50001"
        "#;
        let error = parse(text).unwrap_err().to_string();
        assert!(
            error.starts_with("vxgate: vx.toml:9:27: source-port \"hash:50_000-50001\": a port from 1"),
            "{error}"
        );
        let text = text.replace("50_000", "50000");
        assert_eq!(
            parse(&text).unwrap().options(0),
            line(
                "--dev=vx7 --vni=7 --peer=100.64.158.4 --peer=100.64.158.132 --address=10.225.194.171/9 --address=fd00::2/64 \
                 --learning=off --offload=off --mtu=1400 --source-port=hash:50000-50001"
            )
        );
        assert_eq!(parse("").unwrap().options(0), UpOptions::default());
        assert_eq!(parse("peer = []").unwrap().options(0), UpOptions::default());
    }

    #[test]
    fn the_example_parses_with_and_without_what_is_commented_out() {
        let example = include_str!("../../../../contrib/vxgate.toml");
        let tunnel = "--dev=vxlan0 --local=172.21.0.100 --address=10.225.194.171/9 --peer=100.64.158.4=10.192.158.4,100.64.158.132=10.192.158.132 \
                      --vni=10";
        assert_eq!(parse(example).unwrap().options(0), line(tunnel));
        // A line that shows a key begins with `#` and no blank.
        let shown: String = example
            .lines()
            .map(|line| {
                line.strip_prefix('#').filter(|rest| rest.starts_with(char::is_alphabetic)).unwrap_or(line)
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let shown = parse(&shown).unwrap_or_else(|error| panic!("{error}"));
        let config = crate::config::UpConfig::new(shown.options(0)).unwrap();
        // Each option has its line: all but those that are about the file itself, and the list that stands in place of --vpg-id.
        let options = UpOptions::augment_args(Command::new("up"));
        for option in options.get_arguments().filter_map(Arg::get_long) {
            let has_line = shown.settings.iter().any(|setting| setting.option == option);
            assert_eq!(
                has_line,
                !["config", "dry-run", "gate-peers", "tap-fd"].contains(&option),
                "{option}"
            );
        }
        assert!(example.contains("\n# gate-peers = "));
        // What is shown is the default, but for examples.
        let default = crate::config::UpConfig::new(line(tunnel)).unwrap();
        let examples = crate::config::UpConfig {
            underlay: config.underlay.clone(),
            user: config.user,
            routes: config.routes.clone(),
            accept_from: config.accept_from.clone(),
            affinity: config.affinity.clone(),
            on_event: config.on_event.clone(),
            metrics: config.metrics,
            ..default
        };
        assert_eq!(config, examples);
    }

    #[test]
    fn every_option_but_config_itself_is_a_key() {
        let options = UpOptions::augment_args(Command::new("up"));
        let mut keys = 0;
        for arg in options.get_arguments() {
            let key = arg.get_long().expect("an option of up has a long name");
            // No option takes a date: one that is a key says so, and only one that is none says that.
            let error = parse(&format!("{key} = 1979-05-27")).unwrap_err().to_string();
            assert_eq!(error.contains("not a date"), key != "config", "{key}: {error}");
            keys += 1;
        }
        assert!(keys > 20, "{keys}");
    }

    #[test]
    fn each_error_has_its_line_its_column_and_what_to_write() {
        for (text, first, hint) in [
            (
                "vnis = 7",
                "vxgate: vx.toml:1:1: \"vnis\": no such option; a similar one is vni",
                "vxgate up --help",
            ),
            (
                "\n\n  source_port = 1",
                "vxgate: vx.toml:3:3: \"source_port\": no such option; a similar one is source-port",
                "--help",
            ),
            ("zzz = 1", "vxgate: vx.toml:1:1: \"zzz\": no such option", "--help"),
            (
                "vni = 16777216",
                "vxgate: vx.toml:1:7: vni \"16777216\": a VNI is a whole number from 0 to 16777215",
                "--help",
            ),
            (
                "vni = 1.5",
                "vxgate: vx.toml:1:7: vni: one value stands here, not a number with a point",
                "--help",
            ),
            ("vni = [1]", "vxgate: vx.toml:1:7: vni: one value stands here, not a list", "--help"),
            (
                "vni = 99999999999999999999",
                "vxgate: vx.toml:1:7: vni \"99999999999999999999\": a VNI is",
                "--help",
            ),
            ("é = 1\nvni = 1", "vxgate: vx.toml:1:1: ", ""),
            (
                "peer = [\"10.0.0.1\",\n  \"héé\", \"x\"]",
                "vxgate: vx.toml:2:3: peer \"héé\": an IPv4 or IPv6 address",
                "--help",
            ),
            (
                "peer = [[\"10.0.0.1\"]]",
                "vxgate: vx.toml:1:9: peer: a value or a list of values stands here, not a list",
                "--help",
            ),
            ("offload = true", "vxgate: vx.toml:1:11: offload \"on\": auto or off", "--help"),
            (
                "[tunnel]\nvni = 7",
                "vxgate: vx.toml:1:1: tunnel: tables stand here, not a table",
                "[[tunnel]]",
            ),
            ("tunnel = [7]", "vxgate: vx.toml:1:11: tunnel: a table stands here, not a number", "[[tunnel]]"),
            (
                "[[tunnel]]\nvnii = 7",
                "vxgate: vx.toml:2:1: \"vnii\": no such option; a similar one is vni",
                "--help",
            ),
            (
                "[[tunnel]]\nmetrics = \":1\"",
                "vxgate: vx.toml:2:1: metrics: a process has one",
                "before the first",
            ),
            ("[tunnels]\nvni = 7", "vxgate: vx.toml:1:2: \"tunnels\": no such option", "--help"),
            ("config = \"x\"", "vxgate: vx.toml:1:1: \"config\": a configuration file names no other", ""),
            ("help = true", "vxgate: vx.toml:1:1: \"help\": no such option", "--help"),
            (
                "auth_key = \"s3cret\"",
                "vxgate: vx.toml:1:1: \"auth_key\": secrets do not belong",
                "SORACOM_AUTH_KEY",
            ),
            ("vni = 7\nmtu = 1400\nvni = 8", "vxgate: vx.toml:3:1: ", "one list"),
            ("vni = ", "vxgate: vx.toml:1:7: ", ""),
            ("mtu = \"", "vxgate: vx.toml:1:8: ", ""),
        ] {
            let failure = parse(text).expect_err(text);
            let told = failure.to_string();
            assert!(told.starts_with(first), "{text}: {told}");
            assert!(!told.contains("s3cret"), "{told}");
            let hinted = told.split_once("\nhint: ").map_or("", |(_, hint)| hint);
            assert!(hinted.contains(hint), "{text}: {told}");
            assert_eq!(failure.exit_code(), std::process::ExitCode::from(2), "{text}");
        }
    }

    #[test]
    fn two_sources_of_a_tunnel_in_one_file_are_two() {
        for text in ["vpg-id = \"a\"\ngate-peers = \"-\"", "gate-peers = \"-\"\nvpg-id = \"a\""] {
            let error = crate::config::UpConfig::new(parse(text).unwrap().options(0)).unwrap_err();
            assert_eq!(error, crate::config::ConfigError::TwoGates, "{text}");
        }
    }

    #[test]
    fn a_tunnel_says_what_all_say_unless_it_says_otherwise() {
        let text = "mtu = 1400\npeer = \"192.0.2.1\"\n[[tunnel]]\ndev = \"a\"\n[[tunnel]]\ndev = \"b\"\nmtu = 1300\n";
        let file = parse(text).unwrap();
        assert_eq!((file.count(), file.has_sections()), (2, true));
        assert_eq!(file.options(0), line("--dev=a --mtu=1400 --peer=192.0.2.1"));
        assert_eq!(file.options(1), line("--dev=b --mtu=1300 --peer=192.0.2.1"));
        assert_eq!(file.place("mtu", &UpOptions::default(), 0), Some("vx.toml:1:1"));
        assert_eq!(file.place("mtu", &UpOptions::default(), 1), Some("vx.toml:7:1"));
        assert_eq!(file.beginning(1), Some("vx.toml:5:1"));
    }

    #[test]
    fn all_that_is_wrong_is_found_in_the_order_of_the_file() {
        let text = "vnii = 1\n[[tunnel]]\nmtu = 1\n[[tunnel]]\npeer = \"x\"\nmetrics = \"off\"\n";
        let (file, problems) = ConfigFile::look(text, Path::new("vx.toml"));
        let places: Vec<String> = problems.iter().map(|one| one.why().chars().take(11).collect()).collect();
        assert_eq!(places, ["vx.toml:1:1", "vx.toml:3:7", "vx.toml:5:8", "vx.toml:6:1"]);
        assert_eq!(file.count(), 2);
    }

    #[test]
    fn the_place_of_an_option_is_told_only_where_the_file_decides_it() {
        let file = parse("vni = 7\nmtu = 1400\n").unwrap();
        assert_eq!(file.place("mtu", &UpOptions::default(), 0), Some("vx.toml:2:1"));
        assert_eq!(file.place("mtu", &line("--mtu=1300"), 0), None);
        assert_eq!(file.place("peer", &UpOptions::default(), 0), None);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let path = std::env::temp_dir().join(format!("vxgate-config-{}", std::process::id()));
        let read = || ConfigFile::read(&path).map(drop).unwrap_err().to_string();
        let missing = read();
        assert!(missing.contains("No such file") && missing.contains("hint: `vxgate migrate"), "{missing}");
        std::fs::write(&path, b"vni = 7\n# \xff").unwrap();
        assert!(read().contains(":2:3: it is not UTF-8"), "{}", read());
        std::fs::write(&path, "#".repeat(300_000)).unwrap();
        assert!(read().contains("longer than 262144 octets"), "{}", read());
        std::fs::remove_file(&path).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn any_text_parses_or_says_where_it_is_wrong(text in "\\PC{0,60}|[a-z-]{1,12} = [ -~]{0,20}\n?") {
            if let Err(failure) = parse(&text) {
                let told = failure.to_string();
                proptest::prop_assert!(told.starts_with("vxgate: vx.toml:"), "{told}");
            }
        }
    }
}
