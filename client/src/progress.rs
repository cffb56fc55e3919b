//! Progress of sending: a bar on a terminal, otherwise a log line every few seconds.
//!
//! Log lines go to standard output and the bar to standard error. Both may be the same terminal, so
//! code that logs during a run uses [`Progress::log`], which hides the bar for that time.

use std::cell::Cell;
use std::env;
use std::fmt::Display;
use std::io::{IsTerminal, stderr, stdout};
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::{self, Line, Outcome};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::Level;

/// Time between two progress log lines.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// Templates of the bar for a file of known size and for one of unknown size, such as a pipe.
/// Progress is counted in bytes of the file, because its number of rows is known only at its end.
const SIZED_BAR: &str = "agency {prefix} [{wide_bar}] {percent}% | {msg} | ETA {eta}";
const UNSIZED_BAR: &str = "agency {prefix} {spinner} {msg}";

/// Progress display of one run.
pub(crate) struct Progress {
    /// Number of the agency.
    agency: u16,
    style: Style,
    /// Time at which sending began.
    began: Cell<Instant>,
    /// Time of the last progress line; before the first one, the time at which sending began.
    last_line: Cell<Instant>,
    /// Size of the file in bytes, 0 if unknown.
    size: Cell<u64>,
}

/// Form of the progress display.
enum Style {
    /// A bar on standard error.
    Bar {
        bar: ProgressBar,
        /// True if log lines go to a terminal too, most likely the same one.
        beside_log: bool,
    },
    /// Log lines.
    Lines,
    /// No display.
    Hidden,
}

impl Progress {
    /// Chooses the style: a bar if standard error is a terminal and `NO_COLOR` is not set,
    /// otherwise log lines. Nothing is displayed unless `shown`.
    pub(crate) fn new(agency: u16, shown: bool) -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let style = match shown {
            false => Style::Hidden,
            true if plain || !stderr().is_terminal() => Style::Lines,
            true => {
                // Hidden until sending begins.
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
                Style::Bar {
                    bar: bar.with_prefix(agency.to_string()),
                    beside_log: stdout().is_terminal(),
                }
            }
        };
        let now = Cell::new(Instant::now());
        Self { agency, style, began: now.clone(), last_line: now, size: Cell::new(0) }
    }

    /// Starts the display for a file of `size` bytes, 0 if unknown.
    pub(crate) fn begin(&self, size: u64) {
        let now = Instant::now();
        self.began.set(now);
        self.last_line.set(now);
        self.size.set(size);
        if let Style::Bar { bar, .. } = &self.style {
            let template = if size == 0 { UNSIZED_BAR } else { SIZED_BAR };
            // A test checks that both templates are valid.
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            if size > 0 {
                bar.set_length(size);
            }
            bar.reset();
            bar.set_message("0 bets");
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Reports the acknowledged bets and the bytes of the file that have been read for them.
    pub(crate) fn advance(&self, bets: u64, position: u64) {
        let elapsed = self.began.get().elapsed();
        match &self.style {
            Style::Bar { bar, .. } => {
                bar.set_message(format!("{bets} bets, {} bets/s", rate(bets, elapsed)));
                bar.set_position(position);
            }
            Style::Lines if self.last_line.get().elapsed() >= LINE_PERIOD => {
                self.last_line.set(Instant::now());
                line(self.agency, bets, position, self.size.get(), elapsed).write();
            }
            Style::Lines | Style::Hidden => {}
        }
    }

    /// Removes the bar after sending has ended.
    pub(crate) fn end(&self) {
        if let Style::Bar { bar, .. } = &self.style {
            bar.finish_and_clear();
        }
    }

    /// Logs a line. Hides the bar for that time if both share a terminal.
    pub(crate) fn log(
        &self,
        level: Level,
        action: &str,
        outcome: Outcome,
        details: &[(&str, &dyn Display)],
    ) {
        // Hiding and redrawing the bar costs far more than a line, so skip it for a disabled level.
        if level > log::max_level() {
            return;
        }
        let line = log_line::line(level, action, outcome);
        let line = details.iter().fold(line, |line, (key, value)| line.with(key, value));
        match &self.style {
            Style::Bar { bar, beside_log: true } => bar.suspend(|| line.write()),
            _ => line.write(),
        }
    }
}

/// Returns the progress line. The remaining time is estimated from the remaining bytes.
fn line(agency: u16, bets: u64, position: u64, size: u64, elapsed: Duration) -> Line {
    let line = log_line::info("progress", Outcome::InProgress)
        .with("client_id", agency)
        .with("bets", bets)
        .with("bets_per_second", rate(bets, elapsed));
    if position == 0 || size < position {
        return line;
    }
    let rest = elapsed.as_secs_f64() * (size - position) as f64 / position as f64;
    line.with("percent", position.saturating_mul(100) / size)
        .with("remaining", GoDuration(Duration::from_secs(rest.ceil() as u64)))
}

/// Returns the bets per second, rounded; 0 if no time has passed.
pub(crate) fn rate(bets: u64, elapsed: Duration) -> u64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { (bets as f64 / seconds).round() as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_templates_are_valid() {
        for template in [SIZED_BAR, UNSIZED_BAR] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn the_rate_is_zero_when_no_time_has_passed() {
        assert_eq!(rate(0, Duration::ZERO), 0);
        assert_eq!(rate(3, Duration::from_secs(2)), 2);
    }
}
