//! `vxgate migrate`: from a line that runs the Gate's init script to a file for `up --config`.
//!
//! ```text
//! arguments, rc.local, crontab, unit ──► gate::script ──► UpOptions ──► checked ──► FILE, or standard output
//!                                                                      └─► what differs, what to do next
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use vxgate_gate::InitArguments;
use vxgate_gate::script::{self, ScriptError, ScriptLine};

use crate::args::migrate::MigrateArgs;
use crate::config::UpConfig;
use crate::failure::{Failure, see_help};
use crate::init;

/// Longest text that is searched, in octets: more than any boot script has.
const MAX_TEXT_OCTETS: u64 = 1 << 20;

/// Where the unit looks for the file of a device.
const UNIT_DIR: &str = "/etc/vxgate";

/// Finds the line, writes the file, tells the rest.
pub(crate) fn run(args: &MigrateArgs, out: &mut dyn Write) -> Result<(), Failure> {
    migrate(args, out, &mut io::stderr())
}

fn migrate(args: &MigrateArgs, out: &mut dyn Write, beside: &mut dyn Write) -> Result<(), Failure> {
    let (found, place) = only(find(args)?, args)?;
    check(&found, &place)?;
    let text = file(&found.arguments, &place);
    let told = told(&found, &place, args.output.as_deref());
    match &args.output {
        Some(path) => {
            write(path, &text, args.force)?;
            out.write_all(told.as_bytes())
        }
        None => {
            out.write_all(text.as_bytes()).map_err(|error| Failure::output(&error))?;
            // The file may go into a pipe; who types it sees both.
            beside.write_all(told.as_bytes())
        }
    }
    .map_err(|error| Failure::output(&error))
}

/// A line, and where it stands: `/etc/rc.local line 12`.
type Found = (ScriptLine, String);

fn find(args: &MigrateArgs) -> Result<Vec<Found>, Failure> {
    let unfound = |name: &str, error: &ScriptError| {
        let what = if name.is_empty() { "migrate".to_owned() } else { format!("migrate: {name}") };
        Failure::failed(what, error).with_hint(error.hint())
    };
    match args.arguments.as_slice() {
        [] => {}
        [text] => {
            let lines = script::find(text, args.set.iter().cloned());
            let lines = lines.map_err(|error| unfound("", &error))?;
            return Ok(lines.into_iter().map(|line| (line, "the command line".to_owned())).collect());
        }
        words => {
            let line = script::of_words(words).map_err(|error| match &error {
                ScriptError::Arguments { source, .. } => {
                    Failure::usage("migrate", source).with_hint(source.hint())
                }
                ScriptError::None { .. } | ScriptError::Unknown { .. } | ScriptError::Unclosed { .. } => {
                    unfound("", &error)
                }
            })?;
            return Ok(vec![(line, "the command line".to_owned())]);
        }
    }
    let standard_input = [PathBuf::from("-")];
    let sources = if args.from.is_empty() { &standard_input[..] } else { &args.from };
    let mut found = Vec::new();
    let mut nothing = None;
    for source in sources {
        let name = if source.as_os_str() == "-" {
            "standard input".to_owned()
        } else {
            source.display().to_string()
        };
        match script::find(&read(source, args.from.is_empty())?, args.set.iter().cloned()) {
            Ok(lines) => found.extend(lines.into_iter().map(|line| {
                let place = format!("{name} line {}", line.line);
                (line, place)
            })),
            // One of several may hold none.
            Err(error @ ScriptError::None { .. }) => {
                nothing.get_or_insert(unfound(&name, &error));
            }
            Err(error) => return Err(unfound(&name, &error)),
        }
    }
    match nothing {
        Some(failure) if found.is_empty() => Err(failure),
        Some(_) | None => Ok(found),
    }
}

