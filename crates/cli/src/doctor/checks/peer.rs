//! What each peer says, or the network in its place.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use vxgate_sys::udp::QueuedError;

use super::{is_gate, rule};
use crate::control::protocol::{PeerState, PeerStatus, TunnelStatus};
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::probes::path::PathFacts;
use crate::doctor::subject::Subject;
use crate::print::units::Ago;

/// A peer that was heard so long ago still speaks: twice what ARP keeps silent about, and more than any probe's interval.
const HEARD_S: u64 = 60;

pub(crate) fn check(subject: &Subject, later: Option<&TunnelStatus>, paths: &[PathFacts]) -> Vec<Finding> {
    let status = |peer: IpAddr| later?.peers.iter().find(|status| status.ip == peer);
    let one = |path: &PathFacts| {
        let peer = path.peer?;
        Some(judge(peer, subject.config.port, subject.config.local, path, status(peer)))
    };
    paths.iter().filter_map(one).collect()
}

fn judge(
    peer: IpAddr,
    port: u16,
    local: Option<IpAddr>,
    path: &PathFacts,
    status: Option<&PeerStatus>,
) -> Finding {
    if let Some((why, next_step)) = path.icmp().find_map(|error| explain(peer, port, local, error)) {
        return Finding::fail(Check::Peer, format!("{peer}: {why}"), next_step);
    }
    if status.is_some_and(|status| status.state == PeerState::Down) {
        return Finding::warn(
            Check::Peer,
            format!("{peer} is down: it answered the tunnel's probes, and no longer does"),
            "the tunnel goes by the other peers, where one lives; see whether the peer runs and what lies between (the lines above)",
        );
    }
    if let Some(seconds) = status.and_then(|status| status.last_heard_s).filter(|seconds| *seconds <= HEARD_S)
    {
        return Finding::ok(Check::Peer, format!("{peer} speaks: last heard {}", Ago(Some(seconds))));
    }
    if let Some(round_trip) = path.round_trip {
        return Finding::ok(Check::Peer, format!("{peer} answers pings, in {}", millis(round_trip)));
    }
    if let Some(errno) = path.refused {
        let why = io::Error::from_raw_os_error(errno);
        return Finding::advice(
            Check::Peer,
            format!("{peer} is not known: nothing could be sent to it: {why}"),
            "see to the other lines first, which say why",
        );
    }
    let unasked = if path.tried.is_empty() { "this process may not ping" } else { "no answer to a ping" };
    Finding::advice(
        Check::Peer,
        format!("{peer} is silent: {unasked}, and no error to a datagram"),
        format!(
            "{}; {}",
            if is_gate(peer) { "a Gate peer may be so and work" } else { "a firewall may do that" },
            if status.is_some() {
                "`arrivals` tells whether anything comes from it"
            } else {
                "once the tunnel runs, the doctor sees whether anything comes from it"
            }
        ),
    )
}

