//! The way through a proxy.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustls::{ServerConnection, Stream};
use vxgate_gate::api::{ApiError, Client, ClientConfig, Overrides, Stage};

use crate::support::{answer, impatient, read_request, serve, vpg};
use crate::tls::{Identity, Scratch};

/// A proxy that connects whoever asks to `target`, whatever name is asked for; each request's head comes out of the receiver.
fn proxy(target: SocketAddr) -> (SocketAddr, Receiver<String>) {
    let (heads, received) = mpsc::channel();
    let address = serve(move |mut client| {
        heads.send(read_request(&mut client)).expect("the test listens");
        let mut server = TcpStream::connect(target).expect("the target");
        io::Write::write_all(&mut client, b"HTTP/1.1 200 Connection established\r\n\r\n").expect("a client");
        let (mut from_client, mut to_server) =
            (client.try_clone().expect("a copy"), server.try_clone().expect("a copy"));
        thread::spawn(move || io::copy(&mut from_client, &mut to_server));
        let _ = io::copy(&mut server, &mut client);
    });
    (address, received)
}

/// The same, itself under TLS by this identity.
fn tls_proxy(identity: &Identity, target: SocketAddr) -> (SocketAddr, Receiver<String>) {
    let (heads, received) = mpsc::channel();
    let config = identity.server();
    let address = serve(move |mut socket| {
        let mut connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
        let mut client = Stream::new(&mut connection, &mut socket);
        heads.send(read_request(&mut client)).expect("the test listens");
        io::Write::write_all(&mut client, b"HTTP/1.1 200 OK\r\n\r\n").expect("a client");
        let mut server = TcpStream::connect(target).expect("the target");
        // One thread for both ways: each side is given a moment in turn.
        let moment = Some(Duration::from_millis(5));
        client
            .sock
            .set_read_timeout(moment)
            .and_then(|()| server.set_read_timeout(moment))
            .expect("time-outs");
        while pass(&mut client, &mut server) && pass(&mut server, &mut client) {}
    });
    (address, received)
}

/// Passes on what has come, and says whether more may.
fn pass(from: &mut impl io::Read, to: &mut impl io::Write) -> bool {
    let mut octets = [0; 16 * 1024];
    match from.read(&mut octets) {
        Ok(0) => false,
        Ok(length) => to.write_all(&octets[..length]).and_then(|()| to.flush()).is_ok(),
        Err(error) => [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()),
    }
}

/// A client by these variables and a ready token.
fn client(variables: &[(&str, String)], ca_file: &Scratch) -> Client {
    let mut variables: Vec<(&str, OsString)> =
        variables.iter().map(|(name, value)| (*name, value.into())).collect();
    variables.push(("SORACOM_API_KEY", "api-key".into()));
    variables.push(("SORACOM_TOKEN", "token".into()));
    variables.push(("SORACOM_ENDPOINT", "https://api.gate.invalid/v1".into()));
    variables.push(("VXGATE_CA_FILE", ca_file.0.clone().into()));
    let env = |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.clone());
    let config = ClientConfig::from_environment(&Overrides::default(), &env).expect("a configuration");
    Client::new(ClientConfig { patience: impatient(), ..config })
}

#[test]
fn a_name_that_only_the_proxy_knows_is_reached_through_it_under_tls() {
    let identity = Identity::new("api.gate.invalid", |_| {});
    let (address, heads) = proxy(identity.serve());
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let client = client(&[(variable, format!("http://user:pass%20word@{address}"))], &identity.file());
        assert_eq!(client.vpg(&vpg()).expect(variable).vpg_id, "a");
        let head = heads.recv().unwrap();
        assert!(head.starts_with("CONNECT api.gate.invalid:443 HTTP/1.1\r\n"), "{head}");
        // user:pass word
        assert!(head.contains("Proxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ=\r\n"), "{head}");
        assert!(
            !head.to_ascii_lowercase().contains("soracom"),
            "the proxy sees a name and no request: {head}"
        );
    }
}

#[test]
fn a_proxy_may_speak_tls_itself() {
    let (outer, inner) = (Identity::new("localhost", |_| {}), Identity::new("api.gate.invalid", |_| {}));
    let (address, heads) = tls_proxy(&outer, inner.serve());
    let both = Scratch::new(&(outer.pem.clone() + &inner.pem));
    let client = client(&[("HTTPS_PROXY", format!("https://localhost:{}", address.port()))], &both);
    assert_eq!(client.vpg(&vpg()).expect("through two layers of TLS").vpg_id, "a");
    assert!(heads.recv().unwrap().starts_with("CONNECT api.gate.invalid:443 "));
}

#[test]
fn an_exception_goes_around_the_proxy() {
    let identity = Identity::new("api.gate.invalid", |_| {});
    let (address, heads) = proxy(identity.serve());
    let around = client(
        &[
            ("HTTPS_PROXY", format!("http://{address}")),
            ("NO_PROXY", "example.test, .gate.invalid".to_owned()),
        ],
        &identity.file(),
    );
    let error = around.vpg(&vpg()).unwrap_err();
    assert!(
        matches!(error, ApiError::Dns { .. } | ApiError::Timeout { stage: Stage::Resolve, .. }),
        "{error:?}"
    );
    assert!(heads.try_recv().is_err());
}

#[test]
fn a_proxy_that_refuses_is_the_one_that_is_named() {
    let file = Identity::new("api.gate.invalid", |_| {}).file();
    let refusing = |status: &'static str| {
        serve(move |mut stream| {
            read_request(&mut stream);
            answer(&mut stream, status, "", "");
        })
    };
    let address = refusing("407 Proxy Authentication Required");
    let through = |address| client(&[("HTTPS_PROXY", format!("http://user:swordfish@{address}"))], &file);
    let error = through(address).vpg(&vpg()).unwrap_err();
    assert_eq!(error.to_string(), format!("the proxy http://{address}: it wants a user and password (407)"));
    assert!(error.hint().unwrap().contains("HTTPS_PROXY"));
    let error = through(refusing("502 Bad Gateway")).vpg(&vpg()).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("502"), "{error:?}");
    assert!(!error.to_string().contains("swordfish"), "{error}");
    // A port that was just given back, of an address that no other test uses.
    let gone = std::net::TcpListener::bind("127.0.0.78:0").unwrap().local_addr().unwrap();
    let error = through(gone).vpg(&vpg()).unwrap_err();
    assert_eq!(error.to_string(), format!("the proxy http://{gone}: connection refused"));
}
