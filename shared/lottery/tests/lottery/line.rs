//! Tests of the `line` dialect: the vectors of the original programs, invalid messages and
//! arbitrary bytes.

use crate::common::bets::{alvarez, any_bets, bet, lorca, of_agency, rivera};
use crate::common::conversation::{conversation, mutated, mutations, splits};
use crate::common::{
    agency_of_batches, encoded, error_reply, filled, packet, refused, request, whole,
};
use lottery::protocol::line::MAX_LINE_BYTES;
use lottery::protocol::{
    AgencyCodec, Answer, CentralCodec, Decoded, Denial, MAX_PACKET_BYTES, MAX_REQUEST_BYTES,
    ProtocolError, Push, Receipt, Refused, Then, Unencodable,
};
use lottery::{Bet, InvalidBet, Reply, Request};
use proptest::prelude::*;

const LINE: &str = "line";
const STORED: Reply<'static> = Reply::Stored { bets: 0, winners: Vec::new() };

fn vector(name: &str) -> Vec<u8> {
    crate::common::vector(LINE, name)
}

fn central() -> Box<dyn CentralCodec> {
    crate::common::central(LINE)
}

fn agency(agency: u16) -> Box<dyn AgencyCodec> {
    crate::common::agency(LINE, agency)
}

/// Returns the bets of a batch with this line and the line that ends it.
fn bets_of(line: &str) -> Vec<Bet<'static>> {
    let wire = format!("{line}\n[AGENCY 1] BetBatchEnd\n").leak();
    match whole(&mut *central(), wire.as_bytes()) {
        Request::Store(bets) => bets,
        other => panic!("{other:?}"),
    }
}

#[test]
fn batches_of_the_original_are_decoded_and_encoded_to_the_same_bytes() {
    let cases = [
        (1, vec!["bet_L", "bet_T", "batch_end_1_and_its_echo"], vec![lorca(), rivera()]),
        (5, vec!["bet_A", "batch_end_5"], vec![alvarez()]),
    ];
    for (number, lines, bets) in cases {
        let wire = lines.iter().flat_map(|name| vector(name)).collect::<Vec<_>>();
        assert_eq!(packet(&mut *agency(number), &bets), wire);
        assert_eq!(whole(&mut *central(), &wire), Request::Store(bets));
    }
}

#[test]
fn every_bet_has_the_agency_of_its_own_line() {
    let wire = [vector("bet_L"), vector("bet_A"), vector("batch_end_5")].concat();
    assert_eq!(whole(&mut *central(), &wire), Request::Store(vec![lorca(), alvarez()]));
}

#[test]
fn the_reply_to_a_batch_equals_the_line_that_ended_it() {
    let unusual = b"  [AGENCY\t+07]   BetBatchEnd  and more \r\n".to_vec();
    for end in [vector("batch_end_1_and_its_echo"), vector("batch_end_5"), unusual] {
        let mut central = central();
        let wire = [vector("bet_L"), end.clone()].concat();
        assert_eq!(whole(&mut *central, &wire), Request::Store(vec![lorca()]));
        assert_eq!(encoded(&mut *central, &STORED), (end, Then::Continue));
    }
}

#[test]
fn an_empty_batch_is_answered_like_any_other() {
    let (mut central, end) = (central(), vector("batch_end_5"));
    assert!(central.begins_batch(&end));
    assert_eq!(whole(&mut *central, &end), Request::Store(vec![]));
    assert_eq!(encoded(&mut *central, &STORED), (end, Then::Continue));
}

#[test]
fn ready_finishes_the_agency_and_its_answer_is_the_last_reply() {
    let wire = vector("ready_1");
    assert_eq!(agency(1).question(), wire);
    for (documents, name) in [(vec![], "winners_0"), (vec!["30904465"], "winners_1")] {
        let mut central = central();
        assert_eq!(whole(&mut *central, &wire), Request::Winners { agency: 1, finished: true });
        let reply = vector(name);
        let answer = Answer::Winners(documents.len() as u64);
        assert_eq!(
            encoded(&mut *central, &Reply::Winners(documents)),
            (reply.clone(), Then::Close)
        );
        assert_eq!(agency(1).answer(&reply), Ok(Some(answer)));
    }
}

