//! `--forward`: this host as the router of a VPC's other machines into the tunnel.
//!
//! ```text
//!   VPC's machine ──► underlay ──► is its network given? ──► tunnel's device, its own address as source ──► device
//!                 ◄─────────────────────── answers only ◄──────────────────────────────────────────────────
//! ```
//!
//! Three things make it: a table of nftables (`rules`), settings of the links concerned and of no other (`settings`), and routes,
//! which are there already or are told to be missing (`obstacles`). The table is put in before the settings are made and goes after
//! they are undone, so that there is no moment in which more is forwarded than was asked for.

mod error;
pub(crate) mod obstacles;
mod rules;
mod settings;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vxgate_netlink::Netlink;
use vxgate_netlink::nft::{Lifetime, Nftables, Table};

use super::plan::Plan;
use crate::config::UpConfig;
use crate::config::values::{DeviceName, Forward};
use crate::control::runtime_dir::RuntimeDir;
pub(crate) use error::ForwardError;
use obstacles::Obstacle;
use rules::{table, table_name};
use settings::{Ledger, Settings};

/// The group of links that our devices are in while they are forwarded to: the port of VXLAN, which nobody else is likely to
/// number a group by. One tunnel's guard lets pass what goes to another tunnel.
const LINK_GROUP: u32 = 4789;

/// Time between two looks at whether the table is still there and still as it should be.
const LOOK: Duration = Duration::from_secs(5);

/// How often, and with what pause, a table is tried to be had that another process owns: the monitor of a tunnel that was killed ends
/// by itself, a moment later.
const HELD_ATTEMPTS: u32 = 20;
const HELD_PAUSE: Duration = Duration::from_millis(50);

/// A link by its number and its name.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Side {
    pub(crate) index: u32,
    pub(crate) name: String,
}

/// Who is forwarded, and between which links.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Way {
    /// The tunnel's device.
    pub(crate) tunnel: Side,
    /// The links that forwarded packets come by: the underlay's first, then others that the networks are routed by.
    pub(crate) links: Vec<Side>,
    /// Who is forwarded.
    pub(crate) sources: Sources,
    /// The device's own addresses, with their networks.
    pub(crate) inner: Vec<IpNet>,
    /// Whether what is behind the tunnel may begin a connection, too.
    pub(crate) back: bool,
    /// Whether strict reverse path filtering of the underlay would drop a network's packets, since they go back by another link.
    pub(crate) loosen: bool,
}

/// Who is forwarded into the tunnel.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sources {
    /// Whoever arrives by the underlay and is not of the tunnel's own networks.
    All,
    /// These networks, whichever link they arrive by.
    Networks(Vec<IpNet>),
}

impl Way {
    /// What `--forward` asks for on this host; none where it asks for nothing.
    pub(crate) async fn find(
        netlink: &Netlink,
        config: &UpConfig,
        plan: &Plan,
        tunnel: Side,
    ) -> Result<Option<Way>, ForwardError> {
        let networks = config.forward.iter().filter_map(Forward::network);
        let sources = match config.forward.as_slice() {
            [] => return Ok(None),
            given if given.contains(&Forward::On) => Sources::All,
            _ => Sources::Networks(networks.collect()),
        };
        let links = netlink.links().await?;
        let side = |index: u32| {
            let link = links.iter().find(|link| link.index == index)?;
            Some(Side { index, name: link.name.clone() })
        };
        let mut way = Way {
            links: vec![side(plan.underlay).ok_or(ForwardError::NoUnderlay)?],
            tunnel,
            sources,
            inner: config.addresses.clone(),
            back: config.forward_back,
            loosen: false,
        };
        way.check_addresses()?;
        if let Sources::Networks(networks) = &way.sources {
            for network in networks.iter().filter(|network| network.prefix_len() > 0) {
                // One that leads nowhere is told of as an obstacle, once all stands.
                let link = obstacles::link_to(netlink, *network).await.and_then(side);
                let Some(link) = link.filter(|link| link.index != way.tunnel.index) else {
                    continue;
                };
                if !way.links.contains(&link) {
                    way.loosen = true;
                    way.links.push(link);
                }
            }
        }
        Ok(Some(way))
    }

    /// A packet leaves with an address of the device: there must be one of its family.
    fn check_addresses(&self) -> Result<(), ForwardError> {
        let Sources::Networks(networks) = &self.sources else {
            return if self.inner.is_empty() { Err(ForwardError::NoAddress) } else { Ok(()) };
        };
        let same = |a: &IpNet, b: &IpNet| a.addr().is_ipv4() == b.addr().is_ipv4();
        let without = networks.iter().find(|network| !self.inner.iter().any(|inner| same(inner, network)));
        without.map_or(Ok(()), |network| Err(ForwardError::NoAddressFor { network: *network }))
    }

    /// Whether IPv4 is forwarded.
    pub(crate) fn ipv4(&self) -> bool {
        self.of_family(|network| network.addr().is_ipv4())
    }

    /// Whether IPv6 is forwarded.
    pub(crate) fn ipv6(&self) -> bool {
        self.of_family(|network| network.addr().is_ipv6())
    }

    fn of_family(&self, is: impl Fn(&IpNet) -> bool) -> bool {
        match &self.sources {
            Sources::All => self.inner.iter().any(is),
            Sources::Networks(networks) => networks.iter().any(is),
        }
    }

    /// Who is forwarded, for a person.
    fn who(&self) -> String {
        match &self.sources {
            Sources::All => "whatever arrives".to_owned(),
            Sources::Networks(networks) => {
                networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            }
        }
    }
}

