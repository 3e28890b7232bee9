//! Addresses of links.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::{Error, Task};
use crate::handle::Netlink;
use crate::link::Link;

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The index of the link that has it.
    pub link: u32,
    /// The address and the length of its prefix.
    pub ip: IpNet,
    /// Its IPv4 broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// Whether IPv6 duplicate address detection has not ended yet: no socket can use it until then.
    pub tentative: bool,
    /// Whether IPv6 duplicate address detection found another owner.
    pub duplicate: bool,
}

impl Netlink {
    /// The addresses of one link.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn addresses_of(&self, link: &Link) -> Result<Vec<Address>, Error> {
        let mut all = self.addresses().await?;
        all.retain(|address| address.link == link.index);
        Ok(all)
    }

    /// The addresses of all links, IPv4 and IPv6.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn addresses(&self) -> Result<Vec<Address>, Error> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.dump(Task::new("list", "addresses"), request).await?;
        Ok(answers.into_iter().filter_map(address_of).collect())
    }

    /// Gives the link an address. An IPv4 address with a prefix shorter than 31 gets the prefix's last address as its
    /// broadcast address, as ifconfig(8) sets it.
    ///
    /// # Errors
    /// [`Error::is_exists`] when the link has it already.
    pub async fn address_add(&self, link: &Link, ip: IpNet) -> Result<(), Error> {
        self.address_add_with(link, ip, AddressFlags::empty()).await
    }

    /// As [`address_add`](Self::address_add), but an IPv6 address can be bound at once: its uniqueness is not checked.
    /// The kernel still takes a moment, on a worker of its own, to make packets to it arrive.
    ///
    /// # Errors
    /// [`Error::is_exists`] when the link has it already.
    pub async fn address_add_nodad(&self, link: &Link, ip: IpNet) -> Result<(), Error> {
        self.address_add_with(link, ip, AddressFlags::Nodad).await
    }

    async fn address_add_with(&self, link: &Link, ip: IpNet, flags: AddressFlags) -> Result<(), Error> {
        let mut message = message_for(link, ip);
        if !flags.is_empty() {
            message.header.flags = AddressHeaderFlags::from_bits_truncate(flags.bits() as u8);
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        if let IpNet::V4(net) = ip
            && net.prefix_len() < 31
        {
            message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
        }
        let task = Task::new("add", format!("address {ip} to {link}"));
        self.change(task, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Takes an address away from the link.
    ///
    /// # Errors
    /// [`Error::is_missing`] when the link does not have it.
    pub async fn address_delete(&self, link: &Link, ip: IpNet) -> Result<(), Error> {
        let task = Task::new("delete", format!("address {ip} of {link}"));
        self.change(task, RouteNetlinkMessage::DelAddress(message_for(link, ip)), 0).await
    }
}

fn message_for(link: &Link, ip: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_of(ip.addr());
    message.header.prefix_len = ip.prefix_len();
    message.header.index = link.index;
    message.attributes = vec![AddressAttribute::Local(ip.addr()), AddressAttribute::Address(ip.addr())];
    message
}

pub(crate) fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the kernel's growing list of attributes, those that we show"
)]
fn address_of(message: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let (mut local, mut address, mut broadcast) = (None, None, None);
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in message.attributes {
        match attribute {
            // IPv4 has both, and they differ on a point-to-point link; IPv6 has the second alone.
            AddressAttribute::Local(ip) => local = Some(ip),
            AddressAttribute::Address(ip) => address = Some(ip),
            AddressAttribute::Broadcast(ip) => broadcast = Some(ip),
            AddressAttribute::Flags(all) => flags = all,
            _ => {}
        }
    }
    Some(Address {
        link: message.header.index,
        ip: IpNet::new(local.or(address)?, message.header.prefix_len).ok()?,
        broadcast,
        tentative: flags.contains(AddressFlags::Tentative),
        duplicate: flags.contains(AddressFlags::Dadfailed),
    })
}
