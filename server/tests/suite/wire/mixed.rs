//! One central, several dialects, each on its own port: one storage, one draw, one total.

use crate::harness::{
    Agency, Central, FIVE, Participant, Setup, bet, bets_with, codec, draw_dialects, draws,
    packet_in, packet_of, winners_reply,
};
use lottery::Results;
use lottery::protocol::DIALECTS;

fn setup(protocol: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", protocol)
}

/// Every dialect there is, each on any free port.
fn all_dialects() -> String {
    let doors: Vec<_> = DIALECTS.iter().map(|dialect| format!("{}:0", dialect.name)).collect();
    doors.join(",")
}

/// Dialects and ports of the ready lines, in the order of the list.
fn ready(central: &Central<'_>, doors: usize) -> Vec<(String, u16)> {
    let lines = || {
        let lines = central.program.lines();
        lines
            .into_iter()
            .filter(|line| line.contains("action: listen | result: success"))
            .collect::<Vec<_>>()
    };
    let lines =
        crate::harness::eventually("a ready line for each", lines, |lines| lines.len() == doors);
    let value = |line: &str, key: &str| {
        line.split(" | ")
            .find_map(|part| part.strip_prefix(key)?.strip_prefix(": "))
            .unwrap()
            .to_owned()
    };
    lines
        .iter()
        .map(|line| (value(line, "protocol"), value(line, "port").parse().unwrap()))
        .collect()
}

#[test]
fn five_agencies_in_five_dialects_take_part_in_one_draw_and_typed_sees_the_winners_of_all() {
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
        for (agency, documents) in agencies.iter_mut().zip(FIVE) {
            agency.store(&bets_with(documents));
        }
        let total = || Agency::connect(central.port_of("typed")).results();
        assert_eq!(total(), Results { winners: 6, in_flight: 0 });
        for (waiting, agency) in (0..).zip(&mut agencies) {
            central.agencies_wait(waiting);
            agency.finish();
        }
        for (index, agency) in agencies.iter_mut().enumerate() {
            let expected = winners_reply(speaks(index), FIVE[index]);
            assert_eq!(agency.winners().1, expected, "agency {} in {}", index + 1, speaks(index));
        }
        // Whoever asks again in another dialect gets the same winners in its words.
        for dialect in &dialects {
            let mut again = Participant::connect(central.port_of(dialect), dialect, 3);
            again.finish();
            assert_eq!(again.winners().1, winners_reply(dialect, FIVE[2]), "agency 3 in {dialect}");
        }
        assert_eq!(total(), Results { winners: 6, in_flight: 0 });
        drop(agencies);
        assert_eq!(draws(&central.stop_and_read_log()), 1);
    }
}

#[test]
fn the_bets_of_a_dialect_without_agencies_have_no_part_in_the_draw_and_are_closed_with_it() {
    let setup = setup("typed:0,framed:0").with("SERVER_AGENCIES", "1");
    let central = setup.start();
    assert_eq!(central.request(&packet_of("a", 3, 2))[..2], [0, 2]);
    let mut agency = Participant::connect(central.port_of("framed"), "framed", 1);
    agency.store(&bets_with(FIVE[0]));
    agency.finish();
    assert_eq!(agency.winners().1, winners_reply("framed", FIVE[0]));
    assert_eq!(central.results(), Results { winners: 3, in_flight: 0 });
    assert!(central.request(&packet_of("late", 3, 2)).is_empty(), "bets are closed");
    assert_eq!(central.results(), Results { winners: 3, in_flight: 0 });
}

#[test]
fn a_batch_in_flight_in_any_dialect_makes_the_answer_of_typed_a_partial_one() {
    let setup = setup(&all_dialects());
    let central = setup.start();
    let total = || Agency::connect(central.port_of("typed")).results();
    let mut open = Vec::new();
    for (begun, dialect) in (1..).zip(draw_dialects()) {
        let mut codec = codec(dialect, 1);
        let bytes = [codec.greeting(), packet_in(&mut *codec, &[bet("1", false); 3])].concat();
        let mut agency = Agency::connect(central.port_of(dialect));
        agency.send(&bytes[..bytes.len() - 1]);
        crate::harness::eventually("it has begun", || total().in_flight, |count| *count == begun);
        open.push((agency, bytes));
    }
    for (agency, bytes) in &mut open {
        agency.send(&bytes[bytes.len() - 1..]);
        assert!(!agency.read_bytes(1).is_empty());
        // In flight no more once it is answered.
    }
    assert_eq!(total(), Results { winners: 0, in_flight: 0 });
    assert_eq!(setup.rows().len(), 15);
}

#[test]
fn every_port_of_a_list_has_a_ready_line_and_serves() {
    let setup = setup("sentinel:0,framed:0,framed:0,typed:0,echo:0").with("SERVER_AGENCIES", "2");
    let central = setup.start();
    let doors = ready(&central, 5);
    let names: Vec<_> = doors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sentinel", "framed", "framed", "typed", "echo"]);
    let mut ports: Vec<_> = doors.iter().map(|(_, port)| *port).collect();
    assert_eq!(central.port, ports[0], "status is found by the first");
    let mut agencies: Vec<_> = (1..)
        .zip(&ports[1..3])
        .map(|(number, port)| Participant::connect(*port, "framed", number))
        .collect();
    for (agency, documents) in agencies.iter_mut().zip(FIVE) {
        agency.store(&bets_with(documents));
        agency.finish();
    }
    for (agency, documents) in agencies.iter_mut().zip(FIVE) {
        assert_eq!(agency.winners().1, winners_reply("framed", documents), "both ports, one draw");
    }
    let mut echo = Agency::connect(ports[4]);
    echo.send(b"hola\n");
    assert_eq!(echo.read_to_end(), b"hola\n");
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 5, "{doors:?}");
    assert!(!ports.contains(&0));
}

#[test]
fn one_of_a_list_may_leave_its_port_to_the_setting_of_that_name() {
    let mut setup = setup("");
    let (given, usual) = (setup.keep_port(), setup.keep_port());
    assert_ne!(given, usual);
    setup.set("SERVER_PROTOCOL", &format!("line:{given},typed"));
    let central = setup.start();
    assert_eq!(ready(&central, 2), [("line".to_owned(), given), ("typed".to_owned(), usual)]);
    assert_eq!(Agency::connect(usual).results(), Results { winners: 0, in_flight: 0 });
    let mut agency = Participant::connect(given, "line", 1);
    agency.store(&bets_with(FIVE[0]));
    assert_eq!(Agency::connect(usual).results(), Results { winners: 1, in_flight: 0 });
}
