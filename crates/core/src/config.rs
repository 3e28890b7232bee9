//! What a segment is told before it begins.

use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::time::Duration;

use vxgate_codec::{MacAddr, ReservedBits, Vni, vxlan};

use crate::Prefix;

/// What a segment is told before it begins. The defaults are those of Linux's vxlan device unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentConfig {
    /// The segment; default 10, the one that SORACOM Gate uses.
    pub vni: Vni,
    /// UDP port of remotes that name none of their own, learned ones among them; default 4789 (RFC 7348 section 5).
    pub port: u16,
    /// MAC address of the overlay port: frames that come in with it as their source are a loop. Default zero, which
    /// no valid source equals.
    pub own_mac: MacAddr,
    /// Whether to learn which remote a MAC address is behind; default on.
    pub learning: bool,
    /// How long a dynamic entry outlives the last frame received from it; default 300 s, the kernel's
    /// `FDB_AGE_DEFAULT`. Zero: for ever. Counted in whole seconds, rounded up.
    pub ageing: Duration,
    /// How many MAC addresses may have an entry: learned, configured, groups and the all-zero one alike, as the kernel's
    /// `maxaddress` counts. From 1 to [`SegmentConfig::MAX_MACS`], values outside count as the nearer end; default
    /// 16384 (the kernel's is no limit). At the limit nothing is learned, and a counter says how often.
    pub max_macs: usize,
    /// How many remotes may be known, configured and learned; default 1024. From 1 to [`SegmentConfig::MAX_PEERS`], values
    /// outside count as the nearer end. At the limit nothing is learned from a new remote, and a counter says how often.
    pub max_peers: usize,
    /// What to do with reserved bits of the VXLAN header; default [`ReservedBits::Ignore`] (RFC 7348 section 5).
    pub reserved_bits: ReservedBits,
    /// Blocks of addresses to accept datagrams from besides the configured remotes; default none. The kernel accepts
    /// from everywhere.
    pub accept_from: Vec<Prefix>,
    /// How many MAC addresses may be learned behind one remote; default `None`: as many as there is room for. At the limit nothing
    /// new is learned from it, and a counter says how often; what is known may still move to it.
    pub max_macs_per_peer: Option<usize>,
    /// Whether a MAC address that moves more than five times in 180 s then stays where it is for 180 s (RFC 7432 section 15.1);
    /// default off, as the kernel has no such rule.
    pub flap_damping: bool,
    /// Most frames a second of broadcast, unknown unicast and multicast, to each remote, and of broadcast and multicast from each;
    /// default `None`: no limit. What may come at once is a tenth of a second of it, and 128 frames at least.
    pub storm_limit: Option<NonZeroU32>,
    /// Key of the hash that places MAC addresses; random, so that no one can choose addresses that collide. Default 0:
    /// right for tests only.
    pub hash_key: u64,
}

impl SegmentConfig {
    /// The most MAC addresses that can be asked for, 2^24: 256 MiB of table.
    pub const MAX_MACS: usize = 1 << 24;
    /// The most remotes that can be asked for: as many as a [`PeerId`](crate::PeerId) can number.
    pub const MAX_PEERS: usize = 1 << 16;

    pub(crate) fn clamped(mut self) -> SegmentConfig {
        self.max_macs = self.max_macs.clamp(1, Self::MAX_MACS);
        self.max_peers = self.max_peers.clamp(1, Self::MAX_PEERS);
        self
    }
}

impl Default for SegmentConfig {
    fn default() -> SegmentConfig {
        const GATE_VNI: Vni = match Vni::new(10) {
            Some(vni) => vni,
            None => Vni::MAX,
        };
        SegmentConfig {
            vni: GATE_VNI,
            port: vxlan::PORT,
            own_mac: MacAddr::ZERO,
            learning: true,
            ageing: Duration::from_secs(300),
            max_macs: 16384,
            max_peers: 1024,
            reserved_bits: ReservedBits::Ignore,
            accept_from: Vec::new(),
            max_macs_per_peer: None,
            flap_damping: false,
            storm_limit: None,
            hash_key: 0,
        }
    }
}
