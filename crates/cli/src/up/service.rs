//! What the service manager is told (sd_notify(3)): ready, how it stands, alive, stopping.
//!
//! ```text
//!   up ─► READY=1 ─┬─► ask the data path ─► it answers in time ─► WATCHDOG=1, STATUS= where it changed ─┐
//!                  │                    └─► it does not: not a word, so that the watchdog bites         │
//!                  └◄──────────────────────── a third of the watchdog's time later ◄────────────────────┘
//!   end ─► STOPPING=1
//! ```
//!
//! The sign of life is the data path's and not this thread's: it is sent only when the thread that owns the segment has answered
//! between two batches of frames. Where nobody asked to be told, nothing of this runs.

use std::convert::Infallible;
use std::env;
use std::future::{Future, pending};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time;

use crate::control::protocol::{PeerState, PeerStatus};

/// How often the state is looked at where no watchdog asks for more: people read it.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// The least pause: a watchdog that leaves less time than three of them is served as well as that.
const LEAST: Duration = Duration::from_millis(10);

/// Who is told, and how often.
pub(super) struct Service {
    /// `None` where nobody asked to be told.
    pace: Option<Pace>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// From an answer to the next question.
    interval: Duration,
    /// Longest wait for an answer.
    patience: Duration,
    /// Whether a sign of life is awaited.
    watched: bool,
}

impl Pace {
    /// A third of the watchdog's time for the pause and at most a third for the answer: a data path that is slow once is forgiven.
    fn of(watchdog: Option<Duration>) -> Pace {
        let third = watchdog.map_or(STATUS_INTERVAL, |whole| whole / 3).clamp(LEAST, STATUS_INTERVAL);
        Pace { interval: third, patience: third, watched: watchdog.is_some() }
    }
}

impl Service {
    /// As this process's environment asks (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
    pub(super) fn from_environment() -> Service {
        let is_told = env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        Service { pace: is_told.then(|| Pace::of(sd_notify::watchdog_enabled())) }
    }

    /// The Gate's API is asked what the tunnel shall be, which takes as long as that takes.
    pub(super) fn asking(&self) {
        self.tell(&[NotifyState::Status("asking the Gate's API")]);
    }

