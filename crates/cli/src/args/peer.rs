//! `vxgate peer`.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::OutputArgs;
use super::words::{self, Words};
use crate::config::unusable_probed;
use crate::config::values::{self, DeviceName, PeerSpec};
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
  vxgate peer add 100.64.158.132 inner 10.192.158.132 dev vxlan0")]
    Add(PeerAddWords),
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
pub(crate) struct PeerAddWords {
    /// IP [inner IP] [dev DEV]
    #[arg(value_name = "WORD")]
    pub(crate) words: Vec<String>,
}

/// Words.
#[derive(Args, Clone, Debug)]
pub(crate) struct PeerWords {
    /// IP [dev DEV]
    #[arg(value_name = "WORD")]
    pub(crate) words: Vec<String>,
}

/// The words of `peer add`.
pub(crate) fn parse_add(words: &[String]) -> Result<(Option<DeviceName>, PeerSpec), Failure> {
    parse("peer add", words, true)
}

/// The words of `peer del`.
pub(crate) fn parse_del(words: &[String]) -> Result<(Option<DeviceName>, IpAddr), Failure> {
    parse("peer del", words, false).map(|(dev, peer)| (dev, peer.outer))
}

fn parse(
    verb: &'static str,
    words: &[String],
    takes_inner: bool,
) -> Result<(Option<DeviceName>, PeerSpec), Failure> {
    let mut words = Words::new(verb, words);
    let (mut dev, mut ip, mut inner) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "dev" => words.value(word, &mut dev, words::dev)?,
            "inner" if takes_inner => words.value(word, &mut inner, values::ip)?,
            _ if ip.is_none() => words.fill("IP", word, &mut ip, values::ip)?,
            _ if takes_inner => {
                return Err(words.unknown(word, "IP, inner IP and dev DEV; one peer at a time"));
            }
            _ => return Err(words.unknown(word, "IP and dev DEV; one peer at a time")),
        }
    }
    let ip = words.missing(ip, "IP", "the peer's outer address, as in 100.64.158.4")?;
    if ip.is_unspecified() {
        return Err(words.wrong(&format!("IP \"{ip}\""), "a peer's own address stands there"));
    }
    if let Some(inner) = inner
        && let Some(why) = unusable_probed(inner)
    {
        return Err(words.wrong(&format!("inner \"{inner}\""), why));
    }
    Ok((dev, PeerSpec { outer: ip, inner }))
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
            let (dev, ip) = parse_del(&split(line)).unwrap();
            assert_eq!((dev.unwrap().as_str(), ip.to_string().as_str()), ("vxlan0", "100.64.158.4"));
        }
    }

    #[test]
    fn a_peer_to_add_may_have_an_inner_address() {
        for line in ["100.64.158.4 inner 10.192.158.4 dev vxlan0", "inner 10.192.158.4 100.64.158.4"] {
            let (_, peer) = parse_add(&split(line)).unwrap();
            assert_eq!(peer.to_string(), "100.64.158.4=10.192.158.4");
        }
        assert_eq!(parse_add(&split("100.64.158.4")).unwrap().1.inner, None);
        let failure = parse_del(&split("100.64.158.4 inner 10.192.158.4")).unwrap_err().to_string();
        assert!(failure.contains("\"inner\": allowed are IP and dev DEV"), "{failure}");
    }

    #[test]
    fn each_wrong_word_is_named() {
        for (line, message) in [
            ("", "peer add: IP is missing"),
            ("host", "IP \"host\": an IPv4 or IPv6 address"),
            ("::", "IP \"::\": a peer's own address"),
            ("10.0.0.1 10.0.0.2", "\"10.0.0.2\": allowed are IP, inner IP and dev DEV; one peer at a time"),
            ("10.0.0.1 inner 239.1.1.1", "inner \"239.1.1.1\": is no address of another host"),
            ("10.0.0.1 inner ::", "is the unspecified address"),
            ("10.0.0.1 dev", "dev: a value is missing"),
            ("10.0.0.1 dev a dev b", "dev \"b\": dev is given twice"),
        ] {
            let failure = parse_add(&split(line)).expect_err(line).to_string();
            assert!(failure.contains(message), "{line}: {failure}");
        }
    }
}
