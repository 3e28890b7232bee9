//! What a check found, and what to do about it.

use std::error::Error;

use serde::Serialize;

use super::check::Check;
use crate::up::chain;
use crate::up::error::UpError;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Worth knowing, or not known; nothing is in the way.
    Note,
    /// The tunnel works, and not as well as it could, or not for everything.
    Warn,
    /// The tunnel does not work.
    Fail,
}

impl Verdict {
    /// The word that a line begins with.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        }
    }
}

/// One line of the report; its JSON keys never change their meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: Check,
    /// How bad it is.
    pub(crate) verdict: Verdict,
    /// What is there, a sentence without its full stop.
    pub(crate) found: String,
    /// What to do next; null where there is nothing to do. A warning and a failure always have it.
    pub(crate) next_step: Option<String>,
}

impl Finding {
    /// As it should be.
    pub(crate) fn ok(check: Check, found: impl Into<String>) -> Finding {
        Finding { check, verdict: Verdict::Ok, found: found.into(), next_step: None }
    }

    /// Worth knowing.
    pub(crate) fn note(check: Check, found: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Note, ..Finding::ok(check, found) }
    }

    /// Worth knowing, with what can be done.
    pub(crate) fn advice(check: Check, found: impl Into<String>, next_step: impl Into<String>) -> Finding {
        Finding { next_step: Some(next_step.into()), ..Finding::note(check, found) }
    }

    /// Not as it should be.
    pub(crate) fn warn(check: Check, found: impl Into<String>, next_step: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Warn, ..Finding::advice(check, found, next_step) }
    }

    /// In the way.
    pub(crate) fn fail(check: Check, found: impl Into<String>, next_step: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Fail, ..Finding::advice(check, found, next_step) }
    }

    /// What `up` would end with, in its own words.
    pub(crate) fn refusal(check: Check, error: &UpError) -> Finding {
        let otherwise = || "`vxgate up` with the same options and VXGATE_LOG=debug tells more".to_owned();
        Finding::fail(check, chain(error), error.hint().unwrap_or_else(otherwise))
    }

    /// What cannot be looked at, and why.
    pub(crate) fn unknown(check: Check, error: &dyn Error) -> Finding {
        Finding::note(check, format!("it cannot be looked at: {}", chain(error)))
    }
}
