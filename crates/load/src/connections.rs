//! TCP connections that carry one octet each.
//!
//! The far end sends it and closes first, so that the near end's ports are free again at once: it is the far end that
//! waits for stray segments (TIME-WAIT, RFC 9293 section 3.6.1), and a new connection may take such a place.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use crate::error::Error;
use crate::stop::Stop;
use crate::window::{Span, Window};

/// One that takes longer has failed. It is counted as none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes connections and gives an octet to each, until it is dropped.
#[derive(Debug)]
pub struct Acceptor {
    listener: Arc<TcpListener>,
    address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

impl Acceptor {
    /// Listens at a free port of `address`, in the calling thread's network namespace, with `threads` threads.
    ///
    /// # Errors
    /// When the address is not this host's.
    pub fn start(address: IpAddr, threads: usize) -> io::Result<Acceptor> {
        let listener = Arc::new(TcpListener::bind((address, 0))?);
        let mut acceptor = Acceptor { address: listener.local_addr()?, listener, threads: Vec::new() };
        for _ in 0..threads {
            let listener = Arc::clone(&acceptor.listener);
            let accept = move || {
                while let Ok((mut connection, _)) = listener.accept() {
                    // A client that goes away counts no connection.
                    let _ = connection.write_all(&[0]);
                }
            };
            acceptor.threads.push(thread::Builder::new().name("acceptor".into()).spawn(accept)?);
        }
        Ok(acceptor)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // Wakes `accept` with an error, which ends its threads.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The connections of the measured time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Opened, used and closed.
    pub completed: u64,
    /// In this time.
    pub elapsed: Duration,
    /// Processor time of the whole machine.
    pub busy: Duration,
}

impl Connections {
    /// How many a second.
    pub fn per_second(&self) -> f64 {
        self.completed as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Opens connections to an [`Acceptor`], `at_once` of them at any time, from the calling thread's network namespace.
///
/// # Errors
/// [`Error::Interrupted`]; [`Error::Silent`] when none was completed.
pub fn measure(acceptor: SocketAddr, at_once: usize, span: Span, stop: &Stop) -> Result<Connections, Error> {
    let (completed, end) = (AtomicU64::new(0), AtomicBool::new(false));
    let window = thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    if connect_once(acceptor).is_ok() {
                        completed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let window = span.watch(stop, || completed.load(Ordering::Relaxed));
        end.store(true, Ordering::Relaxed);
        window
    });
    let Window { first, last, elapsed, busy } = window?;
    if last == first {
        Err(Error::Silent)
    } else {
        Ok(Connections { completed: last - first, elapsed, busy })
    }
}

fn connect_once(acceptor: SocketAddr) -> io::Result<()> {
    let mut connection = TcpStream::connect_timeout(&acceptor, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.read_exact(&mut [0])?;
    // The far end's close: until it is here, ours would be the first.
    match connection.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_over_the_loopback_device_are_counted_and_the_threads_end() {
        let acceptor = Acceptor::start([127, 0, 0, 1].into(), 2).unwrap();
        let span = Span { warm_up: Duration::from_millis(5), measured: Duration::from_millis(50) };
        let connections = measure(acceptor.address(), 2, span, &Stop::new()).unwrap();
        assert!(connections.per_second() > 10.0, "{connections:?}");
        let address = acceptor.address();
        drop(acceptor);
        assert!(connect_once(address).is_err());
    }
}
