//! What `vxgate-forwarder` promises to those who embed it: its public items as a list, and its examples, which run.
//!
//! `UPDATE_GOLDEN=1 cargo test --test public_api` writes the list anew. What goes from it, or changes, breaks somebody's program:
//! it takes a new version as the crate's documentation says, and a line in CHANGELOG.md.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source of the crate, without its tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// The public items of a source, each as its declaration on one line: what rustfmt has broken is joined, bodies are left out.
fn items(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let (mut items, mut lines, mut owner) = (Vec::new(), source.lines(), String::new());
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        if line.starts_with("impl")
            || line.starts_with("pub trait")
            || line.starts_with("pub struct")
            || line.starts_with("pub enum")
        {
            owner = line.trim_end_matches('{').trim().to_owned();
        }
        // What a trait or an enum has is public with it.
        let is_member = line.starts_with("    fn ") && owner.starts_with("pub trait");
        let is_variant = line.starts_with("    ")
            && !line.starts_with("     ")
            && owner.starts_with("pub enum")
            && start.starts_with(|letter: char| letter.is_ascii_uppercase());
        if !start.starts_with("pub ") && !is_member && !is_variant {
            continue;
        }
        let mut item = start.to_owned();
        let is_open = |item: &str| item.matches('(').count() > item.matches(')').count();
        while is_open(&item) || !item.contains(['{', ';']) && !item.ends_with(',') && !item.ends_with(')') {
            let Some(next) = lines.next() else { break };
            item = format!("{item} {}", next.trim());
        }
        if start.starts_with("pub use") {
            while !item.contains(';') {
                let Some(next) = lines.next() else { break };
                item = format!("{item} {}", next.trim());
            }
        } else {
            item = item.split(" {").next().unwrap_or(&item).trim_end_matches([';', ',']).to_owned();
        }
        let inside = line.starts_with(' ') && !owner.is_empty();
        items.push(if inside { format!("{owner}: {item}") } else { item });
    }
    items
}

#[test]
fn what_is_public_is_what_the_list_says() {
    let mut found = Vec::new();
    sources(&root().join("crates/forwarder/src"), &mut found);
    let mut list = BTreeSet::new();
    for path in found {
        list.extend(items(&fs::read_to_string(&path).expect("a source")));
    }
    let list: String = list.iter().map(|item| format!("{item}\n")).collect();
    let path = root().join("docs/api/vxgate-forwarder.txt");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &list).expect("the list");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let (before, now): (BTreeSet<_>, BTreeSet<_>) = (golden.lines().collect(), list.lines().collect());
    let gone: Vec<_> = before.difference(&now).collect();
    let new: Vec<_> = now.difference(&before).collect();
    assert!(gone.is_empty() && new.is_empty(), "gone: {gone:#?}\nnew: {new:#?}");
}

#[test]
fn the_lister_sees_what_is_public_and_nothing_else() {
    let source = "pub struct A {\n    pub one: u8,\n    two: u8,\n}\n\nimpl A {\n    pub fn long(\n        &self,\n        more: u8,\n    ) -> u8 {\n        1\n    }\n    fn own() {}\n}\n\
                  pub trait T {\n    fn ask(&self);\n}\npub enum E {\n    First,\n}\npub(crate) fn not() {}\n";
    assert_eq!(
        items(source),
        [
            "pub struct A",
            "pub struct A: pub one: u8",
            "impl A: pub fn long( &self, more: u8, ) -> u8",
            "pub trait T",
            "pub trait T: fn ask(&self)",
            "pub enum E",
            "pub enum E: First"
        ]
    );
}

/// Runs an example as an embedder would.
fn example(name: &str, words: &[&str]) -> Output {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--package", "vxgate-forwarder", "--example", name, "--"]).args(words);
    command.current_dir(root()).output().expect("cargo runs")
}

#[test]
fn the_examples_run_and_show_what_they_say() {
    let pair = example("memory_pair", &[]);
    let said = String::from_utf8_lossy(&pair.stdout).into_owned();
    assert!(pair.status.success(), "{}", String::from_utf8_lossy(&pair.stderr));
    assert!(said.contains("one to 192.0.2.2:4789: 68 octets of datagram, 60 of frame"), "{said}");
    assert!(said.contains("two to 192.0.2.1:4789") && said.contains("two knows 2 addresses"), "{said}");
    let counting = example("counting_port", &[]);
    assert_eq!(String::from_utf8_lossy(&counting.stdout), "10 frames out, 10 back\n");
    // Without words it says which it wants; with them it needs a device, which the next test gives it.
    let bridge = example("tap_bridge", &[]);
    assert!(String::from_utf8_lossy(&bridge.stderr).contains("tap_bridge DEV LOCAL PEER"));
}

#[test]
fn the_bridge_of_the_examples_carries_frames_between_two_hosts() {
    vxgate_testbed::isolated!(|| {
        use std::process::Stdio;
        use vxgate_testbed::{Host, KernelVxlan, Ping, eventually, link};

        let built = root().join("target/debug/examples/tap_bridge");
        let built = env::var_os("CARGO_TARGET_DIR")
            .map_or(built, |dir| PathBuf::from(dir).join("debug/examples/tap_bridge"));
        if !built.exists() {
            // Another profile or folder; the test above has built it where cargo wants it.
            println!("SKIPPED: {} is not there", built.display());
            return;
        }
        let (you, peer) = (Host::new("you").expect("a host"), Host::new("peer").expect("a host"));
        link(&you, "eth0", &peer, "eth0").expect("a link");
        you.address("eth0", "172.21.0.1/24").expect("an address");
        peer.address("eth0", "172.21.0.2/24").expect("an address");
        let vxlan = KernelVxlan::new("172.21.0.2").peer("172.21.0.1").address("10.9.0.2/24");
        if let Err(error) = vxlan.create(&peer) {
            println!("SKIPPED: this kernel makes no vxlan device: {error}");
            return;
        }
        let mut command = you.command(&built);
        let mut bridge = command
            .args(["vx0", "172.21.0.1", "172.21.0.2", "30"])
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let patience = std::time::Duration::from_secs(10);
        assert!(eventually(patience, || you.address("vx0", "10.9.0.1/24").is_ok()), "the device");
        you.mtu("vx0", 1450).and_then(|()| you.up("vx0")).expect("a device");
        let answered = eventually(patience, || {
            let ping = Ping { count: 1, ..Ping::new("10.9.0.2".parse().expect("an address")) };
            you.run(|| ping.run()).expect("a ping").all_answered()
        });
        bridge.kill().expect("it runs");
        bridge.wait().expect("an end");
        assert!(answered);
    });
}
