//! The table that says what is forwarded and from which address it leaves.

use ipnet::IpNet;
use vxgate_netlink::nft::{Action, Chain, Hook, Match, Rule, Table};

use super::{LINK_GROUP, Side, Sources, Way};

/// What a link did not forward before and still must not, but into tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guard {
    /// The link's number.
    pub(super) link: u32,
    /// Whether IPv4 was not forwarded.
    pub(super) ipv4: bool,
    /// Whether IPv6 was not forwarded.
    pub(super) ipv6: bool,
}

/// How the names of our tables begin.
pub(super) const TABLE_PREFIX: &str = "vxgate-";

/// The name of the table of this device's tunnel.
pub(super) fn table_name(dev: &str) -> String {
    format!("{TABLE_PREFIX}{dev}")
}

/// The table for this way.
pub(super) fn table(way: &Way, guards: &[Guard]) -> Table {
    Table {
        name: table_name(&way.tunnel.name),
        chains: vec![
            Chain {
                name: "forward".to_owned(),
                hook: Hook::Forward,
                drops: false,
                rules: filter(way, guards),
            },
            Chain { name: "source".to_owned(), hook: Hook::SourceNat, drops: false, rules: translate(way) },
        ],
    }
}

fn filter(way: &Way, guards: &[Guard]) -> Vec<Rule> {
    let (to, from) = (Match::ToLink(way.tunnel.index), Match::FromLink(way.tunnel.index));
    let rule = |matches: Vec<Match>, action| Rule { matches, action };
    // From the tunnel into it again is no way for anything.
    let mut rules = vec![rule(vec![from, to], Action::Drop)];
    for source in sources(way) {
        let matches = match way.sources {
            Sources::All => way.links.first().map(|link| Match::FromLink(link.index)),
            Sources::Networks(_) => None,
        };
        rules.push(rule(matches.into_iter().chain([to]).chain(source).collect(), Action::Accept));
    }
    rules.push(rule(vec![to], Action::Drop));
    rules.push(rule(vec![from, Match::Answer], Action::Accept));
    if way.back {
        match &way.sources {
            Sources::All => rules.extend(
                way.links.first().map(|link| rule(vec![from, Match::ToLink(link.index)], Action::Accept)),
            ),
            Sources::Networks(networks) => rules.extend(
                networks.iter().map(|network| rule(vec![from, Match::Destination(*network)], Action::Accept)),
            ),
        }
    }
    rules.push(rule(vec![from], Action::Drop));
    for guard in guards {
        for (family, is_up) in [(Match::Ipv4, guard.ipv4), (Match::Ipv6, guard.ipv6)] {
            if is_up {
                let matches = vec![Match::FromLink(guard.link), family, Match::ToOtherGroup(LINK_GROUP)];
                rules.push(rule(matches, Action::Drop));
            }
        }
    }
    rules
}

fn translate(way: &Way) -> Vec<Rule> {
    let to = Match::ToLink(way.tunnel.index);
    let matches = sources(way).into_iter().map(|source| [vec![to], source].concat());
    matches.map(|matches| Rule { matches, action: Action::Masquerade }).collect()
}

/// Who is forwarded: one list of conditions for each network or family.
fn sources(way: &Way) -> Vec<Vec<Match>> {
    match &way.sources {
        Sources::Networks(networks) => networks.iter().map(|network| vec![Match::Source(*network)]).collect(),
        Sources::All => {
            let outside = |is_family: fn(&IpNet) -> bool| {
                let own = way.inner.iter().filter(|network| is_family(network));
                own.map(|network| Match::SourceOutside(network.trunc())).collect::<Vec<_>>()
            };
            let (ipv4, mut ipv6) = (outside(|net| net.addr().is_ipv4()), outside(|net| net.addr().is_ipv6()));
            if !ipv6.is_empty() {
                // Of a link and not of a network (RFC 4291 section 2.5.6).
                ipv6.extend("fe80::/10".parse().ok().map(Match::SourceOutside));
            }
            [ipv4, ipv6].into_iter().filter(|conditions| !conditions.is_empty()).collect()
        }
    }
}

