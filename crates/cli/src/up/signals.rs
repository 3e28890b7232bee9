//! The signals that a daemon is steered by.

use std::fs;
use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

const HANGUP: &str = "SIGHUP";

/// What a signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// To end, by the name of the signal.
    End(&'static str),
    /// To read the configuration again.
    Reload,
}

/// The signals that end a tunnel.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None where the tunnel was started to outlive its terminal, as by nohup(1).
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens from now on: no signal ends this process by itself any more.
    pub(super) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    /// Waits for one of them; its name.
    pub(super) async fn first(&mut self) -> &'static str {
        match self.next(false).await {
            Told::End(name) => name,
            Told::Reload => HANGUP,
        }
    }

    /// Waits for one of them, and says what it means: SIGHUP is to reload where there is something to read again.
    pub(super) async fn next(&mut self, reloads: bool) -> Told {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Told::End("SIGTERM"),
            _ = self.interrupt.recv() => Told::End("SIGINT"),
            _ = hangup => if reloads { Told::Reload } else { Told::End(HANGUP) },
        }
    }
}

/// Whether this process was started with SIGHUP ignored: the lowest bit of the mask in proc_pid_status(5).
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
