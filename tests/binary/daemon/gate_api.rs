//! `vxgate up --vpg-id`: from a key of the API to a tunnel, and what becomes of the tunnel when the API fails.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use vxgate_fake_gate::{Call, FakeGate, Fault, Peer, VPG_ID};
use vxgate_testbed::{Ping, eventually, isolated, now};

use crate::ground::{Daemon, Ended, GATE, GATE_INNER, Ground, PATIENCE, Traces, VXGATE, YOU, missing};
use crate::refused::setpriv;

const STATE_DIR: &str = "/run/vxgate-state";

/// The ground with the API on the Gate's host.
pub(crate) struct Api {
    pub(crate) ground: Ground,
    pub(crate) fake: FakeGate,
}

impl Api {
    pub(crate) fn with_gate() -> Api {
        Api::on(Ground::with_gate())
    }

    fn on(ground: Ground) -> Api {
        // Without its default route the host reaches what is inside through the tunnel or not at all.
        let narrowed = ground.you.netlink(async |netlink| {
            let link = netlink.link_by_name("eth0").await?;
            netlink.route_delete("0.0.0.0/0".parse().unwrap(), &link, "172.21.0.1".parse().ok()).await
        });
        narrowed.unwrap();
        ground.you.route("100.0.0.0/9", "172.21.0.1").unwrap();
        let address: SocketAddr = "172.21.0.1:0".parse().unwrap();
        let fake = ground.gate.run(|| FakeGate::start_on(address)).unwrap();
        Api { ground, fake }
    }

    /// The same with this host registered and the Gate open.
    pub(crate) fn ready(self) -> Api {
        self.make_ready();
        self
    }

    fn make_ready(&self) {
        self.fake.with(|gate| {
            let vpg = gate.vpg_mut();
            vpg.register(YOU.parse().unwrap(), None);
            (vpg.gate_opened, vpg.vni) = (true, Some(10));
        });
    }

    /// `vxgate` on `you` with these arguments and a key of the API.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = self.ground.command(line);
        for (variable, _) in std::env::vars() {
            if variable.starts_with("SORACOM_") || variable.to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(variable);
            }
        }
        let account = self.fake.account();
        command
            .env("SORACOM_ENDPOINT", self.fake.endpoint())
            .env("VXGATE_ALLOW_PLAIN_HTTP", "1")
            .env("VXGATE_STATE_DIR", STATE_DIR)
            .env("SORACOM_AUTH_KEY_ID", account.auth_key_id)
            .env("SORACOM_AUTH_KEY", account.auth_key);
        command
    }

    pub(crate) fn up(&self, options: &str) -> Daemon {
        Daemon::start(self.command(&up(options)))
    }

    /// Tries to bring a tunnel up, which must fail with these words and leave nothing.
    #[track_caller]
    fn refused(&self, options: &str, why: &str, hint: &str) {
        self.refused_command(self.command(&up(options)), why, hint);
    }

    #[track_caller]
    fn refused_command(&self, command: Command, why: &str, hint: &str) {
        let before = Traces::of(&self.ground.you);
        let ended = Ended::of(command);
        assert_eq!(ended.code, Some(1), "{why}: {}", ended.stderr);
        let told = ended.stderr.lines().find(|line| line.starts_with("vxgate: ")).unwrap_or_default();
        assert!(told.starts_with(&format!("vxgate: up: --vpg-id {VPG_ID}: ")), "{why}: {}", ended.stderr);
        assert!(told.contains(why), "{why}: {}", ended.stderr);
        let hinted = ended.stderr.lines().find(|line| line.starts_with("hint: ")).unwrap_or_default();
        assert!(hinted.contains(hint), "{hint}: {}", ended.stderr);
        assert!(!ended.stderr.contains(&self.fake.account().auth_key), "a secret: {}", ended.stderr);
        before.again(&self.ground.you, why);
        assert!(!fs::exists(STATE_DIR).unwrap(), "{why}: nothing is kept of what did not serve");
    }
}

fn up(options: &str) -> String {
    format!("up --vpg-id {VPG_ID} {options}")
}

