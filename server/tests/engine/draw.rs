//! The draw, as far as its tests need no files.

#[path = "../server/draw/late_queries.rs"]
mod late_queries;
#[path = "../server/draw/operator.rs"]
mod operator;
#[path = "../server/draw/reopening.rs"]
mod reopening;
mod replication;
#[path = "../server/draw/roster.rs"]
mod roster;
#[path = "../server/draw/stop.rs"]
mod stop;
