//! What the control socket's requests do to the running tunnel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use vxgate_core::{
    AnswerRefusal, ControlError, Counts, DropReason, EntryState as CoreState, EntryStates, EntryView,
    FlushFilter as CoreFilter, HealthConfig, PageCursor, PeerState as CorePeerState, PeerView, Remote,
    Segment, Timestamp,
};
use vxgate_forwarder::{Capture, CaptureOptions, Control, Ended, UdpBuffers};
use vxgate_netlink::Netlink;

use super::health::ReportCounts;
use super::look::{LastLook, now, since_1970};
use super::monitor::Authority;
use super::reload::Wishes;
use super::tunnel::OffloadView;
use crate::config::values::PeerSpec;
use crate::config::{UpConfig, unusable_outer};
use crate::control::protocol::{
    CaptureWanted, Capturing, Dropped, EntryState, FdbEntry, FdbFill, FdbNew, FdbPage, FdbTarget, FdbVerb,
    Flood, FlushFilter, Health, OwnTraffic, PeerState, PeerStatus, Rates, Refusal, Reloaded, Reports, Sizes,
    TableCounts, Traffic, TunnelStatus,
};
use crate::control::server::Handler;

/// The lane of a TAP and UDP sockets, the only one there is.
const LANE: &str = "socket";

/// A peer that is not probed counts as up while it was heard within this time; its silence proves nothing.
const HEARD_LATELY: Duration = Duration::from_secs(60);

/// The tunnel as the control socket sees it.
pub(super) struct Tenant {
    pub(super) control: Control,
    pub(super) about: About,
    pub(super) netlink: Netlink,
    /// What may be done to the device.
    pub(super) authority: Authority,
    /// Told when something is to be known of the paths that was not: a path, or a peer.
    pub(super) paths_changed: Arc<Notify>,
    pub(super) reports: Arc<ReportCounts>,
    /// What the tunnel shall be, as the last reload left it.
    pub(super) config: Mutex<Arc<UpConfig>>,
    /// Where a wish to reload goes.
    pub(super) wishes: Wishes,
    /// Peers whose route leads into the tunnel.
    pub(super) inside: Mutex<BTreeSet<IpAddr>>,
    /// What was counted when somebody last looked.
    pub(super) last_look: LastLook,
    /// Told when a client wants the tunnel to end.
    pub(super) down: Notify,
}

/// What does not change while the tunnel runs.
#[derive(Clone)]
pub(super) struct About {
    pub(super) dev: String,
    /// The device by number, which renaming it does not change.
    pub(super) link: u32,
    pub(super) vni: u32,
    pub(super) local: IpAddr,
    pub(super) port: u16,
    pub(super) source_port: String,
    pub(super) offload: OffloadView,
    pub(super) workers: u16,
    pub(super) threads: String,
    pub(super) busy_poll: String,
    pub(super) affinity: Option<String>,
    pub(super) buffers: UdpBuffers,
    pub(super) is_v6: bool,
    pub(super) started: Instant,
    pub(super) health: Option<HealthConfig>,
}

impl Tenant {
    /// What the tunnel shall be now.
    pub(super) fn config(&self) -> Arc<UpConfig> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_config(&self, config: UpConfig) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Whether it forwards no more.
    pub(super) fn has_ended(&self) -> bool {
        self.control.send(|_, _| (), drop).is_err()
    }

