//! What a worker sends to the engine in one transaction: a group of batches, questions about
//! sessions, and queries for the totals. It is kept until its outcome is known.

use lottery::Results;
use postgres_link::{Replies, Request, RequestError, ValueError};

use crate::central::{Accepted, Rejected, SessionQuestion};
use crate::engine::statements::{Code, GroupParams, Stored, WorkerRow, read_stored, read_totals};
use crate::storage::{Group, KeyRefused, MAX_SESSIONS};
use crate::worker::round::{Answerable, Pending, Ticket};

/// Requests that are sent together.
#[derive(Debug, Default)]
pub struct Work {
    /// The batches, and one ticket for each.
    pub group: Group,
    /// See `group`.
    pub batches: Vec<Ticket>,
    /// Questions about sessions, and one ticket for each.
    pub sessions: Vec<SessionQuestion>,
    /// See `sessions`.
    pub questions: Vec<Ticket>,
    /// Queries for the totals.
    pub queries: Vec<Ticket>,
    /// Agencies that were in flight at this central when the queries were sent.
    pub in_flight: u32,
    /// Statements before the first one of these requests.
    before: usize,
}

/// What the engine has answered.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What became of the group, if there was one.
    pub stored: Option<Stored>,
    /// The tickets that can be answered now, without those of the group.
    pub answerable: Vec<Answerable>,
}

impl Work {
    /// Returns true if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.questions.is_empty() && self.queries.is_empty()
    }

    /// Returns how many in-flight marks the batches hold.
    pub fn marks(&self) -> u16 {
        let marked = self.batches.iter().filter(|ticket| ticket.in_flight).count();
        u16::try_from(marked).unwrap_or(u16::MAX)
    }

    /// Returns the bytes that the winners keep in memory.
    pub fn answer_bytes(&self) -> usize {
        self.batches.iter().map(|ticket| ticket.request.answer_bytes()).sum()
    }

    /// Adds the statements. The group is number `seq` of the worker. `marked` are the agencies in
    /// flight that the row shows before it, if the engine does not know yet that there are any, and
    /// `left` those after it.
    pub fn write(
        &mut self,
        row: &WorkerRow<'_>,
        seq: i64,
        marked: Option<i32>,
        left: i32,
        request: &mut Request,
    ) -> Result<(), RequestError> {
        if let Some(marked) = marked {
            request.add("BEGIN", &[])?;
            row.mark(marked, request)?;
            request.add("COMMIT", &[])?;
        }
        self.before = request.len();
        if !self.batches.is_empty() {
            row.store(seq, left, &self.params(), request)?;
        }
        if !self.sessions.is_empty() {
            row.next_sequences(&self.sessions, request)?;
        }
        if !self.queries.is_empty() {
            row.totals(request)?;
        }
        Ok(())
    }

    fn params(&self) -> GroupParams<'_> {
        let mut params = GroupParams { rows: self.group.all().rows, ..GroupParams::default() };
        let batches = self.group.all();
        for ((batch, ticket), number) in batches.iter().zip(&self.batches).zip(1..) {
            params.bets.push(batch.bets.cast_signed());
            params.sizes.push(batch.rows.len() as i32);
            if let Some(key) = batch.key {
                params.key_batches.push(number);
                params.keys.push(key);
            }
            let Pending::Batch { winners, .. } = &ticket.request else { continue };
            // The rows have checked that the texts are UTF-8.
            let lines = std::str::from_utf8(batch.lines).unwrap_or_default().lines();
            for (winner, line) in winners.each().zip(lines) {
                params.winner_batches.push(number);
                params.winner_agencies.push(winner.agency.into());
                params.winner_documents.push(winner.document);
                params.winner_numbered.push(winner.has_number.into());
                params.winner_lines.push(line);
            }
        }
        params
    }

    /// Reads the reply, and takes the questions and queries that it answers. Returns `None` if
    /// another connection owns the row, and keeps everything then.
    pub fn read(&mut self, replies: &Replies) -> Result<Option<Outcome>, ValueError> {
        let mut place = self.before;
        let mut next = || {
            place += 1;
            replies.of(place - 1)
        };
        let mut outcome = Outcome::default();
        if !self.batches.is_empty() {
            outcome.stored = read_stored(next())?;
            if outcome.stored.is_none() {
                return Ok(None);
            }
        }
        if !self.sessions.is_empty() {
            let row = next().first();
            let numbers: Option<Vec<i64>> = row.map_or(Ok(None), |row| row.get(0))?;
            let Some(numbers) = numbers else { return Ok(None) };
            let asked = self.questions.drain(..).zip(self.sessions.drain(..));
            let answer = |((ticket, (_, agency)), number)| (ticket, next_number(agency, number));
            outcome.answerable.extend(asked.zip(numbers).map(answer));
        }
        if !self.queries.is_empty() {
            let Some((winners, elsewhere)) = read_totals(next())? else { return Ok(None) };
            let in_flight = self.in_flight.saturating_add(elsewhere);
            let results = Results { winners, in_flight };
            let answer = |ticket| (ticket, Ok(Accepted::Results(results)));
            outcome.answerable.extend(self.queries.drain(..).map(answer));
        }
        Ok(Some(outcome))
    }

    /// Takes the batches, whose outcome is known.
    pub fn resolve(&mut self, codes: Option<&[i64]>) -> Vec<Answerable> {
        let keys: Vec<_> = self.group.all().iter().map(|batch| batch.key).collect();
        self.group.clear();
        let answer = |(place, ticket): (usize, Ticket)| {
            let code = codes
                .and_then(|codes| codes.get(place))
                .map_or(Code::Stored, |code| Code::of(*code));
            let found = keys.get(place).copied().flatten().map(|key| (key.agency, key.sequence));
            (ticket, result_of(code, found.unwrap_or_default()))
        };
        self.batches.drain(..).enumerate().map(answer).collect()
    }
}

/// Returns what a code says about a batch, whose key has this agency and number.
fn result_of(code: Code, (agency, sequence): (u16, u64)) -> Result<Accepted, Rejected> {
    match code {
        Code::Stored => Ok(Accepted::Stored),
        Code::Repeated => Ok(Accepted::StoredBefore),
        Code::Sequence { expected } => {
            Err(KeyRefused::Sequence { found: sequence, expected }.into())
        }
        Code::OtherContent => Err(KeyRefused::OtherContent { sequence }.into()),
        Code::OtherAgency { expected } => {
            Err(KeyRefused::OtherAgency { found: agency, expected }.into())
        }
        Code::Closed => Err(Rejected::Closed),
        Code::Drawn => Err(Rejected::Drawn),
        Code::NoRoom => Err(KeyRefused::NoRoom { limit: MAX_SESSIONS }.into()),
    }
}

/// Returns the answer to a question about a session: its next number, or minus its agency.
fn next_number(agency: u16, number: i64) -> Result<Accepted, Rejected> {
    match u64::try_from(number) {
        Ok(next) => Ok(Accepted::Next(next)),
        Err(_) => {
            let expected = u16::try_from(-number).unwrap_or(0);
            Err(KeyRefused::OtherAgency { found: agency, expected }.into())
        }
    }
}