    /// The tunnel is up and can be reached.
    pub(super) fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The configuration is being read again; [`ready`](Self::ready) follows.
    pub(super) fn reloading(&self) {
        // Without the time a manager would take it for another one's.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// The tunnel is ending.
    pub(super) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// The tunnel did not come up, or ended by itself: this is why.
    pub(super) fn failed(&self, why: &str) {
        self.tell(&[NotifyState::Status(&one_line(why))]);
    }

    /// Asks the data path again and again, and tells what it answers.
    pub(super) async fn pulse<E>(&self, ask: impl AsyncFnMut() -> Result<Vec<PeerStatus>, E>) -> Infallible {
        let Some(pace) = self.pace else { return pending().await };
        beat(pace, ask, |states| self.tell(states)).await
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if self.pace.is_none() {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            // A service manager that does not listen is no reason to end.
            tracing::debug!("the service manager cannot be told: {error}");
        }
    }
}

/// The pulse, with whoever hears it.
async fn beat<E>(
    pace: Pace,
    mut ask: impl AsyncFnMut() -> Result<Vec<PeerStatus>, E>,
    tell: impl Fn(&[NotifyState<'_>]),
) -> Infallible {
    let mut told = String::new();
    let mut answers = true;
    loop {
        let answer = within(pace.patience, ask()).await;
        if let Some(peers) = &answer {
            let status = status(peers);
            let mut states = Vec::new();
            if pace.watched {
                states.push(NotifyState::Watchdog);
            }
            if status != told {
                states.push(NotifyState::Status(&status));
            }
            if !states.is_empty() {
                tell(&states);
            }
            told = status;
        }
        if answers && answer.is_none() {
            tracing::error!("the data path has not answered for {} ms", pace.patience.as_millis());
        }
        answers = answer.is_some();
        time::sleep(pace.interval).await;
    }
}

async fn within<T, E>(patience: Duration, answer: impl Future<Output = Result<T, E>>) -> Option<T> {
    time::timeout(patience, answer).await.ok()?.ok()
}

/// How the tunnel stands, in a line.
fn status(peers: &[PeerStatus]) -> String {
    let up = peers.iter().filter(|peer| peer.state == PeerState::Up).count();
    let unheard: Vec<_> =
        peers.iter().filter(|peer| peer.state != PeerState::Up).map(|peer| peer.ip.to_string()).collect();
    match (peers.len(), unheard.as_slice()) {
        (0, _) => "no peers".to_owned(),
        (all, []) => format!("{up} of {all} peers up"),
        (all, few) if few.len() <= 4 => format!("{up} of {all} peers up, not {}", few.join(", ")),
        (all, _) => format!("{up} of {all} peers up"),
    }
}

/// A state ends with its line.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::{Mutex, mpsc};

    use tokio::sync::oneshot;
    use vxgate_forwarder::{Device, Forwarder, MacAddr, MemoryPort, MemoryUnderlay, OuterPolicy};
    use vxgate_forwarder::{Segment, SegmentConfig};
    use vxgate_testbed::now;

    use super::*;

    fn peer(ip: &str, state: PeerState) -> PeerStatus {
        PeerStatus {
            ip: ip.parse::<IpAddr>().unwrap(),
            inner: None,
            inside: false,
            state_for_s: None,
            state,
            path_mtu: None,
            last_heard_s: None,
            last_heard_ms: None,
            rtt_us: None,
            macs: 0,
            rx_frames: 0,
            rx_octets: 0,
            tx_frames: 0,
            tx_octets: 0,
            rates: crate::control::protocol::Rates::default(),
        }
    }

    #[test]
    fn the_pulse_is_well_within_the_watchdogs_time() {
        let pace = Pace::of(Some(Duration::from_secs(3)));
        assert_eq!(
            (pace.interval, pace.patience, pace.watched),
            (Duration::from_secs(1), Duration::from_secs(1), true)
        );
        assert_eq!(Pace::of(Some(Duration::from_micros(1))).interval, LEAST);
        assert_eq!(Pace::of(Some(Duration::from_secs(600))).interval, STATUS_INTERVAL);
        assert_eq!(
            Pace::of(None),
            Pace { interval: STATUS_INTERVAL, patience: STATUS_INTERVAL, watched: false }
        );
    }

    #[test]
    fn the_status_counts_peers_and_names_the_few_that_are_not_up() {
        let (a, b) = (peer("100.64.158.4", PeerState::Up), peer("100.64.158.132", PeerState::Unknown));
        assert_eq!(status(&[]), "no peers");
        assert_eq!(status(&[a.clone(), a.clone()]), "2 of 2 peers up");
        assert_eq!(status(&[a, b.clone()]), "1 of 2 peers up, not 100.64.158.132");
        assert_eq!(status(&vec![b; 5]), "0 of 5 peers up");
        assert_eq!(one_line("a\nREADY=1"), "a READY=1");
    }

    #[test]
    fn a_data_path_that_hangs_starves_the_watchdog_and_one_that_goes_on_feeds_it_again() {
        let device = Device { mac: MacAddr::new([2, 0, 0, 0, 0, 1]), mtu_octets: 1450 };
        let (port, _overlay) = MemoryPort::new(device, 16).unwrap();
        let (underlay, _network) = MemoryUnderlay::new(16).unwrap();
        let segment = Segment::new(SegmentConfig::default());
        let forwarder = Forwarder::spawn(segment, port, underlay, OuterPolicy::default()).unwrap();
        let control = forwarder.control();
        let ask = async || {
            let (answer, answered) = oneshot::channel();
            control.send(|_, _| Vec::new(), move |peers| drop(answer.send(peers))).map_err(|_| ())?;
            answered.await.map_err(|_| ())
        };
        let heard = Mutex::new((0_u32, 0_u32));
        let tell = |states: &[NotifyState<'_>]| {
            let mut heard = heard.lock().unwrap();
            heard.0 += u32::from(states.iter().any(|state| matches!(state, NotifyState::Watchdog)));
            heard.1 += u32::from(states.iter().any(|state| matches!(state, NotifyState::Status(_))));
        };
        let beats = || heard.lock().unwrap().0;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let pace =
            Pace { interval: Duration::from_millis(5), patience: Duration::from_millis(20), watched: true };
        let deadline = now() + Duration::from_secs(30);
        let more_than = async |count: u32| {
            while beats() <= count {
                assert!(now() < deadline, "{} beats", beats());
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        runtime.block_on(async {
            let steps = async {
                more_than(3).await;
                let (release, released) = mpsc::channel::<()>();
                let (hang, hung) = oneshot::channel();
                let hold = move |_: &mut Segment, _| {
                    let _ = hang.send(());
                    // Until the test lets go, or fails.
                    let _ = released.recv();
                };
                control.send(hold, |()| {}).unwrap();
                hung.await.unwrap();
                // An answer given before may still be on its way.
                time::sleep(pace.patience).await;
                let before = beats();
                time::sleep(Duration::from_millis(300)).await;
                assert_eq!(beats(), before, "a data path that hangs gave a sign of life");
                release.send(()).unwrap();
                more_than(before + 3).await;
            };
            tokio::select! {
                () = steps => {}
                never = beat(pace, ask, tell) => match never {},
            }
        });
        assert_eq!(heard.lock().unwrap().1, 1, "a status that does not change is told once");
        forwarder.stop().unwrap();
    }
}
