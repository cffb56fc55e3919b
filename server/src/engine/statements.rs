//! The statements of a worker, and how their answers are read. Each calls a function of the schema.

use lottery::BatchKey;
use postgres_link::{Param, Reply, Request, RequestError, ValueError};

use super::Identity;
use crate::storage::MAX_SESSIONS;

/// The tables and functions.
pub const SCHEMA: &str = include_str!("schema.sql");
/// Version of [`SCHEMA`].
pub const VERSION: i32 = 2;
/// Rows of the result of the draw per statement.
pub const DRAW_ROWS: i64 = 10_000;

/// The row of a worker.
#[derive(Clone, Copy, Debug)]
pub struct WorkerRow<'a> {
    /// The lottery and the central.
    pub identity: &'a Identity,
    /// Slot of the worker.
    pub slot: usize,
    /// Number of the connection that owns the row.
    pub epoch: i64,
}

/// A claim of the row of a worker.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Number of the connection that owns the row.
    pub epoch: i64,
    /// Groups that are stored.
    pub seq: i64,
    /// The outcome of the last one: see [`Stored::codes`].
    pub codes: Option<Vec<i64>>,
    /// Bets and winners that the row counts.
    pub counted: (u64, u64),
}

/// What became of a group.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Groups that are stored.
    pub seq: i64,
    /// One code per batch, see [`Code`]; `None` if all are stored.
    pub codes: Option<Vec<i64>>,
    /// Bets and winners that the row counts.
    pub counted: (u64, u64),
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It is stored.
    Stored,
    /// It was stored before.
    Repeated,
    /// It is not the next one of its session.
    Sequence {
        /// The number of the next one.
        expected: u64,
    },
    /// The batch with its number is stored with other bets.
    OtherContent,
    /// Its session belongs to another agency.
    OtherAgency {
        /// That agency.
        expected: u16,
    },
    /// Bets are closed.
    Closed,
    /// The draw has been held.
    Drawn,
    /// It would begin a session, and there are [`MAX_SESSIONS`] already.
    NoRoom,
}

impl Code {
    /// Returns what a code of the function `store` says.
    pub fn of(code: i64) -> Self {
        let expected = code / 8;
        match code % 8 {
            0 => Self::Stored,
            1 => Self::Repeated,
            2 => Self::Sequence { expected: expected.unsigned_abs() },
            3 => Self::OtherContent,
            4 => Self::OtherAgency { expected: u16::try_from(expected).unwrap_or(0) },
            5 => Self::Closed,
            6 => Self::Drawn,
            _ => Self::NoRoom,
        }
    }
}

/// A group as the parameters of a statement.
#[derive(Debug, Default)]
pub struct GroupParams<'a> {
    /// Rows of all batches.
    pub rows: &'a [u8],
    /// Bets per batch.
    pub bets: Vec<i64>,
    /// Bytes of rows per batch.
    pub sizes: Vec<i32>,
    /// Per winner: number of its batch from 1, agency, document, 1 if it has a number, line.
    pub winner_batches: Vec<i32>,
    /// See `winner_batches`.
    pub winner_agencies: Vec<i32>,
    /// See `winner_batches`.
    pub winner_documents: Vec<&'a str>,
    /// See `winner_batches`.
    pub winner_numbered: Vec<i32>,
    /// See `winner_batches`.
    pub winner_lines: Vec<&'a str>,
    /// Per key: number of its batch from 1.
    pub key_batches: Vec<i32>,
    /// The keys.
    pub keys: Vec<BatchKey>,
}

/// The state of the lottery.
#[derive(Clone, Debug)]
pub struct State {
    /// What the lottery does.
    pub phase: LotteryPhase,
    /// Agencies that the draw waits for.
    pub expected: u32,
    /// Agencies that have finished and count for the draw.
    pub finished: i64,
    /// True if the draw waits for an operator, and true once one has confirmed it.
    pub confirm: (bool, bool),
    /// How often bets were opened again.
    pub reopened: i64,
    /// Bets and winners that this central does not count by itself.
    pub elsewhere: (u64, u64),
    /// The agencies that have finished, if the worker does not know them.
    pub agencies: Option<Vec<u16>>,
}

/// What a lottery does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LotteryPhase {
    /// Bets are taken.
    Open,
    /// Every agency has finished.
    Closed,
    /// The draw has been held.
    Drawn,
}

impl LotteryPhase {
    /// Returns the phase of a state in the database.
    pub fn of(text: &str) -> Self {
        match text {
            "open" => Self::Open,
            "closed" => Self::Closed,
            _ => Self::Drawn,
        }
    }
}

impl<'a> WorkerRow<'a> {
    fn params(&self) -> [Param<'a>; 4] {
        let Identity { lottery, central, .. } = self.identity;
        let slot = Param::I32(self.slot as i32);
        [Param::Text(lottery), Param::Text(central), slot, Param::I64(self.epoch)]
    }

