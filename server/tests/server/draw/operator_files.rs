//! The commands of an operator while the files of the draw cannot be written.

use std::fs;

use super::operator::{both_finish, done, draw, refused, setup};
use crate::harness::{Program, Setup};

/// Makes every attempt to write the result of the draw fail.
fn prevent_draw(setup: &Setup) {
    fs::create_dir(setup.stored("draw.csv.new")).unwrap();
}

#[test]
fn a_confirmed_draw_that_fails_can_still_be_reopened() {
    let setup = setup("framed");
    let central = setup.start();
    let agencies = both_finish(&central, "framed");
    prevent_draw(&setup);
    let port = central.port.to_string();
    let confirming = Program::start(&mut setup.command(&["draw", "--port", &port, "--confirm"]));
    central.program.line_with("action: sorteo | result: fail");
    done(&setup, &central, "--reopen");
    drop((agencies, confirming));
    fs::remove_dir(setup.stored("draw.csv.new")).unwrap();
    let agencies = both_finish(&central, "framed");
    assert_eq!(central.status()["drawn"], false, "the confirmation was for the first closing");
    done(&setup, &central, "--confirm");
    for mut agency in agencies {
        agency.winners();
    }
}

#[test]
fn a_confirmation_does_not_outlive_the_run() {
    let setup = setup("framed");
    let central = setup.start();
    drop(both_finish(&central, "framed"));
    prevent_draw(&setup);
    let port = central.port.to_string();
    let _confirming = Program::start(&mut setup.command(&["draw", "--port", &port, "--confirm"]));
    central.program.line_with("action: sorteo | result: fail");
    central.kill_all();
    fs::remove_dir(setup.stored("draw.csv.new")).unwrap();
    let central = setup.start();
    central.program.line_with("action: sorteo | result: in_progress | reason: every expected");
    let (_, state) = draw(&setup, &central, &[]);
    assert!(state.contains("the draw waits for `loteria-central draw --confirm`"), "{state}");
    done(&setup, &central, "--confirm");
}

#[test]
fn a_draw_whose_file_is_in_place_can_not_be_reopened_even_if_no_process_knows_of_it_yet() {
    let setup = setup("framed");
    let central = setup.start();
    let _agencies = both_finish(&central, "framed");
    fs::write(setup.stored("draw.csv"), "draw,2,2\r\n1,1\r\n2,2\r\n").unwrap();
    refused(&setup, &central, "--reopen", "the draw has been held");
    assert_eq!(central.number("agencies_finished"), 2);
}
