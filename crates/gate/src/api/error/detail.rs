//! What an error tells in detail.

use std::fmt;

use crate::api::date::Utc;

/// What did not happen in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The name's resolution.
    Resolve,
    /// The connection, with TLS.
    Connect,
    /// The answer.
    Answer,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Resolve => "the name did not resolve",
            Stage::Connect => "no connection",
            Stage::Answer => "no whole answer",
        })
    }
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Until a moment that has passed.
    Expired {
        /// The moment, where it is known.
        at: Option<Utc>,
    },
    /// From a moment that is to come.
    NotYet {
        /// The moment, where it is known.
        from: Option<Utc>,
    },
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Validity::Expired { at: Some(at) } => write!(f, "was valid until {at}"),
            Validity::Expired { at: None } => f.write_str("is no longer valid"),
            Validity::NotYet { from: Some(from) } => write!(f, "is valid from {from}"),
            Validity::NotYet { from: None } => f.write_str("is not valid yet"),
        }
    }
}

/// This host's clock and the API's, minutes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// This host's.
    pub ours: Utc,
    /// The API's, from an answer's `Date`.
    pub theirs: Utc,
}

/// Clocks that are less apart than this agree, in seconds: what the web's signatures allow.
const MAX_SKEW_SECONDS: u64 = 300;

impl Skew {
    /// The two clocks, where they do not agree.
    pub(crate) fn between(ours: Utc, theirs: Utc) -> Option<Skew> {
        (ours.seconds().abs_diff(theirs.seconds()) > MAX_SKEW_SECONDS).then_some(Skew { ours, theirs })
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this host's clock says {}, the API's {}", self.ours, self.theirs)
    }
}

/// The API's own `{code, message}`, as far as it gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// `code`, as in `VPG0001`.
    pub code: Option<String>,
    /// `message`.
    pub message: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.message, &self.code) {
            (Some(message), Some(code)) => write!(f, "{message} ({code})"),
            (Some(text), None) | (None, Some(text)) => f.write_str(text),
            (None, None) => f.write_str("it gives no reason"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_agree_within_five_minutes() {
        let at = Utc::from_seconds;
        assert_eq!(Skew::between(at(1000), at(1300)), None);
        assert_eq!(Skew::between(at(1301), at(1000)), Some(Skew { ours: at(1301), theirs: at(1000) }));
    }
}
