//! What passes over the control socket: one JSON object per line, a response for each request, in order.
//!
//! Response keys never change their meaning; new ones may appear, and a client ignores those it does not know. A
//! request with an unknown key is refused, since a filter that is silently ignored would flush too much.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vxgate_codec::{MacAddr, Vni};

/// Longest request line, in octets, its newline included. Requests hold one entry, so they are far below this.
pub(crate) const MAX_REQUEST_OCTETS: usize = 64 * 1024;

/// Longest response line that a client reads, in octets: a page of [`MAX_PAGE_ENTRIES`] entries takes about 1 MiB.
pub(crate) const MAX_RESPONSE_OCTETS: u64 = 16 * 1024 * 1024;

/// Most entries of one page of the forwarding database.
pub(crate) const MAX_PAGE_ENTRIES: u32 = 4096;

/// What a client asks.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// The tunnel's state: [`Response::Show`].
    Show,
    /// A page of the forwarding database, all-zero entries included: [`Response::Fdb`].
    FdbShow {
        /// 0 for the first page, then what the page before it gave as `next`.
        cursor: u64,
        /// Most entries wanted, up to [`MAX_PAGE_ENTRIES`].
        limit: u32,
    },
    /// Adds, appends or replaces an entry: [`Response::Done`].
    FdbSet {
        /// Which of the three.
        verb: FdbVerb,
        /// The entry.
        entry: FdbNew,
    },
    /// Deletes a remote of an entry, or the entry: [`Response::Done`].
    FdbDel {
        /// Which one.
        target: FdbTarget,
    },
    /// Deletes every entry that matches: [`Response::Flushed`].
    FdbFlush {
        /// Which ones.
        filter: FlushFilter,
    },
    /// The peers: [`Response::Peers`].
    PeerList,
    /// Adds a peer: [`Response::Done`].
    PeerAdd {
        /// Its outer address.
        ip: IpAddr,
        /// Its inner address; null where none is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inner: Option<IpAddr>,
    },
    /// Takes a peer away: [`Response::Done`].
    PeerDel {
        /// Its outer address.
        ip: IpAddr,
    },
    /// Reads file and environment again, and takes over what differs: [`Response::Reloaded`].
    Reload,
    /// Begins to copy frames: [`Response::Capturing`], and from then on the connection carries copies (`capture::stream`) until either
    /// end closes it.
    Capture(CaptureWanted),
    /// Ends the tunnel. [`Response::Done`] comes first; the tunnel is gone when its lock is free.
    Down,
}

/// What the daemon answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub(crate) enum Response {
    /// The tunnel's state.
    Show {
        /// The state.
        tunnel: Box<TunnelStatus>,
    },
    /// A page of the forwarding database.
    Fdb(FdbPage),
    /// The peers.
    Peers {
        /// Each with its state.
        peers: Vec<PeerStatus>,
    },
    /// How many entries a flush took away.
    Flushed {
        /// Their number.
        entries: u64,
    },
    /// What a reload did.
    Reloaded(Reloaded),
    /// Copies follow.
    Capturing(Capturing),
    /// It is done, and there is nothing to say about it.
    Done,
    /// It is not done.
    Error(Refusal),
}

/// What a reload did, each as DEV: OPTION.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Reloaded {
    /// In force now.
    pub(crate) applied: Vec<String>,
    /// Different in the file, and kept until a restart.
    pub(crate) needs_restart: Vec<String>,
}

/// What to copy.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaptureWanted {
    /// Frames as the host sends and gets them.
    pub(crate) inner: bool,
    /// Datagrams as peers send and get them.
    pub(crate) outer: bool,
    /// What is dropped.
    pub(crate) drops: bool,
    /// Octets of each.
    pub(crate) snaplen: u32,
    /// Only to and from these outer addresses; all where there are none.
    pub(crate) peers: Vec<IpAddr>,
}

/// What a reader of copies has to know.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Capturing {
    /// This host's outer address.
    pub(crate) local: IpAddr,
    /// The UDP port of this end.
    pub(crate) port: u16,
    /// When the clock of the copies was 0, in nanoseconds since 1970.
    pub(crate) epoch_ns: u64,
}

/// Why the daemon did not do it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    /// The reason, a sentence without its full stop.
    pub(crate) why: String,
    /// What the operator can do, where there is anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl Refusal {
    /// A refusal for this reason.
    pub(crate) fn new(why: impl Into<String>) -> Refusal {
        Refusal { why: why.into(), hint: None }
    }

    /// The same with what the operator can do.
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Refusal {
        Refusal { hint: Some(hint.into()), ..self }
    }
}

