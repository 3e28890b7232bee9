//! The fake by itself, seen over a plain socket.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use vxgate_fake_gate::{Call, FakeGate, Fault, VPG_ID};

/// An answer as it came over the wire.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

struct Caller<'a> {
    fake: &'a FakeGate,
    session: (String, String),
}

impl<'a> Caller<'a> {
    fn new(fake: &'a FakeGate) -> Caller<'a> {
        let account = fake.account();
        let mut caller = Caller { fake, session: Default::default() };
        let body = json!({ "authKeyId": account.auth_key_id, "authKey": account.auth_key });
        let answer = caller.call("POST", "/auth", &body).expect("an answer").json();
        let field = |name: &str| answer[name].as_str().expect("a string").to_owned();
        caller.session = (field("apiKey"), field("token"));
        caller
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> io::Result<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (key, token) = &self.session;
        let request = format!(
            "{method} /v1{path} HTTP/1.1\r\nHost: fake\r\nX-Soracom-API-Key: {key}\r\nX-Soracom-Token: {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.fake.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, text) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        Ok(Answer { status, head: head.to_owned(), text: text.to_owned() })
    }

    fn vpg(&self, method: &str, below: &str, body: &Value) -> Answer {
        self.call(method, &format!("/virtual_private_gateways/{VPG_ID}{below}"), body).expect("an answer")
    }

    fn peers(&self) -> Answer {
        self.vpg("GET", "/gate/peers", &Value::Null)
    }
}

#[test]
fn the_three_ways_to_log_in_work_and_any_other_gets_401() {
    let fake = FakeGate::start().unwrap();
    let account = fake.account();
    let caller = Caller { fake: &fake, session: Default::default() };
    let key = json!({ "authKeyId": account.auth_key_id, "authKey": account.auth_key });
    let email = json!({ "email": account.email, "password": account.password });
    let user = json!({
        "operatorId": account.operator_id, "userName": account.user_name, "password": account.user_password,
    });
    for body in [&key, &email, &user] {
        assert_eq!(caller.call("POST", "/auth", body).unwrap().status, 200, "{body}");
    }
    for body in [json!({}), json!({ "authKeyId": account.auth_key_id, "authKey": "wrong" }), Value::Null] {
        let answer = caller.call("POST", "/auth", &body).unwrap();
        assert_eq!((answer.status, answer.json()["code"].is_string()), (401, true), "{body}");
    }
    assert_eq!(caller.peers().status, 401, "without a token");
    fake.with(|gate| gate.account.otp = Some("123456".to_owned()));
    assert_eq!(caller.call("POST", "/auth", &email).unwrap().status, 401, "without its second factor");
    let text = format!("{:?}", fake.requests());
    for secret in [&account.auth_key, &account.password, &account.user_password] {
        assert!(!text.contains(secret.as_str()), "{text}");
    }
}

#[test]
fn a_registration_has_no_netmask_until_the_next_list() {
    let fake = FakeGate::start().unwrap();
    let caller = Caller::new(&fake);
    assert_eq!(caller.peers().json().as_array().map(Vec::len), Some(2));
    let body = json!({ "outerIpAddress": "172.21.0.100" });
    let registered = caller.vpg("POST", "/gate/peers", &body);
    assert_eq!(registered.status, 200);
    assert_eq!(registered.json()["innerIpAddress"], "10.225.194.171");
    assert!(registered.json()["netmask"].is_null() && registered.json()["ownedByCustomer"] == true);
    let listed = caller.peers().json();
    assert_eq!(listed[2]["netmask"], "255.128.0.0");
    assert_eq!(caller.vpg("POST", "/gate/peers", &body).status, 400, "a second time");
    assert_eq!(
        caller.vpg("DELETE", "/gate/peers/100.64.158.4", &Value::Null).status,
        404,
        "not the customer's"
    );
    assert_eq!(caller.vpg("DELETE", "/gate/peers/172.21.0.100", &Value::Null).status, 204);
    assert_eq!(caller.peers().json().as_array().map(Vec::len), Some(2));
    assert_eq!(fake.count(Call::Register), 2);
}

#[test]
fn opening_closing_and_the_vni_show_in_the_vpg() {
    let fake = FakeGate::start().unwrap();
    let caller = Caller::new(&fake);
    let shown = |caller: &Caller<'_>| caller.vpg("GET", "", &Value::Null).json();
    assert_eq!(
        (&shown(&caller)["gateOpened"], &shown(&caller)["gateVxlanId"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(caller.vpg("POST", "/gate/open", &json!({})).json()["gateVxlanId"], 10);
    assert_eq!(caller.vpg("POST", "/gate/set_vxlan_id", &json!({ "vxlanId": 77 })).status, 204);
    assert_eq!(caller.vpg("POST", "/gate/set_vxlan_id", &json!({ "vxlanId": 0 })).status, 400);
    assert_eq!(caller.vpg("POST", "/gate/open", &json!({ "vxlanId": "7" })).status, 400);
    assert_eq!(shown(&caller)["gateVxlanId"], 77);
    caller.vpg("POST", "/gate/enable_privacy_separator", &Value::Null);
    assert_eq!(shown(&caller)["gatePrivacySeparatorEnabled"], true);
    assert_eq!(caller.vpg("POST", "/gate/close", &Value::Null).status, 200);
    assert_eq!(shown(&caller)["gateOpened"], false);
    assert_eq!(caller.call("GET", "/virtual_private_gateways/other", &Value::Null).unwrap().status, 404);
    assert_eq!(caller.call("POST", "/auth/logout", &Value::Null).unwrap().status, 204);
    assert_eq!(caller.peers().status, 401, "logged out");
}

#[test]
fn faults_come_as_often_as_scripted_and_leave_the_state_as_it_was() {
    let fake = FakeGate::start().unwrap();
    let caller = Caller::new(&fake);
    fake.fault(Call::Peers, 2, Fault::too_many(Some("7")));
    fake.fault(Call::Peers, 1, Fault::text(200, "<html>"));
    fake.fault(Call::Peers, 1, Fault::truncated());
    fake.fault(Call::Peers, 1, Fault::changed(|body| body[0]["netmask"] = 9.into()));
    for _ in 0..2 {
        let answer = caller.peers();
        assert!(answer.status == 429 && answer.head.contains("Retry-After: 7"), "{answer:?}");
    }
    assert_eq!(caller.peers().text, "<html>");
    assert!(serde_json::from_str::<Value>(&caller.peers().text).is_err());
    assert_eq!(caller.peers().json()[0]["netmask"], 9);
    assert_eq!(caller.peers().json()[0]["netmask"], "255.128.0.0");

    fake.fault(Call::Register, 1, Fault::status(503));
    let body = json!({ "outerIpAddress": "172.21.0.100" });
    assert_eq!(caller.vpg("POST", "/gate/peers", &body).status, 503);
    assert_eq!(fake.with(|gate| gate.vpg_mut().peers.len()), 2, "nothing was registered");

    fake.fault(Call::Any, 1, Fault::closed());
    assert!(caller.call("GET", "/x", &Value::Null).is_err());
    fake.fault(Call::Peers, 1, Fault::cut_off());
    let answer = caller.peers();
    let length = answer.head.split("Content-Length: ").nth(1).unwrap().split('\r').next().unwrap();
    assert!(answer.text.len() < length.parse().unwrap(), "{answer:?}");
    fake.fault(Call::Peers, 1, Fault::slow(Duration::from_millis(50)));
    assert_eq!(caller.peers().status, 200);
    fake.with(vxgate_fake_gate::Gate::expire_tokens);
    assert_eq!(caller.peers().status, 401);
}

#[test]
fn it_goes_down_with_its_callers_and_comes_up_where_it_was() {
    let fake = FakeGate::start().unwrap();
    let caller = Caller::new(&fake);
    fake.fault(Call::Peers, 1, Fault::silent());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            caller.call("GET", &format!("/virtual_private_gateways/{VPG_ID}/gate/peers"), &Value::Null)
        });
        while fake.count(Call::Peers) == 0 {
            std::thread::yield_now();
        }
        fake.go_down();
        assert!(waiting.join().unwrap().is_err(), "its connection is closed");
    });
    let refused = caller.call("GET", "/x", &Value::Null).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    fake.come_up().unwrap();
    assert_eq!(caller.peers().status, 200);
}
