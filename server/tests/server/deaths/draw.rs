//! Processes are killed around the draw: agencies that wait or ask again get their winners, and the
//! draw is held once, over the same bets.

use std::fs;
use std::time::Duration;

use crate::harness::{
    AgencyConnection, CentralProcess, Participant, Random, Setup, StoppedProcess,
    WINNERS_BY_AGENCY, bets_with, count_draws, draw_dialects, eventually, eventually_within,
    is_alive, kill, large_packet, winners_reply,
};
use nix::sys::signal::Signal;

fn setup(protocol: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", protocol)
}

/// Runs `what` while all workers except that of this slot are stopped.
fn in_slot<T>(pids: &[u32], slot: usize, what: impl FnOnce() -> T) -> T {
    let others = pids.iter().enumerate().filter(|(other, _)| *other != slot);
    let _stopped: Vec<_> = others.map(|(_, pid)| StoppedProcess::new(*pid)).collect();
    what()
}

#[test]
fn agencies_of_a_killed_worker_ask_again_and_those_of_the_others_notice_nothing() {
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
                    agency.store(&bets_with(WINNERS_BY_AGENCY[usize::from(number) - 1]));
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
        central.until_waiting(2);
        for lost in &mut agencies[..2] {
            lost.reconnect();
            lost.finish();
        }
        central.until_waiting(4);
        assert_eq!(central.number("agencies_finished"), 4, "{dialect}: no agency counts twice");
        let mut last = Participant::connect(central.port, dialect, 5);
        last.store(&bets_with(WINNERS_BY_AGENCY[4]));
        last.finish();
        agencies.push(last);
        for (agency, documents) in agencies.iter_mut().zip(WINNERS_BY_AGENCY) {
            assert_eq!(agency.winners().1, winners_reply(dialect, documents), "{dialect}");
        }
        drop(agencies);
        assert_eq!(count_draws(&central.stop_and_read_log()), 1, "{dialect}");
    }
}

/// Rounds with each durability in which all processes are killed around the last notification.
const ROUNDS: usize = 15;
/// Longest time between the last notification and the kill; a small draw takes less.
const LONGEST: Duration = Duration::from_millis(1);

/// Connects five agencies that store their bets. The first four wait for the draw; the fifth is
/// returned apart.
fn before_the_last(central: &CentralProcess<'_>, dialect: &str) -> (Vec<Participant>, Participant) {
    let mut agencies: Vec<_> =
        (1..=5).map(|number| Participant::connect(central.port, dialect, number)).collect();
    for (agency, documents) in agencies.iter_mut().zip(WINNERS_BY_AGENCY) {
        agency.store(&bets_with(documents));
    }
    let last = agencies.pop().unwrap();
    agencies.iter_mut().for_each(Participant::finish);
    central.until_waiting(4);
    (agencies, last)
}

#[test]
fn a_kill_of_all_processes_around_the_last_notification_leads_to_a_correct_draw_after_the_restart()
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
        central.kill_all_with(&workers);
        agencies.push(last);
        for (agency, documents) in agencies.iter_mut().zip(WINNERS_BY_AGENCY) {
            let (whole, received) =
                (winners_reply(dialect, documents), agency.connection().read_until_gone());
            let is_part = whole.starts_with(&received);
            assert!(is_part, "{dialect}: {received:?} is not part of {whole:?}");
        }

        held += usize::from(setup.stored("draw.csv").exists());
        let central = setup.start();
        let repeats = if central.number("agencies_finished") == 5 {
            noted += 1;
            random.below(5)
        } else {
            // A notification without acknowledgement may be lost; then this agency must repeat it.
            assert_eq!((central.number("agencies_finished"), dialect != "framed"), (4, true));
            4
        };
        let documents = WINNERS_BY_AGENCY[repeats as usize];
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
fn an_acknowledged_notification_survives_a_kill_of_all_processes() {
    for durability in ["process", "disk"] {
        let setup = setup("framed").with("SERVER_DURABILITY", durability);
        let central = setup.start();
        let workers = central.worker_pids();
        for (number, documents) in (1..).zip(WINNERS_BY_AGENCY) {
            let mut agency = Participant::connect(central.port, "framed", number);
            agency.store(&bets_with(documents));
            agency.try_notify().unwrap();
        }
        central.kill_all_with(&workers);
        let central = setup.start();
        for (number, documents) in (1..).zip(WINNERS_BY_AGENCY) {
            let mut agency = Participant::connect(central.port, "framed", number);
            agency.ask();
            assert_eq!(agency.winners().1, winners_reply("framed", documents), "{durability}");
        }
        assert_eq!(central.number("agencies_finished"), 5, "{durability}");
    }
}