/// The state of one tunnel: what `vxgate show -j` prints, key for key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct TunnelStatus {
    /// The device.
    pub(crate) dev: String,
    /// The segment, 0 to 16777215.
    pub(crate) vni: u32,
    /// This host's outer address.
    pub(crate) local: IpAddr,
    /// The UDP port of this end.
    pub(crate) port: u16,
    /// The UDP source port as the option has it: `4789` or `hash:49152-65535`.
    pub(crate) source_port: String,
    /// The device's MTU, in octets.
    pub(crate) mtu: u32,
    /// Which lane carries the frames, as in `socket`.
    pub(crate) lane: String,
    /// The offloads by name, and whether each is in force.
    pub(crate) offload: BTreeMap<String, bool>,
    /// How many workers carry frames.
    pub(crate) workers: u32,
    /// Threads of each worker, as the option has it: `auto`, `1` or `2`.
    #[serde(default)]
    pub(crate) threads: String,
    /// How long a thread polls before it sleeps, as the option has it: `auto` or microseconds.
    #[serde(default)]
    pub(crate) busy_poll: String,
    /// The processors that the threads are pinned to, as in `0-3`; null where they are not.
    #[serde(default)]
    pub(crate) affinity: Option<String>,
    /// How much is queued on the way, and how large superframes may be.
    #[serde(default)]
    pub(crate) sizes: Sizes,
    /// The daemon's process id.
    pub(crate) pid: u32,
    /// Seconds since the tunnel came up.
    pub(crate) uptime_s: u64,
    /// The peers, in the order in which they were added.
    pub(crate) peers: Vec<PeerStatus>,
    /// How full the forwarding database is.
    pub(crate) fdb: FdbFill,
    /// Frames delivered to the device.
    pub(crate) rx: Traffic,
    /// Frames sent to peers, each copy counted.
    pub(crate) tx: Traffic,
    /// Frames of the tunnel's own, which neither `rx` nor `tx` counts.
    #[serde(default)]
    pub(crate) own: OwnTraffic,
    /// What the network says of the tunnel's datagrams.
    #[serde(default)]
    pub(crate) reports: Reports,
    /// How the peers are probed, and what came of it; null where they are not.
    #[serde(default)]
    pub(crate) health: Option<Health>,
    /// Whether the threads that handle frames are confined, as the option has it: `on`, `off` or `log`.
    #[serde(default)]
    pub(crate) sandbox: String,
    /// How fast it goes.
    #[serde(default)]
    pub(crate) rates: Rates,
    /// Frames that were copied to many, because they are for many or nobody knows where their receiver is.
    #[serde(default)]
    pub(crate) flood: Flood,
    /// What became of entries of the forwarding database since the start.
    #[serde(default)]
    pub(crate) table: TableCounts,
    /// Frames dropped, both directions, by the name of the reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// The same by direction.
    #[serde(default)]
    pub(crate) dropped: Dropped,
}

/// How fast frames go, on average since somebody last looked.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Rates {
    /// Milliseconds that it is the average of: since the last look, or since the start.
    pub(crate) over_ms: u64,
    /// Frames a second delivered to the device, or from a peer.
    pub(crate) rx_frames_per_s: u64,
    /// Bits a second of those frames.
    pub(crate) rx_bits_per_s: u64,
    /// Frames a second sent to peers, or to a peer.
    pub(crate) tx_frames_per_s: u64,
    /// Bits a second of those frames.
    pub(crate) tx_bits_per_s: u64,
}

/// Frames that were copied to many.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Flood {
    /// Frames of the host.
    pub(crate) frames: u64,
    /// Their copies.
    pub(crate) copies: u64,
}

/// What became of entries of the forwarding database.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct TableCounts {
    /// Learned.
    pub(crate) learned: u64,
    /// Moved to another remote by learning.
    pub(crate) moved: u64,
    /// Moves that were not made, because the address moves too often.
    #[serde(default)]
    pub(crate) moves_damped: u64,
    /// Gone, since nobody was heard for the ageing time.
    pub(crate) aged: u64,
    /// Not learned, as the table is full.
    pub(crate) refused_macs: u64,
    /// Not learned, as the peer has its share of the table.
    #[serde(default)]
    pub(crate) refused_share: u64,
    /// Not learned, as no further remote fits.
    pub(crate) refused_peers: u64,
}

