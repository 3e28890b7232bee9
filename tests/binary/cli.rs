//! The binary's command line: what it refuses and how, what it prints where there is no tunnel.
//!
//! Nothing here starts a tunnel. This file belongs to `crates/cli`, which alone is told the binary's path.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");

/// A directory that goes with its test: the runtime directory of every command here.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("vxgate-cli-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a directory for this test");
        Scratch(path)
    }

    fn command(&self, program: impl AsRef<Path>, line: &str) -> Command {
        let mut command = Command::new(program.as_ref());
        command.args(line.split_whitespace()).env_clear().env("VXGATE_RUNTIME_DIR", &self.0);
        command
    }

    fn run(&self, line: &str) -> Ended {
        Ended::of(&mut self.command(VXGATE, line))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Ended {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(command: &mut Command) -> Ended {
        let Output { status, stdout, stderr } =
            command.stdin(Stdio::null()).output().expect("the binary runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ended { status: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Exit status, nothing on standard output, and a first line of standard error that begins so.
    fn refused(&self, case: &str, status: i32, message: &str) {
        assert_eq!(self.status, Some(status), "{case}: {}", self.stderr);
        assert_eq!(self.stdout, "", "{case}");
        assert!(self.stderr.starts_with(message), "{case}: {}", self.stderr);
        for line in self.stderr.lines().skip(1) {
            assert!(line.starts_with("hint: "), "{case}: {}", self.stderr);
        }
    }
}

#[test]
fn a_wrong_command_line_exits_with_2_and_a_line_that_names_the_argument_and_what_is_allowed() {
    let scratch = Scratch::new();
    for (line, message) in [
        (
            "fly",
            "vxgate: \"fly\": allowed are up, down, init, migrate, show, reload, check, explain, top, capture, fdb, peer, gate, doctor, lab, bench, completions, man",
        ),
        ("up --mss 1", "vxgate: up: \"--mss\": no such argument"),
        (
            "up --dev sixteen-octets-x",
            "vxgate: up: --dev \"sixteen-octets-x\": a device's name is 1 to 15 octets",
        ),
        ("up --vni 16777216", "vxgate: up: --vni \"16777216\": a VNI is a whole number from 0 to 16777215"),
        ("up --local host", "vxgate: up: --local \"host\": an IPv4 or IPv6 address"),
        ("up --underlay a/b", "vxgate: up: --underlay \"a/b\": a device's name"),
        ("up --peer 10.0.0.256", "vxgate: up: --peer \"10.0.0.256\": an IPv4 or IPv6 address"),
        ("up --address 10.0.0.1", "vxgate: up: --address \"10.0.0.1\": an address with its prefix"),
        ("up --port 0", "vxgate: up: --port \"0\": a port is a number from 1 to 65535"),
        (
            "up --source-port hash:9-8",
            "vxgate: up: --source-port \"hash:9-8\": a port from 1 to 65535, or hash",
        ),
        (
            "up --mss-clamp 87",
            "vxgate: up: --mss-clamp \"87\": auto, off or a number of octets from 88 to 65495",
        ),
        ("up --mtu 67", "vxgate: up: --mtu \"67\": an MTU is auto or a number of octets from 68 to 65485"),
        ("up --route 10.0.0.0/33", "vxgate: up: --route \"10.0.0.0/33\": a network or an address"),
        ("up --learning yes", "vxgate: up: --learning \"yes\": on or off"),
        (
            "up --ageing 1000001",
            "vxgate: up: --ageing \"1000001\": a number of seconds from 1 to 1000000, or 0",
        ),
        ("up --max-macs 0", "vxgate: up: --max-macs \"0\": a number of MAC addresses from 1 to 16777216"),
        ("up --accept-from any", "vxgate: up: --accept-from \"any\": a network or an address"),
        (
            "up --reserved-bits linux",
            "vxgate: up: --reserved-bits \"linux\": the policy for reserved bits is",
        ),
        ("up --ttl 0", "vxgate: up: --ttl \"0\": a TTL is auto, inherit or a number of hops from 1 to 255"),
        ("up --tos 1", "vxgate: up: --tos \"1\": a TOS is inherit or a multiple of 4 from 0 to 252"),
        ("up --df on", "vxgate: up: --df \"on\": set, unset or inherit"),
        ("up --udp-checksum 1", "vxgate: up: --udp-checksum \"1\": on or off"),
        ("up --workers 17", "vxgate: up: --workers \"17\": a number of workers from 1 to 16"),
        (
            "up --workers 2 --source-port hash:50000-50000",
            "vxgate: up: --workers: 2 workers need as many source ports, and the range has 1",
        ),
        (
            "up --busy-poll 50us",
            "vxgate: up: --busy-poll \"50us\": auto or a number of microseconds from 0 to 1000000",
        ),
        (
            "up --affinity 3-1",
            "vxgate: up: --affinity \"3-1\": a list of processors from 0 to 1023, as in 0,1 or 0-3",
        ),
        ("up --peer 10.0.0.1 --peer 10.0.0.1", "vxgate: up: --peer: 10.0.0.1 is given twice"),
        (
            "up --peer 10.0.0.1 --local 10.0.0.1",
            "vxgate: up: --peer: 10.0.0.1 is this host's own outer address",
        ),
        ("up --peer 10.0.0.1 --peer ::1", "vxgate: up: --peer: ::1 is IPv6, but peer 10.0.0.1 is IPv4"),
        (
            "up --peer 239.1.1.1",
            "vxgate: up: --peer: 239.1.1.1 is a multicast group, so the interface must be named",
        ),
        (
            "up --address 10.0.0.1/8 --address 10.1.0.1/16",
            "vxgate: up: --address: 10.1.0.1/16 and 10.0.0.1/8 overlap",
        ),
        (
            "bench --load tcp1,tcp2",
            "vxgate: bench: --load \"tcp2\": allowed are tcp1, tcp4, tcp16, udp-flat-18-1, ",
        ),
        ("bench --load", "vxgate: bench: --load"),
        ("bench --against ovs", "vxgate: bench: --against \"ovs\": allowed are kernel, none"),
        ("bench --rounds 0", "vxgate: bench: --rounds \"0\": a number of rounds from 1 to 100"),
        ("bench --duration 0", "vxgate: bench: --duration \"0\": a number of seconds from 0.05 to 3600"),
        ("bench --duration nan", "vxgate: bench: --duration \"nan\": a number of seconds from 0.05 to 3600"),
        ("bench tcp1", "vxgate: bench: \"tcp1\": no such argument"),
        ("down a b", "vxgate: down: \"b\": allowed are dev DEV"),
        ("show a/b", "vxgate: show: dev \"a/b\": a device's name is 1 to 15 octets"),
        ("fdb add", "vxgate: fdb add: ADDR is missing: a MAC address"),
        ("fdb add 02:00:00:00:00:01 dst host", "vxgate: fdb add: dst \"host\": an IPv4 or IPv6 address"),
        ("fdb flush fast", "vxgate: fdb flush: \"fast\": allowed are dev DEV"),
        ("peer add", "vxgate: peer add: IP is missing: the peer's outer address"),
        ("lab --fast", "vxgate: lab: \"--fast\": no such argument"),
        ("completions dos", "vxgate: completions: <SHELL> \"dos\": allowed are bash"),
    ] {
        scratch.run(line).refused(line, 2, message);
    }
}

#[test]
fn a_wrong_variable_exits_with_2_and_a_line_that_names_it() {
    let scratch = Scratch::new();
    for (variable, value, message) in [
        ("VXGATE_VNI", "ten", "vxgate: VXGATE_VNI \"ten\": a VNI is a whole number from 0 to 16777215"),
        ("VXGATE_PEERS", "10.0.0.1,host", "vxgate: VXGATE_PEERS \"host\": an IPv4 or IPv6 address"),
        (
            "VXGATE_ADDRESS",
            "file:/nonexistent",
            "vxgate: VXGATE_ADDRESS: cannot read \"/nonexistent\": No such file",
        ),
        ("VXGATE_PEERS", "10.0.0.1 10.0.0.1", "vxgate: up: --peer: 10.0.0.1 is given twice"),
    ] {
        Ended::of(scratch.command(VXGATE, "up").env(variable, value)).refused(variable, 2, message);
    }
}

#[test]
fn the_command_line_wins_over_the_environment() {
    let scratch = Scratch::new();
    // Two families do not go together: the error shows which peer was taken.
    let mut command = scratch.command(VXGATE, "up --local 10.0.0.1 --peer 2001:db8::1");
    Ended::of(command.env("VXGATE_PEERS", "2001:db8::2")).refused(
        "both",
        2,
        "vxgate: up: --peer: 2001:db8::1 is IPv6, but local 10.0.0.1 is IPv4",
    );
    let mut command = scratch.command(VXGATE, "up --local 10.0.0.1");
    Ended::of(command.env("VXGATE_PEERS", "2001:db8::2")).refused(
        "environment",
        2,
        "vxgate: up: --peer: 2001:db8::2 is IPv6, but local 10.0.0.1 is IPv4",
    );
}

/// Lines of the init script that are wrong in their last peer only, so that everything before it was understood.
const INIT: &[&str] = &[
    "eth0 172.21.0.100 vxlan0 10.225.194.171/9 10.255.255.255 100.64.158.4 172.21.0.100",
    "eth0 172.21.0.100 vxlan0 10.225.194.171 255.128.0.0 100.64.158.4 172.21.0.100",
    "eth0 172.21.0.100 vxlan0 10.225.194.171 9 100.64.158.4 172.21.0.100",
    "eth0 172.21.0.100 vxlan0 10.225.194.171/9 10.255.255.255 10 100.64.158.4 172.21.0.100",
    "eth0 172.21.0.100 vxlan0 10.225.194.171 255.128.0.0 10 100.64.158.4 172.21.0.100",
    "eth0 172.21.0.100 vxlan0 10.225.194.171 9 10 100.64.158.4 172.21.0.100",
];

#[test]
fn init_reads_both_shapes_and_every_mask_under_either_name() {
    let scratch = Scratch::new();
    let script = scratch.0.join("init_vxlan.sh");
    symlink(VXGATE, &script).expect("a symbolic link");
    let message = "vxgate: init: PEER: 172.21.0.100 is this host's own outer address";
    for line in INIT {
        scratch.run(&format!("init {line}")).refused(line, 2, message);
        Ended::of(&mut scratch.command(&script, line)).refused(line, 2, message);
    }
}

#[test]
fn init_names_the_wrong_argument_as_the_script_does() {
    let scratch = Scratch::new();
    for (line, message) in [
        ("", "vxgate: init: PHY_IF is missing"),
        ("eth0 172.21.0.100 vxlan0", "vxgate: init: VXLAN_ADDR is missing"),
        ("eth0 host vxlan0 10.0.0.1 9", "vxgate: init: PHY_ADDR \"host\" is not an IP address"),
        (
            "eth0 172.21.0.100 vxlan0 10.225.194.171 10.255.255.255 100.64.158.4",
            "vxgate: init: NETMASK \"10.255.255.255\" does not tell the prefix of 10.225.194.171",
        ),
        (
            "eth0 172.21.0.100 vxlan0 10.0.0.1 9 ten 1.2.3.4",
            "vxgate: init: argument 6, \"ten\", is neither a VNI",
        ),
        ("eth0 172.21.0.100 vxlan0 10.0.0.1 9 10 ten", "vxgate: init: PEER \"ten\" is not an IP address"),
    ] {
        let ended = scratch.run(&format!("init {line}"));
        ended.refused(line, 2, message);
        assert!(ended.stderr.contains("\nhint: "), "{line}: {}", ended.stderr);
    }
}

#[test]
fn the_help_of_every_verb_is_on_standard_output_and_has_an_example() {
    let scratch = Scratch::new();
    for verb in [
        "",
        "up",
        "down",
        "init",
        "show",
        "fdb",
        "fdb show",
        "fdb add",
        "fdb append",
        "fdb replace",
        "fdb del",
        "fdb flush",
        "peer",
        "peer list",
        "peer add",
        "peer del",
        "gate",
        "gate status",
        "gate peers",
        "gate register",
        "gate unregister",
        "gate open",
        "gate close",
        "capture",
        "reload",
        "check",
        "explain",
        "top",
        "lab",
        "bench",
        "completions",
        "man",
    ] {
        let ended = scratch.run(&format!("{verb} --help"));
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{verb}");
        let (_, examples) =
            ended.stdout.split_once("Examples:\n").unwrap_or_else(|| panic!("{verb}: {}", ended.stdout));
        assert!(examples.contains(&format!("vxgate {verb}")), "{verb}: {examples}");
    }
}

#[test]
fn without_a_tunnel_every_listing_says_what_to_do() {
    let scratch = Scratch::new();
    for (line, what) in
        [("", "show"), ("show", "show"), ("fdb", "fdb show"), ("fdb show", "fdb show"), ("peer", "peer list")]
    {
        let ended = scratch.run(line);
        ended.refused(
            line,
            1,
            &format!("vxgate: {what}: no tunnel is running\nhint: `vxgate up --help` starts one"),
        );
        let flags = if line.is_empty() { "-j".to_owned() } else { format!("-j {line}") };
        let ended = scratch.run(&flags);
        assert_eq!((ended.status, ended.stdout.as_str()), (Some(1), "[]\n"), "{flags}");
    }
    for line in ["down", "peer add 10.0.0.1", "fdb del 02:00:00:00:00:01", "fdb flush"] {
        let ended = scratch.run(line);
        assert_eq!(ended.status, Some(1), "{line}");
        assert!(ended.stderr.contains("no tunnel is running\nhint: "), "{line}: {}", ended.stderr);
    }
}

#[test]
fn a_socket_that_a_killed_daemon_left_is_no_tunnel() {
    let scratch = Scratch::new();
    drop(UnixListener::bind(scratch.0.join("vxlan0.sock")).expect("a socket"));
    let message = "vxgate: show: no tunnel is running for vxlan0\nhint: start it: vxgate up --dev vxlan0";
    scratch.run("show vxlan0").refused("by name", 1, message);
    scratch.run("show").refused("without a name", 1, "vxgate: show: no tunnel is running\n");
}

#[test]
fn completions_and_manual_pages_come_from_the_binary() {
    let scratch = Scratch::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ended = scratch.run(&format!("completions {shell}"));
        assert_eq!(ended.status, Some(0), "{shell}");
        assert!(ended.stdout.contains("vxgate") && ended.stdout.contains("accept-from"), "{shell}");
    }
    let page = scratch.run("man");
    assert!(page.stdout.contains(".TH vxgate 1"), "{}", page.stdout);
    let manual = scratch.0.join("share/man");
    let ended = scratch.run(&format!("man {}", manual.display()));
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let dir = manual.join("man1");
    let up = fs::read_to_string(dir.join("vxgate-up.1")).expect("the page of up");
    assert!(up.contains("VXGATE_PEERS") && dir.join("vxgate-fdb-add.1").exists());
    let pages: Vec<_> =
        fs::read_dir(&dir).expect("the pages").map(|page| page.expect("a page").path()).collect();
    assert_eq!(ended.stdout.lines().count(), pages.len() + 1);
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "\"EXIT STATUS\"", "EXAMPLES", "\"SEE ALSO\""] {
            assert!(text.contains(&format!("\n.SH {section}\n")), "{section} of {}: {text}", page.display());
        }
    }
    let file = fs::read_to_string(manual.join("man5/vxgate.toml.5")).expect("the page of the file");
    assert!(
        file.contains("\\fBaccept\\-from\\fR = \\fICIDR\\fR") && file.contains("VXGATE_ACCEPT_FROM"),
        "{file}"
    );
}

