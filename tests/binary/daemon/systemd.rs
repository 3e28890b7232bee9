//! The unit under a real systemd, the first process of a namespace of its own:
//!
//! ```text
//!   you (network namespace) ── pid, mount, cgroup namespaces: systemd ─┬─ vxgate@vxlan0
//!    eth0 ── gate                                                      └─ vxgate@vxlan1
//! ```

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, kill_process};
use vxgate_fake_gate::{FakeGate, VPG_ID};
use vxgate_netlink::nft::Nftables;
use vxgate_testbed::{eventually, isolated, skip, wait_for};

use crate::boot::{missing_program, open_tun_to_all, unit};
use crate::ground::{Ended, Ground, Traces, VXGATE, YOU, command, missing};
use crate::restart::longest_silence;

/// How long a system may take for a step: it has more to do than a tunnel.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where systemd itself may lie.
const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];

/// What a minimal system needs besides the unit.
const TARGETS: [&str; 5] = ["sysinit", "basic", "shutdown", "umount", "network-online"];

/// Makes the namespaces a system's: nothing is written outside of them, /etc is read-only, cgroups are its own.
const INIT: &str = "set -e\n\
    mount -t proc proc /proc\n\
    mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
    for dir in /var/lib /tmp /var/tmp; do mount -t tmpfs tmpfs $dir; done\n\
    mount --bind /etc /etc\n\
    mount -o remount,bind,ro /etc\n\
    exec \"$0\" --system --unit=test.target --log-target=console --log-level=warning --show-status=no\n";

/// A systemd that runs, with all that it started.
struct System<'a> {
    ground: &'a Ground,
    /// unshare(1), whose end is the system's.
    outside: Child,
    first: Pid,
    cgroup: PathBuf,
}

impl System<'_> {
    /// Starts it; or why that cannot be done here.
    fn boot<'a>(ground: &'a Ground, systemd: &str) -> Result<System<'a>, String> {
        fs::create_dir("/run/cgroups").unwrap();
        mount("cgroup2", "/run/cgroups", "cgroup2", MountFlags::empty(), None)
            .map_err(|error| format!("mount cgroup2: {error}"))?;
        let cgroup = PathBuf::from(format!("/run/cgroups/vxgate-test-{}", std::process::id()));
        fs::create_dir(&cgroup).map_err(|error| format!("make a cgroup: {error}"))?;
        let enter = format!(
            "echo $$ > {}/cgroup.procs && exec unshare --fork --pid --mount --uts --ipc --cgroup --kill-child sh -c \"$1\" {systemd}",
            cgroup.display()
        );
        let mut boot = command(&ground.you, "sh", "");
        boot.args(["-c", &enter, "sh", INIT]).env("SYSTEMD_UNIT_PATH", "/run/units").env("container", "test");
        let log = fs::File::create("/run/systemd.log").unwrap();
        boot.stdout(log.try_clone().unwrap()).stderr(Stdio::from(log));
        let mut outside = boot.spawn().map_err(|error| error.to_string())?;
        let children = format!("/proc/{0}/task/{0}/children", outside.id());
        let first = wait_for(PATIENCE, || {
            let text = fs::read_to_string(&children).unwrap_or_default();
            let first =
                text.split_whitespace().next().and_then(|number| number.parse().ok()).and_then(Pid::from_raw);
            // From there on systemctl is answered.
            first.filter(|_| fs::exists("/run/systemd/private").unwrap())
        });
        let Some(first) = first else {
            let _ = outside.kill();
            let _ = outside.wait();
            return Err(format!("systemd does not start: {}", log_of_systemd()));
        };
        Ok(System { ground, outside, first, cgroup })
    }

    /// systemctl(1), inside.
    fn control(&self, line: &str) -> Ended {
        let first = self.first.as_raw_nonzero();
        Ended::of(command(
            &self.ground.you,
            "nsenter",
            &format!("-t {first} -m -p -- systemctl --no-pager {line}"),
        ))
    }

    fn property(&self, unit: &str, name: &str) -> String {
        self.control(&format!("show --value -p {name} {unit}")).stdout.trim().to_owned()
    }

    #[track_caller]
    fn becomes(&self, unit: &str, name: &str, value: &str) {
        let became = eventually(PATIENCE, || self.property(unit, name) == value);
        assert!(became, "{unit}: {name} is {}, not {value}\n{}", self.property(unit, name), told(unit));
    }

    /// The main process of a unit, by its number out here.
    fn main_process(&self, unit: &str) -> Pid {
        let group = self.property(unit, "ControlGroup");
        let list = fs::read_to_string(format!("{}{group}/cgroup.procs", self.cgroup.display())).unwrap();
        list.split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .and_then(Pid::from_raw)
            .expect("a process")
    }
}

