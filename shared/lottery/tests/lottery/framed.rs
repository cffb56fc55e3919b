//! Tests of the `framed` dialect: the vectors of the original programs, invalid messages and
//! arbitrary bytes.

use crate::common::bets::{alvarez, any_bets, bet, lorca, of_agency, rivera};
use crate::common::conversation::{conversation, mutated, mutations, splits};
use crate::common::{agency_with, encoded, error_reply, filled, packet, refused, request, whole};
use lottery::protocol::{
    AgencyCodec, AgencyOptions, Answer, CentralCodec, Denial, MAX_PACKET_BYTES, ProtocolError,
    Push, Receipt, Refusal, Refused, Then, Unencodable,
};
use lottery::{Bet, InvalidBet, Reply, Request};
use proptest::prelude::*;

const FRAMED: &str = "framed";
const LORCA: &str = "1|Santiago Lionel|Lorca|30904465|1999-03-17|7574\n";
const FINISH: Request<'static> = Request::Finish { agency: 1 };
const QUERY: Request<'static> = Request::Winners { agency: 1, finished: false };

fn vector(name: &str) -> Vec<u8> {
    crate::common::vector(FRAMED, name)
}

fn central() -> Box<dyn CentralCodec> {
    crate::common::central(FRAMED)
}

/// Returns the central's codec after the FINISHED of agency 1.
fn central_after_finished() -> Box<dyn CentralCodec> {
    let mut central = central();
    assert_eq!(whole(&mut *central, &vector("finished_1")), FINISH);
    central
}

fn agency(agency: u16, with_count: bool) -> Box<dyn AgencyCodec> {
    agency_with(FRAMED, &AgencyOptions { with_count, ..AgencyOptions::new(agency, u16::MAX) })
}

/// Returns a message with its length before it.
fn framed(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

/// Returns the bets in a message with this text.
fn bets_of(text: &str) -> Vec<Bet<'static>> {
    match whole(&mut *central(), framed(text).leak()) {
        Request::Store(bets) => bets,
        other => panic!("{other:?}"),
    }
}

fn stored(bets: usize) -> Reply<'static> {
    Reply::Stored { bets, winners: Vec::new() }
}

#[test]
fn batches_of_the_original_are_decoded_and_encoded_to_the_same_bytes() {
    let cases = [
        (1, true, "batch_L", vec![lorca()]),
        (1, true, "batch_LT", vec![lorca(), rivera()]),
        (5, true, "batch_A", vec![alvarez()]),
        (1, false, "ej5_L", vec![lorca()]),
    ];
    for (number, with_count, name, bets) in cases {
        let wire = vector(name);
        assert_eq!(packet(&mut *agency(number, with_count), &bets), wire, "{name}");
        assert_eq!(whole(&mut *central(), &wire), Request::Store(bets), "{name}");
    }
    assert_eq!(whole(&mut *central(), &vector("batch_0")), Request::Store(vec![]));
}

#[test]
fn the_line_echoed_by_the_first_original_equals_the_line_of_the_bet() {
    let batch = packet(&mut *agency(1, true), &[lorca()]);
    assert_eq!(batch[batch.len() - vector("ej5_echo_L").len()..], vector("ej5_echo_L"));
}

#[test]
fn a_stored_batch_is_answered_with_the_number_of_its_bets() {
    for (bets, name) in [(vec![lorca()], "success_1"), (vec![lorca(), rivera()], "success_2")] {
        let (mut central, mut agency) = (central(), agency(1, true));
        whole(&mut *central, &packet(&mut *agency, &bets));
        let reply = vector(name);
        assert_eq!(encoded(&mut *central, &stored(bets.len())), (reply.clone(), Then::Continue));
        assert_eq!(agency.receipt(&reply), Ok(Some(Receipt::Stored { winners: None })));
    }
}

#[test]
fn finished_and_its_acknowledgement_equal_those_of_the_original() {
    let agency = agency(1, true);
    assert_eq!(agency.notification(), Some(vector("finished_1")));
    let mut central = central();
    assert_eq!(whole(&mut *central, &vector("finished_1")), FINISH);
    assert_eq!(encoded(&mut *central, &Reply::Finished), (vector("ack"), Then::Continue));
    assert_eq!(agency.acknowledgement(&vector("ack")), Ok(Some(())));
}