/// Bets whose draw takes several tenths of a second.
const MANY: u32 = 150_000;
/// Distance between two winning bets.
const STEP: u32 = 50_000;

/// Returns the setup of a central with many stored bets of agency 1, whose notification starts the
/// draw.
fn before_a_long_draw(protocol: &str) -> Setup {
    let setup = setup(protocol).with("SERVER_AGENCIES", "1").with("SERVER_GRACE", "12s");
    fs::create_dir(setup.stored("")).unwrap();
    let number = |bet: u32| if bet.is_multiple_of(STEP) { 7574 } else { 1033 };
    let row = |bet| format!("1,Santiago Lionel,Lorca,{bet},1999-03-17,{}\r\n", number(bet));
    fs::write(setup.stored("bets.csv"), (0..MANY).map(row).collect::<String>()).unwrap();
    setup
}

/// Starts a central whose draw has to read all bets.
fn start_before_a_long_draw(setup: &Setup) -> CentralProcess<'_> {
    let central = setup.start();
    setup.spoil_index();
    central
}

/// Waits until a worker holds the draw and returns its slot.
fn owner(central: &CentralProcess<'_>) -> usize {
    let segment = central.segment();
    let (owner, drawn) = (
        segment.raw_value::<u32>("draw_owner").unwrap(),
        segment.raw_value::<u8>("drawn").unwrap(),
    );
    let owner = eventually("a worker holds the draw", || owner.load(), |owner| *owner != 0);
    assert_eq!(drawn.load(), 0, "the draw was too short to be observed");
    owner as usize - 1
}

/// Asserts that agency 1 gets the right winners, asking until there is an answer.
fn assert_answered(central: &CentralProcess<'_>) {
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
fn another_worker_holds_the_draw_when_its_owner_is_killed() {
    let setup = before_a_long_draw("framed");
    let central = start_before_a_long_draw(&setup);
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.try_notify().unwrap();
    for _ in 0..2 {
        let slot = owner(&central);
        let pid = central.worker_pids()[slot];
        assert!(kill(pid, Signal::SIGKILL));
        central.replaced_within_a_second(slot, pid);
    }
    assert_answered(&central);
    assert_eq!(central.number("worker_deaths"), 2);
    drop(agency);
    assert_eq!(count_draws(&central.stop_and_read_log()), 1);
}

#[test]
fn a_worker_that_receives_sigterm_during_the_draw_gives_it_up_to_another_at_once() {
    let setup = before_a_long_draw("framed:0,typed:0");
    let central = start_before_a_long_draw(&setup);
    let (pids, typed) = (central.worker_pids(), central.port_of("typed"));
    let processing = central.segment().raw_array::<u16>("in_flight").unwrap();
    // Each worker has a client that prevents its end for most of the grace period.
    let half = large_packet("half", 10, 0);
    let _slow = [0, 1].map(|slot| {
        in_slot(&pids, slot, || {
            let mut client = AgencyConnection::open(typed);
            client.send(&half[..20]);
            eventually("a batch in flight", || processing.load(slot), |count| *count == 1);
            client
        })
    });
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.try_notify().unwrap();
    let pid = pids[owner(&central)];

    kill(pid, Signal::SIGTERM);

    let drawn = || count_draws(&central.program.lines());
    eventually_within(Duration::from_secs(8), "the draw", drawn, |draws| *draws == 1);
    assert!(is_alive(pid), "its client still keeps it alive");
    assert_answered(&central);
}
