//! A 64-bit digest of a stream: what was changed, lost, repeated or reordered shows; an adversary is not expected.

/// The digest of the octets given so far, however they were cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    state: u64,
    pending: [u8; 8],
    octets: u64,
}

/// An odd constant with well mixed bits: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Digest {
    /// The digest of nothing.
    pub fn new() -> Digest {
        Digest::default()
    }

    /// Takes in the next octets.
    pub fn update(&mut self, mut octets: &[u8]) {
        let filled = (self.octets % 8) as usize;
        self.octets += octets.len() as u64;
        if filled > 0 {
            let (head, rest) = octets.split_at(octets.len().min(8 - filled));
            self.pending[filled..filled + head.len()].copy_from_slice(head);
            if filled + head.len() < 8 {
                return;
            }
            self.state = mix(self.state, u64::from_le_bytes(self.pending));
            octets = rest;
        }
        let (words, rest) = octets.as_chunks::<8>();
        for word in words {
            self.state = mix(self.state, u64::from_le_bytes(*word));
        }
        self.pending = [0; 8];
        self.pending[..rest.len()].copy_from_slice(rest);
    }

    /// The digest, which takes the length in too.
    pub fn value(&self) -> u64 {
        mix(mix(self.state, u64::from_le_bytes(self.tail())), self.octets)
    }

    /// How many octets were taken in.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    fn tail(&self) -> [u8; 8] {
        if self.octets.is_multiple_of(8) { [0; 8] } else { self.pending }
    }
}

fn mix(state: u64, word: u64) -> u64 {
    (state.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER)
}

/// Fills `buffer` with octets that `seed` determines; no two 8-octet words of one call are likely to be equal.
pub(crate) fn fill(seed: u64, buffer: &mut [u8]) {
    let mut state = seed;
    for chunk in buffer.chunks_mut(8) {
        // Marsaglia's xorshift would stick at zero; a Weyl sequence does not.
        state = state.wrapping_add(MULTIPLIER);
        let mixed = (state ^ state >> 29).wrapping_mul(MULTIPLIER);
        let word = (mixed ^ mixed >> 32).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(pieces: &[&[u8]]) -> u64 {
        let mut digest = Digest::new();
        for piece in pieces {
            digest.update(piece);
        }
        digest.value()
    }

    #[test]
    fn the_digest_does_not_depend_on_how_the_stream_is_cut() {
        let mut octets = [0; 100];
        fill(1, &mut octets);
        let whole = digest_of(&[&octets]);
        for first in 0..100 {
            for second in [first, first + 1, 100] {
                let second = second.min(100);
                assert_eq!(digest_of(&[&octets[..first], &octets[first..second], &octets[second..]]), whole);
            }
        }
    }

    #[test]
    fn any_change_of_a_stream_changes_its_digest() {
        let mut octets = [0; 64];
        fill(1, &mut octets);
        let whole = digest_of(&[&octets]);
        for position in 0..64 {
            let mut changed = octets;
            changed[position] ^= 1;
            assert_ne!(digest_of(&[&changed]), whole);
        }
        assert_ne!(digest_of(&[&octets[..63]]), whole);
        assert_ne!(digest_of(&[&octets[32..], &octets[..32]]), whole, "reordered");
        assert_ne!(digest_of(&[&octets, &[0]]), whole, "a zero more");
        assert_ne!(digest_of(&[&[0; 8]]), digest_of(&[&[0; 16]]));
    }
}
