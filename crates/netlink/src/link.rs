//! Links: finding them and changing what every kind of link has.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};

use crate::error::{Error, Task};
use crate::handle::Netlink;

/// A network device, as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in this network namespace.
    pub index: u32,
    /// Its name, at most 15 octets.
    pub name: String,
    /// Its MAC address; zero for a device without one.
    pub mac: [u8; 6],
    /// Its MTU in octets.
    pub mtu: u32,
    /// Whether it is administratively up (`IFF_UP`).
    pub up: bool,
    /// Whether it is up and has a carrier (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// What made it: `vxlan`, `tun`, `veth`, `bridge`, ...; none for hardware and loopback.
    pub kind: Option<String>,
    /// The index of the bridge (or bond, ...) that it is a port of.
    pub controller: Option<u32>,
    /// Its transmit queue length in packets.
    pub tx_queue_len: u32,
    /// The largest superframe that the kernel hands to it, in octets; none before Linux 4.17.
    pub gso_max_size: Option<u32>,
    /// How many segments such a superframe has at most; none before Linux 4.17.
    pub gso_max_segments: Option<u32>,
    /// What it has carried.
    pub counters: LinkCounters,
}

/// A link's counters since it was made (`struct rtnl_link_stats64` of linux/if_link.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounters {
    /// Frames received.
    pub rx_frames: u64,
    /// Octets received.
    pub rx_octets: u64,
    /// Received frames found bad.
    pub rx_errors: u64,
    /// Received frames dropped.
    pub rx_dropped: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Octets sent.
    pub tx_octets: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
    /// Frames dropped on the way out.
    pub tx_dropped: u64,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.name)
    }
}

impl Netlink {
    /// The link called `name`.
    ///
    /// # Errors
    /// [`Error::is_missing`] when there is none.
    pub async fn link_by_name(&self, name: &str) -> Result<Link, Error> {
        let task = Task::new("find", format!("link {name}"));
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.one_link(task, message).await
    }

    /// The link with that number.
    ///
    /// # Errors
    /// [`Error::is_missing`] when there is none.
    pub async fn link_by_index(&self, index: u32) -> Result<Link, Error> {
        let task = Task::new("find", format!("link number {index}"));
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.one_link(task, message).await
    }

    async fn one_link(&self, task: Task, message: LinkMessage) -> Result<Link, Error> {
        let answer = self.one(task.clone(), RouteNetlinkMessage::GetLink(message)).await?;
        link_of(answer).ok_or_else(|| task.no_answer())
    }

