//! The commands `status`, `draw`, `ipcs`, `health`, `backup`, `export` and `lottery`: they examine
//! a running central, or its lottery in an engine, without disturbing it. `draw` can also give a
//! command, and `lottery` can begin a lottery.

mod backup;
mod condition;
mod draw;
pub mod health;
mod lotteries;
mod lottery;
mod status;

use std::thread::sleep;
use std::time::Duration;

use conventions::log_line::{Outcome, error};
use conventions::output;
use multiprocessing::{Listing, SegmentError, SharedState, View, segments};

pub use self::backup::backup;
use self::draw::DrawState;
pub use self::lotteries::lotteries;
pub use self::lottery::{Lottery, export_lottery};
use self::status::Status;
use crate::central::{NAME_PREFIX, OperatorCommand, Shared};
use crate::config::StorageChoice;
use crate::exit_code::ExitCode;
use crate::roster::Roster;

/// Time between two tables of `status --watch`.
const WATCH: Duration = Duration::from_secs(1);
/// Clears a terminal and moves the cursor to the top left corner (ECMA-48).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Why there is no central to inspect.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error("no central runs on port {port}{others}")]
    NotRunning { port: u16, others: String },
    #[error("the central on port {port} was killed; its next start reclaims what it left")]
    Dead { port: u16 },
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error(transparent)]
    Name(#[from] multiprocessing::InvalidName),
}

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
    let text = match (attach(port), Lottery::of(storage)) {
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

/// Attaches to the shared state of the central whose first port is `port`. Port 0 means the only
/// running central.
fn attach(port: u16) -> Result<Shared, AttachError> {
    // Search only for port 0, because a search examines every process of the machine.
    let port = match port {
        0 => <[u16; 1]>::try_from(running_ports()).map_or(0, |[only]| only),
        port => port,
    };
    let shared = match Shared::open(&Shared::name(port)?) {
        Ok(shared) => shared,
        Err(SegmentError::NotFound { .. }) => {
            let list: Vec<_> = running_ports().iter().map(u16::to_string).collect();
            let others = match list.as_slice() {
                [] => ", nor on any other".to_owned(),
                ports => format!("; running on: {} (choose with --port)", ports.join(", ")),
            };
            return Err(AttachError::NotRunning { port, others });
        }
        Err(error) => return Err(error.into()),
    };
    if shared.segment.creator_is_alive() { Ok(shared) } else { Err(AttachError::Dead { port }) }
}

/// Returns the first ports of the running centrals that this user may see.
fn running_ports() -> Vec<u16> {
    let listings = segments().unwrap_or_default();
    let alive = listings
        .iter()
        .filter(|listing| listing.segment.as_ref().is_ok_and(View::creator_is_alive));
    alive
        .filter_map(|listing| listing.name.as_str().strip_prefix(NAME_PREFIX)?.parse().ok())
        .collect()
}

fn failed(action: &str, reason: &dyn std::fmt::Display) -> ExitCode {
    error(action, Outcome::Fail).with("error", reason).write();
    ExitCode::Failed
}
