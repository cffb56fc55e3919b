//! The shared memory of a central, as a process reads it that may not write.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use multiprocessing::{Lock, RawArray, RawValue, Segment, SharedState, Value, View};
use nix::time::{ClockId, clock_gettime};

use crate::death::DEATH_REASONS;
use crate::failure::StorageFailure;
use crate::latency::LATENCY_WORDS;
use crate::phase::WorkerState;

/// The totals of the storage. A reader uses only their lock.
type LedgerWords = [u64; 11];

/// Views of the shared objects of a central. The declaration of the central says which process
/// writes each of them.
#[derive(Clone, Debug, SharedState)]
#[shared(args(slots: usize, sockets: usize))]
pub struct CentralView {
    /// The segment itself.
    #[shared(segment)]
    pub segment: View<Segment>,
    /// Totals of what is appended to the storage.
    pub ledger: View<Value<LedgerWords>>,
    /// Held by the process that syncs the storage.
    pub sync: View<Lock>,
    /// Not 0 once the storage cannot be used any more, so that nothing more may be acknowledged:
    /// the code of a [`StorageFailure`].
    pub storage_failed: View<RawValue<u8>>,
    /// Error number (`errno`) with which the disk refused the last batch or mark, or 0 if it took
    /// the last one.
    pub disk_refused: View<RawValue<u32>>,
    /// Winners among the published bets.
    pub winners: View<Value<u64>>,
    /// Published bets.
    pub bets: View<RawValue<u64>>,
    /// Distinct agencies that have finished and count for the draw.
    pub finished: View<RawValue<u32>>,
    /// Agencies that the draw waits for.
    pub expected: View<RawValue<u32>>,
    /// 1 if the draw waits for an operator.
    pub needs_confirmation: View<RawValue<u8>>,
    /// 1 once an operator has confirmed the draw.
    pub confirmed: View<RawValue<u8>>,
    /// 1 once there is a `draw.csv`.
    pub drawn: View<RawValue<u8>>,
    /// Attempts at the draw that failed since the start.
    pub draw_failures: View<RawValue<u32>>,
    /// Batches that have begun and not ended, per slot: at most one per connection.
    #[shared(len = slots)]
    pub in_flight: View<RawArray<u16>>,
    /// Number of workers of the generation in `generation`.
    pub workers: View<RawValue<u32>>,
    /// Newest generation of workers that has been ready as a whole, and 1 during the start.
    pub generation: View<RawValue<u32>>,
    /// First port that the central listens on.
    pub port: View<RawValue<u16>>,
    /// Ports of the listening sockets.
    #[shared(len = sockets)]
    pub listen_ports: View<RawArray<u16>>,
    /// Addresses of the listening sockets as IPv6 addresses, in two halves each.
    #[shared(len = 2 * sockets)]
    pub listen_ips: View<RawArray<u64>>,
    /// A [`Phase`](crate::Phase).
    pub phase: View<RawValue<u8>>,
    /// Time of the supervisor's last heartbeat, in milliseconds of the monotonic clock.
    pub supervisor_heartbeat_ms: View<RawValue<u64>>,
    /// Workers that died without being asked to stop.
    pub deaths: View<RawValue<u64>>,
    /// Time of the last such death in milliseconds since 1970, or 0.
    pub last_death_ms: View<RawValue<u64>>,
    /// Generation of the worker, from 1; 0 if the slot is free.
    #[shared(len = slots)]
    pub worker_generation: View<RawArray<u32>>,
    /// Process id, or 0 if the slot is free.
    #[shared(len = slots)]
    pub worker_pid: View<RawArray<u32>>,
    /// A [`WorkerState`].
    #[shared(len = slots)]
    pub worker_state: View<RawArray<u8>>,
    /// Start time in milliseconds since 1970.
    #[shared(len = slots)]
    pub worker_started_ms: View<RawArray<u64>>,
    /// Workers started in the slot after the first one.
    #[shared(len = slots)]
    pub worker_restarts: View<RawArray<u32>>,
    /// Time of the worker's last heartbeat, in milliseconds of the monotonic clock.
    #[shared(len = slots)]
    pub worker_heartbeat_ms: View<RawArray<u64>>,
    /// 1 while the worker is in an operation whose duration depends on the disk.
    #[shared(len = slots)]
    pub worker_on_disk: View<RawArray<u8>>,
    /// 1 while the worker has no room for another connection.
    #[shared(len = slots)]
    pub worker_full: View<RawArray<u8>>,
    /// Open connections.
    #[shared(len = slots)]
    pub worker_connections: View<RawArray<u32>>,
    /// Connections that wait for the draw.
    #[shared(len = slots)]
    pub worker_waiting: View<RawArray<u32>>,
    /// Batches stored.
    #[shared(len = slots)]
    pub worker_batches: View<RawArray<u64>>,
    /// Bets stored.
    #[shared(len = slots)]
    pub worker_bets: View<RawArray<u64>>,
    /// Batches stored that were large.
    #[shared(len = slots)]
    pub worker_large: View<RawArray<u64>>,
    /// 1 while the worker has no connection to the engine.
    #[shared(len = slots)]
    pub worker_without_engine: View<RawArray<u8>>,
    /// Queries answered.
    #[shared(len = slots)]
    pub worker_queries: View<RawArray<u64>>,
    /// Requests refused, and connections closed before they were done.
    #[shared(len = slots)]
    pub worker_refused: View<RawArray<u64>>,
    /// Times of the phases of commits, per slot: see [`Latency`](crate::Latency).
    #[shared(len = slots * LATENCY_WORDS)]
    pub worker_latency: View<RawArray<u64>>,
    /// Workers that died without being asked to stop, per one of
    /// [`DEATH_REASONS`].
    #[shared(len = DEATH_REASONS.len())]
    pub death_reasons: View<RawArray<u64>>,
}

