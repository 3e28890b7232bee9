//! One peer's session: its timers, the probes that are open, what it missed.
//!
//! # Theory of operation
//!
//! ```text
//!   up:         probe ......interval...... probe ..retry.. probe ..retry.. probe   misses in a row: down
//!                  \ answer                   x              x               x
//!
//!   returning:  probe ......interval...... probe ......interval...... probe        for the hold-down: up
//!                  \ answer                   \ answer                   \ answer
//! ```
//!
//! There is one timer: it ends the wait for an answer and sends the next probe. A miss is a probe that was sent and waited for, with
//! nothing heard since it went out; so a process that is suspended for an hour misses one, and what has piled up meanwhile
//! takes that back. An answer that comes late counts like one that comes in time.
//!
//! Who answers again within a second of being taken for dead was not dead: each time the misses that it takes are doubled, up to eight
//! times as many, for ten minutes. So a peer that answers only once in a second, to spare itself, is not taken away and given back all
//! the time.
//!
//! The first probe goes to the MAC address that the peer last answered with, and bothers nobody else; after a miss it goes to
//! everybody behind the peer, as the address may have changed hands.

use core::net::IpAddr;
use core::time::Duration;

use vxgate_codec::MacAddr;

use super::asked::{Asked, CLEAR};
use super::machine::{Input, State};
use super::round_trip::RoundTrip;
use super::{DownReason, HealthConfig, PeerHealth};
use crate::Timestamp;

/// How often a peer that is down is asked, unless [`HealthConfig::interval`] is longer: it shall be back within a second,
/// hold-down included.
const DOWN_INTERVAL: Duration = Duration::from_millis(150);
/// How long a peer that returns is waited for at least, and one that is asked by a probe sent alone: the path may have become a
/// longer one.
const PATIENT_TIMEOUT: Duration = Duration::from_millis(350);
/// How often a probe is sent alone where answers are in doubt, so that one is timed for certain. A death in the pause before it takes
/// 0.7 s longer to notice, which is one in a hundred.
const ALONE: Duration = Duration::from_secs(60);
/// How long a peer of which nothing is known is waited for: longer than any path takes, half a second at first.
const UNKNOWN_TIMEOUT: Duration = Duration::from_millis(500);
/// How many probes go to it at that pace, and at which one from then on: it may be one that never answers.
const UNKNOWN_PROBES: u32 = 20;
const MUTE_INTERVAL: Duration = Duration::from_secs(2);
/// How many probes a peer leaves unanswered that is nobody to rely on, as nothing ever came from it: 1.5 s of them.
const MUTE_PROBES: u32 = 3;
/// No answer is waited for longer (RFC 6298 section 2.4: a minimum there, a maximum here).
const MAX_TIMEOUT: Duration = Duration::from_secs(1);
/// Probes without an answer that make a peer deaf while frames come from it: 12 s at the default pace. That many are not lost
/// by chance, not even where three of four frames are.
const DEAF_PROBES: u32 = 100;
/// Answers that a peer gives at least before it is up again.
const PROOF_ANSWERS: u32 = 3;
/// Going down again this soon after it came back doubles the hold-down.
const FLAP: Duration = Duration::from_secs(60);
/// Who answers again this soon was not dead.
const FALSE_ALARM: Duration = Duration::from_secs(1);
/// How often false alarms double the misses, at most, and for how long.
const MAX_DOUBLINGS: u32 = 3;
const LENIENT: Duration = Duration::from_secs(600);
/// Hints in a row, and over which time at least, that make a peer refused that has never answered a probe. A router gives about
/// one a second for each sender (Linux: `icmp_ratelimit`), after a burst.
const REFUSAL_HINTS: u32 = 3;
const REFUSAL_SPAN: Duration = Duration::from_millis(200);
/// A hint that no other one follows in this time says nothing any more; and a refused peer of which no more is said for this
/// long is tried again.
const PROBATION: Duration = Duration::from_secs(10);
/// How often a refused peer is looked at.
const REFUSED_LOOK: Duration = Duration::from_millis(200);

