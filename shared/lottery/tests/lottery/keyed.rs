//! Tests of the `keyed` dialect: its vectors, every error in both directions, invalid messages and
//! arbitrary bytes.

use crate::common::bets::{alvarez, any_bets, bet, lorca, of_agency, rivera};
use crate::common::conversation::{
    arbitrary_bytes, conversation, decode_bytewise, mutated, mutations, splits,
};
use crate::common::{agency_with, encoded, error_reply, filled, packet, refused, whole};
use lottery::protocol::typed::MAX_RECORD_BYTES;
use lottery::protocol::{
    Advice, AgencyCodec, AgencyOptions, Answer, CentralCodec, ConnectionUse, Decoded, Denial,
    Denied, MAX_PACKET_BYTES, MAX_REQUEST_BYTES, ProtocolError, Push, Receipt, Refusal, Refused,
    Then, Unencodable,
};
use lottery::{BatchKey, Bet, InvalidBet, Reply, Request, Results};
use proptest::prelude::*;

const KEYED: &str = "keyed";
/// Session of the vectors with bets L and T.
const SESSION: [u8; 16] = *b"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f";
/// Session of the vector with bet A.
const SESSION_5: [u8; 16] = *b"\x50\x51\x52\x53\x54\x55\x56\x57\x58\x59\x5a\x5b\x5c\x5d\x5e\x5f";

/// A vector with an error, what it answers, and what an agency does after it.
const ERRORS: [(&str, Denial, Advice); 8] = [
    ("error_unavailable", Denial::Unavailable, Advice::Retry),
    ("error_sequence_7", Denial::Sequence { expected: 7 }, Advice::ResendFrom(7)),
    ("error_other_content", Denial::OtherContent, Advice::Stop),
    ("error_closed", Denial::Closed, Advice::Stop),
    ("error_not_permitted", Denial::NotPermitted, Advice::Stop),
    ("error_other_agency", Denial::OtherAgency, Advice::Stop),
    ("error_no_room", Denial::NoRoom, Advice::Stop),
    ("error_unacceptable", Denial::Unacceptable, Advice::Stop),
];

fn vector(name: &str) -> Vec<u8> {
    crate::common::vector(KEYED, name)
}

fn central() -> Box<dyn CentralCodec> {
    crate::common::central(KEYED)
}

fn agency_of(session: [u8; 16], agency: u16) -> Box<dyn AgencyCodec> {
    agency_with(KEYED, &AgencyOptions { session, ..AgencyOptions::new(agency, u16::MAX) })
}

fn agency() -> Box<dyn AgencyCodec> {
    agency_of(SESSION, 1)
}

/// Returns an agency that opens a connection per request.
fn agency_per_request() -> Box<dyn AgencyCodec> {
    let (session, connection) = (SESSION, ConnectionUse::PerRequest);
    agency_with(KEYED, &AgencyOptions { session, connection, ..AgencyOptions::new(1, u16::MAX) })
}

/// Makes a request the last one of its connection.
fn last(mut request: Vec<u8>) -> Vec<u8> {
    request[1] |= 0x40;
    request
}

/// Returns bet A without its number.
fn unnumbered() -> Bet<'static> {
    Bet { number: None, ..alvarez() }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0x81, kind][..], &length, body].concat()
}

fn record(text: &[u8]) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

/// Returns a batch of agency 1 that announces `count` records.
fn batch_of(sequence: u64, count: u16, records: &[&[u8]]) -> Vec<u8> {
    let records: Vec<_> = records.iter().flat_map(|text| record(text)).collect();
    let (sequence, count) = (sequence.to_be_bytes(), count.to_be_bytes());
    message(1, &[&SESSION, &[0, 1][..], &sequence, &count, &records].concat())
}

fn error(code: u8, expected: u64, text: &[u8]) -> Vec<u8> {
    message(0xFF, &[&[code], &expected.to_be_bytes()[..], text].concat())
}

