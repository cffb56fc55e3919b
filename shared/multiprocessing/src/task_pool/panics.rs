//! Turns the panic of a task into the error that its caller receives.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::{panic, thread};

use super::error::TaskError;
use crate::sys::generation::generation;

thread_local! {
    /// Location of the last panic of this thread, and the backtrace if one is enabled.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// From now on, records panics of this thread of this process instead of printing them, since the
/// caller of the task receives them as an error.
///
/// Panics of threads and child processes that a task starts reach no caller, so they are still
/// printed.
pub(super) fn record_instead_of_printing() {
    let print = panic::take_hook();
    let (worker, thread) = (generation(), thread::current().id());
    panic::set_hook(Box::new(move |info| {
        if generation() != worker || thread::current().id() != thread {
            return print(info);
        }
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        PLACE.set(Some(match backtrace.status() {
            BacktraceStatus::Captured => format!("{location}\n{backtrace}"),
            _ => location,
        }));
    }));
}

/// Returns the error for the caller of a task that panicked with this payload.
pub(super) fn task_error(payload: Box<dyn Any + Send>) -> TaskError {
    let text = payload.downcast::<String>().map(|text| *text);
    let text = text.or_else(|payload| payload.downcast::<&str>().map(|text| (*text).to_owned()));
    let message = text.unwrap_or_else(|payload| {
        // Leaked, because its destructor might panic as well.
        std::mem::forget(payload);
        "a panic without a text".to_owned()
    });
    let pid = std::process::id().cast_signed();
    TaskError::Panicked { message, place: PLACE.take().unwrap_or_default(), pid }
}
