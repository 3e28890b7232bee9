//! `--metrics ADDR`: what Prometheus scrapes and what an orchestrator probes, on one address.
//!
//! ```text
//!   GET /metrics  ──► the state of each tunnel, as `show` has it ──► exposition.rs ──► OpenMetrics text
//!   GET /healthz  ──► the same ──────────────────────────────────► health.rs ──────► 200, or 503 and why
//! ```
//!
//! The socket is opened before anything else, so that a port that is taken is told before there is anything to undo. Connections are
//! bounded in number, time and size: who breaks a bound loses a connection, and the tunnels do not notice.

mod exposition;
mod health;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::config::values::MetricsAddr;
use crate::control::protocol::TunnelStatus;

/// Most connections at once; the oldest gives way to one more. A scraper and a few probes take one each.
const CONNECTIONS: usize = 16;

/// Longest time for the head of a request to arrive.
const HEAD: Duration = Duration::from_secs(5);

/// Longest life of a connection: a scraper that keeps it open opens another.
const LIFE: Duration = Duration::from_secs(60);

/// Most octets of the head of a request (the least that the library takes).
const HEAD_OCTETS: usize = 8192;

/// Connections that wait.
const BACKLOG: i32 = 64;

/// The address is not to be had.
#[derive(Debug, Error)]
#[error("--metrics {address}")]
pub(crate) struct MetricsError {
    address: String,
    #[source]
    source: io::Error,
}

impl MetricsError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match Errno::from_io_error(&self.source)? {
            Errno::ADDRINUSE => "another program has that port: choose another one, or leave --metrics out",
            Errno::ADDRNOTAVAIL => {
                "that address is none of this host's; 127.0.0.1:PORT serves this host alone, :PORT everybody"
            }
            Errno::ACCESS => "a port below 1024 needs CAP_NET_BIND_SERVICE: choose a higher one",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// The state of all tunnels of this process, as [`Server::serve`] asks for it.
pub(crate) trait Tunnels: Send + Sync + 'static {
    /// The state of each; those that have ended are left out.
    fn statuses(&self) -> impl Future<Output = Vec<TunnelStatus>> + Send;
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Server(StdListener);

impl Server {
    /// Opens it.
    ///
    /// # Errors
    /// The port is taken, or the address is not this host's.
    pub(crate) fn bind(address: MetricsAddr) -> Result<Server, MetricsError> {
        let result = match address {
            MetricsAddr::One(address) => listen(address, true),
            MetricsAddr::Off => Err(io::ErrorKind::InvalidInput.into()),
            // With IPv6, and for IPv4 by the same socket; where there is no IPv6, without.
            MetricsAddr::Every(port) => {
                listen((Ipv6Addr::UNSPECIFIED, port).into(), false).or_else(|error| {
                    let no_ipv6 = error.kind() != io::ErrorKind::AddrInUse;
                    if no_ipv6 { listen((Ipv4Addr::UNSPECIFIED, port).into(), true) } else { Err(error) }
                })
            }
        };
        result.map(Server).map_err(|source| MetricsError { address: address.to_string(), source })
    }

    /// Where it listens: the port that the system chose, where 0 was asked for.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers for ever.
    ///
    /// # Errors
    /// The socket cannot be used at all.
    pub(crate) async fn serve(self, tunnels: Arc<impl Tunnels>) -> io::Result<Infallible> {
        let listener = TcpListener::from_std(self.0)?;
        let mut connections = JoinSet::new();
        let mut running: VecDeque<AbortHandle> = VecDeque::with_capacity(CONNECTIONS);
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, or a connection that is gone already.
                    tracing::debug!("metrics: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            running.retain(|connection| !connection.is_finished());
            // An answer takes a millisecond: the one that has been there longest waits for a client that hangs.
            if running.len() >= CONNECTIONS
                && let Some(oldest) = running.pop_front()
            {
                oldest.abort();
            }
            running.push_back(connections.spawn(converse(stream, Arc::clone(&tunnels))));
            while connections.try_join_next().is_some() {}
        }
    }
}

fn listen(address: SocketAddr, v6_alone: bool) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A port that a connection of the process before lingers at is free.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(v6_alone)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

async fn converse(stream: TcpStream, tunnels: Arc<impl Tunnels>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let tunnels = Arc::clone(&tunnels);
        async move { Ok::<_, Infallible>(answer(&request, &*tunnels).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_OCTETS)
        .serve_connection(TokioIo::new(stream), answer);
    // What a client does wrong is no news.
    if let Ok(Err(error)) = tokio::time::timeout(LIFE, connection).await {
        tracing::debug!("metrics: {error}");
    }
}

async fn answer(request: &Request<Incoming>, tunnels: &impl Tunnels) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET and HEAD only\n");
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/metrics" => match exposition::text(&tunnels.statuses().await, wall_clock()) {
            Ok(exposed) => text(StatusCode::OK, exposition::CONTENT_TYPE, exposed),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n")),
        },
        "/healthz" => match health::of(&tunnels.statuses().await) {
            Ok(()) => text(StatusCode::OK, PLAIN, "ok\n"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n")),
        },
        "/" => text(StatusCode::OK, PLAIN, "vxgate: /metrics for Prometheus, /healthz for probes\n"),
        _ => text(StatusCode::NOT_FOUND, PLAIN, "there are /metrics and /healthz\n"),
    }
}

/// The edge where the time of day enters.
#[expect(clippy::disallowed_methods, reason = "what is exposed says when something was")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
