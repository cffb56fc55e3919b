//! Tests of both editions of the `counted` dialect: the vectors of the original programs, invalid
//! messages and arbitrary bytes.

use crate::common::bets::{alvarez, lorca, rivera};
use crate::common::conversation::{arbitrary_bytes, decode_bytewise};
use crate::common::{
    agency, agency_of_batches, central, encoded, error_reply, packet, refusal, refused, vector,
    whole,
};
use lottery::protocol::{
    Answer, Decoded, Denial, MAX_PACKET_BYTES, MAX_REQUEST_BYTES, ProtocolError, Push, Receipt,
    Refusal, Refused, Then, Unencodable,
};
use lottery::{Bet, InvalidBet, Reply, Request};
use proptest::prelude::*;

const EDITIONS: [&str; 2] = ["counted", "counted-u8"];

/// Returns the width of a name's length and of the count of winners, in bytes.
fn width(edition: &str) -> usize {
    if edition == "counted" { 2 } else { 1 }
}

/// Encodes a length or count in the edition's width.
fn length(edition: &str, value: usize) -> Vec<u8> {
    value.to_be_bytes()[8 - width(edition)..].to_vec()
}

/// Returns the bytes of a bet with these fields, document 1 and number 7.
fn raw_bet(edition: &str, agency: u8, first_name: &[u8], last_name: &[u8], date: &[u8]) -> Vec<u8> {
    let first_name = [&length(edition, first_name.len())[..], first_name].concat();
    let last_name = [&length(edition, last_name.len())[..], last_name].concat();
    [&[agency][..], &first_name, &last_name, &[0, 0, 0, 1], date, &[0, 7]].concat()
}

fn batch_of(bets: &[Vec<u8>]) -> Vec<u8> {
    [&u16::try_from(bets.len()).unwrap().to_be_bytes()[..], &bets.concat()].concat()
}

/// Returns the bytes of a valid bet.
fn valid_bet(edition: &str, agency: u8) -> Vec<u8> {
    raw_bet(edition, agency, b"Ana", b"Paz", b"2000-02-29")
}

fn stored(bets: usize) -> Reply<'static> {
    Reply::Stored { bets, winners: Vec::new() }
}

/// The winners in the vectors. Those of agency 4 are from the course's data.
const WINNERS: [(&str, &[&str]); 3] = [
    ("winners_none", &[]),
    ("winners_L", &["30904465"]),
    ("winners_agency4_dataset", &["34963649", "35635602"]),
];

#[test]
fn a_batch_of_the_original_is_decoded_and_encoded_to_the_same_bytes() {
    for edition in EDITIONS {
        let wire = vector(edition, "batch_L");
        assert_eq!(packet(&mut *agency(edition, 1), &[lorca()]), wire, "{edition}");
        assert_eq!(
            whole(&mut *central(edition), &wire),
            Request::Store(vec![lorca()]),
            "{edition}"
        );
    }
    let wire = batch_of(&[vector("counted-u8", "bet_L_ej5")]);
    assert_eq!(whole(&mut *central("counted-u8"), &wire), Request::Store(vec![lorca()]));
    assert_eq!(packet(&mut *agency("counted-u8", 1), &[lorca()]), wire);
}

#[test]
fn the_vector_with_two_agencies_is_valid_bet_by_bet_and_refused_on_one_connection() {
    for edition in EDITIONS {
        let wire = vector(edition, "batch_TA");
        let of_one =
            |number, bet: Bet<'_>| packet(&mut *agency(edition, number), &[bet]).split_off(2);
        assert_eq!(batch_of(&[of_one(1, rivera()), of_one(5, alvarez())]), wire, "{edition}");
        for (bytes, bet) in [(of_one(1, rivera()), rivera()), (of_one(5, alvarez()), alvarez())] {
            assert_eq!(
                whole(&mut *central(edition), &batch_of(&[bytes])),
                Request::Store(vec![bet])
            );
        }
        let error = ProtocolError::OtherAgency { found: 5, expected: 1 };
        assert_eq!(
            refusal(&mut *central(edition), &wire),
            Refusal { error, bets: Some(2), consumed: None }
        );
    }
}

