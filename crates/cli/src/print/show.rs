//! `vxgate show`: a block for the tunnel and one for each peer, as `wg show` has them.

use std::fmt::Display;
use std::io::{self, Write};

use super::style::Style;
use super::units::{Ago, Count, Millis, Octets, Seconds};
use super::{Format, JsonList};
use crate::control::protocol::{Health, PeerState, PeerStatus, Sizes, TunnelStatus};

/// Writes these tunnels; as JSON, a list with one object for each.
pub(crate) fn write(out: &mut dyn Write, format: Format, tunnels: &[TunnelStatus]) -> io::Result<()> {
    match format {
        Format::Text(style) => {
            for (index, tunnel) in tunnels.iter().enumerate() {
                if index > 0 {
                    writeln!(out)?;
                }
                tunnel_block(out, style, tunnel)?;
                for peer in &tunnel.peers {
                    writeln!(out)?;
                    peer_block(out, style, peer)?;
                }
            }
            Ok(())
        }
        Format::Json | Format::PrettyJson => {
            let mut list = JsonList::new(format == Format::PrettyJson);
            for tunnel in tunnels {
                list.element(out, tunnel)?;
            }
            list.end(out)
        }
    }
}

fn tunnel_block(out: &mut dyn Write, style: Style, tunnel: &TunnelStatus) -> io::Result<()> {
    writeln!(out, "{}: {}", style.name("tunnel"), style.name(&tunnel.dev))?;
    line(out, "vni", tunnel.vni)?;
    line(out, "local", format_args!("{} port {}", tunnel.local, tunnel.port))?;
    line(out, "source port", &tunnel.source_port)?;
    line(out, "mtu", tunnel.mtu)?;
    line(out, "lane", format_args!("{}, {}", tunnel.lane, Count(tunnel.workers.into(), "worker")))?;
    line(out, "threads", format_args!("{} for each worker", tunnel.threads))?;
    let micros = tunnel.busy_poll.parse::<u32>();
    line(out, "busy poll", micros.map_or(tunnel.busy_poll.clone(), |micros| format!("{micros} us")))?;
    line(out, "affinity", tunnel.affinity.as_deref().unwrap_or(NONE))?;
    sizes(out, &tunnel.sizes)?;
    line(out, "offload", names(tunnel.offload.iter().filter(|(_, on)| **on).map(|(name, _)| name.clone())))?;
    line(out, "uptime", Seconds(tunnel.uptime_s))?;
    line(out, "fdb", format_args!("{} of {} entries", tunnel.fdb.entries, tunnel.fdb.limit))?;
    traffic(out, "received", tunnel.rx.frames, tunnel.rx.octets)?;
    traffic(out, "sent", tunnel.tx.frames, tunnel.tx.octets)?;
    let own = &tunnel.own;
    line(out, "own", format_args!("{} to peers, {}", Count(own.tx_frames, "frame"), Octets(own.tx_octets)))?;
    let reports = [
        ("unreachable", tunnel.reports.unreachable),
        ("too-big", tunnel.reports.too_big),
        ("ignored", tunnel.reports.ignored),
    ];
    let reports = reports.iter().filter(|(_, count)| *count > 0);
    line(out, "reports", names(reports.map(|(what, count)| format!("{count} {what}"))))?;
    match &tunnel.health {
        None => line(out, "health", NONE)?,
        Some(health) if health.probes == 0 && tunnel.peers.iter().all(|peer| peer.inner.is_none()) => {
            let why = "no peer is probed, as no peer's inner address is known (--peer IP=INNER)";
            line(out, "health", why)?;
        }
        Some(health) => {
            let Health { interval_ms, retry_ms, misses, hold_down_ms, probes, answers, refused } = health;
            line(
                out,
                "health",
                format_args!(
                    "a probe each {interval_ms} ms, again after {retry_ms} ms, down after {misses} misses, back after \
                     {hold_down_ms} ms"
                ),
            )?;
            let refused = refused.iter().map(|(why, count)| format!(", {count} {why}"));
            let refused: String = refused.collect();
            line(out, "probes", format_args!("{probes} sent, {answers} answered{refused}"))?;
        }
    }
    let drops = tunnel.drops.iter().filter(|(_, count)| **count > 0);
    let drops = names(drops.map(|(reason, count)| format!("{count} {reason}")));
    if drops == NONE { line(out, "drops", drops) } else { line(out, "drops", style.bad(drops)) }
}

fn sizes(out: &mut dyn Write, sizes: &Sizes) -> io::Result<()> {
    let device = sizes
        .tx_queue_frames
        .map_or_else(|| UNKNOWN.to_owned(), |frames| Count(frames.into(), "frame").to_string());
    let (receive, send) = (Octets(sizes.receive_buffer_octets), Octets(sizes.send_buffer_octets));
    line(out, "buffers", format_args!("receive {receive}, send {send}, device {device}"))?;
    match (sizes.gso_max_octets, sizes.gso_max_segments) {
        (Some(octets), Some(segments)) => {
            let (octets, segments) = (Octets(octets.into()), Count(segments.into(), "segment"));
            line(out, "superframe", format_args!("at most {octets}, {segments}"))
        }
        (_, _) => line(out, "superframe", UNKNOWN),
    }
}

fn peer_block(out: &mut dyn Write, style: Style, peer: &PeerStatus) -> io::Result<()> {
    writeln!(out, "{}: {}", style.name("peer"), style.name(peer.ip))?;
    match peer.inner {
        Some(inner) => line(out, "inner", inner)?,
        None => line(out, "inner", UNKNOWN)?,
    }
    let state = peer.state.name();
    let state = match peer.state_for_s {
        Some(seconds) => format!("{state} for {}", Seconds(seconds)),
        None => state.to_owned(),
    };
    line(
        out,
        "state",
        match peer.state {
            PeerState::Up => style.good(state),
            PeerState::Down => style.bad(state),
            PeerState::Unknown => style.plain(state),
        },
    )?;
    line(out, "last heard", Ago(peer.last_heard_s))?;
    line(out, "round trip", Millis(peer.rtt_us))?;
    match peer.path_mtu {
        Some(octets) => line(out, "path mtu", octets)?,
        None => line(out, "path mtu", UNKNOWN)?,
    }
    line(out, "macs", peer.macs)?;
    traffic(out, "received", peer.rx_frames, peer.rx_octets)?;
    traffic(out, "sent", peer.tx_frames, peer.tx_octets)
}

fn traffic(out: &mut dyn Write, label: &str, frames: u64, octets: u64) -> io::Result<()> {
    line(out, label, format_args!("{}, {}", Count(frames, "frame"), Octets(octets)))
}

fn line(out: &mut dyn Write, label: &str, value: impl Display) -> io::Result<()> {
    writeln!(out, "  {:<13}{value}", format!("{label}:"))
}

const NONE: &str = "none";

/// What the kernel does not tell.
const UNKNOWN: &str = "-";

fn names(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { NONE.to_owned() } else { names.join(", ") }
}
