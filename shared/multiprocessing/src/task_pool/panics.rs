//! The report of a worker about a task that panicked.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::{panic, thread};

use super::error::TaskError;
use crate::sys::fork::generation;

thread_local! {
    /// Where the last panic of this thread was, with a backtrace if it was requested.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// From here on, notes panics of this thread of this process instead of printing them, because the
/// waiter for the task gets them. Panics of threads and children that tasks start are printed as
/// usual, because no waiter gets those.
pub(super) fn note_instead_of_printing() {
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

/// Returns the error for the waiter of a task that panicked.
pub(super) fn task_error(payload: Box<dyn Any + Send>) -> TaskError {
    let text = payload.downcast::<String>().map(|text| *text);
    let text = text.or_else(|payload| payload.downcast::<&str>().map(|text| (*text).to_owned()));
    let message = text.unwrap_or_else(|payload| {
        // Its destructor might panic as well.
        std::mem::forget(payload);
        "a panic without a text".to_owned()
    });
    let pid = std::process::id().cast_signed();
    TaskError::Panicked { message, place: PLACE.take().unwrap_or_default(), pid }
}
