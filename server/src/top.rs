//! The command `top`: one live view of a running central on a terminal.
//!
//! [`source`] reads the shared memory into a [`model`], [`layout`] draws the model with the other
//! modules, and [`terminal`] owns the terminal. The model and the drawing have no side effects.

mod boxes;
mod format;
mod history;
mod keys;
mod kill;
mod layout;
mod model;
mod palette;
mod source;
mod sparkline;
mod terminal;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, error};

use self::keys::Action;
use self::model::View;
use self::palette::Palette;
use self::source::Source;
use self::terminal::{Input, Terminal};
use crate::exit_code::ExitCode;

/// Time between two reads of the shared memory.
const PERIOD: Duration = Duration::from_millis(100);
/// The same while a killed worker has not been replaced, which takes only milliseconds.
const PERIOD_OF_KILL: Duration = Duration::from_millis(5);

/// Shows the central whose first port is `port` until the user leaves.
pub fn run(port: u16) -> ExitCode {
    if !io::stdout().is_terminal() {
        error("top", Outcome::Fail)
            .with("error", "standard output is not a terminal")
            .with("next", "use `loteria-central status`, or `status --watch` to repeat it")
            .write();
        return ExitCode::Usage;
    }
    match show(port) {
        Ok(()) => ExitCode::Done,
        Err(reason) => {
            error("top", Outcome::Fail).with("error", format!("the terminal: {reason}")).write();
            ExitCode::Failed
        }
    }
}

fn show(port: u16) -> io::Result<()> {
    let mut terminal = Terminal::open()?;
    let mut source = Source::new(port);
    let mut view = View::new(Palette::of_environment());
    loop {
        view.update(source.read(), Instant::now());
        let width = terminal.draw(&view)?;
        let period = if view.awaits_replacement() { PERIOD_OF_KILL } else { PERIOD };
        match terminal.input(period)? {
            Input::Stop | Input::Key(Action::Quit) => return Ok(()),
            Input::Key(Action::Kill) => {
                let Some((worker, supervisor)) = view.killable() else { continue };
                let killed = kill::kill(worker.pid, supervisor);
                view.record_kill(worker.slot, worker.pid, killed, Instant::now());
            }
            Input::Key(Action::Select(step)) => view.select(step, layout::boxes_per_row(width)),
            Input::None => {}
        }
    }
}
