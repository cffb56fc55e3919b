//! Servers that send what the protocol does not permit, and replies in pieces.

use postgres_link::{Event, Fault, Lost, Primary, Request, Step};

use crate::harness::{connect, fake, next, soon};

/// Returns a connection to a server that answers each request with these bytes, and then closes
/// the connection.
fn connected(reply: Vec<u8>) -> Primary {
    let address = fake::start(move |mut client| {
        client.greet();
        client.read_request();
        client.send(&reply);
    });
    let mut primary = Primary::new(fake::list(&[address]));
    connect(&mut primary);
    primary
}

/// Sends a request and returns how the connection was lost.
fn lost(primary: &mut Primary) -> Lost {
    primary.request(Request::of("SELECT 1", &[]).unwrap(), soon());
    match next(primary) {
        Event::Lost(lost) => lost,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_may_arrive_byte_by_byte() {
    let address = fake::start(|mut client| {
        client.read_startup();
        client.send_slowly(&fake::greeting("off"));
        client.read_request();
        client.send_slowly(&fake::one_row(7));
        client.wait_for_end();
    });
    let mut primary = Primary::new(fake::list(&[address]));
    connect(&mut primary);
    primary.request(Request::of("SELECT 1", &[]).unwrap(), soon());
    let Event::Done(Ok(replies)) = next(&mut primary) else { panic!("no answer") };
    assert_eq!(replies.of(0).first().unwrap().get(0), Ok(7));
}

#[test]
fn a_reply_that_is_cut_at_any_byte_has_an_unknown_outcome() {
    let reply = fake::one_row(7);
    for length in 0..reply.len() {
        let mut primary = connected(reply[..length].to_vec());
        let lost = lost(&mut primary);
        assert!(lost.under_way);
        assert!(matches!(lost.cause.fault, Fault::Closed(Step::Request)), "{length}: {lost}");
    }
}

#[test]
fn notices_and_notifications_may_come_at_any_place() {
    let notification = fake::message(b'A', b"\0\0\0\x05draw\0now\0");
    let between = [
        notification.clone(),
        fake::error(b'N', "WARNING", "01000"),
        fake::parameter("application_name", "x"),
    ]
    .concat();
    let mut reply = between.clone();
    let mut rest = &fake::one_row(7)[..];
    while !rest.is_empty() {
        let length = 1 + u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
        reply.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
        reply.extend_from_slice(&between);
    }
    let mut primary = connected(reply);
    primary.request(Request::of("SELECT 1", &[]).unwrap(), soon());
    let mut notifications = 0;
    let replies = loop {
        match next(&mut primary) {
            Event::Notification { channel, payload, process } => {
                assert_eq!((channel.as_str(), payload.as_str(), process), ("draw", "now", 5));
                notifications += 1;
            }
            Event::Done(answer) => break answer.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    // One before each message.
    assert_eq!((notifications, replies.warnings().len()), (7, 7));
    assert!(matches!(next(&mut primary), Event::Notification { .. }), "the one after the reply");
    let Event::Lost(lost) = next(&mut primary) else { panic!("not lost") };
    assert!(!lost.under_way);
}

#[test]
fn a_message_that_does_not_belong_to_the_reply_ends_the_connection() {
    let bound = || {
        [fake::message(b'1', &[]), fake::message(b't', &[0, 0]), fake::column(fake::INT4)].concat()
    };
    let row =
        |bytes: &[u8]| [bound(), fake::message(b'2', &[]), fake::message(b'D', bytes)].concat();
    for (reply, text) in [
        (b"HTTP/1.1 400 Bad Request".to_vec(), "the server sends 1414811760 bytes or more"),
        (fake::message(b'?', &[]), "unknown message tag `63`"),
        (vec![b'1', 0, 0, 0, 3], "invalid message length"),
        (vec![b'1', 255, 255, 255, 255], "invalid message length"),
        (fake::message(b'1', &[0]), "expected buffer to be empty"),
        (fake::ready(), "the end of the reply instead of Parsed"),
        (fake::one_row(7)[5..].to_vec(), "another message instead of Parsed"),
        (fake::greeting("off"), "another message instead of Parsed"),
        (fake::message(b'G', &[0, 0, 0]), "COPY is not supported"),
        (fake::message(b'T', &[255, 255]), "another message instead of Parsed"),
        ([bound(), fake::message(b'2', &[]), fake::ready()].concat(), "instead of Rows"),
        (row(&[0, 0]), "a row of 0 values for 1 columns"),
        (row(&[0, 1]), "failed to fill whole buffer"),
        (row(&[0, 1, 0, 0, 0, 9, 0]), "unexpected EOF"),
        (row(&[0, 1, 255, 255, 255, 255, 0]), "datarowrange is not empty"),
        (fake::message(b'E', b"SERROR"), "unexpected EOF"),
        ([fake::error(b'E', "ERROR", "22012"), fake::message(b'2', &[])].concat(), "instead of"),
        (
            [fake::error(b'E', "ERROR", "22012"), fake::message(b'Z', b"?")].concat(),
            "transaction status 63",
        ),
    ] {
        let mut primary = connected(reply);
        let lost = lost(&mut primary);
        assert!(lost.under_way);
        assert!(lost.to_string().contains(text), "{lost} does not contain {text}");
        assert!(lost.to_string().starts_with(&lost.cause.host), "{lost}");
    }
}

#[test]
fn a_reply_larger_than_the_limit_ends_the_connection() {
    let address = fake::start(|mut client| {
        client.greet();
        client.read_request();
        let reply = fake::one_row(7);
        // Without the end of the statement and of the reply.
        client.send(&reply[..reply.len() - 14 - 6]);
        for _ in 0..1000 {
            client.send(&fake::message(b'D', &[0, 1, 0, 0, 0, 4, 0, 0, 0, 1]));
        }
        client.wait_for_end();
    });
    let mut servers = fake::list(&[address]);
    servers.set_max_reply(20_000);
    let mut primary = Primary::new(servers);
    connect(&mut primary);
    let lost = lost(&mut primary);
    let Fault::TooLarge(Step::Request, size, 20_000) = lost.cause.fault else { panic!("{lost}") };
    assert!((20_000..20_200).contains(&size), "{size}");
}

#[test]
fn a_message_without_a_request_ends_the_connection() {
    let address = fake::start(|mut client| {
        client.greet();
        client.send(&fake::ready());
        client.wait_for_end();
    });
    let mut primary = Primary::new(fake::list(&[address]));
    connect(&mut primary);
    let Event::Lost(lost) = next(&mut primary) else { panic!("not lost") };
    assert!(lost.to_string().contains("a message without a request"), "{lost}");
    assert!(!lost.under_way);
}

#[test]
fn an_error_that_ends_the_session_leaves_the_outcome_unknown() {
    let mut primary = connected(fake::error(b'E', "FATAL", "57P01"));
    let lost = lost(&mut primary);
    let Fault::Server(error) = &lost.cause.fault else { panic!("{lost}") };
    assert!(error.is_unavailable() && lost.under_way);
}

#[test]
fn a_transaction_that_stays_failed_ends_with_the_deadline() {
    let address = fake::start(|mut client| {
        client.greet();
        loop {
            let request = client.read_request();
            if request.is_empty() {
                return;
            }
            let error = if request == b"Q" {
                fake::message(b'C', b"ROLLBACK\0")
            } else {
                fake::error(b'E', "ERROR", "22012")
            };
            client.send(&[error, fake::message(b'Z', b"E")].concat());
        }
    });
    let mut primary = Primary::new(fake::list(&[address]));
    connect(&mut primary);
    let deadline = std::time::Instant::now() + std::time::Duration::from_millis(100);
    primary.request(Request::of("SELECT 1", &[]).unwrap(), deadline);
    let Event::Lost(lost) = next(&mut primary) else { panic!("not lost") };
    assert!(matches!(
        lost.cause.fault,
        Fault::Deadline(Step::Request, _) | Fault::TooLarge(Step::Request, ..)
    ));
}
