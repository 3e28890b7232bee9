//! Why the API did not do what it was asked to, and what to do about it.

mod detail;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::cancel::Cancelled;
use super::date::Utc;

pub use self::detail::{Refusal, Skew, Stage, Validity};

/// Why a call came to nothing. No variant holds a secret: what a server says is shown without them, cut, and without
/// control characters.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ApiError {
    /// The name has no address.
    #[error("{host}: the name does not resolve: {why}")]
    Dns {
        /// The API's host, or the proxy.
        host: String,
        /// The resolver's reason.
        why: String,
    },
    /// Nobody listens there.
    #[error("{place}: connection refused")]
    ConnectionRefused {
        /// The API's host and port, or the proxy.
        place: String,
    },
    /// No answer in time.
    #[error("{place}: {stage} within {} s", after.as_secs_f32())]
    Timeout {
        /// The API's host and port, with the proxy where there is one.
        place: String,
        /// What did not happen.
        stage: Stage,
        /// The bound.
        after: Duration,
    },
    /// The connection failed in another way.
    #[error("{place}: {why}")]
    Network {
        /// The API's host and port, with the proxy where there is one.
        place: String,
        /// The system's reason.
        why: String,
    },
    /// The proxy does not lead there.
    #[error("{place}: {why}")]
    Proxy {
        /// The proxy.
        place: String,
        /// What it says.
        why: String,
    },
    /// The server does not speak TLS.
    #[error("{place}: it does not speak TLS")]
    NotTls {
        /// The API's host and port.
        place: String,
    },
    /// Its certificate is signed by nobody we trust.
    #[error("{place}: its certificate is signed by nobody that is trusted here")]
    Untrusted {
        /// The API's host and port.
        place: String,
        /// The certificates that are trusted instead of the public ones.
        ca_file: Option<PathBuf>,
    },
    /// Its certificate is for another name.
    #[error("{place}: its certificate is for {presented}")]
    WrongName {
        /// The API's host and port.
        place: String,
        /// The names in it.
        presented: String,
    },
    /// Its certificate is not valid at the time that this host's clock shows.
    #[error("{place}: its certificate {validity}, and this host's clock says {clock}")]
    Clock {
        /// The API's host and port.
        place: String,
        /// When it is valid.
        validity: Validity,
        /// This host's clock.
        clock: Utc,
        /// The API's clock, where an earlier answer told it and it is another.
        skew: Option<Skew>,
    },
    /// TLS failed in another way.
    #[error("{place}: TLS: {why}")]
    Tls {
        /// The API's host and port.
        place: String,
        /// The library's reason.
        why: String,
    },
    /// The certificates to trust cannot be read.
    #[error("{}: {why}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What answers there does not speak HTTP.
    #[error("{place}: the answer is no HTTP: {why}")]
    NotHttp {
        /// The API's host and port.
        place: String,
        /// The library's reason.
        why: String,
    },
    /// The log-in was refused: 401 or 400 on POST /auth.
    #[error("the API does not let us in with {credentials}: {refusal}")]
    LoginRefused {
        /// Where the credentials are from.
        credentials: String,
        /// What the API says.
        refusal: Refusal,
        /// The API's clock, where it is another.
        skew: Option<Skew>,
    },
    /// The token was refused: 401, with one that was got just before or that we cannot renew.
    #[error("the API does not take the token of {credentials} to {does}: {refusal}")]
    TokenRefused {
        /// What was asked.
        does: &'static str,
        /// Where the credentials are from.
        credentials: String,
        /// What the API says.
        refusal: Refusal,
        /// Whether we got the token by logging in.
        own: bool,
    },
    /// 403.
    #[error("the API forbids these credentials to {does}: {refusal}")]
    Forbidden {
        /// What was asked.
        does: &'static str,
        /// What the API says.
        refusal: Refusal,
    },
    /// 404.
    #[error("the API finds nothing to {does}: {refusal}")]
    NotFound {
        /// What was asked.
        does: &'static str,
        /// What the API says.
        refusal: Refusal,
        /// The host that was asked.
        host: String,
    },
    /// The host to unregister is none that is registered.
    #[error("no host is registered by the outer address {outer}")]
    NotRegistered {
        /// The address.
        outer: IpAddr,
    },
    /// 429, after every wait.
    #[error("the API takes no more requests for now (429), to {does}: {refusal}")]
    TooManyRequests {
        /// What was asked.
        does: &'static str,
        /// What the API says.
        refusal: Refusal,
        /// When it may be asked again.
        retry_after: Option<Duration>,
    },
    /// 5xx, after every wait.
    #[error("the API failed ({status}) to {does}: {refusal}")]
    Server {
        /// What was asked.
        does: &'static str,
        /// The status, 500 to 599.
        status: u16,
        /// What the API says.
        refusal: Refusal,
        /// When it may be asked again.
        retry_after: Option<Duration>,
    },
    /// Another status that is no success.
    #[error("the API refused ({status}) to {does}: {refusal}")]
    Rejected {
        /// What was asked.
        does: &'static str,
        /// The status.
        status: u16,
        /// What the API says.
        refusal: Refusal,
    },
    /// 3xx: the credentials do not go where an answer says.
    #[error("{place} sends us to {to} ({status}), and credentials do not follow")]
    Redirected {
        /// The API's host and port.
        place: String,
        /// Scheme and host of the target.
        to: String,
        /// The status.
        status: u16,
    },
    /// More than an answer of this API can be.
    #[error("asked to {does}, the API answers more than {limit} octets")]
    TooLong {
        /// What was asked.
        does: &'static str,
        /// The bound, in octets.
        limit: u64,
    },
    /// A success whose content is not as the API writes it.
    #[error("asked to {does}, the API answers what it should not: {why}")]
    Answer {
        /// What was asked.
        does: &'static str,
        /// What is wrong.
        why: String,
    },
    /// [`Cancellation::cancel`](super::Cancellation::cancel) was called.
    #[error("the call was cancelled")]
    Cancelled,
}

