//! Who we are to the API.

use serde::Serialize;
use zeroize::Zeroizing;

use super::secret::Secret;

/// A way to log in, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    login: Login,
    source: String,
}

/// The ways that the API knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// An authentication key of a SAM user, or of the operator.
    Key { id: Secret, key: Secret },
    /// The operator's root, by e-mail.
    Email { email: Secret, password: Secret, otp: Option<Secret> },
    /// A SAM user, by name.
    User { operator: Secret, user: Secret, password: Secret, otp: Option<Secret> },
    /// No log-in: an API key and a token that somebody else got.
    Token { api_key: Secret, token: Secret },
}

impl Credentials {
    /// By an authentication key: `authKeyId` and `authKey`.
    #[must_use]
    pub fn key(id: Secret, key: Secret, source: impl Into<String>) -> Credentials {
        Credentials { login: Login::Key { id, key }, source: source.into() }
    }

    /// By e-mail and password, with a one-time password where the account asks for one. Such a password serves one log-in:
    /// a daemon that renews its token wants a key.
    #[must_use]
    pub fn email(
        email: Secret,
        password: Secret,
        otp: Option<Secret>,
        source: impl Into<String>,
    ) -> Credentials {
        Credentials { login: Login::Email { email, password, otp }, source: source.into() }
    }

    /// By the operator's identifier, a SAM user's name and password, and a one-time password as above.
    #[must_use]
    pub fn user(
        operator: Secret,
        user: Secret,
        password: Secret,
        otp: Option<Secret>,
        source: impl Into<String>,
    ) -> Credentials {
        Credentials { login: Login::User { operator, user, password, otp }, source: source.into() }
    }

    /// By an API key and a token that were got elsewhere: never renewed, never logged out.
    #[must_use]
    pub fn token(api_key: Secret, token: Secret, source: impl Into<String>) -> Credentials {
        Credentials { login: Login::Token { api_key, token }, source: source.into() }
    }

    /// Where they were found, in words: what an error names in their place.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether a new token can be had by them.
    #[must_use]
    pub const fn can_log_in(&self) -> bool {
        !matches!(self.login, Login::Token { .. })
    }

    pub(crate) const fn login(&self) -> &Login {
        &self.login
    }

    /// Everything that must not be shown.
    pub(crate) fn secrets(&self) -> Vec<&Secret> {
        match &self.login {
            Login::Key { id, key } => vec![key, id],
            Login::Email { email, password, otp } => [password, email].into_iter().chain(otp).collect(),
            Login::User { operator, user, password, otp } => {
                [password, operator, user].into_iter().chain(otp).collect()
            }
            Login::Token { api_key, token } => vec![token, api_key],
        }
    }

    /// The body of POST /auth; `None` where there is nothing to log in with.
    pub(crate) fn login_body(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut body = LoginBody::default();
        match &self.login {
            Login::Key { id, key } => {
                body.auth_key_id = Some(id.expose());
                body.auth_key = Some(key.expose());
            }
            Login::Email { email, password, otp } => {
                body.email = Some(email.expose());
                body.password = Some(password.expose());
                body.mfa_otp_code = otp.as_ref().map(Secret::expose);
            }
            Login::User { operator, user, password, otp } => {
                body.operator_id = Some(operator.expose());
                body.user_name = Some(user.expose());
                body.password = Some(password.expose());
                body.mfa_otp_code = otp.as_ref().map(Secret::expose);
            }
            Login::Token { .. } => return None,
        }
        // Room for all of it: a vector that grows leaves copies behind.
        let room = 256 + 6 * self.secrets().iter().map(|secret| secret.expose().len()).sum::<usize>();
        let mut json = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *json, &body).ok()?;
        Some(json)
    }
}

/// The fields of POST /auth that are set.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct LoginBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    #[serde(rename = "mfaOTPCode", skip_serializing_if = "Option::is_none")]
    mfa_otp_code: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_log_in_has_the_apis_fields() {
        let body = |credentials: Credentials| {
            credentials.login_body().map(|body| String::from_utf8(body.to_vec()).unwrap())
        };
        let text = |credentials| body(credentials).unwrap();
        assert_eq!(
            text(Credentials::key("id".into(), "k\"".into(), "a test")),
            r#"{"authKeyId":"id","authKey":"k\""}"#
        );
        assert_eq!(
            text(Credentials::email("a@b.test".into(), "pw".into(), None, "a test")),
            r#"{"email":"a@b.test","password":"pw"}"#
        );
        assert_eq!(
            text(Credentials::user("OP1".into(), "u".into(), "pw".into(), Some("123456".into()), "a test")),
            r#"{"operatorId":"OP1","userName":"u","password":"pw","mfaOTPCode":"123456"}"#
        );
        let token = Credentials::token("api-key".into(), "token".into(), "a test");
        assert!(!token.can_log_in());
        assert_eq!(body(token), None);
    }

    #[test]
    fn debug_shows_the_source_and_no_secret() {
        let shown = format!("{:?}", Credentials::key("keyId-1".into(), "secret-1".into(), "the environment"));
        assert!(shown.contains("the environment") && !shown.contains("-1"), "{shown}");
    }
}