    /// Has the tunnel's thread answer, between two batches.
    pub(super) async fn ask<R: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Segment, Timestamp) -> R + Send + 'static,
    ) -> Result<R, Refusal> {
        let ending = || Refusal::new("the tunnel is ending");
        let (answer, answered) = oneshot::channel();
        let reply = move |value| {
            // Who asked may have given up.
            let _ = answer.send(value);
        };
        self.control.send(look, reply).map_err(|Ended| ending())?;
        answered.await.map_err(|_| ending())
    }

    /// As [`Tenant::ask`], for what the segment may refuse.
    async fn change(
        &self,
        change: impl FnOnce(&mut Segment, Timestamp) -> Result<(), ControlError> + Send + 'static,
    ) -> Result<(), Refusal> {
        self.ask(change).await?.map_err(refusal)
    }

    /// Refuses an outer address that the underlay's sockets cannot send to.
    pub(super) fn check_family(&self, ip: IpAddr) -> Result<(), Refusal> {
        if ip.to_canonical().is_ipv6() == self.about.is_v6 {
            return Ok(());
        }
        let (ours, hint) = if self.about.is_v6 { ("IPv6", "an IPv6") } else { ("IPv4", "an IPv4") };
        Err(Refusal::new(format!("{ip} cannot be reached: the tunnel's underlay is {ours}"))
            .with_hint(format!("give {hint} address, or start another tunnel for the other family")))
    }

    /// Refuses an inner address that somebody else has, as `--peer` does: such a peer would never answer.
    async fn check_inner(&self, outer: IpAddr, inner: IpAddr) -> Result<(), Refusal> {
        let taken = |by: &str| {
            Err(Refusal::new(format!("{inner} is {by}"))
                .with_hint("the peer's own address in the segment stands behind `inner`"))
        };
        // In another network namespace the device cannot be asked.
        let addresses = self.netlink.addresses().await.unwrap_or_default();
        if addresses.iter().any(|address| address.link == self.about.link && address.ip.addr() == inner) {
            return taken("an address of this host's own device");
        }
        let another = move |segment: &mut Segment, _| {
            let has = |peer: &PeerView| peer.remote.addr != outer && peer.health.inner == Some(inner);
            segment.peers().find(has).map(|peer| peer.remote.addr)
        };
        match self.ask(another).await? {
            Some(another) => taken(&format!("the inner address of {another} already")),
            None => Ok(()),
        }
    }

    /// Why a running tunnel takes no peer at this outer address, as far as this host can tell: what the start would refuse, too.
    pub(super) async fn unusable_peer(&self, ip: IpAddr) -> Option<&'static str> {
        if let Some(why) = unusable_outer(ip) {
            return Some(why);
        }
        if ip.is_multicast() {
            return Some("is a multicast group, which a running tunnel cannot join");
        }
        match self.netlink.route_lookup(ip).await {
            Ok(route) if route.local => Some("is an address of this host"),
            Ok(route) if route.link == Some(self.about.link) => {
                Some("is inside: its own datagrams would go into the tunnel")
            }
            // Where there is no way yet, there may be one later.
            Ok(_) | Err(_) => None,
        }
    }

    /// How a peer stands, with what the segment does not know: where its route leads.
    fn peer_status(&self, peer: &PeerView, now: Timestamp) -> PeerStatus {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner).contains(&peer.remote.addr);
        PeerStatus { inside, ..status(peer, now) }
    }

    /// How it stands. Rates are left out: they are of whoever looks.
    pub(super) async fn status(&self) -> Result<TunnelStatus, Refusal> {
        let (peers, counts, limit, at) = self
            .ask(|segment, now| {
                let peers: Vec<PeerView> = segment.peers().filter(|peer| peer.configured).collect();
                (peers, segment.all_counters().snapshot(), segment.config().max_macs, now)
            })
            .await?;
        let about = self.about.clone();
        // In another network namespace it cannot be asked, and carries frames all the same.
        let link = self.netlink.link_by_index(about.link).await.ok();
        Ok(TunnelStatus {
            // The device's own word, which `ip link set mtu` may have changed.
            mtu: link.as_ref().map_or(0, |link| link.mtu),
            dev: about.dev,
            vni: about.vni,
            local: about.local,
            port: about.port,
            source_port: about.source_port,
            lane: LANE.to_owned(),
            offload: about.offload.in_force(),
            workers: about.workers.into(),
            threads: about.threads,
            busy_poll: about.busy_poll,
            affinity: about.affinity,
            sizes: Sizes {
                receive_buffer_octets: about.buffers.receive_octets as u64,
                send_buffer_octets: about.buffers.send_octets as u64,
                tx_queue_frames: link.as_ref().map(|link| link.tx_queue_len),
                gso_max_octets: link.as_ref().and_then(|link| link.gso_max_size),
                gso_max_segments: link.as_ref().and_then(|link| link.gso_max_segments),
            },
            pid: std::process::id(),
            uptime_s: about.started.elapsed().as_secs(),
            peers: peers.iter().map(|peer| self.peer_status(peer, at)).collect(),
            fdb: FdbFill { entries: counts.entries, limit: limit as u64 },
            rx: Traffic { frames: counts.delivered.frames, octets: counts.delivered.octets },
            tx: Traffic { frames: counts.sent.frames, octets: counts.sent.octets },
            own: OwnTraffic {
                tx_frames: counts.own.sent.frames,
                tx_octets: counts.own.sent.octets,
                tx_dropped: counts.own.unsent,
                answered_frames: counts.own.answered.frames,
                answered_octets: counts.own.answered.octets,
                answers_dropped: counts.own.unanswered,
                answers_held_back: counts.own.held_back,
            },
            reports: Reports {
                unreachable: self.reports.unreachable.load(Ordering::Relaxed),
                too_big: self.reports.too_big.load(Ordering::Relaxed),
                ignored: self.reports.ignored.load(Ordering::Relaxed),
            },
            health: about.health.map(|config| health(&config, &counts)),
            sandbox: self.config().sandbox.to_string(),
            rates: Rates::default(),
            flood: Flood { frames: counts.floods, copies: counts.flood_copies },
            table: TableCounts {
                learned: counts.learned,
                moved: counts.moved,
                moves_damped: counts.moves_damped,
                aged: counts.aged,
                refused_macs: counts.refused_macs,
                refused_share: counts.refused_share,
                refused_peers: counts.refused_peers,
            },
            drops: named(
                counts.overlay_drops.iter().zip(&counts.underlay_drops).map(|(out, back)| out + back),
            ),
            dropped: Dropped { rx: named(counts.underlay_drops), tx: named(counts.overlay_drops) },
        })
    }
}

