//! The bets that the agencies of an examination bring: which of them win is known beforehand.

use lottery::{Bet, Birthdate, WINNING_NUMBER};

/// Batches that each agency sends.
pub(super) const BATCHES: usize = 2;
/// Bets in each of them.
const BATCH: usize = 3;
/// Whoever plays this loses.
const LOSING_NUMBER: u32 = 1033;

/// First name, last name and date of birth of the bets of an agency. Some letters have more than one byte.
const PEOPLE: [(&str, &str, &str); BATCHES * BATCH] = [
    ("Santiago Lionel", "Lorca", "1999-03-17"),
    ("Tiago Nicolás", "Rivera", "2001-08-29"),
    ("Íñigo", "Álvarez", "1986-04-25"),
    ("María José", "Núñez", "2000-02-29"),
    ("Ana", "Paz", "1970-12-31"),
    ("João", "Müller", "1995-01-01"),
];

/// Winners of the agencies 1 to 5, then over again: neighbours have different numbers of them, and one has none.
const WINNERS: [usize; 5] = [2, 0, 3, 1, 4];
/// Which of an agency's bets win, as many of these as it has winners. Both batches have some as soon as there are two.
const WINNING_PLACES: [usize; 4] = [1, 4, 2, 5];

/// The bets of an agency, in the batches in which it sends them. Documents are different for all.
pub(super) fn batches(agency: u16) -> Vec<Vec<Bet<'static>>> {
    let bets: Vec<_> = PEOPLE
        .iter()
        .enumerate()
        .filter_map(|(place, person)| bet(agency, place, person))
        .collect();
    bets.chunks(BATCH).map(<[_]>::to_vec).collect()
}

/// The documents of an agency's winners, in the order in which it sends them.
pub(super) fn winning_documents(agency: u16) -> Vec<String> {
    let bets = batches(agency).concat();
    let winners = bets.iter().filter(|bet| bet.number == Some(WINNING_NUMBER));
    winners.map(|bet| bet.document.to_string()).collect()
}

fn bet(
    agency: u16,
    place: usize,
    &(first_name, last_name, born): &(&'static str, &'static str, &str),
) -> Option<Bet<'static>> {
    let birthdate = Birthdate::from_iso(born)?;
    let winners = WINNERS[usize::from(agency.saturating_sub(1)) % WINNERS.len()];
    let wins = WINNING_PLACES.iter().take(winners).any(|winning| *winning == place);
    let number = Some(if wins { WINNING_NUMBER } else { LOSING_NUMBER });
    let document = (30_000_000 + 1000 * u32::from(agency) + place as u32).into();
    Some(Bet { agency, first_name, last_name, document, birthdate, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_person_bets() {
        assert_eq!(batches(1).iter().map(Vec::len).collect::<Vec<_>>(), [BATCH; BATCHES]);
    }

    #[test]
    fn the_winners_are_those_of_the_table_in_the_order_of_the_bets() {
        let winners = |agency| winning_documents(agency).len();
        assert_eq!((1..=6).map(winners).collect::<Vec<_>>(), [2, 0, 3, 1, 4, 2]);
        assert_eq!(winning_documents(1), ["30001001", "30001004"]);
        assert_eq!(winning_documents(3), ["30003001", "30003002", "30003004"]);
    }

    #[test]
    fn no_two_agencies_have_a_document_in_common() {
        let mut documents: Vec<_> = (1..=255)
            .flat_map(|agency| batches(agency).concat())
            .map(|bet| bet.document.to_string())
            .collect();
        let all = documents.len();
        documents.sort();
        documents.dedup();
        assert_eq!(documents.len(), all);
    }
}
