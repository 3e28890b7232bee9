//! What the daemon does for the health of the peers: it hands the segment what only the system knows, and carries what the segment
//! found out to those who want to know.
//!
//! ```text
//!   netlink: the device's addresses, each second ──► Segment::set_own_addresses
//!   ICMP errors of the underlay ────────────────────► Segment::handle_unreachable, or counted as foreign
//!   Event::PeerDown ──► log, --on-event
//!                   └─► netlink: the device's neighbours in use ──► Segment::solicit
//!   Event::PeerUp, AllPeersSilent ──► log, --on-event
//! ```

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};
use vxgate_core::{Event, Segment, Timestamp};
use vxgate_forwarder::{
    Control, Fate, HubReports, OnStart, UdpErrorReader, UdpErrors, UdpHub, UnderlayReport,
};
use vxgate_netlink::{Neighbour, NeighbourState, Netlink};

use super::hook::Told;
use super::monitor::{Authority, Order};

/// How often the device's addresses are looked at.
const ADDRESSES_EVERY: Duration = Duration::from_secs(1);

/// When neighbours are asked for again, each time after the one before: at once; once more, as a question or its answer may be lost;
/// and after the second for which the kernel holds on to what it has just learned (`locktime` of arp(7)).
const SOLICIT_AFTER: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(250), Duration::from_millis(1000)];

/// How many neighbours are asked for again at most, those in use first: beyond that a host asks by itself, some seconds later.
const SOLICITED: usize = 256;

/// Reports that wait for the segment at most, so that whoever floods this host with ICMP errors does not keep it from its frames. One
/// of each peer of a Gate, with room to spare.
const REPORTS_WAITING: usize = 16;

/// Events that wait to be told.
const EVENTS_WAITING: usize = 64;

/// What the network has said of our datagrams, by what became of it.
#[derive(Debug, Default)]
pub(super) struct ReportCounts {
    /// Taken as a hint that a peer cannot be reached.
    pub(super) unreachable: AtomicU64,
    /// Taken as a hint that the path to a peer carries less than was known.
    pub(super) too_big: AtomicU64,
    /// Ignored: quoting nothing of ours, saying nothing new, or too many at once.
    pub(super) ignored: AtomicU64,
}

/// The daemon's part of the tunnel's health.
pub(super) struct Watch {
    pub(super) control: Control,
    pub(super) netlink: Netlink,
    /// Told when a path carries another size than was known.
    pub(super) paths_changed: Arc<Notify>,
    /// The device by name, and by number.
    pub(super) dev: String,
    pub(super) link: u32,
    pub(super) vni: u32,
    /// Where events go that the program of `--on-event` is told of, where there is one.
    pub(super) teller: Option<mpsc::Sender<Told>>,
}

impl Watch {
    /// Logs an event, and does what follows from it.
    pub(super) fn event(&self, event: Event) {
        match event {
            Event::Learned { mac, dst } => tracing::debug!(%mac, %dst, "learned"),
            Event::Moved { mac, from, to } => tracing::debug!(%mac, %from, %to, "moved"),
            Event::Damped { mac, at, and } => tracing::warn!(
                %mac, %at, %and,
                "a MAC address moves to and fro: it stays where it is for three minutes; two hosts have it, or there is a loop"
            ),
            Event::Aged { mac, dst } => tracing::debug!(%mac, %dst, "aged"),
            Event::PeerDown { addr, why } => {
                tracing::warn!(peer = %addr, "peer down: {}", why.explain());
                self.solicit();
                let mut told = self.told("peer-down", Some(addr));
                told.push(("VXGATE_WHY", why.name().to_owned()));
                self.tell(told);
            }
            Event::PeerUp { addr, after } => {
                tracing::info!(peer = %addr, "peer up again, after {} ms", after.as_millis());
                let mut told = self.told("peer-up", Some(addr));
                told.push(("VXGATE_DOWN_MS", after.as_millis().to_string()));
                self.tell(told);
            }
            Event::PathMtu { addr, octets } => {
                tracing::debug!(peer = %addr, octets, "path MTU");
                self.paths_changed.notify_one();
            }
            Event::AllPeersSilent => {
                tracing::warn!("no peer answers: frames go to all of them until one does");
                self.tell(self.told("all-peers-silent", None));
            }
        }
    }

