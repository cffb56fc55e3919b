//! `client check`: checks a server, of this project or any other, against the rules of its dialect.

mod bets;
mod concurrent;
mod connection;
mod conversation;
mod draw;
mod excerpt;
mod report;
mod row;
mod target;
mod test_agency;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args;
use lottery::protocol::{ConnectionUse, Dialect};

use self::connection::Pieces;
use self::draw::Draw;
use self::report::Report;
use self::row::{Method, Row, Violation};
use self::target::{Target, cannot_connect};
use crate::config;
use crate::stop::{Stop, Wake, exit_code};

/// Text at the end of the help.
pub(crate) const AFTER_HELP: &str = "\
The server must be freshly started: a draw happens once, and a server may refuse every bet after it.
It must wait for as many agencies as --agencies says. With --no-draw the server stays usable, but
the bets of the check remain stored in it.
Every rule of the dialect is tried twice: with each message in one write, then byte by byte (a long
message in 128 pieces). Then follows a draw with all agencies or, in a dialect without a draw,
several connections at the same time.
Rows marked [beyond] hold for this project's server but not for every original system of the
dialect. They are shown, but count only with --beyond. That flag also tries an agency that notifies
twice and one that disconnects before the draw, which can spoil the draw of a server that does not
handle them.
Where no reply is expected, silence for a quarter of --timeout is enough.
Exit codes: 0 every rule that counts is kept, 1 a rule is broken or the server cannot be reached,
2 wrong usage, 143 or 130 after SIGTERM or SIGINT.";

/// Length of one sleep of the thread that waits for a signal. It sleeps again afterwards, so the
/// value has no effect.
const LONG: Duration = Duration::from_secs(3600);

/// Arguments of `client check`.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Address of the server, such as 127.0.0.1:12345
    #[arg(value_name = "HOST:PORT", value_parser = address)]
    address: String,
    /// Dialect of the server
    #[arg(long, value_name = "DIALECT", value_parser = dialect)]
    protocol: &'static Dialect,
    /// Number of agencies that take part, 2 to 255: as many as the server waits for
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=255))]
    agencies: u16,
    /// Use of connections: auto, kept or per-request, as in run
    #[arg(long, value_name = "USE", default_value = config::AUTO)]
    connection: String,
    /// Time limit for a reply
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = timeout)]
    timeout: Duration,
    /// Skip the draw
    #[arg(long)]
    no_draw: bool,
    /// Try all rules beyond the original systems too, and count them like the others
    #[arg(long)]
    beyond: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Why a server was not checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// The dialect does not allow this use of connections.
    #[error("--connection {given} is not accepted: {dialect} allows {allowed}")]
    Connection {
        /// Value of `--connection`.
        given: String,
        /// Name of the dialect.
        dialect: &'static str,
        /// Values that the dialect allows.
        allowed: String,
    },
    /// The server cannot be reached.
    #[error("{address}: {reason}")]
    Unreachable {
        /// Address as it was given.
        address: String,
        /// Failure of the connection attempt.
        reason: String,
    },
    /// The thread that waits for signals cannot be started.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
}

impl Check {
    /// Returns the use of connections, if the dialect allows it.
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

    /// Checks the server and prints the report with `print`. Returns true if the server passes.
    pub(crate) fn run(&self, stop: Stop, print: fn(&str)) -> Result<bool, CheckError> {
        let stop = Arc::new(stop);
        end_on_signal(Arc::clone(&stop)).map_err(CheckError::Signals)?;
        let unreachable =
            |reason| CheckError::Unreachable { address: self.address.clone(), reason };
        let target = Target::new(&self.address, self.connection()?, self.timeout, stop)
            .map_err(|error| unreachable(error.to_string()))?;
        // The first rule uses this connection. Some servers serve one connection after the other,
        // and an unused one would block them.
        let first = target.connect().map_err(|error| unreachable(cannot_connect(&error)))?;

        let mut first = Some(first);
        let mut report =
            Report::new(self.protocol.name, &self.address, self.json, self.beyond, print);
        for rule in (self.protocol.rules)() {
            for (method, pieces) in
                [(Method::Whole, Pieces::Whole), (Method::Bytewise, Pieces::Bytes)]
            {
                let violation = match first.take().map_or_else(|| target.connect(), Ok) {
                    Ok(connection) => conversation::run(&rule, pieces, connection, &target),
                    Err(error) => Violation::of("a connection", Err(cannot_connect(&error))),
                };
                report.add(Row::new(rule.name, method, violation));
            }
        }
        self.check_agencies(&target, &mut report);
        Ok(report.finish())
    }

    /// Checks the rules that need several agencies.
    fn check_agencies(&self, target: &Target, report: &mut Report) {
        let Some(new_codec) = self.protocol.agency else {
            return concurrent::check_messages(target, self.agencies, report);
        };
        if !self.protocol.waits_for_draw {
            concurrent::check_bets(target, new_codec, self.agencies, report);
        } else if !self.no_draw {
            Draw::new(target, new_codec, self.agencies, self.beyond).run(report);
        }
    }
}

/// Ends the program with the signal's exit code when a signal arrives. A check has nothing to
/// finish.
fn end_on_signal(stop: Arc<Stop>) -> io::Result<()> {
    let watch = move || loop {
        if let (Wake::Stopped, Some(signal)) = (stop.sleep(LONG), stop.requested()) {
            std::process::exit(exit_code(signal).into());
        }
    };
    thread::Builder::new().name("signal exit".to_owned()).spawn(watch).map(drop)
}

fn address(text: &str) -> Result<String, String> {
    config::address(text)
        .ok_or_else(|| "expected host:port, such as server:12345 or [::1]:12345".to_owned())
}

fn dialect(name: &str) -> Result<&'static Dialect, String> {
    Dialect::named(name).ok_or_else(|| format!("expected one of {}", Dialect::names()))
}

fn timeout(text: &str) -> Result<Duration, String> {
    config::some_time(text)
        .ok_or_else(|| "expected a duration above zero, such as 2s or 500ms".to_owned())
}
