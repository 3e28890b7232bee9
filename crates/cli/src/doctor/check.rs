//! What there is to look at; docs/doctor.md has the same list.

use std::fmt;

use serde::{Serialize, Serializer};

/// One thing that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Check {
    Options,
    Tunnel,
    Gate,
    Tun,
    Privilege,
    Name,
    Underlay,
    Local,
    Port,
    KernelVxlan,
    Loop,
    Route,
    NextHop,
    Peer,
    PathMtu,
    Mtu,
    Address,
    Ipv6,
    RpFilter,
    Firewall,
    Arrivals,
    Vni,
    Strangers,
    Duplicate,
    Forwarding,
    Buffers,
    Limits,
    Offload,
    Clock,
}

impl Check {
    /// Every check, in the order of the report.
    #[cfg(test)]
    pub(crate) const ALL: &[Check] = &[
        Check::Options,
        Check::Tunnel,
        Check::Gate,
        Check::Tun,
        Check::Privilege,
        Check::Name,
        Check::Underlay,
        Check::Local,
        Check::Port,
        Check::KernelVxlan,
        Check::Loop,
        Check::Route,
        Check::NextHop,
        Check::Peer,
        Check::PathMtu,
        Check::Mtu,
        Check::Address,
        Check::Ipv6,
        Check::RpFilter,
        Check::Firewall,
        Check::Arrivals,
        Check::Vni,
        Check::Strangers,
        Check::Duplicate,
        Check::Forwarding,
        Check::Buffers,
        Check::Limits,
        Check::Offload,
        Check::Clock,
    ];

    /// The name in the report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Check::Options => "options",
            Check::Tunnel => "tunnel",
            Check::Gate => "gate",
            Check::Tun => "tun",
            Check::Privilege => "privilege",
            Check::Name => "name",
            Check::Underlay => "underlay",
            Check::Local => "local",
            Check::Port => "port",
            Check::KernelVxlan => "kernel-vxlan",
            Check::Loop => "loop",
            Check::Route => "route",
            Check::NextHop => "next-hop",
            Check::Peer => "peer",
            Check::PathMtu => "path-mtu",
            Check::Mtu => "mtu",
            Check::Address => "address",
            Check::Ipv6 => "ipv6",
            Check::RpFilter => "rp-filter",
            Check::Firewall => "firewall",
            Check::Arrivals => "arrivals",
            Check::Vni => "vni",
            Check::Strangers => "strangers",
            Check::Duplicate => "duplicate",
            Check::Forwarding => "forwarding",
            Check::Buffers => "buffers",
            Check::Limits => "limits",
            Check::Offload => "offload",
            Check::Clock => "clock",
        }
    }

    /// What it looks at, and how.
    #[cfg(test)]
    pub(crate) const fn looks_at(self) -> &'static str {
        match self {
            Check::Options => "what the options say that may not be meant",
            Check::Tunnel => {
                "whether a tunnel of the device runs, its daemon answers, and it is the one that the options mean"
            }
            Check::Gate => {
                "the Gate: open, with this host registered as it is, its VNI and peers those of the tunnel (from the API, or a list)"
            }
            Check::Tun => "`/dev/net/tun`: there, to be opened, and the TUN device",
            Check::Privilege => {
                "whether this process may make devices in this network namespace (CAP_NET_ADMIN)"
            }
            Check::Name => "whether the device's name is free, or who has it",
            Check::Underlay => "the link that carries the tunnel: there, up, with a carrier",
            Check::Local => {
                "this host's outer address: there, and on the link by which the peers are reached"
            }
            Check::Port => "whether the UDP port is free, or who has it",
            Check::KernelVxlan => "vxlan devices of the kernel on the same UDP port, down ones too",
            Check::Loop => "routes and addresses that would send the tunnel's own datagrams into the tunnel",
            Check::Route => {
                "the way to each peer: there, of a kind that leads somewhere, not by the tunnel, by the link that is meant"
            }
            Check::NextHop => {
                "whether the router, or the peer on the same link, answers ARP or neighbour discovery"
            }
            Check::Peer => {
                "what each peer says to a datagram on its port and to a ping: an answer, an ICMP error, or nothing"
            }
            Check::PathMtu => {
                "the longest packet that gets to each peer unfragmented: pings and datagrams with DF, ICMP errors"
            }
            Check::Mtu => "the tunnel's MTU against the underlay's",
            Check::Address => "whether inner addresses, networks and routes are this host's already",
            Check::Ipv6 => "whether IPv6 is on where an IPv6 address is asked for",
            Check::RpFilter => "strict reverse-path filters that would drop what comes",
            Check::Firewall => "whether this host lets the datagrams out, and in what arrives on the link",
            Check::Arrivals => "whether anything has come from each peer since the tunnel runs",
            Check::Vni => "frames of another VNI, and of which",
            Check::Strangers => "datagrams from addresses that are no peers, and from which",
            Check::Duplicate => "whether somebody else in the overlay has this end's inner address",
            Check::Forwarding => "what `--forward` needs, and settings, routes and rules that undo it",
            Check::Buffers => "socket buffers smaller than those asked for",
            Check::Limits => "limits of this process that a tunnel meets: open files",
            Check::Offload => "what the kernel does not do for many frames at once",
            Check::Clock => "a clock that is wrong enough to make certificates invalid",
        }
    }

    /// When it is looked at.
    #[cfg(test)]
    pub(crate) const fn when(self) -> &'static str {
        match self {
            Check::Arrivals | Check::Vni | Check::Strangers | Check::Duplicate => "a tunnel runs",
            Check::Tun | Check::Port | Check::Loop => "none runs",
            Check::Ipv6 => "IPv6 is used",
            Check::Forwarding => "`--forward`",
            Check::Gate => "`--vpg-id` or `--gate-peers`",
            Check::Options
            | Check::Tunnel
            | Check::Privilege
            | Check::Name
            | Check::Underlay
            | Check::Local
            | Check::KernelVxlan
            | Check::Route
            | Check::NextHop
            | Check::Peer
            | Check::PathMtu
            | Check::Mtu
            | Check::Address
            | Check::RpFilter
            | Check::Firewall
            | Check::Buffers
            | Check::Limits
            | Check::Offload
            | Check::Clock => "always",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Check::ALL.iter().map(|check| check.name()).collect();
        assert_eq!(names.len(), Check::ALL.len());
        // The list is in the order of the enum, so that a missing one would leave a gap.
        for (index, check) in Check::ALL.iter().enumerate() {
            assert_eq!(*check as usize, index, "{check}");
        }
        assert_eq!(Check::Clock as usize + 1, Check::ALL.len());
    }

    #[test]
    fn the_table_of_the_manual_is_the_list_of_the_code() {
        let manual = include_str!("../../../../docs/doctor.md");
        let rows: Vec<&str> = manual.lines().filter(|line| line.starts_with("| `")).collect();
        let of_code: Vec<String> = Check::ALL
            .iter()
            .map(|check| format!("| `{check}` | {} | {} |", check.looks_at(), check.when()))
            .collect();
        assert_eq!(rows, of_code);
    }
}
