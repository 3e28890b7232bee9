//! `vxgate gate`: asks the API, and prints what it says.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use vxgate_gate::GatePeer;
use vxgate_gate::api::{ApiError, Client, ClientConfig, ClientConfigError, Overrides, RetryNotice, VpgId};
use vxgate_gate::peers::{own_entry, vpg_peers};

use crate::args::OutputArgs;
use crate::args::environment;
use crate::args::gate::{GateCommand, Outer, RegisterArgs, VpgArgs};
use crate::commands::format;
use crate::failure::{Failure, see_help};
use crate::print::Format;
use crate::print::gate as print;

/// Does what the verb asks for.
pub(crate) fn run(verb: Option<GateCommand>, output: OutputArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let verb = verb.ok_or_else(|| {
        Failure::usage("gate", "allowed are status, peers, register, unregister, open, close")
            .with_hint(see_help("gate"))
    })?;
    let name = name(&verb);
    let asked = Asked::new(name, args(&verb), output)?;
    let done = asked.answer(verb, out);
    // A token that is left behind serves whoever finds it; that this fails harms nobody.
    let _ = asked.client.log_out();
    done
}

/// One verb, whom it asks and about what.
struct Asked {
    name: &'static str,
    client: Client,
    vpg: VpgId,
    format: Format,
    /// The options that the next command needs too.
    same: String,
}

impl Asked {
    fn new(name: &'static str, args: &VpgArgs, output: OutputArgs) -> Result<Asked, Failure> {
        let args = with_environment(name, args, &|variable| env::var_os(variable))?;
        let vpg = args.vpg_id.clone().ok_or_else(|| {
            let hint = "`soracom vpg list` names yours; VXGATE_VPG_ID may hold it";
            Failure::usage(format!("{name}: --vpg-id"), "which VPG is meant is missing")
                .with_hint(hint.to_owned())
        })?;
        let overrides = Overrides {
            endpoint: args.endpoint.clone(),
            coverage: args.coverage,
            profile: args.profile.clone(),
        };
        let config = ClientConfig::from_environment(&overrides, &|variable| env::var_os(variable))
            .map_err(|error| config_failure(name, &error))?;
        let on_retry = RetryNotice::new(move |error, wait| {
            // Nobody reads it: the attempt is made all the same.
            let _ = writeln!(
                io::stderr(),
                "vxgate: {name}: {error}; trying again in {:.0} s",
                wait.as_secs_f32()
            );
        });
        let client = Client::new(ClientConfig { on_retry: Some(on_retry), ..config });
        let same = same_options(&vpg, &args);
        Ok(Asked { name, client, vpg, format: format(args.output.or(output)), same })
    }

    fn answer(&self, verb: GateCommand, out: &mut dyn Write) -> Result<(), Failure> {
        let written = match verb {
            GateCommand::Status(_) => {
                let vpg = self.ask(|client, vpg| client.vpg(vpg))?;
                let peers = self.ask(|client, vpg| client.peers(vpg))?;
                print::status(out, self.format, &vpg, &peers, &self.same)
            }
            GateCommand::Peers(_) => {
                print::peers(out, self.format, &self.ask(|client, vpg| client.peers(vpg))?)
            }
            GateCommand::Register(args) => return self.register(&args, out),
            GateCommand::Unregister(args) => {
                self.ask(|client, vpg| client.unregister(vpg, args.outer))?;
                print::unregistered(out, self.format, args.outer)
            }
            GateCommand::Open(args) => {
                let vpg = self.ask(|client, vpg| client.open(vpg, args.vni))?;
                print::opened(out, self.format, &vpg, &self.same)
            }
            GateCommand::Close(_) => {
                self.ask(|client, vpg| client.close(vpg))?;
                print::closed(out, self.format, &self.vpg)
            }
        };
        written.map_err(|error| Failure::output(&error))
    }

