//! The command line: what may be said, and what it means.
//!
//! `clap` reads verbs and options; the words of `fdb` and `peer` are read by hand, as iproute2 reads them. Whatever is
//! wrong becomes a [`Failure`] with exit status 2.

pub(crate) mod bench;
pub(crate) mod capture;
pub(crate) mod doctor;
pub(crate) mod environment;
pub(crate) mod fdb;
pub(crate) mod gate;
pub(crate) mod migrate;
pub(crate) mod peer;
pub(crate) mod up;
mod words;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::bench::{Against, BenchArgs};
use self::capture::CaptureArgs;
use self::doctor::DoctorArgs;
use self::environment::VARIABLES;
use self::fdb::FdbCommand;
use self::gate::GateCommand;
use self::migrate::MigrateArgs;
use self::peer::PeerCommand;
use self::up::UpOptions;
use crate::config::values::{self, LogFormat};
use crate::failure::{Failure, see_help};
use crate::lab::ground::Outage;
use crate::up::monitor;
pub(crate) use words::parse_device;

/// A VXLAN tunnel end point in user space, made for SORACOM Gate
#[derive(Debug, Parser)]
#[command(
    name = "vxgate",
    version,
    args_conflicts_with_subcommands = false,
    after_help = "Without a command it shows the tunnels that run.

Examples:
  vxgate lab
  vxgate up --peer 100.64.158.4 --peer 100.64.158.132 --address 10.225.194.171/9
  vxgate show vxlan0 -j

`vxgate COMMAND --help` shows a command's own."
)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// With fdb show: how long ago each entry was used and changed
    #[arg(short = 's', long)]
    pub(crate) statistics: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// How to print a listing.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutputArgs {
    /// Print JSON
    #[arg(short = 'j', long)]
    pub(crate) json: bool,
    /// With -j: over several lines, for people
    #[arg(short = 'p', long)]
    pub(crate) pretty: bool,
}

impl OutputArgs {
    /// Said before the verb or behind it, as with `ip`.
    pub(crate) fn or(self, other: OutputArgs) -> OutputArgs {
        OutputArgs { json: self.json || other.json, pretty: self.pretty || other.pretty }
    }
}

/// The verbs.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring a tunnel up and carry its frames, in the foreground
    #[command(
        after_help = "It takes the device, its addresses and routes away again when it is told to stop: SIGTERM, SIGINT, \
`vxgate down`, or SIGHUP (unless it is ignored, as under nohup). With --config, SIGHUP reads the file again instead, as `vxgate reload` \
does.

Each option can come from the environment instead, under the name in [env] that --help shows: lists are \
separated by commas or white space there, and a value file:PATH (in the environment only) is read from that \
file. --config names a file for the rest. The command line wins, then the environment. VXGATE_RUNTIME_DIR is \
where the control socket and the lock lie (/run/vxgate); VXGATE_LOG is what is logged: error, warn, info (default), debug or trace.

Datagrams are accepted from the peers, from the remotes of entries added by hand, and from --accept-from.

Examples:
  vxgate up --peer 100.64.158.4 --peer 100.64.158.132 --address 10.225.194.171/9
  vxgate up --dev vx7 --vni 7 --peer 2001:db8::2 --address 192.0.2.1/24 --source-port hash
  vxgate up --underlay eth0 --peer 239.1.1.1 --accept-from 192.168.0.0/16 --route 10.1.0.0/16
  vxgate up --peer 100.64.158.4 --address 10.225.194.171/9 --forward 172.21.0.0/16
  VXGATE_PEERS=file:/etc/vxgate/peers VXGATE_ADDRESS=10.225.194.171/9 vxgate up
  vxgate up --config /etc/vxgate/vxlan0.toml
  soracom vpg list-gate-peers --vpg-id ID | vxgate up --gate-peers - --local 172.21.0.100
  vxgate up --dry-run --open-gate --vpg-id ID"
    )]
    Up(Box<UpOptions>),
    /// Take a tunnel down, and wait until it is gone
    #[command(after_help = "Examples:
  vxgate down
  vxgate down vxlan0")]
    Down {
        /// Words: the device, and what else stands in `help`.
        #[arg(value_name = "DEV", help = "[dev] DEV; the only tunnel where none is named")]
        words: Vec<String>,
    },
    /// Bring a tunnel up by the arguments of the Gate's init_vxlan.sh
    #[command(
        override_usage = "vxgate init [--foreground] PHY_IF PHY_ADDR VXLAN_IF VXLAN_ADDR NETMASK [VNI] PEER...",
        after_help = "NETMASK is 9 or 255.128.0.0; it may be anything where VXLAN_ADDR carries its prefix. VNI is 10 where it \
is left out. Other options of `up` come from the environment, as in VXGATE_MTU=1400.

