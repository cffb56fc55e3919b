//! The supervised pool: it replaces dead workers and stops gracefully.

mod stop;
mod supervised;
mod supervision;
mod surroundings;
mod watchdog;
