//! The configuration file of the central.

#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../server/src"]
mod server {
    pub mod config;
    pub mod roster;
    pub mod storage;
}
use server::{roster, storage};

libfuzzer_sys::fuzz_target!(|input: &[u8]| server::config::fuzz::check(input));
