//! The dependency arrows of ARCHITECTURE.md, read from each crate's manifest.

use std::fs;
use std::path::Path;

/// Which of our crates each crate may name in `[dependencies]`.
const ARROWS: &[(&str, &[&str])] = &[
    ("codec", &[]),
    ("checksum", &[]),
    ("core", &["codec"]),
    ("offload", &["codec", "checksum"]),
    ("sys", &[]),
    ("netlink", &["sys"]),
    ("testbed", &["sys", "netlink"]),
    ("load", &["sys"]),
    ("forwarder", &["codec", "core", "offload", "sys"]),
    ("fake-gate", &[]),
    ("gate", &["codec"]),
    (
        "cli",
        &["codec", "core", "offload", "sys", "netlink", "testbed", "load", "forwarder", "gate", "fake-gate"],
    ),
];

fn own_dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[dependencies]";
        } else if inside && let Some(rest) = line.strip_prefix("vxgate-") {
            let end = rest.find(['.', ' ', '=']).unwrap_or(rest.len());
            names.push(rest[..end].to_owned());
        }
    }
    names
}

#[test]
fn dependencies_point_one_way() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    for (name, allowed) in ARROWS {
        let manifest = fs::read_to_string(crates.join(name).join("Cargo.toml")).expect("a crate's manifest");
        for dependency in own_dependencies(&manifest) {
            assert!(
                allowed.contains(&dependency.as_str()),
                "crates/{name} depends on vxgate-{dependency}; allowed: {allowed:?}"
            );
        }
    }
}

#[test]
fn every_crate_has_its_arrows_declared() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    for entry in fs::read_dir(crates).expect("the crates folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        assert!(ARROWS.iter().any(|(declared, _)| *declared == name), "crates/{name} has no arrows declared");
    }
}

#[test]
fn unsafe_code_is_forbidden_outside_sys_and_checksum() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    for (name, _) in ARROWS.iter().filter(|(name, _)| !["sys", "checksum"].contains(name)) {
        let root = if *name == "cli" { "main.rs" } else { "lib.rs" };
        let source = fs::read_to_string(crates.join(name).join("src").join(root)).expect("a crate's root");
        assert!(source.contains("#![forbid(unsafe_code)]"), "crates/{name} does not forbid unsafe code");
    }
}

/// Every `fn` under `folder`, as far as a line begins with it.
fn functions_below(folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            functions_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("a source file");
            let functions = source.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
            names.extend(functions.filter_map(|rest| rest.split(['(', '<']).next()).map(str::to_owned));
        }
    }
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut functions = Vec::new();
    functions_below(&root.join("tests"), &mut functions);
    functions_below(&root.join("crates"), &mut functions);
    let mut named = 0;
    for document in ["docs/rfc7348.md", "SPECIFICATION.md"] {
        let text = fs::read_to_string(root.join(document)).expect("a document");
        for quoted in text.split('`').skip(1).step_by(2) {
            let name = quoted.rsplit("::").next().unwrap_or(quoted);
            // A sentence of behaviour has more underscores than any type, option or file named here.
            if name.matches('_').count() >= 4 {
                named += 1;
                assert!(
                    functions.iter().any(|function| function == name),
                    "{document} names `{name}`, which no test has"
                );
            }
        }
    }
    assert!(named >= 30, "only {named} names were found: has the way of writing them changed?");
}
