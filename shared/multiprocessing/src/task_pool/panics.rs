//! What a worker tells of a task that panicked.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::panic;

use super::error::TaskError;

thread_local! {
    /// Where the last panic of this thread was, and the way there if it was asked for.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// From here on, panics of this process are noted instead of printed: who waits for the task is told.
pub(super) fn note_instead_of_printing() {
    panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        PLACE.set(Some(match backtrace.status() {
            BacktraceStatus::Captured => format!("{location}\n{backtrace}"),
            _ => location,
        }));
    }));
}

/// The error that a panic is for whoever waits for the task.
pub(super) fn task_error(payload: Box<dyn Any + Send>) -> TaskError {
    let text = |payload: &(dyn Any + Send)| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned())
    };
    let message = text(&*payload).unwrap_or_else(|| "a panic without a text".to_owned());
    // Its destructor might panic as well.
    std::mem::forget(payload);
    let pid = std::process::id().cast_signed();
    TaskError::Panicked { message, place: PLACE.take().unwrap_or_default(), pid }
}
