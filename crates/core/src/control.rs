//! What an operator asks of a segment: the words of `bridge fdb`, and peers.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use vxgate_codec::{MacAddr, Vni};

use crate::entry::Place;
use crate::fdb::{Entry, Fdb, Full, Kind};
use crate::flood::List;
use crate::peers::{Peers, Reference, TooMany};
use crate::{
    EntryState, EntryView, FlushFilter, PageCursor, PeerCounts, PeerHealth, PeerId, Remote, Segment,
    SegmentConfig, Timestamp,
};

/// Why control refused a change; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlError {
    /// There is such an entry, or such a remote of it, already (`EEXIST`).
    Exists,
    /// There is no such entry, or no such remote of it (`ENOENT`).
    NotFound,
    /// As many MAC addresses have an entry as may (`ENOSPC`).
    TableFull {
        /// How many: [`SegmentConfig::max_macs`](crate::SegmentConfig::max_macs).
        limit: usize,
    },
    /// As many remotes are known as may be.
    TooManyPeers {
        /// How many: [`SegmentConfig::max_peers`](crate::SegmentConfig::max_peers).
        limit: usize,
    },
    /// A group or the all-zero address has a list of remotes, which cannot be replaced (`EOPNOTSUPP`).
    ReplaceList,
    /// A unicast address has one remote, to which no second can be appended.
    AppendUnicast,
    /// The remote has no usable address: unspecified, or port 0.
    InvalidRemote,
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("it exists already"),
            Self::NotFound => f.write_str("there is no such entry"),
            Self::TableFull { limit } => write!(f, "the table is full: at most {limit} MAC addresses"),
            Self::TooManyPeers { limit } => write!(f, "no further remote fits: at most {limit}"),
            Self::ReplaceList => f.write_str(
                "only the entry of a unicast MAC address can be replaced; append and delete remotes instead",
            ),
            Self::AppendUnicast => f.write_str(
                "only a group or all-zero MAC address can have several remotes; replace it instead",
            ),
            Self::InvalidRemote => {
                f.write_str("a remote needs an IP address other than 0.0.0.0 or :: and a port above 0")
            }
        }
    }
}

impl core::error::Error for ControlError {}

/// A remote that the segment knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Its number.
    pub id: PeerId,
    /// Where it is.
    pub remote: Remote,
    /// Whether it is a peer: a remote of the all-zero entry. Else an entry of its own or learning made it known.
    pub configured: bool,
    /// How many MAC addresses have an entry at this remote.
    pub macs: usize,
    /// What the path to it carries, in octets of the outer IP packet; `None` where nothing is known.
    pub path_mtu: Option<u16>,
    /// What went to it and came from it.
    pub counts: PeerCounts,
    /// Whether it lives.
    pub health: PeerHealth,
}

/// Control. Every change takes effect for the next frame, save that of a list: see [`Segment::poll_flood`].
impl Segment {
    /// Adds a peer: a remote that everything unknown is flooded to. It becomes a permanent remote of the all-zero entry, as by
    /// `bridge fdb append 00:00:00:00:00:00`.
    ///
    /// # Errors
    ///
    /// [`ControlError::Exists`], [`ControlError::TableFull`], [`ControlError::TooManyPeers`],
    /// [`ControlError::InvalidRemote`].
    pub fn peer_add(&mut self, remote: Remote, now: Timestamp) -> Result<PeerId, ControlError> {
        self.list_add(MacAddr::ZERO, remote, EntryState::Permanent, now)
    }

    /// Takes every remote at this address off the all-zero entry, and flushes what was learned behind it. Static and permanent
    /// entries at this address stay, and so does that datagrams from it are accepted.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotFound`] when no remote of the all-zero entry is there.
    pub fn peer_del(&mut self, addr: IpAddr) -> Result<(), ControlError> {
        let addr = addr.to_canonical();
        if self.drop_remotes(MacAddr::ZERO, |remote| remote.addr == addr) == 0 {
            return Err(ControlError::NotFound);
        }
        self.flush_table(&FlushFilter { dst: Some(addr), ..FlushFilter::DYNAMIC });
        self.note_entries();
        Ok(())
    }