fn read(source: &Path, is_default: bool) -> Result<String, Failure> {
    let mut octets = Vec::new();
    let read = if source.as_os_str() == "-" {
        if is_default && io::stdin().is_terminal() {
            return Err(Failure::usage(
                "migrate",
                "neither arguments nor --from FILE, and standard input is a terminal",
            )
            .with_hint(see_help("migrate")));
        }
        io::stdin().take(MAX_TEXT_OCTETS + 1).read_to_end(&mut octets)
    } else {
        File::open(source).and_then(|file| file.take(MAX_TEXT_OCTETS + 1).read_to_end(&mut octets))
    };
    let what = || format!("migrate: {}", source.display());
    read.map_err(|error| Failure::failed(what(), error))?;
    if octets.len() as u64 > MAX_TEXT_OCTETS {
        return Err(Failure::failed(what(), format!("it is longer than {MAX_TEXT_OCTETS} octets")));
    }
    // A comment in another encoding is no reason to give up.
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

/// The one tunnel to write a file for.
fn only(found: Vec<Found>, args: &MigrateArgs) -> Result<Found, Failure> {
    let mut devices = BTreeSet::new();
    let mut wanted: Vec<Found> = Vec::new();
    for (line, place) in found {
        devices.insert(line.arguments.device.clone());
        let is_wanted = args.dev.as_ref().is_none_or(|dev| dev.as_str() == line.arguments.device);
        // The same line twice is the same tunnel.
        if is_wanted && wanted.iter().all(|(other, _)| other.arguments != line.arguments) {
            wanted.push((line, place));
        }
    }
    let devices: Vec<_> = devices.into_iter().collect();
    let devices = devices.join(", ");
    let places: Vec<_> = wanted.iter().map(|(_, place)| place.clone()).collect();
    let mut wanted = wanted.into_iter();
    match (wanted.next(), wanted.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Failure::failed("migrate: --dev", format!("the lines found are for {devices}"))),
        (Some(_), Some(_)) => {
            let failure = Failure::failed("migrate", format!("several tunnels: {}", places.join(", ")));
            Err(failure.with_hint(if devices.contains(", ") {
                format!("a file holds one: choose it with --dev ({devices})")
            } else {
                "a file holds one: give the arguments of the right line instead".to_owned()
            }))
        }
    }
}

/// Holds the line to the rules that `init` holds it to.
fn check(found: &ScriptLine, place: &str) -> Result<(), Failure> {
    let options = init::options(&found.arguments)
        .map_err(|(what, why)| Failure::failed(format!("migrate: {place}: {what}"), why))?;
    match UpConfig::new(options) {
        Ok(_) => Ok(()),
        Err(error) => {
            let what = format!("migrate: {place}: {}", init::argument(error.option()));
            Err(Failure::failed(what, &error).with_hint(error.hint()))
        }
    }
}

/// The file's text.
fn file(init: &InitArguments, place: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let ip = |ip: &std::net::IpAddr| quoted(&ip.to_canonical().to_string());
    let peers: Vec<_> = init.peers.iter().map(ip).collect();
    let mut text = format!(
        "# The tunnel of the init_vxlan.sh line in {}, for `vxgate up --config`.\n\
         # Keys are the options of `vxgate up --help`. Secrets do not belong here.\n\n\
         dev = {}\n\
         underlay = {}\n\
         local = {}\n",
        place.replace(|c: char| c.is_control(), " "),
        quoted(&init.device),
        quoted(&init.underlay),
        ip(&init.local),
    );
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    if let Some(address) = init.address {
        line(format!("address = {}", quoted(&address.to_string())));
    }
    line(format!("vni = {}", init.vni));
    line(format!(
        "# Each as \"IP=INNER\", with its inner address, so that one that dies is found out.\npeer = [{}]",
        peers.join(", ")
    ));
    line(
        "\n# The script set none: the device then had the underlay's MTU less 50.\n# mtu = \"auto\""
            .to_owned(),
    );
    text
}

