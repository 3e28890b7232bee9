//! `vxgate gate` against a Gate API on this machine: what it prints, what it asks, how it fails.
//!
//! This file belongs to `crates/cli`, which alone is told the binary's path.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use vxgate_fake_gate::{Call, FakeGate, Fault, VPG_ID};
use vxgate_testbed::{Host, isolated, link};

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");

/// A file that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(content: &str) -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vxgate-gate-{}-{number}", std::process::id()));
        fs::write(&path, content).expect("a file for this test");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

struct Ended {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(command: &mut Command) -> Ended {
        let Output { status, stdout, stderr } =
            command.stdin(Stdio::null()).output().expect("the binary runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ended { status: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// What it printed, if all went well.
    #[track_caller]
    fn printed(self) -> String {
        assert_eq!((self.status, self.stderr.as_str()), (Some(0), ""), "{}", self.stdout);
        self.stdout
    }

    /// Exit status, nothing on standard output, first line and hint, and not a line more.
    #[track_caller]
    fn refused(&self, status: i32, message: &str, hint: &str) {
        assert_eq!(self.status, Some(status), "{}", self.stderr);
        assert_eq!(self.stdout, "");
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert!(lines.first().is_some_and(|line| line.starts_with(message)), "{message}: {}", self.stderr);
        let hinted = lines.get(1).is_some_and(|line| line.starts_with("hint: ") && line.contains(hint));
        assert!(lines.len() == 2 && hinted, "{hint}: {}", self.stderr);
    }
}

/// The binary with these words, and nothing of this process's environment.
fn vxgate(line: &str) -> Command {
    let mut command = Command::new(VXGATE);
    command.args(line.split_whitespace()).env_clear();
    command
}

/// The same for this fake, with its key.
fn at(fake: &FakeGate, line: &str) -> Command {
    let account = fake.account();
    let mut command = vxgate(line);
    command
        .env("SORACOM_ENDPOINT", fake.endpoint())
        .env("SORACOM_AUTH_KEY_ID", account.auth_key_id)
        .env("SORACOM_AUTH_KEY", account.auth_key)
        .env("VXGATE_VPG_ID", VPG_ID);
    command
}

fn ask(fake: &FakeGate, line: &str) -> Ended {
    Ended::of(&mut at(fake, line))
}

#[test]
fn the_seeds_steps_one_command_each() {
    let fake = FakeGate::start().unwrap();
    let status = ask(&fake, "gate status").printed();
    let closed = format!("  gate: closed; `vxgate gate open --vpg-id {VPG_ID}` opens it\n");
    assert!(status.starts_with(&format!("VPG {VPG_ID}")) && status.contains(&closed), "{status}");
    assert!(
        status.contains("  devices: 10.128.0.0/9") && status.contains("  from: 100.64.158.0/24;"),
        "{status}"
    );

    let peers = ask(&fake, "gate peers").printed();
    assert_eq!(
        peers,
        "outer           inner             owner\n\
         100.64.158.132  10.192.158.132/9  the VPG\n\
         100.64.158.4    10.192.158.4/9    the VPG\n"
    );

    let registered = ask(&fake, "gate register --outer 172.21.0.100").printed();
    assert_eq!(
        registered,
        format!(
            "172.21.0.100 is registered; its inner address is 10.225.194.171/9\n\
             next: vxgate gate open --vpg-id {VPG_ID}\n"
        )
    );
    let opened = ask(&fake, "gate open").printed();
    assert!(opened.starts_with(&format!("the gate of {VPG_ID} is open under VNI 10\nnext, ")), "{opened}");
    let again = ask(&fake, "gate register --outer 172.21.0.100").printed();
    assert!(again.ends_with(&format!("vxgate up --vpg-id {VPG_ID} --local 172.21.0.100\n")), "{again}");
    let status = ask(&fake, "gate status").printed();
    assert!(status.contains("  gate: open, VNI 10\n") && status.contains("a customer"), "{status}");

    assert_eq!(ask(&fake, "gate close").printed(), format!("the gate of {VPG_ID} is closed\n"));
    assert_eq!(
        ask(&fake, "gate unregister --outer 172.21.0.100").printed(),
        "172.21.0.100 is no longer registered\n"
    );
    assert_eq!(fake.with(|gate| (gate.vpg_mut().gate_opened, gate.vpg_mut().peers.len())), (false, 2));
    assert_eq!(
        (fake.count(Call::Auth), fake.count(Call::LogOut)),
        (8, 8),
        "no command leaves a token behind"
    );
}

#[test]
fn json_has_the_apis_own_names() {
    let fake = FakeGate::start().unwrap();
    let read = |line: &str| -> Value { serde_json::from_str(&ask(&fake, line).printed()).expect("JSON") };
    let peer = json!({
        "innerIpAddress": "10.225.194.171", "netmask": "255.128.0.0",
        "outerIpAddress": "172.21.0.100", "ownedByCustomer": true,
    });
    assert_eq!(read("gate register --outer 172.21.0.100 -j"), peer);
    assert_eq!(read("gate peers -j")[2], peer);
    let opened = read("gate open --vni 77 -j");
    assert_eq!((&opened["gateOpened"], &opened["gateVxlanId"]), (&json!(true), &json!(77)));
    let status = read("-j gate status");
    assert_eq!((&status["vpgId"], &status["peers"][2]), (&json!(VPG_ID), &peer));
    assert!(ask(&fake, "gate peers -j -p").printed().lines().count() > 10);
    assert_eq!(read("gate close -j"), json!({ "vpgId": VPG_ID, "gateOpened": false }));
    assert_eq!(
        read("gate unregister --outer 172.21.0.100 -j"),
        json!({ "outerIpAddress": "172.21.0.100", "registered": false })
    );
}

#[test]
fn a_wrong_command_line_exits_with_2_before_anybody_is_asked() {
    let fake = FakeGate::start().unwrap();
    for (line, message, hint) in [
        ("gate", "vxgate: gate: allowed are status, peers, register", "vxgate gate --help"),
        ("gate fly", "vxgate: gate: \"fly\": allowed are status, peers, register", "vxgate gate --help"),
        (
            "gate status --vpg-id ../auth",
            "vxgate: gate status: --vpg-id \"../auth\": a VPG's identifier is",
            "--help",
        ),
        (
            "gate status --coverage eu",
            "vxgate: gate status: --coverage \"eu\": a coverage is jp or g",
            "--help",
        ),
        (
            "gate status --endpoint http://api.test",
            "vxgate: gate status: --endpoint: plain http would show",
            "https",
        ),
        (
            "gate status --endpoint https://a:b@c",
            "vxgate: gate status: --endpoint: an endpoint holds no user",
            "--coverage",
        ),
        (
            "gate status --profile ../../x",
            "vxgate: gate status: \"../../x\": a profile's name",
            "--profile default",
        ),
        ("gate register", "vxgate: gate register: --outer <IP|auto>", "--help"),
        (
            "gate register --outer 127.0.0.1",
            "vxgate: gate register: --outer \"127.0.0.1\": a host's own",
            "--help",
        ),
        ("gate unregister", "vxgate: gate unregister: --outer <IP>", "--help"),
        (
            "gate open --vni 0",
            "vxgate: gate open: --vni \"0\": a Gate's VNI is a whole number from 1",
            "--help",
        ),
    ] {
        ask(&fake, line).refused(2, message, hint);
    }
    let no_vpg = Ended::of(at(&fake, "gate status").env_remove("VXGATE_VPG_ID"));
    no_vpg.refused(2, "vxgate: gate status: --vpg-id: which VPG is meant is missing", "soracom vpg list");
    let variable = Ended::of(at(&fake, "gate status").env("VXGATE_VPG_ID", "a/b"));
    variable.refused(2, "vxgate: VXGATE_VPG_ID \"a/b\": a VPG's identifier", "vxgate gate status --help");
    assert_eq!(fake.requests().len(), 0);
}

#[test]
fn each_failure_says_what_to_do_next() {
    let fake = FakeGate::start().unwrap();
    let nobody = Ended::of(&mut vxgate("gate peers --vpg-id ID"));
    nobody.refused(1, "vxgate: gate peers: no credentials for the API", "SORACOM_AUTH_KEY_ID");
    let half = Ended::of(at(&fake, "gate peers").env_remove("SORACOM_AUTH_KEY"));
    half.refused(
        1,
        "vxgate: gate peers: SORACOM_AUTH_KEY_ID is set and SORACOM_AUTH_KEY is not",
        "set SORACOM_AUTH_KEY",
    );
    let wrong = Ended::of(at(&fake, "gate peers").env("SORACOM_AUTH_KEY", "wrong-secret"));
    wrong.refused(
        1,
        "vxgate: gate peers: the API does not let us in with SORACOM_AUTH_KEY_ID and SORACOM_AUTH_KEY: Authentication failed",
        "--coverage",
    );
    let unknown = ask(&fake, "gate status --vpg-id unknown");
    unknown.refused(
        1,
        "vxgate: gate status: the API finds nothing to read the VPG: No such virtual",
        "soracom vpg list",
    );
    let absent = ask(&fake, "gate unregister --outer 172.21.0.100");
    absent.refused(
        1,
        "vxgate: gate unregister: no host is registered by the outer address 172.21.0.100",
        "vxgate gate peers",
    );
    let unknown = ask(&fake, "gate unregister --outer 172.21.0.100 --vpg-id unknown");
    unknown.refused(1, "vxgate: gate unregister: the API finds nothing to unregister", "soracom vpg list");
    fake.fault(Call::Peers, 1, Fault::truncated());
    ask(&fake, "gate peers").refused(
        1,
        "vxgate: gate peers: asked to list the Gate peers, the API answers what it should not: line 1",
        "endpoint",
    );
    fake.fault(Call::Peers, 1, Fault::status(403));
    ask(&fake, "gate peers").refused(1, "vxgate: gate peers: the API forbids these credentials", "SAM user");
    fake.fault(Call::Peers, 1, Fault::too_many(Some("3600")));
    ask(&fake, "gate peers").refused(
        1,
        "vxgate: gate peers: the API takes no more requests for now",
        "after 3600 s",
    );
}

#[test]
fn an_attempt_that_is_made_again_is_told() {
    let fake = FakeGate::start().unwrap();
    fake.fault(Call::Peers, 2, Fault::too_many(Some("0")));
    let ended = ask(&fake, "gate peers");
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 3);
    let notices: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(notices.len(), 2, "{}", ended.stderr);
    for notice in notices {
        assert!(
            notice.starts_with("vxgate: gate peers: the API takes no more requests for now (429)"),
            "{notice}"
        );
        assert!(notice.ends_with("; trying again in 0 s"), "{notice}");
    }
}

#[test]
fn a_token_that_was_given_is_used_and_left() {
    let fake = FakeGate::start().unwrap();
    let (api_key, token) = fake.with(|gate| gate.issue());
    let (api_key, token) = (Scratch::new(&format!("{api_key}\n")), Scratch::new(&token));
    for _ in 0..2 {
        let mut command = vxgate("gate peers");
        command
            .env("SORACOM_API_KEY", format!("file:{}", api_key.0.display()))
            .env("SORACOM_TOKEN", format!("file:{}", token.0.display()))
            .env("VXGATE_VPG_ID", VPG_ID)
            .env("VXGATE_ENDPOINT", fake.endpoint());
        Ended::of(&mut command).printed();
    }
    assert_eq!((fake.count(Call::Auth), fake.count(Call::LogOut)), (0, 0));
}

#[test]
fn no_secret_is_printed_whatever_happens() {
    let fake = FakeGate::start().unwrap();
    let account = fake.account();
    let right = [account.auth_key_id.as_str(), account.auth_key.as_str()];
    let quote = |key: &str| json!({ "code": key, "message": format!("{} {key}", right[0]) }).to_string();
    let mut printed = String::new();
    for line in
        ["status", "peers", "register --outer 172.21.0.100", "open", "unregister --outer 172.21.0.9", "close"]
    {
        for (call, fault) in [
            (Call::Any, None),
            (Call::Auth, Some(Fault::text(401, &quote("wrong-secret")))),
            (Call::Any, Some(Fault::text(200, &quote(right[1])))),
            (Call::Vpg, Some(Fault::text(403, &quote(right[1])))),
            (Call::Peers, Some(Fault::redirect(302, "https://evil.test/?key=secret"))),
        ] {
            fake.heal();
            if let Some(fault) = fault {
                fake.fault(call, 9, fault);
            }
            let key = if call == Call::Auth { "wrong-secret" } else { &account.auth_key };
            let ended = Ended::of(
                at(&fake, &format!("gate {line}"))
                    .env("SORACOM_AUTH_KEY", key)
                    .env("VXGATE_LOG", "trace")
                    .env("RUST_LOG", "trace"),
            );
            printed += &format!("{}{}", ended.stdout, ended.stderr);
        }
    }
    assert!(printed.contains("[hidden]") && printed.contains("credentials do not follow"), "{printed}");
    for secret in [right[0], right[1], "wrong-secret", "fake-token-", "key=secret"] {
        assert!(!printed.contains(secret), "{secret}: {printed}");
    }
}

#[test]
fn what_the_list_prints_is_what_a_reader_of_the_vendors_list_takes() {
    let fake = FakeGate::start().unwrap();
    let list = ask(&fake, "gate peers -j").printed();
    let peers = vxgate_gate::peers::parse(list.as_bytes()).expect("the vendor's form");
    assert_eq!(vxgate_gate::peers::vpg_peers(&peers).count(), 2);
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let fake = FakeGate::start().unwrap();
    let mut child =
        at(&fake, "gate peers").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// ```text
///   you ── eth0 ──────────── eth0 ── gate ── lo 100.64.158.4, .132
///   172.21.0.100/24         172.21.0.1/24    the API, plain http
/// ```
#[test]
fn a_host_registers_itself_by_the_address_that_its_routes_use() {
    isolated!(|| {
        let (you, gate) = (Host::new("you").unwrap(), Host::new("gate").unwrap());
        link(&you, "eth0", &gate, "eth0").unwrap();
        you.address("eth0", "172.21.0.100/24").unwrap();
        gate.address("eth0", "172.21.0.1/24").unwrap();
        let fake = gate.run(|| FakeGate::start_on("172.21.0.1:0".parse().unwrap())).unwrap();
        let account = fake.account();
        let run = |plain: &str| {
            let mut command = you.command(VXGATE);
            command
                .args(["gate", "register", "--outer", "auto", "--vpg-id", VPG_ID])
                .env_clear()
                .env("SORACOM_ENDPOINT", fake.endpoint())
                .env("SORACOM_AUTH_KEY_ID", &account.auth_key_id)
                .env("SORACOM_AUTH_KEY", &account.auth_key)
                .env("VXGATE_ALLOW_PLAIN_HTTP", plain);
            Ended::of(&mut command)
        };
        run("").refused(
            1,
            "vxgate: gate register: SORACOM_ENDPOINT: plain http would show",
            "ALLOW_PLAIN_HTTP",
        );
        run("1").refused(
            1,
            "vxgate: gate register: --outer auto: there is no route to 100.64.158.132: Network is unreachable",
            "--outer 172.21.0.100",
        );
        you.route("100.64.158.0/24", "172.21.0.1").unwrap();
        let registered = run("1").printed();
        assert!(
            registered.starts_with("172.21.0.100 is registered; its inner address is 10.225.194.171/9\n"),
            "{registered}"
        );
        // Two ways out, and two addresses: which one is meant is not ours to say.
        you.address("eth0", "172.22.0.7/24").unwrap();
        you.route("100.64.158.4/32", "172.22.0.1").unwrap();
        run("1").refused(
            1,
            "vxgate: gate register: --outer auto: the routes to the VPG's peers use 172.21.0.100 and 172.22.0.7",
            "--outer 172.21.0.100",
        );
    });
}
