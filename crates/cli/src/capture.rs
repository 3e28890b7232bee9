//! `vxgate capture`: frames, datagrams or what was dropped, as pcapng.
//!
//! ```text
//!   data path ──► ring ──► daemon: `serve` ──control socket──► `run`: pcapng ──► a file, or a pipe to wireshark
//! ```
//!
//! The daemon sends copies ([`stream`]); everything that a reader of pcapng wants is made here. Whoever reads slowly fills the socket, then
//! the ring, and loses copies: frames are never waited for, and the loss is told at the end, and in the file's statistics.

pub(crate) mod stream;

mod pcapng;
mod synthesis;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use vxgate_forwarder::{Capture, CapturedAt};

use self::pcapng::{ETHERNET, Packet, RAW_IP, Writer};
use self::stream::Message;
use crate::args::capture::CaptureArgs;
use crate::control::client::Client;
use crate::control::protocol::{CaptureWanted, Capturing};
use crate::failure::Failure;

/// How often the ring is looked at while somebody listens: a person sees no delay, and frames at full rate find room that long.
const LOOK: Duration = Duration::from_millis(5);

/// How often a listener hears how many it has lost, though nothing else is there to tell.
const BEAT: Duration = Duration::from_secs(1);

/// How long the daemon is waited for at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Octets that are written to the socket at once.
const CHUNK: usize = 256 * 1024;

/// Sends copies to a listener until it has enough, which it says by closing its half of the connection; last comes how many it has lost.
pub(crate) async fn serve(mut stream: UnixStream, capture: Capture) {
    let mut buffer = Vec::with_capacity(CHUNK);
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beat = Instant::now();
    while !has_enough(&stream) {
        while buffer.len() < CHUNK
            && let Some(captured) = capture.poll()
        {
            stream::write(&captured, capture.lost(), &mut buffer);
            capture.recycle(captured);
        }
        if buffer.is_empty() && beat.elapsed() >= BEAT {
            stream::write_beat(capture.now(), capture.lost(), &mut buffer);
        }
        if buffer.is_empty() {
            tokio::select! {
                _ = looks.tick() => {}
                _ = stream.readable() => {}
            }
            continue;
        }
        // As long as it takes: meanwhile the ring fills, and what finds no room is lost.
        if stream.write_all(&buffer).await.is_err() {
            return;
        }
        buffer.clear();
        beat = Instant::now();
    }
    stream::write_beat(capture.now(), capture.lost(), &mut buffer);
    // Whoever has gone altogether hears no more.
    let _ = timeout(BEAT, stream.write_all(&buffer)).await;
}

/// Whether a listener has closed its half of the connection, or says something, which it has no reason to.
fn has_enough(stream: &UnixStream) -> bool {
    match stream.try_read(&mut [0; 64]) {
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        Ok(_) => true,
    }
}

/// Where the packets go.
enum Target {
    Stdout,
    File(PathBuf),
}

impl Target {
    fn of(args: &CaptureArgs) -> Result<Target, Failure> {
        match &args.write {
            Some(path) if path != Path::new("-") => Ok(Target::File(path.clone())),
            Some(_) | None if !io::stdout().is_terminal() => Ok(Target::Stdout),
            Some(_) | None => Err(Failure::failed("capture", "pcapng on a terminal is of no use").with_hint(
                "-w FILE writes a file; `vxgate capture -w - | wireshark -k -i -` shows it live".to_owned(),
            )),
        }
    }

