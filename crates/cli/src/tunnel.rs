//! A `vxgate up` as a child of ours, and what it logs.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use vxgate_testbed::eventually;

/// How long it may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The tunnel; killed when this is dropped.
pub(crate) struct Tunnel {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Tunnel {
    /// Starts `command`, which is a `vxgate up` and reads and prints nothing.
    pub(crate) fn start(command: &mut Command) -> io::Result<Tunnel> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let log = Arc::new(Mutex::new(String::new()));
        let reader = child.stderr.take().map(|mut stderr| {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(octets @ 1..) = stderr.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..octets]).into_owned();
                    log.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
                }
            })
        });
        Ok(Tunnel { child, log, reader })
    }

    /// Its process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has ended by itself; then [`log`](Self::log) is all that it said.
    pub(crate) fn has_ended(&mut self) -> bool {
        let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
        if ended {
            self.read_to_the_end();
        }
        ended
    }

    /// Ends it as an operator does, and makes sure that it has ended.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // One that has ended already needs no signal.
            let _ = kill_process(pid, Signal::TERM);
        }
        let mut ended = None;
        if !eventually(PATIENCE, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some()
        }) {
            self.child.kill()?;
            ended = Some(self.child.wait()?);
        }
        self.read_to_the_end();
        let ended = ended.expect("waited for above");
        anyhow::ensure!(ended.success(), "the tunnel ended with {ended}; it said:\n{}", self.log());
        Ok(())
    }

    /// Waits for the last words of a process that has ended.
    fn read_to_the_end(&mut self) {
        if let Some(reader) = self.reader.take() {
            // It ends with the pipe.
            let _ = reader.join();
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // After `end` there is nobody left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
