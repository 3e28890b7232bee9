//! Settings of the kernel that forwarding changes, and the file that remembers what they were.
//!
//! # Theory of operation
//!
//! A setting belongs to a link that outlives the tunnel, and several tunnels may need the same one. So each change is noted in
//! `forward.jsonl` of the runtime directory before it is made: whose it is, what was there before, what is there now.
//!
//! ```text
//!   make ──► note, then set                       another tunnel needs it too ──► note with the first one's "before"
//!   undo ──► the last who needs it sets it back   somebody else changed it meanwhile ──► theirs stays
//!   killed ──► the note stays: the next tunnel of this name, or any other that starts here, undoes it
//! ```
//!
//! Settings of the tunnel's own device go with it and are not noted. One tunnel at a time has the notes, by a lock (flock(2)) on a
//! file that is there for as long as it is held and that nobody else may open: whoever may open what is locked may hold it for
//! ever.
//!
//! The directory may be one where others can write (`VXGATE_RUNTIME_DIR=/tmp`). So notes count only in a file of our own or root's, and
//! only where they name a setting that forwarding changes, and a number.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};
use vxgate_netlink::nft::Nftables;

use super::error::ForwardError;
use super::rules::{Guard, TABLE_PREFIX};
use super::{Side, Way};
use crate::config::values::DeviceName;
use crate::control::lock::{is_at, is_held};
use crate::control::runtime_dir::RuntimeDir;
use crate::own_file;

/// The file's name in the runtime directory.
const FILE: &str = "forward.jsonl";

/// The lock's: no device's socket or lock ends like that.
const LOCK: &str = "forward.held";

/// Whether the host forwards IPv4 by every link.
const ALL_IPV4: &str = "net/ipv4/conf/all/forwarding";
/// The same for IPv6, where a single link cannot decide before Linux 6.17 (net/ipv6/ip6_output.c).
const ALL_IPV6: &str = "net/ipv6/conf/all/forwarding";

/// One thing to undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// The number of the network namespace that it is in.
    namespace: u64,
    /// The tunnel's device.
    dev: String,
    /// The process that did it, and when that started, in the kernel's ticks: a number may be another process's later.
    pid: u32,
    started: u64,
    what: Change,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Change {
    /// A setting was made.
    Setting {
        /// Its path below /proc/sys.
        key: String,
        before: String,
        now: String,
        /// What the setting for all links was then.
        all: Option<String>,
    },
    /// A table was put in that does not go by itself.
    Table(String),
}

impl Change {
    /// Whether it is one that is made here.
    fn is_ours(&self) -> bool {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        match self {
            Change::Setting { key, before, now, all: _ } => {
                is_key(key) && is_number(before) && is_number(now)
            }
            Change::Table(name) => {
                name.strip_prefix(TABLE_PREFIX).is_some_and(|dev| dev.parse::<DeviceName>().is_ok())
            }
        }
    }
}

/// Whether forwarding changes this setting of some link.
fn is_key(key: &str) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    let ["net", family, "conf", link, name] = parts.as_slice() else { return false };
    let is_link = !["all", "default"].contains(link) && link.parse::<DeviceName>().is_ok();
    let ours = [("ipv4", "forwarding"), ("ipv4", "rp_filter"), ("ipv6", "force_forwarding")];
    is_link && ours.contains(&(*family, *name))
}

/// The file with the notes of all tunnels of a runtime directory.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    dir: RuntimeDir,
    dev: String,
    namespace: u64,
}

impl Ledger {
    pub(super) fn new(dir: &RuntimeDir, dev: &DeviceName) -> Ledger {
        let namespace = fs::metadata("/proc/thread-self/ns/net").map_or(0, |namespace| namespace.ino());
        Ledger { dir: dir.clone(), dev: dev.to_string(), namespace }
    }

    /// Undoes what killed tunnels left; a sentence for each.
    pub(super) fn put_right(&self) -> Result<Vec<String>, ForwardError> {
        if !self.path().exists() {
            return Ok(Vec::new());
        }
        self.locked(|notes| {
            // This tunnel's lock is ours: whoever wrote of it is gone.
            let is_left = |note: &Note| note.dev == self.dev || !self.runs(note);
            let left = self.take_out(notes, is_left);
            Ok(left.iter().filter_map(|note| undo(note, notes)).collect())
        })
    }

