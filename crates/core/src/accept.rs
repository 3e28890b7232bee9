//! Whose datagrams are looked at.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::Prefix;
use crate::peers::{Peers, Source};

/// Answers kept ready. A direct-mapped cache: 64 senders that talk at once cost one comparison each.
const LINES: usize = 64;

/// Whose datagrams are looked at: those of the remotes that control named, and of the accepted blocks.
#[derive(Debug)]
pub(crate) struct AcceptList {
    blocks: Vec<Prefix>,
    cache: AcceptCache,
    /// The version of the peers that the cache is about.
    version: u32,
}

/// The last answers.
#[derive(Clone, Debug)]
pub(crate) struct AcceptCache([Option<Line>; LINES]);

/// An answer: `None` for a stranger.
#[derive(Clone, Copy, Debug)]
struct Line {
    key: Key,
    source: Option<Source>,
}

/// An address as two words, IPv4 in its IPv4-mapped form (RFC 4291 section 2.5.5.2): quicker to make and to compare than an
/// `IpAddr` of 17 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    high: u64,
    low: u64,
}

impl Key {
    #[inline]
    fn new(addr: &IpAddr) -> Key {
        match addr {
            IpAddr::V4(v4) => Key { high: 0, low: 0xffff_0000_0000 | u64::from(v4.to_bits()) },
            IpAddr::V6(v6) => Key { high: (v6.to_bits() >> 64) as u64, low: v6.to_bits() as u64 },
        }
    }

    /// The line of the cache for this address: the upper bits of a product spread neighbours.
    #[inline]
    fn place(self) -> usize {
        ((self.high ^ self.low).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - LINES.ilog2())) as usize
    }
}

impl AcceptList {
    pub(crate) fn new(blocks: Vec<Prefix>) -> AcceptList {
        AcceptList { blocks, cache: AcceptCache::EMPTY, version: 0 }
    }

    pub(crate) fn set_blocks(&mut self, blocks: Vec<Prefix>) {
        self.blocks = blocks;
        self.cache = AcceptCache::EMPTY;
    }

    pub(crate) fn blocks(&self) -> &[Prefix] {
        &self.blocks
    }

    /// What this outer source address stands for; `None` for a stranger.
    #[inline]
    pub(crate) fn source(&mut self, addr: &IpAddr, peers: &Peers) -> Option<Source> {
        if self.version != peers.version() {
            self.version = peers.version();
            self.cache = AcceptCache::EMPTY;
        }
        let AcceptList { blocks, cache, .. } = self;
        cache.source(addr, |addr| accept(peers.source(addr), addr, blocks))
    }
}

/// The source, unless it is a stranger.
pub(crate) fn accept(source: Source, addr: IpAddr, blocks: &[Prefix]) -> Option<Source> {
    (source.is_configured() || blocks.iter().any(|block| block.contains(addr))).then_some(source)
}

impl AcceptCache {
    pub(crate) const EMPTY: AcceptCache = AcceptCache([None; LINES]);

    /// The answer for this address, from `find` if it is not in hand.
    #[inline]
    pub(crate) fn source(
        &mut self,
        addr: &IpAddr,
        find: impl FnOnce(IpAddr) -> Option<Source>,
    ) -> Option<Source> {
        let key = Key::new(addr);
        match self.0.get(key.place()) {
            Some(Some(line)) if line.key == key => line.source,
            Some(_) | None => self.fill(key, addr.to_canonical(), find),
        }
    }

    #[cold]
    fn fill(
        &mut self,
        key: Key,
        addr: IpAddr,
        find: impl FnOnce(IpAddr) -> Option<Source>,
    ) -> Option<Source> {
        let source = find(addr);
        if let Some(line) = self.0.get_mut(key.place()) {
            *line = Some(Line { key, source });
        }
        source
    }
}