/// Frames dropped, by direction and by the name of the reason.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Dropped {
    /// Of the peers.
    pub(crate) rx: BTreeMap<String, u64>,
    /// Of the host.
    pub(crate) tx: BTreeMap<String, u64>,
}

/// Frames of the tunnel's own: health probes, questions and announcements to peers, answers to the host.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct OwnTraffic {
    /// Frames sent to peers.
    pub(crate) tx_frames: u64,
    /// Octets of those.
    pub(crate) tx_octets: u64,
    /// Frames for peers that were not sent.
    pub(crate) tx_dropped: u64,
    /// Frames handed to the host.
    pub(crate) answered_frames: u64,
    /// Octets of those.
    pub(crate) answered_octets: u64,
    /// Frames for the host that were not delivered.
    pub(crate) answers_dropped: u64,
    /// Answers to the host that were not given, because too many had been given just before.
    #[serde(default)]
    pub(crate) answers_held_back: u64,
}

/// How the peers are probed, and what came of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Health {
    /// Milliseconds from an answered probe to the next.
    pub(crate) interval_ms: u64,
    /// Milliseconds that an answer is waited for at least.
    pub(crate) retry_ms: u64,
    /// Probes without an answer that make a peer count as down.
    pub(crate) misses: u32,
    /// Milliseconds that a peer that is back must answer for.
    pub(crate) hold_down_ms: u64,
    /// Probes sent.
    pub(crate) probes: u64,
    /// Answers to them.
    pub(crate) answers: u64,
    /// What looked like an answer and was none, by the name of the reason.
    pub(crate) refused: BTreeMap<String, u64>,
}

/// What the network says of the tunnel's datagrams: ICMP errors, and this host's own refusals.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Reports {
    /// That a peer cannot be reached.
    pub(crate) unreachable: u64,
    /// That a datagram was too long for the way to a peer.
    pub(crate) too_big: u64,
    /// Ignored: they quote no datagram of this tunnel, or say something else.
    pub(crate) ignored: u64,
}

/// The state of one peer.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct PeerStatus {
    /// Its outer address, or the group's.
    pub(crate) ip: IpAddr,
    /// Its inner address, which health probes ask for; null where none is known.
    #[serde(default)]
    pub(crate) inner: Option<IpAddr>,
    /// Whether its route leads into the tunnel itself, so that nothing reaches it.
    #[serde(default)]
    pub(crate) inside: bool,
    /// Whether it is alive.
    pub(crate) state: PeerState,
    /// Seconds since that last changed; null where it never did.
    #[serde(default)]
    pub(crate) state_for_s: Option<u64>,
    /// Seconds since a datagram came from it; null for never.
    pub(crate) last_heard_s: Option<u64>,
    /// The same in milliseconds.
    #[serde(default)]
    pub(crate) last_heard_ms: Option<u64>,
    /// Round-trip time of health probes, smoothed, in microseconds; null where none was answered.
    pub(crate) rtt_us: Option<u64>,
    /// What the path to it carries, in octets of the outer IP packet; null where nothing is known.
    #[serde(default)]
    pub(crate) path_mtu: Option<u16>,
    /// How many MAC addresses are known behind it.
    pub(crate) macs: u64,
    /// Frames from it.
    pub(crate) rx_frames: u64,
    /// Octets of frames from it.
    pub(crate) rx_octets: u64,
    /// Frames to it.
    pub(crate) tx_frames: u64,
    /// Octets of frames to it.
    pub(crate) tx_octets: u64,
    /// How fast they go.
    #[serde(default)]
    pub(crate) rates: Rates,
}

/// Whether a peer is alive.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PeerState {
    /// It answers.
    Up,
    /// It answered before, and no longer does.
    Down,
    /// It has given no reason to think either.
    Unknown,
}

impl PeerState {
    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            PeerState::Up => "up",
            PeerState::Down => "down",
            PeerState::Unknown => "unknown",
        }
    }
}

/// How much is queued on the way, and how large superframes may be: as the kernel says, whatever was asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Sizes {
    /// What a socket of the underlay queues for receiving; the kernel counts its own overhead.
    pub(crate) receive_buffer_octets: u64,
    /// What a socket of the underlay queues for sending.
    pub(crate) send_buffer_octets: u64,
    /// Frames of the host that the device queues (`txqueuelen`); null where the device cannot be asked.
    pub(crate) tx_queue_frames: Option<u32>,
    /// A superframe that the host hands to the device is shorter than this (`gso_max_size`); null on old kernels.
    pub(crate) gso_max_octets: Option<u32>,
    /// It has at most so many segments (`gso_max_segs`); null on old kernels.
    pub(crate) gso_max_segments: Option<u32>,
}