#[test]
fn the_query_and_its_answers_equal_those_of_the_original() {
    let agency = agency(1, true);
    assert_eq!(agency.question(), vector("query_1"));
    let cases = [
        ("winners_L", Reply::Winners(vec!["30904465"]), Answer::Winners(1)),
        ("winners_none", Reply::Winners(vec![]), Answer::Winners(0)),
        (
            "winners_agency4_dataset",
            Reply::Winners(vec!["34963649", "35635602"]),
            Answer::Winners(2),
        ),
        ("not_yet", Reply::NotYet, Answer::NotYet),
    ];
    for (name, reply, answer) in cases {
        // After FINISHED the winners are the last reply. After "not yet" the agency may ask again.
        let last = if reply == Reply::NotYet { Then::Continue } else { Then::Close };
        for (mut central, then) in [(central(), Then::Continue), (central_after_finished(), last)] {
            assert_eq!(whole(&mut *central, &vector("query_1")), QUERY);
            assert_eq!(encoded(&mut *central, &reply), (vector(name), then), "{name}");
        }
        assert_eq!(agency.answer(&vector(name)), Ok(Some(answer)), "{name}");
    }
}

#[test]
fn a_query_may_be_repeated_until_the_agency_has_finished() {
    let mut central = central();
    for _ in 0..2 {
        assert_eq!(whole(&mut *central, &vector("query_1")), QUERY);
        assert_eq!(encoded(&mut *central, &Reply::NotYet).1, Then::Continue);
    }
    assert_eq!(whole(&mut *central, &vector("batch_L")), Request::Store(vec![lorca()]));
    assert_eq!(whole(&mut *central, &vector("finished_1")), FINISH);
}

#[test]
fn integers_are_parsed_as_python_parses_them() {
    let texts =
        ["01|A|B|1|1999-03-17|0007", "+1|A|B|1|1999-03-17|+7", " 1 |A|B|1|1999-03-17| 7 \r"];
    for text in texts {
        let expected = [bet(1, ["A", "B", "1"], "1999-03-17", 7)];
        for text in [text.to_owned(), format!("1\n{text}\n"), format!(" +01 \r\n{text}")] {
            assert_eq!(bets_of(&text), expected, "{text:?}");
        }
    }
    let largest = bet(65_535, ["A", "B", "1"], "1999-03-17", u32::MAX);
    assert_eq!(bets_of("65535|A|B|1|1999-03-17|4294967295"), [largest]);
    for text in ["FINISHED|01", " FINISHED| +1 \n", "\r\nFINISHED|1\r\n"] {
        assert_eq!(whole(&mut *central(), &framed(text)), FINISH, "{text:?}");
    }
    for text in ["QUERY_WINNERS|01", " QUERY_WINNERS| +1 \n", "\r\nQUERY_WINNERS|1\r\n"] {
        assert_eq!(whole(&mut *central(), &framed(text)), QUERY, "{text:?}");
    }
}

#[test]
fn texts_are_unchanged_and_may_be_empty() {
    let kept = bet(1, ["  Ana   María ", "", " x,y;\"z\" "], "1999-03-17", 5);
    assert_eq!(bets_of("1|  Ana   María || x,y;\"z\" |1999-03-17|5"), [kept]);
}

#[test]
fn a_blank_line_is_counted_but_is_not_a_bet() {
    for text in
        [format!("3\n{LORCA} \t\n{LORCA}"), format!("{LORCA}\n\n{LORCA}"), format!("2\n\n{LORCA}")]
    {
        assert!(bets_of(&text).iter().all(|bet| *bet == lorca()), "{text:?}");
    }
    assert_eq!(bets_of(&format!("3\n{LORCA}\n{LORCA}")).len(), 2);
}

#[test]
fn blanks_around_a_message_are_ignored() {
    for text in [
        format!(" \n1\n{LORCA}\n\n "),
        format!("1\n{}", LORCA.trim_end()),
        format!("\r\n{LORCA}\n"),
    ] {
        assert_eq!(bets_of(&text), [lorca()], "{text:?}");
    }
    assert_eq!(bets_of("0"), []);
}

