//! The time at the start of a log line, in local time, which is formatted once per second.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time and its text `YYYY-MM-DD HH:MM:SS`.
#[derive(Debug, Default)]
pub struct TimeStamp {
    /// Seconds since 1970; `None` before the first use.
    second: Option<i64>,
    text: String,
}

impl TimeStamp {
    /// Returns the text of a time. Calls within one second return the same text without formatting
    /// it again.
    pub fn text(&mut self, now: Timestamp) -> &str {
        if self.second != Some(now.as_second()) {
            self.second = Some(now.as_second());
            self.text.clear();
            let local = TimeZone::system().to_datetime(now);
            // Writing to a string does not fail.
            let _ = write!(self.text, "{}", local.strftime("%Y-%m-%d %H:%M:%S"));
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_changes_with_the_second_in_either_direction() {
        let mut stamp = TimeStamp::default();
        let mut end_of_text = |milliseconds| {
            let text = stamp.text(Timestamp::from_millisecond(milliseconds).unwrap());
            assert_eq!(text.len(), "2026-11-20 08:40:00".len(), "{text}");
            text[17..].to_owned()
        };
        // A clock may be set back.
        let times = [1_000, 1_999, 2_000, 59_999, 60_000, 1_500];
        assert_eq!(times.map(&mut end_of_text), ["01", "01", "02", "59", "00", "01"]);
    }
}
