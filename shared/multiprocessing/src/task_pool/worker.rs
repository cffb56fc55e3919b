//! The worker of a pool of tasks: it does one task after the other, as long as it gets any.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::function::failure;
use super::message::{result, task_parts};
use super::offers::Offers;
use super::panics;
use crate::pipe::{Connection, PipeError};

/// The message of a worker whose initializer has returned.
pub(super) const READY: &[u8] = b"";

/// Prepares, then does offered tasks until it has done `most_tasks` or the dispatcher is gone.
/// Returns the exit code.
pub(super) fn work(
    dispatcher: &Connection,
    offers: &Offers,
    initializer: &dyn Fn(),
    most_tasks: u64,
) -> i32 {
    // A panic in here ends the worker. It is printed, because no waiter gets it.
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
        // The panics of the function are caught one by one. These are of code that encodes, decodes
        // and drops.
        let outcomes = catch_unwind(AssertUnwindSafe(|| call.perform(arguments)));
        let outcomes = outcomes.unwrap_or_else(|payload| failure(&panics::task_error(payload)));
        match dispatcher.send_bytes(&result(id, &outcomes)) {
            // A large result needs a descriptor. A few bytes report that there was none.
            Err(PipeError::System(errno)) => {
                dispatcher.send_bytes(&result(id, &failure(&errno.into())))?
            }
            sent => sent?,
        }
    }
    Ok(())
}
