//! Why a tunnel does not come up, and what the operator can do.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rustix::io::Errno;
use thiserror::Error;
use vxgate_forwarder::ForwarderError;
use vxgate_sys::tap::TapError;

use super::forward::ForwardError;
use crate::config::user::User;
use crate::metrics::MetricsError;

/// Why a tunnel does not come up, or ends.
#[derive(Debug, Error)]
pub(crate) enum UpError {
    /// A link of the device's name exists.
    #[error("a device named {dev} exists already{}", described(kind.as_deref(), owner.as_deref()))]
    NameTaken { dev: String, kind: Option<String>, owner: Option<String> },
    /// `--tap existing` or `--tap-fd`, and the device is none that frames can be read from.
    #[error("{dev} is no TAP device{}", described(kind.as_deref(), None))]
    NotATap { dev: String, kind: Option<String> },
    /// `--tap existing` or `--tap-fd`, and there is no such device.
    #[error("there is no device named {dev} to attach to")]
    NoSuchTap { dev: String },
    /// `--tap existing`, and the device is somebody's at this time, or has another number of queues.
    #[error("{dev} cannot be attached to{}", owner.as_ref().map_or(String::new(), |owner| format!(": it is held by {owner}")))]
    TapHeld { dev: String, owner: Option<String> },
    /// What `--tap-fd` names is none, or none that serves.
    #[error("--tap-fd {number}: the descriptor is of no use")]
    TapFd { number: i32, source: TapError },
    /// The descriptor's device has another name.
    #[error("--tap-fd {number}: the device is called {name} and not {dev}")]
    TapFdName { number: i32, name: String, dev: String },
    /// What a kept device had cannot be remembered.
    #[error("cannot write {path}, which says that the kept device is ours")]
    Record { path: String, source: io::Error },
    /// `--underlay` names no link.
    #[error("--underlay {name}: there is no such device")]
    NoUnderlay { name: String, names: Vec<String> },
    /// `--local` is no address of this host.
    #[error("--local {local} is no address of this host")]
    LocalNotHere { local: IpAddr, here: Vec<IpAddr> },
    /// Nothing says what the outer address is.
    #[error("no --local, and neither a peer's route nor --underlay tells this host's outer address")]
    NoLocal,
    /// The routing table has no way to a peer.
    #[error("no route to peer {peer}")]
    NoRoute { peer: IpAddr },
    /// A route to a peer is there to refuse it.
    #[error("the route to peer {peer} is of type {kind}: nothing gets there")]
    RouteRefuses { peer: IpAddr, kind: &'static str },
    /// A peer is this host.
    #[error("peer {peer} is an address of this host")]
    PeerIsHere { peer: IpAddr },
    /// The tunnel's own datagrams would go into the tunnel.
    #[error("--{option} {network} holds peer {peer}: the tunnel's own datagrams would go into the tunnel")]
    Loop { option: &'static str, network: IpNet, peer: IpAddr },
    /// An address or its network is on another link.
    #[error("--address {address} overlaps {other} of {link}")]
    AddressOverlaps { address: IpNet, other: IpNet, link: String },
    /// The host has a route to the same network.
    #[error("cannot add route {network}: this host has one already{}", way(link.as_deref(), *gateway))]
    RouteTaken { network: IpNet, link: Option<String>, gateway: Option<IpAddr> },
    /// The underlay carries no frame worth the name.
    #[error("the underlay's MTU of {outer} leaves no room behind {overhead} octets of headers")]
    UnderlayTooSmall { outer: u32, overhead: u32 },
    /// `--affinity` names a processor that no thread of this process can run on.
    #[error("--affinity {processor}: no thread can run on that processor")]
    NoProcessor { processor: usize, here: Option<String>, source: io::Error },
    /// The program that `--on-event` names cannot be run.
    #[error("--on-event {program}: it cannot be run")]
    NoProgram { program: String, source: io::Error },
    /// The TAP device cannot be made.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// Several workers need a device of several queues, which this kernel does not make.
    #[error("the kernel makes no TAP device with a virtio header and {workers} queues")]
    NoQueues { workers: u16 },
    /// The UDP port is taken.
    #[error("UDP port {} of {} is taken{}", address.port(), address.ip(), owner.as_ref().map_or(String::new(), |owner| format!(" by {owner}")))]
    PortTaken { address: SocketAddr, owner: Option<String> },
    /// A socket cannot be opened.
    #[error("cannot open the underlay's socket at {address}")]
    Socket { address: SocketAddr, source: io::Error },
    /// The device cannot be set up.
    #[error(transparent)]
    Netlink(#[from] vxgate_netlink::Error),
    /// Other machines' packets cannot be forwarded.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The process with privilege could not do it, and says why.
    #[error("{why}")]
    Told { why: String, hint: Option<String> },
    /// The process with privilege is gone, or does not answer.
    #[error("the tunnel's monitor, which changes the network for it, is gone: {how}")]
    MonitorGone { how: String },
    /// `--user`, and this process may not become somebody else.
    #[error("--user {user}: this process may not become another user")]
    NotThatUser { user: User },
    /// There is no process to leave the privilege to.
    #[error("cannot start the process that keeps the privilege")]
    NoMonitor(#[source] io::Error),
    /// Metrics cannot be served.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A peer cannot be taken in.
    #[error("peer {peer}")]
    Peer { peer: IpAddr, source: vxgate_core::ControlError },
    /// The threads cannot be started, or a descriptor is missing.
    #[error("cannot start")]
    Start(#[source] io::Error),
    /// The device was deleted under the tunnel.
    #[error("device {dev} is gone: somebody deleted it")]
    DeviceGone { dev: String },
    /// A direction ended by itself.
    #[error(transparent)]
    Forwarder(#[from] ForwarderError),
}

impl UpError {
    /// What the operator can do, where something can be said.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            UpError::NameTaken { dev, kind, .. } if kind.as_deref() == Some("vxlan") => {
                format!("remove the kernel's device (ip link del {dev}), or choose another name with --dev")
            }
            UpError::NameTaken { owner: Some(_), .. } => {
                "end that process, or choose another name with --dev".to_owned()
            }
            UpError::NameTaken { .. } => "choose another name with --dev".to_owned(),
            UpError::NotATap { .. } => "choose the device with --dev, or leave --tap out to have one made".to_owned(),
            UpError::NoSuchTap { dev } => {
                format!("make it first, as in `ip tuntap add dev {dev} mode tap user NAME`, or leave --tap out to have one made")
            }
            UpError::TapHeld { owner: Some(_), .. } => "end the program that holds it first".to_owned(),
            UpError::TapHeld { owner: None, dev } => format!(
                "end the program that holds it; several workers need a device made with multi_queue, and one worker one made \
                 without (ip -d link show {dev})"
            ),
            UpError::TapFd { .. } => {
                "leave it open for this program when it starts, attached to a TAP device with IFF_NO_PI (TUNSETIFF)".to_owned()
            }
            UpError::TapFdName { name, .. } => format!("write --dev {name}"),
            UpError::Record { .. } => "set VXGATE_RUNTIME_DIR to a directory that can be written, or leave --tap keep out".to_owned(),
            UpError::NoUnderlay { names, .. } => format!("this host has {}", listed(names)),
            UpError::LocalNotHere { here, .. } if here.is_empty() => {
                "give the underlay's device its address first".to_owned()
            }
            UpError::LocalNotHere { here, .. } => format!("this host has {}", listed(here)),
            UpError::NoLocal => "say --local IP: the address that the peers know this host by".to_owned(),
            UpError::NoRoute { peer } => {
                format!("add one first, as in `ip route add {peer} via ROUTER`; for a Gate peer, join the VPG to the VPC")
            }
            UpError::RouteRefuses { peer, kind } => {
                format!("`ip route show type {kind}` lists it; take it away, or add a longer one to {peer} beside it")
            }
            UpError::PeerIsHere { .. } => "a peer is another host; this host's own address is --local".to_owned(),
            UpError::Loop { network, .. } => format!(
                "use networks that leave the peers out, or route the peer outside by a prefix longer than /{}",
                network.prefix_len()
            ),
            UpError::AddressOverlaps { link, .. } => {
                format!("take the address off {link} first, or check it against the Gate's innerIpAddress and netmask")
            }
            UpError::RouteTaken { network, .. } => {
                format!("take that one away first (ip route del {network}), or leave --route {network} out")
            }
            UpError::NoProcessor { here: Some(here), .. } => format!("this process may run on {here}"),
            UpError::NoProgram { .. } => {
                "give the path of a program that may be run; it gets no arguments, and is told by its environment".to_owned()
            }
            UpError::NoQueues { .. } => "leave --workers out: one worker does with a plain device".to_owned(),
            UpError::UnderlayTooSmall { .. } => "raise the MTU of the underlay's device".to_owned(),
            UpError::PortTaken { .. } => {
                "stop its owner, or give each tunnel a --local address or a --port of its own".to_owned()
            }
            UpError::Socket { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as root, or with CAP_NET_RAW for --underlay and CAP_NET_BIND_SERVICE for ports below 1024".to_owned()
            }
            // What is refused for want of a capability is EPERM (net/core/rtnetlink.c); this is net/ipv6's own refusal.
            UpError::Netlink(error) if error.errno() == Some(Errno::ACCESS.raw_os_error()) => {
                "IPv6 is switched off here: leave IPv6 addresses and routes out, or sysctl -w \
                 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0"
                    .to_owned()
            }
            UpError::Netlink(error) if error.is_denied() => {
                "run as root, or grant CAP_NET_ADMIN (docker run --cap-add NET_ADMIN)".to_owned()
            }
            UpError::Forward(error) => return error.hint(),
            UpError::Told { hint, .. } => return hint.clone(),
            UpError::MonitorGone { .. } => "start the tunnel again".to_owned(),
            UpError::NotThatUser { .. } => "run as root with CAP_SETUID and CAP_SETGID, or leave --user out".to_owned(),
            UpError::NoMonitor(_) => "it is this program once more, by /proc/self/exe; --sandbox off does without".to_owned(),
            UpError::Metrics(error) => return error.hint(),
            UpError::NoProcessor { here: None, .. }
            | UpError::Tap(_)
            | UpError::Socket { .. }
            | UpError::Netlink(_)
            | UpError::Peer { .. }
            | UpError::Start(_)
            | UpError::DeviceGone { .. }
            | UpError::Forwarder(_) => return None,
        })
    }
}

/// Where a route leads, as `ip route` says it.
fn way(link: Option<&str>, gateway: Option<IpAddr>) -> String {
    let gateway = gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
    let link = link.map_or_else(String::new, |link| format!(" dev {link}"));
    if gateway.is_empty() && link.is_empty() { gateway } else { format!(",{gateway}{link}") }
}

/// What has a name, in brackets.
fn described(kind: Option<&str>, owner: Option<&str>) -> String {
    let owner = owner.map(|owner| format!("held by {owner}"));
    let known: Vec<&str> = kind.into_iter().chain(owner.as_deref()).collect();
    if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) }
}

/// The first few of a list, as a sentence has them.
fn listed<T: ToString>(items: &[T]) -> String {
    let mut text = String::new();
    for (index, item) in items.iter().take(8).enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // A String takes all that is written to it.
        let _ = write!(text, "{separator}{}", item.to_string());
    }
    if items.len() > 8 {
        text.push_str(", ...");
    }
    text
}
