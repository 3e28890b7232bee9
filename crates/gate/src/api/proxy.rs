//! The proxy that leads to the API, by the variables that other programs obey.
//!
//! `HTTPS_PROXY` (for a plain endpoint `http_proxy`), else `ALL_PROXY`, in capitals or not; the capitals win. `NO_PROXY` lists
//! what is asked directly: names, which stand for what is below them too, addresses, networks, `*`, each with or without
//! a port. This machine itself is always asked directly. A proxy sees names and ports, never a request: it is asked to
//! CONNECT, also for a plain endpoint.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;
use ureq::http::Uri;

use super::endpoint::Endpoint;
use super::secret::Secret;

/// An HTTP proxy's URL. It may hold a password: it shows itself without.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    url: Secret,
    password: Option<Secret>,
    shown: String,
    host: String,
    port: u16,
}

impl ProxyUrl {
    /// Reads `http://[USER:PASSWORD@]HOST[:PORT]`, or the same with `https` for a proxy that speaks TLS itself; `http://` may
    /// be left out.
    ///
    /// # Errors
    ///
    /// Where it is no such URL.
    pub fn parse(text: &str) -> Result<ProxyUrl, InvalidProxy> {
        let text = text.trim();
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = full.parse().map_err(|_| InvalidProxy::NoUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(InvalidProxy::NoUrl);
        };
        match scheme {
            "http" | "https" => {}
            "socks" | "socks4" | "socks4a" | "socks5" | "socks5h" => return Err(InvalidProxy::Socks),
            _ => return Err(InvalidProxy::NoUrl),
        }
        let (user, place) = match authority.as_str().rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority.as_str()),
        };
        if place.is_empty() || authority.host().is_empty() {
            return Err(InvalidProxy::NoUrl);
        }
        let password = user.and_then(|user| user.split_once(':')).map(|(_, password)| Secret::from(password));
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        Ok(ProxyUrl { shown: format!("{scheme}://{place}"), host, port, url: full.into(), password })
    }

    /// The proxy that these variables name for this endpoint, if any.
    ///
    /// # Errors
    ///
    /// The variable whose value is no proxy.
    pub(crate) fn from_environment(
        endpoint: &Endpoint,
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Option<ProxyUrl>, (&'static str, InvalidProxy)> {
        // HTTP_PROXY in capitals is left alone, as elsewhere: a CGI's client can set it.
        let names: &[&str] = if endpoint.is_secure() {
            &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        } else {
            &["http_proxy", "ALL_PROXY", "all_proxy"]
        };
        let set =
            |name: &&'static str| env(name).filter(|value| !value.is_empty()).map(|value| (*name, value));
        let Some((name, value)) = names.iter().find_map(set) else { return Ok(None) };
        let value = value.to_str().ok_or((name, InvalidProxy::NoUrl))?;
        let exceptions = ["NO_PROXY", "no_proxy"].iter().find_map(set).map(|(_, value)| value);
        let exceptions = exceptions.as_deref().and_then(|value| value.to_str()).unwrap_or_default();
        if endpoint.is_loopback() || is_exception(exceptions, endpoint.host(), endpoint.port()) {
            return Ok(None);
        }
        ProxyUrl::parse(value).map(Some).map_err(|error| (name, error))
    }

    /// The URL, password and all.
    pub(crate) fn expose(&self) -> &str {
        self.url.expose()
    }

    /// Its host, without brackets, and its port.
    pub(crate) fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The password, as it stands in the URL.
    pub(crate) fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shown)
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProxyUrl").field(&self.shown).finish()
    }
}

/// Why a text is no proxy. None of these quotes the text, which may hold a password.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidProxy {
    /// No URL of an HTTP proxy.
    #[error("a proxy is a URL, as in http://proxy.example:3128")]
    NoUrl,
    /// A SOCKS proxy.
    #[error("SOCKS proxies are not supported, only HTTP proxies with CONNECT")]
    Socks,
}

