//! What a tunnel needs, out of the list of Gate peers: the VPG's peers, and this host's own addresses.
//!
//! The list says which entries are the VPG's; which of the customer's entries is this host's, only the host can tell, by
//! its outer address. A netmask that is still null is that of the others: all inner addresses lie in one network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

use crate::peers::vpg_peers;
use crate::{GatePeer, Netmask};

/// What a tunnel needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The VPG's own peers, each once, in the order of the list; at least one.
    pub peers: Vec<VpgPeer>,
    /// The entry of this host.
    pub own: Own,
}

/// One of the VPG's Gate peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VpgPeer {
    /// Where datagrams go.
    pub outer: IpAddr,
    /// Its address in the devices' network.
    pub inner: IpAddr,
}

/// How this host is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// This host's outer address.
    pub outer: IpAddr,
    /// This host's inner address with its prefix: what the device takes.
    pub address: IpNet,
}

/// Which of the customer's entries is this host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local<'a> {
    /// The one with this outer address: the operator said so.
    Given(IpAddr),
    /// The one whose outer address is among these, the host's own.
    AnyOf(&'a [IpAddr]),
}

impl Setup {
    /// Reads a list.
    ///
    /// ```
    /// use vxgate_gate::setup::{Local, Setup};
    ///
    /// let json = br#"[
    ///   {"innerIpAddress": "10.192.158.4", "netmask": "255.128.0.0",
    ///    "outerIpAddress": "100.64.158.4", "ownedByCustomer": false},
    ///   {"innerIpAddress": "10.225.194.171", "netmask": null,
    ///    "outerIpAddress": "172.21.0.100", "ownedByCustomer": true}]"#;
    /// let peers = vxgate_gate::peers::parse(json)?;
    /// let setup = Setup::of(&peers, Local::Given("172.21.0.100".parse()?))?;
    /// assert_eq!(setup.own.address, "10.225.194.171/9".parse()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The list does not say all of it, or says it in two ways.
    pub fn of(peers: &[GatePeer], local: Local<'_>) -> Result<Setup, SetupError> {
        let of_vpg = vpg_side(peers)?;
        let own = own(peers, local)?;
        Ok(Setup { peers: of_vpg, own })
    }
}

/// The VPG's own peers, each once.
///
/// # Errors
///
/// [`SetupError::NoVpgPeers`], [`SetupError::VpgPeerTwice`].
pub fn vpg_side(peers: &[GatePeer]) -> Result<Vec<VpgPeer>, SetupError> {
    let mut found: Vec<VpgPeer> = Vec::new();
    for peer in vpg_peers(peers) {
        let peer = VpgPeer { outer: peer.outer_ip.to_canonical(), inner: peer.inner_ip.to_canonical() };
        match found.iter().find(|known| known.outer == peer.outer) {
            None => found.push(peer),
            Some(known) if *known == peer => {}
            Some(known) => {
                return Err(SetupError::VpgPeerTwice { outer: peer.outer, inner: [known.inner, peer.inner] });
            }
        }
    }
    if found.is_empty() { Err(SetupError::NoVpgPeers { entries: peers.len() }) } else { Ok(found) }
}

/// The entry of this host.
///
/// # Errors
///
/// Those of [`Setup::of`], without the ones about the VPG's side.
pub fn own(peers: &[GatePeer], local: Local<'_>) -> Result<Own, SetupError> {
    let is_ours = |outer: IpAddr| match local {
        Local::Given(local) => outer == local.to_canonical(),
        Local::AnyOf(ours) => ours.iter().any(|ours| ours.to_canonical() == outer),
    };
    let customers = || peers.iter().filter(|peer| peer.owned_by_customer);
    let mut ours = customers().filter(|peer| is_ours(peer.outer_ip.to_canonical()));
    let Some(entry) = ours.next() else {
        let given = match local {
            Local::Given(local) => Some(local.to_canonical()),
            Local::AnyOf(_) => None,
        };
        if let Some(local) = given.filter(|local| vpg_peers(peers).any(|peer| peer.outer_ip == *local)) {
            return Err(SetupError::LocalIsVpgs { local });
        }
        let registered = customers().map(|peer| peer.outer_ip.to_canonical()).collect();
        return Err(SetupError::NotRegistered { local: given, registered });
    };
    let outer = entry.outer_ip.to_canonical();
    if let Some(other) = ours.next() {
        let second = other.outer_ip.to_canonical();
        return Err(if second == outer {
            SetupError::OwnTwice { outer, inner: [entry.inner_ip, other.inner_ip] }
        } else {
            SetupError::SeveralOwn { outer: [outer, second] }
        });
    }
    let netmask = entry.netmask.or_else(|| shared_netmask(peers)).ok_or(SetupError::NoNetmask { outer })?;
    let inner = entry.inner_ip.to_canonical();
    let address = IpNet::new(inner, netmask.prefix_len())
        .map_err(|_| SetupError::NetmaskTooLong { inner, prefix_len: netmask.prefix_len() })?;
    match beyond_devices(address.trunc()) {
        Some(special) => Err(SetupError::BeyondDevices { outer, address, special }),
        None => Ok(Own { outer, address }),
    }
}