    fn open(&self, force: bool) -> io::Result<Box<dyn Write>> {
        match self {
            Target::Stdout => Ok(Box::new(io::stdout())),
            Target::File(path) => {
                let mut options = OpenOptions::new();
                options.write(true).mode(0o600);
                // What is in a capture is for nobody else, and no link leads it elsewhere.
                options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
                if force {
                    options.create(true).truncate(true)
                } else {
                    options.create_new(true)
                };
                let file: File = options.open(path)?;
                Ok(Box::new(file))
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Target::Stdout => "standard output".to_owned(),
            Target::File(path) => path.display().to_string(),
        }
    }
}

/// Captures until it has enough, a signal, or the tunnel's end.
pub(crate) fn run(args: &CaptureArgs, client: Client) -> Result<(), Failure> {
    let target = Target::of(args)?;
    let start = |error: io::Error| Failure::failed("capture", error);
    let wanted = args.wanted();
    let dev = client.dev().clone();
    let (info, stream, rest) = client.capture(&wanted).map_err(|error| Failure::client("capture", &error))?;
    let out = target.open(args.force).map_err(|error| {
        let failure = Failure::failed(format!("capture -w {}", target.name()), &error);
        let exists = error.kind() == io::ErrorKind::AlreadyExists;
        failure.with_hint(exists.then(|| "--force writes over it".to_owned()))
    })?;
    let mut sink = Sink::begin(out, &wanted, &info, dev.as_str()).map_err(start)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(start)?;
    let ended = runtime.block_on(receive(args, stream, rest, &mut sink));
    let ended = ended.and_then(|why| sink.end().map(|()| why).map_err(End::Output));
    let told = sink.told();
    match ended {
        Ok(Why::Enough | Why::Signal) => {
            let _ = writeln!(io::stderr(), "{told}");
            Ok(())
        }
        Ok(Why::Tunnel) => {
            let _ = writeln!(io::stderr(), "{told}; the tunnel has ended");
            Ok(())
        }
        // Whoever reads has seen enough.
        Err(End::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(End::Output(error)) => Err(Failure::failed(format!("capture -w {}", target.name()), error)
            .with_hint(format!("{told}; what is written can be read, and the tunnel is not concerned"))),
        Err(End::Input(error)) => Err(start(error).with_hint(told)),
    }
}

/// Why a capture ends well.
enum Why {
    Enough,
    Signal,
    Tunnel,
}

/// Why it ends badly.
enum End {
    Input(io::Error),
    Output(io::Error),
}

async fn receive(
    args: &CaptureArgs,
    stream: std::os::unix::net::UnixStream,
    mut buffer: Vec<u8>,
    sink: &mut Sink,
) -> Result<Why, End> {
    stream.set_nonblocking(true).map_err(End::Input)?;
    let mut stream = UnixStream::from_std(stream).map_err(End::Input)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(End::Input)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(End::Input)?;
    // Far enough for any capture that has no end.
    let end = Instant::now() + args.duration.unwrap_or(Duration::from_secs(100 * 365 * 86_400));
    let why = loop {
        while let Some(message) = message(&mut buffer)? {
            sink.take(&message).map_err(End::Output)?;
            if args.count.is_some_and(|count| sink.written >= count) {
                break;
            }
        }
        sink.flush().map_err(End::Output)?;
        if args.count.is_some_and(|count| sink.written >= count) {
            break Why::Enough;
        }
        tokio::select! {
            read = stream.read_buf(&mut buffer) => match read {
                Ok(0) => return Ok(Why::Tunnel),
                Ok(_) => {}
                Err(error) => return Err(End::Input(error)),
            },
            _ = interrupt.recv() => break Why::Signal,
            _ = terminate.recv() => break Why::Signal,
            () = sleep_until(end) => break Why::Enough,
        }
    };
    // What is still on its way is too late to be written, but says how many were lost.
    let last_words = async {
        stream.shutdown().await?;
        loop {
            while let Ok(Some(late)) = message(&mut buffer) {
                sink.lost = late.lost;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return io::Result::Ok(());
            }
        }
    };
    // A daemon that does not answer has said what it has to say.
    let _ = timeout(LAST_WORDS, last_words).await;
    Ok(why)
}

/// The next message, if it is whole.
fn message(buffer: &mut Vec<u8>) -> Result<Option<Message>, End> {
    stream::take(buffer).map_err(|why| End::Input(io::Error::other(why)))
}

/// The file, and what has been written to it.
struct Sink {
    writer: Writer<BufWriter<Box<dyn Write>>>,
    /// The numbers of the interfaces that there are, and how many packets each has.
    interfaces: Vec<(Kind, u64)>,
    local: std::net::SocketAddr,
    /// When the forwarder began, since 1970.
    epoch: Duration,
    first: Option<Duration>,
    last: Duration,
    written: u64,
    lost: u64,
    packet: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Inner,
    Outer,
    DroppedOut,
    DroppedIn,
}

impl Sink {
    fn begin(out: Box<dyn Write>, wanted: &CaptureWanted, info: &Capturing, dev: &str) -> io::Result<Sink> {
        let mut writer = Writer::begin(BufWriter::new(out))?;
        let mut interfaces = Vec::new();
        let snaplen = wanted.snaplen;
        let mut describe = |kind, link_type, name: &str, what: &str| {
            interfaces.push((kind, 0));
            writer.interface(link_type, snaplen, name, what)
        };
        let underlay = format!("udp:{}", info.port);
        if wanted.inner {
            describe(Kind::Inner, ETHERNET, dev, "frames as the host sends and gets them")?;
        }
        if wanted.outer {
            let what = "datagrams as peers send and get them; IP and UDP headers are made up from what the socket tells";
            describe(Kind::Outer, RAW_IP, &underlay, what)?;
        }
        if wanted.drops {
            describe(
                Kind::DroppedOut,
                ETHERNET,
                &format!("{dev}-drops"),
                "frames of the host that went no further",
            )?;
            let what = "datagrams of peers that went no further; headers are made up";
            describe(Kind::DroppedIn, RAW_IP, &format!("{underlay}-drops"), what)?;
        }
        writer.flush()?;
        Ok(Sink {
            writer,
            interfaces,
            local: std::net::SocketAddr::new(info.local, info.port),
            epoch: Duration::from_nanos(info.epoch_ns),
            first: None,
            last: Duration::ZERO,
            written: 0,
            lost: 0,
            packet: Vec::new(),
        })
    }

    fn take(&mut self, message: &Message) -> io::Result<()> {
        self.lost = message.lost;
        let Some(place) = message.place else { return Ok(()) };
        let (is_out, octets) = (message.is_out, message.octets.as_slice());
        self.packet.clear();
        let mut original_octets = message.original_octets;
        let mut comment = None;
        let kind = match place {
            CapturedAt::Inner => {
                self.packet.extend_from_slice(octets);
                Kind::Inner
            }
            CapturedAt::Outer { peer, tos } => {
                original_octets +=
                    synthesis::datagram(self.local, peer, tos, is_out, original_octets, &mut self.packet);
                self.packet.extend_from_slice(octets);
                Kind::Outer
            }
            CapturedAt::Dropped(reason, peer) => {
                comment = Some(format!("dropped: {}: {}", reason.name(), reason.explain()));
                if is_out {
                    self.packet.extend_from_slice(octets);
                    Kind::DroppedOut
                } else {
                    let peer = peer.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
                    let peer = std::net::SocketAddr::new(peer, 0);
                    original_octets +=
                        synthesis::datagram(self.local, peer, 0, false, original_octets, &mut self.packet);
                    self.packet.extend_from_slice(octets);
                    Kind::DroppedIn
                }
            }
        };
        let Some(interface) = self.interfaces.iter().position(|(own, _)| *own == kind) else { return Ok(()) };
        let at = self.epoch + message.at;
        self.first.get_or_insert(at);
        self.last = at;
        self.interfaces[interface].1 += 1;
        let interface = u32::try_from(interface).unwrap_or_default();
        let comment = comment.as_deref();
        self.writer.packet(&Packet {
            interface,
            at,
            is_out,
            original_octets,
            octets: &self.packet,
            comment,
        })?;
        self.written += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// Writes what there is to say at the end. How many were lost is known of all interfaces together, and stands at the first.
    fn end(&mut self) -> io::Result<()> {
        let span = (self.first.unwrap_or(self.last), self.last);
        for (number, (_, packets)) in self.interfaces.clone().into_iter().enumerate() {
            let lost = if number == 0 { self.lost } else { 0 };
            let number = u32::try_from(number).unwrap_or_default();
            self.writer.statistics(number, span, packets + lost, lost)?;
        }
        self.writer.flush()
    }

    fn told(&self) -> String {
        let lost = match self.lost {
            0 => "none lost".to_owned(),
            lost => format!("{lost} lost, since they came faster than they were read"),
        };
        format!("{} captured, {lost}", self.written)
    }
}

#[cfg(test)]
mod tests;
