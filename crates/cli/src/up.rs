//! `vxgate up`: one tunnel, from its configuration to its end.
//!
//! ```text
//!   lock ─► plan (look the host over) ─► sockets, device, addresses, routes ─► threads ─► control socket ─► up
//!                                                                                                          │
//!   nothing left ◄── drop: device, addresses, routes, sockets ◄── threads stopped ◄── signal, down, end ◄──┘
//! ```
//!
//! With `--vpg-id` the API says between lock and plan what the tunnel shall be ([`gate`]), and is followed until the end.

pub(crate) mod error;
pub(crate) mod forward;
pub(crate) mod gate;
mod health;
mod hook;
pub(crate) mod owner;
pub(crate) mod paths;
pub(crate) mod plan;
mod serve;
mod service;
mod tunnel;
mod waiting;

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::fs;
use std::future::pending;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use vxgate_forwarder::Forwarder;
use vxgate_netlink::Netlink;

use crate::config::UpConfig;
use crate::config::values::{DeviceName, SourcePort};
use crate::control::runtime_dir::RuntimeDir;
use crate::control::server::{Handler as _, Limits, Listener};
use crate::failure::Failure;
use error::UpError;
use forward::{Forwarding, Side};
use gate::follow::Follower;
use gate::vpg::Request;
use health::Watch;
use hook::Hook;
use plan::Plan;
use serve::{About, Tenant};
use service::Service;
use tunnel::Tunnel;
use waiting::Waiting;

/// Runs the tunnel until it is told to end; calls `is_up` when it is up and before anybody can ask it.
///
/// # Errors
/// It did not come up, or it ended by itself. Nothing is left of it in either case.
pub(crate) fn run(config: UpConfig, is_up: impl FnOnce()) -> Result<(), Failure> {
    let (dev, program) = (config.dev.clone(), config.on_event.clone());
    daemon(&dev, program.as_deref(), async |_: &Service| Ok((config, None)), is_up)
}

/// As [`run`], with what the API says of a VPG; `said` is what the options say without it.
///
/// # Errors
/// As those of [`run`], and those of the set-up.
pub(crate) fn run_vpg(said: &UpConfig, request: Request, is_up: impl FnOnce()) -> Result<(), Failure> {
    let prepare = async |service: &Service| {
        service.asking();
        let (config, follower) = request.prepare().await?;
        Ok((config, Some(follower)))
    };
    daemon(&said.dev, said.on_event.as_deref(), prepare, is_up)
}

/// Says what a tunnel would be, and makes none.
///
/// # Errors
/// What would be in the way of it, or is in the way of finding out.
pub(crate) fn rehearse(request: Request, out: &mut dyn Write) -> Result<(), Failure> {
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed("up", chain(&UpError::Start(error))))?;
    let (lines, config) = runtime.block_on(request.rehearse())?;
    for line in lines {
        writeln!(out, "{line}").map_err(|error| Failure::output(&error))?;
    }
    config.map_or(Ok(()), |config| rehearse_config(&config, out))
}

/// As [`rehearse`], where all is said.
///
/// # Errors
/// As those of [`rehearse`].
pub(crate) fn rehearse_config(config: &UpConfig, out: &mut dyn Write) -> Result<(), Failure> {
    let what = format!("tunnel {}", config.dev);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(&what, chain(&UpError::Start(error))))?;
    let plan = runtime.block_on(async {
        check_program(config.on_event.as_deref())?;
        Plan::make(&Netlink::open()?, config).await
    });
    let plan: Plan =
        plan.map_err(|error: UpError| Failure::failed(&what, chain(&error)).with_hint(error.hint()))?;
    let notices = config.notices.iter().chain(&plan.notices).map(|notice| format!("notice: {notice}"));
    let local = SocketAddr::new(plan.local, config.port);
    let bring = format!("would bring up {}: {}", config.dev, sentence(config, local, plan.mtu));
    for line in notices.chain([bring]) {
        writeln!(out, "{line}").map_err(|error| Failure::output(&error))?;
    }
    Ok(())
}

