//! Whether the device's name is free.

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::host::Host;
use crate::doctor::subject::Subject;
use crate::up::plan::check_name;

pub(crate) fn check(subject: &Subject, host: &Host) -> Vec<Finding> {
    let dev = &subject.config.dev;
    let finding = match (&subject.running, host.link(dev.as_str())) {
        (None, Some(_)) if subject.silence.is_some() => {
            Finding::note(Check::Name, format!("{dev} is there, the tunnel's most likely"))
        }
        (None, _) => match check_name(&subject.config, &host.links) {
            Ok(()) => Finding::ok(Check::Name, format!("no device is named {dev}")),
            Err(error) => Finding::refusal(Check::Name, &error),
        },
        (Some(_), None) => Finding::warn(
            Check::Name,
            format!("the tunnel runs, and there is no {dev} in this network namespace"),
            "run the doctor where the tunnel runs: in the same container or network namespace (nsenter -t PID -n)",
        ),
        (Some(_), Some(link)) if !link.up => Finding::fail(
            Check::Name,
            format!("{dev} is the tunnel's and is down: somebody switched it off"),
            format!("ip link set {dev} up"),
        ),
        (Some(_), Some(_)) => Finding::ok(Check::Name, format!("{dev} is the tunnel's, and up")),
    };
    vec![finding]
}