    fn told(&self, event: &str, peer: Option<IpAddr>) -> Told {
        let mut told = vec![
            ("VXGATE_EVENT", event.to_owned()),
            ("VXGATE_DEV", self.dev.clone()),
            ("VXGATE_VNI", self.vni.to_string()),
        ];
        told.extend(peer.map(|peer| ("VXGATE_PEER", peer.to_string())));
        told
    }

    fn tell(&self, told: Told) {
        if let Some(teller) = &self.teller
            && teller.try_send(told).is_err()
        {
            tracing::warn!("--on-event: the program is not told of this one: too many wait");
        }
    }

    /// Asks again for the neighbours that the host has been talking to.
    fn solicit(&self) {
        let (netlink, control, link) = (self.netlink.clone(), self.control.clone(), self.link);
        tokio::spawn(async move {
            for pause in SOLICIT_AFTER {
                sleep(pause).await;
                match netlink.neighbours().await {
                    Ok(neighbours) => {
                        let targets = in_use(neighbours, link);
                        tracing::debug!(?targets, "asking again");
                        // One that is ending has no more use for them.
                        let _ = control.send(move |segment, now| segment.solicit(&targets, now), drop);
                    }
                    Err(error) => tracing::debug!("{error}"),
                }
            }
        });
    }

    /// Follows the device's addresses, for ever.
    pub(super) async fn follow_addresses(&self) {
        let mut own = Vec::new();
        let mut ticks = interval(ADDRESSES_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // In another network namespace it cannot be asked; what was known last is the best there is.
            let Ok(addresses) = self.netlink.addresses().await else { continue };
            let mut now_own: Vec<IpAddr> = addresses
                .iter()
                .filter(|address| address.link == self.link && !address.tentative && !address.duplicate)
                .map(|address| address.ip.addr())
                .collect();
            now_own.sort_unstable();
            if now_own != own {
                own.clone_from(&now_own);
                let _ = self.control.send(move |segment, _| segment.set_own_addresses(now_own), drop);
            }
        }
    }
}

/// Has the program of `--on-event` told of events, in their order.
pub(super) fn teller(authority: Authority) -> mpsc::Sender<Told> {
    let (teller, mut events) = mpsc::channel::<Told>(EVENTS_WAITING);
    tokio::spawn(async move {
        while let Some(told) = events.recv().await {
            let told = told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            if let Err(error) = authority.order(Order::Tell(told)).await {
                tracing::warn!("--on-event: {error}");
            }
        }
    });
    teller
}

/// Reads what the network says of the tunnel's datagrams, in a thread of its own, until what is returned is dropped.
pub(super) fn listen(
    errors: UdpErrors,
    control: Control,
    counts: Arc<ReportCounts>,
    on_start: Option<OnStart>,
) -> io::Result<UdpErrorReader> {
    let desk = Desk { control, counts, waiting: Arc::new(()) };
    let hear = move |report| desk.take(move |segment, now, counts| hear(&report, segment, now, counts));
    errors.spawn(on_start, hear)
}

/// As [`listen`], where several tunnels share sockets.
pub(super) fn listen_to_hub(hub: &UdpHub, control: Control, counts: Arc<ReportCounts>) -> HubReports {
    let desk = Desk { control, counts, waiting: Arc::new(()) };
    hub.on_report(move |report| {
        let report = report.clone();
        desk.take(move |segment, now, counts| hear(&report, segment, now, counts));
    })
}

/// Where reports are handed to the segment.
struct Desk {
    control: Control,
    counts: Arc<ReportCounts>,
    /// Held by each that waits.
    waiting: Arc<()>,
}

