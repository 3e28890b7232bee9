//! The text that Prometheus reads: a family for each thing that is counted, made anew at each scrape.
//!
//! Nothing is registered or kept between scrapes: the counters are the tunnels' own, and what has no number (a peer that was never
//! heard) has no sample. Labels are device, VNI, peer, direction and reason; never a MAC address, of which anybody can make up a million.

use std::fmt;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use vxgate_core::{AnswerRefusal, DropReason};

use crate::control::protocol::{PeerState, PeerStatus, TunnelStatus};

/// What the text is (OpenMetrics 1.0, which Prometheus asks for first).
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A family of samples.
pub(super) struct Family {
    /// Its name without unit and `_total`.
    pub(super) name: &'static str,
    pub(super) unit: Option<Unit>,
    pub(super) kind: Kind,
    /// One sentence, without its full stop.
    pub(super) help: &'static str,
    samples: fn(&Scrape<'_>, &mut Samples),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

/// A label.
type Label = (&'static str, String);

/// The samples of a family: labels and value.
type Samples = Vec<(Vec<Label>, f64)>;

/// What is exposed.
pub(super) struct Scrape<'a> {
    tunnels: &'a [TunnelStatus],
    process: Process,
    /// Seconds since 1970.
    now: f64,
}

#[cfg(test)]
impl Family {
    /// The name as it stands in the text.
    pub(super) fn full_name(&self) -> String {
        let unit = self.unit.as_ref().map_or_else(String::new, |unit| format!("_{}", unit.as_str()));
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.name)
    }
}

const BYTES: Option<Unit> = Some(Unit::Bytes);
const SECONDS: Option<Unit> = Some(Unit::Seconds);

/// Every family, in the order of the text.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "vxgate_build_info",
        unit: None,
        kind: Kind::Gauge,
        help: "The version that runs: always 1",
        samples: |_, out| out.push((vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)),
    },
    Family {
        name: "vxgate_tunnel_info",
        unit: None,
        kind: Kind::Gauge,
        help: "A tunnel that is up, with what it is: always 1",
        samples: |scrape, out| {
            each_tunnel(scrape, out, |tunnel, labels, out| {
                labels.push(("local", tunnel.local.to_string()));
                labels.push(("port", tunnel.port.to_string()));
                labels.push(("lane", tunnel.lane.clone()));
                out.push((labels.clone(), 1.0));
            });
        },
    },
    Family {
        name: "vxgate_tunnel_start_time",
        unit: SECONDS,
        kind: Kind::Gauge,
        help: "When the tunnel came up, in seconds since 1970",
        samples: |scrape, out| of_tunnel(scrape, out, |tunnel| (scrape.now - tunnel.uptime_s as f64).floor()),
    },
    Family {
        name: "vxgate_mtu",
        unit: BYTES,
        kind: Kind::Gauge,
        help: "The device's MTU",
        samples: |scrape, out| of_tunnel(scrape, out, |tunnel| tunnel.mtu.into()),
    },
    Family {
        name: "vxgate_frames",
        unit: None,
        kind: Kind::Counter,
        help: "Frames delivered to the device (rx) and sent to peers, each copy counted (tx)",
        samples: |scrape, out| both_ways(scrape, out, |tunnel| (tunnel.rx.frames, tunnel.tx.frames)),
    },
    Family {
        name: "vxgate_frame",
        unit: BYTES,
        kind: Kind::Counter,
        help: "Octets of those frames, without the outer headers",
        samples: |scrape, out| both_ways(scrape, out, |tunnel| (tunnel.rx.octets, tunnel.tx.octets)),
    },
    Family {
        name: "vxgate_dropped_frames",
        unit: None,
        kind: Kind::Counter,
        help: "Frames dropped, by the reasons of `vxgate explain`, from the peers (rx) and from the host (tx)",
        samples: |scrape, out| {
            each_tunnel(scrape, out, |tunnel, labels, out| {
                for (direction, dropped) in [("rx", &tunnel.dropped.rx), ("tx", &tunnel.dropped.tx)] {
                    // Those that never struck, too, so that a rate is right from the first one on.
                    for reason in DropReason::ALL {
                        let count = dropped.get(reason.name()).copied().unwrap_or_default();
                        let own = [("direction", direction.to_owned()), ("reason", reason.name().to_owned())];
                        out.push((labels.iter().cloned().chain(own).collect(), count as f64));
                    }
                }
            });
        },
    },
    Family {
        name: "vxgate_flooded_frames",
        unit: None,
        kind: Kind::Counter,
        help: "Frames of the host for all, for a group or for an unknown address",
        samples: |scrape, out| of_tunnel(scrape, out, |tunnel| tunnel.flood.frames as f64),
    },
    Family {
        name: "vxgate_flood_copies",
        unit: None,
        kind: Kind::Counter,
        help: "Copies of those frames",
        samples: |scrape, out| of_tunnel(scrape, out, |tunnel| tunnel.flood.copies as f64),
    },
    Family {
        name: "vxgate_own_frames",
        unit: None,
        kind: Kind::Counter,
        help: "Frames of the tunnel's own: probes to peers, answers to the host",
        samples: |scrape, out| {
            each_tunnel(scrape, out, |tunnel, labels, out| {
                for (to, count) in [("peers", tunnel.own.tx_frames), ("host", tunnel.own.answered_frames)] {
                    out.push((with(labels, "to", to), count as f64));
                }
            });
        },
    },
    Family {
        name: "vxgate_fdb_entries",
        unit: None,
        kind: Kind::Gauge,
        help: "MAC addresses in the forwarding database",
        samples: |scrape, out| of_tunnel(scrape, out, |tunnel| tunnel.fdb.entries as f64),
    },
    Family {
        name: "vxgate_fdb_limit",
        unit: None,
        kind: Kind::Gauge,
        help: "Most MAC addresses that the forwarding database takes",
        samples: |scrape, out| of_tunnel(scrape, out, |tunnel| tunnel.fdb.limit as f64),
    },
    Family {
        name: "vxgate_fdb_learned",
        unit: None,
        kind: Kind::Counter,
        help: "Entries learned",
        samples: |scrape, out| of_tunnel(scrape, out, |tunnel| tunnel.table.learned as f64),
    },
    Family {
        name: "vxgate_fdb_moved",
        unit: None,
        kind: Kind::Counter,
        help: "Entries that learning moved to another peer",
        samples: |scrape, out| of_tunnel(scrape, out, |tunnel| tunnel.table.moved as f64),
    },
    Family {
        name: "vxgate_fdb_moves_damped",
        unit: None,
        kind: Kind::Counter,
        help: "Moves that were not made, because the address moves too often",
        samples: |scrape, out| of_tunnel(scrape, out, |tunnel| tunnel.table.moves_damped as f64),
    },
    Family {
        name: "vxgate_fdb_aged",
        unit: None,
        kind: Kind::Counter,
        help: "Entries that went because nobody was heard for the ageing time",
        samples: |scrape, out| of_tunnel(scrape, out, |tunnel| tunnel.table.aged as f64),
    },
    Family {
        name: "vxgate_fdb_refused",
        unit: None,
        kind: Kind::Counter,
        help: "Frames delivered whose source could not be learned: the table, the peer's share of it or the list of peers is full",
        samples: |scrape, out| {
            each_tunnel(scrape, out, |tunnel, labels, out| {
                let table = &tunnel.table;
                let refused = [
                    ("macs", table.refused_macs),
                    ("share", table.refused_share),
                    ("peers", table.refused_peers),
                ];
                for (what, count) in refused {
                    out.push((with(labels, "full", what), count as f64));
                }
            });
        },
    },
    Family {
        name: "vxgate_peer_up",
        unit: None,
        kind: Kind::Gauge,
        help: "1 for a peer that answers probes, or is not probed and was heard within a minute; 0 for any other",
        samples: |scrape, out| of_peer(scrape, out, |peer| Some(f64::from(peer.state == PeerState::Up))),
    },
    Family {
        name: "vxgate_peer_last_heard_timestamp",
        unit: SECONDS,
        kind: Kind::Gauge,
        help: "When a datagram last came from the peer, in seconds since 1970; none for never",
        samples: |scrape, out| {
            of_peer(scrape, out, |peer| Some(scrape.now - peer.last_heard_ms? as f64 / 1000.0));
        },
    },
    Family {
        name: "vxgate_peer_round_trip",
        unit: SECONDS,
        kind: Kind::Gauge,
        help: "Round-trip time of health probes, smoothed; none where none was answered",
        samples: |scrape, out| of_peer(scrape, out, |peer| Some(peer.rtt_us? as f64 / 1e6)),
    },
    Family {
        name: "vxgate_peer_path_mtu",
        unit: BYTES,
        kind: Kind::Gauge,
        help: "Octets of an outer IP packet that the path to the peer carries; none where nothing is known",
        samples: |scrape, out| of_peer(scrape, out, |peer| peer.path_mtu.map(f64::from)),
    },
    Family {
        name: "vxgate_peer_macs",
        unit: None,
        kind: Kind::Gauge,
        help: "MAC addresses known behind the peer",
        samples: |scrape, out| of_peer(scrape, out, |peer| Some(peer.macs as f64)),
    },
    Family {
        name: "vxgate_peer_frames",
        unit: None,
        kind: Kind::Counter,
        help: "Frames from the peer (rx) and to it (tx)",
        samples: |scrape, out| peer_both_ways(scrape, out, |peer| (peer.rx_frames, peer.tx_frames)),
    },
    Family {
        name: "vxgate_peer_frame",
        unit: BYTES,
        kind: Kind::Counter,
        help: "Octets of those frames, without the outer headers",
        samples: |scrape, out| peer_both_ways(scrape, out, |peer| (peer.rx_octets, peer.tx_octets)),
    },
    Family {
        name: "vxgate_probes",
        unit: None,
        kind: Kind::Counter,
        help: "Health probes sent",
        samples: |scrape, out| of_health(scrape, out, |health| health.probes),
    },
    Family {
        name: "vxgate_probe_answers",
        unit: None,
        kind: Kind::Counter,
        help: "Answers to health probes",
        samples: |scrape, out| of_health(scrape, out, |health| health.answers),
    },
    Family {
        name: "vxgate_probe_answers_refused",
        unit: None,
        kind: Kind::Counter,
        help: "What looked like an answer to a probe and was none, by reason",
        samples: |scrape, out| {
            each_tunnel(scrape, out, |tunnel, labels, out| {
                if let Some(health) = &tunnel.health {
                    for reason in AnswerRefusal::ALL {
                        let count = health.refused.get(reason.name()).copied().unwrap_or_default();
                        out.push((with(labels, "reason", reason.name()), count as f64));
                    }
                }
            });
        },
    },
    Family {
        name: "vxgate_icmp_reports",
        unit: None,
        kind: Kind::Counter,
        help: "What the network said of the tunnel's datagrams, by what became of it",
        samples: |scrape, out| {
            each_tunnel(scrape, out, |tunnel, labels, out| {
                let reports = &tunnel.reports;
                let kinds = [
                    ("unreachable", reports.unreachable),
                    ("too-big", reports.too_big),
                    ("ignored", reports.ignored),
                ];
                for (kind, count) in kinds {
                    out.push((with(labels, "kind", kind), count as f64));
                }
            });
        },
    },
    Family {
        name: "process_resident_memory",
        unit: BYTES,
        kind: Kind::Gauge,
        help: "Memory of this process that is in RAM",
        samples: |scrape, out| out.extend(scrape.process.resident.map(|octets| (Vec::new(), octets))),
    },
    Family {
        name: "process_cpu",
        unit: SECONDS,
        kind: Kind::Counter,
        help: "Processor time of this process, its own and the kernel's for it",
        samples: |scrape, out| out.extend(scrape.process.cpu.map(|seconds| (Vec::new(), seconds))),
    },
    Family {
        name: "process_open_fds",
        unit: None,
        kind: Kind::Gauge,
        help: "Open descriptors of this process",
        samples: |scrape, out| out.extend(scrape.process.descriptors.map(|count| (Vec::new(), count))),
    },
];

