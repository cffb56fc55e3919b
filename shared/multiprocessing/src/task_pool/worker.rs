//! The loop of a worker process: it runs one task after the other until its connection is closed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::context::with_context;
use super::function::failure;
use super::message::{parse_task, result};
use super::panics;
use super::progress::Progress;
use crate::pipe::{Connection, PipeError};
use crate::sys::deadline::now_in_ms;

/// Message of a worker whose initializer has returned.
pub(super) const READY: &[u8] = b"";

/// Creates the value that the tasks of a worker share.
pub(super) type Initializer<'a> = &'a dyn Fn() -> Rc<dyn Any>;

/// Runs the initializer, then tasks until the limit is reached or the dispatcher has closed the
/// connection. Returns the exit code.
pub(super) fn work(
    dispatcher: &Connection,
    progress: &Progress,
    initializer: Initializer,
    max_tasks: u64,
) -> i32 {
    // A panic of the initializer is printed and ends the worker, since no caller waits for it.
    let context = initializer();
    panics::record_instead_of_printing();
    let serve = || serve(dispatcher, progress, max_tasks);
    let served = with_context(context, || dispatcher.send_bytes(READY).and_then(|()| serve()));
    match served {
        Ok(()) | Err(PipeError::Closed) => 0,
        // A task has used up all descriptors, or closed one of the pool's own.
        Err(_) => 1,
    }
}

fn serve(dispatcher: &Connection, progress: &Progress, max_tasks: u64) -> Result<(), PipeError> {
    let mut left = max_tasks;
    let mut message = 0;
    while left > 0 {
        let task = dispatcher.recv_bytes()?;
        let (id, call, arguments) = parse_task(&task).ok_or(PipeError::Malformed)?;
        message += 1;
        if !progress.begin(message, now_in_ms()?) {
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
