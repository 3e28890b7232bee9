//! The rules between options, one variant each.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};
use thiserror::Error;

use super::values::{DeviceName, Forward};
use super::{Family, MAX_FORWARDED, MAX_PEERS};

/// Which rule the options break. Shows why, without the option's own name: [`ConfigError::option`] has it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum ConfigError {
    #[error("{dev} is the device to make, so it cannot carry the tunnel")]
    UnderlayIsDevice { dev: DeviceName },
    #[error("{local} {why}; this host's own address on the underlay stands there")]
    LocalUnusable { local: IpAddr, why: &'static str },
    #[error(
        "{value} is {family}, but {first_option} {first_value} is {first_family}: a tunnel has one underlay"
    )]
    MixedFamilies {
        option: &'static str,
        value: String,
        family: Family,
        first_option: &'static str,
        first_value: String,
        first_family: Family,
    },
    #[error("{count} peers; at most {MAX_PEERS} are allowed")]
    TooManyPeers { count: usize },
    #[error("{peer} is given twice; each peer counts once")]
    PeerTwice { peer: IpAddr },
    #[error("{peer} is this host's own outer address; a peer is another host")]
    PeerIsLocal { peer: IpAddr },
    #[error("{peer} {why}; a peer is a host or a multicast group")]
    PeerUnusable { peer: IpAddr, why: &'static str },
    #[error("{peer} is {}, so the interface must be named", scope(*peer))]
    PeerNeedsUnderlay { peer: IpAddr },
    #[error("{peer} is a multicast group whose members are not known, so what to accept must be said")]
    GroupNeedsAcceptFrom { peer: IpAddr },
    #[error("{peer} is a multicast group, so that the inner address {inner} is none of one host")]
    GroupHasInner { peer: IpAddr, inner: IpAddr },
    #[error("the inner address {inner} {why}; a peer's own address in the segment stands behind its =")]
    InnerUnusable { inner: IpAddr, why: &'static str },
    #[error("{address} {why}")]
    AddressUnusable { address: IpNet, why: &'static str },
    #[error("{address} is an outer address too; the tunnel's inside has addresses of its own")]
    AddressIsOuter { address: IpNet },
    #[error("{address} and {other} are the same address")]
    AddressTwice { address: IpNet, other: IpNet },
    #[error(
        "{address} and {other} overlap with different prefixes, so both would route the same destinations"
    )]
    AddressOverlap { address: IpNet, other: IpNet },
    #[error("{mtu} is too small for {address}: IPv6 needs 1280 octets (RFC 8200 section 5)")]
    MtuBelowIpv6 { mtu: u16, address: Ipv6Net },
    #[error("{network} has bits set behind its prefix; the network is {}", network.trunc())]
    HostBits { option: &'static str, network: IpNet },
    #[error("the device of a descriptor is somebody else's: it is neither made nor kept")]
    TapFdIsNotOurs,
    #[error("a descriptor is one queue of the device, and {workers} workers need one each")]
    TapFdWorkers { workers: u16 },
    #[error("{workers} workers need as many source ports, and the range has {ports}")]
    FewerPortsThanWorkers { ports: usize, workers: u16 },
    #[error("{} ms are longer than --probe-interval, which is {} ms", retry.as_millis(), interval.as_millis())]
    RetryAboveInterval { retry: Duration, interval: Duration },
    #[error("{network} is given twice")]
    RouteTwice { network: IpNet },
    #[error("{given} is given twice")]
    ForwardTwice { given: Forward },
    #[error("{count} networks; at most {MAX_FORWARDED} are allowed")]
    TooManyForwarded { count: usize },
    #[error("{given} stands alone")]
    ForwardAlone { given: Forward },
    #[error("a tunnel sets itself up from one source, and --gate-peers is one already")]
    TwoGates,
    #[error("the Gate is opened by the API, which only --vpg-id asks")]
    OpensNoGate,
}

fn scope(ip: IpAddr) -> &'static str {
    if ip.is_multicast() { "a multicast group" } else { "a link-local address" }
}

