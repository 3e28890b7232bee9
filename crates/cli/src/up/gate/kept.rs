//! The API's last answer on disk: what a tunnel begins with where the API cannot be reached.
//!
//! One file for each VPG, mode 0600, in a directory of its own; written beside it and moved into its place, so that it is
//! whole or absent whatever happens. It holds no secret.

use std::fs::{self, DirBuilder};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vxgate_codec::Vni;
use vxgate_gate::api::VpgId;

use super::answer::Answer;
use crate::own_file;

/// The environment variable that says where.
pub(super) const VARIABLE: &str = "VXGATE_STATE_DIR";

/// Where it lies unless the environment says otherwise: what `StateDirectory=vxgate` of systemd.exec(5) makes.
const DEFAULT_DIR: &str = "/var/lib/vxgate";

/// Longest file, in octets: ten times what a thousand peers and routes take.
const MAX_OCTETS: u64 = 4 * 1024 * 1024;

/// The one form that there is.
const FORM: u32 = 1;

/// Where the answer about one VPG is kept.
#[derive(Clone, Debug)]
pub(super) struct KeptFile {
    path: PathBuf,
}

/// An answer as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) answer: Answer,
    /// How long ago; zero where the clock has gone back since.
    pub(super) age: Duration,
}

/// What is in the file.
#[derive(Debug, Deserialize, Serialize)]
struct Document {
    form: u32,
    vpg_id: String,
    saved_unix_s: u64,
    gate_opened: bool,
    vni: Option<u32>,
    networks: Vec<String>,
    /// As `soracom vpg list-gate-peers` prints them.
    peers: Value,
}

impl KeptFile {
    /// In the directory that the environment names, else the default.
    pub(super) fn from_environment(vpg: &VpgId) -> KeptFile {
        let dir = std::env::var_os(VARIABLE).filter(|dir| !dir.is_empty());
        KeptFile::in_dir(&dir.map_or_else(|| PathBuf::from(DEFAULT_DIR), PathBuf::from), vpg)
    }

