//! `client check`: checks a server, of this project or any other, against the rules of its dialect.

mod bets;
mod concurrent;
mod connection;
mod conversation;
mod draw;
mod excerpt;
mod obstacle;
mod report;
mod row;
mod target;
mod test_agency;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args;
use lottery::protocol::{ConnectionUse, Dialect, NewAgency, Rule, Scope};

use self::connection::{Pieces, TestConnection};
use self::draw::Draw;
use self::obstacle::Obstacle;
use self::report::Report;
use self::row::{Method, Row};
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
dialect. They are shown, but count only with --beyond. That flag also tries the rules that end an
original system, an agency that notifies twice and one that disconnects before the draw, which can
spoil the draw of a server that does not handle them.
The check stops early, and prints how many rules it has not tried, if the server can no longer be
reached, has held its draw, or speaks another dialect. To find that out, it tries the other dialects
and a query for winners if the server breaks the first rule.
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
    #[arg(value_name = "HOST:PORT", value_parser = config::one_address)]
    address: String,
    /// Dialect of the server
    #[arg(long, value_name = "DIALECT", value_parser = config::dialect)]
    protocol: &'static Dialect,
    /// Number of agencies that take part, 2 to 255: as many as the server waits for
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=255))]
    agencies: u16,
    /// Use of connections: auto, kept or per-request, as in run
    #[arg(long, value_name = "USE", default_value = config::AUTO)]
    connection: String,
    /// Time limit for a reply
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = config::some_time_of)]
    timeout: Duration,
    /// Skip the draw
    #[arg(long)]
    no_draw: bool,
    /// Hold the draw before the other rules are tried, because one of them may end the server
    #[arg(long, conflicts_with = "no_draw")]
    draw_first: bool,
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

        let report = Report::new(self.protocol.name, &self.address, self.json, self.beyond, print);
        let mut course = Course { check: self, target, first: Some(first), report };
        let rules = self.rules();
        let tried = if self.draw_first && self.protocol.waits_for_draw {
            course.try_agencies().and_then(|()| course.try_rules(&rules))
        } else {
            course.try_rules(&rules).and_then(|()| course.try_agencies())
        };
        let Course { target, mut report, .. } = course;
        if let Err(obstacle) = tried {
            let mut all: Vec<_> = rules.iter().map(|rule| rule.name).collect();
            all.extend(self.agency_rules(&target));
            report.stop(obstacle, &all);
        }
        Ok(report.finish())
    }

    /// Returns the rules to try. Those that end an original server come last, and only with
    /// `--beyond`.
    fn rules(&self) -> Vec<Rule> {
        let mut rules = (self.protocol.rules)();
        rules.retain(|rule| self.beyond || rule.scope != Scope::Fatal);
        rules.sort_by_key(|rule| rule.scope == Scope::Fatal);
        rules
    }

    /// Returns the draw with all agencies.
    fn draw<'t>(&self, target: &'t Target, new_codec: NewAgency) -> Draw<'t> {
        let &Self { protocol, agencies, beyond, .. } = self;
        Draw { target, new_codec, agencies, has_keys: protocol.has_keys, beyond }
    }

    /// Returns the names of the rules that need several agencies.
    fn agency_rules(&self, target: &Target) -> Vec<&'static str> {
        match self.protocol.agency {
            None => vec![concurrent::MESSAGE_RULE],
            Some(_) if !self.protocol.waits_for_draw => concurrent::BET_RULES.to_vec(),
            Some(_) if self.no_draw => vec![],
            Some(new_codec) => self.draw(target, new_codec).rules(),
        }
    }
}

/// A running check.
struct Course<'c> {
    check: &'c Check,
    target: Target,
    /// The first connection, until it is used.
    first: Option<TestConnection>,
    report: Report,
}

impl Course<'_> {
    /// Tries each rule by both methods.
    fn try_rules(&mut self, rules: &[Rule]) -> Result<(), Obstacle> {
        let dialect = self.check.protocol;
        // The server remembers the sessions of the first method.
        let again = self.check.rules();
        for (index, (rule, again)) in rules.iter().zip(&again).enumerate() {
            let mut broken = 0;
            for (rule, method, pieces) in
                [(rule, Method::Whole, Pieces::Whole), (again, Method::Bytewise, Pieces::Bytes)]
            {
                let connection = self.connect()?;
                let violation = conversation::run(rule, pieces, connection, &self.target);
                broken += usize::from(violation.is_some());
                let row = Row::new(rule.name, method, violation);
                let is_beyond = rule.scope != Scope::Kept
                    || method == Method::Bytewise && !dialect.originals_join_reads;
                self.report.add(if is_beyond { row.beyond() } else { row });
            }
            // A server that breaks even this rule is probably not the one that the user means.
            if index == 0
                && broken == 2
                && let Some(obstacle) = obstacle::of_first_rule(dialect, &self.target)
            {
                return Err(obstacle);
            }
        }
        Ok(())
    }

    /// Tries the rules that need several agencies.
    fn try_agencies(&mut self) -> Result<(), Obstacle> {
        let &Check { protocol, agencies, no_draw, draw_first, .. } = self.check;
        let (target, report) = (&self.target, &mut self.report);
        match protocol.agency {
            None => concurrent::check_messages(target, agencies, report),
            Some(new_codec) if !protocol.waits_for_draw => {
                concurrent::check_bets(target, new_codec, agencies, report);
            }
            Some(_) if no_draw => {}
            Some(new_codec) => {
                let first = self.connect()?;
                let draw = self.check.draw(&self.target, new_codec);
                let accepts_bets = draw.run(first, &mut self.report);
                if draw_first {
                    self.first = Some(self.connect()?);
                    if !accepts_bets {
                        return Err(Obstacle::DrawHeld);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns a connection. A server that refuses two attempts is gone.
    fn connect(&mut self) -> Result<TestConnection, Obstacle> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let connect = || self.target.connect();
        let again = |_| {
            thread::sleep(self.target.silence());
            connect()
        };
        connect().or_else(again).map_err(|error| Obstacle::Gone {
            since: self.report.last_rule(),
            error: cannot_connect(&error),
        })
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
