//! The messages of a PostgreSQL server.

#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../shared/postgres/tests/postgres_link/fuzz.rs"]
mod fuzz;
#[path = "../../shared/postgres/tests/postgres_link/harness/mod.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check(input));
