//! The options of `up` from the environment: `VXGATE_` and the option's name, a value or `file:PATH`.
//!
//! Each variable goes through the same parser as its option, alone, so that an error names the variable. An empty value
//! says nothing, as compose files and unit files leave it where a setting is not made.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};

use clap::{Args as _, Command, FromArgMatches as _};

use super::up::UpOptions;
use crate::failure::Failure;

/// The options and their variables; lists are in the plural where their option names one of many.
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    ("config", "VXGATE_CONFIG"),
    ("dev", "VXGATE_DEV"),
    ("vni", "VXGATE_VNI"),
    ("local", "VXGATE_LOCAL"),
    ("underlay", "VXGATE_UNDERLAY"),
    ("peer", "VXGATE_PEERS"),
    ("port", "VXGATE_PORT"),
    ("source-port", "VXGATE_SOURCE_PORT"),
    ("address", "VXGATE_ADDRESS"),
    ("mtu", "VXGATE_MTU"),
    ("route", "VXGATE_ROUTES"),
    ("learning", "VXGATE_LEARNING"),
    ("ageing", "VXGATE_AGEING"),
    ("max-macs", "VXGATE_MAX_MACS"),
    ("accept-from", "VXGATE_ACCEPT_FROM"),
    ("reserved-bits", "VXGATE_RESERVED_BITS"),
    ("ttl", "VXGATE_TTL"),
    ("tos", "VXGATE_TOS"),
    ("df", "VXGATE_DF"),
    ("udp-checksum", "VXGATE_UDP_CHECKSUM"),
    ("offload", "VXGATE_OFFLOAD"),
    ("workers", "VXGATE_WORKERS"),
    ("threads", "VXGATE_THREADS"),
    ("busy-poll", "VXGATE_BUSY_POLL"),
    ("affinity", "VXGATE_AFFINITY"),
    ("forward", "VXGATE_FORWARD"),
    ("forward-back", "VXGATE_FORWARD_BACK"),
    ("mss-clamp", "VXGATE_MSS_CLAMP"),
    ("health", "VXGATE_HEALTH"),
    ("probe-interval", "VXGATE_PROBE_INTERVAL"),
    ("probe-retry", "VXGATE_PROBE_RETRY"),
    ("probe-misses", "VXGATE_PROBE_MISSES"),
    ("hold-down", "VXGATE_HOLD_DOWN"),
    ("on-event", "VXGATE_ON_EVENT"),
    ("tap", "VXGATE_TAP"),
    ("tap-fd", "VXGATE_TAP_FD"),
    ("log-format", "VXGATE_LOG_FORMAT"),
    ("metrics", "VXGATE_METRICS"),
    ("storm-limit", "VXGATE_STORM_LIMIT"),
    ("max-macs-per-peer", "VXGATE_MAX_MACS_PER_PEER"),
    ("flap-damping", "VXGATE_FLAP_DAMPING"),
    ("sandbox", "VXGATE_SANDBOX"),
    ("user", "VXGATE_USER"),
    ("gate-peers", "VXGATE_GATE_PEERS"),
    ("vpg-id", "VXGATE_VPG_ID"),
    ("open-gate", "VXGATE_OPEN_GATE"),
    ("api-interval", "VXGATE_API_INTERVAL"),
    ("api-wait", "VXGATE_API_WAIT"),
    ("coverage", "VXGATE_COVERAGE"),
    ("endpoint", "VXGATE_ENDPOINT"),
    ("profile", "VXGATE_PROFILE"),
    ("dry-run", "VXGATE_DRY_RUN"),
];

/// The variable of this option.
pub(crate) fn variable(option: &str) -> &str {
    VARIABLES.iter().find(|(named, _)| *named == option).map_or(option, |(_, variable)| variable)
}

/// Options that take many values: in a variable, separated by commas or white space.
const LISTS: &[&str] = &["peer", "address", "route", "accept-from", "forward"];

/// Longest file behind a `file:PATH`, in octets: far above 1024 peers.
const MAX_FILE_OCTETS: u64 = 64 * 1024;

