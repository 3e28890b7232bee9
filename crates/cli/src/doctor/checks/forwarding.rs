//! What `--forward` needs, and what of others' undoes it.

use std::net::IpAddr;

use vxgate_netlink::{Link, Netlink};

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::Host;
use crate::doctor::subject::Subject;
use crate::up::chain;
use crate::up::device::Claim;
use crate::up::forward::obstacles::{self, Obstacle};
use crate::up::forward::{Side, Way};
use crate::up::plan::Plan;

/// `local` is this host's outer address, `carrier` the link by which datagrams leave.
pub(crate) async fn check(
    subject: &Subject,
    host: &Host,
    netlink: &Netlink,
    local: Option<IpAddr>,
    carrier: Option<&Link>,
) -> Vec<Finding> {
    let config = &subject.config;
    let (false, Some(local), Some(carrier)) = (config.forward.is_empty(), local, carrier) else {
        return Vec::new();
    };
    let device = host.link(config.dev.as_str()).filter(|_| subject.running.is_some());
    let tunnel = Side { index: device.map_or(0, |link| link.index), name: config.dev.to_string() };
    // Of the plan only the underlay is asked for.
    let plan = Plan {
        local,
        mtu: 0,
        paths: Vec::new(),
        underlay: carrier.index,
        claim: Claim::New,
        notices: Vec::new(),
    };
    let otherwise = || "docs/forwarding.md has what it needs".to_owned();
    match Way::find(netlink, config, &plan, tunnel).await {
        Err(error) => {
            vec![Finding::fail(Check::Forwarding, chain(&error), error.hint().unwrap_or_else(otherwise))]
        }
        Ok(None) => Vec::new(),
        Ok(Some(_)) if device.is_none() => {
            vec![Finding::note(
                Check::Forwarding,
                "`up` sets what it needs; while the tunnel runs it is looked at",
            )]
        }
        Ok(Some(way)) => judge(obstacles::find(netlink, &way).await),
    }
}

fn judge(obstacles: Vec<Obstacle>) -> Vec<Finding> {
    if obstacles.is_empty() {
        return vec![Finding::ok(Check::Forwarding, "nothing of this host's is in its way")];
    }
    obstacles
        .into_iter()
        .map(|obstacle| Finding::fail(Check::Forwarding, obstacle.found, obstacle.next_step))
        .collect()
}