/// Runs the tunnel that `prepare` finds until it is told to end, which may be while it is being found.
fn daemon(
    dev: &DeviceName,
    program: Option<&Path>,
    prepare: impl AsyncFnOnce(&Service) -> Result<(UpConfig, Option<Follower>), Failure>,
    is_up: impl FnOnce(),
) -> Result<(), Failure> {
    let what = format!("tunnel {dev}");
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(&what, chain(&UpError::Start(error))))?;
    // Before there is anything to undo, so that no signal finds something left.
    let signals = runtime.block_on(async { Signals::listen() });
    let mut signals = signals.map_err(|error| Failure::failed(&what, chain(&UpError::Start(error))))?;
    // The lock comes next: what follows would otherwise be in the way of a tunnel that runs, or be done at the Gate for nothing.
    let listener = Listener::bind(&RuntimeDir::from_environment(), dev)
        .map_err(|error| Failure::failed(&what, chain(&error)).with_hint(error.hint()))?;
    forward::put_right(dev).map_err(|error| {
        let error = UpError::from(error);
        Failure::failed(&what, chain(&error)).with_hint(error.hint())
    })?;
    let service = Service::from_environment();
    // Nobody registers at the Gate, again and again, for a tunnel that this is in the way of.
    check_program(program).map_err(|error| {
        service.failed(&chain(&error));
        Failure::failed(&what, chain(&error)).with_hint(error.hint())
    })?;
    let waiting = Arc::new(Waiting::default());
    let prepared = runtime.block_on(async {
        tokio::select! {
            // One that is there at once has nobody to answer first.
            biased;
            prepared = prepare(&service) => prepared.map(Ok),
            signal = signals.first() => Ok(Err(signal)),
            () = waiting.down.notified() => Ok(Err("vxgate down")),
            ended = listener.serve(Arc::clone(&waiting), Limits::default()) => {
                let Err(error) = ended;
                Err(Failure::failed(&what, chain(&UpError::Start(error))))
            }
        }
    });
    let (config, follower) = match prepared.inspect_err(|failure| service.failed(&failure.to_string()))? {
        Ok(prepared) => prepared,
        Err(reason) => {
            tracing::info!(reason, "ending before the tunnel is up");
            return Ok(());
        }
    };
    let ended = runtime.block_on(tunnel(&config, follower, signals, &listener, &service, is_up));
    ended.map_err(|error| {
        let why = chain(&error);
        service.failed(&why);
        Failure::failed(&what, why).with_hint(error.hint())
    })
}

/// Refuses a program of `--on-event` that cannot be run.
pub(crate) fn check_program(program: Option<&Path>) -> Result<(), UpError> {
    let Some(program) = program else { return Ok(()) };
    Hook::check(program)
        .map_err(|source| UpError::NoProgram { program: program.display().to_string(), source })
}

/// The signals that end a tunnel.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None where the tunnel was started to outlive its terminal, as by nohup(1).
    hangup: Option<Signal>,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    /// Waits for one of them; its name.
    async fn first(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hangup => "SIGHUP",
        }
    }
}

/// Whether this process was started with SIGHUP ignored: the lowest bit of the mask in proc_pid_status(5).
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Events that are logged before signals and the control socket get their turn.
const EVENTS_BEFORE_A_BREATH: u32 = 256;