/// What one peer's health is judged by.
#[derive(Debug)]
pub(crate) struct Session {
    /// What is probed.
    inner: Option<IpAddr>,
    state: State,
    /// Since when that is what is shown.
    since: Option<Timestamp>,
    why: DownReason,
    /// When it left the ranks of those who are sent to.
    left_at: Timestamp,
    /// When it last came back.
    back_at: Option<Timestamp>,
    /// How long it must answer to come back.
    hold_down: Duration,
    /// Whether it is sent to: in its own right, or because nobody else is left.
    pub(crate) is_serving: bool,
    /// When something is due.
    next: Option<Timestamp>,
    /// When the probe went out whose answer is waited for.
    waiting: Option<Timestamp>,
    last_sent: Option<Timestamp>,
    asked: Asked,
    /// Probes in a row without an answer or a frame.
    misses: u32,
    /// Probes in a row without an answer.
    unanswered: u32,
    /// How often the misses that it takes are doubled, and since when.
    doublings: u32,
    doubled_at: Timestamp,
    /// Answers since it began to return, and when that was.
    answers: u32,
    answers_since: Timestamp,
    round_trip: Option<RoundTrip>,
    /// When an answer was last timed for certain.
    certain_at: Timestamp,
    /// Whether an answer could not be timed since.
    is_in_doubt: bool,
    /// Whether the last probe was sent alone.
    is_alone: bool,
    /// Where its inner address was when it last answered.
    mac: Option<MacAddr>,
    hints: Hints,
    /// Spreads the probes a little.
    jitter: u64,
}

/// What the underlay has said of a peer.
#[derive(Clone, Copy, Debug, Default)]
struct Hints {
    count: u32,
    first: Timestamp,
    last: Timestamp,
}

/// A peer that begins or ends to be sent to in its own right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It left.
    Left(DownReason),
    /// It is back, after this long.
    Back(Duration),
}

/// What is to be done for a session that was due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) probe: Option<Probe>,
    pub(crate) change: Option<Change>,
}

/// A probe to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Whom to ask for.
    pub(crate) inner: IpAddr,
    /// Where it is taken to be; `None`: ask everybody.
    pub(crate) mac: Option<MacAddr>,
}

impl Session {
    /// A session in which all is due at once. `seed` makes this peer's probes keep a pace of their own.
    pub(crate) fn new(seed: u64) -> Session {
        Session {
            inner: None,
            state: State::Unknown,
            since: None,
            why: DownReason::Silent,
            left_at: Timestamp::ZERO,
            back_at: None,
            hold_down: Duration::ZERO,
            is_serving: true,
            next: Some(Timestamp::ZERO),
            waiting: None,
            last_sent: None,
            asked: Asked::NOTHING,
            misses: 0,
            unanswered: 0,
            doublings: 0,
            doubled_at: Timestamp::ZERO,
            answers: 0,
            answers_since: Timestamp::ZERO,
            round_trip: None,
            certain_at: Timestamp::ZERO,
            is_in_doubt: false,
            is_alone: false,
            mac: None,
            hints: Hints::default(),
            // Of 0 it would make nothing but 0.
            jitter: seed | 1,
        }
    }

    /// Begins anew with this inner address; that it is not sent to is the caller's to mend.
    pub(crate) fn restart(&mut self, inner: Option<IpAddr>) {
        *self = Session { inner, is_serving: self.is_serving, ..Session::new(self.jitter) };
    }

