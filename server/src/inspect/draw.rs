//! The command `draw`: which agencies have finished, and what the draw waits for.

use std::fmt::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::central::{Answer, NoAnswer, OperatorCommand, Phase, Shared};
use crate::roster::Roster;

/// How long a confirmation waits until the draw has been held.
const DRAW_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two checks for it.
const PAUSE: Duration = Duration::from_millis(20);

/// Why a command of an operator was not executed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The central executes no command now.
    #[error("the central is stopping; repeat the command when it runs again")]
    Stopping,
    /// No worker answered.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// The draw has been held.
    #[error(
        "the draw has been held, and bets stay closed; a new lottery needs another \
         SERVER_STORAGE_DIR"
    )]
    Drawn,
    /// Not every expected agency has finished.
    #[error(
        "{finished} of {expected} agencies have finished; the draw can be confirmed when all have"
    )]
    Open {
        /// Agencies that have finished.
        finished: u32,
        /// Agencies that the draw waits for.
        expected: u32,
    },
    /// The central needs no confirmation.
    #[error("this central holds the draw without confirmation (SERVER_DRAW = automatic)")]
    Automatic,
    /// A file could not be written.
    #[error("the central could not write its storage; its log has the reason")]
    Failed,
    /// The draw was confirmed, and is not held yet.
    #[error(
        "confirmed, but the draw has not been held within {}s; the log has the reason if it fails, \
         and `loteria-central draw` shows the state",
        DRAW_TIMEOUT.as_secs()
    )]
    NotHeld,
}

/// Executes a command of an operator. Returns what happened.
pub fn execute(shared: &Shared, command: OperatorCommand) -> Result<&'static str, CommandError> {
    if Phase::from_byte(shared.phase.load()) == Phase::Draining {
        return Err(CommandError::Stopping);
    }
    let cleared = shared.finished.load();
    match (shared.command(command)?, command) {
        (Answer::Done, OperatorCommand::Confirm) => until_drawn(shared),
        (Answer::Done, OperatorCommand::Reopen) if cleared == 0 => {
            Ok("bets are open: no agency had finished")
        }
        (Answer::Done, OperatorCommand::Reopen) => {
            Ok("bets are open again: every agency has to finish again")
        }
        // The answer to a repeated confirmation is that of the first one.
        (Answer::Drawn, OperatorCommand::Confirm) => Ok("the draw has been held already"),
        (Answer::Drawn, OperatorCommand::Reopen) => Err(CommandError::Drawn),
        (Answer::Open, _) => Err(CommandError::Open {
            finished: shared.finished.load(),
            expected: shared.expected.load(),
        }),
        (Answer::Automatic, _) => Err(CommandError::Automatic),
        (Answer::Failed, _) => Err(CommandError::Failed),
    }
}

fn until_drawn(shared: &Shared) -> Result<&'static str, CommandError> {
    let deadline = Instant::now() + DRAW_TIMEOUT;
    while shared.drawn.load() == 0 {
        if Instant::now() >= deadline || !shared.segment.creator_is_alive() {
            return Err(CommandError::NotHeld);
        }
        sleep(PAUSE);
    }
    Ok("the draw has been held")
}

/// What the draw waits for.
#[derive(Debug)]
pub struct DrawState {
    /// Agencies that have finished, in order.
    pub finished: Vec<u16>,
    /// Agencies of the roster that have not finished, in order.
    pub missing: Vec<u16>,
    /// Number of agencies that the draw waits for.
    pub expected: u32,
    /// True once the draw has been held.
    pub is_drawn: bool,
    /// True if bets are closed and the draw waits for an operator.
    pub awaits_confirmation: bool,
}

impl DrawState {
    /// Returns the state that a central shows.
    pub fn of(shared: &Shared) -> Self {
        Self {
            finished: shared.finished_numbers(),
            missing: shared.missing_numbers(),
            expected: shared.expected.load(),
            is_drawn: shared.drawn.load() != 0,
            awaits_confirmation: shared.awaits_confirmation(),
        }
    }

    /// Returns the state as text. `roster` has the names of the agencies, where known.
    pub fn text(&self, roster: Option<&Roster>) -> String {
        let (finished, expected) = (self.finished.len(), self.expected);
        let mut text = format!("{finished} of {expected} agencies have finished\n");
        let mut list = |title: &str, agencies: &[u16]| {
            if !agencies.is_empty() {
                // Writing into a String cannot fail.
                let _ = writeln!(text, "{title:<9} {}", names(agencies, roster));
            }
        };
        list("finished:", &self.finished);
        list("missing:", &self.missing);
        text += if self.is_drawn {
            "the draw has been held: bets are closed\n"
        } else if self.awaits_confirmation {
            "bets are closed, and the draw waits for `loteria-central draw --confirm`; `loteria-central draw \
             --reopen` opens the bets again\n"
        } else if finished >= expected as usize {
            "bets are closed, and the draw is being held\n"
        } else {
            "bets are open\n"
        };
        text
    }
}

/// Returns a list of agencies: those with a name one by one, the others in ranges.
fn names(agencies: &[u16], roster: Option<&Roster>) -> String {
    let name = |agency: &u16| roster.and_then(|roster| roster.name(*agency));
    let mut items: Vec<String> = Vec::new();
    let mut rest = agencies;
    while let Some(first) = rest.first() {
        let (item, length) = match name(first).filter(|name| !name.is_empty()) {
            Some(name) => (format!("{first} {name}"), 1),
            None => {
                let follows = |(index, agency): &(usize, &u16)| {
                    usize::from(**agency) == usize::from(*first) + index && name(agency).is_none()
                };
                let length = rest.iter().enumerate().take_while(follows).count().max(1);
                let range = if length > 2 { "-" } else { ", " };
                match length {
                    1 => (first.to_string(), 1),
                    _ => (format!("{first}{range}{}", rest[length - 1]), length),
                }
            }
        };
        items.push(item);
        rest = &rest[length..];
    }
    items.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agencies_without_names_are_listed_in_ranges() {
        assert_eq!(names(&[], None), "");
        assert_eq!(names(&[7], None), "7");
        assert_eq!(names(&[1, 2, 4, 5, 6, 7, 9, 65534, 65535], None), "1, 2, 4-7, 9, 65534, 65535");
        assert_eq!(names(&(1..=u16::MAX).collect::<Vec<_>>(), None), "1-65535");
    }
}