    fn register(&self, args: &RegisterArgs, out: &mut dyn Write) -> Result<(), Failure> {
        let outer = match args.outer {
            Outer::Ip(ip) => ip,
            Outer::Auto => {
                let peers = self.ask(|client, vpg| client.peers(vpg))?;
                source_towards(&peers).map_err(|why| {
                    let hint =
                        "say the address that the VPG's peers reach this host by, as in --outer 172.21.0.100";
                    Failure::failed(format!("{}: --outer auto", self.name), why).with_hint(hint.to_owned())
                })?
            }
        };
        let registered = self.ask(|client, vpg| client.register(vpg, outer, args.inner))?;
        // The netmask comes with the next list, and the next step depends on the gate. It is registered without either.
        let listed = self.client.peers(&self.vpg).ok();
        let peer = listed.as_deref().and_then(|peers| own_entry(peers, outer)).unwrap_or(&registered);
        let opened = self.client.vpg(&self.vpg).map_or(true, |vpg| vpg.gate_opened);
        print::registered(out, self.format, peer, opened, &self.same).map_err(|error| Failure::output(&error))
    }

    fn ask<T>(&self, call: impl FnOnce(&Client, &VpgId) -> Result<T, ApiError>) -> Result<T, Failure> {
        call(&self.client, &self.vpg)
            .map_err(|error| Failure::failed(self.name, &error).with_hint(error.hint()))
    }
}

/// The verb as it is typed.
fn name(verb: &GateCommand) -> &'static str {
    match verb {
        GateCommand::Status(_) => "gate status",
        GateCommand::Peers(_) => "gate peers",
        GateCommand::Register(_) => "gate register",
        GateCommand::Unregister(_) => "gate unregister",
        GateCommand::Open(_) => "gate open",
        GateCommand::Close(_) => "gate close",
    }
}

fn args(verb: &GateCommand) -> &VpgArgs {
    match verb {
        GateCommand::Status(args) | GateCommand::Peers(args) | GateCommand::Close(args) => args,
        GateCommand::Register(args) => &args.vpg,
        GateCommand::Unregister(args) => &args.vpg,
        GateCommand::Open(args) => &args.vpg,
    }
}

/// The options, and the variables where these say nothing.
fn with_environment(
    name: &str,
    args: &VpgArgs,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) -> Result<VpgArgs, Failure> {
    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        variable: &str,
        text: Option<String>,
    ) -> Result<Option<T>, Failure> {
        let parse = |text: String| {
            text.parse().map_err(|error| Failure::usage(format!("{variable} {text:?}"), error))
        };
        text.map(parse).transpose()
    }
    let read = |said: bool, variable: &'static str| {
        if said { Ok(None) } else { environment::value(variable, lookup) }
    };
    let hint = |failure: Failure| failure.with_hint(see_help(name));
    let read = |said, variable| read(said, variable).map_err(hint);
    let vpg_id = read(args.vpg_id.is_some(), "VXGATE_VPG_ID")?;
    let coverage = read(args.coverage.is_some(), "VXGATE_COVERAGE")?;
    let endpoint = read(args.endpoint.is_some(), "VXGATE_ENDPOINT")?;
    let profile = read(args.profile.is_some(), "VXGATE_PROFILE")?;
    Ok(VpgArgs {
        vpg_id: args.vpg_id.clone().or(parsed("VXGATE_VPG_ID", vpg_id).map_err(hint)?),
        coverage: args.coverage.or(parsed("VXGATE_COVERAGE", coverage).map_err(hint)?),
        endpoint: args.endpoint.clone().or(endpoint),
        profile: args.profile.clone().or(profile),
        output: args.output,
    })
}

