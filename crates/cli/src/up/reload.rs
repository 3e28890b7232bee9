//! SIGHUP and `vxgate reload`: the file and the environment are read again, and running tunnels take over what has changed.
//!
//! ```text
//!   read again, checked as at the start ──wrong──► told, nothing changes
//!     └─right─► for each tunnel: what differs ─► live: device first, which may refuse and is put back; then the segment, between two batches
//!                                             └► the rest: named, and kept until a restart
//! ```
//!
//! What differs is found between what was said before and what is said now. Peers that the API named, or `vxgate peer add`, were said by
//! neither, and stay.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};
use vxgate_core::{PathDiscovery, Prefix};
use vxgate_netlink::{Link, Netlink};

use super::device::route_added;
use super::error::UpError;
use super::life::chain;
use super::monitor::{Authority, Monitor, Order};
use super::plan::{check_loops_to, check_overlaps};
use super::serve::Tenant;
use crate::config::UpConfig;
use crate::config::values::{Df, Mtu, PeerSpec};
use crate::control::protocol::{Refusal, Reloaded};
use crate::control::server::Handler as _;
use crate::failure::Failure;

/// Reads again what was said: a configuration for each tunnel.
#[derive(Clone)]
pub(crate) struct Reread {
    read: Arc<dyn Fn() -> Result<Vec<UpConfig>, Failure> + Send + Sync>,
    files: Vec<PathBuf>,
}

impl Reread {
    /// From these files.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<Vec<UpConfig>, Failure> + Send + Sync + 'static,
    ) -> Reread {
        Reread { read: Arc::new(read), files }
    }

    /// What is said now.
    pub(super) fn read(&self) -> Result<Vec<UpConfig>, Failure> {
        (self.read)()
    }

    /// Where the files lie: the directories, since a file is replaced by another one, and that which a link leads to.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        let places = self.files.iter().flat_map(|file| [Some(file.clone()), file.canonicalize().ok()]);
        let parents = places.flatten().filter_map(|file| Some(file.parent()?.to_owned()));
        parents.map(|place| if place.as_os_str().is_empty() { PathBuf::from(".") } else { place }).collect()
    }
}

/// A wish to reload, and where its outcome goes.
pub(super) type Wish = oneshot::Sender<Result<Reloaded, Refusal>>;

/// Where wishes are brought to.
pub(super) type Wishes = mpsc::Sender<Wish>;

/// A tunnel that runs, and what was said of it.
pub(super) struct Said {
    pub(super) tenant: Arc<Tenant>,
    pub(super) said: UpConfig,
}

/// What a difference needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// It is taken over while the tunnel runs.
    Nothing,
    /// Sockets, device or threads are made of it.
    Restart,
}

/// The options that differ, and what each needs. Names every field, so that a new one is not forgotten.
fn differences(old: &UpConfig, new: &UpConfig) -> Vec<(&'static str, Needs)> {
    let UpConfig {
        dev: _,
        vni,
        family: _,
        local,
        underlay,
        peers,
        addresses,
        port,
        source_port,
        mtu,
        routes,
        learning,
        ageing,
        max_macs,
        accept_from,
        reserved_bits,
        ttl,
        tos,
        df,
        udp_checksum,
        offload,
        workers,
        threads,
        busy_poll,
        affinity,
        forward,
        forward_back,
        mss_clamp,
        health,
        on_event,
        tap,
        tap_fd,
        log_format,
        metrics,
        storm_limit,
        max_macs_per_peer,
        flap_damping,
        sandbox,
        user,
        notices: _,
    } = new;
    use Needs::{Nothing, Restart};
    let all = [
        ("vni", *vni != old.vni, Restart),
        ("local", *local != old.local, Restart),
        ("underlay", *underlay != old.underlay, Restart),
        ("peer", *peers != old.peers, Nothing),
        ("address", *addresses != old.addresses, Nothing),
        ("port", *port != old.port, Restart),
        ("source-port", *source_port != old.source_port, Restart),
        ("mtu", *mtu != old.mtu, Nothing),
        ("route", *routes != old.routes, Nothing),
        ("learning", *learning != old.learning, Nothing),
        ("ageing", *ageing != old.ageing, Nothing),
        ("max-macs", *max_macs != old.max_macs, Restart),
        ("accept-from", *accept_from != old.accept_from, Nothing),
        ("reserved-bits", *reserved_bits != old.reserved_bits, Restart),
        ("ttl", *ttl != old.ttl, Restart),
        ("tos", *tos != old.tos, Restart),
        ("df", *df != old.df, Restart),
        ("udp-checksum", *udp_checksum != old.udp_checksum, Restart),
        ("offload", *offload != old.offload, Restart),
        ("workers", *workers != old.workers, Restart),
        ("threads", *threads != old.threads, Restart),
        ("busy-poll", *busy_poll != old.busy_poll, Restart),
        ("affinity", *affinity != old.affinity, Restart),
        ("forward", *forward != old.forward, Restart),
        ("forward-back", *forward_back != old.forward_back, Restart),
        ("mss-clamp", *mss_clamp != old.mss_clamp, Nothing),
        ("health", *health != old.health, Nothing),
        ("on-event", *on_event != old.on_event, Restart),
        ("tap", *tap != old.tap, Restart),
        ("tap-fd", *tap_fd != old.tap_fd, Restart),
        ("log-format", *log_format != old.log_format, Restart),
        ("metrics", *metrics != old.metrics, Restart),
        ("sandbox", *sandbox != old.sandbox, Restart),
        ("user", *user != old.user, Restart),
        ("storm-limit", *storm_limit != old.storm_limit, Nothing),
        ("max-macs-per-peer", *max_macs_per_peer != old.max_macs_per_peer, Nothing),
        ("flap-damping", *flap_damping != old.flap_damping, Nothing),
    ];
    all.into_iter().filter(|(_, differs, _)| *differs).map(|(option, _, needs)| (option, needs)).collect()
}

