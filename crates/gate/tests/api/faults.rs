//! What goes wrong with the API and on the way to it, each with what is said about it.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vxgate_fake_gate::{Call, FakeGate, Fault};
use vxgate_gate::api::{ApiError, Client, ClientConfig, Credentials, Patience, Stage};

use crate::support::{Told, client_of, config, impatient, pair, read_request, serve, vpg};

#[test]
fn a_token_that_expires_in_mid_run_is_renewed_once() {
    let (fake, client) = pair();
    client.vpg(&vpg()).unwrap();
    fake.with(|gate| gate.expire_tokens());
    client.peers(&vpg()).unwrap();
    client.peers(&vpg()).unwrap();
    assert_eq!((fake.count(Call::Auth), fake.count(Call::Peers)), (2, 3));
}

#[test]
fn a_token_that_is_refused_again_ends_the_call() {
    let (fake, client) = pair();
    fake.fault(Call::Vpg, 99, Fault::status(401));
    let error = client.vpg(&vpg()).unwrap_err();
    assert!(matches!(error, ApiError::TokenRefused { own: true, .. }), "{error:?}");
    assert_eq!((fake.count(Call::Auth), fake.count(Call::Vpg)), (2, 2));
}

#[test]
fn a_token_that_was_given_to_us_is_not_renewed_and_the_hint_says_how_it_would_be() {
    let (fake, _) = pair();
    let credentials =
        Credentials::token("api".into(), "stale-token".into(), "SORACOM_API_KEY and SORACOM_TOKEN");
    let client = Client::new(ClientConfig { credentials, ..config(&fake) });
    let error = client.vpg(&vpg()).unwrap_err();
    assert!(error.to_string().contains("SORACOM_API_KEY and SORACOM_TOKEN"), "{error}");
    assert!(error.hint().unwrap().contains("SORACOM_AUTH_KEY_ID"), "{error:?}");
    assert_eq!(fake.requests().len(), 1);
    client.log_out().unwrap();
    assert_eq!(fake.count(Call::LogOut), 0, "a session that is not ours stays");
}

#[test]
fn what_may_pass_is_tried_again_on_schedule_and_told() {
    for fault in [
        Fault::status(500),
        Fault::status(503),
        Fault::too_many(None),
        Fault::too_many(Some("0")),
        Fault::too_many(Some("Sun, 06 Nov 1994 08:49:37 GMT")),
        Fault::closed(),
        Fault::cut_off(),
    ] {
        let (fake, _) = pair();
        let told = Told::default();
        let client = Client::new(ClientConfig { on_retry: Some(told.notice()), ..config(&fake) });
        fake.fault(Call::Vpg, 2, fault.clone());
        client.vpg(&vpg()).expect("the third attempt");
        assert_eq!((fake.count(Call::Vpg), told.all().len()), (3, 2), "{fault:?}");
        fake.fault(Call::Vpg, 3, fault.clone());
        let error = client.vpg(&vpg()).unwrap_err();
        assert!(error.is_transient() && error.hint().is_some(), "{fault:?}: {error:?}");
        assert_eq!((fake.count(Call::Vpg), fake.count(Call::Auth)), (6, 1), "{fault:?}");
    }
}

#[test]
fn a_log_in_is_tried_again_too() {
    let (fake, client) = pair();
    fake.fault(Call::Auth, 1, Fault::too_many(None));
    fake.fault(Call::Auth, 1, Fault::closed());
    client.vpg(&vpg()).unwrap();
    assert_eq!(fake.count(Call::Auth), 3);
}

#[test]
fn a_server_that_wants_to_be_left_alone_for_long_is() {
    let (fake, client) = pair();
    for (wait, hint) in [("3600", "after 3600 s"), ("Fri, 31 Dec 2100 00:00:00 GMT", "try again after")] {
        fake.fault(Call::Vpg, 1, Fault::too_many(Some(wait)));
        let error = client.vpg(&vpg()).unwrap_err();
        assert!(matches!(error, ApiError::TooManyRequests { retry_after: Some(_), .. }), "{error:?}");
        assert!(error.hint().unwrap().contains(hint), "{error:?}");
    }
    assert_eq!(fake.count(Call::Vpg), 2, "one attempt each");
}