/// Waits until the daemon has said this.
#[track_caller]
fn told(daemon: &mut Daemon, words: &str) {
    let told = eventually(PATIENCE, || daemon.log().contains(words) || daemon.has_ended());
    assert!(told && daemon.log().contains(words), "{words}: {}", daemon.log());
}

/// Waits until the API was asked for the peers this often again: whatever was new is done by the last but one.
#[track_caller]
fn asked_again(api: &Api, times: usize) {
    let before = api.fake.count(Call::Peers);
    assert!(eventually(PATIENCE, || api.fake.count(Call::Peers) >= before + times), "it does not ask");
}

/// A ping that gets through, how often and how soon does not matter.
fn one_ping() -> Ping {
    Ping { count: 1, timeout: Duration::from_millis(100), ..Ping::new(GATE_INNER.parse().unwrap()) }
}

#[test]
fn from_a_key_alone_it_registers_opens_and_carries_and_the_second_time_it_changes_nothing() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate();
        let before = Traces::of(&api.ground.you);
        for round in 0..3 {
            let delay = Duration::from_millis(if round == 2 { 100 } else { 0 });
            api.fake.fault(Call::Any, 3 * u32::from(round == 2), Fault::slow(delay));
            let asked = api.fake.count(Call::Any);
            let start = now();
            let mut command = api.command(&up("--open-gate"));
            command.env("VXGATE_LOG", "trace");
            let daemon = Daemon::spawn(command);
            let answered = eventually(PATIENCE, || {
                api.ground.you.run(|| one_ping().run()).is_ok_and(|report| report.all_answered())
            });
            let took = start.elapsed();
            assert!(answered, "{}", daemon.log());
            println!("round {round}: {took:?} from vxgate up --vpg-id to the first answer to a ping");
            // What the API takes for itself is not ours.
            let own = took.saturating_sub(delay * u32::try_from(api.fake.count(Call::Any) - asked).unwrap());
            println!("  of which {own:?} without the API's own delay");
            // A machine that is busy with other things is slow; this one is to show a wait, as of the next attempt.
            assert!(own < Duration::from_secs(5), "{own:?}: {}", daemon.log());
            let shown = api.ground.show();
            assert_eq!((&shown["vni"], &shown["local"]), (&10.into(), &YOU.into()));
            assert_eq!(shown["peers"].as_array().map(Vec::len), Some(2));
            let log = daemon.log();
            assert!(!log.contains("WARN"), "{log}");
            for secret in [api.fake.account().auth_key.as_str(), "fake-token-", "api-fake-key-"] {
                assert!(!log.contains(secret), "{secret}: {log}");
            }
            assert_eq!(
                log.contains("registered 172.21.0.100 as a Gate peer, with the inner address 10.225.194.171"),
                round == 0,
                "{log}"
            );
            assert_eq!(log.contains("opened the Gate, VNI 10"), round == 0, "{log}");
            daemon.stop();
            before.again(&api.ground.you, "stopped");
        }
        assert_eq!((api.fake.count(Call::Register), api.fake.count(Call::Open)), (1, 1));
    });
}

#[test]
fn a_rehearsal_says_what_would_be_done_and_does_nothing() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate();
        let before = Traces::of(&api.ground.you);
        let rehearse = |options: &str| {
            let ended = Ended::of(api.command(&up(&format!("--dry-run {options}"))));
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
            ended.stdout
        };
        let said = rehearse("");
        assert!(said.contains("would stop here") && said.contains("--open-gate"), "{said}");
        let said = rehearse("--open-gate");
        for words in ["would open the Gate", "would register 172.21.0.100", "100.64.158.132 100.64.158.4"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        api.make_ready();
        let said = rehearse("--route 10.64.0.0/16");
        for words in [
            "the Gate is open, VNI 10",
            "172.21.0.100 is registered, with 10.225.194.171/9",
            "would bring up vxlan0: VNI 10, 172.21.0.100:4789 -> ",
            "address 10.225.194.171/9, MTU 1450",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        before.again(&api.ground.you, "rehearsed");
        let changes =
            [Call::Register, Call::Open, Call::Close, Call::SetVni].map(|call| api.fake.count(call));
        assert_eq!(changes, [0; 4]);
        assert!(!fs::exists(STATE_DIR).unwrap());
        // Without a Gate it says what the options make.
        let ended = api.ground.vxgate("up --dry-run --peer 100.64.158.4 --address 10.225.194.171/9");
        assert!(
            ended.stdout.starts_with("would bring up vxlan0: VNI 10, 172.21.0.100:4789 -> 100.64.158.4,"),
            "{}",
            ended.stdout
        );
    });
}