impl Drop for System<'_> {
    fn drop(&mut self) {
        // With the first process of its namespace, every other ends.
        let _ = kill_process(self.first, Signal::KILL);
        let _ = self.outside.wait();
        let _ = eventually(PATIENCE, || remove_tree(&self.cgroup));
    }
}

/// Removes a cgroup and those below; whether it is gone.
fn remove_tree(cgroup: &Path) -> bool {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    fs::remove_dir(cgroup).is_ok() || !cgroup.exists()
}

fn log_of_systemd() -> String {
    fs::read_to_string("/run/systemd.log").unwrap_or_default()
}

/// What the unit's process said.
fn told(unit: &str) -> String {
    fs::read_to_string(format!("/run/{unit}.log")).unwrap_or_default()
}

fn write_units() {
    fs::create_dir_all("/run/units/vxgate@.service.d").unwrap();
    for target in TARGETS {
        fs::write(format!("/run/units/{target}.target"), "[Unit]\nDefaultDependencies=no\n").unwrap();
    }
    fs::write(
        "/run/units/test.target",
        "[Unit]\nDefaultDependencies=no\nWants=vxgate@vxlan0.service vxgate@vxlan1.service\n",
    )
    .unwrap();
    let here =
        unit().replace("/usr/local/bin/vxgate", "/run/bin/vxgate").replace("/etc/vxgate/", "/run/config/");
    fs::write("/run/units/vxgate@.service", here).unwrap();
    // There is no journal.
    let log =
        "[Service]\nStandardOutput=append:/run/vxgate@%i.log\nStandardError=append:/run/vxgate@%i.log\n";
    fs::write("/run/units/vxgate@.service.d/log.conf", log).unwrap();
    fs::create_dir("/run/bin").unwrap();
    fs::copy(VXGATE, "/run/bin/vxgate").unwrap();
    fs::write("/run/bin/tell", "#!/bin/sh\necho \"$VXGATE_EVENT $VXGATE_PEER\" >> /var/lib/vxgate/told\n")
        .unwrap();
    fs::set_permissions("/run/bin/tell", Permissions::from_mode(0o755)).unwrap();
}

fn write_config(ground: &Ground) {
    fs::create_dir("/run/config").unwrap();
    let path = "/run/config/vxlan0.toml";
    let line = format!("migrate eth0 172.21.0.100 vxlan0 10.225.194.171 9 100.64.158.4 -o {path}");
    assert_eq!(ground.vxgate(&line).code, Some(0));
    let migrated = fs::read_to_string(path).unwrap();
    let known = migrated.replace("[\"100.64.158.4\"]", "[\"100.64.158.4=10.192.158.4\"]");
    assert_ne!(known, migrated);
    fs::write(path, format!("{known}forward = \"172.22.0.0/16\"\non-event = \"/run/bin/tell\"\n")).unwrap();
    let second = "vni = 11\nport = 4790\nlocal = \"172.21.0.100\"\npeer = \"100.64.158.4\"\n";
    fs::write("/run/config/vxlan1.toml", second).unwrap();
    fs::write("/run/config/vxlan0.env", "VXGATE_MTU=1333\n").unwrap();
}

