//! The exposition against a reader of its own, the documents and files that name metrics, and the server before clients of every kind.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use proptest::prelude::*;
use yaml_rust2::{Yaml, YamlLoader};

use super::exposition::{FAMILIES, Kind};
use super::*;
use crate::print::tests::tunnel;

/// A sample: its name, its labels, its value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads the text as strictly as OpenMetrics 1.0 has it, as far as counters and gauges go.
fn read(text: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut types = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let (body, end) = text.split_at(text.len() - "# EOF\n".len());
    assert_eq!(end, "# EOF\n");
    for line in body.lines() {
        if let Some(described) = line.strip_prefix("# ") {
            let (what, rest) = described.split_once(' ').expect("HELP, TYPE or UNIT");
            let (name, value) = rest.split_once(' ').expect("a name");
            match what {
                "HELP" => {
                    assert!(value.len() > 10, "{line}");
                    assert!(seen.insert(name.to_owned()), "{name} comes twice");
                }
                "TYPE" => drop(types.insert(name.to_owned(), value.to_owned())),
                "UNIT" => assert!(name.ends_with(&format!("_{value}")), "{line}"),
                other => panic!("{other}"),
            }
            continue;
        }
        let (named, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = match named.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').expect("a closing bracket")),
            None => (named, ""),
        };
        let family = name.strip_suffix("_total").unwrap_or(name);
        let kind = types.get(family).unwrap_or_else(|| panic!("{name} has no type"));
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        let labels = labels.split("\",").filter(|label| !label.is_empty()).map(|label| {
            let (key, value) = label.split_once("=\"").expect("a label");
            (key.to_owned(), value.trim_end_matches('"').to_owned())
        });
        samples.push((name.to_owned(), labels.collect(), value.parse().expect("a number")));
    }
    let series: BTreeSet<_> = samples.iter().map(|(name, labels, _)| (name, labels)).collect();
    assert_eq!(series.len(), samples.len(), "a series stands twice");
    samples
}

fn exposed() -> Vec<Sample> {
    let mut second = tunnel();
    (second.dev, second.vni) = ("vx1".to_owned(), 11);
    read(&exposition::text(&[tunnel(), second], wall_clock()).unwrap())
}

#[test]
fn what_is_counted_is_exposed_with_its_labels() {
    let samples = exposed();
    let value = |name: &str, labels: &[(&str, &str)]| {
        let of = |sample: &&Sample| {
            sample.0 == name
                && labels.iter().all(|(key, value)| sample.1.get(*key).is_some_and(|own| own == value))
        };
        let found: Vec<_> = samples.iter().filter(of).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0].2
    };
    let vx0 = ("dev", "vxlan0");
    assert_eq!(value("vxgate_frame_bytes_total", &[vx0, ("direction", "rx"), ("vni", "10")]), 1229.0);
    assert_eq!(
        value("vxgate_dropped_frames_total", &[vx0, ("direction", "rx"), ("reason", "stranger")]),
        3.0
    );
    assert_eq!(value("vxgate_dropped_frames_total", &[vx0, ("direction", "tx"), ("reason", "too-big")]), 0.0);
    assert_eq!(value("vxgate_peer_up", &[vx0, ("peer", "100.64.158.4")]), 1.0);
    assert_eq!(value("vxgate_peer_up", &[("dev", "vx1"), ("peer", "100.64.158.132")]), 0.0);
    assert!((value("vxgate_peer_round_trip_seconds", &[vx0]) - 0.001_234).abs() < 1e-9);
    assert!(value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(value("process_open_fds", &[]) >= 3.0);
    // Who was never heard has no time, and no MAC address is a label.
    assert!(!samples.iter().any(|(name, labels, _)| {
        name.contains("last_heard") && labels.get("peer").is_some_and(|peer| peer == "100.64.158.132")
    }));
    let allowed = [
        "dev",
        "vni",
        "peer",
        "direction",
        "reason",
        "version",
        "local",
        "port",
        "lane",
        "to",
        "full",
        "kind",
    ];
    for (name, labels, _) in &samples {
        assert!(labels.keys().all(|label| allowed.contains(&label.as_str())), "{name} {labels:?}");
    }
}

#[test]
fn names_follow_the_conventions() {
    for family in FAMILIES {
        let name = family.full_name();
        assert!(name.starts_with("vxgate_") || name.starts_with("process_"), "{name}");
        assert_eq!(family.kind == Kind::Counter, name.ends_with("_total"), "{name}");
        assert!(!family.help.ends_with('.'), "{name}");
    }
}

