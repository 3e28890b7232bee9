//! `vxgate up --gate-peers`: the vendor's own list is all that it takes.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use vxgate_testbed::isolated;

use crate::ground::{Daemon, Ended, Ground, missing};

/// What `soracom vpg list-gate-peers` prints for the ground's VPG, whose second peer is not there.
pub(crate) const LIST: &str = r#"[
  {"innerIpAddress": "10.192.158.4", "netmask": "255.128.0.0", "outerIpAddress": "100.64.158.4", "ownedByCustomer": false},
  {"innerIpAddress": "10.192.158.132", "netmask": "255.128.0.0", "outerIpAddress": "100.64.158.132", "ownedByCustomer": false},
  {"innerIpAddress": "10.225.194.170", "netmask": "255.128.0.0", "outerIpAddress": "172.21.0.99", "ownedByCustomer": true},
  {"innerIpAddress": "10.225.194.171", "netmask": null, "outerIpAddress": "172.21.0.100", "ownedByCustomer": true}
]"#;

/// Has the command read this text.
fn piped(mut command: Command, text: &str) -> Command {
    let (reader, mut writer) = std::io::pipe().unwrap();
    // It fits into the pipe.
    writer.write_all(text.as_bytes()).unwrap();
    command.stdin(Stdio::from(reader));
    command
}

#[test]
fn the_vendors_list_on_standard_input_makes_a_tunnel_that_carries() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        for line in ["up --gate-peers - --local 172.21.0.100", "up --gate-peers -"] {
            let daemon = Daemon::start(piped(ground.command(line), LIST));
            assert!(ground.answers(), "{line}: {}", daemon.log());
            let shown = ground.show();
            assert_eq!((&shown["vni"], &shown["local"]), (&10.into(), &"172.21.0.100".into()), "{line}");
            let mut peers: Vec<_> =
                shown["peers"].as_array().unwrap().iter().map(|peer| peer["ip"].as_str().unwrap()).collect();
            peers.sort_unstable();
            assert_eq!(peers, ["100.64.158.132", "100.64.158.4"], "{line}");
            let inner =
                |peer: &Value| peer["inner"] == format!("10.192.{}", &peer["ip"].as_str().unwrap()[7..]);
            assert!(shown["peers"].as_array().unwrap().iter().all(inner), "what probes ask for: {shown}");
            assert!(daemon.log().contains("address 10.225.194.171/9"), "{}", daemon.log());
            assert!(!daemon.log().contains("WARN"), "{}", daemon.log());
            daemon.stop();
        }
    });
}

#[test]
fn the_list_comes_from_a_file_too_and_what_is_given_wins_with_a_word() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        fs::create_dir_all("/run/lists").unwrap();
        fs::write("/run/lists/peers.json", LIST).unwrap();
        let daemon =
            ground.up("up --gate-peers /run/lists/peers.json --address 10.225.0.7/9 --peer 100.64.158.4");
        assert!(ground.answers(), "{}", daemon.log());
        for told in [
            "--address is given, and wins: the list has 10.225.194.171/9 for this host",
            "--peer is given, and wins: the list has 100.64.158.4 100.64.158.132",
        ] {
            assert!(daemon.log().contains(told), "{told}: {}", daemon.log());
        }
        daemon.stop();
        for value in ["/run/lists/peers.json", "file:/run/lists/peers.json", LIST] {
            let mut command = ground.command("up");
            command.env("VXGATE_GATE_PEERS", value);
            let daemon = Daemon::start(command);
            assert!(ground.answers(), "{value}: {}", daemon.log());
            daemon.stop();
        }
    });
}

#[test]
fn a_list_that_makes_no_tunnel_says_what_is_wrong_and_what_to_do_and_leaves_nothing() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let line = "up --gate-peers - --local 172.21.0.100";
        let unregistered = LIST.replace("172.21.0.100", "172.21.0.98");
        let no_vpg = LIST.replace("false", "true");
        let twice = LIST.replace("172.21.0.99", "172.21.0.100");
        let cases = [
            ("", "not JSON: EOF", "soracom vpg list-gate-peers"),
            (&LIST[..LIST.len() - 9], "not JSON: EOF", "soracom vpg list-gate-peers"),
            ("<html>", "not JSON", "unchanged"),
            (
                r#"{"code": "AUM0003", "message": "Invalid token"}"#,
                "the API refused: Invalid token (AUM0003)",
                "",
            ),
            ("[]", "the list has no Gate peer of the VPG: it is empty", ""),
            (
                &LIST.replace("\"100.64.158.4\"", "7"),
                "entry 1: outerIpAddress should be an IP address",
                "unchanged",
            ),
            (
                &unregistered,
                "172.21.0.100 is not among the Gate peers",
                "vxgate gate register --vpg-id ID --outer 172.21.0.100",
            ),
            (&no_vpg, "the list has no Gate peer of the VPG: each of its 4", "vxgate gate peers"),
            (&twice, "the list has 172.21.0.100 twice", "unregister"),
        ];
        for (list, why, hint) in cases {
            let list: &str = list;
            let message = "vxgate: up: --gate-peers -: ";
            ground.refused_command(piped(ground.command(line), list), 1, message, hint);
            let ended = Ended::of(piped(ground.command(line), list));
            assert!(ended.stderr.contains(why), "{list}: {}", ended.stderr);
        }
        ground.refused(
            "up --gate-peers /run/none.json",
            1,
            "vxgate: up: --gate-peers /run/none.json: No such file",
            "write it first",
        );
        ground.refused("up --gate-peers - --vni 16777216", 2, "vxgate: up: --vni", "help");
    });
}
