//! The commands of an operator: the state of the draw, its confirmation, and reopening the bets.

use std::fs;
use std::process::Output;

use lottery::protocol::Receipt;
use nix::sys::signal::Signal;

use crate::harness::{
    CentralProcess, Participant, Program, Setup, StoppedProcess, client_program, count_draws,
    draw_dialects, eventually, kill, numbered_bet, winners_reply,
};

/// Returns the setup of a draw of two agencies that waits for an operator.
pub(super) fn setup(dialect: &str) -> Setup {
    automatic(dialect).with("SERVER_DRAW", "confirm")
}

fn automatic(dialect: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", dialect).with("SERVER_AGENCIES", "2")
}

/// Runs `loteria-central draw` with these flags. Returns the exit code and everything that it
/// prints.
pub(super) fn draw(setup: &Setup, central: &CentralProcess<'_>, flags: &[&str]) -> (i32, String) {
    let port = central.port.to_string();
    let Output { status, stdout, stderr } =
        setup.run(&[&["draw", "--port", &port][..], flags].concat());
    let text = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(text).unwrap())
}

pub(super) fn done(setup: &Setup, central: &CentralProcess<'_>, flag: &str) -> String {
    let (code, text) = draw(setup, central, &[flag]);
    assert_eq!(code, 0, "{flag}: {text}");
    text
}

pub(super) fn refused(setup: &Setup, central: &CentralProcess<'_>, flag: &str, reason: &str) {
    let (code, text) = draw(setup, central, &[flag]);
    assert_eq!(code, 1, "{flag}: {text}");
    assert!(text.contains(reason), "{flag}: {text}");
}

/// Lets agencies 1 and 2 store a winning bet, finish, and wait.
pub(super) fn both_finish(central: &CentralProcess<'_>, dialect: &str) -> [Participant; 2] {
    let agencies = [1, 2].map(|number| {
        let mut agency = Participant::connect(central.port, dialect, number);
        let stored = agency.store(&[numbered_bet(number.into(), true)]);
        assert!(matches!(stored, Receipt::Stored { .. }), "{dialect}, agency {number}");
        agency.finish();
        agency
    });
    central.until_waiting(2);
    agencies
}

fn assert_winners(agencies: [Participant; 2], dialect: &str) {
    for (number, mut agency) in (1..).zip(agencies) {
        assert_eq!(agency.winners().1, winners_reply(dialect, &[number]), "{dialect}");
    }
}

#[test]
fn a_draw_that_needs_confirmation_is_held_only_after_it() {
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        refused(&setup, &central, "--confirm", "0 of 2 agencies have finished");
        let agencies = both_finish(&central, dialect);
        let (code, state) = draw(&setup, &central, &[]);
        let expected =
            "2 of 2 agencies have finished\nfinished: 1, 2\nbets are closed, and the draw";
        assert!(code == 0 && state.starts_with(expected), "{state}");
        let status = central.status();
        assert!(status["drawn"] == false && status["awaits_confirmation"] == true, "{status}");
        central.program.line_with("action: sorteo | result: in_progress | reason: every expected");

        assert_eq!(done(&setup, &central, "--confirm"), "the draw has been held\n");
        assert_winners(agencies, dialect);
        assert_eq!(done(&setup, &central, "--confirm"), "the draw has been held already\n");
        refused(&setup, &central, "--reopen", "the draw has been held, and bets stay closed");
        let (_, state) = draw(&setup, &central, &[]);
        assert!(state.ends_with("the draw has been held: bets are closed\n"), "{state}");
        assert_eq!(count_draws(&central.stop_and_read_log()), 1, "{dialect}");
    }
}

