//! The life of one tunnel, from its lock to its end; a process may have several (`process.rs`).
//!
//! ```text
//!   Door::open    lock, control socket, what a killed one left put right      nothing is made yet
//!      │
//!   Door::prepare ask the Gate's API, where that says what the tunnel shall be; `down` is answered meanwhile
//!      │
//!   Life::start   look the host over ─► sockets, device, addresses, routes ─► threads
//!      │
//!   Life::carry   control socket, events, paths, forwarding, the API, until it is told to end
//!      │
//!   drop          threads stopped; device, addresses, routes and sockets are gone with their descriptors; the lock last
//! ```

use std::any::Any;
use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch::Receiver;
use vxgate_forwarder::{Forwarder, UdpHub};
use vxgate_netlink::Netlink;

use super::error::UpError;
use super::forward::{self, Side, Way};
use super::gate::follow::Follower;
use super::health::{self, Watch};
use super::hook;
use super::look::{LastLook, now};
use super::monitor::{Authority, Grant, Monitor, Order};
use super::paths;
use super::plan::Plan;
use super::reload::{Said, Wishes};
use super::serve::{About, Tenant};
use super::service::Service;
use super::sockets::Ports;
use super::tunnel::{ReportsOf, Tunnel};
use super::waiting::Waiting;
use super::wanted::Wanted;
use crate::config::UpConfig;
use crate::config::values::{DeviceName, SourcePort, TapLife};
use crate::control::runtime_dir::RuntimeDir;
use crate::control::server::{Limits, Listener};
use crate::failure::Failure;
use crate::sandbox::Confinement;

/// Events that are logged before signals and the control socket get their turn.
const EVENTS_BEFORE_A_BREATH: u32 = 256;

/// The reason of one that somebody took down by name: the next start finds nothing of it.
const DOWN: &str = "vxgate down";

/// Whoever listens to what the network says, until it is dropped.
type Listening = Box<dyn Any + Send>;

/// Why a life ends, and who is told; none while it goes on.
pub(super) type Stop = Receiver<Option<&'static str>>;

/// A tunnel whose name is ours, and nothing else yet.
pub(super) struct Door {
    wanted: Wanted,
    listener: Listener,
}

/// A tunnel of which all is known that has to be said.
pub(super) struct Prepared {
    listener: Listener,
    /// What the operator says of it; the API may say more.
    said: UpConfig,
    config: UpConfig,
    follower: Option<Follower>,
}

/// What an error is about.
pub(super) fn what(dev: &DeviceName) -> String {
    format!("tunnel {dev}")
}

/// An error of the tunnel of this device, as the user sees it.
pub(super) fn failure(dev: &DeviceName, error: &UpError) -> Failure {
    Failure::failed(what(dev), chain(error)).with_hint(error.hint())
}

impl Prepared {
    /// What it shall be.
    pub(super) fn config(&self) -> &UpConfig {
        &self.config
    }
}

impl Door {
    /// Takes the lock: what follows would otherwise be in the way of a tunnel that runs, or be done at the Gate for nothing.
    pub(super) fn open(wanted: Wanted) -> Result<Door, Failure> {
        let dev = wanted.dev();
        let listener = Listener::bind(&RuntimeDir::from_environment(), dev)
            .map_err(|error| Failure::failed(what(dev), chain(&error)).with_hint(error.hint()))?;
        forward::put_right(dev).map_err(|error| failure(dev, &error.into()))?;
        Ok(Door { wanted, listener })
    }

    /// Nobody registers at the Gate, again and again, for a tunnel that this is in the way of.
    pub(super) fn check(&self) -> Result<(), Failure> {
        check_program(self.wanted.program()).map_err(|error| failure(self.wanted.dev(), &error))
    }

    /// Finds out what the tunnel shall be; `None` where it was told to end before that was known.
    pub(super) async fn prepare(self, service: &Service) -> Result<Option<Prepared>, Failure> {
        let Door { wanted, listener } = self;
        let (said, request) = match wanted {
            // With nobody to answer first.
            Wanted::Said(config) => {
                return Ok(Some(Prepared { listener, said: config.clone(), config, follower: None }));
            }
            Wanted::Vpg { said, request } => (said, request),
        };
        let waiting = Arc::new(Waiting::default());
        service.asking();
        tokio::select! {
            biased;
            prepared = request.prepare() => {
                let (config, follower) = prepared?;
                Ok(Some(Prepared { listener, said, config, follower: Some(follower) }))
            }
            () = waiting.down.notified() => {
                tracing::info!(dev = %said.dev, reason = "vxgate down", "ending before the tunnel is up");
                Ok(None)
            }
            ended = listener.serve(Arc::clone(&waiting), Limits::default()) => {
                let Err(error) = ended;
                Err(failure(&said.dev, &UpError::Start(error)))
            }
        }
    }
}

