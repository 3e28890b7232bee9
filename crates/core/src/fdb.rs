//! The forwarding database's table: MAC address to remote, one writer, readers without a lock.
//!
//! # Theory of operation
//!
//! ```text
//!                      bucket: 8 words, one cache line           word
//!   mac --hash--+--> [ w w w w . . . . ]  first place       63        16 15      0
//!               |                                           +-----------+--------+
//!               +--> [ w w . . . . . . ]  second place      |    MAC    | PeerId |   0: empty
//!                                                           +-----------+--------+
//! ```
//!
//! A word is a whole entry, so that one load is one consistent entry. A keyed hash of the MAC address names one slot, its
//! bucket and another bucket. The entry lies in that slot if it was free, as it mostly is in a table that is far from its
//! limit; else in that bucket, where at the limit, with half of all slots taken, 98 of 100 entries are; else in the other one.
//! When both buckets are full, an entry of one of them moves to its own other bucket; when none can, the new one is refused,
//! which with two slots for each entry is a matter of theory.
//!
//! The writer stores a word after what the word refers to is in place, with release; a reader fences with acquire after a
//! hit. An entry that moves between buckets is for a moment in both, never in neither; a reader that looked into the one
//! before and into the other after still misses it. Readers treat what they miss as unknown and flood, which is harmless.
//!
//! In arrays in parallel to the slots lie when an entry was last heard of, and its kind. Any thread that hears of an entry
//! notes the second; all else is the writer's. A kind is stored ahead of its word, so that a reader who finds the word
//! finds its kind or a later one, and finds out which by looking at the word again.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;

use vxgate_codec::MacAddr;

use crate::peers::Reference;
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use crate::{EntryState, PeerId};

/// Words in a bucket: a cache line of 64 octets.
const WORDS: usize = 8;
/// How far up in a word the MAC address is: above the 16 bits of the remote's number.
const MAC_SHIFT: u32 = 16;

/// 2^64 divided by the golden ratio: a multiplier that spreads neighbouring numbers even when the key is 0.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug)]
#[repr(align(64))]
struct Bucket([AtomicU64; WORDS]);

/// What readers and the writer share.
#[derive(Debug)]
struct Table {
    /// A power of two of them, two at least.
    buckets: Box<[Bucket]>,
    /// Two secrets, the second one odd.
    keys: [u64; 2],
}

/// Where an entry lies, and what was read there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    slot: Slot,
    word: u64,
}

impl Hit {
    /// The remote of the entry.
    pub(crate) fn peer(self) -> PeerId {
        PeerId(self.word as u16)
    }

    pub(crate) fn slot(self) -> Slot {
        self.slot
    }
}

/// The place of a word: bucket and word in it, as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(usize);

impl Slot {
    fn new(bucket: usize, word: usize) -> Slot {
        Slot(bucket * WORDS + word)
    }

    pub(crate) fn bucket(self) -> usize {
        self.0 / WORDS
    }
}

fn word(mac: MacAddr, peer: PeerId) -> u64 {
    mac.to_bits() << MAC_SHIFT | u64::from(peer.0)
}

fn mac_of(word: u64) -> MacAddr {
    MacAddr::from_bits(word >> MAC_SHIFT)
}

/// Whether this is the entry of a MAC address; an empty word is not that of the zero address.
#[inline]
fn is_of(word: u64, mac: u64) -> bool {
    word >> MAC_SHIFT == mac && word != 0
}

/// Where a MAC address may have its entry.
#[derive(Clone, Copy, Debug)]
struct Places {
    /// In the first bucket.
    best: Slot,
    first: usize,
    /// Never the first.
    second: usize,
}

impl Table {
    /// A table with two slots for each of `limit` entries.
    fn new(limit: usize, key: u64) -> Table {
        let buckets = (limit.saturating_mul(2)).div_ceil(WORDS).next_power_of_two().max(2);
        let bucket = |_| Bucket(core::array::from_fn(|_| AtomicU64::new(0)));
        Table { buckets: (0..buckets).map(bucket).collect(), keys: [key, key.rotate_left(32) ^ GOLDEN | 1] }
    }