    /// Adds the statement that marks agencies as in flight. Its commit does not wait for the disk,
    /// so it needs a transaction of its own.
    pub fn mark(&self, in_flight: i32, request: &mut Request) -> Result<(), RequestError> {
        let [lottery, central, slot, epoch] = self.params();
        let params = [lottery, central, slot, epoch, Param::I32(in_flight)];
        request.add("SELECT lottery.mark($1, $2, $3, $4, $5)", &params)
    }

    /// Adds the statement that stores a group as number `seq`.
    pub fn store(
        &self,
        seq: i64,
        in_flight: i32,
        group: &GroupParams<'_>,
        request: &mut Request,
    ) -> Result<(), RequestError> {
        let sessions: Vec<_> = group.keys.iter().map(|key| &key.session[..]).collect();
        let agencies: Vec<_> = group.keys.iter().map(|key| i32::from(key.agency)).collect();
        // Numbers and hashes are only compared, so the sign does not matter.
        let sequences: Vec<_> = group.keys.iter().map(|key| key.sequence.cast_signed()).collect();
        let contents: Vec<_> = group.keys.iter().map(|key| key.content.cast_signed()).collect();
        let [lottery, central, slot, epoch] = self.params();
        let params = [
            lottery,
            central,
            slot,
            epoch,
            Param::I64(seq),
            Param::I32(in_flight),
            Param::I64s(&group.bets),
            Param::I32s(&group.sizes),
            Param::Bytes(group.rows),
            Param::I32s(&group.winner_batches),
            Param::I32s(&group.winner_agencies),
            Param::Texts(&group.winner_documents),
            Param::I32s(&group.winner_numbered),
            Param::Texts(&group.winner_lines),
            Param::I32s(&group.key_batches),
            Param::BytesArray(&sessions),
            Param::I32s(&agencies),
            Param::I64s(&sequences),
            Param::I64s(&contents),
            Param::I32(MAX_SESSIONS as i32),
        ];
        const STORE: &str = "SELECT * FROM lottery.store(\
             $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)";
        request.add(STORE, &params)
    }

    /// Adds the question for the next batches of sessions.
    pub fn next_sequences(
        &self,
        sessions: &[([u8; 16], u16)],
        request: &mut Request,
    ) -> Result<(), RequestError> {
        let agencies: Vec<_> = sessions.iter().map(|(_, agency)| i32::from(*agency)).collect();
        let sessions: Vec<_> = sessions.iter().map(|(session, _)| &session[..]).collect();
        let [lottery, central, slot, epoch] = self.params();
        let (sessions, agencies) = (Param::BytesArray(&sessions), Param::I32s(&agencies));
        let params = [lottery, central, slot, epoch, sessions, agencies];
        request.add("SELECT lottery.next_sequences($1, $2, $3, $4, $5, $6)", &params)
    }

    /// Adds the question for the totals.
    pub fn totals(&self, request: &mut Request) -> Result<(), RequestError> {
        request.add("SELECT * FROM lottery.totals($1, $2, $3, $4)", &self.params())
    }

    /// Adds the heartbeat. This central counts the rows of its first `slots` slots by itself.
    /// `known` are the number of finished agencies and of reopenings that this
    /// worker knows.
    pub fn beat(
        &self,
        in_flight: i32,
        slots: usize,
        known: (i64, i64),
        request: &mut Request,
    ) -> Result<(), RequestError> {
        let [lottery, central, slot, epoch] = self.params();
        let (finished, reopened) = (Param::I64(known.0), Param::I64(known.1));
        let (in_flight, slots) = (Param::I32(in_flight), Param::I32(slots as i32));
        let params = [lottery, central, slot, epoch, in_flight, slots, finished, reopened];
        request.add("SELECT * FROM lottery.beat($1, $2, $3, $4, $5, $6, $7, $8)", &params)
    }

    /// Adds the question for the rows of the result of the draw that follow a row, and for the bets
    /// and winners that the draw was held over. It writes, so that what it says is durable: a read
    /// may see a draw that no standby has yet.
    pub fn draw_after(
        &self,
        (agency, ord): (i32, i64),
        request: &mut Request,
    ) -> Result<(), RequestError> {
        let [lottery, central, slot, epoch] = self.params();
        let params = [lottery, Param::I32(agency), Param::I64(ord), Param::I64(DRAW_ROWS)];
        request.add(
            "SELECT agency, ord, document FROM lottery.draw \
             WHERE lottery = $1 AND (agency, ord) > ($2, $3) ORDER BY agency, ord LIMIT $4",
            &params,
        )?;
        request.add(
            "SELECT drawn_bets, drawn_winners FROM lottery.lotteries WHERE lottery = $1",
            &[lottery],
        )?;
        request.add(
            "UPDATE lottery.workers SET seen = clock_timestamp() \
             WHERE lottery = $1 AND central = $2 AND slot = $3 AND epoch = $4",
            &[lottery, central, slot, epoch],
        )
    }

