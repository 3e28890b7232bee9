//! Datagrams that wait to be sent, in groups that one system call sends.
//!
//! # Theory of operation
//!
//! The kernel cuts one long send into datagrams (`UDP_SEGMENT`) if all have one size, the last of them no more, and one
//! destination. So datagrams wait in groups: each group is for one list of targets, with one set of outer fields, and holds
//! its datagrams one behind the other. What they carry does not matter: frames of different inner flows share a group. A flood
//! is built once, and its group sent to each target of the list.
//!
//! ```text
//!   group 0  A      1458 ║ 1458 ║ 1458 ║ 902   closed by its shorter last
//!   group 1  A, B    60 ║                      a flood
//!   group 2  A       72 ║ 72 ║ 72 ║ 72         open
//! ```
//!
//! Groups are sent in the order in which they were begun. So that the frames of one inner flow stay in order, each joins a
//! group that was begun no earlier than the last one that its flow is in.

use std::net::SocketAddr;
use std::ops::Range;

use vxgate_core::PeerId;
use vxgate_sys::udp::PAYLOAD_OCTETS_MAX;

use crate::underlay::Target;

/// Groups that wait at once: one for each size, peer and source port of a batch of short frames. With all of them in use, all
/// are sent.
const GROUPS: usize = 64;

/// From one group's memory to the next. Not a power of two: the first lines of all groups would share one set of the cache.
const STRIDE_OCTETS: usize = 65_536 + 5 * 64;

/// Octets of one group. A datagram alone may be longer, up to [`PAYLOAD_OCTETS_MAX`]; a send that the kernel is to cut, with its
/// headers, must stay below the link's `gso_max_size` of 65,536, or the kernel cuts it in software before the link that could
/// have taken it whole (`netif_needs_gso` of include/linux/netdevice.h; measured: 65,493 octets over IPv4 leave as one, 65,494
/// as many; IPv6 headers are 20 octets longer).
const GROUP_OCTETS: usize = 65_473;

/// Places of the table that remembers which group a flow is in. Flows that share a place keep their order, too; they only
/// share fewer groups.
const FLOWS: usize = 256;

/// What all datagrams of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// Which socket sends.
    pub(super) socket: usize,
    /// TOS or traffic class.
    pub(super) tos: u8,
    /// TTL or hop limit, if not the socket's.
    pub(super) ttl: Option<u8>,
    /// Whether the DF bit is set.
    pub(super) dont_fragment: bool,
}

/// Datagrams for the same targets with the same outer fields.
pub(super) struct Group {
    pub(super) fields: Fields,
    /// Where its targets stand in the list of all.
    targets: Range<usize>,
    /// Length of each datagram but the last, which may be shorter.
    pub(super) datagram_octets: usize,
    pub(super) octets: usize,
    pub(super) datagrams: usize,
    closed: bool,
}

/// A peer and where it is: all that sending needs of a [`Target`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Recipient {
    pub(super) peer: PeerId,
    pub(super) address: SocketAddr,
}

impl Recipient {
    fn is(&self, target: &Target) -> bool {
        self.peer == target.peer && self.address == target.address
    }
}

/// All groups that wait.
pub(super) struct Groups {
    memory: Vec<u8>,
    groups: Vec<Group>,
    recipients: Vec<Recipient>,
    /// For each place of the flow table: one more than the number of the last group that a frame of it is in.
    flows: [u8; FLOWS],
    datagrams_max: usize,
}

const _: () = assert!(GROUPS < u8::MAX as usize && STRIDE_OCTETS >= PAYLOAD_OCTETS_MAX);

impl Groups {
    /// No groups, of at most `datagrams_max` datagrams each. Memory that no group has needed yet costs nothing.
    pub(super) fn new(datagrams_max: usize) -> Self {
        Self {
            memory: vec![0; GROUPS * STRIDE_OCTETS],
            groups: Vec::with_capacity(GROUPS),
            recipients: Vec::with_capacity(GROUPS),
            flows: [0; FLOWS],
            datagrams_max,
        }
    }

