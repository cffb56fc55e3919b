//! The bytes of the original programs, and replies made from the description of the dialects: what a test compares with must not
//! come from the code under test.

use lottery::protocol::DIALECTS;
use lottery::{Bet, Birthdate};

/// A vector of `vectors.json` as bytes.
///
/// # Panics
/// When there is none of this name.
pub fn vector(dialect: &str, name: &str) -> Vec<u8> {
    let vectors = include_str!("../../../../shared/lottery/tests/vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    let hex =
        vectors[dialect][name].as_str().unwrap_or_else(|| panic!("no vector {dialect} {name}"));
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// The names of the dialects in which agencies wait for a draw.
pub fn draw_dialects() -> Vec<&'static str> {
    DIALECTS.iter().filter(|dialect| dialect.waits_for_draw).map(|dialect| dialect.name).collect()
}

/// The reply that tells an agency these winners.
///
/// # Panics
/// When the dialect has no such reply, or they are too many for it.
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
        other => panic!("{other} has no draw"),
    }
}

/// A bet with this document, which wins or does not, for dialects in which a document is a number. With document 30904465 the one
/// that wins is bet L of the vectors.
///
/// # Panics
/// Never: the date is one.
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

/// Winners of agencies 1 to 5 for tests of the draw: bet L, nobody, three of the course's agency 2 and two of its agency 4, nobody.
pub const FIVE: [&[u32]; 5] =
    [&[30_904_465], &[], &[33_791_469, 31_660_107, 24_813_860], &[34_963_649, 35_635_602], &[]];

/// Bets of an agency: five that lose, with these winners among them, in this order.
pub fn bets_with(winners: &[u32]) -> Vec<Bet<'static>> {
    let losers = (1..=3).map(|document| numbered_bet(document, false));
    let won = winners.iter().map(|document| numbered_bet(*document, true));
    losers.chain(won).chain((4..=5).map(|document| numbered_bet(document, false))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_made_from_the_description_are_those_of_the_originals() {
        for dialect in draw_dialects() {
            let documents = match dialect {
                "line" => vec![("winners_1", FIVE[0]), ("winners_0", FIVE[1])],
                _ => vec![
                    ("winners_L", FIVE[0]),
                    ("winners_none", FIVE[1]),
                    ("winners_agency4_dataset", FIVE[3]),
                ],
            };
            for (name, documents) in documents {
                assert_eq!(
                    winners_reply(dialect, documents),
                    vector(dialect, name),
                    "{dialect} {name}"
                );
            }
        }
    }
}
