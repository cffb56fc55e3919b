//! Python's `Pool`, also when processes are killed.

mod ahead;
mod control;
mod deaths;
mod refusals;
mod spawned;
mod strain;
mod tasks;
mod workers;
