//! What keeps packets from being forwarded although all of ours is in force.

use ipnet::IpNet;
use vxgate_netlink::Netlink;
use vxgate_netlink::nft::{ForwardChain, Nftables};

use super::rules::table_name;
use super::settings::{forwarding_ipv4, forwards_ipv6, is_strict, read};
use super::{Side, Sources, Way};

/// Something in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// What is there, a sentence without its full stop.
    pub(crate) found: String,
    /// What to do next.
    pub(crate) next_step: String,
}

/// Looks for everything that undoes this way: settings, routes, other tables. Nothing is changed. Where the tunnel's device is not
/// there (its number is 0), for what will.
pub(crate) async fn find(netlink: &Netlink, way: &Way) -> Vec<Obstacle> {
    let is_there = way.tunnel.index != 0;
    let mut obstacles = if is_there { settings(way) } else { Vec::new() };
    obstacles.extend(routes(netlink, way).await);
    // A kernel without nftables has no table in the way, and says so elsewhere.
    if let Ok(nftables) = Nftables::open() {
        obstacles.extend(tables(&nftables, way));
    }
    obstacles
}

fn settings(way: &Way) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    for side in way.links.iter().chain([&way.tunnel]) {
        let key = forwarding_ipv4(side);
        if way.ipv4() && read(&key).as_deref() != Some("1") {
            obstacles.push(Obstacle {
                found: format!("{} does not forward IPv4", side.name),
                next_step: format!("sysctl -w {key}=1, or start the tunnel again"),
            });
        }
        if way.ipv6() && !forwards_ipv6(side) {
            obstacles.push(Obstacle {
                found: format!("{} does not forward IPv6: this kernel does it for all interfaces or for none", side.name),
                next_step: "sysctl -w net.ipv6.conf.all.forwarding=1 makes this host a router; where its own default route is \
                            advertised, set net.ipv6.conf.IFNAME.accept_ra=2 before"
                    .to_owned(),
            });
        }
    }
    if let Some(underlay) = way.links.first().filter(|underlay| way.loosen && is_strict(underlay)) {
        obstacles.push(Obstacle {
            found: format!(
                "the reverse path filter of {} drops what goes back by another interface",
                underlay.name
            ),
            next_step: format!("sysctl -w net/ipv4/conf/{}/rp_filter=2", underlay.name),
        });
    }
    obstacles
}

async fn routes(netlink: &Netlink, way: &Way) -> Vec<Obstacle> {
    let Sources::Networks(networks) = &way.sources else { return Vec::new() };
    let underlay = way.links.first().map_or("eth0", |link| link.name.as_str());
    let mut obstacles = Vec::new();
    for network in networks.iter().filter(|network| network.prefix_len() > 0) {
        let found = match link_to(netlink, *network).await {
            None => format!("there is no route to {network}: answers do not find their way back"),
            Some(link) if link == way.tunnel.index => {
                format!("{network} is routed into {}: answers do not find their way back", way.tunnel.name)
            }
            Some(_) => continue,
        };
        let next_step = format!("add one, as in `ip route add {network} via ROUTER dev {underlay}`");
        obstacles.push(Obstacle { found, next_step });
    }
    obstacles
}

/// How many of a network's addresses may be this host's own.
const OWN_ADDRESSES: usize = 8;

/// The link that a network is routed by: of its first host that is not this one.
pub(super) async fn link_to(netlink: &Netlink, network: IpNet) -> Option<u32> {
    for host in network.hosts().take(OWN_ADDRESSES) {
        let route = netlink.route_lookup(host).await.ok()?;
        if !route.local {
            return route.link;
        }
    }
    None
}

fn tables(nftables: &Nftables, way: &Way) -> Vec<Obstacle> {
    let own = table_name(&way.tunnel.name);
    let mut obstacles = Vec::new();
    if way.tunnel.index != 0 && nftables.has_table(&own).is_ok_and(|there| !there) {
        obstacles.push(Obstacle {
            found: format!("there is no table {own} of nftables: nothing is filtered or translated"),
            next_step: "start the tunnel with --forward".to_owned(),
        });
    }
    let others = nftables.forward_chains().unwrap_or_default().into_iter();
    obstacles.extend(
        others.filter(|chain| chain.drops && chain.table != own).filter_map(|chain| dropping(&chain, way)),
    );
    obstacles
}

/// A chain of somebody else's that drops what none of its rules accepts, as Docker's and many firewalls'.
fn dropping(chain: &ForwardChain, way: &Way) -> Option<Obstacle> {
    let concerned = match chain.family {
        "ip" => way.ipv4(),
        "ip6" => way.ipv6(),
        _ => true,
    };
    let Side { name: link, .. } = way.links.first().filter(|_| concerned)?;
    let (ForwardChain { family, table, name, .. }, tunnel) = (chain, &way.tunnel.name);
    let next_step = if table == "filter" && name == "FORWARD" {
        let program = if chain.family == "ip6" { "ip6tables" } else { "iptables" };
        format!(
            "unless it has them: {program} -I FORWARD -i {link} -o {tunnel} -j ACCEPT; {program} -I FORWARD -i {tunnel} -o {link} -m \
             conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
        )
    } else {
        format!(
            "unless it has them: nft insert rule {family} {table} {name} iifname {link} oifname {tunnel} accept; nft insert rule \
             {family} {table} {name} iifname {tunnel} ct state established,related accept"
        )
    };
    let found =
        format!("chain {name} of nftables table {family} {table} drops what none of its rules accepts");
    Some(Obstacle { found, next_step })
}