#[test]
fn every_invalid_batch_is_refused_with_fail_and_the_connection_continues() {
    let count =
        |announced: &str, found| ProtocolError::Count { announced: announced.into(), found };
    let fields = |record, found| ProtocolError::FieldCount { record, found, expected: "6" };
    let agency =
        |record| ProtocolError::Malformed { record, reason: "has no agency from 1 to 65535" };
    let bet = |record, source| ProtocolError::Bet { record, source };
    let tab = InvalidBet::ControlCharacter { field: "document", code: 9 };
    let too_long = InvalidBet::TooLong { field: "first name", bytes: 256 };
    // The text, the reported number of bets, and the error.
    let cases = [
        (String::new(), 0, ProtocolError::EmptyBatch),
        (" \r\n\t".into(), 0, ProtocolError::EmptyBatch),
        (format!("x\n{LORCA}"), 1, count("x", 1)),
        (format!("-1\n{LORCA}"), 1, count("-1", 1)),
        (format!("1_0\n{LORCA}{LORCA}"), 2, count("1_0", 2)),
        (format!("2\n{LORCA}"), 2, count("2", 1)),
        (format!("1\n{LORCA}{LORCA}"), 1, count("1", 2)),
        (format!("0\n{LORCA}"), 0, count("0", 1)),
        ("1\n".into(), 1, count("1", 0)),
        ("HELLO".into(), 0, count("HELLO", 0)),
        ("FINISHED".into(), 0, count("FINISHED", 0)),
        ("QUERY_WINNERS".into(), 0, count("QUERY_WINNERS", 0)),
        ("HELLO|1".into(), 1, fields(1, 2)),
        ("finished|1".into(), 1, fields(1, 2)),
        ("1\n1|A|B|1|1999-03-17".into(), 1, fields(1, 5)),
        (format!("2\n{LORCA}1|A|B|1|1999-03-17|1|1"), 2, fields(2, 7)),
        (format!("{LORCA}1\n"), 2, fields(2, 1)),
        ("1\n1|A|B|1|1999-13-17|1".into(), 1, bet(1, InvalidBet::birthdate("1999-13-17"))),
        ("1|A|B|1| 1999-03-17|1".into(), 1, bet(1, InvalidBet::birthdate(" 1999-03-17"))),
        ("1|A|B|1|1999-3-7|1".into(), 1, bet(1, InvalidBet::birthdate("1999-3-7"))),
        ("1|A|B|1|1999-03-17|x".into(), 1, bet(1, InvalidBet::number("x"))),
        ("1|A|B|1|1999-03-17|-1".into(), 1, bet(1, InvalidBet::number("-1"))),
        ("1|A|B|1|1999-03-17|1_0".into(), 1, bet(1, InvalidBet::number("1_0"))),
        ("1|A|B|1|1999-03-17|".into(), 1, bet(1, InvalidBet::number(""))),
        ("1|A|B|1|1999-03-17|4294967296".into(), 1, bet(1, InvalidBet::number("4294967296"))),
        ("1\nx|A|B|1|1999-03-17|1".into(), 1, agency(1)),
        ("0|A|B|1|1999-03-17|1".into(), 1, agency(1)),
        (format!("{LORCA}65536|A|B|1|1999-03-17|1"), 2, agency(2)),
        ("|A|B|1|1999-03-17|1".into(), 1, agency(1)),
        ("1|A|B|\t|1999-03-17|1".into(), 1, bet(1, tab)),
        (format!("1|{}|B|1|1999-03-17|1", "x".repeat(256)), 1, bet(1, too_long)),
    ];
    for (text, bets, error) in cases {
        let wire = framed(&text);
        let mut central = central();
        let (refusal, reply, then) = refused(&mut *central, &wire);
        assert_eq!(
            refusal,
            Refusal { error, bets: Some(bets), consumed: Some(wire.len()) },
            "{text:?}"
        );
        assert_eq!((reply, then), (vector("fail_0"), Then::Continue), "{text:?}");
        assert_eq!(whole(&mut *central, &vector("batch_L")), Request::Store(vec![lorca()]));
    }
}