/// Reads again, and has the tunnels take over what differs.
pub(super) async fn reload(
    reread: Option<&Reread>,
    monitor: &Monitor,
    tunnels: &mut [Said],
) -> Result<Reloaded, Refusal> {
    let Some(reread) = reread else {
        return Err(Refusal::new("the tunnel has no configuration file")
            .with_hint("start it with --config FILE; `vxgate peer` and `vxgate fdb` change it by hand"));
    };
    let said = reread.read().map_err(|failure| Refusal {
        hint: failure.hint().map(str::to_owned),
        ..Refusal::new(failure.why())
    })?;
    // It grants what it reads itself.
    monitor.reread().await.map_err(refused)?;
    let mut outcome = Reloaded::default();
    for new in &said {
        if !tunnels.iter().any(|tunnel| tunnel.said.dev == new.dev) {
            outcome.needs_restart.push(format!("{}: a tunnel that is new", new.dev));
        }
    }
    for tunnel in tunnels.iter_mut().filter(|tunnel| !tunnel.tenant.has_ended()) {
        let dev = tunnel.said.dev.clone();
        let Some(new) = said.iter().find(|new| new.dev == dev) else {
            outcome
                .needs_restart
                .push(format!("{dev}: it is no longer in the file; `vxgate down {dev}` ends it"));
            continue;
        };
        let differences = differences(&tunnel.said, new);
        if differences.iter().any(|(_, needs)| *needs == Needs::Nothing) {
            apply(tunnel, new)
                .await
                .map_err(|refusal| Refusal { why: format!("{dev}: {}", refusal.why), ..refusal })?;
        }
        for (option, needs) in differences {
            match needs {
                Needs::Nothing => outcome.applied.push(format!("{dev}: {option}")),
                Needs::Restart => outcome.needs_restart.push(format!("{dev}: {option}")),
            }
        }
        tunnel.said = kept(&tunnel.said, new);
    }
    Ok(outcome)
}

/// What is in force now: the new values of what is live, the old ones of the rest, so that the next look names them again.
fn kept(old: &UpConfig, new: &UpConfig) -> UpConfig {
    UpConfig {
        peers: new.peers.clone(),
        addresses: new.addresses.clone(),
        mtu: new.mtu,
        routes: new.routes.clone(),
        learning: new.learning,
        ageing: new.ageing,
        accept_from: new.accept_from.clone(),
        mss_clamp: new.mss_clamp,
        health: new.health,
        storm_limit: new.storm_limit,
        max_macs_per_peer: new.max_macs_per_peer,
        flap_damping: new.flap_damping,
        ..old.clone()
    }
}

fn refused(error: UpError) -> Refusal {
    Refusal { hint: error.hint(), ..Refusal::new(chain(&error)) }
}

