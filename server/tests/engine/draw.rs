//! The draw, as far as its tests need no files.

#[path = "../server/draw/errors.rs"]
mod errors;
#[path = "../server/draw/large_answers.rs"]
mod large_answers;
#[path = "../server/draw/late_queries.rs"]
mod late_queries;
#[path = "../server/draw/operator.rs"]
mod operator;
mod replication;
#[path = "../server/draw/roster.rs"]
mod roster;
#[path = "../server/draw/stop.rs"]
mod stop;
#[path = "../server/draw/waiting.rs"]
mod waiting;
#[path = "../server/draw/winners.rs"]
mod winners;
