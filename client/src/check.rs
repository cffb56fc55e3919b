//! `client check`: holds a server, ours or any other, against the rules of its dialect and tells which of them it keeps.

mod agency;
mod bets;
mod conversation;
mod door;
mod draw;
mod report;
mod row;
mod shown;
mod together;
mod wire;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args;
use lottery::protocol::{ConnectionUse, Dialect};

use self::door::{Door, no_connection};
use self::draw::Draw;
use self::report::Report;
use self::row::{How, Row};
use self::wire::Pieces;
use crate::config;
use crate::stop::{Stop, Wake, exit_code};

/// Ends the help: what a teacher and a script want to know.
pub(crate) const AFTER_HELP: &str = "\
The server has to be a fresh one: a draw happens once, and a server may refuse every bet after it. It must wait for as many
agencies as --agencies says. --no-draw holds no draw, so that the server stays fresh; the bets of the check stay in it.
Every rule of the dialect is tried twice, each message in one write and then byte by byte (a long one in 128 pieces); then comes
a draw with all the agencies, or several connections at the same time in a dialect without a draw.
Rows marked [beyond] hold for our server and not for every one of the systems that the dialects come from. They are shown, but a
server passes without them, unless --beyond is given. That also tries an agency that notifies twice and one that leaves
before the draw: what can take the draw away from a server that is not made for it.
Where no reply must come, silence for a quarter of --timeout is enough.
Exit codes: 0 every rule that counts is kept, 1 one is broken or the server cannot be reached, 2 wrong usage, 143 or 130 after
SIGTERM or SIGINT.";

/// How often the thread that waits for a signal looks whether it is still needed; it is until the end.
const LONG: Duration = Duration::from_secs(3600);

/// What to check.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Where the server listens, such as 127.0.0.1:12345
    #[arg(value_name = "HOST:PORT", value_parser = address)]
    address: String,
    /// Dialect that it speaks there
    #[arg(long, value_name = "DIALECT", value_parser = dialect)]
    protocol: &'static Dialect,
    /// Agencies that take part at the same time, 2 to 255: as many as the server waits for
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=255))]
    agencies: u16,
    /// How the agencies use connections: auto, kept or per-request, as in run
    #[arg(long, value_name = "USE", default_value = config::AUTO)]
    connection: String,
    /// How long a reply may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = patience)]
    timeout: Duration,
    /// Leave the draw out
    #[arg(long)]
    no_draw: bool,
    /// Try all the rules beyond the described systems too, and let them count like the others
    #[arg(long)]
    beyond: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Why a server was not checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// The dialect does not use connections like that.
    #[error("--connection {given} is not accepted: {dialect} has {allowed}")]
    Connection {
        /// What was asked for.
        given: String,
        /// The dialect.
        dialect: &'static str,
        /// The uses it has.
        allowed: String,
    },
    /// There is nobody to check.
    #[error("{address}: {reason}")]
    Unreachable {
        /// The server, as it was given.
        address: String,
        /// What was wrong.
        reason: String,
    },
    /// The system gave no thread.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
}

impl Check {
    /// How agencies use connections.
    ///
    /// # Errors
    /// When the dialect has no such use.
    pub(crate) fn connection(&self) -> Result<ConnectionUse, CheckError> {
        config::connection(&self.connection, self.protocol).ok_or_else(|| {
            let allowed: Vec<_> =
                self.protocol.connections.iter().map(|connection| connection.name()).collect();
            CheckError::Connection {
                given: self.connection.clone(),
                dialect: self.protocol.name,
                allowed: format!("{}, {}", config::AUTO, allowed.join(", ")),
            }
        })
    }

    /// Checks, and prints the report with `say`. Whether the server passes.
    ///
    /// # Errors
    /// [`CheckError`]: nothing was checked.
    pub(crate) fn run(&self, stop: Stop, say: fn(&str)) -> Result<bool, CheckError> {
        let stop = Arc::new(stop);
        end_on_signal(Arc::clone(&stop)).map_err(CheckError::Signals)?;
        let unreachable =
            |reason| CheckError::Unreachable { address: self.address.clone(), reason };
        let connection = self.connection()?;
        let door = Door::new(&self.address, connection, self.timeout, stop)
            .map_err(|error| unreachable(error.to_string()))?;
        // Not for nothing: some servers serve one connection after the other, and this is the first.
        let mut first = Some(door.connect().map_err(|error| unreachable(no_connection(&error)))?);

        let mut report =
            Report::new(self.protocol.name, &self.address, self.json, self.beyond, say);
        for rule in (self.protocol.rules)() {
            for (how, pieces) in [(How::Whole, Pieces::Whole), (How::Bytewise, Pieces::Bytes)] {
                let wire = first.take().map_or_else(|| door.connect(), Ok);
                let broken = match wire {
                    Ok(wire) => conversation::hold(&rule, pieces, wire, &door),
                    Err(error) => row::Broken::unless("a connection", Err(no_connection(&error))),
                };
                report.add(Row::new(rule.name, how, broken));
            }
        }
        self.check_together(&door, &mut report);
        Ok(report.end())
    }

    /// Tries what takes several agencies.
    fn check_together(&self, door: &Door, report: &mut Report) {
        let Some(begin) = self.protocol.agency else {
            return together::messages(door, self.agencies, report);
        };
        if !self.protocol.waits_for_draw {
            together::bets(door, begin, self.agencies, report);
        } else if !self.no_draw {
            Draw::new(door, begin, self.agencies, self.beyond).hold(report);
        }
    }
}

/// Ends the program with the signal's exit code as soon as one comes: a check has nothing to finish.
fn end_on_signal(stop: Arc<Stop>) -> io::Result<()> {
    let watch = move || loop {
        if let (Wake::Stopped, Some(signal)) = (stop.sleep(LONG), stop.requested()) {
            std::process::exit(exit_code(signal).into());
        }
    };
    thread::Builder::new().name("end".to_owned()).spawn(watch).map(drop)
}

fn address(text: &str) -> Result<String, String> {
    config::address(text)
        .ok_or_else(|| "expected host:port, such as server:12345 or [::1]:12345".to_owned())
}

fn dialect(name: &str) -> Result<&'static Dialect, String> {
    Dialect::named(name).ok_or_else(|| format!("expected one of {}", Dialect::names()))
}

fn patience(text: &str) -> Result<Duration, String> {
    config::some_time(text)
        .ok_or_else(|| "expected a duration above zero, such as 2s or 500ms".to_owned())
}
