//! The second in which the network is watched: everything that takes time, at once.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use vxgate_netlink::Link;

use super::host::Host;
use super::now;
use super::probes::duplicate::{self, Duplicates};
use super::probes::look::{self, Seen};
use super::probes::path::{self, PathFacts, PathPlan};
use super::subject::Subject;
use crate::up::mtu::overhead;

/// How long it is: long enough for an answer from across the world, several turns of a tunnel's own probes, and ARP to give up asking
/// at its first try.
const LENGTH: Duration = Duration::from_secs(1);

/// Where the tunnel is on this host.
pub(crate) struct Place<'a> {
    /// Its outer address.
    pub(crate) local: Option<IpAddr>,
    /// The peers that there is a way to.
    pub(crate) peers: Vec<IpAddr>,
    /// The link by which its datagrams leave.
    pub(crate) carrier: Option<&'a Link>,
    /// The link by which they come.
    pub(crate) arrival: Option<&'a Link>,
    /// Its MTU.
    pub(crate) mtu: Option<u32>,
}

/// What was seen.
pub(crate) struct Window {
    /// What came back from each peer.
    pub(crate) paths: Vec<PathFacts>,
    /// What arrived on the underlay for the tunnel's port; none where no tunnel runs.
    pub(crate) seen: Option<Seen>,
    /// Who else has the inner addresses; none where no tunnel runs.
    pub(crate) duplicates: Option<Duplicates>,
}

impl Window {
    /// Sends, listens and asks.
    pub(crate) fn open(subject: &Subject, host: &Host, place: &Place<'_>) -> Window {
        let until = now() + LENGTH;
        let runs = subject.running.is_some();
        // Where nothing says how long packets will be, Ethernet's own; what the first link does not carry is another check's to find.
        let wanted = place.mtu.map_or(1500, |mtu| mtu + overhead(subject.config.family));
        let local = place.local;
        let plan = PathPlan {
            peers: place.peers.clone(),
            port: subject.config.port,
            local,
            device: subject.config.underlay.as_ref().map(ToString::to_string),
            wanted_octets: place.carrier.map_or(wanted, |link| wanted.min(link.mtu)),
            until,
            // A tunnel that runs is watched to the end of the window.
            hurry: !runs,
        };
        let device = host.link(subject.config.dev.as_str()).filter(|_| runs);
        thread::scope(|scope| {
            let looking = place
                .arrival
                .filter(|_| runs)
                .map(|link| scope.spawn(move || look::look(&link.name, subject.config.port, local, until)));
            let asking = device.map(|link| {
                scope.spawn(move || duplicate::ask(&link.name, link.mac, &subject.config.addresses, until))
            });
            let paths = path::probe(&plan);
            Window {
                paths,
                seen: looking
                    .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
                duplicates: asking
                    .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            }
        })
    }
}
