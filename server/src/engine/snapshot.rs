//! Everything that a lottery in an engine has stored, as it was at one moment.

use std::time::{Duration, Instant};

use postgres_link::{
    NoPrimary, Param, Replies, Request, RequestError, Row, ServerError, Servers, Session,
    SessionError, ValueError,
};

use super::statements::{LotteryPhase, VERSION};

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// Time of a statement, which may have to count everything.
const STATEMENT: Duration = Duration::from_secs(120);
/// Largest reply: that to a fetch of groups, each of which may be one large batch.
const MAX_REPLY: usize = 512 << 20;

/// Why a lottery cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no primary.
    #[error(transparent)]
    NoPrimary(#[from] NoPrimary),
    /// A statement failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A statement cannot be sent.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The engine has answered what no version of the tables does.
    #[error("the engine answers what the tables of this version never do: {0}")]
    Answer(#[from] ValueError),
    /// The database has no tables.
    #[error("the database {0} has no lottery: start a central on it, or correct SERVER_STORAGE")]
    NoTables(String),
    /// The tables are those of another version of this program.
    #[error("the tables have version {0}, this program uses version {VERSION}")]
    Version(i32),
    /// The engine has executed a command that no standby may have.
    #[error("the command was executed, and a failover may undo it: {0}; repeat the command")]
    Warned(Box<ServerError>),
    /// There is no such lottery.
    #[error(
        "there is no lottery {lottery} in the database, which has {}: set SERVER_LOTTERY",
        if .others.is_empty() { "none" } else { .others }
    )]
    NoLottery {
        /// The lottery.
        lottery: String,
        /// Names of the lotteries, separated by commas.
        others: String,
    },
}

/// A connection in a transaction that reads what was committed when it began.
pub struct Snapshot {
    session: Session,
    lottery: String,
}

/// The lottery, and the sums over the rows of its workers.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What the lottery does.
    pub phase: LotteryPhase,
    /// Agencies that the draw waits for.
    pub expected: u32,
    /// Agencies that have finished and count for the draw, in order.
    pub finished: Vec<u16>,
    /// The agencies that count for the draw, in order; `None` if all do.
    pub roster: Option<Vec<u16>>,
    /// True if the draw waits for an operator, who has not confirmed it.
    pub awaits_confirmation: bool,
    /// Bets and winners that the draw was held over.
    pub drawn: Option<(u64, u64)>,
    /// Bets and winners that are stored.
    pub stored: (u64, u64),
}

/// One group of batches with its winners.
#[derive(Debug)]
pub struct StoredGroup<'a> {
    /// Its worker and its number.
    pub id: GroupId<'a>,
    /// Batches and bets that it counts.
    pub counted: (i64, i64),
    /// Its rows of `bets.csv`.
    pub rows: &'a [u8],
    /// Its winners, in order.
    pub winners: Vec<StoredWinner<'a>>,
}

/// The worker of a group and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId<'a> {
    /// Name of the central.
    pub central: &'a str,
    /// Slot of the worker.
    pub slot: i32,
    /// Number of the group.
    pub seq: i64,
}

/// A winner of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredWinner<'a> {
    /// Its agency.
    pub agency: i32,
    /// Its document.
    pub document: &'a str,
    /// True if the bet has a number.
    pub is_numbered: bool,
    /// Its line of `winners.log`, without the end.
    pub line: &'a str,
}

impl Snapshot {
    /// Connects to the primary and begins to read.
    pub fn open(servers: &Servers, lottery: &str) -> Result<Self, ReadError> {
        Self::open_within(CONNECT, servers, lottery)
    }

    /// Like [`Snapshot::open`], with another time to connect.
    pub fn open_within(
        limit: Duration,
        servers: &Servers,
        lottery: &str,
    ) -> Result<Self, ReadError> {
        let mut servers = servers.clone();
        servers.set_max_reply(MAX_REPLY);
        let session = Session::connect(&servers, Instant::now() + limit)?;
        let mut snapshot = Self { session, lottery: lottery.to_owned() };
        let version = match snapshot.execute("SELECT version FROM lottery.version", &[]) {
            Err(ReadError::Session(SessionError::Server(error))) if error.is_undefined_table() => {
                return Err(ReadError::NoTables(servers.database().to_owned()));
            }
            replies => replies?.of(0).first().map_or(Ok(0), |row| row.get(0))?,
        };
        if version != VERSION {
            return Err(ReadError::Version(version));
        }
        snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", &[])?;
        Ok(snapshot)
    }

    /// Returns the server that is read.
    pub fn server(&self) -> &str {
        &self.session.server().host
    }

    fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Replies, ReadError> {
        let request = Request::of(sql, params)?;
        Ok(self.session.execute(request, Instant::now() + STATEMENT)?)
    }

    /// Executes a statement whose only parameter is the lottery.
    pub fn ask(&mut self, sql: &'static str) -> Result<Replies, ReadError> {
        let lottery = std::mem::take(&mut self.lottery);
        let replies = self.execute(sql, &[Param::Text(&lottery)]);
        self.lottery = lottery;
        replies
    }