/// The same by commands, for a kernel without nftables.
pub(super) fn by_hand(way: &Way) -> String {
    let tunnel = &way.tunnel.name;
    let Some(Side { name: link, .. }) = way.links.first() else { return String::new() };
    let mut commands = Vec::new();
    for (program, family, wanted) in [("iptables", "ipv4", way.ipv4()), ("ip6tables", "ipv6", way.ipv6())] {
        if !wanted {
            continue;
        }
        commands.push(match family {
            "ipv4" => {
                format!("sysctl -w net/ipv4/conf/{link}/forwarding=1 net/ipv4/conf/{tunnel}/forwarding=1")
            }
            // Before Linux 6.17 IPv6 is forwarded for all links or for none.
            _ => "sysctl -w net.ipv6.conf.all.forwarding=1".to_owned(),
        });
        let networks = match &way.sources {
            Sources::All => vec![String::new()],
            Sources::Networks(networks) => {
                let same = networks.iter().filter(|network| network.addr().is_ipv4() == (family == "ipv4"));
                same.map(|network| format!(" -s {network}")).collect()
            }
        };
        for source in networks {
            commands.push(format!("{program} -A FORWARD -i {link} -o {tunnel}{source} -j ACCEPT"));
            commands.push(format!("{program} -t nat -A POSTROUTING -o {tunnel}{source} -j MASQUERADE"));
        }
        commands.push(format!("{program} -A FORWARD -o {tunnel} -j DROP"));
        let state = "-m conntrack --ctstate ESTABLISHED,RELATED";
        commands.push(format!("{program} -A FORWARD -i {tunnel} {state} -j ACCEPT"));
        commands.push(format!("{program} -A FORWARD -i {tunnel} -j DROP"));
    }
    commands.join("; ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::up::forward::ForwardError;

    fn way(sources: Sources) -> Way {
        Way {
            tunnel: Side { index: 7, name: "vxlan0".to_owned() },
            links: vec![Side { index: 2, name: "eth0".to_owned() }],
            sources,
            inner: vec!["10.225.194.171/9".parse().unwrap(), "fd00:10::100/64".parse().unwrap()],
            back: false,
            loosen: false,
        }
    }

    #[test]
    fn only_what_is_named_enters_the_tunnel_and_only_answers_leave_it() {
        let network = "172.21.0.0/16".parse().unwrap();
        let guard = Guard { link: 2, ipv4: true, ipv6: false };
        let table = table(&way(Sources::Networks(vec![network])), &[guard]);
        assert_eq!(table.name, "vxgate-vxlan0");
        let (to, from) = (Match::ToLink(7), Match::FromLink(7));
        let rules: Vec<_> =
            table.chains[0].rules.iter().map(|rule| (rule.matches.clone(), rule.action)).collect();
        assert_eq!(
            rules,
            [
                (vec![from, to], Action::Drop),
                (vec![to, Match::Source(network)], Action::Accept),
                (vec![to], Action::Drop),
                (vec![from, Match::Answer], Action::Accept),
                (vec![from], Action::Drop),
                (vec![Match::FromLink(2), Match::Ipv4, Match::ToOtherGroup(LINK_GROUP)], Action::Drop),
            ]
        );
        assert_eq!(
            table.chains[1].rules,
            [Rule { matches: vec![to, Match::Source(network)], action: Action::Masquerade }]
        );
    }

    #[test]
    fn whatever_arrives_is_whatever_is_not_of_the_tunnels_own_networks() {
        let [ipv4, ipv6]: [Vec<Match>; 2] = sources(&way(Sources::All)).try_into().unwrap();
        assert_eq!(ipv4, [Match::SourceOutside("10.128.0.0/9".parse().unwrap())]);
        let outside = ["fd00:10::/64", "fe80::/10"].map(|net| Match::SourceOutside(net.parse().unwrap()));
        assert_eq!(ipv6, outside);
    }

    #[test]
    fn without_nftables_the_hint_has_the_commands_that_do_the_same() {
        let by_hand = by_hand(&way(Sources::Networks(vec!["172.21.0.0/16".parse().unwrap()])));
        let source = vxgate_netlink::Error::Open(io::Error::from_raw_os_error(93));
        let error = ForwardError::NoTables { by_hand, source };
        assert_eq!(
            error.hint().unwrap(),
            "leave --forward out, and once the tunnel is up: \
             sysctl -w net/ipv4/conf/eth0/forwarding=1 net/ipv4/conf/vxlan0/forwarding=1; \
             iptables -A FORWARD -i eth0 -o vxlan0 -s 172.21.0.0/16 -j ACCEPT; \
             iptables -t nat -A POSTROUTING -o vxlan0 -s 172.21.0.0/16 -j MASQUERADE; \
             iptables -A FORWARD -o vxlan0 -j DROP; \
             iptables -A FORWARD -i vxlan0 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; \
             iptables -A FORWARD -i vxlan0 -j DROP"
        );
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.starts_with("cannot open a netlink socket: Protocol not supported"), "{source}");
        let both = super::by_hand(&way(Sources::All));
        assert!(both.contains("ip6tables -A FORWARD -i eth0 -o vxlan0 -j ACCEPT"), "{both}");
    }
}
