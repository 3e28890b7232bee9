//! What the daemon logs, and where: to standard error.
//!
//! ```text
//!   event ─► level (VXGATE_LOG) ─► limiter: has this kind had its share? ─► one line ─► outlet: is there room? ─► standard error
//!                                      │ no: counted, told with the next       (line)        │ no: counted, told with the next
//! ```
//!
//! Nobody waits for the log: neither for a reader that has gone to sleep, nor for a source that will not be quiet.

mod limiter;
mod line;
mod outlet;

use std::env;
use std::io;
use std::sync::Mutex;
use std::time::Instant;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use self::limiter::Limiter;
use self::line::{Line, Style};
use self::outlet::Outlet;
use super::look::now;
use crate::config::values::LogFormat;

/// Begins to log, as `VXGATE_LOG` asks.
pub(super) fn to_stderr(format: LogFormat) {
    let asked = env::var("VXGATE_LOG").unwrap_or_default();
    let filter = log_filter(asked.trim());
    let is_wrong = filter.is_none();
    let filter = filter.unwrap_or_else(|| EnvFilter::new("info"));
    let style = match format {
        LogFormat::Json => Style::Json,
        LogFormat::Text if outlet::is_journal() => Style::Journal,
        LogFormat::Text => Style::Text { colour: io::IsTerminal::is_terminal(&io::stderr()) },
    };
    // One who set a subscriber already wants that one.
    let _ = tracing_subscriber::registry().with(filter).with(Log::new(style, outlet::Stderr)).try_init();
    if is_wrong {
        tracing::warn!("VXGATE_LOG {asked:?} is none of error, warn, info, debug and trace: logging info");
    }
}

/// Writes what is to be logged.
struct Log<O> {
    style: Style,
    state: Mutex<State<O>>,
}

struct State<O> {
    limiter: Limiter,
    outlet: Outlet<O>,
}

impl<O: outlet::Sink> Log<O> {
    fn new(style: Style, sink: O) -> Log<O> {
        Log { style, state: Mutex::new(State { limiter: Limiter::default(), outlet: Outlet::new(sink) }) }
    }

    fn write(&self, line: &Line, kind: usize, now: Instant) {
        // Who panicked in the middle of a line left nothing half-done that matters.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let State { limiter, outlet } = &mut *state;
        // What is asked for by name is not too much.
        let left_out = match line.level {
            Level::DEBUG | Level::TRACE => 0,
            Level::ERROR | Level::WARN | Level::INFO => match limiter.pass(kind, now) {
                Some(left_out) => left_out,
                None => return,
            },
        };
        if left_out > 0 {
            let told = Line::new(line.level, format!("{left_out} more like the next one were left out"));
            outlet.write(&told, self.style);
        }
        outlet.write(line, self.style);
    }
}

impl<S: Subscriber, O: outlet::Sink> Layer<S> for Log<O> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // The place in the program is the kind: its address is the same for all events of it, and no other's.
        let kind = std::ptr::from_ref(event.metadata()).addr();
        self.write(&Line::of(event), kind, now());
    }
}

/// What to log; `None` for a word that is no level. The library takes one for a part of the program, of which it then logs all, and
/// nothing else.
fn log_filter(asked: &str) -> Option<EnvFilter> {
    let is_one_word = !asked.contains(['=', ',']);
    match asked {
        "" => Some(EnvFilter::new("info")),
        _ if is_one_word && asked.parse::<LevelFilter>().is_err() => None,
        _ => EnvFilter::try_new(asked).ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl outlet::Sink for Kept {
        fn has_room(&mut self) -> bool {
            true
        }

        fn write(&mut self, octets: &[u8]) -> io::Result<()> {
            self.0.lock().unwrap().push(String::from_utf8(octets.to_vec()).unwrap());
            Ok(())
        }
    }

    #[test]
    fn a_source_of_a_hundred_thousand_lines_gets_its_share_and_what_is_left_out_is_told() {
        let kept = Kept::default();
        let log = Log::new(Style::Text { colour: false }, kept.clone());
        let start = now();
        let line = Line::new(Level::WARN, "again".to_owned());
        for event in 0..100_000_u64 {
            // 10 s in all.
            log.write(&line, 1, start + Duration::from_micros(event * 100));
        }
        // Of another kind.
        log.write(&Line::new(Level::WARN, "once".to_owned()), 2, start + Duration::from_secs(10));
        let kept = kept.0.lock().unwrap();
        let again = kept.iter().filter(|line| line.ends_with("again\n")).count();
        assert!((29..=30).contains(&again), "{again}");
        let told = kept.iter().filter_map(|line| line.split_once(" WARN ")?.1.split_once(" more like"));
        let left_out: usize = told.map(|(count, _)| count.parse::<usize>().unwrap()).sum();
        assert!(left_out > 89_000 && left_out + again <= 100_000, "{left_out} {again}");
        assert!(kept.last().unwrap().ends_with("once\n"));
    }

    #[test]
    fn what_was_asked_for_by_name_is_not_left_out() {
        let kept = Kept::default();
        let log = Log::new(Style::Json, kept.clone());
        let start = now();
        for _ in 0..1000 {
            log.write(&Line::new(Level::DEBUG, String::new()), 1, start);
        }
        assert_eq!(kept.0.lock().unwrap().len(), 1000);
    }

    #[test]
    fn a_word_that_is_no_level_is_not_taken_for_a_filter_that_silences_all() {
        for asked in ["", "error", "warn", "INFO", "debug", "trace", "off", "info,vxgate=debug"] {
            assert!(log_filter(asked).is_some(), "{asked:?}");
        }
        for asked in ["warnn", "chatty", "inf o", "vxgate=loud"] {
            assert!(log_filter(asked).is_none(), "{asked:?}");
        }
    }
}
