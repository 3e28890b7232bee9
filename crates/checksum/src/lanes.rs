//! The loops. Sums are of words in the machine's own order, and not folded.
//!
//! All of it is inlined, so that it is compiled for the instructions that its caller may use.

/// Octets that one step of the long loops takes: sixteen 32-bit words for sixteen lanes. Twice and half as many measure
/// slower.
const BLOCK: usize = 64;

#[inline(always)]
pub(crate) fn add(data: &[u8]) -> u64 {
    let mut lanes = [0_u64; BLOCK / 4];
    let (blocks, rest) = data.as_chunks::<BLOCK>();
    for block in blocks {
        add_block(&mut lanes, block);
    }
    widen(lanes.iter().sum(), add_short(rest))
}

#[inline(always)]
pub(crate) fn copy_add(from: &[u8], to: &mut [u8]) -> u64 {
    let mut lanes = [0_u64; BLOCK / 4];
    let (blocks, rest) = from.as_chunks::<BLOCK>();
    let (copies, rest_copy) = to.as_chunks_mut::<BLOCK>();
    for (block, copy) in blocks.iter().zip(copies) {
        *copy = *block;
        add_block(&mut lanes, block);
    }
    widen(lanes.iter().sum(), copy_add_short(rest, rest_copy))
}

/// Lanes without a carry between them are what the compiler turns into vectors. A lane holds 2^32 steps.
#[inline(always)]
fn add_block(lanes: &mut [u64; BLOCK / 4], block: &[u8; BLOCK]) {
    let (words, _) = block.as_chunks::<4>();
    for (lane, word) in lanes.iter_mut().zip(words) {
        *lane += u64::from(u32::from_ne_bytes(*word));
    }
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
    // A copy of eight octets that overlaps is cheaper than one of as many as are left.
    match (from.last_chunk::<8>(), to.last_chunk_mut::<8>()) {
        (Some(word), Some(copy)) => *copy = *word,
        _ => to.copy_from_slice(from),
    }
    widen(sum, last_word(from, rest))
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
fn widen(sum: u64, more: u64) -> u64 {
    let (sum, carry) = sum.overflowing_add(more);
    sum + u64::from(carry)
}