fn labels_of(tunnel: &TunnelStatus) -> Vec<Label> {
    vec![("dev", tunnel.dev.clone()), ("vni", tunnel.vni.to_string())]
}

fn with(labels: &[Label], name: &'static str, value: impl fmt::Display) -> Vec<Label> {
    labels.iter().cloned().chain([(name, value.to_string())]).collect()
}

fn each_tunnel(
    scrape: &Scrape<'_>,
    out: &mut Samples,
    samples: impl Fn(&TunnelStatus, &mut Vec<Label>, &mut Samples),
) {
    for tunnel in scrape.tunnels {
        samples(tunnel, &mut labels_of(tunnel), out);
    }
}

fn of_tunnel(scrape: &Scrape<'_>, out: &mut Samples, value: impl Fn(&TunnelStatus) -> f64) {
    each_tunnel(scrape, out, |tunnel, labels, out| out.push((labels.clone(), value(tunnel))));
}

fn of_health(
    scrape: &Scrape<'_>,
    out: &mut Samples,
    value: impl Fn(&crate::control::protocol::Health) -> u64,
) {
    each_tunnel(scrape, out, |tunnel, labels, out| {
        out.extend(tunnel.health.iter().map(|health| (labels.clone(), value(health) as f64)));
    });
}

fn both_ways(scrape: &Scrape<'_>, out: &mut Samples, values: impl Fn(&TunnelStatus) -> (u64, u64)) {
    each_tunnel(scrape, out, |tunnel, labels, out| {
        let (rx, tx) = values(tunnel);
        out.push((with(labels, "direction", "rx"), rx as f64));
        out.push((with(labels, "direction", "tx"), tx as f64));
    });
}

