//! The Gate: open, with this host registered as it is, and with the peers that the tunnel has.

use std::net::IpAddr;

use super::{is_gate, listed};
use crate::control::protocol::TunnelStatus;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::gate::Gate;
use crate::doctor::subject::Subject;
use crate::up::gate::vpg::{Kind, View};

pub(crate) fn check(subject: &Subject, gate: &Gate) -> Vec<Finding> {
    match gate {
        Gate::Unasked => Vec::new(),
        Gate::List(Ok(notices)) if notices.is_empty() => {
            let peers = listed(subject.config.outer_peers());
            vec![Finding::ok(Check::Gate, format!("the list has this host and the peers {peers}"))]
        }
        Gate::List(Ok(notices)) => notices.iter().map(|notice| noted(notice)).collect(),
        Gate::List(Err(failure)) => {
            let otherwise = "it takes what `soracom vpg list-gate-peers --vpg-id ID` prints, unchanged";
            vec![Finding::fail(
                Check::Gate,
                failure.why().trim_start_matches("up: "),
                failure.hint().unwrap_or(otherwise),
            )]
        }
        Gate::Api(Err(blind)) => {
            let hint = blind.hint.clone().unwrap_or_else(|| "`vxgate gate status` asks the same".to_owned());
            let why = format!("the API cannot be asked: {}", blind.why);
            // A tunnel that runs does without.
            vec![match subject.running {
                Some(_) => Finding::warn(Check::Gate, why, hint),
                None => Finding::fail(Check::Gate, why, hint),
            }]
        }
        Gate::Api(Ok(view)) => {
            let inner: Vec<IpAddr> = subject.config.addresses.iter().map(|address| address.addr()).collect();
            judge(view, subject.status(), &inner, subject.opens_gate)
        }
    }
}

fn noted(notice: &str) -> Finding {
    Finding::warn(
        Check::Gate,
        notice,
        "leave the option out to take the Gate's word, or know that yours wins",
    )
}

/// `inner` are the addresses of the device, `opens` is whether `up` would open the Gate.
fn judge(view: &View, status: Option<&TunnelStatus>, inner: &[IpAddr], opens: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for trouble in &view.troubles {
        let (found, next_step) = (&trouble.found, &trouble.next_step);
        findings.push(match (trouble.kind, status) {
            (Kind::NotRegistered, None) => {
                Finding::advice(Check::Gate, format!("{found}: `up --vpg-id` registers it"), next_step)
            }
            (Kind::Closed, None) if opens => {
                Finding::note(Check::Gate, format!("{found}: --open-gate opens it"))
            }
            (Kind::Closed | Kind::NotRegistered | Kind::List, _) => {
                Finding::fail(Check::Gate, found, next_step)
            }
        });
    }
    findings.extend(view.notices.iter().map(|notice| noted(notice)));
    if let Some(status) = status {
        findings.extend(against(view, status, inner));
    }
    if findings.is_empty() {
        let vni = view.vni.map_or_else(|| "no VNI yet".to_owned(), |vni| format!("VNI {vni}"));
        let own = view
            .own
            .map_or_else(String::new, |own| format!(", {} is registered with {}", own.outer, own.address));
        findings.push(Finding::ok(Check::Gate, format!("{} is open, {vni}{own}", view.vpg)));
    }
    findings
}

/// What the API says against the tunnel that runs.
fn against(view: &View, status: &TunnelStatus, inner: &[IpAddr]) -> Vec<Finding> {
    let dev = &status.dev;
    let restart = format!("restart the tunnel with --vpg-id {}: vxgate down {dev}", view.vpg);
    let mut findings = Vec::new();
    if let Some(vni) = view.vni.filter(|vni| vni.get() != status.vni) {
        let found = format!("the Gate's VNI is {vni}, and the tunnel's {}: nothing passes", status.vni);
        findings.push(Finding::fail(Check::Gate, found, &restart));
    }
    if let Some(own) = view.own {
        if own.outer != status.local {
            let found = format!(
                "{} is registered, and the tunnel sends from {}: the Gate drops that",
                own.outer, status.local
            );
            let next_step = format!(
                "--local {}, or vxgate gate register --vpg-id {} --outer {}",
                own.outer, view.vpg, status.local
            );
            findings.push(Finding::fail(Check::Gate, found, next_step));
        } else if !inner.contains(&own.address.addr()) {
            let found = format!(
                "the API has {} for this host, and {dev} has {}",
                own.address.addr(),
                if inner.is_empty() { "no address".to_owned() } else { listed(inner) }
            );
            findings.push(Finding::fail(Check::Gate, found, &restart));
        }
    }
    let runs: Vec<IpAddr> = status.peers.iter().map(|peer| peer.ip).collect();
    for peer in view.peers.iter().filter(|peer| !runs.contains(peer)) {
        let found = format!("the API has the peer {peer}, and the tunnel has not");
        findings.push(Finding::warn(Check::Gate, found, format!("vxgate peer add {peer} dev {dev}")));
    }
    for peer in runs.iter().filter(|peer| is_gate(**peer) && !view.peers.contains(peer)) {
        let found = format!("the tunnel has the peer {peer}, and the API has not");
        findings.push(Finding::warn(Check::Gate, found, format!("vxgate peer del {peer} dev {dev}")));
    }
    findings
}
