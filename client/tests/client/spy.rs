//! `loteria-agency spy`: it forwards everything unchanged and at once, and prints what it says.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use lottery::protocol::DIALECTS;
use nix::sys::signal::Signal::{SIGINT, SIGTERM};
use socket2::SockRef;

use crate::check::{each, report_of};
use crate::support::{ClosedPort, PATIENCE, PROMPT, Random, Running, Setup};
use crate::teach::teach;

/// A running proxy.
struct Spy {
    running: Running,
    address: SocketAddr,
}

/// Starts a proxy before a server.
fn spy(dialect: &str, target: SocketAddr) -> Spy {
    let target = target.to_string();
    let mut running =
        Setup::new().args(["spy", "--protocol", dialect, "127.0.0.1:0", &target]).start();
    let line = running.wait_for(" from ");
    Spy { running, address: line.split(' ').nth(2).unwrap().parse().unwrap() }
}

/// A proxy and both ends of one connection through it.
struct Forwarded {
    spy: Spy,
    agency: TcpStream,
    central: TcpStream,
}

fn forwarded(dialect: &str) -> Forwarded {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let spy = spy(dialect, listener.local_addr().unwrap());
    let agency = TcpStream::connect(spy.address).unwrap();
    let (central, _) = listener.accept().unwrap();
    for stream in [&agency, &central] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    Forwarded { spy, agency, central }
}

impl Forwarded {
    /// Sends a request, then its reply.
    fn exchange(&mut self, request: &[u8], reply: &[u8]) {
        self.agency.write_all(request).unwrap();
        assert_eq!(receive(&mut self.central, request.len()), request);
        self.central.write_all(reply).unwrap();
        assert_eq!(receive(&mut self.agency, reply.len()), reply);
    }
}

