//! The link that carries the tunnel.

use std::net::IpAddr;

use vxgate_netlink::Link;

use super::route::Ways;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::Host;
use crate::doctor::subject::Subject;
use crate::up::plan;

/// The link of `--underlay`, or by which the first peer is reached.
pub(crate) fn carrier<'a>(subject: &Subject, host: &'a Host, ways: &Ways) -> Option<&'a Link> {
    if let Ok(Some(link)) = plan::underlay(&subject.config, &host.links) {
        return Some(link);
    }
    let first = ways.iter().find_map(|(_, way)| way.as_ref().ok()?.as_ref());
    host.link_at(first?.link?)
}

/// The link by which datagrams arrive: the one that has this host's outer address, whatever way those to the peers take.
pub(crate) fn arrival<'a>(
    host: &'a Host,
    local: Option<IpAddr>,
    carrier: Option<&'a Link>,
) -> Option<&'a Link> {
    let own = host.addresses.iter().find(|address| Some(address.ip.addr()) == local);
    own.and_then(|address| host.link_at(address.link)).filter(|link| link.name != "lo").or(carrier)
}

pub(crate) fn check(subject: &Subject, host: &Host, carrier: Option<&Link>) -> Vec<Finding> {
    if let Err(error) = plan::underlay(&subject.config, &host.links) {
        return vec![Finding::refusal(Check::Underlay, &error)];
    }
    vec![carrier.map_or_else(
        || {
            Finding::note(
                Check::Underlay,
                "nothing says which link carries the tunnel: neither --underlay nor a peer's route",
            )
        },
        judge,
    )]
}

fn judge(link: &Link) -> Finding {
    let name = &link.name;
    if !link.up {
        let found = format!("{name} is down: nothing leaves until it is up");
        return Finding::fail(Check::Underlay, found, format!("ip link set {name} up"));
    }
    if !link.carrier {
        let found = format!("{name} is up and has no carrier");
        return Finding::fail(
            Check::Underlay,
            found,
            "look at its cable, its switch, or for a virtual one at what is attached to its other end",
        );
    }
    Finding::ok(Check::Underlay, format!("{name} is up, MTU {}", link.mtu))
}
