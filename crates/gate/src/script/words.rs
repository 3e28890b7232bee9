//! The words of a shell's line, as far as finding a command in it needs them.
//!
//! Quotes, backslashes, comments, redirections and `$NAME` are read as sh(1) reads them. What only a running shell knows, the output of
//! a command or an argument of the script, is not guessed: the word says that it is not known, and why.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// One word, quotes gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// What in it is not known, if anything.
    pub(super) unknown: Option<Unknown>,
}

/// A part of a word that only a running shell knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// As it is written: `$IP`, `$(hostname -I)`.
    pub(super) written: String,
    pub(super) why: &'static str,
}

/// A quote that is not closed on its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclosed(pub(super) char);

/// How much all variables of a text may become where they are named, in octets: as much as the longest text that is searched. One
/// that holds another twice doubles it, and a few lines of those are longer than any memory.
const MAX_EXPANDED_OCTETS: usize = 1 << 20;

/// What variables hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, Result<String, &'static str>>,
    /// Those that the caller set: they stay.
    given: BTreeMap<String, String>,
    /// How much they have become, in octets.
    expanded: Cell<usize>,
}

impl Variables {
    pub(super) fn new(given: BTreeMap<String, String>) -> Variables {
        Variables { given, ..Variables::default() }
    }

    /// Takes in an assignment. One that changes a value makes it unknown: which of them counts depends on how the script runs.
    pub(super) fn assign(&mut self, name: &str, value: &Word) {
        let value = match &value.unknown {
            Some(unknown) => Err(unknown.why),
            None => Ok(value.text.clone()),
        };
        let value = match self.values.get(name) {
            Some(earlier) if *earlier != value => Err("it is set more than once"),
            Some(_) | None => value,
        };
        self.values.insert(name.to_owned(), value);
    }

    /// The names that begin so, with their values as far as they are known.
    pub(super) fn known(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let known =
            self.values.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_deref().ok()?)));
        known.filter(move |(name, _)| name.starts_with(prefix))
    }

    fn value(&self, name: &str) -> Result<&str, &'static str> {
        let value = self.held(name)?;
        let expanded = self.expanded.get() + value.len();
        if expanded > MAX_EXPANDED_OCTETS {
            return Err("the values there are longer than a tunnel's can be");
        }
        self.expanded.set(expanded);
        Ok(value)
    }

    fn held(&self, name: &str) -> Result<&str, &'static str> {
        if let Some(given) = self.given.get(name) {
            return Ok(given);
        }
        match self.values.get(name) {
            Some(value) => value.as_deref().map_err(|why| *why),
            None if name.starts_with(|c: char| c.is_ascii_digit() || "@*#?!$-".contains(c)) => {
                Err("only the running script knows it")
            }
            None => Err("nothing there sets it"),
        }
    }
}

/// The name and the value of `NAME=value`.
pub(super) fn assignment(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let first_is_right = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (first_is_right && name.chars().all(is_name)).then_some((name, value))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Reads a line command by command.
pub(super) struct Line<'a> {
    rest: Peekable<Chars<'a>>,
}

