//! The disk is full, or a file has reached its size limit: a batch that does not fit is refused and
//! leaves nothing, stored batches stay, and once there is room the central goes on.

use std::fs;

use crate::harness::{
    BatchRecord, CentralProcess, KeyedAgency, Setup, WINNER_INDEX, can_mount, eventually, index_of,
    is_alive, large_packet,
};
use lottery::protocol::{Advice, typed};

/// Bets of a batch: about 7 kB.
const BETS: usize = 120;
/// More batches than fit on the disk.
const ENOUGH: usize = 2000;

fn setup(durability: &str) -> Setup {
    Setup::new().with("SERVER_DURABILITY", durability).with("LOGGING_LEVEL", "INFO")
}

/// Sends batches until one is refused. Returns the number of stored batches.
fn fill(central: &CentralProcess<'_>, record: &BatchRecord) {
    let stored =
        (0..ENOUGH).take_while(|_| record.send_batch(central.port, BETS, BETS / 2)).count();
    assert!((1..ENOUGH).contains(&stored), "{stored} batches were stored");
}

/// Asserts that a refused batch leaves nothing in the files, no dead worker, and correct totals.
fn assert_unharmed(
    central: &CentralProcess<'_>,
    workers: &[u32],
    record: &BatchRecord,
    read: impl Fn(&str) -> Vec<u8>,
) {
    central.none_in_flight_within_a_second();
    let totals = record.check_files(&read("bets.csv"), &read("winners.log"));
    assert!(read(WINNER_INDEX) == index_of(&read("bets.csv")), "the index of the winners");
    assert_eq!(central.results().winners, totals.winners);
    assert_eq!(central.number("bets"), totals.bets);
    assert_eq!(totals.bets, (record.acknowledged() * BETS) as u64, "a refused batch is not stored");
    assert!(workers.iter().all(|pid| is_alive(*pid)));
    assert_eq!(central.worker_pids(), workers);
    assert_eq!(central.number("worker_deaths"), 0);
}

