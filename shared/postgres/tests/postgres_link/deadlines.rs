//! Servers that do not answer: every step has a deadline.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use postgres_link::{Event, Fault, Primary, Request, Step};
use socket2::{Domain, Socket, Type};

use crate::harness::{connect, fake, next};

/// Time that these tests give a server.
const SHORT: Duration = Duration::from_millis(100);

/// Returns the only fault of a round over the server.
fn fault_of(address: SocketAddr) -> Fault {
    let mut servers = fake::list(&[address]);
    servers.set_connect_timeout(SHORT);
    match next(&mut Primary::new(servers)) {
        Event::NoPrimary(mut faults) => faults.pop().unwrap().fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_host_that_does_not_answer_costs_the_connect_timeout() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    // The queue of the listener has one place, and further attempts get no answer.
    let _queued = TcpStream::connect(address).unwrap();
    assert!(matches!(fault_of(address), Fault::Deadline(Step::Connect, SHORT)));
}

#[test]
fn a_server_that_accepts_and_is_silent_costs_the_connect_timeout() {
    let address = fake::start(|mut client| client.wait_for_end());
    assert!(matches!(fault_of(address), Fault::Deadline(Step::Authenticate, SHORT)));
}

#[test]
fn a_server_that_falls_silent_in_its_greeting_costs_the_connect_timeout() {
    let greeting = fake::greeting("off");
    // The server goes one byte further with each connection.
    let mut length = 0;
    let address = fake::start(move |mut client| {
        client.read_startup();
        client.send(&greeting[..length]);
        length = (length + 23).min(greeting.len() - 1);
        client.wait_for_end();
    });
    for _ in 0..6 {
        assert!(matches!(fault_of(address), Fault::Deadline(Step::Authenticate, SHORT)));
    }
}

#[test]
fn a_request_without_an_answer_ends_the_connection_and_its_outcome_is_unknown() {
    let address = fake::start(|mut client| {
        client.greet();
        client.wait_for_end();
    });
    let mut primary = Primary::new(fake::list(&[address]));
    connect(&mut primary);
    let generation = primary.generation();
    primary.request(Request::of("SELECT 1", &[]).unwrap(), Instant::now() + SHORT);
    assert!(!primary.is_idle());
    let Event::Lost(lost) = next(&mut primary) else { panic!("not lost") };
    assert!(matches!(lost.cause.fault, Fault::Deadline(Step::Request, _)), "{lost}");
    assert!(lost.under_way);
    assert!(lost.to_string().ends_with("; the outcome of the request is unknown"), "{lost}");
    connect(&mut primary);
    assert!(primary.generation() > generation);
}

#[test]
fn an_answer_that_arrived_in_time_counts_although_the_caller_is_late() {
    let address = fake::start(|mut client| {
        client.greet();
        client.read_request();
        client.send(&fake::one_row(5));
        client.wait_for_end();
    });
    let mut primary = Primary::new(fake::list(&[address]));
    connect(&mut primary);
    primary.request(Request::of("SELECT 1", &[]).unwrap(), Instant::now() + SHORT);
    assert!(primary.advance(Instant::now()).is_none());
    // The caller was stopped meanwhile, for example by SIGSTOP.
    std::thread::sleep(SHORT * 3);
    let Some(Event::Done(answer)) = primary.advance(Instant::now()) else { panic!("no answer") };
    assert_eq!(answer.unwrap().of(0).first().unwrap().get(0), Ok(5));
}

#[test]
fn a_connection_without_a_request_has_no_deadline() {
    let address = fake::start(|mut client| {
        client.greet();
        client.wait_for_end();
    });
    let mut primary = Primary::new(fake::list(&[address]));
    connect(&mut primary);
    assert_eq!(primary.wake_at(), None);
    let late = Instant::now() + Duration::from_secs(3600);
    assert!(primary.advance(late).is_none());
    assert!(primary.is_idle());
}
