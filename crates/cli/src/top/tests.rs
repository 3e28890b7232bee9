//! The live view without a terminal: screens against files, and the picture of the documents made of one.
//!
//! `UPDATE_GOLDEN=1 cargo test -p vxgate --bin vxgate top` writes the files anew.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use vxgate_testbed::now;

use super::model::{Key, Model, Screen};
use super::view;
use crate::control::protocol::{EntryState, FdbEntry, PeerState, TunnelStatus};
use crate::print::tests::tunnel;

/// A tunnel that has carried traffic for some seconds, one peer of which has just died.
fn busy() -> Model {
    let mut model = Model::new(None);
    let mut status = tunnel();
    status.peers[1].state = PeerState::Up;
    status.peers[1].last_heard_ms = Some(100);
    let start = now();
    for second in 0..30_u64 {
        let wave = 1_000_000 + second % 7 * 400_000;
        status.rx.frames += wave / 1000;
        status.rx.octets += wave;
        status.tx.frames += wave / 4000;
        status.tx.octets += wave / 4;
        status.flood.frames += 3;
        status.peers[0].rx_octets += wave;
        status.peers[0].tx_octets += wave / 4;
        if second < 20 {
            status.peers[1].rx_octets += wave / 2;
        } else {
            status.peers[1].state = PeerState::Down;
            status.peers[1].last_heard_ms = Some((second - 19) * 1000);
        }
        *status.drops.entry("stranger".to_owned()).or_default() += 5;
        model.take(vec![status.clone()], entries(), start + Duration::from_secs(second));
    }
    model
}

fn entries() -> Vec<FdbEntry> {
    (1..=40_u8)
        .map(|last| FdbEntry {
            mac: [2, 0, 0, 0, 0, last].into(),
            dst: IpAddr::from([100, 64, 158, 4]),
            port: None,
            vni: None,
            used: last.into(),
            updated: u64::from(last) * 2,
            state: if last == 1 { EntryState::Static } else { EntryState::Dynamic },
        })
        .collect()
}

fn screen(model: &Model, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, model)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let lines = (0..buffer.area.height).map(|y| {
        let line: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

/// Compares with a file below `crates/cli/src/top/golden` or `docs`.
fn holds(path: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, shown).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == shown, "{} differs:\n{shown}", path.display());
}

#[test]
fn screens_are_as_the_files_have_them() {
    let mut model = busy();
    holds("src/top/golden/peers.txt", &text(&screen(&model, 110, 20)));
    holds("src/top/golden/narrow.txt", &text(&screen(&model, 60, 12)));
    model.key(Key::Help);
    holds("src/top/golden/help.txt", &text(&screen(&model, 110, 20)));
    model.key(Key::Fdb);
    model.key(Key::Down(10));
    holds("src/top/golden/fdb.txt", &text(&screen(&model, 110, 20)));
    model.key(Key::Back);
    model.key(Key::Pause);
    model.lost("no tunnel is running".to_owned());
    holds("src/top/golden/lost.txt", &text(&screen(&model, 110, 20)));
}

#[test]
fn the_picture_of_the_documents_is_a_screen() {
    holds("../../docs/top.svg", &svg(&screen(&busy(), 110, 20)));
}

#[test]
fn keys_do_what_the_help_says() {
    let mut model = busy();
    assert!(!model.key(Key::Quit));
    assert!(model.key(Key::Fdb) && model.screen() == Screen::Fdb);
    assert!(model.key(Key::Down(1000)) && model.scroll() == 39);
    assert!(model.key(Key::Back) && model.screen() == Screen::Peers);
    assert_eq!(model.scroll(), 0);
    assert!(!model.key(Key::Back), "from the first screen it leads out");
    for _ in 0..20 {
        model.key(Key::Faster);
    }
    assert_eq!(model.interval(), Duration::from_millis(250));
    for _ in 0..20 {
        model.key(Key::Slower);
    }
    assert_eq!(model.interval(), Duration::from_secs(60));
    let order = |model: &Model| model.peers().iter().map(|peer| peer.ip.to_string()).collect::<Vec<_>>();
    assert_eq!(order(&model), ["100.64.158.4", "100.64.158.132"]);
    model.key(Key::Sort);
    model.key(Key::Sort);
    assert_eq!(order(&model), ["100.64.158.132", "100.64.158.4"], "by silence");
}

