//! The calls of the API: which one a request makes, and what becomes of it.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::http::{Answer, Request};
use crate::state::{Gate, Vpg};

/// The path that every call begins with.
const BASE: &str = "/v1";

/// The VNI that `open` takes when it is told none.
const DEFAULT_VNI: u32 = 10;

/// Highest VNI.
const MAX_VNI: u64 = (1 << 24) - 1;

/// A call of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Each of them: for faults.
    Any,
    /// `POST /auth`.
    Auth,
    /// `POST /auth/logout`.
    LogOut,
    /// `GET /virtual_private_gateways/{vpg_id}`.
    Vpg,
    /// `GET .../gate/peers`.
    Peers,
    /// `POST .../gate/peers`.
    Register,
    /// `DELETE .../gate/peers/{outer_ip_address}`.
    Unregister,
    /// `POST .../gate/open`.
    Open,
    /// `POST .../gate/close`.
    Close,
    /// `POST .../gate/set_vxlan_id`.
    SetVni,
    /// `POST .../gate/enable_privacy_separator`.
    EnablePrivacySeparator,
    /// `POST .../gate/disable_privacy_separator`.
    DisablePrivacySeparator,
    /// Anything else, which is answered with 404.
    Unknown,
}

/// A call with what its path names.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) call: Call,
    vpg: &'a str,
    outer: &'a str,
}

impl<'a> Target<'a> {
    pub(crate) fn of(method: &str, path: &'a str) -> Target<'a> {
        let path = path.strip_prefix(BASE).unwrap_or_default();
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let words: Vec<&'a str> = path.split('/').skip(1).collect();
        let target = |call, vpg, outer| Target { call, vpg, outer };
        match (method, words.as_slice()) {
            ("POST", ["auth"]) => target(Call::Auth, "", ""),
            ("POST", ["auth", "logout"]) => target(Call::LogOut, "", ""),
            ("GET", ["virtual_private_gateways", vpg]) => target(Call::Vpg, vpg, ""),
            ("GET", ["virtual_private_gateways", vpg, "gate", "peers"]) => target(Call::Peers, vpg, ""),
            ("POST", ["virtual_private_gateways", vpg, "gate", "peers"]) => target(Call::Register, vpg, ""),
            ("DELETE", ["virtual_private_gateways", vpg, "gate", "peers", outer]) => {
                target(Call::Unregister, vpg, outer)
            }
            ("POST", ["virtual_private_gateways", vpg, "gate", verb]) => {
                let call = match *verb {
                    "open" => Call::Open,
                    "close" => Call::Close,
                    "set_vxlan_id" => Call::SetVni,
                    "enable_privacy_separator" => Call::EnablePrivacySeparator,
                    "disable_privacy_separator" => Call::DisablePrivacySeparator,
                    _ => Call::Unknown,
                };
                target(call, vpg, "")
            }
            _ => target(Call::Unknown, "", ""),
        }
    }
}

impl Gate {
    /// Does what the request asks for.
    pub(crate) fn answer(&mut self, request: &Request) -> Answer {
        let target = Target::of(&request.method, &request.path);
        let body = request.json();
        if target.call == Call::Auth {
            return self.log_in(&body);
        }
        let key = request.header("x-soracom-api-key").unwrap_or_default();
        let token = request.header("x-soracom-token").unwrap_or_default();
        let Some(session) = self.tokens.iter().position(|(good, with)| good == key && with == token) else {
            return refused(401, "AUM0003", "Authentication failed: the API key or the token is not valid");
        };
        if target.call == Call::LogOut {
            self.tokens.remove(session);
            return Answer::empty(204);
        }
        let operator = self.account.operator_id.clone();
        let Some(vpg) = self.vpgs.get_mut(target.vpg) else {
            return refused(404, "VPG0001", "No such virtual private gateway");
        };
        vpg.answer(&target, &operator, &body)
    }