    /// Notes that this table does not go by itself.
    pub(super) fn note_table(&self, name: &str) -> Result<(), ForwardError> {
        self.locked(|notes| {
            notes.push(self.note(Change::Table(name.to_owned())));
            Ok(())
        })
    }

    /// Whether the tunnel that wrote this still runs. Its process may be hidden from this one (`ProtectProc=` of the unit, another process
    /// namespace), its lock is not.
    fn runs(&self, note: &Note) -> bool {
        let holds_lock = || note.dev.parse().is_ok_and(|dev| is_held(&self.dir.lock(&dev)));
        is_alive(note.pid, note.started) || holds_lock()
    }

    /// What this setting was before any tunnel changed it.
    fn before(&self, notes: &[Note], key: &str) -> Option<String> {
        let of_others = notes.iter().filter(|note| note.namespace == self.namespace);
        let mut noted = of_others.filter_map(|note| match &note.what {
            Change::Setting { key: noted, before, .. } if noted == key => Some(before.clone()),
            Change::Setting { .. } | Change::Table(_) => None,
        });
        noted.next().or_else(|| read(key))
    }

    fn note(&self, what: Change) -> Note {
        let pid = std::process::id();
        let started = started_at(pid).unwrap_or(0);
        Note { namespace: self.namespace, dev: self.dev.clone(), pid, started, what }
    }

    /// Takes out of the notes those of this network namespace for which it holds.
    fn take_out(&self, notes: &mut Vec<Note>, holds: impl Fn(&Note) -> bool) -> Vec<Note> {
        let here = |note: &Note| note.namespace == self.namespace && holds(note);
        let (taken, kept) = notes.drain(..).partition(here);
        *notes = kept;
        taken
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(FILE)
    }

    /// Reads the notes, lets `body` change them, and writes them back; alone among all tunnels.
    fn locked<T>(&self, body: impl FnOnce(&mut Vec<Note>) -> io::Result<T>) -> Result<T, ForwardError> {
        let done = || {
            let _lock = Lock::take(self.dir.path().join(LOCK))?;
            let mut notes = self.load()?;
            let value = body(&mut notes)?;
            self.save(&notes)?;
            Ok(value)
        };
        done().map_err(|source| ForwardError::Ledger { path: self.path(), source })
    }