fn each_peer(scrape: &Scrape<'_>, out: &mut Samples, samples: impl Fn(&PeerStatus, &[Label], &mut Samples)) {
    each_tunnel(scrape, out, |tunnel, labels, out| {
        for peer in &tunnel.peers {
            samples(peer, &with(labels, "peer", peer.ip), out);
        }
    });
}

fn of_peer(scrape: &Scrape<'_>, out: &mut Samples, value: impl Fn(&PeerStatus) -> Option<f64>) {
    each_peer(scrape, out, |peer, labels, out| out.extend(value(peer).map(|value| (labels.to_vec(), value))));
}

fn peer_both_ways(scrape: &Scrape<'_>, out: &mut Samples, values: impl Fn(&PeerStatus) -> (u64, u64)) {
    each_peer(scrape, out, |peer, labels, out| {
        let (rx, tx) = values(peer);
        out.push((with(labels, "direction", "rx"), rx as f64));
        out.push((with(labels, "direction", "tx"), tx as f64));
    });
}

/// What the system says of this process (proc_pid_stat(5), proc_pid_statm(5)); nothing where it says nothing.
struct Process {
    resident: Option<f64>,
    cpu: Option<f64>,
    descriptors: Option<f64>,
}

impl Process {
    fn look() -> Process {
        let page = rustix::param::page_size() as f64;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let statm = fs::read_to_string("/proc/self/statm").ok();
        let resident = statm.and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok());
        let stat = fs::read_to_string("/proc/self/stat").ok();
        let cpu = stat.and_then(|text| {
            // The name before may hold anything, brackets included.
            let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
            let user = fields.next()?.parse::<f64>().ok()?;
            Some(user + fields.next()?.parse::<f64>().ok()?)
        });
        Process {
            resident: resident.map(|pages| pages * page),
            cpu: cpu.map(|cpu| cpu / ticks),
            descriptors: fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as f64),
        }
    }
}

