//! One log message: an action, its result and its details, in the form that the course's parser
//! reads.
//!
//! `action: A | result: success|fail|in_progress | key: value | …`
//!
//! The parser splits at `|` and expects a colon in every part. So `|` in a value is replaced by
//! `¦`, and control characters, which could end the line, are escaped (`\n`). A message whose line
//! would be longer than [`logger::LINE_MAX`] is cut inside its last value, which then ends in `…`.

use std::fmt::{self, Display, Write};

use crate::clean::{CUT, Clean, Pipes};
use crate::logger;

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
    /// True if the message was cut, so that further details are dropped.
    full: bool,
}

/// Begins a message. `action` is a name in snake_case, without `|` or `:`.
pub fn line(level: log::Level, action: &str, outcome: Outcome) -> Line {
    let text = (level <= log::max_level()).then(|| opening(action, outcome));
    Line { level, text, full: false }
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
    /// Adds ` | key: value`. `key` is a name in snake_case, but not `source`, `action` or `result`.
    pub fn with(mut self, key: &str, value: impl Display) -> Line {
        debug_assert!(
            is_name(key) && !["source", "action", "result"].contains(&key),
            "bad key {key:?}"
        );
        let Some(text) = self.text.as_mut().filter(|_| !self.full) else { return self };
        // The parser refuses a part without a colon, so a key is written whole or not at all.
        if text.len() + " | : ".len() + key.len() + CUT.len_utf8() > logger::MESSAGE_MAX {
            text.push(CUT);
            self.full = true;
            return self;
        }
        text.extend([" | ", key, ": "]);
        self.full =
            write!(Clean::new(text, logger::MESSAGE_MAX, Pipes::Replace), "{value}").is_err();
        self
    }

    /// Logs the message.
    pub fn write(self) {
        if let Some(text) = self.text {
            log::log!(self.level, "{text}");
        }
    }
}

/// Returns the two parts that every message has.
fn opening(action: &str, outcome: Outcome) -> String {
    debug_assert!(is_name(action), "bad action {action:?}");
    debug_assert!(action != EXIT || outcome == Outcome::Success, "{EXIT} with {outcome}");
    format!("action: {action} | result: {outcome}")
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
        Line { level: log::Level::Info, text: Some(opening(action, outcome)), full: false }
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
        fn a_detail_is_dropped_whole_when_only_its_key_would_fit(room in 0..40_usize) {
            let opening = opening("batch", Outcome::Success).len() + " | first: ".len();
            let line = enabled("batch", Outcome::Success).with("first", "x".repeat(logger::MESSAGE_MAX - opening - room));
            let message = text(line.with("second", "yyyy").with("third", "z"));
            prop_assert!(message.len() <= logger::MESSAGE_MAX);
            parse(&message).map_err(TestCaseError::fail)?;
        }
    }
}
