//! The state machine of one peer.

use core::fmt;

/// What is known of a peer's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    /// Nothing is known: it has never answered a probe, or none is sent. It is sent to like one that is up.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not answer any more, or not for long enough again; or it was reported as unreachable.
    Down,
}

impl PeerState {
    /// The word that commands show.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a peer is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DownReason {
    /// It answers no probe, and nothing else came from it.
    Silent,
    /// It sends, but has answered none of a hundred probes in a row: what we send does not arrive.
    Deaf,
    /// The underlay says again and again that it cannot be reached, it has never answered a probe, and nothing came from it.
    Unreachable,
}

impl DownReason {
    /// The word that commands and hooks show.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Deaf => "deaf",
            Self::Unreachable => "unreachable",
        }
    }

    /// A sentence for the reader of a log, to stand behind the peer's address.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Silent => "it answers no probe, and nothing else comes from it",
            Self::Deaf => "it sends but answers no probe: what is sent to it does not arrive",
            Self::Unreachable => "the network reports that it cannot be reached, and nothing comes from it",
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
