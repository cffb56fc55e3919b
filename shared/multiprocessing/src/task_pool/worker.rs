//! What a worker of a pool of tasks does: one task after the other, as long as it is given any.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::function::failure;
use super::message::{result, task_parts};
use super::offers::Offers;
use super::panics;
use crate::pipe::{Connection, PipeError};

/// What a worker says once its initializer has returned.
pub(super) const READY: &[u8] = b"";

/// Prepares, then does the tasks on offer until it has done as many as it shall, or there is nobody any more who gives it any.
/// Returns the exit code.
pub(super) fn work(
    dispatcher: &Connection,
    offers: &Offers,
    initializer: &dyn Fn(),
    most_tasks: u64,
) -> i32 {
    // A panic in here ends the worker: it is printed, for nobody waits for it.
    initializer();
    panics::note_instead_of_printing();
    match dispatcher.send_bytes(READY).and_then(|()| serve(dispatcher, offers, most_tasks)) {
        Ok(()) | Err(PipeError::Closed) => 0,
        // A task took all descriptors, or closed those that were not its own.
        Err(_) => 1,
    }
}

fn serve(dispatcher: &Connection, offers: &Offers, most_tasks: u64) -> Result<(), PipeError> {
    let mut left = most_tasks;
    let mut message = 0;
    while left > 0 {
        let task = dispatcher.recv_bytes()?;
        let (id, call, arguments) = task_parts(&task).ok_or(PipeError::Malformed)?;
        message += 1;
        // The dispatcher may have taken it back meanwhile.
        if !offers.claim(message) {
            continue;
        }
        left -= 1;
        // The function's own panics are caught one by one; these are of code that encodes, decodes and drops.
        let outcomes = catch_unwind(AssertUnwindSafe(|| call.perform(arguments)));
        let outcomes = outcomes.unwrap_or_else(|payload| failure(&panics::task_error(payload)));
        match dispatcher.send_bytes(&result(id, &outcomes)) {
            // A large one needs a descriptor. That there was none is told in a few bytes.
            Err(PipeError::System(errno)) => {
                dispatcher.send_bytes(&result(id, &failure(&errno.into())))?
            }
            sent => sent?,
        }
    }
    Ok(())
}
