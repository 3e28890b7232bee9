//! The paths to the peers: what each carries, and the frames that find it out.
//!
//! # Theory of operation
//!
//! ```text
//!   Segment::set_link_mtu ───────┐                        ┌──► Limits: what the way out lets pass
//!   Segment::handle_too_big ─────┼──► PathMtu, one a peer ┼──► Event::PathMtu: the device follows
//!   answers, Segment::handle_due ┘                        └──► Transmit: probes, with DF set
//! ```
//!
//! A probe is an ARP question for the peer's inner address, padded to the size that is asked for. It is one of those that ask
//! whether an address is in use (RFC 5227 section 2.1.1): it names no sender, so that nobody learns a wrong neighbour from it, and
//! its sender's MAC address is a random number that the answer bears back. Whoever cannot see the probe cannot make up its
//! answer. A peer whose inner address is not known, or is IPv6, is never asked.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use vxgate_codec::arp::Packet;
use vxgate_codec::ethernet::EtherType;
use vxgate_codec::{MacAddr, vxlan};

use crate::path_mtu::{PathMtu, Probe};
use crate::{Event, Segment, Timestamp};

/// What an outer IP packet holds beside the inner frame, in octets: IP, UDP and VXLAN headers (RFC 7348 section 5).
const OVERHEAD_V4: u16 = 20 + 8 + vxlan::HEADER_OCTETS as u16;
const OVERHEAD_V6: u16 = 40 + 8 + vxlan::HEADER_OCTETS as u16;

const fn overhead(outer: IpAddr) -> u16 {
    match outer {
        IpAddr::V4(_) => OVERHEAD_V4,
        IpAddr::V6(_) => OVERHEAD_V6,
    }
}

/// First octet of the MAC addresses that probes come from: locally administered, and of one station (IEEE 802 section 8.2.2).
const TOKEN_PREFIX: u8 = 0xfe;

/// The MAC address that bears a token's lower 40 bits.
const fn token_mac(token: u64) -> MacAddr {
    let [.., a, b, c, d, e] = token.to_be_bytes();
    MacAddr::new([TOKEN_PREFIX, a, b, c, d, e])
}

/// The token that an address bears, if it is one of probes: what is said to it answers one.
pub(crate) const fn token_of(mac: MacAddr) -> Option<u64> {
    let [prefix, a, b, c, d, e] = mac.octets();
    if prefix == TOKEN_PREFIX { Some(u64::from_be_bytes([0, 0, 0, a, b, c, d, e])) } else { None }
}

/// How the paths are found out, besides by what link and route say. Default: not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathDiscovery {
    /// Whether peers with a known inner IPv4 address are asked what their path carries, while health is on.
    pub probes: bool,
    /// Whether datagrams over IPv4 have their DF bit set, or may have. Where they do not and no probe does, no router has a
    /// reason to call one too big: who does is not heeded.
    pub dont_fragment: bool,
}

/// All paths that something is known of.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// By outer address.
    by_outer: BTreeMap<IpAddr, PathMtu>,
    discovery: PathDiscovery,
    /// What the last token was made from.
    tokens: u64,
    /// The earliest deadline of all of them: it is asked for after each batch of frames.
    due: Option<Timestamp>,
    /// The second of the last tick.
    ticked_s: u32,
}

impl Paths {
    /// To be called after every change.
    fn note_deadline(&mut self) {
        self.due = self.by_outer.values().filter_map(PathMtu::deadline).min();
    }

    pub(crate) fn octets(&self, outer: IpAddr) -> Option<u16> {
        self.by_outer.get(&outer).map(PathMtu::octets)
    }
}

/// The next number of a sequence that nobody without the key can foretell: SplitMix64 (Steele, Lea and Flood, 2014), 40 bits of it.
fn next_token(tokens: &mut u64, key: u64) -> u64 {
    *tokens = tokens.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = tokens.wrapping_add(key);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) >> 24
}

/// The paths. Nothing is known of them, and everything is sent, until [`Segment::set_link_mtu`].
impl Segment {
    /// Tells what link and route towards the peer at this outer address carry, in octets of the outer IP packet; `None`: nothing is
    /// known. Frames that do not fit the path are dropped as [`DropReason::TooBig`](crate::DropReason::TooBig) from then on, and their
    /// sender is told.
    pub fn set_link_mtu(&mut self, outer: IpAddr, octets: Option<u16>, now: Timestamp) {
        self.set_link(outer.to_canonical(), octets, now);
        self.paths.note_deadline();
    }

    fn set_link(&mut self, outer: IpAddr, octets: Option<u16>, now: Timestamp) {
        let before = self.paths.octets(outer);
        match octets {
            None => drop(self.paths.by_outer.remove(&outer)),
            Some(octets) => {
                let path = self.paths.by_outer.entry(outer).or_insert_with(|| PathMtu::new(outer, octets));
                path.set_link(octets, now);
            }
        }
        self.refresh_asking(outer, now);
        self.note_path(outer, before);
    }

    /// Tells how the paths are found out from now on.
    pub fn set_path_discovery(&mut self, discovery: PathDiscovery, now: Timestamp) {
        self.paths.discovery = discovery;
        for outer in self.path_addresses() {
            self.refresh_asking(outer, now);
        }
        self.paths.note_deadline();
    }

