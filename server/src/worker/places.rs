//! Accepting connections, and which connection gives up its place when all are taken.
//!
//! A worker that stopped accepting would let strangers shut out the agencies on which the draw
//! depends: a query for winners waits for the draw without a deadline. So a full worker closes a
//! connection for each one that it accepts, as long as there is one that may go. While there are
//! free places, every connection stays.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, debug};

use super::connection::{Connection, Phase};
use super::handler::Handler;
use super::pace::Mark;
use super::store::Store;
use super::table::Token;
use super::{DEADLINE_CHECK, EventLoop, Limits, WorkerError};
use crate::central::WorkerState;

/// Maximum number of connections accepted in a row.
const ACCEPTS: usize = 64;
/// How long a connection may be silent before it may lose its place: long enough for a request
/// that is on its way through a slow network.
const MIN_SILENCE: Duration = Duration::from_secs(5);

/// Why a connection may lose its place. The first variants go first. Among connections with the
/// same reason, the one that has waited or been silent for longest goes first, because a new
/// connection needs a place before it can send its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// No agency of the roster has its address, so nothing that it sends is accepted.
    Stranger,
    /// It waits for the draw, and its agency has not finished. The draw does not depend on it.
    NotFinished,
    /// It waits for the draw, and a later connection of the same agency waits too.
    Repeated,
    /// It sends nothing, or too little to be in flight.
    Silent,
}

impl Reason {
    /// Returns the reason in words, for the log.
    fn text(self) -> &'static str {
        match self {
            Self::Stranger => "no agency has the address of this one",
            Self::NotFinished => "this one waits for the draw and its agency has not finished",
            Self::Repeated => "a later connection of this agency waits for the draw too",
            Self::Silent => "this one has been silent for longest",
        }
    }
}

/// The connections that may lose their places.
#[derive(Debug)]
pub struct Places {
    /// Those that were found and have not been closed, the first to go at the end.
    found: Vec<(Token, Reason)>,
    /// No search before this time, because the last one found nothing.
    next_search: Instant,
}

impl Places {
    /// Returns an empty list.
    pub fn new() -> Self {
        Self { found: Vec::new(), next_search: Instant::now() }
    }
}

