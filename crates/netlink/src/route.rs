//! Routes: listing and changing the main table, and asking which way a packet would go.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::address::family_of;
use crate::error::{Error, Task};
use crate::handle::Netlink;
use crate::link::Link;

/// A unicast route, or the way that a packet would take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; a single address when it answers [`Netlink::route_lookup`].
    pub prefix: IpNet,
    /// The index of the link that it leaves by.
    pub link: Option<u32>,
    /// The next router; none when the destination is a neighbour.
    pub gateway: Option<IpAddr>,
    /// The source address that the kernel prefers on it.
    pub source: Option<IpAddr>,
    /// Its metric; lower is better.
    pub metric: Option<u32>,
    /// The MTU that the route itself carries, set or learned, in octets; none means the link's.
    pub mtu: Option<u32>,
    /// Whether that MTU was learned from an ICMP error, and will be forgotten in time.
    pub mtu_learned: bool,
    /// Whether the destination is an address of this host.
    pub local: bool,
}

impl Netlink {
    /// The unicast routes of the main table, IPv4 and IPv6.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn routes(&self) -> Result<Vec<Route>, Error> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let request = RouteNetlinkMessage::GetRoute(message);
            let answers = self.dump(Task::new("list", "routes"), request).await?;
            routes.extend(answers.into_iter().filter_map(|answer| {
                let RouteNetlinkMessage::NewRoute(route) = answer else { return None };
                in_main_table(&route).then(|| route_of(route))
            }));
        }
        Ok(routes)
    }

    /// Adds a route to the main table by `link`, through the router `gateway` if one is given, preferring `source`.
    ///
    /// # Errors
    /// [`Error::is_exists`] when there is one to that prefix, [`Error::is_unreachable`] when the router is not a neighbour.
    pub async fn route_add(
        &self,
        prefix: IpNet,
        link: &Link,
        gateway: Option<IpAddr>,
        source: Option<IpAddr>,
    ) -> Result<(), Error> {
        let message = message_for(prefix, link, gateway, source);
        let task = Task::new("add", object(prefix, link, gateway));
        self.change(task, RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Adds a route to the main table that drops what goes there, without a word (type blackhole).
    ///
    /// # Errors
    /// [`Error::is_exists`] when there is a route to that prefix.
    pub async fn blackhole_add(&self, prefix: IpNet) -> Result<(), Error> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family_of(prefix.addr()),
            destination_prefix_length: prefix.prefix_len(),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: RouteScope::Universe,
            kind: RouteType::BlackHole,
            ..RouteHeader::default()
        };
        message.attributes.push(RouteAttribute::Destination(prefix.trunc().addr().into()));
        let task = Task::new("add", format!("blackhole route {}", prefix.trunc()));
        self.change(task, RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Takes a route out of the main table.
    ///
    /// # Errors
    /// [`Error::is_missing`] when there is no such route.
    pub async fn route_delete(
        &self,
        prefix: IpNet,
        link: &Link,
        gateway: Option<IpAddr>,
    ) -> Result<(), Error> {
        let mut message = message_for(prefix, link, gateway, None);
        // "Any" in a deletion (rtnetlink(7)); the kernel compares what is set.
        message.header.protocol = RouteProtocol::Unspec;
        message.header.scope = RouteScope::NoWhere;
        let task = Task::new("delete", object(prefix, link, gateway));
        self.change(task, RouteNetlinkMessage::DelRoute(message), 0).await
    }

    /// The way that a packet to `destination` would take now.
    ///
    /// # Errors
    /// [`Error::is_unreachable`] when there is none; [`Error::errno`] tells a route of type blackhole (`EINVAL`), prohibit (`EACCES`)
    /// or unreachable (`EHOSTUNREACH`) from none at all (`ENETUNREACH`).
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type leads somewhere")]
    pub async fn route_lookup(&self, destination: IpAddr) -> Result<Route, Error> {
        let task = Task::new("find", format!("a route to {destination}"));
        let host = IpNet::from(destination);
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(destination);
        message.header.destination_prefix_length = host.prefix_len();
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        let answer = self.one(task.clone(), RouteNetlinkMessage::GetRoute(message)).await?;
        let RouteNetlinkMessage::NewRoute(answer) = answer else { return Err(task.no_answer()) };
        // For IPv4 the kernel answers these errors (`fib_props`, net/ipv4/fib_semantics.c), for IPv6 a route of that type.
        let errno = match answer.header.kind {
            RouteType::BlackHole => libc::EINVAL,
            RouteType::Prohibit => libc::EACCES,
            RouteType::Unreachable => libc::EHOSTUNREACH,
            RouteType::Throw => libc::ENETUNREACH,
            _ => return Ok(Route { prefix: host, ..route_of(answer) }),
        };
        Err(task.refused(errno, None))
    }
}

fn object(prefix: IpNet, link: &Link, gateway: Option<IpAddr>) -> String {
    let mut text = format!("route {}", prefix.trunc());
    if let Some(gateway) = gateway {
        let _ = write!(text, " via {gateway}");
    }
    text + " on " + &link.to_string()
}

fn message_for(prefix: IpNet, link: &Link, gateway: Option<IpAddr>, source: Option<IpAddr>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family_of(prefix.addr()),
        destination_prefix_length: prefix.prefix_len(),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        // An IPv4 route without a router leads to neighbours; IPv6 knows no scopes here.
        scope: match (prefix, gateway) {
            (IpNet::V4(_), None) => RouteScope::Link,
            (IpNet::V4(_), Some(_)) | (IpNet::V6(_), _) => RouteScope::Universe,
        },
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message.attributes.push(RouteAttribute::Destination(prefix.trunc().addr().into()));
    message.attributes.push(RouteAttribute::Oif(link.index));
    message.attributes.extend(gateway.map(|ip| RouteAttribute::Gateway(ip.into())));
    message.attributes.extend(source.map(|ip| RouteAttribute::PrefSource(ip.into())));
    message
}

/// What the kernel remembers of one destination, such as a path's MTU, is listed too since Linux 5.3, and is no route of the table.
fn in_main_table(message: &RouteMessage) -> bool {
    !message.header.flags.contains(RouteFlags::Cloned)
        && message.header.table == RouteHeader::RT_TABLE_MAIN
        && message.header.kind == RouteType::Unicast
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the kernel's growing list of attributes, those that we show"
)]
fn route_of(message: RouteMessage) -> Route {
    let everywhere = match message.header.address_family {
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let (mut destination, mut mtu, mut expires) = (everywhere, None, false);
    let (mut link, mut gateway, mut source, mut metric) = (None, None, None, None);
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip_of(address).unwrap_or(everywhere),
            RouteAttribute::Oif(index) => link = Some(index),
            RouteAttribute::Gateway(address) => gateway = ip_of(address),
            RouteAttribute::PrefSource(address) => source = ip_of(address),
            RouteAttribute::Priority(value) => metric = Some(value),
            RouteAttribute::Metrics(metrics) => mtu = metrics.iter().find_map(mtu_of),
            RouteAttribute::CacheInfo(info) => expires = info.expires != 0,
            _ => {}
        }
    }
    let prefix = IpNet::new(destination, message.header.destination_prefix_length);
    Route {
        prefix: prefix.unwrap_or(IpNet::from(destination)),
        link,
        gateway,
        source,
        metric,
        mtu,
        mtu_learned: expires && mtu.is_some(),
        local: message.header.kind == RouteType::Local,
    }
}

fn ip_of(address: RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(ip) = address {
        Some(ip.into())
    } else if let RouteAddress::Inet6(ip) = address {
        Some(ip.into())
    } else {
        None
    }
}

fn mtu_of(metric: &RouteMetric) -> Option<u32> {
    // A zero stands for "not set" where other metrics are.
    if let RouteMetric::Mtu(mtu) = metric { Some(*mtu).filter(|mtu| *mtu != 0) } else { None }
}