/// Whether `NO_PROXY` names this host.
fn is_exception(list: &str, host: &str, port: u16) -> bool {
    let ip: Option<IpAddr> = host.parse().ok();
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let (Some(ip), Ok(network)) = (ip, entry.parse::<IpNet>()) {
            return network.contains(&ip);
        }
        let (name, of_port) = split_port(entry);
        if of_port.is_some_and(|of_port| of_port != port) {
            return false;
        }
        let name = name.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
        match (ip, name.parse::<IpAddr>()) {
            (Some(ip), Ok(entry)) => ip == entry,
            (Some(_), Err(_)) | (None, Ok(_)) => false,
            (None, Err(_)) => {
                !name.is_empty()
                    && host.strip_suffix(&name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        }
    })
}

/// `host:port`, `[v6]:port` and `[v6]`; a bare IPv6 address has colons of its own.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some(rest) = entry.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((ip, port)) => (ip, port.strip_prefix(':').and_then(|port| port.parse().ok())),
            None => (entry, None),
        };
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        Some(_) | None => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(endpoint: &str, variables: &[(&str, &str)]) -> Option<String> {
        let env = |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into());
        let endpoint = Endpoint::parse_plain(endpoint).unwrap();
        ProxyUrl::from_environment(&endpoint, &env).unwrap().map(|proxy| proxy.to_string())
    }

    #[test]
    fn the_variable_of_the_scheme_comes_first_and_capitals_win() {
        let all = [("ALL_PROXY", "all:1"), ("https_proxy", "small:1"), ("http_proxy", "plain:1")];
        assert_eq!(chosen("https://api.test", &all).as_deref(), Some("http://small:1"));
        assert_eq!(chosen("http://api.test", &all).as_deref(), Some("http://plain:1"));
        assert_eq!(chosen("https://api.test", &all[..1]).as_deref(), Some("http://all:1"));
        let both = [("https_proxy", "small:1"), ("HTTPS_PROXY", "capital:1")];
        assert_eq!(chosen("https://api.test", &both).as_deref(), Some("http://capital:1"));
        assert_eq!(chosen("https://api.test", &[("HTTPS_PROXY", "")]), None);
        assert_eq!(chosen("http://api.test", &[("HTTP_PROXY", "cgi:1")]), None);
        assert_eq!(chosen("http://127.0.0.1:1", &all), None, "this machine is asked directly");
        assert_eq!(chosen("https://localhost", &all), None);
    }

    #[test]
    fn exceptions_are_names_with_what_is_below_them_addresses_networks_and_ports() {
        for (list, host, direct) in [
            ("*", "api.test", true),
            ("api.test", "api.test", true),
            ("API.Test", "api.test", true),
            ("test", "api.test", true),
            (".test", "api.test", true),
            ("*.test", "api.test", true),
            ("other.test, api.test", "api.test", true),
            ("pi.test", "api.test", false),
            ("api.test.example", "api.test", false),
            ("api.test:443", "api.test", true),
            ("api.test:80", "api.test", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("2.3", "10.1.2.3", false),
            ("[2001:db8::1]:443", "2001:db8::1", true),
            ("2001:db8::1", "2001:db8::1", true),
            (",., ,", "api.test", false),
            ("", "api.test", false),
        ] {
            assert_eq!(is_exception(list, host, 443), direct, "{list:?} {host}");
        }
    }

    #[test]
    fn a_proxy_shows_no_password() {
        let proxy = ProxyUrl::parse("http://user:swordfish@proxy.test:3128").unwrap();
        assert_eq!(proxy.to_string(), "http://proxy.test:3128");
        assert_eq!(format!("{proxy:?}"), "ProxyUrl(\"http://proxy.test:3128\")");
        assert_eq!(proxy.password(), Some(&"swordfish".into()));
        for (text, why) in [
            ("socks5://proxy.test", InvalidProxy::Socks),
            ("ftp://proxy.test", InvalidProxy::NoUrl),
            ("http://", InvalidProxy::NoUrl),
            ("user@", InvalidProxy::NoUrl),
            ("a b", InvalidProxy::NoUrl),
        ] {
            assert_eq!(ProxyUrl::parse(text), Err(why), "{text}");
        }
    }
}