impl<S: Store> EventLoop<'_, S> {
    /// Accepts connections that the kernel has queued, and returns how many. Stops after a limited
    /// number, so that open connections do not wait, and leaves long-lived connections to workers
    /// that have fewer. Agencies that open a connection per request would wait for that each time.
    pub(super) fn accept(&mut self, index: usize) -> Result<usize, WorkerError> {
        for accepted in 0..ACCEPTS {
            let is_brief = self.table.brief.contains(self.intakes[index].dialect);
            let stays = self.intakes[index].adapt(self.epoll, is_brief);
            let others_have_fewer = stays && !self.is_draining() && self.others_have_fewer();
            if others_have_fewer && self.intakes[index].defer_to_others(self.epoll) {
                return Ok(accepted);
            }
            let replaced = if self.is_full() { self.next_to_go() } else { None };
            let connections = self.table.len() - usize::from(replaced.is_some());
            let intake = &mut self.intakes[index];
            let Some((stream, peer)) = intake.accept(self.epoll, connections) else {
                // Another worker has taken the new connection, so this one keeps its place.
                self.places.found.extend(replaced);
                return Ok(accepted);
            };
            let dialect = intake.dialect;
            if let Some(replaced) = replaced {
                self.give_up(replaced)?;
            }
            let Limits { request_timeout, idle_timeout, .. } = self.handler.requests.limits;
            let kept = dialect.keeps_connections();
            let deadline = Instant::now() + if kept { idle_timeout } else { request_timeout };
            debug("accept_connections", Outcome::Success)
                .with("ip", peer.ip())
                .with("port", peer.port())
                .write();
            let token = self.table.insert(stream, peer, dialect, deadline);
            // Usually the request has already arrived.
            self.visit(token, Handler::advance)?;
        }
        Ok(ACCEPTS)
    }

    /// Accepts connections that the other workers have left, without waiting for an event.
    pub(super) fn accept_due(&mut self) -> Result<(), WorkerError> {
        for index in 0..self.intakes.len() {
            if self.intakes[index].is_due() {
                self.accept(index)?;
            }
        }
        Ok(())
    }

    /// Returns true if another worker that accepts has fewer connections.
    fn others_have_fewer(&self) -> bool {
        let (shared, slot) = (self.central().shared(), self.handler.requests.slot);
        let mut others = (0..shared.worker_state.len()).filter(|other| *other != slot);
        others.any(|other| {
            shared.worker_state.load(other) == WorkerState::Ready as u8
                && (shared.worker_connections.load(other) as usize) < self.table.len()
        })
    }

    /// Returns true if all places are taken.
    fn is_full(&self) -> bool {
        self.table.len() >= self.handler.requests.limits.connections
    }

    /// Returns the next connection that gives up its place. The caller closes it with
    /// [`give_up`](Self::give_up) or puts it back into the list.
    fn next_to_go(&mut self) -> Option<(Token, Reason)> {
        let now = Instant::now();
        loop {
            while let Some((token, reason)) = self.places.found.pop() {
                let Some(connection) = self.table.get(token) else { continue };
                let requests = &self.handler.requests;
                let still = match (&connection.phase, reason) {
                    (Phase::Waiting { agency }, Reason::NotFinished) => {
                        !requests.central.has_finished(*agency)
                    }
                    (Phase::Waiting { .. }, Reason::Repeated) => true,
                    (_, Reason::Stranger) => true,
                    (_, Reason::Silent) => is_silent(connection, &requests.limits, now),
                    _ => false,
                };
                if still {
                    return Some((token, reason));
                }
            }
            if now < self.places.next_search {
                return None;
            }
            self.search(now);
        }
    }

    /// Closes a connection that gives up its place.
    fn give_up(&mut self, (token, reason): (Token, Reason)) -> Result<(), WorkerError> {
        let places = self.handler.requests.limits.connections;
        let reason =
            format!("all {places} connections of this worker are in use, and {}", reason.text());
        self.close(token, &reason)
    }

    /// Frees a place if the worker is full and does not accept any longer. It may have found no
    /// connection to close when it stopped.
    pub(super) fn free_a_place(&mut self) -> Result<(), WorkerError> {
        if self.is_full()
            && !self.is_draining()
            && !self.retiring
            && let Some(first) = self.next_to_go()
        {
            self.give_up(first)?;
        }
        Ok(())
    }

    /// Examines all connections. One search frees places for as many new connections as it finds
    /// old ones.
    fn search(&mut self, now: Instant) {
        let requests = &self.handler.requests;
        let (central, limits) = (&requests.central, &requests.limits);
        let mut finished = HashMap::new();
        // The connection of each finished agency that was accepted last.
        let mut latest: HashMap<u16, (u32, Token)> = HashMap::new();
        let mut found = Vec::new();
        for connection in self.table.iter() {
            let (token, age) = (connection.token, self.table.age(connection.token));
            if !central.admits(connection.peer.ip()) {
                found.push((Reason::Stranger, age, token));
                continue;
            }
            match connection.phase {
                Phase::Waiting { agency } => {
                    let finished =
                        finished.entry(agency).or_insert_with(|| central.has_finished(agency));
                    if !*finished {
                        found.push((Reason::NotFinished, age, token));
                        continue;
                    }
                    let last = latest.entry(agency).or_insert((age, token));
                    if last.1 != token {
                        let earlier = if age < last.0 {
                            std::mem::replace(last, (age, token))
                        } else {
                            (age, token)
                        };
                        found.push((Reason::Repeated, earlier.0, earlier.1));
                    }
                }
                _ if is_silent(connection, limits, now) => {
                    let silence = silent_for(connection, limits, now).as_millis() as u32;
                    found.push((Reason::Silent, silence, token));
                }
                _ => {}
            }
        }
        // The first to go comes last: the first reason, and the greatest age.
        found.sort_unstable_by_key(|&(reason, age, _)| (std::cmp::Reverse(reason), age));
        if found.is_empty() {
            self.places.next_search = now + DEADLINE_CHECK;
        }
        self.places.found = found.into_iter().map(|(reason, _, token)| (token, reason)).collect();
    }
}

/// Returns true if a connection is silent enough to lose its place.
fn is_silent(connection: &Connection, limits: &Limits, now: Instant) -> bool {
    matches!(connection.phase, Phase::Receiving)
        && connection.mark != Mark::Held
        && silent_for(connection, limits, now) >= MIN_SILENCE
}

/// Returns the time since a connection, or the request that it is sending, has begun.
fn silent_for(connection: &Connection, limits: &Limits, now: Instant) -> Duration {
    let is_between = connection.is_idle() && connection.dialect.keeps_connections();
    let timeout = if is_between { limits.idle_timeout } else { limits.request_timeout };
    let left = connection.deadline.map(|deadline| deadline.saturating_duration_since(now));
    timeout.saturating_sub(left.unwrap_or(timeout))
}
