//! The `sentinel` dialect against the vectors taken from the original programs, and against any way the network cuts bytes.

#![allow(clippy::unwrap_used)]

mod common;

use common::bets::{alvarez, lorca, rivera};
use common::conversation::{noise, trickle};
use common::{
    agency, agency_of_batches, central, encoded, packet, refusal, refused, said_to, vector, whole,
};
use lottery::protocol::{
    AgencyCodec, Answer, CentralCodec, Decoded, MAX_PACKET_BYTES, ProtocolError, Push, Receipt,
    Refusal, Then, Unencodable,
};
use lottery::{Bet, InvalidBet, Reply, Request};
use proptest::prelude::*;

const SENTINEL: &str = "sentinel";

/// The agency's side of agency 1.
fn sender() -> Box<dyn AgencyCodec> {
    agency(SENTINEL, 1)
}

/// The central's side behind the hello of this agency.
fn greeted(agency: u8) -> Box<dyn CentralCodec> {
    let mut codec = central(SENTINEL);
    assert_eq!(codec.decode(&[agency]), Ok(Decoded::Skip { consumed: 1 }));
    codec
}

/// The fields of a packet with their length before them: the document is 1, the number 7.
fn raw_packet(first_name: &[u8], last_name: &[u8], date: &[u8]) -> Vec<u8> {
    let first_name = [&[u8::try_from(first_name.len()).unwrap()][..], first_name].concat();
    let last_name = [&[u8::try_from(last_name.len()).unwrap()][..], last_name].concat();
    sized([&first_name[..], &last_name, date, &[0, 0, 0, 1, 0, 0, 0, 7]].concat())
}

fn good() -> Vec<u8> {
    raw_packet(b"Ana", b"Paz", b"2000-02-29")
}

/// These bytes with their length as a u16 before them.
fn sized(bytes: Vec<u8>) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
}

fn batch_of(packets: &[Vec<u8>]) -> Vec<u8> {
    sized(packets.concat())
}

#[test]
fn batches_of_the_originals_decode_to_their_bets_and_encode_to_the_same_bytes() {
    let of_one = |bet: Bet<'static>| Bet { agency: 1, ..bet };
    let cases = [
        ("batch_L", vec![lorca()]),
        ("batch_TA", vec![rivera(), of_one(alvarez())]),
        ("batch_LTA", vec![lorca(), rivera(), of_one(alvarez())]),
    ];
    for (name, bets) in cases {
        let wire = vector(SENTINEL, name);
        assert_eq!(packet(&mut *sender(), &bets), wire, "{name}");
        assert_eq!(whole(&mut *greeted(1), &wire), Request::Store(bets), "{name}");
    }
    assert_eq!(batch_of(&[vector(SENTINEL, "packet_L")]), vector(SENTINEL, "batch_L"));
    assert_eq!(whole(&mut *greeted(1), &vector(SENTINEL, "batch_empty")), Request::Store(vec![]));
}

