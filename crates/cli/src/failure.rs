//! How the program tells that it did not work, and what to do about it.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::control::client::ClientError;

/// An error as the user sees it: `vxgate: <what failed>: <why>`, and a line that begins with `hint:` where there is
/// something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    what: String,
    why: String,
    hint: Option<String>,
    status: Status,
}

/// The exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// 1: the command line is right, and it did not work.
    Failed,
    /// 2: the command line, or the environment in its place, is wrong.
    Usage,
    /// This one, without a word: it has been told already, or there is nobody to tell.
    Silent(u8),
}

/// `--help` in the words of a hint.
pub(crate) fn see_help(verb: &str) -> String {
    format!("`vxgate {verb} --help` shows what is allowed, with examples")
}

impl Failure {
    /// It did not work: exit status 1.
    pub(crate) fn failed(what: impl Into<String>, why: impl fmt::Display) -> Failure {
        Failure { what: what.into(), why: why.to_string(), hint: None, status: Status::Failed }
    }

    /// The command line is wrong: exit status 2. `what` names the argument, `why` says what is allowed.
    pub(crate) fn usage(what: impl Into<String>, why: impl fmt::Display) -> Failure {
        Failure { status: Status::Usage, ..Failure::failed(what, why) }
    }

    /// The same with what the user can do.
    pub(crate) fn with_hint(self, hint: impl Into<Option<String>>) -> Failure {
        Failure { hint: hint.into(), ..self }
    }

    /// Options that do not go together, each under the name that the user knows it by.
    pub(crate) fn config(error: &ConfigError, name: impl Fn(&str) -> String) -> Failure {
        Failure::usage(name(error.option()), error).with_hint(error.hint())
    }

    /// A request that the daemon did not answer, or refused.
    pub(crate) fn client(what: &str, error: &ClientError) -> Failure {
        Failure::failed(what, error).with_hint(error.hint())
    }

    /// Standard output does not take what is printed. A reader that has seen enough, as `head` has, is no error.
    pub(crate) fn output(error: &io::Error) -> Failure {
        let failure = Failure::failed("standard output", error);
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure { status: Status::Silent(0), ..failure }
        } else {
            failure
        }
    }

    /// A process that we started has told its failure itself; its exit code, where it was not killed.
    pub(crate) fn told(code: Option<i32>) -> Failure {
        let code = code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1);
        Failure { status: Status::Silent(code), ..Failure::failed("daemon", "it ended") }
    }

    /// What was printed says what is wrong: exit status 1 without a word.
    pub(crate) fn printed() -> Failure {
        Failure { status: Status::Silent(1), ..Failure::failed("report", "something is wrong") }
    }

    /// What was printed says what is wrong with what the user wrote: exit status 2 without a word.
    pub(crate) fn printed_usage() -> Failure {
        Failure { status: Status::Silent(2), ..Failure::failed("check", "something is wrong") }
    }

    /// What did not work, and why.
    pub(crate) fn parts(&self) -> (&str, &str) {
        (&self.what, &self.why)
    }

    /// What did not work, and why, without the program's name and the hint.
    pub(crate) fn why(&self) -> String {
        format!("{}: {}", self.what, self.why)
    }

    /// What the user can do.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether there is nothing to print.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.status, Status::Silent(_))
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.status {
            Status::Failed => ExitCode::from(1),
            Status::Usage => ExitCode::from(2),
            Status::Silent(code) => ExitCode::from(code),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vxgate: {}: {}", self.what, self.why)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