#[test]
fn several_tunnels_are_turned_over_and_one_that_goes_leaves_the_others() {
    let mut model = Model::new(None);
    let named = |dev: &str| TunnelStatus { dev: dev.to_owned(), ..tunnel() };
    model.take(vec![named("a"), named("b")], Vec::new(), now());
    model.key(Key::Next);
    assert_eq!(model.shown_dev().as_deref(), Some("b"));
    assert!(text(&screen(&model, 80, 10)).starts_with("b (2 of 2)"));
    model.take(vec![named("a")], Vec::new(), now());
    assert_eq!(model.shown_dev().as_deref(), Some("a"));
    model.key(Key::Previous);
    assert_eq!(model.shown_dev().as_deref(), Some("a"));
}

#[test]
fn a_tunnel_that_was_restarted_counts_anew() {
    let mut model = Model::new(None);
    let start = now();
    let mut status = tunnel();
    status.rx.octets = 1_000_000;
    model.take(vec![status.clone()], Vec::new(), start);
    (status.pid, status.rx.octets) = (4712, 2_000_000);
    model.take(vec![status], Vec::new(), start + Duration::from_secs(1));
    assert_eq!(model.derived().unwrap().all.rx.bits, 0);
}

proptest! {
    #[test]
    fn no_size_of_a_terminal_and_no_keys_make_it_panic(
        width in 1..200_u16,
        height in 1..60_u16,
        keys in prop::collection::vec(0..10_u8, 0..20),
    ) {
        let mut model = busy();
        for key in keys {
            let key = match key {
                0 => Key::Help, 1 => Key::Fdb, 2 => Key::Sort, 3 => Key::Next, 4 => Key::Previous, 5 => Key::Up(3),
                6 => Key::Down(1000), 7 => Key::Pause, 8 => Key::Back, _ => Key::Slower,
            };
            model.key(key);
        }
        screen(&model, width, height);
        screen(&Model::new(None), width, height);
    }
}

/// A screen as a picture: a rectangle, and each run of cells of one look as a text.
fn svg(buffer: &Buffer) -> String {
    const CELL: u16 = 8;
    const LINE: u16 = 17;
    let (width, height) = (buffer.area.width, buffer.area.height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"monospace\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#1b1f24\"/>\n",
        width * CELL + 16,
        height * LINE + 16
    );
    for y in 0..height {
        let mut x = 0;
        while x < width {
            let look = |x: u16| (buffer[(x, y)].fg, buffer[(x, y)].modifier);
            let first = x;
            let mut run = String::new();
            while x < width && look(x) == look(first) {
                run.push_str(buffer[(x, y)].symbol());
                x += 1;
            }
            if run.trim().is_empty() {
                continue;
            }
            let lead = run.chars().take_while(|letter| *letter == ' ').count();
            let shown = run.trim();
            let (colour, modifier) = look(first);
            #[expect(clippy::wildcard_enum_match_arm, reason = "the view uses no other colour")]
            let fill = match colour {
                Color::Green => "#57ab5a",
                Color::Red => "#f47067",
                Color::Cyan => "#39c5cf",
                Color::DarkGray => "#8b949e",
                _ => "#cdd9e5",
            };
            let weight = if modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
            let escaped = shown.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let left = (usize::from(first) + lead) * usize::from(CELL) + 8;
            let span = shown.chars().count() * usize::from(CELL);
            svg.push_str(&format!(
                "<text x=\"{left}\" y=\"{}\" textLength=\"{span}\" fill=\"{fill}\"{weight} xml:space=\"preserve\">{escaped}</text>\n",
                y * LINE + 20
            ));
        }
    }
    svg + "</svg>\n"
}
