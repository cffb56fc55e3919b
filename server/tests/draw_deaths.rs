//! Processes are killed around the draw: agencies that wait or ask again get their winners, and the draw is held once, over the same
//! bets.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::Duration;

use harness::{
    Central, FIVE, Participant, Random, Setup, Stopped, bets_with, draw_dialects, draws,
    eventually, eventually_within, kill, large_packet, winners_reply,
};
use nix::sys::signal::Signal;

fn setup(protocol: &str) -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_server")).with("SERVER_PROTOCOL", protocol)
}

/// Does something while only the worker of this slot runs.
fn in_slot<T>(pids: &[u32], slot: usize, what: impl FnOnce() -> T) -> T {
    let others = pids.iter().enumerate().filter(|(other, _)| *other != slot);
    let _stopped: Vec<_> = others.map(|(_, pid)| Stopped::new(*pid)).collect();
    what()
}

#[test]
fn a_worker_killed_while_agencies_wait_costs_its_own_a_second_question_and_the_others_nothing() {
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        let pids = central.worker_pids();
        let waiting = central.segment().raw_array::<u32>("worker_waiting").unwrap();
        let mut agencies: Vec<_> = (1..=4)
            .map(|number| {
                let slot = usize::from(number > 2);
                in_slot(&pids, slot, || {
                    let mut agency = Participant::connect(central.port, dialect, number);
                    agency.store(&bets_with(FIVE[usize::from(number) - 1]));
                    agency.finish();
                    let place = if number % 2 == 0 { 2 } else { 1 };
                    eventually("it waits", || waiting.load(slot), |count| *count == place);
                    agency
                })
            })
            .collect();

        kill(pids[0], Signal::SIGKILL);

        for lost in &mut agencies[..2] {
            assert!(lost.connection().read_until_gone().is_empty(), "{dialect}");
        }
        central.replaced_within_a_second(0, pids[0]);
        central.agencies_wait(2);
        for lost in &mut agencies[..2] {
            lost.reconnect();
            lost.finish();
        }
        central.agencies_wait(4);
        assert_eq!(central.number("agencies_finished"), 4, "{dialect}: nobody is counted twice");
        let mut last = Participant::connect(central.port, dialect, 5);
        last.store(&bets_with(FIVE[4]));
        last.finish();
        agencies.push(last);
        for (agency, documents) in agencies.iter_mut().zip(FIVE) {
            assert_eq!(agency.winners().1, winners_reply(dialect, documents), "{dialect}");
        }
        drop(agencies);
        assert_eq!(draws(&central.stop_and_read_log()), 1, "{dialect}");
    }
}

/// Rounds in which everybody is killed around the last notification, with each durability.
const ROUNDS: usize = 15;
/// Longest time between the last notification and the kill. A small draw takes less.
const LONGEST: Duration = Duration::from_millis(1);

/// Agencies 1 to 4 wait and the fifth has its bets stored.
fn before_the_last(central: &Central<'_>, dialect: &str) -> (Vec<Participant>, Participant) {
    let mut agencies: Vec<_> =
        (1..=5).map(|number| Participant::connect(central.port, dialect, number)).collect();
    for (agency, documents) in agencies.iter_mut().zip(FIVE) {
        agency.store(&bets_with(documents));
    }
    let last = agencies.pop().unwrap();
    agencies.iter_mut().for_each(Participant::finish);
    central.agencies_wait(4);
    (agencies, last)
}

#[test]
fn everybody_killed_around_the_last_notification_leaves_a_draw_that_is_held_right_after_the_restart()
 {
    let mut random = Random::seeded();
    let (mut noted, mut held) = (0, 0);
    for round in 0..2 * ROUNDS {
        let dialect = random.pick(&draw_dialects());
        let durability = if round % 2 == 0 { "process" } else { "disk" };
        let setup = setup(dialect).with("SERVER_DURABILITY", durability);
        let central = setup.start();
        let workers = central.worker_pids();
        let (mut agencies, mut last) = before_the_last(&central, dialect);
        last.try_finish().unwrap();
        random.pause(LONGEST);
        central.kill_with(&workers);
        agencies.push(last);
        for (agency, documents) in agencies.iter_mut().zip(FIVE) {
            let (whole, heard) =
                (winners_reply(dialect, documents), agency.connection().read_until_gone());
            assert!(whole.starts_with(&heard), "{dialect}: {heard:?} is no part of {whole:?}");
        }

        held += usize::from(setup.stored("draw.csv").exists());
        let central = setup.start();
        let repeats = if central.number("agencies_finished") == 5 {
            noted += 1;
            random.below(5)
        } else {
            // Not acknowledged, so it need not be noted; then it is the one that has to come back.
            assert_eq!((central.number("agencies_finished"), dialect != "framed"), (4, true));
            4
        };
        let documents = FIVE[repeats as usize];
        let mut agency = Participant::connect(central.port, dialect, repeats as u16 + 1);
        agency.finish();
        assert_eq!(
            agency.winners().1,
            winners_reply(dialect, documents),
            "{dialect}, {durability}"
        );
    }
    println!("of {} last notifications {noted} were noted and {held} had their draw", 2 * ROUNDS);
}