/// The layer of options that this process's environment says.
pub(crate) fn from_environment() -> Result<UpOptions, Failure> {
    from_lookup(|variable| env::var_os(variable))
}

/// The value of one variable, without white space around it; `None` where nothing is left.
pub(crate) fn value(
    variable: &str,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<String>, Failure> {
    let Some(value) = lookup(variable) else { return Ok(None) };
    let text = text_of(variable, value)?;
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// A variable's text, from its file where it names one.
fn text_of(variable: &str, value: OsString) -> Result<String, Failure> {
    let value = value.into_string().map_err(|_| Failure::usage(variable, "the value is not UTF-8"))?;
    match value.strip_prefix("file:") {
        Some(path) => read_file(path)
            .map_err(|error| Failure::usage(variable, format!("cannot read {path:?}: {error}"))),
        None => Ok(value),
    }
}

/// The layer of options that these variables say.
fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<UpOptions, Failure> {
    let mut options = UpOptions::default();
    for &(option, variable) in VARIABLES {
        let Some(value) = lookup(variable) else { continue };
        let text = text_of(variable, value)?;
        // Kubernetes sets VXGATE_PORT to a URL in every pod beside a service that is called vxgate.
        if option == "port" && text.contains("://") {
            continue;
        }
        let values: Vec<&str> = if LISTS.contains(&option) {
            text.split([',', ' ', '\t', '\r', '\n']).filter(|value| !value.is_empty()).collect()
        } else {
            Some(text.trim()).into_iter().filter(|value| !value.is_empty()).collect()
        };
        for value in &values {
            if let Err(error) = read_layer([format!("--{option}={value}")]) {
                let why =
                    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                return Err(Failure::usage(format!("{variable} {value:?}"), why));
            }
        }
        let layer = read_layer(values.iter().map(|value| format!("--{option}={value}")));
        let layer = layer.map_err(|error| Failure::usage(variable, error.to_string()))?;
        options = options.beside(layer);
    }
    Ok(options)
}

/// Reads options of `up` and nothing else.
pub(crate) fn read_layer<T: Into<OsString> + Clone>(
    arguments: impl IntoIterator<Item = T>,
) -> Result<UpOptions, clap::Error> {
    let command = UpOptions::augment_args(Command::new("up").no_binary_name(true));
    UpOptions::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

fn read_file(path: &str) -> io::Result<String> {
    let mut text = String::new();
    let octets = File::open(path)?.take(MAX_FILE_OCTETS + 1).read_to_string(&mut text)?;
    if octets as u64 > MAX_FILE_OCTETS {
        return Err(io::Error::other(format!("it is longer than {MAX_FILE_OCTETS} octets")));
    }
    Ok(text)
}

#[cfg(test)]
mod manifests;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::config::UpConfig;

    fn layer(variables: &[(&str, &str)]) -> Result<UpOptions, Failure> {
        from_lookup(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into())
        })
    }

    fn options() -> Command {
        UpOptions::augment_args(Command::new("up"))
    }

    #[test]
    fn every_option_has_a_variable_and_every_variable_an_option() {
        let of_command: BTreeSet<_> =
            options().get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
        let of_table: BTreeSet<_> = VARIABLES.iter().map(|(option, _)| (*option).to_owned()).collect();
        assert_eq!(of_command, of_table);
    }

    #[test]
    fn lists_are_the_options_that_append() {
        let appending: BTreeSet<_> = options()
            .get_arguments()
            .filter(|arg| matches!(arg.get_action(), clap::ArgAction::Append))
            .filter_map(|arg| arg.get_long().map(str::to_owned))
            .collect();
        assert_eq!(appending, LISTS.iter().map(|option| (*option).to_owned()).collect());
    }

    #[test]
    fn defaults_in_the_help_are_the_defaults_in_force() {
        let mut line = Vec::new();
        for arg in options().get_arguments() {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let default = help.split_once("[default: ").and_then(|(_, rest)| rest.strip_suffix(']'));
            if let (Some(option), Some(default)) = (arg.get_long(), default) {
                line.push(format!("--{option}={}", if option == "source-port" { "4789" } else { default }));
            }
        }
        assert_eq!(line.len(), 36, "{line:?}");
        assert_eq!(UpConfig::new(read_layer(line).unwrap()), UpConfig::new(UpOptions::default()));
    }

    #[test]
    fn a_variable_says_what_its_option_says() {
        let options = layer(&[
            ("VXGATE_PEERS", "100.64.158.4, 100.64.158.132\n"),
            ("VXGATE_ADDRESS", "10.225.194.171/9"),
            ("VXGATE_LEARNING", " off\n"),
            ("VXGATE_SOURCE_PORT", "hash"),
        ]);
        let line = "--peer 100.64.158.4 --peer 100.64.158.132 --address 10.225.194.171/9 --learning off --source-port hash";
        assert_eq!(options.unwrap(), read_layer(line.split(' ')).unwrap());
    }

    #[test]
    fn two_sources_of_a_tunnel_are_two_mistakes_together() {
        let gate = layer(&[("VXGATE_GATE_PEERS", "-"), ("VXGATE_VPG_ID", "a")]).unwrap().gate;
        assert!(gate.gate_peers.is_some() && gate.vpg_id.is_some(), "{gate:?}");
    }

    #[test]
    fn an_empty_variable_says_nothing() {
        let options = layer(&[("VXGATE_PEERS", " ,\n"), ("VXGATE_VNI", ""), ("VXGATE_MTU", " \n")]);
        assert_eq!(options.unwrap(), UpOptions::default());
    }

    #[test]
    fn a_kubernetes_service_of_our_name_sets_no_port() {
        assert_eq!(layer(&[("VXGATE_PORT", "udp://10.96.0.1:4789")]).unwrap(), UpOptions::default());
        assert_eq!(layer(&[("VXGATE_PORT", "8472")]).unwrap().port, Some(8472));
    }

    #[test]
    fn a_file_holds_the_value() {
        let path = std::env::temp_dir().join(format!("vxgate-environment-{}", std::process::id()));
        let value = format!("file:{}", path.display());
        fs::write(&path, "100.64.158.4\n100.64.158.132\n").unwrap();
        assert_eq!(layer(&[("VXGATE_PEERS", &value)]).unwrap().peer.len(), 2);
        fs::write(&path, "10.0.0.1\n".repeat(10_000)).unwrap();
        let error = layer(&[("VXGATE_PEERS", &value)]).unwrap_err().to_string();
        assert!(error.contains("VXGATE_PEERS") && error.contains("longer than 65536"), "{error}");
        fs::remove_file(&path).unwrap();
        let error = layer(&[("VXGATE_PEERS", &value)]).unwrap_err().to_string();
        assert!(error.contains("VXGATE_PEERS") && error.contains("No such file"), "{error}");
    }

    #[test]
    fn an_error_names_the_variable_the_value_and_what_is_allowed() {
        for (variable, value, words) in [
            ("VXGATE_VNI", "16777216", "VXGATE_VNI \"16777216\": a VNI is a whole number from 0 to 16777215"),
            ("VXGATE_PEERS", "10.0.0.1 host", "VXGATE_PEERS \"host\": an IPv4 or IPv6 address"),
            ("VXGATE_LEARNING", "yes", "VXGATE_LEARNING \"yes\": on or off"),
            ("VXGATE_DEV", "--help", "VXGATE_DEV"),
        ] {
            match layer(&[(variable, value)]) {
                Err(error) => assert!(error.to_string().contains(words), "{error}"),
                Ok(options) => {
                    assert_eq!(options.dev.unwrap().as_str(), "--help", "a value is never an option")
                }
            }
        }
    }

    #[test]
    fn the_upper_layer_wins_option_by_option() {
        let upper = read_layer(["--peer=10.0.0.1", "--learning=on"]).unwrap();
        let lower = read_layer(["--peer=10.0.0.2", "--learning=off", "--vni=7"]).unwrap();
        let both = upper.over(lower);
        assert_eq!(both, read_layer(["--peer=10.0.0.1", "--learning=on", "--vni=7"]).unwrap());
        assert_eq!(UpOptions::default().over(both.clone()), both);
    }
}
