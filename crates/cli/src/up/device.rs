//! The device: made, taken over from a tunnel that ended, or somebody else's; and what becomes of it.
//!
//! ```text
//!                      no link of the name          a link that DEV.kept names       any other link
//!   --tap new          made; gone with the tunnel   removed, made anew               refused
//!   --tap keep         made, kept                   taken over, kept                 refused
//!   --tap existing     refused                      attached to, left                attached to, left
//! ```
//!
//! A device that is not kept lives as long as its descriptor, and its addresses and routes as long as the device: dropping the
//! descriptor undoes all, whatever ends the process. A kept one is persistent (`TUNSETPERSIST`) from when it is set up, so that a start
//! that fails half-way leaves nothing. `DEV.kept` in the runtime directory is written before, and says which link is ours (by its number,
//! in which namespace, of which boot) and which addresses and routes we gave it: so that the next start takes away what is no longer
//! configured, and nothing that others added. A stale file names no link that there is, and is written over.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vxgate_netlink::{Link, Netlink};
use vxgate_sys::inherit;
use vxgate_sys::plain_tap::PlainTap;
use vxgate_sys::tap::{Offload, Tap, TapError, TapOptions};

use super::error::UpError;
use super::mtu::gso_max_octets;
use super::owner::tap_owner;
use super::plan::Plan;
use super::process::runtime;
use super::tunnel::device_mac;
use crate::config::UpConfig;
use crate::config::values::{DeviceName, TapLife};
use crate::control::runtime_dir::RuntimeDir;
use crate::control::server::Listener;
use crate::own_file;

/// Frames that the device queues while the tunnel is busy elsewhere: a TAP drops silently when it is full, and the
/// default of 1000 is a burst of 0.7 ms of the shortest frames at 1 Gb/s.
const TX_QUEUE_LEN: u32 = 5000;

/// How to come by the device.
#[derive(Clone, Debug)]
pub(crate) enum Claim {
    /// It is to be made.
    New,
    /// A tunnel of ours left it.
    Kept { index: u32, record: Record },
    /// It is somebody else's.
    Existing { index: u32 },
}

/// What a tunnel remembers of a device that outlives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    index: u32,
    namespace: u64,
    boot: String,
    addresses: Vec<String>,
    routes: Vec<String>,
}

impl Claim {
    /// How the configuration and the links that there are say to.
    pub(crate) fn of(config: &UpConfig, links: &[Link]) -> Result<Claim, UpError> {
        let taken = links.iter().find(|link| link.name == config.dev.as_str());
        let is_tap = |link: &Link| link.kind.as_deref() == Some("tun");
        match (config.tap, taken) {
            (TapLife::Existing, None) => Err(UpError::NoSuchTap { dev: config.dev.to_string() }),
            (TapLife::Existing, Some(link)) if is_tap(link) => Ok(Claim::Existing { index: link.index }),
            (TapLife::Existing, Some(link)) => {
                Err(UpError::NotATap { dev: link.name.clone(), kind: link.kind.clone() })
            }
            (TapLife::New | TapLife::Keep, None) => Ok(Claim::New),
            (TapLife::New | TapLife::Keep, Some(link)) => {
                match Record::read(&config.dev).filter(|record| is_tap(link) && record.is_of(link)) {
                    Some(record) => Ok(Claim::Kept { index: link.index, record }),
                    None => Err(name_taken(link)),
                }
            }
        }
    }

    /// Whether it is the link of this number.
    pub(crate) fn is(&self, link: u32) -> bool {
        match self {
            Claim::New => false,
            Claim::Kept { index, .. } | Claim::Existing { index } => *index == link,
        }
    }

    fn record(&self) -> Option<&Record> {
        match self {
            Claim::Kept { record, .. } => Some(record),
            Claim::New | Claim::Existing { .. } => None,
        }
    }
}

fn name_taken(link: &Link) -> UpError {
    let owner = if link.kind.as_deref() == Some("tun") { tap_owner(&link.name) } else { None };
    UpError::NameTaken { dev: link.name.clone(), kind: link.kind.clone(), owner }
}

