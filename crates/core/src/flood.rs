//! Where copies go: the lists of remotes for unknown destinations and for groups.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use vxgate_codec::{MacAddr, Vni};

use crate::peers::Peers;
use crate::{EntryState, PeerId};

/// One copy of a flooded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FloodTarget {
    /// Whose copy.
    pub peer: PeerId,
    /// Outer IP address and UDP port.
    pub addr: SocketAddr,
    /// The segment that the header names.
    pub vni: Vni,
}

/// The lists of remotes for unknown destinations and for group addresses, as they were at one moment.
///
/// The segment makes a new one after each change ([`Segment::poll_flood`](crate::Segment::poll_flood)); the caller takes
/// it to each [`OverlayHalf`](crate::OverlayHalf::set_flood).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FloodLists {
    /// Remotes of the all-zero entry.
    pub(crate) unknown: Vec<FloodTarget>,
    /// Remotes of groups that have an entry of their own, sorted by group.
    pub(crate) groups: Vec<(MacAddr, Vec<FloodTarget>)>,
}

impl FloodLists {
    /// The remotes that get a copy of what has no entry: those of the all-zero entry that are not down, or all of them where none is
    /// left.
    #[must_use]
    pub fn unknown(&self) -> &[FloodTarget] {
        &self.unknown
    }

    /// The remotes that get a copy of a frame to this group: those of its own entry, else of the all-zero entry; not those that are
    /// down, unless none is left.
    #[must_use]
    pub fn group(&self, group: MacAddr) -> &[FloodTarget] {
        if self.groups.is_empty() {
            return &self.unknown;
        }
        let place = self.groups.binary_search_by_key(&group, |(own, _)| *own).ok();
        place.and_then(|place| self.groups.get(place)).map_or(&self.unknown, |(_, targets)| targets)
    }
}

/// The writer's side: the lists of remotes by address, the all-zero one among them.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    by_mac: BTreeMap<MacAddr, List>,
    /// Whether they changed since the last snapshot.
    changed: bool,
}

/// The remotes of a group or of the all-zero address, those that are down too, in the order in which they were added.
#[derive(Debug)]
pub(crate) struct List {
    /// Each once; never empty.
    pub(crate) remotes: Vec<PeerId>,
    pub(crate) state: EntryState,
    /// The second, rounded up, in which control last changed the list.
    pub(crate) updated_s: u32,
}

impl Lists {
    /// How many addresses have a list.
    pub(crate) fn len(&self) -> usize {
        self.by_mac.len()
    }

    pub(crate) fn get(&self, mac: MacAddr) -> Option<&List> {
        self.by_mac.get(&mac)
    }

    /// The lists of this address and of those above it.
    pub(crate) fn from(&self, mac: MacAddr) -> impl Iterator<Item = (MacAddr, &List)> {
        self.by_mac.range(mac..).map(|(mac, list)| (*mac, list))
    }

    /// Adds a remote that is not in the list of this address; the state becomes that of the whole list.
    pub(crate) fn add(&mut self, mac: MacAddr, peer: PeerId, state: EntryState, now_s: u32) {
        let list = self.by_mac.entry(mac).or_insert(List { remotes: Vec::new(), state, updated_s: now_s });
        list.remotes.push(peer);
        list.state = state;
        list.updated_s = now_s;
        self.changed = true;
    }

    /// Removes these remotes from the list of this address, and the list with the last one.
    pub(crate) fn remove(&mut self, mac: MacAddr, leaving: &[PeerId]) {
        let Some(list) = self.by_mac.get_mut(&mac) else { return };
        list.remotes.retain(|peer| !leaving.contains(peer));
        self.changed |= !leaving.is_empty();
        if list.remotes.is_empty() {
            self.by_mac.remove(&mac);
        }
    }

    /// Has readers get them anew: other remotes of them are sent to.
    pub(crate) fn touch(&mut self) {
        self.changed = true;
    }

    /// What readers get, if it is not what they got last.
    pub(crate) fn poll(&mut self, peers: &Peers) -> Option<FloodLists> {
        core::mem::take(&mut self.changed).then(|| self.snapshot(peers))
    }

    /// What readers get.
    pub(crate) fn snapshot(&self, peers: &Peers) -> FloodLists {
        let is_serving = |peer: &&PeerId| peers.known(**peer).is_some_and(|known| known.serving);
        let targets = |list: &List| -> Vec<FloodTarget> {
            // Never to nobody.
            let is_any = list.remotes.iter().any(|peer| is_serving(&peer));
            let remotes = list.remotes.iter().filter(|peer| !is_any || is_serving(peer));
            remotes.filter_map(|peer| peers.target(*peer)).collect()
        };
        FloodLists {
            unknown: self.get(MacAddr::ZERO).map(targets).unwrap_or_default(),
            groups: self
                .by_mac
                .iter()
                .filter(|(mac, _)| !mac.is_zero())
                .map(|(mac, list)| (*mac, targets(list)))
                .collect(),
        }
    }
}
