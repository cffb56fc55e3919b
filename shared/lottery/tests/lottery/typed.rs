//! Tests of the `typed` dialect: the vectors of the original programs, invalid messages and
//! arbitrary bytes.

use crate::common::bets::{self, any_bets, of_agency};
use crate::common::conversation::{arbitrary_bytes, decode_bytewise};
use crate::common::{agency, agency_of_batches, central, error_reply};
use lottery::protocol::typed::{self, MAX_RECORD_BYTES};
use lottery::protocol::{
    Answer, Decoded, Denial, MAX_PACKET_BYTES, MAX_REQUEST_BYTES, ProtocolError, Push, Receipt,
    Refusal, Refused, Then, Unencodable,
};
use lottery::{Bet, InvalidBet, Reply, Request, Results, is_winner};
use proptest::prelude::*;

const TYPED: &str = "typed";

fn vector(name: &str) -> Vec<u8> {
    crate::common::vector(TYPED, name)
}

/// Returns a bet without agency, as in this dialect.
fn bet<'a>(
    first: &'a str,
    last: &'a str,
    document: &'a str,
    date: &str,
    number: Option<u32>,
) -> Bet<'a> {
    Bet { number, ..bets::bet(0, [first, last, document], date, 0) }
}
fn lorca(number: Option<u32>) -> Bet<'static> {
    Bet { agency: 0, number, ..bets::lorca() }
}
fn rivera(number: Option<u32>) -> Bet<'static> {
    Bet { agency: 0, number, ..bets::rivera() }
}
fn alvarez() -> Bet<'static> {
    Bet { agency: 0, number: None, ..bets::alvarez() }
}

/// Returns the request in `wire`, which must consist of this one message.
fn whole(wire: &[u8]) -> Request<'_> {
    crate::common::whole(&mut *central(TYPED), wire)
}

/// Returns the bytes of a reply. Every reply is the last on its connection.
fn encoded(reply: &Reply<'_>) -> Vec<u8> {
    let (wire, then) = crate::common::encoded(&mut *central(TYPED), reply);
    assert_eq!(then, Then::Close);
    wire
}

