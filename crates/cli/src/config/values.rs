//! The values of the options: each reads its own text, and its error says what is allowed there.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;
use vxgate_codec::flow;
use vxgate_core::HealthConfig;

use crate::sandbox::Sandbox;

/// A text that an option does not take. Shows what the option takes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{allowed}")]
pub(crate) struct NotAllowed {
    /// What is allowed, as a sentence without its full stop.
    pub(crate) allowed: &'static str,
}

impl NotAllowed {
    /// With what is allowed instead.
    pub(crate) const fn new(allowed: &'static str) -> NotAllowed {
        NotAllowed { allowed }
    }
}

const fn not_allowed(allowed: &'static str) -> NotAllowed {
    NotAllowed { allowed }
}

/// The name of a network device: 1 to 15 octets (`IFNAMSIZ` less its NUL, linux/if.h).
///
/// What the kernel refuses is refused here (`dev_valid_name`: `/`, `:`, white space, `.`, `..`), and so is `%`, which
/// the kernel would take for a pattern and give the device another name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeviceName(String);

impl DeviceName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for DeviceName {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<DeviceName, NotAllowed> {
        let forbidden = |c: char| matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control();
        if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(forbidden) {
            return Err(not_allowed(
                "a device's name is 1 to 15 octets without '/', ':', '%' and white space, as in vxlan0",
            ));
        }
        Ok(DeviceName(text.to_owned()))
    }
}

/// A peer: where it is, and which of the segment's addresses it has, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerSpec {
    /// Its outer address, or a multicast group.
    pub(crate) outer: IpAddr,
    /// Its inner address: what a health probe asks for.
    pub(crate) inner: Option<IpAddr>,
}

impl From<IpAddr> for PeerSpec {
    fn from(outer: IpAddr) -> PeerSpec {
        PeerSpec { outer, inner: None }
    }
}

impl fmt::Display for PeerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inner {
            Some(inner) => write!(f, "{}={inner}", self.outer),
            None => write!(f, "{}", self.outer),
        }
    }
}

impl FromStr for PeerSpec {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<PeerSpec, NotAllowed> {
        let Some((outer, inner)) = text.split_once('=') else { return ip(text).map(PeerSpec::from) };
        let wrong = not_allowed(
            "an IPv4 or IPv6 address, and behind = the peer's inner address, as in 100.64.158.4=10.192.158.4",
        );
        Ok(PeerSpec { outer: ip(outer).map_err(|_| wrong)?, inner: Some(ip(inner).map_err(|_| wrong)?) })
    }
}

/// Which UDP source port a datagram leaves from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourcePort {
    /// The same one for every frame, as the Gate's script has it.
    Fixed(u16),
    /// By a hash of the inner flow within this range, so that the underlay spreads flows (RFC 7348 section 5).
    Hash(RangeInclusive<u16>),
}

impl fmt::Display for SourcePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourcePort::Fixed(port) => write!(f, "{port}"),
            SourcePort::Hash(ports) => write!(f, "hash:{}-{}", ports.start(), ports.end()),
        }
    }
}

impl FromStr for SourcePort {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<SourcePort, NotAllowed> {
        if text == "hash" {
            return Ok(SourcePort::Hash(flow::SOURCE_PORTS));
        }
        let wrong = not_allowed("a port from 1 to 65535, or hash, or hash:LOW-HIGH with LOW not above HIGH");
        let Some(range) = text.strip_prefix("hash:") else {
            return port(text).map(SourcePort::Fixed).map_err(|_| wrong);
        };
        let (low, high) = range.split_once('-').ok_or(wrong)?;
        let (low, high) = (port(low).map_err(|_| wrong)?, port(high).map_err(|_| wrong)?);
        if low > high { Err(wrong) } else { Ok(SourcePort::Hash(low..=high)) }
    }
}