#[test]
fn the_document_has_each_metric_with_its_meaning() {
    let document = include_str!("../../../../docs/metrics.md");
    let rows: Vec<_> = document.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    let expected = FAMILIES.iter().map(|family| {
        let kind = if family.kind == Kind::Counter { "counter" } else { "gauge" };
        format!("{}` | {kind} | {} |", family.full_name(), family.help.replace('|', "\\|"))
    });
    assert_eq!(rows, expected.collect::<Vec<_>>());
}

/// The words of a query that look like a metric of ours.
fn metrics_in(query: &str) -> Vec<String> {
    let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.starts_with("vxgate_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// Every metric of a query is exposed, and its labels are those that it has, or what Prometheus adds.
fn holds(query: &str, samples: &[Sample]) {
    let metrics = metrics_in(query);
    assert!(!metrics.is_empty(), "{query}");
    for metric in &metrics {
        assert!(samples.iter().any(|(name, ..)| name == metric), "{metric} of {query} does not exist");
    }
    let of_query: BTreeSet<&String> = samples
        .iter()
        .filter(|(name, ..)| metrics.contains(name))
        .flat_map(|(_, labels, _)| labels.keys())
        .collect();
    let grouped = query
        .match_indices("by (")
        .map(|(at, by)| query[at + by.len()..].split(')').next().unwrap_or_default());
    let matched =
        query.match_indices('{').map(|(at, _)| query[at + 1..].split('}').next().unwrap_or_default());
    let labels = grouped
        .chain(matched)
        .flat_map(|list| list.split(','))
        .map(|label| label.trim().split(['=', '!', '~']).next().unwrap_or_default().to_owned());
    for label in labels.filter(|label| !label.is_empty()) {
        assert!(
            of_query.contains(&label) || ["instance", "job"].contains(&label.as_str()),
            "{query}: no label {label}, there are {of_query:?}"
        );
    }
}

#[test]
fn every_alert_asks_for_what_exists_and_says_what_to_do() {
    let samples = exposed();
    let text = include_str!("../../../../contrib/prometheus/alerts.yml");
    let rules = YamlLoader::load_from_str(text).unwrap().remove(0);
    let rules = rules["groups"][0]["rules"].as_vec().expect("rules").clone();
    assert!(rules.len() >= 8);
    for rule in rules {
        let field = |of: &Yaml, name: &str| {
            of[name].as_str().unwrap_or_else(|| panic!("{name}: {rule:?}")).to_owned()
        };
        let query = field(&rule, "expr");
        holds(&query, &samples);
        let severity = field(&rule["labels"], "severity");
        assert!(["info", "warning", "critical"].contains(&severity.as_str()), "{severity}");
        let told = [field(&rule["annotations"], "summary"), field(&rule["annotations"], "description")];
        assert!(told.iter().all(|text| text.len() > 20), "{told:?}");
        // What a template names is a label that the query leaves.
        for text in told {
            for label in text.split("$labels.").skip(1) {
                let label: String = label.chars().take_while(char::is_ascii_alphanumeric).collect();
                let grouped = query.split("by (").nth(1).and_then(|rest| rest.split(')').next());
                let left = grouped.map_or_else(
                    || {
                        label == "instance"
                            || samples.iter().any(|(name, labels, _)| {
                                query.contains(name.as_str()) && labels.contains_key(&label)
                            })
                    },
                    |list| list.split(", ").any(|own| own == label),
                );
                assert!(left, "{label} of {text:?} is not there");
            }
        }
    }
}

#[test]
fn every_panel_of_the_dashboard_asks_for_what_exists() {
    let samples = exposed();
    let text = include_str!("../../../../contrib/grafana/vxgate.json");
    let dashboard: serde_json::Value = serde_json::from_str(text).unwrap();
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() >= 10);
    for panel in panels {
        for target in panel["targets"].as_array().expect("targets") {
            holds(target["expr"].as_str().expect("a query"), &samples);
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables").iter().skip(1) {
        let query = variable["query"].as_str().expect("a query");
        assert!(
            metrics_in(query).iter().all(|metric| samples.iter().any(|(name, ..)| name == metric)),
            "{query}"
        );
    }
}

/// Tunnels that do not change.
struct Still(Vec<TunnelStatus>);

impl Tunnels for Still {
    async fn statuses(&self) -> Vec<TunnelStatus> {
        self.0.clone()
    }
}

/// A server at a port of loopback, for as long as `use_it` takes.
fn served(tunnels: Vec<TunnelStatus>, use_it: impl FnOnce(SocketAddr) + Send + 'static) {
    let server = Server::bind(values("127.0.0.1:0")).unwrap();
    let address = server.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (done, waits) = tokio::sync::oneshot::channel();
    let user = thread::spawn(move || {
        use_it(address);
        let _ = done.send(());
    });
    runtime.block_on(async {
        tokio::select! {
            _ = waits => {}
            ended = server.serve(Arc::new(Still(tunnels))) => panic!("{ended:?}"),
        }
    });
    user.join().unwrap();
}

fn values(text: &str) -> MetricsAddr {
    crate::config::values::metrics(text).unwrap()
}

/// Sends this and reads to the end.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A server that has enough of it may reset the connection.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    exchange(address, format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
}

#[test]
fn each_path_has_its_answer_and_only_reading_is_allowed() {
    served(vec![tunnel()], |address| {
        let scraped = ask(address, "GET", "/metrics");
        let (head, body) = scraped.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.starts_with("HTTP/1.1 200 OK") && head.contains("application/openmetrics-text"),
            "{head}"
        );
        assert!(read(body).len() > 80);
        assert!(ask(address, "HEAD", "/metrics").ends_with("\r\n\r\n"));
        assert!(ask(address, "GET", "/healthz").contains("200 OK"));
        assert!(ask(address, "GET", "/healthz?verbose").ends_with("ok\n"));
        assert!(ask(address, "GET", "/").contains("/metrics"));
        assert!(ask(address, "GET", "/../etc/passwd").contains("404 Not Found"));
        let posted = ask(address, "POST", "/metrics");
        assert!(posted.contains("405 Method Not Allowed") && posted.contains("allow: GET, HEAD"), "{posted}");
    });
    let mut down = tunnel();
    down.peers[0].state = crate::control::protocol::PeerState::Down;
    served(vec![down], |address| {
        let answer = ask(address, "GET", "/healthz");
        assert!(
            answer.contains("503 Service Unavailable")
                && answer.contains("vxlan0: no peer is up: 100.64.158.4 down"),
            "{answer}"
        );
    });
}

