//! The session: a token, got before the first call, before it expires, and once after a 401.

use std::time::Duration;

use serde::Deserialize;
use ureq::http::Method;
use zeroize::Zeroizing;

use super::attempt::{Call, Tries};
use super::{Client, lock};
use crate::api::error::ApiError;
use crate::api::secret::Secret;

/// How long a token serves: a day, the API's default, less an hour for clocks that run fast.
pub(super) const TOKEN_LIFE: Duration = Duration::from_secs(23 * 3600);

/// How many issued secrets are kept to be hidden: two of each of the last two log-ins, of which one may be in use still.
const MAX_ISSUED: usize = 4;

/// What a log-in gives.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) api_key: Secret,
    pub(super) token: Secret,
    /// On the client's clock; `None` for a token that is not ours to renew.
    pub(super) renew_at: Option<Duration>,
}

impl Client {
    /// Sends a call with a token, and once more with a new one where that one is refused.
    pub(super) fn call(&self, call: &Call, tries: &mut Tries) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let session = self.session(tries.begun)?;
        let patience = &self.config.patience;
        match self.send_until(call, Some(&session), patience, tries) {
            Err(ApiError::TokenRefused { .. }) if session.renew_at.is_some() => {
                self.forget(&session);
                let session = self.session(tries.begun)?;
                self.send_until(call, Some(&session), patience, tries)
            }
            answer => answer,
        }
    }

    /// The session, logging in where there is none or it is about to end. Threads that come meanwhile wait for that one.
    fn session(&self, begun: Duration) -> Result<Session, ApiError> {
        let mut current = lock(&self.session);
        if let Some(session) = &*current
            && session.renew_at.is_none_or(|renew_at| self.clock.uptime() < renew_at)
        {
            return Ok(session.clone());
        }
        *current = None;
        let session = self.log_in(begun)?;
        *current = Some(session.clone());
        Ok(session)
    }

    fn log_in(&self, begun: Duration) -> Result<Session, ApiError> {
        let does = "log in";
        let json = self.config.credentials.login_body();
        let call = Call { does, method: Method::POST, path: "/auth".to_owned(), json };
        let renew_at = self.clock.uptime() + TOKEN_LIFE;
        let body = self.send_until(&call, None, &self.config.patience, &mut Tries { begun, sent: 0 })?;
        // The parser's words are left out: they may quote the token.
        let wrong = |why| ApiError::Answer { does, why };
        let answer: LoginAnswer =
            serde_json::from_slice(&body).map_err(|_| wrong("it holds no apiKey and token".to_owned()))?;
        let fits = |secret: &Secret| {
            let text = secret.expose();
            !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic())
        };
        if !fits(&answer.api_key) || !fits(&answer.token) {
            return Err(wrong("its apiKey or token is no printable text".to_owned()));
        }
        let mut issued = lock(&self.issued);
        issued.extend([answer.api_key.clone(), answer.token.clone()]);
        while issued.len() > MAX_ISSUED {
            issued.pop_front();
        }
        drop(issued);
        Ok(Session { api_key: answer.api_key, token: answer.token, renew_at: Some(renew_at) })
    }

    /// Drops this session, unless another thread has got a new one already.
    fn forget(&self, session: &Session) {
        let mut current = lock(&self.session);
        if current.as_ref().is_some_and(|current| current.token == session.token) {
            *current = None;
        }
    }
}

/// The answer of POST /auth, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoginAnswer {
    api_key: Secret,
    token: Secret,
}
