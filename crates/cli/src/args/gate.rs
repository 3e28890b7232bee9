//! `vxgate gate`.

use std::net::IpAddr;
use std::str::FromStr;

use clap::{Args, Subcommand};
use vxgate_codec::Vni;
use vxgate_gate::api::{Coverage, VpgId};

use super::OutputArgs;
use super::words;
use crate::config::values::{self, NotAllowed};

/// The help of the verb itself.
pub(crate) const HELP: &str = "The API is SORACOM's. Credentials, the first that is there: --profile; SORACOM_API_KEY and SORACOM_TOKEN; \
SORACOM_AUTH_KEY_ID and SORACOM_AUTH_KEY; SORACOM_EMAIL and SORACOM_PASSWORD; SORACOM_OPERATOR_ID, SORACOM_USERNAME and \
SORACOM_PASSWORD (with SORACOM_MFA_OTP_CODE where one is asked for); the profile in SORACOM_PROFILE; the profile `default`. \
A value file:PATH is read from that file. Profiles are those of the vendor's command, ~/.soracom/NAME.json or in \
SORACOM_PROFILE_DIR; one that others may read or change is refused. Its profileCommand is run word by word, without a shell.

Endpoint: --endpoint, SORACOM_ENDPOINT, --coverage, the profile's endpoint, its coverageType, jp. Plain http is taken for \
this machine itself, and for others where VXGATE_ALLOW_PLAIN_HTTP=1. VXGATE_CA_FILE names certificates (PEM) to trust in \
place of the public ones. HTTPS_PROXY, ALL_PROXY and NO_PROXY are obeyed.

What may pass (the network, 429, 5xx) is tried again after about 10, 10, 20, 30 and 50 s, each time with a line on standard \
error. A change that is made already is no error.

Examples:
  vxgate gate status --vpg-id ID
  vxgate gate register --vpg-id ID --outer 172.21.0.100
  vxgate gate open --vpg-id ID --coverage g";

/// The verbs of `vxgate gate`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum GateCommand {
    /// Show a VPG's gate: whether it is open, its networks and its peers
    #[command(after_help = "Examples:
  vxgate gate status --vpg-id ID
  vxgate gate status --vpg-id ID -j | jq .gateOpened")]
    Status(VpgArgs),
    /// List the Gate peers: the VPG's two, and the hosts that are registered
    #[command(after_help = "With -j as the API has it: `vxgate up --gate-peers -` reads that.

Examples:
  vxgate gate peers --vpg-id ID
  vxgate gate peers --vpg-id ID -j | vxgate up --gate-peers - --local 172.21.0.100")]
    Peers(VpgArgs),
    /// Register a host as a Gate peer, and show the inner address that it gets
    #[command(after_help = "Examples:
  vxgate gate register --vpg-id ID --outer 172.21.0.100
  vxgate gate register --vpg-id ID --outer auto
  vxgate gate register --vpg-id ID --outer 172.21.0.100 --inner 10.225.194.171")]
    Register(RegisterArgs),
    /// Take a host out of the list of Gate peers
    #[command(after_help = "Examples:
  vxgate gate unregister --vpg-id ID --outer 172.21.0.100")]
    Unregister(UnregisterArgs),
    /// Open the gate
    #[command(after_help = "Examples:
  vxgate gate open --vpg-id ID
  vxgate gate open --vpg-id ID --vni 10")]
    Open(OpenArgs),
    /// Close the gate: no frame passes any more, for any host
    #[command(after_help = "Examples:
  vxgate gate close --vpg-id ID")]
    Close(VpgArgs),
}

/// Which VPG, at which API, and how to print.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct VpgArgs {
    /// The VPG, as `soracom vpg list` names it [env: VXGATE_VPG_ID]
    #[arg(long, value_name = "ID")]
    pub(crate) vpg_id: Option<VpgId>,
    /// The coverage whose API is asked: jp or g [env: VXGATE_COVERAGE]
    #[arg(long, value_name = "jp|g")]
    pub(crate) coverage: Option<Coverage>,
    /// The URL that is asked, as `help` has it.
    #[arg(
        long,
        value_name = "URL",
        help = "The API's URL, as in https://api.soracom.io/v1 [env: VXGATE_ENDPOINT]"
    )]
    pub(crate) endpoint: Option<String>,
    /// The profile of the vendor's command whose credentials are used [env: VXGATE_PROFILE]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Which host to register.
#[derive(Args, Clone, Debug)]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    pub(crate) vpg: VpgArgs,
    /// The host's address in the VPC, or auto: the address that this host's routes to the VPG's peers use
    ///
    /// It has to be said, for this command may run anywhere, and the address of a desk is of no use to the VPG. auto is for the
    /// host that will carry the tunnel.
    #[arg(long, value_name = "IP|auto", required = true)]
    pub(crate) outer: Outer,
    /// The host's address in the devices' network; the API chooses one where none is said
    #[arg(long, value_name = "IP", value_parser = values::ip)]
    pub(crate) inner: Option<IpAddr>,
}

/// Which host to take out.
#[derive(Args, Clone, Debug)]
pub(crate) struct UnregisterArgs {
    #[command(flatten)]
    pub(crate) vpg: VpgArgs,
    /// The host's outer address, as `vxgate gate peers` lists it
    #[arg(long, value_name = "IP", value_parser = values::ip, required = true)]
    pub(crate) outer: IpAddr,
}

/// How to open.
#[derive(Args, Clone, Debug)]
pub(crate) struct OpenArgs {
    #[command(flatten)]
    pub(crate) vpg: VpgArgs,
    /// The VNI of the tunnels [default: 10, or what the gate had]
    #[arg(long, value_name = "N", value_parser = gate_vni)]
    pub(crate) vni: Option<Vni>,
}

/// The API takes no 0.
fn gate_vni(text: &str) -> Result<Vni, NotAllowed> {
    let allowed = NotAllowed { allowed: "a Gate's VNI is a whole number from 1 to 16777215" };
    words::vni(text).ok().filter(|vni| vni.get() != 0).ok_or(allowed)
}

/// The outer address to register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outer {
    /// The one that the routes to the VPG's peers use.
    Auto,
    /// This one.
    Ip(IpAddr),
}

impl FromStr for Outer {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Outer, NotAllowed> {
        let allowed = NotAllowed { allowed: "a host's own address, as in 172.21.0.100, or auto" };
        if text == "auto" {
            return Ok(Outer::Auto);
        }
        match values::ip(text) {
            Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback() => Ok(Outer::Ip(ip)),
            Ok(_) | Err(_) => Err(allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_registered_by_an_address_that_others_can_reach() {
        assert_eq!("auto".parse(), Ok(Outer::Auto));
        assert_eq!("172.21.0.100".parse(), Ok(Outer::Ip("172.21.0.100".parse().unwrap())));
        for text in ["", "Auto", "host", "0.0.0.0", "::", "127.0.0.1", "::1", "239.1.1.1", "172.21.0.100/24"]
        {
            assert!(text.parse::<Outer>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_gates_vni_is_not_0() {
        assert!(gate_vni("0").is_err() && gate_vni("16777216").is_err());
        assert_eq!(gate_vni("10"), Ok(Vni::new(10).unwrap()));
    }
}