/// What differs from the script, and what to do next.
fn told(found: &ScriptLine, place: &str, output: Option<&Path>) -> String {
    let init = &found.arguments;
    let dev = &init.device;
    let unit_file = Path::new(UNIT_DIR).join(format!("{dev}.toml"));
    let mut told = String::new();
    // A String takes all that is written to it.
    let _ = writeln!(
        told,
        "{dev}: {} on {} to {} peer{}, from {place}",
        init.local,
        init.underlay,
        init.peers.len(),
        if init.peers.len() == 1 { "" } else { "s" },
    );
    told.push_str(
        "\nUnlike the script, vxgate\n\
         - gives the device an MTU that passes the Gate, 1450 at most; mtu = N in the file sets another\n\
         - takes frames from the peers only; accept-from = [\"CIDR\"] widens that\n\
         - goes by the other peer when one dies, once it knows their inner addresses: peer = [\"IP=INNER\", ...] in the file\n\
         \x20 (innerIpAddress of `soracom vpg list-gate-peers`)\n\
         - leaves the vxlan module alone, and other users of it\n\
         - takes the device away when it is told to stop\n\
         \nNext:\n",
    );
    let mut steps = Vec::new();
    match output {
        Some(path) if std::path::absolute(path).is_ok_and(|path| path == unit_file) => {}
        Some(path) => {
            steps.push(format!("sudo install -D -m 644 {} {}", path.display(), unit_file.display()))
        }
        None => steps.push(format!("put the file into {}, or give its name to -o", unit_file.display())),
    }
    if !found.environment.is_empty() {
        let set: Vec<_> = found.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        steps.push(format!("put into {UNIT_DIR}/{dev}.env, a line each: {}", set.join(" ")));
    }
    if place != "the command line" {
        steps.push(format!("take the line out: {place}"));
    }
    steps.push(format!("sudo ip link del {dev}, where the script's device is still there"));
    steps.push(format!("sudo systemctl enable --now vxgate@{dev}   (contrib/systemd/vxgate@.service)"));
    for (number, step) in (1..).zip(steps) {
        let _ = writeln!(told, "{number}. {step}");
    }
    told
}

