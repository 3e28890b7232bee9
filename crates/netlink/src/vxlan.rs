//! The kernel's own vxlan device: the reference that ours is compared with.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage, VxlanDf,
};

use crate::error::{Error, Task};
use crate::handle::Netlink;
use crate::link::Link;

/// Time to live (hop limit) of the outer header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeToLive {
    /// The kernel's choice: its default for unicast, 1 for multicast.
    #[default]
    Auto,
    /// The inner packet's.
    Inherit,
    /// This one, 1 to 255.
    Fixed(u8),
}

/// Type of service (traffic class) of the outer header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeOfService {
    /// The inner packet's. The kernel writes it as 1 (drivers/net/vxlan/vxlan_core.c).
    Inherit,
    /// This one, without its ECN bits; 0 by default.
    Fixed(u8),
}

/// The "don't fragment" bit of the outer IPv4 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DontFragment {
    /// Clear.
    #[default]
    Unset,
    /// Set.
    Set,
    /// The inner packet's.
    Inherit,
}

/// Settings of a kernel vxlan device, with the defaults of `ip link add type vxlan` on Linux 6.18 except for the port,
/// which is RFC 7348's 4789 and not the kernel's 8472.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// The VNI, 24 bits; default 0.
    pub vni: u32,
    /// Source address of the outer header; default none, which lets the route choose.
    pub local: Option<IpAddr>,
    /// Index of the underlay link; needed with a multicast `group`.
    pub underlay: Option<u32>,
    /// One remote or one multicast group for the all-zero entry; default none.
    pub group: Option<IpAddr>,
    /// UDP port listened to and sent to; default 4789.
    pub port: u16,
    /// UDP source ports. The default leaves them to the kernel, and so does a range of one port: the kernel takes a
    /// port below the upper end (`udp_flow_src_port` of include/net/udp.h), so that `p..=p + 1` pins port `p`.
    pub source_ports: Option<RangeInclusive<u16>>,
    /// Outer TTL; default [`TimeToLive::Auto`].
    pub ttl: TimeToLive,
    /// Outer TOS; default `Fixed(0)`.
    pub tos: TypeOfService,
    /// Outer DF bit; default [`DontFragment::Unset`].
    pub df: DontFragment,
    /// Learn inner source MAC addresses; default true.
    pub learning: bool,
    /// Age of a learned entry at which it is forgotten, in whole seconds; zero is never. Default 300 s.
    pub ageing: Duration,
    /// Most entries that learning may fill; default none, no limit.
    pub limit: Option<u32>,
    /// Fill in the outer UDP checksum over IPv4; default true.
    pub udp_checksum: bool,
    /// Send a zero UDP checksum over IPv6; default false.
    pub udp6_zero_checksum_tx: bool,
    /// Accept a zero UDP checksum over IPv6; default false.
    pub udp6_zero_checksum_rx: bool,
    /// Bits of the 8-octet header that drop a received frame when they are set, most significant bit first; default
    /// none, every bit without a meaning. Zero accepts them all, as RFC 7348 section 5 asks. Linux 6.14.
    pub reserved_bits: Option<u64>,
    /// MAC address; default none, random.
    pub mac: Option<[u8; 6]>,
    /// MTU in octets; default none, the underlay's minus the overhead, or 1500 where that is not known.
    pub mtu: Option<u32>,
}

impl Default for Vxlan {
    fn default() -> Vxlan {
        Vxlan {
            vni: 0,
            local: None,
            underlay: None,
            group: None,
            port: 4789,
            source_ports: None,
            ttl: TimeToLive::Auto,
            tos: TypeOfService::Fixed(0),
            df: DontFragment::Unset,
            learning: true,
            ageing: Duration::from_secs(300),
            limit: None,
            udp_checksum: true,
            udp6_zero_checksum_tx: false,
            udp6_zero_checksum_rx: false,
            reserved_bits: None,
            mac: None,
            mtu: None,
        }
    }
}