    /// Hears that a datagram of ours to this peer was too long for a link on its way, which carries this many octets of IP; 0 where
    /// an old router does not say. Says whether it is heeded: not where nothing is known of the path, nor where it says nothing new, nor
    /// where no router has a reason to say so ([`PathDiscovery::dont_fragment`]).
    /// To be called only for an error that quotes a datagram of this segment: anybody could make one up.
    pub fn handle_too_big(&mut self, outer: IpAddr, mtu_octets: u32, now: Timestamp) -> bool {
        let outer = outer.to_canonical();
        let before = self.paths.octets(outer);
        let octets = u16::try_from(mtu_octets).unwrap_or(u16::MAX);
        let may_fragment = outer.is_ipv4() && !self.paths.discovery.dont_fragment;
        let path = self.paths.by_outer.get_mut(&outer).filter(|path| !(may_fragment && path.is_passive()));
        let heeded = path.is_some_and(|path| path.handle_too_big(octets, now));
        self.note_path(outer, before);
        self.paths.note_deadline();
        heeded
    }

    /// When to call [`Segment::handle_due`] next, of health or of a path; `None`: not before something else changes. Asked again
    /// after each call of the segment.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        [self.health_deadline(), self.paths.due].into_iter().flatten().min()
    }

    /// Does what is due, of health and of the paths. To be called at [`Segment::deadline`] or soon after, once what has arrived by
    /// then is handled.
    pub fn handle_due(&mut self, now: Timestamp) {
        if self.health_deadline().is_some_and(|deadline| deadline <= now) {
            self.handle_health(now);
        }
        if self.paths.due.is_some_and(|deadline| deadline <= now) {
            for outer in self.path_addresses() {
                self.handle_due_path(outer, now);
            }
            self.paths.note_deadline();
        }
    }

    /// Follows what has changed around the paths: peers that went, inner addresses that came, remotes that were learned.
    pub(crate) fn tick_paths(&mut self, now: Timestamp) {
        if self.paths.ticked_s == now.seconds() {
            return;
        }
        self.paths.ticked_s = now.seconds();
        for outer in self.path_addresses() {
            if self.peers.at(outer).any(|(_, known)| known.peer) {
                self.refresh_asking(outer, now);
                self.limit_remotes(outer);
            } else {
                self.set_link(outer, None, now);
            }
        }
        self.paths.note_deadline();
    }

    /// Hears an answer to a probe of the path to this peer, given by this inner address; says whether it waits for one.
    pub(crate) fn handle_path_answer(
        &mut self,
        outer: IpAddr,
        inner: IpAddr,
        token: u64,
        now: Timestamp,
    ) -> bool {
        let before = self.paths.octets(outer);
        let is_asked = self.asked_at(outer).is_some_and(|asked| inner == asked);
        let path = self.paths.by_outer.get_mut(&outer).filter(|_| is_asked);
        let awaited = path.is_some_and(|path| path.handle_answer(token, now));
        self.note_path(outer, before);
        self.paths.note_deadline();
        awaited
    }

    fn path_addresses(&self) -> Vec<IpAddr> {
        self.paths.by_outer.keys().copied().collect()
    }

    /// The inner address that answers probes of the path to this peer.
    fn asked_at(&self, outer: IpAddr) -> Option<Ipv4Addr> {
        match self.health.view(outer).inner? {
            IpAddr::V4(inner) => Some(inner),
            IpAddr::V6(_) => None,
        }
    }

    fn refresh_asking(&mut self, outer: IpAddr, now: Timestamp) {
        // Without health, answers are not looked for.
        let asking = self.paths.discovery.probes && self.health.is_on() && self.asked_at(outer).is_some();
        if let Some(path) = self.paths.by_outer.get_mut(&outer) {
            path.set_asking(asking, now);
        }
    }

    fn handle_due_path(&mut self, outer: IpAddr, now: Timestamp) {
        let before = self.paths.octets(outer);
        let (key, inner) = (self.config.hash_key, self.asked_at(outer));
        let Some(path) = self.paths.by_outer.get_mut(&outer) else { return };
        let tokens = &mut self.paths.tokens;
        let probes = path.handle_due(now, || next_token(tokens, key));
        if let Some(inner) = inner {
            for probe in probes {
                // One that finds no room is one that gets lost.
                self.transmit_to(outer, probe_frame(probe, inner, overhead(outer)), Some(true));
            }
        }
        self.note_path(outer, before);
    }

    /// Publishes what has become of a path.
    fn note_path(&mut self, outer: IpAddr, before: Option<u16>) {
        self.limit_remotes(outer);
        let octets = self.paths.octets(outer);
        if let Some(octets) = octets.filter(|octets| before != Some(*octets)) {
            self.tell(Event::PathMtu { addr: outer, octets });
        }
    }

    /// Limits the remotes at this address to what is known of the path there: those, too, that have come or come again since it was.
    pub(crate) fn limit_remotes(&self, outer: IpAddr) {
        let octets = self.paths.octets(outer);
        let frame_octets = octets.map(|octets| u32::from(octets.saturating_sub(overhead(outer))));
        for (peer, _) in self.peers.at(outer) {
            self.limits.set_towards(peer, frame_octets);
        }
    }
}

/// The question, as long as its datagram shall be.
fn probe_frame(probe: Probe, inner: Ipv4Addr, overhead: u16) -> Vec<u8> {
    let source = token_mac(probe.token);
    let packet = Packet::request(source, Ipv4Addr::UNSPECIFIED, inner).to_bytes();
    let header = MacAddr::BROADCAST.octets().into_iter().chain(source.octets());
    let octets = header.chain(EtherType::ARP.0.to_be_bytes()).chain(packet);
    let mut frame = vec![0; usize::from(probe.octets.saturating_sub(overhead))];
    frame.iter_mut().zip(octets).for_each(|(place, octet)| *place = octet);
    frame
}