#[test]
fn a_bet_is_sent_with_the_agency_of_the_run() {
    for edition in EDITIONS {
        let wire = packet(&mut *agency(edition, 200), &[lorca()]);
        assert_eq!(
            whole(&mut *central(edition), &wire),
            Request::Store(vec![Bet { agency: 200, ..lorca() }])
        );
    }
}

#[test]
fn a_stored_batch_is_answered_with_00_and_the_connection_continues() {
    for edition in EDITIONS {
        assert_eq!(
            encoded(&mut *central(edition), &stored(3)),
            (vector(edition, "ok"), Then::Continue)
        );
        let receipt = agency(edition, 1).receipt(&vector(edition, "ok"));
        assert_eq!(receipt, Ok(Some(Receipt::Stored { winners: None })));
    }
}

#[test]
fn every_refusal_is_answered_with_01_and_closes_the_connection() {
    for edition in EDITIONS {
        for refused in
            [Refused::Request(Denial::Closed), Refused::Message(&ProtocolError::NoAgency)]
        {
            assert_eq!(
                error_reply(&mut *central(edition), refused),
                (vector(edition, "error"), Then::Close)
            );
        }
        let receipt = agency(edition, 1).receipt(&vector(edition, "error"));
        assert_eq!(receipt, Ok(Some(Receipt::Refused)));
    }
}

#[test]
fn the_end_message_finishes_the_agency_and_asks_for_its_winners() {
    for (edition, number) in
        [(EDITIONS[0], 1), (EDITIONS[0], 5), (EDITIONS[1], 1), (EDITIONS[1], 5)]
    {
        let wire = vector(edition, &format!("end_agency_{number}"));
        assert_eq!(agency(edition, number).question(), wire);
        assert_eq!(agency(edition, number).notification(), None);
        let request = Request::Winners { agency: number, finished: true };
        assert_eq!(whole(&mut *central(edition), &wire), request);
    }
}

#[test]
fn the_winners_are_sent_as_documents_in_order() {
    for edition in EDITIONS {
        for (name, winners) in WINNERS {
            let wire = vector(edition, name);
            let reply = Reply::Winners(winners.to_vec());
            assert_eq!(
                encoded(&mut *central(edition), &reply),
                (wire.clone(), Then::Continue),
                "{name}"
            );
            let answer = Answer::Winners(winners.len() as u64);
            assert_eq!(agency(edition, 1).answer(&wire), Ok(Some(answer)), "{name}");
        }
    }
}

#[test]
fn each_edition_sends_its_own_final_byte_and_accepts_both() {
    for edition in EDITIONS {
        assert_eq!(agency(edition, 1).final_message(), vector(edition, "final_ack"));
        for byte in [1, 3] {
            let mut codec = central(edition);
            encoded(&mut *codec, &Reply::Winners(vec![]));
            assert_eq!(codec.decode(&[]), Ok(Decoded::Incomplete));
            assert_eq!(whole(&mut *codec, &[byte]), Request::Close);
        }
        for byte in (0..=255).filter(|byte| ![1, 3].contains(byte)) {
            let mut codec = central(edition);
            encoded(&mut *codec, &Reply::Winners(vec![]));
            let refusal = ProtocolError::UnknownFinalByte(byte).into();
            assert_eq!(refused(&mut *codec, &[byte, 0, 1]), (refusal, vec![1], Then::Close));
        }
    }
}

