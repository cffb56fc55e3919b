//! A reload (SIGHUP): new workers with new settings take over, and no connection is closed.

use std::fs;
use std::sync::Arc;

use crate::harness::{
    BatchRecord, CentralProcess, Load, Participant, Random, Setup, StoppedProcess,
    WINNERS_BY_AGENCY, bet, bets_with, codec, draw_dialects, eventually, kill, packet_in,
    packet_of, winners_reply,
};
use nix::sys::signal::Signal;

/// Writes the file that the central reads at each reload.
fn write(setup: &Setup, lines: &str) {
    fs::write(setup.directory().join("config.ini"), format!("[DEFAULT]\n{lines}\n")).unwrap();
}

/// Returns a setup in which the environment does not set `keys`, so that the file does.
fn setup_without(keys: &[&str]) -> Setup {
    let empty = |setup: Setup, key: &&str| setup.with(key, "");
    keys.iter().fold(Setup::new().with("SERVER_GRACE", "20s"), empty)
}

/// Reloads, and waits until the new workers of this generation have taken over.
fn reload(central: &CentralProcess<'_>, generation: u64) {
    central.program.signal(Signal::SIGHUP);
    let done = format!("action: reload | result: success | generation: {generation}");
    central.program.line_with(&done);
    assert_eq!(central.number("generation"), generation);
}

/// Returns the states of the slots.
fn states(central: &CentralProcess<'_>) -> Vec<String> {
    let status = central.status();
    let workers = status["workers"].as_array().unwrap().iter();
    workers.map(|worker| worker["state"].as_str().unwrap().to_owned()).collect()
}

fn until_states(central: &CentralProcess<'_>, expected: &[&str]) {
    eventually("these states", || states(central), |states| *states == expected);
}

/// Connects an agency that keeps its connection, and stores a bet.
fn stored(central: &CentralProcess<'_>, number: u16) -> Participant {
    let mut agency = Participant::connect(central.port, "framed", number);
    agency.store(&[bet("a", true)]);
    agency
}

