//! Why what looks like an answer to a probe is none.

/// Why what looks like an answer to a probe counts for nothing. The frame is delivered all the same: it may be the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AnswerRefusal {
    /// It breaks the rules of its protocol (RFC 826, RFC 4861 section 7.1.2).
    Malformed,
    /// It comes from another outer address than that of the peer whose inner address it names.
    WrongPeer,
    /// It does not go to our own MAC address.
    NotToUs,
    /// No probe is open that it could be the answer to.
    Unasked,
}

impl AnswerRefusal {
    /// Every reason, in the order of [`AnswerRefusal::index`].
    pub const ALL: &[AnswerRefusal] = &[Self::Malformed, Self::WrongPeer, Self::NotToUs, Self::Unasked];

    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The place of this reason in [`AnswerRefusal::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name that counters, metrics and commands show: lower case words joined by `-`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongPeer => "wrong-peer",
            Self::NotToUs => "not-to-us",
            Self::Unasked => "unasked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_name() {
        for (place, reason) in AnswerRefusal::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place);
            assert_eq!(AnswerRefusal::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }
}