#[test]
fn every_invalid_batch_is_refused_with_its_reason_and_its_count() {
    for edition in EDITIONS {
        let invalid =
            |first: &[u8], last: &[u8], date: &[u8]| raw_bet(edition, 1, first, last, date);
        let cases = [
            (invalid(b"\xff", b"B", b"2000-01-01"), ProtocolError::NotUtf8 { record: 2 }),
            (invalid(b"A", b"\xc3", b"2000-01-01"), ProtocolError::NotUtf8 { record: 2 }),
            (invalid(b"A", b"B", b"2000-01-0\xff"), ProtocolError::NotUtf8 { record: 2 }),
            (invalid(b"A", b"B", b"1999-13-17"), of_record(2, InvalidBet::birthdate("1999-13-17"))),
            (invalid(b"A", b"B", b"17/03/1999"), of_record(2, InvalidBet::birthdate("17/03/1999"))),
            (invalid(b"A", b"B", b" 1999-3-17"), of_record(2, InvalidBet::birthdate(" 1999-3-17"))),
            (
                invalid(b"A\n", b"B", b"2000-01-01"),
                of_record(2, InvalidBet::ControlCharacter { field: "first name", code: 0x0a }),
            ),
            (raw_bet(edition, 0, b"A", b"B", b"2000-01-01"), ProtocolError::NoAgency),
            (
                raw_bet(edition, 2, b"A", b"B", b"2000-01-01"),
                ProtocolError::OtherAgency { found: 2, expected: 1 },
            ),
        ];
        for (bet, error) in cases {
            let wire = batch_of(&[valid_bet(edition, 1), bet, valid_bet(edition, 1)]);
            let refusal = Refusal { error, bets: Some(3), consumed: None };
            assert_eq!(
                refused(&mut *central(edition), &wire),
                (refusal, vec![1], Then::Close),
                "{edition}"
            );
        }
    }
}

fn of_record(record: usize, source: InvalidBet) -> ProtocolError {
    ProtocolError::Bet { record, source }
}

#[test]
fn names_of_255_bytes_are_accepted_and_longer_ones_refused_before_they_arrive() {
    let longest = "x".repeat(255);
    for edition in EDITIONS {
        let bet = Bet { first_name: &longest, last_name: &longest, ..lorca() };
        let wire = packet(&mut *agency(edition, 1), &[bet]);
        assert_eq!(whole(&mut *central(edition), &wire), Request::Store(vec![bet]));
    }
    let too_long = |field| of_record(1, InvalidBet::TooLong { field, bytes: 256 });
    for (announced, field) in
        [(&[0, 1, 1, 1, 0][..], "first name"), (&[0, 1, 1, 0, 1, b'A', 1, 0], "last name")]
    {
        let mut codec = central("counted");
        let before = &announced[..announced.len() - 1];
        assert_eq!(codec.decode(before), Ok(Decoded::Incomplete));
        let refusal = refusal(&mut *codec, announced);
        assert_eq!(refusal, Refusal { error: too_long(field), bets: Some(1), consumed: None });
    }
}

#[test]
fn an_end_message_of_agency_0_and_a_second_agency_on_a_connection_are_refused() {
    for edition in EDITIONS {
        assert_eq!(refusal(&mut *central(edition), &[0, 0, 0]), ProtocolError::NoAgency.into());

        let other = ProtocolError::OtherAgency { found: 2, expected: 1 };
        let mut codec = central(edition);
        whole(&mut *codec, &batch_of(&[valid_bet(edition, 1)]));
        assert_eq!(refusal(&mut *codec, &[0, 0, 2]), other.clone().into());

        let mut codec = central(edition);
        whole(&mut *codec, &[0, 0, 1]);
        let refusal = refusal(&mut *codec, &batch_of(&[valid_bet(edition, 2)]));
        assert_eq!(refusal, Refusal { error: other, bets: Some(1), consumed: None });
    }
}

#[test]
fn a_connection_may_carry_batches_the_end_the_final_byte_and_another_end() {
    for edition in EDITIONS {
        let mut codec = central(edition);
        for bets in [3, 1, 2] {
            let wire = batch_of(&vec![valid_bet(edition, 7); bets]);
            assert_eq!(codec.decode(&wire[..wire.len() - 1]), Ok(Decoded::Incomplete));
            assert!(
                matches!(whole(&mut *codec, &wire), Request::Store(stored) if stored.len() == bets)
            );
            encoded(&mut *codec, &stored(bets));
        }
        for _ in 0..2 {
            assert_eq!(
                whole(&mut *codec, &[0, 0, 7]),
                Request::Winners { agency: 7, finished: true }
            );
            encoded(&mut *codec, &Reply::Winners(vec!["1"]));
            assert_eq!(whole(&mut *codec, &[1]), Request::Close);
        }
    }
}

