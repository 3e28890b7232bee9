//! `vxgate bench`: what this machine carries through vxgate, and through the kernel's vxlan device.
//!
//! # Theory of operation
//!
//! ```text
//!   vxgate bench ──exec──► the same, in new user (if not root), network and mount namespaces
//!                            │ near ── link ── far                                  ground.rs
//!                            └ for each load, for each round:                       load.rs
//!                                 vxgate up in near and far ── warm up ── measure ── down
//!                                 kernel vxlan, the same    ── warm up ── measure ── down      rounds.rs, measure.rs
//! ```
//!
//! One data plane is there at a time, made anew for each measurement, so that neither takes anything from the other;
//! the two of a round follow each other closely, so that their ratio says more than either figure. The load runs on
//! threads of this process, in the two hosts (`vxgate-load`); vxgate runs as two processes of this very program.
//!
//! A signal ends the load that runs; the data plane is taken down and what was measured until then is printed. A
//! process that is killed takes its children with it, and the kernel takes down namespaces that nobody is in.

mod date;
mod ground;
pub(crate) mod load;
mod measure;
mod model;
mod output;
mod progress;
mod report;
mod rounds;
mod signals;

use std::env;
use std::fs;
use std::io::Write;
use std::num::NonZero;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use vxgate_load::{Span, Stop, processor};
use vxgate_sys::inheritance::close_on_exec_above_stderr;
use vxgate_testbed::{kernel_has_vxlan, tun_obstacle};

use crate::args::bench::{Against, BenchArgs};
use crate::failure::Failure;
use crate::namespaces;
use ground::{Ground, MTU_OCTETS, Plane};
use model::{LinkMode, Report};
use rounds::Rounds;

/// What tells the process inside from the one outside.
const MARK: &str = "VXGATE_BENCH";

/// The exit status of a process that a signal ended, as the shell has it: 128 and SIGINT.
const INTERRUPTED: i32 = 130;

/// How long a load runs before it is measured, for a second that is measured, and at most.
const WARM_UP_PART: u32 = 6;
const WARM_UP_MAX: Duration = Duration::from_millis(500);

/// How long it looks whether the machine is idle: a few ticks of the clock that processor time is counted by.
const IDLE_LOOK: Duration = Duration::from_millis(200);

/// Measures and prints what came of it.
///
/// # Errors
/// The system refuses namespaces, or a load could not be measured.
pub(crate) fn run(args: &BenchArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if !namespaces::is_inside(MARK) {
        return Err(namespaces::enter("bench", MARK, &output::open(args)?));
    }
    // What is inherited is for this process: a `vxgate up` has no use for it. An older kernel lets it have it.
    let _ = close_on_exec_above_stderr();
    let stop = Stop::new();
    let mut report = new_report(args);
    let measured = signals::stop_on_signals(&stop)
        .map_err(anyhow::Error::from)
        .and_then(|()| measure_all(args, &mut report, &stop));
    report.loads.retain(|load| !load.vxgate.is_empty());
    output::write(args, &report, out)?;
    match measured {
        Ok(()) => Ok(()),
        Err(_) if stop.is_stopped() => Err(Failure::told(Some(INTERRUPTED))),
        Err(error) => Err(Failure::failed("bench", format!("{error:#}"))),
    }
}

fn measure_all(args: &BenchArgs, report: &mut Report, stop: &Stop) -> anyhow::Result<()> {
    if let Some(obstacle) = tun_obstacle() {
        anyhow::bail!("{obstacle}");
    }
    let mut planes = vec![Plane::Vxgate];
    let compared = args.against == Against::Kernel && kernel_has_vxlan();
    if compared {
        planes.push(Plane::Kernel);
        report.against = Some(Plane::Kernel.name().to_owned());
    }
    let warm_up = (args.duration / WARM_UP_PART).min(WARM_UP_MAX);
    let span = Span { warm_up, measured: args.duration };
    if args.against == Against::Kernel && !compared {
        progress::note(
            "This kernel has no vxlan devices (modprobe vxlan): there is nothing to compare with.",
        );
    }
    if cfg!(debug_assertions) {
        progress::note("This is a debug build: its figures say nothing of a release.");
    }
    if let Some(busy) = busy_processors(stop)? {
        progress::note(&format!(
            "The machine is not idle: {busy:.1} of {} processors are busy with something else, which the figures will show.",
            report.cpus
        ));
    }
    let ground = Ground::lay(report.link).context("the hosts cannot be made")?;
    let (rounds, up_options) = (args.rounds, &args.up_options);
    let rounds = Rounds { ground: &ground, planes: &planes, rounds, span, up_options, stop };
    rounds.run(&load::chosen(&args.load), report)
}

/// How many processors do something although nothing is measured, where that is more than a tenth of one.
fn busy_processors(stop: &Stop) -> anyhow::Result<Option<f64>> {
    let before = processor::busy()?;
    stop.wait(IDLE_LOOK)?;
    let busy = processor::busy()?.saturating_sub(before).as_secs_f64() / IDLE_LOOK.as_secs_f64();
    Ok((busy > 0.1).then_some(busy))
}

fn new_report(args: &BenchArgs) -> Report {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = text("/proc/cpuinfo");
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    #[expect(clippy::disallowed_methods, reason = "the report says when it was made")]
    let started = SystemTime::now();
    Report {
        version: concat!("vxgate ", env!("CARGO_PKG_VERSION")).to_owned(),
        command: command_line(env::args().skip(1)),
        started: date::rfc3339(started),
        kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpu: cpu.map_or_else(|| env::consts::ARCH.to_owned(), |(_, model)| model.to_owned()),
        cpus: thread::available_parallelism().map_or(1, NonZero::get),
        link: if args.wire { LinkMode::Wire } else { LinkMode::Superframes },
        mtu_octets: MTU_OCTETS,
        against: None,
        rounds: args.rounds,
        resident_octets: None,
        loads: Vec::new(),
    }
}

/// What to type to do it again.
fn command_line(words: impl Iterator<Item = String>) -> String {
    let plain = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_=.,:/%+@".contains(c))
    };
    let quoted =
        words.map(|word| if plain(&word) { word } else { format!("'{}'", word.replace('\'', "'\\''")) });
    ["vxgate".to_owned()].into_iter().chain(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_typed_again() {
        let line = |words: &[&str]| command_line(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(
            line(&["bench", "--load", "tcp1,imix", "--json", "-"]),
            "vxgate bench --load tcp1,imix --json -"
        );
        assert_eq!(line(&["bench", "--json", "a b", "it's", ""]), r"vxgate bench --json 'a b' 'it'\''s' ''");
    }
}