/// The MTU of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mtu {
    /// What the underlay's MTU leaves.
    Auto,
    /// This many octets, within [`MTU_OCTETS`].
    Octets(u16),
}

/// The MTUs that a device may have, in octets: from `ETH_MIN_MTU` (linux/if_ether.h) to what one IPv4 datagram of
/// 65535 octets carries behind 50 octets of headers, which is also the limit of the kernel's vxlan device.
pub(crate) const MTU_OCTETS: RangeInclusive<u16> = 68..=65485;

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mtu::Auto => f.write_str("auto"),
            Mtu::Octets(octets) => write!(f, "{octets}"),
        }
    }
}

impl FromStr for Mtu {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Mtu, NotAllowed> {
        match text {
            "auto" => Ok(Mtu::Auto),
            _ => decimal(text)
                .filter(|octets| MTU_OCTETS.contains(octets))
                .map(Mtu::Octets)
                .ok_or(not_allowed("an MTU is auto or a number of octets from 68 to 65485")),
        }
    }
}

/// What becomes of the maximum segment size that TCP connections agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MssClamp {
    /// It is lowered to what the device and the path carry.
    Auto,
    /// It stays as it is.
    Off,
    /// It is lowered to this many octets, within [`MSS_OCTETS`].
    Octets(u16),
}

/// The maximum segment sizes that one may ask for, in octets: from `TCP_MIN_MSS` (include/net/tcp.h) to what an IPv4 packet of
/// 65535 octets holds.
const MSS_OCTETS: RangeInclusive<u16> = 88..=65495;

impl fmt::Display for MssClamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MssClamp::Auto => f.write_str("auto"),
            MssClamp::Off => f.write_str("off"),
            MssClamp::Octets(octets) => write!(f, "{octets}"),
        }
    }
}

impl FromStr for MssClamp {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<MssClamp, NotAllowed> {
        match text {
            "auto" => Ok(MssClamp::Auto),
            "off" => Ok(MssClamp::Off),
            _ => decimal(text)
                .filter(|octets| MSS_OCTETS.contains(octets))
                .map(MssClamp::Octets)
                .ok_or(not_allowed("auto, off or a number of octets from 88 to 65495")),
        }
    }
}

/// Whose packets are forwarded into the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    /// Nobody's.
    Off,
    /// Whoever's that arrive by the underlay.
    On,
    /// Those of this network.
    Network(IpNet),
}

impl Forward {
    /// The network, where it is one.
    pub(crate) fn network(&self) -> Option<IpNet> {
        match self {
            Forward::Network(network) => Some(*network),
            Forward::On | Forward::Off => None,
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Forward::Off => f.write_str("off"),
            Forward::On => f.write_str("on"),
            Forward::Network(network) => write!(f, "{network}"),
        }
    }
}

impl FromStr for Forward {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Forward, NotAllowed> {
        match text {
            "off" => Ok(Forward::Off),
            "on" => Ok(Forward::On),
            _ => network(text)
                .map(Forward::Network)
                .map_err(|_| not_allowed("a network or an address, as in 172.21.0.0/16, or on, or off")),
        }
    }
}

/// `answers` or `all`: whether it is all.
pub(crate) fn forward_back(text: &str) -> Result<bool, NotAllowed> {
    match text {
        "answers" => Ok(false),
        "all" => Ok(true),
        _ => Err(not_allowed("answers or all")),
    }
}

/// What a worker does while nothing is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BusyPoll {
    /// Polls for as long as recent traffic makes it worth while.
    Auto,
    /// Polls for this many microseconds after the last traffic; 0 sleeps at once.
    Micros(u32),
}

/// The longest time of `--busy-poll`, in microseconds: a thread that polls for a second hardly ever sleeps.
const BUSY_POLL_MAX_US: u32 = 1_000_000;

impl fmt::Display for BusyPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BusyPoll::Auto => f.write_str("auto"),
            BusyPoll::Micros(micros) => write!(f, "{micros}"),
        }
    }
}