/// Whether the underlay's interface forwards, and the tunnel's table is there.
fn forwards(ground: &Ground) -> (String, bool) {
    ground.you.run(|| {
        let setting = fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/forwarding").unwrap();
        let table = Nftables::open().unwrap().has_table("vxgate-vxlan0").unwrap();
        (setting.trim().to_owned(), table)
    })
}

/// A peer that goes away is told to the program of `on-event`, which may write to the unit's state.
fn tells_of_a_peer_that_goes(system: &System<'_>, unit: &str) {
    let told_file = format!("/proc/{}/root/var/lib/vxgate/told", system.main_process(unit).as_raw_nonzero());
    system.ground.gate.down("vxlan0").unwrap();
    let is_told =
        || fs::read_to_string(&told_file).is_ok_and(|text| text.contains("peer-down 100.64.158.4\n"));
    assert!(eventually(PATIENCE, is_told), "{}", told(unit));
    system.ground.gate.up("vxlan0").unwrap();
    assert!(system.ground.answers(), "{}", told(unit));
}

/// The set-up from the API, with a key from the unit's environment file, and from its last answer once the API is away.
fn comes_up_from_the_api(system: &System<'_>, unit: &str) {
    let ground = system.ground;
    let fake = ground.gate.run(|| FakeGate::start_on("172.21.0.1:0".parse().unwrap())).unwrap();
    fake.with(|gate| {
        let vpg = gate.vpg_mut();
        vpg.register(YOU.parse().unwrap(), None);
        (vpg.gate_opened, vpg.vni) = (true, Some(10));
    });
    fs::write("/run/config/vxlan1.toml", format!("vpg-id = \"{VPG_ID}\"\n")).unwrap();
    let account = fake.account();
    let environment = format!(
        "SORACOM_ENDPOINT={}\nVXGATE_ALLOW_PLAIN_HTTP=1\nSORACOM_AUTH_KEY_ID={}\nSORACOM_AUTH_KEY={}\n",
        fake.endpoint(),
        account.auth_key_id,
        account.auth_key
    );
    fs::write("/run/config/vxlan1.env", environment).unwrap();
    assert_eq!(system.control(&format!("start {unit}")).code, Some(0), "{}", told(unit));
    assert!(ground.answers(), "{}", told(unit));
    assert!(!told(unit).contains("cannot keep"), "{}", told(unit));
    fake.go_down();
    assert_eq!(system.control(&format!("restart {unit}")).code, Some(0), "{}", told(unit));
    assert!(ground.answers(), "{}", told(unit));
    let kept = format!("kept in /var/lib/vxgate/vpg-{VPG_ID}.json");
    assert!(told(unit).contains(&kept), "{kept}: {}", told(unit));
    assert_eq!(system.control(&format!("stop {unit}")).code, Some(0));
}

/// A device that is to be kept is the same after a restart, also after one that a kill brings about, and gone when it is taken down.
fn keeps_its_device(system: &System<'_>, unit: &str) {
    let ground = system.ground;
    let config =
        "local = \"172.21.0.100\"\npeer = \"100.64.158.4\"\naddress = \"10.225.194.171/9\"\ntap = \"keep\"\n";
    fs::write("/run/config/vxlan1.toml", config).unwrap();
    fs::write("/run/config/vxlan1.env", "").unwrap();
    assert_eq!(system.control(&format!("start {unit}")).code, Some(0), "{}", told(unit));
    let index = || ground.you.run(|| vxgate_sys::interface::index("vxlan1"));
    let first = index().unwrap();
    let silence = longest_silence(ground, || {
        assert_eq!(system.control(&format!("restart {unit}")).code, Some(0), "{}", told(unit));
    });
    println!("systemctl restart: longest silence {silence:?}");
    assert!(silence < Duration::from_secs(2), "{silence:?}");
    assert_eq!(index().unwrap(), first, "{}", told(unit));
    assert!(ground.answers(), "{}", told(unit));
    kill_process(system.main_process(unit), Signal::KILL).unwrap();
    system.becomes(unit, "NRestarts", "1");
    system.becomes(unit, "ActiveState", "active");
    assert_eq!(index().unwrap(), first, "{}", told(unit));
    assert!(ground.answers(), "{}", told(unit));
    assert_eq!(ground.vxgate("down vxlan1").code, Some(0), "{}", told(unit));
    system.becomes(unit, "ActiveState", "inactive");
    assert!(index().is_err());
}

