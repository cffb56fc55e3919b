//! The state that all processes of a central share: its objects, and who may write them.
//!
//! [`Shared`] is the only declaration of the objects. The documentation of each field names the
//! processes that write it. A reader ignores objects that it does not declare, so a later version
//! may add some.

use std::thread::sleep;
use std::time::{Duration, Instant};

use central_view::{DEATH_REASONS, LATENCY_WORDS, NAME_PREFIX};
use conventions::log_line::{Outcome, info};
use multiprocessing::{
    Lock, RawArray, RawValue, Segment, SegmentError, SegmentName, SharedState, Value,
};

use super::agencies::AGENCY_WORDS;
use crate::storage::LedgerWords;

/// Handles to the shared objects. All clones refer to the same state.
///
/// A slot is the place of one worker; a worker that replaces a dead one takes its slot. The objects
/// whose names start with `worker_` have one element per slot. There are more slots than workers: a
/// reload starts a new generation of workers while the old ones finish. The elements of slots that
/// were never used are 0.
#[derive(Clone, Debug, SharedState)]
#[shared(args(slots: usize, sockets: usize))]
pub struct Shared {
    /// The segment itself. It is removed when its creator drops the last handle.
    #[shared(segment)]
    pub segment: Segment,
    /// Totals of what is appended to the storage. Written by the holder of its lock, which orders
    /// the appends.
    pub ledger: Value<LedgerWords>,
    /// Held by the one process that syncs the storage, on behalf of all processes that wait for
    /// it.
    pub sync: Lock,
    /// Batches and finish marks that survive a power loss. Written by the holder of `sync`, and by
    /// the supervisor when it repairs; never decreases.
    pub durable: RawValue<u64>,
    /// Not 0 once the storage cannot be used any more, so that nothing more may be acknowledged:
    /// the code of a [`StorageFailure`](super::StorageFailure). Written by the process that sees
    /// the failure; never reset.
    pub storage_failed: RawValue<u8>,
    /// Error number (`errno`) with which the disk refused the last batch or mark, or 0 if it took
    /// the last one. Written by the worker that saw it.
    pub disk_refused: RawValue<u32>,
    /// Winners among the published bets. Written by the holder of its lock; never decreases. The
    /// lock also orders publishing: a batch is counted and leaves `in_flight` under it.
    pub winners: Value<u64>,
    /// Published bets. Written by the holder of the lock of `winners`; never decreases.
    pub bets: RawValue<u64>,
    /// Distinct agencies that have finished and count for the draw. Written by the holder of the
    /// lock of `ledger`.
    pub finished: RawValue<u32>,
    /// Agencies that the draw waits for. Written by the supervisor, at the start and, with the lock
    /// of `ledger`, at a reload before bets are closed.
    pub expected: RawValue<u32>,
    /// One bit per agency number: 1 if the agency has finished and counts for the draw. Written
    /// like `finished`.
    #[shared(len = AGENCY_WORDS)]
    pub finished_agencies: RawArray<u64>,
    /// One bit per agency number: 1 if the agency is in the roster. All 0 without a roster, and
    /// then every agency counts. Written like `expected`.
    #[shared(len = AGENCY_WORDS)]
    pub roster_agencies: RawArray<u64>,
    /// 1 plus the slot of the worker that runs the draw, or 0. Written by a worker that finds 0
    /// and holds the lock of `ledger`; set back to 0 by that worker, or by the supervisor when the
    /// worker is dead.
    pub draw_owner: RawValue<u32>,
    /// 1 if the draw waits for an operator. Written by the supervisor at the start and at a reload.
    pub needs_confirmation: RawValue<u8>,
    /// 1 once an operator has confirmed the draw. Written by a worker that executes a command and
    /// holds the lock of `ledger`; set back to 0 when bets are reopened.
    pub confirmed: RawValue<u8>,
    /// Number of times that an operator has reopened bets. Written like `confirmed`; never
    /// decreases.
    pub reopened: RawValue<u32>,
    /// Held by the one `loteria-central draw` process that gives a command.
    pub operator: Lock,
    /// Number and code of the last command of an operator. Written by the holder of `operator`.
    pub command: RawValue<u64>,
    /// Number of the last command that was executed, and the code of the answer. Written by the
    /// worker that executes it and holds the lock of `ledger`.
    pub answer: RawValue<u64>,
    /// 1 once there is a `draw.csv`. Written by the worker in `draw_owner`, and by the supervisor
    /// at the start; never reset.
    pub drawn: RawValue<u8>,
    /// Attempts at the draw that failed since the start. Written by the workers that failed.
    pub draw_failures: RawValue<u32>,
    /// 1 while the worker has any batch in flight, per slot. Written by the worker alone; by the
    /// supervisor when the worker is dead. See [`begin_batch`](Self::begin_batch).
    #[shared(len = slots)]
    pub processing: RawArray<u8>,
    /// Batches that have begun and not ended, per slot: at most one per connection. Written like
    /// `processing`.
    #[shared(len = slots)]
    pub in_flight: RawArray<u16>,
    /// Number of workers of the generation in `generation`. Written by the supervisor.
    pub workers: RawValue<u32>,
    /// Newest generation of workers that has been ready as a whole, and 1 during the start. Written
    /// by the supervisor.
    pub generation: RawValue<u32>,
    /// First port that the central listens on. Written by the supervisor at the start.
    pub port: RawValue<u16>,
    /// Ports of the listening sockets. Written by the supervisor at the start.
    #[shared(len = sockets)]
    pub listen_ports: RawArray<u16>,
    /// Addresses of the listening sockets as IPv6 addresses, in two halves each. Written by the
    /// supervisor at the start.
    #[shared(len = 2 * sockets)]
    pub listen_ips: RawArray<u64>,
    /// A [`Phase`](super::Phase). Written by the supervisor.
    pub phase: RawValue<u8>,
    /// Time of the supervisor's last heartbeat, in milliseconds of the monotonic clock. Written by
    /// the supervisor.
    pub supervisor_heartbeat_ms: RawValue<u64>,
    /// Workers that died without being asked to stop. Written by the supervisor.
    pub deaths: RawValue<u64>,
    /// Time of the last such death in milliseconds since 1970, or 0. Written by the supervisor.
    pub last_death_ms: RawValue<u64>,
    /// Generation of the worker, from 1; 0 if the slot is free. Written by the supervisor.
    #[shared(len = slots)]
    pub worker_generation: RawArray<u32>,
    /// Process id, or 0 if the slot is free. Written by the supervisor.
    #[shared(len = slots)]
    pub worker_pid: RawArray<u32>,
    /// A [`WorkerState`](super::WorkerState). Written by the worker; by the supervisor when the
    /// worker is dead.
    #[shared(len = slots)]
    pub worker_state: RawArray<u8>,
    /// Start time in milliseconds since 1970. Written by the supervisor.
    #[shared(len = slots)]
    pub worker_started_ms: RawArray<u64>,
    /// Workers started in the slot after the first one. Written by the supervisor.
    #[shared(len = slots)]
    pub worker_restarts: RawArray<u32>,
    /// Time of the worker's last heartbeat, in milliseconds of the monotonic clock. Written by the
    /// worker, at least every 250 ms.
    #[shared(len = slots)]
    pub worker_heartbeat_ms: RawArray<u64>,
    /// 1 while the worker is in an operation whose duration depends on the disk. Written by the
    /// worker; by the supervisor when the worker is dead.
    #[shared(len = slots)]
    pub worker_on_disk: RawArray<u8>,
    /// 1 while the worker waits for the end of a sync of another process, which then wakes it.
    /// Written by the worker; by the supervisor when the worker is dead.
    #[shared(len = slots)]
    pub worker_awaits_sync: RawArray<u8>,
    /// 1 while the worker has no room for another connection. Written by the worker; by the
    /// supervisor when the worker is dead.
    #[shared(len = slots)]
    pub worker_full: RawArray<u8>,
    /// Open connections. Written by the worker; by the supervisor when the worker is dead.
    #[shared(len = slots)]
    pub worker_connections: RawArray<u32>,
    /// Connections that wait for the draw. Written by the worker; by the supervisor when the worker
    /// is dead.
    #[shared(len = slots)]
    pub worker_waiting: RawArray<u32>,
    /// Batches stored. Written by the worker. This and the following counters never decrease, even
    /// when a worker dies.
    #[shared(len = slots)]
    pub worker_batches: RawArray<u64>,
    /// Bets stored. Written by the worker.
    #[shared(len = slots)]
    pub worker_bets: RawArray<u64>,
    /// Batches stored that were large. Written by the worker.
    #[shared(len = slots)]
    pub worker_large: RawArray<u64>,
    /// With an engine: bets that the rows of the workers count, per slot, and then those of all
    /// other rows. Written by the holder of the lock of `winners`.
    #[shared(len = slots + 1)]
    pub row_bets: RawArray<u64>,
    /// Like `row_bets`, the winners.
    #[shared(len = slots + 1)]
    pub row_winners: RawArray<u64>,
    /// 1 while the worker has no connection to the engine. Written by the worker; by the supervisor
    /// when the worker is dead.
    #[shared(len = slots)]
    pub worker_without_engine: RawArray<u8>,
    /// Queries answered. Written by the worker.
    #[shared(len = slots)]
    pub worker_queries: RawArray<u64>,
    /// Requests refused, and connections closed before they were done. Written by the worker.
    #[shared(len = slots)]
    pub worker_refused: RawArray<u64>,
    /// Times of the phases of commits, per slot: see [`LatencyPhase`](central_view::LatencyPhase).
    /// Written by the worker.
    #[shared(len = slots * LATENCY_WORDS)]
    pub worker_latency: RawArray<u64>,
    /// Workers that died without being asked to stop, per one of [`DEATH_REASONS`]. Written by the
    /// supervisor.
    #[shared(len = DEATH_REASONS.len())]
    pub death_reasons: RawArray<u64>,
}