#[test]
fn a_closed_gate_is_told_before_anything_is_registered() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate();
        api.refused("", "the Gate of the VPG is closed", &format!("`vxgate gate open --vpg-id {VPG_ID}`"));
        api.refused(
            "--local 172.21.0.9 --open-gate",
            "--local 172.21.0.9 is no address of this host",
            "leave it out",
        );
        assert_eq!((api.fake.count(Call::Register), api.fake.count(Call::Open)), (0, 0));
    });
}

#[test]
fn a_program_that_cannot_be_run_is_told_before_the_api_is_asked() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate();
        let command = api.command(&up("--open-gate --on-event /nonexistent/program"));
        let why = "vxgate: tunnel vxlan0: --on-event /nonexistent/program: it cannot be run";
        api.ground.refused_command(command, 1, why, "give the path of a program");
        assert_eq!(api.fake.count(Call::Auth), 0);
    });
}

#[test]
fn whatever_is_wrong_with_the_api_is_said_with_what_to_do_and_no_tunnel_is_half_made() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::on(Ground::lay()).ready();
        let once = "--api-wait 0";
        let faults = [
            (Call::Auth, Fault::status(401), "the API does not let us in", "credentials are current"),
            (Call::Vpg, Fault::status(403), "the API forbids these credentials to read the VPG", "SAM user"),
            (Call::Vpg, Fault::status(404), "the API finds nothing to read the VPG", "soracom vpg list"),
            (Call::Peers, Fault::too_many(None), "(429)", "try again later"),
            (Call::Peers, Fault::too_many(Some("900")), "(429)", "after 900 s"),
            (Call::Vpg, Fault::status(500), "the API failed (500)", "try again later"),
            (Call::Auth, Fault::status(503), "the API failed (503)", "try again later"),
            (Call::Vpg, Fault::truncated(), "not JSON: EOF", "no proxy answers in its place"),
            (
                Call::Peers,
                Fault::text(200, "<html>Sign in</html>"),
                "a web page",
                "no proxy answers in its place",
            ),
            (
                Call::Peers,
                Fault::text(200, "{}"),
                "asked to list the Gate peers, the API answers",
                "endpoint",
            ),
            (
                Call::Peers,
                Fault::changed(|body| body[0]["outerIpAddress"] = 7.into()),
                "entry 1: outerIpAddress should be",
                "endpoint",
            ),
            (
                Call::Vpg,
                Fault::changed(|body| body["gateOpened"] = "yes".into()),
                "gateOpened should be true or false",
                "endpoint",
            ),
            (Call::Vpg, Fault::closed(), "172.21.0.1:", "reaches the internet"),
            (Call::Peers, Fault::cut_off(), "172.21.0.1:", "reaches the internet"),
            (Call::Vpg, Fault::silent(), "172.21.0.1:", "reaches the internet"),
            (Call::Vpg, Fault::redirect(302, "http://192.0.2.1/v1"), "sends us to", "--endpoint"),
        ];
        for (call, fault, why, hint) in faults {
            api.fake.fault(call, 1, fault);
            api.refused(once, why, hint);
            api.fake.heal();
        }
        let endpoint = |url: &str| {
            let mut command = api.command(&up(once));
            command.env("SORACOM_ENDPOINT", url);
            command
        };
        let plain = api.fake.endpoint();
        api.refused_command(endpoint(&plain.replace("http:", "https:")), "TLS", "endpoint is the API's");
        api.refused_command(endpoint("https://api.invalid/v1"), "api.invalid", "");
        let mut command = api.command(&up(once));
        command.env_remove("SORACOM_AUTH_KEY_ID").env_remove("SORACOM_AUTH_KEY").env("HOME", "/nonexistent");
        api.refused_command(command, "credentials", "SORACOM_AUTH_KEY_ID");
        api.fake.go_down();
        api.refused(once, "connection refused", "firewall");
        api.fake.come_up().unwrap();
        // The list itself: nobody to talk to, ourselves twice, no netmask anywhere.
        let peers = api.fake.with(|gate| gate.vpg_mut().peers.clone());
        let lists: [(Vec<Peer>, &str, &str); 3] = [
            (peers[2..].to_vec(), "the list has no Gate peer of the VPG", "vxgate gate peers --vpg-id"),
            (
                [&peers[..], &[Peer { inner: "10.225.194.172".parse().unwrap(), ..peers[2].clone() }]]
                    .concat(),
                "the list has 172.21.0.100 twice, as 10.225.194.171 and as 10.225.194.172",
                "vxgate gate unregister --vpg-id",
            ),
            (
                peers.iter().map(|peer| Peer { netmask: None, ..peer.clone() }).collect(),
                "no entry of the list has a netmask",
                "--address",
            ),
        ];
        for (list, why, hint) in lists {
            api.fake.with(|gate| {
                gate.vpg_mut().peers = list;
                gate.vpg_mut().fills_in_netmasks = false;
            });
            api.refused(once, why, hint);
        }
        // The prefix may be given in its place; and what is wrong is told as the VPG's, before anything is changed there.
        let command = api.command(&up("--dry-run --address 10.225.194.171/9"));
        let ended = Ended::of(command);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        api.fake.with(|gate| {
            let vpg = gate.vpg_mut();
            vpg.peers = vec![Peer { inner: "224.0.0.1".parse().unwrap(), ..peers[0].clone() }];
            vpg.gate_opened = false;
        });
        let wrong = "what the VPG has makes no tunnel: peer: the inner address 224.0.0.1 is no address";
        api.refused(&format!("{once} --open-gate"), wrong, "vxgate gate peers --vpg-id");
        // Nor is anything changed there by one that may make no device.
        api.fake.with(|gate| gate.vpg_mut().peers = peers[..2].to_vec());
        if let Some(setpriv) = setpriv() {
            let mut command = api.ground.you.command(&setpriv);
            command.args(["--bounding-set", "-all", "--inh-caps", "-all", VXGATE]);
            command.args(up(&format!("{once} --open-gate")).split(' '));
            for (name, value) in api.command("").get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            api.refused_command(command, "no permission to", "");
        }
        assert_eq!((api.fake.count(Call::Register), api.fake.count(Call::Open)), (0, 0));
    });
}