/// Has one tunnel take over what is live.
async fn apply(tunnel: &Said, new: &UpConfig) -> Result<(), Refusal> {
    let Said { tenant, said: old } = tunnel;
    let netlink = &tenant.netlink;
    let link = netlink.link_by_index(tenant.about.link).await.map_err(|error| refused(error.into()))?;
    check(tenant, &link, old, new).await?;
    let mut undo =
        Undo { netlink, authority: &tenant.authority, link: &link, added: Vec::new(), removed: Vec::new() };
    let outcome = match device(&mut undo, old, new).await {
        Ok(()) => peers(tenant, &old.peers, &new.peers).await,
        Err(error) => Err(refused(error)),
    };
    if let Err(refusal) = outcome {
        // So that the next reload finds the device as it was when what it compares with was said.
        undo.undo().await;
        return Err(refusal);
    }
    // At worst the next start leaves on the device what is not configured any more.
    if let Err(error) = tenant.authority.order(Order::Remember).await {
        tracing::warn!("{}", chain(&error));
    }
    let new = new.clone();
    let share =
        new.max_macs_per_peer.of(usize::try_from(old.max_macs).unwrap_or(usize::MAX), new.peers.len());
    let (before, now) = (old.clone(), new.clone());
    tenant
        .ask(move |segment, at| {
            segment.set_learning(now.learning);
            segment.set_ageing(now.ageing);
            if now.accept_from != before.accept_from {
                let blocks =
                    now.accept_from.iter().filter_map(|net| Prefix::new(net.addr(), net.prefix_len()));
                segment.set_accept_from(blocks.collect());
            }
            if now.health != before.health {
                segment.set_health(now.health, at);
            }
            let discovery =
                PathDiscovery { probes: now.mtu == Mtu::Auto, dont_fragment: before.df != Df::Unset };
            segment.set_path_discovery(discovery, at);
            segment.set_storm_limit(now.storm_limit.rate(now.learning));
            segment.set_max_macs_per_peer(share);
            if now.flap_damping != before.flap_damping {
                segment.set_flap_damping(now.flap_damping);
            }
        })
        .await?;
    tenant.set_config(kept(old, &new));
    // The device's MTU, and the segment size of TCP, follow.
    tenant.paths_changed.notify_one();
    Ok(())
}

/// Refuses what the start would refuse of this host's addresses and routes.
async fn check(tenant: &Tenant, link: &Link, old: &UpConfig, new: &UpConfig) -> Result<(), Refusal> {
    // Those that the API named, or somebody by hand, stay.
    let mut peers: Vec<_> = tenant.peer_list().await?.into_iter().map(|peer| peer.ip).collect();
    peers.retain(|peer| old.outer_peers().all(|said| said != *peer));
    peers.extend(new.outer_peers());
    let look = async {
        let (mut addresses, mut routes) = (tenant.netlink.addresses().await?, tenant.netlink.routes().await?);
        addresses.retain(|address| address.link != link.index);
        routes.retain(|route| route.link != Some(link.index));
        check_loops_to(new, &peers, &routes)?;
        let mut notices = Vec::new();
        check_overlaps(new, &addresses, &tenant.netlink.links().await?, &mut notices)?;
        for notice in notices {
            tracing::warn!("{notice}");
        }
        Ok(())
    };
    look.await.map_err(refused)
}

/// The device's addresses, routes and, where it is a number, its MTU: what is new first, so that nothing that stays is ever away.
async fn device(undo: &mut Undo<'_>, old: &UpConfig, new: &UpConfig) -> Result<(), UpError> {
    for address in new.addresses.iter().filter(|address| !old.addresses.contains(address)) {
        undo.add(Item::Address(*address)).await?;
    }
    for route in new.routes.iter().filter(|route| !old.routes.contains(route)) {
        undo.add(Item::Route(*route)).await?;
    }
    for route in old.routes.iter().filter(|route| !new.routes.contains(route)) {
        undo.remove(Item::Route(*route)).await?;
    }
    for address in old.addresses.iter().filter(|address| !new.addresses.contains(address)) {
        undo.remove(Item::Address(*address)).await?;
    }
    if let Mtu::Octets(octets) = new.mtu
        && old.mtu != new.mtu
    {
        undo.authority.set_mtu(octets.into()).await?;
    }
    Ok(())
}

/// What is of the device.
#[derive(Clone, Copy, Debug)]
enum Item {
    Address(IpNet),
    Route(IpNet),
}

/// What was done to the device so far.
struct Undo<'a> {
    netlink: &'a Netlink,
    authority: &'a Authority,
    link: &'a Link,
    added: Vec<Item>,
    removed: Vec<Item>,
}

