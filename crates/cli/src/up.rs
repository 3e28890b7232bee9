//! `vxgate up`: tunnels, from their configuration to their end.
//!
//! ```text
//!   process ──► life, one for each tunnel ──► plan, tunnel, serve, health, paths, forward, gate ──► mtu, owner, error
//! ```
//!
//! [`process`] has what there is once, [`life`] the order of things in one tunnel's life. With `--vpg-id` the API says what the
//! tunnel shall be ([`gate`]), and is followed until the end.

pub(crate) mod device;
pub(crate) mod error;
pub(crate) mod forward;
pub(crate) mod gate;
mod health;
mod hook;
mod life;
mod log;
mod look;
pub(crate) mod monitor;
pub(crate) mod mtu;
pub(crate) mod owner;
mod paths;
pub(crate) mod plan;
mod process;
mod reload;
mod serve;
mod service;
mod signals;
mod sockets;
mod tunnel;
mod waiting;
mod wanted;

use std::io::Write;
use std::net::SocketAddr;

use vxgate_netlink::Netlink;

use crate::config::UpConfig;
use crate::config::values::LogFormat;
use crate::failure::Failure;
pub(crate) use device::remove_kept;
use error::UpError;
use gate::vpg::Request;
pub(crate) use life::{chain, check_program};
use plan::Plan;
pub(crate) use reload::Reread;
pub(crate) use wanted::Wanted;

/// Runs these tunnels until they are told to end; `reread` reads again what was said of them, where that stands in a file. Calls `is_up` when they are up and before anybody can ask them.
///
/// # Errors
/// One did not come up, or ended by itself. Nothing is left of any in either case.
pub(crate) fn run(wanted: Vec<Wanted>, reread: Option<Reread>, is_up: impl FnOnce()) -> Result<(), Failure> {
    process::run(wanted, reread, is_up)
}

/// Says what a tunnel would be, and makes none.
///
/// # Errors
/// What would be in the way of it, or is in the way of finding out.
pub(crate) fn rehearse(request: Request, out: &mut dyn Write) -> Result<(), Failure> {
    log::to_stderr(LogFormat::Text);
    let runtime = process::runtime();
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
    let failure = |error: UpError| life::failure(&config.dev, &error);
    let runtime = process::runtime().map_err(|error| failure(UpError::Start(error)))?;
    let plan = runtime.block_on(async {
        check_program(config.on_event.as_deref())?;
        Plan::make(&Netlink::open()?, config).await
    });
    let plan: Plan = plan.map_err(failure)?;
    let notices = config.notices.iter().chain(&plan.notices).map(|notice| format!("notice: {notice}"));
    let local = SocketAddr::new(plan.local, config.port);
    let bring = format!("would bring up {}: {}", config.dev, life::sentence(config, local, plan.mtu));
    for line in notices.chain([bring]) {
        writeln!(out, "{line}").map_err(|error| Failure::output(&error))?;
    }
    Ok(())
}