#[test]
fn a_batch_starts_once_a_count_other_than_0_has_arrived() {
    for edition in EDITIONS {
        let mut codec = central(edition);
        for bytes in [&[][..], &[1], &[0], &[0, 0], &[0, 0, 1]] {
            assert!(!codec.begins_batch(bytes), "{bytes:?}");
        }
        for bytes in [[0, 1], [1, 0], [255, 255]] {
            assert!(codec.begins_batch(&bytes), "{bytes:?}");
        }
        encoded(&mut *codec, &Reply::Winners(vec![]));
        assert!(!codec.begins_batch(&[1, 1]), "the final byte must come first");
    }
}

#[test]
fn winners_that_are_too_many_or_not_numeric_are_not_encoded() {
    for (edition, max) in [("counted", 65_535), ("counted-u8", 255)] {
        let (reply, then) = encoded(&mut *central(edition), &Reply::Winners(vec!["7"; max]));
        assert_eq!((reply.len(), then), (width(edition) + 4 * max, Then::Continue));
        assert_eq!(agency(edition, 1).answer(&reply), Ok(Some(Answer::Winners(max as u64))));

        let too_many = Unencodable::OverLimit { what: "winners", value: max + 1, max };
        let not_numeric = Unencodable::NotNumeric { field: "document" };
        let cases = [(vec!["7"; max + 1], too_many)].into_iter();
        let texts = ["M-5", "", "007", "4294967296", "-1"];
        for (winners, error) in
            cases.chain(texts.map(|text| (vec!["7", text], not_numeric.clone())))
        {
            let (mut codec, mut out) = (central(edition), vec![9]);
            assert_eq!(codec.encode(&Reply::Winners(winners), &mut out), Err(error));
            assert_eq!(out, [9]);
        }
    }
}

#[test]
fn replies_of_other_dialects_are_not_encoded() {
    for edition in EDITIONS {
        for reply in [Reply::NotYet, Reply::Finished, Reply::Echo(b"x")] {
            let mut out = Vec::new();
            assert_eq!(central(edition).encode(&reply, &mut out), Err(Unencodable::Reply));
            assert!(out.is_empty());
        }
    }
}

#[test]
fn a_batch_beyond_the_limit_is_refused_as_soon_as_it_reaches_the_limit() {
    let name = [b'x'; 255];
    for edition in EDITIONS {
        let bet = raw_bet(edition, 1, &name, &name, b"2000-01-01");
        let wire = [&[0xff, 0xff][..], &bet.repeat(MAX_REQUEST_BYTES / bet.len() + 1)].concat();
        let error = ProtocolError::TooLarge { max: MAX_REQUEST_BYTES };
        let expected = Refusal { error, bets: Some(65_535), consumed: None };
        let mut codec = central(edition);
        assert_eq!(codec.decode(&wire[..MAX_REQUEST_BYTES - 1]), Ok(Decoded::Incomplete));
        assert_eq!(refusal(&mut *codec, &wire[..MAX_REQUEST_BYTES]), expected);
        assert_eq!(refusal(&mut *central(edition), &wire), expected);
    }
}

/// This test would take hours if the codec scanned the batch from its start for every byte.
#[test]
fn a_batch_of_65535_bets_may_arrive_byte_by_byte() {
    for edition in EDITIONS {
        let wire = batch_of(&vec![raw_bet(edition, 1, b"", b"", b"2000-01-01"); 65_535]);
        let mut codec = central(edition);
        for end in 0..wire.len() {
            assert_eq!(codec.decode(&wire[..end]), Ok(Decoded::Incomplete));
        }
        assert!(matches!(whole(&mut *codec, &wire), Request::Store(bets) if bets.len() == 65_535));
    }
}

