//! Client and server over real sockets, in a directory of each test's own.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use vxgate_codec::MacAddr;

use super::client::{Client, ClientError};
use super::lock::{DeviceLock, LockError, Watch};
use super::protocol::*;
use super::runtime_dir::RuntimeDir;
use super::server::{BindError, Handler, Limits, Listener};
use crate::config::values::{DeviceName, PeerSpec};

/// A directory that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("vxgate-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Scratch(std::env::temp_dir().join(name))
    }

    fn dir(&self) -> RuntimeDir {
        RuntimeDir::new(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn dev(name: &str) -> DeviceName {
    name.parse().unwrap()
}

/// A daemon that keeps what it is told: peers, and the words of each other request.
#[derive(Default)]
struct Notebook {
    peers: Mutex<Vec<PeerSpec>>,
    lines: Mutex<Vec<String>>,
    entries: u64,
    down: Mutex<Option<oneshot::Sender<()>>>,
}

impl Notebook {
    fn note(&self, line: String) -> Result<(), Refusal> {
        self.lines.lock().unwrap().push(line);
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

fn entry(number: u64) -> FdbEntry {
    FdbEntry {
        mac: MacAddr::from_bits(0x0200_0000_0000 + number),
        dst: "10.0.0.1".parse().unwrap(),
        port: None,
        vni: None,
        used: 1,
        updated: 2,
        state: EntryState::Dynamic,
    }
}

impl Handler for Notebook {
    async fn show(&self) -> Result<TunnelStatus, Refusal> {
        Ok(crate::print::tests::tunnel())
    }

    async fn fdb_page(&self, cursor: u64, limit: usize) -> Result<FdbPage, Refusal> {
        let end = (cursor + limit as u64).min(self.entries);
        let next = (end < self.entries).then_some(end);
        Ok(FdbPage { entries: (cursor..end).map(entry).collect(), next })
    }

    async fn fdb_set(&self, verb: FdbVerb, entry: FdbNew) -> Result<(), Refusal> {
        self.note(format!("{verb:?} {} {} {:?}", entry.mac, entry.dst, entry.state))
    }

    async fn fdb_del(&self, target: FdbTarget) -> Result<(), Refusal> {
        if target.mac.is_zero() {
            // A worker that never answers.
            std::future::pending::<()>().await;
        }
        Err(Refusal::new(format!("no entry for {}", target.mac)).with_hint("`vxgate fdb show` lists them"))
    }

    async fn fdb_flush(&self, filter: FlushFilter) -> Result<u64, Refusal> {
        self.note(format!("{:?} {:?}", filter.states, filter.dst))?;
        Ok(7)
    }

    async fn peer_list(&self) -> Result<Vec<PeerStatus>, Refusal> {
        let peers = self.peers.lock().unwrap();
        Ok(peers
            .iter()
            .map(|peer| PeerStatus {
                ip: peer.outer,
                inner: peer.inner,
                ..crate::print::tests::tunnel().peers[0].clone()
            })
            .collect())
    }

    async fn peer_add(&self, peer: PeerSpec) -> Result<(), Refusal> {
        self.peers.lock().unwrap().push(peer);
        Ok(())
    }

    async fn peer_del(&self, ip: IpAddr) -> Result<(), Refusal> {
        self.peers.lock().unwrap().retain(|peer| peer.outer != ip);
        Ok(())
    }

    async fn reload(&self) -> Result<Reloaded, Refusal> {
        Ok(Reloaded::default())
    }

    fn capture(&self, _: CaptureWanted) -> Result<(Capturing, vxgate_forwarder::Capture), Refusal> {
        Err(Refusal::new("nothing to copy"))
    }

    fn down(&self) {
        if let Some(stop) = self.down.lock().unwrap().take() {
            let _ = stop.send(());
        }
    }
}

/// A daemon in a thread of its own: it serves until it is told to end, by a request or by being dropped.
struct Daemon {
    notebook: Arc<Notebook>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Daemon {
    fn start(dir: &RuntimeDir, name: &str, entries: u64, limits: Limits) -> Daemon {
        let listener = Listener::bind(dir, &dev(name)).unwrap();
        let (stop, stopped) = oneshot::channel();
        let notebook = Arc::new(Notebook { entries, down: Mutex::new(Some(stop)), ..Notebook::default() });
        let handler = Arc::clone(&notebook);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    failed = listener.serve(handler, limits) => panic!("{failed:?}"),
                    _ = stopped => {}
                }
            });
        });
        Daemon { notebook, thread: Some(thread) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.notebook.down();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Bounds that a test can wait for.
fn short() -> Limits {
    let short = Duration::from_millis(200);
    Limits { connections: 4, request: short, handler: short, response: short }
}

/// A socket without our client's manners.
fn raw(dir: &RuntimeDir, name: &str) -> UnixStream {
    let stream = UnixStream::connect(dir.socket(&dev(name))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn response(stream: &UnixStream) -> Option<Response> {
    let mut line = String::new();
    match BufReader::new(stream).read_line(&mut line) {
        Ok(0) => None,
        Ok(_) => Some(serde_json::from_str(&line).unwrap()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn each_request_reaches_the_handler_and_its_answer_the_client() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch.dir(), "vxlan0", 0, Limits::default());
    let mut client = Client::connect_only(&scratch.dir()).unwrap();
    assert_eq!(client.dev(), &dev("vxlan0"));
    assert_eq!(client.show().unwrap(), crate::print::tests::tunnel());
    let peer: IpAddr = "100.64.158.4".parse().unwrap();
    client.peer_add(peer.into()).unwrap();
    assert_eq!(client.peer_list().unwrap()[0].ip, peer);
    client.peer_del(peer).unwrap();
    assert!(client.peer_list().unwrap().is_empty());
    let new = FdbNew { mac: MacAddr::ZERO, dst: peer, port: None, vni: None, state: EntryState::Permanent };
    client.fdb_set(FdbVerb::Append, new).unwrap();
    let filter = FlushFilter { states: Some(vec![EntryState::Dynamic]), ..FlushFilter::default() };
    assert_eq!(client.fdb_flush(filter).unwrap(), 7);
    assert_eq!(
        daemon.notebook.lines(),
        ["Append 00:00:00:00:00:00 100.64.158.4 Permanent", "Some([Dynamic]) None"]
    );
    let target = FdbTarget { mac: "02:00:00:00:00:01".parse().unwrap(), dst: None, port: None, vni: None };
    let refused = client.fdb_del(target).unwrap_err();
    assert_eq!(refused.to_string(), "no entry for 02:00:00:00:00:01");
    assert_eq!(refused.hint().unwrap(), "`vxgate fdb show` lists them");
    client.show().expect("a refusal ends nothing");
}

#[test]
fn a_table_larger_than_a_page_arrives_whole_and_in_order() {
    let scratch = Scratch::new();
    let count = u64::from(MAX_PAGE_ENTRIES) * 2 + 1;
    let _daemon = Daemon::start(&scratch.dir(), "vxlan0", count, Limits::default());
    let mut client = Client::connect_only(&scratch.dir()).unwrap();
    let mut entries = Vec::new();
    let each = |entry| {
        entries.push(entry);
        Ok(())
    };
    client.fdb_show(each).unwrap().unwrap();
    assert_eq!(entries, (0..count).map(entry).collect::<Vec<_>>());
    let full = client.fdb_show(|_| Err(io::ErrorKind::BrokenPipe.into())).unwrap();
    assert_eq!(full.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn down_waits_until_the_tunnel_is_gone() {
    let scratch = Scratch::new();
    let _daemon = Daemon::start(&scratch.dir(), "vxlan0", 0, Limits::default());
    Client::connect_only(&scratch.dir()).unwrap().down().unwrap();
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0, "neither socket nor lock stays");
    let error = Client::connect(&scratch.dir(), &dev("vxlan0")).unwrap_err();
    assert_eq!(error.to_string(), "no tunnel is running for vxlan0");
}

#[test]
fn the_only_tunnel_needs_no_name_and_several_do() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    assert!(matches!(Client::connect_only(&dir), Err(ClientError::NoTunnel)), "no directory");
    let _first = Daemon::start(&dir, "vxlan0", 0, Limits::default());
    Client::connect_only(&dir).unwrap();
    let _second = Daemon::start(&dir, "vx1", 0, Limits::default());
    let error = Client::connect_only(&dir).unwrap_err();
    assert_eq!(error.to_string(), "more than one tunnel is running: vx1, vxlan0");
    assert_eq!(error.hint().unwrap(), "name one, as in: dev vx1");
    assert_eq!(Client::connect_all(&dir).unwrap().len(), 2);
}

#[test]
fn what_a_killed_daemon_leaves_is_not_a_tunnel_and_does_not_block_the_next() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    // A socket that nobody accepts on, a lock that nobody holds, and a nursery with a socket in it.
    fs::create_dir_all(&scratch.0).unwrap();
    drop(UnixListener::bind(dir.socket(&dev("vxlan0"))).unwrap());
    fs::write(dir.lock(&dev("vxlan0")), "999999999\nstale").unwrap();
    fs::create_dir(scratch.0.join("vxlan0.new")).unwrap();
    drop(UnixListener::bind(scratch.0.join("vxlan0.new/sock")).unwrap());

    assert!(matches!(Client::connect_only(&dir), Err(ClientError::NoTunnel)));
    let error = Client::connect(&dir, &dev("vxlan0")).unwrap_err();
    assert_eq!(error.to_string(), "no tunnel is running for vxlan0");
    assert_eq!(error.hint().unwrap(), "start it: vxgate up --dev vxlan0 --peer IP");

    let _daemon = Daemon::start(&dir, "vxlan0", 0, Limits::default());
    Client::connect_only(&dir).unwrap().show().unwrap();
    let names: Vec<_> = fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_running_tunnel_is_not_replaced() {
    let scratch = Scratch::new();
    let _daemon = Daemon::start(&scratch.dir(), "vxlan0", 0, Limits::default());
    let error = Listener::bind(&scratch.dir(), &dev("vxlan0")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("vxgate is already running for vxlan0 (pid {})", std::process::id())
    );
    assert!(error.hint().contains("vxgate down vxlan0"));
    Client::connect_only(&scratch.dir()).unwrap().show().expect("the refused one took nothing away");
    Listener::bind(&scratch.dir(), &dev("vx1")).expect("another device is another tunnel");
}

#[test]
fn a_tunnel_that_is_ending_is_waited_for() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    // The lock of a daemon whose socket is gone already.
    fs::create_dir_all(&scratch.0).unwrap();
    let ending = DeviceLock::acquire(dir.lock(&dev("vxlan0"))).unwrap();
    let next = thread::spawn(move || Listener::bind(&dir, &dev("vxlan0")).map(drop));
    thread::yield_now();
    drop(ending);
    next.join().unwrap().unwrap();
}

#[test]
fn a_killed_holder_is_dead_before_the_next_one_begins() {
    let scratch = Scratch::new();
    fs::create_dir_all(&scratch.0).unwrap();
    let path = scratch.0.join("vxlan0.lock");
    // It left its id, and lives on for as long as its standard input.
    let mut holder = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    fs::write(&path, format!("{}\n", holder.id())).unwrap();
    let next = thread::spawn(move || DeviceLock::acquire(path).map(drop));
    thread::yield_now();
    assert!(!next.is_finished(), "the holder has not ended");
    drop(holder.stdin.take());
    next.join().unwrap().unwrap();
    assert!(holder.try_wait().unwrap().is_some(), "it was waited for");
}

#[test]
fn the_socket_is_the_owners_alone() {
    let scratch = Scratch::new();
    let dir = scratch.dir();
    let listener = Listener::bind(&dir, &dev("vxlan0")).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.socket(&dev("vxlan0"))), 0o600);
    assert_eq!(mode(&scratch.0) & 0o022, 0, "nobody else may put a socket there");
    drop(listener);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
}

#[test]
fn a_directory_that_cannot_be_had_is_named() {
    let scratch = Scratch::new();
    fs::write(&scratch.0, "a file where the directory should be").unwrap();
    let error = Listener::bind(&scratch.dir(), &dev("vxlan0")).unwrap_err();
    assert!(matches!(&error, BindError::Io { path, .. } if *path == scratch.0), "{error}");
    assert!(error.hint().contains("VXGATE_RUNTIME_DIR"));
    fs::remove_file(&scratch.0).unwrap();
    let deep = RuntimeDir::new(scratch.0.join("x".repeat(100)));
    let error = Listener::bind(&deep, &dev("vxlan0")).unwrap_err().to_string();
    assert!(error.contains("vxlan0.sock: ") && error.contains("shorter"), "{error}");
}

#[test]
fn a_lock_has_one_holder_and_goes_with_it() {
    let scratch = Scratch::new();
    fs::create_dir_all(&scratch.0).unwrap();
    let path = scratch.0.join("vxlan0.lock");
    let lock = DeviceLock::acquire(path.clone()).unwrap();
    let pid = std::process::id();
    assert!(
        matches!(DeviceLock::acquire(path.clone()), Err(LockError::Held { pid: Some(held) }) if held == pid)
    );
    let watch = Watch::open(&path).unwrap();
    assert!(!watch.wait_free(Duration::from_millis(50)));
    let watch = Watch::open(&path).unwrap();
    let waiter = thread::spawn(move || watch.wait_free(Duration::from_secs(20)));
    drop(lock);
    assert!(waiter.join().unwrap());
    assert!(!path.exists());
    assert!(Watch::open(&path).unwrap().wait_free(Duration::ZERO), "no file, no holder");
}

#[test]
fn a_link_in_the_locks_place_is_not_followed() {
    let scratch = Scratch::new();
    fs::create_dir_all(&scratch.0).unwrap();
    let (precious, path) = (scratch.0.join("precious"), scratch.0.join("vxlan0.lock"));
    fs::write(&precious, "to keep").unwrap();
    std::os::unix::fs::symlink(&precious, &path).unwrap();
    assert!(matches!(DeviceLock::acquire(path), Err(LockError::Io(_))));
    assert_eq!(fs::read_to_string(&precious).unwrap(), "to keep");
}

#[test]
fn many_who_race_for_a_lock_hold_it_one_at_a_time() {
    let scratch = Scratch::new();
    fs::create_dir_all(&scratch.0).unwrap();
    let path = scratch.0.join("vxlan0.lock");
    let (holders, rounds) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (path, holders, rounds) = (path.clone(), Arc::clone(&holders), Arc::clone(&rounds));
            thread::spawn(move || {
                while rounds.load(Ordering::Relaxed) < 500 {
                    match DeviceLock::acquire(path.clone()) {
                        Ok(lock) => {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            rounds.fetch_add(1, Ordering::Relaxed);
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                        }
                        Err(LockError::Held { .. }) => thread::yield_now(),
                        Err(LockError::Io(error)) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn garbage_is_refused_and_the_connection_goes_on() {
    let scratch = Scratch::new();
    let _daemon = Daemon::start(&scratch.dir(), "vxlan0", 0, Limits::default());
    let stream = raw(&scratch.dir(), "vxlan0");
    for garbage in [
        &b"\n"[..],
        b"GET / HTTP/1.1\r\n",
        b"\xff\xfe\0\n",
        b"{}\n",
        b"null\n",
        b"[[[[[[[[\n",
        b"{\"request\":\"fly\"}\n",
    ] {
        (&stream).write_all(garbage).unwrap();
        match response(&stream) {
            Some(Response::Error(refusal)) => {
                assert!(refusal.why.starts_with("no request: "), "{}", refusal.why)
            }
            other => panic!("{garbage:?}: {other:?}"),
        }
    }
    (&stream).write_all(b"{\"request\":\"show\"}\n").unwrap();
    assert!(matches!(response(&stream), Some(Response::Show { .. })));
}

#[test]
fn an_oversize_request_loses_its_connection_and_nothing_else() {
    let scratch = Scratch::new();
    let _daemon = Daemon::start(&scratch.dir(), "vxlan0", 0, Limits::default());
    let stream = raw(&scratch.dir(), "vxlan0");
    // More than fits may be refused while it is still being sent.
    let _ = (&stream).write_all(&vec![b' '; MAX_REQUEST_OCTETS + 1]);
    match response(&stream) {
        Some(Response::Error(refusal)) => assert_eq!(refusal.why, "a request is at most 65536 octets"),
        other => panic!("{other:?}"),
    }
    assert_eq!(response(&stream), None);

    let stream = raw(&scratch.dir(), "vxlan0");
    let mut longest = b"{\"request\":\"show\"}".to_vec();
    longest.resize(MAX_REQUEST_OCTETS - 1, b' ');
    longest.push(b'\n');
    (&stream).write_all(&longest).unwrap();
    assert!(matches!(response(&stream), Some(Response::Show { .. })), "the longest that is allowed");
}

#[test]
fn who_hangs_is_cut_off_and_others_are_served_meanwhile() {
    let scratch = Scratch::new();
    let _daemon = Daemon::start(&scratch.dir(), "vxlan0", 0, short());
    let silent = raw(&scratch.dir(), "vxlan0");
    let half = raw(&scratch.dir(), "vxlan0");
    (&half).write_all(b"{\"request\":").unwrap();
    Client::connect_only(&scratch.dir()).unwrap().show().unwrap();
    assert_eq!(response(&silent), None);
    assert_eq!(response(&half), None);
}

#[test]
fn who_leaves_in_the_middle_hurts_nobody() {
    let scratch = Scratch::new();
    let _daemon = Daemon::start(&scratch.dir(), "vxlan0", 100_000, Limits::default());
    for request in [
        &b""[..],
        b"{",
        b"{\"request\":\"show\"}",
        b"{\"request\":\"fdb-show\",\"cursor\":0,\"limit\":4096}\n",
    ] {
        for _ in 0..20 {
            raw(&scratch.dir(), "vxlan0").write_all(request).unwrap();
        }
    }
    Client::connect_only(&scratch.dir()).unwrap().show().unwrap();
}

#[test]
fn who_does_not_take_the_answer_is_cut_off() {
    let scratch = Scratch::new();
    let _daemon = Daemon::start(&scratch.dir(), "vxlan0", 1_000_000, short());
    let mut stream = raw(&scratch.dir(), "vxlan0");
    // It asks and asks and reads nothing, until the daemon has had enough.
    while stream.write_all(b"{\"request\":\"fdb-show\",\"cursor\":0,\"limit\":4096}\n").is_ok() {}
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    assert!(answers.len() < 4 << 20, "{}", answers.len());
    Client::connect_only(&scratch.dir()).unwrap().show().unwrap();
}

#[test]
fn a_handler_that_hangs_is_answered_for() {
    let scratch = Scratch::new();
    let _daemon = Daemon::start(&scratch.dir(), "vxlan0", 0, short());
    let mut client = Client::connect_only(&scratch.dir()).unwrap();
    let target = FdbTarget { mac: MacAddr::ZERO, dst: None, port: None, vni: None };
    assert_eq!(client.fdb_del(target).unwrap_err().to_string(), "the tunnel is too busy to answer");
    client.show().unwrap();
}

#[test]
fn more_connections_than_there_is_room_for_wait_their_turn() {
    let scratch = Scratch::new();
    let _daemon = Daemon::start(&scratch.dir(), "vxlan0", 0, short());
    let idle: Vec<_> = (0..20).map(|_| raw(&scratch.dir(), "vxlan0")).collect();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let dir = scratch.dir();
            thread::spawn(move || Client::connect(&dir, &dev("vxlan0")).and_then(|mut client| client.show()))
        })
        .collect();
    for client in clients {
        client.join().unwrap().unwrap();
    }
    drop(idle);
}

#[test]
fn a_daemon_that_talks_nonsense_is_told_from_one_that_is_gone() {
    let scratch = Scratch::new();
    fs::create_dir_all(&scratch.0).unwrap();
    let listener = UnixListener::bind(scratch.dir().socket(&dev("vxlan0"))).unwrap();
    let answers = [
        &b"nonsense\n"[..],
        b"{\"response\":\"future\"}\n",
        b"{\"response\":\"done\"}\n",
        b"{\"response\"",
        b"",
    ];
    let server = thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            stream.write_all(answer).unwrap();
        }
    });
    for garbled in [true, true, true, false, false] {
        let error = Client::connect(&scratch.dir(), &dev("vxlan0")).unwrap().show().unwrap_err();
        match garbled {
            true => assert!(matches!(error, ClientError::Garbled { .. }), "{error}"),
            false => assert!(matches!(error, ClientError::Closed { .. }), "{error}"),
        }
    }
    server.join().unwrap();
}
