//! No secret leaves but in a request to the endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::json;
use vxgate_gate::api::{ApiError, Client, ClientConfig, Credentials};

use crate::support::{Told, answer, impatient, read_request, serve, vpg};

const API_KEY: &str = "api-issued-key";
const TOKEN: &str = "issued-token";

/// What the quoting server does with a log-in, beside refusing it with this status.
const LET_IN: u16 = 200;

/// A server that quotes each request, headers, body and all, in its answer of this status: as `code` and `message`, and
/// where it is a success as a VPG's fields.
fn quoting_server(of_auth: Arc<AtomicU16>, of_calls: Arc<AtomicU16>) -> SocketAddr {
    serve(move |mut stream| {
        let request = read_request(&mut stream);
        let is_auth = request.starts_with("POST /auth");
        let status = if is_auth { &of_auth } else { &of_calls }.load(Ordering::Relaxed);
        let body = if is_auth && status == LET_IN {
            json!({ "apiKey": API_KEY, "token": TOKEN })
        } else {
            json!({ "code": request, "message": request, "vpgId": request, "status": request, "gateOpened": true,
                    "vpgSubnetCidrRange": if status == 203 { None } else { Some(&request) } })
        };
        let location = "Location: https://elsewhere.test/?token=issued-token\r\n";
        answer(&mut stream, &format!("{status} Quoted"), location, &body.to_string());
    })
}

/// Each way to log in, with its secrets.
fn ways() -> Vec<(Credentials, Vec<&'static str>)> {
    let key = Credentials::key("keyId-of-test".into(), "secret-\"of\"-test".into(), "the test's key");
    let email =
        Credentials::email("a@b.test".into(), "pass\\word".into(), Some("554433".into()), "the e-mail");
    let user = Credentials::user("OP00017".into(), "gatekeeper".into(), "passw0rd".into(), None, "the user");
    let token = Credentials::token("api-given-key".into(), "given-token".into(), "the token");
    vec![
        (key, vec!["keyId-of-test", "secret-", "-test"]),
        (email, vec!["a@b.test", "pass\\", "554433"]),
        (user, vec!["OP00017", "gatekeeper", "passw0rd"]),
        (token, vec!["api-given-key", "given-token"]),
    ]
}

#[test]
fn no_text_that_anybody_could_print_holds_a_secret_even_where_the_server_quotes_it() {
    for (credentials, secrets) in ways() {
        let of_auth = Arc::new(AtomicU16::new(LET_IN));
        let of_calls = Arc::new(AtomicU16::new(200));
        let address = quoting_server(Arc::clone(&of_auth), Arc::clone(&of_calls));
        let told = Told::default();
        let endpoint = format!("http://{address}").parse().unwrap();
        let client = Client::new(ClientConfig {
            patience: impatient(),
            on_retry: Some(told.notice()),
            ..ClientConfig::new(endpoint, credentials)
        });
        let mut errors: Vec<ApiError> = Vec::new();
        if client.config().credentials.can_log_in() {
            for status in [400, 401, 403, 404, 429, 500, 302] {
                of_auth.store(status, Ordering::Relaxed);
                errors.push(client.vpg(&vpg()).unwrap_err());
            }
            of_auth.store(LET_IN, Ordering::Relaxed);
        }
        for status in [200, 400, 401, 403, 404, 429, 500, 302] {
            of_calls.store(status, Ordering::Relaxed);
            errors.push(client.vpg(&vpg()).unwrap_err());
        }
        of_calls.store(203, Ordering::Relaxed);
        let vpg = client.vpg(&vpg()).expect("a VPG with strange fields");

        errors.extend(told.all().into_iter().map(|(error, _)| error));
        let texts = errors.iter().map(|error| format!("{error}\n{error:?}\n{:?}\n", error.hint()));
        let text: String = texts.chain([format!("{client:?}\n{:?}\n{vpg:?}", client.config())]).collect();
        assert!(text.contains("[hidden]") && text.contains("x-soracom-lang"), "the server quotes: {text}");
        for secret in secrets.iter().chain(&[API_KEY, TOKEN]) {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