#[test]
fn reopened_bets_are_accepted_until_every_agency_has_finished_again() {
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        let agencies = both_finish(&central, dialect);
        done(&setup, &central, "--reopen");
        for mut agency in agencies {
            let left = agency.connection().read_until_gone();
            assert!(left.is_empty(), "{dialect}: only the end shows that its report is void");
        }
        assert_eq!(central.number("agencies_finished"), 0, "{dialect}");
        let (_, state) = draw(&setup, &central, &[]);
        assert_eq!(state, "0 of 2 agencies have finished\nbets are open\n", "{dialect}");
        refused(&setup, &central, "--confirm", "0 of 2 agencies have finished");

        let mut late = Participant::connect(central.port, dialect, 1);
        late.store(&[numbered_bet(7, true)]);
        let mut agencies = both_finish(&central, dialect);
        let refused =
            Participant::connect(central.port, dialect, 1).try_store(&[numbered_bet(8, true)]);
        assert!(!matches!(refused, Ok(Receipt::Stored { .. })), "{dialect}");
        done(&setup, &central, "--confirm");
        assert_eq!(agencies[0].winners().1, winners_reply(dialect, &[1, 7, 1]), "{dialect}");
        assert_eq!(agencies[1].winners().1, winners_reply(dialect, &[2, 2]), "{dialect}");
    }
}

#[test]
fn without_confirmation_bets_can_be_reopened_until_the_last_agency_finishes() {
    let setup = automatic("framed");
    let central = setup.start();
    refused(&setup, &central, "--confirm", "SERVER_DRAW = automatic");
    assert_eq!(done(&setup, &central, "--reopen"), "bets are open: no agency had finished\n");
    // A kept connection that has only reported is closed as well: it will not report again.
    let mut reported = Participant::connect(central.port, "framed", 2);
    reported.try_notify().unwrap();
    let text = done(&setup, &central, "--reopen");
    assert_eq!(text, "bets are open again: every agency has to finish again\n");
    assert!(reported.connection().read_until_gone().is_empty());
    Participant::connect(central.port, "framed", 1).try_notify().unwrap();
    assert_eq!(central.number("agencies_finished"), 1);
    let agencies = [1, 2].map(|number| {
        let mut agency = Participant::connect(central.port, "framed", number);
        agency.finish();
        agency
    });
    for mut agency in agencies {
        assert_eq!(agency.winners().1, winners_reply("framed", &[]));
    }
    refused(&setup, &central, "--reopen", "the draw has been held");
}

#[test]
fn reopened_bets_stay_open_after_a_kill_of_all_processes() {
    for durability in ["disk", "process"] {
        let setup = setup("framed").with("SERVER_DURABILITY", durability);
        let central = setup.start();
        let agencies = both_finish(&central, "framed");
        done(&setup, &central, "--reopen");
        drop(agencies);
        central.kill_all();
        let central = setup.start();
        assert_eq!(central.number("agencies_finished"), 0, "{durability}");
        let agencies = both_finish(&central, "framed");
        drop(agencies);
        central.kill_all();
        let central = setup.start();
        assert_eq!(central.number("agencies_finished"), 2, "{durability}");
        central.program.line_with("action: sorteo | result: in_progress | reason: every expected");
    }
}

#[test]
fn a_command_that_is_killed_blocks_no_later_one() {
    let setup = setup("framed");
    let central = setup.start();
    let _agencies = both_finish(&central, "framed");
    let command = central.segment().raw_value::<u64>("command").unwrap();
    let stopped: Vec<_> = central.worker_pids().into_iter().map(StoppedProcess::new).collect();
    let port = central.port.to_string();
    let mut killed = Program::start(&mut setup.command(&["draw", "--port", &port, "--reopen"]));
    eventually("the command", || command.load(), |word| *word != 0);
    kill(killed.pid(), Signal::SIGKILL);
    killed.exit_code();
    drop(stopped);
    // The workers execute the command nevertheless, so the agencies have to finish again.
    eventually("open bets", || central.number("agencies_finished"), |finished| *finished == 0);
    let agencies = both_finish(&central, "framed");
    done(&setup, &central, "--confirm");
    drop(agencies);
}