impl ConfigError {
    /// The option to look at, as in `peer` for `--peer`.
    pub(crate) fn option(&self) -> &'static str {
        match self {
            Self::UnderlayIsDevice { .. } => "underlay",
            Self::LocalUnusable { .. } => "local",
            Self::TooManyPeers { .. }
            | Self::PeerTwice { .. }
            | Self::PeerIsLocal { .. }
            | Self::PeerUnusable { .. }
            | Self::PeerNeedsUnderlay { .. }
            | Self::GroupNeedsAcceptFrom { .. }
            | Self::GroupHasInner { .. }
            | Self::InnerUnusable { .. } => "peer",
            Self::AddressUnusable { .. }
            | Self::AddressIsOuter { .. }
            | Self::AddressTwice { .. }
            | Self::AddressOverlap { .. } => "address",
            Self::MtuBelowIpv6 { .. } => "mtu",
            Self::RouteTwice { .. } => "route",
            Self::RetryAboveInterval { .. } => "probe-retry",
            Self::TwoGates => "vpg-id",
            Self::OpensNoGate => "open-gate",
            Self::FewerPortsThanWorkers { .. } | Self::TapFdWorkers { .. } => "workers",
            Self::TapFdIsNotOurs => "tap",
            Self::ForwardTwice { .. } | Self::ForwardAlone { .. } | Self::TooManyForwarded { .. } => {
                "forward"
            }
            Self::MixedFamilies { option, .. } | Self::HostBits { option, .. } => option,
        }
    }

    /// What to do about it, where the error itself does not say.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::MixedFamilies { option: "accept-from", first_family: Family::V6, .. } => {
                Some("any IPv6 source is --accept-from ::/0".to_owned())
            }
            Self::MixedFamilies { .. } => Some("start a second tunnel for the other family".to_owned()),
            Self::PeerNeedsUnderlay { .. } => Some("add --underlay IFNAME, as in --underlay eth0".to_owned()),
            Self::GroupNeedsAcceptFrom { peer } => Some(format!(
                "add --accept-from CIDR, or --accept-from {} for any source",
                if peer.is_ipv4() { "0.0.0.0/0" } else { "::/0" }
            )),
            Self::AddressOverlap { .. } => Some("drop one of them, or give both the same prefix".to_owned()),
            Self::FewerPortsThanWorkers { .. } => {
                Some("widen --source-port hash:LOW-HIGH, or ask for fewer workers".to_owned())
            }
            Self::TapFdIsNotOurs => Some("leave --tap out, or write --tap existing".to_owned()),
            Self::TapFdWorkers { .. } => Some("leave --workers out".to_owned()),
            Self::TooManyForwarded { .. } => Some("give one network that holds several, or on".to_owned()),
            Self::ForwardAlone { .. } => Some("name networks, or on, or off".to_owned()),
            Self::HostBits { option, network } => Some(format!("write --{option} {}", network.trunc())),
            Self::RetryAboveInterval { interval, .. } => {
                Some(format!("write --probe-retry {}, or less", interval.as_millis()))
            }
            Self::TwoGates => Some("leave one of the two out".to_owned()),
            Self::OpensNoGate => Some("add --vpg-id ID, which `soracom vpg list` shows".to_owned()),
            Self::GroupHasInner { peer, .. } => Some(format!("write --peer {peer}")),
            Self::UnderlayIsDevice { .. }
            | Self::InnerUnusable { .. }
            | Self::LocalUnusable { .. }
            | Self::TooManyPeers { .. }
            | Self::PeerTwice { .. }
            | Self::PeerIsLocal { .. }
            | Self::PeerUnusable { .. }
            | Self::AddressUnusable { .. }
            | Self::AddressIsOuter { .. }
            | Self::AddressTwice { .. }
            | Self::MtuBelowIpv6 { .. }
            | Self::RouteTwice { .. }
            | Self::ForwardTwice { .. } => None,
        }
    }
}
