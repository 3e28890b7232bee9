//! What this host has: links, addresses, routes, and settings below /proc.

use std::fs;
use std::path::Path;

use vxgate_netlink::{Address, Error, Link, Netlink, Route};

/// A host as it was when it was looked at.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) links: Vec<Link>,
    pub(crate) addresses: Vec<Address>,
    /// Of the main table.
    pub(crate) routes: Vec<Route>,
}

impl Host {
    /// Looks.
    pub(crate) async fn look(netlink: &Netlink) -> Result<Host, Error> {
        Ok(Host {
            links: netlink.links().await?,
            addresses: netlink.addresses().await?,
            routes: netlink.routes().await?,
        })
    }

    /// The link of this name.
    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The link with this number.
    pub(crate) fn link_at(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The name of the link with this number.
    pub(crate) fn name_of(&self, index: u32) -> String {
        self.link_at(index).map_or_else(|| format!("link {index}"), |link| link.name.clone())
    }
}

/// A setting of the kernel that is a number, by its name below /proc/sys; none where the kernel does not have it.
pub(crate) fn sysctl(name: &str) -> Option<u64> {
    fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
}

/// Whether this process has the capability of this number in force (capabilities(7)).
pub(crate) fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> number & 1 == 1)
}

/// `CAP_NET_ADMIN` of linux/capability.h.
pub(crate) const CAP_NET_ADMIN: u32 = 12;
