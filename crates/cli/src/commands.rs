//! What each verb does: reads its words, asks a daemon, prints.

use std::io::Write;
use std::iter;

use crate::args::fdb::{self, FdbCommand, ShowArgs};
use crate::args::peer::{self, PeerCommand, PeerListArgs};
use crate::args::up::UpOptions;
use crate::args::{self, Command, CommandLine, MonitorArgs, OutputArgs};
use crate::config::layers::Layers;
use crate::config::values::DeviceName;
use crate::config::{UpConfig, several};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::FdbVerb;
use crate::control::runtime_dir::RuntimeDir;
use crate::failure::Failure;
use crate::print::fdb::FdbPrinter;
use crate::print::{self, Format, Style};
use crate::up::Wanted;
use crate::{bench, capture, check, doctor, explain, gate, init, lab, man, migrate, top, up, watch};

/// Does what the command line asks for.
pub(crate) fn run(line: CommandLine, out: &mut dyn Write) -> Result<(), Failure> {
    let CommandLine { output, statistics, command } = line;
    match command {
        None => show(out, None, output),
        Some(Command::Show { words, watch, output: own }) => {
            let (dev, output) = (args::parse_device("show", &words)?, own.or(output));
            match watch {
                None => show(out, dev, output),
                Some(interval) => watch::every(interval, out, |out| show(out, dev.clone(), output)),
            }
        }
        Some(Command::Top { words }) => top::run(args::parse_device("top", &words)?.as_ref()),
        Some(Command::Capture(args)) => {
            let dev = args::parse_device("capture", &args.words)?;
            capture::run(&args, connect("capture", dev.as_ref())?)
        }
        Some(Command::Reload { words, output: own }) => {
            let dev = args::parse_device("reload", &words)?;
            let reloaded = connect("reload", dev.as_ref())?.reload();
            let reloaded = reloaded.map_err(|error| Failure::client("reload", &error))?;
            print::reloaded::write(out, format(own.or(output)), &reloaded)
                .map_err(|error| Failure::output(&error))
        }
        Some(Command::Check { file, output: own }) => check::run(&file, format(own.or(output)), out),
        Some(Command::Explain { reason, output: own }) => {
            explain::run(reason.as_deref(), format(own.or(output)), out)
        }
        Some(Command::Up(options)) => up_command(&Layers::under(*options)?, out),
        Some(Command::Down { words }) => {
            let dev = args::parse_device("down", &words)?;
            if dev.as_ref().is_some_and(up::remove_kept) {
                return Ok(());
            }
            connect("down", dev.as_ref())?.down().map_err(|error| Failure::client("down", &error))
        }
        Some(Command::Init(args)) => init::run(&args, out),
        Some(Command::Migrate(args)) => migrate::run(&args, out),
        Some(Command::Fdb { verb }) => {
            let show = FdbCommand::Show(ShowArgs::default());
            fdb_command(out, verb.unwrap_or(show), output, statistics)
        }
        Some(Command::Peer { verb }) => {
            peer_command(out, verb.unwrap_or(PeerCommand::List(PeerListArgs::default())), output)
        }
        Some(Command::Gate { verb }) => gate::run(verb, output, out),
        Some(Command::Doctor(args)) => {
            doctor::run(&Layers::under(args.options)?.only("doctor")?, format(args.output.or(output)), out)
        }
        Some(Command::Lab(args)) => lab::run(&args, out),
        Some(Command::Bench(args)) => bench::run(&args, out),
        Some(Command::Completions { shell }) => completions(out, shell),
        Some(Command::Man { dir }) => man::run(out, dir.as_deref()),
    }
}

/// Brings up the tunnels that the options ask for, with the Gate's own word where they name its source.
fn up_command(layers: &Layers, out: &mut dyn Write) -> Result<(), Failure> {
    let is_rehearsal = layers.options().gate.dry_run == Some(true);
    let tunnels = wanted(layers)?;
    if !is_rehearsal {
        let again = layers.clone();
        let reread =
            layers.has_file().then(|| up::Reread::new(layers.files(), move || said(&again.read_again()?)));
        return up::run(tunnels, reread, || {});
    }
    tunnels.into_iter().try_for_each(|wanted| match wanted {
        Wanted::Said(config) => up::rehearse_config(&config, out),
        Wanted::Vpg { request, .. } => up::rehearse(*request, out),
    })
}