#[test]
fn the_hello_is_the_agency_of_every_bet_and_question_of_the_connection() {
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
fn agency_0_is_closed_without_a_reply() {
    let refusal = ProtocolError::NoAgency.into();
    assert_eq!(refused(&mut *central(SENTINEL), &[0, 0, 0]), (refusal, vec![], Then::Close));
}

#[test]
fn a_stored_batch_is_answered_with_ack_and_any_other_with_err_and_the_connection_goes_on() {
    let (ack, err) = (vector(SENTINEL, "ack"), vector(SENTINEL, "err"));
    let stored = Reply::Stored { bets: 1, winners: Vec::new() };
    assert_eq!(encoded(&mut *greeted(1), &stored), (ack.clone(), Then::Continue));
    assert_eq!(said_to(&mut *greeted(1), None), (err.clone(), Then::Continue));
    assert_eq!(sender().receipt(&ack), Ok(Some(Receipt::Stored { winners: None })));
    assert_eq!(sender().receipt(&err), Ok(Some(Receipt::Refused)));
}

#[test]
fn winners_are_their_documents_in_order_and_the_connection_ends() {
    let cases = [
        ("winners_none", vec![]),
        ("winners_L", vec!["30904465"]),
        // Of the course's data.
        ("winners_agency4_dataset", vec!["34963649", "35635602"]),
    ];
    for (name, winners) in cases {
        let wire = vector(SENTINEL, name);
        let answer = Answer::Winners(winners.len() as u64);
        assert_eq!(
            encoded(&mut *greeted(1), &Reply::Winners(winners)),
            (wire.clone(), Then::Close),
            "{name}"
        );
        assert_eq!(sender().answer(&wire), Ok(Some(answer)), "{name}");
    }
}

#[test]
fn one_bad_packet_refuses_the_whole_batch_and_the_next_batch_is_taken() {
    let bad = |first: &[u8], last: &[u8], date: &[u8]| raw_packet(first, last, date);
    let of_bet = |source| ProtocolError::Bet { record: 2, source };
    let over = |what| ProtocolError::OverLimit { record: 2, what, value: 31, max: 30 };
    let layout = ProtocolError::Layout { record: 2 };
    let fields = || good().split_off(2);
    let cases = [
        (bad(&[b'A'; 31], b"B", b"2000-01-01"), over("characters of the first name")),
        (bad(b"A", "ñ".repeat(31).as_bytes(), b"2000-01-01"), over("characters of the last name")),
        (bad(b"\xff", b"B", b"2000-01-01"), ProtocolError::NotUtf8 { record: 2 }),
        (bad(b"A", b"\xc3", b"2000-01-01"), ProtocolError::NotUtf8 { record: 2 }),
        (bad(b"A", b"B", b"2000-01-0\xff"), ProtocolError::NotUtf8 { record: 2 }),
        (bad(b"A", b"B", b"1999-13-17"), of_bet(InvalidBet::birthdate("1999-13-17"))),
        (bad(b"A", b"B", "1999-03-é".as_bytes()), of_bet(InvalidBet::birthdate("1999-03-é"))),
        (bad(b"A", b"B", b" 1999-3-17"), of_bet(InvalidBet::birthdate(" 1999-3-17"))),
        (
            bad(b"A\0", b"B", b"2000-01-01"),
            of_bet(InvalidBet::ControlCharacter { field: "first name", code: 0 }),
        ),
        (bad(b"A", b"B", b"1999-3-17"), layout.clone()),
        (sized([fields(), vec![0]].concat()), layout.clone()),
        (sized(fields().split_off(1)), layout.clone()),
        (sized(vec![]), layout),
    ];
    for (packet, error) in cases {
        let wire = batch_of(&[good(), packet, good()]);
        let mut codec = greeted(1);
        let refusal = Refusal { error, bets: Some(3), consumed: Some(wire.len()) };
        assert_eq!(refused(&mut *codec, &wire), (refusal, b"ERR".to_vec(), Then::Continue));
        assert!(
            matches!(whole(&mut *codec, &batch_of(&[good()])), Request::Store(bets) if bets.len() == 1)
        );
    }
}

#[test]
fn a_packet_that_the_end_of_the_batch_cuts_off_counts_as_one() {
    for left in 1..good().len() {
        let cut = good()[..left].to_vec();
        let wire = batch_of(&[good(), good(), cut]);
        let expected = Refusal {
            error: ProtocolError::Layout { record: 3 },
            bets: Some(3),
            consumed: Some(wire.len()),
        };
        // The next batch is there already; it makes the packet no longer.
        assert_eq!(refusal(&mut *greeted(1), &[wire, batch_of(&[good()])].concat()), expected);
    }
}

#[test]
fn the_case_of_31_characters_of_the_originals_is_refused_with_the_good_packet_beside_it() {
    // wire.md of the original, "full 31-char case"; there the good packet was stored.
    let bad =
        [&[0, 0x34, 0x1f][..], &[0x41; 31], &[1, 0x42], b"2000-01-01", &[0, 0, 0, 1, 0, 0, 0, 1]]
            .concat();
    let wire = batch_of(&[bad, vector(SENTINEL, "packet_L")]);
    assert_eq!(wire[..2], [0, 0x60]);
    let error = ProtocolError::OverLimit {
        record: 1,
        what: "characters of the first name",
        value: 31,
        max: 30,
    };
    assert_eq!(
        refusal(&mut *greeted(1), &wire),
        Refusal { error, bets: Some(2), consumed: Some(wire.len()) }
    );
}

#[test]
fn names_are_measured_in_characters_on_both_sides() {
    let longest = "🎲".repeat(30);
    let bet = Bet { first_name: &longest, last_name: &longest, ..lorca() };
    let wire = packet(&mut *sender(), &[bet]);
    assert_eq!(whole(&mut *greeted(1), &wire), Request::Store(vec![bet]));
}

#[test]
fn a_batch_may_have_65535_bytes() {
    let packets = vec![raw_packet(b"", b"", b"2000-01-01"); 2_977];
    let name = [b'x'; 19];
    // 2,977 packets of 22 bytes, and one that fills what is left.
    let wire = batch_of(&[packets, vec![raw_packet(&name, b"", b"2000-01-01")]].concat());
    assert_eq!(wire.len(), 2 + 65_535);
    assert!(matches!(whole(&mut *greeted(1), &wire), Request::Store(bets) if bets.len() == 2_978));
}

#[test]
fn a_batch_begins_behind_the_hello_when_a_length_other_than_9000_is_there() {
    assert!(!central(SENTINEL).begins_batch(&[1, 0]), "the hello is next");
    let codec = greeted(1);
    for bytes in [&[][..], &[0], &[0x23], &[0x23, 0x28], &[0x23, 0x28, 0]] {
        assert!(!codec.begins_batch(bytes), "{bytes:?}");
    }
    for bytes in [[0, 0], [0, 1], [0x23, 0x27], [0x23, 0x29], [0x28, 0x23]] {
        assert!(codec.begins_batch(&bytes), "{bytes:?}");
    }
}

#[test]
fn winners_that_do_not_fit_their_length_or_are_no_numbers_are_not_sent_at_all() {
    let (reply, _) = encoded(&mut *greeted(1), &Reply::Winners(vec!["7"; 16_383]));
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
        assert_eq!(greeted(1).encode(&reply, &mut out), Err(error));
        assert_eq!(out, [9]);
    }
}

