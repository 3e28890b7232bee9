//! The server: listens, answers, can go down and come up again.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::api::{Call, Target};
use crate::fault::{Fault, Kind, Script};
use crate::http::{Answer, Recorded, Request};
use crate::state::{Account, Gate};

/// A caller that sends nothing for this long is let go.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// How long a silent fault stays silent, at most.
const SILENCE: Duration = Duration::from_secs(300);

/// Most requests that are kept; the oldest go first.
const MAX_RECORDED: usize = 4096;

/// A Gate API that serves until it is dropped.
#[derive(Debug)]
pub struct FakeGate {
    address: SocketAddr,
    shared: Arc<Shared>,
    orders: Sender<Order>,
    waker: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// What the test's thread and those of the server have in common.
#[derive(Debug, Default)]
struct Shared {
    gate: Mutex<Gate>,
    script: Mutex<Script>,
    recorded: Mutex<Vec<Recorded>>,
    /// Connections being served, to be closed when the server goes down.
    open: Mutex<Vec<(SocketAddr, TcpStream)>>,
    /// How often the server went down: a fault that waits ends with that.
    downs: Mutex<u64>,
    went_down: Condvar,
}

/// What the listening thread is told.
#[derive(Debug)]
enum Order {
    /// Close the listener and every connection, then say so.
    Down(Sender<()>),
    /// Listen again at the same address, and say how that went.
    Up(Sender<io::Result<()>>),
    /// End.
    End,
}

impl FakeGate {
    /// Serves on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The system gives no socket or thread.
    pub fn start() -> io::Result<FakeGate> {
        FakeGate::start_on((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Serves on this address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be bound, or the system gives no thread.
    pub fn start_on(address: SocketAddr) -> io::Result<FakeGate> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (orders, taken) = mpsc::channel();
        let (waker, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let server = Server { address, shared: Arc::clone(&shared), orders: taken, woken };
        let thread =
            thread::Builder::new().name("fake-gate".to_owned()).spawn(move || server.run(listener))?;
        Ok(FakeGate { address, shared, orders, waker, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client takes for its endpoint: `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Who may log in.
    #[must_use]
    pub fn account(&self) -> Account {
        self.with(|gate| gate.account.clone())
    }

    /// Looks at the state, or changes it behind the API's back.
    pub fn with<T>(&self, body: impl FnOnce(&mut Gate) -> T) -> T {
        body(&mut lock(&self.shared.gate))
    }

    /// Scripts a fault for the next `times` answers to `call`; those scripted before come first.
    pub fn fault(&self, call: Call, times: u32, fault: Fault) {
        lock(&self.shared.script).add(call, times, fault);
    }

    /// Forgets the faults that are still to come.
    pub fn heal(&self) {
        lock(&self.shared.script).clear();
    }

    /// The requests so far, without their secrets.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.shared.recorded).clone()
    }

    /// How often this was called.
    #[must_use]
    pub fn count(&self, call: Call) -> usize {
        let matches = |request: &&Recorded| {
            call == Call::Any || Target::of(&request.method, &request.path).call == call
        };
        lock(&self.shared.recorded).iter().filter(matches).count()
    }

    /// Refuses connections from now on, and closes those that are open.
    pub fn go_down(&self) {
        let (done, wait) = mpsc::channel();
        self.order(Order::Down(done));
        // The thread is gone only when this value is.
        let _ = wait.recv();
    }

    /// Serves again after [`go_down`](Self::go_down), at the same address.
    ///
    /// # Errors
    /// Somebody has taken the port.
    pub fn come_up(&self) -> io::Result<()> {
        let (done, wait) = mpsc::channel();
        self.order(Order::Up(done));
        wait.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn order(&self, order: Order) {
        // Neither fails while the thread lives, and without it there is nobody to tell.
        let _ = self.orders.send(order);
        let _ = (&self.waker).write_all(&[0]);
    }
}

impl Drop for FakeGate {
    fn drop(&mut self) {
        self.order(Order::End);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed where it happened.
            let _ = thread.join();
        }
    }
}

/// The listening thread.
struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    woken: UnixStream,
}

impl Server {
    fn run(self, listener: TcpListener) {
        let mut listener = Some(listener);
        loop {
            let mut wanted = vec![PollFd::new(&self.woken, PollFlags::IN)];
            wanted.extend(listener.as_ref().map(|listener| PollFd::new(listener, PollFlags::IN)));
            // An interrupted wait is made again.
            let _ = poll(&mut wanted, None);
            drain(&self.woken);
            for order in self.orders.try_iter() {
                match order {
                    Order::Down(done) => {
                        listener = None;
                        self.shared.close_all();
                        // A test that no longer waits has ended.
                        let _ = done.send(());
                    }
                    Order::Up(done) => {
                        let opened = listen(self.address).map(|opened| listener = Some(opened));
                        let _ = done.send(opened);
                    }
                    Order::End => return self.shared.close_all(),
                }
            }
            while let Some(Ok((stream, caller))) = listener.as_ref().map(TcpListener::accept) {
                self.shared.serve(stream, caller);
            }
        }
    }
}

impl Shared {
    /// Answers one request on a thread of its own.
    fn serve(self: &Arc<Shared>, stream: TcpStream, caller: SocketAddr) {
        let shared = Arc::clone(self);
        if let Ok(handle) = stream.try_clone() {
            lock(&self.open).push((caller, handle));
        }
        let thread = thread::Builder::new().name("fake-gate-call".to_owned());
        // Without a thread the caller sees its connection closed.
        let _ = thread.spawn(move || {
            // What goes wrong with a caller's connection is the caller's to notice.
            let _ = shared.answer(&stream);
            let _ = stream.shutdown(Shutdown::Both);
            lock(&shared.open).retain(|(of, _)| *of != caller);
        });
    }

    fn answer(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_LIMIT))?;
        let request = match Request::read(stream) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Answer::new(400, "text/html", "<html>not HTTP</html>").write(stream, None);
            }
            request => request?,
        };
        self.record(request.recorded());
        let call = Target::of(&request.method, &request.path).call;
        let fault = lock(&self.script).next(call);
        let right = || lock(&self.gate).answer(&request);
        match fault {
            None => right().write(stream, None),
            Some(Kind::Instead(answer)) => answer.write(stream, None),
            Some(Kind::Slow(delay)) => {
                self.wait(delay);
                right().write(stream, None)
            }
            Some(Kind::Silent) => {
                self.wait(SILENCE);
                Ok(())
            }
            Some(Kind::Closed) => Ok(()),
            Some(Kind::CutOff) => {
                let answer = right();
                answer.write(stream, Some(answer.body.len() / 2))
            }
            Some(Kind::Truncated) => {
                let mut answer = right();
                answer.body.truncate(answer.body.len() / 2);
                answer.write(stream, None)
            }
            Some(Kind::Changed(change)) => {
                let mut answer: Answer = right();
                let mut body = serde_json::from_str(&answer.body).unwrap_or_default();
                change(&mut body);
                answer.body = body.to_string();
                answer.write(stream, None)
            }
        }
    }

    fn record(&self, request: Recorded) {
        let mut recorded = lock(&self.recorded);
        if recorded.len() == MAX_RECORDED {
            recorded.remove(0);
        }
        recorded.push(request);
    }

    /// Waits this long, or until the server goes down.
    fn wait(&self, delay: Duration) {
        let downs = lock(&self.downs);
        let before = *downs;
        let waited = self.went_down.wait_timeout_while(downs, delay, |downs| *downs == before);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn close_all(&self) {
        *lock(&self.downs) += 1;
        self.went_down.notify_all();
        for (_, stream) in lock(&self.open).drain(..) {
            // One that the caller has closed needs no second time.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the octets that woke the thread.
fn drain(mut woken: &UnixStream) {
    let mut octets = [0; 64];
    while matches!(io::Read::read(&mut woken, &mut octets), Ok(1..)) {}
}

/// A panic of a test while it looked does not stop the server.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
