//! The words behind a verb, read one by one as iproute2 reads them: in any order, each with its value behind it.

use std::slice;
use std::str::FromStr;

use vxgate_codec::Vni;

use crate::config::values::{self, DeviceName};
use crate::failure::{Failure, see_help};

/// The words of one command, from left to right.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    verb: &'static str,
    words: slice::Iter<'a, String>,
}

impl<'a> Words<'a> {
    /// The words behind this verb, as in `fdb add`.
    pub(crate) fn new(verb: &'static str, words: &'a [String]) -> Words<'a> {
        Words { verb, words: words.iter() }
    }

    /// The next word.
    pub(crate) fn next(&mut self) -> Option<&'a str> {
        self.words.next().map(String::as_str)
    }

    /// The value behind `word`, which was read last, put into its place; an error where the place is taken.
    pub(crate) fn value<T, E: std::fmt::Display>(
        &mut self,
        word: &str,
        place: &mut Option<T>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<(), Failure> {
        let Some(text) = self.next() else {
            return Err(self.wrong(word, "a value is missing behind it"));
        };
        self.fill(word, text, place, read)
    }

    /// A word that is its own value, put into its place; an error where the place is taken.
    pub(crate) fn fill<T, E: std::fmt::Display>(
        &self,
        word: &str,
        text: &str,
        place: &mut Option<T>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<(), Failure> {
        let value = read(text).map_err(|why| self.wrong(&quoted(word, text), why))?;
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.wrong(&quoted(word, text), format!("{word} is given twice"))),
        }
    }

    /// An error about this argument of the verb.
    pub(crate) fn wrong(&self, argument: &str, why: impl std::fmt::Display) -> Failure {
        Failure::usage(format!("{}: {argument}", self.verb), why).with_hint(see_help(self.verb))
    }

    /// An error about a word that has no meaning here.
    pub(crate) fn unknown(&self, word: &str, allowed: &str) -> Failure {
        self.wrong(&format!("{word:?}"), format!("allowed are {allowed}"))
    }

    /// An error about an argument that is not there.
    pub(crate) fn missing<T>(&self, place: Option<T>, argument: &str, form: &str) -> Result<T, Failure> {
        place.ok_or_else(|| self.wrong(&format!("{argument} is missing"), form))
    }
}

fn quoted(word: &str, text: &str) -> String {
    if word == text { format!("{text:?}") } else { format!("{word} {text:?}") }
}

/// The words of a verb that takes a device and nothing else: `[dev] DEV`.
pub(crate) fn parse_device(verb: &'static str, words: &[String]) -> Result<Option<DeviceName>, Failure> {
    let mut words = Words::new(verb, words);
    let mut device = None;
    while let Some(word) = words.next() {
        match word {
            "dev" => words.value(word, &mut device, dev)?,
            _ if device.is_none() => words.fill("dev", word, &mut device, dev)?,
            _ => return Err(words.unknown(word, "dev DEV")),
        }
    }
    Ok(device)
}

/// A device.
pub(crate) fn dev(text: &str) -> Result<DeviceName, values::NotAllowed> {
    DeviceName::from_str(text)
}

/// A VNI.
pub(crate) fn vni(text: &str) -> Result<Vni, vxgate_codec::InvalidVni> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_stands_with_or_without_dev() {
        let parse = |line: &str| {
            parse_device("show", &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(parse("dev vxlan0"), parse("vxlan0"));
        assert_eq!(parse("vxlan0").unwrap().unwrap().as_str(), "vxlan0");
        assert_eq!(parse(""), Ok(None));
        for (line, message) in [
            ("a/b", "vxgate: show: dev \"a/b\": a device's name is 1 to 15 octets"),
            ("dev", "vxgate: show: dev: a value is missing"),
            ("a b", "vxgate: show: \"b\": allowed are dev DEV"),
            ("a dev b", "vxgate: show: dev \"b\": dev is given twice"),
        ] {
            let failure = parse(line).unwrap_err().to_string();
            assert!(failure.starts_with(message), "{line}: {failure}");
        }
    }
}