#[test]
fn a_configuration_file_says_the_same_and_a_key_may_lie_in_a_file() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate();
        fs::create_dir_all("/run/vxgate-files").unwrap();
        fs::write("/run/vxgate-files/key", api.fake.account().auth_key + "\n").unwrap();
        let file = format!("vpg-id = \"{VPG_ID}\"\nopen-gate = true\nroute = [\"10.64.0.0/16\"]\n");
        fs::write("/run/vxgate-files/vxlan0.toml", file).unwrap();
        let mut command = api.command("up --config /run/vxgate-files/vxlan0.toml");
        command.env("SORACOM_AUTH_KEY", "file:/run/vxgate-files/key");
        let daemon = Daemon::start(command);
        assert!(api.ground.answers(), "{}", daemon.log());
        assert!(!daemon.log().contains(&api.fake.account().auth_key), "{}", daemon.log());
        let command_line = fs::read_to_string(format!("/proc/{}/cmdline", daemon.pid())).unwrap();
        assert!(!command_line.contains(&api.fake.account().auth_key));
        daemon.stop();
    });
}

#[test]
fn what_vxgate_gate_peers_prints_is_a_list_to_come_up_from() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate().ready();
        let listed = Ended::of(api.command(&format!("gate peers -j --vpg-id {VPG_ID}")));
        assert_eq!(listed.code, Some(0), "{}", listed.stderr);
        let mut command = api.ground.command("up");
        command.env("VXGATE_GATE_PEERS", listed.stdout);
        let daemon = Daemon::start(command);
        assert!(api.ground.answers(), "{}", daemon.log());
        daemon.stop();
    });
}

