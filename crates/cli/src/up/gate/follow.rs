//! A running tunnel that follows the API: what is new there is done here, and nothing that goes wrong there ends it.
//!
//! Peers and routes are compared with those that this value made itself, so that what an operator adds or takes away by
//! hand stays as it is. New peers come before old ones go: no moment is without any.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use vxgate_core::{ControlError, Remote};
use vxgate_gate::{Own, VpgPeer, setup};

use super::answer::{Answer, few, news};
use super::api::Api;
use super::error::GateError;
use super::kept::KeptFile;
use super::vpg::Request;
use super::wall_clock;
use crate::config::unusable_probed;
use crate::control::protocol::Refusal;
use crate::up::monitor::{Authority, Order};
use crate::up::plan::leads_inside;
use crate::up::serve::Tenant;
use crate::up::tunnel::random;

/// How soon the API is asked again after a start without it.
const SOON: Duration = Duration::from_secs(30);

/// How old a kept answer gets while the API confirms it: its age is told, and a disk is not worn for it.
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// What follows the API while the tunnel runs.
pub(crate) struct Follower {
    pub(super) request: Request,
    pub(super) api: Api,
    pub(super) kept: KeptFile,
    /// How often to ask; zero for never.
    pub(super) interval: Duration,
    pub(super) own: Own,
    /// The last answer that serves.
    pub(super) said: Answer,
    /// When an answer was last kept, or tried to be.
    pub(super) kept_at: Option<SystemTime>,
    /// Whether `said` is an earlier start's.
    pub(super) stale: bool,
    /// The peers that the API gave the tunnel, with their inner addresses; `None` where the options name their own.
    pub(super) peers: Option<BTreeMap<IpAddr, IpAddr>>,
    /// The routes that this value made.
    pub(super) routes: BTreeSet<IpNet>,
    /// What was told last about the answers, so that it is told once.
    pub(super) told: Vec<String>,
    /// What was told last about peers.
    pub(super) told_peers: Vec<String>,
    /// What was told last about routes.
    pub(super) told_routes: Vec<String>,
}

impl Follower {
    /// Makes the routes, once the device is there.
    pub(in crate::up) async fn begin(&mut self, tenant: &Tenant) {
        self.api.be_quiet();
        self.follow_routes(tenant).await;
    }

    /// Asks now and then, and does what is new.
    pub(in crate::up) async fn follow(&mut self, tenant: &Tenant) -> Infallible {
        loop {
            let wait = match (self.stale, self.interval) {
                (false, Duration::ZERO) => return pending().await,
                (true, Duration::ZERO) => SOON,
                (true, interval) => interval.min(SOON),
                (false, interval) => interval,
            };
            tokio::time::sleep(jittered(wait, random())).await;
            match self.api.look().await.and_then(|(answer, notices)| self.usable(answer, notices)) {
                Ok((answer, notices)) => self.take(answer, notices, tenant).await,
                Err(error) => self.tell_failure(&error),
            }
        }
    }

    /// Refuses an answer without which the tunnel is better off.
    fn usable(&self, answer: Answer, notices: Vec<String>) -> Result<(Answer, Vec<String>), GateError> {
        if self.peers.is_some() {
            setup::vpg_side(&answer.peers)?;
        }
        Ok((answer, notices))
    }

    async fn take(&mut self, answer: Answer, notices: Vec<String>, tenant: &Tenant) {
        if std::mem::take(&mut self.stale) {
            tracing::info!("the API answers, and the tunnel follows it");
        }
        let own = self.own.outer;
        for new in news(&self.said, &answer, own) {
            tracing::warn!("{new}");
        }
        tell(&mut self.told, notices);
        let age = self.kept_at.and_then(|at| wall_clock().duration_since(at).ok());
        let changed = answer != self.said;
        self.said = answer;
        if changed || age.is_none_or(|age| age >= KEPT_FOR) {
            self.keep_by(&tenant.authority).await;
        }
        self.follow_peers(tenant).await;
        self.follow_routes(tenant).await;
    }