Like the script it returns when the tunnel is up, and the tunnel stays until `vxgate down`. A vxgate that \
is called by a name with init_vxlan in it does the same.

Examples:
  vxgate init eth0 172.21.0.100 vxlan0 10.225.194.171/9 10.255.255.255 100.64.158.4 100.64.158.132
  vxgate init eth0 172.21.0.100 vxlan0 10.225.194.171 255.128.0.0 10 100.64.158.4 100.64.158.132
  ln -s /usr/local/bin/vxgate /opt/init_vxlan.sh"
    )]
    Init(InitArgs),
    /// Turn an init_vxlan.sh line of rc.local, a crontab or a unit into a file for `up --config`
    #[command(after_help = migrate::HELP)]
    Migrate(MigrateArgs),
    /// Show tunnels: peers, traffic, drops
    #[command(after_help = "Examples:
  vxgate show
  vxgate show vxlan0
  vxgate show --watch
  vxgate show -j | jq '.[0].peers'")]
    Show {
        /// Words: the device, and what else stands in `help`.
        #[arg(value_name = "DEV", help = "[dev] DEV; every tunnel where none is named")]
        words: Vec<String>,
        /// Show again every so many seconds, 0.1 to 3600 [default: 1]
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", require_equals = true, value_parser = values::watch_interval)]
        watch: Option<Duration>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Have a running tunnel read its configuration file again
    #[command(
        after_help = "What can change while it runs does, without a lost frame; what needs a restart is named. A file that is wrong \
changes nothing. SIGHUP does the same.

Examples:
  vxgate reload
  vxgate reload vxlan0"
    )]
    Reload {
        /// Words: the device, and what else stands in `help`.
        #[arg(
            value_name = "DEV",
            help = "[dev] DEV; the only tunnel where none is named. All tunnels of its process are reloaded"
        )]
        words: Vec<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Say what is wrong in a configuration file, and change nothing
    #[command(
        after_help = "Exit status 0: all is right; 2: something is not, and all of it is told, by line and column.

Examples:
  vxgate check /etc/vxgate/vxlan0.toml
  vxgate check -
  vxgate check -j /etc/vxgate/vxlan0.toml"
    )]
    Check {
        /// The file, or - for standard input
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Say why frames are dropped, what causes it and what to do
    #[command(after_help = "Without a reason it lists all of them.

Examples:
  vxgate explain
  vxgate explain wrong-vni")]
    Explain {
        /// The reason's name, as `show` has it
        #[arg(value_name = "REASON")]
        reason: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Watch tunnels in a terminal: peers, rates, drops, the forwarding database
    #[command(after_help = "Keys: ? shows them. q ends.

Examples:
  vxgate top
  vxgate top vxlan0")]
    Top {
        /// Words: the device, and what else stands in `help`.
        #[arg(value_name = "DEV", help = "[dev] DEV; every tunnel where none is named")]
        words: Vec<String>,
    },
    /// Write frames, datagrams or what is dropped to a file or a pipe, as pcapng
    #[command(after_help = capture::HELP)]
    Capture(CaptureArgs),
    /// Show and change the forwarding database, in the words of `bridge fdb`
    #[command(after_help = "Without a verb it shows.

Examples:
  vxgate fdb show dev vxlan0
  vxgate fdb add 02:00:00:00:00:0a dev vxlan0 dst 100.64.158.4 port 4789 vni 10 self static
  vxgate fdb flush dev vxlan0 dynamic")]
    Fdb {
        #[command(subcommand)]
        verb: Option<FdbCommand>,
    },
    /// List and change the peers
    #[command(after_help = "Without a verb it lists.

Examples:
  vxgate peer list
  vxgate peer add 100.64.158.132 dev vxlan0
  vxgate peer del 100.64.158.132")]
    Peer {
        #[command(subcommand)]
        verb: Option<PeerCommand>,
    },
    /// Ask SORACOM's API about a Gate, register hosts at it, open and close it
    #[command(after_help = gate::HELP)]
    Gate {
        #[command(subcommand)]
        verb: Option<GateCommand>,
    },
    /// Look this host over for a tunnel, and say what is in its way
    #[command(after_help = doctor::HELP)]
    Doctor(Box<DoctorArgs>),
    /// Show a whole Gate on this machine: no root, no cloud
    #[command(
        after_help = "It makes namespaces of its own: `you`, two Gate peers and a device behind them. Nothing outside changes.

Examples:
  vxgate lab
  vxgate lab --check && echo the tunnel works here
  vxgate lab --api
  vxgate lab --failover 10
  vxgate lab --keep"
    )]
    Lab(LabArgs),
    /// Measure this machine: the same loads over vxgate and over the kernel's vxlan, in turn
    #[command(after_help = bench::HELP)]
    Bench(BenchArgs),
    /// Print the completions of a shell
    #[command(after_help = "Examples:
  vxgate completions bash > /usr/share/bash-completion/completions/vxgate
  source <(vxgate completions zsh)")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write every page into a directory
    #[command(after_help = "Examples:
  vxgate man | man -l -
  vxgate man /usr/local/share/man")]
    Man {
        /// Where the pages go, in man1 and man5 below it
        dir: Option<PathBuf>,
    },
}

