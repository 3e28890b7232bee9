//! The sums without an instruction of any one machine. They are of words in the machine's own order, and not folded.

/// For many octets: the halves of 64-bit words, each summed without a carry. The compiler makes vectors of that; where it does not,
/// it still takes eight octets a step.
pub(crate) fn add(data: &[u8]) -> u64 {
    let (mut low, mut high) = (0, 0);
    for word in data.as_chunks::<8>().0 {
        let word = u64::from_ne_bytes(*word);
        low += word & 0xffff_ffff;
        high += word >> 32;
    }
    // Both are below 2^32 times the words of an input, which are far below 2^31.
    widen(low + high, last_word(data, data.len() % 8))
}

/// As [`add`]; both are of one length.
pub(crate) fn copy_add(from: &[u8], to: &mut [u8]) -> u64 {
    let (mut low, mut high) = (0, 0);
    for (word, copy) in from.as_chunks::<8>().0.iter().zip(to.as_chunks_mut::<8>().0) {
        *copy = *word;
        let word = u64::from_ne_bytes(*word);
        low += word & 0xffff_ffff;
        high += word >> 32;
    }
    copy_last(from, to);
    widen(low + high, last_word(from, from.len() % 8))
}

/// For a few octets: 64 bits a step, the carry taken back at once.
#[inline(always)]
pub(crate) fn add_short(data: &[u8]) -> u64 {
    let (words, rest) = data.as_chunks::<8>();
    let sum = words.iter().fold(0, |sum, word| widen(sum, u64::from_ne_bytes(*word)));
    widen(sum, last_word(data, rest.len()))
}

#[inline(always)]
pub(crate) fn copy_add_short(from: &[u8], to: &mut [u8]) -> u64 {
    let rest = from.len() % 8;
    let mut sum = 0;
    for (word, copy) in from.as_chunks::<8>().0.iter().zip(to.as_chunks_mut::<8>().0) {
        *copy = *word;
        sum = widen(sum, u64::from_ne_bytes(*word));
    }
    copy_last(from, to);
    widen(sum, last_word(from, rest))
}

/// Copies the last eight octets: one copy that overlaps is cheaper than as many as there are left to copy.
#[inline(always)]
fn copy_last(from: &[u8], to: &mut [u8]) {
    match (from.last_chunk::<8>(), to.last_chunk_mut::<8>()) {
        (Some(word), Some(copy)) => *copy = *word,
        _ => {
            for (octet, copy) in from.iter().zip(to) {
                *copy = *octet;
            }
        }
    }
}

/// The last `octets` (fewer than eight) of `data` as one word, zero behind them. They begin at a multiple of eight.
#[inline(always)]
fn last_word(data: &[u8], octets: usize) -> u64 {
    if octets == 0 {
        return 0;
    }
    if let Some(word) = data.last_chunk::<8>() {
        // Shifts out what has been summed already.
        return (u64::from_le_bytes(*word) >> (64 - 8 * octets)).to_le();
    }
    let mut word = [0; 8];
    for (octet, from) in word.iter_mut().zip(data) {
        *octet = *from;
    }
    u64::from_ne_bytes(word)
}

/// One's complement sum of 64 bits.
#[inline(always)]
pub(crate) fn widen(sum: u64, more: u64) -> u64 {
    let (sum, carry) = sum.overflowing_add(more);
    sum + u64::from(carry)
}
