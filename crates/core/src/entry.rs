//! Entries of the forwarding database as control sees them.

use core::fmt;
use core::net::IpAddr;

use vxgate_codec::{MacAddr, Vni};

use crate::PeerId;

/// What may change an entry by itself; the kernel's states of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryState {
    /// Nothing: neither learning nor ageing. What `bridge fdb add` makes unless told otherwise; `NUD_PERMANENT`.
    Permanent,
    /// Nothing: neither learning nor ageing; `NUD_NOARP`.
    Static,
    /// Learning moves it, ageing removes it; `NUD_REACHABLE`.
    Dynamic,
}

impl EntryState {
    /// Every state.
    pub const ALL: &[EntryState] = &[Self::Permanent, Self::Static, Self::Dynamic];

    /// The word that `bridge fdb` takes for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Static => "static",
            Self::Dynamic => "dynamic",
        }
    }

    /// The word that `bridge -j fdb show` prints for it: nothing for a dynamic one.
    #[must_use]
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Static => "static",
            Self::Dynamic => "",
        }
    }
}

impl fmt::Display for EntryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of states, for filters: `permanent` is [`EntryStates::only`], `nopermanent` is [`EntryStates::without`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryStates(u8);

impl EntryStates {
    /// All of them; the default.
    pub const ALL: EntryStates = EntryStates(0b111);

    /// This state only.
    #[must_use]
    pub const fn only(state: EntryState) -> EntryStates {
        EntryStates(1 << state as u8)
    }

    /// This set less a state.
    #[must_use]
    pub const fn without(self, state: EntryState) -> EntryStates {
        EntryStates(self.0 & !EntryStates::only(state).0)
    }

    /// Whether the set holds this state.
    #[must_use]
    pub const fn contains(self, state: EntryState) -> bool {
        self.0 & EntryStates::only(state).0 != 0
    }
}

impl Default for EntryStates {
    fn default() -> EntryStates {
        EntryStates::ALL
    }
}

/// One line of `bridge -s fdb show`: an entry, or one of the remotes of an entry that has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryView {
    /// Whose; zero for every unknown destination.
    pub mac: MacAddr,
    /// The remote's address.
    pub dst: IpAddr,
    /// The remote's port where it is not the segment's.
    pub port: Option<u16>,
    /// The remote's VNI where it is not the segment's.
    pub vni: Option<Vni>,
    /// The remote's number.
    pub peer: PeerId,
    /// What may change the entry by itself.
    pub state: EntryState,
    /// Seconds since it was last used. Use by sending is not noted, so this is `updated_s`.
    pub used_s: u32,
    /// Seconds since a frame from this MAC address was last received with learning on, or control last changed the entry.
    pub updated_s: u32,
}

/// Which entries to flush: those that fit all that is given. The default fits every one, permanent and all-zero entries
/// too, as `bridge fdb flush dev DEV` without more does on Linux 6.18.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlushFilter {
    /// Entries of this MAC address.
    pub mac: Option<MacAddr>,
    /// Remotes at this address; an entry goes when its last remote does.
    pub dst: Option<IpAddr>,
    /// Remotes at this port, the segment's for those that have none of their own.
    pub port: Option<u16>,
    /// Remotes of this VNI, the segment's for those that have none of their own.
    pub vni: Option<Vni>,
    /// Entries in one of these states.
    pub states: EntryStates,
}

impl FlushFilter {
    /// What was learned, and nothing that was configured to stay.
    pub const DYNAMIC: FlushFilter = FlushFilter {
        mac: None,
        dst: None,
        port: None,
        vni: None,
        states: EntryStates::only(EntryState::Dynamic),
    };
}

/// Where a listing goes on; the default is its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PageCursor(pub(crate) Place);

impl PageCursor {
    /// Set for a bucket; else 47 bits of the address and 16 of the number.
    const BUCKET: u64 = 1 << 63;
    /// The group bit of an address. Every address with a list has it but the all-zero one, so that it need not be kept.
    const GROUP: u64 = 1 << 40;
    /// Beside [`Self::BUCKET`], for 01:00:00:00:00:00: without its group bit it is the all-zero address.
    const BARE_GROUP: u64 = 1 << 62;

    /// The cursor as a number, for a client to hold; the beginning is 0.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        match self.0 {
            Place::Bucket(bucket) => Self::BUCKET | bucket as u64,
            Place::List(mac, number) => {
                let mac = mac.to_bits();
                if mac == Self::GROUP {
                    return Self::BUCKET | Self::BARE_GROUP | number as u64 & 0xffff;
                }
                let kept = mac >> 41 << 40 | mac & (Self::GROUP - 1);
                kept << 16 | number as u64 & 0xffff
            }
        }
    }

    /// The cursor that a client held. Any number is a place: one that no listing gave leads somewhere in it.
    #[must_use]
    pub const fn from_bits(bits: u64) -> PageCursor {
        if bits & (Self::BUCKET | Self::BARE_GROUP) == Self::BUCKET | Self::BARE_GROUP {
            return PageCursor(Place::List(MacAddr::from_bits(Self::GROUP), (bits & 0xffff) as usize));
        }
        if bits & Self::BUCKET != 0 {
            return PageCursor(Place::Bucket((bits & !Self::BUCKET) as usize));
        }
        let kept = bits >> 16;
        let mac = if kept == 0 { 0 } else { kept >> 40 << 41 | Self::GROUP | kept & (Self::GROUP - 1) };
        PageCursor(Place::List(MacAddr::from_bits(mac), (bits & 0xffff) as usize))
    }
}

/// Lists come first, by address, then the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// The remote of this number in the list of this address, or what follows it.
    List(MacAddr, usize),
    /// This bucket of the table.
    Bucket(usize),
}

impl Default for Place {
    fn default() -> Place {
        Place::List(MacAddr::ZERO, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_way_to_a_client_and_back() {
        let group = |bits| MacAddr::from_bits(bits);
        for place in [
            Place::List(MacAddr::ZERO, 0),
            Place::List(MacAddr::ZERO, 65_535),
            Place::List(MacAddr::BROADCAST, 7),
            Place::List(group(0x0100_5e00_0001), 3),
            Place::List(group(0x0100_0000_0000), 0),
            Place::List(group(0x0100_0000_0000), 9),
            Place::List(group(0x3333_0000_0000), 0),
            Place::Bucket(0),
            Place::Bucket(1 << 21),
        ] {
            assert_eq!(PageCursor::from_bits(PageCursor(place).to_bits()), PageCursor(place));
        }
        assert_eq!(PageCursor::default().to_bits(), 0);
    }
}
