//! What `vxgate up` builds: every value present, every rule between values held.
//!
//! ```text
//! command line ─┐
//! init script ──┤
//! environment ──┼─► UpOptions (layers) ──► UpConfig::new ──► up
//! file ─────────┘
//! ```
//!
//! Rules that need the host (routes, ports in use, names taken) are not here: `up` meets them.

pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod layers;
pub(crate) mod several;
pub(crate) mod user;
pub(crate) mod values;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use vxgate_codec::{ReservedBits, Vni};
use vxgate_core::HealthConfig;

use self::user::User;
use crate::args::up::UpOptions;
use crate::sandbox::Sandbox;
pub(crate) use error::ConfigError;
use values::{
    BusyPoll, CpuList, DeviceName, Df, Forward, LogFormat, MetricsAddr, MssClamp, Mtu, PeerShare, PeerSpec,
    SourcePort, StormLimit, TapLife, Threads, Tos, Ttl,
};

/// Most peers of one tunnel: the core's default limit of remote VTEPs.
pub(crate) const MAX_PEERS: usize = 1024;

/// How long an entry that nobody confirms stays, as in the kernel's device (`FDB_AGE_DEFAULT`, 300 s).
const DEFAULT_AGEING: Duration = Duration::from_secs(300);

/// How many MAC addresses the forwarding database holds by default.
const DEFAULT_MAX_MACS: u32 = 16384;

/// A tunnel as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpConfig {
    /// The device to make.
    pub(crate) dev: DeviceName,
    /// The segment.
    pub(crate) vni: Vni,
    /// The family of the underlay: that of every outer address here.
    pub(crate) family: Family,
    /// This host's outer address; `None` for the one that the route to the first peer uses.
    pub(crate) local: Option<IpAddr>,
    /// The interface of the underlay; `None` for the one that routing chooses. Present where a peer is a group.
    pub(crate) underlay: Option<DeviceName>,
    /// The peers in the order given, no two with the same outer or inner address; a multicast address is a group to join, and
    /// has no inner one.
    pub(crate) peers: Vec<PeerSpec>,
    /// The device's addresses, no two alike, no two in overlapping networks of different length.
    pub(crate) addresses: Vec<IpNet>,
    /// The UDP port to receive on and to send to.
    pub(crate) port: u16,
    /// The UDP port to send from.
    pub(crate) source_port: SourcePort,
    /// The device's MTU.
    pub(crate) mtu: Mtu,
    /// Networks to route into the tunnel, no host bits set, none that an address already routes.
    pub(crate) routes: Vec<IpNet>,
    /// Whether the forwarding database learns from received frames.
    pub(crate) learning: bool,
    /// When a learned entry goes; zero means never.
    pub(crate) ageing: Duration,
    /// Most entries of the forwarding database.
    pub(crate) max_macs: u32,
    /// Networks to accept datagrams from, besides the peers.
    pub(crate) accept_from: Vec<IpNet>,
    /// What happens to frames whose reserved bits are set.
    pub(crate) reserved_bits: ReservedBits,
    /// The TTL of outer datagrams.
    pub(crate) ttl: Ttl,
    /// The TOS of outer datagrams.
    pub(crate) tos: Tos,
    /// The don't-fragment bit of outer datagrams.
    pub(crate) df: Df,
    /// Whether outer datagrams carry a UDP checksum.
    pub(crate) udp_checksum: bool,
    /// Whether superframes and runs of datagrams are asked of the kernel.
    pub(crate) offload: bool,
    /// How many pairs of threads carry frames, at least 1; no more than there are source ports to hash to.
    pub(crate) workers: u16,
    /// How many threads each worker has.
    pub(crate) threads: Threads,
    /// Which device, and what becomes of it.
    pub(crate) tap: TapLife,
    /// A descriptor of the device that was left open for us; one worker then, and a device of somebody else's.
    pub(crate) tap_fd: Option<i32>,
    /// How the log is written.
    pub(crate) log_format: LogFormat,
    /// What a thread does while nothing is queued.
    pub(crate) busy_poll: BusyPoll,
    /// The processors that the threads are pinned to in turn; `None` for wherever the system puts them.
    pub(crate) affinity: Option<CpuList>,
    /// Whose packets are forwarded into the tunnel: nobody's, `on` alone, or networks without host bits, no two alike.
    pub(crate) forward: Vec<Forward>,
    /// Whether what is behind the tunnel may begin connections to those who are forwarded.
    pub(crate) forward_back: bool,
    /// What becomes of the segment size that TCP connections agree on.
    pub(crate) mss_clamp: MssClamp,
    /// How peers are probed; `None` for not at all.
    pub(crate) health: Option<HealthConfig>,
    /// The program that is told of a peer that goes down or comes back.
    pub(crate) on_event: Option<PathBuf>,
    /// Where metrics and health are served; `None` for nowhere.
    pub(crate) metrics: Option<MetricsAddr>,
    /// How much is flooded to each peer, and taken from it.
    pub(crate) storm_limit: StormLimit,
    /// How much of the forwarding database one peer may fill.
    pub(crate) max_macs_per_peer: PeerShare,
    /// Whether a MAC address that moves to and fro stays where it is for a while.
    pub(crate) flap_damping: bool,
    /// Whether threads that handle frames are confined.
    pub(crate) sandbox: Sandbox,
    /// Who the process that carries frames runs as.
    pub(crate) user: Option<User>,
    /// What the operator should know and is no error, a sentence each: for `up` to log at its start.
    pub(crate) notices: Vec<String>,
}

