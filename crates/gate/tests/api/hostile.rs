//! Servers that speak no API at all.

use proptest::prelude::*;
use vxgate_gate::api::ApiError;

use crate::support::{client_of, serve, serve_octets, vpg};

/// The error of a call to a server that answers these octets.
fn error_of(octets: &[u8]) -> ApiError {
    client_of(&format!("http://{}", serve_octets(octets.to_vec()))).vpg(&vpg()).expect_err("no VPG")
}

#[test]
fn what_is_no_http_is_called_so() {
    for octets in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"220 mail.test ESMTP\r\n", b"\x00\x01\x02\x03\r\n\r\n"] {
        let error = error_of(octets);
        assert!(matches!(error, ApiError::NotHttp { .. } | ApiError::Network { .. }), "{error:?}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let mut octets = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\"".to_vec();
    octets.resize(octets.len() + 1_200_000, b'a');
    assert_eq!(error_of(&octets), ApiError::TooLong { does: "read the VPG", limit: 1024 * 1024 });
    let mut octets = b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec();
    octets.resize(octets.len() + 1_200_000, b'a');
    let error = error_of(&octets);
    assert!(!matches!(error, ApiError::TooLong { .. }), "{error:?}");
}

#[test]
fn what_a_server_says_is_shown_on_one_line_and_cut() {
    let message = format!("\u{1b}[31mred\r\nvxgate: all is well {}", "x".repeat(1000));
    let body = serde_json::json!({ "code": "A", "message": message }).to_string();
    let address = serve(move |mut stream| {
        crate::support::read_request(&mut stream);
        crate::support::answer(&mut stream, "400 Bad Request", "", &body);
    });
    let text = client_of(&format!("http://{address}")).vpg(&vpg()).unwrap_err().to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.contains("[31mred  vxgate: all is well") && text.chars().count() < 400, "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_octets_in_place_of_an_answer_make_it_panic(octets: Vec<u8>) {
        let error = error_of(&octets);
        prop_assert!(!error.to_string().is_empty());
        let _ = error.hint();
    }

    #[test]
    fn no_octets_in_an_answer_make_it_panic(
        status in prop::sample::select(vec!["200 OK", "204 No Content", "302 Found", "400 Bad", "429 Slow", "503 Down", "999 ?"]),
        retry_after in "\\PC{0,30}",
        body: Vec<u8>,
    ) {
        let mut octets = format!("HTTP/1.1 {status}\r\nRetry-After: {retry_after}\r\nConnection: close\r\n\r\n").into_bytes();
        octets.extend(body);
        let error = error_of(&octets);
        prop_assert!(!error.to_string().is_empty());
        let _ = error.hint();
    }
}