    /// All links, in the kernel's order.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.dump(Task::new("list", "links"), request).await?;
        Ok(answers.into_iter().filter_map(link_of).collect())
    }

    /// Whether this process may change links, addresses and routes here: it asks for a change of a link that no namespace has, which
    /// the kernel refuses for want of the capability before it looks for the link (`rtnetlink_rcv_msg`, net/core/rtnetlink.c).
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn may_change(&self) -> Result<bool, Error> {
        let mut message = LinkMessage::default();
        message.header.index = i32::MAX.cast_unsigned();
        match self.set(Task::new("look for", "a link that is not there"), message).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_missing() => Ok(true),
            Err(error) if error.is_denied() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Switches the link on.
    ///
    /// # Errors
    /// When the kernel refuses; a kernel vxlan device reports a taken port here (`EADDRINUSE`).
    pub async fn set_up(&self, link: &Link) -> Result<(), Error> {
        self.set_flags("set up", link, LinkFlags::Up).await
    }

    /// Switches the link off.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_down(&self, link: &Link) -> Result<(), Error> {
        self.set_flags("set down", link, LinkFlags::empty()).await
    }

    async fn set_flags(&self, operation: &'static str, link: &Link, flags: LinkFlags) -> Result<(), Error> {
        let mut message = message_for(link);
        message.header.flags = flags;
        message.header.change_mask = LinkFlags::Up;
        self.set(Task::new(operation, link.to_string()), message).await
    }

    /// Sets the MTU, in octets.
    ///
    /// # Errors
    /// When it lies outside what the device allows (`EINVAL`).
    pub async fn set_mtu(&self, link: &Link, mtu: u32) -> Result<(), Error> {
        self.set_attribute("set the MTU of", link, LinkAttribute::Mtu(mtu)).await
    }

    /// Sets the MAC address.
    ///
    /// # Errors
    /// When it is a group address (`EADDRNOTAVAIL`) or the device does not allow it.
    pub async fn set_mac(&self, link: &Link, mac: [u8; 6]) -> Result<(), Error> {
        self.set_attribute("set the MAC address of", link, LinkAttribute::Address(mac.to_vec())).await
    }

    /// Sets the length of the transmit queue, in packets.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_tx_queue_len(&self, link: &Link, packets: u32) -> Result<(), Error> {
        self.set_attribute("set the transmit queue length of", link, LinkAttribute::TxQueueLen(packets)).await
    }

    /// Sets the largest superframe that the kernel hands to the link, in octets: of IPv4, too, where that has a limit of its own
    /// (`IFLA_GSO_IPV4_MAX_SIZE` follows `IFLA_GSO_MAX_SIZE` up to 65,536 octets, net/core/dev.h). The superframe with all its
    /// headers is shorter than this; one that is not is cut before it reaches the link.
    ///
    /// # Errors
    /// Beyond the device's limit (`EINVAL`), or [`Error::is_unsupported`] on a kernel that cannot.
    pub async fn set_gso_max_size(&self, link: &Link, octets: u32) -> Result<(), Error> {
        self.set_attribute("set the largest superframe of", link, LinkAttribute::GsoMaxSize(octets)).await
    }

    /// Puts the link into a group of links, 0 being the one that all are in at first.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_group(&self, link: &Link, group: u32) -> Result<(), Error> {
        self.set_attribute("set the group of", link, LinkAttribute::Group(group)).await
    }

    /// Gives the link another name.
    ///
    /// # Errors
    /// When the name is taken ([`Error::is_exists`]) or unfit (`EINVAL`).
    pub async fn rename(&self, link: &Link, name: &str) -> Result<(), Error> {
        self.set_attribute("rename", link, LinkAttribute::IfName(name.to_owned())).await
    }

    /// Makes the link a port of `bridge`, or of nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_controller(&self, link: &Link, bridge: Option<&Link>) -> Result<(), Error> {
        let index = bridge.map_or(0, |bridge| bridge.index);
        self.set_attribute("set the bridge of", link, LinkAttribute::Controller(index)).await
    }

    /// Moves the link into the network namespace behind `namespace`; there it is down and has no address.
    ///
    /// # Errors
    /// When its name is taken there ([`Error::is_exists`]).
    pub async fn move_to(&self, link: &Link, namespace: BorrowedFd<'_>) -> Result<(), Error> {
        self.set_attribute("move", link, LinkAttribute::NetNsFd(namespace.as_raw_fd())).await
    }

    /// Takes the link away.
    ///
    /// # Errors
    /// [`Error::is_missing`] when it is gone already.
    pub async fn link_delete(&self, link: &Link) -> Result<(), Error> {
        let request = RouteNetlinkMessage::DelLink(message_for(link));
        self.change(Task::new("delete", link.to_string()), request, 0).await
    }

    async fn set_attribute(
        &self,
        operation: &'static str,
        link: &Link,
        attribute: LinkAttribute,
    ) -> Result<(), Error> {
        let mut message = message_for(link);
        message.attributes.push(attribute);
        self.set(Task::new(operation, link.to_string()), message).await
    }

    async fn set(&self, task: Task, message: LinkMessage) -> Result<(), Error> {
        self.change(task, RouteNetlinkMessage::SetLink(message), 0).await
    }
}

fn message_for(link: &Link) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the kernel's growing list of attributes, those that we show"
)]
fn link_of(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: [0; 6],
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        kind: None,
        controller: None,
        tx_queue_len: 0,
        gso_max_size: None,
        gso_max_segments: None,
        counters: LinkCounters::default(),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(octets) => link.mac = octets.try_into().unwrap_or_default(),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::TxQueueLen(packets) => link.tx_queue_len = packets,
            LinkAttribute::GsoMaxSize(octets) => link.gso_max_size = Some(octets),
            LinkAttribute::GsoMaxSegs(segments) => link.gso_max_segments = Some(segments),
            LinkAttribute::LinkInfo(infos) => link.kind = infos.iter().find_map(kind_of),
            LinkAttribute::Stats64(stats) => {
                link.counters = LinkCounters {
                    rx_frames: stats.rx_packets,
                    rx_octets: stats.rx_bytes,
                    rx_errors: stats.rx_errors,
                    rx_dropped: stats.rx_dropped,
                    tx_frames: stats.tx_packets,
                    tx_octets: stats.tx_bytes,
                    tx_errors: stats.tx_errors,
                    tx_dropped: stats.tx_dropped,
                }
            }
            _ => {}
        }
    }
    Some(link)
}

fn kind_of(info: &LinkInfo) -> Option<String> {
    if let LinkInfo::Kind(kind) = info { Some(kind.to_string()) } else { None }
}