/// What is missing or wrong before the API is asked.
pub(crate) fn config_failure(name: &str, error: &ClientConfigError) -> Failure {
    let of_line = match error {
        ClientConfigError::Endpoint { from, .. } => from == "--endpoint",
        ClientConfigError::ProfileName { .. } => true,
        ClientConfigError::NoCredentials
        | ClientConfigError::Half { .. }
        | ClientConfigError::NotUtf8 { .. }
        | ClientConfigError::File { .. }
        | ClientConfigError::ControlCharacter { .. }
        | ClientConfigError::Proxy { .. }
        | ClientConfigError::NoHome
        | ClientConfigError::NoProfile { .. }
        | ClientConfigError::ProfileFile { .. }
        | ClientConfigError::ProfileMode { .. }
        | ClientConfigError::ProfileSyntax { .. }
        | ClientConfigError::NoProfileCredentials { .. }
        | ClientConfigError::ProfileCommand { .. } => false,
    };
    let failure = if of_line { Failure::usage(name, error) } else { Failure::failed(name, error) };
    failure.with_hint(error.hint())
}

/// The options by which another command means the same VPG.
fn same_options(vpg: &VpgId, args: &VpgArgs) -> String {
    let mut same = format!("--vpg-id {vpg}");
    let options = [
        ("coverage", args.coverage.map(|coverage| coverage.to_string())),
        ("endpoint", args.endpoint.clone()),
        ("profile", args.profile.clone()),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            same.push_str(&format!(" --{name} {value}"));
        }
    }
    same
}

/// This host's address towards every peer of the VPG, as its routes have it. Nothing is sent.
fn source_towards(peers: &[GatePeer]) -> Result<IpAddr, String> {
    let mut found: Option<IpAddr> = None;
    for peer in vpg_peers(peers) {
        let source = source_of_route(peer.outer_ip)
            .map_err(|error| format!("there is no route to {}: {error}", peer.outer_ip))?;
        if source.is_loopback() {
            return Err(format!("{} is an address of this host itself", peer.outer_ip));
        }
        match found {
            Some(other) if other != source => {
                return Err(format!("the routes to the VPG's peers use {other} and {source}"));
            }
            Some(_) | None => found = Some(source),
        }
    }
    found.ok_or_else(|| "the VPG lists no peers of its own".to_owned())
}

/// The source address of datagrams to this one: a socket that is connected has it.
fn source_of_route(to: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((to, vxgate_gate::GATE_PORT))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_says_what_its_option_says_and_the_option_wins() {
        let variables = [
            ("VXGATE_VPG_ID", " of-variable\n"),
            ("VXGATE_COVERAGE", "g"),
            ("VXGATE_ENDPOINT", "https://api.test"),
            ("VXGATE_PROFILE", ""),
        ];
        let lookup =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into());
        let line = VpgArgs { vpg_id: Some("of-line".parse().unwrap()), ..VpgArgs::default() };
        let both = with_environment("gate status", &line, &lookup).unwrap();
        assert_eq!(
            same_options(both.vpg_id.as_ref().unwrap(), &both),
            "--vpg-id of-line --coverage g --endpoint https://api.test"
        );
        let none = with_environment("gate status", &VpgArgs::default(), &lookup).unwrap();
        assert_eq!(none.vpg_id.unwrap().as_str(), "of-variable");
        let wrong = |name: &str| (name == "VXGATE_COVERAGE").then(|| "eu".into());
        let failure = with_environment("gate status", &VpgArgs::default(), &wrong).unwrap_err().to_string();
        assert_eq!(
            failure,
            "vxgate: VXGATE_COVERAGE \"eu\": a coverage is jp or g\nhint: `vxgate gate status --help` shows what is allowed, with examples"
        );
    }

    #[test]
    fn the_source_of_a_route_needs_peers_and_is_never_loopback() {
        assert_eq!(source_towards(&[]), Err("the VPG lists no peers of its own".to_owned()));
        let peer = GatePeer {
            inner_ip: "10.192.158.4".parse().unwrap(),
            netmask: None,
            outer_ip: "127.0.0.1".parse().unwrap(),
            owned_by_customer: false,
        };
        assert_eq!(
            source_towards(std::slice::from_ref(&peer)),
            Err("127.0.0.1 is an address of this host itself".to_owned())
        );
        let ours = GatePeer { owned_by_customer: true, ..peer };
        assert_eq!(source_towards(&[ours]), Err("the VPG lists no peers of its own".to_owned()));
    }
}
