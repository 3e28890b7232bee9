//! The state machine of one peer: states, inputs, and which leads where. No time and no counting: [`Session`] does that.
//!
//! # Theory of operation
//!
//! What leads where; `.` changes nothing. States in the upper rows are sent to.
//!
//! ```text
//!             answer     proof      frame      silence    deafness   refusal    probation
//! unknown     up         up         .          .          .          refused    .
//! up          .          .          .          down       down       .          .
//! down        returning  up         .          .          .          .          .
//! returning   .          up         .          down       down       .          .
//! refused     returning  up         unknown    .          .          .          unknown
//! ```
//!
//! Silence is nothing to a peer that has never answered: it may be one that does not answer probes at all. Such a peer is judged
//! by what the underlay says, and only as long as nothing comes from it. Who has answered is judged by its answers, and what the
//! underlay says of it only makes us ask it at once. So neither a mute peer nor a forged ICMP error takes a peer away that
//! works.
//!
//! [`Session`]: super::session::Session

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

/// Where a peer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// It has never answered.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It answered once, and does so no more.
    Down,
    /// It answers again, not yet for long enough.
    Returning,
    /// It has never answered, and the underlay does not reach it.
    Refused,
}

/// What may change that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// It has answered a probe.
    Answer,
    /// It has answered for as long as is asked of one that returns, or nobody else lives who could be waited for.
    Proof,
    /// A frame came from it.
    Frame,
    /// As many probes as may be went unanswered, and nothing else came from it.
    Silence,
    /// Far more probes than may be went unanswered, while frames came from it.
    Deafness,
    /// The underlay has said often enough that it does not reach it, nothing came from it since, and another peer lives.
    Refusal,
    /// Long enough has it been left alone, and nothing was said of it.
    Probation,
}

impl State {
    /// The state that follows.
    pub(crate) const fn next(self, input: Input) -> State {
        use Input::{Answer, Deafness, Frame, Probation, Proof, Refusal, Silence};
        match (self, input) {
            (Self::Unknown, Answer | Proof) => Self::Up,
            (Self::Unknown, Refusal) => Self::Refused,
            (Self::Unknown, Frame | Silence | Deafness | Probation) => Self::Unknown,

            (Self::Up, Silence | Deafness) => Self::Down,
            (Self::Up, Answer | Proof | Frame | Refusal | Probation) => Self::Up,

            (Self::Down, Answer) => Self::Returning,
            (Self::Down, Proof) => Self::Up,
            (Self::Down, Frame | Silence | Deafness | Refusal | Probation) => Self::Down,

            (Self::Returning, Proof) => Self::Up,
            (Self::Returning, Silence | Deafness) => Self::Down,
            (Self::Returning, Answer | Frame | Refusal | Probation) => Self::Returning,

            (Self::Refused, Answer) => Self::Returning,
            (Self::Refused, Proof) => Self::Up,
            (Self::Refused, Frame | Probation) => Self::Unknown,
            (Self::Refused, Silence | Deafness | Refusal) => Self::Refused,
        }
    }

    /// Whether it is sent to, in its own right.
    pub(crate) const fn serves(self) -> bool {
        match self {
            Self::Unknown | Self::Up => true,
            Self::Down | Self::Returning | Self::Refused => false,
        }
    }

    /// What is shown of it.
    pub(crate) const fn shown(self) -> PeerState {
        match self {
            Self::Unknown => PeerState::Unknown,
            Self::Up => PeerState::Up,
            Self::Down | Self::Returning | Self::Refused => PeerState::Down,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::*;

    const STATES: [State; 5] = [State::Unknown, State::Up, State::Down, State::Returning, State::Refused];
    const INPUTS: [Input; 7] = [
        Input::Answer,
        Input::Proof,
        Input::Frame,
        Input::Silence,
        Input::Deafness,
        Input::Refusal,
        Input::Probation,
    ];

    fn word(of: &dyn fmt::Debug) -> String {
        format!("{of:?}").to_lowercase()
    }

    fn line(cells: impl Iterator<Item = String>) -> String {
        let padded: Vec<String> = cells
            .enumerate()
            .map(|(at, cell)| {
                let width = if at == 0 { 12 } else { 11 };
                format!("{cell:width$}")
            })
            .collect();
        padded.concat().trim_end().into()
    }

    #[test]
    fn every_transition_is_the_one_of_the_drawing_above() {
        let drawn: Vec<&str> = include_str!("machine.rs").lines().collect();
        let head = line([String::new()].into_iter().chain(INPUTS.iter().map(|input| word(input))));
        let rows = STATES.map(|state| {
            let cell = |input: &Input| match state.next(*input) {
                next if next == state => ".".into(),
                next => word(&next),
            };
            line([word(&state)].into_iter().chain(INPUTS.iter().map(cell)))
        });
        for row in [head].iter().chain(&rows) {
            let row = format!("//! {row}");
            assert!(drawn.contains(&row.as_str()), "not drawn:\n{row}");
        }
    }

    #[test]
    fn from_every_state_an_answering_peer_gets_up_and_a_silent_one_that_was_up_goes_down() {
        for state in STATES {
            assert_eq!(state.next(Input::Answer).next(Input::Proof), State::Up, "{state:?}");
            assert_eq!(state.next(Input::Proof).next(Input::Silence), State::Down, "{state:?}");
        }
    }

    #[test]
    fn no_silence_and_no_hint_takes_a_peer_away_that_it_says_nothing_about() {
        assert!(State::Unknown.next(Input::Silence).serves(), "it may not answer probes at all");
        assert!(State::Unknown.next(Input::Deafness).serves());
        assert!(State::Up.next(Input::Refusal).serves(), "its answers are what it is judged by");
    }

    #[test]
    fn who_is_down_is_shown_so_and_not_sent_to() {
        for state in STATES {
            assert_eq!(state.serves(), state.shown() != PeerState::Down, "{state:?}");
        }
    }
}
