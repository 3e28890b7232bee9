//! The forwarding database of a kernel vxlan device, in the words of `bridge fdb`.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as PacketState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::{Error, Task};
use crate::handle::Netlink;
use crate::link::Link;
use crate::neighbour::{ip_of, mac_of};

/// Whether an entry ages and whether learning may move it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FdbState {
    /// Never ages, never moves; `bridge` prints `permanent`.
    #[default]
    Permanent,
    /// Never ages, never moves; `bridge` prints `static`.
    Static,
    /// Ages and moves, as a learned one does; `bridge` prints nothing.
    Dynamic,
    /// Dynamic, and past half of its age; `bridge` prints `stale`.
    Stale,
}

/// One destination of one MAC address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdbEntry {
    /// The inner destination; all zero for what has no entry of its own.
    pub mac: [u8; 6],
    /// The remote VTEP.
    pub dst: Option<IpAddr>,
    /// Its UDP port; none is the device's.
    pub port: Option<u16>,
    /// The VNI sent to it; none is the device's.
    pub vni: Option<u32>,
    /// The index of the underlay link; none leaves it to the route.
    pub via: Option<u32>,
    /// Whether it ages and moves.
    pub state: FdbState,
    /// Whether a control plane fed it: learning may not refresh it, and it does not age.
    pub extern_learn: bool,
    /// Time since it was last used; ignored in a request.
    pub used: Duration,
    /// Time since it was last changed; ignored in a request.
    pub updated: Duration,
}

/// `NLM_F_BULK` of linux/netlink.h (Linux 5.19): delete everything that matches.
const NLM_F_BULK: u16 = 0x200;

/// The kernel counts these ages in hundredths of a second (`USER_HZ` of asm-generic/param.h).
const TICK: Duration = Duration::from_millis(10);

impl FdbEntry {
    /// A permanent entry for `mac` at `dst`.
    pub fn new(mac: [u8; 6], dst: IpAddr) -> FdbEntry {
        FdbEntry {
            mac,
            dst: Some(dst),
            port: None,
            vni: None,
            via: None,
            state: FdbState::Permanent,
            extern_learn: false,
            used: Duration::ZERO,
            updated: Duration::ZERO,
        }
    }

    /// A permanent all-zero entry: `dst` gets what has no entry of its own.
    pub fn peer(dst: IpAddr) -> FdbEntry {
        FdbEntry::new([0; 6], dst)
    }
}

impl Netlink {
    /// Adds an entry (`bridge fdb add`).
    ///
    /// # Errors
    /// [`Error::is_exists`] when the MAC address has one.
    pub async fn fdb_add(&self, link: &Link, entry: &FdbEntry) -> Result<(), Error> {
        self.fdb_new("add", link, entry, NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Adds a destination to a group MAC address or to all-zero (`bridge fdb append`). The kernel says yes and does
    /// nothing when it has that destination, and when a unicast MAC address has one already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn fdb_append(&self, link: &Link, entry: &FdbEntry) -> Result<(), Error> {
        self.fdb_new("append", link, entry, NLM_F_CREATE | NLM_F_APPEND).await
    }

    /// Replaces the MAC address's entry, or adds one (`bridge fdb replace`).
    ///
    /// # Errors
    /// [`Error::is_unsupported`] for a group MAC address or all-zero that has an entry.
    pub async fn fdb_replace(&self, link: &Link, entry: &FdbEntry) -> Result<(), Error> {
        self.fdb_new("replace", link, entry, NLM_F_CREATE | NLM_F_REPLACE).await
    }

    async fn fdb_new(
        &self,
        operation: &'static str,
        link: &Link,
        entry: &FdbEntry,
        flags: u16,
    ) -> Result<(), Error> {
        let mut message = message_for(link, entry);
        message.header.state = PacketState::from(state_bits(entry.state));
        if entry.extern_learn {
            message.header.flags |= NeighbourFlags::ExtLearned;
        }
        self.change(
            Task::new(operation, object(link, entry)),
            RouteNetlinkMessage::NewNeighbour(message),
            flags,
        )
        .await
    }

    /// Deletes one destination of a MAC address, or all of them if `entry.dst` is none (`bridge fdb del`). The kernel
    /// says yes when the MAC address has only other destinations.
    ///
    /// # Errors
    /// [`Error::is_missing`] when the MAC address has no entry.
    pub async fn fdb_delete(&self, link: &Link, entry: &FdbEntry) -> Result<(), Error> {
        let request = RouteNetlinkMessage::DelNeighbour(message_for(link, entry));
        self.change(Task::new("delete", object(link, entry)), request, 0).await
    }

    /// Deletes every entry of the device (`bridge fdb flush`); Linux 6.7.
    ///
    /// # Errors
    /// [`Error::is_unsupported`] on an older kernel.
    pub async fn fdb_flush(&self, link: &Link) -> Result<(), Error> {
        let request = RouteNetlinkMessage::DelNeighbour(message_head(link));
        self.change(Task::new("flush", format!("entries of {link}")), request, NLM_F_BULK).await
    }

    /// The device's own entries (`bridge fdb show dev`), one for each destination.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn fdb(&self, link: &Link) -> Result<Vec<FdbEntry>, Error> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        let task = Task::new("list", format!("entries of {link}"));
        let answers = self.dump(task, RouteNetlinkMessage::GetNeighbour(message)).await?;
        Ok(answers.into_iter().filter_map(|answer| entry_of(link, answer)).collect())
    }
}