#[test]
fn a_tunnel_that_waits_for_the_api_says_so_and_can_be_taken_down_and_a_second_asks_nobody() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate();
        let before = Traces::of(&api.ground.you);
        api.fake.fault(Call::Vpg, 1, Fault::silent());
        let mut daemon = Daemon::spawn(api.command(&up("--open-gate")));
        assert!(eventually(PATIENCE, || api.fake.count(Call::Vpg) > 0), "{}", daemon.log());
        let shown = api.ground.vxgate("show vxlan0");
        assert_eq!(shown.code, Some(1), "{}", shown.stdout);
        assert!(
            shown.stderr.contains("the tunnel is not up yet: the Gate's API is being asked"),
            "{}",
            shown.stderr
        );
        let second = Ended::of(api.command(&up("--open-gate")));
        assert_eq!(second.code, Some(1));
        assert!(second.stderr.contains("vxgate is already running for vxlan0"), "{}", second.stderr);
        assert_eq!(api.fake.count(Call::Auth), 1, "the second asks nobody");
        let down = api.ground.vxgate("down");
        assert_eq!((down.code, down.stderr.as_str()), (Some(0), ""));
        let (status, log) = daemon.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("ending before the tunnel is up"), "{log}");
        before.again(&api.ground.you, "down");
        assert_eq!((api.fake.count(Call::Register), api.fake.count(Call::Open)), (0, 0));
    });
}

#[test]
fn a_passing_fault_at_the_start_is_waited_out_with_a_word() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate().ready();
        api.fake.fault(Call::Peers, 1, Fault::too_many(Some("1")));
        let daemon = api.up("");
        assert!(daemon.log().contains("trying again in"), "{}", daemon.log());
        assert!(api.ground.answers());
        daemon.stop();
    });
}

#[test]
fn a_running_tunnel_keeps_running_whatever_the_api_does() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate().ready();
        let mut daemon = api.up("--api-interval 1 --api-wait 0");
        assert!(api.ground.answers());
        let log_ins = api.fake.count(Call::Auth);
        api.fake.with(vxgate_fake_gate::Gate::expire_tokens);
        asked_again(&api, 2);
        assert_eq!(api.fake.count(Call::Auth), log_ins + 1, "one new token");
        for (fault, words) in [
            (Fault::status(500), "the API failed (500)"),
            (Fault::text(200, "]["), "not JSON"),
            (Fault::text(200, "[]"), "the list has no Gate peer of the VPG: it is empty"),
            (Fault::truncated(), "not JSON: EOF"),
            (Fault::silent(), "172.21.0.1:"),
            (Fault::status(404), "the API finds nothing to list the Gate peers"),
        ] {
            api.fake.fault(Call::Peers, 1, fault);
            told(&mut daemon, words);
            api.fake.heal();
            assert!(daemon.log().contains("the tunnel stays as it is"), "{}", daemon.log());
            assert!(api.ground.answers(), "{words}");
        }
        api.fake.go_down();
        told(&mut daemon, "connection refused");
        assert!(api.ground.answers(), "the API is down");
        api.fake.come_up().unwrap();
        api.fake.with(|gate| gate.vpg_mut().gate_opened = false);
        told(&mut daemon, "the Gate is closed now");
        api.fake.with(|gate| gate.vpg_mut().gate_opened = true);
        told(&mut daemon, "the Gate is open again");
        api.fake.with(|gate| gate.vpg_mut().peers.retain(|peer| !peer.owned_by_customer));
        told(&mut daemon, "172.21.0.100 is no longer among the Gate peers");
        assert_eq!(daemon.log().matches("no longer among").count(), 1);
        assert!(api.ground.answers());
        assert_eq!(api.ground.show()["peers"].as_array().map(Vec::len), Some(2));
        daemon.stop();
    });
}