    fn log_in(&mut self, body: &Value) -> Answer {
        let account = &self.account;
        let said = |name: &str, wanted: &str| body[name] == wanted;
        let otp = account.otp.as_deref().is_none_or(|otp| said("mfaOTPCode", otp));
        let by_key = said("authKeyId", &account.auth_key_id) && said("authKey", &account.auth_key);
        let by_email = said("email", &account.email) && said("password", &account.password) && otp;
        let by_user = said("operatorId", &account.operator_id)
            && said("userName", &account.user_name)
            && said("password", &account.user_password)
            && otp;
        if !(by_key || by_email || by_user) {
            return refused(401, "AUM0001", "Authentication failed");
        }
        let operator = account.operator_id.clone();
        let user = by_user.then(|| account.user_name.clone());
        let (key, token) = self.issue();
        let answer = json!({
            "apiKey": key, "token": token, "operatorId": operator, "userName": user, "addedLater": {},
        });
        Answer::json(200, &answer)
    }
}

impl Vpg {
    fn answer(&mut self, target: &Target<'_>, operator: &str, body: &Value) -> Answer {
        match target.call {
            Call::Vpg => self.shown(target.vpg, operator),
            Call::Peers => Answer::json(200, &self.list()),
            Call::Register => self.register_from(body),
            Call::Unregister => self.unregister(target.outer),
            Call::Open => {
                let Ok(vni) = vni_of(body) else { return wrong_vni() };
                self.vni = Some(vni.or(self.vni).unwrap_or(DEFAULT_VNI));
                self.privacy_separator = body["privacySeparatorEnabled"].as_bool().unwrap_or(false);
                self.gate_opened = true;
                self.shown(target.vpg, operator)
            }
            Call::Close => {
                self.gate_opened = false;
                Answer::json(200, &json!({}))
            }
            Call::SetVni => match vni_of(body) {
                Ok(Some(vni)) => {
                    self.vni = Some(vni);
                    Answer::empty(204)
                }
                Ok(None) | Err(()) => wrong_vni(),
            },
            Call::EnablePrivacySeparator | Call::DisablePrivacySeparator => {
                self.privacy_separator = target.call == Call::EnablePrivacySeparator;
                self.shown(target.vpg, operator)
            }
            Call::Any | Call::Auth | Call::LogOut | Call::Unknown => {
                refused(404, "COM0003", "Resource not found")
            }
        }
    }

    fn shown(&self, id: &str, operator: &str) -> Answer {
        Answer::json(200, &self.to_json(id, operator))
    }

    fn register_from(&mut self, body: &Value) -> Answer {
        let ip = |name: &str| body[name].as_str().map(str::parse::<IpAddr>);
        let Some(Ok(outer)) = ip("outerIpAddress") else {
            return refused(400, "VPG0041", "outerIpAddress is not an IP address");
        };
        let Ok(inner) = ip("innerIpAddress").transpose() else {
            return refused(400, "VPG0042", "innerIpAddress is not an IP address");
        };
        if self.peers.iter().any(|peer| peer.outer == outer) {
            return refused(400, "VPG0043", "The Gate peer is already registered");
        }
        if inner.is_some_and(|inner| self.peers.iter().any(|peer| peer.inner == inner)) {
            return refused(400, "VPG0044", "innerIpAddress is in use");
        }
        let peer = self.register(outer, inner);
        Answer::json(200, &Vpg::registered(&peer))
    }

    fn unregister(&mut self, outer: &str) -> Answer {
        // An IPv6 address may come with its colons escaped.
        let outer = outer.replace("%3A", ":").replace("%3a", ":");
        let ours =
            |outer: IpAddr| self.peers.iter().position(|peer| peer.outer == outer && peer.owned_by_customer);
        match outer.parse().ok().and_then(ours) {
            Some(index) => {
                self.peers.remove(index);
                Answer::empty(204)
            }
            None => refused(404, "VPG0045", "No such Gate peer"),
        }
    }
}

/// `vxlanId` of a body, where it has one.
fn vni_of(body: &Value) -> Result<Option<u32>, ()> {
    let value = &body["vxlanId"];
    if value.is_null() {
        return Ok(None);
    }
    match value.as_u64() {
        Some(vni @ 1..=MAX_VNI) => u32::try_from(vni).map(Some).map_err(drop),
        Some(_) | None => Err(()),
    }
}

fn wrong_vni() -> Answer {
    refused(400, "VPG0046", "vxlanId is a number from 1 to 16777215")
}

/// The API's own form of an error.
fn refused(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "code": code, "message": message }))
}
