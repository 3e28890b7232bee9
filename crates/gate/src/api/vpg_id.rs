//! The identifier of a VPG.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The identifier of a virtual private gateway, as in `c2d1a3f4-0a1b-4c2d-8e3f-0123456789ab`: 1 to 64 letters, digits and
/// hyphens.
///
/// It stands in the path of each request, so nothing that means something there is let through.
///
/// ```
/// use vxgate_gate::api::VpgId;
///
/// assert!("c2d1a3f4-0a1b-4c2d-8e3f-0123456789ab".parse::<VpgId>().is_ok());
/// assert!("../operators".parse::<VpgId>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VpgId(String);

/// Longest identifier, in octets: the API's are UUIDs of 36.
const MAX_OCTETS: usize = 64;

impl VpgId {
    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VpgId {
    type Err = InvalidVpgId;

    fn from_str(text: &str) -> Result<VpgId, InvalidVpgId> {
        let fits = (1..=MAX_OCTETS).contains(&text.len());
        if fits && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-') {
            Ok(VpgId(text.to_owned()))
        } else {
            Err(InvalidVpgId)
        }
    }
}

impl fmt::Display for VpgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The text is no identifier of a VPG.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a VPG's identifier is 1 to 64 letters, digits and hyphens, as `soracom vpg list` prints it")]
pub struct InvalidVpgId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_means_something_in_a_path_is_an_identifier() {
        for text in ["", "..", "a/b", "a?b", "a#b", "a%2fb", "a b", "a.b", "ä", "a\n", &"a".repeat(65)] {
            assert_eq!(text.parse::<VpgId>(), Err(InvalidVpgId), "{text:?}");
        }
        for text in ["a", "0", "VPG-1", &"a".repeat(64)] {
            assert_eq!(text.parse::<VpgId>().unwrap().to_string(), text);
        }
    }
}
