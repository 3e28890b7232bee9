//! Which files the control thread may read, once the tunnels are up: by landlock(7), which binds root too.

use std::fmt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, path_beneath_rules,
};

/// What may be read besides what a tunnel names: names of hosts are looked up by it, and what the kernel tells of itself.
///
/// Directories and not files: a file that is replaced is another one to landlock.
const READ: &[&str] = &[
    "/etc",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/ca-certificates",
    "/lib",
    "/lib64",
    "/proc",
    "/sys/class/net",
    "/sys/devices",
];

/// Why files are not out of reach.
#[derive(Debug)]
pub(super) enum Unconfined {
    /// The kernel has no landlock, or it is switched off.
    NotThere,
    Refused(RulesetError),
}

impl fmt::Display for Unconfined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unconfined::NotThere => f.write_str("this kernel has no landlock"),
            Unconfined::Refused(error) => error.fmt(f),
        }
    }
}

impl From<RulesetError> for Unconfined {
    fn from(error: RulesetError) -> Unconfined {
        Unconfined::Refused(error)
    }
}

/// Leaves this thread, and those that it will start, nothing to do with files but to read below these places and [`READ`]; no TCP port
/// to listen at either, where the kernel knows how (Linux 6.7). How much of it is in force.
pub(super) fn read_only(reads: &[PathBuf]) -> Result<RulesetStatus, Unconfined> {
    let abi = ABI::V5;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let places = READ.iter().map(Path::new).chain(reads.iter().map(PathBuf::as_path));
    // What is not there is nothing to read.
    let places: Vec<&Path> = places.filter(|place| place.exists()).collect();
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::BindTcp)?
        .create()?
        .add_rules(path_beneath_rules(places, read))?;
    match ruleset.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Err(Unconfined::NotThere),
        status @ (RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Ok(status),
    }
}
