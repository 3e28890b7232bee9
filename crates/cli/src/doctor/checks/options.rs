//! What the options say that may not be meant: what `up` would log at its start.

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::{PEERS_MAX, Subject};
use crate::up::check_program;
use crate::up::plan::check_processors;

pub(crate) fn check(subject: &Subject) -> Vec<Finding> {
    let mut findings: Vec<Finding> = subject
        .config
        .notices
        .iter()
        .map(|notice| {
            Finding::warn(Check::Options, notice, "change the options if that is not what you mean")
        })
        .collect();
    let refused = [check_processors(&subject.config), check_program(subject.config.on_event.as_deref())];
    findings.extend(
        refused.iter().filter_map(|result| Some(Finding::refusal(Check::Options, result.as_ref().err()?))),
    );
    let peers = subject.config.peers.len();
    if peers > PEERS_MAX {
        let found = format!("of {peers} peers only the first {PEERS_MAX} are looked at one by one");
        findings.push(Finding::note(Check::Options, found));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(Check::Options, "they go together"));
    }
    findings
}
