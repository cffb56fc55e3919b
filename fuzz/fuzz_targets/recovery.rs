//! The files of the storage, as a start finds them.

#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../server/src"]
mod server {
    pub mod storage;
}
use server::storage;

libfuzzer_sys::fuzz_target!(|input: &[u8]| server::storage::fuzz::check(input));
