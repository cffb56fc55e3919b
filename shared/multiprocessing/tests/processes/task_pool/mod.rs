//! Python's `Pool`, and what becomes of it when processes are killed.

mod ahead;
mod deaths;
mod refusals;
mod strain;
mod tasks;
mod workers;
