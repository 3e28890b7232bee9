//! `--gate-peers`: what `soracom vpg list-gate-peers` prints is all that a tunnel needs to know.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::net::IpAddr;

use vxgate_gate::setup::{self, Local};
use vxgate_gate::{GatePeer, SetupError, peers};
use vxgate_netlink::Netlink;

use super::complete::{Said, complete};
use crate::args::up::UpOptions;
use crate::args::up::gate::PeersSource;
use crate::config::UpConfig;
use crate::failure::Failure;

/// Longest list, in octets: a thousand entries take less than a fifth of it.
const MAX_OCTETS: u64 = 1024 * 1024;

/// The options with the list put in, and what the operator should know.
///
/// # Errors
/// The list cannot be read, or does not say what a tunnel needs.
pub(crate) fn complete_from(
    source: &PeersSource,
    options: UpOptions,
) -> Result<(UpOptions, Vec<String>), Failure> {
    let what = format!("up: --gate-peers {source}");
    let octets = read(source).map_err(|error| Failure::failed(&what, error).with_hint(input_hint(source)))?;
    let peers = peers::parse(&octets).map_err(|error| {
        let text = "it takes what `soracom vpg list-gate-peers --vpg-id ID` prints, unchanged";
        Failure::failed(&what, error).with_hint(text.to_owned())
    })?;
    let here = addresses_here().map_err(|error| Failure::failed(&what, error))?;
    let completed = from_list(&peers, options, &here)
        .map_err(|error| Failure::failed(&what, &error).with_hint(error.hint(None)))?;
    // The options were right without the list, so that this is no error of the command line.
    UpConfig::new(completed.0.clone()).map_err(|error| {
        let why = format!("what the list has makes no tunnel: {}: {error}", error.option());
        let hint = error.hint();
        let option = error.option();
        let hint = hint.unwrap_or_else(|| {
            format!("see that the list is right; options that are given win, as --{option}")
        });
        Failure::failed(&what, why).with_hint(hint)
    })?;
    Ok(completed)
}

/// As [`complete_from`], with the list read and the host looked at.
fn from_list(
    peers: &[GatePeer],
    options: UpOptions,
    here: &[IpAddr],
) -> Result<(UpOptions, Vec<String>), SetupError> {
    let local = options.local.map_or(Local::AnyOf(here), Local::Given);
    let of_vpg = match setup::vpg_side(peers) {
        Err(_) if !options.peer.is_empty() => Vec::new(),
        of_vpg => of_vpg?,
    };
    // What the options say needs no entry of the list.
    let own = match setup::own(peers, local) {
        Err(
            SetupError::NotRegistered { .. }
            | SetupError::NoNetmask { .. }
            | SetupError::BeyondDevices { .. },
        ) if !options.address.is_empty() => None,
        own => Some(own?),
    };
    Ok(complete(options, &Said { who: "the list", vni: None, peers: &of_vpg, own }))
}

fn read(source: &PeersSource) -> io::Result<Vec<u8>> {
    match source {
        PeersSource::Json(text) => Ok(text.clone().into_bytes()),
        PeersSource::Stdin if io::stdin().is_terminal() => {
            Err(io::Error::other("standard input is a terminal, where no list comes from"))
        }
        PeersSource::Stdin => read_all(io::stdin().lock()),
        PeersSource::File(path) => read_all(File::open(path)?),
    }
}

fn read_all(from: impl Read) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    from.take(MAX_OCTETS + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > MAX_OCTETS {
        return Err(io::Error::other(format!("it is longer than {MAX_OCTETS} octets")));
    }
    Ok(octets)
}

fn input_hint(source: &PeersSource) -> Option<String> {
    match source {
        PeersSource::Stdin => {
            Some("pipe it in: soracom vpg list-gate-peers --vpg-id ID | vxgate up --gate-peers -".to_owned())
        }
        PeersSource::File(path) => {
            Some(format!("write it first: soracom vpg list-gate-peers --vpg-id ID > {}", path.display()))
        }
        PeersSource::Json(_) => None,
    }
}

/// The addresses of this host.
fn addresses_here() -> io::Result<Vec<IpAddr>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let addresses =
        runtime.block_on(async { Netlink::open()?.addresses().await }).map_err(io::Error::other)?;
    Ok(addresses.iter().map(|address| address.ip.addr()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::environment::read_layer;

    fn options(line: &str) -> UpOptions {
        read_layer(line.split_whitespace()).unwrap()
    }

    fn list(json: &str) -> Vec<GatePeer> {
        peers::parse(json.as_bytes()).unwrap()
    }

    const VPG: &str = r#"{"innerIpAddress": "10.192.158.4", "netmask": "255.128.0.0", "outerIpAddress": "100.64.158.4",
                          "ownedByCustomer": false}"#;

    #[test]
    fn an_address_that_is_given_needs_no_entry_and_peers_that_are_given_need_none_either() {
        let here = ["172.21.0.100".parse().unwrap()];
        let (completed, notices) =
            from_list(&list(&format!("[{VPG}]")), options("--address 10.225.194.171/9"), &here).unwrap();
        assert_eq!(completed, options("--address 10.225.194.171/9 --peer 100.64.158.4=10.192.158.4"));
        assert!(notices[0].starts_with("the list has no entry for this host"), "{notices:?}");
        let ours = VPG.replace("false", "true").replace("100.64.158.4", "172.21.0.100");
        let (completed, _) =
            from_list(&list(&format!("[{ours}]")), options("--peer 100.64.158.9"), &here).unwrap();
        assert_eq!(completed, options("--peer 100.64.158.9 --local 172.21.0.100 --address 10.192.158.4/9"));
    }

    #[test]
    fn without_them_a_list_that_lacks_them_is_refused() {
        let error = from_list(&list(&format!("[{VPG}]")), options(""), &[]).unwrap_err();
        assert!(matches!(error, SetupError::NotRegistered { local: None, .. }), "{error}");
        let error = from_list(&[], options("--address 10.225.194.171/9"), &[]).unwrap_err();
        assert_eq!(error, SetupError::NoVpgPeers { entries: 0 });
    }

    #[test]
    fn a_list_without_an_end_is_refused() {
        let error = read_all(io::repeat(b' ')).unwrap_err().to_string();
        assert!(error.contains("longer than 1048576"), "{error}");
    }
}
