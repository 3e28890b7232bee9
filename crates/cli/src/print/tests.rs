//! Listings against what they shall look like, and against `bridge` itself where it is installed.

use std::collections::BTreeMap;

use super::*;
use crate::config::values::DeviceName;
use crate::control::protocol::{
    Dropped, EntryState, FdbEntry, FdbFill, Flood, Health, OwnTraffic, PeerState, PeerStatus, Rates, Reports,
    Sizes, TableCounts, Traffic, TunnelStatus,
};

/// The seed's tunnel, with two Gate peers of which one is dead.
pub(crate) fn tunnel() -> TunnelStatus {
    TunnelStatus {
        dev: "vxlan0".to_owned(),
        vni: 10,
        local: "172.21.0.100".parse().unwrap(),
        port: 4789,
        source_port: "4789".to_owned(),
        mtu: 1450,
        lane: "socket".to_owned(),
        offload: BTreeMap::from([("udp-gso".to_owned(), false), ("tap-vnet-hdr".to_owned(), true)]),
        workers: 1,
        threads: "auto".to_owned(),
        busy_poll: "auto".to_owned(),
        affinity: None,
        sizes: Sizes {
            receive_buffer_octets: 8 << 20,
            send_buffer_octets: 4 << 20,
            tx_queue_frames: Some(5000),
            gso_max_octets: Some(61_833),
            gso_max_segments: Some(65_535),
        },
        pid: 4711,
        uptime_s: 3723,
        peers: vec![
            PeerStatus {
                ip: "100.64.158.4".parse().unwrap(),
                inner: Some("10.192.158.4".parse().unwrap()),
                state: PeerState::Up,
                inside: false,
                state_for_s: Some(65),
                last_heard_s: Some(3),
                last_heard_ms: Some(3_349),
                rtt_us: Some(1234),
                path_mtu: Some(1500),
                macs: 2,
                rx_frames: 12,
                rx_octets: 1229,
                tx_frames: 1,
                tx_octets: 42,
                rates: Rates { over_ms: 12_000, rx_frames_per_s: 1, rx_bits_per_s: 1229, ..Rates::default() },
            },
            PeerStatus {
                ip: "100.64.158.132".parse().unwrap(),
                inner: None,
                state: PeerState::Unknown,
                inside: false,
                state_for_s: None,
                last_heard_s: None,
                last_heard_ms: None,
                rtt_us: None,
                path_mtu: None,
                macs: 0,
                rx_frames: 0,
                rx_octets: 0,
                tx_frames: 1,
                tx_octets: 42,
                rates: Rates { over_ms: 12_000, ..Rates::default() },
            },
        ],
        fdb: FdbFill { entries: 4, limit: 16384 },
        rx: Traffic { frames: 12, octets: 1229 },
        tx: Traffic { frames: 2, octets: 84 },
        own: OwnTraffic { tx_frames: 3, tx_octets: 126, ..OwnTraffic::default() },
        reports: Reports { unreachable: 2, too_big: 0, ignored: 1 },
        health: Some(Health {
            interval_ms: 120,
            retry_ms: 40,
            misses: 7,
            hold_down_ms: 500,
            probes: 16,
            answers: 15,
            refused: BTreeMap::from([("wrong-peer".to_owned(), 2)]),
        }),
        rates: Rates { over_ms: 12_000, rx_frames_per_s: 1, rx_bits_per_s: 1229, ..Rates::default() },
        sandbox: "on".to_owned(),
        flood: Flood { frames: 1, copies: 2 },
        table: TableCounts { learned: 5, aged: 1, ..TableCounts::default() },
        dropped: Dropped {
            rx: BTreeMap::from([("stranger".to_owned(), 3), ("wrong-vni".to_owned(), 1)]),
            tx: BTreeMap::new(),
        },
        drops: BTreeMap::from([
            ("stranger".to_owned(), 3),
            ("runt".to_owned(), 0),
            ("wrong-vni".to_owned(), 1),
        ]),
    }
}