#[test]
fn integers_are_parsed_as_python_parses_them() {
    let lines = [
        "[AGENCY 01] Bet 07574,A,B,1,1999-03-17",
        "[AGENCY +1] Bet +7574,A,B,1,1999-03-17",
        "[AGENCY 1] Bet  7574 ,A,B,1,1999-03-17",
    ];
    for line in lines {
        assert_eq!(bets_of(line), [bet(1, ["A", "B", "1"], "1999-03-17", 7574)], "{line}");
    }
    let largest = bet(65_535, ["A", "B", "1"], "1999-03-17", u32::MAX);
    assert_eq!(bets_of("[AGENCY 65535] Bet 4294967295,A,B,1,1999-03-17"), [largest]);
}

#[test]
fn texts_are_unchanged_and_may_be_empty() {
    let kept = bet(1, ["  Ana   María ", "", " x|y;\"z\" "], "1999-03-17", 5);
    assert_eq!(bets_of("[AGENCY 1] Bet 5,  Ana   María ,, x|y;\"z\" ,1999-03-17"), [kept]);
}

#[test]
fn blanks_around_words_extra_fields_and_other_keywords_are_accepted() {
    let lines = [
        " \t[AGENCY   1]\tBet\t 5,A,B,1,1999-03-17 \t\r",
        "[AGENCY 1] Bet 5,A,B,1,1999-03-17,and,more,\u{1}",
        "[AGENCY 1] Whatever 5,A,B,1,1999-03-17",
        "[AGENCY 1] BetBatchEndless 5,A,B,1,1999-03-17",
    ];
    for line in lines {
        assert_eq!(bets_of(line), [bet(1, ["A", "B", "1"], "1999-03-17", 5)], "{line}");
    }
}

#[test]
fn every_invalid_line_is_refused_at_once_with_its_number_and_without_a_reply() {
    let form = " is not a line of the form [AGENCY a] keyword";
    let agency = " has no agency from 1 to 65535";
    let date = |text| format!(": {}", InvalidBet::birthdate(text));
    let number = |text| format!(": {}", InvalidBet::number(text));
    let long = format!("[AGENCY 1] Bet 1,{},B,1,1999-03-17", "x".repeat(256));
    // The line; true if it is known to be a bet when it is the first; the error after "record 1".
    let cases: Vec<(&[u8], bool, String)> = vec![
        (b"", false, form.into()),
        (b" \t \r", false, form.into()),
        (b"[AGENCY 1]", false, form.into()),
        (b"[AGENCY 1", false, form.into()),
        (b"[AGENCY 1 ] Bet 1,A,B,1,1999-03-17", false, form.into()),
        (b"[AGENCY1] Bet 1,A,B,1,1999-03-17", false, form.into()),
        (b"AGENCY 1] Bet 1,A,B,1,1999-03-17", false, form.into()),
        (b"[AGENCY ]] Bet 1,A,B,1,1999-03-17", false, agency.into()),
        (b"[AGENCY 0] Bet 1,A,B,1,1999-03-17", false, agency.into()),
        (b"[AGENCY 65536] Bet 1,A,B,1,1999-03-17", false, agency.into()),
        (b"[AGENCY -1] Bet 1,A,B,1,1999-03-17", false, agency.into()),
        (b"[AGENCY x] ReadyForLottery", false, agency.into()),
        (b"[AGENCY 0] BetBatchEnd", false, agency.into()),
        (b"[AGENCY 1] Bet", true, " has 1 fields, expected at least 5".into()),
        (b"[AGENCY 1] Bet 1,A,B,1", true, " has 4 fields, expected at least 5".into()),
        (b"[AGENCY 1] Bet 1,A,B,1,1999-13-17", true, date("1999-13-17")),
        (b"[AGENCY 1] Bet 1,A,B,1,1999-3-7", true, date("1999-3-7")),
        (b"[AGENCY 1] Bet 1,A,B,1, 1999-03-17", true, date(" 1999-03-17")),
        (b"[AGENCY 1] Bet 1,A,A,B,1,1999-03-17", true, date("1")),
        (b"[AGENCY 1] Bet x,A,B,1,1999-03-17", true, number("x")),
        (b"[AGENCY 1] Bet ,A,B,1,1999-03-17", true, number("")),
        (b"[AGENCY 1] Bet -1,A,B,1,1999-03-17", true, number("-1")),
        (b"[AGENCY 1] Bet 1_0,A,B,1,1999-03-17", true, number("1_0")),
        (b"[AGENCY 1] Bet 4294967296,A,B,1,1999-03-17", true, number("4294967296")),
        (
            b"[AGENCY 1] Bet 1,A,\t,1,1999-03-17",
            true,
            ": last name holds the control character U+0009".into(),
        ),
        (long.as_bytes(), true, ": first name has 256 bytes, at most 255 are allowed".into()),
        (b"[AGENCY 1] Bet 1,\xff,B,1,1999-03-17", false, " is not UTF-8".into()),
    ];
    for (line, is_bet, error) in cases {
        let wire = [line, b"\n"].concat();
        let (refusal, reply, then) = refused(&mut *central(), &wire);
        assert_eq!(refusal.error.to_string(), format!("record 1{error}"));
        assert_eq!((refusal.bets, refusal.consumed), (is_bet.then_some(1), None), "{error}");
        assert_eq!((reply, then), (vec![], Then::Close));

        let wire = [vector("bet_L"), vector("bet_T"), wire].concat();
        let (refusal, ..) = refused(&mut *central(), &wire);
        assert_eq!(refusal.error.to_string(), format!("record 3{error}"));
        assert_eq!((refusal.bets, refusal.consumed), (Some(3), None), "{error}");
    }
}

