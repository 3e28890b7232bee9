//! UDP datagrams of given sizes, sent to a server that sends each back.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::digest::fill;
use crate::host::Host;
use crate::tcp::anywhere;
use crate::wait::now;

/// The largest UDP payload over IPv4 (RFC 768, RFC 791).
const LARGEST_OCTETS: usize = 65_507;

/// How often an idle server looks whether it is to stop. Shutting its socket down would wake it with a datagram that comes from nowhere,
/// at which the standard library panics.
const LOOK_UP: Duration = Duration::from_millis(20);

/// Sends every datagram back to where it came from, until it is dropped; it stays in the network namespace where it
/// was started.
#[derive(Debug)]
pub struct Server {
    socket: UdpSocket,
    stop: Arc<AtomicBool>,
    echoing: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is not this host's or the port is taken.
    pub fn start(address: SocketAddr) -> io::Result<Server> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(LOOK_UP))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (echo, stopped) = (socket.try_clone()?, Arc::clone(&stop));
        let echoing = thread::spawn(move || {
            let mut buffer = vec![0; LARGEST_OCTETS + 1];
            while !stopped.load(Ordering::Relaxed) {
                // A refused answer, like a lost one, is the client's to notice.
                if let Ok((length, client)) = echo.recv_from(&mut buffer) {
                    let _ = echo.send_to(&buffer[..length], client);
                }
            }
        });
        Ok(Server { socket, stop, echoing: Some(echoing) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.echoing.take().map(JoinHandle::join);
    }
}

/// What came of an exchange; sizes are in octets of UDP payload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EchoReport {
    /// How many were sent or refused.
    pub sent: usize,
    /// Sizes that did not come back in time.
    pub lost: Vec<usize>,
    /// Sizes that came back changed.
    pub damaged: Vec<usize>,
    /// Sizes that this host's kernel refused to send, with the reason (errno(3)).
    pub refused: Vec<(usize, i32)>,
}

impl EchoReport {
    /// Whether every datagram came back as it was, and at least one was sent.
    pub fn all_returned(&self) -> bool {
        self.sent > 0 && self.lost.is_empty() && self.damaged.is_empty() && self.refused.is_empty()
    }
}

/// Sends one datagram of each size to a [`Server`], each when the one before has come back or `timeout` has passed.
///
/// # Errors
/// When no socket can be opened here, or receiving fails for another reason than that nothing comes.
pub fn echo(
    server: SocketAddr,
    sizes: impl IntoIterator<Item = usize>,
    timeout: Duration,
) -> io::Result<EchoReport> {
    let socket = UdpSocket::bind(anywhere(server.ip()))?;
    let mut report = EchoReport::default();
    let mut buffer = vec![0; LARGEST_OCTETS + 1];
    for size in sizes {
        report.sent += 1;
        let datagram = pattern(size);
        if let Err(error) = socket.send_to(&datagram, server) {
            report.refused.push((size, error.raw_os_error().unwrap_or_default()));
            continue;
        }
        let deadline = now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                report.lost.push(size);
                break;
            }
            // The kernel takes zero for "for ever".
            socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match socket.recv(&mut buffer) {
                Ok(length) if buffer[..length] == datagram => break,
                // One that was given up comes late, whole: not what this one waits for.
                Ok(length) if buffer[..length] == pattern(length) => {}
                Ok(_) => {
                    report.damaged.push(size);
                    break;
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(report)
}

/// Sends one datagram of each size from one host to another, which has `address`, and back.
///
/// # Errors
/// As [`echo`].
pub fn exchange(
    from: &Host,
    to: &Host,
    address: IpAddr,
    sizes: impl IntoIterator<Item = usize> + Send,
    timeout: Duration,
) -> io::Result<EchoReport> {
    let server = to.run(|| Server::start(anywhere(address)))?;
    let target = SocketAddr::new(address, server.address()?.port());
    from.run(|| echo(target, sizes, timeout))
}

/// The payload of a datagram of that size; no two sizes begin alike.
fn pattern(size: usize) -> Vec<u8> {
    let mut octets = vec![0; size];
    fill(size as u64, &mut octets);
    octets
}

/// A timeout, or the kernel passing on an ICMP error: the datagram counts as lost when its time is over.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
    )
}
