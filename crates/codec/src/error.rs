//! Which rule a datagram or a frame broke.

use core::fmt;

/// The rule that bytes from the wire broke; one variant per rule, in the order in which they are checked.
///
/// A bad frame is not a failure of the program: callers turn this into a drop reason of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParseError {
    /// The datagram ends within the 8 octets of the VXLAN header (RFC 7348 section 5).
    Truncated,
    /// Flag I is 0, so that the header carries no valid VNI (RFC 7348 section 5).
    FlagIClear,
    /// A reserved bit is 1 and the policy is [`ReservedBits::Reject`](crate::ReservedBits::Reject).
    ReservedBits,
    /// The frame ends within the 14 octets of its Ethernet header.
    Runt,
    /// The frame ends within an 802.1Q tag that its EtherType announced.
    TruncatedTag,
}

impl ParseError {
    /// Every rule, in the order in which they are checked.
    pub const ALL: &[ParseError] =
        &[Self::Truncated, Self::FlagIClear, Self::ReservedBits, Self::Runt, Self::TruncatedTag];

    /// The name that counters, metrics and commands show: lower case words joined by `-`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::FlagIClear => "flag-i-clear",
            Self::ReservedBits => "reserved-bits",
            Self::Runt => "runt",
            Self::TruncatedTag => "truncated-tag",
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the datagram is shorter than the 8 octets of a VXLAN header",
            Self::FlagIClear => "flag I of the VXLAN header is 0, so that it names no VNI",
            Self::ReservedBits => "a reserved bit of the VXLAN header is 1",
            Self::Runt => "the frame is shorter than the 14 octets of an Ethernet header",
            Self::TruncatedTag => "the frame ends within a VLAN tag",
        })
    }
}

impl core::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::string::ToString;

    use super::*;

    #[test]
    fn names_are_distinct_and_kebab_case() {
        let names: BTreeSet<_> = ParseError::ALL.iter().map(|error| error.name()).collect();
        assert_eq!(names.len(), ParseError::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }

    #[test]
    fn sentences_are_distinct() {
        let sentences: BTreeSet<_> = ParseError::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(sentences.len(), ParseError::ALL.len());
    }
}
