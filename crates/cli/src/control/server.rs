//! The answering side of the control socket.
//!
//! ```text
//! Listener::bind   lock DEV.lock ─► make DEV.sock (0600), in place of one left behind
//! Listener::serve  accept ─► one task per connection: read a line, ask the Handler, write a line, again
//! drop             remove DEV.sock ─► remove DEV.lock ─► let go of it
//! ```
//!
//! Every connection is bounded: in number, in the length of a request, in the time to send it, to answer it and to take
//! the answer. What breaks a bound loses its connection and nothing else.

use std::convert::Infallible;
use std::fs::{self, DirBuilder, Permissions};
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time;
use vxgate_forwarder::Capture;

use super::client::{Client, ClientError};
use super::lock::{DeviceLock, LockError, Watch};
use super::protocol::{
    CaptureWanted, Capturing, FdbNew, FdbPage, FdbTarget, FdbVerb, FlushFilter, MAX_PAGE_ENTRIES,
    MAX_REQUEST_OCTETS, PeerStatus, Refusal, Reloaded, Request, Response, TunnelStatus,
};
use super::runtime_dir::{RuntimeDir, VARIABLE};
use crate::capture;
use crate::config::values::{DeviceName, PeerSpec};

/// Longest wait for a tunnel that is ending.
const ENDING: Duration = Duration::from_secs(5);

/// What the daemon does for each request. Methods run concurrently.
pub(crate) trait Handler: Send + Sync + 'static {
    /// The tunnel's state.
    fn show(&self) -> impl Future<Output = Result<TunnelStatus, Refusal>> + Send;

    /// A page of the forwarding database from a cursor on, 0 for its start; at most `limit` entries, from 1 to
    /// [`MAX_PAGE_ENTRIES`].
    fn fdb_page(&self, cursor: u64, limit: usize) -> impl Future<Output = Result<FdbPage, Refusal>> + Send;

    /// Adds, appends or replaces an entry.
    fn fdb_set(&self, verb: FdbVerb, entry: FdbNew) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Deletes a remote of an entry, or the entry.
    fn fdb_del(&self, target: FdbTarget) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Deletes the entries that match, and counts them.
    fn fdb_flush(&self, filter: FlushFilter) -> impl Future<Output = Result<u64, Refusal>> + Send;

    /// The peers.
    fn peer_list(&self) -> impl Future<Output = Result<Vec<PeerStatus>, Refusal>> + Send;

    /// Adds a peer.
    fn peer_add(&self, peer: PeerSpec) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Takes a peer away.
    fn peer_del(&self, ip: IpAddr) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Reads file and environment again, and takes over what differs.
    fn reload(&self) -> impl Future<Output = Result<Reloaded, Refusal>> + Send;

    /// Begins to copy frames for a client.
    fn capture(&self, wanted: CaptureWanted) -> Result<(Capturing, Capture), Refusal>;

    /// Tells the daemon to end; returns at once. The client has its answer already, and waits for the lock.
    fn down(&self);
}

/// Why there is no control socket.
#[derive(Debug, Error)]
pub(crate) enum BindError {
    #[error("vxgate is already running for {dev}{}", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Running { dev: DeviceName, pid: Option<u32> },
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

impl BindError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Running { dev, .. } => {
                format!("`vxgate down {dev}` ends it; another --dev or another {VARIABLE} makes a second one")
            }
            Self::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                format!("run as root, or set {VARIABLE} to a directory that you may write to")
            }
            Self::Io { .. } => format!("{VARIABLE} names a directory that you may write to"),
        }
    }
}

/// The bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most connections at once; others wait in the socket's backlog.
    pub(crate) connections: usize,
    /// Longest wait for a whole request, from the connection's start or from the answer before.
    pub(crate) request: Duration,
    /// Longest wait for the handler.
    pub(crate) handler: Duration,
    /// Longest wait for the client to take the answer.
    pub(crate) response: Duration,
}

impl Default for Limits {
    /// A person's and a script's use fits many times over; all together stay below the client's patience of 15 s.
    fn default() -> Limits {
        Limits {
            connections: 32,
            request: Duration::from_secs(5),
            handler: Duration::from_secs(5),
            response: Duration::from_secs(5),
        }
    }
}

/// The control socket of a device, and the lock that makes it ours.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: StdListener,
    path: PathBuf,
    // Dropped after the socket's file is removed.
    _lock: DeviceLock,
}

impl Listener {
    /// Takes the device's lock, then makes its socket. Needs no runtime: the daemon does this before anything that
    /// would have to be undone.
    pub(crate) fn bind(dir: &RuntimeDir, dev: &DeviceName) -> Result<Listener, BindError> {
        let io_at = |path: &Path| {
            let path = path.to_owned();
            move |error| BindError::Io { path, error }
        };
        DirBuilder::new().recursive(true).mode(0o755).create(dir.path()).map_err(io_at(dir.path()))?;
        let lock = match DeviceLock::acquire(dir.lock(dev)) {
            Err(LockError::Held { .. }) if is_ending(dir, dev) => DeviceLock::acquire(dir.lock(dev)),
            result => result,
        };
        let lock = lock.map_err(|error| match error {
            LockError::Held { pid } => BindError::Running { dev: dev.clone(), pid },
            LockError::Io(error) => BindError::Io { path: dir.lock(dev), error },
        })?;
        let path = dir.socket(dev);
        let socket = bind_private(&path).map_err(io_at(&path))?;
        Ok(Listener { socket, path, _lock: lock })
    }