    #[inline]
    fn places(&self, mac: u64) -> Places {
        let [offset, factor] = self.keys;
        let wide = u128::from(mac ^ offset) * u128::from(factor);
        let hash = (wide >> 64) as u64 ^ wide as u64;
        let mask = self.buckets.len() - 1;
        let first = hash as usize & mask;
        let second = first ^ (((hash >> 32) as usize & mask) | 1);
        Places { best: Slot::new(first, (hash >> 61) as usize), first, second }
    }

    /// The entry of a MAC address. Whoever acts on more than the word's own bits needs an acquire fence first.
    #[inline(always)]
    fn find(&self, mac: MacAddr) -> Option<Hit> {
        let mac = mac.to_bits();
        let places = self.places(mac);
        let word = self.load(places.best);
        if is_of(word, mac) {
            return Some(Hit { slot: places.best, word });
        }
        self.find_elsewhere(places, mac)
    }

    /// Apart from the quick way, which callers take in.
    #[inline(never)]
    fn find_elsewhere(&self, places: Places, mac: u64) -> Option<Hit> {
        self.find_in(places.first, mac).or_else(|| self.find_in(places.second, mac))
    }

    /// Looks at all eight words whatever it finds: a branch for each one would be guessed wrong as often as not.
    #[inline]
    fn find_in(&self, bucket: usize, mac: u64) -> Option<Hit> {
        let words = &self.buckets.get(bucket)?.0;
        let is_it = |word: &AtomicU64| word.load(Ordering::Relaxed) >> MAC_SHIFT == mac;
        if !words.iter().fold(false, |any, word| any | is_it(word)) {
            return None;
        }
        let place = words.iter().position(is_it)?;
        // Looked at again, as the writer may have been there since.
        let word = words.get(place)?.load(Ordering::Relaxed);
        is_of(word, mac).then_some(Hit { slot: Slot::new(bucket, place), word })
    }

    fn find_empty(&self, bucket: usize) -> Option<Slot> {
        let words = &self.buckets.get(bucket)?.0;
        let place = words.iter().position(|word| word.load(Ordering::Relaxed) == 0)?;
        Some(Slot::new(bucket, place))
    }

    #[inline]
    fn load(&self, slot: Slot) -> u64 {
        let bucket = self.buckets.get(slot.bucket());
        let word = bucket.and_then(|bucket| bucket.0.get(slot.0 % WORDS));
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Release: a reader that finds the word finds what it refers to.
    fn store(&self, slot: Slot, value: u64) {
        let bucket = self.buckets.get(slot.bucket());
        if let Some(word) = bucket.and_then(|bucket| bucket.0.get(slot.0 % WORDS)) {
            word.store(value, Ordering::Release);
        }
    }

    fn slots(&self) -> usize {
        self.buckets.len() * WORDS
    }
}

/// A reader of the table. Cheap to clone, one for each thread that looks up.
#[derive(Clone, Debug)]
pub struct FdbReader {
    table: Arc<Table>,
    heard_s: Arc<[AtomicU32]>,
    kinds: Arc<[AtomicU8]>,
}

impl FdbReader {
    /// The remote that this MAC address is behind. Groups and the zero address have no entry in this table.
    #[inline]
    #[must_use]
    pub fn lookup(&self, mac: MacAddr) -> Option<PeerId> {
        self.find(mac).map(Hit::peer)
    }

    /// The entry of a MAC address; what the writer stored before the entry is visible after this.
    #[inline]
    pub(crate) fn find(&self, mac: MacAddr) -> Option<Hit> {
        let hit = self.table.find(mac)?;
        fence(Ordering::Acquire);
        Some(hit)
    }

    /// Whether the entry is still what was found.
    #[inline]
    pub(crate) fn holds(&self, hit: Hit) -> bool {
        self.table.load(hit.slot) == hit.word
    }

