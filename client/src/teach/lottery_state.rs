//! The lottery of the teaching server: the winners so far, the agencies that have finished, and the
//! answers to requests.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lottery::protocol::{CentralCodec, Denial, Refused, Then};
use lottery::{BatchKey, Bet, Reply, Request, Results, is_winner};

use super::faults::Fault;
use super::sessions::Sessions;

/// How long a server without a lock takes to store a batch while other connections are open. It
/// ends when another batch is stored in between, so that the fault always shows.
const STORING_TIME: Duration = Duration::from_millis(500);
/// The same while no other connection is open.
const STORING_TIME_ALONE: Duration = Duration::from_millis(20);

/// Agency and document of a winner.
type Winner = (u16, String);

/// The lottery, shared by the threads of all connections.
#[derive(Debug)]
pub(super) struct Lottery {
    /// Number of agencies that the draw waits for.
    agencies: usize,
    faults: Vec<Fault>,
    state: Mutex<State>,
    /// Notified after every change of the state.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The winners, in the order of storage.
    winners: Vec<Winner>,
    /// Number of times that winners were stored.
    version: u64,
    /// Number of threads that are storing without a lock.
    storing: u32,
    /// Winners of the last batch, if the server counts after replying.
    uncounted: Vec<Winner>,
    sessions: Sessions,
    /// Agencies that have finished.
    finished: Vec<u16>,
    /// Number of batches that are arriving.
    arriving: u32,
    /// Number of open connections.
    open: u32,
}

/// A batch that is arriving, until it is dropped.
pub(super) struct Arriving<'l>(&'l Lottery);

/// An open connection, until it is dropped.
pub(super) struct Open<'l>(&'l Lottery);

impl Lottery {
    /// Starts a lottery.
    pub(super) fn new(agencies: u16, faults: Vec<Fault>) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { agencies: agencies.into(), faults, state, changed }
    }

    /// Returns true if the server has this fault.
    pub(super) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Counts a batch as in flight.
    pub(super) fn arrive(&self) -> Arriving<'_> {
        self.state().arriving += 1;
        Arriving(self)
    }

    /// Counts an open connection.
    pub(super) fn open(&self) -> Open<'_> {
        self.state().open += 1;
        Open(self)
    }

    /// A thread that panics leaves a state that the others can use.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Executes a request and appends the reply. Waits for the draw where the answer needs it.
    pub(super) fn answer(
        &self,
        request: Request<'_>,
        codec: &mut dyn CentralCodec,
        out: &mut Vec<u8>,
    ) -> Then {
        let executed = match request {
            Request::Store(bets) => self.store(&bets, None).map(|()| stored(bets)),
            Request::StoreOnce { key, bets } => self.store(&bets, Some(key)).map(|()| stored(bets)),
            Request::Session { session, agency } => {
                self.state().sessions.next(session, agency).map(Reply::Next)
            }
            Request::Results => Ok(Reply::Results(self.results())),
            Request::Finish { agency } => {
                self.finish(agency);
                Ok(Reply::Finished)
            }
            Request::Winners { agency, finished } => {
                if finished {
                    self.finish(agency);
                }
                let documents = self.winners(agency);
                let documents = documents.iter().map(String::as_str).collect();
                return encode(&Reply::Winners(documents), codec, out);
            }
            Request::Echo(text) => Ok(Reply::Echo(text)),
            Request::Close => return Then::Close,
        };
        match executed {
            Ok(reply) => encode(&reply, codec, out),
            Err(denial) => codec.refuse(Refused::Request(denial), out),
        }
    }

    /// Stores the winners of a batch, unless it repeats a stored one.
    fn store(&self, bets: &[Bet<'_>], key: Option<BatchKey>) -> Result<(), Denial> {
        let mut state = self.state();
        let is_closed = self.was_drawn(&state) && !self.has(Fault::LateBets);
        let is_next = key.map_or(Ok(true), |key| state.sessions.is_next(key))?;
        if is_next && is_closed {
            return Err(Denial::Closed);
        }
        if let Some(key) = key.filter(|_| is_next) {
            state.sessions.accept(key);
        }
        if is_next || self.has(Fault::StoresRepetitions) {
            self.add(state, winners_of(bets));
        }
        Ok(())
    }

    /// Stores the bets of a batch up to the one before the last, although the last one is invalid.
    pub(super) fn store_torn(&self, request: &Request<'_>) {
        if let Request::Store(bets) | Request::StoreOnce { bets, .. } = request {
            let valid = &bets[..bets.len().saturating_sub(1)];
            self.add(self.state(), winners_of(valid));
        }
    }

    fn add(&self, mut state: MutexGuard<'_, State>, winners: Vec<Winner>) {
        if self.has(Fault::LostLock) {
            state = self.add_without_lock(state, winners);
        } else if self.has(Fault::CountsAfterReplying) {
            let earlier = std::mem::replace(&mut state.uncounted, winners);
            state.winners.extend(earlier);
        } else {
            state.winners.extend(winners);
        }
        state.version += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Reads the winners, gives up the lock, and writes back what it has read and the new ones.
    fn add_without_lock<'s>(
        &self,
        mut state: MutexGuard<'s, State>,
        winners: Vec<Winner>,
    ) -> MutexGuard<'s, State> {
        let (read, version) = (state.winners.clone(), state.version);
        state.storing += 1;
        self.changed.notify_all();
        let time = if state.open > 1 { STORING_TIME } else { STORING_TIME_ALONE };
        let is_alone = |state: &mut State| state.version == version && state.storing < 2;
        let waited = self.changed.wait_timeout_while(state, time, is_alone);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.storing -= 1;
        state.winners = [read, winners].concat();
        state
    }

    fn finish(&self, agency: u16) {
        let mut state = self.state();
        if self.has(Fault::CountsNotifications) || !state.finished.contains(&agency) {
            state.finished.push(agency);
        }
        drop(state);
        self.changed.notify_all();
    }

    fn was_drawn(&self, state: &State) -> bool {
        state.finished.len() >= self.agencies
    }

    fn results(&self) -> Results {
        let state = self.state();
        let in_flight = if self.has(Fault::PrematureTotal) { 0 } else { state.arriving };
        Results { winners: state.winners.len() as u64, in_flight }
    }

    /// Waits for the draw. Returns the documents of an agency's winners.
    fn winners(&self, agency: u16) -> Vec<String> {
        let waits = |state: &mut State| !self.was_drawn(state) && !self.has(Fault::NoDrawWait);
        let state = self.changed.wait_while(self.state(), waits);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let is_sent = |of: u16| of == agency || self.has(Fault::AllWinners);
        let sent = state.winners.iter().filter(|(of, _)| is_sent(*of));
        sent.map(|(_, document)| document.clone()).collect()
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.0.state().arriving -= 1;
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.state().open -= 1;
    }
}

/// Appends a reply. Closes the connection if the dialect cannot encode it.
fn encode(reply: &Reply<'_>, codec: &mut dyn CentralCodec, out: &mut Vec<u8>) -> Then {
    codec.encode(reply, out).unwrap_or(Then::Close)
}

fn winners_of(bets: &[Bet<'_>]) -> Vec<Winner> {
    let winners = bets.iter().filter(|bet| is_winner(bet));
    winners.map(|bet| (bet.agency, bet.document.to_string())).collect()
}

/// Returns the reply to a stored batch.
fn stored(bets: Vec<Bet<'_>>) -> Reply<'_> {
    let count = bets.len();
    Reply::Stored { bets: count, winners: bets.into_iter().filter(|bet| is_winner(bet)).collect() }
}
