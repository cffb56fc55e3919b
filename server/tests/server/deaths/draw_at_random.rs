//! Workers are killed at random moments during a complete run of agencies that retry. In the end
//! each agency receives the winners among its stored bets, and every acknowledged bet is stored.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::scope;
use std::time::Duration;

use crate::harness::{
    CentralProcess, Participant, Random, Setup, count_draws, draw_dialects, eventually, in_rounds,
    kill, numbered_bet, receipt, winners_reply,
};
use lottery::protocol::Dialect;
use nix::sys::signal::Signal;

const WORKERS: usize = 3;
/// Batches per agency.
const BATCHES: u32 = 30;
/// Bets per batch, the first of which wins.
const BETS: u32 = 20;
/// Longest time between two kills.
const PEACE: Duration = Duration::from_millis(8);
/// Longest pause of an agency between two requests, so that the run lasts for many kills.
const PAUSE: Duration = Duration::from_millis(15);

/// Counts an agency as running until it ends, also by a panic.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Retries until an attempt succeeds: each killed worker breaks its connections.
fn until_done<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let attempts = std::iter::repeat_with(&mut attempt);
    attempts.take(10_000).find_map(|done| done).expect("not done in 10,000 attempts")
}

/// Returns the winning documents of an agency.
fn documents(number: u16) -> impl Iterator<Item = u32> {
    (0..BATCHES).map(move |batch| u32::from(number) * 1_000_000 + batch * BETS)
}

/// Retries each batch until it is acknowledged and the query until it is answered, each attempt on
/// a new connection. Returns the answer.
fn take_part(port: u16, dialect: &str, number: u16, mut random: Random) -> Vec<u8> {
    let mut agency = until_done(|| Participant::try_connect(port, dialect, number).ok());
    for first in documents(number) {
        let bets: Vec<_> =
            (first..first + BETS).map(|bet| numbered_bet(bet, bet == first)).collect();
        random.pause(PAUSE);
        let stored = until_done(|| {
            agency.try_reconnect().ok()?;
            agency.try_store(&bets).ok()
        });
        assert_eq!(stored, receipt(dialect, 1), "{dialect}");
    }
    until_done(|| {
        agency.try_reconnect().ok()?;
        agency.try_finish().ok()?;
        agency.try_winners().ok()
    })
    .1
}

/// Kills one worker after the other until all agencies have ended. Returns the number of kills.
fn kill_workers(central: &CentralProcess<'_>, mut random: Random, running: &AtomicUsize) -> u64 {
    let segment = central.segment();
    let pids = segment.raw_array::<u32>("worker_pid").unwrap();
    let restarts = segment.raw_array::<u32>("worker_restarts").unwrap();
    let mut killed = 0;
    while running.load(Ordering::SeqCst) > 0 {
        random.pause(PEACE);
        let slot = random.below(WORKERS as u64) as usize;
        let before = restarts.load(slot);
        kill(pids.load(slot), Signal::SIGKILL);
        // A worker that was killed before it was ready is replaced after a pause.
        eventually("a successor", || restarts.load(slot), |now| *now == before + 1);
        killed += 1;
    }
    killed
}

/// Lets one agency per dialect take part while workers are killed.
fn run_with_kills(durability: &str, random: &mut Random) {
    let dialects = draw_dialects();
    let list: Vec<_> = dialects.iter().map(|dialect| format!("{dialect}:0")).collect();
    let setup = Setup::new()
        .with("SERVER_PROTOCOL", &list.join(","))
        .with("SERVER_AGENCIES", &dialects.len().to_string())
        .with("SERVER_WORKERS", &WORKERS.to_string())
        .with("SERVER_DURABILITY", durability);
    let central = setup.start();
    let running = AtomicUsize::new(dialects.len());
    let (answers, killed) = scope(|scope| {
        let agencies: Vec<_> = (1..)
            .zip(&dialects)
            .map(|(number, dialect)| {
                let (port, random) = (central.port_of(dialect), random.split());
                let running = Running(&running);
                scope.spawn(move || {
                    let _running = running;
                    take_part(port, dialect, number, random)
                })
            })
            .collect();
        let killed = kill_workers(&central, random.split(), &running);
        (agencies.into_iter().map(|agency| agency.join().unwrap()).collect::<Vec<_>>(), killed)
    });
    println!("{killed} workers killed, durability {durability}");
    assert!(killed > 10, "the agencies ended before the kills: {killed}");

    let rows = setup.rows();
    for ((number, dialect), answer) in (1_u16..).zip(&dialects).zip(answers) {
        let own = rows.iter().filter_map(|row| row.strip_prefix(&format!("{number},")));
        let own: Vec<_> = own.map(|row| row.split(',').collect::<Vec<_>>()).collect();
        let document = |row: &Vec<&str>| row[2].parse::<u32>().unwrap();
        let stored: BTreeSet<_> = own.iter().map(document).collect();
        let sent = documents(number).flat_map(|first| first..first + BETS).collect();
        assert_eq!(stored, sent, "{dialect}: exactly the acknowledged bets are stored");
        if Dialect::named(dialect).unwrap().has_keys {
            assert_eq!(own.len(), stored.len(), "{dialect}: each bet once");
        }
        let won: Vec<_> = own.iter().filter(|row| row[4] == "7574").map(document).collect();
        assert_eq!(answer, winners_reply(dialect, &won), "{dialect}, {durability}");
        assert_eq!(won.iter().copied().collect::<BTreeSet<_>>(), documents(number).collect());
    }
    central.until_waiting(0);
    central.none_in_flight_within_a_second();
    assert_eq!(central.number("worker_deaths"), killed);
    // A worker killed right after it has logged the draw leaves no mark of the line, so another
    // repeats it.
    assert!(count_draws(&central.stop_and_read_log()) >= 1);
}

#[test]
fn agencies_that_retry_get_the_right_winners_whichever_workers_are_killed() {
    in_rounds(1, |random| run_with_kills("process", random));
}

#[test]
fn agencies_that_retry_get_the_right_winners_whichever_workers_are_killed_with_durability_disk() {
    in_rounds(1, |random| run_with_kills("disk", random));
}
