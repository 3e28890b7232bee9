//! What the tests have in common.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use vxgate_fake_gate::{FakeGate, VPG_ID};
use vxgate_gate::api::{ApiError, Client, ClientConfig, Credentials, Patience, RetryNotice, VpgId};

/// The VPG of a new fake.
pub(crate) fn vpg() -> VpgId {
    VPG_ID.parse().expect("the fake's identifier")
}

/// Two more attempts, at once; five seconds for an answer.
pub(crate) fn impatient() -> Patience {
    Patience {
        waits: vec![Duration::from_millis(1); 2],
        per_attempt: Duration::from_secs(5),
        connect: Duration::from_secs(5),
        ..Patience::default()
    }
}

/// The fake's key.
pub(crate) fn key(fake: &FakeGate) -> Credentials {
    let account = fake.account();
    Credentials::key(account.auth_key_id.into(), account.auth_key.into(), "the test's key")
}

/// What a client of this fake needs.
pub(crate) fn config(fake: &FakeGate) -> ClientConfig {
    let endpoint = fake.endpoint().parse().expect("a loopback endpoint");
    ClientConfig { patience: impatient(), ..ClientConfig::new(endpoint, key(fake)) }
}

/// A fake and a client of it.
pub(crate) fn pair() -> (FakeGate, Client) {
    let fake = FakeGate::start().expect("a server on loopback");
    let client = Client::new(config(&fake));
    (fake, client)
}

/// Every failed attempt that a client tells of.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<(ApiError, Duration)>>>);

impl Told {
    pub(crate) fn notice(&self) -> RetryNotice {
        let told = self.clone();
        RetryNotice::new(move |error, wait| {
            told.0.lock().expect("no panic before").push((error.clone(), wait))
        })
    }

    pub(crate) fn all(&self) -> Vec<(ApiError, Duration)> {
        self.0.lock().expect("no panic before").clone()
    }
}

/// A server that does `talk` with each connection, and ends with the process.
pub(crate) fn serve(talk: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
    let address = listener.local_addr().expect("its address");
    let talk = Arc::new(talk);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let talk = Arc::clone(&talk);
            thread::spawn(move || talk(stream));
        }
    });
    address
}

/// Reads a request, head and body.
pub(crate) fn read_request(stream: &mut impl std::io::Read) -> String {
    let (mut head, mut octet) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut octet).is_ok() {
        head.push(octet[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = String::new();
    let _ = stream.take(length.unwrap_or(0)).read_to_string(&mut body);
    head + &body
}

/// An answer of JSON after which the connection ends.
pub(crate) fn answer(stream: &mut impl std::io::Write, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    );
    let _ = stream.flush();
}

/// A client of this endpoint with a ready token, so that its first request is the call itself.
pub(crate) fn client_of(endpoint: &str) -> Client {
    let credentials =
        Credentials::token("api-key-of-the-test".into(), "token-of-the-test".into(), "the test's token");
    let endpoint = endpoint.parse().expect("an endpoint");
    Client::new(ClientConfig { patience: impatient(), ..ClientConfig::new(endpoint, credentials) })
}

/// Answers whatever is asked with these octets.
pub(crate) fn serve_octets(octets: Vec<u8>) -> SocketAddr {
    serve(move |mut stream| {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        read_request(&mut stream);
        let _ = stream.write_all(&octets);
    })
}
