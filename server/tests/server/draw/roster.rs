//! With a roster, the draw waits for exactly its agencies, and a connection speaks only for the
//! agencies of its network.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use lottery::protocol::Receipt;
use nix::sys::signal::Signal;

use crate::harness::{
    AgencyConnection, CentralProcess, Participant, Setup, codec, draw_dialects, eventually,
    left_out, numbered_bet, packet_in, packet_of, refusals, vector, winners_reply,
};

/// The host of agency 1, and of agency 200 too.
const NORTH: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 7);
/// The host of agency 2.
const SOUTH: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 7);
/// A host of no agency.
const STRANGER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ROSTER: &str = "number,name,networks\n\
                      1,North,127.0.1.0/24\n\
                      2,South,127.0.2.0/24 fd00::/8\n\
                      200,North branch,127.0.1.7\n";

fn setup(protocol: &str) -> Setup {
    let setup =
        Setup::new().with("SERVER_PROTOCOL", protocol).with("SERVER_ROSTER", "agencies.csv");
    fs::write(setup.directory().join("agencies.csv"), ROSTER).unwrap();
    setup
}

/// The messages of an agency, each on a connection of its own: a batch, the report that it has
/// finished, and a query where that is a message of its own.
fn messages(dialect: &str, agency: u16) -> Vec<Vec<u8>> {
    let mut codec = codec(dialect, agency);
    let greeting = codec.greeting();
    let batch = packet_in(&mut *codec, &[numbered_bet(1, true)]);
    let others = codec.notification().into_iter().chain([codec.question()]);
    [batch].into_iter().chain(others).map(|message| [&greeting[..], &message].concat()).collect()
}

/// Returns the error reply to a message.
fn error_reply(dialect: &str, message: &[u8]) -> Vec<u8> {
    let contains = |word: &[u8]| message.windows(word.len()).any(|found| found == word);
    match dialect {
        "line" => vec![],
        "framed" if contains(b"FINISHED") => {
            b"ERROR|The notification could not be noted\n".to_vec()
        }
        "framed" if contains(b"QUERY") => b"ERROR|The winners cannot be told\n".to_vec(),
        "framed" => vector(dialect, "fail_0"),
        "sentinel" => vector(dialect, "err"),
        "keyed" => vector(dialect, "error_not_permitted"),
        _ => vector(dialect, "error"),
    }
}

/// Asserts that every message of an agency is refused from this host and changes nothing. Returns
/// the ports of the connections.
fn assert_refused(
    central: &CentralProcess<'_>,
    from: Ipv4Addr,
    dialect: &str,
    agency: u16,
) -> Vec<u16> {
    let refuse = |message: Vec<u8>| {
        let mut connection = AgencyConnection::open_from(from, central.port_of(dialect));
        connection.send(&message);
        let reply = error_reply(dialect, &message);
        assert_eq!(connection.read_bytes(reply.len()), reply, "{dialect}, agency {agency}");
        connection.end_sending();
        assert!(connection.read_to_end().is_empty(), "{dialect}, agency {agency}");
        connection.port()
    };
    let ports = messages(dialect, agency).into_iter().map(refuse).collect();
    central.none_in_flight_within_a_second();
    assert_eq!((central.number("bets"), central.number("agencies_finished")), (0, 0), "{dialect}");
    ports
}

/// Returns the lines about a connection from another host than 127.0.0.1.
fn refusals_from(log: &[String], host: Ipv4Addr, port: u16) -> Vec<&String> {
    let begin = format!("action: receive_message | result: fail | ip: {host} | port: {port} | ");
    log.iter().filter(|line| line.contains(&begin)).collect()
}

/// Lets an agency store a winning bet and finish.
fn take_part(
    central: &CentralProcess<'_>,
    from: Ipv4Addr,
    dialect: &str,
    agency: u16,
) -> Participant {
    let port = central.port_of(dialect);
    let mut participant = Participant::connect_from(from, port, dialect, agency);
    let stored = participant.store(&[numbered_bet(agency.into(), true)]);
    assert!(matches!(stored, Receipt::Stored { .. }), "{dialect}, agency {agency}");
    participant.finish();
    participant
}

fn until_one_has_finished(central: &CentralProcess<'_>) {
    let finished = || central.number("agencies_finished");
    eventually("a finished agency", finished, |finished| *finished == 1);
}

