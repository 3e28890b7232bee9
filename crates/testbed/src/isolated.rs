//! A test that needs namespaces, started in namespaces of its own.
//!
//! # Theory of operation
//!
//! The kernel gives a user namespace to a single-threaded process only, and a test runs on a thread of a process that
//! has several. So [`isolated`] starts the test's own binary again, this time for that one test, in new namespaces in
//! which the caller is root; there `isolated` finds its mark in the environment and runs the body.
//!
//! ```text
//!   cargo test ── test binary ── #[test] ── isolated ──┐ output, exit status
//!                                                      │
//!                (user, network and mount namespaces)  test binary --exact NAME ── #[test] ── isolated ── body
//! ```

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio, exit};
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use vxgate_netlink::Netlink;
use vxgate_sys::namespace::Unshare;

use crate::wait::now;

/// Holds the test's name inside.
const MARK: &str = "VXGATE_ISOLATED";

/// Printed when the body is about to run: a name that no test has would otherwise pass for a success.
const ENTERED: &str = "[isolated: in namespaces of its own]";

/// A test that takes longer hangs: the slowest of ours takes a tenth of it. [`LIMIT_VARIABLE`] gives more to one that is told to
/// watch for longer.
const LIMIT: Duration = Duration::from_secs(300);

/// Seconds that a test may take, in place of [`LIMIT`].
const LIMIT_VARIABLE: &str = "ISOLATED_LIMIT_SECONDS";

/// How a skipped test's line begins.
const SKIPPED: &str = "SKIPPED ";

/// Runs the body of a `#[test]` in namespaces of its own; see [`isolated`](fn@crate::isolated) for how and when not.
///
/// Use it in the test function itself, from whose path it takes the test's name.
#[macro_export]
macro_rules! isolated {
    ($body:expr) => {{
        fn here() {}
        $crate::isolated(&$crate::test_name(module_path!(), ::std::any::type_name_of_val(&here)), $body)
    }};
}

/// The name that the test harness gives to the test in whose body `marker` is defined.
///
/// `module` is the test's `module_path!()`, whose first part is the crate and not part of the name.
pub fn test_name(module: &str, marker: &str) -> String {
    let inside_module =
        marker.strip_prefix(module).and_then(|rest| rest.strip_prefix("::")).unwrap_or(marker);
    let function = inside_module.split("::").next().unwrap_or(inside_module);
    match module.split_once("::") {
        Some((_, modules)) => format!("{modules}::{function}"),
        None => function.to_owned(),
    }
}

/// Runs `body` in new network and mount namespaces, with an empty `/run` and the loopback device up; if the caller is
/// not root, in a user namespace too, in which it is root. `test_name` is the name of the calling test as `cargo test`
/// prints it. Inside of an isolated test it runs `body` where it stands.
///
/// Where the kernel refuses namespaces it prints `SKIPPED`, why, and what to do, and returns.
///
/// # Panics
/// When `body` does, when it takes longer than 5 minutes or than `ISOLATED_LIMIT_SECONDS` says, and when namespaces are refused with `REQUIRE_NETNS=1`.
pub fn isolated(test_name: &str, body: impl FnOnce()) {
    if env::var_os(MARK).is_some() {
        raise_loopback();
        let _ = writeln!(io::stdout(), "{ENTERED}");
        return body();
    }
    if let Err(reason) = require_namespaces() {
        return skip_as(test_name, &reason);
    }
    let (reader, writer) = io::pipe().expect("a pipe");
    let mut command = Command::new(env::current_exe().expect("the path of the test binary"));
    command
        .args([test_name, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(MARK, test_name)
        .stdin(Stdio::null())
        .stdout(writer.try_clone().expect("a descriptor can be duplicated"))
        .stderr(writer);
    let child = Unshare::for_caller().spawn(command);
    let child = child.unwrap_or_else(|error| panic!("{error}; {}", error.hint().unwrap_or_default()));
    judge(test_name, child, reader);
}

/// Runs `body` as the whole of a program's `main` in new network and mount namespaces, as [`isolated`] does for a test:
/// for benches, which have a `main` of their own. The program is started again with its own arguments; where the
/// kernel refuses namespaces it prints `SKIPPED`, why, and what to do, and returns.
///
/// # Panics
/// When the kernel refuses namespaces with `REQUIRE_NETNS=1`. When `body` does, the whole program ends with its status.
pub fn isolated_main(body: impl FnOnce()) {
    if env::var_os(MARK).is_some() {
        raise_loopback();
        return body();
    }
    let program = env::args().next().unwrap_or_default();
    if let Err(reason) = require_namespaces() {
        return skip_as(&program, &reason);
    }
    let mut command = Command::new(env::current_exe().expect("the path of this program"));
    command.args(env::args_os().skip(1)).env(MARK, &program);
    let child = Unshare::for_caller().spawn(command);
    let mut child = child.unwrap_or_else(|error| panic!("{error}; {}", error.hint().unwrap_or_default()));
    let status = child.wait().expect("a child that we started");
    if !status.success() {
        exit(status.code().unwrap_or(1));
    }
}

/// Relays the child's output and fails as it fails.
fn judge(test_name: &str, mut child: Child, reader: io::PipeReader) {
    let (sender, lines) = channel();
    let pump = thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let seconds = env::var(LIMIT_VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    let limit = seconds.map_or(LIMIT, Duration::from_secs);
    let deadline = now() + limit;
    let mut entered = false;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(now())) {
            Ok(line) => {
                entered |= line.contains(ENTERED);
                if let Some(start) = line.find(SKIPPED) {
                    // Past the harness, which hides what a passing test prints.
                    let _ = writeln!(io::stderr(), "{}", &line[start..]);
                }
                relay(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{test_name} did not end within {limit:?}; its output is above");
            }
        }
    }
    let status = child.wait().expect("a child that we started");
    let _ = pump.join();
    assert!(status.success(), "{test_name} failed in its namespaces ({status}); its output is above");
    assert!(entered, "no test of this binary is called {test_name}: nothing ran");
}

#[expect(
    clippy::print_stdout,
    reason = "the harness captures only what print! writes, and shows it on failure"
)]
fn relay(line: &str) {
    println!("{line}");
}

