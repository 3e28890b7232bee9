//! `vxgate peer list`: a line for each peer.

use std::io::{self, Write};

use serde::Serialize;

use super::units::{Count, Millis, MillisAgo, Octets};
use super::{Format, JsonList};
use crate::config::values::DeviceName;
use crate::control::protocol::PeerStatus;

/// A peer as JSON: the keys of `vxgate show -j`, and the device.
#[derive(Serialize)]
struct Peer<'a> {
    dev: &'a str,
    #[serde(flatten)]
    status: &'a PeerStatus,
}

/// Writes the peers of these tunnels.
pub(crate) fn write(
    out: &mut dyn Write,
    format: Format,
    tunnels: &[(DeviceName, Vec<PeerStatus>)],
) -> io::Result<()> {
    let peers = tunnels.iter().flat_map(|(dev, peers)| peers.iter().map(move |peer| (dev, peer)));
    match format {
        Format::Text(_) => {
            let head =
                ["peer", "inner", "dev", "state", "last heard", "round trip", "macs", "received", "sent"];
            let mut rows = vec![head.map(str::to_owned)];
            rows.extend(peers.map(|(dev, peer)| {
                [
                    peer.ip.to_string(),
                    peer.inner.map_or_else(|| "-".to_owned(), |inner| inner.to_string()),
                    dev.to_string(),
                    peer.state.name().to_owned(),
                    MillisAgo(
                        peer.last_heard_ms.or(peer.last_heard_s.map(|seconds| seconds.saturating_mul(1000))),
                    )
                    .to_string(),
                    Millis(peer.rtt_us).to_string(),
                    peer.macs.to_string(),
                    format!("{}, {}", Count(peer.rx_frames, "frame"), Octets(peer.rx_octets)),
                    format!("{}, {}", Count(peer.tx_frames, "frame"), Octets(peer.tx_octets)),
                ]
            }));
            table(out, &rows)
        }
        Format::Json | Format::PrettyJson => {
            let mut list = JsonList::new(format == Format::PrettyJson);
            for (dev, status) in peers {
                list.element(out, &Peer { dev: dev.as_str(), status })?;
            }
            list.end(out)
        }
    }
}

/// Writes rows with their columns under one another, two spaces apart.
pub(super) fn table<const N: usize>(out: &mut dyn Write, rows: &[[String; N]]) -> io::Result<()> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