    fn tell_failure(&mut self, error: &GateError) {
        let hint = error.hint(&self.api.vpg).map_or_else(String::new, |hint| format!(" ({hint})"));
        let why = crate::up::chain(error);
        let notice = format!("the API was asked again: {why}; the tunnel stays as it is{hint}");
        tell(&mut self.told, vec![notice]);
    }

    /// Keeps the answer for a start without the API, unless that start could do nothing with it.
    pub(super) fn keep(&mut self) {
        if let Some(now) = self.worth_keeping()
            && let Err(error) = self.kept.save(&self.api.vpg, &self.said, now)
        {
            self.tell_unkept(&error);
        }
    }

    /// As [`Follower::keep`], once the tunnel runs and writes no file itself.
    async fn keep_by(&mut self, authority: &Authority) {
        let Some(now) = self.worth_keeping() else { return };
        let text = KeptFile::text(&self.api.vpg, &self.said, now);
        if let Err(error) = authority.order(Order::KeepAnswer(text)).await {
            self.tell_unkept(&error);
        }
    }

    /// As of when the answer is to be kept, if it is of any use.
    fn worth_keeping(&mut self) -> Option<SystemTime> {
        let registered = setup::own(&self.said.peers, setup::Local::Given(self.own.outer)).is_ok();
        if !registered || self.request.config(&self.said, Some(self.own)).is_err() {
            return None;
        }
        self.kept_at = Some(wall_clock());
        self.kept_at
    }

    fn tell_unkept(&self, error: &dyn std::error::Error) {
        tracing::warn!(
            "cannot keep the API's answer in {}: {error}; without it a start needs the API ({} names another directory)",
            self.kept.path().display(),
            super::kept::VARIABLE
        );
    }

    /// Where answers are kept.
    pub(in crate::up) fn answers(&self) -> &Path {
        self.kept.path()
    }

    async fn follow_peers(&mut self, tenant: &Tenant) {
        let Some(has) = &mut self.peers else { return };
        let Ok(wanted) = setup::vpg_side(&self.said.peers) else { return };
        let mut notices = Vec::new();
        for peer in &wanted {
            if has.get(&peer.outer) == Some(&peer.inner) {
                continue;
            }
            let known = has.contains_key(&peer.outer);
            if let Some(why) = unusable(peer, &wanted, self.own) {
                notices.push(format!(
                    "cannot follow the VPG's peer {}: its inner address {} {why}",
                    peer.outer, peer.inner
                ));
                continue;
            }
            match add(tenant, peer.outer, peer.inner).await {
                Ok(()) => {
                    has.insert(peer.outer, peer.inner);
                    let what = if known { "has another inner address" } else { "is new: added" };
                    tracing::info!("the VPG's peer {} ({}) {what}", peer.outer, peer.inner);
                }
                Err(refusal) => {
                    notices.push(format!("cannot add the VPG's new peer {}: {}", peer.outer, refusal.why));
                }
            }
        }
        let gone: Vec<IpAddr> =
            has.keys().filter(|outer| wanted.iter().all(|peer| peer.outer != **outer)).copied().collect();
        // A list none of whose peers could be added leaves the tunnel with those that it has.
        let gone = if gone.len() == has.len() { Vec::new() } else { gone };
        for outer in gone {
            match tenant.ask(move |segment, _| segment.peer_del(outer)).await {
                Ok(Ok(()) | Err(ControlError::NotFound)) => {
                    has.remove(&outer);
                    tracing::info!("the VPG's peer {outer} is gone: taken away");
                }
                Ok(Err(error)) => notices.push(format!("cannot take the VPG's peer {outer} away: {error}")),
                // The tunnel is ending.
                Err(_) => {}
            }
        }
        tell(&mut self.told_peers, notices);
    }

