//! Whether the peers live, and what follows when one does not.

mod config;
mod machine;
mod transmit;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

pub use self::config::HealthConfig;
pub use self::machine::{DownReason, PeerState};
pub use self::transmit::Transmit;
use self::transmit::TransmitQueue;
use crate::{ControlError, Segment, Timestamp};

/// All that is known of the peers' health.
#[derive(Debug, Default)]
pub(crate) struct Health {
    config: Option<HealthConfig>,
    own: Vec<IpAddr>,
    inner: BTreeMap<IpAddr, IpAddr>,
    pub(crate) transmits: TransmitQueue,
}

/// What is known of one peer's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerHealth {
    /// Whether it lives.
    pub state: PeerState,
    /// Since when; `None` from the beginning.
    pub since: Option<Timestamp>,
    /// The inner address that is probed.
    pub inner: Option<IpAddr>,
    /// The smoothed round-trip time of its answers (RFC 6298 section 2).
    pub rtt: Option<Duration>,
}

impl Health {
    pub(crate) fn view(&self, outer: IpAddr) -> PeerHealth {
        PeerHealth { inner: self.inner.get(&outer).copied(), ..PeerHealth::default() }
    }
}

/// Health. Off until [`Segment::set_health`].
impl Segment {
    /// Switches probing on, off, or to another pace. Off, which is where a segment begins, every peer's state is unknown and
    /// every peer is sent to.
    pub fn set_health(&mut self, config: Option<HealthConfig>, now: Timestamp) {
        let _ = now;
        self.health.config = config.map(HealthConfig::clamped);
    }

    /// Tells the inner addresses of the overlay port: senders of probes, and what [`Segment::announce`] announces.
    pub fn set_own_addresses(&mut self, own: Vec<IpAddr>) {
        self.health.own = own;
    }

    /// Tells the inner address of the peer at this outer address, which is what probes ask for; `None`: none is known, and the
    /// peer is judged by passive signs.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotFound`] when no peer is there.
    pub fn peer_set_inner(&mut self, outer: IpAddr, inner: Option<IpAddr>) -> Result<(), ControlError> {
        let outer = outer.to_canonical();
        if !self.peers.at(outer).any(|(_, known)| known.peer) {
            return Err(ControlError::NotFound);
        }
        match inner {
            Some(inner) => self.health.inner.insert(outer, inner.to_canonical()),
            None => self.health.inner.remove(&outer),
        };
        Ok(())
    }

    /// Does what is due: sends probes, and misses the answers that did not come. To be called at
    /// [`Segment::health_deadline`] or soon after, once what has arrived by then is handled.
    pub fn handle_health(&mut self, now: Timestamp) {
        let _ = now;
    }

    /// When to call [`Segment::handle_health`] next; `None`: not before something else changes. Asked again after each call of the
    /// segment.
    #[must_use]
    pub fn health_deadline(&self) -> Option<Timestamp> {
        None
    }

    /// The oldest frame of our own that nobody has sent yet.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.health.transmits.pop()
    }

    /// Hears that the underlay says that it cannot reach this peer: an ICMP error that quotes a datagram of ours. Anybody on the
    /// path could say so, and so it is a hint only.
    pub fn handle_unreachable(&mut self, outer: IpAddr, now: Timestamp) {
        let _ = (outer, now);
    }

    /// Asks for the MAC addresses of these inner addresses, through the peers that are sent to: after a peer went down, for
    /// those that were in use.
    pub fn solicit(&mut self, targets: &[IpAddr], now: Timestamp) {
        let _ = (targets, now);
    }

    /// Tells where our own inner addresses are, through the peers that are sent to: gratuitous ARP and unsolicited neighbour
    /// advertisements. The segment does so by itself when a peer goes down.
    pub fn announce(&mut self, now: Timestamp) {
        let _ = now;
    }
}