/// What is said of the tunnels that are asked for.
fn said(layers: &Layers) -> Result<Vec<UpConfig>, Failure> {
    Ok(wanted(layers)?.into_iter().map(Wanted::into_said).collect())
}

/// Does for the tunnels of another `vxgate` what needs privilege.
pub(crate) fn monitor(
    MonitorArgs { log_format, runs_programs, arguments }: MonitorArgs,
) -> Result<(), Failure> {
    let line = args::parse(iter::once("vxgate".into()).chain(arguments).collect())?;
    let reread = match line {
        args::Parsed::Run(CommandLine { command: Some(Command::Up(options)), .. }) => {
            let again = move || Layers::under((*options).clone()).and_then(|layers| said(&layers));
            Some(up::Reread::new(Vec::new(), again))
        }
        // `init` says all by its arguments.
        args::Parsed::Run(_) | args::Parsed::Print(_) | args::Parsed::Monitor(_) => None,
    };
    up::monitor::run(log_format, runs_programs, reread)
}

/// The tunnels that are asked for. Mistakes of all of them are told before anybody is asked for more.
fn wanted(layers: &Layers) -> Result<Vec<Wanted>, Failure> {
    let mut said = Vec::new();
    for one in layers.each()? {
        let config = configured(&one, one.options())?;
        said.push((one, config));
    }
    if let Some(problem) = several::problems(&said).into_iter().next() {
        return Err(problem);
    }
    said.into_iter().map(|(one, config)| wanted_of(&one, config)).collect()
}

fn configured(layers: &Layers, options: UpOptions) -> Result<UpConfig, Failure> {
    UpConfig::new(options).map_err(|error| layers.failure(&error, |option| format!("up: --{option}")))
}

/// A tunnel with what the Gate's list says, or what there is to ask the API.
fn wanted_of(layers: &Layers, said: UpConfig) -> Result<Wanted, Failure> {
    let mut options = layers.options();
    if let Some(source) = options.gate.gate_peers.take() {
        let (completed, notices) = up::gate::list::complete_from(&source, options)?;
        let mut tunnel = configured(layers, completed)?;
        tunnel.notices.extend(notices);
        return Ok(Wanted::Said(tunnel));
    }
    Ok(match up::gate::vpg::Request::of(options) {
        Some(request) => Wanted::Vpg { said, request: Box::new(request) },
        None => Wanted::Said(said),
    })
}

fn show(out: &mut dyn Write, dev: Option<DeviceName>, output: OutputArgs) -> Result<(), Failure> {
    let format = format(output);
    let mut tunnels = Vec::new();
    for mut client in connect_to_list(out, "show", dev.as_ref(), format)? {
        tunnels.push(client.show().map_err(|error| Failure::client("show", &error))?);
    }
    print::show::write(out, format, &tunnels).map_err(|error| Failure::output(&error))
}

fn fdb_command(
    out: &mut dyn Write,
    verb: FdbCommand,
    output: OutputArgs,
    statistics: bool,
) -> Result<(), Failure> {
    let set = |verb: FdbVerb, words: &[String]| {
        let (dev, entry) = fdb::parse_set(verb, words)?;
        let name = fdb::verb_name(verb);
        connect(name, dev.as_ref())?.fdb_set(verb, entry).map_err(|error| Failure::client(name, &error))
    };
    match verb {
        FdbCommand::Show(args) => fdb_show(out, &args, output, statistics),
        FdbCommand::Add(args) => set(FdbVerb::Add, &args.words),
        FdbCommand::Append(args) => set(FdbVerb::Append, &args.words),
        FdbCommand::Replace(args) => set(FdbVerb::Replace, &args.words),
        FdbCommand::Del(args) => {
            let (dev, target) = fdb::parse_del(&args.words)?;
            let deleted = connect("fdb del", dev.as_ref())?.fdb_del(target);
            deleted.map_err(|error| Failure::client("fdb del", &error))
        }
        FdbCommand::Flush(args) => {
            let (dev, filter) = fdb::parse_flush(&args.words)?;
            let flushed = connect("fdb flush", dev.as_ref())?.fdb_flush(filter);
            flushed.map(drop).map_err(|error| Failure::client("fdb flush", &error))
        }
    }
}

