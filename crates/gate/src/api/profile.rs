//! Profiles of the vendor's command: `~/.soracom/NAME.json`.
//!
//! A profile may name a command that prints the profile. It is run as the file says it, word by word, without a shell: no
//! quoting, no variables, no pipes. Where one of these is wanted, the profile names a script.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::cancel::Cancellation;
use super::credentials::Credentials;
use super::secret::Secret;
use super::settings::ClientConfigError;

/// Longest profile, in octets: the vendor's have some hundreds.
const MAX_OCTETS: u64 = 64 * 1024;

/// How long a profile's command may take: it may ask a key store, and that a person.
const COMMAND_TIME: Duration = Duration::from_secs(60);

/// What a shell would read more into.
const SHELL: &[char] =
    &['\'', '"', '\\', '$', '`', '|', '&', ';', '<', '>', '(', ')', '*', '?', '~', '#', '\n'];

/// The fields that say who we are and where the API is.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Profile {
    auth_key_id: Option<Secret>,
    auth_key: Option<Secret>,
    email: Option<Secret>,
    password: Option<Secret>,
    operator_id: Option<Secret>,
    username: Option<Secret>,
    pub(crate) coverage_type: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) sandbox: Option<bool>,
    profile_command: Option<String>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::from)
    }
}

impl Profile {
    /// Reads the profile of this name, by its command where it has one.
    pub(crate) fn read(
        name: &str,
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(PathBuf, Profile), ClientConfigError> {
        let path = path(name, env)?;
        let json = read_file(&path)?;
        let profile = parse(&json).map_err(|place| fault(&path, place))?;
        match profile.profile_command.as_deref().map(str::trim).filter(|command| !command.is_empty()) {
            None => Ok((path, profile)),
            Some(command) => {
                let of_command = |why| ClientConfigError::ProfileCommand { path: path.clone(), why };
                let json = run(command, COMMAND_TIME).map_err(of_command)?;
                let printed = parse(&json).map_err(|(line, column)| {
                    of_command(format!("line {line}, column {column} of what it prints is no profile"))
                })?;
                // The file still says where the API is, unless what is printed does.
                let printed = Profile {
                    coverage_type: printed.coverage_type.or(profile.coverage_type),
                    endpoint: printed.endpoint.or(profile.endpoint),
                    sandbox: printed.sandbox.or(profile.sandbox),
                    ..printed
                };
                Ok((path, printed))
            }
        }
    }

    /// What it logs in with: the key, else the e-mail address, else the user. `None` where it has none of these whole.
    pub(crate) fn credentials(&self, otp: Option<Secret>, source: String) -> Option<Credentials> {
        let set = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.expose().is_empty());
        if let (Some(id), Some(key)) = (set(&self.auth_key_id), set(&self.auth_key)) {
            return Some(Credentials::key(id, key, source));
        }
        let password = set(&self.password)?;
        match (set(&self.email), set(&self.operator_id), set(&self.username)) {
            (Some(email), ..) => Some(Credentials::email(email, password, otp, source)),
            (None, Some(operator), Some(user)) => {
                Some(Credentials::user(operator, user, password, otp, source))
            }
            (None, ..) => None,
        }
    }
}

/// Where the profile of this name is.
fn path(name: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, ClientConfigError> {
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return Err(ClientConfigError::ProfileName { name: name.to_owned() });
    }
    let set = |variable| env(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = set("SORACOM_PROFILE_DIR").or_else(|| set("HOME").map(|home| home.join(".soracom")));
    Ok(dir.ok_or(ClientConfigError::NoHome)?.join(format!("{name}.json")))
}

/// The file's content. One that others may read, or that they may write and so name a command in, is refused; the group
/// may read.
fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, ClientConfigError> {
    let unreadable = |error: &io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            ClientConfigError::NoProfile { path: path.to_owned() }
        } else {
            ClientConfigError::ProfileFile { path: path.to_owned(), why: error.to_string() }
        }
    };
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o027 != 0 {
        return Err(ClientConfigError::ProfileMode { path: path.to_owned(), mode });
    }
    read_bounded(file).map_err(|error| unreadable(&error))
}