impl Record {
    /// What the last tunnel of this device left; `None` where it left nothing, or nothing that we could have written.
    fn read(dev: &DeviceName) -> Option<Record> {
        let file = own_file::open(&RuntimeDir::from_environment().kept(dev)).ok()?;
        serde_json::from_str(&io::read_to_string(file).ok()?).ok()
    }

    /// Of a link that was given these.
    pub(super) fn of(link: &Link, addresses: &[IpNet], routes: &[IpNet]) -> io::Result<Record> {
        Ok(Record {
            index: link.index,
            namespace: namespace()?,
            boot: boot()?,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            routes: routes.iter().map(ToString::to_string).collect(),
        })
    }

    fn is_of(&self, link: &Link) -> bool {
        let here = namespace().ok().zip(boot().ok());
        self.index == link.index && here.is_some_and(|(ns, boot)| ns == self.namespace && boot == self.boot)
    }

    /// In place of the former one at once: whoever is killed here leaves the one or the other.
    pub(super) fn write(&self, dev: &DeviceName) -> Result<(), UpError> {
        let path = RuntimeDir::from_environment().kept(dev);
        let beside = path.with_extension("kept.new");
        let written = serde_json::to_vec(self).map_err(io::Error::from).and_then(|octets| {
            own_file::write(&beside, &octets)?;
            fs::rename(&beside, &path)
        });
        written.map_err(|source| UpError::Record { path: path.display().to_string(), source })
    }
}

/// This process's network namespace.
fn namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/net")?.ino())
}

/// This boot of the machine (random(4)).
fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The TAP with a virtio header, one queue for each worker, or the plain one where the kernel refuses it.
pub(super) enum AnyTap {
    Offload(Vec<Tap>),
    Plain(Arc<PlainTap>),
}

impl AnyTap {
    /// Comes by the device as the plan claims it.
    pub(super) async fn open(netlink: &Netlink, config: &UpConfig, claim: &Claim) -> Result<AnyTap, UpError> {
        match (claim, config.tap_fd) {
            (Claim::New, _) => AnyTap::make(config),
            (Claim::Existing { .. }, Some(number)) => AnyTap::take(config, number),
            (Claim::Existing { .. }, None) => match attach(config, false) {
                Ok(queues) => Ok(AnyTap::Offload(queues)),
                Err(TapError::NameTaken { name }) => {
                    Err(UpError::TapHeld { owner: tap_owner(&name), dev: name })
                }
                Err(error) => Err(error.into()),
            },
            (Claim::Kept { index, .. }, _) => {
                let why = match config.tap {
                    TapLife::Keep => match attach(config, false) {
                        Ok(queues) => {
                            tracing::info!("{} was kept: taking it over", config.dev);
                            return Ok(AnyTap::Offload(queues));
                        }
                        Err(error) => error.to_string(),
                    },
                    TapLife::New | TapLife::Existing => "it is not to be kept any longer".to_owned(),
                };
                let link = netlink.link_by_index(*index).await?;
                if tap_owner(&link.name).is_some() {
                    return Err(name_taken(&link));
                }
                tracing::warn!("{} was kept, and is made anew: {why}", config.dev);
                netlink.link_delete(&link).await?;
                AnyTap::make(config)
            }
        }
    }