impl Desk {
    /// Has the segment hear of one, without waiting for it: what is not read fills the socket's receive buffer, which it shares
    /// with the frames of the peers.
    fn take(&self, hear: impl FnOnce(&mut Segment, Timestamp, &ReportCounts) + Send + 'static) {
        if Arc::strong_count(&self.waiting) > REPORTS_WAITING {
            self.counts.ignored.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (counts, waiting) = (Arc::clone(&self.counts), Arc::clone(&self.waiting));
        let hear = move |segment: &mut Segment, now| {
            hear(segment, now, &counts);
            drop(waiting);
        };
        // A tunnel that is ending hears no more.
        let _ = self.control.send(hear, drop);
    }
}

/// Has the segment hear of what the network says, if it says it of one of our datagrams.
fn hear(report: &UnderlayReport, segment: &mut Segment, now: Timestamp, counts: &ReportCounts) {
    let count = match (report.peer(segment), report.fate) {
        (Some(peer), Fate::Unreachable) => {
            segment.handle_unreachable(peer, now);
            &counts.unreachable
        }
        (Some(peer), Fate::TooBig { mtu_octets }) if segment.handle_too_big(peer, mtu_octets, now) => {
            &counts.too_big
        }
        (Some(_), Fate::TooBig { .. } | Fate::Other) | (None, _) => &counts.ignored,
    };
    count.fetch_add(1, Ordering::Relaxed);
}

/// The neighbours of this link that somebody has used lately, those in use now first.
fn in_use(neighbours: Vec<Neighbour>, link: u32) -> Vec<IpAddr> {
    let rank = |state: NeighbourState| match state {
        NeighbourState::Reachable | NeighbourState::Delay | NeighbourState::Probe => Some(0),
        // Somebody waits for the answer.
        NeighbourState::Incomplete => Some(1),
        NeighbourState::Stale => Some(2),
        NeighbourState::Failed
        | NeighbourState::NoArp
        | NeighbourState::Permanent
        | NeighbourState::Other(_) => None,
    };
    let here = neighbours.iter().filter(|neighbour| neighbour.link == link && !neighbour.ip.is_multicast());
    let mut ranked: Vec<_> =
        here.filter_map(|neighbour| Some((rank(neighbour.state)?, neighbour.ip))).collect();
    ranked.sort_unstable();
    ranked.truncate(SOLICITED);
    ranked.into_iter().map(|(_, ip)| ip).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use vxgate_codec::MacAddr;
    use vxgate_core::SegmentConfig;
    use vxgate_forwarder::{Device, Forwarder, MemoryPort, MemoryUnderlay, OuterPolicy};

    use super::*;

    #[test]
    fn reports_are_taken_as_fast_as_they_come_and_few_of_them_wait() {
        let device = Device { mac: MacAddr::new([2, 0, 0, 0, 0, 1]), mtu_octets: 1450 };
        let (port, _host) = MemoryPort::new(device, 256).unwrap();
        let (underlay, _network) = MemoryUnderlay::new(8).unwrap();
        let segment = Segment::new(SegmentConfig::default());
        let forwarder = Forwarder::spawn(segment, port, underlay, OuterPolicy::default()).unwrap();
        let control = forwarder.control();
        let desk = Desk { control: control.clone(), counts: Arc::default(), waiting: Arc::new(()) };
        let counts = || {
            let ReportCounts { unreachable, ignored, .. } = &*desk.counts;
            (unreachable.load(Ordering::Relaxed), ignored.load(Ordering::Relaxed))
        };
        let hear = |_: &mut Segment, _, counts: &ReportCounts| {
            counts.unreachable.fetch_add(1, Ordering::Relaxed);
        };
        let report = || desk.take(hear);
        // The segment's thread is busy until it is told otherwise.
        let (go_on, told) = mpsc::channel();
        control.send(move |_, _| told.recv().is_ok(), drop).unwrap();
        (0..100).for_each(|_| report());
        assert_eq!(counts(), (0, 84));
        go_on.send(()).unwrap();
        control.with(|_, _| ()).unwrap();
        assert_eq!(counts(), (16, 84));
        report();
        control.with(|_, _| ()).unwrap();
        assert_eq!(counts(), (17, 84), "those that were heard wait no more");
        forwarder.stop().unwrap();
    }

    #[test]
    fn neighbours_in_use_are_asked_for_first_and_others_links_never() {
        let neighbour =
            |link, last: u8, state| Neighbour { link, ip: [10, 0, 0, last].into(), mac: None, state };
        let mut neighbours = vec![
            neighbour(1, 1, NeighbourState::Stale),
            neighbour(1, 2, NeighbourState::Reachable),
            neighbour(2, 3, NeighbourState::Reachable),
            neighbour(1, 4, NeighbourState::Failed),
            neighbour(1, 5, NeighbourState::Incomplete),
            neighbour(1, 6, NeighbourState::Permanent),
            neighbour(1, 7, NeighbourState::Delay),
            neighbour(1, 8, NeighbourState::NoArp),
        ];
        let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
        assert_eq!(in_use(neighbours.clone(), 1), [ip(2), ip(7), ip(5), ip(1)]);
        neighbours.extend(
            (0..=255).map(|last| Neighbour {
                ip: [10, 0, 1, last].into(),
                ..neighbour(1, 0, NeighbourState::Stale)
            }),
        );
        let many = in_use(neighbours, 1);
        assert_eq!((many.len(), many[0]), (SOLICITED, ip(2)));
    }
}
