//! The commands of an operator, from a machine on which no central of the lottery runs.

use std::time::{Duration, Instant};

use postgres_link::{Param, Request, Servers, Session};

use super::snapshot::{ReadError, Snapshot};
use super::statements;

/// Time of a command, which may hold the draw.
const LIMIT: Duration = Duration::from_secs(60);

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operated {
    /// It was executed.
    Done,
    /// The draw has been held before.
    Drawn,
    /// Not every expected agency has finished.
    Open {
        /// Agencies that have finished.
        finished: u32,
        /// Agencies that the draw waits for.
        expected: u32,
    },
    /// The draw needs no confirmation.
    Automatic,
}

/// Executes a command: `confirm`, which also holds the draw, or `reopen`.
pub fn operate(
    servers: &Servers,
    lottery: &str,
    command: &'static str,
) -> Result<Operated, ReadError> {
    // The database has the lottery, in tables of this version.
    let summary = Snapshot::open(servers, lottery)?.summary()?;
    let deadline = Instant::now() + LIMIT;
    let mut session = Session::connect(servers, deadline)?;
    let mut request = Request::new();
    statements::operate(lottery, command, &mut request)?;
    // It does nothing unless the draw is due.
    request.add("SELECT lottery.hold_draw($1)", &[Param::Text(lottery)])?;
    let replies = session.execute(request, deadline)?;
    // A failover could undo what the engine says.
    if let Some(warning) = replies.warnings().first() {
        return Err(ReadError::Warned(Box::new(warning.clone())));
    }
    let answer = replies.of(0).first().map_or(Ok(""), |row| row.get(0))?;
    Ok(match answer {
        "done" => Operated::Done,
        "drawn" => Operated::Drawn,
        "automatic" => Operated::Automatic,
        _ => Operated::Open { finished: summary.finished.len() as u32, expected: summary.expected },
    })
}