impl Handler for Tenant {
    async fn show(&self) -> Result<TunnelStatus, Refusal> {
        let mut status = self.status().await?;
        self.last_look.rate(&mut status, now());
        Ok(status)
    }

    async fn fdb_page(&self, cursor: u64, limit: usize) -> Result<FdbPage, Refusal> {
        let cursor = PageCursor::from_bits(cursor);
        let (entries, next) = self.ask(move |segment, now| segment.fdb_page(cursor, limit, now)).await?;
        Ok(FdbPage { entries: entries.iter().map(entry).collect(), next: next.map(PageCursor::to_bits) })
    }

    async fn fdb_set(&self, verb: FdbVerb, new: FdbNew) -> Result<(), Refusal> {
        let remote = Remote { addr: new.dst, port: new.port, vni: new.vni };
        let state = core_state(new.state);
        self.check_family(new.dst)?;
        self.change(move |segment, now| match verb {
            FdbVerb::Add => segment.fdb_add(new.mac, remote, state, now),
            FdbVerb::Append => segment.fdb_append(new.mac, remote, state, now),
            FdbVerb::Replace => segment.fdb_replace(new.mac, remote, state, now),
        })
        .await
    }

    async fn fdb_del(&self, target: FdbTarget) -> Result<(), Refusal> {
        let remote = target.dst.map(|addr| Remote { addr, port: target.port, vni: target.vni });
        self.change(move |segment, _| segment.fdb_del(target.mac, remote)).await
    }

    async fn fdb_flush(&self, filter: FlushFilter) -> Result<u64, Refusal> {
        let states = filter.states.map_or(EntryStates::ALL, |wanted| {
            let unwanted = [EntryState::Permanent, EntryState::Static, EntryState::Dynamic]
                .into_iter()
                .filter(|state| !wanted.contains(state));
            unwanted.fold(EntryStates::ALL, |states, state| states.without(core_state(state)))
        });
        let filter = CoreFilter { mac: None, dst: filter.dst, port: filter.port, vni: filter.vni, states };
        self.ask(move |segment, _| segment.fdb_flush(&filter) as u64).await
    }

    async fn peer_list(&self) -> Result<Vec<PeerStatus>, Refusal> {
        let (peers, at) = self
            .ask(|segment, now| {
                let configured = segment.peers().filter(|peer| peer.configured);
                (configured.collect::<Vec<PeerView>>(), now)
            })
            .await?;
        Ok(peers.iter().map(|peer| self.peer_status(peer, at)).collect())
    }

    async fn peer_add(&self, peer: PeerSpec) -> Result<(), Refusal> {
        let PeerSpec { outer: ip, inner } = peer;
        self.check_family(ip)?;
        if ip == self.about.local {
            return Err(Refusal::new(format!("{ip} is this end of the tunnel")));
        }
        if let Some(why) = self.unusable_peer(ip).await {
            let refusal = Refusal::new(format!("{ip} {why}"));
            return Err(if ip.is_multicast() {
                refusal.with_hint("start the tunnel with this --peer")
            } else {
                refusal
            });
        }
        if let Some(inner) = inner {
            self.check_inner(ip, inner).await?;
        }
        let add = move |segment: &mut Segment, now| {
            segment.peer_add(Remote::new(ip), now)?;
            segment.peer_set_inner(ip, inner)
        };
        match self.ask(add).await? {
            Ok(()) => {
                self.paths_changed.notify_one();
                Ok(())
            }
            Err(ControlError::Exists) => Err(Refusal::new(format!("{ip} is a peer already")).with_hint(
                format!("to give it another inner address, take it away first: vxgate peer del {ip}"),
            )),
            Err(error) => Err(refusal(error)),
        }
    }

    async fn peer_del(&self, ip: IpAddr) -> Result<(), Refusal> {
        match self.ask(move |segment, _| segment.peer_del(ip)).await? {
            Ok(()) => Ok(()),
            Err(ControlError::NotFound) => {
                Err(Refusal::new(format!("{ip} is no peer")).with_hint("`vxgate peer list` shows the peers"))
            }
            Err(error) => Err(refusal(error)),
        }
    }

