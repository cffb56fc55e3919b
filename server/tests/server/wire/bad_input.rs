//! Bad input in `typed` harms only its sender: its connection closes without a reply, the log has
//! one line, nothing is stored, and no worker dies.

use crate::harness::{CentralProcess, Setup, eventually, packet_of, packet_of_records, refusals};
use lottery::Results;

/// What the sender does after its bytes.
#[derive(Clone, Copy, Debug)]
enum Then {
    Waits,
    Closes,
    HalfCloses,
    Resets,
}

/// Bytes that are not a valid request, and the reason that the central logs.
struct Case {
    bytes: Vec<u8>,
    then: Then,
    reason: String,
}

fn case(bytes: impl Into<Vec<u8>>, then: Then, reason: impl Into<String>) -> Case {
    Case { bytes: bytes.into(), then, reason: reason.into() }
}

fn setup() -> Setup {
    Setup::new()
}

/// Returns every kind of bad request that is small enough to be sent at once.
fn cases() -> Vec<Case> {
    use Then::{Closes, HalfCloses, Resets, Waits};
    let good = "Santiago Lionel;Lorca;30904465;1999-03-17;7574";
    let batch = packet_of_records(&[good, good]);
    let mut cases = vec![
        case([0, 0, 0], Waits, "batch of 0 records"),
        case([0, 0, 1, 0xff, 0xff], Waits, "record 1 announces 65535 bytes"),
        case(
            [&[0, 0, 1, 0xff, 0xff][..], &vec![b'x'; 65_535]].concat(),
            Waits,
            "record 1 announces 65535 bytes",
        ),
        case(
            packet_of_records(&[good.as_bytes(), b"\xff\xfe;B;1;1999-03-17"]),
            Waits,
            "record 2 is not UTF-8",
        ),
    ];
    let records = [
        (String::new(), "record 2 has 1 fields"),
        ("A;B;1".to_owned(), "record 2 has 3 fields"),
        ("A;B;1;1999-03-17;5;6".to_owned(), "record 2 has 6 fields"),
        ("A;B;1;1999-02-29".to_owned(), "record 2: birthdate"),
        ("A;B;1; 1999-03-17".to_owned(), "record 2: birthdate"),
        ("A;B;1;".to_owned(), "record 2: birthdate"),
        ("A;B;1;1999-03-17;seven".to_owned(), "record 2: number"),
        ("A;B;1;1999-03-17;4294967296".to_owned(), "record 2: number"),
        (format!("{};B;1;1999-03-17", "x".repeat(256)), "record 2: first name has 256 bytes"),
        (format!("A;{};1;1999-03-17", "ñ".repeat(128)), "record 2: last name has 256 bytes"),
        ("A\nB;B;1;1999-03-17".to_owned(), "control character U+000A"),
        ("A;B\0;1;1999-03-17".to_owned(), "control character U+0000"),
        ("A;B;\u{1b}[31m;1999-03-17".to_owned(), "control character U+001B"),
    ];
    for (record, reason) in records {
        // The bad record is the last of an otherwise valid batch.
        cases.push(case(packet_of_records(&[good, &record]), Waits, reason));
    }
    let announced = [&[0, 0xff, 0xff][..], &batch[3..]].concat();
    for (then, reason) in
        [(Closes, "closed before"), (HalfCloses, "closed before"), (Resets, "reset by peer")]
    {
        for cut in [1, 2, 3, 4, 20, batch.len() - 1] {
            cases.push(case(&batch[..cut], then, reason));
        }
        cases.push(case(announced.clone(), then, reason));
    }
    cases.extend((2..=255).map(|kind| case([kind], Waits, format!("unknown request type {kind}"))));
    cases
}

/// Sends a bad request and asserts that there is no reply. Returns the port of the sender.
fn send_bad(central: &CentralProcess<'_>, bytes: &[u8], then: Then) -> u16 {
    let mut agency = central.connect();
    let port = agency.port();
    agency.send(bytes);
    match then {
        Then::Closes => return port,
        Then::Resets => {
            // A reset that overtakes the bytes would leave no request at all.
            eventually("the agency in flight", || central.results().in_flight, |count| *count > 0);
            agency.reset();
            return port;
        }
        Then::HalfCloses => agency.end_sending(),
        Then::Waits => {}
    }
    // The connection ends without a reset: the central resets only clients that go on sending long
    // after a refusal.
    assert!(agency.read_to_end().is_empty(), "a reply to {:?}...", &bytes[..bytes.len().min(60)]);
    port
}

#[test]
fn every_bad_request_is_refused_with_one_line_and_nothing_else() {
    let setup = setup();
    let central = setup.start();
    let pids = central.worker_pids();
    let cases = cases();
    let mut ports = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        ports.push(send_bad(&central, &case.bytes, case.then));
        if number % 10 == 0 {
            let reply = central.request(&packet_of(&format!("honest{number}"), 1, 1));
            assert_eq!(reply[..2], [0, 1], "an honest client after case {number}");
        }
    }
    central.none_in_flight_within_a_second();
    assert_eq!(central.worker_pids(), pids);
    let honest = cases.len().div_ceil(10);
    assert_eq!(setup.rows().len(), honest);
    assert!(setup.rows().iter().all(|row| row.contains(",honest")));
    assert_eq!(central.results(), Results { winners: honest as u64, in_flight: 0 });
    let refused: u64 = central.worker_numbers("refused").into_iter().sum();
    assert_eq!(refused, cases.len() as u64);

    let log = central.stop_and_read_log();
    for (Case { bytes, then, reason }, port) in cases.iter().zip(&ports) {
        let lines = refusals(&log, *port);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        // Several connections may have had the same port, one after the other.
        let sent = ports.iter().filter(|other| *other == port).count();
        assert_eq!(lines.len(), sent, "{shown:?} and {then:?}: {lines:?}");
        let named = lines.iter().any(|line| line.contains(reason.as_str()));
        assert!(named, "{shown:?} and {then:?}: {lines:?}, not {reason:?}");
    }
}