impl Shared {
    /// Returns the segment name of the central whose first port is `port`.
    pub fn name(port: u16) -> Result<SegmentName, multiprocessing::InvalidName> {
        SegmentName::new(&format!("{NAME_PREFIX}{port}"))
    }

    /// Creates the segment of a central. First removes the segments that killed centrals left on
    /// any port, because no central may ever start on those ports again to remove them.
    pub fn create_reclaiming(
        name: &SegmentName,
        slots: usize,
        sockets: usize,
    ) -> Result<Self, SegmentError> {
        let deadline = Instant::now() + NAME_TIMEOUT;
        loop {
            match Segment::reclaim_all(NAME_PREFIX) {
                Ok(reclaimed) if !reclaimed.is_empty() => {
                    let names: Vec<_> = reclaimed.iter().map(SegmentName::as_str).collect();
                    info("recovery", Outcome::Success).with("segments", names.join(" ")).write();
                }
                // A failure does not matter here: this start needs only its own name, and `create`
                // reports if that is taken.
                Ok(_) | Err(_) => {}
            }
            match Self::create(name, (slots, sockets)) {
                // The last worker of the previous central is still exiting, or another start is
                // reclaiming the segment.
                Err(SegmentError::Exists { .. }) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(5))
                }
                // The error of `reclaim` names the living owner.
                Err(SegmentError::Exists { .. }) => drop(Segment::reclaim(name)?),
                created => return created,
            }
        }
    }

    /// Returns the batches that the workers of a slot have stored and the queries they have
    /// answered.
    pub fn served(&self, slot: usize) -> u64 {
        self.worker_batches.load(slot) + self.worker_queries.load(slot)
    }

    /// Records that a batch begins in the worker of a slot.
    pub fn begin_batch(&self, slot: usize) {
        // `processing` is set before the count rises and cleared after the count falls. So it is 1
        // whenever the count is not 0, even if the worker is killed in between.
        self.processing.store(slot, 1);
        self.in_flight.fetch_add(slot, 1);
    }

    /// Records that batches end in the worker of a slot.
    pub fn end_batches(&self, slot: usize, ended: u16) {
        let before = self.in_flight.fetch_sub(slot, ended);
        debug_assert!(before >= ended, "a batch ended that never began");
        if before == ended {
            self.processing.store(slot, 0);
        }
    }

    /// Takes all batches of a dead worker out of flight.
    pub fn end_all_batches(&self, slot: usize) {
        self.in_flight.store(slot, 0);
        self.processing.store(slot, 0);
    }

    /// Returns the agencies in flight now: the sum of `in_flight`.
    ///
    /// `processing` is not enough: a partial result reports the number of agencies, and one worker
    /// may serve many.
    pub fn agencies_in_flight(&self) -> u32 {
        self.in_flight.iter().map(u32::from).sum()
    }
}

/// How long a start waits for the name of its segment to become free.
const NAME_TIMEOUT: Duration = Duration::from_secs(1);