impl From<Cancelled> for ApiError {
    fn from(Cancelled: Cancelled) -> ApiError {
        ApiError::Cancelled
    }
}

impl ApiError {
    /// Whether the same call may work later without anybody doing anything: the network, the API itself, or its limits.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            ApiError::Dns { .. }
            | ApiError::ConnectionRefused { .. }
            | ApiError::Timeout { .. }
            | ApiError::Network { .. }
            | ApiError::TooManyRequests { .. }
            | ApiError::Server { .. } => true,
            ApiError::Proxy { .. }
            | ApiError::NotTls { .. }
            | ApiError::Untrusted { .. }
            | ApiError::WrongName { .. }
            | ApiError::Clock { .. }
            | ApiError::Tls { .. }
            | ApiError::CaFile { .. }
            | ApiError::NotHttp { .. }
            | ApiError::LoginRefused { .. }
            | ApiError::TokenRefused { .. }
            | ApiError::Forbidden { .. }
            | ApiError::NotFound { .. }
            | ApiError::NotRegistered { .. }
            | ApiError::Rejected { .. }
            | ApiError::Redirected { .. }
            | ApiError::TooLong { .. }
            | ApiError::Answer { .. }
            | ApiError::Cancelled => false,
        }
    }

    /// When the answer says that it may be asked again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            ApiError::TooManyRequests { retry_after, .. } | ApiError::Server { retry_after, .. } => {
                *retry_after
            }
            ApiError::Dns { .. }
            | ApiError::ConnectionRefused { .. }
            | ApiError::Timeout { .. }
            | ApiError::Network { .. }
            | ApiError::Proxy { .. }
            | ApiError::NotTls { .. }
            | ApiError::Untrusted { .. }
            | ApiError::WrongName { .. }
            | ApiError::Clock { .. }
            | ApiError::Tls { .. }
            | ApiError::CaFile { .. }
            | ApiError::NotHttp { .. }
            | ApiError::LoginRefused { .. }
            | ApiError::TokenRefused { .. }
            | ApiError::Forbidden { .. }
            | ApiError::NotFound { .. }
            | ApiError::NotRegistered { .. }
            | ApiError::Rejected { .. }
            | ApiError::Redirected { .. }
            | ApiError::TooLong { .. }
            | ApiError::Answer { .. }
            | ApiError::Cancelled => None,
        }
    }

    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ApiError::Dns { .. } => {
                "see that this host resolves names (/etc/resolv.conf) and that the endpoint is spelt right".to_owned()
            }
            ApiError::ConnectionRefused { .. } => {
                "see that the endpoint's host and port are right and that no firewall refuses them".to_owned()
            }
            ApiError::Timeout { .. } | ApiError::Network { .. } => {
                "see that this host reaches the internet; where a proxy is needed, set HTTPS_PROXY".to_owned()
            }
            ApiError::Proxy { .. } => {
                "see that the proxy in HTTPS_PROXY lets this host through, or name the API's host in NO_PROXY".to_owned()
            }
            ApiError::NotTls { .. } | ApiError::NotHttp { .. } => {
                "see that the endpoint is the API's, https and its port".to_owned()
            }
            ApiError::Untrusted { ca_file: Some(path), .. } => {
                format!("VXGATE_CA_FILE names {}, which is trusted in place of the public authorities: see that it is right", path.display())
            }
            ApiError::Untrusted { ca_file: None, .. } => {
                "where a proxy opens TLS, name its certificate in VXGATE_CA_FILE; otherwise this is not the API: do not go on"
                    .to_owned()
            }
            ApiError::WrongName { .. } => {
                "see that the endpoint is spelt right and that its name leads to the API".to_owned()
            }
            ApiError::Clock { clock, validity, skew, .. } => clock_hint(*clock, validity, *skew),
            ApiError::Tls { .. } => "see that the endpoint is the API's; it needs TLS 1.2 or 1.3".to_owned(),
            ApiError::CaFile { .. } => "VXGATE_CA_FILE names certificates in PEM".to_owned(),
            ApiError::LoginRefused { skew: Some(skew), .. } => {
                format!("see that the credentials are current and of this coverage; {skew}: set it")
            }
            ApiError::LoginRefused { skew: None, .. } => {
                "see that the credentials are current and of this coverage (--coverage jp|g); a one-time password serves once"
                    .to_owned()
            }
            ApiError::TokenRefused { own: false, .. } => {
                "get a new pair, as by `soracom auth`, or use SORACOM_AUTH_KEY_ID and SORACOM_AUTH_KEY, by which it is renewed"
                    .to_owned()
            }
            ApiError::TokenRefused { own: true, .. } => {
                "it was just got: see that the key's user still exists and is allowed this".to_owned()
            }
            ApiError::Forbidden { .. } => {
                "give the SAM user the permission for VirtualPrivateGateway, as Vpg:* allows it".to_owned()
            }
            ApiError::NotFound { host, .. } => {
                format!("see `soracom vpg list`; {host} was asked, and the other coverage has VPGs of its own (--coverage jp|g)")
            }
            ApiError::NotRegistered { .. } => {
                "`vxgate gate peers` lists the hosts that are registered at a VPG".to_owned()
            }
            ApiError::TooManyRequests { retry_after: Some(wait), .. }
            | ApiError::Server { retry_after: Some(wait), .. } => {
                format!("the API says to try again after {} s", wait.as_secs())
            }
            ApiError::TooManyRequests { retry_after: None, .. } => {
                "limits are per minute: try again later, and see what else uses these credentials".to_owned()
            }
            ApiError::Server { retry_after: None, .. } => {
                "try again later; https://status.soracom.io tells of disturbances".to_owned()
            }
            ApiError::Redirected { .. } => "say the endpoint that is meant, by --endpoint".to_owned(),
            ApiError::TooLong { .. } | ApiError::Answer { .. } => {
                "see that the endpoint is the API's and that no proxy answers in its place".to_owned()
            }
            ApiError::Rejected { .. } | ApiError::Cancelled => return None,
        })
    }
}