    /// Takes room for one more datagram of `octets` to `targets`, which share a VNI, and says where it is for
    /// [`Groups::octets_mut`]; `None` where all must be sent first. `octets` is at most [`PAYLOAD_OCTETS_MAX`].
    #[inline]
    pub(super) fn place(
        &mut self,
        octets: usize,
        fields: &Fields,
        flow_hash: u32,
        targets: &[Target],
    ) -> Option<Range<usize>> {
        let flow = flow_hash as usize % FLOWS;
        let index = match self.find(octets, fields, usize::from(self.flows[flow]), targets) {
            Some(index) => index,
            None => self.begin(octets, fields, targets)?,
        };
        // Below GROUPS, which fits.
        self.flows[flow] = index as u8 + 1;
        let group = &mut self.groups[index];
        let start = index * STRIDE_OCTETS + group.octets;
        group.octets += octets;
        group.datagrams += 1;
        group.closed = octets < group.datagram_octets;
        Some(start..start + octets)
    }

    /// The group to join: the newest with datagrams of exactly this size, else the newest that this shorter one may close.
    /// `last` is one more than the group that the flow was last put into.
    #[inline]
    fn find(&self, octets: usize, fields: &Fields, last: usize, targets: &[Target]) -> Option<usize> {
        let mut closes = None;
        for index in (last.saturating_sub(1)..self.groups.len()).rev() {
            let group = &self.groups[index];
            let fits = !group.closed
                && octets <= group.datagram_octets
                && group.datagrams < self.datagrams_max
                && group.octets + octets <= GROUP_OCTETS
                && group.fields == *fields
                && self.is_for(group, targets);
            if fits && octets == group.datagram_octets {
                return Some(index);
            }
            if fits && closes.is_none() {
                closes = Some(index);
            }
        }
        closes
    }

    fn is_for(&self, group: &Group, targets: &[Target]) -> bool {
        let recipients = &self.recipients[group.targets.clone()];
        recipients.len() == targets.len()
            && recipients.iter().zip(targets).all(|(recipient, target)| recipient.is(target))
    }

    fn begin(&mut self, octets: usize, fields: &Fields, targets: &[Target]) -> Option<usize> {
        if self.groups.len() == GROUPS {
            return None;
        }
        let first = self.recipients.len();
        let recipients =
            targets.iter().map(|target| Recipient { peer: target.peer, address: target.address });
        self.recipients.extend(recipients);
        self.groups.push(Group {
            fields: *fields,
            targets: first..self.recipients.len(),
            datagram_octets: octets,
            octets: 0,
            datagrams: 0,
            closed: false,
        });
        Some(self.groups.len() - 1)
    }

    /// Whether a group has come near the longest send, so that waiting gains nothing and cools the cache.
    pub(super) fn is_full(&self) -> bool {
        self.groups.last().is_some_and(|group| group.octets > GROUP_OCTETS / 2)
    }

