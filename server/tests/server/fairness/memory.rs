//! The memory of a worker is small when it is idle and does not grow with the number of bets.

use crate::harness::{
    CentralProcess, Setup, StoppedProcess, eventually, large_packet, packet_of, peak_bytes,
    private_bytes,
};
use lottery::protocol::typed;

/// Private memory that an idle worker may have. The debug build meets the limit too.
const IDLE: u64 = 3 << 20;
/// Growth that does not count, caused by pages that happen to be touched.
const FLAT: u64 = 1 << 20;

fn private(central: &CentralProcess<'_>) -> Vec<u64> {
    central.worker_pids().into_iter().map(private_bytes).collect()
}

#[test]
fn an_idle_worker_has_at_most_3_mb_of_private_memory() {
    let setup = Setup::new();
    let central = setup.start();
    for number in 0..20 {
        assert!(central.request(&packet_of(&number.to_string(), 100, 50)).len() > 2);
    }
    let bytes = private(&central);
    println!("private memory of idle workers: {bytes:?}");
    assert!(bytes.iter().all(|bytes| *bytes <= IDLE), "{bytes:?} bytes");
    assert_eq!(central.stop().0, 0);
}

#[test]
fn memory_after_600_000_bets_equals_memory_after_100_000() {
    let setup = Setup::new().with("LOGGING_LEVEL", "INFO");
    let central = setup.start();
    // Full packets of 8 kB, as a client sends them.
    let packet = packet_of("m", 160, 2);
    let send =
        |bets: usize| (0..bets / 160).for_each(|_| assert!(central.request(&packet).len() > 2));
    send(100_000);
    // Either worker may have served few of the first batches, so only the larger one counts.
    let before = private(&central);
    send(500_000);
    let after = private(&central);
    println!("private memory of workers: {before:?}, then {after:?}");
    let (before, after) = (before.iter().max().unwrap(), after.iter().max().unwrap());
    assert!(after.saturating_sub(*before) < FLAT, "{before} bytes, then {after}");
    assert_eq!(central.number("bets"), 600_000);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn batches_that_arrive_in_one_round_take_no_memory_for_all_their_winners_at_once() {
    const BATCHES: usize = 200;
    /// Bets per batch, which all win. Each batch is less than 64 kB, so that it is read at once.
    const BETS: usize = 2200;
    /// The winners of all batches would take more than 30 MB.
    const MOST: u64 = 16 << 20;
    let setup = Setup::new().with("SERVER_WORKERS", "1").with("LOGGING_LEVEL", "INFO");
    let central = setup.start();
    let worker = central.worker_pids()[0];
    let mut agencies: Vec<_> = (0..BATCHES).map(|_| central.connect()).collect();
    eventually("connections", || central.connections(), |count| *count == BATCHES as u64);
    let stopped = StoppedProcess::new(worker);
    for (batch, agency) in agencies.iter_mut().enumerate() {
        agency.send(&large_packet(&batch.to_string(), BETS, BETS));
    }
    drop(stopped);
    for agency in &mut agencies {
        let reply = agency.read_until_gone();
        assert_eq!(typed::decode_winners(&reply).unwrap().unwrap().len(), BETS);
    }
    let peak = peak_bytes(worker);
    println!("peak of the worker's memory: {peak}");
    assert!(peak < MOST, "{peak} bytes");
    assert_eq!(central.number("bets"), (BATCHES * BETS) as u64);
    assert_eq!(central.stop().0, 0);
}