#[test]
fn peers_and_routes_follow_the_api_and_no_frame_is_lost() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate().ready();
        let mut daemon = api.up("--api-interval 1");
        assert!(api.ground.answers());
        let peers = || {
            let shown = api.ground.show();
            let peers = shown["peers"].as_array().unwrap().iter();
            peers.map(|peer| peer["ip"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
        };
        let routes = || {
            let routes = api.ground.you.netlink(async |netlink| netlink.routes().await).unwrap();
            routes.iter().map(|route| route.prefix.to_string()).collect::<BTreeSet<_>>()
        };
        let by_hand = api.ground.vxgate("peer add 100.64.158.77");
        assert_eq!(by_hand.code, Some(0), "{}", by_hand.stderr);
        let report = std::thread::scope(|scope| {
            let pinging = scope.spawn(|| {
                let pings = Ping {
                    count: 400,
                    interval: Duration::from_millis(10),
                    timeout: Duration::from_secs(3),
                    ..Ping::new(GATE_INNER.parse().unwrap())
                };
                api.ground.you.run(|| pings.run()).unwrap()
            });
            let ip = |text: &str| text.parse::<IpAddr>().unwrap();
            api.fake.with(|gate| {
                let vpg = gate.vpg_mut();
                vpg.peers.retain(|peer| peer.outer != ip("100.64.158.132"));
                let new =
                    Peer { outer: ip("100.64.158.9"), inner: ip("10.192.158.9"), ..vpg.peers[0].clone() };
                vpg.peers.insert(0, new);
                // One that lies inside, and one that is this host.
                for (outer, inner) in [
                    ("10.200.0.1", "10.192.158.20"),
                    ("127.0.0.1", "10.192.158.21"),
                    ("255.255.255.255", "10.192.158.22"),
                    ("100.64.158.10", "224.0.0.1"),
                    ("100.64.158.11", "10.225.194.171"),
                    ("100.64.158.12", "10.192.158.9"),
                ] {
                    vpg.peers.push(Peer { outer: ip(outer), inner: ip(inner), ..vpg.peers[0].clone() });
                }
                vpg.sim_based_routing = true;
                for (imsi, network) in [
                    ("1", "192.168.7.0/24"),
                    ("2", "10.129.0.5/32"),
                    ("3", "100.64.0.0/10"),
                    ("4", "nonsense"),
                    ("5", "0.0.0.0/0"),
                    ("6", "172.21.0.1/32"),
                ] {
                    vpg.sim_routes.insert(imsi.to_owned(), network.to_owned());
                }
            });
            told(&mut daemon, "192.168.7.0/24 is routed into the tunnel");
            told(&mut daemon, "the VPG's peer 100.64.158.132 is gone: taken away");
            told(&mut daemon, "100.64.0.0/10 is not routed into the tunnel: it holds peer 100.64.158.");
            told(
                &mut daemon,
                "cannot add the VPG's new peer 10.200.0.1: it is inside: its own datagrams would go into the tunnel",
            );
            told(&mut daemon, "cannot add the VPG's new peer 127.0.0.1: it is an address of this host");
            for (peer, why) in [
                ("100.64.158.10: its inner address 224.0.0.1", "is no address of another host"),
                (
                    "100.64.158.11: its inner address 10.225.194.171",
                    "is an address of this host's own device",
                ),
                ("100.64.158.12: its inner address 10.192.158.9", "is given to two peers"),
            ] {
                told(&mut daemon, &format!("cannot follow the VPG's peer {peer} {why}"));
            }
            told(&mut daemon, "cannot add the VPG's new peer 255.255.255.255: it is the broadcast address");
            told(&mut daemon, "\"nonsense\", which is no network");
            told(&mut daemon, "0.0.0.0/0 is not routed into the tunnel, though the VPG has it");
            told(
                &mut daemon,
                "172.21.0.1/32 is not routed into the tunnel: it holds 172.21.0.1, by which the API is asked",
            );
            let kept = fs::read_to_string(format!("{STATE_DIR}/vpg-{VPG_ID}.json")).unwrap();
            assert!(!kept.contains("224.0.0.1"), "what no start could use is not kept: {kept}");
            assert_eq!(peers(), [GATE, "100.64.158.77", "100.64.158.9"].map(str::to_owned).into());
            assert!(
                routes().contains("192.168.7.0/24")
                    && ["100.64.0.0/10", "0.0.0.0/0", "172.21.0.1/32"]
                        .iter()
                        .all(|net| !routes().contains(*net)),
                "{:?}",
                routes()
            );
            api.fake.with(|gate| gate.vpg_mut().sim_routes.clear());
            told(&mut daemon, "192.168.7.0/24 is no longer routed");
            assert!(!routes().contains("192.168.7.0/24"), "{:?}", routes());
            pinging.join().unwrap()
        });
        assert!(report.all_answered(), "{report:?}: {}", daemon.log());
        assert_eq!(daemon.log().matches("cannot add").count(), 3, "told once: {}", daemon.log());
        assert_eq!(
            daemon.log().matches("is not routed into the tunnel").count(),
            3,
            "told once: {}",
            daemon.log()
        );
        daemon.stop();
    });
}