    /// The groups, in the order in which they were begun.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Group, &[Recipient])> {
        self.groups
            .iter()
            .enumerate()
            .map(|(index, group)| (index, group, &self.recipients[group.targets.clone()]))
    }

    /// The room that [`Groups::place`] found.
    #[inline]
    pub(super) fn octets_mut(&mut self, place: Range<usize>) -> &mut [u8] {
        &mut self.memory[place]
    }

    /// What stands in this range of group `index`.
    pub(super) fn octets(&self, index: usize, range: Range<usize>) -> &[u8] {
        let start = index * STRIDE_OCTETS;
        &self.memory[start + range.start..start + range.end]
    }

    /// Forgets all groups: they are sent.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
        self.recipients.clear();
        self.flows = [0; FLOWS];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vxgate_codec::Vni;

    const FIELDS: Fields = Fields { socket: 0, tos: 0, ttl: None, dont_fragment: false };

    fn target(last: u8) -> Target {
        let mut segment = vxgate_core::Segment::new(vxgate_core::SegmentConfig::default());
        let address = std::net::IpAddr::from([192, 0, 2, last]);
        let peer = segment.peer_add(vxgate_core::Remote::new(address), vxgate_core::Timestamp::default());
        Target { peer: peer.unwrap(), address: SocketAddr::new(address, 4789), vni: Vni::MAX }
    }

    /// What each group holds: the lengths of its datagrams, told by what was put there.
    fn shape(groups: &Groups) -> Vec<(usize, usize, usize)> {
        groups.iter().map(|(_, group, _)| (group.datagrams, group.datagram_octets, group.octets)).collect()
    }

    fn put(groups: &mut Groups, octets: usize, flow_hash: u32, targets: &[Target]) {
        let place = groups.place(octets, &FIELDS, flow_hash, targets).unwrap();
        groups.octets_mut(place).fill(flow_hash as u8);
    }

    #[test]
    fn datagrams_of_one_size_share_a_group_whatever_their_flow() {
        let (a, mut groups) = ([target(1)], Groups::new(64));
        (0..10).for_each(|flow| put(&mut groups, 72, flow, &a));
        assert_eq!(shape(&groups), [(10, 72, 720)]);
        assert_eq!(groups.octets(0, 72..74), [1, 1]);
    }

    #[test]
    fn a_shorter_datagram_closes_its_group() {
        let (a, mut groups) = ([target(1)], Groups::new(64));
        [1400, 1400, 900, 900].iter().for_each(|octets| put(&mut groups, *octets, 7, &a));
        assert_eq!(shape(&groups), [(3, 1400, 3700), (1, 900, 900)]);
    }

    #[test]
    fn a_flow_never_goes_back_to_an_earlier_group() {
        let (a, mut groups) = ([target(1)], Groups::new(64));
        [100, 1400, 100].iter().for_each(|octets| put(&mut groups, *octets, 7, &a));
        // The last one closes the group of the second; the first group is behind it.
        assert_eq!(shape(&groups), [(1, 100, 100), (2, 1400, 1500)]);
        put(&mut groups, 100, 8, &a);
        assert_eq!(shape(&groups)[0], (2, 100, 200), "another flow may");
    }

    #[test]
    fn each_target_list_and_each_set_of_fields_has_its_own_groups() {
        let (a, b, mut groups) = (target(1), target(2), Groups::new(64));
        put(&mut groups, 72, 1, &[a]);
        put(&mut groups, 72, 2, &[b]);
        put(&mut groups, 72, 3, &[a, b]);
        put(&mut groups, 72, 1, &[a]);
        groups.place(72, &Fields { tos: 3, ..FIELDS }, 1, &[a]).unwrap();
        let datagrams: Vec<_> = groups.iter().map(|(_, group, to)| (group.datagrams, to.len())).collect();
        assert_eq!(datagrams, [(2, 1), (1, 1), (1, 2), (1, 1)]);
    }

    #[test]
    fn a_group_takes_no_more_than_the_kernel_does() {
        let (a, mut groups) = ([target(1)], Groups::new(64));
        (0..65).for_each(|_| put(&mut groups, 72, 1, &a));
        assert_eq!(shape(&groups), [(64, 72, 64 * 72), (1, 72, 72)]);
        groups.clear();
        (0..45).for_each(|_| put(&mut groups, 1472, 1, &a));
        assert_eq!(shape(&groups), [(44, 1472, 44 * 1472), (1, 1472, 1472)]);
    }

    #[test]
    fn with_all_groups_in_use_nothing_more_is_taken() {
        let (a, mut groups) = ([target(1)], Groups::new(64));
        for octets in (0..GROUPS).map(|index| 100 + index) {
            put(&mut groups, octets, 1, &a);
        }
        assert!(groups.place(2000, &FIELDS, 1, &a).is_none());
        groups.clear();
        put(&mut groups, 2000, 1, &a);
        assert_eq!(shape(&groups), [(1, 2000, 2000)]);
    }
}
