//! The way to each peer.

use std::net::IpAddr;

use vxgate_netlink::{Netlink, Route};

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::Host;
use crate::doctor::subject::Subject;
use crate::up::error::UpError;
use crate::up::plan;

/// Each peer with what the routing table says; no route where the link is given and says enough.
pub(crate) type Ways = Vec<(IpAddr, Result<Option<Route>, UpError>)>;

/// Asks the routing table.
pub(crate) async fn ways(subject: &Subject, netlink: &Netlink) -> Ways {
    let mut ways = Vec::new();
    for peer in subject.peers() {
        ways.push((peer, plan::route_to(netlink, peer, subject.config.underlay.is_some()).await));
    }
    ways
}

/// Networks that would take the peers into the tunnel; of one that runs, the look-up itself tells.
pub(crate) fn check_loops(subject: &Subject, host: &Host) -> Vec<Finding> {
    if subject.may_run() {
        return Vec::new();
    }
    match plan::check_loops(&subject.config, &host.routes) {
        Ok(()) => vec![Finding::ok(Check::Loop, "no peer lies in a network that goes into the tunnel")],
        Err(error) => vec![Finding::refusal(Check::Loop, &error)],
    }
}

pub(crate) fn check(subject: &Subject, host: &Host, ways: &Ways) -> Vec<Finding> {
    let dev = subject.config.dev.as_str();
    let underlay = subject.config.underlay.as_ref().map(|underlay| underlay.as_str());
    let named = |route: &Route| route.link.map(|index| host.name_of(index));
    ways.iter()
        .map(|(peer, way)| match way {
            Err(error) => Finding::refusal(Check::Route, error),
            Ok(None) => Finding::ok(Check::Route, format!("{peer} is on the link itself")),
            Ok(Some(route)) => judge(*peer, route, named(route).as_deref(), dev, underlay),
        })
        .collect()
}

fn judge(peer: IpAddr, route: &Route, by: Option<&str>, dev: &str, underlay: Option<&str>) -> Finding {
    let gateway = route.gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
    let way = format!("{peer} is reached{gateway} by {}", by.unwrap_or("no link"));
    if by == Some(dev) {
        return Finding::fail(
            Check::Route,
            format!("{way}, the tunnel itself: its own datagrams go round in it"),
            format!(
                "route the peer outside: ip route add {peer} via ROUTER, or take away what routes it into {dev}"
            ),
        );
    }
    if let (Some(by), Some(underlay)) = (by, underlay)
        && by != underlay
    {
        return Finding::warn(
            Check::Route,
            format!("{way}, and --underlay is {underlay}"),
            format!(
                "leave --underlay out, or route the peer by it: ip route add {peer} via ROUTER dev {underlay}"
            ),
        );
    }
    Finding::ok(Check::Route, way)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_way_by_the_tunnel_fails_and_one_by_another_link_is_doubtful() {
        let peer: IpAddr = "100.64.158.4".parse().unwrap();
        let route = Route {
            prefix: peer.into(),
            link: Some(2),
            gateway: Some("172.21.0.1".parse().unwrap()),
            source: None,
            metric: None,
            mtu: None,
            mtu_learned: false,
            local: false,
        };
        for (by, underlay, verdict, found) in [
            ("eth0", None, Verdict::Ok, "100.64.158.4 is reached via 172.21.0.1 by eth0"),
            ("eth0", Some("eth0"), Verdict::Ok, "by eth0"),
            ("vxlan0", None, Verdict::Fail, "by vxlan0, the tunnel itself"),
            ("eth1", Some("eth0"), Verdict::Warn, "by eth1, and --underlay is eth0"),
        ] {
            let finding = judge(peer, &route, Some(by), "vxlan0", underlay);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.found.contains(found), "{finding:?}");
        }
    }
}
