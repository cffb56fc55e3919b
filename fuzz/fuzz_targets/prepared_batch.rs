//! The fast path of a batch in every dialect.

#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../shared/lottery/tests/lottery/common/mod.rs"]
mod common;
#[path = "../../shared/lottery/tests/lottery/fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check_prepared(input));