fn fdb_show(
    out: &mut dyn Write,
    args: &ShowArgs,
    output: OutputArgs,
    statistics: bool,
) -> Result<(), Failure> {
    let view = fdb::parse_show(&args.words)?;
    let format = format(args.output.or(output));
    let mut printer = FdbPrinter::new(format, view.dev.is_none(), args.statistics || statistics);
    for mut client in connect_to_list(out, "fdb show", view.dev.as_ref(), format)? {
        let dev = client.dev().clone();
        let printed = client.fdb_show(|entry| match view.state {
            Some(state) if state != entry.state => Ok(()),
            Some(_) | None => printer.entry(out, &dev, &entry),
        });
        printed
            .map_err(|error| Failure::client("fdb show", &error))?
            .map_err(|error| Failure::output(&error))?;
    }
    printer.end(out).map_err(|error| Failure::output(&error))
}

fn peer_command(out: &mut dyn Write, verb: PeerCommand, output: OutputArgs) -> Result<(), Failure> {
    match verb {
        PeerCommand::List(args) => {
            let dev = args::parse_device("peer list", &args.words)?;
            let format = format(args.output.or(output));
            let mut tunnels = Vec::new();
            for mut client in connect_to_list(out, "peer list", dev.as_ref(), format)? {
                let peers = client.peer_list().map_err(|error| Failure::client("peer list", &error))?;
                tunnels.push((client.dev().clone(), peers));
            }
            print::peers::write(out, format, &tunnels).map_err(|error| Failure::output(&error))
        }
        PeerCommand::Add(args) => {
            let (dev, peer) = peer::parse_add(&args.words)?;
            let added = connect("peer add", dev.as_ref())?.peer_add(peer);
            added.map_err(|error| Failure::client("peer add", &error))
        }
        PeerCommand::Del(args) => {
            let (dev, ip) = peer::parse_del(&args.words)?;
            let deleted = connect("peer del", dev.as_ref())?.peer_del(ip);
            deleted.map_err(|error| Failure::client("peer del", &error))
        }
    }
}

/// The tunnel to change: the one named, or the only one.
fn connect(what: &str, dev: Option<&DeviceName>) -> Result<Client, Failure> {
    let dir = RuntimeDir::from_environment();
    match dev {
        Some(dev) => Client::connect(&dir, dev),
        None => Client::connect_only(&dir),
    }
    .map_err(|error| Failure::client(what, &error))
}

/// The tunnels to list: the one named, or all. That there is none is an error, and an empty list to a program.
fn connect_to_list(
    out: &mut dyn Write,
    what: &str,
    dev: Option<&DeviceName>,
    format: Format,
) -> Result<Vec<Client>, Failure> {
    if let Some(dev) = dev {
        return connect(what, Some(dev)).map(|client| vec![client]);
    }
    let clients = Client::connect_all(&RuntimeDir::from_environment())
        .map_err(|error| Failure::client(what, &error))?;
    if !clients.is_empty() {
        return Ok(clients);
    }
    if matches!(format, Format::Json | Format::PrettyJson) {
        writeln!(out, "[]").map_err(|error| Failure::output(&error))?;
    }
    Err(Failure::client(what, &ClientError::NoTunnel))
}

/// How a listing comes out by these flags.
pub(crate) fn format(output: OutputArgs) -> Format {
    match output {
        OutputArgs { json: false, .. } => Format::Text(Style::of_stdout()),
        OutputArgs { json: true, pretty: false } => Format::Json,
        OutputArgs { json: true, pretty: true } => Format::PrettyJson,
    }
}

fn completions(out: &mut dyn Write, shell: clap_complete::Shell) -> Result<(), Failure> {
    // By way of memory: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "vxgate", &mut script);
    out.write_all(&script).map_err(|error| Failure::output(&error))
}