impl Undo<'_> {
    async fn add(&mut self, item: Item) -> Result<(), UpError> {
        if self.put(item).await? {
            self.added.push(item);
        }
        Ok(())
    }

    async fn remove(&mut self, item: Item) -> Result<(), UpError> {
        match self.take(item).await {
            // Somebody else has taken it away.
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => {
                self.removed.push(item);
                Ok(())
            }
        }
    }

    /// Whether it was not there before: somebody may have been quicker than the file.
    async fn put(&self, item: Item) -> Result<bool, UpError> {
        match item {
            Item::Address(address) => match self.authority.add_address(address).await {
                Err(error) if error.is_exists() => Ok(false),
                added => Ok(added.map(|()| true)?),
            },
            Item::Route(route) => {
                let added = self.authority.add_route(route).await;
                route_added(self.netlink, self.link, route, added).await
            }
        }
    }

    async fn take(&self, item: Item) -> Result<(), vxgate_netlink::Error> {
        match item {
            Item::Address(address) => self.authority.delete_address(address).await,
            Item::Route(route) => self.authority.delete_route(route).await,
        }
    }

    /// As it was, as far as that goes.
    async fn undo(self) {
        for item in self.removed.iter().rev() {
            if let Err(error) = self.put(*item).await {
                tracing::warn!("{error}");
            }
        }
        for item in self.added.iter().rev() {
            if let Err(error) = self.take(*item).await {
                tracing::warn!("{error}");
            }
        }
    }
}

/// Peers that are new, gone, or have another inner address. New ones come first, so that there is somebody to flood to.
async fn peers(tenant: &Tenant, old: &[PeerSpec], new: &[PeerSpec]) -> Result<(), Refusal> {
    let before: BTreeSet<_> = old.iter().map(|peer| peer.outer).collect();
    let after: BTreeSet<_> = new.iter().map(|peer| peer.outer).collect();
    let here: BTreeSet<_> = tenant.peer_list().await?.into_iter().map(|peer| peer.ip).collect();
    for peer in new {
        if !before.contains(&peer.outer) && !here.contains(&peer.outer) {
            tenant.peer_add(*peer).await?;
        } else if old.iter().any(|was| was.outer == peer.outer && was.inner != peer.inner) {
            let PeerSpec { outer, inner } = *peer;
            // One that was taken away by hand stays away.
            let _ = tenant.ask(move |segment, _| segment.peer_set_inner(outer, inner)).await?;
        }
    }
    for gone in before.difference(&after).filter(|gone| here.contains(gone)) {
        tenant.peer_del(*gone).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::environment::read_layer;

    fn config(line: &str) -> UpConfig {
        UpConfig::new(read_layer(line.split_whitespace()).unwrap()).unwrap()
    }

    #[test]
    fn what_differs_is_named_with_what_it_needs_and_the_next_look_names_the_rest_again() {
        let old = config("--peer 192.0.2.1 --mtu 1400");
        let new = config("--peer 192.0.2.1 --mtu 1300 --vni 7 --storm-limit 5");
        let found = differences(&old, &new);
        assert_eq!(
            found,
            [("vni", Needs::Restart), ("mtu", Needs::Nothing), ("storm-limit", Needs::Nothing)]
        );
        assert_eq!(differences(&kept(&old, &new), &new), [("vni", Needs::Restart)]);
        assert!(differences(&old, &old).is_empty());
    }

    #[test]
    fn the_example_marks_what_can_be_reloaded() {
        let document = include_str!("../../../../docs/configuration.md");
        let table = document.split("## What a reload takes over").nth(1).expect("a chapter");
        let options = [
            "peer",
            "address",
            "mtu",
            "route",
            "learning",
            "ageing",
            "accept-from",
            "mss-clamp",
            "health",
            "storm-limit",
            "max-macs-per-peer",
            "flap-damping",
        ];
        for option in options {
            assert!(table.contains(&format!("`{option}`")), "{option}");
        }
        let all = config("--peer 192.0.2.1");
        let other = config(
            "--peer 192.0.2.2 --address 10.0.0.1/24 --mtu 1300 --route 10.1.0.0/16 --learning off --ageing 1 --accept-from 10.2.0.0/16 \
             --mss-clamp off --health off --storm-limit 1 --max-macs-per-peer 1 --flap-damping off",
        );
        assert!(differences(&kept(&all, &other), &other).is_empty(), "what is taken over is not named again");
        let live: Vec<_> =
            differences(&all, &other).into_iter().filter(|(_, needs)| *needs == Needs::Nothing).collect();
        assert_eq!(live.iter().map(|(option, _)| *option).collect::<BTreeSet<_>>(), options.into());
    }
}