fn entry(mac: &str, dst: &str, state: EntryState) -> FdbEntry {
    FdbEntry {
        mac: mac.parse().unwrap(),
        dst: dst.parse().unwrap(),
        port: None,
        vni: None,
        used: 0,
        updated: 0,
        state,
    }
}

/// One entry of each kind.
fn entries() -> Vec<FdbEntry> {
    vec![
        entry("02:00:00:00:00:02", "10.0.0.1", EntryState::Dynamic),
        FdbEntry {
            port: Some(8472),
            vni: vxgate_codec::Vni::new(77),
            ..entry("02:00:00:00:00:01", "10.0.0.1", EntryState::Static)
        },
        entry("00:00:00:00:00:00", "100.64.158.4", EntryState::Permanent),
        entry("00:00:00:00:00:00", "100.64.158.132", EntryState::Permanent),
    ]
}

fn text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn fdb(format: Format, with_device: bool, statistics: bool, entries: &[FdbEntry]) -> String {
    let dev: DeviceName = "vx0".parse().unwrap();
    text(|out| {
        let mut printer = FdbPrinter::new(format, with_device, statistics);
        for entry in entries {
            printer.entry(out, &dev, entry)?;
        }
        printer.end(out)
    })
}

use super::fdb::FdbPrinter;

const PLAIN: Format = Format::Text(Style::PLAIN);

#[test]
fn health_that_has_nothing_to_probe_says_so_and_no_pace() {
    let mut blind = tunnel();
    blind.peers.iter_mut().for_each(|peer| peer.inner = None);
    if let Some(health) = &mut blind.health {
        health.probes = 0;
    }
    let shown = text(|out| show::write(out, PLAIN, &[blind]));
    let why =
        "  health:      no peer is probed, as no peer's inner address is known (--peer IP=INNER)\n  drops:";
    assert!(shown.contains(why), "{shown}");
}

#[test]
fn show_is_a_block_for_the_tunnel_and_one_for_each_peer() {
    let expected = "\
tunnel: vxlan0
  vni:         10
  local:       172.21.0.100 port 4789
  source port: 4789
  mtu:         1450
  lane:        socket, 1 worker
  threads:     auto for each worker
  busy poll:   auto
  affinity:    none
  sandbox:     on
  buffers:     receive 8.00 MiB, send 4.00 MiB, device 5000 frames
  superframe:  at most 60.38 KiB, 65535 segments
  offload:     tap-vnet-hdr
  uptime:      1 hour, 2 minutes, 3 seconds
  fdb:         4 of 16384 entries, 5 learned, 0 moved, 1 aged
  received:    12 frames, 1.20 KiB; 1 frame/s, 1.2 kbit/s
  sent:        2 frames, 84 B
  flooded:     1 frame, 2 copies
  rates:       the average since the last look, 12 seconds ago
  own:         3 frames to peers, 126 B
  reports:     2 unreachable, 1 ignored
  health:      a probe each 120 ms, again after 40 ms, down after 7 misses, back after 500 ms
  probes:      16 sent, 15 answered, 2 wrong-peer
  drops:       `vxgate explain REASON` tells more
    3 stranger   the datagram came from an address that is no configured peer and in no accepted block
    1 wrong-vni  the VXLAN header names another VNI than ours

peer: 100.64.158.4
  inner:       10.192.158.4
  state:       up for 1 minute, 5 seconds
  last heard:  3.3 s ago
  round trip:  1.234 ms
  path mtu:    1500
  macs:        2
  received:    12 frames, 1.20 KiB; 1 frame/s, 1.2 kbit/s
  sent:        1 frame, 42 B

peer: 100.64.158.132
  inner:       -
  state:       unknown
  last heard:  never
  round trip:  -
  path mtu:    -
  macs:        0
  received:    0 frames, 0 B
  sent:        1 frame, 42 B
";
    assert_eq!(text(|out| show::write(out, PLAIN, &[tunnel()])), expected);
    let none =
        TunnelStatus { drops: BTreeMap::new(), offload: BTreeMap::new(), peers: Vec::new(), ..tunnel() };
    let two = text(|out| show::write(out, PLAIN, &[none.clone(), none]));
    assert!(
        two.contains("  offload:     none\n") && two.contains("  drops:       none\n\ntunnel: vxlan0\n"),
        "{two}"
    );
}

