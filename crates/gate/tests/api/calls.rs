//! Each call does what it says, and nothing twice.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use vxgate_codec::Vni;
use vxgate_fake_gate::{Call, FakeGate, Fault};
use vxgate_gate::api::{ApiError, Client, ClientConfig, Credentials};
use vxgate_gate::peers::{own_entry, vpg_peers};

use crate::support::{answer, client_of, config, pair, read_request, serve, vpg};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn every_way_to_log_in_reads_the_vpg() {
    let fake = FakeGate::start().unwrap();
    fake.with(|gate| gate.account.otp = Some("123456".to_owned()));
    let account = fake.account();
    let otp = Some("123456".into());
    let (api_key, token) = fake.with(|gate| gate.issue());
    for (credentials, log_ins) in [
        (Credentials::key(account.auth_key_id.into(), account.auth_key.into(), "key"), 1),
        (Credentials::email(account.email.into(), account.password.into(), otp.clone(), "e-mail"), 2),
        (
            Credentials::user(
                account.operator_id.into(),
                account.user_name.into(),
                account.user_password.into(),
                otp,
                "user",
            ),
            3,
        ),
        (Credentials::token(api_key.into(), token.into(), "token"), 3),
    ] {
        let client = Client::new(ClientConfig { credentials, ..config(&fake) });
        assert_eq!(client.vpg(&vpg()).unwrap().vpg_id, vpg().as_str());
        assert_eq!(client.peers(&vpg()).unwrap().len(), 2);
        assert_eq!(fake.count(Call::Auth), log_ins, "one log-in for all calls");
    }
}

#[test]
fn a_log_in_that_is_refused_names_the_credentials_and_is_not_repeated() {
    let fake = FakeGate::start().unwrap();
    let credentials = Credentials::key("keyId-wrong".into(), "secret-wrong".into(), "the wrong key");
    let client = Client::new(ClientConfig { credentials, ..config(&fake) });
    let error = client.vpg(&vpg()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the API does not let us in with the wrong key: Authentication failed (AUM0001)"
    );
    assert!(error.hint().unwrap().contains("--coverage"), "{error:?}");
    assert_eq!(fake.requests().len(), 1);
}

#[test]
fn the_seeds_steps_lead_to_an_open_gate_with_our_inner_address() {
    let (fake, client) = pair();
    let outer = ip("172.21.0.100");

    let peers = client.peers(&vpg()).unwrap();
    let outers: Vec<_> = vpg_peers(&peers).map(|peer| peer.outer_ip.to_string()).collect();
    assert_eq!(outers, ["100.64.158.132", "100.64.158.4"]);

    let registered = client.register(&vpg(), outer, None).unwrap();
    assert_eq!((registered.inner_ip, registered.netmask), (ip("10.225.194.171"), None));
    let peers = client.peers(&vpg()).unwrap();
    let own = own_entry(&peers, outer).unwrap();
    assert_eq!(own.address().unwrap().to_string(), "10.225.194.171/9");

    assert!(!client.vpg(&vpg()).unwrap().gate_opened);
    let opened = client.open(&vpg(), None).unwrap();
    assert_eq!((opened.gate_opened, opened.gate_vni), (true, Vni::new(10)));

    client.close(&vpg()).unwrap();
    client.unregister(&vpg(), outer).unwrap();
    assert!(!client.vpg(&vpg()).unwrap().gate_opened);
    assert_eq!(client.peers(&vpg()).unwrap().len(), 2);

    client.log_out().unwrap();
    assert_eq!((fake.count(Call::Auth), fake.count(Call::LogOut)), (1, 1));
    client.log_out().unwrap();
    assert_eq!(fake.count(Call::LogOut), 1, "there is no session left");
}

#[test]
fn an_inner_address_and_a_vni_are_asked_for_as_they_are_said() {
    let (fake, client) = pair();
    let peer = client.register(&vpg(), ip("2001:db8::100"), Some(ip("10.128.0.9"))).unwrap();
    assert_eq!((peer.outer_ip, peer.inner_ip), (ip("2001:db8::100"), ip("10.128.0.9")));
    assert_eq!(client.open(&vpg(), Vni::new(77)).unwrap().gate_vni, Vni::new(77));
    client.unregister(&vpg(), ip("2001:db8::100")).unwrap();
    let requests = fake.requests();
    let path = &requests.last().unwrap().path;
    assert!(path.ends_with("/gate/peers/2001:db8::100"), "{path}");
}

