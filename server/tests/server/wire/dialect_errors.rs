//! Bad input in the dialects with a draw gets the error reply of the dialect and one log line.
//! Nothing is stored, the connection goes on or ends as the dialect says, and other clients are
//! served. The cases are those of the descriptions of the dialects.

use crate::harness::{
    CentralProcess, Participant, Setup, codec, draw_dialects, from_hex, numbered_bet, packet_in,
    receipt, refusals, vector,
};

/// Number of an honest agency beside the faulty one.
const HONEST: u16 = 200;

/// What happens to the connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    GoesOn,
    Ends,
}

use Then::{Ends, GoesOn};

/// A bad message, sent at once, and all its consequences.
struct Case {
    bytes: Vec<u8>,
    reply: Vec<u8>,
    then: Then,
    /// Bets of the refused batch, if it was one.
    refused_bets: Option<usize>,
    /// A part of the log line.
    reason: &'static str,
}

fn setup(dialect: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", dialect)
}

/// Returns a bet of an edition of `counted`, whose name lengths have `width` bytes. Document and
/// number are 1.
fn counted_bet(width: usize, agency: u8, first_name: &[u8], date: &[u8; 10]) -> Vec<u8> {
    let length = |name: &[u8]| (name.len() as u16).to_be_bytes()[2 - width..].to_vec();
    let name = |name: &[u8]| [length(name), name.to_vec()].concat();
    [&[agency][..], &name(first_name), &name(b"B"), &[0, 0, 0, 1], date, &[0, 1]].concat()
}

fn counted_cases(dialect: &str) -> Vec<Case> {
    let width = if dialect == "counted" { 2 } else { 1 };
    let good = |agency| counted_bet(width, agency, b"A", b"1999-03-17");
    let batch =
        |bets: &[Vec<u8>]| [&(bets.len() as u16).to_be_bytes()[..], &bets.concat()].concat();
    let case = |bytes, refused_bets, reason| Case {
        bytes,
        reply: vector(dialect, "error"),
        then: Ends,
        refused_bets,
        reason,
    };
    let bad_date = batch(&[counted_bet(width, 1, b"A", b"1999-13-17")]);
    let bad_name = batch(&[counted_bet(width, 1, b"\xff", b"1999-01-01")]);
    if width == 1 {
        assert_eq!(
            bad_date,
            from_hex("0001010141014200000001313939392d31332d31370001"),
            "as observed"
        );
    }
    let mut cases = vec![
        case(bad_date, Some(1), "record 1: birthdate"),
        case(bad_name, Some(1), "record 1 is not UTF-8"),
        case(
            batch(&[good(1), counted_bet(width, 1, b"A", b"17/03/1999")]),
            Some(2),
            "record 2: birthdate",
        ),
        case(batch(&[good(0)]), Some(1), "agency 0 is not valid"),
        case(batch(&[good(1), good(2)]), Some(2), "agency 2 on a connection of agency 1"),
        case(vec![0, 0, 0], None, "agency 0 is not valid"),
    ];
    if width == 2 {
        let long = counted_bet(width, 1, &[b'A'; 256], b"1999-03-17");
        cases.push(case(batch(&[long]), Some(1), "first name has 256 bytes"));
    }
    cases
}

fn line_cases() -> Vec<Case> {
    let end = "[AGENCY 1] BetBatchEnd\n";
    let good = "[AGENCY 1] Bet 1,A,B,1,1999-03-17\n";
    let case = |text: String, refused_bets, reason| Case {
        bytes: text.into_bytes(),
        reply: vec![],
        then: Ends,
        refused_bets,
        reason,
    };
    vec![
        case(format!("[AGENCY 1] Bet 1,A,B,1\n{end}"), Some(1), "record 1 has 4 fields"),
        case(
            format!("{good}[AGENCY 1] Bet 1,A,B,1,1999-02-29\n{end}"),
            Some(2),
            "record 2: birthdate",
        ),
        case(
            format!("{good}[AGENCY 1] Bet x,A,B,1,1999-03-17\n{end}"),
            Some(2),
            "record 2: number",
        ),
        case("[AGENCY 1]\n".to_owned(), None, "record 1 is not a line of the form"),
        case("\n".to_owned(), None, "record 1 is not a line of the form"),
        case(format!("{good}\n{end}"), Some(2), "record 2 is not a line of the form"),
        case("[AGENCY 0] BetBatchEnd\n".to_owned(), None, "record 1 has no agency from 1 to 65535"),
        case(
            "[AGENCY 65536] ReadyForLottery\n".to_owned(),
            None,
            "record 1 has no agency from 1 to 65535",
        ),
        case(format!("{good}[AGENCY 1] ReadyForLottery\n"), Some(1), "must not follow bets"),
    ]
}

