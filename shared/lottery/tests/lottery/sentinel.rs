//! Tests of the `sentinel` dialect: the vectors of the original programs, invalid messages and
//! arbitrary bytes.

use crate::common::bets::{alvarez, lorca, rivera};
use crate::common::conversation::{arbitrary_bytes, decode_bytewise};
use crate::common::{
    agency, agency_of_batches, central, encoded, error_reply, packet, refusal, refused, vector,
    whole,
};
use lottery::protocol::{
    AgencyCodec, Answer, CentralCodec, Decoded, Denial, MAX_PACKET_BYTES, ProtocolError, Push,
    Receipt, Refusal, Refused, Then, Unencodable,
};
use lottery::{Bet, InvalidBet, Reply, Request};
use proptest::prelude::*;

const SENTINEL: &str = "sentinel";

/// Returns the codec of agency 1.
fn sender() -> Box<dyn AgencyCodec> {
    agency(SENTINEL, 1)
}

/// Returns the central's codec after the hello of this agency.
fn central_after_hello(agency: u8) -> Box<dyn CentralCodec> {
    let mut codec = central(SENTINEL);
    assert_eq!(codec.decode(&[agency]), Ok(Decoded::Skip { consumed: 1 }));
    codec
}

/// Returns a packet with these fields, document 1 and number 7.
fn raw_packet(first_name: &[u8], last_name: &[u8], date: &[u8]) -> Vec<u8> {
    let first_name = [&[u8::try_from(first_name.len()).unwrap()][..], first_name].concat();
    let last_name = [&[u8::try_from(last_name.len()).unwrap()][..], last_name].concat();
    with_length([&first_name[..], &last_name, date, &[0, 0, 0, 1, 0, 0, 0, 7]].concat())
}

/// Returns a valid packet.
fn valid_packet() -> Vec<u8> {
    raw_packet(b"Ana", b"Paz", b"2000-02-29")
}

/// Returns these bytes with their length as a u16 before them.
fn with_length(bytes: Vec<u8>) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
}

fn batch_of(packets: &[Vec<u8>]) -> Vec<u8> {
    with_length(packets.concat())
}

#[test]
fn batches_of_the_original_are_decoded_and_encoded_to_the_same_bytes() {
    let of_agency_1 = |bet: Bet<'static>| Bet { agency: 1, ..bet };
    let cases = [
        ("batch_L", vec![lorca()]),
        ("batch_TA", vec![rivera(), of_agency_1(alvarez())]),
        ("batch_LTA", vec![lorca(), rivera(), of_agency_1(alvarez())]),
    ];
    for (name, bets) in cases {
        let wire = vector(SENTINEL, name);
        assert_eq!(packet(&mut *sender(), &bets), wire, "{name}");
        assert_eq!(whole(&mut *central_after_hello(1), &wire), Request::Store(bets), "{name}");
    }
    assert_eq!(batch_of(&[vector(SENTINEL, "packet_L")]), vector(SENTINEL, "batch_L"));
    assert_eq!(
        whole(&mut *central_after_hello(1), &vector(SENTINEL, "batch_empty")),
        Request::Store(vec![])
    );
}

#[test]
fn the_hello_sets_the_agency_of_all_bets_and_questions_on_the_connection() {
    for number in [1, 5] {
        let hello = vector(SENTINEL, &format!("id_{number}"));
        assert_eq!(agency(SENTINEL, number).greeting(), hello);
        let mut codec = central(SENTINEL);
        assert_eq!(codec.decode(&[]), Ok(Decoded::Incomplete));
        assert_eq!(codec.decode(&hello), Ok(Decoded::Skip { consumed: 1 }));
        let wire = vector(SENTINEL, "batch_L");
        assert_eq!(
            whole(&mut *codec, &wire),
            Request::Store(vec![Bet { agency: number, ..lorca() }])
        );
        let request = Request::Winners { agency: number, finished: true };
        assert_eq!(whole(&mut *codec, &vector(SENTINEL, "notify")), request);
    }
    assert_eq!(sender().question(), vector(SENTINEL, "notify"));
    assert_eq!((sender().notification(), sender().final_message()), (None, &[][..]));
}

#[test]
fn the_connection_of_agency_0_is_closed_without_a_reply() {
    let refusal = ProtocolError::NoAgency.into();
    assert_eq!(refused(&mut *central(SENTINEL), &[0, 0, 0]), (refusal, vec![], Then::Close));
}

