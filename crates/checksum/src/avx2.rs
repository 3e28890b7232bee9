//! The long loops with AVX2. Sums are of words in the machine's own order, and not folded.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_extract_epi64, _mm256_loadu_si256,
    _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_srli_epi64, _mm256_storeu_si256,
};

use crate::portable::{add_last, copy_add_last};

/// Octets of a vector.
const VECTOR: usize = 32;

/// Octets that one step takes: two vectors, so that no addition waits for the one before. Four measure no faster.
const BLOCK: usize = 2 * VECTOR;

#[target_feature(enable = "avx2")]
pub(crate) fn add(data: &[u8]) -> u64 {
    let mut lanes = [Lanes::new(), Lanes::new()];
    let (blocks, rest) = data.as_chunks::<BLOCK>();
    for block in blocks {
        let vectors = load_block(block);
        lanes[0].add(vectors[0]);
        lanes[1].add(vectors[1]);
    }
    lanes[0].sum() + lanes[1].sum() + add_last(data, rest.len())
}

/// Both are of one length.
///
/// Each block is stored one step after it was loaded. Stored at once, the compiler sees a plain copy, calls `memcpy` for all of it
/// and sums in a second pass, which takes half as long again.
#[target_feature(enable = "avx2")]
pub(crate) fn copy_add(from: &[u8], to: &mut [u8]) -> u64 {
    let mut lanes = [Lanes::new(), Lanes::new()];
    let (blocks, rest) = from.as_chunks::<BLOCK>();
    if let Some((first, blocks)) = blocks.split_first()
        && let Some((last_copy, copies)) = to.as_chunks_mut::<BLOCK>().0.split_last_mut()
    {
        let mut loaded = load_block(first);
        for (block, copy) in blocks.iter().zip(copies) {
            let before = loaded;
            loaded = load_block(block);
            store_block(copy, before);
            lanes[0].add(before[0]);
            lanes[1].add(before[1]);
        }
        store_block(last_copy, loaded);
        lanes[0].add(loaded[0]);
        lanes[1].add(loaded[1]);
    }
    lanes[0].sum() + lanes[1].sum() + copy_add_last(from, to, rest.len())
}

/// The lower and the upper halves of 64-bit words, each summed in 64 bits: they hold 2^32 vectors without a carry.
#[derive(Clone, Copy)]
struct Lanes {
    low: __m256i,
    high: __m256i,
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new() -> Self {
        Self { low: _mm256_setzero_si256(), high: _mm256_setzero_si256() }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(&mut self, words: __m256i) {
        let low = _mm256_and_si256(words, _mm256_set1_epi64x(0xffff_ffff));
        self.low = _mm256_add_epi64(self.low, low);
        self.high = _mm256_add_epi64(self.high, _mm256_srli_epi64::<32>(words));
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn sum(self) -> u64 {
        let lanes = _mm256_add_epi64(self.low, self.high);
        let lanes = [
            _mm256_extract_epi64::<0>(lanes),
            _mm256_extract_epi64::<1>(lanes),
            _mm256_extract_epi64::<2>(lanes),
            _mm256_extract_epi64::<3>(lanes),
        ];
        lanes.iter().map(|lane| lane.cast_unsigned()).sum()
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_block(block: &[u8; BLOCK]) -> [__m256i; 2] {
    match block.as_chunks().0 {
        [one, two] => [load(one), load(two)],
        // A block has two vectors.
        _ => [_mm256_setzero_si256(); 2],
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_block(block: &mut [u8; BLOCK], vectors: [__m256i; 2]) {
    if let [one, two] = block.as_chunks_mut().0 {
        store(one, vectors[0]);
        store(two, vectors[1]);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(octets: &[u8; VECTOR]) -> __m256i {
    // SAFETY: the reference is to as many octets as are read, and the instruction takes any alignment.
    unsafe { _mm256_loadu_si256(octets.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(octets: &mut [u8; VECTOR], vector: __m256i) {
    // SAFETY: the reference is to as many octets as are written, and the instruction takes any alignment.
    unsafe { _mm256_storeu_si256(octets.as_mut_ptr().cast(), vector) }
}
