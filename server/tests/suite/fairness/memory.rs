//! What a worker's memory comes to: little when it idles, and the same however many bets went through.

use crate::harness::{Central, Setup, packet_of, private_bytes};

/// What an idle worker may have of its own. The debug build keeps it too, with unoptimised code.
const IDLE: u64 = 3 << 20;
/// Growth that is no growth: pages that happen to be touched.
const FLAT: u64 = 1 << 20;

fn private(central: &Central<'_>) -> Vec<u64> {
    central.worker_pids().into_iter().map(private_bytes).collect()
}

#[test]
fn an_idle_worker_has_at_most_3_mb_of_its_own() {
    let setup = Setup::new();
    let central = setup.start();
    for number in 0..20 {
        assert!(central.request(&packet_of(&number.to_string(), 100, 50)).len() > 2);
    }
    let bytes = private(&central);
    println!("private memory of idle workers: {bytes:?}");
    assert!(
        bytes.iter().all(|bytes| *bytes <= IDLE),
        "{bytes:?} bytes of a debug or release build"
    );
    assert_eq!(central.stop().0, 0);
}

#[test]
fn memory_after_600_000_bets_is_what_it_was_after_100_000() {
    let setup = Setup::new().with("LOGGING_LEVEL", "INFO");
    let central = setup.start();
    // Full packets of 8 kB, as an agency sends them.
    let packet = packet_of("m", 160, 2);
    let send =
        |bets: usize| (0..bets / 160).for_each(|_| assert!(central.request(&packet).len() > 2));
    send(100_000);
    // Either worker may have served few of the first batches: the one that has more is the measure.
    let before = private(&central);
    send(500_000);
    let after = private(&central);
    println!("private memory of workers: {before:?}, then {after:?}");
    let (before, after) = (before.iter().max().unwrap(), after.iter().max().unwrap());
    assert!(after.saturating_sub(*before) < FLAT, "{before} bytes, then {after}");
    assert_eq!(central.number("bets"), 600_000);
    assert_eq!(central.stop().0, 0);
}
