//! `vxgate peer`.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::OutputArgs;
use super::words::{self, Words};
use crate::config::values::{self, DeviceName};
use crate::failure::Failure;

/// The verbs of `vxgate peer`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PeerCommand {
    /// List the peers
    #[command(
        visible_alias = "show",
        after_help = "Examples:
  vxgate peer list
  vxgate peer list dev vxlan0 -j"
    )]
    List(PeerListArgs),
    /// Add a peer: frames for all and for unknown addresses go to it, and frames from it are accepted
    #[command(after_help = "Examples:
  vxgate peer add 100.64.158.132
  vxgate peer add 100.64.158.132 dev vxlan0")]
    Add(PeerWords),
    /// Take a peer away, with every address that was learned behind it
    #[command(
        visible_alias = "delete",
        after_help = "Examples:
  vxgate peer del 100.64.158.132 dev vxlan0"
    )]
    Del(PeerWords),
}

/// Words and how to print.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PeerListArgs {
    /// Words: the device, and what else stands in `help`.
    #[arg(value_name = "WORD", help = "[dev] DEV")]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Words.
#[derive(Args, Clone, Debug)]
pub(crate) struct PeerWords {
    /// IP [dev DEV]
    #[arg(value_name = "WORD")]
    pub(crate) words: Vec<String>,
}

/// The words of `peer add` and `peer del`.
pub(crate) fn parse_one(
    verb: &'static str,
    words: &[String],
) -> Result<(Option<DeviceName>, IpAddr), Failure> {
    let mut words = Words::new(verb, words);
    let (mut dev, mut ip) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "dev" => words.value(word, &mut dev, words::dev)?,
            _ if ip.is_none() => words.fill("IP", word, &mut ip, values::ip)?,
            _ => return Err(words.unknown(word, "IP and dev DEV; one peer at a time")),
        }
    }
    let ip = words.missing(ip, "IP", "the peer's outer address, as in 100.64.158.4")?;
    if ip.is_unspecified() {
        return Err(words.wrong(&format!("IP \"{ip}\""), "a peer's own address stands there"));
    }
    Ok((dev, ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_peer_and_its_device_stand_in_any_order() {
        for line in ["100.64.158.4 dev vxlan0", "dev vxlan0 100.64.158.4"] {
            let (dev, ip) = parse_one("peer add", &split(line)).unwrap();
            assert_eq!((dev.unwrap().as_str(), ip.to_string().as_str()), ("vxlan0", "100.64.158.4"));
        }
    }

    #[test]
    fn each_wrong_word_is_named() {
        for (line, message) in [
            ("", "peer add: IP is missing"),
            ("host", "IP \"host\": an IPv4 or IPv6 address"),
            ("::", "IP \"::\": a peer's own address"),
            ("10.0.0.1 10.0.0.2", "\"10.0.0.2\": allowed are IP and dev DEV; one peer at a time"),
            ("10.0.0.1 dev", "dev: a value is missing"),
            ("10.0.0.1 dev a dev b", "dev \"b\": dev is given twice"),
        ] {
            let failure = parse_one("peer add", &split(line)).expect_err(line).to_string();
            assert!(failure.contains(message), "{line}: {failure}");
        }
    }
}
