//! The tunnel that is looked at: what the options say, and what runs.

use std::net::IpAddr;
use std::time::Duration;

use vxgate_codec::Vni;

use super::host::Host;
use crate::args::up::UpOptions;
use crate::config::layers::Layers;
use crate::config::values::{Mtu, PeerSpec};
use crate::config::{Family, UpConfig};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::TunnelStatus;
use crate::control::runtime_dir::RuntimeDir;
use crate::failure::Failure;

/// How long the daemon may take for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Peers that are looked at one by one; of more, the first ones.
pub(crate) const PEERS_MAX: usize = 16;

/// The tunnel that is meant.
pub(crate) struct Subject {
    /// As the options say, and where it runs as it runs.
    pub(crate) config: UpConfig,
    /// The tunnel, where it runs and answers.
    pub(crate) running: Option<Running>,
    /// Why a tunnel that may run does not answer.
    pub(crate) silence: Option<ClientError>,
    /// In what the options and the running tunnel differ, a sentence each.
    pub(crate) differences: Vec<String>,
    /// Whether `up` would open the Gate.
    pub(crate) opens_gate: bool,
}

/// A tunnel that runs.
pub(crate) struct Running {
    /// Its state at the start.
    pub(crate) status: TunnelStatus,
    client: Client,
}

impl Running {
    /// Its state now; none where it ended meanwhile.
    pub(crate) fn again(&mut self) -> Option<TunnelStatus> {
        self.client.show().ok()
    }
}

impl Subject {
    /// The tunnel of the options, or without options the only one that runs. `completed` are the same with the Gate's word put in.
    pub(crate) fn of(layers: &Layers, mut completed: UpOptions) -> Result<Subject, Failure> {
        let options = layers.options();
        let dir = RuntimeDir::from_environment();
        if options == UpOptions::default() {
            match Client::connect_only(&dir) {
                Ok(client) => completed.dev = Some(client.dev().clone()),
                Err(error @ ClientError::Several { .. }) => return Err(Failure::client("doctor", &error)),
                // Nobody to ask; whether that is for want of permission shows below.
                Err(_) => {}
            }
        }
        let config = UpConfig::new(completed)
            .map_err(|error| layers.failure(&error, |option| format!("doctor: --{option}")))?;
        let connected = Client::connect(&dir, &config.dev);
        let (running, silence) = match connected.and_then(ask) {
            Ok(running) => (Some(running), None),
            Err(ClientError::NotRunning { .. }) => (None, None),
            Err(error) => (None, Some(error)),
        };
        let opens_gate = options.gate.open_gate == Some(true);
        let mut subject = Subject { config, running, silence, differences: Vec::new(), opens_gate };
        subject.take_from_daemon(&options);
        Ok(subject)
    }

    /// The peers to look at, those that are one host each.
    pub(crate) fn peers(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.config.outer_peers().filter(|peer| !peer.is_multicast()).take(PEERS_MAX)
    }

    /// Whether this is one of the peers.
    pub(crate) fn has_peer(&self, ip: IpAddr) -> bool {
        self.config.outer_peers().any(|peer| peer == ip)
    }

    /// Whether a tunnel runs, or what is in its place does not let itself be asked.
    pub(crate) fn may_run(&self) -> bool {
        self.running.is_some() || self.silence.is_some()
    }

    /// The state of the running tunnel at the start.
    pub(crate) fn status(&self) -> Option<&TunnelStatus> {
        self.running.as_ref().map(|running| &running.status)
    }

    /// Takes over what runs, and keeps in what the options differ.
    fn take_from_daemon(&mut self, options: &UpOptions) {
        let Some(Running { status, .. }) = &self.running else { return };
        let peers: Vec<IpAddr> = status.peers.iter().map(|peer| peer.ip).collect();
        let mut differ = |option: &str, said: String, runs: String| {
            self.differences
                .push(format!("the options say --{option} {said}, the tunnel that runs has {runs}"));
        };
        if let Some(vni) = options.vni.filter(|vni| vni.get() != status.vni) {
            differ("vni", vni.to_string(), status.vni.to_string());
        }
        if let Some(port) = options.port.filter(|port| *port != status.port) {
            differ("port", port.to_string(), status.port.to_string());
        }
        if let Some(local) = options.local.filter(|local| *local != status.local) {
            differ("local", local.to_string(), status.local.to_string());
        }
        for peer in options.peer.iter().filter(|peer| !peers.contains(&peer.outer)) {
            differ("peer", peer.outer.to_string(), "it not".to_owned());
        }
        self.config.vni = Vni::new(status.vni).unwrap_or(self.config.vni);
        self.config.port = status.port;
        self.config.local = Some(status.local);
        self.config.family = if status.local.is_ipv4() { Family::V4 } else { Family::V6 };
        self.config.peers = peers.into_iter().map(PeerSpec::from).collect();
        // A daemon that cannot ask for it says 0.
        if let Some(mtu) = u16::try_from(status.mtu).ok().filter(|mtu| *mtu > 0) {
            self.config.mtu = Mtu::Octets(mtu);
        }
        // What the options leave unsaid was for a tunnel to come.
        self.config.notices.clear();
    }

    /// Takes over the addresses that the running tunnel's device has.
    pub(crate) fn take_from_device(&mut self, host: &Host) {
        if !self.may_run() {
            return;
        }
        let Some(device) = host.link(self.config.dev.as_str()) else { return };
        let own = host.addresses.iter().filter(|address| address.link == device.index);
        self.config.addresses =
            own.map(|address| address.ip).filter(|ip| !is_link_local(ip.addr())).collect();
        let routes = host.routes.iter().filter(|route| route.link == Some(device.index));
        let routes = routes.map(|route| route.prefix);
        // Those that each link has by itself lead nowhere else.
        self.config.routes =
            routes.filter(|net| !is_link_local(net.addr()) && !net.addr().is_multicast()).collect();
    }
}

fn ask(mut client: Client) -> Result<Running, ClientError> {
    // A socket that refuses a limit has its usual one.
    let _ = client.set_patience(PATIENCE);
    let status = client.show()?;
    Ok(Running { status, client })
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
