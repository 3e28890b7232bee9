//! The arguments of the Gate's init script, in both of its shapes.
//!
//! ```text
//! shape A, 2016:   PHY_IF PHY_ADDR VXLAN_IF VXLAN_ADDR NETMASK      PEER PEER
//! shape B, today:  PHY_IF PHY_ADDR VXLAN_IF VXLAN_ADDR NETMASK VNI  PEER PEER
//! ```
//!
//! The sixth argument tells them apart: with neither dot nor colon it is a VNI, else it is a peer. NETMASK comes as
//! `9`, as `255.128.0.0`, or as a broadcast address beside a VXLAN_ADDR that carries its prefix, as in
//! `10.225.194.171/9 10.255.255.255`: a prefix on the address wins over whatever stands there.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;
use vxgate_codec::Vni;

use crate::{GATE_VNI, InvalidNetmask, Netmask};

/// What one line of `/etc/rc.local` asks for.
///
/// ```
/// use vxgate_gate::InitArguments;
///
/// let line = "eth0 172.21.0.100 vxlan0 10.225.194.171/9 10.255.255.255 100.64.158.4 100.64.158.132";
/// let init = InitArguments::parse(&line.split(' ').collect::<Vec<_>>())?;
/// assert_eq!(init.address, Some("10.225.194.171/9".parse().expect("an address")));
/// assert_eq!(init.vni.get(), 10);
/// # Ok::<(), vxgate_gate::InitError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitArguments {
    /// PHY_IF: the interface that carries the tunnel, as in `eth0`.
    pub underlay: String,
    /// PHY_ADDR: this host's address on it, registered at the Gate as `outerIpAddress`.
    pub local: IpAddr,
    /// VXLAN_IF: the device to make, as in `vxlan0`.
    pub device: String,
    /// VXLAN_ADDR with its prefix: `innerIpAddress` of the Gate. `None` when the argument is empty: the script then
    /// gives the device no address.
    pub address: Option<IpNet>,
    /// The segment: from shape B, else [`GATE_VNI`].
    pub vni: Vni,
    /// The outer addresses of the Gate peers, in order; may be empty.
    pub peers: Vec<IpAddr>,
}

impl InitArguments {
    /// Reads the arguments that follow the script's name.
    ///
    /// # Errors
    ///
    /// The first argument, from the left, that is missing or that cannot be what its place says.
    pub fn parse<S: AsRef<str>>(arguments: &[S]) -> Result<InitArguments, InitError> {
        let mut rest = arguments.iter().map(AsRef::as_ref);
        let mut next = |argument| rest.next().ok_or(InitError::Missing { argument });
        let underlay = name("PHY_IF", next("PHY_IF")?)?;
        let local = ip("PHY_ADDR", next("PHY_ADDR")?)?;
        let device = name("VXLAN_IF", next("VXLAN_IF")?)?;
        let address = next("VXLAN_ADDR")?;
        let address = inner_address(address, next("NETMASK")?)?;

        let mut rest = rest.peekable();
        let vni = match rest.next_if(|text| !text.contains(['.', ':'])) {
            Some(text) => text.parse().map_err(|_| InitError::Vni { text: text.to_owned() })?,
            None => GATE_VNI,
        };
        let peers = rest.map(|text| ip("PEER", text)).collect::<Result<_, _>>()?;
        Ok(InitArguments { underlay, local, device, address, vni, peers })
    }
}

fn name(argument: &'static str, text: &str) -> Result<String, InitError> {
    if text.is_empty() { Err(InitError::Empty { argument }) } else { Ok(text.to_owned()) }
}

fn ip(argument: &'static str, text: &str) -> Result<IpAddr, InitError> {
    text.parse().map_err(|_| InitError::Ip { argument, text: text.to_owned() })
}

/// Joins VXLAN_ADDR and NETMASK.
fn inner_address(address: &str, mask: &str) -> Result<Option<IpNet>, InitError> {
    if address.is_empty() {
        return Ok(None);
    }
    if address.contains('/') {
        let net: IpNet = address.parse().map_err(|_| InitError::Address { text: address.to_owned() })?;
        if net.prefix_len() == 0 {
            return Err(InitError::Address { text: address.to_owned() });
        }
        return Ok(Some(net));
    }
    let ip: IpAddr = address.parse().map_err(|_| InitError::Address { text: address.to_owned() })?;
    let prefix_len = match ip {
        IpAddr::V4(_) => mask.parse().map(Netmask::prefix_len),
        IpAddr::V6(_) => {
            mask.parse().ok().filter(|bits| (1..=128).contains(bits)).ok_or(InvalidNetmask::NotANetmask)
        }
    };
    let prefix_len =
        prefix_len.map_err(|reason| InitError::Mask { text: mask.to_owned(), address: ip, reason })?;
    IpNet::new(ip, prefix_len).map(Some).map_err(|_| InitError::Address { text: address.to_owned() })
}

