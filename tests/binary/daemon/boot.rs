//! What runs at boot: the configuration file, `vxgate migrate`, the unit and its privileges.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, mount, mount_bind};
use vxgate_testbed::{isolated, skip};

use crate::ground::{Daemon, Ended, GATE_INNER, Ground, Traces, VXGATE, command, missing};

/// The line of the Gate's manual, as people keep it.
const RC_LOCAL: &str = "#!/bin/sh\n\
    OUTER=172.21.0.100\n\
    PEERS=\"100.64.158.4 100.64.158.132\"\n\
    sudo nohup /root/init_vxlan.sh eth0 $OUTER vxlan0 10.225.194.171/9 10.255.255.255 $PEERS >> /var/log/vxlan 2>&1 &\n\
    exit 0\n";

const FILE: &str = "/run/vxlan0.toml";

/// Nobody's user, on every system.
const NOBODY: u32 = 65534;

pub(crate) fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib/systemd/vxgate@.service");
    fs::read_to_string(path).expect("the unit")
}

/// The value of a setting of the unit.
fn setting<'a>(unit: &'a str, name: &str) -> &'a str {
    let values: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect();
    assert_eq!(values.len(), 1, "{name}: {values:?}");
    values[0]
}

/// Says what is missing, if this program is.
pub(crate) fn missing_program(name: &str, package: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    if !is_there {
        skip(&format!("there is no {name} here (package {package})"));
    }
    !is_there
}

#[test]
fn a_migrated_line_brings_the_same_tunnel_up_from_its_file_and_the_command_line_wins() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let before = Traces::of(&ground.you);
        fs::write("/run/rc.local", RC_LOCAL).unwrap();
        let migrated = ground.vxgate(&format!("migrate --from /run/rc.local -o {FILE}"));
        assert_eq!((migrated.code, migrated.stderr.as_str()), (Some(0), ""), "{}", migrated.stdout);
        assert!(migrated.stdout.contains("take the line out: /run/rc.local line 4"), "{}", migrated.stdout);
        before.again(&ground.you, "migrate only writes its file");

        let daemon = ground.up(&format!("up --config {FILE}"));
        assert!(ground.answers(), "{GATE_INNER}: {}", daemon.log());
        let show = ground.show();
        assert_eq!(
            (&show["local"], &show["vni"], show["peers"].as_array().unwrap().len()),
            (&"172.21.0.100".into(), &10.into(), 2)
        );
        daemon.stop();
        before.again(&ground.you, "the file's tunnel");

        let mut both = ground.command("up --mtu 1300");
        both.env("VXGATE_CONFIG", FILE).env("VXGATE_MTU", "1200").env("VXGATE_AGEING", "77");
        fs::write(FILE, format!("{}mtu = 1100\nmax-macs = 5\n", fs::read_to_string(FILE).unwrap())).unwrap();
        let daemon = Daemon::start(both);
        let show = ground.show();
        assert_eq!((&show["mtu"], &show["fdb"]["limit"]), (&1300.into(), &5.into()));
        daemon.stop();
    });
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_place_and_makes_nothing() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        for (text, message, hint) in [
            (
                "dev = \"vxlan0\"\npeers = [\"100.64.158.4\"]\n",
                ":2:1: \"peers\": no such option; a similar one is peer",
                "vxgate up --help",
            ),
            (
                "peer = [\n  \"100.64.158.4\",\n  \"gate\",\n]\n",
                ":3:3: peer \"gate\": an IPv4 or IPv6 address",
                "vxgate up --help",
            ),
            ("vni = 10\nvni = 11\n", ":2:1: ", "a key stands once"),
            (
                "address = \"10.225.194.171/9\"\npeer = \"10.225.194.171\"\n",
                ":1:1: address: 10.225.194.171/9 is an outer address too",
                "outer",
            ),
        ] {
            fs::write(FILE, text).unwrap();
            ground.refused(&format!("up --config {FILE}"), 2, &format!("vxgate: {FILE}{message}"), hint);
        }
        ground.refused(
            "up --config /run/none.toml",
            1,
            "vxgate: --config /run/none.toml: No such file",
            "vxgate migrate",
        );
        fs::write("/run/rc.local", RC_LOCAL.replace("OUTER=172.21.0.100", "OUTER=$(hostname -I)")).unwrap();
        ground.refused(
            "migrate --from /run/rc.local",
            1,
            "vxgate: migrate: /run/rc.local: line 4: the value of $OUTER is not known: it is what a command prints",
            "--set OUTER=VALUE",
        );
    });
}

/// Lets everybody open /dev/net/tun in this mount namespace, as systemd's own rules for devices do.
pub(crate) fn open_tun_to_all() -> Result<(), String> {
    let step =
        |step: &str, result: rustix::io::Result<()>| result.map_err(|error| format!("{step}: {error}"));
    let dir = "/run/nodes";
    fs::create_dir(dir).unwrap();
    // /run refuses device nodes.
    step("mount", mount("tmpfs", dir, "tmpfs", MountFlags::NOSUID, None))?;
    let node = format!("{dir}/tun");
    step(
        "make a device node",
        mknodat(CWD, &node, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(10, 200)),
    )?;
    fs::set_permissions(&node, Permissions::from_mode(0o666)).unwrap();
    step("bind it", mount_bind(&node, "/dev/net/tun"))
}

