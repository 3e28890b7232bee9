//! Who does what is ordered, and refuses what was not granted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use ipnet::IpNet;
use tokio::task::JoinHandle;
use vxgate_netlink::{Error, Link, Netlink, Route};

use super::order::{Grant, Order, Request};
use crate::config::UpConfig;
use crate::config::values::DeviceName;
use crate::control::runtime_dir::RuntimeDir;
use crate::up::device::Record;
use crate::up::error::UpError;
use crate::up::forward::Forwarding;
use crate::up::gate::keep_answer;
use crate::up::hook::Hook;
use crate::up::mtu::gso_max_octets;
use crate::up::plan::leads_inside;
use crate::up::reload::Reread;

/// What a device's MTU may be: IPv4's least (RFC 791) and the kernel's most for Ethernet (`ETH_MAX_MTU`).
const MTU_OCTETS: std::ops::RangeInclusive<u32> = 68..=65_535;

/// Does what is ordered.
pub(super) struct Executor {
    netlink: Netlink,
    tunnels: BTreeMap<String, Tunnel>,
    is_sealed: bool,
    reread: Option<Reread>,
}

/// What was granted to a tunnel, and what runs for it.
struct Tunnel {
    grant: Grant,
    /// Addresses and routes as the configuration says them now; granted are those that it ever said.
    now: (Vec<IpNet>, Vec<IpNet>),
    hook: Option<Hook>,
    forwarding: Option<JoinHandle<()>>,
}

impl Executor {
    /// One that has granted nothing yet. Needs a runtime.
    pub(super) fn new(reread: Option<Reread>) -> Result<Executor, UpError> {
        Ok(Executor { netlink: Netlink::open()?, tunnels: BTreeMap::new(), is_sealed: false, reread })
    }

    /// Does as it is told.
    pub(super) async fn execute(&mut self, request: Request) -> Result<(), UpError> {
        match request {
            Request::Grant { dev, grant } => self.grant(&dev, *grant),
            Request::Seal { quiet } => {
                self.is_sealed = true;
                if quiet {
                    leave_stderr();
                }
                Ok(())
            }
            Request::Reread => self.reread(),
            Request::Order { dev, order } => match self.tunnels.get_mut(&dev) {
                Some(tunnel) => tunnel.execute(&self.netlink, &dev, order).await,
                None => Err(refused("do anything for", dev, "nothing is granted to it").into()),
            },
        }
    }

    /// Undoes what runs.
    pub(super) async fn end(&mut self) {
        for tunnel in self.tunnels.values_mut() {
            tunnel.end_forwarding().await;
        }
    }

    fn grant(&mut self, dev: &str, grant: Grant) -> Result<(), UpError> {
        let refuse = |why| Err(refused("grant more to", dev.to_owned(), why).into());
        if self.is_sealed || self.tunnels.contains_key(dev) {
            return refuse("all was granted at the start");
        }
        if dev.parse::<DeviceName>().is_err() {
            return refuse("it is no name of a device");
        }
        let hook = grant.on_event.clone().map(Hook::new);
        let now = (grant.addresses.clone(), grant.routes.clone());
        self.tunnels.insert(dev.to_owned(), Tunnel { grant, now, hook, forwarding: None });
        Ok(())
    }

    /// Grants what the configuration says now, by the monitor's own reading of it.
    fn reread(&mut self) -> Result<(), UpError> {
        let Some(reread) = &self.reread else { return Ok(()) };
        let said = reread.read().map_err(|failure| UpError::Told {
            why: failure.why(),
            hint: failure.hint().map(str::to_owned),
        })?;
        for UpConfig { dev, addresses, routes, .. } in said {
            if let Some(Tunnel { grant, now, .. }) = self.tunnels.get_mut(dev.as_str()) {
                // What was granted before may have to be put back, or taken away.
                for (granted, said) in [(&mut grant.addresses, &addresses), (&mut grant.routes, &routes)] {
                    granted.extend(said);
                    granted.sort_unstable();
                    granted.dedup();
                }
                *now = (addresses, routes);
            }
        }
        Ok(())
    }
}