#[test]
fn clients_that_hang_or_send_garbage_cost_others_nothing() {
    served(vec![tunnel()], |address| {
        // As many as may be open but one, and none of them says a word.
        let mute: Vec<_> = (1..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
        for garbage in
            [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET\r\n\r\n", &[b'A'; 100_000], b"\0\0\0\0\r\n\r\n"]
        {
            let answer = exchange(address, garbage);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
        assert!(ask(address, "GET", "/healthz").contains("200 OK"));
        // With none left, the one that has been mute for longest gives way, as often as it takes.
        let more: Vec<_> = (0..10 * CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
        let start = vxgate_testbed::now();
        assert!(ask(address, "GET", "/healthz").contains("200 OK"));
        assert!(start.elapsed() < HEAD / 2, "{:?}", start.elapsed());
        drop((mute, more));
    });
}

#[test]
fn a_port_that_is_taken_and_an_address_of_another_host_are_told() {
    let first = Server::bind(values("127.0.0.1:0")).unwrap();
    let taken = first.local_addr().unwrap();
    let error = Server::bind(MetricsAddr::One(taken)).unwrap_err();
    assert_eq!(error.to_string(), format!("--metrics {taken}"));
    assert!(error.hint().is_some_and(|hint| hint.contains("choose another one")));
    let error = Server::bind(values("192.0.2.1:9789")).unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("none of this host's")), "{error:?}");
    let every = Server::bind(values(":0")).unwrap();
    let port = every.local_addr().unwrap().port();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
}

proptest! {
    #[test]
    fn any_counters_and_names_make_a_text_that_can_be_read(
        rx in any::<u64>(),
        dev in "[!-~&&[^/:%\"\\\\,{}]]{1,15}",
        heard in prop::option::of(any::<u64>()),
    ) {
        let mut status = tunnel();
        status.dev = dev;
        status.rx.frames = rx;
        status.peers[1].last_heard_ms = heard;
        read(&exposition::text(&[status], wall_clock()).unwrap());
    }
}