#[test]
fn what_will_not_pass_is_not_tried_again() {
    let (fake, client) = pair();
    for (status, words) in [
        (400, "the API refused (400) to read the VPG: scripted fault 400 (FAKE0400)"),
        (403, "the API forbids these credentials to read the VPG: scripted fault 403"),
        (404, "the API finds nothing to read the VPG: scripted fault 404"),
        (410, "the API refused (410)"),
    ] {
        let before = fake.count(Call::Vpg);
        fake.fault(Call::Vpg, 1, Fault::status(status));
        let error = client.vpg(&vpg()).unwrap_err();
        assert!(error.to_string().starts_with(words), "{error}");
        assert!(!error.is_transient());
        assert_eq!(fake.count(Call::Vpg), before + 1, "{status}");
    }
    let error = client.vpg(&"unknown-vpg".parse().unwrap()).unwrap_err();
    assert!(error.hint().unwrap().contains("--coverage"), "{error:?}");
}

#[test]
fn an_answer_that_is_not_the_apis_says_what_stands_where() {
    let set = |field: &'static str, value: Value| Fault::changed(move |answer| answer[field] = value.clone());
    let (fake, client) = pair();
    for (fault, words) in [
        (Fault::truncated(), "asked to read the VPG, the API answers what it should not: line 1"),
        (Fault::text(200, ""), "not JSON: EOF"),
        (Fault::text(200, " <!DOCTYPE html><title>Welcome to the hotel</title>"), "a web page"),
        (Fault::text(200, "[]"), "found a list where a VPG's object stands"),
        (set("gateOpened", json!("yes")), "gateOpened should be true or false; found a string"),
        (set("gateVxlanId", json!(-1)), "gateVxlanId should be a number from 0 to 16777215; found -1"),
        (set("status", json!(null)), "status should be a string; found null"),
    ] {
        fake.fault(Call::Vpg, 1, fault.clone());
        let error = client.vpg(&vpg()).expect_err(words);
        assert!(error.to_string().contains(words), "{fault:?}: {error}");
        assert!(error.hint().is_some());
    }
    let first =
        |field: &'static str, value: Value| Fault::changed(move |list| list[0][field] = value.clone());
    for (fault, words) in [
        (Fault::truncated(), "asked to list the Gate peers, the API answers what it should not: line 1"),
        (first("outerIpAddress", json!(7)), "entry 1: outerIpAddress should be an IP address"),
        (first("netmask", json!("255.0.255.0")), "entry 1: netmask"),
    ] {
        fake.fault(Call::Peers, 1, fault.clone());
        let error = client.peers(&vpg()).expect_err(words).to_string();
        assert!(error.contains(words), "{fault:?}: {error}");
    }
    fake.fault(Call::Peers, 1, first("netmask", json!(null)));
    assert_eq!(client.peers(&vpg()).unwrap()[0].netmask, None);
    fake.fault(Call::Peers, 1, Fault::changed(|list| list[0]["later"] = json!({ "deep": [1] })));
    assert_eq!(client.peers(&vpg()).unwrap().len(), 2);
    assert_eq!(fake.count(Call::Auth), 1);
}

#[test]
fn a_log_in_that_gives_no_token_says_so() {
    for fault in [
        Fault::text(200, "{}"),
        Fault::changed(|answer| answer["token"] = json!(["token-in-a-list"])),
        Fault::changed(|answer| answer["token"] = json!("token\r\nX-Evil: 1")),
        Fault::changed(|answer| answer["apiKey"] = json!("")),
    ] {
        let (fake, client) = pair();
        fake.fault(Call::Auth, 1, fault);
        let error = client.vpg(&vpg()).unwrap_err().to_string();
        assert!(error.starts_with("asked to log in, the API answers what it should not"), "{error}");
        assert!(!error.contains("token-in-a-list") && !error.contains("X-Evil"), "{error}");
        assert_eq!(fake.count(Call::Vpg), 0);
    }
}