/// The family of the underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4: 50 octets of headers.
    V4,
    /// IPv6: 70 octets of headers.
    V6,
}

impl Family {
    fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

impl UpConfig {
    /// Fills in the defaults and checks the rules between values.
    pub(crate) fn new(options: UpOptions) -> Result<UpConfig, ConfigError> {
        if options.gate.gate_peers.is_some() && options.gate.vpg_id.is_some() {
            return Err(ConfigError::TwoGates);
        }
        // Coverage, endpoint and profile may be in the environment for `vxgate gate`.
        if options.gate.open_gate == Some(true) && options.gate.vpg_id.is_none() {
            return Err(ConfigError::OpensNoGate);
        }
        let port = options.port.unwrap_or(vxgate_gate::GATE_PORT);
        let health = HealthConfig::default();
        let mut notices = Vec::new();
        let config = UpConfig {
            dev: match options.dev {
                Some(dev) => dev,
                None => "vxlan0".parse().expect("the default device's name is one"),
            },
            vni: options.vni.unwrap_or(vxgate_gate::GATE_VNI),
            family: family(options.local, &options.peer, &options.accept_from)?,
            local: options.local,
            underlay: options.underlay,
            routes: routes(options.route, &options.address, &mut notices)?,
            peers: options.peer,
            addresses: options.address,
            port,
            source_port: options.source_port.unwrap_or(SourcePort::Fixed(port)),
            mtu: options.mtu.unwrap_or(Mtu::Auto),
            learning: options.learning.unwrap_or(true),
            ageing: options.ageing.unwrap_or(DEFAULT_AGEING),
            max_macs: options.max_macs.unwrap_or(DEFAULT_MAX_MACS),
            accept_from: options.accept_from,
            reserved_bits: options.reserved_bits.unwrap_or_default(),
            ttl: options.ttl.unwrap_or(Ttl::Auto),
            tos: options.tos.unwrap_or(Tos::Octet(0)),
            df: options.df.unwrap_or(Df::Unset),
            udp_checksum: options.udp_checksum.unwrap_or(true),
            offload: options.offload.unwrap_or(true),
            workers: options.workers.unwrap_or(1),
            threads: options.threads.unwrap_or(Threads::Two),
            tap: options.tap.unwrap_or(if options.tap_fd.is_some() {
                TapLife::Existing
            } else {
                TapLife::New
            }),
            tap_fd: options.tap_fd,
            log_format: options.log_format.unwrap_or_default(),
            busy_poll: options.busy_poll.unwrap_or(BusyPoll::Auto),
            affinity: options.affinity,
            forward: forward(options.forward)?,
            forward_back: options.forward_back.unwrap_or(false),
            mss_clamp: options.mss_clamp.unwrap_or(MssClamp::Auto),
            health: match options.health {
                Some(false) => None,
                Some(true) | None => Some(HealthConfig {
                    interval: options.probe_interval.unwrap_or(health.interval),
                    retry: options.probe_retry.unwrap_or(health.retry),
                    misses: options.probe_misses.unwrap_or(health.misses),
                    hold_down: options.hold_down.unwrap_or(health.hold_down),
                }),
            },
            on_event: options.on_event,
            metrics: options.metrics.filter(|address| *address != MetricsAddr::Off),
            storm_limit: options.storm_limit.unwrap_or(StormLimit::Auto),
            max_macs_per_peer: options.max_macs_per_peer.unwrap_or(PeerShare::Auto),
            flap_damping: options.flap_damping.unwrap_or(true),
            sandbox: options.sandbox.unwrap_or(Sandbox::On),
            user: options.user,
            notices: Vec::new(),
        };
        config.check_underlay()?;
        config.check_peers()?;
        config.check_inner(&mut notices)?;
        config.check_addresses()?;
        config.check_accept_from()?;
        config.check_workers()?;
        config.check_tap()?;
        config.check_health()?;
        if config.peers.is_empty() {
            notices.push(format!(
                "no --peer: frames go nowhere until `vxgate peer add IP dev {}` adds one",
                config.dev
            ));
        }
        notices.extend(config.unwatched());
        Ok(UpConfig { notices, ..config })
    }

