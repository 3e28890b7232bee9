//! The options of `vxgate bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::bench::load::{self, Loads};
use crate::config::values::NotAllowed;

/// What `--help` says at its end.
pub(crate) const HELP: &str = "\
It makes two hosts with a link of MTU 1500 between them in namespaces of its own, and nothing outside changes. Each \
load runs over vxgate and then over the kernel's vxlan device, round after round, one data plane at a time, each after \
a warm-up; the ratio of a round is vxgate's figure over the kernel's. Nothing else should run meanwhile.

Loads:
  tcp1, tcp4, tcp16             throughput of 1, 4 and 16 TCP streams
  udp-flat-SIZE-FLOWS           datagrams delivered while the sender goes as fast as it can;
                                SIZE 18, 512 or 1400 octets of payload, FLOWS 1 or 8
  udp-lossless-SIZE-FLOWS       highest rate of datagrams with less than 0.1 % loss
  imix                          as udp-flat, 7 packets of 40 octets, 4 of 576 and 1 of 1400
  rtt-idle, rtt-loaded          round trip of a datagram of 18 octets: alone, beside a TCP stream
  conn                          TCP connections opened and closed
Groups: default (3 minutes), all (10 minutes), tcp, udp, udp-flat, udp-lossless, rtt

CPU is the time that all processors of the machine were busy, the load's own included: for a gigabyte of TCP payload, \
or for a million datagrams, round trips or connections.

Exit status: 0 measured; 1 not; 2 wrong command line; 130 ended by a signal, after printing what was measured.

Examples:
  vxgate bench
  vxgate bench --load all --wire --rounds 5 --html wire.html
  vxgate bench --load tcp1,udp-flat-18-1 --duration 1
  vxgate bench --against none --load rtt -- --source-port hash";

/// What vxgate is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Against {
    /// The kernel's vxlan device.
    Kernel,
    /// Nothing.
    None,
}

/// The arguments of `bench`.
#[derive(Args, Clone, Debug, PartialEq)]
pub(crate) struct BenchArgs {
    /// What to compare with: the kernel's vxlan device, or nothing
    #[arg(long, value_name = "kernel|none", default_value = "kernel", hide_possible_values = true)]
    pub(crate) against: Against,

    /// Loads to measure, by name or group, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = load::DEFAULT, value_parser = load::parse)]
    pub(crate) load: Vec<Loads>,

    /// How often each load is measured over each data plane, 1 to 100
    #[arg(long, value_name = "N", default_value = "3", value_parser = rounds)]
    pub(crate) rounds: usize,

    /// How long each measurement takes, 0.05 to 3600 seconds
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = duration)]
    pub(crate) duration: Duration,

    /// Switch the segmentation offloads of the link off and GRO on, as on a plain network card
    #[arg(long)]
    pub(crate) wire: bool,

    /// Write the report as JSON; - for standard output, in place of the table
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,

    /// Write the report as a page with charts: one file for a browser
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Further options for the `vxgate up` that is measured
    #[arg(last = true, value_name = "UP_OPTION")]
    pub(crate) up_options: Vec<String>,
}

fn rounds(text: &str) -> Result<usize, NotAllowed> {
    let rounds = text.parse().ok().filter(|rounds| (1..=100).contains(rounds));
    rounds.ok_or(NotAllowed { allowed: "a number of rounds from 1 to 100" })
}

fn duration(text: &str) -> Result<Duration, NotAllowed> {
    let seconds = text.parse().ok().filter(|seconds| (0.05..=3600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or(NotAllowed { allowed: "a number of seconds from 0.05 to 3600" })
}