#[test]
fn a_message_that_is_not_utf_8_is_refused_with_fail_and_the_connection_closes() {
    let invalid = &b"1|\xff|B|1|1999-03-17|1\n"[..];
    // The text, the invalid record, and the number of bets: the lines with a separator.
    let cases = [
        (invalid.to_vec(), 1, Some(1)),
        ([b"1\n", invalid].concat(), 1, Some(1)),
        ([LORCA.as_bytes(), invalid].concat(), 2, Some(2)),
        ([b"2\n", LORCA.as_bytes(), invalid].concat(), 2, Some(2)),
        (
            [b"9\n", invalid, b" \n", LORCA.as_bytes(), LORCA.trim_end().as_bytes()].concat(),
            1,
            Some(3),
        ),
        (b"\xff".to_vec(), 1, Some(0)),
        (b"1\xff\n1|A|B".to_vec(), 1, Some(1)),
        (b"FINISHED|\xff".to_vec(), 1, None),
        (b"QUERY_WINNERS|\xff\n|".to_vec(), 1, None),
    ];
    for (text, record, bets) in cases {
        let (refusal, reply, then) = refused(&mut *central(), &framed(&text));
        let error = ProtocolError::NotUtf8 { record };
        assert_eq!(refusal, Refusal { error, bets, consumed: None }, "{text:?}");
        assert_eq!((reply, then), (vector("fail_0"), Then::Close));
    }
}

#[test]
fn a_malformed_finished_is_quoted_in_the_error_and_only_a_query_may_follow() {
    for text in
        ["FINISHED|2|x", "FINISHED|0", "FINISHED|x", "FINISHED|", "FINISHED|65536", "FINISHED|-1"]
    {
        let mut central = central();
        let (refusal, reply, then) = refused(&mut *central, &framed(format!("{text}\n")));
        let error = ProtocolError::Format { message: "finished message", text: text.into() };
        assert_eq!(refusal, Refusal { error, bets: None, consumed: Some(text.len() + 3) });
        let expected = format!("ERROR|Invalid finished message format: {text}\n");
        assert_eq!((reply, then), (expected.into_bytes(), Then::Continue));
        assert!(!central.begins_batch(&vector("batch_L")));
        assert_eq!(whole(&mut *central, &vector("query_1")), QUERY);
        assert_eq!(encoded(&mut *central, &Reply::Winners(vec![])).1, Then::Close);
    }
}

#[test]
fn a_malformed_query_is_quoted_in_the_error() {
    for text in ["QUERY_WINNERS|2|3", "QUERY_WINNERS|0", "QUERY_WINNERS|x", "QUERY_WINNERS|"] {
        for (mut central, then) in
            [(central(), Then::Continue), (central_after_finished(), Then::Close)]
        {
            let (refusal, reply, actual_then) = refused(&mut *central, &framed(text));
            let error = ProtocolError::Format { message: "winners query", text: text.into() };
            assert_eq!(refusal, Refusal { error, bets: None, consumed: Some(text.len() + 2) });
            let expected = format!("ERROR|Invalid winners query format: {text}\n");
            assert_eq!((reply, actual_then), (expected.into_bytes(), then));
        }
    }
}

#[test]
fn an_error_reply_is_one_short_line_for_any_message() {
    let text = format!("FINISHED|a\nb\r\u{85}{}", "ñ".repeat(30_000));
    let (_, reply, _) = refused(&mut *central(), &framed(text));
    let reply = String::from_utf8(reply).unwrap();
    assert!(
        reply.starts_with("ERROR|Invalid finished message format: FINISHED|a b  ñ"),
        "{reply:?}"
    );
    assert!(
        reply.len() < 512 && reply.ends_with('\n') && !reply.trim_end().contains(char::is_control),
        "{reply:?}"
    );
}

#[test]
fn any_message_except_a_query_after_finished_closes_the_connection_without_a_reply() {
    let malformed = framed("FINISHED|2|x");
    for wire in [
        vector("batch_L"),
        vector("batch_0"),
        vector("finished_1"),
        malformed,
        framed(""),
        framed(b"\xff"),
    ] {
        let (refusal, reply, then) = refused(&mut *central_after_finished(), &wire);
        let error = ProtocolError::OutOfPlace { after: "FINISHED" };
        assert_eq!(refusal, Refusal { error, bets: None, consumed: None });
        assert_eq!((reply, then), (vec![], Then::Close));
    }
}