impl FromStr for BusyPoll {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<BusyPoll, NotAllowed> {
        match text {
            "auto" => Ok(BusyPoll::Auto),
            _ => decimal(text)
                .filter(|micros| *micros <= BUSY_POLL_MAX_US)
                .map(BusyPoll::Micros)
                .ok_or(not_allowed("auto or a number of microseconds from 0 to 1000000")),
        }
    }
}

/// How many threads a worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// One, and a second one while both directions are busy.
    Auto,
    /// One for both directions.
    One,
    /// One for each direction.
    Two,
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Threads::Auto => "auto",
            Threads::One => "1",
            Threads::Two => "2",
        })
    }
}

impl FromStr for Threads {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Threads, NotAllowed> {
        match text {
            "auto" => Ok(Threads::Auto),
            "1" => Ok(Threads::One),
            "2" => Ok(Threads::Two),
            _ => Err(not_allowed("auto, 1 or 2")),
        }
    }
}

/// Which device, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TapLife {
    /// Made, and gone with the tunnel.
    New,
    /// Made or taken over, and left to the next start.
    Keep,
    /// Somebody else's: attached to, and left.
    Existing,
}

impl FromStr for TapLife {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<TapLife, NotAllowed> {
        match text {
            "new" => Ok(TapLife::New),
            "keep" => Ok(TapLife::Keep),
            "existing" => Ok(TapLife::Existing),
            _ => Err(not_allowed("new, keep or existing")),
        }
    }
}

/// The number of a descriptor beyond standard input, output and error.
pub(crate) fn tap_fd(text: &str) -> Result<i32, NotAllowed> {
    let number = text.parse().ok().filter(|number| *number >= 3);
    number.ok_or(not_allowed("the number of an open descriptor, 3 or above"))
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people, or for the journal.
    #[default]
    Text,
    /// One JSON object on each line.
    Json,
}

impl LogFormat {
    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<LogFormat, NotAllowed> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(not_allowed("text or json")),
        }
    }
}

/// Processors to pin threads to, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CpuList(Vec<u16>);

/// The highest processor that a list may name: the kernel's own limit on most distributions is far below it (`NR_CPUS`).
const CPU_MAX: u16 = 1023;

impl CpuList {
    pub(crate) fn processors(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().map(|processor| usize::from(*processor))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, run) in self.0.chunk_by(|one, next| one + 1 == *next).enumerate() {
            let separator = if index > 0 { "," } else { "" };
            match run {
                [first, .., last] => write!(f, "{separator}{first}-{last}")?,
                [..] => run.iter().try_for_each(|only| write!(f, "{separator}{only}"))?,
            }
        }
        Ok(())
    }
}

impl FromStr for CpuList {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<CpuList, NotAllowed> {
        let wrong = not_allowed("a list of processors from 0 to 1023, as in 0,1 or 0-3");
        let number = |text| decimal::<u16>(text).filter(|processor| *processor <= CPU_MAX).ok_or(wrong);
        let mut processors = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last || processors.len() > usize::from(CPU_MAX) {
                return Err(wrong);
            }
            processors.extend(first..=last);
        }
        Ok(CpuList(processors))
    }
}

/// The TTL or hop limit of outer datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ttl {
    /// The host's default, and 1 to a multicast group, as the kernel's device has it.
    Auto,
    /// The inner packet's.
    Inherit,
    /// This many hops, from 1.
    Hops(u8),
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ttl::Auto => f.write_str("auto"),
            Ttl::Inherit => f.write_str("inherit"),
            Ttl::Hops(hops) => write!(f, "{hops}"),
        }
    }
}

impl FromStr for Ttl {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Ttl, NotAllowed> {
        match text {
            "auto" => Ok(Ttl::Auto),
            "inherit" => Ok(Ttl::Inherit),
            _ => decimal(text)
                .filter(|hops| *hops != 0)
                .map(Ttl::Hops)
                .ok_or(not_allowed("a TTL is auto, inherit or a number of hops from 1 to 255")),
        }
    }
}

