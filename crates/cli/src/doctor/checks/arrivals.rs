//! Whether anything comes from the peers of a tunnel that runs.

use std::net::IpAddr;

use super::{is_gate, listed, rule};
use crate::control::protocol::TunnelStatus;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use crate::print::units::Seconds;

/// So long may a tunnel be up before silence means something: ARP has been asked three times by then (`mcast_solicit`,
/// net/ipv4/arp.c).
const SILENCE_S: u64 = 3;

pub(crate) fn check(subject: &Subject, later: Option<&TunnelStatus>) -> Vec<Finding> {
    let Some(status) = later.or(subject.status()) else { return Vec::new() };
    vec![judge(status, subject.config.port)]
}

fn judge(status: &TunnelStatus, port: u16) -> Finding {
    let peers = status.peers.iter().filter(|peer| !peer.ip.is_multicast());
    let (heard, silent): (Vec<_>, Vec<_>) = peers.partition(|peer| peer.last_heard_s.is_some());
    let silent: Vec<IpAddr> = silent.iter().map(|peer| peer.ip).collect();
    let up = Seconds(status.uptime_s);
    if silent.is_empty() {
        return match heard.len() {
            0 => Finding::note(Check::Arrivals, "the tunnel has no peer that could send"),
            _ => Finding::ok(
                Check::Arrivals,
                format!("frames have come from {}", listed(heard.iter().map(|peer| peer.ip))),
            ),
        };
    }
    if status.uptime_s < SILENCE_S {
        return Finding::note(
            Check::Arrivals,
            format!("nothing yet from {}; the tunnel is up for {up}", listed(&silent)),
        );
    }
    let gate = if silent.iter().any(|ip| is_gate(*ip)) {
        "; `vxgate doctor --vpg-id ID` sees whether the Gate is open and has this host"
    } else {
        ""
    };
    let next_step = format!(
        "{}: in the security group or firewall before this host, and in its own{gate}",
        rule(port, silent.clone(), Some(status.local))
    );
    let found = format!("nothing has come from {} in {up}", listed(&silent));
    if !heard.is_empty() {
        return Finding::warn(
            Check::Arrivals,
            format!("{found}; {} is heard", listed(heard.iter().map(|peer| peer.ip))),
            next_step,
        );
    }
    if status.tx.frames == 0 {
        return Finding::advice(
            Check::Arrivals,
            format!("{found}, and nothing was sent"),
            "ping an inner address, then look again",
        );
    }
    Finding::fail(Check::Arrivals, found, next_step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;
    use crate::print::tests::tunnel;

    #[test]
    fn silence_is_judged_by_who_is_silent_and_for_how_long() {
        let one_silent = judge(&tunnel(), 4789);
        assert_eq!(one_silent.verdict, Verdict::Warn, "{one_silent:?}");
        let rule = "allow UDP 4789 from 100.64.158.132 to 172.21.0.100";
        assert!(one_silent.next_step.unwrap().starts_with(rule));
        let mut all = tunnel();
        all.peers.iter_mut().for_each(|peer| peer.last_heard_s = None);
        let silent = judge(&all, 4789);
        assert_eq!(silent.verdict, Verdict::Fail);
        assert!(silent.next_step.unwrap().contains("from 100.64.158.4 and 100.64.158.132 to"));
        all.tx.frames = 0;
        assert_eq!(judge(&all, 4789).verdict, Verdict::Note);
        all.tx.frames = 1;
        all.uptime_s = SILENCE_S - 1;
        assert_eq!(judge(&all, 4789).verdict, Verdict::Note);
        all.peers.iter_mut().for_each(|peer| peer.last_heard_s = Some(0));
        assert_eq!(judge(&all, 4789).verdict, Verdict::Ok);
        all.peers.clear();
        assert_eq!(judge(&all, 4789).verdict, Verdict::Note);
    }
}
