//! The device and the threads behind it: made in one go, gone with the value.
//!
//! The TAP device lives as long as its descriptor, and its addresses and routes as long as the device. So there is no list
//! of things to undo: whatever fails on the way, and whatever ends the process, dropping the descriptor undoes all.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use vxgate_codec::MacAddr;
use vxgate_core::{PathDiscovery, Prefix, Remote, Segment, SegmentConfig, Timestamp};
use vxgate_forwarder::{
    BusyPoll, Forwarder, Inherit, Joins, OuterPolicy, PlainTapPort, SecondThread, TapOffload, TapPort,
    UdpBuffers, UdpErrors, UdpHub, UdpOffload, WorkerOptions,
};
use vxgate_netlink::Netlink;
use vxgate_sys::tap::Offload;

use super::device::{self, AnyTap};
use super::error::UpError;
use super::mtu::{inner_mtu, mss_limit};
use super::plan::Plan;
use super::sockets::{Ports, Sockets};
use crate::config::UpConfig;
use crate::config::values::{self, CpuList, Df, Mtu, PeerSpec, Tos, Ttl};
use crate::sandbox::Confinement;

/// A tunnel that forwards.
pub(crate) struct Tunnel {
    pub(crate) forwarder: Forwarder,
    pub(crate) dev: String,
    /// The device's number.
    pub(crate) link: u32,
    /// What the kernel and the tunnel do for many frames at once.
    pub(crate) offload: OffloadView,
    pub(crate) local: SocketAddr,
    pub(crate) buffers: UdpBuffers,
    /// Who tells what the network says of the tunnel's datagrams, until somebody listens.
    pub(super) reports: Option<ReportsOf>,
}

/// Who tells what the network says of a tunnel's datagrams.
pub(super) enum ReportsOf {
    /// Its own sockets.
    Own(UdpErrors),
    /// The hub whose sockets it shares; which must outlive the forwarder.
    Hub(Arc<UdpHub>),
}

/// What is known of sockets before they are used.
struct Known {
    local: SocketAddr,
    udp: Arc<UdpOffload>,
    buffers: UdpBuffers,
}

impl Known {
    fn of(sockets: &Sockets) -> io::Result<Known> {
        match sockets {
            Sockets::Own(underlays) => {
                // All of them have the same address, sizes and offloads.
                let underlay = underlays.first().ok_or(io::ErrorKind::InvalidInput)?;
                Ok(Known {
                    local: underlay.local_addr()?,
                    udp: underlay.offload(),
                    buffers: underlay.buffers()?,
                })
            }
            Sockets::Hub(hub) => {
                Ok(Known { local: hub.local_addr()?, udp: hub.offload(), buffers: hub.buffers()? })
            }
        }
    }
}

impl Tunnel {
    /// Makes the device and the sockets and starts forwarding.
    pub(crate) async fn start(
        netlink: &Netlink,
        config: &UpConfig,
        plan: &Plan,
        ports: &Ports,
    ) -> Result<Tunnel, UpError> {
        let workers = worker_options(config);
        let sockets = ports.open(netlink, config, plan, &workers).await?;
        let tap = AnyTap::open(netlink, config, &plan.claim).await?;
        let link = netlink.link_by_name(tap.name()).await?;
        device::set_up(netlink, &link, config, plan).await?;
        device::keep(config, &plan.claim, &link, |persistent| tap.set_persistent(persistent))?;

        let mut segment = Segment::new(segment_config(config));
        for &PeerSpec { outer, inner } in &config.peers {
            let added = segment.peer_add(Remote::new(outer), Timestamp::default());
            let added = added.and_then(|_| match inner {
                Some(_) => segment.peer_set_inner(outer, inner),
                // A multicast group never has one.
                None => Ok(()),
            });
            added.map_err(|source| UpError::Peer { peer: outer, source })?;
        }
        for &(peer, octets) in &plan.paths {
            segment.set_link_mtu(peer, Some(octets), Timestamp::default());
        }
        let discovery =
            PathDiscovery { probes: config.mtu == Mtu::Auto, dont_fragment: config.df != Df::Unset };
        segment.set_path_discovery(discovery, Timestamp::default());
        let narrowest = plan.paths.iter().map(|(_, octets)| inner_mtu(config, (*octets).into())).min();
        segment.set_mss_limit(mss_limit(config, narrowest.map_or(plan.mtu, |mtu| mtu.min(plan.mtu))));
        segment.set_own_addresses(config.addresses.iter().map(IpNet::addr).collect());
        segment.set_health(config.health, Timestamp::default());
        let policy = outer_policy(config);
        let dev = tap.name().to_owned();
        let known = Known::of(&sockets).map_err(UpError::Start)?;
        let (tap, forwarder, reports) = match (tap, sockets) {
            (AnyTap::Offload(queues), Sockets::Own(underlays)) => {
                let errors = UdpErrors::of(&underlays).map_err(UpError::Start)?;
                let ports = TapPort::of_queues(queues);
                let offload = ports.first().map(TapPort::offload);
                let pairs = ports.into_iter().zip(underlays);
                (offload, Forwarder::spawn_pairs(segment, pairs, policy, &workers), ReportsOf::Own(errors))
            }
            (AnyTap::Plain(tap), Sockets::Own(underlays)) => {
                let errors = UdpErrors::of(&underlays).map_err(UpError::Start)?;
                let pairs = [PlainTapPort::new(tap)].into_iter().zip(underlays);
                (None, Forwarder::spawn_pairs(segment, pairs, policy, &workers), ReportsOf::Own(errors))
            }
            (AnyTap::Offload(queues), Sockets::Hub(hub)) => {
                let mut ports = TapPort::of_queues(queues);
                let port = ports.pop().ok_or_else(|| UpError::Start(io::ErrorKind::InvalidInput.into()))?;
                (Some(port.offload()), hub.attach(segment, port, policy), ReportsOf::Hub(hub))
            }
            (AnyTap::Plain(tap), Sockets::Hub(hub)) => {
                (None, hub.attach(segment, PlainTapPort::new(tap), policy), ReportsOf::Hub(hub))
            }
        };
        let Known { local, udp, buffers } = known;
        let offload = OffloadView { tap, udp };
        Ok(Tunnel {
            forwarder: forwarder.map_err(UpError::Start)?,
            dev,
            link: link.index,
            offload,
            local,
            buffers,
            reports: Some(reports),
        })
    }
}

