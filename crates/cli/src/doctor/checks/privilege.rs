//! Whether this process may make devices here.

use vxgate_netlink::Netlink;

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::{CAP_NET_ADMIN, has_capability};
use crate::doctor::subject::Subject;

pub(crate) async fn check(subject: &Subject, netlink: &Netlink) -> Vec<Finding> {
    let finding = match netlink.may_change().await {
        Ok(may) => judge(may, has_capability(CAP_NET_ADMIN), subject.may_run()),
        Err(error) => Finding::unknown(Check::Privilege, &error),
    };
    vec![finding]
}

/// `may` is the kernel's answer for this network namespace, `has` whether the process has the capability in its own user namespace.
fn judge(may: bool, has: bool, runs: bool) -> Finding {
    match (may, has, runs) {
        (true, _, _) => Finding::ok(Check::Privilege, "this process may make devices here"),
        (false, _, true) => Finding::note(
            Check::Privilege,
            "this process may not change devices here, and so looks at less than root does; the tunnel runs already",
        ),
        (false, false, false) => Finding::fail(
            Check::Privilege,
            "this process has not CAP_NET_ADMIN, which `up` needs",
            "run as root (sudo vxgate up ...), or grant it: docker run --cap-add NET_ADMIN, or AmbientCapabilities=CAP_NET_ADMIN in a \
             unit of systemd",
        ),
        (false, true, false) => Finding::fail(
            Check::Privilege,
            "this process has CAP_NET_ADMIN in a user namespace to which this network namespace does not belong",
            "run as root of the host, or in a network namespace of your own: unshare -rn",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_capability_that_does_not_count_here_is_told_from_none() {
        let step = |finding: Finding| finding.next_step.unwrap_or_default();
        assert_eq!(judge(true, true, false).verdict, Verdict::Ok);
        assert_eq!(judge(false, false, true).verdict, Verdict::Note);
        assert!(step(judge(false, false, false)).contains("--cap-add NET_ADMIN"));
        assert!(step(judge(false, true, false)).contains("unshare"));
    }
}