fn framed_cases() -> Vec<Case> {
    let framed = |text: &[u8]| [&(text.len() as u16).to_be_bytes()[..], text].concat();
    let fail = |text: &[u8], then, bets, reason| Case {
        bytes: framed(text),
        reply: vector("framed", "fail_0"),
        then,
        refused_bets: Some(bets),
        reason,
    };
    let error = |text: &str, message: &str, reason| Case {
        bytes: framed(text.as_bytes()),
        reply: format!("ERROR|Invalid {message} format: {}\n", text.trim_end()).into_bytes(),
        then: GoesOn,
        refused_bets: None,
        reason,
    };
    let good = "1|A|B|1|1999-03-17|1\n";
    vec![
        fail(b"", GoesOn, 0, "batch of 0 records"),
        fail(b"x\n", GoesOn, 0, "announces \"x\" records"),
        fail(format!("3\n{good}{good}").as_bytes(), GoesOn, 3, "announces \"3\" records and has 2"),
        fail(format!("1\n{good}{good}").as_bytes(), GoesOn, 1, "announces \"1\" records and has 2"),
        fail(b"1\n1|A|B|1|1999-03-17", GoesOn, 1, "record 1 has 5 fields"),
        fail(format!("2\n{good}1|A|B|1|1999-02-30|1").as_bytes(), GoesOn, 2, "record 2: birthdate"),
        fail(b"1\n0|A|B|1|1999-03-17|1", GoesOn, 1, "record 1 has no agency"),
        fail(b"1\n1|A|B|1|1999-03-17|x", GoesOn, 1, "record 1: number"),
        fail(b"HELLO|1\n", GoesOn, 1, "record 1 has 2 fields"),
        fail(b"FINISHED", GoesOn, 0, "announces \"FINISHED\" records"),
        fail(b"1\n1|\xff|B|1|1999-03-17|1\n", Ends, 1, "record 1 is not UTF-8"),
        error(
            "QUERY_WINNERS|2|3\n",
            "winners query",
            "invalid winners query format: QUERY_WINNERS",
        ),
        error("QUERY_WINNERS|0\n", "winners query", "invalid winners query format"),
        error("FINISHED|2|x\n", "finished message", "invalid finished message format"),
        error("FINISHED|0\n", "finished message", "invalid finished message format"),
    ]
}

fn sentinel_cases() -> Vec<Case> {
    // Sent after the hello. The packets are those of the vectors with one change each.
    let good = vector("sentinel", "packet_L");
    let batch = |packets: &[&[u8]]| {
        let payload = packets.concat();
        [&[1][..], &(payload.len() as u16).to_be_bytes(), &payload].concat()
    };
    let changed = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        packet
    };
    let long =
        [&[0, 54, 31][..], &[b'A'; 31], &[1, b'B'], b"2000-01-01", &[0, 0, 0, 1, 0, 0, 0, 1]]
            .concat();
    let original = "006000341f414141414141414141414141414141414141414141414141414141414141410142323030302d30312d303100000001\
                    0000000100280f53616e746961676f204c696f6e656c054c6f726361313939392d30332d313701d7909100001d96";
    let case = |bytes, bets, reason| Case {
        bytes,
        reply: vector("sentinel", "err"),
        then: GoesOn,
        refused_bets: Some(bets),
        reason,
    };
    // After a u16 length, a name of 1 + 15 bytes and a name of 1 + 5 bytes, the date begins at byte
    // 24, its month at byte 29.
    vec![
        case([&[1][..], &from_hex(original)].concat(), 2, "characters of the first name: 31"),
        case(batch(&[&good, &long]), 2, "fields of record 2 do not fill it"),
        case(batch(&[&changed(29, b'9')]), 1, "record 1: birthdate"),
        case(batch(&[&good, &changed(3, 0xff)]), 2, "record 2 is not UTF-8"),
        case(batch(&[&good, &changed(24, b' ')]), 2, "record 2: birthdate"),
        case(batch(&[&good[..good.len() - 1]]), 1, "fields of record 1 do not fill it"),
        case(batch(&[&good, &[0]]), 2, "fields of record 2 do not fill it"),
        Case {
            reply: vec![],
            then: Ends,
            refused_bets: None,
            ..case(vec![0], 0, "agency 0 is not valid")
        },
    ]
}

fn keyed_cases() -> Vec<Case> {
    let good = vector("keyed", "batch_L");
    let error = |code: u8, text: &str| {
        let length = u32::try_from(9 + text.len()).unwrap().to_be_bytes();
        [&[0x81, 0xFF][..], &length, &[code, 0, 0, 0, 0, 0, 0, 0, 0], text.as_bytes()].concat()
    };
    let case = |bytes, refused_bets, reason| Case {
        bytes,
        reply: error(0x30, reason),
        then: GoesOn,
        refused_bets,
        reason,
    };
    let changed = |offset: usize, byte: u8| {
        let mut batch = good.clone();
        batch[offset] = byte;
        batch
    };
    // Version, type and length take 6 bytes, session 16, agency 2, sequence 8, count 2, and the
    // length of the record 2.
    let ends = |code, bytes, reason| Case {
        reply: error(code, reason),
        then: Ends,
        ..case(bytes, None, reason)
    };
    vec![
        case(changed(23, 0), Some(1), "agency 0 is not valid, agencies are numbered from 1"),
        case(
            changed(31, 0),
            Some(1),
            "batch 0 of a session is not valid, batches are numbered from 1",
        ),
        case(changed(33, 0), Some(0), "batch of 0 records"),
        case(changed(33, 2), Some(2), "record 2 ends after its message"),
        case(changed(36, 0xFF), Some(1), "record 1 is not UTF-8"),
        case(
            vec![0x81, 6, 0, 0, 0, 0],
            None,
            "unknown request type 6, expected 1 for a batch, 2 for the results, 3 to finish, 4 \
             for the winners or 5 for a session",
        ),
        case(
            vec![0x81, 3, 0, 0, 0, 1, 1],
            None,
            "a message of type 0x03 cannot have a body of 1 bytes",
        ),
        ends(0x37, changed(0, 0x82), "unknown version 0x82, expected 0x81"),
        ends(0x30, changed(2, 1), "request of more than the allowed 4194304 bytes"),
    ]
}