/// Writes the file: a new one, or with `force` whole in place of the old.
fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let written = match fs::metadata(path) {
        // A pipe or a device is written to: in its place a file would be of no use to anybody.
        Ok(there) if force && !there.is_file() => {
            OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()))
        }
        // What a link leads to is replaced, and not the link.
        Ok(_) if force => fs::canonicalize(path).and_then(|path| replace(&path, text)),
        Ok(_) | Err(_) => create(path, text),
    };
    written.map_err(|error| {
        let failure = Failure::failed(format!("migrate: {}", path.display()), &error);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        match (error.kind(), parent) {
            (io::ErrorKind::AlreadyExists, _) => {
                failure.with_hint("look at it first; --force writes over it".to_owned())
            }
            (io::ErrorKind::NotFound, Some(parent)) => {
                failure.with_hint(format!("make the directory first: sudo mkdir -p {}", parent.display()))
            }
            (io::ErrorKind::PermissionDenied, _) => failure.with_hint("run as root (sudo)".to_owned()),
            (_, _) => failure,
        }
    })
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    // The service reads it, which is not root; there are no secrets in it.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        // Half a file is none; that it cannot be removed adds nothing to the error.
        let _ = fs::remove_file(path);
    })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let new = path.with_file_name(name);
    create(&new, text)?;
    fs::rename(&new, path).inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::config::file::ConfigFile;

    const ARGS: &str = "eth0 172.21.0.100 vxlan0 10.225.194.171/9 10.255.255.255 100.64.158.4 100.64.158.132";

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn migrated(text: &str) -> UpConfig {
        let file =
            ConfigFile::parse(text, Path::new("vx.toml")).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        UpConfig::new(file.options(0)).unwrap_or_else(|error| panic!("{error}:\n{text}"))
    }

    #[test]
    fn the_seeds_line_becomes_this_file() {
        let mut out = Vec::new();
        let args = MigrateArgs { arguments: words(ARGS), ..MigrateArgs::default() };
        migrate(&args, &mut out, &mut Vec::new()).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "# The tunnel of the init_vxlan.sh line in the command line, for `vxgate up --config`.\n\
             # Keys are the options of `vxgate up --help`. Secrets do not belong here.\n\n\
             dev = \"vxlan0\"\nunderlay = \"eth0\"\nlocal = \"172.21.0.100\"\naddress = \"10.225.194.171/9\"\nvni = 10\n\
             # Each as \"IP=INNER\", with its inner address, so that one that dies is found out.\n\
             peer = [\"100.64.158.4\", \"100.64.158.132\"]\n\n\
             # The script set none: the device then had the underlay's MTU less 50.\n# mtu = \"auto\"\n"
        );
    }

    #[test]
    fn the_report_says_what_differs_and_what_to_do_next() {
        let found = script::of_words(&words(&format!("VXGATE_MTU=1400 vxgate init {ARGS}"))).unwrap();
        let report = told(&found, "/etc/rc.local line 3", Some(Path::new("/etc/vxgate/vxlan0.toml")));
        for words in [
            "MTU",
            "peers only",
            "peer = [\"IP=INNER\", ...] in the file",
            "vxlan module",
            "1. put into /etc/vxgate/vxlan0.env, a line each: VXGATE_MTU=1400\n2. take the line out: /etc/rc.local line 3",
            "ip link del vxlan0",
            "enable --now vxgate@vxlan0",
        ] {
            assert!(report.contains(words), "{words}: {report}");
        }
        let found = script::of_words(&words(ARGS)).unwrap();
        let report = told(&found, "the command line", Some(Path::new("/tmp/x.toml")));
        assert!(
            report.contains("1. sudo install -D -m 644 /tmp/x.toml /etc/vxgate/vxlan0.toml\n2. sudo ip link"),
            "{report}"
        );
    }

    #[test]
    fn a_file_that_exists_is_left_alone_unless_forced() {
        let dir = std::env::temp_dir().join(format!("vxgate-migrate-{}", std::process::id()));
        let path = dir.join("vxlan0.toml");
        let args = |force| MigrateArgs {
            arguments: vec![format!("sudo /root/init_vxlan.sh {ARGS} >> /tmp/log 2>&1 &")],
            output: Some(path.clone()),
            force,
            ..MigrateArgs::default()
        };
        let failure = |force| run(&args(force), &mut Vec::new()).unwrap_err().to_string();
        assert!(
            failure(false).contains("hint: make the directory first: sudo mkdir -p"),
            "{}",
            failure(false)
        );
        fs::create_dir(&dir).unwrap();
        run(&args(false), &mut Vec::new()).unwrap();
        assert_eq!(migrated(&fs::read_to_string(&path).unwrap()), init::config(&words(ARGS)).unwrap());
        fs::write(&path, "mine").unwrap();
        assert!(failure(false).contains("--force writes over it"), "{}", failure(false));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        run(&args(true), &mut Vec::new()).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("dev = \"vxlan0\""));
        let link = dir.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::write(&path, "mine").unwrap();
        write(&link, "theirs", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        fs::remove_file(&link).unwrap();
        // What is no file stays what it is: a device, or here a pipe that is being read.
        let pipe = dir.join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        write(&pipe, "theirs", true).unwrap();
        assert_eq!(reader.join().unwrap(), "theirs");
        assert!(!fs::metadata(&pipe).unwrap().is_file());
        fs::remove_file(&pipe).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn of_several_tunnels_one_is_chosen() {
        let dir = std::env::temp_dir().join(format!("vxgate-migrate-several-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let rc = dir.join("rc.local");
        let second = ARGS.replace("vxlan0", "vxlan1");
        fs::write(&rc, format!("/init_vxlan.sh {ARGS}\n/init_vxlan.sh {ARGS}\n/init_vxlan.sh {second}\n"))
            .unwrap();
        let chosen = |dev: Option<&str>| {
            let dev = dev.map(|dev| dev.parse().unwrap());
            let args = MigrateArgs { from: vec![rc.clone()], dev, ..MigrateArgs::default() };
            find(&args).and_then(|found| only(found, &args))
        };
        assert_eq!(chosen(Some("vxlan1")).unwrap().1, format!("{} line 3", rc.display()));
        let told = chosen(None).unwrap_err().to_string();
        assert!(told.contains("line 1") && told.contains("choose it with --dev (vxlan0, vxlan1)"), "{told}");
        let told = chosen(Some("vxlan2")).unwrap_err().to_string();
        assert!(told.contains("the lines found are for vxlan0, vxlan1"), "{told}");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_line_that_init_would_refuse_is_refused() {
        for (line, message) in [
            (
                "eth0 172.21.0.100 eth0 10.0.0.1 9",
                "vxgate: migrate: the command line: PHY_IF: eth0 is the device to make",
            ),
            (
                "eth/0 172.21.0.100 vxlan0 10.0.0.1 9",
                "vxgate: migrate: the command line: PHY_IF \"eth/0\": a device's name",
            ),
            (
                "eth0 172.21.0.100 vxlan0 10.0.0.0 8 1.2.3.4",
                "vxgate: migrate: the command line: VXLAN_ADDR: 10.0.0.0/8 is the network",
            ),
            ("eth0 172.21.0.100", "vxgate: migrate: VXLAN_IF is missing"),
        ] {
            let args = MigrateArgs { arguments: words(line), ..MigrateArgs::default() };
            let told = run(&args, &mut Vec::new()).expect_err(line).to_string();
            assert!(told.starts_with(message), "{line}: {told}");
        }
    }

    proptest! {
        #[test]
        fn up_with_the_migrated_file_is_what_init_with_the_line_is(
            (underlay, device) in ("[a-z\"\\\\é][a-z0-9.\"\\\\é-]{0,6}", "[a-z\"'][a-z0-9.\"'-]{0,10}"),
            local in any::<u32>().prop_map(Ipv4Addr::from),
            inner in any::<u32>().prop_map(Ipv4Addr::from),
            bits in 1_u8..=32,
            mask in 0..4,
            vni in prop::option::of(0_u32..1 << 24),
            peers in prop::collection::vec(any::<u32>().prop_map(Ipv4Addr::from), 0..4),
        ) {
            let netmask = Ipv4Addr::from_bits(u32::MAX << (32 - u32::from(bits)));
            let (address, mask) = match mask {
                0 => (format!("{inner}/{bits}"), "10.255.255.255".to_owned()),
                1 => (inner.to_string(), netmask.to_string()),
                2 => (inner.to_string(), bits.to_string()),
                _ => (String::new(), String::new()),
            };
            let mut line = vec![underlay, local.to_string(), device, address, mask];
            line.extend(vni.map(|vni| vni.to_string()));
            line.extend(peers.iter().map(ToString::to_string));
            let init = InitArguments::parse(&line).expect("made to be right");
            // What `init` makes of the line; no VXGATE_ variable is set here.
            if let Ok(config) = init::config(&line) {
                prop_assert_eq!(migrated(&file(&init, "a\nb")), config);
            } else {
                let line = ScriptLine { line: 1, words: line, arguments: init, environment: Default::default() };
                prop_assert!(check(&line, "here").is_err());
            }
        }

        #[test]
        fn the_same_over_ipv6(local in any::<u128>(), peer in any::<u128>(), inner in any::<u128>(), bits in 1_u8..=128) {
            let ip = |bits: u128| IpAddr::from(std::net::Ipv6Addr::from_bits(bits));
            let line = vec!["eth0".to_owned(), ip(local).to_string(), "vxlan0".to_owned(), format!("{}/{bits}", ip(inner)),
                "-".to_owned(), "7".to_owned(), ip(peer).to_string()];
            let init = InitArguments::parse(&line).expect("made to be right");
            if let Ok(config) = init::config(&line) {
                prop_assert_eq!(migrated(&file(&init, "here")), config);
            }
        }
    }
}
