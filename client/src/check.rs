//! `loteria-agency check`: checks a server, of this project or any other, against the rules of its
//! dialect.

mod bets;
mod cause;
mod concurrent;
mod connection;
mod conversation;
mod diagnosis;
mod draw;
mod excerpt;
mod language;
mod obstacle;
mod report;
mod row;
mod rule;
mod target;
mod test_agency;
mod weights;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use lottery::protocol::{ConnectionUse, Dialect, Rule, Scope};

use self::connection::{Pieces, TestConnection};
use self::draw::Draw;
use self::language::Language;
use self::obstacle::Obstacle;
use self::report::{Format, Report, Settings};
use self::row::Row;
use self::rule::{Group, Method, Planned};
use self::target::{Target, cannot_connect};
use self::weights::{Weight, Weights};
use crate::config;
use crate::stop::{LONG, Stop, Wake, exit_code};

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
Each row has an identifier, a group (replies, refusals, framing, concurrency or draw) and points;
--list prints them. The grade is the points of the rows that hold, of those of all rows that count,
also of those that were not tried.
Exit codes: 0 every rule that counts is kept, 1 a rule is broken or the server cannot be reached,
2 wrong usage, 143 or 130 after SIGTERM or SIGINT.";

/// Pause between two attempts to connect while the server starts.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

