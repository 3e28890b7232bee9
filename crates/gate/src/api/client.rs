//! What can be asked of the API.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ureq::Agent;
use ureq::http::Method;
use vxgate_codec::Vni;
use zeroize::Zeroizing;

use super::cancel::Cancellation;
use super::clock::{Clock, HostClock};
use super::credentials::Login;
use super::error::{ApiError, Refusal, Skew};
use super::patience::Patience;
use super::secret::{Secret, hide};
use super::settings::ClientConfig;
use super::transport::{self, Answer, Request};
use super::vpg::Vpg;
use super::vpg_id::VpgId;
use crate::peers::{self, GatePeer};

/// How long a token serves: a day, the API's default, less an hour for clocks that run fast.
const TOKEN_LIFE: Duration = Duration::from_secs(23 * 3600);

/// How long the end of a session may keep the program.
const LOG_OUT_TIME: Duration = Duration::from_secs(5);

/// How many issued secrets are kept to be hidden: two of each of the last two log-ins, of which one may be in use still.
const MAX_ISSUED: usize = 4;

/// Longest text of a server that is shown, in characters.
const MAX_SHOWN: usize = 300;

/// A blocking client of the API, for any number of threads.
///
/// It logs in before its first call, again before the token expires, and once more where a call is answered 401. See
/// [`Patience`] for what is tried again, and [`Client::cancellation`] for how to give up. A call that changes something does
/// nothing where the change is made already, so each can be repeated.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    agent: Result<Agent, ApiError>,
    clock: Arc<dyn Clock>,
    cancellation: Cancellation,
    session: Mutex<Option<Session>>,
    /// What the last log-ins gave, to be hidden from what is shown. Held for a moment only, unlike the session's lock.
    issued: Mutex<VecDeque<Secret>>,
    /// This host's clock and the API's, as of the last answer, where they do not agree.
    skew: Mutex<Option<Skew>>,
}

/// What a log-in gives.
#[derive(Clone, Debug)]
struct Session {
    api_key: Secret,
    token: Secret,
    /// On the client's clock; `None` for a token that is not ours to renew.
    renew_at: Option<Duration>,
}

/// One call of the API.
struct Call {
    /// In the words of an error, after "to".
    does: &'static str,
    method: Method,
    path: String,
    json: Option<Zeroizing<Vec<u8>>>,
}

/// How often a call was sent, and since when.
struct Tries {
    begun: Duration,
    sent: usize,
}

impl Client {
    /// A client that has not spoken yet.
    #[must_use]
    pub fn new(config: ClientConfig) -> Client {
        Client::with_clock(config, Arc::new(HostClock::new()))
    }

    pub(crate) fn with_clock(config: ClientConfig, clock: Arc<dyn Clock>) -> Client {
        let session = match config.credentials.login() {
            Login::Token { api_key, token } => {
                Some(Session { api_key: api_key.clone(), token: token.clone(), renew_at: None })
            }
            Login::Key { .. } | Login::Email { .. } | Login::User { .. } => None,
        };
        Client {
            agent: transport::agent(&config),
            config,
            clock,
            cancellation: Cancellation::default(),
            session: Mutex::new(session),
            issued: Mutex::default(),
            skew: Mutex::new(None),
        }
    }

    /// What it was made of.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The handle by which another thread ends every call.
    #[must_use]
    pub fn cancellation(&self) -> Cancellation {
        self.cancellation.clone()
    }

    /// The VPG.
    ///
    /// # Errors
    ///
    /// Why there is no answer, or what is wrong with it.
    pub fn vpg(&self, vpg: &VpgId) -> Result<Vpg, ApiError> {
        let does = "read the VPG";
        let body = self.call(&Call::get(does, path(vpg, "")), &mut self.tries())?;
        self.read_vpg(does, &body)
    }