/// Where no device has an address (RFC 6890, RFC 5771, RFC 4291): a host's own networks, those of a link, multicast and the
/// reserved ones behind it.
const SPECIAL_V4: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3),
];
const SPECIAL_V6: [Ipv6Net; 3] = [
    Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 8),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// What of this network is never a device's, if anything: such a network is no VPG's, and a host that routes it into the tunnel
/// is cut off from more than the VPG may speak of. Among them is every network that holds all addresses, or half of them.
#[must_use]
pub fn beyond_devices(network: IpNet) -> Option<IpNet> {
    let special = SPECIAL_V4.map(IpNet::V4).into_iter().chain(SPECIAL_V6.map(IpNet::V6));
    special.into_iter().find(|special| network.contains(special) || special.contains(&network))
}

/// The netmask that the entries have in common: the VPG's own speak first.
fn shared_netmask(peers: &[GatePeer]) -> Option<Netmask> {
    vpg_peers(peers).chain(peers).find_map(|peer| peer.netmask)
}

/// Why the list does not make a tunnel.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SetupError {
    /// No entry is the VPG's.
    #[error("the list has no Gate peer of the VPG{}", match entries {
        0 => ": it is empty".to_owned(),
        _ => format!(": each of its {entries} entries is the customer's"),
    })]
    NoVpgPeers {
        /// How many entries there are.
        entries: usize,
    },
    /// A VPG's peer has two inner addresses.
    #[error("the list has the VPG's peer {outer} twice, as {} and as {}", inner[0], inner[1])]
    VpgPeerTwice {
        /// Its outer address.
        outer: IpAddr,
        /// What the two entries say.
        inner: [IpAddr; 2],
    },
    /// No entry is this host's.
    #[error("{}", not_registered(*local, registered))]
    NotRegistered {
        /// The outer address that was asked for; `None` for any of the host's.
        local: Option<IpAddr>,
        /// What the customer has registered.
        registered: Vec<IpAddr>,
    },
    /// The address given for this host is one of the VPG's.
    #[error("{local} is one of the VPG's own peers, not this host")]
    LocalIsVpgs {
        /// The address.
        local: IpAddr,
    },
    /// The same outer address has two entries.
    #[error("the list has {outer} twice, as {} and as {}", inner[0], inner[1])]
    OwnTwice {
        /// The address.
        outer: IpAddr,
        /// What the two entries say.
        inner: [IpAddr; 2],
    },
    /// Two entries are this host's.
    #[error("this host is registered twice, by {} and by {}", outer[0], outer[1])]
    SeveralOwn {
        /// The first two of them.
        outer: [IpAddr; 2],
    },
    /// All netmasks are null.
    #[error("no entry of the list has a netmask, so that the prefix of {outer}'s inner address is not known")]
    NoNetmask {
        /// The host's outer address.
        outer: IpAddr,
    },
    /// The inner address and its netmask reach what is no device's.
    #[error("the list has {address} for this host, a network that holds {special}, where no device is")]
    BeyondDevices {
        /// The host's outer address.
        outer: IpAddr,
        /// The inner address.
        address: IpNet,
        /// What it holds.
        special: IpNet,
    },
    /// A netmask of the other family.
    #[error("a netmask of {prefix_len} bits does not fit {inner}")]
    NetmaskTooLong {
        /// The inner address.
        inner: IpAddr,
        /// The netmask.
        prefix_len: u8,
    },
}

