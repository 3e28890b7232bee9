//! What the underlay carries, and the device after it: MTU, superframes, the segment size of TCP connections.
//!
//! ```text
//!   netlink: links, routes ──┐                                     ┌──► device: MTU, gso_max_size
//!   ICMP, answered probes ───┼──► the segment's path to each peer ─┤
//!   (Event::PathMtu)         │    the narrowest counts             └──► limit of the segment size
//!   a while has passed ──────┘
//! ```
//!
//! Links and routes say what may be sent at all, and the segment finds out what of it arrives. Nothing here decides about a
//! frame: what is too long for its path is dropped by the way out, which tells its sender.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::Duration;

use vxgate_netlink::{Error, Netlink, Route, Watch};

use super::mtu::{carried, inner_mtu, mss_limit, overhead};
use super::serve::Tenant;
use crate::config::UpConfig;
use crate::config::values::Mtu;

/// Links and routes are looked at again after this time though nobody has told of a change: the kernel may drop what it tells.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The least time between two looks, so that a routing table in motion costs little.
const PAUSE: Duration = Duration::from_millis(50);

/// Follows the underlay, and has the device follow it, for as long as the tunnel runs. `mtu` is what the device was given first.
pub(super) async fn follow(tenant: &Tenant, mtu: u32) -> Infallible {
    let mut watch = Watch::open().inspect_err(|error| tracing::debug!("{error}")).ok();
    let mut given = mtu;
    let mut asked = tenant.config().mtu;
    loop {
        let config = tenant.config();
        if config.mtu != asked {
            // A reload: what the device has now is not what `auto` gave it.
            (asked, given) = (config.mtu, 0);
        }
        if let Err(error) = look(tenant, &config, &mut given).await {
            tracing::debug!("cannot follow the underlay: {error}");
        }
        tokio::time::sleep(PAUSE).await;
        let changed = async {
            match &mut watch {
                Some(watch) => watch.changed().await,
                None => pending().await,
            }
        };
        tokio::select! {
            more = changed => if !more { watch = None },
            () = tenant.paths_changed.notified() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

async fn look(tenant: &Tenant, config: &UpConfig, given: &mut u32) -> Result<(), Error> {
    let netlink = &tenant.netlink;
    let links = netlink.links().await?;
    let peers = tenant
        .ask(|segment, _| {
            let configured = segment.peers().filter(|peer| peer.configured);
            configured.map(|peer| peer.remote.addr).collect::<BTreeSet<_>>()
        })
        .await;
    // A tunnel that ends needs nothing more.
    let Ok(peers) = peers else { return Ok(()) };
    let mut found = Vec::with_capacity(peers.len());
    let mut inside = BTreeSet::new();
    for peer in peers {
        let route = route_to(netlink, peer).await;
        // By a loop the device would follow itself down, by the octets of the headers at each look.
        if route.as_ref().is_some_and(|route| route.link == Some(tenant.about.link)) {
            inside.insert(peer);
            continue;
        }
        found.extend(carried(config, &links, peer, route.as_ref()).map(|carried| (peer, carried)));
    }
    tell_of_loops(tenant, inside);
    let narrowest = tenant
        .ask(move |segment, now| {
            for (peer, octets) in found {
                segment.set_link_mtu(peer, Some(octets), now);
            }
            let configured = segment.peers().filter(|peer| peer.configured);
            configured.filter_map(|peer| Some((peer.path_mtu?, peer.remote.addr))).min()
        })
        .await;
    let Ok(Some((octets, narrowest))) = narrowest else { return Ok(()) };
    let wanted = inner_mtu(config, octets.into());
    let room = u32::from(octets).saturating_sub(overhead(config.family));
    // In another network namespace it is another's.
    let device =
        links.iter().find(|link| link.index == tenant.about.link && link.kind.as_deref() == Some("tun"));
    let mut mtu = device.map_or(wanted, |device| device.mtu);
    if let Some(device) = device
        && config.mtu == Mtu::Auto
        && wanted != *given
    {
        tenant.authority.set_mtu(wanted).await?;
        tracing::info!(
            "MTU of {} is {wanted} now, after {given}: the path to {narrowest} carries {octets} octets",
            device.name
        );
        if wanted > room {
            tracing::warn!(
                "longer packets than that path carries are dropped (too-big): no device has a smaller MTU with these addresses"
            );
        }
        (*given, mtu) = (wanted, wanted);
    }
    let limit = mss_limit(config, mtu.min(room));
    // As above.
    let _ = tenant.ask(move |segment, _| segment.set_mss_limit(limit)).await;
    Ok(())
}

/// Tells of peers that are now reached through the tunnel itself, and of those that no longer are. What is sent to such a peer comes
/// back as a frame and is dropped then (tunnel-in-tunnel), so that nothing goes round.
fn tell_of_loops(tenant: &Tenant, inside: BTreeSet<IpAddr>) {
    let dev = &tenant.about.dev;
    let mut known = tenant.inside.lock().unwrap_or_else(PoisonError::into_inner);
    for peer in inside.difference(&known) {
        tracing::warn!(
            %peer,
            "the route to this peer leads into {dev} itself: nothing reaches it; `ip route get {peer}` shows it, and a route of its own mends it"
        );
    }
    for peer in known.difference(&inside) {
        tracing::info!(%peer, "the route to this peer no longer leads into {dev}");
    }
    *known = inside;
}

/// The way to a peer; none to a group, nor where there is none just now.
async fn route_to(netlink: &Netlink, peer: IpAddr) -> Option<Route> {
    if peer.is_multicast() { None } else { netlink.route_lookup(peer).await.ok() }
}