#[test]
fn show_as_json_is_a_list_of_tunnels() {
    let compact = text(|out| show::write(out, Format::Json, &[tunnel()]));
    assert_eq!(compact.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Vec<TunnelStatus>>(&compact).unwrap(), [tunnel()]);
    let pretty = text(|out| show::write(out, Format::PrettyJson, &[tunnel(), tunnel()]));
    assert_eq!(serde_json::from_str::<Vec<TunnelStatus>>(&pretty).unwrap(), [tunnel(), tunnel()]);
    assert_eq!(pretty, serde_json::to_string_pretty(&[tunnel(), tunnel()]).unwrap() + "\n");
    assert_eq!(text(|out| show::write(out, Format::Json, &[])), "[]\n");
    assert_eq!(text(|out| show::write(out, Format::PrettyJson, &[])), "[]\n");
}

#[test]
fn peers_are_a_table_or_a_list() {
    let tunnels = [("vxlan0".parse().unwrap(), tunnel().peers)];
    let expected = "\
peer            inner         dev     state    last heard  round trip  macs  received            sent
100.64.158.4    10.192.158.4  vxlan0  up       3.3 s ago   1.234 ms    2     12 frames, 1.20 KiB  1 frame, 42 B
100.64.158.132  -             vxlan0  unknown  never       -           0     0 frames, 0 B        1 frame, 42 B
"
    .replace("received            sent", "received             sent");
    assert_eq!(text(|out| peers::write(out, PLAIN, &tunnels)), expected);
    let json: serde_json::Value =
        serde_json::from_str(&text(|out| peers::write(out, Format::Json, &tunnels))).unwrap();
    assert_eq!(json[0]["dev"], "vxlan0");
    assert_eq!(json[1]["ip"], "100.64.158.132");
    assert_eq!(json[1]["last_heard_s"], serde_json::Value::Null);
}

#[test]
fn fdb_lines_are_those_of_bridge() {
    assert_eq!(
        fdb(PLAIN, false, false, &entries()),
        "02:00:00:00:00:02 dst 10.0.0.1 self \n\
         02:00:00:00:00:01 dst 10.0.0.1 port 8472 vni 77 self static\n\
         00:00:00:00:00:00 dst 100.64.158.4 self permanent\n\
         00:00:00:00:00:00 dst 100.64.158.132 self permanent\n"
    );
    assert_eq!(
        fdb(PLAIN, true, true, &entries()[1..2]),
        "02:00:00:00:00:01 dev vx0 dst 10.0.0.1 port 8472 vni 77 used 0/0 self static\n"
    );
    assert_eq!(
        fdb(Format::Json, false, true, &entries()[2..3]),
        "[{\"mac\":\"00:00:00:00:00:00\",\"dst\":\"100.64.158.4\",\"used\":0,\"updated\":0,\"flags\":[\"self\"],\
         \"state\":\"permanent\"}]\n"
    );
    assert_eq!(
        (fdb(PLAIN, false, false, &[]), fdb(Format::Json, false, false, &[])),
        (String::new(), "[]\n".to_owned())
    );
}

