//! What a tunnel needs of this host, looked up and checked before anything is made.

use std::fs;
use std::net::IpAddr;

use ipnet::IpNet;
use rustix::io::Errno;
use vxgate_forwarder::check_processor;
use vxgate_netlink::{Address, Link, Netlink, Route};

use super::device::Claim;
use super::error::UpError;
use super::mtu::{carried, device_mtu};
use crate::config::values::CpuList;
use crate::config::{Family, UpConfig};

/// What was found out.
#[derive(Debug)]
pub(crate) struct Plan {
    /// This host's outer address.
    pub(crate) local: IpAddr,
    /// The device's MTU.
    pub(crate) mtu: u32,
    /// What link and route towards each peer carry, in octets of the outer IP packet; nothing for one where nothing tells.
    pub(crate) paths: Vec<(IpAddr, u16)>,
    /// Index of the link that carries the underlay, 0 where nothing says which.
    pub(crate) underlay: u32,
    /// How to come by the device.
    pub(crate) claim: Claim,
    /// What the operator should know and is no error.
    pub(crate) notices: Vec<String>,
}

impl Plan {
    /// Looks the host over.
    pub(crate) async fn make(netlink: &Netlink, config: &UpConfig) -> Result<Plan, UpError> {
        check_processors(config)?;
        let links = netlink.links().await?;
        let claim = Claim::of(config, &links)?;
        let underlay = underlay(config, &links)?;
        let (mut addresses, mut routes) = (netlink.addresses().await?, netlink.routes().await?);
        // What the device has already is in nobody's way.
        addresses.retain(|address| !claim.is(address.link));
        routes.retain(|route| !route.link.is_some_and(|link| claim.is(link)));
        let (mut notices, mut paths) = (Vec::new(), Vec::new());
        let mut first_route = None;
        for peer in config.outer_peers() {
            let route = match peer.is_multicast() {
                true => None,
                false => route_to(netlink, peer, underlay.is_some()).await?,
            };
            paths.extend(carried(config, &links, peer, route.as_ref()).map(|octets| (peer, octets)));
            if first_route.is_none() {
                first_route = route;
            }
        }
        let local = local(config, &addresses, underlay, first_route.as_ref())?;
        check_loops(config, &routes)?;
        check_overlaps(config, &addresses, &links, &mut notices)?;

        let carrier = underlay.or_else(|| {
            let index = first_route.as_ref().and_then(|route| route.link)?;
            links.iter().find(|link| link.index == index)
        });
        let outer = paths.iter().map(|(_, octets)| u32::from(*octets)).min();
        // Without a link to ask, Ethernet's own.
        let outer = outer.unwrap_or_else(|| carrier.map_or(1500, |link| link.mtu));
        let mtu = device_mtu(config, outer, &mut notices)?;
        if let Some(link) = carrier.filter(|link| !link.up) {
            notices.push(format!("{} is down: nothing leaves until it is up", link.name));
        }
        Ok(Plan { local, mtu, paths, underlay: carrier.map_or(0, |link| link.index), claim, notices })
    }
}

/// Refuses a name that a link has which the tunnel cannot take over.
pub(crate) fn check_name(config: &UpConfig, links: &[Link]) -> Result<(), UpError> {
    Claim::of(config, links).map(|_| ())
}

/// The link that `--underlay` names.
pub(crate) fn underlay<'a>(config: &UpConfig, links: &'a [Link]) -> Result<Option<&'a Link>, UpError> {
    let Some(name) = &config.underlay else { return Ok(None) };
    let found = links.iter().find(|link| link.name == name.as_str());
    let names = || links.iter().map(|link| link.name.clone()).collect();
    found.map(Some).ok_or_else(|| UpError::NoUnderlay { name: name.to_string(), names: names() })
}

/// Refuses processors that no thread of this process can run on.
pub(crate) fn check_processors(config: &UpConfig) -> Result<(), UpError> {
    for processor in config.affinity.iter().flat_map(CpuList::processors) {
        check_processor(processor).map_err(|source| UpError::NoProcessor {
            processor,
            here: processors_here(),
            source,
        })?;
    }
    Ok(())
}

/// The processors that this process may run on, as proc_pid_status(5) lists them.
fn processors_here() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(|list| list.trim().to_owned())
}

/// The way to a peer; none where the link is given and the routing table has nothing to say.
pub(crate) async fn route_to(
    netlink: &Netlink,
    peer: IpAddr,
    link_given: bool,
) -> Result<Option<Route>, UpError> {
    match netlink.route_lookup(peer).await {
        Ok(route) if route.local => Err(UpError::PeerIsHere { peer }),
        Ok(route) => Ok(Some(route)),
        Err(error) if error.is_unreachable() && link_given && is_link_local(peer) => Ok(None),
        Err(error) => match error.errno().and_then(refusing_route) {
            Some(kind) => Err(UpError::RouteRefuses { peer, kind }),
            None if error.is_unreachable() => Err(UpError::NoRoute { peer }),
            None => Err(error.into()),
        },
    }
}