fn object(link: &Link, entry: &FdbEntry) -> String {
    let mut text = String::from("entry ");
    for (position, octet) in entry.mac.iter().enumerate() {
        let _ = write!(text, "{}{octet:02x}", if position == 0 { "" } else { ":" });
    }
    if let Some(dst) = entry.dst {
        let _ = write!(text, " dst {dst}");
    }
    text + " of " + &link.to_string()
}

fn message_head(link: &Link) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = link.index;
    message.header.flags = NeighbourFlags::Own;
    message
}

fn message_for(link: &Link, entry: &FdbEntry) -> NeighbourMessage {
    let mut message = message_head(link);
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(entry.mac.to_vec()));
    message.attributes.extend(entry.dst.map(|ip| NeighbourAttribute::Destination(ip.into())));
    message.attributes.extend(entry.port.map(NeighbourAttribute::Port));
    message.attributes.extend(entry.vni.map(NeighbourAttribute::Vni));
    message.attributes.extend(entry.via.map(NeighbourAttribute::IfIndex));
    message
}

const NUD_REACHABLE: u16 = 0x02;
const NUD_STALE: u16 = 0x04;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

/// The bits that bridge(8) sends for each word.
fn state_bits(state: FdbState) -> u16 {
    match state {
        FdbState::Permanent => NUD_PERMANENT | NUD_NOARP,
        FdbState::Static => NUD_REACHABLE | NUD_NOARP,
        FdbState::Dynamic | FdbState::Stale => NUD_REACHABLE,
    }
}

fn state_of(bits: u16) -> FdbState {
    if bits & NUD_PERMANENT != 0 {
        FdbState::Permanent
    } else if bits & NUD_NOARP != 0 {
        FdbState::Static
    } else if bits & NUD_STALE != 0 {
        FdbState::Stale
    } else {
        FdbState::Dynamic
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the kernel's growing list of attributes, those that we show"
)]
fn entry_of(link: &Link, message: RouteNetlinkMessage) -> Option<FdbEntry> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    let header = &message.header;
    if header.ifindex != link.index || !header.flags.contains(NeighbourFlags::Own) {
        return None;
    }
    let mut entry = FdbEntry {
        mac: mac_of(&message.attributes)?,
        dst: None,
        port: None,
        vni: None,
        via: None,
        state: state_of(header.state.into()),
        extern_learn: header.flags.contains(NeighbourFlags::ExtLearned),
        used: Duration::ZERO,
        updated: Duration::ZERO,
    };
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(address) => entry.dst = ip_of(&address),
            NeighbourAttribute::Port(port) => entry.port = Some(port),
            NeighbourAttribute::Vni(vni) => entry.vni = Some(vni),
            NeighbourAttribute::IfIndex(index) => entry.via = Some(index),
            NeighbourAttribute::CacheInfo(cache) => {
                entry.used = TICK * cache.used;
                entry.updated = TICK * cache.updated;
            }
            _ => {}
        }
    }
    Some(entry)
}