#[test]
fn the_unit_runs_tunnels_under_a_systemd_of_its_own() {
    isolated!(|| {
        let programs = [("unshare", "util-linux"), ("nsenter", "util-linux"), ("systemctl", "systemd")];
        if missing() || programs.iter().any(|(program, package)| missing_program(program, package)) {
            return;
        }
        let Some(systemd) = SYSTEMD.into_iter().find(|path| Path::new(path).is_file()) else {
            return skip("there is no systemd here (package systemd)");
        };
        if let Err(why) = open_tun_to_all() {
            return skip(&format!("this test gives /dev/net/tun to all, as root: {why}"));
        }
        let ground = Ground::with_gate();
        write_units();
        write_config(&ground);
        let (before, closed) = (Traces::of(&ground.you), forwards(&ground));
        assert_eq!(closed, ("0".to_owned(), false));
        let system = match System::boot(&ground, systemd) {
            Ok(system) => system,
            Err(why) => return skip(&format!("this test runs a systemd of its own, as root: {why}")),
        };
        let (first, second) = ("vxgate@vxlan0", "vxgate@vxlan1");
        system.becomes(first, "ActiveState", "active");
        system.becomes(second, "ActiveState", "active");
        assert!(ground.answers(), "{}", told(first));
        system.becomes(first, "StatusText", "1 of 1 peers up");

        // As a user without a capability, behind filters; its environment file counts.
        let status =
            fs::read_to_string(format!("/proc/{}/status", system.main_process(first).as_raw_nonzero()))
                .unwrap();
        for line in
            ["CapEff:\t0000000000000000", "CapBnd:\t0000000000003000", "NoNewPrivs:\t1", "Seccomp:\t2"]
        {
            assert!(status.contains(line), "{line}: {status}");
        }
        assert!(!status.contains("Uid:\t0\t"), "{status}");
        let show = ground.vxgate("show vxlan0 -j");
        assert!(show.stdout.contains("\"mtu\":1333"), "{}{}", show.stdout, show.stderr);
        assert!(!told(first).contains("WARN"), "{}", told(first));
        assert_eq!(forwards(&ground), ("1".to_owned(), true));
        tells_of_a_peer_that_goes(&system, first);

        // The directory is shared, and stays while one of them runs.
        assert_eq!(system.control(&format!("stop {second}")).code, Some(0));
        assert_eq!(ground.vxgate("show vxlan0").code, Some(0));

        kill_process(system.main_process(first), Signal::KILL).unwrap();
        system.becomes(first, "NRestarts", "1");
        system.becomes(first, "ActiveState", "active");
        assert!(ground.answers(), "{}", told(first));
        // The monitor of the one that was killed has undone it, and the next begins where nothing was.
        assert!(!told(first).contains("was left at"), "{}", told(first));
        assert_eq!(forwards(&ground), ("1".to_owned(), true));

        fs::write("/run/config/vxlan1.toml", "vnis = 11\n").unwrap();
        assert_eq!(system.control(&format!("start {second}")).code, Some(1));
        assert_eq!(system.property(second, "ActiveState"), "failed");
        assert_eq!(
            (system.property(second, "NRestarts"), system.property(second, "ExecMainStatus")),
            ("0".into(), "2".into())
        );
        assert!(
            told(second).contains("/run/config/vxlan1.toml:1:1: \"vnis\": no such option"),
            "{}",
            told(second)
        );

        assert_eq!(system.control(&format!("stop {first}")).code, Some(0));
        assert_eq!(system.property(first, "Result"), "success");
        assert_eq!(forwards(&ground), closed);

        comes_up_from_the_api(&system, second);
        keeps_its_device(&system, second);
        before.again(&ground.you, &log_of_systemd());
    });
}