#[test]
fn the_last_answer_brings_the_tunnel_up_while_the_api_is_away() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate().ready();
        api.fake.with(|gate| {
            let vpg = gate.vpg_mut();
            vpg.sim_based_routing = true;
            vpg.sim_routes.insert("1".to_owned(), "192.168.7.0/24".to_owned());
        });
        api.up("").stop();
        let path = format!("{STATE_DIR}/vpg-{VPG_ID}.json");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let kept = fs::read_to_string(&path).unwrap();
        assert!(!kept.contains(&api.fake.account().auth_key) && !kept.contains("token"), "{kept}");
        api.fake.go_down();
        let mut daemon = api.up("--api-interval 1");
        assert!(api.ground.answers());
        let routes = api.ground.you.netlink(async |netlink| netlink.routes().await).unwrap();
        assert!(routes.iter().any(|route| route.prefix.to_string() == "192.168.7.0/24"), "{routes:?}");
        let log = daemon.log();
        assert!(
            log.contains("connection refused; going on with the API's answer of") && log.contains(&path),
            "{log}"
        );
        api.fake.come_up().unwrap();
        told(&mut daemon, "the API answers, and the tunnel follows it");
        daemon.stop();

        // A key that is no good says nothing of the tunnel.
        api.fake.fault(Call::Auth, 1, Fault::status(401));
        let daemon = api.up("");
        assert!(daemon.log().contains("the API does not let us in with"), "{}", daemon.log());
        assert!(daemon.log().contains("going on with the API's answer of"), "{}", daemon.log());
        assert!(api.ground.answers());
        daemon.stop();

        // A VPG that is gone is an answer; a file that is broken is none.
        let down = |why: &str| {
            let ended = Ended::of(api.command(&up("--api-wait 0")));
            assert_eq!(ended.code, Some(1), "{}", ended.stderr);
            assert!(ended.stderr.contains(why), "{why}: {}", ended.stderr);
        };
        api.fake.fault(Call::Vpg, 1, Fault::status(404));
        down("the API finds nothing to read the VPG");
        fs::write(&path, &kept[..kept.len() / 2]).unwrap();
        api.fake.go_down();
        down("connection refused");
        down("is of no use");
        // Where it cannot be kept, the tunnel comes up all the same.
        api.fake.come_up().unwrap();
        fs::remove_dir_all(STATE_DIR).unwrap();
        fs::write(STATE_DIR, "").unwrap();
        let daemon = api.up("");
        assert!(daemon.log().contains("cannot keep the API's answer"), "{}", daemon.log());
        assert!(api.ground.answers());
        daemon.stop();
    });
}

#[test]
fn it_ends_within_a_second_while_a_call_hangs() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate().ready();
        let before = Traces::of(&api.ground.you);
        for running in [false, true] {
            let up_already = running.then(|| api.up("--api-interval 1"));
            let asked = api.fake.count(Call::Vpg);
            api.fake.fault(Call::Vpg, 1, Fault::silent());
            let mut daemon = up_already.unwrap_or_else(|| Daemon::spawn(api.command(&up(""))));
            let hangs = eventually(PATIENCE, || api.fake.count(Call::Vpg) > asked);
            assert!(hangs, "{}", daemon.log());
            let start = now();
            daemon.signal(Signal::TERM);
            let (status, log) = daemon.wait();
            let took = start.elapsed();
            assert_eq!(status.code(), Some(0), "{log}");
            assert!(took < Duration::from_secs(1), "{took:?}: {log}");
            before.again(&api.ground.you, "ended");
        }
    });
}
