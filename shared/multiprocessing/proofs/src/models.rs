//! The models, one file for each algorithm.

mod copies;
mod record;

use std::sync::atomic::{AtomicU64, Ordering};

use loom::model::Builder;

use crate::sync::queue::ring_models as ring;
use crate::task_pool::progress_models as progress;

/// Name, what holds, and the model.
pub(crate) const ALL: [(&str, &str, fn()); 12] = [
    ("copies", "a reader sees whole values, in order", copies::readers),
    ("copies", "no update of two writers is lost", copies::writers),
    ("copies", "a writer that dies in a commit changes nothing", copies::death),
    ("record", "no update of two writers is lost", record::writers),
    ("record", "readers see the numbers and rows of one commit", record::readers),
    ("ring", "messages arrive once and in order, and no wake-up is lost", ring::one_to_one),
    ("ring", "two producers wait for room at the same time", ring::two_producers),
    ("ring", "a close wakes a waiter", ring::close),
    ("ring", "the number of messages is never below none or above the capacity", ring::length),
    ("progress", "a task has begun or is taken back and never both", progress::take_back),
    ("progress", "so are some and then the rest", progress::take_back_some),
    ("progress", "the time of a task that has begun is known", progress::time),
];

/// Number of executions of all models so far.
pub(crate) static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// Tries every order of memory accesses with at most this many preemptions.
pub(crate) fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        EXECUTIONS.fetch_add(1, Ordering::Relaxed);
        model();
    });
}
