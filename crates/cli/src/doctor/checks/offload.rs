//! What the kernel does for many frames at once: nothing that a tunnel needs, and what makes it fast.

use std::fs;

use crate::control::protocol::TunnelStatus;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;

/// From which release on there is what (net/ipv4/udp.c, net/ipv4/udp_offload.c, drivers/net/tun.c).
const SINCE: [((u32, u32), &str); 3] =
    [((4, 18), "UDP_SEGMENT"), ((5, 0), "UDP_GRO"), ((6, 2), "USO of TAP devices")];

pub(crate) fn check(subject: &Subject) -> Vec<Finding> {
    if !subject.config.offload {
        return vec![Finding::note(Check::Offload, "--offload off: one frame at a time")];
    }
    let finding = match subject.status() {
        Some(status) => judge_status(status),
        None => {
            let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            judge_release(release.trim())
        }
    };
    vec![finding]
}

fn judge_status(status: &TunnelStatus) -> Finding {
    let missing: Vec<&str> =
        status.offload.iter().filter(|(_, on)| !**on).map(|(name, _)| name.as_str()).collect();
    if missing.is_empty() {
        return Finding::ok(Check::Offload, "every one is in force");
    }
    Finding::note(
        Check::Offload,
        format!("not in force, since the kernel or the options have it so: {}", missing.join(", ")),
    )
}

fn judge_release(release: &str) -> Finding {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Finding::note(Check::Offload, format!("this kernel's release, {release:?}, says nothing"));
    };
    let missing: Vec<&str> =
        SINCE.iter().filter(|(since, _)| *since > (major, minor)).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Finding::ok(Check::Offload, format!("Linux {release} has what makes a tunnel fast"));
    }
    let found = format!(
        "Linux {release} does not have {}: the tunnel works, with more work for each frame",
        missing.join(", ")
    );
    Finding::advice(Check::Offload, found, "a newer kernel is faster: Linux 6.2 has all of it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_kernel_is_judged_by_its_release() {
        for (release, missing) in [
            ("6.2.0", ""),
            ("6.12.3-amd64", ""),
            ("10.0", ""),
            ("6.1.0-37-cloud-amd64", "USO of TAP devices"),
            ("5.10.234-225.910.amzn2.x86_64", "USO of TAP devices"),
            ("4.14.355", "UDP_SEGMENT, UDP_GRO, USO of TAP devices"),
        ] {
            let finding = judge_release(release);
            assert_eq!(finding.verdict == Verdict::Ok, missing.is_empty(), "{finding:?}");
            assert!(finding.found.contains(missing), "{finding:?}");
        }
        assert_eq!(judge_release("unknown").verdict, Verdict::Note);
    }
}
