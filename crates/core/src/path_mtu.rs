//! What the path to one peer carries: a state machine in the words of RFC 8899 (packetization layer path MTU discovery).
//!
//! # Theory of operation
//!
//! The size in question is that of outer IP packets: the PLPMTU. It is trusted to be what link and route say
//! (MAX_PLPMTU) until the path shows otherwise, by a router's ICMP error or by the silence of probes. A probe is a padded
//! packet with DF set that the peer answers; its answer proves its size. Without somebody to answer them the machine is
//! passive: then ICMP alone lowers the size, for a time.
//!
//! ```text
//!                  PASSIVE ──── somebody answers probes ───┐
//!                    ▲  │ too big: lowered, for RAISE       │
//!    nobody to ask   │  └──◄──┘                             ▼
//!    (from any)  ────┘                    ┌──── answered ── CONFIRMING ◄────────────┐
//!                                         │       one probe  │ of the size in force  │
//!                                         ▼                  │ silence               │ CONFIRM has passed,
//!                                      COMPLETE ─────────────┼───────────────────────┤ or the link has changed
//!                                         ▲ │                ▼                       │
//!        no size is left to ask, or none  │ │ too big,   SEARCHING ──┐               │
//!        of them was answered             │ └─ RAISE ──►  a round of │ the rest is   │
//!                                         └────────────── 8 sizes ◄──┘ narrowed      │
//!                                                                                    │
//!                                         COMPLETE ──────────────────────────────────┘
//! ```
//!
//! A round asks for several sizes at once, each up to three times, a second apart; the largest one that is answered is proven, and
//! the next round lies between it and the smallest that was not. From 1200 to 1500 octets that is three rounds. The size in
//! force rises with each answer, and falls when a round ends with an answer below it. A round that nobody answers says nothing of
//! the size: the peer is away, or answers no probes.
//!
//! An ICMP error lowers the size at once, and makes a search that begins by asking for larger ones: one that is forged is found
//! out by the first answer, and one that is true costs no packet more.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::Timestamp;

/// MIN_PLPMTU: no ICMP error makes it smaller. What every IPv4 host takes in one piece (RFC 791 section 3.1), and the least that an
/// IPv6 link carries (RFC 8200 section 5).
const MIN_PLPMTU_V4: u16 = 576;
const MIN_PLPMTU_V6: u16 = 1280;

/// BASE_PLPMTU: what most paths carry (RFC 8899 section 5.1.2).
const BASE_PLPMTU_V4: u16 = 1200;

/// MAX_PROBES: how often a size is asked for before its silence counts (RFC 8899 section 5.1.2).
const MAX_PROBES: u8 = 3;

/// PROBE_TIMER: how long an answer may take; the least that RFC 8899 section 5.1.1 allows.
const PROBE_TIMER: Duration = Duration::from_secs(1);

/// CONFIRMATION_TIMER: how long the size in force is believed without an answer. A probe for each peer in this time is nothing beside
/// traffic, and a path that became narrower without a word is found out in it.
const CONFIRMATION_TIMER: Duration = Duration::from_secs(30);

/// PMTU_RAISE_TIMER: after which a larger size may be there again (RFC 8899 section 5.1.1); also `net.ipv4.route.mtu_expires`.
const PMTU_RAISE_TIMER: Duration = Duration::from_secs(600);

/// For how long no further ICMP error is heeded of a path to a peer that answers probes. It doubles with each one that an answer
/// disproves, up to [`DOUBT_MAX`] times, so that whoever forges them lowers anything about as often as the raise timer raises it.
const HEED_TIMER: Duration = Duration::from_secs(1);
const DOUBT_MAX: u8 = 9;

/// Sizes that a round asks for.
const ROUND: usize = 8;

/// A probe to be sent: this long, and known by this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Octets of the outer IP packet.
    pub(crate) octets: u16,
    /// What the answer bears.
    pub(crate) token: u64,
}

/// A size that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    probe: Probe,
    answered: bool,
}

