//! `vxgate show`: a block for the tunnel and one for each peer, as `wg show` has them.

use std::fmt::Display;
use std::io::{self, Write};

use super::style::Style;
use super::units::{Count, Millis, MillisAgo, Octets, PerSecond, Seconds};
use super::{Format, JsonList};
use crate::control::protocol::{Health, PeerState, PeerStatus, Rates, Sizes, TableCounts, TunnelStatus};
use vxgate_core::DropReason;

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
    line(out, "sandbox", &tunnel.sandbox)?;
    sizes(out, &tunnel.sizes)?;
    line(out, "offload", names(tunnel.offload.iter().filter(|(_, on)| **on).map(|(name, _)| name.clone())))?;
    line(out, "uptime", Seconds(tunnel.uptime_s))?;
    let TableCounts { learned, moved, moves_damped, aged, refused_macs, refused_share, refused_peers } =
        tunnel.table;
    let damped = match moves_damped {
        0 => String::new(),
        damped => style.bad(format!(", {damped} moves damped")).to_string(),
    };
    let refused = match refused_macs + refused_share + refused_peers {
        0 => String::new(),
        refused => style.bad(format!(", {refused} refused")).to_string(),
    };
    line(
        out,
        "fdb",
        format_args!(
            "{} of {} entries, {learned} learned, {moved} moved, {aged} aged{damped}{refused}",
            tunnel.fdb.entries, tunnel.fdb.limit
        ),
    )?;
    let rates = &tunnel.rates;
    traffic(out, "received", (tunnel.rx.frames, tunnel.rx.octets), rx(rates))?;
    traffic(out, "sent", (tunnel.tx.frames, tunnel.tx.octets), tx(rates))?;
    line(
        out,
        "flooded",
        format_args!("{}, {}", Count(tunnel.flood.frames, "frame"), copies(tunnel.flood.copies)),
    )?;
    line(out, "rates", format_args!("the average since the last look, {}", MillisAgo(Some(rates.over_ms))))?;
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
    drops(out, style, tunnel)
}

/// A line for each reason, the most frequent first, with what it means.
fn drops(out: &mut dyn Write, style: Style, tunnel: &TunnelStatus) -> io::Result<()> {
    let mut drops: Vec<_> = tunnel.drops.iter().filter(|(_, count)| **count > 0).collect();
    drops.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), name.as_str()));
    if drops.is_empty() {
        return line(out, "drops", NONE);
    }
    line(out, "drops", "`vxgate explain REASON` tells more")?;
    let width = drops.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let digits = drops.iter().map(|(_, count)| count.to_string().len()).max().unwrap_or_default();
    for (name, count) in drops {
        let meaning = DropReason::ALL.iter().find(|reason| reason.name() == name);
        let meaning = meaning.map_or("", |reason| reason.explain());
        // Padded first: colours have no width.
        let told = format!("{count:>digits$} {name:<width$}");
        writeln!(out, "    {}  {meaning}", style.bad(told))?;
    }
    Ok(())
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
    if peer.inside {
        let why = "its route leads into the tunnel itself: nothing reaches it";
        line(out, "loop", style.bad(why))?;
    }
    let heard = peer.last_heard_ms.or(peer.last_heard_s.map(|seconds| seconds.saturating_mul(1000)));
    line(out, "last heard", MillisAgo(heard))?;
    line(out, "round trip", Millis(peer.rtt_us))?;
    match peer.path_mtu {
        Some(octets) => line(out, "path mtu", octets)?,
        None => line(out, "path mtu", UNKNOWN)?,
    }
    line(out, "macs", peer.macs)?;
    traffic(out, "received", (peer.rx_frames, peer.rx_octets), rx(&peer.rates))?;
    traffic(out, "sent", (peer.tx_frames, peer.tx_octets), tx(&peer.rates))
}

/// Frames and bits a second.
type Rate = (u64, u64);

fn rx(rates: &Rates) -> Rate {
    (rates.rx_frames_per_s, rates.rx_bits_per_s)
}

fn tx(rates: &Rates) -> Rate {
    (rates.tx_frames_per_s, rates.tx_bits_per_s)
}

fn traffic(out: &mut dyn Write, label: &str, (frames, octets): (u64, u64), rate: Rate) -> io::Result<()> {
    let (frames, octets) = (Count(frames, "frame"), Octets(octets));
    match rate {
        (0, 0) => line(out, label, format_args!("{frames}, {octets}")),
        (frames_per_s, bits_per_s) => line(
            out,
            label,
            format_args!(
                "{frames}, {octets}; {}, {}",
                PerSecond(frames_per_s, "frame"),
                PerSecond(bits_per_s, "bit")
            ),
        ),
    }
}

fn copies(count: u64) -> String {
    if count == 1 { "1 copy".to_owned() } else { format!("{count} copies") }
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