/// What is wrong with the arguments of the init script.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InitError {
    /// Fewer than five arguments.
    #[error("{argument} is missing")]
    Missing {
        /// The first one that is not there.
        argument: &'static str,
    },
    /// An interface's name is empty, as when a variable of the calling script is unset.
    #[error("{argument} is empty: an interface's name stands there")]
    Empty {
        /// Which one.
        argument: &'static str,
    },
    /// An outer address is none.
    #[error("{argument} {text:?} is not an IP address")]
    Ip {
        /// PHY_ADDR or PEER.
        argument: &'static str,
        /// What stands in its place.
        text: String,
    },
    /// VXLAN_ADDR is neither an address nor an address with a prefix of 1 bit or more.
    #[error("VXLAN_ADDR {text:?} is neither an IP address nor one with a prefix, as in 10.225.194.171/9")]
    Address {
        /// What stands in its place.
        text: String,
    },
    /// VXLAN_ADDR has no prefix, and NETMASK does not tell it.
    #[error("NETMASK {text:?} does not tell the prefix of {address}: {reason}")]
    Mask {
        /// What stands in its place.
        text: String,
        /// The address that lacks a prefix.
        address: IpAddr,
        /// Which rule it breaks.
        reason: InvalidNetmask,
    },
    /// The sixth argument has neither dot nor colon, so it should be a VNI, and it is not.
    #[error(
        "argument 6, {text:?}, is neither a VNI (a whole number from 0 to 16777215) nor a peer's IP address"
    )]
    Vni {
        /// What stands in its place.
        text: String,
    },
}

