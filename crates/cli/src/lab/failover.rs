//! What it costs when a Gate peer goes away, and when it comes back.
//!
//! ```text
//!   pings every 10 ms   | | | | | | | | | | · · · · · · · | | | | | | | | | | | | | | | |
//!                       └── it settles ──┘^└─── gap ──────┘                 ^
//!                                 taken away                         given back: no gap, no answer twice
//! ```
//!
//! Each run has a tunnel of its own: a peer that went down is trusted less for a while, and one run shall not be another's
//! history. The pings go to an address that both Gate peers answer for, and the one that they go through is taken away.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use vxgate_testbed::{KernelVxlan, Ping, PingReport, eventually, kernel_has_vxlan, now, wait_for};

use super::PATIENCE;
use super::ground::{GATES, GateKind, Ground, Outage, SERVICE, YOU, YOU_INNER};
use super::steps::{DEV, start};
use crate::args::LabArgs;
use crate::args::bench::Against;
use crate::control::client::Client;
use crate::control::protocol::PeerState;
use crate::control::runtime_dir::RuntimeDir;

/// From one ping to the next.
const INTERVAL: Duration = Duration::from_millis(10);

/// How long the pings go before a peer is taken away. The kernel holds on to what ARP has just told it for a second
/// (`locktime`, arp(7)), and nobody's peers die in the second in which the host learned of a device.
const SETTLE: Duration = Duration::from_millis(1500);

/// How long the peer is away from a vxgate: above any gap that it promises.
pub(super) const AWAY: Duration = Duration::from_millis(1500);

/// How long it is away from the kernel's device, which has no time that it promises.
const AWAY_FROM_KERNEL: Duration = Duration::from_secs(5);

/// How long its return is watched: the hold-down, and some.
const RETURN: Duration = Duration::from_millis(1500);

/// What carries the overlay at `you`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plane {
    Vxgate,
    Kernel,
}

impl Plane {
    const fn name(self) -> &'static str {
        match self {
            Plane::Vxgate => "vxgate",
            Plane::Kernel => "kernel vxlan",
        }
    }

    const fn away(self) -> Duration {
        match self {
            Plane::Vxgate => AWAY,
            Plane::Kernel => AWAY_FROM_KERNEL,
        }
    }
}

/// What one run showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Which Gate peer it was.
    pub(super) gate: usize,
    /// The longest time from one answer to the next while the peer was away.
    pub(super) gap: Duration,
    /// Whether none was answered any more until it was given back.
    pub(super) is_open: bool,
    /// The longest such time after it was given back.
    pub(super) gap_at_return: Duration,
    /// Answers that came twice.
    pub(super) duplicates: usize,
}

/// What all runs of one way over one data plane showed.
#[derive(Debug, Serialize)]
struct Figures {
    outage: &'static str,
    plane: &'static str,
    runs: usize,
    gap_p50_ms: u64,
    gap_p99_ms: u64,
    gap_max_ms: u64,
    /// Runs in which nothing came through again while the peer was away: their gaps are longer than was waited.
    open: usize,
    return_gap_max_ms: u64,
    duplicates: usize,
    /// Of each run, ascending.
    gaps_ms: Vec<u64>,
    /// Of each run, ascending.
    return_gaps_ms: Vec<u64>,
}

/// Measures, and prints what came of it.
pub(super) fn measure(runs: u32, args: &LabArgs, kind: GateKind, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut ground = Ground::lay()?;
    ground.open_gates(kind)?;
    let mut all = Vec::new();
    let outages = if args.outage.is_empty() { &Outage::ALL[..] } else { &args.outage };
    let compared = args.against == Against::Kernel && kernel_has_vxlan();
    if !args.json {
        writeln!(out, "{}", HEAD)?;
    }
    for &outage in outages {
        for (plane, runs) in [(Plane::Vxgate, runs), (Plane::Kernel, runs.div_ceil(10))] {
            if plane == Plane::Kernel && !compared {
                continue;
            }
            let measured: anyhow::Result<Vec<Run>> = (1..=runs)
                .map(|number| {
                    run(&mut ground, plane, outage)
                        .with_context(|| format!("{}, {}, run {number}", outage.name(), plane.name()))
                })
                .collect();
            let figures = Figures::of(outage, plane, &measured?);
            if !args.json {
                line(out, &figures)?;
            }
            all.push(figures);
        }
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &all)?;
        writeln!(out)?;
    }
    Ok(())
}

