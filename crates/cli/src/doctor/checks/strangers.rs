//! Datagrams from addresses that are no peers.

use std::net::IpAddr;

use vxgate_core::DropReason;

use super::{is_gate, listed};
use crate::control::protocol::TunnelStatus;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use crate::doctor::window::Window;
use crate::print::units::Count;

pub(crate) fn check(subject: &Subject, later: Option<&TunnelStatus>, window: &Window) -> Vec<Finding> {
    let Some(status) = later.or(subject.status()) else { return Vec::new() };
    let seen: Vec<IpAddr> = window
        .seen
        .iter()
        .flatten()
        .flatten()
        .map(|(source, _)| *source)
        .filter(|source| !subject.has_peer(*source))
        .filter(|source| !subject.config.accept_from.iter().any(|network| network.contains(source)))
        .collect();
    let dropped = status.drops.get(DropReason::Stranger.name()).copied().unwrap_or(0);
    vec![judge(&status.dev, dropped, &seen)]
}

fn judge(dev: &str, dropped: u64, seen: &[IpAddr]) -> Finding {
    if dropped == 0 {
        return Finding::ok(Check::Strangers, "everything that came was from a peer");
    }
    let named = if seen.is_empty() { String::new() } else { format!(", such as {}", listed(seen)) };
    let found = format!("{} came from addresses that are no peers{named}", Count(dropped, "datagram"));
    let next_step = match seen.first() {
        Some(one) if is_gate(*one) => {
            format!("{one} looks like a Gate peer: if it is one of your VPG, vxgate peer add {one} dev {dev}")
        }
        Some(one) => format!(
            "if it is a VTEP of yours: vxgate peer add {one} dev {dev}, or --accept-from; otherwise keep it out by a firewall"
        ),
        None => "a peer whose address changed, or a VTEP that has this host as a peer; the doctor names who comes while it looks, as root".to_owned(),
    };
    Finding::warn(Check::Strangers, found, next_step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_stranger_of_the_gates_range_is_likely_a_peer() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(judge("vxlan0", 0, &[ip("192.0.2.1")]).verdict, Verdict::Ok);
        for (seen, hint) in [
            (vec![ip("100.64.158.132")], "100.64.158.132 looks like a Gate peer"),
            (vec![ip("192.0.2.1")], "vxgate peer add 192.0.2.1 dev vxlan0"),
            (vec![], "as root"),
        ] {
            let finding = judge("vxlan0", 1, &seen);
            assert_eq!(finding.verdict, Verdict::Warn);
            assert!(finding.next_step.as_ref().is_some_and(|step| step.contains(hint)), "{finding:?}");
        }
    }
}