/// The arguments of `init`.
#[derive(Args, Clone, Debug)]
pub(crate) struct InitArgs {
    /// Stay in the foreground, as `up` does
    #[arg(long)]
    pub(crate) foreground: bool,
    /// With --foreground: leave the caller, as the process that `init` starts does.
    #[arg(long, hide = true, requires = "foreground")]
    pub(crate) detached: bool,
    /// The script's words, as `help` has them.
    #[arg(
        help = "PHY_IF PHY_ADDR VXLAN_IF VXLAN_ADDR NETMASK [VNI] PEER...",
        value_name = "ARG",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) arguments: Vec<String>,
}

/// The arguments of a monitor, which a `vxgate up` starts and nobody else: no verb of the command line.
#[derive(Clone, Debug, Parser)]
#[command(name = monitor::VERB)]
pub(crate) struct MonitorArgs {
    /// As the tunnels log.
    #[arg(long)]
    pub(crate) log_format: LogFormat,
    /// There is a program of --on-event, which is run with what privilege there is.
    #[arg(long)]
    pub(crate) runs_programs: bool,
    /// The command line of the tunnels.
    #[arg(last = true)]
    pub(crate) arguments: Vec<OsString>,
}

/// The whole command line, each option of `up` (and of `doctor`, which has the same) with its variable: for parsing, completions and manual pages.
pub(crate) fn command() -> clap::Command {
    CommandLine::command().mut_subcommands(|verb| {
        if !["up", "doctor"].contains(&verb.get_name()) {
            return verb;
        }
        verb.mut_args(|arg| {
            // A number below zero is a value, which its option refuses by saying what is allowed.
            let negative = arg.get_action().takes_values();
            let arg = arg.allow_negative_numbers(negative);
            let variable = VARIABLES.iter().find(|(option, _)| arg.get_long() == Some(*option));
            let Some((_, variable)) = variable else { return arg };
            let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
            arg.long_help(format!("{help}\n\n[env: {variable}]"))
        })
    })
}

/// What the arguments ask for, or what to print instead.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// A command.
    Run(CommandLine),
    /// Help or the version: for standard output.
    Print(String),
    /// What needs privilege, for another process.
    Monitor(MonitorArgs),
}

/// Reads the arguments, the program's name first.
pub(crate) fn parse(mut arguments: Vec<OsString>) -> Result<Parsed, Failure> {
    if arguments.first().is_some_and(is_init_script) {
        arguments.insert(1, "init".into());
    }
    if arguments.get(1).is_some_and(|verb| verb == monitor::VERB) {
        let parsed = MonitorArgs::try_parse_from(arguments.split_off(1));
        return parsed.map(Parsed::Monitor).map_err(|_| Failure::usage(monitor::VERB, monitor::NOT_YOU));
    }
    if arguments.is_empty() {
        arguments.push("vxgate".into());
    }
    let parsed = command()
        .try_get_matches_from(&arguments)
        .and_then(|matches| CommandLine::from_arg_matches(&matches));
    match parsed {
        Ok(line) => Ok(Parsed::Run(line)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Parsed::Print(error.render().to_string()))
        }
        Err(error) => Err(wrong(&error, &verb(&arguments))),
    }
}

/// Whether the program was called as the Gate's script is.
fn is_init_script(name: &OsString) -> bool {
    Path::new(name).file_name().is_some_and(|name| name.to_string_lossy().contains("init_vxlan"))
}

/// The verb in these arguments, both words of it for `fdb` and `peer`: what `--help` is to be asked for.
fn verb(arguments: &[OsString]) -> String {
    let mut command = command();
    let mut verb = Vec::new();
    for word in arguments.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(found) = command.find_subcommand(word) {
            verb.push(found.get_name().to_owned());
            command = found.clone();
        } else if !word.starts_with('-') {
            break;
        }
    }
    verb.join(" ")
}