#[test]
fn ready_after_bets_without_their_end_is_refused_because_the_bets_would_be_lost() {
    let wire = [vector("bet_L"), vector("ready_1")].concat();
    let (refusal, reply, then) = refused(&mut *central(), &wire);
    assert_eq!(
        refusal.error,
        ProtocolError::OutOfPlace { after: "bets without their BetBatchEnd" }
    );
    assert_eq!((refusal.bets, refusal.consumed, reply, then), (Some(1), None, vec![], Then::Close));
}

#[test]
fn a_failed_request_gets_no_reply() {
    assert_eq!(
        error_reply(&mut *central(), Refused::Request(Denial::Closed)),
        (vec![], Then::Close)
    );
}

#[test]
fn replies_of_other_dialects_are_not_encoded() {
    for reply in [Reply::NotYet, Reply::Finished, Reply::Echo(b"x")] {
        let mut out = Vec::new();
        assert_eq!(central().encode(&reply, &mut out), Err(Unencodable::Reply));
        assert_eq!(out, b"");
    }
}

#[test]
fn a_batch_starts_with_the_first_complete_line_that_is_not_ready() {
    let central = central();
    let (line, ready) = (vector("bet_L"), vector("ready_1"));
    for undecided in [&b""[..], b"[AGENCY 1] Bet", &line[..line.len() - 1], &ready, b"nonsense\n"] {
        assert!(!central.begins_batch(undecided), "{}", String::from_utf8_lossy(undecided));
    }
    for started in [line.clone(), vector("batch_end_5"), [line, ready].concat()] {
        assert!(central.begins_batch(&started));
    }
}

#[test]
fn messages_in_one_buffer_are_decoded_one_by_one() {
    let batch = [vector("bet_L"), vector("batch_end_1_and_its_echo")].concat();
    let wire = [batch.clone(), batch.clone(), vector("ready_1")].concat();
    let mut central = central();
    for start in [0, batch.len()] {
        let (request, consumed) = request(&mut *central, &wire[start..]);
        assert_eq!((request, consumed), (Request::Store(vec![lorca()]), batch.len()));
        assert_eq!(encoded(&mut *central, &STORED).0, vector("batch_end_1_and_its_echo"));
    }
    let ready = Request::Winners { agency: 1, finished: true };
    assert_eq!(whole(&mut *central, &wire[2 * batch.len()..]), ready);
}