/// The type of service or traffic class of outer datagrams; its two ECN bits are always the data path's (RFC 6040).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tos {
    /// The inner packet's.
    Inherit,
    /// This octet, a multiple of 4.
    Octet(u8),
}

impl fmt::Display for Tos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tos::Inherit => f.write_str("inherit"),
            Tos::Octet(octet) => write!(f, "{octet}"),
        }
    }
}

impl FromStr for Tos {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Tos, NotAllowed> {
        let octet = match text.strip_prefix("0x") {
            _ if text == "inherit" => return Ok(Tos::Inherit),
            Some(digits) if digits.len() <= 2 && !digits.starts_with('+') => {
                u8::from_str_radix(digits, 16).ok()
            }
            Some(_) => None,
            None => decimal(text),
        };
        octet.filter(|octet| octet & 0b11 == 0).map(Tos::Octet).ok_or(not_allowed(
            "a TOS is inherit or a multiple of 4 from 0 to 252, as in 184 or 0xb8 (its two lowest bits are ECN, \
             which each frame sets)",
        ))
    }
}

/// The don't-fragment bit of outer IPv4 datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Df {
    /// Always 1.
    Set,
    /// Always 0.
    Unset,
    /// The inner packet's.
    Inherit,
}

impl fmt::Display for Df {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Df::Set => "set",
            Df::Unset => "unset",
            Df::Inherit => "inherit",
        })
    }
}

impl FromStr for Df {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Df, NotAllowed> {
        match text {
            "set" => Ok(Df::Set),
            "unset" => Ok(Df::Unset),
            "inherit" => Ok(Df::Inherit),
            _ => Err(not_allowed("set, unset or inherit")),
        }
    }
}

/// A whole number in decimal digits only: no sign, which `str::parse` would take.
pub(crate) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A UDP port, from 1.
pub(crate) fn port(text: &str) -> Result<u16, NotAllowed> {
    decimal(text).filter(|port| *port != 0).ok_or(not_allowed("a port is a number from 1 to 65535"))
}

/// `on` or `off`.
pub(crate) fn on_off(text: &str) -> Result<bool, NotAllowed> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(not_allowed("on or off")),
    }
}

/// `auto` or `off`.
pub(crate) fn auto_off(text: &str) -> Result<bool, NotAllowed> {
    match text {
        "auto" => Ok(true),
        "off" => Ok(false),
        _ => Err(not_allowed("auto or off")),
    }
}

/// Seconds until an entry of the forwarding database that nobody confirms goes: 0 means never, and the upper end is
/// that of IEEE 802.1Q table 8-6.
pub(crate) fn ageing(text: &str) -> Result<Duration, NotAllowed> {
    decimal(text)
        .filter(|seconds| *seconds <= 1_000_000)
        .map(Duration::from_secs)
        .ok_or(not_allowed("a number of seconds from 1 to 1000000, or 0 for never"))
}

/// A span in whole milliseconds within these bounds.
fn millis(text: &str, bounds: RangeInclusive<Duration>) -> Option<Duration> {
    decimal(text).map(Duration::from_millis).filter(|span| bounds.contains(span))
}

/// How long after an answered probe the next one is sent.
pub(crate) fn probe_interval(text: &str) -> Result<Duration, NotAllowed> {
    millis(text, HealthConfig::MIN_INTERVAL..=HealthConfig::MAX_INTERVAL)
        .ok_or(not_allowed("a number of milliseconds from 10 to 60000"))
}

/// How long an answer is waited for at least.
pub(crate) fn probe_retry(text: &str) -> Result<Duration, NotAllowed> {
    millis(text, HealthConfig::MIN_RETRY..=HealthConfig::MAX_INTERVAL)
        .ok_or(not_allowed("a number of milliseconds from 5 to 60000"))
}