/// Where the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nobody answers probes.
    Passive,
    /// The size in force is asked for.
    Confirming,
    /// Sizes are asked for.
    Searching,
    /// Nothing is asked for, for a time.
    Complete,
}

/// What is known of the path to one peer.
#[derive(Clone, Debug)]
pub(crate) struct PathMtu {
    phase: Phase,
    /// MIN_PLPMTU and BASE_PLPMTU.
    floor: u16,
    base: u16,
    /// MAX_PLPMTU: what link and route carry.
    link: u16,
    /// PLPMTU: the size in force.
    plpmtu: u16,
    /// The largest size that this search has proven; 0 for none.
    proven: u16,
    /// No larger size is worth a question in this search.
    ceiling: u16,
    asked: Vec<Asked>,
    /// How often they were asked for: PROBE_COUNT.
    tries: u8,
    due: Option<Timestamp>,
    /// When a larger size than the one in force is worth a question.
    raise: Timestamp,
    /// When an ICMP error was heeded last, what it said unless that is settled, and how many before it were disproved.
    heeded: Option<Timestamp>,
    claimed: Option<u16>,
    doubt: u8,
}

impl PathMtu {
    /// A path over a link and a route that carry this, to a peer of this family; nobody is asked yet.
    pub(crate) fn new(family: IpAddr, link: u16) -> PathMtu {
        let (floor, base) = match family {
            IpAddr::V4(_) => (MIN_PLPMTU_V4, BASE_PLPMTU_V4),
            IpAddr::V6(_) => (MIN_PLPMTU_V6, MIN_PLPMTU_V6),
        };
        PathMtu {
            phase: Phase::Passive,
            floor,
            base,
            link,
            plpmtu: link,
            proven: 0,
            ceiling: link,
            asked: Vec::with_capacity(ROUND + 2),
            tries: 0,
            due: None,
            raise: Timestamp::ZERO,
            heeded: None,
            claimed: None,
            doubt: 0,
        }
    }

    /// Whether nobody answers probes of this path.
    pub(crate) fn is_passive(&self) -> bool {
        self.phase == Phase::Passive
    }

    /// The size in force, in octets of the outer IP packet.
    pub(crate) fn octets(&self) -> u16 {
        self.plpmtu
    }