#[test]
fn output_that_nobody_takes_is_an_error_unless_the_reader_has_left() {
    let scratch = Scratch::new();
    let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let output = scratch.command(VXGATE, "up --help").stdout(full).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("vxgate: standard output: No space left"));

    let mut child = scratch
        .command(VXGATE, "up --help")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn migrate_reads_standard_input_and_prints_the_file_alone_there() {
    let scratch = Scratch::new();
    let crontab = "@reboot root sleep 30 && /root/init_vxlan.sh eth0 172.21.0.100 vxlan0 10.225.194.171/9 - 100.64.158.4 >> /tmp/log 2>&1\n";
    let path = scratch.0.join("crontab");
    fs::write(&path, crontab).unwrap();
    let mut command = scratch.command(VXGATE, "migrate");
    let Output { status, stdout, stderr } = command.stdin(fs::File::open(&path).unwrap()).output().unwrap();
    let (file, told) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success(), "{told}");
    assert!(file.contains("address = \"10.225.194.171/9\"\nvni = 10\n"), "{file}");
    assert!(file.contains("\npeer = [\"100.64.158.4\"]\n"), "{file}");
    assert!(told.contains("take the line out: standard input line 1"), "{told}");
    scratch.run("migrate").refused(
        "migrate",
        1,
        "vxgate: migrate: standard input: no line runs init_vxlan.sh",
    );
}