/// How many probes in a row go unanswered before a peer is down.
pub(crate) fn probe_misses(text: &str) -> Result<u32, NotAllowed> {
    decimal(text)
        .filter(|misses| (HealthConfig::MIN_MISSES..=HealthConfig::MAX_MISSES).contains(misses))
        .ok_or(not_allowed("a number of probes from 2 to 100"))
}

/// For how long a peer that is back is watched first.
pub(crate) fn hold_down(text: &str) -> Result<Duration, NotAllowed> {
    millis(text, Duration::ZERO..=HealthConfig::MAX_HOLD_DOWN)
        .ok_or(not_allowed("a number of milliseconds from 0 to 60000"))
}

/// How much is flooded to each peer, and taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StormLimit {
    /// [`StormLimit::AUTO`] where the forwarding database learns.
    Auto,
    /// As much as comes.
    Off,
    /// Frames a second.
    Rate(NonZeroU32),
}

impl StormLimit {
    /// Frames a second: what 16,384 stations ask by ARP when all of them have forgotten each other within a second, and a thirtieth of what
    /// a worker carries (docs/performance.md).
    const AUTO: NonZeroU32 = NonZeroU32::new(20_000).expect("not zero");

    /// Frames a second; none where there is no limit.
    pub(crate) fn rate(self, learning: bool) -> Option<NonZeroU32> {
        match self {
            StormLimit::Auto => learning.then_some(StormLimit::AUTO),
            StormLimit::Off => None,
            StormLimit::Rate(rate) => Some(rate),
        }
    }
}

impl FromStr for StormLimit {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<StormLimit, NotAllowed> {
        let rate =
            || decimal(text).filter(|rate: &NonZeroU32| rate.get() <= 10_000_000).map(StormLimit::Rate);
        match text {
            "auto" => Ok(StormLimit::Auto),
            "off" => Ok(StormLimit::Off),
            _ => rate().ok_or(not_allowed("auto, off or a number of frames a second from 1 to 10000000")),
        }
    }
}

/// How much of the forwarding database one peer may fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerShare {
    /// What leaves room for the others.
    Auto,
    /// So many MAC addresses.
    Macs(u32),
}

impl PeerShare {
    /// So many MAC addresses of `max_macs`, where there are so many peers; none where one may have all.
    pub(crate) fn of(self, max_macs: usize, peers: usize) -> Option<usize> {
        match self {
            PeerShare::Auto if peers < 2 => None,
            PeerShare::Auto => {
                let left = (max_macs / 16).saturating_mul(peers - 1).min(max_macs / 2);
                Some((max_macs - left).max(1))
            }
            PeerShare::Macs(macs) => Some(usize::try_from(macs).unwrap_or(usize::MAX)),
        }
    }
}

impl FromStr for PeerShare {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<PeerShare, NotAllowed> {
        let macs = || max_macs(text).ok().map(PeerShare::Macs);
        let auto = (text == "auto").then_some(PeerShare::Auto);
        auto.or_else(macs).ok_or(not_allowed("auto or a number of MAC addresses from 1 to 16777216"))
    }
}

/// Whether threads that handle frames are confined.
pub(crate) fn sandbox(text: &str) -> Result<Sandbox, NotAllowed> {
    let all = [Sandbox::On, Sandbox::Off, Sandbox::Log];
    all.into_iter().find(|one| one.name() == text).ok_or(not_allowed("on, off or log"))
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricsAddr {
    /// At this address.
    One(SocketAddr),
    /// At every address of this host, IPv6 and IPv4.
    Every(u16),
    /// Nowhere.
    Off,
}

impl fmt::Display for MetricsAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetricsAddr::One(address) => write!(f, "{address}"),
            MetricsAddr::Every(port) => write!(f, ":{port}"),
            MetricsAddr::Off => f.write_str("off"),
        }
    }
}

