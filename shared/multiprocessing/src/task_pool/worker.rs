//! The loop of a worker process: it runs one task after the other until its connection is closed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::claims::ClaimTable;
use super::function::failure;
use super::message::{parse_task, result};
use super::panics;
use crate::pipe::{Connection, PipeError};

/// Message of a worker whose initializer has returned.
pub(super) const READY: &[u8] = b"";

/// Runs the initializer, then tasks until the limit is reached or the dispatcher has closed the
/// connection. Returns the exit code.
pub(super) fn work(
    dispatcher: &Connection,
    claims: &ClaimTable,
    initializer: &dyn Fn(),
    max_tasks: u64,
) -> i32 {
    // A panic of the initializer is printed and ends the worker, since no caller waits for it.
    initializer();
    panics::record_instead_of_printing();
    match dispatcher.send_bytes(READY).and_then(|()| serve(dispatcher, claims, max_tasks)) {
        Ok(()) | Err(PipeError::Closed) => 0,
        // A task has used up all descriptors, or closed one of the pool's own.
        Err(_) => 1,
    }
}

fn serve(dispatcher: &Connection, claims: &ClaimTable, max_tasks: u64) -> Result<(), PipeError> {
    let mut left = max_tasks;
    let mut message = 0;
    while left > 0 {
        let task = dispatcher.recv_bytes()?;
        let (id, call, arguments) = parse_task(&task).ok_or(PipeError::Malformed)?;
        message += 1;
        // The dispatcher may have taken the task back.
        if !claims.claim(message) {
            continue;
        }
        left -= 1;
        // `perform` catches panics of the function itself. This catches panics of code that
        // encodes, decodes or drops values.
        let outcomes = catch_unwind(AssertUnwindSafe(|| call.perform(arguments)));
        let outcomes = outcomes.unwrap_or_else(|payload| failure(&panics::task_error(payload)));
        match dispatcher.send_bytes(&result(id, &outcomes)) {
            // A large result needs a descriptor. If there is none, the short error still fits.
            Err(PipeError::System(errno)) => {
                dispatcher.send_bytes(&result(id, &failure(&errno.into())))?
            }
            sent => sent?,
        }
    }
    Ok(())
}
