//! The loop of a worker process: it runs one task after the other until its connection is closed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::context::with_context;
use super::function::failure;
use super::message::{failed, message, parse_task};
use super::panics;
use super::progress::Progress;
use super::workers::Limits;
use crate::pipe::{Connection, PipeError};
use crate::sys::deadline::now_in_ms;

/// Message of a worker whose initializer has returned. It is also the answer to tasks that were
/// taken back.
pub(super) const READY: &[u8] = b"";

/// Creates the value that the tasks of a worker share.
pub(super) type Initializer<'a> = &'a dyn Fn() -> Rc<dyn Any>;

/// Runs the initializer, then tasks until the limit is reached or the dispatcher has closed the
/// connection. Returns the exit code.
pub(super) fn work(
    dispatcher: &Connection,
    progress: &Progress,
    initializer: Initializer,
    limits: &Limits,
) -> i32 {
    // A panic of the initializer is printed and ends the worker, since no caller waits for it.
    let context = initializer();
    panics::record_instead_of_printing();
    let serve = || serve(dispatcher, progress, limits);
    let served = with_context(context, || dispatcher.send_bytes(READY).and_then(|()| serve()));
    match served {
        Ok(()) | Err(PipeError::Closed) => 0,
        // A task has used up all descriptors, or closed one of the pool's own.
        Err(_) => 1,
    }
}

fn serve(dispatcher: &Connection, progress: &Progress, limits: &Limits) -> Result<(), PipeError> {
    let mut left = limits.tasks_per_worker;
    let mut received = 0;
    while left > 0 {
        let task = dispatcher.recv_bytes()?;
        let (id, call, arguments) = parse_task(&task).ok_or(PipeError::Malformed)?;
        received += 1;
        // Reading the clock costs a hundredth of the time of a trivial task.
        let now = if limits.task_timeout.is_some() { now_in_ms()? } else { 0 };
        if !progress.begin(received, now) {
            // The answer to all that were taken back. The next result is one as well.
            if !dispatcher.poll(Duration::ZERO)? {
                dispatcher.send_bytes(READY)?;
            }
            continue;
        }
        left -= 1;
        // `perform` catches panics of the function itself. This catches panics of code that
        // encodes, decodes or drops values.
        let outcomes = catch_unwind(AssertUnwindSafe(|| call.perform(arguments)));
        let outcomes = outcomes.unwrap_or_else(|payload| failure(&panics::task_error(payload)));
        let mut sent = dispatcher.send_bytes(&message(id, &outcomes));
        // A large result needs a descriptor. If there is none, the short error still fits.
        if let Err(PipeError::System(errno)) = sent {
            sent = dispatcher.send_bytes(&failed(id, &errno.into()));
        }
        sent?;
    }
    Ok(())
}