impl Tunnel {
    async fn execute(&mut self, netlink: &Netlink, dev: &str, order: Order) -> Result<(), UpError> {
        let Tunnel { grant, now, hook, forwarding } = self;
        match order {
            Order::SetMtu { octets } => {
                let link = link(netlink, grant).await?;
                if !MTU_OCTETS.contains(&octets) {
                    return Err(refused("set the MTU of", link.to_string(), "that is none").into());
                }
                netlink.set_mtu(&link, octets).await?;
                if let Err(error) = netlink.set_gso_max_size(&link, gso_max_octets(octets)).await {
                    // Before Linux 4.17 it cannot be set.
                    tracing::debug!("{error}");
                }
            }
            Order::AddAddress(address) => {
                grant.check_address(address)?;
                netlink.address_add_nodad(&link(netlink, grant).await?, address).await?;
            }
            Order::DeleteAddress(address) => {
                grant.check_address(address)?;
                netlink.address_delete(&link(netlink, grant).await?, address).await?;
            }
            Order::AddRoute(route) => {
                let link = link(netlink, grant).await?;
                grant.check_route(netlink, route).await?;
                netlink.route_add(route, &link, None, None).await?;
            }
            Order::DeleteRoute(route) => {
                // It is only ever taken from this tunnel's device.
                netlink.route_delete(route, &link(netlink, grant).await?, None).await?;
            }
            Order::Remember => {
                let link = link(netlink, grant).await?;
                if grant.kept {
                    let record = Record::of(&link, &now.0, &now.1).map_err(UpError::Start)?;
                    record.write(&name(dev)?)?;
                }
            }
            Order::Forward => {
                let Some(way) = grant.forward.clone() else {
                    return Err(refused("forward into", dev.to_owned(), "nothing of that is granted").into());
                };
                if forwarding.is_none() {
                    let mut begun = Forwarding::start(netlink, &name(dev)?, way).await?;
                    *forwarding = Some(tokio::spawn(async move { match begun.keep().await {} }));
                }
            }
            Order::EndForwarding => self.end_forwarding().await,
            Order::Tell(told) => {
                if let Some(hook) = hook {
                    hook.tell_checked(told);
                }
            }
            Order::KeepAnswer(text) => {
                let Some(path) = &grant.answers else {
                    return Err(refused("keep an answer for", dev.to_owned(), "none is granted").into());
                };
                keep_answer(path, text.as_bytes())
                    .map_err(|source| UpError::Told { why: source.to_string(), hint: None })?;
            }
            Order::RemoveDevice => {
                if grant.kept {
                    netlink.link_delete(&link(netlink, grant).await?).await?;
                    let _ = fs::remove_file(RuntimeDir::from_environment().kept(&name(dev)?));
                }
            }
            Order::Leave => {
                let (dir, dev) = (RuntimeDir::from_environment(), name(dev)?);
                // In this order: whoever finds the lock gone may come.
                for path in [dir.socket(&dev), dir.lock(&dev)] {
                    remove(&path);
                }
            }
        }
        Ok(())
    }

    async fn end_forwarding(&mut self) {
        if let Some(forwarding) = self.forwarding.take() {
            forwarding.abort();
            // Dropped, and with it undone.
            let _ = forwarding.await;
        }
    }
}

impl Grant {
    fn check_address(&self, address: IpNet) -> Result<(), Error> {
        if self.addresses.contains(&address) { Ok(()) } else { Err(not_granted("address", address)) }
    }

    async fn check_route(&self, netlink: &Netlink, route: IpNet) -> Result<(), Error> {
        if self.routes.contains(&route) {
            return Ok(());
        }
        let routes = if self.follows_api { netlink.routes().await? } else { Vec::new() };
        let elsewhere: Vec<Route> =
            routes.into_iter().filter(|route| route.link != Some(self.link)).collect();
        if self.may_follow(route, &elsewhere) { Ok(()) } else { Err(not_granted("route", route)) }
    }

    /// Whether the API may have a route made: never one that leads the tunnel into itself, nor all there is.
    fn may_follow(&self, route: IpNet, elsewhere: &[Route]) -> bool {
        self.follows_api
            && route.prefix_len() > 0
            && !self.outside.iter().any(|outside| leads_inside(route, *outside, elsewhere))
    }
}

/// The tunnel's device, if the link of that number still is one.
async fn link(netlink: &Netlink, grant: &Grant) -> Result<Link, Error> {
    let link = netlink.link_by_index(grant.link).await?;
    match link.kind.as_deref() {
        Some("tun") => Ok(link),
        _ => Err(refused("change", link.to_string(), "it is not the tunnel's device")),
    }
}

fn refused(operation: &'static str, object: String, reason: &str) -> Error {
    let errno = rustix::io::Errno::PERM.raw_os_error();
    Error::Refused { operation: Cow::Borrowed(operation), object, errno, reason: Some(reason.to_owned()) }
}

fn not_granted(what: &str, network: IpNet) -> Error {
    refused("change", format!("{what} {network}"), "the configuration does not say it")
}

fn name(dev: &str) -> Result<DeviceName, UpError> {
    dev.parse().map_err(|_| UpError::Start(io::ErrorKind::InvalidInput.into()))
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!("{}: {error}", path.display());
    }
}

/// Lets go of standard error, which somebody may wait for the end of.
fn leave_stderr() {
    // Without a /dev/null there is nothing better than what is there.
    if let Ok(null) = fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