    /// The remotes that the segment knows, by number.
    pub fn peers(&self) -> impl Iterator<Item = PeerView> + '_ {
        let counters = self.all_counters();
        self.peers.iter().map(move |(id, known)| PeerView {
            id,
            remote: known.remote,
            configured: known.peer,
            macs: known.macs as usize,
            path_mtu: self.paths.octets(known.remote.addr),
            counts: counters.peer(id),
            health: self.health.view(known.remote.addr),
        })
    }

    /// `bridge fdb add`: makes an entry for a MAC address that has none.
    ///
    /// # Errors
    ///
    /// [`ControlError::Exists`], [`ControlError::TableFull`], [`ControlError::TooManyPeers`],
    /// [`ControlError::InvalidRemote`].
    pub fn fdb_add(
        &mut self,
        mac: MacAddr,
        remote: Remote,
        state: EntryState,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        if !has_list(mac) {
            return if self.fdb.find(mac).is_some() {
                Err(ControlError::Exists)
            } else {
                self.entry_add(mac, remote, state, now)
            };
        }
        match self.lists.get(mac) {
            Some(_) => Err(ControlError::Exists),
            None => self.list_add(mac, remote, state, now).map(drop),
        }
    }

    /// `bridge fdb append`: adds a remote to a group's or the all-zero entry, or makes the entry. The state becomes that of
    /// the whole entry.
    ///
    /// # Errors
    ///
    /// [`ControlError::Exists`] for a remote that is in the list (the kernel says nothing),
    /// [`ControlError::AppendUnicast`] for a unicast address that has an entry (the kernel changes its state and says
    /// nothing), [`ControlError::TableFull`], [`ControlError::TooManyPeers`], [`ControlError::InvalidRemote`].
    pub fn fdb_append(
        &mut self,
        mac: MacAddr,
        remote: Remote,
        state: EntryState,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        if has_list(mac) {
            self.list_add(mac, remote, state, now).map(drop)
        } else if self.fdb.find(mac).is_some() {
            Err(ControlError::AppendUnicast)
        } else {
            self.entry_add(mac, remote, state, now)
        }
    }

    /// `bridge fdb replace`: gives a unicast address this remote and state, whether or not it has an entry.
    ///
    /// # Errors
    ///
    /// [`ControlError::ReplaceList`], [`ControlError::TableFull`], [`ControlError::TooManyPeers`],
    /// [`ControlError::InvalidRemote`].
    pub fn fdb_replace(
        &mut self,
        mac: MacAddr,
        remote: Remote,
        state: EntryState,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        if has_list(mac) {
            return Err(ControlError::ReplaceList);
        }
        let Some(entry) = self.fdb.find(mac).and_then(|hit| self.fdb.entry(hit.slot())) else {
            return self.entry_add(mac, remote, state, now);
        };
        let peer = self.hold(remote, Reference::Mac { configured: true })?;
        self.fdb.repoint(entry.slot, peer, Kind::configured(state), now.seconds_up());
        self.peers.release(entry.peer, entry.reference());
        Ok(())
    }

    /// `bridge fdb del`: removes an entry, or only this remote of it; the entry goes with its last remote.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotFound`], also when the entry has no such remote (the kernel says nothing).
    pub fn fdb_del(&mut self, mac: MacAddr, remote: Option<Remote>) -> Result<(), ControlError> {
        let remote = remote.map(|remote| remote.normal(self.config.port, self.config.vni));
        let fits = |own: &Remote| remote.is_none_or(|remote| remote == *own);
        let gone = if has_list(mac) {
            self.drop_remotes(mac, fits)
        } else {
            let entry = self.fdb.find(mac).and_then(|hit| self.fdb.entry(hit.slot()));
            let entry =
                entry.filter(|entry| self.peers.known(entry.peer).is_some_and(|known| fits(&known.remote)));
            entry.iter().map(|entry| self.drop_entry(entry)).count()
        };
        self.note_entries();
        if gone == 0 { Err(ControlError::NotFound) } else { Ok(()) }
    }

    /// `bridge fdb flush`: removes all that the filter fits, and says how many lines of a listing went. Looks at the whole table
    /// unless the filter gives a MAC address: some milliseconds for a million entries.
    pub fn fdb_flush(&mut self, filter: &FlushFilter) -> usize {
        let in_table = self.flush_table(filter);
        let fits = |mac: MacAddr, list: &List| {
            filter.states.contains(list.state) && filter.mac.is_none_or(|wanted| wanted == mac)
        };
        let macs = self.lists.from(MacAddr::ZERO).filter(|(mac, list)| fits(*mac, list));
        let macs: Vec<MacAddr> = macs.map(|(mac, _)| mac).collect();
        let SegmentConfig { port, vni, .. } = self.config;
        let gone = |mac| self.drop_remotes(mac, |remote| filter.fits(remote, port, vni));
        let in_lists: usize = macs.into_iter().map(gone).sum();
        self.note_entries();
        in_table + in_lists
    }

    pub(crate) fn flush_table(&mut self, filter: &FlushFilter) -> usize {
        let SegmentConfig { port, vni, .. } = self.config;
        let fits = |peers: &Peers, entry: &Entry| {
            filter.states.contains(entry.kind.state)
                && filter.mac.is_none_or(|mac| mac == entry.mac)
                && peers.known(entry.peer).is_some_and(|known| filter.fits(&known.remote, port, vni))
        };
        let buckets = match filter.mac {
            None => 0..self.fdb.buckets(),
            Some(mac) => match self.fdb.find(mac) {
                Some(hit) => hit.slot().bucket()..hit.slot().bucket() + 1,
                None => 0..0,
            },
        };
        let mut gone = 0;
        for slot in Fdb::slots(buckets) {
            if let Some(entry) = self.fdb.entry(slot).filter(|entry| fits(&self.peers, entry)) {
                self.drop_entry(&entry);
                gone += 1;
            }
        }
        gone
    }

    /// `bridge -s fdb get`: the entry of a MAC address, by its first remote.
    #[must_use]
    pub fn fdb_get(&self, mac: MacAddr, now: Timestamp) -> Option<EntryView> {
        if let Some(list) = self.lists.get(mac) {
            return self.line(mac, *list.remotes.first()?, list.state, list.updated_s, now);
        }
        let entry = self.fdb.entry(self.fdb.find(mac)?.slot())?;
        self.line(mac, entry.peer, entry.kind.state, entry.heard_s, now)
    }

    /// A part of `bridge -s fdb show`: about `limit` lines from `cursor` on, and where the next part begins, `None` at the end. A part
    /// may hold up to 7 lines more, or few or none where the table is sparse, so that no part keeps frames waiting.
    ///
    /// Entries that change their place between two parts may show twice or not at all.
    #[must_use]
    pub fn fdb_page(
        &self,
        cursor: PageCursor,
        limit: usize,
        now: Timestamp,
    ) -> (Vec<EntryView>, Option<PageCursor>) {
        let mut lines = Vec::new();
        let mut bucket = 0;
        match cursor.0 {
            Place::Bucket(next) => bucket = next,
            Place::List(from, first) => {
                for (mac, list) in self.lists.from(from) {
                    let skip = if mac == from { first } else { 0 };
                    for (number, peer) in list.remotes.iter().enumerate().skip(skip) {
                        if lines.len() >= limit {
                            return (lines, Some(PageCursor(Place::List(mac, number))));
                        }
                        lines.extend(self.line(mac, *peer, list.state, list.updated_s, now));
                    }
                }
            }
        }
        let end = bucket.saturating_add(PAGE_BUCKETS).min(self.fdb.buckets());
        while bucket < end && lines.len() < limit {
            for entry in Fdb::slots(bucket..bucket + 1).filter_map(|slot| self.fdb.entry(slot)) {
                lines.extend(self.line(entry.mac, entry.peer, entry.kind.state, entry.heard_s, now));
            }
            bucket += 1;
        }
        (lines, (bucket < self.fdb.buckets()).then_some(PageCursor(Place::Bucket(bucket))))
    }

    fn line(
        &self,
        mac: MacAddr,
        peer: PeerId,
        state: EntryState,
        updated_s: u32,
        now: Timestamp,
    ) -> Option<EntryView> {
        let Remote { addr: dst, port, vni } = self.peers.known(peer)?.remote;
        let age_s = now.seconds().saturating_sub(updated_s);
        Some(EntryView { mac, dst, port, vni, peer, state, used_s: age_s, updated_s: age_s })
    }

    fn entry_add(
        &mut self,
        mac: MacAddr,
        remote: Remote,
        state: EntryState,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        let full = ControlError::TableFull { limit: self.config.max_macs };
        if self.entries() >= self.config.max_macs {
            return Err(full);
        }
        let reference = Reference::Mac { configured: true };
        let peer = self.hold(remote, reference)?;
        let added = self.fdb.insert(mac, peer, Kind::configured(state), now.seconds_up());
        self.note_entries();
        added.map_err(|Full| {
            self.peers.release(peer, reference);
            full
        })
    }

    fn list_add(
        &mut self,
        mac: MacAddr,
        remote: Remote,
        state: EntryState,
        now: Timestamp,
    ) -> Result<PeerId, ControlError> {
        match self.lists.get(mac) {
            Some(list) if self.peers.find(remote).is_some_and(|peer| list.remotes.contains(&peer)) => {
                return Err(ControlError::Exists);
            }
            None if self.entries() >= self.config.max_macs => {
                return Err(ControlError::TableFull { limit: self.config.max_macs });
            }
            Some(_) | None => {}
        }
        let peer = self.hold(remote, Reference::list(mac))?;
        self.lists.add(mac, peer, state, now.seconds_up());
        if mac.is_zero() {
            self.health.add_peer(remote.addr.to_canonical(), self.config.hash_key);
        }
        self.note_entries();
        Ok(peer)
    }

    fn hold(&mut self, remote: Remote, reference: Reference) -> Result<PeerId, ControlError> {
        if remote.addr.to_canonical().is_unspecified() || remote.port == Some(0) {
            return Err(ControlError::InvalidRemote);
        }
        let limit = self.peers.limit();
        let peer = self.peers.hold(remote, reference);
        let peer = peer.map_err(|TooMany| ControlError::TooManyPeers { limit })?;
        self.limit_remotes(remote.addr.to_canonical());
        Ok(peer)
    }
}

/// Buckets that one part of a listing looks at, at most: half a megabyte of table, about 50 us.
const PAGE_BUCKETS: usize = 8192;

/// Whether this address has a list of remotes instead of an entry in the table.
fn has_list(mac: MacAddr) -> bool {
    mac.is_group() || mac.is_zero()
}

impl FlushFilter {
    /// Whether the remote fits, the segment's port and VNI standing for what it does not give.
    fn fits(&self, remote: &Remote, port: u16, vni: Vni) -> bool {
        self.dst.is_none_or(|dst| dst.to_canonical() == remote.addr)
            && self.port.is_none_or(|wanted| wanted == remote.port.unwrap_or(port))
            && self.vni.is_none_or(|wanted| wanted == remote.vni.unwrap_or(vni))
    }
}