#[test]
fn strangers_close_no_lottery_and_the_draw_waits_for_exactly_the_agencies_of_the_roster() {
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        assert_eq!(central.number("agencies_expected"), 3, "{dialect}");
        let ports: Vec<_> = (1..=5)
            .flat_map(|agency| assert_refused(&central, STRANGER, dialect, agency))
            .collect();
        let agencies = [(NORTH, 1), (SOUTH, 2), (NORTH, 200)];
        let agencies = agencies.map(|(from, agency)| {
            assert_eq!(central.status()["drawn"], false, "{dialect}, before agency {agency}");
            (take_part(&central, from, dialect, agency), agency)
        });
        for (mut participant, agency) in agencies {
            let winners = winners_reply(dialect, &[agency.into()]);
            assert_eq!(participant.winners().1, winners, "{dialect}, agency {agency}");
        }
        let log = central.stop_and_read_log();
        for port in &ports {
            // The system may give the port of a closed connection to a later one.
            let sent = ports.iter().filter(|other| *other == port).count();
            let lines = refusals(&log, *port);
            assert_eq!(lines.len(), sent, "{dialect}: {lines:?}");
            let reason = "127.0.0.1 belongs to no agency's network";
            assert!(lines.iter().all(|line| line.contains(reason)), "{dialect}: {lines:?}");
        }
    }
}

#[test]
fn an_agency_speaks_for_no_agency_of_another_network_and_for_none_outside_the_roster() {
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        let refused = [(SOUTH, 1, "may not speak from 127.0.2.7"), (NORTH, 3, "not in the roster")];
        let refused = refused.map(|(from, agency, reason)| {
            (from, assert_refused(&central, from, dialect, agency), reason)
        });
        // Such a host still speaks for its own agency.
        let _agency = take_part(&central, SOUTH, dialect, 2);
        until_one_has_finished(&central);
        let log = central.stop_and_read_log();
        for (from, ports, reason) in refused {
            for port in &ports {
                let sent = ports.iter().filter(|other| *other == port).count();
                let lines = refusals_from(&log, from, *port);
                assert_eq!(lines.len(), sent, "{dialect}: {lines:?}");
                assert!(lines.iter().all(|line| line.contains(reason)), "{dialect}: {lines:?}");
            }
        }
    }
}