    /// The kind of an entry that was found; `None` when it is no longer what was found.
    pub(crate) fn kind(&self, hit: Hit) -> Option<Kind> {
        let kind = Kind::from_bits(self.kinds.get(hit.slot.0)?.load(Ordering::Acquire));
        self.holds(hit).then_some(kind)
    }

    /// Notes the second, once in it. Should the entry have gone in this moment, whatever came into its place lives on from now.
    #[inline]
    pub(crate) fn touch(&self, hit: Hit, now_s: u32) {
        note(&self.heard_s, hit.slot, now_s);
    }
}

/// Why an entry was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The writer of the table, and what only the writer knows of an entry. Unicast addresses only; groups and the all-zero
/// address have lists elsewhere.
#[derive(Debug)]
pub struct Fdb {
    table: Arc<Table>,
    /// By slot: the second, rounded up, in which the entry was last heard of or changed.
    heard_s: Arc<[AtomicU32]>,
    /// By slot: [`Kind::bits`].
    kinds: Arc<[AtomicU8]>,
    len: usize,
    limit: usize,
}

/// What may change an entry, and whether control made it what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What may change the entry by itself.
    pub state: EntryState,
    /// Whether control gave it its remote; else learning did.
    pub configured: bool,
}

impl Kind {
    /// What learning makes.
    pub const LEARNED: Kind = Kind { state: EntryState::Dynamic, configured: false };

    /// What control makes.
    #[must_use]
    pub const fn configured(state: EntryState) -> Kind {
        Kind { state, configured: true }
    }

    /// The lowest two bits say the state, the next one who made it.
    const fn bits(self) -> u8 {
        let state = match self.state {
            EntryState::Dynamic => 0,
            EntryState::Static => 1,
            EntryState::Permanent => 2,
        };
        state | (self.configured as u8) << 2
    }

    const fn from_bits(bits: u8) -> Kind {
        let state = match bits & 3 {
            0 => EntryState::Dynamic,
            1 => EntryState::Static,
            _ => EntryState::Permanent,
        };
        Kind { state, configured: bits & 4 != 0 }
    }
}

/// An entry as the writer sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) slot: Slot,
    pub(crate) mac: MacAddr,
    pub(crate) peer: PeerId,
    pub(crate) kind: Kind,
    pub(crate) heard_s: u32,
}

impl Entry {
    /// How the entry refers to its remote.
    pub(crate) fn reference(&self) -> Reference {
        Reference::Mac { configured: self.kind.configured }
    }
}

impl Fdb {
    /// An empty table for at most `limit` entries; 28 to 56 octets of memory for each. `key` is random, so that
    /// no one can choose MAC addresses that meet in one bucket.
    #[must_use]
    pub fn new(limit: usize, key: u64) -> Fdb {
        let table = Table::new(limit, key);
        let slots = table.slots();
        Fdb {
            table: Arc::new(table),
            heard_s: (0..slots).map(|_| AtomicU32::new(0)).collect(),
            kinds: (0..slots).map(|_| AtomicU8::new(Kind::LEARNED.bits())).collect(),
            len: 0,
            limit,
        }
    }