    /// Calls `each` for each row that a statement returns. `declare` declares the cursor `reader`
    /// for it, whose only parameter is the lottery, and `fetch` fetches the next rows.
    fn read<E: From<ReadError>>(
        &mut self,
        declare: &'static str,
        fetch: &'static str,
        mut each: impl FnMut(Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.ask(declare)?;
        loop {
            let replies = self.execute(fetch, &[])?;
            if replies.of(0).is_empty() {
                break;
            }
            replies.of(0).rows().try_for_each(&mut each)?;
        }
        self.execute("CLOSE reader", &[])?;
        Ok(())
    }

    /// Reads the lottery and its sums.
    pub fn summary(&mut self) -> Result<Summary, ReadError> {
        let sql = "SELECT l.state, l.expected, lottery.finished_agencies(l.lottery), l.roster, \
                   l.confirm AND NOT l.confirmed AND l.state = 'closed', \
                   l.drawn_bets, l.drawn_winners, \
                   coalesce(sum(w.bets), 0)::bigint, coalesce(sum(w.winners), 0)::bigint \
                   FROM lottery.lotteries l LEFT JOIN lottery.workers w USING (lottery) \
                   WHERE l.lottery = $1 GROUP BY l.lottery";
        let replies = self.ask(sql)?;
        let Some(row) = replies.of(0).first() else { return Err(self.no_lottery()?) };
        let drawn = row.get::<Option<i64>>(5)?.zip(row.get::<Option<i64>>(6)?);
        let unsigned = |(bets, winners): (i64, i64)| (bets.unsigned_abs(), winners.unsigned_abs());
        Ok(Summary {
            phase: LotteryPhase::of(row.get(0)?),
            expected: row.get::<i32>(1)?.unsigned_abs(),
            finished: agencies(&row.get::<Vec<i32>>(2)?),
            roster: row.get::<Option<Vec<i32>>>(3)?.as_deref().map(agencies),
            awaits_confirmation: row.get(4)?,
            drawn: drawn.map(unsigned),
            stored: unsigned((row.get(7)?, row.get(8)?)),
        })
    }

    fn no_lottery(&mut self) -> Result<ReadError, ReadError> {
        let sql = "SELECT coalesce(string_agg(lottery, ', ' ORDER BY lottery), '') \
                   FROM lottery.lotteries WHERE lottery <> $1";
        let replies = self.ask(sql)?;
        let others = replies.of(0).first().map_or(Ok(String::new()), |row| row.get(0))?;
        Ok(ReadError::NoLottery { lottery: self.lottery.clone(), others })
    }

    /// Calls `each` for each group, in the order of storage.
    pub fn groups<E: From<ReadError>>(
        &mut self,
        mut each: impl FnMut(&StoredGroup<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let declare = "DECLARE reader NO SCROLL CURSOR FOR \
            SELECT g.central, g.slot, g.seq, g.batches::bigint, g.bets, g.rows, \
                w.agencies, w.documents, w.numbered, w.lines \
            FROM lottery.groups g LEFT JOIN LATERAL ( \
                SELECT array_agg(v.agency ORDER BY v.ord) AS agencies, \
                    array_agg(v.document ORDER BY v.ord) AS documents, \
                    array_agg(v.numbered::int ORDER BY v.ord) AS numbered, \
                    array_agg(v.line ORDER BY v.ord) AS lines \
                FROM lottery.winners v WHERE (v.lottery, v.central, v.slot, v.seq) \
                    = (g.lottery, g.central, g.slot, g.seq)) w ON true \
            WHERE g.lottery = $1 ORDER BY g.place";
        self.read(declare, "FETCH 8 FROM reader", |row| {
            let group = read_group(row).map_err(ReadError::from)?;
            each(&group)
        })
    }

    /// Calls `each` for the agency and the document of each row of the result of the draw.
    pub fn draw<E: From<ReadError>>(
        &mut self,
        mut each: impl FnMut(i32, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let declare = "DECLARE reader NO SCROLL CURSOR FOR SELECT agency, document \
                       FROM lottery.draw WHERE lottery = $1 ORDER BY agency, ord";
        self.read(declare, "FETCH 10000 FROM reader", |row| {
            let agency = row.get(0).map_err(ReadError::from)?;
            each(agency, row.get(1).map_err(ReadError::from)?)
        })
    }
}

fn read_group(row: Row<'_>) -> Result<StoredGroup<'_>, ValueError> {
    let agencies: Vec<i32> = row.get::<Option<_>>(6)?.unwrap_or_default();
    let documents: Vec<&str> = row.get::<Option<_>>(7)?.unwrap_or_default();
    let numbered: Vec<i32> = row.get::<Option<_>>(8)?.unwrap_or_default();
    let lines: Vec<&str> = row.get::<Option<_>>(9)?.unwrap_or_default();
    let winners = agencies.into_iter().zip(documents).zip(numbered).zip(lines);
    Ok(StoredGroup {
        id: GroupId { central: row.get(0)?, slot: row.get(1)?, seq: row.get(2)? },
        counted: (row.get(3)?, row.get(4)?),
        rows: row.get(5)?,
        winners: winners
            .map(|(((agency, document), numbered), line)| StoredWinner {
                agency,
                document,
                is_numbered: numbered != 0,
                line,
            })
            .collect(),
    })
}

/// Returns the agencies among these numbers, in order.
fn agencies(numbers: &[i32]) -> Vec<u16> {
    let mut agencies = super::statements::numbers(numbers);
    agencies.sort_unstable();
    agencies
}
