//! One request and its answer, and what each way to fail is called.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustls::CertificateError;
use ureq::http::{self, HeaderValue, Method, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy, Timeout};
use zeroize::Zeroizing;

use super::date::Utc;
use super::error::{ApiError, Stage, Validity};
use super::secret::Secret;
use super::settings::ClientConfig;

/// Longest answer, in octets: a VPG with ten thousand routed SIMs is below it.
pub(crate) const MAX_ANSWER_OCTETS: u64 = 1024 * 1024;

/// How long an idle connection is kept for the next call: long enough for the calls of one set-up, shorter than any
/// server's own bound, so that a call does not meet a closed one.
const MAX_IDLE: Duration = Duration::from_secs(5);

/// A request as it goes out. It owns its secrets: the thread that sends it may outlive its caller.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: String,
    /// `X-Soracom-API-Key` and `X-Soracom-Token`.
    pub(crate) session: Option<(Secret, Secret)>,
    pub(crate) json: Option<Zeroizing<Vec<u8>>>,
}

/// An answer of any status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) date: Option<Utc>,
    pub(crate) retry_after: Option<RetryAfter>,
    /// Scheme and host of `Location`.
    pub(crate) location: Option<String>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// The two forms of `Retry-After` (RFC 9110 section 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryAfter {
    Seconds(u64),
    At(Utc),
}

impl RetryAfter {
    fn parse(text: &str) -> Option<RetryAfter> {
        let text = text.trim();
        if !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit()) {
            // More digits than a number holds are for ever.
            return Some(RetryAfter::Seconds(text.parse().unwrap_or(u64::MAX)));
        }
        Utc::parse_http(text).map(RetryAfter::At)
    }

    /// How long that is from now on.
    pub(crate) fn wait_at(self, now: Utc) -> Duration {
        Duration::from_secs(match self {
            RetryAfter::Seconds(seconds) => seconds,
            RetryAfter::At(then) => then.seconds().saturating_sub(now.seconds()),
        })
    }
}

/// The agent for this configuration. It follows no redirect and reads no environment.
pub(crate) fn agent(config: &ClientConfig) -> Result<Agent, ApiError> {
    let roots = match &config.ca_file {
        None => RootCerts::WebPki,
        Some(path) => certificates(path)?.into(),
    };
    let proxy = match &config.proxy {
        None => None,
        // It was parsed before, by stricter rules.
        Some(proxy) => Some(Proxy::new(proxy.expose()).map_err(|_| ApiError::Proxy {
            place: proxy.to_string(),
            why: "it is no proxy that can be used".to_owned(),
        })?),
    };
    let patience = &config.patience;
    Ok(Agent::config_builder()
        .http_status_as_error(false)
        .https_only(config.endpoint.is_secure())
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(proxy)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .user_agent(concat!("vxgate/", env!("CARGO_PKG_VERSION")))
        .accept("application/json")
        .timeout_global(Some(patience.per_attempt))
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .max_idle_age(MAX_IDLE)
        .build()
        .new_agent())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, ApiError> {
    let fault = |why: String| ApiError::CaFile { path: path.to_owned(), why };
    let pem = fs::read(path).map_err(|error| fault(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(fault("it is no PEM".to_owned())),
        }
    }
    if certificates.is_empty() { Err(fault("it holds no certificate".to_owned())) } else { Ok(certificates) }
}

/// Sends the request and reads the answer whole.
pub(crate) fn send(agent: &Agent, request: Request) -> Result<Answer, ureq::Error> {
    let mut http = http::Request::builder()
        .method(request.method.clone())
        .uri(request.url)
        .header("X-Soracom-Lang", "en");
    if let Some((api_key, token)) = &request.session {
        for (name, secret) in [("X-Soracom-API-Key", api_key), ("X-Soracom-Token", token)] {
            let mut value = HeaderValue::from_str(secret.expose()).map_err(http::Error::from)?;
            value.set_sensitive(true);
            http = http.header(name, value);
        }
    }
    let response = match &request.json {
        Some(json) => {
            let http = http.header("Content-Type", "application/json");
            agent.run(http.body(json.as_slice())?)
        }
        None if request.method == Method::POST => agent.run(http.body(&[][..])?),
        None => agent.run(http.body(())?),
    }?;
    let (parts, body) = response.into_parts();
    let header = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let body = match body.into_with_config().limit(MAX_ANSWER_OCTETS).read_to_vec() {
        Ok(body) => body,
        // Of a refusal the status is enough.
        Err(_) if !parts.status.is_success() => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(Answer {
        status: parts.status.as_u16(),
        date: header("Date").and_then(Utc::parse_http),
        retry_after: header("Retry-After").and_then(RetryAfter::parse),
        location: header("Location").map(place_of_location),
        body: Zeroizing::new(body),
    })
}

/// Scheme and host of a `Location`, without whatever secrets stand in its path.
fn place_of_location(location: &str) -> String {
    let uri: Option<Uri> = location.parse().ok();
    let place = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?)));
    place.map_or_else(|| "another path".to_owned(), |(scheme, host)| format!("{scheme}://{host}"))
}

