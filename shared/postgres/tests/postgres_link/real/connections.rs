//! Connections: authentication, notifications, and losses.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use postgres_link::{
    Event, Fault, NoPrimary, Param, PasswordSources, Primary, Request, Session, SessionError, Url,
};

use crate::harness::{connect, next, real, soon};

/// Sends a statement, and returns the first value of its reply.
fn ask<T: for<'a> postgres_link::FromValue<'a>>(primary: &mut Primary, sql: &'static str) -> T {
    primary.request(Request::of(sql, &[]).unwrap(), soon());
    match next(primary) {
        Event::Done(Ok(replies)) => replies.of(0).first().unwrap().get(0).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_terminated_connection_is_lost_and_comes_back() {
    let Some(database) = real::database() else { return };
    let mut primary = Primary::new(database.servers.clone());
    let Event::Connected(connected) = next(&mut primary) else { panic!("not connected") };
    assert_eq!(ask::<i32>(&mut primary, "SELECT pg_backend_pid()"), connected.process);
    let terminate = format!("SELECT pg_terminate_backend({})", connected.process);

    database.script(&terminate);
    let Event::Lost(lost) = next(&mut primary) else { panic!("not lost") };
    let Fault::Server(error) = &lost.cause.fault else { panic!("{lost}") };
    assert!(error.is_unavailable() && !lost.under_way, "{lost}");

    let Event::Connected(connected) = next(&mut primary) else { panic!("not connected") };
    primary.request(Request::of("SELECT 1 FROM pg_sleep(60)", &[]).unwrap(), soon());
    assert!(primary.advance(Instant::now()).is_none());
    // The server must have begun the statement.
    let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT 1 FROM%' \
                  AND state = 'active' AND pid <> pg_backend_pid()";
    let mut other = database.session();
    let end = soon();
    loop {
        let replies = other.execute(Request::of(active, &[]).unwrap(), soon()).unwrap();
        if replies.of(0).first().unwrap().get(0) == Ok(1i64) {
            break;
        }
        assert!(Instant::now() < end, "the statement does not begin");
    }
    database.script(&format!("SELECT pg_terminate_backend({})", connected.process));
    let Event::Lost(lost) = next(&mut primary) else { panic!("not lost") };
    assert!(lost.under_way, "{lost}");
    connect(&mut primary);
    assert_eq!(ask::<i32>(&mut primary, "SELECT 7"), 7);
}

#[test]
fn a_canceled_statement_is_an_error_and_the_connection_goes_on() {
    let Some(database) = real::database() else { return };
    let mut servers = database.servers.clone();
    servers.set_parameter("statement_timeout", "50");
    let mut session = Session::connect(&servers, soon()).unwrap();
    let slow = session.execute(Request::of("SELECT 1 FROM pg_sleep(60)", &[]).unwrap(), soon());
    assert!(matches!(slow, Err(SessionError::Server(error)) if error.is_canceled()));
    session.execute(Request::of("SELECT 1", &[]).unwrap(), soon()).unwrap();
}

#[test]
fn a_notification_arrives_without_a_request() {
    let Some(database) = real::database() else { return };
    let mut primary = Primary::new(database.servers.clone());
    connect(&mut primary);
    primary.request(Request::of("LISTEN draw", &[]).unwrap(), soon());
    let Event::Done(Ok(_)) = next(&mut primary) else { panic!("not listening") };
    database.script("NOTIFY draw, 'closed'");
    let Event::Notification { channel, payload, .. } = next(&mut primary) else {
        panic!("no notification")
    };
    assert_eq!((channel.as_str(), payload.as_str()), ("draw", "closed"));
    assert!(primary.is_idle());
}

#[test]
fn a_request_larger_than_the_buffers_of_the_socket_arrives() {
    let Some(database) = real::database() else { return };
    let mut primary = Primary::new(database.servers.clone());
    connect(&mut primary);
    let value = (0..20_000_000u32).map(|index| (index % 251) as u8).collect::<Vec<_>>();
    let halves = value.split_at(value.len() / 2);
    // The second round uses the memory of the first one.
    for _ in 0..2 {
        let mut request = primary.new_request();
        let sql = "SELECT b FROM unnest($1::bytea[]) WITH ORDINALITY AS u (b, n) ORDER BY n";
        request.add(sql, &[Param::BytesArray(&[halves.0, halves.1])]).unwrap();
        primary.request(request, soon());
        let Event::Done(Ok(replies)) = next(&mut primary) else { panic!("no reply") };
        let rows = replies.of(0).rows().map(|row| row.get(0).unwrap()).collect::<Vec<&[u8]>>();
        assert!(rows == [halves.0, halves.1]);
    }
}

#[test]
fn a_request_under_way_can_be_given_up() {
    let Some(database) = real::database() else { return };
    let mut primary = Primary::new(database.servers.clone());
    connect(&mut primary);
    primary.request(Request::of("SELECT 1 FROM pg_sleep(60)", &[]).unwrap(), soon());
    assert!(primary.advance(Instant::now()).is_none());
    primary.disconnect();
    connect(&mut primary);
    assert_eq!(ask::<i32>(&mut primary, "SELECT 7"), 7);
}

#[test]
fn a_session_that_was_lost_stays_lost() {
    let Some(database) = real::database() else { return };
    let mut session = database.session();
    let request = || Request::of("SELECT 1 FROM pg_sleep(60)", &[]).unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    let Err(SessionError::Lost(lost)) = session.execute(request(), deadline) else {
        panic!("not lost")
    };
    assert!(lost.under_way && matches!(lost.cause.fault, Fault::Deadline(..)), "{lost}");
    assert!(matches!(session.execute(request(), soon()), Err(SessionError::Ended)));
}

#[test]
fn a_wrong_password_and_a_missing_database_are_named() {
    let Some(database) = real::database() else { return };
    let address = database.servers.addresses().next().unwrap();
    let connect = |url: &str, sources: &PasswordSources| {
        let servers = url.parse::<Url>().unwrap().resolve_with(sources).unwrap();
        let Err(NoPrimary(mut faults)) = Session::connect(&servers, soon()) else {
            panic!("connected")
        };
        faults.pop().unwrap().fault
    };
    let none = PasswordSources::default();
    let wrong = connect(&format!("postgres://lottery:wrong@{address}/postgres"), &none);
    assert!(matches!(&wrong, Fault::Server(error) if error.is_authentication_failure()), "{wrong}");
    let missing = connect(&format!("postgres://lottery@{address}/postgres"), &none);
    assert!(matches!(missing, Fault::NoPassword), "{missing}");
    assert!(wrong.is_permanent() && missing.is_permanent());

    let mut servers = database.servers.clone();
    servers.set_database("no_such_database");
    let Err(NoPrimary(faults)) = Session::connect(&servers, soon()) else { panic!("connected") };
    let Fault::Server(error) = &faults[0].fault else { panic!("{faults:?}") };
    assert!(error.is_undefined_database(), "{error}");
}

#[test]
fn the_password_of_a_file_is_used_for_the_host_that_it_names() {
    let Some(database) = real::database() else { return };
    database.script("DROP ROLE IF EXISTS filed; CREATE ROLE filed LOGIN PASSWORD 'p:w\\'");
    let address = database.servers.addresses().next().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("passwords");
    let lines =
        format!("other:*:*:*:wrong\n{}:{}:*:filed:p\\:w\\\\\n", address.ip(), address.port());
    fs::write(&path, lines).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let url =
        format!("postgres://filed@{address}/{}?application_name=x", database.servers.database());
    let servers = url.parse::<Url>().unwrap().resolve_with(&PasswordSources::file(&path)).unwrap();
    let mut primary = Primary::new(servers);
    connect(&mut primary);
    assert_eq!(ask::<String>(&mut primary, "SELECT current_user::text"), "filed");
    assert_eq!(ask::<String>(&mut primary, "SELECT current_setting('application_name')"), "x");
    drop(primary);
    database.script("DROP ROLE filed");
}