    /// The Gate peers of the VPG: its own, and every customer's host that is registered.
    ///
    /// # Errors
    ///
    /// Why there is no answer, or what is wrong with it.
    pub fn peers(&self, vpg: &VpgId) -> Result<Vec<GatePeer>, ApiError> {
        let does = "list the Gate peers";
        let body = self.call(&Call::get(does, path(vpg, "/gate/peers")), &mut self.tries())?;
        self.read_peers(does, &body)
    }

    /// Registers a customer's host by its outer address; the API chooses an inner address where none is said. The answer
    /// has no netmask before the next list. A host that is registered already, under this inner address where one is
    /// said, is left as it is.
    ///
    /// # Errors
    ///
    /// Why there is no answer, or what is wrong with it.
    pub fn register(&self, vpg: &VpgId, outer: IpAddr, inner: Option<IpAddr>) -> Result<GatePeer, ApiError> {
        let does = "register the Gate peer";
        let mut body = Map::new();
        body.insert("outerIpAddress".to_owned(), json!(outer));
        if let Some(inner) = inner {
            body.insert("innerIpAddress".to_owned(), json!(inner));
        }
        let call = Call::post(does, path(vpg, "/gate/peers"), Some(Value::Object(body)));
        let asked =
            |peer: &GatePeer| peer.outer_ip == outer && inner.is_none_or(|inner| inner == peer.inner_ip);
        let answer = self.call(&call, &mut self.tries()).and_then(|body| self.read_peers(does, &body));
        let error = match answer {
            Ok(peers) => match peers.into_iter().find(asked) {
                Some(peer) => return Ok(peer),
                None => self.answer_error(does, "it is about another peer"),
            },
            Err(error) => error,
        };
        // It may have been registered before, or by an attempt whose answer was lost.
        self.unless_done(error, || {
            let peers = self.peers(vpg)?;
            Ok(peers::own_entry(&peers, outer).filter(|peer| asked(peer)).cloned())
        })
    }

    /// Takes a customer's host out of the list.
    ///
    /// # Errors
    ///
    /// Why there is no answer; [`ApiError::NotFound`] where no host of this outer address is registered.
    pub fn unregister(&self, vpg: &VpgId, outer: IpAddr) -> Result<(), ApiError> {
        let call = Call {
            does: "unregister the Gate peer",
            method: Method::DELETE,
            path: path(vpg, &format!("/gate/peers/{outer}")),
            json: None,
        };
        let mut tries = self.tries();
        match self.call(&call, &mut tries) {
            Ok(_) => Ok(()),
            // An attempt whose answer was lost has done it.
            Err(error @ ApiError::NotFound { .. }) if tries.sent > 1 => match self.peers(vpg) {
                Ok(peers) if peers::own_entry(&peers, outer).is_none() => Ok(()),
                Ok(_) | Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Opens the gate under this VNI, 10 where none is said. A gate that is open already, under this VNI where one is said,
    /// stays as it is.
    ///
    /// # Errors
    ///
    /// Why there is no answer, or what is wrong with it.
    pub fn open(&self, vpg: &VpgId, vni: Option<Vni>) -> Result<Vpg, ApiError> {
        let does = "open the gate";
        let body = vni.map_or_else(|| json!({}), |vni| json!({ "vxlanId": vni.get() }));
        let call = Call::post(does, path(vpg, "/gate/open"), Some(body));
        let answer = self.call(&call, &mut self.tries()).and_then(|body| self.read_vpg(does, &body));
        let asked = |vpg: &Vpg| vpg.gate_opened && vni.is_none_or(|vni| vpg.gate_vni == Some(vni));
        let error = match answer {
            Ok(vpg) if asked(&vpg) => return Ok(vpg),
            Ok(vpg) if vpg.gate_opened => {
                let under = vpg.gate_vni.map_or_else(|| "no VNI".to_owned(), |vni| format!("VNI {vni}"));
                self.answer_error(does, &format!("the gate is open under {under}"))
            }
            Ok(_) => self.answer_error(does, "the gate is still closed"),
            Err(error) => error,
        };
        self.unless_done(error, || Ok(Some(self.vpg(vpg)?).filter(asked)))
    }

    /// Closes the gate. One that is closed stays so.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub fn close(&self, vpg: &VpgId) -> Result<(), ApiError> {
        let call = Call::post("close the gate", path(vpg, "/gate/close"), None);
        match self.call(&call, &mut self.tries()) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.unless_done(error, || Ok(Some(self.vpg(vpg)?).filter(|vpg| !vpg.gate_opened).map(drop)))
            }
        }
    }

