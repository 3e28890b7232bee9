//! The lock that says that a tunnel runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use thiserror::Error;

/// Longest wait for a process that was killed to be gone; taking its device away is what takes it long.
const DYING: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// A lock held: the file is there with our process id in it, and goes when this is dropped.
#[derive(Debug)]
pub(crate) struct DeviceLock {
    path: PathBuf,
    file: File,
}

/// Why the lock is not ours.
#[derive(Debug, Error)]
pub(crate) enum LockError {
    /// Another process holds it; its id, where the file tells it.
    #[error("held by another process")]
    Held { pid: Option<u32> },
    /// The file cannot be had.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl DeviceLock {
    /// Takes the lock at this path, or says who has it. Where its last holder was killed and is still dying, waits for
    /// its end: what else it held, such as its device, goes after the lock.
    pub(crate) fn acquire(path: PathBuf) -> Result<DeviceLock, LockError> {
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                // Whoever may open it may lock it, and be taken for a tunnel that runs.
                .mode(0o600)
                // The directory may be one where others can leave links, as with VXGATE_RUNTIME_DIR=/tmp.
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(LockError::Held { pid: read_pid(&mut file) });
                }
                Err(error) => return Err(LockError::Io(error.into())),
            }
            // Whoever held it removes the file before it lets go: then this is the lock of a name that is gone.
            if !is_at(&file, &path)? {
                continue;
            }
            if let Some(pid) = read_pid(&mut file) {
                wait_dead(pid);
            }
            // From here on dropping it removes the file: a disk without room for our number is left as it was.
            let mut lock = DeviceLock { path, file };
            lock.file.set_len(0)?;
            lock.file.rewind()?;
            writeln!(lock.file, "{}", std::process::id())?;
            return Ok(lock);
        }
    }
}

impl Drop for DeviceLock {
    fn drop(&mut self) {
        // Still locked here, so it is our file that goes. What cannot be removed is no obstacle to the next holder.
        let _ = fs::remove_file(&self.path);
    }
}

/// Another process's lock, to wait for its end.
#[derive(Debug)]
pub(crate) struct Watch(Option<File>);

impl Watch {
    /// Watches the lock at this path; one that is not there counts as free.
    pub(crate) fn open(path: &Path) -> io::Result<Watch> {
        match File::open(path) {
            Ok(file) => Ok(Watch(Some(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Watch(None)),
            Err(error) => Err(error),
        }
    }

    /// Waits until nobody holds it; whether that came within the limit.
    pub(crate) fn wait_free(self, limit: Duration) -> bool {
        let Some(file) = self.0 else { return true };
        let (done, wait) = mpsc::channel();
        // The wait for a lock has no time limit of its own, so it gets a thread to be left behind in.
        thread::spawn(move || {
            let free = flock(&file, FlockOperation::LockShared).is_ok();
            // Let go first: who waits may want the lock itself.
            drop(file);
            let _ = done.send(free);
        });
        wait.recv_timeout(limit).unwrap_or(false)
    }
}

/// Whether somebody holds the lock at this path, or that cannot be seen.
pub(crate) fn is_held(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Waits for the end of the process that left this id behind. The id may mean another process by now, so the wait is
/// short.
fn wait_dead(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    if pid == rustix::process::getpid() {
        return;
    }
    // No such process, or no such call before Linux 5.3: there is nothing to wait for.
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&DYING));
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether the file that is open is still the one at this path.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