/// A tunnel that forwards.
pub(super) struct Life {
    /// What the operator says of it.
    said: UpConfig,
    config: UpConfig,
    plan: Plan,
    follower: Option<Follower>,
    watch: Watch,
    tenant: Arc<Tenant>,
    tunnel: Tunnel,
    /// What the network says of its datagrams.
    reports: Listening,
    // After the tunnel, whose way in it is.
    _hub: Option<Arc<UdpHub>>,
    // The last to go: only then may the next of this name come.
    listener: Listener,
}

impl Life {
    /// Makes the tunnel; whatever fails on the way undoes what was made.
    pub(super) async fn start(
        prepared: Prepared,
        wishes: Wishes,
        ports: &Ports,
        monitor: &Monitor,
    ) -> Result<Life, Failure> {
        let dev = prepared.config.dev.clone();
        Life::make(prepared, wishes, ports, monitor).await.map_err(|error| failure(&dev, &error))
    }

    async fn make(
        prepared: Prepared,
        wishes: Wishes,
        ports: &Ports,
        monitor: &Monitor,
    ) -> Result<Life, UpError> {
        let Prepared { listener, said, config, mut follower } = prepared;
        let started = now();
        let netlink = Netlink::open()?;
        let plan = Plan::make(&netlink, &config).await?;
        for notice in config.notices.iter().chain(&plan.notices) {
            tracing::warn!("{notice}");
        }
        let mut tunnel = Tunnel::start(&netlink, &config, &plan, ports).await?;
        let device = Side { index: tunnel.link, name: tunnel.dev.clone() };
        let way = Way::find(&netlink, &config, &plan, device).await?;
        let forwards = way.is_some();
        let grant = grant(&config, &tunnel, way, follower.as_ref());
        let authority = Authority::granted(monitor, config.dev.as_str(), grant).await?;
        if forwards {
            authority.order(Order::Forward).await?;
        }
        let paths_changed = Arc::new(Notify::new());
        let tenant = Arc::new(Tenant {
            control: tunnel.forwarder.control(),
            about: About {
                dev: tunnel.dev.clone(),
                link: tunnel.link,
                vni: config.vni.get(),
                local: tunnel.local.ip(),
                port: tunnel.local.port(),
                source_port: config.source_port.to_string(),
                offload: tunnel.offload.clone(),
                workers: config.workers,
                threads: config.threads.to_string(),
                busy_poll: config.busy_poll.to_string(),
                affinity: config.affinity.as_ref().map(ToString::to_string),
                buffers: tunnel.buffers,
                is_v6: tunnel.local.is_ipv6(),
                started,
                health: config.health,
            },
            netlink: netlink.clone(),
            authority: authority.clone(),
            paths_changed: Arc::clone(&paths_changed),
            reports: Arc::default(),
            config: Mutex::new(Arc::new(config.clone())),
            wishes,
            inside: Mutex::default(),
            last_look: LastLook::new(started),
            down: Notify::new(),
        });
        let watch = Watch {
            paths_changed,
            control: tunnel.forwarder.control(),
            netlink,
            dev: tunnel.dev.clone(),
            link: tunnel.link,
            vni: config.vni.get(),
            teller: config.on_event.is_some().then(|| health::teller(authority)),
        };
        if let Some(follower) = &mut follower {
            follower.begin(&tenant).await;
        }
        announce(&config, &plan, &tunnel, started.elapsed());
        // To be dropped before the sockets are closed, and their addresses free for the next tunnel.
        let (control, counts) = (tunnel.forwarder.control(), Arc::clone(&tenant.reports));
        let (reports, hub): (Listening, _) = match tunnel.reports.take() {
            Some(ReportsOf::Own(errors)) => {
                let on_start = Confinement::of(&config).data_threads();
                (Box::new(health::listen(errors, control, counts, on_start).map_err(UpError::Start)?), None)
            }
            Some(ReportsOf::Hub(hub)) => (Box::new(health::listen_to_hub(&hub, control, counts)), Some(hub)),
            None => (Box::new(()), None),
        };
        Ok(Life { said, config, plan, follower, watch, tenant, tunnel, reports, _hub: hub, listener })
    }

    /// The tunnel, and what was said of it.
    pub(super) fn said(&self) -> Said {
        Said { tenant: Arc::clone(&self.tenant), said: self.said.clone() }
    }

    /// The tunnel as the control socket sees it.
    pub(super) fn tenant(&self) -> Arc<Tenant> {
        Arc::clone(&self.tenant)
    }

    /// The device.
    pub(super) fn dev(&self) -> &DeviceName {
        &self.config.dev
    }