impl InitError {
    /// What to write instead, one line.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            InitError::Mask { address: address @ IpAddr::V4(_), .. } => {
                format!(
                    "write VXLAN_ADDR as {address}/9, or NETMASK as 9 or 255.128.0.0 (list-gate-peers shows it)"
                )
            }
            InitError::Mask { address: address @ IpAddr::V6(_), .. } => {
                format!("write VXLAN_ADDR as {address}/64, or NETMASK as 64")
            }
            InitError::Missing { .. }
            | InitError::Empty { .. }
            | InitError::Ip { .. }
            | InitError::Address { .. }
            | InitError::Vni { .. } => {
                "the arguments are PHY_IF PHY_ADDR VXLAN_IF VXLAN_ADDR NETMASK [VNI] PEER...".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Result<InitArguments, InitError> {
        InitArguments::parse(&line.split(' ').collect::<Vec<_>>())
    }

    fn seed() -> InitArguments {
        InitArguments {
            underlay: "eth0".to_owned(),
            local: "172.21.0.100".parse().unwrap(),
            device: "vxlan0".to_owned(),
            address: Some("10.225.194.171/9".parse().unwrap()),
            vni: GATE_VNI,
            peers: vec!["100.64.158.4".parse().unwrap(), "100.64.158.132".parse().unwrap()],
        }
    }

    #[test]
    fn the_seeds_own_line_is_shape_a() {
        let line = "eth0 172.21.0.100 vxlan0 10.225.194.171/9 10.255.255.255 100.64.158.4 100.64.158.132";
        assert_eq!(parse(line), Ok(seed()));
    }

    #[test]
    fn all_three_forms_of_the_mask_mean_the_same_in_both_shapes() {
        for mask in ["10.225.194.171/9 10.255.255.255", "10.225.194.171 255.128.0.0", "10.225.194.171 9"] {
            for vni in ["", " 10"] {
                let line = format!("eth0 172.21.0.100 vxlan0 {mask}{vni} 100.64.158.4 100.64.158.132");
                assert_eq!(parse(&line), Ok(seed()), "{line}");
            }
        }
    }

    #[test]
    fn shape_b_names_its_vni() {
        let parsed = parse("eth0 172.21.0.100 vxlan0 10.0.0.1 9 4711 100.64.158.4").unwrap();
        assert_eq!(parsed.vni.get(), 4711);
        assert_eq!(parsed.peers, ["100.64.158.4".parse::<IpAddr>().unwrap()]);
        assert_eq!(parse("eth0 172.21.0.100 vxlan0 10.0.0.1 9 0 100.64.158.4").unwrap().vni.get(), 0);
    }

    #[test]
    fn a_prefix_on_the_address_wins_over_any_mask() {
        for mask in ["255.255.255.0", "24", "10.255.255.255", "nonsense", ""] {
            let parsed =
                InitArguments::parse(&["eth0", "1.2.3.4", "vxlan0", "10.225.194.171/9", mask]).unwrap();
            assert_eq!(parsed.address, seed().address, "{mask:?}");
        }
    }

    #[test]
    fn a_broadcast_address_without_a_prefix_is_an_error_that_says_what_to_write() {
        let error = parse("eth0 172.21.0.100 vxlan0 10.225.194.171 10.255.255.255 100.64.158.4").unwrap_err();
        assert_eq!(
            error.to_string(),
            "NETMASK \"10.255.255.255\" does not tell the prefix of 10.225.194.171: its one bits are not contiguous, \
             so it is no netmask"
        );
        assert!(error.hint().contains("10.225.194.171/9"), "{}", error.hint());
    }

    #[test]
    fn an_empty_address_gives_none_and_no_peer_is_allowed() {
        let parsed = InitArguments::parse(&["eth0", "172.21.0.100", "vxlan0", "", ""]).unwrap();
        assert_eq!((parsed.address, parsed.peers), (None, Vec::new()));
    }

    #[test]
    fn peers_and_address_may_be_ipv6() {
        let parsed = parse("eth0 2001:db8::1 vxlan0 fd00::2/64 - 10 2001:db8::2 2001:db8::3").unwrap();
        assert_eq!(parsed.address, Some("fd00::2/64".parse().unwrap()));
        assert_eq!(parsed.peers.len(), 2);
        assert_eq!(parse("eth0 2001:db8::1 vxlan0 fd00::2 64 2001:db8::2").unwrap().address, parsed.address);
    }

    #[test]
    fn each_missing_argument_is_named() {
        let line = ["eth0", "172.21.0.100", "vxlan0", "10.0.0.1", "9"];
        for (count, argument) in
            ["PHY_IF", "PHY_ADDR", "VXLAN_IF", "VXLAN_ADDR", "NETMASK"].into_iter().enumerate()
        {
            assert_eq!(InitArguments::parse(&line[..count]), Err(InitError::Missing { argument }));
        }
        assert!(InitArguments::parse(&line).is_ok());
    }

    #[test]
    fn each_wrong_argument_is_named_with_what_stands_there() {
        for (line, words) in [
            (" 172.21.0.100 vxlan0 10.0.0.1 9", "PHY_IF is empty"),
            ("eth0 eth0 vxlan0 10.0.0.1 9", "PHY_ADDR \"eth0\""),
            ("eth0 172.21.0.100  10.0.0.1 9", "VXLAN_IF is empty"),
            ("eth0 172.21.0.100 vxlan0 10.0.0.300 9", "VXLAN_ADDR \"10.0.0.300\""),
            ("eth0 172.21.0.100 vxlan0 10.0.0.1/33 9", "VXLAN_ADDR \"10.0.0.1/33\""),
            ("eth0 172.21.0.100 vxlan0 10.0.0.1/0 9", "VXLAN_ADDR \"10.0.0.1/0\""),
            ("eth0 172.21.0.100 vxlan0 10.0.0.1 0", "NETMASK \"0\""),
            ("eth0 172.21.0.100 vxlan0 10.0.0.1 33", "NETMASK \"33\""),
            ("eth0 172.21.0.100 vxlan0 fd00::1 0", "NETMASK \"0\""),
            ("eth0 172.21.0.100 vxlan0 fd00::1 ffff::", "NETMASK \"ffff::\""),
            ("eth0 172.21.0.100 vxlan0 10.0.0.1 9 16777216 1.2.3.4", "argument 6, \"16777216\""),
            ("eth0 172.21.0.100 vxlan0 10.0.0.1 9 gate 1.2.3.4", "argument 6, \"gate\""),
            ("eth0 172.21.0.100 vxlan0 10.0.0.1 9 10 1.2.3.4 11", "PEER \"11\""),
            ("eth0 172.21.0.100 vxlan0 10.0.0.1 9 1.2.3.4 10", "PEER \"10\""),
            ("eth0 172.21.0.100 vxlan0 10.0.0.1 9 1.2.3.4.5", "PEER \"1.2.3.4.5\""),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.to_string().contains(words), "{line}: {error}");
            assert!(!error.hint().is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_strings_parse_or_say_why(arguments in prop::collection::vec(any::<String>(), 0..12)) {
            let _ = InitArguments::parse(&arguments).map_err(|error| (error.to_string(), error.hint()));
        }

        #[test]
        fn strings_near_the_real_ones_parse_or_say_why(
            arguments in prop::collection::vec("[0-9a-f.:/]{0,18}|eth0|10.225.194.171/9|255.128.0.0", 0..9)
        ) {
            if let Ok(parsed) = InitArguments::parse(&arguments) {
                prop_assert!(parsed.address.is_none_or(|address| address.prefix_len() > 0));
                prop_assert!(parsed.peers.len() + 6 >= arguments.len());
            }
        }

        #[test]
        fn every_line_of_valid_parts_is_read_back(
            local: std::net::Ipv4Addr, inner: std::net::Ipv4Addr, bits in 1u8..=32, vni in 0u32..1 << 24,
            peers: Vec<IpAddr>, glued: bool,
        ) {
            let mask = Netmask::from_prefix_len(bits).unwrap();
            let (address, mask) =
                if glued { (format!("{inner}/{bits}"), "-".to_owned()) } else { (inner.to_string(), mask.to_string()) };
            let mut line = vec!["eth0".to_owned(), local.to_string(), "vxlan0".to_owned(), address, mask, vni.to_string()];
            line.extend(peers.iter().map(ToString::to_string));
            let parsed = InitArguments::parse(&line).unwrap();
            prop_assert_eq!(parsed.local, IpAddr::from(local));
            prop_assert_eq!(parsed.address, Some(IpNet::new(inner.into(), bits).unwrap()));
            prop_assert_eq!(parsed.vni.get(), vni);
            prop_assert_eq!(parsed.peers, peers);
        }
    }
}
