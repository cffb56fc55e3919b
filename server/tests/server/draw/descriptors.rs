//! A worker with as many connections as its descriptors allow still holds the draw and answers.

use crate::harness::{AgencyConnection, Participant, Setup, bet};

/// Descriptors that a process may open.
const DESCRIPTORS: usize = 80;
const AGENCIES: u16 = 30;
/// Further connections, more than there are descriptors for.
const IDLE: usize = 60;

#[test]
fn connections_leave_the_descriptors_that_a_draw_needs() {
    let setup = Setup::new()
        .with("SERVER_PROTOCOL", "framed")
        .with("SERVER_WORKERS", "1")
        .with("SERVER_AGENCIES", &AGENCIES.to_string());
    let script = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" run");
    let central = setup.start_by(&mut setup.shell(&[], &script));
    let mut agencies: Vec<_> =
        (1..=AGENCIES).map(|number| Participant::connect(central.port, "framed", number)).collect();
    for agency in &mut agencies {
        agency.store(&[bet("30904465", true)]);
    }
    let (last, others) = agencies.split_last_mut().unwrap();
    others.iter_mut().for_each(Participant::finish);
    let _idle: Vec<_> = (0..IDLE).map(|_| AgencyConnection::open(central.port)).collect();
    central.program.line_with("action: accept_connections | result: fail");
    last.finish();
    for agency in &mut agencies {
        assert_eq!(agency.winners().0, 1);
    }
}
