//! `vxgate doctor --vpg-id` and `--gate-peers`: what the Gate says of the tunnel, against a fake API.

use std::fs;
use std::net::IpAddr;

use vxgate_fake_gate::{Call, Fault, Peer, VPG_ID, Vpg};
use vxgate_testbed::isolated;

use crate::doctor::Report;
use crate::gate_api::Api;
use crate::gate_peers::LIST;
use crate::ground::{Ground, YOU, missing};

fn doctor(api: &Api, options: &str) -> Report {
    let line = format!("doctor --vpg-id {VPG_ID} -j -p {options}");
    Report::of_command(&api.ground, api.command(line.trim()))
}

fn change(api: &Api, change: impl FnOnce(&mut Vpg)) {
    api.fake.with(|gate| change(gate.vpg_mut()));
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_gate_that_is_ready_is_found_well_and_one_that_is_not_says_what_is_missing() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate().ready();
        let report = doctor(&api, "");
        report.is_well();
        report.says(
            "gate",
            "ok",
            &format!("{VPG_ID} is open, VNI 10, {YOU} is registered with 10.225.194.171/9"),
            "",
        );
        // Everything else is looked at with what the API says.
        report.says("route", "ok", "100.64.158.132 is reached via 172.21.0.1", "");
        report.says("address", "ok", "1 network", "");
        for call in [Call::Register, Call::Open] {
            assert_eq!(api.fake.count(call), 0, "the doctor changes nothing at the API either");
        }

        change(&api, |vpg| vpg.gate_opened = false);
        doctor(&api, "").says_only(
            "gate",
            "fail",
            "the Gate of the VPG is closed",
            "vxgate gate open --vpg-id",
        );
        let report = doctor(&api, "--open-gate");
        report.is_well();
        report.says("gate", "note", "--open-gate opens it", "");
        change(&api, |vpg| {
            vpg.gate_opened = true;
            vpg.peers.retain(|peer| !peer.owned_by_customer);
            vpg.register(ip("172.21.0.99"), None);
        });
        let report = doctor(&api, "");
        report.is_well();
        report.says("gate", "note", "172.21.0.99", "vxgate gate register");
        change(&api, |vpg| vpg.peers.retain(|peer| peer.owned_by_customer));
        doctor(&api, "--local 172.21.0.100 --peer 100.64.158.4").says(
            "gate",
            "fail",
            "no Gate peer of the VPG",
            "vxgate gate peers",
        );
    });
}

#[test]
fn an_api_that_cannot_be_asked_says_why_in_time_and_no_secret() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate().ready();
        let given = "--peer 100.64.158.4 --address 10.225.194.171/9";
        let mut wrong = api.command(&format!("doctor --vpg-id {VPG_ID} -j {given}"));
        wrong.env("SORACOM_AUTH_KEY", "secret-that-is-wrong");
        let report = Report::of_command(&api.ground, wrong);
        report.says_only(
            "gate",
            "fail",
            "the API cannot be asked: the API does not let us in",
            "credentials",
        );
        assert!(!report.text().contains("secret-"), "{}", report.text());
        let mut nobody = api.command(&format!("doctor --vpg-id {VPG_ID} -j {given}"));
        nobody.env_remove("SORACOM_AUTH_KEY_ID").env_remove("SORACOM_AUTH_KEY").env("HOME", "/nonexistent");
        Report::of_command(&api.ground, nobody).says_only("gate", "fail", "credentials", "SORACOM_AUTH_KEY");
        api.fake.fault(Call::Vpg, 9, Fault::silent());
        doctor(&api, given).says_only("gate", "fail", "the API cannot be asked", "");
        api.fake.heal();
        api.fake.fault(Call::Peers, 9, Fault::truncated());
        doctor(&api, given).says_only("gate", "fail", "the API cannot be asked", "");
        api.fake.heal();
        api.fake.go_down();
        doctor(&api, given).says_only("gate", "fail", "connection refused", "firewall");
    });
}

#[test]
fn what_the_gate_says_otherwise_than_the_tunnel_that_runs_is_found() {
    isolated!(|| {
        if missing() {
            return;
        }
        let api = Api::with_gate().ready();
        let daemon = api.up("");
        assert!(api.ground.answers());
        let look = || doctor(&api, "");
        let well = look();
        well.says("gate", "ok", "is open, VNI 10", "");

        change(&api, |vpg| vpg.gate_opened = false);
        let by_up = format!("`vxgate up --vpg-id {VPG_ID} --open-gate`");
        look().says("gate", "fail", "the Gate of the VPG is closed", &by_up);
        change(&api, |vpg| (vpg.gate_opened, vpg.vni) = (true, Some(11)));
        look().says("gate", "fail", "the Gate's VNI is 11, and the tunnel's 10", "vxgate down vxlan0");
        change(&api, |vpg| {
            vpg.vni = Some(10);
            vpg.peers.retain(|peer| peer.outer != ip("100.64.158.132"));
            vpg.peers.push(Peer {
                inner: ip("10.192.158.5"),
                netmask: Some("255.128.0.0".to_owned()),
                outer: ip("100.64.158.5"),
                owned_by_customer: false,
            });
        });
        let report = look();
        let hint = "vxgate peer add 100.64.158.5 dev vxlan0";
        report.says("gate", "warn", "the API has the peer 100.64.158.5, and the tunnel has not", hint);
        let hint = "vxgate peer del 100.64.158.132 dev vxlan0";
        report.says("gate", "warn", "the tunnel has the peer 100.64.158.132, and the API has not", hint);
        change(&api, |vpg| vpg.peers.retain(|peer| !peer.owned_by_customer));
        look().says("gate", "fail", "", "vxgate gate register");
        change(&api, |vpg| drop(vpg.register(ip(YOU), Some(ip("10.225.194.99")))));
        let found = "the API has 10.225.194.99 for this host, and vxlan0 has 10.225.194.171";
        look().says("gate", "fail", found, "restart the tunnel");
        // This host has another address, which is the one that is registered.
        api.ground.you.address("eth0", "172.21.0.99/24").unwrap();
        change(&api, |vpg| {
            vpg.peers.retain(|peer| !peer.owned_by_customer);
            vpg.register(ip("172.21.0.99"), None);
        });
        let found = "172.21.0.99 is registered, and the tunnel sends from 172.21.0.100: the Gate drops that";
        look().says("gate", "fail", found, "--local 172.21.0.99");
        // A tunnel that runs does without the API.
        api.fake.go_down();
        look().says("gate", "warn", "the API cannot be asked", "");
        daemon.stop();
    });
}

#[test]
fn the_vendors_list_serves_the_doctor_as_it_does_up() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        fs::create_dir_all("/run/lists").unwrap();
        fs::write("/run/lists/peers.json", LIST).unwrap();
        let look =
            || Report::of_command(&ground, ground.command("doctor --gate-peers /run/lists/peers.json -j"));
        let report = look();
        report.is_well();
        report.says("gate", "ok", "the list has this host and the peers 100.64.158.4 and 100.64.158.132", "");
        report.says("peer", "ok", "100.64.158.132 answers pings", "");
        fs::write("/run/lists/peers.json", LIST.replace(YOU, "172.21.0.98")).unwrap();
        look().says("gate", "fail", "172.21.0.98", "vxgate gate register");
        fs::write("/run/lists/peers.json", "[{").unwrap();
        look().says("gate", "fail", "--gate-peers /run/lists/peers.json", "soracom vpg list-gate-peers");
    });
}
