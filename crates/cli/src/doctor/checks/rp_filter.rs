//! Strict reverse-path filters (RFC 3704): the kernel drops IPv4 packets that come by a link by which it would not answer, and counts
//! that nowhere that anybody looks.

use vxgate_netlink::Link;

use super::route::Ways;
use crate::config::Family;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::{Host, sysctl};
use crate::doctor::subject::Subject;

/// `arrival` is the link by which datagrams come.
pub(crate) fn check(subject: &Subject, host: &Host, arrival: Option<&Link>, ways: &Ways) -> Vec<Finding> {
    let mut findings = Vec::new();
    if subject.config.family == Family::V4 {
        for link in arrival.into_iter().filter(|link| is_strict(&link.name)) {
            let elsewhere = ways.iter().find_map(|(peer, way)| {
                let index = way.as_ref().ok()?.as_ref()?.link.filter(|index| *index != link.index)?;
                Some((peer, host.name_of(index)))
            });
            if let Some((peer, by)) = elsewhere {
                findings.push(Finding::fail(
                    Check::RpFilter,
                    format!(
                        "{} filters strictly by the reverse path, and {peer} is reached by {by}: what comes from it is dropped",
                        link.name
                    ),
                    format!("sysctl -w net.ipv4.conf.{0}.rp_filter=2 net.ipv4.conf.all.rp_filter=2, or route the peer by {0}", link.name),
                ));
            }
        }
    }
    let device = if subject.may_run() { subject.config.dev.as_str() } else { "default" };
    if is_strict(device) {
        let dev = &subject.config.dev;
        findings.push(Finding::advice(
            Check::RpFilter,
            format!("{dev} filters strictly by the reverse path: what comes out of the tunnel from a network that is not routed into it is dropped"),
            format!("--route each network of the devices; or, while it runs, sysctl -w net.ipv4.conf.{dev}.rp_filter=2 net.ipv4.conf.all.rp_filter=2"),
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(Check::RpFilter, "no strict filter is in the way"));
    }
    findings
}

/// The larger of the two settings counts (Documentation/networking/ip-sysctl.rst); 1 is strict.
fn is_strict(link: &str) -> bool {
    let setting = |name: &str| sysctl(&format!("net/ipv4/conf/{name}/rp_filter")).unwrap_or(0);
    setting("all").max(setting(link)) == 1
}