#[test]
fn a_stored_batch_gets_ack_a_refused_one_err_and_the_connection_continues() {
    let (ack, err) = (vector(SENTINEL, "ack"), vector(SENTINEL, "err"));
    let stored = Reply::Stored { bets: 1, winners: Vec::new() };
    assert_eq!(encoded(&mut *central_after_hello(1), &stored), (ack.clone(), Then::Continue));
    assert_eq!(
        error_reply(&mut *central_after_hello(1), Refused::Request(Denial::Closed)),
        (err.clone(), Then::Continue)
    );
    assert_eq!(sender().receipt(&ack), Ok(Some(Receipt::Stored { winners: None })));
    assert_eq!(sender().receipt(&err), Ok(Some(Receipt::Refused)));
}

#[test]
fn the_winners_are_sent_as_documents_in_order_and_the_connection_closes() {
    let cases = [
        ("winners_none", vec![]),
        ("winners_L", vec!["30904465"]),
        // From the course's data.
        ("winners_agency4_dataset", vec!["34963649", "35635602"]),
    ];
    for (name, winners) in cases {
        let wire = vector(SENTINEL, name);
        let answer = Answer::Winners(winners.len() as u64);
        assert_eq!(
            encoded(&mut *central_after_hello(1), &Reply::Winners(winners)),
            (wire.clone(), Then::Close),
            "{name}"
        );
        assert_eq!(sender().answer(&wire), Ok(Some(answer)), "{name}");
    }
}

#[test]
fn one_invalid_packet_refuses_the_whole_batch_and_the_next_batch_is_accepted() {
    let invalid = |first: &[u8], last: &[u8], date: &[u8]| raw_packet(first, last, date);
    let of_bet = |source| ProtocolError::Bet { record: 2, source };
    let over = |what| ProtocolError::OverLimit { record: 2, what, value: 31, max: 30 };
    let layout = ProtocolError::Layout { record: 2 };
    let fields = || valid_packet().split_off(2);
    let cases = [
        (invalid(&[b'A'; 31], b"B", b"2000-01-01"), over("characters of the first name")),
        (
            invalid(b"A", "ñ".repeat(31).as_bytes(), b"2000-01-01"),
            over("characters of the last name"),
        ),
        (invalid(b"\xff", b"B", b"2000-01-01"), ProtocolError::NotUtf8 { record: 2 }),
        (invalid(b"A", b"\xc3", b"2000-01-01"), ProtocolError::NotUtf8 { record: 2 }),
        (invalid(b"A", b"B", b"2000-01-0\xff"), ProtocolError::NotUtf8 { record: 2 }),
        (invalid(b"A", b"B", b"1999-13-17"), of_bet(InvalidBet::birthdate("1999-13-17"))),
        (invalid(b"A", b"B", "1999-03-é".as_bytes()), of_bet(InvalidBet::birthdate("1999-03-é"))),
        (invalid(b"A", b"B", b" 1999-3-17"), of_bet(InvalidBet::birthdate(" 1999-3-17"))),
        (
            invalid(b"A\0", b"B", b"2000-01-01"),
            of_bet(InvalidBet::ControlCharacter { field: "first name", code: 0 }),
        ),
        (invalid(b"A", b"B", b"1999-3-17"), layout.clone()),
        (with_length([fields(), vec![0]].concat()), layout.clone()),
        (with_length(fields().split_off(1)), layout.clone()),
        (with_length(vec![]), layout),
    ];
    for (packet, error) in cases {
        let wire = batch_of(&[valid_packet(), packet, valid_packet()]);
        let mut codec = central_after_hello(1);
        let refusal = Refusal { error, bets: Some(3), consumed: Some(wire.len()) };
        assert_eq!(refused(&mut *codec, &wire), (refusal, b"ERR".to_vec(), Then::Continue));
        let next = batch_of(&[valid_packet()]);
        assert!(matches!(whole(&mut *codec, &next), Request::Store(bets) if bets.len() == 1));
    }
}