    /// Adds the end of the lease.
    pub fn release(&self, request: &mut Request) -> Result<(), RequestError> {
        request.add("SELECT lottery.release($1, $2, $3, $4)", &self.params())
    }
}

/// Adds the claim of the row of a worker, and listens to the notifications of the lottery.
pub fn claim(identity: &Identity, slot: usize, request: &mut Request) -> Result<(), RequestError> {
    let Identity { lottery, central, instance } = identity;
    let slot = Param::I32(slot as i32);
    let params = [Param::Text(lottery), Param::Text(central), slot, Param::Text(instance)];
    request.add("SELECT * FROM lottery.claim($1, $2, $3, $4)", &params)?;
    request.add("LISTEN lottery", &[])
}

/// Adds the finish marks of agencies.
pub fn finish(lottery: &str, agencies: &[u16], request: &mut Request) -> Result<(), RequestError> {
    let agencies: Vec<_> = agencies.iter().map(|agency| i32::from(*agency)).collect();
    let params = [Param::Text(lottery), Param::I32s(&agencies)];
    request.add("SELECT * FROM lottery.finish($1, $2)", &params)
}

/// Adds the draw.
pub fn hold_draw(lottery: &str, request: &mut Request) -> Result<(), RequestError> {
    request.add("SELECT lottery.hold_draw($1)", &[Param::Text(lottery)])
}

/// Adds a command of an operator: `confirm` or `reopen`.
pub fn operate(lottery: &str, command: &str, request: &mut Request) -> Result<(), RequestError> {
    request.add("SELECT lottery.operate($1, $2)", &[Param::Text(lottery), Param::Text(command)])
}

/// Reads two totals.
fn counted(bets: i64, winners: i64) -> (u64, u64) {
    (bets.unsigned_abs(), winners.unsigned_abs())
}

/// Reads the answer to a claim; `None` if another central with this name has started.
pub fn read_claim(reply: &Reply) -> Result<Option<Claim>, ValueError> {
    let Some(row) = reply.first() else { return Ok(None) };
    Ok(Some(Claim {
        epoch: row.get(0)?,
        seq: row.get(1)?,
        codes: row.get(2)?,
        counted: counted(row.get(3)?, row.get(4)?),
    }))
}

/// Reads the answer to a store; `None` if another connection owns the row.
pub fn read_stored(reply: &Reply) -> Result<Option<Stored>, ValueError> {
    let Some(row) = reply.first() else { return Ok(None) };
    let counted = counted(row.get(2)?, row.get(3)?);
    Ok(Some(Stored { seq: row.get(0)?, codes: row.get(1)?, counted }))
}

/// Reads the totals; `None` if another connection owns the row.
pub fn read_totals(reply: &Reply) -> Result<Option<(u64, u32)>, ValueError> {
    let Some(row) = reply.first() else { return Ok(None) };
    let (winners, in_flight) = (row.get::<i64>(0)?, row.get::<i64>(1)?);
    Ok(Some((winners.unsigned_abs(), u32::try_from(in_flight).unwrap_or(u32::MAX))))
}

/// Reads the state of the lottery; `None` if another connection owns the row.
pub fn read_state(reply: &Reply) -> Result<Option<State>, ValueError> {
    let Some(row) = reply.first() else { return Ok(None) };
    let agencies: Option<Vec<i32>> = row.get(8)?;
    Ok(Some(State {
        phase: LotteryPhase::of(row.get(0)?),
        expected: row.get::<i32>(1)?.unsigned_abs(),
        finished: row.get(2)?,
        confirm: (row.get(3)?, row.get(4)?),
        reopened: row.get(5)?,
        elsewhere: counted(row.get(6)?, row.get(7)?),
        agencies: agencies.map(|all| numbers(&all)),
    }))
}

/// What became of finish marks.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Agencies that had not finished before.
    pub added: Vec<u16>,
    /// Agencies that have finished and count for the draw.
    pub finished: i64,
    /// Agencies that the draw waits for.
    pub expected: i32,
    /// What the lottery does now.
    pub phase: LotteryPhase,
}

/// Reads the answer to finish marks.
pub fn read_finished(reply: &Reply) -> Result<Option<Finished>, ValueError> {
    let Some(row) = reply.first() else { return Ok(None) };
    Ok(Some(Finished {
        added: numbers(&row.get::<Vec<i32>>(0)?),
        finished: row.get(1)?,
        expected: row.get(2)?,
        phase: LotteryPhase::of(row.get(3)?),
    }))
}

/// Returns the agencies among these numbers.
pub fn numbers(agencies: &[i32]) -> Vec<u16> {
    agencies.iter().filter_map(|agency| u16::try_from(*agency).ok()).collect()
}
