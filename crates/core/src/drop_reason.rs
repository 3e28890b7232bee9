//! Why a frame or a datagram went no further.

use core::fmt;

use vxgate_codec::ParseError;

/// Why a frame or a datagram went no further; one enum for both directions.
///
/// A bad frame is not an error: it is one of these, counted. [`DropReason::name`] is what counters, metrics and commands
/// show, [`DropReason::explain`] a sentence for the reader of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// The datagram's source is neither a configured remote nor within the blocks that we accept from.
    Stranger,
    /// The datagram is longer than the buffer that received it.
    CutShort,
    /// The datagram ends within the VXLAN header.
    Truncated,
    /// Flag I of the VXLAN header is 0 (RFC 7348 section 5).
    FlagIClear,
    /// A reserved bit of the VXLAN header is 1 and the policy refuses that.
    ReservedBits,
    /// The frame ends within its Ethernet header.
    Runt,
    /// The frame ends within a VLAN tag.
    TruncatedTag,
    /// The VXLAN header names another segment.
    WrongVni,
    /// The frame's source is our own MAC address: it came back in a loop.
    OwnMac,
    /// The frame's source is the zero address or a group.
    InvalidSource,
    /// The frame's source has a static or permanent entry at another remote.
    StaticElsewhere,
    /// Congestion was marked on the outer header of a frame that cannot carry the mark (RFC 6040 section 4.2).
    Ecn,
    /// No entry for the destination and no flood list.
    NoRemote,
    /// The frame with its outer headers is longer than the path to the remote carries.
    TooBig,
    /// The offload header says what the frame is not.
    BadSuperframe,
    /// The remote has had its share of broadcast, unknown unicast and multicast for now.
    StormLimit,
    /// The frame is a datagram of this very VTEP, or for it: the tunnel would go through itself.
    TunnelInTunnel,
    /// The overlay port took no more.
    PortFull,
    /// The overlay port refused the frame.
    PortRefused,
    /// The underlay took no more.
    UnderlayFull,
    /// The underlay has no way to the remote, or our own address is gone.
    Unreachable,
    /// The underlay refused the datagram.
    UnderlayRefused,
}

impl DropReason {
    /// Every reason, in the order of [`DropReason::index`].
    pub const ALL: &[DropReason] = &[
        Self::Stranger,
        Self::CutShort,
        Self::Truncated,
        Self::FlagIClear,
        Self::ReservedBits,
        Self::Runt,
        Self::TruncatedTag,
        Self::WrongVni,
        Self::OwnMac,
        Self::InvalidSource,
        Self::StaticElsewhere,
        Self::Ecn,
        Self::NoRemote,
        Self::TooBig,
        Self::BadSuperframe,
        Self::StormLimit,
        Self::TunnelInTunnel,
        Self::PortFull,
        Self::PortRefused,
        Self::UnderlayFull,
        Self::Unreachable,
        Self::UnderlayRefused,
    ];

    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The place of this reason in [`DropReason::ALL`], the same in both directions.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name that counters, metrics and commands show: lower case words joined by `-`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::CutShort => "cut-short",
            Self::Truncated => ParseError::Truncated.name(),
            Self::FlagIClear => ParseError::FlagIClear.name(),
            Self::ReservedBits => ParseError::ReservedBits.name(),
            Self::Runt => ParseError::Runt.name(),
            Self::TruncatedTag => ParseError::TruncatedTag.name(),
            Self::WrongVni => "wrong-vni",
            Self::OwnMac => "own-mac",
            Self::InvalidSource => "invalid-source",
            Self::StaticElsewhere => "static-elsewhere",
            Self::Ecn => "ecn",
            Self::NoRemote => "no-remote",
            Self::TooBig => "too-big",
            Self::BadSuperframe => "bad-superframe",
            Self::StormLimit => "storm-limit",
            Self::TunnelInTunnel => "tunnel-in-tunnel",
            Self::PortFull => "port-full",
            Self::PortRefused => "port-refused",
            Self::UnderlayFull => "underlay-full",
            Self::Unreachable => "unreachable",
            Self::UnderlayRefused => "underlay-refused",
        }
    }

    /// What happened and what it means, in one sentence for an operator.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Stranger => {
                "the datagram came from an address that is no configured peer and in no accepted block"
            }
            Self::CutShort => "the datagram was longer than the receive buffer, so that its end is missing",
            Self::Truncated => "the datagram is shorter than the 8 octets of a VXLAN header",
            Self::FlagIClear => "flag I of the VXLAN header is 0, so that it names no VNI",
            Self::ReservedBits => {
                "a reserved bit of the VXLAN header is 1, which the policy `kernel` refuses"
            }
            Self::Runt => "the frame is shorter than the 14 octets of an Ethernet header",
            Self::TruncatedTag => "the frame ends within a VLAN tag",
            Self::WrongVni => "the VXLAN header names another VNI than ours",
            Self::OwnMac => {
                "a frame that claims to come from our own MAC address arrived: there is a loop or a clash"
            }
            Self::InvalidSource => "the frame's source MAC address is zero or a group, which no station has",
            Self::StaticElsewhere => "the frame's source MAC address has a static entry at another remote",
            Self::Ecn => {
                "the underlay marked congestion on a frame whose sender does not understand the mark"
            }
            Self::NoRemote => "no entry for the destination MAC address and no peer to flood to",
            Self::TooBig => "the frame with its outer headers is longer than the path to the remote carries",
            Self::BadSuperframe => "the offload header of the frame does not fit its contents",
            Self::StormLimit => {
                "the peer has had its share of broadcast, unknown unicast and multicast for the moment"
            }
            Self::TunnelInTunnel => {
                "the frame carries a datagram of the tunnel itself: it would go through itself"
            }
            Self::PortFull => "the overlay port did not take the frame in time",
            Self::PortRefused => "the overlay port refused the frame",
            Self::UnderlayFull => "the underlay's send buffer was full",
            Self::Unreachable => "the underlay has no route to the remote, or our own outer address is gone",
            Self::UnderlayRefused => "the underlay refused to send the datagram",
        }
    }
}

impl From<ParseError> for DropReason {
    fn from(error: ParseError) -> DropReason {
        match error {
            ParseError::Truncated => Self::Truncated,
            ParseError::FlagIClear => Self::FlagIClear,
            ParseError::ReservedBits => Self::ReservedBits,
            ParseError::Runt => Self::Runt,
            ParseError::TruncatedTag => Self::TruncatedTag,
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_stands_at_its_index() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason}");
        }
    }

    #[test]
    fn names_are_distinct_words_joined_by_hyphens() {
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        for name in names {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
        }
    }

    #[test]
    fn a_parse_error_becomes_the_reason_of_the_same_name() {
        for error in ParseError::ALL {
            assert_eq!(DropReason::from(*error).name(), error.name());
        }
    }

    #[test]
    fn every_reason_is_explained_in_its_own_words() {
        let sentences: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.explain()).collect();
        assert_eq!(sentences.len(), DropReason::COUNT);
    }
}
