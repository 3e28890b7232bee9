//! The options of `up` by which it sets itself up from the Gate.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use vxgate_gate::api::{Coverage, VpgId};

use crate::config::values::{self, NotAllowed};

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

    /// Set up the tunnel of this VPG by the API: VNI, peers, addresses, routes
    ///
    /// This host is registered as a Gate peer where it is not: by --local, or by the address that the route to the VPG's
    /// peers uses. While the tunnel runs the API is asked again (--api-interval), and peers and routes follow it. Where the API
    /// cannot be reached, its last answer serves, which lies in VXGATE_STATE_DIR (/var/lib/vxgate). Options that are
    /// given win. Credentials come from the environment or a profile: see `vxgate gate --help`.
    #[arg(long, value_name = "ID")]
    pub(crate) vpg_id: Option<VpgId>,

    /// With --vpg-id: open the Gate if it is closed: on or off [default: off]
    #[arg(long, value_name = "on|off", value_parser = values::on_off, num_args = 0..=1, require_equals = true,
          default_missing_value = "on")]
    pub(crate) open_gate: Option<bool>,

    /// With --vpg-id: ask the API again after this long, a fifth more or less [default: 300]
    ///
    /// 1 to 86400 seconds; 0 for never.
    #[arg(long, value_name = "SECONDS", value_parser = api_interval)]
    pub(crate) api_interval: Option<Duration>,

    /// With --vpg-id: try again for this long where the API cannot be reached, is busy or fails [default: 300]
    ///
    /// 0 to 3600 seconds. At the start that is how long the tunnel waits for the API, unless an earlier answer is there to begin with.
    #[arg(long, value_name = "SECONDS", value_parser = api_wait)]
    pub(crate) api_wait: Option<Duration>,

    /// With --vpg-id: the coverage whose API is asked: jp or g
    #[arg(long, value_name = "jp|g")]
    pub(crate) coverage: Option<Coverage>,

    /// With --vpg-id: the API's URL
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,

    /// With --vpg-id: the profile of the vendor's command whose credentials are used
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,

    /// Print what would be done, and do nothing: on or off [default: off]
    #[arg(long, value_name = "on|off", value_parser = values::on_off, num_args = 0..=1, require_equals = true,
          default_missing_value = "on")]
    pub(crate) dry_run: Option<bool>,
}

impl GateOptions {
    /// These, and those of the lower layer where these say nothing. A source that is named here is in the place of either one below.
    pub(crate) fn over(self, lower: GateOptions) -> GateOptions {
        let (gate_peers, vpg_id) = match (self.gate_peers, self.vpg_id) {
            (None, None) => (lower.gate_peers, lower.vpg_id),
            named => named,
        };
        GateOptions {
            gate_peers,
            vpg_id,
            open_gate: self.open_gate.or(lower.open_gate),
            api_interval: self.api_interval.or(lower.api_interval),
            api_wait: self.api_wait.or(lower.api_wait),
            coverage: self.coverage.or(lower.coverage),
            endpoint: self.endpoint.or(lower.endpoint),
            profile: self.profile.or(lower.profile),
            dry_run: self.dry_run.or(lower.dry_run),
        }
    }
}

/// How often the API is asked, where nothing is said: devices are not added by the second, and limits are by the minute.
pub(crate) const DEFAULT_API_INTERVAL: Duration = Duration::from_secs(300);

/// How long it is tried to reach the API, where nothing is said: the whole of the vendor's schedule.
pub(crate) const DEFAULT_API_WAIT: Duration = Duration::from_secs(300);

fn api_interval(text: &str) -> Result<Duration, NotAllowed> {
    seconds(text, 86_400)
        .ok_or(NotAllowed { allowed: "a whole number of seconds from 1 to 86400, or 0 for never" })
}

fn api_wait(text: &str) -> Result<Duration, NotAllowed> {
    seconds(text, 3600).ok_or(NotAllowed { allowed: "a whole number of seconds from 0 to 3600" })
}

fn seconds(text: &str, most: u64) -> Option<Duration> {
    values::decimal(text).filter(|seconds| *seconds <= most).map(Duration::from_secs)
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
    use crate::args::environment::read_layer;

    #[test]
    fn a_source_that_is_named_replaces_either_one_below() {
        let options = |line: &str| read_layer(line.split_whitespace()).unwrap().gate;
        let (list, api) = (options("--gate-peers -"), options("--vpg-id 1 --coverage g"));
        assert_eq!(list.clone().over(api.clone()), options("--gate-peers - --coverage g"));
        assert_eq!(api.clone().over(list), api);
    }

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