    /// Tells of peers that health cannot watch, where there is another one to go on with.
    fn unwatched(&self) -> Option<String> {
        let hosts: Vec<_> = self.peers.iter().filter(|peer| !peer.outer.is_multicast()).collect();
        let blind: Vec<_> = hosts.iter().filter(|peer| peer.inner.is_none()).map(|peer| peer.outer).collect();
        if self.health.is_none() || hosts.len() < 2 {
            return None;
        }
        let first = blind.first()?;
        let names: Vec<_> = blind.iter().take(NAMED).map(ToString::to_string).collect();
        let more = if blind.len() > NAMED { " and others" } else { "" };
        Some(format!(
            "no inner address is known of {}{more}: the death of such a peer is not noticed; `vxgate up` takes it as \
             --peer {first}=INNER, where INNER is innerIpAddress of list-gate-peers",
            names.join(" ")
        ))
    }

    fn check_underlay(&self) -> Result<(), ConfigError> {
        if self.underlay.as_ref() == Some(&self.dev) {
            return Err(ConfigError::UnderlayIsDevice { dev: self.dev.clone() });
        }
        match self.local {
            Some(local) => {
                unusable_outer(local).map_or(Ok(()), |why| Err(ConfigError::LocalUnusable { local, why }))?;
                if local.is_multicast() {
                    return Err(ConfigError::LocalUnusable { local, why: "is a multicast group" });
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn check_peers(&self) -> Result<(), ConfigError> {
        if self.peers.len() > MAX_PEERS {
            return Err(ConfigError::TooManyPeers { count: self.peers.len() });
        }
        let mut seen = BTreeSet::new();
        for peer in self.outer_peers() {
            if !seen.insert(peer) {
                return Err(ConfigError::PeerTwice { peer });
            }
            if self.local == Some(peer) {
                return Err(ConfigError::PeerIsLocal { peer });
            }
            if let Some(why) = unusable_outer(peer) {
                return Err(ConfigError::PeerUnusable { peer, why });
            }
            if self.underlay.is_none() && (peer.is_multicast() || is_link_local(peer)) {
                return Err(ConfigError::PeerNeedsUnderlay { peer });
            }
            if peer.is_multicast() && self.accept_from.is_empty() {
                return Err(ConfigError::GroupNeedsAcceptFrom { peer });
            }
        }
        Ok(())
    }

    /// What health probes ask for.
    fn check_inner(&self, notices: &mut Vec<String>) -> Result<(), ConfigError> {
        let mut seen = BTreeSet::new();
        for peer in &self.peers {
            let Some(inner) = peer.inner else { continue };
            let unusable = |why| Err(ConfigError::InnerUnusable { inner, why });
            if peer.outer.is_multicast() {
                return Err(ConfigError::GroupHasInner { peer: peer.outer, inner });
            }
            if let Some(why) = unusable_probed(inner) {
                return unusable(why);
            }
            if self.addresses.iter().any(|address| address.addr() == inner) {
                return unusable("is an address of this host's own device");
            }
            if self.local == Some(inner) || self.outer_peers().any(|outer| outer == inner) {
                return unusable("is an outer address too");
            }
            if !seen.insert(inner) {
                return unusable("is given to two peers");
            }
            if !self.addresses.is_empty() && !self.addresses.iter().any(|address| address.contains(&inner)) {
                notices.push(format!(
                    "--peer {peer}: {inner} lies in no network of --address, so that the peer may not answer health probes"
                ));
            }
        }
        Ok(())
    }

    /// The outer addresses of the peers, groups included.
    pub(crate) fn outer_peers(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.peers.iter().map(|peer| peer.outer)
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        for (index, &address) in self.addresses.iter().enumerate() {
            if let Some(why) = unusable_inner(address) {
                return Err(ConfigError::AddressUnusable { address, why });
            }
            if self.local == Some(address.addr()) || self.outer_peers().any(|peer| peer == address.addr()) {
                return Err(ConfigError::AddressIsOuter { address });
            }
            for &other in &self.addresses[..index] {
                if other.addr() == address.addr() {
                    return Err(ConfigError::AddressTwice { address, other });
                }
                let overlap = other.contains(&address.network()) || address.contains(&other.network());
                if overlap && other.prefix_len() != address.prefix_len() {
                    return Err(ConfigError::AddressOverlap { address, other });
                }
            }
            if let (IpNet::V6(address), Mtu::Octets(mtu @ ..1280)) = (address, self.mtu) {
                return Err(ConfigError::MtuBelowIpv6 { mtu, address });
            }
        }
        Ok(())
    }

    /// Each worker hashes to source ports of its own.
    fn check_tap(&self) -> Result<(), ConfigError> {
        match self.tap_fd {
            Some(_) if self.tap != TapLife::Existing => Err(ConfigError::TapFdIsNotOurs),
            Some(_) if self.workers > 1 => Err(ConfigError::TapFdWorkers { workers: self.workers }),
            Some(_) | None => Ok(()),
        }
    }

    fn check_workers(&self) -> Result<(), ConfigError> {
        match &self.source_port {
            SourcePort::Hash(range) if range.len() < usize::from(self.workers) => {
                Err(ConfigError::FewerPortsThanWorkers { ports: range.len(), workers: self.workers })
            }
            SourcePort::Hash(_) | SourcePort::Fixed(_) => Ok(()),
        }
    }

    fn check_health(&self) -> Result<(), ConfigError> {
        match self.health {
            Some(HealthConfig { interval, retry, .. }) if retry > interval => {
                Err(ConfigError::RetryAboveInterval { retry, interval })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_accept_from(&self) -> Result<(), ConfigError> {
        match self.accept_from.iter().find(|network| network.addr() != network.network()) {
            Some(&network) => Err(ConfigError::HostBits { option: "accept-from", network }),
            None => Ok(()),
        }
    }
}

/// The one family of all outer addresses; IPv4 where none says.
fn family(local: Option<IpAddr>, peers: &[PeerSpec], accept_from: &[IpNet]) -> Result<Family, ConfigError> {
    let outer = local.iter().map(|ip| ("local", ip.to_string(), Family::of(*ip)));
    let outer =
        outer.chain(peers.iter().map(|peer| ("peer", peer.outer.to_string(), Family::of(peer.outer))));
    let mut outer =
        outer.chain(accept_from.iter().map(|net| ("accept-from", net.to_string(), Family::of(net.addr()))));
    let Some(first) = outer.next() else { return Ok(Family::V4) };
    match outer.find(|(_, _, family)| *family != first.2) {
        Some(other) => Err(ConfigError::MixedFamilies {
            option: other.0,
            value: other.1,
            family: other.2,
            first_option: first.0,
            first_value: first.1,
            first_family: first.2,
        }),
        None => Ok(first.2),
    }
}

/// The routes to add: not those that the kernel adds for the addresses, which a Gate's user may well name again.
fn routes(
    routes: Vec<IpNet>,
    addresses: &[IpNet],
    notices: &mut Vec<String>,
) -> Result<Vec<IpNet>, ConfigError> {
    let mut kept = Vec::new();
    for network in routes {
        if network.addr() != network.network() {
            return Err(ConfigError::HostBits { option: "route", network });
        }
        if kept.contains(&network) {
            return Err(ConfigError::RouteTwice { network });
        }
        if looks_like_a_network(network) {
            notices.push(format!(
                "--route {} is taken as {network}, one address: a network is written with its prefix",
                network.addr()
            ));
        }
        if let Some(address) = addresses.iter().find(|address| address.trunc() == network) {
            notices.push(format!("--route {network} is what --address {address} routes already"));
        } else {
            kept.push(network);
        }
    }
    Ok(kept)
}

/// Most peers that one notice names.
const NAMED: usize = 4;

/// Most networks of `--forward`: each takes up to three rules of some 450 octets of a request of 200 KiB.
pub(crate) const MAX_FORWARDED: usize = 64;

/// Whose packets are forwarded: `off` says nobody's, and stands alone as `on` does.
fn forward(given: Vec<Forward>) -> Result<Vec<Forward>, ConfigError> {
    if given.len() > MAX_FORWARDED {
        return Err(ConfigError::TooManyForwarded { count: given.len() });
    }
    for (index, one) in given.iter().enumerate() {
        match one {
            Forward::Network(network) if network.addr() != network.network() => {
                return Err(ConfigError::HostBits { option: "forward", network: *network });
            }
            _ if given[..index].contains(one) => return Err(ConfigError::ForwardTwice { given: *one }),
            Forward::On | Forward::Off if given.len() > 1 => {
                return Err(ConfigError::ForwardAlone { given: *one });
            }
            Forward::On | Forward::Off | Forward::Network(_) => {}
        }
    }
    Ok(if given == [Forward::Off] { Vec::new() } else { given })
}

/// Whether this one address ends as a network's does: its prefix was left out, most likely.
fn looks_like_a_network(network: IpNet) -> bool {
    let ends_in_zero = match network.addr() {
        IpAddr::V4(ip) => ip.octets()[3] == 0,
        IpAddr::V6(ip) => ip.segments()[7] == 0,
    };
    ends_in_zero && network.prefix_len() == network.max_prefix_len()
}

/// Why no host has this outer address.
pub(crate) fn unusable_outer(ip: IpAddr) -> Option<&'static str> {
    match ip {
        _ if ip.is_unspecified() => Some("is the unspecified address"),
        IpAddr::V4(ip) if ip.is_broadcast() => Some("is the broadcast address"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Why no peer has this inner address.
pub(crate) fn unusable_probed(inner: IpAddr) -> Option<&'static str> {
    if inner.is_multicast() || inner.is_loopback() {
        return Some("is no address of another host in the segment");
    }
    unusable_outer(inner)
}

/// Why a device cannot have this address.
fn unusable_inner(address: IpNet) -> Option<&'static str> {
    let ip = address.addr();
    if let Some(why) = unusable_outer(ip) {
        return Some(why);
    }
    if ip.is_multicast() {
        return Some("is a multicast group");
    }
    if ip.is_loopback() {
        return Some("is a loopback address");
    }
    if address.prefix_len() == 0 {
        return Some("has a prefix of 0 bits, which would route every destination into the tunnel");
    }
    // RFC 3021: a network of 31 bits has neither a network address nor a broadcast address.
    match address {
        IpNet::V4(net) if net.prefix_len() < 31 && net.addr() == net.network() => {
            Some("is the network itself, not a host in it")
        }
        IpNet::V4(net) if net.prefix_len() < 31 && net.addr() == net.broadcast() => {
            Some("is the network's broadcast address")
        }
        IpNet::V4(_) | IpNet::V6(_) => None,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