#[test]
fn a_packet_truncated_by_the_end_of_the_batch_is_counted() {
    for left in 1..valid_packet().len() {
        let truncated = valid_packet()[..left].to_vec();
        let wire = batch_of(&[valid_packet(), valid_packet(), truncated]);
        let expected = Refusal {
            error: ProtocolError::Layout { record: 3 },
            bets: Some(3),
            consumed: Some(wire.len()),
        };
        // The next batch has already arrived. Its bytes do not complete the packet.
        assert_eq!(
            refusal(&mut *central_after_hello(1), &[wire, batch_of(&[valid_packet()])].concat()),
            expected
        );
    }
}

#[test]
fn the_31_character_case_of_the_original_is_refused_together_with_the_valid_packet() {
    // Captured from the original server, which stored the valid packet.
    let invalid =
        [&[0, 0x34, 0x1f][..], &[0x41; 31], &[1, 0x42], b"2000-01-01", &[0, 0, 0, 1, 0, 0, 0, 1]]
            .concat();
    let wire = batch_of(&[invalid, vector(SENTINEL, "packet_L")]);
    assert_eq!(wire[..2], [0, 0x60]);
    let error = ProtocolError::OverLimit {
        record: 1,
        what: "characters of the first name",
        value: 31,
        max: 30,
    };
    assert_eq!(
        refusal(&mut *central_after_hello(1), &wire),
        Refusal { error, bets: Some(2), consumed: Some(wire.len()) }
    );
}

#[test]
fn the_length_of_a_name_is_limited_in_characters_by_both_codecs() {
    let longest = "🎲".repeat(30);
    let bet = Bet { first_name: &longest, last_name: &longest, ..lorca() };
    let wire = packet(&mut *sender(), &[bet]);
    assert_eq!(whole(&mut *central_after_hello(1), &wire), Request::Store(vec![bet]));
}

#[test]
fn a_batch_may_have_65535_bytes() {
    let packets = vec![raw_packet(b"", b"", b"2000-01-01"); 2_977];
    let name = [b'x'; 19];
    // 2,977 packets of 22 bytes, and one that fills the rest.
    let wire = batch_of(&[packets, vec![raw_packet(&name, b"", b"2000-01-01")]].concat());
    assert_eq!(wire.len(), 2 + 65_535);
    let mut codec = central_after_hello(1);
    assert!(matches!(whole(&mut *codec, &wire), Request::Store(bets) if bets.len() == 2_978));
}

#[test]
fn a_batch_starts_after_the_hello_once_a_length_other_than_9000_has_arrived() {
    assert!(!central(SENTINEL).begins_batch(&[1, 0]), "the hello must come first");
    let codec = central_after_hello(1);
    for bytes in [&[][..], &[0], &[0x23], &[0x23, 0x28], &[0x23, 0x28, 0]] {
        assert!(!codec.begins_batch(bytes), "{bytes:?}");
    }
    for bytes in [[0, 0], [0, 1], [0x23, 0x27], [0x23, 0x29], [0x28, 0x23]] {
        assert!(codec.begins_batch(&bytes), "{bytes:?}");
    }
}

#[test]
fn winners_that_are_too_many_or_not_numeric_are_not_encoded() {
    let (reply, _) = encoded(&mut *central_after_hello(1), &Reply::Winners(vec!["7"; 16_383]));
    assert_eq!(reply[..4], [0x23, 0x29, 0xff, 0xfc]);
    assert_eq!(sender().answer(&reply), Ok(Some(Answer::Winners(16_383))));

    let too_many = Unencodable::OverLimit { what: "winners", value: 16_384, max: 16_383 };
    let not_numeric = Unencodable::NotNumeric { field: "document" };
    let cases = [
        (Reply::Winners(vec!["7"; 16_384]), too_many),
        (Reply::Winners(vec!["7", "M-5"]), not_numeric.clone()),
        (Reply::Winners(vec!["7", "007"]), not_numeric),
        (Reply::NotYet, Unencodable::Reply),
        (Reply::Finished, Unencodable::Reply),
    ];
    for (reply, error) in cases {
        let mut out = vec![9];
        assert_eq!(central_after_hello(1).encode(&reply, &mut out), Err(error));
        assert_eq!(out, [9]);
    }
}

