//! How far the sending has come: a bar for a person at a terminal, a log line now and then for everybody else.
//!
//! Log lines go to standard output and the bar to standard error. Both may be the same terminal, so whoever logs during a run
//! does it through [`Progress::log`], which takes the bar away for the moment.

use std::cell::Cell;
use std::env;
use std::fmt::Display;
use std::io::{IsTerminal, stderr, stdout};
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::{self, Line, Outcome};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::Level;

/// Time between two progress lines.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// The bar when the size of the file is known, and what remains of it when it is not. Progress is counted in bytes of the file:
/// how many rows it has is known only at its end.
const SIZED_BAR: &str = "agency {prefix} [{wide_bar}] {percent}% | {msg} | ETA {eta}";
const UNSIZED_BAR: &str = "agency {prefix} {spinner} {msg}";

/// Shows the progress of one run.
pub(crate) struct Progress {
    /// Number of the agency.
    agency: u16,
    look: Look,
    /// When sending began.
    began: Cell<Instant>,
    /// When the last progress line was logged, or sending began.
    last_line: Cell<Instant>,
    /// Bytes of the file, 0 when they are not known.
    size: Cell<u64>,
}

/// In what form progress is shown.
enum Look {
    /// A bar on standard error.
    Bar {
        bar: ProgressBar,
        /// Log lines go to a terminal too, most likely the same one.
        beside_log: bool,
    },
    /// Log lines.
    Lines,
    /// Not at all.
    Nothing,
}

impl Progress {
    /// Chooses the form: a bar when standard error is a terminal and `NO_COLOR` is not set, else lines; nothing unless `shown`.
    pub(crate) fn new(agency: u16, shown: bool) -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let look = match shown {
            false => Look::Nothing,
            true if plain || !stderr().is_terminal() => Look::Lines,
            true => {
                // Drawn nowhere until there is something to show.
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
                Look::Bar {
                    bar: bar.with_prefix(agency.to_string()),
                    beside_log: stdout().is_terminal(),
                }
            }
        };
        let now = Cell::new(Instant::now());
        Self { agency, look, began: now.clone(), last_line: now, size: Cell::new(0) }
    }

    /// Sending begins, of a file of `size` bytes (0: not known).
    pub(crate) fn begin(&self, size: u64) {
        let now = Instant::now();
        self.began.set(now);
        self.last_line.set(now);
        self.size.set(size);
        if let Look::Bar { bar, .. } = &self.look {
            let template = if size == 0 { UNSIZED_BAR } else { SIZED_BAR };
            // A template that is not understood would show as the plain bar; it is a constant and tried by a test.
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

    /// So many bets have been acknowledged, and so many bytes of the file were read for them.
    pub(crate) fn advance(&self, bets: u64, position: u64) {
        let elapsed = self.began.get().elapsed();
        match &self.look {
            Look::Bar { bar, .. } => {
                bar.set_message(format!("{bets} bets, {} bets/s", rate(bets, elapsed)));
                bar.set_position(position);
            }
            Look::Lines if self.last_line.get().elapsed() >= LINE_PERIOD => {
                self.last_line.set(Instant::now());
                line(self.agency, bets, position, self.size.get(), elapsed).write();
            }
            Look::Lines | Look::Nothing => {}
        }
    }

    /// Sending has ended, one way or the other: the bar goes.
    pub(crate) fn end(&self) {
        if let Look::Bar { bar, .. } = &self.look {
            bar.finish_and_clear();
        }
    }

    /// Logs a line, with these details, without tearing the bar.
    pub(crate) fn log(
        &self,
        level: Level,
        action: &str,
        outcome: Outcome,
        details: &[(&str, &dyn Display)],
    ) {
        // To take the bar away and draw it again costs far more than a line, so not for one that is not logged.
        if level > log::max_level() {
            return;
        }
        let line = log_line::line(level, action, outcome);
        let line = details.iter().fold(line, |line, (key, value)| line.with(key, value));
        match &self.look {
            Look::Bar { bar, beside_log: true } => bar.suspend(|| line.write()),
            _ => line.write(),
        }
    }
}

/// The progress line. What remains is guessed from the bytes that remain.
fn line(agency: u16, bets: u64, position: u64, size: u64, elapsed: Duration) -> Line {
    let line = log_line::info("progreso", Outcome::InProgress)
        .with("client_id", agency)
        .with("apuestas", bets)
        .with("apuestas_por_segundo", rate(bets, elapsed));
    if position == 0 || size < position {
        return line;
    }
    let rest = elapsed.as_secs_f64() * (size - position) as f64 / position as f64;
    line.with("porcentaje", position.saturating_mul(100) / size)
        .with("restante", GoDuration(Duration::from_secs(rest.ceil() as u64)))
}

/// Bets a second, rounded; 0 when no time has passed.
pub(crate) fn rate(bets: u64, elapsed: Duration) -> u64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { (bets as f64 / seconds).round() as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_the_bar_are_understood() {
        for template in [SIZED_BAR, UNSIZED_BAR] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn the_rate_of_nothing_in_no_time_is_nothing() {
        assert_eq!(rate(0, Duration::ZERO), 0);
        assert_eq!(rate(3, Duration::from_secs(2)), 2);
    }
}