    /// Answers within these bounds until it is dropped. Returns only where the runtime cannot take the socket.
    pub(crate) async fn serve<H: Handler>(&self, handler: Arc<H>, limits: Limits) -> io::Result<Infallible> {
        let listener = UnixListener::from_std(self.socket.try_clone()?)?;
        let room = Arc::new(Semaphore::new(limits.connections));
        let mut connections = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                return Err(io::Error::other("the semaphore of the control socket is closed"));
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let handler = Arc::clone(&handler);
                    connections.spawn(async move {
                        converse(stream, &*handler, limits).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    // Out of descriptors, most likely: what holds them needs time to give them back.
                    time::sleep(Duration::from_millis(100)).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether who holds the lock does not answer because it is on its way out, as after `kill -9` or in a restart; then
/// waits until it lets go.
fn is_ending(dir: &RuntimeDir, dev: &DeviceName) -> bool {
    let answer = Client::connect(dir, dev).and_then(|mut client| client.show());
    matches!(answer, Err(ClientError::NotRunning { .. } | ClientError::Closed { .. }))
        && Watch::open(&dir.lock(dev)).is_ok_and(|watch| watch.wait_free(ENDING))
}

/// Makes the socket where nobody else can reach it, takes its permissions away, and only then moves it into place: so
/// it is never open to others, and a socket left behind is replaced in one step.
fn bind_private(path: &Path) -> io::Result<StdListener> {
    let nursery = path.with_extension("new");
    match fs::remove_dir_all(&nursery) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    DirBuilder::new().mode(0o700).create(&nursery)?;
    let made = nursery.join("sock");
    let result = StdListener::bind(&made).and_then(|socket| {
        fs::set_permissions(&made, Permissions::from_mode(0o600))?;
        fs::rename(&made, path)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    let _ = fs::remove_dir_all(&nursery);
    result
}

/// One connection from its first request to its end.
async fn converse<H: Handler>(stream: UnixStream, handler: &H, limits: Limits) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MAX_REQUEST_OCTETS as u64;
        let read =
            time::timeout(limits.request, (&mut stream).take(limit).read_until(b'\n', &mut line)).await;
        if !matches!(read, Ok(Ok(_))) {
            return;
        }
        let whole = line.last() == Some(&b'\n');
        if !whole && line.len() < MAX_REQUEST_OCTETS {
            return; // The client is gone, in the middle of a request or between two.
        }
        let (response, last) = if !whole {
            let why = format!("a request is at most {MAX_REQUEST_OCTETS} octets");
            (Response::Error(Refusal::new(why)), Last::Close)
        } else {
            match serde_json::from_slice(&line) {
                Ok(Request::Down) => (Response::Done, Last::Down),
                Ok(Request::Capture(wanted)) => match handler.capture(wanted) {
                    Ok((info, copies)) => (Response::Capturing(info), Last::Capture(Box::new(copies))),
                    Err(refusal) => (Response::Error(refusal), Last::No),
                },
                Ok(request) => {
                    let answer = time::timeout(limits.handler, answer(handler, request)).await;
                    let late = |_| Err(Refusal::new("the tunnel is too busy to answer"));
                    (answer.unwrap_or_else(late).unwrap_or_else(Response::Error), Last::No)
                }
                Err(error) => (Response::Error(Refusal::new(format!("no request: {error}"))), Last::No),
            }
        };
        let sent = time::timeout(limits.response, send(stream.get_mut(), &response)).await;
        match last {
            // Whether or not the client took its answer, it asked for the end.
            Last::Down => return handler.down(),
            Last::Close => return,
            Last::Capture(copies) if matches!(sent, Ok(Ok(()))) => {
                return capture::serve(stream.into_inner(), *copies).await;
            }
            Last::Capture(_) => return,
            Last::No if matches!(sent, Ok(Ok(()))) => {}
            Last::No => return,
        }
    }
}

/// What follows a response.
enum Last {
    /// The next request.
    No,
    /// The end of the connection.
    Close,
    /// Copies of frames, until the client has enough.
    Capture(Box<Capture>),
    /// The end of the tunnel.
    Down,
}

async fn answer<H: Handler>(handler: &H, request: Request) -> Result<Response, Refusal> {
    Ok(match request {
        Request::Show => Response::Show { tunnel: Box::new(handler.show().await?) },
        Request::FdbShow { cursor, limit } => {
            let limit = limit.clamp(1, MAX_PAGE_ENTRIES) as usize;
            Response::Fdb(handler.fdb_page(cursor, limit).await?)
        }
        Request::FdbSet { verb, entry } => done(handler.fdb_set(verb, entry).await)?,
        Request::FdbDel { target } => done(handler.fdb_del(target).await)?,
        Request::FdbFlush { filter } => Response::Flushed { entries: handler.fdb_flush(filter).await? },
        Request::PeerList => Response::Peers { peers: handler.peer_list().await? },
        Request::PeerAdd { ip, inner } => done(handler.peer_add(PeerSpec { outer: ip, inner }).await)?,
        Request::PeerDel { ip } => done(handler.peer_del(ip).await)?,
        Request::Reload => Response::Reloaded(handler.reload().await?),
        // Both are the connection's own.
        Request::Down | Request::Capture(_) => Response::Done,
    })
}

fn done(result: Result<(), Refusal>) -> Result<Response, Refusal> {
    result.map(|()| Response::Done)
}

async fn send(stream: &mut UnixStream, response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    stream.write_all(&line).await
}