    fn make(config: &UpConfig) -> Result<AnyTap, UpError> {
        match attach(config, true) {
            Ok(queues) => {
                tracing::debug!(offload = ?queues.first().map(Tap::offload), "the device's offloads");
                Ok(AnyTap::Offload(queues))
            }
            Err(TapError::FlagsRefused) if config.workers == 1 => {
                tracing::info!("the kernel refuses a TAP with a virtio header: using a plain one");
                Ok(AnyTap::Plain(Arc::new(PlainTap::open(config.dev.as_str())?)))
            }
            Err(TapError::FlagsRefused) => Err(UpError::NoQueues { workers: config.workers }),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the descriptor that was left open for us.
    fn take(config: &UpConfig, number: i32) -> Result<AnyTap, UpError> {
        let useless = |source| UpError::TapFd { number, source };
        let fd = || inherit::take(number).map_err(|error| useless(error.into()));
        let tap = match Tap::from_fd_with(fd()?, offload(config)) {
            Ok(tap) => AnyTap::Offload(vec![tap]),
            Err(TapError::FlagsRefused) => {
                AnyTap::Plain(Arc::new(PlainTap::from_fd(fd()?).map_err(useless)?))
            }
            Err(error) => return Err(useless(error)),
        };
        if tap.name() != config.dev.as_str() {
            let (name, dev) = (tap.name().to_owned(), config.dev.to_string());
            return Err(UpError::TapFdName { number, name, dev });
        }
        Ok(tap)
    }

    pub(super) fn name(&self) -> &str {
        match self {
            AnyTap::Offload(queues) => queues.first().map_or("", Tap::name),
            AnyTap::Plain(tap) => tap.name(),
        }
    }

    pub(super) fn set_persistent(&self, persistent: bool) -> io::Result<()> {
        match self {
            AnyTap::Offload(queues) => queues.first().map_or(Ok(()), |tap| tap.set_persistent(persistent)),
            AnyTap::Plain(tap) => tap.set_persistent(persistent),
        }
    }
}

fn offload(config: &UpConfig) -> Offload {
    if config.offload { Offload::ALL } else { Offload::NONE }
}

fn attach(config: &UpConfig, exclusive: bool) -> Result<Vec<Tap>, TapError> {
    let options = TapOptions { offload: offload(config), exclusive, ..TapOptions::new(config.dev.as_str()) };
    match config.workers {
        // A device of one queue is nobody else's.
        1 => Tap::open(&options).map(|tap| vec![tap]),
        workers => Tap::open_queues(&options, workers.into()),
    }
}

/// Gives the device what is configured, and takes away what a former tunnel gave it and is configured no longer. Nothing that is
/// right is touched.
pub(super) async fn set_up(
    netlink: &Netlink,
    link: &Link,
    config: &UpConfig,
    plan: &Plan,
) -> Result<(), UpError> {
    let is_ours = config.tap != TapLife::Existing;
    let mac = device_mac(config, plan.local).octets();
    if is_ours && link.mac != mac {
        netlink.set_mac(link, mac).await?;
    }
    if link.mtu != plan.mtu {
        match netlink.set_mtu(link, plan.mtu).await {
            Err(error) if !is_ours && error.is_denied() => {
                tracing::warn!(
                    "{} keeps its MTU of {}, where {} would be right: its owner sets it",
                    link.name,
                    link.mtu,
                    plan.mtu
                );
            }
            set => set?,
        }
    }
    if is_ours && link.tx_queue_len != TX_QUEUE_LEN {
        netlink.set_tx_queue_len(link, TX_QUEUE_LEN).await?;
    }
    if let Err(error) = netlink.set_gso_max_size(link, gso_max_octets(plan.mtu)).await {
        // Before Linux 4.17 it cannot be set: superframes are as large as the kernel likes, and some take two sends.
        tracing::debug!("{error}");
    }
    set_addresses(netlink, link, config, plan.claim.record()).await?;
    if !link.up {
        match netlink.set_up(link).await {
            Err(error) if !is_ours && error.is_denied() => {
                tracing::warn!("{} is down: nothing passes until its owner sets it up", link.name);
            }
            set => set?,
        }
    }
    set_routes(netlink, link, config, plan.claim.record()).await
}

/// What of a former tunnel's list is configured no longer.
fn left_over<'a>(former: &'a [String], now: &'a [IpNet]) -> impl Iterator<Item = IpNet> + 'a {
    let former = former.iter().filter_map(|text| text.parse::<IpNet>().ok());
    former.filter(|network| !now.contains(network))
}

async fn set_addresses(
    netlink: &Netlink,
    link: &Link,
    config: &UpConfig,
    former: Option<&Record>,
) -> Result<(), UpError> {
    let here: Vec<IpNet> = netlink.addresses_of(link).await?.iter().map(|address| address.ip).collect();
    let former = former.map_or(&[][..], |record| &record.addresses);
    for address in left_over(former, &config.addresses).filter(|address| here.contains(address)) {
        netlink.address_delete(link, address).await?;
    }
    for &address in config.addresses.iter().filter(|address| !here.contains(address)) {
        // The Gate gave the address to this host: nobody has to be asked first.
        netlink.address_add_nodad(link, address).await?;
    }
    Ok(())
}

async fn set_routes(
    netlink: &Netlink,
    link: &Link,
    config: &UpConfig,
    former: Option<&Record>,
) -> Result<(), UpError> {
    let former = former.map_or(&[][..], |record| &record.routes);
    for route in left_over(former, &config.routes) {
        if let Err(error) = netlink.route_delete(route, link, None).await {
            tracing::debug!("{error}");
        }
    }
    for &route in &config.routes {
        let added = netlink.route_add(route, link, None, None).await;
        route_added(netlink, link, route, added).await?;
    }
    Ok(())
}

/// What it means that a route over the device was added, or was refused: whether it was not there before.
pub(super) async fn route_added(
    netlink: &Netlink,
    link: &Link,
    route: IpNet,
    added: Result<(), vxgate_netlink::Error>,
) -> Result<bool, UpError> {
    match added {
        Err(error) if error.is_exists() => is_in_place(netlink, link, route, error).await.map(|()| false),
        added => Ok(added.map(|()| true)?),
    }
}

/// Whether the route that is there is the device's own; else names the one that is in the way, where it can be seen.
async fn is_in_place(
    netlink: &Netlink,
    link: &Link,
    network: IpNet,
    error: vxgate_netlink::Error,
) -> Result<(), UpError> {
    let routes = netlink.routes().await.unwrap_or_default();
    let same = routes.into_iter().filter(|route| route.prefix == network);
    let Some(route) = same.min_by_key(|route| route.metric) else { return Err(error.into()) };
    if route.link == Some(link.index) {
        return Ok(());
    }
    let links = netlink.links().await.unwrap_or_default();
    let link = links.into_iter().find(|link| Some(link.index) == route.link).map(|link| link.name);
    Err(UpError::RouteTaken { network, link, gateway: route.gateway })
}

/// Has a device that is set up outlive the tunnel, where it is to.
pub(super) fn keep(
    config: &UpConfig,
    claim: &Claim,
    link: &Link,
    set_persistent: impl FnOnce(bool) -> io::Result<()>,
) -> Result<(), UpError> {
    if config.tap != TapLife::Keep {
        return Ok(());
    }
    // What was written down before is right as it is.
    let record = Record::of(link, &config.addresses, &config.routes).map_err(UpError::Start)?;
    if claim.record() != Some(&record) {
        record.write(&config.dev)?;
    }
    set_persistent(true).map_err(UpError::Start)
}

/// Removes a kept device that no tunnel runs on; whether there was one and it is gone.
pub(crate) fn remove_kept(dev: &DeviceName) -> bool {
    let Some(record) = Record::read(dev) else { return false };
    let runtime_dir = RuntimeDir::from_environment();
    // Whoever has the lock runs on it.
    let Ok(_lock) = Listener::bind(&runtime_dir, dev) else { return false };
    let removed = runtime().and_then(|runtime| {
        let removed = runtime.block_on(async {
            let netlink = Netlink::open()?;
            let link = netlink.link_by_name(dev.as_str()).await?;
            if record.is_of(&link) { netlink.link_delete(&link).await.map(|()| true) } else { Ok(false) }
        });
        removed.map_err(io::Error::other)
    });
    let is_gone = removed.unwrap_or(false);
    if is_gone {
        let _ = fs::remove_file(runtime_dir.kept(dev));
    }
    is_gone
}