/// Whether this process can make the namespaces that tests need; asked once, and answered by trying.
///
/// # Errors
/// What is missing and how to get it.
pub fn require_namespaces() -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    let try_it = || {
        Unshare::for_caller()
            .probe()
            .map_err(|error| format!("{error}; {}", error.hint().unwrap_or_default()))
    };
    ANSWER.get_or_init(try_it).clone()
}

/// Says that the running test cannot be done here, and why; the caller then returns. With `REQUIRE_NETNS=1`, which CI
/// sets, a test that is not done is a failure.
///
/// # Panics
/// With `REQUIRE_NETNS=1`.
pub fn skip(reason: &str) {
    let thread = thread::current();
    let inside = env::var(MARK).ok();
    skip_as(inside.as_deref().or(thread.name()).unwrap_or("a test"), reason);
}

fn skip_as(test_name: &str, reason: &str) {
    assert!(
        env::var_os("REQUIRE_NETNS").is_none_or(|value| value != "1"),
        "{test_name} cannot be done here: {reason}"
    );
    // Past the harness, which hides what a passing test prints.
    let _ = writeln!(io::stderr(), "{SKIPPED}{test_name}: {reason}");
}

fn raise_loopback() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let raised = runtime.block_on(async {
        let netlink = Netlink::open()?;
        netlink.set_up(&netlink.link_by_name("lo").await?).await
    });
    raised.expect("the loopback device of a namespace of our own");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tests_name_is_its_path_without_the_crate() {
        assert_eq!(test_name("krate", "krate::a_test::here"), "a_test");
        assert_eq!(
            test_name("krate::part::tests", "krate::part::tests::a_test::here"),
            "part::tests::a_test"
        );
        assert_eq!(test_name("krate", "krate::a_test::{{closure}}::here"), "a_test");
    }

    #[test]
    fn the_body_runs_inside_and_only_there() {
        let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
        let ran = std::cell::Cell::new(false);
        crate::isolated!(|| {
            ran.set(true);
            assert_eq!(std::fs::read_dir("/run").unwrap().count(), 0);
            assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_ok());
        });
        assert_eq!(ran.get(), env::var_os(MARK).is_some());
        assert_eq!(std::fs::read_link("/proc/self/ns/net").unwrap(), outside);
    }

    #[test]
    fn a_failure_inside_is_a_failure_outside() {
        if env::var_os(MARK).is_none() && require_namespaces().is_err() {
            return skip(&require_namespaces().unwrap_err());
        }
        let inside = env::var_os(MARK).is_some();
        let failed = std::panic::catch_unwind(|| crate::isolated!(|| panic!("as it should")));
        assert!(failed.is_err());
        assert!(!inside, "and its reason is printed");
    }

    #[test]
    fn a_name_that_no_test_has_is_a_failure() {
        if require_namespaces().is_err() {
            return skip(&require_namespaces().unwrap_err());
        }
        let failed = std::panic::catch_unwind(|| isolated("no_such_test", || {})).unwrap_err();
        assert!(failed.downcast_ref::<String>().unwrap().contains("no test of this binary"));
    }
}
