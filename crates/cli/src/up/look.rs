//! How fast it goes: what was counted when somebody last looked, against what is counted now.
//!
//! There is one last look for all who look, since a person at a terminal is one. A look that comes within [`SOON`] of the last one is
//! measured from the same moment as that, so that two who watch at once do not leave each other nothing to measure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::control::protocol::{Rates, Traffic, TunnelStatus};

/// The least time that a rate is the average of.
const SOON: Duration = Duration::from_millis(500);

/// Two looks: the last one, and the one that it was measured from.
#[derive(Debug)]
pub(super) struct LastLook(Mutex<[Counted; 2]>);

/// What was counted at one moment.
#[derive(Clone, Debug)]
struct Counted {
    at: Instant,
    all: Both,
    peers: BTreeMap<IpAddr, Both>,
}

/// Both directions.
#[derive(Clone, Copy, Debug, Default)]
struct Both {
    rx: Traffic,
    tx: Traffic,
}

impl LastLook {
    /// Nothing was counted when the tunnel came up.
    pub(super) fn new(started: Instant) -> LastLook {
        let nothing = Counted { at: started, all: Both::default(), peers: BTreeMap::new() };
        LastLook(Mutex::new([nothing.clone(), nothing]))
    }

    /// Fills in the rates, and remembers this look.
    pub(super) fn rate(&self, status: &mut TunnelStatus, now: Instant) {
        let counted = Counted {
            at: now,
            all: Both { rx: status.rx, tx: status.tx },
            peers: status.peers.iter().map(|peer| (peer.ip, of_peer(peer))).collect(),
        };
        // A look that panicked has changed nothing.
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [before, last] = &mut *looks;
        if now.saturating_duration_since(last.at) >= SOON {
            *before = std::mem::replace(last, counted.clone());
        }
        let span = now.saturating_duration_since(before.at);
        status.rates = counted.all.since(before.all, span);
        for peer in &mut status.peers {
            let then = before.peers.get(&peer.ip).copied().unwrap_or_default();
            peer.rates = counted.peers.get(&peer.ip).copied().unwrap_or_default().since(then, span);
        }
    }
}

fn of_peer(peer: &crate::control::protocol::PeerStatus) -> Both {
    Both {
        rx: Traffic { frames: peer.rx_frames, octets: peer.rx_octets },
        tx: Traffic { frames: peer.tx_frames, octets: peer.tx_octets },
    }
}

impl Both {
    /// The average since `then`, over `span`. A peer that was taken away and came back counts from zero again.
    fn since(self, then: Both, span: Duration) -> Rates {
        let over_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let per_second = |now: u64, then: u64| {
            let more = u128::from(now.saturating_sub(then));
            u64::try_from(more * 1000 / u128::from(over_ms.max(1))).unwrap_or(u64::MAX)
        };
        Rates {
            over_ms,
            rx_frames_per_s: per_second(self.rx.frames, then.rx.frames),
            rx_bits_per_s: per_second(self.rx.octets.saturating_mul(8), then.rx.octets.saturating_mul(8)),
            tx_frames_per_s: per_second(self.tx.frames, then.tx.frames),
            tx_bits_per_s: per_second(self.tx.octets.saturating_mul(8), then.tx.octets.saturating_mul(8)),
        }
    }
}

/// The edge where time enters the daemon.
#[expect(clippy::disallowed_methods, reason = "the daemon is an edge where time enters")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The edge where the time of day enters.
#[expect(clippy::disallowed_methods, reason = "a capture says when something was")]
pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::tests::tunnel;

    #[test]
    fn rates_are_since_the_last_look_and_two_who_watch_do_not_disturb_each_other() {
        let start = now();
        let look = LastLook::new(start);
        let seen = |frames: u64, at_ms: u64| {
            let mut status = tunnel();
            status.rx = Traffic { frames, octets: frames * 100 };
            status.peers[0].tx_frames = frames * 2;
            look.rate(&mut status, start + Duration::from_millis(at_ms));
            (status.rates.over_ms, status.rates.rx_frames_per_s, status.peers[0].rates.tx_frames_per_s)
        };
        assert_eq!(seen(1000, 2000), (2000, 500, 1000), "since the start");
        assert_eq!(seen(1100, 2100), (2100, 523, 1047), "a second one looks");
        assert_eq!(seen(3000, 4000), (2000, 1000, 2000), "since the look before");
        assert_eq!(seen(10, 5000).1, 0, "counters that began anew");
    }
}
