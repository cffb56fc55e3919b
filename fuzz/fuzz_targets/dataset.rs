//! The CSV file of an agency.

#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../client/src"]
mod client {
    pub mod dataset;
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| client::dataset::fuzz::check(input));
