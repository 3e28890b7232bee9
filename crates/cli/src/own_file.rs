//! Files that nobody but us, or root, can have written, in directories where others may leave files and links, as with
//! VXGATE_RUNTIME_DIR=/tmp.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// Opens one to be read. What is no regular file, as a pipe whose other end nobody opens, is refused and not waited for.
///
/// # Errors
/// It is not there, or others can have written it.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// Writes a new one, for nobody else to read, in place of whatever has this name.
///
/// # Errors
/// What is there cannot be removed, or the new one cannot be written.
pub(crate) fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(octets)?;
    file.sync_all()
}

/// Refuses what others can have written.
fn check(metadata: &Metadata) -> io::Result<()> {
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"));
    }
    if ![0, geteuid().as_raw()].contains(&metadata.uid()) || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others can write to it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn what_others_could_have_written_is_refused_at_once_and_never_written_to() {
        let dir = std::env::temp_dir().join(format!("vxgate-own-file-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let (path, elsewhere) = (dir.join("file"), dir.join("elsewhere"));
        let refused = || open(&path).unwrap_err().to_string();
        assert!(refused().contains("No such file"), "{}", refused());
        write(&path, b"ours").unwrap();
        assert_eq!(io::read_to_string(open(&path).unwrap()).unwrap(), "ours");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(refused(), "others can write to it");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(refused().contains("symbolic links"), "{}", refused());
        write(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "ours");
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(refused(), "it is no regular file");
        write(&path, b"new").unwrap();
        assert_eq!(io::read_to_string(open(&path).unwrap()).unwrap(), "new");
        fs::remove_dir_all(&dir).unwrap();
    }
}