    /// A reader for another thread.
    #[must_use]
    pub fn reader(&self) -> FdbReader {
        FdbReader {
            table: Arc::clone(&self.table),
            heard_s: Arc::clone(&self.heard_s),
            kinds: Arc::clone(&self.kinds),
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes an entry for a MAC address that has none.
    ///
    /// # Errors
    ///
    /// [`Full`] at the limit, or when neither of its buckets has room; for a group or the zero address too.
    pub fn insert(&mut self, mac: MacAddr, peer: PeerId, kind: Kind, now_s: u32) -> Result<(), Full> {
        if self.len >= self.limit || mac.is_zero() || mac.is_group() {
            return Err(Full);
        }
        let slot = self.make_room(mac).ok_or(Full)?;
        self.write(slot, word(mac, peer), kind, now_s);
        self.len += 1;
        Ok(())
    }

    /// Notes that this MAC address was heard of, if it has an entry, and says where it is. `now_s` is in seconds since any
    /// epoch.
    #[inline]
    pub fn refresh(&mut self, mac: MacAddr, now_s: u32) -> Option<PeerId> {
        let hit = self.table.find(mac)?;
        self.touch(hit.slot, now_s);
        Some(hit.peer())
    }

    #[inline]
    pub(crate) fn find(&self, mac: MacAddr) -> Option<Hit> {
        self.table.find(mac)
    }

    /// Notes the second, once in it.
    #[inline]
    pub(crate) fn touch(&mut self, slot: Slot, now_s: u32) {
        note(&self.heard_s, slot, now_s);
    }

    /// The entry in this slot.
    #[inline]
    pub(crate) fn entry(&self, slot: Slot) -> Option<Entry> {
        let word = Some(self.table.load(slot)).filter(|word| *word != 0)?;
        Some(Entry {
            slot,
            mac: mac_of(word),
            peer: PeerId(word as u16),
            kind: Kind::from_bits(self.kinds.get(slot.0)?.load(Ordering::Relaxed)),
            heard_s: self.heard_s.get(slot.0)?.load(Ordering::Relaxed),
        })
    }

    /// Gives the entry in this slot another remote and kind.
    pub(crate) fn repoint(&mut self, slot: Slot, peer: PeerId, kind: Kind, now_s: u32) {
        let old = self.table.load(slot);
        if old != 0 {
            self.write(slot, word(mac_of(old), peer), kind, now_s);
        }
    }

    /// Removes the entry in this slot.
    pub(crate) fn remove(&mut self, slot: Slot) {
        if self.table.load(slot) != 0 {
            self.table.store(slot, 0);
            self.len -= 1;
        }
    }

    /// The slots of these buckets.
    pub(crate) fn slots(buckets: Range<usize>) -> impl Iterator<Item = Slot> {
        (buckets.start * WORDS..buckets.end * WORDS).map(Slot)
    }

    pub(crate) fn buckets(&self) -> usize {
        self.table.buckets.len()
    }

    fn write(&mut self, slot: Slot, word: u64, kind: Kind, now_s: u32) {
        if let (Some(own_kind), Some(heard_s)) = (self.kinds.get(slot.0), self.heard_s.get(slot.0)) {
            own_kind.store(kind.bits(), Ordering::Release);
            heard_s.store(now_s, Ordering::Relaxed);
            self.table.store(slot, word);
        }
    }

    /// An empty slot for this MAC address, in the first bucket if possible; moves an entry away if need be.
    fn make_room(&mut self, mac: MacAddr) -> Option<Slot> {
        let Places { best, first, second } = self.table.places(mac.to_bits());
        if self.table.load(best) == 0 {
            return Some(best);
        }
        let empty = self.table.find_empty(first).or_else(|| self.table.find_empty(second));
        empty.or_else(|| {
            let mut movable =
                (0..WORDS).flat_map(|place| [Slot::new(first, place), Slot::new(second, place)]);
            movable.find(|slot| self.move_away(*slot))
        })
    }

    /// Moves the entry in this slot to its other bucket, if that has room: there first, then away from here.
    fn move_away(&mut self, slot: Slot) -> bool {
        let Some(entry) = self.entry(slot) else { return false };
        let Places { first, second, .. } = self.table.places(entry.mac.to_bits());
        let other = if slot.bucket() == first { second } else { first };
        let Some(empty) = self.table.find_empty(other) else { return false };
        self.write(empty, word(entry.mac, entry.peer), entry.kind, entry.heard_s);
        self.table.store(slot, 0);
        true
    }
}

/// Notes the second, once in it: a cache line that threads share is written once a second and read in between.
#[inline]
fn note(heard_s: &[AtomicU32], slot: Slot, now_s: u32) {
    if let Some(heard_s) = heard_s.get(slot.0)
        && heard_s.load(Ordering::Relaxed) != now_s
    {
        heard_s.store(now_s, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const PEER: PeerId = PeerId(7);

    fn station(number: u64) -> MacAddr {
        MacAddr::from_bits(0x0200_0000_0000 + number)
    }

    fn filled(limit: usize, macs: impl IntoIterator<Item = MacAddr>) -> Fdb {
        let mut fdb = Fdb::new(limit, 1);
        for mac in macs {
            fdb.insert(mac, PEER, Kind::LEARNED, 0).unwrap();
        }
        fdb
    }

    #[test]
    fn what_was_inserted_is_found_until_it_is_removed() {
        let mut fdb = filled(3000, (0..3000).map(station));
        let reader = fdb.reader();
        for number in 0..3000 {
            assert_eq!(reader.lookup(station(number)), Some(PEER), "{number}");
        }
        for number in 0..3000 {
            let slot = fdb.find(station(number)).unwrap().slot();
            fdb.remove(slot);
            assert_eq!(reader.lookup(station(number)), None, "{number}");
        }
        assert!(fdb.is_empty());
        assert!(Fdb::slots(0..fdb.buckets()).all(|slot| fdb.entry(slot).is_none()));
    }

    #[test]
    fn every_limit_can_be_filled_whatever_the_addresses_have_in_common() {
        // Makers number their stations in the lowest bits; other sets differ in the highest, or in one octet each.
        let patterns: [fn(u64) -> u64; 4] =
            [|n| n, |n| n << 24, |n| (n & 0xff) << 40 | (n >> 8) << 8, |n| n.wrapping_mul(0x0001_0001_0001)];
        for limit in [1, 2, 3, 8, 9, 16, 17, 1000, 4096, 65536] {
            for (number, pattern) in patterns.iter().enumerate() {
                let macs = (1..=limit as u64)
                    .map(pattern)
                    .map(|bits| MacAddr::from_bits(bits << 1 & 0xfeff_ffff_ffff));
                let macs: alloc::collections::BTreeSet<_> = macs.filter(|mac| !mac.is_zero()).collect();
                let fdb = filled(limit, macs.iter().copied());
                assert!(macs.iter().all(|mac| fdb.find(*mac).is_some()), "limit {limit}, pattern {number}");
            }
        }
    }

    #[test]
    fn beyond_the_limit_an_address_is_refused_and_nothing_changes() {
        let mut fdb = filled(100, (0..100).map(station));
        assert_eq!(fdb.insert(station(100), PEER, Kind::LEARNED, 0), Err(Full));
        assert_eq!((fdb.len(), fdb.find(station(100)).is_none()), (100, true));
    }

    #[test]
    fn a_group_and_the_zero_address_have_no_place_here() {
        let mut fdb = Fdb::new(100, 1);
        for mac in [MacAddr::ZERO, MacAddr::BROADCAST, MacAddr::from_bits(0x0100_5e00_0001)] {
            assert_eq!(fdb.insert(mac, PEER, Kind::LEARNED, 0), Err(Full), "{mac}");
            assert!(fdb.find(mac).is_none(), "{mac}");
        }
    }

    #[test]
    fn at_the_limit_98_of_100_entries_are_in_their_first_bucket() {
        // 65536 entries in 131072 slots: no table is fuller.
        let fdb = filled(65536, (0..65536).map(station));
        let in_first = |number: &u64| {
            let places = fdb.table.places(station(*number).to_bits());
            fdb.find(station(*number)).is_some_and(|hit| hit.slot().bucket() == places.first)
        };
        let share = (0..65536).filter(in_first).count() as f64 / 65536.0;
        assert!(share > 0.98, "{share}");
    }

    /// Addresses whose first bucket is `first` and whose second one is `second`.
    fn of_buckets(fdb: &Fdb, first: usize, second: usize) -> impl Iterator<Item = MacAddr> + '_ {
        let fits = move |mac: &MacAddr| {
            let places = fdb.table.places(mac.to_bits());
            (places.first, places.second) == (first, second)
        };
        (0..).map(station).filter(fits)
    }

    #[test]
    fn an_entry_makes_room_when_both_buckets_are_full_and_keeps_all_that_it_is() {
        let mut fdb = Fdb::new(64, 1);
        let crowd: Vec<_> = of_buckets(&fdb, 2, 3).take(17).collect();
        let mobile = of_buckets(&fdb, 2, 5).next().unwrap();
        let kind = Kind::configured(EntryState::Static);
        fdb.insert(mobile, PeerId(9), kind, 42).unwrap();
        for mac in &crowd[..15] {
            fdb.insert(*mac, PEER, Kind::LEARNED, 0).unwrap();
        }
        let reader = fdb.reader();
        let found = reader.find(mobile).unwrap();
        // Both buckets are full, and only `mobile` has somewhere else to go.
        fdb.insert(crowd[15], PEER, Kind::LEARNED, 0).unwrap();
        assert!(!reader.holds(found));
        let entry = fdb.entry(fdb.find(mobile).unwrap().slot()).unwrap();
        assert_eq!((entry.slot.bucket(), entry.mac, entry.peer), (5, mobile, PeerId(9)));
        assert_eq!((entry.kind, entry.heard_s), (kind, 42));
        assert_eq!(fdb.len(), 17);
        assert!(crowd[..16].iter().all(|mac| fdb.find(*mac).is_some()));
        // Now nobody has.
        assert_eq!(fdb.insert(crowd[16], PEER, Kind::LEARNED, 0), Err(Full));
        assert_eq!(fdb.len(), 17);
    }

    #[test]
    fn a_reader_sees_the_kind_of_what_it_found_and_of_nothing_else() {
        let mut fdb = filled(8, [station(1)]);
        let reader = fdb.reader();
        for state in [EntryState::Permanent, EntryState::Static, EntryState::Dynamic] {
            for kind in [Kind::configured(state), Kind { state, configured: false }] {
                let before = reader.find(station(1)).unwrap();
                fdb.repoint(before.slot(), PeerId(before.peer().0 + 1), kind, 0);
                assert_eq!(reader.kind(before), None, "it was at another remote");
                let now = reader.find(station(1)).unwrap();
                assert_eq!((reader.kind(now), fdb.entry(now.slot()).unwrap().kind), (Some(kind), kind));
            }
        }
    }

    #[test]
    fn what_a_reader_hears_of_lives_on() {
        let mut fdb = filled(1, [station(1)]);
        let reader = fdb.reader();
        let hit = reader.find(station(1)).unwrap();
        reader.touch(hit, 7);
        assert_eq!(fdb.entry(hit.slot()).unwrap().heard_s, 7);
        fdb.remove(hit.slot());
        reader.touch(hit, 9);
        assert!(fdb.entry(hit.slot()).is_none(), "nobody is brought back");
    }

    #[test]
    fn the_second_is_noted_once_and_the_remote_told() {
        let mut fdb = filled(1, [station(1)]);
        assert_eq!(fdb.refresh(station(1), 5), Some(PEER));
        assert_eq!(fdb.refresh(station(2), 5), None);
        let slot = fdb.find(station(1)).unwrap().slot();
        assert_eq!(fdb.entry(slot).unwrap().heard_s, 5);
        fdb.repoint(slot, PeerId(8), Kind::configured(EntryState::Permanent), 6);
        let entry = fdb.entry(slot).unwrap();
        assert_eq!((entry.peer, entry.kind.state, entry.heard_s), (PeerId(8), EntryState::Permanent, 6));
    }

    #[test]
    fn another_key_places_the_same_addresses_elsewhere() {
        let places = |key| {
            let fdb = Fdb::new(4096, key);
            (0..100).map(|number| fdb.table.places(station(number).to_bits()).first).collect::<Vec<_>>()
        };
        let (one, other) = (places(1), places(2));
        let same = one.iter().zip(&other).filter(|(one, other)| one == other).count();
        assert!(same < 5, "{same} of 100");
    }
}
