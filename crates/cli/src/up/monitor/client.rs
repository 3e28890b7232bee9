//! Who orders: a tunnel's authority over its device, whoever exercises it.

use std::env;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout};
use vxgate_netlink::Error;
use vxgate_sys::inheritance::close_on_exec_above_stderr;

use super::VERB;
use super::executor::Executor;
use super::order::{Answer, Grant, MAX_LINE_OCTETS, Order, Request};
use crate::config::values::LogFormat;
use crate::up::error::UpError;
use crate::up::reload::Reread;

/// How long a monitor may take for an order: some milliseconds, or a second where a table of nftables is still another's.
const ANSWER: Duration = Duration::from_secs(5);

/// How long it may take to undo what it did.
const ENDING: Duration = Duration::from_secs(5);

/// From when a process that ends has hung up to when it is gone.
const HANG_UP: Duration = Duration::from_millis(200);

const NO_ANSWER: &str = "it does not answer";

/// Who does what needs privilege.
#[derive(Clone)]
pub(crate) struct Monitor(Arc<Inner>);

enum Inner {
    /// This process.
    Own(Mutex<Executor>),
    /// One of its own.
    Process(Box<Process>),
}

/// A monitor's process, and the way to it; none once it did not answer as asked.
struct Process {
    line: Mutex<Option<BufReader<UnixStream>>>,
    /// Told when it did not answer.
    lost: Notify,
    child: Mutex<Child>,
}

impl Monitor {
    /// This process itself does it. Needs a runtime.
    pub(in crate::up) fn own(reread: Option<Reread>) -> Result<Monitor, UpError> {
        Ok(Monitor(Arc::new(Inner::Own(Mutex::new(Executor::new(reread)?)))))
    }

    /// A process of its own, which has what this one has at this time. Needs a runtime.
    pub(in crate::up) fn spawn(log_format: LogFormat, runs_programs: bool) -> io::Result<Monitor> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // It holds nothing that this process was given, as a TAP device. A kernel without the call leaves it that.
        let _ = close_on_exec_above_stderr();
        let mut command = Command::new("/proc/self/exe");
        command.arg0("vxgate").args([VERB, "--log-format", log_format.name()]);
        command.args(runs_programs.then_some("--runs-programs"));
        command.arg("--").args(env::args_os().skip(1));
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let child = command.spawn()?;
        let line = BufReader::new(stream(ours)?);
        let process = Process { line: Mutex::new(Some(line)), lost: Notify::new(), child: Mutex::new(child) };
        Ok(Monitor(Arc::new(Inner::Process(Box::new(process)))))
    }

    /// The tunnels are up. Nothing more is granted.
    pub(in crate::up) async fn seal(&self, quiet: bool) -> Result<(), UpError> {
        match &*self.0 {
            // Whose standard error is let go of by others.
            Inner::Own(_) => Ok(()),
            Inner::Process(_) => self.tell(Request::Seal { quiet }).await,
        }
    }

    /// The configuration is to be read again.
    pub(in crate::up) async fn reread(&self) -> Result<(), UpError> {
        self.tell(Request::Reread).await
    }

    /// Waits until its process has ended, which it does not by itself, or does not answer.
    pub(in crate::up) async fn ended(&self) -> UpError {
        let Inner::Process(process) = &*self.0 else { return pending().await };
        let mut child = process.child.lock().await;
        let lost = async {
            process.lost.notified().await;
            // One that ends hangs up first.
            sleep(HANG_UP).await;
        };
        let how = tokio::select! {
            status = child.wait() => status.map_or_else(|error| error.to_string(), |how| how.to_string()),
            () = lost => NO_ANSWER.to_owned(),
        };
        UpError::MonitorGone { how }
    }

    /// Has it undo what it did, and waits for its end.
    pub(in crate::up) async fn end(&self) {
        match &*self.0 {
            Inner::Own(executor) => executor.lock().await.end().await,
            Inner::Process(process) => {
                let Process { line, child, .. } = &**process;
                let hung = line.lock().await.take().is_none();
                let mut child = child.lock().await;
                // One that did not answer does not hear that the line is closed, either.
                let patience = if hung { HANG_UP } else { ENDING };
                if timeout(patience, child.wait()).await.is_err() {
                    tracing::warn!("the monitor does not end: killing it");
                    let _ = child.kill().await;
                }
            }
        }
    }

    async fn tell(&self, request: Request) -> Result<(), UpError> {
        match &*self.0 {
            Inner::Own(executor) => executor.lock().await.execute(request).await,
            Inner::Process(process) => {
                let mut line = process.line.lock().await;
                let Some(stream) = line.as_mut() else {
                    return Err(gone(io::ErrorKind::NotConnected.into()));
                };
                let answer = timeout(ANSWER, exchange(stream, &request)).await;
                let answer = answer.unwrap_or_else(|_| Err(io::Error::other(NO_ANSWER)));
                if answer.is_err() {
                    // Who does not answer as asked is asked nothing more: the next answer would be this one's.
                    *line = None;
                    process.lost.notify_one();
                }
                answer.map_err(gone)?.outcome()
            }
        }
    }
}

fn gone(error: io::Error) -> UpError {
    UpError::MonitorGone { how: error.to_string() }
}

fn stream(fd: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

async fn exchange(stream: &mut BufReader<UnixStream>, request: &Request) -> io::Result<Answer> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.get_mut().write_all(&line).await?;
    line.clear();
    stream.take(MAX_LINE_OCTETS).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}

/// What one tunnel may have done.
#[derive(Clone)]
pub(crate) struct Authority {
    monitor: Monitor,
    dev: String,
}

impl Authority {
    /// That of the tunnel of this device, which is granted this.
    pub(in crate::up) async fn granted(
        monitor: &Monitor,
        dev: &str,
        grant: Grant,
    ) -> Result<Authority, UpError> {
        let authority = Authority { monitor: monitor.clone(), dev: dev.to_owned() };
        monitor.tell(Request::Grant { dev: dev.to_owned(), grant: Box::new(grant) }).await?;
        Ok(authority)
    }

    /// Has one thing done.
    pub(in crate::up) async fn order(&self, order: Order) -> Result<(), UpError> {
        self.monitor.tell(Request::Order { dev: self.dev.clone(), order }).await
    }

    pub(in crate::up) async fn set_mtu(&self, octets: u32) -> Result<(), Error> {
        self.change(Order::SetMtu { octets }).await
    }

    pub(in crate::up) async fn add_address(&self, address: IpNet) -> Result<(), Error> {
        self.change(Order::AddAddress(address)).await
    }

    pub(in crate::up) async fn delete_address(&self, address: IpNet) -> Result<(), Error> {
        self.change(Order::DeleteAddress(address)).await
    }

    pub(in crate::up) async fn add_route(&self, route: IpNet) -> Result<(), Error> {
        self.change(Order::AddRoute(route)).await
    }

    pub(in crate::up) async fn delete_route(&self, route: IpNet) -> Result<(), Error> {
        self.change(Order::DeleteRoute(route)).await
    }

    /// Orders what only the kernel refuses; whatever else is in the way reads as a refusal of it.
    async fn change(&self, order: Order) -> Result<(), Error> {
        let Err(error) = self.order(order).await else { return Ok(()) };
        if let UpError::Netlink(error) = error {
            return Err(error);
        }
        Err(Error::Refused {
            operation: "change".into(),
            object: self.dev.clone(),
            errno: rustix::io::Errno::IO.raw_os_error(),
            reason: Some(error.to_string()),
        })
    }
}