#[test]
fn the_agency_limits_a_packet_in_bets_and_to_8192_bytes() {
    for edition in EDITIONS {
        let mut by_bets = agency_of_batches(edition, 1, 2);
        let pushed = [lorca(), rivera(), lorca()].map(|bet| by_bets.push(&bet).unwrap());
        assert_eq!(pushed, [Push::Added, Push::Added, Push::Full]);
        assert_eq!(by_bets.packet(), packet(&mut *agency(edition, 1), &[lorca(), rivera()]));

        let mut by_bytes = agency(edition, 1);
        while by_bytes.push(&lorca()).unwrap() == Push::Added {}
        let (bytes, one) = (by_bytes.packet().len(), vector(edition, "batch_L").len() - 2);
        assert!(bytes <= MAX_PACKET_BYTES && bytes + one > MAX_PACKET_BYTES);
        let bets = by_bytes.bets();
        let request = whole(&mut *central(edition), by_bytes.packet());
        assert_eq!(request, Request::Store(vec![lorca(); bets]));
    }
}

#[test]
fn a_bet_that_cannot_be_encoded_is_rejected_and_leaves_the_batch_unchanged() {
    let long = "x".repeat(256);
    let not_numeric = Unencodable::NotNumeric { field: "document" };
    let too_long = Unencodable::Invalid(InvalidBet::TooLong { field: "last name", bytes: 256 });
    let cases = [
        (Bet { document: "M-5".into(), ..lorca() }, not_numeric.clone()),
        (Bet { document: "".into(), ..lorca() }, not_numeric.clone()),
        (Bet { document: "007".into(), ..lorca() }, not_numeric.clone()),
        (Bet { document: "4294967296".into(), ..lorca() }, not_numeric),
        (Bet { number: None, ..lorca() }, Unencodable::Missing { field: "number" }),
        (
            Bet { number: Some(65_536), ..lorca() },
            Unencodable::OverLimit { what: "number", value: 65_536, max: 65_535 },
        ),
        (Bet { last_name: &long, ..lorca() }, too_long),
    ];
    for edition in EDITIONS {
        let mut batch = agency(edition, 1);
        batch.push(&lorca()).unwrap();
        for (bet, error) in &cases {
            assert_eq!(batch.push(bet), Err(error.clone()), "{edition}");
        }
        assert_eq!((batch.bets(), batch.packet()), (1, &vector(edition, "batch_L")[..]));
    }
}

#[test]
fn invalid_replies_are_rejected() {
    for edition in EDITIONS {
        let codec = agency(edition, 1);
        assert_eq!((codec.receipt(&[]), codec.answer(&[])), (Ok(None), Ok(None)));
        assert_eq!(codec.receipt(&[2]), Err(ProtocolError::UnknownReply(2)));
        assert_eq!(codec.receipt(&[0, 0]), Err(ProtocolError::TrailingBytes(1)));
        assert_eq!(codec.receipt(&[1, 7, 7]), Err(ProtocolError::TrailingBytes(2)));
        let longer = [vector(edition, "winners_L"), vec![9]].concat();
        assert_eq!(codec.answer(&longer), Err(ProtocolError::TrailingBytes(1)));
    }
}

fn any_edition() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&EDITIONS[..])
}

proptest! {
    #[test]
    fn any_documents_of_winners_are_encoded_in_order(
        edition in any_edition(), documents in prop::collection::vec(any::<u32>(), 0..100),
    ) {
        let texts: Vec<_> = documents.iter().map(u32::to_string).collect();
        let reply = Reply::Winners(texts.iter().map(String::as_str).collect());
        let (wire, _) = encoded(&mut *central(edition), &reply);
        let documents: Vec<_> =
            documents.iter().flat_map(|document| document.to_be_bytes()).collect();
        prop_assert_eq!(wire, [length(edition, texts.len()), documents].concat());
    }

    #[test]
    fn no_bytes_make_a_codec_panic(edition in any_edition(), bytes in arbitrary_bytes()) {
        decode_bytewise(&mut *central(edition), &bytes);
        let mut in_session = central(edition);
        whole(&mut *in_session, &batch_of(&[valid_bet(edition, 1)]));
        decode_bytewise(&mut *in_session, &bytes);
        let mut before_final_byte = central(edition);
        encoded(&mut *before_final_byte, &Reply::Winners(vec![]));
        decode_bytewise(&mut *before_final_byte, &bytes);
        let codec = agency(edition, 1);
        let _ = (codec.receipt(&bytes), codec.acknowledgement(&bytes), codec.answer(&bytes));
    }
}
