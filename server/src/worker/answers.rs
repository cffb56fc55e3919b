//! The answers with the winners of an agency, after the draw.
//!
//! A small answer is encoded for its connection. A large one is built once per agency and dialect,
//! piece by piece in the turns of large requests, and all connections that ask for it send the same
//! bytes. Otherwise a query of a few bytes could cost megabytes of memory and a long time, as often
//! as a client repeats it.

use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::Rc;
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, debug};
use lottery::Reply;
use lottery::protocol::{Dialect, Unencodable};

use super::connection::{Connection, Phase};
use super::handler::Handler;
use super::request::{RequestOutcome, Requests, refuse};
use super::store::Store;
use super::{EventLoop, WorkerError};
use crate::central::{Central, Fatal, Rejected};
use crate::storage::AgencyWinners;

/// Bytes of an agency's rows in the result of the draw up to which its answer is small.
const SMALL_BYTES: u64 = 64 * 1024;
/// Bytes of the result that are read per turn.
const PIECE_BYTES: u64 = 256 * 1024;
/// Bytes of the large answers that a worker keeps in memory, unless a single one is larger. An
/// answer stays until another one needs its room.
const MAX_SHARED_BYTES: u64 = 32 * 1024 * 1024;
/// Time that a client gets to read before its progress counts.
const FIRST_PROGRESS: Duration = Duration::from_secs(1);

/// The bytes of a reply.
#[derive(Debug)]
pub enum ReplyBytes {
    /// Of one connection.
    Own(Vec<u8>),
    /// Of all connections that asked for the same large answer.
    Shared(Rc<Vec<u8>>),
}

impl ReplyBytes {
    /// Returns the memory that the connection keeps for them.
    pub fn kept(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.capacity(),
            Self::Shared(_) => 0,
        }
    }
}