    pub(crate) fn inner(&self) -> Option<IpAddr> {
        self.inner
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.next
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    /// Whether it is sent to in its own right.
    pub(crate) fn serves(&self) -> bool {
        self.state.serves()
    }

    /// Whether it is sent to in its own right, and may live for all that is known: it has been heard, or not been asked for long.
    pub(crate) fn may_live(&self, heard: Option<Timestamp>) -> bool {
        let is_mute = self.state == State::Unknown && self.unanswered >= MUTE_PROBES && heard.is_none();
        self.state.serves() && !is_mute
    }

    pub(crate) fn view(&self) -> PeerHealth {
        PeerHealth {
            state: self.state.shown(),
            since: self.since,
            inner: self.inner,
            rtt: self.round_trip.map(RoundTrip::smoothed),
        }
    }

    /// Makes all due at once, as the pace has changed.
    pub(crate) fn hurry(&mut self, now: Timestamp) {
        self.next = Some(now);
        self.waiting = None;
    }

    /// Does what is due. `heard` is when anything last came from the peer, `can_probe` whether we have an address to ask from.
    pub(crate) fn handle_due(
        &mut self,
        now: Timestamp,
        heard: Option<Timestamp>,
        config: &HealthConfig,
        can_probe: bool,
    ) -> Due {
        if !self.is_due(now) {
            return Due::default();
        }
        let unanswered = self.waiting.take();
        let lives = unanswered.is_some_and(|sent| heard.is_some_and(|heard| heard > sent));
        if unanswered.is_some() {
            self.unanswered = self.unanswered.saturating_add(1);
            self.misses = if lives { 0 } else { self.misses.saturating_add(1) };
        }
        let input = self.judge(now, heard, config);
        let change = input.and_then(|input| self.step(input, now, config));
        let Some(inner) = self.inner.filter(|_| can_probe) else {
            self.next = (self.state == State::Refused).then(|| now.saturating_add(REFUSED_LOOK));
            return Due { probe: None, change };
        };
        // Who sends is not pressed.
        let regular = unanswered.map(|sent| sent.saturating_add(config.interval)).filter(|next| *next > now);
        if let (true, Some(regular)) = (lives, regular) {
            self.next = Some(regular);
            return Due { probe: None, change };
        }
        let probe = Probe { inner, mac: self.mac.filter(|_| self.trusts_its_mac()) };
        self.is_alone = self.last_sent.is_none_or(|sent| now.saturating_since(sent) >= CLEAR);
        self.asked.ask(now);
        (self.waiting, self.last_sent) = (Some(now), Some(now));
        self.next = Some(now.saturating_add(self.timeout(config)));
        Due { probe: Some(probe), change }
    }

    fn judge(&self, now: Timestamp, heard: Option<Timestamp>, config: &HealthConfig) -> Option<Input> {
        match self.state {
            State::Up | State::Returning if self.misses >= self.misses_of_death(now, config) => {
                Some(Input::Silence)
            }
            State::Up | State::Returning if self.unanswered >= DEAF_PROBES.max(config.misses) => {
                Some(Input::Deafness)
            }
            State::Refused if heard.is_some_and(|heard| heard > self.left_at) => Some(Input::Frame),
            State::Refused if now.saturating_since(self.hints.last) >= PROBATION => Some(Input::Probation),
            State::Unknown | State::Up | State::Down | State::Returning | State::Refused => None,
        }
    }

    /// How many misses in a row it takes.
    fn misses_of_death(&self, now: Timestamp, config: &HealthConfig) -> u32 {
        let is_lenient = now.saturating_since(self.doubled_at) < LENIENT;
        config.misses << if is_lenient { self.doublings } else { 0 }
    }

    /// Hears from a peer that is down: was that wrong?
    fn note_false_alarm(&mut self, now: Timestamp) {
        if self.state == State::Down && now.saturating_since(self.left_at) <= FALSE_ALARM {
            let is_lenient = now.saturating_since(self.doubled_at) < LENIENT;
            self.doublings = if is_lenient { (self.doublings + 1).min(MAX_DOUBLINGS) } else { 1 };
            self.doubled_at = now;
        }
    }

    /// Whether the next probe goes to the MAC address that it last answered with.
    fn trusts_its_mac(&self) -> bool {
        match self.state {
            State::Up | State::Returning | State::Unknown | State::Refused => self.misses == 0,
            // In turn: it may have kept it, or be another one by now.
            State::Down => self.unanswered.is_multiple_of(2),
        }
    }

    /// How long the probe that goes out now is waited for.
    fn timeout(&self, config: &HealthConfig) -> Duration {
        let on_this_path = self.round_trip.map_or(config.retry, RoundTrip::timeout);
        let usual = on_this_path.max(config.retry).min(MAX_TIMEOUT.max(config.retry));
        match self.state {
            State::Unknown | State::Refused if self.unanswered < UNKNOWN_PROBES => usual.max(UNKNOWN_TIMEOUT),
            State::Unknown | State::Refused => usual.max(MUTE_INTERVAL),
            State::Up if !self.is_alone => usual,
            State::Up | State::Returning => usual.max(PATIENT_TIMEOUT),
            State::Down => config.interval.max(DOWN_INTERVAL),
        }
    }

    /// Takes an answer from this MAC address; `None` where nobody asked. `alone` says whether no peer is left, so that
    /// nobody has to wait for a better one.
    pub(crate) fn handle_answer(
        &mut self,
        mac: MacAddr,
        now: Timestamp,
        config: &HealthConfig,
        alone: bool,
    ) -> Option<Option<Change>> {
        if let Some(sample) = self.asked.answer(now)? {
            self.round_trip = Some(RoundTrip::sampled(self.round_trip, sample));
            if self.is_alone && self.waiting.is_some() {
                (self.certain_at, self.is_in_doubt) = (now, false);
            }
        } else {
            self.is_in_doubt = true;
        }
        (self.mac, self.misses, self.unanswered, self.waiting) = (Some(mac), 0, 0, None);
        self.hints = Hints::default();
        self.note_false_alarm(now);
        let is_due = self.is_in_doubt && now.saturating_since(self.certain_at) > ALONE;
        let pause = if is_due && self.state == State::Up {
            config.interval.max(CLEAR)
        } else {
            self.spread(config.interval)
        };
        self.next = Some(self.last_sent.unwrap_or(now).saturating_add(pause));
        let input = match self.state {
            State::Returning => {
                self.answers = self.answers.saturating_add(1);
                let held = now.saturating_since(self.answers_since) >= self.hold_down;
                if held && self.answers >= PROOF_ANSWERS { Input::Proof } else { Input::Answer }
            }
            State::Unknown | State::Up | State::Down | State::Refused => {
                (self.answers, self.answers_since) = (1, now);
                Input::Answer
            }
        };
        Some(self.step(if alone { Input::Proof } else { input }, now, config))
    }

    /// Hears that the underlay does not reach the peer. `others` says whether another peer is left.
    pub(crate) fn handle_hint(
        &mut self,
        now: Timestamp,
        heard: Option<Timestamp>,
        config: &HealthConfig,
        others: bool,
    ) -> Option<Change> {
        let is_stale = now.saturating_since(self.hints.last) > PROBATION
            || heard.is_some_and(|heard| heard > self.hints.first);
        if self.hints.count == 0 || is_stale {
            self.hints = Hints { count: 0, first: now, last: now };
        }
        self.hints.count = self.hints.count.saturating_add(1);
        self.hints.last = now;
        if self.inner.is_some() && self.waiting.is_none() {
            // At once, but no faster than an answer could come.
            let soonest = self.last_sent.map(|sent| sent.saturating_add(config.retry));
            let at = soonest.unwrap_or(now).max(now);
            self.next = Some(self.next.map_or(at, |next| next.min(at)));
        }
        let is_refusal = others
            && self.hints.count >= REFUSAL_HINTS
            && now.saturating_since(self.hints.first) >= REFUSAL_SPAN;
        let change = is_refusal.then(|| self.step(Input::Refusal, now, config)).flatten();
        if change.is_some() && self.next.is_none() {
            self.next = Some(now.saturating_add(REFUSED_LOOK));
        }
        change
    }

    fn step(&mut self, input: Input, now: Timestamp, config: &HealthConfig) -> Option<Change> {
        let (from, to) = (self.state, self.state.next(input));
        if from == to {
            return None;
        }
        self.state = to;
        if from.shown() != to.shown() {
            self.since = Some(now);
        }
        match (from.serves(), to.serves()) {
            (true, false) => {
                self.why = match input {
                    Input::Deafness => DownReason::Deaf,
                    Input::Refusal => DownReason::Unreachable,
                    Input::Answer | Input::Proof | Input::Frame | Input::Silence | Input::Probation => {
                        DownReason::Silent
                    }
                };
                self.left_at = now;
                let flaps = self.back_at.is_some_and(|back| now.saturating_since(back) < FLAP);
                self.hold_down = if flaps {
                    (self.hold_down * 2).max(config.hold_down).min(HealthConfig::MAX_HOLD_DOWN)
                } else {
                    config.hold_down
                };
                Some(Change::Left(self.why))
            }
            (false, true) => {
                self.back_at = Some(now);
                (self.misses, self.unanswered, self.hints) = (0, 0, Hints::default());
                Some(Change::Back(now.saturating_since(self.left_at)))
            }
            (true, true) | (false, false) => None,
        }
    }

    /// The span, or up to an eighth less: peers that began together shall not stay together.
    fn spread(&mut self, span: Duration) -> Duration {
        // Marsaglia's xorshift, 64 bits.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let part = (self.jitter >> 32) as u32;
        span - (span / 8).mul_f64(f64::from(part) / f64::from(u32::MAX))
    }
}
