//! The state that all processes of a central share, and who may write what in it.
//!
//! | object | written by |
//! |---|---|
//! | `ledger` | whoever holds its lock and appends to the storage |
//! | `sync` | lock only: its holder makes the storage durable for everybody who waits |
//! | `durable` | the holder of `sync` |
//! | `storage_failed` | whoever finds that the storage lost something; never reset |
//! | `winners`, `bets` | whoever holds the lock of `winners`; never go down |
//! | `finished` | whoever holds the lock of `ledger` |
//! | `expected` | the supervisor, at the start |
//! | `draw_owner` | a worker that finds it 0 and holds the lock of `ledger`; back to 0 by that worker, or the supervisor when it is dead |
//! | `drawn` | the worker in `draw_owner`; never reset |
//! | `processing[w]` | worker w alone; the supervisor when w is dead |
//! | `worker_…[w]` | worker w alone; the supervisor when w is dead, except that it counts `worker_restarts` |
//! | `port`, `phase`, `deaths`, `last_death_ms` | the supervisor |

use std::thread::sleep;
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, info};
use multiprocessing::{Lock, Plan, RawArray, RawValue, Segment, SegmentError, SegmentName, Value};

use crate::storage::LedgerWords;

/// What the central as a whole is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not every worker accepts yet.
    Starting = 0,
    /// Every worker has accepted connections since the start.
    Serving = 1,
    /// It finishes what has begun and takes nothing new.
    Draining = 2,
}

impl Phase {
    /// The phase of a stored byte.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Starting,
            1 => Self::Serving,
            _ => Self::Draining,
        }
    }
}

/// What one worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WorkerState {
    /// Dead, and not replaced yet.
    Dead = 0,
    /// Forked, does not accept yet.
    Starting = 1,
    /// Accepts connections.
    Ready = 2,
    /// Finishes its connections and takes no new ones.
    Draining = 3,
}

impl WorkerState {
    /// The state of a stored byte.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Starting,
            2 => Self::Ready,
            3 => Self::Draining,
            _ => Self::Dead,
        }
    }
}

/// Handles to everything shared. Clones are the same state.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The segment itself; its creator's last handle removes it.
    pub segment: Segment,
    /// Totals of what is appended to the storage; its lock orders the appends.
    pub ledger: Value<LedgerWords>,
    /// Held by the one process that syncs.
    pub sync: Lock,
    /// Batches that survive a power loss.
    pub durable: RawValue<u64>,
    /// 1 once a sync has failed: what is on disk is unknown, so nothing more may be acknowledged.
    pub storage_failed: RawValue<u8>,
    /// Winners among the published bets. Its lock also orders publishing: winners and `processing` change together.
    pub winners: Value<u64>,
    /// Published bets.
    pub bets: RawValue<u64>,
    /// Distinct agencies that have finished.
    pub finished: RawValue<u32>,
    /// Agencies the draw waits for.
    pub expected: RawValue<u32>,
    /// The worker that makes the draw, its slot plus 1; 0 if nobody does.
    pub draw_owner: RawValue<u32>,
    /// 1 once the draw was held.
    pub drawn: RawValue<u8>,
    /// Per worker: batch requests begun (type byte read) and not ended. The original's byte holds 0 or 1; ours counts the
    /// connections of a worker, and a byte would wrap at 256 of them.
    pub processing: RawArray<u16>,
    /// Port the central listens on.
    pub port: RawValue<u16>,
    /// A [`Phase`].
    pub phase: RawValue<u8>,
    /// Workers that ended though nobody had asked them to.
    pub deaths: RawValue<u64>,
    /// When the last of them did, milliseconds since 1970; 0 if none.
    pub last_death_ms: RawValue<u64>,
    /// Per worker: process id.
    pub worker_pid: RawArray<u32>,
    /// Per worker: a [`WorkerState`].
    pub worker_state: RawArray<u8>,
    /// Per worker: start time, milliseconds since 1970.
    pub worker_started_ms: RawArray<u64>,
    /// Per slot: workers started in it, less one.
    pub worker_restarts: RawArray<u32>,
    /// Per worker: open connections.
    pub worker_connections: RawArray<u32>,
    /// Per worker: connections that wait for the draw.
    pub worker_waiting: RawArray<u32>,
    /// Per slot: batches stored. This and the following never go back, whoever dies.
    pub worker_batches: RawArray<u64>,
    /// Per slot: bets stored.
    pub worker_bets: RawArray<u64>,
    /// Per slot: queries answered.
    pub worker_queries: RawArray<u64>,
    /// Per slot: connections closed for bad input, slowness or lack of room.
    pub worker_refused: RawArray<u64>,
}