/// The text, as it is at this time.
pub(super) fn text(tunnels: &[TunnelStatus], now: SystemTime) -> Result<String, fmt::Error> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
    let scrape = Scrape { tunnels, process: Process::look(), now };
    let mut registry = Registry::default();
    let families = FAMILIES.iter().map(|family| {
        let mut samples = Samples::new();
        (family.samples)(&scrape, &mut samples);
        (family, samples)
    });
    registry.register_collector(Box::new(Exposed(families.collect())));
    let mut text = String::with_capacity(16 * 1024);
    encode(&mut text, &registry)?;
    Ok(text)
}

/// The families with their samples.
struct Exposed(Vec<(&'static Family, Samples)>);

impl fmt::Debug for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} families", self.0.len())
    }
}

impl Collector for Exposed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (family, samples) in self.0.iter().filter(|(_, samples)| !samples.is_empty()) {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric =
                encoder.encode_descriptor(family.name, family.help, family.unit.as_ref(), kind)?;
            for (labels, value) in samples {
                let mut one = metric.encode_family(labels)?;
                match family.kind {
                    Kind::Counter => one.encode_counter::<NoLabelSet, _, f64>(value, None)?,
                    Kind::Gauge => one.encode_gauge(value)?,
                }
            }
        }
        Ok(())
    }
}
