//! This host's outer address.

use std::net::IpAddr;

use super::route::Ways;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::Host;
use crate::doctor::subject::Subject;
use crate::up::plan;

/// The address, and what there is to say of it.
pub(crate) fn check(subject: &Subject, host: &Host, ways: &Ways) -> (Option<IpAddr>, Vec<Finding>) {
    let underlay = plan::underlay(&subject.config, &host.links).ok().flatten();
    let first = ways.iter().find_map(|(_, way)| way.as_ref().ok()?.as_ref());
    let local = match plan::local(&subject.config, &host.addresses, underlay, first) {
        Ok(local) => local,
        Err(error) => return (None, vec![Finding::refusal(Check::Local, &error)]),
    };
    let own = host.addresses.iter().find(|address| address.ip.addr() == local);
    let (Some(own), Some(by)) = (own, first.and_then(|route| route.link)) else {
        return (Some(local), vec![Finding::ok(Check::Local, format!("{local} is this host's"))]);
    };
    (Some(local), vec![judge(local, &host.name_of(own.link), &host.name_of(by))])
}

/// `on` is the link that has the address, `by` the one by which the first peer is reached.
fn judge(local: IpAddr, on: &str, by: &str) -> Finding {
    if on == by || on == "lo" {
        return Finding::ok(Check::Local, format!("{local} is this host's, on {on}"));
    }
    Finding::warn(
        Check::Local,
        format!("{local} is the address of {on}, and the peers are reached by {by}"),
        format!(
            "many networks drop what leaves by {by} with another's address: use --local of {by}, or route the peers by {on} (ip route add \
             PEER dev {on}, or via its router)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn an_address_of_another_link_is_doubtful_and_one_of_loopback_is_not() {
        let local = "172.21.0.100".parse().unwrap();
        assert_eq!(judge(local, "eth0", "eth0").verdict, Verdict::Ok);
        assert_eq!(judge(local, "lo", "eth0").verdict, Verdict::Ok);
        assert_eq!(judge(local, "eth1", "eth0").verdict, Verdict::Warn);
    }
}