impl Shared {
    /// The name of the segment of the central that listens on a port.
    ///
    /// # Errors
    /// Never: a number makes a valid name; the type of the library is passed on.
    pub fn name(port: u16) -> Result<SegmentName, multiprocessing::InvalidName> {
        SegmentName::new(&format!("{NAME_PREFIX}{port}"))
    }

    /// Makes the segment of the central on a port. Segments that killed centrals have left are removed first, of any port:
    /// nobody may ever start on the others again.
    ///
    /// # Errors
    /// [`SegmentError`]; [`SegmentError::InUse`] when processes of another central on this port live.
    pub fn create(name: &SegmentName, workers: usize) -> Result<Self, SegmentError> {
        let deadline = Instant::now() + PREDECESSOR;
        loop {
            match Segment::reclaim_all(NAME_PREFIX) {
                Ok(reclaimed) if !reclaimed.is_empty() => {
                    let names: Vec<_> = reclaimed.iter().map(SegmentName::as_str).collect();
                    info("recovery", Outcome::Success).with("segments", names.join(" ")).write();
                }
                // A start needs no more than its own name, and creating says whether that is free.
                Ok(_) | Err(_) => {}
            }
            match Segment::create(name, &plan(workers)) {
                // Its last worker is just ending, or another start is reclaiming it at this moment.
                Err(SegmentError::Exists { .. }) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(5))
                }
                // Says who has it.
                Err(SegmentError::Exists { .. }) => drop(Segment::reclaim(name)?),
                created => return Self::of(created?),
            }
        }
    }

    /// The state in an existing segment.
    ///
    /// # Errors
    /// [`SegmentError::Object`] when it is no central's.
    pub fn of(segment: Segment) -> Result<Self, SegmentError> {
        Ok(Self {
            ledger: segment.value("ledger")?,
            sync: segment.lock("sync")?,
            durable: segment.raw_value("durable")?,
            storage_failed: segment.raw_value("storage_failed")?,
            winners: segment.value("winners")?,
            bets: segment.raw_value("bets")?,
            finished: segment.raw_value("finished")?,
            expected: segment.raw_value("expected")?,
            draw_owner: segment.raw_value("draw_owner")?,
            drawn: segment.raw_value("drawn")?,
            processing: segment.raw_array("processing")?,
            port: segment.raw_value("port")?,
            phase: segment.raw_value("phase")?,
            deaths: segment.raw_value("deaths")?,
            last_death_ms: segment.raw_value("last_death_ms")?,
            worker_pid: segment.raw_array("worker_pid")?,
            worker_state: segment.raw_array("worker_state")?,
            worker_started_ms: segment.raw_array("worker_started_ms")?,
            worker_restarts: segment.raw_array("worker_restarts")?,
            worker_connections: segment.raw_array("worker_connections")?,
            worker_waiting: segment.raw_array("worker_waiting")?,
            worker_batches: segment.raw_array("worker_batches")?,
            worker_bets: segment.raw_array("worker_bets")?,
            worker_queries: segment.raw_array("worker_queries")?,
            worker_refused: segment.raw_array("worker_refused")?,
            segment,
        })
    }

    /// Agencies in flight now: the sum of `processing`.
    pub fn in_flight(&self) -> u32 {
        self.processing.iter().map(u32::from).sum()
    }
}

/// How long a start waits for the name of its segment.
const PREDECESSOR: Duration = Duration::from_secs(1);
/// Names of the segments of centrals start with this; the port follows.
pub const NAME_PREFIX: &str = "lottery.";

fn plan(workers: usize) -> Plan {
    Plan::new()
        .value::<LedgerWords>("ledger")
        .lock("sync")
        .raw_value::<u64>("durable")
        .raw_value::<u8>("storage_failed")
        .value::<u64>("winners")
        .raw_value::<u64>("bets")
        .raw_value::<u32>("finished")
        .raw_value::<u32>("expected")
        .raw_value::<u32>("draw_owner")
        .raw_value::<u8>("drawn")
        .raw_array::<u16>("processing", workers)
        .raw_value::<u16>("port")
        .raw_value::<u8>("phase")
        .raw_value::<u64>("deaths")
        .raw_value::<u64>("last_death_ms")
        .raw_array::<u32>("worker_pid", workers)
        .raw_array::<u8>("worker_state", workers)
        .raw_array::<u64>("worker_started_ms", workers)
        .raw_array::<u32>("worker_restarts", workers)
        .raw_array::<u32>("worker_connections", workers)
        .raw_array::<u32>("worker_waiting", workers)
        .raw_array::<u64>("worker_batches", workers)
        .raw_array::<u64>("worker_bets", workers)
        .raw_array::<u64>("worker_queries", workers)
        .raw_array::<u64>("worker_refused", workers)
}