    async fn reload(&self) -> Result<Reloaded, Refusal> {
        let ending = || Refusal::new("the tunnel is ending");
        let (wish, outcome) = oneshot::channel();
        self.wishes.send(wish).await.map_err(|_| ending())?;
        outcome.await.map_err(|_| ending())?
    }

    fn capture(&self, wanted: CaptureWanted) -> Result<(Capturing, Capture), Refusal> {
        let options = CaptureOptions {
            inner: wanted.inner,
            outer: wanted.outer,
            drops: wanted.drops,
            snaplen: usize::try_from(wanted.snaplen).unwrap_or(usize::MAX),
            peers: wanted.peers.iter().map(IpAddr::to_canonical).collect(),
        };
        let capture = self.control.capture(options).map_err(|_| {
            Refusal::new("four captures of this tunnel run already").with_hint("end one of them first")
        })?;
        let epoch = since_1970().saturating_sub(capture.now());
        let epoch_ns = u64::try_from(epoch.as_nanos()).unwrap_or(u64::MAX);
        Ok((Capturing { local: self.about.local, port: self.about.port, epoch_ns }, capture))
    }

    fn down(&self) {
        self.down.notify_one();
    }
}

fn refusal(error: ControlError) -> Refusal {
    let refusal = Refusal::new(error.to_string());
    match error {
        ControlError::Exists => refusal.with_hint("`vxgate fdb replace` changes an entry that exists"),
        ControlError::NotFound => refusal.with_hint("`vxgate fdb show` lists what there is"),
        ControlError::TableFull { .. } => refusal.with_hint("start the tunnel with a larger --max-macs"),
        ControlError::TooManyPeers { .. }
        | ControlError::ReplaceList
        | ControlError::AppendUnicast
        | ControlError::InvalidRemote => refusal,
    }
}

fn status(peer: &PeerView, now: Timestamp) -> PeerStatus {
    let silence = peer.counts.last_heard.map(|heard| now.saturating_since(heard));
    PeerStatus {
        ip: peer.remote.addr,
        inner: peer.health.inner,
        inside: false,
        state: match (peer.health.state, peer.health.inner, silence) {
            (CorePeerState::Up, ..) => PeerState::Up,
            (CorePeerState::Down, ..) => PeerState::Down,
            (CorePeerState::Unknown, None, Some(silence)) if silence <= HEARD_LATELY => PeerState::Up,
            (CorePeerState::Unknown, ..) => PeerState::Unknown,
        },
        state_for_s: peer.health.since.map(|since| now.saturating_since(since).as_secs()),
        last_heard_s: silence.map(|silence| silence.as_secs()),
        last_heard_ms: silence.and_then(|silence| u64::try_from(silence.as_millis()).ok()),
        rtt_us: peer.health.rtt.and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
        path_mtu: peer.path_mtu,
        macs: peer.macs as u64,
        rx_frames: peer.counts.rx.frames,
        rx_octets: peer.counts.rx.octets,
        tx_frames: peer.counts.tx.frames,
        tx_octets: peer.counts.tx.octets,
        rates: Rates::default(),
    }
}

fn entry(view: &EntryView) -> FdbEntry {
    FdbEntry {
        mac: view.mac,
        dst: view.dst,
        port: view.port,
        vni: view.vni,
        used: view.used_s.into(),
        updated: view.updated_s.into(),
        state: match view.state {
            CoreState::Permanent => EntryState::Permanent,
            CoreState::Static => EntryState::Static,
            CoreState::Dynamic => EntryState::Dynamic,
        },
    }
}

const fn core_state(state: EntryState) -> CoreState {
    match state {
        EntryState::Permanent => CoreState::Permanent,
        EntryState::Static => CoreState::Static,
        EntryState::Dynamic => CoreState::Dynamic,
    }
}

fn health(config: &HealthConfig, counts: &Counts) -> Health {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let refused = AnswerRefusal::ALL.iter().zip(counts.answers_refused).filter(|(_, count)| *count > 0);
    Health {
        interval_ms: millis(config.interval),
        retry_ms: millis(config.retry),
        misses: config.misses,
        hold_down_ms: millis(config.hold_down),
        probes: counts.probes,
        answers: counts.probe_answers,
        refused: refused.map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
    }
}

/// Drops by name, in the order of [`DropReason::ALL`]; a reason that never struck is left out.
fn named(drops: impl IntoIterator<Item = u64>) -> BTreeMap<String, u64> {
    let named = DropReason::ALL.iter().zip(drops).filter(|(_, count)| *count > 0);
    named.map(|(reason, count)| (reason.name().to_owned(), count)).collect()
}
