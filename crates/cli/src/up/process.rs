//! What a process has once, however many tunnels it carries: log, runtime, signals, the service manager.
//!
//! ```text
//!   signals listened to ─► doors: a lock for each tunnel ─► each prepared ─► each started ─► ready
//!                                                                                             │
//!   nothing left ◄── all lives ended ◄── a signal; or one failed; or the last was taken down ◄┘
//! ```
//!
//! The tunnels of a process share its fate: where one cannot be started none is, and where one fails the others are ended, so that
//! whoever watches the process starts all of them again. Who wants them apart runs a process for each. `vxgate down DEV` ends one.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{fstat, makedev};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::error::UpError;
use super::life::{Door, Life, Prepared, Stop, chain, failure, what};
use super::log;
use super::monitor::Monitor;
use super::reload::{Reread, Said, Wish, reload};
use super::serve::Tenant;
use super::service::Service;
use super::signals::{Signals, Told};
use super::sockets::Ports;
use super::wanted::Wanted;
use crate::config::values::LogFormat;
use crate::control::protocol::{PeerStatus, Refusal, Reloaded, TunnelStatus};
use crate::control::server::Handler as _;
use crate::failure::Failure;
use crate::metrics::{Server, Tunnels};
use crate::sandbox::{Confinement, may_become};

/// Runs these tunnels until they are told to end; calls `is_up` when all are up and before anybody can ask them.
pub(super) fn run(wanted: Vec<Wanted>, reread: Option<Reread>, is_up: impl FnOnce()) -> Result<(), Failure> {
    let Some(first) = wanted.first() else { return Ok(()) };
    let format = first.said().log_format;
    log::to_stderr(format);
    let runs_programs = wanted.iter().any(|wanted| wanted.program().is_some());
    let confinement = Confinement::of(first.said());
    let user = first.said().user.filter(|user| !may_become(user));
    let first = first.dev().clone();
    if let Some(user) = user {
        return Err(failure(&first, &UpError::NotThatUser { user }));
    }
    let start = |error: io::Error| failure(&first, &UpError::Start(error));
    let runtime = runtime().map_err(start)?;
    // Before there is anything to undo, so that no signal finds something left.
    let signals = runtime.block_on(async { Signals::listen() }).map_err(start)?;
    // A port that is taken is told before there is anything else.
    let address = wanted.first().and_then(|wanted| wanted.said().metrics);
    let metrics = address.map(Server::bind).transpose().map_err(|error| failure(&first, &error.into()))?;
    let doors = wanted.into_iter().map(Door::open).collect::<Result<Vec<Door>, Failure>>()?;
    let service = Arc::new(Service::from_environment());
    let checked = doors.iter().try_for_each(Door::check);
    let lived = checked.and_then(|()| {
        let monitor =
            runtime.block_on(async { monitor(&confinement, reread.as_ref(), format, runs_programs) });
        let monitor = monitor.map_err(|error| failure(&first, &error))?;
        confinement.begin();
        let process = Process { service: Arc::clone(&service), monitor, confinement, reread };
        let lived = runtime.block_on(process.live(doors, signals, metrics, is_up));
        runtime.block_on(process.monitor.end());
        lived
    });
    lived.inspect_err(|failure| service.failed(&failure.why()))
}

/// Who does what needs privilege.
fn monitor(
    confinement: &Confinement,
    reread: Option<&Reread>,
    format: LogFormat,
    runs_programs: bool,
) -> Result<Monitor, UpError> {
    if !confinement.separates() {
        return Monitor::own(reread.cloned());
    }
    // It takes signals once it listens: whoever ends all processes of a service ends this one by the tunnel.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    let blocked = signals.thread_block();
    let monitor = Monitor::spawn(format, runs_programs).map_err(UpError::NoMonitor);
    blocked.and_then(|()| signals.thread_unblock()).map_err(|error| UpError::Start(error.into()))?;
    monitor
}

/// What a process has once.
struct Process {
    service: Arc<Service>,
    monitor: Monitor,
    confinement: Confinement,
    reread: Option<Reread>,
}

/// A runtime for the control plane.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

impl Process {
    /// From the doors to the end.
    async fn live(
        &self,
        doors: Vec<Door>,
        mut signals: Signals,
        metrics: Option<Server>,
        is_up: impl FnOnce(),
    ) -> Result<(), Failure> {
        let prepared = tokio::select! {
            // What is known at once waits for nothing.
            biased;
            prepared = prepare(doors, &self.service) => prepared?,
            reason = signals.first() => {
                tracing::info!(reason, "ending before the tunnel is up");
                return Ok(());
            }
        };
        if prepared.is_empty() {
            return Ok(());
        }
        // One at a time, and few wait.
        let (wishes, wished) = mpsc::channel(4);
        let ports = Ports::of(prepared.iter().map(|prepared| prepared.config().clone()).collect());
        let mut lives = Vec::with_capacity(prepared.len());
        for prepared in prepared {
            lives.push(Life::start(prepared, wishes.clone(), &ports, &self.monitor).await?);
        }
        // From here on each life holds what it uses.
        drop(ports);
        is_up();
        if let Some(dev) = lives.first().map(Life::dev) {
            self.let_go().await.map_err(|error| failure(dev, &error))?;
        }
        self.service.ready();
        self.carry(lives, signals, metrics, wished).await
    }

    /// Gives up what is not needed any longer.
    async fn let_go(&self) -> Result<(), UpError> {
        self.monitor.seal(stderr_is_null()).await?;
        let places = self.reread.as_ref().map(Reread::places).unwrap_or_default();
        self.confinement.control(&places).map_err(UpError::Start)
    }