fn read_bounded(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(Vec::new());
    if source.take(MAX_OCTETS + 1).read_to_end(&mut octets)? as u64 > MAX_OCTETS {
        return Err(io::Error::other(format!("it is longer than {MAX_OCTETS} octets")));
    }
    Ok(octets)
}

/// Reads the fields, or says at which line and column it cannot: the parser's own words may quote a secret.
fn parse(json: &[u8]) -> Result<Profile, (usize, usize)> {
    // A list would be read as the fields in their order.
    if json.trim_ascii_start().starts_with(b"[") {
        return Err((1, 0));
    }
    serde_json::from_slice(json).map_err(|error| (error.line(), error.column()))
}

fn fault(path: &Path, (line, column): (usize, usize)) -> ClientConfigError {
    ClientConfigError::ProfileSyntax { path: path.to_owned(), line, column }
}

/// What the command prints. Its standard input is empty, its standard error ours.
fn run(command: &str, time: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
    if command.contains(SHELL) {
        // Its words may hold a secret.
        return Err("it is for a shell, and none runs it; name a script".to_owned());
    }
    let mut words = command.split_whitespace();
    let Some(program) = words.next() else { return Err("it is empty".to_owned()) };
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let (done, printed) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        // The thread ends when the pipe does, at the latest with the command.
        thread::spawn(move || drop(done.send(read_bounded(stdout))));
    }
    let printed = printed.recv_timeout(time);
    // A command that has printed all is given a moment to end; one that has not is ended.
    let moment = if printed.is_ok() { Duration::from_millis(500) } else { Duration::ZERO };
    let status = end(&mut child, moment).map_err(|error| format!("{program}: {error}"))?;
    match (printed, status) {
        (Err(_), _) => Err(format!("{program} printed no profile within {} s", time.as_secs())),
        (Ok(Err(error)), _) => Err(format!("{program}: {error}")),
        (Ok(Ok(_)), Some(status)) if !status.success() => Err(format!("{program} ended with {status}")),
        (Ok(Ok(json)), _) => Ok(json),
    }
}

/// Waits for the child's end, and ends it when the time is up; `None` where that was needed.
fn end(child: &mut std::process::Child, time: Duration) -> io::Result<Option<std::process::ExitStatus>> {
    const LOOK_EVERY: Duration = Duration::from_millis(10);
    let pause = Cancellation::default();
    let mut left = time;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if left.is_zero() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        let _ = pause.wait(LOOK_EVERY);
        left = left.saturating_sub(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_octets_are_a_profile_or_not(octets: Vec<u8>, json in "[\\[\\]{}:,\"a-z0-9]{0,40}") {
            let _ = parse(&octets).map(|profile| profile.credentials(None, String::new()));
            let _ = parse(json.as_bytes()).map(|profile| profile.credentials(None, String::new()));
        }
    }

    #[test]
    fn a_command_runs_word_by_word_without_a_shell() {
        assert_eq!(run("echo  a   b ", COMMAND_TIME).unwrap().as_slice(), b"a b\n");
        for (command, words) in [
            ("echo $HOME", "is for a shell"),
            ("pass show a | head", "it is for a shell, and none runs it; name a script"),
            ("echo 'a b'", "is for a shell"),
            ("/nonexistent/command a", "/nonexistent/command: No such file"),
            ("false", "false ended with exit status: 1"),
        ] {
            let error = run(command, COMMAND_TIME).expect_err(command);
            assert!(error.contains(words), "{command}: {error}");
        }
    }

    #[test]
    fn a_command_that_hangs_or_prints_without_end_is_ended() {
        let error = run("sleep 1000", Duration::from_millis(100)).unwrap_err();
        assert!(error.contains("printed no profile within 0 s"), "{error}");
        let error = run("yes", COMMAND_TIME).unwrap_err();
        assert!(error.contains("longer than 65536 octets"), "{error}");
    }
}
