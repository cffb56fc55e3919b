//! Reopened bets, as the connections of a worker see them: those whose agencies rely on their
//! finish marks are closed, because the marks are gone.

use conventions::log_line::{Outcome, info};

use super::connection::{Connection, Phase};
use super::store::Store;
use super::{EventLoop, WorkerError};
use crate::central::Fatal;

impl<S: Store> EventLoop<'_, S> {
    /// Closes the connections whose agencies have finished, if bets were reopened since the last
    /// call. The end of its connection makes an agency report again.
    pub(super) fn follow_reopening(&mut self) -> Result<(), WorkerError> {
        let reopened = self.central().shared().reopened.load();
        if std::mem::replace(&mut self.reopened, reopened) == reopened {
            return Ok(());
        }
        let mut finished = self.table.select(relies_on_mark);
        // Their marks are gone before they are acknowledged.
        finished.extend(S::finishes(&self.handler.requests.kept));
        if !finished.is_empty() {
            info("close_connections", Outcome::Success)
                .with("worker", self.handler.requests.slot)
                .with("connections", finished.len())
                .with("reason", "bets are open again, and these agencies must finish again")
                .write();
        }
        for token in finished {
            self.table.with(token, |connection| {
                self.handler.finish(connection);
                Ok::<_, Fatal>(())
            })?;
        }
        self.publish_counts();
        Ok(())
    }
}

/// Returns true if the agency of a connection relies on its finish mark: it waits for the draw, or
/// will ask for its winners next.
fn relies_on_mark(connection: &Connection) -> bool {
    match connection.phase {
        Phase::Waiting { .. } => true,
        Phase::Receiving | Phase::Queued => connection.finished,
        _ => false,
    }
}