#[test]
fn a_line_without_an_end_is_refused() {
    let mut wire = [vector("bet_L"), b"[AGENCY 1] Bet ".to_vec()].concat();
    let start = vector("bet_L").len();
    wire.resize(start + MAX_LINE_BYTES - 1, b'x');
    let mut central = central();
    assert_eq!(central.decode(&wire), Ok(Decoded::Incomplete));
    wire.push(b'x');
    let (refusal, reply, then) = refused(&mut *central, &wire);
    assert_eq!(
        refusal.error,
        ProtocolError::Malformed { record: 2, reason: "exceeds the maximum length of a line" }
    );
    assert_eq!((refusal.bets, reply, then), (Some(2), vec![], Then::Close));
}

#[test]
fn a_message_of_4_mib_is_accepted_and_a_longer_one_refused() {
    let (line, end) = (vector("bet_L"), vector("batch_end_1_and_its_echo"));
    let lines = (MAX_REQUEST_BYTES - end.len()) / line.len();
    let fits = [line.repeat(lines), end.clone()].concat();
    assert_eq!(whole(&mut *central(), &fits), Request::Store(vec![lorca(); lines]));

    let longer = [line.repeat(lines + 1), end].concat();
    assert!(longer.len() > MAX_REQUEST_BYTES);
    for wire in [&longer[..], &longer[..MAX_REQUEST_BYTES]] {
        let (refusal, reply, then) = refused(&mut *central(), wire);
        assert_eq!(refusal.error, ProtocolError::TooLarge { max: MAX_REQUEST_BYTES });
        assert_eq!((refusal.consumed, reply, then), (None, vec![], Then::Close));
    }
}

#[test]
fn the_agency_limits_a_packet_in_bets_and_to_8192_bytes() {
    let mut by_bets = agency_of_batches(LINE, 1, 2);
    let pushed = [lorca(), rivera(), lorca()].map(|bet| by_bets.push(&bet).unwrap());
    assert_eq!(pushed, [Push::Added, Push::Added, Push::Full]);
    assert_eq!(by_bets.packet(), packet(&mut *agency(1), &[lorca(), rivera()]));

    let mut by_bytes = agency(65_535);
    while by_bytes.push(&lorca()).unwrap() == Push::Added {}
    let bets = by_bytes.bets();
    let bytes = by_bytes.packet().len();
    let line = b"[AGENCY 65535] Bet 7574,Santiago Lionel,Lorca,30904465,1999-03-17\n".len();
    assert!(bytes <= MAX_PACKET_BYTES && bytes + line > MAX_PACKET_BYTES, "{bytes}");
    let request = whole(&mut *central(), by_bytes.packet());
    assert_eq!(request, Request::Store(vec![Bet { agency: 65_535, ..lorca() }; bets]));

    by_bytes.clear();
    assert_eq!((by_bytes.bets(), by_bytes.push(&rivera())), (0, Ok(Push::Added)));
}

#[test]
fn a_bet_that_cannot_be_encoded_is_rejected_and_leaves_the_batch_unchanged() {
    let mut agency = agency(1);
    let before = packet(&mut *agency, &[lorca()]);
    agency.clear();
    agency.push(&lorca()).unwrap();
    let long = "x".repeat(256);
    let cases = [
        (
            Bet { last_name: "B,C", ..rivera() },
            Unencodable::Separator { field: "last name", separator: ',' },
        ),
        (Bet { number: None, ..rivera() }, Unencodable::Missing { field: "number" }),
        (
            Bet { first_name: "a\nb", ..rivera() },
            InvalidBet::ControlCharacter { field: "first name", code: 10 }.into(),
        ),
        (
            Bet { first_name: &long, ..rivera() },
            InvalidBet::TooLong { field: "first name", bytes: 256 }.into(),
        ),
    ];
    for (bet, error) in cases {
        assert_eq!(agency.push(&bet), Err(error));
        assert_eq!(agency.bets(), 1);
    }
    assert_eq!(agency.packet(), before);
}