/// What the library's error is to the user. `clock` is this host's.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enum may grow")]
pub(crate) fn classify(
    error: ureq::Error,
    does: &'static str,
    config: &ClientConfig,
    clock: Utc,
) -> ApiError {
    use ureq::Error as E;
    let endpoint = &config.endpoint;
    let target = format!("{}:{}", endpoint.host(), endpoint.port());
    // Names are resolved and connections made to the first hop.
    let (first_hop, place) = match &config.proxy {
        None => (target.clone(), target.clone()),
        Some(proxy) => (format!("the proxy {proxy}"), format!("{target} through the proxy {proxy}")),
    };
    let host = if config.proxy.is_some() { first_hop.clone() } else { endpoint.host().to_owned() };
    let patience = &config.patience;
    match error {
        E::Timeout(Timeout::Resolve) => {
            ApiError::Timeout { place: host, stage: Stage::Resolve, after: patience.connect }
        }
        E::Timeout(Timeout::Connect) => {
            ApiError::Timeout { place, stage: Stage::Connect, after: patience.connect }
        }
        E::Timeout(_) => ApiError::Timeout { place, stage: Stage::Answer, after: patience.per_attempt },
        E::HostNotFound => ApiError::Dns { host, why: "it has no address".to_owned() },
        E::Io(error) => of_io(&error, host, first_hop, place, config, clock),
        E::Rustls(error) => of_tls(&error, place, config, clock),
        E::Tls(why) => ApiError::Tls { place, why: why.to_owned() },
        E::ConnectProxyFailed(why) if why.contains("407/") => {
            ApiError::Proxy { place: first_hop, why: "it wants a user and password (407)".to_owned() }
        }
        E::ConnectProxyFailed(why) => ApiError::Network { place, why },
        E::BodyExceedsLimit(limit) => ApiError::TooLong { does, limit },
        E::Protocol(error) => ApiError::NotHttp { place, why: error.to_string() },
        E::Http(error) => ApiError::NotHttp { place, why: error.to_string() },
        E::LargeResponseHeader(..) => ApiError::NotHttp { place, why: "its headers have no end".to_owned() },
        other => ApiError::Network { place, why: other.to_string() },
    }
}

fn of_io(
    error: &io::Error,
    host: String,
    first_hop: String,
    place: String,
    config: &ClientConfig,
    clock: Utc,
) -> ApiError {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return of_tls(tls, place, config, clock);
    }
    // The standard library gives the resolver's errors no kind of their own.
    let text = error.to_string();
    if let Some(why) = text.strip_prefix("failed to lookup address information: ") {
        return ApiError::Dns { host, why: why.to_owned() };
    }
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return ApiError::ConnectionRefused { place: first_hop };
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return ApiError::Network { place, why: "the connection ended before the answer did".to_owned() };
    }
    ApiError::Network { place, why: text }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enums may grow")]
fn of_tls(error: &rustls::Error, place: String, config: &ClientConfig, clock: Utc) -> ApiError {
    let expired = |at| Validity::Expired { at };
    let not_yet = |from| Validity::NotYet { from };
    let out_of_time = |place, validity| ApiError::Clock { place, validity, clock, skew: None };
    match error {
        // A record that is none: plain text, as a rule.
        rustls::Error::InvalidMessage(_) => ApiError::NotTls { place },
        rustls::Error::InvalidCertificate(fault) => match fault {
            CertificateError::Expired => out_of_time(place, expired(None)),
            CertificateError::ExpiredContext { not_after, .. } => {
                out_of_time(place, expired(Some(Utc::from_seconds(not_after.as_secs()))))
            }
            CertificateError::NotValidYet => out_of_time(place, not_yet(None)),
            CertificateError::NotValidYetContext { not_before, .. } => {
                out_of_time(place, not_yet(Some(Utc::from_seconds(not_before.as_secs()))))
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                ApiError::Untrusted { place, ca_file: config.ca_file.clone() }
            }
            CertificateError::NotValidForName => {
                ApiError::WrongName { place, presented: "another name".to_owned() }
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                let presented =
                    if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
                ApiError::WrongName { place, presented }
            }
            other => ApiError::Tls { place, why: format!("its certificate: {other}") },
        },
        other => ApiError::Tls { place, why: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let at = Utc::from_seconds(784_111_777);
        assert_eq!(RetryAfter::parse(" 120 "), Some(RetryAfter::Seconds(120)));
        assert_eq!(RetryAfter::parse("99999999999999999999999"), Some(RetryAfter::Seconds(u64::MAX)));
        assert_eq!(RetryAfter::parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(RetryAfter::At(at)));
        for text in ["", "-1", "1.5", "soon"] {
            assert_eq!(RetryAfter::parse(text), None, "{text}");
        }
        let now = Utc::from_seconds(784_111_770);
        assert_eq!(RetryAfter::At(at).wait_at(now), Duration::from_secs(7));
        assert_eq!(RetryAfter::At(now).wait_at(at), Duration::ZERO);
    }

    #[test]
    fn a_location_shows_its_host_only() {
        assert_eq!(place_of_location("https://evil.test/a?token=b"), "https://evil.test");
        assert_eq!(place_of_location("https://u:p@evil.test:1/"), "https://evil.test");
        assert_eq!(place_of_location("/login?token=b"), "another path");
    }
}