#[test]
fn a_server_that_is_gone_is_refused_by_name_and_found_again() {
    // No other test takes a port of this address while the server is gone.
    let fake = FakeGate::start_on("127.0.0.77:0".parse().unwrap()).unwrap();
    let client = Client::new(config(&fake));
    fake.go_down();
    let error = client.vpg(&vpg()).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: connection refused", fake.address()));
    fake.come_up().unwrap();
    client.vpg(&vpg()).unwrap();
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let (fake, _) = pair();
    let patience = Patience { per_attempt: Duration::from_millis(200), waits: Vec::new(), ..impatient() };
    let client = Client::new(ClientConfig { patience, ..config(&fake) });
    fake.fault(Call::Auth, 1, Fault::silent());
    let error = client.vpg(&vpg()).unwrap_err();
    assert!(matches!(error, ApiError::Timeout { stage: Stage::Answer, .. }), "{error:?}");
    assert!(error.to_string().ends_with("no whole answer within 0.2 s"), "{error}");
}

#[test]
fn a_name_without_an_address_is_said_to_be_one() {
    let client = client_of("https://api.soracom.invalid/v1");
    let error = client.vpg(&vpg()).unwrap_err();
    // Where no resolver answers, that is what is said.
    assert!(
        matches!(error, ApiError::Dns { .. } | ApiError::Timeout { stage: Stage::Resolve, .. }),
        "{error:?}"
    );
    assert!(error.to_string().starts_with("api.soracom.invalid: the name"), "{error}");
}

#[test]
fn a_cancelled_client_ends_its_call_at_once_and_begins_no_other() {
    // In flight, and between two attempts.
    for (fault, patience) in [
        (Fault::silent(), Patience::default()),
        (
            Fault::status(503),
            Patience {
                waits: vec![Duration::from_secs(3600)],
                total: Duration::from_secs(7200),
                ..impatient()
            },
        ),
    ] {
        let (fake, _) = pair();
        fake.fault(Call::Vpg, 1, fault);
        let client = Arc::new(Client::new(ClientConfig { patience, ..config(&fake) }));
        let caller = {
            let client = Arc::clone(&client);
            thread::spawn(move || client.vpg(&vpg()))
        };
        let begun = now();
        while fake.count(Call::Vpg) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "the call does not arrive");
            thread::yield_now();
        }
        let begun = now();
        client.cancellation().cancel();
        assert_eq!(caller.join().unwrap(), Err(ApiError::Cancelled));
        // Far from the ends that either would come to by itself, and with time for a busy machine.
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert_eq!(client.peers(&vpg()), Err(ApiError::Cancelled));
        assert_eq!(fake.count(Call::Peers), 0);
    }
}

#[test]
fn the_connection_of_a_cancelled_call_ends() {
    let (arrived, arrival) = mpsc::channel();
    let (ended, end) = mpsc::channel();
    let address = serve(move |mut stream| {
        read_request(&mut stream);
        arrived.send(()).expect("the test listens");
        // Nothing is answered; the other side has nothing more to say than that it ends.
        let _ = ended.send(std::io::Read::read(&mut stream, &mut [0]).unwrap_or(0));
    });
    let client = Arc::new(client_of(&format!("http://{address}")));
    let caller = {
        let client = Arc::clone(&client);
        thread::spawn(move || client.vpg(&vpg()))
    };
    arrival.recv_timeout(Duration::from_secs(5)).expect("the call arrives");
    client.cancellation().cancel();
    assert_eq!(caller.join().unwrap(), Err(ApiError::Cancelled));
    assert_eq!(end.recv_timeout(Duration::from_secs(3)), Ok(0), "before its own time-out of five seconds");
}

#[test]
fn threads_that_meet_a_stale_token_log_in_once() {
    let (fake, client) = pair();
    client.vpg(&vpg()).unwrap();
    fake.with(|gate| gate.expire_tokens());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| client.vpg(&vpg()).unwrap());
        }
    });
    assert_eq!(fake.count(Call::Auth), 2);
}

#[test]
fn credentials_do_not_follow_a_redirect() {
    let (fake, client) = pair();
    let other = serve(|_| panic!("nobody may come here"));
    for status in [301, 302, 303, 307, 308] {
        fake.fault(Call::Vpg, 1, Fault::redirect(status, &format!("http://{other}/v1?token=abc")));
        let error = client.vpg(&vpg()).unwrap_err().to_string();
        let place = fake.address();
        assert_eq!(
            error,
            format!("{place} sends us to http://127.0.0.1 ({status}), and credentials do not follow")
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "a test measures")]
fn now() -> Instant {
    Instant::now()
}