impl Vxlan {
    fn infos(&self) -> Vec<InfoVxlan> {
        let mut infos = vec![
            InfoVxlan::Id(self.vni),
            InfoVxlan::Port(self.port),
            InfoVxlan::Learning(self.learning),
            InfoVxlan::Ageing(u32::try_from(self.ageing.as_secs()).unwrap_or(u32::MAX)),
            InfoVxlan::UDPCsum(self.udp_checksum),
            InfoVxlan::UDPZeroCsumTX(self.udp6_zero_checksum_tx),
            InfoVxlan::UDPZeroCsumRX(self.udp6_zero_checksum_rx),
        ];
        infos.extend(self.local.map(|address| match address {
            IpAddr::V4(address) => InfoVxlan::Local(address),
            IpAddr::V6(address) => InfoVxlan::Local6(address),
        }));
        infos.extend(self.group.map(|address| match address {
            IpAddr::V4(address) => InfoVxlan::Group(address),
            IpAddr::V6(address) => InfoVxlan::Group6(address),
        }));
        infos.extend(self.underlay.map(InfoVxlan::Link));
        infos.extend(
            self.source_ports.as_ref().map(|ports| InfoVxlan::PortRange((*ports.start(), *ports.end()))),
        );
        infos.extend(self.limit.map(InfoVxlan::Limit));
        infos.extend(self.reserved_bits.map(InfoVxlan::ReservedBits));
        match self.ttl {
            TimeToLive::Auto => {}
            TimeToLive::Inherit => infos.push(InfoVxlan::TtlInheritFlag),
            TimeToLive::Fixed(ttl) => infos.push(InfoVxlan::Ttl(ttl)),
        }
        infos.push(InfoVxlan::Tos(match self.tos {
            TypeOfService::Inherit => 1,
            TypeOfService::Fixed(tos) => tos,
        }));
        // The attribute is Linux 4.20's: an older kernel must not see it where the default will do.
        match self.df {
            DontFragment::Unset => {}
            DontFragment::Set => infos.push(InfoVxlan::Df(VxlanDf::Set)),
            DontFragment::Inherit => infos.push(InfoVxlan::Df(VxlanDf::Inherit)),
        }
        infos
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "of the kernel's growing list, those that can be set here"
    )]
    fn read(&mut self, info: InfoVxlan) {
        match info {
            InfoVxlan::Id(vni) => self.vni = vni,
            InfoVxlan::Local(address) => self.local = Some(address.into()),
            InfoVxlan::Local6(address) => self.local = Some(address.into()),
            InfoVxlan::Group(address) => self.group = Some(address.into()),
            InfoVxlan::Group6(address) => self.group = Some(address.into()),
            InfoVxlan::Link(index) => self.underlay = Some(index).filter(|index| *index != 0),
            InfoVxlan::Port(port) => self.port = port,
            InfoVxlan::PortRange((low, high)) => self.source_ports = (high != 0).then_some(low..=high),
            // The kernel says "inherit" by a second attribute, before or after a TTL of zero.
            InfoVxlan::Ttl(0) => {}
            InfoVxlan::Ttl(ttl) => self.ttl = TimeToLive::Fixed(ttl),
            InfoVxlan::TtlInherit(1..) => self.ttl = TimeToLive::Inherit,
            InfoVxlan::Tos(1) => self.tos = TypeOfService::Inherit,
            InfoVxlan::Tos(tos) => self.tos = TypeOfService::Fixed(tos),
            InfoVxlan::Df(VxlanDf::Set) => self.df = DontFragment::Set,
            InfoVxlan::Df(VxlanDf::Inherit) => self.df = DontFragment::Inherit,
            InfoVxlan::Learning(on) => self.learning = on,
            InfoVxlan::Ageing(seconds) => self.ageing = Duration::from_secs(seconds.into()),
            InfoVxlan::Limit(limit) => self.limit = Some(limit).filter(|limit| *limit != 0),
            InfoVxlan::UDPCsum(on) => self.udp_checksum = on,
            InfoVxlan::UDPZeroCsumTX(on) => self.udp6_zero_checksum_tx = on,
            InfoVxlan::UDPZeroCsumRX(on) => self.udp6_zero_checksum_rx = on,
            InfoVxlan::ReservedBits(bits) => self.reserved_bits = Some(bits),
            _ => {}
        }
    }
}

impl Netlink {
    /// Makes a kernel vxlan device, down.
    ///
    /// # Errors
    /// When the name, or the VNI on that port ([`Error::is_exists`]), is taken, or the kernel has no vxlan
    /// ([`Error::is_unsupported`]).
    pub async fn vxlan_add(&self, name: &str, vxlan: &Vxlan) -> Result<Link, Error> {
        let mut attributes = Vec::new();
        attributes.extend(vxlan.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        attributes.extend(vxlan.mtu.map(LinkAttribute::Mtu));
        self.link_add(name, InfoKind::Vxlan, Some(InfoData::Vxlan(vxlan.infos())), attributes).await
    }

    /// The settings of a kernel vxlan device as the kernel has them.
    ///
    /// # Errors
    /// [`Error::NoAnswer`] when the link is no vxlan device.
    pub async fn vxlan_settings(&self, link: &Link) -> Result<Vxlan, Error> {
        let task = Task::new("read the vxlan settings of", link.to_string());
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        let answer = self.one(task.clone(), RouteNetlinkMessage::GetLink(message)).await?;
        let RouteNetlinkMessage::NewLink(message) = answer else { return Err(task.no_answer()) };
        let mut vxlan = Vxlan { mac: Some(link.mac), mtu: Some(link.mtu), ..Vxlan::default() };
        let infos = message.attributes.into_iter().find_map(vxlan_infos).ok_or_else(|| task.no_answer())?;
        infos.into_iter().for_each(|info| vxlan.read(info));
        Ok(vxlan)
    }
}

fn vxlan_infos(attribute: LinkAttribute) -> Option<Vec<InfoVxlan>> {
    let LinkAttribute::LinkInfo(infos) = attribute else { return None };
    infos
        .into_iter()
        .find_map(|info| if let LinkInfo::Data(InfoData::Vxlan(infos)) = info { Some(infos) } else { None })
}
