//! The arguments of `vxgate migrate`.

use std::path::PathBuf;

use clap::Args;

use crate::config::values::DeviceName;

/// What `--help` says behind the options.
pub(super) const HELP: &str = "\
It finds the line whatever stands around it: sudo, nohup, quotes, redirections, a crontab's @reboot, a \
unit's ExecStart. It runs nothing and changes nothing but the file that -o names. Without -o it prints the \
file; without arguments and --from it reads standard input.

Examples:
  vxgate migrate --from /etc/rc.local -o /etc/vxgate/vxlan0.toml
  vxgate migrate --from /etc/rc.local --set IP=172.21.0.100
  vxgate migrate eth0 172.21.0.100 vxlan0 10.225.194.171/9 - 100.64.158.4
  vxgate migrate --from /etc/crontab --from /etc/rc.local --dev vxlan1";

/// The words and options of `migrate`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct MigrateArgs {
    /// The script's words, or its whole line as one argument.
    #[arg(value_name = "ARGUMENT", help = "The script's arguments, or a whole line as one argument")]
    pub(crate) arguments: Vec<String>,
    /// File to find the line in: rc.local, a crontab, a script, a systemd unit; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "arguments")]
    pub(crate) from: Vec<PathBuf>,
    /// Value of a variable in the line; may be given many times
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
    /// Take the line for this device, where there are several
    #[arg(long, value_name = "DEV")]
    pub(crate) dev: Option<DeviceName>,
    /// File to write, as in /etc/vxgate/vxlan0.toml
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write over a file that exists
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
}

fn assignment(text: &str) -> Result<(String, String), &'static str> {
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let assigned = text.split_once('=').filter(|(name, _)| is_name(name));
    assigned
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or("a variable's name and its value, as in IP=172.21.0.100")
}
