//! The sums without an instruction of any one machine. They are of words in the machine's own order, and not folded.

/// Two sums, of the lower and of the upper halves of 64-bit words: neither carries within the 2^32 words that no input has.
#[derive(Clone, Copy)]
struct Halves {
    low: u64,
    high: u64,
}

impl Halves {
    const ZERO: Self = Self { low: 0, high: 0 };

    #[inline(always)]
    fn take(&mut self, word: u64) {
        self.low += word & 0xffff_ffff;
        self.high += word >> 32;
    }

    /// Takes the words of a fixed number of octets: the compiler writes them out.
    #[inline(always)]
    fn take_all<const OCTETS: usize>(&mut self, octets: &[u8; OCTETS]) {
        for word in octets.as_chunks().0 {
            self.take(u64::from_ne_bytes(*word));
        }
    }

    #[inline(always)]
    const fn sum(self) -> u64 {
        self.low + self.high
    }
}

/// For many octets. The compiler makes vectors of the loop; where it does not, it still takes eight octets a step.
pub(crate) fn add(data: &[u8]) -> u64 {
    let mut halves = Halves::ZERO;
    for word in data.as_chunks().0 {
        halves.take(u64::from_ne_bytes(*word));
    }
    halves.take(last_word(data, data.len() % 8));
    halves.sum()
}

/// As [`add`]; both are of one length.
pub(crate) fn copy_add(from: &[u8], to: &mut [u8]) -> u64 {
    let mut halves = Halves::ZERO;
    for (word, copy) in from.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
        *copy = *word;
        halves.take(u64::from_ne_bytes(*word));
    }
    copy_last(from, to);
    halves.take(last_word(from, from.len() % 8));
    halves.sum()
}

/// For the last `octets` of `data`, fewer than 128, which begin at an even offset: without a loop, whose set-up would cost more than it.
#[inline(always)]
pub(crate) fn add_last(data: &[u8], octets: usize) -> u64 {
    let mut rest = data.get(data.len() - octets..).unwrap_or_default();
    let mut halves = Halves::ZERO;
    macro_rules! take {
        ($($octets:literal)*) => {$(
            if let Some((chunk, behind)) = rest.split_first_chunk::<$octets>() {
                halves.take_all(chunk);
                rest = behind;
            }
        )*};
    }
    take!(64 32 16 8);
    halves.take(last_word(data, rest.len()));
    halves.sum()
}

/// As [`add_last`], and copies them; both are of one length.
#[inline(always)]
pub(crate) fn copy_add_last(from: &[u8], to: &mut [u8], octets: usize) -> u64 {
    let mut at = from.len() - octets;
    let mut halves = Halves::ZERO;
    macro_rules! take {
        ($($octets:literal)*) => {$(
            if let Some(chunk) = from.get(at..).and_then(|rest| rest.first_chunk::<$octets>())
                && let Some(copy) = to.get_mut(at..).and_then(|room| room.first_chunk_mut())
            {
                *copy = *chunk;
                halves.take_all(chunk);
                at += $octets;
            }
        )*};
    }
    take!(64 32 16 8);
    halves.take(last_word(from, from.len() - at));
    copy_last(from, to);
    halves.sum()
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

/// The last `octets` (fewer than eight) of `data` as one word, zero behind them. They begin at an even offset.
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