impl<'a> Line<'a> {
    pub(super) fn new(text: &'a str) -> Line<'a> {
        Line { rest: text.chars().peekable() }
    }

    /// The words of the next command, redirections left out; `None` behind the last. A command may have no word.
    pub(super) fn command(&mut self, variables: &Variables) -> Result<Option<Vec<Word>>, Unclosed> {
        if self.rest.peek().is_none() {
            return Ok(None);
        }
        let mut words = Vec::new();
        let mut is_target = false;
        while let Some(&c) = self.rest.peek() {
            match c {
                ' ' | '\t' | '\r' => {
                    self.rest.next();
                }
                '#' => {
                    self.rest.by_ref().for_each(drop);
                }
                '&' if self.next_is_redirection() => self.redirection(&mut is_target),
                ';' | '&' | '|' | '(' | ')' | '\n' => {
                    self.rest.next();
                    return Ok(Some(words));
                }
                '<' | '>' => self.redirection(&mut is_target),
                _ => {
                    let fields = self.word(variables)?;
                    let is_descriptor = matches!(self.rest.peek(), Some('<' | '>'))
                        && fields.iter().all(|field| field.text.bytes().all(|byte| byte.is_ascii_digit()));
                    if !is_target && !is_descriptor {
                        words.extend(fields);
                    }
                    is_target = false;
                }
            }
        }
        Ok(Some(words))
    }

    /// Whether this `&` begins a `&>`.
    fn next_is_redirection(&self) -> bool {
        let mut ahead = self.rest.clone();
        ahead.next();
        ahead.peek() == Some(&'>')
    }

    /// Takes an operator like `>>` or `2>&`; the word behind it is its target.
    fn redirection(&mut self, is_target: &mut bool) {
        while self.rest.next_if(|c| matches!(c, '<' | '>' | '&' | '|')).is_some() {}
        *is_target = true;
    }

    /// The fields that the word here becomes: one, unless a variable outside of quotes holds none or several.
    fn word(&mut self, variables: &Variables) -> Result<Vec<Word>, Unclosed> {
        let mut fields = Vec::new();
        let mut word = Word::default();
        // An empty field counts only where quotes made it.
        let mut is_field = false;
        while let Some(&c) = self.rest.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => break,
                '\'' => {
                    self.rest.next();
                    self.until('\'', &mut word.text)?;
                    is_field = true;
                }
                '"' => {
                    self.rest.next();
                    self.double_quoted(variables, &mut word)?;
                    is_field = true;
                }
                '\\' => {
                    self.rest.next();
                    word.text.extend(self.rest.next());
                    is_field = true;
                }
                '$' | '`' => match self.expansion(variables)? {
                    Ok(value) if assignment(&word.text).is_some() => word.text.push_str(&value),
                    Ok(value) => {
                        let mut parts = value.split_ascii_whitespace();
                        let blank_before = value.starts_with(|c: char| c.is_ascii_whitespace());
                        if blank_before && is_field {
                            fields.push(std::mem::take(&mut word));
                            is_field = false;
                        }
                        if let Some(part) = parts.next() {
                            word.text.push_str(part);
                            is_field = true;
                        }
                        for part in parts {
                            fields.push(std::mem::take(&mut word));
                            word.text.push_str(part);
                        }
                    }
                    Err(unknown) => {
                        word.unknown.get_or_insert(unknown);
                        is_field = true;
                    }
                },
                other => {
                    self.rest.next();
                    word.text.push(other);
                    is_field = true;
                }
            }
        }
        if is_field {
            fields.push(word);
        }
        Ok(fields)
    }

    /// Takes what stands before the closing `quote`, and the quote.
    fn until(&mut self, quote: char, text: &mut String) -> Result<(), Unclosed> {
        loop {
            match self.rest.next() {
                None => return Err(Unclosed(quote)),
                Some(c) if c == quote => return Ok(()),
                Some(c) => text.push(c),
            }
        }
    }

    fn double_quoted(&mut self, variables: &Variables, word: &mut Word) -> Result<(), Unclosed> {
        while let Some(&c) = self.rest.peek() {
            match c {
                '"' => {
                    self.rest.next();
                    return Ok(());
                }
                '\\' => {
                    self.rest.next();
                    let next = self.rest.next().ok_or(Unclosed('"'))?;
                    if !matches!(next, '"' | '\\' | '$' | '`') {
                        word.text.push('\\');
                    }
                    word.text.push(next);
                }
                '$' | '`' => match self.expansion(variables)? {
                    Ok(value) => word.text.push_str(&value),
                    Err(unknown) => {
                        word.unknown.get_or_insert(unknown);
                    }
                },
                other => {
                    self.rest.next();
                    word.text.push(other);
                }
            }
        }
        Err(Unclosed('"'))
    }

    /// What stands at a `$` or a backtick: its value, or why that is not known.
    fn expansion(&mut self, variables: &Variables) -> Result<Result<String, Unknown>, Unclosed> {
        const OUTPUT: &str = "it is what a command prints";
        if self.rest.next_if_eq(&'`').is_some() {
            let mut inside = String::new();
            self.until('`', &mut inside)?;
            return Ok(Err(Unknown { written: format!("`{inside}`"), why: OUTPUT }));
        }
        self.rest.next();
        match self.rest.peek() {
            Some('(') => {
                let inside = self.balanced()?;
                Ok(Err(Unknown { written: format!("${inside}"), why: OUTPUT }))
            }
            Some('{') => {
                self.rest.next();
                let mut inside = String::new();
                self.until('}', &mut inside)?;
                let written = format!("${{{inside}}}");
                let is_plain = inside.chars().all(is_name) || inside.chars().count() == 1;
                if !is_plain {
                    // Where the variable is known to hold something, the usual default does not count.
                    let defaulted = inside.split_once(":-").or_else(|| inside.split_once('-'));
                    let value = defaulted.and_then(|(name, _)| variables.value(name).ok());
                    return Ok(match value.filter(|value| !value.is_empty()) {
                        Some(value) => Ok(value.to_owned()),
                        None => Err(Unknown { written, why: "only the running script knows it" }),
                    });
                }
                Ok(variables.value(&inside).map(str::to_owned).map_err(|why| Unknown { written, why }))
            }
            Some(&c) if c.is_ascii_alphabetic() || c == '_' => {
                let mut name = String::new();
                while let Some(c) = self.rest.next_if(|c| is_name(*c)) {
                    name.push(c);
                }
                let written = format!("${name}");
                Ok(variables.value(&name).map(str::to_owned).map_err(|why| Unknown { written, why }))
            }
            Some(&c) if c.is_ascii_digit() || "@*#?!$-".contains(c) => {
                self.rest.next();
                let written = format!("${c}");
                Ok(variables.value(&c.to_string()).map(str::to_owned).map_err(|why| Unknown { written, why }))
            }
            Some(_) | None => Ok(Ok("$".to_owned())),
        }
    }

    /// Takes what stands from `(` to the `)` that closes it.
    fn balanced(&mut self) -> Result<String, Unclosed> {
        let mut inside = String::new();
        let mut depth = 0_usize;
        for c in self.rest.by_ref() {
            inside.push(c);
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(inside);
            }
        }
        Err(Unclosed('('))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn commands(line: &str, variables: &Variables) -> Result<Vec<Vec<Word>>, Unclosed> {
        let mut line = Line::new(line);
        let mut commands = Vec::new();
        while let Some(words) = line.command(variables)? {
            commands.push(words);
        }
        Ok(commands)
    }

    fn texts(line: &str) -> Vec<Vec<String>> {
        let given = [("A", "one"), ("B", "two three"), ("E", "")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let commands = commands(line, &Variables::new(given)).unwrap();
        let texts = |words: Vec<Word>| words.into_iter().map(|word| word.text).collect();
        commands.into_iter().map(texts).collect()
    }

    #[test]
    fn words_are_those_that_a_shell_makes() {
        for (line, words) in [
            ("a b  c", vec!["a", "b", "c"]),
            ("a 'b c' \"d e\" f\\ g", vec!["a", "b c", "d e", "f g"]),
            ("a '' \"\" b", vec!["a", "", "", "b"]),
            ("a$A ${A}b '$A' \"$A\" \\$A", vec!["aone", "oneb", "$A", "one", "$A"]),
            ("$B \"$B\" x$B", vec!["two", "three", "two three", "xtwo", "three"]),
            ("$E a$E \"$E\"", vec!["a", ""]),
            ("${A:-x} ${A-x}", vec!["one", "one"]),
            ("a # b", vec!["a"]),
            ("a#b", vec!["a#b"]),
            ("a >> log 2>&1 b", vec!["a", "b"]),
            ("a &> log b >/dev/null 2>/dev/null < in <<EOF", vec!["a", "b"]),
            ("a 2 >log", vec!["a", "2"]),
            ("\"a\\\"b\\x\"", vec!["a\"b\\x"]),
            ("5$", vec!["5$"]),
        ] {
            assert_eq!(texts(line), vec![words], "{line}");
        }
        assert_eq!(
            texts("a && b || c; d & e | f"),
            [["a"].as_slice(), &[], &["b"], &[], &["c"], &["d"], &["e"], &["f"]]
        );
    }

    #[test]
    fn what_only_a_running_shell_knows_is_named() {
        for (line, written, why) in [
            ("a $X", "$X", "nothing there sets it"),
            ("a \"x${X}y\"", "${X}", "nothing there sets it"),
            ("a $1", "$1", "only the running script knows it"),
            ("a \"$@\"", "$@", "only the running script knows it"),
            ("a ${X:-5}", "${X:-5}", "only the running script knows it"),
            (
                "a $(hostname -I | cut -d\\( -f1 | (cat))) b",
                "$(hostname -I | cut -d\\( -f1 | (cat)))",
                "it is what a command prints",
            ),
            ("a `hostname -I`", "`hostname -I`", "it is what a command prints"),
            ("a $(( 1 + 2 ))", "$(( 1 + 2 ))", "it is what a command prints"),
        ] {
            let words = commands(line, &Variables::default()).unwrap().remove(0);
            let unknown = words[1].unknown.as_ref().expect(line);
            assert_eq!((unknown.written.as_str(), unknown.why), (written, why), "{line}");
        }
        for (line, quote) in
            [("a 'b", '\''), ("a \"b", '"'), ("a `b", '`'), ("a $(b", '('), ("a ${b", '}'), ("\"\\", '"')]
        {
            assert_eq!(commands(line, &Variables::default()), Err(Unclosed(quote)), "{line}");
        }
    }

    #[test]
    fn a_variable_that_changes_is_not_known_and_a_given_one_stays() {
        let word = |text: &str| Word { text: text.to_owned(), unknown: None };
        let mut variables = Variables::new([("G".to_owned(), "given".to_owned())].into());
        for (name, value) in [("A", "1"), ("A", "1"), ("B", "1"), ("B", "2"), ("B", "1"), ("G", "other")] {
            variables.assign(name, &word(value));
        }
        assert_eq!(variables.value("A"), Ok("1"));
        assert_eq!(variables.value("B"), Err("it is set more than once"));
        assert_eq!(variables.value("G"), Ok("given"));
    }

    proptest! {
        #[test]
        fn a_quoted_text_is_one_word_and_itself(text in "[ -~]{0,20}") {
            let quoted = format!("'{}'", text.replace('\'', "'\\''"));
            prop_assert_eq!(texts(&quoted), vec![vec![text]]);
        }

        #[test]
        fn any_line_ends(line in "[ -~]{0,40}|[$({}\"'`\\\\ a&<>;|#]{0,20}") {
            let _ = commands(&line, &Variables::default());
        }
    }
}