/// A command with exactly these capabilities, as this user.
fn with_capabilities(ground: &Ground, user: u32, capabilities: &str, line: &str) -> Command {
    let set: String = capabilities
        .split(' ')
        .map(|name| format!(",+{}", name.strip_prefix("CAP_").expect("a capability's name").to_lowercase()))
        .collect();
    let mut run = command(
        &ground.you,
        "setpriv",
        &format!("--reuid {user} --regid {user} --clear-groups --no-new-privs"),
    );
    run.arg(format!("--bounding-set=-all{set}")).arg(format!("--inh-caps=-all{set}"));
    run.arg(format!("--ambient-caps=-all{set}")).arg("/run/bin/vxgate").args(line.split(' '));
    run
}

#[test]
fn the_units_capabilities_are_all_that_a_tunnel_needs_as_a_user_who_is_not_root() {
    isolated!(|| {
        if missing() || missing_program("setpriv", "util-linux") {
            return;
        }
        if let Err(why) = open_tun_to_all() {
            return skip(&format!("this test gives /dev/net/tun to all, as root: {why}"));
        }
        let ground = Ground::with_gate();
        let unit = unit();
        let of_unit = setting(&unit, "CapabilityBoundingSet");
        assert_eq!(setting(&unit, "AmbientCapabilities"), of_unit);
        // The user need not be able to reach where this test was built.
        fs::create_dir("/run/bin").unwrap();
        fs::copy(VXGATE, "/run/bin/vxgate").unwrap();
        fs::create_dir("/run/vxgate").unwrap();
        chown("/run/vxgate", Some(NOBODY), Some(NOBODY)).unwrap();
        fs::write("/run/rc.local", RC_LOCAL).unwrap();
        assert_eq!(ground.vxgate(&format!("migrate --from /run/rc.local -o {FILE}")).code, Some(0));
        fs::write(FILE, format!("{}route = [\"10.64.0.0/16\"]\n", fs::read_to_string(FILE).unwrap()))
            .unwrap();
        let before = Traces::of(&ground.you);
        let line = format!("up --dev vxlan0 --config {FILE}");

        // The unit's, and the one that a kernel from 5.7 on needs.
        for capabilities in [of_unit, "CAP_NET_ADMIN"] {
            let daemon = Daemon::start(with_capabilities(&ground, NOBODY, capabilities, &line));
            assert!(ground.answers(), "{capabilities}: {}", daemon.log());
            // linux/capability.h: CAP_NET_ADMIN is 12, CAP_NET_RAW 13.
            // Who answers has given them up.
            assert_eq!(ground.vxgate("show vxlan0").code, Some(0));
            let bound = if capabilities == of_unit { 0x3000_u64 } else { 0x1000 };
            let monitor = daemon.monitor().as_raw_nonzero().get().cast_unsigned();
            for (pid, mask) in [(daemon.pid(), 0), (monitor, 0x1000)] {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
                let field = |name: &str| {
                    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
                    line.split_whitespace().next().expect(name).to_owned()
                };
                for (set, mask) in [("CapEff:", mask), ("CapPrm:", mask), ("CapBnd:", bound)] {
                    assert_eq!(u64::from_str_radix(&field(set), 16), Ok(mask), "{capabilities}: {status}");
                }
                assert_eq!((field("Uid:"), field("NoNewPrivs:")), (NOBODY.to_string(), "1".to_owned()));
            }
            let log = daemon.log();
            // The script's line knows no inner addresses of peers; nothing else is amiss.
            let mut warned = log.lines().filter(|line| line.contains("WARN"));
            assert!(warned.all(|line| line.contains("no inner address is known of")), "{log}");
            assert!(!log.contains("denied"), "{log}");
            daemon.stop();
            before.again(&ground.you, capabilities);
        }
        // It is these that it takes: without them there is no tunnel, and a hint.
        let without = with_capabilities(&ground, NOBODY, "CAP_CHOWN", &line);
        ground.refused_command(without, 1, "vxgate: tunnel vxlan0: ", "CAP_NET_ADMIN");
    });
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_rates_as_well_confined() {
    if missing_program("systemd-analyze", "systemd") {
        return;
    }
    let unit = unit();
    let start = setting(&unit, "ExecStart");
    assert_eq!(start, "/usr/local/bin/vxgate up --dev %i --config /etc/vxgate/%i.toml");
    let dir = std::env::temp_dir().join(format!("vxgate-unit-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    // Where this test was built is where its program is.
    let path = dir.join("vxgate@vxlan0.service");
    fs::write(&path, unit.replace("/usr/local/bin/vxgate", VXGATE)).unwrap();
    let analyze = |arguments: &[&str]| {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(arguments).arg(&path).env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "cat");
        Ended::of(analyze)
    };
    let verified = analyze(&["verify", "--man=no"]);
    let about_it: Vec<_> = verified.stderr.lines().filter(|line| line.contains("vxgate@")).collect();
    assert!(verified.code == Some(0) && about_it.is_empty(), "{}{}", verified.stdout, verified.stderr);
    // Of 10, tenfold: what systemd calls OK ends at 4.9, and a service that nothing confines has 9.6.
    let rated = analyze(&["security", "--offline=true", "--threshold=25"]);
    let unknown = rated.stderr.contains("unrecognized option");
    fs::remove_dir_all(&dir).unwrap();
    if unknown {
        return skip("systemd-analyze rates no unit file before systemd 250");
    }
    assert_eq!(rated.code, Some(0), "{}{}", rated.stdout, rated.stderr);
    assert!(rated.stdout.contains("Overall exposure level"), "{}", rated.stdout);
}
