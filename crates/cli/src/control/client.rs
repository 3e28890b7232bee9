//! The asking side of the control socket: blocking, with a limit on every wait.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::lock::Watch;
use super::protocol::{
    CaptureWanted, Capturing, FdbEntry, FdbNew, FdbTarget, FdbVerb, FlushFilter, MAX_PAGE_ENTRIES,
    MAX_RESPONSE_OCTETS, PeerStatus, Refusal, Reloaded, Request, Response, TunnelStatus,
};
use super::runtime_dir::{RuntimeDir, VARIABLE};
use crate::config::values::{DeviceName, PeerSpec};

/// Longest wait for the daemon to take or give anything. It is above the server's own limits, so that a client that
/// waits behind idle connections gets its turn.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Longest wait for a tunnel to be gone: its threads drain, and routes, addresses and device go by netlink.
const DOWN_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection to the daemon of one tunnel.
#[derive(Debug)]
pub(crate) struct Client {
    dev: DeviceName,
    lock: PathBuf,
    stream: BufReader<UnixStream>,
}

/// Why the daemon's answer is not there.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error("no tunnel is running")]
    NoTunnel,
    #[error("no tunnel is running for {dev}")]
    NotRunning { dev: DeviceName },
    #[error("more than one tunnel is running: {}", list(devs))]
    Several { devs: Vec<DeviceName> },
    #[error("{}: permission denied", path.display())]
    Denied { path: PathBuf },
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the daemon of {dev} does not answer within {} s", limit.as_secs())]
    Timeout { dev: DeviceName, limit: Duration },
    #[error("the daemon of {dev} closed the connection")]
    Closed { dev: DeviceName },
    #[error("the daemon of {dev} answers what this version does not know: {why}")]
    Garbled { dev: DeviceName, why: String },
    #[error("the tunnel of {dev} is still there after {} s", DOWN_TIMEOUT.as_secs())]
    StillUp { dev: DeviceName },
    #[error("{}", .0.why)]
    Refused(Refusal),
}

fn list(devs: &[DeviceName]) -> String {
    devs.iter().map(DeviceName::as_str).collect::<Vec<_>>().join(", ")
}

impl ClientError {
    fn io(path: PathBuf, error: io::Error) -> ClientError {
        if error.kind() == io::ErrorKind::PermissionDenied {
            ClientError::Denied { path }
        } else {
            ClientError::Io { path, error }
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoTunnel => {
                Some("`vxgate up --help` starts one; `vxgate lab` shows one without a network".to_owned())
            }
            Self::NotRunning { dev } => Some(format!("start it: vxgate up --dev {dev} --peer IP")),
            Self::Several { devs } => devs.first().map(|dev| format!("name one, as in: dev {dev}")),
            Self::Denied { .. } => Some(format!(
                "use the user who started the tunnel, or root; {VARIABLE} names another directory"
            )),
            Self::Garbled { .. } => Some("use the vxgate that started the tunnel, or restart it".to_owned()),
            Self::Timeout { .. } | Self::Closed { .. } | Self::StillUp { .. } => {
                Some("its log says what it is doing".to_owned())
            }
            Self::Refused(refusal) => refusal.hint.clone(),
            Self::Io { .. } => None,
        }
    }
}

