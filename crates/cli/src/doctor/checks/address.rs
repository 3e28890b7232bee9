//! Inner addresses, networks and routes, against those that this host has.

use vxgate_netlink::Address;

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::Host;
use crate::doctor::subject::Subject;
use crate::print::units::Count;
use crate::up::error::UpError;
use crate::up::plan;

pub(crate) fn check(subject: &Subject, host: &Host) -> Vec<Finding> {
    let config = &subject.config;
    // Those of the tunnel itself are no others.
    let own = host.link(config.dev.as_str()).filter(|_| subject.may_run()).map(|link| link.index);
    let others: Vec<Address> =
        host.addresses.iter().filter(|address| Some(address.link) != own).cloned().collect();
    let mut notices = Vec::new();
    let mut findings = Vec::new();
    if let Err(error) = plan::check_overlaps(config, &others, &host.links, &mut notices) {
        findings.push(Finding::refusal(Check::Address, &error));
    }
    let next_step = "choose networks that do not meet, or know that the longer prefix wins";
    findings.extend(notices.into_iter().map(|notice| Finding::warn(Check::Address, notice, next_step)));
    for &network in &config.routes {
        let mut taken = host.routes.iter().filter(|route| route.prefix == network && route.link != own);
        if let Some(route) = taken.next() {
            let link = route.link.map(|index| host.name_of(index));
            let error = UpError::RouteTaken { network, link, gateway: route.gateway };
            findings.push(Finding::refusal(Check::Address, &error));
        }
    }
    if !findings.is_empty() {
        return findings;
    }
    vec![match config.addresses.len() {
        0 => Finding::note(
            Check::Address,
            "the device has no address: nothing of this host's goes into the tunnel by itself",
        ),
        count => Finding::ok(
            Check::Address,
            format!("{} of the device, met by no other link's", Count(count as u64, "network")),
        ),
    }]
}
