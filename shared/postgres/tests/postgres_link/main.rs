//! Tests of the connection. Those of `real` need a PostgreSQL server: see `harness::real`.
// A test that cannot continue fails by panicking.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod any_bytes;
#[path = "../../../../fuzz/corpus.rs"]
mod corpus;
mod deadlines;
mod fuzz;
mod harness;
mod hosts;
mod nonsense;
mod real;
mod url;