#[test]
fn the_reply_to_a_failed_request_depends_on_its_kind() {
    let cases = [
        ("batch_L", "FAIL|0\n", Then::Continue),
        ("finished_1", "ERROR|The notification could not be noted\n", Then::Continue),
        ("query_1", "ERROR|The winners cannot be told\n", Then::Close),
    ];
    for (name, line, then) in cases {
        let mut central = central();
        whole(&mut *central, &vector(name));
        assert_eq!(
            error_reply(&mut *central, Refused::Request(Denial::Closed)),
            (line.into(), then),
            "{name}"
        );
    }
}

#[test]
fn documents_that_the_agency_would_count_wrongly_are_not_encoded() {
    let separator = |separator| Unencodable::Separator { field: "document", separator };
    let cases = [
        (vec!["1", "2|3"], separator('|')),
        (vec!["1\n"], separator('\n')),
        (vec!["\r", "2"], separator('\r')),
        (vec![""], Unencodable::Missing { field: "document" }),
    ];
    for (documents, error) in cases {
        let mut out = b"before".to_vec();
        assert_eq!(central().encode(&Reply::Winners(documents), &mut out), Err(error));
        assert_eq!(out, b"before");
    }
    let (line, _) = encoded(&mut *central(), &Reply::Winners(vec!["", "2"]));
    assert_eq!(line, b"WINNERS||2\n");
    assert_eq!(agency(1, true).answer(&line), Ok(Some(Answer::Winners(2))));
}

#[test]
fn replies_of_other_dialects_are_not_encoded() {
    let mut out = Vec::new();
    assert_eq!(central().encode(&Reply::Echo(b"x"), &mut out), Err(Unencodable::Reply));
    assert_eq!(out, b"");
}

#[test]
fn a_batch_starts_when_its_text_excludes_all_other_messages() {
    for undecided in
        ["", "\n ", "F", "FINISHED", "FINISHED|", "FINISHED|1", " QUERY", "QUERY_WINNERS|1"]
    {
        let wire = [&[0, 200], undecided.as_bytes()].concat();
        assert!(!central().begins_batch(&wire), "{undecided:?}");
    }
    assert!(!central().begins_batch(&[]) && !central().begins_batch(&[0]));
    for started in ["1", " 1", "FA", "FINISHED1", "f", "QUERY_WINNERS1", "\0"] {
        let wire = [&[0, 200], started.as_bytes()].concat();
        assert!(central().begins_batch(&wire), "{started:?}");
    }
    for whole in ["", " ", "FINISHED", "QUERY"] {
        assert!(central().begins_batch(&framed(whole)), "{whole:?}");
    }
    assert!(!central().begins_batch(&[framed("FINISHED|1"), framed("1")].concat()));
    assert!(!central_after_finished().begins_batch(&vector("batch_L")));
}

#[test]
fn messages_in_one_buffer_are_decoded_one_by_one() {
    let wire = [vector("batch_LT"), vector("finished_1"), vector("query_1")].concat();
    let mut central = central();
    let mut rest = &wire[..];
    for (expected, reply) in [
        (Request::Store(vec![lorca(), rivera()]), stored(2)),
        (FINISH, Reply::Finished),
        (QUERY, Reply::Winners(vec!["30904465"])),
    ] {
        let (request, consumed) = request(&mut *central, rest);
        assert_eq!(request, expected);
        let then = if request == QUERY { Then::Close } else { Then::Continue };
        assert_eq!(encoded(&mut *central, &reply).1, then);
        rest = &rest[consumed..];
    }
    assert_eq!(rest, b"");
}

#[test]
fn the_largest_message_is_accepted() {
    let (line, most) = ("1||||2000-01-01|1\n", usize::from(u16::MAX));
    let lines = most / line.len();
    let text = format!("{}{}", line.repeat(lines), "\n".repeat(most - lines * line.len()));
    assert_eq!(bets_of(&text).len(), lines);
    let blank = "\n".repeat(most - 1);
    let (refusal, ..) = refused(&mut *central(), &framed(format!("x{blank}")));
    assert_eq!(refusal.error, ProtocolError::Count { announced: "x".into(), found: 0 });
}

