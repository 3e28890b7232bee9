//! The options with what the Gate says put in where they say nothing. What is given wins, and where it differs, a notice
//! says so.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use vxgate_codec::Vni;
use vxgate_gate::{Own, VpgPeer};

use crate::args::up::UpOptions;
use crate::config::values::PeerSpec;

/// What the Gate says of this tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said<'a> {
    /// Who says it, as the beginning of a sentence: `the list`, `the VPG`.
    pub(super) who: &'static str,
    /// The VNI, where that is known.
    pub(super) vni: Option<Vni>,
    /// The VPG's peers; empty where the options name their own.
    pub(super) peers: &'a [VpgPeer],
    /// How this host is registered; `None` where it is not, and the options name an address.
    pub(super) own: Option<Own>,
}

/// Fills in the options, and tells where they differ.
pub(super) fn complete(options: UpOptions, said: &Said<'_>) -> (UpOptions, Vec<String>) {
    let who = said.who;
    let mut notices = Vec::new();
    if let (Some(given), Some(vni)) = (options.vni, said.vni)
        && given != vni
    {
        notices.push(format!("--vni {given} is given, and wins: {who} has {vni}"));
    }
    if let Some(own) = said.own {
        if options.local.is_some_and(|given| given != own.outer) {
            notices.push(format!("--local is given, and wins: {who} has this host at {}", own.outer));
        }
        if !options.address.is_empty() && !options.address.contains(&own.address) {
            notices.push(format!("--address is given, and wins: {who} has {} for this host", own.address));
        }
    } else {
        notices.push(format!(
            "{who} has no entry for this host: the Gate may drop what it sends, until it is registered (`vxgate gate register`)"
        ));
    }
    let outer = |peers: &[PeerSpec]| peers.iter().map(|peer| peer.outer).collect::<BTreeSet<IpAddr>>();
    let peers: Vec<PeerSpec> = said.peers.iter().map(peer_spec).collect();
    if !options.peer.is_empty() && !peers.is_empty() && outer(&options.peer) != outer(&peers) {
        let listed: Vec<String> = said.peers.iter().map(|peer| peer.outer.to_string()).collect();
        notices.push(format!("--peer is given, and wins: {who} has {}", listed.join(" ")));
    }
    let address = if options.address.is_empty() {
        said.own.iter().map(|own| own.address).collect()
    } else {
        options.address
    };
    let completed = UpOptions {
        vni: options.vni.or(said.vni),
        local: options.local.or(said.own.map(|own| own.outer)),
        peer: if options.peer.is_empty() { peers } else { with_inner(options.peer, &peers, &address) },
        address,
        ..options
    };
    (completed, notices)
}

/// The peers that are given, each without an inner address with the one that the Gate has for it; an inner address that the options
/// use otherwise stays theirs.
fn with_inner(given: Vec<PeerSpec>, listed: &[PeerSpec], own: &[IpNet]) -> Vec<PeerSpec> {
    let taken: BTreeSet<IpAddr> =
        given.iter().filter_map(|peer| peer.inner).chain(own.iter().map(IpNet::addr)).collect();
    let inner_of = |outer: IpAddr| listed.iter().find(|peer| peer.outer == outer).and_then(|peer| peer.inner);
    let completed = given.into_iter().map(|peer| PeerSpec {
        inner: peer.inner.or_else(|| inner_of(peer.outer).filter(|inner| !taken.contains(inner))),
        ..peer
    });
    completed.collect()
}

fn peer_spec(peer: &VpgPeer) -> PeerSpec {
    PeerSpec { outer: peer.outer, inner: Some(peer.inner) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::environment::read_layer;

    fn peers() -> Vec<VpgPeer> {
        [("100.64.158.4", "10.192.158.4"), ("100.64.158.132", "10.192.158.132")]
            .map(|(outer, inner)| VpgPeer { outer: outer.parse().unwrap(), inner: inner.parse().unwrap() })
            .to_vec()
    }

    fn completed(line: &str) -> (UpOptions, Vec<String>) {
        let peers = peers();
        let own =
            Own { outer: "172.21.0.100".parse().unwrap(), address: "10.225.194.171/9".parse().unwrap() };
        let said = Said { who: "the list", vni: Vni::new(10), peers: &peers, own: Some(own) };
        complete(read_layer(line.split_whitespace()).unwrap(), &said)
    }

    const ALL: &str = "--vni 10 --local 172.21.0.100 --address 10.225.194.171/9 \
                       --peer 100.64.158.4=10.192.158.4 --peer 100.64.158.132=10.192.158.132";

    #[test]
    fn what_is_not_said_comes_from_the_gate() {
        let (options, notices) = completed("--dev vx7");
        assert_eq!(options, read_layer(format!("{ALL} --dev vx7").split_whitespace()).unwrap());
        assert!(notices.is_empty(), "{notices:?}");
    }

    #[test]
    fn what_is_said_wins_and_a_difference_is_told() {
        let line = "--vni 7 --local 172.21.0.9 --address 10.225.0.1/9 --peer 100.64.158.4";
        let (options, notices) = completed(line);
        assert_eq!(options, read_layer(format!("{line}=10.192.158.4").split_whitespace()).unwrap());
        for told in [
            "--vni 7 is given, and wins: the list has 10",
            "--local is given, and wins: the list has this host at 172.21.0.100",
            "--address is given, and wins: the list has 10.225.194.171/9 for this host",
            "--peer is given, and wins: the list has 100.64.158.4 100.64.158.132",
        ] {
            assert!(notices.iter().any(|notice| notice == told), "{told}: {notices:?}");
        }
        assert!(completed(ALL).1.is_empty(), "the same in other words is no difference");
    }

    #[test]
    fn a_peer_that_is_given_takes_its_inner_address_from_the_gate_unless_the_options_have_one() {
        for (given, made) in [
            (
                "--peer 100.64.158.132 --peer 100.64.158.4",
                "--peer 100.64.158.132=10.192.158.132 --peer 100.64.158.4=10.192.158.4",
            ),
            ("--peer 100.64.158.4=10.192.0.9", "--peer 100.64.158.4=10.192.0.9"),
            ("--peer 100.64.158.9", "--peer 100.64.158.9"),
            (
                "--peer 100.64.158.4=10.192.158.132 --peer 100.64.158.132",
                "--peer 100.64.158.4=10.192.158.132 --peer 100.64.158.132",
            ),
        ] {
            let expected = read_layer(made.split_whitespace()).unwrap().peer;
            assert_eq!(completed(given).0.peer, expected, "{given}");
        }
        let own = "--address 10.192.158.4/9 --peer 100.64.158.4";
        assert_eq!(completed(own).0.peer[0].inner, None, "it is this host's, say the options");
    }
}
