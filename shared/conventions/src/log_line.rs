//! One log message: an action, its result and its details, in the form that the course's parser
//! reads.
//!
//! `action: A | result: success|fail|in_progress | key: value | …`
//!
//! The parser splits at `|` and expects a colon in every part. So `|` in a value is replaced by
//! `¦`, and control characters, which could end the line, are escaped (`\n`). A message whose line
//! would be longer than [`logger::LINE_MAX`] is cut inside its last value, which then ends in `…`.
//!
//! In [JSON](logger::Format::Json) the same message is the members of an object, and a value keeps
//! every character. A value that reads as a whole number is a number. A message that was cut ends
//! in `"cut":true`.

use std::fmt::{self, Display, Write};

use crate::clean::{CUT, Clean, Form};
use crate::logger::{self, Format};

/// The result of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The action is done.
    Success,
    /// The action failed, entirely or in part.
    Fail,
    /// The action is under way.
    InProgress,
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Success => "success",
            Outcome::Fail => "fail",
            Outcome::InProgress => "in_progress",
        })
    }
}

/// A message under construction; only [`Line::write`] logs it.
///
/// If its level is disabled, nothing is formatted, so a disabled debug line costs one comparison.
#[derive(Debug)]
#[must_use = "a line is logged by `write`"]
pub struct Line {
    level: log::Level,
    /// The message so far; `None` if the level is disabled.
    text: Option<String>,
    format: Format,
    /// True if the message was cut, so that further details are dropped.
    full: bool,
}

/// Begins a message. `action` is a name in snake_case, without `|` or `:`.
pub fn line(level: log::Level, action: &str, outcome: Outcome) -> Line {
    let format = logger::format();
    let text = (level <= log::max_level()).then(|| opening(action, outcome, format));
    Line { level, text, format, full: false }
}

/// Action of the last line after an orderly stop. The course's tests fail at the first line of this
/// action that is not a success, so a program logs everything else about its end as `shutdown`.
const EXIT: &str = "exit";

/// Begins a message at level DEBUG, for developers.
pub fn debug(action: &str, outcome: Outcome) -> Line {
    line(log::Level::Debug, action, outcome)
}

/// Begins a message at level INFO, for operators and the course's tests.
pub fn info(action: &str, outcome: Outcome) -> Line {
    line(log::Level::Info, action, outcome)
}

/// Begins a message at level WARNING: something was wrong, and the program continues.
pub fn warn(action: &str, outcome: Outcome) -> Line {
    line(log::Level::Warn, action, outcome)
}

/// Begins a message at level ERROR: a necessary action failed.
pub fn error(action: &str, outcome: Outcome) -> Line {
    line(log::Level::Error, action, outcome)
}

impl Line {
    /// Adds ` | key: value`. `key` is a name in snake_case, but none of those that a line has
    /// anyway.
    pub fn with(mut self, key: &str, value: impl Display) -> Line {
        debug_assert!(is_name(key) && !RESERVED.contains(&key), "bad key {key:?}");
        let Some(text) = self.text.as_mut().filter(|_| !self.full) else { return self };
        self.full = match self.format {
            Format::Text => add_text(text, key, &value),
            Format::Json => add_json(text, key, &value),
        }
        .is_err();
        self
    }

    /// Logs the message.
    pub fn write(self) {
        let Some(text) = self.text else { return };
        match (self.format, self.full) {
            (Format::Text, _) => log::log!(self.level, "{text}"),
            (Format::Json, false) => log::log!(target: logger::MEMBERS, self.level, "{text}"),
            (Format::Json, true) => {
                log::log!(target: logger::MEMBERS, self.level, "{text}{WAS_CUT}")
            }
        }
    }
}

/// Keys that no detail may have: those of the course, and those that a line in JSON has anyway.
const RESERVED: [&str; 7] = ["source", "action", "result", "time", "level", "message", "cut"];

/// Member of a JSON message that was cut.
const WAS_CUT: &str = ",\"cut\":true";

/// Adds a detail in the layout of the course. Fails if the message is full.
fn add_text(text: &mut String, key: &str, value: &impl Display) -> fmt::Result {
    // The parser refuses a part without a colon, so a key is written whole or not at all.
    if text.len() + " | : ".len() + key.len() + CUT.len_utf8() > logger::MESSAGE_MAX {
        text.push(CUT);
        return Err(fmt::Error);
    }
    text.extend([" | ", key, ": "]);
    write!(Clean::new(text, logger::MESSAGE_MAX, Form::Value), "{value}")
}

