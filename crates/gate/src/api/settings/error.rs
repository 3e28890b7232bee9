//! What is missing or wrong before anything can be asked, and what to do about it.

use std::path::PathBuf;

use thiserror::Error;

use crate::api::endpoint::InvalidEndpoint;
use crate::api::proxy::InvalidProxy;

/// What is missing or wrong before anything can be asked. No variant quotes a secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ClientConfigError {
    /// Neither variables nor a profile.
    #[error("no credentials for the API")]
    NoCredentials,
    /// One of variables that go together.
    #[error("{set} is set and {missing} is not")]
    Half {
        /// The variable that is set.
        set: &'static str,
        /// The variable that is not.
        missing: &'static str,
    },
    /// A value that is no text.
    #[error("{variable}: the value is not UTF-8")]
    NotUtf8 {
        /// The variable.
        variable: &'static str,
    },
    /// The file behind a `file:PATH`.
    #[error("{variable}: cannot read {}: {why}", path.display())]
    File {
        /// The variable.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// A line break or another control character in a key, password or token.
    #[error("{of}: a control character stands in the value")]
    ControlCharacter {
        /// Where the credentials are from.
        of: String,
    },
    /// No address of an API.
    #[error("{from}: {why}")]
    Endpoint {
        /// What says it.
        from: String,
        /// What is wrong.
        why: InvalidEndpoint,
    },
    /// No proxy.
    #[error("{variable}: {why}")]
    Proxy {
        /// The variable.
        variable: &'static str,
        /// What is wrong.
        why: InvalidProxy,
    },
    /// A profile's name that is a path.
    #[error("{name:?}: a profile's name is the name of its file without .json")]
    ProfileName {
        /// The name.
        name: String,
    },
    /// No home directory to look for profiles in.
    #[error("neither SORACOM_PROFILE_DIR nor HOME is set, so there is no profile")]
    NoHome,
    /// No file of this name.
    #[error("there is no profile {}", path.display())]
    NoProfile {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("profile {}: {why}", path.display())]
    ProfileFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// Others may read or write the file.
    #[error("profile {}: its mode is {mode:04o}: others may read or change it", path.display())]
    ProfileMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No JSON, or a field of a wrong type.
    #[error("profile {}: line {line}, column {column} is not as the vendor's command writes it", path.display())]
    ProfileSyntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 0.
        column: usize,
    },
    /// Nothing in it to log in with.
    #[error("profile {}: it holds neither a key nor an e-mail address or user with a password", path.display())]
    NoProfileCredentials {
        /// The file.
        path: PathBuf,
    },
    /// Its command gives no profile.
    #[error("profile {}: its profileCommand: {why}", path.display())]
    ProfileCommand {
        /// The file.
        path: PathBuf,
        /// What happened.
        why: String,
    },
}

impl ClientConfigError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ClientConfigError::NoCredentials => {
                "set SORACOM_AUTH_KEY_ID and SORACOM_AUTH_KEY (each may be file:PATH), or make a profile with `soracom configure`"
                    .to_owned()
            }
            ClientConfigError::Half { set, missing } => format!("set {missing} too, or unset {set}"),
            ClientConfigError::NotUtf8 { .. } | ClientConfigError::ControlCharacter { .. } => {
                "copy the value again; it is printable text on one line".to_owned()
            }
            ClientConfigError::File { path, .. } => {
                format!("see that {} is there and that this user may read it", path.display())
            }
            ClientConfigError::Endpoint { why: InvalidEndpoint::Plain, .. } => {
                "use https; in a test's network, VXGATE_ALLOW_PLAIN_HTTP=1 takes it as it is".to_owned()
            }
            ClientConfigError::Endpoint { .. } => {
                "leave it out for the public API; --coverage jp|g chooses which".to_owned()
            }
            ClientConfigError::Proxy { variable, .. } => {
                format!("correct {variable}, or name the API's host in NO_PROXY")
            }
            ClientConfigError::ProfileName { .. } => {
                "say the name alone, as in --profile default; SORACOM_PROFILE_DIR says the directory".to_owned()
            }
            ClientConfigError::NoHome => {
                "set HOME, or SORACOM_PROFILE_DIR, or SORACOM_AUTH_KEY_ID and SORACOM_AUTH_KEY".to_owned()
            }
            ClientConfigError::NoProfile { .. } => {
                "`soracom configure --profile NAME` makes one; --profile and SORACOM_PROFILE choose".to_owned()
            }
            ClientConfigError::ProfileFile { path, .. } => {
                format!("see that this user may read {}", path.display())
            }
            ClientConfigError::ProfileMode { path, .. } => format!("chmod 600 {}", path.display()),
            ClientConfigError::ProfileSyntax { .. } | ClientConfigError::NoProfileCredentials { .. } => {
                "`soracom configure` writes it anew".to_owned()
            }
            ClientConfigError::ProfileCommand { .. } => {
                "run it by hand: it has to print the profile's JSON within a minute and end with 0".to_owned()
            }
        })
    }
}
