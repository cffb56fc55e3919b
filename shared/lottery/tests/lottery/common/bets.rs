//! The three bets of the test vectors, and arbitrary bets that a dialect can encode.

use lottery::{Bet, Birthdate};
use proptest::prelude::*;
use proptest::string::string_regex;

/// Returns bet L of the vectors: agency 1, the winning number.
pub(crate) fn lorca() -> Bet<'static> {
    bet(1, ["Santiago Lionel", "Lorca", "30904465"], "1999-03-17", 7574)
}

/// Returns bet T of the vectors: agency 1, a letter of two bytes in the first name.
pub(crate) fn rivera() -> Bet<'static> {
    bet(1, ["Tiago Nicolás", "Rivera", "34407251"], "2001-08-29", 1033)
}

/// Returns bet A of the vectors: agency 5, a letter of two bytes in the last name.
pub(crate) fn alvarez() -> Bet<'static> {
    bet(5, ["Santiago", "Álvarez", "33936970"], "1986-04-25", 7068)
}

/// Returns the bet with these fields.
pub(crate) fn bet<'a>(
    agency: u16,
    [first_name, last_name, document]: [&'a str; 3],
    date: &str,
    number: u32,
) -> Bet<'a> {
    let birthdate = Birthdate::from_iso(date).unwrap();
    Bet {
        agency,
        first_name,
        last_name,
        document: document.into(),
        birthdate,
        number: Some(number),
    }
}

/// A bet that owns its texts: first name, last name and document; birthdate; number.
pub(crate) type OwnedBet = ([String; 3], Birthdate, Option<u32>);

/// Returns these bets with the number of one agency.
pub(crate) fn of_agency(owned: &[OwnedBet], agency: u16) -> Vec<Bet<'_>> {
    let borrowed = owned.iter().map(|([first_name, last_name, document], birthdate, number)| Bet {
        agency,
        first_name,
        last_name,
        document: document.as_str().into(),
        birthdate: *birthdate,
        number: *number,
    });
    borrowed.collect()
}

/// Generates bets that the dialect can encode, with texts of up to `longest` characters. Every
/// dialect can encode 30 characters. Some of the lists do not fit in a packet.
pub(crate) fn any_bets(dialect: &str, longest: u8) -> impl Strategy<Value = Vec<OwnedBet>> {
    let without = |separator| {
        let expression = format!("[^{separator}\\p{{Cc}}]{{0,{longest}}}");
        move || string_regex(&expression).unwrap().boxed()
    };
    let (texts, numeric_documents) = match dialect {
        "typed" | "keyed" => (without(";"), false),
        "line" => (without(","), false),
        "framed" => (without("|"), false),
        "counted" | "counted-u8" | "sentinel" => (without(""), true),
        other => panic!("the bets that {other} can encode are not listed here"),
    };
    let documents =
        if numeric_documents { any::<u32>().prop_map(|n| n.to_string()).boxed() } else { texts() };
    let numbers = match dialect {
        "typed" | "keyed" => any::<Option<u32>>().boxed(),
        "counted" | "counted-u8" => any::<u16>().prop_map(|number| Some(number.into())).boxed(),
        _ => any::<u32>().prop_map(Some).boxed(),
    };
    let dates = (1_u16..=9999, 1_u8..=12, 1_u8..=28)
        .prop_map(|(year, month, day)| Birthdate::new(year, month, day).unwrap());
    prop::collection::vec(([texts(), texts(), documents], dates, numbers), 1..40)
}
