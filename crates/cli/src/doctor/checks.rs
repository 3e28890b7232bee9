//! The checks, a file for each: facts in, findings out.

pub(super) mod address;
pub(super) mod arrivals;
pub(super) mod buffers;
pub(super) mod clock;
pub(super) mod duplicate;
pub(super) mod firewall;
pub(super) mod forwarding;
pub(super) mod gate;
pub(super) mod ipv6;
pub(super) mod kernel_vxlan;
pub(super) mod limits;
pub(super) mod local;
pub(super) mod mtu;
pub(super) mod name;
pub(super) mod next_hop;
pub(super) mod offload;
pub(super) mod options;
pub(super) mod path_mtu;
pub(super) mod peer;
pub(super) mod port;
pub(super) mod privilege;
pub(super) mod route;
pub(super) mod rp_filter;
pub(super) mod strangers;
pub(super) mod tun;
pub(super) mod tunnel;
pub(super) mod underlay;
pub(super) mod vni;

use std::fmt::Display;
use std::net::IpAddr;

/// Items as a sentence has them.
fn listed<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.as_slice() {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// The rule that lets the tunnel in, wherever somebody has to write it.
fn rule(port: u16, peers: impl IntoIterator<Item = IpAddr>, local: Option<IpAddr>) -> String {
    let local = local.map_or_else(|| "this host".to_owned(), |local| local.to_string());
    format!("allow UDP {port} from {} to {local}", listed(peers))
}

/// Whether the address is one that Gate peers have.
fn is_gate(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => vxgate_gate::VPG_RANGE.contains(&ip),
        IpAddr::V6(_) => false,
    }
}
