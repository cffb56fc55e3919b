//! The configuration file of an agency.

#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../client/src"]
mod client {
    pub mod config;
    pub mod dataset;
}
use client::dataset;

libfuzzer_sys::fuzz_target!(|input: &[u8]| client::config::fuzz::check(input));
