//! What an operator asks of a segment: the words of `bridge fdb`, and peers.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use vxgate_codec::MacAddr;

use crate::{EntryState, EntryView, FlushFilter, PageCursor, PeerCounts, PeerId, Remote, Segment, Timestamp};

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
    /// What went to it and came from it.
    pub counts: PeerCounts,
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
    pub fn peer_add(&mut self, _remote: Remote, _now: Timestamp) -> Result<PeerId, ControlError> {
        Err(ControlError::NotFound)
    }

    /// Takes every remote at this address off the all-zero entry, and flushes what was learned behind it.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotFound`] when no remote of the all-zero entry is there.
    pub fn peer_del(&mut self, _addr: IpAddr) -> Result<(), ControlError> {
        Err(ControlError::NotFound)
    }

    /// The remotes that the segment knows, by number.
    pub fn peers(&self) -> impl Iterator<Item = PeerView> + '_ {
        core::iter::empty()
    }

    /// `bridge fdb add`: makes an entry for a MAC address that has none.
    ///
    /// # Errors
    ///
    /// [`ControlError::Exists`], [`ControlError::TableFull`], [`ControlError::TooManyPeers`],
    /// [`ControlError::InvalidRemote`].
    pub fn fdb_add(
        &mut self,
        _mac: MacAddr,
        _remote: Remote,
        _state: EntryState,
        _now: Timestamp,
    ) -> Result<(), ControlError> {
        Err(ControlError::NotFound)
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
        _mac: MacAddr,
        _remote: Remote,
        _state: EntryState,
        _now: Timestamp,
    ) -> Result<(), ControlError> {
        Err(ControlError::NotFound)
    }

    /// `bridge fdb replace`: gives a unicast address this remote and state, whether or not it has an entry.
    ///
    /// # Errors
    ///
    /// [`ControlError::ReplaceList`], [`ControlError::TableFull`], [`ControlError::TooManyPeers`],
    /// [`ControlError::InvalidRemote`].
    pub fn fdb_replace(
        &mut self,
        _mac: MacAddr,
        _remote: Remote,
        _state: EntryState,
        _now: Timestamp,
    ) -> Result<(), ControlError> {
        Err(ControlError::NotFound)
    }

    /// `bridge fdb del`: removes an entry, or only this remote of it; the entry goes with its last remote.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotFound`], also when the entry has no such remote (the kernel says nothing).
    pub fn fdb_del(&mut self, _mac: MacAddr, _remote: Option<Remote>) -> Result<(), ControlError> {
        Err(ControlError::NotFound)
    }

    /// `bridge fdb flush`: removes all that the filter fits, and says how many lines of a listing went.
    pub fn fdb_flush(&mut self, _filter: &FlushFilter) -> usize {
        0
    }

    /// A part of `bridge -s fdb show`: up to `limit` lines from `cursor` on, and where the next part begins, `None` at the end.
    pub fn fdb_page(
        &self,
        _cursor: PageCursor,
        _limit: usize,
        _now: Timestamp,
    ) -> (Vec<EntryView>, Option<PageCursor>) {
        (Vec::new(), None)
    }
}
