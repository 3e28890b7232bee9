//! The underlay's sockets: a tunnel's own, or those that tunnels of one address and port share.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use vxgate_forwarder::{SourcePort, UdpConfig, UdpHub, UdpUnderlay, WorkerOptions};
use vxgate_netlink::Netlink;

use super::error::UpError;
use super::owner::port_owner;
use super::plan::Plan;
use crate::config::UpConfig;
use crate::config::several::shares_port;
use crate::config::values::{self, DeviceName, Df};

/// The hubs of this process, and which tunnels need one.
#[derive(Default)]
pub(super) struct Ports {
    wanted: Vec<UpConfig>,
    hubs: Mutex<Vec<Hub>>,
}

/// A hub, by its address and the link that it is bound to.
type Hub = (SocketAddr, Option<DeviceName>, Arc<UdpHub>);

/// What a tunnel sends and receives by.
pub(super) enum Sockets {
    /// Its own, one for each worker.
    Own(Vec<UdpUnderlay>),
    /// Those that it shares.
    Hub(Arc<UdpHub>),
}

impl Ports {
    /// For these tunnels.
    pub(super) fn of(wanted: Vec<UpConfig>) -> Ports {
        Ports { wanted, hubs: Mutex::default() }
    }

    /// Opens the sockets of a tunnel, or gives those that another one of its address and port has.
    pub(super) async fn open(
        &self,
        netlink: &Netlink,
        config: &UpConfig,
        plan: &Plan,
        workers: &WorkerOptions,
    ) -> Result<Sockets, UpError> {
        let udp = udp_config(config, plan);
        let others = self.wanted.iter().filter(|other| other.dev != config.dev);
        let opened = if { others }.any(|other| shares_port(config, other)) {
            self.hub(&udp, config, workers).map(Sockets::Hub)
        } else {
            UdpUnderlay::bind_workers(&udp, config.workers.into()).map(Sockets::Own)
        };
        match opened {
            Ok(sockets) => Ok(sockets),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                // The receiving port, or the fixed source port where that is another one.
                let taken = match config.source_port {
                    values::SourcePort::Fixed(port) if std::net::UdpSocket::bind(udp.local).is_ok() => {
                        SocketAddr::new(plan.local, port)
                    }
                    values::SourcePort::Fixed(_) | values::SourcePort::Hash(_) => udp.local,
                };
                Err(UpError::PortTaken { address: taken, owner: port_owner(netlink, taken).await })
            }
            Err(source) => Err(UpError::Socket { address: udp.local, source }),
        }
    }

    fn hub(&self, udp: &UdpConfig, config: &UpConfig, workers: &WorkerOptions) -> io::Result<Arc<UdpHub>> {
        // What panicked while it held this has opened nothing.
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = hubs.iter().find(|(local, link, _)| *local == udp.local && *link == config.underlay);
        if let Some((_, _, hub)) = known {
            return Ok(Arc::clone(hub));
        }
        let hub = Arc::new(UdpHub::bind(udp, workers)?);
        hubs.push((udp.local, config.underlay.clone(), Arc::clone(&hub)));
        Ok(hub)
    }
}

fn udp_config(config: &UpConfig, plan: &Plan) -> UdpConfig {
    let groups = config.outer_peers().filter(|peer| peer.is_multicast());
    UdpConfig {
        device: config.underlay.as_ref().map(ToString::to_string),
        source_port: match &config.source_port {
            values::SourcePort::Fixed(port) => SourcePort::Fixed(*port),
            values::SourcePort::Hash(range) => SourcePort::Hash(range.clone()),
        },
        checksum: config.udp_checksum,
        offload: config.offload,
        dont_fragment: config.df == Df::Set,
        errors: true,
        groups: groups.map(|group| (group, plan.underlay)).collect(),
        ..UdpConfig::new(SocketAddr::new(plan.local, config.port))
    }
}