fn stored(winners: Vec<Bet<'_>>) -> Reply<'_> {
    Reply::Stored { bets: 9, winners }
}

/// Returns what an agency decodes from an error reply.
fn denied(reply: &[u8]) -> Denied {
    agency().denied(reply).unwrap()
}

/// A vector with a batch: its name, session, agency, sequence and bets.
type Batch = (&'static str, [u8; 16], u16, u64, Vec<Bet<'static>>);

fn batches() -> [Batch; 3] {
    [
        ("batch_L", SESSION, 1, 1, vec![lorca()]),
        ("batch_LT", SESSION, 1, 2, vec![lorca(), rivera()]),
        ("batch_A", SESSION_5, 5, 0x0102_0304_0506_0708, vec![unnumbered()]),
    ]
}

#[test]
fn the_batches_of_the_vectors_are_encoded_and_decoded_with_their_keys() {
    for (name, session, number, sequence, bets) in batches() {
        let mut codec = agency_of(session, number);
        codec.set_sequence(sequence);
        let wire = vector(name);
        assert_eq!(packet(&mut *codec, &bets), wire, "{name}");

        let content = vector(&format!("{name}_content")).try_into().map(u64::from_be_bytes);
        let key = BatchKey { session, agency: number, sequence, content: content.unwrap() };
        assert_eq!(whole(&mut *central(), &wire), Request::StoreOnce { key, bets }, "{name}");
    }
}

#[test]
fn a_batch_is_number_1_until_another_number_is_set_and_clear_keeps_the_number() {
    let mut codec = agency();
    assert_eq!(packet(&mut *codec, &[lorca()]), vector("batch_L"));
    codec.set_sequence(2);
    codec.clear();
    assert_eq!(packet(&mut *codec, &[lorca(), rivera()]), vector("batch_LT"));
}

#[test]
fn the_content_depends_on_the_bets_alone() {
    let content = |wire: &[u8]| {
        let Request::StoreOnce { key, .. } = whole(&mut *central(), wire) else {
            panic!("a batch")
        };
        key.content
    };
    let mut same_bets = agency_of(SESSION_5, 7);
    same_bets.set_sequence(9);
    let same_bets = packet(&mut *same_bets, &[lorca()]);
    assert_eq!(content(&same_bets), content(&vector("batch_L")));
    let other_bets = packet(&mut *agency(), &[rivera()]);
    assert_ne!(content(&other_bets), content(&vector("batch_L")));
}

#[test]
fn the_other_requests_equal_their_vectors() {
    let cases = [
        ("results_query", Request::Results),
        ("session_query", Request::Session { session: SESSION, agency: 1 }),
        ("finish_1", Request::Finish { agency: 1 }),
        ("query_1", Request::Winners { agency: 1, finished: false }),
    ];
    for (name, request) in cases {
        assert_eq!(whole(&mut *central(), &vector(name)), request, "{name}");
    }
    let codec = agency();
    assert_eq!(codec.notification(), Some(vector("finish_1")));
    assert_eq!(codec.question(), vector("query_1"));
    assert_eq!(codec.session_question(), Some(vector("session_query")));
    assert_eq!((codec.greeting(), codec.final_message()), (vec![], &[][..]));
}

#[test]
fn an_agency_with_a_connection_per_request_says_so_in_each_and_the_requests_mean_the_same() {
    let mut codec = agency_per_request();
    codec.set_sequence(2);
    let batch = packet(&mut *codec, &[lorca(), rivera()]);
    let sent = [
        (batch, "batch_LT"),
        (codec.notification().unwrap(), "finish_1"),
        (codec.question(), "query_1"),
        (codec.session_question().unwrap(), "session_query"),
        (vector("results_query_last"), "results_query"),
    ];
    for (bytes, kept) in sent {
        assert_eq!(bytes, vector(&format!("{kept}_last")), "{kept}");
        let kept = vector(kept);
        assert_eq!(bytes, last(kept.clone()));
        assert_eq!(whole(&mut *central(), &bytes), whole(&mut *central(), &kept));
    }
}

/// Returns every reply and its vector.
fn replies() -> [(&'static str, Reply<'static>); 11] {
    let results = |winners, in_flight| Reply::Results(Results { winners, in_flight });
    [
        ("stored_none", stored(vec![])),
        ("stored_L", stored(vec![lorca()])),
        ("stored_A", stored(vec![unnumbered()])),
        ("results_total_3", results(3, 0)),
        ("results_partial_2_busy_3", results(3, 2)),
        ("finished", Reply::Finished),
        ("next_7", Reply::Next(7)),
        ("winners_none", Reply::Winners(vec![])),
        ("winners_L", Reply::Winners(vec!["30904465"])),
        ("winners_agency4_dataset", Reply::Winners(vec!["34963649", "35635602"])),
        ("error_not_yet", Reply::NotYet),
    ]
}

#[test]
fn every_reply_equals_its_vector_and_keeps_the_connection() {
    for (name, reply) in replies() {
        assert_eq!(encoded(&mut *central(), &reply), (vector(name), Then::Continue), "{name}");
    }
    assert_eq!(central().winners_sent(), Then::Continue);
    let mut out = Vec::new();
    assert_eq!(central().encode(&Reply::Echo(b"x"), &mut out), Err(Unencodable::Reply));
    assert!(out.is_empty());
}

#[test]
fn every_reply_to_the_last_request_has_the_same_bytes_and_closes_the_connection() {
    for request in ["batch_LT", "results_query", "session_query", "finish_1", "query_1"] {
        let mut codec = central();
        whole(&mut *codec, &vector(&format!("{request}_last")));
        for (name, reply) in replies() {
            assert_eq!(encoded(&mut *codec, &reply), (vector(name), Then::Close), "{name}");
        }
        assert_eq!(codec.winners_sent(), Then::Close);
        for (name, denial, _) in ERRORS {
            let refused = error_reply(&mut *codec, Refused::Request(denial));
            assert_eq!(refused, (vector(name), Then::Close), "{name}");
        }
    }
}

#[test]
fn a_prepared_batch_that_is_the_last_request_closes_the_connection() {
    for (name, then) in [("batch_LT", Then::Continue), ("batch_LT_last", Then::Close)] {
        let (mut codec, mut rows) = (central(), Vec::new());
        assert!(codec.prepare(&vector(name), &mut rows).is_some());
        assert_eq!(encoded(&mut *codec, &stored(vec![])).1, then, "{name}");
    }
}

#[test]
fn an_agency_decodes_the_replies_to_its_requests() {
    let codec = agency();
    for (name, winners) in [("stored_none", 0), ("stored_L", 1), ("stored_A", 1)] {
        let receipt = Receipt::Stored { winners: Some(winners) };
        assert_eq!(codec.receipt(&vector(name)), Ok(Some(receipt)), "{name}");
    }
    assert_eq!(codec.acknowledgement(&vector("finished")), Ok(Some(())));
    assert_eq!(codec.next_sequence(&vector("next_7")), Ok(Some(7)));
    let mut none = vector("next_7");
    none[6..].fill(0);
    assert_eq!(codec.next_sequence(&none), Err(ProtocolError::NoSequence));
    for (name, winners) in [("winners_none", 0), ("winners_L", 1), ("winners_agency4_dataset", 2)] {
        let answer = codec.answer(&vector(name));
        assert_eq!(answer, Ok(Some(Answer::Winners(winners))), "{name}");
    }
    assert_eq!(codec.answer(&vector("error_not_yet")), Ok(Some(Answer::NotYet)));
}

#[test]
fn every_denial_is_answered_with_its_code_and_an_agency_knows_what_to_do() {
    for (name, denial, advice) in ERRORS {
        let reply = vector(name);
        let refused = error_reply(&mut *central(), Refused::Request(denial));
        assert_eq!(refused, (reply.clone(), Then::Continue), "{name}");
        let reason = String::from_utf8(reply[15..].to_vec()).unwrap();
        assert_eq!(denied(&reply), Denied { advice, reason }, "{name}");
    }
    let reason = "the draw has not been held".to_owned();
    assert_eq!(denied(&vector("error_not_yet")), Denied { advice: Advice::Retry, reason });
}

#[test]
fn an_unknown_code_is_known_by_its_class() {
    for code in 0..=u8::MAX {
        let advice = match code {
            0x10..=0x1F => Advice::Retry,
            0x20..=0x2F => Advice::ResendFrom(3),
            _ => Advice::Stop,
        };
        let reason = "why".to_owned();
        assert_eq!(denied(&error(code, 3, b"why")), Denied { advice, reason }, "{code:#04x}");
    }
    let no_number = denied(&error(0x20, 0, b"why"));
    assert_eq!(no_number.advice, Advice::Stop, "batches are numbered from 1");
}

#[test]
fn the_reason_of_an_error_is_one_line_of_text_or_its_code() {
    assert_eq!(denied(&error(0x3A, 0, b"")).reason, "error 0x3a");
    assert_eq!(denied(&error(0x30, 0, b"a\nb\xff")).reason, "a b\u{fffd}");
    assert_eq!(denied(&error(0x30, 0, &[b'x'; 1024])).reason, "x".repeat(120));
}

#[test]
fn an_error_reply_is_no_reply_of_another_kind() {
    let codec = agency();
    for (name, ..) in ERRORS {
        let reply = vector(name);
        let text = String::from_utf8(reply[15..].to_vec()).unwrap();
        let unexpected = ProtocolError::UnexpectedReply { text };
        assert_eq!(codec.receipt(&reply), Err(unexpected.clone()), "{name}");
        assert_eq!(codec.acknowledgement(&reply), Err(unexpected.clone()), "{name}");
        assert_eq!(codec.answer(&reply), Err(unexpected), "{name}");
        assert_eq!(codec.documents(&reply), None, "{name}");
        for end in 0..reply.len() {
            let part = &reply[..end];
            assert_eq!(codec.denied(part), None, "{end} bytes of {name}");
            assert_eq!(codec.receipt(part), Ok(None), "{end} bytes of {name}");
            assert_eq!(codec.answer(part), Ok(None), "{end} bytes of {name}");
        }
        assert_eq!(codec.denied(&[&reply[..], b"x"].concat()), None, "{name} and a byte");
    }
    for name in ["stored_L", "finished", "winners_L", "results_total_3", "batch_L"] {
        assert_eq!(codec.denied(&vector(name)), None, "{name}");
    }
}

#[test]
fn an_invalid_message_gets_code_30_with_its_reason_and_the_connection_continues() {
    let good: &[u8] = b"A;B;1;1999-03-17;5";
    let not_utf8 = b"\xff;B;1;1999-03-17";
    let field_count = |found| ProtocolError::FieldCount { record: 2, found, expected: "4 or 5" };
    let invalid = |source| ProtocolError::Bet { record: 2, source };
    let incomplete = |record| ProtocolError::Malformed { record, reason: "ends after its message" };
    let second = |text: &[u8]| batch_of(1, 2, &[good, text]);
    let mut no_agency = batch_of(1, 1, &[good]);
    no_agency[22..24].fill(0);
    let mut cut = batch_of(1, 1, &[good]);
    cut.pop();
    cut[5] -= 1;
    let cases = [
        (batch_of(1, 0, &[]), ProtocolError::EmptyBatch, 0),
        (batch_of(0, 1, &[good]), ProtocolError::NoSequence, 1),
        (no_agency, ProtocolError::NoAgency, 1),
        (batch_of(1, 3, &[good, good]), incomplete(3), 3),
        (cut, incomplete(1), 1),
        (batch_of(1, 1, &[good, b""]), ProtocolError::UnusedBytes(2), 1),
        (second(b"A;B;1"), field_count(3), 2),
        (second(b"A;B;1;1999-03-17;5;6"), field_count(6), 2),
        (second(not_utf8), ProtocolError::NotUtf8 { record: 2 }, 2),
        (second(b"A;B;1;1999-13-17"), invalid(InvalidBet::birthdate("1999-13-17")), 2),
        (second(b"A;B;1;1999-03-17;+1"), invalid(InvalidBet::number("+1")), 2),
        (
            second(&[b'x'; MAX_RECORD_BYTES + 1]),
            ProtocolError::RecordTooLong { record: 2, bytes: 790, max: MAX_RECORD_BYTES },
            2,
        ),
    ];
    for (wire, reason, count) in cases {
        let (refusal, reply, then) = refused(&mut *central(), &wire);
        let expected = Refusal { error: reason, bets: Some(count), consumed: Some(wire.len()) };
        assert_eq!(refusal, expected);
        let text = refusal.error.to_string();
        assert_eq!((reply, then), (error(0x30, 0, text.as_bytes()), Then::Continue));
    }
    let (_, reply, _) = refused(&mut *central(), &batch_of(1, 0, &[]));
    assert_eq!(reply, vector("error_invalid_empty_batch"));
}

#[test]
fn a_body_of_the_wrong_length_and_an_unknown_type_get_code_30() {
    for (kind, lengths) in [
        (1, vec![0, 15, 27]),
        (2, vec![1]),
        (3, vec![0, 1, 3]),
        (4, vec![0, 4]),
        (5, vec![0, 17, 19]),
    ] {
        for bytes in lengths {
            let wire = message(kind, &vec![1; bytes]);
            let (refusal, reply, then) = refused(&mut *central(), &wire);
            assert_eq!(refusal.error, ProtocolError::BodyLength { kind, bytes });
            assert_eq!((refusal.bets, refusal.consumed), (None, Some(wire.len())));
            assert_eq!((reply[6], then), (0x30, Then::Continue));
        }
    }
    for kind in [3, 4] {
        let (refusal, ..) = refused(&mut *central(), &message(kind, &[0, 0]));
        assert_eq!(refusal.error, ProtocolError::NoAgency);
    }
    for kind in (0..=u8::MAX).filter(|kind| !(1..=5).contains(&(kind & !0x40))) {
        let wire = message(kind, b"any");
        let (refusal, reply, then) = refused(&mut *central(), &wire);
        assert!(matches!(refusal.error, ProtocolError::UnknownRequest { kind: found, .. }
            if found == kind));
        let follows = if kind & 0x40 == 0 { Then::Continue } else { Then::Close };
        assert_eq!((refusal.consumed, reply[6], then), (Some(9), 0x30, follows));
    }
}

#[test]
fn another_version_is_refused_by_its_first_byte_and_closes_the_connection() {
    for found in (0..=u8::MAX).filter(|version| *version != 0x81) {
        let (refusal, reply, then) = refused(&mut *central(), &[found]);
        let error = ProtocolError::UnknownVersion { found, expected: 0x81 };
        assert_eq!(refusal, Refusal { error, bets: None, consumed: None });
        assert_eq!((reply[6], then), (0x37, Then::Close));
    }
    let (_, reply, _) = refused(&mut *central(), &[0x82, 1]);
    assert_eq!(reply, vector("error_version_82"));
    assert_eq!(denied(&reply).advice, Advice::Stop);
}

#[test]
fn a_request_beyond_the_limit_is_refused_by_its_header() {
    let largest = MAX_REQUEST_BYTES - 6;
    for kind in [1, 2, 9] {
        let header = |bytes: usize| {
            [&[0x81, kind][..], &u32::try_from(bytes).unwrap().to_be_bytes()].concat()
        };
        assert_eq!(central().decode(&header(largest)), Ok(Decoded::Incomplete));
        let (refusal, reply, then) = refused(&mut *central(), &header(largest + 1));
        assert_eq!(refusal, ProtocolError::TooLarge { max: MAX_REQUEST_BYTES }.into());
        assert_eq!((reply[6], then), (0x30, Then::Close));
    }
}

#[test]
fn the_largest_batch_is_accepted_and_may_arrive_byte_by_byte() {
    let records = vec![&b"Santiago Lionel;Lorca;30904465;1999-03-17"[..]; 65_535];
    let wire = batch_of(1, u16::MAX, &records);
    let mut codec = central();
    // Fast enough for a test only if the bytes that have arrived are not read again each time.
    for end in 0..wire.len() {
        assert_eq!(codec.decode(&wire[..end]), Ok(Decoded::Incomplete));
    }
    let Request::StoreOnce { bets, .. } = whole(&mut *codec, &wire) else { panic!("a batch") };
    assert_eq!((bets.len(), bets[65_534].agency), (65_535, 1));
}

#[test]
fn a_batch_begins_with_its_version_and_type() {
    let begins = |bytes: &[u8]| central().begins_batch(bytes);
    assert!(begins(&[0x81, 1]) && begins(&[0x81, 0x41]) && begins(&vector("batch_L")));
    for other in [&[][..], &[0x81], &[0x81, 2], &[0x81, 0x42], &[0x81, 0x81], &[0x82, 1], &[1, 1]] {
        assert!(!begins(other), "{other:?}");
    }
}

#[test]
fn the_agency_limits_a_packet_in_bets_and_to_8192_bytes() {
    let options = AgencyOptions { session: SESSION, ..AgencyOptions::new(1, 2) };
    let mut by_bets = agency_with(KEYED, &options);
    by_bets.set_sequence(2);
    let pushed = [lorca(), rivera(), alvarez()].map(|bet| by_bets.push(&bet).unwrap());
    assert_eq!(pushed, [Push::Added, Push::Added, Push::Full]);
    assert_eq!(by_bets.packet(), vector("batch_LT"));

    let mut by_bytes = agency();
    while by_bytes.push(&lorca()).unwrap() == Push::Added {}
    let (bytes, bets) = (by_bytes.packet().len(), by_bytes.bets());
    // Header, key and count have 34 bytes; the record of L has 48.
    assert_eq!((bytes, bytes <= MAX_PACKET_BYTES), (34 + 48 * bets, true));
    assert!(bytes + 48 > MAX_PACKET_BYTES, "room for one more");
}

#[test]
fn a_bet_that_cannot_be_encoded_is_rejected_and_leaves_the_batch_unchanged() {
    let mut codec = agency();
    codec.push(&lorca()).unwrap();
    let separator = Unencodable::Separator { field: "last name", separator: ';' };
    assert_eq!(codec.push(&bet(1, ["A", "B;C", "1"], "2000-01-01", 1)), Err(separator));
    let long = "x".repeat(256);
    let too_long = Unencodable::Invalid(InvalidBet::TooLong { field: "document", bytes: 256 });
    assert_eq!(codec.push(&bet(1, ["A", "B", &long], "2000-01-01", 1)), Err(too_long));
    assert_eq!(codec.packet(), vector("batch_L"));
}

#[test]
fn replies_of_other_kinds_and_lengths_are_rejected_by_their_header() {
    let codec = agency();
    let unexpected = |kind: &str| ProtocolError::UnexpectedReply { text: format!("type {kind}") };
    assert_eq!(codec.receipt(&vector("finished")), Err(unexpected("0x83")));
    assert_eq!(codec.acknowledgement(&vector("winners_L")[..6]), Err(unexpected("0x84")));
    assert_eq!(codec.answer(&vector("stored_L")[..6]), Err(unexpected("0x81")));
    assert_eq!(codec.answer(&vector("results_total_3")), Err(unexpected("0x82")));
    for kind in [0x00, 0x01, 0x80, 0x86, 0xFE] {
        let header = message(kind, &[]);
        assert_eq!(codec.receipt(&header), Err(ProtocolError::UnknownReply(kind)));
    }
    let found = 0x82;
    let version = ProtocolError::UnknownVersion { found, expected: 0x81 };
    assert_eq!(codec.answer(&[found]), Err(version));
    let header = |kind, bytes: u32| [&[0x81, kind][..], &bytes.to_be_bytes()].concat();
    for (kind, lengths) in [
        (0x81, vec![0, 1, 51_838_188]),
        (0x82, vec![11, 13]),
        (0x85, vec![7, 9]),
        (0x83, vec![1]),
        (0x84, vec![3]),
        (0xFF, vec![8, 1034]),
    ] {
        for bytes in lengths {
            let error = ProtocolError::BodyLength { kind, bytes: bytes as usize };
            assert_eq!(codec.receipt(&header(kind, bytes)), Err(error));
        }
    }
    assert_eq!(codec.receipt(&header(0x81, 51_838_187)), Ok(None));
    assert_eq!(codec.receipt(&header(0xFF, 1033)), Ok(None));
}

#[test]
fn replies_with_invalid_bodies_are_rejected() {
    let codec = agency();
    let incomplete = |record| ProtocolError::Malformed { record, reason: "ends after its message" };
    let documents = |count: u32, rest: &[u8]| {
        codec.answer(&message(0x84, &[&count.to_be_bytes()[..], rest].concat()))
    };
    assert_eq!(documents(1, &[]), Err(incomplete(1)));
    assert_eq!(documents(u32::MAX, &record(b"1")), Err(incomplete(2)));
    assert_eq!(documents(1, &[0, 2, b'1']), Err(incomplete(1)));
    assert_eq!(documents(0, b"1"), Err(ProtocolError::UnusedBytes(1)));
    assert_eq!(documents(1, &record(b"\xff")), Err(ProtocolError::NotUtf8 { record: 1 }));
    assert_eq!(codec.receipt(&message(0x81, &[0, 1])), Err(incomplete(1)));
    assert_eq!(codec.receipt(&message(0x81, &[0, 0, 7])), Err(ProtocolError::UnusedBytes(1)));
    for name in ["stored_L", "winners_L", "finished"] {
        let longer = [&vector(name)[..], b"xy"].concat();
        let trailing = Err(ProtocolError::TrailingBytes(2));
        match name {
            "stored_L" => assert_eq!(codec.receipt(&longer), trailing.map(|()| None)),
            "winners_L" => assert_eq!(codec.answer(&longer), trailing.map(|()| None)),
            _ => assert_eq!(codec.acknowledgement(&longer), trailing.map(|()| None)),
        }
    }
}

#[test]
fn documents_of_any_text_are_encoded_up_to_65535_bytes() {
    let documents = ["", "007", "a|b;c", "ñandú"];
    let (reply, _) = encoded(&mut *central(), &Reply::Winners(documents.to_vec()));
    assert_eq!(agency().documents(&reply), Some(documents.map(str::to_owned).to_vec()));
    let long = "x".repeat(65_536);
    let (what, value, max) = ("bytes of a document", 65_536, 65_535);
    let mut out = Vec::new();
    assert_eq!(
        central().encode(&Reply::Winners(vec!["1", &long]), &mut out),
        Err(Unencodable::OverLimit { what, value, max })
    );
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn every_prefix_of_a_reply_is_incomplete_and_the_whole_reply_is_decoded(
        owned in any_bets(KEYED, 20), documents in prop::collection::vec(".{0,20}", 0..20),
    ) {
        let (codec, bets) = (agency(), of_agency(&owned, 1));
        let (reply, _) = encoded(&mut *central(), &stored(bets.clone()));
        for end in 0..reply.len() {
            prop_assert_eq!(codec.receipt(&reply[..end]), Ok(None));
        }
        let receipt = Receipt::Stored { winners: Some(bets.len()) };
        prop_assert_eq!(codec.receipt(&reply), Ok(Some(receipt)));
        let texts: Vec<_> = bets.iter().map(|bet| bet.document.to_string()).collect();
        prop_assert_eq!(codec.documents(&reply), Some(texts));

        let winners = documents.iter().map(String::as_str).collect();
        let (reply, _) = encoded(&mut *central(), &Reply::Winners(winners));
        for end in 0..reply.len() {
            prop_assert_eq!(codec.answer(&reply[..end]), Ok(None));
        }
        let answer = Answer::Winners(documents.len() as u64);
        prop_assert_eq!(codec.answer(&reply), Ok(Some(answer)));
        prop_assert_eq!(codec.documents(&reply), Some(documents));
    }

    #[test]
    fn a_changed_stream_is_answered_the_same_with_any_splits(
        owned in any_bets(KEYED, 20),
        batches in prop::collection::vec((1_u64..4, prop::bool::weighted(0.1)), 1..5),
        mutations in mutations(), splits in splits(),
    ) {
        let mut codec = agency();
        let mut wire = vector("results_query");
        for (sequence, is_last) in batches {
            codec.set_sequence(sequence);
            let batch = filled(&mut *codec, of_agency(&owned, 1)).1;
            wire.extend(if is_last { last(batch) } else { batch });
        }
        wire.extend([vector("finish_1"), vector("query_1")].concat());
        let wire = mutated(wire, &mutations);
        prop_assert_eq!(conversation(KEYED, &wire, &splits), conversation(KEYED, &wire, &[]));
    }

    #[test]
    fn no_bytes_make_a_codec_panic(
        bytes in arbitrary_bytes(), kind in any::<u8>(), length in any::<Option<u32>>(),
    ) {
        let length = length.unwrap_or(bytes.len() as u32);
        let framed = [&[0x81, kind][..], &length.to_be_bytes(), &bytes].concat();
        let batch = batch_of(1, u16::from(kind), &[&bytes]);
        for wire in [bytes, framed, batch] {
            decode_bytewise(&mut *central(), &wire);
            let _ = central().decode(&wire);
            let codec = agency();
            let _ = (codec.receipt(&wire), codec.acknowledgement(&wire), codec.answer(&wire));
            let _ = (codec.documents(&wire), codec.denied(&wire));
        }
    }
}