fn receive(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_check_through_the_proxy_passes_in_every_dialect_and_every_message_is_decoded() {
    each(DIALECTS, |dialect| {
        let server = teach(dialect.name, None);
        let spy = spy(dialect.name, server.address);
        let report = report_of(dialect.name, spy.address, &["--beyond", "--timeout", "4s"]);
        assert_eq!((report.code, report.failed()), (Some(0), vec![]), "{}", dialect.name);
        spy.running.signal(SIGINT);
        let ended = spy.running.finish();
        assert_eq!((ended.code, &*ended.errors), (Some(0), ""), "{}", dialect.name);
        let undecoded = ended.lines.iter().find(|line| {
            line.contains("<--") && line.contains(" bytes, ") && !line.contains("within")
        });
        assert_eq!(undecoded, None, "{}", dialect.name);
        let bets = "Tiago Nicolás, Rivera, 34407251, 2001-08-29";
        let message = if dialect.agency.is_some() { bets } else { "message \"[CLIENT 1] " };
        assert!(ended.count(message) > 0, "{}: {:#?}", dialect.name, ended.lines);
    });
}

#[test]
fn messages_are_printed_with_the_connection_and_the_direction() {
    let mut forwarded = forwarded("typed");
    let record = "Tiago Nicolás;Rivera;34407251;2001-08-29;7574";
    let record = [&[0, record.len() as u8][..], record.as_bytes()].concat();
    let batch = [&[0, 0, 4][..], &record.repeat(4)].concat();
    forwarded.exchange(&batch, &[&[0, 1][..], &record].concat());
    let bet = "    Tiago Nicolás, Rivera, 34407251, 2001-08-29, 7574";
    let line = forwarded.spy.running.wait_for("-->");
    // The time of day comes first.
    assert_eq!(
        line.find(" #1 --> batch: 4 bets (195 bytes)"),
        Some("23:59:59.999".len()),
        "{line}"
    );
    for expected in [bet, bet, bet, "    … 1 more bets"] {
        assert_eq!(forwarded.spy.running.wait_for("    "), expected);
    }
    let line = forwarded.spy.running.wait_for("<--");
    assert!(line.ends_with(" #1 <-- batch stored, 1 winner (34407251) (50 bytes)"), "{line}");

    forwarded.exchange(&[1], &[0, 0, 2, 0, 0, 0, 9]);
    let line = forwarded.spy.running.wait_for("-->");
    assert!(line.ends_with(" #1 --> results? (1 byte)"), "{line}");
    let line = forwarded.spy.running.wait_for("<--");
    assert!(line.ends_with(" #1 <-- partial, 2 in flight: 9 winners (7 bytes)"), "{line}");
}

#[test]
fn what_cannot_be_decoded_is_shown_with_the_reason() {
    let mut forwarded = forwarded("counted");
    forwarded.exchange(&[0, 0, 0], b"A\x07");
    let spy = &mut forwarded.spy.running;
    let line = spy.wait_for("-->");
    assert!(
        line.ends_with(
            "3 bytes, not a valid message: agency 0 is not valid, agencies are \
                            numbered from 1"
        ),
        "{line}"
    );
    assert_eq!(spy.wait_for("|"), format!("    00000000  00 00 00{:41}|...|", ""));
    let line = spy.wait_for("<--");
    assert!(line.contains(" #1 <-- 2 bytes, not a valid reply: "), "{line}");
    assert_eq!(spy.wait_for("|"), format!("    00000000  41 07{:44}|A.|", ""));
}

#[test]
fn two_replies_in_one_segment_belong_to_the_requests_in_their_order() {
    let mut forwarded = forwarded("framed");
    let message = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let both = [message("0\n"), message("FINISHED|3")].concat();
    forwarded.exchange(&both, b"SUCCESS|0\nACK\n");
    let spy = &mut forwarded.spy.running;
    for end in ["batch: 0 bets (4 bytes)", "agency 3 has finished (12 bytes)"] {
        let line = spy.wait_for("-->");
        assert!(line.ends_with(end), "{line}");
    }
    for end in ["batch stored (10 bytes)", "finish acknowledged (4 bytes)"] {
        let line = spy.wait_for("<--");
        assert!(line.ends_with(end), "{line}");
    }
}

#[test]
fn a_byte_is_forwarded_before_its_message_is_complete() {
    let mut forwarded = forwarded("framed");
    for byte in *b"\x00\x0412" {
        forwarded.agency.write_all(&[byte]).unwrap();
        assert_eq!(receive(&mut forwarded.central, 1), [byte]);
        forwarded.central.write_all(&[byte]).unwrap();
        assert_eq!(receive(&mut forwarded.agency, 1), [byte]);
    }
}

#[test]
fn any_bytes_pass_unchanged_in_both_directions_at_the_same_time() {
    let random = &mut Random::new();
    let mut bytes = || (0..300_000).map(|_| random.below(256) as u8).collect::<Vec<_>>();
    let (there, back) = (bytes(), bytes());
    for dialect in DIALECTS {
        let Forwarded { spy: _spy, agency, central } = forwarded(dialect.name);
        let send = |mut stream: &TcpStream, bytes: &[u8]| {
            stream.write_all(bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        };
        let receive = |mut stream: &TcpStream| {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes
        };
        thread::scope(|scope| {
            scope.spawn(|| send(&agency, &there));
            scope.spawn(|| send(&central, &back));
            scope.spawn(|| assert!(receive(&agency) == back, "{}", dialect.name));
            assert!(receive(&central) == there, "{}", dialect.name);
        });
    }
}

#[test]
fn an_agency_that_ends_its_direction_still_receives() {
    let Forwarded { mut spy, mut agency, mut central } = forwarded("line");
    agency.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    assert_eq!(central.read_to_end(&mut rest).unwrap(), 0);
    central.write_all(b"late").unwrap();
    assert_eq!(receive(&mut agency, 4), b"late");
    let line = spy.running.wait_for("-->");
    assert!(line.ends_with("end of the stream"), "{line}");
    let line = spy.running.wait_for("<--");
    assert!(line.ends_with("4 bytes, no request without a reply precedes it"), "{line}");
}

#[test]
fn a_reset_is_forwarded_as_a_reset_in_both_directions() {
    for agency_resets in [true, false] {
        let Forwarded { mut spy, agency, central } = forwarded("typed");
        let (from, mut to) = if agency_resets { (agency, central) } else { (central, agency) };
        SockRef::from(&from).set_linger(Some(Duration::ZERO)).unwrap();
        drop(from);
        let error = to.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{agency_resets}");
        let arrow = if agency_resets { "-->" } else { "<--" };
        let line = spy.running.wait_for("reset");
        assert!(line.ends_with(&format!(" #1 {arrow} reset")), "{line}");
    }
}

#[test]
fn without_a_server_the_agency_gets_a_reset_and_the_reason_is_printed() {
    let closed = ClosedPort::new();
    let mut spy = spy("typed", closed.address());
    let mut agency = TcpStream::connect(spy.address).unwrap();
    agency.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(agency.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let line = spy.running.wait_for("#1");
    assert!(line.contains(&format!("{}: Connection refused", closed.address())), "{line}");
}

#[test]
fn a_signal_ends_the_proxy_with_0() {
    for signal in [SIGTERM, SIGINT] {
        let forwarded = forwarded("echo");
        forwarded.spy.running.signal(signal);
        assert_eq!(forwarded.spy.running.finish_within(PROMPT).code, Some(0));
    }
}

#[test]
fn an_address_in_use_is_named_and_exits_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let setup = Setup::new().args(["spy", "--protocol", "echo", &address, "127.0.0.1:1"]);
    let ended = setup.finish();
    assert_eq!(ended.code, Some(1));
    let expected = format!("client: cannot listen on {address}: Address already in use");
    assert!(ended.errors.starts_with(&expected), "{}", ended.errors);
}
