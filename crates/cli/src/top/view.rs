//! How `vxgate top` looks.

use std::net::IpAddr;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table};
use vxgate_core::DropReason;

use super::model::{Derived, Model, SAMPLES, Screen, Speed};
use crate::control::protocol::{PeerState, PeerStatus, TunnelStatus};
use crate::print::units::{Millis, MillisAgo, PerSecond, Seconds};

const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
const FAINT: Style = Style::new().fg(Color::DarkGray);
const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red);

/// What the keys do, as the help has it.
const KEYS: &[(&str, &str)] = &[
    ("q, Ctrl-C", "end"),
    ("? or h", "this help, and back"),
    ("f", "the forwarding database, and back"),
    ("s", "sort peers: as added, by traffic, by silence"),
    ("p, space", "pause"),
    ("+ and -", "look more or less often"),
    ("tab, arrows", "the next tunnel; scroll"),
];

/// Draws it all.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(3), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    let Some(tunnel) = model.tunnel() else {
        let why = model.why_lost().unwrap_or("no tunnel has been seen yet");
        frame.render_widget(Paragraph::new(Span::styled(why, BAD)), head);
        return;
    };
    frame.render_widget(Paragraph::new(heading(model, tunnel)), head);
    match model.screen() {
        Screen::Peers | Screen::Help => {
            let drops =
                u16::try_from(tunnel.drops.len()).unwrap_or(u16::MAX).saturating_add(2).min(body.height / 2);
            let [peers_area, drops_area] =
                Layout::vertical([Constraint::Min(0), Constraint::Length(drops)]).areas(body);
            peers(frame, peers_area, model);
            self::drops(frame, drops_area, model, tunnel);
        }
        Screen::Fdb => fdb(frame, body, model, tunnel),
    }
    if model.screen() == Screen::Help {
        help(frame, body);
    }
    frame.render_widget(Paragraph::new(footer(model)), foot);
}

fn heading<'a>(model: &Model, tunnel: &'a TunnelStatus) -> Vec<Line<'a>> {
    let (place, of) = model.place();
    let place = if of > 1 { format!(" ({place} of {of})") } else { String::new() };
    let first = Line::from(vec![
        Span::styled(tunnel.dev.as_str(), HEAD),
        Span::raw(format!(
            "{place}  VNI {}  {}:{}  MTU {}  up {}",
            tunnel.vni,
            tunnel.local,
            tunnel.port,
            tunnel.mtu,
            Seconds(tunnel.uptime_s)
        )),
    ]);
    let nothing = Derived::default();
    let derived = model.derived().unwrap_or(&nothing);
    let second = Line::raw(format!("in {}   out {}", speed(derived.all.rx), speed(derived.all.tx)));
    let refused = tunnel.table.refused_macs + tunnel.table.refused_share + tunnel.table.refused_peers;
    let third = Line::from(vec![
        Span::raw(format!(
            "flooded {}   fdb {} of {}, {} learned, {} moved",
            PerSecond(derived.floods, "frame"),
            tunnel.fdb.entries,
            tunnel.fdb.limit,
            PerSecond(derived.learned, ""),
            PerSecond(derived.moved, ""),
        )),
        Span::styled(if refused > 0 { format!(", {refused} refused") } else { String::new() }, BAD),
    ]);
    vec![first, second, third]
}

fn speed(speed: Speed) -> String {
    format!("{}, {}", PerSecond(speed.frames, "frame"), PerSecond(speed.bits, "bit"))
}

fn peers(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let nothing = Derived::default();
    let derived = model.derived().unwrap_or(&nothing);
    // All sparklines have one scale, so that they can be compared.
    let most = derived.history.values().flatten().copied().max().unwrap_or_default();
    let columns = columns(area.width);
    let row = |cells: [Cell<'static>; COLUMNS.len()]| {
        let cells = cells.into_iter().enumerate();
        Row::new(cells.filter(|(place, _)| columns.contains(place)).map(|(_, cell)| cell).collect::<Vec<_>>())
    };
    let rows =
        model.peers().into_iter().skip(model.scroll()).map(|peer| row(peer_cells(peer, derived, most)));
    let head = row(COLUMNS.map(|(name, ..)| Cell::new(name))).style(HEAD);
    let widths = columns.iter().filter_map(|place| {
        let (_, width, _) = COLUMNS.get(*place)?;
        // The first one takes what is left.
        Some(if *place == 0 { Constraint::Min(*width) } else { Constraint::Length(*width) })
    });
    frame.render_widget(Table::new(rows, widths).header(head).block(Block::new()), area);
}

/// The columns: heading, width, and which go first where the terminal is too narrow for all.
const COLUMNS: [(&str, u16, u8); 8] = [
    ("peer", 15, 0),
    ("state", 7, 1),
    ("heard", 12, 2),
    ("round trip", 10, 5),
    ("macs", 5, 6),
    ("in", 13, 3),
    ("out", 13, 4),
    ("traffic", SAMPLES as u16, 7),
];

