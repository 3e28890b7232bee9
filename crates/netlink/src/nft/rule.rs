//! Rules: what a packet must be, and what then happens, as the kernel's expressions.

use std::net::IpAddr;

use ipnet::IpNet;

use super::message::{NESTED, attribute, be32, text};

/// A rule: its action is taken for packets that match all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What a packet must be; nothing for every packet.
    pub matches: Vec<Match>,
    /// What then happens.
    pub action: Action,
}

/// One condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// It came by the link of this index.
    FromLink(u32),
    /// It leaves by the link of this index.
    ToLink(u32),
    /// It leaves by a link that is not in this group (`ip link set DEV group N`).
    ToOtherGroup(u32),
    /// It is an IPv4 packet.
    Ipv4,
    /// It is an IPv6 packet.
    Ipv6,
    /// Its source address is in this network.
    Source(IpNet),
    /// Its source address is not in this network, and of its family.
    SourceOutside(IpNet),
    /// Its destination address is in this network.
    Destination(IpNet),
    /// It belongs to a connection that is there already, or to an error about one.
    Answer,
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// This chain lets it pass; those of other tables are asked too.
    Accept,
    /// It is dropped.
    Drop,
    /// It gets an address of the link that it leaves by as its source. Only in a chain of [`Hook::SourceNat`](super::Hook).
    Masquerade,
}

/// The one register that our expressions use: 16 octets (`NFT_REG_1`).
const REGISTER: u32 = 1;

// `enum nft_meta_keys`.
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_NFPROTO: u32 = 15;
const META_OIFGROUP: u32 = 22;

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// How two values must compare (`enum nft_cmp_ops`).
#[derive(Clone, Copy)]
enum Compare {
    Equal = 0,
    Different = 1,
}

impl Rule {
    /// The rule's expressions, a list of attributes.
    pub(super) fn expressions(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for condition in &self.matches {
            condition.push(&mut list);
        }
        match self.action {
            Action::Accept => list.extend(verdict(1)),
            Action::Drop => list.extend(verdict(0)),
            Action::Masquerade => list.extend(expression("masq", &[])),
        }
        list
    }
}

impl Match {
    fn push(self, list: &mut Vec<u8>) {
        let family = |list: &mut Vec<u8>, family: u8| {
            list.extend(meta(META_NFPROTO));
            list.extend(compare(Compare::Equal, &[family]));
        };
        match self {
            Match::FromLink(index) => {
                list.extend(meta(META_IIF));
                list.extend(compare(Compare::Equal, &index.to_ne_bytes()));
            }
            Match::ToLink(index) => {
                list.extend(meta(META_OIF));
                list.extend(compare(Compare::Equal, &index.to_ne_bytes()));
            }
            Match::ToOtherGroup(group) => {
                list.extend(meta(META_OIFGROUP));
                list.extend(compare(Compare::Different, &group.to_ne_bytes()));
            }
            Match::Ipv4 => family(list, IPV4),
            Match::Ipv6 => family(list, IPV6),
            Match::Source(network) => {
                family(list, family_of(network));
                address(list, network, false, Compare::Equal);
            }
            Match::SourceOutside(network) => {
                family(list, family_of(network));
                address(list, network, false, Compare::Different);
            }
            Match::Destination(network) => {
                family(list, family_of(network));
                address(list, network, true, Compare::Equal);
            }
            Match::Answer => {
                // NFTA_CT_DREG, NFTA_CT_KEY: the state. A bit for each (NF_CT_STATE_BIT, linux/netfilter/nf_conntrack_common.h).
                const ESTABLISHED_OR_RELATED: u32 = 1 << 1 | 1 << 2;
                list.extend(expression(
                    "ct",
                    &[attribute(1, &be32(REGISTER)), attribute(2, &be32(0))].concat(),
                ));
                list.extend(masked(&ESTABLISHED_OR_RELATED.to_ne_bytes()));
                list.extend(compare(Compare::Different, &[0; 4]));
            }
        }
    }
}

fn family_of(network: IpNet) -> u8 {
    match network {
        IpNet::V4(_) => IPV4,
        IpNet::V6(_) => IPV6,
    }
}

/// Compares the source or destination address of the IP header with a network (RFC 791, RFC 8200).
fn address(list: &mut Vec<u8>, network: IpNet, destination: bool, how: Compare) {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (wanted, mask) = (octets(network.network()), octets(network.netmask()));
    let length = u32::from(network.max_prefix_len()) / 8;
    let source_at = if network.addr().is_ipv4() { 12 } else { 8 };
    let at = if destination { source_at + length } else { source_at };
    // NFTA_PAYLOAD_DREG, _BASE (the network header), _OFFSET, _LEN.
    let numbers = [(1, REGISTER), (2, 1), (3, at), (4, length)];
    let numbers = numbers.map(|(kind, number)| attribute(kind, &be32(number))).concat();
    list.extend(expression("payload", &numbers));
    list.extend(masked(&mask));
    list.extend(compare(how, &wanted));
}

fn meta(key: u32) -> Vec<u8> {
    // NFTA_META_DREG, NFTA_META_KEY.
    expression("meta", &[attribute(1, &be32(REGISTER)), attribute(2, &be32(key))].concat())
}

fn compare(how: Compare, value: &[u8]) -> Vec<u8> {
    // NFTA_CMP_SREG, NFTA_CMP_OP, NFTA_CMP_DATA.
    let parts = [attribute(1, &be32(REGISTER)), attribute(2, &be32(how as u32)), data(3, value)];
    expression("cmp", &parts.concat())
}

/// Keeps the bits of the register that are set in `mask`.
fn masked(mask: &[u8]) -> Vec<u8> {
    let length = u32::try_from(mask.len()).expect("an address's length");
    // NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR.
    let parts = [
        attribute(1, &be32(REGISTER)),
        attribute(2, &be32(REGISTER)),
        attribute(3, &be32(length)),
        data(4, mask),
        data(5, &vec![0; mask.len()]),
    ];
    expression("bitwise", &parts.concat())
}

fn verdict(code: u32) -> Vec<u8> {
    // NFTA_VERDICT_CODE in NFTA_DATA_VERDICT.
    let verdict = attribute(2 | NESTED, &attribute(1, &be32(code)));
    // NFTA_IMMEDIATE_DREG (NFT_REG_VERDICT), NFTA_IMMEDIATE_DATA.
    expression("immediate", &[attribute(1, &be32(0)), attribute(2 | NESTED, &verdict)].concat())
}

/// A value, as `NFTA_DATA_VALUE` inside of an attribute.
fn data(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, &attribute(1, value))
}

fn expression(name: &str, parts: &[u8]) -> Vec<u8> {
    // NFTA_EXPR_NAME and NFTA_EXPR_DATA in NFTA_LIST_ELEM.
    let inside = [attribute(1, &text(name)), attribute(2 | NESTED, parts)].concat();
    attribute(1 | NESTED, &inside)
}
