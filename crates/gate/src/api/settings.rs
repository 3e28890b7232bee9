//! What a client is given: by its caller, or from the environment and the vendor's profiles.

mod error;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::credentials::Credentials;
use super::endpoint::{Coverage, Endpoint};
use super::error::ApiError;
use super::patience::Patience;
use super::profile::Profile;
use super::proxy::ProxyUrl;
use super::secret::Secret;

pub use self::error::ClientConfigError;

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where the API is.
    pub endpoint: Endpoint,
    /// Who we are.
    pub credentials: Credentials,
    /// How long to try; the vendor's schedule by default.
    pub patience: Patience,
    /// Certificates in PEM to trust in place of the public ones; none by default.
    pub ca_file: Option<PathBuf>,
    /// The proxy to go through; none by default.
    pub proxy: Option<ProxyUrl>,
    /// Whom to tell that an attempt failed and that another will be made; nobody by default.
    pub on_retry: Option<RetryNotice>,
}

/// Is told each failed attempt after which another one is made, and how long that is waited for. It is told by the thread
/// that makes the call, and must not call the client.
#[derive(Clone)]
pub struct RetryNotice(Arc<Tell>);

type Tell = dyn Fn(&ApiError, Duration) + Send + Sync;

impl RetryNotice {
    /// By this function.
    pub fn new(tell: impl Fn(&ApiError, Duration) + Send + Sync + 'static) -> RetryNotice {
        RetryNotice(Arc::new(tell))
    }

    pub(crate) fn tell(&self, error: &ApiError, wait: Duration) {
        (self.0)(error, wait);
    }
}

impl fmt::Debug for RetryNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RetryNotice(…)")
    }
}

/// What the command line says, before the environment and the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The API's URL.
    pub endpoint: Option<String>,
    /// The coverage whose public API is asked.
    pub coverage: Option<Coverage>,
    /// The profile whose credentials are used.
    pub profile: Option<String>,
}

impl ClientConfig {
    /// With the defaults for everything else.
    #[must_use]
    pub fn new(endpoint: Endpoint, credentials: Credentials) -> ClientConfig {
        ClientConfig {
            endpoint,
            credentials,
            patience: Patience::default(),
            ca_file: None,
            proxy: None,
            on_retry: None,
        }
    }

    /// Host and port that connections are made to: the proxy's where there is one, else the API's.
    #[must_use]
    pub fn first_hop(&self) -> (&str, u16) {
        let api = (self.endpoint.host(), self.endpoint.port());
        self.proxy.as_ref().map_or(api, ProxyUrl::place)
    }

