//! The commands `status`, `draw`, `ipcs`, `health`, `backup`, `export` and `lottery`: they examine
//! a running central, or its lottery in an engine, without disturbing it. `draw` can also give a
//! command, and `lottery` can begin a lottery.

mod backup;
mod draw;
pub mod health;
mod lotteries;
mod lottery;

use std::thread::sleep;
use std::time::Duration;

use central_view::{AttachError, NAME_PREFIX, Status, attach};
use conventions::log_line::{Outcome, error};
use conventions::output;
use multiprocessing::{Listing, SharedState, segments};

pub use self::backup::backup;
pub use self::draw::DrawState;
pub use self::lotteries::lotteries;
pub use self::lottery::{Lottery, export_lottery};
use crate::central::{OperatorCommand, Shared};
use crate::config::StorageChoice;
use crate::exit_code::ExitCode;
use crate::roster::Roster;

/// Time between two tables of `status --watch`.
const WATCH: Duration = Duration::from_secs(1);
/// Clears a terminal and moves the cursor to the top left corner (ECMA-48).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Prints the status of the central whose first port is `port`, and of its lottery if that is in an
/// engine.
pub fn status(port: u16, json: bool, watch: bool, storage: &StorageChoice) -> ExitCode {
    let lottery = match Lottery::of(storage) {
        Ok(lottery) => lottery,
        Err(reason) => return failed("status", &reason),
    };
    loop {
        let status = attach(port).map(|shared| Status::of(&shared));
        let text = match (status, &lottery) {
            (status, Some(lottery)) => lottery.status(status.ok(), json),
            (Ok(status), None) => Ok(if json { status.json() } else { status.table() }),
            (Err(reason), None) => return failed("status", &reason),
        };
        let text = match text {
            Ok(text) => text,
            Err(reason) => return failed("status", &reason),
        };
        let shown = if watch && !json { format!("{CLEAR}{text}") } else { text };
        match output::print(shown.as_bytes()) {
            Err(reason) => return failed("status", &reason),
            Ok(true) if watch => sleep(WATCH),
            Ok(_) => return ExitCode::Done,
        }
    }
}

/// Prints the state of the draw of the central whose first port is `port`, or gives the central a
/// command of the operator. If no central runs here and the lottery is in an engine, the command
/// is that of the lottery.
pub fn draw(
    port: u16,
    command: Option<OperatorCommand>,
    roster: Option<&Roster>,
    storage: &StorageChoice,
) -> ExitCode {
    let text = match (open(port), Lottery::of(storage)) {
        (Ok(shared), _) => draw_of_central(&shared, command, roster),
        (Err(_), Ok(Some(lottery))) => draw_of_lottery(&lottery, command, roster),
        (Err(_), Err(reason)) => return failed("draw", &reason),
        (Err(reason), Ok(None)) => return failed("draw", &reason),
    };
    let text = match text {
        Ok(text) => text,
        Err(reason) => return failed("draw", &reason),
    };
    match output::print(text.as_bytes()) {
        Ok(_open) => ExitCode::Done,
        Err(reason) => failed("draw", &reason),
    }
}

fn draw_of_central(
    shared: &Shared,
    command: Option<OperatorCommand>,
    roster: Option<&Roster>,
) -> Result<String, String> {
    let Some(command) = command else { return Ok(DrawState::of(shared).text(roster)) };
    let done = draw::execute(shared, command).map_err(|error| error.to_string())?;
    Ok(format!("{done}\n"))
}

fn draw_of_lottery(
    lottery: &Lottery,
    command: Option<OperatorCommand>,
    roster: Option<&Roster>,
) -> Result<String, String> {
    let text = match command {
        None => lottery.draw_state().map(|state| state.text(roster)),
        Some(command) => lottery.execute(command).map(|done| format!("{done}\n")),
    };
    text.map_err(|error| error.to_string())
}

/// Prints every segment of the library with its objects, or only that of the central whose first
/// port is `port`.
pub fn ipcs(port: Option<u16>) -> ExitCode {
    let mut listings = match segments() {
        Ok(listings) => listings,
        Err(reason) => return failed("ipcs", &format!("listing /dev/shm: {reason}")),
    };
    // As in `attach`, 0 means the central that runs, whatever its port.
    if let Some(port) = port.filter(|port| *port != 0) {
        listings.retain(|listing| listing.name.as_str() == format!("{NAME_PREFIX}{port}"));
    }
    match output::print(Listing::table(&listings).as_bytes()) {
        Ok(_open) => ExitCode::Done,
        Err(reason) => failed("ipcs", &reason),
    }
}

/// Opens the shared state of the central that [`attach`] finds, to give it a command.
fn open(port: u16) -> Result<Shared, AttachError> {
    Ok(Shared::open(attach(port)?.segment.name())?)
}

fn failed(action: &str, reason: &dyn std::fmt::Display) -> ExitCode {
    error(action, Outcome::Fail).with("error", reason).write();
    ExitCode::Failed
}
