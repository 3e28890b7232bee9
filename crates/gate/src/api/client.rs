//! What can be asked of the API.

mod attempt;
mod session;
mod shown;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use ureq::Agent;
use ureq::http::Method;
use vxgate_codec::Vni;

use super::cancel::Cancellation;
use super::clock::{Clock, HostClock};
use super::credentials::Login;
use super::error::{ApiError, Skew};
use super::patience::Patience;
use super::secret::Secret;
use super::settings::ClientConfig;
use super::transport;
use super::vpg::Vpg;
use super::vpg_id::VpgId;
use crate::peers::{GatePeer, own_entry};

use self::attempt::Call;
use self::session::Session;

/// How long the end of a session may keep the program.
const LOG_OUT_TIME: Duration = Duration::from_secs(5);

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
            Ok(own_entry(&peers, outer).filter(|peer| asked(peer)).cloned())
        })
    }

    /// Takes a customer's host out of the list.
    ///
    /// # Errors
    ///
    /// Why there is no answer; [`ApiError::NotRegistered`] where no host of this outer address is.
    pub fn unregister(&self, vpg: &VpgId, outer: IpAddr) -> Result<(), ApiError> {
        let call = Call {
            does: "unregister the Gate peer",
            method: Method::DELETE,
            path: path(vpg, &format!("/gate/peers/{outer}")),
            json: None,
        };
        let mut tries = self.tries();
        let error = match self.call(&call, &mut tries) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        // 404 stands for the host and for the VPG.
        let gone = matches!(error, ApiError::NotFound { .. })
            && self.peers(vpg).is_ok_and(|peers| own_entry(&peers, outer).is_none());
        match gone {
            // An attempt whose answer was lost has done it.
            true if tries.sent > 1 => Ok(()),
            true => Err(ApiError::NotRegistered { outer }),
            false => Err(error),
        }
    }

    /// Opens the gate under this VNI, 10 where none is said. A gate that is open already, under this VNI where one is said,
    /// stays as it is, and so does the privacy separator, which keeps devices from reaching each other.
    ///
    /// # Errors
    ///
    /// Why there is no answer, or what is wrong with it.
    pub fn open(&self, vpg: &VpgId, vni: Option<Vni>) -> Result<Vpg, ApiError> {
        let does = "open the gate";
        let mut body = vni.map_or_else(|| json!({}), |vni| json!({ "vxlanId": vni.get() }));
        // Left out, it is taken as false, and devices that were kept apart reach each other.
        if self.vpg(vpg)?.privacy_separator == Some(true) {
            body["privacySeparatorEnabled"] = true.into();
        }
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
