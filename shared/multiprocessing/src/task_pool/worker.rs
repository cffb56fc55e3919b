//! What a worker of a pool of tasks does: one task after the other, as long as it is given any.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::function::failure;
use super::message::{result, task_parts};
use super::panics;
use crate::pipe::Connection;

/// What a worker says once its initializer has returned.
pub(super) const READY: &[u8] = b"";

/// Prepares, then does tasks until it has done as many as it shall, or there is nobody any more who gives it any. Returns the
/// exit code.
pub(super) fn work(dispatcher: &Connection, initializer: &dyn Fn(), most_tasks: u64) -> i32 {
    // A panic in here ends the worker: it is printed, for nobody waits for it.
    initializer();
    panics::note_instead_of_printing();
    if dispatcher.send_bytes(READY).is_err() {
        return 0;
    }
    for _ in 0..most_tasks {
        let Ok(task) = dispatcher.recv_bytes() else { return 0 };
        // Not sent by a dispatcher.
        let Some((id, call, arguments)) = task_parts(&task) else { return 1 };
        // The function's own panics are caught one by one; these are of code that encodes and decodes.
        let outcomes = catch_unwind(AssertUnwindSafe(|| call.perform(arguments)));
        let outcomes = outcomes.unwrap_or_else(|payload| failure(&panics::task_error(payload)));
        if dispatcher.send_bytes(&result(id, &outcomes)).is_err() {
            return 0;
        }
    }
    0
}
