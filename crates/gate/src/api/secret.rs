//! What must not be shown.

use std::fmt;

use zeroize::Zeroizing;

/// A text that is never printed and is overwritten when it goes: a key, a password, a token.
///
/// `Debug` shows that there is one and nothing of it; there is no `Display`.
///
/// ```
/// use vxgate_gate::api::Secret;
///
/// assert_eq!(format!("{:?}", Secret::from("swordfish")), "Secret(…)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text itself: for a request's header or body, and for nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What stands in an error where a secret stood.
const HIDDEN: &str = "[hidden]";

/// Shortest secret that is looked for in a text: a shorter one would blacken half of every sentence, and is none.
const MIN_HIDDEN_OCTETS: usize = 4;

/// The text without any of these secrets in it. Servers and proxies are known to quote what they refuse.
pub(crate) fn hide<'a>(text: &str, secrets: impl IntoIterator<Item = &'a Secret>) -> String {
    secrets.into_iter().filter(|secret| secret.0.len() >= MIN_HIDDEN_OCTETS).fold(
        text.to_owned(),
        |text, secret| {
            // As it is, and as it stands inside a JSON string.
            let quoted = Zeroizing::new(serde_json::Value::from(secret.expose()).to_string());
            text.replace(secret.expose(), HIDDEN).replace(quoted.trim_matches('"'), HIDDEN)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_loses_every_secret_however_it_is_quoted() {
        let secrets = ["s3cret\"key".into(), "token-77".into(), "".into(), "a".into()];
        let text = hide("bad s3cret\"key or \"s3cret\\\"key\", token-77token-77: a", &secrets);
        assert_eq!(text, "bad [hidden] or \"[hidden]\", [hidden][hidden]: a");
    }
}