    fn load(&self) -> io::Result<Vec<Note>> {
        match own_file::open(&self.path()).and_then(io::read_to_string) {
            // A line that is none was cut off when it was written: then its setting was not made.
            Ok(text) => {
                let notes = text.lines().filter_map(|line| serde_json::from_str::<Note>(line).ok());
                Ok(notes.filter(|note| note.what.is_ours()).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            // They would have us write into the kernel's settings, or anywhere, what others wrote into them.
            Err(error) => {
                tracing::warn!("the notes in {} are of no use: {error}", self.path().display());
                Ok(Vec::new())
            }
        }
    }

    fn save(&self, notes: &[Note]) -> io::Result<()> {
        if notes.is_empty() {
            return match fs::remove_file(self.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let mut text = String::new();
        for note in notes {
            text.push_str(&serde_json::to_string(note)?);
            text.push('\n');
        }
        // In one step, so that a reader finds all of the old or all of the new.
        let next = self.dir.path().join(format!("{FILE}.new"));
        own_file::write(&next, text.as_bytes())?;
        fs::rename(next, self.path())
    }
}

/// The lock while it is held; the file goes with it.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn take(path: PathBuf) -> io::Result<Lock> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            // Whoever held it removes the file before it lets go: then this is the lock of a name that is gone.
            if is_at(&file, &path)? {
                return Ok(Lock { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked here, so it is our file that goes.
        let _ = fs::remove_file(&self.path);
    }
}

/// Settings that are made; dropping it sets them back.
#[derive(Debug)]
pub(super) struct Settings {
    ledger: Ledger,
    /// What to undo; the file may be gone by then, with its directory.
    notes: Vec<Note>,
    /// What was not forwarded when they were made.
    guards: Vec<Guard>,
}

impl Settings {
    /// Makes what this way needs.
    pub(super) fn make(ledger: Ledger, way: &Way) -> Result<Settings, ForwardError> {
        let guards = guards_now(way, &ledger)?;
        // From here on dropping it undoes whatever was done.
        let mut settings = Settings { ledger, notes: Vec::new(), guards };
        let Settings { ledger, notes: own_notes, .. } = &mut settings;
        let own = |setting: &(String, &str)| is_of(&setting.0, &way.tunnel);
        let (of_device, of_links): (Vec<_>, Vec<_>) = wanted(way).into_iter().partition(own);
        let to_make = ledger.locked(|notes| {
            let mut to_make = of_device;
            for (key, value) in of_links {
                let (Some(before), current) = (ledger.before(notes, &key), read(&key)) else { continue };
                // Needed by another tunnel too, or not there yet: it must stay for as long as this one runs.
                if before != value {
                    let (now, all) = (value.to_owned(), read(ALL_IPV4));
                    let what = Change::Setting { key: key.clone(), before, now, all };
                    own_notes.push(ledger.note(what));
                }
                if current.as_deref() != Some(value) {
                    to_make.push((key, value));
                }
            }
            notes.extend_from_slice(own_notes);
            Ok(to_make)
        })?;
        for (key, value) in to_make {
            if read(&key).as_deref() != Some(value) {
                write(&key, value).map_err(|source| {
                    let (key, value) = (key.replace('/', "."), value.to_owned());
                    ForwardError::Setting { key, value, source }
                })?;
            }
        }
        Ok(settings)
    }

    fn undo(&self, left: &[Note]) {
        for note in &self.notes {
            undo(note, left);
        }
    }

    /// What must still not be forwarded: nothing any more, once the host forwards for all.
    pub(super) fn guards(&self) -> Vec<Guard> {
        let [ipv4, ipv6] = [ALL_IPV4, ALL_IPV6].map(|key| read(key).as_deref() != Some("1"));
        let guards = self.guards.iter();
        guards
            .map(|guard| Guard { ipv4: guard.ipv4 && ipv4, ipv6: guard.ipv6 && ipv6, ..guard.clone() })
            .collect()
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        let undone = self.ledger.locked(|notes| {
            // The next tunnel of this name may have its notes there already.
            let pid = std::process::id();
            self.ledger.take_out(notes, |note| note.dev == self.ledger.dev && note.pid == pid);
            self.undo(notes);
            Ok(())
        });
        if let Err(error) = undone {
            self.undo(&[]);
            tracing::warn!(
                "{error}: {}",
                std::error::Error::source(&error).map_or_else(String::new, ToString::to_string)
            );
        }
    }
}

/// What each link did not forward before any tunnel came.
pub(super) fn guards_now(way: &Way, ledger: &Ledger) -> Result<Vec<Guard>, ForwardError> {
    let all_ipv6 = read(ALL_IPV6).as_deref() == Some("1");
    ledger.locked(|notes| {
        let is_off = |key: String| ledger.before(notes, &key).as_deref() != Some("1");
        let guard = |link: &Side| Guard {
            link: link.index,
            ipv4: is_off(forwarding_ipv4(link)),
            ipv6: !all_ipv6 && is_off(forwarding_ipv6(link)),
        };
        Ok(way.links.iter().map(guard).collect())
    })
}

/// The settings that this way needs.
fn wanted(way: &Way) -> Vec<(String, &'static str)> {
    let mut wanted = Vec::new();
    let sides = || way.links.iter().chain([&way.tunnel]);
    if way.ipv4() {
        // The kernel asks the link that a packet came by (net/ipv4/route.c): the tunnel's for the answers.
        wanted.extend(sides().map(|side| (forwarding_ipv4(side), "1")));
        if way.loosen
            && let Some(underlay) = way.links.first()
            && is_strict(underlay)
        {
            // 2 is loose: a source that the host has a route to by any link (RFC 3704 section 2.4).
            wanted.push((rp_filter(&underlay.name), "2"));
        }
    }
    if way.ipv6() && read(ALL_IPV6).as_deref() != Some("1") {
        // Where there is no such setting an obstacle tells so: the one for all links is not ours to change.
        let there = sides().map(forwarding_ipv6).filter(|key| read(key).is_some());
        wanted.extend(there.map(|key| (key, "1")));
    }
    wanted
}

/// Whether the kernel drops by this link what it would not send back by it: the stricter of two settings counts, and 2 is less
/// strict than 1 but the larger number (Documentation/networking/ip-sysctl.rst).
pub(super) fn is_strict(link: &Side) -> bool {
    let value = |name: &str| read(&rp_filter(name)).and_then(|text| text.parse::<u8>().ok()).unwrap_or(0);
    value("all").max(value(&link.name)) == 1
}

fn rp_filter(link: &str) -> String {
    format!("net/ipv4/conf/{link}/rp_filter")
}

pub(super) fn forwarding_ipv4(link: &Side) -> String {
    format!("net/ipv4/conf/{}/forwarding", link.name)
}

/// Linux 6.17. `forwarding` of a link is another thing in IPv6: it makes the host a router there, which forgets the default route
/// that a router advertised to it.
pub(super) fn forwarding_ipv6(link: &Side) -> String {
    format!("net/ipv6/conf/{}/force_forwarding", link.name)
}

/// Whether IPv6 can be forwarded for single links, or is for all.
pub(super) fn forwards_ipv6(link: &Side) -> bool {
    [ALL_IPV6, &forwarding_ipv6(link)].iter().any(|key| read(key).as_deref() == Some("1"))
}

fn is_of(key: &str, side: &Side) -> bool {
    key.split('/').nth(3) == Some(side.name.as_str())
}

/// Undoes what is noted, unless one of the notes that are left needs it; says what it did.
fn undo(note: &Note, left: &[Note]) -> Option<String> {
    match &note.what {
        Change::Table(name) => {
            let deleted = Nftables::open().and_then(|nftables| nftables.delete(name));
            deleted
                .is_ok()
                .then(|| format!("table {name} of nftables was left by a killed tunnel: it is gone"))
        }
        Change::Setting { key, before, now, all } => {
            let same = |other: &Note| match &other.what {
                Change::Setting { key: other_key, .. } => {
                    other.namespace == note.namespace && other_key == key
                }
                Change::Table(_) => false,
            };
            if left.iter().any(same) || read(key).as_ref() != Some(now) {
                return None;
            }
            // Who switched forwarding on for all links in the meantime meant this one too.
            let switched_on = read(ALL_IPV4).as_deref() == Some("1") && all.as_deref() != Some("1");
            if key.starts_with("net/ipv4/") && key.ends_with("/forwarding") && switched_on {
                return None;
            }
            write(key, before).ok()?;
            Some(format!(
                "{} was left at {now} by a killed tunnel {}: it is {before} again",
                key.replace('/', "."),
                note.dev
            ))
        }
    }
}

/// The value of a setting; none where there is no such one.
pub(super) fn read(key: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(key)).ok()?;
    Some(text.trim().to_owned())
}

fn write(key: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new("/proc/sys").join(key), value)
}

fn is_alive(pid: u32, started: u64) -> bool {
    started_at(pid) == Some(started)
}

/// When a process started that has not ended: the twenty-second field of proc_pid_stat(5); the second is in brackets and may hold anything.
fn started_at(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace();
    // One that nobody has waited for is over all the same.
    fields.next().filter(|state| !["Z", "X"].contains(state))?;
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::lock::DeviceLock;

    #[test]
    fn a_process_is_told_from_a_later_one_of_its_number() {
        let pid = std::process::id();
        let started = started_at(pid).unwrap();
        assert!(started > 0);
        assert!(is_alive(pid, started));
        assert!(!is_alive(pid, started + 1));
        assert_eq!(started_at(u32::MAX), None);
        // One that has ended, and that nobody has waited for yet.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        assert!(vxgate_testbed::eventually(std::time::Duration::from_secs(5), || started_at(child.id())
            .is_none()));
        child.wait().unwrap();
    }

    #[test]
    fn notes_that_others_can_have_written_are_none_and_their_lock_is_not_waited_for() {
        let dir = std::env::temp_dir().join(format!("vxgate-forward-others-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let ledger = Ledger::new(&RuntimeDir::new(&dir), &"vxlan0".parse().unwrap());
        // What anybody may open anybody may lock.
        let others = File::open(&dir).unwrap();
        flock(&others, FlockOperation::LockExclusive).unwrap();
        ledger.note_table("vxgate-none").unwrap();
        assert_eq!(fs::metadata(ledger.path()).unwrap().mode() & 0o777, 0o600);
        assert_eq!(ledger.load().unwrap().len(), 1);
        fs::set_permissions(ledger.path(), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        assert!(ledger.load().unwrap().is_empty());
        ledger.save(&[]).unwrap();
        assert!(fs::read_dir(&dir).unwrap().next().is_none(), "no note, no file");
        fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn a_cut_off_line_of_the_notes_is_no_note_and_no_obstacle() {
        let dir = std::env::temp_dir().join(format!("vxgate-forward-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let ledger = Ledger::new(&RuntimeDir::new(&dir), &"vxlan0".parse().unwrap());
        ledger.note_table("vxgate-none").unwrap();
        let whole = fs::read_to_string(ledger.path()).unwrap();
        fs::write(ledger.path(), format!("{whole}{}", &whole[..20])).unwrap();
        let notes = ledger.load().unwrap();
        assert_eq!(notes, [ledger.note(Change::Table("vxgate-none".to_owned()))]);
        ledger.save(&[]).unwrap();
        ledger.save(&[]).unwrap();
        assert!(fs::read_dir(&dir).unwrap().next().is_none(), "no note, no file");
        fs::remove_dir(&dir).unwrap();
    }

    /// The notes of `vx1`, whose process nobody sees, in a directory of its own.
    fn hidden(name: &str) -> (PathBuf, Ledger, Note) {
        let dir = std::env::temp_dir().join(format!("vxgate-forward-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let ledger = Ledger::new(&RuntimeDir::new(&dir), &"vxlan0".parse().unwrap());
        let [before, now] = ["0", "1"].map(str::to_owned);
        let key = "net/ipv4/conf/vxgate-none/forwarding".to_owned();
        let what = Change::Setting { key, before, now, all: None };
        let note = Note { dev: "vx1".to_owned(), pid: u32::MAX, ..ledger.note(what) };
        ledger.save(std::slice::from_ref(&note)).unwrap();
        (dir, ledger, note)
    }

    #[test]
    fn a_tunnel_whose_process_cannot_be_seen_runs_for_as_long_as_it_holds_its_lock() {
        let (dir, ledger, note) = hidden("lock");
        let lock = DeviceLock::acquire(ledger.dir.lock(&"vx1".parse().unwrap())).unwrap();
        ledger.put_right().unwrap();
        assert_eq!(ledger.load().unwrap(), [note]);
        drop(lock);
        ledger.put_right().unwrap();
        assert!(ledger.load().unwrap().is_empty());
        fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn a_note_of_anything_but_what_forwarding_changes_is_none() {
        let (dir, ledger, note) = hidden("forged");
        let Change::Setting { key, before, now, .. } = &note.what else { panic!("{note:?}") };
        let setting = |key: &str, before: &str, now: &str| {
            let [key, before, now] = [key, before, now].map(str::to_owned);
            Note { what: Change::Setting { key, before, now, all: None }, ..note.clone() }
        };
        let table = |name: &str| Note { what: Change::Table(name.to_owned()), ..note.clone() };
        let good = [
            setting(key, before, now),
            setting("net/ipv4/conf/eth0.7/rp_filter", "1", "2"),
            setting("net/ipv6/conf/eth0/force_forwarding", "0", "1"),
            table("vxgate-vx1"),
        ];
        let forged = [
            setting("net/ipv4/conf/../../../../etc/forwarding", before, now),
            setting("net/ipv4/conf/../forwarding", before, now),
            setting("/etc/passwd", before, now),
            setting("kernel/core_pattern", before, now),
            setting("net/ipv4/conf/all/forwarding", before, now),
            setting("net/ipv4/conf/eth0/accept_redirects", before, now),
            setting(key, "0\n1", now),
            setting(key, "", now),
            table("filter"),
            table("vxgate-"),
        ];
        ledger.save(&[good.as_slice(), forged.as_slice()].concat()).unwrap();
        assert_eq!(ledger.load().unwrap(), good);
        fs::remove_dir_all(&dir).unwrap();
    }
}