#[test]
fn a_host_that_is_registered_stays_as_it_is() {
    let (fake, client) = pair();
    let first = client.register(&vpg(), ip("172.21.0.100"), None).unwrap();
    let again = client.register(&vpg(), ip("172.21.0.100"), None).unwrap();
    assert_eq!(again.inner_ip, first.inner_ip);
    assert_eq!(client.register(&vpg(), ip("172.21.0.100"), Some(first.inner_ip)).unwrap(), again);
    assert_eq!(fake.with(|gate| gate.vpg_mut().peers.len()), 3);
    let error = client.register(&vpg(), ip("172.21.0.100"), Some(ip("10.128.0.9"))).unwrap_err();
    assert!(matches!(error, ApiError::Rejected { status: 400, .. }), "{error:?}");
    let error = client.register(&vpg(), ip("100.64.158.4"), None).unwrap_err();
    assert!(
        error.to_string().contains("already registered (VPG0043)"),
        "a VPG's own peer is not us: {error}"
    );
}

#[test]
fn a_change_whose_answer_is_lost_is_made_once_and_reported_as_made() {
    for fault in [Fault::closed(), Fault::cut_off(), Fault::truncated()] {
        let (fake, client) = pair();
        fake.fault(Call::Register, 1, fault.clone());
        let peer = client.register(&vpg(), ip("172.21.0.100"), None).expect("registered");
        assert_eq!(peer.inner_ip, ip("10.225.194.171"), "{fault:?}");
        assert_eq!(fake.with(|gate| gate.vpg_mut().peers.len()), 3, "{fault:?}");

        fake.fault(Call::Open, 1, fault.clone());
        assert!(client.open(&vpg(), None).expect("opened").gate_opened, "{fault:?}");

        fake.fault(Call::Close, 1, fault);
        client.close(&vpg()).expect("closed");
    }
}

#[test]
fn a_host_whose_end_of_registration_was_lost_on_the_way_is_unregistered() {
    // The first request takes the host away and is not answered; the second finds none, nor does the list.
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let address = serve(move |mut stream| {
        let request = read_request(&mut stream);
        let mut asked = asked.lock().expect("no panic before");
        asked.push(request.split(' ').next().unwrap_or_default().to_owned());
        match asked.len() {
            1 => {}
            2 => answer(
                &mut stream,
                "404 Not Found",
                "",
                r#"{"code": "VPG0045", "message": "No such Gate peer"}"#,
            ),
            _ => answer(&mut stream, "200 OK", "", "[]"),
        }
    });
    client_of(&format!("http://{address}")).unregister(&vpg(), ip("172.21.0.100")).expect("unregistered");
    assert_eq!(*heard.lock().unwrap(), ["DELETE", "DELETE", "GET"]);
}

#[test]
fn a_host_that_was_never_registered_cannot_be_unregistered() {
    let (_fake, client) = pair();
    let outer = ip("172.21.0.100");
    assert_eq!(client.unregister(&vpg(), outer), Err(ApiError::NotRegistered { outer }));
    let error = client.unregister(&"unknown-vpg".parse().unwrap(), outer).unwrap_err();
    assert!(matches!(error, ApiError::NotFound { .. }), "{error:?}");
}

#[test]
fn opening_a_gate_leaves_devices_apart_that_were_kept_apart() {
    let (_fake, client) = pair();
    assert_eq!(client.vpg(&vpg()).unwrap().privacy_separator, Some(true));
    assert_eq!(client.open(&vpg(), None).unwrap().privacy_separator, Some(true));
}

#[test]
fn a_gate_that_stays_closed_or_opens_under_another_vni_is_an_error() {
    let (fake, client) = pair();
    fake.fault(Call::Open, 1, Fault::changed(|vpg| vpg["gateOpened"] = false.into()));
    // Before, and to see what became of it.
    fake.fault(Call::Vpg, 2, Fault::changed(|vpg| vpg["gateOpened"] = false.into()));
    let error = client.open(&vpg(), None).unwrap_err().to_string();
    assert!(error.ends_with("the gate is still closed"), "{error}");
    fake.fault(Call::Open, 1, Fault::changed(|vpg| vpg["gateVxlanId"] = 12.into()));
    fake.fault(Call::Vpg, 2, Fault::changed(|vpg| vpg["gateVxlanId"] = 12.into()));
    let error = client.open(&vpg(), Vni::new(11)).unwrap_err().to_string();
    assert!(error.ends_with("the gate is open under VNI 12"), "{error}");
}

#[test]
fn each_request_says_who_we_are_and_in_which_language_it_wants_its_errors() {
    let (fake, client) = pair();
    client.vpg(&vpg()).unwrap();
    for request in fake.requests() {
        assert_eq!(request.header("x-soracom-lang"), Some("en"));
        assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("vxgate/")));
    }
}