/// Arguments of `loteria-agency check`.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Address of the server, such as 127.0.0.1:12345
    #[arg(value_name = "HOST:PORT", value_parser = config::one_address, required_unless_present = "list")]
    address: Option<String>,
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
    /// Form of the report
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, conflicts_with = "json")]
    format: Format,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// Explain each broken rule: the bytes around the first wrong one, and the probable cause
    /// (in Spanish if LC_ALL, LC_MESSAGES or LANG says so)
    #[arg(long)]
    explain: bool,
    /// Try only the rules of this group; may be repeated
    #[arg(long, value_name = "GROUP", value_enum)]
    group: Vec<Group>,
    /// Points of each rule of a group, or of one rule; may be repeated
    #[arg(long, value_name = "NAME=POINTS", value_parser = weights::parse)]
    weight: Vec<Weight>,
    /// Wait at most this long until the server accepts connections
    #[arg(long, value_name = "TIME", value_parser = config::some_time_of)]
    wait: Option<Duration>,
    /// Print identifier, group, points and sentence of each rule instead of checking a server
    #[arg(long)]
    list: bool,
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
    /// `--weight` names no rule of the check.
    #[error("--weight names {name}, which is no rule of this check; --list prints them")]
    Weight {
        /// The name.
        name: String,
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

    /// Fails if the flags do not fit the dialect.
    pub(crate) fn validate(&self) -> Result<(), CheckError> {
        self.connection()?;
        match self.weights().unknown(&self.plan(), self.protocol.name) {
            Some(name) => Err(CheckError::Weight { name: name.to_owned() }),
            None => Ok(()),
        }
    }

    /// Checks the server, or lists the rules, and prints the report with `print`. Returns true if
    /// the server passes.
    pub(crate) fn run(&self, stop: Stop, print: fn(&str)) -> Result<bool, CheckError> {
        let Some(address) = self.address.as_ref().filter(|_| !self.list) else {
            print(&self.listing());
            return Ok(true);
        };
        let stop = Arc::new(stop);
        end_on_signal(Arc::clone(&stop)).map_err(CheckError::Signals)?;
        let (target, first) = self.reach(address, &stop)?;
        let settings = Settings {
            protocol: self.protocol.name,
            address: address.clone(),
            format: if self.json { Format::Json } else { self.format },
            beyond_counts: self.beyond,
            explain: self.explain.then(|| Language::of_locale(|name| std::env::var(name).ok())),
            weights: self.weights(),
        };
        let report = Report::new(settings, self.plan(), print);
        let mut course = Course { check: self, target, first: Some(first), report };
        let rules = self.rules();
        let tried = if self.draw_first && self.protocol.waits_for_draw {
            course.try_agencies().and_then(|()| course.try_rules(&rules))
        } else {
            course.try_rules(&rules).and_then(|()| course.try_agencies())
        };
        let Course { mut report, .. } = course;
        if let Err(obstacle) = tried {
            report.stop(obstacle);
        }
        Ok(report.finish())
    }

    /// Connects to the server, and tries again for the time of `--wait`. The first rule uses the
    /// connection: some servers serve one connection after the other, and an unused one would block
    /// them.
    fn reach(
        &self,
        address: &str,
        stop: &Arc<Stop>,
    ) -> Result<(Target, TestConnection), CheckError> {
        let deadline = Instant::now() + self.wait.unwrap_or_default();
        loop {
            let target = Target::new(address, self.connection()?, self.timeout, Arc::clone(stop));
            let reached = target.map_err(|error| error.to_string()).and_then(|target| {
                let first = target.connect().map_err(|error| cannot_connect(&error))?;
                Ok((target, first))
            });
            match reached {
                Ok(reached) => return Ok(reached),
                Err(_) if Instant::now() < deadline => thread::sleep(ATTEMPT_PAUSE),
                Err(reason) => {
                    return Err(CheckError::Unreachable { address: address.to_owned(), reason });
                }
            }
        }
    }

    /// Returns all rows of a complete check.
    fn plan(&self) -> Vec<Planned> {
        let of_rule = |rule: &Rule| {
            [Method::Whole, Method::Bytewise].map(|method| Planned::of(rule, method, self.protocol))
        };
        let rules = self.rules();
        let of_rules = rules.iter().flat_map(of_rule).filter(|planned| self.tries(planned.group));
        of_rules.chain(self.agency_rules()).collect()
    }

    /// Returns true if the rules of this group are tried.
    fn tries(&self, group: Group) -> bool {
        self.group.is_empty() || self.group.contains(&group)
    }

    /// Returns true if the rules that need several agencies are tried.
    fn tries_agencies(&self) -> bool {
        let holds_draw = self.protocol.waits_for_draw;
        let group = if holds_draw { Group::Draw } else { Group::Concurrency };
        self.tries(group) && !(holds_draw && self.no_draw)
    }

    fn weights(&self) -> Weights {
        Weights(self.weight.clone())
    }

    /// Returns the rows of the check as lines.
    fn listing(&self) -> String {
        let weights = self.weights();
        let line = |planned: &Planned| {
            let (id, group) = (planned.full_id(self.protocol.name), planned.group.name());
            let points = weights.of(planned, self.protocol.name);
            let mark = if planned.beyond { "[beyond] " } else { "" };
            format!("{id:36}  {group:11}  {points:3}  {mark}{}\n", planned.rule)
        };
        let heading = format!("{:36}  {:11}  {:3}  rule\n", "id", "group", "pts");
        heading + &self.plan().iter().map(line).collect::<String>()
    }

    /// Returns the rules to try. Those that end an original server come last, and only with
    /// `--beyond`.
    fn rules(&self) -> Vec<Rule> {
        let mut rules = (self.protocol.rules)();
        rules.retain(|rule| self.beyond || rule.scope != Scope::Fatal);
        rules.sort_by_key(|rule| rule.scope == Scope::Fatal);
        rules
    }

    /// Returns the rules that need several agencies.
    fn agency_rules(&self) -> Vec<Planned> {
        let &Self { protocol, beyond, .. } = self;
        match protocol.agency {
            _ if !self.tries_agencies() => vec![],
            None => concurrent::message_rules(),
            Some(_) if !protocol.waits_for_draw => concurrent::bet_rules(beyond),
            Some(new_codec) => draw::rules(new_codec, protocol.has_keys, beyond),
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
                let planned = Planned::of(rule, method, dialect);
                if !self.check.tries(planned.group) {
                    continue;
                }
                let connection = self.connect()?;
                let violation = conversation::run(rule, pieces, connection, &self.target);
                broken += usize::from(violation.is_some());
                self.report.add(Row::new(planned, violation));
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
        let &Check { protocol, agencies, draw_first, beyond, .. } = self.check;
        let (target, report) = (&self.target, &mut self.report);
        match protocol.agency {
            _ if !self.check.tries_agencies() => {}
            None => concurrent::check_messages(target, agencies, report),
            Some(new_codec) if !protocol.waits_for_draw => {
                concurrent::check_bets(target, new_codec, agencies, beyond, report);
            }
            Some(new_codec) => {
                let first = self.connect()?;
                let has_keys = protocol.has_keys;
                let draw = Draw { target: &self.target, new_codec, agencies, has_keys, beyond };
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