/// Before this, the clock is wrong whatever the certificate says: 2025-01-01, when this program was not yet written.
const SANE_CLOCK: Utc = Utc::from_seconds(1_735_689_600);

fn clock_hint(clock: Utc, validity: &Validity, skew: Option<Skew>) -> String {
    match (skew, validity) {
        (Some(skew), _) => format!("{skew}: set it, as by NTP"),
        (None, _) if clock < SANE_CLOCK => {
            "the clock is wrong: set it, as by NTP, before anything else".to_owned()
        }
        (None, Validity::NotYet { .. }) => "the clock is most likely behind: set it, as by NTP".to_owned(),
        (None, Validity::Expired { .. }) => {
            "where the clock is right, the certificate has to be renewed by whoever runs the endpoint"
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_this_program_is_wrong_for_sure() {
        let error = |clock, validity| ApiError::Clock {
            place: "api.test:443".to_owned(),
            validity,
            clock: Utc::from_seconds(clock),
            skew: None,
        };
        let from = Some(Utc::from_seconds(1_790_000_000));
        let early = error(300, Validity::NotYet { from });
        assert_eq!(
            early.to_string(),
            "api.test:443: its certificate is valid from 2026-09-21T14:13:20Z, and this host's clock says 1970-01-01T00:05:00Z"
        );
        assert!(early.hint().unwrap().starts_with("the clock is wrong"));
        assert!(
            error(1_789_999_999, Validity::NotYet { from }).hint().unwrap().contains("most likely behind")
        );
        assert!(
            error(1_790_000_001, Validity::Expired { at: from }).hint().unwrap().contains("clock is right")
        );
    }
}
