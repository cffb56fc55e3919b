//! Why the lock is not raw_sync's mutex.
#![allow(clippy::unwrap_used)]

mod common;

use common::run;
use nix::libc::ETIMEDOUT;

#[test]
fn a_killed_holder_locks_everyone_out_of_raw_syncs_mutex_for_ever_and_hands_ours_to_the_next_one() {
    let probe = run("raw-sync-killed-holder");
    let ours: u64 = probe.fact("ours_us").parse().unwrap();
    assert!(ours < 500_000, "ours was had after {ours} µs");

    let facts =
        |key| probe.seen.iter().filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='));
    let refused = format!("Failed to acquire mutex : {ETIMEDOUT}");
    assert_eq!(facts("theirs").collect::<Vec<_>>(), [refused.as_str(); 3]);
    for waited in facts("theirs_ms") {
        let waited: u64 = waited.parse().unwrap();
        // Its clock is the wall clock, which may be set while it waits.
        assert!(waited >= 900, "raw_sync gave up after {waited} ms");
    }
}
