//! The options of `up` by which it sets itself up from the Gate.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

/// Where the tunnel's peers and addresses come from, if not from the other options.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Gate")]
pub(crate) struct GateOptions {
    /// Take peers and addresses from what `soracom vpg list-gate-peers` prints: a file, or - for standard input
    ///
    /// The VPG's peers become --peer, with their inner addresses; the entry whose outer address is --local, or any
    /// address of this host, becomes --address and --local. Options that are given win. A value that begins with [ is
    /// the list itself, so that VXGATE_GATE_PEERS may hold it, or name its file by file:PATH.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) gate_peers: Option<PeersSource>,
}

impl GateOptions {
    /// These, and those of the lower layer where these say nothing.
    pub(crate) fn over(self, lower: GateOptions) -> GateOptions {
        GateOptions { gate_peers: self.gate_peers.or(lower.gate_peers) }
    }
}

/// Where a list of Gate peers is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PeersSource {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
    /// Here.
    Json(String),
}

impl FromStr for PeersSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<PeersSource, Infallible> {
        Ok(match text {
            "-" => PeersSource::Stdin,
            _ if text.trim_start().starts_with(['[', '{']) => PeersSource::Json(text.to_owned()),
            _ => PeersSource::File(PathBuf::from(text)),
        })
    }
}

impl fmt::Display for PeersSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeersSource::Stdin => f.write_str("-"),
            PeersSource::File(path) => write!(f, "{}", path.display()),
            PeersSource::Json(_) => f.write_str("[...]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_from_standard_input_a_file_or_the_value_itself() {
        let source = |text: &str| text.parse::<PeersSource>().unwrap();
        assert_eq!(source("-"), PeersSource::Stdin);
        assert_eq!(source("peers.json"), PeersSource::File("peers.json".into()));
        assert_eq!(source("./-"), PeersSource::File("./-".into()));
        assert_eq!(source("\n[]"), PeersSource::Json("\n[]".to_owned()));
        assert_eq!(
            source("{\"code\""),
            PeersSource::Json("{\"code\"".to_owned()),
            "the API's error is told as one"
        );
    }
}
