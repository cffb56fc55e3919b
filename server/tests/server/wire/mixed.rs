//! One central with several dialects, each on its own port, has one storage, one draw and one
//! total.

use crate::harness::{
    AgencyConnection, CentralProcess, Participant, Setup, WINNERS_BY_AGENCY, bet, bets_with, codec,
    count_draws, draw_dialects, eventually, packet_in, packet_of, value_of, winners_reply,
};
use lottery::Results;
use lottery::protocol::DIALECTS;

fn setup(protocol: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", protocol)
}

/// Returns a list of all dialects, each on any free port.
fn all_dialects() -> String {
    let list: Vec<_> = DIALECTS.iter().map(|dialect| format!("{}:0", dialect.name)).collect();
    list.join(",")
}

/// Waits for this many ready lines and returns their dialects and ports, in the order of the list.
fn ready(central: &CentralProcess<'_>, count: usize) -> Vec<(String, u16)> {
    let lines = || {
        let lines = central.program.lines();
        lines
            .into_iter()
            .filter(|line| line.contains("action: listen | result: success"))
            .collect::<Vec<_>>()
    };
    let lines = eventually("a ready line for each", lines, |lines| lines.len() == count);
    let ready = |line: &String| {
        (value_of(line, "protocol").to_owned(), value_of(line, "port").parse().unwrap())
    };
    lines.iter().map(ready).collect()
}

#[test]
fn five_agencies_in_five_dialects_take_part_in_one_draw_and_typed_counts_all_winners() {
    let dialects = draw_dialects();
    for turn in 0..dialects.len() {
        let setup = setup(&all_dialects());
        let central = setup.start();
        let speaks = |number: usize| dialects[(number + turn) % dialects.len()];
        let mut agencies: Vec<_> = (0..5)
            .map(|index| {
                let dialect = speaks(index);
                Participant::connect(central.port_of(dialect), dialect, index as u16 + 1)
            })
            .collect();
        for (agency, documents) in agencies.iter_mut().zip(WINNERS_BY_AGENCY) {
            agency.store(&bets_with(documents));
        }
        let total = || AgencyConnection::open(central.port_of("typed")).results();
        assert_eq!(total(), Results { winners: 6, in_flight: 0 });
        for (waiting, agency) in (0..).zip(&mut agencies) {
            central.until_waiting(waiting);
            agency.finish();
        }
        for (index, agency) in agencies.iter_mut().enumerate() {
            let expected = winners_reply(speaks(index), WINNERS_BY_AGENCY[index]);
            assert_eq!(agency.winners().1, expected, "agency {} in {}", index + 1, speaks(index));
        }
        // An agency that asks again in another dialect gets the same winners.
        for dialect in &dialects {
            let mut again = Participant::connect(central.port_of(dialect), dialect, 3);
            again.finish();
            assert_eq!(
                again.winners().1,
                winners_reply(dialect, WINNERS_BY_AGENCY[2]),
                "agency 3 in {dialect}"
            );
        }
        assert_eq!(total(), Results { winners: 6, in_flight: 0 });
        drop(agencies);
        assert_eq!(count_draws(&central.stop_and_read_log()), 1);
    }
}

#[test]
fn bets_of_a_dialect_without_agencies_have_no_part_in_the_draw_and_are_refused_after_it() {
    let setup = setup("typed:0,framed:0").with("SERVER_AGENCIES", "1");
    let central = setup.start();
    assert_eq!(central.request(&packet_of("a", 3, 2))[..2], [0, 2]);
    let mut agency = Participant::connect(central.port_of("framed"), "framed", 1);
    agency.store(&bets_with(WINNERS_BY_AGENCY[0]));
    agency.finish();
    assert_eq!(agency.winners().1, winners_reply("framed", WINNERS_BY_AGENCY[0]));
    assert_eq!(central.results(), Results { winners: 3, in_flight: 0 });
    assert!(central.request(&packet_of("late", 3, 2)).is_empty(), "bets are closed");
    assert_eq!(central.results(), Results { winners: 3, in_flight: 0 });
}

#[test]
fn a_batch_in_flight_in_any_dialect_makes_the_answer_of_typed_partial() {
    let setup = setup(&all_dialects());
    let central = setup.start();
    let total = || AgencyConnection::open(central.port_of("typed")).results();
    let mut open = Vec::new();
    for (begun, dialect) in (1..).zip(draw_dialects()) {
        let mut codec = codec(dialect, 1);
        let bytes = [codec.greeting(), packet_in(&mut *codec, &[bet("1", false); 3])].concat();
        let mut agency = AgencyConnection::open(central.port_of(dialect));
        agency.send(&bytes[..bytes.len() - 1]);
        eventually("the batch in flight", || total().in_flight, |count| *count == begun);
        open.push((agency, bytes));
    }
    for (agency, bytes) in &mut open {
        agency.send(&bytes[bytes.len() - 1..]);
        assert!(!agency.read_bytes(1).is_empty());
        // Once the batch is answered, it is no longer in flight.
    }
    assert_eq!(total(), Results { winners: 0, in_flight: 0 });
    assert_eq!(setup.rows().len(), 3 * draw_dialects().len());
}

#[test]
fn every_port_of_a_list_has_a_ready_line_and_serves() {
    let setup = setup("sentinel:0,framed:0,framed:0,typed:0,echo:0").with("SERVER_AGENCIES", "2");
    let central = setup.start();
    let ready = ready(&central, 5);
    let names: Vec<_> = ready.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sentinel", "framed", "framed", "typed", "echo"]);
    let mut ports: Vec<_> = ready.iter().map(|(_, port)| *port).collect();
    assert_eq!(central.port, ports[0], "the first port identifies the central");
    let mut agencies: Vec<_> = (1..)
        .zip(&ports[1..3])
        .map(|(number, port)| Participant::connect(*port, "framed", number))
        .collect();
    for (agency, documents) in agencies.iter_mut().zip(WINNERS_BY_AGENCY) {
        agency.store(&bets_with(documents));
        agency.finish();
    }
    for (agency, documents) in agencies.iter_mut().zip(WINNERS_BY_AGENCY) {
        assert_eq!(agency.winners().1, winners_reply("framed", documents), "both ports, one draw");
    }
    let mut echo = AgencyConnection::open(ports[4]);
    echo.send(b"hola\n");
    assert_eq!(echo.read_to_end(), b"hola\n");
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 5, "{ready:?}");
    assert!(!ports.contains(&0));
}

#[test]
fn one_dialect_of_a_list_may_take_its_port_from_the_setting() {
    let mut setup = setup("");
    let (given, usual) = (setup.keep_port(), setup.keep_port());
    assert_ne!(given, usual);
    setup.set("SERVER_PROTOCOL", &format!("line:{given},typed"));
    let central = setup.start();
    assert_eq!(ready(&central, 2), [("line".to_owned(), given), ("typed".to_owned(), usual)]);
    assert_eq!(AgencyConnection::open(usual).results(), Results { winners: 0, in_flight: 0 });
    let mut agency = Participant::connect(given, "line", 1);
    agency.store(&bets_with(WINNERS_BY_AGENCY[0]));
    assert_eq!(AgencyConnection::open(usual).results(), Results { winners: 1, in_flight: 0 });
}