/// Fills a storage of 36 MB, of which the journal takes 32 and a filler 2, and makes room again by
/// removing the filler.
fn fills_and_goes_on(durability: &str) {
    if !can_mount() {
        return;
    }
    let (setup, record) = (setup(durability), BatchRecord::default());
    let central = setup.start_on_small_disk("head -c 2097152 /dev/zero > storage/filler &&");
    let seen = |file: &str| central.inside(&setup.stored(file));
    let read = |file: &str| fs::read(seen(file)).unwrap();
    let workers = central.worker_pids();

    fill(&central, &record);
    let line = central.program.line_with("action: receive_message | result: fail");
    assert!(line.contains("No space left") && line.contains("ip: 127.0.0.1"), "{line}");
    assert_unharmed(&central, &workers, &record, read);
    for bets in [BETS, BETS, 1, BETS] {
        // A batch that is small enough may fit.
        record.send_batch(central.port, bets, 0);
    }
    let before = record.acknowledged();
    fs::remove_file(seen("filler")).unwrap();

    assert!(record.send_batch(central.port, BETS, BETS / 2), "there is room again");
    assert!(record.acknowledged() > before);
    let totals = record.check_files(&read("bets.csv"), &read("winners.log"));
    assert!(read(WINNER_INDEX) == index_of(&read("bets.csv")), "the index of the winners");
    assert_eq!((central.results().winners, central.number("bets")), (totals.winners, totals.bets));
    assert_eq!(central.worker_pids(), workers);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_batch_that_does_not_fit_the_disk_is_refused_and_the_central_goes_on() {
    fills_and_goes_on("process");
}

#[test]
fn a_batch_that_does_not_fit_the_disk_is_refused_and_the_central_goes_on_with_durability_disk() {
    fills_and_goes_on("disk");
}

#[test]
fn a_file_size_limit_refuses_the_batch_and_kills_no_worker() {
    let (setup, record) = (setup("process"), BatchRecord::default());
    fs::create_dir(setup.stored("")).unwrap();
    // Stored bets that nearly reach the limit of 34 MiB.
    let row = b"0,Santiago Lionel,Lorca,0-0,1999-03-17,1033\r\n";
    fs::write(setup.stored("bets.csv"), row.repeat(770_000)).unwrap();
    // Only the soft limit, in blocks of 512 bytes, so that it can be raised again.
    let script = "ulimit -S -f 69632 && exec \"$0\" run";
    let central = setup.start_by(&mut setup.shell(&[], script));
    let (before, workers) = (setup.read_stored("bets.csv").len(), central.worker_pids());
    let read =
        |file: &str| setup.read_stored(file).split_off(if file == "bets.csv" { before } else { 0 });

    let stored =
        (0..ENOUGH).take_while(|_| record.send_batch(central.port, BETS, BETS / 2)).count();
    assert!((1..ENOUGH).contains(&stored), "{stored} batches were stored");
    let line = central.program.line_with("action: receive_message | result: fail");
    assert!(line.contains("File too large"), "{line}");
    assert_eq!(central.worker_pids(), workers, "SIGXFSZ killed no worker");
    let totals = record.check_files(&read("bets.csv"), &read("winners.log"));
    assert_eq!(totals.bets, (stored * BETS) as u64);

    central.limit_files(&workers, "unlimited");
    let stored = || record.send_batch(central.port, BETS, BETS / 2);
    eventually("a batch is stored again", stored, |stored| *stored);
    let totals = record.check_files(&read("bets.csv"), &read("winners.log"));
    setup.assert_indexed();
    assert_eq!(central.results().winners, totals.winners);
    assert_eq!(central.number("worker_deaths"), 0);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_batch_that_does_not_fit_is_not_acknowledged_if_stored_bets_have_vanished() {
    let setup = setup("process").with("SERVER_WORKERS", "1");
    fs::create_dir(setup.stored("")).unwrap();
    let row = b"0,Santiago Lionel,Lorca,0-0,1999-03-17,1033\r\n";
    fs::write(setup.stored("bets.csv"), row.repeat(560_000)).unwrap();
    let script = "ulimit -S -f 69632 && exec \"$0\" run";
    let mut central = setup.start_by(&mut setup.shell(&[], script));
    // 25.2 MB are stored. Each batch has 2.3 MB of rows, so the fifth passes the limit of 34 MiB.
    let packet = |number: usize| large_packet(&format!("mark-of-the-batch-{number}"), 50_000, 0);
    for number in 0..4 {
        assert!(typed::decode_winners(&central.request(&packet(number))).unwrap().is_some());
    }
    fs::write(setup.stored("bets.csv"), "").unwrap();
    let mut agency = central.connect();
    agency.try_send(&packet(4));
    assert_eq!(agency.read_until_gone(), b"", "acknowledged and not stored");
    assert_eq!(central.program.exit_code(), 3, "{:?}", central.program.lines());
}

#[test]
fn a_batch_with_a_key_is_refused_for_now_and_stored_once_there_is_room() {
    let setup = setup("process").with("SERVER_PROTOCOL", "keyed");
    let (central, mut agency) = (setup.start(), KeyedAgency::new(1));
    let ask = |batch: &[u8]| {
        let mut connection = central.connect();
        connection.send(batch);
        connection.end_sending();
        connection.read_to_end()
    };
    let batch = agency.batch(1, "a");
    agency.assert_stored(&ask(&batch), "a");
    let next = agency.batch(2, "b");
    central.limit_files(&central.worker_pids(), "0");
    let refused = ask(&next);
    assert_eq!(agency.advice(&refused), Advice::Retry);
    agency.assert_stored(&ask(&batch), "a");
    central.limit_files(&central.worker_pids(), "unlimited");
    agency.assert_stored(&ask(&next), "b");
    assert_eq!(setup.rows().len(), 6);
}
