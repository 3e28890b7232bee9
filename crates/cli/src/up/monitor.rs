//! Privilege separation: who carries frames has no privilege, and who has it carries none.
//!
//! # Theory of operation
//!
//! ```text
//!   process that carries frames                                monitor
//!   no capability, a list of system calls, no file to write    CAP_NET_ADMIN; sees no frame, no datagram, no client
//!     an authority for each tunnel ──── orders ─────────────►  granted? ─► netlink, nftables, settings of forwarding,
//!                                  ◄─── answers ────────────               the program of --on-event
//! ```
//!
//! The monitor is this program once more, started before anything of the network is open, over a pair of sockets. While the tunnels come
//! up each is granted what its configuration says: its device by number, its addresses and routes, its way of forwarding, its program.
//! Then that is sealed, and from there on an order is done only if it was granted ([`order::Order`] is all there is). What a reload adds is
//! granted by the monitor's own reading of the file. So whoever takes over the process that carries frames can change the tunnel's device
//! within what its operator wrote, and nothing else of the network.
//!
//! The monitor ends when the other end of its socket is closed, however that came, and undoes what of forwarding it did: after `kill -9`
//! too. A tunnel whose monitor is gone ends, since it could not follow its paths any longer.
//!
//! With `--sandbox off` and without `--user`, the process does by itself what it orders.

mod client;
mod executor;
mod order;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use rustix::thread::CapabilitySet;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use client::{Authority, Monitor};
pub(crate) use order::{Grant, Order};

use self::executor::Executor;
use self::order::{Answer, MAX_LINE_OCTETS};
use super::error::UpError;
use super::reload::Reread;
use super::{log, process};
use crate::config::values::LogFormat;
use crate::failure::Failure;
use crate::sandbox;

/// The verb that starts one; nobody's but ours.
pub(crate) const VERB: &str = "monitor";

/// What whoever calls it by hand is told.
pub(crate) const NOT_YOU: &str = "it is `vxgate up` that starts a monitor, and nobody else";

/// Runs as a monitor, over the socket that standard input is, until its other end is closed.
///
/// # Errors
/// Standard input is no such socket, or there is no runtime.
pub(crate) fn run(format: LogFormat, runs_programs: bool, reread: Option<Reread>) -> Result<(), Failure> {
    log::to_stderr(format);
    let failed = |error: io::Error| Failure::failed(VERB, error);
    let socket = take_stdin().map_err(failed)?;
    sandbox::no_new_privileges();
    if !runs_programs {
        // A program of --on-event has what it had before there was a monitor.
        sandbox::keep_only(CapabilitySet::NET_ADMIN).map_err(failed)?;
    }
    let runtime = process::runtime().map_err(failed)?;
    runtime.block_on(serve(socket, reread)).map_err(|error| Failure::failed(VERB, super::chain(&error)))
}

/// The socket that is standard input, which is nothing from here on.
fn take_stdin() -> io::Result<std::os::unix::net::UnixStream> {
    let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    // What else is called with this verb has no business here.
    rustix::net::getpeername(&socket).map_err(|_| io::Error::other(NOT_YOU))?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket.into())
}

async fn serve(socket: std::os::unix::net::UnixStream, reread: Option<Reread>) -> Result<(), UpError> {
    // They are for the tunnel, which a terminal or a service manager tells at the same time; caught and not ignored, so that
    // programs have them as usual.
    let mut caught = Vec::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        caught.push(signal(kind).map_err(UpError::Start)?);
    }
    // They were kept back until there is somebody to catch them.
    SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])
        .thread_unblock()
        .map_err(|error| UpError::Start(error.into()))?;
    socket.set_nonblocking(true).map_err(UpError::Start)?;
    let mut stream = BufReader::new(UnixStream::from_std(socket).map_err(UpError::Start)?);
    let mut executor = Executor::new(reread)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut stream).take(MAX_LINE_OCTETS).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) || line.last() != Some(&b'\n') {
            break;
        }
        // Who says what is no order is no longer the program that we know.
        let Ok(request) = serde_json::from_slice(&line) else {
            tracing::error!("the tunnel asked its monitor for what there is not: it is told nothing more");
            break;
        };
        let answer = Answer::of(executor.execute(request).await);
        let Ok(mut answer) = serde_json::to_vec(&answer) else { break };
        answer.push(b'\n');
        if stream.get_mut().write_all(&answer).await.is_err() {
            break;
        }
    }
    executor.end().await;
    Ok(())
}
