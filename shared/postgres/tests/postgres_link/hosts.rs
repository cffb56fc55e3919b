//! The search for the primary in a list of servers.

use std::time::{Duration, Instant};

use postgres_link::{Event, Fault, NoPrimary, Primary, Request, Session, Step};

use crate::harness::{connect, fake, next, soon};

fn primary_server() -> std::net::SocketAddr {
    fake::start(|mut client| {
        client.greet();
        client.read_request();
        client.send(&fake::one_row(5));
        client.wait_for_end();
    })
}

/// Returns the faults of a round over a server that sends these bytes after the first message.
fn fault_of(greeting: Vec<u8>) -> Fault {
    let address = fake::start(move |mut client| {
        client.read_startup();
        client.send(&greeting);
        client.wait_for_end();
    });
    match next(&mut Primary::new(fake::list(&[address]))) {
        Event::NoPrimary(mut faults) => faults.pop().unwrap().fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_server_that_is_a_primary_is_taken() {
    let standby = fake::start(|mut client| {
        client.read_startup();
        client.send(&fake::greeting("on"));
        client.wait_for_end();
    });
    let address = primary_server();
    let mut primary = Primary::new(fake::list(&[fake::closed(), standby, address]));
    let Event::Connected(connected) = next(&mut primary) else { panic!("not connected") };
    assert_eq!(connected.host, address.to_string());
    assert_eq!((connected.version.as_str(), connected.process), ("15.0", 9));
}

#[test]
fn a_round_without_a_primary_names_the_reason_of_each_server() {
    let standby = fake::start(|mut client| {
        client.read_startup();
        client.send(&fake::greeting("on"));
        client.wait_for_end();
    });
    let closed = fake::closed();
    let mut primary = Primary::new(fake::list(&[standby, closed]));
    for _ in 0..2 {
        let Event::NoPrimary(faults) = next(&mut primary) else { panic!("a primary") };
        assert_eq!(faults.len(), 2);
        assert_eq!(faults[0].to_string(), format!("{standby}: the server is a standby"));
        assert!(matches!(&faults[1].fault, Fault::Io(Step::Connect, _)), "{}", faults[1]);
        assert!(faults[1].to_string().starts_with(&format!("{closed}: connecting: ")));
    }
}

#[test]
fn the_pause_between_rounds_grows_to_a_second() {
    let mut primary = Primary::new(fake::list(&[fake::closed()]));
    let mut now = Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        loop {
            if let Some(Event::NoPrimary(_)) = primary.advance(now) {
                break;
            }
            now = primary.wake_at().unwrap().min(now + Duration::from_millis(1));
        }
        let until = primary.wake_at().unwrap();
        pauses.push(until.duration_since(now));
        now = until;
    }
    for (pause, longest) in pauses.iter().zip([50, 100, 200, 400, 800, 1000, 1000, 1000]) {
        let longest = Duration::from_millis(longest);
        assert!((longest / 2..=longest).contains(pause), "{pauses:?}");
    }
}

#[test]
fn after_a_loss_the_next_server_is_tried_first() {
    let first = fake::start(|mut client| {
        client.greet();
        client.read_request();
        client.send(&fake::one_row(5));
    });
    let second = primary_server();
    let mut primary = Primary::new(fake::list(&[first, second]));
    connect(&mut primary);
    primary.request(Request::of("SELECT 1", &[]).unwrap(), soon());
    let Event::Done(Ok(_)) = next(&mut primary) else { panic!("no answer") };
    let Event::Lost(lost) = next(&mut primary) else { panic!("not lost") };
    assert!(!lost.under_way, "the request was answered");
    let Event::Connected(connected) = next(&mut primary) else { panic!("not connected") };
    assert_eq!(connected.host, second.to_string());
}

#[test]
fn a_server_that_ends_every_connection_is_not_tried_without_a_pause() {
    let address = fake::start(|mut client| client.greet());
    let mut primary = Primary::new(fake::list(&[address]));
    connect(&mut primary);
    let begun = Instant::now();
    let Event::Lost(_) = next(&mut primary) else { panic!("not lost") };
    assert!(primary.wake_at().unwrap() > begun);
    assert!(primary.fd().is_none());
}

#[test]
fn a_server_older_than_14_is_refused() {
    let greeting =
        [fake::message(b'R', &[0; 4]), fake::parameter("server_version", "13.4"), fake::ready()];
    let fault = fault_of(greeting.concat());
    assert_eq!(
        fault.to_string(),
        "the server does not report in_hot_standby: PostgreSQL 13.4 is too old, use 14 or later"
    );
}

#[test]
fn a_server_whose_transactions_are_read_only_is_not_a_primary() {
    let greeting = [
        fake::message(b'R', &[0; 4]),
        fake::parameter("in_hot_standby", "off"),
        fake::parameter("default_transaction_read_only", "on"),
        fake::ready(),
    ];
    assert!(matches!(fault_of(greeting.concat()), Fault::ReadOnly));
}

#[test]
fn a_password_is_never_sent_in_clear_text() {
    let fault = fault_of(fake::message(b'R', &[0, 0, 0, 3]));
    assert!(matches!(fault, Fault::Authentication("a password in clear text")), "{fault}");
}

#[test]
fn a_server_that_skips_the_proof_of_the_password_is_refused() {
    let sasl = [&[0, 0, 0, 10][..], b"SCRAM-SHA-256\0\0"].concat();
    let greeting = [fake::message(b'R', &sasl), fake::greeting("off")].concat();
    let fault = fault_of(greeting);
    assert!(fault.to_string().contains("did not prove that it knows the password"), "{fault}");
}

#[test]
fn a_session_returns_after_the_first_round_if_the_reason_stays() {
    let address = fake::start(|mut client| {
        client.read_startup();
        client.send(&fake::error(b'E', "FATAL", "28P01"));
    });
    let begun = Instant::now();
    let Err(NoPrimary(faults)) = Session::connect(&fake::list(&[address]), soon()) else {
        panic!("connected")
    };
    assert!(begun.elapsed() < Duration::from_secs(10));
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    let Fault::Server(error) = &fault.fault else { panic!("{fault}") };
    assert!(error.is_authentication_failure());
    assert_eq!(fault.to_string(), format!("{address}: FATAL 28P01: text"));
}

#[test]
fn a_session_that_finds_no_primary_names_the_reasons() {
    let closed = fake::closed();
    let deadline = Instant::now() + Duration::from_millis(200);
    let Err(error) = Session::connect(&fake::list(&[closed]), deadline) else {
        panic!("connected")
    };
    assert!(error.to_string().starts_with(&format!("no primary: {closed}: connecting: ")));

    let silent = fake::start(|mut client| client.wait_for_end());
    let deadline = Instant::now() + Duration::from_millis(100);
    let Err(error) = Session::connect(&fake::list(&[silent]), deadline) else {
        panic!("connected")
    };
    assert!(error.to_string().contains("authenticating: no answer within"), "{error}");
}
