//! A tunnel on somebody else's device: one that is open already, or one that is there for a user without privilege.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::process::Command;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use vxgate_sys::plain_tap::PlainTap;
use vxgate_sys::tap::{Tap, TapOptions};
use vxgate_testbed::isolated;

use crate::ground::{Daemon, Ground, VXGATE, command, missing};
use crate::refused::setpriv;

const ON_IT: &str = "up --peer 100.64.158.4 --dev given0";

/// A descriptor that the next program gets, far from those that it opens itself.
fn inherited(fd: impl std::os::fd::AsFd) -> OwnedFd {
    let fd = fcntl_dupfd_cloexec(fd, 100).unwrap();
    fcntl_setfd(&fd, FdFlags::empty()).unwrap();
    fd
}

/// The device as a privileged parent sets it up.
fn set_up(ground: &Ground) {
    ground.you.address("given0", "10.225.194.171/9").unwrap();
    ground.you.mtu("given0", 1450).unwrap();
    ground.you.up("given0").unwrap();
}

/// The binary with this line, without any capability: root gets none back by starting a program (capabilities(7), `SECBIT_NOROOT`).
fn powerless(ground: &Ground, setpriv: &str, line: &str) -> Command {
    let mut run = command(&ground.you, setpriv, "--securebits=+noroot,+noroot_locked");
    run.args([setpriv, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", VXGATE]);
    run.args(line.split(' '));
    run
}

#[test]
fn a_tap_that_a_parent_left_open_carries_the_tunnel_of_a_process_without_any_capability() {
    isolated!(|| {
        if missing() {
            return;
        }
        let Some(setpriv) = setpriv() else { return };
        let ground = Ground::with_gate();
        for plain in [false, true] {
            let fd = ground.you.run(|| {
                if plain {
                    inherited(PlainTap::open("given0").unwrap())
                } else {
                    inherited(Tap::open(&TapOptions::new("given0")).unwrap())
                }
            });
            set_up(&ground);
            let line = format!("{ON_IT} --tap-fd {}", fd.as_raw_fd());
            let daemon = Daemon::start(powerless(&ground, &setpriv, &line));
            let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
            let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
            assert_eq!(u64::from_str_radix(effective, 16), Ok(0));
            assert!(ground.answers(), "{}", daemon.log());
            assert_eq!(ground.show()["offload"]["virtio-header"], !plain);
            daemon.stop();
            // The parent's device is still the parent's.
            assert!(ground.you.run(|| vxgate_sys::interface::index("given0")).is_ok());

            // What the device has not is not to be had without privilege.
            let daemon = powerless(&ground, &setpriv, &format!("{line} --address 192.0.2.1/24"));
            let ended = crate::ground::Ended::of(daemon);
            assert_eq!(ended.code, Some(1), "{}", ended.stderr);
            assert!(
                ended.stderr.contains("192.0.2.1/24") && ended.stderr.contains("CAP_NET_ADMIN"),
                "{}",
                ended.stderr
            );
        }
    });
}

#[test]
fn a_descriptor_that_is_of_no_use_is_refused_by_what_it_is() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let tap = ground.you.run(|| Tap::open(&TapOptions::new("given0")).unwrap());
        let (fd, file) = (inherited(tap.as_fd()), inherited(File::open("/dev/null").unwrap()));
        let fails = |options: &str, code, message: &str, hint: &str| {
            ground.refused(&format!("{ON_IT} {options}"), code, message, hint);
        };
        let no_tap = format!("--tap-fd {}", file.as_raw_fd());
        let message = format!("vxgate: tunnel given0: {no_tap}: the descriptor is of no use");
        fails(&no_tap, 1, &message, "IFF_NO_PI");
        let message = "vxgate: tunnel given0: --tap-fd 999: the descriptor is of no use";
        fails("--tap-fd 999", 1, message, "leave it open");
        fails("--tap-fd 2", 2, "vxgate: up: --tap-fd", "--help");
        let ours = format!("--tap-fd {}", fd.as_raw_fd());
        fails(&format!("{ours} --tap keep"), 2, "vxgate: up: --tap: ", "existing");
        fails(&format!("{ours} --workers 2"), 2, "vxgate: up: --workers: ", "leave --workers out");
        let other = ground.you.run(|| Tap::open(&TapOptions::new("other0")).unwrap());
        let line = format!("up --peer 100.64.158.4 --dev other0 {ours}");
        ground.refused(&line, 1, "vxgate: tunnel other0: --tap-fd", "--dev given0");
        drop(other);
        let line = "up --peer 100.64.158.4 --dev none0 --tap existing";
        ground.refused(line, 1, "vxgate: tunnel none0: there is no device named none0", "ip tuntap add");
        let line = "up --peer 100.64.158.4 --dev eth0 --tap existing";
        ground.refused(line, 1, "vxgate: tunnel eth0: eth0 is no TAP device", "--dev");
    });
}

#[test]
fn a_persistent_device_of_somebody_else_is_attached_to_when_asked_for_and_left_as_it_was() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let tap = ground.you.run(|| Tap::open(&TapOptions::new("given0")).unwrap());
        tap.set_persistent(true).unwrap();
        drop(tap);
        set_up(&ground);
        ground.refused(
            ON_IT,
            1,
            "vxgate: tunnel given0: a device named given0 exists already (tun)",
            "--dev",
        );
        let mac = || ground.you.run(|| vxgate_sys::interface::hardware_address("given0")).unwrap();
        let before = mac();
        for _ in 0..2 {
            let daemon = ground.up(&format!("{ON_IT} --tap existing"));
            assert!(ground.answers(), "{}", daemon.log());
            assert_eq!(mac(), before);
            daemon.stop();
        }
        assert_eq!(ground.vxgate("down given0").code, Some(1));
        // Of one queue, it is one program's at a time, and no device for several workers.
        let message = "vxgate: tunnel given0: given0 cannot be attached to";
        ground.refused(&format!("{ON_IT} --tap existing --workers 2"), 1, message, "multi_queue");
        let options = TapOptions { exclusive: false, ..TapOptions::new("given0") };
        let held = ground.you.run(|| Tap::open(&options).unwrap());
        ground.refused(&format!("{ON_IT} --tap existing"), 1, message, "end the program");
        drop(held);
        assert_eq!(mac(), before);
    });
}