/// Adds a member. Fails if the message is full, and then still ends after a whole member.
fn add_json(text: &mut String, key: &str, value: &impl Display) -> fmt::Result {
    let limit = logger::MEMBERS_MAX - WAS_CUT.len() - "\"".len();
    if text.len() + ",\"\":\"".len() + key.len() + CUT.len_utf8() > limit {
        return Err(fmt::Error);
    }
    text.extend([",\"", key, "\":"]);
    let begin = text.len();
    text.push('"');
    let written = write!(Clean::new(text, limit, Form::Json), "{value}");
    if written.is_ok() && is_whole_number(&text[begin + 1..]) {
        text.remove(begin);
    } else {
        text.push('"');
    }
    written
}

/// Returns true for a decimal without superfluous characters that every JSON reader keeps exact.
fn is_whole_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leads = text == "0" || !digits.starts_with('0');
    (1..=15).contains(&digits.len()) && leads && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the two parts that every message has.
fn opening(action: &str, outcome: Outcome, format: Format) -> String {
    debug_assert!(is_name(action), "bad action {action:?}");
    debug_assert!(action != EXIT || outcome == Outcome::Success, "{EXIT} with {outcome}");
    match format {
        Format::Text => format!("action: {action} | result: {outcome}"),
        Format::Json => format!("\"action\":\"{action}\",\"result\":\"{outcome}\""),
    }
}

