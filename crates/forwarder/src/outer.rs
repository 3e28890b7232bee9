//! What the outer headers take from the inner ones: TTL, TOS with ECN, the DF bit, the flow hash.

use vxgate_codec::layers::{IpVersion, Layers};
use vxgate_codec::{ecn, flow};

use crate::underlay::Outer;

/// A field of the outer header: set once, or taken from each inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherit<T> {
    /// The same for every datagram.
    Fixed(T),
    /// As the inner packet has it; as the host would set it where the inner frame is not IP.
    Inherit,
}

/// How the outer headers are filled (`ip link add type vxlan`: `ttl`, `tos`, `df`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterPolicy {
    /// TTL or hop limit. Default `Fixed(None)`: the host's own default (Linux: 64; 1 towards a multicast group).
    pub ttl: Inherit<Option<u8>>,
    /// TOS or traffic class. Default `Fixed(0)`. The two ECN bits always come from the inner packet (RFC 6040,
    /// section 4.1), whatever stands here.
    pub tos: Inherit<u8>,
    /// The DF bit of an outer IPv4 header. Default `Fixed(false)`, as Linux has it: the bit is as the underlay was opened
    /// ([`UdpConfig::dont_fragment`](crate::UdpConfig::dont_fragment)).
    pub dont_fragment: Inherit<bool>,
    /// Key of the flow hash, random for each process so that nobody outside can choose the source port.
    pub flow_key: u64,
}

impl Default for OuterPolicy {
    fn default() -> Self {
        Self {
            ttl: Inherit::Fixed(None),
            tos: Inherit::Fixed(0),
            dont_fragment: Inherit::Fixed(false),
            flow_key: 0,
        }
    }
}

impl OuterPolicy {
    /// The outer fields for one inner frame.
    #[must_use]
    pub fn outer(&self, frame: &[u8]) -> Outer {
        let layers = Layers::parse(frame).ok();
        let ip = layers.as_ref().and_then(|layers| layers.ip);
        let ttl = match self.ttl {
            Inherit::Fixed(ttl) => ttl,
            Inherit::Inherit => ip.as_ref().map(|ip| ip.ttl),
        };
        let inner_tos = ip.as_ref().map_or(0, |ip| ip.tos);
        let tos = match self.tos {
            Inherit::Fixed(tos) => tos,
            Inherit::Inherit => inner_tos,
        };
        let dont_fragment = match self.dont_fragment {
            Inherit::Fixed(true) => Some(true),
            Inherit::Fixed(false) => None,
            // An IPv6 packet is never fragmented on its way (RFC 8200, section 5): as good as a set bit.
            Inherit::Inherit => Some(ip.as_ref().is_some_and(|ip| match ip.version {
                IpVersion::V4 => ip.dont_fragment,
                IpVersion::V6 => true,
            })),
        };
        let flow_hash = flow::flow_hash_of(frame, layers.as_ref(), self.flow_key);
        Outer { tos: ecn::encap(inner_tos, tos), ttl: ttl.filter(|ttl| *ttl != 0), dont_fragment, flow_hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_df_bit_is_set_and_an_inherited_one_follows_the_packet() {
        let frame = |ether_type: [u8; 2], flags: u8| {
            let mut frame = [0; 34];
            frame[12..14].copy_from_slice(&ether_type);
            frame[14..24].copy_from_slice(&[0x45, 0, 0, 20, 0, 0, flags, 0, 64, 1]);
            frame
        };
        let [set, clear, arp] = [([8, 0], 0x40), ([8, 0], 0), ([8, 6], 0x40)].map(|(a, b)| frame(a, b));
        let df = |dont_fragment, frame: &[u8]| {
            OuterPolicy { dont_fragment, ..OuterPolicy::default() }.outer(frame).dont_fragment
        };
        assert_eq!(df(Inherit::Fixed(true), &clear), Some(true));
        assert_eq!(df(Inherit::Fixed(false), &set), None);
        assert_eq!(
            [&set, &clear, &arp].map(|frame| df(Inherit::Inherit, frame)),
            [true, false, false].map(Some)
        );
    }
}
