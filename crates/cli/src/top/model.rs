//! What `vxgate top` knows: the tunnels as they were last, how fast it went before, and what the keys have chosen.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::values::DeviceName;
use crate::control::protocol::{FdbEntry, PeerStatus, TunnelStatus};

/// Samples of a sparkline.
pub(super) const SAMPLES: usize = 24;

/// How often the tunnels are asked: by default, at most and at least.
const INTERVALS: [Duration; 7] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
    Duration::from_millis(5000),
    Duration::from_millis(10_000),
    Duration::from_millis(60_000),
];

/// A key, by what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    /// From another screen to the peers; from there out.
    Back,
    Help,
    Pause,
    Faster,
    Slower,
    Sort,
    Fdb,
    Next,
    Previous,
    Up(usize),
    Down(usize),
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    Peers,
    Fdb,
    Help,
}

/// By what peers are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// As they were added.
    Added,
    /// The one that carries most first.
    Traffic,
    /// The one that was silent longest first.
    Silence,
}

impl Sort {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Sort::Added => "as added",
            Sort::Traffic => "by traffic",
            Sort::Silence => "by silence",
        }
    }
}

/// How fast something goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Speed {
    pub(super) frames: u64,
    pub(super) bits: u64,
}

/// Both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Speeds {
    pub(super) rx: Speed,
    pub(super) tx: Speed,
}

/// What is worked out of two looks at a tunnel.
#[derive(Debug, Default)]
pub(super) struct Derived {
    pub(super) all: Speeds,
    pub(super) peers: BTreeMap<IpAddr, Speeds>,
    /// Bits a second both ways, oldest first.
    pub(super) history: BTreeMap<IpAddr, VecDeque<u64>>,
    /// Drops a second by reason.
    pub(super) drops: BTreeMap<String, u64>,
    pub(super) floods: u64,
    pub(super) learned: u64,
    pub(super) moved: u64,
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Model {
    wanted: Option<DeviceName>,
    tunnels: Vec<TunnelStatus>,
    derived: BTreeMap<String, Derived>,
    entries: Vec<FdbEntry>,
    looked: Option<Instant>,
    shown: usize,
    screen: Screen,
    sort: Sort,
    scroll: usize,
    interval: usize,
    paused: bool,
    /// Why the tunnels could not be asked.
    lost: Option<String>,
}

impl Model {
    pub(super) fn new(wanted: Option<DeviceName>) -> Model {
        Model {
            wanted,
            tunnels: Vec::new(),
            derived: BTreeMap::new(),
            entries: Vec::new(),
            looked: None,
            shown: 0,
            screen: Screen::Peers,
            sort: Sort::Added,
            scroll: 0,
            interval: 2,
            paused: false,
            lost: None,
        }
    }

    /// Takes what the tunnels say now.
    pub(super) fn take(&mut self, tunnels: Vec<TunnelStatus>, entries: Vec<FdbEntry>, now: Instant) {
        let span = self.looked.map(|looked| now.saturating_duration_since(looked));
        let mut derived = BTreeMap::new();
        for tunnel in &tunnels {
            let before =
                self.tunnels.iter().find(|before| before.dev == tunnel.dev && before.pid == tunnel.pid);
            let known = self.derived.remove(&tunnel.dev).unwrap_or_default();
            derived.insert(tunnel.dev.clone(), known.next(before, tunnel, span));
        }
        self.derived = derived;
        self.shown = self.shown.min(tunnels.len().saturating_sub(1));
        self.tunnels = tunnels;
        self.entries = entries;
        self.looked = Some(now);
        self.lost = None;
    }

