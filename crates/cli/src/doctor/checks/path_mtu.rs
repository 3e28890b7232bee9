//! The longest packet that gets to each peer in one piece.

use std::net::IpAddr;

use crate::config::values::Df;
use crate::config::{Family, UpConfig};
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::probes::path::PathFacts;
use crate::doctor::subject::Subject;
use crate::up::plan::{OVERHEAD_V4, OVERHEAD_V6};

pub(crate) fn check(subject: &Subject, paths: &[PathFacts]) -> Vec<Finding> {
    paths.iter().filter_map(|path| Some(judge(path.peer?, path, &subject.config))).collect()
}

fn judge(peer: IpAddr, path: &PathFacts, config: &UpConfig) -> Finding {
    let wanted = path.wanted_octets;
    let errors = path.icmp().filter_map(|error| Some((error.mtu?, error.offender)));
    let said = errors.min_by_key(|(mtu, _)| *mtu);
    if let Some((mtu, offender)) = said.filter(|(mtu, _)| *mtu < wanted) {
        let by = offender.map_or_else(String::new, |ip| format!(" says {ip}"));
        return narrow(
            format!("the path to {peer} carries packets of {mtu} octets,{by}"),
            mtu,
            wanted,
            config,
        );
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
                wanted.saturating_sub(overhead(config) + 28)
            ),
        );
    };
    let shortest_lost = path.tried.iter().filter(|tried| *tried > longest).min().unwrap_or(&wanted);
    let found = format!(
        "packets of {longest} octets get to {peer} and back, those of {shortest_lost} do not, and no router says why: a black hole"
    );
    narrow(found, *longest, wanted, config)
}

/// A path that is narrower than the tunnel: it is lost to those packets, or fragments them.
fn narrow(found: String, mtu: u32, wanted: u32, config: &UpConfig) -> Finding {
    let fits = mtu.saturating_sub(overhead(config));
    let next_step = format!(
        "--mtu {fits} makes the tunnel's packets fit (ip link set {} mtu {fits} while it runs)",
        config.dev
    );
    let fragments = config.family == Family::V4 && config.df == Df::Unset;
    if fragments {
        let found = format!("{found}: longer ones of up to {wanted} are fragmented on the way, or lost");
        Finding::warn(Check::PathMtu, found, next_step)
    } else {
        Finding::fail(Check::PathMtu, format!("{found}: longer ones of up to {wanted} are lost"), next_step)
    }
}

fn overhead(config: &UpConfig) -> u32 {
    match config.family {
        Family::V4 => OVERHEAD_V4,
        Family::V6 => OVERHEAD_V6,
    }
}
