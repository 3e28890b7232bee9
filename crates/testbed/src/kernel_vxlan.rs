//! The kernel's own VTEP in a host: the peer that ours talks to, and the reference that it is compared with.

use std::net::IpAddr;

use vxgate_netlink::{FdbEntry, Link, Vxlan};

use crate::host::{Error, Host};

/// A kernel vxlan device to be made in a host.
#[derive(Debug, Clone)]
pub struct KernelVxlan {
    /// The device's name; default `vxlan0`.
    pub name: String,
    /// Its settings; by default VNI 10 on port 4789, as SORACOM Gate has it.
    pub settings: Vxlan,
    /// The remote VTEPs of its all-zero entry; default none.
    pub peers: Vec<IpAddr>,
    /// Its inner addresses, each with a prefix length; default none.
    pub addresses: Vec<String>,
}

impl Default for KernelVxlan {
    fn default() -> KernelVxlan {
        KernelVxlan {
            name: "vxlan0".to_owned(),
            settings: Vxlan { vni: 10, ..Vxlan::default() },
            peers: Vec::new(),
            addresses: Vec::new(),
        }
    }
}

impl KernelVxlan {
    /// A device with VNI 10 on port 4789 that sends from `local`.
    ///
    /// # Panics
    /// When `local` is no IP address.
    pub fn new(local: &str) -> KernelVxlan {
        let mut vxlan = KernelVxlan::default();
        vxlan.settings.local = Some(local.parse().expect("an IP address to send from"));
        vxlan
    }

    /// One more remote VTEP for what has no entry of its own.
    ///
    /// # Panics
    /// When `remote` is no IP address.
    pub fn peer(mut self, remote: &str) -> KernelVxlan {
        self.peers.push(remote.parse().expect("an IP address of a remote VTEP"));
        self
    }

    /// One more inner address with its prefix length.
    pub fn address(mut self, address: &str) -> KernelVxlan {
        self.addresses.push(address.to_owned());
        self
    }

    /// Changes its settings.
    pub fn with(mut self, change: impl FnOnce(&mut Vxlan)) -> KernelVxlan {
        change(&mut self.settings);
        self
    }

    /// Makes the device in `host` and switches it on.
    ///
    /// # Errors
    /// [`Error::Netlink`], unsupported where the kernel has no vxlan; [`Error::Address`] for an address that is none.
    pub fn create(&self, host: &Host) -> Result<Link, Error> {
        let link = host.netlink(async |netlink| {
            let link = netlink.vxlan_add(&self.name, &self.settings).await?;
            for peer in &self.peers {
                netlink.fdb_append(&link, &FdbEntry::peer(*peer)).await?;
            }
            netlink.set_up(&link).await?;
            Ok(link)
        })?;
        for address in &self.addresses {
            host.address(&self.name, address)?;
        }
        Ok(link)
    }
}