#[test]
fn a_reload_may_change_who_decides_about_the_draw() {
    let setup = automatic("framed").with("SERVER_DRAW", "");
    let write = |draw: &str, generation: u32| {
        let file = format!("[DEFAULT]\nSERVER_DRAW = {draw}\n");
        fs::write(setup.directory().join("config.ini"), file).unwrap();
        format!("reload | result: success | generation: {generation}")
    };
    write("automatic", 1);
    let central = setup.start();
    let reloaded = write("confirm", 2);
    central.program.signal(Signal::SIGHUP);
    central.program.line_with(&reloaded);
    let agencies = both_finish(&central, "framed");
    assert_eq!(central.status()["awaits_confirmation"], true);
    write("automatic", 3);
    central.program.signal(Signal::SIGHUP);
    assert_winners(agencies, "framed");
}

#[test]
fn a_command_that_no_worker_answers_is_withdrawn() {
    let setup = setup("framed").with("SERVER_HEARTBEAT_TIMEOUT", "0s");
    let central = setup.start();
    let agencies = both_finish(&central, "framed");
    let stopped: Vec<_> = central.worker_pids().into_iter().map(StoppedProcess::new).collect();
    refused(&setup, &central, "--reopen", "no worker answered within 10s");
    drop(stopped);
    // The workers go on, and execute the next command and not the withdrawn one.
    assert_eq!(done(&setup, &central, "--confirm"), "the draw has been held\n");
    assert_winners(agencies, "framed");
}

#[test]
fn the_agencies_of_a_roster_are_listed_by_name_and_a_stopped_central_is_named() {
    let setup = setup("framed").with("SERVER_AGENCIES", "4").with("SERVER_ROSTER", "agencies.csv");
    let row = |(number, name)| format!("{number},{name},127.0.0.0/8\n");
    let rows = [(3, "Salta"), (4, ""), (5, ""), (9, "Luján")].map(row).concat();
    fs::write(setup.directory().join("agencies.csv"), format!("number,name,networks\n{rows}"))
        .unwrap();
    let central = setup.start();
    Participant::connect(central.port, "framed", 9).try_notify().unwrap();
    let (_, state) = draw(&setup, &central, &[]);
    assert_eq!(
        state,
        "1 of 4 agencies have finished\nfinished: 9 Luján\nmissing:  3 Salta, 4, 5\nbets are open\n"
    );
    if crate::ON_ENGINE {
        // The engine answers without a central.
        return;
    }
    let port = central.port.to_string();
    assert_eq!(central.stop().0, 0);
    for flags in [&[][..], &["--confirm"], &["--reopen"]] {
        let output = setup.run(&[&["draw", "--port", &port][..], flags].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("no central runs on port {port}")), "{said}");
    }
}

#[test]
fn agencies_of_this_project_that_wait_report_again_after_bets_were_reopened() {
    let Some(client) = client_program() else { return };
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        let agency = |number: u16| {
            let data = setup.directory().join(format!("{number}.csv"));
            fs::write(&data, format!("A,B,{number},1999-03-17,7574\r\n")).unwrap();
            let mut command = std::process::Command::new(&client);
            command.current_dir(setup.directory());
            command.args(["--id", &number.to_string(), "--protocol", dialect, "--data"]).arg(data);
            command.args(["--server", &format!("127.0.0.1:{}", central.port)]);
            Program::start(&mut command)
        };
        let mut agencies = [1, 2].map(agency);
        central.until_waiting(2);
        done(&setup, &central, "--reopen");
        central.until_waiting(2);
        let finished = || central.number("agencies_finished");
        eventually("both have finished again", finished, |finished| *finished == 2);
        done(&setup, &central, "--confirm");
        for agency in &mut agencies {
            assert_eq!(agency.exit_code(), 0, "{dialect}: {:?}", agency.lines());
            agency.line_with("consulta_ganadores | result: success | cant_ganadores: 1");
        }
    }
}
