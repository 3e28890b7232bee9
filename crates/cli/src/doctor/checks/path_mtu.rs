//! The longest packet that gets to each peer in one piece.

use std::net::IpAddr;

use crate::config::values::{Df, Mtu, PeerSpec};
use crate::config::{Family, UpConfig};
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::probes::path::PathFacts;
use crate::doctor::subject::Subject;
use crate::up::mtu::overhead;

pub(crate) fn check(subject: &Subject, paths: &[PathFacts]) -> Vec<Finding> {
    paths.iter().filter_map(|path| Some(judge(path.peer?, path, &subject.config))).collect()
}

fn judge(peer: IpAddr, path: &PathFacts, config: &UpConfig) -> Finding {
    let wanted = path.wanted_octets;
    let errors = path.icmp().filter_map(|error| Some((error.mtu?, error.offender)));
    let said = errors.min_by_key(|(mtu, _)| *mtu);
    if let Some((mtu, offender)) = said.filter(|(mtu, _)| *mtu < wanted) {
        let by = offender.map_or_else(String::new, |ip| format!(" says {ip}"));
        let found = format!("the path to {peer} carries packets of {mtu} octets,{by}");
        // Where nothing may be cut on the way, routers say so of the tunnel's own datagrams, too.
        let is_told = config.mtu == Mtu::Auto && !may_be_cut(config);
        return if is_told || finds_out(peer, config) {
            followed(&found, mtu, config)
        } else {
            narrow(&found, mtu, wanted, config)
        };
    }
    if path.answered.contains(&wanted) {
        return Finding::ok(Check::PathMtu, format!("packets of {wanted} octets get to {peer} and back"));
    }
    if path.tried.is_empty() {
        return Finding::advice(
            Check::PathMtu,
            format!(
                "not known for {peer}: this process may not ping, and no router says that {wanted} octets are too many"
            ),
            "run the doctor as root, or sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"",
        );
    }
    let Some(longest) = path.answered.iter().max() else {
        return Finding::advice(
            Check::PathMtu,
            format!(
                "not known for {peer}: it answers no ping, and no router says that {wanted} octets are too many"
            ),
            format!(
                "once the tunnel runs: ping -M do -s {} to an inner address behind it",
                wanted.saturating_sub(overhead(config.family) + 28)
            ),
        );
    };
    let shortest_lost = path.tried.iter().filter(|tried| *tried > longest).min().unwrap_or(&wanted);
    let found = format!(
        "packets of {longest} octets get to {peer} and back, those of {shortest_lost} do not, and no router says why: a black hole"
    );
    if finds_out(peer, config) {
        followed(&found, *longest, config)
    } else {
        narrow(&found, *longest, wanted, config)
    }
}

/// Whether routers cut the tunnel's datagrams that are too long for a link.
fn may_be_cut(config: &UpConfig) -> bool {
    config.family == Family::V4 && config.df == Df::Unset
}

/// Whether the tunnel asks this peer itself how much the path carries (`core::path_mtu`).
fn finds_out(peer: IpAddr, config: &UpConfig) -> bool {
    let is_asked = |spec: &PeerSpec| spec.outer == peer && spec.inner.is_some_and(|inner| inner.is_ipv4());
    config.mtu == Mtu::Auto && config.health.is_some() && config.peers.iter().any(is_asked)
}

/// A path that the tunnel's MTU will follow.
fn followed(found: &str, mtu: u32, config: &UpConfig) -> Finding {
    let fits = mtu.saturating_sub(overhead(config.family));
    Finding::note(
        Check::PathMtu,
        format!("{found}; the tunnel finds that out (--mtu auto) and takes {fits} octets"),
    )
}

/// A path that is narrower than the tunnel: it is lost to those packets, or fragments them.
fn narrow(found: &str, mtu: u32, wanted: u32, config: &UpConfig) -> Finding {
    let fits = mtu.saturating_sub(overhead(config.family));
    let next_step = format!(
        "--mtu {fits} makes the tunnel's packets fit (ip link set {} mtu {fits} while it runs)",
        config.dev
    );
    if may_be_cut(config) {
        let found = format!("{found}: longer ones of up to {wanted} are fragmented on the way, or lost");
        Finding::warn(Check::PathMtu, found, next_step)
    } else {
        Finding::fail(Check::PathMtu, format!("{found}: longer ones of up to {wanted} are lost"), next_step)
    }
}

