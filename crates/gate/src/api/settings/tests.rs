//! What a client is given, from variables and profiles.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A home directory with profiles, that goes with its test.
struct Home(PathBuf);

impl Home {
    fn new(profiles: &[(&str, &str)]) -> Home {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let home = Home(std::env::temp_dir().join(format!("vxgate-home-{}-{number}", std::process::id())));
        fs::create_dir_all(home.0.join(".soracom")).expect("a directory for this test");
        for (name, json) in profiles {
            home.write(&format!(".soracom/{name}.json"), json, 0o600);
        }
        home
    }

    fn write(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("a file for this test");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        path
    }

    /// The configuration by these variables and this home.
    fn read(
        &self,
        overrides: &Overrides,
        variables: &[(&str, &str)],
    ) -> Result<ClientConfig, ClientConfigError> {
        ClientConfig::from_environment(overrides, &|name| {
            let set = variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into());
            set.or_else(|| (name == "HOME").then(|| self.0.clone().into()))
        })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const KEY: [(&str, &str); 2] = [("SORACOM_AUTH_KEY_ID", "keyId-a"), ("SORACOM_AUTH_KEY", "secret-a")];

fn key(id: &str, key: &str) -> Option<String> {
    let credentials = Credentials::key(id.into(), key.into(), "");
    credentials.login_body().map(|body| String::from_utf8(body.to_vec()).expect("UTF-8"))
}

fn body(config: &ClientConfig) -> Option<String> {
    config.credentials.login_body().map(|body| String::from_utf8(body.to_vec()).expect("UTF-8"))
}

fn profile(name: &str) -> Overrides {
    Overrides { profile: Some(name.to_owned()), ..Overrides::default() }
}

#[test]
fn the_variables_of_each_way_to_log_in_are_read() {
    let home = Home::new(&[]);
    let read =
        |variables: &[(&str, &str)]| home.read(&Overrides::default(), variables).expect("a configuration");
    assert_eq!(body(&read(&KEY)), key("keyId-a", "secret-a"));
    let email = read(&[
        ("SORACOM_EMAIL", "a@b.test"),
        ("SORACOM_PASSWORD", " pw\n"),
        ("SORACOM_MFA_OTP_CODE", "123456"),
    ]);
    assert_eq!(body(&email).unwrap(), r#"{"email":"a@b.test","password":"pw","mfaOTPCode":"123456"}"#);
    let user = read(&[("SORACOM_OPERATOR_ID", "OP1"), ("SORACOM_USERNAME", "u"), ("SORACOM_PASSWORD", "pw")]);
    assert_eq!(body(&user).unwrap(), r#"{"operatorId":"OP1","userName":"u","password":"pw"}"#);
    let mut all = vec![("SORACOM_API_KEY", "api"), ("SORACOM_TOKEN", "token")];
    all.extend(KEY);
    let token = read(&all);
    assert_eq!((body(&token), token.credentials.can_log_in()), (None, false), "a ready pair comes first");
    assert_eq!(token.credentials.source(), "SORACOM_API_KEY and SORACOM_TOKEN");
}

#[test]
fn a_variable_may_name_a_file() {
    let home = Home::new(&[]);
    let path = home.write("key", "secret-in-a-file\n", 0o400);
    let value = format!("file:{}", path.display());
    let config = home.read(&Overrides::default(), &[KEY[0], ("SORACOM_AUTH_KEY", &value)]).unwrap();
    assert_eq!(body(&config), key("keyId-a", "secret-in-a-file"));
    let error = home.read(&Overrides::default(), &[KEY[0], ("SORACOM_AUTH_KEY", "file:/nonexistent/key")]);
    let text = error.unwrap_err().to_string();
    assert!(text.starts_with("SORACOM_AUTH_KEY: cannot read /nonexistent/key: No such file"), "{text}");
}

#[test]
fn half_of_what_goes_together_says_which_half_is_missing() {
    let home = Home::new(&[("default", r#"{"authKeyId": "b", "authKey": "b"}"#)]);
    for (variables, words) in [
        (&KEY[..1], "SORACOM_AUTH_KEY_ID is set and SORACOM_AUTH_KEY is not"),
        (&KEY[1..], "SORACOM_AUTH_KEY is set and SORACOM_AUTH_KEY_ID is not"),
        (&[("SORACOM_TOKEN", "t")][..], "SORACOM_TOKEN is set and SORACOM_API_KEY is not"),
        (&[("SORACOM_EMAIL", "a@b.test")][..], "SORACOM_EMAIL is set and SORACOM_PASSWORD is not"),
        (
            &[("SORACOM_USERNAME", "u"), ("SORACOM_PASSWORD", "pw")][..],
            "SORACOM_USERNAME is set and SORACOM_OPERATOR_ID is not",
        ),
    ] {
        let error = home.read(&Overrides::default(), variables).expect_err(words);
        assert_eq!(error.to_string(), words);
        assert!(error.hint().unwrap().starts_with("set "), "{error:?}");
    }
    // These alone are no attempt to log in.
    let config =
        home.read(&Overrides::default(), &[("SORACOM_OPERATOR_ID", "OP1"), ("SORACOM_AUTH_KEY", " ")]);
    assert_eq!(body(&config.unwrap()), key("b", "b"));
}

#[test]
fn the_profile_on_the_command_line_comes_before_the_variables_and_these_before_other_profiles() {
    let home = Home::new(&[
        ("default", r#"{"authKeyId": "of-default", "authKey": "s"}"#),
        ("work", r#"{"authKeyId": "of-work", "authKey": "s", "coverageType": "g", "later": [1]}"#),
    ]);
    let named = ("SORACOM_PROFILE", "work");
    let none = Overrides::default();
    for (overrides, variables, id) in [
        (&profile("default"), &[KEY[0], KEY[1], named][..], "of-default"),
        (&none, &[KEY[0], KEY[1], named][..], "keyId-a"),
        (&none, &[named][..], "of-work"),
        (&none, &[][..], "of-default"),
    ] {
        let config = home.read(overrides, variables).expect(id);
        assert!(body(&config).unwrap().contains(id), "{id}");
    }
    let config = home.read(&none, &[named]).unwrap();
    assert!(config.credentials.source().ends_with("/.soracom/work.json"), "{}", config.credentials.source());
    let elsewhere = home.0.join(".soracom");
    let elsewhere = elsewhere.to_str().unwrap();
    assert!(home.read(&none, &[("SORACOM_PROFILE_DIR", elsewhere), ("HOME", "/nonexistent")]).is_ok());
}

#[test]
fn a_profile_logs_in_by_key_then_by_e_mail_then_by_user() {
    for (json, wanted) in [
        (
            r#"{"authKeyId": "a", "authKey": "b", "email": "c", "password": "d"}"#,
            Some(r#"{"authKeyId":"a","authKey":"b"}"#),
        ),
        (
            r#"{"authKeyId": "", "authKey": "", "email": "c", "password": "d"}"#,
            Some(r#"{"email":"c","password":"d"}"#),
        ),
        (
            r#"{"operatorId": "OP1", "username": "u", "password": "d", "email": null}"#,
            Some(r#"{"operatorId":"OP1","userName":"u","password":"d"}"#),
        ),
        (r#"{"operatorId": "OP1", "password": "d"}"#, None),
        ("{}", None),
    ] {
        let home = Home::new(&[("default", json)]);
        match (home.read(&Overrides::default(), &[]), wanted) {
            (Ok(config), Some(wanted)) => assert_eq!(body(&config).unwrap(), wanted),
            (Err(error), None) => {
                assert!(error.to_string().contains("holds neither a key nor"), "{error}");
            }
            (other, _) => panic!("{json}: {other:?}"),
        }
    }
}

#[test]
fn the_endpoint_is_the_first_that_somebody_names() {
    let home = Home::new(&[
        ("jp", r#"{"authKeyId": "a", "authKey": "b"}"#),
        ("g", r#"{"authKeyId": "a", "authKey": "b", "coverageType": "g"}"#),
        ("odd", r#"{"authKeyId": "a", "authKey": "b", "coverageType": "G"}"#),
        ("sandbox", r#"{"authKeyId": "a", "authKey": "b", "coverageType": "g", "sandbox": true}"#),
        (
            "url",
            r#"{"authKeyId": "a", "authKey": "b", "coverageType": "g", "endpoint": "https://api.test/v1/"}"#,
        ),
    ]);
    let variable = ("SORACOM_ENDPOINT", "https://env.test/v1");
    let url = Some("https://line.test/v1".to_owned());
    for (name, endpoint, coverage, variables, wanted) in [
        ("jp", None, None, &[][..], "https://api.soracom.io/v1"),
        ("g", None, None, &[][..], "https://g.api.soracom.io/v1"),
        ("odd", None, None, &[][..], "https://api.soracom.io/v1"),
        ("sandbox", None, None, &[][..], "https://g.api-sandbox.soracom.io/v1"),
        ("sandbox", None, Some(Coverage::Japan), &[][..], "https://api-sandbox.soracom.io/v1"),
        ("url", None, None, &[][..], "https://api.test/v1"),
        ("url", None, Some(Coverage::Global), &[][..], "https://g.api.soracom.io/v1"),
        ("url", None, Some(Coverage::Global), &[variable][..], "https://env.test/v1"),
        ("url", url, Some(Coverage::Global), &[variable][..], "https://line.test/v1"),
    ] {
        let overrides = Overrides { endpoint, coverage, ..profile(name) };
        assert_eq!(home.read(&overrides, variables).expect(wanted).endpoint.to_string(), wanted, "{name}");
    }
    let by_variables = home.read(&Overrides::default(), &[KEY[0], KEY[1]]).unwrap();
    assert_eq!(by_variables.endpoint.to_string(), "https://api.soracom.io/v1");
    let beside = home.read(&Overrides::default(), &[KEY[0], KEY[1], ("SORACOM_PROFILE", "g")]).unwrap();
    assert_eq!(beside.endpoint.to_string(), "https://g.api.soracom.io/v1");
}

#[test]
fn plain_http_to_another_machine_is_refused_unless_it_is_allowed() {
    let home = Home::new(&[]);
    let url = Overrides { endpoint: Some("http://172.21.0.9:8080/v1".to_owned()), ..Overrides::default() };
    let error = home.read(&url, &KEY).unwrap_err();
    assert!(error.to_string().starts_with("--endpoint: plain http would show the credentials"), "{error}");
    assert!(error.hint().unwrap().contains("VXGATE_ALLOW_PLAIN_HTTP=1"), "{error:?}");
    let allowed = [KEY[0], KEY[1], ("VXGATE_ALLOW_PLAIN_HTTP", "1")];
    assert_eq!(home.read(&url, &allowed).unwrap().endpoint.to_string(), "http://172.21.0.9:8080/v1");
    let refused = [KEY[0], KEY[1], ("VXGATE_ALLOW_PLAIN_HTTP", "0")];
    assert!(home.read(&url, &refused).is_err());
}

#[test]
fn a_profile_that_others_may_read_or_change_is_refused() {
    let json = r#"{"authKeyId": "a", "authKey": "b"}"#;
    for (mode, taken) in [
        (0o600, true),
        (0o400, true),
        (0o640, true),
        (0o644, false),
        (0o604, false),
        (0o620, false),
        (0o666, false),
    ] {
        let home = Home::new(&[]);
        let path = home.write(".soracom/default.json", json, mode);
        match home.read(&Overrides::default(), &[]) {
            Ok(_) => assert!(taken, "{mode:o}"),
            Err(error) => {
                assert!(!taken, "{mode:o}: {error}");
                assert!(error.to_string().contains(&format!("its mode is {mode:04o}")), "{error}");
                assert_eq!(error.hint(), Some(format!("chmod 600 {}", path.display())));
            }
        }
    }
}

#[test]
fn a_profile_command_prints_what_the_file_leaves_out() {
    let home = Home::new(&[]);
    let printed = home.write("printed.json", r#"{"authKeyId": "printed", "authKey": "b"}"#, 0o600);
    let command = format!(r#"{{"profileCommand": "cat {}", "coverageType": "g"}}"#, printed.display());
    home.write(".soracom/default.json", &command, 0o600);
    let config = home.read(&Overrides::default(), &[]).unwrap();
    assert_eq!(body(&config), key("printed", "b"));
    assert_eq!(config.endpoint.host(), "g.api.soracom.io");
    for (command, words) in [
        ("echo $SECRET", "its profileCommand: it is for a shell".to_owned()),
        ("echo secret-x", "line 1, column 1 of what it prints is no profile".to_owned()),
        ("false", "false ended with exit status: 1".to_owned()),
    ] {
        home.write(".soracom/default.json", &format!(r#"{{"profileCommand": "{command}"}}"#), 0o600);
        let error = home.read(&Overrides::default(), &[]).unwrap_err().to_string();
        assert!(error.contains(&words), "{error}");
    }
}

#[test]
fn each_fault_is_named_with_what_to_do_and_quotes_no_secret() {
    let home = Home::new(&[
        ("cut", r#"{"authKeyId": "keyId-x", "authKey": "secret-x"#),
        ("type", r#"{"authKeyId": "keyId-x", "authKey": 5550123}"#),
        ("list", r#"["secret-x"]"#),
        ("lines", r#"{"authKeyId": "keyId-x", "authKey": "secret-x\nX-Evil: 1"}"#),
    ]);
    let none = Overrides::default();
    let long = "secret-x".repeat(10_000);
    let long = home.write("long", &long, 0o600);
    let long = format!("file:{}", long.display());
    for (overrides, variables, words) in [
        (&none, &[][..], "no credentials for the API"),
        (&profile("none"), &[][..], "there is no profile "),
        (&profile("../cut"), &[][..], "a profile's name is the name of its file"),
        (&profile(""), &[][..], "a profile's name is the name of its file"),
        (&profile("cut"), &[][..], "line 1, column 4"),
        (&profile("type"), &[][..], "line 1, column 4"),
        (&profile("list"), &[][..], "is not as the vendor's command writes it"),
        (&profile("lines"), &[][..], "a control character stands in the value"),
        (&none, &[KEY[0], ("SORACOM_AUTH_KEY", "secret-x\u{7f}")][..], "a control character"),
        (&none, &[KEY[0], ("SORACOM_AUTH_KEY", long.as_str())][..], "it is longer than 65536 octets"),
        (
            &none,
            &[KEY[0], KEY[1], ("SORACOM_ENDPOINT", "https://u:secret-x@api.test")][..],
            "SORACOM_ENDPOINT: an endpoint holds no user",
        ),
        (
            &none,
            &[KEY[0], KEY[1], ("HTTPS_PROXY", "ftp://u:secret-x@proxy.test")][..],
            "HTTPS_PROXY: a proxy is a URL",
        ),
        (
            &none,
            &[KEY[0], KEY[1], ("ALL_PROXY", "socks5://u:secret-x@proxy.test")][..],
            "ALL_PROXY: SOCKS proxies are not supported",
        ),
    ] {
        let error = home.read(overrides, variables).expect_err(words);
        let text = format!("{error} {error:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint().is_some(), "{error:?}");
        assert!(!text.contains("secret-x") && !text.contains("5550123"), "{text}");
    }
    let homeless = ClientConfig::from_environment(&profile("a"), &|_| None).unwrap_err();
    assert_eq!(homeless, ClientConfigError::NoHome);
    let nothing = ClientConfig::from_environment(&none, &|_| None).unwrap_err();
    assert_eq!(nothing, ClientConfigError::NoCredentials);
}

#[test]
fn a_configuration_shows_no_secret() {
    let home = Home::new(&[]);
    let variables =
        [KEY[0], ("SORACOM_AUTH_KEY", "swordfish"), ("HTTPS_PROXY", "http://u:tunafish@proxy.test:1")];
    let config = home.read(&Overrides::default(), &variables).unwrap();
    assert_eq!(config.proxy.as_ref().unwrap().to_string(), "http://proxy.test:1");
    let shown = format!("{config:?}");
    assert!(!shown.contains("fish"), "{shown}");
}

#[test]
fn certificates_are_named_by_a_variable() {
    let home = Home::new(&[]);
    let config =
        home.read(&Overrides::default(), &[KEY[0], KEY[1], ("VXGATE_CA_FILE", "/etc/ca.pem")]).unwrap();
    assert_eq!(config.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
}