#[test]
fn the_encoder_fills_a_packet_by_bets_or_by_bytes_and_never_over_8192() {
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
    assert_eq!(whole(&mut *greeted(1), by_bytes.packet()), Request::Store(vec![lorca(); bets]));
}

#[test]
fn a_bet_the_dialect_cannot_carry_is_named_and_leaves_the_batch_as_it_was() {
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
fn replies_that_no_central_sends_are_refused() {
    let codec = sender();
    let none = |bytes: &[u8]| Err(ProtocolError::NoSuchReply(bytes.to_vec()));
    for part in [&b""[..], b"A", b"AC", b"E", b"ER"] {
        assert_eq!(codec.receipt(part), Ok(None));
    }
    assert_eq!(codec.receipt(b"X"), none(b"X").map(Some));
    assert_eq!(codec.receipt(b"ACE12"), none(b"ACE").map(Some));
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
    fn any_documents_of_winners_lie_on_the_wire_in_order(
        documents in prop::collection::vec(any::<u32>(), 0..100),
    ) {
        let texts: Vec<_> = documents.iter().map(u32::to_string).collect();
        let (wire, _) = encoded(&mut *greeted(1), &Reply::Winners(texts.iter().map(String::as_str).collect()));
        let documents: Vec<_> = documents.iter().flat_map(|document| document.to_be_bytes()).collect();
        prop_assert_eq!(wire, [vec![0x23, 0x29], sized(documents)].concat());
    }

    #[test]
    fn no_bytes_make_a_side_panic(bytes in noise(), payload in noise()) {
        trickle(&mut *central(SENTINEL), &bytes);
        let mut codec = greeted(1);
        trickle(&mut *codec, &bytes);
        // A batch whose length is right, whatever is in it.
        trickle(&mut *codec, &sized(payload));
        let _ = (sender().receipt(&bytes), sender().acknowledgement(&bytes), sender().answer(&bytes));
    }
}