    /// Carries the tunnels until they end.
    async fn carry(
        &self,
        lives: Vec<Life>,
        mut signals: Signals,
        metrics: Option<Server>,
        mut wished: mpsc::Receiver<Wish>,
    ) -> Result<(), Failure> {
        let Process { service, monitor, reread, .. } = self;
        let first = lives.first().map(|life| life.dev().clone());
        let mut said: Vec<Said> = lives.iter().map(Life::said).collect();
        let (stop, stopped) = watch::channel(None);
        let tenants = Arc::new(Tenants(lives.iter().map(Life::tenant).collect()));
        let mut running = JoinSet::new();
        for life in lives {
            let stopped: Stop = stopped.clone();
            let dev = life.dev().clone();
            running.spawn(async move { (dev, life.carry(stopped).await) });
        }
        let mut outcome = Ok(());
        let mut pulse = pin!(service.pulse(async || tenants.peers().await));
        let mut scraped = pin!(serve(metrics, Arc::clone(&tenants)));
        let mut monitored = pin!(monitor.ended());
        loop {
            let joined = tokio::select! {
                never = &mut pulse => match never {},
                never = &mut scraped => match never {},
                gone = &mut monitored => {
                    service.stopping();
                    outcome = first.map_or(Ok(()), |dev| Err(failure(&dev, &gone)));
                    tracing::error!("{}", chain(&gone));
                    stop.send_replace(Some("its monitor is gone"));
                    break;
                }
                told = signals.next(reread.is_some()) => match told {
                    Told::End(reason) => {
                        service.stopping();
                        stop.send_replace(Some(reason));
                        break;
                    }
                    Told::Reload => {
                        let _ = self.take_over(&mut said).await;
                        continue;
                    }
                },
                wish = wished.recv() => {
                    if let Some(wish) = wish {
                        // Whoever asked may have given up.
                        let _ = wish.send(self.take_over(&mut said).await);
                    }
                    continue;
                }
                joined = running.join_next() => joined,
            };
            let Some(joined) = joined else { return outcome };
            let (dev, ended) = joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            if running.is_empty() || ended.is_err() {
                service.stopping();
            }
            if let Err(error) = ended {
                outcome = Err(failure(&dev, &error));
                if !running.is_empty() {
                    tracing::error!(
                        "{} failed: {}; the other tunnels of this process end with it",
                        what(&dev),
                        chain(&error)
                    );
                }
                stop.send_replace(Some("another tunnel of this process failed"));
                break;
            }
        }
        while let Some(joined) = running.join_next().await {
            let (dev, ended) = joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            // The first failure is the one that counts.
            outcome = outcome.and(ended.map_err(|error| failure(&dev, &error)));
        }
        outcome
    }

    /// Reads the configuration again, and tells what came of it.
    async fn take_over(&self, said: &mut [Said]) -> Result<Reloaded, Refusal> {
        self.service.reloading();
        let outcome = reload(self.reread.as_ref(), &self.monitor, said).await;
        match &outcome {
            Ok(Reloaded { applied, needs_restart }) if applied.is_empty() && needs_restart.is_empty() => {
                tracing::info!("reloaded: nothing differs");
            }
            Ok(Reloaded { applied, needs_restart }) => {
                if !applied.is_empty() {
                    tracing::info!("reloaded: {}", applied.join(", "));
                }
                if !needs_restart.is_empty() {
                    tracing::warn!(
                        "needs a restart, and is as before until then: {}",
                        needs_restart.join(", ")
                    );
                }
            }
            Err(refusal) => tracing::error!("not reloaded, all is as before: {}", refusal.why),
        }
        self.service.ready();
        outcome
    }
}

/// Finds out what each tunnel shall be, all at once; without those that were told to end meanwhile.
async fn prepare(doors: Vec<Door>, service: &Arc<Service>) -> Result<Vec<Prepared>, Failure> {
    let mut asked = JoinSet::new();
    for (place, door) in doors.into_iter().enumerate() {
        let service = Arc::clone(service);
        asked.spawn(async move { (place, door.prepare(&service).await) });
    }
    let mut prepared = Vec::new();
    while let Some(joined) = asked.join_next().await {
        let (place, one) = joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        prepared.extend(one?.map(|one| (place, one)));
    }
    // In the order in which they were asked for.
    prepared.sort_by_key(|(place, _)| *place);
    Ok(prepared.into_iter().map(|(_, one)| one).collect())
}

/// Whether nobody reads what is said on standard error: it is the null device (1:3, linux/Documentation/admin-guide/devices.txt).
fn stderr_is_null() -> bool {
    fstat(io::stderr()).is_ok_and(|stat| stat.st_rdev == makedev(1, 3))
}

/// Answers scrapers and probes, where that is asked for.
async fn serve(metrics: Option<Server>, tenants: Arc<Tenants>) -> Infallible {
    let Some(metrics) = metrics else { return pending().await };
    if let Ok(address) = metrics.local_addr() {
        tracing::info!("metrics and health at http://{address}");
    }
    let Err(error) = metrics.serve(tenants).await;
    tracing::error!("metrics are no longer served: {error}");
    pending().await
}

/// The tunnels of this process, as those see them who look at all.
struct Tenants(Vec<Arc<Tenant>>);

impl Tenants {
    /// The peers of all tunnels that go on.
    async fn peers(&self) -> Result<Vec<PeerStatus>, Refusal> {
        let mut all = Vec::new();
        for tenant in &self.0 {
            match tenant.peer_list().await {
                Ok(peers) => all.extend(peers),
                // One that was taken down.
                Err(_) if self.0.len() > 1 && tenant.has_ended() => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(all)
    }
}

impl Tunnels for Tenants {
    async fn statuses(&self) -> Vec<TunnelStatus> {
        let mut statuses = Vec::new();
        for tenant in &self.0 {
            statuses.extend(tenant.status().await);
        }
        statuses
    }
}