async fn tunnel(
    config: &UpConfig,
    mut follower: Option<Follower>,
    mut signals: Signals,
    listener: &Listener,
    service: &Service,
    is_up: impl FnOnce(),
) -> Result<(), UpError> {
    let started = now();
    let netlink = Netlink::open()?;
    let plan = Plan::make(&netlink, config).await?;
    for notice in config.notices.iter().chain(&plan.notices) {
        tracing::warn!("{notice}");
    }
    let tunnel = Tunnel::start(&netlink, config, &plan).await?;
    let device = Side { index: tunnel.link, name: tunnel.dev.clone() };
    let mut forwarding = Forwarding::start(&netlink, config, &plan, device).await?;
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
        paths_changed: Arc::clone(&paths_changed),
        reports: Arc::default(),
        down: Notify::new(),
    });
    let watch = Watch {
        paths_changed,
        control: tunnel.forwarder.control(),
        netlink,
        dev: tunnel.dev.clone(),
        link: tunnel.link,
        vni: config.vni.get(),
        hook: config.on_event.clone().map(Hook::new),
    };
    if let Some(follower) = &mut follower {
        follower.begin(&tenant).await;
    }
    announce(config, &plan, &tunnel, started.elapsed());
    // To be dropped before the sockets are closed, and their addresses free for the next tunnel.
    let reports = health::listen(tunnel.errors, tunnel.forwarder.control(), Arc::clone(&tenant.reports));
    let reports = reports.map_err(UpError::Start)?;
    is_up();
    service.ready();

    let reason = tokio::select! {
        never = service.pulse(async || tenant.peer_list().await) => match never {},
        signal = signals.first() => signal,
        () = tenant.down.notified() => "vxgate down",
        ended = listener.serve(Arc::clone(&tenant), Limits::default()) => {
            let Err(error) = ended;
            return Err(UpError::Start(error));
        }
        never = forward::keep(&mut forwarding) => match never {},
        never = paths::follow(&tenant, config, plan.mtu) => match never {},
        () = events(&tunnel.forwarder, &watch) => "the forwarder",
        () = watch.follow_addresses() => "the watch",
        never = follow(follower.as_mut(), &tenant) => match never {},
    };
    drop(forwarding);
    tracing::info!(dev = tunnel.dev, reason, "ending");
    service.stopping();
    drop(reports);
    match tunnel.forwarder.stop() {
        // A TAP whose device is gone (drivers/net/tun.c).
        Err(error) if rustix::io::Errno::from_io_error(&error.source) == Some(rustix::io::Errno::BADFD) => {
            Err(UpError::DeviceGone { dev: tunnel.dev })
        }
        ended => Ok(ended?),
    }
}

/// One line that says what came up, for people and for the journal.
fn announce(config: &UpConfig, plan: &Plan, tunnel: &Tunnel, after: Duration) {
    let told = sentence(config, tunnel.local, plan.mtu);
    tracing::info!("{} is up: {told}, after {} ms", tunnel.dev, after.as_millis());
}

/// What a tunnel is, in one sentence.
fn sentence(config: &UpConfig, local: SocketAddr, mtu: u32) -> String {
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

/// The edge where time enters the daemon.
#[expect(clippy::disallowed_methods, reason = "the daemon is an edge where time enters")]
fn now() -> Instant {
    Instant::now()
}

fn log_to_stderr() {
    let asked = env::var("VXGATE_LOG").unwrap_or_default();
    let filter = log_filter(asked.trim());
    let is_wrong = filter.is_none();
    let filter = filter.unwrap_or_else(|| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    // A log that nobody takes is no reason to end, and telling of it on standard error would be one: that panics.
    let log = log.log_internal_errors(false);
    // One who set a subscriber already wants that one.
    let _ = log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init();
    if is_wrong {
        tracing::warn!("VXGATE_LOG {asked:?} is none of error, warn, info, debug and trace: logging info");
    }
}

/// What to log; `None` for a word that is no level. The library takes one for a part of the program, of which it then logs all, and
/// nothing else.
fn log_filter(asked: &str) -> Option<EnvFilter> {
    let is_one_word = !asked.contains(['=', ',']);
    match asked {
        "" => Some(EnvFilter::new("info")),
        _ if is_one_word && asked.parse::<LevelFilter>().is_err() => None,
        _ => EnvFilter::try_new(asked).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::log_filter;

    #[test]
    fn a_word_that_is_no_level_is_not_taken_for_a_filter_that_silences_all() {
        for asked in ["", "error", "warn", "INFO", "debug", "trace", "off", "info,vxgate=debug"] {
            assert!(log_filter(asked).is_some(), "{asked:?}");
        }
        for asked in ["warnn", "chatty", "inf o", "vxgate=loud"] {
            assert!(log_filter(asked).is_none(), "{asked:?}");
        }
    }
}
