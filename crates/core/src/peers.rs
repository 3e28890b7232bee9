//! The remotes that the segment knows, as their writer sees them.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::iter;
use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU64;

use vxgate_codec::{MacAddr, Vni};

use crate::remote::RemoteTable;
use crate::{Counters, FloodTarget, Limits, PeerId, Remote, Timestamp};

/// As many remotes are known as may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooMany;

/// The remotes that the segment knows: each has a number as long as an entry refers to it.
#[derive(Debug)]
pub(crate) struct Peers {
    table: Arc<RemoteTable>,
    limits: Arc<Limits>,
    /// Of every worker.
    counters: Vec<Arc<Counters>>,
    /// By number.
    known: Box<[Option<Known>]>,
    by_remote: BTreeMap<Remote, PeerId>,
    /// Numbers that are free, the one longest so first.
    free: VecDeque<u16>,
    /// What a remote is taken for when it does not say.
    port: u16,
    vni: Vni,
    /// Changes whenever what [`Peers::source`] answers may.
    version: u32,
}

/// A remote and what refers to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) remote: Remote,
    /// Entries of unicast addresses.
    pub(crate) macs: u32,
    /// Lists that it is in: the all-zero one and groups'.
    lists: u32,
    /// How many of both control made.
    configured: u32,
    /// Whether it is in the all-zero list.
    pub(crate) peer: bool,
    /// Whether lists name it, and learning heeds it: not while it is down.
    pub(crate) serving: bool,
}

/// What refers to a remote.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reference {
    /// An entry of a unicast address.
    Mac {
        /// Whether control made it.
        configured: bool,
    },
    /// A group's list.
    Group,
    /// The all-zero list.
    Unknown,
}

impl Reference {
    /// The reference of the list of this address.
    pub(crate) fn list(mac: MacAddr) -> Reference {
        if mac.is_zero() { Reference::Unknown } else { Reference::Group }
    }
}

/// What an outer source address stands for. One word, which is copied and kept in a register: as fields, what was just written
/// waits before it can be read in other parts, for longer than the rest of the verdict takes
/// (`cargo bench --bench core -- underlay`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source(NonZeroU64);

/// The lowest 16 bits number the remote that frames are counted for, the next 16 the one that learning takes it for.
const LEARNED_SHIFT: u32 = 16;
const HAS_PEER: u64 = 1 << 32;
const HAS_LEARNED: u64 = 1 << 33;
const CONFIGURED: u64 = 1 << 34;
const DOWN: u64 = 1 << 35;
/// In every one, so that none is 0.
const SOURCE: u64 = 1 << 36;

impl Source {
    /// That no remote has the address.
    pub(crate) const UNKNOWN: Source = Source(NonZeroU64::MIN.saturating_add(SOURCE - 1));

    fn with(self, bits: u64) -> Source {
        Source(self.0 | bits)
    }

    /// The remote that its frames are counted for: the peer there if there is one.
    #[inline]
    pub(crate) fn peer(self) -> Option<PeerId> {
        (self.0.get() & HAS_PEER != 0).then_some(PeerId(self.0.get() as u16))
    }

    /// The remote that learning takes it for: at the segment's own port and VNI. None while it is down.
    #[inline]
    pub(crate) fn learned(self) -> Option<PeerId> {
        let number = (self.0.get() >> LEARNED_SHIFT) as u16;
        (self.0.get() & HAS_LEARNED != 0).then_some(PeerId(number))
    }

    /// Whether an entry that control made names it.
    #[inline]
    pub(crate) fn is_configured(self) -> bool {
        self.0.get() & CONFIGURED != 0
    }

    /// Whether it is a peer that is down, from which nothing is learned.
    #[inline]
    pub(crate) fn is_down(self) -> bool {
        self.0.get() & DOWN != 0
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("peer", &self.peer())
            .field("learned", &self.learned())
            .field("configured", &self.is_configured())
            .field("down", &self.is_down())
            .finish()
    }
}

impl Peers {
    pub(crate) fn new(
        (table, limits): (Arc<RemoteTable>, Arc<Limits>),
        counters: Arc<Counters>,
        limit: usize,
        port: u16,
        vni: Vni,
    ) -> Peers {
        Peers {
            table,
            limits,
            counters: vec![counters],
            known: iter::repeat_n(None, limit).collect(),
            by_remote: BTreeMap::new(),
            free: (0..=u16::MAX).take(limit).collect(),
            port,
            vni,
            version: 0,
        }
    }

    /// Counters of one more worker.
    pub(crate) fn add_counters(&mut self, counters: Arc<Counters>) {
        self.counters.push(counters);
    }

    /// Of every worker, the segment's own first.
    pub(crate) fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// What every address that a remote has stands for, in the order of the addresses.
    pub(crate) fn sources(&self) -> Vec<(IpAddr, Source)> {
        let mut sources: Vec<(IpAddr, Source)> = Vec::new();
        for remote in self.by_remote.keys() {
            if sources.last().is_none_or(|(addr, _)| *addr != remote.addr) {
                sources.push((remote.addr, self.source(remote.addr)));
            }
        }
        sources
    }

    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    pub(crate) fn limit(&self) -> usize {
        self.known.len()
    }

    #[inline]
    pub(crate) fn known(&self, peer: PeerId) -> Option<&Known> {
        self.known.get(peer.index())?.as_ref()
    }