    /// Ends the session, so that its token serves nobody. Tried once, for five seconds; a token that was given to us stays.
    ///
    /// # Errors
    ///
    /// Why there is no answer. The client forgets its token all the same.
    pub fn log_out(&self) -> Result<(), ApiError> {
        if !self.config.credentials.can_log_in() {
            return Ok(());
        }
        let Some(session) = lock(&self.session).take() else { return Ok(()) };
        let call = Call::post("log out", "/auth/logout".to_owned(), None);
        let patience = Patience::once(LOG_OUT_TIME);
        match self.send_until(&call, Some(&session), &patience, &mut self.tries()) {
            Ok(_) | Err(ApiError::TokenRefused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A refused change may be made already: then this is no error.
    fn unless_done<T>(
        &self,
        error: ApiError,
        done: impl FnOnce() -> Result<Option<T>, ApiError>,
    ) -> Result<T, ApiError> {
        let asks = matches!(error, ApiError::Rejected { status: 400 | 409, .. } | ApiError::Answer { .. });
        match asks.then(done) {
            Some(Ok(Some(value))) => Ok(value),
            Some(Ok(None) | Err(_)) | None => Err(error),
        }
    }

    /// Sends a call with a token, and once more with a new one where that one is refused.
    fn call(&self, call: &Call, tries: &mut Tries) -> Result<Zeroizing<Vec<u8>>, ApiError> {
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

    /// Sends a call until it is answered, or the patience is at its end.
    fn send_until(
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
        let sent = self.cancellation.run(move || transport::send(&agent, request))?;
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

    /// The API's `{code, message}`.
    fn refusal(&self, body: &[u8]) -> Refusal {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |field| document.get(field)?.as_str().map(|text| self.shown(text));
        Refusal { code: text("code"), message: text("message") }
    }

    fn read_vpg(&self, does: &'static str, body: &[u8]) -> Result<Vpg, ApiError> {
        let wrong =
            |error: super::vpg::VpgError| self.answer_error(does, &self.reason(body, &error.to_string()));
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

    fn read_peers(&self, does: &'static str, body: &[u8]) -> Result<Vec<GatePeer>, ApiError> {
        peers::parse(body).map_err(|error| self.answer_error(does, &self.reason(body, &error.to_string())))
    }

    /// Why an answer is not understood; a web page in its place says more than the parser does.
    fn reason(&self, body: &[u8], why: &str) -> String {
        if body.trim_ascii_start().starts_with(b"<") { "a web page".to_owned() } else { why.to_owned() }
    }

    fn answer_error(&self, does: &'static str, why: &str) -> ApiError {
        ApiError::Answer { does, why: self.shown(why) }
    }

    /// A text from outside as it may be shown: without our secrets, on one line, cut.
    fn shown(&self, text: &str) -> String {
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
    fn clean(&self, error: ApiError) -> ApiError {
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

    fn tries(&self) -> Tries {
        Tries { begun: self.clock.uptime(), sent: 0 }
    }
}

/// The answer of POST /auth, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoginAnswer {
    api_key: Secret,
    token: Secret,
}

impl Call {
    fn get(does: &'static str, path: String) -> Call {
        Call { does, method: Method::GET, path, json: None }
    }

    fn post(does: &'static str, path: String, json: Option<Value>) -> Call {
        let json = json.map(|json| Zeroizing::new(json.to_string().into_bytes()));
        Call { does, method: Method::POST, path, json }
    }
}

fn path(vpg: &VpgId, below: &str) -> String {
    format!("/virtual_private_gateways/{vpg}{below}")
}

/// A state that is whole after each statement stays usable after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
