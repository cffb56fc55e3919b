//! The progress of a worker of a task pool.

include!(concat!(env!("OUT_DIR"), "/task_pool.rs"));

#[path = "models/progress.rs"]
pub(crate) mod progress_models;
