//! Python's `Pool`, also when processes are killed.

mod ahead;
mod deaths;
mod refusals;
mod strain;
mod tasks;
mod workers;
