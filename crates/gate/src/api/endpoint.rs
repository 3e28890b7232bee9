//! Where the API is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;
use ureq::http::Uri;

/// Which of the two coverages of SORACOM a VPG belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coverage {
    /// Japan, the default of the vendor's command.
    #[default]
    Japan,
    /// Global.
    Global,
}

impl Coverage {
    /// `jp` or `g`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Coverage::Japan => "jp",
            Coverage::Global => "g",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Coverage {
        match self {
            Coverage::Japan => Coverage::Global,
            Coverage::Global => Coverage::Japan,
        }
    }
}

impl FromStr for Coverage {
    type Err = InvalidCoverage;

    fn from_str(text: &str) -> Result<Coverage, InvalidCoverage> {
        match text {
            "jp" => Ok(Coverage::Japan),
            "g" => Ok(Coverage::Global),
            _ => Err(InvalidCoverage),
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no coverage.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a coverage is jp or g")]
pub struct InvalidCoverage;

/// The API's address: a URL without its last `/`, to which paths are appended.
///
/// `https` everywhere; `http` on loopback addresses and `localhost`, where nobody listens in on the credentials, and
/// elsewhere only by [`Endpoint::parse_plain`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    base: String,
    host: String,
    port: u16,
    secure: bool,
}

impl Endpoint {
    /// The public API of a coverage, or its sandbox.
    #[must_use]
    pub fn of(coverage: Coverage, sandbox: bool) -> Endpoint {
        let host = match (coverage, sandbox) {
            (Coverage::Japan, false) => "api.soracom.io",
            (Coverage::Global, false) => "g.api.soracom.io",
            (Coverage::Japan, true) => "api-sandbox.soracom.io",
            (Coverage::Global, true) => "g.api-sandbox.soracom.io",
        };
        Endpoint { base: format!("https://{host}/v1"), host: host.to_owned(), port: 443, secure: true }
    }

    /// Reads a URL as [`FromStr`] does, and takes plain `http` to any host, where whoever carries the datagrams reads the
    /// credentials: for a test's network.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL.
    pub fn parse_plain(text: &str) -> Result<Endpoint, InvalidEndpoint> {
        // Userinfo, query and fragment are looked for by hand: the last is dropped by the parser.
        if text.contains('@') {
            return Err(InvalidEndpoint::Credentials);
        }
        if text.contains(['?', '#']) {
            return Err(InvalidEndpoint::Query);
        }
        let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| InvalidEndpoint::NoUrl)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(InvalidEndpoint::NoUrl),
        };
        let authority = uri.authority().ok_or(InvalidEndpoint::NoUrl)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        // What follows the host must be a port: the parser takes `host:` and `host:99999` for a host.
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => {
                port.parse().ok().filter(|port| *port != 0).ok_or(InvalidEndpoint::NoUrl)?
            }
            Some(_) | None if secure => 443,
            Some(_) | None => 80,
        };
        if host.is_empty() {
            return Err(InvalidEndpoint::NoUrl);
        }
        let scheme = if secure { "https" } else { "http" };
        let path = uri.path().trim_end_matches('/');
        Ok(Endpoint { base: format!("{scheme}://{authority}{path}"), host, port, secure })
    }

    /// The host's name or address, in lower case and without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, from 1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is `https`.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether it is this machine by its name or address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// The URL of this path, which begins with `/`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Endpoint, InvalidEndpoint> {
        let endpoint = Endpoint::parse_plain(text)?;
        if endpoint.secure || endpoint.is_loopback() { Ok(endpoint) } else { Err(InvalidEndpoint::Plain) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.base)
    }
}

/// Why a text is no address of an API. None of these quotes the text, which may hold a password.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidEndpoint {
    /// No URL of `https` or `http`.
    #[error("an endpoint is a URL, as in https://api.soracom.io/v1")]
    NoUrl,
    /// `user:password@`.
    #[error("an endpoint holds no user or password")]
    Credentials,
    /// `?` or `#`.
    #[error("an endpoint has no query and no fragment")]
    Query,
    /// `http` to another machine.
    #[error(
        "plain http would show the credentials to everybody on the way: https is needed, except to this machine itself"
    )]
    Plain,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_endpoints_are_those_of_the_vendor() {
        for (coverage, sandbox, url) in [
            (Coverage::Japan, false, "https://api.soracom.io/v1"),
            (Coverage::Global, false, "https://g.api.soracom.io/v1"),
            (Coverage::Japan, true, "https://api-sandbox.soracom.io/v1"),
            (Coverage::Global, true, "https://g.api-sandbox.soracom.io/v1"),
        ] {
            let endpoint = Endpoint::of(coverage, sandbox);
            assert_eq!(endpoint.to_string(), url);
            assert_eq!(url.parse(), Ok(endpoint));
        }
    }

    #[test]
    fn a_url_is_an_endpoint_where_nobody_listens_in() {
        for (text, base, host, port) in [
            ("https://api.test/v1/", "https://api.test/v1", "api.test", 443),
            ("https://API.test:8443", "https://API.test:8443", "api.test", 8443),
            ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1", "127.0.0.1", 8080),
            ("http://[::1]:9/", "http://[::1]:9", "::1", 9),
            ("http://localhost", "http://localhost", "localhost", 80),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!((endpoint.to_string().as_str(), endpoint.host(), endpoint.port()), (base, host, port));
        }
        for (text, why) in [
            ("", InvalidEndpoint::NoUrl),
            ("api.soracom.io", InvalidEndpoint::NoUrl),
            ("ftp://api.test", InvalidEndpoint::NoUrl),
            ("https://", InvalidEndpoint::NoUrl),
            ("https://api.test:", InvalidEndpoint::NoUrl),
            ("https://api.test:0", InvalidEndpoint::NoUrl),
            ("https://api.test:70000", InvalidEndpoint::NoUrl),
            ("https://user:password@api.test", InvalidEndpoint::Credentials),
            ("https://api.test/?a", InvalidEndpoint::Query),
            ("https://api.test/#a", InvalidEndpoint::Query),
            ("http://api.test", InvalidEndpoint::Plain),
            ("http://127.0.0.1.api.test", InvalidEndpoint::Plain),
            ("http://172.21.0.9", InvalidEndpoint::Plain),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(why), "{text}");
        }
        assert!(Endpoint::parse_plain("http://172.21.0.9:80/v1").is_ok());
    }
}