/// The type of route that answers a look-up with this error (`fib_props`, net/ipv4/fib_semantics.c).
fn refusing_route(errno: i32) -> Option<&'static str> {
    match Errno::from_raw_os_error(errno) {
        Errno::INVAL => Some("blackhole"),
        Errno::ACCESS => Some("prohibit"),
        Errno::HOSTUNREACH => Some("unreachable"),
        _ => None,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The outer address: given, or what the route to the first peer would use, or the underlay's own.
pub(crate) fn local(
    config: &UpConfig,
    addresses: &[Address],
    underlay: Option<&Link>,
    route: Option<&Route>,
) -> Result<IpAddr, UpError> {
    let of_family = |ip: &IpAddr| match config.family {
        Family::V4 => ip.is_ipv4(),
        Family::V6 => ip.is_ipv6(),
    };
    if let Some(local) = config.local {
        if addresses.iter().any(|address| address.ip.addr() == local) {
            return Ok(local);
        }
        let here = addresses.iter().map(|address| address.ip.addr());
        let here = here.filter(|ip| of_family(ip) && !ip.is_loopback()).collect();
        return Err(UpError::LocalNotHere { local, here });
    }
    let on_underlay = underlay.and_then(|link| {
        let mut own = addresses.iter().filter(|address| address.link == link.index);
        own.find(|address| of_family(&address.ip.addr())).map(|address| address.ip.addr())
    });
    on_underlay.or_else(|| route.and_then(|route| route.source)).ok_or(UpError::NoLocal)
}

/// Refuses a network that would send the tunnel's own datagrams into the tunnel.
pub(crate) fn check_loops(config: &UpConfig, routes: &[Route]) -> Result<(), UpError> {
    check_loops_to(config, &config.outer_peers().collect::<Vec<_>>(), routes)
}

/// The same to these peers.
pub(super) fn check_loops_to(config: &UpConfig, peers: &[IpAddr], routes: &[Route]) -> Result<(), UpError> {
    let into_tunnel = config.addresses.iter().map(|address| ("address", address.trunc()));
    let into_tunnel = into_tunnel.chain(config.routes.iter().map(|route| ("route", *route)));
    for (option, network) in into_tunnel {
        for &peer in peers {
            if leads_inside(network, peer, routes) {
                return Err(UpError::Loop { option, network, peer });
            }
        }
    }
    Ok(())
}

/// Whether a peer would be reached through the tunnel, once the network is routed into it on a host with these routes.
pub(super) fn leads_inside(network: IpNet, peer: IpAddr, routes: &[Route]) -> bool {
    let best = routes.iter().filter(|route| route.prefix.contains(&peer));
    let best = best.map(|route| route.prefix.prefix_len()).max().unwrap_or(0);
    // A longer prefix keeps the way to the peer outside, whatever is routed into the tunnel.
    network.contains(&peer) && best <= network.prefix_len()
}

/// Refuses an address that is here already and a network that another link has; tells of others that overlap.
pub(crate) fn check_overlaps(
    config: &UpConfig,
    addresses: &[Address],
    links: &[Link],
    notices: &mut Vec<String>,
) -> Result<(), UpError> {
    for &address in &config.addresses {
        for other in addresses {
            let link = links.iter().find(|link| link.index == other.link);
            let link = link.map_or_else(|| format!("link {}", other.link), |link| link.name.clone());
            let claims = is_network(other.ip);
            if other.ip.addr() == address.addr() || claims && other.ip.trunc() == address.trunc() {
                return Err(UpError::AddressOverlaps { address, other: other.ip, link });
            }
            if claims && other.ip.contains(&address.trunc()) {
                notices.push(format!(
                    "{} of {link} holds {}: what was reached there by {link} now goes into the tunnel",
                    other.ip.trunc(),
                    address.trunc()
                ));
            }
            if claims && address.contains(&other.ip.trunc()) {
                notices.push(format!(
                    "{} of {link} lies inside {}: what is there is reached by {link} and not through the tunnel",
                    other.ip.trunc(),
                    address.trunc()
                ));
            }
        }
    }
    Ok(())
}

/// Whether neighbours are reached by this address: not by one that stands alone, loopback's or a link's own.
fn is_network(address: IpNet) -> bool {
    let ip = address.addr();
    address.prefix_len() < address.max_prefix_len() && !ip.is_loopback() && !is_link_local(ip)
}