/// How full the forwarding database is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct FdbFill {
    /// Entries now.
    pub(crate) entries: u64,
    /// Most entries it takes.
    pub(crate) limit: u64,
}

/// Frames and octets one way.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Traffic {
    /// Frames.
    pub(crate) frames: u64,
    /// Octets of those frames, without the outer headers.
    pub(crate) octets: u64,
}

/// A page of the forwarding database.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct FdbPage {
    /// Some entries, each remote of a MAC address as one.
    pub(crate) entries: Vec<FdbEntry>,
    /// The cursor of the next page; null after the last.
    pub(crate) next: Option<u64>,
}

/// One remote of one MAC address, with the keys of `bridge -s -j fdb show`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct FdbEntry {
    /// The MAC address; all zeros for frames to all and to unknown addresses.
    #[serde(with = "text")]
    pub(crate) mac: MacAddr,
    /// The remote's outer address.
    pub(crate) dst: IpAddr,
    /// The remote's UDP port, where it is not the tunnel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// The segment to send to, where it is not the tunnel's.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "number")]
    pub(crate) vni: Option<Vni>,
    /// Seconds since a frame last came from it.
    pub(crate) used: u64,
    /// Seconds since the entry last changed.
    pub(crate) updated: u64,
    /// How long it stays.
    pub(crate) state: EntryState,
}

/// How long an entry stays.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum EntryState {
    /// For ever; `permanent`.
    #[serde(rename = "permanent")]
    Permanent,
    /// Until it is deleted, and frames from elsewhere do not move it; `static`.
    #[serde(rename = "static")]
    Static,
    /// Until it ages; `dynamic` in commands, and no word at all in `bridge`'s output.
    #[serde(rename = "", alias = "dynamic")]
    Dynamic,
}

impl EntryState {
    /// What `bridge fdb show` prints for it.
    pub(crate) const fn shown(self) -> &'static str {
        match self {
            EntryState::Permanent => "permanent",
            EntryState::Static => "static",
            EntryState::Dynamic => "",
        }
    }
}

/// What `fdb add`, `append` and `replace` differ in.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FdbVerb {
    /// A new entry; an error where the MAC address has one.
    Add,
    /// One remote more for the MAC address.
    Append,
    /// The only remote of the MAC address from now on.
    Replace,
}

/// An entry to set.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FdbNew {
    /// The MAC address; all zeros for frames to all and to unknown addresses.
    #[serde(with = "text")]
    pub(crate) mac: MacAddr,
    /// The remote's outer address.
    pub(crate) dst: IpAddr,
    /// The remote's UDP port; null for the tunnel's.
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// The segment to send to; null for the tunnel's.
    #[serde(default, with = "number")]
    pub(crate) vni: Option<Vni>,
    /// How long it stays.
    pub(crate) state: EntryState,
}

/// What to delete.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FdbTarget {
    /// The MAC address.
    #[serde(with = "text")]
    pub(crate) mac: MacAddr,
    /// The remote to take away; null for the whole entry.
    #[serde(default)]
    pub(crate) dst: Option<IpAddr>,
    /// Only a remote with this UDP port; null for the tunnel's.
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// Only a remote with this segment; null for the tunnel's.
    #[serde(default, with = "number")]
    pub(crate) vni: Option<Vni>,
}

/// Which entries a flush takes away: those that match every part that is given.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FlushFilter {
    /// These states; null for any.
    pub(crate) states: Option<Vec<EntryState>>,
    /// This remote.
    pub(crate) dst: Option<IpAddr>,
    /// This UDP port of the remote.
    pub(crate) port: Option<u16>,
    /// This segment of the remote.
    #[serde(with = "number")]
    pub(crate) vni: Option<Vni>,
}

/// A value that shows and reads itself as text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// An optional VNI as a number.
mod number {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
    use vxgate_codec::Vni;

