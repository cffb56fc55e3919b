//! The limit on how long a task may take: a worker that overruns it is killed.

use std::time::Duration;

use nix::errno::Errno;

use super::message::QueuedTask;
use super::worker_handle::WorkerHandle;
use super::workers::Workers;
use crate::pool::Running;
use crate::sys::deadline::now_in_ms;

impl Workers<'_> {
    /// Returns the limit in milliseconds, rounded up.
    fn limit(&self) -> Option<u64> {
        let limit = self.options.task_timeout?.as_nanos().div_ceil(1_000_000);
        Some(u64::try_from(limit).unwrap_or(u64::MAX))
    }

    /// Returns the time until a task may have overrun, if there is a limit and a task in flight.
    pub(super) fn until_overrun(&self) -> Result<Option<Duration>, Errno> {
        let Some(limit) = self.limit() else { return Ok(None) };
        let now = now_in_ms()?;
        let workers = self.running().map(|running| &running.worker);
        let busy = workers.filter(|worker| !worker.in_flight.is_empty() && !worker.has_overrun);
        // A task that has not begun yet begins now at the earliest.
        let first = busy.map(|worker| worker.in_flight.began().unwrap_or(now)).min();
        // Whole milliseconds of the clock: one more has certainly passed.
        let left = |began: u64| began.saturating_add(limit).saturating_add(1).saturating_sub(now);
        Ok(first.map(|began| Duration::from_millis(left(began))))
    }

    /// Kills the workers whose tasks have overrun. Their deaths are reported like any other.
    ///
    /// Returns the tasks that were queued at these workers, and results that arrived meanwhile.
    pub(super) fn kill_overrun(&mut self) -> Result<(Vec<QueuedTask>, Vec<Vec<u8>>), Errno> {
        let (mut not_begun, mut results) = (Vec::new(), Vec::new());
        let Some(limit) = self.limit() else { return Ok((not_begun, results)) };
        let now = now_in_ms()?;
        let has_overrun = |worker: &WorkerHandle| {
            let began = worker.in_flight.began().filter(|_| !worker.has_overrun);
            began.is_some_and(|began| now.saturating_sub(began) > limit)
        };
        for Running { process, is_ready, worker, .. } in self.running_mut() {
            if !has_overrun(worker) {
                continue;
            }
            // From now on the worker begins no other task, which the kill would hit. If it has just
            // finished this one, the result arrives here or the time of the next task is newer.
            not_begun.extend(worker.take_back());
            results.extend(worker.receive(is_ready));
            if has_overrun(worker) {
                worker.has_overrun = true;
                // Fails only if other code of this process has reaped the worker.
                let _ = process.kill();
            }
        }
        Ok((not_begun, results))
    }
}
