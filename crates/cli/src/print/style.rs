//! Colour, on a terminal only.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal as _};

/// Whether and how text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    /// No colour.
    #[cfg(test)]
    pub(crate) const PLAIN: Style = Style { colour: false };

    /// Colour where it is asked for.
    pub(crate) const fn coloured(colour: bool) -> Style {
        Style { colour }
    }

    /// Colour where standard output is a terminal that has it, and NO_COLOR (no-color.org) is not set.
    pub(crate) fn of_stdout() -> Style {
        let refused = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Style { colour: io::stdout().is_terminal() && !refused("NO_COLOR") && !dumb }
    }

    /// Whether there is any.
    pub(crate) const fn is_coloured(self) -> bool {
        self.colour
    }

    /// A heading's name.
    pub(crate) fn name<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.paint("1", text)
    }

    /// What is well.
    pub(crate) fn good<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.paint("32", text)
    }

    /// What is not.
    pub(crate) fn bad<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.paint("31", text)
    }

    /// What may be well and may not.
    pub(crate) fn doubtful<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.paint("33", text)
    }

    /// Neither.
    pub(crate) fn plain<T: fmt::Display>(self, text: T) -> Painted<T> {
        Painted { code: None, text }
    }

    fn paint<T: fmt::Display>(self, code: &'static str, text: T) -> Painted<T> {
        Painted { code: self.colour.then_some(code), text }
    }
}

/// A text in its colour (ECMA-48 SGR).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Painted<T> {
    code: Option<&'static str>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "\u{1b}[{code}m{}\u{1b}[0m", self.text),
            None => write!(f, "{}", self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_wraps_the_text_and_only_where_it_is_wanted() {
        assert_eq!(Style { colour: true }.good("up").to_string(), "\u{1b}[32mup\u{1b}[0m");
        assert_eq!(Style::PLAIN.bad("down").to_string(), "down");
        assert_eq!(Style { colour: true }.plain("unknown").to_string(), "unknown");
    }
}