impl Client {
    /// Connects to this device's tunnel.
    pub(crate) fn connect(dir: &RuntimeDir, dev: &DeviceName) -> Result<Client, ClientError> {
        let path = dir.socket(dev);
        let stream = UnixStream::connect(&path).and_then(|stream| {
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            Ok(stream)
        });
        match stream {
            Ok(stream) => {
                Ok(Client { dev: dev.clone(), lock: dir.lock(dev), stream: BufReader::new(stream) })
            }
            // Refused: the socket of a daemon that was killed.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Err(ClientError::NotRunning { dev: dev.clone() })
            }
            Err(error) => Err(ClientError::io(path, error)),
        }
    }

    /// Connects to the one tunnel that runs.
    pub(crate) fn connect_only(dir: &RuntimeDir) -> Result<Client, ClientError> {
        let mut running = Client::connect_all(dir)?;
        match running.pop() {
            Some(client) if running.is_empty() => Ok(client),
            Some(last) => Err(ClientError::Several {
                devs: running.into_iter().chain([last]).map(|client| client.dev).collect(),
            }),
            None => Err(ClientError::NoTunnel),
        }
    }

    /// Connects to every tunnel that runs, in the order of their names; sockets left behind are passed over.
    pub(crate) fn connect_all(dir: &RuntimeDir) -> Result<Vec<Client>, ClientError> {
        let devices = dir.devices().map_err(|error| ClientError::io(dir.path().to_owned(), error))?;
        let mut running = Vec::new();
        for dev in devices {
            match Client::connect(dir, &dev) {
                Ok(client) => running.push(client),
                Err(ClientError::NotRunning { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(running)
    }

    /// Waits no longer than this for each answer.
    pub(crate) fn set_patience(&mut self, limit: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(limit))?;
        self.stream.get_ref().set_write_timeout(Some(limit))
    }

    /// The device whose tunnel this is.
    pub(crate) fn dev(&self) -> &DeviceName {
        &self.dev
    }

    /// The tunnel's state.
    pub(crate) fn show(&mut self) -> Result<TunnelStatus, ClientError> {
        let Response::Show { tunnel } = self.call(&Request::Show)? else { return Err(self.out_of_turn()) };
        Ok(*tunnel)
    }

    /// Hands every entry of the forwarding database to `each`, page by page; its error ends the listing.
    pub(crate) fn fdb_show(
        &mut self,
        mut each: impl FnMut(FdbEntry) -> io::Result<()>,
    ) -> Result<io::Result<()>, ClientError> {
        let mut cursor = 0;
        loop {
            let request = Request::FdbShow { cursor, limit: MAX_PAGE_ENTRIES };
            let Response::Fdb(page) = self.call(&request)? else { return Err(self.out_of_turn()) };
            if let Err(error) = page.entries.into_iter().try_for_each(&mut each) {
                return Ok(Err(error));
            }
            match page.next {
                Some(next) => cursor = next,
                None => return Ok(Ok(())),
            }
        }
    }

    /// Adds, appends or replaces an entry.
    pub(crate) fn fdb_set(&mut self, verb: FdbVerb, entry: FdbNew) -> Result<(), ClientError> {
        self.done(&Request::FdbSet { verb, entry })
    }

    /// Deletes a remote of an entry, or the entry.
    pub(crate) fn fdb_del(&mut self, target: FdbTarget) -> Result<(), ClientError> {
        self.done(&Request::FdbDel { target })
    }

    /// Deletes the entries that match; how many.
    pub(crate) fn fdb_flush(&mut self, filter: FlushFilter) -> Result<u64, ClientError> {
        let Response::Flushed { entries } = self.call(&Request::FdbFlush { filter })? else {
            return Err(self.out_of_turn());
        };
        Ok(entries)
    }

    /// The peers.
    pub(crate) fn peer_list(&mut self) -> Result<Vec<PeerStatus>, ClientError> {
        let Response::Peers { peers } = self.call(&Request::PeerList)? else {
            return Err(self.out_of_turn());
        };
        Ok(peers)
    }

    /// Adds a peer.
    pub(crate) fn peer_add(&mut self, peer: PeerSpec) -> Result<(), ClientError> {
        self.done(&Request::PeerAdd { ip: peer.outer, inner: peer.inner })
    }

    /// Takes a peer away.
    pub(crate) fn peer_del(&mut self, ip: IpAddr) -> Result<(), ClientError> {
        self.done(&Request::PeerDel { ip })
    }

    /// Ends the tunnel, and waits until it is gone.
    pub(crate) fn down(mut self) -> Result<(), ClientError> {
        let watch =
            Watch::open(&self.lock).map_err(|error| ClientError::Io { path: self.lock.clone(), error })?;
        self.done(&Request::Down)?;
        if watch.wait_free(DOWN_TIMEOUT) { Ok(()) } else { Err(ClientError::StillUp { dev: self.dev }) }
    }

    /// Has the daemon read its file again.
    pub(crate) fn reload(&mut self) -> Result<Reloaded, ClientError> {
        let Response::Reloaded(reloaded) = self.call(&Request::Reload)? else {
            return Err(self.out_of_turn());
        };
        Ok(reloaded)
    }

    /// Begins a capture: what there is to know, the connection that carries copies from now on, and what came by it already.
    pub(crate) fn capture(
        mut self,
        wanted: &CaptureWanted,
    ) -> Result<(Capturing, UnixStream, Vec<u8>), ClientError> {
        let Response::Capturing(info) = self.call(&Request::Capture(wanted.clone()))? else {
            return Err(self.out_of_turn());
        };
        let rest = self.stream.buffer().to_vec();
        Ok((info, self.stream.into_inner(), rest))
    }

    fn done(&mut self, request: &Request) -> Result<(), ClientError> {
        let Response::Done = self.call(request)? else { return Err(self.out_of_turn()) };
        Ok(())
    }

    fn call(&mut self, request: &Request) -> Result<Response, ClientError> {
        let line = self.exchange(request).map_err(|error| {
            let dev = self.dev.clone();
            // What a socket's timeout gives (socket(7), SO_RCVTIMEO).
            if error.kind() == io::ErrorKind::WouldBlock {
                ClientError::Timeout { dev, limit: self.patience() }
            } else {
                ClientError::Closed { dev }
            }
        })?;
        if line.last() != Some(&b'\n') {
            return Err(ClientError::Closed { dev: self.dev.clone() });
        }
        match serde_json::from_slice(&line) {
            Ok(Response::Error(refusal)) => Err(ClientError::Refused(refusal)),
            Ok(response) => Ok(response),
            Err(error) => Err(ClientError::Garbled { dev: self.dev.clone(), why: error.to_string() }),
        }
    }

    fn exchange(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        line.clear();
        (&mut self.stream).take(MAX_RESPONSE_OCTETS).read_until(b'\n', &mut line)?;
        Ok(line)
    }

    /// How long each wait may take.
    fn patience(&self) -> Duration {
        self.stream.get_ref().read_timeout().ok().flatten().unwrap_or(TIMEOUT)
    }

    fn out_of_turn(&self) -> ClientError {
        ClientError::Garbled { dev: self.dev.clone(), why: "the answer to another request".to_owned() }
    }
}