#[test]
fn the_agency_limits_a_packet_in_bets_and_to_8192_bytes() {
    for with_count in [true, false] {
        let mut by_bets =
            agency_with(FRAMED, &AgencyOptions { with_count, ..AgencyOptions::new(1, 2) });
        let pushed = [lorca(), rivera(), lorca()].map(|bet| by_bets.push(&bet).unwrap());
        assert_eq!(pushed, [Push::Added, Push::Added, Push::Full]);
        assert_eq!(by_bets.packet(), packet(&mut *agency(1, with_count), &[lorca(), rivera()]));

        let mut by_bytes = agency(1, with_count);
        while by_bytes.push(&lorca()).unwrap() == Push::Added {}
        let (bets, bytes) = (by_bytes.bets(), by_bytes.packet().len());
        assert!(bytes <= MAX_PACKET_BYTES && bytes + LORCA.len() + 6 > MAX_PACKET_BYTES, "{bytes}");
        assert_eq!(whole(&mut *central(), by_bytes.packet()), Request::Store(vec![lorca(); bets]));

        by_bytes.clear();
        assert_eq!((by_bytes.bets(), by_bytes.push(&rivera())), (0, Ok(Push::Added)));
    }
}

#[test]
fn a_bet_that_cannot_be_encoded_is_rejected_and_leaves_the_batch_unchanged() {
    let mut agency = agency(1, true);
    let before = packet(&mut *agency, &[lorca()]);
    let separator = Unencodable::Separator { field: "first name", separator: '|' };
    let control = InvalidBet::ControlCharacter { field: "last name", code: 10 };
    let cases = [
        (Bet { first_name: "A|B", ..rivera() }, separator),
        (Bet { number: None, ..rivera() }, Unencodable::Missing { field: "number" }),
        (Bet { last_name: "a\nb", ..rivera() }, control.into()),
    ];
    for (bet, error) in cases {
        assert_eq!(agency.push(&bet), Err(error));
        assert_eq!(agency.bets(), 1);
    }
    assert_eq!(agency.packet(), before);
}

#[test]
fn a_receipt_must_have_the_number_of_bets_sent() {
    let mut agency = agency(1, true);
    packet(&mut *agency, &[lorca(), rivera()]);
    for end in 0..vector("success_2").len() {
        assert_eq!(agency.receipt(&vector("success_2")[..end]), Ok(None));
    }
    assert_eq!(agency.receipt(&vector("success_2")), Ok(Some(Receipt::Stored { winners: None })));
    for line in ["FAIL|0\n", "FAIL|2\n", "FAIL|\n"] {
        assert_eq!(agency.receipt(line.as_bytes()), Ok(Some(Receipt::Refused)));
    }
    for line in [
        "SUCCESS|1",
        "SUCCESS|",
        "SUCCESS",
        "SUCCESS|2|2",
        "FAIL",
        "ACK",
        "ERROR|x",
        "WINNERS|",
        "",
    ] {
        let error = ProtocolError::UnexpectedReply { text: line.into() };
        assert_eq!(agency.receipt(format!("{line}\n").as_bytes()), Err(error));
    }
    assert_eq!(agency.receipt(b"SUCCESS|2\nACK\n"), Err(ProtocolError::TrailingBytes(4)));
    assert!(matches!(agency.receipt(b"\xff\n"), Err(ProtocolError::UnexpectedReply { .. })));
}

#[test]
fn only_ack_is_an_acknowledgement() {
    let agency = agency(1, true);
    for end in 0..4 {
        assert_eq!(agency.acknowledgement(&b"ACK\n"[..end]), Ok(None));
    }
    for line in ["ACK|1", "ack", "ERROR|Invalid finished message format: FINISHED|x", ""] {
        let error = ProtocolError::UnexpectedReply { text: line.into() };
        assert_eq!(agency.acknowledgement(format!("{line}\n").as_bytes()), Err(error));
    }
}

