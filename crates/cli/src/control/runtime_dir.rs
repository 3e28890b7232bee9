//! The directory where control sockets and locks lie, and their names in it.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::values::DeviceName;

/// Where they lie unless the environment says otherwise.
const DEFAULT: &str = "/run/vxgate";

/// The environment variable that says otherwise: for those who may not write to /run, and for a second tunnel of the
/// same name in another network namespace.
pub(crate) const VARIABLE: &str = "VXGATE_RUNTIME_DIR";

/// The directory; it need not exist.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeDir(PathBuf);

impl RuntimeDir {
    /// The directory at this path.
    #[cfg(test)]
    pub(crate) fn new(path: impl Into<PathBuf>) -> RuntimeDir {
        RuntimeDir(path.into())
    }

    /// The directory that the environment names, else the default.
    pub(crate) fn from_environment() -> RuntimeDir {
        let named = env::var_os(VARIABLE).filter(|value| !value.is_empty());
        RuntimeDir(named.map_or_else(|| PathBuf::from(DEFAULT), PathBuf::from))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The control socket of this device's tunnel.
    pub(crate) fn socket(&self, dev: &DeviceName) -> PathBuf {
        self.0.join(format!("{dev}.sock"))
    }

    /// The lock of this device's tunnel.
    pub(crate) fn lock(&self, dev: &DeviceName) -> PathBuf {
        self.0.join(format!("{dev}.lock"))
    }

    /// What says that a device which outlived its tunnel is ours.
    pub(crate) fn kept(&self, dev: &DeviceName) -> PathBuf {
        self.0.join(format!("{dev}.kept"))
    }

    /// The devices that have a control socket, running or left behind, in order; none where there is no directory.
    pub(crate) fn devices(&self) -> io::Result<Vec<DeviceName>> {
        let entries = match self.0.read_dir() {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut devices = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let device = name.to_str().and_then(|name| name.strip_suffix(".sock"));
            devices.extend(device.and_then(|device| device.parse::<DeviceName>().ok()));
        }
        devices.sort();
        Ok(devices)
    }
}