    /// All of them, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Known)> {
        (0..=u16::MAX)
            .map(PeerId)
            .zip(self.known.iter())
            .filter_map(|(peer, known)| Some((peer, known.as_ref()?)))
    }

    /// Where copies for this remote go.
    pub(crate) fn target(&self, peer: PeerId) -> Option<FloodTarget> {
        let Remote { addr, port, vni } = self.known(peer)?.remote;
        let addr = SocketAddr::new(addr, port.unwrap_or(self.port));
        Some(FloodTarget { peer, addr, vni: vni.unwrap_or(self.vni) })
    }

    /// The number of a remote that is known.
    pub(crate) fn find(&self, remote: Remote) -> Option<PeerId> {
        self.by_remote.get(&remote.normal(self.port, self.vni)).copied()
    }

    /// The remotes at an address. Called from one place, so that it becomes one with it: a stranger's address costs as much again
    /// otherwise.
    pub(crate) fn at(&self, addr: IpAddr) -> impl Iterator<Item = (PeerId, &Known)> {
        let addr = addr.to_canonical();
        let here =
            self.by_remote.range(Remote::new(addr)..).take_while(move |(remote, _)| remote.addr == addr);
        here.filter_map(|(_, peer)| Some((*peer, self.known(*peer)?)))
    }

    /// What an outer source address stands for.
    pub(crate) fn source(&self, addr: IpAddr) -> Source {
        let mut source = Source::UNKNOWN;
        let (mut counted, mut is_peer) = (None, false);
        for (peer, known) in self.at(addr) {
            if known.configured > 0 {
                source = source.with(CONFIGURED);
            }
            if counted.is_none() || known.peer && !is_peer {
                counted = Some(peer);
                is_peer = known.peer;
            }
            // Without a number to compare with, the quick way pays nothing for the rule about who is down.
            if !known.serving {
                source = source.with(DOWN);
            } else if known.remote == Remote::new(known.remote.addr) {
                source = source.with(HAS_LEARNED | u64::from(peer.0) << LEARNED_SHIFT);
            }
        }
        counted.map_or(source, |peer| source.with(HAS_PEER | u64::from(peer.0)))
    }

    /// Whether a peer is at this address.
    pub(crate) fn is_peer(&self, addr: IpAddr) -> bool {
        // It is the one that counts, if there is one.
        let peer = self.source(addr).peer().and_then(|peer| self.known(peer));
        peer.is_some_and(|known| known.peer)
    }

    /// Says whether the remotes at this address are sent to and learned from.
    pub(crate) fn set_serving(&mut self, addr: IpAddr, serving: bool) {
        let here = self.known.iter_mut().flatten().filter(|known| known.remote.addr == addr);
        here.for_each(|known| known.serving = serving);
        self.version = self.version.wrapping_add(1);
    }

    /// When anything last came from this address, to whichever worker.
    pub(crate) fn last_heard(&self, addr: IpAddr) -> Option<Timestamp> {
        let peer = self.source(addr).peer()?;
        self.counters.iter().filter_map(|counters| counters.last_heard(peer)).max()
    }

    /// The number of a remote, a new one if need be, with one more reference to it.
    pub(crate) fn hold(&mut self, remote: Remote, reference: Reference) -> Result<PeerId, TooMany> {
        let remote = remote.normal(self.port, self.vni);
        let peer = match self.by_remote.get(&remote) {
            Some(peer) => *peer,
            None => self.number(remote)?,
        };
        self.count(peer, reference, true);
        Ok(peer)
    }

    /// Takes a reference away; the remote is forgotten with the last one. What readers find by must not name it any more.
    pub(crate) fn release(&mut self, peer: PeerId, reference: Reference) {
        self.count(peer, reference, false);
        if let Some(known) = self.known.get_mut(peer.index())
            && let Some(gone) = known.take_if(|known| known.macs == 0 && known.lists == 0)
        {
            self.table.forget(peer);
            self.limits.set_towards(peer, None);
            self.by_remote.remove(&gone.remote);
            self.free.push_back(peer.0);
            self.version = self.version.wrapping_add(1);
        }
    }

    fn number(&mut self, remote: Remote) -> Result<PeerId, TooMany> {
        let peer = PeerId(self.free.pop_front().ok_or(TooMany)?);
        let here = self.source(remote.addr);
        let known = Known { remote, macs: 0, lists: 0, configured: 0, peer: false, serving: !here.is_down() };
        // One path leads to all remotes at an address.
        self.limits.set_towards(peer, here.peer().map(|other| self.limits.towards(other)));
        if let Some(place) = self.known.get_mut(peer.index()) {
            *place = Some(known);
        }
        self.counters.iter().for_each(|counters| counters.reset_peer(peer));
        self.table.publish(peer, remote, self.port, self.vni);
        self.by_remote.insert(remote, peer);
        self.version = self.version.wrapping_add(1);
        Ok(peer)
    }

    fn count(&mut self, peer: PeerId, reference: Reference, more: bool) {
        let Some(Some(known)) = self.known.get_mut(peer.index()) else { return };
        let step = |count: &mut u32| *count = if more { *count + 1 } else { count.saturating_sub(1) };
        let before = (known.configured > 0, known.peer);
        match reference {
            Reference::Mac { configured } => {
                step(&mut known.macs);
                if configured {
                    step(&mut known.configured);
                }
            }
            Reference::Group | Reference::Unknown => {
                step(&mut known.lists);
                step(&mut known.configured);
            }
        }
        if let Reference::Unknown = reference {
            known.peer = more;
        }
        if before != (known.configured > 0, known.peer) {
            self.version = self.version.wrapping_add(1);
        }
    }
}
