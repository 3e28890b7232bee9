//! Why nothing is forwarded, and what the operator can do.

use std::io;
use std::path::PathBuf;

use ipnet::IpNet;
use thiserror::Error;

/// Why `--forward` cannot be done.
#[derive(Debug, Error)]
pub(crate) enum ForwardError {
    /// Nothing says which link the machines are behind.
    #[error("--forward: nothing tells which interface the machines are behind")]
    NoUnderlay,
    /// Packets would leave without a source.
    #[error("--forward: the device has no address to send from")]
    NoAddress,
    /// The same for one family.
    #[error("--forward {network}: the device has no {} address to send from", family(*network))]
    NoAddressFor { network: IpNet },
    /// The kernel has no nftables, or lacks a part of it.
    #[error("--forward: this kernel's nftables does not do it")]
    NoTables { by_hand: String, source: vxgate_netlink::Error },
    /// A table of our name is another process's.
    #[error("--forward: another process owns the nftables table {name}")]
    TableHeld { name: String },
    /// A link cannot be looked up or changed.
    #[error("--forward")]
    Netlink(#[from] vxgate_netlink::Error),
    /// A setting cannot be made.
    #[error("--forward: cannot set {key} to {value}")]
    Setting { key: String, value: String, source: io::Error },
    /// What was changed cannot be kept in mind.
    #[error("--forward: cannot note in {} what to undo", path.display())]
    Ledger { path: PathBuf, source: io::Error },
}

fn family(network: IpNet) -> &'static str {
    if network.addr().is_ipv4() { "IPv4" } else { "IPv6" }
}

impl ForwardError {
    /// What the operator can do.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            ForwardError::NoUnderlay => Some("name it, as in --underlay eth0".to_owned()),
            ForwardError::NoAddress | ForwardError::NoAddressFor { .. } => {
                Some("add --address CIDR: the inner address that the devices answer to".to_owned())
            }
            ForwardError::NoTables { by_hand, .. } => {
                Some(format!("leave --forward out, and once the tunnel is up: {by_hand}"))
            }
            ForwardError::TableHeld { .. } => {
                Some("end that process: `nft list ruleset` tells who it is".to_owned())
            }
            ForwardError::Setting { key, value, source }
                if source.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                Some(format!("let who starts the container set it: docker run --sysctl {key}={value}"))
            }
            ForwardError::Setting { .. } => {
                Some("run as root in the host's own network namespace".to_owned())
            }
            ForwardError::Netlink(error) if error.is_denied() => {
                Some("run as root, or grant CAP_NET_ADMIN (docker run --cap-add NET_ADMIN)".to_owned())
            }
            ForwardError::Netlink(_) => None,
            ForwardError::Ledger { .. } => Some(format!(
                "{} names a directory that you may write to",
                crate::control::runtime_dir::VARIABLE
            )),
        }
    }
}
