//! The device file of TUN and TAP devices.

use vxgate_sys::tap::{self, TapError};

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;

pub(crate) fn check(subject: &Subject) -> Vec<Finding> {
    // A tunnel that runs has its device.
    if subject.may_run() { Vec::new() } else { vec![judge(tap::check_device_file())] }
}

fn judge(opened: Result<(), TapError>) -> Finding {
    match opened {
        Ok(()) => Finding::ok(Check::Tun, "/dev/net/tun opens"),
        Err(TapError::NoDevice) => Finding::fail(
            Check::Tun,
            "there is no /dev/net/tun",
            "load the kernel's module (modprobe tun), or give the container the device (docker run --device /dev/net/tun)",
        ),
        Err(TapError::NoPermission { .. }) => Finding::fail(
            Check::Tun,
            "this user may not open /dev/net/tun",
            "run as root, or let the user: chmod 0666 /dev/net/tun; in a container also --device /dev/net/tun",
        ),
        Err(error) => Finding::fail(
            Check::Tun,
            format!("/dev/net/tun is not the kernel's TUN device: {}", crate::up::chain(&error)),
            "make it anew as root: rm /dev/net/tun; mknod /dev/net/tun c 10 200",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn each_obstacle_has_its_own_next_step() {
        assert_eq!(judge(Ok(())).verdict, Verdict::Ok);
        for (error, word) in [
            (TapError::NoDevice, "modprobe tun"),
            (TapError::NoPermission { action: "open" }, "chmod"),
            (TapError::Io(io::ErrorKind::InvalidInput.into()), "mknod"),
        ] {
            let finding = judge(Err(error));
            assert_eq!(finding.verdict, Verdict::Fail);
            assert!(finding.next_step.as_ref().is_some_and(|step| step.contains(word)), "{finding:?}");
        }
    }
}
