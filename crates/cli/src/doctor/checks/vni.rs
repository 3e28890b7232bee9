//! Frames of another VNI.

use std::collections::BTreeSet;

use vxgate_core::DropReason;

use super::listed;
use crate::control::protocol::TunnelStatus;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use crate::doctor::window::Window;
use crate::print::units::Count;

pub(crate) fn check(subject: &Subject, later: Option<&TunnelStatus>, window: &Window) -> Vec<Finding> {
    let Some(status) = later.or(subject.status()) else { return Vec::new() };
    let senders = window.seen.iter().flatten().flatten();
    let others: BTreeSet<u32> = senders
        .filter(|(source, _)| subject.has_peer(**source))
        .flat_map(|(_, sender)| sender.vnis.iter().copied())
        .filter(|vni| *vni != status.vni)
        .collect();
    let dropped = status.drops.get(DropReason::WrongVni.name()).copied().unwrap_or(0);
    vec![judge(status.vni, status.rx.frames, dropped, &others)]
}

fn judge(vni: u32, taken: u64, dropped: u64, seen: &BTreeSet<u32>) -> Finding {
    if dropped == 0 {
        return Finding::ok(Check::Vni, format!("every frame that came has VNI {vni}, or none came"));
    }
    let named = if seen.is_empty() { String::new() } else { format!(", such as {}", listed(seen)) };
    let found = format!("{} came with another VNI than {vni}{named}", Count(dropped, "frame"));
    let next_step = match seen.first() {
        Some(other) => format!("where the peers' VNI is {other}: --vni {other} (a Gate's is 10 unless it was set otherwise)"),
        None => "compare --vni with the peers' (a Gate's is 10 unless it was set otherwise); the doctor names what comes while it looks, as root".to_owned(),
    };
    if taken == 0 {
        Finding::fail(Check::Vni, found, next_step)
    } else {
        Finding::warn(Check::Vni, found, next_step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn another_vni_is_named_where_it_was_seen() {
        let none = BTreeSet::new();
        assert_eq!(judge(10, 0, 0, &none).verdict, Verdict::Ok);
        assert_eq!(judge(10, 0, 7, &none).verdict, Verdict::Fail);
        let finding = judge(10, 5, 7, &BTreeSet::from([11, 12]));
        assert_eq!(finding.verdict, Verdict::Warn, "some come with ours");
        assert_eq!(finding.found, "7 frames came with another VNI than 10, such as 11 and 12");
        assert!(finding.next_step.unwrap().contains("--vni 11"));
    }
}
