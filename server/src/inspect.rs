//! The commands `status`, `draw`, `ipcs`, `health` and `backup`: they examine a running central
//! without disturbing it. `draw` can also give it a command.

mod backup;
mod condition;
mod draw;
pub mod health;
mod status;

use std::thread::sleep;
use std::time::Duration;

use conventions::log_line::{Outcome, error};
use conventions::output;
use multiprocessing::{Listing, SegmentError, SharedState, View, segments};

pub use self::backup::backup;
use self::status::Status;
use crate::central::{NAME_PREFIX, OperatorCommand, Shared};
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

/// Prints the status of the central whose first port is `port`.
pub fn status(port: u16, json: bool, watch: bool) -> ExitCode {
    loop {
        let shared = match attach(port) {
            Ok(shared) => shared,
            Err(reason) => return failed("status", &reason),
        };
        let status = Status::of(&shared);
        let text = if json { status.json() } else { status.table() };
        let shown = if watch && !json { format!("{CLEAR}{text}") } else { text };
        match output::print(shown.as_bytes()) {
            Err(reason) => return failed("status", &reason),
            Ok(true) if watch => sleep(WATCH),
            Ok(_) => return ExitCode::Done,
        }
    }
}

/// Prints the state of the draw of the central whose first port is `port`, or gives the central a
/// command of the operator.
pub fn draw(port: u16, command: Option<OperatorCommand>, roster: Option<&Roster>) -> ExitCode {
    let shared = match attach(port) {
        Ok(shared) => shared,
        Err(reason) => return failed("draw", &reason),
    };
    let text = match command {
        None => draw::state(&shared, roster),
        Some(command) => match draw::execute(&shared, command) {
            Ok(done) => format!("{done}\n"),
            Err(reason) => return failed("draw", &reason),
        },
    };
    match output::print(text.as_bytes()) {
        Ok(_open) => ExitCode::Done,
        Err(reason) => failed("draw", &reason),
    }
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
