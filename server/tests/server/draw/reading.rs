//! What workers read of the files for a draw and for an answer after it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use super::large_answers::{self, QUERY_1, QUERY_2, answer, ask, hold_draw};
use super::winners::{AGENCIES, setup};
use crate::harness::{AgencyConnection, Participant, Setup, bytes_read, winners_reply};

#[test]
fn a_failed_answer_of_which_no_client_learns_does_not_fail_the_next_query() {
    const WINNERS: usize = 20_000;
    let setup = large_answers::setup(&[WINNERS]);
    let central = setup.start();
    hold_draw(&central);
    // The worker has opened the result from here on.
    assert_eq!(ask(&central, QUERY_2, 9), b"WINNERS|\n");
    let path = setup.stored("draw.csv");
    let (bytes, file) = (fs::read(&path).unwrap(), fs::File::options().write(true).open(&path));
    let (end, file) = (bytes.len() - 600_000, file.unwrap());
    file.write_all_at(&[b'x'; 600_000], end as u64).unwrap();
    let (port, stop) = (central.port, AtomicBool::new(false));
    scope(|scope| {
        // While other requests are served, the answer is built slowly.
        scope.spawn(|| {
            let mut other = AgencyConnection::open(port);
            while !stop.load(Ordering::SeqCst) {
                other.send(QUERY_2);
                other.read_bytes(9);
            }
        });
        let mut leaving = central.connect();
        leaving.send(QUERY_1);
        central.until_waiting(1);
        leaving.reset();
        central.until_waiting(0);
        stop.store(true, Ordering::SeqCst);
    });
    // The worker reads the part that is damaged.
    sleep(Duration::from_secs(2));
    file.write_all_at(&bytes[end..], end as u64).unwrap();
    let expected = answer(WINNERS);
    assert!(ask(&central, QUERY_1, expected.len()) == expected);
}

/// Bets in the draw below, several megabytes of agencies 1 to 5.
const BETS: usize = 60_000;

/// Holds a draw over [`BETS`] bets, 30 of which win. Returns the bytes that the workers read for it
/// and those of the bets.
fn read_by_a_draw(spoil: impl Fn(&Setup)) -> (u64, u64) {
    let setup = setup("sentinel");
    let row = |bet: usize| {
        let (agency, number) = (bet % 5 + 1, if bet % 10_000 < 5 { 7574 } else { 1033 });
        format!("{agency},Santiago Lionel,Lorca,{bet},1999-03-17,{number}\r\n")
    };
    setup.store_before(&(0..BETS).map(row).collect::<String>());
    let central = setup.start();
    spoil(&setup);
    let read = || central.worker_pids().into_iter().map(bytes_read).sum::<u64>();
    let mut agencies: Vec<_> = (1..=AGENCIES)
        .map(|number| Participant::connect(central.port, "sentinel", number))
        .collect();
    let before = read();
    agencies.iter_mut().for_each(Participant::finish);
    for (number, agency) in (0..).zip(&mut agencies) {
        let documents: Vec<u32> =
            (0..BETS as u32).step_by(10_000).map(|first| first + number).collect();
        assert_eq!(
            agency.winners().1,
            winners_reply("sentinel", &documents),
            "agency {}",
            number + 1
        );
    }
    let read = read() - before;
    setup.assert_indexed();
    let log = central.stop_and_read_log();
    let fell_back = log.iter().any(|line| line.contains("file: winners.idx | reason: "));
    let size = setup.read_stored("bets.csv").len() as u64;
    assert_eq!(fell_back, read >= size, "{log:#?}");
    (read, size)
}

#[test]
fn a_draw_reads_the_rows_of_the_winners_and_not_all_bets() {
    let (read, size) = read_by_a_draw(|_| ());
    assert!(read < size / 10, "{read} bytes read for {size} bytes of bets");
}

#[test]
fn without_its_index_a_draw_reads_the_bets_once_whatever_the_number_of_agencies() {
    let (read, size) = read_by_a_draw(Setup::spoil_index);
    assert!((size..size + size / 5).contains(&read), "{read} bytes read for {size} bytes of bets");
}