#[test]
fn an_acknowledged_notification_survives_a_kill_of_everybody_and_need_not_be_repeated() {
    for durability in ["process", "disk"] {
        let setup = setup("framed").with("SERVER_DURABILITY", durability);
        let central = setup.start();
        let workers = central.worker_pids();
        for (number, documents) in (1..).zip(FIVE) {
            let mut agency = Participant::connect(central.port, "framed", number);
            agency.store(&bets_with(documents));
            agency.try_notify().unwrap();
        }
        central.kill_with(&workers);
        let central = setup.start();
        for (number, documents) in (1..).zip(FIVE) {
            let mut agency = Participant::connect(central.port, "framed", number);
            agency.ask();
            assert_eq!(agency.winners().1, winners_reply("framed", documents), "{durability}");
        }
        assert_eq!(central.number("agencies_finished"), 5, "{durability}");
    }
}

/// Bets whose draw takes some tenths of a second.
const MANY: u32 = 150_000;
/// Every so manieth of them wins.
const STEP: u32 = 50_000;

/// A central with many bets of agency 1, for whose draw nothing but its notification is missing.
fn before_a_long_draw(protocol: &str) -> Setup {
    let setup = setup(protocol).with("SERVER_AGENCIES", "1").with("SERVER_GRACE", "12s");
    fs::create_dir(setup.stored("")).unwrap();
    let number = |bet: u32| if bet.is_multiple_of(STEP) { 7574 } else { 1033 };
    let row = |bet| format!("1,Santiago Lionel,Lorca,{bet},1999-03-17,{}\r\n", number(bet));
    fs::write(setup.stored("bets.csv"), (0..MANY).map(row).collect::<String>()).unwrap();
    setup
}

/// The slot of the worker that makes the draw, as soon as there is one.
fn owner(central: &Central<'_>) -> usize {
    let segment = central.segment();
    let (owner, drawn) = (
        segment.raw_value::<u32>("draw_owner").unwrap(),
        segment.raw_value::<u8>("drawn").unwrap(),
    );
    let owner = eventually("somebody makes the draw", || owner.load(), |owner| *owner != 0);
    assert_eq!(drawn.load(), 0, "it was over too soon");
    owner as usize - 1
}

/// Agency 1 asks until it is answered.
fn asks_until_answered(central: &Central<'_>) {
    let documents: Vec<_> = (0..MANY).step_by(STEP as usize).collect();
    let answer = || {
        let mut agency = Participant::try_connect(central.port, "framed", 1).ok()?;
        agency.try_finish().ok()?;
        agency.try_winners().ok()
    };
    let (_, bytes) = eventually("an answer", answer, Option::is_some).unwrap();
    assert_eq!(bytes, winners_reply("framed", &documents));
}

#[test]
fn the_worker_that_makes_the_draw_is_killed_and_another_makes_it() {
    let setup = before_a_long_draw("framed");
    let central = setup.start();
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.try_notify().unwrap();
    for _ in 0..2 {
        let slot = owner(&central);
        let pid = central.worker_pids()[slot];
        assert!(kill(pid, Signal::SIGKILL));
        central.replaced_within_a_second(slot, pid);
    }
    asks_until_answered(&central);
    assert_eq!(central.number("worker_deaths"), 2);
    drop(agency);
    assert_eq!(draws(&central.stop_and_read_log()), 1);
}

#[test]
fn a_worker_that_is_asked_to_end_while_it_makes_the_draw_leaves_it_to_another_at_once() {
    let setup = before_a_long_draw("framed:0,typed:0");
    let central = setup.start();
    let (pids, typed) = (central.worker_pids(), central.port_of("typed"));
    let processing = central.segment().raw_array::<u16>("in_flight").unwrap();
    // Each worker has a client that keeps it from ending for most of the grace.
    let half = large_packet("half", 10, 0);
    let _slow = [0, 1].map(|slot| {
        in_slot(&pids, slot, || {
            let mut client = harness::Agency::connect(typed);
            client.send(&half[..20]);
            eventually("it has begun", || processing.load(slot), |count| *count == 1);
            client
        })
    });
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.try_notify().unwrap();
    let pid = pids[owner(&central)];

    kill(pid, Signal::SIGTERM);

    let drawn = || draws(&central.program.lines());
    eventually_within(Duration::from_secs(8), "the draw", drawn, |draws| *draws == 1);
    assert!(harness::is_alive(pid), "it still has its client");
    asks_until_answered(&central);
}