/// An address to serve metrics at, or `off`.
pub(crate) fn metrics(text: &str) -> Result<MetricsAddr, NotAllowed> {
    let one = || text.parse().ok().map(MetricsAddr::One);
    let every = || decimal(text.strip_prefix(':')?).map(MetricsAddr::Every);
    let off = (text == "off").then_some(MetricsAddr::Off);
    off.or_else(one).or_else(every).ok_or(not_allowed(
        "an address and a port, as in 127.0.0.1:9789 or [::1]:9789, :PORT for every address, or off",
    ))
}

/// How often a listing is shown again.
pub(crate) fn watch_interval(text: &str) -> Result<Duration, NotAllowed> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or(not_allowed("a number of seconds from 0.1 to 3600"))
}

/// A program to run.
pub(crate) fn program(text: &str) -> Result<PathBuf, NotAllowed> {
    if text.is_empty() || text.contains('\0') {
        return Err(not_allowed("the path of a program, or its name if it is in PATH; it gets no arguments"));
    }
    Ok(text.into())
}

/// The most workers: each is two threads, and a tunnel with more of them than processors is slower.
const MAX_WORKERS: u16 = 16;

/// How many pairs of threads carry frames.
pub(crate) fn workers(text: &str) -> Result<u16, NotAllowed> {
    decimal(text)
        .filter(|count| (1..=MAX_WORKERS).contains(count))
        .ok_or(not_allowed("a number of workers from 1 to 16"))
}

/// The largest table of MAC addresses.
pub(crate) const MAX_MACS: u32 = 1 << 24;

/// How many MAC addresses the forwarding database may hold.
pub(crate) fn max_macs(text: &str) -> Result<u32, NotAllowed> {
    decimal(text)
        .filter(|count| (1..=MAX_MACS).contains(count))
        .ok_or(not_allowed("a number of MAC addresses from 1 to 16777216"))
}

/// An IP address; one that maps IPv4 into IPv6 is read as the IPv4 address that it means.
pub(crate) fn ip(text: &str) -> Result<IpAddr, NotAllowed> {
    text.parse::<IpAddr>()
        .map(|ip| ip.to_canonical())
        .map_err(|_| not_allowed("an IPv4 or IPv6 address, as in 100.64.158.4"))
}

/// A device's address: with its prefix, never without.
pub(crate) fn address(text: &str) -> Result<IpNet, NotAllowed> {
    text.parse().map_err(|_| not_allowed("an address with its prefix, as in 10.225.194.171/9 or fd00::2/64"))
}

