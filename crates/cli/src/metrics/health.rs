//! Whether the tunnels are of any use.

use crate::control::protocol::{PeerState, PeerStatus, TunnelStatus};
use crate::print::units::MillisAgo;

/// Most peers that a reason names.
const NAMED: usize = 4;

/// Well, where each tunnel has a peer that is up; else why not, a line for each tunnel that is not.
///
/// A peer whose inner address is not known is not probed: it counts as up for a minute after it was heard, as in `show`.
pub(super) fn of(tunnels: &[TunnelStatus]) -> Result<(), String> {
    if tunnels.is_empty() {
        return Err("no tunnel is up".to_owned());
    }
    let unwell: Vec<String> = tunnels.iter().filter_map(unwell).collect();
    if unwell.is_empty() { Ok(()) } else { Err(unwell.join("\n")) }
}

fn unwell(tunnel: &TunnelStatus) -> Option<String> {
    if tunnel.peers.iter().any(|peer| peer.state == PeerState::Up) {
        return None;
    }
    if tunnel.peers.is_empty() {
        return Some(format!("{}: it has no peers", tunnel.dev));
    }
    let named: Vec<String> = tunnel.peers.iter().take(NAMED).map(told).collect();
    let more = if tunnel.peers.len() > NAMED { ", and others" } else { "" };
    Some(format!("{}: no peer is up: {}{more}", tunnel.dev, named.join(", ")))
}

fn told(peer: &PeerStatus) -> String {
    match peer.last_heard_ms {
        Some(millis) => format!("{} {}, last heard {}", peer.ip, peer.state.name(), MillisAgo(Some(millis))),
        None => format!("{} {}, never heard", peer.ip, peer.state.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::tests::tunnel;

    #[test]
    fn one_peer_that_is_up_is_enough_and_each_tunnel_needs_one() {
        let well = tunnel();
        assert_eq!(of(std::slice::from_ref(&well)), Ok(()));
        let mut down = tunnel();
        down.dev = "vx1".to_owned();
        down.peers[0].state = PeerState::Down;
        let why = "vx1: no peer is up: 100.64.158.4 down, last heard 3.3 s ago, 100.64.158.132 unknown, never heard";
        assert_eq!(of(&[well.clone(), down]), Err(why.to_owned()));
        let alone = TunnelStatus { peers: Vec::new(), ..well };
        assert_eq!(of(&[alone]), Err("vxlan0: it has no peers".to_owned()));
        assert_eq!(of(&[]), Err("no tunnel is up".to_owned()));
    }
}
