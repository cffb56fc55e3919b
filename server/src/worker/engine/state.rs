//! What a worker knows about its engine, and what it keeps until the engine has answered.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::Epoll;
use postgres_link::Servers;

use super::draw_copy::DrawCopying;
use super::link::Link;
use super::work::Work;
use crate::central::{Central, OperatorCommand};
use crate::engine::Engine;
use crate::engine::statements::{LotteryPhase, State};
use crate::storage::Group;
use crate::worker::round::{Answerable, Ticket};

/// Time between two heartbeats. The lease of a central ends 10 s after the last one.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long a worker that starts waits for its engine before it accepts connections nevertheless.
const READY_WAIT: Duration = Duration::from_secs(2);

/// A request that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The claim of the row.
    Claim,
    /// [`EngineWorker::work`]. The row shows this number of agencies in flight after it.
    Work(i32),
    /// [`EngineWorker::finish`].
    Finish,
    /// A heartbeat, which also writes the number of agencies in flight.
    Beat(i32),
    /// The number of agencies in flight.
    Mark(i32),
    /// The draw.
    Draw,
    /// The next rows of the result of the draw.
    Copy,
    /// The command of an operator, with its word in the shared state.
    Command(u64, OperatorCommand),
    /// The end of the lease.
    Release,
}

/// Finish marks that are sent together.
#[derive(Debug, Default)]
pub struct Finish {
    /// The agencies.
    pub agencies: Vec<u16>,
    /// One per agency.
    pub tickets: Vec<Ticket>,
}

/// The end of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lease {
    Held,
    Ending,
    Ended,
}

/// What a worker keeps for its engine.
#[derive(Debug)]
pub struct EngineWorker {
    /// The connection.
    pub link: Link,
    /// Number of the connection that owns the row; `None` until this connection has claimed it.
    pub epoch: Option<i64>,
    /// Groups that are stored, as far as this worker knows.
    pub seq: i64,
    /// The request that is under way.
    pub under_way: Option<Step>,
    /// What is sent, or has to be sent again.
    pub work: Work,
    /// True once the group of `work` was sent, so that it may be stored.
    pub is_sent: bool,
    /// Finish marks that are sent, or have to be sent again.
    pub finish: Finish,
    /// True if finish marks come before batches.
    pub finishes_first: bool,
    /// Queries for the totals that are not sent yet.
    pub queries: Vec<Ticket>,
    /// What can be answered.
    pub answerable: Vec<Answerable>,
    /// Agencies in flight that the row shows.
    pub marked: i32,
    /// When the next heartbeat is due.
    beat_at: Instant,
    /// Finished agencies and reopenings that the shared state shows.
    pub known: (i64, i64),
    /// What the lottery does.
    pub phase: LotteryPhase,
    /// True if the draw waits for an operator.
    awaits_operator: bool,
    /// The copy of the result of the draw.
    pub copying: DrawCopying,
    /// When this worker has started.
    started: Instant,
    /// An empty group, whose memory the next one uses.
    pub empty: Group,
    lease: Lease,
}

impl EngineWorker {
    /// Returns the state of a worker that is not connected.
    pub fn new(servers: Servers, slot: usize, epoll: &Epoll) -> Result<Self, Errno> {
        Ok(Self {
            link: Link::new(servers, slot, epoll)?,
            epoch: None,
            seq: 0,
            under_way: None,
            work: Work::default(),
            is_sent: false,
            finish: Finish::default(),
            finishes_first: false,
            queries: Vec::new(),
            answerable: Vec::new(),
            marked: 0,
            beat_at: Instant::now(),
            known: (-1, -1),
            phase: LotteryPhase::Open,
            awaits_operator: false,
            copying: DrawCopying::default(),
            started: Instant::now(),
            empty: Group::default(),
            lease: Lease::Held,
        })
    }

    /// Returns true if this worker should accept connections.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.epoch.is_some() || now >= self.started + READY_WAIT
    }

    /// Returns true if nothing can be sent now.
    pub fn is_behind(&self) -> bool {
        self.under_way.is_some() || self.epoch.is_none() || !self.link.is_free(Instant::now())
    }

    /// Returns true if this connection has not claimed the row yet.
    pub fn is_unclaimed(&self) -> bool {
        self.epoch.is_none()
    }

    /// Returns how long the worker may wait for events.
    pub fn patience(&self, now: Instant) -> Duration {
        if !self.answerable.is_empty() {
            return Duration::ZERO;
        }
        let beat_at = self.epoch.is_some().then_some(self.beat_at);
        let next = self.link.wake_at().into_iter().chain(beat_at).min();
        // A request that is under way ends with an event.
        let idle = self.under_way.is_none();
        next.filter(|_| idle)
            .or(self.link.wake_at())
            .map_or(HEARTBEAT, |time| time.saturating_duration_since(now))
    }

    /// Lets the next heartbeat be sent as soon as possible.
    pub fn beat_soon(&mut self) {
        self.beat_at = Instant::now();
    }

    /// Returns true if a heartbeat is due.
    pub fn is_beat_due(&self, now: Instant) -> bool {
        now >= self.beat_at
    }

    /// Notes that a heartbeat was sent.
    pub fn note_beat(&mut self, now: Instant) {
        self.beat_at = now + HEARTBEAT;
    }

    /// Notes the state of the lottery.
    pub fn note_state(&mut self, state: &State) {
        self.known = (state.finished, state.reopened);
        self.phase = state.phase;
        self.awaits_operator = state.confirm == (true, false);
    }

    /// Returns true if this worker may hold the draw now.
    pub fn is_draw_due(&self) -> bool {
        self.phase == LotteryPhase::Closed && !self.awaits_operator
    }

    /// Notes that the connection is gone, and with it the claim. The outcome of the request that
    /// was under way is unknown.
    pub fn note_loss(&mut self, central: &Central<Engine>) {
        self.give_up_command(central);
        self.under_way = None;
        self.epoch = None;
        self.marked = 0;
        if self.lease == Lease::Ending {
            self.lease = Lease::Ended;
        }
    }

    /// Gives the command of an operator back, so that another worker executes it.
    pub fn give_up_command(&mut self, central: &Central<Engine>) {
        if let Some(Step::Command(word, _)) = self.under_way {
            central.end_command(word, None);
        }
    }

    /// Returns true if no request waits for the engine or for its answer.
    pub fn has_nothing_left(&self) -> bool {
        self.work.is_empty()
            && self.finish.tickets.is_empty()
            && self.queries.is_empty()
            && self.answerable.is_empty()
    }

    /// Ends the lease as soon as possible, unless the worker has none.
    pub fn release(&mut self) {
        if self.lease == Lease::Held {
            self.lease = if self.epoch.is_some() { Lease::Ending } else { Lease::Ended };
        }
    }

    /// Returns true if the end of the lease has to be sent.
    pub fn has_to_release(&self) -> bool {
        self.lease == Lease::Ending
    }

    /// Notes that the engine has ended the lease.
    pub fn note_release(&mut self) {
        self.lease = Lease::Ended;
    }

    /// Returns true once the lease has ended.
    pub fn is_released(&self) -> bool {
        self.lease == Lease::Ended
    }
}