fn stored(winners: Vec<Bet<'_>>) -> Reply<'_> {
    Reply::Stored { bets: 9, winners }
}

fn packet(bets: &[Bet<'_>]) -> Vec<u8> {
    crate::common::packet(&mut *agency(TYPED, 1), bets)
}

fn record(text: &[u8]) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

fn batch_of(records: &[&[u8]]) -> Vec<u8> {
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    let mut wire = [&[0][..], &count].concat();
    records.iter().for_each(|text| wire.extend(record(text)));
    wire
}

/// Returns the error of `wire`, after which the rest of the connection cannot be decoded.
fn refusal(wire: &[u8]) -> ProtocolError {
    let Refusal { error, bets, consumed } = crate::common::refusal(&mut *central(TYPED), wire);
    assert_eq!((bets, consumed), (None, None));
    error
}

#[test]
fn batches_of_the_original_are_decoded_and_encoded_to_the_same_bytes() {
    let cases = [
        ("batch_L", vec![lorca(None)]),
        ("batch_LTA", vec![lorca(None), rivera(None), alvarez()]),
        ("five_fields_batch_LT", vec![lorca(Some(7574)), rivera(Some(1033))]),
    ];
    for (name, bets) in cases {
        let wire = vector(name);
        assert_eq!(packet(&bets), wire, "{name}");
        assert_eq!(whole(&wire), Request::Store(bets), "{name}");
    }
}

#[test]
fn batch_replies_of_the_original_are_encoded_and_decoded() {
    let cases = [
        ("batch_L_reply_if_wins", vec![lorca(None)]),
        ("batch_reply_no_winner", vec![]),
        ("batch_LTA_reply_if_L_and_A_win", vec![lorca(None), alvarez()]),
        ("five_fields_batch_LT_reply", vec![lorca(Some(7574))]),
    ];
    for (name, winners) in cases {
        let wire = vector(name);
        assert_eq!(encoded(&stored(winners.clone())), wire, "{name}");
        let receipt = Receipt::Stored { winners: Some(winners.len()) };
        assert_eq!(agency(TYPED, 1).receipt(&wire), Ok(Some(receipt)), "{name}");
        assert_eq!(typed::decode_winners(&wire).unwrap(), Some(winners), "{name}");
    }
}

#[test]
fn the_five_field_vector_has_the_winner_of_its_reply() {
    let wire = vector("five_fields_batch_LT");
    let Request::Store(bets) = whole(&wire) else { panic!("a batch") };
    let winners = bets.into_iter().filter(is_winner).collect();
    assert_eq!(encoded(&stored(winners)), vector("five_fields_batch_LT_reply"));
}

#[test]
fn queries_and_their_replies_equal_those_of_the_original() {
    assert_eq!(vector("results_query"), typed::QUERY);
    assert_eq!(agency(TYPED, 1).question(), typed::QUERY);
    assert_eq!(whole(&typed::QUERY), Request::Results);
    let cases = [
        ("results_total_0", 0, 0),
        ("results_total_3", 3, 0),
        ("results_partial_1_busy_3", 3, 1),
        ("results_partial_2_busy_3", 3, 2),
    ];
    for (name, winners, in_flight) in cases {
        let results = Results { winners, in_flight };
        assert_eq!(encoded(&Reply::Results(results)), vector(name), "{name}");
        assert_eq!(typed::decode_results(&vector(name)), Ok(Some(results)), "{name}");
        assert_eq!(
            agency(TYPED, 1).answer(&vector(name)),
            Ok(Some(Answer::Results(results))),
            "{name}"
        );
    }
}

#[test]
fn counts_that_do_not_fit_saturate_instead_of_wrapping() {
    let reply = Reply::Results(Results { winners: u64::MAX, in_flight: 1 << 20 });
    assert_eq!(encoded(&reply), [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
}

#[test]
fn a_date_without_zero_padding_is_accepted_and_answered_padded() {
    let wire = batch_of(&[b"A;B;1;1999-3-7"]);
    let Request::Store(bets) = whole(&wire) else { panic!("a batch") };
    let reply = encoded(&stored(bets));
    assert_eq!(reply, [&[0, 1][..], &record(b"A;B;1;1999-03-07")].concat());
}

#[test]
fn empty_names_and_documents_are_accepted() {
    assert_eq!(
        whole(&batch_of(&[b";;;2000-01-01"])),
        Request::Store(vec![bet("", "", "", "2000-01-01", None)])
    );
}

#[test]
fn bytes_after_the_request_are_not_consumed() {
    let wire = [batch_of(&[b"A;B;1;1999-03-07"]), vec![9; 5]].concat();
    let Decoded::Complete { consumed, .. } = central(TYPED).decode(&wire).unwrap() else {
        panic!("whole")
    };
    assert_eq!(consumed, wire.len() - 5);
}

#[test]
fn every_invalid_request_is_refused_with_its_reason() {
    for kind in 2..=255 {
        let expected = "0 for a batch or 1 for a query";
        assert_eq!(refusal(&[kind]), ProtocolError::UnknownRequest { kind, expected });
    }
    assert_eq!(refusal(&[0, 0, 0]), ProtocolError::EmptyBatch);
    for (text, found) in [(&b"A;B;1"[..], 3), (b"A;B;1;1999-03-07;5;6", 6), (b"", 1)] {
        let reason = ProtocolError::FieldCount { record: 1, found, expected: "4 or 5" };
        assert_eq!(refusal(&batch_of(&[text])), reason);
    }
    assert_eq!(
        refusal(&batch_of(&[b"A;B;1;1999-03-07", b"\xff;B;1;1999-03-07"])),
        ProtocolError::NotUtf8 { record: 2 }
    );
    for date in ["1999-13-17", "", " 1999-03-17", "17/03/1999"] {
        let reason = ProtocolError::Bet { record: 1, source: InvalidBet::birthdate(date) };
        assert_eq!(refusal(&batch_of(&[format!("A;B;1;{date}").as_bytes()])), reason);
    }
    for number in ["", "-1", "+1", " 1", "1_000", "007", "4294967296", "x"] {
        let reason = ProtocolError::Bet { record: 1, source: InvalidBet::number(number) };
        assert_eq!(refusal(&batch_of(&[format!("A;B;1;1999-03-17;{number}").as_bytes()])), reason);
    }
}

#[test]
fn a_record_longer_than_any_bet_is_refused_before_its_bytes_arrive() {
    let reason = ProtocolError::RecordTooLong { record: 1, bytes: 65_535, max: MAX_RECORD_BYTES };
    assert_eq!(refusal(&[0, 0, 1, 0xff, 0xff]), reason);
}

#[test]
fn a_request_beyond_the_limit_is_refused_while_it_arrives() {
    let long_name = "x".repeat(250);
    let text = format!("{long_name};{long_name};{long_name};2000-01-01");
    let mut wire = vec![0, 0xff, 0xff];
    (0..65_535).for_each(|_| wire.extend(record(text.as_bytes())));
    assert!(wire.len() > MAX_REQUEST_BYTES);
    assert_eq!(refusal(&wire), ProtocolError::TooLarge { max: MAX_REQUEST_BYTES });
}

#[test]
fn a_batch_of_65535_records_is_accepted() {
    let records = vec![&b"Santiago Lionel;Lorca;30904465;1999-03-17"[..]; 65_535];
    let wire = batch_of(&records);
    let Request::Store(bets) = whole(&wire) else { panic!("a batch") };
    assert_eq!(bets.len(), 65_535);
}

#[test]
fn the_agency_limits_a_packet_in_bets_and_to_8192_bytes() {
    let mut by_bets = agency_of_batches(TYPED, 1, 2);
    assert_eq!(
        [lorca(None), rivera(None), alvarez()].map(|bet| by_bets.push(&bet).unwrap()),
        [Push::Added, Push::Added, Push::Full]
    );
    assert_eq!(by_bets.packet(), packet(&[lorca(None), rivera(None)]));

    let mut by_bytes = agency(TYPED, 1);
    while by_bytes.push(&lorca(Some(1))).unwrap() == Push::Added {}
    let bytes = by_bytes.packet().len();
    assert!(
        bytes <= MAX_PACKET_BYTES && bytes + packet(&[lorca(Some(1))]).len() - 3 > MAX_PACKET_BYTES
    );
    let bets = by_bytes.bets();
    assert!(matches!(whole(by_bytes.packet()), Request::Store(decoded) if decoded.len() == bets));

    by_bytes.clear();
    assert_eq!((by_bytes.bets(), by_bytes.push(&alvarez())), (0, Ok(Push::Added)));
}

#[test]
fn a_bet_that_cannot_be_encoded_is_rejected_and_leaves_the_batch_unchanged() {
    let mut batch = agency(TYPED, 1);
    batch.push(&lorca(None)).unwrap();
    let separator = Unencodable::Separator { field: "last name", separator: ';' };
    assert_eq!(batch.push(&bet("A", "B;C", "1", "2000-01-01", None)), Err(separator));
    let long = "x".repeat(256);
    let too_long = Unencodable::Invalid(InvalidBet::TooLong { field: "document", bytes: 256 });
    assert_eq!(batch.push(&bet("A", "B", &long, "2000-01-01", None)), Err(too_long));
    assert_eq!(batch.packet(), packet(&[lorca(None)]));
}

#[test]
fn invalid_replies_are_rejected() {
    assert_eq!(typed::decode_results(&[2]), Err(ProtocolError::UnknownReply(2)));
    assert_eq!(typed::decode_results(&[1, 0, 0, 0, 0, 9]), Err(ProtocolError::TrailingBytes(1)));
    assert_eq!(typed::decode_winners(&[0, 0, 9, 9]), Err(ProtocolError::TrailingBytes(2)));
    assert_eq!(agency(TYPED, 1).receipt(&[0, 0, 9, 9]), Err(ProtocolError::TrailingBytes(2)));
    assert_eq!(agency(TYPED, 1).answer(&[2]), Err(ProtocolError::UnknownReply(2)));
}

#[test]
fn replies_of_other_dialects_are_not_encoded() {
    for reply in [Reply::NotYet, Reply::Finished, Reply::Winners(vec!["1"]), Reply::Echo(b"x")] {
        let mut out = Vec::new();
        assert_eq!(central(TYPED).encode(&reply, &mut out), Err(Unencodable::Reply));
        assert!(out.is_empty());
    }
}

#[test]
fn a_refusal_closes_the_connection_without_a_reply() {
    for refused in [Refused::Request(Denial::Closed), Refused::Message(&ProtocolError::EmptyBatch)]
    {
        assert_eq!(error_reply(&mut *central(TYPED), refused), (vec![], Then::Close));
    }
}

#[test]
fn a_batch_starts_with_its_type_byte() {
    assert!(central(TYPED).begins_batch(&[0]) && central(TYPED).begins_batch(&[0, 0, 1]));
    assert!(!central(TYPED).begins_batch(&[]) && !central(TYPED).begins_batch(&[1]));
}

#[test]
fn an_agency_sends_only_batches_and_queries() {
    let codec = agency(TYPED, 1);
    assert_eq!(
        (codec.greeting(), codec.notification(), codec.final_message()),
        (vec![], None, &[][..])
    );
}

proptest! {
    #[test]
    fn every_prefix_of_a_reply_is_incomplete_and_the_whole_reply_is_decoded(
        owned in any_bets(TYPED, 20),
    ) {
        let winners = of_agency(&owned, 0);
        let wire = encoded(&stored(winners.clone()));
        let codec = agency(TYPED, 1);
        for end in 0..wire.len() {
            prop_assert_eq!(typed::decode_winners(&wire[..end]), Ok(None));
            prop_assert_eq!(codec.receipt(&wire[..end]), Ok(None));
        }
        let receipt = Receipt::Stored { winners: Some(winners.len()) };
        prop_assert_eq!(codec.receipt(&wire), Ok(Some(receipt)));
        prop_assert_eq!(typed::decode_winners(&wire), Ok(Some(winners)));
    }

    #[test]
    fn no_bytes_make_a_codec_panic(bytes in arbitrary_bytes(), kind in 0_u8..3) {
        let wire = [&[kind][..], &bytes].concat();
        decode_bytewise(&mut *central(TYPED), &wire);
        let _ = central(TYPED).decode(&wire);
        let _ = (typed::decode_winners(&wire), typed::decode_results(&wire));
        let codec = agency(TYPED, 1);
        let _ = (codec.receipt(&wire), codec.acknowledgement(&wire), codec.answer(&wire));
    }
}