/// What an ICMP error means (RFC 792, RFC 1812 section 5.2.7, RFC 4443 section 3), and what to do; none for those that other checks
/// look at.
fn explain(peer: IpAddr, port: u16, local: Option<IpAddr>, error: &QueuedError) -> Option<(String, String)> {
    let v6 = peer.is_ipv6();
    let by = error.offender.map_or_else(|| "somebody".to_owned(), |ip| ip.to_string());
    let kind = (v6, error.icmp_type, error.icmp_code);
    match kind {
        (false, 3, 3) | (true, 1, 4) => {
            let cure = if is_gate(peer) {
                "see that the Gate is open and that this is a peer of your VPG: vxgate gate status --vpg-id ID"
            } else {
                "start the VTEP there, or see which port it has: --port"
            };
            Some((format!("nobody listens on UDP port {port} there"), cure.to_owned()))
        }
        (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5) => Some((
            format!("{by} forbids it: a firewall's ICMP error"),
            format!("have it {}", rule(port, local, Some(peer))),
        )),
        (false, 3, 4) | (true, 2, _) => None,
        (false, 3, _) | (true, 1, _) => Some((
            format!("{by} says that there is no way to it"),
            format!(
                "look at the routes from {by} on; for a Gate peer, see that the VPG is joined to this VPC and its route table"
            ),
        )),
        (false, 11, _) | (true, 3, _) => Some((
            format!("datagrams go round in a loop: {by} says that their time is over"),
            format!("look at the routes of {by}"),
        )),
        (_, _, _) => None,
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use vxgate_sys::udp::ErrorOrigin;

    use super::*;
    use crate::doctor::finding::Verdict;
    use crate::print::tests::tunnel;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn icmp(icmp_type: u8, icmp_code: u8) -> QueuedError {
        QueuedError {
            errno: 111,
            origin: ErrorOrigin::Icmp,
            icmp_type,
            icmp_code,
            offender: Some(ip("172.21.0.1")),
            destination: None,
            mtu: None,
            payload: Vec::new(),
        }
    }

    fn judged(peer: &str, path: &PathFacts, status: Option<&PeerStatus>) -> Finding {
        judge(ip(peer), 4789, Some(ip("172.21.0.100")), path, status)
    }

    #[test]
    fn each_icmp_error_says_what_it_means() {
        for (peer, kind, code, found, hint) in [
            ("100.64.158.4", 3, 3, "nobody listens on UDP port 4789", "Gate is open"),
            ("192.0.2.1", 3, 3, "nobody listens", "--port"),
            ("192.0.2.1", 3, 13, "172.21.0.1 forbids it", "allow UDP 4789 from 172.21.0.100 to 192.0.2.1"),
            ("192.0.2.1", 3, 1, "172.21.0.1 says that there is no way to it", "routes from 172.21.0.1"),
            ("192.0.2.1", 11, 0, "go round in a loop", "routes of 172.21.0.1"),
            ("2001:db8::1", 1, 4, "nobody listens", "--port"),
            ("2001:db8::1", 1, 1, "forbids it", "allow UDP 4789 from 172.21.0.100 to 2001:db8::1"),
            ("2001:db8::1", 1, 0, "no way to it", "routes"),
            ("2001:db8::1", 3, 0, "in a loop", "routes"),
        ] {
            let path = PathFacts { errors: vec![icmp(kind, code)], ..PathFacts::default() };
            let finding = judged(peer, &path, None);
            assert_eq!(finding.verdict, Verdict::Fail, "{finding:?}");
            assert!(finding.found.contains(found), "{finding:?}");
            assert!(finding.next_step.as_ref().is_some_and(|step| step.contains(hint)), "{finding:?}");
        }
        // Too big a packet is the business of path-mtu.
        let path = PathFacts { errors: vec![icmp(3, 4)], tried: vec![96], ..PathFacts::default() };
        assert_eq!(judged("192.0.2.1", &path, None).verdict, Verdict::Note);
    }

    #[test]
    fn life_is_an_answer_or_a_frame_and_silence_is_a_note() {
        let status = tunnel().peers;
        let silent = PathFacts { tried: vec![96], ..PathFacts::default() };
        assert!(judged("100.64.158.4", &silent, None).found.contains("no answer to a ping"));
        assert!(judged("100.64.158.4", &PathFacts::default(), None).found.contains("may not ping"));
        let finding = judged("100.64.158.4", &silent, status.first());
        assert_eq!(
            (finding.verdict, finding.found.as_str()),
            (Verdict::Ok, "100.64.158.4 speaks: last heard 3 seconds ago")
        );
        let old = PeerStatus { last_heard_s: Some(HEARD_S + 1), ..status[0].clone() };
        let finding = judged("100.64.158.4", &silent, Some(&old));
        assert_eq!(finding.verdict, Verdict::Note);
        assert!(finding.next_step.unwrap().contains("`arrivals` tells"));
        let answers = PathFacts { round_trip: Some(Duration::from_micros(1234)), ..silent.clone() };
        assert_eq!(judged("100.64.158.4", &answers, None).found, "100.64.158.4 answers pings, in 1.2 ms");
        let down = PeerStatus { state: PeerState::Down, ..status[0].clone() };
        assert_eq!(judged("100.64.158.4", &answers, Some(&down)).verdict, Verdict::Warn);
        let unsent = PathFacts { refused: Some(101), ..PathFacts::default() };
        assert!(judged("100.64.158.4", &unsent, None).found.contains("nothing could be sent"));
    }
}
