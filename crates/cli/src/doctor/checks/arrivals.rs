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
        "; of the Gate: is it open, and is this host registered under this address"
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
