//! A network namespace for one test, and the little that a test needs inside it.
//!
//! As root, the test runs on a thread of its own that leaves the machine's namespace. Without root, a user
//! namespace is needed, which only a process with one thread can enter: the test binary is started again for
//! that one test.

use std::any::type_name;
use std::env;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socket_with};
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::interface::{self, Request};
use crate::tap::{Tap, TapError, TapOptions};

/// Set in the process that is already inside.
const INSIDE: &str = "VXGATE_SYS_TEST_INSIDE";

/// Longer than anything here takes, so that a hang becomes a failure.
pub(crate) const LONG: Option<Duration> = Some(Duration::from_secs(20));

/// Runs `scenario` in a network namespace of its own, with the loopback interface up and no IPv6 on new
/// interfaces, or says what is missing.
pub(crate) fn isolated<F: FnOnce() + Send>(scenario: F) {
    if env::var_os(INSIDE).is_some() {
        prepare();
        scenario();
    } else if rustix::process::geteuid().is_root() {
        let result = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: NEWNET leaves the thread's file descriptors and memory shared as they are.
                let entered = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
                match entered {
                    Ok(()) => {
                        prepare();
                        scenario();
                    }
                    Err(error) => skip(&format!("a network namespace (unshare: {error})")),
                }
            });
            thread.join()
        });
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    } else {
        start_again(type_name::<F>());
    }
}

/// Says what is missing; a failure where the environment promised that nothing is.
pub(crate) fn skip(missing: &str) {
    assert!(env::var("REQUIRE_NETNS").is_err(), "REQUIRE_NETNS is set and this is missing: {missing}");
    eprintln!("SKIPPED: {missing}");
}

/// Opens a TAP device, or says why not.
pub(crate) fn tap(options: &TapOptions<'_>) -> Option<Tap> {
    match Tap::open(options) {
        Ok(tap) => Some(tap),
        Err(error @ (TapError::NoDevice | TapError::NoPermission { .. })) => {
            skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}: {error:?}"),
    }
}

/// Brings an interface up.
pub(crate) fn up(name: &str) {
    let flags = u16::try_from(libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_MULTICAST).unwrap();
    configure(name, libc::SIOCSIFFLAGS, flags.to_ne_bytes());
}

pub(crate) fn set_mtu(name: &str, octets: u32) {
    configure(name, libc::SIOCSIFMTU, octets.to_ne_bytes());
}

/// Gives an interface an IPv4 address in a /24.
pub(crate) fn set_address(name: &str, address: [u8; 4]) {
    for (number, [a, b, c, d]) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, [255, 255, 255, 0])] {
        let [family_0, family_1] = u16::try_from(libc::AF_INET).unwrap().to_ne_bytes();
        configure(name, number, [family_0, family_1, 0, 0, a, b, c, d]);
    }
}

/// Deletes an interface as `ip link del` does.
pub(crate) fn delete(index: u32) {
    let flags = SocketFlags::CLOEXEC;
    // Without a protocol it is NETLINK_ROUTE, number 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).unwrap();
    // `struct nlmsghdr` (linux/netlink.h) and `struct ifinfomsg` (linux/rtnetlink.h).
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK).unwrap();
    let mut request = Vec::new();
    request.extend(32_u32.to_ne_bytes());
    request.extend(libc::RTM_DELLINK.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 12]);
    request.extend(index.to_ne_bytes());
    request.extend([0; 8]);
    rustix::net::send(&socket, &request, SendFlags::empty()).unwrap();
    let mut answer = [0; 256];
    rustix::io::read(&socket, &mut answer).unwrap();
    // `struct nlmsgerr`: an error number of 0 is the acknowledgement.
    assert_eq!(answer[16..20], [0; 4]);
}

/// Lets a TAP device outlive its descriptor, or not.
pub(crate) fn persist(tap: impl AsFd, on: bool) {
    let fd = tap.as_fd().as_raw_fd();
    // SAFETY: TUNSETPERSIST takes an integer and follows no pointer.
    let result = unsafe { libc::ioctl(fd, libc::TUNSETPERSIST, libc::c_ulong::from(on)) };
    assert_eq!(result, 0);
}

/// Takes a capability away from this thread, which is the test's own.
pub(crate) fn drop_capability(capability: CapabilitySet) {
    let mut sets = rustix::thread::capabilities(None).unwrap();
    sets.effective.remove(capability);
    rustix::thread::set_capabilities(None, sets).unwrap();
}

fn prepare() {
    up("lo");
    // Router solicitations and duplicate address detection would mix with the frames that a test counts.
    fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
}

fn configure<const N: usize>(name: &str, number: libc::Ioctl, value: [u8; N]) {
    let socket = interface::socket().unwrap();
    let mut request = Request::new(name).unwrap();
    request.set_value(value);
    // SAFETY: each number passed here reads a `struct ifreq` and follows no pointer in it; `Request` is one.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), number, &raw mut request) };
    assert_eq!(result, 0, "{name}: {}", io::Error::last_os_error());
}

/// Runs the test of this name alone in a new process, as root of new user and network namespaces.
fn start_again(scenario: &str) {
    let path = scenario.split_once("::").unwrap().1;
    let test = path.split("::{{closure}}").next().unwrap();
    let uid_map = format!("0 {} 1", rustix::process::geteuid().as_raw());
    let gid_map = format!("0 {} 1", rustix::process::getegid().as_raw());
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(INSIDE, "1");
    let enter = move || {
        // SAFETY: a process just forked, with one thread and nothing shared; NEWUSER and NEWNET leave its
        // memory alone.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) }?;
        write_now(c"/proc/self/setgroups", b"deny")?;
        write_now(c"/proc/self/uid_map", uid_map.as_bytes())?;
        write_now(c"/proc/self/gid_map", gid_map.as_bytes())
    };
    // SAFETY: `enter` makes system calls only: it takes no lock and no memory, as the time between fork and
    // exec asks.
    unsafe { command.pre_exec(enter) };
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return skip(&format!("a user namespace ({error}), or root")),
    };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{test} inside: {out}\n{err}");
    for line in err.lines().filter(|line| line.contains("SKIPPED")) {
        eprintln!("{line}");
    }
}

fn write_now(path: &CStr, data: &[u8]) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, data)?;
    Ok(())
}