/// What the kernel and the tunnel do for many frames at once; some of it may change while the tunnel runs.
#[derive(Clone)]
pub(crate) struct OffloadView {
    /// `None` for the plain TAP, which has no virtio header.
    tap: Option<Arc<TapOffload>>,
    udp: Arc<UdpOffload>,
}

impl OffloadView {
    /// What is in force now, by name.
    pub(crate) fn in_force(&self) -> BTreeMap<String, bool> {
        let tap = self.tap.as_deref();
        let device = tap.map_or(Offload::NONE, TapOffload::device);
        let has = |offload| device.contains(offload);
        let joins = tap.map_or(Joins::NONE, TapOffload::joins);
        [
            ("virtio-header", tap.is_some()),
            ("csum", has(Offload::CSUM)),
            ("tso4", has(Offload::TSO4)),
            ("tso6", has(Offload::TSO6)),
            ("uso", has(Offload::USO)),
            ("coalesce-tcp", joins.tcp4 || joins.tcp6),
            ("coalesce-udp", joins.udp4 || joins.udp6),
            ("udp-segment", self.udp.segment()),
            ("udp-gro", self.udp.gro()),
        ]
        .map(|(name, on)| (name.to_owned(), on))
        .into()
    }
}

/// The device's MAC address: the same at each start of the same tunnel on the same host, so that what the peers remember
/// of it stays right over a restart. Locally administered; no two hosts of one segment share an outer address.
pub(super) fn device_mac(config: &UpConfig, local: IpAddr) -> MacAddr {
    let [.., vni] = config.vni.get().to_be_bytes();
    match local {
        IpAddr::V4(local) => {
            let [a, b, c, d] = local.octets();
            MacAddr::new([0x02, vni, a, b, c, d])
        }
        IpAddr::V6(local) => {
            // FNV-1a: the low octets alone would be the same for ::1 of every network.
            let hash = local.octets().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
                (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
            });
            let [a, b, c, d, ..] = hash.to_be_bytes();
            MacAddr::new([0x06, vni, a, b, c, d])
        }
    }
}

fn segment_config(config: &UpConfig) -> SegmentConfig {
    SegmentConfig {
        vni: config.vni,
        port: config.port,
        learning: config.learning,
        ageing: config.ageing,
        max_macs: usize::try_from(config.max_macs).unwrap_or(usize::MAX),
        reserved_bits: config.reserved_bits,
        accept_from: config
            .accept_from
            .iter()
            .filter_map(|network| Prefix::new(network.addr(), network.prefix_len()))
            .collect(),
        max_macs_per_peer: config
            .max_macs_per_peer
            .of(usize::try_from(config.max_macs).unwrap_or(usize::MAX), config.peers.len()),
        flap_damping: config.flap_damping,
        storm_limit: config.storm_limit.rate(config.learning),
        hash_key: random(),
        ..SegmentConfig::default()
    }
}

fn worker_options(config: &UpConfig) -> WorkerOptions {
    WorkerOptions {
        busy_poll: match config.busy_poll {
            values::BusyPoll::Auto => BusyPoll::Adaptive,
            values::BusyPoll::Micros(0) => BusyPoll::Off,
            values::BusyPoll::Micros(micros) => BusyPoll::Fixed(Duration::from_micros(micros.into())),
        },
        second_thread: match config.threads {
            values::Threads::Auto => SecondThread::OnDemand,
            values::Threads::One => SecondThread::Never,
            values::Threads::Two => SecondThread::Always,
        },
        affinity: config.affinity.iter().flat_map(CpuList::processors).collect(),
        on_start: Confinement::of(config).data_threads(),
    }
}

fn outer_policy(config: &UpConfig) -> OuterPolicy {
    OuterPolicy {
        ttl: match config.ttl {
            Ttl::Auto => Inherit::Fixed(None),
            Ttl::Hops(hops) => Inherit::Fixed(Some(hops)),
            Ttl::Inherit => Inherit::Inherit,
        },
        tos: match config.tos {
            Tos::Octet(octet) => Inherit::Fixed(octet),
            Tos::Inherit => Inherit::Inherit,
        },
        dont_fragment: match config.df {
            Df::Set => Inherit::Fixed(true),
            Df::Unset => Inherit::Fixed(false),
            Df::Inherit => Inherit::Inherit,
        },
        flow_key: random(),
    }
}

/// A number that nobody outside can guess: the standard library keys its hash tables with one for each process.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