impl Deref for ReplyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// An encoded answer.
#[derive(Clone, Debug)]
struct Answer {
    bytes: Rc<Vec<u8>>,
    winners: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    /// The result of the draw cannot be read.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The dialect cannot encode the winners.
    #[error(transparent)]
    Unencodable(#[from] Unencodable),
}

/// Names an answer: the agency and the dialect.
type Key = (u16, &'static Dialect);

/// The large answers of a worker.
#[derive(Debug)]
pub struct Answers {
    /// Those that waiting connections have asked for, in order.
    wanted: VecDeque<Key>,
    /// The one that is being built.
    building: Option<(Key, AgencyWinners)>,
    /// Those that are built, the oldest first. One that could not be built stays until the
    /// connections that wait for it know.
    ready: Vec<(Key, Result<Answer, NoAnswer>)>,
    /// True if connections that wait may be answered now: the draw has been held, or an answer has
    /// become ready.
    has_news: bool,
    /// True while there is no memory for the next answer.
    is_blocked: bool,
}

impl Answers {
    /// Returns an empty list.
    pub fn new() -> Self {
        let (wanted, ready) = (VecDeque::new(), Vec::new());
        Self { wanted, building: None, ready, has_news: true, is_blocked: false }
    }

    /// Notes that the result of the draw is readable.
    pub fn note_draw(&mut self) {
        self.has_news = true;
    }

    /// Returns true if an answer can be built further.
    pub fn has_work(&self) -> bool {
        self.building.is_some() || !self.wanted.is_empty() && !self.is_blocked
    }

    fn find(&self, key: Key) -> Option<&Result<Answer, NoAnswer>> {
        self.ready.iter().find(|(ready, _)| *ready == key).map(|(_, answer)| answer)
    }

    fn want(&mut self, key: Key) {
        let is_building = self.building.as_ref().is_some_and(|(building, _)| *building == key);
        if !is_building && !self.wanted.contains(&key) {
            self.wanted.push_back(key);
        }
    }

    /// Makes room for an answer of about `bytes` bytes. Returns false if connections still send too
    /// many others.
    fn make_room(&mut self, bytes: u64) -> bool {
        loop {
            let kept: usize =
                self.ready.iter().flat_map(|(_, answer)| answer).map(|a| a.bytes.len()).sum();
            if kept == 0 || kept as u64 + bytes <= MAX_SHARED_BYTES {
                return true;
            }
            let is_unused = |(_, answer): &(Key, Result<Answer, NoAnswer>)| {
                answer.as_ref().is_ok_and(|answer| Rc::strong_count(&answer.bytes) == 1)
            };
            let Some(unused) = self.ready.iter().position(is_unused) else { return false };
            drop(self.ready.remove(unused));
        }
    }
}

/// Encodes the winners of an agency.
fn encode(dialect: &Dialect, winners: &AgencyWinners) -> Result<Answer, NoAnswer> {
    let (documents, mut bytes) = (winners.documents(), Vec::new());
    let winners = documents.len();
    // Their bytes are the same for every codec of the dialect.
    (dialect.central)().encode(&Reply::Winners(documents), &mut bytes)?;
    Ok(Answer { bytes: Rc::new(bytes), winners })
}

/// Returns an answer, if it is small, or `None`.
fn small_answer<S>(
    central: &Central<S>,
    (agency, dialect): Key,
) -> Result<Option<Answer>, NoAnswer> {
    let mut winners = central.winners_of(agency)?;
    if winners.left() > SMALL_BYTES {
        return Ok(None);
    }
    while !central.read_winners(agency, &mut winners, SMALL_BYTES)? {}
    encode(dialect, &winners).map(Some)
}

impl<S: Store> Handler<'_, S> {
    /// Answers with the winners of an agency if the draw has been held. Otherwise the agency waits
    /// for it. An agency with a large answer waits until this is built. `linger` is true if the
    /// peer may still be sending.
    pub(super) fn answer_or_wait(
        &mut self,
        connection: &mut Connection,
        agency: u16,
        linger: bool,
    ) -> Result<(), Fatal> {
        let Requests { central, answers, .. } = &mut self.requests;
        let key = (agency, connection.dialect);
        let found = match (S::open_draw(central), answers.find(key)) {
            (Err(rejected), _) => Err(rejected.into()),
            (Ok(false), _) => Ok(None),
            (_, Some(Ok(answer))) => Ok(Some(answer.clone())),
            (_, Some(Err(NoAnswer::Unencodable(reason)))) => {
                Err(NoAnswer::Unencodable(reason.clone()))
            }
            (_, Some(Err(NoAnswer::Rejected(rejected)))) => {
                let outcome = refuse(&mut *connection.codec, rejected);
                return self.apply(connection, outcome);
            }
            (_, None) => small_answer(central, key).inspect(|answer| {
                if answer.is_none() {
                    answers.want(key);
                }
            }),
        };
        match found {
            Ok(Some(answer)) => self.send_answer(connection, agency, answer, linger),
            Ok(None) if self.draining.is_some() => {
                // Draining has closed every other waiting connection too.
                self.finish(connection);
                Ok(())
            }
            Ok(None) if matches!(connection.phase, Phase::Waiting { .. }) => Ok(()),
            Ok(None) => {
                connection.wait_for_draw(agency);
                Ok(())
            }
            Err(NoAnswer::Rejected(rejected)) => {
                let outcome = refuse(&mut *connection.codec, &rejected);
                self.apply(connection, outcome)
            }
            Err(NoAnswer::Unencodable(reason)) => {
                let agency = Some(agency);
                self.apply(connection, RequestOutcome::Unencodable { agency, reason })
            }
        }
    }

    fn send_answer(
        &mut self,
        connection: &mut Connection,
        agency: u16,
        answer: Answer,
        linger: bool,
    ) -> Result<(), Fatal> {
        self.requests.central.shared().worker_queries.fetch_add(self.requests.slot, 1);
        debug("consulta_ganadores", Outcome::Success)
            .with("agency", agency)
            .with("cant_ganadores", answer.winners)
            .write();
        let then = connection.codec.winners_sent();
        let bytes = match Rc::try_unwrap(answer.bytes) {
            Ok(bytes) => ReplyBytes::Own(bytes),
            Err(bytes) => ReplyBytes::Shared(bytes),
        };
        self.reply(connection, bytes, then, linger)
    }

    /// Answers a connection that has waited, if its answer is ready.
    pub(super) fn answer_waiting(&mut self, connection: &mut Connection) -> Result<(), Fatal> {
        let Phase::Waiting { agency } = connection.phase else { return Ok(()) };
        // Nothing was read while it waited, and the agency may have sent its query again.
        self.answer_or_wait(connection, agency, true)
    }
}

impl<S: Store> EventLoop<'_, S> {
    /// Builds the next piece of a large answer, if it is the turn of large requests.
    pub(super) fn advance_answers(&mut self) -> Result<(), WorkerError> {
        let Requests { central, answers, .. } = &self.handler.requests;
        if !answers.has_work() || !self.large.may_begin(central.shared()) {
            return Ok(());
        }
        let start = Instant::now();
        if self.handler.requests.answers.building.is_none() {
            self.begin_answer();
        }
        let Requests { central, answers, .. } = &mut self.handler.requests;
        if let Some(((agency, dialect), mut winners)) = answers.building.take() {
            let answer = match central.read_winners(agency, &mut winners, PIECE_BYTES) {
                Ok(false) => {
                    answers.building = Some(((agency, dialect), winners));
                    None
                }
                Ok(true) => Some(encode(dialect, &winners)),
                Err(rejected) => Some(Err(rejected.into())),
            };
            if let Some(answer) = answer {
                answers.ready.push(((agency, dialect), answer));
                answers.has_news = true;
            }
        }
        self.large.pause_after(start.elapsed());
        Ok(())
    }