/// A network: without a prefix it is one address, as `ip route` reads it.
pub(crate) fn network(text: &str) -> Result<IpNet, NotAllowed> {
    text.parse()
        .or_else(|_| text.parse().map(|ip: IpAddr| IpNet::from(ip)))
        .map_err(|_| not_allowed("a network or an address, as in 10.128.0.0/9 or 192.0.2.1"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused<T>(read: impl Fn(&str) -> Result<T, NotAllowed>, texts: &[&str]) {
        for text in texts {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_device_name_is_what_the_kernel_takes() {
        for text in ["vxlan0", "a", "fifteen-octets-", "x.1", "...", "é"] {
            assert_eq!(text.parse::<DeviceName>().unwrap().as_str(), text);
        }
        refused(
            str::parse::<DeviceName>,
            &["", ".", "..", "sixteen-octets-x", "a/b", "a b", "a\tb", "a:b", "vx%d", "a\0b", "ééééééééé"],
        );
    }

    #[test]
    fn a_peer_is_its_outer_address_and_may_name_its_inner_one() {
        let outer = "100.64.158.4".parse().unwrap();
        for (text, inner) in
            [("100.64.158.4", None), ("100.64.158.4=10.192.158.4", Some("10.192.158.4".parse().unwrap()))]
        {
            assert_eq!(text.parse(), Ok(PeerSpec { outer, inner }));
            assert_eq!(PeerSpec { outer, inner }.to_string(), text);
        }
        let mapped: PeerSpec = "2001:db8::1=::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(mapped.inner, Some("10.0.0.1".parse().unwrap()));
        refused(
            str::parse::<PeerSpec>,
            &["", "=", "10.0.0.1=", "=10.0.0.1", "10.0.0.1=host", "10.0.0.1=1.1.1.1=2.2.2.2"],
        );
    }

    #[test]
    fn a_source_port_is_fixed_or_hashed() {
        for (text, port) in [
            ("4789", SourcePort::Fixed(4789)),
            ("65535", SourcePort::Fixed(65535)),
            ("hash:1-65535", SourcePort::Hash(1..=65535)),
            ("hash:5-5", SourcePort::Hash(5..=5)),
        ] {
            assert_eq!(text.parse(), Ok(port.clone()));
            assert_eq!(port.to_string(), text);
        }
        assert_eq!("hash".parse::<SourcePort>().unwrap().to_string(), "hash:49152-65535");
        refused(
            str::parse::<SourcePort>,
            &[
                "",
                "0",
                "65536",
                "-1",
                "+1",
                "hash:",
                "hash:1",
                "hash:2-1",
                "hash:0-1",
                "hash:1-65536",
                "Hash",
                "hash:1-2-3",
            ],
        );
    }

    #[test]
    fn an_mtu_is_auto_or_octets_within_the_kernels_limits() {
        assert_eq!("auto".parse(), Ok(Mtu::Auto));
        assert_eq!("68".parse(), Ok(Mtu::Octets(68)));
        assert_eq!("65485".parse(), Ok(Mtu::Octets(65485)));
        refused(str::parse::<Mtu>, &["", "67", "65486", "65536", "1500k", "+1500", "-1", "Auto"]);
    }

    #[test]
    fn the_outer_headers_values_have_their_ranges() {
        assert_eq!("auto".parse(), Ok(Ttl::Auto));
        assert_eq!("inherit".parse(), Ok(Ttl::Inherit));
        assert_eq!("255".parse(), Ok(Ttl::Hops(255)));
        refused(str::parse::<Ttl>, &["", "0", "256", "-1", "Inherit"]);
        assert_eq!("inherit".parse(), Ok(Tos::Inherit));
        assert_eq!("0xb8".parse(), Ok(Tos::Octet(184)));
        assert_eq!("184".parse(), Ok(Tos::Octet(184)));
        assert_eq!("0".parse(), Ok(Tos::Octet(0)));
        refused(str::parse::<Tos>, &["", "1", "255", "256", "0x", "0x1ff", "0x+4", "b8", "-4"]);
        assert_eq!("set".parse(), Ok(Df::Set));
        refused(str::parse::<Df>, &["", "on", "SET"]);
    }

    #[test]
    fn a_worker_has_one_thread_or_two_or_as_many_as_it_needs() {
        for text in ["auto", "1", "2"] {
            assert_eq!(text.parse::<Threads>().unwrap().to_string(), text);
        }
        refused(str::parse::<Threads>, &["", "0", "3", "Auto"]);
    }

    #[test]
    fn busy_polling_is_auto_or_microseconds() {
        for (text, value) in
            [("auto", BusyPoll::Auto), ("0", BusyPoll::Micros(0)), ("1000000", BusyPoll::Micros(1_000_000))]
        {
            assert_eq!(text.parse(), Ok(value));
            assert_eq!(value.to_string(), text);
        }
        refused(str::parse::<BusyPoll>, &["", "1000001", "-1", "50us", "on", "Auto"]);
    }

    #[test]
    fn processors_are_a_list_of_numbers_and_ranges_in_the_order_given() {
        for (text, processors, shown) in [
            ("0", vec![0], "0"),
            ("0,1", vec![0, 1], "0-1"),
            ("0-3,8", vec![0, 1, 2, 3, 8], "0-3,8"),
            ("1,0", vec![1, 0], "1,0"),
            ("2,2,1023", vec![2, 2, 1023], "2,2,1023"),
        ] {
            let list: CpuList = text.parse().unwrap();
            assert_eq!(list.processors().collect::<Vec<_>>(), processors);
            assert_eq!(list.to_string(), shown);
        }
        refused(
            str::parse::<CpuList>,
            &["", ",", "0,", "-", "1-", "-1", "3-1", "1024", "0-1024", "a", "0 1", "all"],
        );
    }

    #[test]
    fn numbers_have_their_ranges() {
        assert_eq!(ageing("0"), Ok(Duration::ZERO));
        assert_eq!(ageing("1000000"), Ok(Duration::from_secs(1_000_000)));
        refused(ageing, &["", "1000001", "-1", "300s", "99999999999999999999"]);
        assert_eq!((max_macs("1"), max_macs("16777216")), (Ok(1), Ok(MAX_MACS)));
        refused(max_macs, &["", "0", "16777217", "+1", "16k"]);
        assert_eq!((workers("1"), workers("16")), (Ok(1), Ok(16)));
        refused(workers, &["", "0", "17", "-1", "auto"]);
        assert_eq!((port("1"), port("65535")), (Ok(1), Ok(65535)));
        refused(port, &["", "0", "65536", "+1", " 1", "4789/udp"]);
        assert_eq!((on_off("on"), on_off("off")), (Ok(true), Ok(false)));
        refused(on_off, &["", "yes", "1", "On"]);
        assert_eq!((auto_off("auto"), auto_off("off")), (Ok(true), Ok(false)));
        refused(auto_off, &["", "on", "Auto"]);
    }

    #[test]
    fn addresses_carry_a_prefix_and_networks_may() {
        assert_eq!(ip("::ffff:100.64.158.4"), ip("100.64.158.4"));
        refused(ip, &["", "100.64.158", "host", "10.0.0.1/8", "fe80::1%eth0"]);
        assert!(address("10.225.194.171/9").is_ok() && address("fd00::2/64").is_ok());
        refused(address, &["", "10.0.0.1", "10.0.0.1/33", "10.0.0.1/255.0.0.0", "fd00::2"]);
        assert_eq!(network("192.0.2.1"), network("192.0.2.1/32"));
        refused(network, &["", "default", "10.0.0.0/33", "10.0.0.0/"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,24}|[0-9a-fx:./%-]{0,24}|hash:[0-9-]{0,12}") {
            let _ = text.parse::<DeviceName>().map(|name| assert_eq!(name.to_string(), text));
            let _ = text.parse::<SourcePort>().map(|port| assert_eq!(port.to_string().parse(), Ok(port)));
            let _ = text.parse::<Mtu>().map(|mtu| assert_eq!(mtu.to_string().parse(), Ok(mtu)));
            let _ = text.parse::<Ttl>().map(|ttl| assert_eq!(ttl.to_string().parse(), Ok(ttl)));
            let _ = text.parse::<Tos>().map(|tos| assert_eq!(tos.to_string().parse(), Ok(tos)));
            let _ = (text.parse::<Df>(), port(&text), on_off(&text), ageing(&text), max_macs(&text));
            let _ = (ip(&text), address(&text), network(&text));
        }
    }

    #[test]
    fn a_segment_size_is_followed_left_alone_or_given() {
        for (text, clamp) in [
            ("auto", MssClamp::Auto),
            ("off", MssClamp::Off),
            ("88", MssClamp::Octets(88)),
            ("65495", MssClamp::Octets(65495)),
        ] {
            assert_eq!(text.parse(), Ok(clamp));
            assert_eq!(clamp.to_string(), text);
        }
        refused(str::parse::<MssClamp>, &["", "on", "0", "87", "65496", "-1", "+100", "1400 "]);
    }
}
