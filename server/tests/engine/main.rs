//! Tests of centrals whose bets are in a PostgreSQL server, which `TEST_POSTGRES` names. The tests
//! of the dialects and of the draw that need no files run here a second time.
// A test that cannot continue fails by panicking. The harness serves the tests with files too.
#![allow(clippy::unwrap_used, dead_code, unused_imports)]

mod commands;
mod counted;
mod deaths;
mod draw;
mod exchange;
mod names;
mod outages;
mod proxy;
mod several;

#[path = "../server/harness/mod.rs"]
mod harness;
#[path = "../server/wire/mod.rs"]
mod wire;

/// True if the centrals of this program store their bets in an engine.
const ON_ENGINE: bool = true;
