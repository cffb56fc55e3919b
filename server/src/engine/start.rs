//! How the supervisor starts a central on its engine: it waits for a primary, creates the tables if
//! there are none, and makes this start the only one with its name.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::{Outcome, info, warn};
use conventions::logger;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use postgres_link::{
    NoPrimary, Param, Replies, Request, ServerError, Session, SessionError, ValueError,
};

use super::statements::{SCHEMA, State, VERSION, read_state};
use super::{Engine, EngineError, Expected, Identity};

/// Time of one attempt to connect.
const ATTEMPT: Duration = Duration::from_secs(4);
/// Shortest and longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Time of a statement of the supervisor.
const STATEMENT: Duration = Duration::from_secs(10);
/// How long a start waits for another central with its name. A central that was killed does not
/// seem alive any more by then.
const NAME_PATIENCE: Duration = Duration::from_secs(4);
/// Time between two looks at it.
const NAME_PAUSE: Duration = Duration::from_millis(100);
/// Lock of the statements that create the tables. Any number that no other program uses.
const SCHEMA_LOCK: i64 = 0x6c6f_7465_7279;

/// What a central finds when it starts.
#[derive(Debug)]
pub struct Started {
    /// Slots of this central with the bets and winners that their rows count. The slot behind the
    /// last one stands for all other rows.
    pub rows: Vec<(usize, (u64, u64))>,
    /// The state of the lottery.
    pub state: State,
}

/// Starts the central. Returns `None` if a signal asks it to stop meanwhile.
pub fn start(engine: &Engine, expected: &Expected) -> Result<Option<Started>, EngineError> {
    let mut pause = PAUSES.0;
    loop {
        let reason = match attempt(engine, expected) {
            Ok(started) => return Ok(Some(started)),
            Err(Failed::Permanent(error)) => return Err(error),
            Err(Failed::Unreachable(reason)) => reason,
        };
        warn("engine", Outcome::Fail)
            .with("error", reason)
            .with("next", format!("try again in {}", GoDuration(pause)))
            .write();
        logger::flush();
        if stops_within(pause) {
            return Ok(None);
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Why an attempt failed.
enum Failed {
    /// The engine cannot be reached now.
    Unreachable(String),
    /// Another attempt would fail too.
    Permanent(EngineError),
}

impl<E: Into<EngineError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Permanent(error.into())
    }
}

impl From<SessionError> for Failed {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Server(error) if !may_pass(&error) => Self::Permanent(error.into()),
            error => Self::Unreachable(error.to_string()),
        }
    }
}

impl From<NoPrimary> for Failed {
    fn from(error: NoPrimary) -> Self {
        Self::Unreachable(error.to_string())
    }
}

fn may_pass(error: &ServerError) -> bool {
    error.is_unavailable()
        || error.is_serialization_failure()
        || error.is_out_of_resources()
        || error.is_read_only()
        || error.is_canceled()
}

fn attempt(engine: &Engine, expected: &Expected) -> Result<Started, Failed> {
    let mut session = Session::connect(&engine.servers, Instant::now() + ATTEMPT)?;
    create_tables(engine, &mut session)?;
    let identity = &engine.identity;
    let [agencies, roster, confirm] = expected.params();
    let params = [
        Param::Text(&identity.lottery),
        Param::Text(&identity.central),
        Param::Text(&identity.instance),
        agencies,
        roster,
        confirm,
    ];
    let start = Instant::now();
    loop {
        let sql = "SELECT * FROM lottery.start($1, $2, $3, $4, $5, $6)";
        let replies = execute(&mut session, sql, &params)?;
        let row = replies.of(0).first();
        let Some(row) = row else { return Err(Failed::Unreachable("no answer".to_owned())) };
        if let Some(central) = row.get::<Option<String>>(1)? {
            let theirs = Expected {
                agencies: row.get(3)?,
                roster: row.get(4)?,
                needs_confirmation: row.get(5)?,
            };
            let lottery = identity.lottery.clone();
            let differences = expected.differences(&theirs);
            return Err(EngineError::Different { lottery, central, differences }.into());
        }
        let Some(seen) = row.get::<Option<i64>>(0)? else {
            log_start(engine, &session, row.get(2)?);
            return read_lottery(engine, &mut session);
        };
        if start.elapsed() >= NAME_PATIENCE {
            return Err(Failed::Permanent(EngineError::NameInUse {
                lottery: identity.lottery.clone(),
                central: identity.central.clone(),
                seen: Duration::from_millis(seen.unsigned_abs()),
            }));
        }
        std::thread::sleep(NAME_PAUSE);
    }
}