    fn in_dir(dir: &Path, vpg: &VpgId) -> KeptFile {
        KeptFile { path: dir.join(format!("vpg-{vpg}.json")) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The answer in it; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, is not what [`KeptFile::save`] writes, or others can have written it: it says where this host's
    /// datagrams go.
    pub(super) fn load(&self, vpg: &VpgId, now: SystemTime) -> io::Result<Option<Kept>> {
        let file = match own_file::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut octets = Vec::new();
        file.take(MAX_OCTETS).read_to_end(&mut octets)?;
        let document: Document = serde_json::from_slice(&octets)?;
        if document.form != FORM || document.vpg_id != vpg.as_str() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is another's"));
        }
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let networks =
            document.networks.iter().map(|text| text.parse::<IpNet>().map(|network| network.trunc()));
        let peers = vxgate_gate::peers::parse(document.peers.to_string().as_bytes());
        let answer = Answer {
            gate_opened: document.gate_opened,
            vni: document
                .vni
                .map(|vni| Vni::new(vni).ok_or_else(|| invalid(format!("{vni} is no VNI"))))
                .transpose()?,
            networks: networks
                .collect::<Result<_, _>>()
                .map_err(|_| invalid("a network is none".to_owned()))?,
            peers: peers.map_err(|error| invalid(error.to_string()))?,
        };
        let saved = SystemTime::UNIX_EPOCH + Duration::from_secs(document.saved_unix_s.min(u32::MAX.into()));
        Ok(Some(Kept { answer, age: now.duration_since(saved).unwrap_or_default() }))
    }

    /// Keeps an answer.
    ///
    /// # Errors
    /// The directory or the file cannot be written.
    pub(super) fn save(&self, vpg: &VpgId, answer: &Answer, now: SystemTime) -> io::Result<()> {
        write(&self.path, KeptFile::text(vpg, answer, now).as_bytes())
    }

    /// What is to be in the file.
    pub(super) fn text(vpg: &VpgId, answer: &Answer, now: SystemTime) -> String {
        let document = Document {
            form: FORM,
            vpg_id: vpg.to_string(),
            saved_unix_s: now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
            gate_opened: answer.gate_opened,
            vni: answer.vni.map(Vni::get),
            networks: answer.networks.iter().map(IpNet::to_string).collect(),
            peers: peers_json(answer),
        };
        // Strings, numbers and what was JSON before.
        serde_json::to_string(&document).unwrap_or_default()
    }
}

/// Writes what is to be in the file at this path.
///
/// # Errors
/// The directory or the file cannot be written.
pub(in crate::up) fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // Two tunnels of one VPG may write at once.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = own_file::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What could not be written in full is of no use; where there is none, nothing is left.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// The peers in the API's own shape.
fn peers_json(answer: &Answer) -> Value {
    let peer = |peer: &vxgate_gate::GatePeer| {
        serde_json::json!({
            "innerIpAddress": peer.inner_ip,
            "netmask": peer.netmask.map(|mask| mask.to_string()),
            "outerIpAddress": peer.outer_ip,
            "ownedByCustomer": peer.owned_by_customer,
        })
    };
    answer.peers.iter().map(peer).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::answer::tests::seed;
    use super::*;

    fn dir(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("vxgate-kept-{}-{name}", std::process::id()))
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_comes_back_as_it_was_with_its_age_for_nobody_else_to_read() {
        let (dir, vpg) = (dir("whole"), "vpg-1".parse().unwrap());
        let file = KeptFile::in_dir(&dir, &vpg);
        assert_eq!(file.load(&vpg, at(1000)).unwrap(), None);
        let mut answer = seed();
        answer.networks.insert("192.168.7.0/24".parse().unwrap());
        file.save(&vpg, &answer, at(1000)).unwrap();
        file.save(&vpg, &answer, at(1001)).unwrap();
        let kept = file.load(&vpg, at(1061)).unwrap().unwrap();
        assert_eq!(kept, Kept { answer, age: Duration::from_secs(60) });
        assert_eq!(file.load(&vpg, at(0)).unwrap().unwrap().age, Duration::ZERO, "the clock went back");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(file.path()), mode(&dir)), (0o600, 0o700));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_file_that_is_not_ours_is_an_error_and_no_answer() {
        let (dir, vpg): (_, VpgId) = (dir("broken"), "vpg-1".parse().unwrap());
        let file = KeptFile::in_dir(&dir, &vpg);
        file.save(&vpg, &seed(), at(1000)).unwrap();
        let whole = fs::read_to_string(file.path()).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o602)).unwrap();
        assert_eq!(file.load(&vpg, at(1000)).unwrap_err().to_string(), "others can write to it");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        for text in [
            String::new(),
            whole[..whole.len() / 2].to_owned(),
            whole.replace("\"form\":1", "\"form\":2"),
            whole.replace("vpg-1", "vpg-2"),
            whole.replace("\"vni\":10", "\"vni\":99999999"),
            whole.replace("100.64.158.4\"", "100.64.158\""),
        ] {
            fs::write(file.path(), &text).unwrap();
            assert!(file.load(&vpg, at(1000)).is_err(), "{text}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_an_answer_or_an_error(start in 0..600_usize, length in 0..40_usize, patch: Vec<u8>) {
            let (dir, vpg): (_, VpgId) = (dir("any"), "vpg-1".parse().unwrap());
            let file = KeptFile::in_dir(&dir, &vpg);
            file.save(&vpg, &seed(), at(1000)).unwrap();
            let mut octets = fs::read(file.path()).unwrap();
            let start = start.min(octets.len());
            octets.splice(start..(start + length).min(octets.len()), patch);
            fs::write(file.path(), &octets).unwrap();
            let _ = file.load(&vpg, at(0));
            fs::remove_dir_all(&dir).unwrap();
        }
    }
}
