//! Whether the tunnel runs, and is the one that the options mean.

use crate::control::client::ClientError;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use crate::print::units::Seconds;

pub(crate) fn check(subject: &Subject) -> Vec<Finding> {
    let dev = &subject.config.dev;
    if let Some(error) = &subject.silence {
        let otherwise = || format!("restart it: vxgate down {dev}, then vxgate up");
        if let ClientError::Denied { .. } = error {
            // Nothing is wrong with the tunnel for that.
            let found = format!("it cannot be asked: {error}");
            return vec![Finding::advice(Check::Tunnel, found, error.hint().unwrap_or_else(otherwise))];
        }
        return vec![Finding::fail(Check::Tunnel, error.to_string(), error.hint().unwrap_or_else(otherwise))];
    }
    let Some(status) = subject.status() else {
        let found = format!("none runs for {dev}: what follows is what `vxgate up` would meet");
        return vec![Finding::note(Check::Tunnel, found)];
    };
    let found = format!("{dev} runs (pid {}), up for {}", status.pid, Seconds(status.uptime_s));
    let mut findings = vec![Finding::ok(Check::Tunnel, found)];
    findings.extend(subject.differences.iter().map(|difference| {
        Finding::warn(
            Check::Tunnel,
            difference,
            format!("restart it for the options to count: vxgate down {dev}"),
        )
    }));
    findings
}