#[test]
fn one_bet_for_another_agency_refuses_the_whole_batch() {
    let setup = setup("framed");
    let central = setup.start();
    let row = |agency: u16| format!("{agency}|A|B|1|1999-03-17|1\n");
    let text = format!("3\n{}{}{}", row(1), row(200), row(2));
    let batch = [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    for (from, allowed) in [(NORTH, "2\n".to_owned() + &row(1) + &row(200)), (SOUTH, row(2))] {
        let mut agency = AgencyConnection::open_from(from, central.port);
        agency.send(&batch);
        assert_eq!(agency.read_bytes(7), b"FAIL|0\n");
        let own = [&(allowed.len() as u16).to_be_bytes()[..], allowed.as_bytes()].concat();
        agency.send(&own);
        assert_eq!(agency.read_bytes(8), b"SUCCESS|", "the connection goes on");
    }
    assert_eq!(setup.rows().len(), 3);
}

#[test]
fn dialects_without_agency_numbers_are_open_to_the_networks_of_all_agencies_and_to_no_other() {
    let setup = setup("typed:0,echo:0");
    let central = setup.start();
    let (typed, echo) = (central.port_of("typed"), central.port_of("echo"));
    let request = |from, port, bytes: &[u8]| {
        let mut agency = AgencyConnection::open_from(from, port);
        agency.send(bytes);
        agency.read_to_end()
    };
    let batch = packet_of("a", 2, 0);
    for (from, is_open) in [(NORTH, true), (SOUTH, true), (STRANGER, false)] {
        let stored = request(from, typed, &batch);
        let answers = [(stored, &[0, 0][..]), (request(from, echo, b"hello\n"), b"hello\n")];
        for (answer, expected) in answers {
            assert_eq!(answer, if is_open { expected } else { &[] }, "{from}");
        }
        assert_eq!(request(from, typed, &[1]).is_empty(), !is_open, "{from}");
    }
    assert_eq!(setup.rows().len(), 4);
}

#[test]
fn a_stranger_puts_no_agency_in_flight_and_may_send_no_more_than_a_packet() {
    let setup = setup("typed");
    let central = setup.start();
    let mut silent = AgencyConnection::open_from(STRANGER, central.port);
    silent.send(&packet_of("a", 100, 0)[..3000]);
    let mut large = AgencyConnection::open_from(STRANGER, central.port);
    large.send(&vec![0; 8193]);
    assert!(large.read_to_end().is_empty(), "closed before the request is whole");
    let agency = AgencyConnection::open_from(SOUTH, central.port);
    assert_eq!(agency.results().in_flight, 0);
    silent.end_sending();
    assert!(silent.read_to_end().is_empty());
}

#[test]
fn strangers_that_take_every_place_give_it_up_to_an_agency_at_once() {
    let setup = setup("framed").with("SERVER_WORKERS", "1").with("SERVER_CONNECTIONS", "16");
    let central = setup.start();
    let strangers: Vec<_> =
        (0..40).map(|_| AgencyConnection::open_from(STRANGER, central.port)).collect();
    eventually("all places taken", || central.connections(), |connections| *connections == 16);
    let start = Instant::now();
    let _agency = take_part(&central, SOUTH, "framed", 2);
    // Without a roster, a silent connection keeps its place for 5 s.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    central.until_waiting(1);
    drop(strangers);
}

#[test]
fn an_ipv4_peer_of_an_ipv6_socket_has_its_ipv4_address() {
    if TcpListener::bind("[::1]:0").is_err() {
        left_out("this machine has no IPv6");
        return;
    }
    let setup = setup("framed").with("SERVER_IP", "::");
    let central = setup.start();
    let _agency = take_part(&central, SOUTH, "framed", 2);
    until_one_has_finished(&central);
}

#[test]
fn marks_of_agencies_outside_the_roster_never_count_however_they_came_into_the_storage() {
    let mut setup = setup("framed").with("SERVER_ROSTER", "none").with("SERVER_AGENCIES", "4");
    let central = setup.start();
    for agency in [2, 7, 8] {
        Participant::connect(central.port, "framed", agency).try_notify().unwrap();
    }
    assert_eq!(central.number("agencies_finished"), 3);
    central.kill_all();

    setup.set("SERVER_ROSTER", "agencies.csv");
    setup.set("SERVER_AGENCIES", "3");
    let central = setup.start();
    assert_eq!((central.number("agencies_finished"), central.number("agencies_expected")), (1, 3));
    let mut agencies = [(NORTH, 1), (NORTH, 200)]
        .map(|(from, agency)| take_part(&central, from, "framed", agency));
    for (agency, participant) in [1, 200].into_iter().zip(&mut agencies) {
        assert_eq!(participant.winners().1, winners_reply("framed", &[agency]));
    }
}

/// Reloads with another roster, and waits until the new workers have taken over.
fn reload(setup: &Setup, central: &CentralProcess<'_>, roster: &str, generation: u32) {
    fs::write(setup.directory().join("agencies.csv"), roster).unwrap();
    central.program.signal(Signal::SIGHUP);
    central.program.line_with(&format!("reload | result: success | generation: {generation}"));
}

#[test]
fn a_reload_applies_the_roster_until_the_bets_are_closed() {
    let setup = setup("framed").with("SERVER_WORKERS", "1");
    let central = setup.start();
    let numbers = || (central.number("agencies_finished"), central.number("agencies_expected"));
    let _north = take_part(&central, NORTH, "framed", 1);
    until_one_has_finished(&central);

    let narrow = "number,name,networks\n2,South,127.0.2.0/24\n3,Stranger,127.0.0.1\n";
    reload(&setup, &central, narrow, 2);
    assert_eq!(numbers(), (0, 2), "the mark of agency 1 does not count any more");
    let mut refused = AgencyConnection::open_from(NORTH, central.port);
    refused.send(&messages("framed", 1)[0]);
    assert_eq!(refused.read_to_end(), vector("framed", "fail_0"));
    let third = take_part(&central, STRANGER, "framed", 3);
    until_one_has_finished(&central);

    let fourth = format!("{narrow}4,A,127.0.0.1\n");
    reload(&setup, &central, &fourth, 3);
    assert_eq!(numbers(), (1, 3));
    reload(&setup, &central, narrow, 4);
    assert_eq!(numbers(), (1, 2));

    let broken = "number,name,networks\n2,South,everywhere\n";
    fs::write(setup.directory().join("agencies.csv"), broken).unwrap();
    central.program.signal(Signal::SIGHUP);
    central.program.line_with("agencies.csv:2: \"everywhere\" is not a network");
    assert_eq!(numbers(), (1, 2), "the status does not depend on the file");

    let mut second = take_part(&central, SOUTH, "framed", 2);
    assert_eq!(second.winners().1, winners_reply("framed", &[2]));
    reload(&setup, &central, &fourth, 5);
    central.program.line_with("settings: SERVER_ROSTER | error: bets are closed");
    assert_eq!(numbers(), (2, 2));
    drop(third);
}

#[test]
fn a_roster_that_cannot_be_used_or_contradicts_the_number_of_agencies_refuses_the_start() {
    let setup = setup("framed");
    let refused = |setup: &Setup| {
        let output = setup.run(&["run"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    let setup = setup.with("SERVER_AGENCIES", "5");
    let said = refused(&setup);
    assert!(said.contains("SERVER_AGENCIES = \"5\"") && said.contains("expected 3, as"), "{said}");
    let setup = setup.with("SERVER_AGENCIES", "3");
    fs::write(setup.directory().join("agencies.csv"), ROSTER.replace("\n2,", "\n1,")).unwrap();
    let said = refused(&setup);
    let reason = "agencies.csv:3: agency 1 is already on line 2";
    assert!(said.contains("SERVER_ROSTER = \"agencies.csv\"") && said.contains(reason), "{said}");
    fs::remove_file(setup.directory().join("agencies.csv")).unwrap();
    assert!(refused(&setup).contains("cannot read agencies.csv: No such file"));
    assert!(!setup.stored("").exists(), "nothing is created");
}
