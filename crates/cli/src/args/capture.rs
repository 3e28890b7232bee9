//! The switches of `vxgate capture`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use vxgate_forwarder::SNAPLEN_MAX;

use crate::config::values;
use crate::control::protocol::CaptureWanted;

/// What stands behind the switches in the help.
pub(super) const HELP: &str = "Without --inner, --outer and --drops: inner. Several of them go into one file, as interfaces of it.

A reader that is too slow loses packets, which is told at the end, and the tunnel carries on. Ctrl-C ends it well.

Examples:
  vxgate capture -w - | wireshark -k -i -
  vxgate capture --drops -w drops.pcapng -c 100
  vxgate capture vxlan0 --outer --peer 100.64.158.4 -w - | tshark -r -";

/// The switches.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaptureArgs {
    /// Words: the device, and what else stands in `help`.
    #[arg(value_name = "DEV", help = "[dev] DEV; the only tunnel where none is named")]
    pub(crate) words: Vec<String>,
    /// File to write, or - for standard output, which is the default where that is no terminal
    ///
    /// It is made with mode 0600: a capture holds what people say.
    #[arg(short = 'w', long, value_name = "FILE|-")]
    pub(crate) write: Option<PathBuf>,
    /// Write over a file that exists
    #[arg(long, requires = "write")]
    pub(crate) force: bool,
    /// Frames as the host sends and gets them
    #[arg(long)]
    pub(crate) inner: bool,
    /// Datagrams as peers send and get them; their IP and UDP headers are made up from what the socket tells
    #[arg(long)]
    pub(crate) outer: bool,
    /// What is dropped, each with its reason as the packet's comment
    #[arg(long)]
    pub(crate) drops: bool,
    /// End after so many packets
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after so many seconds, 0.1 to 3600
    #[arg(long, value_name = "SECONDS", value_parser = values::watch_interval)]
    pub(crate) duration: Option<Duration>,
    /// Octets of each packet to keep, 14 to 262144 [default: 262144]
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u32).range(14..=SNAPLEN_MAX as i64))]
    pub(crate) snaplen: Option<u32>,
    /// Only what goes to this peer or comes from it; may be given many times
    #[arg(long, value_name = "IP", value_delimiter = ',', value_parser = values::ip)]
    pub(crate) peer: Vec<IpAddr>,
}

impl CaptureArgs {
    /// What to ask the daemon for.
    pub(crate) fn wanted(&self) -> CaptureWanted {
        CaptureWanted {
            inner: self.inner || !self.outer && !self.drops,
            outer: self.outer,
            drops: self.drops,
            snaplen: self.snaplen.unwrap_or(SNAPLEN_MAX as u32),
            peers: self.peer.clone(),
        }
    }
}
