//! Neighbours: which MAC address an IP address of a link has (ARP and IPv6 neighbour discovery).

use std::net::IpAddr;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState as PacketState,
};

use crate::address::family_of;
use crate::error::{Error, Task};
use crate::handle::Netlink;
use crate::link::Link;

/// How much the kernel trusts a neighbour entry (`NUD_*` of linux/neighbour.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeighbourState {
    /// Asked, no answer yet.
    Incomplete,
    /// Confirmed a moment ago.
    Reachable,
    /// Known, not confirmed lately.
    Stale,
    /// Used while stale; about to be asked again.
    Delay,
    /// Being asked again.
    Probe,
    /// Asked, nobody answered.
    Failed,
    /// The link needs no resolution.
    NoArp,
    /// Set by hand.
    Permanent,
    /// Something else.
    Other(u16),
}

/// A neighbour entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The index of the link.
    pub link: u32,
    /// Its IP address.
    pub ip: IpAddr,
    /// Its MAC address, once known.
    pub mac: Option<[u8; 6]>,
    /// How much that is worth.
    pub state: NeighbourState,
}

impl Netlink {
    /// The IPv4 and IPv6 neighbours of all links.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>, Error> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let answers = self.dump(Task::new("list", "neighbours"), request).await?;
        Ok(answers.into_iter().filter_map(neighbour_of).collect())
    }

    /// Sets a neighbour's MAC address for good, in place of what was known.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn neighbour_set(&self, link: &Link, ip: IpAddr, mac: [u8; 6]) -> Result<(), Error> {
        let mut message = message_for(link, ip);
        message.header.state = PacketState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        let task = Task::new("set", format!("neighbour {ip} on {link}"));
        self.change(task, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE).await
    }

    /// Forgets a neighbour.
    ///
    /// # Errors
    /// [`Error::is_missing`] when there is none.
    pub async fn neighbour_delete(&self, link: &Link, ip: IpAddr) -> Result<(), Error> {
        let task = Task::new("delete", format!("neighbour {ip} on {link}"));
        self.change(task, RouteNetlinkMessage::DelNeighbour(message_for(link, ip)), 0).await
    }
}

fn message_for(link: &Link, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_of(ip);
    message.header.ifindex = link.index;
    message.attributes.push(NeighbourAttribute::Destination(ip.into()));
    message
}

fn neighbour_of(message: RouteNetlinkMessage) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    let ip = message.attributes.iter().find_map(|attribute| {
        let NeighbourAttribute::Destination(address) = attribute else { return None };
        ip_of(address)
    })?;
    let mac = mac_of(&message.attributes);
    Some(Neighbour { link: message.header.ifindex, ip, mac, state: state_of(message.header.state) })
}

pub(crate) fn ip_of(address: &NeighbourAddress) -> Option<IpAddr> {
    if let NeighbourAddress::Inet(ip) = address {
        Some((*ip).into())
    } else if let NeighbourAddress::Inet6(ip) = address {
        Some((*ip).into())
    } else if let NeighbourAddress::Other(octets) = address {
        // An entry of a forwarding database is of the bridge family: its length says which it is.
        <[u8; 4]>::try_from(octets.as_slice())
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(octets.as_slice()).map(IpAddr::from))
            .ok()
    } else {
        None
    }
}

pub(crate) fn mac_of(attributes: &[NeighbourAttribute]) -> Option<[u8; 6]> {
    attributes.iter().find_map(|attribute| {
        let NeighbourAttribute::LinkLayerAddress(octets) = attribute else { return None };
        octets.as_slice().try_into().ok()
    })
}

fn state_of(state: PacketState) -> NeighbourState {
    match u16::from(state) {
        0x01 => NeighbourState::Incomplete,
        0x02 => NeighbourState::Reachable,
        0x04 => NeighbourState::Stale,
        0x08 => NeighbourState::Delay,
        0x10 => NeighbourState::Probe,
        0x20 => NeighbourState::Failed,
        0x40 => NeighbourState::NoArp,
        0x80 => NeighbourState::Permanent,
        other => NeighbourState::Other(other),
    }
}
