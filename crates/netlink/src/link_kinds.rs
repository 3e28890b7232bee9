//! Making virtual links: veth pairs, bridges, dummies, and the common part of every kind.

use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};

use crate::error::{Error, Task};
use crate::handle::Netlink;
use crate::link::Link;

impl Netlink {
    /// Makes a pair of virtual Ethernet devices: what goes into one comes out of the other. `peer` lies in the network
    /// namespace behind `peer_namespace`, or here. Both ends are down. Answers the end that lies here.
    ///
    /// # Errors
    /// When a name is taken ([`Error::is_exists`]).
    pub async fn veth_add(
        &self,
        name: &str,
        peer: &str,
        peer_namespace: Option<BorrowedFd<'_>>,
    ) -> Result<Link, Error> {
        let mut other = LinkMessage::default();
        other.attributes.push(LinkAttribute::IfName(peer.to_owned()));
        if let Some(namespace) = peer_namespace {
            other.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
        }
        self.link_add(name, InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(other))), Vec::new()).await
    }

    /// Makes a bridge, down and without ports.
    ///
    /// # Errors
    /// When the name is taken ([`Error::is_exists`]) or the kernel has no bridges ([`Error::is_unsupported`]).
    pub async fn bridge_add(&self, name: &str) -> Result<Link, Error> {
        self.link_add(name, InfoKind::Bridge, None, Vec::new()).await
    }

    /// Makes a device that swallows what it is given.
    ///
    /// # Errors
    /// When the name is taken ([`Error::is_exists`]) or the kernel has no such kind ([`Error::is_unsupported`]).
    pub async fn dummy_add(&self, name: &str) -> Result<Link, Error> {
        self.link_add(name, InfoKind::Dummy, None, Vec::new()).await
    }

    pub(crate) async fn link_add(
        &self,
        name: &str,
        kind: InfoKind,
        data: Option<InfoData>,
        mut attributes: Vec<LinkAttribute>,
    ) -> Result<Link, Error> {
        let task = Task::new("make", format!("{kind} link {name}"));
        let mut infos = vec![LinkInfo::Kind(kind)];
        infos.extend(data.map(LinkInfo::Data));
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.append(&mut attributes);
        message.attributes.push(LinkAttribute::LinkInfo(infos));
        self.change(task, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await?;
        self.link_by_name(name).await
    }
}
