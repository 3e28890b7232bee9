//! The arguments of `doctor`: those of `up`, and how to print.

use clap::Args;

use super::OutputArgs;
use super::up::UpOptions;

/// What stands below the options in the help.
pub(crate) const HELP: &str = "With the options of a tunnel that does not run it tells what `up` would meet. Where a tunnel of that device \
runs it asks that one, too: what arrives, from whom, with which VNI. Without options it takes the only tunnel that runs.

It changes nothing and needs no privilege; a check that does says so and looks no further (sudo vxgate doctor shows the rest). It sends \
each peer a few datagrams that no VTEP takes and some pings, and asks the tunnel once who has its inner addresses. It takes about a \
second.

Each line is ok, a note, a warning (warn) or a failure (FAIL), and what to do next where there is something to do. The exit status is 1 \
where a check fails. The options come from the environment and a file, too, as with `up`.

Examples:
  vxgate doctor --peer 100.64.158.4 --peer 100.64.158.132 --address 10.225.194.171/9
  vxgate doctor --config /etc/vxgate/vxlan0.toml
  vxgate doctor --vpg-id 11111111-2222-4333-8444-555555555555
  vxgate doctor --dev vxlan0
  vxgate doctor -j | jq '.[] | select(.verdict == \"fail\")'";

/// The arguments of `doctor`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DoctorArgs {
    /// How to print.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// The tunnel.
    #[command(flatten)]
    pub(crate) options: UpOptions,
}
