//! A worker that has as many connections as its descriptors allow still makes the draw and answers.

use std::process::Command;

use crate::harness::{Agency, Participant, Setup, bet};

/// Descriptors a process may have.
const DESCRIPTORS: usize = 80;
const AGENCIES: u16 = 30;
/// Who connects besides: more than there are descriptors for.
const IDLE: usize = 60;

#[test]
fn a_draw_needs_descriptors_that_connections_do_not_take() {
    let setup = Setup::new()
        .with("SERVER_PROTOCOL", "framed")
        .with("SERVER_WORKERS", "1")
        .with("SERVER_AGENCIES", &AGENCIES.to_string());
    let program = setup.command(&[]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$0\" run")])
        .arg(program.get_program());
    limited
        .envs(program.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .current_dir(setup.directory());
    let central = setup.start_by(&mut limited);
    let mut agencies: Vec<_> =
        (1..=AGENCIES).map(|number| Participant::connect(central.port, "framed", number)).collect();
    for agency in &mut agencies {
        agency.store(&[bet("30904465", true)]);
    }
    let (last, others) = agencies.split_last_mut().unwrap();
    others.iter_mut().for_each(Participant::finish);
    let _idle: Vec<_> = (0..IDLE).map(|_| Agency::connect(central.port)).collect();
    central.program.line_with("action: accept_connections | result: fail");
    last.finish();
    for agency in &mut agencies {
        assert_eq!(agency.winners().0, 1);
    }
}
