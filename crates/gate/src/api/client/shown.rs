//! What answers say: read, and made fit to be shown.

use serde_json::Value;

use super::{Client, lock};
use crate::api::error::{ApiError, Refusal};
use crate::api::secret::hide;
use crate::api::vpg::{Vpg, VpgError};
use crate::peers::{self, GatePeer};

/// Longest text of a server that is shown, in characters.
const MAX_SHOWN: usize = 300;

impl Client {
    pub(super) fn read_vpg(&self, does: &'static str, body: &[u8]) -> Result<Vpg, ApiError> {
        let wrong = |error: VpgError| self.answer_error(does, &self.reason(body, &error.to_string()));
        let mut vpg = Vpg::parse(body).map_err(wrong)?;
        // These are printed.
        vpg.name = vpg.name.map(|name| self.shown(&name));
        vpg.status = self.shown(&vpg.status);
        vpg.vpg_id = self.shown(&vpg.vpg_id);
        for route in &mut vpg.unread_routes {
            *route = self.shown(route);
        }
        Ok(vpg)
    }

    pub(super) fn read_peers(&self, does: &'static str, body: &[u8]) -> Result<Vec<GatePeer>, ApiError> {
        peers::parse(body).map_err(|error| self.answer_error(does, &self.reason(body, &error.to_string())))
    }

    /// The API's `{code, message}`.
    pub(super) fn refusal(&self, body: &[u8]) -> Refusal {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |field| document.get(field)?.as_str().map(|text| self.shown(text));
        Refusal { code: text("code"), message: text("message") }
    }

    pub(super) fn answer_error(&self, does: &'static str, why: &str) -> ApiError {
        ApiError::Answer { does, why: self.shown(why) }
    }

    /// Why an answer is not understood; a web page in its place says more than the parser does.
    fn reason(&self, body: &[u8], why: &str) -> String {
        if body.trim_ascii_start().starts_with(b"<") { "a web page".to_owned() } else { why.to_owned() }
    }

    /// A text from outside as it may be shown: without our secrets, on one line, cut.
    pub(super) fn shown(&self, text: &str) -> String {
        let issued = lock(&self.issued).clone();
        let of_proxy = self.config.proxy.iter().filter_map(|proxy| proxy.password());
        let secrets = self.config.credentials.secrets();
        let text = hide(text, secrets.into_iter().chain(&issued).chain(of_proxy));
        let mut shown: String =
            text.chars().take(MAX_SHOWN).map(|char| if char.is_control() { ' ' } else { char }).collect();
        if text.chars().nth(MAX_SHOWN).is_some() {
            shown.push('…');
        }
        shown
    }

    /// The same for the parts of an error that come from outside.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others hold nothing from outside")]
    pub(super) fn clean(&self, error: ApiError) -> ApiError {
        match error {
            ApiError::Dns { host, why } => ApiError::Dns { host, why: self.shown(&why) },
            ApiError::Network { place, why } => ApiError::Network { place, why: self.shown(&why) },
            ApiError::Tls { place, why } => ApiError::Tls { place, why: self.shown(&why) },
            ApiError::NotHttp { place, why } => ApiError::NotHttp { place, why: self.shown(&why) },
            ApiError::WrongName { place, presented } => {
                ApiError::WrongName { place, presented: self.shown(&presented) }
            }
            ApiError::Clock { place, validity, clock, .. } => {
                ApiError::Clock { place, validity, clock, skew: *lock(&self.skew) }
            }
            other => other,
        }
    }
}