/// Forwarding in force; dropping it undoes it.
pub(crate) struct Forwarding {
    way: Way,
    netlink: Netlink,
    /// What was in the way when it was last looked for.
    obstacles: Vec<Obstacle>,
    /// Before the table: what is no longer forwarded needs no filter, and not the other way round.
    settings: Settings,
    rules: Rules,
}

/// Puts right what killed tunnels left, before this one waits for anything: without their table it forwards for everybody.
///
/// # Errors
/// The notes of it cannot be had.
pub(crate) fn put_right(dev: &DeviceName) -> Result<(), ForwardError> {
    for left in Ledger::new(&RuntimeDir::from_environment(), dev).put_right()? {
        tracing::warn!("{left}");
    }
    Ok(())
}

/// Our table in the kernel.
struct Rules {
    nftables: Nftables,
    table: Table,
    lifetime: Lifetime,
}

impl Drop for Rules {
    fn drop(&mut self) {
        match self.lifetime {
            // It goes with the socket.
            Lifetime::Owned => {}
            Lifetime::UntilDeleted => {
                if let Err(error) = self.nftables.delete(&self.table.name)
                    && !error.is_missing()
                {
                    tracing::warn!("{error}");
                }
            }
        }
    }
}

impl Forwarding {
    /// Begins to forward for the tunnel of this device.
    pub(crate) async fn start(
        netlink: &Netlink,
        dev: &DeviceName,
        way: Way,
    ) -> Result<Forwarding, ForwardError> {
        let ledger = Ledger::new(&RuntimeDir::from_environment(), dev);
        let link = netlink.link_by_index(way.tunnel.index).await?;
        netlink.set_group(&link, LINK_GROUP).await?;

        let rules = Rules::put_in_soon(&way, &ledger).await?;
        let settings = Settings::make(ledger, &way)?;
        tracing::info!(
            "forwarding {} from {} into {}, as {}; back come {}",
            way.who(),
            way.links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(" "),
            way.tunnel.name,
            way.inner.iter().map(|net| net.addr().to_string()).collect::<Vec<_>>().join(" "),
            if way.back { "connections too" } else { "answers only" },
        );
        let netlink = netlink.clone();
        let mut forwarding = Forwarding { way, netlink, obstacles: Vec::new(), settings, rules };
        forwarding.look_for_obstacles().await;
        Ok(forwarding)
    }

    /// Tells what has come into the way since the last look, and what has gone out of it.
    async fn look_for_obstacles(&mut self) {
        let found = obstacles::find(&self.netlink, &self.way).await;
        for Obstacle { found, next_step } in found.iter().filter(|one| !self.obstacles.contains(one)) {
            tracing::warn!("{found}; {next_step}");
        }
        for gone in self.obstacles.iter().filter(|one| !found.contains(one)) {
            tracing::info!("no longer so: {}", gone.found);
        }
        self.obstacles = found;
    }

    /// Keeps the table as it should be for as long as it is polled: it is put in again where somebody took it out, and without its
    /// guard once the host forwards for everybody. What comes into the way is told.
    pub(crate) async fn keep(&mut self) -> Infallible {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first is at once, and all was looked at a moment ago.
        looks.tick().await;
        loop {
            looks.tick().await;
            self.look_for_obstacles().await;
            let wanted = table(&self.way, &self.settings.guards());
            let there = self.rules.nftables.has_table(&wanted.name).unwrap_or(true);
            if there && wanted == self.rules.table {
                continue;
            }
            match self.rules.nftables.replace(&wanted) {
                Ok(_) => {
                    let why = if there { "the host's own forwarding changed" } else { "it was deleted" };
                    tracing::warn!("table {} of nftables is put in anew: {why}", wanted.name);
                    self.rules.table = wanted;
                }
                Err(error) => tracing::warn!("{error}"),
            }
        }
    }
}

impl Rules {
    /// As [`Rules::put_in`]; a table whose tunnel was killed a moment ago is waited for.
    async fn put_in_soon(way: &Way, ledger: &Ledger) -> Result<Rules, ForwardError> {
        for _ in 0..HELD_ATTEMPTS {
            match Rules::put_in(way, ledger) {
                Err(ForwardError::TableHeld { .. }) => tokio::time::sleep(HELD_PAUSE).await,
                put_in => return put_in,
            }
        }
        Rules::put_in(way, ledger)
    }

    fn put_in(way: &Way, ledger: &Ledger) -> Result<Rules, ForwardError> {
        let name = table_name(&way.tunnel.name);
        let refused = |source: vxgate_netlink::Error, held: bool| {
            if held && source.is_denied() {
                ForwardError::TableHeld { name: name.clone() }
            } else if source.is_denied() {
                ForwardError::Netlink(source)
            } else {
                ForwardError::NoTables { by_hand: rules::by_hand(way), source }
            }
        };
        let nftables = Nftables::open().map_err(|error| refused(error, false))?;
        let held = nftables.has_table(&name).map_err(|error| refused(error, false))?;
        // Its settings are not made yet, so that each guard is up.
        let table = table(way, &settings::guards_now(way, ledger)?);
        let lifetime = nftables.replace(&table).map_err(|error| refused(error, held))?;
        if held {
            tracing::warn!("table {name} of nftables was left by another: it is replaced");
        }
        let rules = Rules { nftables, table, lifetime };
        if lifetime == Lifetime::UntilDeleted {
            ledger.note_table(&name)?;
        }
        Ok(rules)
    }
}