/// The parser's error in our words: the argument, and what is allowed.
fn wrong(error: &clap::Error, verb: &str) -> Failure {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let scope = |argument: String| if verb.is_empty() { argument } else { format!("{verb}: {argument}") };
    let argument = text(ContextKind::InvalidArg).map(|argument| argument.trim_end_matches("...").to_owned());
    let value = text(ContextKind::InvalidValue);
    let hint = see_help(verb).replace("vxgate  ", "vxgate ");

    let (what, why) = match (error.kind(), argument, value) {
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(argument), Some(value)) => {
            let option = argument.split(' ').next().unwrap_or(&argument);
            let why = match (
                std::error::Error::source(error),
                text(ContextKind::ValidValue).filter(|valid| !valid.is_empty()),
            ) {
                (Some(source), _) => source.to_string(),
                (None, Some(valid)) => format!("allowed are {valid}"),
                (None, None) => format!("a value is missing: {argument}"),
            };
            let what = if value.is_empty() && std::error::Error::source(error).is_none() {
                option.to_owned()
            } else {
                format!("{option} {value:?}")
            };
            (scope(what), why)
        }
        (ErrorKind::UnknownArgument, Some(argument), _) => {
            let why = match text(ContextKind::SuggestedArg) {
                Some(near) => format!("no such argument; a similar one is {near}"),
                None => "no such argument".to_owned(),
            };
            (scope(format!("{argument:?}")), why)
        }
        (ErrorKind::ArgumentConflict, Some(argument), _) => {
            let option = |text: &str| text.split(' ').next().unwrap_or(text).to_owned();
            let prior = text(ContextKind::PriorArg).unwrap_or_default();
            let others: Vec<_> = prior.split(", ").filter(|other| !other.is_empty()).map(option).collect();
            let option = option(&argument);
            let why = if others.iter().all(|other| *other == option) {
                "may be given once".to_owned()
            } else {
                format!("does not go together with {}", others.join(" and "))
            };
            (scope(option), why)
        }
        (ErrorKind::InvalidSubcommand, ..) => {
            let word = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            let commands = command();
            let parent = verb.split_whitespace().try_fold(&commands, |at, word| at.find_subcommand(word));
            let names: Vec<_> =
                parent.unwrap_or(&commands).get_subcommands().map(clap::Command::get_name).collect();
            (scope(format!("{word:?}")), format!("allowed are {}", names.join(", ")))
        }
        (_, Some(argument), _) => (scope(argument), first_line(error)),
        (_, None, _) => {
            (if verb.is_empty() { "command line".to_owned() } else { verb.to_owned() }, first_line(error))
        }
    };
    Failure::usage(what, why).with_hint(hint)
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// The switches of `vxgate lab`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabArgs {
    /// Exit with 0 only where every step held
    #[arg(long)]
    pub(crate) check: bool,
    /// Stay up, and print how to enter each host
    #[arg(long)]
    pub(crate) keep: bool,
    /// Let `you` set itself up from a Gate API in the lab, as with a key of the real one
    #[arg(long)]
    pub(crate) api: bool,
    /// Make the Gate peers of vxgate too, even where the kernel has vxlan devices
    #[arg(long)]
    pub(crate) user_space_peers: bool,
    /// Measure instead: take a Gate peer away and give it back, RUNS times in each of three ways, 1 to 1000
    ///
    /// It is killed, unplugged, or silent, while pings go through it every 10 ms. Printed is how long none came through, over vxgate and,
    /// for a tenth of the runs and up to 5 s each, over the kernel's vxlan device; and what its return did. A run takes
    /// 5 seconds, and 9 over the kernel's.
    #[arg(long, value_name = "RUNS", value_parser = clap::value_parser!(u32).range(1..=1000), conflicts_with_all = ["check", "keep"])]
    pub(crate) failover: Option<u32>,
    /// With --failover: how the peer goes, killed, unplugged or silent; by default each in turn
    #[arg(long, value_name = "WAYS", value_delimiter = ',', requires = "failover")]
    pub(crate) outage: Vec<Outage>,
    /// With --failover: what to compare with, the kernel's vxlan device or nothing
    #[arg(
        long,
        value_name = "kernel|none",
        default_value = "kernel",
        hide_possible_values = true,
        requires = "failover"
    )]
    pub(crate) against: Against,
    /// With --failover: print JSON
    #[arg(long, requires = "failover")]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests;