    async fn follow_routes(&mut self, tenant: &Tenant) {
        let wanted = self.said.routes(self.own.address);
        if wanted == self.routes {
            return;
        }
        // In another network namespace the device cannot be seen, and has no routes to follow.
        let Ok(link) = tenant.netlink.link_by_index(tenant.about.link).await else { return };
        let routes = tenant.netlink.routes().await.unwrap_or_default();
        let outside: Vec<_> = routes.into_iter().filter(|route| route.link != Some(link.index)).collect();
        let mut notices = Vec::new();
        let new: Vec<IpNet> = wanted.difference(&self.routes).copied().collect();
        let of_api = if new.is_empty() { Vec::new() } else { self.api.addresses().await };
        for network in new {
            let peers = self.said.peers.iter().filter(|peer| !peer.owned_by_customer);
            let mut peers = peers.map(|peer| peer.outer_ip.to_canonical());
            if let Some(peer) = peers.find(|peer| leads_inside(network, *peer, &outside)) {
                notices.push(format!(
                    "{network} is not routed into the tunnel: it holds peer {peer}, whose datagrams would go into the tunnel"
                ));
                continue;
            }
            if let Some(api) = of_api.iter().find(|api| leads_inside(network, **api, &outside)) {
                notices.push(format!(
                    "{network} is not routed into the tunnel: it holds {api}, by which the API is asked; \
                     to route it all the same, give it as --route"
                ));
                continue;
            }
            // One with a higher metric would not refuse ours, and never be used again.
            if outside.iter().any(|route| route.prefix == network) {
                notices.push(format!(
                    "{network} is not routed into the tunnel: this host has a route to it already, which stays"
                ));
                continue;
            }
            match tenant.authority.add_route(network).await {
                Ok(()) => {
                    self.routes.insert(network);
                    tracing::info!("{network} is routed into the tunnel, as the VPG has it");
                }
                Err(error) if error.is_exists() => notices.push(format!(
                    "{network} is not routed into the tunnel: this host has a route to it already, which stays"
                )),
                Err(error) => notices.push(error.to_string()),
            }
        }
        for network in self.routes.clone().difference(&wanted) {
            match tenant.authority.delete_route(*network).await {
                Err(error) if !error.is_missing() => notices.push(error.to_string()),
                Ok(()) | Err(_) => {
                    self.routes.remove(network);
                    tracing::info!(
                        "{network} is no longer routed into the tunnel, as the VPG has it no more"
                    );
                }
            }
        }
        tell(&mut self.told_routes, notices);
    }
}

/// Says what was not among what was said last.
fn tell(told: &mut Vec<String>, notices: Vec<String>) {
    let notices = few(notices);
    for notice in notices.iter().filter(|notice| !told.contains(notice)) {
        tracing::warn!("{notice}");
    }
    *told = notices;
}

/// What the start would refuse of a peer's inner address: a probe of it would reach nobody, or the wrong one.
fn unusable(peer: &VpgPeer, all: &[VpgPeer], own: Own) -> Option<&'static str> {
    if peer.inner == own.address.addr() {
        return Some("is an address of this host's own device");
    }
    let mut before = all.iter().take_while(|other| other.outer != peer.outer);
    if before.any(|other| other.inner == peer.inner) {
        return Some("is given to two peers");
    }
    unusable_probed(peer.inner)
}

/// Adds a peer with its inner address; one that is there already gets the address.
async fn add(tenant: &Tenant, outer: IpAddr, inner: IpAddr) -> Result<(), Refusal> {
    tenant.check_family(outer)?;
    if let Some(why) = tenant.unusable_peer(outer).await {
        return Err(Refusal::new(format!("it {why}")));
    }
    let added = tenant.ask(move |segment, now| match segment.peer_add(Remote::new(outer), now) {
        Ok(_) | Err(ControlError::Exists) => segment.peer_set_inner(outer, Some(inner)),
        Err(error) => Err(error),
    });
    added.await?.map_err(|error| Refusal::new(error.to_string()))?;
    // The way to it may be narrower than those to the others.
    tenant.paths_changed.notify_one();
    Ok(())
}

/// A fifth more or less, by a random number: hosts that were started together do not ask together.
fn jittered(interval: Duration, random: u64) -> Duration {
    // 53 bits are as much as a double has.
    let part = (random >> 11) as f64 / (1_u64 << 53) as f64;
    interval.mul_f64(0.8 + 0.4 * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_differ_by_a_fifth_at_most() {
        let interval = Duration::from_secs(300);
        assert_eq!(jittered(interval, 0), Duration::from_secs(240));
        assert!((359..=360).contains(&jittered(interval, u64::MAX).as_secs()));
        assert_eq!(jittered(interval, 1 << 63).as_secs(), 300);
    }
}