    /// When to call [`PathMtu::handle_due`] next.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.due
    }

    /// Hears whether there is somebody to answer probes.
    pub(crate) fn set_asking(&mut self, asking: bool, now: Timestamp) {
        match (asking, self.phase) {
            (true, Phase::Passive) => self.confirm_at(now),
            (false, Phase::Confirming | Phase::Searching | Phase::Complete) => {
                self.rest(Phase::Passive);
                self.due = (self.plpmtu < self.link).then_some(self.raise);
            }
            (true, Phase::Confirming | Phase::Searching | Phase::Complete) | (false, Phase::Passive) => {}
        }
    }

    /// Hears what link and route carry now. A size that was theirs goes with them.
    pub(crate) fn set_link(&mut self, link: u16, now: Timestamp) {
        if link == self.link {
            return;
        }
        if self.plpmtu == self.link || self.plpmtu > link {
            self.plpmtu = link;
        }
        self.link = link;
        match self.phase {
            Phase::Passive => self.due = self.due.filter(|_| self.plpmtu < link),
            Phase::Confirming | Phase::Searching | Phase::Complete => {
                // What was known of larger sizes was known of another path.
                self.raise = now;
                self.confirm_at(now);
            }
        }
    }

    /// Hears that a router could not pass on a packet of ours, and passes on this size; says whether that is heeded. To be called
    /// only for an error that quotes a datagram of ours.
    pub(crate) fn handle_too_big(&mut self, mtu: u16, now: Timestamp) -> bool {
        let mtu = mtu.max(self.floor);
        if mtu >= self.plpmtu {
            return false;
        }
        match self.phase {
            Phase::Passive => {
                self.plpmtu = mtu;
                self.raise = now.saturating_add(PMTU_RAISE_TIMER);
                self.due = Some(self.raise);
            }
            Phase::Confirming | Phase::Searching | Phase::Complete => {
                let deaf = HEED_TIMER * 2_u32.pow(self.doubt.into());
                if self.heeded.is_some_and(|heeded| now.saturating_since(heeded) < deaf) {
                    return false;
                }
                (self.heeded, self.claimed) = (Some(now), Some(mtu));
                self.plpmtu = mtu;
                self.search_at(now);
            }
        }
        true
    }

    /// Hears that the probe of this number was answered; says whether it waits for one.
    pub(crate) fn handle_answer(&mut self, token: u64, now: Timestamp) -> bool {
        let Some(asked) = self.asked.iter_mut().find(|asked| asked.probe.token == token) else {
            return false;
        };
        asked.answered = true;
        let octets = asked.probe.octets;
        self.proven = self.proven.max(octets);
        if self.claimed.take_if(|claimed| *claimed < octets).is_some() {
            self.doubt = (self.doubt + 1).min(DOUBT_MAX);
        }
        // What is proven is larger than the link only for as long as the link was.
        self.plpmtu = self.plpmtu.max(octets.min(self.link));
        match self.phase {
            Phase::Confirming if self.plpmtu < self.link && self.raise <= now => self.search_at(now),
            Phase::Confirming => self.complete(now),
            Phase::Searching if self.proven >= self.ceiling => self.complete(now),
            Phase::Searching | Phase::Passive | Phase::Complete => {}
        }
        true
    }

    /// Does what is due, and says which probes are to be sent. `token` gives numbers that nobody can guess.
    pub(crate) fn handle_due(&mut self, now: Timestamp, mut token: impl FnMut() -> u64) -> Vec<Probe> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        match self.phase {
            Phase::Passive => {
                self.plpmtu = self.link;
                self.due = None;
                Vec::new()
            }
            Phase::Complete => {
                self.confirm_at(now);
                self.handle_due(now, token)
            }
            Phase::Confirming if self.asked.is_empty() => self.ask(&[self.plpmtu], now, &mut token),
            Phase::Confirming => {
                // One may get lost; the search knows better.
                self.search_at(now);
                self.handle_due(now, token)
            }
            Phase::Searching if self.asked.is_empty() => {
                let sizes = self.sizes();
                self.ask(&sizes, now, &mut token)
            }
            Phase::Searching if self.tries < MAX_PROBES => {
                self.tries += 1;
                self.due = Some(now.saturating_add(PROBE_TIMER));
                // What is smaller than what is proven needs no proof.
                let open = self.asked.iter().filter(|asked| asked.probe.octets > self.proven);
                open.map(|asked| asked.probe).collect()
            }
            Phase::Searching => {
                self.end_round(now);
                if self.phase == Phase::Searching { self.handle_due(now, token) } else { Vec::new() }
            }
        }
    }

    /// The sizes of the next round, each once, in ascending order.
    fn sizes(&self) -> Vec<u16> {
        let mut sizes = Vec::with_capacity(ROUND + 2);
        let from = if self.proven > 0 { self.proven } else { self.base.min(self.ceiling) };
        if self.proven == 0 {
            sizes.extend([self.floor.min(self.ceiling), from, self.plpmtu.min(self.ceiling)]);
        }
        // At most ROUND times a size, which fits.
        let width = usize::from(self.ceiling.saturating_sub(from));
        sizes.extend((1..=ROUND).map(|step| from + (width * step / ROUND) as u16));
        sizes.retain(|octets| *octets > self.proven);
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn ask(&mut self, sizes: &[u16], now: Timestamp, token: &mut impl FnMut() -> u64) -> Vec<Probe> {
        self.asked.clear();
        let asked =
            sizes.iter().map(|&octets| Asked { probe: Probe { octets, token: token() }, answered: false });
        self.asked.extend(asked);
        self.tries = 1;
        self.due = Some(now.saturating_add(PROBE_TIMER));
        self.asked.iter().map(|asked| asked.probe).collect()
    }

    /// What a round that is over has shown.
    fn end_round(&mut self, now: Timestamp) {
        if self.proven == 0 {
            return self.complete(now);
        }
        if self.plpmtu > self.proven {
            // A black hole: something arrives, and this does not.
            self.plpmtu = self.proven;
        }
        let silent = self.asked.iter().filter(|asked| asked.probe.octets > self.proven);
        self.ceiling = silent.map(|asked| asked.probe.octets - 1).min().unwrap_or(self.proven);
        self.asked.clear();
        if self.ceiling > self.proven {
            self.due = Some(now);
        } else {
            self.complete(now);
        }
    }

    fn confirm_at(&mut self, now: Timestamp) {
        self.rest(Phase::Confirming);
        self.due = Some(now);
    }

    fn search_at(&mut self, now: Timestamp) {
        self.rest(Phase::Searching);
        self.ceiling = self.link;
        self.due = Some(now);
    }

    fn complete(&mut self, now: Timestamp) {
        if self.phase == Phase::Searching {
            self.raise = now.saturating_add(PMTU_RAISE_TIMER);
            // Nothing has disproved what it said.
            if self.claimed.take().is_some() && self.proven > 0 {
                self.doubt = 0;
            }
        }
        self.rest(Phase::Complete);
        self.due = Some(now.saturating_add(CONFIRMATION_TIMER));
    }

    /// Goes to a phase in which nothing is asked for yet.
    fn rest(&mut self, phase: Phase) {
        self.phase = phase;
        self.asked.clear();
        self.proven = 0;
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: IpAddr = IpAddr::V4(core::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(core::net::Ipv6Addr::LOCALHOST);

    fn second(seconds: u64) -> Timestamp {
        Timestamp::from_duration(Duration::from_secs(seconds))
    }

    /// A path that swallows what is longer than it carries, to a peer that answers unless it is away.
    struct World {
        path: PathMtu,
        carries: u16,
        away: bool,
        now: Timestamp,
        tokens: u64,
        sent: usize,
        /// Which of so many probes gets lost by chance.
        loses_every: Option<usize>,
    }

    impl World {
        fn new(link: u16, carries: u16) -> World {
            let path = PathMtu::new(V4, link);
            World { path, carries, away: false, now: second(0), tokens: 0, sent: 0, loses_every: None }
        }

        fn asking(mut self) -> World {
            self.path.set_asking(true, self.now);
            self
        }

        /// Lets time pass: each deadline is met, each answer takes 20 ms.
        fn run(&mut self, until: Timestamp) {
            let mut answers: Vec<(Timestamp, u64)> = Vec::new();
            loop {
                let due = self.path.deadline();
                let next = answers.iter().map(|(at, _)| *at).chain(due).min().filter(|next| *next <= until);
                let Some(next) = next else { break };
                self.now = self.now.max(next);
                for (_, token) in answers.extract_if(.., |(at, _)| *at <= self.now) {
                    self.path.handle_answer(token, self.now);
                }
                let tokens = &mut self.tokens;
                let probes = self.path.handle_due(self.now, || {
                    *tokens += 1;
                    *tokens
                });
                for probe in probes {
                    self.sent += 1;
                    let lost = self.loses_every.is_some_and(|every| self.sent.is_multiple_of(every));
                    assert!(probe.octets <= self.path.link, "no probe is longer than the link carries");
                    if !self.away && !lost && probe.octets <= self.carries {
                        answers.push((self.now.saturating_add(Duration::from_millis(20)), probe.token));
                    }
                }
            }
            self.now = until;
        }

        fn at(&mut self, seconds: u64) -> u16 {
            self.run(second(seconds));
            self.path.octets()
        }
    }

    #[test]
    fn a_path_as_wide_as_its_link_costs_one_probe() {
        let mut world = World::new(1500, 1500).asking();
        assert_eq!((world.at(10), world.sent, world.path.phase), (1500, 1, Phase::Complete));
    }

    #[test]
    fn every_narrower_path_is_found_exactly_and_soon() {
        for link in [1500, 9001, 65_535] {
            for carries in (576..1500).step_by(13).chain([1280, 1420, 1492, 1499]) {
                let mut world = World::new(link, carries).asking();
                let soon = world.at(5);
                assert!(soon <= carries, "after 5 s nothing is too long for {carries}: {soon}");
                if link == 1500 {
                    assert_eq!(world.at(11), carries);
                }
                assert_eq!(world.at(29), carries, "of {link}");
                assert!(world.sent <= 150, "{} probes for {carries} of {link}", world.sent);
            }
        }
    }

    #[test]
    fn a_peer_that_is_away_says_nothing_of_the_path() {
        let mut world = World::new(1500, 1400).asking();
        world.away = true;
        assert_eq!(world.at(3600), 1500);
        world.away = false;
        assert_eq!(world.at(3660), 1400);
    }

    #[test]
    fn loss_by_chance_narrows_nothing() {
        for every in [2, 3, 7, 20] {
            let mut world = World::new(1500, 1500).asking();
            world.loses_every = Some(every);
            (1..200).for_each(|minute| assert_eq!(world.at(minute * 60), 1500, "every {every}th is lost"));
        }
    }

    #[test]
    fn a_path_that_becomes_narrower_without_a_word_is_found_out() {
        let mut world = World::new(1500, 1500).asking();
        assert_eq!(world.at(100), 1500);
        world.carries = 1420;
        let narrowed = world.at(100 + 30 + 5);
        assert!((1380..=1420).contains(&narrowed), "{narrowed}");
        assert_eq!(world.at(100 + 30 + 15), 1420);
    }

    #[test]
    fn a_wider_path_is_found_after_the_raise_timer_at_the_latest() {
        let mut world = World::new(1500, 1400).asking();
        assert_eq!(world.at(20), 1400);
        world.carries = 1500;
        assert_eq!(world.at(560), 1400, "not before its time");
        assert_eq!(world.at(660), 1500);
    }

    #[test]
    fn a_true_icmp_error_is_taken_at_its_word_at_once() {
        let mut world = World::new(1500, 1500).asking();
        assert_eq!(world.at(50), 1500);
        world.carries = 1400;
        assert!(world.path.handle_too_big(1400, second(50)));
        assert_eq!(world.path.octets(), 1400);
        (51..80).for_each(|at| assert_eq!(world.at(at), 1400, "never below what is true"));
    }

    #[test]
    fn a_forged_icmp_error_lasts_as_long_as_an_answer_takes() {
        let mut world = World::new(1500, 1500).asking();
        assert_eq!(world.at(50), 1500);
        assert!(world.path.handle_too_big(0, second(50)));
        assert_eq!(world.path.octets(), 576, "never below the floor");
        world.run(second(50).saturating_add(Duration::from_millis(20)));
        assert_eq!(world.path.octets(), 1500);
        assert!(!world.path.handle_too_big(600, world.now), "not again within the second");
        assert!(!world.path.handle_too_big(1500, world.now) && !world.path.handle_too_big(9000, world.now));
        let (before, mut heeded) = (world.sent, 0);
        for at in 60..1260 {
            for forged in 0..100 {
                heeded += usize::from(world.path.handle_too_big(forged, second(at)));
            }
            assert_eq!(world.at(at + 1), 1500);
        }
        // A confirmation each 30 s, and searches further and further apart.
        assert_eq!(heeded, 9, "of a hundred each second, in twenty minutes");
        assert!(world.sent - before < 200, "{}", world.sent - before);
        // One that is true is heeded in time, and trust with it comes back.
        world.run(second(2000));
        for narrower in [1400, 1300, 1200] {
            world.carries = narrower;
            let now = world.now;
            assert!(world.path.handle_too_big(narrower, now), "{narrower}");
            world.run(now.saturating_add(Duration::from_secs(20)));
            assert_eq!(world.path.octets(), narrower);
        }
    }

    #[test]
    fn without_answers_an_icmp_error_holds_for_the_raise_timer() {
        let mut world = World::new(1500, 1400);
        assert!(world.path.handle_too_big(1400, second(10)));
        assert!(world.path.handle_too_big(1300, second(20)));
        assert!(!world.path.handle_too_big(1350, second(21)), "nothing is raised by an error");
        assert_eq!((world.at(619), world.at(620), world.sent), (1300, 1500, 0));
        let mut path = PathMtu::new(V6, 1500);
        assert!(path.handle_too_big(68, second(0)));
        assert_eq!(path.octets(), 1280);
    }

    #[test]
    fn the_size_follows_its_link_down_and_up() {
        for asking in [false, true] {
            let mut world = World::new(1500, 9000);
            if asking {
                world = world.asking();
            }
            for link in [1400, 1500, 9000, 1280, 1500] {
                let now = world.now;
                world.path.set_link(link, now);
                assert_eq!(world.path.octets(), link);
                assert_eq!(world.at(now.seconds() as u64 + 60), link, "asking: {asking}");
            }
        }
        // What the path is known to carry stays when the link grows.
        let mut world = World::new(1500, 1400).asking();
        assert_eq!(world.at(20), 1400);
        world.path.set_link(9000, second(20));
        assert_eq!((world.path.octets(), world.at(60)), (1400, 1400));
    }

    /// Where each input leads from each phase; `-` where it does not apply.
    #[test]
    fn the_transition_table_is_the_one_drawn() {
        type Input = (&'static str, fn(&mut PathMtu));
        type Row = (Phase, fn() -> PathMtu, [Phase; 8]);
        fn token() -> impl FnMut() -> u64 {
            let mut last = 0;
            move || {
                last += 1;
                last
            }
        }
        let inputs: [Input; 8] = [
            ("ask", |path| path.set_asking(true, second(1))),
            ("do not", |path| path.set_asking(false, second(1))),
            ("too big", |path| {
                let _ = path.handle_too_big(1300, second(1));
            }),
            ("too big for the link", |path| {
                let _ = path.handle_too_big(1500, second(1));
            }),
            ("answer", |path| {
                let _ = path.handle_answer(1, second(1));
            }),
            ("stale answer", |path| {
                let _ = path.handle_answer(99, second(1));
            }),
            ("silence", |path| {
                let _ = path.handle_due(second(100), token());
            }),
            ("link", |path| path.set_link(1499, second(1))),
        ];
        fn confirming() -> PathMtu {
            let mut path = PathMtu::new(V4, 1500);
            path.set_asking(true, second(0));
            assert_eq!(path.handle_due(second(0), token()).len(), 1);
            path
        }
        fn searching() -> PathMtu {
            let mut path = confirming();
            assert!(path.handle_due(second(1), token()).len() > 1);
            path
        }
        fn complete() -> PathMtu {
            let mut path = confirming();
            assert!(path.handle_answer(1, second(1)));
            path
        }
        use Phase::{Complete as Co, Confirming as Cf, Passive as Pa, Searching as Se};
        let table: [Row; 4] = [
            (Pa, || PathMtu::new(V4, 1500), [Cf, Pa, Pa, Pa, Pa, Pa, Pa, Pa]),
            (Cf, confirming, [Cf, Pa, Se, Cf, Co, Cf, Se, Cf]),
            (Se, searching, [Se, Pa, Se, Se, Se, Se, Se, Cf]),
            (Co, complete, [Co, Pa, Se, Co, Co, Co, Cf, Cf]),
        ];
        for (phase, make, row) in table {
            for ((input, apply), expected) in inputs.iter().zip(row) {
                let mut path = make();
                assert_eq!(path.phase, phase);
                apply(&mut path);
                assert_eq!(path.phase, expected, "{phase:?} on {input}");
                assert!(
                    path.phase == Pa || path.deadline().is_some(),
                    "{phase:?} on {input}: it never goes on"
                );
            }
        }
        // The largest size of a search answered ends it; the last try of a round that nobody answers, too.
        let mut path = searching();
        let largest = path.asked.last().unwrap().probe;
        assert!(largest.octets == 1500 && path.handle_answer(largest.token, second(2)));
        assert_eq!(path.phase, Co);
        let mut path = searching();
        for at in 2..=4 {
            assert_eq!(path.phase, Se);
            path.handle_due(second(at), token());
        }
        assert_eq!((path.phase, path.octets()), (Co, 1500));
    }
}