impl SetupError {
    /// What the operator can do. `vpg` is the VPG's id where it is known.
    #[must_use]
    pub fn hint(&self, vpg: Option<&str>) -> String {
        let id = vpg.unwrap_or("ID");
        match self {
            Self::NoVpgPeers { .. } | Self::VpgPeerTwice { .. } => format!(
                "look at the VPG: `vxgate gate peers --vpg-id {id}` should list two entries with ownedByCustomer false; if it \
                 does not, ask SORACOM's support"
            ),
            Self::NotRegistered { local, .. } => {
                let outer = local.map_or_else(|| "IP".to_owned(), |local| local.to_string());
                let which = if local.is_none() { ", where IP is this host's address in the VPC" } else { "" };
                format!(
                    "register this host first: `vxgate gate register --vpg-id {id} --outer {outer}`, or `soracom vpg \
                     register-gate-peer --vpg-id {id} --outer-ip-address {outer}`{which}"
                )
            }
            Self::LocalIsVpgs { .. } => {
                "--local is this host's own address on the underlay; leave it out to have it found".to_owned()
            }
            Self::OwnTwice { outer, .. } => format!(
                "unregister it and register it again: `vxgate gate unregister --vpg-id {id} --outer {outer}`, then `vxgate \
                 gate register --vpg-id {id} --outer {outer}`"
            ),
            Self::SeveralOwn { outer } => format!("say which one this tunnel is: --local {}", outer[0]),
            Self::BeyondDevices { .. } | Self::NoNetmask { .. } | Self::NetmaskTooLong { .. } => {
                "list the peers again in a moment, or say --address with the prefix yourself".to_owned()
            }
        }
    }
}

