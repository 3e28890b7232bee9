//! Socket buffers: what a burst may queue.

use vxgate_forwarder::UdpConfig;

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::{CAP_NET_ADMIN, has_capability, sysctl};
use crate::doctor::subject::Subject;
use crate::print::units::Octets;

pub(crate) fn check(subject: &Subject) -> Vec<Finding> {
    let asked = UdpConfig::new(([0, 0, 0, 0], 0).into()).receive_buffer_octets as u64;
    let granted = match subject.status() {
        // The kernel doubles what is asked for (socket(7)).
        Some(status) => status.sizes.receive_buffer_octets / 2,
        // With the capability, as `up` has it, the limit does not count.
        None if has_capability(CAP_NET_ADMIN) => asked,
        None => sysctl("net/core/rmem_max").unwrap_or(asked),
    };
    vec![judge(asked, granted)]
}

fn judge(asked: u64, granted: u64) -> Finding {
    if granted >= asked {
        return Finding::ok(Check::Buffers, format!("{} for receiving, as asked for", Octets(asked)));
    }
    Finding::advice(
        Check::Buffers,
        format!(
            "{} for receiving where {} are asked for: bursts may be lost",
            Octets(granted),
            Octets(asked)
        ),
        format!("sysctl -w net.core.rmem_max={asked} net.core.wmem_max={asked}, or run with CAP_NET_ADMIN"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_smaller_buffer_is_a_note_with_the_setting() {
        assert_eq!(judge(4 << 20, 4 << 20).verdict, Verdict::Ok);
        let finding = judge(4 << 20, 212_992);
        assert_eq!(finding.verdict, Verdict::Note);
        assert!(finding.next_step.unwrap().contains("net.core.rmem_max=4194304"));
    }
}
