//! The long loops with AVX2. Sums are of words in the machine's own order, and not folded.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_extract_epi64, _mm256_loadu_si256,
    _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_srli_epi64, _mm256_storeu_si256,
};
use std::sync::atomic::{Ordering, compiler_fence};

use crate::portable::{add_short, copy_add_short, widen};

/// Octets of a vector.
const VECTOR: usize = 32;

/// Octets that one step takes: two vectors, so that no addition waits for the one before. Four measure no faster.
const BLOCK: usize = 2 * VECTOR;

#[target_feature(enable = "avx2")]
pub(crate) fn add(data: &[u8]) -> u64 {
    let mut lanes = [Lanes::new(), Lanes::new()];
    let (blocks, rest) = data.as_chunks::<BLOCK>();
    for block in blocks {
        for (lanes, vector) in lanes.iter_mut().zip(block.as_chunks().0) {
            lanes.add(load(vector));
        }
    }
    widen(lanes[0].sum() + lanes[1].sum(), add_short(rest))
}

/// Both are of one length.
#[target_feature(enable = "avx2")]
pub(crate) fn copy_add(from: &[u8], to: &mut [u8]) -> u64 {
    let mut lanes = [Lanes::new(), Lanes::new()];
    let (blocks, rest) = from.as_chunks::<BLOCK>();
    let (copies, rest_copy) = to.as_chunks_mut::<BLOCK>();
    for (block, copy) in blocks.iter().zip(copies) {
        // Without it the compiler takes the stores for a copy of its own, and makes two passes of one.
        compiler_fence(Ordering::SeqCst);
        let vectors = block.as_chunks().0.iter().zip(copy.as_chunks_mut().0);
        for (lanes, (vector, copy)) in lanes.iter_mut().zip(vectors) {
            let vector = load(vector);
            store(copy, vector);
            lanes.add(vector);
        }
    }
    widen(lanes[0].sum() + lanes[1].sum(), copy_add_short(rest, rest_copy))
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