    /// Begins to build the first answer that a connection still waits for, if there is memory.
    fn begin_answer(&mut self) {
        let Requests { central, answers, .. } = &mut self.handler.requests;
        while let Some(key @ (agency, dialect)) = answers.wanted.pop_front() {
            let waits = |connection: &Connection| {
                let Phase::Waiting { agency } = connection.phase else { return false };
                (agency, connection.dialect) == key
            };
            if !self.table.iter().any(waits) {
                continue;
            }
            match central.winners_of(agency) {
                Ok(winners) if answers.make_room(winners.left()) => {
                    answers.building = Some(((agency, dialect), winners));
                }
                Ok(_) => {
                    answers.wanted.push_front(key);
                    answers.is_blocked = true;
                }
                Err(rejected) => {
                    answers.ready.push((key, Err(rejected.into())));
                    answers.has_news = true;
                }
            }
            return;
        }
    }

    /// Answers the agencies that have waited, if there is anything new for them.
    pub(super) fn answer_waiting(&mut self) -> Result<(), WorkerError> {
        let Requests { central, answers, .. } = &mut self.handler.requests;
        if !central.was_drawn() || !answers.has_news {
            return Ok(());
        }
        if self.table.waiting() > 0 && matches!(S::open_draw(central), Ok(false)) {
            return Ok(());
        }
        // Also if no connection waits any longer: a failure must not outlive those that learn of
        // it.
        answers.has_news = false;
        for token in self.table.select_waiting() {
            self.visit(token, Handler::answer_waiting)?;
        }
        self.handler.requests.answers.ready.retain(|(_, answer)| answer.is_ok());
        Ok(())
    }

    /// Closes the connection that reads its large answer most slowly, if others wait for memory.
    pub(super) fn unblock_answers(&mut self, now: Instant) -> Result<(), WorkerError> {
        if !std::mem::take(&mut self.handler.requests.answers.is_blocked) {
            return Ok(());
        }
        let progress = |connection: &Connection| match &connection.phase {
            Phase::Answering { reply: ReplyBytes::Shared(_), sent, since, .. } => {
                let time = now.saturating_duration_since(*since);
                (time >= FIRST_PROGRESS).then(|| *sent as u128 / time.as_millis())
            }
            _ => None,
        };
        let slowest = self.table.iter().filter_map(|connection| {
            progress(connection).map(|progress| (progress, connection.token))
        });
        if let Some((_, token)) = slowest.min_by_key(|(progress, _)| *progress) {
            let reason = format!(
                "large answers fill the {MAX_SHARED_BYTES} bytes of this worker, and this client \
                 reads its answer most slowly"
            );
            self.close(token, &reason)?;
        }
        Ok(())
    }
}
