//! The draw: who waits for it, who receives which winners, and what can go wrong.

mod descriptors;
mod errors;
mod files;
mod large_answers;
mod late_queries;
mod operator;
mod operator_files;
mod reading;
mod reopening;
mod roster;
mod stop;
mod waiting;
mod winners;