    pub(super) fn serialize<S: Serializer>(vni: &Option<Vni>, serializer: S) -> Result<S::Ok, S::Error> {
        vni.map(Vni::get).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vni>, D::Error> {
        let number = Option::<u32>::deserialize(deserializer)?;
        number.map(Vni::try_from).transpose().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn request(json: serde_json::Value) -> Result<Request, serde_json::Error> {
        serde_json::from_value(json)
    }

    #[test]
    fn requests_are_flat_objects() {
        for (json, expected) in [
            (json!({"request": "show"}), Request::Show),
            (
                json!({"request": "fdb-show", "cursor": 0, "limit": 100}),
                Request::FdbShow { cursor: 0, limit: 100 },
            ),
            (
                json!({"request": "fdb-set", "verb": "append", "entry":
                       {"mac": "00:00:00:00:00:00", "dst": "10.0.0.1", "vni": 10, "state": "permanent"}}),
                Request::FdbSet {
                    verb: FdbVerb::Append,
                    entry: FdbNew {
                        mac: MacAddr::ZERO,
                        dst: "10.0.0.1".parse().unwrap(),
                        port: None,
                        vni: Vni::new(10),
                        state: EntryState::Permanent,
                    },
                },
            ),
            (
                json!({"request": "fdb-flush", "filter": {"states": ["dynamic"]}}),
                Request::FdbFlush {
                    filter: FlushFilter { states: Some(vec![EntryState::Dynamic]), ..FlushFilter::default() },
                },
            ),
            (
                json!({"request": "peer-add", "ip": "2001:db8::1"}),
                Request::PeerAdd { ip: "2001:db8::1".parse().unwrap(), inner: None },
            ),
            (
                json!({"request": "peer-add", "ip": "2001:db8::1", "inner": "10.0.0.1"}),
                Request::PeerAdd {
                    ip: "2001:db8::1".parse().unwrap(),
                    inner: Some("10.0.0.1".parse().unwrap()),
                },
            ),
            (json!({"request": "down"}), Request::Down),
        ] {
            assert_eq!(request(json).unwrap(), expected);
            let text = serde_json::to_string(&expected).unwrap();
            assert!(!text.contains('\n'), "a request is one line");
            assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), expected);
        }
    }

    #[test]
    fn requests_with_unknown_keys_or_wrong_values_are_refused() {
        for json in [
            json!({"request": "fly"}),
            json!({"request": "fdb-show", "cursor": 0, "limit": 1, "state": "static"}),
            json!({"request": "fdb-flush", "filter": {"state": ["dynamic"]}}),
            json!({"request": "fdb-flush"}),
            json!({"request": "fdb-del", "target": {"mac": "02"}}),
            json!({"request": "fdb-del", "target": {"mac": "02:00:00:00:00:01", "vni": 16_777_216}}),
            json!({"request": "fdb-set", "verb": "add", "entry": {"mac": "02:00:00:00:00:01", "state": "static"}}),
            json!({"request": "peer-add", "ip": "host"}),
            json!({}),
            json!([]),
        ] {
            assert!(request(json.clone()).is_err(), "{json}");
        }
    }

    #[test]
    fn a_client_ignores_response_keys_that_it_does_not_know() {
        let json = json!({"response": "fdb", "entries": [], "next": null, "future": 1});
        assert_eq!(serde_json::from_value::<Response>(json).unwrap(), Response::Fdb(FdbPage::default()));
        let json = json!({"response": "error", "why": "no", "code": 7});
        assert_eq!(serde_json::from_value::<Response>(json).unwrap(), Response::Error(Refusal::new("no")));
    }

    #[test]
    fn a_tunnels_keys_are_the_contracts() {
        let json = serde_json::to_value(crate::print::tests::tunnel()).unwrap();
        for key in [
            "dev",
            "vni",
            "local",
            "port",
            "source_port",
            "mtu",
            "lane",
            "offload",
            "workers",
            "uptime_s",
            "peers",
            "fdb",
            "rx",
            "tx",
            "drops",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        for key in [
            "ip",
            "state",
            "last_heard_s",
            "rtt_us",
            "path_mtu",
            "macs",
            "rx_frames",
            "rx_octets",
            "tx_frames",
            "tx_octets",
        ] {
            assert!(json["peers"][0].get(key).is_some(), "peers.{key}");
        }
        for pointer in ["/fdb/entries", "/fdb/limit", "/rx/frames", "/rx/octets", "/tx/frames", "/tx/octets"]
        {
            assert!(json.pointer(pointer).is_some(), "{pointer}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_refused(bytes: Vec<u8>) {
            let _ = serde_json::from_slice::<Request>(&bytes);
        }
    }
}
