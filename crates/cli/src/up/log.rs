//! What the daemon logs, and where: to standard error.

use std::env;
use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Begins to log, as `VXGATE_LOG` asks.
pub(super) fn to_stderr() {
    let asked = env::var("VXGATE_LOG").unwrap_or_default();
    let filter = log_filter(asked.trim());
    let is_wrong = filter.is_none();
    let filter = filter.unwrap_or_else(|| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    // A log that nobody takes is no reason to end, and telling of it on standard error would be one: that panics.
    let log = log.log_internal_errors(false);
    // One who set a subscriber already wants that one.
    let _ = log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init();
    if is_wrong {
        tracing::warn!("VXGATE_LOG {asked:?} is none of error, warn, info, debug and trace: logging info");
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
    use super::log_filter;

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
