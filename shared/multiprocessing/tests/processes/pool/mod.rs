//! The supervised pool: workers that die are replaced, and a stop is orderly.

mod stop;
mod supervised;
mod supervision;
mod surroundings;