/// Returns true if the parser accepts `name` as an action or a key.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a line that is formatted at any level, which other tests of the process may set.
    fn enabled(action: &str, outcome: Outcome) -> Line {
        in_format(Format::Text, action, outcome)
    }

    fn in_format(format: Format, action: &str, outcome: Outcome) -> Line {
        let text = Some(opening(action, outcome, format));
        Line { level: log::Level::Info, text, format, full: false }
    }

    /// Returns the members of a JSON message, with each value as text: action, result and details.
    fn members(line: Line) -> Vec<(String, String)> {
        let object = format!("{{{}}}", text(line));
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&object).unwrap();
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let details = (0..object.len()).map(|index| format!("key_{index}"));
        let keys = ["action", "result"].map(str::to_owned).into_iter().chain(details);
        let members = keys.filter_map(|key| object.remove(&key).map(|value| (key, text(value))));
        let members = members.collect();
        assert!(object.is_empty(), "{object:?}");
        members
    }

    /// Returns a value as a line of text shows it.
    fn shown(value: &str) -> String {
        let mut out = String::new();
        Clean::new(&mut out, usize::MAX, Form::Value).write_str(value).unwrap();
        out
    }

    #[test]
    fn whole_numbers_are_numbers_in_json_and_everything_else_is_a_string() {
        let values =
            ["0", "-7", "123456789012345", "1234567890123456", "007", "-", "", "1.5", "-0"];
        let line = values
            .iter()
            .enumerate()
            .fold(in_format(Format::Json, "batch", Outcome::Fail), |line, (index, value)| {
                line.with(&format!("v{index}"), value)
            });
        assert_eq!(
            text(line),
            r#""action":"batch","result":"fail","v0":0,"v1":-7,"v2":123456789012345,"#.to_owned()
                + r#""v3":"1234567890123456","v4":"007","v5":"-","v6":"","v7":"1.5","v8":"-0""#
        );
    }

    fn text(line: Line) -> String {
        line.text.unwrap()
    }

    /// Parses as the course does: the text after the last colon of each part is the value.
    fn parse(message: &str) -> Result<Vec<(String, String)>, String> {
        let parts: Vec<_> = message.split('|').collect();
        let pairs: Result<Vec<_>, _> = parts
            .iter()
            .map(|part| part.rsplit_once(':').ok_or(format!("no colon in {part:?}")))
            .map(|pair| pair.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())))
            .collect();
        let pairs = pairs?;
        let forbidden =
            |(name, _): &(String, String)| ["source", "action", "result"].contains(&name.as_str());
        match pairs.as_slice() {
            [_, (_, result), ..]
                if !["success", "fail", "in_progress"].contains(&result.as_str()) =>
            {
                Err(format!("result {result:?}"))
            }
            [_, _, details @ ..] if !details.iter().any(forbidden) => Ok(pairs),
            _ => Err("too few parts or a forbidden name".to_owned()),
        }
    }

    #[test]
    fn the_message_has_the_layout_of_the_course() {
        let line = enabled("consulta_ganadores", Outcome::InProgress);
        let line = line.with("agencias_en_proceso", 2).with("cant_ganadores", 10);
        assert_eq!(
            text(line),
            "action: consulta_ganadores | result: in_progress | agencias_en_proceso: 2 | cant_ganadores: 10"
        );
    }

    #[test]
    fn a_hostile_value_stays_one_value_on_one_line() {
        let line = enabled("batch", Outcome::Fail)
            .with("error", "x | result: success\naction: y")
            .with("ip", "::1");
        assert_eq!(
            text(line),
            "action: batch | result: fail | error: x ¦ result: success\\naction: y | ip: ::1"
        );
    }

    #[test]
    fn a_value_that_is_too_long_is_cut_and_what_follows_is_dropped() {
        let line =
            enabled("batch", Outcome::Fail).with("error", "ñ".repeat(5000)).with("ip", "10.0.0.1");
        let text = text(line);
        assert!(
            text.len() <= logger::MESSAGE_MAX && text.len() > logger::MESSAGE_MAX - 3,
            "{}",
            text.len()
        );
        assert!(text.ends_with("ñ…"), "{text}");
    }

    #[test]
    fn a_disabled_level_formats_nothing() {
        struct Never;
        impl Display for Never {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("formatted although disabled")
            }
        }
        // No test of this process raises the level beyond debug, so trace is disabled.
        line(log::Level::Trace, "batch", Outcome::Success).with("value", Never).write();
    }

    proptest! {
        #[test]
        fn every_line_parses_as_the_course_parses_it(values in prop::collection::vec(".{0,900}", 0..12)) {
            let line = values.iter().fold(enabled("batch", Outcome::Success), |line, value| line.with("value", value));
            let message = text(line);
            prop_assert!(message.len() <= logger::MESSAGE_MAX);
            prop_assert!(!message.chars().any(char::is_control));
            let pairs = parse(&message).map_err(TestCaseError::fail)?;
            prop_assert!(pairs.len() <= values.len() + 2);
        }

        #[test]
        fn a_line_in_json_has_the_pairs_of_the_line_of_text(
            values in prop::collection::vec(any::<String>(), 0..8),
        ) {
            let build = |format| values.iter().enumerate().fold(
                in_format(format, "batch", Outcome::Success),
                |line, (index, value)| line.with(&format!("key_{index}"), value),
            );
            let members = members(build(Format::Json));
            let details: Vec<_> = members[2..].iter().map(|(_, value)| value.clone()).collect();
            prop_assert_eq!(&details, &values);
            let joined: String =
                members.iter().map(|(key, value)| format!(" | {key}: {}", shown(value))).collect();
            prop_assert_eq!(&joined[3..], text(build(Format::Text)));
        }

        #[test]
        fn a_line_in_json_that_is_too_long_is_cut_after_a_whole_member_and_says_so(
            values in prop::collection::vec("(?s:.){0,900}", 8..12),
        ) {
            let line = values.iter().enumerate().fold(
                in_format(Format::Json, "batch", Outcome::Success),
                |line, (index, value)| line.with(&format!("key_{index}"), value),
            );
            let full = line.full;
            let length = line.text.as_ref().unwrap().len();
            let mark = if full { WAS_CUT.len() } else { 0 };
            prop_assert!(length + mark <= logger::MEMBERS_MAX);
            let members = members(line);
            for ((_, found), value) in members[2..].iter().zip(&values) {
                let prefix = found.strip_suffix(CUT).filter(|_| full).unwrap_or(found);
                prop_assert!(found == value || value.starts_with(prefix));
            }
            prop_assert_eq!(full, members.len() < values.len() + 2
                || members.last().unwrap().1 != values[values.len() - 1]);
        }

        #[test]
        fn a_detail_is_dropped_whole_when_only_its_key_would_fit(room in 0..40_usize) {
            let opening = opening("batch", Outcome::Success, Format::Text).len() + " | first: ".len();
            let line = enabled("batch", Outcome::Success).with("first", "x".repeat(logger::MESSAGE_MAX - opening - room));
            let message = text(line.with("second", "yyyy").with("third", "z"));
            prop_assert!(message.len() <= logger::MESSAGE_MAX);
            parse(&message).map_err(TestCaseError::fail)?;
        }
    }
}
