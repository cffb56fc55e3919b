//! Limits on all connections of a worker together: it closes those that buffer too much, and
//! releases the in-flight marks of batches that stall.

use std::time::{Duration, Instant};

use super::connection::Phase;
use super::pace::Mark;
use super::store::Store;
use super::{Connection, EventLoop, WorkerError};

/// Bytes that all connections of a worker may keep in memory together. Beyond it, the connection
/// that buffers the most is closed.
const MAX_BUFFERED_BYTES: usize = 64 * 1024 * 1024;
/// How many times the bytes of a connection that stalls count.
const STALLED_WEIGHT: usize = 4;
/// Bytes per second that a client has to read of its reply so that the connection does not stall.
const MIN_READ_RATE: u128 = 64 * 1000;
/// Time within which a client must begin to read.
const FIRST_READ: Duration = Duration::from_secs(1);

impl<S: Store> EventLoop<'_, S> {
    /// Closes the connections that buffer the most bytes until all together keep no more than
    /// allowed. Closing the connection that needs more bytes now would be unfair: a few clients
    /// that send megabytes and never finish would shut out every client whose batch arrives in two
    /// pieces. The bytes of a connection that stalls count several times, so that it goes before
    /// one that makes progress.
    pub(super) fn make_room(&mut self) -> Result<(), WorkerError> {
        while self.table.buffered() > MAX_BUFFERED_BYTES {
            let now = Instant::now();
            let all = self.table.iter();
            let largest = all.max_by_key(|connection| weight(connection, now));
            let Some(largest) = largest.map(|connection| connection.token) else { break };
            let reason = format!(
                "unfinished requests and replies fill the {MAX_BUFFERED_BYTES} bytes of this \
                 worker, and this is the largest"
            );
            self.close(largest, &reason)?;
        }
        Ok(())
    }

    /// Releases the in-flight marks of batches that stall.
    pub(super) fn judge_paces(&mut self, now: Instant) -> Result<(), WorkerError> {
        let window = self.handler.requests.limits.stall_time;
        let is_over = |connection: &Connection| {
            connection.mark != Mark::None
                && matches!(connection.phase, Phase::Receiving)
                && connection.pace.is_over(window, now)
        };
        for token in self.table.select(is_over) {
            self.table.with(token, |connection| self.handler.judge_pace(connection))?;
        }
        Ok(())
    }
}

/// Returns the bytes that a connection keeps in memory, several times if it stalls.
fn weight(connection: &Connection, now: Instant) -> usize {
    let stalls = connection.mark == Mark::Lapsed || reads_slowly(connection, now);
    connection.buffered() * if stalls { STALLED_WEIGHT } else { 1 }
}

/// Returns true if the client reads its reply at less than the minimum rate.
fn reads_slowly(connection: &Connection, now: Instant) -> bool {
    let Phase::Answering { sent, since, .. } = &connection.phase else { return false };
    let time = now.saturating_duration_since(*since);
    time >= FIRST_READ && *sent as u128 * 1000 < MIN_READ_RATE * time.as_millis()
}