#[test]
fn a_reload_replaces_the_workers_and_applies_the_settings_of_the_file() {
    let setup = setup_without(&["SERVER_WORKERS", "LOGGING_LEVEL"]);
    write(&setup, "SERVER_WORKERS = 2\nLOGGING_LEVEL = DEBUG");
    let central = setup.start();
    let old = central.worker_pids();
    write(&setup, "SERVER_WORKERS = 3\nLOGGING_LEVEL = INFO\nSERVER_AGENCIES = 7");
    reload(&central, 2);
    let line = central.program.line_with("action: reload | result: in_progress");
    assert!(line.ends_with("workers: 3 | changed: LOGGING_LEVEL SERVER_AGENCIES SERVER_WORKERS"));
    until_states(&central, &["free", "free", "ready", "ready", "ready"]);
    assert!(central.worker_pids()[2..].iter().all(|pid| !old.contains(pid)));
    assert_eq!(central.number("agencies_expected"), 7);
    assert_eq!(setup.run(&["health", "--port", &central.port.to_string()]).status.code(), Some(0));
    let before = central.program.count_lines_with(" DEBUG ");
    assert!(central.request(&packet_of("a", 10, 4)).len() > 2);
    assert_eq!(central.program.count_lines_with(" DEBUG "), before, "the new level applies");
    assert_eq!(central.number("worker_deaths"), 0);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_file_that_is_not_valid_changes_nothing_and_the_log_says_why() {
    let setup = setup_without(&["SERVER_GRACE"]);
    write(&setup, "SERVER_GRACE = 20s");
    let central = setup.start();
    let pids = central.worker_pids();
    for (file, reason) in [
        ("SERVER_GRACE = soon", "SERVER_GRACE = \"soon\" (config.ini:2) is not accepted"),
        ("SERVER_GRACES = 1s", "did you mean SERVER_GRACE?"),
        ("[OTHER]", "the unknown section [OTHER]"),
    ] {
        write(&setup, file);
        central.program.signal(Signal::SIGHUP);
        let line = central.program.line_with(reason);
        assert!(line.contains("ERROR    action: reload | result: fail | error: "), "{line}");
    }
    assert_eq!(central.program.count_lines_with("action: reload"), 3, "one line each");
    write(&setup, "SERVER_GRACE = 10s");
    assert_eq!((central.worker_pids(), central.number("generation")), (pids, 1));
    // The next valid file applies.
    reload(&central, 2);
}

#[test]
fn settings_that_need_a_restart_keep_their_values_and_are_named_at_each_reload() {
    let setup = setup_without(&["SERVER_PROTOCOL"]);
    let central = setup.start();
    write(&setup, "SERVER_PROTOCOL = framed\nSERVER_STORAGE_DIR = other\nSERVER_AGENCIES = 7");
    for generation in 2..4 {
        reload(&central, generation);
        let named = || {
            let line = "settings: SERVER_PROTOCOL SERVER_STORAGE_DIR | error: these apply only at";
            central.program.count_lines_with(line) as u64
        };
        eventually("the named settings", named, |named| *named == generation - 1);
    }
    assert!(central.request(&packet_of("a", 10, 4)).len() > 2, "still typed");
    assert_eq!(setup.rows().len(), 10);
    assert_eq!(central.program.count_lines_with("changed: SERVER_AGENCIES"), 1);
    assert_eq!(central.program.count_lines_with("changed: nothing"), 1);
}

#[test]
fn kept_connections_are_served_by_their_old_worker_until_they_end() {
    let setup = setup_without(&[]).with("SERVER_PROTOCOL", "framed").with("SERVER_WORKERS", "1");
    let central = setup.start();
    let mut idle = stored(&central, 1);
    let mut begun = central.connect();
    let packet = packet_in(&mut *codec("framed", 1), &[bet("a", true)]);
    begun.send(&packet[..5]);
    eventually("in flight", || central.number("agencies_in_flight"), |count| *count == 1);
    reload(&central, 2);
    until_states(&central, &["retiring", "ready"]);
    begun.send(&packet[5..]);
    begun.read_bytes(1);
    (0..5).for_each(|_| _ = idle.store(&[bet("b", true)]));
    let _new = stored(&central, 2);
    assert_eq!(central.worker_numbers("connections"), [2, 1]);
    assert_eq!(setup.rows().len(), 8);
    drop((idle, begun));
    until_states(&central, &["free", "ready"]);
    central.program.line_with("worker: 0 | pid: ");
    assert_eq!(central.number("worker_deaths"), 0);
    assert_eq!(central.number("agencies_in_flight"), 0);
}

#[test]
fn agencies_that_wait_for_the_draw_in_an_old_worker_are_answered_after_it() {
    for dialect in draw_dialects() {
        let setup = setup_without(&[]).with("SERVER_PROTOCOL", dialect);
        let setup = setup.with("SERVER_AGENCIES", "3").with("SERVER_WORKERS", "1");
        let central = setup.start();
        let mut agencies: Vec<_> = Vec::new();
        for (number, documents) in (1..=3).zip(WINNERS_BY_AGENCY) {
            let mut agency = Participant::connect(central.port, dialect, number);
            agency.store(&bets_with(documents));
            agency.finish();
            agencies.push(agency);
            if number < 3 {
                central.until_waiting(number.into());
                // Each agency waits in a worker of another generation.
                reload(&central, u64::from(number) + 1);
            }
        }
        for (agency, documents) in agencies.iter_mut().zip(WINNERS_BY_AGENCY) {
            assert_eq!(agency.winners().1, winners_reply(dialect, documents), "{dialect}");
        }
        drop(agencies);
        until_states(&central, &["free", "free", "ready"]);
        assert_eq!(central.number("worker_deaths"), 0);
    }
}

#[test]
fn an_old_worker_holds_the_draw_if_the_last_agency_finishes_there() {
    let setup = setup_without(&[]).with("SERVER_PROTOCOL", "framed");
    let setup = setup.with("SERVER_AGENCIES", "1").with("SERVER_WORKERS", "1");
    let central = setup.start();
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.store(&bets_with(WINNERS_BY_AGENCY[0]));
    reload(&central, 2);
    until_states(&central, &["retiring", "ready"]);
    agency.finish();
    assert_eq!(agency.winners().1, winners_reply("framed", WINNERS_BY_AGENCY[0]));
    assert_eq!(central.number("worker_deaths"), 0);
}

#[test]
fn a_reload_may_lower_the_number_of_agencies_so_that_the_draw_is_due() {
    let setup = setup_without(&["SERVER_AGENCIES"]).with("SERVER_PROTOCOL", "framed");
    write(&setup, "SERVER_AGENCIES = 2");
    let central = setup.start();
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.store(&bets_with(WINNERS_BY_AGENCY[0]));
    agency.finish();
    central.until_waiting(1);
    write(&setup, "SERVER_AGENCIES = 1");
    reload(&central, 2);
    assert_eq!(agency.winners().1, winners_reply("framed", WINNERS_BY_AGENCY[0]));
    // Bets are closed, and more agencies cannot open them again.
    write(&setup, "SERVER_AGENCIES = 3");
    reload(&central, 3);
    central.program.line_with("settings: SERVER_AGENCIES | error: bets are closed");
    assert_eq!(central.number("agencies_expected"), 1);
}

#[test]
fn a_killed_old_worker_is_repaired_and_not_replaced() {
    let setup = setup_without(&[]).with("SERVER_WORKERS", "1");
    let central = setup.start();
    let packet = packet_of("a", 10, 4);
    let mut half = central.connect();
    half.send(&packet[..100]);
    eventually("in flight", || central.number("agencies_in_flight"), |count| *count == 1);
    let old = central.worker_pids()[0];
    reload(&central, 2);
    until_states(&central, &["retiring", "ready"]);
    kill(old, Signal::SIGKILL);
    central.program.line_with("next: none, newer workers have replaced it");
    until_states(&central, &["free", "ready"]);
    central.none_in_flight_within_a_second();
    assert!(half.read_until_gone().is_empty());
    assert_eq!(central.number("worker_deaths"), 1);
    assert!(central.request(&packet).len() > 2);
    reload(&central, 3);
}

#[test]
fn a_slot_whose_worker_is_dead_and_not_replaced_yet_is_free_after_a_reload() {
    let setup = setup_without(&[]).with("SERVER_WORKERS", "1");
    let central = setup.start();
    // The next reload takes slot 0 and leaves slot 1.
    reload(&central, 2);
    // A worker that is asked to end does not count as crashed, but as dead early.
    let longest = "next: start a replacement in 800ms";
    while central.program.count_lines_with(longest) == 0 {
        until_states(&central, &["free", "ready"]);
        let deaths = central.number("worker_deaths");
        kill(central.worker_pids()[1], Signal::SIGTERM);
        eventually("a death", || central.number("worker_deaths"), |now| *now > deaths);
    }
    reload(&central, 3);
    central.program.line_with("worker: 1 | reason: newer workers have replaced the dead one");
    until_states(&central, &["ready", "free"]);
    assert_eq!(central.worker_pids()[1], 0);
}

#[test]
fn a_reload_does_not_shorten_the_grace_of_old_workers() {
    let setup = setup_without(&["SERVER_GRACE"]).with("SERVER_WORKERS", "1");
    write(&setup, "SERVER_GRACE = 20s");
    let mut central = setup.start();
    let packet = packet_of("a", 10, 4);
    let mut agency = central.connect();
    agency.send(&packet[..100]);
    eventually("in flight", || central.number("agencies_in_flight"), |count| *count == 1);
    write(&setup, "SERVER_GRACE = 100ms");
    reload(&central, 2);
    until_states(&central, &["retiring", "ready"]);
    let _new = StoppedProcess::new(central.worker_pids()[1]);
    central.program.signal(Signal::SIGTERM);
    central.program.line_with("action: shutdown | result: in_progress | killed_workers: 1");
    agency.send(&packet[100..]);
    assert!(agency.read_to_end().len() > 2, "answered");
    assert_eq!(central.program.exit_code(), 0);
    assert_eq!(setup.rows().len(), 10);
}

#[test]
fn a_reload_without_enough_free_slots_is_refused_until_old_workers_have_finished() {
    let setup = setup_without(&[]).with("SERVER_PROTOCOL", "framed").with("SERVER_WORKERS", "1");
    let central = setup.start();
    // There are 8 slots for one worker. Each generation keeps a connection.
    let mut kept = Vec::new();
    for generation in 2..=8 {
        kept.push(stored(&central, 1));
        reload(&central, generation);
    }
    central.program.signal(Signal::SIGHUP);
    let line = central.program.line_with("action: signal | result: fail | signal: SIGHUP");
    assert!(line.contains("1 new workers need a slot each, and 0 of 8 slots are free"), "{line}");
    kept.iter_mut().for_each(|agency| _ = agency.store(&[bet("b", false)]));
    drop(kept.remove(0));
    eventually("a free slot", || states(&central)[0] == "free", |free| *free);
    reload(&central, 9);
    assert_eq!(central.number("worker_deaths"), 0);
}

#[test]
fn a_stop_during_a_reload_drains_old_and_new_workers() {
    let setup = setup_without(&[]).with("SERVER_WORKERS", "1");
    let mut central = setup.start();
    let packet = packet_of("a", 10, 4);
    let begin = |central: &CentralProcess<'_>, number: u64| {
        let mut agency = central.connect();
        agency.send(&packet[..100]);
        let in_flight = || central.number("agencies_in_flight");
        eventually("in flight", in_flight, |count| *count == number);
        agency
    };
    let mut old = begin(&central, 1);
    reload(&central, 2);
    until_states(&central, &["retiring", "ready"]);
    let mut new = begin(&central, 2);
    central.program.signal(Signal::SIGTERM);
    until_states(&central, &["draining", "draining"]);
    for agency in [&mut old, &mut new] {
        agency.send(&packet[100..]);
        assert!(agency.read_to_end().len() > 2, "answered");
    }
    assert_eq!(central.program.exit_code(), 0);
    assert_eq!(setup.rows().len(), 20);
    setup.assert_nothing_left(central.port);
}