#[cfg(test)]
mod tests {
    use vxgate_sys::udp::{ErrorOrigin, QueuedError};

    use super::*;
    use crate::args::environment::read_layer;
    use crate::doctor::finding::Verdict;

    fn judged(line: &str, path: PathFacts) -> Finding {
        let config = UpConfig::new(read_layer(line.split(' ')).unwrap()).unwrap();
        let peer = config.outer_peers().next().unwrap();
        judge(peer, &PathFacts { wanted_octets: 1500, ..path }, &config)
    }

    fn too_big(mtu: u32) -> Vec<QueuedError> {
        vec![QueuedError {
            errno: 90,
            origin: ErrorOrigin::Icmp,
            icmp_type: 3,
            icmp_code: 4,
            offender: Some("172.21.0.1".parse().unwrap()),
            destination: None,
            mtu: Some(mtu),
            payload: Vec::new(),
        }]
    }

    #[test]
    fn a_routers_word_counts_more_than_an_answer() {
        let path = PathFacts {
            errors: too_big(1400),
            tried: vec![1500],
            answered: vec![1500],
            ..PathFacts::default()
        };
        let v4 = "--peer=100.64.158.4";
        for (line, verdict, hint) in [
            (v4, Verdict::Warn, "--mtu 1350 "),
            ("--peer=100.64.158.4 --df=set --mtu=1450", Verdict::Fail, "--mtu 1350 "),
            ("--peer=2001:db8::1 --mtu=1430", Verdict::Fail, "--mtu 1330 "),
        ] {
            let finding = judged(line, path.clone());
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.next_step.as_ref().is_some_and(|step| step.contains(hint)), "{finding:?}");
        }
        // What a router says of longer packets than ours is no word about ours.
        let path = PathFacts { errors: too_big(1500), answered: vec![1500], ..PathFacts::default() };
        assert_eq!(judged(v4, path).verdict, Verdict::Ok);
    }

    #[test]
    fn a_black_hole_is_where_answers_end_and_silence_is_not_known() {
        let tried = vec![1500, 1492, 1450, 1400, 96];
        let path = |answered: &[u32]| PathFacts {
            tried: tried.clone(),
            answered: answered.to_vec(),
            ..PathFacts::default()
        };
        let v4 = "--peer=100.64.158.4";
        let finding = judged(v4, path(&[96, 1400]));
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(
            finding.found.contains("of 1400 octets get to 100.64.158.4 and back, those of 1450 do not"),
            "{finding:?}"
        );
        let finding = judged(v4, path(&[]));
        assert_eq!(finding.verdict, Verdict::Note);
        assert!(finding.next_step.unwrap().contains("ping -M do -s 1422 "));
        assert_eq!(judged(v4, PathFacts::default()).verdict, Verdict::Note);
    }

    #[test]
    fn a_path_that_the_tunnel_follows_by_itself_is_a_note() {
        let said = PathFacts { errors: too_big(1400), tried: vec![1500], ..PathFacts::default() };
        let silent = PathFacts { tried: vec![1400, 1500], answered: vec![1400], ..PathFacts::default() };
        let known = "--peer=100.64.158.4=10.192.158.4";
        for (line, path, takes) in [
            (known, &said, "takes 1350 octets"),
            (known, &silent, "takes 1350 octets"),
            ("--peer=100.64.158.4 --df=set", &said, "takes 1350 octets"),
            ("--peer=2001:db8::1", &said, "takes 1330 octets"),
        ] {
            let finding = judged(line, path.clone());
            assert_eq!(finding.verdict, Verdict::Note, "{line}: {finding:?}");
            assert!(finding.found.contains(takes), "{line}: {finding:?}");
        }
        for (line, path) in [
            ("--peer=100.64.158.4", &silent),
            ("--peer=100.64.158.4=10.192.158.4 --health=off", &silent),
            ("--peer=100.64.158.4=10.192.158.4 --mtu=1450", &silent),
            ("--peer=2001:db8::1", &silent),
        ] {
            let finding = judged(line, path.clone());
            assert!(finding.verdict > Verdict::Note, "{line}: {finding:?}");
        }
    }
}
