//! IPv6, where it is asked for.

use std::net::IpAddr;

use crate::config::Family;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::sysctl;
use crate::doctor::subject::Subject;

pub(crate) fn check(subject: &Subject) -> Vec<Finding> {
    let config = &subject.config;
    let inner =
        config.addresses.iter().chain(&config.routes).any(|network| matches!(network.addr(), IpAddr::V6(_)));
    if !inner && config.family == Family::V4 {
        return Vec::new();
    }
    // A device to come takes the default; one that runs has its own.
    let device = if subject.may_run() { config.dev.as_str() } else { "default" };
    let disabled = |name: &str| sysctl(&format!("net/ipv6/conf/{name}/disable_ipv6"));
    vec![judge(disabled("all"), disabled(device), device)]
}

fn judge(all: Option<u64>, device: Option<u64>, name: &str) -> Finding {
    match (all, device) {
        (Some(0), Some(0)) => Finding::ok(Check::Ipv6, "it is on"),
        (None, _) | (_, None) => Finding::fail(
            Check::Ipv6,
            "this kernel has no IPv6, or it is switched off at boot",
            "leave IPv6 addresses and routes out, or boot without ipv6.disable=1",
        ),
        (Some(_), Some(_)) => Finding::fail(
            Check::Ipv6,
            "it is switched off here",
            format!(
                "leave IPv6 addresses and routes out, or sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.{name}.disable_ipv6=0"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn off_anywhere_is_off_and_the_cure_names_the_setting() {
        assert_eq!(judge(Some(0), Some(0), "default").verdict, Verdict::Ok);
        for (all, device) in [(Some(1), Some(0)), (Some(0), Some(1)), (Some(1), Some(1))] {
            let finding = judge(all, device, "vxlan0");
            assert_eq!(finding.verdict, Verdict::Fail);
            assert!(finding.next_step.unwrap().contains("net.ipv6.conf.vxlan0.disable_ipv6=0"));
        }
        assert!(judge(None, None, "default").found.contains("at boot"));
    }
}