#[test]
fn reloads_under_load_lose_and_refuse_nothing() {
    for durability in ["process", "disk"] {
        let mut setup = Setup::new().with("SERVER_DURABILITY", durability);
        let port = setup.keep_port();
        let central = setup.start();
        let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
        let load = Load::start(4, port, &record, &mut random);
        for generation in 2..12 {
            let before = record.acknowledged();
            eventually("acknowledged batches", || record.acknowledged(), |now| *now > before + 5);
            reload(&central, generation);
        }
        load.stop();
        record.check(&setup, &central);
        assert_eq!(central.program.count_lines_with("ERROR"), 0);
        assert_eq!(central.number("worker_deaths"), 0);
        assert_eq!(central.stop().0, 0);
        setup.assert_nothing_left(port);
    }
}

#[test]
fn sigttin_and_sigttou_change_the_number_of_workers_by_one_and_cut_no_connection() {
    let setup = setup_without(&[]).with("SERVER_PROTOCOL", "framed").with("SERVER_WORKERS", "1");
    let central = setup.start();
    let health = || setup.run(&["health", "--port", &central.port.to_string()]).status.code();
    central.program.signal(Signal::SIGTTIN);
    central.program.line_with("action: workers | result: success | workers: 2");
    until_states(&central, &["ready", "ready"]);
    assert_eq!(health(), Some(0));
    // One connection in each worker.
    let mut agencies: Vec<_> = Vec::new();
    while central.worker_numbers("connections").contains(&0) {
        agencies.push(stored(&central, 1));
    }
    central.program.signal(Signal::SIGTTOU);
    central.program.line_with("action: workers | result: success | workers: 1");
    until_states(&central, &["ready", "retiring"]);
    assert_eq!(health(), Some(0));
    agencies.iter_mut().for_each(|agency| _ = agency.store(&[bet("b", false)]));
    central.program.signal(Signal::SIGTTOU);
    central.program.line_with("signal: SIGTTOU | error: one worker must stay");
    drop(agencies);
    until_states(&central, &["ready", "free"]);
    assert_eq!(central.number("worker_deaths"), 0);
    assert_eq!(central.stop().0, 0);
}
