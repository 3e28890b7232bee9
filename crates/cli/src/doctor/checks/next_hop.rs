//! Whether the first hop to each peer answers on its link. It is looked at after datagrams went there.

use std::net::IpAddr;

use vxgate_codec::MacAddr;
use vxgate_netlink::{Neighbour, NeighbourState};

use super::route::Ways;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::Host;

pub(crate) fn check(ways: &Ways, host: &Host, neighbours: &[Neighbour]) -> Vec<Finding> {
    let mut hops = Vec::new();
    for (peer, way) in ways {
        let Ok(Some(route)) = way else { continue };
        let Some(link) = route.link else { continue };
        let hop = (route.gateway.unwrap_or(*peer), link);
        if !hops.contains(&hop) {
            hops.push(hop);
        }
    }
    hops.into_iter()
        .filter_map(|(hop, link)| {
            let entry = neighbours.iter().find(|entry| entry.link == link && entry.ip == hop)?;
            Some(judge(hop, &host.name_of(link), entry))
        })
        .collect()
}

fn judge(hop: IpAddr, link: &str, entry: &Neighbour) -> Finding {
    match (entry.state, entry.mac) {
        (NeighbourState::Failed | NeighbourState::Incomplete, _) => Finding::fail(
            Check::NextHop,
            format!("{hop} does not answer on {link}: nobody there has that address"),
            format!(
                "look at the route (ip route), at {link}'s cable or subnet, and whether {hop} is switched on"
            ),
        ),
        (_, Some(mac)) => {
            Finding::ok(Check::NextHop, format!("{hop} answers on {link}: {}", MacAddr::new(mac)))
        }
        (_, None) => Finding::ok(Check::NextHop, format!("{hop} needs no answer on {link}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_hop_that_was_asked_and_did_not_answer_fails() {
        let hop = "172.21.0.1".parse().unwrap();
        let entry = |state, mac| Neighbour { link: 2, ip: hop, mac, state };
        let mac = Some([2, 0, 0, 0, 0, 1]);
        for (state, mac, verdict) in [
            (NeighbourState::Incomplete, None, Verdict::Fail),
            (NeighbourState::Failed, None, Verdict::Fail),
            (NeighbourState::Failed, mac, Verdict::Fail),
            (NeighbourState::Stale, mac, Verdict::Ok),
            (NeighbourState::Reachable, mac, Verdict::Ok),
            (NeighbourState::NoArp, None, Verdict::Ok),
        ] {
            assert_eq!(judge(hop, "eth0", &entry(state, mac)).verdict, verdict, "{state:?}");
        }
    }
}