#[test]
fn only_the_end_of_the_batch_is_its_receipt() {
    let (agency, receipt) = (agency(1), vector("batch_end_1_and_its_echo"));
    for end in 0..receipt.len() {
        assert_eq!(agency.receipt(&receipt[..end]), Ok(None));
    }
    assert_eq!(agency.receipt(&receipt), Ok(Some(Receipt::Stored { winners: None })));
    assert_eq!(
        agency.receipt(&[receipt, vec![b'x']].concat()),
        Err(ProtocolError::TrailingBytes(1))
    );
    for other in ["BetBatchEnd\n", "[AGENCY 5] BetBatchEnd\n", "\n", "[AGENCY 1] BetBatchEnd\r\n"] {
        let error = ProtocolError::UnexpectedReply {
            text: other.trim_end_matches('\n').replace('\r', " "),
        };
        assert_eq!(agency.receipt(other.as_bytes()), Err(error), "{other:?}");
    }
    assert!(matches!(agency.receipt(b"\xff\n"), Err(ProtocolError::UnexpectedReply { .. })));
}

#[test]
fn the_answer_is_a_line_with_the_number_of_winners() {
    let agency = agency(1);
    let largest = format!("Winners {}\n", u64::MAX);
    for (line, winners) in [("Winners 0\n", 0), ("Winners 3\n", 3), (&largest, u64::MAX)] {
        for end in 0..line.len() {
            assert_eq!(agency.answer(&line.as_bytes()[..end]), Ok(None));
        }
        assert_eq!(agency.answer(line.as_bytes()), Ok(Some(Answer::Winners(winners))));
    }
    for line in ["Winners\n", "Winners x\n", "Winners -1\n", "winners 1\n", "\n", "Winners 1 2\n"] {
        let error = ProtocolError::UnexpectedReply { text: line.trim_end_matches('\n').to_owned() };
        assert_eq!(agency.answer(line.as_bytes()), Err(error));
    }
}

proptest! {
    #[test]
    fn a_batch_and_the_message_after_it_are_decoded_one_by_one(
        number in 1..=u16::MAX,
        owned in any_bets(LINE, 20),
    ) {
        let mut agency = agency(number);
        let (bets, batch) = filled(&mut *agency, of_agency(&owned, number));
        let ready = agency.question();
        let (events, sent, open) = conversation(LINE, &[&batch[..], &ready].concat(), &[]);
        let requests = [Request::Store(bets), Request::Winners { agency: number, finished: true }];
        let [stored, winners] = requests.map(|request| format!("{request:?}"));
        let expected =
            [format!("{}: {stored}", batch.len()), format!("{}: {winners}", ready.len())];
        prop_assert_eq!(events, expected);
        prop_assert_eq!(sent, format!("[AGENCY {number}] BetBatchEnd\nWinners 0\n").into_bytes());
        prop_assert!(!open);

        let mut central = central();
        for end in 0..batch.len() {
            prop_assert_eq!(central.decode(&batch[..end]), Ok(Decoded::Incomplete));
        }
        whole(&mut *central, &batch);
    }

    #[test]
    fn a_changed_message_does_not_panic_and_splits_make_no_difference(
        owned in any_bets(LINE, 6),
        mutations in mutations(),
        splits in splits(),
    ) {
        let mut agency = agency(1);
        let wire = packet(&mut *agency, &of_agency(&owned, 1));
        let wire = mutated([wire, agency.question()].concat(), &mutations);
        prop_assert_eq!(conversation(LINE, &wire, &splits), conversation(LINE, &wire, &[]));
        let reply = mutated(b"Winners 12\n".to_vec(), &mutations);
        let _ = (agency.receipt(&reply), agency.answer(&reply));
    }

    #[test]
    fn no_bytes_make_a_codec_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        splits in splits(),
    ) {
        for start in [&b""[..], b"[AGENCY 1] Bet ", b"[AGENCY "] {
            let wire = [start, &bytes].concat();
            prop_assert_eq!(conversation(LINE, &wire, &splits), conversation(LINE, &wire, &[]));
        }
        let agency = agency(1);
        let _ = (agency.receipt(&bytes), agency.acknowledgement(&bytes), agency.answer(&bytes));
    }
}
