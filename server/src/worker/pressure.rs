//! What a worker takes from connections when they want too much together: memory, and in-flight
//! marks.

use std::time::Instant;

use super::connection::Phase;
use super::pace::Mark;
use super::{Connection, EventLoop, WorkerError};

/// Bytes that all connections of a worker may keep in memory together. Beyond it, the connection
/// that buffers the most is closed.
const MAX_BUFFERED_BYTES: usize = 64 * 1024 * 1024;

impl EventLoop<'_> {
    /// Closes the connections that buffer the most bytes until all together keep no more than
    /// allowed. Closing the connection that needs more bytes now would be unfair: a few clients
    /// that send megabytes and never finish would shut out every client whose batch arrives in two
    /// pieces.
    pub(super) fn make_room(&mut self) -> Result<(), WorkerError> {
        while self.table.buffered() > MAX_BUFFERED_BYTES {
            let Some(largest) = self.table.largest() else { break };
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
