//! Sums octets for the internet checksum (RFC 1071), and copies them in the same pass, as fast as the machine does.
//! Never knows what the octets mean: no header, no frame, no field.
//!
//! A running sum is a `u64` in which 16-bit words are added up without taking the carries back; [`fold`] brings it down to
//! 16 bits. Each call adds at most 65,535 to it, so that it holds more calls than anyone makes.
//!
//! # Theory of operation
//!
//! One's complement addition may be done in any order and width, and with the octets of each word swapped (RFC 1071, section 2): so
//! the words are summed 32 bits at a time, as the machine reads them, in lanes of 64 bits that need not care for carries.
//! `portable` writes that so that the compiler makes vectors of it: SSE2 on x86-64, NEON on AArch64. `avx2` says it in
//! instructions. [`add`] and [`copy_add`] ask the machine, whose answer is remembered, and not at all for short inputs.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;

/// Which instructions sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Those that the target always has: SSE2 on x86-64, NEON on AArch64.
    Portable,
    /// AVX2 of x86-64 (Intel since 2013, AMD since 2015).
    Avx2,
}

impl Backend {
    /// All that this crate has a path for, on whatever machine.
    pub const ALL: [Self; 2] = [Self::Portable, Self::Avx2];

    /// Whether this machine has those instructions.
    #[inline]
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => std::arch::is_x86_feature_detected!("avx2"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 => false,
        }
    }

    /// Those that this machine has, the fastest last.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|backend| backend.is_available())
    }

    /// The fastest one that this machine has.
    #[inline]
    #[must_use]
    pub fn fastest() -> Self {
        if Self::Avx2.is_available() { Self::Avx2 } else { Self::Portable }
    }
}

/// Inputs up to this many octets are summed where they are called for: below it the call and the look at the machine
/// cost more than wider registers save (`cargo bench --bench offload -- checksum`).
const SHORT_OCTETS: usize = 128;

/// Adds the octets of `data`, taken as big-endian 16-bit words, to a running sum.
///
/// `data` begins at an even offset of the checksummed text; an odd last octet is padded with zero (RFC 1071, section 1).
#[inline]
#[must_use]
pub fn add(sum: u64, data: &[u8]) -> u64 {
    if data.len() <= SHORT_OCTETS {
        return sum + big_endian(portable::add_short(data));
    }
    add_with(Backend::fastest(), sum, data)
}

/// Copies `from` into `to` and adds its octets to a running sum, as [`add`] does.
///
/// # Panics
/// The two differ in length.
#[inline]
#[must_use]
pub fn copy_add(sum: u64, from: &[u8], to: &mut [u8]) -> u64 {
    assert_eq!(from.len(), to.len(), "a copy is as long as what it is made from");
    if from.len() <= SHORT_OCTETS {
        return sum + big_endian(portable::copy_add_short(from, to));
    }
    copy_add_with(Backend::fastest(), sum, from, to)
}

/// As [`add`], by the backend named. One that the machine does not have is replaced by [`Backend::Portable`].
#[must_use]
pub fn add_with(backend: Backend, sum: u64, data: &[u8]) -> u64 {
    sum + big_endian(match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx2 if Backend::Avx2.is_available() => {
            // SAFETY: the only requirement is that the machine has AVX2, which the guard above has asked it.
            unsafe { avx2::add(data) }
        }
        Backend::Portable | Backend::Avx2 => portable::add(data),
    })
}

/// As [`copy_add`], by the backend named. One that the machine does not have is replaced by [`Backend::Portable`].
///
/// # Panics
/// The two differ in length.
#[must_use]
pub fn copy_add_with(backend: Backend, sum: u64, from: &[u8], to: &mut [u8]) -> u64 {
    assert_eq!(from.len(), to.len(), "a copy is as long as what it is made from");
    sum + big_endian(match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx2 if Backend::Avx2.is_available() => {
            // SAFETY: the only requirement is that the machine has AVX2, which the guard above has asked it.
            unsafe { avx2::copy_add(from, to) }
        }
        Backend::Portable | Backend::Avx2 => portable::copy_add(from, to),
    })
}

/// Brings a running sum down to 16 bits, each carry added back (RFC 1071, section 4.1). The complement is not taken.
#[inline]
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    // Each step halves the width and leaves at most one carry, which the next takes back.
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    // At most 16 bits are left.
    sum as u16
}

/// A sum of words in the machine's order as one of big-endian words: the order may be changed at the end (RFC 1071, section 2 B).
#[inline(always)]
const fn big_endian(native: u64) -> u64 {
    u16::from_be_bytes(fold(native).to_ne_bytes()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        assert_eq!(fold(add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    #[test]
    fn a_fold_takes_every_carry_back() {
        for (sum, folded) in [
            (0, 0),
            (0xffff, 0xffff),
            (0x1_0000, 1),
            (0x1_ffff, 1),
            (u64::MAX, 0xffff),
            (u64::MAX - 1, 0xfffe),
        ] {
            assert_eq!(fold(sum), folded, "{sum:#x}");
        }
    }

    #[test]
    fn the_fastest_backend_is_the_last_of_those_there_are() {
        assert_eq!(Backend::available().last(), Some(Backend::fastest()));
        assert_eq!(Backend::available().next(), Some(Backend::Portable));
    }

    #[test]
    #[should_panic(expected = "as long as")]
    fn a_copy_of_another_length_is_refused() {
        let _ = copy_add(0, &[1, 2, 3], &mut [0; 2]);
    }
}