const HEAD: &str =
    "outage     over          runs  gap p50     p99     max  never back  at return: gap  answers twice";

fn line(out: &mut dyn Write, figures: &Figures) -> io::Result<()> {
    let at_return = match figures.plane {
        "vxgate" => format!("{:>8} ms {:>14}", figures.return_gap_max_ms, figures.duplicates),
        _ => String::new(),
    };
    writeln!(
        out,
        "{:<9}  {:<12} {:>5} {:>5} ms {:>4} ms {:>4} ms {:>11} {at_return:>26}",
        figures.outage,
        figures.plane,
        figures.runs,
        figures.gap_p50_ms,
        figures.gap_p99_ms,
        figures.gap_max_ms,
        figures.open
    )?;
    out.flush()
}

impl Figures {
    fn of(outage: Outage, plane: Plane, runs: &[Run]) -> Figures {
        let sorted = |gap: fn(&Run) -> Duration| {
            let mut sorted: Vec<u64> = runs.iter().map(|run| millis(gap(run))).collect();
            sorted.sort_unstable();
            sorted
        };
        let (gaps_ms, return_gaps_ms) = (sorted(|run| run.gap), sorted(|run| run.gap_at_return));
        // The smallest value that so many per cent of the runs do not exceed.
        let quantile = |percent: usize| {
            gaps_ms
                .get((gaps_ms.len() * percent).div_ceil(100).saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Figures {
            outage: outage.name(),
            plane: plane.name(),
            runs: runs.len(),
            gap_p50_ms: quantile(50),
            gap_p99_ms: quantile(99),
            gap_max_ms: quantile(100),
            open: runs.iter().filter(|run| run.is_open).count(),
            return_gap_max_ms: return_gaps_ms.last().copied().unwrap_or_default(),
            duplicates: runs.iter().map(|run| run.duplicates).sum(),
            gaps_ms,
            return_gaps_ms,
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// One outage from a fresh tunnel on.
fn run(ground: &mut Ground, plane: Plane, outage: Outage) -> anyhow::Result<Run> {
    let mut tunnel = match plane {
        Plane::Vxgate => Some(start(ground)?),
        Plane::Kernel => {
            let [(first, _), (second, _)] = GATES;
            KernelVxlan::new(YOU).peer(first).peer(second).address(YOU_INNER).create(&ground.you)?;
            None
        }
    };
    let settled = match plane {
        Plane::Vxgate => settle(ground),
        Plane::Kernel => reach(ground),
    };
    let run = settled.and_then(|()| outage_under_pings(ground, plane.away(), outage));
    match &mut tunnel {
        Some(tunnel) => {
            let log = tunnel.log();
            tunnel.end()?;
            run.with_context(|| format!("the tunnel said:\n{log}"))
        }
        None => {
            let you = &ground.you;
            you.netlink(async |netlink| netlink.link_delete(&netlink.link_by_name(DEV).await?).await)?;
            run
        }
    }
}

/// Waits until both peers are known to live, and the service answers.
pub(super) fn settle(ground: &Ground) -> anyhow::Result<()> {
    let dev = DEV.parse().expect("a device's name");
    let up = || {
        let peers = Client::connect(&RuntimeDir::from_environment(), &dev).ok()?.peer_list().ok()?;
        peers.iter().all(|peer| peer.state == PeerState::Up).then_some(())
    };
    wait_for(PATIENCE, up).context("the Gate peers do not answer")?;
    reach(ground)
}

/// Waits until the service answers.
fn reach(ground: &Ground) -> anyhow::Result<()> {
    let ping = Ping { count: 1, timeout: Duration::from_millis(200), ..Ping::new(SERVICE.parse()?) };
    let answered =
        eventually(PATIENCE, || ground.you.run(|| ping.run()).is_ok_and(|report| report.all_answered()));
    anyhow::ensure!(answered, "{SERVICE} does not answer");
    Ok(())
}

/// Takes the peer away that pings go through, and gives it back.
pub(super) fn outage_under_pings(ground: &mut Ground, away: Duration, outage: Outage) -> anyhow::Result<Run> {
    let watched = SETTLE + away + RETURN;
    let ping = Ping {
        count: u16::try_from(watched.as_millis() / INTERVAL.as_millis())?,
        interval: INTERVAL,
        timeout: Duration::from_millis(500),
        ..Ping::new(SERVICE.parse()?)
    };
    let you = ground.you.try_clone()?;
    let started = now();
    let pings = thread::spawn(move || you.run(|| ping.run()));
    let received = |ground: &Ground| anyhow::Ok([ground.received(0)?, ground.received(1)?]);
    wait_until(started, SETTLE / 3);
    let before = received(ground)?;
    wait_until(started, SETTLE);
    let after = received(ground)?;
    let busier = usize::from(after[1] - before[1] > after[0] - before[0]);

    let taken = started.elapsed();
    ground.take_away(busier, outage)?;
    wait_until(started, taken + away);
    let given = started.elapsed();
    ground.give_back(busier, outage)?;
    let report = pings.join().expect("a ping does not panic")?;
    Ok(Run { gate: busier, ..judge(&report, taken, given) })
}

/// Waits until this long after `start`.
fn wait_until(start: std::time::Instant, span: Duration) {
    let _ = eventually(span.saturating_sub(start.elapsed()), || false);
}

/// What the pings showed: by when their answers came, since what waits somewhere until the peer is back is answered in the end. The
/// pings begin a moment after the clock of the run, for which the tenth of a second in front makes up.
fn judge(report: &PingReport, taken: Duration, given: Duration) -> Run {
    let arrivals = &report.arrivals;
    let end = arrivals.last().map_or(given, |last| (*last).max(given));
    let before = |moment: Duration| arrivals.iter().copied().take_while(|at| *at < moment).last();
    let longest = |from: Duration, to: Duration| {
        let inside = arrivals.iter().copied().filter(|at| (from..to).contains(at));
        let points: Vec<Duration> = before(from).into_iter().chain(inside).chain([to]).collect();
        points.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    };
    Run {
        gate: 0,
        gap: longest(taken.saturating_sub(Duration::from_millis(100)), given),
        is_open: given - before(given).unwrap_or_default() > Duration::from_millis(500),
        gap_at_return: longest(given, end),
        duplicates: report.duplicates,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every 10 ms for this long, but for those in `lost`, in milliseconds.
    fn report(until: u64, lost: &[std::ops::Range<u64>]) -> PingReport {
        let arrivals = (0..until / 10).map(|number| number * 10);
        let arrivals = arrivals.filter(|at| !lost.iter().any(|lost| lost.contains(at))).map(ms);
        PingReport { arrivals: arrivals.collect(), ..PingReport::default() }
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_gap_is_the_time_from_one_answer_to_the_next() {
        let run = judge(&report(5000, &[1500..1800, 3500..3540]), ms(1500), ms(3000));
        assert_eq!((run.gap, run.gap_at_return, run.is_open), (ms(310), ms(50), false));
        let run = judge(&report(5000, &[]), ms(1500), ms(3000));
        assert_eq!((run.gap, run.gap_at_return, run.is_open), (ms(10), ms(10), false));
    }

    #[test]
    fn what_never_comes_back_is_as_long_as_was_waited() {
        let run = judge(&report(5000, &[1500..3500, 3510..3510]), ms(1500), ms(3000));
        assert!(run.is_open);
        assert_eq!((run.gap, run.gap_at_return), (ms(1510), ms(2010)));
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let run = |gap| Run { gate: 0, gap: ms(gap), is_open: false, gap_at_return: ms(10), duplicates: 1 };
        let figures = Figures::of(Outage::Silent, Plane::Vxgate, &(1..=100).map(run).collect::<Vec<_>>());
        assert_eq!((figures.gap_p50_ms, figures.gap_p99_ms, figures.gap_max_ms), (50, 99, 100));
        assert_eq!(figures.duplicates, 100);
        let figures = Figures::of(Outage::Silent, Plane::Vxgate, &[run(7)]);
        assert_eq!((figures.gap_p50_ms, figures.gap_p99_ms, figures.gap_max_ms), (7, 7, 7));
    }
}
