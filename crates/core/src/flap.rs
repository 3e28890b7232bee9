//! MAC addresses that move to and fro: after some moves they stay where they are for a while.
//!
//! Two hosts with one address, a loop, or somebody who pretends: each frame would move the entry, and each frame towards it would go the
//! wrong way half of the time. EVPN has the rule (RFC 7432 section 15.1: N moves within M seconds are a duplicate). Here it ends by
//! itself, since nobody may be there to clear it.
//!
//! Memory is fixed: a table of [`SETS`] sets of [`WAYS`] addresses, which only moves touch. Where more addresses move at once than fit,
//! those that moved least are forgotten first, and none that is damped.

use alloc::boxed::Box;
use alloc::vec;

use vxgate_codec::MacAddr;

/// Moves within the window that are made; the next one is not (RFC 7432 section 15.1, N).
const MOVES: u8 = 5;

/// The window, in seconds (RFC 7432 section 15.1, M).
const WINDOW_S: u32 = 180;

/// For how long an entry then stays, in seconds: one window without moves shows that they have ended.
const DAMPED_S: u32 = 180;

const SETS: usize = 256;
const WAYS: usize = 4;

/// One address that has moved lately.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// 0: none.
    mac: u64,
    /// The second of the window's first move.
    since_s: u32,
    moves: u8,
    /// The second until which it stays; 0: it does not.
    until_s: u32,
}

impl Line {
    fn is_damped(&self, now_s: u32) -> bool {
        self.until_s > now_s
    }

    fn is_over(&self, now_s: u32) -> bool {
        !self.is_damped(now_s) && now_s.saturating_sub(self.since_s) >= WINDOW_S
    }
}

/// Whether a move is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// It is.
    Made,
    /// It is the first one that is not.
    DampedNow,
    /// It is not, and neither was one before it.
    Damped,
}

/// The addresses that have moved lately.
#[derive(Debug)]
pub(crate) struct Flaps {
    lines: Box<[[Line; WAYS]]>,
    key: u64,
}

impl Flaps {
    /// `key` is random, so that nobody can choose addresses that share a set.
    pub(crate) fn new(key: u64) -> Flaps {
        Flaps { lines: vec![[Line::default(); WAYS]; SETS].into_boxed_slice(), key }
    }

    /// An entry is about to move.
    pub(crate) fn moves(&mut self, mac: MacAddr, now_s: u32) -> Move {
        let bits = mac.to_bits();
        let set =
            ((bits ^ self.key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SETS.ilog2())) as usize;
        let Some(set) = self.lines.get_mut(set) else { return Move::Made };
        let place = set.iter().position(|line| line.mac == bits).or_else(|| {
            let others = set.iter().enumerate().filter(|(_, line)| !line.is_damped(now_s));
            others
                .min_by_key(|(_, line)| if line.is_over(now_s) { 0 } else { line.moves })
                .map(|(place, _)| place)
        });
        // Full of addresses that are damped: this one is not, and moves.
        let Some(line) = place.and_then(|place| set.get_mut(place)) else { return Move::Made };
        if line.mac != bits || line.is_over(now_s) {
            *line = Line { mac: bits, since_s: now_s, moves: 0, until_s: 0 };
        }
        if line.is_damped(now_s) {
            return Move::Damped;
        }
        if line.until_s != 0 {
            // The time is over, and it moves again: a new window.
            *line = Line { mac: bits, since_s: now_s, moves: 0, until_s: 0 };
        }
        if line.moves < MOVES {
            line.moves += 1;
            return Move::Made;
        }
        line.until_s = now_s.saturating_add(DAMPED_S);
        Move::DampedNow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(number: u64) -> MacAddr {
        MacAddr::from_bits(0x0200_0000_0000 + number)
    }

    #[test]
    fn five_moves_in_three_minutes_are_made_and_the_sixth_is_not() {
        let mut flaps = Flaps::new(1);
        for second in 0..5 {
            assert_eq!(flaps.moves(mac(1), second), Move::Made, "{second}");
        }
        assert_eq!(flaps.moves(mac(1), 5), Move::DampedNow);
        assert_eq!(flaps.moves(mac(1), 6), Move::Damped);
        assert_eq!(flaps.moves(mac(2), 6), Move::Made, "others are not concerned");
        assert_eq!(flaps.moves(mac(1), 184), Move::Damped);
        for second in 185..190 {
            assert_eq!(flaps.moves(mac(1), second), Move::Made, "a new window, {second}");
        }
        assert_eq!(flaps.moves(mac(1), 190), Move::DampedNow);
    }

    #[test]
    fn one_that_moves_now_and_then_is_never_damped() {
        let mut flaps = Flaps::new(1);
        assert!((0..1000).all(|number| flaps.moves(mac(1), number * 45) == Move::Made));
    }

    #[test]
    fn a_flood_of_addresses_that_move_does_not_free_one_that_is_damped() {
        let mut flaps = Flaps::new(7);
        (0..6).for_each(|_| {
            flaps.moves(mac(1), 0);
        });
        for number in 2..100_000 {
            flaps.moves(mac(number), 1);
        }
        assert_eq!(flaps.moves(mac(1), 2), Move::Damped);
    }
}