/// What one line of JSON of `bridge` and of ours mean, key order aside.
fn parsed(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// The kernel's device in a namespace of its own holds [`entries`]; `bridge` shows them.
#[test]
fn fdb_output_equals_that_of_bridge_on_the_kernels_device() {
    use std::process::Command;

    let script = format!(
        "set -e
         ip link set lo up
         ip link add vx0 type vxlan id 10 local 127.0.0.1 dstport 4789
         ip link set vx0 up
         {}
         for flags in '' '-s' '-j' '-s -j'; do
             bridge $flags fdb show dev vx0; echo ===; bridge $flags fdb show; echo ===
         done",
        // `bridge` shows the newest remote of an address last, and the newest address first.
        "bridge fdb append 00:00:00:00:00:00 dev vx0 dst 100.64.158.4
         bridge fdb append 00:00:00:00:00:00 dev vx0 dst 100.64.158.132
         bridge fdb add 02:00:00:00:00:01 dev vx0 dst 10.0.0.1 port 8472 vni 77 self static
         bridge fdb add 02:00:00:00:00:02 dev vx0 dst 10.0.0.1 dynamic"
    );
    let output = Command::new("unshare").args(["--net", "--map-root-user", "sh", "-c", &script]).output();
    let shown = match output {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap(),
        missing => {
            let required = std::env::var_os("REQUIRE_NETNS").is_some_and(|value| value == "1");
            assert!(!required, "REQUIRE_NETNS=1, and the kernel's device cannot be had: {missing:?}");
            println!("skipped: needs unshare, iproute2 and the kernel's vxlan device: {missing:?}");
            return;
        }
    };
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let mut shown = shown.split("===\n");
    for (format, statistics) in [(PLAIN, false), (PLAIN, true), (Format::Json, false), (Format::Json, true)] {
        for with_device in [false, true] {
            let theirs = shown.next().unwrap();
            let ours = fdb(format, with_device, statistics, &entries());
            if format == PLAIN {
                assert_eq!(sorted(&ours), sorted(theirs));
            } else {
                let list = |json: &str| {
                    let list = parsed(json);
                    let mut list: Vec<_> = list.as_array().unwrap().iter().map(ToString::to_string).collect();
                    list.sort();
                    list
                };
                assert_eq!(list(&ours), list(theirs));
                let keys = |json: &str| json[..json.find('}').unwrap()].to_owned();
                assert_eq!(keys(&ours).split('"').nth(1), keys(theirs).split('"').nth(1), "the first key");
            }
        }
    }
}

/// The paths of all keys, lists and maps by reason as one.
fn keys(path: &str, value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                let free = ["drops", "rx", "tx", "refused", "offload"];
                let parent = path.rsplit('.').next().unwrap_or_default();
                let of_reason = free.contains(&parent) && !["frames", "octets"].contains(&key.as_str());
                let key = if of_reason { "*" } else { key };
                keys(&format!("{path}.{key}"), value, found);
            }
        }
        serde_json::Value::Array(list) => {
            list.iter().for_each(|value| keys(&format!("{path}[]"), value, found))
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {
            found.insert(path.to_owned());
        }
    }
}

/// Scripts rely on these. `UPDATE_GOLDEN=1` writes the file anew; a key that is gone from it is a script that breaks.
#[test]
fn the_keys_of_json_are_those_that_scripts_know() {
    let mut found = std::collections::BTreeSet::new();
    let mut look = |verb: &str, json: &str| keys(verb, &parsed(json), &mut found);
    look("show", &text(|out| show::write(out, Format::Json, &[tunnel()])));
    let tunnels = [("vxlan0".parse().unwrap(), tunnel().peers)];
    look("peer", &text(|out| peers::write(out, Format::Json, &tunnels)));
    look("fdb", &fdb(Format::Json, true, true, &entries()));
    let mut explained = Vec::new();
    crate::explain::run(Some("runt"), Format::Json, &mut explained).unwrap();
    look("explain", &String::from_utf8(explained).unwrap());
    let found: String = found.iter().map(|key| format!("{key}\n")).collect();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/print/golden/json-keys.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), found);
}