#[test]
fn an_answer_is_a_list_of_documents_not_yet_or_an_error_text() {
    let agency = agency(1, true);
    let reason = "[Errno 2] No such file or directory: './bets.csv'";
    let line = format!("ERROR|{reason}\n");
    for end in 0..line.len() {
        assert_eq!(agency.answer(&line.as_bytes()[..end]), Ok(None));
    }
    assert_eq!(agency.answer(line.as_bytes()), Ok(Some(Answer::Refused(reason.into()))));
    let endless = agency.answer(format!("ERROR|{}\n", "x".repeat(100_000)).as_bytes());
    assert!(matches!(endless, Ok(Some(Answer::Refused(reason))) if reason.len() < 512));
    for line in ["WINNERS", "winners|1", "SUCCESS|1", "FAIL|0", "ERROR", "ACK", ""] {
        let error = ProtocolError::UnexpectedReply { text: line.into() };
        assert_eq!(agency.answer(format!("{line}\n").as_bytes()), Err(error));
    }
    assert_eq!(agency.answer(b"WINNERS|\nx"), Err(ProtocolError::TrailingBytes(1)));
}

proptest! {
    #[test]
    fn winners_are_counted_and_every_prefix_of_their_line_is_incomplete(
        documents in prop::collection::vec("[^|\\p{Cc}]{1,12}", 0..20),
    ) {
        let winners = documents.len() as u64;
        let reply = Reply::Winners(documents.iter().map(String::as_str).collect());
        let (line, _) = encoded(&mut *central(), &reply);
        let agency = agency(1, true);
        for end in 0..line.len() {
            prop_assert_eq!(agency.answer(&line[..end]), Ok(None));
        }
        prop_assert_eq!(agency.answer(&line), Ok(Some(Answer::Winners(winners))));
    }

    #[test]
    fn a_batch_the_notification_and_the_query_are_decoded_with_any_splits(
        number in 1..=u16::MAX,
        owned in any_bets(FRAMED, 20),
        splits in splits(),
    ) {
        let mut agency = agency(number, true);
        let (bets, batch) = filled(&mut *agency, of_agency(&owned, number));
        let messages = [batch, agency.notification().unwrap(), agency.question()];
        let (events, sent, open) = conversation(FRAMED, &messages.concat(), &splits);
        let expected = format!("SUCCESS|{}\nACK\nWINNERS|\n", bets.len());
        let requests = [
            Request::Store(bets),
            Request::Finish { agency: number },
            Request::Winners { agency: number, finished: false },
        ];
        let expected_events: Vec<_> = requests
            .iter()
            .zip(&messages)
            .map(|(request, wire)| format!("{}: {request:?}", wire.len()))
            .collect();
        prop_assert_eq!(events, expected_events);
        prop_assert_eq!((sent, open), (expected.into_bytes(), false));
    }

    #[test]
    fn a_changed_message_does_not_panic_and_splits_make_no_difference(
        owned in any_bets(FRAMED, 6),
        with_count in any::<bool>(),
        mutations in mutations(),
        splits in splits(),
    ) {
        let mut agency = agency(1, with_count);
        let batch = packet(&mut *agency, &of_agency(&owned, 1));
        let (finished, query) = (agency.notification().unwrap(), agency.question());
        let wire = mutated([batch.clone(), batch, finished, query].concat(), &mutations);
        prop_assert_eq!(conversation(FRAMED, &wire, &splits), conversation(FRAMED, &wire, &[]));
        let replies = ["SUCCESS|12\n", "ACK\n", "WINNERS|30904465|2\n"].map(Vec::from);
        for reply in replies.into_iter().chain([vector("not_yet")]) {
            let reply = mutated(reply, &mutations);
            let _ = (agency.receipt(&reply), agency.acknowledgement(&reply), agency.answer(&reply));
        }
    }

    #[test]
    fn no_bytes_make_a_codec_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        splits in splits(),
    ) {
        for start in ["", "1\n", "FINISHED|", "QUERY_WINNERS|", " FINI"] {
            let text = [start.as_bytes(), &bytes].concat();
            for wire in [framed(&text), text] {
                let whole = conversation(FRAMED, &wire, &[]);
                prop_assert_eq!(conversation(FRAMED, &wire, &splits), whole);
            }
        }
        let agency = agency(1, true);
        let _ = (agency.receipt(&bytes), agency.acknowledgement(&bytes), agency.answer(&bytes));
    }
}