fn cases(dialect: &str) -> Vec<Case> {
    match dialect {
        "line" => line_cases(),
        "framed" => framed_cases(),
        "sentinel" => sentinel_cases(),
        "keyed" => keyed_cases(),
        _ => counted_cases(dialect),
    }
}

/// Asserts that an honest agency is served on a connection of its own.
fn assert_serves_others(central: &CentralProcess<'_>, dialect: &str) {
    let stored =
        Participant::connect(central.port, dialect, HONEST).store(&[numbered_bet(1, false)]);
    assert_eq!(stored, receipt(dialect, 0), "{dialect}");
}

#[test]
fn bad_input_gets_the_error_reply_of_the_dialect_and_harms_no_other_client() {
    for dialect in draw_dialects() {
        let setup = setup(dialect);
        let central = setup.start();
        let (cases, workers) = (cases(dialect), central.worker_pids());
        let mut ports = Vec::new();
        for (served, Case { bytes, reply, then, reason, .. }) in (1..).zip(&cases) {
            let mut agency = central.connect();
            ports.push(agency.port());
            agency.send(bytes);
            assert_eq!(agency.read_bytes(reply.len()), *reply, "{dialect}: {reason}");
            match then {
                Ends => assert!(agency.read_to_end().is_empty(), "{dialect}: {reason}"),
                GoesOn => assert!(agency.is_quiet(), "{dialect}: {reason}"),
            }
            assert_serves_others(&central, dialect);
            assert_eq!(setup.rows().len(), served, "{dialect}: {reason}");
        }
        central.none_in_flight_within_a_second();
        assert!(
            setup.rows().iter().all(|row| row.starts_with("200,")),
            "{dialect}: {:?}",
            setup.rows()
        );
        assert_eq!(central.worker_pids(), workers, "{dialect}");
        assert_eq!((central.number("worker_deaths"), central.number("agencies_finished")), (0, 0));
        let log = central.stop_and_read_log();
        for (Case { reason, .. }, port) in cases.iter().zip(&ports) {
            let lines = refusals(&log, *port);
            let sent = ports.iter().filter(|other| *other == port).count();
            assert_eq!(lines.len(), sent, "{dialect}: {reason}: {lines:?}");
            assert!(
                lines.iter().any(|line| line.contains(reason)),
                "{dialect}: {lines:?}, not {reason:?}"
            );
        }
        let failed = log
            .iter()
            .filter_map(|line| line.split_once("apuesta_recibida | result: fail | cantidad: "));
        let failed: Vec<usize> = failed.map(|(_, bets)| bets.parse().unwrap()).collect();
        let expected: Vec<_> = cases.iter().filter_map(|case| case.refused_bets).collect();
        assert_eq!(failed, expected, "{dialect}: bets of the refused batches");
    }
}

#[test]
fn a_connection_that_goes_on_after_an_error_accepts_good_batches() {
    for dialect in ["framed", "sentinel", "keyed"] {
        let setup = setup(dialect);
        let central = setup.start();
        for case in cases(dialect).iter().filter(|case| case.then == GoesOn) {
            let rows = setup.rows().len();
            let mut agency = central.connect();
            agency.send(&case.bytes);
            assert_eq!(agency.read_bytes(case.reply.len()), case.reply);
            if case
                .bytes
                .windows(8)
                .any(|window| window == b"FINISHED" && case.refused_bets.is_none())
            {
                // Only a query may follow FINISHED, whether that was valid or not.
                continue;
            }
            let (batch, ok) = match dialect {
                "framed" => (vector(dialect, "batch_L"), vector(dialect, "success_1")),
                "sentinel" => (vector(dialect, "batch_L"), vector(dialect, "ack")),
                _ => {
                    let batch = packet_in(&mut *codec(dialect, 1), &[numbered_bet(1, false)]);
                    (batch, vector(dialect, "stored_none"))
                }
            };
            agency.send(&batch);
            assert_eq!(agency.read_bytes(ok.len()), ok, "{dialect}: after {}", case.reason);
            assert_eq!(setup.rows().len(), rows + 1);
        }
    }
}
