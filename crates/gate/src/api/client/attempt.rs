//! One call, sent until it is answered, and what the answer's status means.

use std::time::Duration;

use serde_json::Value;
use ureq::http::Method;
use zeroize::Zeroizing;

use super::session::Session;
use super::{Client, lock};
use crate::api::error::{ApiError, Skew};
use crate::api::patience::Patience;
use crate::api::transport::{self, Answer, Request};

/// One call of the API.
pub(super) struct Call {
    /// In the words of an error, after "to".
    pub(super) does: &'static str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) json: Option<Zeroizing<Vec<u8>>>,
}

/// How often a call was sent, and since when.
pub(super) struct Tries {
    pub(super) begun: Duration,
    pub(super) sent: usize,
}

impl Call {
    pub(super) fn get(does: &'static str, path: String) -> Call {
        Call { does, method: Method::GET, path, json: None }
    }

    pub(super) fn post(does: &'static str, path: String, json: Option<Value>) -> Call {
        let json = json.map(|json| Zeroizing::new(json.to_string().into_bytes()));
        Call { does, method: Method::POST, path, json }
    }
}

impl Client {
    pub(super) fn tries(&self) -> Tries {
        Tries { begun: self.clock.uptime(), sent: 0 }
    }

    /// Sends a call until it is answered, or the patience is at its end.
    pub(super) fn send_until(
        &self,
        call: &Call,
        session: Option<&Session>,
        patience: &Patience,
        tries: &mut Tries,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        loop {
            tries.sent += 1;
            let error = match self.send(call, session) {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            let elapsed = self.clock.uptime().saturating_sub(tries.begun);
            let wait = if error.is_transient() {
                patience.next_wait(tries.sent, elapsed, error.retry_after(), fastrand::f64())
            } else {
                None
            };
            let Some(wait) = wait else { return Err(error) };
            if let Some(notice) = &self.config.on_retry {
                notice.tell(&error, wait);
            }
            self.clock.wait(wait, &self.cancellation)?;
        }
    }

    /// Sends a call once.
    fn send(&self, call: &Call, session: Option<&Session>) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let agent = self.agent.clone()?;
        let request = Request {
            method: call.method.clone(),
            url: self.config.endpoint.url(&call.path),
            session: session.map(|session| (session.api_key.clone(), session.token.clone())),
            json: call.json.clone(),
        };
        let sending = agent.clone();
        let sent = self.cancellation.run(move || transport::send(&sending, request)).inspect_err(|_| {
            // For the thread that was left: its connection ends, and so does its wait.
            agent.shutdown();
        })?;
        let clock = self.clock.wall();
        match sent {
            Ok(answer) => {
                if let Some(date) = answer.date {
                    *lock(&self.skew) = Skew::between(clock, date);
                }
                self.judge(call, session, answer)
            }
            Err(error) => Err(self.clean(transport::classify(error, call.does, &self.config, clock))),
        }
    }

    /// What the status means.
    fn judge(
        &self,
        call: &Call,
        session: Option<&Session>,
        answer: Answer,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let does = call.does;
        let Answer { status, date, retry_after, location, body } = answer;
        let refusal = || self.refusal(&body);
        let now = date.unwrap_or_else(|| self.clock.wall());
        let retry_after = retry_after.map(|retry_after| retry_after.wait_at(now));
        let endpoint = &self.config.endpoint;
        Err(match (status, session) {
            (200..=299, _) => return Ok(body),
            (300..=399, _) => ApiError::Redirected {
                place: format!("{}:{}", endpoint.host(), endpoint.port()),
                to: self.shown(&location.unwrap_or_else(|| "nowhere".to_owned())),
                status,
            },
            (400 | 401 | 403, None) => ApiError::LoginRefused {
                credentials: self.config.credentials.source().to_owned(),
                refusal: refusal(),
                skew: *lock(&self.skew),
            },
            (401, Some(session)) => ApiError::TokenRefused {
                does,
                credentials: self.config.credentials.source().to_owned(),
                refusal: refusal(),
                own: session.renew_at.is_some(),
            },
            (403, Some(_)) => ApiError::Forbidden { does, refusal: refusal() },
            (404, _) => ApiError::NotFound { does, refusal: refusal(), host: endpoint.host().to_owned() },
            (429, _) => ApiError::TooManyRequests { does, refusal: refusal(), retry_after },
            (500..=599, _) => ApiError::Server { does, status, refusal: refusal(), retry_after },
            _ => ApiError::Rejected { does, status, refusal: refusal() },
        })
    }
}
