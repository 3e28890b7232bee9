//! SORACOM Gate: its HTTP API, its peers JSON and the arguments of its init script.
//! Never opens a tunnel, and asks nobody but the API.
//!
//! A VPG (virtual private gateway) has two Gate peers; a customer's host registers as a third. [`api`] asks for them,
//! [`peers`] reads what `soracom vpg list-gate-peers` prints, [`setup`] what a tunnel needs of that, [`init`] what
//! `/etc/rc.local` hands to `init_vxlan.sh`, [`script`] finds that line, and the constants here are what all take for granted.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use vxgate_codec::Vni;

pub mod api;
pub mod init;
pub mod netmask;
pub mod peers;
pub mod script;
pub mod setup;

pub use init::{InitArguments, InitError};
pub use netmask::{InvalidNetmask, Netmask};
pub use peers::{GatePeer, PeersError};
pub use setup::{Own, Setup, SetupError, VpgPeer};

/// The VNI of a Gate, 10: fixed in the script of 2016, and what the API's `open` takes for `vxlanId` by default.
pub const GATE_VNI: Vni = match Vni::new(10) {
    Some(vni) => vni,
    None => Vni::MAX,
};

/// The UDP port of a Gate, source and destination alike, 4789: the script's `port $VXLAN_PORT $VXLAN_PORT`.
pub const GATE_PORT: u16 = vxgate_codec::vxlan::PORT;

/// Where devices have their addresses, unless the VPG says otherwise: the default of its `deviceSubnetCidrRange`.
pub const DEVICE_SUBNET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 128, 0, 0), 9);

/// Where the outer addresses of Gate peers lie: each VPG's `vpgSubnetCidrRange` has been seen inside this shared
/// address space (RFC 6598).
pub const VPG_RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// How many Gate peers a VPG has, 2, for redundancy.
pub const VPG_PEERS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_those_of_the_gate() {
        assert_eq!(GATE_VNI.get(), 10);
        assert_eq!(GATE_PORT, 4789);
        assert!(DEVICE_SUBNET.contains(&Ipv4Addr::new(10, 225, 194, 171)));
        assert!(VPG_RANGE.contains(&Ipv4Addr::new(100, 67, 1, 1)));
    }
}
