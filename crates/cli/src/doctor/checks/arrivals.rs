//! Whether anything comes from the peers of a tunnel that runs.

use std::net::IpAddr;

use vxgate_netlink::{Neighbour, NeighbourState};

use super::{is_gate, listed, rule};
use crate::control::protocol::{PeerStatus, TunnelStatus};
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::Host;
use crate::doctor::subject::Subject;
use crate::print::units::Seconds;

/// So long may a tunnel be up before silence means something: ARP has been asked three times by then (`mcast_solicit`,
/// net/ipv4/arp.c).
const SILENCE_S: u64 = 3;

/// From so much on, frames are a conversation that nobody answers. Fewer, or fewer than one in a minute, may be what a host says
/// unasked on any link: neighbour discovery's own questions and multicast reports, for which there need be no answer.
const TALK_S: u64 = 60;
const TALK_FRAMES: u64 = 30;

pub(crate) fn check(
    subject: &Subject,
    host: &Host,
    neighbours: &[Neighbour],
    later: Option<&TunnelStatus>,
) -> Vec<Finding> {
    let Some(status) = later.or(subject.status()) else { return Vec::new() };
    let device = host.link(&status.dev).map(|link| link.index);
    let mut inside = neighbours.iter().filter(|neighbour| Some(neighbour.link) == device);
    vec![judge(status, subject.config.port, inside.any(was_asked_in_vain))]
}

/// Whether the host wanted to talk to this neighbour and had no answer to ARP or neighbour discovery.
fn was_asked_in_vain(neighbour: &Neighbour) -> bool {
    matches!(neighbour.state, NeighbourState::Incomplete | NeighbourState::Failed)
}

/// Whether something was sent to this peer that an answer was due to.
fn owes_an_answer(peer: &PeerStatus, status: &TunnelStatus) -> bool {
    let probed = peer.inner.is_some() && status.health.as_ref().is_some_and(|health| health.probes > 0);
    let talk = TALK_FRAMES.max(status.uptime_s / 60);
    probed || status.uptime_s >= TALK_S && peer.tx_frames >= talk
}

/// `in_vain` says whether the host asked for a neighbour behind the tunnel and had no answer.
fn judge(status: &TunnelStatus, port: u16, in_vain: bool) -> Finding {
    let peers = status.peers.iter().filter(|peer| !peer.ip.is_multicast());
    let (heard, silent): (Vec<_>, Vec<_>) = peers.partition(|peer| peer.last_heard_s.is_some());
    let asked = in_vain || silent.iter().any(|peer| owes_an_answer(peer, status));
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
    if !asked {
        return Finding::advice(
            Check::Arrivals,
            format!("{found}, and nothing was asked"),
            "ping an inner address, then run `vxgate doctor` again",
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
        let one_silent = judge(&tunnel(), 4789, false);
        assert_eq!(one_silent.verdict, Verdict::Warn, "{one_silent:?}");
        let rule = "allow UDP 4789 from 100.64.158.132 to 172.21.0.100";
        assert!(one_silent.next_step.unwrap().starts_with(rule));
        let mut all = tunnel();
        all.peers.iter_mut().for_each(|peer| peer.last_heard_s = None);
        let silent = judge(&all, 4789, false);
        assert_eq!(silent.verdict, Verdict::Fail);
        assert!(silent.next_step.unwrap().contains("from 100.64.158.4 and 100.64.158.132 to"));
        all.uptime_s = SILENCE_S - 1;
        assert_eq!(judge(&all, 4789, true).verdict, Verdict::Note);
        all.peers.iter_mut().for_each(|peer| peer.last_heard_s = Some(0));
        assert_eq!(judge(&all, 4789, true).verdict, Verdict::Ok);
        all.peers.clear();
        assert_eq!(judge(&all, 4789, false).verdict, Verdict::Note);
    }

    #[test]
    fn silence_is_no_fault_where_nothing_was_asked() {
        let mut idle = tunnel();
        idle.peers.iter_mut().for_each(|peer| (peer.last_heard_s, peer.inner) = (None, None));
        let verdict = |status: &TunnelStatus, in_vain| judge(status, 4789, in_vain).verdict;
        let found = judge(&idle, 4789, false);
        assert_eq!(found.verdict, Verdict::Note, "a frame to each is no question: {found:?}");
        assert!(found.found.contains("and nothing was asked"), "{found:?}");
        assert_eq!(verdict(&idle, true), Verdict::Fail, "ARP was not answered");

        let mut probed = idle.clone();
        probed.peers[0].inner = Some("10.192.158.4".parse().unwrap());
        assert_eq!(verdict(&probed, false), Verdict::Fail);
        probed.health = None;
        assert_eq!(verdict(&probed, false), Verdict::Note);

        // An hour and two minutes: 62 frames are one in a minute.
        for (frames, expected) in [(61, Verdict::Note), (62, Verdict::Fail)] {
            idle.peers[0].tx_frames = frames;
            assert_eq!(verdict(&idle, false), expected, "{frames} frames");
        }
        idle.uptime_s = TALK_S - 1;
        assert_eq!(verdict(&idle, false), Verdict::Note);
    }
}