fn not_registered(local: Option<IpAddr>, registered: &[IpAddr]) -> String {
    let who = local.map_or_else(|| "no address of this host".to_owned(), |local| format!("{local}"));
    let is = if local.is_some() { "is not" } else { "is" };
    let others: Vec<String> = registered.iter().map(ToString::to_string).collect();
    match others.as_slice() {
        [] => format!("{who} {is} among the Gate peers: no host is registered"),
        _ => format!("{who} {is} among the Gate peers: registered is {}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn entry(inner: &str, netmask: Option<&str>, outer: &str, owned_by_customer: bool) -> GatePeer {
        GatePeer {
            inner_ip: ip(inner),
            netmask: netmask.map(|mask| mask.parse().unwrap()),
            outer_ip: ip(outer),
            owned_by_customer,
        }
    }

    /// The seed's list: two of the VPG's, and this host.
    fn seed() -> Vec<GatePeer> {
        let mask = Some("255.128.0.0");
        vec![
            entry("10.192.158.132", mask, "100.64.158.132", false),
            entry("10.192.158.4", mask, "100.64.158.4", false),
            entry("10.225.194.171", mask, "172.21.0.100", true),
        ]
    }

    #[test]
    fn the_seeds_list_is_the_seeds_tunnel() {
        let expected = Setup {
            peers: vec![
                VpgPeer { outer: ip("100.64.158.132"), inner: ip("10.192.158.132") },
                VpgPeer { outer: ip("100.64.158.4"), inner: ip("10.192.158.4") },
            ],
            own: Own { outer: ip("172.21.0.100"), address: "10.225.194.171/9".parse().unwrap() },
        };
        assert_eq!(Setup::of(&seed(), Local::Given(ip("172.21.0.100"))), Ok(expected.clone()));
        let here = [ip("127.0.0.1"), ip("172.21.0.100"), ip("fe80::1")];
        assert_eq!(Setup::of(&seed(), Local::AnyOf(&here)), Ok(expected));
    }

    #[test]
    fn a_netmask_that_is_null_is_that_of_the_others() {
        let mut peers = seed();
        peers[2].netmask = None;
        let own = |peers: &[GatePeer]| super::own(peers, Local::Given(ip("172.21.0.100")));
        assert_eq!(own(&peers).unwrap().address.prefix_len(), 9);
        (peers[0].netmask, peers[1].netmask) = (None, None);
        assert_eq!(own(&peers), Err(SetupError::NoNetmask { outer: ip("172.21.0.100") }));
        peers.push(entry("10.225.194.9", Some("255.0.0.0"), "172.21.0.101", true));
        assert_eq!(own(&peers).unwrap().address.prefix_len(), 8, "another host's will do");
    }

    #[test]
    fn among_several_hosts_of_the_customer_the_one_with_our_address_is_ours() {
        let mut peers = seed();
        peers.insert(0, entry("10.225.194.9", Some("255.128.0.0"), "172.21.0.101", true));
        let address = |local: Local<'_>| super::own(&peers, local).map(|own| own.address.addr());
        assert_eq!(address(Local::Given(ip("172.21.0.100"))), Ok(ip("10.225.194.171")));
        assert_eq!(address(Local::AnyOf(&[ip("172.21.0.101")])), Ok(ip("10.225.194.9")));
        assert_eq!(
            address(Local::AnyOf(&[ip("172.21.0.101"), ip("172.21.0.100")])),
            Err(SetupError::SeveralOwn { outer: [ip("172.21.0.101"), ip("172.21.0.100")] })
        );
    }

    #[test]
    fn each_list_that_makes_no_tunnel_says_why_and_what_to_do() {
        let ours = Local::Given(ip("172.21.0.100"));
        let vpg = || seed()[..2].to_vec();
        let twice = [seed(), vec![entry("10.225.194.172", None, "172.21.0.100", true)]].concat();
        let vpg_twice = [seed(), vec![entry("10.192.158.5", None, "100.64.158.4", false)]].concat();
        for (peers, local, why, hint) in [
            (Vec::new(), ours, "no Gate peer of the VPG: it is empty", "gate peers --vpg-id VPG"),
            (seed()[2..].to_vec(), ours, "each of its 1 entries is the customer's", "ask SORACOM"),
            (
                vpg_twice,
                ours,
                "the VPG's peer 100.64.158.4 twice, as 10.192.158.4 and as 10.192.158.5",
                "gate peers",
            ),
            (
                vpg(),
                ours,
                "172.21.0.100 is not among the Gate peers: no host is registered",
                "`soracom vpg register-gate-peer --vpg-id VPG --outer-ip-address 172.21.0.100`",
            ),
            (
                seed(),
                Local::Given(ip("172.21.0.9")),
                "172.21.0.9 is not among the Gate peers: registered is 172.21.0.100",
                "vxgate gate register --vpg-id VPG --outer 172.21.0.9",
            ),
            (
                seed(),
                Local::AnyOf(&[]),
                "no address of this host is among the Gate peers: registered is 172.21.0.100",
                "where IP is this host's address",
            ),
            (
                seed(),
                Local::Given(ip("100.64.158.4")),
                "one of the VPG's own peers",
                "--local is this host's own",
            ),
            (
                twice,
                ours,
                "the list has 172.21.0.100 twice, as 10.225.194.171 and as 10.225.194.172",
                "vxgate gate unregister --vpg-id VPG --outer 172.21.0.100",
            ),
        ] {
            let error = Setup::of(&peers, local).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert!(error.hint(Some("VPG")).contains(hint), "{}", error.hint(Some("VPG")));
        }
    }

    #[test]
    fn a_network_that_holds_more_than_devices_is_no_networks_of_theirs() {
        let beyond = |network: &str| beyond_devices(network.parse().unwrap());
        for network in [
            "0.0.0.0/0",
            "0.0.0.0/1",
            "128.0.0.0/1",
            "127.0.0.1/32",
            "224.0.0.0/4",
            "::/0",
            "8000::/1",
            "fe80::/64",
        ] {
            assert!(beyond(network).is_some(), "{network}");
        }
        for network in [
            "10.0.0.0/8",
            "10.128.0.0/9",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "fd00::/8",
            "2000::/3",
        ] {
            assert_eq!(beyond(network), None, "{network}");
        }
        let mut peers = seed();
        peers[2].netmask = Some("128.0.0.0".parse().unwrap());
        let error = own(&peers, Local::Given(ip("172.21.0.100"))).unwrap_err();
        assert!(matches!(error, SetupError::BeyondDevices { .. }), "{error}");
        assert!(
            error.to_string().contains("10.225.194.171/1 for this host, a network that holds 0.0.0.0/8"),
            "{error}"
        );
    }

    #[test]
    fn the_same_entry_of_the_vpg_twice_is_one_peer() {
        let peers = [seed(), seed()[..1].to_vec()].concat();
        assert_eq!(vpg_side(&peers).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn any_list_makes_a_tunnel_or_says_why(
            entries in prop::collection::vec(
                (0u8..4, prop::option::of(prop::sample::select(vec!["255.128.0.0", "9"])), 0u8..4, any::<bool>()), 0..8),
            local in 0u8..4,
        ) {
            let peers: Vec<_> = entries.iter().map(|(inner, mask, outer, customer)| {
                entry(&format!("10.0.0.{inner}"), *mask, &format!("172.21.0.{outer}"), *customer)
            }).collect();
            let local = ip(&format!("172.21.0.{local}"));
            match Setup::of(&peers, Local::Given(local)) {
                Ok(setup) => {
                    assert_eq!(setup.own.outer, local);
                    assert!(!setup.peers.is_empty());
                }
                Err(error) => assert!(!error.to_string().is_empty() && !error.hint(None).is_empty()),
            }
        }
    }
}
