//! Whether this host itself lets the datagrams through: out, as the kernel says when it sends, and in, by what the link saw and the
//! tunnel did not.

use std::net::IpAddr;

use rustix::io::Errno;

use super::listed;
use crate::control::protocol::TunnelStatus;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::probes::path::PathFacts;
use crate::doctor::subject::Subject;
use crate::doctor::window::Window;

pub(crate) fn check(subject: &Subject, later: Option<&TunnelStatus>, window: &Window) -> Vec<Finding> {
    let port = subject.config.port;
    if let Some(finding) = judge_out(port, &window.paths) {
        return vec![finding];
    }
    let (Some(before), Some(after)) = (subject.status(), later) else {
        return vec![if window.paths.is_empty() {
            Finding::note(Check::Firewall, "nothing was sent, so that nothing is known")
        } else {
            Finding::ok(Check::Firewall, "it lets datagrams out; what it lets in shows when the tunnel runs")
        }];
    };
    let senders = match &window.seen {
        None => return vec![Finding::note(Check::Firewall, "no link says what arrives")],
        Some(Err(error)) => {
            return vec![Finding::advice(
                Check::Firewall,
                format!("it lets datagrams out; what arrives at the link cannot be looked at: {error}"),
                "run the doctor as root, or with CAP_NET_RAW",
            )];
        }
        Some(Ok(senders)) => senders,
    };
    let peers = senders.iter().filter(|(source, _)| subject.has_peer(**source));
    let (from, datagrams): (Vec<IpAddr>, Vec<u64>) =
        peers.map(|(source, sender)| (*source, sender.datagrams)).unzip();
    vec![judge(port, &from, datagrams.iter().sum(), counted(after).saturating_sub(counted(before)))]
}

/// The kernel's own word when a rule forbids what is sent (`EPERM`, NF_DROP on the way out).
fn judge_out(port: u16, paths: &[PathFacts]) -> Option<Finding> {
    let forbidden = paths.iter().filter(|path| path.refused == Some(Errno::PERM.raw_os_error()));
    let forbidden: Vec<IpAddr> = forbidden.filter_map(|path| path.peer).collect();
    if forbidden.is_empty() {
        return None;
    }
    let to = listed(&forbidden);
    Some(Finding::fail(
        Check::Firewall,
        format!("this host's own firewall lets no datagram out to {to}"),
        format!(
            "have it allow UDP {port} to {to}: `nft list ruleset` or `iptables -S OUTPUT` shows what forbids it"
        ),
    ))
}

/// Datagrams that got as far as the tunnel, taken or dropped; drops of the other direction only add to it.
fn counted(status: &TunnelStatus) -> u64 {
    status.rx.frames + status.drops.values().sum::<u64>()
}

/// `seen` datagrams of the peers arrived at the link while `counted` got to the tunnel.
fn judge(port: u16, from: &[IpAddr], seen: u64, counted: u64) -> Finding {
    if seen == 0 {
        return Finding::ok(Check::Firewall, "it lets datagrams out; none came in meanwhile");
    }
    if counted > 0 {
        return Finding::ok(Check::Firewall, "it lets datagrams out and in");
    }
    Finding::fail(
        Check::Firewall,
        format!(
            "{seen} datagrams from {} arrived at this host and none at the tunnel: this host drops them",
            listed(from)
        ),
        format!(
            "let them in: nft insert rule inet filter input udp dport {port} accept, or iptables -I INPUT -p udp --dport {port} -j ACCEPT; \
             a strict reverse-path filter (rp-filter above) does the same"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_send_that_the_kernel_forbids_is_the_firewalls() {
        let peer = "100.64.158.4".parse().ok();
        let path = |refused| PathFacts { peer, refused, ..PathFacts::default() };
        // ENETUNREACH is no rule.
        assert_eq!(judge_out(4789, &[path(None), path(Some(101))]), None);
        let finding = judge_out(4789, &[path(Some(1))]).unwrap();
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.next_step.unwrap().contains("allow UDP 4789 to 100.64.158.4"));
    }

    #[test]
    fn what_the_link_saw_and_the_tunnel_did_not_was_dropped_between() {
        let from = ["100.64.158.4".parse().unwrap()];
        assert_eq!(judge(4789, &[], 0, 0).verdict, Verdict::Ok);
        assert_eq!(judge(4789, &from, 3, 3).verdict, Verdict::Ok);
        let finding = judge(4789, &from, 3, 0);
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.found.starts_with("3 datagrams from 100.64.158.4 arrived"), "{finding:?}");
        assert!(finding.next_step.unwrap().contains("udp dport 4789 accept"));
    }
}