/// Reads what the lottery has stored so far.
fn read_lottery(engine: &Engine, session: &mut Session) -> Result<Started, Failed> {
    let Identity { lottery, central, .. } = &engine.identity;
    let sql = "SELECT CASE WHEN central = $2 AND slot < $3 THEN slot ELSE $3 END, \
               sum(bets)::bigint, sum(winners)::bigint \
               FROM lottery.workers WHERE lottery = $1 GROUP BY 1";
    let slots = Param::I32(engine.slots as i32);
    let replies = execute(session, sql, &[Param::Text(lottery), Param::Text(central), slots])?;
    let read = replies.of(0).rows().map(|row| {
        let (bets, winners) = (row.get::<i64>(1)?, row.get::<i64>(2)?);
        let slot = row.get::<i32>(0)?.unsigned_abs() as usize;
        Ok::<_, ValueError>((slot, (bets.unsigned_abs(), winners.unsigned_abs())))
    });
    let rows: Vec<_> = read.collect::<Result<_, _>>()?;
    let sql = "SELECT state, expected, lottery.finished_count($1), confirm, confirmed, reopened, \
               0::bigint, 0::bigint, lottery.finished_agencies($1) \
               FROM lottery.lotteries WHERE lottery = $1";
    let replies = execute(session, sql, &[Param::Text(lottery)])?;
    let state = read_state(replies.of(0))?;
    let state = state.ok_or_else(|| Failed::Unreachable("the lottery is gone".to_owned()))?;
    Ok(Started { rows, state })
}

fn log_start(engine: &Engine, session: &Session, state: &str) {
    let identity = &engine.identity;
    info("engine", Outcome::Success)
        .with("server", &session.server().host)
        .with("version", &session.server().version)
        .with("lottery", &identity.lottery)
        .with("central", &identity.central)
        .with("state", state)
        .write();
}

/// Creates the tables, unless they exist. Fails if they have another version.
fn create_tables(engine: &Engine, session: &mut Session) -> Result<(), Failed> {
    let replies = execute(session, "SELECT current_setting('server_encoding')", &[])?;
    let encoding = replies.of(0).first().map_or(Ok("UTF8"), |row| row.get(0))?;
    if encoding != "UTF8" {
        return Err(Failed::Permanent(EngineError::Encoding(encoding.to_owned())));
    }
    let found = match version(session) {
        Err(Failed::Permanent(EngineError::Refused(error))) if error.is_undefined_table() => {
            let script =
                format!("BEGIN; SELECT pg_advisory_xact_lock({SCHEMA_LOCK});\n{SCHEMA}\nCOMMIT;");
            let request = Request::script(&script).map_err(|_| {
                Failed::Unreachable("the definition of the tables cannot be sent".to_owned())
            })?;
            match session.execute(request, Instant::now() + STATEMENT) {
                // Another central has created them in the meantime.
                Err(SessionError::Server(error)) if error.is_duplicate() => {
                    let _ended = session.execute(rollback(), Instant::now() + STATEMENT)?;
                }
                Err(SessionError::Server(error)) => return Err(EngineError::from(error).into()),
                created => drop(created?),
            }
            version(session)?
        }
        found => found?,
    };
    if found != VERSION {
        let database = engine.servers.database().to_owned();
        return Err(EngineError::Version { database, found, expected: VERSION }.into());
    }
    Ok(())
}

fn rollback() -> Request {
    Request::script("ROLLBACK").unwrap_or_default()
}

fn version(session: &mut Session) -> Result<i32, Failed> {
    let replies = execute(session, "SELECT version FROM lottery.version", &[])?;
    Ok(replies.of(0).first().map_or(Ok(0), |row| row.get(0))?)
}

fn execute(
    session: &mut Session,
    sql: &'static str,
    params: &[Param<'_>],
) -> Result<Replies, Failed> {
    let request =
        Request::of(sql, params).map_err(|error| Failed::Unreachable(error.to_string()))?;
    Ok(session.execute(request, Instant::now() + STATEMENT)?)
}

/// Connects once and executes a statement of the supervisor.
pub fn with_session(
    engine: &Engine,
    limit: Duration,
    sql: &'static str,
    params: &[Param<'_>],
) -> Result<Replies, String> {
    let deadline = Instant::now() + limit;
    let mut session =
        Session::connect(&engine.servers, deadline).map_err(|error| error.to_string())?;
    let request = Request::of(sql, params).map_err(|error| error.to_string())?;
    session.execute(request, deadline).map_err(|error| error.to_string())
}

/// Ends the leases of this central, if the engine can be reached.
pub fn stop(engine: &Engine, limit: Duration) -> Result<(), String> {
    let identity = &engine.identity;
    let params = [
        Param::Text(&identity.lottery),
        Param::Text(&identity.central),
        Param::Text(&identity.instance),
    ];
    with_session(engine, limit, "SELECT lottery.stop($1, $2, $3)", &params).map(drop)
}

/// Waits for a signal that stops the central. The pool has blocked these signals already. Returns
/// true if one has come.
fn stops_within(pause: Duration) -> bool {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT].into_iter().collect();
    let Ok(signals) = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC) else {
        std::thread::sleep(pause);
        return false;
    };
    let mut wait = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
    matches!(poll(&mut wait, limit), Ok(ready) if ready > 0)
}