    /// Does all that a tunnel does besides frames, until it is told to end or ends by itself; then ends it.
    pub(super) async fn carry(mut self, mut stop: Stop) -> Result<(), UpError> {
        let told = async {
            // Who has gone away tells nothing more: the process ends.
            let reason = stop.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
            reason.unwrap_or("the process")
        };
        let carried = tokio::select! {
            reason = told => Ok(reason),
            () = self.tenant.down.notified() => Ok(DOWN),
            ended = self.listener.serve(Arc::clone(&self.tenant), Limits::default()) => {
                let Err(error) = ended;
                Err(UpError::Start(error))
            }
            never = paths::follow(&self.tenant, self.plan.mtu) => match never {},
            () = events(&self.tunnel.forwarder, &self.watch) => Ok("the forwarder"),
            () = self.watch.follow_addresses() => Ok("the watch"),
            never = follow(self.follower.as_mut(), &self.tenant) => match never {},
        };
        self.end(carried).await
    }

    /// Undoes what was made, the lock last.
    async fn end(self, carried: Result<&'static str, UpError>) -> Result<(), UpError> {
        let authority = &self.tenant.authority;
        let done = async |order| {
            if let Err(error) = authority.order(order).await {
                tracing::warn!("{}: {}", self.config.dev, chain(&error));
            }
        };
        if let Ok(reason) = carried {
            tracing::info!(dev = self.tunnel.dev, reason, "ending");
        }
        done(Order::EndForwarding).await;
        drop(self.reports);
        let ended = self.tunnel.forwarder.stop();
        if matches!(carried, Ok(DOWN)) {
            done(Order::RemoveDevice).await;
        }
        done(Order::Leave).await;
        carried?;
        match ended {
            // A TAP whose device is gone (drivers/net/tun.c).
            Err(error)
                if rustix::io::Errno::from_io_error(&error.source) == Some(rustix::io::Errno::BADFD) =>
            {
                Err(UpError::DeviceGone { dev: self.tunnel.dev })
            }
            ended => Ok(ended?),
        }
    }
}

/// What a tunnel may have done with privilege, from here to its end.
fn grant(config: &UpConfig, tunnel: &Tunnel, forward: Option<Way>, follower: Option<&Follower>) -> Grant {
    Grant {
        link: tunnel.link,
        kept: config.tap == TapLife::Keep,
        addresses: config.addresses.clone(),
        routes: config.routes.clone(),
        follows_api: follower.is_some(),
        outside: config.outer_peers().chain([tunnel.local.ip()]).collect(),
        forward,
        on_event: config.on_event.clone(),
        answers: follower.map(|follower| follower.answers().to_owned()),
    }
}

/// Refuses a program of `--on-event` that cannot be run.
pub(crate) fn check_program(program: Option<&std::path::Path>) -> Result<(), UpError> {
    let Some(program) = program else { return Ok(()) };
    hook::Hook::check(program)
        .map_err(|source| UpError::NoProgram { program: program.display().to_string(), source })
}

/// One line that says what came up, for people and for the journal.
fn announce(config: &UpConfig, plan: &Plan, tunnel: &Tunnel, after: Duration) {
    let told = sentence(config, tunnel.local, plan.mtu);
    tracing::info!("{} is up: {told}, after {} ms", tunnel.dev, after.as_millis());
}

/// What a tunnel is, in one sentence.
pub(super) fn sentence(config: &UpConfig, local: SocketAddr, mtu: u32) -> String {
    let addresses: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
    let peers: Vec<String> = config.peers.iter().map(ToString::to_string).collect();
    let source_port = match &config.source_port {
        SourcePort::Fixed(port) if *port == config.port => String::new(),
        SourcePort::Fixed(_) | SourcePort::Hash(_) => format!(", source port {}", config.source_port),
    };
    format!(
        "VNI {}, {local} -> {}{source_port}, address {}, MTU {mtu}",
        config.vni,
        if peers.is_empty() { "nobody".to_owned() } else { peers.join(" ") },
        if addresses.is_empty() { "none".to_owned() } else { addresses.join(" ") },
    )
}

/// Follows the API, where the tunnel came from it.
async fn follow(follower: Option<&mut Follower>, tenant: &Tenant) -> Infallible {
    match follower {
        Some(follower) => follower.follow(tenant).await,
        None => pending().await,
    }
}

/// Hands on what the segment tells, until the forwarder ends by itself.
async fn events(forwarder: &Forwarder, watch: &Watch) {
    let news = Arc::new(Notify::new());
    let teller = Arc::clone(&news);
    forwarder.on_news(move || teller.notify_one());
    loop {
        for looked in 1.. {
            let Some(event) = forwarder.poll_event() else { break };
            if looked % EVENTS_BEFORE_A_BREATH == 0 {
                tokio::task::yield_now().await;
            }
            watch.event(event);
        }
        if forwarder.is_stopping() {
            return;
        }
        news.notified().await;
    }
}

/// An error with all its causes, as one sentence.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        if !text.contains(&why) {
            text = format!("{text}: {why}");
        }
        cause = error.source();
    }
    text
}