/// The columns that a terminal of this width has room for: all of them are whole, or not there.
fn columns(width: u16) -> Vec<usize> {
    let mut by_rank: Vec<usize> = (0..COLUMNS.len()).collect();
    by_rank.sort_by_key(|place| COLUMNS[*place].2);
    let mut left = width;
    let mut columns = Vec::new();
    for place in by_rank {
        // One more for the space between.
        let needed = COLUMNS[place].1 + u16::from(!columns.is_empty());
        if needed > left {
            break;
        }
        left -= needed;
        columns.push(place);
    }
    columns.sort_unstable();
    columns
}

fn peer_cells(peer: &PeerStatus, derived: &Derived, most: u64) -> [Cell<'static>; COLUMNS.len()] {
    let speeds = derived.peers.get(&peer.ip).copied().unwrap_or_default();
    let state = match peer.state {
        PeerState::Up => GOOD,
        PeerState::Down => BAD,
        PeerState::Unknown => Style::new(),
    };
    [
        Cell::new(peer.ip.to_string()),
        Cell::new(peer.state.name()).style(state),
        Cell::new(heard(peer)),
        Cell::new(Millis(peer.rtt_us).to_string()),
        Cell::new(peer.macs.to_string()),
        Cell::new(PerSecond(speeds.rx.bits, "bit").to_string()),
        Cell::new(PerSecond(speeds.tx.bits, "bit").to_string()),
        Cell::new(sparkline(derived, peer.ip, most)).style(Style::new().fg(Color::Cyan)),
    ]
}

fn heard(peer: &PeerStatus) -> String {
    match peer.last_heard_ms {
        Some(millis @ 60_000..) => format!("{} min ago", millis / 60_000),
        Some(millis @ 10_000..) => format!("{} s ago", millis / 1000),
        other => MillisAgo(other).to_string(),
    }
}

/// The last samples as bars, the newest at the right; the highest of all peers is a full one.
fn sparkline(derived: &Derived, peer: IpAddr, most: u64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let samples = derived.history.get(&peer);
    let bars: String = samples
        .into_iter()
        .flatten()
        .map(|sample| {
            let eighths = u128::from(*sample) * (BARS.len() as u128 - 1) / u128::from(most.max(1));
            BARS.get(usize::try_from(eighths).unwrap_or_default()).copied().unwrap_or(' ')
        })
        .collect();
    format!("{bars:>SAMPLES$}")
}

fn drops(frame: &mut Frame<'_>, area: Rect, model: &Model, tunnel: &TunnelStatus) {
    let mut drops: Vec<_> = tunnel.drops.iter().filter(|(_, count)| **count > 0).collect();
    drops.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), name.as_str()));
    let rows = drops.into_iter().map(|(name, count)| {
        let rate = model.derived().and_then(|derived| derived.drops.get(name)).copied().unwrap_or_default();
        let meaning = DropReason::ALL.iter().find(|reason| reason.name() == name);
        let style = if rate > 0 { BAD } else { Style::new() };
        Row::new([
            Cell::new(name.clone()).style(style),
            Cell::new(count.to_string()),
            Cell::new(PerSecond(rate, "").to_string()),
            Cell::new(meaning.map_or("", |reason| reason.explain())).style(FAINT),
        ])
    });
    let widths = [Constraint::Length(17), Constraint::Length(12), Constraint::Length(9), Constraint::Min(0)];
    let head = Row::new(["dropped", "frames", "now", "why"]).style(HEAD);
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

fn fdb(frame: &mut Frame<'_>, area: Rect, model: &Model, tunnel: &TunnelStatus) {
    let rows = model.entries().iter().skip(model.scroll()).map(|entry| {
        Row::new([
            Cell::new(entry.mac.to_string()),
            Cell::new(entry.dst.to_string()),
            Cell::new(format!("{} s", entry.used)),
            Cell::new(format!("{} s", entry.updated)),
            Cell::new(if entry.state.shown().is_empty() { "dynamic" } else { entry.state.shown() }),
        ])
    });
    let widths = [
        Constraint::Length(17),
        Constraint::Min(15),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(9),
    ];
    let head = Row::new(["mac", "dst", "used", "updated", "state"]).style(HEAD);
    let title = format!("fdb of {}: {} of {} entries", tunnel.dev, tunnel.fdb.entries, tunnel.fdb.limit);
    let block = Block::new().title(title);
    frame.render_widget(Table::new(rows, widths).header(head).block(block), area);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(key, does)| Line::from(vec![Span::styled(format!("{key:<12} "), HEAD), Span::raw(*does)]))
        .collect();
    let (width, height) = (64, u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2));
    let centred = Rect {
        x: area.x + area.width.saturating_sub(width) / 2,
        y: area.y + area.height.saturating_sub(height) / 2,
        width: width.min(area.width),
        height: height.min(area.height),
    };
    frame.render_widget(Clear, centred);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), centred);
}

fn footer<'a>(model: &'a Model) -> Line<'a> {
    let mut parts = vec![Span::styled(
        format!("q end  ? keys  f fdb  each {} s  {}", model.interval().as_secs_f32(), model.sort().name()),
        FAINT,
    )];
    if model.is_paused() {
        parts.push(Span::styled("  paused", HEAD));
    }
    if let Some(why) = model.why_lost() {
        parts.push(Span::styled(format!("  {why}"), BAD));
    }
    Line::from(parts)
}
