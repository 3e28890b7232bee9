//! TLS as it should be, and each way in which it is not.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, Stream};
use vxgate_gate::api::{ApiError, Client, ClientConfig, Credentials, Validity};

use crate::support::{answer, impatient, read_request, serve, vpg};

pub(crate) const VPG: &str = r#"{"vpgId": "a", "status": "running", "gateOpened": true}"#;

/// A certificate that signs itself, with its key.
pub(crate) struct Identity {
    pub(crate) pem: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    pub(crate) fn new(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2099, 1, 1);
        change(&mut params);
        let certificate = params.self_signed(&key).expect("a certificate");
        let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key in PKCS #8");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], der)
            .expect("key and certificate match");
        Identity { pem: certificate.pem(), config: Arc::new(config) }
    }

    /// What a server needs to be it.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// A server that answers a VPG to everybody whom its certificate convinces.
    pub(crate) fn serve(&self) -> SocketAddr {
        let config = Arc::clone(&self.config);
        serve(move |mut socket| {
            let mut connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = Stream::new(&mut connection, &mut socket);
            if read_request(&mut stream).starts_with("GET ") {
                answer(&mut stream, "200 OK", "", VPG);
                stream.conn.send_close_notify();
                let _ = stream.conn.complete_io(stream.sock);
            }
        })
    }

    pub(crate) fn file(&self) -> Scratch {
        Scratch::new(&self.pem)
    }
}

/// A file that goes with its test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(content: &str) -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vxgate-api-{}-{number}", std::process::id()));
        fs::write(&path, content).expect("a file for this test");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

pub(crate) fn config(endpoint: &str, ca_file: Option<&Scratch>) -> ClientConfig {
    let credentials = Credentials::token("api-key".into(), "token".into(), "the test's token");
    let endpoint = endpoint.parse().expect("an endpoint");
    let ca_file = ca_file.map(|file| file.0.clone());
    ClientConfig { patience: impatient(), ca_file, ..ClientConfig::new(endpoint, credentials) }
}

fn ask(address: SocketAddr, ca_file: Option<&Scratch>) -> Result<String, ApiError> {
    let client = Client::new(config(&format!("https://localhost:{}", address.port()), ca_file));
    client.vpg(&vpg()).map(|vpg| vpg.vpg_id)
}

#[test]
fn a_server_whose_authority_is_trusted_is_asked() {
    let identity = Identity::new("localhost", |_| {});
    assert_eq!(ask(identity.serve(), Some(&identity.file())), Ok("a".to_owned()));
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_asked() {
    let (identity, other) = (Identity::new("localhost", |_| {}), Identity::new("localhost", |_| {}));
    let address = identity.serve();
    let error = ask(address, None).unwrap_err();
    assert!(matches!(error, ApiError::Untrusted { ca_file: None, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("do not go on"), "{error:?}");
    let file = other.file();
    let error = ask(address, Some(&file)).unwrap_err();
    assert!(matches!(error, ApiError::Untrusted { ca_file: Some(_), .. }), "{error:?}");
    assert!(error.hint().unwrap().contains(&*file.0.to_string_lossy()), "{error:?}");
}

#[test]
fn a_certificate_for_another_name_says_for_which() {
    let identity = Identity::new("other.test", |_| {});
    let address = identity.serve();
    let error = ask(address, Some(&identity.file())).unwrap_err();
    assert!(matches!(error, ApiError::WrongName { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("localhost:{}: its certificate is for ", address.port())), "{text}");
    assert!(text.contains("other.test"), "{text}");
}

#[test]
fn a_certificate_out_of_its_time_says_what_this_hosts_clock_says() {
    let past = Identity::new("localhost", |params| params.not_after = date_time_ymd(2021, 1, 1));
    let error = ask(past.serve(), Some(&past.file())).unwrap_err();
    assert!(matches!(error, ApiError::Clock { validity: Validity::Expired { .. }, .. }), "{error:?}");
    assert!(
        error.to_string().contains("valid until 2021-01-01T00:00:00Z, and this host's clock says 20"),
        "{error}"
    );
    let future = Identity::new("localhost", |params| params.not_before = date_time_ymd(2098, 1, 1));
    let error = ask(future.serve(), Some(&future.file())).unwrap_err();
    assert!(matches!(error, ApiError::Clock { validity: Validity::NotYet { .. }, .. }), "{error:?}");
    assert!(error.to_string().contains("valid from 2098-01-01T00:00:00Z"), "{error}");
    assert!(error.hint().unwrap().contains("clock"), "{error:?}");
}

#[test]
fn a_server_without_tls_is_called_so() {
    let plain = serve(|mut stream| {
        let mut some = [0; 64];
        let _ = std::io::Read::read(&mut stream, &mut some);
        answer(&mut stream, "400 Bad Request", "", "{}");
    });
    let error = ask(plain, None).unwrap_err();
    assert_eq!(error, ApiError::NotTls { place: format!("localhost:{}", plain.port()) });
}

#[test]
fn a_file_that_holds_no_certificate_is_named() {
    let address = Identity::new("localhost", |_| {}).serve();
    let file = Scratch::new("nothing\n");
    let error = ask(address, Some(&file)).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: it holds no certificate", file.0.display()));
    let mut config = config(&format!("https://localhost:{}", address.port()), None);
    config.ca_file = Some("/nonexistent/ca.pem".into());
    let error = Client::new(config).vpg(&vpg()).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/ca.pem: No such file"), "{error}");
}