#[test]
fn the_agency_limits_a_packet_in_bets_and_to_8192_bytes() {
    let mut by_bets = agency_of_batches(SENTINEL, 1, 2);
    let pushed = [lorca(), rivera(), lorca()].map(|bet| by_bets.push(&bet).unwrap());
    assert_eq!(pushed, [Push::Added, Push::Added, Push::Full]);
    assert_eq!(by_bets.packet(), packet(&mut *sender(), &[lorca(), rivera()]));

    let mut by_bytes = sender();
    while by_bytes.push(&lorca()).unwrap() == Push::Added {}
    let bytes = by_bytes.packet().len();
    assert!(
        bytes <= MAX_PACKET_BYTES && bytes + vector(SENTINEL, "packet_L").len() > MAX_PACKET_BYTES
    );
    let bets = by_bytes.bets();
    assert_eq!(
        whole(&mut *central_after_hello(1), by_bytes.packet()),
        Request::Store(vec![lorca(); bets])
    );
}

#[test]
fn a_bet_that_cannot_be_encoded_is_rejected_and_leaves_the_batch_unchanged() {
    let long = "ñ".repeat(31);
    let over = |what| Unencodable::OverLimit { what, value: 31, max: 30 };
    let not_numeric = Unencodable::NotNumeric { field: "document" };
    let control = InvalidBet::ControlCharacter { field: "first name", code: 0x0a };
    let cases = [
        (Bet { first_name: &long, ..lorca() }, over("characters of the first name")),
        (Bet { last_name: &long, ..lorca() }, over("characters of the last name")),
        (Bet { first_name: "A\n", ..lorca() }, Unencodable::Invalid(control)),
        (Bet { document: "M-5".into(), ..lorca() }, not_numeric.clone()),
        (Bet { document: "007".into(), ..lorca() }, not_numeric),
        (Bet { number: None, ..lorca() }, Unencodable::Missing { field: "number" }),
    ];
    let mut batch = sender();
    batch.push(&lorca()).unwrap();
    for (bet, error) in cases {
        assert_eq!(batch.push(&bet), Err(error));
    }
    assert_eq!((batch.bets(), batch.packet()), (1, &vector(SENTINEL, "batch_L")[..]));
}

#[test]
fn invalid_replies_are_rejected() {
    let codec = sender();
    let unknown = |bytes: &[u8]| Err(ProtocolError::NoSuchReply(bytes.to_vec()));
    for part in [&b""[..], b"A", b"AC", b"E", b"ER"] {
        assert_eq!(codec.receipt(part), Ok(None));
    }
    assert_eq!(codec.receipt(b"X"), unknown(b"X").map(Some));
    assert_eq!(codec.receipt(b"ACE12"), unknown(b"ACE").map(Some));
    assert_eq!(codec.receipt(b"ACK!"), Err(ProtocolError::TrailingBytes(1)));
    assert_eq!(codec.receipt(b"ERR!!"), Err(ProtocolError::TrailingBytes(2)));

    assert_eq!(codec.answer(&[0x23, 0x28, 0]), Err(ProtocolError::NoSuchReply(vec![0x23, 0x28])));
    let uneven = vec![0x23, 0x29, 0, 5];
    assert_eq!(codec.answer(&uneven), Err(ProtocolError::NoSuchReply(uneven)));
    let longer = [vector(SENTINEL, "winners_L"), vec![9]].concat();
    assert_eq!(codec.answer(&longer), Err(ProtocolError::TrailingBytes(1)));
}

proptest! {
    #[test]
    fn any_documents_of_winners_are_encoded_in_order(
        documents in prop::collection::vec(any::<u32>(), 0..100),
    ) {
        let texts: Vec<_> = documents.iter().map(u32::to_string).collect();
        let reply = Reply::Winners(texts.iter().map(String::as_str).collect());
        let (wire, _) = encoded(&mut *central_after_hello(1), &reply);
        let documents: Vec<_> =
            documents.iter().flat_map(|document| document.to_be_bytes()).collect();
        prop_assert_eq!(wire, [vec![0x23, 0x29], with_length(documents)].concat());
    }

    #[test]
    fn no_bytes_make_a_codec_panic(bytes in arbitrary_bytes(), payload in arbitrary_bytes()) {
        decode_bytewise(&mut *central(SENTINEL), &bytes);
        let mut codec = central_after_hello(1);
        decode_bytewise(&mut *codec, &bytes);
        // A batch with a correct length and arbitrary content.
        decode_bytewise(&mut *codec, &with_length(payload));
        let agency = sender();
        let _ = (agency.receipt(&bytes), agency.acknowledgement(&bytes), agency.answer(&bytes));
    }
}