    /// Reads the environment, and a profile of the vendor's command where one is named or the environment has no credentials.
    ///
    /// Credentials, the first that is there: the profile in `overrides`; `SORACOM_API_KEY` and `SORACOM_TOKEN`;
    /// `SORACOM_AUTH_KEY_ID` and `SORACOM_AUTH_KEY`; `SORACOM_EMAIL` and `SORACOM_PASSWORD`; `SORACOM_OPERATOR_ID`,
    /// `SORACOM_USERNAME` and `SORACOM_PASSWORD`; the profile in `SORACOM_PROFILE`; the profile `default`. With a password
    /// goes `SORACOM_MFA_OTP_CODE`.
    ///
    /// Endpoint: the one in `overrides`, `SORACOM_ENDPOINT`, the coverage in `overrides`, the profile's `endpoint`, its
    /// `coverageType`, Japan. Plain `http` to another machine wants `VXGATE_ALLOW_PLAIN_HTTP=1`.
    ///
    /// `VXGATE_CA_FILE` names certificates to trust in place of the public ones. For the proxy see [`ProxyUrl`]. A value
    /// `file:PATH` is read from that file, except in variables that name a path or a proxy.
    ///
    /// # Errors
    ///
    /// The first thing that is missing or wrong, by the name under which the user set it.
    pub fn from_environment(
        overrides: &Overrides,
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<ClientConfig, ClientConfigError> {
        let env = Environment(env);
        let otp = env.secret("SORACOM_MFA_OTP_CODE")?;
        let from_variables = if overrides.profile.is_some() { None } else { env.credentials(otp.clone())? };
        let named = match &overrides.profile {
            Some(name) => Some(name.clone()),
            None => env.text("SORACOM_PROFILE")?.map(|name| name.to_string()),
        };
        let profile = match (&named, &from_variables) {
            (Some(name), _) => Some(Profile::read(name, env.0)?),
            (None, Some(_)) => None,
            (None, None) => match Profile::read(DEFAULT_PROFILE, env.0) {
                Ok(profile) => Some(profile),
                Err(ClientConfigError::NoProfile { .. } | ClientConfigError::NoHome) => {
                    return Err(ClientConfigError::NoCredentials);
                }
                Err(error) => return Err(error),
            },
        };
        let credentials = match (from_variables, &profile) {
            (Some(credentials), _) => credentials,
            (None, Some((path, profile))) => {
                let source = format!("the profile {}", path.display());
                profile
                    .credentials(otp, source)
                    .ok_or_else(|| ClientConfigError::NoProfileCredentials { path: path.clone() })?
            }
            (None, None) => return Err(ClientConfigError::NoCredentials),
        };
        if credentials.secrets().iter().any(|secret| secret.expose().contains(char::is_control)) {
            return Err(ClientConfigError::ControlCharacter { of: credentials.source().to_owned() });
        }
        let endpoint = env.endpoint(overrides, profile.as_ref())?;
        let proxy = ProxyUrl::from_environment(&endpoint, env.0)
            .map_err(|(variable, why)| ClientConfigError::Proxy { variable, why })?;
        let ca_file = (env.0)("VXGATE_CA_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(ClientConfig { proxy, ca_file, ..ClientConfig::new(endpoint, credentials) })
    }
}

const DEFAULT_PROFILE: &str = "default";

/// Longest file behind a `file:PATH`, in octets: far above any token.
const MAX_FILE_OCTETS: u64 = 64 * 1024;

/// The variables.
#[derive(Clone, Copy)]
struct Environment<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl Environment<'_> {
    /// A variable's value without white space around it; `None` where nothing is left.
    fn text(self, variable: &'static str) -> Result<Option<Zeroizing<String>>, ClientConfigError> {
        let Some(value) = (self.0)(variable) else { return Ok(None) };
        let value = value.into_string().map_err(|_| ClientConfigError::NotUtf8 { variable })?;
        let value = Zeroizing::new(value);
        let text = match value.strip_prefix("file:") {
            None => value.trim().to_owned(),
            Some(path) => {
                let unreadable = |why: String| ClientConfigError::File { variable, path: path.into(), why };
                let mut text = Zeroizing::new(String::new());
                let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
                let read = file.take(MAX_FILE_OCTETS + 1).read_to_string(&mut text);
                if read.map_err(|error| unreadable(error.to_string()))? as u64 > MAX_FILE_OCTETS {
                    return Err(unreadable(format!("it is longer than {MAX_FILE_OCTETS} octets")));
                }
                text.trim().to_owned()
            }
        };
        Ok(Some(Zeroizing::new(text)).filter(|text| !text.is_empty()))
    }

    fn secret(self, variable: &'static str) -> Result<Option<Secret>, ClientConfigError> {
        Ok(self.text(variable)?.map(|text| Secret::from(text.as_str())))
    }

    /// Two variables that go together.
    fn pair(
        self,
        first: &'static str,
        second: &'static str,
    ) -> Result<Option<(Secret, Secret)>, ClientConfigError> {
        match (self.secret(first)?, self.secret(second)?) {
            (Some(one), Some(other)) => Ok(Some((one, other))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(ClientConfigError::Half { set: first, missing: second }),
            (None, Some(_)) => Err(ClientConfigError::Half { set: second, missing: first }),
        }
    }

    fn credentials(self, otp: Option<Secret>) -> Result<Option<Credentials>, ClientConfigError> {
        if let Some((api_key, token)) = self.pair("SORACOM_API_KEY", "SORACOM_TOKEN")? {
            return Ok(Some(Credentials::token(api_key, token, "SORACOM_API_KEY and SORACOM_TOKEN")));
        }
        if let Some((id, key)) = self.pair("SORACOM_AUTH_KEY_ID", "SORACOM_AUTH_KEY")? {
            return Ok(Some(Credentials::key(id, key, "SORACOM_AUTH_KEY_ID and SORACOM_AUTH_KEY")));
        }
        let password = self.secret("SORACOM_PASSWORD")?;
        let missing = |set| ClientConfigError::Half { set, missing: "SORACOM_PASSWORD" };
        if let Some(email) = self.secret("SORACOM_EMAIL")? {
            let password = password.ok_or_else(|| missing("SORACOM_EMAIL"))?;
            return Ok(Some(Credentials::email(email, password, otp, "SORACOM_EMAIL and SORACOM_PASSWORD")));
        }
        // The operator's identifier alone is no attempt to log in: other tools want it beside a profile.
        let Some(user) = self.secret("SORACOM_USERNAME")? else { return Ok(None) };
        let operator = self
            .secret("SORACOM_OPERATOR_ID")?
            .ok_or(ClientConfigError::Half { set: "SORACOM_USERNAME", missing: "SORACOM_OPERATOR_ID" })?;
        let password = password.ok_or_else(|| missing("SORACOM_USERNAME"))?;
        let source = "SORACOM_OPERATOR_ID, SORACOM_USERNAME and SORACOM_PASSWORD";
        Ok(Some(Credentials::user(operator, user, password, otp, source)))
    }

    fn endpoint(
        self,
        overrides: &Overrides,
        profile: Option<&(PathBuf, Profile)>,
    ) -> Result<Endpoint, ClientConfigError> {
        let plain =
            self.text("VXGATE_ALLOW_PLAIN_HTTP")?.is_some_and(|text| ["1", "on"].contains(&text.as_str()));
        let parse = |text: &str, from: String| {
            let endpoint = if plain { Endpoint::parse_plain(text) } else { text.parse() };
            endpoint.map_err(|why| ClientConfigError::Endpoint { from, why })
        };
        if let Some(url) = &overrides.endpoint {
            return parse(url, "--endpoint".to_owned());
        }
        if let Some(url) = self.text("SORACOM_ENDPOINT")? {
            return parse(&url, "SORACOM_ENDPOINT".to_owned());
        }
        let sandbox = profile.and_then(|(_, profile)| profile.sandbox).unwrap_or(false);
        if let Some(coverage) = overrides.coverage {
            return Ok(Endpoint::of(coverage, sandbox));
        }
        let Some((path, profile)) = profile else { return Ok(Endpoint::of(Coverage::default(), false)) };
        if let Some(url) = profile.endpoint.as_deref().filter(|url| !url.is_empty()) {
            return parse(url, format!("endpoint in {}", path.display()));
        }
        // Only `g` means global, to the vendor's command too.
        let global = profile.coverage_type.as_deref() == Some("g");
        Ok(Endpoint::of(if global { Coverage::Global } else { Coverage::Japan }, sandbox))
    }
}

#[cfg(test)]
mod tests;