    /// The tunnels could not be asked.
    pub(super) fn lost(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Does what a key means; whether to go on.
    pub(super) fn key(&mut self, key: Key) -> bool {
        let toggled = |screen: Screen, is: Screen| if is == screen { Screen::Peers } else { screen };
        match key {
            Key::Quit => return false,
            Key::Back if self.screen == Screen::Peers => return false,
            Key::Back => self.show(Screen::Peers),
            Key::Help => self.show(toggled(Screen::Help, self.screen)),
            Key::Fdb => self.show(toggled(Screen::Fdb, self.screen)),
            Key::Pause => self.paused = !self.paused,
            Key::Faster => self.interval = self.interval.saturating_sub(1),
            Key::Slower => self.interval = (self.interval + 1).min(INTERVALS.len() - 1),
            Key::Sort => {
                self.sort = match self.sort {
                    Sort::Added => Sort::Traffic,
                    Sort::Traffic => Sort::Silence,
                    Sort::Silence => Sort::Added,
                };
            }
            Key::Next if !self.tunnels.is_empty() => self.turn_to((self.shown + 1) % self.tunnels.len()),
            Key::Previous if !self.tunnels.is_empty() => {
                self.turn_to((self.shown + self.tunnels.len() - 1) % self.tunnels.len());
            }
            Key::Next | Key::Previous => {}
            Key::Up(lines) => self.scroll = self.scroll.saturating_sub(lines),
            Key::Down(lines) => {
                self.scroll = self.scroll.saturating_add(lines).min(self.lines().saturating_sub(1))
            }
        }
        true
    }

    fn show(&mut self, screen: Screen) {
        (self.screen, self.scroll) = (screen, 0);
    }

    fn turn_to(&mut self, tunnel: usize) {
        (self.shown, self.scroll) = (tunnel, 0);
        self.entries.clear();
    }

    /// Lines that the list of this screen has.
    fn lines(&self) -> usize {
        match self.screen {
            Screen::Peers => self.tunnel().map_or(0, |tunnel| tunnel.peers.len()),
            Screen::Fdb => self.entries.len(),
            Screen::Help => 0,
        }
    }

    /// The tunnel that is shown.
    pub(super) fn tunnel(&self) -> Option<&TunnelStatus> {
        self.tunnels.get(self.shown)
    }

    pub(super) fn shown_dev(&self) -> Option<String> {
        self.tunnel().map(|tunnel| tunnel.dev.clone())
    }

    /// Which of how many it is, from 1.
    pub(super) fn place(&self) -> (usize, usize) {
        (self.shown + 1, self.tunnels.len())
    }

    pub(super) fn derived(&self) -> Option<&Derived> {
        self.derived.get(&self.tunnel()?.dev)
    }

    /// The peers in the order that was chosen.
    pub(super) fn peers(&self) -> Vec<&PeerStatus> {
        let mut peers: Vec<&PeerStatus> =
            self.tunnel().into_iter().flat_map(|tunnel| &tunnel.peers).collect();
        match self.sort {
            Sort::Added => {}
            Sort::Traffic => peers.sort_by_key(|peer| {
                let speeds = self.derived().and_then(|derived| derived.peers.get(&peer.ip)).copied();
                let speeds = speeds.unwrap_or_default();
                std::cmp::Reverse(speeds.rx.bits + speeds.tx.bits)
            }),
            Sort::Silence => {
                peers.sort_by_key(|peer| std::cmp::Reverse(peer.last_heard_ms.unwrap_or(u64::MAX)))
            }
        }
        peers
    }

    pub(super) fn entries(&self) -> &[FdbEntry] {
        &self.entries
    }

    pub(super) fn wanted(&self) -> Option<&DeviceName> {
        self.wanted.as_ref()
    }

    pub(super) fn screen(&self) -> Screen {
        self.screen
    }

    pub(super) fn sort(&self) -> Sort {
        self.sort
    }

    pub(super) fn scroll(&self) -> usize {
        self.scroll
    }

    pub(super) fn interval(&self) -> Duration {
        INTERVALS[self.interval]
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn why_lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }
}

impl Derived {
    /// What is worked out after one look more; without one before there are no speeds.
    fn next(mut self, before: Option<&TunnelStatus>, now: &TunnelStatus, span: Option<Duration>) -> Derived {
        let (Some(before), Some(span)) = (before, span.filter(|span| !span.is_zero())) else {
            return Derived { history: self.history, ..Derived::default() };
        };
        let rate = |then: u64, now: u64| {
            let micros = span.as_micros().max(1);
            u64::try_from(u128::from(now.saturating_sub(then)) * 1_000_000 / micros).unwrap_or(u64::MAX)
        };
        let speed = |then: (u64, u64), now: (u64, u64)| Speed {
            frames: rate(then.0, now.0),
            bits: rate(then.1, now.1).saturating_mul(8),
        };
        self.all = Speeds {
            rx: speed((before.rx.frames, before.rx.octets), (now.rx.frames, now.rx.octets)),
            tx: speed((before.tx.frames, before.tx.octets), (now.tx.frames, now.tx.octets)),
        };
        self.peers.clear();
        self.history.retain(|ip, _| now.peers.iter().any(|peer| peer.ip == *ip));
        for peer in &now.peers {
            let then = before.peers.iter().find(|then| then.ip == peer.ip);
            let speeds = then.map_or_else(Speeds::default, |then| Speeds {
                rx: speed((then.rx_frames, then.rx_octets), (peer.rx_frames, peer.rx_octets)),
                tx: speed((then.tx_frames, then.tx_octets), (peer.tx_frames, peer.tx_octets)),
            });
            self.peers.insert(peer.ip, speeds);
            let history = self.history.entry(peer.ip).or_default();
            history.push_back(speeds.rx.bits + speeds.tx.bits);
            while history.len() > SAMPLES {
                history.pop_front();
            }
        }
        let drops = now.drops.iter().map(|(reason, count)| {
            (reason.clone(), rate(before.drops.get(reason).copied().unwrap_or_default(), *count))
        });
        self.drops = drops.collect();
        self.floods = rate(before.flood.frames, now.flood.frames);
        self.learned = rate(before.table.learned, now.table.learned);
        self.moved = rate(before.table.moved, now.table.moved);
        self
    }
}