impl CentralView {
    /// Returns the slots that have had a worker.
    pub fn used_slots(&self) -> impl Iterator<Item = usize> {
        (0..self.worker_started_ms.len()).filter(|slot| self.worker_started_ms.load(*slot) != 0)
    }

    /// Returns the slots of the newest generation.
    pub fn newest_slots(&self) -> impl Iterator<Item = usize> {
        let generation = self.generation.load();
        self.used_slots().filter(move |slot| self.worker_generation.load(*slot) == generation)
    }

    /// Returns how many workers of the newest generation accept connections.
    pub fn ready_workers(&self) -> usize {
        let accepts = |slot: &usize| self.worker_state.load(*slot) == WorkerState::Ready as u8;
        self.newest_slots().filter(accepts).count()
    }

    /// Returns the agencies in flight now.
    pub fn agencies_in_flight(&self) -> u32 {
        self.in_flight.iter().map(u32::from).sum()
    }

    /// Returns true if bets are closed and the draw waits for an operator.
    pub fn awaits_confirmation(&self) -> bool {
        self.drawn.load() == 0
            && self.finished.load() >= self.expected.load()
            && self.needs_confirmation.load() != 0
            && self.confirmed.load() == 0
    }

    /// Returns why the storage cannot be used any more, or `None` if it can.
    pub fn storage_failure(&self) -> Option<StorageFailure> {
        StorageFailure::of(self.storage_failed.load())
    }

    /// Returns how often the owner of a lock died and the next owner repaired, for each lock.
    pub fn lock_recoveries(&self) -> [(&'static str, u64); 3] {
        [
            ("ledger", self.ledger.get_lock().recoveries()),
            ("sync", self.sync.recoveries()),
            ("winners", self.winners.get_lock().recoveries()),
        ]
    }

    /// Returns the addresses of the listening sockets.
    pub fn listening(&self) -> Vec<SocketAddr> {
        let address = |index: usize| {
            let (high, low) =
                (self.listen_ips.load(2 * index), self.listen_ips.load(2 * index + 1));
            let ip = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
            SocketAddr::new(ip.to_canonical(), self.listen_ports.load(index))
        };
        (0..self.listen_ports.len()).map(address).collect()
    }

    /// Returns how long ago the worker in a slot showed its last heartbeat.
    pub fn worker_silence(&self, slot: usize) -> Duration {
        since(self.worker_heartbeat_ms.load(slot))
    }

    /// Returns how long ago the supervisor showed its last heartbeat.
    pub fn supervisor_silence(&self) -> Duration {
        since(self.supervisor_heartbeat_ms.load())
    }
}

/// Returns the time since a moment of the monotonic clock, which all processes share. The central
/// reads the same clock.
fn since(heartbeat_ms: u64) -> Duration {
    let clock = ClockId::CLOCK_MONOTONIC_COARSE;
    let now = clock_gettime(clock).map(Duration::from).unwrap_or_default();
    Duration::from_millis((now.as_millis() as u64).saturating_sub(heartbeat_ms))
}
