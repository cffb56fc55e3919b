//! The supervised pool: it replaces dead workers, reloads, and stops gracefully.

mod reload;
mod spawned;
mod stop;
mod supervised;
mod supervision;
mod surroundings;
mod watchdog;
