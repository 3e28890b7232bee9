//! TCP streams that carry as much as they can.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::stop::Stop;
use crate::window::{Span, Window};

/// Octets in one write and one read: enough that the system calls do not count.
const CHUNK_OCTETS: usize = 128 * 1024;

/// A stream that is not there after that is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where streams end.
#[derive(Debug)]
pub struct Sink {
    listener: TcpListener,
}

/// Streams that are open, and carry nothing yet.
#[derive(Debug)]
pub struct Streams {
    outgoing: Vec<TcpStream>,
    incoming: Vec<TcpStream>,
}

/// What they carried in the measured time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throughput {
    /// Payload that was read at the far end.
    pub octets: u64,
    /// In this time.
    pub elapsed: Duration,
    /// Processor time of the whole machine.
    pub busy: Duration,
}

impl Throughput {
    /// Payload bits a second.
    pub fn bits_per_second(&self) -> f64 {
        self.octets as f64 * 8.0 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl Sink {
    /// Listens at a free port of `address`, in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the address is not this host's.
    pub fn listen(address: IpAddr) -> io::Result<Sink> {
        Ok(Sink { listener: TcpListener::bind((address, 0))? })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Opens `streams` streams from the calling thread's network namespace.
///
/// # Errors
/// [`Error::Io`] when one does not come up within 5 seconds.
pub fn connect(sink: &Sink, streams: usize) -> Result<Streams, Error> {
    let mut opened = Streams { outgoing: Vec::new(), incoming: Vec::new() };
    let address = sink.address().map_err(Error::io("listen"))?;
    for _ in 0..streams {
        let outgoing = TcpStream::connect_timeout(&address, PATIENCE).map_err(Error::io("connect"))?;
        // It is there: the far end's kernel has taken it.
        let (incoming, _) = sink.listener.accept().map_err(Error::io("accept"))?;
        opened.outgoing.push(outgoing);
        opened.incoming.push(incoming);
    }
    Ok(opened)
}

impl Streams {
    /// Fills them for as long as `span` says.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; [`Error::Silent`] when nothing arrived.
    pub fn run(self, span: Span, stop: &Stop) -> Result<Throughput, Error> {
        let Window { first, last, elapsed, busy } =
            self.carry(|octets| span.watch(stop, || octets.load(Ordering::Relaxed)))?;
        let octets: u64 = last - first;
        if octets == 0 { Err(Error::Silent) } else { Ok(Throughput { octets, elapsed, busy }) }
    }

    /// Fills them while `meanwhile` runs, which is told how many octets have arrived.
    pub fn carry<T>(self, meanwhile: impl FnOnce(&AtomicU64) -> T) -> T {
        let octets = AtomicU64::new(0);
        thread::scope(|scope| {
            for stream in &self.incoming {
                scope.spawn(|| drain(stream, &octets));
            }
            for stream in &self.outgoing {
                scope.spawn(|| fill(stream));
            }
            let value = meanwhile(&octets);
            for stream in self.outgoing.iter().chain(&self.incoming) {
                // One that has broken has ended its threads already.
                let _ = stream.shutdown(Shutdown::Both);
            }
            value
        })
    }
}

fn fill(mut stream: &TcpStream) {
    let chunk = vec![0; CHUNK_OCTETS];
    while stream.write_all(&chunk).is_ok() {}
}

fn drain(mut stream: &TcpStream, octets: &AtomicU64) {
    let mut chunk = vec![0; CHUNK_OCTETS];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => {
                octets.fetch_add(length as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span { warm_up: Duration::from_millis(10), measured: Duration::from_millis(50) };

    #[test]
    fn streams_over_the_loopback_device_carry_something_and_end() {
        let sink = Sink::listen([127, 0, 0, 1].into()).unwrap();
        let throughput = connect(&sink, 4).unwrap().run(SPAN, &Stop::new()).unwrap();
        assert!(throughput.bits_per_second() > 1e6, "{throughput:?}");
        assert!(throughput.elapsed >= SPAN.measured);
    }

    #[test]
    fn a_word_to_stop_ends_them_before_their_time() {
        let sink = Sink::listen([127, 0, 0, 1].into()).unwrap();
        let (stop, long) = (Stop::new(), Span { measured: Duration::from_secs(600), ..SPAN });
        stop.stop();
        assert!(matches!(connect(&sink, 1).unwrap().run(long, &stop), Err(Error::Interrupted)));
    }
}
