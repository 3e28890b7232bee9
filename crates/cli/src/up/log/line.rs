//! One line of the log, as text for people, for the journal, or as JSON.

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Time, level, message, fields.
    Text {
        /// For a terminal.
        colour: bool,
    },
    /// The priority as sd-daemon(3) has it; the journal keeps the time itself.
    Journal,
    /// One object: timestamp, level, message, fields.
    Json,
}

/// What one event says.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) level: Level,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    /// A line without fields.
    pub(super) fn new(level: Level, message: String) -> Line {
        Line { level, message, fields: Vec::new() }
    }

    pub(super) fn of(event: &Event<'_>) -> Line {
        let mut line = Line::new(*event.metadata().level(), String::new());
        event.record(&mut line);
        line
    }

    /// The line with its end, at most this long; what is longer loses its fields, and then the end of its message.
    pub(super) fn octets(&self, style: Style, octets_max: usize) -> Vec<u8> {
        let time = timestamp(now());
        let whole = self.shown(style, &time, &self.message, &self.fields);
        if whole.len() <= octets_max {
            return whole.into_bytes();
        }
        // An octet becomes six at most, as a control character does in JSON.
        let room = octets_max.saturating_sub(200) / 6;
        let ends = self.message.char_indices().map(|(index, character)| index + character.len_utf8());
        let end = ends.take_while(|end| *end <= room).last().unwrap_or(0);
        let cut = format!("{} ... (cut)", &self.message[..end]);
        self.shown(style, &time, &cut, &[]).into_bytes()
    }

    fn shown(&self, style: Style, time: &str, message: &str, fields: &[(&'static str, Value)]) -> String {
        let mut text = match style {
            Style::Json => return json(self.level, time, message, fields),
            Style::Text { colour: false } => format!("{time} {:>5} ", self.level),
            Style::Text { colour: true } => {
                format!("\x1b[2m{time}\x1b[0m \x1b[{}m{:>5}\x1b[0m ", colour(self.level), self.level)
            }
            Style::Journal => format!("<{}>", priority(self.level)),
        };
        let start = text.len();
        text.push_str(message);
        for (name, value) in fields {
            // A String takes all that is written to it.
            let _ = match value {
                Value::String(value) => write!(text, " {name}={value:?}"),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    write!(text, " {name}={value}")
                }
            };
        }
        // What comes from elsewhere begins no line of its own, and colours nothing.
        let clean: String = text[start..].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        text.truncate(start);
        text.push_str(&clean);
        text.push('\n');
        text
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name, format!("{value:?}").into())),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.fields.push((name, value.into())),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.push((field.name(), value.into()));
    }
}

fn json(level: Level, time: &str, message: &str, fields: &[(&'static str, Value)]) -> String {
    let fields: Map<String, Value> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut object = serde_json::json!({
        "timestamp": time,
        "level": level.as_str().to_ascii_lowercase(),
        "message": message,
        "fields": fields,
    })
    .to_string();
    object.push('\n');
    object
}

/// syslog(3)'s numbers, as sd-daemon(3) has them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// ECMA-48's colours.
fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

#[expect(clippy::disallowed_methods, reason = "the log is an edge where time enters")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// RFC 3339, in UTC, to the microsecond.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // The calendar repeats every 400 years, which are 146097 days; years begin in March here, so that a leap day is the last.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    format!(
        "{:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{:06}Z",
        era * 400 + year,
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line() -> Line {
        Line {
            level: Level::WARN,
            message: "peer is \"down\"\nor so".to_owned(),
            fields: vec![("dev", "vxlan0".into()), ("count", 3.into())],
        }
    }

    fn text(line: &Line, style: Style) -> String {
        String::from_utf8(line.octets(style, 4096)).unwrap()
    }

    #[test]
    fn text_has_its_time_the_journal_its_priority_and_neither_a_second_line() {
        let plain = text(&line(), Style::Text { colour: false });
        assert!(plain.ends_with("Z  WARN peer is \"down\" or so dev=\"vxlan0\" count=3\n"), "{plain}");
        assert_eq!(text(&line(), Style::Journal), "<4>peer is \"down\" or so dev=\"vxlan0\" count=3\n");
        assert!(text(&line(), Style::Text { colour: true }).contains("\x1b[33m WARN\x1b[0m "));
    }

    #[test]
    fn json_is_one_object_with_the_same_keys_whatever_is_said() {
        for line in [line(), Line::new(Level::INFO, "\u{1b}[31m\0".to_owned())] {
            let shown = text(&line, Style::Json);
            assert_eq!(shown.lines().count(), 1);
            let object: Value = serde_json::from_str(&shown).unwrap();
            let keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys.len(), 4);
            assert!(["timestamp", "level", "message", "fields"].iter().all(|key| keys.contains(key)));
            assert_eq!(object["message"], line.message);
        }
        let object: Value = serde_json::from_str(&text(&line(), Style::Json)).unwrap();
        assert_eq!((&object["level"], &object["fields"]["count"]), (&"warn".into(), &3.into()));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_stays_one() {
        for character in ["a", "\u{1}", "\u{10348}", "\""] {
            let line = Line { message: character.repeat(5000), ..line() };
            for style in [Style::Text { colour: true }, Style::Journal, Style::Json] {
                let cut = line.octets(style, 4096);
                assert!(cut.len() <= 4096 && cut.ends_with(b"\n"), "{character:?} {}", cut.len());
                if style == Style::Json {
                    let object: Value = serde_json::from_slice(&cut).unwrap();
                    assert!(object["message"].as_str().unwrap().ends_with("... (cut)"));
                }
            }
        }
    }

    #[test]
    fn the_time_is_the_calendars() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), shown);
        }
    }
}
