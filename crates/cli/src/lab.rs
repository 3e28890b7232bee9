//! `vxgate lab`: a whole Gate on one machine, in namespaces of its own.
//!
//! # Theory of operation
//!
//! ```text
//!   vxgate lab ──exec──► the same, in new user (if not root), network and mount namespaces
//!                          │ hosts, links, Gate peers, device          ground.rs
//!                          │ a Gate API on `vpc`, with --api            ground.rs
//!                          │ vxgate up ... as a child in `you`
//!                          └ each step: do it, look at it, print it    steps.rs
//! ```
//!
//! The process keeps its number over the exec, so that a signal ends it; its children die with it, and the kernel takes
//! down namespaces that nobody is in. Nothing is left behind, whatever happens.

mod failover;
pub(crate) mod ground;
mod steps;

use std::io::{self, Write};
use std::time::Duration;

use vxgate_testbed::{kernel_has_vxlan, tun_obstacle};

use crate::args::LabArgs;
use crate::failure::Failure;
use crate::namespaces;
use ground::{GateKind, Ground};
use steps::Steps;

/// What tells the process inside from the one outside.
const MARK: &str = "VXGATE_LAB";

/// How long anything in the lab may take to happen before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Builds the lab, goes through its steps and prints what came of them.
///
/// # Errors
/// The system refuses namespaces, the ground cannot be laid, or, with `--check`, a step did not hold.
pub(crate) fn run(args: &LabArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if !namespaces::is_inside(MARK) {
        return Err(namespaces::enter("lab", MARK, &[]));
    }
    let mut out = Output { out, error: None };
    let shown = match args.failover {
        Some(runs) => tun_obstacle().map_or_else(
            || failover::measure(runs, args, gate_kind(args), &mut out),
            |obstacle| Err(anyhow::anyhow!("{obstacle}")),
        ),
        None => lab(args, &mut out),
    };
    match (shown, out.error) {
        (Ok(()), _) => Ok(()),
        // Where nobody takes what is printed, the steps have nothing to add.
        (Err(_), Some(error)) => Err(Failure::output(&error)),
        (Err(error), None) => Err(Failure::failed("lab", format!("{error:#}"))),
    }
}

/// Standard output that remembers why it took no more: among the errors of the steps its own is one of many.
struct Output<'a> {
    out: &'a mut dyn Write,
    error: Option<io::Error>,
}

impl Output<'_> {
    fn noted<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            // A write that a signal interrupts is made again.
            if kind != io::ErrorKind::Interrupted {
                self.error = Some(error);
            }
            kind.into()
        })
    }
}

impl Write for Output<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = self.out.write(octets);
        self.noted(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.noted(flushed)
    }
}

fn lab(args: &LabArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(obstacle) = tun_obstacle() {
        anyhow::bail!("{obstacle}");
    }
    let mut steps = Steps::new(out);
    steps.map()?;
    let mut ground = steps.step("hosts and links", || {
        let ground = Ground::lay()?;
        ground.serve_page()?;
        Ok((ground, "you, vpc, gate-a, gate-b, device; a web page on the device".to_owned()))
    })?;
    let kind = gate_kind(args);
    steps.step("Gate peers", || {
        ground.open_gates(kind)?;
        let made_of = match kind {
            GateKind::Kernel => "the kernel's vxlan devices",
            GateKind::Vxgate => "vxgate itself",
        };
        Ok(((), format!("{made_of}, VNI 10; they answer ARP for the device and route to it")))
    })?;
    // Whoever asks the API while the lab stays up finds it there.
    let api = if args.api { Some(steps.api(&ground)?) } else { None };
    let mut tunnel = match &api {
        Some(api) => steps.tunnel_from_api(&ground, api)?,
        None => steps.tunnel(&ground)?,
    };
    steps.arp(&ground)?;
    steps.ping(&ground)?;
    steps.page(&ground)?;
    steps.peers(&ground)?;
    steps.outage(&mut ground)?;
    steps.tables(&ground)?;
    let failed = steps.failed();
    if args.keep && failed == 0 {
        steps.how_to_enter(&ground)?;
        wait_for_the_end()?;
    }
    tunnel.end()?;
    steps.end(failed, args.keep)?;
    anyhow::ensure!(failed == 0 || !args.check, "{failed} of the steps above did not hold");
    Ok(())
}

/// What the Gate peers are made of here.
fn gate_kind(args: &LabArgs) -> GateKind {
    if kernel_has_vxlan() && !args.user_space_peers { GateKind::Kernel } else { GateKind::Vxgate }
}

/// Waits for Ctrl-C or SIGTERM.
fn wait_for_the_end() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let kind = tokio::signal::unix::SignalKind::terminate();
        let mut terminate = tokio::signal::unix::signal(kind)?;
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended,
            _ = terminate.recv() => Ok(()),
        }
    })
}
