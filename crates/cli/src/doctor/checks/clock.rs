//! The clock of this host, as far as one can tell without asking another.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;

/// When this was written, 2026-11-01: a clock before it is wrong.
const WRITTEN: Duration = Duration::from_secs(1_793_491_200);

#[expect(clippy::disallowed_methods, reason = "the clock itself is what is looked at")]
pub(crate) fn check() -> Vec<Finding> {
    vec![judge(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())]
}

/// `time` since 1970.
fn judge(time: Duration) -> Finding {
    if time >= WRITTEN {
        return Finding::ok(Check::Clock, "it is not before this program was made");
    }
    Finding::warn(
        Check::Clock,
        format!(
            "this host's clock is {} days before this program was made: certificates are not valid yet",
            (WRITTEN - time).as_secs() / 86_400
        ),
        "set it: chronyc makestep, timedatectl set-ntp true, or date -s; the tunnel itself does without",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_clock_that_starts_in_1970_is_wrong() {
        assert_eq!(judge(Duration::ZERO).verdict, Verdict::Warn);
        assert_eq!(judge(WRITTEN).verdict, Verdict::Ok);
        assert_eq!(check()[0].verdict, Verdict::Ok);
    }
}
