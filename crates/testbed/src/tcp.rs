//! Bulk transfer over TCP whose receiver proves with a digest what it got.
//!
//! The client sends its octets and closes its direction; the server answers with the number of octets and their
//! digest, 8 octets each in network order. The client's clock therefore stops when everything has arrived.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::digest::{Digest, fill};
use crate::host::Host;
use crate::wait::now;

/// Octets in one write or read: enough that the system calls do not count.
const CHUNK_OCTETS: usize = 256 * 1024;

/// A connection that is silent for this long is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// Receives for whoever connects, until it is dropped; it stays in the network namespace where it was started.
#[derive(Debug)]
pub struct Server {
    listener: Socket,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is not this host's or the port is taken.
    pub fn start(address: SocketAddr) -> io::Result<Server> {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        listener.set_reuse_address(true)?;
        listener.bind(&address.into())?;
        listener.listen(128)?;
        let address = listener.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let accepting = listener.try_clone()?;
        let accepting = thread::spawn(move || {
            while let Ok((connection, _)) = accepting.accept() {
                // A client that goes away has its own error to report.
                thread::spawn(move || receive(connection.into()));
            }
        });
        Ok(Server { listener, address, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes `accept` with an error, which ends its thread.
        let _ = self.listener.shutdown(Shutdown::Both);
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

fn receive(mut connection: TcpStream) -> io::Result<()> {
    connection.set_read_timeout(Some(SILENCE))?;
    let mut buffer = vec![0; CHUNK_OCTETS];
    let mut digest = Digest::new();
    loop {
        match connection.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => digest.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    connection.write_all(&digest.octets().to_be_bytes())?;
    connection.write_all(&digest.value().to_be_bytes())
}

/// What came of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Octets sent.
    pub sent_octets: u64,
    /// Octets that the receiver says it got.
    pub received_octets: u64,
    /// Whether they are the same octets in the same order.
    pub intact: bool,
    /// From the connection's first octet to the receiver's word that it has the last.
    pub elapsed: Duration,
}

impl Transfer {
    /// Payload bits per second.
    pub fn bits_per_second(&self) -> f64 {
        self.received_octets as f64 * 8.0 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Sends `octets` octets to a [`Server`] from the calling thread's network namespace.
///
/// # Errors
/// When it cannot connect within `limit`, or when nothing moves for `limit`.
pub fn send(server: SocketAddr, octets: u64, limit: Duration) -> io::Result<Transfer> {
    let mut connection = TcpStream::connect_timeout(&server, limit)?;
    connection.set_write_timeout(Some(limit))?;
    connection.set_read_timeout(Some(limit))?;
    let mut buffer = vec![0; CHUNK_OCTETS];
    fill(octets, &mut buffer);
    let mut digest = Digest::new();
    let start = now();
    let mut left = octets;
    let mut chunk: u64 = 0;
    while left > 0 {
        // Each chunk differs, so that a chunk lost, repeated or moved shows.
        let (head, _) = buffer.split_at_mut(8);
        head.copy_from_slice(&chunk.to_be_bytes());
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_OCTETS);
        digest.update(&buffer[..length]);
        connection.write_all(&buffer[..length])?;
        left -= length as u64;
        chunk += 1;
    }
    connection.shutdown(Shutdown::Write)?;
    let mut answer = [[0; 8]; 2];
    for half in &mut answer {
        connection.read_exact(half)?;
    }
    let [received_octets, received_digest] = answer.map(u64::from_be_bytes);
    Ok(Transfer {
        sent_octets: octets,
        received_octets,
        intact: received_octets == octets && received_digest == digest.value(),
        elapsed: now().saturating_duration_since(start),
    })
}

/// Sends `octets` octets from one host to another, which has `address`.
///
/// # Errors
/// As [`send`].
pub fn transfer(
    from: &Host,
    to: &Host,
    address: IpAddr,
    octets: u64,
    limit: Duration,
) -> io::Result<Transfer> {
    let server = to.run(|| Server::start(anywhere(address)))?;
    let target = SocketAddr::new(address, server.address().port());
    from.run(|| send(target, octets, limit))
}

/// A free port on every address of the family of `address`.
pub(crate) fn anywhere(address: IpAddr) -> SocketAddr {
    match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}
