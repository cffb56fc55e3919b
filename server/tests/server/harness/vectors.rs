//! The vectors, most of them bytes of the original programs, and replies built from the description
//! of the dialects. What a test compares with must not come from the code under test.

use lottery::protocol::{DIALECTS, Receipt};
use lottery::{Bet, Birthdate};

/// Returns a vector of `vectors.json` as bytes.
pub fn vector(dialect: &str, name: &str) -> Vec<u8> {
    let vectors = include_str!("../../../../shared/lottery/tests/vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    let hex =
        vectors[dialect][name].as_str().unwrap_or_else(|| panic!("no vector {dialect} {name}"));
    from_hex(hex)
}

/// Returns the bytes that hexadecimal digits stand for.
pub fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// Returns the names of the dialects in which agencies wait for a draw.
pub fn draw_dialects() -> Vec<&'static str> {
    DIALECTS.iter().filter(|dialect| dialect.waits_for_draw).map(|dialect| dialect.name).collect()
}

/// Returns the reply that lists these winners.
pub fn winners_reply(dialect: &str, documents: &[u32]) -> Vec<u8> {
    let count = documents.len();
    let numbers: Vec<_> = documents.iter().flat_map(|document| document.to_be_bytes()).collect();
    let short = |number: usize| u16::try_from(number).unwrap().to_be_bytes();
    match dialect {
        "counted" => [&short(count)[..], &numbers].concat(),
        "counted-u8" => [&[u8::try_from(count).unwrap()][..], &numbers].concat(),
        "line" => format!("Winners {count}\n").into_bytes(),
        "framed" => {
            let documents: Vec<_> = documents.iter().map(u32::to_string).collect();
            format!("WINNERS|{}\n", documents.join("|")).into_bytes()
        }
        "sentinel" => [&9001_u16.to_be_bytes()[..], &short(numbers.len()), &numbers].concat(),
        "keyed" => {
            let texts = documents.iter().map(u32::to_string);
            let texts: Vec<_> =
                texts.flat_map(|text| [&short(text.len())[..], text.as_bytes()].concat()).collect();
            let count = u32::try_from(count).unwrap().to_be_bytes();
            let length = u32::try_from(4 + texts.len()).unwrap().to_be_bytes();
            [&[0x81, 0x84][..], &length, &count, &texts].concat()
        }
        other => panic!("{other} has no draw"),
    }
}

/// Returns the receipt for a stored batch with this many winners. Of the dialects with a draw, only
/// `keyed` reports them.
pub fn receipt(dialect: &str, winners: usize) -> Receipt {
    Receipt::Stored { winners: (dialect == "keyed").then_some(winners) }
}

/// Returns a bet for dialects in which a document is a number. The winning bet with document
/// 30904465 is bet L of the vectors.
pub fn numbered_bet(document: u32, wins: bool) -> Bet<'static> {
    Bet {
        agency: 0,
        first_name: "Santiago Lionel",
        last_name: "Lorca",
        document: document.into(),
        birthdate: Birthdate::new(1999, 3, 17).unwrap(),
        number: Some(if wins { 7574 } else { 1033 }),
    }
}

/// Winners of agencies 1 to 5 in tests of the draw: bet L, none, three of the course's agency 2,
/// two of the course's agency 4, none.
pub const WINNERS_BY_AGENCY: [&[u32]; 5] =
    [&[30_904_465], &[], &[33_791_469, 31_660_107, 24_813_860], &[34_963_649, 35_635_602], &[]];

/// Returns five losing bets of an agency with these winners among them, in this order.
pub fn bets_with(winners: &[u32]) -> Vec<Bet<'static>> {
    let losers = (1..=3).map(|document| numbered_bet(document, false));
    let won = winners.iter().map(|document| numbered_bet(*document, true));
    losers.chain(won).chain((4..=5).map(|document| numbered_bet(document, false))).collect()
}

#[test]
fn replies_built_from_the_description_equal_the_vectors() {
    let [first, none, _, fourth, _] = WINNERS_BY_AGENCY;
    for dialect in draw_dialects() {
        let vectors = match dialect {
            "line" => vec![("winners_1", first), ("winners_0", none)],
            _ => vec![
                ("winners_L", first),
                ("winners_none", none),
                ("winners_agency4_dataset", fourth),
            ],
        };
        for (name, documents) in vectors {
            let reply = winners_reply(dialect, documents);
            assert_eq!(reply, vector(dialect, name), "{dialect} {name}");
        }
    }
}
